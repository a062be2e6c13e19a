//! The engine of pixel-engine: CloudFront log lines in, well-packed Kinesis and Firehose records out.

pub use pixel_engine_core::run as pipeline;
pub use pixel_engine_core::{
    ack, billing, block, check, checkpoint, compress, config, deliver, finish, limits, observe, quarantine, record,
    source, spool,
};
pub use pixel_engine_log::{field, headers, json_line, line, percent, query, scan, schema, select};
pub use pixel_engine_plan as plan;
pub use pixel_engine_simd as simd;

/// What a line becomes.
pub mod encode {
    pub use pixel_engine_core::encode as block;
    pub use pixel_engine_log::encode::*;
}

/// Records filled with lines.
pub mod pack {
    pub use pixel_engine_core::pack::{LineList, Packed, aggregates, lines, partitions};
    pub use pixel_engine_kpl as kpl;
    pub use pixel_engine_kpl::md5;
}

/// Places for records.
pub mod ship {
    #[cfg(feature = "aws")]
    pub use pixel_engine_aws as aws;
    pub use pixel_engine_core::sink::*;
}

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
