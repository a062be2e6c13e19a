use std::time::Duration;

use fake_aws::{Action, Bucket, FakeAws, Fault};

use crate::support::*;

struct Test {
    aws: FakeAws,
    bucket: Bucket,
    workspace: Workspace,
}

impl Test {
    fn new() -> Test {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        let bucket = aws.bucket("logs");
        Test { aws, bucket, workspace }
    }

    fn ingest(&self, arguments: &[&str]) -> Run {
        let mut command = self.workspace.ingest_command(arguments);
        self.workspace.ingest_with(command.envs(self.aws.environment()).env_remove("AWS_PROFILE"), b"")
    }

    /// So many lines of that number on were delivered, each once.
    #[track_caller]
    fn has(&self, lines: u64) {
        let mut seen = Seen::new(lines);
        seen.ids_in(&self.workspace.delivered(OUT));
        seen.all();
        assert_eq!(self.aws.counters().violations, Vec::<String>::new());
    }

    fn gets(&self) -> u64 {
        self.aws.counters().requests_of(Action::GetObject)
    }
}

/// Every object of a prefix, whatever it is called and however it is compressed, over several pages
/// of the list.
#[test]
fn objects_are_read_by_prefix_and_by_content() {
    let test = Test::new();
    let text = |place: u64| log_from("realtime-46", 1_000 * place, 1_000);
    let packs: [Pack; 5] = [|bytes| bytes.to_vec(), gzip, zstd, bzip2, xz];
    let names = ["in/a", "in/b b+%20&=?#.gz", "in/ü/日本/c", "in/../d", "in//e\"<'>"];
    for (place, (name, pack)) in (0..).zip(names.iter().zip(packs)) {
        test.bucket.put(name, pack(&text(place)));
    }
    test.bucket.put("in/", "").put("in/ü/", "").put("in/empty", "").put("out/x", text(0));
    test.bucket.page_size(2);
    let run = test.ingest(&["s3://logs/in/"]).ok();
    run.says(&["s3://logs/in/empty: the input is empty"]);
    test.has(5_000);
    assert_eq!(test.aws.counters().requests_of(Action::ListObjectsV2), 4);
    // A look at the first, and one or two for each that is not empty.
    assert!((6..=12).contains(&test.gets()), "{}", test.gets());
    assert_eq!(run.summary().bytes_in, log("realtime-46", 5_000).len() as u64);
}

#[test]
fn an_argument_is_a_key_or_a_prefix_or_a_glob() {
    let test = Test::new();
    for (place, name) in (0..).zip(["2026/01/a.log", "2026/01/a.log.1", "2026/02/b[1].log", "2026/02/c.gz"]) {
        test.bucket.put(name, log_from("realtime-46", 100 * place, 100));
    }
    let lines = |argument: &str| {
        let run = test.ingest(&[argument, "--to", "null:"]);
        run.code.filter(|&code| code == 0).map(|_| run.summary().lines_in)
    };
    for (argument, count) in [
        ("s3://logs", Some(400)),
        ("s3://logs/2026/01/a.log", Some(100)),
        ("s3://logs/2026/01/a", Some(200)),
        ("s3://logs/2026/*/*.log", Some(200)),
        ("s3://logs/2026/*.log", None),
        ("s3://logs/2026/0[2-9]/*", Some(200)),
        ("s3://logs/2026/02/b[1].log", Some(100)),
        ("s3://logs/2027/", None),
    ] {
        assert_eq!(lines(argument), count, "{argument}");
    }
    let missing = test.ingest(&["s3://logs/2027/"]).exits(1);
    missing.says(&["s3://logs/2027/: no such object, no key that begins so, and no match of a glob"]);
    test.ingest(&["s3://nowhere/"]).exits(1).says(&["s3://nowhere/", "s3:ListBucket: NoSuchBucket"]);
    test.ingest(&["s3://X/"]).exits(1).says(&["s3://X/: `X` cannot be the name of a bucket"]);
}

