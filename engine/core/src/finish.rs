//! From packed lines to the bytes of records: KPL frames with their MD5 trailers, or compressed
//! streams.
//!
//! This is where the work is, so it runs on the pool, a group of records at a time: enough
//! aggregates for every lane of the MD5 kernel, or the lines of one large record to compress.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::compress::Codec;
use crate::pack::Packed;
use crate::record::Record;
use pixel_engine_kpl as kpl;

/// Bytes of lines that go into one compressed record at most, however well they compress.
const MAX_LINES_LEN: usize = 16 << 20;

/// What records are made of.
pub enum Container {
    /// The lines, or the rows, as they are.
    Lines,
    /// The lines, compressed.
    CompressedLines(Compressor),
    /// KPL aggregates.
    Kpl,
}

impl Container {
    /// The records of a group, in order.
    ///
    /// # Errors
    /// What the compressor reports.
    pub fn finish(&self, group: Vec<Packed>) -> io::Result<Vec<Record>> {
        match self {
            Container::Lines => Ok(group.into_iter().map(Record::from_lines).collect()),
            Container::CompressedLines(compressor) => {
                let mut records = Vec::with_capacity(group.len());
                for packed in group {
                    compressor.finish(packed, &mut records)?;
                }
                Ok(records)
            }
            Container::Kpl => Ok(aggregate(group)),
        }
    }
}

/// Frames every aggregate of the group, then hashes all of them at once. A line that is alone in
/// its record travels unwrapped, as the KPL does it.
fn aggregate(group: Vec<Packed>) -> Vec<Record> {
    let mut aggregates = Vec::with_capacity(group.len());
    let mut records = Vec::with_capacity(group.len());
    for packed in group {
        let Some(key) = packed.key.as_ref().filter(|_| packed.lines.line_count() > 1) else {
            records.push(Some(Record::from_lines(packed)));
            continue;
        };
        let mut bytes = Vec::new();
        kpl::write_aggregate(&mut bytes, key, packed.lines.each_line());
        aggregates.push((bytes, packed.lines.line_count(), packed.key, packed.tokens, packed.oldest));
        records.push(None);
    }
    let mut bytes: Vec<&mut Vec<u8>> = aggregates.iter_mut().map(|(bytes, ..)| bytes).collect();
    kpl::seal(&mut bytes);
    let mut aggregates = aggregates.into_iter();
    let mut next_aggregate = || {
        let (bytes, lines, key, tokens, oldest) = aggregates.next().expect("one for each empty place");
        Record::from_bytes(bytes, lines, key, tokens).with_oldest(oldest)
    };
    records.into_iter().map(|record| record.unwrap_or_else(&mut next_aggregate)).collect()
}

/// Compresses lines into records that never exceed a size.
///
/// How much lines shrink is not known before, so how many to take is estimated from the records
/// before. A record that comes out too large is cut into equal parts and compressed again; with
/// logs this is rare, as their ratio moves slowly and the estimate leaves a margin.
pub struct Compressor {
    codec: Codec,
    record_size: usize,
    max_lines_len: usize,
    /// Bits of an `f64`: bytes of lines for each byte of record, in the latest records.
    ratio: AtomicU64,
}

impl Compressor {
    /// Records of at most `record_size` bytes after compression. `memory` bounds the lines of all
    /// the `records` that are worked on at a time; well compressed lines then give smaller records
    /// rather than use more memory.
    pub fn new(codec: Codec, record_size: usize, records: usize, memory: usize) -> Compressor {
        let max_lines_len = (memory / records.max(1)).min(MAX_LINES_LEN);
        Compressor { codec, record_size, max_lines_len, ratio: AtomicU64::new(0f64.to_bits()) }
    }

    /// Bytes of lines that the next record should be made of to have that size; `sample` stands for
    /// them until there is a record.
    pub fn lines_len(&self, sample: &[u8], record_size: usize) -> usize {
        const MARGIN: f64 = 0.97;
        let mut ratio = f64::from_bits(self.ratio.load(Ordering::Relaxed));
        if ratio == 0.0 {
            let compressed = self.codec.compress(std::iter::once(sample), sample.len());
            ratio = compressed.map_or(1.0, |bytes| sample.len() as f64 / bytes.len() as f64);
            self.ratio.store(ratio.to_bits(), Ordering::Relaxed);
        }
        let len = (record_size as f64 * ratio * MARGIN) as usize;
        len.max(record_size).min(self.max_lines_len)
    }

