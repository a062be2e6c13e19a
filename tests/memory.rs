use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fake_aws::{FakeAws, ShardQuota};
use pixel_engine_bench_data::{Generator, Options};

use crate::support::*;

/// What `ingest` may take at most, whatever it reads.
pub(crate) const LIMIT: u64 = 200_000_000;

/// What the queues of two threads can hold without compression: 4 blocks before the packer, 7
/// groups of about 4 MB (lines and aggregates) behind it, and the buffers that are kept.
const QUEUES: u64 = 40_000_000;

/// The most memory that the child has had so far, in bytes; `None` where the system does not tell.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1_024)
}

/// The same once it has read what was written to its stdin, which must still be open.
pub(crate) fn peak_when_idle(child: &Child) -> u64 {
    // The pipe is empty as soon as the last bytes are read; what they need comes in this time.
    thread::sleep(Duration::from_millis(500));
    peak(child).unwrap_or_else(|| {
        skipped("a peak of memory: no VmHWM in /proc");
        0
    })
}

/// The peak of `ingest --to null:` over a log of about `bytes`, which is never on a disk.
fn peak_of(bytes: u64, arguments: &[&str]) -> u64 {
    let workspace = Workspace::new();
    let arguments = [&["--to", "null:"], arguments].concat();
    let mut child = workspace.ingest_command(&arguments).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // One piece over and over: making a log takes longer than packing it.
    let mut piece = Vec::new();
    let shape = "realtime-46".parse().expect("a shape");
    let piece_lines = Generator::new(Options::new(shape, SEED)).append_bytes(&mut piece, 8 << 20);
    let mut written = 0;
    while written < bytes {
        stdin.write_all(&piece).expect("it reads");
        written += piece.len() as u64;
    }
    let peak = peak_when_idle(&child);
    drop(stdin);
    let summary = workspace.wait(child).ok().summary();
    assert_eq!(summary.bytes_in, written);
    assert_eq!(summary.lines_shipped, written / piece.len() as u64 * piece_lines);
    peak
}

const WAYS: [&[&str]; 4] = [
    &[],
    &["--encode", "jsonl", "--compress", "zstd:1"],
    &["--container", "kpl"],
    &["--encode", "jsonl", "--record-size", "5120", "--reorder"],
];

#[test]
fn memory_does_not_grow_with_the_input() {
    for arguments in WAYS {
        let small = peak_of(300_000_000, arguments);
        assert!(small <= LIMIT, "{arguments:?}: {small} bytes");
        let large = peak_of(1_500_000_000, arguments);
        assert!(large <= LIMIT, "{arguments:?}: {large} bytes");
        // How full the queues get is chance, and a short run may end before they ever are: 29 and
        // 46 MB were seen of the same command. What they hold at most with two threads is no
        // growth; 1,200 MB more of input would be.
        assert!(large < small + (small / 2).max(QUEUES), "{arguments:?}: {small}, then {large}");
    }
}

#[test]
fn highly_compressible_lines_stay_within_it_too() {
    // All the lines that one compressed record can hold are in memory until it is made.
    let line = log("realtime-46", 1);
    let workspace = Workspace::new();
    let mut command = workspace.ingest_command(&["--to", "null:", "--compress", "zstd"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let piece = line.repeat(10_000);
    for _ in 0..50 {
        stdin.write_all(&piece).expect("it reads");
    }
    let peak = peak_when_idle(&child);
    drop(stdin);
    assert_eq!(workspace.wait(child).ok().summary().lines_shipped, 500_000);
    assert!(peak <= LIMIT, "{peak} bytes");
}

#[test]
fn a_file_takes_no_more_than_a_pipe() {
    let workspace = Workspace::new();
    let text = log("realtime-46", 20_000);
    let mut file = fs::File::create(workspace.path("in.log")).expect("a file");
    for _ in 0..17 {
        file.write_all(&text).expect("room on the disk");
    }
    // Only the end of a run over a file can be awaited, so its end is a pipe that stays open.
    let mut command = workspace.ingest_command(&["in.log", "-", "--to", "null:"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&vec![b'\n'; 1 << 20]).expect("it reads");
    let peak = peak_when_idle(&child);
    drop(stdin);
    assert_eq!(workspace.wait(child).ok().summary().lines_shipped, 340_000);
    assert!(peak <= LIMIT, "{peak} bytes");
}

/// What `ingest` took while its endpoint was slow or dead for a while, with more log than fits into
/// that.
fn peak_at_a_bad_endpoint(to: &str, arguments: &[&str], dead: Duration) -> u64 {
    const BYTES: u64 = 400_000_000;
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    aws.delivery_stream("beacons").keep_counts();
    let hits = aws.stream("hits", 4);
    hits.quota(ShardQuota::UNLIMITED).keep_counts();
    let mut command = workspace.ingest_command(&["--to", to, "--rate-limit", "none"]);
    command.args(arguments).envs(aws.environment()).stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut piece = Vec::new();
    let shape = "realtime-46".parse().expect("a shape");
    let piece_lines = Generator::new(Options::new(shape, SEED)).append_bytes(&mut piece, 1 << 20);
    let written = AtomicU64::new(0);
    let (peak, stdin) = thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            while written.load(Ordering::Relaxed) < BYTES {
                stdin.write_all(&piece).expect("it reads");
                written.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            stdin
        });
        if dead > Duration::ZERO {
            wait_until("requests arrived", || {
                aws.delivery_stream("beacons").counts().requests + hits.counts().requests > 2
            });
            aws.down();
            let before = written.load(Ordering::Relaxed);
            thread::sleep(dead / 2);
            let filled = written.load(Ordering::Relaxed);
            assert!(filled - before <= LIMIT, "{} bytes were read with nobody to take them", filled - before);
            thread::sleep(dead / 2);
            assert_eq!(written.load(Ordering::Relaxed), filled, "the reader is not held");
            aws.up();
        } else {
            aws.latency(Duration::from_millis(100));
        }
        let stdin = feeding.join().expect("a feeder");
        (peak_when_idle(&child), stdin)
    });
    drop(stdin);
    let summary = workspace.wait(child).ok().summary();
    assert_eq!(summary.lines_shipped, written.into_inner() / piece.len() as u64 * piece_lines);
    peak
}

#[test]
fn a_dead_or_slow_endpoint_holds_the_reader_and_not_the_input() {
    for (to, arguments) in [
        ("firehose://beacons", &[][..]),
        ("firehose://beacons", &["--compress", "zstd:1"]),
        ("kinesis://hits", &[]),
        ("kinesis://hits", &["--partition-by", "c-ip"]),
    ] {
        for dead in [Duration::from_secs(4), Duration::ZERO] {
            let peak = peak_at_a_bad_endpoint(to, arguments, dead);
            assert!(peak <= LIMIT, "{to} {arguments:?} {dead:?}: {peak} bytes");
        }
    }
}
