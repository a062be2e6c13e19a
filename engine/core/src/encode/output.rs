//! The encoded lines of a block: the block itself as long as everything is kept as it came.

use std::ops::Range;

use crate::block::BufferPool;

/// Lines are added in their order; the first that is left out, or loses a carriage return, moves
/// those before it to a buffer of its own.
pub(super) struct Output {
    copy: Option<Vec<u8>>,
    line_ends: Vec<u32>,
    /// With a copy, which bytes of the block each line is.
    sources: Vec<Range<u32>>,
    pool: BufferPool,
}

impl Output {
    /// The output of a block whose lines are kept as they came, or of one in which each becomes
    /// something else.
    pub(super) fn new(keeps_lines: bool, pool: &BufferPool) -> Output {
        let copy = (!keeps_lines).then(|| pool.take_empty());
        Output { copy, line_ends: Vec::new(), sources: Vec::new(), pool: pool.clone() }
    }

    /// The line that begins at `start` will not be kept as it came.
    pub(super) fn leave_out(&mut self, bytes: &[u8], start: u32) {
        if self.copy.is_none() {
            let mut copy = self.pool.take_empty();
            copy.extend_from_slice(&bytes[..start as usize]);
            self.copy = Some(copy);
            self.sources = ranges(&self.line_ends).collect();
        }
    }

    #[inline]
    pub(super) fn raw_len(&self, bytes: &[u8], start: u32, end: u32) -> usize {
        (end - start) as usize + 1 - usize::from(bytes[end as usize - 1] == b'\r')
    }

    /// Keeps the line as it came, but for a carriage return before its newline.
    #[inline]
    pub(super) fn keep(&mut self, bytes: &[u8], start: u32, end: u32) {
        let has_carriage_return = bytes[end as usize - 1] == b'\r';
        if has_carriage_return {
            self.leave_out(bytes, start);
        }
        let line_end = match &mut self.copy {
            None => end + 1,
            Some(copy) => {
                copy.extend_from_slice(&bytes[start as usize..end as usize - usize::from(has_carriage_return)]);
                copy.push(b'\n');
                self.sources.push(start..end + 1);
                copy.len() as u32
            }
        };
        self.line_ends.push(line_end);
    }

    /// Appends what `encode` writes of the line at these bytes of the block, and takes it back if
    /// it is longer than `limit`; returns its length.
    #[inline]
    pub(super) fn append(&mut self, source: Range<u32>, limit: usize, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let copy = self.copy.get_or_insert_default();
        let before = copy.len();
        encode(copy);
        let len = copy.len() - before;
        if len > limit {
            copy.truncate(before);
        } else {
            self.line_ends.push(copy.len() as u32);
            self.sources.push(source);
        }
        len
    }

    /// Takes the last line back, which was appended.
    pub(super) fn take_back(&mut self) {
        self.line_ends.pop();
        self.sources.pop();
        let end = self.line_ends.last().map_or(0, |&end| end as usize);
        self.copy.get_or_insert_default().truncate(end);
    }

    pub(super) fn finish(self, block: Vec<u8>) -> (Vec<u8>, Vec<u32>, Option<Vec<Range<u32>>>) {
        match self.copy {
            None => (block, self.line_ends, None),
            Some(copy) => {
                self.pool.give(block);
                (copy, self.line_ends, Some(self.sources))
            }
        }
    }
}

/// The ranges between these ends.
pub(super) fn ranges(ends: &[u32]) -> impl Iterator<Item = Range<u32>> {
    std::iter::once(0).chain(ends.iter().copied()).zip(ends).map(|(start, &end)| start..end)
}
