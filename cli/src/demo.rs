//! `pixel-engine demo`.

mod daemon;
mod kinesis;
mod mapping;
mod site;
mod tally;
mod visits;

use std::fs;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanCount as Count, ProgressBar, ProgressStyle};
use parquet::file::reader::{FileReader, SerializedFileReader};
use pixel_engine::config::{Config, Credentials, EncodingKind, Linger, Secret, Settings, parse_duration};
use pixel_engine::consume::kcl::Ended;
use pixel_engine::consume::lambda::aggregate::Aggregate;
use pixel_engine::consume::open_run::OpenRun;
use pixel_engine::plan::rate::Rate;
use pixel_engine::progress::Progress;
use pixel_engine::serve::admin::{self, Listener};
use pixel_engine::serve::config::{Address, FileConfig};
use pixel_engine::serve::pipeline;
use pixel_engine::serve::sidecar::Sidecar;
use pixel_engine::serve::watch::{Watch, Watches};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use self::kinesis::{REGION, Stream};
use self::site::Links;
use self::tally::{FIELDS, Tally};
use self::visits::{Sent, Wanted};
use crate::run::page;
use crate::{Outcome, stop_on_signals};

/// Try all of it on this machine: a page, the pixel, two streams, the data lake, a live report
///
/// Starts a small page with the tracking pixel and everything behind it, in this process and on
/// 127.0.0.1: no AWS, no network, no configuration. The pixel, the packing and the files are those
/// of `run`, `lambda` and `kcl`; what AWS does between them is played by stand-ins. Ctrl-C delivers
/// what is on its way and says where every beacon is.
#[derive(Args)]
#[command(after_help = "Example:
  pixel-engine demo --visits 1000")]
pub(crate) struct Demo {
    /// Send the beacons of so many visitors who are made up
    #[arg(long, value_name = "N")]
    visits: Option<u64>,

    /// How fast: 20/s, or by /min, /h, /day; without --visits, until the end [default: 100/s]
    #[arg(long, value_name = "RATE", value_parser = Rate::parse_or_per_second)]
    beacons: Option<Rate>,

    /// End after that time
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    time: Option<Duration>,

    /// The port of the page; those of the pixel, the streams and the report are the next ones
    /// [default: ports that are free]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_532))]
    port: Option<u16>,

    /// Where the data lake is written
    #[arg(long, value_name = "FOLDER", default_value = "pixel-engine-demo")]
    folder: PathBuf,
}

/// When nothing is said about it.
const RATE: f64 = 100.0;
/// Visitors where only the rate is given: more than anybody waits for.
const NO_END: u64 = 1 << 40;
/// What the shards of a stream get of single lines at most; each takes 1,000 a second.
const RATE_PER_SHARD: f64 = 700.0;
/// How soon a line is in a file.
const BUFFERING_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at what happens, and two lines that say so where there is no terminal.
const INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The streams, as in AWS's post on tracking pixels.
const LINES: &str = "lines";
const PACKED: &str = "packed";

impl Demo {
    pub(crate) fn run(self) -> Outcome {
        match self.try_run() {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn try_run(&self) -> Result<Outcome, String> {
        let stop = stop_on_signals().map_err(|error| format!("listening for signals: {error}"))?;
        let mut chain = Chain::start(self)?;
        chain.introduce();
        let begun = Instant::now();
        let is_over = || self.time.is_some_and(|time| begun.elapsed() >= time);
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is right");
            ProgressBar::new_spinner().with_style(style)
        });
        let mut said = Instant::now();
        while !stop.load(Ordering::Relaxed) && !is_over() {
            thread::sleep(INTERVAL);
            match &bar {
                Some(bar) => {
                    bar.set_message(chain.so_far());
                    bar.tick();
                }
                None if said.elapsed() >= LINE_INTERVAL => {
                    println!("{}", chain.so_far());
                    said = Instant::now();
                }
                None => {}
            }
        }
        bar.iter().for_each(ProgressBar::finish_and_clear);
        println!("Delivering what is on its way ...");
        let account = chain.drain()?;
        print!("\n{}", account.text());
        Ok(if account.is_right() { Outcome::Done } else { Outcome::Failed })
    }

