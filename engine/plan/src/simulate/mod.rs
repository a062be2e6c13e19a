//! A day of lines against the limits of shards and quotas: what is refused, what waits, for how long.
//!
//! # The model
//! Time goes in ticks of a second; within a tick lines come evenly. Lines become records as they would at that rate
//! ([`packed`]): with a linger, low rates give small records. A `lane` is a shard or a Direct PUT quota: a token bucket
//! for the tightest of its limits with `burst` seconds of credit, and a queue in order of arrival. The sender of a lane
//! that refuses waits and tries again as delivery does; what is refused stays in the spool and is never dropped, unless
//! the spool is full. All random numbers come from one seed.
//!
//! # Why a day of millions a second takes seconds
//! - Lanes with the same share of lines that do not depend on chance are all alike: one of them is computed.
//! - Where chance matters, a lane is computed only in ticks where it can be refused: a lane whose load, plus eight times
//!   the standard deviation of what chance adds, is below its limit cannot. Lanes are sorted by share, so those that
//!   can are the first ones.
//! - Within a tick there are events only where a bucket runs dry; `lane` says how.

pub mod demand;
mod lane;
pub mod spread;

use fastrand::Rng;
use serde::Serialize;

use super::Plan;
use super::designs::{bytes_in_batch, calls, packed};
use super::limits::{PUT_RECORD_BATCH, SHARD_BYTES, SHARD_RECORDS, direct_put_quota};
use super::workload::{Packing, Size};
use demand::Demand;
use lane::{Lane, Line};
use spread::{Spread, poisson};

/// Points of the curves that a simulation gives.
const POINTS: usize = 288;
/// A simulation of more lanes takes too long and too much memory.
pub const MOST_LANES: usize = 100_000;

/// What a lane takes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes of data and keys.
    pub bytes: f64,
    /// Records.
    pub records: f64,
    /// PutRecordBatch calls; `None` where calls are not counted.
    pub calls: Option<f64>,
}

impl Limits {
    /// Of a shard.
    pub const SHARD: Limits = Limits { bytes: SHARD_BYTES, records: SHARD_RECORDS, calls: None };

    /// Of a Firehose stream that is put to, in that region.
    pub fn direct_put(region: &str) -> Limits {
        let quota = direct_put_quota(region);
        Limits { bytes: quota.bytes, records: quota.records, calls: Some(quota.requests) }
    }
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    /// Lines by the second.
    pub demand: &'a Demand,
    /// The records that lines become.
    pub packing: &'a Packing,
    /// Bytes of a line.
    pub line_bytes: f64,
    /// Instances that share the lines and fill records.
    pub producers: u32,
    /// Seconds that a record waits to be filled.
    pub linger: f64,
    /// What each lane takes.
    pub limits: Limits,
    /// Which lane a line goes to.
    pub spread: Spread,
    /// Seconds of work that a lane's bucket holds.
    pub burst: f64,
    /// Bytes of lines that may wait; beyond it lines are refused at the source.
    pub spool: Option<f64>,
    /// Where chance begins.
    pub seed: u64,
}

/// What came of it. `arrived = delivered + waiting + lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Shards, or quotas.
    pub lanes: usize,
    /// Lines that came.
    pub arrived: u64,
    /// Lines that were taken.
    pub delivered: u64,
    /// Lines that still wait at the end.
    pub waiting: u64,
    /// Lines that a full spool had no room for.
    pub lost: u64,
    /// Tries that a lane refused, in part or as a whole.
    pub throttled: u64,
    /// The longest that a line waited, in seconds, those included that still wait.
    pub worst_delay: f64,
    /// What 99 of 100 delivered lines did not wait longer than, to 5 %.
    pub p99_delay: f64,
    /// The most lines that waited at once.
    pub most_waiting: u64,
    /// Their bytes, which is the spool that is needed.
    pub most_waiting_bytes: f64,
    /// The busiest tick, as a share of what all lanes take.
    pub peak_utilisation: f64,
    /// How it went over time.
    pub curve: Vec<Point>,
}

/// A part of the time, each as long as the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// When it begins, in seconds.
    pub second: u64,
    /// Lines a second on average.
    pub rate: f64,
    /// The most lines that waited.
    pub waiting: u64,
    /// The longest that a line waited which was delivered then, in seconds.
    pub delay: f64,
    /// Tries refused.
    pub throttled: u64,
}

