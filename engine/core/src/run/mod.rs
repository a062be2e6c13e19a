//! Reader, pool, packer and writer over bounded channels: the whole way of the data.
//!
//! ```text
//! reader ──► pool: scan, check, encode ──► packer ──► pool: frame, hash, compress ──► writer
//! ```
//! Order is kept without a lock. Whoever hands a job to the pool puts the receiving end of its result into the
//! next bounded channel; the next stage takes results in the order of the jobs and waits for one that is not
//! ready. The lengths of the channels bound what is in flight, and with it memory, whatever the size of the
//! input: `2 + threads` blocks of 1 MiB before the packer, `1 + threads` groups of records after it. A group has
//! one to a few MiB of lines; when lines are compressed into full-size records, up to 16 MiB, but no more than
//! 32 MiB in all groups together.

mod packer;
mod reader;
mod report;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use report::{Error, Report, Summary, Unfinished};

use crate::ack::Acknowledgements;
use crate::block::BufferPool;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Config, OnBadLine};
use crate::encode::Rules;
use crate::quarantine::Quarantine;
use crate::sink::Sink;
use crate::source::Input;

/// Counts that others may look at while a run is going on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read, before decompression.
    pub bytes_read: Arc<AtomicU64>,
    /// Bytes of lines, after decompression, that were encoded.
    pub bytes_in: AtomicU64,
    /// Lines that were encoded, filtered or found bad.
    pub lines_in: AtomicU64,
}

/// Reads every input to its end, or until `stop` is set, and delivers its lines to `sink`.
///
/// Errors of an input are collected while the other inputs go on; an error of the sink or the quarantine ends
/// the run. The report always has the numbers of what was done.
///
/// With a `checkpoint`, files go on where it says, and it follows what is acknowledged: a few times a second, and once
/// more at the end.
pub fn run(
    inputs: &[Input],
    config: &Config,
    sink: &mut dyn Sink,
    quarantine: &mut Quarantine,
    progress: &Progress,
    stop: &Arc<AtomicBool>,
    checkpoint: Option<&Checkpoint>,
) -> Report {
    let begun = Instant::now();
    let threads = config.threads().get();
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|number| format!("pool-{number}")).build();
    let pool = match pool {
        Ok(pool) => pool,
        Err(error) => return Report::failed(Error::Threads { threads, reason: error.to_string() }),
    };
    let blocks_in_flight = 2 + threads;
    let (to_packer, from_reader) = bounded(blocks_in_flight);
    let (to_writer, from_packer) = bounded(groups_in_flight(threads));
    let buffers = BufferPool::new(blocks_in_flight);
    let acknowledgements = Acknowledgements::default();

    let packer = packer::Packer::new(config, sink.shards(), &pool, to_writer, progress, acknowledgements.clone());
    let reader = reader::Reader {
        format: config.format(),
        standard_schema: config.standard_schema().cloned(),
        rules: Arc::new(rules(config, buffers.clone())),
        buffers,
        acknowledgements: acknowledgements.clone(),
        checkpoint,
        progress,
        stop,
        pool: &pool,
        output: to_packer,
    };
    let writer = writer::Writer::new(sink, quarantine);

    let (sources, packed, written, saved) = thread::scope(|scope| {
        // Dropped at the end, or when a stage panics.
        let (running, ended) = bounded(0);
        let saver = checkpoint.map(|checkpoint| {
            let acknowledgements = &acknowledgements;
            scope.spawn(move || save_until(&ended, checkpoint, acknowledgements))
        });
        let reader = scope.spawn(|| reader.read(inputs));
        let writer = scope.spawn(|| writer.write(from_packer));
        let packed = packer.pack(from_reader);
        let (sources, written) = (join(reader), join(writer));
        drop(running);
        (sources, packed, written, saver.map_or(Ok(()), join))
    });
    Report::new(packed, written, saved, sources, &acknowledgements, begun.elapsed(), threads)
}

/// How often a checkpoint is written while something moves: what a crash at any instant costs in duplicates.
const SAVE_EVERY: Duration = Duration::from_millis(200);

/// Saves the checkpoint until the run has ended, and then a last time. A disk that is full in between does not end
/// the run: only how the last time went counts.
fn save_until(
    ended: &Receiver<Infallible>,
    checkpoint: &Checkpoint,
    acknowledgements: &Acknowledgements,
) -> Result<(), CheckpointError> {
    loop {
        let is_last = ended.recv_timeout(SAVE_EVERY) == Err(RecvTimeoutError::Disconnected);
        let saved = checkpoint.save(acknowledgements);
        if is_last {
            return saved;
        }
    }
}

/// Bytes of lines in all the runs that are waiting to be compressed, being compressed, or being gathered.
const RUN_MEMORY: usize = 32 << 20;

/// Groups of records that the channel to the writer holds, finished or not.
fn groups_in_flight(threads: usize) -> usize {
    1 + threads
}

fn rules(config: &Config, pool: BufferPool) -> Rules {
    let container = config.container();
    Rules {
        schemas: config.schemas().clone(),
        encoding: config.encoding().clone(),
        matcher: config.matcher().clone(),
        longest_line: container.max_line_len(),
        stop_at_bad_line: config.on_bad_line() == OnBadLine::Fail,
        reorder_for: container.reorder_for(),
        partition_by: container.partition_by().cloned(),
        pool,
    }
}

/// The next stage has gone: it failed, or one after it did, and says so itself.
struct Gone;

impl<T> From<SendError<T>> for Gone {
    fn from(_: SendError<T>) -> Gone {
        Gone
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
