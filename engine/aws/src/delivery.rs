//! The sink that delivers to a stream and loses nothing.
//!
//! Requests are filled on the caller's thread and sent by workers, each with one request on the way. A full queue
//! holds the caller, and through the pipeline the reader: memory stays the same whether the endpoint is fast,
//! slow or dead.
//!
//! A record leaves here in one of three ways: its service has answered for it, it is on disk in the spool, or the
//! run ends with an error and its lines do not count as acknowledged.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::Stream;
use super::check;
use super::connection::Connection;
use super::failure::{CODE_SPOOL_FULL, Class, Failure};
use super::pace::{Pace, Quota};
use super::service::{Answer, Places, Service, body};
use pixel_engine_core::config::{RateLimit, WhenFull};
use pixel_engine_core::record::{Delivered, Record};
use pixel_engine_core::sink::backoff::{FIRST_WAIT, longest_wait};
use pixel_engine_core::sink::limits::{Api, Counted, RequestLimits};
use pixel_engine_core::sink::statistics::Shipping;
use pixel_engine_core::sink::{Sink, SinkError};
use pixel_engine_core::spool::{Destination, Spool, SpoolError};
use pixel_engine_kpl::{HashKeys, SharedShardMap};

/// A second of a provisioned shard: 1 MiB and 1,000 records. Source: Kinesis quotas.
const SHARD_BYTES: f64 = 1024.0 * 1024.0;
const SHARD_RECORDS: f64 = 1_000.0;
/// A quarter of a shard's second in one request at most, as in the KPL (`collector.h`): more would be throttled.
const SHARD_SHARE: usize = 256 << 10;
/// A Firehose stream with 5 MiB/s takes 500,000 records a second, and the two are raised together. Source: quotas.
const FIREHOSE_RECORDS_PER_BYTE: f64 = 500_000.0 / (5.0 * 1024.0 * 1024.0);

const TIME_BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// How to deliver.
pub struct Settings {
    /// Requests on the way at a time.
    pub concurrency: NonZeroUsize,
    /// Threads that encode, sign and send requests.
    pub threads: NonZeroUsize,
    /// Bytes of a request at most.
    pub request_size: usize,
    /// How they are counted.
    pub counted: Counted,
    /// Bytes a second.
    pub rate_limit: RateLimit,
    /// How long to try a record; for ever without one.
    pub give_up_after: Option<Duration>,
    /// How long to go on trying once the run is stopped.
    pub grace: Duration,
    /// Whether records are KPL aggregates.
    pub aggregates: bool,
    /// Bytes of a record at most, with its partition key.
    pub record_size: usize,
    /// Whether records of one shard go one request after the other.
    pub in_order: bool,
    /// Where records go that cannot be delivered.
    pub spool: Option<(Spool, WhenFull)>,
    /// Set when the run is stopped.
    pub stop: Arc<AtomicBool>,
}

/// Delivers to a stream.
pub struct Delivery {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    workers: Vec<JoinHandle<()>>,
    /// For records that come without a key to a stream that wants one.
    keys: Option<HashKeys>,
    runtime: Runtime,
}

/// A request that is being filled, and the way to the workers that send it.
struct Lane {
    open: Vec<Record>,
    limits: RequestLimits,
    /// Bytes for each shard in the open request.
    shares: Vec<usize>,
    queue: Option<mpsc::Sender<Vec<Record>>>,
}

struct Shared {
    stream: Stream,
    service: Service,
    pace: Pace,
    /// The size of requests, lowered when one is turned away as too large.
    request_size: AtomicUsize,
    counted: Counted,
    aggregates: bool,
    keys_choose_shard: bool,
    give_up_after: Option<Duration>,
    spool: Option<Mutex<(Spool, WhenFull)>>,
    counts: Mutex<Counts>,
    end: watch::Sender<End>,
}

/// Whether there is still time to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Running,
    /// The run was stopped: until then.
    Stopping(Instant),
    /// Something failed for good.
    Failed,
}

struct Counts {
    delivered: Delivered,
    shipping: Shipping,
    /// Microseconds.
    latencies: Histogram<u64>,
    failure: Option<SinkError>,
    warned: Option<Instant>,
    /// That is said once.
    is_spool_full: bool,
}

/// The run has failed; [`Counts::failure`] says why.
struct Failed;

