//! Consumers of Kinesis: what a batch of Lambda costs, beside AWS's own aggregation modules, and what
//! a child of the Kinesis Client Library does.
//!
//! The event is one that Lambda would invoke a function with, a line a record. What is measured is
//! CPU time of the process, all threads, for taking the event apart and
//! - aggregating: ours up to and with the bodies of its requests, the modules up to their
//!   aggregates; nothing is sent;
//! - the whole function: ours as it is, and the Python module with AWS's SDK; both to the same
//!   endpoint on this machine.
//!
//! A child of the KCL reads messages of the daemon, packs their lines and sends nothing.
//!
//! The modules are those that `cargo test` installs below `target/peers`.

use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use base64_simd::STANDARD;
use fake_aws::{FakeAws, ShardQuota};
use pixel_engine::config::{Config, Linger, Settings};
use pixel_engine::consume::kcl::{Patience, run_child};
use pixel_engine::consume::lambda::aggregate::Aggregate;
use pixel_engine::consume::lambda::runtime::{Handler, Invocation};
use pixel_engine::consume::open_run::OpenRun;
use pixel_engine::progress::Progress;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::sink::limits::Api;
use pixel_engine::sink::requests::Requests;
use pixel_engine::source::Format;
use pixel_engine_benches::{Row, Stage, Target, cpu_seconds, data, is_quick};
use serde::{Deserialize, Serialize};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a child, which is the whole function.
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
/// More than the records need: the service is not what is measured.
const SHARDS: usize = 200;
/// Records of an event, the most that Lambda gives at a time.
const RECORDS: usize = 10_000;
/// About as long as lines of a tracking pixel are.
const LINE: usize = 500;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let mut stage = Stage::new(
        "consume",
        "An event of Lambda with 10,000 records of one line of 500 B each (realtime-46, shorter lines repeated): decoded, \
         checked, packed into aggregates of 51,200 B, hashed, written as requests of PutRecords and, for the whole \
         function, sent. CPU time of the process, the best of the rounds.",
    );
    if stage.is_measuring() {
        let event = event();
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &event)?;
        let rounds = if is_quick() { 2 } else { 30 };
        let ours = ours(&event, rounds, |config, progress| {
            let sink = Box::new(Requests::new(io::sink(), Api::PutRecords, None));
            Ok(OpenRun::into(config, sink, Quarantine::log(io::sink()), progress, Arc::default()))
        })?;
        let mut row = |what: &str, unit: &str, ours: f64, rival: Option<(&str, f64)>, target, checked: &str| {
            stage.row(Row::of(what, unit, ours, rival, Some(target), checked.to_owned()));
        };
        let milliseconds = ours.cpu_seconds * 1e3;
        row("aggregate, a batch", "ms of CPU", milliseconds, None, Target::AtMost(20.0), "every line is packed");
        for (name, command, times) in
            [("aws_kinesis_agg, Python", python(), 30.0), ("aws-kinesis-agg, Node", node(), 15.0)]
        {
            let Some(mut command) = command else { continue };
            let output = command.arg(file.path()).arg(rounds.min(5).to_string()).output()?;
            if !output.status.success() {
                return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            let theirs: Work = serde_json::from_slice(&output.stdout)?;
            assert_eq!(theirs.lines, ours.lines, "the same event");
            let what = "aggregate, beside AWS's module";
            let checked = format!("{} aggregates of theirs, {} of ours", theirs.aggregates, ours.aggregates);
            row(what, "lines/CPU-s", ours.speed(), Some((name, theirs.speed())), Target::Times(times), &checked);
        }
        let child = kcl(if is_quick() { 2 } else { 20 })?;
        let checked = "every line is packed, and the end of the shard has its checkpoint";
        row("a child of the KCL", "lines/CPU-s", child.speed(), None, Target::AtLeast(300_000.0), checked);
        let (whole, theirs) = functions(file.path(), rounds.min(5))?;
        if let Some(theirs) = theirs {
            let rival = Some(("aws_kinesis_agg and boto3, Python", theirs.speed()));
            let checked = "every aggregate has arrived";
            row("the whole function", "lines/CPU-s", whole.speed(), rival, Target::Times(30.0), checked);
        }
    }
    stage.finish()
}

