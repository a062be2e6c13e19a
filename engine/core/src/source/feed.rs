//! How a source hands over what it reads: a [`Feed`] for the source, an [`Inlet`] for each file,
//! connection or batch that it reads from.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pixel_engine_log::query::QueryEncoding;
use pixel_engine_log::schema::Schema;

use super::evidence::QueryEncodingDetector;
use super::json::JsonLines;
use super::{BlockReader, Format, Input, InputError, ReadError};
use crate::ack::{Acknowledged, Acknowledgements, Completion};
use crate::block::{BLOCK_SIZE, Block, BufferPool, Cut, Layout, Origin};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::progress::Progress;

/// Takes blocks of whole lines; what is behind it, a source does not know.
pub(crate) trait Output: Sync {
    /// Takes a block over; waits while there are as many as memory is meant for.
    fn block(&self, block: Block) -> Result<(), Closed>;

    /// An input cannot be read, or not to its end.
    fn failed(&self, error: InputFailure) -> Result<(), Closed>;

    /// There are no more blocks of that origin.
    fn ended(&self, origin: usize) -> Result<(), Closed>;

    /// What was taken should not wait for more.
    fn flush(&self) -> Result<(), Closed>;

    /// Whether no more is taken.
    fn is_closed(&self) -> bool;
}

/// Why an input is not read to its end.
#[derive(Debug)]
pub(crate) enum InputFailure {
    Open(InputError),
    Read(ReadError),
    Checkpoint(CheckpointError),
}

impl From<CheckpointError> for InputFailure {
    fn from(error: CheckpointError) -> InputFailure {
        InputFailure::Checkpoint(error)
    }
}

impl From<InputError> for InputFailure {
    fn from(error: InputError) -> InputFailure {
        InputFailure::Open(error)
    }
}

impl From<ReadError> for InputFailure {
    fn from(error: ReadError) -> InputFailure {
        InputFailure::Read(error)
    }
}

/// The run takes no more lines: a later stage has failed, and reports it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run takes no more lines")]
pub struct Closed;

/// What all the feeds of a run share.
pub(crate) struct Feeds<'run> {
    pub(crate) format: Format,
    pub(crate) standard_schema: Option<Arc<Schema>>,
    /// How many times queries are encoded; where that is not known, `query_encodings` finds out.
    pub(crate) query_encoding: Option<QueryEncoding>,
    pub(crate) query_encodings: QueryEncodingDetector,
    pub(crate) buffers: BufferPool,
    pub(crate) acknowledgements: Acknowledgements,
    pub(crate) checkpoint: Option<&'run Checkpoint>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: Arc<AtomicBool>,
    /// How long lines may wait for a block to fill up.
    pub(crate) hold: Option<Duration>,
    /// Worker threads of the run: a source may use as many.
    pub(crate) threads: usize,
    pub(crate) output: &'run dyn Output,
    pub(crate) origins: Origins,
}

/// Every origin that is not wholly read and acknowledged.
#[derive(Default)]
pub(crate) struct Origins {
    next: AtomicUsize,
    open: Mutex<BTreeMap<usize, Reading>>,
}

/// How far an origin was read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) origin: Arc<Origin>,
    /// Bytes that were handed over.
    pub(crate) offset: u64,
    /// Whether that is all there was.
    pub(crate) to_end: bool,
    /// Whether a checkpoint follows how far it is acknowledged.
    is_saved: bool,
}

impl Origins {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Reading>> {
        // Every change under the lock is complete before anything can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, name: String, source: usize) -> Arc<Origin> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let origin = Arc::new(Origin { number, name, source });
        let reading = Reading { origin: Arc::clone(&origin), offset: 0, to_end: false, is_saved: false };
        self.lock().insert(number, reading);
        origin
    }

    fn read_up_to(&self, number: usize, offset: u64) {
        if let Some(reading) = self.lock().get_mut(&number) {
            reading.offset = offset;
        }
    }

