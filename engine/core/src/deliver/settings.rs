//! How to deliver.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::pace::Quota;
use crate::sink::limits::{Api, Counted, FIREHOSE_RECORDS_PER_BYTE, SHARD_BYTES, SHARD_RECORDS};
use crate::spool::Spool;

/// How to deliver.
///
/// ```
/// use pixel_engine_core::deliver::Settings;
/// use pixel_engine_core::sink::limits::Api;
///
/// let mut settings = Settings::new(Api::PutRecords);
/// settings.aggregates = true;
/// settings.record_size = 51_200;
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Requests on the way at a time: 4.
    pub concurrency: NonZeroUsize,
    /// Bytes of a request: what is usual for the API.
    pub request_size: usize,
    /// How they are counted: as JSON for Firehose, as data for Kinesis.
    pub counted: Counted,
    /// Bytes a second.
    pub rate_limit: RateLimit,
    /// How long to try a record; for ever without one.
    pub give_up_after: Option<Duration>,
    /// How long to go on trying once the run is stopped: 10 s.
    pub grace: Duration,
    /// Whether records are KPL aggregates, which a stream that ignores keys must not get.
    pub aggregates: bool,
    /// Bytes of the largest record, with its partition key: a stream that takes less is refused at the start.
    pub record_size: usize,
    /// Whether records of one shard go one request after the other.
    pub in_order: bool,
    /// Where records go that cannot be delivered; without one, they end the delivery.
    pub spool: Option<(Spool, WhenFull)>,
    /// Set when the run is stopped.
    pub stop: Arc<AtomicBool>,
}

impl Settings {
    /// The settings that are usual for that API.
    pub fn new(api: Api) -> Settings {
        Settings {
            concurrency: NonZeroUsize::new(4).expect("four is not zero"),
            request_size: api.default_bytes(),
            counted: api.default_count(),
            rate_limit: RateLimit::Auto,
            give_up_after: None,
            grace: Duration::from_secs(10),
            aggregates: false,
            record_size: 0,
            in_order: false,
            spool: None,
            stop: Arc::default(),
        }
    }
}

/// The rate to begin with and never to pass; below it, the rate adapts to throttling.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RateLimit {
    /// 1 MiB and 1,000 records a second for each shard; for Firehose, whose quota no API tells, none until it
    /// throttles.
    #[default]
    Auto,
    /// None until the service throttles.
    None,
    /// Bytes a second, of a shard or of a Firehose stream.
    BytesPerSecond(u64),
}

impl RateLimit {
    /// What a bucket of that API begins with.
    pub(super) fn quota(self, api: Api) -> Quota {
        let bytes_per_second = match (self, api) {
            (RateLimit::None, _) | (RateLimit::Auto, Api::PutRecordBatch) => None,
            (RateLimit::Auto, Api::PutRecords) => Some(SHARD_BYTES as f64),
            (RateLimit::BytesPerSecond(bytes), _) => Some(bytes as f64),
        };
        let min_record = match api {
            Api::PutRecordBatch => 1.0 / FIREHOSE_RECORDS_PER_BYTE,
            Api::PutRecords => SHARD_BYTES as f64 / SHARD_RECORDS as f64,
        };
        Quota { bytes_per_second, min_record }
    }
}

/// What to do when the spool has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Go on trying to deliver, and hold the reader meanwhile.
    #[default]
    Block,
    /// End the run with an error.
    Stop,
}
