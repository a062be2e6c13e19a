//! A day of lines against the limits of shards and quotas: what is refused, what waits, and for how
//! long.
//!
//! # The model
//! Time goes in ticks of a second, within which lines come evenly. Lines become the records that
//! they would become at that rate: with a linger, low rates give small records. A *lane* is a shard
//! or a Direct PUT quota: a token bucket for the tightest of its limits with `burst` of credit, and
//! a queue in order of arrival. When a lane refuses, its sender waits and tries again as delivery
//! does. What is refused waits in a backlog and is never dropped, unless the backlog is full. All
//! random numbers come from one seed.
//!
//! # Why a day of millions a second takes seconds
//! - Lanes with the same share of lines that do not depend on chance are all alike: one of them is
//!   computed.
//! - Where chance matters, a lane is computed only in ticks in which it can be refused: a lane
//!   whose load, plus eight times the standard deviation of what chance adds, is below its limit
//!   cannot. Lanes are sorted by share, so those that can are the first ones.
//! - Within a tick there are events only where a bucket runs dry; `lane.rs` says how.

pub mod demand;
mod lane;
mod scenario;
pub mod spread;
mod tally;

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

pub(crate) use scenario::simulate;
pub use scenario::{Lanes, Scenario, Simulated, Simulation, Target, TooManyLanes};

use super::designs::Flow;
use super::workload::PackedLines;
use demand::Demand;
use lane::{Lane, Line};
use pixel_engine_core::limits::firehose::DirectPutQuota;
use pixel_engine_core::limits::kinesis::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};
use pixel_engine_core::sink::limits::Api;
use spread::{Spread, poisson};
use tally::Tally;

/// Points of the curves that a simulation gives.
const POINTS: usize = 288;

/// What a lane takes in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of data and keys.
    pub bytes: f64,
    /// Records.
    pub records: f64,
    /// PutRecordBatch calls; `None` where calls are not counted.
    pub calls: Option<f64>,
}

impl Limits {
    /// What a shard takes.
    pub const SHARD: Limits =
        Limits { bytes: SHARD_BYTES_PER_SECOND as f64, records: SHARD_RECORDS_PER_SECOND as f64, calls: None };

    /// What a Firehose stream takes by Direct PUT in that region.
    pub fn direct_put(region: &str) -> Limits {
        let quota = DirectPutQuota::of_region(region);
        Limits { bytes: quota.bytes as f64, records: quota.records as f64, calls: Some(quota.requests as f64) }
    }
}

/// What is simulated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Model<'a> {
    /// Lines by the second.
    pub demand: &'a Demand,
    /// The records that lines become.
    pub packed: &'a PackedLines,
    /// Bytes of a line.
    pub line_bytes: f64,
    /// Instances that share the lines and fill records.
    pub producers: u32,
    /// How long a record waits to be filled.
    pub linger: Duration,
    /// What each lane takes.
    pub limits: Limits,
    /// Which lane a line goes to.
    pub spread: Spread,
    /// How much a lane's bucket holds, as the time in which it fills.
    pub burst: Duration,
    /// Bytes of lines that may wait; lines beyond it are lost. `None` for any number.
    pub max_backlog: Option<f64>,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl<'a> Model<'a> {
    /// Lines of so many bytes, packed by one producer with a linger of a second and spread evenly
    /// over shards that forgive a second of their limits.
    pub fn new(demand: &'a Demand, packed: &'a PackedLines, line_bytes: f64) -> Model<'a> {
        Model {
            demand,
            packed,
            line_bytes,
            producers: 1,
            linger: Duration::from_secs(1),
            limits: Limits::SHARD,
            spread: Spread::Even,
            burst: Duration::from_secs(1),
            max_backlog: None,
            seed: 1,
        }
    }
}

/// How it went. `arrived = delivered + waiting + lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Shards or quotas.
    pub lanes: usize,
    /// Lines that came.
    pub arrived: u64,
    /// Lines that were taken.
    pub delivered: u64,
    /// Lines that still wait at the end.
    pub waiting: u64,
    /// Lines for which the backlog had no room.
    pub lost: u64,
    /// Tries that a lane refused, in part or as a whole.
    pub throttled: u64,
    /// The longest time that a line waited, in seconds; lines that still wait count too.
    pub worst_delay: f64,
    /// The time that 99 of 100 delivered lines waited at most, to 5 %.
    pub p99_delay: f64,
    /// The most lines that waited at once.
    pub most_waiting: u64,
    /// Their bytes: the spool that is needed.
    pub most_waiting_bytes: f64,
    /// The busiest tick, as a share of what all lanes take.
    pub peak_utilisation: f64,
    /// How it went over time.
    pub curve: Vec<Point>,
}

