//! The whole pipeline from the page cache to nowhere: speed, scaling, and peak memory.
//!
//! Paths other than the chosen one, and peak memory, need a process of their own: this program
//! starts itself again with [`CHILD`] set, and the child runs the pipeline and prints what it
//! measured.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Seek, Write as _};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use md5::{Digest, Md5};
use pixel_engine::compress::Codec;
use pixel_engine::run::Summary;
use pixel_engine::simd::{self, Isa};
use pixel_engine::source::Input;
use pixel_engine_benches::run::Variant;
use pixel_engine_benches::{Contest, Row, Stage, Target, data, is_quick};
use serde::{Deserialize, Serialize};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;
/// Set for a child: the name of the variant that it runs.
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
const MEGABYTE: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(variant) = std::env::var(CHILD) {
        return child(&variant);
    }
    let mut stage = Stage::new(
        "ingest",
        "realtime-46 from a file in the page cache (300 MB) through the whole pipeline to `null:`, with mimalloc as in \
         the program. Two threads work; reader, packer and writer have threads of their own that mostly wait.",
    )
    .with_samples(10);
    let megabytes = if is_quick() { 20 } else { 300 };
    let mut file = tempfile::NamedTempFile::new()?;
    let log = data::log("realtime-46", (megabytes * MEGABYTE) as usize);
    file.write_all(&log)?;
    let len = log.len() as u64;
    let lines = log.iter().filter(|&&byte| byte == b'\n').count() as u64;
    drop(log);

    let path = file.path();
    for variant in Variant::ALL {
        speed(&mut stage, &variant, path, len, lines)?;
    }
    if stage.is_measuring() {
        other_paths(&mut stage, path, len, lines)?;
        memory(&mut stage, file.as_file_mut(), len, lines)?;
    }
    stage.finish()
}

fn speed(stage: &mut Stage, variant: &Variant, path: &Path, len: u64, lines: u64) -> io::Result<()> {
    let path_in_use = Isa::chosen();
    let input = Input::File(path.to_owned());
    let file = File::open(path)?;
    let summary = variant.run(input.clone(), THREADS);
    let run = |threads| {
        let input = input.clone();
        move || variant.run(input.clone(), threads)
    };
    let mut contest = Contest::new(format!("{}, {THREADS} threads", variant.name), len as usize)
        .ours(path_in_use, run(THREADS))
        .rival("ours with 1 thread", run(1))
        .checked("lines and bytes counted", is_complete(&summary, len, lines));
    let file = &file;
    match variant.name {
        "raw" => {
            contest = contest.speed_target(path_in_use, 3.0).rival("reading the file, 1 MiB at a time", move || {
                on_threads(file, len, 1 << 20, || |chunk: &[u8]| u64::from(chunk[0]))
            });
        }
        "kpl" => {
            contest = contest.rival("md-5 of 51,200 B at a time", move || {
                on_threads(file, len, 51_200, || |chunk: &[u8]| u64::from(Md5::digest(chunk)[0]))
            });
        }
        "zstd:1" => {
            // What the engine compressed into one record, on average.
            let chunk = (summary.bytes_in / summary.records) as usize;
            let rival = format!("zstd:1 of {chunk} B at a time");
            contest = contest
                .target(path_in_use, &rival, 0.85)
                .rival(&rival, move || on_threads(file, len, chunk, || zstd_work(chunk)));
        }
        _ => {}
    }
    stage.contest(contest);
    Ok(())
}

/// zstd at level 1, with a context and a buffer that are kept.
fn zstd_work(chunk: usize) -> impl FnMut(&[u8]) -> u64 {
    let mut compressor = zstd::bulk::Compressor::new(1).expect("memory does not fail");
    let mut buffer = Vec::with_capacity(Codec::Zstd(1).bound(chunk));
    move |bytes| {
        buffer.clear();
        compressor.compress_to_buffer(bytes, &mut buffer).expect("the buffer is large enough") as u64
    }
}

