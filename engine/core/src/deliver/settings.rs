//! How to deliver.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::pace::Quota;
use crate::config::{RateLimit, WhenFull};
use crate::limits::{firehose, kinesis};
use crate::sink::limits::{Api, Counted};
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

/// What a bucket of that API begins with.
pub(super) fn quota(limit: RateLimit, api: Api) -> Quota {
    let bytes_per_second = match (limit, api) {
        (RateLimit::None, _) | (RateLimit::Auto, Api::PutRecordBatch) => None,
        (RateLimit::Auto, Api::PutRecords) => Some(kinesis::SHARD_BYTES_PER_SECOND as f64),
        (RateLimit::BytesPerSecond(bytes), _) => Some(bytes as f64),
    };
    let min_record = match api {
        Api::PutRecordBatch => {
            // The two quotas are raised together, in proportion.
            let quota = firehose::DirectPutQuota::LARGE_REGION;
            quota.bytes as f64 / quota.records as f64
        }
        Api::PutRecords => kinesis::SHARD_BYTES_PER_SECOND as f64 / kinesis::SHARD_RECORDS_PER_SECOND as f64,
    };
    Quota { bytes_per_second, min_record }
}
