use std::sync::Mutex;
use std::thread::sleep;

use super::*;
use crate::config::{ContainerKind, Linger, Settings};
use crate::progress::Count;
use crate::record::{Delivered, Record};
use crate::sink::{RecordLimit, SinkError, each::Each, limits::Api, null::Null};
use crate::source::{Files, Outcome};

/// A configuration with records of at most 51,200 B.
fn config(container: ContainerKind, linger: Linger) -> Config {
    settings(container, linger).validate().expect("they go together")
}

fn settings(container: ContainerKind, linger: Linger) -> Settings {
    Settings {
        container: Some(container),
        record_size: Some(51_200),
        threads: Some(1),
        linger: Some(linger),
        ..Settings::default()
    }
}

fn line(name: &str, number: usize) -> String {
    format!("1.5\t203.0.113.9\tcurl/8.0\te={name}{number}\n")
}

/// Pushes lines of its own name, some at a time, with pauses between.
struct Slow {
    name: &'static str,
    pushes: usize,
    lines: usize,
    pause: Duration,
    pushed: Arc<Mutex<Vec<Instant>>>,
}

impl Source for Slow {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        let mut inlet = feed.open(self.name);
        for push in 0..self.pushes {
            let lines: String = (0..self.lines).map(|index| line(self.name, push * self.lines + index)).collect();
            self.pushed.lock().unwrap().push(Instant::now());
            inlet.push(lines)?;
            sleep(self.pause);
        }
        inlet.end().map(drop)
    }
}

/// Notes what came in each request, and when it went.
#[derive(Default)]
struct Noted {
    open: Vec<Record>,
    sent: Vec<(Instant, String)>,
    delivered: Delivered,
}

