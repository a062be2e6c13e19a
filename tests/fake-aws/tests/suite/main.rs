//! The fake server as a client on a bare socket sees it.

/// Who may do what.
mod authorization;
/// The client.
mod client;
/// Every fault, seen from the other end.
mod faults;
/// Firehose's limits and quotas.
mod firehose;
/// What HTTP allows beside the plain request.
mod http;
/// Kinesis' limits, quotas and shards.
mod kinesis;
