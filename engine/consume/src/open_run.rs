//! A run that takes batches until it is closed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pixel_engine_core::config::Config;
use pixel_engine_core::progress::Progress;
use pixel_engine_core::quarantine::Quarantine;
use pixel_engine_core::run::{Report, Run};
use pixel_engine_core::sink::Sink;
use pixel_engine_core::source::{Closed, Completion, Feed, Outcome, Source};
use pixel_engine_serve::sink::{self, OpenError};
use tokio::sync::oneshot;

use crate::batch::{Batch, Part, Place};

/// How soon a stop is noticed while there is nothing to take.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// A run that takes batches until it is closed. What becomes of each is told once it is known.
///
/// Records are filled across batches: whoever has no more to give and does not want to wait says
/// [`OpenRun::flush`].
///
/// ```
/// use pixel_engine_consume::batch::Batch;
/// use pixel_engine_consume::open_run::{Fate, OpenRun};
/// use pixel_engine_core::config::Settings;
/// use pixel_engine_core::source::Format;
///
/// let config = Settings { to: Some("null:".to_owned()), ..Settings::default() }.validate()?;
/// let run = OpenRun::start(config, Default::default())?;
/// let mut batch = Batch::new(Format::Auto);
/// batch.add(b"1.5\t203.0.113.9\tcurl/8.0\te=a");
/// let taken = run.take("a batch".to_owned(), batch).wait()?;
/// run.flush();
/// assert_eq!(taken.wait(), Fate::Safe);
/// assert_eq!(run.close().summary.lines_shipped, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OpenRun {
    messages: Sender<Message>,
    stop: Arc<AtomicBool>,
    run: JoinHandle<Report>,
}

enum Message {
    Batch { name: String, batch: Batch, taken: oneshot::Sender<Taken> },
    Flush,
}

impl OpenRun {
    /// A run to where the configuration says, whose lines and requests are counted in `progress`.
    ///
    /// # Errors
    /// The target or the quarantine cannot be used.
    ///
    /// # Panics
    /// The system has no thread to give.
    pub fn start(config: Config, progress: Arc<Progress>) -> Result<OpenRun, OpenError> {
        let stop = Arc::<AtomicBool>::default();
        let sink = sink::open(&config, false, Arc::clone(&progress), Arc::clone(&stop), None)?;
        let quarantine = sink::open_quarantine(&config, Arc::clone(&stop))?;
        Ok(OpenRun::into(config, sink, quarantine, progress, stop))
    }

    /// A run into that sink, which may have been told of the flag that stops it.
    ///
    /// # Panics
    /// The system has no thread to give.
    pub fn into(
        config: Config,
        mut sink: Box<dyn Sink>,
        mut quarantine: Quarantine,
        progress: Arc<Progress>,
        stop: Arc<AtomicBool>,
    ) -> OpenRun {
        let (messages, queue) = unbounded();
        let (stopped, counts) = (Arc::clone(&stop), Arc::clone(&progress));
        let run = thread::spawn(move || {
            let run = Run::new(&config).source(Queue(queue)).progress(counts).stop(stopped);
            run.to(&mut *sink, &mut quarantine)
        });
        OpenRun { messages, stop, run }
    }

    /// Hands over a batch; `name` is what messages call it. The answer comes when the run has all
    /// of it, for which it may have to wait until there is room.
    pub fn take(&self, name: String, batch: Batch) -> Taking {
        let (taken, taking) = oneshot::channel();
        // The run that has ended drops the other end of the answer.
        let _ = self.messages.send(Message::Batch { name, batch, taken });
        Taking(taking)
    }

    /// Sends what was handed over without waiting until records and requests are full.
    pub fn flush(&self) {
        // Nothing waits in a run that has ended.
        let _ = self.messages.send(Message::Flush);
    }

    /// Whether it takes more; otherwise [`OpenRun::close`] says why not.
    pub fn is_running(&self) -> bool {
        !self.run.is_finished()
    }

