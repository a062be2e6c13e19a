//! `run`: pipelines of a file that stay up.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fake_aws::FakeAws;
use pixel_engine::kpl::{Decoded, decode};

use crate::support::{Arrivals, Guarded, Run, Workspace, id_in, lines, log_from, run, signal, soak, wait_until};

const FILE: &str = r#"
spool = "spool"
give_up_after = "1s"
linger = "200ms"
resume = "checkpoint"

[pipeline.beacons]
to = "firehose://beacons"

[[pipeline.beacons.source]]
type = "follow"
files = ["logs/*.log", "logs/*.log.*"]
"#;

struct Sidecar {
    aws: FakeAws,
    workspace: Workspace,
}

impl Sidecar {
    fn new() -> Sidecar {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        aws.delivery_stream("beacons");
        workspace.write("pixel-engine.toml", FILE.as_bytes());
        fs::create_dir_all(workspace.path("logs")).expect("a folder");
        Sidecar { aws, workspace }
    }

    fn start(&self) -> Guarded {
        let mut command = self.workspace.command(&["run"]);
        command.envs(self.aws.environment()).env_remove("AWS_PROFILE");
        Guarded::start(&mut command)
    }

    /// Adds lines with these numbers to a log.
    fn append(&self, name: &str, first: u64, lines: u64) {
        let path = self.workspace.path("logs").join(name);
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a log");
        file.write_all(&log_from("realtime-46", first, lines)).expect("it is written");
    }

    fn rename(&self, from: &str, to: &str) {
        let logs = self.workspace.path("logs");
        fs::rename(logs.join(from), logs.join(to)).expect("it is there");
    }

    /// The ids of the lines that arrived, some perhaps twice.
    fn arrived(&self) -> Vec<Vec<u8>> {
        let records = self.aws.delivery_stream("beacons").delivered();
        records.iter().flat_map(|record| lines(&record.data).map(id_of).collect::<Vec<_>>()).collect()
    }

    #[track_caller]
    fn wait_for(&self, count: u64) {
        wait_until("the lines arrived", || self.arrived().iter().collect::<BTreeSet<_>>().len() as u64 == count);
    }

    fn stop(&self, child: Guarded) -> Run {
        signal(&child, "TERM");
        self.workspace.wait(child.take())
    }

    fn batches(&self) -> usize {
        fs::read_dir(self.workspace.path("spool"))
            .map(|files| {
                let names = files.filter_map(Result::ok).map(|file| file.file_name());
                names.filter(|name| name.to_string_lossy().ends_with(".batch")).count()
            })
            .unwrap_or_default()
    }
}

fn id_of(line: &[u8]) -> Vec<u8> {
    id_in(line).expect("every line has one").to_vec()
}

#[test]
fn what_is_logged_arrives_and_a_restart_goes_on() {
    let test = Sidecar::new();
    let mut written = 0;
    for round in 0..3 {
        let child = test.start();
        for _ in 0..5 {
            test.append("app.log", written, 40);
            written += 40;
            thread::sleep(Duration::from_millis(60));
        }
        test.rename("app.log", &format!("app.log.{round}"));
        test.append("app.log", written, 40);
        written += 40;
        test.wait_for(written);
        let run = test.stop(child).ok();
        run.says(&["pipeline beacons: logs/*.log logs/*.log.* to firehose://beacons"]);
        // While nobody is there.
        test.append("app.log", written, 10);
        written += 10;
    }
    let child = test.start();
    test.wait_for(written);
    test.stop(child).ok();
    assert_eq!(test.arrived().len() as u64, written, "none came twice");
}

#[test]
fn lines_wait_no_longer_than_the_linger() {
    let test = Sidecar::new();
    let child = test.start();
    test.append("app.log", 0, 1);
    test.wait_for(1);
    let mut longest = Duration::ZERO;
    for number in 1..10 {
        let begun = Instant::now();
        test.append("app.log", number, 1);
        test.wait_for(number + 1);
        longest = longest.max(begun.elapsed());
    }
    // 200 ms, what it takes to notice, and what a busy machine needs.
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    test.stop(child).ok();
}

#[test]
fn an_endpoint_that_was_dead_gets_what_the_spool_kept() {
    let test = Sidecar::new();
    let child = test.start();
    test.append("app.log", 0, 100);
    test.wait_for(100);
    test.aws.down();
    test.append("app.log", 100, 400);
    wait_until("the spool has something", || test.batches() > 0);
    test.append("app.log", 500, 100);
    thread::sleep(Duration::from_millis(1_500));
    test.aws.up();
    test.wait_for(600);
    wait_until("the spool is empty", || test.batches() == 0);
    test.append("app.log", 600, 50);
    test.wait_for(650);
    let run = test.stop(child).ok();
    assert!(run.stderr.contains("IN THE SPOOL"), "{}", run.stderr);
}

#[test]
fn an_endpoint_that_is_dead_from_the_start_is_no_reason_to_end() {
    let test = Sidecar::new();
    test.aws.down();
    test.append("app.log", 0, 300);
    let child = test.start();
    wait_until("the spool has something", || test.batches() > 0);
    test.aws.up();
    test.wait_for(300);
    test.stop(child).ok();
}

