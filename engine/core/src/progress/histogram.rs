//! How long things take, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper ends of the buckets in seconds, about a factor of 2.5 apart: from a reply of a service
/// nearby to lines that waited an hour for an endpoint. One more bucket takes what took longer.
const BOUNDS: [f64; 16] =
    [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];

/// Counts durations in buckets: an addition each, without a lock, which the histograms of metrics
/// crates take.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|&bound| bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// The upper end of each bucket in seconds, the last without one, and how many durations it
    /// holds.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets().map(|(_, count)| count).sum()
    }

    /// Their sum in seconds.
    pub fn sum(&self) -> f64 {
        self.microseconds.load(Ordering::Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_bucket_that_ends_with_it_or_above() {
        let histogram = Histogram::default();
        for milliseconds in [0, 5, 6, 2_500, 10_000_000] {
            histogram.record(Duration::from_millis(milliseconds));
        }
        let found: Vec<(f64, u64)> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, [(0.0025, 1), (0.005, 1), (0.01, 1), (2.5, 1), (f64::INFINITY, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 10_002.511));
    }
}