impl Model<'_> {
    /// Plays it on that many lanes.
    pub fn run(&self, lanes: usize) -> Outcome {
        self.play(lanes, None).expect("without a bound it comes to its end")
    }

    /// The fewest lanes on which no line waits longer than `max_delay` seconds; `None` when even `most` are too few, as
    /// with a key that alone is more than a lane takes.
    ///
    /// For [`Spread::Even`], more lanes never delay more, so the search is sure. With chance in it, another seed may need
    /// a lane more or less.
    pub fn smallest(&self, max_delay: f64, most: usize) -> Option<Outcome> {
        let work = |(&rate, line): (&f64, Line)| rate * line.cost;
        let (mut total, mut peak) = (0.0, 0.0_f64);
        for pair in self.demand.rates.iter().zip(self.lines()) {
            let here = work(pair);
            (total, peak) = (total + here, peak.max(here));
        }
        let seconds = self.demand.rates.len() as f64;
        // With fewer, the lines of the whole time cannot all be through.
        let mut too_few = ((total / (seconds + self.burst + max_delay)).ceil() as usize).max(1) - 1;
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

    /// What a line is to a lane in each tick.
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
        let flow = packed(self.packing, self.line_bytes, rate, producers, self.linger);
        let bytes = (flow.bytes + flow.records * flow.key_bytes) / self.limits.bytes;
        let records = flow.records / self.limits.records;
        let calls = self.limits.calls.map_or(0.0, |most| {
            let in_call = bytes_in_batch(flow.record.data);
            calls(&flow, PUT_RECORD_BATCH, in_call, self.producers, self.linger) / most
        });
        let in_record = (flow.record.lines / self.line_bytes).max(1.0);
        Line { cost: bytes.max(records).max(calls) / rate, in_record }
    }

    /// `None` as soon as a line has waited longer than `max_delay`.
    fn play(&self, lanes: usize, max_delay: Option<f64>) -> Option<Outcome> {
        let lines: Vec<Line> = self.lines().collect();
        // A bucket holds a record at least, or it could never be taken.
        let record = lines.iter().map(|line| line.cost * line.in_record).fold(0.0, f64::max);
        let burst = self.burst.max(record);
        // Lanes that are alike in everything are computed once.
        let (shares, alike) = match self.spread {
            Spread::Even => (vec![1.0 / lanes as f64], lanes as u64),
            spread => (spread.shares(lanes, self.seed), 1),
        };
        // What the lanes from each one on have in all.
        let mut rest = vec![0.0; shares.len() + 1];
        for place in (0..shares.len()).rev() {
            rest[place] = rest[place + 1] + shares[place];
        }
        let mut all: Vec<Lane> = shares.iter().map(|_| Lane::new(burst)).collect();
        let mut random = Rng::with_seed(self.seed);
        let mut tally = Tally { alike, ..Tally::default() };
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
            if let Some(spool) = self.spool.map(|bytes| (bytes / self.line_bytes) as u64)
                && waiting > spool
            {
                let part = (waiting - spool) as f64 / waiting as f64;
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

/// The whole part; what is left is carried on.
fn whole(number: f64, carry: &mut f64) -> u64 {
    *carry += number;
    let whole = carry.floor().max(0.0);
    *carry -= whole;
    whole as u64
}

/// Delays of at most this share more than the one before it are counted together.
const STEP: f64 = 1.05;
/// Delays up to here count as the same, in seconds.
const SHORTEST: f64 = 0.001;

/// What a lane counts while it works.
#[derive(Debug)]
struct Tally {
    /// How many lanes the one stands for.
    alike: u64,
    /// Lines by delay: none, then by powers of [`STEP`].
    delays: Vec<u64>,
    worst: f64,
    throttled: u64,
    oldest: f64,
    /// Since the last point of the curve.
    worst_since: f64,
    throttled_since: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            alike: 1,
            delays: vec![0; 512],
            worst: 0.0,
            throttled: 0,
            oldest: 0.0,
            worst_since: 0.0,
            throttled_since: 0,
        }
    }
}

impl Tally {
    fn delivered(&mut self, lines: u64, delay: f64) {
        let place = if delay <= 0.0 { 0 } else { 1 + ((delay / SHORTEST).max(1.0).ln() / STEP.ln()) as usize };
        let last = self.delays.len() - 1;
        self.delays[place.min(last)] += lines * self.alike;
    }

