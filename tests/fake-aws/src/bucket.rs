//! Token buckets, by which quotas are kept.

use std::time::Instant;

/// Fills at a steady rate up to one second's worth, and is emptied by what is let through.
///
/// An amount larger than a full bucket passes once the bucket is full and leaves a debt: a record
/// of 10 MiB passes a shard of 1 MiB/s, which then takes nothing for 9 seconds. On average the rate
/// holds.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: u64, now: Instant) -> Bucket {
        Bucket { per_second: per_second as f64, level: per_second as f64, filled: now }
    }

    /// Whether that much would pass now.
    pub(crate) fn has(&mut self, amount: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + elapsed * self.per_second).min(self.per_second);
        self.filled = now;
        self.level >= (amount as f64).min(self.per_second)
    }

    pub(crate) fn take(&mut self, amount: u64) {
        self.level -= amount as f64;
    }
}

/// Several buckets, some of them perhaps without a limit, that are taken from together or not at
/// all.
pub(crate) fn take_all<const N: usize>(wanted: [(&mut Option<Bucket>, u64); N], now: Instant) -> bool {
    let mut wanted = wanted;
    let passes = wanted.iter_mut().all(|(bucket, amount)| bucket.as_mut().is_none_or(|b| b.has(*amount, now)));
    if passes {
        for (bucket, amount) in wanted {
            if let Some(bucket) = bucket {
                bucket.take(amount);
            }
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_lets_one_second_pass_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Some(Bucket::new(10, start));
        let passed = |bucket: &mut Option<Bucket>, at| (0..100).filter(|_| take_all([(bucket, 1)], at)).count();
        assert_eq!(passed(&mut bucket, start), 10);
        assert_eq!(passed(&mut bucket, start + Duration::from_millis(500)), 5);
        assert_eq!(passed(&mut bucket, start + Duration::from_secs(60)), 10);
    }

    #[test]
    fn more_than_a_full_bucket_passes_and_leaves_a_debt() {
        let start = Instant::now();
        let mut bucket = Some(Bucket::new(10, start));
        assert!(take_all([(&mut bucket, 35)], start));
        assert!(!take_all([(&mut bucket, 1)], start + Duration::from_millis(2500)));
        assert!(take_all([(&mut bucket, 1)], start + Duration::from_millis(2650)));
    }

    #[test]
    fn nothing_is_taken_when_one_of_several_is_empty() {
        let now = Instant::now();
        let (mut bytes, mut records) = (Some(Bucket::new(10, now)), Some(Bucket::new(1, now)));
        assert!(take_all([(&mut bytes, 4), (&mut records, 1)], now));
        assert!(!take_all([(&mut bytes, 4), (&mut records, 1)], now));
        assert!(take_all([(&mut bytes, 6), (&mut None, 1)], now));
    }
}
