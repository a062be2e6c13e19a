//! Compresses a record into one complete zstd frame or gzip member, so that the objects that
//! Firehose makes by joining records are valid streams.
//!
//! Athena's zstd reader refuses windows over 8 MiB, so every level is held to that, and a frame
//! states its content size. Source: ZstdFrameDecompressor of airlift/aircompressor, with which
//! Trino and Athena read.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

/// The largest zstd window that Athena reads: 8 MiB.
const MAX_WINDOW_LOG: u32 = 23;

/// How records are compressed. Levels are those of the library: text is checked when it is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    #[default]
    None,
    /// One gzip member a record; levels 0 to 9.
    Gzip(u32),
    /// One zstd frame a record; levels -7 to 22.
    Zstd(i32),
}

impl Codec {
    /// What the names of delivered objects end in.
    pub fn extension(self) -> &'static str {
        match self {
            Codec::None => "",
            Codec::Gzip(_) => ".gz",
            Codec::Zstd(_) => ".zst",
        }
    }

    /// The most bytes that `len` bytes can become.
    pub fn bound(self, len: usize) -> usize {
        match self {
            Codec::None => len,
            // Level 1 writes fixed codes of up to 9 bits a byte rather than stored blocks.
            Codec::Gzip(_) => len + len / 8 + len / 64 + 64,
            Codec::Zstd(_) => compress_bound(len),
        }
    }

    /// The longest input that is sure to fit into `limit` bytes.
    pub fn max_input_len(self, limit: usize) -> usize {
        let overhead = self.bound(limit) - limit;
        limit.saturating_sub(overhead)
    }

    /// Compresses the pieces, `len` bytes in all, as one stream.
    ///
    /// # Errors
    /// What the library reports: in practice that there is no memory left.
    pub fn compress<'a>(self, pieces: impl Iterator<Item = &'a [u8]>, len: usize) -> io::Result<Vec<u8>> {
        match self {
            Codec::None => Ok(pieces.collect::<Vec<_>>().concat()),
            Codec::Gzip(level) => {
                let output = Vec::with_capacity(len / 4 + 64);
                let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(level));
                for piece in pieces {
                    encoder.write_all(piece)?;
                }
                encoder.finish()
            }
            Codec::Zstd(level) => with_zstd(Search::of_records(level), |zstd| zstd.compress(pieces, len)),
        }
    }

    /// Compresses a page of a file, which holds one column of many lines.
    ///
    /// # Errors
    /// As [`Codec::compress`].
    pub fn compress_page(self, page: &[u8]) -> io::Result<Vec<u8>> {
        let pieces = std::iter::once(page);
        match self {
            Codec::Zstd(level) => with_zstd(Search::of_pages(level), |zstd| zstd.compress(pieces, page.len())),
            codec => codec.compress(pieces, page.len()),
        }
    }
}

/// How far back zstd looks for what it has seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Search {
    level: i32,
    /// The logarithm of the window's bytes; the level's own without.
    window_log: Option<u32>,
    /// The logarithm of how many places are remembered; the level's own without.
    hash_log: Option<u32>,
}

impl Search {
    fn of_records(level: i32) -> Search {
        // Levels from 20 on would take a larger window by themselves.
        Search { level, window_log: (level >= 20).then_some(MAX_WINDOW_LOG), hash_log: None }
    }

    /// What repeats in a column is farther away than in a log. With 2 MiB and four times the places,
    /// pages of URLs take 4 % less than at the library's level 1, within 1 % of what they take at
    /// level 3, in three quarters of that one's time.
    fn of_pages(level: i32) -> Search {
        match level {
            1 => Search { level, window_log: Some(21), hash_log: Some(16) },
            level => Search::of_records(level),
        }
    }
}

/// A zstd context with its buffers; each thread keeps one.
///
/// The pieces are copied together first: handing them to a streaming encoder one by one was 4 to 10
/// % slower.
struct Zstd {
    search: Search,
    compressor: Compressor<'static>,
    input: Vec<u8>,
    output: Vec<u8>,
}

fn with_zstd<T>(search: Search, work: impl FnOnce(&mut Zstd) -> io::Result<T>) -> io::Result<T> {
    thread_local! {
        static ZSTD: RefCell<Option<Zstd>> = const { RefCell::new(None) };
    }
    ZSTD.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|zstd| zstd.search != search) {
            *kept = Some(Zstd::new(search)?);
        }
        work(kept.as_mut().expect("it was set above"))
    })
}

