//! Compressing records: every codec at several levels, against the bare libraries.

use std::error::Error;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use libdeflater::{CompressionLvl, Compressor};
use pixel_engine::compress::Codec;
use pixel_engine_benches::{Contest, EVERY_PATH, Row, Stage, data, is_quick};

const ZLIB: &str = "flate2 (zlib-rs)";
const LIBDEFLATE: &str = "libdeflate";
const ZSTD: &str = "zstd::bulk";

/// Which levels, and how many times as fast as which rival they are to be.
const CODECS: [(Codec, Option<(&str, f64)>); 11] = [
    (Codec::Zstd(-5), None),
    (Codec::Zstd(1), None),
    (Codec::Zstd(3), None),
    (Codec::Zstd(6), None),
    (Codec::Zstd(9), None),
    (Codec::Gzip(1), Some((ZLIB, 2.0))),
    (Codec::Gzip(2), None),
    (Codec::Gzip(4), None),
    (Codec::Gzip(6), None),
    (Codec::Gzip(8), None),
    (Codec::Gzip(9), None),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "compress",
        "realtime-46, one record's worth of lines: about what zstd:1 brings under 1,024,000 B. Ours gets the lines in \
         pieces of 1 MiB, the engine's blocks, and gives each record a buffer of its own. The rivals get them in one \
         piece, and keep their context and their buffer.",
    );
    let text = data::log("realtime-46", if is_quick() { 1 << 20 } else { 5_900_000 });
    for (codec, target) in CODECS {
        compress(&mut stage, codec, target, &text)?;
    }
    stage.finish()
}

/// Compresses the text that it was made for; returns how long the result is.
type Rival<'a> = Box<dyn FnMut() -> usize + 'a>;

fn compress(stage: &mut Stage, codec: Codec, target: Option<(&str, f64)>, text: &[u8]) -> Result<(), Box<dyn Error>> {
    let ours = || codec.compress(text.chunks(1 << 20), text.len());
    let compressed = ours()?;
    let same = decompressed(codec, &compressed)? == text;
    let times_smaller = |len: usize| text.len() as f64 / len as f64;
    let mut contest = Contest::new(codec.to_string(), text.len()).ours(EVERY_PATH, ours);
    for (name, mut rival) in rivals(codec, text)? {
        let rival_value = times_smaller(rival());
        stage.row(Row::of(
            &format!("{codec}, times smaller"),
            "times",
            times_smaller(compressed.len()),
            Some((name, rival_value)),
            None,
            String::new(),
        ));
        contest = contest.rival(name, rival);
    }
    if let Some((rival, times)) = target {
        contest = contest.target(EVERY_PATH, rival, times);
    }
    stage.contest(contest.checked("text after decompression", same));
    Ok(())
}

fn rivals<'a>(codec: Codec, text: &'a [u8]) -> Result<Vec<(&'static str, Rival<'a>)>, Box<dyn Error>> {
    Ok(match codec {
        Codec::None => Vec::new(),
        Codec::Zstd(level) => {
            let mut compressor = zstd::bulk::Compressor::new(level)?;
            let mut buffer = Vec::with_capacity(codec.bound(text.len()));
            let work = move || {
                buffer.clear();
                compressor.compress_to_buffer(text, &mut buffer).expect("the buffer is large enough")
            };
            vec![(ZSTD, Box::new(work))]
        }
        Codec::Gzip(level) => {
            let mut kept = Vec::with_capacity(codec.bound(text.len()));
            let zlib = move || {
                kept.clear();
                let mut encoder = GzEncoder::new(std::mem::take(&mut kept), Compression::new(level));
                kept = encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory does not fail");
                kept.len()
            };
            let mut compressor = Compressor::new(CompressionLvl::new(level as i32).expect("a level of libdeflate"));
            let mut buffer = vec![0; compressor.gzip_compress_bound(text.len())];
            let libdeflate = move || compressor.gzip_compress(text, &mut buffer).expect("the buffer is large enough");
            vec![(ZLIB, Box::new(zlib)), (LIBDEFLATE, Box::new(libdeflate))]
        }
    })
}

fn decompressed(codec: Codec, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match codec {
        Codec::None => text.extend_from_slice(bytes),
        Codec::Gzip(_) => {
            GzDecoder::new(bytes).read_to_end(&mut text)?;
        }
        Codec::Zstd(_) => text = zstd::decode_all(bytes)?,
    }
    Ok(text)
}
