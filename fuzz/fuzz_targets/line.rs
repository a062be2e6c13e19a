//! Every scan path finds the same positions, and no view of a line panics.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pixel_engine::log::field::Field;
use pixel_engine::log::line::Line;
use pixel_engine::log::scan::{Positions, scan_with};
use pixel_engine::log::schema::{LogKind, Schema, Schemas};
use pixel_engine::simd::Isa;

/// The presets, and lists short enough for a fuzzer to write a line of.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let lists = ["c-ip", "timestamp c-ip", "cs-host cs-uri-stem s-ip"];
    let short = lists.map(|list| Schema::parse(LogKind::RealTime, list).expect("known fields"));
    Schemas::new(Schemas::all_presets().iter().map(|schema| (**schema).clone()).chain(short)).expect("counts differ")
});

fuzz_target!(|bytes: &[u8]| {
    let mut expected = Positions::default();
    scan_with(Isa::Memchr, bytes, &mut expected);
    for isa in Isa::available() {
        let mut positions = Positions::default();
        scan_with(isa, bytes, &mut positions);
        assert_eq!(positions, expected, "{isa}");
    }
    for (start, ends) in expected.lines() {
        let Some(schema) = SCHEMAS.with_columns(ends.len()) else { continue };
        let line = Line::new(bytes, start, ends, schema);
        assert_eq!(line.columns().collect::<Vec<_>>().join(&b'\t'), line.raw());
        for &field in Field::ALL {
            assert_eq!(line.get(field).is_some(), line.get(field).is_some_and(|text| text != b"-"));
            let _ = line.ip(field);
        }
        let _ = (line.viewer_host(), line.distribution_host(), line.uri_path());
    }
});
