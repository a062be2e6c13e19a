//! Puts a design together in the order in which lines pass its parts.

use std::collections::BTreeSet;

use super::cost::{self, Bill, Readers};
use super::model::{
    Carries, Caveat, Channel, Delay, Design, Engine, Firehose, Flow, LinesFrom, Mode, Packer, Service, Setup, Shards,
    Stream, Wait, Way,
};
use crate::workload::{PackedLines, RecordKind, Size, Speed, Workload};
use pixel_engine_core::compress::Codec;
use pixel_engine_core::limits::firehose::{DEFAULT_BUFFER_SIZE, DEFAULT_BUFFER_TIME, DirectPutQuota};
use pixel_engine_core::limits::kinesis::{
    CHANNEL_FRESHNESS, SHARD_BYTES_PER_SECOND, SHARD_READ_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND,
    SHARED_READ_DELAY, on_demand_bytes_per_second,
};
use pixel_engine_core::limits::lambda::{MAX_BATCH_DATA, MAX_BATCH_RECORDS};
use pixel_engine_core::sink::limits::Api;

/// Every design for such lines; those that compress only when a sample was measured.
pub(crate) fn compare(workload: &Workload, setup: &Setup) -> Vec<Design> {
    const MODES: [Mode; 2] = [Mode::Provisioned, Mode::OnDemand];
    let repacked = [Packer::Lambda, Packer::Kcl].into_iter().flat_map(|by| MODES.map(|mode| Way::Repacked(by, mode)));
    let compressed = workload.compressed.iter().filter_map(|packed| match packed.kind {
        RecordKind::Lines(codec) => Some(Way::DirectPut(codec)),
        RecordKind::Line | RecordKind::Aggregate => None,
    });
    MODES
        .map(Way::Lines)
        .into_iter()
        .chain(repacked)
        .chain([Way::DirectPut(Codec::None)])
        .chain(compressed)
        .chain(MODES.map(Way::Aggregates))
        .chain([Way::Channel])
        .map(|way| Draft::new(workload, setup, way).design())
        .collect()
}

struct Draft<'a> {
    workload: &'a Workload,
    setup: &'a Setup,
    way: Way,
    bill: Bill<'a>,
    streams: Vec<Stream>,
    firehose: Option<Firehose>,
    channel: Option<Channel>,
    engine: Option<Engine>,
    caveats: BTreeSet<Caveat>,
    delay: Vec<Delay>,
}

/// What flows at the average rate, which is paid for, and at the peak, which must fit.
#[derive(Clone, Copy)]
struct Flows {
    average: Flow,
    peak: Flow,
}