impl Zstd {
    fn new(search: Search) -> io::Result<Zstd> {
        let mut compressor = Compressor::new(search.level)?;
        let parameters = [search.window_log.map(CParameter::WindowLog), search.hash_log.map(CParameter::HashLog)];
        for parameter in parameters.into_iter().flatten() {
            compressor.set_parameter(parameter)?;
        }
        Ok(Zstd { search, compressor, input: Vec::new(), output: Vec::new() })
    }

    fn compress<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>, len: usize) -> io::Result<Vec<u8>> {
        self.input.clear();
        self.input.reserve(len);
        pieces.for_each(|piece| self.input.extend_from_slice(piece));
        // Room for the worst case is reserved, but only what is written to takes memory.
        self.output.clear();
        self.output.reserve(compress_bound(len));
        self.compressor.compress_to_buffer(&self.input, &mut self.output)?;
        Ok(self.output.clone())
    }
}

/// Text that is not a codec, usually for a level that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of none, gzip, gzip:0 to gzip:9, zstd, zstd:-7 to zstd:22")]
pub struct UnknownCodec(String);

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(text: &str) -> Result<Codec, UnknownCodec> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<i32>().map_err(|_| UnknownCodec(text.to_owned()))?)),
            None => (text, None),
        };
        match (name, level) {
            ("none", None) => Ok(Codec::None),
            ("gzip", None) => Ok(Codec::Gzip(6)),
            ("gzip", Some(level @ 0..=9)) => Ok(Codec::Gzip(level.unsigned_abs())),
            ("zstd", None) => Ok(Codec::Zstd(3)),
            ("zstd", Some(level @ -7..=22)) => Ok(Codec::Zstd(level)),
            _ => Err(UnknownCodec(text.to_owned())),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::None => formatter.write_str("none"),
            Codec::Gzip(level) => write!(formatter, "gzip:{level}"),
            Codec::Zstd(level) => write!(formatter, "zstd:{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip(1), Codec::Gzip(0), Codec::Zstd(1), Codec::Zstd(-7)];

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(len)
        .collect()
    }

    fn decompress(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        match codec {
            Codec::None => output.extend_from_slice(bytes),
            Codec::Gzip(_) => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut output).unwrap()),
            Codec::Zstd(_) => output = zstd::decode_all(bytes).unwrap(),
        }
        output
    }

    #[test]
    fn pieces_come_back_as_one_stream() {
        let text = b"some line of a log\n".repeat(10_000);
        for codec in CODECS {
            let compressed = codec.compress(text.chunks(777), text.len()).unwrap();
            assert_eq!(decompress(codec, &compressed), text, "{codec}");
        }
    }

    #[test]
    fn noise_stays_within_the_bound() {
        for codec in CODECS {
            for limit in [1024, 5_120, 65_536, 300_000, 1_024_000] {
                let longest = codec.max_input_len(limit);
                assert!(longest > limit / 2);
                let compressed = codec.compress(noise(longest).chunks(1000), longest).unwrap();
                assert!(compressed.len() <= limit, "{codec}: {} > {limit}", compressed.len());
            }
        }
    }

    #[test]
    fn a_window_is_at_most_8_mib_at_every_level() {
        let text = noise(9 << 20);
        for level in [19, 20, 22] {
            let compressed = Codec::Zstd(level).compress(std::iter::once(&text[..]), text.len()).unwrap();
            let mut decoder = zstd::Decoder::new(&compressed[..]).unwrap();
            decoder.window_log_max(MAX_WINDOW_LOG).unwrap();
            let mut output = Vec::new();
            decoder.read_to_end(&mut output).unwrap();
            assert!(output == text, "level {level}");
        }
    }

    #[test]
    fn codecs_have_names() {
        for (text, codec) in [
            ("none", Codec::None),
            ("gzip", Codec::Gzip(6)),
            ("gzip:9", Codec::Gzip(9)),
            ("zstd", Codec::Zstd(3)),
            ("zstd:-1", Codec::Zstd(-1)),
        ] {
            assert_eq!(text.parse(), Ok(codec));
        }
        for text in ["", "zip", "none:1", "gzip:10", "zstd:23", "zstd:", "zstd:x"] {
            assert!(text.parse::<Codec>().is_err(), "{text}");
        }
    }
}
