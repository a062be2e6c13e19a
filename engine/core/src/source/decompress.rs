//! Decompresses an input member by member, and says what stands behind the last one.
//!
//! A member of gzip, a stream of bzip2 and xz, a frame of zstd: each file may be many of them, one
//! after the other. Each codec is driven by hand, and not through its reader, so that what it gave
//! before an error is kept, and so that the byte of an error is known.
//!
//! Members of gzip that are all there are decompressed as a whole, which is faster, up to the first
//! that cannot be.

use std::error::Error;
use std::io::{self, BufRead, Cursor, Read};

use flate2::FlushDecompress;
use liblzma::stream::{Action, Error as XzError, Stream};
use zstd::stream::raw::{self, Operation};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge as WINDOW_TOO_LARGE;

use super::content::{Compression, Content};
use super::member::{MAX_MEMBER_LEN, Member};
use super::peek::PeekReader;

/// Bytes that decompressing xz may take: twice what `xz -9` asks for. zstd has the same limit of
/// its own.
const MAX_MEMORY: u64 = 128 << 20;

/// Why decompression ends. Bytes are those of the input before decompression.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecompressionError {
    /// A flipped bit, a hole, a checksum that does not fit.
    #[error(
        "the {compression} data is damaged at byte {at} of the compressed input, or a little before: restore the file"
    )]
    Damaged {
        compression: Compression,
        at: u64,
        #[source]
        reason: Box<dyn Error + Send + Sync>,
    },
    /// The input ends where more must follow.
    #[error(
        "the {compression} data ends in the middle, at byte {at} of the compressed input: \
         it was cut off, or is still being written"
    )]
    Truncated { compression: Compression, at: u64 },
    /// It was compressed with a dictionary that is larger than what a program should take.
    #[error(
        "the {compression} data at byte {at} of the compressed input needs more memory than the limit of {} MiB: \
         decompress it before, or compress it with a smaller dictionary or window",
        MAX_MEMORY >> 20
    )]
    Memory { compression: Compression, at: u64 },
    /// Everything was read, and then comes something else.
    #[error(
        "all of the {compression} data was read; what follows it, at byte {at} of the compressed input, \
         is {what}: see whether lines are missing there"
    )]
    Trailing { compression: Compression, at: u64, what: String },
}

