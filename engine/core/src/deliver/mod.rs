//! Delivery to a service that may throttle, refuse, fail or not answer; nothing is lost on the way.
//!
//! ```text
//! ship ──► open request ──► lane ──► worker: pace ──► put ──► each record: settled
//!                            ▲          ▲                         │ failed
//!                            │          └──── wait, less at once ◄─┤ as most did
//!                            └──── leftovers of several requests ◄─┤ beside others
//!                                                                  └──► spool
//! ```
//! Requests are filled by whoever ships and sent by workers, each with one request on the way. A
//! full queue holds the shipper, and through the pipeline the reader: memory stays the same whether
//! the service is fast, slow or dead.
//!
//! A record leaves here in one of three ways: its service has answered for it, it is on disk in the
//! spool, or the delivery ends with an error and its lines do not count as acknowledged.
//!
//! [`Service`] is what sends a request; the class of its [`Failure`]s decides what happens next,
//! and this is the only place that retries: [`Tries`] does so for calls that carry no records.
//! [`Delivery`] is for callers inside tokio,
//! [`DeliverySink`] is the same for a thread that may block. All clocks are tokio's, so tests may
//! pause the time.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::sync::Mutex;
//!
//! use pixel_engine_core::deliver::{Answer, Delivery, DeliverySink, Description, Failure, Options, Service};
//! use pixel_engine_core::record::Record;
//! use pixel_engine_core::sink::limits::Api;
//! use pixel_engine_core::sink::{Sink, SinkError};
//! use pixel_engine_core::spool::Destination;
//!
//! /// Takes whatever comes, a line a record.
//! #[derive(Default)]
//! struct Memory(Mutex<Vec<u8>>);
//!
//! impl Service for Memory {
//!     fn uri(&self) -> String {
//!         "memory://lines".to_owned()
//!     }
//!
//!     fn destination(&self) -> Destination {
//!         Destination { api: Api::PutRecordBatch, stream: "lines".to_owned() }
//!     }
//!
//!     async fn describe(&self) -> Result<Option<Description>, Failure> {
//!         Ok(Some(Description::default()))
//!     }
//!
//!     fn body(&self, records: &[Record]) -> Vec<u8> {
//!         records.iter().flat_map(Record::chunks).collect::<Vec<_>>().concat()
//!     }
//!
//!     async fn put(&self, body: Vec<u8>) -> Result<Vec<Answer>, Failure> {
//!         self.0.lock().unwrap().extend(&body);
//!         Ok(body.split_inclusive(|&byte| byte == b'\n').map(|_| Ok(None)).collect())
//!     }
//! }
//!
//! let open = async { Delivery::open(Memory::default(), Options::new(Api::PutRecordBatch)).await };
//! let mut sink = DeliverySink::with_threads::<SinkError>(NonZeroUsize::MIN, open)?;
//! sink.ship(Record::from_bytes(b"a line\n".to_vec(), 1, None, Vec::new()))?;
//! sink.close()?;
//! assert_eq!((sink.delivered().records, sink.requests()), (1, 1));
//! # Ok::<(), SinkError>(())
//! ```

pub mod backoff;
mod counts;
mod drain;
mod ending;
mod error;
mod failure;
mod keep;
mod lane;
mod leftovers;
mod open;
mod options;
mod pace;
mod places;
pub mod rate;
mod refusals;
mod request;
mod service;
mod shared;
mod sink;
mod tries;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use counts::Counts;
use ending::Ending;
use keep::Keep;
use lane::Lane;
use pace::Pace;
use places::Places;
use shared::Shared;

pub use drain::{Drain, DrainError, DrainProgress, Drained};
pub use error::DeliverError;
pub use failure::{Class, Failure};
pub use options::Options;
pub use refusals::Refusals;
pub use service::{Answer, Description, Service};

pub use crate::config::{RateLimit, WhenFull};
pub use sink::DeliverySink;
pub use tries::{Stored, Tries};

use crate::record::{Delivered, Record};
use crate::sink::statistics::Shipping;
use crate::sink::{RecordLimit, SinkError};
use pixel_engine_kpl::{HashKeys, SharedShardMap};

/// Delivers records to a service, on the tokio runtime that it was opened on.
///
/// [`Delivery::close`] waits until everything has arrived. A delivery that is dropped before that
/// ends what it is doing; records that had not arrived stay unacknowledged.
pub struct Delivery<S: Service> {
    shared: Arc<Shared<S>>,
    lanes: Vec<Lane>,
    workers: JoinSet<()>,
    /// Follows the flag that stops the run; ends when this is dropped.
    stop: JoinSet<()>,
    /// For records that come without a key to a stream that wants one.
    keys: Option<HashKeys>,
}

