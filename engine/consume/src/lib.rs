//! pixel-engine as a consumer of a Kinesis stream, where others share the work out among machines:
//! Lambda, which invokes a function for each shard and batch, and the Kinesis Client Library, which
//! keeps leases and checkpoints in DynamoDB.
//!
//! Both bring records. What becomes of their lines is the business of a
//! [`Run`](pixel_engine_core::run::Run), as everywhere; what is acknowledged goes back to where the
//! records came from.

pub mod batch;
#[cfg(test)]
mod each;
pub mod kcl;
pub mod lambda;
pub mod open_run;
pub mod settings;
