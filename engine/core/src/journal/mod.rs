//! A folder in which lines from the network are safe before a pipeline reads them.
//!
//! Whoever sends over a socket cannot be asked to send again. So [`Journal::append`] writes lines
//! to a file and syncs it before they count as taken, and a pipeline reads the files as it follows
//! any other file: where it is left stands in its checkpoint, and after a crash it goes on there. A
//! file is removed once every pipeline that reads it has delivered all of it.
//!
//! ```text
//! append ──► group ──► write, sync ──► 000…017.tsv ──► Follow::of_journal ──► pipeline
//!   ▲                       │                │                                   │
//!   └──── it is safe ◄──────┘                └──── release ◄── checkpoint ◄── ack ┘
//! ```
//! What arrives while a group is being synced is the next group, so the slower the disk, the larger
//! the groups: thousands of senders share one sync. The files hold the lines as text and nothing
//! else; `pixel-engine ingest` can read them too.

mod body;
mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

pub use body::{Body, BodyError, decompressed, last_fields_header};
pub use segment::Kind;
use segment::device;
pub(crate) use segment::{Segment, segments};

use crate::checkpoint::Checkpoint;
use crate::durable;
use crate::privacy::TreatmentId;

/// A file is followed by another one when it is that long, or an eighth of what the journal may
/// hold: only what nobody writes to is removed, so that of the lines that wait in a full journal,
/// half are in files that can go.
const MAX_SEGMENT_SIZE: u64 = 32 << 20;
/// Of a group that so many wait for, the next one is gathered for as long as its sync took.
const MANY_SENDERS: usize = 16;
/// But for no longer than this.
const MAX_PAUSE: Duration = Duration::from_millis(1);

/// Lines cannot be taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The pipeline is behind by as many bytes as the journal may hold.
    #[error("the journal {folder} is full: {limit} bytes wait to be delivered")]
    Full {
        /// The folder.
        folder: PathBuf,
        /// Its size in bytes, at most.
        limit: u64,
    },
    /// Another process writes to it.
    #[error("the journal {0} is in use by another process")]
    Locked(PathBuf),
    /// The system refuses: a full disk, no permission.
    #[error("the journal {folder}: {error}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        error: Arc<io::Error>,
    },
    /// It was closed.
    #[error("the journal is closed")]
    Closed,
}

/// A folder of lines that are safe, and not delivered yet.
///
/// ```
/// use pixel_engine_core::journal::{Journal, Kind};
///
/// let folder = tempfile::tempdir()?;
/// let journal = Journal::open(folder.path(), 1 << 30, std::time::Duration::ZERO)?;
/// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// runtime.block_on(journal.append(Kind::RealTime, None, b"1.5\t203.0.113.9\tcurl/8.0\te=a\n")?.wait())?;
/// assert_eq!(journal.bytes(), 29);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    _lock: File,
}

struct Shared {
    folder: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    limit: u64,
    /// How long a group is gathered, at least.
    gather: Duration,
    group: Group,
    /// Bytes in all segments.
    bytes: u64,
    next_number: u64,
    /// The numbers of the segments that more may be written to.
    open: BTreeSet<u64>,
    /// The pipelines that read it.
    readers: BTreeSet<String>,
    /// Which of them have delivered all of a segment that others still read.
    delivered: BTreeMap<u64, BTreeSet<String>>,
    is_closing: bool,
}

/// What the lines of a segment have in common.
type Label = (Kind, Option<TreatmentId>);

/// Lines that are written and synced together.
#[derive(Default)]
struct Group {
    lines: BTreeMap<Label, Vec<u8>>,
    /// What must have a segment of its own.
    alone: Vec<(Label, Vec<u8>)>,
    len: u64,
    /// Who waits for it.
    senders: usize,
    outcome: Arc<Outcome>,
}

#[derive(Default)]
struct Outcome {
    written: OnceLock<Result<(), JournalError>>,
    known: Notify,
}

/// Lines on their way to the disk.
#[must_use = "lines are safe only once this was waited for"]
pub struct Pending(Arc<Outcome>);

impl Pending {
    /// Waits until the lines are on disk, and a crash of the machine cannot undo it.
    ///
    /// # Errors
    /// They could not be written. Some may be there all the same.
    pub async fn wait(self) -> Result<(), JournalError> {
        loop {
            let known = self.0.known.notified();
            if let Some(written) = self.0.written.get() {
                return written.clone();
            }
            known.await;
        }
    }
}

