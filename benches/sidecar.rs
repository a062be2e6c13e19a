//! The sidecar as it runs for months: what it costs while lines trickle, how soon they arrive, how
//! fast a file may grow, and how many hits its pixel takes.
//!
//! The sidecar is a process of its own, so that its CPU time and memory are its own: this program
//! starts itself again with [`CHILD`] set. Hits come from `wrk` where it is installed. The rival is
//! nginx where it is installed, which serves the same GIF and writes a log that is not synced.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fake_aws::FakeAws;
use pixel_engine::serve::config::FileConfig;
use pixel_engine::serve::sidecar::Sidecar;
use pixel_engine_benches::{Row, Stage, Target, data, is_quick};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a child: the configuration file.
const CHILD: &str = "PIXEL_ENGINE_BENCH_SIDECAR";
/// Lines a second, of a busy site.
const STEADY_RATE: usize = 20_000;
/// Bytes a second that a writer adds to a file: more than what is to be kept up with.
const WRITER_RATE: usize = 600_000_000;
const LINGER: Duration = Duration::from_millis(200);
/// Hits a second that the pixel is to take, on two cores that the client shares.
const HITS: f64 = 60_000.0;
/// Connections at a time, for as many hits as there can be.
const CONNECTIONS: usize = 512;
/// And for more than half as many.
const FEW_CONNECTIONS: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(file) = std::env::var(CHILD) {
        return child(Path::new(&file));
    }
    let mut stage = Stage::new(
        "sidecar",
        "A sidecar in a process of its own, with mimalloc as in the program, beside a strict fake of Firehose or `null:`, on \
         the cores that the writer or the client takes its share of. CPU time and memory are those of the sidecar alone.",
    );
    if stage.is_measuring() {
        idle(&mut stage)?;
        steady(&mut stage)?;
        linger(&mut stage)?;
        follow(&mut stage)?;
        pixel(&mut stage)?;
    }
    stage.finish()
}

fn seconds(long: u64) -> Duration {
    Duration::from_secs(if is_quick() { 2 } else { long })
}

fn row(stage: &mut Stage, what: &str, unit: &str, ours: f64, target: Option<Target>, correct: bool, checked: &str) {
    stage.row(Row {
        what: what.to_owned(),
        path: "every".to_owned(),
        unit: unit.to_owned(),
        ours,
        rival: None,
        rival_value: None,
        ratio: None,
        median_ratio: None,
        target,
        correct,
        checked: checked.to_owned(),
    });
}

fn idle(stage: &mut Stage) -> Result<(), Box<dyn Error>> {
    let aws = FakeAws::start();
    aws.delivery_stream("beacons");
    let running = Running::start(&aws, "to = \"firehose://beacons\"\nspool = \"spool\"", FOLLOW)?;
    let mut log = running.log()?;
    log.write_all(&data::log("realtime-46", 100_000))?;
    sleep(Duration::from_secs(2));
    let (before, begun) = (running.cpu_seconds()?, Instant::now());
    sleep(seconds(20));
    let share = 100.0 * (running.cpu_seconds()? - before) / begun.elapsed().as_secs_f64();
    running.stop()?;
    row(stage, "nothing to do, one file followed", "% of a core", share, Some(Target::AtMost(0.5)), true, "");
    Ok(())
}

fn steady(stage: &mut Stage) -> Result<(), Box<dyn Error>> {
    let aws = FakeAws::builder().verify_signatures(false).start();
    let stream = aws.delivery_stream("beacons");
    stream.keep_counts();
    let running = Running::start(&aws, "to = \"firehose://beacons\"\ncompress = \"zstd:1\"", FOLLOW)?;
    let mut log = running.log()?;
    let lines = Lines::new(STEADY_RATE / 10);
    let (before, begun, time) = (running.cpu_seconds()?, Instant::now(), seconds(60));
    let mut written = 0;
    while begun.elapsed() < time {
        let chunk = lines.chunk(written);
        log.write_all(chunk)?;
        written += STEADY_RATE / 10;
        sleep((begun + Duration::from_millis(100) * (written / (STEADY_RATE / 10)) as u32) - Instant::now());
    }
    let share = 100.0 * (running.cpu_seconds()? - before) / begun.elapsed().as_secs_f64();
    let memory = running.peak_memory()? as f64 / 1e6;
    let done = running.stop()?;
    let correct = done.lines_shipped == written as u64 && aws.counters().violations.is_empty();
    let what = format!("{STEADY_RATE} lines/s, zstd:1");
    row(stage, &what, "% of a core", share, Some(Target::AtMost(6.0)), correct, "lines");
    row(stage, &what, "MB", memory, Some(Target::AtMost(100.0)), correct, "lines");
    Ok(())
}

