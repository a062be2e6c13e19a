//! What the generated logs promise, checked from outside.

// Everything here is a test, but clippy knows only functions marked `#[test]` as such.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use pixel_engine::log::field::Field;
use pixel_engine::log::schema::{LogKind, PRESETS, Schema};
use pixel_engine_bench_data::samples::SAMPLES;
use pixel_engine_bench_data::{Generator, Options, STANDARD_FIELDS, STANDARD_V2_FIELDS, Shape, request_id};

fn generator(shape: &str, seed: u64) -> Generator {
    Generator::new(Options::new(shape.parse().unwrap(), seed))
}

fn generate(shape: &str, seed: u64, lines: u64) -> Vec<u8> {
    let mut out = Vec::new();
    generator(shape, seed).append_lines(&mut out, lines);
    out
}

fn lines(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    log.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n')
}

fn column(line: &[u8], index: usize) -> &[u8] {
    line.split(|&byte| byte == b'\t').nth(index).unwrap()
}

/// The values of one field, one a line.
fn values(shape: &str, field: Field, count: u64) -> Vec<String> {
    let schema = shape.parse::<Shape>().unwrap().schema();
    let index = schema.position(field).unwrap();
    let log = generate(shape, 11, count);
    lines(&log).map(|line| String::from_utf8(column(line, index).to_vec()).unwrap()).collect()
}

#[test]
fn every_line_has_the_columns_of_its_schema_and_no_controls() {
    let unknown = "timestamp,c-ip,+brand-new,+another-one";
    for shape in PRESETS.iter().map(|preset| preset.name).chain(["standard", unknown]) {
        let columns = shape.parse::<Shape>().unwrap().schema().columns().len();
        let log = generate(shape, 1, 20_000);
        assert_eq!(lines(&log).count(), 20_000);
        for line in lines(&log) {
            let mut count = 0;
            for text in line.split(|&byte| byte == b'\t') {
                count += 1;
                assert!(!text.is_empty(), "an empty column in {}", String::from_utf8_lossy(line));
                assert!(text.iter().all(u8::is_ascii_graphic), "{}", String::from_utf8_lossy(text));
            }
            assert_eq!(count, columns, "{shape}");
        }
    }
}

#[test]
fn the_mean_line_is_as_long_as_a_real_one() {
    let bounds = [
        ("pixel-4", 250..330),
        ("realtime-40", 600..900),
        ("realtime-43", 600..900),
        ("realtime-45", 600..900),
        ("realtime-46", 600..900),
        ("realtime-69", 700..1000),
        ("realtime-71", 700..1000),
        ("standard", 500..700),
        ("standard-json", 1200..1400),
    ];
    for (shape, bounds) in bounds {
        let mean = generate(shape, 5, 50_000).len() / 50_000;
        assert!(bounds.contains(&mean), "{shape}: {mean} bytes");
    }
}

#[test]
fn compressors_find_what_they_find_in_real_logs() {
    for shape in ["pixel-4", "realtime-46", "standard"] {
        let log = generate(shape, 3, 20_000);
        let ratio = log.len() as f64 / zstd::bulk::compress(&log, 1).unwrap().len() as f64;
        assert!((4.0..7.0).contains(&ratio), "{shape}: {ratio}");
    }
}

#[test]
fn a_million_ids_are_unique_and_read_back() {
    let hasher = RandomState::new();
    let mut seen = HashSet::with_capacity(1_000_000);
    let mut log = Vec::new();
    for seed in [8, 9] {
        let mut generator = generator("x-edge-request-id,asn", seed);
        for number in 0..500_000 {
            log.clear();
            generator.append_line(&mut log);
            let id = column(&log, 0);
            assert_eq!(request_id::decode(id), Some((seed, number)));
            assert!(seen.insert(hasher.hash_one(id)));
        }
    }
}

#[test]
fn the_seed_decides_everything() {
    for shape in ["realtime-71", "standard", "standard-json"] {
        let log = generate(shape, 21, 500);
        assert!(log == generate(shape, 21, 500));
        assert!(log != generate(shape, 22, 500));
    }
}

