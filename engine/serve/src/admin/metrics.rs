//! The metrics of the pipelines. `docs/metrics.md` explains each of them.
//!
//! The counts are the pipelines' own atomics, read when somebody asks: nothing is recorded twice.
//! `prometheus-client` is made for that, and writes the format; crates with recorders of their own,
//! such as `metrics-exporter-prometheus`, would look each one up by its labels for every request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pixel_engine_core::billing::Billed;
use pixel_engine_core::progress::{Histogram, Progress};
use pixel_engine_core::sink::limits::Api;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::queue::QueueCounts;
use crate::watch::{JournalUse, SpoolUse, Watch, Watches};

/// What the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric. Each has the label `pipeline`.
pub struct Metric {
    /// Its name without the suffixes that its kind adds.
    name: &'static str,
    /// What it counts.
    pub help: &'static str,
    values: Values,
}

/// How its values are read.
enum Values {
    Counter(fn(&Progress) -> u64),
    OfWatch(fn(&Watch) -> u64),
    Gauge(fn(&Watch) -> u64),
    OfSpool(fn(&SpoolUse) -> u64),
    ByCode(fn(&Progress) -> BTreeMap<String, u64>),
    OfJournal(fn(&JournalUse) -> u64),
    OfQueue(fn(&QueueCounts) -> u64),
    OfQueueNow(fn(&QueueCounts) -> u64),
    OfObjects(fn(&QueueCounts) -> BTreeMap<String, u64>),
    ByBilling(fn(&Progress) -> Billed),
    Saved,
    Seconds(fn(&Progress) -> &Histogram),
}

use Values::{
    ByBilling, ByCode, Counter, Gauge, OfJournal, OfObjects, OfQueue, OfQueueNow, OfSpool, OfWatch, Saved, Seconds,
};

const fn metric(name: &'static str, values: Values, help: &'static str) -> Metric {
    Metric { name, help, values }
}

