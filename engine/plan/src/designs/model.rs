//! What a plan compares, and what it finds out about each design.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::cost::{LAMBDA_EVENT_BYTES_PER_CPU_SECOND, LAMBDA_GB, LAMBDA_WAIT_SECONDS};
use crate::prices::{GIB, Item, Prices};
use crate::rate::Load;
use crate::workload::{PackedLines, PerRecord, RecordKind, Size};
use pixel_engine_core::compress::Codec;
use pixel_engine_core::sink::limits::{Api, MAX_RECORDS};

/// What a plan is for, beside the lines themselves.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Setup {
    /// How many lines come.
    pub load: Load,
    /// What things cost, and where.
    pub prices: Prices,
    /// Where lines come from.
    pub lines_from: LinesFrom,
    /// Instances of this engine that share the lines; each fills its own records.
    pub producers: u32,
    /// How long a record waits for more lines.
    #[serde(serialize_with = "crate::seconds")]
    pub linger: Duration,
    /// Readers of a design's last stream without enhanced fan-out: Firehose, or your own.
    pub consumers: u32,
    /// Readers of that stream with enhanced fan-out.
    pub fan_out: u32,
}

impl Setup {
    /// One instance of the engine that packs CloudFront's lines with a linger of a second, for one
    /// reader.
    pub fn new(load: Load, prices: Prices) -> Setup {
        Setup {
            load,
            prices,
            lines_from: LinesFrom::CloudFront,
            producers: 1,
            linger: Duration::from_secs(1),
            consumers: 1,
            fan_out: 0,
        }
    }
}

/// Where lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinesFrom {
    /// CloudFront real-time logs: a price for each line, and a Kinesis stream with a line a record.
    CloudFront,
    /// Your own programs.
    Producers,
}

/// How a stream is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By the shard.
    Provisioned,
    /// By the GB.
    OnDemand,
}

/// What packs lines into aggregates between two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packer {
    /// This engine, as the function `aggregate` of Lambda.
    Lambda,
    /// This engine, as a child of the Kinesis Client Library.
    Kcl,
}

/// A way of carrying lines. `Display` gives its short name, such as `2a`.
///
/// ```
/// use pixel_engine_plan::designs::{Mode, Packer, Way};
/// let way = Way::Repacked(Packer::Lambda, Mode::Provisioned);
/// assert_eq!((way.to_string(), way.mode()), ("2a".to_owned(), Some(Mode::Provisioned)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// Lines > Kinesis > Firehose, a line a record.
    Lines(Mode),
    /// The same with a hop that packs the lines into KPL aggregates in a second stream.
    Repacked(Packer, Mode),
    /// This engine > Firehose Direct PUT, in records of lines.
    DirectPut(Codec),
    /// This engine > Kinesis, in KPL aggregates.
    Aggregates(Mode),
    /// Lines > on-demand Kinesis > a channel into S3, a line a record.
    Channel,
}