    fn is_saved(&self, number: usize) {
        if let Some(reading) = self.lock().get_mut(&number) {
            reading.is_saved = true;
        }
    }

    fn offset(&self, number: usize) -> u64 {
        self.lock().get(&number).map_or(0, |reading| reading.offset)
    }

    /// Marks an origin as read to its end, and forgets those that are also acknowledged to theirs:
    /// a run that never ends may see any number of them. A checkpoint still has to write down how far
    /// its files are, and forgets them itself.
    fn ended(&self, number: usize, acknowledgements: &Acknowledgements) {
        let mut open = self.lock();
        if let Some(reading) = open.get_mut(&number) {
            reading.to_end = true;
        }
        let is_done = |reading: &Reading| reading.to_end && !reading.is_saved;
        open.retain(|&number, reading| !(is_done(reading) && acknowledgements.forget(number, reading.offset)));
    }

    /// Those that are left, in the order in which they were opened.
    pub(crate) fn left(&self) -> Vec<Reading> {
        self.lock().values().cloned().collect()
    }
}

/// Where a source hands its lines over.
#[derive(Clone, Copy)]
pub struct Feed<'run> {
    feeds: &'run Feeds<'run>,
    /// The number of the source.
    source: usize,
    is_treated: bool,
}

impl<'run> Feed<'run> {
    pub(crate) fn new(feeds: &'run Feeds<'run>, source: usize) -> Feed<'run> {
        Feed { feeds, source, is_treated: false }
    }

    /// A feed for lines that have been through [`Privacy::treat`](crate::privacy::Privacy::treat):
    /// they are not treated again, and one that cannot be read is kept as it is.
    #[must_use]
    pub fn treated(self) -> Feed<'run> {
        Feed { is_treated: true, ..self }
    }

    pub(crate) fn feeds(&self) -> &'run Feeds<'run> {
        self.feeds
    }

    /// Opens an inlet for a file, a connection, a batch: something that has its own line numbers,
    /// byte offsets and acknowledgement. `name` is what people call it in messages.
    pub fn open(&self, name: impl Into<String>) -> Inlet<'run> {
        let feeds = self.feeds;
        let origin = feeds.origins.open(name.into(), self.source);
        let query_encoding = feeds.query_encoding.map_or_else(OnceLock::new, OnceLock::from);
        Inlet { feeds, is_treated: self.is_treated, blocks: None, origin, query_encoding, ended: false }
    }

    /// Hands over what has no lines that could be read, such as a damaged aggregate: all of it is
    /// kept where bad lines are, as one. `why` says what is wrong with it.
    ///
    /// # Errors
    /// The run takes no more.
    pub fn unreadable(&self, name: impl Into<String>, bytes: &[u8], why: &str) -> Result<Completion, Closed> {
        let inlet = self.open(name);
        let pieces = bytes.chunks(BLOCK_SIZE);
        let count = pieces.len() as u32;
        for (number, piece) in (1..).zip(pieces) {
            let (offset, source_bytes) = (self.feeds.origins.offset(inlet.origin.number), piece.len() as u64);
            let token = self.feeds.acknowledgements.token(inlet.origin.number, offset..offset + source_bytes);
            let part = (count > 1).then_some((number, number == count));
            let block = Block {
                bytes: [piece, b"\n"].concat(),
                origin: Arc::clone(&inlet.origin),
                offset,
                source_bytes,
                read_at: Instant::now(),
                layout: Layout::RealTime,
                query_encoding: QueryEncoding::default(),
                is_treated: self.is_treated,
                cut: Some(Cut::Unreadable { why: why.to_owned(), part }),
                token,
            };
            self.feeds.origins.read_up_to(inlet.origin.number, offset + source_bytes);
            self.feeds.output.block(block)?;
        }
        inlet.end()
    }

    /// Sends everything that this source has handed over, and what waits with it, without waiting
    /// for records and requests to fill up.
    ///
    /// # Errors
    /// The run takes no more.
    pub fn flush(&self) -> Result<(), Closed> {
        self.feeds.output.flush()
    }

    /// What the lines are said to be.
    pub(super) fn format(&self) -> Format {
        self.feeds.format
    }

    /// Whether the run is being stopped, or has failed: a source should return soon. Reading through
    /// an inlet already notices.
    pub fn is_stopping(&self) -> bool {
        self.feeds.stop.load(Ordering::Relaxed) || self.feeds.output.is_closed()
    }

    /// The flag behind [`Feed::is_stopping`], for whoever waits elsewhere.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.feeds.stop)
    }

    /// The longest that lines should wait in a source before they are handed over, where the run
    /// has a linger.
    pub fn hold(&self) -> Option<Duration> {
        self.feeds.hold
    }
}

