//! What the child does about each message.
//!
//! A batch of records goes into the run at once, and the daemon is told so: it may send the next
//! one while the lines of this one wait for their record to be full. The checkpoint follows what
//! the sink has acknowledged, in the order of the batches, whenever the daemon would take one.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use pixel_engine_core::run::Report;
use pixel_engine_core::source::Format;

use super::messages::{Message, MessageError, MessageReader, Record, ShutdownReason, write_checkpoint, write_status};
use crate::batch::Batch;
use crate::open_run::{Fate, OpenRun, Taken};

/// How patient a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The least time between two checkpoints of a shard that goes on. Each is a write to the lease
    /// table, and what is delivered after the last one comes again when the shard changes hands
    /// without notice.
    pub checkpoint_interval: Duration,
    /// How long a shard that is to be handed over may wait for what is on its way. The KCL moves it
    /// after `gracefulLeaseHandoffTimeoutMillis`, 30 s by default, and the rest is delivered twice.
    pub hand_off: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { checkpoint_interval: Duration::from_secs(10), hand_off: Duration::from_secs(20) }
    }
}

/// How a child ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended {
    /// The shard; `None` if the daemon never named one.
    pub shard: Option<String>,
    /// Records that were handed over and not acknowledged. No checkpoint covers them: whoever has
    /// the shard next is sent them again.
    pub records_left: usize,
    /// What the run did; `None` when it was left in the middle, because another worker has the
    /// shard or the daemon has gone.
    pub report: Option<Report>,
    /// What went wrong; the errors of the run are in its report.
    pub error: Option<ChildError>,
}

/// Why a child cannot go on. It says nothing more to the daemon, which ends itself and all its
/// children when one of them exits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// Standard input cannot be read.
    #[error("reading from the daemon: {0}")]
    Read(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("writing to the daemon: {0}")]
    Write(#[source] io::Error),
    /// A line of the daemon's is none of its messages.
    #[error("message {number} of the daemon: {error}")]
    Message {
        /// Which one, from 1.
        number: u64,
        /// What is wrong with it.
        #[source]
        error: MessageError,
    },
    /// A message that has no place here.
    #[error("message {number} of the daemon: {action} {when}")]
    OutOfTurn {
        /// Which one, from 1.
        number: u64,
        /// The message.
        action: &'static str,
        /// Why it has no place.
        when: &'static str,
    },
    /// Lines are not delivered, and will not be.
    #[error("not everything up to sequence number {0} can be delivered; no checkpoint covers it")]
    Undelivered(String),
    /// The daemon refuses a checkpoint, and would again.
    #[error("the checkpoint at {at} was refused with {error}: {advice}")]
    Checkpoint {
        /// The sequence number, or `SHARD_END`.
        at: String,
        /// The name of the Java exception.
        error: String,
        /// What it means.
        advice: &'static str,
    },
}

/// Handles what the daemon sends until it sends no more, and delivers through `run`. `format` is
/// that of the lines in the records.
///
/// A run that nothing is to come of any more, as another worker has the shard or the daemon has
/// gone, is left as it is: it ends with the program.
pub fn run_child(
    input: impl BufRead + Send + 'static,
    output: impl Write,
    run: OpenRun,
    format: Format,
    patience: Patience,
) -> Ended {
    let gone = Arc::<AtomicBool>::default();
    let (lines, spare) = read_lines(input, Arc::clone(&gone));
    let mut child = Child {
        lines,
        spare,
        output,
        gone,
        format,
        patience,
        messages: 0,
        shard: None,
        run: Some(run),
        closing: None,
        pending: VecDeque::new(),
        acknowledged: None,
        checkpointed: Instant::now(),
        is_lost: false,
    };
    let error = match child.handle_all() {
        Ok(()) | Err(Break::DaemonGone) => None,
        Err(Break::Failed(error)) => Some(error),
    };
    let records_left = child.pending.iter().map(|batch| batch.records).sum();
    let is_failed = matches!(error, Some(ChildError::Undelivered(_)));
    let report = child.report(is_failed || records_left == 0);
    Ended { shard: child.shard, records_left, report, error }
}

