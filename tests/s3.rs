use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_aws::{Action, Bucket, FakeAws, Fault, StoredObject};
use serde_json::json;

use crate::memory::{LIMIT, peak_when_idle};
use crate::peers::moto;
use crate::support::*;

/// Some 32 MB of log, which are seven parts.
const LARGE: u64 = 40_000;

struct Test {
    aws: FakeAws,
    bucket: Bucket,
    workspace: Workspace,
}

impl Test {
    fn new(lines: u64) -> Test {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        let bucket = aws.bucket("logs");
        workspace.write("a.log", &log("realtime-46", lines));
        Test { aws, bucket, workspace }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.ingest_command(&["--to", "s3://logs/hits"]);
        command.args(arguments).envs(self.aws.environment()).env_remove("AWS_PROFILE");
        command
    }

    fn ingest(&self, arguments: &[&str]) -> Run {
        self.workspace.ingest_with(&mut self.command(arguments), b"")
    }

    /// Every one of so many lines is in the bucket once, and nothing else is.
    #[track_caller]
    fn has_all(&self, lines: u64) {
        let mut seen = Seen::new(lines);
        self.bucket.objects().values().for_each(|object| seen.ids_in(&object.bytes));
        seen.all();
        assert_eq!((self.bucket.uploads(), self.violations()), (0, Vec::new()));
    }

    fn violations(&self) -> Vec<String> {
        self.aws.counters().violations
    }
}

#[test]
fn objects_are_what_other_people_read() {
    let moto = moto();
    moto.call("s3", &[("create_bucket", json!({ "Bucket": "delivered" }))]);
    let cases: [(&str, u64, &[&str], &str); 4] = [
        ("raw", 20_000, &[], ".tsv"),
        ("jsonl", 2_000, &["--encode", "jsonl"], ".jsonl"),
        ("zstd", 2_000, &["--compress", "zstd", "--sse", "AES256"], ".tsv.zst"),
        ("gzip", 2_000, &["--compress", "gzip", "--sse", "aws:kms", "--sse-kms-key-id", "alias/logs"], ".tsv.gz"),
    ];
    for (name, count, arguments, extension) in cases {
        let workspace = Workspace::new();
        workspace.write("a.log", &log("realtime-46", count));
        let to = format!("s3://delivered/{name}/");
        let mut command = workspace.ingest_command(&["a.log", "--to", &to]);
        command.args(arguments).envs(moto.environment()).env_remove("AWS_PROFILE");
        let run = workspace.ingest_with(&mut command, b"").ok();
        run.says(&["objects   below", &to]);
        let shipping = run.summary().shipping.expect("requests were made");
        assert_eq!(shipping.objects, 1);

        let of_prefix = json!({ "Bucket": "delivered", "Prefix": format!("{name}/") });
        let replies = moto.call(
            "s3",
            &[("list_objects_v2", of_prefix), ("list_multipart_uploads", json!({ "Bucket": "delivered" }))],
        );
        assert_eq!(replies[1].get("Uploads"), None);
        let [object] = &replies[0]["Contents"].as_array().expect("objects")[..] else { panic!("one object") };
        let key = object["Key"].as_str().expect("a key");
        let parts: Vec<&str> = key.split('/').collect();
        assert!(parts.len() == 6 && parts[5].starts_with("pixel-engine-1-") && parts[5].ends_with(extension), "{key}");
        let got = &moto.call("s3", &[("get_object", json!({ "Bucket": "delivered", "Key": key }))])[0];
        // With it, whoever reads through HTTP would decompress what the name says is compressed.
        assert_eq!(got.get("ContentEncoding"), None, "{got}");
        assert_eq!(
            got["ServerSideEncryption"].as_str(),
            arguments.iter().skip_while(|it| **it != "--sse").nth(1).copied()
        );
        let raw = BASE64.decode(got["Body"].as_str().expect("a body")).expect("base64");
        let (kind, text) = match name {
            "zstd" => ("application/zstd", zstd::decode_all(&raw[..]).expect("zstd")),
            "gzip" => ("application/gzip", gunzip(&raw)),
            "jsonl" => ("application/x-ndjson", raw),
            _ => ("text/tab-separated-values", raw),
        };
        assert_eq!(got["ContentType"], kind);
        let mut seen = Seen::new(count);
        seen.ids_in(&text);
        seen.all();
        if name == "raw" {
            assert_eq!(text, log("realtime-46", count));
            assert!(shipping.parts > 2, "{shipping:?}");
        }
    }
    let workspace = Workspace::new();
    let check = |to: &str| {
        let mut command = workspace.command(&["check", "--to", to]);
        run(command.envs(moto.environment()).env_remove("AWS_PROFILE"), b"")
    };
    let there = check("s3://delivered/raw/").ok();
    assert!(String::from_utf8_lossy(&there.stdout).contains("bucket       is there, us-east-1"), "{:?}", there.stdout);
    check("s3://nowhere/").exits(1).says(&["s3://nowhere/: s3:ListBucket: NoSuchBucket (check the bucket's name"]);
    check("dir:out").exits(2);
}

