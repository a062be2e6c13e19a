//! Faults of every kind, and a producer that is killed again and again: nothing is lost, and
//! nothing that was acknowledged comes twice.
//!
//! The lines of a file have unique ids. A run ships it with a checkpoint and is killed at some
//! moment; the next one goes on. Between two runs, what has arrived is held against the checkpoint,
//! and what came twice against what the server told the producer.

use std::collections::BTreeSet;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fake_aws::{Delivered, FakeAws, Fault, ShardQuota};
use fastrand::Rng;
use pixel_engine_bench_data::{Generator, Options, request_id};

use crate::support::*;

const KILLS: usize = 10;
const FIELDS: &str = "timestamp,c-ip,sc-status,cs-uri-stem,x-edge-request-id";
const RECORD: usize = 20 << 10;
/// The smallest request that may be set.
const REQUEST: usize = 1 << 20;
const ARGUMENTS: [&str; 10] = [
    "in.log",
    "--resume",
    "checkpoint",
    "--fields",
    FIELDS,
    "--threads",
    "2",
    // Longer than any reply takes on a loaded machine, but for those that never come.
    "--request-timeout",
    "4s",
    "--quiet",
];

fn faults() -> Vec<Fault> {
    let delay = Fault::Delay(Duration::from_millis(300));
    request_faults().into_iter().map(|RequestFault { fault, .. }| fault).chain([delay]).collect()
}

/// The input: lines with ids, and bad ones between them.
struct Log {
    text: Vec<u8>,
    /// Where each line with an id begins, by its number.
    offsets: Vec<u64>,
    /// The number and the offset of each bad line in the file.
    bad: BTreeSet<(u64, u64)>,
}

impl Log {
    /// A log in which one line after every `good` ones is bad.
    fn new(lines: u64, good: usize) -> Log {
        let mut generator = Generator::new(Options::new(FIELDS.parse().expect("fields"), SEED));
        let mut generated = Vec::new();
        generator.append_lines(&mut generated, lines);
        let mut log = Log { text: Vec::with_capacity(generated.len()), offsets: Vec::new(), bad: BTreeSet::new() };
        for line in crate::support::lines(&generated) {
            log.offsets.push(log.text.len() as u64);
            log.text.extend_from_slice(line);
            if log.offsets.len().is_multiple_of(good) {
                let number = (log.offsets.len() + log.bad.len()) as u64 + 1;
                log.bad.insert((number, log.text.len() as u64));
                log.text.extend_from_slice(b"no log line\n");
            }
        }
        log
    }

    /// Every bad line is in the quarantine, and each of them with its true place, whichever run
    /// found it.
    #[track_caller]
    fn check_quarantine(&self, workspace: &Workspace) {
        let found: BTreeSet<_> = workspace.quarantine().iter().map(|bad| (bad.line, bad.offset)).collect();
        assert!(found == self.bad, "{} bad lines, {} found", self.bad.len(), found.len());
    }
}

/// What came, run by run.
struct Ledger<'a> {
    log: &'a Log,
    came: Vec<u8>,
    /// Whether each line came in this run, and whether the producer was told.
    in_run: Vec<Option<bool>>,
    /// Whether each line is acknowledged by the checkpoint.
    safe: Vec<bool>,
    /// Records that have been looked at.
    seen: usize,
}

/// Lines that came again.
#[derive(Debug, Default)]
struct Again {
    in_run: u64,
    after_kill: u64,
}