/// From when a line was written until a record with it has arrived.
fn linger(stage: &mut Stage) -> Result<(), Box<dyn Error>> {
    let aws = FakeAws::start();
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&latencies);
    aws.delivery_stream("beacons").hand_over(move |arrival| {
        let now = since_1970();
        let mut seen = seen.lock().expect("no other panics");
        for line in arrival.data.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let text = String::from_utf8_lossy(line);
            let written: f64 = text.split('\t').next().and_then(|it| it.parse().ok()).expect("it was written below");
            seen.push(now - written);
        }
    });
    let settings = format!("to = \"firehose://beacons\"\nlinger = \"{}ms\"", LINGER.as_millis());
    let running = Running::start(&aws, &settings, FOLLOW)?;
    let mut log = running.log()?;
    let (begun, time) = (Instant::now(), seconds(30));
    let mut written = 0;
    while begun.elapsed() < time {
        writeln!(log, "{:.6}\t203.0.113.9\tcurl/8.0\tn={written}", since_1970())?;
        written += 1;
        sleep(Duration::from_micros(fastrand::u64(5_000..50_000)));
    }
    let done = running.stop()?;
    let mut latencies = std::mem::take(&mut *latencies.lock().expect("no other panics"));
    let correct = latencies.len() == written && done.lines_shipped == written as u64;
    let what = format!("from writing a line to its arrival, p99, linger {} ms", LINGER.as_millis());
    let most = LINGER.as_secs_f64() * 1e3 + 200.0;
    row(stage, &what, "ms", quantile(&mut latencies, 0.99) * 1e3, Some(Target::AtMost(most)), correct, "lines");
    Ok(())
}

fn follow(stage: &mut Stage) -> Result<(), Box<dyn Error>> {
    let aws = FakeAws::start();
    let running = Running::start(&aws, "to = \"null:\"\nlinger = \"10ms\"", FOLLOW)?;
    let mut log = running.log()?;
    let lines = Lines::new(WRITER_RATE / 100 / 900);
    let (begun, time) = (Instant::now(), seconds(8));
    let (mut written, mut bytes) = (0, 0);
    while begun.elapsed() < time {
        let chunk = lines.chunk(0);
        log.write_all(chunk)?;
        (written, bytes) = (written + lines.step as u64, bytes + chunk.len());
        let due = begun + Duration::from_secs_f64(bytes as f64 / WRITER_RATE as f64);
        sleep(due.saturating_duration_since(Instant::now()));
    }
    let wrote = begun.elapsed();
    let done = running.stop_after(written)?;
    let speed = bytes as f64 / 1e9 / begun.elapsed().as_secs_f64();
    let correct = done.lines_shipped == written;
    row(
        stage,
        "a file that grows, until its last line is acknowledged",
        "GB/s",
        speed,
        Some(Target::AtLeast(0.5)),
        correct,
        "lines",
    );
    stage.note(format!(
        "The writer alone reached {:.2} GB/s; the sidecar was done {:.2} s after it.",
        bytes as f64 / 1e9 / wrote.as_secs_f64(),
        (begun.elapsed() - wrote).as_secs_f64()
    ));
    Ok(())
}

fn pixel(stage: &mut Stage) -> Result<(), Box<dyn Error>> {
    let aws = FakeAws::start();
    let port = free_port()?;
    let source = format!("type = \"http\"\nlisten = \"127.0.0.1:{port}\"");
    let running = Running::start(&aws, "to = \"null:\"\njournal = \"journal\"", &source)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(address);
    let (Some(full), Some(half)) = (wrk(address, CONNECTIONS)?, wrk(address, FEW_CONNECTIONS)?) else {
        stage.note("wrk is not installed, so that hits were not counted.");
        running.stop()?;
        return Ok(());
    };
    let done = running.stop()?;
    let rival = nginx()?;
    let correct = done.lines_shipped >= full.hits + half.hits;
    stage.row(Row {
        what: format!("hits, every one synced before its reply, {CONNECTIONS} connections of wrk"),
        path: "every".to_owned(),
        unit: "hits/s".to_owned(),
        ours: full.per_second,
        rival: rival.map(|_| "nginx, with a log that is not synced".to_owned()),
        rival_value: rival,
        ratio: rival.map(|rival| full.per_second / rival),
        median_ratio: None,
        target: Some(Target::AtLeast(HITS)),
        correct,
        checked: "lines for replies".to_owned(),
    });
    let what = format!("a hit to its reply, p99, {FEW_CONNECTIONS} connections of wrk");
    row(stage, &what, "ms", half.p99_ms, Some(Target::AtMost(5.0)), correct, "lines for replies");
    stage.note(format!("With {FEW_CONNECTIONS} connections, there were {:.0} hits/s.", half.per_second));
    Ok(())
}

/// The source that follows one file.
const FOLLOW: &str = "type = \"follow\"\nfiles = [\"a.log\"]";

/// A sidecar in a process of its own, and its folder.
struct Running {
    folder: TempDir,
    child: Child,
}

/// What a child says of itself when it ends.
#[derive(Serialize, Deserialize)]
struct Done {
    lines_shipped: u64,
}

impl Running {
    fn start(aws: &FakeAws, settings: &str, source: &str) -> Result<Running, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("pixel-engine.toml");
        let text =
            format!("[pipeline.beacons]\n{settings}\nresume = \"checkpoint\"\n[[pipeline.beacons.source]]\n{source}\n");
        fs::write(&file, text)?;
        let child = Command::new(std::env::current_exe()?)
            .current_dir(folder.path())
            .env(CHILD, &file)
            .envs(aws.environment())
            .env_remove("AWS_PROFILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Running { folder, child })
    }

