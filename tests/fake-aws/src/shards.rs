//! The shards of a Kinesis stream: who has which hash keys, and how that changes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use crate::bucket::{Bucket, take_all};

/// What a shard takes; what is `None` is without a limit. A second's worth may come at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShardQuota {
    /// Bytes of records and partition keys, a second.
    pub bytes: Option<u64>,
    /// Records a second.
    pub records: Option<u64>,
}

impl ShardQuota {
    /// Takes all there is.
    pub const UNLIMITED: ShardQuota = ShardQuota { bytes: None, records: None };

    fn buckets(self) -> (Option<Bucket>, Option<Bucket>) {
        let now = Instant::now();
        let bucket = |rate: Option<u64>| rate.map(|per_second| Bucket::new(per_second, now));
        (bucket(self.bytes), bucket(self.records))
    }
}

impl Default for ShardQuota {
    /// 1 MiB/s and 1,000 records/s. Source: Kinesis quotas, CreateStream.
    fn default() -> ShardQuota {
        ShardQuota { bytes: Some(1 << 20), records: Some(1000) }
    }
}

/// A shard as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shard {
    /// Such as `shardId-000000000000`.
    pub id: Arc<str>,
    /// The hash keys that it takes, or took.
    pub hash_keys: RangeInclusive<u128>,
    /// Whether it takes records: one that was split or merged does not.
    pub open: bool,
    /// The shard that it came from, the first one in the case of a merge.
    pub parent: Option<Arc<str>>,
    /// The second one, in the case of a merge.
    pub adjacent_parent: Option<Arc<str>>,
    /// The sequence number from which on it takes records.
    pub(crate) first_sequence: u64,
    /// Of a closed shard.
    pub(crate) last_sequence: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    shard: Shard,
    bytes: Option<Bucket>,
    records: Option<Bucket>,
}

/// All shards that a stream ever had.
#[derive(Debug)]
pub(crate) struct ShardMap {
    entries: Vec<Entry>,
    /// Those that are open, by hash key.
    open: Vec<usize>,
    quota: ShardQuota,
    /// The next record of a stream that ignores keys goes to that one of the open shards.
    turn: usize,
}

impl ShardMap {
    pub(crate) fn new(count: usize) -> ShardMap {
        assert!(count > 0, "a stream has at least one shard");
        let mut map = ShardMap { entries: Vec::new(), open: Vec::new(), quota: ShardQuota::default(), turn: 0 };
        // floor(2^128 / count), where 2^128 is one more than fits.
        let divisor = count as u128;
        let share = (u128::MAX / divisor).wrapping_add(u128::from(u128::MAX % divisor == divisor - 1));
        for index in 0..divisor {
            let start = index.wrapping_mul(share);
            let end = if index + 1 == divisor { u128::MAX } else { start + share - 1 };
            map.add(start..=end, None, None, 0);
        }
        map
    }

