//! What `plan` says against what `ingest` does, with the strict fake for AWS. `docs/capacity.md`
//! has the figures, which `--nocapture` prints.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fake_aws::FakeAws;
use pixel_engine::kpl::{Decoded, decode};
use pixel_engine::plan::simulate::demand::Demand;
use pixel_engine::plan::simulate::spread::Spread;
use pixel_engine::plan::simulate::{Model, Outcome};
use pixel_engine::plan::workload::{PackedLines, Workload};
use serde_json::Value;

use crate::support::{Summary, Workspace, id_in, lines, log, run};

const MIB: f64 = 1_048_576.0;

/// What all lines of a log become.
#[derive(Clone, Copy, Debug)]
struct Figures {
    records: f64,
    requests: f64,
    payload: f64,
    billed: f64,
}

impl Figures {
    /// Of `seconds` of a flow in a plan.
    fn of_plan(flow: &Value, calls: &Value, billed: &str, seconds: f64) -> Figures {
        let number = |value: &Value| value.as_f64().expect("a number") * seconds;
        let records = number(&flow["records"]);
        let billed = records * flow["billed"][billed].as_f64().expect("billed bytes");
        Figures { records, requests: number(calls), payload: number(&flow["bytes"]), billed }
    }

    fn of_run(summary: &Summary, billed: u64) -> Figures {
        assert_eq!(summary.shipping.as_ref().expect("it was shipped").throttles, 0);
        Figures {
            records: summary.records as f64,
            requests: summary.requests as f64,
            payload: summary.payload_bytes as f64,
            billed: billed as f64,
        }
    }
}

#[test]
fn a_run_sends_what_the_plan_said() {
    const LINES: u64 = 24_000;
    const RATE: f64 = 40_000.0;
    let workspace = Workspace::new();
    workspace.write("a.log", &log("realtime-46", LINES));
    // At this rate records are full before a second's linger is over, as they are when a file is
    // read.
    let plan = run(&mut workspace.command(&["plan", "a.log", "--rate", "40000/s", "--peak", "1x", "--json"]), b"").ok();
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("a plan is JSON");
    let design = |id: &str| {
        let designs = plan["designs"].as_array().expect("designs");
        designs.iter().find(|design| design["id"] == id).expect("every design is there")
    };
    let seconds = LINES as f64 / RATE;
    let firehose = |id: &str| {
        let firehose = &design(id)["firehose"];
        Figures::of_plan(&firehose["peak"], &firehose["calls"], "firehose", seconds)
    };
    let aggregates = &design("5a")["streams"][1];
    let kpl = Figures::of_plan(&aggregates["peak"], &aggregates["calls"], "on_demand", seconds);

    let aws = FakeAws::start();
    aws.delivery_stream("beacons");
    // With fewer than 20 shards a request has 256 KiB for each, and not the 5 MiB of the plan.
    aws.stream("hits", 24);
    let ingest = |arguments: &[&str]| {
        let mut command = workspace.ingest_command(&["a.log"]);
        command.args(arguments).envs(aws.environment()).env_remove("AWS_PROFILE");
        workspace.ingest_with(&mut command, b"").ok().summary()
    };
    let raw_run = ingest(&["--to", "firehose://beacons"]);
    let zstd_run = ingest(&["--to", "firehose://beacons", "--compress", "zstd:1"]);
    let kpl_run = ingest(&["--to", "kinesis://hits"]);
    assert_eq!(aws.counters().violations, Vec::<String>::new());
    for (what, planned, real, most_billed) in [
        ("Firehose, raw", firehose("3"), Figures::of_run(&raw_run, raw_run.billed_bytes_firehose), 5_120.0),
        ("Firehose, zstd:1", firehose("4a"), Figures::of_run(&zstd_run, zstd_run.billed_bytes_firehose), 5_120.0),
        ("Kinesis, KPL", kpl, Figures::of_run(&kpl_run, kpl_run.billed_bytes_kinesis_on_demand), 1_024.0),
    ] {
        println!("{what}: plan {planned:?}, run {real:?}");
        let shown = format!("{what}: {planned:?} and {real:?}");
        // The plan's log never ends: a run has a last record and a last request that are not full.
        // The packer ends records a little early where that costs less, so a request more may be
        // begun.
        let more = real.records - planned.records;
        assert!((-0.01 * planned.records..=1.0 + 0.01 * planned.records).contains(&more), "{shown}");
        assert!((0.0..=2.0).contains(&(real.requests - planned.requests)), "{shown}");
        // Compression is interpolated between records of measured sizes.
        assert!((real.payload / planned.payload - 1.0).abs() < 0.005, "{shown}");
        // A mean record is rounded to the billed unit once, each real one by itself: less than a
        // unit apart.
        let apart = (real.billed - planned.billed).abs();
        assert!(apart < real.records * most_billed, "{shown}");
        assert!(apart < 0.01 * planned.billed, "{shown}");
    }
}

