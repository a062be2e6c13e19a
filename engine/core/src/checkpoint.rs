//! Where each input file is left, so that the next run goes on there: the file of
//! `ingest --resume`.
//!
//! A file is known by its device, its inode and a fingerprint, the length and CRC-32 of its first
//! bytes on disk: inodes are used again, and a new file must never be taken for an old one, or its
//! lines would be skipped. The fingerprint always spans what was acknowledged, or 4 KiB of it. The
//! path is for people, and may change. For an object in a bucket, a hash of its URI and its ETag
//! stands in place of device and inode.
//!
//! ```text
//! {"version":2,"crc32":"0f3c5a10"}
//! {"path":"big.log","device":64768,"inode":1835,"size":943718400,"fingerprint":{"bytes":4096,"crc32":"77e8b1c2"},"offset":558627631,"lines":639667,"ahead":[1024,51200,860,102400],"done":false}
//! ```
//!
//! One line an input behind the first, which has the CRC-32 of all the others in hexadecimal.
//! `size` is on disk; `offset` is where the next run begins, in bytes after decompression, always
//! the start of a line, and `lines` are the newlines before it. Everything before is delivered,
//! quarantined or filtered, and so are the whole lines `ahead` of it, which the next run leaves
//! out: how many bytes to go on from the offset or from the last of these lines, how many bytes of
//! lines there are, and so on. `done` says that the same is true of everything in the file when it
//! had `size` bytes; a last line without a newline stands behind `offset` even then, as it may have
//! been half of one.
//!
//! While an object is being published that holds lines of the inputs, its name stands in a last line,
//! with what the inputs will be once it is there: `ahead`, as above, and `done`. A run that finds
//! such a line was killed at that moment. It looks whether the object is there, and takes over what
//! the line says or sends the lines again, so that no line is in two objects.
//!
//! ```text
//! {"store":"s3://logs/hits/","object":"2026/11/29/22/pixel-engine-1-….tsv","ready":"upload id","inputs":[{"device":64768,"inode":1835,"offset":558627631,"ahead":[0,134217600],"done":false}]}
//! ```
//!
//! That is form 3; without such a line, a checkpoint is written in form 2. Form 1, which is read too,
//! has no `ahead`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ack::{AckToken, Acknowledged, Acknowledgements, Expected, Position, expected, merge};
use crate::block::Origin;
use crate::durable;
use crate::sink::SinkError;
use crate::sink::store::Store;
use crate::source::{Object, OpenFile, numbers};

const VERSION: u64 = 3;
/// The form without an object.
const VERSION_WITHOUT_OBJECT: u64 = 2;
/// The first form, without lines ahead.
const VERSION_WITHOUT_AHEAD: u64 = 1;

/// The checkpoint file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The system refuses: a full disk, no permission.
    #[error("checkpoint {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Another run has it open.
    #[error("checkpoint {0}: another run is using it")]
    Locked(PathBuf),
    /// It is not as it was written. Without it, nobody knows what was delivered.
    #[error("checkpoint {path}: damaged at line {line}: {reason}; restore it, or begin anew with another file")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A later version of the program wrote it.
    #[error("checkpoint {path}: written in form {version}, this version of pixel-engine reads forms up to {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The form's number.
        version: u64,
    },
    /// An object was being published when an earlier run was killed, and its store is not the one of
    /// this run: whether it is there cannot be seen.
    #[error(
        "checkpoint {path}: {store}{object} may have been stored or not when the run before ended: let a run that \
         delivers to {store} go on first, or begin anew with another file"
    )]
    OtherStore {
        /// The checkpoint.
        path: PathBuf,
        /// Where the object is, or would be.
        store: String,
        /// Its name there.
        object: String,
    },
    /// An input turned out to be another file than the one of the checkpoint when it had been read:
    /// a compressed one whose content was replaced. The checkpoint has forgotten it.
    #[error(
        "{input}: not the file of the checkpoint: it ends at byte {end}, and lines up to byte {acknowledged} were delivered; \
         the next run reads it from its start"
    )]
    OtherFile {
        /// The input's name.
        input: String,
        /// Where it ends, in bytes after decompression.
        end: u64,
        /// Where the last line that was delivered ended.
        acknowledged: u64,
    },
}

/// The checkpoint of a run, which no other run can use at the same time.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    state: Mutex<State>,
    _lock: File,
}

#[derive(Debug)]
struct State {
    inputs: Vec<Entry>,
    /// The inputs of this run, by the number of their source.
    running: BTreeMap<usize, Running>,
    /// The object that is being published.
    object: Option<Publication>,
    saved: bool,
}

/// An object that is ready to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    store: String,
    object: String,
    /// What the store needs to find out whether it was published.
    ready: String,
    inputs: Vec<PublishedInput>,
}

/// What is delivered of an input once the object is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedInput {
    device: u64,
    inode: u64,
    offset: u64,
    ahead: Vec<u64>,
    done: bool,
}

