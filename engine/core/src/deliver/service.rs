//! What delivery needs to know of a service.

use std::fmt::{self, Display, Formatter};

use super::{DeliverError, Failure};
use crate::record::Record;
use crate::spool::Destination;
use pixel_engine_kpl::SharedShardMap;

/// A stream that takes records, many in one request.
///
/// Implementations send and understand, and nothing else: waiting, retrying, pacing and giving up
/// are [`Delivery`](super::Delivery)'s. The futures may be dropped before they are done, when there
/// is no more time to wait for a reply.
pub trait Service: Send + Sync + 'static {
    /// What messages call the stream, such as `firehose://beacons`.
    fn uri(&self) -> String;

    /// The API that takes the records and the stream's name, as a spool keeps them.
    fn destination(&self) -> Destination;

    /// The stream's shards, for a service that has shards. Kept up to date by
    /// [`Service::refresh_shards`].
    fn shards(&self) -> Option<&SharedShardMap> {
        None
    }

    /// Reads the map of shards again, unless that was done a moment ago; whether it was read.
    fn refresh_shards(&self) -> impl Future<Output = Result<bool, Failure>> + Send {
        async { Ok(false) }
    }

    /// Asks what the stream is; `None` when the service does not say, and records may be sent all
    /// the same.
    fn describe(&self) -> impl Future<Output = Result<Option<Description>, Failure>> + Send;

    /// The body of the request that carries these records.
    fn body(&self, records: &[Record]) -> Vec<u8>;

    /// Sends such a body; what the reply says of each of its records, in their order. An error is
    /// one of the request as a whole.
    fn put(&self, body: Vec<u8>) -> impl Future<Output = Result<Vec<Answer>, Failure>> + Send;
}

/// What a reply says of a record: the shard that took it where there are shards, or why it failed.
pub type Answer = Result<Option<String>, Failure>;

/// A stream as its service describes it. The default takes everything.
///
/// ```
/// let mut description = pixel_engine_core::deliver::Description::default();
/// description.max_record_size = 1 << 20;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// What the service calls its state: `ACTIVE`, `CREATING`, ...
    pub status: String,
    /// Whether records can be put now.
    pub takes_records: bool,
    /// What kind of stream it is, such as `provisioned`.
    pub kind: String,
    /// Whether and how it is encrypted.
    pub encryption: String,
    /// Bytes of a record's data and partition key.
    pub max_record_size: usize,
    /// Whether the service chooses shards without looking at keys.
    pub ignores_keys: bool,
    /// Whether records come from another source, so that nobody else may put any.
    pub has_other_source: bool,
}

impl Default for Description {
    fn default() -> Description {
        Description {
            status: "ACTIVE".to_owned(),
            takes_records: true,
            kind: String::new(),
            encryption: String::new(),
            max_record_size: usize::MAX,
            ignores_keys: false,
            has_other_source: false,
        }
    }
}

impl Description {
    /// Whether the stream takes records of at most that many bytes, aggregates or not.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(&self, aggregates: bool, record_size: usize) -> Result<(), DeliverError> {
        if self.has_other_source {
            Err(DeliverError::OtherSource { kind: self.kind.clone() })
        } else if !self.takes_records {
            Err(DeliverError::NotActive { status: self.status.clone() })
        } else if aggregates && self.ignores_keys {
            Err(DeliverError::IgnoresKeys)
        } else if record_size > self.max_record_size {
            Err(DeliverError::RecordTooLarge { record_size, limit: self.max_record_size })
        } else {
            Ok(())
        }
    }
}

impl Display for Description {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}, {}", self.status, self.kind, self.encryption)
    }
}
