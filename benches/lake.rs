//! Parquet files from a real-time log of 46 columns, beside DuckDB's `COPY` and a plain program of
//! arrow-rs that reads the same log as CSV; the memory that S3 takes; and the same rows as many small
//! files, which are compacted.
//!
//! Everyone makes the same columns of the same types and compresses them with zstd. Ours is this
//! program again, which does what `pixel-engine ingest --encode parquet` does; it is timed from its
//! start to its end, the rivals without theirs. All take turns, and the best run of each counts.
//!
//! DuckDB is the one that `cargo test` installs below `target/peers`; the program of arrow-rs, in
//! `benches/peers/arrow`, is built first. Who is not there is left out.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fake_aws::FakeAws;
use pixel_engine::config::{Config, EncodingKind, OnBadLine, Settings};
use pixel_engine::lake::compact::{Compaction, Options};
use pixel_engine::log::schema::Schema;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::run::Run;
use pixel_engine::serve::sink;
use pixel_engine::sink::folder::Folder;
use pixel_engine::source::{Files, Input};
use pixel_engine_benches::process::{Took, run};
use pixel_engine_benches::{Row, Stage, Target, data, is_quick};
use serde_json::{Value, json};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a child: where it writes files.
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
/// What the place of a child begins with that compacts the files there.
const COMPACTION: &str = "compaction:";
/// Files that are compacted.
const FILES: usize = 100;
const SHAPE: &str = "realtime-46";
const DUCKDB: &str = "DuckDB's COPY";
const ARROW: &str = "arrow-rs, CSV to Parquet";

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(target) = std::env::var(CHILD) {
        return match target.strip_prefix(COMPACTION) {
            Some(folder) => compact(folder),
            None => ingest(&target),
        };
    }
    let mut stage = Stage::new(
        "lake",
        "realtime-46 from the page cache to Parquet files with zstd, the same 46 columns of the same types, two threads; \
         of arrow-rs one, as it is used most simply.",
    );
    if stage.is_measuring() {
        let folder = tempfile::tempdir()?;
        let (megabytes, rounds) = if is_quick() { (20, 1) } else { (500, 5) };
        let log = generate(folder.path().join("access.log"), megabytes)?;
        files(&mut stage, &log, folder.path(), rounds)?;
        s3(&mut stage, &log)?;
        compaction(&mut stage, &log, folder.path(), rounds)?;
    }
    stage.finish()
}

/// A log, with its size.
struct Log {
    path: PathBuf,
    bytes: u64,
    lines: u64,
}

fn generate(path: PathBuf, megabytes: usize) -> Result<Log, Box<dyn Error>> {
    let log = data::log(SHAPE, megabytes * 1_000_000);
    fs::write(&path, &log)?;
    let lines = log.iter().filter(|&&byte| byte == b'\n').count() as u64;
    Ok(Log { path, bytes: log.len() as u64, lines })
}

/// The fields of the log, in its order.
fn fields() -> Vec<String> {
    let schema = Schema::preset(SHAPE).expect("the shape has the preset's name");
    schema.columns().iter().map(|column| column.name().to_owned()).collect()
}

/// Parquet files at that place, by two threads.
fn config(target: &str) -> Result<Config, Box<dyn Error>> {
    let settings = Settings {
        encode: Some(EncodingKind::Parquet),
        select: Some(fields().join(",")),
        to: Some(target.to_owned()),
        on_bad_line: Some(OnBadLine::Fail),
        threads: Some(2),
        ..Settings::default()
    };
    Ok(settings.validate()?)
}

