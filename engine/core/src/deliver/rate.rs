//! How fast a service that turns away what comes too fast is sent to.
//!
//! Time is cut into epochs of two seconds. When one is over, the share of bytes that were
//! turned away in it decides:
//!
//! - **More than a little**: what was accepted a second is what there is to have. The service is
//!   given a short rest, then the rate is just below that.
//! - **Again as much** right after that: perhaps it does not depend on the rate. A second, longer
//!   rest tests it. If the share stays, it is *noise*: the rate returns to where it was, and from
//!   then on only what is turned away beyond the noise counts. Each later rest tests it again, and
//!   there is one at least every minute.
//! - **Otherwise**, where the rate was used, it grows, by a little first and by twice as much each
//!   time: a limit that is near is passed by little, and one that is far is found soon.
//!
//! A request counts for the epoch in which it was sent. So replies to what was on its way when the
//! rate changed are not counted against the new rate, however late they come.
//!
//! There is no clock in here: the caller says what time it is, in seconds. A simulation of a
//! delivery can therefore play the same.

/// Seconds. Long enough to have more replies than are on the way.
const EPOCH: f64 = 2.0;
/// The same without a limit: each moment more of it may be turned away as a whole.
const UNLIMITED_EPOCH: f64 = 0.5;
/// Or until most of so many records are turned away.
const MIN_FLOOD: f64 = 32.0;
/// A service forgives about as many seconds: what it accepts in less is more than its rate.
const FORGIVEN: f64 = 1.0;
/// With fewer records than this an epoch goes on, for up to two more of its length: a share of a
/// few says little.
const MIN_RECORDS: f64 = 8.0;
/// Seconds.
const REST: f64 = 1.0;
/// The share of bytes that may be turned away before the rate falls.
const MAX_REJECTED: f64 = 0.02;
/// The rate while the service rests, as a part of what it accepted: so low that it can take that
/// much even while another producer grows.
const RATE_OF_REST: f64 = 0.7;
/// The rate after that, as a part of what was accepted.
const RATE_AFTER: f64 = 0.98;
/// What must be turned away in a test before that is noise: something of so many requests, of so
/// many records.
const MIN_REFUSED: f64 = 3.0;
const MIN_TESTED: f64 = 16.0;
/// Less noise than this is none, and more cannot be told from a service that takes nothing.
const MIN_NOISE: f64 = 0.02;
const MAX_NOISE: f64 = 0.5;
/// Seconds after which noise is tested again although nothing has changed.
const MAX_UNTESTED: f64 = 60.0;
/// After a cut the rate grows by 1 % of itself first where it is 5 MiB/s, by more where it is
/// slower and by less where it is faster: of two producers, the slower one gains on the other.
const FIRST_STEP: f64 = 0.01;
const FIRST_STEP_AT: f64 = 5.0 * 1024.0 * 1024.0;
const MIN_FIRST_STEP: f64 = 0.0025;
const MAX_FIRST_STEP: f64 = 0.05;
/// The most that it grows by.
const MAX_STEP: f64 = 0.2;
/// The part of a rate that must be used for it to grow.
const MIN_USED: f64 = 0.75;
/// A rate never falls below this, since a bucket that stands still would never learn that it may go
/// on. 4 MiB take 16 s then, about as long as the longest wait between two tries; no stream or
/// shard has less than four times as much.
const MIN_RATE: f64 = 256.0 * 1024.0;

/// The rate of one stream or shard, in bytes a second.
#[derive(Clone, Debug)]
pub struct Rate {
    rate: Option<f64>,
    max: Option<f64>,
    /// The share of bytes that is turned away whatever the rate.
    noise: f64,
    /// Seconds without a cut since that was tested.
    untested: f64,
    /// What the rate grows by after the next good epoch, as a part of itself.
    step: f64,
    phase: Phase,
    epoch: Epoch,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing is known to be wrong.
    Steady,
    /// Too much was turned away; what is turned away now still comes from that.
    Rest(Cut),
    /// The rest goes on: whether less is turned away at that rate.
    Test(Cut),
    /// The first epoch after a rest without a test.
    Check(Cut),
}

/// The epoch in which too much was turned away.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The rate then.
    rate: Option<f64>,
    share: f64,
    accepted_per_second: f64,
    has_test: bool,
}

/// What became of what was sent since the phase or the rate changed.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    began: f64,
    sent: f64,
    /// When the last of it was sent.
    sent_last: f64,
    accepted: f64,
    rejected: f64,
    records: f64,
    /// Requests of which something was turned away.
    refused: f64,
}

