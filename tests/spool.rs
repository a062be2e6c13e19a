use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use fake_aws::{Action, Delivered, Distribution, FakeAws, Fault, RecordFailure, ShardQuota, Stream};

use crate::support::*;

const LINES: u64 = 6_000;
const SPOOL: &str = "spool";
const FIREHOSE: &str = "firehose://beacons";
const KINESIS: &str = "kinesis://hits";
/// Many small records in several small requests, one after the other.
const SMALL: [&str; 4] = ["--request-size", "1MiB", "--concurrency", "1"];

/// A stream of either service, and a folder with a log.
struct Test {
    aws: FakeAws,
    workspace: Workspace,
    to: &'static str,
    hits: Option<Stream>,
}

impl Test {
    fn new(to: &'static str) -> Test {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        workspace.write("a.log", &log("realtime-46", LINES));
        let hits = (to == KINESIS).then(|| {
            let hits = aws.stream("hits", 3);
            hits.quota(ShardQuota::UNLIMITED);
            hits
        });
        aws.delivery_stream("beacons");
        Test { aws, workspace, to, hits }
    }

    fn put(&self) -> Action {
        if self.hits.is_some() { Action::PutRecords } else { Action::PutRecordBatch }
    }

    fn fault(&self, fault: Fault) -> &Test {
        match &self.hits {
            Some(hits) => {
                hits.fault(fault);
            }
            None => {
                self.aws.delivery_stream("beacons").fault(fault);
            }
        }
        self
    }

    /// Lets so many requests through and refuses so many after them.
    fn deny_after(&self, good: usize, denied: usize) {
        for _ in 0..good {
            self.fault(Fault::Delay(Duration::ZERO));
        }
        for _ in 0..denied {
            self.fault(Fault::error(400, "AccessDeniedException", "User: me is not authorized to perform: put"));
        }
    }

    fn deny(&self) {
        self.aws.deny(&self.aws.credentials().access_key, self.put());
    }

    fn allow(&self) {
        self.aws.allow(&self.aws.credentials().access_key, self.put());
    }

    fn delivered(&self) -> Vec<Delivered> {
        match &self.hits {
            Some(hits) => hits.delivered(),
            None => self.aws.delivery_stream("beacons").delivered(),
        }
    }

    fn arrived(&self) -> u64 {
        self.hits.as_ref().map_or_else(|| self.aws.delivery_stream("beacons").counts(), Stream::counts).requests
    }

    fn start_ingest(&self, arguments: &[&str]) -> Child {
        let mut command = self.workspace.ingest_command(&["--to", self.to, "--record-size", "20KiB"]);
        command.args(SMALL).args(arguments).envs(self.aws.environment());
        command.spawn().expect("it starts")
    }

    fn ingest(&self, arguments: &[&str]) -> Run {
        let arguments = [&["a.log", "--spool", SPOOL], arguments].concat();
        self.workspace.wait(self.start_ingest(&arguments))
    }

    fn start_ship(&self, to: &str, arguments: &[&str]) -> Child {
        let mut command = self.workspace.command(&["ship", SPOOL, "--to", to]);
        command.args(SMALL).args(arguments).envs(self.aws.environment());
        command.spawn().expect("it starts")
    }

    fn ship(&self, arguments: &[&str]) -> Run {
        self.workspace.wait(self.start_ship(self.to, arguments))
    }

    /// The batches in the spool.
    fn batches(&self) -> Vec<PathBuf> {
        let mut batches = files_below(&self.workspace.path(SPOOL));
        batches.sort();
        batches
    }

    /// Everything goes into the spool.
    #[track_caller]
    fn fill(&self) -> Vec<PathBuf> {
        self.deny();
        let summary = self.ingest(&[]).exits(3).summary();
        assert_eq!((summary.lines_spooled, summary.lines_shipped), (LINES, 0));
        self.allow();
        let batches = self.batches();
        assert!(batches.len() >= 5, "{} batches", batches.len());
        batches
    }

    /// How often each line arrived.
    fn times(&self) -> Vec<u32> {
        let mut times = vec![0; LINES as usize];
        for record in self.delivered() {
            for line in numbers(&record.data) {
                times[line as usize] += 1;
            }
        }
        times
    }