#[test]
fn a_log_made_in_pieces_is_the_log_made_at_once() {
    let whole = generate("realtime-46", 6, 300);
    let mut pieces = Vec::new();
    for first_line in [0, 100, 200] {
        let options = Options::new("realtime-46".parse().unwrap(), 6);
        let mut generator = Generator::new(Options { first_line, ..options });
        generator.append_lines(&mut pieces, 100);
        assert_eq!(generator.next_line(), first_line + 100);
    }
    assert!(pieces == whole);
}

#[test]
fn the_greatest_numbers_are_no_trouble() {
    let options = Options::new(Shape::Standard, u64::MAX);
    let mut log = Vec::new();
    let extremes = Options { first_line: u64::MAX - 2, lines_per_second: 0, start_millis: 0, ..options };
    Generator::new(extremes.clone()).append_lines(&mut log, 2);
    Generator::new(Options { first_line: 0, ..extremes }).append_lines(&mut log, 200);
    assert!(lines(&log).all(|line| line.split(|&byte| byte == b'\t').count() == 33));
}

#[test]
fn append_bytes_stops_at_the_first_line_past_the_bound() {
    let mut generator = generator("realtime-46", 2);
    let mut out = b"before\n".to_vec();
    let count = generator.append_bytes(&mut out, 100_000);
    let last = lines(&out).last().unwrap().len() + 1;
    assert!(out.len() >= 100_007 && out.len() - last < 100_007);
    assert_eq!(count + 1, lines(&out).count() as u64);
    assert_eq!(generator.append_bytes(&mut out, 0), 0);
}

#[test]
fn the_header_of_standard_logs_is_their_schema() {
    let mut log = Vec::new();
    generator("standard", 1).append_header(&mut log);
    let header: Vec<&[u8]> = lines(&log).collect();
    assert_eq!(header[0], b"#Version: 1.0");
    assert_eq!(Schema::from_fields_header(header[1]).unwrap(), *Shape::Standard.schema());
    for shape in ["realtime-46", "standard-json"] {
        log.clear();
        generator(shape, 1).append_header(&mut log);
        assert!(log.is_empty());
    }
}

#[test]
fn json_lines_are_objects_of_strings() {
    let log = generate("standard-json", 1, 5000);
    for line in lines(&log) {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).unwrap();
        assert!(object.values().all(serde_json::Value::is_string));
        let names = STANDARD_FIELDS.split(' ').chain(STANDARD_V2_FIELDS.split(' '));
        assert!(names.clone().all(|name| object.contains_key(name)));
        assert_eq!(object.len(), names.count());
    }
    assert!(log.starts_with(b"{\"date\":\"2026-01-05\",\"time\":\"08:00:00\",\"x-edge-location\":\""));
}

#[test]
fn numbers_and_addresses_parse_or_are_absent() {
    let schema = Schema::preset("realtime-71").unwrap();
    let log = generate("realtime-71", 4, 20_000);
    let mut padded = 0;
    for line in lines(&log) {
        for (text, column) in line.split(|&byte| byte == b'\t').zip(schema.columns()) {
            let text = std::str::from_utf8(text).unwrap();
            let field = Field::from_name(column.name()).unwrap();
            if text == "-" {
                continue;
            }
            match field.kind() {
                pixel_engine::log::field::Kind::Integer => assert!(text.parse::<u64>().is_ok(), "{field}: {text}"),
                pixel_engine::log::field::Kind::Decimal => assert!(text.parse::<f64>().is_ok(), "{field}: {text}"),
                _ if field == Field::CIp || field == Field::SIp => {
                    assert!(text.parse::<std::net::IpAddr>().is_ok(), "{text}");
                    padded += u32::from(text.starts_with("2001:0db8:"));
                }
                _ => {}
            }
        }
    }
    assert!(padded > 100);
}

#[test]
fn time_moves_on_with_a_small_jitter() {
    let seconds: Vec<f64> =
        values("realtime-46", Field::Timestamp, 20_000).iter().map(|text| text.parse().unwrap()).collect();
    assert!(seconds.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.13));
    assert!(seconds.windows(2).any(|pair| pair[1] < pair[0]));
    assert!((9.9..10.2).contains(&(seconds[19_999] - seconds[0])));
}

