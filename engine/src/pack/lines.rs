//! The `lines` container: Firehose records of concatenated lines.
//!
//! Firehose joins records without a delimiter and bills each rounded up to 5,120 B. So a record is filled as
//! far as it may be, and among the last line ends before its limit the one is taken where the bytes that are
//! billed but not used weigh least: just under a multiple of the alignment. Lines keep their order.

use std::sync::Arc;

use super::Packed;
use crate::ack::AckToken;
use crate::encode::block::EncodedBlock;

/// The largest Firehose record: 1,000 KiB before base64, exactly 200 billing steps. Source: Firehose quotas.
pub const MAX_RECORD_SIZE: usize = 1_024_000;

/// Fills records in the order of the lines.
pub struct LinesPacker {
    limit: usize,
    align: usize,
    open: Packed,
    length: usize,
}

impl LinesPacker {
    /// Records of at most `limit` bytes, cut just under a multiple of `align`.
    pub fn new(limit: usize, align: usize) -> LinesPacker {
        LinesPacker { limit, align, open: Packed::default(), length: 0 }
    }

    /// Sets the limit of the records that follow; the open one keeps what it has.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds the block's lines; every record that is full goes to `emit`.
    pub fn add(&mut self, block: &Arc<EncodedBlock>, token: &AckToken, emit: &mut impl FnMut(Packed)) {
        let count = block.line_count();
        let mut first = 0;
        while first < count {
            let start = block.line_start(first);
            let room = self.limit.saturating_sub(self.length);
            let fitting = block.line_ends()[first..].partition_point(|&end| end as usize - start <= room);
            let mut end = first + fitting;
            if end < count {
                end = self.best_cut(block, first, end);
            }
            if end > first {
                self.length += block.line_start(end) - start;
                self.open.push(block, first..end, token);
            } else if self.open.slices.is_empty() {
                // The encoder refuses lines longer than a record, so this takes a limit lowered since then:
                // the line goes alone, and the stage that lowered the limit sees to it.
                end = first + 1;
                self.open.push(block, first..end, token);
            }
            first = end;
            if end < count {
                self.flush(emit);
            }
        }
    }

    /// Closes the open record, if there is one.
    pub fn flush(&mut self, emit: &mut impl FnMut(Packed)) {
        self.length = 0;
        if !self.open.slices.is_empty() {
            emit(std::mem::take(&mut self.open));
        }
    }

    /// The line end, at most `last`, where the least is billed for each byte used. Only the last sixteenth of
    /// the record is looked at: a shorter record would cost more requests than the alignment saves.
    fn best_cut(&self, block: &EncodedBlock, first: usize, last: usize) -> usize {
        let start = block.line_start(first);
        let length_at = |end: usize| self.length + block.line_start(end) - start;
        let least = self.limit - self.limit / 16;
        let mut best = last;
        let mut best_bill = (u64::MAX, 1);
        for end in (first..=last).rev().take_while(|&end| length_at(end) >= least) {
            let length = length_at(end);
            let bill = (length.next_multiple_of(self.align) as u64, length as u64);
            // bill.0 / bill.1 < best.0 / best.1, without a division.
            if u128::from(bill.0) * u128::from(best_bill.1) < u128::from(best_bill.0) * u128::from(bill.1) {
                (best, best_bill) = (end, bill);
            }
        }
        best
    }
}
