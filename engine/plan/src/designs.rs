//! The ways of carrying lines, side by side: what each needs at the peak, and what it costs in a month.
//!
//! | design | way |
//! |---|---|
//! | 1 | lines > Kinesis > Firehose, a line a record |
//! | 2 | the same with a hop (Lambda or this engine) that packs them into KPL aggregates in a second stream |
//! | 3 | this engine > Firehose Direct PUT, raw |
//! | 4 | the same, compressed |
//! | 5 | this engine > Kinesis, KPL aggregates |
//!
//! Real-time logs come in a Kinesis stream of their own, a line a record, whatever reads it. With
//! [`LinesFrom::CloudFront`] that stream and CloudFront's price by line are a part of every design; with
//! [`LinesFrom::Producers`] the engine runs where the lines are made, and designs 3 to 5 have no such stream.

use std::collections::BTreeSet;

use serde::Serialize;

use super::limits::{
    FIREHOSE_BUFFER_BYTES, FIREHOSE_BUFFER_SECONDS, HOURS_PER_MONTH, LAMBDA_BATCH, PUT_RECORD_BATCH, PUT_RECORDS,
    SECONDS_PER_MONTH, SHARD_BYTES, SHARD_READ_BYTES, SHARD_RECORDS, SHARED_READ_DELAY, direct_put_quota,
    on_demand_bytes,
};
use super::prices::{Item, Prices};
use super::rate::Load;
use super::workload::{Packing, PerRecord, Size, Speed, Workload, billed};

/// Memory of the assumed Lambda function in GB.
pub const LAMBDA_GB: f64 = 0.5;
/// Lines that the assumed Lambda function packs in a second.
pub const LAMBDA_LINES_PER_SECOND: f64 = 25_000.0;
/// What an invocation of it takes beside that, in seconds.
pub const LAMBDA_INVOCATION_SECONDS: f64 = 0.01;
/// The smallest machine that an instance of this engine is billed as: a quarter of a vCPU and half a GB, as Fargate's.
pub const SMALLEST_INSTANCE: (f64, f64) = (0.25, 0.5);

/// What a plan is for, beside the lines themselves.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    /// How many lines come.
    pub load: Load,
    /// What things cost, and where.
    pub prices: Prices,
    /// Where lines come from.
    pub lines_from: LinesFrom,
    /// Instances of this engine that share the lines; each fills records of its own.
    pub producers: u32,
    /// How long a record waits for more lines, in seconds.
    pub linger: f64,
    /// Readers of the last stream without enhanced fan-out: Firehose, or your own.
    pub consumers: u32,
    /// Readers of the last stream with enhanced fan-out.
    pub fan_out: u32,
}

/// Where lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinesFrom {
    /// CloudFront real-time logs: $ a line, and a Kinesis stream with a line a record.
    CloudFront,
    /// Programs of your own.
    Producers,
}

/// How a stream is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By the shard.
    Provisioned,
    /// By the GB.
    OnDemand,
}

/// Who sends the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// S3, for the requests that put objects; what they take up is not in it.
    S3,
    /// Machines that this engine runs on.
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

/// Something unsettled that takes part in a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caveat {
    /// How many bytes a GB has on the bill.
    BytesPerGb,
    /// Firehose may bill the lines of an aggregate from a stream, rather than the aggregate.
    AggregateMeteredAsOne,
    /// How fast a Lambda function packs was not measured.
    LambdaSpeed,
    /// This engine's machines are missing: without a sample its speed is not known.
    SpeedUnknown,
    /// A price without a source that settles it.
    Price(Item),
}

impl Caveat {
    /// What is unsettled, and what was taken.
    pub fn explain(self, prices: &Prices) -> String {
        match self {
            Caveat::BytesPerGb => {
                let bytes = if prices.bytes_per_gb.value == 1e9 { "10^9" } else { "2^30" };
                format!("a GB is taken as {bytes} bytes: {}", prices.bytes_per_gb.source)
            }
            Caveat::AggregateMeteredAsOne => "Firehose is taken to bill an aggregate from a stream as one record; AWS \
                does not say. By its lines it would be as in design 1"
                .to_owned(),
            Caveat::LambdaSpeed => format!(
                "a function of {LAMBDA_GB} GB is assumed to pack {LAMBDA_LINES_PER_SECOND} lines/s and to take \
                {LAMBDA_INVOCATION_SECONDS} s more an invocation"
            ),
            Caveat::SpeedUnknown => "without this engine's machines: without a sample, its speed is unknown".to_owned(),
            Caveat::Price(item) => {
                let price = prices.of(item);
                format!("{item}: {} {} a {}: {}", price.value, prices.currency, price.unit, price.source)
            }
        }
    }
}

