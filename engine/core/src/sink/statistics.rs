//! How shipping went, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts of a sink that sends requests. A *code* is what AWS calls the error, or one of the names
/// that `docs/errors.md` lists for failures without one, such as `Timeout`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Shipping {
    /// Requests sent, those that failed included.
    pub requests: u64,
    /// Those of the requests that sent records again.
    pub requests_retried: u64,
    /// Requests that failed as a whole, by code.
    pub requests_failed: BTreeMap<String, u64>,
    /// Records that failed within a request, by code; a record counts each time.
    pub records_failed: BTreeMap<String, u64>,
    /// Records that failed in a way that leaves open whether they had arrived; a record counts each
    /// time. They are sent again, now or from the spool, so this bounds the number of duplicates.
    pub records_possibly_duplicated: u64,
    /// Requests and records that were turned away for their rate.
    pub throttles: u64,
    /// Objects that were stored.
    pub objects: u64,
    /// Requests that stored a part of an object.
    pub parts: u64,
    /// Bytes of request bodies.
    pub bytes_sent: u64,
    /// From a request's first byte to the end of the reply: half of the requests took no longer.
    /// Milliseconds.
    pub latency_p50_ms: f64,
    /// 99 in 100 took no longer. Milliseconds.
    pub latency_p99_ms: f64,
    /// The slowest. Milliseconds.
    pub latency_max_ms: f64,
    /// Records that went to another shard than the map of shards said: the stream was resharded.
    pub records_in_other_shard: u64,
    /// How often the map of shards was read again.
    pub shard_map_refreshes: u64,
    /// Records that were kept in the spool.
    pub records_spooled: u64,
    /// Lines in them.
    pub lines_spooled: u64,
    /// Bytes of data in them.
    pub bytes_spooled: u64,
}

/// Files of a table that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Files {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Row groups in them.
    pub row_groups: u64,
}
