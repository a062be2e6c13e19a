//! Whatever is posted, its lines are whole, of one kind, and all of what was posted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixel_engine::journal::{Body, Kind};
use pixel_engine::source::Format;

const MAX_LEN: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = Body::read(bytes.to_vec(), Format::Auto, MAX_LEN) else { return };
    assert!(body.lines.is_empty() || body.lines.ends_with(b"\n"));
    let again = Body::of(body.lines.clone(), Format::Auto);
    if body.kind != Kind::Json {
        assert_eq!(again, body, "lines are those of a body");
    }
    let plain = Body::of(bytes.to_vec(), Format::RealTime);
    assert!(plain.lines.starts_with(bytes) && plain.lines.len() <= bytes.len() + 1);
});