impl Way {
    /// The short name: a number for the way, and a letter where there are several of a kind.
    pub fn id(self) -> &'static str {
        match self {
            Way::Lines(Mode::Provisioned) => "1a",
            Way::Lines(Mode::OnDemand) => "1b",
            Way::Repacked(Packer::Lambda, Mode::Provisioned) => "2a",
            Way::Repacked(Packer::Lambda, Mode::OnDemand) => "2b",
            Way::Repacked(Packer::Kcl, Mode::Provisioned) => "2c",
            Way::Repacked(Packer::Kcl, Mode::OnDemand) => "2d",
            Way::DirectPut(Codec::None) => "3",
            Way::DirectPut(Codec::Zstd(_)) => "4a",
            Way::DirectPut(Codec::Gzip(_)) => "4b",
            Way::Aggregates(Mode::Provisioned) => "5a",
            Way::Aggregates(Mode::OnDemand) => "5b",
            Way::Channel => "6",
        }
    }

    /// The way in words; that of design 2 continues design 1's.
    pub fn name(self) -> String {
        match self {
            Way::Lines(_) => "Kinesis > Firehose".to_owned(),
            Way::Repacked(Packer::Lambda, _) => " + Lambda into KPL".to_owned(),
            Way::Repacked(Packer::Kcl, _) => " + KCL into KPL".to_owned(),
            Way::DirectPut(codec) => format!("engine > Firehose, {}", RecordKind::Lines(codec)),
            Way::Aggregates(_) => "engine > KPL".to_owned(),
            Way::Channel => "Kinesis > channel".to_owned(),
        }
    }

    /// How its streams are paid for, where there is a choice.
    pub fn mode(self) -> Option<Mode> {
        match self {
            Way::Lines(mode) | Way::Repacked(_, mode) | Way::Aggregates(mode) => Some(mode),
            Way::DirectPut(_) => None,
            Way::Channel => Some(Mode::OnDemand),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.id())
    }
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            id: &'static str,
            name: String,
            mode: Option<Mode>,
        }
        Shown { id: self.id(), name: self.name(), mode: self.mode() }.serialize(serializer)
    }
}

/// Who sends the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Service {
    /// CloudFront, for real-time lines.
    CloudFront,
    /// Kinesis Data Streams.
    Kinesis,
    /// Amazon Data Firehose.
    Firehose,
    /// Lambda.
    Lambda,
    /// S3, for the requests that put objects; storage is not included.
    S3,
    /// The machines that this engine runs on.
    Machines,
}

impl Service {
    /// In the order of tables.
    pub const ALL: [Service; 6] =
        [Service::CloudFront, Service::Kinesis, Service::Firehose, Service::Lambda, Service::S3, Service::Machines];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Service::CloudFront => "CloudFront",
            Service::Kinesis => "Kinesis",
            Service::Firehose => "Firehose",
            Service::Lambda => "Lambda",
            Service::S3 => "S3 PUT",
            Service::Machines => "compute",
        }
    }
}

/// Something unsettled that a figure depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Caveat {
    /// How many bytes a GB has on the bill of a service.
    BytesPerGb(Service),
    /// Firehose may bill an aggregate from a stream by its lines rather than as one record.
    AggregateMeteredAsOne,
    /// How fast a Lambda function packs was measured, but not how long it waits for replies.
    LambdaSpeed,
    /// What the daemon of the Kinesis Client Library costs is known in part.
    KclDaemon,
    /// This engine's machines are missing from the bill: without a sample, its speed is not known.
    SpeedUnknown,
    /// A price that no source settles.
    Price(Item),
    /// A price that is missing, and with it what it is the price of.
    NoPrice(Item),
}

impl Caveat {
    /// What is unsettled, and what was assumed.
    pub fn explain(self, prices: &Prices) -> String {
        match self {
            Caveat::BytesPerGb(service) => {
                let gb = match service {
                    Service::Firehose => &prices.bytes_per_gb.firehose,
                    _ => &prices.bytes_per_gb.kinesis,
                };
                let bytes = if gb.value == GIB { "2^30" } else { "10^9" };
                format!("a GB of {} is taken as {bytes} bytes: {}", service.name(), gb.source)
            }
            Caveat::AggregateMeteredAsOne => "Firehose is taken to bill an aggregate from a stream as one record; AWS \
                does not say. By its lines it would be as in design 1"
                .to_owned(),
            Caveat::LambdaSpeed => format!(
                "a function of {LAMBDA_GB} GB is assumed to wait {LAMBDA_WAIT_SECONDS} s for the replies in each \
                invocation; that it takes {} MB of events in a second of CPU time was measured here, without TLS",
                LAMBDA_EVENT_BYTES_PER_CPU_SECOND / 1e6
            ),
            Caveat::KclDaemon => "of the Kinesis Client Library, which reads the stream, 512 MB of memory and the CPU time \
                of the engine as its child are counted; the CPU time of its daemon was not measured, and the requests to \
                its lease table have no price here"
                .to_owned(),
            Caveat::SpeedUnknown => "without this engine's machines: without a sample, its speed is unknown".to_owned(),
            Caveat::Price(item) => match prices.of(item) {
                Some(price) => {
                    format!("{item}: {} {} a {}: {}", price.value, prices.currency, price.unit, price.source)
                }
                None => format!("{item}: no price"),
            },
            Caveat::NoPrice(item) => {
                format!("{item}: no price in {}, so that what it is the price of is left out", prices.region)
            }
        }
    }
}

