//! Byte order marks, and text in UTF-16.

use std::io::{self, BufRead, Read};

use super::peek::PeekReader;

/// What many programs write in front of text in UTF-8. Where files are joined, it stands in the
/// middle.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of the byte order marks that the line begins with: hardly ever any.
#[inline]
pub(crate) fn byte_order_marks_len(line: &[u8]) -> usize {
    if line.first() != Some(&BYTE_ORDER_MARK[0]) {
        return 0;
    }
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

/// The text behind byte order marks, blanks, tabs and newlines.
pub(super) fn without_blanks(mut text: &[u8]) -> &[u8] {
    loop {
        text = match without_margin(text) {
            [b'\r' | b'\n', rest @ ..] => rest,
            rest => return rest,
        };
    }
}

/// The first byte of text that is no byte order mark, blank or newline.
pub(super) fn first_byte(text: &[u8]) -> Option<u8> {
    without_blanks(text).first().copied()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives no more than some bytes at a time, as a pipe may.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(buffer.len()).min(self.0.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0.drain(..len);
            Ok(len)
        }
    }

    fn transcoded(units: &[u16], order: ByteOrder, piece: usize, output: usize) -> Vec<u8> {
        let bytes = units.iter().flat_map(|unit| match order {
            ByteOrder::BigEndian => unit.to_be_bytes(),
            ByteOrder::LittleEndian => unit.to_le_bytes(),
        });
        let mut reader = Utf16Reader::new(PeekReader::new(Pieces(bytes.collect(), piece)), order);
        let (mut text, mut buffer) = (Vec::new(), vec![0; output]);
        loop {
            let count = reader.read(&mut buffer).unwrap();
            if count == 0 {
                return text;
            }
            text.extend_from_slice(&buffer[..count]);
        }
    }

    proptest! {
        #[test]
        fn utf16_becomes_the_same_text_however_it_is_read(
            units in prop_oneof![
                "\\PC{0,80}".prop_map(|text| text.encode_utf16().collect::<Vec<u16>>()),
                prop::collection::vec(prop_oneof![any::<u16>(), 0xd7f0..0xe010_u16], 0..80),
            ],
            order in prop::sample::select(vec![ByteOrder::BigEndian, ByteOrder::LittleEndian]),
            piece in 1..9_usize,
            output in 1..9_usize,
        ) {
            let wanted = String::from_utf16_lossy(&units);
            prop_assert_eq!(transcoded(&units, order, piece, output), wanted.as_bytes());
        }
    }

    #[test]
    fn a_pair_may_stand_at_the_edge_of_what_is_transcoded_at_once() {
        for before in MAX_UNITS - 2..MAX_UNITS + 2 {
            let text = format!("{}\u{1f600}end", "a".repeat(before));
            let units: Vec<u16> = text.encode_utf16().collect();
            assert!(transcoded(&units, ByteOrder::LittleEndian, 1 << 20, 1 << 20) == text.as_bytes());
        }
    }

    #[test]
    fn half_a_unit_at_the_end_is_an_error_behind_the_text() {
        for rest in [&b"a"[..], b"\x3d\xd8\x00"] {
            let bytes = [b"o\0k\0".as_slice(), rest].concat();
            let mut reader = Utf16Reader::new(PeekReader::new(Pieces(bytes, 3)), ByteOrder::LittleEndian);
            let mut text = Vec::new();
            assert_eq!(reader.read_to_end(&mut text).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert!(text.starts_with(b"ok"));
        }
    }
}