    /// Ships the rest: all of it, and nothing that was acknowledged.
    #[track_caller]
    fn resumes(&self, arguments: &[&str]) {
        let (before, saved) = (self.times(), Saved::read(&self.workspace));
        let run = self.ingest(arguments).ok();
        run.says(&["resuming a.log at byte"]);
        let mut offset = 0;
        let text = fs::read(self.workspace.path("a.log")).expect("the log");
        for ((number, line), (times, before)) in lines(&text).enumerate().zip(self.times().into_iter().zip(before)) {
            let is_saved = saved.has(offset);
            assert!(
                times == before + u32::from(!is_saved) && times > 0,
                "line {number}: {before}, {times}, {is_saved}"
            );
            offset += line.len() as u64;
        }
    }

    #[track_caller]
    fn everything_once(&self) {
        let times = self.times();
        let wrong = times.iter().position(|&times| times != 1);
        assert_eq!(wrong, None, "{} times", wrong.map_or(0, |wrong| times[wrong]));
        assert_eq!(self.aws.counters().violations, Vec::<String>::new());
        assert_eq!(self.batches(), Vec::<PathBuf>::new());
        for record in self.delivered() {
            let Some(hits) = &self.hits else { continue };
            let hash_key = record.explicit_hash_key.expect("an explicit hash key");
            assert_eq!(record.partition_key.as_deref(), Some(&*format!("{:04x}", hash_key >> 112)));
            let shard = hits.shards().into_iter().find(|shard| Some(&shard.id) == record.shard_id.as_ref());
            assert!(shard.expect("a shard").hash_keys.contains(&hash_key));
        }
    }
}

/// The numbers of the lines in a record or a batch.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    ids(bytes).map(|id| pixel_engine_bench_data::request_id::decode(id).expect("an id").1)
}

/// A run that shipped some and kept some, and says how to go on; then what it kept is shipped.
#[track_caller]
fn some_kept_and_then_shipped(test: &Test, run: &Run) {
    let summary = run.summary();
    assert!(summary.lines_shipped > 0 && summary.lines_spooled > 0, "{summary:?}");
    assert_eq!((summary.lines_shipped + summary.lines_spooled, summary.lines_undelivered), (LINES, 0));
    let shipping = summary.shipping.expect("it was shipped");
    assert_eq!(shipping.lines_spooled, summary.lines_spooled);
    assert!(shipping.records_spooled > 0 && shipping.bytes_spooled > 0);
    run.says(&["lines are in the spool: pixel-engine ship spool --to", test.to]);
    let shipped = test.ship(&[]).ok();
    shipped.says(&["delivered", &format!("{} lines", summary.lines_spooled)]);
    test.everything_once();
    test.ship(&[]).ok().says(&["nothing to send in spool"]);
}

#[test]
fn what_is_denied_in_the_middle_is_kept_and_shipped_later() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        test.deny_after(2, 2);
        let run = test.ingest(&[]).exits(3);
        run.says(&["kept in the spool", "AccessDeniedException"]);
        some_kept_and_then_shipped(&test, &run);
    }
}

#[test]
fn what_a_deleted_stream_does_not_take_is_kept() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        test.aws.latency(Duration::from_millis(50));
        let set_status = |status| {
            match &test.hits {
                Some(hits) => hits.status(status).shards().len(),
                None => test.aws.delivery_stream("beacons").status(status).delivered().len(),
            };
        };
        let child = test.start_ingest(&["a.log", "--spool", SPOOL]);
        wait_until("two requests arrived", || test.arrived() >= 2);
        set_status("CREATING");
        let run = test.workspace.wait(child).exits(3);
        run.says(&["ResourceNotFoundException", "check the stream's name"]);
        set_status("ACTIVE");
        some_kept_and_then_shipped(&test, &run);
    }
}

