//! What a text becomes at the level of gzip that is our own comes back, and takes no more room than
//! was said.
#![no_main]

use std::io::Read;

use flate2::read::GzDecoder;
use libfuzzer_sys::fuzz_target;
use pixel_engine::compress::Codec;

const CODEC: Codec = Codec::Gzip(1);

fuzz_target!(|input: (u8, &[u8])| {
    // Repeated, so that matches are long and far away too.
    let (times, text) = (usize::from(input.0) + 1, input.1);
    let text = text.repeat(times);
    let member = CODEC.compress(text.chunks(1000), text.len()).expect("memory does not fail");
    assert!(member.len() <= CODEC.bound(text.len()));
    let mut back = Vec::new();
    GzDecoder::new(&member[..]).read_to_end(&mut back).expect("a gzip member");
    assert_eq!(back, text);
});
