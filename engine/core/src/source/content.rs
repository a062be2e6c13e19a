//! What an input holds, told from its first bytes and never from its name.

use std::fmt;

use super::peek::PeekReader;
use super::text::ByteOrder;

/// What the bytes of an input, or those that come out of decompressing it, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Anything that is nothing else: lines of text.
    Plain,
    /// Text in UTF-16.
    Utf16(ByteOrder),
    Compressed(Compression),
    Unsupported(Unsupported),
}

/// How an input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip: any number of members.
    Gzip,
    /// bzip2: any number of streams.
    Bzip2,
    /// xz: any number of streams.
    Xz,
    /// Zstandard: any number of frames.
    Zstd,
}

/// What is recognised so that it can be named, and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// A 7-Zip archive.
    SevenZip,
    /// An Avro file.
    Avro,
    /// What `compress` makes.
    Compress,
    /// Compressed data that was compressed once more.
    CompressedTwice(Compression),
    /// LZ4 frames.
    Lz4,
    /// A lzip file.
    Lzip,
    /// The format that xz replaced.
    Lzma,
    /// A Parquet file.
    Parquet,
    /// Snappy in its framing format.
    Snappy,
    /// A tar archive.
    Tar,
    /// Text in UTF-32.
    Utf32,
    /// A zip archive.
    Zip,
}

/// Bytes from which every content can be told: what tells a tar archive stands that far behind.
const MAX_MAGIC_LEN: usize = 262;
/// Bytes that must be there before anything is told.
const MIN_MAGIC_LEN: usize = 4;

impl Content {
    /// Told from the next bytes, without consuming them. It waits for no more of a pipe than its
    /// first line: what could be told from later bytes only has no newline before them.
    pub(super) fn recognize(bytes: &mut PeekReader) -> Content {
        let is_known = |start: &[u8]| {
            start.len() >= MAX_MAGIC_LEN
                || start.len() >= MIN_MAGIC_LEN && (start.contains(&b'\n') || Content::of(start) != Content::Plain)
        };
        Content::of(bytes.fill_until(is_known))
    }

    /// Told from the first bytes, or all there are.
    pub(super) fn of(start: &[u8]) -> Content {
        use Unsupported::*;
        match start {
            [0x1f, 0x8b, ..] => Content::Compressed(Compression::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Content::Compressed(Compression::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Content::Compressed(Compression::Xz),
            // A frame, or the skippable one that `pzstd` begins with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Content::Compressed(Compression::Zstd)
            }
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] => Content::Unsupported(Zip),
            [b'P', b'A', b'R', b'1' | b'E', ..] => Content::Unsupported(Parquet),
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Content::Unsupported(Lz4),
            [0xff, 0x06, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y', ..] => Content::Unsupported(Snappy),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Content::Unsupported(SevenZip),
            [b'L', b'Z', b'I', b'P', 0 | 1, ..] => Content::Unsupported(Lzip),
            [0x5d, 0, 0, ..] => Content::Unsupported(Lzma),
            [0x1f, 0x9d, ..] => Content::Unsupported(Compress),
            [b'O', b'b', b'j', 1, ..] => Content::Unsupported(Avro),
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Content::Unsupported(Utf32),
            [one, 0, 0, 0, ..] | [0, 0, 0, one, ..] if is_text(*one) => Content::Unsupported(Utf32),
            [0xff, 0xfe, ..] => Content::Utf16(ByteOrder::LittleEndian),
            [0xfe, 0xff, ..] => Content::Utf16(ByteOrder::BigEndian),
            // Without a byte order mark: a log begins with characters of ASCII.
            [one, 0, other, 0, ..] if is_text(*one) && is_text(*other) => Content::Utf16(ByteOrder::LittleEndian),
            [0, one, 0, other, ..] if is_text(*one) && is_text(*other) => Content::Utf16(ByteOrder::BigEndian),
            _ if start.get(257..MAX_MAGIC_LEN) == Some(b"ustar") => Content::Unsupported(Tar),
            _ => Content::Plain,
        }
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
        })
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Unsupported::SevenZip => "a 7-Zip archive",
            Unsupported::Avro => "an Avro file",
            Unsupported::Compress => "compress (.Z) data",
            Unsupported::CompressedTwice(compression) => return write!(formatter, "{compression} data"),
            Unsupported::Lz4 => "LZ4 data",
            Unsupported::Lzip => "lzip data",
            Unsupported::Lzma => "lzma data",
            Unsupported::Parquet => "a Parquet file",
            Unsupported::Snappy => "Snappy data",
            Unsupported::Tar => "a tar archive",
            Unsupported::Utf32 => "text in UTF-32",
            Unsupported::Zip => "a zip archive",
        })
    }
}

impl Unsupported {
    /// What to do about it.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Unsupported::SevenZip | Unsupported::Tar | Unsupported::Zip => {
                "unpack it, and pass the files or the folder"
            }
            Unsupported::Avro | Unsupported::Parquet => {
                "have the logs delivered as text or JSON, or convert it to JSON lines"
            }
            Unsupported::CompressedTwice(_) => "it was compressed twice: decompress it once",
            Unsupported::Compress | Unsupported::Lz4 | Unsupported::Lzip | Unsupported::Lzma | Unsupported::Snappy => {
                "decompress it, or compress it with gzip, bzip2, xz or zstd"
            }
            Unsupported::Utf32 => "convert it to UTF-8, for example with iconv",
        }
    }
}
/// Whether bytes that begin so are text as they are: not compressed, and not in UTF-16.
pub fn is_plain(head: &[u8]) -> bool {
    Content::of(head) == Content::Plain
}
