//! Reports: the default report from the page cache, beside GoAccess and DuckDB on the same logs; how
//! it grows with the log, and its memory with many visitors.
//!
//! Everyone is a process of its own, timed from its start to its end as a user would; ours is this
//! program again, which does what `pixel-engine report --json` does. Ours and a rival take turns,
//! and the best run of each counts. DuckDB is timed inside of Python, without its start, and is asked
//! for four of the numbers only: how many beacons, how many different visitors, the 20 pages with
//! most of them, and beacons by hour.
//!
//! GoAccess is Debian's package and reads standard logs only; DuckDB is the one that `cargo test`
//! installs below `target/peers`. Who is not there is left out.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pixel_engine::agents::Agents;
use pixel_engine::config::{OnBadLine, Settings};
use pixel_engine::observe::Observed;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::report::{self, AgentReader, Beacons, Document, Lines, View};
use pixel_engine::run::Run;
use pixel_engine::sink::null::Null;
use pixel_engine::source::{Files, Input};
use pixel_engine_bench_data::Shape;
use pixel_engine_bench_data::visits::{self, Abnormalities, Visits};
use pixel_engine_benches::process::{Took, best, run};
use pixel_engine_benches::{Row, Stage, Target, is_quick};
use serde_json::Value;

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a child, which makes one report of the files in its arguments.
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
const MEGABYTE: f64 = 1e6;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let mut stage = Stage::new(
        "report",
        "Visits of generated visitors, whole logs from the page cache, every process from its start to its end, two \
         threads. Ours is the default report as JSON, with all of its tables.",
    );
    if stage.is_measuring() {
        let folder = tempfile::tempdir()?;
        let (visitors, rounds) = if is_quick() { (3_000, 1) } else { (300_000, 3) };
        let log = generate(folder.path().join("realtime.log"), "realtime-46", visitors, 3)?;
        real_time(&mut stage, &log, rounds)?;
        duckdb(&mut stage, &log, rounds)?;
        fs::remove_file(&log.path)?;
        let standard = generate(folder.path().join("standard.log"), "standard", visitors, 3)?;
        goaccess(&mut stage, &standard, 1, "standard log")?;
        fs::remove_file(&standard.path)?;
        let many = generate(folder.path().join("many.log"), "standard", 2 * visitors, 1)?;
        goaccess(&mut stage, &many, 1, "standard log of twice the visitors")?;
    }
    stage.finish()
}

/// A log of visits, with its size.
struct Log {
    path: PathBuf,
    bytes: u64,
    lines: u64,
}

fn generate(path: PathBuf, shape: &str, visitors: u64, days: u32) -> Result<Log, Box<dyn Error>> {
    let shape: Shape = shape.parse()?;
    // GoAccess leaves out what has no status: nothing goes wrong here.
    let abnormal = Abnormalities::NONE;
    let mut visits = Visits::new(visits::Options { days, visitors, abnormal, ..visits::Options::new(shape, 7) });
    let (mut file, mut line) = (BufWriter::with_capacity(1 << 20, File::create(&path)?), Vec::new());
    visits.append_header(&mut line);
    loop {
        file.write_all(&line)?;
        line.clear();
        if !visits.append_line(&mut line) {
            break;
        }
    }
    file.flush()?;
    Ok(Log { bytes: fs::metadata(&path)?.len(), lines: visits.truth().lines, path })
}

/// Makes a report of the files in the arguments.
fn child() -> Result<(), Box<dyn Error>> {
    let inputs: Vec<Input> = std::env::args().skip(1).map(|path| Input::File(path.into())).collect();
    let settings = Settings {
        to: Some("null:".to_owned()),
        on_bad_line: Some(OnBadLine::Skip),
        threads: Some(2),
        ..Settings::default()
    };
    let config = settings.validate()?;
    let agents = Arc::new(AgentReader::new(Agents::new()));
    let beacons = Arc::new(Observed::new(Beacons::new(report::Settings::default().validate()?, agents)));
    let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
    let run = Run::new(&config).source(Files::new(inputs)).observer(beacons.clone()).to(&mut sink, &mut quarantine);
    let observer = beacons.observer();
    let state = observer.take(beacons.take()).with_lines(Lines::of_run(&run));
    let document = Document::new(&state, observer.agents(), &View::default());
    println!("{}", serde_json::to_string(&document)?);
    Ok(())
}

fn ours(files: &[&Path]) -> Result<Command, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(files).env(CHILD, "1");
    Ok(command)
}

/// Beacons that the report counts.
fn beacons(took: &Took) -> Result<u64, Box<dyn Error>> {
    let report: Value = serde_json::from_slice(&took.output)?;
    Ok(report["beacons"]["beacons"].as_u64().ok_or("no beacons")?)
}

