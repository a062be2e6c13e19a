//! One shard, or one Direct PUT quota, and the lines that wait for it.
//!
//! Work is counted in seconds of the lane: a line costs the part of a second that it takes of the
//! tightest limit. So the limits are one token bucket that fills by a second a second and holds
//! `burst` seconds, and a lane serves in the order of arrival. Lines arrive evenly within a tick of
//! one second.
//!
//! - While nothing waits and the bucket does not run dry, a tick is a subtraction. This is exact:
//!   the level of the bucket is a straight line within the tick.
//! - When the bucket runs dry, at a moment within the tick that is computed and not rounded, the
//!   sender is refused, waits with jitter, and tries again: each try is an event with a time of its
//!   own.
//! - When more than a few seconds of work wait, every moment of the tick is used, and single tries
//!   change nothing: the tick is served as a whole. How much more than that the sender tries is up
//!   to the law by which delivery finds its rate.

use std::collections::VecDeque;

use fastrand::Rng;

use super::tally::Tally;
use pixel_engine_core::deliver::backoff::{FIRST_WAIT, max_wait};
use pixel_engine_core::deliver::rate::Rate;

/// Seconds of a tick.
pub(super) const TICK: f64 = 1.0;
/// Groups of waiting lines that a lane keeps; beyond it, neighbours are merged.
const MAX_COHORTS: usize = 512;

/// What a line takes of the lane in one tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Seconds of work.
    pub(super) cost: f64,
    /// Lines in its record, which is taken or refused as a whole.
    pub(super) in_record: f64,
}

impl Line {
    /// For when there are no lines.
    pub(super) const NONE: Line = Line { cost: 0.0, in_record: 1.0 };
}

#[derive(Debug)]
pub(super) struct Lane {
    /// Seconds of work in the bucket.
    credit: f64,
    /// When the sender tries again; `None` while nothing was refused.
    wake: Option<f64>,
    /// In a row, since something went through.
    refusals: u32,
    queue: VecDeque<Cohort>,
    waiting: u64,
    /// The mean of the lines that wait, as they were packed when they came.
    packed: Line,
    /// What the sender tries while it is never idle.
    rate: Rate,
    /// Bytes of a second of work.
    bytes_per_second: f64,
}

/// Lines that arrived evenly between two moments.
#[derive(Clone, Copy, Debug)]
struct Cohort {
    from: f64,
    to: f64,
    lines: u64,
}

impl Lane {
    /// A lane that takes so many bytes a second, which its sender may know.
    pub(super) fn new(burst: f64, bytes_per_second: f64, is_known: bool) -> Lane {
        Lane {
            credit: burst,
            wake: None,
            refusals: 0,
            queue: VecDeque::new(),
            waiting: 0,
            packed: Line::NONE,
            rate: Rate::new(is_known.then_some(bytes_per_second), 0.0),
            bytes_per_second,
        }
    }

    /// Lines that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Whether the sender was refused and has not sent everything since.
    pub(super) fn is_throttled(&self) -> bool {
        self.wake.is_some()
    }

    /// The bucket is full: for a lane that was left alone while it was far from its limit.
    pub(super) fn rest(&mut self, burst: f64) {
        self.credit = burst;
    }

    /// How long the first line has waited.
    pub(super) fn age(&self, now: f64) -> f64 {
        self.queue.front().map_or(0.0, |cohort| now - cohort.from)
    }

    /// Takes away lines that came last; they are the ones that a full backlog has no room for.
    pub(super) fn refuse(&mut self, lines: u64) -> u64 {
        let mut left = lines.min(self.waiting);
        self.waiting -= left;
        let refused = left;
        while let Some(cohort) = self.queue.back_mut() {
            let here = left.min(cohort.lines);
            cohort.to -= (cohort.to - cohort.from) * here as f64 / cohort.lines as f64;
            cohort.lines -= here;
            left -= here;
            if cohort.lines > 0 {
                break;
            }
            self.queue.pop_back();
        }
        refused
    }

    /// A tick that begins at `start`, in which `arrivals` come.
    pub(super) fn tick(
        &mut self,
        start: f64,
        arrivals: u64,
        line: Line,
        burst: f64,
        random: &mut Rng,
        tally: &mut Tally,
    ) {
        let end = start + TICK;
        let deep = 2.0 * (burst + TICK);
        if self.wake.is_some() && self.waiting as f64 * self.packed.cost > deep && burst >= FIRST_WAIT.as_secs_f64() {
            return self.busy(start, arrivals, line, tally);
        }
        let (mut now, mut coming) = (start, arrivals);
        while now < end {
            let Some(wake) = self.wake else {
                let (span, work) = (end - now, coming as f64 * line.cost);
                if work <= span + self.credit {
                    self.credit = (self.credit + span - work).min(burst);
                    return tally.delivered(coming, 0.0);
                }
                // The bucket runs dry within the tick, and what comes then is refused.
                let dry = now + self.credit / (work / span - 1.0);
                let before = (coming as f64 * (dry - now) / span) as u64;
                tally.delivered(before, 0.0);
                (self.credit, now, coming) = (0.0, dry, coming - before);
                self.refused(now, 0, random, tally);
                continue;
            };
            let until = wake.clamp(now, end);
            let joined =
                if until == end { coming } else { (coming as f64 * (until - now) / (end - now)).round() as u64 };
            self.join(Cohort { from: now, to: until, lines: joined }, line);
            self.credit = (self.credit + until - now).min(burst);
            (now, coming) = (until, coming - joined);
            if wake < end {
                self.attempt(now, random, tally);
            }
        }
    }

