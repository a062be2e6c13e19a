//! Cutting records of lines: what they are billed, and how fast it goes.

use std::error::Error;
use std::io::Write;

use pixel_engine::limits::firehose::BILLING_STEP;
use pixel_engine::source::Input;
use pixel_engine_benches::data;
use pixel_engine_benches::run::Variant;
use pixel_engine_benches::{Contest, EVERY_PATH, Row, Stage, Target, is_quick};
use pixel_engine_core::pack::lines::{DEFAULT_ALIGN as ALIGN, LinesPacker, MAX_RECORD_SIZE};

const GREEDY: &str = "filled to the last line that fits";
const SINGLE: &str = "one record a line";

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "pack",
        "records of lines, uncompressed. billed/payload: bytes that Firehose bills, in steps of 5,120 B a record, by \
         bytes in the records, of a run of the whole pipeline; beside it the same of a packer that only fills each \
         record in order, and of one record for each line. GB/s: cutting encoded blocks into lists of slices, beside \
         that packer copying the lines into buffers.",
    );
    let size = if is_quick() { 8_000_000 } else { 64_000_000 };
    let logs = [
        ("realtime-46", data::log("realtime-46", size)),
        ("lines of 600 to 900 B", data::uniform_lines(size)),
        ("pixel-4", data::log("pixel-4", size)),
    ];
    for (name, log) in &logs {
        if stage.is_measuring() {
            billed(&mut stage, name, log)?;
        }
        speed(&mut stage, name, log);
    }
    stage.note(
        "Of all records that keep the lines in order and within a size, filling each to the last line that fits makes \
         the fewest. At 5,120 B every record is billed 5,120 B, so in order nothing can be billed less than that.",
    );
    stage.finish()
}

fn billed(stage: &mut Stage, name: &str, log: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(log)?;
    let lines = log.split_inclusive(|&byte| byte == b'\n');
    let single: u64 = lines.clone().map(|line| (line.len() as u64).next_multiple_of(BILLING_STEP)).sum();
    for (record_size, reorder, most) in
        [(MAX_RECORD_SIZE, false, 1.002), (MAX_RECORD_SIZE, true, 1.002), (ALIGN, false, 1.10), (ALIGN, true, 1.10)]
    {
        let variant = Variant { record_size, reorder, ..Variant::RAW };
        let summary = variant.run(Input::File(file.path().to_owned()), 2);
        let mut greedy = 0;
        fill(record_size, lines.clone(), |record| greedy += (record.len() as u64).next_multiple_of(BILLING_STEP));
        let row = |rival: &str, billed: u64| Row {
            what: format!("{name}, records of {record_size} B"),
            path: if reorder { "reordered" } else { "in order" }.to_owned(),
            unit: "billed/payload".to_owned(),
            ours: summary.billed_bytes_firehose as f64 / summary.payload_bytes as f64,
            rival: Some(rival.to_owned()),
            rival_value: Some(billed as f64 / log.len() as f64),
            ratio: None,
            median_ratio: None,
            target: Some(Target::AtMost(most)),
            correct: summary.payload_bytes == log.len() as u64 && summary.lines_shipped == lines.clone().count() as u64,
            checked: "lines and bytes of input and records".to_owned(),
        };
        stage.row(row(GREEDY, greedy));
        stage.row(Row { target: None, ..row(SINGLE, single) });
    }
    Ok(())
}

fn speed(stage: &mut Stage, name: &str, log: &[u8]) {
    let blocks = data::encoded_blocks(log, ALIGN);
    for record_size in [MAX_RECORD_SIZE, ALIGN] {
        let cut = || {
            let mut packer = LinesPacker::new(record_size, ALIGN);
            let mut len = 0;
            let mut emit = |packed: pixel_engine_core::pack::Packed| len += packed.lines.byte_len();
            for (block, token) in &blocks {
                packer.add(block, token, &mut emit);
            }
            packer.flush(&mut emit);
            len
        };
        let copy = || {
            let mut len = 0;
            for (block, _) in &blocks {
                let lines = (0..block.line_count()).map(|index| block.lines(index..index + 1));
                fill(record_size, lines, |record| len += record.len());
            }
            len
        };
        let same = cut() == log.len() && copy() == log.len();
        stage.contest(
            Contest::new(format!("{name}, records of {record_size} B"), log.len())
                .ours(EVERY_PATH, cut)
                .rival("copying each line", copy)
                .checked("bytes of input and records", same),
        );
    }
}

/// The packer to compare with: one buffer, and a new record when a line does not fit any more.
fn fill<'a>(record_size: usize, lines: impl Iterator<Item = &'a [u8]>, mut emit: impl FnMut(&[u8])) {
    let mut record = Vec::with_capacity(record_size);
    for line in lines {
        if record.len() + line.len() > record_size {
            emit(&record);
            record.clear();
        }
        record.extend_from_slice(line);
    }
    if !record.is_empty() {
        emit(&record);
    }
}