/// Ranges in order, each whole, whatever breaks.
#[test]
fn a_large_object_is_read_in_ranges_through_every_fault() {
    let text = log("realtime-46", 40_000);
    let faults = [
        Fault::Truncated,
        Fault::error(503, "SlowDown", "Please reduce your request rate."),
        Fault::error(500, "InternalError", "We encountered an internal error. Please try again."),
        Fault::ResetAfterBody { stored: false },
        Fault::ResetBeforeBody,
        Fault::ProxyUnavailable,
        Fault::Delay(Duration::from_millis(100)),
    ];
    for compressed in [false, true] {
        let test = Test::new();
        test.bucket.put("a", if compressed { gzip(&text) } else { text.clone() });
        test.bucket.fail_requests(0.5, 11, &faults);
        test.ingest(&["s3://logs/a"]).ok();
        assert_eq!(test.workspace.delivered(OUT), text);
        assert!(test.gets() > if compressed { 3 } else { 10 }, "{}", test.gets());
    }
}

#[test]
fn an_object_that_is_gone_or_replaced_is_an_error_and_no_mixture() {
    let test = Test::new();
    test.bucket.put("0", log("realtime-46", 10)).put("a", log_from("realtime-46", 10, 100));
    // After those that look at the first and read it.
    test.bucket.fault_on(Action::GetObject, Fault::Delay(Duration::ZERO));
    test.bucket.fault_on(Action::GetObject, Fault::Delay(Duration::ZERO));
    test.bucket.fault_on(Action::GetObject, Fault::error(404, "NoSuchKey", "The specified key does not exist."));
    let run = test.ingest(&["s3://logs/"]).exits(1);
    run.says(&["s3://logs/a", "s3:GetObject: NoSuchKey", "deleted since it was listed"]);
    assert_eq!(run.summary().lines_shipped, 10, "the other one is delivered");

    let test = Test::new();
    test.bucket.put("a", log("realtime-46", 40_000));
    test.aws.latency(Duration::from_millis(100));
    let mut command = test.workspace.ingest_command(&["s3://logs/a"]);
    let child = command.envs(test.aws.environment()).env_remove("AWS_PROFILE").spawn().expect("it starts");
    wait_until("it is being read", || test.gets() >= 5);
    test.bucket.put("a", log_from("realtime-46", 1_000_000, 40_000));
    let run = test.workspace.wait(child).exits(1);
    run.says(&["s3://logs/a: reading stopped at byte", "PreconditionFailed", "it was replaced since it was listed"]);
    let first = test.workspace.delivered(OUT);
    assert!(log("realtime-46", 40_000).starts_with(&first), "nothing of the other one");
}

#[test]
fn a_checkpoint_knows_objects_by_key_and_etag() {
    let test = Test::new();
    test.bucket
        .put("in/a", log_from("realtime-46", 0, 1_000))
        .put("in/b.gz", gzip(&log_from("realtime-46", 1_000, 1_000)));
    let ingest = || test.ingest(&["s3://logs/in/", "--resume", "checkpoint"]);
    assert_eq!(ingest().ok().summary().lines_shipped, 2_000);
    let gets = test.gets();
    let again = ingest().ok();
    again.says(&["2 of 2 inputs were delivered before and have not changed"]);
    assert_eq!((again.summary().lines_in, test.gets()), (0, gets));
    // One is new, one is another under the old name.
    test.bucket.put("in/c", log_from("realtime-46", 2_000, 500)).put("in/a", log_from("realtime-46", 2_500, 500));
    assert_eq!(ingest().ok().summary().lines_shipped, 1_000);
    test.has(3_000);
}

#[test]
fn a_report_reads_them_too() {
    let test = Test::new();
    let text = log("realtime-46", 1_000);
    test.workspace.write("a.log", &text);
    test.bucket.put("a.log", text);
    let report = |input: &str| {
        let mut command = test.workspace.command(&["report", input, "--json", "--salt-file", "salt", "--quiet"]);
        run(command.envs(test.aws.environment()).env_remove("AWS_PROFILE"), b"").ok().stdout
    };
    test.workspace.write("salt", b"a salt that is long enough");
    assert!(report("a.log") == report("s3://logs/a.log"));
}

#[test]
fn a_stop_ends_a_read_that_hangs() {
    let test = Test::new();
    test.bucket.put("a", log("realtime-46", 40_000));
    test.bucket.fault_on(Action::GetObject, Fault::NeverReply { stored: false });
    let mut command = test.workspace.ingest_command(&["s3://logs/a", "--resume", "checkpoint"]);
    let child = command.envs(test.aws.environment()).env_remove("AWS_PROFILE").spawn().expect("it starts");
    wait_until("it is being read", || test.gets() >= 1);
    signal(&child, "TERM");
    test.workspace.wait(child);
    test.ingest(&["s3://logs/a", "--resume", "checkpoint"]).ok();
    test.has(40_000);
}
