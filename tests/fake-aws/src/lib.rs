//! A strict fake of Amazon Data Firehose, Kinesis Data Streams, S3, SQS and STS over real HTTP, for tests
//! and benchmarks.
//!
//! It enforces AWS's limits with AWS's error codes and messages, checks signatures, keeps quotas
//! with token buckets, and plays faults to order. What a client did wrong is counted apart
//! ([`Counters::violations`]), so that a test can ask for none of it.
//!
//! ```
//! use fake_aws::{Fault, FakeAws};
//!
//! let aws = FakeAws::start();
//! let beacons = aws.delivery_stream("beacons");
//! beacons.fail_records(0.2, 7).fault(Fault::ResetAfterBody { stored: true });
//! let stream = aws.stream("hits", 4);
//! stream.split_shard("shardId-000000000001");
//!
//! let mut command = std::process::Command::new("true");
//! command.envs(aws.environment());
//! # let _ = command.status();
//!
//! assert!(beacons.delivered().is_empty());
//! assert_eq!(stream.shards().iter().filter(|shard| shard.open).count(), 5);
//! assert_eq!(aws.counters().violations, Vec::<String>::new());
//! ```

mod action;
mod authorization;
mod bucket;
mod counters;
mod faults;
pub mod firehose;
mod http;
pub mod kinesis;
mod parse;
mod records;
mod refusal;
mod reply;
pub mod s3;
mod server;
mod shards;
pub mod sqs;
mod sts;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use crate::action::Action;
pub use crate::authorization::Credentials;
pub use crate::counters::Counters;
pub use crate::faults::{Fault, RecordFailure};
pub use crate::firehose::{Count, DeliveryStream, Quota, Source, Throttle};
pub use crate::kinesis::{Distribution, Stream};
pub use crate::records::{Arrival, Delivered, StreamCounts};
pub use crate::s3::{Bucket, StoredObject};
pub use crate::server::{Builder, FakeAws};
pub use crate::shards::{Shard, ShardQuota};
pub use crate::sqs::{Queue, QueuedMessage};

/// Locks, also after a panic of another holder: each of them leaves whole what it changes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