/// One of the equal parts that the time is divided into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Point {
    /// The second in which it begins.
    pub second: u64,
    /// Lines a second on average.
    pub rate: f64,
    /// The most lines that waited.
    pub waiting: u64,
    /// The longest time that a line delivered then had waited, in seconds.
    pub delay: f64,
    /// Tries that were refused.
    pub throttled: u64,
}

impl Model<'_> {
    /// Plays it with that many lanes.
    pub fn run(&self, lanes: usize) -> Outcome {
        self.play(lanes, None).expect("only a delay that is too long ends it early")
    }

    /// The fewest lanes with which no line waits longer than `max_delay`; `None` when even `most`
    /// are too few, as with a key that alone is more than a lane takes.
    ///
    /// With [`Spread::Even`], more lanes never delay more, so the search is exact. Where chance
    /// takes part, another seed may need a lane more or less.
    pub fn smallest(&self, max_delay: Duration, most: usize) -> Option<Outcome> {
        let max_delay = max_delay.as_secs_f64();
        let work = |(&rate, line): (&f64, Line)| rate * line.cost;
        let (mut total, mut peak) = (0.0, 0.0_f64);
        for pair in self.demand.rates.iter().zip(self.lines()) {
            let here = work(pair);
            (total, peak) = (total + here, peak.max(here));
        }
        let seconds = self.demand.rates.len() as f64;
        // With fewer lanes, the lines of the whole time cannot all get through.
        let mut too_few = ((total / (seconds + self.burst.as_secs_f64() + max_delay)).ceil() as usize).max(1) - 1;
        let mut enough = (peak.ceil() as usize).clamp(too_few + 1, most);
        let mut found = loop {
            match self.play(enough, Some(max_delay)) {
                Some(outcome) => break outcome,
                None if enough >= most => return None,
                None => (too_few, enough) = (enough, (enough + enough / 4 + 1).min(most)),
            }
        };
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            match self.play(middle, Some(max_delay)) {
                Some(outcome) => (enough, found) = (middle, outcome),
                None => too_few = middle,
            }
        }
        Some(found)
    }

    /// What a line takes of a lane in each tick.
    fn lines(&self) -> impl Iterator<Item = Line> {
        let mut last = (f64::NAN, Line::NONE);
        self.demand.rates.iter().map(move |&rate| {
            if rate != last.0 {
                last = (rate, self.line_at(rate));
            }
            last.1
        })
    }

    fn line_at(&self, rate: f64) -> Line {
        if rate <= 0.0 {
            return Line::NONE;
        }
        let producers = f64::from(self.producers);
        let flow = Flow::packed(self.packed, self.line_bytes, rate, producers, self.linger.as_secs_f64());
        let bytes = flow.bytes_with_keys() / self.limits.bytes;
        let records = flow.records / self.limits.records;
        let calls =
            self.limits.calls.map_or(0.0, |most| flow.calls(Api::PutRecordBatch, self.producers, self.linger) / most);
        let in_record = (flow.record.lines / self.line_bytes).max(1.0);
        Line { cost: bytes.max(records).max(calls) / rate, in_record }
    }

    /// `None` as soon as a line has waited longer than `max_delay`.
    fn play(&self, lanes: usize, max_delay: Option<f64>) -> Option<Outcome> {
        let lines: Vec<Line> = self.lines().collect();
        // A bucket holds at least a record, or the record could never be taken.
        let record = lines.iter().map(|line| line.cost * line.in_record).fold(0.0, f64::max);
        let burst = self.burst.as_secs_f64().max(record);
        // Lanes that are alike in everything are computed once.
        let (shares, alike) = match self.spread {
            Spread::Even => (vec![1.0 / lanes as f64], lanes as u64),
            spread => (spread.shares(lanes, self.seed), 1),
        };
        // The share of all lanes from each one on.
        let mut rest = vec![0.0; shares.len() + 1];
        for place in (0..shares.len()).rev() {
            rest[place] = rest[place + 1] + shares[place];
        }
        // A shard's limit is known to whoever sends; no API tells that of Direct PUT.
        let is_known = self.limits.calls.is_none();
        let mut all: Vec<Lane> = shares.iter().map(|_| Lane::new(burst, self.limits.bytes, is_known)).collect();
        let mut random = Rng::with_seed(self.seed);
        let mut tally = Tally::new(alike);
        let mut outcome = Outcome { lanes, ..Outcome::default() };
        let seconds = self.demand.rates.len();
        let per_point = seconds.div_ceil(POINTS);
        let (mut computed, mut throttled, mut carry) = (0, 0, 0.0);
        for (tick, (&rate, &line)) in self.demand.rates.iter().zip(&lines).enumerate() {
            let start = tick as f64;
            let near_limit = |&share: &f64| {
                let mean = rate * share;
                (mean + 8.0 * mean.sqrt()) * line.cost > lane::TICK
            };
            let near = if self.spread == Spread::Even { 1 } else { shares.partition_point(near_limit) };
            let active = near.max(throttled);
            all[computed.min(active)..active].iter_mut().for_each(|lane| lane.rest(burst));
            computed = active;
            throttled = 0;
            let mut waiting = 0;
            for (place, lane) in all[..active].iter_mut().enumerate() {
                let mean = rate * shares[place];
                let arrivals =
                    if self.spread == Spread::Even { whole(mean, &mut carry) } else { poisson(mean, &mut random) };
                outcome.arrived += arrivals * alike;
                lane.tick(start, arrivals, line, burst, &mut random, &mut tally);
                if lane.is_throttled() {
                    throttled = place + 1;
                    waiting += lane.waiting() * alike;
                    tally.oldest = tally.oldest.max(lane.age(start + lane::TICK));
                }
            }
            if active < all.len() {
                let arrivals = whole(rate * rest[active], &mut carry);
                outcome.arrived += arrivals;
                tally.delivered(arrivals, 0.0);
            }
            if let Some(room) = self.max_backlog.map(|bytes| (bytes / self.line_bytes) as u64)
                && waiting > room
            {
                let part = (waiting - room) as f64 / waiting as f64;
                for lane in &mut all[..throttled] {
                    let lost = lane.refuse((lane.waiting() as f64 * part).ceil() as u64) * alike;
                    outcome.lost += lost;
                    waiting -= lost;
                }
            }
            outcome.waiting = waiting;
            outcome.most_waiting = outcome.most_waiting.max(waiting);
            outcome.peak_utilisation = outcome.peak_utilisation.max(rate * line.cost / lanes as f64);
            let point = match outcome.curve.last_mut() {
                Some(point) if tick % per_point != 0 => point,
                _ => {
                    outcome.curve.push(Point { second: tick as u64, ..Point::default() });
                    outcome.curve.last_mut().expect("one was just added")
                }
            };
            tally.move_to(point);
            point.rate += rate / per_point.min(seconds - point.second as usize) as f64;
            point.waiting = point.waiting.max(waiting);
            outcome.worst_delay = outcome.worst_delay.max(point.delay).max(tally.oldest);
            tally.oldest = 0.0;
            if max_delay.is_some_and(|most| outcome.worst_delay > most) {
                return None;
            }
        }
        outcome.delivered = tally.delivered_lines();
        outcome.throttled = tally.throttles();
        outcome.p99_delay = tally.quantile(0.99);
        outcome.most_waiting_bytes = outcome.most_waiting as f64 * self.line_bytes;
        Some(outcome)
    }
}

