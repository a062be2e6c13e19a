//! Decompresses the inputs to come while one is read.
//!
//! A decompressor uses one core, and the lines of one input are taken in order. So the next inputs
//! are opened and decompressed on threads of their own, each into a queue of pieces of text:
//!
//! ```text
//! thread: input 4 ──► ▯▯▯▯ ─┐
//! thread: input 5 ──► ▯▯    ├─► reader: input 3, then 4, then 5
//!         ...               ┘
//! ```
//! The queues have no lengths of their own: all that is held ahead takes its bytes from one
//! [`Memory`], and waits when there are none. The input that the reader waits for never does, or both
//! would wait for good: one piece of text more may be held for its sake.
//!
//! What is not compressed is opened here and read by the reader, which takes hardly longer than
//! taking it from a queue. What can be read only once is left to the reader altogether: standard
//! input must not be touched before its turn.

use std::cell::Cell;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::input::Bytes;
use super::member::MAX_MEMBER_LEN;
use super::{Compression, Feeds, Input, InputError, OpenFile};
use crate::checkpoint::Standing;

/// Bytes that all inputs may hold that are decompressed ahead: compressed ones, and text that waits
/// to be read. Room for two members of the largest kind.
const MEMORY: usize = 128 << 20;
/// Bytes of an object that may be on the way or waiting, beside those that are looked at.
const OBJECT_LEN: u64 = 20 << 20;
/// Inputs that may be open ahead for each thread: small ones are done before they are taken.
const INPUTS_PER_THREAD: usize = 4;

/// The inputs that are opened ahead, in order. Dropped, it ends that.
pub(super) struct Ahead {
    memory: Arc<Memory>,
    in_order: Receiver<Receiver<Opened>>,
    next: usize,
}

/// An input that was opened before its turn.
#[derive(Default)]
pub(super) struct Opened {
    /// With a checkpoint, what tells it from others.
    pub(super) file: Option<OpenFile>,
    pub(super) text: Text,
    /// What it holds while it is read, where no thread does.
    _held: Option<Held>,
}

/// The text of an input that was opened before its turn.
#[derive(Default)]
pub(super) enum Text {
    /// The reader opens it itself.
    #[default]
    Unread,
    Failed(InputError),
    Plain(Bytes),
    Decompressed(Compression, Pieces),
}

impl Ahead {
    /// Begins to open the inputs, on as many threads as the run has workers.
    pub(super) fn of<'scope, 'env>(
        inputs: &'env [Input],
        feeds: &'env Feeds<'env>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Ahead {
        let threads = feeds.threads.min(inputs.len());
        let (hand_over, in_order) = bounded(INPUTS_PER_THREAD * threads);
        let memory = Arc::<Memory>::default();
        let claims = Arc::new(Mutex::new(Claims { inputs: inputs.iter().enumerate(), hand_over }));
        for _ in 0..threads {
            let (claims, memory) = (Arc::clone(&claims), Arc::clone(&memory));
            scope.spawn(move || {
                while let Some((number, input, opened)) = claim(&claims) {
                    // Whoever waits for it is told by the end of the channel.
                    let _ = decompress(input, number, feeds, &memory, &opened);
                }
            });
        }
        Ahead { memory, in_order, next: 0 }
    }

    /// The next input, in the order in which they were given.
    pub(super) fn next(&mut self) -> Opened {
        let number = self.next;
        self.next += 1;
        let opened = self.memory.await_for(number, || self.in_order.recv().ok()?.recv().ok());
        opened.unwrap_or_default()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.memory.close();
    }
}

/// What the threads take their inputs from.
struct Claims<I> {
    inputs: I,
    hand_over: Sender<Receiver<Opened>>,
}

/// The next input for a thread; `None` when there are no more, or nobody wants them.
fn claim<'a>(
    claims: &Mutex<Claims<impl Iterator<Item = (usize, &'a Input)>>>,
) -> Option<(usize, &'a Input, Sender<Opened>)> {
    // While one waits here for room, so would the others; and the order is that of the claims.
    let mut claims = claims.lock().unwrap_or_else(PoisonError::into_inner);
    let (number, input) = claims.inputs.next()?;
    let (opened, pending) = bounded(1);
    claims.hand_over.send(pending).ok()?;
    Some((number, input, opened))
}

/// Nobody wants it any more.
struct Unwanted;

/// Opens an input, and decompresses all of it.
fn decompress(
    input: &Input,
    number: usize,
    feeds: &Feeds<'_>,
    memory: &Arc<Memory>,
    opened: &Sender<Opened>,
) -> Result<(), Unwanted> {
    let give = |opened_input| opened.send(opened_input).map_err(|_| Unwanted);
    if !input.can_be_read_again() {
        return give(Opened::default());
    }
    let most = MAX_MEMBER_LEN as u64 + if matches!(input, Input::Object(_)) { OBJECT_LEN } else { 0 };
    let len = input.size().map_or(most, |size| size.min(most));
    let held = memory.reserve(number, len as usize).ok_or(Unwanted)?;
    let (file, bytes) = match open(input, feeds) {
        Ok((file, Some(bytes))) => (file, bytes),
        Ok((file, None)) => return give(Opened { file, ..Opened::default() }),
        Err(error) => return give(Opened { text: Text::Failed(error), ..Opened::default() }),
    };
    let mut text = match bytes {
        Bytes::Compressed(text) => text,
        plain => return give(Opened { file, text: Text::Plain(plain), _held: Some(held) }),
    };
    let (to_reader, pieces) = unbounded();
    let pieces =
        Pieces { number, memory: Arc::clone(memory), pieces, piece: Cursor::default(), held: None, ended: false };
    give(Opened { file, text: Text::Decompressed(text.compression(), pieces), _held: None })?;
    loop {
        let held = Cell::new(None);
        let piece = text.next_piece(|len| {
            // What a try that failed took is let go of.
            held.take();
            let (buffer, of_buffer) = memory.buffer(number, len).ok_or_else(ended)?;
            held.set(Some(of_buffer));
            Ok(buffer)
        });
        let is_last = !matches!(&piece, Ok(piece) if !piece.is_empty());
        to_reader.send((piece, held.take())).map_err(|_| Unwanted)?;
        if is_last {
            return Ok(());
        }
    }
}

/// Opens the input; `None` when there is nothing in it to read, or not from its start.
fn open(input: &Input, feeds: &Feeds<'_>) -> Result<(Option<OpenFile>, Option<Bytes>), InputError> {
    let bytes_read = Arc::clone(&feeds.progress.bytes_read);
    let Some(checkpoint) = feeds.checkpoint else {
        return Ok((None, Some(input.bytes(bytes_read, Arc::clone(&feeds.stop), None)?)));
    };
    // Said without a request for its head.
    if matches!(input, Input::Object(object) if checkpoint.has_all_of(&**object)) {
        return Ok((None, None));
    }
    let Some(file) = OpenFile::of(input, &feeds.stop)? else { return Ok((None, None)) };
    let is_done = checkpoint.standing(&file) == Standing::Done;
    let bytes = if is_done || file.is_plain() { None } else { Some(file.bytes(bytes_read)?) };
    Ok((Some(file), bytes))
}

fn ended() -> io::Error {
    io::Error::other("the run ended")
}

/// The text of an input that is decompressed on another thread.
pub(super) struct Pieces {
    number: usize,
    memory: Arc<Memory>,
    pieces: Receiver<(io::Result<Vec<u8>>, Option<Held>)>,
    /// The piece that is being read, and its memory.
    piece: Cursor<Vec<u8>>,
    held: Option<Held>,
    /// Whether that was the last.
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.ended && self.piece.position() == self.piece.get_ref().len() as u64 {
            if self.held.take().is_some() {
                self.memory.keep(std::mem::take(&mut self.piece).into_inner());
            }
            // Where the thread broke off, there is no last piece.
            let next = self.memory.await_for(self.number, || self.pieces.recv().ok());
            let (piece, held) = next.ok_or_else(ended)?;
            (self.piece, self.held) = (Cursor::new(piece?), held);
            self.ended = self.piece.get_ref().is_empty();
        }
        self.piece.read(buffer)
    }
}

