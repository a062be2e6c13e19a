//! `pixel-engine plan`.

mod answer;
mod page;
mod table;
mod template;

use std::fs;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pixel_engine::compress::Codec;
use pixel_engine::config::{ContainerKind, Settings, parse_duration, parse_size};
use pixel_engine::log::schema::Schemas;
use pixel_engine::plan::Plan as Comparison;
use pixel_engine::plan::designs::{LinesFrom, Setup};
use pixel_engine::plan::measure::Sample;
use pixel_engine::plan::prices::{self, PriceError, PriceFile, Prices};
use pixel_engine::plan::rate::{Load, Rate};
use pixel_engine::plan::simulate::Scenario;
use pixel_engine::plan::simulate::demand::{Demand, TraceError};
use pixel_engine::plan::simulate::spread::Spread;
use pixel_engine::plan::workload::{Origin, Workload};
use pixel_engine::source::expand;

use crate::settings::config;
use crate::{Outcome, output, usage_error};
use table::Table;

/// Compare what carrying your lines needs and costs, before you buy a shard
///
/// Packs a sample of your log in each way, and says which design is the cheapest, what it saves and
/// what it needs. Tables follow with all designs side by side: shards, calls, quotas, billed bytes,
/// cost, delay, cores. Prices are data: see `--print-prices`. What no source settles is marked, and
/// so is a cost for which there is no price.
#[derive(Args)]
#[command(after_help = "Examples:
  pixel-engine plan access.log --rate 20000/s --peak 4x
  pixel-engine plan --line-bytes 800 --monthly 5e9 --linger 250ms --producers 40")]
pub(crate) struct Plan {
    /// Log files, folders or globs that resemble the lines to come; the first 256 MiB are read,
    /// several times
    #[arg(value_name = "SAMPLE", required_unless_present_any = ["line_bytes", "print_prices"])]
    sample: Vec<String>,

    /// Instead of a sample: bytes of a line with its newline; compression and speed stay unknown
    #[arg(long, value_name = "BYTES", conflicts_with = "sample", value_parser = clap::value_parser!(u32).range(2..=50_000))]
    line_bytes: Option<u32>,

    /// Lines on average: 20000/s, or by /min, /h, /day, /month
    #[arg(long, value_name = "LINES/TIME")]
    rate: Option<Rate>,

    /// Lines in a month of 730 hours, which is AWS's: 5e9
    #[arg(long, value_name = "LINES", conflicts_with = "rate", value_parser = Rate::parse_per_month)]
    monthly: Option<Rate>,

    /// The worst second, in times the average: 4x [default: 2x, or the trace's]
    #[arg(long, value_name = "FACTOR", value_parser = Load::parse_factor)]
    peak: Option<f64>,

    /// The region whose prices and quotas count
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    region: String,

    /// Your own prices, which replace the built-in file as a whole
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    /// Write the built-in prices to standard output; change them and use them with `--prices`
    #[arg(long)]
    print_prices: bool,

    /// Where lines come from: CloudFront delivers real-time logs into a stream of their own, a line
    /// a record
    #[arg(long, value_enum, default_value_t = From::Cloudfront)]
    from: From,

    /// Instances of this engine that share the lines
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    producers: u32,

    /// The most bytes of a KPL aggregate, as `ingest --record-size` has it [default: 51200]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    aggregate_size: Option<u64>,