/// The whole part of the number and what was carried over; the rest is carried over to the next
/// call.
fn whole(number: f64, carry: &mut f64) -> u64 {
    *carry += number;
    let whole = carry.floor().max(0.0);
    *carry -= whole;
    whole as u64
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::rate::{Load, Rate};
    use crate::workload::Workload;

    /// Lines of 800 B, a line a record: 1,000 of them a second are a shard's limit.
    fn model<'a>(demand: &'a Demand, packed: &'a PackedLines) -> Model<'a> {
        Model::new(demand, packed, 800.0)
    }

    fn unpacked() -> PackedLines {
        PackedLines::unpacked(800.0, 0.0)
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn demand(rates: &[f64]) -> Demand {
        Demand { name: "test".to_owned(), rates: rates.to_vec() }
    }

    #[track_caller]
    fn adds_up(outcome: &Outcome) {
        assert_eq!(outcome.arrived, outcome.delivered + outcome.waiting + outcome.lost, "{outcome:?}");
    }

    #[test]
    fn above_capacity_the_backlog_grows_by_the_difference() {
        // 12,000 lines/s on 10 shards of 1,000: after t seconds 2,000 t wait, but for the buckets'
        // 10,000.
        let (demand, packed) = (Demand::constant(12_000.0, 500), unpacked());
        let outcome = model(&demand, &packed).run(10);
        adds_up(&outcome);
        assert_eq!(outcome.arrived, 6_000_000);
        assert!(outcome.waiting.abs_diff(2_000 * 500 - 10_000) <= 20, "{}", outcome.waiting);
        assert_eq!(outcome.waiting, outcome.most_waiting);
        // And the line that is served then came when the backlog was as long as it has waited:
        // 990,000 / 12,000 s ago.
        assert!((outcome.worst_delay - 82.5).abs() < 1.0, "{}", outcome.worst_delay);
        assert!((outcome.peak_utilisation - 1.2).abs() < 1e-9);
        assert_eq!(outcome.lost, 0);
    }

    #[test]
    fn at_capacity_and_below_nothing_waits() {
        let packed = unpacked();
        for rate in [1.0, 5_000.0, 9_999.0, 10_000.0] {
            let demand = Demand::constant(rate, 300);
            let outcome = model(&demand, &packed).run(10);
            adds_up(&outcome);
            assert_eq!((outcome.waiting, outcome.throttled, outcome.worst_delay), (0, 0, 0.0), "{rate}");
            assert!((outcome.peak_utilisation - rate / 10_000.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_burst_beyond_the_bucket_waits_as_long_as_the_rest_takes() {
        // 10 s at twice the capacity of 10 shards: 200,000 lines, of which 110,000 are through by
        // then.
        let packed = unpacked();
        for (burst, wanted) in [(1.0, 9.0), (4.0, 6.0), (10.0, 0.0)] {
            let demand = demand(&[&[20_000.0; 10][..], &[0.0; 30]].concat());
            let outcome = Model { burst: seconds(burst), ..model(&demand, &packed) }.run(10);
            adds_up(&outcome);
            assert_eq!(outcome.waiting, 0);
            // At most two waits of the sender on top.
            assert!((wanted..=wanted + 0.2).contains(&outcome.worst_delay), "{burst}: {}", outcome.worst_delay);
            assert!(outcome.most_waiting.abs_diff((wanted * 10_000.0) as u64) <= 2_000, "{}", outcome.most_waiting);
        }
    }

    /// The delay of a fluid that is served in order, by steps of a millisecond: nothing but the
    /// definition.
    fn fluid(rates: &[f64], capacity: f64, burst: f64) -> f64 {
        let (mut bucket, mut waiting, mut worst) = (burst * capacity, 0.0, 0.0_f64);
        for rate in rates {
            for _ in 0..1_000 {
                waiting += rate / 1e3;
                bucket += capacity / 1e3;
                let served = waiting.min(bucket);
                (waiting, bucket) = (waiting - served, (bucket - served).min(burst * capacity));
                worst = worst.max(waiting / capacity);
            }
        }
        worst
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn delays_are_those_of_a_fluid_and_the_waits_of_the_sender(
            rates in prop::collection::vec(prop_oneof![0.0..900.0_f64, 0.0..4_000.0_f64], 1..60), burst in 0.2..3.0_f64,
        ) {
            let packed = unpacked();
            // Long enough after it for everything to be through.
            let rates = [&rates[..], &[0.0; 240]].concat();
            let demand = demand(&rates);
            let outcome = Model { burst: seconds(burst), ..model(&demand, &packed) }.run(1);
            let ideal = fluid(&rates, 1_000.0, burst);
            adds_up(&outcome);
            prop_assert_eq!(outcome.waiting, 0);
            prop_assert!(outcome.worst_delay >= ideal - 0.15, "{} < {ideal}", outcome.worst_delay);
            prop_assert!(outcome.worst_delay <= ideal + 0.3, "{} > {ideal}", outcome.worst_delay);
        }

        #[test]
        fn more_shards_never_delay_more(
            rates in prop::collection::vec(0.0..40_000.0_f64, 1..120), shards in 1_usize..40, more in 1_usize..10,
        ) {
            let (demand, packed) = (demand(&rates), unpacked());
            let model = model(&demand, &packed);
            let (few, many) = (model.run(shards), model.run(shards + more));
            adds_up(&few);
            adds_up(&many);
            // The jitter of the sender is the only thing that is not the same.
            prop_assert!(many.worst_delay <= few.worst_delay + 0.2, "{} {}", few.worst_delay, many.worst_delay);
            prop_assert!(many.most_waiting <= few.most_waiting + 200 * (shards + more) as u64);
        }

        #[test]
        fn every_line_is_accounted_for(
            rates in prop::collection::vec(0.0..40_000.0_f64, 1..60), shards in 1_usize..40, seed: u64,
            spread in prop_oneof![
                Just(Spread::Even), Just(Spread::Random), Just(Spread::Zipf { exponent: 1.1, keys: 100 })
            ],
            max_backlog in prop_oneof![Just(None), (0.0..1e7_f64).prop_map(Some)],
        ) {
            let (demand, packed) = (demand(&rates), unpacked());
            let model = Model { spread, max_backlog, seed, ..model(&demand, &packed) };
            let outcome = model.run(shards);
            adds_up(&outcome);
            prop_assert_eq!(&outcome, &model.run(shards), "the same seed");
            match max_backlog {
                None => prop_assert_eq!(outcome.lost, 0),
                Some(bytes) => prop_assert!(outcome.most_waiting_bytes <= bytes + 800.0),
            }
            let wanted: f64 = rates.iter().sum();
            prop_assert!((outcome.arrived as f64 - wanted).abs() <= 8.0 * wanted.sqrt() + shards as f64);
        }
    }

    #[test]
    fn the_smallest_number_keeps_the_delay_and_one_less_does_not() {
        let load = Load::new(Rate::per_second(20_000.0).unwrap(), 3.0).unwrap();
        let packed = unpacked();
        for (demand, max_delay) in [(Demand::diurnal(load), 1.0), (Demand::flash_crowd(load), 60.0)] {
            let model = model(&demand, &packed);
            let smallest = model.smallest(seconds(max_delay), 1_000).unwrap();
            assert!(smallest.worst_delay <= max_delay);
            assert!(model.run(smallest.lanes - 1).worst_delay > max_delay);
            // The peak is 60,000 lines/s; patience and buckets save some of its 60 shards.
            assert!((40..=60).contains(&smallest.lanes), "{}", smallest.lanes);
        }
    }

    #[test]
    fn no_number_of_shards_helps_against_one_key() {
        let (demand, packed) = (Demand::constant(20_000.0, 600), unpacked());
        let zipf = Model { spread: Spread::Zipf { exponent: 1.5, keys: 1_000 }, ..model(&demand, &packed) };
        assert_eq!(zipf.smallest(seconds(1.0), 500), None);
        let random = Model { spread: Spread::Random, ..zipf };
        let lanes = random.smallest(seconds(1.0), 500).unwrap().lanes;
        assert!((20..24).contains(&lanes), "{lanes}");
    }

    #[test]
    fn packed_lines_need_fewer_shards_and_waiting_for_them_is_no_delay_here() {
        // 100 B lines: ten thousand of them a second are 1 MB and 10,000 records.
        let workload = Workload::stated(100);
        let demand = Demand::constant(10_000.0, 60);
        let line = PackedLines::unpacked(100.0, 0.0);
        let lines = Model { line_bytes: 100.0, ..model(&demand, &line) };
        let aggregates = Model { packed: &workload.kpl, ..lines.clone() };
        assert_eq!(lines.smallest(seconds(0.5), 100).unwrap().lanes, 10);
        assert_eq!(aggregates.smallest(seconds(0.5), 100).unwrap().lanes, 2);
        // Fifty producers that wait 2 ms have a line or two in a record.
        let hasty = Model { producers: 50, linger: seconds(0.002), ..aggregates };
        assert_eq!(hasty.smallest(seconds(0.5), 100).unwrap().lanes, 10);
    }

    #[test]
    fn direct_put_counts_calls() {
        // 3,000 producers with a record each second: below every quota but that of 2,000 calls.
        let workload = Workload::stated(100);
        let demand = Demand::constant(30_000.0, 60);
        let direct = Model {
            packed: &workload.raw,
            line_bytes: 100.0,
            producers: 3_000,
            limits: Limits::direct_put("us-east-1"),
            ..model(&demand, &workload.raw)
        };
        assert_eq!(direct.smallest(seconds(0.5), 100).unwrap().lanes, 2);
        assert_eq!(Model { producers: 30, ..direct }.smallest(seconds(0.5), 100).unwrap().lanes, 1);
    }

    #[test]
    fn a_day_of_a_million_lines_a_second_takes_less_than_a_minute() {
        let load = Load::new(Rate::per_second(1e6).unwrap(), 2.0).unwrap();
        let (demand, packed) = (Demand::diurnal(load), unpacked());
        let model = Model { spread: Spread::Random, ..model(&demand, &packed) };
        let begun = Instant::now();
        let outcome = model.run(2_050);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        adds_up(&outcome);
        assert!(outcome.arrived > 86_000_000_000 && outcome.waiting == 0);
    }
}
