//! The sidecar as it runs for months: what it costs while lines trickle, how soon they arrive, how
//! fast a file may grow, and how many hits its pixel takes.
//!
//! The sidecar is a process of its own, so that its CPU time and memory are its own: this program
//! starts itself again with [`CHILD`] set. Hits come from `wrk` where it is installed, and from a
//! client of this file that keeps to a schedule: of a hit that is late, the time counts from when it
//! was due. The rival is nginx where it is installed, which serves the same GIF and writes a log
//! that is not synced.

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
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a child: the configuration file.
const CHILD: &str = "PIXEL_ENGINE_BENCH_SIDECAR";
/// Lines a second, of a busy site.
const STEADY_RATE: usize = 20_000;
/// Bytes a second that a writer adds to a file.
const WRITER_RATE: usize = 500_000_000;
const LINGER: Duration = Duration::from_millis(200);
/// Hits a second that the pixel is to take, on two cores that the client shares.
const HITS: f64 = 60_000.0;
/// Connections at a time.
const CONNECTIONS: usize = 512;

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
    let half = HITS / 2.0;
    let (mut latencies, refused) = paced(address, half, seconds(10))?;
    let (sent, mut hits) = (latencies.len() as u64, 0.0);
    let what = format!("{half:.0} hits/s, from when each was due to its reply, p99");
    let p99 = quantile(&mut latencies, 0.99) * 1e3;
    row(stage, &what, "ms", p99, Some(Target::AtMost(5.0)), refused == 0, "replies");
    let mut rival = None;
    if let Some(found) = wrk(address)? {
        hits = found.per_second;
        rival = nginx()?;
    } else {
        stage.note("wrk is not installed, so that hits at full load were not counted.");
    }
    let done = running.stop()?;
    if hits > 0.0 {
        stage.row(Row {
            what: format!("hits, every one synced before its reply, {CONNECTIONS} connections of wrk"),
            path: "every".to_owned(),
            unit: "hits/s".to_owned(),
            ours: hits,
            rival: rival.map(|_| "nginx, with a log that is not synced".to_owned()),
            rival_value: rival,
            ratio: rival.map(|rival| hits / rival),
            median_ratio: None,
            target: Some(Target::AtLeast(HITS)),
            correct: done.lines_shipped >= sent,
            checked: "replies".to_owned(),
        });
    }
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

/// Sends so many hits a second, on one thread: how long each took, from when it was due, and how many
/// were refused.
fn paced(address: SocketAddr, per_second: f64, time: Duration) -> Result<(Vec<f64>, usize), Box<dyn Error>> {
    const CLIENTS: u32 = 256;
    let every = Duration::from_secs_f64(f64::from(CLIENTS) / per_second);
    let begin = Instant::now() + Duration::from_millis(100);
    let client = move |number: u32| async move {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut latencies, mut refused, mut reply) = (Vec::new(), 0, [0; 1_024]);
        let mut due = begin + every * number / CLIENTS;
        while due < begin + time {
            tokio::time::sleep_until(due.into()).await;
            stream
                .write_all(b"GET /pixel.gif?e=view&page=home&u=12345 HTTP/1.1\r\nhost: pixel.example\r\n\r\n")
                .await?;
            // Replies are short, and come in one piece.
            let len = stream.read(&mut reply).await?;
            refused += usize::from(!reply[..len].starts_with(b"HTTP/1.1 200"));
            latencies.push((Instant::now() - due).as_secs_f64());
            due += every;
        }
        std::io::Result::Ok((latencies, refused))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number))).collect();
        let mut all = (Vec::new(), 0);
        for client in clients {
            let (latencies, refused) = client.await??;
            all.0.extend(latencies);
            all.1 += refused;
        }
        Ok(all)
    })
}

struct Wrk {
    per_second: f64,
}

/// What `wrk` counts, where it is installed.
fn wrk(address: SocketAddr) -> Result<Option<Wrk>, Box<dyn Error>> {
    let duration = format!("-d{}s", seconds(10).as_secs());
    let connections = format!("-c{CONNECTIONS}");
    let url = format!("http://{address}/pixel.gif?e=view&page=home&u=12345");
    let Ok(output) = Command::new("wrk").args(["-t1", &connections, &duration, &url]).output() else { return Ok(None) };
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") {
        return Err(format!("wrk: {text}").into());
    }
    let per_second = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).ok_or("wrk counts nothing")?;
    Ok(Some(Wrk { per_second: per_second.trim().parse()? }))
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
    let found = wrk(address);
    // A master that is killed leaves its workers behind.
    Command::new("nginx").args(["-s", "stop", "-c"]).arg(&file).stderr(Stdio::null()).status()?;
    child.wait()?;
    Ok(found?.map(|found| found.per_second))
}