impl Journal {
    /// Opens the journal in `folder`, which is made if it is not there. While it holds `limit` bytes
    /// or more, it takes no lines; what it takes last may go beyond. Lines are gathered for `gather` before they are synced, or, if that is zero, while
    /// those before them are.
    ///
    /// # Errors
    /// Another process has it open, or the system refuses.
    pub fn open(folder: &Path, limit: u64, gather: Duration) -> Result<Journal, JournalError> {
        let io_error = |error| JournalError::Io { folder: folder.to_owned(), error: Arc::new(error) };
        durable::make_folder(folder).map_err(io_error)?;
        let lock = durable::lock(&folder.join(".lock")).map_err(io_error)?;
        let lock = lock.ok_or_else(|| JournalError::Locked(folder.to_owned()))?;
        let segments = segments(folder).map_err(io_error)?;
        let state = State {
            limit,
            gather,
            group: Group::default(),
            bytes: segments.iter().filter_map(|segment| fs::metadata(&segment.path).ok()).map(|it| it.len()).sum(),
            next_number: segments.last().map_or(0, |last| last.number + 1).max(microseconds()),
            open: BTreeSet::new(),
            readers: BTreeSet::new(),
            delivered: BTreeMap::new(),
            is_closing: false,
        };
        let shared = Arc::new(Shared { folder: folder.to_owned(), state: Mutex::new(state), wake: Condvar::new() });
        let writer = Writer { shared: Arc::clone(&shared), open: BTreeMap::new(), pause: Duration::ZERO };
        let writer = thread::Builder::new().name("journal".to_owned()).spawn(|| writer.write()).map_err(io_error)?;
        Ok(Journal { shared, writer: Mutex::new(Some(writer)), _lock: lock })
    }

    /// Goes on with another limit, and another time in which lines are gathered.
    pub fn set_limits(&self, limit: u64, gather: Duration) {
        let mut state = self.shared.lock();
        (state.limit, state.gather) = (limit, gather);
    }

    /// From that many bytes on, it takes no lines.
    pub fn limit(&self) -> u64 {
        self.shared.lock().limit
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Takes whole lines, each with its newline, and the treatment that they have been through, if
    /// there was one.
    ///
    /// # Errors
    /// The journal is full, or closed.
    pub fn append(&self, kind: Kind, treatment: Option<TreatmentId>, lines: &[u8]) -> Result<Pending, JournalError> {
        let mut state = self.shared.lock();
        if state.is_closing {
            return Err(JournalError::Closed);
        }
        let len = lines.len() as u64;
        if state.bytes + state.group.len >= state.limit {
            return Err(JournalError::Full { folder: self.shared.folder.clone(), limit: state.limit });
        }
        let group = &mut state.group;
        if group.is_empty() {
            self.shared.wake.notify_one();
        }
        match kind {
            Kind::Alone => group.alone.push(((kind, treatment), lines.to_vec())),
            _ => group.lines.entry((kind, treatment)).or_default().extend_from_slice(lines),
        }
        group.len += len;
        group.senders += 1;
        Ok(Pending(Arc::clone(&group.outcome)))
    }

    /// Bytes that are on disk, most of which wait to be delivered.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().bytes
    }

    /// Says which pipelines read it, by their names. While there are none, nothing is removed.
    pub fn set_readers(&self, readers: impl IntoIterator<Item = String>) {
        self.shared.lock().readers = readers.into_iter().collect();
    }

    /// Removes the segments that every reader has delivered: this one, by its checkpoint, among
    /// them.
    ///
    /// # Errors
    /// The folder cannot be read, or a segment not removed.
    pub fn release(&self, reader: &str, checkpoint: &Checkpoint) -> io::Result<()> {
        let segments = segments(&self.shared.folder)?;
        let is_there = |number| segments.iter().any(|segment| segment.number == number);
        checkpoint.forget_gone(device(&self.shared.folder), is_there);
        for segment in segments {
            // Those that are opened after this are not in the list.
            if self.shared.lock().open.contains(&segment.number) || !segment.is_delivered(checkpoint)? {
                continue;
            }
            let mut state = self.shared.lock();
            let State { readers, delivered, .. } = &mut *state;
            let by = delivered.entry(segment.number).or_default();
            by.insert(reader.to_owned());
            if !readers.is_empty() && readers.is_subset(by) {
                state.delivered.remove(&segment.number);
                let len = fs::metadata(&segment.path)?.len();
                fs::remove_file(&segment.path)?;
                state.bytes -= len;
            }
        }
        Ok(())
    }

