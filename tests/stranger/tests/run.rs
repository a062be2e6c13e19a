//! The library from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use pixel_engine::config::{ContainerKind, Linger, Settings};
use pixel_engine::kpl::{Decoded, decode};
use pixel_engine::observe::Observed;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::run::Run;
use pixel_engine::source::{Files, Input, Outcome};
use pixel_engine_stranger::{Batch, CountBy, Memory, Queue};

fn lines(name: &str, count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| format!("1.5\t203.0.113.9\tcurl/8.0\te={name}&n={number}\n").into_bytes()).collect()
}

/// Batches `a` and `b` of a queue, the second one with a bad line, and who gets the outcomes.
fn two_batches() -> (Queue, Receiver<(String, Outcome)>) {
    let (batches, queue) = channel();
    let (answer, answers) = channel();
    for (name, count) in [("a", 400), ("b", 300)] {
        let mut lines = lines(name, count);
        if name == "b" {
            lines.extend_from_slice(b"bad\n");
        }
        batches.send(Batch { name: name.to_owned(), lines, answer: answer.clone() }).expect("the queue is there");
    }
    (Queue(queue), answers)
}

fn settings() -> Settings {
    Settings {
        container: Some(ContainerKind::Kpl),
        record_size: Some(4_096),
        linger: Some(Linger::After(Duration::from_millis(50))),
        ..Settings::default()
    }
}

/// All lines in the records, sorted.
fn delivered(memory: &Memory) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for record in memory.requests.iter().flatten() {
        match decode(record) {
            Decoded::Aggregate(aggregate) => lines.extend(aggregate.records().map(|record| record.data.to_vec())),
            Decoded::Plain(_) => lines.push(record.clone()),
            Decoded::Partial { error, .. } => panic!("{error}"),
        }
    }
    lines.sort();
    lines
}

#[test]
fn an_own_source_observer_and_sink() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.log");
    std::fs::write(&file, lines("c", 200)).unwrap();
    let (queue, answers) = two_batches();
    let events = Arc::new(Observed::new(CountBy("query.e".parse().unwrap())));
    let config = settings().validate().unwrap();
    let (mut memory, mut quarantine) = (Memory::default(), Quarantine::new(folder.path().join("bad.jsonl")));
    let report = Run::new(&config)
        .source(queue)
        .source(Files::new([Input::File(file)]))
        .observer(events.clone())
        .to(&mut memory, &mut quarantine);

    assert!(report.errors.is_empty() && report.unfinished.is_empty(), "{:?}", report.errors);
    let summary = &report.summary;
    assert_eq!((summary.lines_in, summary.lines_shipped, summary.lines_quarantined), (901, 900, 1));
    let first = report.first_bad_line.as_ref().map(ToString::to_string);
    assert!(first.is_some_and(|first| first.starts_with("b: line 301, byte ")));
    let mut wanted: Vec<Vec<u8>> = [("a", 400), ("b", 300), ("c", 200)]
        .iter()
        .flat_map(|(name, count)| {
            lines(name, *count).split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    wanted.sort();
    assert!(delivered(&memory) == wanted, "every line once");
    let counts = [("a", 400), ("b", 300), ("c", 200)].map(|(name, count)| (name.as_bytes().to_vec(), count));
    assert_eq!(events.take(), BTreeMap::from(counts));
    let answers: BTreeMap<String, Outcome> = answers.iter().collect();
    assert_eq!(answers, ["a", "b"].map(|name| (name.to_owned(), Outcome::Delivered)).into());
}

#[test]
fn what_is_lost_is_told_with_the_place_from_where_on() {
    let (queue, answers) = two_batches();
    let config = settings().validate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::default();
    memory.refused = vec![1];
    let mut quarantine = Quarantine::new(folder.path().join("bad.jsonl"));
    let report = Run::new(&config).source(queue).to(&mut memory, &mut quarantine);
    let summary = &report.summary;
    assert_eq!(summary.lines_in, summary.lines_shipped + summary.lines_quarantined + summary.lines_undelivered);
    let lost = summary.lines_undelivered;
    assert!(lost > 0);
    let arrived = delivered(&memory);
    assert_eq!(arrived.len() as u64, summary.lines_shipped);
    let mut failed = 0;
    for (name, outcome) in answers {
        let text = lines(&name, if name == "a" { 400 } else { 300 });
        let first_lost = text
            .split_inclusive(|&byte| byte == b'\n')
            .position(|line| arrived.binary_search_by(|other| other.as_slice().cmp(line)).is_err());
        match (outcome, first_lost) {
            (Outcome::Delivered, None) => {}
            (Outcome::Failed(acknowledged), Some(first_lost)) => {
                failed += 1;
                // Everything before it has arrived.
                let before: usize = text.split_inclusive(|&byte| byte == b'\n').take(first_lost).map(<[u8]>::len).sum();
                assert!(acknowledged.gap() <= before as u64, "{name}: {acknowledged:?}, {first_lost}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(failed > 0);
}

#[test]
fn whoever_has_gone_does_not_hold_the_run_up() {
    let (queue, answers) = two_batches();
    drop(answers);
    let config = settings().validate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = thread::spawn(move || {
        let (mut memory, mut quarantine) = (Memory::default(), Quarantine::new(folder.path().join("bad.jsonl")));
        Run::new(&config).source(queue).to(&mut memory, &mut quarantine).summary.lines_shipped
    });
    assert_eq!(run.join().unwrap(), 700);
}