/// Reads lines on a thread of its own: that is how the end of the daemon is noticed while a batch
/// waits for a service. What was in a line goes back through the second channel, for its memory.
fn read_lines(
    mut input: impl BufRead + Send + 'static,
    gone: Arc<AtomicBool>,
) -> (Receiver<io::Result<Vec<u8>>>, Sender<Vec<u8>>) {
    let (to_child, lines) = bounded(1);
    let (spare, used) = bounded::<Vec<u8>>(2);
    thread::spawn(move || {
        loop {
            let mut line = used.try_recv().unwrap_or_default();
            line.clear();
            let read = input.read_until(b'\n', &mut line);
            let is_last = !matches!(read, Ok(1..));
            if is_last {
                gone.store(true, Ordering::Relaxed);
            }
            if matches!(read, Ok(0)) || to_child.send(read.map(|_| line)).is_err() || is_last {
                return;
            }
        }
    });
    (lines, spare)
}

/// Why the loop ends early.
enum Break {
    /// It reads or writes no more. That is how the daemon ends a child, and what is left when it is
    /// killed.
    DaemonGone,
    Failed(ChildError),
}

impl From<ChildError> for Break {
    fn from(error: ChildError) -> Break {
        Break::Failed(error)
    }
}

/// The place of a user record in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    sequence_number: String,
    sub_sequence_number: u64,
}

impl From<&Record<'_>> for Place {
    fn from(record: &Record<'_>) -> Place {
        Place { sequence_number: record.sequence_number.to_owned(), sub_sequence_number: record.sub_sequence_number }
    }
}

/// A batch whose lines are on their way.
struct Pending {
    taken: Taken,
    last: Place,
    records: usize,
}

struct Child<W> {
    lines: Receiver<io::Result<Vec<u8>>>,
    spare: Sender<Vec<u8>>,
    output: W,
    /// Whether the daemon has.
    gone: Arc<AtomicBool>,
    format: Format,
    patience: Patience,
    /// How many have come.
    messages: u64,
    shard: Option<String>,
    /// Until the shard ends or is handed over.
    run: Option<OpenRun>,
    /// From then on.
    closing: Option<JoinHandle<Report>>,
    /// In the order in which they came.
    pending: VecDeque<Pending>,
    /// What everything up to is delivered, if no checkpoint says so yet.
    acknowledged: Option<Place>,
    /// When the last checkpoint was tried.
    checkpointed: Instant,
    /// Another worker has the shard, so that no checkpoint is ours to make.
    is_lost: bool,
}

/// How long a checkpoint of a shard that goes on is tried; there will be another.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(3);
/// What is waited after the first try; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How soon it is noticed that the daemon has gone.
const GONE_INTERVAL: Duration = Duration::from_millis(50);
/// How often deliveries are looked at while nothing else can be done.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

impl<W: Write> Child<W> {
    fn handle_all(&mut self) -> Result<(), Break> {
        let mut reader = MessageReader::default();
        while let Ok(line) = self.lines.recv() {
            let mut line = line.map_err(ChildError::Read)?;
            self.messages += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let number = self.messages;
            let message = reader.read(&mut line).map_err(|error| ChildError::Message { number, error })?;
            self.handle(&message)?;
            self.written(|out| write_status(out, message.action()))?;
            // The reader may have enough of them.
            let _ = self.spare.try_send(line);
        }
        Ok(())
    }

    fn handle(&mut self, message: &Message<'_>) -> Result<(), Break> {
        if self.shard.is_none() != matches!(message, Message::Initialize { .. }) {
            let when = if self.shard.is_none() { "before initialize" } else { "a second time" };
            return Err(self.out_of_turn(message.action(), when));
        }
        match message {
            Message::Initialize { shard, from } => {
                tracing::info!("{shard}: from {}", from.unwrap_or("its checkpoint"));
                self.shard = Some((*shard).to_owned());
                Ok(())
            }
            Message::ProcessRecords(records) => self.process(records),
            Message::LeaseLost | Message::Shutdown(ShutdownReason::LeaseLost) => {
                self.is_lost = true;
                Ok(())
            }
            Message::ShardEnded | Message::Shutdown(ShutdownReason::ShardEnded) => self.end_shard(),
            Message::ShutdownRequested | Message::Shutdown(ShutdownReason::Requested) => self.hand_off(),
            Message::Checkpoint { .. } => Err(self.out_of_turn(message.action(), "without being asked")),
        }
    }