/// Hands `work` chunks of the file on [`THREADS`] threads, read from the page cache into a buffer
/// of each thread.
fn on_threads<W: FnMut(&[u8]) -> u64>(file: &File, len: u64, chunk: usize, work: impl Fn() -> W + Sync) -> u64 {
    let next = AtomicU64::new(0);
    let (next, work) = (&next, &work);
    thread::scope(|scope| {
        let worker = || {
            let mut work = work();
            let mut buffer = vec![0; chunk];
            let mut sum = 0;
            loop {
                let start = next.fetch_add(chunk as u64, Ordering::Relaxed);
                if start >= len {
                    return sum;
                }
                let bytes = &mut buffer[..chunk.min((len - start) as usize)];
                file.read_exact_at(bytes, start).expect("the file is there");
                sum += work(bytes);
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no worker panics")).sum()
    })
}

fn is_complete(summary: &Summary, bytes: u64, lines: u64) -> bool {
    (summary.bytes_in, summary.lines_in, summary.lines_shipped) == (bytes, lines, lines)
}

/// What a child measured.
#[derive(Serialize, Deserialize)]
struct Measured {
    bytes_in: u64,
    lines_in: u64,
    lines_shipped: u64,
    /// Of the best run, 10^9 bytes a second.
    speed: f64,
    /// The most memory that the process ever had, in bytes; 0 where the system does not tell.
    peak_memory: u64,
}

/// Runs one variant over the file that stands in the first argument, a few times, or once over
/// standard input.
fn child(name: &str) -> Result<(), Box<dyn Error>> {
    let variant = Variant::ALL.into_iter().find(|variant| variant.name == name).ok_or("no such variant")?;
    let path = std::env::args().nth(1);
    let runs = if path.is_some() && !is_quick() { 7 } else { 1 };
    let input = path.map_or(Input::Stdin, |path| Input::File(path.into()));
    let summaries: Vec<Summary> = (0..runs).map(|_| variant.run(input.clone(), THREADS)).collect();
    let speed = summaries.iter().map(|summary| summary.megabytes_per_second / 1e3).fold(0.0, f64::max);
    let Summary { bytes_in, lines_in, lines_shipped, .. } = summaries[0];
    let measured = Measured { bytes_in, lines_in, lines_shipped, speed, peak_memory: peak_memory() };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    kilobytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The paths that were not chosen, each in a process in which it is.
fn other_paths(stage: &mut Stage, path: &Path, bytes: u64, lines: u64) -> Result<(), Box<dyn Error>> {
    for variant in [Variant::RAW, Variant::KPL] {
        for isa in Isa::available().filter(|isa| *isa != Isa::chosen()) {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(path).env(CHILD, variant.name).env(simd::VARIABLE, isa.name());
            let measured: Measured = serde_json::from_slice(&command.output()?.stdout)?;
            stage.row(Row {
                what: format!("{}, {THREADS} threads", variant.name),
                path: isa.to_string(),
                unit: "GB/s".to_owned(),
                ours: measured.speed,
                rival: None,
                rival_value: None,
                ratio: None,
                median_ratio: None,
                target: None,
                correct: (measured.bytes_in, measured.lines_shipped) == (bytes, lines),
                checked: "lines and bytes counted".to_owned(),
            });
        }
    }
    Ok(())
}

/// Peak memory of a child that reads a pipe, once as much as the file has, once many times as much.
fn memory(stage: &mut Stage, file: &mut File, bytes: u64, lines: u64) -> Result<(), Box<dyn Error>> {
    for variant in Variant::ALL {
        for times in [1, 14] {
            let mut child = Command::new(std::env::current_exe()?)
                .env(CHILD, variant.name)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut stdin = child.stdin.take().ok_or("the child has a pipe")?;
            for _ in 0..times {
                file.rewind()?;
                io::copy(file, &mut stdin)?;
            }
            drop(stdin);
            let measured: Measured = serde_json::from_slice(&child.wait_with_output()?.stdout)?;
            stage.row(Row {
                what: format!("{}, peak memory, {} MB from a pipe", variant.name, measured.bytes_in / MEGABYTE),
                path: Isa::chosen().to_string(),
                unit: "MB".to_owned(),
                ours: measured.peak_memory as f64 / MEGABYTE as f64,
                rival: None,
                rival_value: None,
                ratio: None,
                median_ratio: None,
                target: Some(Target::AtMost(200.0)),
                correct: measured.peak_memory > 0
                    && (measured.bytes_in, measured.lines_shipped) == (times * bytes, times * lines),
                checked: "lines and bytes counted".to_owned(),
            });
        }
    }
    stage.note(
        "Peak memory is VmHWM of a process of this benchmark that runs the pipeline once, with the allocator of the \
         program; what the program adds is its command line.",
    );
    Ok(())
}
