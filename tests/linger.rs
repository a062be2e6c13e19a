//! How long lines wait: `--linger`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fake_aws::FakeAws;

use crate::support::{Seen, Workspace, id_in, ids, log};

const LINES: u64 = 3_000;
const RATE: u64 = 1_000;

/// When each id was written to the pipe, and when the service had it.
type Times = Arc<Mutex<HashMap<Vec<u8>, Instant>>>;

/// How long each line of `generate --rate` took through a pipe to a stream, shortest first.
fn delays(arguments: &[&str], stream: &str) -> Vec<Duration> {
    let (written, arrived): (Times, Times) = Default::default();
    let aws = FakeAws::start();
    let is_compressed = arguments.contains(&"--compress");
    let note = {
        let arrived = Arc::clone(&arrived);
        move |data: &[u8]| {
            let now = Instant::now();
            let text = if is_compressed { zstd::decode_all(data).expect("a zstd frame") } else { data.to_vec() };
            let mut arrived = arrived.lock().expect("nobody panics with it");
            for id in ids(&text) {
                arrived.entry(id.to_vec()).or_insert(now);
            }
        }
    };
    if stream.starts_with("kinesis:") {
        aws.stream("hits", 3).hand_over(move |arrival| note(arrival.data));
    } else {
        aws.delivery_stream("hits").hand_over(move |arrival| note(arrival.data));
    }
    let workspace = Workspace::new();
    let (lines, rate) = (LINES.to_string(), RATE.to_string());
    let mut generate = workspace.command(&["generate", "--lines", &lines, "--rate", &rate, "--seed", "7"]);
    let mut generate = generate.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut ingest: Command = workspace.ingest_command(&["-", "--to", stream]);
    let mut ingest = ingest
        .args(arguments)
        .envs(aws.environment())
        .env_remove("AWS_PROFILE")
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut pipe = ingest.stdin.take().expect("it is piped");
    let mut lines = BufReader::new(generate.stdout.take().expect("it is piped"));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).expect("it can be read") > 0 {
        let id = id_in(&line).expect("each line has an id").to_vec();
        written.lock().expect("nobody panics with it").insert(id, Instant::now());
        pipe.write_all(&line).expect("it is read");
        line.clear();
    }
    // What is in no full record has to come by itself, not because the input ends.
    let is_there = || arrived.lock().expect("nobody panics with it").len() as u64 == LINES;
    let begun = Instant::now();
    while !is_there() && begun.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(is_there(), "lines wait for the end of the input");
    drop(pipe);
    workspace.wait(ingest).ok();
    generate.wait().expect("it ends");
    let (written, arrived) =
        (written.lock().expect("nobody panics with it"), arrived.lock().expect("nobody panics with it"));
    let mut seen = Seen::new(LINES);
    arrived.keys().for_each(|id| {
        seen.id(id);
    });
    seen.all();
    let mut delays: Vec<Duration> =
        arrived.iter().map(|(id, when)| when.saturating_duration_since(written[id])).collect();
    delays.sort_unstable();
    delays
}

#[test]
fn a_pipe_that_trickles_arrives_within_its_linger() {
    for (arguments, stream, linger) in [
        (&["--linger", "300ms"][..], "kinesis://hits", 300),
        (&["--linger", "300ms", "--partition-by", "c-ip"], "kinesis://hits", 300),
        (&["--linger", "300ms", "--compress", "zstd:1"], "firehose://hits", 300),
        // What a pipe has without being told.
        (&[], "kinesis://hits", 1_000),
    ] {
        let delays = delays(arguments, stream);
        let (middle, last) = (delays[delays.len() / 2], delays[delays.len() - 1]);
        eprintln!("{arguments:?} {stream}: median {middle:?}, longest {last:?}");
        let limit = Duration::from_millis(linger + 200);
        assert!(middle < limit, "{arguments:?}: half of the lines took more than {middle:?}");
        // The longest depends on what else the machine does.
        assert!(last < limit + Duration::from_secs(3), "{arguments:?}: a line took {last:?}");
    }
}

#[test]
fn files_fill_their_records_and_a_pipe_may_be_told_to() {
    let workspace = Workspace::new();
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 1);
    let mut ingest = workspace.ingest_command(&["-", "--to", "kinesis://hits", "--linger", "none"]);
    let mut ingest =
        ingest.envs(aws.environment()).env_remove("AWS_PROFILE").stdin(Stdio::piped()).spawn().expect("it starts");
    let mut pipe = ingest.stdin.take().expect("it is piped");
    let text = log("realtime-46", 40);
    for part in text.chunks(text.len() / 2 + 1) {
        pipe.write_all(part).expect("it is read");
        thread::sleep(Duration::from_millis(1_500));
        assert!(hits.delivered().is_empty());
    }
    drop(pipe);
    workspace.wait(ingest).ok();
    assert_eq!(hits.delivered().len(), 1);
}
