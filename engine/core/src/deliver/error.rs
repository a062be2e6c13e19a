//! Why a delivery ended.

use std::time::Duration;

use super::Failure;
use crate::spool::SpoolError;

/// Why records cannot be delivered to a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    /// The service refuses in a way that only a person can mend, and there is no spool: a missing
    /// permission, an unknown stream, expired credentials, a record larger than the stream takes.
    #[error("{0}")]
    Refused(Failure),
    /// Records were tried for as long as they may be, and there is no spool: an outage, or a stop
    /// in the middle of one.
    #[error("given up after {} s: {failure}", tried.as_secs())]
    GivenUp {
        /// How long they were tried.
        tried: Duration,
        /// How the last try failed.
        failure: Failure,
    },
    /// Records that were not delivered cannot be kept either: a full disk, or a full spool that may
    /// not be waited for.
    #[error("{failure}; and they cannot be kept: {error}")]
    NotKept {
        /// Why they were not delivered.
        failure: Failure,
        /// Why they are not in the spool.
        #[source]
        error: SpoolError,
    },
    /// Nobody may put records into this stream: it reads from another source, as a delivery stream
    /// behind Kinesis does.
    #[error("is a {kind}: records go to its source, not to it; deliver to that with kinesis://")]
    OtherSource {
        /// The kind of stream.
        kind: String,
    },
    /// The stream takes no records now: it is being created or deleted.
    #[error("the stream is {status}: wait until it is ACTIVE")]
    NotActive {
        /// What the service calls its state.
        status: String,
    },
    /// Aggregates go to a stream that chooses shards without looking at keys, so that consumers
    /// would drop them.
    #[error(
        "the stream's record distribution is AUTO: it ignores partition keys, and consumers silently drop aggregates \
         whose keys are not their shard's. Deliver lines in place of aggregates, or give the stream USER_PARTITION_KEY"
    )]
    IgnoresKeys,
    /// Records may be larger than the stream takes.
    #[error(
        "the stream takes records of {limit} B, record_size is {record_size}: lower it, or raise the stream's \
         MaxRecordSizeInKiB"
    )]
    RecordTooLarge {
        /// Bytes of a record, with its partition key.
        record_size: usize,
        /// The most that the stream takes.
        limit: usize,
    },
    /// A record came after the delivery had failed; the first error says why.
    #[error("nothing can be sent after a failure")]
    Ended,
    /// The tokio runtime that the delivery was started on is gone. It must outlive the delivery.
    #[error("the runtime was shut down before everything was delivered")]
    RuntimeGone,
}
