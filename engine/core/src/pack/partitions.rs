//! The `kpl` container where lines are partitioned by a value: one open aggregate for each shard.
//!
//! A line goes to the shard that takes the hash of its value, and lines of one shard keep their
//! order. All aggregates of a shard have one key: with a `ParallelizationFactor` above 1, Lambda
//! keeps the order of each partition key alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Packed;
use super::aggregates::OpenAggregate;
use crate::ack::AckToken;
use crate::encode::EncodedBlock;
use pixel_engine_kpl::{PartitionKey, Shard, ShardMap, SharedShardMap};

/// How many blocks an aggregate has lines of at most.
///
/// An open aggregate holds its blocks in memory, and their acknowledgement back. 16 blocks have 16
/// MiB of input, enough to fill the aggregates of 51,200 B of some 330 shards; with more shards,
/// aggregates are smaller. 32 blocks of JSON lines for thousands of shards took 200 MB with two
/// threads, 16 take 150 MB.
pub const MAX_BLOCKS: u64 = 16;

/// Fills an aggregate for each shard.
pub struct PartitionPacker {
    limit: usize,
    shards: SharedShardMap,
    /// The map by which `open` has its places.
    map: Arc<ShardMap>,
    open: Vec<Option<Open>>,
    /// The blocks in which aggregates were opened, and their shards. Some of them are closed since.
    opened: VecDeque<(u64, usize)>,
    /// The number of the block at hand.
    block: u64,
}

struct Open {
    aggregate: OpenAggregate,
    /// The number of the block that it was opened in.
    opened: u64,
}

impl PartitionPacker {
    /// Aggregates of at most `limit` bytes, partition key included.
    pub fn new(limit: usize, shards: SharedShardMap) -> PartitionPacker {
        let map = shards.current();
        PartitionPacker { limit, shards, open: places(&map), map, opened: VecDeque::new(), block: 0 }
    }

    /// Adds the lines of a block that has a hash key for each; every aggregate that is full, has
    /// lines of [`MAX_BLOCKS`], or was packed by a map that has been replaced goes to `emit`.
    ///
    /// Returns whether one went because of its age: it should not wait for others any longer.
    pub fn add(&mut self, block: &Arc<EncodedBlock>, token: &AckToken, emit: &mut impl FnMut(Packed)) -> bool {
        let map = self.shards.current();
        if !Arc::ptr_eq(&map, &self.map) {
            // Before any line by the new map, for the order's sake.
            self.flush(emit);
            self.open = places(&map);
            self.map = map;
        }
        let hash_keys = block.hash_keys().expect("lines are hashed where they are partitioned");
        assert_eq!(hash_keys.len(), block.line_count(), "each line has a hash key");
        for (index, &hash_key) in hash_keys.iter().enumerate() {
            let shard = self.map.shard_of(hash_key);
            let len = block.line_len(index);
            let place = &mut self.open[shard];
            if let Some(full) = place.take_if(|open| !open.aggregate.has_room(len, self.limit)) {
                emit(full.aggregate.packed);
            }
            let open = place.get_or_insert_with(|| {
                self.opened.push_back((self.block, shard));
                Open { aggregate: OpenAggregate::new(key_of(&self.map.shards()[shard])), opened: self.block }
            });
            open.aggregate.size.push(len);
            open.aggregate.packed.push(block, index..index + 1, token);
        }
        self.block += 1;
        self.close_old(emit)
    }

    /// Closes every open aggregate.
    pub fn flush(&mut self, emit: &mut impl FnMut(Packed)) {
        self.opened.clear();
        self.open.iter_mut().filter_map(Option::take).for_each(|open| emit(open.aggregate.packed));
    }

    /// When the oldest line of all open aggregates was read.
    pub fn oldest(&self) -> Option<Instant> {
        self.open.iter().flatten().filter_map(|open| open.aggregate.packed.oldest).min()
    }

    /// Closes every aggregate that has a line that was read at that time or before.
    pub fn flush_older(&mut self, time: Instant, emit: &mut impl FnMut(Packed)) {
        for place in &mut self.open {
            if let Some(open) = place.take_if(|open| open.aggregate.packed.is_as_old_as(time)) {
                emit(open.aggregate.packed);
            }
        }
    }

    fn close_old(&mut self, emit: &mut impl FnMut(Packed)) -> bool {
        let mut any = false;
        while let Some((opened, shard)) = self.opened.pop_front_if(|(opened, _)| *opened + MAX_BLOCKS <= self.block) {
            if let Some(old) = self.open[shard].take_if(|open| open.opened == opened) {
                emit(old.aggregate.packed);
                any = true;
            }
        }
        any
    }
}