impl Rate {
    /// Begins at that rate, which is never passed; without one, there is no limit until the service
    /// turns something away. `now` is in seconds of any clock.
    pub fn new(max: Option<f64>, now: f64) -> Rate {
        let epoch = Epoch { began: now, ..Epoch::default() };
        Rate { rate: max, max, noise: 0.0, untested: 0.0, step: FIRST_STEP, phase: Phase::Steady, epoch }
    }

    /// Bytes a second; `None` for no limit.
    pub fn per_second(&self) -> Option<f64> {
        self.rate
    }

    /// Whether the service takes less than the rate was at the start.
    pub fn is_lowered(&self) -> bool {
        self.rate != self.max
    }

    /// A request of that many bytes is sent.
    pub fn sent(&mut self, bytes: f64, now: f64) {
        self.change(now);
        self.epoch.sent += bytes;
        self.epoch.sent_last = now;
    }

    /// Of a request that was sent then, so many records have an answer: so many bytes of them were
    /// accepted, and so many turned away for their rate.
    pub fn replied(&mut self, sent_at: f64, records: f64, accepted: f64, rejected: f64) {
        let epoch = &mut self.epoch;
        if sent_at >= epoch.began {
            epoch.accepted += accepted;
            epoch.rejected += rejected;
            epoch.records += records;
            epoch.refused += if rejected > 0.0 { 1.0 } else { 0.0 };
        }
    }

    /// Ends the epoch if it is over.
    fn change(&mut self, now: f64) {
        let Epoch { began, rejected, records, refused, .. } = self.epoch;
        let seconds = now - began;
        let epoch = if self.rate.is_none() { UNLIMITED_EPOCH } else { EPOCH };
        let is_flood = self.rate.is_none() && records >= MIN_FLOOD && rejected > self.epoch.accepted;
        let is_over = is_flood
            || match self.phase {
                Phase::Rest(_) => seconds >= REST,
                _ => seconds >= epoch && records > 0.0 && (records >= MIN_RECORDS || seconds >= 3.0 * EPOCH),
            };
        if !is_over {
            return;
        }
        let share = if rejected > 0.0 { rejected / (self.epoch.accepted + rejected) } else { 0.0 };
        self.phase = match self.phase {
            Phase::Rest(cut) if cut.has_test => Phase::Test(cut),
            Phase::Rest(cut) => {
                self.set(RATE_AFTER * cut.accepted_per_second);
                Phase::Check(cut)
            }
            // What is far more than before comes from something new, such as a lower quota.
            Phase::Test(cut) if share > 1.5 * cut.share + MAX_REJECTED => self.cut(share, seconds, None),
            Phase::Test(cut) => {
                if refused >= MIN_REFUSED && records >= MIN_TESTED && share > cut.share / 2.0 {
                    self.noise = share.min(MAX_NOISE);
                    self.rate = cut.rate;
                } else {
                    let noise = f64::midpoint(self.noise, share);
                    self.noise = if noise < MIN_NOISE { 0.0 } else { noise };
                    self.set(RATE_AFTER * cut.accepted_per_second / (1.0 - self.noise));
                }
                self.untested = 0.0;
                Phase::Steady
            }
            phase if share > self.noise + MAX_REJECTED + chance(self.noise, records) => {
                let last = if let Phase::Check(cut) = phase { Some(cut) } else { None };
                self.cut(share, seconds, last)
            }
            _ if self.noise > 0.0 && self.untested >= MAX_UNTESTED => self.cut(share, seconds, None),
            _ => {
                self.untested += seconds;
                self.grow(seconds);
                Phase::Steady
            }
        };
        self.epoch = Epoch { began: now, ..Epoch::default() };
    }

