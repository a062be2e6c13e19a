//! When to send: a token bucket for each shard, or one for a whole Firehose stream, that fills at
//! the [`Rate`] which suits the service.
//!
//! A provisioned shard takes 1 MiB and 1,000 records a second, and its bucket begins there. A
//! Firehose stream's quota can be raised and scales by itself, and no API tells it: its bucket
//! begins without a limit unless one is given, and gets one when the service throttles.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rate::Rate;
use crate::limits::firehose;
use crate::sink::RecordLimit;

/// Half a second's worth may go at once. A shard forgives a second's worth; the rest is left for
/// requests that jitter on the way presses together.
const BURST_SECONDS: f64 = 0.5;
/// The same at a rate that the service has lowered: it has little left to forgive.
const LOWERED_BURST_SECONDS: f64 = 0.1;
/// A record has this part of a second then at most: one that is larger finds room only in a service
/// that nobody has sent to for as long, and one more or less says more about the rate.
const RECORDS_PER_SECOND: f64 = 20.0;

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
    record_limit: RecordLimit,
}

#[derive(Clone, Debug)]
struct Bucket {
    rate: Rate,
    /// All that went before is paid for at this time, in seconds of the clock.
    paid_at: f64,
}

impl Pace {
    /// One bucket for each shard, or one for the stream.
    pub(super) fn new(quota: Quota, buckets: usize) -> Pace {
        let pace = Pace {
            quota,
            began: Instant::now(),
            buckets: Mutex::new(Vec::new()),
            record_limit: RecordLimit::default(),
        };
        pace.set_buckets(buckets);
        pace
    }

    /// Whether there is a limit from the start.
    pub(super) fn has_quota(&self) -> bool {
        self.quota.bytes_per_second.is_some()
    }

    /// How large records should be for now.
    pub(super) fn record_limit(&self) -> RecordLimit {
        self.record_limit.clone()
    }

    /// The stream has that many shards now: the buckets begin anew.
    pub(super) fn set_buckets(&self, count: usize) {
        let now = self.seconds(Instant::now());
        let bucket = Bucket { rate: Rate::new(self.quota.bytes_per_second, now), paid_at: now - BURST_SECONDS };
        *self.lock() = vec![bucket; count];
    }

    /// How many of these records, from the first on, fit into a burst of each of their buckets. A
    /// record that is larger than that fits by itself.
    pub(super) fn portion(&self, records: impl Iterator<Item = (usize, usize)>) -> usize {
        let buckets = self.lock();
        let mut sums = Sums::default();
        let fits = |(bucket, bytes): &(usize, usize)| {
            let burst = buckets.get(*bucket).and_then(Bucket::burst);
            let (before, sum) = sums.add(*bucket, self.cost(*bytes));
            burst.is_none_or(|burst| before == 0.0 || sum <= burst)
        };
        records.take_while(fits).count()
    }

    /// Takes tokens for records of that many bytes, each with its bucket; the time to wait before
    /// they go.
    pub(super) fn take(&self, records: impl Iterator<Item = (usize, usize)>) -> Duration {
        let now = self.seconds(Instant::now());
        let mut buckets = self.lock();
        let mut sums = Sums::default();
        for (bucket, bytes) in records {
            sums.add(bucket, self.cost(bytes));
        }
        let waits = sums.0.into_iter().filter_map(|(index, cost)| buckets.get_mut(index)?.take(cost, now));
        Duration::from_secs_f64(waits.fold(0.0, f64::max))
    }

    /// Records of that many bytes, each with its bucket, go now.
    pub(super) fn sent(&self, records: impl Iterator<Item = (usize, usize)>, now: Instant) {
        let now = self.seconds(now);
        let mut sums = Sums::default();
        for (bucket, bytes) in records {
            sums.add(bucket, self.cost(bytes));
        }
        let mut buckets = self.lock();
        for (index, bytes) in sums.0 {
            if let Some(bucket) = buckets.get_mut(index) {
                bucket.rate.sent(bytes, now);
            }
        }
        let lowered = buckets.iter().filter(|bucket| bucket.rate.is_lowered());
        let slowest = lowered.filter_map(|bucket| bucket.rate.per_second()).fold(f64::INFINITY, f64::min);
        // Firehose bills in these steps.
        let step = firehose::BILLING_STEP as f64;
        self.record_limit.set(((slowest / RECORDS_PER_SECOND / step).floor().max(1.0) * step) as usize);
    }

    /// What became of records that were sent at that time: the bucket, the bytes, and whether it was
    /// accepted, for each that was accepted or turned away for its rate.
    pub(super) fn replied(&self, records: impl Iterator<Item = (usize, usize, bool)>, sent_at: Instant) {
        let sent_at = self.seconds(sent_at);
        let (mut accepted, mut rejected, mut counts) = (Sums::default(), Sums::default(), Sums::default());
        for (bucket, bytes, is_accepted) in records {
            let cost = self.cost(bytes);
            accepted.add(bucket, if is_accepted { cost } else { 0.0 });
            rejected.add(bucket, if is_accepted { 0.0 } else { cost });
            counts.add(bucket, 1.0);
        }
        let mut buckets = self.lock();
        for (((index, accepted), (_, rejected)), (_, records)) in accepted.0.into_iter().zip(rejected.0).zip(counts.0) {
            if let Some(bucket) = buckets.get_mut(index) {
                bucket.rate.replied(sent_at, records, accepted, rejected);
            }
        }
    }

    /// What a record costs, in bytes.
    fn cost(&self, bytes: usize) -> f64 {
        (bytes as f64).max(self.quota.min_record)
    }

    fn seconds(&self, time: Instant) -> f64 {
        time.saturating_duration_since(self.began).as_secs_f64()
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
    fn burst_seconds(&self) -> f64 {
        if self.rate.is_lowered() { LOWERED_BURST_SECONDS } else { BURST_SECONDS }
    }

    /// Bytes that may go at once; `None` without a limit.
    fn burst(&self) -> Option<f64> {
        self.rate.per_second().map(|rate| rate * self.burst_seconds())
    }

    /// Seconds to wait; `None` without a limit.
    fn take(&mut self, cost: f64, now: f64) -> Option<f64> {
        let rate = self.rate.per_second()?;
        let (seconds, burst) = (cost / rate, self.burst_seconds());
        self.paid_at = self.paid_at.max(now - burst);
        // A service that has just turned something away is given the time before, not after.
        let before = if self.rate.is_lowered() { seconds } else { seconds.min(burst) };
        let may_go_at = self.paid_at + before;
        self.paid_at += seconds;
        Some((may_go_at - now).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: Option<f64>) -> Bucket {
        Bucket { rate: Rate::new(rate, 0.0), paid_at: -10.0 }
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
    fn without_a_limit_nothing_waits() {
        assert_eq!(bucket(None).take(1e12, 0.0), None);
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