impl Ledger<'_> {
    fn new(log: &Log) -> Ledger<'_> {
        let count = log.offsets.len();
        Ledger { log, came: vec![0; count], in_run: vec![None; count], safe: vec![false; count], seen: 0 }
    }

    /// Takes what a run delivered, which left that checkpoint; how many of its records were stored
    /// without the producer being told.
    fn close(&mut self, delivered: &[Delivered], saved: &Saved, again: &mut Again) -> u64 {
        let new = &delivered[self.seen..];
        for record in new {
            for line in line_numbers(record) {
                assert!(!self.safe[line], "line {line} was acknowledged when the run began");
                match self.in_run[line].replace(record.acknowledged) {
                    Some(true) => panic!("line {line} was sent again though its reply had come"),
                    Some(false) => again.in_run += 1,
                    None => again.after_kill += u64::from(self.came[line] > 0),
                }
                self.came[line] = self.came[line].saturating_add(1);
            }
        }
        for (line, &offset) in self.log.offsets.iter().enumerate() {
            let is_safe = saved.has(offset);
            assert!(!is_safe || self.came[line] > 0, "line {line} is acknowledged and was not delivered");
            assert!(is_safe || !self.safe[line], "line {line} is not acknowledged any more");
            self.safe[line] = is_safe;
        }
        self.seen = delivered.len();
        self.in_run.fill(None);
        new.iter().filter(|record| !record.acknowledged).count() as u64
    }

    /// How many lines of these records are not acknowledged, and so will come again.
    fn unsafe_lines(&self, records: &[Delivered]) -> u64 {
        let lines: BTreeSet<usize> = records.iter().flat_map(line_numbers).collect();
        lines.into_iter().filter(|&line| !self.safe[line]).count() as u64
    }
}

/// The numbers of the lines in a record, which may be compressed.
fn line_numbers(record: &Delivered) -> Vec<usize> {
    let is_zstd = record.data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let data = if is_zstd { zstd::decode_all(&record.data[..]).expect("a frame") } else { record.data.to_vec() };
    ids(&data).map(|id| request_id::decode(id).expect("an id").1 as usize).collect()
}

/// A way to a stream, and what the stream has.
struct Target<'a> {
    aws: &'a FakeAws,
    to: &'a str,
    delivered: &'a dyn Fn() -> Vec<Delivered>,
    /// Records.
    arrived: &'a dyn Fn() -> u64,
    concurrency: usize,
    arguments: &'a [&'a str],
}

/// When how many records had arrived.
type Samples = Vec<(SystemTime, u64)>;

impl Target<'_> {
    fn start(&self, workspace: &Workspace) -> Child {
        let mut command = workspace.ingest_command(&ARGUMENTS);
        command.args(["--request-size", &REQUEST.to_string(), "--concurrency", &self.concurrency.to_string()]);
        command.args(self.arguments).args(["--to", self.to]).envs(self.aws.environment()).spawn().expect("it starts")
    }

    /// Waits until that is so or the run has ended, which it returns.
    fn wait(&self, child: &mut Child, samples: &mut Samples, is_so: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        loop {
            samples.push((SystemTime::now(), (self.arrived)()));
            if child.try_wait().expect("a child").is_some() {
                return true;
            }
            if is_so() {
                return false;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "nothing comes any more");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills the run, and takes what it delivered into the ledger; how many of its records were
    /// stored without the producer being told.
    ///
    /// Of what had arrived before the last save, no more may come again than the requests that were
    /// on the way then, one for each worker: what waits in the queue has not been sent. Of what
    /// arrived since, all may. That is added to `may_come`.
    fn kill(
        &self,
        child: Child,
        workspace: &Workspace,
        ledger: &mut Ledger<'_>,
        again: &mut Again,
        samples: &Samples,
        may_come: &mut u64,
    ) -> u64 {
        // Longer than it takes from a look at what is acknowledged to the first byte of the file,
        // in which that is saved.
        const SLACK: Duration = Duration::from_millis(150);
        signal(&child, "KILL");
        let killed = workspace.wait(child);
        assert_eq!(killed.code, None, "it ended before it was killed: {}", killed.stderr);
        // What is on the way arrives now, or never.
        self.aws.down();
        let first = ledger.seen;
        let (delivered, saved) = ((self.delivered)(), Saved::read(workspace));
        let untold = ledger.close(&delivered, &saved, again);
        self.aws.up();

        let new = &delivered[first..];
        let bytes: usize = new.iter().map(|record| record.data.len()).sum();
        let lines: usize = new.iter().map(|record| line_numbers(record).len()).sum();
        // Lines differ in length, so a request may have some more than the mean.
        let lines_of_request = (1.1 * (REQUEST * lines) as f64 / bytes.max(1) as f64) as u64;
        let in_flight = self.concurrency as u64 * lines_of_request;
        let is_before_save = |(time, _): &&(SystemTime, u64)| saved.at.is_some_and(|at| *time + SLACK < at);
        let before = samples.iter().rev().find(is_before_save).map_or(0, |(_, records)| *records as usize);
        let (before, since) = delivered[first..].split_at(before.clamp(first, delivered.len()) - first);
        let unsaved = ledger.unsafe_lines(before);
        assert!(unsaved <= in_flight, "{unsaved} lines came before the last save and will come again: {in_flight}");
        *may_come += in_flight + ledger.unsafe_lines(since);
        untold
    }
}

struct Campaign<'a> {
    target: Target<'a>,
    lines: u64,
    /// Called in the middle of a run.
    reshard: &'a dyn Fn(usize),
}