    /// Too large a share was turned away; `last` is the cut just before that.
    fn cut(&mut self, share: f64, seconds: f64, last: Option<Cut>) -> Phase {
        // A first cut that helped little may be about something else than the rate.
        let helped_little = last.filter(|last| share > last.share / 2.0 && self.epoch.records >= MIN_RECORDS);
        // Where less was sent than might have been, or nothing for a while, that says nothing of what
        // would be accepted.
        let sending = seconds.min(self.epoch.sent_last - self.epoch.began + FORGIVEN).max(FORGIVEN);
        let sent_per_second = match self.rate {
            Some(rate) if !self.is_used(seconds) => rate,
            _ => self.epoch.sent / sending,
        };
        let cut = Cut {
            rate: helped_little.map_or(self.rate, |last| last.rate),
            share,
            accepted_per_second: sent_per_second * (1.0 - share),
            has_test: helped_little.is_some() || self.noise > 0.0,
        };
        // A reply that accepts nothing does not say how much would be.
        let least = if self.epoch.accepted > 0.0 { 0.0 } else { sent_per_second / 2.0 };
        self.set((RATE_OF_REST * cut.accepted_per_second).max(least));
        let step = FIRST_STEP * (FIRST_STEP_AT / self.rate.unwrap_or(FIRST_STEP_AT)).sqrt();
        // What was found in a moment without a limit may be far too low.
        let least_step = if cut.rate.is_none() { MAX_FIRST_STEP } else { MIN_FIRST_STEP };
        self.step = step.clamp(least_step, MAX_FIRST_STEP);
        Phase::Rest(cut)
    }

    fn grow(&mut self, seconds: f64) {
        if let Some(rate) = self.rate
            && self.is_used(seconds)
        {
            self.set(rate * (1.0 + self.step));
            self.step = (2.0 * self.step).min(MAX_STEP);
        }
    }

    fn is_used(&self, seconds: f64) -> bool {
        self.rate.is_some_and(|rate| self.epoch.sent >= MIN_USED * rate * seconds)
    }

    fn set(&mut self, rate: f64) {
        self.rate = Some(rate.max(MIN_RATE).min(self.max.unwrap_or(f64::INFINITY)));
    }
}