/// Writes the log in the first argument to files.
fn ingest(target: &str) -> Result<(), Box<dyn Error>> {
    let log = std::env::args().nth(1).ok_or("no log")?;
    let config = config(target)?;
    let mut sink = sink::open(&config, false, Arc::default(), Arc::default(), None)?;
    let mut quarantine = Quarantine::new("/dev/null");
    let report = Run::new(&config).source(Files::new([Input::File(log.into())])).to(&mut *sink, &mut quarantine);
    if let Some(error) = report.errors.first() {
        return Err(error.to_string().into());
    }
    let bytes = report.summary.files.map(|files| files.bytes);
    println!("{}", json!({ "rows": report.summary.lines_shipped, "bytes": bytes }));
    Ok(())
}

/// Makes few files of those in a folder.
fn compact(folder: &str) -> Result<(), Box<dyn Error>> {
    let config = config(&format!("dir:{folder}"))?;
    let options = Options { older_than: Duration::ZERO, ..Options::default() };
    let report = Compaction::new(Arc::new(Folder::new(folder)?), &config, options).run();
    if let Some(error) = report.error {
        return Err(error.into());
    }
    println!("{}", json!({ "rows": report.summary.rows_out, "bytes": report.summary.bytes_out }));
    Ok(())
}

/// A contestant: its name, and how it is started.
type Contestant<'a> = (&'a str, Box<dyn Fn() -> Command + 'a>);

/// What a contestant did: its rows, the bytes of its files, and its seconds.
struct Written {
    rows: u64,
    bytes: u64,
    seconds: f64,
}

impl Written {
    fn of(took: &Took) -> Result<Written, Box<dyn Error>> {
        let found: Value = serde_json::from_slice(&took.output)?;
        let number = |name: &str| found[name].as_u64().ok_or_else(|| format!("no {name} in {found}"));
        // Rivals take the time themselves.
        let seconds = found["seconds"].as_f64().unwrap_or(took.seconds);
        Ok(Written { rows: number("rows")?, bytes: number("bytes")?, seconds })
    }
}

fn files(stage: &mut Stage, log: &Log, folder: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let place = |name: &str| folder.join(name);
    let program = std::env::current_exe()?;
    let to_folder = format!("dir:{}", place("lake").display());
    let mut contestants: Vec<Contestant<'_>> = vec![("ours", Box::new(move || ours(&program, log, &to_folder)))];
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/venv/bin/python");
    if python.exists() {
        let (script, file) = (peers.join("lake.py"), place("duckdb.parquet"));
        let duckdb = move || {
            let mut command = Command::new(&python);
            command.arg(&script).arg(&log.path).arg(&file).args(fields());
            command
        };
        contestants.push((DUCKDB, Box::new(duckdb)));
    }
    if let Some(program) = arrow(&peers.join("arrow")) {
        let file = place("arrow.parquet");
        let arrow = move || {
            let mut command = Command::new(&program);
            command.arg(&log.path).arg(&file).args(fields());
            command
        };
        contestants.push((ARROW, Box::new(arrow)));
    }
    let mut best: Vec<Option<Written>> = contestants.iter().map(|_| None).collect();
    for _ in 0..rounds {
        for ((name, command), best) in contestants.iter().zip(&mut best) {
            let _ = fs::remove_dir_all(place("lake"));
            let written = Written::of(&run(command())?)?;
            assert_eq!(written.rows, log.lines, "{name}: every line is a row");
            if best.as_ref().is_none_or(|best| written.seconds < best.seconds) {
                *best = Some(written);
            }
        }
    }
    let mut best = contestants.iter().map(|(name, _)| *name).zip(best.into_iter().flatten());
    let (_, ours) = best.next().ok_or("no round")?;
    let speed = |written: &Written| log.bytes as f64 / written.seconds / 1e9;
    for (name, rival) in best {
        let times = if name == DUCKDB { 4.0 } else { 3.0 };
        let (theirs, target) = (Some((name, speed(&rival))), Some(Target::Times(times)));
        stage.row(Row::of("Parquet files", "GB/s", speed(&ours), theirs, target, "as many rows as lines".to_owned()));
        let megabytes = |written: &Written| written.bytes as f64 / 1e6;
        let (theirs, target) = (Some((name, megabytes(&rival))), Some(Target::AtMost(megabytes(&rival))));
        stage.row(Row::of("their size", "MB", megabytes(&ours), theirs, target, "as many rows as lines".to_owned()));
    }
    Ok(())
}

