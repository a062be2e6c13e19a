//! Parquet files from a real-time log of 46 columns, beside DuckDB's `COPY` and a plain program of
//! arrow-rs that reads the same log as CSV; and the memory that S3 takes.
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

use fake_aws::FakeAws;
use pixel_engine::config::{EncodingKind, OnBadLine, Settings};
use pixel_engine::log::schema::Schema;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::run::Run;
use pixel_engine::serve::sink;
use pixel_engine::source::{Files, Input};
use pixel_engine_benches::process::{Took, run};
use pixel_engine_benches::{Row, Stage, Target, data, is_quick};
use serde_json::{Value, json};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a child: where it writes files.
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
const SHAPE: &str = "realtime-46";
const DUCKDB: &str = "DuckDB's COPY";
const ARROW: &str = "arrow-rs, CSV to Parquet";

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(target) = std::env::var(CHILD) {
        return child(&target);
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

/// Writes the log in the first argument to files.
fn child(target: &str) -> Result<(), Box<dyn Error>> {
    let log = std::env::args().nth(1).ok_or("no log")?;
    let settings = Settings {
        encode: Some(EncodingKind::Parquet),
        select: Some(fields().join(",")),
        to: Some(target.to_owned()),
        on_bad_line: Some(OnBadLine::Fail),
        threads: Some(2),
        ..Settings::default()
    };
    let config = settings.validate()?;
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
