//! Cuts a stream of bytes into blocks that end at a newline.
//!
//! Two things make a block end early. A line that does not end within [`BLOCK_SIZE`] is handed on
//! in pieces, marked as such, so that memory stays bounded and the quarantine can still hold all of
//! it. And in standard logs a header that does not begin a line (`cat` of files without a final
//! newline) ends the line before it: CloudFront encodes `#` in values, so `#Version:` and
//! `#Fields:` can be nothing else. Both may have a byte order mark before them.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::decompress::is_about_trailing_bytes;
use super::text::{BYTE_ORDER_MARK, first_byte, without_margin};
use crate::ack::Acknowledgements;
use crate::block::{BLOCK_SIZE, Block, BufferPool, Cut, Layout, Origin};
use pixel_engine_log::query::QueryEncoding;
use pixel_engine_log::schema::{Schema, SchemaError};

/// What the lines are; `Auto` looks at the first byte that is no newline, blank or byte order mark:
/// `#` begins a standard log, `{` or `[` JSON, anything else a real-time log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Told from the content.
    #[default]
    Auto,
    /// Real-time logs.
    RealTime,
    /// Standard logs with `#Fields:` headers.
    Standard,
    /// Standard logs v2 in JSON.
    Json,
}

impl Format {
    /// The format that the bytes at the start of an input tell; `None` when they are newlines and
    /// blanks alone.
    pub fn of(bytes: &[u8]) -> Option<Format> {
        first_byte(bytes).map(|byte| match byte {
            b'#' => Format::Standard,
            b'{' | b'[' => Format::Json,
            _ => Format::RealTime,
        })
    }

    /// How lines of that format are read; `schema` names the columns of standard logs without a
    /// header.
    pub fn layout(self, schema: Option<Arc<Schema>>) -> Layout {
        match self {
            Format::Standard => Layout::Standard(schema),
            Format::Json => Layout::Json,
            Format::Auto | Format::RealTime => Layout::RealTime,
        }
    }
}

/// The input broke off. Every whole line before it was handed out, and the incomplete one marked as
/// cut.
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
    origin: Arc<Origin>,
    resumable: bool,
    layout: Option<Layout>,
    /// The start of the line that the block before did not end.
    carry: Vec<u8>,
    offset: u64,
    parts_of_long_line: u32,
    /// Bytes handed out of a line that has not ended.
    unended: u64,
    /// Where reading ends for the time being, while what stands before an offset is skipped.
    boundary: Option<u64>,
    /// How long the lines of a block may wait for it to fill up.
    hold: Option<Duration>,
    end: Option<Result<(), io::Error>>,
    /// Whether that is where the input ends, and not where it was stopped or broke off. With an
    /// error, what stands behind the end is no part of the input.
    is_real_end: bool,
    pool: BufferPool,
    acknowledgements: Acknowledgements,
    stop: Arc<AtomicBool>,
}

