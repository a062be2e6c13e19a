//! The sidecar: pipelines of a configuration file that stay up.
//!
//! [`config`] reads the file.

pub mod config;