#[test]
fn what_was_tried_for_long_enough_is_kept() {
    // Throttled.
    let test = Test::new(FIREHOSE);
    test.aws.latency(Duration::from_millis(50));
    let child = test.start_ingest(&["a.log", "--spool", SPOOL, "--give-up-after", "500ms"]);
    wait_until("two requests arrived", || test.arrived() >= 2);
    let beacons = test.aws.delivery_stream("beacons");
    beacons.fail_requests(1.0, 7, &[Fault::service_unavailable()]);
    let run = test.workspace.wait(child).exits(3);
    run.says(&["kept in the spool", "ServiceUnavailableException"]);
    beacons.fail_requests(0.0, 7, &[Fault::service_unavailable()]);
    some_kept_and_then_shipped(&test, &run);

    // Dead.
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        test.aws.latency(Duration::from_millis(50));
        let child = test.start_ingest(&["a.log", "--spool", SPOOL, "--give-up-after", "1s"]);
        wait_until("two requests arrived", || test.arrived() >= 2);
        test.fault(Fault::ResetAfterBody { stored: false });
        test.aws.down();
        let run = test.workspace.wait(child).exits(3);
        test.aws.up();
        run.says(&["kept in the spool", "ConnectionFailed"]);
        let possibly = run.summary().shipping.expect("it was shipped").records_possibly_duplicated;
        // What was on the way when it went down may have been stored.
        let before = test.times().iter().sum::<u32>() as u64;
        if before == run.summary().lines_shipped {
            some_kept_and_then_shipped(&test, &run);
        } else {
            assert!(possibly > 0);
            test.ship(&[]).ok();
            assert!(test.times().iter().all(|&times| times >= 1));
        }
    }
}

#[test]
fn records_that_are_refused_one_by_one_are_kept_and_the_others_delivered() {
    for (to, code) in [(FIREHOSE, "InvalidKMSResourceException"), (KINESIS, "KMSDisabledException")] {
        let test = Test::new(to);
        test.fault(Fault::FailRecords { indices: vec![1, 3, 4], failure: RecordFailure::Refused });
        test.fault(Fault::FailRecords { indices: vec![0], failure: RecordFailure::Throttled });
        let run = test.ingest(&[]).exits(3);
        let shipping = run.summary().shipping.expect("it was shipped");
        assert_eq!((shipping.records_spooled, shipping.records_failed.get(code)), (3, Some(&3)));
        assert_eq!(shipping.records_possibly_duplicated, 0);
        some_kept_and_then_shipped(&test, &run);
        // Without a spool there is no place for them.
        let test = Test::new(to);
        test.fault(Fault::FailRecords { indices: vec![1], failure: RecordFailure::Refused });
        let run = test.workspace.wait(test.start_ingest(&["a.log"])).exits(1);
        run.says(&[to, code]);
        assert!(run.summary().lines_undelivered > 0);
    }
}

#[test]
fn what_fails_in_the_middle_of_shipping_stays() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        let there = test.fill().len();
        test.deny_after(2, 1);
        test.ship(&[]).exits(1).says(&[to, "AccessDeniedException"]);
        let left = test.batches().len();
        assert!(0 < left && left < there, "{left} of {there}");
        test.ship(&[]).ok();
        test.everything_once();
    }
}

#[test]
fn a_batch_that_is_refused_does_not_hold_up_those_behind_it() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        let there = test.fill();
        let refused = fs::read(&there[2]).expect("a batch");
        test.deny_after(2, 1);
        // Without shares of shards, a batch is a request.
        let run = test.ship(&["--rate-limit", "none"]).exits(1);
        run.says(&[&name(&there[2]), "records are refused and stay", to, "AccessDeniedException"]);
        run.says(&["batches", &format!("= {} delivered and removed + 1 refused + 0 left", there.len() - 1)]);
        assert_eq!(test.batches(), [there[2].clone()]);
        assert!(fs::read(&there[2]).expect("a batch") == refused, "it is as it was");
        test.ship(&[]).ok();
        test.everything_once();
    }
}

#[test]
fn of_a_batch_that_is_refused_in_part_the_rest_is_not_sent_again() {
    for (to, code) in [(FIREHOSE, "InvalidKMSResourceException"), (KINESIS, "KMSDisabledException")] {
        let test = Test::new(to);
        let there = test.fill();
        test.fault(Fault::FailRecords { indices: vec![1, 3], failure: RecordFailure::Refused });
        let run = test.ship(&["--rate-limit", "none"]).exits(1);
        run.says(&[&name(&there[0]), ": 2 of ", "records are refused and stay", code]);
        assert_eq!(test.batches(), [there[0].clone()]);
        let header = header(&there[0]);
        assert_eq!(header["records"], 2);
        let left = numbers(&fs::read(&there[0]).expect("a batch")).count() as u64;
        assert_eq!(header["lines"], left);
        assert_eq!(test.times().iter().filter(|&&times| times == 0).count() as u64, left);
        test.ship(&[]).ok().says(&["delivered 2 records"]);
        test.everything_once();
    }
}

