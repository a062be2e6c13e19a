//! Keeps a pipeline up: runs it, empties its spool, and begins again after a failure.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pixel_engine_core::checkpoint::Checkpoint;
use pixel_engine_core::config::{Config, SpoolConfig, Stream};
use pixel_engine_core::deliver::Drained;
use pixel_engine_core::journal::Journal;
use pixel_engine_core::run::{Report, Run, Unfinished};
use pixel_engine_core::sink::Sink;
use pixel_engine_core::source::{Closed, Feed, Files, Follow, Input, Source};
use pixel_engine_core::spool::{self, Outline};

use crate::config::{PipelineConfig, SourceConfig};
use crate::queue::QueueSource;
use crate::watch::{State, Watch};
use crate::{drain, sink};

/// Before a pipeline that has failed begins again: twice as long after each failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);
/// A run that lasted that long was no failure from its start.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// Between two looks at the spool.
const SPOOL_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks at which segments of a journal are delivered.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);
/// How soon a stop is noticed while waiting.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// How a pipeline ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// Its sources have ended, or it was stopped; what was read is delivered or in the spool.
    Report(Box<Report>),
    /// It was stopped before it could run.
    NeverRan,
}

/// Stops a pipeline: what it reads from journals and queues first, and then the rest.
#[derive(Clone, Default)]
pub struct Stop {
    stop: Arc<AtomicBool>,
    is_closed: Arc<AtomicBool>,
    /// How many journals and queues are being read.
    reading: Arc<AtomicUsize>,
}

impl Stop {
    /// Says that nothing more comes: journals, and objects that were begun, are read to their ends.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Whether something in a journal, or of an object, may not have been read yet.
    pub fn is_reading(&self) -> bool {
        self.reading.load(Ordering::Acquire) > 0
    }

    /// Ends the pipeline: what was read is delivered.
    pub fn now(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The journal as a source.
    fn journal(&self, journal: &Journal, config: &Config) -> JournalSource {
        let follow = Follow::of_journal(journal.folder(), config.treatment_id(), Arc::clone(&self.is_closed));
        JournalSource { follow, _reading: self.reading() }
    }

    fn reading(&self) -> Reading {
        self.reading.fetch_add(1, Ordering::AcqRel);
        Reading(Arc::clone(&self.reading))
    }
}

/// Counts down when it is dropped.
struct Reading(Arc<AtomicUsize>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct JournalSource {
    follow: Follow,
    _reading: Reading,
}

impl Source for JournalSource {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        let JournalSource { follow, _reading } = *self;
        Box::new(follow).read(feed)
    }
}

/// Runs the pipeline until its sources end, which only standard input does, or it is stopped. What
/// it does can be seen through `watch`.
pub fn keep_up(pipeline: &PipelineConfig, journals: Vec<Arc<Journal>>, watch: &Watch, stop: &Stop) -> Ended {
    let has_ended = AtomicBool::new(false);
    let (journals, signal) = (journals.as_slice(), stop);
    let stop = &stop.stop;
    thread::scope(|scope| {
        if let (Some(stream), Some(spool)) = (pipeline.config.target().stream(), pipeline.config.spool()) {
            let has_ended = &has_ended;
            scope.spawn(move || empty_spool(pipeline, watch, stream, spool, stop, has_ended));
        }
        let ended = run_again_and_again(pipeline, journals, watch, signal);
        watch.set(State::Ended);
        has_ended.store(true, Ordering::Relaxed);
        ended
    })
}

fn run_again_and_again(pipeline: &PipelineConfig, journals: &[Arc<Journal>], watch: &Watch, signal: &Stop) -> Ended {
    let stop = &signal.stop;
    let name = &pipeline.name;
    let mut wait = FIRST_WAIT;
    let mut last = Ended::NeverRan;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match run(pipeline, journals, watch, signal) {
            Ok(report) => {
                let is_done = report.errors.is_empty() || stop.load(Ordering::Relaxed);
                for error in &report.errors {
                    tracing::error!("pipeline {name}: {error}");
                }
                for Unfinished { origin, position, .. } in &report.unfinished {
                    let (line, byte) = (position.lines + 1, position.offset);
                    tracing::warn!("pipeline {name}: {}: delivered up to byte {byte} (line {line})", origin.name);
                }
                let reasons: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
                last = Ended::Report(Box::new(report));
                if is_done {
                    break;
                }
                watch.set(State::Failed(reasons.join("; ")));
            }
            Err(message) => {
                tracing::error!("pipeline {name}: {message}");
                watch.set(State::Failed(message));
            }
        }
        if begun.elapsed() >= GOOD_RUN {
            wait = FIRST_WAIT;
        }
        tracing::warn!("pipeline {name}: begins again in {} s", wait.as_secs());
        pause(wait, &[stop]);
        wait = (2 * wait).min(MAX_WAIT);
    }
    last
}

