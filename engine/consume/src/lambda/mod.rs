//! A custom runtime of Lambda, and the functions that it serves.
//!
//! [`runtime`] asks the Runtime API for one invocation after the other; [`aggregate`] answers those
//! of a Kinesis stream, [`transform`] those of Firehose's data transformation.

pub mod aggregate;
mod kinesis_event;
mod partition_keys;
pub mod runtime;
pub mod transform;
mod transformation_event;
