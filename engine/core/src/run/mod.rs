//! Reader, pool, packer and writer over bounded channels: the whole way of the data.
//!
//! ```text
//! reader ──► pool: scan, check, encode ──► packer ──► pool: frame, hash, compress ──► writer
//! ```
//! Order is kept without a lock. Whoever hands a job to the pool puts the receiving end of its
//! result into the next bounded channel; the next stage takes results in the order of the jobs and
//! waits for one that is not ready. The lengths of the channels bound what is in flight, and with
//! it memory, whatever the size of the input: `2 + threads` blocks of 1 MiB before the packer,
//! `1 + threads` groups of records after it. A group has one to a few MiB of lines; when lines are
//! compressed into full-size records, up to 16 MiB, but no more than 32 MiB in all groups together.
//! Files that are decompressed ahead share 128 MiB.

mod packer;
mod reader;
mod report;
#[cfg(test)]
mod tests;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, bounded, select};
use rayon::{ThreadPool, ThreadPoolBuilder};

use reader::{ToPacker, ToPool};
pub use report::{BadLines, Error, Report, SourceCounts, Summary, Unfinished};

use crate::ack::Acknowledgements;
use crate::block::BufferPool;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Config, QueryEncodingKind};
use crate::encode::Rules;
use crate::observe::Observe;
use crate::progress::Progress;
use crate::quarantine::Quarantine;
use crate::sink::Sink;
use crate::source::{Closed, Feed, Feeds, Origins, QueryEncodingDetector, Source};
use pixel_engine_log::encode::Encoding;

/// A run: sources, what becomes of their lines, and what looks on.
pub struct Run<'run> {
    config: &'run Config,
    sources: Vec<Box<dyn Source + 'run>>,
    observers: Vec<Arc<dyn Observe>>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    checkpoint: Option<&'run Checkpoint>,
}

impl<'run> Run<'run> {
    /// A run of that configuration, and no source yet.
    pub fn new(config: &'run Config) -> Run<'run> {
        Run {
            config,
            sources: Vec::new(),
            observers: Vec::new(),
            progress: Arc::default(),
            stop: Arc::default(),
            checkpoint: None,
        }
    }

    /// Reads from this source, at the same time as from the others.
    pub fn source(mut self, source: impl Source + 'run) -> Run<'run> {
        self.sources.push(Box::new(source));
        self
    }

    /// Shows the lines that are shipped to this one as well.
    pub fn observer(mut self, observer: Arc<dyn Observe>) -> Run<'run> {
        self.observers.push(observer);
        self
    }

    /// Counts for others to look at while the run goes on.
    pub fn progress(self, progress: Arc<Progress>) -> Run<'run> {
        Run { progress, ..self }
    }