impl From<DecompressionError> for io::Error {
    fn from(error: DecompressionError) -> io::Error {
        let kind = match error {
            DecompressionError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            DecompressionError::Memory { .. } => io::ErrorKind::OutOfMemory,
            DecompressionError::Damaged { .. } | DecompressionError::Trailing { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// Whether the input was read to its end, and the error is about what stands behind.
pub(super) fn is_about_trailing_bytes(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(DecompressionError::Trailing { .. }))
}

/// The decompressed bytes of all members.
pub(super) struct Decompressed {
    compression: Compression,
    input: PeekReader,
    /// Bytes in which a member must end to be decompressed as a whole; 0 when none is.
    window: usize,
    /// The text of a member that was, and how much of it was given out.
    text: Cursor<Vec<u8>>,
    /// The member that is being read piece by piece; between two, none.
    member: Option<Decoder>,
    /// Whether the decoder may have more to give without more input.
    is_pending: bool,
    /// Where the last member ended.
    end: u64,
    /// What went wrong behind the bytes that were given out.
    failure: Option<DecompressionError>,
}

impl Decompressed {
    /// Reads on where `input` stands. With its length, if it can be read without waiting, members
    /// are decompressed as a whole.
    pub(super) fn new(compression: Compression, input: PeekReader, len: Option<u64>) -> Decompressed {
        let window = len.filter(|_| compression == Compression::Gzip).map_or(0, |len| {
            // One byte more, to see that there is none.
            usize::try_from(len).map_or(MAX_MEMBER_LEN, |len| len.min(MAX_MEMBER_LEN)) + 1
        });
        let text = Cursor::default();
        Decompressed { compression, input, window, text, member: None, is_pending: false, end: 0, failure: None }
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// The next piece of the text, none at the end; to be called instead of reading. It is in a
    /// buffer of that length that `buffer` gives.
    ///
    /// # Errors
    /// As those of reading, and those of `buffer`.
    pub(super) fn next_piece(&mut self, buffer: impl Fn(usize) -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        if !self.begin_member(&buffer)? {
            return Ok(Vec::new());
        }
        if !self.text.get_ref().is_empty() {
            return Ok(std::mem::take(&mut self.text).into_inner());
        }
        let mut piece = buffer(PIECE_LEN)?;
        let len = self.read(&mut piece)?;
        piece.truncate(len);
        Ok(piece)
    }

    /// Begins the next member, unless there is still text of the one before; `false` at the end.
    fn begin_member(&mut self, buffer: impl Fn(usize) -> io::Result<Vec<u8>>) -> io::Result<bool> {
        while self.member.is_none() && self.text.get_ref().len() as u64 == self.text.position() {
            if !self.is_at_member()? {
                return Ok(false);
            }
            match self.whole_member(&buffer)? {
                Some(text) => self.text = Cursor::new(text),
                None => {
                    self.window = 0;
                    self.member = Some(Decoder::new(self.compression)?);
                }
            }
        }
        Ok(true)
    }

    /// The text of the next member, if it can be decompressed as a whole.
    fn whole_member(&mut self, buffer: impl Fn(usize) -> io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
        if self.window == 0 {
            return Ok(None);
        }
        if Member::first(self.input.buffered(), false).is_none() {
            self.input.make_room(self.window);
            self.input.fill_until(|bytes| bytes.len() >= self.window);
        }
        let bytes = self.input.buffered();
        let Some(member) = Member::first(bytes, bytes.len() < self.window) else { return Ok(None) };
        let mut text = buffer(member.text_len())?;
        if !member.write_text(&mut text) {
            return Ok(None);
        }
        let len = member.len();
        self.input.consume(len);
        self.end = self.input.position();
        Ok(Some(text))
    }

    /// Whether another member begins, and the input has not ended. Zeros between and behind members
    /// are padding wherever the codec's own program is content with them: gzip, bzip2, and xz in
    /// fours.
    fn is_at_member(&mut self) -> io::Result<bool> {
        let (compression, end) = (self.compression, self.end);
        if end > 0 && compression != Compression::Zstd {
            while let bytes @ [0, ..] = self.input.fill_buf()? {
                let zeros = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
                self.input.consume(zeros);
            }
        }
        let padding = self.input.position() - end;
        let rest = self.input.peek(MAX_NAMED_LEN)?;
        let what = match Content::of(rest) {
            _ if compression == Compression::Xz && !padding.is_multiple_of(4) => {
                format!("padding of {padding} zero bytes, which is no multiple of four")
            }
            _ if rest.is_empty() => return Ok(false),
            Content::Compressed(next) if next == compression => return Ok(true),
            Content::Compressed(next) => format!("{next} data"),
            Content::Unsupported(content) => content.to_string(),
            Content::Plain | Content::Utf16(_) => format!("not {compression} data (it begins with {})", shown(rest)),
        };
        Err(DecompressionError::Trailing { compression, at: end + padding, what }.into())
    }
}

/// Bytes of a piece of text, but for that of a whole member.
const PIECE_LEN: usize = 1 << 20;

/// Bytes of what stands behind a member that are looked at and shown.
const MAX_NAMED_LEN: usize = 16;

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(MAX_NAMED_LEN)].escape_ascii())
}

impl Read for Decompressed {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(failure) = self.failure.take() {
                return Err(failure.into());
            }
            if !self.begin_member(|len| Ok(vec![0; len]))? {
                return Ok(0);
            }
            let Some(decoder) = &mut self.member else { return self.text.read(output) };
            // A pipe may be silent while the decoder still has something to give.
            let input = if self.is_pending { self.input.buffered() } else { self.input.fill_buf()? };
            let is_at_end = input.is_empty() && !self.is_pending;
            let Step { consumed, written, state } = decoder.step(input, output);
            self.input.consume(consumed);
            self.is_pending = written == output.len();
            let (compression, at) = (self.compression, self.input.position());
            match state {
                Ok(State::More) if is_at_end && written == 0 => {
                    self.failure = Some(DecompressionError::Truncated { compression, at });
                }
                Ok(State::More) => {}
                Ok(State::Ended) => {
                    self.member = None;
                    self.is_pending = false;
                    self.end = at;
                }
                Err(Refusal::Memory) => self.failure = Some(DecompressionError::Memory { compression, at }),
                Err(Refusal::Damage(reason)) => {
                    self.failure = Some(DecompressionError::Damaged { compression, at, reason });
                }
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }
}

/// Bytes that libzstd wants before it says how many more.
const MIN_FRAME_LEN: usize = 5;

/// What decompresses one member.
enum Decoder {
    Gzip(flate2::Decompress),
    Bzip2(bzip2::Decompress),
    Xz(Stream),
    Zstd {
        decoder: raw::Decoder<'static>,
        /// Bytes up to the end of the next block; none while there may be more of the one before.
        /// libzstd is given no more at a time: an error in a later block would take back what the
        /// blocks before it gave.
        wanted: usize,
    },
}

/// What a decoder did with the bytes that it was given.
struct Step {
    consumed: usize,
    written: usize,
    state: Result<State, Refusal>,
}

enum State {
    More,
    Ended,
}

enum Refusal {
    Damage(Box<dyn Error + Send + Sync>),
    Memory,
}

impl Decoder {
    fn new(compression: Compression) -> io::Result<Decoder> {
        Ok(match compression {
            // The largest window that there is.
            Compression::Gzip => Decoder::Gzip(flate2::Decompress::new_gzip(15)),
            Compression::Bzip2 => Decoder::Bzip2(bzip2::Decompress::new(false)),
            Compression::Xz => Decoder::Xz(Stream::new_stream_decoder(MAX_MEMORY, 0)?),
            Compression::Zstd => Decoder::Zstd { decoder: raw::Decoder::new()?, wanted: MIN_FRAME_LEN },
        })
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        match self {
            Decoder::Gzip(decoder) => {
                let before = (decoder.total_in(), decoder.total_out());
                let state = match decoder.decompress(input, output, FlushDecompress::None) {
                    Ok(flate2::Status::StreamEnd) => Ok(State::Ended),
                    Ok(_) => Ok(State::More),
                    Err(error) => Err(Refusal::Damage(error.into())),
                };
                Step::since(before, (decoder.total_in(), decoder.total_out()), state)
            }
            Decoder::Bzip2(decoder) => {
                let before = (decoder.total_in(), decoder.total_out());
                let state = match decoder.decompress(input, output) {
                    Ok(bzip2::Status::StreamEnd) => Ok(State::Ended),
                    Ok(bzip2::Status::MemNeeded) => Err(Refusal::Memory),
                    Ok(_) => Ok(State::More),
                    Err(error) => Err(Refusal::Damage(error.into())),
                };
                Step::since(before, (decoder.total_in(), decoder.total_out()), state)
            }
            Decoder::Xz(decoder) => {
                let before = (decoder.total_in(), decoder.total_out());
                let state = match decoder.process(input, output, Action::Run) {
                    Ok(liblzma::stream::Status::StreamEnd) => Ok(State::Ended),
                    Ok(_) => Ok(State::More),
                    Err(XzError::MemLimit | XzError::Mem) => Err(Refusal::Memory),
                    Err(error) => Err(Refusal::Damage(error.into())),
                };
                Step::since(before, (decoder.total_in(), decoder.total_out()), state)
            }
            Decoder::Zstd { decoder, wanted } => {
                match decoder.run_on_buffers(&input[..input.len().min(*wanted)], output) {
                    Ok(raw::Status { remaining, bytes_read: consumed, bytes_written: written }) => {
                        *wanted = if written == output.len() { 0 } else { remaining };
                        let state = Ok(if remaining == 0 { State::Ended } else { State::More });
                        Step { consumed, written, state }
                    }
                    Err(error) => {
                        let zstd_error = error.get_ref().and_then(|error| error.downcast_ref::<zstd::Error>());
                        let state = match zstd_error {
                            Some(error) if error.is(WINDOW_TOO_LARGE) => Refusal::Memory,
                            _ => Refusal::Damage(error.into()),
                        };
                        Step { consumed: 0, written: 0, state: Err(state) }
                    }
                }
            }
        }
    }
}

impl Step {
    /// From a decoder's totals of bytes consumed and written, before and after.
    fn since(before: (u64, u64), after: (u64, u64), state: Result<State, Refusal>) -> Step {
        // Both are at most the length of a buffer.
        Step { consumed: (after.0 - before.0) as usize, written: (after.1 - before.1) as usize, state }
    }
}

#[cfg(test)]
mod tests;
