//! The numbers of AWS that this engine goes by, each once, with its source.
//!
//! Sizes are in bytes; a KiB is 2^10 bytes and a MiB 2^20. Where AWS writes "KB" or "MB" and means
//! these, the comment says so. A limit of one service that AWS raises on request is called a quota.

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Amazon Data Firehose.
pub mod firehose {
    use std::time::Duration;

    use super::{KIB, MIB, is_large_region};

    /// The largest record, before base64: 1,000 KiB, which is exactly 200 billing steps.
    ///
    /// Source: Firehose quotas; `Data` of the `Record` type in the Firehose API reference.
    pub const MAX_RECORD_SIZE: usize = 1_000 * KIB;

    /// Firehose bills each record as if it were rounded up to a multiple of this: "5 KB", which is
    /// 5,120 B.
    ///
    /// Source: Firehose quotas and pricing pages.
    pub const BILLING_STEP: u64 = 5 * KIB as u64;

    /// The most records in a PutRecordBatch request.
    ///
    /// Source: Firehose quotas and API reference.
    pub const MAX_REQUEST_RECORDS: usize = 500;

    /// The largest PutRecordBatch request.
    ///
    /// AWS does not say whether this is before or after base64; see
    /// [`Counted`](crate::sink::limits::Counted). Source: Firehose quotas.
    pub const MAX_REQUEST_SIZE: usize = 4 * MIB;

    /// How long Firehose buffers before it delivers an object to S3, unless told otherwise.
    ///
    /// Source: `BufferingHints` in the Firehose API reference. Hints: Firehose may deliver earlier
    /// or later.
    pub const DEFAULT_BUFFER_TIME: Duration = Duration::from_secs(300);

    /// How much Firehose buffers before it delivers an object to S3, unless told otherwise.
    ///
    /// Source: `BufferingHints` in the Firehose API reference.
    pub const DEFAULT_BUFFER_SIZE: usize = 5 * MIB;

    /// What a stream takes from producers in a second, before AWS raises it. AWS raises the three
    /// together, in proportion. A stream that reads from Kinesis has no such quota.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct DirectPutQuota {
        /// Bytes a second.
        pub bytes: u64,
        /// PutRecord and PutRecordBatch requests a second.
        pub requests: u64,
        /// Records a second.
        pub records: u64,
    }

    impl DirectPutQuota {
        /// The quota in us-east-1, us-west-2 and eu-west-1.
        ///
        /// Source: Firehose quotas.
        pub const LARGE_REGION: DirectPutQuota =
            DirectPutQuota { bytes: 5 * MIB as u64, requests: 2_000, records: 500_000 };

        /// The quota in every other region.
        ///
        /// Source: Firehose quotas.
        pub const SMALL_REGION: DirectPutQuota =
            DirectPutQuota { bytes: MIB as u64, requests: 1_000, records: 100_000 };

        /// The quota in that region.
        pub fn of_region(region: &str) -> DirectPutQuota {
            if is_large_region(region) { DirectPutQuota::LARGE_REGION } else { DirectPutQuota::SMALL_REGION }
        }
    }
}

/// Kinesis Data Streams.
pub mod kinesis {
    use std::time::Duration;

    pub use pixel_engine_kpl::MAX_RECORD_SIZE;

    use super::{KIB, MIB, is_large_region};

    /// The largest record, data and partition key, of a stream whose limit was not raised.
    /// `DescribeStreamSummary` says it as `MaxRecordSizeInKiB`.
    ///
    /// Source: "large records" in the Kinesis developer guide.
    pub const DEFAULT_MAX_RECORD_SIZE: usize = MIB;

    /// The most records in a PutRecords request.
    ///
    /// Source: Kinesis API reference.
    pub const MAX_REQUEST_RECORDS: usize = 500;

    /// The largest PutRecords request: data and partition keys, before base64.
    ///
    /// Source: PutRecords in the Kinesis API reference.
    pub const MAX_REQUEST_SIZE: usize = 10 * MIB;

    /// The largest PutRecords request that every endpoint takes. Kinesis took 5 MiB before it took
    /// [`MAX_REQUEST_SIZE`], compatible endpoints still do, and the KPL keeps to it.
    ///
    /// Source: `CollectionMaxSize` in `KinesisProducerConfiguration.java` of
    /// awslabs/amazon-kinesis-producer.
    pub const COMPATIBLE_REQUEST_SIZE: usize = 5 * MIB;

    /// Bytes of data and partition keys that a shard takes in a second.
    ///
    /// Source: "1 MiB per second" in CreateStream of the Kinesis API reference; the limiter of the
    /// KPL counts the same.
    pub const SHARD_BYTES_PER_SECOND: u64 = MIB as u64;

    /// Records that a shard takes in a second.
    ///
    /// Source: Kinesis quotas.
    pub const SHARD_RECORDS_PER_SECOND: u64 = 1_000;

