//! Whatever a line holds, its JSON is one object that another parser reads, on one line.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pixel_engine::log::encode::{Encoder, Encoding};
use pixel_engine::log::json_line::JsonLineReader;
use pixel_engine::log::line::Line;
use pixel_engine::log::scan::{Positions, scan};
use pixel_engine::log::schema::{LogKind, Schema};
use serde_json::{Map, Value};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::parse(LogKind::RealTime, "timestamp sc-status cs-uri-query +query").expect("a list of four")
});

fn check(encoder: &mut Encoder, line: &Line<'_>) {
    let mut json = Vec::new();
    encoder.encode(line, &mut json);
    let object = json.strip_suffix(b"\n").expect("it ends with a newline");
    assert!(!object.contains(&b'\n'));
    serde_json::from_slice::<Map<String, Value>>(object).expect("an object");
}

fuzz_target!(|bytes: &[u8]| {
    let mut encoder = Encoder::new(Encoding::Json(None));
    if let Ok(line) = JsonLineReader::default().read(bytes) {
        check(&mut encoder, &line);
    }
    let mut positions = Positions::default();
    scan(bytes, &mut positions);
    for (start, ends) in positions.lines().filter(|(_, ends)| ends.len() == SCHEMA.columns().len()) {
        check(&mut encoder, &Line::new(bytes, start, ends, &SCHEMA));
    }
});
