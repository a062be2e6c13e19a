//! What the benchmarks share: contests with rivals in the same run, tables of results, and the data
//! they run on.
//!
//! A [`Stage`] is one benchmark file. It runs [`Contest`]s, prints their table at its end, and adds
//! the table to `benches/results` when [`RECORD`] is set.

pub mod capacity;
mod contest;
pub mod goodput;
mod machine;
pub mod process;
mod results;
pub mod run;
mod stage;

pub use contest::Contest;
pub use machine::cpu_seconds;
pub use pixel_engine_kernels::{EVERY_PATH, Mode, data};
pub use results::{Row, Target};
pub use stage::Stage;

/// Set to anything but `0`, the results are added to the file of this machine and day in
/// `benches/results`.
pub const RECORD: &str = "PIXEL_ENGINE_BENCH_RECORD";

/// Set to anything but `0`, everything runs with less data and fewer rounds: a smoke test, not a
/// measurement.
pub const QUICK: &str = "PIXEL_ENGINE_BENCH_QUICK";

/// Whether an environment variable is set to anything but `0`.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Whether this is a quick run.
pub fn is_quick() -> bool {
    is_set(QUICK)
}
