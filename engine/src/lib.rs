//! CloudFront log lines in, well-packed Firehose and Kinesis records out, and none lost.
//!
//! pixel-engine reads real-time and standard logs with SIMD and without copies, packs lines into
//! the records that cost least, and delivers them at least once. This crate is the front of it;
//! each part is a crate of its own.
//!
//! # Fields of a line
//!
//! ```
//! use pixel_engine::log::field::Field;
//! use pixel_engine::log::line::Line;
//! use pixel_engine::log::query::Query;
//! use pixel_engine::log::scan::{Positions, scan};
//! use pixel_engine::log::schema::Schemas;
//!
//! let log = b"1767600000.068\t203.0.113.9\tcurl/8.0\te=pv&url=http%253A%252F%252Fa.example\n";
//! let schemas = Schemas::all_presets();
//! let mut positions = Positions::default();
//! scan(log, &mut positions);
//! for (start, ends) in positions.lines() {
//!     let schema = schemas.with_columns(ends.len()).expect("a preset has 4 columns");
//!     let line = Line::new(log, start, ends, schema);
//!     assert_eq!(line.get(Field::CIp), Some(&b"203.0.113.9"[..]));
//!     let query = Query::new(line.get(Field::CsUriQuery).unwrap_or_default());
//!     let url = query.last_named(b"url").and_then(|parameter| parameter.value_decoded());
//!     assert_eq!(url.as_deref(), Some(&b"http://a.example"[..]));
//! }
//! ```
//!
//! # An aggregate, written and read
//!
//! ```
//! use pixel_engine::kpl::{Decoded, PartitionKey, decode, seal, write_aggregate};
//!
//! let key = PartitionKey::of_hash_key(1 << 127);
//! let lines = [&b"one\n"[..], b"two\n"];
//! let mut record = Vec::new();
//! write_aggregate(&mut record, &key, lines.iter().copied());
//! seal(&mut [&mut record]);
//!
//! let Decoded::Aggregate(aggregate) = decode(&record) else { panic!("it was written above") };
//! assert!(aggregate.records().map(|user_record| user_record.data).eq(lines));
//! ```
//!
//! # A run into a sink of your own
//!
//! ```
//! use pixel_engine::config::{EncodingKind, Settings};
//! use pixel_engine::quarantine::Quarantine;
//! use pixel_engine::record::{Delivered, Record};
//! use pixel_engine::run::Run;
//! use pixel_engine::sink::{Sink, SinkError};
//! use pixel_engine::source::{Closed, Feed, Source};
//!
//! /// Two lines; a file, a socket or a queue in earnest. `source::Files` reads files.
//! struct Lines;
//!
//! impl Source for Lines {
//!     fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
//!         let mut inlet = feed.open("two lines");
//!         inlet.push("1.5\t203.0.113.9\tcurl/8.0\te=a\n2.5\t203.0.113.9\tcurl/8.0\te=b\n")?;
//!         inlet.end()?;
//!         Ok(())
//!     }
//! }
//!
//! /// Keeps records in memory.
//! #[derive(Default)]
//! struct Memory {
//!     records: Vec<Vec<u8>>,
//!     delivered: Delivered,
//! }
//!
//! impl Sink for Memory {
//!     fn ship(&mut self, record: Record) -> Result<(), SinkError> {
//!         self.records.push(record.chunks().collect::<Vec<_>>().concat());
//!         // It is safe now: its lines are acknowledged. A record that is dropped without this is read again.
//!         self.delivered.settle(record.into_receipt());
//!         Ok(())
//!     }
//!
//!     fn flush(&mut self) -> Result<(), SinkError> {
//!         Ok(())
//!     }
//!
//!     fn close(&mut self) -> Result<(), SinkError> {
//!         Ok(())
//!     }
//!
//!     fn delivered(&self) -> Delivered {
//!         self.delivered
//!     }
//!
//!     fn requests(&self) -> u64 {
//!         0
//!     }
//! }
//!
//! let config = Settings { encode: Some(EncodingKind::Jsonl), ..Settings::default() }.validate()?;
//! let (mut sink, mut quarantine) = (Memory::default(), Quarantine::new("bad-lines.jsonl"));
//! let report = Run::new(&config).source(Lines).to(&mut sink, &mut quarantine);
//! assert!(report.errors.is_empty());
//! assert_eq!((report.summary.lines_in, report.summary.lines_shipped), (2, 2));
//! assert!(sink.records[0].starts_with(b"{\"timestamp\":1.5,"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The crates
//!
//! | module | crate | what it is for |
//! |---|---|---|
//! | [`log`] | `pixel-engine-log` | fields of log lines, queries, JSON both ways, selection; no I/O and no threads |
//! | [`kpl`] | `pixel-engine-kpl` | aggregated records of the Kinesis Producer Library; usable on its own |
//! | [`config`] to [`spool`] | `pixel-engine-core` | from a source to delivered records, generic over the service |
//! | `aws` | `pixel-engine-aws` | Firehose and Kinesis as services, with the feature `aws` |
//! | `serve` | `pixel-engine-serve` | the sidecar: pipelines of a file that stay up, with the feature `serve` |
//! | `lake` | `pixel-engine-lake` | Parquet files in folders of hours, and tables of SQL for what is delivered, with the feature `lake` |
//! | `consume` | `pixel-engine-consume` | a Lambda runtime and a child of the Kinesis Client Library, with the feature `consume` |
//! | [`plan`] | `pixel-engine-plan` | capacity and cost before anyone buys a shard |
//! | `report` | `pixel-engine-report` | what beacons say: visitors, sessions, pages, answers, with the feature `report` |
//! | `agents` | `pixel-engine-agents` | browsers, systems, devices and bots by user agent; usable on its own |
//! | [`simd`] | `pixel-engine-simd` | which instruction set is in use |

#[cfg(feature = "report")]
pub use pixel_engine_agents as agents;
#[cfg(feature = "aws")]
pub use pixel_engine_aws as aws;
#[cfg(feature = "consume")]
pub use pixel_engine_consume as consume;
pub use pixel_engine_core::{
    billing, checkpoint, compress, config, deliver, journal, limits, observe, privacy, progress, quarantine, record,
    run, sink, source, spool,
};
pub use pixel_engine_kpl as kpl;
#[cfg(feature = "lake")]
pub use pixel_engine_lake as lake;
pub use pixel_engine_log as log;
pub use pixel_engine_plan as plan;
#[cfg(feature = "report")]
pub use pixel_engine_report as report;
#[cfg(feature = "serve")]
pub use pixel_engine_serve as serve;
pub use pixel_engine_simd as simd;
