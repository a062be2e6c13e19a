//! What a design is charged in a month, and what records of each size would be.

use std::collections::BTreeSet;

use serde::Serialize;

use super::model::{Caveat, Charge, Flow, Mode, Service, Setup};
use crate::prices::{GIB, GbSize, Item, Prices};
use crate::rate::{HOURS_PER_MONTH, Rate, SECONDS_PER_MONTH};
use crate::workload::{Workload, billed};

/// Memory of the Lambda function in GB, as in `deploy/lambda/function.yaml`.
pub(super) const LAMBDA_GB: f64 = 0.5;
/// With which it has a part of a processor: at 1,769 MB it has one. Source: "Configure Lambda
/// function memory" in the Lambda developer guide.
const LAMBDA_GB_PER_CPU: f64 = 1_769.0 / 1_024.0;
/// Bytes of events that the function `aggregate` takes apart, packs and sends in a second of CPU
/// time: 557,000 lines of 500 B, measured by `cargo bench --bench consume`, without TLS.
pub(super) const LAMBDA_EVENT_BYTES_PER_CPU_SECOND: f64 = 660e6;
/// What stands around the base64 of a record in an event.
const LAMBDA_ENVELOPE_BYTES: f64 = 530.0;
/// What an invocation waits for the replies of its requests, in seconds.
pub(super) const LAMBDA_WAIT_SECONDS: f64 = 0.03;

/// Bytes of the daemon's messages that a child of the KCL takes apart in a second of CPU time, beside
/// packing: measured with lines of 874 B, 600,000 of which it read and packed.
const KCL_BYTES_PER_CPU_SECOND: f64 = 1.1e9;
/// What stands around the base64 of a record in a message.
const KCL_ENVELOPE_BYTES: f64 = 230.0;
/// Memory that the KCL's daemon is given, in bytes.
pub(super) const KCL_DAEMON_MEMORY: f64 = 512e6;

/// CPU time that a child of the KCL takes to read a line of so many bytes, in seconds.
pub(super) fn kcl_cpu_seconds(line_bytes: f64) -> f64 {
    (line_bytes * 4.0 / 3.0 + KCL_ENVELOPE_BYTES) / KCL_BYTES_PER_CPU_SECOND
}

/// The smallest machine that an instance of this engine is billed as, in vCPUs and GB: the smallest
/// of Fargate.
const MIN_VCPUS: f64 = 0.25;
const MIN_MEMORY_GB: f64 = 0.5;

/// What records of one size cost in a month because of how they are rounded, whatever else a design
/// costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BySize {
    /// Bytes of lines in a record: whole lines, as many as fit.
    pub bytes: f64,
    /// Firehose, with its first tier's price; `None` here and below where that price is missing.
    pub firehose: Option<f64>,
    /// What goes into an on-demand stream.
    pub on_demand: Option<f64>,
    /// PUT payload units of a provisioned stream.
    pub put_payload_units: Option<f64>,
}

/// What the average rate costs in records of whole lines of the mean length, from one line up to a
/// full record. The steps are the roundings of Firehose and Kinesis.
pub(crate) fn by_record_size(workload: &Workload, setup: &Setup) -> Vec<BySize> {
    const POINTS: i32 = 120;
    let line = workload.line_bytes;
    let most = workload.raw.full().lines;
    let price = |item| setup.prices.of(item).map(|price| price.value);
    let gb = &setup.prices.bytes_per_gb;
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
                firehose: price(Item::FirehoseGbTier1)
                    .map(|gb_price| records * billed.firehose / gb.firehose.value * gb_price),
                on_demand: price(Item::KinesisOnDemandInGb)
                    .map(|gb_price| records * billed.on_demand / gb.kinesis.value * gb_price),
                put_payload_units: price(Item::KinesisPutUnitMillion)
                    .map(|million| records * billed.put_payload_units / 1e6 * million),
            }
        })
        .collect()
}

/// Who reads a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readers {
    /// Without enhanced fan-out.
    pub(super) consumers: u32,
    /// With enhanced fan-out.
    pub(super) fan_out: u32,
}

/// The charges of a design, added in the order in which lines pass what is charged.
pub(super) struct Bill<'a> {
    prices: &'a Prices,
    charges: Vec<Charge>,
}

