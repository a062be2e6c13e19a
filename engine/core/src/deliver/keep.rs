//! Hands records that cannot be delivered over to the spool.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::ending::Failed;
use super::shared::Shared;
use super::{Class, DeliverError, Failure, Service, WhenFull};
use crate::record::Record;
use crate::sink::SinkError;
use crate::spool::{Contents, Destination, Spool, SpoolError};

/// The spool of a delivery.
#[derive(Debug)]
pub(super) struct Keep {
    spool: Arc<Mutex<Spool>>,
    destination: Destination,
    contents: Contents,
    when_full: WhenFull,
    /// A spool without room is reported once, until it takes records again.
    is_full: AtomicBool,
}

impl Keep {
    pub(super) fn new(spool: Spool, when_full: WhenFull, destination: Destination, contents: Contents) -> Keep {
        let spool = Arc::new(Mutex::new(spool));
        Keep { spool, destination, contents, when_full, is_full: AtomicBool::new(false) }
    }

    /// Writes the records, and gives them back.
    async fn write(&self, records: Vec<Record>) -> (Vec<Record>, Result<(), SpoolError>) {
        let (spool, destination, contents) = (Arc::clone(&self.spool), self.destination.clone(), self.contents);
        // A synced write of some MiB: the other workers go on meanwhile.
        let written = spawn_blocking(move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = spool.keep(&destination, contents, &records.iter().collect::<Vec<_>>());
            (records, kept)
        });
        match written.await {
            Ok(written) => written,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl<S: Service> Shared<S> {
    /// Puts records that failed into the spool. Gives them back when there is no room, to go on
    /// trying. Without a spool they end the delivery, unless they were refused for good and
    /// somebody wants to know which.
    pub(super) async fn keep(&self, records: Vec<Record>, failure: &Failure) -> Result<Vec<Record>, Failed> {
        if records.is_empty() {
            return Ok(records);
        }
        let Some(keep) = &self.spool else {
            let is_hopeless = matches!(failure.class(), Class::Permanent | Class::TooLarge);
            if let Some(refusals) = self.refusals.as_ref().filter(|_| is_hopeless) {
                let error = SinkError::stream(&self.stream, DeliverError::Refused(failure.clone()));
                refusals.add(records, &Arc::new(error));
                return Ok(Vec::new());
            }
            let begun = records.iter().filter_map(Record::first_tried).min();
            let tried = begun.map_or(Duration::ZERO, |begun| Instant::from_std(begun).elapsed());
            let is_given_up = tried.as_secs() > 0 && failure.class() != Class::Permanent;
            let failure = failure.clone();
            return Err(self.ending.fail(match is_given_up {
                true => DeliverError::GivenUp { tried, failure },
                false => DeliverError::Refused(failure),
            }));
        };
        let (records, kept) = keep.write(records).await;
        let count = records.len();
        match kept {
            Ok(()) => {
                tracing::warn!("{}: {count} records kept in the spool: {failure}", self.stream);
                keep.is_full.store(false, Ordering::Relaxed);
                self.counts.spooled(records, failure);
                Ok(Vec::new())
            }
            Err(error @ SpoolError::Full { .. }) if keep.when_full == WhenFull::Block && self.ending.may_wait() => {
                if !keep.is_full.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{}: {count} records and the input wait: {error}; {failure}", self.stream);
                }
                Ok(records)
            }
            Err(error) => Err(self.ending.fail(DeliverError::NotKept { failure: failure.clone(), error })),
        }
    }
}