/// Lines that come evenly to two shards, more of them than the shards take.
struct Overload {
    what: &'static str,
    text: Vec<u8>,
    seconds: usize,
    arguments: &'static [&'static str],
    packed: fn(&Workload) -> PackedLines,
    spread: Spread,
}

/// How a run went, in seconds.
#[derive(Debug)]
struct Ran {
    /// From the first line written to the last one stored.
    drained: f64,
    /// The longest from when a line was due to when it was stored, by shard.
    worst_delay: BTreeMap<Arc<str>, f64>,
    /// What the busiest shard got, in seconds of its limits.
    work: f64,
}

impl Overload {
    fn lines(&self) -> usize {
        lines(&self.text).count()
    }

    /// Plays it with shards that forgive so many seconds of their limits.
    fn simulate(&self, burst: f64) -> Outcome {
        let count = self.lines();
        let line_bytes = self.text.len() as f64 / count as f64;
        let packed = (self.packed)(&Workload::stated(line_bytes.round() as u32));
        let mut demand = Demand::constant(count as f64 / self.seconds as f64, self.seconds);
        demand.rates.extend([0.0; 30]);
        let mut model = Model::new(&demand, &packed, line_bytes);
        model.spread = self.spread;
        model.burst = Duration::from_secs_f64(burst);
        model.seed = SEED;
        let outcome = model.run(2);
        assert_eq!((outcome.waiting, outcome.lost), (0, 0));
        outcome
    }

    /// Runs it: each line is written when its time has come, or as soon after that as there is room
    /// in the pipe.
    fn run(&self) -> Ran {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        let records = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&records);
        aws.stream("hits", 2).hand_over(move |record| {
            let shard = Arc::clone(record.shard_id.expect("a shard took it"));
            let key = record.partition_key.map_or(0, str::len);
            to.lock().expect("no panic").push((Instant::now(), shard, record.data.to_vec(), key));
        });
        let mut command = workspace.ingest_command(&["-", "--to", "kinesis://hits"]);
        command.args(self.arguments).envs(aws.environment()).env_remove("AWS_PROFILE").stdin(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut pipe = child.stdin.take().expect("stdin is piped");
        let all: Vec<&[u8]> = lines(&self.text).collect();
        let scheduled = |place: usize| self.seconds as f64 * place as f64 / all.len() as f64;
        // Not before it has looked at the stream.
        thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        let mut written = 0;
        while written < all.len() {
            let due = (begun.elapsed().as_secs_f64() / self.seconds as f64 * all.len() as f64) as usize;
            let due = due.min(all.len());
            pipe.write_all(&all[written..due].concat()).expect("it reads");
            written = due;
            thread::sleep(Duration::from_millis(5));
        }
        drop(pipe);
        workspace.wait(child).ok();
        assert_eq!(aws.counters().violations, Vec::<String>::new());
        let places: HashMap<&[u8], usize> =
            all.iter().enumerate().map(|(place, line)| (id_in(line).expect("an id"), place)).collect();
        let (mut arrived, mut drained) = (0, 0.0_f64);
        let mut worst_delay: BTreeMap<Arc<str>, f64> = BTreeMap::new();
        let mut taken: BTreeMap<Arc<str>, (f64, f64)> = BTreeMap::new();
        for (at, shard, data, key) in records.lock().expect("no panic").iter() {
            let at = at.duration_since(begun).as_secs_f64();
            drained = drained.max(at);
            let (bytes, records) = taken.entry(Arc::clone(shard)).or_default();
            (*bytes, *records) = (*bytes + (data.len() + key) as f64, *records + 1.0);
            let worst = worst_delay.entry(Arc::clone(shard)).or_default();
            let mut line = |line: &[u8]| {
                arrived += 1;
                *worst = worst.max(at - scheduled(places[id_in(line).expect("an id")]));
            };
            match decode(data) {
                Decoded::Aggregate(aggregate) => aggregate.records().for_each(|record| line(record.data)),
                _ => line(data),
            }
        }
        assert_eq!(arrived, all.len());
        let work = taken.values().map(|(bytes, records)| (bytes / MIB).max(records / 1_000.0)).fold(0.0, f64::max);
        Ran { drained, worst_delay, work }
    }

