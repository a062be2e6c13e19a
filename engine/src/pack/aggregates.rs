//! The `kpl` container: which lines go into which KPL aggregate.
//!
//! An aggregate's size is known exactly before a byte of it is written, so it is filled to the last line that
//! fits. Kinesis counts the partition key with the data, and so does the limit here: a 51,200 B aggregate
//! stays within two 25 KiB PUT payload units under either reading of the price list.

use std::sync::Arc;

use super::Packed;
use super::kpl::{AggregateSize, HashKeys, PartitionKey};
use super::md5::md5_many;
use crate::ack::AckToken;
use crate::encode::block::EncodedBlock;

/// Fills aggregates in the order of the lines.
pub struct AggregatePacker {
    limit: usize,
    keys: Option<HashKeys>,
    open: Option<Open>,
}

struct Open {
    packed: Packed,
    key: PartitionKey,
    size: AggregateSize,
}

impl AggregatePacker {
    /// Aggregates of at most `limit` bytes, partition key included.
    pub fn new(limit: usize) -> AggregatePacker {
        AggregatePacker { limit, keys: None, open: None }
    }

    /// Adds the block's lines; every aggregate that is full goes to `emit`.
    pub fn add(&mut self, block: &Arc<EncodedBlock>, token: &AckToken, emit: &mut impl FnMut(Packed)) {
        let mut first = 0;
        for index in 0..block.line_count() {
            let length = block.line_start(index + 1) - block.line_start(index);
            let fits = |open: &Open| open.size.len_with(length) + open.key.key.len() <= self.limit;
            if !self.open.as_ref().is_some_and(fits) {
                if let Some(open) = &mut self.open
                    && first < index
                {
                    open.packed.push(block, first..index, token);
                }
                self.flush(emit);
                first = index;
                let key = self.next_key(block.lines(index..index + 1));
                self.open = Some(Open { packed: Packed::default(), size: AggregateSize::new(&key), key });
            }
            if let Some(open) = &mut self.open {
                open.size.push(length);
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
        if let Some(Open { packed, key, .. }) = self.open.take() {
            emit(Packed { key: Some(key), ..packed });
        }
    }

    /// The first key comes from the first line, so that the same input gives the same records, and many short
    /// runs do not all begin on one shard.
    fn next_key(&mut self, line: &[u8]) -> PartitionKey {
        let keys = self.keys.get_or_insert_with(|| HashKeys::new(u128::from_be_bytes(md5_many(&[line])[0])));
        keys.next_key()
    }
}