impl Delivery {
    /// Connects, looks at the stream, and starts the workers.
    ///
    /// # Errors
    /// No region or credentials, no such stream, no permission, or a stream that would not take such records.
    pub fn open(stream: Stream, connection: &Connection, settings: Settings) -> Result<Delivery, SinkError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(settings.threads.get())
            .thread_name("ship")
            .enable_all()
            .build()
            .map_err(|error| SinkError::io("threads for shipping", error))?;
        let check::Opened { service, keys_choose_shard } =
            runtime.block_on(check::open(&stream, connection, &settings))?;
        let places = Places::new(service.shards());
        let quota = quota(stream.api(), settings.rate_limit);
        let concurrency = settings.concurrency.get();
        // A lane has a request open, one in its queue and one on the way: with as many lanes as workers, these are half as
        // large for the sake of memory.
        let (lanes, request_size) =
            if settings.in_order { (concurrency, settings.request_size / 2) } else { (1, settings.request_size) };
        let keys = service.shards().map(|shards| {
            // Where records of a run begin is of no consequence; that runs do not all begin at one shard is.
            HashKeys::new(fastrand::u128(..), shards.clone())
        });
        let shared = Arc::new(Shared {
            pace: Pace::new(quota, places.buckets()),
            request_size: AtomicUsize::new(request_size),
            counted: settings.counted,
            aggregates: settings.aggregates,
            keys_choose_shard,
            give_up_after: settings.give_up_after,
            spool: settings.spool.map(Mutex::new),
            counts: Mutex::new(Counts {
                delivered: Delivered::default(),
                shipping: Shipping::default(),
                latencies: Histogram::new(3).expect("3 digits are allowed"),
                failure: None,
                warned: None,
                is_spool_full: false,
            }),
            end: watch::Sender::new(End::Running),
            stream,
            service,
        });
        runtime.spawn(watch_for_stop(Arc::clone(&shared), settings.stop, settings.grace));
        let mut workers = Vec::with_capacity(concurrency);
        let lanes = (0..lanes)
            .map(|_| {
                let (queue, batches) = mpsc::channel(1);
                let batches = Arc::new(AsyncMutex::new(batches));
                for _ in 0..concurrency / lanes {
                    workers.push(runtime.spawn(work(Arc::clone(&shared), Arc::clone(&batches))));
                }
                Lane {
                    open: Vec::new(),
                    limits: RequestLimits::with_size(request_size, settings.counted),
                    shares: Vec::new(),
                    queue: Some(queue),
                }
            })
            .collect();
        Ok(Delivery { shared, lanes, workers, keys, runtime })
    }

    /// Waits until the workers are done with what they were given.
    fn end_workers(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.queue = None);
        for worker in self.workers.drain(..) {
            if let Err(panic) = self.runtime.block_on(worker) {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
    }
}

