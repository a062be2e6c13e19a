//! Reads the standard log that a report is reconciled with.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pixel_engine::config::{Config, Connection, Settings};
use pixel_engine::observe::Observed;
use pixel_engine::progress::Progress;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::report::{Beacons, Lines};
use pixel_engine::run::Run;
use pixel_engine::sink::null::Null;
use pixel_engine::source::{Files, Format, Input};

use super::Ended;
use crate::{inputs, progress};

/// What stands before messages.
const CONTEXT: &str = "--reconcile: ";

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
    // Without a value, only what states say is reconciled.
    let named: Vec<String> = arguments.iter().filter(|argument| !argument.is_empty()).cloned().collect();
    let (inputs, missing) = inputs::expand_all(&named, &Connection::default(), CONTEXT);
    ended.failed |= missing;
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
    ended.note(&run, CONTEXT);
    Lines::of_run(&run)
}
