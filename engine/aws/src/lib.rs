//! Firehose and Kinesis: `firehose://STREAM` and `kinesis://STREAM`.
//!
//! ```text
//! ship ──► open request ──► lane ──► worker: pace ──► send ──► each record: settled
//!                                       ▲                          │ failed
//!                                       └──── wait, less at once ◄─┤
//!                                                                  └──► spool
//! ```
//! - [`Stream`] is the name, [`Connection`] the way to it: region, credentials, endpoint.
//! - `failure` has the one table that says what an error means.
//! - `pace` limits the rate, by shard or by stream, and adapts it.
//! - `delivery` is the sink: requests are filled on the caller's thread, sent by a few workers of a tokio
//!   runtime, and only what failed is sent again. It is the only place that retries.
//! - `check` asks everything beforehand and says what is missing.

mod check;
mod connection;
mod delivery;
mod failure;
mod firehose;
mod kinesis;
mod pace;
mod service;

pub use check::{Findings, check};
pub use connection::Connection;
pub use delivery::{Delivery, Settings};
pub use pixel_engine_core::config::{RateLimit, Stream, StreamError, WhenFull};