fn ours(program: &Path, log: &Log, target: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(&log.path).env(CHILD, target);
    command
}

/// The program of arrow-rs, where it can be built.
fn arrow(folder: &Path) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/arrow");
    let manifest = folder.join("Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(manifest);
    let is_built = cargo.arg("--target-dir").arg(&target).status().is_ok_and(|status| status.success());
    is_built.then(|| target.join("release/csv-to-parquet"))
}

/// The most memory that writing to S3 takes; the service is in this process.
fn s3(stage: &mut Stage, log: &Log) -> Result<(), Box<dyn Error>> {
    let aws = FakeAws::builder().verify_signatures(false).start();
    let bucket = aws.bucket("lake");
    let mut command = ours(&std::env::current_exe()?, log, "s3://lake/pixel/");
    command.envs(aws.environment()).env_remove("AWS_PROFILE");
    let took = run(command)?;
    assert_eq!(Written::of(&took)?.rows, log.lines, "every line is a row");
    let memory = took.peak_bytes as f64 / 1e6;
    let checked = format!("as many rows as lines, {} objects", bucket.objects().len());
    stage.row(Row::of("peak memory, to S3", "MB", memory, None, Some(Target::AtMost(200.0)), checked));
    Ok(())
}

/// Compaction of many small files, of Parquet as `ingest` writes them and of text, into one.
fn compaction(stage: &mut Stage, log: &Log, folder: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let (text, parquet) = (folder.join("text"), folder.join("parquet"));
    fs::create_dir(&text)?;
    fs::create_dir(&parquet)?;
    let lines = fs::read(&log.path)?;
    let mut rest = lines.as_slice();
    for number in 0..FILES {
        let end = rest.len().min(lines.len() / FILES + 1);
        let end = end + rest[end..].iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let (some, others) = rest.split_at(end);
        rest = others;
        let (path, target) = (text.join(format!("{number:03}.log")), folder.join("one"));
        fs::write(&path, some)?;
        let some = Log { path, bytes: some.len() as u64, lines: 0 };
        run(ours(&program, &some, &format!("dir:{}", target.display())))?;
        for (place, file) in files_below(&target)?.into_iter().enumerate() {
            fs::rename(file, parquet.join(format!("{number:03}-{place}.parquet")))?;
        }
    }
    assert!(rest.is_empty(), "every line is in a file");
    drop(lines);
    for (name, original) in [("compaction of Parquet files", &parquet), ("compaction of TSV files", &text)] {
        let (mut best, mut memory, mut count) = (f64::MAX, 0, 0);
        for _ in 0..rounds {
            let copy = folder.join("copy");
            let _ = fs::remove_dir_all(&copy);
            fs::create_dir(&copy)?;
            let files = files_below(original)?;
            count = files.len();
            for file in files {
                fs::hard_link(&file, copy.join(file.file_name().ok_or("a file has a name")?))?;
            }
            let mut command = Command::new(&program);
            command.env(CHILD, format!("{COMPACTION}{}", copy.display()));
            let took = run(command)?;
            assert_eq!(Written::of(&took)?.rows, log.lines, "every line is a row");
            best = best.min(took.seconds);
            memory = memory.max(took.peak_bytes);
        }
        let speed = log.bytes as f64 / best / 1e6;
        let checked = format!("as many rows as lines, {count} files");
        stage.row(Row::of(name, "MB/s of log", speed, None, Some(Target::AtLeast(300.0)), checked.clone()));
        stage.row(Row::of("its peak memory", "MB", memory as f64 / 1e6, None, None, checked));
    }
    Ok(())
}

/// The files of a folder and of those in it.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}