#[derive(Debug)]
struct Running {
    /// Its place among the inputs.
    entry: usize,
    /// Where the last line ends that an earlier run delivered.
    acknowledged_before: u64,
    /// Where it ends, once everything up to there was read.
    end: Option<u64>,
    /// Whether the file is gone, so that no later run will ask for it.
    is_gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    device: u64,
    inode: u64,
    size: u64,
    fingerprint: Fingerprint,
    offset: u64,
    lines: u64,
    /// Gaps and lines in turn, in bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<u64>,
    done: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fingerprint {
    bytes: usize,
    crc32: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u64,
    crc32: String,
}

/// What a checkpoint knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    New,
    /// Everything in it is delivered.
    Done,
    /// Everything before this position is.
    Left(Position),
    /// It stands where another one did, or was cut: it is read from its start.
    Replaced {
        /// What shows that.
        reason: &'static str,
    },
}

impl Standing {
    /// Bytes on disk that are still to be read.
    pub fn bytes_left(&self, file: &OpenFile) -> u64 {
        match self {
            Standing::Done => 0,
            Standing::Left(position) if file.keeps_offsets() => file.size.saturating_sub(position.offset),
            Standing::New | Standing::Left(_) | Standing::Replaced { .. } => file.size,
        }
    }
}

impl Checkpoint {
    /// Opens the checkpoint at `path`; one that is not there is made.
    ///
    /// # Errors
    /// It is damaged, from a later version, in use by another run, or cannot be read or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Checkpoint, CheckpointError> {
        let path = path.into();
        let io_error = |error| CheckpointError::Io { path: path.clone(), error };
        // The checkpoint itself is replaced with every save, so the lock is on a file beside it.
        let lock = durable::lock(&durable::hidden(&path, "lock")).map_err(io_error)?;
        let lock = lock.ok_or_else(|| CheckpointError::Locked(path.clone()))?;
        let (inputs, object) = match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
            Err(error) => return Err(io_error(error)),
        };
        let state = State { inputs, running: BTreeMap::new(), object, saved: false };
        let checkpoint = Checkpoint { path, state: Mutex::new(state), _lock: lock };
        // That it cannot be written is said now rather than after the first gigabyte.
        checkpoint.save(&Acknowledgements::default())?;
        Ok(checkpoint)
    }

    /// What is known of the file.
    pub fn standing(&self, file: &OpenFile) -> Standing {
        self.lock().find(file).0
    }

    /// Whether everything in the object is delivered.
    pub fn has_all_of(&self, object: &dyn Object) -> bool {
        let numbers = numbers(object);
        let is_all =
            |entry: &Entry| (entry.device, entry.inode) == numbers && entry.done && entry.size == object.size();
        self.lock().inputs.iter().any(is_all)
    }

    /// Bytes of the file, after decompression, that are delivered beyond the position that it is
    /// left at.
    pub fn bytes_ahead(&self, file: &OpenFile) -> u64 {
        match self.lock().find(file) {
            (Standing::Left(_), Some(entry)) => entry.acknowledged().bytes_ahead(),
            _ => 0,
        }
    }

    /// Begins to follow the file as that source of the run; what of it is acknowledged, or `None`
    /// when there is nothing to read.
    pub(crate) fn begin(&self, source: &Origin, file: &OpenFile) -> Option<Acknowledged> {
        let mut state = self.lock();
        let State { inputs, running, .. } = &*state;
        if running.values().any(|running| inputs[running.entry].is_at(file)) {
            tracing::warn!("{}: the same file as an input before it; it is read once", source.name);
            return None;
        }
        let acknowledged = match state.find(file) {
            (Standing::New, _) => Acknowledged::default(),
            (Standing::Done, _) => return None,
            (Standing::Left(position), entry) => entry.map_or(position.into(), Entry::acknowledged),
            (Standing::Replaced { reason }, _) => {
                tracing::warn!("{}: not the file of the checkpoint, {reason}; it is read from its start", source.name);
                Acknowledged::default()
            }
        };
        let mut entry = Entry {
            path: source.name.clone(),
            device: file.device,
            inode: file.inode,
            size: file.size,
            fingerprint: Fingerprint::of(&file.head),
            offset: 0,
            lines: 0,
            ahead: Vec::new(),
            done: false,
        };
        entry.set(&acknowledged, false);
        let place = match state.inputs.iter().position(|entry| entry.is_at(file)) {
            Some(place) => {
                state.inputs[place] = entry;
                place
            }
            None => {
                state.inputs.push(entry);
                state.inputs.len() - 1
            }
        };
        let running = Running { entry: place, acknowledged_before: acknowledged.end(), end: None, is_gone: false };
        state.running.insert(source.number, running);
        state.saved = false;
        Some(acknowledged)
    }

    /// As [`Checkpoint::begin`], for a file that is read as it grows: one in which everything was
    /// delivered is followed from there.
    pub(crate) fn follow(&self, source: &Origin, file: &OpenFile) -> Acknowledged {
        let mut state = self.lock();
        let State { inputs, running, .. } = &mut *state;
        // It was cut, or written anew, and its entry is that of what it holds now.
        running.retain(|_, running| !(running.is_gone && inputs[running.entry].is_at(file)));
        if let Some(entry) = inputs.iter_mut().find(|entry| entry.is_at(file)) {
            entry.done = false;
        }
        drop(state);
        self.begin(source, file).unwrap_or_default()
    }

    /// Says that a file that is followed begins with these bytes now, and has that size.
    pub(crate) fn grown(&self, source: &Origin, head: &[u8], size: u64) {
        let mut state = self.lock();
        let State { inputs, running, saved, .. } = &mut *state;
        let Some(running) = running.get(&source.number) else { return };
        let entry = &mut inputs[running.entry];
        let fingerprint = Fingerprint::of(head);
        *saved &= entry.fingerprint == fingerprint;
        (entry.size, entry.fingerprint) = (size, fingerprint);
    }

    /// Says that a file that was followed up to that offset is gone, or another one stands in its
    /// place: it is forgotten when all of it is acknowledged.
    pub(crate) fn let_go(&self, source: &Origin, end: u64) {
        if let Some(running) = self.lock().running.get_mut(&source.number) {
            (running.end, running.is_gone) = (Some(end), true);
        }
    }

    /// Forgets the files of that device that no run is reading and that are not there any more.
    pub(crate) fn forget_gone(&self, device: u64, is_there: impl Fn(u64) -> bool) {
        let mut state = self.lock();
        for place in (0..state.inputs.len()).rev() {
            let entry = &state.inputs[place];
            let is_read = state.running.values().any(|running| running.entry == place);
            if entry.device == device && !is_there(entry.inode) && !is_read {
                state.remove(place);
            }
        }
    }

    /// Says that the source is read from its start after all, as if nothing of it were
    /// acknowledged.
    pub(crate) fn begin_anew(&self, source: usize) {
        if let Some(running) = self.lock().running.get_mut(&source) {
            running.acknowledged_before = 0;
        }
    }

    /// Says that the source was read to its end, which is at that offset.
    ///
    /// # Errors
    /// More than that of it was acknowledged before, so it is another file
    /// ([`CheckpointError::OtherFile`]): some of its lines may have been left out.
    pub(crate) fn ended(&self, source: &Origin, end: u64) -> Result<(), CheckpointError> {
        let mut state = self.lock();
        let State { inputs, running, saved, .. } = &mut *state;
        let Some(running_source) = running.get_mut(&source.number) else { return Ok(()) };
        let acknowledged = running_source.acknowledged_before;
        if acknowledged <= end {
            running_source.end = Some(end);
            return Ok(());
        }
        inputs[running_source.entry].set(&Acknowledged::default(), false);
        *saved = false;
        running.remove(&source.number);
        Err(CheckpointError::OtherFile { input: source.name.clone(), end, acknowledged })
    }

    /// Writes down that an object is about to be published, and what is acknowledged once it is.
    ///
    /// # Errors
    /// It cannot be written, and so the object must not be published.
    pub(crate) fn publishing<'a>(
        &self,
        store: &dyn Store,
        object: &str,
        ready: String,
        tokens: impl IntoIterator<Item = &'a AckToken>,
    ) -> Result<(), CheckpointError> {
        let mut tokens = tokens.into_iter().peekable();
        let mut state = self.lock();
        // The object before this one may be published and not yet be saved. Once this one stands in
        // its place, nothing else would say what is in it.
        if let Some(token) = tokens.peek() {
            state.follow(token.all());
        }
        let expected = expected(tokens);
        let State { inputs, running, .. } = &*state;
        let input = |expected: Expected| {
            let running = running.get(&expected.source)?;
            let Entry { device, inode, .. } = inputs[running.entry];
            let Acknowledged { position: Position { offset, .. }, ahead } = expected.acknowledged;
            let done = running.end == Some(expected.whole_up_to);
            Some(PublishedInput { device, inode, offset, ahead: gaps_and_lines(offset, &ahead), done })
        };
        let inputs: Vec<PublishedInput> = expected.into_iter().filter_map(input).collect();
        state.object = Some(Publication { store: store.target(), object: object.to_owned(), ready, inputs });
        self.write(&mut state)
    }

    /// The object is published, and its lines are acknowledged.
    pub(crate) fn published(&self) {
        let mut state = self.lock();
        (state.object, state.saved) = (None, false);
    }

    /// Finds out what became of the object that an earlier run was publishing when it was killed.
    ///
    /// # Errors
    /// That cannot be found out, or not in this store.
    pub(crate) fn recover(&self, store: &dyn Store) -> Result<(), SinkError> {
        let Some(Publication { store: of, object, ready, inputs }) = self.lock().object.clone() else { return Ok(()) };
        if of != store.target() {
            return Err(CheckpointError::OtherStore { path: self.path.clone(), store: of, object }.into());
        }
        let is_published = store.was_published(&object, &ready)?;
        let mut state = self.lock();
        if is_published {
            for input in &inputs {
                let is_it = |entry: &&mut Entry| (entry.device, entry.inode) == (input.device, input.inode);
                if let Some(entry) = state.inputs.iter_mut().find(is_it) {
                    entry.add(input);
                }
            }
        }
        (state.object, state.saved) = (None, false);
        Ok(self.write(&mut state)?)
    }

    /// Writes how far the inputs of the run are acknowledged, if that has changed.
    ///
    /// # Errors
    /// It cannot be written; what was there before stays.
    pub(crate) fn save(&self, acknowledgements: &Acknowledgements) -> Result<(), CheckpointError> {
        let mut state = self.lock();
        state.follow(acknowledgements);
        if state.saved { Ok(()) } else { self.write(&mut state) }
    }

    fn write(&self, state: &mut State) -> Result<(), CheckpointError> {
        let text = state.text();
        durable::publish(&self.path, |file| file.write_all(&text))
            .map_err(|error| CheckpointError::Io { path: self.path.clone(), error })?;
        state.saved = true;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How the file stands, and its entry.
    fn find(&self, file: &OpenFile) -> (Standing, Option<&Entry>) {
        let Some(entry) = self.inputs.iter().find(|entry| entry.is_at(file)) else { return (Standing::New, None) };
        let acknowledged = entry.acknowledged();
        let min_size = if entry.done || !file.keeps_offsets() { entry.size } else { acknowledged.end() };
        let standing = if !entry.fingerprint.is_of(&file.head) {
            Standing::Replaced { reason: "its first bytes are others" }
        } else if file.size < min_size {
            Standing::Replaced { reason: "it is shorter than what was delivered" }
        } else if entry.done && file.size == entry.size {
            Standing::Done
        } else {
            Standing::Left(acknowledged.position)
        };
        (standing, Some(entry))
    }

    /// Takes over how far the inputs are acknowledged.
    fn follow(&mut self, acknowledgements: &Acknowledgements) {
        for (&source, running) in &self.running {
            let entry = &mut self.inputs[running.entry];
            // First, as what is acknowledged meanwhile must not make it done before the entry says
            // so too.
            let done = running.end == Some(acknowledgements.position(source).offset);
            self.saved &= !entry.set(&acknowledgements.acknowledged(source), done);
        }
        let is_forgotten = |running: &Running| running.is_gone && self.inputs[running.entry].done;
        let forgotten: Vec<usize> =
            self.running.iter().filter(|(_, running)| is_forgotten(running)).map(|(&source, _)| source).collect();
        forgotten.into_iter().for_each(|source| self.forget(source));
    }

    /// Forgets an input of this run, and its entry.
    fn forget(&mut self, source: usize) {
        if let Some(running) = self.running.remove(&source) {
            self.remove(running.entry);
        }
    }

    /// Removes an entry that no input of this run has.
    fn remove(&mut self, place: usize) {
        self.inputs.swap_remove(place);
        let moved = self.inputs.len();
        for other in self.running.values_mut().filter(|other| other.entry == moved) {
            other.entry = place;
        }
        self.saved = false;
    }

    fn text(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for entry in &self.inputs {
            write_line(&mut lines, entry);
        }
        let version = match &self.object {
            Some(object) => {
                write_line(&mut lines, object);
                VERSION
            }
            None => VERSION_WITHOUT_OBJECT,
        };
        let mut text = Vec::new();
        write_line(&mut text, &Header { version, crc32: crc32(&lines) });
        text.append(&mut lines);
        text
    }
}