/// The first line of a batch.
fn header(path: &std::path::Path) -> serde_json::Value {
    let batch = fs::read(path).expect("a batch");
    serde_json::from_slice(lines(&batch).next().expect("a line")).expect("JSON")
}

#[test]
fn what_cannot_be_delivered_for_now_keeps_what_is_behind_it_waiting() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        let there = test.fill();
        for _ in 0..40 {
            test.fault(Fault::internal_failure());
        }
        test.ship(&["--give-up-after", "1s"]).exits(1).says(&[to, "InternalFailure"]);
        assert_eq!((test.batches(), test.delivered().len()), (there, 0));
    }
}

#[test]
fn lines_are_shipped_to_a_stream_that_ignores_keys_and_aggregates_stay() {
    let test = Test::new(KINESIS);
    let aggregates = test.fill();
    let hits = test.hits.as_ref().expect("a stream");
    hits.distribution(Distribution::Auto);
    test.ship(&[]).exits(1).says(&[KINESIS, "AUTO", "USER_PARTITION_KEY"]);
    test.deny();
    for arguments in [&["--container", "lines"][..], &["--container", "lines", "--compress", "gzip"]] {
        test.ingest(arguments).exits(3);
    }
    test.allow();
    let contents = |path: &PathBuf| header(path)["contents"].as_str().expect("a text").to_owned();
    let mut kinds: Vec<String> = test.batches().iter().map(contents).collect();
    kinds.dedup();
    assert_eq!(kinds, ["aggregates", "lines", "compressed lines"]);
    let run = test.ship(&[]).exits(1);
    run.says(&[
        &name(&aggregates[0]),
        "its records are aggregates",
        "AUTO",
        "ship it to a stream with USER_PARTITION_KEY",
    ]);
    run.says(&["batches", "0 refused + 0 left", &format!("{} unusable", aggregates.len())]);
    assert_eq!(test.batches(), aggregates);
    let delivered = test.delivered();
    let plain = delivered.iter().filter(|record| !record.data.starts_with(b"\x1f\x8b"));
    assert_eq!(plain.map(|record| numbers(&record.data).count() as u64).sum::<u64>(), LINES);
    let packed: Vec<u8> = delivered
        .iter()
        .filter(|record| record.data.starts_with(b"\x1f\x8b"))
        .flat_map(|record| gunzip(&record.data))
        .collect();
    assert_eq!(numbers(&packed).count() as u64, LINES);
    hits.distribution(Distribution::UserPartitionKey);
    test.ship(&[]).ok();
    assert_eq!((test.batches(), test.aws.counters().violations), (Vec::new(), Vec::new()));
}

#[test]
fn a_terminal_shows_how_far_shipping_is() {
    let test = Test::new(FIREHOSE);
    let there = test.fill().len();
    test.aws.latency(Duration::from_millis(300));
    let on_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let ship = test.workspace.command(&[]).get_program().to_owned();
    let mut command = Command::new("python3");
    command.args(["-c", on_terminal, "sh", "-c", "stty cols 200; exec \"$@\"", "sh"]).arg(ship);
    command.args(["ship", SPOOL, "--to", FIREHOSE, "--concurrency", "1"]);
    command.current_dir(test.workspace.path("")).envs(test.aws.environment()).env("TERM", "xterm");
    let output = command.stdin(Stdio::null()).output().expect("python3 starts");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(
        shown.contains(&format!("0 of {there} batches")) && shown.contains(&format!("1 of {there} batches")),
        "{shown}"
    );
    assert!(shown.contains("MB of"), "{shown}");
    test.everything_once();
}

#[test]
fn two_that_ship_do_not_send_the_same() {
    let test = Test::new(FIREHOSE);
    test.fill();
    test.aws.latency(Duration::from_millis(300));
    let first = test.start_ship(test.to, &[]);
    wait_until("a request arrived", || test.arrived() >= 1);
    test.ship(&[]).exits(1).says(&["spool spool: another process has it open to send what is in it"]);
    test.workspace.wait(first).ok();
    test.everything_once();
}

