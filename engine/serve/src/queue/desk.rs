//! Receives messages, no more than are worked on, and answers for each of them to the queue.

use std::collections::HashMap;
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use glob::Pattern;
use pixel_engine_aws::s3::GLOB;
use pixel_engine_aws::sqs::{Attributes, MAX_MESSAGES, Queue};
use pixel_engine_core::deliver::{Failure, Options, Stored, Tries};
use pixel_engine_core::sink::limits::Api;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::QueueCounts;
use super::objects::Job;
use super::seen::Seen;
use crate::config::QueueConfig;

/// Before the queue is asked again, after a failure of it or of objects: twice as long after each,
/// up to the other.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long a message is tried to be deleted, or to be made visible.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same of all of them once the run has ended.
const MAX_SETTLING: Duration = Duration::from_secs(5);
/// What is kept from others for less could come again before it is known how long its lines take.
const MIN_VISIBILITY: Duration = Duration::from_secs(30);

/// What all messages share.
pub(super) struct Desk {
    pub(super) name: String,
    pub(super) queue: Queue,
    pub(super) counts: Arc<QueueCounts>,
    pub(super) tries: Tries,
    /// How long a message is kept from others at a time, at least [`MIN_VISIBILITY`].
    pub(super) visibility: Duration,
    /// Whether the queue itself keeps it for less, at first.
    pub(super) is_short: bool,
    pub(super) jobs: Sender<Job>,
    keys: Vec<Pattern>,
    places: Arc<Semaphore>,
    known: Mutex<Known>,
    is_closed: watch::Sender<bool>,
    receiving: Mutex<Option<JoinHandle<()>>>,
}

/// What was seen of messages and objects.
#[derive(Default)]
struct Known {
    /// The receipts of the messages that are worked on, by their ids.
    held: HashMap<String, String>,
    /// Messages that were to be deleted.
    done: Seen<String>,
    /// Events whose objects are being read, or are safe.
    events: Seen<String>,
}

/// What is known of a message that was received.
pub(super) enum Standing {
    /// It is to be worked on.
    New,
    /// It is worked on: its timeout was over all the same.
    Held,
    /// Everything in it is safe, and only deleting it failed.
    Done,
}

impl Desk {
    /// Must be called on the runtime on which messages are received.
    pub(super) fn new(
        queue: Queue,
        attributes: &Attributes,
        config: &QueueConfig,
        counts: Arc<QueueCounts>,
        jobs: Sender<Job>,
    ) -> Desk {
        let mut options = Options::new(Api::PutRecordBatch);
        options.config.give_up_after = Some(PATIENCE);
        Desk {
            name: config.url.to_string(),
            queue,
            counts,
            tries: Tries::new(options),
            visibility: attributes.visibility_timeout.max(MIN_VISIBILITY),
            is_short: attributes.visibility_timeout < MIN_VISIBILITY,
            jobs,
            keys: config.keys.clone(),
            places: Arc::new(Semaphore::new(config.messages)),
            known: Mutex::default(),
            is_closed: watch::channel(false).0,
            receiving: Mutex::default(),
        }
    }

    /// Begins to receive messages.
    pub(super) fn open(self: &Arc<Desk>, runtime: &Runtime) {
        let task = runtime.spawn(Arc::clone(self).receive());
        *lock(&self.receiving) = Some(task);
    }

    /// Receives no more.
    pub(super) fn close(&self) {
        self.is_closed.send_replace(true);
    }