fn write_line(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *text, value).expect("numbers and text are JSON, and memory takes them");
    text.push(b'\n');
}

fn crc32(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Entry>, Option<Publication>), CheckpointError> {
    #[derive(Deserialize)]
    struct AnyHeader {
        version: u64,
    }
    let damaged = |line, reason: String| CheckpointError::Damaged { path: path.to_owned(), line, reason };
    let end = memchr::memchr(b'\n', bytes).ok_or_else(|| damaged(1, "the file ends in it".to_owned()))?;
    let (first, rest) = (&bytes[..end], &bytes[end + 1..]);
    let AnyHeader { version } = serde_json::from_slice(first).map_err(|error| damaged(1, error.to_string()))?;
    if version > VERSION {
        return Err(CheckpointError::Version { path: path.to_owned(), version });
    }
    let header: Header = serde_json::from_slice(first).map_err(|error| damaged(1, error.to_string()))?;
    if header.version < VERSION_WITHOUT_AHEAD {
        return Err(damaged(1, format!("there is no form {version}")));
    }
    if header.crc32 != crc32(rest) {
        return Err(damaged(1, "the checksum of the lines that follow is another".to_owned()));
    }
    let entry = |line: &[u8]| -> Result<Entry, String> {
        let entry: Entry = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        match entry.ahead[..] {
            [_, ..] if header.version == VERSION_WITHOUT_AHEAD => Err("this form has no lines ahead".to_owned()),
            _ if !entry.is_ahead_in_order() => Err("the lines ahead are out of order".to_owned()),
            _ => Ok(entry),
        }
    };
    let mut lines: Vec<&[u8]> = rest.split_inclusive(|&byte| byte == b'\n').collect();
    let object = match lines.last() {
        Some(last) if header.version == VERSION => {
            let object = serde_json::from_slice(last).map_err(|error| damaged(lines.len() + 1, error.to_string()))?;
            lines.pop();
            Some(object)
        }
        _ => None,
    };
    let entries = (2..).zip(lines).map(|(number, line)| entry(line).map_err(|reason| damaged(number, reason)));
    Ok((entries.collect::<Result<_, _>>()?, object))
}