impl<'a> Draft<'a> {
    fn new(workload: &'a Workload, setup: &'a Setup, way: Way) -> Draft<'a> {
        Draft {
            workload,
            setup,
            way,
            bill: Bill::new(&setup.prices),
            streams: Vec::new(),
            firehose: None,
            channel: None,
            engine: None,
            caveats: BTreeSet::new(),
            delay: Vec::new(),
        }
    }

    fn design(mut self) -> Design {
        let (workload, setup) = (self.workload, self.setup);
        // CloudFront's lines come in a stream.
        let reads_stream = setup.lines_from == LinesFrom::CloudFront;
        if reads_stream {
            self.bill.real_time_lines(setup.load.average);
        }
        match self.way {
            Way::Lines(mode) => {
                let readers = Readers { consumers: setup.consumers, fan_out: setup.fan_out };
                let shards = self.lines_stream(mode, readers);
                self.firehose_from_stream(self.unpacked(), shards);
            }
            Way::Repacked(packer, mode) => {
                let shards = self.lines_stream(mode, Readers { consumers: 1, fan_out: 0 });
                self.read(1);
                let flows = match packer {
                    Packer::Lambda => self.lambda(shards),
                    Packer::Kcl => self.engine(&workload.kpl, true),
                };
                let shards = self.aggregates_stream(mode, flows);
                self.firehose_from_stream(flows, shards);
                self.bill.mark(Service::Firehose, Caveat::AggregateMeteredAsOne);
            }
            Way::DirectPut(codec) => {
                self.source_stream();
                let packed = workload.lines_with(codec).expect("a design is compared for each measured codec");
                let flows = self.engine(packed, reads_stream);
                self.direct_put(flows);
            }
            Way::Aggregates(mode) => {
                self.source_stream();
                let flows = self.engine(&workload.kpl, reads_stream);
                self.aggregates_stream(mode, flows);
                self.read(setup.consumers);
            }
            Way::Channel => {
                // The first of the consumers is Firehose, which is not there.
                let readers = Readers { consumers: setup.consumers.saturating_sub(1), fan_out: setup.fan_out };
                self.lines_stream(Mode::OnDemand, readers);
                self.channel(self.unpacked());
            }
        }
        let Draft { way, bill, streams, firehose, channel, engine, caveats, delay, .. } = self;
        Design { way, streams, firehose, channel, engine, charges: bill.into_charges(), caveats, delay }
    }

    /// A reader without enhanced fan-out, which shares the stream with the others.
    fn read(&mut self, consumers: u32) {
        let seconds = SHARED_READ_DELAY.as_secs_f64() * f64::from(consumers.max(1));
        self.delay.push(Delay { part: Wait::Reading, seconds });
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

    /// The stream in which real-time logs come, for a design of which it is not the point.
    fn source_stream(&mut self) {
        if self.setup.lines_from == LinesFrom::CloudFront {
            self.lines_stream(Mode::Provisioned, Readers { consumers: 1, fan_out: 0 });
            self.read(1);
        }
    }

    /// A stream with a line a record; returns its shards.
    fn lines_stream(&mut self, mode: Mode, readers: Readers) -> f64 {
        let flows = self.unpacked();
        let calls = match self.setup.lines_from {
            LinesFrom::CloudFront => None,
            LinesFrom::Producers => Some(self.calls(&flows.peak, Api::PutRecords)),
        };
        self.stream(Carries::Lines, mode, flows, calls, readers)
    }

    /// A stream of KPL aggregates; returns its shards.
    fn aggregates_stream(&mut self, mode: Mode, flows: Flows) -> f64 {
        let calls = self.calls(&flows.peak, Api::PutRecords);
        let readers = Readers { consumers: self.setup.consumers, fan_out: self.setup.fan_out };
        self.stream(Carries::Aggregates, mode, flows, Some(calls), readers)
    }

    fn stream(
        &mut self,
        of: Carries,
        mode: Mode,
        Flows { average, peak }: Flows,
        calls: Option<f64>,
        readers: Readers,
    ) -> f64 {
        let bytes = peak.bytes_with_keys();
        let shards = Shards {
            by_bytes: bytes / SHARD_BYTES_PER_SECOND as f64,
            by_records: peak.records / SHARD_RECORDS_PER_SECOND as f64,
            by_readers: bytes * f64::from(readers.consumers) / SHARD_READ_BYTES_PER_SECOND as f64,
        };
        let count = shards.needed();
        self.bill.stream(mode, &average, count, readers);
        let share_of_on_demand = bytes / on_demand_bytes_per_second(&self.setup.prices.region) as f64;
        self.streams.push(Stream { of, mode, peak, shards, calls, share_of_on_demand });
        count
    }

    fn calls(&self, flow: &Flow, api: Api) -> f64 {
        flow.calls(api, self.setup.producers, self.setup.linger)
    }

    /// A Lambda function that packs the lines of each shard; returns what comes out of it.
    fn lambda(&mut self, shards: f64) -> Flows {
        let (workload, window) = (self.workload, self.setup.linger.as_secs_f64());
        let line = workload.line_bytes;
        let most = (MAX_BATCH_RECORDS as f64).min((MAX_BATCH_DATA as f64 / line).floor()).max(1.0);
        let batch = |rate: f64| (rate / shards * window).clamp(1.0, most);
        let average = self.setup.load.average.get();
        self.bill.lambda(average, line, average / batch(average));
        let waited = (batch(average) * shards / average).min(window);
        self.delay.push(Delay { part: Wait::Batching, seconds: waited });
        // An invocation fills records with its own batch and nothing else.
        self.flows(|rate| Flow::packed(&workload.kpl, line, rate, rate / batch(rate), 1.0))
    }

    /// This engine; returns what comes out of it. What reads a stream is the Kinesis Client Library,
    /// with this engine as its child.
    fn engine(&mut self, packed: &PackedLines, reads_stream: bool) -> Flows {
        let (line, linger) = (self.workload.line_bytes, self.setup.linger.as_secs_f64());
        let producers = f64::from(self.setup.producers);
        let rate = self.setup.load.average.get() / producers;
        let seconds = (packed.full().lines / (rate * line)).min(linger);
        self.delay.push(Delay { part: Wait::Filling, seconds });

        let reading = if reads_stream { cost::kcl_cpu_seconds(line) } else { 0.0 };
        let peak = self.setup.load.peak.get();
        let cores = packed.speed.map(|speed| peak * (1.0 / per_core(&speed) + reading));
        let threads = cores.map_or(producers, |cores| cores.ceil().max(producers));
        let daemons = if reads_stream { producers * cost::KCL_DAEMON_MEMORY } else { 0.0 };
        let memory = memory(packed.kind, threads, producers) + daemons;
        self.engine = Some(Engine { cores, memory });
        match cores {
            None => _ = self.caveats.insert(Caveat::SpeedUnknown),
            Some(cores) => self.bill.machines(cores, memory, producers),
        }
        if reads_stream {
            self.bill.mark(Service::Machines, Caveat::KclDaemon);
        }
        self.flows(|rate| Flow::packed(packed, line, rate, producers, linger))
    }

    fn firehose_from_stream(&mut self, flows: Flows, shards: f64) {
        self.read(self.setup.consumers);
        // Firehose unpacks aggregates, so what it delivers are the lines; it buffers by shard.
        let lines = self.setup.load.average.get() * self.workload.line_bytes;
        self.firehose(flows, None, None, lines, shards);
    }

    /// A channel, which reads the stream beside its readers and takes nothing from them.
    fn channel(&mut self, Flows { average, peak }: Flows) {
        self.bill.channel(average.bytes);
        self.channel = Some(Channel { peak, freshness_seconds: CHANNEL_FRESHNESS.as_secs_f64() });
    }

    fn direct_put(&mut self, flows: Flows) {
        let peak = flows.peak;
        let quota = DirectPutQuota::of_region(&self.setup.prices.region);
        let calls = self.calls(&peak, Api::PutRecordBatch);
        let share = (peak.bytes / quota.bytes as f64)
            .max(peak.records / quota.records as f64)
            .max(calls / quota.requests as f64);
        self.firehose(flows, Some(calls), Some(share), flows.average.bytes, 1.0);
    }

    /// Firehose with `buffers` buffers, into which come `delivered` bytes a second in all.
    fn firehose(
        &mut self,
        Flows { average, peak }: Flows,
        calls: Option<f64>,
        share_of_quota: Option<f64>,
        delivered: f64,
        buffers: f64,
    ) {
        let bytes = average.records * average.billed.firehose;
        self.bill.firehose(bytes);
        let buffer_seconds =
            (DEFAULT_BUFFER_SIZE as f64 / (delivered / buffers)).min(DEFAULT_BUFFER_TIME.as_secs_f64());
        self.bill.objects(buffers / buffer_seconds);
        let billed_bytes_per_line = bytes / self.setup.load.average.get();
        self.firehose = Some(Firehose { peak, calls, share_of_quota, billed_bytes_per_line, buffer_seconds });
    }
}

fn per_core(speed: &Speed) -> f64 {
    speed.lines_per_second / speed.threads as f64
}

/// Bytes of memory of all instances, from the peaks measured in docs/architecture.md: so much for
/// each instance, and so much for each thread.
fn memory(kind: RecordKind, threads: f64, instances: f64) -> f64 {
    let (instance, thread) = match kind {
        RecordKind::Line | RecordKind::Lines(Codec::None) => (20e6, 5e6),
        RecordKind::Aggregate => (75e6, 5e6),
        RecordKind::Lines(_) => (60e6, 25e6),
    };
    instance * instances + thread * threads
}
