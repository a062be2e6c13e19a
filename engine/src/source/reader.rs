//! Cuts a stream of bytes into blocks that end at a newline.
//!
//! Two things make a block end early. A line that does not end within [`BLOCK_SIZE`] is handed on in pieces,
//! marked as such, so that memory stays bounded and the quarantine can still hold all of it. And in standard
//! logs a header that does not begin a line (`cat` of files without a final newline) ends the line before it:
//! CloudFront encodes `#` in values, so `#Version:` and `#Fields:` can be nothing else.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ack::Acknowledgements;
use crate::block::{BLOCK_SIZE, Block, BufferPool, Cut, Layout, Source};
use crate::schema::Schema;

/// What the lines are; `Auto` looks at the first byte that is no newline: `#` begins a standard log, `{` JSON
/// lines, anything else a real-time log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Told from the content.
    #[default]
    Auto,
    /// Real-time logs.
    RealTime,
    /// Standard logs with `#Fields:` headers.
    Standard,
    /// Standard logs v2 as JSON lines.
    Json,
}

/// The input broke off. Every whole line before it was handed out, and the incomplete one marked as cut.
#[derive(Debug, thiserror::Error)]
#[error("{source_name}: reading stopped at byte {offset}: {error}")]
pub struct ReadError {
    /// The source's name.
    pub source_name: String,
    /// How many bytes were read, after decompression.
    pub offset: u64,
    /// What the system or the decompressor says.
    #[source]
    pub error: io::Error,
}

/// Reads one source block by block.
pub struct BlockReader {
    input: Box<dyn Read + Send>,
    source: Arc<Source>,
    resumable: bool,
    layout: Option<Layout>,
    /// The start of the line that the block before did not end.
    carry: Vec<u8>,
    offset: u64,
    parts_of_long_line: u32,
    end: Option<Result<(), io::Error>>,
    pool: BufferPool,
    acknowledgements: Acknowledgements,
    stop: Arc<AtomicBool>,
}

