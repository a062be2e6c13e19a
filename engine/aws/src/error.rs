//! Why a stream cannot be reached.

use pixel_engine_core::deliver::Failure;
use pixel_engine_core::sink::SinkError;

use pixel_engine_core::config::Stream;

/// What can go wrong before the first record is sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing says which region the stream is in: no setting, no environment, no profile, and a
    /// name without an ARN.
    #[error("{stream}: no region: set it, set AWS_REGION, or name the stream by its ARN")]
    NoRegion {
        /// The stream.
        stream: Stream,
    },
    /// The endpoint is no URL of HTTP, most likely a host and port alone.
    #[error("{stream}: the endpoint must begin with http:// or https://")]
    EndpointScheme {
        /// The stream.
        stream: Stream,
    },
    /// The endpoint's URL has a user or password, which nothing would use and logs would show.
    #[error(
        "{stream}: the endpoint has a user or password in it: leave them out, requests are signed with AWS credentials"
    )]
    EndpointPassword {
        /// The stream.
        stream: Stream,
    },
    /// There are no credentials, or AWS does not accept them: an empty environment, an unknown
    /// profile, a role that cannot be assumed, a session that has ended.
    #[error("{stream}: {failure}")]
    Credentials {
        /// The stream.
        stream: Stream,
        /// What AWS or the chain of credentials says.
        failure: Box<Failure>,
    },
    /// The stream refuses, does not answer, or does not take such records.
    #[error(transparent)]
    Sink(#[from] SinkError),
}
