//! Delivery over HTTP: how much log a second of CPU time ships, and a second of wall time.
//!
//! The strict fake of AWS takes the requests, in this process. The producer is a process of its
//! own, so that its CPU time is its own: this program starts itself again with [`CHILD`] set.
//! Rivals are the AWS SDK used as its documentation shows, one record a line, and Vector where it
//! is installed.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use fake_aws::{FakeAws, ShardQuota};
use pixel_engine::aws::{self, Connection};
use pixel_engine::config::Stream;
use pixel_engine::deliver::Options;
use pixel_engine::sink::limits::Api;
use pixel_engine::source::Input;
use pixel_engine_benches::run::Variant;
use pixel_engine_benches::{Row, Stage, Target, cpu_seconds, data, is_quick};
use serde::{Deserialize, Serialize};

/// As in the program `pixel-engine`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a child: the name of the producer that it is.
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
const SDK: &str = "aws-sdk-firehose, a record a line";
const MEGABYTE: u64 = 1_000_000;
/// More than the records of all variants need: the service is not what is measured.
const SHARDS: usize = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(producer) = std::env::var(CHILD) {
        return child(&producer);
    }
    let mut stage = Stage::new(
        "ship",
        "realtime-46 from a file in the page cache (314 MB), delivered to a local endpoint over HTTP, with mimalloc as in \
         the program. The endpoint checks limits, parses every request and counts records; it shares the two cores, and \
         only wall time counts what it takes.",
    );
    let megabytes = if is_quick() { 20 } else { 314 };
    let mut file = tempfile::NamedTempFile::new()?;
    let log = data::log("realtime-46", (megabytes * MEGABYTE) as usize);
    file.write_all(&log)?;
    let wanted = Wanted { bytes: log.len() as u64, lines: log.iter().filter(|&&byte| byte == b'\n').count() as u64 };
    drop(log);
    if stage.is_measuring() {
        let sdk = best(SDK, file.path(), &wanted, if is_quick() { 1 } else { 2 })?;
        for (variant, target) in [(Variant::RAW, 400.0), (Variant::KPL, 400.0), (Variant::ZSTD, 1_000.0)] {
            let ours = best(variant.name, file.path(), &wanted, if is_quick() { 1 } else { 5 })?;
            rows(&mut stage, variant.name, &ours, &sdk, target);
        }
        if let Some((peer, shipped)) = vector(file.path(), &wanted)? {
            let loss = if shipped.correct { "" } else { ", WITH OTHER RECORDS THAN LINES" };
            stage.note(format!(
                "{peer}: {:.0} MB per CPU-second, {:.3} GB/s{loss}",
                shipped.per_cpu(),
                shipped.speed()
            ));
        }
    }
    stage.finish()
}

struct Wanted {
    bytes: u64,
    lines: u64,
}

/// What a producer did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Shipped {
    bytes: u64,
    wall_seconds: f64,
    cpu_seconds: f64,
    /// Whether the endpoint has what was sent.
    correct: bool,
}

impl Shipped {
    /// 10^6 bytes of log for each second of CPU time.
    fn per_cpu(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.cpu_seconds
    }

    /// 10^9 bytes of log a second.
    fn speed(&self) -> f64 {
        self.bytes as f64 / 1e9 / self.wall_seconds
    }
}

fn rows(stage: &mut Stage, name: &str, ours: &Shipped, sdk: &Shipped, target: f64) {
    let speed_target = (name == "zstd:1").then_some(Target::AtLeast(1.0));
    for (unit, ours_value, sdk_value, target) in [
        ("MB/CPU-s", ours.per_cpu(), sdk.per_cpu(), Some(Target::AtLeast(target))),
        ("GB/s", ours.speed(), sdk.speed(), speed_target),
    ] {
        stage.row(Row {
            what: format!("{name}, over HTTP"),
            path: "every".to_owned(),
            unit: unit.to_owned(),
            ours: ours_value,
            rival: Some(SDK.to_owned()),
            rival_value: Some(sdk_value),
            ratio: Some(ours_value / sdk_value),
            median_ratio: None,
            target,
            correct: ours.correct && sdk.correct,
            checked: "records, bytes and lines, no violation".to_owned(),
        });
    }
}

/// The run with the least CPU time of a few.
fn best(producer: &str, log: &Path, wanted: &Wanted, runs: usize) -> Result<Shipped, Box<dyn Error>> {
    let mut best: Option<Shipped> = None;
    for _ in 0..runs {
        let shipped = run(producer, log, wanted)?;
        if best.is_none_or(|best| shipped.cpu_seconds < best.cpu_seconds) {
            best = Some(shipped);
        }
    }
    best.ok_or_else(|| "no run".into())
}

