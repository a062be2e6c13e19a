//! From a source of log lines to delivered records.
//!
//! ```text
//! source ─► block ─► scan ─► check ─► encode ─► pack ─► finish ─► deliver
//!    ▲                         │                           │          │
//!    │                      observe                   frame, MD5,   sink, spool
//!    │                                                 compress       │
//!    └────────────────────────────── ack ─────────────────────────────┘
//! ```
//! A [`Config`](config::Config) is what a user chose, checked once. A [`Run`](run::Run) of it reads
//! [`Source`](source::Source)s, shows lines to [`Observer`](observe::Observer)s, and gives records
//! to a [`Sink`](sink::Sink); [`deliver`] is the sink that sends to a service, retries, and spools.
//! What each line, record and request may be is in [`limits`].
//!
//! The stages in between are for the project's own benchmarks. They are public and hidden, and
//! change without notice.

#[doc(hidden)]
pub mod ack;
pub mod billing;
#[doc(hidden)]
pub mod block;
#[doc(hidden)]
pub mod check;
pub mod checkpoint;
pub mod compress;
pub mod config;
pub mod deliver;
#[doc(hidden)]
pub mod duplicates;
mod durable;
#[doc(hidden)]
pub mod encode;
#[doc(hidden)]
pub mod finish;
pub mod journal;
pub mod limits;
pub mod observe;
#[doc(hidden)]
pub mod pack;
pub mod privacy;
pub mod progress;
pub mod quarantine;
pub mod record;
pub mod run;
pub mod sink;
pub mod source;
pub mod spool;
