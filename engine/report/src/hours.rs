//! Beacons and visitors by time.
//!
//! Time is cut into quarters of an hour, which make up the hours of every time zone that there is.
//! Where a log spans more than [`MAX_BUCKETS`] of them, four become one, and so on: hours then, six
//! hours, days.

use std::collections::BTreeMap;

use datasketches::hll::{HllSketch, HllType, HllUnion};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::top::Counts;

/// How long a bucket can be, in seconds; each is a multiple of the one before it.
const STEPS: [i64; 4] = [15 * 60, 60 * 60, 6 * 60 * 60, 24 * 60 * 60];

/// Two months of quarters of an hour. Beyond the longest step, more buckets are kept: some
/// 16 years of days.
const MAX_BUCKETS: usize = 6_000;

/// Sketches of 4,096 registers: a standard error of 1.6 %, in 2 KB once there are some hundred
/// visitors.
const LOG_REGISTERS: u8 = 12;

/// Beacons and visitors in each piece of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Hours {
    /// Which of [`STEPS`].
    step: usize,
    /// By the time of their beginning, in seconds since 1970.
    buckets: BTreeMap<i64, Bucket>,
}

/// What happened in a piece of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) beacons: Counts,
    pub(crate) visitors: Visitors,
}

/// About how many different visitors.
#[derive(Clone, Debug)]
pub(crate) struct Visitors(HllSketch);

impl Default for Visitors {
    fn default() -> Visitors {
        Visitors(HllSketch::new(LOG_REGISTERS, HllType::Hll4).expect("4 to 21"))
    }
}

impl Visitors {
    fn merge(&mut self, from: &Visitors) {
        let mut union = HllUnion::new(LOG_REGISTERS).expect("4 to 21");
        union.update(&self.0);
        union.update(&from.0);
        self.0 = union.to_sketch(HllType::Hll4);
    }

    /// From the registers alone: the other estimate of a sketch, which is a little better, depends on
    /// the order in which visitors came, and is lost when sketches are merged.
    pub(crate) fn estimate(&self) -> u64 {
        self.0.composite_estimate().round() as u64
    }
}

impl Hours {
    /// The piece of time that this one, in seconds since 1970, lies in; the finest there is.
    #[inline]
    pub(crate) fn quarter_of(second: i64) -> i64 {
        second - second.rem_euclid(STEPS[0])
    }

    pub(crate) fn add(&mut self, quarter: i64, counts: Counts) {
        self.bucket(quarter).beacons += counts;
    }

    pub(crate) fn add_visitor(&mut self, quarter: i64, visitor: u64) {
        self.bucket(quarter).visitors.0.update(visitor);
    }

    fn bucket(&mut self, quarter: i64) -> &mut Bucket {
        if self.buckets.len() >= MAX_BUCKETS {
            self.coarsen();
        }
        let begin = quarter - quarter.rem_euclid(STEPS[self.step]);
        self.buckets.entry(begin).or_default()
    }

    #[cold]
    fn coarsen(&mut self) {
        while self.buckets.len() >= MAX_BUCKETS && self.step + 1 < STEPS.len() {
            self.coarsen_to(self.step + 1);
        }
    }

    fn coarsen_to(&mut self, step: usize) {
        self.step = step;
        for (begin, bucket) in std::mem::take(&mut self.buckets) {
            let into = self.buckets.entry(begin - begin.rem_euclid(STEPS[step])).or_default();
            into.beacons += bucket.beacons;
            into.visitors.merge(&bucket.visitors);
        }
    }

    pub(crate) fn merge(&mut self, from: &Hours) {
        if self.step < from.step {
            self.coarsen_to(from.step);
        }
        for (begin, bucket) in &from.buckets {
            let into = self.bucket(*begin);
            into.beacons += bucket.beacons;
            into.visitors.merge(&bucket.visitors);
        }
    }

    /// How long the pieces are, in seconds.
    pub(crate) fn step_seconds(&self) -> i64 {
        STEPS[self.step]
    }

    /// What happened by larger pieces: `of` gives the beginning of the one that a time lies in.
    pub(crate) fn by(&self, of: impl Fn(i64) -> i64) -> BTreeMap<i64, Bucket> {
        let mut pieces: BTreeMap<i64, (Counts, HllUnion)> = BTreeMap::new();
        for (begin, bucket) in &self.buckets {
            let piece = pieces
                .entry(of(*begin))
                .or_insert_with(|| (Counts::default(), HllUnion::new(LOG_REGISTERS).expect("4 to 21")));
            piece.0 += bucket.beacons;
            piece.1.update(&bucket.visitors.0);
        }
        let bucket = |(beacons, union): (Counts, HllUnion)| Bucket {
            beacons,
            visitors: Visitors(union.to_sketch(HllType::Hll4)),
        };
        pieces.into_iter().map(|(begin, piece)| (begin, bucket(piece))).collect()
    }
}

impl Serialize for Visitors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Visitors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Visitors, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        HllSketch::deserialize(&bytes).map(Visitors).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn quarters_make_up_hours_and_visitors_count_once_in_each() {
        let mut hours = Hours::default();
        for (second, visitor) in [(0, 1), (900, 1), (1_800, 2), (3_600, 1)] {
            let quarter = Hours::quarter_of(second);
            hours.add(quarter, Counts { all: 1, bots: 0 });
            hours.add_visitor(quarter, visitor);
        }
        let by_hour = hours.by(|second| second - second.rem_euclid(3_600));
        let counts: Vec<_> =
            by_hour.iter().map(|(begin, hour)| (*begin, hour.beacons.all, hour.visitors.estimate())).collect();
        assert_eq!(counts, [(0, 3, 2), (3_600, 1, 1)]);
        assert_eq!(Hours::quarter_of(-1), -900);
    }

    #[test]
    fn long_spans_take_longer_pieces_and_lose_nothing() {
        let (mut hours, mut other) = (Hours::default(), Hours::default());
        for number in 0..20_000 {
            let hours = if number % 2 == 0 { &mut hours } else { &mut other };
            hours.add(Hours::quarter_of(number * 3_000), Counts { all: 1, bots: 0 });
        }
        hours.merge(&other);
        assert!(hours.buckets.len() < MAX_BUCKETS);
        assert_eq!(hours.step_seconds(), STEPS[2]);
        let days = hours.by(|second| second - second.rem_euclid(DAY));
        assert_eq!(days.values().map(|day| day.beacons.all).sum::<u64>(), 20_000);
    }

    #[test]
    fn many_visitors_are_estimated() {
        let mut hours = Hours::default();
        (0..50_000_u64).for_each(|visitor| hours.add_visitor(0, visitor));
        let estimate = hours.by(|second| second)[&0].visitors.estimate();
        assert!((estimate as f64 / 50_000.0 - 1.0).abs() < 0.05, "{estimate}");
    }
}