    fn worst(&mut self, delay: f64) {
        self.worst = self.worst.max(delay);
        self.worst_since = self.worst_since.max(delay);
    }

    fn throttled(&mut self, tries: u64) {
        self.throttled += tries * self.alike;
        self.throttled_since += tries * self.alike;
    }

    fn move_to(&mut self, point: &mut Point) {
        point.delay = point.delay.max(std::mem::take(&mut self.worst_since));
        point.throttled += std::mem::take(&mut self.throttled_since);
    }

    fn delivered_lines(&self) -> u64 {
        self.delays.iter().sum()
    }

    fn throttles(&self) -> u64 {
        self.throttled
    }

    #[cfg(test)]
    fn worst_delay(&self) -> f64 {
        self.worst
    }

    fn quantile(&self, share: f64) -> f64 {
        let wanted = (share * self.delivered_lines() as f64).ceil() as u64;
        let mut seen = 0;
        let place = self.delays.iter().position(|&lines| {
            seen += lines;
            seen >= wanted
        });
        match place {
            None | Some(0) => 0.0,
            Some(place) => (SHORTEST * STEP.powi(place as i32)).min(self.worst),
        }
    }
}

/// What to play a plan's designs against.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// Lines by the second.
    pub demand: Demand,
    /// Which shard a line goes to in streams with a line a record; this engine spreads evenly by itself.
    pub keys: Spread,
    /// Seconds of work that a lane's bucket holds.
    pub burst: f64,
    /// Bytes that may wait.
    pub spool: Option<f64>,
    /// Seconds that no line may wait longer, for the search.
    pub max_delay: f64,
    /// Shards, in place of those of the plan.
    pub shards: Option<u32>,
    /// Where chance begins.
    pub seed: u64,
}

/// The play of one stream that designs have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Simulated {
    /// What takes the lines.
    pub what: String,
    /// The designs that have it.
    pub designs: Vec<&'static str>,
    /// What its lanes are: `shards` or `quotas`.
    pub lanes_are: &'static str,
    /// With the lanes of the plan.
    pub planned: Outcome,
    /// With the fewest that keep the delay; `None` when no number does.
    pub smallest: Option<Outcome>,
}

/// A scenario and what it came to.
#[derive(Clone, Debug, Serialize)]
pub struct Simulation {
    /// What was played.
    pub scenario: Scenario,
    /// The streams that can refuse lines.
    pub streams: Vec<Simulated>,
}

/// A plan is too large to be played.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what}: {lanes} {lanes_are} are more than a simulation takes, {MOST_LANES}")]
pub struct TooManyLanes {
    /// The stream.
    pub what: String,
    /// What the plan has of them.
    pub lanes: f64,
    /// `shards` or `quotas`.
    pub lanes_are: &'static str,
}

