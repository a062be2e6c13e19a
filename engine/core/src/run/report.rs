//! What a run did and how it ended.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::packer::PackedCounts;
use super::writer::Written;
use crate::ack::{Acknowledgements, Position};
use crate::block::Origin;
use crate::check::LineCounts;
use crate::checkpoint::CheckpointError;
use crate::quarantine::{BadLine, QuarantineError};
use crate::sink::SinkError;
use crate::sink::statistics::{Files, Shipping};
use crate::source::{InputError, QueryEncodings, ReadError, Reading};
use pixel_engine_simd::Isa;

/// What a run did, in numbers.
/// `lines_in = lines_shipped + lines_spooled + lines_quarantined + lines_filtered`, unless an error
/// left some `lines_undelivered`. Sizes are bytes.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Log lines read; headers and empty lines are none.
    pub lines_in: u64,
    /// Bytes read, after decompression.
    pub bytes_in: u64,
    /// Lines in delivered records.
    pub lines_shipped: u64,
    /// Lines in records that could not be delivered and are in the spool.
    pub lines_spooled: u64,
    /// Lines in the quarantine.
    pub lines_quarantined: u64,
    /// Lines that were left out: by a matcher, as duplicates, or as bad lines when these are
    /// skipped.
    pub lines_filtered: u64,
    /// Those of the filtered lines that were duplicates.
    pub lines_duplicate: u64,
    /// Those of the filtered lines that were bad.
    pub lines_skipped: u64,
    /// Lines that an error kept from being delivered; 0 after a good run.
    pub lines_undelivered: u64,
    /// Empty lines, which are no log lines.
    pub lines_empty: u64,
    /// Header lines of standard logs.
    pub lines_header: u64,
    /// Records delivered.
    pub records: u64,
    /// API requests that carry them.
    pub requests: u64,
    /// Bytes of data in the records.
    pub payload_bytes: u64,
    /// Bytes that Firehose bills for the records.
    pub billed_bytes_firehose: u64,
    /// Bytes that Firehose would bill for one record a line.
    pub billed_bytes_unpacked: u64,
    /// PUT payload units of a provisioned Kinesis stream, as bytes.
    pub billed_bytes_kinesis_provisioned: u64,
    /// The same for one record a line.
    pub billed_bytes_kinesis_provisioned_unpacked: u64,
    /// Bytes that an on-demand Kinesis stream bills.
    pub billed_bytes_kinesis_on_demand: u64,
    /// The same for one record a line.
    pub billed_bytes_kinesis_on_demand_unpacked: u64,
    /// Wall time in seconds.
    pub elapsed_seconds: f64,
    /// 10^6 bytes of input a second.
    pub megabytes_per_second: f64,
    /// Lines a second.
    pub lines_per_second: f64,
    /// Whether the run ended before its input did.
    pub interrupted: bool,
    /// The SIMD path in use.
    pub simd: &'static str,
    /// Threads of the pool.
    pub threads: usize,
    /// How many times queries are encoded, where each input was to show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_encoding: Option<QueryEncodings>,
    /// The files of a table, which lines went to in place of records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// How shipping over the network went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping: Option<Shipping>,
}

/// What was read of one source. Sizes are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SourceCounts {
    /// Log lines read; headers and empty lines are none.
    pub lines_in: u64,
    /// Bytes read, after decompression.
    pub bytes_in: u64,
    /// Lines that were left out: by a matcher, or as duplicates.
    pub lines_filtered: u64,
    /// Those of the filtered lines that were duplicates.
    pub lines_duplicate: u64,
    /// Lines that cannot be shipped: quarantined, or skipped where that was asked for.
    pub lines_bad: u64,
    /// Empty lines, which are no log lines.
    pub lines_empty: u64,
    /// Header lines of standard logs.
    pub lines_header: u64,
}

impl SourceCounts {
    pub(super) fn add(&mut self, lines: LineCounts, bytes: u64) {
        self.lines_in += lines.lines_in;
        self.bytes_in += bytes;
        self.lines_filtered += lines.filtered;
        self.lines_duplicate += lines.duplicates;
        self.lines_bad += lines.bad;
        self.lines_empty += lines.empty;
        self.lines_header += lines.headers;
    }
}

/// Where an origin was left when the run ended before it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The file, pipe, connection or batch.
    pub origin: Arc<Origin>,
    /// Everything before this is delivered, quarantined or filtered.
    pub position: Position,
}