    /// The visits to send, if any.
    fn wanted(&self) -> Option<Wanted> {
        let rate = self.beacons.or_else(|| Rate::per_second(RATE).ok())?;
        let visitors = self.visits.or(self.beacons.map(|_| NO_END))?;
        Some(Wanted { visitors, rate })
    }

    /// The address of that part: the next port after the page's, or any.
    fn address(&self, part: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.map_or(0, |port| port + part)).into()
    }
}

/// Everything from the page to the files, as it runs.
struct Chain {
    folder: PathBuf,
    page: String,
    pixel: String,
    kinesis: String,
    admin: Listener,
    sidecar: Option<Sidecar>,
    stop_visits: Arc<AtomicBool>,
    visits: Option<JoinHandle<()>>,
    /// What became of the visits.
    sent: Option<Arc<Sent>>,
    mappings: Vec<JoinHandle<()>>,
    daemons: Vec<JoinHandle<Result<Ended, String>>>,
    lines_have_ended: Arc<AtomicBool>,
    packed_has_ended: Arc<AtomicBool>,
    view: Arc<View>,
    /// Rows and files that were there before.
    lake_before: Lake,
    _runtime: Runtime,
}

/// What can be seen of the chain.
struct View {
    pixel: Arc<Watch>,
    lines: Arc<Stream>,
    /// What the function was given and has delivered.
    read: Tally,
    packed: Arc<Stream>,
    /// What the children were given.
    given: Tally,
    rows: Arc<Progress>,
    packing: Vec<Arc<Progress>>,
}

/// Any keys will do, as nothing here looks at them.
fn credentials() -> Credentials {
    Credentials { access_key_id: "demo".to_owned(), secret_access_key: Secret::new("demo") }
}

fn bind(address: SocketAddr, runtime: &Runtime) -> Result<(TcpListener, SocketAddr), String> {
    let bound = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let _in_runtime = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|error: io::Error| format!("listening to {address}: {error}"))
}

fn of_configuration(error: impl std::fmt::Display) -> String {
    format!("the configuration of the demonstration: {error}")
}

