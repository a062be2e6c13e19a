//! What this machine can do: lines a second of each variant, and how much of Kinesis and Firehose
//! one core fills.

use std::error::Error;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use pixel_engine::config::EncodingKind;
use pixel_engine::run::Summary;
use pixel_engine::source::Input;
use pixel_engine_benches::capacity::{Capacity, Made, Rate, VariantCapacity};
use pixel_engine_benches::run::Variant;
use pixel_engine_benches::{Mode, cpu_seconds, data, is_quick};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mode = Mode::of_arguments();
    if mode == Mode::List {
        return Ok(());
    }
    let quick = is_quick() || mode == Mode::Test;
    let megabytes = if quick { 20 } else { 300 };
    let log = data::log("realtime-46", megabytes * 1_000_000);
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&log)?;
    let input = Wanted { lines: log.iter().filter(|&&byte| byte == b'\n').count() as u64, bytes: log.len() as u64 };
    drop(log);

    let cores = thread::available_parallelism()?;
    let mut capacity = Capacity::new(format!(
        "realtime-46, {megabytes} MB of lines of {} B, from a file in the page cache through the pipeline to nowhere",
        input.bytes / input.lines
    ))?;
    for variant in Variant::ALL {
        capacity.push(measured(&variant, file.path(), &input, cores, if quick { 2 } else { 7 }));
    }
    if mode == Mode::Measure {
        println!("\n{}\n", capacity.to_text());
        for path in capacity.save(Path::new(env!("CARGO_TARGET_TMPDIR")))? {
            println!("  {}", path.display());
        }
        println!();
    }
    Ok(())
}

/// What a run must have counted.
struct Wanted {
    lines: u64,
    bytes: u64,
}

impl Wanted {
    /// Raw lines without compression are also in the records to the byte.
    fn is_met(&self, variant: &Variant, summary: &Summary) -> bool {
        let counted =
            (summary.lines_in, summary.lines_shipped, summary.bytes_in) == (self.lines, self.lines, self.bytes);
        counted && (variant.name != Variant::RAW.name || summary.payload_bytes == self.bytes)
    }
}

/// The best of several rounds, in each of which every number of threads has its turn.
fn measured(variant: &Variant, log: &Path, wanted: &Wanted, cores: NonZeroUsize, rounds: usize) -> VariantCapacity {
    let mut threads: Vec<usize> =
        std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|count| *count < cores.get()).collect();
    threads.push(cores.get());
    let mut seconds = vec![f64::INFINITY; threads.len()];
    let mut least_cpu = f64::INFINITY;
    let mut correct = true;
    let mut last = Summary::default();
    for _ in 0..rounds {
        for (count, best) in threads.iter().zip(&mut seconds) {
            let before = cpu_seconds();
            let summary = variant.run(Input::File(log.to_owned()), *count);
            if *count == 1 {
                least_cpu = least_cpu.min(cpu_seconds() - before);
                last = summary.clone();
            }
            *best = best.min(summary.elapsed_seconds);
            correct &= wanted.is_met(variant, &summary);
        }
    }
    let Wanted { lines, bytes } = *wanted;
    let made = Made {
        lines,
        bytes,
        encoded_bytes: if variant.encoding == EncodingKind::Raw { bytes } else { last.payload_bytes },
        records: last.records,
        payload_bytes: last.payload_bytes,
        requests: last.requests,
        api: variant.api(),
    };
    let rates: Vec<(usize, Rate)> =
        threads.iter().zip(seconds).map(|(count, seconds)| (*count, Rate::new(lines, bytes, seconds))).collect();
    VariantCapacity::new(
        variant.name,
        made,
        Rate::new(lines, bytes, least_cpu),
        &rates,
        "lines and bytes counted",
        correct,
    )
}