impl Sink for Noted {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.open.push(record);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let mut text = Vec::new();
        for record in self.open.drain(..) {
            record.chunks().for_each(|chunk| text.extend_from_slice(chunk));
            self.delivered.settle(record.into_receipt());
        }
        if !text.is_empty() {
            self.sent.push((Instant::now(), String::from_utf8_lossy(&text).into_owned()));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.flush()
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    fn requests(&self) -> u64 {
        self.sent.len() as u64
    }
}

#[test]
fn lines_wait_no_longer_than_the_linger() {
    let linger = Duration::from_millis(200);
    // On a busy machine a thread may be held up for a while; lines that wait for a record to fill
    // would wait for the end.
    let late = linger + Duration::from_millis(1_500);
    for (container, partition_by, compress) in [
        (ContainerKind::Lines, None, None),
        (ContainerKind::Lines, None, Some("zstd:1")),
        (ContainerKind::Kpl, None, None),
        (ContainerKind::Kpl, Some("query.e"), None),
    ] {
        let pushed: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let source =
            Slow { name: "slow", pushes: 4, lines: 3, pause: Duration::from_millis(700), pushed: Arc::clone(&pushed) };
        let config = Settings {
            partition_by: partition_by.map(str::to_owned),
            compress: compress.map(str::to_owned),
            ..settings(container, Linger::After(linger))
        };
        let config = config.validate().expect("they go together");
        let mut sink = Noted::default();
        let folder = tempfile::tempdir().unwrap();
        let mut quarantine = Quarantine::new(folder.path().join("bad"));
        let report = Run::new(&config).source(source).to(&mut sink, &mut quarantine);
        assert_eq!((report.summary.lines_in, report.summary.lines_shipped), (12, 12));
        assert!(report.errors.is_empty() && report.unfinished.is_empty());
        let pushed = pushed.lock().unwrap();
        assert!(sink.sent.len() >= 4, "{container:?} {compress:?}: {} requests", sink.sent.len());
        for (push, &when) in pushed.iter().enumerate() {
            let request = sink.sent.iter().find(|(sent, _)| *sent > when).expect("one after each push");
            let waited = request.0 - when;
            assert!(waited < late, "{container:?} {compress:?}: push {push} waited {waited:?}");
        }
    }
}

#[test]
fn without_a_linger_records_fill_up() {
    let source = Slow { name: "slow", pushes: 3, lines: 2, pause: Duration::from_millis(50), pushed: Arc::default() };
    let mut sink = Noted::default();
    let mut quarantine = Quarantine::new("/dev/null");
    Run::new(&config(ContainerKind::Kpl, Linger::Never)).source(source).to(&mut sink, &mut quarantine);
    assert_eq!(sink.sent.len(), 1);
}

#[test]
fn records_are_as_small_as_the_sink_asks_for() {
    const LINES: usize = 1_000_000;
    // After compression a size is known only afterwards.
    for (compress, most) in [("none", 5_120), ("zstd:1", 5_120 + 5_120 / 16)] {
        let settings =
            Settings { compress: Some(compress.to_owned()), ..settings(ContainerKind::Lines, Linger::Never) };
        let source = Slow { name: "fast", pushes: 1, lines: LINES, pause: Duration::ZERO, pushed: Arc::default() };
        let (mut sizes, limit) = (Vec::new(), RecordLimit::default());
        // Small ones from the fourth on.
        let mut sink = Each::new(|record: Record| {
            sizes.push(record.data_len());
            if sizes.len() == 3 {
                limit.set(5_120);
            }
            Ok(Some(record))
        });
        sink.limit = limit.clone();
        let config = settings.validate().unwrap();
        Run::new(&config).source(source).to(&mut sink, &mut Quarantine::new("/dev/null"));
        assert_eq!(sink.delivered.lines, LINES as u64);
        // What was packed before that is as large as it was.
        let (full, small) = sizes.split_at(sizes.len() / 2);
        assert!(full[..3].iter().all(|&size| size > 30_000), "{compress}: {full:?}");
        assert!(small.iter().all(|&size| size <= most), "{compress}: {small:?}");
    }
}

#[test]
fn several_sources_are_read_at_once_and_each_has_its_own_line_numbers() {
    /// Bad lines at known places, many times.
    struct Bad(&'static str, usize);

    impl Source for Bad {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            let mut inlet = feed.open(self.0);
            for number in 0..self.1 {
                inlet.push(line(self.0, number))?;
                inlet.push("bad\n")?;
            }
            inlet.end().map(drop)
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.jsonl");
    let mut quarantine = Quarantine::new(&path);
    let mut sink = Null::new(Api::PutRecordBatch);
    let slow = Slow { name: "slow", pushes: 5, lines: 10, pause: Duration::from_millis(10), pushed: Arc::default() };
    let report = Run::new(&config(ContainerKind::Lines, Linger::BySource))
        .source(Bad("one", 40))
        .source(Bad("two", 60))
        .source(slow)
        .to(&mut sink, &mut quarantine);
    assert_eq!(report.summary.lines_in, 250);
    assert_eq!(report.summary.lines_shipped, 150);
    assert_eq!(report.summary.lines_quarantined, 100);
    let counts: Vec<(u64, u64)> = report.sources.iter().map(|source| (source.lines_in, source.lines_bad)).collect();
    assert_eq!(counts, [(80, 40), (120, 60), (50, 0)]);
    assert!(!report.summary.interrupted && report.unfinished.is_empty());
    let entries = std::fs::read_to_string(path).unwrap();
    for (name, count) in [("one", 40), ("two", 60)] {
        let of_source: Vec<u64> = entries
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|entry| entry["source"] == name)
            .map(|entry| entry["line"].as_u64().unwrap())
            .collect();
        assert_eq!(of_source, (1..=count).map(|number| 2 * number).collect::<Vec<u64>>(), "{name}");
    }
}

#[test]
fn a_run_that_is_stopped_ends_its_sources() {
    /// Goes on for ever.
    struct Endless;

    impl Source for Endless {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            let mut inlet = feed.open("endless");
            let mut number = 0;
            while !feed.is_stopping() {
                inlet.push(line("endless", number))?;
                number += 1;
            }
            Ok(())
        }
    }

    let stop = Arc::new(AtomicBool::new(false));
    let (progress, mut sink) = (Arc::new(Progress::default()), Null::new(Api::PutRecordBatch));
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            while progress.lines_in.get() < 100 {
                sleep(Duration::from_millis(1));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        Run::new(&config(ContainerKind::Lines, Linger::BySource))
            .source(Endless)
            .source(Files::new([]))
            .progress(Arc::clone(&progress))
            .stop(Arc::clone(&stop))
            .to(&mut sink, &mut Quarantine::new("/dev/null"))
    });
    assert!(report.summary.interrupted);
    assert_eq!(report.summary.lines_in, report.summary.lines_shipped);
    assert_eq!(report.unfinished.len(), 1);
    assert_eq!(report.unfinished[0].position.lines, report.summary.lines_in, "all that was pushed is delivered");
}

