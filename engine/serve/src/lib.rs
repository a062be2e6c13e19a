//! The sidecar: pipelines of a configuration file that stay up.
//!
//! [`config`] reads the file, [`sidecar`] starts what it says and goes on with what is changed in
//! it, [`pipeline`] keeps one pipeline up, [`listen`] takes lines from the network, [`queue`] reads objects that a queue tells of, [`sink`] opens
//! what a configuration delivers to, and [`drain`] a stream for what a spool has kept. A [`watch`] is
//! what others may see of a pipeline, its live report included: [`admin`] shows it over HTTP,
//! [`service_manager`] tells systemd.

pub mod admin;
pub mod config;
pub mod drain;
pub mod listen;
pub mod pipeline;
pub mod queue;
mod report;
mod savings;
pub mod service_manager;
pub mod sidecar;
pub mod sink;
pub mod watch;