/// What chance adds to a share of that many records: three times its standard deviation, but no more
/// than the share, or a few records could hide everything.
fn chance(share: f64, records: f64) -> f64 {
    (3.0 * (share * (1.0 - share) / records).sqrt()).min(share)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Sends for that long, ten times a second, `demand` bytes a second or as much as the rate
    /// lets through; `accepted` is what the service accepts of a request by the bytes a second.
    fn send(rate: &mut Rate, now: &mut f64, seconds: f64, demand: f64, accepted: impl Fn(f64) -> f64) {
        for _ in 0..(seconds * 10.0).round() as usize {
            *now += 0.1;
            let per_second = rate.per_second().unwrap_or(demand).min(demand);
            rate.sent(per_second / 10.0, *now);
            let accepted = accepted(per_second) / 10.0;
            rate.replied(*now, 10.0, accepted, per_second / 10.0 - accepted);
        }
    }

    #[test]
    fn nothing_changes_while_everything_is_accepted() {
        for max in [None, Some(MIB)] {
            let (mut rate, mut now) = (Rate::new(max, 0.0), 0.0);
            send(&mut rate, &mut now, 100.0, 50.0 * MIB, |sent| sent);
            assert_eq!((rate.per_second(), rate.is_lowered()), (max, false));
        }
    }

    #[test]
    fn a_limit_is_found_and_kept_to() {
        for limit in [0.5 * MIB, 5.0 * MIB, 300.0 * MIB] {
            let (mut rate, mut now) = (Rate::new(None, 0.0), 0.0);
            send(&mut rate, &mut now, 20.0, 1e9, |sent| sent.min(limit));
            for _ in 0..600 {
                send(&mut rate, &mut now, 0.1, 1e9, |sent| sent.min(limit));
                let now = rate.per_second().unwrap();
                assert!((0.6..=1.3).contains(&(now / limit)), "{now} of {limit}");
            }
        }
    }

    #[test]
    fn late_replies_of_one_overshoot_lower_the_rate_once() {
        let (mut rate, mut now) = (Rate::new(None, 0.0), 0.0);
        send(&mut rate, &mut now, 0.6, 10.0 * MIB, |sent| sent / 2.0);
        let lowered = rate.per_second().unwrap();
        for _ in 0..50 {
            rate.replied(0.4, 10.0, 0.0, MIB);
        }
        send(&mut rate, &mut now, 3.0, 10.0 * MIB, |sent| sent);
        assert!(rate.per_second().unwrap() > lowered);
    }

    #[test]
    fn what_does_not_depend_on_the_rate_is_noise_and_the_rate_returns() {
        for max in [None, Some(8.0 * MIB)] {
            let (mut rate, mut now) = (Rate::new(max, 0.0), 0.0);
            send(&mut rate, &mut now, 10.0, 20.0 * MIB, |sent| 0.8 * sent);
            assert_eq!(rate.per_second(), max, "after 10 s");
            send(&mut rate, &mut now, 100.0, 20.0 * MIB, |sent| 0.8 * sent);
            assert_eq!(rate.per_second(), max);
        }
        // A limit behind the noise is found all the same, and noise that ends is forgotten.
        let (mut rate, mut now) = (Rate::new(None, 0.0), 0.0);
        send(&mut rate, &mut now, 60.0, 20.0 * MIB, |sent| (0.8 * sent).min(5.0 * MIB));
        let found = rate.per_second().unwrap() / MIB;
        assert!((3.0..=9.0).contains(&found), "{found}");
        send(&mut rate, &mut now, 60.0, 20.0 * MIB, |sent| sent.min(5.0 * MIB));
        let found = rate.per_second().unwrap() / MIB;
        assert!((3.0..=6.5).contains(&found), "{found}");
    }

    #[test]
    fn a_limit_that_falls_during_a_test_is_not_noise() {
        // A little is too much, and then, while that is tested, much.
        for falls_after in 0..60 {
            let (mut rate, mut now) = (Rate::new(Some(8.0 * MIB), 0.0), 0.0);
            send(&mut rate, &mut now, 0.1 * f64::from(falls_after), 20.0 * MIB, |sent| sent.min(7.5 * MIB));
            send(&mut rate, &mut now, 30.0, 20.0 * MIB, |sent| sent.min(2.5 * MIB));
            let found = rate.per_second().unwrap() / MIB;
            assert!((1.5..=3.3).contains(&found), "{found} after {falls_after} tenths");
        }
    }

    #[test]
    fn a_rate_that_is_not_used_does_not_grow() {
        let (mut rate, mut now) = (Rate::new(None, 0.0), 0.0);
        send(&mut rate, &mut now, 8.0, 10.0 * MIB, |sent| sent.min(2.0 * MIB));
        send(&mut rate, &mut now, 6.5, MIB / 2.0, |sent| sent);
        let found = rate.per_second();
        send(&mut rate, &mut now, 100.0, MIB / 2.0, |sent| sent);
        assert_eq!(rate.per_second(), found);
        send(&mut rate, &mut now, 5.0, 10.0 * MIB, |sent| sent);
        assert!(rate.per_second() > found);
    }

    #[test]
    fn a_rate_that_is_hardly_used_does_not_fall_to_what_was_sent() {
        let (mut rate, mut now) = (Rate::new(Some(10.0 * MIB), 0.0), 0.0);
        send(&mut rate, &mut now, 20.0, MIB, |sent| 0.9 * sent);
        assert!(rate.per_second().unwrap() > 5.0 * MIB, "{rate:?}");
        // Nor does a pause count as slow sending.
        let (mut rate, mut now) = (Rate::new(None, 0.0), 0.0);
        send(&mut rate, &mut now, 0.4, 10.0 * MIB, |sent| 0.5 * sent);
        now += 3_600.0;
        send(&mut rate, &mut now, 0.1, 10.0 * MIB, |sent| sent);
        assert!(rate.per_second().unwrap() > 0.9 * MIB, "{rate:?}");
    }

    #[test]
    fn a_service_that_takes_nothing_is_still_asked() {
        let (mut rate, mut now) = (Rate::new(None, 0.0), 0.0);
        for _ in 0..1_000 {
            send(&mut rate, &mut now, 1.0, 100.0 * MIB, |_| 0.0);
            assert!(rate.per_second().is_none_or(|rate| rate >= MIN_RATE));
        }
        send(&mut rate, &mut now, 60.0, 100.0 * MIB, |sent| sent);
        assert!(rate.per_second().is_none_or(|rate| rate > 8.0 * MIB), "{rate:?}");
    }

    proptest! {
        #[test]
        fn a_rate_stays_between_its_bounds(
            max in prop::option::of(1e6..1e9_f64),
            steps in prop::collection::vec((0.0..3.0_f64, 0.0..1e8_f64, 0.0..=1.0_f64, 0.0..4.0_f64, 0..40_u32), 1..200),
        ) {
            let (mut rate, mut now) = (Rate::new(max, 0.0), 0.0);
            for (wait, bytes, accepted, ago, records) in steps {
                now += wait;
                rate.sent(bytes, now);
                rate.replied(now - ago, f64::from(records), bytes * accepted, bytes * (1.0 - accepted));
                let bounds = MIN_RATE..=max.unwrap_or(f64::INFINITY);
                prop_assert!(rate.per_second().map_or(max.is_none(), |rate| bounds.contains(&rate)), "{rate:?}");
            }
        }
    }
}
