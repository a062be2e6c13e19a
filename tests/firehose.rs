//! `firehose://` against the strict fake: limits, faults, retries, errors.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_aws::{Action, FakeAws, Fault, Quota, RecordFailure, Throttle};

use crate::support::{RequestFault, Run, Seen, Workspace, log, request_faults, run};

const LINES: u64 = 4_000;
const MIB: f64 = 1_048_576.0;

/// Runs `ingest a.log --to firehose://beacons` against the server.
fn ingest(aws: &FakeAws, workspace: &Workspace, arguments: &[&str]) -> Run {
    workspace.write("a.log", &log("realtime-46", LINES));
    let mut command = workspace.ingest_command(&["a.log", "--to", "firehose://beacons"]);
    command.args(arguments).envs(aws.environment());
    workspace.ingest_with(&mut command, b"")
}

#[track_caller]
fn everything_once(aws: &FakeAws) {
    let mut seen = Seen::new(LINES);
    aws.delivery_stream("beacons").delivered().iter().for_each(|record| seen.ids_in(&record.data));
    seen.all();
    assert_eq!(aws.counters().violations, Vec::<String>::new());
}

#[test]
fn every_line_arrives_once() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    aws.delivery_stream("beacons");
    let run = ingest(&aws, &workspace, &["--record-size", "200KiB"]).ok();
    everything_once(&aws);
    let summary = run.summary();
    assert_eq!(summary.lines_shipped, LINES);
    let shipping = summary.shipping.expect("it was shipped");
    assert_eq!((shipping.requests, shipping.requests_retried), (summary.requests, 0));
    assert!(shipping.latency_p50_ms > 0.0 && shipping.latency_p99_ms >= shipping.latency_p50_ms);
    assert!(shipping.bytes_sent > summary.payload_bytes * 4 / 3);
}

#[test]
fn only_the_records_that_failed_are_sent_again() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let beacons = aws.delivery_stream("beacons");
    beacons.fault(Fault::FailRecords { indices: vec![0, 3, 5], failure: RecordFailure::Throttled });
    let run = ingest(&aws, &workspace, &["--record-size", "20KiB", "--concurrency", "1"]).ok();
    everything_once(&aws);
    let shipping = run.summary().shipping.expect("it was shipped");
    assert_eq!((shipping.requests_retried, shipping.records_failed.get("ServiceUnavailableException")), (1, Some(&3)));
    assert_eq!(shipping.records_possibly_duplicated, 0);
}

#[test]
fn whatever_the_network_does_nothing_is_lost() {
    for RequestFault { fault, counted_as, stored } in request_faults() {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        aws.delivery_stream("beacons").fault(fault.clone());
        let run = ingest(&aws, &workspace, &["--request-timeout", "1s"]).ok();
        let shipping = run.summary().shipping.expect("it was shipped");
        let failed = shipping.requests_failed.keys().next().unwrap_or_else(|| panic!("{fault:?}: {}", run.stderr));
        assert!(failed.contains(counted_as), "{fault:?}: {failed}");
        if stored {
            // It arrived twice, and that is said.
            assert!(shipping.records_possibly_duplicated > 0, "{fault:?}");
            let records = aws.delivery_stream("beacons").delivered().len() as u64;
            assert!(records <= run.summary().records + shipping.records_possibly_duplicated);
        } else {
            everything_once(&aws);
            if counted_as.ends_with("Exception") {
                assert_eq!(shipping.records_possibly_duplicated, 0, "refused for the rate, {fault:?}: {shipping:?}");
            }
        }
    }
}

#[test]
fn a_slow_reply_is_waited_for() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    aws.delivery_stream("beacons").fault(Fault::Delay(Duration::from_secs(1)));
    let run = ingest(&aws, &workspace, &[]).ok();
    everything_once(&aws);
    assert!(run.summary().shipping.expect("it was shipped").latency_max_ms >= 1_000.0);
}

