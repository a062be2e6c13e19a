//! A custom runtime of Lambda, and the functions that it serves.
//!
//! [`runtime`] asks the Runtime API for one invocation after the other; [`transform`] answers those
//! of Firehose's data transformation.

mod partition_keys;
pub mod runtime;
pub mod transform;
mod transformation_event;