impl Campaign<'_> {
    /// Waits until so many more records have arrived, or the run has ended.
    fn wait_for(&self, child: &mut Child, samples: &mut Samples, records: u64) {
        let from = (self.target.arrived)();
        self.target.wait(child, samples, || (self.target.arrived)() >= from + records);
    }

    fn run(&self, random: &mut Rng) {
        let begun = Instant::now();
        let (workspace, log) = (Workspace::new(), Log::new(self.lines, 9_973));
        workspace.write("in.log", &log.text);
        let mut ledger = Ledger::new(&log);
        // On average, half of the log is left after the last kill.
        let most = (log.text.len() / RECORD / KILLS) as u64;
        let (mut again, mut untold, mut may_come) = (Again::default(), 0, 0);
        for kill in 0..KILLS {
            // The last run is to have half of the log, however fast the machine is: the more of the
            // other half is delivered, the sooner comes the kill.
            let saved = Saved::read(&workspace);
            let ahead: u64 = saved.ahead.iter().map(|range| range.end - range.start).sum();
            let share_done = (saved.offset + ahead) as f64 / log.text.len() as f64;
            let share_left = (1.0 - 2.0 * share_done).max(0.0);
            let mut child = self.target.start(&workspace);
            let mut samples = Samples::new();
            let records = (random.u64(0..most.max(1)) as f64 * share_left) as u64;
            self.wait_for(&mut child, &mut samples, records / 2);
            (self.reshard)(kill);
            self.wait_for(&mut child, &mut samples, records - records / 2);
            if kill == 0 {
                // However busy the machine is, the rest is about a checkpoint that has something.
                self.target.wait(&mut child, &mut samples, || {
                    let saved = Saved::read(&workspace);
                    saved.offset > 0 || !saved.ahead.is_empty()
                });
            }
            let pause = Instant::now() + Duration::from_millis(random.u64(0..100)).mul_f64(share_left);
            self.target.wait(&mut child, &mut samples, || Instant::now() >= pause);
            untold += self.target.kill(child, &workspace, &mut ledger, &mut again, &samples, &mut may_come);
        }
        let safe = ledger.safe.iter().filter(|is_safe| **is_safe).count();
        assert!(safe > 0, "nothing was acknowledged");
        let mut child = self.target.start(&workspace);
        self.wait_for(&mut child, &mut Samples::new(), most / 2);
        (self.reshard)(KILLS + 2);
        let run = workspace.wait(child).ok();
        let shipping = run.summary().shipping.expect("it was shipped");
        let delivered = (self.target.delivered)();
        let all = Saved::read(&workspace);
        assert_eq!((all.offset, all.ahead.len()), (log.text.len() as u64, 0));
        let untold_in_last = ledger.close(&delivered, &all, &mut again);
        assert_eq!(ledger.came.iter().position(|&came| came == 0), None, "lost");
        log.check_quarantine(&workspace);
        assert!(again.after_kill <= may_come, "{again:?}, at most {may_come} after a kill");
        // What may have come twice was counted.
        assert!(untold_in_last <= shipping.records_possibly_duplicated, "{untold_in_last} {shipping:?}");
        assert!(
            shipping.throttles > 0 && shipping.records_failed.len() >= 2 && shipping.requests_failed.len() >= 2,
            "{shipping:?}"
        );
        assert_eq!(self.target.aws.counters().violations, Vec::<String>::new());
        eprintln!(
            "{}: {} lines, {KILLS} kills, none lost, {safe} saved after the last kill; lines that came again: {} of at most \
             {may_come} after a kill, {} after a reply that did not come; {} records, {} of them untold; {:?}\n{:?}; \
             {} records in other shards, {} refreshes",
            self.target.to,
            self.lines,
            again.after_kill,
            again.in_run,
            delivered.len(),
            untold + untold_in_last,
            begun.elapsed(),
            shipping.requests_failed,
            shipping.records_in_other_shard,
            shipping.shard_map_refreshes,
        );
    }
}

