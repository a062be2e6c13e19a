//! A child of the MultiLangDaemon: what it answers to a daemon that this test plays, and what
//! arrives with real daemons that are killed while the stream is resharded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_aws::{FakeAws, Fault};
use pixel_engine::kpl::{PartitionKey, seal, write_aggregate};
use serde_json::{Value, json};

use crate::peers::{Emulator, kinesis_local, moto, multi_lang_daemon};
use crate::support::{Arrivals, Guarded, Run, Workspace, lines, log, log_from, run, signal, soak, sorted, wait_until};

/// A daemon that says what the test wants.
struct Daemon {
    child: Guarded,
    /// What the child wrote, without empty lines.
    said: Receiver<String>,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A checkpoint for all that is delivered, soon.
const QUICK: [&str; 2] = ["--checkpoint-interval", "1ms"];

/// A short one, unless there is another.
fn linger(arguments: &[&str]) -> &'static [&'static str] {
    if arguments.contains(&"--linger") { &[] } else { &["--linger", "20ms"] }
}

impl Daemon {
    fn start(workspace: &Workspace, arguments: &[&str]) -> Daemon {
        let arguments = [&QUICK[..], linger(arguments), arguments].concat();
        Daemon::with(workspace.command(&["kcl"]).args(arguments))
    }

    fn of_aws(workspace: &Workspace, aws: &FakeAws, arguments: &[&str]) -> Daemon {
        let arguments = [&QUICK[..], linger(arguments), arguments].concat();
        let mut command = workspace.command(&["kcl", "--to", "firehose://beacons"]);
        Daemon::with(command.args(arguments).envs(aws.environment()).env_remove("AWS_PROFILE"))
    }

    fn with(command: &mut Command) -> Daemon {
        let mut child = Guarded::start(command.stdin(Stdio::piped()));
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (to_test, said) = channel();
        thread::spawn(move || {
            let lines = stdout.lines().map(|line| line.expect("UTF-8"));
            lines.filter(|line| !line.is_empty()).try_for_each(|line| to_test.send(line))
        });
        Daemon { child, said }
    }