    /// Ends the run early: a delivery goes on only for its
    /// [grace](pixel_engine_core::config::DeliveryConfig::grace).
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Delivers what was handed over, and says how it went.
    ///
    /// # Panics
    /// When the run has.
    pub fn close(self) -> Report {
        drop(self.messages);
        self.run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The run is taking a batch. It can be awaited, on any runtime, or waited for.
#[derive(Debug)]
pub struct Taking(oneshot::Receiver<Taken>);

impl Taking {
    /// Waits until the run has all of it.
    ///
    /// # Errors
    /// The run has ended.
    ///
    /// # Panics
    /// On a thread that drives a tokio runtime: await it there.
    pub fn wait(self) -> Result<Taken, Closed> {
        self.0.blocking_recv().map_err(|_| Closed)
    }
}

impl Future for Taking {
    type Output = Result<Taken, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Taken, Closed>> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Closed)
    }
}

/// A batch that the run has; what becomes of it is told by [`Fate`].
#[derive(Debug)]
pub struct Taken {
    /// The parts whose fate is not known, and their bytes.
    pending: VecDeque<(Completion, u64)>,
    /// The number of the first of these.
    part: usize,
    /// That of the parts before.
    fate: Fate,
}

/// What became of a batch. Filtered lines, and bad ones that the quarantine has, are safe as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of it is safe.
    Safe,
    /// Some of it is not, and never will be.
    Failed {
        /// Everything before this is safe.
        gap: Place,
        /// Bytes of the lines behind it that are safe too: they come twice if all is taken again
        /// from the gap.
        bytes_ahead: u64,
    },
}

impl Taken {
    /// Waits until its fate is known. It may be kept waiting by lines that wait for a record to be
    /// full: see [`OpenRun::flush`].
    ///
    /// # Panics
    /// On a thread that drives a tokio runtime: await [`Taken::fate`] there.
    pub fn wait(mut self) -> Fate {
        while let Some((completion, len)) = self.pending.pop_front() {
            self.note(completion.wait(), len);
        }
        self.fate
    }

    /// As [`Taken::wait`], on any runtime.
    pub async fn fate(mut self) -> Fate {
        while let Some((completion, len)) = self.pending.pop_front() {
            self.note(completion.await, len);
        }
        self.fate
    }

    /// Its fate, if that is known already.
    pub fn try_fate(&mut self) -> Option<Fate> {
        while let Some((completion, len)) = self.pending.front_mut() {
            let (outcome, len) = (completion.try_outcome()?, *len);
            self.pending.pop_front();
            self.note(outcome, len);
        }
        Some(self.fate)
    }

    /// What became of the next part, which has that many bytes.
    fn note(&mut self, outcome: Outcome, len: u64) {
        let part = self.part;
        self.part += 1;
        match (&mut self.fate, outcome) {
            (Fate::Safe, Outcome::Failed(acknowledged)) => {
                let offset = acknowledged.gap();
                let bytes_ahead = acknowledged.position.offset + acknowledged.bytes_ahead() - offset;
                self.fate = Fate::Failed { gap: Place { part, offset }, bytes_ahead };
            }
            (Fate::Safe, _) => {}
            (Fate::Failed { bytes_ahead, .. }, Outcome::Failed(acknowledged)) => {
                *bytes_ahead += acknowledged.position.offset + acknowledged.bytes_ahead();
            }
            (Fate::Failed { bytes_ahead, .. }, _) => *bytes_ahead += len,
        }
    }
}

/// Takes batches from whoever holds the [`OpenRun`].
struct Queue(Receiver<Message>);