/// A line of the bill.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Charge {
    /// Who bills it.
    pub service: Service,
    /// The price.
    pub item: Item,
    /// How many of the price's units a month.
    pub quantity: f64,
    /// The two multiplied; `None` without a price.
    pub amount: Option<f64>,
    /// What is unsettled about it.
    pub caveats: BTreeSet<Caveat>,
}

/// Records as they flow at some rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Flow {
    /// The mean record.
    pub record: Size,
    /// Bytes of partition key of each record.
    pub key_bytes: f64,
    /// Records in a second.
    pub records: f64,
    /// Bytes of data in a second, without keys.
    pub bytes: f64,
    /// What a record is billed.
    pub billed: PerRecord,
}

impl Flow {
    /// The records that `rate` lines a second become when `fillers` share them and fill records,
    /// each of which waits for `linger` seconds at most: at low rates a record is sent long before
    /// it is full.
    pub(crate) fn packed(packed: &PackedLines, line_bytes: f64, rate: f64, fillers: f64, linger: f64) -> Flow {
        let record = packed.record(rate / fillers * linger * line_bytes, line_bytes);
        let records = rate * line_bytes / record.lines;
        let key_bytes = packed.key_bytes;
        Flow { record, key_bytes, records, bytes: records * record.data, billed: packed.billed(record) }
    }

    /// Bytes in a second as Kinesis counts them, keys included.
    pub(crate) fn bytes_with_keys(&self) -> f64 {
        self.bytes + self.records * self.key_bytes
    }

    /// Calls in a second that carry these records: as few as the API allows, but each producer
    /// makes one whenever its linger is over.
    pub(crate) fn calls(&self, api: Api, producers: u32, linger: Duration) -> f64 {
        let bytes_in_call = match api {
            Api::PutRecords => self.record.data + self.key_bytes,
            // As this engine counts: base64, and JSON around it.
            Api::PutRecordBatch => (self.record.data / 3.0).ceil() * 4.0 + 12.0,
        };
        let in_call = (api.default_bytes() as f64 / bytes_in_call).floor().clamp(1.0, MAX_RECORDS as f64);
        let by_linger = f64::from(producers) / linger.as_secs_f64();
        (self.records / in_call).max(self.records.min(by_linger))
    }
}

/// Shards that a stream needs at the peak, by each limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Shards {
    /// By the bytes of data and keys that a shard takes.
    pub by_bytes: f64,
    /// By the records that a shard takes.
    pub by_records: f64,
    /// By the bytes that a shard's readers share.
    pub by_readers: f64,
}

impl Shards {
    /// The whole shards that satisfy all three.
    pub fn needed(self) -> f64 {
        // A hair above a whole number is a rounding error.
        (self.by_bytes.max(self.by_records).max(self.by_readers) - 1e-9).ceil().max(1.0)
    }
}

/// What the records of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carries {
    /// A line each.
    Lines,
    /// KPL aggregates.
    Aggregates,
}

impl fmt::Display for Carries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Carries::Lines => "lines",
            Carries::Aggregates => "aggregates",
        })
    }
}

/// A Kinesis stream of a design.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stream {
    /// What its records are.
    pub of: Carries,
    /// How it is paid for.
    pub mode: Mode,
    /// What flows at the peak.
    pub peak: Flow,
    /// What the peak needs; an on-demand stream keeps as many by itself.
    pub shards: Shards,
    /// PutRecords calls in a second at the peak; `None` where CloudFront makes them.
    pub calls: Option<f64>,
    /// The peak as a share of what on-demand streams take in that region.
    pub share_of_on_demand: f64,
}