    fn finish(&self, packed: Packed, records: &mut Vec<Record>) -> io::Result<()> {
        let len = packed.lines.byte_len();
        let bytes = self.codec.compress(packed.lines.chunks(), len)?;
        self.learn(len as f64 / bytes.len() as f64);
        let lines = packed.lines.line_count();
        if bytes.len() <= self.record_size {
            records.push(Record::from_bytes(bytes, lines, None, packed.tokens).with_oldest(packed.oldest));
            return Ok(());
        }
        assert!(lines > 1, "the encoder refuses a line that may not fit by itself");
        let parts = (bytes.len().div_ceil(self.record_size - self.record_size / 16)).clamp(2, lines);
        let of_part = lines.div_ceil(parts);
        for part in packed.split(of_part, of_part) {
            self.finish(part, records)?;
        }
        Ok(())
    }

    /// The last record counts for a quarter.
    fn learn(&self, latest: f64) {
        let before = f64::from_bits(self.ratio.load(Ordering::Relaxed));
        self.ratio.store((before * 0.75 + latest * 0.25).to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::ack::Acknowledgements;
    use crate::encode::tests::encoded;
    use crate::pack::lines::LinesPacker;
    use crate::record::Delivered;

    const CODECS: [Codec; 4] = [Codec::Gzip(1), Codec::Gzip(0), Codec::Zstd(1), Codec::Zstd(-5)];

    fn unpack(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match codec {
            Codec::Gzip(_) => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap()),
            _ => text = zstd::decode_all(bytes).unwrap(),
        }
        text
    }

    fn bytes_of(record: &Record) -> Vec<u8> {
        record.chunks().collect::<Vec<_>>().concat()
    }

    /// A line of that length with its newline: noise, or always the same letter.
    fn line(len: usize, is_noise: bool, state: &mut u64) -> Vec<u8> {
        let mut line: Vec<u8> = (1..len)
            .map(|_| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if is_noise { (*state >> 56) as u8 } else { b'a' }
            })
            .map(|byte| if byte == b'\n' { b' ' } else { byte })
            .collect();
        line.push(b'\n');
        line
    }

    /// All blocks in one run of the packer, cut where the compressor wants it, and finished.
    fn records(
        container: &Container,
        record_size: usize,
        blocks: &[Vec<Vec<u8>>],
        all: &Acknowledgements,
    ) -> Vec<Record> {
        let mut packer = LinesPacker::new(record_size, 1);
        let mut records = Vec::new();
        for (number, lines) in blocks.iter().enumerate() {
            let block = encoded(lines);
            let token = all.token(0, number as u64..number as u64 + 1);
            let Container::CompressedLines(compressor) = container else { panic!("compressed") };
            packer.set_limit(compressor.lines_len(block.lines(0..block.line_count()), compressor.record_size));
            let mut group = Vec::new();
            packer.add(&block, &token, &mut |packed| group.push(packed));
            token.delivered();
            records.extend(container.finish(group).unwrap());
        }
        packer.flush(&mut |packed| records.extend(container.finish(vec![packed]).unwrap()));
        records
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn compressed_records_are_never_too_large_and_hold_every_line(
            codec in prop::sample::select(CODECS.to_vec()),
            record_size in 1_024..30_000_usize,
            // Blocks of one kind after the other: what was learnt from one is wrong for the next.
            blocks in prop::collection::vec((any::<bool>(), prop::collection::vec(1..1_000_usize, 1..200)), 1..6),
        ) {
            let mut state = 7;
            let longest = codec.max_input_len(record_size);
            let blocks: Vec<Vec<Vec<u8>>> = blocks.iter().map(|(is_noise, lengths)| {
                lengths.iter().map(|&len| line(len.min(longest), *is_noise, &mut state)).collect()
            }).collect();
            let all = Acknowledgements::default();
            let container = Container::CompressedLines(Compressor::new(codec, record_size, 1, MAX_LINES_LEN));
            let records = records(&container, record_size, &blocks, &all);
            let mut text = Vec::new();
            let mut lines = 0;
            for record in &records {
                let bytes = bytes_of(record);
                prop_assert_eq!(bytes.len(), record.data_len());
                prop_assert!(bytes.len() <= record_size, "{} > {record_size}", bytes.len());
                let part = unpack(codec, &bytes);
                prop_assert_eq!(part.last(), Some(&b'\n'));
                prop_assert_eq!(part.iter().filter(|&&byte| byte == b'\n').count(), record.lines());
                lines += record.lines();
                text.extend(part);
            }
            prop_assert_eq!(lines, blocks.iter().map(Vec::len).sum::<usize>());
            prop_assert!(text == blocks.concat().concat());

            prop_assert_eq!(all.position(0).offset, 0);
            let mut delivered = Delivered::default();
            records.into_iter().for_each(|record| delivered.settle(record.into_receipt()));
            prop_assert_eq!(delivered.lines, lines as u64);
            prop_assert_eq!(all.position(0).offset, blocks.len() as u64);
        }

        #[test]
        fn one_lost_record_keeps_its_blocks_from_counting(
            lost in any::<prop::sample::Index>(),
            lengths in prop::collection::vec(prop::collection::vec(200..900_usize, 1..60), 1..6),
        ) {
            let mut state = 3;
            let blocks: Vec<Vec<Vec<u8>>> =
                lengths.iter().map(|block| block.iter().map(|&len| line(len, true, &mut state)).collect()).collect();
            let all = Acknowledgements::default();
            let container = Container::CompressedLines(Compressor::new(Codec::Zstd(1), 2_000, 1, MAX_LINES_LEN));
            let mut records = records(&container, 2_000, &blocks, &all);
            let lost = records.remove(lost.index(records.len()));
            let text = unpack(Codec::Zstd(1), &bytes_of(&lost));
            let first = text.split_inclusive(|&byte| byte == b'\n').next().unwrap();
            let block_of_loss = blocks.iter().position(|block| block.iter().any(|line| line == first)).unwrap();
            drop(lost);
            let mut delivered = Delivered::default();
            records.into_iter().for_each(|record| delivered.settle(record.into_receipt()));
            prop_assert!(all.position(0).offset <= block_of_loss as u64);
        }
    }

