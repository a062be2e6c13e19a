//! Reads the standard log that a report is reconciled with.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pixel_engine::config::{Config, Settings};
use pixel_engine::observe::Observed;
use pixel_engine::progress::Progress;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::report::{Beacons, Lines};
use pixel_engine::run::Run;
use pixel_engine::sink::null::Null;
use pixel_engine::source::{Files, Format, Input, expand};

use super::Ended;
use crate::only_bad_lines::only_bad_lines;
use crate::progress;

/// Those of the inputs, but for their format.
pub(super) fn settings(of_inputs: Settings) -> Settings {
    Settings { format: Some(Format::Auto), ..of_inputs }
}

/// Reads all of it, and says what became of its lines; nothing if the report does not want it.
pub(super) fn read(
    beacons: &Beacons,
    arguments: &[String],
    config: &Config,
    quiet: bool,
    stop: Arc<AtomicBool>,
    ended: &mut Ended,
) -> Lines {
    let Some(log) = beacons.standard_log() else { return Lines::default() };
    let mut inputs = Vec::new();
    for argument in arguments.iter().filter(|argument| !argument.is_empty()) {
        match expand(argument) {
            Ok(found) => inputs.extend(found),
            Err(error) => {
                eprintln!("pixel-engine: --reconcile: {error}");
                ended.failed = true;
            }
        }
    }
    let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
    let counts = Arc::new(Progress::default());
    let total = inputs.iter().map(Input::size).sum();
    let run = progress::of_run(&counts, total, quiet, || {
        Run::new(config)
            .source(Files::new(inputs))
            .progress(Arc::clone(&counts))
            .observer(Arc::new(Observed::new(log)))
            .stop(stop)
            .to(&mut sink, &mut quarantine)
    });
    for error in &run.errors {
        eprintln!("pixel-engine: --reconcile: {error}");
        ended.failed = true;
    }
    ended.interrupted |= run.summary.interrupted;
    if let (Some(first), true) = (&run.first_bad_line, run.summary.has_only_bad_lines()) {
        eprintln!("pixel-engine: --reconcile: {}", only_bad_lines(first));
    }
    Lines::of_run(&run)
}
