//! The bytes that the stages run on.

use std::sync::Arc;
use std::time::Instant;

use pixel_engine::kpl::{AggregateSize, DEFAULT_RECORD_SIZE, HashKeys, PartitionKey, SharedShardMap};
use pixel_engine::log::encode::Encoding;
use pixel_engine::log::line::Line;
use pixel_engine::log::query::QueryEncoding;
use pixel_engine::log::scan::{Positions, scan};
use pixel_engine::log::schema::{LogKind, Schema, Schemas};
use pixel_engine::log::select::Matcher;
use pixel_engine_bench_data::{Generator, Options};
use pixel_engine_core::ack::{AckToken, Acknowledgements};
use pixel_engine_core::block::{BLOCK_SIZE, Block, BufferPool, Layout, Origin};
use pixel_engine_core::check::Checks;
use pixel_engine_core::encode::{EncodedBlock, Rules, Scratch};

const SEED: u64 = 7;

/// A log of a shape of the generator: its header, where it has one, and lines that are at least `bytes`
/// long together.
///
/// # Panics
/// When there is no such shape.
pub fn log(shape: &str, bytes: usize) -> Vec<u8> {
    let shape = shape.parse().expect("a shape of the generator");
    let mut log = Vec::new();
    let mut generator = Generator::new(Options::new(shape, SEED));
    generator.append_header(&mut log);
    generator.append_bytes(&mut log, bytes);
    log
}

/// As many whole lines as the engine's blocks hold, 1 MiB: what it scans at a time.
pub fn block(mut lines: Vec<u8>) -> Vec<u8> {
    let len = lines.len().min(BLOCK_SIZE);
    let end = lines[..len].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    lines.truncate(end);
    lines
}

/// Lines of 46 columns and of 600 to 900 bytes, every length as often as every other; filled up
/// with `x`.
pub fn uniform_lines(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut lines = Vec::with_capacity(bytes + 900);
    while lines.len() < bytes {
        let end = lines.len() + random.usize(600..=900);
        lines.extend_from_slice(b"1767600000.000");
        lines.extend_from_slice(&b"\t-".repeat(44));
        lines.push(b'\t');
        lines.resize(end - 1, b'x');
        lines.push(b'\n');
    }
    lines
}

/// Lines with their positions and schema.
pub struct Lines {
    bytes: Vec<u8>,
    positions: Positions,
    schema: Schema,
}

impl Lines {
    /// Scans lines of a preset.
    ///
    /// # Panics
    /// When there is no such preset.
    pub fn new(preset: &str, bytes: Vec<u8>) -> Lines {
        let schema = Schema::preset(preset).expect("a preset of the engine");
        assert_eq!(schema.kind(), LogKind::RealTime);
        let mut positions = Positions::default();
        scan(&bytes, &mut positions);
        Lines { bytes, positions, schema }
    }

    /// Their bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A view of each.
    pub fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        self.positions.lines().map(|(start, ends)| Line::new(&self.bytes, start, ends, &self.schema))
    }

    /// Each with its newline.
    pub fn with_newlines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split_inclusive(|&byte| byte == b'\n')
    }
}

/// The lines of one aggregate, and its key.
pub type AggregateLines<'a> = (PartitionKey, Vec<&'a [u8]>);

/// The first `count` aggregates, each filled to the last line that fits, as the packer does.
pub fn aggregates(lines: &Lines, count: usize) -> Vec<AggregateLines<'_>> {
    let mut keys = HashKeys::new(SEED.into(), SharedShardMap::default());
    let mut aggregates: Vec<AggregateLines<'_>> = Vec::new();
    let mut size = None;
    for line in lines.with_newlines() {
        match &mut size {
            Some(size) if AggregateSize::len_with(size, line.len()) + HashKeys::KEY_LEN <= DEFAULT_RECORD_SIZE => {
                size.push(line.len());
            }
            _ => {
                let key = keys.next_key();
                let mut new = AggregateSize::new(&key);
                new.push(line.len());
                size = Some(new);
                aggregates.push((key, Vec::new()));
            }
        }
        if let Some((_, lines)) = aggregates.last_mut() {
            lines.push(line);
        }
    }
    aggregates.truncate(count);
    aggregates
}

/// The blocks of a log: whole lines, at most 1 MiB each.
pub fn blocks(log: &[u8]) -> Vec<Block> {
    let origin = Arc::new(Origin::new(0, "log".to_owned()));
    let acknowledgements = Acknowledgements::default();
    let mut blocks = Vec::new();
    let mut rest = log;
    while !rest.is_empty() {
        let bytes = block(rest[..rest.len().min(BLOCK_SIZE)].to_vec());
        let (offset, len) = ((log.len() - rest.len()) as u64, bytes.len() as u64);
        rest = &rest[bytes.len()..];
        blocks.push(Block {
            bytes,
            origin: Arc::clone(&origin),
            offset,
            source_bytes: len,
            read_at: Instant::now(),
            layout: Layout::RealTime,
            query_encoding: QueryEncoding::default(),
            is_treated: false,
            cut: None,
            token: acknowledgements.token(0, offset..offset + len),
        });
    }
    blocks
}

/// Rules that keep every line as it came, if it is not longer than that.
pub fn raw_rules(max_line_len: usize) -> Rules {
    let (schemas, matcher) = (Schemas::all_presets(), Matcher::default());
    Rules {
        checks: Checks { schemas, matcher, stop_at_bad_line: true, withhold: false },
        duplicates: None,
        treatment: None,
        encoding: Encoding::Raw,
        max_line_len,
        reorder_for: None,
        partition_by: None,
        observers: Vec::new(),
        pool: BufferPool::new(1),
    }
}

/// The blocks of a log as the packer gets them, lines as they came.
pub fn encoded_blocks(log: &[u8], longest_line: usize) -> Vec<(Arc<EncodedBlock>, AckToken)> {
    let rules = raw_rules(longest_line);
    let mut scratch = Scratch::default();
    let encoded = blocks(log).into_iter().map(|block| rules.encode(block, &mut scratch));
    encoded.map(|encoded| (encoded.block, encoded.token)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_lines() {
        let block = block(log("realtime-46", BLOCK_SIZE));
        assert!(block.len() <= BLOCK_SIZE && block.len() > BLOCK_SIZE - 10_000);
        assert!(block.ends_with(b"\n"));
    }

    #[test]
    fn uniform_lines_have_columns_and_lengths() {
        let lines = Lines::new("realtime-46", uniform_lines(100_000));
        assert!(lines.iter().all(|line| line.columns().count() == 46));
        assert!(lines.with_newlines().all(|line| (600..=900).contains(&line.len())));
    }
}
