//! Firehose, Kinesis, S3 and SQS: `firehose://STREAM`, `kinesis://STREAM` and `s3://BUCKET/PREFIX/`.
//!
//! [`Stream`] is a stream's name and [`Connection`] the way to it: region, credentials, endpoint.
//! [`open`] gives the sink that delivers to it; callers inside tokio
//! [connect](StreamClient::connect) and open a [`Delivery`] themselves. [`check`] asks everything
//! beforehand and reports what is missing.
//!
//! [`s3`] has buckets as places for objects, [`sqs`] queues that tell of new ones, and
//! [`glue`] tables of a catalogue.
//!
//! Retrying, pacing and the spool are `pixel_engine_core::deliver`'s; this crate sends requests and
//! says what a failure means, with the one table in `failure`.

mod check;
mod client;
mod connection;
mod error;
mod failure;
mod firehose;
pub mod glue;
mod kinesis;
pub mod s3;
pub mod sqs;

use pixel_engine_core::config::Stream;
use pixel_engine_core::deliver::{Delivery, DeliverySink, Options};

pub use check::{Findings, Topic, check, check_bucket, check_queue};
pub use client::StreamClient;
pub use error::Error;
pub use pixel_engine_core::config::Connection;

/// Connects, looks at the stream, and starts delivering.
///
/// # Errors
/// No region or credentials, no such stream, no permission, or a stream that would not take such
/// records.
pub fn open(stream: &Stream, connection: &Connection, options: Options) -> Result<DeliverySink<StreamClient>, Error> {
    DeliverySink::with_threads(options.config.threads, async {
        let client = StreamClient::connect(stream, connection).await?;
        Ok(Delivery::open(client, options).await?)
    })
}