#[test]
fn a_large_object_goes_in_parts_and_is_whole() {
    let test = Test::new(LARGE);
    let run = test.ingest(&["a.log", "--threads", "2"]).ok();
    let shipping = run.summary().shipping.expect("requests were made");
    let counters = test.aws.counters();
    let of = |action| counters.requests_of(action);
    let size: u64 = log("realtime-46", LARGE).len() as u64;
    assert_eq!(
        (of(Action::CreateMultipartUpload), of(Action::CompleteMultipartUpload), of(Action::PutObject)),
        (1, 1, 0)
    );
    assert_eq!((of(Action::UploadPart), shipping.parts), (size.div_ceil(5 << 20), size.div_ceil(5 << 20)));
    assert_eq!((shipping.objects, shipping.requests_retried, shipping.bytes_sent), (1, 0, size));
    run.says(&["1 object, 7 parts"]);
    let objects = test.bucket.objects();
    let [(key, StoredObject { bytes, headers })] = &objects.iter().collect::<Vec<_>>()[..] else {
        panic!("one object")
    };
    assert!(key.starts_with("hits/20") && *bytes == log("realtime-46", LARGE), "{key}");
    assert_eq!(headers.get("content-encoding"), None);
    test.has_all(LARGE);
}

#[test]
fn failures_are_tried_again_and_nothing_is_lost_or_doubled() {
    let faults = [
        Fault::error(503, "SlowDown", "Please reduce your request rate."),
        Fault::error(500, "InternalError", "We encountered an internal error. Please try again."),
        Fault::error(409, "ConditionalRequestConflict", "A conflicting operation occurred."),
        Fault::error(400, "RequestTimeout", "Your socket connection was not read from or written to in time."),
        Fault::ProxyUnavailable,
        Fault::ResetAfterBody { stored: false },
        Fault::ResetAfterBody { stored: true },
        Fault::ResetBeforeBody,
        Fault::Truncated,
    ];
    for (seed, small) in [(1, true), (2, false), (3, true), (4, false)] {
        let lines = if small { 500 } else { LARGE };
        let test = Test::new(lines);
        test.bucket.fail_requests(0.4, seed, &faults);
        let run = test.ingest(&["a.log"]).ok();
        let shipping = run.summary().shipping.expect("requests were made");
        assert!(small || shipping.requests_retried > 0, "{shipping:?}");
        test.has_all(lines);
        assert_eq!(test.bucket.objects().len(), 1);
    }
}