fn places(map: &ShardMap) -> Vec<Option<Open>> {
    std::iter::repeat_with(|| None).take(map.len()).collect()
}

/// The one key of a shard's aggregates: the middle of its range.
fn key_of(shard: &Shard) -> PartitionKey {
    PartitionKey::of_hash_key(shard.hash_key_at(1 << 127))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{any_cuts, map_cut_at};
    use super::*;
    use crate::ack::Acknowledgements;
    use crate::encode::tests::{encoded, encoded_with_keys};
    use pixel_engine_kpl::{self as kpl, HashKeys};

    /// The bytes of the record that is made of those lines.
    fn size_of(lines: &[&[u8]], key: &PartitionKey) -> usize {
        if let [line] = lines {
            return line.len() + key.key.len();
        }
        let mut bytes = Vec::new();
        kpl::write_aggregate(&mut bytes, key, lines.iter().copied());
        bytes.len() + key.key.len()
    }

    /// The key and the number of a line that [`line`] made.
    fn read(line: &[u8]) -> (u128, u32) {
        let key = line.first_chunk().expect("16 bytes");
        let number = line[16..].first_chunk().expect("4 bytes");
        (u128::from_be_bytes(*key), u32::from_be_bytes(*number))
    }

    fn line(key: u128, number: u32, len: usize) -> (Vec<u8>, u128) {
        let mut line = [&key.to_be_bytes()[..], &number.to_be_bytes()].concat();
        line.resize(len.max(20), b'x');
        (line, key)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn lines_of_a_key_are_in_one_shard_in_order_and_every_line_once(
            maps in prop::collection::vec(any_cuts(), 1..4),
            keys in prop::collection::vec(any::<u128>(), 1..40),
            // The lines of each block: which key, how long. Many blocks have none or few.
            blocks in prop::collection::vec(
                prop::collection::vec((any::<prop::sample::Index>(), 20..300_usize), 0..30), 1..120,
            ),
            limit in 304..4_000_usize,
        ) {
            let maps: Vec<ShardMap> = maps.iter().map(|cuts| map_cut_at(cuts)).collect();
            let shards = SharedShardMap::new(maps[0].clone());
            let mut packer = PartitionPacker::new(limit, shards.clone());
            let all = Acknowledgements::default();
            // Each record with the number of the block that it came with.
            let mut records: Vec<(usize, Packed)> = Vec::new();
            let mut wanted: Vec<(u128, u32)> = Vec::new();
            let mut blocks_of_lines: Vec<usize> = Vec::new();
            let mut map_of_block = Vec::new();
            for (number, lines) in blocks.iter().enumerate() {
                let map = number * maps.len() / blocks.len();
                if map_of_block.last().is_some_and(|&before| before != map) {
                    shards.replace(maps[map].clone());
                }
                map_of_block.push(map);
                let lines: Vec<(Vec<u8>, u128)> = lines.iter().map(|(key, len)| {
                    let key = *key.get(&keys);
                    wanted.push((key, wanted.len() as u32));
                    blocks_of_lines.push(number);
                    line(key, wanted.len() as u32 - 1, *len)
                }).collect();
                let token = all.token(0, number as u64..number as u64 + 1);
                packer.add(&encoded_with_keys(&lines), &token, &mut |packed| records.push((number, packed)));
                token.delivered();
            }
            packer.flush(&mut |packed| records.push((blocks.len() - 1, packed)));
            packer.flush(&mut |_| panic!("nothing is open"));

            let mut found: Vec<(u128, u32)> = Vec::new();
            for (emitted, packed) in &records {
                let key = packed.key.as_ref().expect("an aggregate has a key");
                let lines: Vec<&[u8]> = packed.lines.each_line().collect();
                prop_assert!(!lines.is_empty());
                prop_assert!(size_of(&lines, key) <= limit);
                let of_record: Vec<(u128, u32)> = lines.iter().map(|line| read(line)).collect();
                let blocks: Vec<usize> = of_record.iter().map(|&(_, number)| blocks_of_lines[number as usize]).collect();
                // One map, one shard of it, and the shard's own key.
                let map = &maps[map_of_block[blocks[0]]];
                prop_assert_eq!(map_of_block[blocks[0]], map_of_block[blocks[blocks.len() - 1]]);
                let shard = map.shard_of(key.explicit_hash_key);
                prop_assert!(of_record.iter().all(|&(key, _)| map.shard_of(key) == shard));
                prop_assert_eq!(key, &key_of(&map.shards()[shard]));
                // A cold shard holds nothing back.
                prop_assert!((*emitted - blocks[0]) < MAX_BLOCKS as usize, "{emitted} {blocks:?}");
                // A share for each block, and no more.
                let mut distinct = blocks.clone();
                distinct.dedup();
                prop_assert_eq!(packed.tokens.len(), distinct.len());
                found.extend(of_record);
            }
            for key in &keys {
                let of_key = |lines: &[(u128, u32)]| -> Vec<u32> {
                    lines.iter().filter(|(other, _)| other == key).map(|&(_, number)| number).collect()
                };
                prop_assert_eq!(of_key(&found), of_key(&wanted), "in order, each once");
            }
            prop_assert_eq!(found.len(), wanted.len());

            let without_lines = blocks.iter().take_while(|lines| lines.is_empty()).count() as u64;
            prop_assert_eq!(all.position(0).offset, without_lines);
            records.into_iter().flat_map(|(_, packed)| packed.tokens).for_each(AckToken::delivered);
            prop_assert_eq!(all.position(0).offset, blocks.len() as u64);
        }
    }

    #[test]
    fn aggregates_are_filled_to_the_last_line_that_fits() {
        let map = map_cut_at(&[1 << 127]);
        let mut packer = PartitionPacker::new(1_000, SharedShardMap::new(map.clone()));
        let lines: Vec<(Vec<u8>, u128)> =
            (0..500).map(|number| line(u128::from(number % 2) << 127, number, 60 + number as usize % 200)).collect();
        let token = Acknowledgements::default().token(0, 0..1);
        let mut records: Vec<Packed> = Vec::new();
        assert!(!packer.add(&encoded_with_keys(&lines), &token, &mut |packed| records.push(packed)));
        token.delivered();
        for shard in 0..2 {
            let is_of_shard =
                |packed: &&Packed| packed.key.as_ref().is_some_and(|key| map.shard_of(key.explicit_hash_key) == shard);
            let records: Vec<&Packed> = records.iter().filter(is_of_shard).collect();
            assert!(records.len() > 20);
            for pair in records.windows(2) {
                let next = pair[1].lines.each_line().next();
                let more: Vec<&[u8]> = pair[0].lines.each_line().chain(next).collect();
                assert!(size_of(&more, pair[0].key.as_ref().unwrap()) > 1_000);
            }
        }
        records.into_iter().flat_map(|packed| packed.tokens).for_each(AckToken::delivered);
        packer.flush(&mut |packed| packed.tokens.into_iter().for_each(AckToken::delivered));
    }

    #[test]
    fn what_is_old_goes_and_must_not_wait() {
        let mut packer = PartitionPacker::new(51_200, SharedShardMap::new(map_cut_at(&[1 << 127])));
        let all = Acknowledgements::default();
        let mut emitted: Vec<Packed> = Vec::new();
        for number in 0..MAX_BLOCKS {
            // Only the first block has a line of the first shard; every block holds one for the
            // second.
            let mut lines = vec![line(u128::MAX, 1, 6_000)];
            lines.extend((number == 0).then(|| line(0, 0, 30)));
            let token = all.token(0, number..number + 1);
            let hurry = packer.add(&encoded_with_keys(&lines), &token, &mut |packed| emitted.push(packed));
            token.delivered();
            assert_eq!(hurry, number + 1 == MAX_BLOCKS, "block {number}");
        }
        let line_counts: Vec<usize> = emitted.iter().map(|packed| packed.lines.line_count()).collect();
        assert_eq!(line_counts, [8, 1], "full after 8 lines, and old after 16 blocks");
        let mut rest = Vec::new();
        // Blocks of which nothing is kept make it older as well.
        for _ in 0..MAX_BLOCKS {
            let token = all.token(0, 1_000..1_001);
            packer.add(&encoded_with_keys(&[]), &token, &mut |packed| rest.push(packed.lines.line_count()));
            token.delivered();
        }
        assert_eq!(rest, [8]);
        drop(emitted);
    }

    #[test]
    #[should_panic(expected = "lines are hashed where they are partitioned")]
    fn lines_without_hash_keys_are_not_lost_silently() {
        let token = Acknowledgements::default().token(0, 0..1);
        let mut packer = PartitionPacker::new(1_000, SharedShardMap::default());
        packer.add(&encoded(&[vec![b'x'; 50]]), &token, &mut |_| {});
    }

    #[test]
    fn keys_have_the_length_that_room_is_kept_for() {
        for shard in map_cut_at(&[1, 2, 1 << 100, 1 << 127, u128::MAX]).shards() {
            assert_eq!(key_of(shard).key.len(), HashKeys::KEY_LEN);
        }
    }
}
