//! How to deliver.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::pace::Quota;
use super::refusals::Refusals;
use crate::config::{DeliveryConfig, RateLimit, WhenFull};
use crate::limits::{firehose, kinesis};
use crate::progress::Progress;
use crate::sink::limits::Api;
use crate::spool::Spool;

/// How to deliver: what was configured, and what goes with it at run time.
///
/// ```
/// use pixel_engine_core::deliver::Options;
/// use pixel_engine_core::sink::limits::Api;
///
/// let mut options = Options::new(Api::PutRecords);
/// options.config.aggregates = true;
/// options.config.record_size = 51_200;
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Options {
    /// What was configured.
    pub config: DeliveryConfig,
    /// Where records go that cannot be delivered; without one, they end the delivery.
    pub spool: Option<(Spool, WhenFull)>,
    /// Notes records that are refused for good, so that the delivery goes on without them although
    /// there is no spool. They do not count as acknowledged.
    pub refusals: Option<Refusals>,
    /// Counts requests for those who look on.
    pub progress: Arc<Progress>,
    /// Set when the run is stopped.
    pub stop: Arc<AtomicBool>,
}

impl Options {
    /// The options that are usual for that API.
    pub fn new(api: Api) -> Options {
        DeliveryConfig::new(api).into()
    }
}

impl From<DeliveryConfig> for Options {
    /// Without a spool, and with nobody who stops it.
    fn from(config: DeliveryConfig) -> Options {
        Options { config, spool: None, refusals: None, progress: Arc::default(), stop: Arc::default() }
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