/// How far an input was read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reached {
    /// To its end.
    End,
    /// The run is being stopped: it has to be read again.
    Stop,
    /// It holds no text.
    Nothing(InputError),
    /// It broke off, as a truncated gzip file does, or stands before something else. Every whole line
    /// before that was handed over, and the one that is cut marked as such.
    Break(ReadError),
}

/// One origin of lines within a source. Dropped without [`Inlet::end`], it counts as not read to
/// its end.
pub struct Inlet<'run> {
    feeds: &'run Feeds<'run>,
    is_treated: bool,
    origin: Arc<Origin>,
    blocks: Option<BlockReader>,
    /// How many times its queries are encoded, once that is known.
    query_encoding: OnceLock<QueryEncoding>,
    ended: bool,
}

impl Inlet<'_> {
    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.origin.name
    }

    /// Hands over lines. A last line without a newline ends here all the same.
    ///
    /// # Errors
    /// The run takes no more.
    pub fn push(&mut self, lines: impl Into<Vec<u8>>) -> Result<(), Closed> {
        self.read(Cursor::new(lines.into()))
    }

    /// Hands over all lines of `input`, which must be decompressed; JSON may be in any shape. While it has nothing to give,
    /// `input` may fail with `WouldBlock` or `TimedOut`: it is asked again, and lines that have
    /// waited long enough go on meanwhile.
    ///
    /// # Errors
    /// The run takes no more. An error of `input` itself goes into the run's report.
    pub fn read(&mut self, input: impl Read + Send + 'static) -> Result<(), Closed> {
        let format = self.feeds.format;
        self.read_lines(JsonLines::new(input, format), format)
    }

    /// As [`Inlet::push`], of text that is known to be of that format and has a line for each object
    /// if it is JSON: offsets are those of `lines`. An inlet takes lines of one format.
    ///
    /// # Errors
    /// The run takes no more.
    pub fn push_lines(&mut self, format: Format, lines: Vec<u8>) -> Result<(), Closed> {
        self.read_lines(Cursor::new(lines), format)
    }

    fn read_lines(&mut self, input: impl Read + Send + 'static, format: Format) -> Result<(), Closed> {
        let mut blocks = match self.blocks.take() {
            Some(mut blocks) => {
                blocks.go_on_with(Box::new(input));
                blocks
            }
            None => self.reader_of_lines(input, false, format),
        };
        let read = self.read_blocks(&mut blocks);
        self.blocks = Some(blocks);
        read
    }

    /// Opens an input that can be read again from its start, and hands over all of its lines. What is
    /// wrong with it is the caller's to tell, and does not go into the run's report. A line that a
    /// stop cuts is left for the next time.
    ///
    /// # Errors
    /// The run takes no more.
    pub fn read_input(&mut self, input: &Input) -> Result<Reached, Closed> {
        let Feeds { progress, stop, hold, format, .. } = self.feeds;
        let text = match input.open_waiting(Arc::clone(&progress.bytes_read), Arc::clone(stop), *hold) {
            Ok(text) => text,
            Err(error) => return Ok(Reached::Nothing(error)),
        };
        let mut blocks = self.reader(text, true, *format);
        Ok(match self.hand_over(&mut blocks)? {
            Err(error) => Reached::Break(error),
            Ok(()) if blocks.is_at_end() => Reached::End,
            Ok(()) => Reached::Stop,
        })
    }

    /// Everything was handed over. The completion tells when it is safe; who does not need to know
    /// drops it.
    ///
    /// # Errors
    /// The run takes no more.
    pub fn end(mut self) -> Result<Completion, Closed> {
        self.ended = true;
        self.feeds.output.ended(self.origin.number)?;
        Ok(self.feeds.acknowledgements.end(self.origin.number, self.feeds.origins.offset(self.origin.number)))
    }

    pub(super) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub(super) fn feeds(&self) -> &Feeds<'_> {
        self.feeds
    }

    /// Counts bytes that were read of what is not compressed.
    pub(super) fn count_read(&self, bytes: u64) {
        self.feeds.progress.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says why the input cannot be read further.
    pub(super) fn fail(&self, failure: impl Into<InputFailure>) -> Result<(), Closed> {
        self.feeds.output.failed(failure.into())
    }

    /// Begins with what was acknowledged in an earlier run.
    pub(super) fn begin_at(&self, acknowledged: Acknowledged) {
        if self.feeds.checkpoint.is_some() {
            self.feeds.origins.is_saved(self.origin.number);
        }
        self.feeds.origins.read_up_to(self.origin.number, acknowledged.position.offset);
        self.feeds.acknowledgements.begin(self.origin.number, acknowledged);
    }

    /// Hands over the blocks up to the reader's end.
    pub(super) fn read_blocks(&self, blocks: &mut BlockReader) -> Result<(), Closed> {
        match self.hand_over(blocks)? {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// The same; an error of the input is the caller's to tell.
    fn hand_over(&self, blocks: &mut BlockReader) -> Result<Result<(), ReadError>, Closed> {
        loop {
            self.feeds.origins.read_up_to(self.origin.number, blocks.offset());
            match blocks.next_block() {
                Ok(Some(mut block)) => {
                    block.query_encoding = self.query_encoding(&block);
                    block.is_treated = self.is_treated;
                    self.feeds.output.block(block)?;
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// How many times the queries of the block are encoded.
    fn query_encoding(&self, block: &Block) -> QueryEncoding {
        if let Some(known) = self.query_encoding.get() {
            return *known;
        }
        match self.feeds.query_encodings.decide(block) {
            Some(decided) => *self.query_encoding.get_or_init(|| decided),
            None => QueryEncoding::default(),
        }
    }

    /// A reader of this origin; a `resumable` one can be read again from any line in a later run.
    pub(super) fn reader(&self, input: impl Read + Send + 'static, resumable: bool, format: Format) -> BlockReader {
        self.reader_of_lines(JsonLines::new(input, format), resumable, format)
    }

    /// As [`Inlet::reader`], of an input that has a line for each object if it is JSON.
    pub(super) fn reader_of_lines(
        &self,
        input: impl Read + Send + 'static,
        resumable: bool,
        format: Format,
    ) -> BlockReader {
        let Feeds { standard_schema, buffers, acknowledgements, stop, hold, .. } = self.feeds;
        let (origin, schema) = (Arc::clone(&self.origin), standard_schema.clone());
        let (buffers, all, stop) = (buffers.clone(), acknowledgements.clone(), Arc::clone(stop));
        BlockReader::new(Box::new(input), origin, resumable, format, schema, buffers, all, stop).holding(*hold)
    }
}

impl Drop for Inlet<'_> {
    fn drop(&mut self) {
        if self.query_encoding.get().is_none() && self.feeds.origins.offset(self.origin.number) > 0 {
            self.feeds.query_encodings.count_undecided();
        }
        if self.ended {
            self.feeds.origins.ended(self.origin.number, &self.feeds.acknowledgements);
        }
    }
}