    pub(crate) fn set_quota(&mut self, quota: ShardQuota) {
        self.quota = quota;
        for entry in &mut self.entries {
            (entry.bytes, entry.records) = quota.buckets();
        }
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.entries.iter().map(|entry| &entry.shard)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The open shard that has that hash key.
    pub(crate) fn route(&self, hash_key: u128) -> usize {
        let after = self.open.partition_point(|&index| *self.entries[index].shard.hash_keys.start() <= hash_key);
        self.open[after - 1]
    }

    /// The open shards one after the other.
    pub(crate) fn take_turn(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.open.len();
        self.open[self.turn]
    }

    pub(crate) fn id(&self, index: usize) -> &Arc<str> {
        &self.entries[index].shard.id
    }

    /// Whether the shard takes that record now; if so it is taken from the quota.
    pub(crate) fn admits(&mut self, index: usize, bytes: usize, now: Instant) -> bool {
        let Entry { bytes: byte_bucket, records, .. } = &mut self.entries[index];
        take_all([(records, 1), (byte_bucket, bytes as u64)], now)
    }

    /// Closes a shard and opens two that share its hash keys.
    pub(crate) fn split(&mut self, id: &str, sequence: u64) -> [Arc<str>; 2] {
        let parent = self.close(id, sequence);
        let (start, end) = parent.hash_keys.into_inner();
        assert!(start < end, "{id} has one hash key: it cannot be split");
        let middle = start + (end - start) / 2;
        [start..=middle, middle + 1..=end]
            .map(|hash_keys| self.add(hash_keys, Some(Arc::clone(&parent.id)), None, sequence))
    }

    /// Closes two neighbours and opens one that has the hash keys of both.
    pub(crate) fn merge(&mut self, id: &str, adjacent: &str, sequence: u64) -> Arc<str> {
        let (one, other) = (self.close(id, sequence), self.close(adjacent, sequence));
        let (low, high) = if one.hash_keys.start() < other.hash_keys.start() { (&one, &other) } else { (&other, &one) };
        assert_eq!(Some(*high.hash_keys.start()), low.hash_keys.end().checked_add(1), "{id} and {adjacent} are apart");
        let hash_keys = *low.hash_keys.start()..=*high.hash_keys.end();
        self.add(hash_keys, Some(Arc::clone(&one.id)), Some(Arc::clone(&other.id)), sequence)
    }

    fn close(&mut self, id: &str, sequence: u64) -> Shard {
        let index = self.open.iter().position(|&index| *self.entries[index].shard.id == *id);
        let index = index.unwrap_or_else(|| panic!("{id} is not an open shard"));
        let shard = &mut self.entries[self.open.remove(index)].shard;
        shard.open = false;
        shard.last_sequence = Some(sequence);
        shard.clone()
    }

    fn add(
        &mut self,
        hash_keys: RangeInclusive<u128>,
        parent: Option<Arc<str>>,
        adjacent_parent: Option<Arc<str>>,
        first_sequence: u64,
    ) -> Arc<str> {
        let index = self.entries.len();
        let id: Arc<str> = format!("shardId-{index:012}").into();
        let place = self.open.partition_point(|&open| self.entries[open].shard.hash_keys.start() < hash_keys.start());
        self.open.insert(place, index);
        let shard = Shard {
            id: Arc::clone(&id),
            hash_keys,
            open: true,
            parent,
            adjacent_parent,
            first_sequence,
            last_sequence: None,
        };
        let (bytes, records) = self.quota.buckets();
        self.entries.push(Entry { shard, bytes, records });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_ranges(map: &ShardMap) -> Vec<(u128, u128)> {
        let mut ranges: Vec<_> =
            map.shards().filter(|shard| shard.open).map(|shard| shard.hash_keys.clone().into_inner()).collect();
        ranges.sort_unstable();
        ranges
    }

    fn assert_every_key_has_one_shard(map: &ShardMap) {
        let ranges = open_ranges(map);
        assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, u128::MAX));
        assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{ranges:?}");
        for (start, end) in ranges {
            for key in [start, start + (end - start) / 3, end] {
                let shard = &map.entries[map.route(key)].shard;
                assert!(shard.open && shard.hash_keys.contains(&key));
            }
        }
    }

    #[test]
    fn new_streams_divide_the_keys_evenly() {
        for count in [1, 2, 3, 4, 7, 64, 1000] {
            let map = ShardMap::new(count);
            assert_eq!(map.open_count(), count);
            assert_every_key_has_one_shard(&map);
        }
        // As Kinesis answers for two and for three shards.
        assert_eq!(open_ranges(&ShardMap::new(2))[1].0, 170_141_183_460_469_231_731_687_303_715_884_105_728);
        assert_eq!(open_ranges(&ShardMap::new(3))[0].1, 113_427_455_640_312_821_154_458_202_477_256_070_484);
    }

    #[test]
    fn every_key_has_one_shard_whatever_is_split_and_merged() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut map = ShardMap::new(3);
        for step in 0..200 {
            let place = random.usize(..map.open_count());
            let id = Arc::clone(map.id(map.open[place]));
            if map.open_count() > 1 && random.bool() {
                let neighbour = if place == 0 { 1 } else { place - 1 };
                let neighbour = Arc::clone(map.id(map.open[neighbour]));
                map.merge(&id, &neighbour, step);
            } else {
                map.split(&id, step);
            }
            assert_every_key_has_one_shard(&map);
        }
    }
}
