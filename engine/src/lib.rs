//! The engine of pixel-engine: CloudFront log lines in, well-packed Kinesis and Firehose records out.

pub mod ack;
pub mod billing;
pub mod block;
pub mod checkpoint;
pub mod compress;
mod durable;
pub mod encode;
pub mod field;
pub mod finish;
pub mod headers;
pub mod json_line;
pub mod line;
pub mod pack;
pub mod percent;
pub mod pipeline;
pub mod plan;
pub mod quarantine;
pub mod query;
pub mod record;
pub mod scan;
pub mod schema;
pub mod select;
pub mod ship;
pub mod simd;
pub mod source;
pub mod spool;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
