//! gzip members: level 1 by our own encoder, which is made for it, the others by libdeflate.

use std::cell::RefCell;
use std::io;

use libdeflater::{CompressionLvl, Compressor};
use pixel_engine_gzip::Encoder;

/// The level that is our own.
const OWN_LEVEL: u32 = 1;

/// The most bytes that a member of `len` bytes takes.
pub(super) fn bound(level: u32, len: usize) -> usize {
    match level {
        OWN_LEVEL => pixel_engine_gzip::bound(len),
        // What cannot be compressed is stored, with 5 bytes before each block, which has at least
        // 5,000. Source: `libdeflate_deflate_compress_bound`.
        _ => len + 5 * (len / 5_000 + 1) + 64,
    }
}

/// An encoder, and where it writes to.
struct Context {
    encoder: LevelEncoder,
    output: Vec<u8>,
}

enum LevelEncoder {
    Own(Box<Encoder>),
    Libdeflate(u32, Compressor),
}

/// A member of that text, at a level of 0 to 9.
pub(super) fn compress(level: u32, text: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Option<Context>> = const { RefCell::new(None) };
    }
    KEPT.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) if context.encoder.level() == level => context,
            _ => kept.insert(Context { encoder: LevelEncoder::new(level), output: Vec::new() }),
        };
        context.compress(text)
    })
}

impl LevelEncoder {
    fn new(level: u32) -> LevelEncoder {
        if level == OWN_LEVEL {
            return LevelEncoder::Own(Box::default());
        }
        let known = CompressionLvl::new(level as i32).expect("libdeflate has all levels of gzip");
        LevelEncoder::Libdeflate(level, Compressor::new(known))
    }

    fn level(&self) -> u32 {
        match self {
            LevelEncoder::Own(_) => OWN_LEVEL,
            LevelEncoder::Libdeflate(level, _) => *level,
        }
    }
}

impl Context {
    fn compress(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        let Context { encoder, output } = self;
        match encoder {
            LevelEncoder::Own(encoder) => {
                output.clear();
                encoder.encode(text, output);
                Ok(output.clone())
            }
            LevelEncoder::Libdeflate(level, compressor) => {
                let bound = bound(*level, text.len());
                if output.len() < bound {
                    output.resize(bound, 0);
                }
                let len = compressor.gzip_compress(text, output).map_err(io::Error::other)?;
                Ok(output[..len].to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_not_below_that_of_the_library() {
        for level in [0, 2, 9] {
            let mut compressor = Compressor::new(CompressionLvl::new(level as i32).unwrap());
            for len in (0..20_000).chain([65_535, 65_536, 1_024_000, 128 << 20]) {
                assert!(bound(level, len) >= compressor.gzip_compress_bound(len), "{len} bytes at level {level}");
            }
        }
    }
}
