//! The engine of pixel-engine: CloudFront log lines in, well-packed Kinesis and Firehose records out.

pub mod encode;
pub mod field;
pub mod headers;
pub mod line;
pub mod pack;
pub mod percent;
pub mod query;
pub mod scan;
pub mod schema;
pub mod select;
pub mod simd;