/// A producer that lives for 0.8 s gets on until it is done, and sends no more than what was in
/// flight a second time.
fn finishes_though_it_is_killed(target: &Target<'_>, is_compressed: bool) {
    const LIFE: Duration = Duration::from_millis(800);
    const MAX_LIVES: usize = 100;
    const LINES: u64 = 300_000;
    let (workspace, log) = (Workspace::new(), Log::new(LINES, 997));
    workspace.write("in.log", &if is_compressed { gzip(&log.text) } else { log.text.clone() });
    let mut ledger = Ledger::new(&log);
    let (mut again, mut may_come, mut kills) = (Again::default(), 0, 0);
    loop {
        let mut child = target.start(&workspace);
        let (begun, from, mut samples) = (Instant::now(), (target.arrived)(), Samples::new());
        // Where the machine is so busy that 0.8 s do not suffice to start, the life is as long as
        // it takes to send something.
        let is_over = || begun.elapsed() >= LIFE && (target.arrived)() > from;
        if target.wait(&mut child, &mut samples, is_over) {
            workspace.wait(child).ok();
            break;
        }
        target.kill(child, &workspace, &mut ledger, &mut again, &samples, &mut may_come);
        kills += 1;
        let left = ledger.safe.iter().filter(|is_safe| !**is_safe).count();
        assert!(kills < MAX_LIVES, "{left} of {LINES} lines are left after {kills} kills");
    }
    let all = Saved::read(&workspace);
    assert_eq!((all.offset, all.ahead.len()), (log.text.len() as u64, 0));
    ledger.close(&(target.delivered)(), &all, &mut again);
    assert_eq!(ledger.came.iter().position(|&came| came == 0), None, "lost");
    log.check_quarantine(&workspace);
    assert!(kills > 0, "it was done before it was killed");
    assert!(again.after_kill <= may_come, "{again:?}, at most {may_come} after a kill");
    assert_eq!(target.aws.counters().violations, Vec::<String>::new());
    eprintln!(
        "{} {:?}: {LINES} lines, {kills} kills, none lost; lines that came again: {} of at most {may_come} after a kill, {} \
         after a reply that did not come",
        target.to, target.arguments, again.after_kill, again.in_run
    );
}

fn to_firehose(arguments: &[&str], is_compressed: bool, has_failures: bool) {
    let mut random = random();
    let aws = FakeAws::start();
    let beacons = aws.delivery_stream("beacons");
    if has_failures {
        beacons.fail_records(0.05, random.u64(..)).fail_requests(0.02, random.u64(..), &faults());
    }
    let target = Target {
        aws: &aws,
        to: "firehose://beacons",
        delivered: &|| beacons.delivered(),
        arrived: &|| beacons.counts().records,
        concurrency: 2,
        arguments,
    };
    finishes_though_it_is_killed(&target, is_compressed);
}

fn to_partitions(has_failures: bool) {
    let mut random = random();
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 3);
    hits.quota(ShardQuota::UNLIMITED);
    if has_failures {
        hits.fail_records(0.05, random.u64(..)).fail_requests(0.02, random.u64(..), &faults());
    }
    let target = Target {
        aws: &aws,
        to: "kinesis://hits",
        delivered: &|| hits.delivered(),
        arrived: &|| hits.counts().records,
        concurrency: 2,
        arguments: &["--record-size", "20KiB", "--rate-limit", "2MB", "--partition-by", "c-ip"],
    };
    finishes_though_it_is_killed(&target, false);
}