    /// Ends the run early once the flag is set: what was read is delivered.
    pub fn stop(self, stop: Arc<AtomicBool>) -> Run<'run> {
        Run { stop, ..self }
    }

    /// Files go on where the checkpoint says, and it follows what is acknowledged: at once, but
    /// with a pause after each save, and once more at the end.
    pub fn checkpoint(self, checkpoint: Option<&'run Checkpoint>) -> Run<'run> {
        Run { checkpoint, ..self }
    }

    /// Reads every source to its end, or until the run is stopped, and delivers the lines to
    /// `sink`.
    ///
    /// Errors of an input are collected while the others go on; an error of the sink or the
    /// quarantine ends the run. The report always has the numbers of what was done.
    pub fn to(self, sink: &mut dyn Sink, quarantine: &mut Quarantine) -> Report {
        let begun = Instant::now();
        let Run { config, sources, observers, progress, stop, checkpoint } = self;
        let linger = config.linger().limit(sources.iter().any(|source| source.may_pause()));
        let threads = config.threads().get();
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|number| format!("pool-{number}")).build();
        let pool = match pool {
            Ok(pool) => pool,
            Err(error) => return Report::failed(Error::Threads { threads, reason: error.to_string() }),
        };
        let blocks_in_flight = 2 + threads;
        let (to_packer, from_sources) = bounded(blocks_in_flight);
        let (to_writer, from_packer) = bounded(groups_in_flight(threads));
        // Lines that do not stay as they came take a buffer of their own.
        let is_raw = *config.encoding() == Encoding::Raw;
        let buffers = BufferPool::new(if is_raw { blocks_in_flight } else { 2 * blocks_in_flight });
        let acknowledgements = Acknowledgements::default();
        let closed = AtomicBool::new(false);

        let packer = packer::Packer::new(config, linger, sink, &pool, to_writer, &progress, acknowledgements.clone());
        let writer = writer::Writer::new(sink, quarantine, linger, &progress);
        let (format, standard_schema) = (config.format(), config.standard_schema().cloned());
        let output = ToPool {
            rules: Arc::new(Rules::new(config, observers, buffers.clone())),
            pool: &pool,
            output: to_packer,
            closed: &closed,
        };
        let (all, of_sources) = (acknowledgements.clone(), Arc::clone(&progress));
        let read = move || {
            let feeds = Feeds {
                format,
                standard_schema,
                query_encoding: config.query_encoding().known(),
                query_encodings: QueryEncodingDetector::new(config.schemas().clone()),
                buffers,
                acknowledgements: all,
                checkpoint,
                progress: of_sources,
                stop,
                hold: linger.map(hold),
                threads,
                output: &output,
                origins: Origins::default(),
            };
            thread::scope(|scope| {
                for (number, source) in sources.into_iter().enumerate() {
                    let feed = Feed::new(&feeds, number);
                    // What closed the run is in its report.
                    scope.spawn(move || source.read(feed));
                }
            });
            (feeds.origins.left(), feeds.query_encodings.decided())
        };

        let ((left, query_encodings), packed, written, saved) = thread::scope(|scope| {
            // Dropped at the end, or when a stage panics.
            let (running, ended) = bounded(0);
            let saver = checkpoint.map(|checkpoint| {
                let acknowledgements = &acknowledgements;
                scope.spawn(move || save_until(&ended, checkpoint, acknowledgements))
            });
            let reader = scope.spawn(read);
            let writer = scope.spawn(|| {
                let written = writer.write(from_packer);
                // The packer would notice with the next record only.
                closed.store(true, Ordering::Release);
                written
            });
            let incoming = Incoming { items: from_sources, closed: &closed };
            let packed = packer.pack(&incoming.items);
            drop(incoming);
            let (read, written) = (join(reader), join(writer));
            drop(running);
            (read, packed, written, saver.map_or(Ok(()), join))
        });
        let mut report = Report::new(packed, written, saved, left, &acknowledgements, begun.elapsed(), threads);
        progress.run_ended(report.summary.lines_undelivered);
        if config.query_encoding() == QueryEncodingKind::Auto {
            report.summary.query_encoding = Some(query_encodings);
        }
        report
    }
}

/// What sources have sent. When the packer has ended, or panics, they are told, and what is still
/// on the way is let go of at once rather than with the last of the sources: one of them may be
/// waiting for what becomes of its lines.
struct Incoming<'run> {
    items: Receiver<ToPacker>,
    closed: &'run AtomicBool,
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.items.iter().for_each(drop);
    }
}

/// How long lines may wait in a source before they are handed over: a part of the linger, most of
/// which is for records.
fn hold(linger: Duration) -> Duration {
    linger / 8
}

/// What is left at least between two saves of the checkpoint.
const MIN_SAVE_INTERVAL: Duration = Duration::from_millis(20);
/// Saving takes at most one part in so many, and one, of the time: on a busy disk it must not hold
/// up what it is about.
const SAVE_SHARE: u32 = 4;
/// After a save that failed, when it is tried again though nothing new may have been acknowledged.
const SAVE_RETRY: Duration = Duration::from_millis(200);

/// Saves the checkpoint as soon as something is acknowledged, until the run has ended, and then a
/// last time. What is acknowledged while a save is made, or just after it, comes twice after a
/// crash. A disk that is full in between does not end the run: only how the last time went counts.
fn save_until(
    ended: &Receiver<Infallible>,
    checkpoint: &Checkpoint,
    acknowledgements: &Acknowledgements,
) -> Result<(), CheckpointError> {
    let mut is_running = true;
    while is_running {
        is_running = select! {
            recv(acknowledgements.changes()) -> _ => true,
            recv(ended) -> _ => false,
        };
        while is_running {
            let begun = Instant::now();
            let is_saved = checkpoint.save(acknowledgements).is_ok();
            let pause = (SAVE_SHARE * begun.elapsed()).max(if is_saved { MIN_SAVE_INTERVAL } else { SAVE_RETRY });
            is_running = ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout);
            if is_saved {
                break;
            }
        }
    }
    checkpoint.save(acknowledgements)
}

/// Bytes of lines that are being gathered for records, waiting to be compressed, or being
/// compressed.
const LINES_MEMORY: usize = 32 << 20;

/// Groups of records that the channel to the writer holds, finished or not.
fn groups_in_flight(threads: usize) -> usize {
    1 + threads
}

impl<T> From<SendError<T>> for Closed {
    fn from(_: SendError<T>) -> Closed {
        Closed
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Hands work to the pool; the result comes out of the channel.
fn on_pool<T: Send + 'static>(pool: &ThreadPool, work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (result, pending) = bounded(1);
    pool.spawn_fifo(move || {
        // Nobody waits any more when a later stage has failed.
        let _ = result.send(work());
    });
    pending
}
