//! What others may see of a queue.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use pixel_engine_core::progress::{Count, CountByCode};

/// What became of the messages and objects of a pipeline's queues.
#[derive(Debug, Default)]
pub struct QueueCounts {
    /// Messages received, each time again.
    pub messages_received: Count,
    /// Messages deleted, as everything in them is safe.
    pub messages_deleted: Count,
    /// Messages left to the queue, as they cannot be read or their objects cannot: they come again, or
    /// go to the dead-letter queue.
    pub messages_failed: Count,
    /// Messages made visible at a stop.
    pub messages_released: Count,
    /// Objects read to their ends.
    pub objects_read: Count,
    /// Objects that were not, by what was wrong: `damaged`, or what AWS calls it.
    pub objects_failed: CountByCode,
    /// Objects that no glob matches, or that were read before.
    pub objects_skipped: Count,
    held: Mutex<BTreeSet<(SystemTime, String)>>,
    failure: Mutex<Option<String>>,
    refusals: AtomicU32,
}

impl QueueCounts {
    /// The messages that are worked on.
    pub fn messages_held(&self) -> u64 {
        lock(&self.held).len() as u64
    }

    /// Since the oldest of them was sent; zero when there is none.
    pub fn oldest(&self) -> Duration {
        let sent = lock(&self.held).first().map(|(sent, _)| *sent);
        sent.and_then(|sent| sent.elapsed().ok()).unwrap_or_default()
    }

    /// Why nothing can be taken from a queue, or read of its objects.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    pub(super) fn hold(&self, sent: SystemTime, id: &str) {
        lock(&self.held).insert((sent, id.to_owned()));
    }

    pub(super) fn let_go(&self, sent: SystemTime, id: &str) {
        lock(&self.held).remove(&(sent, id.to_owned()));
    }

    pub(super) fn failing(&self, reason: String) {
        *lock(&self.failure) = Some(reason);
    }

    pub(super) fn answered(&self) {
        if self.refusals() == 0 {
            *lock(&self.failure) = None;
        }
    }

    /// Objects that may not be read, one after the other.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self, reason: String) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.failing(reason);
    }

    pub(super) fn not_refused(&self) {
        self.refusals.store(0, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under the locks is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