/// What stored an object and did not say so is found to have done it; no second one is stored.
#[test]
fn an_object_that_was_stored_without_a_reply_is_known_again() {
    for (lines, action) in [(500, Action::PutObject), (LARGE, Action::CompleteMultipartUpload)] {
        for fault in [Fault::ResetAfterBody { stored: true }, Fault::NeverReply { stored: true }, Fault::Truncated] {
            let test = Test::new(lines);
            test.bucket.fault_on(action, fault.clone());
            let run = test.ingest(&["a.log", "--request-timeout", "3s"]).ok();
            let shipping = run.summary().shipping.expect("requests were made");
            let is_read = matches!(fault, Fault::Truncated) && action == Action::PutObject;
            assert!(shipping.requests_retried > 0 || is_read, "{action:?} {fault:?}: {shipping:?}");
            test.has_all(lines);
            assert_eq!(test.bucket.objects().len(), 1);
        }
    }
}

#[test]
fn what_cannot_be_stored_ends_the_run_and_comes_with_the_next() {
    let denied = Fault::error(403, "AccessDenied", "Access Denied");
    let there = Fault::error(412, "PreconditionFailed", "At least one of the pre-conditions did not hold");
    for (lines, action, fault, says) in [
        (500, Action::PutObject, denied.clone(), "s3:PutObject: AccessDenied: Access Denied (the role or user needs"),
        (500, Action::PutObject, there.clone(), "PreconditionFailed"),
        (LARGE, Action::CreateMultipartUpload, denied.clone(), "AccessDenied"),
        (LARGE, Action::UploadPart, denied, "AccessDenied"),
        (LARGE, Action::CompleteMultipartUpload, there, "(another object has that name"),
    ] {
        let test = Test::new(lines);
        test.bucket.fault_on(action, fault);
        // With a checkpoint, a small object is an upload of one part too.
        let arguments: &[&str] = match action {
            Action::PutObject => &["a.log"],
            _ => &["a.log", "--resume", "checkpoint"],
        };
        let run = test.ingest(arguments).exits(1);
        run.says(&["pixel-engine: s3://logs/hits/20", says]);
        assert_eq!((run.summary().lines_shipped, test.bucket.objects().len(), test.bucket.uploads()), (0, 0, 0));
        test.ingest(arguments).ok();
        test.has_all(lines);
        if action != Action::PutObject {
            assert_eq!(test.ingest(arguments).ok().summary().lines_in, 0);
        }
    }
}

#[test]
fn a_bucket_that_does_not_answer_is_given_up() {
    let test = Test::new(LARGE);
    // It goes down when the first part has arrived.
    test.bucket.fault_on(Action::UploadPart, Fault::Delay(Duration::from_millis(500)));
    let child = test.command(&["a.log", "--resume", "checkpoint", "--give-up-after", "1s"]).spawn().expect("it starts");
    wait_until("a part arrived", || test.aws.counters().requests_of(Action::UploadPart) > 0);
    test.aws.down();
    let run = test.workspace.wait(child).exits(1);
    run.says(&["s3://logs/hits/20", "given up after", "ConnectionFailed"]);
    run.says(&["parts of it stay in the bucket, until a lifecycle rule removes them"]);
    assert_eq!(run.summary().lines_shipped, 0);
    test.aws.up();
    test.ingest(&["a.log", "--resume", "checkpoint"]).ok();
    let mut seen = Seen::new(LARGE);
    test.bucket.objects().values().for_each(|object| seen.ids_in(&object.bytes));
    seen.all();
}

#[test]
fn what_is_wrong_with_the_bucket_is_said_before_anything_is_read() {
    let test = Test::new(10);
    let to = |to: &str, more: &[&str]| {
        let mut command = test.workspace.ingest_command(&["a.log", "--to", to]);
        command.args(more).envs(test.aws.environment()).env_remove("AWS_PROFILE");
        test.workspace.ingest_with(&mut command, b"")
    };
    to("s3://nowhere/", &[]).exits(1).says(&["s3://nowhere/: s3:ListBucket: NoSuchBucket (check the bucket's name"]);
    to("s3://Logs/", &[]).exits(2).says(&["`Logs` cannot be the name of a bucket"]);
    to("s3://logs/", &["--spool", "kept"]).exits(2).says(&["--spool needs --to firehose:// or kinesis://"]);
    to("s3://logs/", &["--sse-kms-key-id", "x"]).exits(2).says(&["--sse-kms-key-id needs --sse aws:kms"]);
    to("s3://logs/", &["--endpoint-url", "127.0.0.1:1"]).exits(1).says(&["the endpoint must begin with http://"]);
    // Who may not list may still write.
    test.aws.deny(&test.aws.credentials().access_key, Action::HeadBucket);
    to("s3://logs/", &[]).ok();
    test.has_all(10);
}

