//! Compressed logs from the page cache: folders of them through the whole pipeline to `null:`, and
//! one member by each decoder.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use pixel_engine::source::{Closed, Feed, Files, Input, Source};
use pixel_engine_benches::process;
use pixel_engine_benches::run::Variant;
use pixel_engine_benches::{Contest, EVERY_PATH, Row, Stage, Target, data, is_quick};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;
/// Set for a child, which reads the files in its arguments.
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
const MEGABYTE: usize = 1_000_000;
/// Who reads with one core what we read with two.
const ONE_AFTER_THE_OTHER: &str = "one after the other, zlib-rs";

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(CHILD).is_some() {
        Variant::RAW.run_source(Files::new(std::env::args().skip(1).map(file).collect::<Vec<_>>()), THREADS);
        return Ok(());
    }
    let mut stage = Stage::new(
        "reading",
        "Standard logs as gzip -6 in the page cache. Folders go through the whole pipeline to `null:`, with mimalloc as \
         in the program, and GB/s are those of text. \"One after the other\" is the same pipeline behind flate2's \
         reader; `gzip` and `pigz` write to /dev/null.",
    )
    .with_samples(10);
    let folder = tempfile::tempdir()?;
    for (name, files, megabytes) in [("40 files of 5 MB", 40, 5), ("8 files of 30 MB", 8, 30)] {
        let files = if is_quick() { 4 } else { files };
        let log = Log::write(folder.path(), files, megabytes * MEGABYTE)?;
        whole_pipeline(&mut stage, name, &log);
        if stage.is_measuring() {
            memory(&mut stage, name, &log)?;
        }
    }
    for len in [20_000, MEGABYTE, 10 * MEGABYTE] {
        one_member(&mut stage, folder.path(), if is_quick() { len.min(MEGABYTE) } else { len })?;
    }
    stage.finish()
}

fn file(path: impl Into<PathBuf>) -> Input {
    Input::File(path.into())
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory does not fail")
}

/// A folder of compressed logs.
struct Log {
    files: Vec<PathBuf>,
    bytes: usize,
    lines: u64,
}

impl Log {
    fn write(folder: &Path, files: usize, bytes: usize) -> Result<Log, Box<dyn Error>> {
        let text = data::log("standard", bytes);
        let compressed = gzip(&text);
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count();
        let write = |number| {
            let path = folder.join(format!("{number:03}.gz"));
            fs::write(&path, &compressed).map(|()| path)
        };
        let paths = (0..files).map(write).collect::<Result<_, _>>()?;
        Ok(Log { files: paths, bytes: files * text.len(), lines: (files * lines) as u64 })
    }

    fn inputs(&self) -> Files {
        Files::new(self.files.iter().map(file).collect::<Vec<_>>())
    }
}

/// Reads files one after the other, as flate2's reader gives them.
struct OneByOne(Vec<PathBuf>);

impl Source for OneByOne {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        for path in &self.0 {
            let mut inlet = feed.open(path.display().to_string());
            inlet.read(MultiGzDecoder::new(fs::File::open(path).expect("the file is there")))?;
            inlet.end()?;
        }
        Ok(())
    }

    fn may_pause(&self) -> bool {
        false
    }
}

fn whole_pipeline(stage: &mut Stage, name: &str, log: &Log) {
    let summary = Variant::RAW.run_source(log.inputs(), THREADS);
    let is_complete = (summary.bytes_in, summary.lines_shipped) == (log.bytes as u64, log.lines);
    let mut contest = Contest::new(format!("{name}, {THREADS} threads"), log.bytes)
        .ours(EVERY_PATH, || Variant::RAW.run_source(log.inputs(), THREADS))
        .rival(ONE_AFTER_THE_OTHER, || Variant::RAW.run_source(OneByOne(log.files.clone()), THREADS))
        .target(EVERY_PATH, ONE_AFTER_THE_OTHER, 2.0)
        .checked("lines and bytes counted", is_complete);
    for program in ["gzip", "pigz"] {
        let decompress = move || {
            let mut command = Command::new(program);
            command.arg("-dc").args(&log.files).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        if decompress() {
            contest = contest.rival(format!("{program} -dc"), decompress);
        }
    }
    stage.contest(contest);
}

/// Peak memory of a process that reads the folder.
fn memory(stage: &mut Stage, name: &str, log: &Log) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(&log.files).env(CHILD, "1");
    let took = process::run(command)?;
    assert!(took.peak_bytes > 0, "the system says how much memory a process takes");
    stage.row(Row::of(
        &format!("{name}, peak memory"),
        "MB",
        took.peak_bytes as f64 / MEGABYTE as f64,
        None,
        Some(Target::AtMost(250.0)),
        "it ran to its end".to_owned(),
    ));
    Ok(())
}

/// Reads all of it, 1 MiB at a time.
fn read_all(mut input: impl Read, buffer: &mut [u8]) -> usize {
    let mut len = 0;
    loop {
        match input.read(buffer).expect("it is whole") {
            0 => return len,
            count => len += count,
        }
    }
}

fn one_member(stage: &mut Stage, folder: &Path, len: usize) -> Result<(), Box<dyn Error>> {
    let mut text = data::log("standard", len);
    text.truncate(len);
    let compressed = gzip(&text);
    let path = folder.join("one.gz");
    fs::write(&path, &compressed)?;
    let open = || file(&path).open(Default::default(), Default::default()).expect("it is gzip");
    let mut ours = Vec::new();
    open().read_to_end(&mut ours)?;
    let (mut buffer, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let theirs = || MultiGzDecoder::new(fs::File::open(&path).expect("the file is there"));
    stage.contest(
        Contest::new(format!("one member, {} KB", len / 1_000), len)
            .ours(EVERY_PATH, || read_all(open(), &mut buffer))
            .rival("flate2 on zlib-rs", || read_all(theirs(), &mut other))
            .target(EVERY_PATH, "flate2 on zlib-rs", 1.5)
            .checked("text", ours == text),
    );
    Ok(())
}