fn run(producer: &str, log: &Path, wanted: &Wanted) -> Result<Shipped, Box<dyn Error>> {
    let aws = FakeAws::builder().verify_signatures(false).start();
    let delivery_stream = aws.delivery_stream("beacons");
    delivery_stream.keep_counts();
    let stream = aws.stream("beacons", SHARDS);
    stream.quota(ShardQuota::default()).keep_counts();
    let output = Command::new(std::env::current_exe()?)
        .arg(log)
        .env(CHILD, producer)
        .envs(aws.environment())
        .env_remove("AWS_PROFILE")
        .stdout(Stdio::piped())
        .output()?;
    if !output.status.success() {
        return Err(format!("{producer}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let child: Child = serde_json::from_slice(&output.stdout)?;
    let (here, there) = (delivery_stream.counts(), stream.counts());
    let arrived = (here.records + there.records, here.bytes + there.bytes);
    let correct = aws.counters().violations.is_empty()
        && arrived == (child.records, child.payload_bytes)
        && (child.lines, child.bytes) == (wanted.lines, wanted.bytes);
    Ok(Shipped { bytes: child.bytes, wall_seconds: child.wall_seconds, cpu_seconds: child.cpu_seconds, correct })
}

/// What a child says of itself.
#[derive(Serialize, Deserialize)]
struct Child {
    bytes: u64,
    lines: u64,
    records: u64,
    payload_bytes: u64,
    wall_seconds: f64,
    cpu_seconds: f64,
}

fn child(producer: &str) -> Result<(), Box<dyn Error>> {
    let log = std::env::args().nth(1).ok_or("no log")?;
    let begun = Instant::now();
    let mut child = match Variant::ALL.into_iter().find(|variant| variant.name == producer) {
        Some(variant) => ours(&variant, Path::new(&log))?,
        None => sdk(Path::new(&log))?,
    };
    child.wall_seconds = begun.elapsed().as_secs_f64();
    child.cpu_seconds = cpu_seconds();
    println!("{}", serde_json::to_string(&child)?);
    Ok(())
}

fn ours(variant: &Variant, log: &Path) -> Result<Child, Box<dyn Error>> {
    let scheme = match variant.api() {
        Api::PutRecordBatch => "firehose",
        Api::PutRecords => "kinesis",
    };
    let stream: Stream = format!("{scheme}://beacons").parse()?;
    let threads = NonZeroUsize::new(2).expect("two");
    let mut options = Options::new(stream.api());
    options.config.threads = threads;
    options.config.aggregates = variant.api() == Api::PutRecords;
    options.config.record_size = variant.record_size;
    let mut delivery = aws::open(&stream, &Connection::default(), options)?;
    let summary = variant.run_to(Input::File(log.to_owned()), threads.get(), &mut delivery);
    Ok(Child {
        bytes: summary.bytes_in,
        lines: summary.lines_shipped,
        records: summary.records,
        payload_bytes: summary.payload_bytes,
        wall_seconds: 0.0,
        cpu_seconds: 0.0,
    })
}

/// The SDK as its documentation shows it: a record for each line, 500 in a request, one request
/// after the other.
fn sdk(log: &Path) -> Result<Child, Box<dyn Error>> {
    use aws_sdk_firehose::primitives::Blob;
    use aws_sdk_firehose::types::Record;
    use aws_smithy_http_client::tls::Provider;
    use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut child = Child { bytes: 0, lines: 0, records: 0, payload_bytes: 0, wall_seconds: 0.0, cpu_seconds: 0.0 };
    runtime.block_on(async {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let configuration = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http).load().await;
        let client = aws_sdk_firehose::Client::new(&configuration);
        let mut lines = BufReader::with_capacity(1 << 20, File::open(log)?);
        loop {
            let mut records = Vec::with_capacity(500);
            while records.len() < 500 {
                let mut line = Vec::new();
                if lines.read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                child.bytes += line.len() as u64;
                records.push(Record::builder().data(Blob::new(line)).build()?);
            }
            if records.is_empty() {
                return Ok(child);
            }
            let count = records.len() as u64;
            let request = client.put_record_batch().delivery_stream_name("beacons").set_records(Some(records));
            if request.send().await?.failed_put_count() > 0 {
                return Err("a record failed".into());
            }
            child.lines += count;
            child.records += count;
            child.payload_bytes = child.bytes;
        }
    })
}

/// Vector where it is installed, a record a line, as its documentation configures it. (Fluent Bit
/// speaks TLS only to an endpoint of its own choosing, which this one does not.)
fn vector(log: &Path, wanted: &Wanted) -> Result<Option<(String, Shipped)>, Box<dyn Error>> {
    let Ok(version) = Command::new("vector").arg("--version").output() else { return Ok(None) };
    let aws = FakeAws::builder().verify_signatures(false).start();
    let stream = aws.delivery_stream("beacons");
    stream.keep_counts();
    let folder = tempfile::tempdir()?;
    let (endpoint, region) = (aws.endpoint_url(), aws.region());
    fs::write(
        folder.path().join("vector.yaml"),
        format!(
            "data_dir: .\n\
             sources: {{log: {{type: stdin, max_length: 1048576}}}}\n\
             sinks: {{beacons: {{type: aws_kinesis_firehose, inputs: [log], stream_name: beacons, endpoint: '{endpoint}', \
             region: {region}, encoding: {{codec: text}}}}}}\n"
        ),
    )?;
    let (begun, cpu) = (Instant::now(), cpu_of_children()?);
    let status = Command::new("vector")
        .args(["--quiet", "--config", "vector.yaml"])
        .current_dir(folder.path())
        .envs(aws.environment())
        .stdin(File::open(log)?)
        .stdout(Stdio::null())
        .status()?;
    let shipped = Shipped {
        bytes: wanted.bytes,
        wall_seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: cpu_of_children()? - cpu,
        correct: status.success() && stream.counts().records == wanted.lines,
    };
    let name = String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or("vector").to_owned();
    Ok(Some((name, shipped)))
}

/// Seconds of CPU time of the processes that this one started and waited for: `cutime` and `cstime`
/// of proc(5), in hundredths.
fn cpu_of_children() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(13).take(2);
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
}