/// Plays every stream of a plan that has a limit of its own: provisioned streams and Direct PUT. On-demand streams grow
/// by rules that AWS does not state to the second, and are left out.
///
/// # Errors
/// There are more than [`MOST_LANES`] of something.
pub fn simulate(plan: &Plan, scenario: Scenario) -> Result<Simulation, TooManyLanes> {
    let (workload, setup) = (&plan.workload, &plan.setup);
    let line = Size { lines: workload.line_bytes, data: workload.line_bytes };
    let unpacked =
        Packing { name: "lines".to_owned(), sizes: vec![line], key_bytes: 0.0, full_billed: None, speed: None };
    let mut streams = Vec::new();
    let mut play = |what: String, designs: Vec<&'static str>, packing: &Packing, limits: Limits, planned: f64| {
        let is_stream = limits.calls.is_none();
        let lanes_are = if is_stream { "shards" } else { "quotas" };
        if planned > MOST_LANES as f64 {
            return Err(TooManyLanes { what, lanes: planned, lanes_are });
        }
        let model = Model {
            demand: &scenario.demand,
            packing,
            line_bytes: workload.line_bytes,
            producers: setup.producers,
            linger: setup.linger,
            limits,
            spread: if packing.name == unpacked.name { scenario.keys } else { Spread::Even },
            burst: scenario.burst,
            spool: scenario.spool,
            seed: scenario.seed,
        };
        let lanes = scenario.shards.filter(|_| is_stream).map_or(planned as usize, |shards| shards as usize);
        // Sixteen times what the plan has is more than any chance asks for.
        let smallest = model.smallest(scenario.max_delay, (16 * (planned as usize).max(64)).min(MOST_LANES));
        streams.push(Simulated { what, designs, lanes_are, planned: model.run(lanes), smallest });
        Ok(())
    };
    for (of, packing) in [("lines", &unpacked), ("aggregates", &workload.kpl)] {
        let by_engine = |id: &str| of == "lines" || !matches!(id, "2a" | "2b");
        let having: Vec<_> = plan
            .designs
            .iter()
            .filter(|design| by_engine(design.id))
            .filter_map(|design| {
                let stream = design.streams.iter().find(|stream| stream.of == of)?;
                (stream.mode == super::designs::Mode::Provisioned).then_some((design.id, stream.shards.needed()))
            })
            .collect();
        if let Some(&(_, shards)) = having.iter().max_by(|one, other| one.1.total_cmp(&other.1)) {
            let designs = having.iter().map(|(id, _)| *id).collect();
            play(format!("Kinesis, {of}"), designs, packing, Limits::SHARD, shards)?;
        }
    }
    for packing in [&workload.raw].into_iter().chain(&workload.compressed) {
        let name = format!("engine > Firehose, {}", packing.name);
        if let Some(design) = plan.designs.iter().find(|design| design.name == name)
            && let Some(share) = design.firehose.as_ref().and_then(|firehose| firehose.share_of_quota)
        {
            let limits = Limits::direct_put(&setup.prices.region);
            play(format!("Direct PUT, {}", packing.name), vec![design.id], packing, limits, share.ceil().max(1.0))?;
        }
    }
    Ok(Simulation { streams, scenario })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::rate::{Load, Rate};
    use crate::workload::Workload;

    /// Lines of 800 B, a line a record: 1,000 of them a second are a shard's limit.
    fn model<'a>(demand: &'a Demand, packing: &'a Packing) -> Model<'a> {
        Model {
            demand,
            packing,
            line_bytes: 800.0,
            producers: 1,
            linger: 1.0,
            limits: Limits::SHARD,
            spread: Spread::Even,
            burst: 1.0,
            spool: None,
            seed: 1,
        }
    }

    fn unpacked() -> Packing {
        let sizes = vec![Size { lines: 800.0, data: 800.0 }];
        Packing { name: "lines".to_owned(), sizes, key_bytes: 0.0, full_billed: None, speed: None }
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
        // 12,000 lines/s on 10 shards of 1,000: after t seconds 2,000 t wait, but for the buckets' 10,000.
        let (demand, packing) = (Demand::constant(12_000.0, 500), unpacked());
        let outcome = model(&demand, &packing).run(10);
        adds_up(&outcome);
        assert_eq!(outcome.arrived, 6_000_000);
        assert!(outcome.waiting.abs_diff(2_000 * 500 - 10_000) <= 20, "{}", outcome.waiting);
        assert_eq!(outcome.waiting, outcome.most_waiting);
        // And the line that is served then came when the backlog was as long as it has waited: 990,000 / 12,000 s ago.
        assert!((outcome.worst_delay - 82.5).abs() < 1.0, "{}", outcome.worst_delay);
        assert!((outcome.peak_utilisation - 1.2).abs() < 1e-9);
        assert_eq!(outcome.lost, 0);
    }

    #[test]
    fn at_capacity_and_below_nothing_waits() {
        let packing = unpacked();
        for rate in [1.0, 5_000.0, 9_999.0, 10_000.0] {
            let demand = Demand::constant(rate, 300);
            let outcome = model(&demand, &packing).run(10);
            adds_up(&outcome);
            assert_eq!((outcome.waiting, outcome.throttled, outcome.worst_delay), (0, 0, 0.0), "{rate}");
            assert!((outcome.peak_utilisation - rate / 10_000.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_burst_beyond_the_bucket_waits_as_long_as_the_rest_takes() {
        // 10 s at twice the capacity of 10 shards: 200,000 lines, of which 110,000 are through by then.
        let packing = unpacked();
        for (burst, wanted) in [(1.0, 9.0), (4.0, 6.0), (10.0, 0.0)] {
            let demand = demand(&[&[20_000.0; 10][..], &[0.0; 30]].concat());
            let outcome = Model { burst, ..model(&demand, &packing) }.run(10);
            adds_up(&outcome);
            assert_eq!(outcome.waiting, 0);
            // At most two waits of the sender on top.
            assert!((wanted..=wanted + 0.2).contains(&outcome.worst_delay), "{burst}: {}", outcome.worst_delay);
            assert!(outcome.most_waiting.abs_diff((wanted * 10_000.0) as u64) <= 2_000, "{}", outcome.most_waiting);
        }
    }

    /// The delay of a fluid that is served in order, by steps of a millisecond: nothing but the definition.
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
            let packing = unpacked();
            // Long enough after it for everything to be through.
            let rates = [&rates[..], &[0.0; 240]].concat();
            let demand = demand(&rates);
            let outcome = Model { burst, ..model(&demand, &packing) }.run(1);
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
            let (demand, packing) = (demand(&rates), unpacked());
            let model = model(&demand, &packing);
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
            spool in prop_oneof![Just(None), (0.0..1e7_f64).prop_map(Some)],
        ) {
            let (demand, packing) = (demand(&rates), unpacked());
            let model = Model { spread, spool, seed, ..model(&demand, &packing) };
            let outcome = model.run(shards);
            adds_up(&outcome);
            prop_assert_eq!(&outcome, &model.run(shards), "the same seed");
            match spool {
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
        let packing = unpacked();
        for (demand, max_delay) in [(Demand::diurnal(load), 1.0), (Demand::flash_crowd(load), 60.0)] {
            let model = model(&demand, &packing);
            let smallest = model.smallest(max_delay, 1_000).unwrap();
            assert!(smallest.worst_delay <= max_delay);
            assert!(model.run(smallest.lanes - 1).worst_delay > max_delay);
            // The peak is 60,000 lines/s; patience and buckets save some of its 60 shards.
            assert!((40..=60).contains(&smallest.lanes), "{}", smallest.lanes);
        }
    }

    #[test]
    fn no_number_of_shards_helps_against_one_key() {
        let (demand, packing) = (Demand::constant(20_000.0, 600), unpacked());
        let zipf = Model { spread: Spread::Zipf { exponent: 1.5, keys: 1_000 }, ..model(&demand, &packing) };
        assert_eq!(zipf.smallest(1.0, 500), None);
        let random = Model { spread: Spread::Random, ..zipf };
        let lanes = random.smallest(1.0, 500).unwrap().lanes;
        assert!((20..24).contains(&lanes), "{lanes}");
    }

    #[test]
    fn packed_lines_need_fewer_shards_and_waiting_for_them_is_no_delay_here() {
        // 100 B lines: ten thousand of them a second are 1 MB and 10,000 records.
        let workload = Workload::stated(100);
        let demand = Demand::constant(10_000.0, 60);
        let line = Packing { sizes: vec![Size { lines: 100.0, data: 100.0 }], ..unpacked() };
        let lines = Model { line_bytes: 100.0, ..model(&demand, &line) };
        let aggregates = Model { packing: &workload.kpl, ..lines.clone() };
        assert_eq!(lines.smallest(0.5, 100).unwrap().lanes, 10);
        assert_eq!(aggregates.smallest(0.5, 100).unwrap().lanes, 2);
        // Fifty producers that wait 2 ms have a line or two in a record.
        let hasty = Model { producers: 50, linger: 0.002, ..aggregates };
        assert_eq!(hasty.smallest(0.5, 100).unwrap().lanes, 10);
    }

    #[test]
    fn direct_put_counts_calls() {
        // 3,000 producers with a record each second: below every quota but that of 2,000 calls.
        let workload = Workload::stated(100);
        let demand = Demand::constant(30_000.0, 60);
        let direct = Model {
            packing: &workload.raw,
            line_bytes: 100.0,
            producers: 3_000,
            limits: Limits::direct_put("us-east-1"),
            ..model(&demand, &workload.raw)
        };
        assert_eq!(direct.smallest(0.5, 100).unwrap().lanes, 2);
        assert_eq!(Model { producers: 30, ..direct }.smallest(0.5, 100).unwrap().lanes, 1);
    }

    #[test]
    fn a_day_of_a_million_lines_a_second_takes_less_than_a_minute() {
        let load = Load::new(Rate::per_second(1e6).unwrap(), 2.0).unwrap();
        let (demand, packing) = (Demand::diurnal(load), unpacked());
        let model = Model { spread: Spread::Random, ..model(&demand, &packing) };
        let begun = Instant::now();
        let outcome = model.run(2_050);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        adds_up(&outcome);
        assert!(outcome.arrived > 86_000_000_000 && outcome.waiting == 0);
    }
}
