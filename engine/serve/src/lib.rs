//! The sidecar: pipelines of a configuration file that stay up.
//!
//! [`config`] reads the file, [`pipeline`] keeps one of its pipelines up, and [`sink`] opens what a
//! configuration delivers to.

pub mod config;
pub mod pipeline;
pub mod sink;
