//! Visiting every field of every line, against the CSV crates.

use std::error::Error;

use pixel_engine::log::line::Line;
use pixel_engine::log::scan::{Positions, scan_with};
use pixel_engine::log::schema::Schema;
use pixel_engine::simd::Isa;
use pixel_engine_bench_data::classes;
use pixel_engine_benches::{Contest, Stage, data};

const SIMD_CSV: &str = "simd-csv ZeroCopyReader";
const CSV: &str = "csv ByteRecord";
const COLUMNS: usize = 46;

/// How many fields there are, and their bytes in all.
type Visited = (usize, usize);

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "fields",
        "lines of 46 columns in a block of 1 MiB, in cache: scan, check the column count of each line, add up the \
         length of each field. simd-csv cannot switch quotes off, so its quote is NUL, which no line has; its buffer \
         is 64 KiB (8 KiB is as fast, 1 MiB slower). csv has quotes off. The block is the same one each time, which \
         favours whoever branches on the data: see scan.",
    );
    let size = 1 << 20;
    let blocks = [
        ("realtime-46", data::log("realtime-46", size)),
        ("dense tabs", classes::dense_tabs(size)),
        ("long URLs", classes::long_urls(size)),
    ];
    for (name, lines) in blocks {
        let block = data::block(lines);
        let schema = Schema::preset("realtime-46").ok_or("the engine has this preset")?;
        let expected = by_csv(&block);
        let mut same = by_simd_csv(&block) == expected;
        let mut contest = Contest::new(name, block.len());
        for isa in Isa::available() {
            let mut positions = Positions::default();
            same &= by_lines(isa, &block, &schema, &mut positions) == expected;
            let (block, schema) = (&block, &schema);
            contest = contest.ours(isa, move || by_lines(isa, block, schema, &mut positions));
            if name == "realtime-46" && isa != Isa::Memchr {
                contest = contest.target(isa, SIMD_CSV, 2.0).target(isa, CSV, 5.0);
            }
        }
        let contest = contest
            .rival(SIMD_CSV, || by_simd_csv(&block))
            .rival(CSV, || by_csv(&block))
            .checked("number of fields, sum of lengths", same);
        stage.contest(contest);
    }
    stage.finish()
}

fn by_lines(isa: Isa, block: &[u8], schema: &Schema, positions: &mut Positions) -> Visited {
    scan_with(isa, block, positions);
    let mut visited = (0, 0);
    for (start, ends) in positions.lines() {
        if ends.len() == COLUMNS {
            for field in Line::new(block, start, ends, schema).columns() {
                visited.0 += 1;
                visited.1 += field.len();
            }
        }
    }
    visited
}

fn by_simd_csv(block: &[u8]) -> Visited {
    let mut reader = simd_csv::ZeroCopyReaderBuilder::with_capacity(64 << 10)
        .delimiter(b'\t')
        .quote(0)
        .has_headers(false)
        .from_reader(block);
    let mut visited = (0, 0);
    while let Some(record) = reader.read_byte_record().expect("each line has as many columns as the first") {
        for field in record.iter() {
            visited.0 += 1;
            visited.1 += field.len();
        }
    }
    visited
}

fn by_csv(block: &[u8]) -> Visited {
    let mut reader = csv::ReaderBuilder::new().delimiter(b'\t').quoting(false).has_headers(false).from_reader(block);
    let mut record = csv::ByteRecord::new();
    let mut visited = (0, 0);
    while reader.read_byte_record(&mut record).expect("each line has as many columns as the first") {
        for field in &record {
            visited.0 += 1;
            visited.1 += field.len();
        }
    }
    visited
}
