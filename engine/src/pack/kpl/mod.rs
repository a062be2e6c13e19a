//! The KPL's aggregated record: many user records in one Kinesis record.
//!
//! ```text
//! F3 89 9A C2 | protobuf AggregatedRecord | MD5 of the protobuf, 16 bytes
//!
//! message AggregatedRecord {
//!   repeated string partition_key_table     = 1;
//!   repeated string explicit_hash_key_table = 2;
//!   repeated Record records                 = 3;
//! }
//! message Record {
//!   required uint64 partition_key_index     = 1;
//!   optional uint64 explicit_hash_key_index = 2;
//!   required bytes  data                    = 3;
//!   repeated Tag    tags                    = 4;
//! }
//! message Tag {
//!   required string key   = 1;
//!   optional string value = 2;
//! }
//! ```
//!
//! Source: `aggregation-format.md` of awslabs/amazon-kinesis-producer. The KPL does not wrap a single user record: it
//! is the Kinesis record as it is, and neither does this module.
//!
//! A consumer drops a whole aggregate when the hash key of one of its user records is outside the shard that it came
//! from. All user records of an aggregate of ours have one [`PartitionKey`], which is also the Kinesis record's:
//! they are where the aggregate is, whatever the stream's shards.

mod decode;
mod encode;
mod shards;

use md5::Digest;

pub use decode::{Aggregate, Decoded, PlainReason, RecordError, UserRecord, decode};
pub use encode::{AggregateSize, seal, seal_with, write_aggregate};
pub use shards::{Shard, ShardMap, ShardMapError, SharedShardMap};

/// What every aggregate begins with.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The length in bytes of the MD5 that every aggregate ends with.
pub const DIGEST_LEN: usize = 16;

/// The size in bytes up to which the KPL fills an aggregate unless told otherwise: two PUT payload units of 25 KiB.
///
/// `AggregationMaxSize` in `KinesisProducerConfiguration.java` of awslabs/amazon-kinesis-producer.
pub const DEFAULT_RECORD_SIZE: usize = 51_200;

/// The least `AggregationMaxSize` in bytes that the KPL accepts.
pub const MIN_RECORD_SIZE: usize = 64;

/// The most bytes of data and partition key together that a Kinesis record can have, on a stream that allows it: a
/// stream's own limit (`MaxRecordSizeInKiB` in `DescribeStreamSummary`) is 1 MiB unless it was raised.
///
/// PutRecords in the Kinesis Data Streams API reference, and "large records" in the developer guide.
pub const MAX_RECORD_SIZE: usize = 10 * 1024 * 1024;

/// Where a Kinesis record goes: its partition key, and the hash key that decides on the shard in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    /// 1 to 256 Unicode characters. Counts towards the record's size.
    pub key: String,
    /// The record belongs to the shard whose hash key range holds this number.
    pub explicit_hash_key: u128,
}

impl PartitionKey {
    /// The explicit hash key as Kinesis takes it: decimal, `0|([1-9]\d{0,38})`.
    pub fn explicit_hash_key_text(&self) -> String {
        self.explicit_hash_key.to_string()
    }
}

/// Partition keys whose explicit hash keys are spread evenly over the 128-bit space, however many are taken.
///
/// Each hash key is the one before plus 2^128 divided by the golden ratio (a Weyl sequence): after any number of
/// keys, the widest gap between two of them is less than three times the narrowest. So a stream of any number of
/// shards gets the same share on each, without knowing them.
///
/// The partition key is the first four hexadecimal digits of the hash key. The KPL writes the constant `a` there, but
/// Lambda spreads the batches of one shard over its `ParallelizationFactor` by partition key: with one key for all,
/// one function at a time would get everything.
#[derive(Clone, Debug)]
pub struct HashKeys {
    next: u128,
}

impl HashKeys {
    /// The length in bytes of each key's [`PartitionKey::key`].
    pub const KEY_LEN: usize = 4;

    /// 2^128 divided by the golden ratio, rounded to an odd number: all 2^128 hash keys come before one comes again.
    const STEP: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

    /// Begins with the hash key `start`.
    ///
    /// Take it from the content, so that a repeated run sends the same records to the same shards, and two producers
    /// do not walk through the shards in step.
    pub fn new(start: u128) -> HashKeys {
        HashKeys { next: start }
    }

    /// The next key.
    pub fn next_key(&mut self) -> PartitionKey {
        let explicit_hash_key = self.next;
        self.next = self.next.wrapping_add(HashKeys::STEP);
        PartitionKey { key: format!("{:04x}", explicit_hash_key >> 112), explicit_hash_key }
    }
}

/// The hash key of a partition key without an explicit one: its MD5 as a big-endian number.
///
/// `PutRecord` in the Kinesis Data Streams API reference.
pub fn hash_of_partition_key(key: &str) -> u128 {
    u128::from_be_bytes(md5::Md5::digest(key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_constant_length_and_begin_with_the_start() {
        let mut keys = HashKeys::new(0);
        assert_eq!(keys.next_key(), PartitionKey { key: "0000".to_owned(), explicit_hash_key: 0 });
        let second = keys.next_key();
        assert_eq!(second.key, "9e37");
        assert_eq!(second.explicit_hash_key_text(), "210306068529402873165736369884012333109");
        assert!((0..10_000).all(|_| keys.next_key().key.len() == HashKeys::KEY_LEN));
    }

    #[test]
    fn keys_are_spread_evenly_from_any_start() {
        for start in [0, 1, u128::MAX / 3, u128::MAX] {
            for count in [2_usize, 3, 10, 100, 1_000, 4_096] {
                let mut keys = HashKeys::new(start);
                let mut taken: Vec<u128> = (0..count).map(|_| keys.next_key().explicit_hash_key).collect();
                taken.sort_unstable();
                let around = taken[0].wrapping_sub(taken[count - 1]);
                let gaps = taken.windows(2).map(|pair| pair[1] - pair[0]).chain([around]);
                let (narrowest, widest) = gaps.fold((u128::MAX, 0), |(low, high), gap| (low.min(gap), high.max(gap)));
                assert!(widest / narrowest < 3, "{count} keys from {start}");
            }
        }
    }

    #[test]
    fn the_hash_of_a_partition_key_is_its_md5() {
        // RFC 1321: MD5 of "a" is 0cc175b9c0f1b6a831c399e269772661.
        assert_eq!(hash_of_partition_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }
}