    /// Bytes that all readers of a shard without enhanced fan-out share in a second.
    ///
    /// Source: Kinesis quotas.
    pub const SHARD_READ_BYTES_PER_SECOND: u64 = 2 * MIB as u64;

    /// The average time from a put to a reader without enhanced fan-out, for each reader that
    /// shares the shard: 200 ms with one reader, a second with five, since a shard answers five
    /// GetRecords calls a second.
    ///
    /// Source: "enhanced fan-out consumers" in the Kinesis developer guide.
    pub const SHARED_READ_DELAY: Duration = Duration::from_millis(200);

    /// How long a channel collects records of an on-demand stream before it delivers them, unless
    /// told otherwise.
    ///
    /// Source: `DataFreshnessInSeconds` of `AWS::Kinesis::Channel` in the CloudFormation schemas.
    pub const CHANNEL_FRESHNESS: Duration = Duration::from_secs(300);

    /// A provisioned stream is billed by PUT payload units of this size, at least one for each
    /// record: "25 KB", which is 25,600 B.
    ///
    /// Source: Kinesis Data Streams pricing page.
    pub const PUT_PAYLOAD_UNIT: u64 = 25 * KIB as u64;

    /// An on-demand stream is billed as if each record were rounded up to a multiple of this: "1
    /// KB", which is 1,024 B.
    ///
    /// Source: Kinesis Data Streams pricing page.
    pub const ON_DEMAND_STEP: u64 = KIB as u64;

    /// Bytes a second up to which on-demand streams grow in that region.
    ///
    /// Source: Kinesis quotas, "10 GB" and "200 MB".
    pub fn on_demand_bytes_per_second(region: &str) -> u64 {
        if is_large_region(region) { 10_000_000_000 } else { 200_000_000 }
    }
}

/// AWS Lambda.
pub mod lambda {
    use std::time::Duration;

    use super::MIB;

    /// The largest reply of a function that is waited for: "6 MB", which is 6 MiB.
    ///
    /// Source: Lambda quotas. AWS's own runtime interface emulator allows 100 bytes more
    /// (`MaxPayloadSize`), and so do the service's messages; nobody promises them.
    pub const MAX_REPLY_SIZE: usize = 6 * MIB;

    /// The most records in a batch from a Kinesis stream.
    ///
    /// Source: `BatchSize` of an event source mapping in the Lambda API reference.
    pub const MAX_BATCH_RECORDS: usize = 10_000;

    /// The most bytes of data in a batch: with base64 and metadata they fill the 6 MB of a payload.
    ///
    /// Source: event source mappings in the Lambda developer guide; "large records" in the Kinesis
    /// developer guide.
    pub const MAX_BATCH_DATA: usize = 4_400_000;

    /// The longest that a batch is collected for.
    ///
    /// Source: `MaximumBatchingWindowInSeconds` of an event source mapping in the Lambda API
    /// reference.
    pub const MAX_BATCHING_WINDOW: Duration = Duration::from_secs(300);
}

/// The regions in which AWS starts with higher quotas. Source: Firehose quotas, Kinesis quotas.
fn is_large_region(region: &str) -> bool {
    ["us-east-1", "us-west-2", "eu-west-1"].contains(&region)
}

#[cfg(test)]
mod tests {
    use super::firehose::DirectPutQuota;
    use super::kinesis::on_demand_bytes_per_second;
    use super::*;

    #[test]
    fn quotas_are_larger_in_three_regions() {
        for (region, bytes, requests, records, on_demand) in [
            ("us-east-1", 5_242_880, 2_000, 500_000, 10_000_000_000),
            ("us-west-2", 5_242_880, 2_000, 500_000, 10_000_000_000),
            ("eu-west-1", 5_242_880, 2_000, 500_000, 10_000_000_000),
            ("eu-central-1", 1_048_576, 1_000, 100_000, 200_000_000),
            ("sa-east-1", 1_048_576, 1_000, 100_000, 200_000_000),
        ] {
            assert_eq!(DirectPutQuota::of_region(region), DirectPutQuota { bytes, requests, records }, "{region}");
            assert_eq!(on_demand_bytes_per_second(region), on_demand, "{region}");
        }
    }

    #[test]
    fn sizes_are_those_that_the_pages_of_aws_write_out() {
        assert_eq!(firehose::MAX_RECORD_SIZE, 1_024_000);
        assert_eq!(firehose::MAX_RECORD_SIZE as u64, 200 * firehose::BILLING_STEP);
        assert_eq!(
            (firehose::BILLING_STEP, kinesis::PUT_PAYLOAD_UNIT, kinesis::ON_DEMAND_STEP),
            (5_120, 25_600, 1_024)
        );
        assert_eq!((firehose::MAX_REQUEST_SIZE, kinesis::MAX_REQUEST_SIZE), (4_194_304, 10_485_760));
        assert_eq!(kinesis::MAX_RECORD_SIZE, kinesis::MAX_REQUEST_SIZE, "one record of the largest size is a request");
    }
}