#[test]
fn progress_ends_with_the_numbers_of_the_report_and_grows_with_the_next_run() {
    struct Mixed;

    impl Source for Mixed {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            let mut inlet = feed.open("mixed");
            inlet.push(format!("{}bad\n\n{}", line("a", 1), line("b", 2)))?;
            inlet.end().map(drop)
        }
    }

    let progress = Arc::new(Progress::default());
    let config = config(ContainerKind::Lines, Linger::BySource);
    for runs in 1..=2 {
        let mut sink = Null::new(Api::PutRecordBatch);
        let run = Run::new(&config).source(Mixed).progress(Arc::clone(&progress));
        let Summary { lines_in, lines_shipped, lines_quarantined, records, payload_bytes, bytes_in, .. } =
            run.to(&mut sink, &mut Quarantine::new("/dev/null")).summary;
        let wanted = [lines_in, lines_shipped, lines_quarantined, records, payload_bytes, bytes_in].map(|it| runs * it);
        let counts = [
            &progress.lines_in,
            &progress.lines_shipped,
            &progress.lines_quarantined,
            &progress.records,
            &progress.payload_bytes,
            &progress.bytes_in,
        ];
        assert_eq!(counts.map(Count::get), wanted);
        assert_eq!((lines_in, lines_shipped, progress.lines_open()), (3, 2, 0));
        assert_eq!((progress.lines_packed.get(), progress.billed.get().firehose), (runs * 2, runs * 5_120));
        assert_eq!(progress.billed_unpacked.get().firehose, runs * 2 * 5_120);
    }
    let bad: Vec<u64> = progress.recent_bad_lines().iter().map(|line| line.line).collect();
    assert_eq!(bad, [2, 2]);
}

#[test]
fn a_source_that_ends_is_forgotten() {
    /// A connection after the other, each with its lines.
    struct Connections(usize);

    impl Source for Connections {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            for number in 0..self.0 {
                let mut inlet = feed.open(format!("connection {number}"));
                inlet.push(line("c", number))?;
                inlet.end()?;
            }
            // Whatever was sent before is delivered by then.
            sleep(Duration::from_millis(500));
            feed.open("the last one").end()?;
            assert!(feed.feeds().origins.left().len() < 3, "those that are done are not kept");
            Ok(())
        }
    }

    let mut sink = Noted::default();
    let report = Run::new(&config(ContainerKind::Lines, Linger::After(Duration::from_millis(50))))
        .source(Connections(200))
        .to(&mut sink, &mut Quarantine::new("/dev/null"));
    assert_eq!(report.summary.lines_shipped, 200);
    assert!(report.unfinished.is_empty());
}

/// What is done with a record; what is given back is delivered.
type Fate = fn(Record) -> Result<Option<Record>, SinkError>;

#[test]
fn whoever_asks_is_told_what_became_of_the_lines() {
    /// A batch that is answered for, and what was answered.
    struct Batch(usize, Arc<Mutex<Option<Outcome>>>);

    impl Source for Batch {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            let mut inlet = feed.open("batch");
            for number in 0..self.0 {
                inlet.push(line("b", number))?;
            }
            inlet.push("bad\n")?;
            *self.1.lock().unwrap() = Some(inlet.end()?.wait());
            Ok(())
        }
    }

    let kept = |record: Record| {
        record.into_receipt().kept();
        Ok(None)
    };
    let lost = |record: Record| {
        drop(record);
        Ok(None)
    };
    let failed = |_| Err(SinkError::io("memory", std::io::ErrorKind::Other.into()));
    // 1,000 B a record: some twenty of these lines.
    let len = line("b", 0).len();
    let cases: [(usize, Fate); 4] = [(usize::MAX, lost), (1, kept), (1, lost), (1, failed)];
    for (place, (records, then)) in cases.into_iter().enumerate() {
        let outcome = Arc::default();
        let mut taken = 0;
        let mut sink = Each::new(|record| {
            taken += 1;
            if taken > records { then(record) } else { Ok(Some(record)) }
        });
        let folder = tempfile::tempdir().unwrap();
        let mut quarantine = Quarantine::new(folder.path().join("bad"));
        let linger = Linger::After(Duration::from_millis(20));
        let settings = Settings { record_size: Some(1_024), ..settings(ContainerKind::Lines, linger) };
        Run::new(&settings.validate().expect("they go together"))
            .source(Batch(100, Arc::clone(&outcome)))
            .to(&mut sink, &mut quarantine);
        let outcome = outcome.lock().unwrap().clone();
        match place {
            0 => assert_eq!(outcome, Some(Outcome::Delivered)),
            1 => assert_eq!(outcome, Some(Outcome::Kept)),
            // The source may not even have come to the end of its batch when the run closed.
            _ => {
                if let Some(outcome) = outcome {
                    let Outcome::Failed(acknowledged) = outcome else { panic!("{outcome:?}") };
                    assert!(acknowledged.gap() < 100 * len as u64, "case {place}: {acknowledged:?}");
                }
            }
        }
    }
}