impl Source for Queue {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        loop {
            match self.0.recv_timeout(STOP_INTERVAL) {
                Ok(Message::Batch { name, batch, taken }) => {
                    let completions = batch.into_parts().into_iter().map(|part| {
                        let len = part.len();
                        hand_over(feed, &name, part).map(|completion| (completion, len))
                    });
                    let completions = completions.collect::<Result<_, _>>()?;
                    // Nobody has to wait.
                    let _ = taken.send(Taken { pending: completions, part: 0, fate: Fate::Safe });
                }
                Ok(Message::Flush) => feed.flush()?,
                Err(RecvTimeoutError::Timeout) if !feed.is_stopping() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

fn hand_over(feed: Feed<'_>, name: &str, part: Part) -> Result<Completion, Closed> {
    match part {
        Part::Lines(text) => {
            let mut inlet = feed.open(name);
            inlet.push_lines(text.kind.format(), text.lines)?;
            inlet.end()
        }
        Part::Unreadable { data, why } => feed.unreadable(name, &data, &why),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;

    use pixel_engine_core::config::Settings;
    use pixel_engine_core::sink::SinkError;
    use pixel_engine_core::source::Format;

    use super::*;
    use crate::each::Each;

    /// A run into a sink that fails after so many records, which are of 1,024 B, as soon as nobody holds
    /// the sender of `held`.
    fn run(records: u64, held: Receiver<()>, quarantine: Quarantine) -> OpenRun {
        let settings = Settings {
            to: Some("null:".to_owned()),
            record_size: Some(1_024),
            linger: Some(pixel_engine_core::config::Linger::Never),
            ..Settings::default()
        };
        let mut left = records;
        let sink = Box::new(Each::new(move |record| {
            if let Some(fewer) = left.checked_sub(1) {
                left = fewer;
                return Ok(Some(record));
            }
            // Nothing is ever sent: this returns when the sender is dropped.
            let _ = held.recv();
            Err(SinkError::io("memory", ErrorKind::StorageFull.into()))
        }));
        OpenRun::into(settings.validate().unwrap(), sink, quarantine, Arc::default(), Arc::default())
    }

    /// A batch of so many records of 100 bytes.
    fn batch(records: usize) -> Batch {
        let mut batch = Batch::new(Format::Auto);
        for number in 0..records {
            batch.add(format!("1767600000.{number:03}\t203.0.113.9\tcurl/8.0\t{number:063}\n").as_bytes());
        }
        batch
    }

    #[test]
    fn a_batch_that_waits_for_its_record_to_be_full_is_safe_after_a_flush() {
        let run = run(u64::MAX, unbounded().1, Quarantine::new("/dev/null"));
        let mut first = run.take("first".to_owned(), batch(3)).wait().unwrap();
        let second = run.take("second".to_owned(), batch(2)).wait().unwrap();
        assert_eq!(first.try_fate(), None);
        run.flush();
        assert_eq!((second.wait(), first.wait()), (Fate::Safe, Fate::Safe));
        let report = run.close();
        assert_eq!((report.summary.lines_shipped, report.summary.records), (5, 1), "filled across batches");
    }

    #[test]
    fn a_batch_that_fails_tells_where_and_the_next_one_finds_the_run_closed() {
        let (hold, held) = unbounded();
        let run = run(2, held, Quarantine::new("/dev/null"));
        let lines = batch(100);
        let len = lines.end().offset;
        let Ok(taken) = run.take("lines".to_owned(), lines).wait() else { panic!("there is room for it") };
        drop(hold);
        run.flush();
        let Fate::Failed { gap, bytes_ahead } = taken.wait() else { panic!("two records are not all of it") };
        // Two records of 10 lines.
        assert_eq!((gap, bytes_ahead), (Place { part: 0, offset: len / 5 }, 0));
        while run.is_running() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(run.take("more".to_owned(), batch(1)).wait().is_err());
        assert_eq!(run.close().errors[0].to_string(), "memory: no storage space");
    }

    #[test]
    fn what_has_no_lines_is_kept_as_one_beside_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.jsonl");
        let run = run(u64::MAX, unbounded().1, Quarantine::new(&path));
        let mut batch = batch(2);
        let damaged = [&pixel_engine_kpl::MAGIC[..], b"1\t2\t3\t4\n5\t6\t7\t8\n"].concat();
        batch.add(&damaged);
        batch.add(b"1\t2\t3\t4");
        let taken = run.take("lines".to_owned(), batch).wait().unwrap();
        run.flush();
        assert_eq!(taken.wait(), Fate::Safe);
        let summary = run.close().summary;
        assert_eq!((summary.lines_in, summary.lines_shipped, summary.lines_quarantined), (4, 3, 1));
        let entry: serde_json::Value = serde_json::from_str(fs::read_to_string(path).unwrap().trim_end()).unwrap();
        let reason = entry["reason"].as_str().unwrap();
        assert!(reason.starts_with("no lines can be read: a damaged aggregate: "), "{reason}");
        let data = base64_simd::STANDARD.decode_to_vec(entry["line_base64"].as_str().unwrap()).unwrap();
        assert!(data == damaged, "to the byte");
    }
}
