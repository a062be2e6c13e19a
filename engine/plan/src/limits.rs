//! What Kinesis and Firehose take in a second, and what they add in delay. MiB are 2^20 bytes.

use serde::Serialize;

const MIB: f64 = 1_048_576.0;

/// Hours of a month on AWS's bills and in its price calculator: 8,760 / 12.
pub const HOURS_PER_MONTH: f64 = 730.0;
/// The same in seconds.
pub const SECONDS_PER_MONTH: f64 = HOURS_PER_MONTH * 3_600.0;

/// Bytes that a shard takes in a second: "1 MiB per second". Source: CreateStream API reference; the KPL's
/// limiter counts the same.
pub const SHARD_BYTES: f64 = MIB;
/// Records that a shard takes in a second. Source: Kinesis Data Streams quotas.
pub const SHARD_RECORDS: f64 = 1_000.0;
/// Bytes that all readers of a shard without enhanced fan-out share in a second. Source: Kinesis quotas.
pub const SHARD_READ_BYTES: f64 = 2.0 * MIB;
/// Records and bytes, with partition keys, of a PutRecords call. Source: Kinesis API reference; it takes 10 MiB
/// now, and this engine and the KPL keep to the 5 MiB of before.
pub const PUT_RECORDS: (f64, f64) = (500.0, 5.0 * MIB);
/// Records and bytes of a PutRecordBatch call. Source: Firehose quotas. This engine counts the bytes as JSON with
/// base64, since AWS does not say how they are counted.
pub const PUT_RECORD_BATCH: (f64, f64) = (500.0, 4.0 * MIB);

/// The average time from a put to a reader without enhanced fan-out, for each reader that shares the shard: 200 ms
/// with one, a second with five. Source: Kinesis developer guide, "enhanced fan-out consumers".
pub const SHARED_READ_DELAY: f64 = 0.2;

/// Firehose delivers an object when it has buffered this long or this much, unless told otherwise. Source:
/// BufferingHints of the Firehose API reference: 300 s and 5 MiB.
pub const FIREHOSE_BUFFER_SECONDS: f64 = 300.0;
/// The bytes of the same.
pub const FIREHOSE_BUFFER_BYTES: f64 = 5.0 * MIB;

/// What a Firehose stream takes from producers in a second, before AWS raises it. The three scale together. A
/// stream that reads from Kinesis has no such quota.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DirectPutQuota {
    /// Bytes.
    pub bytes: f64,
    /// PutRecord and PutRecordBatch calls.
    pub requests: f64,
    /// Records.
    pub records: f64,
}

/// The quota of a region. Source: Firehose quotas.
pub fn direct_put_quota(region: &str) -> DirectPutQuota {
    if is_large(region) {
        DirectPutQuota { bytes: 5.0 * MIB, requests: 2_000.0, records: 500_000.0 }
    } else {
        DirectPutQuota { bytes: MIB, requests: 1_000.0, records: 100_000.0 }
    }
}

/// Bytes that on-demand streams take in a second in that region, at most. Source: Kinesis quotas, 10 GB and 200 MB.
pub fn on_demand_bytes(region: &str) -> f64 {
    if is_large(region) { 10e9 } else { 200e6 }
}

fn is_large(region: &str) -> bool {
    ["us-east-1", "us-west-2", "eu-west-1"].contains(&region)
}

/// Records of a batch for Lambda, and bytes of it before base64: 6 MB of payload are 4.4 MB of data. Source: Lambda
/// developer guide, event source mappings; Kinesis developer guide, large records.
pub const LAMBDA_BATCH: (f64, f64) = (10_000.0, 4.4e6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_larger_in_three_regions() {
        assert_eq!(direct_put_quota("eu-west-1").bytes, 5_242_880.0);
        assert_eq!(direct_put_quota("eu-west-1").requests, 2_000.0);
        assert_eq!(direct_put_quota("eu-central-1").bytes, 1_048_576.0);
        assert_eq!(direct_put_quota("eu-central-1").records, 100_000.0);
        assert_eq!((on_demand_bytes("us-west-2"), on_demand_bytes("sa-east-1")), (10e9, 200e6));
    }
}