impl Entry {
    fn is_at(&self, file: &OpenFile) -> bool {
        (self.device, self.inode) == (file.device, file.inode)
    }

    /// Whether the lines ahead are pairs of a gap and lines, and end within what a file can have.
    fn is_ahead_in_order(&self) -> bool {
        let (pairs, odd) = self.ahead.as_chunks::<2>();
        let has_each = |(place, &[gap, lines]): (usize, &[u64; 2])| lines > 0 && (gap > 0 || place == 0);
        let end = self.ahead.iter().try_fold(self.offset, |end, bytes| end.checked_add(*bytes));
        odd.is_empty() && pairs.iter().enumerate().all(has_each) && end.is_some()
    }

    fn acknowledged(&self) -> Acknowledged {
        let position = Position { offset: self.offset, lines: self.lines };
        Acknowledged { ahead: ranges(self.offset, &self.ahead).collect(), ..position.into() }
    }

    /// Takes over what an object holds that turned out to be published.
    fn add(&mut self, published: &PublishedInput) {
        let mut ahead: Vec<Range<u64>> = ranges(self.offset, &self.ahead).collect();
        ahead.extend(ranges(published.offset, &published.ahead));
        ahead.iter_mut().for_each(|range| range.start = range.start.max(self.offset));
        merge(&mut ahead);
        self.ahead = gaps_and_lines(self.offset, &ahead);
        self.done |= published.done;
    }