/// A line of the bill.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Charge {
    /// Who bills it.
    pub service: Service,
    /// The price.
    pub item: Item,
    /// How many of the price's units a month.
    pub quantity: f64,
    /// The two multiplied.
    pub amount: f64,
    /// What is unsettled about it.
    pub caveats: BTreeSet<Caveat>,
}

/// Records as they flow at some rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Flow {
    /// The mean record.
    pub record: Size,
    /// Bytes of partition key of each.
    pub key_bytes: f64,
    /// Records in a second.
    pub records: f64,
    /// Bytes of data in a second.
    pub bytes: f64,
    /// What a record is billed.
    pub billed: PerRecord,
}

/// Shards that a stream needs at the peak, by each limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shards {
    /// By 1 MiB/s of data and keys.
    pub by_bytes: f64,
    /// By 1,000 records/s.
    pub by_records: f64,
    /// By 2 MiB/s that its readers share.
    pub by_readers: f64,
}

impl Shards {
    /// The whole shards that satisfy all three.
    pub fn needed(self) -> f64 {
        // A hair above a whole number is an error of rounding.
        (self.by_bytes.max(self.by_records).max(self.by_readers) - 1e-9).ceil().max(1.0)
    }
}

/// A Kinesis stream of a design.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stream {
    /// `lines` or `aggregates`.
    pub of: &'static str,
    /// How it is paid.
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

/// This engine in a design.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Engine {
    /// Cores that packing keeps busy at the peak; sending comes on top. `None` when the speed is unknown.
    pub cores: Option<f64>,
    /// Bytes of memory of all instances.
    pub memory: f64,
}

/// A time that lines spend.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delay {
    /// Where.
    pub part: &'static str,
    /// Seconds at the average rate.
    pub seconds: f64,
}

/// A way of carrying the lines.
#[derive(Clone, Debug, Serialize)]
pub struct Design {
    /// `1a`.
    pub id: &'static str,
    /// The way in words.
    pub name: String,
    /// How its streams are paid, where there is a choice.
    pub mode: Option<Mode>,
    /// Its streams, in the order of the way.
    pub streams: Vec<Stream>,
    /// Firehose, if it ends there.
    pub firehose: Option<Firehose>,
    /// This engine, if it takes part.
    pub engine: Option<Engine>,
    /// The bill of a month.
    pub charges: Vec<Charge>,
    /// What is unsettled beside the charges.
    pub caveats: BTreeSet<Caveat>,
    /// What it adds in delay, Firehose's buffer left out.
    pub delay: Vec<Delay>,
}

impl Design {
    /// What a service charges, and what is unsettled about it.
    pub fn cost_of(&self, service: Service) -> (f64, BTreeSet<Caveat>) {
        let charges = self.charges.iter().filter(|charge| charge.service == service);
        charges.fold(Default::default(), |(amount, mut caveats), charge| {
            caveats.extend(&charge.caveats);
            (amount + charge.amount, caveats)
        })
    }

    /// The whole bill, and what is unsettled about it.
    pub fn total(&self) -> (f64, BTreeSet<Caveat>) {
        Service::ALL.iter().fold((0.0, self.caveats.clone()), |(amount, mut caveats), &service| {
            let (more, unsettled) = self.cost_of(service);
            caveats.extend(unsettled);
            (amount + more, caveats)
        })
    }

    /// Seconds that lines spend on the way, Firehose's buffer left out.
    pub fn delay_seconds(&self) -> f64 {
        self.delay.iter().map(|delay| delay.seconds).sum()
    }
}