impl<S: Service> Delivery<S> {
    /// Looks at the stream and starts the workers. Must be awaited on a tokio runtime whose clock
    /// is enabled; a runtime of one thread is enough.
    ///
    /// # Errors
    /// No such stream, no permission, no answer for 15 s, or a stream that would not take such
    /// records.
    pub async fn open(service: S, options: Options) -> Result<Delivery<S>, SinkError> {
        let stream = service.uri();
        let keys_choose_shard =
            open::look(&service, &options).await.map_err(|error| SinkError::stream(&stream, error))?;
        let places = Places::new(service.shards());
        let destination = service.destination();
        let contents = options.config.contents();
        let concurrency = options.config.concurrency.get();
        // A lane has one request open, one in its queue and one on the way. With as many lanes as
        // workers, these are half as large for the sake of memory.
        let (lane_count, request_size) = if options.config.in_order {
            (concurrency, options.config.request_size / 2)
        } else {
            (1, options.config.request_size)
        };
        let keys = service.shards().map(|shards| {
            // It does not matter where the keys of a run begin, as long as runs do not all begin at
            // the same shard.
            HashKeys::new(fastrand::u128(..), shards.clone())
        });
        let shared = Arc::new(Shared {
            pace: Pace::new(options::quota(options.config.rate_limit, destination.api), places.buckets()),
            stream,
            request_size: AtomicUsize::new(request_size),
            counted: options.config.counted,
            aggregates: options.config.aggregates,
            keys_choose_shard,
            give_up_after: options.config.give_up_after,
            spool: options.spool.map(|(spool, when_full)| Keep::new(spool, when_full, destination, contents)),
            refusals: options.refusals,
            counts: Counts::new(options.progress),
            ending: Ending::new(),
            service,
        });
        let mut stop = JoinSet::new();
        let following = Arc::clone(&shared);
        stop.spawn(async move { following.ending.follow(&options.stop, options.config.grace).await });
        let mut workers = JoinSet::new();
        let mut lanes = Vec::with_capacity(lane_count);
        for _ in 0..lane_count {
            let (lane, queue) = Lane::new(request_size, options.config.counted, options.config.in_order);
            for _ in 0..concurrency / lane_count {
                workers.spawn(worker::work(Arc::clone(&shared), Arc::clone(&queue)));
            }
            lanes.push(lane);
        }
        Ok(Delivery { shared, lanes, workers, stop, keys })
    }

    /// The shards of the stream, kept up to date, for a service that has shards: records should be
    /// packed by them.
    pub fn shards(&self) -> Option<SharedShardMap> {
        self.shared.service.shards().cloned()
    }

    /// How large records should be for now: no limit until the service throttles, then the less, the
    /// less it takes.
    pub fn record_limit(&self) -> RecordLimit {
        self.shared.pace.record_limit()
    }

    /// Takes the record over; waits while all workers are busy and a full request waits. When this
    /// is cancelled, the record is dropped, which leaves its lines unacknowledged.
    ///
    /// # Errors
    /// Something cannot be delivered; nothing more will be.
    ///
    /// # Panics
    /// When a worker has, with its panic.
    pub async fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        let record = match &mut self.keys {
            Some(keys) if record.key().is_none() => record.with_key(keys.next_key()),
            _ => record,
        };
        let bucket = self.shared.places().bucket(&record);
        let has_shares = self.keys.is_some() && self.shared.pace.has_quota();
        let request_size = self.shared.request_size.load(Ordering::Relaxed);
        let count = self.lanes.len();
        match self.lanes[bucket % count].add(record, bucket, request_size, has_shares).await {
            Ok(()) => Ok(()),
            Err(ending::Failed) => Err(self.failed().await),
        }
    }

    /// Hands the open request of every lane to the workers; waits while they are all busy.
    ///
    /// # Errors
    /// As for [`Delivery::ship`].
    ///
    /// # Panics
    /// As [`Delivery::ship`] does.
    pub async fn flush(&mut self) -> Result<(), SinkError> {
        for lane in &mut self.lanes {
            if let Err(ending::Failed) = lane.flush().await {
                return Err(self.failed().await);
            }
        }
        Ok(())
    }

    /// Sends what is held back and waits until every record is delivered or kept. No record may
    /// come after this.
    ///
    /// # Errors
    /// As for [`Delivery::ship`].
    ///
    /// # Panics
    /// As [`Delivery::ship`] does.
    pub async fn close(&mut self) -> Result<(), SinkError> {
        for lane in &mut self.lanes {
            // What failed is told below.
            let _ = lane.flush().await;
        }
        self.end_workers().await;
        match self.shared.ending.take_error() {
            Some(error) => Err(SinkError::stream(&self.shared.stream, error)),
            None => Ok(()),
        }
    }

    /// The records that have arrived so far.
    pub fn delivered(&self) -> Delivered {
        self.shared.counts.delivered()
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.shared.counts.requests()
    }

    /// How it went so far.
    pub fn shipping(&self) -> Shipping {
        self.shared.counts.shipping()
    }

    /// Why nothing more can be sent. What is on the way is answered for first, so that the numbers
    /// are true.
    async fn failed(&mut self) -> SinkError {
        self.end_workers().await;
        self.shared.error()
    }

    /// Waits until the workers are done with what they were given.
    async fn end_workers(&mut self) {
        self.lanes.iter_mut().for_each(Lane::close);
        while let Some(ended) = self.workers.join_next().await {
            let Err(error) = ended else { continue };
            match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => drop(self.shared.ending.fail(DeliverError::RuntimeGone)),
            }
        }
        // Nobody else holds the spool after this.
        self.stop.shutdown().await;
    }
}

#[cfg(test)]
mod tests;
