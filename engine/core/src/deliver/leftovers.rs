//! Records that failed beside others that got through.
//!
//! Sent by themselves as soon as they fail, a few records would occupy a worker for as long as a
//! full request does. So they are held until they fill one, or until a worker has nothing else to
//! send.
//!
//! Memory stays bounded: a worker takes a new request only while what is held here is not more than
//! one, and what it then adds it no longer has itself. Nor does what fills a request wait for its
//! time: each request that adds to it got on, so the service is there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Failure;
use crate::record::Record;
use crate::sink::limits::RequestLimits;

/// What a lane's workers have left over.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    held: Mutex<Held>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Held {
    records: VecDeque<Leftover>,
    /// How the last of them failed.
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Leftover {
    record: Record,
    /// From then on a worker without a request sends it.
    ready: Instant,
    /// From then on it goes before the next request.
    due: Instant,
}

impl Leftovers {
    /// Holds records: they wait at least so long, and at most so long while the workers are busy.
    pub(super) fn add(&self, records: Vec<Record>, failure: Failure, least: Duration, most: Duration) {
        let now = Instant::now();
        let (ready, due) = (now + least, now + most);
        let mut held = self.lock();
        held.records.extend(records.into_iter().map(|record| Leftover { record, ready, due }));
        held.failure = Some(failure);
        drop(held);
        self.added.notify_one();
    }

    /// Returns when records were added.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Whether they go before the next request: they fill one of these limits, or have waited for
    /// long.
    pub(super) fn go_first(&self, limits: RequestLimits) -> bool {
        let held = self.lock();
        let now = Instant::now();
        held.fitting(limits) < held.records.len() || held.records.iter().any(|leftover| leftover.due <= now)
    }

    /// When a worker without a request sends them.
    pub(super) fn ready(&self) -> Option<Instant> {
        self.lock().records.iter().map(|leftover| leftover.ready).min()
    }

    /// As many as fit into a request, those that were added first, and how the last one failed.
    pub(super) fn take(&self, limits: RequestLimits) -> (Vec<Record>, Option<Failure>) {
        let mut held = self.lock();
        let fitting = held.fitting(limits);
        let records = held.records.drain(..fitting).map(|leftover| leftover.record).collect();
        (records, held.failure.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Every change under the lock is complete before anything can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn fitting(&self, mut limits: RequestLimits) -> usize {
        let fits = |leftover: &&Leftover| {
            limits.begins_request(&leftover.record);
            limits.requests() == 1
        };
        self.records.iter().take_while(fits).count()
    }
}
