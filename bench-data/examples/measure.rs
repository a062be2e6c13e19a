//! Prints, for each shape and for one with headers in every line, the mean line, the speed of the
//! generator, and how well 100 MB compress.

use std::io::Write;
use std::time::Instant;

use pixel_engine::log::schema::PRESETS;
use pixel_engine_bench_data::{Generator, Options};

const BYTES: usize = 100_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<28} {:>10} {:>8} {:>8} {:>8}", "shape", "bytes/line", "MB/s", "zstd -1", "gzip -6");
    let mut rows = Vec::new();
    for name in PRESETS.iter().map(|preset| preset.name).chain(["standard", "standard-json"]) {
        rows.push((name.to_owned(), Options::new(name.parse()?, 1)));
    }
    let headers = Options { headers_percent: 100, ..Options::new("realtime-46".parse()?, 1) };
    rows.push(("realtime-46, headers in all".to_owned(), headers));
    for (name, options) in rows {
        let mut generator = Generator::new(options);
        let mut log = Vec::new();
        // The first touch of the buffer is the kernel's time, not the generator's.
        generator.append_bytes(&mut log, BYTES);
        log.clear();
        let start = Instant::now();
        let lines = generator.append_bytes(&mut log, BYTES);
        let seconds = start.elapsed().as_secs_f64();
        let zstd = zstd::bulk::compress(&log, 1)?.len();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&log)?;
        let gzip = encoder.finish()?.len();
        println!(
            "{name:<28} {:>10.1} {:>8.0} {:>8.2} {:>8.2}",
            log.len() as f64 / lines as f64,
            log.len() as f64 / seconds / 1e6,
            log.len() as f64 / zstd as f64,
            log.len() as f64 / gzip as f64,
        );
    }
    Ok(())
}
