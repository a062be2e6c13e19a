//! Decompresses a member of gzip as a whole.
//!
//! libdeflate is twice as fast as a decompressor that can stop anywhere, but wants all of a member
//! and room for all of its text. It also does not say where the member ended. So it gets the bytes
//! up to where the next member seems to begin, or the input ends: there the length of the text
//! stands in front, which makes the room. libdeflate looks for the same length where the member
//! really ends, so if these four bytes stand nowhere else, that is the end.
//!
//! In every other case there is no answer, rather than an error: the decompressor that reads piece
//! by piece says what is wrong, and where.

use libdeflater::Decompressor;
use memchr::memmem;

/// Compressed bytes that are looked at for a member.
pub(super) const MAX_MEMBER_LEN: usize = 16 << 20;
/// Bytes of text that a member may have. What is longer, such as a decompression bomb, is not given
/// the memory.
pub(super) const MAX_TEXT_LEN: usize = 64 << 20;

/// CRC-32 and length of the text, behind the compressed data.
pub(super) const TRAILER_LEN: usize = 8;

/// A member that is probably all there.
pub(super) struct Member<'a> {
    /// Up to its end.
    bytes: &'a [u8],
    /// Where its compressed data begins.
    start: usize,
    /// Bytes of its text.
    text_len: usize,
}

impl<'a> Member<'a> {
    /// The first member of `bytes`, which begin with one; `is_all` when the input ends with them.
    pub(super) fn first(bytes: &'a [u8], is_all: bool) -> Option<Member<'a>> {
        let start = header_len(bytes)?;
        let mut others = memmem::find_iter(&bytes[start..], MAGIC).map(|at| start + at);
        let next = others.find(|&at| header_len(&bytes[at..]).is_some());
        let bytes = &bytes[..next.or(is_all.then_some(bytes.len()))?];
        let (_, text_len) = bytes[start..].split_last_chunk()?;
        let text_len = usize::try_from(u32::from_le_bytes(*text_len)).ok()?;
        let is_small = bytes.len() <= MAX_MEMBER_LEN && text_len <= MAX_TEXT_LEN;
        (is_small && bytes.len() >= start + TRAILER_LEN).then_some(Member { bytes, start, text_len })
    }

    /// Its bytes, with header and trailer.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that its text takes.
    pub(super) fn text_len(&self) -> usize {
        self.text_len
    }

    /// Writes the text, for which there is just the room; `false` when it is no member from its first
    /// byte to its last, or that is not sure.
    pub(super) fn write_text(&self, text: &mut [u8]) -> bool {
        let data = &self.bytes[self.start..];
        let is_whole = Decompressor::new().gzip_decompress(self.bytes, text) == Ok(self.text_len);
        let (_, len) = data.split_at(data.len() - 4);
        // Those that overlap with the length at the end count as well.
        let is_elsewhere = || memmem::find(&data[..data.len() - 1], len).is_some();
        is_whole && !is_elsewhere()
    }
}

/// What every member begins with, compressed by the only method that there is.
const MAGIC: &[u8] = &[0x1f, 0x8b, 8];

/// Flags of the header. Source: RFC 1952.
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
/// That it is text, which means nothing.
const IS_TEXT: u8 = 1;

/// Bytes of the header that `bytes` begin with; `None` when there is none, one with a checksum of
/// its own, which nobody writes, or one with values that the RFC does not list: compressed data has
/// the three bytes of [`MAGIC`] every 16 MiB.
fn header_len(bytes: &[u8]) -> Option<usize> {
    let ([_, _, _, flags, _, _, _, _, 0 | 2 | 4, 0..=13 | 255], mut rest) = bytes.split_first_chunk()? else {
        return None;
    };
    if !bytes.starts_with(MAGIC) || flags & !(HAS_EXTRA | HAS_NAME | HAS_COMMENT | IS_TEXT) != 0 {
        return None;
    }
    if flags & HAS_EXTRA != 0 {
        let (len, extra) = rest.split_first_chunk()?;
        rest = extra.get(u16::from_le_bytes(*len).into()..)?;
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            rest = &rest[memchr::memchr(0, rest)? + 1..];
        }
    }
    Some(bytes.len() - rest.len())
}
