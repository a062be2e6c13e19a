//! Compresses a record into one complete zstd frame or gzip member, so that the objects that
//! Firehose makes by joining records are valid streams.
//!
//! Contexts and buffers are large, so each thread keeps those that it used last.

mod gzip_member;
mod zstd_frame;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::str::FromStr;

use zstd_frame::Search;

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
            Codec::Gzip(level) => gzip_member::bound(level, len),
            Codec::Zstd(_) => zstd_frame::bound(len),
        }
    }

    /// The longest input that is sure to fit into `limit` bytes.
    pub fn max_input_len(self, limit: usize) -> usize {
        let overhead = self.bound(limit) - limit;
        limit.saturating_sub(overhead)
    }

    /// Compresses the pieces, `len` bytes in all, as one stream.
    ///
    /// The pieces are copied together first: handing them to a streaming encoder one by one was 4 to
    /// 10 % slower.
    ///
    /// # Errors
    /// What the library reports: in practice that there is no memory left.
    pub fn compress<'a>(self, pieces: impl Iterator<Item = &'a [u8]>, len: usize) -> io::Result<Vec<u8>> {
        thread_local! {
            static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        if self == Codec::None {
            return Ok(pieces.collect::<Vec<_>>().concat());
        }
        TEXT.with_borrow_mut(|text| {
            text.clear();
            text.reserve(len);
            pieces.for_each(|piece| text.extend_from_slice(piece));
            self.compress_with(text, Search::of_records)
        })
    }

    /// Compresses a page of a file, which holds one column of many lines.
    ///
    /// # Errors
    /// As [`Codec::compress`].
    pub fn compress_page(self, page: &[u8]) -> io::Result<Vec<u8>> {
        self.compress_with(page, Search::of_pages)
    }

    fn compress_with(self, text: &[u8], search: fn(i32) -> Search) -> io::Result<Vec<u8>> {
        match self {
            Codec::None => Ok(text.to_vec()),
            Codec::Gzip(level) => gzip_member::compress(level, text),
            Codec::Zstd(level) => zstd_frame::compress(search(level), text),
        }
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

    const CODECS: [Codec; 8] = [
        Codec::None,
        Codec::Gzip(0),
        Codec::Gzip(1),
        Codec::Gzip(2),
        Codec::Gzip(6),
        Codec::Gzip(9),
        Codec::Zstd(1),
        Codec::Zstd(-7),
    ];

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
            decoder.window_log_max(zstd_frame::MAX_WINDOW_LOG).unwrap();
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