#[test]
fn a_spool_is_shipped_while_it_is_written() {
    use std::io::Write;

    let test = Test::new(FIREHOSE);
    test.deny();
    let text = log("realtime-46", LINES);
    let mut command = test.workspace.ingest_command(&["--to", test.to, "--spool", SPOOL, "--record-size", "20KiB"]);
    command.args(SMALL).envs(test.aws.environment()).stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let (first, second) = text.split_at(text.len() * 2 / 3);
    stdin.write_all(first).expect("it reads");
    wait_until("there are batches", || test.batches().len() >= 2);
    test.allow();
    // What `ingest` still holds goes to the stream meanwhile.
    test.ship(&[]).ok().says(&["batches", "0 left"]);
    test.deny();
    stdin.write_all(second).expect("it reads");
    drop(stdin);
    let run = test.workspace.wait(child).exits(3);
    assert_eq!(run.summary().lines_shipped + run.summary().lines_spooled, LINES);
    test.allow();
    test.ship(&[]).ok();
    test.everything_once();
    // Two that write are one too many.
    let before = test.aws.counters().requests_of(Action::DescribeDeliveryStream);
    let mut command = test.workspace.ingest_command(&["--to", test.to, "--spool", SPOOL]);
    let mut child = command.envs(test.aws.environment()).stdin(Stdio::piped()).spawn().expect("it starts");
    let stdin = child.stdin.take().expect("piped");
    wait_until("the first one has it", || test.aws.counters().requests_of(Action::DescribeDeliveryStream) > before);
    test.ingest(&[]).exits(1).says(&["spool spool: another process has it open to keep batches in it"]);
    drop(stdin);
    test.workspace.wait(child).ok();
}

#[test]
fn shipping_that_is_stopped_goes_on_later() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        let there = test.fill().len();
        test.aws.latency(Duration::from_millis(200));
        let child = test.start_ship(to, &[]);
        wait_until("a request arrived", || test.arrived() >= 1);
        signal(&child, "TERM");
        test.workspace.wait(child).exits(130).says(&["batches", "left"]);
        let left = test.batches().len();
        assert!(0 < left && left < there, "{left} of {there}");
        test.aws.latency(Duration::ZERO);
        test.ship(&[]).ok();
        test.everything_once();
    }
}

#[test]
fn shipping_that_is_killed_repeats_what_was_not_acknowledged_alone() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        test.fill();
        test.aws.latency(Duration::from_millis(100));
        let child = test.start_ship(to, &[]);
        wait_until("requests arrived", || test.arrived() >= 3);
        signal(&child, "KILL");
        assert_eq!(test.workspace.wait(child).code, None);
        let mut left = vec![false; LINES as usize];
        for batch in test.batches() {
            numbers(&fs::read(batch).expect("a batch")).for_each(|line| left[line as usize] = true);
        }
        let is_left = left.iter().filter(|&&left| left).count();
        assert!(0 < is_left && is_left < LINES as usize, "{is_left} lines are left");
        test.aws.latency(Duration::ZERO);
        test.ship(&[]).ok();
        for (line, times) in test.times().into_iter().enumerate() {
            assert!(times == 1 || times == 2 && left[line], "line {line} came {times} times");
        }
    }
}

#[test]
fn a_folder_without_batches_is_no_error_and_one_that_is_not_there_is() {
    let test = Test::new(FIREHOSE);
    test.ship(&[]).exits(1).says(&["spool spool: No such file"]);
    fs::create_dir(test.workspace.path(SPOOL)).expect("a folder");
    test.ship(&[]).ok().says(&["nothing to send in spool"]);
    assert!(test.aws.counters().requests.is_empty());
}

#[test]
fn batches_of_the_other_service_stay() {
    for (to, other, kept, wanted) in
        [(FIREHOSE, KINESIS, "PutRecordBatch", "PutRecords"), (KINESIS, FIREHOSE, "PutRecords", "PutRecordBatch")]
    {
        let test = Test::new(to);
        if to == FIREHOSE {
            test.aws.stream("hits", 1);
        }
        let before = test.fill();
        let run = test.workspace.wait(test.start_ship(other, &[])).exits(1);
        run.says(&[".batch", &format!("kept for {kept}, which {wanted} does not take")]);
        assert_eq!(test.batches(), before);
        test.ship(&[]).ok();
        test.everything_once();
    }
}

