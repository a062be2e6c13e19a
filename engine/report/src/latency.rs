//! How long answers took: percentiles to three significant digits, and exact sums.

use hdrhistogram::Histogram;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Durations in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    histogram: Buckets,
    sum: u64,
    max: u64,
}

/// CloudFront gives up on an origin after minutes; what is longer than this counts as this long.
const MAX_MILLIS: u64 = 60 * 60 * 1000;

impl Default for Latency {
    fn default() -> Latency {
        Latency { histogram: Buckets(new_histogram()), sum: 0, max: 0 }
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_MILLIS, 3).expect("1 to an hour, with 3 digits")
}

impl Latency {
    #[inline]
    pub(crate) fn add(&mut self, millis: u64) {
        self.histogram.0.saturating_record(millis);
        self.sum += millis;
        self.max = self.max.max(millis);
    }

    pub(crate) fn merge(&mut self, from: &Latency) {
        self.histogram.0.add(&from.histogram.0).expect("both have the same bounds");
        self.sum += from.sum;
        self.max = self.max.max(from.max);
    }

    /// Empties it, and gives what there was.
    pub(crate) fn take_into(&mut self, into: &mut Latency) {
        if self.count() > 0 {
            into.merge(self);
            self.histogram.0.reset();
            (self.sum, self.max) = (0, 0);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.0.len()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The duration that this part of all, from 0 to 1, did not exceed; to 0.1 %.
    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        self.histogram.0.value_at_quantile(quantile).min(self.max)
    }
}

/// A histogram, written as the durations that came and how often.
#[derive(Clone, Debug)]
struct Buckets(Histogram<u64>);

impl Serialize for Buckets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        recorded.collect::<Vec<(u64, u64)>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Buckets, D::Error> {
        let mut histogram = new_histogram();
        for (millis, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            histogram.record_n(millis, count).map_err(D::Error::custom)?;
        }
        Ok(Buckets(histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_thousandth_and_sums_exact() {
        let mut latency = Latency::default();
        (1..=100_000).for_each(|millis| latency.add(millis));
        latency.add(10 * MAX_MILLIS);
        for (quantile, wanted) in [(0.5, 50_000), (0.95, 95_000), (0.99, 99_000)] {
            let found = latency.quantile(quantile);
            assert!(found.abs_diff(wanted) <= wanted / 1_000 + 1, "{found} for {wanted}");
        }
        assert_eq!(latency.max(), 10 * MAX_MILLIS);
        assert_eq!(latency.sum(), 100_000 * 100_001 / 2 + 10 * MAX_MILLIS);
    }

    #[test]
    fn what_was_written_is_read_and_merged() {
        let mut latency = Latency::default();
        [0, 42, 42, 3_000, 2 * MAX_MILLIS].into_iter().for_each(|millis| latency.add(millis));
        let mut read: Latency = postcard::from_bytes(&postcard::to_stdvec(&latency).unwrap()).unwrap();
        read.merge(&latency);
        assert_eq!((read.count(), read.sum(), read.max()), (10, 2 * latency.sum(), latency.max()));
        assert_eq!(read.quantile(0.5), latency.quantile(0.5));
    }
}