/// Every design for such lines.
pub fn compare(workload: &Workload, setup: &Setup) -> Vec<Design> {
    let mut designs = Vec::new();
    for (id, mode) in [("1a", Mode::Provisioned), ("1b", Mode::OnDemand)] {
        let mut design = Draft::new(workload, setup, id, "Kinesis > Firehose", Some(mode));
        let shards = design.lines_stream(mode, setup.consumers, setup.fan_out);
        design.firehose_from_stream(design.unpacked(), shards);
        designs.push(design.done());
    }
    for (id, hop, mode) in [
        ("2a", Hop::Lambda, Mode::Provisioned),
        ("2b", Hop::Lambda, Mode::OnDemand),
        ("2c", Hop::Engine, Mode::Provisioned),
        ("2d", Hop::Engine, Mode::OnDemand),
    ] {
        let way = match hop {
            Hop::Lambda => " + Lambda into KPL",
            Hop::Engine => " + engine into KPL",
        };
        let mut design = Draft::new(workload, setup, id, way, Some(mode));
        let shards = design.lines_stream(mode, 1, 0);
        let flows = match hop {
            Hop::Lambda => design.lambda(shards),
            Hop::Engine => design.engine(&workload.kpl),
        };
        let shards = design.aggregates_stream(mode, flows);
        design.firehose_from_stream(flows, shards);
        design.mark(Service::Firehose, Caveat::AggregateMeteredAsOne);
        designs.push(design.done());
    }
    let direct = [("3", &workload.raw)].into_iter().chain(["4a", "4b", "4c"].into_iter().zip(&workload.compressed));
    for (id, packing) in direct {
        let mut design = Draft::new(workload, setup, id, &format!("engine > Firehose, {}", packing.name), None);
        design.source_stream();
        let flows = design.engine(packing);
        design.direct_put(flows);
        designs.push(design.done());
    }
    for (id, mode) in [("5a", Mode::Provisioned), ("5b", Mode::OnDemand)] {
        let mut design = Draft::new(workload, setup, id, "engine > KPL", Some(mode));
        design.source_stream();
        let flows = design.engine(&workload.kpl);
        design.aggregates_stream(mode, flows);
        design.read(setup.consumers);
        designs.push(design.done());
    }
    designs
}

#[derive(Clone, Copy)]
enum Hop {
    Lambda,
    Engine,
}

/// The flow of records into a container when lines come at `rate` and are shared by `fillers`, each of which waits for
/// `linger` seconds at most: at low rates a record is sent long before it is full.
pub fn packed(packing: &Packing, line_bytes: f64, rate: f64, fillers: f64, linger: f64) -> Flow {
    let record = packing.record(rate / fillers * linger * line_bytes, line_bytes);
    let records = rate * line_bytes / record.lines;
    Flow { record, key_bytes: packing.key_bytes, records, bytes: records * record.data, billed: packing.billed(record) }
}

/// Calls in a second that carry these records: as few as the API allows, but a producer sends one whenever its linger
/// is over.
pub fn calls(
    flow: &Flow,
    (most_records, most_bytes): (f64, f64),
    bytes_in_call: f64,
    producers: u32,
    linger: f64,
) -> f64 {
    let in_call = (most_bytes / bytes_in_call).floor().clamp(1.0, most_records);
    let by_linger = f64::from(producers) / linger;
    (flow.records / in_call).max(flow.records.min(by_linger))
}

/// Bytes of a record in a PutRecordBatch call, as this engine counts them: base64 and JSON around it.
pub fn bytes_in_batch(data: f64) -> f64 {
    (data / 3.0).ceil() * 4.0 + 12.0
}

/// What records of one size cost in a month by their rounding, whatever else a design costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BySize {
    /// Bytes of lines in a record: whole lines, as many as fit.
    pub bytes: f64,
    /// Firehose, with its first tier's price.
    pub firehose: f64,
    /// What goes into an on-demand stream.
    pub on_demand: f64,
    /// PUT payload units of a provisioned stream.
    pub put_payload_units: f64,
}

/// What the average rate costs in records of whole lines of the mean length, from one line up to a full record. The
/// steps are the roundings: 5 KiB, 1 KiB, and units of 25 KiB.
pub fn by_record_size(workload: &Workload, setup: &Setup) -> Vec<BySize> {
    const POINTS: i32 = 120;
    let line = workload.line_bytes;
    let most = workload.raw.full().lines;
    let price = |item| setup.prices.of(item).value;
    let gb = setup.prices.bytes_per_gb.value;
    let sizes = (0..=POINTS).map(|point| line * (most / line).powf(f64::from(point) / f64::from(POINTS)));
    let mut lines: Vec<f64> = sizes.map(|size| (size / line + 1e-9).floor()).collect();
    lines.dedup();
    lines
        .into_iter()
        .map(|lines| {
            let bytes = lines * line;
            let records = setup.load.average.monthly() / lines;
            let billed = if lines == 1.0 { workload.unpacked } else { billed(bytes, 0.0) };
            BySize {
                bytes,
                firehose: records * billed.firehose / gb * price(Item::FirehoseGbTier1),
                on_demand: records * billed.on_demand / gb * price(Item::KinesisOnDemandInGb),
                put_payload_units: records * billed.put_payload_units / 1e6 * price(Item::KinesisPutUnitMillion),
            }
        })
        .collect()
}