impl<'a> Bill<'a> {
    pub(super) fn new(prices: &'a Prices) -> Bill<'a> {
        Bill { prices, charges: Vec::new() }
    }

    pub(super) fn into_charges(self) -> Vec<Charge> {
        self.charges
    }

    /// Notes that something beside the price is unsettled about what a service charges.
    pub(super) fn mark(&mut self, service: Service, caveat: Caveat) {
        let charges = self.charges.iter_mut().filter(|charge| charge.service == service);
        charges.for_each(|charge| _ = charge.caveats.insert(caveat));
    }

    /// CloudFront's real-time lines.
    pub(super) fn real_time_lines(&mut self, lines: Rate) {
        self.charge(Service::CloudFront, Item::CloudfrontLineMillion, lines.monthly() / 1e6);
    }

    /// A stream with `shards` shards, which an on-demand stream does not pay for.
    pub(super) fn stream(&mut self, mode: Mode, average: &Flow, shards: f64, Readers { consumers, fan_out }: Readers) {
        let (consumers, fan_out) = (f64::from(consumers), f64::from(fan_out));
        let gb_out = self.kinesis_gb(average.bytes_with_keys());
        match mode {
            Mode::Provisioned => {
                let units = average.records * average.billed.put_payload_units * SECONDS_PER_MONTH;
                self.charge(Service::Kinesis, Item::KinesisShardHour, shards * HOURS_PER_MONTH);
                self.charge(Service::Kinesis, Item::KinesisPutUnitMillion, units / 1e6);
                self.charge(Service::Kinesis, Item::KinesisFanOutShardHour, fan_out * shards * HOURS_PER_MONTH);
                self.charge(Service::Kinesis, Item::KinesisFanOutGb, fan_out * gb_out);
            }
            Mode::OnDemand => {
                let gb_in = self.kinesis_gb(average.records * average.billed.on_demand);
                self.charge(Service::Kinesis, Item::KinesisOnDemandStreamHour, HOURS_PER_MONTH);
                self.charge(Service::Kinesis, Item::KinesisOnDemandInGb, gb_in);
                self.charge(Service::Kinesis, Item::KinesisOnDemandOutGb, consumers * gb_out);
                self.charge(Service::Kinesis, Item::KinesisOnDemandFanOutGb, fan_out * gb_out);
            }
        }
    }

    /// A channel, for so many bytes of data a second.
    pub(super) fn channel(&mut self, bytes: f64) {
        let gb = self.kinesis_gb(bytes);
        self.charge(Service::Kinesis, Item::KinesisChannelGb, gb);
    }

    /// The Lambda function, for so many lines and invocations a second.
    pub(super) fn lambda(&mut self, lines: f64, line_bytes: f64, invocations: f64) {
        let event_bytes = lines * (line_bytes * 4.0 / 3.0 + LAMBDA_ENVELOPE_BYTES);
        let cpu_seconds = event_bytes / LAMBDA_EVENT_BYTES_PER_CPU_SECOND;
        let cpus = (LAMBDA_GB / LAMBDA_GB_PER_CPU).min(1.0);
        let seconds = invocations * LAMBDA_WAIT_SECONDS + cpu_seconds / cpus;
        self.charge(Service::Lambda, Item::LambdaRequestMillion, invocations * SECONDS_PER_MONTH / 1e6);
        self.charge(Service::Lambda, Item::LambdaGbSecond, seconds * LAMBDA_GB * SECONDS_PER_MONTH);
        self.mark(Service::Lambda, Caveat::LambdaSpeed);
    }

    /// The machines of this engine's instances.
    pub(super) fn machines(&mut self, cores: f64, memory_bytes: f64, instances: f64) {
        let vcpus = ((cores / MIN_VCPUS).ceil() * MIN_VCPUS).max(instances * MIN_VCPUS);
        let gb = (memory_bytes / GIB).max(instances * MIN_MEMORY_GB);
        self.charge(Service::Machines, Item::VcpuHour, vcpus * HOURS_PER_MONTH);
        self.charge(Service::Machines, Item::MemoryGbHour, gb * HOURS_PER_MONTH);
    }

    /// Firehose, for the bytes that it bills in a second, tier by tier.
    pub(super) fn firehose(&mut self, billed_bytes: f64) {
        let mut rest = gb_a_month(billed_bytes, &self.prices.bytes_per_gb.firehose);
        let mut below = 0.0;
        for (item, end) in self.prices.firehose_tiers() {
            // Behind a tier without an end there is no other.
            if rest <= 0.0 {
                break;
            }
            let here = rest.min(end - below);
            self.charge(Service::Firehose, item, here);
            (rest, below) = (rest - here, end);
        }
    }

    /// S3, for the objects that Firehose puts in a second.
    pub(super) fn objects(&mut self, objects: f64) {
        self.charge(Service::S3, Item::S3PutThousand, objects * SECONDS_PER_MONTH / 1e3);
    }

    fn charge(&mut self, service: Service, item: Item, quantity: f64) {
        if quantity <= 0.0 {
            return;
        }
        let mut caveats = BTreeSet::new();
        let price = self.prices.of(item);
        match price {
            None => _ = caveats.insert(Caveat::NoPrice(item)),
            Some(price) if !price.confirmed => _ = caveats.insert(Caveat::Price(item)),
            Some(_) => {}
        }
        if self.prices.bytes_per_gb.of(item).is_some_and(|gb| !gb.confirmed) {
            caveats.insert(Caveat::BytesPerGb(service));
        }
        let amount = price.map(|price| quantity * price.value);
        self.charges.push(Charge { service, item, quantity, amount, caveats });
    }

    fn kinesis_gb(&self, bytes_per_second: f64) -> f64 {
        gb_a_month(bytes_per_second, &self.prices.bytes_per_gb.kinesis)
    }
}

fn gb_a_month(bytes_per_second: f64, gb: &GbSize) -> f64 {
    bytes_per_second * SECONDS_PER_MONTH / gb.value
}
