//! Sinks: where finished records go.
//!
//! A sink takes a record over and settles its receipt once the record is safe: at once for [`null`], when the
//! request line is written for [`requests`], when the object has its final name and is on disk for [`dir`]. A
//! record that fails is dropped unsettled, so its lines can never count as delivered.

pub mod dir;
pub mod limits;
pub mod null;
pub mod requests;

use std::io;

use crate::record::{Delivered, Record};

/// A place for records.
pub trait Sink: Send {
    /// Takes the record over.
    ///
    /// # Errors
    /// It cannot be delivered; nothing more will be.
    fn ship(&mut self, record: Record) -> Result<(), SinkError>;

    /// Delivers what is still held back.
    ///
    /// # Errors
    /// As for [`Sink::ship`].
    fn finish(&mut self) -> Result<(), SinkError>;

    /// The records that are safe so far.
    fn delivered(&self) -> &Delivered;

    /// API requests made, or that would have been made.
    fn requests(&self) -> u64;
}

/// A sink cannot deliver.
#[derive(Debug, thiserror::Error)]
#[error("{target}: {error}")]
pub struct SinkError {
    /// The file, folder or stream.
    pub target: String,
    /// What the system says: a full disk, no permission, a closed pipe.
    #[source]
    pub error: io::Error,
}

impl SinkError {
    /// Whether the reader of a pipe has gone, which is its right.
    pub fn is_broken_pipe(&self) -> bool {
        self.error.kind() == io::ErrorKind::BrokenPipe
    }
}
