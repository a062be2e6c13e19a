//! What a delivery counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Class, Failure, Stored};
use crate::progress::Progress;
use crate::record::{Delivered, Record};
use crate::sink::statistics::Shipping;

/// The numbers that all workers of a delivery share.
#[derive(Debug)]
pub(super) struct Counts {
    numbers: Mutex<Numbers>,
    /// For those who look on.
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Numbers {
    delivered: Delivered,
    shipping: Shipping,
    /// Microseconds.
    latencies: Histogram<u64>,
}

impl Counts {
    pub(super) fn new(progress: Arc<Progress>) -> Counts {
        let latencies = Histogram::new(3).expect("3 digits are allowed");
        Counts {
            numbers: Mutex::new(Numbers { delivered: Delivered::default(), shipping: Shipping::default(), latencies }),
            progress,
        }
    }

    pub(super) fn delivered(&self) -> Delivered {
        self.lock().delivered
    }

    pub(super) fn requests(&self) -> u64 {
        self.lock().shipping.requests
    }

    pub(super) fn shipping(&self) -> Shipping {
        let numbers = self.lock();
        let milliseconds = |quantile| numbers.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let mut shipping = numbers.shipping.clone();
        shipping.latency_p50_ms = milliseconds(0.5);
        shipping.latency_p99_ms = milliseconds(0.99);
        shipping.latency_max_ms = numbers.latencies.max() as f64 / 1e3;
        shipping
    }

    /// A request was sent, whatever came of it.
    pub(super) fn sent(&self, bytes: u64, took: Duration, is_retry: bool) {
        let requests = &self.progress.requests;
        requests.sent.add(1);
        requests.retried.add(is_retry.into());
        requests.bytes.add(bytes);
        requests.duration.record(took);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut numbers = self.lock();
        numbers.latencies.record(microseconds).expect("the histogram grows as far as numbers go");
        numbers.shipping.requests += 1;
        numbers.shipping.requests_retried += u64::from(is_retry);
        numbers.shipping.bytes_sent += bytes;
    }

    /// A call that carries no records has gone well.
    pub(super) fn went_well(&self, stored: Stored) {
        self.progress.requests.record_arrived();
        let shipping = &mut self.lock().shipping;
        match stored {
            Stored::Object => shipping.objects += 1,
            Stored::Part => shipping.parts += 1,
            Stored::Nothing => {}
        }
    }

    /// A request with that many records failed as a whole.
    pub(super) fn request_failed(&self, failure: &Failure, records: usize) {
        let is_throttled = failure.class() == Class::Throttled;
        let requests = &self.progress.requests;
        requests.failed.add(failure.code());
        requests.throttles.add(is_throttled.into());
        if !is_throttled {
            requests.failing(failure.to_string());
        }
        let shipping = &mut self.lock().shipping;
        *shipping.requests_failed.entry(failure.code().to_owned()).or_default() += 1;
        shipping.throttles += u64::from(is_throttled);
        if failure.may_have_arrived() {
            shipping.records_possibly_duplicated += records as u64;
        }
    }

    /// A record failed within a request.
    pub(super) fn record_failed(&self, failure: &Failure) {
        let is_throttled = failure.class() == Class::Throttled;
        self.progress.requests.records_failed.add(failure.code());
        self.progress.requests.throttles.add(is_throttled.into());
        let shipping = &mut self.lock().shipping;
        *shipping.records_failed.entry(failure.code().to_owned()).or_default() += 1;
        shipping.throttles += u64::from(is_throttled);
        shipping.records_possibly_duplicated += u64::from(failure.may_have_arrived());
    }

    /// The record has arrived.
    pub(super) fn settle(&self, record: Record) {
        self.progress.requests.record_arrived();
        let receipt = record.into_receipt();
        self.lock().delivered.settle(receipt);
    }

    /// The records are in the spool, for that reason.
    pub(super) fn spooled(&self, records: Vec<Record>, failure: &Failure) {
        self.progress.requests.failing(format!("records go to the spool: {failure}"));
        for record in records {
            let shipping = &mut self.lock().shipping;
            shipping.records_spooled += 1;
            shipping.lines_spooled += record.lines() as u64;
            shipping.bytes_spooled += record.data_len() as u64;
            record.into_receipt().kept();
        }
    }

    /// Another shard took that many records than the map said.
    pub(super) fn in_other_shard(&self, records: usize) {
        self.lock().shipping.records_in_other_shard += records as u64;
    }

    /// The map of shards was read again.
    pub(super) fn map_refreshed(&self) {
        self.lock().shipping.shard_map_refreshes += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        // Every change under the lock is complete before anything can panic.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