    fn log(&self) -> std::io::Result<File> {
        File::create(self.folder.path().join("a.log"))
    }

    /// `utime` and `stime` of proc(5), in hundredths.
    fn cpu_seconds(&self) -> Result<f64, Box<dyn Error>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
    }

    /// The most bytes that were resident.
    fn peak_memory(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(1_024 * peak.trim().trim_end_matches(" kB").parse::<u64>()?)
    }

    fn stop(self) -> Result<Done, Box<dyn Error>> {
        self.stop_after(0)
    }

    /// Stops it once so many lines have been shipped.
    fn stop_after(mut self, lines: u64) -> Result<Done, Box<dyn Error>> {
        let mut input = self.child.stdin.take().expect("it is a pipe");
        writeln!(input, "{lines}")?;
        drop(input);
        let output = self.child.wait_with_output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Runs the sidecar until it is told on standard input after how many lines to stop.
fn child(file: &Path) -> Result<(), Box<dyn Error>> {
    let watches = Arc::<pixel_engine::serve::watch::Watches>::default();
    let sidecar = Sidecar::start(FileConfig::read(file, std::env::vars())?, Arc::clone(&watches))?;
    let mut lines = String::new();
    std::io::stdin().read_to_string(&mut lines)?;
    let lines: u64 = lines.trim().parse()?;
    let shipped = || watches.all()[0].progress.lines_shipped.get();
    while shipped() < lines {
        sleep(Duration::from_millis(1));
    }
    // What was written last is found at the next look.
    if lines == 0 {
        sleep(Duration::from_secs(1));
    }
    sidecar.stop();
    println!("{}", serde_json::to_string(&Done { lines_shipped: shipped() })?);
    Ok(())
}

/// Lines to write, so many at a time.
struct Lines {
    log: Vec<u8>,
    /// Where each chunk of `step` lines ends.
    ends: Vec<usize>,
    step: usize,
}

impl Lines {
    fn new(step: usize) -> Lines {
        let log = data::log("realtime-46", 40_000_000);
        let newlines = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(place, _)| place + 1);
        let ends = newlines.skip(step - 1).step_by(step).collect();
        Lines { log, ends, step }
    }

    /// The chunk that follows so many lines, from the first one again behind the last.
    fn chunk(&self, written: usize) -> &[u8] {
        let place = written / self.step % self.ends.len();
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.log[start..self.ends[place]]
    }
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs_f64()
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 - 1.0) * part) as usize).copied().unwrap_or(f64::NAN)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(address: SocketAddr) {
    while TcpStream::connect(address).is_err() {
        sleep(Duration::from_millis(10));
    }
}

struct Wrk {
    hits: u64,
    per_second: f64,
    p99_ms: f64,
}

/// What `wrk` counts, where it is installed.
fn wrk(address: SocketAddr, connections: usize) -> Result<Option<Wrk>, Box<dyn Error>> {
    let arguments = [format!("-c{connections}"), format!("-d{}s", seconds(10).as_secs())];
    let url = format!("http://{address}/pixel.gif?e=view&page=home&u=12345");
    let Ok(output) = Command::new("wrk").args(["-t1", "--latency"]).args(arguments).arg(url).output() else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") {
        return Err(format!("wrk: {text}").into());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let behind = |word: &str| words.iter().skip_while(|it| **it != word).nth(1).copied().ok_or("wrk counts nothing");
    let before = |word: &str| words.iter().take_while(|it| **it != word).last().copied().ok_or("wrk counts nothing");
    let p99 = behind("99%")?;
    let unit = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)].into_iter().find(|(unit, _)| p99.ends_with(unit));
    let (unit, ms) = unit.ok_or("wrk has another unit of time")?;
    Ok(Some(Wrk {
        hits: before("requests")?.parse()?,
        per_second: behind("Requests/sec:")?.parse()?,
        p99_ms: p99.trim_end_matches(unit).parse::<f64>()? * ms,
    }))
}

/// How many hits nginx takes, where it is installed.
fn nginx() -> Result<Option<f64>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (path, port) = (folder.path().display(), free_port()?);
    let file = folder.path().join("nginx.conf");
    fs::write(
        &file,
        format!(
            "daemon off; worker_processes 2; pid {path}/pid; error_log {path}/error;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log {path}/access.log combined buffer=64k flush=1s; keepalive_requests 100000000;\n\
             server {{ listen 127.0.0.1:{port}; location = /pixel.gif {{ empty_gif; }} }} }}\n"
        ),
    )?;
    let Ok(mut child) = Command::new("nginx").arg("-c").arg(&file).stderr(Stdio::null()).spawn() else {
        return Ok(None);
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(address);
    let found = wrk(address, CONNECTIONS);
    // A master that is killed leaves its workers behind.
    Command::new("nginx").args(["-s", "stop", "-c"]).arg(&file).stderr(Stdio::null()).status()?;
    child.wait()?;
    Ok(found?.map(|found| found.per_second))
}