/// Its name, what is done to the server, and what one line of stderr has.
type Case = (&'static str, fn(&FakeAws), &'static [&'static str]);

#[test]
fn errors_that_only_a_person_can_mend_end_the_run_with_advice() {
    let cases: [Case; 6] = [
        ("no stream", |_| {}, &["firehose://beacons", "ResourceNotFoundException", "check the stream's name"]),
        (
            "denied",
            |aws| {
                aws.delivery_stream("beacons");
                aws.deny(&aws.credentials().access_key, Action::PutRecordBatch);
            },
            &["AccessDeniedException", "firehose:PutRecordBatch"],
        ),
        (
            "clock",
            |aws| {
                aws.delivery_stream("beacons");
                aws.clock_offset(3_600);
            },
            &["InvalidSignatureException", "clock"],
        ),
        (
            "creating",
            |aws| {
                aws.delivery_stream("beacons").status("CREATING");
            },
            &["CREATING", "wait"],
        ),
        (
            "kinesis source",
            |aws| {
                aws.delivery_stream("beacons").source(fake_aws::Source::KinesisStream);
            },
            &["kinesis://"],
        ),
        ("down", |aws| aws.down(), &["ConnectionFailed", "check the endpoint"]),
    ];
    for (what, prepare, parts) in cases {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        prepare(&aws);
        let run = ingest(&aws, &workspace, &["--give-up-after", "1s"]).exits(1);
        eprintln!("{what}: {}", run.stderr);
        run.says(parts);
    }
}

#[test]
fn an_endpoint_of_this_service_alone_comes_before_the_one_of_all() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    aws.delivery_stream("beacons");
    workspace.write("a.log", &log("realtime-46", LINES));
    for of_all in [None, Some("http://127.0.0.1:9")] {
        let mut command = workspace.ingest_command(&["a.log", "--to", "firehose://beacons"]);
        command.envs(aws.environment()).env_remove("AWS_ENDPOINT_URL");
        command.envs(of_all.map(|url| ("AWS_ENDPOINT_URL", url)));
        command.env("AWS_ENDPOINT_URL_FIREHOSE", aws.endpoint_url());
        workspace.ingest_with(&mut command, b"").ok();
    }
}

#[test]
fn a_request_that_is_too_large_is_sent_in_halves_and_the_next_ones_are_smaller() {
    const MANY: u64 = 20_000;
    // The service counts base64, the program is told that it does not.
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let beacons = aws.delivery_stream("beacons");
    workspace.write("a.log", &log("realtime-46", MANY));
    let arguments = ["a.log", "--to", "firehose://beacons", "--count-request-size", "data", "--concurrency", "1"];
    let mut command = workspace.ingest_command(&arguments);
    let run = workspace.ingest_with(command.args(["--record-size", "200KiB"]).envs(aws.environment()), b"").ok();
    let mut seen = Seen::new(MANY);
    beacons.delivered().iter().for_each(|record| seen.ids_in(&record.data));
    seen.all();
    run.says(&["are too large; from now on at most"]);
    // 4 MiB are refused, and three quarters of it with their base64 are still over; those before
    // the lower limit was known count too.
    let refused = run.summary().shipping.expect("it was shipped").requests_failed["InvalidArgumentException"];
    assert!((1..=4).contains(&refused), "{refused} of {} requests", run.summary().requests);
}

#[test]
fn a_profile_that_is_named_comes_before_the_keys_of_the_environment() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    aws.delivery_stream("beacons");
    let keys = aws.credentials();
    let (access_key, secret_key) = (&keys.access_key, &keys.secret_key);
    let profile = format!("[writer]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n");
    workspace.write("credentials", profile.as_bytes());
    for (profile, code) in [("writer", 0), ("nobody", 1)] {
        let mut command = workspace.command(&["check", "--to", "firehose://beacons", "--profile", profile]);
        command.envs(aws.environment()).env("AWS_ACCESS_KEY_ID", "AKIAOFSOMEONEELSE000");
        let run = run(command.env("AWS_SHARED_CREDENTIALS_FILE", workspace.path("credentials")), b"").exits(code);
        if profile == "nobody" {
            run.says(&["firehose://beacons", "NoCredentials", "nobody"]);
        }
    }
}

/// Bytes a second that were accepted from the second on that is given, and the share of tries that
/// was refused since.
fn goodput(aws: &FakeAws, lines: u64, from: Duration) -> (f64, f64) {
    let workspace = Workspace::new();
    workspace.write("a.log", &log("realtime-46", lines));
    let beacons = aws.delivery_stream("beacons");
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&accepted);
    beacons.hand_over(move |record| to.lock().expect("no panic").push((Instant::now(), record.data.len())));
    let begun = Instant::now();
    let mut command = workspace.ingest_command(&["a.log", "--to", "firehose://beacons"]);
    command.envs(aws.environment()).env_remove("AWS_PROFILE");
    let shipping = workspace.ingest_with(&mut command, b"").ok().summary().shipping.expect("it was shipped");
    let accepted = accepted.lock().expect("no panic");
    let late = || accepted.iter().filter(|(at, _)| at.duration_since(begun) >= from);
    let last = accepted.last().expect("records").0.duration_since(begun);
    let bytes = late().map(|(_, bytes)| *bytes as f64).sum::<f64>();
    let refused = shipping.records_failed.values().sum::<u64>() as f64;
    let share = refused / (refused + accepted.len() as f64);
    println!("{:.2} MiB/s in {last:.1?}, {share:.3} refused of all", bytes / (last - from).as_secs_f64() / MIB);
    (bytes / (last - from).as_secs_f64(), share)
}

#[test]
fn a_quota_is_used_and_hardly_passed() {
    let aws = FakeAws::start();
    aws.delivery_stream("beacons").quota(Quota::large_region(), Throttle::Records);
    let (goodput, refused) = goodput(&aws, 90_000, Duration::from_secs(5));
    // A machine that does other things too holds both sides up.
    assert!((0.8..1.1).contains(&(goodput / (5.0 * MIB))), "{goodput} B/s");
    assert!(refused < 0.25, "{refused} of the tries, those of the first seconds included");
}

#[test]
fn failures_that_do_not_depend_on_the_rate_do_not_stop_it() {
    let [calm, noisy] = [0.0, 0.2].map(|share| {
        let aws = FakeAws::start();
        aws.delivery_stream("beacons").fail_records(share, 7);
        goodput(&aws, 150_000, Duration::ZERO).0
    });
    // It takes some seconds to learn that, which are all of this run.
    assert!(noisy > calm / 12.0, "{noisy} of {calm} B/s");
}