    /// Sends what the bucket lets through.
    fn attempt(&mut self, now: f64, random: &mut Rng, tally: &mut Tally) {
        let Line { cost, in_record } = self.packed;
        let fitting = self.credit / cost;
        // The last record of a queue may be short; the others go whole or not at all.
        let sent = if fitting >= self.waiting as f64 {
            self.waiting
        } else {
            ((fitting / in_record + 1e-9).floor() * in_record) as u64
        };
        self.credit = (self.credit - sent as f64 * cost).max(0.0);
        self.send(now, now, sent, tally);
        if self.waiting == 0 {
            (self.wake, self.refusals) = (None, 0);
        } else {
            let refusals = if sent > 0 { 0 } else { self.refusals + 1 };
            self.refused(now, refusals, random, tally);
        }
    }

    fn refused(&mut self, now: f64, refusals: u32, random: &mut Rng, tally: &mut Tally) {
        tally.throttled(1);
        self.refusals = refusals;
        self.wake = Some(now + random.f64() * max_wait(refusals).as_secs_f64());
    }

    /// A tick in which the lane is never idle.
    fn busy(&mut self, start: f64, arrivals: u64, line: Line, tally: &mut Tally) {
        self.join(Cohort { from: start, to: start + TICK, lines: arrivals }, line);
        let (work, Line { cost, in_record }) = (self.credit + TICK, self.packed);
        let served = (work / cost) as u64;
        let bytes = |lines: f64| lines * cost * self.bytes_per_second;
        let (accepted, waiting) = (bytes(served as f64), bytes(self.waiting as f64));
        let tried = self.rate.per_second().map_or(waiting, |rate| (rate * TICK).clamp(accepted, waiting));
        let records = tried / bytes(in_record);
        self.rate.sent(tried, start + TICK);
        self.rate.replied(start + TICK, records, accepted, tried - accepted);
        self.credit = work - served as f64 * cost;
        self.send(start, start + TICK, served, tally);
        tally.throttled((records * (1.0 - accepted / tried)) as u64);
        (self.wake, self.refusals) = (Some(start + TICK), 0);
    }

    fn join(&mut self, cohort: Cohort, line: Line) {
        if cohort.lines == 0 {
            return;
        }
        self.waiting += cohort.lines;
        let part = cohort.lines as f64 / self.waiting as f64;
        self.packed.cost += part * (line.cost - self.packed.cost);
        self.packed.in_record += part * (line.in_record - self.packed.in_record);
        self.queue.push_back(cohort);
        if self.queue.len() > MAX_COHORTS {
            let old = std::mem::take(&mut self.queue);
            let mut old = old.into_iter();
            while let Some(first) = old.next() {
                self.queue.push_back(match old.next() {
                    Some(second) => Cohort { from: first.from, to: second.to, lines: first.lines + second.lines },
                    None => first,
                });
            }
        }
    }

