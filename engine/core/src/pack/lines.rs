//! The `lines` container: Firehose records of concatenated lines.
//!
//! Firehose joins records without a delimiter and bills each rounded up to 5,120 B. So a record is
//! filled as far as it may be, and among the last line ends before its limit the one is taken where
//! the bytes that are billed but not used weigh least: just under a multiple of the alignment.
//! Lines keep their order.
//!
//! A record that leaves before it is full, because a line has waited long enough, is cut there as
//! well, if the lines behind the cut may wait on.

use std::sync::Arc;
use std::time::Instant;

use super::Packed;
use crate::ack::AckToken;
use crate::encode::EncodedBlock;
use crate::limits::firehose;

pub use crate::limits::firehose::MAX_RECORD_SIZE;

/// What a record is cut just under a multiple of, unless told otherwise: what Firehose bills in
/// steps of.
pub const DEFAULT_ALIGN: usize = firehose::BILLING_STEP as usize;

/// Fills records in the order of the lines.
pub struct LinesPacker {
    limit: usize,
    align: usize,
    open: Packed,
    len: usize,
}

impl LinesPacker {
    /// Records of at most `limit` bytes, cut just under a multiple of `align`.
    pub fn new(limit: usize, align: usize) -> LinesPacker {
        LinesPacker { limit, align, open: Packed::default(), len: 0 }
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
            let room = self.limit.saturating_sub(self.len);
            let fitting = block.line_ends()[first..].partition_point(|&end| end as usize - start <= room);
            let mut end = first + fitting;
            if end < count {
                end = self.best_cut(block, first, end);
            }
            if end > first {
                self.len += block.line_start(end) - start;
                self.open.push(block, first..end, token);
            } else if self.open.lines.is_empty() {
                // The encoder refuses lines longer than a record, so this takes a limit lowered
                // since then: the line goes alone, and the stage that lowered the limit sees to it.
                end = first + 1;
                self.open.push(block, first..end, token);
            }
            first = end;
            if end < count {
                self.flush(emit);
            }
        }
    }

    /// Makes a record of each of the block's lines.
    pub fn add_each(&mut self, block: &Arc<EncodedBlock>, token: &AckToken, emit: &mut impl FnMut(Packed)) {
        for line in 0..block.line_count() {
            self.open.push(block, line..line + 1, token);
            self.flush(emit);
        }
    }

    /// Closes the open record, if there is one.
    pub fn flush(&mut self, emit: &mut impl FnMut(Packed)) {
        self.len = 0;
        if !self.open.lines.is_empty() {
            emit(std::mem::take(&mut self.open));
        }
    }

    /// When the oldest line of the open record was read.
    pub fn oldest(&self) -> Option<Instant> {
        self.open.oldest
    }

    /// Closes the open record if it has a line that was read at that time or before. Lines that
    /// were all read later, behind the last multiple of the alignment, begin the next record.
    pub fn flush_older(&mut self, time: Instant, emit: &mut impl FnMut(Packed)) {
        if self.open.is_as_old_as(time) {
            let count = self.lines_due(time);
            let mut parts = std::mem::take(&mut self.open).split(count, usize::MAX).into_iter();
            parts.next().into_iter().for_each(emit);
            self.open = parts.next().unwrap_or_default();
            self.len = self.open.lines.byte_len();
        }
    }

    /// How many lines of the open record go when those that were read at that time or before must.
    fn lines_due(&self, time: Instant) -> usize {
        let aligned = self.len - self.len % self.align;
        let (mut count, mut len, mut old, mut fitting) = (0, 0, 0, 0);
        for (block, lines) in self.open.lines.line_ranges() {
            for index in lines {
                count += 1;
                len += block.line_len(index);
                fitting = if len <= aligned { count } else { fitting };
            }
            old = if block.read_at() <= time { count } else { old };
        }
        // An old line behind the cut goes at once, and takes the rest with it for the same money.
        if old <= fitting { fitting } else { count }
    }

    /// The line end, at most `last`, where the least is billed for each byte used. Only the last
    /// sixteenth of the record is looked at: a shorter record would cost more requests than the
    /// alignment saves.
    #[inline]
    fn best_cut(&self, block: &EncodedBlock, first: usize, last: usize) -> usize {
        let start = block.line_start(first);
        let len_at = |end: usize| self.len + block.line_start(end) - start;
        let least = self.limit - self.limit / 16;
        let mut best = last;
        let mut best_bill = (u64::MAX, 1);
        for end in (first..=last).rev().take_while(|&end| len_at(end) >= least) {
            let len = len_at(end);
            let bill = (len.next_multiple_of(self.align) as u64, len as u64);
            // bill.0 / bill.1 < best.0 / best.1, without a division.
            if u128::from(bill.0) * u128::from(best_bill.1) < u128::from(best_bill.0) * u128::from(bill.1) {
                (best, best_bill) = (end, bill);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::ack::Acknowledgements;
    use crate::encode::tests::{encoded, encoded_at};

    /// Packs blocks of lines of these lengths; the lengths of the lines of each record.
    fn pack(blocks: &[Vec<usize>], limit: usize, align: usize) -> Vec<Vec<usize>> {
        let all = Acknowledgements::default();
        let mut packer = LinesPacker::new(limit, align);
        let mut records: Vec<Packed> = Vec::new();
        let mut wanted = Vec::new();
        for (number, lengths) in blocks.iter().enumerate() {
            let lines: Vec<Vec<u8>> = lengths
                .iter()
                .enumerate()
                .map(|(place, &len)| {
                    let mut line = vec![(number * 31 + place) as u8 | 0x80; len - 1];
                    line.push(b'\n');
                    line
                })
                .collect();
            wanted.extend(lines.concat());
            let token = all.token(0, number as u64..number as u64 + 1);
            packer.add(&encoded(&lines), &token, &mut |packed| records.push(packed));
            token.delivered();
        }
        packer.flush(&mut |packed| records.push(packed));
        packer.flush(&mut |_| panic!("nothing is open"));

        let joined: Vec<u8> = records.iter().flat_map(|packed| packed.lines.chunks()).flatten().copied().collect();
        assert!(joined == wanted, "every line once and in order");
        let lengths = |packed: &Packed| packed.lines.each_line().map(<[u8]>::len).collect();
        let lengths: Vec<Vec<usize>> = records.iter().map(lengths).collect();
        for (packed, lengths) in records.iter().zip(&lengths) {
            assert_eq!((packed.lines.byte_len(), packed.lines.line_count()), (lengths.iter().sum(), lengths.len()));
        }
        let without_lines = blocks.iter().take_while(|lengths| lengths.is_empty()).count() as u64;
        assert_eq!(all.position(0).offset, without_lines, "no block counts before its records");
        records.into_iter().flat_map(|packed| packed.tokens).for_each(AckToken::delivered);
        assert_eq!(all.position(0).offset, blocks.len() as u64, "every block counts after them");
        lengths
    }

    /// The same, said naively: of the line ends in the block at hand that are in the last sixteenth
    /// of the record, the one that is billed least for each byte, and of equals the last.
    fn oracle(blocks: &[Vec<usize>], limit: usize, align: usize) -> Vec<Vec<usize>> {
        let mut records = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for lengths in blocks {
            let mut rest = lengths.as_slice();
            while !rest.is_empty() {
                let len = |count: usize| open.iter().chain(&rest[..count]).sum::<usize>();
                let fitting = (0..=rest.len()).rev().find(|&count| len(count) <= limit).expect("none is too long");
                if fitting == rest.len() {
                    open.extend(rest);
                    break;
                }
                let near_end = (0..=fitting).rev().filter(|&count| len(count) >= limit - limit / 16);
                let waste = |count: &usize| len(*count).next_multiple_of(align) as f64 / len(*count) as f64;
                // `min_by` takes the first of equals, which is the last line end.
                let cut = near_end.min_by(|one, other| waste(one).total_cmp(&waste(other))).unwrap_or(fitting);
                open.extend(&rest[..cut]);
                rest = &rest[cut..];
                records.push(std::mem::take(&mut open));
            }
        }
        records.extend((!open.is_empty()).then_some(open));
        records
    }

    #[test]
    fn a_record_is_cut_just_under_a_multiple_of_the_alignment() {
        // 990 is nearer to the limit, but 960 is billed without waste.
        assert_eq!(pack(&[vec![480, 480, 30, 480]], 1_000, 480), [vec![480, 480], vec![30, 480]]);
        // Too far before the end, it would cost more requests than it saves.
        assert_eq!(pack(&[vec![480, 400, 100, 480]], 1_000, 480), [vec![480, 400, 100], vec![480]]);
    }

    #[test]
    fn a_record_may_be_filled_to_the_last_byte() {
        assert_eq!(
            pack(&[vec![600, 400, 1_000], vec![1_000, 1]], 1_000, 1),
            [vec![600, 400], vec![1_000], vec![1_000], vec![1]]
        );
    }

    #[test]
    fn a_line_past_a_limit_lowered_since_goes_alone() {
        let all = Acknowledgements::default();
        let mut packer = LinesPacker::new(1_000, 1);
        packer.set_limit(100);
        let mut counts = Vec::new();
        let token = all.token(0, 0..1);
        let block = encoded(&[vec![b'x'; 50], vec![b'y'; 500], vec![b'z'; 50]]);
        packer.add(&block, &token, &mut |packed| counts.push(packed.lines.byte_len()));
        packer.flush(&mut |packed| counts.push(packed.lines.byte_len()));
        assert_eq!(counts, [50, 500, 50]);
        token.delivered();
    }

    #[test]
    fn a_record_may_be_a_single_line() {
        let all = Acknowledgements::default();
        let mut packer = LinesPacker::new(MAX_RECORD_SIZE, 1);
        let mut records: Vec<Packed> = Vec::new();
        let lines: Vec<Vec<u8>> = [3, 1, 900, 2].map(|len| vec![b'x'; len]).to_vec();
        for number in 0..2 {
            let token = all.token(0, number..number + 1);
            packer.add_each(&encoded(&lines), &token, &mut |packed| records.push(packed));
            token.delivered();
        }
        packer.flush(&mut |_| panic!("nothing is open"));
        let lengths: Vec<usize> = records.iter().map(|packed| packed.lines.byte_len()).collect();
        assert_eq!(lengths, [3, 1, 900, 2, 3, 1, 900, 2]);
        assert_eq!(all.position(0).offset, 0, "no block counts before its records");
        records.into_iter().flat_map(|packed| packed.tokens).for_each(AckToken::delivered);
        assert_eq!(all.position(0).offset, 2);
    }

    /// Bytes billed for each byte of a line of 870 B every `interval`, of which none waits for more
    /// than a second, when records are flushed with that alignment.
    fn billed(interval: Duration, align: usize) -> f64 {
        const LINE: usize = 870;
        let linger = Duration::from_secs(1);
        let begun = Instant::now();
        let all = Acknowledgements::default();
        let mut packer = LinesPacker::new(MAX_RECORD_SIZE, align);
        let (mut bytes, mut billed) = (0, 0);
        for number in 0..10_000 {
            let now = begun + interval * number;
            let mut emit = |packed: Packed| {
                let len = packed.lines.byte_len();
                (bytes, billed) = (bytes + len, billed + len.next_multiple_of(DEFAULT_ALIGN));
                packed.tokens.into_iter().for_each(AckToken::delivered);
            };
            while let Some(due) = packer.oldest().map(|oldest| oldest + linger).filter(|&due| due <= now) {
                packer.flush_older(due - linger, &mut emit);
            }
            let token = all.token(0, u64::from(number)..u64::from(number) + 1);
            packer.add(&encoded_at(&[vec![b'x'; LINE]], now), &token, &mut emit);
            token.delivered();
        }
        billed as f64 / bytes as f64
    }

    #[test]
    fn a_trickle_is_billed_little_more_than_its_bytes_once_it_fills_a_step() {
        for (per_second, most) in [(2, 3.0), (5, 1.2), (7, 1.2), (10, 1.2), (15, 1.2), (30, 1.2), (100, 1.1)] {
            let [ours, whole] = [DEFAULT_ALIGN, 1].map(|align| billed(Duration::from_secs(1) / per_second, align));
            println!("{per_second} lines a second: {ours:.3} billed for each byte, {whole:.3} where all is flushed");
            assert!(ours <= most && ours <= 1.01 * whole, "{per_second}: {ours}, {whole}");
        }
    }

    proptest! {
        #[test]
        fn what_is_flushed_is_all_that_is_old_and_fills_its_last_step(
            // The lengths of each block's lines, and how long ago it was read.
            blocks in prop::collection::vec((prop::collection::vec(1..700_usize, 1..12), 0..100_u64), 1..12),
            align in prop::sample::select(vec![1_usize, 64, 512, 5_120]),
            linger in 1..100_u64,
        ) {
            let all = Acknowledgements::default();
            let mut packer = LinesPacker::new(MAX_RECORD_SIZE, align);
            let now = Instant::now() + Duration::from_secs(1);
            let ago = |milliseconds: u64| now - Duration::from_millis(milliseconds);
            let mut emitted: Vec<Packed> = Vec::new();
            for (number, (lengths, age)) in blocks.iter().enumerate() {
                let lines: Vec<Vec<u8>> = lengths.iter().map(|&len| vec![b'x'; len]).collect();
                let token = all.token(0, number as u64..number as u64 + 1);
                packer.add(&encoded_at(&lines, ago(*age)), &token, &mut |_| panic!("it is not full"));
                token.delivered();
            }
            packer.flush_older(ago(linger), &mut |packed| emitted.push(packed));

            // The ends of all lines, and the age of each.
            let mut lines = Vec::new();
            for (lengths, age) in &blocks {
                for len in lengths {
                    lines.push((lines.last().map_or(0, |(end, _)| *end) + len, *age));
                }
            }
            let total = lines.last().map_or(0, |(end, _)| *end);
            let wanted = match lines.iter().rposition(|(_, age)| *age >= linger) {
                None => 0,
                Some(oldest) => {
                    let cut = lines.iter().map(|(end, _)| *end).rfind(|end| *end <= total / align * align);
                    cut.filter(|cut| *cut >= lines[oldest].0).unwrap_or(total)
                }
            };
            prop_assert_eq!(emitted.iter().map(|packed| packed.lines.byte_len()).sum::<usize>(), wanted);
            prop_assert!(packer.oldest().is_none_or(|oldest| oldest > ago(linger)));

            packer.flush(&mut |packed| emitted.push(packed));
            let lengths: Vec<usize> =
                emitted.iter().flat_map(|packed| packed.lines.each_line()).map(<[u8]>::len).collect();
            prop_assert_eq!(lengths, blocks.iter().flat_map(|(lengths, _)| lengths.clone()).collect::<Vec<_>>());
            emitted.into_iter().flat_map(|packed| packed.tokens).for_each(AckToken::delivered);
            prop_assert_eq!(all.position(0).offset, blocks.len() as u64);
        }

        #[test]
        fn records_are_those_of_the_oracle(
            blocks in prop::collection::vec(prop::collection::vec(1..900_usize, 0..60), 0..6),
            limit in 900..12_000_usize,
            align in prop::sample::select(vec![1_usize, 64, 512, 5_120, 777]),
        ) {
            let records = pack(&blocks, limit, align);
            for record in &records {
                prop_assert!(!record.is_empty() && record.iter().sum::<usize>() <= limit);
            }
            prop_assert_eq!(records, oracle(&blocks, limit, align));
        }
    }
}
