//! The lines in what somebody sent: compressed or not, JSON of any shape or not.

use std::io::{self, Cursor, Read};

use super::Kind;
use crate::source::{Format, JsonLines, fields_header, is_plain, text_of, without_margin};

/// Lines of one kind, each with its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// What they are.
    pub kind: Kind,
    /// The text.
    pub lines: Vec<u8>,
}

/// There are no lines in what was sent, or they cannot be got out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is more than is taken at once, after decompression.
    #[error("the body has more than {0} bytes of text: send it in parts")]
    TooLong(usize),
    /// An archive, a table, or what another compressor made: what it is, and what to do.
    #[error("the body is {0}")]
    Unsupported(String),
    /// Damaged or cut off.
    #[error("the body cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl Body {
    /// Reads a body of at most `max_len` bytes of text, which may be compressed as an input of
    /// `ingest` may be.
    ///
    /// # Errors
    /// It cannot be read as a whole: nothing of it is taken.
    pub fn read(bytes: Vec<u8>, format: Format, max_len: usize) -> Result<Body, BodyError> {
        Body::sorted(decompressed(bytes, max_len)?, format).map_err(|(_, error)| BodyError::Unreadable(error))
    }

    /// Sorts text by what its lines are. Where a JSON array does not end, its lines are left as they
    /// came: each is good or bad by itself.
    pub fn of(lines: Vec<u8>, format: Format) -> Body {
        Body::sorted(lines, format).unwrap_or_else(|(as_it_came, _)| as_it_came)
    }

    /// The lines of the text, or the text as it came and why it is not whole.
    fn sorted(mut lines: Vec<u8>, format: Format) -> Result<Body, (Body, io::Error)> {
        let format = if format == Format::Auto { Format::of(&lines).unwrap_or_default() } else { format };
        let mut cut = None;
        if format == Format::Json {
            match objects_in(&lines) {
                Ok(objects) => lines = objects,
                Err(error) => cut = Some(error),
            }
        }
        if lines.last().is_some_and(|&last| last != b'\n') {
            lines.push(b'\n');
        }
        let kind = match format {
            Format::Json => Kind::Json,
            Format::Standard if begins_with_fields(&lines) => Kind::Standard,
            Format::Standard => Kind::Alone,
            _ => Kind::RealTime,
        };
        let body = Body { kind, lines };
        match cut {
            None => Ok(body),
            Some(error) => Err((body, error)),
        }
    }
}

/// JSON as one object a line. What is none is a line too, to be found bad later; it must not take
/// with it what somebody else has sent, so all of it is on lines of its own.
///
/// An array that does not end is an error: it was cut off.
fn objects_in(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    JsonLines::new(text, Format::Json).read_to_end(&mut lines)?;
    Ok(lines)
}

/// The last `#Fields:` header in these lines of a standard log, under which those behind it stand.
pub fn last_fields_header(lines: &[u8]) -> Option<&[u8]> {
    lines.split_inclusive(|&byte| byte == b'\n').rfind(|line| fields_header(line).is_some())
}

/// The text of a body, which has at most `max_len` bytes.
///
/// # Errors
/// As for [`Body::read`].
pub fn decompressed(bytes: Vec<u8>, max_len: usize) -> Result<Vec<u8>, BodyError> {
    if bytes.len() <= max_len && is_plain(&bytes) {
        return Ok(bytes);
    }
    let text = text_of(Cursor::new(bytes)).map_err(BodyError::Unsupported)?;
    let mut decompressed = Vec::new();
    text.take(max_len as u64 + 1).read_to_end(&mut decompressed).map_err(BodyError::Unreadable)?;
    if decompressed.len() > max_len { Err(BodyError::TooLong(max_len)) } else { Ok(decompressed) }
}

/// Whether a `#Fields:` header stands before the first line.
fn begins_with_fields(text: &[u8]) -> bool {
    let mut headers = text.split(|&byte| byte == b'\n').take_while(|line| {
        let line = without_margin(line);
        matches!(line, [] | [b'\r'] | [b'#', ..])
    });
    headers.any(|line| matches!(fields_header(line), Some(Ok(_))))
}