fn real_time(stage: &mut Stage, log: &Log, rounds: usize) -> Result<(), Box<dyn Error>> {
    let one = best(rounds, || ours(&[&log.path]))?;
    assert_eq!(beacons(&one)?, log.lines, "every line is counted");
    let speed = log.bytes as f64 / one.seconds / 1e9;
    let what = format!("default report, {:.0} MB", log.bytes as f64 / MEGABYTE);
    stage.row(Row::of(&what, "GB/s", speed, None, Some(Target::AtLeast(1.5)), "every line is counted".to_owned()));
    let times = 10;
    let ten = best(rounds.min(2), || ours(&vec![&*log.path; times]))?;
    assert_eq!(beacons(&ten)?, times as u64 * log.lines, "every line is counted");
    let speed = times as f64 * log.bytes as f64 / ten.seconds / 1e9;
    let what = format!("default report, {:.1} GB", times as f64 * log.bytes as f64 / 1e9);
    stage.row(Row::of(&what, "GB/s", speed, None, Some(Target::AtLeast(1.5)), "every line is counted".to_owned()));
    let memory = ten.peak_bytes as f64 / MEGABYTE;
    stage.row(Row::of("its peak memory", "MB", memory, None, Some(Target::AtMost(200.0)), "VmHWM".to_owned()));
    let gzip = compressed(log)?;
    let theirs = best(rounds.min(2), || Ok(arguments("gzip", &["-dc"], &gzip)))?;
    let took = best(rounds, || ours(&[&gzip]))?;
    assert_eq!(beacons(&took)?, log.lines, "every line is counted");
    let speed = |took: &Took| log.bytes as f64 / took.seconds / 1e9;
    let rival = Some(("gzip -dc", speed(&theirs)));
    stage.row(Row::of("the same in gzip", "GB/s", speed(&took), rival, None, "every line is counted".to_owned()));
    Ok(())
}

fn arguments(program: &str, arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(file);
    command
}

fn compressed(log: &Log) -> Result<PathBuf, Box<dyn Error>> {
    let path = log.path.with_extension("log.gz");
    let output = Command::new("gzip").args(["-1", "-kc"]).arg(&log.path).stdout(File::create(&path)?).status()?;
    if output.success() { Ok(path) } else { Err("gzip failed".into()) }
}

fn duckdb(stage: &mut Stage, log: &Log, rounds: usize) -> Result<(), Box<dyn Error>> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/venv/bin/python");
    if !python.exists() {
        return Ok(());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/report.py");
    let (mut theirs, mut counted) = (f64::INFINITY, 0);
    for _ in 0..rounds.min(3) {
        let mut command = Command::new(&python);
        command.arg(&script).arg(&log.path);
        let found: Value = serde_json::from_slice(&run(command)?.output)?;
        theirs = theirs.min(found["seconds"].as_f64().ok_or("no seconds")?);
        counted = found["beacons"].as_u64().ok_or("no beacons")?;
    }
    assert_eq!(counted, log.lines, "the same lines");
    let took = best(rounds, || ours(&[&log.path]))?;
    let speed = |seconds: f64| log.bytes as f64 / seconds / 1e9;
    let rival = Some(("DuckDB, four of the numbers", speed(theirs)));
    let checked = "the same number of beacons".to_owned();
    stage.row(Row::of("default report", "GB/s", speed(took.seconds), rival, Some(Target::Times(2.0)), checked));
    Ok(())
}

fn goaccess(stage: &mut Stage, log: &Log, rounds: usize, data: &str) -> Result<(), Box<dyn Error>> {
    let Ok(version) = Command::new("goaccess").arg("--version").output() else { return Ok(()) };
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.lines().next().unwrap_or_default().trim_end_matches('.').replace(" - ", " ");
    let found = log.path.with_extension("json");
    let goaccess = || {
        let mut command = Command::new("goaccess");
        command.args(["--log-format=CLOUDFRONT", "--no-global-config", "--no-progress", "-o"]);
        command.arg(&found).arg("-f").arg(&log.path);
        Ok(command)
    };
    let theirs = best(rounds, goaccess)?;
    let found: Value = serde_json::from_slice(&fs::read(&found)?)?;
    let took = best(rounds.max(3), || ours(&[&log.path]))?;
    let hits = found["general"]["valid_requests"].as_u64().ok_or("no requests")?;
    assert_eq!(hits, beacons(&took)?, "the same lines");
    let speed = |took: &Took| log.bytes as f64 / took.seconds / 1e9;
    let what = format!("default report, {data}, {:.0} MB", log.bytes as f64 / MEGABYTE);
    let rival = Some((version.as_str(), speed(&theirs)));
    let checked = "the same number of requests".to_owned();
    stage.row(Row::of(&what, "GB/s", speed(&took), rival, Some(Target::Times(30.0)), checked.clone()));
    let (memory, theirs) = (took.peak_bytes as f64 / MEGABYTE, theirs.peak_bytes as f64 / MEGABYTE);
    let target = Some(Target::AtMost(theirs / 10.0));
    stage.row(Row::of("its peak memory", "MB", memory, Some((version.as_str(), theirs)), target, checked));
    Ok(())
}