    /// Takes over what is acknowledged; whether that is something else than before.
    fn set(&mut self, acknowledged: &Acknowledged, done: bool) -> bool {
        let Acknowledged { position: Position { offset, lines }, ahead } = acknowledged;
        let ahead = gaps_and_lines(*offset, ahead);
        let is_other = (self.offset, self.lines, self.done) != (*offset, *lines, done) || self.ahead != ahead;
        (self.offset, self.lines, self.ahead, self.done) = (*offset, *lines, ahead, done);
        is_other
    }
}

/// Ranges of lines beyond an offset, as gaps and lines in turn.
fn gaps_and_lines(offset: u64, ranges: &[Range<u64>]) -> Vec<u64> {
    let mut end = offset;
    let pairs = ranges.iter().flat_map(|range| {
        let gap = range.start - end;
        end = range.end;
        [gap, range.end - range.start]
    });
    pairs.collect()
}

/// The ranges that these are.
fn ranges(offset: u64, gaps_and_lines: &[u64]) -> impl Iterator<Item = Range<u64>> {
    let mut end = offset;
    gaps_and_lines.as_chunks::<2>().0.iter().map(move |&[gap, lines]| {
        let start = end.saturating_add(gap);
        end = start.saturating_add(lines);
        start..end
    })
}

impl Fingerprint {
    fn of(head: &[u8]) -> Fingerprint {
        Fingerprint { bytes: head.len(), crc32: crc32(head) }
    }