    /// Waits until every message is answered for: what became of their lines is known.
    pub(super) fn settle(&self, runtime: &Runtime) {
        self.close();
        let Some(task) = lock(&self.receiving).take() else { return };
        let settled = runtime.block_on(async { timeout(MAX_SETTLING, task).await });
        let left = lock(&self.known).held.len();
        match settled {
            Ok(ended) => ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())),
            Err(_) => tracing::warn!("{}: {left} messages come again after their visibility timeout", self.name),
        }
    }

    async fn receive(self: Arc<Desk>) {
        let mut is_closed = self.is_closed.subscribe();
        let mut messages = JoinSet::new();
        let mut failures = 0;
        loop {
            while messages.try_join_next().is_some() {}
            let next = async {
                sleep(wait(self.counts.refusals().max(failures))).await;
                let first = Arc::clone(&self.places).acquire_owned().await;
                let first = first.expect("places are never closed");
                let more = iter::repeat_with(|| Arc::clone(&self.places).try_acquire_owned().ok());
                let places: Vec<_> =
                    iter::once(first).chain(more.map_while(|place| place)).take(MAX_MESSAGES).collect();
                let asked = Instant::now();
                (asked, self.queue.receive(places.len()).await, places)
            };
            let (asked, received, places) = tokio::select! {
                next = next => next,
                _ = is_closed.wait_for(|is_closed| *is_closed) => break,
            };
            match received {
                Ok(received) => {
                    failures = 0;
                    self.counts.answered();
                    for (message, place) in received.into_iter().zip(places) {
                        let desk = Arc::clone(&self);
                        messages.spawn(async move {
                            desk.work_on(message, asked).await;
                            drop(place);
                        });
                    }
                }
                Err(failure) => {
                    failures += 1;
                    let wait = wait(failures).as_secs();
                    let reason = format!("{}: {failure}", self.name);
                    tracing::warn!("{reason}; it is asked again in {wait} s");
                    self.counts.failing(reason);
                }
            }
        }
        while messages.join_next().await.is_some() {}
    }

    /// Whether the pipeline wants objects of that key.
    pub(super) fn wants(&self, key: &str) -> bool {
        self.keys.is_empty() || self.keys.iter().any(|pattern| pattern.matches_with(key, GLOB))
    }

    /// What is known of the message of that id. The last receipt is the one that holds.
    pub(super) fn take(&self, id: &str, receipt: &str) -> Standing {
        let mut known = lock(&self.known);
        if let Some(held) = known.held.get_mut(id) {
            receipt.clone_into(held);
            return Standing::Held;
        }
        if known.done.has(&id.to_owned()) {
            return Standing::Done;
        }
        known.held.insert(id.to_owned(), receipt.to_owned());
        Standing::New
    }

    /// Ends the work on a message; the receipt that holds.
    pub(super) fn let_go(&self, id: &str) -> Option<String> {
        lock(&self.known).held.remove(id)
    }

    /// The receipt that holds of a message that is worked on.
    pub(super) fn receipt(&self, id: &str) -> Option<String> {
        lock(&self.known).held.get(id).cloned()
    }

    /// Begins the object of an event; whether it is new.
    pub(super) fn begin(&self, event: &str) -> bool {
        lock(&self.known).events.add(event.to_owned())
    }

    /// The object of an event was not delivered.
    pub(super) fn undo(&self, event: &str) {
        lock(&self.known).events.forget(&event.to_owned());
    }

    /// The same of a message that is about to be deleted: it may come again before it is.
    pub(super) fn finish(&self, id: &str) -> Option<String> {
        let mut known = lock(&self.known);
        known.done.add(id.to_owned());
        known.held.remove(id)
    }

    /// Deletes a message, everything of which is safe.
    pub(super) async fn delete(&self, id: &str, receipt: &str) {
        match self.tries.make(Stored::Nothing, 0, || self.queue.delete(receipt)).await {
            Ok(()) => self.counts.messages_deleted.add(1),
            Err(error) => {
                let name = &self.name;
                tracing::warn!("{name}: message {id}: {error}; it is deleted when it comes again");
            }
        }
    }

    /// Keeps the message of that receipt from others for that long, from now on.
    pub(super) async fn keep_for(&self, receipt: &str, time: Duration) -> Result<(), Failure> {
        self.queue.set_visibility(receipt, time).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under the locks is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long to wait after so many failures in a row.
fn wait(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        failures => FIRST_WAIT.saturating_mul(1 << (failures - 1).min(16)).min(MAX_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum() {
        assert_eq!([0, 1, 2, 6, 7, u32::MAX].map(|failures| wait(failures).as_secs()), [0, 1, 2, 32, 60, 60]);
    }
}