/// One run, from opening the sink on.
fn run(pipeline: &PipelineConfig, journals: &[Arc<Journal>], watch: &Watch, signal: &Stop) -> Result<Report, String> {
    let (config, stop) = (&pipeline.config, &signal.stop);
    let checkpoint = config.checkpoint().map(open_checkpoint).transpose()?.map(Arc::new);
    let mut sink = sink::open(config, false, Arc::clone(&watch.progress), Arc::clone(stop), checkpoint.as_ref())
        .map_err(|error| error.to_string())?;
    let open = |queue| QueueSource::open(queue, config.connection(), Arc::clone(&watch.queue));
    let queues: Result<Vec<_>, _> = pipeline.queues().map(open).collect();
    let queues = queues.map_err(|error| error.to_string())?;
    let mut run =
        Run::new(config).stop(Arc::clone(stop)).checkpoint(checkpoint.as_deref()).progress(Arc::clone(&watch.progress));
    if let Some(report) = &watch.report {
        run = run.observer(Arc::clone(report) as _);
    }
    for source in &pipeline.sources {
        run = match source {
            SourceConfig::Stdin => run.source(Files::new([Input::Stdin])),
            SourceConfig::Follow { files, start } => {
                run.source(Follow::new(files.as_slice(), *start).map_err(|error| error.to_string())?)
            }
            // Through the journals and queues, below.
            SourceConfig::Listen(_) | SourceConfig::Journal { .. } | SourceConfig::Queue(_) => run,
        };
    }
    for queue in &queues {
        run = run.source(queue.source(Arc::clone(&signal.is_closed), signal.reading()));
    }
    for journal in journals {
        run = run.source(signal.journal(journal, config));
    }
    let quarantine = sink::open_quarantine(config, Arc::clone(stop));
    let mut quarantine = quarantine.map_err(|error| format!("quarantine: {error}"))?;
    watch.starts.add(1);
    watch.set(State::Running);
    let report = thread::scope(|scope| {
        // Dropped when the run has ended.
        let (_running, ended) = mpsc::channel();
        if let (Some(checkpoint), [_, ..]) = (&checkpoint, journals) {
            scope.spawn(move || release(&pipeline.name, journals, checkpoint, ended));
        }
        run.to(&mut *sink, &mut quarantine)
    });
    queues.into_iter().for_each(QueueSource::settle);
    Ok(report)
}

/// Opens the checkpoint. Its folder is made, as those of a spool and a journal are: a sidecar is
/// often the first to write there.
fn open_checkpoint(path: &Path) -> Result<Checkpoint, String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Checkpoint::open(path).map_err(|error| error.to_string())
}

/// Removes what is delivered from the journals, until the run has ended, and once more then.
fn release(reader: &str, journals: &[Arc<Journal>], checkpoint: &Checkpoint, ended: mpsc::Receiver<()>) {
    let mut is_running = true;
    while is_running {
        is_running = ended.recv_timeout(RELEASE_INTERVAL) == Err(RecvTimeoutError::Timeout);
        for journal in journals {
            if let Err(error) = journal.release(reader, checkpoint) {
                tracing::warn!("the journal {}: {error}; trying again", journal.folder().display());
            }
        }
    }
}

/// Sends what is in the spool whenever there is something, until the pipeline has ended.
fn empty_spool(
    pipeline: &PipelineConfig,
    watch: &Watch,
    stream: &Stream,
    spool: &SpoolConfig,
    stop: &Arc<AtomicBool>,
    has_ended: &AtomicBool,
) {
    let name = &pipeline.name;
    let mut wait = SPOOL_INTERVAL;
    // What stays for good is said once.
    let mut stuck = 0;
    while !has_ended.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
        let found = spool::batches(&spool.folder).map_or(0, |batches| batches.len());
        wait = if found <= stuck {
            SPOOL_INTERVAL
        } else {
            match send(pipeline, watch, stream, spool, stop) {
                Ok(drained) => {
                    let staying = drained.damaged.iter().chain(&drained.refused);
                    staying.for_each(|error| tracing::error!("pipeline {name}: {error}"));
                    stuck = drained.damaged.len() + drained.refused.len();
                    tracing::info!("pipeline {name}: {} of {found} batches of the spool delivered", drained.removed);
                    if drained.error.is_some() { (2 * wait).min(MAX_WAIT) } else { SPOOL_INTERVAL }
                }
                // The pipeline itself says what is wrong with the stream.
                Err(message) => {
                    tracing::info!("pipeline {name}: the spool waits: {message}");
                    (2 * wait).min(MAX_WAIT)
                }
            }
        };
        pause(wait, &[stop, has_ended]);
    }
}

fn send(
    pipeline: &PipelineConfig,
    watch: &Watch,
    stream: &Stream,
    spool: &SpoolConfig,
    stop: &Arc<AtomicBool>,
) -> Result<Drained, String> {
    let config = &pipeline.config;
    let batches = spool::batches(&spool.folder).map_err(|error| error.to_string())?;
    // What cannot be read is told when its turn comes.
    let outlines: Vec<Outline> = batches.iter().filter_map(|path| spool::outline(path).ok()).collect();
    let opened = drain::open(stream, config, &outlines, &watch.progress, stop);
    let mut drain = opened.map_err(|error| error.to_string())?;
    let drained = drain.run(&spool.folder);
    watch.spool_shipped(&drain.sink.delivered());
    drained.map_err(|error| error.to_string())
}

/// Waits, or until one of these is set.
fn pause(time: Duration, until: &[&AtomicBool]) {
    let begun = Instant::now();
    while begun.elapsed() < time && !until.iter().any(|flag| flag.load(Ordering::Relaxed)) {
        thread::sleep(STOP_INTERVAL.min(time - begun.elapsed().min(time)));
    }
}