    /// Whether the file that begins with `head` may be the one with this fingerprint, grown.
    fn is_of(&self, head: &[u8]) -> bool {
        head.get(..self.bytes).is_some_and(|start| crc32(start) == self.crc32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sink::folder::Folder as ObjectFolder;

    const LINE: &[u8] = b"0123456789\n";

    fn source(number: usize) -> Origin {
        Origin::new(number, "a.log".to_owned())
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Folder {
            Folder(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> OpenFile {
            // In place: the inode stays.
            fs::write(self.path(name), bytes).unwrap();
            OpenFile::open(&self.path(name)).unwrap()
        }

        fn checkpoint(&self) -> Checkpoint {
            Checkpoint::open(self.path("checkpoint")).unwrap()
        }

        /// A run that reads the file to its end, or stops before it, and delivers `delivered` bytes
        /// of it.
        fn run(&self, file: &OpenFile, delivered: u64, to_end: bool) {
            let (checkpoint, all) = (self.checkpoint(), Acknowledgements::default());
            let acknowledged = checkpoint.begin(&source(0), file).unwrap();
            let position = acknowledged.position;
            all.begin(0, acknowledged);
            let token = all.token(0, position.offset..delivered);
            token.count_lines((delivered - position.offset) / LINE.len() as u64);
            token.leave_unended(delivered % LINE.len() as u64);
            token.delivered();
            if to_end {
                checkpoint.ended(&source(0), file.size).unwrap();
            }
            checkpoint.save(&all).unwrap();
        }
    }

    /// A run that delivers the first bytes of the file, which has no other lines than [`LINE`], and
    /// some of its lines beyond a gap.
    fn run_ahead(folder: &Folder, file: &OpenFile, until: u64, lines: &[Range<u64>]) -> Vec<Range<u64>> {
        let (checkpoint, all) = (folder.checkpoint(), Acknowledgements::default());
        let acknowledged = checkpoint.begin(&source(0), file).unwrap();
        let start = acknowledged.position.offset;
        all.begin(0, acknowledged);
        let first = all.token(0, start..until);
        first.count_lines((until - start) / LINE.len() as u64);
        first.delivered();
        let _gap = all.token(0, until..until + 1);
        let rest = all.token(0, until..100_000_000);
        for range in lines {
            let mut token = rest.of_lines();
            token.add_lines((range.start - until) as u32..(range.end - until) as u32);
            token.delivered();
        }
        checkpoint.save(&all).unwrap();
        all.acknowledged(0).ahead
    }

    fn left(lines: u64) -> Standing {
        Standing::Left(Position { offset: lines * LINE.len() as u64, lines })
    }

    #[test]
    fn a_file_goes_on_where_it_was_left() {
        let folder = Folder::new();
        let text = LINE.repeat(1_000);
        let file = folder.file("a.log", &text);
        assert_eq!(folder.checkpoint().standing(&file), Standing::New);
        folder.run(&file, 55, false);
        assert_eq!(folder.checkpoint().standing(&file), left(5));
        folder.run(&file, 11_000, false);
        assert_eq!(folder.checkpoint().standing(&file), left(1_000), "nobody said that this is the end");
        folder.run(&file, 11_000, true);
        assert_eq!(folder.checkpoint().standing(&file), Standing::Done);
        let grown = folder.file("a.log", &LINE.repeat(1_001));
        assert_eq!(folder.checkpoint().standing(&grown), left(1_000));
        assert_eq!(left(1_000).bytes_left(&grown), 11);
        fs::rename(folder.path("a.log"), folder.path("b.log")).unwrap();
        let renamed = OpenFile::open(&folder.path("b.log")).unwrap();
        assert_eq!(folder.checkpoint().standing(&renamed), left(1_000));
    }

    #[test]
    fn lines_ahead_stay_until_the_position_has_passed_them() {
        let folder = Folder::new();
        let file = folder.file("a.log", &LINE.repeat(1_000));
        let first = run_ahead(&folder, &file, 110, &[110..121, 550..1_100, 9_900..9_911]);
        assert_eq!(first, [110..121, 550..1_100, 9_900..9_911]);
        let checkpoint = folder.checkpoint();
        assert_eq!((checkpoint.standing(&file), checkpoint.bytes_ahead(&file)), (left(10), 572));
        let text = fs::read_to_string(folder.path("checkpoint")).unwrap();
        assert!(text.contains(r#""offset":110,"lines":10,"ahead":[0,11,429,550,8800,11],"done":false"#), "{text}");
        let again = checkpoint.begin(&source(0), &file).unwrap();
        assert_eq!((again.end(), &again.ahead), (9_911, &first));
        drop(checkpoint);
        assert_eq!(run_ahead(&folder, &file, 660, &[1_100..1_210]), [660..1_210, 9_900..9_911]);
        folder.run(&file, 11_000, true);
        let text = fs::read_to_string(folder.path("checkpoint")).unwrap();
        assert!(text.contains(r#""lines":1000,"done":true"#), "{text}");
        assert_eq!(folder.checkpoint().standing(&file), Standing::Done);
    }

    #[test]
    fn a_file_that_ends_before_its_lines_ahead_is_another() {
        let folder = Folder::new();
        let text = LINE.repeat(1_000);
        run_ahead(&folder, &folder.file("a.log", &text), 110, &[5_500..6_600]);
        assert_eq!(folder.checkpoint().standing(&folder.file("a.log", &text[..6_600])), left(10));
        let cut = folder.file("a.log", &text[..6_589]);
        assert!(matches!(folder.checkpoint().standing(&cut), Standing::Replaced { .. }));
        assert_eq!(folder.checkpoint().bytes_ahead(&cut), 0);
        assert_eq!(folder.checkpoint().begin(&source(0), &cut), Some(Acknowledged::default()));
    }

    #[test]
    fn a_compressed_file_that_turns_out_to_end_before_its_lines_ahead_is_forgotten() {
        let folder = Folder::new();
        let bytes = [&[0x1f, 0x8b, 8, 0][..], &[7; 500]].concat();
        let file = folder.file("a.gz", &bytes);
        run_ahead(&folder, &file, 110, &[5_500..6_600]);
        for end in [6_600, 6_599] {
            let (checkpoint, all) = (folder.checkpoint(), Acknowledgements::default());
            let acknowledged = checkpoint.begin(&source(0), &file).unwrap();
            assert_eq!((acknowledged.position.offset, acknowledged.bytes_ahead()), (110, 1_100));
            all.begin(0, acknowledged);
            let ended = checkpoint.ended(&source(0), end);
            assert_eq!(ended.is_err(), end < 6_600, "{ended:?}");
            checkpoint.save(&all).unwrap();
        }
        assert_eq!(folder.checkpoint().standing(&file), Standing::Left(Position::default()));
        assert_eq!(folder.checkpoint().bytes_ahead(&file), 0);
    }

    #[test]
    fn the_first_form_is_read_and_has_no_lines_ahead() {
        let folder = Folder::new();
        let file = folder.file("a.log", &LINE.repeat(100));
        folder.run(&file, 55, false);
        let path = folder.path("checkpoint");
        let text = fs::read_to_string(&path).unwrap();
        let (header, entry) = text.split_once('\n').unwrap();
        assert!(!entry.contains("ahead"), "{entry}");
        let write = |entry: &str| {
            fs::write(&path, format!("{{\"version\":1,\"crc32\":\"{}\"}}\n{entry}", crc32(entry.as_bytes()))).unwrap();
        };
        write(entry);
        assert_eq!(folder.checkpoint().standing(&file), left(5));
        assert!(fs::read_to_string(&path).unwrap().starts_with(header), "it is saved in the new form");
        write(&entry.replace("\"done\"", "\"ahead\":[1,11],\"done\""));
        assert!(matches!(Checkpoint::open(&path).unwrap_err(), CheckpointError::Damaged { line: 2, .. }));
    }

    #[test]
    fn lines_ahead_that_cannot_be_are_refused_though_the_checksum_is_right() {
        let folder = Folder::new();
        let file = folder.file("a.log", &LINE.repeat(100));
        run_ahead(&folder, &file, 55, &[66..77]);
        let path = folder.path("checkpoint");
        let text = fs::read_to_string(&path).unwrap();
        let entry = text.split_once('\n').unwrap().1;
        for (ahead, is_good) in [
            ("[11,11]", true),
            ("[0,11,1,11]", true),
            ("[11]", false),
            ("[11,11,11]", false),
            ("[11,0]", false),
            ("[11,11,0,11]", false),
            ("[11,-11]", false),
            ("[18446744073709551615,11]", false),
            ("[1,18446744073709551560,9,11]", false),
        ] {
            let entry = entry.replace("[11,11]", ahead);
            fs::write(&path, format!("{{\"version\":2,\"crc32\":\"{}\"}}\n{entry}", crc32(entry.as_bytes()))).unwrap();
            match Checkpoint::open(&path) {
                Ok(_) => assert!(is_good, "{ahead}"),
                Err(error) => assert!(matches!(error, CheckpointError::Damaged { line: 2, .. }) && !is_good, "{ahead}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn lines_ahead_come_back_as_they_were(
            position in 0..100_u64,
            lines in prop::collection::vec((0..50_u64, 1..50_u64), 0..40),
        ) {
            let folder = Folder::new();
            let file = folder.file("a.log", &LINE.repeat(100_000));
            let mut end = position * 11;
            let lines: Vec<Range<u64>> = lines.into_iter().map(|(gap, lines)| {
                let start = end + gap * 11;
                end = start + lines * 11;
                start..end
            }).collect();
            let ahead = run_ahead(&folder, &file, position * 11, &lines);
            prop_assert!(ahead.windows(2).all(|pair| pair[0].end < pair[1].start));
            let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
            prop_assert_eq!(bytes(&ahead), bytes(&lines));
            let found = folder.checkpoint().begin(&source(0), &file).unwrap();
            prop_assert_eq!(found.position, Position { offset: position * 11, lines: position });
            prop_assert_eq!(found.ahead, ahead);
        }
    }

    #[test]
    fn a_last_line_without_a_newline_is_done_but_begins_again_when_the_file_has_grown() {
        let folder = Folder::new();
        let file = folder.file("a.log", &LINE.repeat(3)[..27]);
        folder.run(&file, 27, true);
        assert_eq!(folder.checkpoint().standing(&file), Standing::Done);
        let grown = folder.file("a.log", &LINE.repeat(3));
        assert_eq!(folder.checkpoint().standing(&grown), left(2));
    }

    #[test]
    fn another_file_is_never_taken_for_an_old_one() {
        for len in [11, 44, 4_092, 4_103, 20_009] {
            let folder = Folder::new();
            let text: Vec<u8> = LINE.repeat(2_000)[..len].to_vec();
            folder.run(&folder.file("a.log", &text), 11, false);
            for at in (0..len.min(OpenFile::HEAD)).step_by(13) {
                let mut other = [&text[..], b"more\n"].concat();
                other[at] ^= 1;
                let standing = folder.checkpoint().standing(&folder.file("a.log", &other));
                assert!(matches!(standing, Standing::Replaced { .. }), "{len} {at}: {standing:?}");
            }
            let shorter = folder.checkpoint().standing(&folder.file("a.log", &text[..5]));
            assert!(matches!(shorter, Standing::Replaced { .. }), "{shorter:?}");
            // Taken up from its start, it is the file of the checkpoint.
            let checkpoint = folder.checkpoint();
            let other = folder.file("a.log", &[b'x'; 100]);
            assert_eq!(checkpoint.begin(&source(0), &other), Some(Acknowledged::default()));
            assert_eq!(checkpoint.standing(&other), Standing::Left(Position::default()));
        }
    }

    #[test]
    fn a_small_file_is_known_by_all_of_it_that_was_delivered() {
        // As a standard log, whose first bytes are those of any other.
        let folder = Folder::new();
        let header = b"#Version: 1.0\n#Fields: date time\n";
        let file = folder.file("a.log", header);
        folder.run(&file, header.len() as u64, true);
        let grown = folder.file("a.log", &[&header[..], b"one\n"].concat());
        folder.run(&grown, grown.size, true);
        let other = folder.file("a.log", &[&header[..], b"two\nthree\n"].concat());
        assert!(matches!(folder.checkpoint().standing(&other), Standing::Replaced { .. }));
    }

    #[test]
    fn a_compressed_file_that_is_shorter_is_another() {
        let folder = Folder::new();
        let bytes = [&[0x1f, 0x8b, 8, 0][..], &[7; 5_000]].concat();
        folder.run(&folder.file("a.gz", &bytes), 11_000, false);
        let same = folder.file("a.gz", &bytes);
        assert_eq!(folder.checkpoint().standing(&same), left(1_000));
        assert_eq!(left(1_000).bytes_left(&same), 5_004, "all of it is decompressed again");
        let standing = folder.checkpoint().standing(&folder.file("a.gz", &bytes[..5_000]));
        assert!(matches!(standing, Standing::Replaced { .. }), "{standing:?}");
    }

    #[test]
    fn a_file_that_is_named_twice_is_read_once_and_other_inputs_stay() {
        let folder = Folder::new();
        folder.run(&folder.file("other.log", LINE), 11, true);
        let file = folder.file("a.log", LINE);
        let checkpoint = folder.checkpoint();
        assert_eq!(checkpoint.begin(&source(0), &file), Some(Acknowledged::default()));
        assert_eq!(checkpoint.begin(&source(1), &file), None);
        checkpoint.save(&Acknowledgements::default()).unwrap();
        drop(checkpoint);
        let checkpoint = folder.checkpoint();
        assert_eq!(checkpoint.standing(&folder.file("other.log", LINE)), Standing::Done);
        assert_eq!(checkpoint.standing(&file), Standing::Left(Position::default()));
    }

    #[test]
    fn what_was_being_published_counts_if_it_is_there() {
        for is_there in [true, false] {
            let folder = Folder::new();
            let file = folder.file("a.log", LINE.repeat(100).trim_ascii_end());
            let store = ObjectFolder::new(folder.path("out")).unwrap();
            {
                let (checkpoint, all) = (folder.checkpoint(), Acknowledgements::default());
                all.begin(0, checkpoint.begin(&source(0), &file).unwrap());
                let (first, second) = (all.token(0, 0..550), all.token(0, 550..file.size));
                second.leave_unended(10);
                let mut records = [first.of_lines(), second.of_lines()];
                records[0].add_lines(0..550);
                // With the newline that it is given.
                records[1].add_lines(0..550);
                [first, second].into_iter().for_each(AckToken::delivered);
                checkpoint.ended(&source(0), file.size).unwrap();
                checkpoint.publishing(&store, "one", String::new(), &records).unwrap();
                // It is killed: nothing is acknowledged.
            }
            let other = ObjectFolder::new(folder.path("other")).unwrap();
            let error = folder.checkpoint().recover(&other).unwrap_err();
            assert!(error.to_string().contains("may have been stored or not"), "{error}");
            if is_there {
                fs::write(folder.path("out/one"), LINE).unwrap();
            }
            folder.checkpoint().recover(&store).unwrap();
            let checkpoint = folder.checkpoint();
            checkpoint.recover(&other).unwrap();
            let wanted = if is_there { Standing::Done } else { Standing::Left(Position::default()) };
            assert_eq!(checkpoint.standing(&file), wanted);
            // The last line may have been half of one.
            let grown = folder.file("a.log", &LINE.repeat(101));
            assert_eq!(checkpoint.bytes_ahead(&grown), if is_there { 99 * 11 } else { 0 });
        }
    }

    #[test]
    fn an_object_that_was_published_counts_when_the_next_one_was_not() {
        let folder = Folder::new();
        let file = folder.file("a.log", &LINE.repeat(100));
        let store = ObjectFolder::new(folder.path("out")).unwrap();
        {
            let (checkpoint, all) = (folder.checkpoint(), Acknowledgements::default());
            all.begin(0, checkpoint.begin(&source(0), &file).unwrap());
            let block = all.token(0, 0..file.size);
            let (mut first, mut second) = (block.of_lines(), block.of_lines());
            first.add_lines(0..550);
            second.add_lines(550..1_100);
            block.delivered();
            checkpoint.publishing(&store, "one", String::new(), [&first]).unwrap();
            fs::write(folder.path("out/one"), LINE).unwrap();
            first.delivered();
            checkpoint.published();
            // It is killed before anything else is saved.
            checkpoint.publishing(&store, "two", String::new(), [&second]).unwrap();
        }
        let checkpoint = folder.checkpoint();
        checkpoint.recover(&store).unwrap();
        assert_eq!(checkpoint.bytes_ahead(&file), 550);
    }

    #[test]
    fn a_checkpoint_is_for_one_run_at_a_time() {
        let folder = Folder::new();
        let checkpoint = folder.checkpoint();
        let error = Checkpoint::open(folder.path("checkpoint")).unwrap_err();
        assert!(matches!(error, CheckpointError::Locked(_)), "{error}");
        drop(checkpoint);
        folder.checkpoint();
        assert!(Checkpoint::open(folder.path("no/such/folder")).is_err());
        assert!(Checkpoint::open(folder.0.path()).is_err());
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_found_and_left_alone() {
        let folder = Folder::new();
        folder.run(&folder.file("a.log", LINE), 11, true);
        let lines: Vec<Range<u64>> = (1..20).map(|place| 33 * place..33 * place + 22).collect();
        run_ahead(&folder, &folder.file("b.log", &LINE.repeat(100)), 11, &lines);
        let path = folder.path("checkpoint");
        let bytes = fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let error = Checkpoint::open(&path).unwrap_err();
            assert!(matches!(error, CheckpointError::Damaged { .. } | CheckpointError::Version { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
            error
        };
        for at in 0..bytes.len() {
            for change in [0x01, 0x02, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                refused(&changed);
            }
            refused(&bytes[..at]);
        }
        refused(&[&bytes[..], b"\n"].concat());
        let newer = refused(b"{\"version\":4,\"of\":\"another form\"}\n");
        assert!(matches!(newer, CheckpointError::Version { version: 4, .. }), "{newer}");
        fs::write(&path, &bytes).unwrap();
        folder.checkpoint();
    }
}
