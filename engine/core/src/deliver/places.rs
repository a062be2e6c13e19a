//! Where records are meant to go.

use std::sync::Arc;

use crate::record::Record;
use pixel_engine_kpl::{ShardMap, SharedShardMap};

/// Which bucket and which shard a record is meant for, by the map of one moment.
pub(super) struct Places(Option<Arc<ShardMap>>);

impl Places {
    pub(super) fn new(shards: Option<&SharedShardMap>) -> Places {
        Places(shards.map(SharedShardMap::current))
    }

    /// The index of the bucket: the shard, or 0 for the whole stream.
    pub(super) fn bucket(&self, record: &Record) -> usize {
        match (&self.0, record.key()) {
            (Some(map), Some(key)) => map.shard_of(key.explicit_hash_key),
            _ => 0,
        }
    }

    /// How many buckets there are.
    pub(super) fn buckets(&self) -> usize {
        self.0.as_ref().map_or(1, |map| map.len())
    }

    /// Whether the stream's shards are known.
    pub(super) fn has_map(&self) -> bool {
        self.0.as_ref().is_some_and(|map| map.shards().iter().all(|shard| !shard.id.is_empty()))
    }

    /// Whether the shard that took a record is another than the one it was meant for.
    pub(super) fn is_other_shard(&self, record: &Record, shard: &str) -> bool {
        self.0.as_ref().is_some_and(|map| map.shards()[self.bucket(record)].id != shard)
    }
}

/// The bytes that a shard's quota is about: "including partition keys". Source: PutRecords.
pub(super) fn counted_for_rate(record: &Record) -> usize {
    record.data_len() + record.key_len()
}
