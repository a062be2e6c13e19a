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
//! Source: `aggregation-format.md` of awslabs/amazon-kinesis-producer. The KPL does not wrap a
//! single user record: it is the Kinesis record as it is, and neither does this module.
//!
//! A consumer drops a whole aggregate when the hash key of one of its user records is outside the
//! shard that it came from. All user records of an aggregate of ours have one [`PartitionKey`],
//! which is also the Kinesis record's: they are where the aggregate is, whatever the stream's
//! shards.

mod decode;
mod encode;
pub mod md5;
mod shards;

use ::md5::Digest;

pub use decode::{Aggregate, Decoded, PlainReason, RecordError, UserRecord, decode};
pub use encode::{AggregateSize, seal, seal_with, write_aggregate};
pub use shards::{Shard, ShardMap, ShardMapError, SharedShardMap};

/// What every aggregate begins with.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The length in bytes of the MD5 that every aggregate ends with.
pub const DIGEST_LEN: usize = 16;

/// The size in bytes up to which the KPL fills an aggregate unless told otherwise: two PUT payload
/// units of 25 KiB.
///
/// `AggregationMaxSize` in `KinesisProducerConfiguration.java` of awslabs/amazon-kinesis-producer.
pub const DEFAULT_RECORD_SIZE: usize = 51_200;

/// The least `AggregationMaxSize` in bytes that the KPL accepts.
pub const MIN_RECORD_SIZE: usize = 64;

/// The most bytes of data and partition key together that a Kinesis record can have, on a stream
/// that allows it: a stream's own limit (`MaxRecordSizeInKiB` in `DescribeStreamSummary`) is 1 MiB
/// unless it was raised.
///
/// PutRecords in the Kinesis Data Streams API reference, and "large records" in the developer
/// guide.
pub const MAX_RECORD_SIZE: usize = 10 * 1024 * 1024;

/// Where a Kinesis record goes: its partition key, and the hash key that decides on the shard in
/// its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    /// 1 to 256 Unicode characters. Counts towards the record's size.
    pub key: String,
    /// The record belongs to the shard whose hash key range holds this number.
    pub explicit_hash_key: u128,
}

impl PartitionKey {
    /// A key for that hash key: its first four hexadecimal digits, [`HashKeys::KEY_LEN`] bytes.
    ///
    /// The KPL writes the constant `a`, but Lambda spreads the batches of one shard over its
    /// `ParallelizationFactor` by partition key: with one key for all, one function at a time would
    /// get everything.
    pub fn of_hash_key(explicit_hash_key: u128) -> PartitionKey {
        PartitionKey { key: format!("{:04x}", explicit_hash_key >> 112), explicit_hash_key }
    }

    /// The explicit hash key as Kinesis takes it: decimal, `0|([1-9]\d{0,38})`.
    pub fn explicit_hash_key_text(&self) -> String {
        self.explicit_hash_key.to_string()
    }
}

/// Partition keys that take every shard in turn, for aggregates and other records that may go
/// anywhere.
///
/// A shard takes 1 MiB/s however wide its range is, so each gets as many records as the others.
/// Inside its range, a shard's hash keys follow each other at a distance of the range divided by
/// the golden ratio, around its end to its start (a Weyl sequence): after any number of them, the
/// widest gap between two is less than three times the narrowest.
///
/// The default map is one shard that takes everything. Hash keys are then spread evenly over the
/// whole space: any number of equal shards gets equal shares, without knowing them.
#[derive(Clone, Debug)]
pub struct HashKeys {
    shards: SharedShardMap,
    /// The shard that is next.
    turn: usize,
    /// Where in the ranges this round's hash keys are, in 2^128ths of each.
    position: u128,
}

impl HashKeys {
    /// The length in bytes of each key's [`PartitionKey::key`].
    pub const KEY_LEN: usize = 4;

    /// 2^128 divided by the golden ratio, rounded to an odd number: all 2^128 positions come before
    /// one comes again.
    const STEP: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

    /// Begins `start` 2^128ths of the way through the shards, and through the range of each.
    ///
    /// Take `start` from the content, so that a repeated run sends the same records to the same
    /// shards, and two producers do not walk through the shards in step.
    pub fn new(start: u128, shards: SharedShardMap) -> HashKeys {
        let (_, turn) = start.carrying_mul(shards.current().len() as u128, 0);
        HashKeys { shards, turn: turn as usize, position: start }
    }