impl Sink for Delivery {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        let record = match &mut self.keys {
            Some(keys) if record.key().is_none() => record.with_key(keys.next_key()),
            _ => record,
        };
        let bucket = Places::new(self.shared.service.shards()).bucket(&record);
        let count = self.lanes.len();
        let lane = &mut self.lanes[bucket % count];
        lane.limits.set_most_bytes(self.shared.request_size.load(Ordering::Relaxed));
        let share = lane.shares.get(bucket).copied().unwrap_or_default();
        let is_shard = self.keys.is_some();
        let size = counted_for_rate(&record);
        if is_shard && self.shared.pace.has_quota() && share > 0 && share + size > SHARD_SHARE {
            lane.limits.end_request();
        }
        if lane.limits.begins_request(&record) && lane.send().is_err() {
            // What is on the way is answered for first, so that the numbers of the run are true.
            self.end_workers();
            return Err(self.shared.failure());
        }
        if lane.shares.len() <= bucket {
            lane.shares.resize(bucket + 1, 0);
        }
        lane.shares[bucket] += size;
        lane.open.push(record);
        Ok(())
    }

    /// Hands the open request of every lane to the workers.
    fn flush(&mut self) -> Result<(), SinkError> {
        for lane in &mut self.lanes {
            lane.limits.end_request();
            if lane.send().is_err() {
                self.end_workers();
                return Err(self.shared.failure());
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        for lane in &mut self.lanes {
            // What failed is said below.
            let _ = lane.send();
        }
        self.end_workers();
        match self.shared.counts().failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn delivered(&self) -> Delivered {
        self.shared.counts().delivered
    }

    fn requests(&self) -> u64 {
        self.shared.counts().shipping.requests
    }

    fn shards(&self) -> SharedShardMap {
        self.shared.service.shards().cloned().unwrap_or_default()
    }

    fn shipping(&self) -> Option<Shipping> {
        let counts = self.shared.counts();
        let milliseconds = |quantile| counts.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let mut shipping = counts.shipping.clone();
        shipping.latency_p50_ms = milliseconds(0.5);
        shipping.latency_p99_ms = milliseconds(0.99);
        shipping.latency_max_ms = counts.latencies.max() as f64 / 1e3;
        Some(shipping)
    }
}

impl Lane {
    /// Hands the open request to the workers; waits while they are all busy.
    fn send(&mut self) -> Result<(), Failed> {
        self.shares.clear();
        let records = std::mem::take(&mut self.open);
        if records.is_empty() {
            return Ok(());
        }
        let queue = self.queue.as_ref().ok_or(Failed)?;
        queue.blocking_send(records).map_err(|_| Failed)
    }
}

/// Sends requests of a lane until there are no more.
async fn work(shared: Arc<Shared>, batches: Arc<AsyncMutex<mpsc::Receiver<Vec<Record>>>>) {
    let mut end = shared.end.subscribe();
    loop {
        let batch = {
            let mut batches = batches.lock().await;
            tokio::select! {
                batch = batches.recv() => batch,
                _ = end.wait_for(|end| *end == End::Failed) => None,
            }
        };
        let Some(batch) = batch else { return };
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match shared.deliver(part).await {
                Ok(None) => {}
                Ok(Some((first, second))) => parts.extend([second, first]),
                Err(Failed) => return,
            }
        }
    }
}

/// Ends when the run is stopped.
pub(super) async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(50)).await;
    }
}

async fn watch_for_stop(shared: Arc<Shared>, stop: Arc<AtomicBool>, grace: Duration) {
    stopped(&stop).await;
    let until = Instant::now() + grace;
    shared.end.send_if_modified(|end| {
        let is_running = *end == End::Running;
        if is_running {
            *end = End::Stopping(until);
        }
        is_running
    });
}

impl Shared {
    /// Sends the records until each is delivered or kept. Gives halves back that are to be sent one by one, when
    /// the whole was too large for a request.
    async fn deliver(&self, mut records: Vec<Record>) -> Result<Option<(Vec<Record>, Vec<Record>)>, Failed> {
        let mut begun = Instant::now();
        let mut failures: u32 = 0;
        let mut last_failure: Option<Failure> = None;
        loop {
            // No more at once than there are tokens for: it would be sent only to be turned away.
            let mut rest = records.split_off(self.portion(&records));
            let count = records.len();
            let is_retry = last_failure.is_some();
            let reply = if self.wait_for_turn(&records, is_retry.then_some(begun)).await? {
                if !is_retry {
                    // The time for trying begins with the first try.
                    begun = Instant::now();
                }
                self.send(&mut records, is_retry).await
            } else {
                Err(last_failure.take().unwrap_or_else(|| Failure::timeout("stopped before it was sent", false)))
            };
            let failure = match reply {
                Ok(refused) => {
                    if let Some((refused, failure)) = refused.for_good {
                        records.extend(self.keep(refused, &failure, begun)?);
                    }
                    // Where there is none, there was no room for those that are refused for good, if any are left.
                    refused.for_now.unwrap_or_else(|| Failure::of_record(CODE_SPOOL_FULL, None))
                }
                Err(failure) if failure.class() == Class::TooLarge && count > 1 => {
                    let (first, mut second) = self.split(records);
                    second.append(&mut rest);
                    return Ok(Some((first, second)));
                }
                Err(failure) => failure,
            };
            // Where most got through, the service is there.
            failures = if records.len() < count.div_ceil(2) { 0 } else { failures + 1 };
            let mut wait = longest_wait(failures).mul_f64(fastrand::f64());
            let left = self.last_try(begun).map(|last| last.saturating_duration_since(Instant::now()));
            let is_hopeless = matches!(failure.class(), Class::Permanent | Class::TooLarge);
            if !records.is_empty() && (is_hopeless || left.is_some_and(|left| left < FIRST_WAIT)) {
                records = self.keep(records, &failure, begun)?;
            } else if let Some(left) = left {
                // Not past the end, and there is time for another try after this one.
                wait = wait.min(left / 2);
            }
            if records.is_empty() {
                if rest.is_empty() {
                    return Ok(None);
                }
                (records, failures, last_failure) = (rest, 0, None);
                continue;
            }
            records.append(&mut rest);
            last_failure = Some(failure);
            let is_running = *self.end.borrow() == End::Running;
            tokio::select! {
                waited = self.wait(Instant::now() + wait, None) => waited?,
                // A stop sets an end to the waiting, so what time there is begins with a try.
                _ = self.stopped(), if is_running => {}
            }
        }
    }

