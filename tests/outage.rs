use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use fake_aws::{FakeAws, Fault};
use pixel_engine_bench_data::request_id;

use crate::support::*;

const LINES: u64 = 6_000;

struct Test {
    aws: FakeAws,
    workspace: Workspace,
}

impl Test {
    fn new() -> Test {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        aws.delivery_stream("beacons");
        workspace.write("a.log", &log("realtime-46", LINES));
        Test { aws, workspace }
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.workspace.ingest_command(&["a.log", "--to", "firehose://beacons"]);
        command.args(["--record-size", "20KiB", "--request-size", "1MiB", "--resume", "checkpoint"]);
        command.args(arguments).envs(self.aws.environment()).spawn().expect("it starts")
    }

    /// A run that has delivered something.
    fn start_and_wait(&self, arguments: &[&str]) -> Child {
        self.aws.latency(Duration::from_millis(50));
        let child = self.start(&[&["--concurrency", "1"], arguments].concat());
        wait_until("a request arrived", || self.aws.delivery_stream("beacons").counts().requests >= 1);
        self.aws.latency(Duration::ZERO);
        child
    }

    /// How often each line arrived.
    fn times(&self) -> Vec<u32> {
        let mut times = vec![0; LINES as usize];
        for record in self.aws.delivery_stream("beacons").delivered() {
            for id in ids(&record.data) {
                times[request_id::decode(id).expect("an id").1 as usize] += 1;
            }
        }
        times
    }

    #[track_caller]
    fn everything_came(&self) {
        assert_eq!(self.times().iter().position(|&times| times == 0), None, "a line is missing");
    }

    /// Stops the run; it ends within that time.
    #[track_caller]
    fn stop(&self, child: Child, with: &str, within: Duration) -> Run {
        signal(&child, with);
        let begun = Instant::now();
        let run = self.workspace.wait(child);
        assert!(begun.elapsed() < within, "{:?}: {}", begun.elapsed(), run.stderr);
        run
    }
}

/// Longer than the grace by what a loaded machine needs.
const GRACE: [&str; 2] = ["--grace", "1s"];
const WITHIN: Duration = Duration::from_secs(4);

#[test]
fn a_run_against_a_dead_endpoint_is_stopped_within_its_grace() {
    for with in ["TERM", "INT"] {
        let test = Test::new();
        let child = test.start_and_wait(&GRACE);
        test.aws.down();
        thread::sleep(Duration::from_millis(1_500));
        // Without a spool, what cannot be delivered is not acknowledged.
        let run = test.stop(child, with, WITHIN).exits(1);
        run.says(&["firehose://beacons: given up after", "ConnectionFailed", "check the endpoint"]);
        run.says(&["stopped in a.log: everything before byte", "the same command goes on there"]);
        assert!(run.summary().lines_undelivered > 0);

        // With one, it is there.
        let child = test.start(&[&GRACE[..], &["--spool", "spool"]].concat());
        thread::sleep(Duration::from_millis(1_500));
        let run = ends_with_a_spool(test.stop(child, with, WITHIN));
        let summary = run.summary();
        assert_eq!((summary.lines_undelivered, summary.lines_shipped), (0, 0));
        test.aws.up();
        test.workspace.wait(test.start(&[])).ok();
        if summary.lines_spooled > 0 {
            let mut command = test.workspace.command(&["ship", "spool", "--to", "firehose://beacons"]);
            run_to_end(command.envs(test.aws.environment())).ok();
        }
        test.everything_came();
    }
}

/// Stopped, or with everything read before that.
#[track_caller]
fn ends_with_a_spool(run: Run) -> Run {
    let interrupted = run.summary().interrupted;
    run.exits(if interrupted { 130 } else { 3 })
}

fn run_to_end(command: &mut std::process::Command) -> Run {
    run(command, b"")
}

#[test]
fn a_run_that_cannot_begin_is_stopped_at_once() {
    let test = Test::new();
    test.aws.down();
    let child = test.start(&[]);
    thread::sleep(Duration::from_millis(1_000));
    test.stop(child, "INT", Duration::from_secs(2)).exits(1).says(&["firehose://beacons", "stopped before"]);
}

#[test]
fn a_reply_that_never_comes_does_not_outlast_the_grace() {
    let test = Test::new();
    test.aws.delivery_stream("beacons").fail_requests(1.0, 1, &[Fault::NeverReply { stored: true }]);
    let child = test.start(&[&GRACE[..], &["--spool", "spool"]].concat());
    wait_until("a request arrived", || test.aws.delivery_stream("beacons").counts().requests >= 1);
    let run = ends_with_a_spool(test.stop(child, "TERM", WITHIN));
    let shipping = run.summary().shipping.expect("it was shipped");
    assert!(shipping.records_spooled > 0);
    // They may have arrived, and are in the spool.
    assert!(shipping.records_possibly_duplicated > 0, "{shipping:?}");
    assert_eq!(run.summary().lines_undelivered, 0);
}

#[test]
fn a_low_rate_does_not_outlast_the_grace() {
    let test = Test::new();
    let child = test.start_and_wait(&[&GRACE[..], &["--spool", "spool", "--rate-limit", "20KiB"]].concat());
    let run = ends_with_a_spool(test.stop(child, "TERM", WITHIN));
    let summary = run.summary();
    assert!(summary.lines_spooled > 0 && summary.lines_undelivered == 0, "{summary:?}");
}

#[test]
fn a_stop_in_a_short_outage_delivers_all_that_was_read() {
    let test = Test::new();
    let child = test.start_and_wait(&[]);
    test.aws.down();
    // The pauses between tries have grown by now.
    thread::sleep(Duration::from_secs(3));
    signal(&child, "TERM");
    thread::sleep(Duration::from_secs(1));
    test.aws.up();
    let run = test.workspace.wait(child);
    assert!([Some(0), Some(130)].contains(&run.code), "{}", run.stderr);
    assert_eq!(run.summary().lines_undelivered, 0);
    test.workspace.wait(test.start(&[])).ok();
    test.everything_came();
}

#[test]
fn what_an_outage_interrupts_arrives_after_it() {
    for times in [1, 3] {
        let test = Test::new();
        test.aws.latency(Duration::from_millis(60));
        let child = test.start(&["--concurrency", "2"]);
        for time in 1..=times {
            let so_far = test.aws.delivery_stream("beacons").counts().requests;
            wait_until("requests arrived", || test.aws.delivery_stream("beacons").counts().requests > so_far.min(3));
            test.aws.down();
            thread::sleep(Duration::from_millis(200 * time));
            test.aws.up();
        }
        let run = test.workspace.wait(child).ok();
        test.everything_came();
        let records = test.aws.delivery_stream("beacons").counts().records;
        let summary = run.summary();
        let possibly = summary.shipping.expect("it was shipped").records_possibly_duplicated;
        assert_eq!(summary.lines_shipped, LINES);
        assert!(records <= summary.records + possibly, "{records} arrived, {} were sent", summary.records);
    }
}
