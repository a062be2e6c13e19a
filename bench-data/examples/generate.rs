//! Writes a log to standard output: `generate SHAPE SEED BYTES`, such as
//! `generate realtime-46 7 100000000`.
//!
//! For programs that read files, and for comparisons with other tools.

use std::io::Write;

use pixel_engine_bench_data::{Generator, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, seed, bytes] = arguments.as_slice() else {
        return Err("usage: generate SHAPE SEED BYTES".into());
    };
    let mut left: usize = bytes.parse()?;
    let mut generator = Generator::new(Options::new(shape.parse()?, seed.parse()?));
    let mut out = std::io::stdout().lock();
    let mut buffer = Vec::new();
    generator.append_header(&mut buffer);
    while left > 0 {
        generator.append_bytes(&mut buffer, left.min(1 << 20));
        out.write_all(&buffer)?;
        left = left.saturating_sub(buffer.len());
        buffer.clear();
    }
    Ok(())
}
