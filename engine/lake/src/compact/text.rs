//! Lines of logs as Parquet files, for a while: what they become is merged with the others.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pixel_engine_core::compress::Codec;
use pixel_engine_core::config::{Config, Container};
use pixel_engine_core::quarantine::Quarantine;
use pixel_engine_core::run::{self, Report, Run};
use pixel_engine_core::sink::folder::Folder;
use pixel_engine_core::sink::inventory::Inventory;
use pixel_engine_core::sink::null::Null;
use pixel_engine_core::sink::publish::Publisher;
use pixel_engine_core::sink::{Sink, SinkError};
use pixel_engine_core::source::{Files, Input};
use tempfile::TempDir;

use super::input::{Place, Trouble};
use super::{BATCH_LEN, Error};
use crate::{Options, Parquet};

/// Files that are read at the same time.
const FILES: usize = 8;

/// The rows of text files, in files of a temporary folder that goes with this.
pub(super) struct Converted {
    pub(super) places: Vec<Place>,
    pub(super) rows: u64,
    /// Lines that are no log lines; they are in the file of [`bad_lines`](Self::bad_lines).
    pub(super) bad: u64,
    pub(super) bytes_in: u64,
    folder: TempDir,
}

/// Text files that cannot be read as logs, by their place, and why.
pub(super) type Refused = Vec<(usize, String)>;

impl Converted {
    /// Quarantined lines, if there were any.
    pub(super) fn bad_lines(&self) -> PathBuf {
        bad_lines(&self.folder)
    }
}

fn bad_lines(folder: &TempDir) -> PathBuf {
    folder.path().join("bad-lines.jsonl")
}

/// Reads these files. When some cannot be read as logs, nothing is converted: they are named.
///
/// # Errors
/// Rows cannot be written, or the run was stopped.
pub(super) fn convert(
    config: &Config,
    inputs: &[Input],
    stop: &Arc<AtomicBool>,
) -> Result<Result<Converted, Refused>, Error> {
    let temporary = |error: io::Error| SinkError::io("a temporary folder", error);
    let folder = tempfile::Builder::new().prefix("pixel-engine-").tempdir().map_err(temporary)?;
    let rows: Arc<dyn Inventory> = Arc::new(Folder::new(folder.path().join("rows"))?);
    let Container::Parquet { table, .. } = config.container() else { unreachable!("only Parquet is written") };
    let options = Options {
        // Pages of this codec need not be compressed again, if their file is read as a whole.
        codec: Codec::Zstd(1),
        file_size: BATCH_LEN,
        open_files: NonZeroUsize::new(16).expect("16 is not zero"),
        memory: 64 << 20,
        threads: config.threads().get(),
        ..Options::default()
    };
    let (mut bytes_in, mut shipped, mut bad) = (0, 0, 0);
    for (number, some) in inputs.chunks(FILES).enumerate() {
        let publisher = Publisher::new(Arc::new(Folder::new(folder.path().join("rows"))?), None)?;
        let mut sink = Parquet::new(publisher, table, options.clone())?;
        let report = run(config, some, &mut sink, &mut Quarantine::new(bad_lines(&folder)), stop);
        let refused = refused(config, some, number * FILES, &report, stop)?;
        if !refused.is_empty() {
            return Ok(Err(refused));
        }
        bytes_in += report.summary.bytes_in;
        shipped += report.summary.lines_shipped;
        bad += report.summary.lines_quarantined;
    }
    let places: Vec<Place> = rows.list("")?.into_iter().map(|item| Place { store: Arc::clone(&rows), item }).collect();
    Ok(Ok(Converted { places, rows: shipped, bad, bytes_in, folder }))
}

/// Each file is a source of its own, so that its lines are counted by themselves.
fn run(
    config: &Config,
    inputs: &[Input],
    sink: &mut dyn Sink,
    quarantine: &mut Quarantine,
    stop: &Arc<AtomicBool>,
) -> Report {
    let run = Run::new(config).stop(Arc::clone(stop));
    inputs.iter().fold(run, |run, input| run.source(Files::new([input.clone()]))).to(sink, quarantine)
}

/// Which of the files are no logs, or damaged.
fn refused(
    config: &Config,
    inputs: &[Input],
    first: usize,
    report: &Report,
    stop: &Arc<AtomicBool>,
) -> Result<Refused, Error> {
    if report.summary.interrupted {
        return Err(Error::Stopped);
    }
    if let Some(error) = report.errors.iter().find(|error| !is_of_input(error)) {
        return Err(Error::Run(error.to_string()));
    }
    let mut refused = Vec::new();
    for (place, counts) in report.sources.iter().enumerate() {
        // Most of a log is good, whatever happened to it.
        if 2 * counts.lines_bad > counts.lines_in {
            let (bad, lines) = (counts.lines_bad, counts.lines_in);
            refused.push((first + place, format!("{bad} of its {lines} lines are no lines of a CloudFront log")));
        }
    }
    if report.errors.is_empty() {
        return Ok(refused);
    }
    // Which file an error is about, only a run of its own tells.
    for (place, input) in inputs.iter().enumerate() {
        let alone = run(
            config,
            std::slice::from_ref(input),
            &mut Null::new(config.api()),
            &mut Quarantine::log(io::sink()),
            stop,
        );
        if alone.summary.interrupted {
            return Err(Error::Stopped);
        }
        if let Some(error) = alone.errors.first() {
            refused.retain(|(other, _)| *other != first + place);
            refused.push((first + place, error.to_string()));
        }
    }
    if refused.is_empty() {
        // It did not come again.
        return Err(Error::Run(report.errors[0].to_string()));
    }
    Ok(refused)
}

fn is_of_input(error: &run::Error) -> bool {
    matches!(error, run::Error::Input(_) | run::Error::Read(_))
}

/// A temporary file cannot be read: that is about the machine.
pub(super) fn of_temporary(trouble: Trouble) -> Error {
    match trouble {
        Trouble::File(reason) => Error::Run(format!("a temporary file: {reason}")),
        Trouble::Place(error) => error.into(),
    }
}
