//! The bytes that the stages run on.

use pixel_engine::block::BLOCK_SIZE;
use pixel_engine::line::Line;
use pixel_engine::scan::{Positions, scan};
use pixel_engine::schema::{LogKind, Schema};
use pixel_engine_bench_data::{Generator, Options};

const SEED: u64 = 7;

/// Lines of a shape of the generator, at least `bytes` long together.
///
/// # Panics
/// When there is no such shape.
pub fn log(shape: &str, bytes: usize) -> Vec<u8> {
    let shape = shape.parse().expect("a shape of the generator");
    let mut log = Vec::new();
    Generator::new(Options::new(shape, SEED)).append_bytes(&mut log, bytes);
    log
}

/// As many whole lines as the engine's blocks hold, 1 MiB: what it scans at a time.
pub fn block(mut lines: Vec<u8>) -> Vec<u8> {
    let length = lines.len().min(BLOCK_SIZE);
    let end = lines[..length].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    lines.truncate(end);
    lines
}

/// Lines of 46 columns and of 600 to 900 bytes, every length as often as every other; filled up with `x`.
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
