//! The sidecar: pipelines of a configuration file that stay up.
//!
//! [`config`] reads the file, [`pipeline`] keeps one of its pipelines up, [`sink`] opens what a
//! configuration delivers to, and [`drain`] a stream for what a spool has kept. A [`watch`] is what
//! others may see of a pipeline: [`admin`] shows it over HTTP, [`service_manager`] tells systemd.

pub mod admin;
pub mod config;
pub mod drain;
pub mod pipeline;
mod savings;
pub mod service_manager;
pub mod sink;
pub mod watch;