    /// Lines leave evenly between two moments, those that came first first.
    fn send(&mut self, from: f64, to: f64, lines: u64, tally: &mut Tally) {
        self.waiting -= lines;
        let (mut left, mut now) = (lines, from);
        while left > 0 {
            let cohort = self.queue.front_mut().expect("the lines that wait are in cohorts");
            let here = left.min(cohort.lines);
            let (first, begun) = (cohort.from, now);
            cohort.from += (cohort.to - cohort.from) * here as f64 / cohort.lines as f64;
            now += (to - now) * here as f64 / left as f64;
            cohort.lines -= here;
            left -= here;
            // They came evenly and leave evenly: the longest delay is at either end, the mean
            // stands for all.
            let (one, other) = (begun - first, now - cohort.from);
            tally.worst(one.max(other));
            tally.delivered(here, (one + other) / 2.0);
            if cohort.lines == 0 {
                self.queue.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BURST: f64 = 1.0;

    /// Delivered lines by tick, and the lane at the end.
    fn drive(arrivals: &[u64], line: Line, burst: f64) -> (Vec<u64>, Lane, Tally) {
        let (mut lane, mut random, mut tally) =
            (Lane::new(burst, 1e6, true), fastrand::Rng::with_seed(1), Tally::new(1));
        let mut delivered = Vec::new();
        for (tick, &count) in arrivals.iter().enumerate() {
            let before = tally.delivered_lines();
            lane.tick(tick as f64, count, line, burst, &mut random, &mut tally);
            delivered.push(tally.delivered_lines() - before);
        }
        (delivered, lane, tally)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_window_takes_more_than_the_bucket_allows(
            arrivals in prop::collection::vec(prop_oneof![0_u64..900, 0_u64..5_000, Just(0), Just(20_000)], 1..60),
            cost in 0.0002..0.02_f64,
            in_record in 1.0..60.0_f64,
            burst in 0.05..3.0_f64,
        ) {
            let line = Line { cost, in_record };
            let (delivered, lane, tally) = drive(&arrivals, line, burst);
            prop_assert_eq!(tally.delivered_lines() + lane.waiting(), arrivals.iter().sum::<u64>());
            prop_assert_eq!(lane.queue.iter().map(|cohort| cohort.lines).sum::<u64>(), lane.waiting());
            // A line at the edge of a tick may fall to either side.
            for from in 0..delivered.len() {
                let mut taken = 0;
                for (ticks, lines) in delivered[from..].iter().enumerate() {
                    taken += lines;
                    let allowed = burst + (ticks + 1) as f64;
                    prop_assert!((taken as f64 - 1.0) * cost <= allowed + 1e-6, "{taken} in {}", ticks + 1);
                }
            }
        }

        #[test]
        fn a_lane_far_below_its_limit_delays_nothing(
            arrivals in prop::collection::vec(0_u64..900, 1..100), in_record in 1.0..60.0_f64,
        ) {
            let (_, lane, tally) = drive(&arrivals, Line { cost: 0.001, in_record }, BURST);
            prop_assert_eq!((lane.waiting(), tally.worst_delay(), tally.throttles()), (0, 0.0, 0));
        }

        #[test]
        fn a_refused_line_is_the_last_that_came(counts in prop::collection::vec(1_u64..100, 1..20), share in 0.0..1.2_f64) {
            let mut lane = Lane::new(BURST, 1e6, true);
            for (number, &lines) in counts.iter().enumerate() {
                lane.join(Cohort { from: number as f64, to: number as f64 + 1.0, lines }, Line::NONE);
            }
            let all = lane.waiting();
            let wanted = (all as f64 * share) as u64;
            let refused = lane.refuse(wanted);
            prop_assert_eq!((refused, lane.waiting()), (wanted.min(all), all - wanted.min(all)));
            prop_assert_eq!(lane.queue.iter().map(|cohort| cohort.lines).sum::<u64>(), lane.waiting());
            prop_assert!(lane.waiting() == 0 || lane.queue[0].from == 0.0);
        }
    }

    #[test]
    fn a_burst_within_the_bucket_passes_and_one_beyond_it_waits() {
        let line = Line { cost: 0.001, in_record: 1.0 };
        // 2,000 lines in a second: the bucket's 1,000 and the second's 1,000.
        let (delivered, _, tally) = drive(&[2_000, 0, 0], line, BURST);
        assert_eq!((delivered[0], tally.worst_delay(), tally.throttles()), (2_000, 0.0, 0));
        // 3,000: a thousand lines wait for a second at most, and for the jitter of 100 ms at most.
        let (_, lane, tally) = drive(&[3_000, 0, 0, 0], line, BURST);
        assert_eq!(lane.waiting(), 0);
        assert!((1.0..1.1).contains(&tally.worst_delay()), "{}", tally.worst_delay());
        assert!(tally.throttles() >= 10);
    }

    #[test]
    fn records_that_never_fit_the_bucket_at_once_wait_for_it_to_fill() {
        // A record is 0.9 s of work: tries in between are refused, and back off further.
        let line = Line { cost: 0.01, in_record: 90.0 };
        let (delivered, lane, tally) = drive(&[400, 0, 0, 0, 0, 0, 0, 0, 0, 0], line, BURST);
        assert_eq!((delivered.iter().sum::<u64>(), lane.waiting()), (400, 0));
        assert!((2.0..6.0).contains(&tally.worst_delay()), "{}", tally.worst_delay());
    }

    #[test]
    fn a_sender_that_knows_its_limit_is_not_refused_while_much_waits_and_one_that_does_not_finds_it() {
        for (is_known, most) in [(true, 0.0), (false, 0.06)] {
            let (mut random, mut tally) = (fastrand::Rng::with_seed(1), Tally::new(1));
            let mut lane = Lane::new(BURST, 1e6, is_known);
            let line = Line { cost: 0.001, in_record: 10.0 };
            // Ten times what it takes, and then less: hours of work wait.
            lane.tick(0.0, 10_000_000, line, BURST, &mut random, &mut tally);
            for second in 1..20 {
                lane.tick(f64::from(second), 900, line, BURST, &mut random, &mut tally);
            }
            let before = tally.throttles();
            for second in 20..1_020 {
                lane.tick(f64::from(second), 900, line, BURST, &mut random, &mut tally);
            }
            let refused = (tally.throttles() - before) as f64 / 100_000.0;
            assert!(refused <= most, "{refused} of the records");
        }
    }
}
