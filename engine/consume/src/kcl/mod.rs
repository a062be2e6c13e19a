//! A child of the MultiLangDaemon of the Kinesis Client Library.
//!
//! The daemon is a JVM that keeps leases and checkpoints in DynamoDB, reads the shards it has, and
//! starts one child for each. It writes records to the child's standard input and takes
//! checkpoints from its standard output.

mod child;
pub mod messages;
mod properties;

pub use child::{ChildError, Ended, Patience, run_child};
pub use properties::{Properties, PropertiesError};
