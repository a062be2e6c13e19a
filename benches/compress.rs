//! Compressing records, against the bare libraries.

use std::error::Error;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use pixel_engine::compress::Codec;
use pixel_engine_benches::{Contest, EVERY_PATH, Stage, data, is_quick};

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "compress",
        "realtime-46, one record's worth of lines: about what zstd:1 brings under 1,024,000 B. Ours gets the lines in \
         pieces of 1 MiB, the engine's blocks, and gives each record a buffer of its own. The rivals get them in one \
         piece, and keep their context and their buffer.",
    );
    let text = data::log("realtime-46", if is_quick() { 1 << 20 } else { 5_900_000 });
    for codec in [Codec::Zstd(1), Codec::Zstd(3), Codec::Gzip(1), Codec::Gzip(6)] {
        let ours = || codec.compress(text.chunks(1 << 20), text.len());
        let (name, mut rival): (_, Box<dyn FnMut() -> usize>) = match codec {
            Codec::Zstd(level) => {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                let mut buffer = Vec::with_capacity(codec.bound(text.len()));
                let text = &text;
                let work = move || {
                    buffer.clear();
                    compressor.compress_to_buffer(text, &mut buffer).expect("the buffer is large enough")
                };
                ("zstd::bulk", Box::new(work))
            }
            Codec::Gzip(level) => {
                let mut kept = Vec::with_capacity(codec.bound(text.len()));
                let text = &text;
                let work = move || {
                    kept.clear();
                    let mut encoder = GzEncoder::new(std::mem::take(&mut kept), Compression::new(level));
                    kept = encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory does not fail");
                    kept.len()
                };
                ("flate2 GzEncoder", Box::new(work))
            }
            Codec::None => continue,
        };
        let compressed = ours()?;
        let same = decompressed(codec, &compressed)? == text;
        let mean = |len: usize| text.len() as f64 / len as f64;
        stage.note(format!("{codec}: ours {:.3} times smaller, {name} {:.3}", mean(compressed.len()), mean(rival())));
        stage.contest(
            Contest::new(codec.to_string(), text.len())
                .ours(EVERY_PATH, ours)
                .rival(name, rival)
                .checked("text after decompression", same),
        );
    }
    stage.finish()
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
