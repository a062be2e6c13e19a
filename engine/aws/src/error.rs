//! Why a stream or a bucket cannot be reached.

use pixel_engine_core::config::S3Uri;
use pixel_engine_core::deliver::Failure;
use pixel_engine_core::sink::SinkError;

/// What can go wrong before the first record is sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing says which region it is in: no setting, no environment, no profile, and a name that
    /// has no region in it.
    #[error(
        "{target}: no region: set it, set AWS_REGION{}",
        if *.takes_arn { ", or name the stream by its ARN" } else { "" }
    )]
    NoRegion {
        /// The stream or bucket.
        target: String,
        /// Whether an ARN may stand in place of its name.
        takes_arn: bool,
    },
    /// The endpoint is no URL of HTTP, most likely a host and port alone.
    #[error("{target}: the endpoint must begin with http:// or https://")]
    EndpointScheme {
        /// The stream or bucket.
        target: String,
    },
    /// The endpoint's URL has a user or password, which nothing would use and logs would show.
    #[error(
        "{target}: the endpoint has a user or password in it: leave them out, requests are signed with AWS credentials"
    )]
    EndpointPassword {
        /// The stream or bucket.
        target: String,
    },
    /// There are no credentials, or AWS does not accept them: an empty environment, an unknown
    /// profile, a role that cannot be assumed, a session that has ended.
    #[error("{target}: {failure}")]
    Credentials {
        /// The stream or bucket.
        target: String,
        /// What AWS or the chain of credentials says.
        failure: Box<Failure>,
    },
    /// There is nothing to read.
    #[error("{uri}: no such object, no key that begins so, and no match of a glob")]
    NoObject {
        /// What was asked for.
        uri: S3Uri,
    },
    /// The service refuses, does not answer, or does not take such records.
    #[error(transparent)]
    Sink(#[from] SinkError),
}