    /// Holds the model, its closed form and a run against each other.
    fn check(&self) {
        let seconds = self.seconds as f64;
        // The engine sends half a second's worth at once, the shard takes a second's: a run is
        // between the two.
        let [engine, shard] = [0.5, 1.0].map(|burst| self.simulate(burst).worst_delay);
        let ran = self.run();
        let delay = ran.worst_delay.values().copied().fold(0.0, f64::max);
        // The last line comes last and goes last.
        println!("{}: simulated {:.2} s, delay {engine:.2} s; {ran:.2?}", self.what, seconds + engine);
        // A backlog is through when its work is, but for the burst. The sender's jitter is a tenth
        // of a second.
        let closed_form = ran.work - 0.5 - seconds;
        assert!((engine - closed_form).abs() < 0.2, "{}: {engine} instead of {closed_form}", self.what);
        // Standard input is read by the MiB, and aggregates of a block are sent when the next one
        // is there. The rest is for requests on their way, and for a machine that does other things
        // too.
        let two_blocks = 2.0 * MIB / (self.text.len() as f64 / seconds);
        // A machine that is busy with other things holds a run up, and never hurries it.
        const HELD_UP: f64 = 4.0;
        let expected = shard - 0.1..engine + two_blocks + HELD_UP;
        assert!(expected.contains(&delay), "{}: {delay} is not in {expected:?}", self.what);
        assert!(expected.contains(&(ran.drained - seconds)), "{}: {} is not in {expected:?}", self.what, ran.drained);
    }
}

/// Puts the two keys of the hot shard on two shards.
const SEED: u64 = 2;

fn unpacked(workload: &Workload) -> PackedLines {
    PackedLines::unpacked(workload.line_bytes, 4.0)
}

/// A log in which one address has four lines of five.
fn with_a_hot_address(text: &[u8]) -> Vec<u8> {
    let mut hot = Vec::new();
    for (place, line) in lines(text).enumerate() {
        let mut columns: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
        columns[1] = if place % 5 == 4 { b"203.0.113.2" } else { b"203.0.113.1" };
        hot.extend(columns.join(&b'\t'));
    }
    hot
}

#[test]
fn two_shards_of_aggregates_fall_behind_and_catch_up_as_simulated() {
    let overload = Overload {
        what: "aggregates",
        text: log("realtime-46", 15_000),
        seconds: 3,
        arguments: &[],
        packed: |workload| workload.kpl.clone(),
        spread: Spread::Even,
    };
    overload.check();
}

#[test]
fn two_shards_of_lines_fall_behind_and_catch_up_as_simulated() {
    // Two of these are more than a record of 1,024 B takes, and each fits.
    let text = log("realtime-46", 14_000);
    let middling = lines(&text).filter(|line| (513..=1_000).contains(&line.len()));
    let overload = Overload {
        what: "a line a record",
        text: middling.take(8_000).flatten().copied().collect(),
        seconds: 2,
        arguments: &["--container", "lines", "--record-size", "1024"],
        packed: unpacked,
        spread: Spread::Even,
    };
    overload.check();
}

#[test]
fn a_hot_shard_falls_behind_and_catches_up_as_simulated() {
    let overload = Overload {
        what: "a hot shard",
        text: with_a_hot_address(&log("realtime-46", 6_000)),
        seconds: 2,
        arguments: &["--partition-by", "c-ip"],
        packed: |workload| workload.kpl.clone(),
        spread: Spread::Zipf { exponent: 2.0, keys: 2 },
    };
    overload.check();
}