/// A design while it is put together, in the order of its way.
struct Draft<'a> {
    workload: &'a Workload,
    setup: &'a Setup,
    id: &'static str,
    name: String,
    mode: Option<Mode>,
    streams: Vec<Stream>,
    firehose: Option<Firehose>,
    engine: Option<Engine>,
    charges: Vec<Charge>,
    caveats: BTreeSet<Caveat>,
    delay: Vec<Delay>,
}

/// What flows at the average rate, which is paid, and at the peak, which must fit.
#[derive(Clone, Copy)]
struct Flows {
    average: Flow,
    peak: Flow,
}

impl<'a> Draft<'a> {
    fn new(workload: &'a Workload, setup: &'a Setup, id: &'static str, way: &str, mode: Option<Mode>) -> Draft<'a> {
        let mut draft = Draft {
            workload,
            setup,
            id,
            name: way.to_owned(),
            mode,
            streams: Vec::new(),
            firehose: None,
            engine: None,
            charges: Vec::new(),
            caveats: BTreeSet::new(),
            delay: Vec::new(),
        };
        if setup.lines_from == LinesFrom::CloudFront {
            let lines = setup.load.average.monthly();
            draft.charge(Service::CloudFront, Item::CloudfrontLineMillion, lines / 1e6);
        }
        draft
    }

    fn done(self) -> Design {
        let Draft { id, name, mode, streams, firehose, engine, charges, caveats, delay, .. } = self;
        Design { id, name, mode, streams, firehose, engine, charges, caveats, delay }
    }

    fn charge(&mut self, service: Service, item: Item, quantity: f64) {
        if quantity <= 0.0 {
            return;
        }
        let price = self.setup.prices.of(item);
        let mut caveats = BTreeSet::new();
        if !price.confirmed {
            caveats.insert(Caveat::Price(item));
        }
        if item.is_by_gb() && !self.setup.prices.bytes_per_gb.confirmed {
            caveats.insert(Caveat::BytesPerGb);
        }
        self.charges.push(Charge { service, item, quantity, amount: quantity * price.value, caveats });
    }

    /// Something beside the price is unsettled about what a service charges.
    fn mark(&mut self, service: Service, caveat: Caveat) {
        let charges = self.charges.iter_mut().filter(|charge| charge.service == service);
        charges.for_each(|charge| _ = charge.caveats.insert(caveat));
    }

    fn gb_a_month(&self, bytes_per_second: f64) -> f64 {
        bytes_per_second * SECONDS_PER_MONTH / self.setup.prices.bytes_per_gb.value
    }

    fn calls(&self, flow: &Flow, most: (f64, f64), bytes_in_call: f64) -> f64 {
        calls(flow, most, bytes_in_call, self.setup.producers, self.setup.linger)
    }

    fn read(&mut self, consumers: u32) {
        let seconds = SHARED_READ_DELAY * f64::from(consumers.max(1));
        self.delay.push(Delay { part: "read from the stream", seconds });
    }

    fn flows(&self, at: impl Fn(f64) -> Flow) -> Flows {
        Flows { average: at(self.setup.load.average.get()), peak: at(self.setup.load.peak.get()) }
    }

    /// A line a record.
    fn unpacked(&self) -> Flows {
        let line = self.workload.line_bytes;
        let record = Size { lines: line, data: line };
        let billed = self.workload.unpacked;
        self.flows(|rate| Flow { record, key_bytes: 0.0, records: rate, bytes: rate * line, billed })
    }

    /// The stream in which real-time logs come, for a design that reads them by itself.
    fn source_stream(&mut self) {
        if self.setup.lines_from == LinesFrom::CloudFront {
            self.lines_stream(Mode::Provisioned, 1, 0);
            self.read(1);
        }
    }

    /// A stream with a line a record; its shards.
    fn lines_stream(&mut self, mode: Mode, consumers: u32, fan_out: u32) -> f64 {
        let flows = self.unpacked();
        let calls = match self.setup.lines_from {
            LinesFrom::CloudFront => None,
            LinesFrom::Producers => Some(self.calls(&flows.peak, PUT_RECORDS, flows.peak.record.data)),
        };
        self.stream("lines", mode, flows, calls, (consumers, fan_out))
    }

    /// A stream of KPL aggregates; its shards.
    fn aggregates_stream(&mut self, mode: Mode, flows: Flows) -> f64 {
        let in_call = flows.peak.record.data + flows.peak.key_bytes;
        let calls = self.calls(&flows.peak, PUT_RECORDS, in_call);
        self.stream("aggregates", mode, flows, Some(calls), (self.setup.consumers, self.setup.fan_out))
    }

    fn stream(
        &mut self,
        of: &'static str,
        mode: Mode,
        Flows { average, peak }: Flows,
        calls: Option<f64>,
        (consumers, fan_out): (u32, u32),
    ) -> f64 {
        let with_keys = |flow: &Flow| flow.bytes + flow.records * flow.key_bytes;
        let shards = Shards {
            by_bytes: with_keys(&peak) / SHARD_BYTES,
            by_records: peak.records / SHARD_RECORDS,
            by_readers: with_keys(&peak) * f64::from(consumers) / SHARD_READ_BYTES,
        };
        let count = shards.needed();
        let (consumers, fan_out) = (f64::from(consumers), f64::from(fan_out));
        let gb_out = self.gb_a_month(with_keys(&average));
        match mode {
            Mode::Provisioned => {
                let units = average.records * average.billed.put_payload_units * SECONDS_PER_MONTH;
                self.charge(Service::Kinesis, Item::KinesisShardHour, count * HOURS_PER_MONTH);
                self.charge(Service::Kinesis, Item::KinesisPutUnitMillion, units / 1e6);
                self.charge(Service::Kinesis, Item::KinesisFanOutShardHour, fan_out * count * HOURS_PER_MONTH);
                self.charge(Service::Kinesis, Item::KinesisFanOutGb, fan_out * gb_out);
            }
            Mode::OnDemand => {
                let gb_in = self.gb_a_month(average.records * average.billed.on_demand);
                self.charge(Service::Kinesis, Item::KinesisOnDemandStreamHour, HOURS_PER_MONTH);
                self.charge(Service::Kinesis, Item::KinesisOnDemandInGb, gb_in);
                self.charge(Service::Kinesis, Item::KinesisOnDemandOutGb, consumers * gb_out);
                self.charge(Service::Kinesis, Item::KinesisOnDemandFanOutGb, fan_out * gb_out);
            }
        }
        let share_of_on_demand = with_keys(&peak) / on_demand_bytes(&self.setup.prices.region);
        self.streams.push(Stream { of, mode, peak, shards, calls, share_of_on_demand });
        count
    }

    /// A function that packs what a shard has; what comes out of it.
    fn lambda(&mut self, shards: f64) -> Flows {
        let (workload, window) = (self.workload, self.setup.linger);
        let line = workload.line_bytes;
        let most = LAMBDA_BATCH.0.min((LAMBDA_BATCH.1 / line).floor()).max(1.0);
        let batch = |rate: f64| (rate / shards * window).clamp(1.0, most);
        let average = self.setup.load.average.get();
        let invocations = average / batch(average);
        let seconds = invocations * LAMBDA_INVOCATION_SECONDS + average / LAMBDA_LINES_PER_SECOND;
        self.charge(Service::Lambda, Item::LambdaRequestMillion, invocations * SECONDS_PER_MONTH / 1e6);
        self.charge(Service::Lambda, Item::LambdaGbSecond, seconds * LAMBDA_GB * SECONDS_PER_MONTH);
        self.mark(Service::Lambda, Caveat::LambdaSpeed);
        self.read(1);
        let waited = (batch(average) * shards / average).min(window);
        self.delay.push(Delay { part: "Lambda's batching window", seconds: waited });
        // An invocation fills records with its own batch and nothing else.
        self.flows(|rate| packed(&workload.kpl, line, rate, rate / batch(rate), 1.0))
    }

    /// This engine packing; what comes out of it.
    fn engine(&mut self, packing: &Packing) -> Flows {
        let (line, linger) = (self.workload.line_bytes, self.setup.linger);
        let producers = f64::from(self.setup.producers);
        // A design with a hop reads before it packs.
        if self.delay.is_empty() && !self.streams.is_empty() {
            self.read(1);
        }
        let rate = self.setup.load.average.get() / producers;
        let seconds = (packing.full().lines / (rate * line)).min(linger);
        self.delay.push(Delay { part: "waiting for a record to fill", seconds });

        let cores = packing.speed.map(|speed| self.setup.load.peak.get() / per_core(&speed));
        let threads = cores.map_or(producers, |cores| cores.ceil().max(producers));
        let memory = memory(&packing.name, threads, producers);
        self.engine = Some(Engine { cores, memory });
        match cores {
            None => _ = self.caveats.insert(Caveat::SpeedUnknown),
            Some(cores) => {
                let (least_cores, least_gb) = SMALLEST_INSTANCE;
                let cores = ((cores / least_cores).ceil() * least_cores).max(producers * least_cores);
                let gb = (memory / 1e9).max(producers * least_gb);
                self.charge(Service::Machines, Item::VcpuHour, cores * HOURS_PER_MONTH);
                self.charge(Service::Machines, Item::MemoryGbHour, gb * HOURS_PER_MONTH);
            }
        }
        self.flows(|rate| packed(packing, line, rate, producers, linger))
    }

    fn firehose_from_stream(&mut self, flows: Flows, shards: f64) {
        self.read(self.setup.consumers);
        // Firehose unpacks aggregates, so what it delivers are the lines; it buffers by shard.
        let lines = self.setup.load.average.get() * self.workload.line_bytes;
        self.firehose(flows, None, None, lines, shards);
    }

    fn direct_put(&mut self, flows: Flows) {
        let peak = flows.peak;
        let quota = direct_put_quota(&self.setup.prices.region);
        let calls = self.calls(&peak, PUT_RECORD_BATCH, bytes_in_batch(peak.record.data));
        let share = (peak.bytes / quota.bytes).max(peak.records / quota.records).max(calls / quota.requests);
        self.firehose(flows, Some(calls), Some(share), flows.average.bytes, 1.0);
    }

    fn firehose(
        &mut self,
        Flows { average, peak }: Flows,
        calls: Option<f64>,
        share_of_quota: Option<f64>,
        delivered: f64,
        buffers: f64,
    ) {
        let bytes = average.records * average.billed.firehose;
        let mut rest = self.gb_a_month(bytes);
        let mut below = 0.0;
        for (item, end) in self.setup.prices.firehose_tiers() {
            let here = rest.min(end - below);
            self.charge(Service::Firehose, item, here);
            (rest, below) = (rest - here, end);
        }
        let buffer_seconds = (FIREHOSE_BUFFER_BYTES / (delivered / buffers)).min(FIREHOSE_BUFFER_SECONDS);
        let objects = buffers / buffer_seconds;
        self.charge(Service::S3, Item::S3PutThousand, objects * SECONDS_PER_MONTH / 1e3);
        let billed_bytes_per_line = bytes / self.setup.load.average.get();
        self.firehose = Some(Firehose { peak, calls, share_of_quota, billed_bytes_per_line, buffer_seconds });
    }
}

fn per_core(speed: &Speed) -> f64 {
    speed.lines_per_second / speed.threads as f64
}

/// Bytes of memory of all instances, from the peaks measured in docs/architecture.md: a base for each instance, and so
/// much for each thread.
fn memory(packing: &str, threads: f64, instances: f64) -> f64 {
    let (base, thread) = match packing {
        "raw" => (20e6, 5e6),
        "kpl" => (75e6, 5e6),
        _ => (60e6, 25e6),
    };
    base * instances + thread * threads
}

#[cfg(test)]
mod tests {
    use super::super::prices::PriceFile;
    use super::super::rate::Rate;
    use super::*;