    /// How many of the records may go at once.
    fn portion(&self, records: &[Record]) -> usize {
        let places = Places::new(self.service.shards());
        self.pace.portion(records.iter().map(|record| (places.bucket(record), counted_for_rate(record))))
    }

    /// Waits for the tokens of the buckets; whether they come in time. A record that was tried before, beginning at
    /// `tried_since`, waits no longer than it is tried; one that was not has only the end of the run to be in time for.
    async fn wait_for_turn(&self, records: &[Record], tried_since: Option<Instant>) -> Result<bool, Failed> {
        if !self.may_wait() {
            return Ok(false);
        }
        let places = Places::new(self.service.shards());
        let wait = self.pace.take(records.iter().map(|record| (places.bucket(record), counted_for_rate(record))));
        if wait.is_zero() {
            return Ok(true);
        }
        let turn = Instant::now() + wait;
        let given_up = tried_since.zip(self.give_up_after).map(|(since, time)| since + time);
        // Already over for a record that finds no room in the spool, and is tried until it does.
        self.wait(turn, given_up.filter(|&given_up| given_up > Instant::now())).await?;
        Ok(Instant::now() >= turn)
    }

    /// Waits, at most until the time after a stop is over.
    async fn wait(&self, until: Instant, at_most: Option<Instant>) -> Result<(), Failed> {
        let mut end = self.end.subscribe();
        let until = at_most.map_or(until, |at_most| until.min(at_most));
        loop {
            let until = match *end.borrow_and_update() {
                End::Running => until,
                End::Stopping(last) => until.min(last),
                End::Failed => return Err(Failed),
            };
            tokio::select! {
                () = sleep_until(until.into()) => return Ok(()),
                _ = end.changed() => {}
            }
        }
    }

    /// Ends when the run is stopped; until when it goes on trying.
    async fn stopped(&self) -> Instant {
        let mut end = self.end.subscribe();
        let stopping = end.wait_for(|end| matches!(end, End::Stopping(_))).await.map(|end| *end);
        match stopping {
            Ok(End::Stopping(until)) => until,
            // The sender is in `self`: it is there for as long as anyone waits.
            _ => std::future::pending().await,
        }
    }

    /// Ends when the time after a stop is over.
    async fn out_of_grace(&self) {
        let until = self.stopped().await;
        sleep_until(until.into()).await;
    }

    /// After this, a record that was begun at `begun` is not tried again.
    fn last_try(&self, begun: Instant) -> Option<Instant> {
        let given_up = self.give_up_after.map(|time| begun + time);
        match *self.end.borrow() {
            End::Running => given_up,
            End::Stopping(until) => Some(given_up.map_or(until, |given_up| given_up.min(until))),
            End::Failed => Some(begun),
        }
    }

    /// One request. The records that were accepted are settled and gone from `records`, and so are those that were
    /// refused for good.
    async fn send(&self, records: &mut Vec<Record>, is_retry: bool) -> Result<Refused, Failure> {
        let places = Places::new(self.service.shards());
        let body = body(&self.stream, records);
        let length = body.len() as u64;
        let begun = Instant::now();
        let reply = tokio::select! {
            reply = self.service.put(body, records.len()) => reply,
            () = self.out_of_grace() => Err(Failure::timeout("stopped before there was a reply", true)),
        };
        let microseconds = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        {
            let mut counts = self.counts();
            counts.latencies.record(microseconds).expect("the histogram grows as far as numbers go");
            counts.shipping.requests += 1;
            counts.shipping.requests_retried += u64::from(is_retry);
            counts.shipping.bytes_sent += length;
        }
        match reply {
            Ok(answers) => Ok(self.settle(records, answers, &places).await),
            Err(failure) => {
                self.request_failed(records, &failure, &places);
                Err(failure)
            }
        }
    }