    /// The next key, for the shards as they are now.
    pub fn next_key(&mut self) -> PartitionKey {
        let map = self.shards.current();
        if self.turn >= map.len() {
            self.turn = 0;
            self.position = self.position.wrapping_add(HashKeys::STEP);
        }
        let shard = &map.shards()[self.turn];
        self.turn += 1;
        PartitionKey::of_hash_key(shard.hash_key_at(self.position))
    }
}

/// The hash key of a partition key without an explicit one: its MD5 as a big-endian number.
///
/// `PutRecord` in the Kinesis Data Streams API reference.
pub fn hash_of_partition_key(key: &str) -> u128 {
    u128::from_be_bytes(::md5::Md5::digest(key).into())
}

#[cfg(test)]
mod tests {
    use super::shards::tests::map_cut_at;
    use super::*;

    #[test]
    fn keys_have_a_constant_length_and_begin_with_the_start() {
        let mut keys = HashKeys::new(0, SharedShardMap::default());
        assert_eq!(keys.next_key(), PartitionKey { key: "0000".to_owned(), explicit_hash_key: 0 });
        let second = keys.next_key();
        assert_eq!(second.key, "9e37");
        assert_eq!(second.explicit_hash_key_text(), "210306068529402873165736369884012333109");
        assert!((0..10_000).all(|_| keys.next_key().key.len() == HashKeys::KEY_LEN));
    }

    #[test]
    fn keys_are_spread_evenly_from_any_start_without_knowing_the_shards() {
        for start in [0, 1, u128::MAX / 3, u128::MAX] {
            for count in [2_usize, 3, 10, 100, 1_000, 4_096] {
                let mut keys = HashKeys::new(start, SharedShardMap::default());
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
    fn shards_of_any_width_take_turns_and_keys_differ_inside_them() {
        // The first takes half of the space, the others ever less.
        let map = map_cut_at(&(1..=8).map(|power| u128::MAX - (u128::MAX >> power)).collect::<Vec<_>>());
        assert_eq!(map.len(), 9);
        for start in [0, u128::MAX / 2, u128::MAX] {
            let mut keys = HashKeys::new(start, SharedShardMap::new(map.clone()));
            let first = map.shard_of(keys.clone().next_key().explicit_hash_key);
            let taken: Vec<PartitionKey> = (0..9 * 20).map(|_| keys.next_key()).collect();
            for (number, key) in taken.iter().enumerate() {
                assert_eq!(map.shard_of(key.explicit_hash_key), (first + number) % 9);
            }
            // The narrowest has 65,536 / 256 partition keys.
            for shard in 0..9 {
                let mut keys: Vec<&str> = taken.iter().skip(shard).step_by(9).map(|key| key.key.as_str()).collect();
                keys.sort_unstable();
                keys.dedup();
                assert_eq!(keys.len(), 20);
            }
        }
    }

    #[test]
    fn the_next_key_goes_by_the_map_that_is_there_now() {
        let shards = SharedShardMap::new(map_cut_at(&[1 << 126, 1 << 127, 3 << 126]));
        let mut keys = HashKeys::new(u128::MAX, shards.clone());
        assert_eq!(keys.next_key().key, "ffff");
        for cuts in [&[1 << 127][..], &[], &[5, 6, 7], &[1 << 127]] {
            let map = map_cut_at(cuts);
            shards.replace(map.clone());
            // What is left of the round that was begun, then whole ones.
            while keys.turn < map.len() {
                keys.next_key();
            }
            let turns: Vec<usize> =
                (0..2 * map.len()).map(|_| map.shard_of(keys.next_key().explicit_hash_key)).collect();
            assert_eq!(turns, [(0..map.len()).collect::<Vec<_>>(), (0..map.len()).collect()].concat());
        }
    }

    #[test]
    fn the_hash_of_a_partition_key_is_its_md5() {
        // RFC 1321: MD5 of "a" is 0cc175b9c0f1b6a831c399e269772661.
        assert_eq!(hash_of_partition_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }
}