/// Every metric, in the order of the documentation.
pub static METRICS: [Metric; 40] = [
    metric("lines_in", Counter(|it| it.lines_in.get()), "Log lines read"),
    metric("lines_shipped", Counter(|it| it.lines_shipped.get()), "Lines in delivered records"),
    metric("lines_spooled", Counter(|it| it.lines_spooled.get()), "Lines that were put into the spool"),
    metric("lines_quarantined", Counter(|it| it.lines_quarantined.get()), "Lines put into the quarantine"),
    metric("lines_filtered", Counter(|it| it.lines_filtered.get()), "Lines left out: not matched, or skipped as bad"),
    metric("lines_undelivered", Counter(|it| it.lines_undelivered.get()), "Lines left by failed runs, read again"),
    metric("lines_open", Gauge(|it| it.progress.lines_open()), "Lines on their way"),
    metric("spool_lines_shipped", OfWatch(|it| it.spool_lines_shipped.get()), "Lines delivered from the spool"),
    metric("bytes_in", Counter(|it| it.bytes_in.get()), "Bytes of log lines read, after decompression"),
    metric("source_lag_bytes", Gauge(|it| it.progress.lag_bytes()), "Bytes written and not acknowledged yet"),
    metric("records", Counter(|it| it.records.get()), "Records delivered"),
    metric("payload_bytes", Counter(|it| it.payload_bytes.get()), "Bytes of data in delivered records"),
    metric("billed_bytes", ByBilling(|it| it.billed.get()), "Billed bytes of delivered records"),
    metric(
        "unpacked_billed_bytes",
        ByBilling(|it| it.billed_unpacked.get()),
        "Bytes that the packed lines would be billed, one record a line",
    ),
    metric("saved_bytes", Saved, "Billed bytes that packing has saved so far"),
    metric("requests", Counter(|it| it.requests.sent.get()), "Requests sent, those that failed included"),
    metric("requests_retried", Counter(|it| it.requests.retried.get()), "Requests that sent records again"),
    metric("request_bytes", Counter(|it| it.requests.bytes.get()), "Bytes of request bodies"),
    metric("requests_failed", ByCode(|it| it.requests.failed.get()), "Requests that failed as a whole"),
    metric("records_failed", ByCode(|it| it.requests.records_failed.get()), "Records that failed within a request"),
    metric("throttles", Counter(|it| it.requests.throttles.get()), "Requests and records turned away for their rate"),
    metric("request_duration_seconds", Seconds(|it| &it.requests.duration), "From a request to the end of its reply"),
    metric("line_age_seconds", Seconds(|it| &it.line_age), "From reading a record's oldest line to its delivery"),
    metric("spool_bytes", OfSpool(|it| it.usage.bytes), "Bytes in the spool"),
    metric("spool_size_bytes", OfSpool(|it| it.size), "The most bytes that may be in the spool"),
    metric("spool_batches", OfSpool(|it| it.usage.batches), "Batches in the spool"),
    metric(
        "spool_oldest_seconds",
        OfSpool(|it| it.usage.oldest.map_or(0, |age| age.as_secs())),
        "Since the oldest batch was put into the spool; 0 when there is none",
    ),
    metric("journal_bytes", OfJournal(|it| it.bytes), "Bytes in the journal of lines from the network"),
    metric("journal_size_bytes", OfJournal(|it| it.size), "The most bytes that may be in the journal"),
    metric("queue_messages_received", OfQueue(|it| it.messages_received.get()), "Messages received, each time again"),
    metric("queue_messages_deleted", OfQueue(|it| it.messages_deleted.get()), "Messages deleted: all in them is safe"),
    metric("queue_messages_failed", OfQueue(|it| it.messages_failed.get()), "Messages left to the queue's own policy"),
    metric("queue_messages_released", OfQueue(|it| it.messages_released.get()), "Messages made visible at a stop"),
    metric("queue_messages_held", OfQueueNow(|it| it.messages_held()), "Messages that are worked on"),
    metric(
        "queue_oldest_message_seconds",
        OfQueueNow(|it| it.oldest().as_secs()),
        "Since the oldest message that is worked on was sent; 0 when there is none",
    ),
    metric("objects_read", OfQueue(|it| it.objects_read.get()), "Objects read to their ends"),
    metric("objects_failed", OfObjects(|it| it.objects_failed.get()), "Objects that could not be read, or not wholly"),
    metric("objects_skipped", OfQueue(|it| it.objects_skipped.get()), "Objects not wanted, or read before"),
    metric("pipeline_starts", OfWatch(|it| it.starts.get()), "How often the pipeline began"),
    metric("pipeline_ready", Gauge(|it| it.troubles().is_empty().into()), "1 when the pipeline can deliver"),
];

impl Metric {
    /// The names under which it is found, with the suffixes of its kind.
    pub fn names(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.values {
            Counter(_) | OfWatch(_) | OfQueue(_) | OfObjects(_) | ByCode(_) | ByBilling(_) => &["_total"],
            Gauge(_) | OfSpool(_) | OfJournal(_) | OfQueueNow(_) | Saved => &[""],
            Seconds(_) => &["_bucket", "_sum", "_count"],
        };
        suffixes.iter().map(|suffix| format!("pixel_engine_{}{suffix}", self.name)).collect()
    }

