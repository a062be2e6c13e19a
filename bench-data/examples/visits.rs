//! Writes a log of visits to standard output and its truth to standard error, with how long that
//! took: `visits SHAPE SEED VISITORS DAYS`.

use std::io::Write;
use std::time::Instant;

use pixel_engine_bench_data::visits::{Options, Visits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, seed, visitors, days] = arguments.as_slice() else {
        return Err("usage: visits SHAPE SEED VISITORS DAYS".into());
    };
    let options = Options::new(shape.parse()?, seed.parse()?);
    let mut visits = Visits::new(Options { visitors: visitors.parse()?, days: days.parse()?, ..options });
    let mut out = std::io::stdout().lock();
    let mut buffer = Vec::new();
    let begun = Instant::now();
    visits.append_header(&mut buffer);
    while visits.append_line(&mut buffer) {
        if buffer.len() >= 1 << 20 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    let elapsed = begun.elapsed();
    let truth = visits.truth();
    eprintln!("{}", serde_json::to_string_pretty(&truth)?);
    eprintln!("{} lines in {elapsed:?}: {:.0}/s", truth.lines, truth.lines as f64 / elapsed.as_secs_f64());
    Ok(())
}