    fn out_of_turn(&self, action: &'static str, when: &'static str) -> Break {
        ChildError::OutOfTurn { number: self.messages, action, when }.into()
    }

    /// Takes the lines of a batch over, and tells how far deliveries have come.
    fn process(&mut self, records: &[Record<'_>]) -> Result<(), Break> {
        if self.is_lost {
            // Without a checkpoint they come to someone else too.
            return Ok(());
        }
        let taken = self.take(records);
        let settled = self.settle();
        let is_due = self.checkpointed.elapsed() >= self.patience.checkpoint_interval;
        // What is safe is worth a checkpoint also when the rest is not.
        if is_due || taken.is_err() || settled.is_err() {
            self.checkpoint_acknowledged(Instant::now() + CHECKPOINT_PATIENCE)?;
        }
        settled.and(taken)
    }

    fn take(&mut self, records: &[Record<'_>]) -> Result<(), Break> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let Some(run) = &self.run else {
            return Err(self.out_of_turn("processRecords", "after the shard was ended or handed over"));
        };
        let mut batch = Batch::new(self.format);
        records.iter().filter_map(|record| record.data).for_each(|data| batch.add_base64(data));
        // In the quarantine, that is the source of a bad line.
        let shard = self.shard.as_deref().unwrap_or_default();
        let taking = run.take(format!("{shard} from {}", first.sequence_number), batch);
        let last = Place::from(last);
        match self.unless_gone(taking)? {
            Ok(taken) => {
                self.pending.push_back(Pending { taken, last, records: records.len() });
                Ok(())
            }
            Err(_) => Err(ChildError::Undelivered(last.sequence_number).into()),
        }
    }

    /// Looks what was delivered meanwhile.
    fn settle(&mut self) -> Result<(), Break> {
        while let Some(batch) = self.pending.front_mut() {
            match batch.taken.try_fate() {
                None => break,
                Some(Fate::Safe) => self.acknowledged = self.pending.pop_front().map(|batch| batch.last),
                Some(Fate::Failed { .. }) => {
                    return Err(ChildError::Undelivered(batch.last.sequence_number.clone()).into());
                }
            }
        }
        Ok(())
    }

    /// Waits until everything is delivered, or until then.
    fn settle_all(&mut self, until: Option<Instant>) -> Result<(), Break> {
        loop {
            self.settle()?;
            if self.pending.is_empty() || until.is_some_and(|until| Instant::now() >= until) {
                return Ok(());
            }
            self.pause(LOOK_INTERVAL)?;
        }
    }

    /// No record comes any more: what there is goes out without waiting for records to be full.
    fn close(&mut self) {
        if let Some(run) = self.run.take() {
            self.closing = Some(thread::spawn(|| run.close()));
        }
    }

    /// Only the checkpoint at its end lets the KCL begin with the shards that come after it.
    fn end_shard(&mut self) -> Result<(), Break> {
        if self.is_lost {
            return Ok(());
        }
        self.close();
        self.settle_all(None)?;
        self.checkpoint(None, None)?;
        Ok(())
    }

    fn hand_off(&mut self) -> Result<(), Break> {
        if self.is_lost {
            return Ok(());
        }
        let until = Instant::now() + self.patience.hand_off;
        self.close();
        let settled = self.settle_all(Some(until));
        self.checkpoint_acknowledged(until)?;
        settled
    }

    fn checkpoint_acknowledged(&mut self, until: Instant) -> Result<(), Break> {
        let Some(place) = self.acknowledged.take() else { return Ok(()) };
        self.checkpointed = Instant::now();
        if !self.checkpoint(Some(&place), Some(until))? {
            // Unless something newer is acknowledged by then, it is tried again.
            self.acknowledged = Some(place);
        }
        Ok(())
    }

    /// Makes a checkpoint, at the end of the shard where no place is given. Whether it was made:
    /// the lease table may not answer in time, and the lease may be lost.
    fn checkpoint(&mut self, place: Option<&Place>, until: Option<Instant>) -> Result<bool, Break> {
        let mut pause = FIRST_PAUSE;
        while !self.is_lost {
            let at = place.map(|place| (place.sequence_number.as_str(), place.sub_sequence_number));
            self.written(|out| write_checkpoint(out, at))?;
            let Some(error) = self.answer()? else { return Ok(true) };
            let advice = match error.as_str() {
                "ThrottlingException" | "KinesisClientLibDependencyException" => {
                    if until.is_some_and(|until| Instant::now() + pause > until) {
                        tracing::warn!("a checkpoint was put off: {error}");
                        return Ok(false);
                    }
                    self.pause(pause)?;
                    pause = (2 * pause).min(MAX_PAUSE);
                    continue;
                }
                "ShutdownException" => {
                    self.is_lost = true;
                    continue;
                }
                "InvalidStateException" => "the lease table is missing, or not in a state to be written",
                "IllegalArgumentException" => {
                    "it is not between the last one and what was sent, a fault of this program"
                }
                _ => "this version does not know that error",
            };
            let at = place.map_or_else(|| "SHARD_END".to_owned(), |place| place.sequence_number.clone());
            return Err(ChildError::Checkpoint { at, error, advice }.into());
        }
        Ok(false)
    }

    /// The daemon's answer to a checkpoint, which is the next line: the name of what went wrong.
    fn answer(&mut self) -> Result<Option<String>, Break> {
        let mut line = self.lines.recv().map_err(|_| Break::DaemonGone)?.map_err(ChildError::Read)?;
        self.messages += 1;
        let number = self.messages;
        match MessageReader::default().read(&mut line).map_err(|error| ChildError::Message { number, error })? {
            Message::Checkpoint { error } => Ok(error.map(str::to_owned)),
            other => Err(self.out_of_turn(other.action(), "in place of the answer to a checkpoint")),
        }
    }

    fn written(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) -> Result<(), Break> {
        write(&mut self.output).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Break::DaemonGone,
            _ => ChildError::Write(error).into(),
        })
    }

    /// Lets time pass, unless the daemon has gone.
    fn pause(&self, time: Duration) -> Result<(), Break> {
        let until = Instant::now() + time;
        while !self.gone.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(GONE_INTERVAL));
        }
        Err(Break::DaemonGone)
    }

    /// Waits for what a service that does not answer may hold up, unless the daemon has gone.
    fn unless_gone<T>(&self, future: impl Future<Output = T>) -> Result<T, Break> {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        while !self.gone.load(Ordering::Relaxed) {
            if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(done);
            }
            thread::park_timeout(GONE_INTERVAL);
        }
        Err(Break::DaemonGone)
    }

    /// What the run did, if it is to be ended.
    fn report(&mut self, is_wanted: bool) -> Option<Report> {
        if is_wanted {
            self.close();
            let report = self.closing.take()?.join();
            Some(report.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        } else {
            // Closed, it would deliver what comes again all the same.
            std::mem::forget(self.run.take());
            None
        }
    }
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Lines, PipeReader, PipeWriter, pipe};
    use std::sync::Mutex;

    use base64_simd::STANDARD;
    use pixel_engine_core::config::{Linger, Settings};
    use pixel_engine_core::quarantine::Quarantine;
    use pixel_engine_core::record::{Delivered, Receipt};
    use pixel_engine_core::sink::Sink;
    use serde_json::{Value, json};

    use super::*;
    use crate::each::Each;

    /// Holds records until the test lets them arrive.
    #[derive(Default)]
    struct Held(Arc<Mutex<Vec<Option<Receipt>>>>);

    impl Held {
        fn sink(&self) -> impl Sink + 'static {
            let held = Arc::clone(&self.0);
            Each::new(move |record| {
                held.lock().unwrap().push(Some(record.into_receipt()));
                Ok(None)
            })
        }

        fn wait_for(&self, records: usize) {
            while self.0.lock().unwrap().len() < records {
                thread::sleep(Duration::from_millis(1));
            }
        }

        fn let_go(&self, record: usize) {
            let receipt = self.0.lock().unwrap()[record].take().unwrap();
            Delivered::default().settle(receipt);
        }
    }

    struct Daemon {
        to: PipeWriter,
        from: Lines<BufReader<PipeReader>>,
        child: JoinHandle<Ended>,
    }

    impl Daemon {
        fn start(sink: impl Sink + 'static) -> Daemon {
            let ((input, to), (from, output)) = (pipe().unwrap(), pipe().unwrap());
            let settings = Settings {
                to: Some("null:".to_owned()),
                linger: Some(Linger::After(Duration::from_millis(1))),
                threads: Some(1),
                ..Settings::default()
            };
            let (config, quarantine) = (settings.validate().unwrap(), Quarantine::new("/dev/null"));
            let run = OpenRun::into(config, Box::new(sink), quarantine, Arc::default(), Arc::default());
            let patience = Patience { checkpoint_interval: Duration::ZERO, ..Patience::default() };
            let child = thread::spawn(move || run_child(BufReader::new(input), output, run, Format::Auto, patience));
            let mut daemon = Daemon { to, from: BufReader::new(from).lines(), child };
            daemon.says(&json!({ "action": "initialize", "shardId": "shardId-7" }));
            assert_eq!(daemon.hears()["responseFor"], "initialize");
            daemon
        }

        fn says(&mut self, message: &Value) {
            writeln!(self.to, "{message}").unwrap();
        }

        fn hears(&mut self) -> Value {
            let line = self.from.by_ref().map(|line| line.unwrap()).find(|line| !line.is_empty());
            serde_json::from_str(&line.unwrap()).unwrap()
        }

        /// Sends a record with so many lines; returns where the checkpoint is that comes for an
        /// answer before the status.
        fn sends(&mut self, number: u64, lines: usize) -> Option<String> {
            let text = "1767600000.068\t203.0.113.9\tcurl/8.0\te=pv\n".repeat(lines);
            let record = json!({ "sequenceNumber": number.to_string(), "data": STANDARD.encode_to_string(text) });
            let records = if lines == 0 { vec![] } else { vec![record] };
            self.says(&json!({ "action": "processRecords", "records": records }));
            let said = self.hears();
            let at = said["sequenceNumber"].as_str().map(str::to_owned);
            if at.is_some() {
                self.says(&json!({ "action": "checkpoint", "error": null }));
                assert_eq!(self.hears()["responseFor"], "processRecords");
            }
            at
        }

        fn ends(self) -> Ended {
            drop(self.to);
            self.child.join().unwrap()
        }
    }

    #[test]
    fn a_batch_that_is_missing_holds_up_those_behind_it() {
        let held = Held::default();
        let mut daemon = Daemon::start(held.sink());
        for (records, number) in [10, 11, 12].into_iter().enumerate() {
            assert_eq!(daemon.sends(number, 1), None);
            held.wait_for(records + 1);
        }
        held.let_go(1);
        assert_eq!(daemon.sends(0, 0), None, "the first one has not arrived");
        held.let_go(0);
        assert_eq!(daemon.sends(0, 0).as_deref(), Some("11"));
        assert_eq!(daemon.sends(0, 0), None, "once is enough");
        let ended = daemon.ends();
        assert_eq!((ended.shard.as_deref(), ended.records_left), (Some("shardId-7"), 1));
        assert!(ended.report.is_none() && ended.error.is_none());
    }

    #[test]
    fn a_daemon_that_goes_while_the_service_is_silent_is_noticed() {
        let Daemon { mut to, from, child } = Daemon::start(Each::new(|_| {
            loop {
                thread::park();
            }
        }));
        let text = "1767600000.068\t203.0.113.9\tcurl/8.0\te=pv\n".repeat(1 << 16);
        let record = json!({ "sequenceNumber": "1", "data": STANDARD.encode_to_string(text) });
        let message = json!({ "action": "processRecords", "records": [record] }).to_string();
        let (answers, answered) = bounded(100);
        let hearing = thread::spawn(move || from.map_while(Result::ok).for_each(|line| answers.send(line).unwrap()));
        let mut sent = 0;
        loop {
            writeln!(to, "{message}").unwrap();
            sent += 1;
            let mut lines = std::iter::from_fn(|| answered.recv_timeout(Duration::from_secs(1)).ok());
            if lines.find(|line| !line.is_empty()).is_none() {
                break;
            }
            assert!(sent < 50, "100 MB are more than a run has memory for");
        }
        drop(to);
        let ended = child.join().unwrap();
        assert!(ended.error.is_none() && ended.report.is_none());
        hearing.join().unwrap();
    }
}
