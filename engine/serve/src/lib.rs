//! The sidecar: pipelines of a configuration file that stay up.
//!
//! [`config`] reads the file, [`pipeline`] keeps one of its pipelines up, [`sink`] opens what a
//! configuration delivers to, and [`drain`] a stream for what a spool has kept.

pub mod config;
pub mod drain;
pub mod pipeline;
pub mod sink;