/// The whole function, ours and the Python module's.
fn functions(file: &Path, rounds: usize) -> Result<(Work, Option<Work>), Box<dyn Error>> {
    let aws = FakeAws::builder().verify_signatures(false).start();
    let stream = aws.stream("hits", SHARDS);
    stream.quota(ShardQuota::UNLIMITED).keep_counts();
    let run = |name: &str, mut command: Command| -> Result<Work, Box<dyn Error>> {
        command.envs(aws.environment()).env_remove("AWS_PROFILE");
        let before = stream.counts().records;
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let work: Work = serde_json::from_slice(&output.stdout)?;
        assert_eq!(stream.counts().records - before, work.aggregates * rounds as u64, "{name}: all have arrived");
        Ok(work)
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(file).arg(rounds.to_string()).env(CHILD, "1");
    let ours = run("ours", command)?;
    let theirs = python().map(|mut command| {
        command.arg(file).arg(rounds.to_string()).arg("hits");
        run("python", command)
    });
    assert_eq!(aws.counters().violations, [""; 0]);
    Ok((ours, theirs.transpose()?))
}

fn child() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let event = std::fs::read(arguments.next().ok_or("no event")?)?;
    let rounds = arguments.next().ok_or("no rounds")?.parse()?;
    let work =
        ours(&event, rounds, |config, progress| OpenRun::start(config, progress).map_err(|error| error.to_string()))?;
    println!("{}", serde_json::to_string(&work)?);
    Ok(())
}

/// What was done with the event.
#[derive(Deserialize, Serialize)]
struct Work {
    lines: u64,
    aggregates: u64,
    cpu_seconds: f64,
}

impl Work {
    /// Lines for each second of CPU time.
    fn speed(&self) -> f64 {
        self.lines as f64 / self.cpu_seconds
    }
}

/// The data of records in base64, a line each, and their sequence numbers.
fn records() -> Vec<(String, String)> {
    let log = data::log("realtime-46", 2 * RECORDS * LINE);
    let lines = log.split_inclusive(|&byte| byte == b'\n').filter(|line| line.len() <= LINE);
    let record = |(number, line): (usize, &[u8])| {
        (STANDARD.encode_to_string(line), format!("4959033827149025660855969253836157109592157598913{number:07}"))
    };
    lines.cycle().take(RECORDS).enumerate().map(record).collect()
}

/// What a child of the KCL takes for so many batches of these records.
fn kcl(batches: usize) -> Result<Work, Box<dyn Error>> {
    let record = |(data, sequence_number): &(String, String)| {
        format!(
            r#"{{"data":"{data}","partitionKey":"4d1ad2b9","sequenceNumber":"{sequence_number}","approximateArrivalTimestamp":1767600000068,"subSequenceNumber":0,"action":"record"}}"#
        )
    };
    let records: Vec<String> = records().iter().map(record).collect();
    let batch =
        format!("{{\"action\":\"processRecords\",\"records\":[{}],\"millisBehindLatest\":0}}\n", records.join(","));
    let messages = [
        "{\"action\":\"initialize\",\"shardId\":\"shardId-000000000000\",\"sequenceNumber\":\"TRIM_HORIZON\",\"subSequenceNumber\":0}\n",
        &batch.repeat(batches),
        "{\"action\":\"shardEnded\"}\n",
        "{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null,\"error\":null}\n",
    ];
    let (answering, answered) = channel();
    let messages = Daemon { messages: io::Cursor::new(messages.concat().into_bytes()), answered };
    let settings = Settings { to: Some("null:".to_owned()), threads: Some(1), ..Settings::default() };
    let run = OpenRun::start(settings.validate()?, Arc::default())?;
    let begun = cpu_seconds();
    let ended = run_child(messages, Answers(Some(answering)), run, Format::Auto, Patience::default());
    let cpu_seconds = cpu_seconds() - begun;
    let summary = ended.report.ok_or("the run goes on")?.summary;
    let lines = (batches * RECORDS) as u64;
    assert_eq!((ended.error.map(|error| error.to_string()), summary.lines_shipped), (None, lines));
    Ok(Work { lines, aggregates: summary.records, cpu_seconds })
}

