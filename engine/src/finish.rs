//! From packed lines to the bytes of records: KPL frames with their MD5 trailers, or compressed streams.
//!
//! This is where the work is, so it runs on the pool, a group of records at a time: enough aggregates for
//! every lane of the MD5 kernel, or one long run of lines to compress.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ack::AckToken;
use crate::compress::Codec;
use crate::pack::kpl;
use crate::pack::{Packed, Slice};
use crate::record::Record;

/// Bytes of lines that go into one compressed record at most, however well they compress: it bounds memory.
pub const MOST_COMPRESSED_LINES: usize = 16 << 20;

/// What records are made of.
pub enum Container {
    /// The lines as they are.
    Lines,
    /// The lines, compressed.
    CompressedLines(Compression),
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
            Container::CompressedLines(compression) => {
                let mut records = Vec::with_capacity(group.len());
                for packed in group {
                    compression.finish(packed, &mut records)?;
                }
                Ok(records)
            }
            Container::Kpl => Ok(aggregate(group)),
        }
    }
}

/// Frames every aggregate of the group, then hashes all of them at once. A line that is alone in its record
/// travels unwrapped, as the KPL does it.
fn aggregate(group: Vec<Packed>) -> Vec<Record> {
    let mut aggregates = Vec::with_capacity(group.len());
    let mut records = Vec::with_capacity(group.len());
    for packed in group {
        let Some(key) = packed.key.as_ref().filter(|_| packed.line_count() > 1) else {
            records.push(Some(Record::from_lines(packed)));
            continue;
        };
        let mut bytes = Vec::new();
        kpl::write_aggregate(&mut bytes, key, packed.slices.iter().flat_map(Slice::each_line));
        aggregates.push((bytes, packed.line_count(), packed.key, packed.tokens));
        records.push(None);
    }
    let mut bytes: Vec<&mut Vec<u8>> = aggregates.iter_mut().map(|(bytes, ..)| bytes).collect();
    kpl::seal(&mut bytes);
    let mut aggregates = aggregates.into_iter();
    let mut next_aggregate = || {
        let (bytes, lines, key, tokens) = aggregates.next().expect("one for each empty place");
        Record::from_bytes(bytes, lines, key, tokens)
    };
    records.into_iter().map(|record| record.unwrap_or_else(&mut next_aggregate)).collect()
}

/// Compresses runs of lines into records that never exceed a size.
///
/// How much a run shrinks is not known before, so its length is estimated from the runs before it. A record
/// that comes out too large is cut into equal parts and compressed again; with logs this is rare, as their
/// ratio moves slowly and the estimate leaves a margin.
pub struct Compression {
    codec: Codec,
    record_size: usize,
    /// Bits of an `f64`: bytes of lines for each byte of record, in the records of late.
    ratio: AtomicU64,
}

impl Compression {
    /// Records of at most `record_size` bytes after compression.
    pub fn new(codec: Codec, record_size: usize) -> Compression {
        Compression { codec, record_size, ratio: AtomicU64::new(0f64.to_bits()) }
    }

    /// Bytes of lines that a run should have; `sample` stands for them until a record has been made.
    pub fn run_length(&self, sample: &[u8]) -> usize {
        const MARGIN: f64 = 0.97;
        let mut ratio = f64::from_bits(self.ratio.load(Ordering::Relaxed));
        if ratio == 0.0 {
            let compressed = self.codec.compress(std::iter::once(sample), sample.len());
            ratio = compressed.map_or(1.0, |bytes| sample.len() as f64 / bytes.len() as f64);
            self.ratio.store(ratio.to_bits(), Ordering::Relaxed);
        }
        let length = (self.record_size as f64 * ratio * MARGIN) as usize;
        length.clamp(self.record_size.min(MOST_COMPRESSED_LINES), MOST_COMPRESSED_LINES)
    }

    fn finish(&self, packed: Packed, records: &mut Vec<Record>) -> io::Result<()> {
        let length = packed.length();
        let bytes = self.codec.compress(packed.slices.iter().map(Slice::bytes), length)?;
        self.learn(length as f64 / bytes.len() as f64);
        let lines = packed.line_count();
        if bytes.len() <= self.record_size {
            records.push(Record::from_bytes(bytes, lines, None, packed.tokens));
            return Ok(());
        }
        assert!(lines > 1, "the encoder refuses a line that may not fit by itself");
        let parts = (bytes.len().div_ceil(self.record_size - self.record_size / 16)).clamp(2, lines);
        for part in split(packed, lines.div_ceil(parts)) {
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

/// The same lines in parts of `most` lines; each part shares in the acknowledgement of all blocks.
fn split(packed: Packed, most: usize) -> Vec<Packed> {
    let Packed { slices, tokens, .. } = packed;
    let empty = || Packed { slices: Vec::new(), tokens: tokens.clone(), key: None };
    let mut parts = vec![empty()];
    let mut room = most;
    for Slice { block, mut lines } in slices {
        while !lines.is_empty() {
            if room == 0 {
                parts.push(empty());
                room = most;
            }
            let end = lines.end.min(lines.start + room);
            let part = parts.last_mut().expect("there is always one");
            part.slices.push(Slice { block: block.clone(), lines: lines.start..end });
            room -= end - lines.start;
            lines.start = end;
        }
    }
    // The parts hold shares of their own now.
    tokens.into_iter().for_each(AckToken::delivered);
    parts
}