impl Chain {
    fn start(demo: &Demo) -> Result<Chain, String> {
        let folder = demo.folder.clone();
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lake = folder.join("lake");
        let lake_before = Lake::look(&lake).map_err(|error| format!("{}: {error}", lake.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let wanted = demo.wanted();

        let rate = wanted.map_or(0.0, |wanted| wanted.rate.get());
        let shards = ((rate / RATE_PER_SHARD).ceil() as usize).clamp(2, 100);
        let (lines, packed) = (Arc::new(Stream::new(LINES, shards)), Arc::new(Stream::new(PACKED, 1)));
        let (listener, address) = bind(demo.address(2), &runtime)?;
        let kinesis = format!("http://{address}");
        runtime.spawn(site::serve_streams(listener, vec![Arc::clone(&lines), Arc::clone(&packed)]));

        let (sidecar, watches, admin, pixel_address) = start_pixel(demo, &kinesis)?;
        let pixel = format!("http://{pixel_address}/pixel.gif");
        let (lines_have_ended, packed_has_ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let watch = watches.all().into_iter().next().expect("there is one pipeline");

        let to_packed = Settings {
            to: Some(format!("kinesis://{PACKED}")),
            linger: Some(Linger::Never),
            ..settings(&folder, Some(&kinesis))
        };
        let to_packed = to_packed.validate().map_err(of_configuration)?.with_credentials(credentials());
        let rows = Arc::<Progress>::default();
        let to_lake = Settings {
            to: Some(format!("dir:{}", lake.display())),
            encode: Some(EncodingKind::Parquet),
            column: vec!["query.uid".to_owned()],
            buffering_interval: Some(BUFFERING_INTERVAL),
            linger: Some(Linger::After(Duration::from_millis(500))),
            ..settings(&folder, None)
        };
        let to_lake = to_lake.validate().map_err(of_configuration)?;

        let packing: Vec<Arc<Progress>> = lines.shards().iter().map(|_| Arc::default()).collect();
        let view = Arc::new(View {
            pixel: watch,
            lines,
            read: Tally::new(),
            packed,
            given: Tally::new(),
            rows: Arc::clone(&rows),
            packing,
        });
        let mut mappings = Vec::new();
        for (shard, progress) in view.packing.iter().enumerate() {
            let function = function(&to_packed, progress);
            let (view, has_ended, runtime) =
                (Arc::clone(&view), Arc::clone(&lines_have_ended), runtime.handle().clone());
            mappings.push(thread::spawn(move || {
                runtime.block_on(mapping::run(&view.lines, shard, function, &has_ended, &view.read));
            }));
        }
        let mut daemons = Vec::new();
        for shard in 0..view.packed.shards().len() {
            let delivery = OpenRun::start(to_lake.clone(), Arc::clone(&rows)).map_err(|error| error.to_string())?;
            let (view, has_ended) = (Arc::clone(&view), Arc::clone(&packed_has_ended));
            daemons.push(thread::spawn(move || {
                let ended = daemon::run(&view.packed, shard, delivery, &has_ended, &view.given);
                ended.map_err(|error| format!("the consumer of stream B: {error}"))
            }));
        }

        let (listener, address) = bind(demo.address(0), &runtime)?;
        let page = format!("http://{address}");
        let links = Links { pixel: pixel.clone(), admin: format!("http://{}", admin.address) };
        let shown = Arc::clone(&view);
        runtime.spawn(site::serve_pages(listener, page.clone(), links, move || shown.json()));

        let (stop_visits, sent) = (Arc::<AtomicBool>::default(), Arc::<Sent>::default());
        let visits = wanted.map(|wanted| {
            let (stop, sent, runtime) = (Arc::clone(&stop_visits), Arc::clone(&sent), runtime.handle().clone());
            thread::spawn(move || runtime.block_on(visits::send(wanted, pixel_address, &stop, sent)))
        });
        Ok(Chain {
            folder,
            page,
            pixel,
            kinesis,
            admin,
            sidecar: Some(sidecar),
            stop_visits,
            sent: visits.is_some().then_some(sent),
            visits,
            mappings,
            daemons,
            lines_have_ended,
            packed_has_ended,
            view,
            lake_before,
            _runtime: runtime,
        })
    }

    /// Says what there is, and what it would be in AWS.
    fn introduce(&self) {
        let Chain { folder, page, pixel, kinesis, admin, view, .. } = self;
        let (folder, admin, shards) = (folder.display(), admin.address, view.lines.shards().len());
        println!("A tracking pixel and all that is behind it. Nothing of it leaves this machine.\n");
        for (name, place, what, on_aws) in [
            ("page", format!("{page}/"), "with the snippet of deploy/web", "your pages"),
            (
                "pixel",
                pixel.clone(),
                "the HTTP source of `pixel-engine run`",
                "CloudFront and its real-time log, RealtimeLogs in pixel.yaml",
            ),
            (
                "stream A",
                format!("{LINES} at {kinesis}, {shards} shards"),
                "a stand-in in memory: a line a record",
                "Kinesis Data Streams, LineStream in pixel.yaml",
            ),
            (
                "aggregator",
                format!("{LINES} to {PACKED}"),
                "the code of `pixel-engine lambda`; what invokes it is a stand-in",
                "Lambda, Aggregator in pixel.yaml, or deploy/lambda/function.yaml",
            ),
            (
                "stream B",
                format!("{PACKED} at {kinesis}, 1 shard"),
                "a stand-in in memory: aggregates of the KPL",
                "Kinesis Data Streams, PackedStream in pixel.yaml",
            ),
            (
                "consumer",
                format!("{PACKED} to {folder}/lake"),
                "the code of `pixel-engine kcl`; its daemon is a stand-in",
                "`pixel-engine kcl` with the daemon of deploy/kcl, or Firehose, Delivery in pixel.yaml",
            ),
            (
                "data lake",
                format!("{folder}/lake/dt=.../hour=.../*.parquet"),
                "files a few seconds after the beacons",
                "S3 and Glue, DataBucket and Lines in pixel.yaml",
            ),
            (
                "report",
                format!("http://{admin}/report"),
                "live, and how the pixel is doing at the same place without /report",
                "`pixel-engine run` behind Firehose, EndpointUrl in pixel.yaml",
            ),
        ] {
            println!("{name:<11} {place}\n            {what}\n            on AWS: {on_aws}");
        }
        let column = "--encode parquet --column query.uid --location";
        println!(
            "\npixel.yaml is deploy/cloudformation/pixel.yaml: `pixel-engine plan` fills it in.\n\n\
             Ask the data lake, now or later (docs/sql has more; Athena takes the same table from S3):\n  \
             duckdb -c \"SELECT query['e'] AS event, count(*) FROM '{folder}/lake/**/*.parquet' GROUP BY 1\"\n  \
             pixel-engine schema --duckdb {column} {folder}/lake\n  \
             pixel-engine schema --athena {column} s3://BUCKET/PREFIX/ --since 2026-01-01"
        );
        match &self.sent {
            Some(_) => println!("\nVisits are on their way; open the page to add your own. Ctrl-C ends it.\n"),
            None => println!("\nOpen the page, and click. --visits 1000 sends visitors. Ctrl-C ends it.\n"),
        }
    }

    fn so_far(&self) -> String {
        let View { pixel, lines, packed, rows, .. } = &*self.view;
        let (a, b) = (lines.counts(), packed.counts());
        let visits = match &self.sent {
            Some(sent) if sent.is_done.load(Ordering::Acquire) => " (all visits sent)",
            _ => "",
        };
        format!(
            "beacons {}{visits} > A {} > B {} in {} > lake {} | Kinesis bills {} kB of A, {} kB of B",
            Count(pixel.progress.lines_in.get()),
            Count(a.records),
            Count(self.view.in_b()),
            Count(b.records),
            Count(rows.lines_shipped.get()),
            Count(a.billed.on_demand / 1_000),
            Count(b.billed.on_demand / 1_000),
        )
    }

    /// Ends one hop after the other, each when it has delivered what came from the one before.
    fn drain(&mut self) -> Result<Account, String> {
        self.stop_visits.store(true, Ordering::Relaxed);
        self.visits.take().into_iter().for_each(joined);
        let mut troubles = Vec::new();
        let sidecar = self.sidecar.take().expect("it is stopped once");
        for (_, ended) in sidecar.stop() {
            match ended {
                pipeline::Ended::Report(report) => {
                    troubles.extend(report.errors.iter().map(|error| format!("the pixel: {error}")));
                }
                _ => troubles.push("the pixel: stopped before it could run".to_owned()),
            }
        }
        self.lines_have_ended.store(true, Ordering::Release);
        self.mappings.drain(..).for_each(joined);
        self.packed_has_ended.store(true, Ordering::Release);
        for daemon in self.daemons.drain(..) {
            let ended = joined(daemon)?;
            troubles.extend(ended.error.iter().map(|error| format!("the consumer of stream B: {error}")));
            let errors = ended.report.iter().flat_map(|report| &report.errors);
            troubles.extend(errors.map(|error| format!("the consumer of stream B: {error}")));
        }
        let lake = self.folder.join("lake");
        let after = Lake::look(&lake).map_err(|error| format!("{}: {error}", lake.display()))?;
        Ok(Account {
            view: Arc::clone(&self.view),
            sent: self.sent.clone(),
            files: after.files - self.lake_before.files,
            rows: after.rows - self.lake_before.rows,
            troubles,
            bad_lines: bad_lines(&self.folder).display().to_string(),
        })
    }
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Starts the pixel as `run` does, by a configuration that is left for whoever wants to read it.
fn start_pixel(demo: &Demo, kinesis: &str) -> Result<(Sidecar, Arc<Watches>, Listener, SocketAddr), String> {
    let path = |name: &str| json!(demo.folder.join(name).display().to_string()).to_string();
    let (listen, admin) = (demo.address(1), demo.address(3));
    let text = |listen: SocketAddr, admin: SocketAddr| {
        format!(
            r#"# The pixel of `pixel-engine demo`, as `pixel-engine run --config` reads it.
[admin]
listen = "{admin}"

[pipeline.pixel]
to = "kinesis://{LINES}"
container = "line"
endpoint_url = "{kinesis}"
region = "{REGION}"
linger = "100ms"
resume = {checkpoint}
journal = {journal}
quarantine = {quarantine}

[pipeline.pixel.report]
funnel = "view > cart > checkout > paid"
use = "shop"

[[pipeline.pixel.source]]
type = "http"
listen = "{listen}"
pixel_fields = "{FIELDS}"
# Visits that are made up come as through a proxy, each with its own address.
trusted_proxies = ["127.0.0.0/8"]
"#,
            checkpoint = path("pixel.checkpoint"),
            journal = path("pixel.journal"),
            quarantine = json!(bad_lines(&demo.folder).display().to_string()),
        )
    };
    let mut file = FileConfig::parse("pixel.toml", &text(listen, admin), []).map_err(of_configuration)?;
    for pipeline in &mut file.pipelines {
        pipeline.config = pipeline.config.clone().with_credentials(credentials());
    }
    let watches = Arc::<Watches>::default();
    let config = &file.admin.as_ref().expect("it is in the text").config;
    let listener = admin::listen(config, Arc::clone(&watches), page::pages())
        .map_err(|error| format!("listening to {admin}: {error}"))?;
    let sidecar = Sidecar::start(file, Arc::clone(&watches)).map_err(|error| error.to_string())?;
    let address = sidecar.local_address(&Address::Tcp(listen)).expect("the pixel listens there");
    // With the ports that the system chose.
    let written = demo.folder.join("pixel.toml");
    fs::write(&written, text(address, listener.address)).map_err(|error| format!("{}: {error}", written.display()))?;
    Ok((sidecar, watches, listener, address))
}

fn bad_lines(folder: &Path) -> PathBuf {
    folder.join("bad-lines.jsonl")
}

/// What the function and the children have in common.
fn settings(folder: &Path, kinesis: Option<&str>) -> Settings {
    Settings {
        region: kinesis.map(|_| REGION.to_owned()),
        endpoint_url: kinesis.map(str::to_owned),
        quarantine: Some(bad_lines(folder)),
        threads: Some(1),
        ..Settings::default()
    }
}

/// The function of Lambda, whose counts go on in `progress`.
fn function(config: &Config, progress: &Arc<Progress>) -> Aggregate {
    let (to, progress) = (config.clone(), Arc::clone(progress));
    let open = move |_| OpenRun::start(to.clone(), Arc::clone(&progress)).map_err(|error| error.to_string());
    Aggregate::with_runs(config.clone(), true, open)
}

impl View {
    /// The lines that are in stream B.
    fn in_b(&self) -> u64 {
        self.packing.iter().map(|progress| progress.lines_shipped.get()).sum()
    }

    fn bad(&self) -> u64 {
        let all = self.packing.iter().chain([&self.pixel.progress, &self.rows]);
        all.map(|progress| progress.lines_quarantined.get()).sum()
    }

    fn json(&self) -> serde_json::Value {
        let (a, b) = (self.lines.counts(), self.packed.counts());
        let kilobytes = |bytes: u64| format!("{} kB", Count(bytes / 1_000));
        json!({
            "beacons": self.pixel.progress.lines_in.get(),
            "lines": a.records,
            "packed": self.in_b(),
            "rows": self.rows.lines_shipped.get(),
            "more": { "packed": format!("in {}", counted(b.records, "record")) },
            "billed": format!(
                "Kinesis would bill {} for stream A and {} for stream B; Firehose {} and {}.",
                kilobytes(a.billed.on_demand),
                kilobytes(b.billed.on_demand),
                kilobytes(a.billed.firehose),
                kilobytes(b.billed.firehose),
            ),
        })
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", Count(count), if count == 1 { "" } else { "s" })
}

/// What is in the folder of the data lake, by the footers of its files.
#[derive(Clone, Copy, Default)]
struct Lake {
    files: u64,
    rows: u64,
}

impl Lake {
    fn look(folder: &Path) -> io::Result<Lake> {
        let mut lake = Lake::default();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lake),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let below = if path.is_dir() {
                Lake::look(&path)?
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                let reader = SerializedFileReader::new(fs::File::open(&path)?).map_err(io::Error::other)?;
                Lake { files: 1, rows: reader.metadata().file_metadata().num_rows().unsigned_abs() }
            } else {
                continue;
            };
            lake.files += below.files;
            lake.rows += below.rows;
        }
        Ok(lake)
    }
}

/// Where every beacon is.
struct Account {
    view: Arc<View>,
    sent: Option<Arc<Sent>>,
    files: u64,
    rows: u64,
    troubles: Vec<String>,
    bad_lines: String,
}

impl Account {
    /// Whether each beacon is in each place once, but for bad lines, which are in the quarantine.
    fn is_right(&self) -> bool {
        let View { pixel, lines, read, given, packing, rows, .. } = &*self.view;
        let (read, given) = (read.sum(), given.sum());
        let bad = |progress: &Progress| progress.lines_quarantined.get();
        let (in_b, is_clean) = (given.lines + packing.iter().map(|it| bad(it)).sum::<u64>(), self.view.bad() == 0);
        let [answered, unanswered] = self
            .sent
            .as_ref()
            .map_or([0; 2], |sent| [&sent.answered, &sent.unanswered].map(|count| count.load(Ordering::Relaxed)));
        self.troubles.is_empty()
            && pixel.progress.lines_in.get() == lines.counts().records + bad(&pixel.progress)
            && lines.counts().records == read.lines
            && read.lines == in_b
            && given.lines == self.rows + bad(rows)
            && (!is_clean || read == given)
            && (!is_clean || (answered..=answered + unanswered).contains(&read.of_visits))
    }

    fn text(&self) -> String {
        let View { pixel, lines, packed, read, given, .. } = &*self.view;
        let (a, b) = (lines.counts(), packed.counts());
        let mut text = String::new();
        let mut row = |name: &str, count: u64, more: String| {
            text.push_str(format!("{name:<26}{:>12}  {more}", Count(count).to_string()).trim_end());
            text.push('\n');
        };
        let of_visits = read.sum().of_visits;
        let more = match &self.sent {
            Some(_) => {
                format!("{} of visits, {} of your browser", Count(of_visits), Count(read.sum().lines - of_visits))
            }
            None => String::new(),
        };
        row("beacons answered", pixel.progress.lines_in.get(), more);
        row("records in stream A", a.records, format!("in {}", counted(lines.shards().len() as u64, "shard")));
        row("user records in stream B", given.sum().lines, format!("in {}", counted(b.records, "record")));
        row("rows in the data lake", self.rows, format!("in {}", counted(self.files, "file")));
        let bad = self.view.bad();
        if bad > 0 {
            row("bad lines", bad, format!("in {}", self.bad_lines));
        }
        text.push_str(match self.is_right() {
            true => "Every beacon is in each place, once.\n",
            false => "THESE DIFFER: something was lost, or came twice.\n",
        });
        for trouble in &self.troubles {
            text.push_str(&format!("{trouble}\n"));
        }
        text.push_str("\nWhat would be billed, in bytes\n");
        text.push_str(&format!("{:<26}{:>12}{:>14}{:>14}\n", "", "of A", "of B", "less"));
        for (name, a, b) in [
            ("Kinesis, on demand", a.billed.on_demand, b.billed.on_demand),
            ("Kinesis, provisioned", a.billed.provisioned(), b.billed.provisioned()),
            ("Firehose, reading it", a.billed.firehose, b.billed.firehose),
        ] {
            let less = 100.0 * (1.0 - b as f64 / a.max(1) as f64);
            let (a, b) = (Count(a).to_string(), Count(b).to_string());
            text.push_str(&format!("{name:<26}{a:>12}{b:>14}{less:>12.0} %\n"));
        }
        text
    }
}