/// What the daemon writes. As it does, it stays until the last message is answered.
struct Daemon {
    messages: io::Cursor<Vec<u8>>,
    answered: Receiver<()>,
}

impl Read for Daemon {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Daemon {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.messages.position() == self.messages.get_ref().len() as u64 {
            // Nothing is ever sent: this is the other end going.
            let _ = self.answered.recv();
        }
        self.messages.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.messages.consume(count);
    }
}

/// Waits for the answer to the last message.
struct Answers(Option<Sender<()>>);

impl Write for Answers {
    fn write(&mut self, answer: &[u8]) -> io::Result<usize> {
        if memchr::memmem::find(answer, b"shardEnded").is_some() {
            self.0.take();
        }
        Ok(answer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as Lambda sends it.
fn event() -> Vec<u8> {
    let mut events = Vec::with_capacity(RECORDS);
    for (number, (data, sequence_number)) in records().into_iter().enumerate() {
        events.push(format!(
            r#"{{"kinesis":{{"kinesisSchemaVersion":"1.0","partitionKey":"{number}","sequenceNumber":"{sequence_number}","data":"{data}","approximateArrivalTimestamp":1767600000.068}},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000006:{sequence_number}","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role","awsRegion":"eu-west-1","eventSourceARN":"arn:aws:kinesis:eu-west-1:123456789012:stream/hits"}}"#
        ));
    }
    format!(r#"{{"Records":[{}]}}"#, events.join(",")).into_bytes()
}

fn ours(
    event: &[u8],
    rounds: usize,
    open: impl Fn(Config, Arc<Progress>) -> Result<OpenRun, String> + Send + Sync + 'static,
) -> Result<Work, Box<dyn Error>> {
    let settings =
        Settings { to: Some("kinesis://hits".to_owned()), linger: Some(Linger::Never), ..Settings::default() };
    let config = settings.validate()?;
    let to = config.clone();
    let (counts, counted) = channel();
    let open = move |progress: Arc<Progress>| {
        let _ = counts.send(Arc::clone(&progress));
        open(to.clone(), progress)
    };
    let mut aggregate = Aggregate::with_runs(config, true, open);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let deadline = SystemTime::now() + Duration::from_secs(60);
        let mut invocation = Invocation { request_id: String::new(), deadline, event: event.to_vec() };
        let begun = cpu_seconds();
        let reply = runtime.block_on(aggregate.handle(&mut invocation))?;
        best = best.min(cpu_seconds() - begun);
        assert_eq!(reply, br#"{"batchItemFailures":[]}"#);
    }
    let progress = counted.recv()?;
    let (lines, aggregates) = (progress.lines_shipped.get(), progress.records.get());
    assert_eq!(lines, (rounds * RECORDS) as u64, "every line is packed");
    Ok(Work { lines: RECORDS as u64, aggregates: aggregates / rounds as u64, cpu_seconds: best })
}

/// A file of those that the tests install.
fn peers(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers").join(path)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// `None` where the tests have not installed the module.
fn python() -> Option<Command> {
    let program = peers("venv/bin/python");
    let mut command = Command::new(&program);
    command.arg(script("aggregate.py"));
    program.exists().then_some(command)
}

fn node() -> Option<Command> {
    let modules = peers("node/node_modules");
    let mut command = Command::new("node");
    command.arg(script("aggregate.js")).env("NODE_PATH", &modules);
    modules.exists().then_some(command)
}
