//! Capacity and cost, before anyone buys a shard.
//!
//! ```text
//! prices ─────────────────────────┐
//! sample ──► measure ──► workload ─┼──► designs ──► simulate
//! rate ───────────────────────────┘
//! ```
//! [`measure`] packs a sample of the user's own log, [`designs`] says what each way of carrying such lines at such a
//! rate needs and costs, and [`simulate`] plays a day of it against the limits. Amounts are bytes, seconds, and lines
//! or records a second. `docs/capacity.md` has the formulas and where each limit is from.

pub mod designs;
pub mod limits;
pub mod measure;
pub mod prices;
pub mod rate;
pub mod simulate;
pub mod workload;