    fn kind(&self) -> MetricType {
        match self.values {
            Counter(_) | OfWatch(_) | OfQueue(_) | OfObjects(_) | ByCode(_) | ByBilling(_) => MetricType::Counter,
            Gauge(_) | OfSpool(_) | OfJournal(_) | OfQueueNow(_) | Saved => MetricType::Gauge,
            Seconds(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, look: &Look, to: &mut MetricEncoder<'_>) -> fmt::Result {
        let (watch, progress) = (&*look.watch, &*look.watch.progress);
        let of_pipeline = [("pipeline", watch.name.as_str())];
        let of_pipeline = &of_pipeline[..];
        let labels = |name: &'static str, value: &str| [("pipeline", watch.name.clone()), (name, value.to_owned())];
        let mut by_code = |counts: BTreeMap<String, u64>| {
            let mut each = counts.iter();
            each.try_for_each(|(code, count)| counter(&mut to.encode_family(&labels("code", code))?, *count))
        };
        match self.values {
            Counter(value) => counter(&mut to.encode_family(&of_pipeline)?, value(progress)),
            OfWatch(value) => counter(&mut to.encode_family(&of_pipeline)?, value(watch)),
            Gauge(value) => to.encode_family(&of_pipeline)?.encode_gauge(&value(watch)),
            OfSpool(value) => match &look.spool {
                Some(spool) => to.encode_family(&of_pipeline)?.encode_gauge(&value(spool)),
                None => Ok(()),
            },
            OfJournal(value) => match &watch.journal() {
                Some(journal) => to.encode_family(&of_pipeline)?.encode_gauge(&value(journal)),
                None => Ok(()),
            },
            OfQueue(value) => match watch.queue() {
                Some(queue) => counter(&mut to.encode_family(&of_pipeline)?, value(queue)),
                None => Ok(()),
            },
            OfQueueNow(value) => match watch.queue() {
                Some(queue) => to.encode_family(&of_pipeline)?.encode_gauge(&value(queue)),
                None => Ok(()),
            },
            OfObjects(values) => by_code(watch.queue().map(values).unwrap_or_default()),
            ByCode(values) => by_code(values(progress)),
            ByBilling(value) => by_billing(watch.api, &value(progress))
                .iter()
                .try_for_each(|(billing, bytes)| counter(&mut to.encode_family(&labels("billing", billing))?, *bytes)),
            Saved => {
                let unpacked = by_billing(watch.api, &watch.billed_unpacked());
                let packed = by_billing(watch.api, &progress.billed.get());
                unpacked.iter().zip(packed).try_for_each(|(&(billing, unpacked), (_, packed))| {
                    let saved = unpacked.saturating_sub(packed);
                    to.encode_family(&labels("billing", billing))?.encode_gauge(&saved)
                })
            }
            Seconds(histogram) => {
                let histogram = histogram(progress);
                let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
                // Of these very buckets, as others are added to meanwhile.
                let count = buckets.iter().map(|(_, count)| count).sum();
                let mut to = to.encode_family(&of_pipeline)?;
                to.encode_histogram::<NoLabelSet>(histogram.sum(), count, &buckets, None)
            }
        }
    }
}

/// A pipeline at the time of a scrape.
struct Look {
    watch: Arc<Watch>,
    spool: Option<SpoolUse>,
}

#[derive(Debug)]
struct Exporter(Arc<Watches>);

impl Collector for Exporter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let looks = self.0.all().into_iter().map(|watch| Look { spool: watch.spool(), watch });
        let looks: Vec<Look> = looks.collect();
        for metric in &METRICS {
            let mut to = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind())?;
            looks.iter().try_for_each(|look| metric.encode(look, &mut to))?;
        }
        Ok(())
    }
}

/// The metrics of all pipelines in Prometheus's text format.
pub fn text(watches: &Arc<Watches>) -> String {
    let mut registry = Registry::with_prefix("pixel_engine");
    registry.register_collector(Box::new(Exporter(Arc::clone(watches))));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("every name and label is one of ours, and memory takes all");
    text
}

fn counter(to: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    to.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

/// The bytes by each rule that the service may bill by.
fn by_billing(api: Api, billed: &Billed) -> Vec<(&'static str, u64)> {
    match api {
        Api::PutRecordBatch => vec![("firehose", billed.firehose)],
        Api::PutRecords => vec![("kinesis_provisioned", billed.provisioned()), ("kinesis_on_demand", billed.on_demand)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_metric_and_no_other() {
        let documented: Vec<(String, String)> = include_str!("../../../../docs/metrics.md")
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
            })
            .collect();
        let defined = METRICS.iter().map(|metric| {
            let [.., name] = &metric.names()[..] else { panic!("each has a name") };
            (name.trim_end_matches("_count").to_owned(), metric.kind().as_str().to_owned())
        });
        assert_eq!(documented, defined.collect::<Vec<_>>());
    }
}