#[test]
fn real_time_and_standard_logs_differ_where_cloudfront_does() {
    let first = |shape, field| values(shape, field, 2000);
    assert!(first("realtime-46", Field::CsUriStem).iter().any(|stem| stem.starts_with("/1x1.png?")));
    assert!(first("standard", Field::CsUriStem).iter().all(|stem| !stem.contains('?')));
    assert!(first("realtime-46", Field::CsHost).iter().all(|host| !host.ends_with(".cloudfront.net")));
    assert!(first("standard", Field::CsHost).iter().all(|host| host.ends_with(".cloudfront.net")));
    assert!(first("realtime-46", Field::CsUserAgent).iter().all(|agent| !agent.contains("%25")));
    assert!(first("standard", Field::CsUserAgent).iter().any(|agent| agent.contains("%2520")));
}

#[test]
fn queries_show_what_queries_show() {
    let queries = values("realtime-46", Field::CsUriQuery, 50_000);
    let present: Vec<&String> = queries.iter().filter(|query| *query != "-").collect();
    assert!(present.len() > 48_000 && present.len() < 50_000);
    assert!(present.iter().all(|query| (6..=20).contains(&query.split('&').count())));
    // A flag, an empty value, a repeated name, a plus, broken escapes, text encoded twice and once.
    for wanted in
        ["&new", "&gclid=", "&tag=a&tag=b", "trail+shoes", "%25zz", "=100%25", "%253A%252F", "%25C3%25", "%C3%"]
    {
        assert!(present.iter().any(|query| query.contains(wanted)), "{wanted}");
    }
    let hits = values("realtime-46", Field::CsUriStem, 50_000);
    for (stem, query) in hits.iter().zip(&queries) {
        assert_eq!(stem.split_once('?').map_or("-", |(_, query)| query), query);
    }
}

#[test]
fn every_kind_of_answer_comes() {
    let statuses = values("realtime-46", Field::ScStatus, 20_000);
    for wanted in ["200", "304", "403", "404", "502", "000"] {
        assert!(statuses.iter().any(|status| status == wanted), "{wanted}");
    }
    assert!(statuses.iter().filter(|status| *status == "200").count() > 18_000);
    let results = values("realtime-46", Field::XEdgeResultType, 20_000);
    let origins = values("realtime-46", Field::OriginFbl, 20_000);
    for wanted in ["Hit", "Miss", "RefreshHit", "Error"] {
        assert!(results.iter().any(|result| result == wanted), "{wanted}");
    }
    assert!(results.iter().zip(&origins).all(|(result, origin)| result != "Hit" || origin == "-"));
}

#[test]
fn headers_are_cut_at_800_bytes_and_sometimes_inside_an_escape() {
    let options = Options::new(Shape::RealTime(Schema::preset("realtime-46").unwrap().into()), 1);
    let mut log = Vec::new();
    Generator::new(Options { headers_percent: 100, ..options }).append_lines(&mut log, 20_000);
    let index = Schema::preset("realtime-46").unwrap().position(Field::CsHeaders).unwrap();
    let headers: Vec<&[u8]> = lines(&log).map(|line| column(line, index)).collect();
    assert!(headers.iter().all(|headers| headers.len() <= 800 && *headers != b"-"));
    let cut = headers.iter().filter(|headers| headers.len() == 800).count();
    assert!(cut > 100, "{cut}");
    assert!(headers.iter().any(|headers| headers.ends_with(b"%") || headers.ends_with(b"%0")));
    // Those that were not cut end every header, and count them.
    for line in lines(&log).filter(|line| column(line, index).len() < 800) {
        let names = String::from_utf8_lossy(column(line, index + 1)).matches("%0A").count();
        assert_eq!(names.to_string().as_bytes(), column(line, index + 2));
        assert!(column(line, index).ends_with(b"%0A"));
    }
}

#[test]
fn the_checked_in_samples_are_what_the_generator_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    for sample in SAMPLES {
        let bytes = std::fs::read(folder.join(sample.file)).unwrap();
        assert!(
            bytes == sample.generate(),
            "{} drifted: run `cargo run -p pixel-engine-bench-data --example samples`",
            sample.file
        );
        assert!(bytes.len() < 400_000);
    }
}

#[test]
fn a_standard_schema_can_be_a_real_time_shape_of_its_columns() {
    let schema = Schema::parse(LogKind::RealTime, "date time timestamp(ms) distributionid").unwrap();
    let mut log = Vec::new();
    Generator::new(Options::new(Shape::RealTime(schema.into()), 1)).append_line(&mut log);
    assert!(log.starts_with(b"2026-01-05\t08:00:00\t17676000000"));
}
