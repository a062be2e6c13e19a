//! What the front of a delivery and its workers share.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::counts::Counts;
use super::ending::Ending;
use super::keep::Keep;
use super::pace::Pace;
use super::places::Places;
use super::refusals::Refusals;
use super::{Class, DeliverError, Failure, Service};
use crate::record::Record;
use crate::sink::SinkError;
use crate::sink::limits::Counted;

pub(super) struct Shared<S> {
    /// What messages call the stream.
    pub(super) stream: String,
    pub(super) service: S,
    pub(super) pace: Pace,
    /// Bytes of a request; lowered when one is turned away as too large.
    pub(super) request_size: AtomicUsize,
    pub(super) counted: Counted,
    pub(super) aggregates: bool,
    /// Whether records go to the shards of their keys, as the stream said at the start.
    pub(super) keys_choose_shard: bool,
    pub(super) give_up_after: Option<Duration>,
    pub(super) spool: Option<Keep>,
    pub(super) refusals: Option<Refusals>,
    pub(super) counts: Counts,
    pub(super) ending: Ending,
}

impl<S: Service> Shared<S> {
    /// Where records are meant to go by the map as it is now.
    pub(super) fn places(&self) -> Places {
        Places::new(self.service.shards())
    }

    /// Each record's bucket, and what it takes of it.
    pub(super) fn costs(&self, records: &[Record]) -> impl Iterator<Item = (usize, usize)> {
        let places = self.places();
        records.iter().map(move |record| (places.bucket(record), super::places::counted_for_rate(record)))
    }

    /// Why nothing more can be sent.
    pub(super) fn error(&self) -> SinkError {
        SinkError::stream(&self.stream, self.ending.take_error().unwrap_or(DeliverError::Ended))
    }

    /// Logs what failed and is tried again. A program that logs thins out what repeats.
    pub(super) fn warn(&self, what: &str, failure: &Failure) {
        // What only a person can mend is reported with what becomes of the records.
        let is_reported = failure.class() == Class::Permanent;
        if is_reported {
            tracing::debug!("{}: {what}", self.stream);
        } else {
            tracing::warn!("{}: {what}; trying again", self.stream);
        }
    }
}
