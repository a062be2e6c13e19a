//! Byte order marks, and text in UTF-16.

use std::io::{self, BufRead, Read};

use super::peek::PeekReader;

/// What many programs write in front of text in UTF-8. Where files are joined, it stands in the
/// middle.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of the byte order marks that the line begins with: hardly ever any.
#[inline]
pub(crate) fn byte_order_marks_len(line: &[u8]) -> usize {
    let mut len = 0;
    while line[len..].starts_with(BYTE_ORDER_MARK) {
        len += BYTE_ORDER_MARK.len();
    }
    len
}

/// The rest of the line behind byte order marks, blanks and tabs.
#[inline]
pub(crate) fn without_margin(mut line: &[u8]) -> &[u8] {
    loop {
        line = match line {
            [b' ' | b'\t', rest @ ..] | [0xef, 0xbb, 0xbf, rest @ ..] => rest,
            _ => return line,
        };
    }
}

/// The first byte of text that is no byte order mark, blank or newline.
pub(super) fn first_byte(mut text: &[u8]) -> Option<u8> {
    loop {
        text = match without_margin(text) {
            [b'\r' | b'\n', rest @ ..] => rest,
            rest => return rest.first().copied(),
        };
    }
}

/// Which byte of a unit of UTF-16 comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    BigEndian,
    LittleEndian,
}

/// Makes UTF-8 of UTF-16. Half a surrogate pair becomes U+FFFD.
pub(super) struct Utf16Reader {
    input: PeekReader,
    order: ByteOrder,
    /// The UTF-8 of which `given` bytes were read.
    text: String,
    given: usize,
}

/// Units that become UTF-8 at a time.
const MAX_UNITS: usize = 32 << 10;

impl Utf16Reader {
    pub(super) fn new(input: PeekReader, order: ByteOrder) -> Utf16Reader {
        Utf16Reader { input, order, text: String::new(), given: 0 }
    }

    /// Makes UTF-8 of what is buffered; `false` at the end of the input.
    fn refill(&mut self) -> io::Result<bool> {
        // With two units there is no half of a pair whose other half has yet to be read, unless it
        // is the last: that one is left for the next time.
        let bytes = self.input.peek(4)?;
        let unit = |bytes: &[u8; 2]| match self.order {
            ByteOrder::BigEndian => u16::from_be_bytes(*bytes),
            ByteOrder::LittleEndian => u16::from_le_bytes(*bytes),
        };
        let (units, _) = bytes.as_chunks::<2>();
        let mut count = units.len().min(MAX_UNITS);
        if count > 1 && (0xd800..0xdc00).contains(&unit(&units[count - 1])) {
            count -= 1;
        }
        if count == 0 {
            return match bytes {
                [] => Ok(false),
                _ => {
                    let text = "the text in UTF-16 ends in the middle of a character: the file was cut off";
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
                }
            };
        }
        self.text.clear();
        let characters = char::decode_utf16(units[..count].iter().map(unit));
        self.text.extend(characters.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)));
        self.given = 0;
        self.input.consume(2 * count);
        Ok(true)
    }
}

impl Read for Utf16Reader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            if !self.refill()? {
                return Ok(0);
            }
        }
        let count = (&self.text.as_bytes()[self.given..]).read(output)?;
        self.given += count;
        Ok(count)
    }
}
