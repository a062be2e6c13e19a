//! How fast to send: a token bucket for each shard, or one for a whole Firehose stream, whose rate
//! adapts.
//!
//! A provisioned shard takes 1 MiB and 1,000 records a second, and its bucket begins there. A
//! Firehose stream's quota can be raised and scales by itself, and no API tells it: its bucket
//! begins without a limit unless one is given, and gets one with the first throttle. From then on
//! the rate is halved with each throttle, at most once in half a second, since all requests on the
//! way are turned away together, and it grows by a constant for each second without one. (AIMD, as
//! in TCP.)

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Half a second's worth may go at once. A shard forgives a second's worth; the rest is left for
/// requests that jitter on the way presses together.
const BURST_SECONDS: f64 = 0.5;
const MIN_TIME_BETWEEN_CUTS: Duration = Duration::from_millis(500);
/// A rate never falls below this, since a bucket that stands still would never learn that it may go
/// on. 4 MiB take 16 s then, about as long as the longest wait between two tries; no stream or
/// shard has less than four times as much.
const MIN_RATE: f64 = 256.0 * 1024.0;

/// What one bucket may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quota {
    /// Bytes a second; `None` for no limit until the service throttles.
    pub(super) bytes_per_second: Option<f64>,
    /// Bytes that even the smallest record counts as, for a limit on records a second.
    pub(super) min_record: f64,
}

/// The buckets of a stream.
#[derive(Debug)]
pub(super) struct Pace {
    quota: Quota,
    /// The clock's zero.
    began: Instant,
    buckets: Mutex<Vec<Bucket>>,
}

#[derive(Clone, Debug)]
struct Bucket {
    /// Bytes a second.
    rate: Option<f64>,
    /// All that went before is paid for at this time, in seconds of the clock.
    paid_at: f64,
    cut_at: f64,
    grown_at: f64,
    /// Bytes that were accepted since `counted_from`, to find the rate when the first throttle
    /// comes.
    accepted: f64,
    counted_from: f64,
}

impl Pace {
    /// One bucket for each shard, or one for the stream.
    pub(super) fn new(quota: Quota, buckets: usize) -> Pace {
        let pace = Pace { quota, began: Instant::now(), buckets: Mutex::new(Vec::new()) };
        pace.set_buckets(buckets);
        pace
    }

    /// Whether there is a limit from the start.
    pub(super) fn has_quota(&self) -> bool {
        self.quota.bytes_per_second.is_some()
    }

    /// The stream has that many shards now: the buckets begin anew.
    pub(super) fn set_buckets(&self, count: usize) {
        let now = self.seconds();
        let bucket = Bucket {
            rate: self.quota.bytes_per_second,
            paid_at: now - BURST_SECONDS,
            cut_at: f64::NEG_INFINITY,
            grown_at: now,
            accepted: 0.0,
            counted_from: now,
        };
        *self.lock() = vec![bucket; count];
    }

    /// How many of these records, from the first on, fit into a burst of each of their buckets. A
    /// record that is larger than that fits by itself.
    pub(super) fn portion(&self, records: impl Iterator<Item = (usize, usize)>) -> usize {
        let buckets = self.lock();
        let mut sums = Sums::default();
        let fits = |(bucket, bytes): &(usize, usize)| {
            let rate = buckets.get(*bucket).and_then(|bucket| bucket.rate);
            let (before, sum) = sums.add(*bucket, self.cost(*bytes));
            rate.is_none_or(|rate| before == 0.0 || sum <= rate * BURST_SECONDS)
        };
        records.take_while(fits).count()
    }

    /// Takes tokens for records of that many bytes, each with its bucket; the time to wait before
    /// they go.
    pub(super) fn take(&self, records: impl Iterator<Item = (usize, usize)>) -> Duration {
        let now = self.seconds();
        let mut buckets = self.lock();
        let mut sums = Sums::default();
        for (bucket, bytes) in records {
            sums.add(bucket, self.cost(bytes));
        }
        let waits = sums.0.into_iter().filter_map(|(index, cost)| buckets.get_mut(index)?.take(cost, now));
        Duration::from_secs_f64(waits.fold(0.0, f64::max))
    }

    /// That many bytes were accepted from a bucket.
    pub(super) fn accepted(&self, bucket: usize, bytes: usize) {
        let step = self.quota.bytes_per_second.map_or(256.0 * 1024.0, |rate| rate / 20.0);
        let now = self.seconds();
        if let Some(bucket) = self.lock().get_mut(bucket) {
            bucket.grow(bytes as f64, step, self.quota.bytes_per_second, now);
        }
    }

    /// Something from that bucket was turned away for its rate.
    pub(super) fn throttled(&self, bucket: usize) {
        let now = self.seconds();
        if let Some(bucket) = self.lock().get_mut(bucket) {
            bucket.cut(now);
        }
    }