#[test]
fn damaged_batches_are_named_and_stay_and_the_others_are_shipped() {
    let test = Test::new(KINESIS);
    let batches = test.fill();
    let cut = fs::read(&batches[1]).expect("a batch");
    let cut = &cut[..cut.len() - 1];
    fs::write(&batches[1], cut).expect("it is cut");
    let mut flipped = fs::read(&batches[3]).expect("a batch");
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    fs::write(&batches[3], &flipped).expect("it is changed");
    let run = test.ship(&[]).exits(1);
    run.says(&[&format!("{}: damaged at byte {}", name(&batches[1]), cut.len()), "1 bytes early"]);
    run.says(&[&format!("{}: damaged at byte", name(&batches[3])), "checksum"]);
    run.says(&["2 unusable"]);
    assert_eq!(test.batches(), [batches[1].clone(), batches[3].clone()]);
    assert!(fs::read(&batches[1]).expect("a batch") == cut && fs::read(&batches[3]).expect("a batch") == flipped);
    // Mended, they are as good as the others.
    flipped[middle] ^= 0x10;
    fs::write(&batches[3], &flipped).expect("it is mended");
    test.ship(&[]).exits(1);
    assert_eq!(test.batches(), [batches[1].clone()]);
}

fn name(path: &std::path::Path) -> String {
    format!("spool/{}", path.file_name().expect("a name").to_string_lossy())
}

#[test]
fn a_full_spool_ends_the_run_where_it_is_told_to() {
    for to in [FIREHOSE, KINESIS] {
        let test = Test::new(to);
        test.deny();
        let full = ["--spool-size", "2500000", "--spool-full", "stop", "--resume", "checkpoint"];
        let run = test.ingest(&full).exits(1);
        run.says(&[to, "AccessDeniedException", "cannot be kept: spool spool is full", "of 2500000 bytes are used"]);
        run.says(&["stopped in a.log: everything before byte", "the same command goes on there"]);
        let summary = run.summary();
        assert!(summary.lines_spooled > 0 && summary.lines_undelivered > 0, "{summary:?}");
        // What the checkpoint says is safe is in the spool, and all that is in the spool is safe.
        test.allow();
        test.ship(&[]).ok();
        test.resumes(&full);
        test.everything_once();
    }
}

#[test]
fn a_full_spool_holds_the_input_until_the_stream_takes_records_again() {
    let test = Test::new(FIREHOSE);
    let beacons = test.aws.delivery_stream("beacons");
    beacons.fail_requests(1.0, 1, &[Fault::internal_failure()]);
    let child = test.start_ingest(&[
        "a.log",
        "--spool",
        SPOOL,
        "--spool-size",
        "1500000",
        "--give-up-after",
        "200ms",
        "--rate-limit",
        "none",
    ]);
    wait_until("there is a batch", || !test.batches().is_empty());
    thread::sleep(Duration::from_secs(3));
    // It goes on trying, and with pauses between.
    let tried = test.aws.counters().requests_of(Action::PutRecordBatch);
    assert!((3..60).contains(&tried), "{tried} requests");
    assert_eq!(test.batches().len(), 1);
    beacons.fail_requests(0.0, 1, &[Fault::internal_failure()]);
    let run = test.workspace.wait(child).exits(3);
    run.says(&["and the input wait", "spool spool is full"]);
    some_kept_and_then_shipped(&test, &run);
}

#[test]
fn a_spool_that_cannot_be_written_is_found_before_anything_is_sent() {
    let test = Test::new(FIREHOSE);
    test.workspace.write(SPOOL, b"a file");
    test.ingest(&[]).exits(1).says(&["spool spool"]);
    assert!(test.aws.counters().requests.is_empty());
}

#[test]
fn a_spool_that_goes_away_ends_the_run() {
    let test = Test::new(FIREHOSE);
    test.aws.latency(Duration::from_millis(50));
    let child = test.start_ingest(&["a.log", "--spool", SPOOL, "--resume", "checkpoint"]);
    wait_until("two requests arrived", || test.arrived() >= 2);
    fs::remove_dir_all(test.workspace.path(SPOOL)).expect("it was there");
    test.deny();
    let run = test.workspace.wait(child).exits(1);
    run.says(&["AccessDeniedException", "cannot be kept: spool spool"]);
    assert!(run.summary().lines_undelivered > 0 && run.summary().lines_spooled == 0);
    test.allow();
    test.resumes(&["--resume", "checkpoint"]);
}
