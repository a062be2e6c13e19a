use std::collections::BTreeSet;
use std::time::Duration;

use fake_aws::{FakeAws, Fault};

use crate::support::*;

const LINES: u64 = 6_000;

/// Every line of a log twice: the second ones half a log behind the first.
fn twice() -> Vec<u8> {
    let (first, second) = (log("realtime-46", LINES / 2), log_from("realtime-46", LINES / 2, LINES / 2));
    [&first[..], &second, &first, &second].concat()
}

#[test]
fn a_line_comes_once_within_the_window_and_again_beyond_it() {
    for (form, container) in [("raw", "lines"), ("jsonl", "lines"), ("raw", "kpl")] {
        for (window, threads, duplicates) in [("6000", "1", LINES), ("1000000", "4", LINES), ("5999", "1", 0)] {
            let workspace = Workspace::new();
            workspace.write("in.log", &twice());
            // With one thread, blocks are encoded in their order, and the window is exact.
            let arguments =
                ["in.log", "--dedup-window", window, "--encode", form, "--container", container, "--threads", threads];
            let run = workspace.ingest(&arguments).ok();
            let summary = run.summary();
            assert_eq!(
                (summary.lines_in, summary.lines_duplicate, summary.lines_filtered),
                (2 * LINES, duplicates, duplicates)
            );
            assert_eq!(
                run.stderr.contains("6,000 lines of the filtered as duplicates"),
                duplicates > 0,
                "{}",
                run.stderr
            );
            let mut delivered = workspace.delivered(OUT);
            if container == "kpl" {
                delivered = workspace.decode(&delivered).ok().stdout;
            }
            let found: Vec<&[u8]> = ids(&delivered).collect();
            let distinct: BTreeSet<&[u8]> = found.iter().copied().collect();
            assert_eq!(
                (found.len() as u64, distinct.len() as u64),
                (2 * LINES - duplicates, LINES),
                "{form} {container}"
            );
        }
    }
}

#[test]
fn a_line_that_was_filtered_or_bad_or_has_no_id_is_none_to_compare_with() {
    let workspace = Workspace::new();
    let long = "x".repeat(2_000);
    let log = format!(
        "1\t404\ta\n1\t200\ta\n1\t200\ta\n1\t200\t-\n1\t200\t-\nbad\t200\tb\n1\t200\tb\n1\t{long}\tc\n1\t200\tc\n"
    );
    workspace.write("in.log", log.as_bytes());
    let fields = ["--fields", "timestamp,sc-status,x-edge-request-id", "--record-size", "1024"];
    let rest = ["--dedup-window", "10", "--match", "sc-status=[!4]*"];
    let summary = workspace.ingest(&[&["in.log"], &fields[..], &rest].concat()).ok().summary();
    assert_eq!(workspace.delivered(OUT), b"1\t200\ta\n1\t200\t-\n1\t200\t-\n1\t200\tb\n1\t200\tc\n");
    assert_eq!((summary.lines_quarantined, summary.lines_filtered, summary.lines_duplicate), (2, 2, 1));
}

/// A hundred lines, the same hundred again, and so on.
fn soon_again() -> Vec<u8> {
    let text = log("realtime-46", LINES);
    let all: Vec<&[u8]> = lines(&text).collect();
    all.chunks(100).flat_map(|chunk| [chunk, chunk].concat().concat()).collect()
}

/// What a run did not deliver, the next one does, though the lines that stand for it were seen.
#[test]
fn a_run_that_failed_or_was_killed_costs_no_line() {
    for was_killed in [false, true] {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        let stream = aws.delivery_stream("beacons");
        workspace.write("in.log", &soon_again());
        let ingest = || {
            let common = ["in.log", "--dedup-window", "100000", "--resume", "checkpoint", "--to", "firehose://beacons"];
            let endpoint = format!("http://{}", aws.address());
            let small = ["--request-size", "1MiB", "--concurrency", "1", "--endpoint-url", &endpoint];
            let mut command = workspace.ingest_command(&[&common[..], &small].concat());
            command.envs(aws.environment());
            command
        };
        stream.fault(Fault::Delay(Duration::ZERO)).fault(Fault::Delay(Duration::ZERO));
        if was_killed {
            stream.fault(Fault::NeverReply { stored: false });
            let child = ingest().spawn().expect("it starts");
            wait_until("two requests arrived", || !stream.delivered().is_empty());
            wait_until("the checkpoint has moved", || Saved::read(&workspace).offset > 0);
            signal(&child, "KILL");
            workspace.wait(child);
        } else {
            stream.fault(Fault::error(400, "AccessDeniedException", "User: me is not authorized to perform: put"));
            let failed = workspace.ingest_with(&mut ingest(), b"").exits(1).summary();
            assert!(failed.lines_duplicate > 0 && failed.lines_undelivered > 0, "{failed:?}");
        }
        let before = stream.delivered().len();
        assert!(Saved::read(&workspace).offset > 0 && before > 0);
        let summary = workspace.ingest_with(&mut ingest(), b"").ok().summary();
        assert!(summary.lines_shipped > 0 && summary.lines_in < 2 * LINES, "{summary:?}");
        let delivered: Vec<u8> = stream.delivered().into_iter().flat_map(|record| record.data.to_vec()).collect();
        let distinct: BTreeSet<&[u8]> = ids(&delivered).collect();
        assert_eq!(distinct.len() as u64, LINES, "killed: {was_killed}");
    }
}