    /// How designs 4a and 4b compress Firehose records, as `ingest --compress` has it: at most one
    /// level of zstd and one of gzip
    #[arg(
        long,
        value_name = "CODEC,...",
        default_value = "zstd:1,gzip:1",
        value_delimiter = ',',
        conflicts_with = "line_bytes"
    )]
    compress: Vec<Codec>,

    /// How long a record waits to be filled
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    linger: Duration,

    /// Readers of a design's last stream that share what its shards give
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    consumers: u32,

    /// More readers of that stream, with enhanced fan-out
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=50))]
    fan_out: u32,

    /// Accepted fields of real-time logs, as for `ingest`
    #[arg(long, value_name = "PRESET|LIST|@FILE")]
    fields: Vec<String>,

    /// Threads to measure the speed with [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Simulate a day against the limits: diurnal, flash-crowd, or a file, which is CSV rows of
    /// `second,events` or a log whose times are counted. A file is scaled to the rate, or sets the
    /// rate if none is given
    #[arg(long, value_name = "diurnal|flash-crowd|TRACE")]
    simulate: Option<PathBuf>,

    /// Which shard a line goes to in a stream with a line a record: even, random,
    /// zipf:EXPONENT[:KEYS]
    #[arg(long, value_name = "SPREAD", default_value = "random", requires = "simulate")]
    keys: Spread,

    /// What a shard lets through at once after a rest, as the time in which it normally takes that
    /// much
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time, requires = "simulate")]
    burst: Duration,

    /// Bytes of lines that may wait for each stream; lines beyond it are lost [default: no bound]
    #[arg(long, alias = "spool", value_name = "SIZE", value_parser = parse_size, requires = "simulate")]
    max_backlog: Option<u64>,

    /// How long a line may wait, for the search for the fewest shards
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time, requires = "simulate")]
    max_delay: Duration,

    /// Simulate this many shards in each stream, in place of the plan's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "simulate")]
    shards: Option<u32>,

    /// The same seed gives the same simulation
    #[arg(long, value_name = "S", default_value_t = 1, requires = "simulate")]
    seed: u64,

    /// Write the parameters with which deploy/cloudformation/pixel.yaml makes the cheapest design
    #[arg(long, value_name = "PATH")]
    template: Option<PathBuf>,

    /// The design for `--template`, by its name in the table: 2a
    #[arg(long, value_name = "NAME", requires = "template")]
    design: Option<String>,

    /// Write a page with charts, which needs no network
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,

    /// Write everything as JSON instead of the table
    #[arg(long)]
    json: bool,
}

const DIURNAL: &str = "diurnal";
const FLASH_CROWD: &str = "flash-crowd";
/// The worst second in times the average, when the user says nothing.
const DEFAULT_PEAK: f64 = 2.0;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// CloudFront real-time logs
    Cloudfront,
    /// Your own programs, beside which the engine runs
    Producers,
}

/// A time from a millisecond to a day.
fn time(text: &str) -> Result<Duration, String> {
    const RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    if RANGE.contains(&time) { Ok(time) } else { Err("must be from 1ms to 24h".to_owned()) }
}

impl Plan {
    pub(crate) fn run(self) -> Outcome {
        if self.print_prices {
            return output::print(prices::BUILT_IN.as_bytes());
        }
        let settings = Settings { fields: self.fields.clone(), ..Settings::default() };
        let schemas = config("plan", &settings).schemas().clone();
        let trace = match self.trace(&schemas) {
            Ok(trace) => trace,
            Err(error) => return failed(&error.to_string()),
        };
        let load = self.load(trace.as_ref()).unwrap_or_else(|message| usage_error("plan", &message));
        let prices = match self.prices() {
            Ok(prices) => prices,
            Err(error @ PriceError::UnknownRegion { .. }) => usage_error(
                "plan",
                &format!("{error}; `plan --print-prices` has the form: put the region in and give it with --prices"),
            ),
            Err(error) => return failed(&error.to_string()),
        };
        let aggregate_size = self.aggregate_size();
        let workload = match self.workload(schemas, aggregate_size) {
            Ok(workload) => workload,
            Err(message) => return failed(&message),
        };
        let mut setup = Setup::new(load, prices);
        setup.lines_from = match self.from {
            From::Cloudfront => LinesFrom::CloudFront,
            From::Producers => LinesFrom::Producers,
        };
        setup.producers = self.producers;
        setup.linger = self.linger;
        setup.consumers = self.consumers;
        setup.fan_out = self.fan_out;
        warn_of(&workload);
        let mut plan = Comparison::new(workload, setup);
        if let Some(demand) = self.demand(load, trace) {
            let mut scenario = Scenario::new(demand);
            scenario.keys = self.keys;
            scenario.burst = self.burst;
            scenario.max_backlog = self.max_backlog.map(|bytes| bytes as f64);
            scenario.max_delay = self.max_delay;
            scenario.shards = self.shards;
            scenario.seed = self.seed;
            if let Err(error) = plan.simulate(scenario) {
                return failed(&error.to_string());
            }
        }
        if let Some(path) = &self.template
            && let Err(message) = template::write(path, &plan, self.design.as_deref(), aggregate_size)
        {
            return failed(&message);
        }
        if let Some(path) = &self.html
            && let Err(error) = fs::write(path, page::page(&plan))
        {
            return failed(&format!("{}: {error}", path.display()));
        }
        if self.json {
            let mut json = serde_json::to_vec_pretty(&plan).expect("its keys are text");
            json.push(b'\n');
            return output::print(&json);
        }
        output::print(format!("{}\n", Table(&plan)).as_bytes())
    }