#[test]
fn killed_at_any_moment_it_loses_nothing() {
    let total = soak(20_000, 1_000_000);
    let test = Sidecar::new();
    let arrivals = Arrivals::at(&test.aws.delivery_stream("beacons"), total);
    let (written, piece) = (AtomicU64::new(0), total / 400);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..400 {
                test.append("app.log", number * piece, piece);
                written.fetch_add(piece, Ordering::Relaxed);
                if number % 8 == 7 {
                    test.rename("app.log", &format!("app.log.{number}"));
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        for kill in 0..10 {
            let mut child = test.start();
            let moment = (kill * total + fastrand::u64(..total)) / 11;
            wait_until("it is time", || written.load(Ordering::Relaxed) >= moment);
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    });
    let child = test.start();
    arrivals.wait_for(0..total);
    test.stop(child).ok();
}

/// The writer and the sidecar know nothing of each other's moments.
#[test]
fn rotations_of_every_kind_lose_nothing() {
    let (rotations, each) = (soak(60, 1_000), 50);
    let test = Sidecar::new();
    let arrivals = Arrivals::at(&test.aws.delivery_stream("beacons"), rotations * each);
    let logs = test.workspace.path("logs");
    let child = test.start();
    let mut name = "app.log".to_owned();
    for rotation in 0..rotations {
        for first in (rotation * each..(rotation + 1) * each).step_by(10) {
            test.append(&name, first, 10);
            if fastrand::bool() {
                thread::sleep(Duration::from_millis(fastrand::u64(..60)));
            }
        }
        let old = format!("{name}.{rotation}");
        match rotation % 3 {
            0 => test.rename(&name, &old),
            1 => {
                // As `copytruncate` of logrotate does it. The patterns match the copy: without
                // that, what is written just before is lost, as is documented.
                fs::copy(logs.join(&name), logs.join(old)).expect("it is there");
                File::options().write(true).truncate(true).open(logs.join(&name)).expect("it is there");
            }
            _ => name = format!("app-{rotation}.log"),
        }
    }
    arrivals.wait_for(0..rotations * each);
    test.stop(child).ok();
    // A copy is known by its content.
    assert_eq!(arrivals.duplicates(), 0);
}

#[test]
fn several_pipelines_run_from_one_file_and_stdin_ends_its_own() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let hits = aws.stream("hits", 2);
    workspace.write(
        "two.toml",
        b"[pipeline.hits]\nto = \"kinesis://hits\"\nsource = { type = \"stdin\" }\n\
          [pipeline.copies]\nto = \"dir:out\"\nresume = \"at\"\nsource = { type = \"follow\", files = \"logs/*\" }\n",
    );
    workspace.write("logs/a.log", &log_from("realtime-46", 0, 100));
    let mut command = workspace.command(&["run", "--config", "two.toml"]);
    command.envs(aws.environment()).env_remove("AWS_PROFILE").stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&log_from("realtime-46", 0, 200)).expect("it reads");
    drop(stdin);
    wait_until("the stream has the lines", || hits.counts().records > 0);
    // Objects are complete once they are closed.
    thread::sleep(Duration::from_millis(500));
    signal(&child, "TERM");
    workspace.wait(child).ok();
    assert!(workspace.delivered("out") == log_from("realtime-46", 0, 100));
    let records = hits.delivered();
    let lines = records.iter().flat_map(|record| {
        let Decoded::Aggregate(aggregate) = decode(&record.data) else { panic!("an aggregate") };
        aggregate.records().map(|record| record.data.to_vec()).collect::<Vec<_>>()
    });
    assert_eq!(lines.count(), 200);
}

#[test]
fn a_configuration_is_checked_and_shown() {
    let workspace = Workspace::new();
    workspace.write("pixel-engine.toml", FILE.as_bytes());
    let checked = run(workspace.command(&["run", "--check"]).env("PIXEL_ENGINE_GRACE", "2s"), b"").ok();
    let shown = String::from_utf8(checked.stdout).expect("text");
    assert!(shown.contains("pipeline beacons: logs/*.log logs/*.log.* to firehose://beacons"), "{shown}");
    assert!(shown.contains("  linger = \"200ms\"  # line 4"), "{shown}");
    assert!(shown.contains("  grace = \"2s\"  # PIXEL_ENGINE_GRACE"), "{shown}");
    assert!(shown.contains("  # request_timeout = \"30s\"\n"), "{shown}");
    assert!(shown.contains("  source follow\n    files = [\"logs/*.log\",\"logs/*.log.*\"]  # line "), "{shown}");
    assert!(shown.contains("    # start = beginning\n"), "{shown}");

    workspace.write("wrong.toml", b"[pipeline.a]\nlingr = \"1s\"\nsource = { type = \"stdin\" }\n");
    let wrong = run(&mut workspace.command(&["run", "--config", "wrong.toml", "--check"]), b"").exits(2);
    wrong.says(&["wrong.toml:2:1: unknown key `lingr`; did you mean `linger`?"]);
    run(&mut workspace.command(&["run", "--config", "none.toml"]), b"").exits(2).says(&["none.toml: No such file"]);
}
