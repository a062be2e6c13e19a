//! Parquet files of log lines for a data lake, in the folders of hours and of whatever else lines
//! are told apart by.
//!
//! Rows of a [`Table`](pixel_engine_log::table::Table) come in as records of a run; each goes to the
//! file of its folder, column by column and on all threads. A file is published when it is large
//! enough, old enough, or the run ends; the lines in it are acknowledged then and not before.

pub mod compact;
mod file;
mod folders;
pub mod schema;
mod sink;

pub use sink::{Options, Parquet};
