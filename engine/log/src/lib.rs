//! Fields of CloudFront log lines, found with SIMD and without copies. No I/O, no threads.

pub mod encode;
pub mod field;
pub mod headers;
pub mod json_line;
pub mod line;
pub mod percent;
pub mod query;
pub mod scan;
pub mod schema;
pub mod select;
pub mod table;