    #[test]
    fn a_run_is_as_long_as_the_latest_ratio_makes_it() {
        let compressor = Compressor::new(Codec::Zstd(1), 100_000, 1, MAX_LINES_LEN);
        let mut state = 1;
        let noise = line(50_000, true, &mut state);
        let len = compressor.lines_len(&noise, compressor.record_size);
        assert_eq!(len, 100_000, "at least the size of a record");
        compressor.learn(10.0);
        compressor.learn(10.0);
        assert!(compressor.lines_len(&noise, compressor.record_size) > 3 * len, "it learns");
        (0..50).for_each(|_| compressor.learn(1e9));
        assert_eq!(compressor.lines_len(&noise, compressor.record_size), MAX_LINES_LEN);
    }

    #[test]
    fn aggregates_come_out_in_the_order_of_the_lines_and_single_lines_unwrapped() {
        use crate::pack::aggregates::AggregatePacker;
        use pixel_engine_kpl::{Decoded, MAGIC, SharedShardMap, decode};

        let all = Acknowledgements::default();
        let token = all.token(0, 0..1);
        // Every third line fills a record alone.
        let lines: Vec<Vec<u8>> = (0..60_u8).map(|place| vec![place; if place % 3 == 2 { 990 } else { 300 }]).collect();
        let mut group = Vec::new();
        let mut packer = AggregatePacker::new(1_000, SharedShardMap::default());
        packer.add(&encoded(&lines), &token, &mut |packed| group.push(packed));
        packer.flush(&mut |packed| group.push(packed));
        token.delivered();
        let records = Container::Kpl.finish(group).unwrap();
        let mut found = Vec::new();
        for record in &records {
            let bytes = bytes_of(record);
            assert!(bytes.len() + record.key_len() <= 1_000);
            assert_eq!(bytes.starts_with(&MAGIC), record.lines() > 1);
            match decode(&bytes) {
                Decoded::Aggregate(aggregate) => found.extend(aggregate.records().map(|record| record.data.to_vec())),
                Decoded::Plain(_) => found.push(bytes.clone()),
                Decoded::Partial { error, .. } => panic!("{error}"),
            }
        }
        assert_eq!(found, lines);
        assert!(records.iter().any(|record| record.lines() == 1) && records.iter().any(|record| record.lines() > 1));
    }
}