    /// The first message, and its answer.
    fn initialized(self) -> Daemon {
        let mut daemon = self;
        daemon.says(&json!({ "action": "initialize", "shardId": SHARD, "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0 }));
        daemon.hears_status("initialize");
        daemon
    }

    fn says(&mut self, message: &Value) {
        self.writes(&message.to_string());
    }

    fn writes(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        // A child that has ended says why.
        let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    }

    /// The next line of the child's. A test that asserts what it is has asserted that nothing else
    /// came before it.
    #[track_caller]
    fn hears(&self) -> Value {
        let line = match self.said.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!("no answer: {error}"),
        };
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a message: {line}"))
    }

    #[track_caller]
    fn hears_status(&self, action: &str) {
        assert_eq!(self.hears(), json!({ "action": "status", "responseFor": action }));
    }

    /// A message whose answer is its status.
    #[track_caller]
    fn asks(&mut self, action: &str) {
        self.says(&json!({ "action": action }));
        self.hears_status(action);
    }

    fn answers(&mut self, error: Option<&str>) {
        self.says(&json!({ "action": "checkpoint", "sequenceNumber": "1", "subSequenceNumber": 0, "error": error }));
    }

    /// Sends records, takes any checkpoints, and returns the last one.
    #[track_caller]
    fn sends(&mut self, records: &[Value]) -> Option<(String, u64)> {
        self.says(&batch(records));
        let mut last = None;
        loop {
            let said = self.hears();
            match checkpoint(&said) {
                Some(at) => {
                    last = at;
                    self.answers(None);
                }
                None => {
                    assert_eq!(said, json!({ "action": "status", "responseFor": "processRecords" }));
                    return last;
                }
            }
        }
    }

    /// A tick that has no checkpoint for an answer.
    #[track_caller]
    fn asks_nothing(&mut self) {
        assert_eq!(self.sends(&[]), None);
    }

    /// Sends nothing, until there is a checkpoint.
    #[track_caller]
    fn waits_for_checkpoint(&mut self) -> (String, u64) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(at) = self.sends(&[]) {
                return at;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("no checkpoint");
    }

    /// Ends its input, and takes what it wrote until then.
    fn ends(mut self, workspace: &Workspace) -> (Run, Vec<String>) {
        drop(self.child.stdin.take());
        let run = workspace.wait(self.child.take());
        (run, self.said.iter().collect())
    }
}

const SHARD: &str = "shardId-000000000000";

fn batch(records: &[Value]) -> Value {
    json!({ "action": "processRecords", "records": records, "millisBehindLatest": 0 })
}

fn record(number: u64, sub: u64, data: &[u8]) -> Value {
    json!({
        "action": "record",
        "data": BASE64.encode(data),
        "partitionKey": "a",
        "sequenceNumber": sequence_number(number),
        "subSequenceNumber": sub,
        "approximateArrivalTimestamp": 1_767_600_000_068_u64,
    })
}

fn sequence_number(number: u64) -> String {
    format!("4968067410039127036193947710139081164837193642816831{number:04}")
}

/// A record for each line, numbered from 1.
fn records(text: &[u8]) -> Vec<Value> {
    lines(text).zip(1..).map(|(line, number)| record(number, 0, line)).collect()
}

/// Where a checkpoint is; its inner `None` is the end of the shard. `None` for another message.
fn checkpoint(said: &Value) -> Option<Option<(String, u64)>> {
    let fields: Vec<&str> = said.as_object().expect("an object").keys().map(String::as_str).collect();
    if fields != ["action", "sequenceNumber", "subSequenceNumber"] || said["action"] != "checkpoint" {
        return None;
    }
    Some(said["sequenceNumber"].as_str().map(|number| {
        (number.to_owned(), said["subSequenceNumber"].as_u64().expect("never one number without the other"))
    }))
}

#[track_caller]
fn is_end_of_shard(said: &Value) {
    assert_eq!(*said, json!({ "action": "checkpoint", "sequenceNumber": null, "subSequenceNumber": null }));
}

#[test]
fn a_shard_from_its_first_message_to_its_end() {
    let (aws, workspace, log) = (FakeAws::start(), Workspace::new(), log("realtime-46", 300));
    let stream = aws.delivery_stream("beacons");
    let mut daemon = Daemon::of_aws(&workspace, &aws, &[]).initialized();
    let records = records(&log);
    daemon.sends(&records[..100]);
    daemon.sends(&records[100..200]);
    while daemon.waits_for_checkpoint() != (sequence_number(200), 0) {}
    // Several requests are on the way at a time, and any may arrive first.
    assert_eq!(sorted(&delivered(&stream)), sorted(&records_text(&log, 200)));
    // Nothing new, nothing to say.
    daemon.asks_nothing();
    daemon.says(&batch(&records[200..]));
    daemon.hears_status("processRecords");
    daemon.says(&json!({ "action": "shardEnded" }));
    is_end_of_shard(&daemon.hears());
    assert_eq!(sorted(&delivered(&stream)), sorted(&log), "everything arrived before");
    daemon.answers(None);
    daemon.hears_status("shardEnded");
    let (run, rest) = daemon.ends(&workspace);
    assert!(run.ok().stderr.contains(&format!("{SHARD}: 300 lines in = 300 shipped")));
    assert_eq!(rest, Vec::<String>::new());
}

/// The lines of the first records.
fn records_text(log: &[u8], count: usize) -> Vec<u8> {
    lines(log).take(count).collect::<Vec<_>>().concat()
}

fn delivered(stream: &fake_aws::DeliveryStream) -> Vec<u8> {
    stream.delivered().iter().flat_map(|record| record.data.to_vec()).collect()
}

#[test]
fn a_checkpoint_names_the_place_in_an_aggregate() {
    let (workspace, log) = (Workspace::new(), log("realtime-46", 3));
    let mut daemon = Daemon::start(&workspace, &["--to", "null:"]).initialized();
    let records: Vec<Value> = lines(&log).zip(0..).map(|(line, sub)| record(7, sub, line)).collect();
    daemon.sends(&records);
    assert_eq!(daemon.waits_for_checkpoint(), (sequence_number(7), 2));
    daemon.ends(&workspace).0.ok();
}

#[test]
fn only_what_is_delivered_is_acknowledged() {
    let (aws, workspace, log) = (FakeAws::start(), Workspace::new(), log("realtime-46", 100));
    let stream = aws.delivery_stream("beacons");
    let mut daemon = Daemon::of_aws(&workspace, &aws, &["--hand-off", "300ms", "--grace", "1s"]).initialized();
    let records = records(&log);
    daemon.sends(&records[..50]);
    assert_eq!(daemon.waits_for_checkpoint(), (sequence_number(50), 0));
    aws.down();
    assert_eq!(daemon.sends(&records[50..]), None);
    for _ in 0..20 {
        daemon.asks_nothing();
        thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    daemon.asks("shutdownRequested");
    assert!(begun.elapsed() >= Duration::from_millis(300), "it waits as long as it may");
    daemon.asks("leaseLost");
    let (run, rest) = daemon.ends(&workspace);
    let run = run.ok();
    assert!(run.stderr.contains(&format!("{SHARD}: 50 records have no checkpoint")), "{}", run.stderr);
    assert_eq!(rest, Vec::<String>::new());
    assert_eq!(sorted(&delivered(&stream)), sorted(&records_text(&log, 50)));
}

#[test]
fn what_is_on_its_way_is_handed_over() {
    // Without a linger, a record would wait for ever to be full.
    for to in ["null:", "dir:out"] {
        let (workspace, log) = (Workspace::new(), log("realtime-46", 10));
        let mut daemon = Daemon::start(&workspace, &["--to", to, "--linger", "none"]).initialized();
        daemon.sends(&records(&log));
        daemon.asks_nothing();
        daemon.says(&json!({ "action": "shutdownRequested" }));
        assert_eq!(checkpoint(&daemon.hears()), Some(Some((sequence_number(10), 0))));
        daemon.answers(None);
        daemon.hears_status("shutdownRequested");
        daemon.asks("leaseLost");
        let (run, _) = daemon.ends(&workspace);
        run.ok();
        assert!(to == "null:" || workspace.delivered("out") == log);
    }
}

#[test]
fn a_lease_that_is_lost_has_no_checkpoint() {
    let (aws, workspace, log) = (FakeAws::start(), Workspace::new(), log("realtime-46", 10));
    aws.delivery_stream("beacons");
    let mut daemon = Daemon::of_aws(&workspace, &aws, &["--linger", "10s"]).initialized();
    daemon.sends(&records(&log));
    daemon.asks("leaseLost");
    let begun = Instant::now();
    let (run, rest) = daemon.ends(&workspace);
    assert!(run.ok().stderr.contains("10 records have no checkpoint"));
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing is waited for");
    assert_eq!(rest, Vec::<String>::new());
}

#[test]
fn a_checkpoint_that_fails_for_now_is_made_again() {
    let (workspace, log) = (Workspace::new(), log("realtime-46", 10));
    let mut daemon = Daemon::start(&workspace, &["--to", "null:"]).initialized();
    daemon.sends(&records(&log));
    thread::sleep(Duration::from_millis(300));
    daemon.says(&batch(&[]));
    for error in [Some("ThrottlingException"), Some("KinesisClientLibDependencyException"), None] {
        assert_eq!(checkpoint(&daemon.hears()), Some(Some((sequence_number(10), 0))));
        daemon.answers(error);
    }
    daemon.hears_status("processRecords");
    daemon.says(&json!({ "action": "shardEnded" }));
    for error in [Some("ThrottlingException"), Some("ThrottlingException"), None] {
        is_end_of_shard(&daemon.hears());
        daemon.answers(error);
    }
    daemon.hears_status("shardEnded");
    daemon.ends(&workspace).0.ok();
}

#[test]
fn a_table_that_throttles_for_long_is_tried_later() {
    let (workspace, log) = (Workspace::new(), log("realtime-46", 10));
    let mut daemon = Daemon::start(&workspace, &["--to", "null:"]).initialized();
    daemon.sends(&records(&log));
    thread::sleep(Duration::from_millis(300));
    daemon.says(&batch(&[]));
    let begun = Instant::now();
    while checkpoint(&daemon.hears()).is_some() {
        daemon.answers(Some("ThrottlingException"));
        assert!(begun.elapsed() < PATIENCE, "a shard that goes on does not wait for ever");
    }
    assert_eq!(daemon.waits_for_checkpoint(), (sequence_number(10), 0));
    daemon.ends(&workspace).0.ok();
}

#[test]
fn a_lease_that_is_gone_is_let_go() {
    let (workspace, log) = (Workspace::new(), log("realtime-46", 20));
    let mut daemon = Daemon::start(&workspace, &["--to", "null:"]).initialized();
    let records = records(&log);
    daemon.sends(&records[..10]);
    thread::sleep(Duration::from_millis(300));
    daemon.says(&batch(&[]));
    assert!(checkpoint(&daemon.hears()).is_some());
    daemon.answers(Some("ShutdownException"));
    daemon.hears_status("processRecords");
    daemon.says(&batch(&records[10..]));
    daemon.hears_status("processRecords");
    for action in ["shardEnded", "shutdownRequested", "leaseLost"] {
        daemon.asks(action);
    }
    let (run, rest) = daemon.ends(&workspace);
    run.ok();
    assert_eq!(rest, Vec::<String>::new());
}

#[test]
fn a_checkpoint_that_is_refused_ends_the_child() {
    for (error, advice) in [
        ("InvalidStateException", "the lease table is missing"),
        ("IllegalArgumentException", "a fault of this program"),
        ("NullPointerException", "does not know"),
    ] {
        let workspace = Workspace::new();
        let mut daemon = Daemon::start(&workspace, &["--to", "null:"]).initialized();
        daemon.says(&json!({ "action": "shardEnded" }));
        is_end_of_shard(&daemon.hears());
        daemon.answers(Some(error));
        let (run, rest) = daemon.ends(&workspace);
        run.exits(1).says(&["the checkpoint at SHARD_END was refused", error, advice]);
        assert_eq!(rest, Vec::<String>::new(), "no status");
    }
}

#[test]
fn a_message_that_is_none_ends_the_child() {
    let first = r#"{"action":"initialize","shardId":"s"}"#;
    for (lines, wanted) in [
        (&["hello"][..], "message 1 of the daemon: not valid JSON at byte 1"),
        (&[r#"{"action":"processRecords","records":[]}"#], "processRecords before initialize"),
        (&[first, first], "message 2 of the daemon: initialize a second time"),
        (&[first, r#"{"action":"checkpoint","error":null}"#], "checkpoint without being asked"),
        (&[first, r#"{"action":"dance"}"#], "the action `dance` is unknown"),
        (&[first, r#"{"action":"processRecords","records":[{"data":"?"}]}"#], "record 1 of 1: no `sequenceNumber`"),
        (&[first, r#"{"action":"shardEnded"}"#, r#"{"action":"leaseLost"}"#], "leaseLost in place of the answer"),
        (&[first, r#"{"action":"shardEnded""#], "not valid JSON"),
    ] {
        let workspace = Workspace::new();
        let mut daemon = Daemon::start(&workspace, &["--to", "null:"]);
        lines.iter().for_each(|line| daemon.writes(line));
        let (run, said) = daemon.ends(&workspace);
        run.exits(1).says(&[wanted]);
        for line in said {
            let said: Value = serde_json::from_str(&line).expect("nothing but the protocol on stdout");
            assert!(["status", "checkpoint"].iter().any(|action| said["action"] == *action), "{line}");
        }
    }
}

#[test]
fn a_daemon_that_says_nothing_is_no_error() {
    let workspace = Workspace::new();
    let (run, said) = Daemon::start(&workspace, &["--to", "null:"]).ends(&workspace);
    run.ok();
    assert_eq!(said, Vec::<String>::new());
}

#[test]
fn a_delivery_that_fails_for_good_ends_the_child_without_a_checkpoint() {
    let (aws, workspace, log) = (FakeAws::start(), Workspace::new(), log("realtime-46", 10));
    let stream = aws.delivery_stream("beacons");
    let mut daemon = Daemon::of_aws(&workspace, &aws, &[]).initialized();
    stream.fault(Fault::error(400, "AccessDeniedException", "no"));
    stream.fault(Fault::error(400, "AccessDeniedException", "no"));
    daemon.says(&batch(&records(&log)));
    daemon.hears_status("processRecords");
    daemon.says(&json!({ "action": "shardEnded" }));
    // It ends by itself.
    let rest: Vec<String> = daemon.said.iter().collect();
    let run = workspace.wait(daemon.child.take()).exits(1);
    run.says(&[SHARD, "not everything up to", "no checkpoint covers it"]);
    assert!(run.stderr.contains("firehose://beacons: AccessDeniedException"), "{}", run.stderr);
    assert_eq!(rest, Vec::<String>::new());
}

#[test]
fn a_batch_of_14_megabytes_is_one_line() {
    let (workspace, log) = (Workspace::new(), log("realtime-46", 24_000));
    let mut daemon = Daemon::start(&workspace, &["--to", "dir:out"]).initialized();
    let text: Vec<u8> = lines(&log).collect::<Vec<_>>().concat();
    let message =
        batch(&text.chunks(1 << 20).zip(1..).map(|(data, number)| record(number, 0, data)).collect::<Vec<_>>());
    assert!(message.to_string().len() > 14_000_000, "{}", message.to_string().len());
    daemon.says(&message);
    daemon.hears_status("processRecords");
    daemon.says(&json!({ "action": "shardEnded" }));
    is_end_of_shard(&daemon.hears());
    daemon.answers(None);
    daemon.hears_status("shardEnded");
    let (run, _) = daemon.ends(&workspace);
    run.ok();
    assert!(!workspace.delivered("out").is_empty());
}

#[test]
fn nulls_old_messages_and_aggregates_are_read() {
    let (workspace, log) = (Workspace::new(), log("realtime-46", 5));
    let mut daemon = Daemon::start(&workspace, &["--to", "dir:out"]);
    daemon.writes(r#"{"action":"initialize","shardId":"shardId-7","sequenceNumber":null,"subSequenceNumber":null}"#);
    daemon.hears_status("initialize");
    let (mut aggregate, key) = (Vec::new(), PartitionKey::of_hash_key(1));
    let first: Vec<&[u8]> = lines(&log).take(3).collect();
    write_aggregate(&mut aggregate, &key, first.iter().copied());
    seal(&mut [&mut aggregate]);
    let mut damaged = aggregate.clone();
    *damaged.last_mut().expect("a digest") ^= 1;
    let without_newline = log[..log.len() - 1].to_vec();
    let rest = lines(&without_newline).skip(3).collect::<Vec<_>>().concat();
    daemon.says(&json!({
        "action": "processRecords",
        "millisBehindLatest": null,
        "new": { "field": [1] },
        "records": [
            { "data": null, "partitionKey": null, "sequenceNumber": "1", "approximateArrivalTimestamp": null, "subSequenceNumber": null },
            record(2, 0, &aggregate),
            record(3, 0, &rest),
            record(4, 0, &damaged),
        ],
    }));
    daemon.hears_status("processRecords");
    daemon.says(&json!({ "action": "shutdown", "reason": "SHARD_END" }));
    is_end_of_shard(&daemon.hears());
    daemon.answers(None);
    daemon.hears_status("shutdown");
    let (run, _) = daemon.ends(&workspace);
    run.ok();
    assert_eq!(workspace.delivered("out"), log);
    let bad = workspace.quarantine();
    assert!(bad[0].source.starts_with("shardId-7 from 1"), "{}", bad[0].source);
    assert!(bad[0].bytes().starts_with(b"\xf3\x89\x9a\xc2"), "a damaged aggregate is kept");
}

#[test]
fn signals_are_the_daemons_business() {
    let (workspace, log) = (Workspace::new(), log("realtime-46", 10));
    let mut daemon = Daemon::start(&workspace, &["--to", "dir:out"]).initialized();
    for name in ["INT", "TERM", "TERM"] {
        signal(&daemon.child, name);
        thread::sleep(Duration::from_millis(20));
    }
    daemon.sends(&records(&log));
    daemon.says(&json!({ "action": "shardEnded" }));
    is_end_of_shard(&daemon.hears());
    daemon.answers(None);
    daemon.hears_status("shardEnded");
    daemon.ends(&workspace).0.ok();
    assert_eq!(workspace.delivered("out"), log);
}

#[test]
fn flags_that_have_no_place_are_refused() {
    let workspace = Workspace::new();
    for (arguments, reason) in [
        (&["--resume", "x"][..], "lease table"),
        (&["--spool", "x"], "Kinesis keeps it"),
        (&["--to", "stdout:"], "standard output"),
        (&["--print-properties"], "--stream"),
        (&["--stream", "x"], "--print-properties"),
    ] {
        let run = run(workspace.command(&["kcl"]).args(arguments), b"").exits(2);
        assert!(run.stderr.contains(reason), "{}", run.stderr);
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn the_properties_have_the_childs_flags() {
    let workspace = Workspace::new();
    let print = |arguments: &[&str]| {
        let mut command = workspace.command(&["kcl", "--print-properties", "--application=counts"]);
        command.args(arguments).env_remove("AWS_REGION");
        run(&mut command, b"")
    };
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/hits";
    let text = print(&["--encode", "jsonl", "--stream", arn, "--to=null:", "--metrics", "summary"]).ok().stdout;
    let text = String::from_utf8(text).expect("ASCII");
    let program = env!("CARGO_BIN_EXE_pixel-engine");
    for line in [
        &*format!("executableName = {program} kcl --encode jsonl --to=null:"),
        &format!("streamArn = {arn}"),
        "applicationName = counts",
        "regionName = eu-west-1",
        "metricsLevel = SUMMARY",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    print(&["--stream", "hits"]).exits(2).says(&["no region"]);
    print(&["--stream", arn, "--replace", "c-ip=a b"]).exits(2).says(&["`c-ip=a b`", "splits the command at spaces"]);
    print(&["--stream", arn, "--hash", "c-ip", "--hash-key", "0123456789abcdef"])
        .exits(2)
        .says(&["PIXEL_ENGINE_HASH_KEY"]);
}

/// What real daemons are given, and where they read and deliver.
struct Application {
    workspace: Workspace,
    kinesis: Emulator,
    /// Has the lease table.
    moto: Emulator,
    aws: FakeAws,
}

/// A daemon in Java, and its log.
struct Worker {
    jvm: Guarded,
}

impl Worker {
    fn has_children(&self) -> bool {
        !children(self.jvm.id()).is_empty()
    }
}

/// For the tests: failures and changes of the stream are noticed in seconds, and leases of shards
/// that have ended stay to be looked at. A busy machine must be able to renew its leases in time,
/// and a worker that was killed must not be given any.
pub(crate) const HASTE: &str = "
failoverTimeMillis = 6000
leaseAssignmentIntervalMillis = 2000
workerMetricsReporterFreqInMillis = 2000
shardSyncIntervalMillis = 1000
parentShardPollIntervalMillis = 500
shutdownGraceMillis = 5000
idleTimeBetweenReadsInMillis = 200
cleanupLeasesUponShardCompletion = false
disableWorkerMetrics = true
maxRecords = 500
";

impl Application {
    fn start(shards: u32) -> Option<Application> {
        let kinesis = kinesis_local(None)?;
        let (workspace, moto, aws) = (Workspace::new(), moto(), FakeAws::start());
        kinesis.call("kinesis", &[("create_stream", json!({ "StreamName": "hits", "ShardCount": shards }))]);
        let application = Application { workspace, kinesis, moto, aws };
        application.is_active();
        let endpoint = application.aws.endpoint_url();
        let mut print = application.workspace.command(&["kcl", "--to", "firehose://beacons"]);
        print.args(["--endpoint-url", &endpoint, "--linger", "100ms", "--checkpoint-interval", "500ms"]);
        print.args(["--print-properties", "--stream", "hits", "--application", "counts"]);
        let printed = run(print.args(["--stream-region", "us-east-1"]), b"").ok().stdout;
        let here = format!(
            "kinesisEndpoint = {}\ndynamoDBEndpoint = {}\n{HASTE}",
            application.kinesis.url(),
            application.moto.url()
        );
        // What stands last holds.
        application.workspace.write("kcl.properties", &[&printed[..], here.as_bytes()].concat());
        Some(application)
    }

    /// Waits until the stream takes changes.
    fn is_active(&self) {
        wait_until("the stream is active", || {
            let reply = self.kinesis.call("kinesis", &[("describe_stream_summary", json!({ "StreamName": "hits" }))]);
            reply[0]["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
        });
    }

    /// Starts a daemon, as a machine of its own would.
    fn worker(&self, name: &str, mut java: Command) -> Worker {
        let log = File::create(self.workspace.path(name)).expect("a file");
        java.args(["--properties-file", "kcl.properties"]).current_dir(self.workspace.path(""));
        java.stdin(Stdio::null()).stderr(log.try_clone().expect("it is open")).stdout(log);
        // Only the children talk to this AWS, and they are told so.
        java.envs(self.aws.environment()).env_remove("AWS_ENDPOINT_URL").env_remove("AWS_PROFILE");
        java.env("AWS_EC2_METADATA_DISABLED", "true");
        Worker { jvm: Guarded::start(&mut java) }
    }

    /// Kills the leader; for some two minutes after its end the KCL distributes nothing.
    fn in_place_of(&self, leader: Worker, java: Command) -> Worker {
        signal(&leader.jvm, "KILL");
        drop(leader);
        let (worker, begun) = (self.worker("fourth.log", java), Instant::now());
        while !worker.has_children() {
            assert!(begun.elapsed() < Duration::from_secs(300), "nobody distributes the shards");
            thread::sleep(Duration::from_millis(100));
        }
        worker
    }

    /// Sends lines to the stream: a record of aggregates or of plain lines.
    fn feed(&self, first: u64, count: u64, is_aggregated: bool) {
        let (container, size) = if is_aggregated { ("kpl", "20KiB") } else { ("lines", "5KiB") };
        let name = format!("{first}.log");
        self.workspace.write(&name, &log_from("realtime-46", first, count));
        let mut command = self.workspace.ingest_command(&[&name, "--to", "kinesis://hits", "--rate-limit", "none"]);
        command.args(["--container", container, "--record-size", size]);
        run(command.envs(self.kinesis.environment()).env_remove("AWS_PROFILE"), b"").ok();
    }

    /// The leases: owner and checkpoint of each shard.
    fn leases(&self) -> BTreeMap<String, (Option<String>, String)> {
        let reply = self.moto.call("dynamodb", &[("scan", json!({ "TableName": "counts" }))]);
        let text = |item: &Value, name: &str| item[name]["S"].as_str().map(str::to_owned);
        let items = reply[0]["Items"].as_array().expect("items").iter();
        let shards =
            items.filter_map(|item| text(item, "leaseKey").filter(|key| key.starts_with("shardId-")).zip(Some(item)));
        shards
            .map(|(shard, item)| (shard, (text(item, "leaseOwner"), text(item, "checkpoint").unwrap_or_default())))
            .collect()
    }
}

/// The processes that this one started.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let ids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
    // `pid (name) state parent …`
    let parent_of = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    ids.filter(|&id| parent_of(id) == Some(parent)).collect()
}

/// Waits for what daemons do: the KCL sleeps up to half a minute before it makes the first leases.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "after 120 s, not yet: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn is_alive(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

/// Waits for its end, as a service manager does that starts it again.
#[track_caller]
fn exit_code(mut worker: Worker) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = worker.jvm.try_wait().expect("its state can be had") {
            return status.code();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the daemon does not end");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_line_is_lost_by_real_daemons_that_are_killed_while_the_stream_is_resharded() {
    let total = soak(20_000, 1_000_000);
    let Some(java) = multi_lang_daemon() else { return };
    let again = || multi_lang_daemon().expect("it was there a moment ago");
    let Some(application) = Application::start(4) else { return };
    let stream = application.aws.delivery_stream("beacons");
    let arrivals = Arrivals::at(&stream, total);
    let part = total / 8;
    let feed = |number: u64| application.feed(number * part, part, number.is_multiple_of(2));

    // The first one is the leader, which distributes the shards.
    let mut leader = application.worker("first.log", java);
    feed(0);
    eventually("lines arrive", || arrivals.count() > 0);
    let second = application.worker("second.log", again());
    feed(1);
    eventually("the second daemon has shards", || second.has_children());

    // A daemon ends with its child, and is started again.
    feed(2);
    let child = *children(second.jvm.id()).first().expect("it had some a moment ago");
    Command::new("kill").args(["-KILL", &child.to_string()]).status().expect("there is `kill`");
    feed(3);
    assert_eq!(exit_code(second), Some(1));
    let third = application.worker("third.log", again());
    eventually("the third daemon has shards", || third.has_children());

    // A machine that is gone: its leases run out, and its children do not outlive it.
    let before = arrivals.count();
    thread::scope(|scope| {
        scope.spawn(|| feed(4));
        eventually("more lines arrive", || arrivals.count() > before);
        let orphans = children(third.jvm.id());
        signal(&third.jvm, "KILL");
        eventually("its children end", || !orphans.iter().any(|child| is_alive(*child)));
    });
    drop(third);

    feed(5);
    let shard = |number: u32| format!("shardId-{number:012}");
    let split =
        json!({ "StreamName": "hits", "ShardToSplit": shard(0), "NewStartingHashKey": (1_u128 << 125).to_string() });
    application.kinesis.call("kinesis", &[("split_shard", split)]);
    application.is_active();
    feed(6);
    let merge = json!({ "StreamName": "hits", "ShardToMerge": shard(2), "AdjacentShardToMerge": shard(3) });
    application.kinesis.call("kinesis", &[("merge_shards", merge)]);
    application.is_active();
    if soak(0, 1) == 1 {
        leader = application.in_place_of(leader, again());
    }
    feed(7);

    let begun = Instant::now();
    while arrivals.count() < total {
        let leases = || application.leases();
        assert!(begun.elapsed() < Duration::from_secs(120), "{} of {total} lines: {:#?}", arrivals.count(), leases());
        thread::sleep(Duration::from_millis(50));
    }
    arrivals.wait_for(0..total);
    eventually("shards that have ended are closed", || {
        let leases = application.leases();
        [0, 2, 3].iter().all(|&number| leases.get(&shard(number)).is_some_and(|(_, at)| at == "SHARD_END"))
    });
    let last = children(leader.jvm.id());
    signal(&leader.jvm, "TERM");
    exit_code(leader);
    assert!(!last.iter().any(|child| is_alive(*child)), "its children end before it does");
    let leases = application.leases();
    assert_eq!(leases.len(), 7, "{leases:?}");
    let open = leases.iter().filter(|(_, (_, at))| at.bytes().all(|byte| byte.is_ascii_digit())).count();
    assert_eq!(open, 4, "every open shard has a checkpoint: {leases:?}");
    let duplicates = arrivals.duplicates();
    let _ = writeln!(std::io::stderr(), "kcl: {total} lines, none lost, {duplicates} came again");
    assert!(duplicates < total / 2, "{duplicates} duplicates");
    assert_eq!(application.aws.counters().violations, Vec::<String>::new());
}