    /// The trace, when `--simulate` names a file.
    fn trace(&self, schemas: &Schemas) -> Result<Option<Demand>, TraceError> {
        let file = self.simulate.as_ref().filter(|name| ![DIURNAL, FLASH_CROWD].map(PathBuf::from).contains(name));
        file.map(|path| Demand::trace(path, schemas)).transpose()
    }

    fn load(&self, trace: Option<&Demand>) -> Result<Load, String> {
        let given = self.rate.or(self.monthly);
        if trace.is_some() && self.peak.is_some() {
            return Err("--peak: a trace has its own peak".to_owned());
        }
        let (average, peak) = match (given, trace) {
            (Some(rate), None) => (Ok(rate), self.peak.unwrap_or(DEFAULT_PEAK)),
            (Some(rate), Some(trace)) => (Ok(rate), trace.peak() / trace.average()),
            (None, Some(trace)) => (Rate::per_second(trace.average()), trace.peak() / trace.average()),
            (None, None) => {
                return Err("how many lines are to come? Give --rate, such as --rate 20000/s, or --monthly, such as \
                    --monthly 5e9"
                    .to_owned());
            }
        };
        average.and_then(|average| Load::new(average, peak)).map_err(|error| error.to_string())
    }

    fn demand(&self, load: Load, trace: Option<Demand>) -> Option<Demand> {
        Some(match (trace, self.simulate.as_ref()?.to_str()) {
            (Some(trace), _) => trace.scaled_to(load.average.get()),
            (None, Some(FLASH_CROWD)) => Demand::flash_crowd(load),
            (None, _) => Demand::diurnal(load),
        })
    }

    fn prices(&self) -> Result<Prices, PriceError> {
        let file = match &self.prices {
            Some(path) => PriceFile::read(path)?,
            None => PriceFile::built_in(),
        };
        file.region(&self.region)
    }

    /// At most one of each kind: designs are named after it.
    fn codecs(&self) -> Vec<Codec> {
        let count = |kind: fn(&Codec) -> bool| self.compress.iter().filter(|codec| kind(codec)).count();
        if self.compress.contains(&Codec::None) {
            usage_error("plan", "--compress none: records as they are have a design of their own, 3");
        }
        let twice = [count(|codec| matches!(codec, Codec::Zstd(_))), count(|codec| matches!(codec, Codec::Gzip(_)))];
        if twice.into_iter().any(|count| count > 1) {
            let message = "--compress: give one level of zstd (design 4a) and one of gzip (4b); others are for plans of \
                           their own";
            usage_error("plan", message);
        }
        self.compress.clone()
    }

    /// The most bytes of an aggregate.
    fn aggregate_size(&self) -> usize {
        let aggregates =
            Settings { container: Some(ContainerKind::Kpl), record_size: self.aggregate_size, ..Settings::default() };
        let aggregates = aggregates.validate().map_err(|error| {
            error.spelled(|_, value| {
                format!("--aggregate-size{}", value.map_or(String::new(), |value| format!(" {value}")))
            })
        });
        aggregates.unwrap_or_else(|message| usage_error("plan", &message)).container().record_size()
    }

    fn workload(&self, schemas: Schemas, aggregate_size: usize) -> Result<Workload, String> {
        if let Some(bytes) = self.line_bytes {
            return Ok(Workload::stated(bytes).with_aggregates(aggregate_size));
        }
        let mut inputs = Vec::new();
        for argument in &self.sample {
            inputs.extend(expand(argument).map_err(|error| error.to_string())?);
        }
        let sample = Sample {
            inputs,
            schemas,
            threads: self.threads.unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
            aggregate_size,
            codecs: self.codecs(),
        };
        sample.measure().map_err(|error| error.to_string())
    }
}

fn failed(message: &str) -> Outcome {
    eprintln!("pixel-engine: {message}");
    Outcome::Failed
}

/// Below this many lines, a sample says little.
const FEW_LINES: u64 = 100;

fn warn_of(workload: &Workload) {
    let Origin::Sample { lines, bad_lines, first_bad_line, .. } = &workload.origin else { return };
    if *lines < FEW_LINES {
        eprintln!("pixel-engine: the sample has {lines} lines: figures are rough below {FEW_LINES}");
    }
    if let Some(first) = first_bad_line {
        eprintln!("pixel-engine: {bad_lines} of the sample's lines left out, the first: {first}");
    }
}
