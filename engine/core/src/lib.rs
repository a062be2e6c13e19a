//! From blocks of log lines to delivered records.

pub mod ack;
pub mod billing;
pub mod block;
pub mod check;
pub mod checkpoint;
pub mod compress;
pub mod config;
pub mod deliver;
mod durable;
pub mod encode;
pub mod finish;
pub mod limits;
pub mod observe;
pub mod pack;
pub mod quarantine;
pub mod record;
pub mod run;
pub mod sink;
pub mod source;
pub mod spool;