    fn setup(rate: f64, peak: f64) -> Setup {
        Setup {
            load: Load::new(Rate::per_second(rate).unwrap(), peak).unwrap(),
            prices: PriceFile::built_in().region("us-east-1").unwrap(),
            lines_from: LinesFrom::CloudFront,
            producers: 1,
            linger: 1.0,
            consumers: 1,
            fan_out: 0,
        }
    }

    fn design(id: &str, line: u32, setup: &Setup) -> Design {
        compare(&Workload::stated(line), setup).into_iter().find(|design| design.id == id).unwrap()
    }

    #[track_caller]
    fn close(got: f64, wanted: f64) {
        assert!((got - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{got} instead of {wanted}");
    }

    #[test]
    fn a_line_a_record_by_hand() {
        // 10,000 lines/s of 800 B, 20,000 at the peak.
        let lines = 10_000.0 * 2_628_000.0;
        let design = design("1a", 800, &setup(10_000.0, 2.0));
        let [stream] = &design.streams[..] else { panic!() };
        close(stream.shards.by_bytes, 20_000.0 * 800.0 / 1_048_576.0);
        close(stream.shards.by_records, 20.0);
        close(stream.shards.by_readers, 20_000.0 * 800.0 / 2_097_152.0);
        assert_eq!(stream.shards.needed(), 20.0);
        assert_eq!(stream.calls, None, "CloudFront makes them");
        close(design.cost_of(Service::CloudFront).0, lines / 1e6 * 0.01);
        close(design.cost_of(Service::Kinesis).0, 20.0 * 730.0 * 0.015 + lines / 1e6 * 0.014);
        // 5,120 B a line: 134,553.6 GB, all in the first tier.
        close(design.cost_of(Service::Firehose).0, lines * 5_120.0 / 1e9 * 0.029);
        // 8 MB/s over 20 shards: 5 MiB in 13.1 s each.
        let firehose = design.firehose.as_ref().unwrap();
        close(firehose.buffer_seconds, 5_242_880.0 / 400_000.0);
        close(design.cost_of(Service::S3).0, 8e6 / 5_242_880.0 * 2_628.0 * 0.005);
        let parts: f64 = Service::ALL.iter().map(|&service| design.cost_of(service).0).sum();
        close(design.total().0, parts);
        close(design.delay_seconds(), 0.2);
    }

    #[test]
    fn an_on_demand_stream_rounds_each_record_up_to_1_kib() {
        for (line, billed) in [(1, 1_024.0), (1_024, 1_024.0), (1_025, 2_048.0), (5_120, 5_120.0)] {
            let design = design("1b", line, &setup(1_000.0, 1.0));
            let seconds = 1_000.0 * 2_628_000.0 / 1e9;
            let (into, out) = (billed * seconds * 0.08, f64::from(line) * seconds * 0.04);
            close(design.cost_of(Service::Kinesis).0, 730.0 * 0.04 + into + out);
        }
    }

    #[test]
    fn tiers_are_charged_by_volume() {
        // 5,120 B a line at 1e6 lines/s are 13,455,360 GB a month.
        let design = design("1a", 100, &setup(1e6, 1.0));
        let amount = 500_000.0 * 0.029 + 1_500_000.0 * 0.025 + 11_455_360.0 * 0.02;
        let (firehose, caveats) = design.cost_of(Service::Firehose);
        close(firehose, amount);
        assert!(caveats.contains(&Caveat::Price(Item::FirehoseGbTier2)) && caveats.contains(&Caveat::BytesPerGb));
    }

    #[test]
    fn full_records_are_billed_as_they_are() {
        let at = setup(100_000.0, 1.0);
        let design = design("3", 800, &at);
        let firehose = design.firehose.as_ref().unwrap();
        // Records of 1,023,600 B are billed 1,024,000 B.
        close(firehose.billed_bytes_per_line, 800.0 * 1_024_000.0 / 1_023_600.0);
        close(firehose.peak.records, 80e6 / 1_023_600.0);
        // Three of them in base64 fit into a call.
        close(firehose.calls.unwrap(), 80e6 / 1_023_600.0 / 3.0);
        close(firehose.share_of_quota.unwrap(), 80e6 / 5_242_880.0);
    }

    #[test]
    fn at_low_rates_records_are_sent_before_they_are_full() {
        // 10 lines/s and a linger of 1 s: 8,000 B a record, billed 10,240 B.
        let mut at = setup(10.0, 1.0);
        let design_at = |at: &Setup| design("3", 800, at);
        let firehose = design_at(&at).firehose.unwrap();
        close(firehose.peak.record.data, 8_000.0);
        close(firehose.billed_bytes_per_line, 1_024.0);
        close(firehose.calls.unwrap(), 1.0);
        close(firehose.buffer_seconds, 300.0);
        // Shared by ten, it is a line a record.
        at.producers = 10;
        close(design_at(&at).firehose.unwrap().billed_bytes_per_line, 5_120.0);
        // And with more patience, full ones.
        (at.producers, at.linger) = (1, 600.0);
        close(design_at(&at).firehose.unwrap().peak.record.data, 1_023_600.0);
        close(design_at(&at).delay.iter().find(|delay| delay.part.contains("fill")).unwrap().seconds, 127.95);
    }

    #[test]
    fn readers_need_shards_and_time() {
        let mut at = setup(20_000.0, 1.0);
        at.consumers = 4;
        let [.., stream] = &design("5a", 800, &at).streams[..] else { panic!() };
        close(stream.shards.by_readers, 2.0 * stream.shards.by_bytes);
        close(design("5a", 800, &at).delay_seconds(), 0.2 + fill(800.0, 20_000.0) + 0.8);
        // Enhanced fan-out costs money instead.
        let shared = design("5a", 800, &setup(20_000.0, 1.0)).cost_of(Service::Kinesis).0;
        let at = Setup { fan_out: 3, ..setup(20_000.0, 1.0) };
        let design = design("5a", 800, &at);
        let [.., stream] = &design.streams[..] else { panic!() };
        let bytes = stream.peak.bytes + stream.peak.records * 4.0;
        let more = 3.0 * (stream.shards.needed() * 730.0 * 0.015 + bytes * 2_628_000.0 / 1e9 * 0.013);
        close(design.cost_of(Service::Kinesis).0, shared + more);
    }

    fn fill(line: f64, rate: f64) -> f64 {
        Workload::stated(line as u32).kpl.full().lines / (line * rate)
    }

    #[test]
    fn lines_of_ones_own_need_no_stream_before_the_engine() {
        let at = Setup { lines_from: LinesFrom::Producers, ..setup(1_000.0, 1.0) };
        for (id, streams) in [("1a", 1), ("2c", 2), ("3", 0), ("5b", 1)] {
            let design = design(id, 800, &at);
            assert_eq!(design.streams.len(), streams, "{id}");
            assert_eq!(design.cost_of(Service::CloudFront).0, 0.0);
        }
        // 1,000 records/s in calls of at most 500.
        close(design("1a", 800, &at).streams[0].calls.unwrap(), 2.0);
    }

    #[test]
    fn what_is_unsettled_stays_with_the_figure() {
        let at = setup(1_000.0, 1.0);
        let total = |id| design(id, 800, &at).total().1;
        assert!(total("2a").contains(&Caveat::AggregateMeteredAsOne) && total("2a").contains(&Caveat::LambdaSpeed));
        assert!(design("2c", 800, &at).cost_of(Service::Firehose).1.contains(&Caveat::AggregateMeteredAsOne));
        assert!(!total("1a").contains(&Caveat::AggregateMeteredAsOne));
        assert!(total("3").contains(&Caveat::SpeedUnknown), "nothing was measured");
        assert!(design("5a", 800, &at).cost_of(Service::Kinesis).1.is_empty(), "every price of it is confirmed");
        for caveat in total("2a").into_iter().chain(total("3")) {
            assert!(caveat.explain(&at.prices).len() > 20);
        }
    }

    #[test]
    fn the_cost_by_record_size_has_the_steps_of_the_rounding() {
        let sizes = by_record_size(&Workload::stated(1_024), &setup(1_000.0, 1.0));
        let lines = 1_000.0 * 2_628_000.0;
        assert_eq!((sizes[0].bytes, sizes[4].bytes, sizes[5].bytes), (1_024.0, 5_120.0, 6_144.0));
        close(sizes[0].firehose, lines * 5_120.0 / 1e9 * 0.029);
        close(sizes[4].firehose, lines * 1_024.0 / 1e9 * 0.029);
        close(sizes[5].firehose, lines / 6.0 * 10_240.0 / 1e9 * 0.029);
        close(sizes[0].on_demand, sizes[5].on_demand);
        close(sizes[0].put_payload_units, 5.0 * sizes[4].put_payload_units);
        assert!(sizes.last().unwrap().bytes > 1_000_000.0);
    }

    #[test]
    fn the_region_sets_the_quota() {
        let share = |region: &str| {
            let mut at = setup(100_000.0, 1.0);
            at.prices.region = region.to_owned();
            design("3", 800, &at).firehose.unwrap().share_of_quota.unwrap()
        };
        close(share("eu-central-1"), 5.0 * share("us-east-1"));
    }
}