    async fn settle(&self, records: &mut Vec<Record>, answers: Vec<Answer>, places: &Places) -> Refused {
        let count = records.len();
        let mut refused = Refused::default();
        let mut misplaced = Vec::new();
        for (record, answer) in std::mem::take(records).into_iter().zip(answers) {
            let bucket = places.bucket(&record);
            let failure = match answer {
                Ok(shard) => {
                    self.pace.accepted(bucket, counted_for_rate(&record));
                    match shard {
                        Some(shard) if self.keys_choose_shard && places.is_other_shard(&record, &shard) => {
                            misplaced.push((record, shard));
                        }
                        _ => self.counts().delivered.settle(record.into_receipt()),
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            let class = failure.class();
            if class == Class::Throttled {
                self.pace.throttled(bucket);
            }
            {
                let mut counts = self.counts();
                counts.shipping.throttles += u64::from(class == Class::Throttled);
                counts.shipping.records_possibly_duplicated += u64::from(failure.may_have_arrived);
                *counts.shipping.records_failed.entry(failure.code.clone()).or_default() += 1;
            }
            if class == Class::Permanent {
                refused.for_good.get_or_insert((Vec::new(), failure)).0.push(record);
            } else {
                records.push(record);
                refused.for_now.get_or_insert(failure);
            }
        }
        if !misplaced.is_empty() {
            self.settle_misplaced(misplaced).await;
        }
        if let Some(failure) = &refused.for_now {
            self.warn(&format!("{} of {count} records failed: {failure}", records.len()), failure);
        }
        refused
    }

    /// Records that another shard took than the map said.
    ///
    /// After a reshard, aggregates are whole in the shard that they came to, since all of their hash keys are one:
    /// nothing is sent again. The next ones should go by the shards as they are now. But when it is since a moment
    /// ago that the stream ignores keys, consumers drop such aggregates: then the run ends, and these do not count.
    async fn settle_misplaced(&self, records: Vec<(Record, String)>) {
        self.counts().shipping.records_in_other_shard += records.len() as u64;
        match self.service.refresh_shards().await {
            Ok(true) => {
                self.counts().shipping.shard_map_refreshes += 1;
                self.pace.set_buckets(Places::new(self.service.shards()).buckets());
            }
            Ok(false) => {}
            Err(failure) => tracing::warn!("{}: the map of shards is out of date: {failure}", self.stream),
        }
        let places = Places::new(self.service.shards());
        if self.aggregates && records.iter().any(|(record, shard)| places.is_other_shard(record, shard)) {
            match self.service.describe().await {
                Ok(description) => {
                    if let Err(error) = check::verify(&self.stream, &description, true, 0) {
                        self.fail(error);
                        return;
                    }
                }
                Err(failure) => tracing::warn!("{}: whether it still goes by keys: {failure}", self.stream),
            }
        }
        let mut counts = self.counts();
        for (record, _) in records {
            counts.delivered.settle(record.into_receipt());
        }
    }

    fn request_failed(&self, records: &[Record], failure: &Failure, places: &Places) {
        let is_throttle = failure.class() == Class::Throttled;
        if is_throttle {
            records.iter().for_each(|record| self.pace.throttled(places.bucket(record)));
        }
        {
            let mut counts = self.counts();
            *counts.shipping.requests_failed.entry(failure.code.clone()).or_default() += 1;
            counts.shipping.throttles += u64::from(is_throttle);
            if failure.may_have_arrived {
                counts.shipping.records_possibly_duplicated += records.len() as u64;
            }
        }
        self.warn(&format!("a request with {} records failed: {failure}", records.len()), failure);
    }

    /// Halves of a request that was too large; the next ones are smaller.
    fn split(&self, mut records: Vec<Record>) -> (Vec<Record>, Vec<Record>) {
        let size = self.counted.size_of(&records);
        let smaller = size - size / 4;
        let before = self.request_size.fetch_min(smaller, Ordering::Relaxed);
        if smaller < before {
            tracing::warn!("{}: requests of {size} bytes are too large; from now on at most {smaller}", self.stream);
        }
        let second = records.split_off(records.len() / 2);
        (records, second)
    }

    /// Puts the records into the spool. Gives them back when there is no room, to go on trying.
    fn keep(&self, records: Vec<Record>, failure: &Failure, begun: Instant) -> Result<Vec<Record>, Failed> {
        let refused = |reason| SinkError::Stream { stream: self.stream.to_string(), reason };
        let Some(spool) = &self.spool else {
            let tried = begun.elapsed().as_secs();
            let is_given_up = tried > 0 && failure.class() != Class::Permanent;
            let given_up = if is_given_up { format!("given up after {tried} s: ") } else { String::new() };
            return Err(self.fail(refused(format!("{given_up}{failure}"))));
        };
        let kept = {
            let (spool, when_full) = &mut *spool.lock().unwrap_or_else(PoisonError::into_inner);
            let destination = Destination { api: self.stream.api(), stream: self.stream.name().to_owned() };
            let references: Vec<&Record> = records.iter().collect();
            // A write of some MiB: the other workers go on meanwhile.
            match tokio::task::block_in_place(|| spool.keep(&destination, &references)) {
                Err(error @ SpoolError::Full { .. }) if *when_full == WhenFull::Block && self.may_wait() => {
                    if !std::mem::replace(&mut self.counts().is_spool_full, true) {
                        let count = records.len();
                        tracing::warn!("{}: {count} records and the input wait: {error}; {failure}", self.stream);
                    }
                    return Ok(records);
                }
                kept => kept,
            }
        };
        if let Err(error) = kept {
            return Err(self.fail(refused(format!("{failure}; and they cannot be kept: {error}"))));
        }
        tracing::warn!("{}: {} records kept in the spool: {failure}", self.stream, records.len());
        let mut counts = self.counts();
        counts.is_spool_full = false;
        for record in records {
            counts.shipping.records_spooled += 1;
            counts.shipping.lines_spooled += record.lines() as u64;
            counts.shipping.bytes_spooled += record.length() as u64;
            record.into_receipt().kept();
        }
        Ok(Vec::new())
    }

    fn may_wait(&self) -> bool {
        match *self.end.borrow() {
            End::Running => true,
            End::Stopping(until) => Instant::now() < until,
            End::Failed => false,
        }
    }

    /// Ends the run; the first reason is the one that is told.
    fn fail(&self, error: SinkError) -> Failed {
        self.counts().failure.get_or_insert(error);
        self.end.send_replace(End::Failed);
        Failed
    }

    fn failure(&self) -> SinkError {
        self.counts().failure.take().unwrap_or_else(|| SinkError::Stream {
            stream: self.stream.to_string(),
            reason: "nothing can be sent after a failure".to_owned(),
        })
    }

    /// Says it, but not with every request.
    fn warn(&self, what: &str, failure: &Failure) {
        let mut counts = self.counts();
        // What only a person can mend is said by what becomes of the records.
        let is_said = failure.class() == Class::Permanent;
        if is_said || counts.warned.is_some_and(|when| when.elapsed() < TIME_BETWEEN_WARNINGS) {
            tracing::debug!("{}: {what}", self.stream);
        } else {
            counts.warned = Some(Instant::now());
            drop(counts);
            tracing::warn!("{}: {what}; trying again", self.stream);
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every change under the lock is complete before anything can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reply refuses.
#[derive(Default)]
struct Refused {
    /// The first reason why records are to be sent again.
    for_now: Option<Failure>,
    /// Records that will never be accepted, and the first reason.
    for_good: Option<(Vec<Record>, Failure)>,
}

/// The bytes that a shard's quota is about: "including partition keys". Source: PutRecords.
fn counted_for_rate(record: &Record) -> usize {
    record.length() + record.key_length()
}

fn quota(api: Api, limit: RateLimit) -> Quota {
    let bytes_per_second = match (limit, api) {
        (RateLimit::None, _) | (RateLimit::Auto, Api::PutRecordBatch) => None,
        (RateLimit::Auto, Api::PutRecords) => Some(SHARD_BYTES),
        (RateLimit::BytesPerSecond(bytes), _) => Some(bytes as f64),
    };
    let least_record = match api {
        Api::PutRecordBatch => 1.0 / FIREHOSE_RECORDS_PER_BYTE,
        Api::PutRecords => SHARD_BYTES / SHARD_RECORDS,
    };
    Quota { bytes_per_second, least_record }
}