/// Bytes that may be held ahead.
#[derive(Default)]
struct Memory {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    held: usize,
    /// Buffers that were read: the system takes as long to make a new one as it takes to fill it.
    spare: Vec<Vec<u8>>,
    /// The input that the reader waits for.
    awaited: Option<usize>,
    is_closed: bool,
}

impl State {
    /// Bytes that are held, and those of spare buffers.
    fn bytes(&self) -> usize {
        self.held + self.spare.iter().map(Vec::capacity).sum::<usize>()
    }
}

/// Some of the memory, until it is dropped.
struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is so much memory, or the reader waits for that input; `None` when nothing is
    /// to be read any more.
    fn reserve(self: &Arc<Memory>, number: usize, bytes: usize) -> Option<Held> {
        let must_wait =
            |state: &mut State| !state.is_closed && state.held + bytes > MEMORY && state.awaited != Some(number);
        let waited = self.changed.wait_while(self.lock(), must_wait);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return None;
        }
        state.held += bytes;
        while state.bytes() > MEMORY && state.spare.pop().is_some() {}
        Some(Held { memory: Arc::clone(self), bytes })
    }

    /// A buffer of that length, with its memory.
    fn buffer(self: &Arc<Memory>, number: usize, len: usize) -> Option<(Vec<u8>, Held)> {
        let fits = |buffer: &Vec<u8>| (len..=2 * len).contains(&buffer.capacity());
        let found = {
            let mut state = self.lock();
            state.spare.iter().position(fits).map(|place| state.spare.swap_remove(place))
        };
        let held = self.reserve(number, found.as_ref().map_or(len, Vec::capacity))?;
        let mut buffer = found.unwrap_or_default();
        buffer.resize(len, 0);
        Some((buffer, held))
    }

    /// Keeps a buffer for later.
    fn keep(&self, buffer: Vec<u8>) {
        let mut state = self.lock();
        if state.bytes() + buffer.capacity() <= MEMORY {
            state.spare.push(buffer);
        }
    }

    /// Waits for something of that input, which needs not wait for memory meanwhile.
    fn await_for<T>(&self, number: usize, wait: impl FnOnce() -> Option<T>) -> Option<T> {
        self.lock().awaited = Some(number);
        self.changed.notify_all();
        let found = wait();
        self.lock().awaited = None;
        found
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.lock().held -= self.bytes;
        self.memory.changed.notify_all();
    }
}
