//! The `kpl` container: which lines go into which KPL aggregate.
//!
//! An aggregate's size is known exactly before a byte of it is written, so it is filled to the last
//! line that fits. Kinesis counts the partition key with the data, and so does the limit here: a
//! 51,200 B aggregate stays within two 25 KiB PUT payload units under either reading of the price
//! list.

use std::sync::Arc;
use std::time::Instant;

use super::Packed;
use crate::ack::AckToken;
use crate::encode::EncodedBlock;
use pixel_engine_kpl::md5::md5_many;
use pixel_engine_kpl::{AggregateSize, HashKeys, PartitionKey, SharedShardMap};

/// Fills aggregates in the order of the lines; each goes to the shard whose turn it is.
pub struct AggregatePacker {
    limit: usize,
    shards: SharedShardMap,
    keys: Option<HashKeys>,
    open: Option<OpenAggregate>,
}

impl AggregatePacker {
    /// Aggregates of at most `limit` bytes, partition key included.
    pub fn new(limit: usize, shards: SharedShardMap) -> AggregatePacker {
        AggregatePacker { limit, shards, keys: None, open: None }
    }

    /// Adds the block's lines; every aggregate that is full goes to `emit`.
    pub fn add(&mut self, block: &Arc<EncodedBlock>, token: &AckToken, emit: &mut impl FnMut(Packed)) {
        let mut first = 0;
        for index in 0..block.line_count() {
            let len = block.line_len(index);
            if !self.open.as_ref().is_some_and(|open| open.has_room(len, self.limit)) {
                if let Some(open) = &mut self.open
                    && first < index
                {
                    open.packed.push(block, first..index, token);
                }
                self.flush(emit);
                first = index;
                let key = self.next_key(block.lines(index..index + 1));
                self.open = Some(OpenAggregate::new(key));
            }
            if let Some(open) = &mut self.open {
                open.size.push(len);
            }
        }
        if let Some(open) = &mut self.open
            && first < block.line_count()
        {
            open.packed.push(block, first..block.line_count(), token);
        }
    }

    /// Closes the open aggregate, if there is one.
    pub fn flush(&mut self, emit: &mut impl FnMut(Packed)) {
        if let Some(open) = self.open.take() {
            emit(open.packed);
        }
    }

    /// When the oldest line of the open aggregate was read.
    pub fn oldest(&self) -> Option<Instant> {
        self.open.as_ref().and_then(|open| open.packed.oldest)
    }

    /// Closes the open aggregate if it has a line that was read at that time or before.
    pub fn flush_older(&mut self, time: Instant, emit: &mut impl FnMut(Packed)) {
        if let Some(open) = self.open.take_if(|open| open.packed.is_as_old_as(time)) {
            emit(open.packed);
        }
    }

    /// The first key comes from the first line, so that the same input gives the same records, and
    /// many short runs do not all begin on one shard.
    fn next_key(&mut self, line: &[u8]) -> PartitionKey {
        let keys = self.keys.get_or_insert_with(|| {
            let start = u128::from_be_bytes(md5_many(&[line])[0]);
            HashKeys::new(start, self.shards.clone())
        });
        keys.next_key()
    }
}

/// An aggregate that takes more lines.
pub(super) struct OpenAggregate {
    pub(super) packed: Packed,
    pub(super) size: AggregateSize,
}

impl OpenAggregate {
    pub(super) fn new(key: PartitionKey) -> OpenAggregate {
        OpenAggregate { size: AggregateSize::new(&key), packed: Packed { key: Some(key), ..Packed::default() } }
    }

    /// Whether a line of `len` bytes fits into `limit` bytes, partition key included.
    #[inline]
    pub(super) fn has_room(&self, len: usize, limit: usize) -> bool {
        self.size.len_with(len) + HashKeys::KEY_LEN <= limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ack::Acknowledgements;
    use crate::encode::tests::encoded;
    use pixel_engine_kpl as kpl;

    /// Bytes of the record that these lines make, wrapped or not, without its key; by making it.
    fn size_of(lines: &[&[u8]], key: &PartitionKey) -> usize {
        if let [line] = lines {
            return line.len();
        }
        let mut bytes = Vec::new();
        kpl::write_aggregate(&mut bytes, key, lines.iter().copied());
        kpl::seal(&mut [&mut bytes]);
        bytes.len()
    }

    proptest! {
        #[test]
        fn aggregates_hold_every_line_in_order_and_are_filled_to_the_last_that_fits(
            blocks in prop::collection::vec(prop::collection::vec(1..700_usize, 0..40), 0..5),
            limit in 704..6_000_usize,
        ) {
            let all = Acknowledgements::default();
            let mut packer = AggregatePacker::new(limit, SharedShardMap::default());
            let mut records: Vec<Packed> = Vec::new();
            let mut wanted: Vec<Vec<u8>> = Vec::new();
            for (number, lengths) in blocks.iter().enumerate() {
                let lines: Vec<Vec<u8>> = lengths.iter().enumerate()
                    .map(|(place, &len)| vec![(number * 37 + place) as u8; len]).collect();
                let token = all.token(0, number as u64..number as u64 + 1);
                packer.add(&encoded(&lines), &token, &mut |packed| records.push(packed));
                token.delivered();
                wanted.extend(lines);
            }
            packer.flush(&mut |packed| records.push(packed));
            packer.flush(&mut |_| panic!("nothing is open"));

            let mut next = wanted.iter();
            for packed in &records {
                let key = packed.key.as_ref().expect("an aggregate has a key");
                let lines: Vec<&[u8]> = packed.lines.each_line().collect();
                for line in &lines {
                    prop_assert_eq!(Some(*line), next.next().map(Vec::as_slice));
                }
                prop_assert!(!lines.is_empty());
                prop_assert!(size_of(&lines, key) + key.key.len() <= limit);
                if let Some(following) = next.clone().next() {
                    let more: Vec<&[u8]> = lines.iter().copied().chain([following.as_slice()]).collect();
                    prop_assert!(size_of(&more, key) + key.key.len() > limit, "another line would have fitted");
                }
            }
            prop_assert_eq!(next.next(), None);
            let mut keys: Vec<u128> =
                records.iter().map(|packed| packed.key.as_ref().expect("checked").explicit_hash_key).collect();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), records.len());

            let without_lines = blocks.iter().take_while(|lengths| lengths.is_empty()).count() as u64;
            prop_assert_eq!(all.position(0).offset, without_lines);
            records.into_iter().flat_map(|packed| packed.tokens).for_each(AckToken::delivered);
            prop_assert_eq!(all.position(0).offset, blocks.len() as u64);
        }
    }

    #[test]
    fn the_same_lines_get_the_same_keys() {
        let keys = |lines: &[Vec<u8>]| {
            let mut packer = AggregatePacker::new(100, SharedShardMap::default());
            let token = Acknowledgements::default().token(0, 0..1);
            let mut keys = Vec::new();
            let mut emit = |packed: Packed| keys.push(packed.key);
            packer.add(&encoded(lines), &token, &mut emit);
            packer.flush(&mut emit);
            token.delivered();
            keys
        };
        let lines: Vec<Vec<u8>> = (0..20).map(|place| vec![place; 60]).collect();
        assert_eq!(keys(&lines), keys(&lines));
        assert_ne!(keys(&lines)[0], keys(&lines[1..])[0], "the first line decides where keys begin");
    }
}