/// Starts a run whose standard input stays open.
fn open_run(test: &Test, arguments: &[&str], text: &[u8]) -> (Child, std::process::ChildStdin) {
    let mut child = test.command(arguments).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text).expect("it reads");
    (child, stdin)
}

#[test]
fn lines_of_a_quiet_pipe_are_delivered_after_the_buffering_interval() {
    for target in ["s3://logs/hits", "dir:out"] {
        let test = Test::new(0);
        let begun = Instant::now();
        let arguments = ["--to", target, "--buffering-interval", "1s"];
        let mut command = test.workspace.ingest_command(&arguments);
        command.envs(test.aws.environment()).env_remove("AWS_PROFILE").stdin(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        let objects = || match target {
            "dir:out" => test.workspace.objects("out").into_iter().map(|object| object.bytes).collect(),
            _ => test.bucket.objects().into_values().map(|object| object.bytes).collect::<Vec<_>>(),
        };
        for (place, first) in [0, 50].into_iter().enumerate() {
            stdin.write_all(&log_from("realtime-46", first, 50)).expect("it reads");
            wait_until("an object is complete", || objects().len() == place + 1);
        }
        assert!(begun.elapsed() >= Duration::from_secs(2));
        drop(stdin);
        test.workspace.wait(child).ok();
        let mut seen = Seen::new(100);
        objects().iter().for_each(|object| seen.ids_in(object));
        seen.all();
    }
}

#[test]
fn a_stop_completes_the_object_that_is_open() {
    let test = Test::new(0);
    let (child, stdin) = open_run(&test, &[], &log("realtime-46", LARGE));
    wait_until("a part arrived", || test.aws.counters().requests_of(Action::UploadPart) >= 6);
    signal(&child, "TERM");
    let run = test.workspace.wait(child).exits(130);
    drop(stdin);
    assert_eq!(run.summary().lines_shipped, LARGE);
    test.has_all(LARGE);
}

#[test]
fn a_stop_that_finds_no_bucket_ends_after_the_grace() {
    let test = Test::new(0);
    let (child, stdin) = open_run(&test, &["--grace", "1s"], &log("realtime-46", LARGE));
    wait_until("a part arrived", || test.aws.counters().requests_of(Action::UploadPart) >= 6);
    test.aws.down();
    signal(&child, "TERM");
    let begun = Instant::now();
    let run = test.workspace.wait(child).exits(1);
    drop(stdin);
    // The grace, and what removing the parts is given.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let summary = run.summary();
    assert_eq!((summary.lines_shipped, summary.lines_undelivered), (0, summary.lines_in));
}

#[test]
fn memory_stays_the_same_while_nothing_can_be_sent() {
    let test = Test::new(0);
    let piece = log("realtime-46", 20_000);
    let mut child = test.command(&["--give-up-after", "1h"]).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let writer = thread::spawn(move || {
        // More than fits: until the reader is gone.
        while stdin.write_all(&piece).is_ok() {}
    });
    wait_until("a few objects are complete", || test.bucket.objects().len() >= 2);
    test.aws.down();
    thread::sleep(Duration::from_secs(3));
    let peak = peak_when_idle(&child);
    assert!(peak <= LIMIT, "{peak} bytes");
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    writer.join().expect("no panic");
}
