//! Percent-decoding does what a plain loop does; broken escapes stay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixel_engine::log::percent;

fn naive(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fuzz_target!(|text: &[u8]| {
    assert_eq!(*percent::decode(text), *naive(text));
    let mut out = b"before".to_vec();
    percent::decode_into(text, &mut out);
    assert_eq!(out.strip_prefix(b"before"), Some(&*naive(text)));
});
