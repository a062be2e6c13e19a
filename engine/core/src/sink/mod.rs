//! Sinks: where finished records go.
//!
//! A sink takes a record over and settles its receipt once the record is safe: at once for
//! [`null`], when the request line is written for [`requests`], when the object is published in its
//! [`store`] for [`objects`], when the service has answered for it for a
//! [`DeliverySink`](crate::deliver::DeliverySink). A record that fails is dropped unsettled, so its
//! lines can never count as delivered.

#[cfg(test)]
pub(crate) mod each;
pub mod entry;
pub mod folder;
pub mod inventory;
pub mod limits;
pub mod null;
pub mod objects;
pub mod publish;
mod record_limit;
pub mod requests;
pub mod statistics;
pub mod store;

use std::io;
use std::time::Instant;

pub use record_limit::RecordLimit;

use crate::checkpoint::CheckpointError;
use crate::deliver::DeliverError;
use crate::record::{Delivered, Record};
use pixel_engine_kpl::SharedShardMap;
use statistics::{Files, Shipping};

/// A place for records.
pub trait Sink: Send {
    /// Takes the record over. It may be held back until it fills a request with others.
    ///
    /// # Errors
    /// It cannot be delivered; nothing more will be.
    fn ship(&mut self, record: Record) -> Result<(), SinkError>;

    /// Sends what is held back to fill a request. More records may follow: nothing is closed.
    /// Records that are on their way when this returns are settled later.
    ///
    /// # Errors
    /// As for [`Sink::ship`].
    fn flush(&mut self) -> Result<(), SinkError>;

    /// When [`Sink::flush`] is wanted although no record comes; `None` when it need not be called.
    fn flush_due(&self) -> Option<Instant> {
        None
    }

    /// Delivers everything and waits until it has arrived. No record comes after this.
    ///
    /// # Errors
    /// As for [`Sink::ship`].
    fn close(&mut self) -> Result<(), SinkError>;

    /// The records that have arrived so far.
    fn delivered(&self) -> Delivered;

    /// API requests made, or that would have been made.
    fn requests(&self) -> u64;

    /// The shards that aggregates should be packed for, kept up to date. Without shards to know,
    /// one that takes every hash key.
    fn shards(&self) -> SharedShardMap {
        SharedShardMap::default()
    }

    /// How large records should be for now.
    fn record_limit(&self) -> RecordLimit {
        RecordLimit::default()
    }

    /// The files that were written; `None` for a sink of records.
    fn files(&self) -> Option<Files> {
        None
    }

    /// How shipping over the network went; `None` for a sink that does none.
    fn shipping(&self) -> Option<Shipping> {
        None
    }
}

/// A sink cannot deliver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// What the system says: a full disk, no permission, a closed pipe.
    #[error("{target}: {error}")]
    Io {
        /// The file, folder or pipe.
        target: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// What is about to be published cannot be written down, or it cannot be found out whether
    /// something was.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// A stream or a bucket does not take the records.
    #[error("{stream}: {error}")]
    Stream {
        /// `firehose://NAME`, `kinesis://NAME` or `s3://BUCKET/KEY`.
        stream: String,
        /// Why, and what to do.
        #[source]
        error: Box<DeliverError>,
    },
}

impl From<CheckpointError> for SinkError {
    fn from(error: CheckpointError) -> SinkError {
        SinkError::Checkpoint(Box::new(error))
    }
}

impl SinkError {
    /// An error of delivery to that stream or bucket.
    pub fn stream(stream: impl Into<String>, error: DeliverError) -> SinkError {
        SinkError::Stream { stream: stream.into(), error: Box::new(error) }
    }

    /// An error of the system; what is one of these already, as that of a [`store`]'s object may be,
    /// stays as it is.
    pub fn io(target: impl Into<String>, error: io::Error) -> SinkError {
        error.downcast().unwrap_or_else(|error| SinkError::Io { target: target.into(), error })
    }

    /// Whether the reader of a pipe has gone, which is its right.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, SinkError::Io { error, .. } if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