/// Firehose in a design.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Firehose {
    /// What it takes in at the peak.
    pub peak: Flow,
    /// PutRecordBatch calls in a second at the peak; `None` when it reads a stream.
    pub calls: Option<f64>,
    /// The peak as a share of the Direct PUT quota; `None` when it reads a stream, which has none.
    pub share_of_quota: Option<f64>,
    /// Bytes billed a line on average.
    pub billed_bytes_per_line: f64,
    /// How long it buffers at the average rate, by its default hints.
    pub buffer_seconds: f64,
}

/// A channel in a design, which takes the place of Firehose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Channel {
    /// What it takes in at the peak.
    pub peak: Flow,
    /// How long it collects before it delivers, unless told otherwise.
    pub freshness_seconds: f64,
}

/// This engine in a design.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Engine {
    /// Cores that packing keeps busy at the peak; sending is not included. `None` when the speed is
    /// unknown.
    pub cores: Option<f64>,
    /// Bytes of memory of all instances.
    pub memory: f64,
}

/// Why lines are on their way for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Wait {
    /// A reader polls the stream.
    #[serde(rename = "read from the stream")]
    Reading,
    /// This engine waits for a record to fill.
    #[serde(rename = "waiting for a record to fill")]
    Filling,
    /// Lambda waits for a batch to fill.
    #[serde(rename = "Lambda's batching window")]
    Batching,
}

/// A part of the time that lines are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Delay {
    /// What they wait for.
    pub part: Wait,
    /// Seconds at the average rate.
    pub seconds: f64,
}

/// A way of carrying the lines, with what it needs and costs.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Design {
    /// Which way it is; in JSON `id`, `name` and `mode`.
    #[serde(flatten)]
    pub way: Way,
    /// Its streams, in the order in which lines pass them.
    pub streams: Vec<Stream>,
    /// Firehose, if the way goes through it to S3.
    pub firehose: Option<Firehose>,
    /// A channel, if the way goes through one to S3.
    pub channel: Option<Channel>,
    /// This engine, if it takes part.
    pub engine: Option<Engine>,
    /// The bill of a month.
    pub charges: Vec<Charge>,
    /// What is unsettled beside the charges.
    pub caveats: BTreeSet<Caveat>,
    /// The delay that it adds, without Firehose's buffer.
    pub delay: Vec<Delay>,
}

impl Design {
    /// The charges that have no price.
    pub fn unpriced(&self) -> impl Iterator<Item = &Charge> {
        self.charges.iter().filter(|charge| charge.amount.is_none())
    }

    /// Whether the lines come to lie in S3; otherwise they end in a stream.
    pub fn ends_in_s3(&self) -> bool {
        self.firehose.is_some() || self.channel.is_some()
    }

    /// What a service charges as far as there are prices, and what is unsettled about it.
    pub fn cost_of(&self, service: Service) -> (f64, BTreeSet<Caveat>) {
        let charges = self.charges.iter().filter(|charge| charge.service == service);
        charges.fold(Default::default(), |(amount, mut caveats), charge| {
            caveats.extend(&charge.caveats);
            (amount + charge.amount.unwrap_or(0.0), caveats)
        })
    }

    /// The whole bill as far as there are prices, and what is unsettled about it.
    pub fn total(&self) -> (f64, BTreeSet<Caveat>) {
        Service::ALL.iter().fold((0.0, self.caveats.clone()), |(amount, mut caveats), &service| {
            let (more, unsettled) = self.cost_of(service);
            caveats.extend(unsettled);
            (amount + more, caveats)
        })
    }

    /// Seconds that lines are on their way, without Firehose's buffer.
    pub fn delay_seconds(&self) -> f64 {
        self.delay.iter().fold(0.0, |seconds, delay| seconds + delay.seconds)
    }
}