impl Summary {
    /// Whether there were lines, and not one of them could be shipped. Then the input is probably
    /// no CloudFront log, or its fields are others than the run was told. Lines that a matcher left
    /// out were good ones.
    pub fn has_only_bad_lines(&self) -> bool {
        let bad = self.lines_quarantined + self.lines_skipped;
        bad > 0 && bad == self.lines_in
    }
}

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The numbers.
    pub summary: Summary,
    /// What was read of each source, in the order in which the run was given them.
    pub sources: Vec<SourceCounts>,
    /// The origins that were not read to their end, or not delivered as far as they were read,
    /// because the run was stopped or failed.
    pub unfinished: Vec<Unfinished>,
    /// The first line that could not be shipped.
    pub first_bad_line: Option<BadLine>,
    /// All lines that could not be shipped, by the [name](crate::quarantine::Reason::name) of the
    /// reason.
    pub bad_lines: BTreeMap<&'static str, BadLines>,
    /// What went wrong: with inputs, while the rest went on; last what ended the run, if something
    /// did.
    pub errors: Vec<Error>,
}

/// Lines that could not be shipped, for one kind of reason.
#[derive(Clone, Debug)]
pub struct BadLines {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: BadLine,
}

/// What can go wrong in a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input cannot be opened.
    #[error(transparent)]
    Input(#[from] InputError),
    /// An input broke off, as a truncated gzip file does; everything before is safe.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The sink cannot deliver: a full disk, a folder that cannot be written, a closed pipe.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The quarantine cannot be written.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// The checkpoint cannot be written; the one before still holds.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A bad line, when these end the run.
    #[error("{0}")]
    BadLine(Box<BadLine>),
    /// The compressor failed, for want of memory in practice.
    #[error("compressing a record: {0}")]
    Compress(#[source] io::Error),
    /// The system has no threads to give.
    #[error("starting {threads} threads: {reason}")]
    Threads {
        /// How many were wanted.
        threads: usize,
        /// What the system says.
        reason: String,
    },
}

impl Report {
    pub(super) fn failed(error: Error) -> Report {
        Report {
            summary: Summary::default(),
            sources: Vec::new(),
            unfinished: Vec::new(),
            first_bad_line: None,
            bad_lines: BTreeMap::new(),
            errors: vec![error],
        }
    }

    pub(super) fn new(
        packed: PackedCounts,
        written: Written,
        saved: Result<(), CheckpointError>,
        left: Vec<Reading>,
        acknowledgements: &Acknowledgements,
        elapsed: Duration,
        threads: usize,
    ) -> Report {
        let PackedCounts { lines, by_source, skipped, bytes_in, unpacked, first_bad_line, bad_lines, mut errors } =
            packed;
        let Written { delivered, requests, shipping, files, quarantined, error } = written;
        let spooled = shipping.as_ref().map_or(0, |shipping| shipping.lines_spooled);
        let filtered = lines.filtered + skipped;
        let seconds = elapsed.as_secs_f64();
        let summary = Summary {
            lines_in: lines.lines_in,
            bytes_in,
            lines_shipped: delivered.lines,
            lines_spooled: spooled,
            lines_quarantined: quarantined,
            lines_filtered: filtered,
            lines_duplicate: lines.duplicates,
            lines_skipped: skipped,
            lines_undelivered: lines.lines_in - delivered.lines - spooled - quarantined - filtered,
            lines_empty: lines.empty,
            lines_header: lines.headers,
            records: delivered.records,
            requests,
            payload_bytes: delivered.payload_bytes,
            billed_bytes_firehose: delivered.billed.firehose,
            billed_bytes_unpacked: unpacked.firehose,
            billed_bytes_kinesis_provisioned: delivered.billed.provisioned(),
            billed_bytes_kinesis_provisioned_unpacked: unpacked.provisioned(),
            billed_bytes_kinesis_on_demand: delivered.billed.on_demand,
            billed_bytes_kinesis_on_demand_unpacked: unpacked.on_demand,
            elapsed_seconds: seconds,
            megabytes_per_second: bytes_in as f64 / 1e6 / seconds,
            lines_per_second: lines.lines_in as f64 / seconds,
            interrupted: left.iter().any(|read| !read.to_end),
            simd: Isa::chosen().name(),
            threads,
            query_encoding: None,
            files,
            shipping,
        };
        let unfinished = left
            .into_iter()
            .map(|read| (acknowledgements.position(read.origin.number), read))
            .filter(|(position, read)| !read.to_end || position.offset < read.offset)
            .map(|(position, read)| Unfinished { origin: read.origin, position })
            .collect();
        errors.extend(error);
        errors.extend(saved.err().map(Error::Checkpoint));
        Report { summary, sources: by_source, unfinished, first_bad_line, bad_lines, errors }
    }
}
