//! Objects that a queue tells of: the source `s3`.
//!
//! A message is received, the objects that it names are read, and it is deleted once every line of
//! them is safe. `desk` receives and answers for messages, `message` is the life of one of them,
//! `objects` reads what they name, `seen` knows what was done before, and `counts` is what others may
//! see.
//!
//! Requests to the queue are asynchronous, and wait for no sink: a message is kept from others
//! however long its lines take. Reading blocks, on threads of the run. A source outlives its run, as
//! what became of the last lines is known only when that has ended: then [`QueueSource::settle`]
//! tells the queue.

mod counts;
mod desk;
mod message;
mod objects;
mod seen;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use pixel_engine_aws as aws;
use pixel_engine_aws::s3::Buckets;
use pixel_engine_aws::sqs::Inbox;
use pixel_engine_core::config::Connection;
use pixel_engine_core::source::{Closed, Feed, Source};
use tokio::runtime::Runtime;

use crate::config::QueueConfig;
use desk::Desk;
use objects::Job;

pub use counts::QueueCounts;

/// How soon a stop is noticed.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// A queue that was found, for one run.
pub struct QueueSource {
    readers: usize,
    desk: Arc<Desk>,
    buckets: Buckets,
    jobs: Receiver<Job>,
    /// Its tasks hold the desk, and so must not hold the last of this.
    runtime: Arc<Runtime>,
}

impl QueueSource {
    /// Finds the queue, by the connection of its pipeline. Nothing is taken from it yet.
    ///
    /// # Errors
    /// There is no way to it, or nobody who may ask.
    pub fn open(
        config: &QueueConfig,
        pipeline: &Connection,
        counts: Arc<QueueCounts>,
    ) -> Result<QueueSource, aws::Error> {
        let inbox = Inbox::open(&config.url, &config.connection(pipeline))?;
        let Inbox { queue, attributes, buckets, runtime } = inbox;
        let (sender, jobs) = unbounded();
        let desk = {
            let _runtime = runtime.enter();
            Arc::new(Desk::new(queue, &attributes, config, counts, sender))
        };
        Ok(QueueSource { readers: config.objects, desk, buckets, jobs, runtime })
    }

    /// What reads the objects in a run, and ends once `is_closed`: what was begun is read to its end
    /// then. `reading` is dropped when that is done.
    pub fn source(&self, is_closed: Arc<AtomicBool>, reading: impl Send) -> impl Source {
        Objects { queue: self, is_closed, _reading: reading }
    }

    /// Once the run has ended: deletes the messages whose lines are safe, and makes the others
    /// visible, so that another process takes them at once.
    pub fn settle(self) {
        let QueueSource { desk, jobs, runtime, .. } = self;
        // Nobody will read what was not begun.
        drop(jobs);
        desk.settle(&runtime);
    }
}

/// The source of a run.
struct Objects<'queue, T> {
    queue: &'queue QueueSource,
    is_closed: Arc<AtomicBool>,
    _reading: T,
}

impl<T: Send> Source for Objects<'_, T> {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        let QueueSource { readers, desk, buckets, jobs, runtime } = self.queue;
        desk.open(runtime);
        let is_closed = || self.is_closed.load(Ordering::Acquire) || feed.is_stopping();
        let read = || {
            while !is_closed() {
                match jobs.recv_timeout(STOP_INTERVAL) {
                    Ok(job) => objects::read(job, feed, buckets, &desk.counts)?,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let readers: Vec<_> = (0..*readers).map(|_| scope.spawn(read)).collect();
            while !is_closed() {
                thread::sleep(STOP_INTERVAL);
            }
            desk.close();
            let joined = readers
                .into_iter()
                .map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect::<Vec<_>>().into_iter().collect()
        })
    }
}
