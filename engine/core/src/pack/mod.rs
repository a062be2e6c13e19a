//! Fills containers with encoded lines: `lines` for Firehose, `kpl` for Kinesis.
//!
//! Packing decides where records are cut, in the order of the lines, and copies nothing: a record
//! is a list of lines of encoded blocks. What needs the bytes (compression, framing, hashing) comes
//! after, in parallel.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::ack::AckToken;
use crate::encode::EncodedBlock;
use pixel_engine_kpl::PartitionKey;

pub mod aggregates;
pub mod lines;
pub mod partitions;

/// Lines of encoded blocks, in order.
#[derive(Debug, Default)]
pub struct LineList {
    /// Each block once for the lines that follow each other in the list.
    blocks: Vec<Arc<EncodedBlock>>,
    chunks: Vec<Chunk>,
}

/// Lines that stand next to each other in one block. It is small because there may be one for
/// nearly every line, where those of many shards are mixed.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    block: u32,
    first: u32,
    end: u32,
}

impl LineList {
    /// Adds lines; whether the ones before were of another block.
    #[inline]
    pub(crate) fn push(&mut self, block: &Arc<EncodedBlock>, lines: Range<usize>) -> bool {
        let is_new = self.blocks.last().is_none_or(|last| !Arc::ptr_eq(last, block));
        if is_new {
            self.blocks.push(Arc::clone(block));
        }
        let chunk = Chunk { block: self.blocks.len() as u32 - 1, first: lines.start as u32, end: lines.end as u32 };
        match self.chunks.last_mut() {
            Some(last) if last.block == chunk.block && last.end == chunk.first => last.end = chunk.end,
            _ => self.chunks.push(chunk),
        }
        is_new
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The lines that stand next to each other in a block, as one piece each.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.line_ranges().map(|(block, lines)| block.lines(lines))
    }

    /// Each line, its newline included.
    pub fn each_line(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.line_ranges().flat_map(|(block, lines)| lines.map(|index| block.lines(index..index + 1)))
    }

    /// Bytes of all lines.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.chunks().map(<[u8]>::len).sum()
    }

    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.line_ranges().map(|(_, lines)| lines.len()).sum()
    }

    fn line_ranges(&self) -> impl Iterator<Item = (&Arc<EncodedBlock>, Range<usize>)> + Clone {
        self.chunks.iter().map(|chunk| (&self.blocks[chunk.block as usize], chunk.first as usize..chunk.end as usize))
    }
}

/// The lines of one record, or those that are compressed into one or more records.
#[derive(Debug, Default)]
pub struct Packed {
    /// The lines.
    pub lines: LineList,
    /// A token for the lines of each block, in the order in which the blocks stand in the list.
    pub tokens: Vec<AckToken>,
    /// Where the record goes in a Kinesis stream.
    pub key: Option<PartitionKey>,
    /// When the oldest of the lines was read.
    pub oldest: Option<Instant>,
}

impl Packed {
    /// Whether it has a line that was read at that time or before.
    fn is_as_old_as(&self, time: Instant) -> bool {
        self.oldest.is_some_and(|oldest| oldest <= time)
    }

    /// Adds lines of the block that the token is of.
    #[inline]
    fn push(&mut self, block: &Arc<EncodedBlock>, lines: Range<usize>, token: &AckToken) {
        if self.lines.push(block, lines.clone()) {
            self.tokens.push(token.of_lines());
            // Blocks of several sources do not come in the order of their age.
            self.oldest = Some(self.oldest.map_or(block.read_at(), |oldest| oldest.min(block.read_at())));
        }
        let own = self.tokens.last_mut().expect("a token for each block of the list");
        block.each_source_run(lines, |bytes| own.add_lines(bytes));
    }

    /// The same lines in parts, each with tokens for its own: `first` lines, and then at most
    /// `others` in each.
    pub(crate) fn split(self, first: usize, others: usize) -> Vec<Packed> {
        let Packed { lines: all, tokens, key, .. } = self;
        let empty = || Packed { key: key.clone(), ..Packed::default() };
        let mut parts = vec![empty()];
        let mut room = first;
        for chunk in &all.chunks {
            let (block, token) = (&all.blocks[chunk.block as usize], &tokens[chunk.block as usize]);
            let mut lines = chunk.first as usize..chunk.end as usize;
            while !lines.is_empty() {
                if room == 0 {
                    parts.push(empty());
                    room = others;
                }
                let end = lines.end.min(lines.start.saturating_add(room));
                let part = parts.last_mut().expect("there is always one");
                part.push(block, lines.start..end, token);
                room -= end - lines.start;
                lines.start = end;
            }
        }
        tokens.into_iter().for_each(AckToken::handed_on);
        parts
    }

    /// The same lines in `count` parts, each with tokens for its own; `part_of_line` has the part of
    /// each line.
    pub(crate) fn share(self, part_of_line: &[usize], count: usize) -> Vec<Packed> {
        let Packed { lines: all, tokens, key, .. } = self;
        let mut parts: Vec<Packed> =
            std::iter::repeat_with(|| Packed { key: key.clone(), ..Packed::default() }).take(count).collect();
        let mut part_of_line = part_of_line.iter();
        for chunk in &all.chunks {
            let (block, token) = (&all.blocks[chunk.block as usize], &tokens[chunk.block as usize]);
            for (line, part) in (chunk.first as usize..chunk.end as usize).zip(&mut part_of_line) {
                parts[*part].push(block, line..line + 1, token);
            }
        }
        tokens.into_iter().for_each(AckToken::handed_on);
        parts
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use pixel_engine_kpl::{Shard, ShardMap};
    use proptest::prelude::*;

    /// A map whose shards but the first start at these hash keys; zero and those that come again
    /// are left out.
    pub(crate) fn map_cut_at(cuts: &[u128]) -> ShardMap {
        let mut starts: Vec<u128> = cuts.iter().copied().chain([0]).collect();
        starts.sort_unstable();
        starts.dedup();
        let ends = starts[1..].iter().map(|start| start - 1).chain([u128::MAX]);
        let shards = starts.iter().zip(ends).enumerate();
        let shard = |(number, (&start, end))| Shard { id: format!("shardId-{number:012}"), start, end };
        ShardMap::new(shards.map(shard).collect()).expect("no gap")
    }

    /// Hash keys at which a map may be cut: anywhere, at the borders, and side by side.
    pub(crate) fn any_cuts() -> impl Strategy<Value = Vec<u128>> {
        let cut = prop_oneof![4 => any::<u128>(), 1 => 0..5_u128, 1 => u128::MAX - 4..=u128::MAX];
        prop::collection::vec(cut, 0..60)
    }
}