impl BlockReader {
    /// Reads `input` as `source`. `default_schema` names the columns of standard logs without a
    /// header. When the run is stopped in the middle of a line, a `resumable` source just keeps it
    /// for the next run; of another one the piece is handed out, as it could not be read again.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub fn new(
        input: Box<dyn Read + Send>,
        origin: Arc<Origin>,
        resumable: bool,
        format: Format,
        default_schema: Option<Arc<Schema>>,
        pool: BufferPool,
        acknowledgements: Acknowledgements,
        stop: Arc<AtomicBool>,
    ) -> BlockReader {
        BlockReader {
            input,
            origin,
            resumable,
            layout: (format != Format::Auto).then(|| format.layout(default_schema)),
            carry: Vec::new(),
            offset: 0,
            parts_of_long_line: 0,
            unended: 0,
            boundary: None,
            hold: None,
            end: None,
            is_real_end: false,
            pool,
            acknowledgements,
            stop,
        }
    }

    /// Lines wait no longer than that for a block to fill up, where `input` returns from time to
    /// time: with data, or with `WouldBlock` or `TimedOut`.
    pub fn holding(self, hold: Option<Duration>) -> BlockReader {
        BlockReader { hold, ..self }
    }

    /// Goes on with another input as if it were the rest of the one before, which ended with a
    /// whole line.
    pub fn go_on_with(&mut self, input: Box<dyn Read + Send>) {
        self.input = input;
        (self.end, self.is_real_end, self.parts_of_long_line, self.unended) = (None, false, 0, 0);
    }

    /// Where reading is: behind the last block that was handed out.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether everything up to the end of the input was handed out.
    pub fn is_at_end(&self) -> bool {
        self.is_real_end && self.carry.is_empty()
    }

    /// Says that the input begins at that offset of the source, where a line begins.
    pub fn begin_at(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Reads what stands before `offset`, where a line begins, and hands out none of it; standard
    /// logs keep the header that holds there. `false` when the input ends earlier, and was not
    /// stopped.
    ///
    /// # Errors
    /// The input broke off before `offset`.
    pub fn skip_to(&mut self, offset: u64) -> Result<bool, ReadError> {
        self.boundary = Some(offset);
        while self.offset < offset
            && let Some(block) = self.next_block()?
        {
            // Its token is dropped, so that nothing is acknowledged a second time.
            self.pool.give(block.bytes);
        }
        self.boundary = None;
        if self.offset < offset {
            return Ok(self.stop.load(Ordering::Relaxed));
        }
        (self.end, self.parts_of_long_line, self.unended) = (None, 0, 0);
        Ok(true)
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// The input broke off, once and after the last block.
    pub fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        let mut bytes = self.pool.take();
        let mut len = self.carry.len();
        bytes[..len].copy_from_slice(&self.carry);
        self.carry.clear();
        // The line that the block before has begun becomes one when its end is read.
        let mut read_at = None;
        let most = self.boundary.map_or(BLOCK_SIZE, |boundary| {
            usize::try_from(boundary - self.offset).map_or(BLOCK_SIZE, |left| left.min(BLOCK_SIZE))
        });
        while len < most && self.end.is_none() {
            if self.stop.load(Ordering::Relaxed) {
                self.end = Some(Ok(()));
                break;
            }
            match self.input.read(&mut bytes[len..most]) {
                Ok(0) => {
                    self.end = Some(Ok(()));
                    self.is_real_end = !self.stop.load(Ordering::Relaxed);
                }
                Ok(count) => {
                    read_at.get_or_insert_with(Instant::now);
                    len += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                // To a decompressor, standard input that ends for a stop looks cut short.
                Err(_) if self.stop.load(Ordering::Relaxed) => self.end = Some(Ok(())),
                Err(error) => {
                    self.is_real_end = is_about_trailing_bytes(&error);
                    self.end = Some(Err(error));
                }
            }
            let is_held = |since: Instant| self.hold.is_some_and(|hold| since.elapsed() >= hold);
            if self.parts_of_long_line == 0
                && read_at.is_some_and(is_held)
                && memchr::memrchr(b'\n', &bytes[..len]).is_some()
            {
                break;
            }
        }
        if self.boundary == Some(self.offset + len as u64) {
            self.end = Some(Ok(()));
        }
        if self.resumable && self.stop.load(Ordering::Relaxed) {
            let whole_lines = memchr::memrchr(b'\n', &bytes[..len]).map_or(0, |last| last + 1);
            self.is_real_end &= whole_lines == len;
            len = whole_lines;
        }
        // A long line may end with the piece before, at the end of the input: that must still be
        // said.
        let ends_long_line = self.parts_of_long_line > 0 && !self.stop.load(Ordering::Relaxed);
        if len == 0 && !ends_long_line {
            return match self.end.replace(Ok(())) {
                Some(Err(error)) => {
                    Err(ReadError { source_name: self.origin.name.clone(), offset: self.offset, error })
                }
                _ => Ok(None),
            };
        }
        bytes.truncate(len);
        Ok(Some(self.cut_block(bytes, read_at.unwrap_or_else(Instant::now))))
    }

    /// Makes a block of the lines in `bytes`, and keeps what follows them for the next one.
    fn cut_block(&mut self, mut bytes: Vec<u8>, read_at: Instant) -> Block {
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
                    Some(Err(error)) if !self.is_real_end => Some(Cut::Broken(error.to_string())),
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
        if self.layout.is_none() {
            self.layout = Format::of(&bytes).map(|format| format.layout(None));
        }
        let layout = self.layout.clone().unwrap_or(Layout::RealTime);
        let mut ends_line = false;
        let taken = match (&layout, &cut) {
            (Layout::Standard(schema), None | Some(Cut::Broken(_) | Cut::Stopped)) => {
                let (end, after) = follow_headers(&bytes[..taken], schema);
                self.layout = Some(Layout::Standard(after));
                if end < taken {
                    cut = None;
                    ends_line = true;
                }
                end
            }
            _ => taken,
        };
        self.carry.extend_from_slice(&bytes[taken..]);
        bytes.truncate(taken);
        let range = self.offset..self.offset + taken as u64;
        self.offset = range.end;
        self.unended = match memchr::memrchr(b'\n', &bytes) {
            _ if ends_line => 0,
            Some(last) => (taken - last - 1) as u64,
            None => self.unended + taken as u64,
        };
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        if bytes.len() < BLOCK_SIZE / 8 {
            // A whole buffer for a few lines would make memory depend on how they trickle in.
            let few = bytes.as_slice().to_vec();
            self.pool.give(std::mem::replace(&mut bytes, few));
        }
        let offset = range.start;
        let token = self.acknowledgements.token(self.origin.number, range);
        token.leave_unended(self.unended);
        let (origin, source_bytes) = (Arc::clone(&self.origin), taken as u64);
        let query_encoding = QueryEncoding::default();
        Block { bytes, origin, offset, source_bytes, read_at, layout, query_encoding, is_treated: false, cut, token }
    }

    fn next_part(&mut self, last: bool) -> Cut {
        let part = self.parts_of_long_line + 1;
        self.parts_of_long_line = if last { 0 } else { part };
        Cut::TooLong { part, last }
    }
}

/// Where the block must end (before a header that does not begin a line), and the schema that holds
/// after it.
fn follow_headers(bytes: &[u8], before: &Option<Arc<Schema>>) -> (usize, Option<Arc<Schema>>) {
    let mut schema = before.clone();
    for at in memchr::memchr_iter(b'#', bytes) {
        let Some(header) = Header::of(&bytes[at..]) else { continue };
        if !begins_line(&bytes[..at]) {
            // The byte order mark of the file that begins there, and not the end of a line.
            let mut line = &bytes[..at];
            while let Some(rest) = line.strip_suffix(BYTE_ORDER_MARK) {
                line = rest;
            }
            return (line.len(), schema);
        }
        if let Some(named) = header.schema() {
            if let Err(error) = &named {
                tracing::warn!("a #Fields header cannot be used: {error}; its lines are bad until the next header");
            }
            schema = named.ok();
        }
    }
    (bytes.len(), schema)
}

/// Whether nothing but blanks and byte order marks stands behind the last newline.
fn begins_line(before: &[u8]) -> bool {
    let mut margin = before;
    loop {
        margin = match margin {
            [] | [.., b'\n'] => return true,
            [rest @ .., b' ' | b'\t'] | [rest @ .., 0xef, 0xbb, 0xbf] => rest,
            _ => return false,
        };
    }
}

/// What the line says for the lines that follow it: the schema of a `#Fields:` header, or why it
/// has none; `None` for any other line.
pub(crate) fn fields_header(line: &[u8]) -> Option<Result<Arc<Schema>, SchemaError>> {
    Header::of(without_margin(line))?.schema()
}

/// A header of standard logs. CloudFront writes `#Version:` and `#Fields:`; what others write or
/// edit may have blanks, and another case.
enum Header<'a> {
    Version,
    /// With the names of the fields.
    Fields(&'a [u8]),
}

impl Header<'_> {
    /// The header that begins with the first byte.
    fn of(bytes: &[u8]) -> Option<Header<'_>> {
        let text = bytes.strip_prefix(b"#")?;
        let line = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
        let (name, value) = line.split_at(memchr::memchr(b':', line)?);
        match name.trim_ascii() {
            name if name.eq_ignore_ascii_case(b"version") => Some(Header::Version),
            name if name.eq_ignore_ascii_case(b"fields") => Some(Header::Fields(&value[1..])),
            _ => None,
        }
    }

    fn schema(&self) -> Option<Result<Arc<Schema>, SchemaError>> {
        match self {
            Header::Version => None,
            Header::Fields(names) => Some(Schema::from_fields_header(names).map(Arc::new)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ack::Position;

    /// Gives the bytes in pieces of these lengths, over and over, and then ends or breaks off.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        lengths: Vec<usize>,
        turn: usize,
        breaks: bool,
    }

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.turn += 1;
            let len = self.lengths[self.turn % self.lengths.len()];
            if len == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let rest = &self.bytes[self.at..];
            if rest.is_empty() && self.breaks {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let len = len.min(rest.len()).min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            self.at += len;
            Ok(len)
        }
    }

    fn reader(bytes: &[u8], lengths: &[usize], format: Format, breaks: bool) -> (BlockReader, Acknowledgements) {
        let input = Pieces { bytes: bytes.to_vec(), at: 0, lengths: lengths.to_vec(), turn: 0, breaks };
        let origin = Arc::new(Origin::new(3, "a.log".to_owned()));
        let all = Acknowledgements::default();
        let pool = BufferPool::new(4);
        let reader = BlockReader::new(Box::new(input), origin, true, format, None, pool, all.clone(), Arc::default());
        (reader, all)
    }

    /// Every block; checks that they are the input.
    fn blocks(bytes: &[u8], lengths: &[usize], format: Format, breaks: bool) -> Vec<Block> {
        let (mut reader, _) = reader(bytes, lengths, format, breaks);
        let mut blocks = Vec::new();
        loop {
            match reader.next_block() {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                Err(error) => {
                    assert!(breaks);
                    assert_eq!((error.offset, error.source_name.as_str()), (bytes.len() as u64, "a.log"));
                }
            }
        }
        assert!(reader.next_block().is_ok_and(|block| block.is_none()), "the end stays the end");
        assert_ne!(reader.is_at_end(), breaks);
        check(bytes, &blocks);
        blocks
    }

    /// The blocks are the input, but for newlines that had to be added.
    #[track_caller]
    fn check(bytes: &[u8], blocks: &[Block]) {
        let mut offset = 0;
        for block in blocks {
            assert_eq!(block.offset, offset);
            assert_eq!(block.bytes.last(), Some(&b'\n'));
            assert!(block.bytes.len() <= BLOCK_SIZE + 1);
            let own = &bytes[offset as usize..][..block.source_bytes as usize];
            assert!(block.bytes == own || block.bytes[..block.bytes.len() - 1] == *own);
            offset += block.source_bytes;
        }
        assert_eq!(offset, bytes.len() as u64);
    }

    /// Where a block may end when lines are short: at a newline, or the end of the input.
    #[track_caller]
    fn check_whole_lines(bytes: &[u8], blocks: &[Block]) {
        for block in blocks {
            let end = (block.offset + block.source_bytes) as usize;
            assert!(end == bytes.len() || bytes[end - 1] == b'\n');
            assert_eq!(block.cut, None);
        }
    }

    #[test]
    fn an_empty_input_has_no_block() {
        let (mut reader, _) = reader(b"", &[1], Format::Auto, false);
        assert!(reader.next_block().is_ok_and(|block| block.is_none()));
    }

    #[test]
    fn lines_that_cross_the_edge_of_a_block_stay_whole() {
        for around in [BLOCK_SIZE - 2, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, BLOCK_SIZE + 2] {
            for end in ["", "\n", "\nlast", "\nlast\n"] {
                // Two lines whose first newline is at the edge, or near it.
                let text =
                    [&vec![b'a'; around / 2][..], b"\n", &vec![b'b'; around - around / 2], end.as_bytes()].concat();
                check_whole_lines(&text, &blocks(&text, &[BLOCK_SIZE, 7], Format::RealTime, false));
            }
        }
    }

    #[test]
    fn a_long_line_comes_in_parts_that_join_to_it() {
        for len in [BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE - 1, 2 * BLOCK_SIZE, 3 * BLOCK_SIZE + 5] {
            for (before, after) in [("", ""), ("", "\n"), ("x\n", "\n"), ("x\n", "\ny\nz"), ("x\n", "")] {
                let long = vec![b'l'; len];
                let text = [before.as_bytes(), &long, after.as_bytes()].concat();
                let blocks = blocks(&text, &[1 << 16], Format::RealTime, false);
                let mut parts = 0;
                let mut lasts = 0;
                let mut joined = Vec::new();
                for block in &blocks {
                    if let Some(Cut::TooLong { part, last }) = block.cut {
                        parts += 1;
                        assert_eq!(part, parts, "parts count from 1");
                        lasts += usize::from(last);
                        joined.extend_from_slice(block.bytes.strip_suffix(b"\n").expect("checked"));
                    } else {
                        assert!(!block.bytes.contains(&b'l'), "{len} {before:?} {after:?}");
                    }
                }
                assert_eq!(lasts, 1, "{len} {before:?} {after:?}");
                assert!(joined == long, "{len} {before:?} {after:?}");
            }
        }
    }

    #[test]
    fn an_input_that_breaks_off_marks_the_line_that_it_breaks() {
        for (text, cut) in [(&b"one\ntw"[..], true), (b"one\ntwo\n", false)] {
            let blocks = blocks(text, &[2], Format::RealTime, true);
            assert_eq!(blocks.len(), 1);
            assert_eq!(matches!(blocks[0].cut, Some(Cut::Broken(_))), cut);
        }
    }

    #[test]
    fn a_stop_keeps_the_piece_of_a_line_for_the_next_run_only_if_there_can_be_one() {
        for resumable in [true, false] {
            let stop = Arc::new(AtomicBool::new(false));
            let input = Pieces { bytes: b"one\ntw".to_vec(), at: 0, lengths: vec![6], turn: 0, breaks: false };
            // Sets the stop once everything is read, as a signal may.
            struct Stops(Pieces, Arc<AtomicBool>);
            impl Read for Stops {
                fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                    let count = self.0.read(buffer)?;
                    self.1.store(true, Ordering::Relaxed);
                    Ok(count)
                }
            }
            let origin = Arc::new(Origin::new(0, String::new()));
            let mut reader = BlockReader::new(
                Box::new(Stops(input, Arc::clone(&stop))),
                origin,
                resumable,
                Format::RealTime,
                None,
                BufferPool::new(1),
                Acknowledgements::default(),
                stop,
            );
            let block = reader.next_block().expect("no error").expect("a block");
            let wanted = if resumable { (&b"one\n"[..], None) } else { (&b"one\ntw\n"[..], Some(Cut::Stopped)) };
            assert_eq!((&block.bytes[..], block.cut), wanted);
            assert!(reader.next_block().is_ok_and(|block| block.is_none()));
            assert!(!reader.is_at_end());
            block.token.delivered();
        }
    }

    #[test]
    fn the_first_byte_of_text_tells_the_format() {
        for (text, wanted) in [
            (&b"\r\n\n#Version: 1.0\n"[..], Layout::Standard(None)),
            (b"\n{\"a\":1}\n", Layout::Json),
            (b"1.5\t-\n", Layout::RealTime),
            (b"\n", Layout::RealTime),
            (b"\xef\xbb\xbf \t#Version: 1.0\n", Layout::Standard(None)),
            (b"\n\xef\xbb\xbf{\"a\":1}\n", Layout::Json),
            (b"\xef\xbb\xbf1.5\t-\n", Layout::RealTime),
        ] {
            assert_eq!(blocks(text, &[1], Format::Auto, false)[0].layout, wanted);
        }
    }

    #[test]
    fn a_header_that_does_not_begin_a_line_begins_a_block() {
        let text = b"#Fields: date time\n1\t2#Version: 1.0\n#Fields: time\n3\n4#Fields: c-ip\n5";
        let blocks = blocks(text, &[5], Format::Auto, false);
        let texts: Vec<&str> = blocks.iter().map(|block| std::str::from_utf8(&block.bytes).expect("text")).collect();
        assert_eq!(texts, ["#Fields: date time\n1\t2\n", "#Version: 1.0\n#Fields: time\n3\n4\n", "#Fields: c-ip\n5\n"]);
        let columns = |block: &Block| match &block.layout {
            Layout::Standard(schema) => schema.as_ref().map_or(0, |schema| schema.columns().len()),
            other => panic!("{other:?}"),
        };
        // What holds at the start of each block; the headers in it are for its own lines.
        assert_eq!(blocks.iter().map(columns).collect::<Vec<_>>(), [0, 2, 1]);
    }

    #[test]
    fn headers_are_known_however_they_are_written() {
        let text = "\u{feff}# fields: date time\n \t#FIELDS:\tc-ip\n1\t\u{feff}\u{feff}#version: 1\n#Fields: time\n5\n";
        let blocks = blocks(text.as_bytes(), &[500], Format::Auto, false);
        let texts: Vec<&str> = blocks.iter().map(|block| std::str::from_utf8(&block.bytes).expect("text")).collect();
        // The mark belongs to the file that it begins, the tab to the line that it ends.
        let first = "\u{feff}# fields: date time\n \t#FIELDS:\tc-ip\n1\t\n";
        assert_eq!(texts, [first, "\u{feff}\u{feff}#version: 1\n#Fields: time\n5\n"]);
        let Layout::Standard(Some(schema)) = &blocks[1].layout else { panic!("{:?}", blocks[1].layout) };
        assert_eq!(schema.columns().len(), 1);
        for other in ["#Fieldset: a", "#", "# #Fields: a", "Fields: a", "#Fields", "#\nFields: a"] {
            assert!(fields_header(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn all_of_the_input_is_acknowledged_with_the_blocks() {
        let text = [&b"x\n".repeat(BLOCK_SIZE)[..], &vec![b'l'; 2 * BLOCK_SIZE]].concat();
        let (mut reader, all) = reader(&text, &[BLOCK_SIZE], Format::RealTime, false);
        while let Some(block) = reader.next_block().expect("no error") {
            block.token.delivered();
        }
        assert_eq!(all.position(3).offset, text.len() as u64);
    }

    fn any_input() -> impl Strategy<Value = Vec<u8>> {
        let small = prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(b"ab\n\r\t#{\0\xff".to_vec()).prop_map(|byte| vec![byte]),
                1 => Just(b"#Fields: date time\n".to_vec()),
                1 => Just(b"#Version: 1.0\n".to_vec()),
                1 => Just(b"\xef\xbb\xbf".to_vec()),
                1 => Just(b"\xef\xbb\xbf # fields: time\n".to_vec()),
            ],
            0..60,
        );
        // A filler puts what is interesting around the edge of a block.
        (0..3_usize, -40..40_isize, any::<bool>(), small).prop_map(|(fill, shift, lines, small)| {
            let small = small.concat();
            let len = (fill * BLOCK_SIZE).saturating_add_signed(shift).saturating_sub(small.len() / 2);
            let len = if fill == 0 { 0 } else { len };
            let mut text =
                if lines { b"0123456789012345678901234567890\n".repeat(len / 32 + 1) } else { vec![b'l'; len] };
            text.truncate(len);
            text.extend(small);
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn blocks_join_to_the_input_however_it_is_read(
            text in any_input(),
            mut lengths in prop::collection::vec(prop_oneof![Just(0_usize), 1..9_usize, 1_000..3_000_000_usize], 1..5),
            format in prop::sample::select(vec![Format::Auto, Format::RealTime, Format::Standard, Format::Json]),
            breaks in any::<bool>(),
        ) {
            // At least one large piece, or the test takes its time.
            lengths.push(400_000);
            blocks(&text, &lengths, format, breaks);
        }

        #[test]
        fn what_is_skipped_to_a_line_changes_nothing_behind_it(
            text in any_input(),
            format in prop::sample::select(vec![Format::Auto, Format::RealTime, Format::Standard, Format::Json]),
            more in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let (mut whole, all) = reader(&text, &[400_000], format, false);
            while let Some(block) = whole.next_block().expect("no error") {
                let layout = block.layout.clone();
                let start = Position { offset: block.offset, lines: 0 };
                // Where a run that was killed before this block goes on, when its source has grown
                // since.
                let offset = all.line_start(3).offset;
                prop_assert!(offset <= block.offset);
                let grown = [&text[..], &more].concat();
                let (mut rest, again) = reader(&grown, &[1_000, 500_000], format, false);
                again.begin(3, start);
                prop_assert!(rest.skip_to(offset).expect("no error"));
                prop_assert_eq!(rest.offset(), offset);
                prop_assert_eq!(again.position(3), start, "nothing is acknowledged twice");
                let mut joined = Vec::new();
                while let Some(next) = rest.next_block().expect("no error") {
                    if next.offset == block.offset {
                        prop_assert_eq!(&next.layout, &layout);
                    }
                    joined.extend_from_slice(&next.bytes[..next.source_bytes as usize]);
                    next.token.delivered();
                }
                prop_assert!(joined == grown[offset as usize..]);
                block.token.delivered();
            }
            let past = text.len() as u64 + 1;
            prop_assert!(!reader(&text, &[700_000], format, false).0.skip_to(past).expect("no error"));
        }
    }
}
