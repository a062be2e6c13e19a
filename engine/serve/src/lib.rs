//! The sidecar: pipelines of a configuration file that stay up.
//!
//! [`config`] reads the file, [`sidecar`] starts what it says and goes on with what is changed in
//! it, [`pipeline`] keeps one pipeline up, [`listen`] takes lines from the network, [`sink`] opens
//! what a configuration delivers to, and [`drain`] a stream for what a spool has kept.

pub mod config;
pub mod drain;
pub mod listen;
pub mod pipeline;
pub mod sidecar;
pub mod sink;
