//! What records cost in billed bytes: the number that packing lowers.
//!
//! | service | unit | source |
//! |---|---|---|
//! | Firehose, Direct PUT and Kinesis as source | each record rounded up to 5 KB = 5,120 B | Firehose quotas and pricing pages |
//! | Kinesis provisioned | PUT payload units of 25 KiB, at least one a record | Kinesis Data Streams pricing page |
//! | Kinesis on-demand | each record rounded up to 1 KB = 1,024 B | Kinesis Data Streams pricing page |

use serde::Serialize;

pub use crate::limits::firehose::BILLING_STEP as FIREHOSE_STEP;
pub use crate::limits::kinesis::{ON_DEMAND_STEP, PUT_PAYLOAD_UNIT};

/// The billed bytes of some records under each of the three rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Billed {
    /// Bytes that Firehose bills.
    pub firehose: u64,
    /// PUT payload units of a provisioned Kinesis stream.
    pub put_payload_units: u64,
    /// Bytes that an on-demand Kinesis stream bills.
    pub on_demand: u64,
}

impl Billed {
    /// Each number changed in the same way.
    #[must_use]
    pub fn map(self, change: impl Fn(u64) -> u64) -> Billed {
        let Billed { firehose, put_payload_units, on_demand } = self;
        Billed {
            firehose: change(firehose),
            put_payload_units: change(put_payload_units),
            on_demand: change(on_demand),
        }
    }

    /// Adds a record of `data` bytes; Kinesis counts its partition key of `key` bytes as well.
    ///
    /// ```
    /// # use pixel_engine_core::billing::Billed;
    /// let mut billed = Billed::default();
    /// billed.add(5_121, 4);
    /// assert_eq!(billed, Billed { firehose: 10_240, put_payload_units: 1, on_demand: 6_144 });
    /// ```
    #[inline]
    pub fn add(&mut self, data: usize, key: usize) {
        let firehose = data as u64;
        let kinesis = (data + key) as u64;
        self.firehose += firehose.div_ceil(FIREHOSE_STEP) * FIREHOSE_STEP;
        self.put_payload_units += kinesis.div_ceil(PUT_PAYLOAD_UNIT).max(1);
        self.on_demand += kinesis.div_ceil(ON_DEMAND_STEP) * ON_DEMAND_STEP;
    }

    /// The PUT payload units in bytes.
    pub fn provisioned(&self) -> u64 {
        self.put_payload_units * PUT_PAYLOAD_UNIT
    }
}

impl std::ops::AddAssign for Billed {
    fn add_assign(&mut self, other: Billed) {
        self.firehose += other.firehose;
        self.put_payload_units += other.put_payload_units;
        self.on_demand += other.on_demand;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_at_every_edge() {
        let billed = |data| {
            let mut billed = Billed::default();
            billed.add(data, 0);
            (billed.firehose, billed.put_payload_units, billed.on_demand)
        };
        assert_eq!(billed(0), (0, 1, 0));
        assert_eq!(billed(1), (5_120, 1, 1_024));
        assert_eq!(billed(1_025), (5_120, 1, 2_048));
        assert_eq!(billed(5_119), (5_120, 1, 5_120));
        assert_eq!(billed(5_120), (5_120, 1, 5_120));
        assert_eq!(billed(5_121), (10_240, 1, 6_144));
        assert_eq!(billed(25_600), (25_600, 1, 25_600));
        assert_eq!(billed(25_601), (30_720, 2, 26_624));
        assert_eq!(billed(1_024_000), (1_024_000, 40, 1_024_000));
    }

    #[test]
    fn kinesis_counts_the_partition_key() {
        let mut billed = Billed::default();
        billed.add(51_200, 1);
        assert_eq!(billed.put_payload_units, 3);
        assert_eq!(billed.firehose, 51_200);
    }
}