/// The last run of a campaign is of some 80 requests, and has to see failures of several kinds.
const FAILED_REQUESTS: f64 = 0.2;

/// Half of the failed records are throttles; from a high rate, the way back up is short.
const LARGE: [&str; 4] = ["--record-size", "20KiB", "--rate-limit", "1GB"];
const PLAIN: [&str; 4] = ["--record-size", "20KiB", "--rate-limit", "6MB"];
const COMPRESSED: [&str; 6] = ["--record-size", "20KiB", "--rate-limit", "2500KB", "--compress", "zstd:1"];

#[test]
fn a_producer_that_is_killed_every_0_8_s_finishes() {
    to_firehose(&PLAIN, false, false);
}

#[test]
fn a_producer_that_is_killed_every_0_8_s_finishes_though_records_and_requests_fail() {
    to_firehose(&PLAIN, false, true);
}

#[test]
fn a_producer_of_compressed_records_that_is_killed_every_0_8_s_finishes() {
    to_firehose(&COMPRESSED, true, false);
}

#[test]
fn a_producer_of_compressed_records_that_is_killed_every_0_8_s_finishes_though_records_and_requests_fail() {
    to_firehose(&COMPRESSED, true, true);
}

#[test]
fn a_producer_of_partitions_that_is_killed_every_0_8_s_finishes() {
    to_partitions(false);
}

#[test]
fn a_producer_of_partitions_that_is_killed_every_0_8_s_finishes_though_records_and_requests_fail() {
    to_partitions(true);
}

/// A seed, which is told, so that a failure can be looked into: `CAMPAIGN_SEED` sets it. Threads
/// still differ.
fn random() -> Rng {
    let seed =
        std::env::var("CAMPAIGN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("CAMPAIGN_SEED={seed}");
    Rng::with_seed(seed)
}

#[test]
fn nothing_is_lost_on_the_way_to_firehose() {
    let mut random = random();
    let aws = FakeAws::start();
    let beacons = aws.delivery_stream("beacons");
    beacons.fail_records(0.2, random.u64(..)).fail_requests(FAILED_REQUESTS, random.u64(..), &faults());
    Campaign {
        target: Target {
            aws: &aws,
            to: "firehose://beacons",
            delivered: &|| beacons.delivered(),
            arrived: &|| beacons.counts().records,
            concurrency: 8,
            arguments: &LARGE,
        },
        lines: 1_000_000,
        reshard: &|_| {},
    }
    .run(&mut random);
}

#[test]
fn nothing_is_lost_on_the_way_to_kinesis_while_it_is_resharded() {
    let mut random = random();
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 3);
    hits.quota(ShardQuota::UNLIMITED);
    hits.fail_records(0.2, random.u64(..)).fail_requests(FAILED_REQUESTS, random.u64(..), &faults());
    Campaign {
        target: Target {
            aws: &aws,
            to: "kinesis://hits",
            delivered: &|| hits.delivered(),
            arrived: &|| hits.counts().records,
            concurrency: 8,
            arguments: &LARGE,
        },
        lines: 500_000,
        reshard: &|kill| {
            let open: Vec<_> = hits.shards().into_iter().filter(|shard| shard.open).collect();
            if kill % 3 == 2 {
                let mut open = open;
                open.sort_by_key(|shard| *shard.hash_keys.start());
                hits.merge_shards(&open[0].id, &open[1].id);
            } else if kill % 3 == 0 {
                hits.split_shard(&open[open.len() / 2].id);
            }
        },
    }
    .run(&mut random);
    let shards = hits.shards();
    for record in hits.delivered() {
        let shard = shards.iter().find(|shard| Some(&shard.id) == record.shard_id.as_ref()).expect("a shard");
        assert!(shard.hash_keys.contains(&record.explicit_hash_key.expect("aggregates have one")));
    }
}