impl BlockReader {
    /// Reads `input` as `source`. `default_schema` names the columns of standard logs without a header. When the
    /// run is stopped in the middle of a line, a `resumable` source just keeps it for the next run; of another
    /// one the piece is handed out, as it could not be read again.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub fn new(
        input: Box<dyn Read + Send>,
        source: Arc<Source>,
        resumable: bool,
        format: Format,
        default_schema: Option<Arc<Schema>>,
        pool: BufferPool,
        acknowledgements: Acknowledgements,
        stop: Arc<AtomicBool>,
    ) -> BlockReader {
        let layout = match format {
            Format::Auto => None,
            Format::RealTime => Some(Layout::RealTime),
            Format::Standard => Some(Layout::Standard(default_schema)),
            Format::Json => Some(Layout::Json),
        };
        BlockReader {
            input,
            source,
            resumable,
            layout,
            carry: Vec::new(),
            offset: 0,
            parts_of_long_line: 0,
            end: None,
            pool,
            acknowledgements,
            stop,
        }
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// The input broke off, once and after the last block.
    pub fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        let mut bytes = self.pool.take();
        let mut length = self.carry.len();
        bytes[..length].copy_from_slice(&self.carry);
        self.carry.clear();
        while length < BLOCK_SIZE && self.end.is_none() {
            if self.stop.load(Ordering::Relaxed) {
                self.end = Some(Ok(()));
                break;
            }
            match self.input.read(&mut bytes[length..BLOCK_SIZE]) {
                Ok(0) => self.end = Some(Ok(())),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // To a decompressor, standard input that ends for a stop looks cut short.
                Err(_) if self.stop.load(Ordering::Relaxed) => self.end = Some(Ok(())),
                Err(error) => self.end = Some(Err(error)),
            }
        }
        if self.resumable && self.stop.load(Ordering::Relaxed) {
            length = memchr::memrchr(b'\n', &bytes[..length]).map_or(0, |last| last + 1);
        }
        // A long line may end with the piece before, at the end of the input: that must still be said.
        let ends_long_line = self.parts_of_long_line > 0 && !self.stop.load(Ordering::Relaxed);
        if length == 0 && !ends_long_line {
            return match self.end.take() {
                Some(Err(error)) => {
                    self.end = Some(Ok(()));
                    Err(ReadError { source_name: self.source.name.clone(), offset: self.offset, error })
                }
                _ => Ok(None),
            };
        }
        bytes.truncate(length);
        Ok(Some(self.cut_block(bytes)))
    }

    /// Makes a block of the lines in `bytes`, and keeps what follows them for the next one.
    fn cut_block(&mut self, mut bytes: Vec<u8>) -> Block {
        let newline = memchr::memrchr(b'\n', &bytes);
        let mut cut = None;
        let taken = match newline {
            _ if self.parts_of_long_line > 0 => {
                let end = memchr::memchr(b'\n', &bytes).map(|at| at + 1);
                cut = Some(self.next_part(end.is_some() || self.end.is_some()));
                end.unwrap_or(bytes.len())
            }
            Some(last) if last + 1 == bytes.len() || self.end.is_none() => last + 1,
            // The rest of the input, its last line without a newline.
            _ if self.end.is_some() => {
                cut = match &self.end {
                    Some(Err(error)) => Some(Cut::Broken(error.to_string())),
                    _ if self.stop.load(Ordering::Relaxed) => Some(Cut::Stopped),
                    _ => None,
                };
                bytes.len()
            }
            _ => {
                cut = Some(self.next_part(false));
                bytes.len()
            }
        };
        let layout = self.layout.get_or_insert_with(|| recognise(&bytes)).clone();
        let taken = match (&layout, &cut) {
            (Layout::Standard(schema), None | Some(Cut::Broken(_) | Cut::Stopped)) => {
                let (end, after) = follow_headers(&bytes[..taken], schema);
                self.layout = Some(Layout::Standard(after));
                if end < taken {
                    cut = None;
                }
                end
            }
            _ => taken,
        };
        self.carry.extend_from_slice(&bytes[taken..]);
        bytes.truncate(taken);
        let range = self.offset..self.offset + taken as u64;
        self.offset = range.end;
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        let offset = range.start;
        let token = self.acknowledgements.token(self.source.number, range);
        Block { bytes, source: Arc::clone(&self.source), offset, source_bytes: taken as u64, layout, cut, token }
    }

    fn next_part(&mut self, last: bool) -> Cut {
        let part = self.parts_of_long_line + 1;
        self.parts_of_long_line = if last { 0 } else { part };
        Cut::TooLong { part, last }
    }
}

fn recognise(bytes: &[u8]) -> Layout {
    match bytes.iter().find(|byte| !matches!(byte, b'\r' | b'\n')) {
        Some(b'#') => Layout::Standard(None),
        Some(b'{') => Layout::Json,
        _ => Layout::RealTime,
    }
}

/// Where the block must end (before a header that does not begin a line), and the schema that holds after it.
fn follow_headers(bytes: &[u8], before: &Option<Arc<Schema>>) -> (usize, Option<Arc<Schema>>) {
    let mut schema = before.clone();
    for at in memchr::memchr_iter(b'#', bytes) {
        let rest = &bytes[at..];
        let begins_line = at == 0 || bytes[at - 1] == b'\n';
        if !begins_line && (rest.starts_with(b"#Version:") || rest.starts_with(b"#Fields:")) {
            return (at, schema);
        }
        if begins_line && let Some(header) = fields_header(rest) {
            schema = header;
        }
    }
    (bytes.len(), schema)
}

/// The schema that a `#Fields:` line at the start of `bytes` names; the inner `None` for one that names none.
/// `None` for any other line.
pub(crate) fn fields_header(bytes: &[u8]) -> Option<Option<Arc<Schema>>> {
    if !bytes.starts_with(b"#Fields:") {
        return None;
    }
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    match Schema::from_fields_header(&bytes[..end]) {
        Ok(schema) => Some(Some(Arc::new(schema))),
        Err(error) => {
            tracing::warn!("a #Fields header cannot be used: {error}; its lines are bad until the next header");
            Some(None)
        }
    }
}