    /// Writes what was taken, and takes no more.
    pub fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(panic)) = writer.map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Since 1970: more than any number that was used before, as no journal has a million segments a
/// second, even if all of them were removed.
fn microseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

impl fmt::Debug for Journal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Journal").field("folder", &self.folder()).finish_non_exhaustive()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.close();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.alone.is_empty()
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    open: BTreeMap<Label, OpenSegment>,
    /// How long to wait for more before the next group is written.
    pause: Duration,
}

struct OpenSegment {
    number: u64,
    file: File,
    len: u64,
}

impl Writer {
    fn write(mut self) {
        while let Some(group) = self.next() {
            let begun = Instant::now();
            let written = self.write_group(&group);
            // Under a load, one sync for twice as many senders costs them a little time and saves
            // much of the machine's; a sender alone never waits.
            self.pause = if group.senders < MANY_SENDERS { Duration::ZERO } else { begun.elapsed().min(MAX_PAUSE) };
            let written = written.map_err(|error| {
                let folder = self.shared.folder.clone();
                JournalError::Io { folder, error: Arc::new(error) }
            });
            // A group is written once.
            let _ = group.outcome.written.set(written);
            group.outcome.known.notify_waiters();
        }
    }

    fn next(&self) -> Option<Group> {
        let mut state = self.shared.lock();
        while state.group.is_empty() {
            if state.is_closing {
                return None;
            }
            state = self.shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let gather = state.gather.max(self.pause);
        if !gather.is_zero() && !state.is_closing {
            drop(state);
            thread::sleep(gather);
            state = self.shared.lock();
        }
        let group = mem::take(&mut state.group);
        // They count from now on, written or not: a part of them may be.
        state.bytes += group.len;
        Some(group)
    }

    fn write_group(&mut self, group: &Group) -> io::Result<()> {
        let mut result = Ok(());
        for (&label, lines) in &group.lines {
            result = result.and(self.append(label, lines));
        }
        for (label, lines) in &group.alone {
            result = result.and(self.append(*label, lines));
            self.seal(*label);
        }
        result
    }

    fn append(&mut self, label: Label, lines: &[u8]) -> io::Result<()> {
        let appended = self.try_append(label, lines);
        let full = MAX_SEGMENT_SIZE.min(self.shared.lock().limit / 8);
        let is_full = self.open.get(&label).is_some_and(|segment| segment.len >= full);
        // After an error nobody knows what is in it: perhaps a part of a line, to which nothing may
        // be joined.
        if is_full || appended.is_err() {
            self.seal(label);
        }
        appended
    }

    fn try_append(&mut self, label: Label, lines: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(&label) {
            let number = {
                let mut state = self.shared.lock();
                let number = state.next_number;
                state.next_number += 1;
                state.open.insert(number);
                number
            };
            let (kind, treatment) = label;
            let path = Segment::path(&self.shared.folder, number, kind, treatment);
            let file = File::create_new(&path).and_then(|file| durable::sync_folder_of(&path).map(|()| file));
            let file = match file {
                Ok(file) => file,
                Err(error) => {
                    self.shared.lock().open.remove(&number);
                    return Err(error);
                }
            };
            self.open.insert(label, OpenSegment { number, file, len: 0 });
        }
        let segment = self.open.get_mut(&label).expect("it was opened above");
        segment.len += lines.len() as u64;
        segment.file.write_all(lines)?;
        segment.file.sync_data()
    }

    /// Writes no more to the segment.
    fn seal(&mut self, label: Label) {
        if let Some(OpenSegment { number, file, len }) = self.open.remove(&label) {
            let mut state = self.shared.lock();
            state.open.remove(&number);
            // Where not all of it could be written.
            let missing = file.metadata().map_or(0, |metadata| len.saturating_sub(metadata.len()));
            state.bytes = state.bytes.saturating_sub(missing);
        }
    }
}

#[cfg(test)]
mod tests;