    /// What a record costs, in bytes.
    fn cost(&self, bytes: usize) -> f64 {
        (bytes as f64).max(self.quota.min_record)
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Bucket>> {
        // Numbers only: there is no state between two of them to see after a panic.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes for each of the few buckets that a request has records for.
#[derive(Default)]
struct Sums(Vec<(usize, f64)>);

impl Sums {
    /// The bytes for that bucket before and after.
    fn add(&mut self, bucket: usize, bytes: f64) -> (f64, f64) {
        let place = self.0.iter().position(|(index, _)| *index == bucket).unwrap_or_else(|| {
            self.0.push((bucket, 0.0));
            self.0.len() - 1
        });
        let (_, sum) = &mut self.0[place];
        let before = *sum;
        *sum += bytes;
        (before, *sum)
    }
}

impl Bucket {
    /// Seconds to wait; `None` without a limit.
    fn take(&mut self, cost: f64, now: f64) -> Option<f64> {
        let rate = self.rate?;
        let seconds = cost / rate;
        self.paid_at = self.paid_at.max(now - BURST_SECONDS);
        let may_go_at = self.paid_at + seconds.min(BURST_SECONDS);
        self.paid_at += seconds;
        Some((may_go_at - now).max(0.0))
    }

    fn grow(&mut self, bytes: f64, step_per_second: f64, max: Option<f64>, now: f64) {
        self.accepted += bytes;
        if let Some(rate) = &mut self.rate {
            let grown = *rate + step_per_second * (now - self.grown_at).clamp(0.0, 1.0);
            *rate = max.map_or(grown, |max| grown.min(max));
        } else if now - self.counted_from > 2.0 {
            // The past counts half as much as what comes.
            self.accepted /= 2.0;
            self.counted_from = now - (now - self.counted_from) / 2.0;
        }
        self.grown_at = now;
    }

    fn cut(&mut self, now: f64) {
        if now - self.cut_at < MIN_TIME_BETWEEN_CUTS.as_secs_f64() {
            return;
        }
        let rate = self.rate.unwrap_or_else(|| self.accepted / (now - self.counted_from).max(0.1));
        if self.rate.is_none() {
            self.paid_at = now;
        }
        self.rate = Some((rate / 2.0).max(MIN_RATE));
        self.cut_at = now;
        self.grown_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: Option<f64>) -> Bucket {
        Bucket { rate, paid_at: -10.0, cut_at: -10.0, grown_at: 0.0, accepted: 0.0, counted_from: 0.0 }
    }

    #[test]
    fn a_bucket_lets_its_rate_through_after_a_burst() {
        let mut bucket = bucket(Some(1_000.0));
        let (mut now, mut sent) = (0.0, 0.0);
        while now < 100.0 {
            now += bucket.take(100.0, now).unwrap();
            sent += 100.0;
        }
        assert!((sent / 1_000.0 - 100.0 - BURST_SECONDS).abs() < 0.2, "{sent} bytes in {now} s");
    }

    #[test]
    fn more_than_a_burst_goes_and_is_paid_for_later() {
        let mut bucket = bucket(Some(1_000.0));
        assert_eq!(bucket.take(5_000.0, 0.0), Some(0.0));
        assert!((bucket.take(100.0, 0.0).unwrap() - 4.6).abs() < 1e-9);
    }

    #[test]
    fn without_a_limit_nothing_waits_until_the_first_throttle() {
        let mut bucket = bucket(None);
        assert_eq!(bucket.take(1e12, 0.0), None);
        for tenth in 1..=10 {
            bucket.grow(1e6, 1e3, None, f64::from(tenth) / 10.0);
        }
        bucket.cut(1.0);
        assert_eq!(bucket.rate, Some(5e6));
        bucket.cut(1.1);
        assert_eq!(bucket.rate, Some(5e6), "the same throttle");
        bucket.cut(1.6);
        assert_eq!(bucket.rate, Some(2.5e6));
        (0..1_000).for_each(|second| bucket.cut(f64::from(second)));
        assert_eq!(bucket.rate, Some(MIN_RATE));
    }

    #[test]
    fn a_rate_grows_by_a_constant_up_to_its_quota() {
        let mut bucket = bucket(Some(1_000.0));
        bucket.cut(0.0);
        bucket.rate = Some(500.0);
        bucket.grow(1.0, 50.0, Some(1_000.0), 1.0);
        assert_eq!(bucket.rate, Some(550.0));
        (2..100).for_each(|second| bucket.grow(1.0, 50.0, Some(1_000.0), f64::from(second)));
        assert_eq!(bucket.rate, Some(1_000.0));
    }

    #[test]
    fn no_more_goes_at_once_than_a_burst_of_each_bucket() {
        let pace = Pace::new(Quota { bytes_per_second: Some(1_000.0), min_record: 10.0 }, 2);
        let portion = |records: &[(usize, usize)]| pace.portion(records.iter().copied());
        assert_eq!(portion(&[]), 0);
        assert_eq!(portion(&[(0, 300), (1, 500), (0, 200), (0, 1), (1, 0)]), 3);
        assert_eq!(portion(&[(0, 9_000), (1, 9_000), (1, 1)]), 2, "larger ones by themselves");
        assert_eq!(portion(&[(0, 0); 60]), 50);
        let unlimited = Pace::new(Quota { bytes_per_second: None, min_record: 10.0 }, 1);
        assert_eq!(unlimited.portion([(0, 9_000); 500].into_iter()), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn each_shard_has_its_own_bucket() {
        let pace = Pace::new(Quota { bytes_per_second: Some(1e6), min_record: 1_000.0 }, 2);
        assert_eq!(pace.take([(0, 500_000), (1, 500_000)].into_iter()), Duration::ZERO);
        assert_eq!(pace.take([(0, 500_000)].into_iter()), Duration::from_millis(500));
        tokio::time::advance(Duration::from_millis(100)).await;
        // A thousand empty records are a second's worth as well.
        assert_eq!(pace.take([(1, 0); 400].into_iter()), Duration::from_millis(300));
        pace.set_buckets(3);
        assert_eq!(pace.take([(2, 500_000)].into_iter()), Duration::ZERO);
        assert_eq!(pace.take([(3, 500_000)].into_iter()), Duration::ZERO, "a shard that the map lost a moment ago");
    }
}
