//! The peers against each other: a difference between one of them and pixel-engine can then be
//! trusted. The tests also hold the peers' quirks that `README.md` tells of.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::*;

const LAST_HASH_KEY: u128 = u128::MAX;

/// Sizes on both sides of where a length takes one more byte, and bytes that are no text.
fn bodies() -> Vec<Vec<u8>> {
    [0, 1, 2, 127, 128, 300, 16_383, 16_384].map(|size| (0..size).map(|index| (index * 7) as u8).collect()).to_vec()
}

fn records<'a>(bodies: &'a [Vec<u8>], key: &'a str, hash_key: Option<&'a str>) -> Vec<NewRecord<'a>> {
    let record = |data| NewRecord { partition_key: key, explicit_hash_key: hash_key, data };
    bodies.iter().map(|body| record(body.as_slice())).collect()
}

/// What every peer says; those that this machine cannot run are left out.
fn everyone(entries: &str) -> Vec<(&'static str, Vec<UserRecord>)> {
    let peers = [
        ("python", Some(python_deaggregate(entries))),
        ("node", node_deaggregate(entries)),
        ("kcl", kcl_deaggregate(entries, None)),
    ];
    peers.into_iter().filter_map(|(name, found)| Some((name, found?))).collect()
}

fn assert_unpacks_to(entries: &str, wanted: &[NewRecord]) {
    for (peer, found) in everyone(entries) {
        assert_eq!(found.len(), wanted.len(), "{peer}");
        for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            assert_eq!(found.data, wanted.data, "{peer}, user record {place}");
            assert_eq!(found.partition_key, wanted.partition_key, "{peer}, user record {place}");
            assert_eq!(found.explicit_hash_key.as_deref(), wanted.explicit_hash_key, "{peer}, user record {place}");
            assert!(found.aggregated, "{peer}, user record {place}");
        }
    }
}

fn assert_passed_through(peer: &str, found: Vec<UserRecord>, body: &[u8]) {
    let [found] = found.try_into().expect("one record");
    assert_eq!(
        (found.data.as_slice(), found.partition_key.as_str(), found.aggregated),
        (body, "outer", false),
        "{peer}"
    );
    // A consumer is not told the explicit hash key of a record.
    assert_eq!((found.explicit_hash_key, found.sub_sequence_number), (None, None), "{peer}");
}

fn entry(data: &[u8]) -> String {
    json!({"Data": BASE64.encode(data), "PartitionKey": "outer", "ExplicitHashKey": "7"}).to_string() + "\n"
}

#[test]
fn python_packs_what_all_unpack() {
    let bodies = bodies();
    for hash_key in [None, Some("0"), Some("340282366920938463463374607431768211455")] {
        let records = records(&bodies, "clé", hash_key);
        assert_unpacks_to(&python_aggregate(&records, 1 << 20), &records);
    }
}

#[test]
fn node_packs_what_all_unpack() {
    let bodies = bodies();
    for hash_key in [None, Some("340282366920938463463374607431768211455")] {
        let records = records(&bodies, "clé", hash_key);
        let Some(entries) = node_aggregate(&records) else { return };
        assert_unpacks_to(&entries, &records);
    }
}

#[test]
fn several_keys_keep_to_their_records() {
    let bodies = bodies();
    let keys = ["alpha", "beta", "gamma"];
    let mut records = records(&bodies, "", None);
    for (record, key) in records.iter_mut().zip(keys.iter().cycle()) {
        record.partition_key = key;
    }
    assert_unpacks_to(&python_aggregate(&records, 1 << 20), &records);
    if let Some(entries) = node_aggregate(&records) {
        assert_unpacks_to(&entries, &records);
    }
}

#[test]
fn places_count_within_each_entry() {
    let bodies: Vec<Vec<u8>> = (0..100).map(|index| vec![index; 100]).collect();
    let records = records(&bodies, "key", Some("1"));
    let entries = python_aggregate(&records, 5_120);
    assert!(entries.lines().count() > 1);
    for line in entries.lines() {
        let entry: Value = serde_json::from_str(line).expect("an entry is JSON");
        assert!(BASE64.decode(entry["Data"].as_str().expect("text")).expect("base64").len() <= 5_120);
        assert_eq!((&entry["PartitionKey"], &entry["ExplicitHashKey"]), (&json!("key"), &json!("1")));
    }
    assert_unpacks_to(&entries, &records);
    let python = python_deaggregate(&entries);
    for (index, _) in entries.lines().enumerate() {
        let places = python.iter().filter(|found| found.record == index).map(|found| found.sub_sequence_number);
        assert!(places.eq((0..).map(Some).take(python.iter().filter(|found| found.record == index).count())));
    }
    for (peer, found) in everyone(&entries) {
        assert_eq!(found, python, "{peer}");
    }
}

#[test]
fn kcl_drops_the_whole_aggregate_for_one_stray() {
    let stray = ["10", "20", "99"].map(|hash_key| NewRecord {
        partition_key: "key",
        explicit_hash_key: Some(hash_key),
        data: hash_key.as_bytes(),
    });
    let entries = python_aggregate(&stray, 1 << 20);
    let Some(all) = kcl_deaggregate(&entries, Some((10, 99))) else { return };
    assert_eq!(all.len(), 3);
    assert_eq!(kcl_deaggregate(&entries, Some((0, 98))), Some(vec![]));
    assert_eq!(kcl_deaggregate(&entries, Some((11, LAST_HASH_KEY))), Some(vec![]));

    // The aggregate beside it, with one hash key for all, is whole, although its partition keys
    // hash elsewhere.
    let [first, second] =
        ["a", "b"].map(|key| NewRecord { partition_key: key, explicit_hash_key: Some("20"), data: b"x" });
    let both = entries + &python_aggregate(&[first, second], 1 << 20);
    let found = kcl_deaggregate(&both, Some((0, 50))).expect("it ran before");
    assert_eq!(found.iter().map(|found| found.record).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn what_is_no_aggregate_passes_through() {
    for body in [&b""[..], b"one line\n", b"\xF3\x89\x9A"] {
        for (peer, found) in everyone(&entry(body)) {
            assert_passed_through(peer, found, body);
        }
    }
    // The magic, and too few bytes after it to hold a record. Node goes by the magic alone, and
    // refuses it.
    let short = b"\xF3\x89\x9A\xC20123456789abcdef";
    assert_passed_through("python", python_deaggregate(&entry(short)), short);
    if let Some(found) = kcl_deaggregate(&entry(short), None) {
        assert_passed_through("kcl", found, short);
    }
}

#[test]
fn a_wrong_digest_passes_through_except_in_node() {
    let bodies = bodies();
    let entries = python_aggregate(&records(&bodies, "key", None), 1 << 20);
    let sent: Value = serde_json::from_str(&entries).expect("one entry");
    let mut aggregate = BASE64.decode(sent["Data"].as_str().expect("text")).expect("base64");
    *aggregate.last_mut().expect("not empty") ^= 1;
    let damaged = entry(&aggregate);

    assert_passed_through("python", python_deaggregate(&damaged), &aggregate);
    if let Some(found) = kcl_deaggregate(&damaged, None) {
        assert_passed_through("kcl", found, &aggregate);
    }
    if let Some(mut command) = node("deaggregate.js") {
        let message = try_run(&mut command, damaged.as_bytes()).expect_err("it must fail");
        assert!(message.contains("stdin entry 0: Invalid record checksum"), "{message}");
    }
}

#[test]
fn a_wrong_index_ends_an_aggregate() {
    // User records a, b and c of one key, the digest right, and the index of b's key past the
    // table.
    let damaged = BASE64.decode("84mawgoBaxoFCAAaAWEaBQgFGgFiGgUIABoBYzG+TvEyvM8BNz8MKCikIhU=").expect("base64");
    for found in [Some(python_deaggregate(&entry(&damaged))), kcl_deaggregate(&entry(&damaged), None)] {
        let Some(found) = found else { continue };
        assert_eq!(found.iter().map(|found| found.data.as_slice()).collect::<Vec<_>>(), [b"a"]);
    }
    if let Some(mut command) = node("deaggregate.js") {
        let message = try_run(&mut command, entry(&damaged).as_bytes()).expect_err("it must fail");
        assert!(message.contains("stdin entry 0: no such partition key"), "{message}");
    }
}

#[test]
fn only_kcl_tells_an_absent_hash_key_from_the_first() {
    let [first, second] =
        [Some("5"), None].map(|hash_key| NewRecord { partition_key: "key", explicit_hash_key: hash_key, data: b"x" });
    for (peer, found) in everyone(&python_aggregate(&[first, second], 1 << 20)) {
        let hash_keys: Vec<_> = found.iter().map(|found| found.explicit_hash_key.as_deref()).collect();
        assert_eq!(hash_keys, [Some("5"), if peer == "kcl" { None } else { Some("5") }], "{peer}");
    }
}

#[test]
fn a_lambda_event_from_the_wild() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/kpl-lambda-event.json");
    let Ok(event) = fs::read(&path) else {
        return note(&format!("skipped, the Lambda event: {} is not there", path.display()));
    };
    let event: Value = serde_json::from_slice(&event).expect("the event is JSON");
    let entries: String = event["Records"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| &record["kinesis"])
        .map(|kinesis| json!({"Data": kinesis["data"], "PartitionKey": kinesis["partitionKey"]}).to_string() + "\n")
        .collect();
    let alphabet: Vec<u8> = (b'a'..=b'z').collect();
    let backwards: Vec<u8> = alphabet.iter().rev().copied().collect();
    for (peer, found) in everyone(&entries) {
        assert_eq!(found.len(), 100, "{peer}");
        for (found, wanted) in found.iter().zip([&alphabet, &backwards].into_iter().cycle()) {
            assert_eq!((&found.data, found.partition_key.as_str()), (wanted, "abc"), "{peer}");
            assert_eq!(found.explicit_hash_key.as_deref(), Some("191415658344158766168031473277922803570"), "{peer}");
        }
    }
}

#[test]
fn errors_are_one_line() {
    let commands = [
        Some(python("kpl_deaggregate.py")),
        Some(python("kpl_aggregate.py")),
        node("deaggregate.js"),
        node("aggregate.js"),
        kcl(),
    ];
    for mut command in commands.into_iter().flatten() {
        for input in ["{", "[]", "{\"Data\": 1}", r#"{"Data":"!","PartitionKey":"a","data":"!","partition_key":"a"}"#] {
            let message = try_run(&mut command, input.as_bytes()).expect_err("it must fail");
            let stderr: Vec<&str> = message.lines().skip(1).collect();
            assert!(stderr.len() == 1 && stderr[0].contains("stdin entry 0"), "{message}");
        }
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn zstd_frame(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 1).expect("zstd compresses anything")
}

/// Lines of a number, an id and two fields that a CSV reader would trip over.
fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| format!("{number}\tid-{number:06}\t\"quoted\t-\n")).collect()
}

/// How bytes become a member.
type Codec = fn(&[u8]) -> Vec<u8>;

#[test]
fn duckdb_reads_all_members_and_frames() {
    let codecs: [(&str, Codec); 3] = [("tsv", |data| data.to_vec()), ("tsv.gz", gzip), ("tsv.zst", zstd_frame)];
    for (extension, compress) in codecs {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hour = folder.path().join("2026/11/23/21");
        fs::create_dir_all(&hour).expect("a folder");
        // Members of very different sizes, so that they end anywhere in a reader's buffer.
        let cuts = [0, 1, 2, 3, 1_000, 40_000, 40_001, 60_000];
        let members: Vec<Vec<u8>> = cuts.windows(2).map(|cut| compress(lines(cut[0]..cut[1]).as_bytes())).collect();
        fs::write(hour.join(format!("one.{extension}")), members.concat()).expect("written");
        fs::write(hour.join(format!("two.{extension}")), compress(lines(0..10).as_bytes())).expect("written");
        fs::write(hour.join(format!(".three.{extension}.tmp")), b"not delivered yet").expect("written");

        let reading =
            Reading { columns: Some(4), column: Some("1"), values: true, sums: &["0", "3"], ..Reading::default() };
        let found = read_objects(&[folder.path()], &reading);
        assert_eq!((found.objects, found.rows, found.members_not_at_line_end), (2, 60_010, 0), "{extension}");
        assert_eq!(found.members, if extension == "tsv" { 2 } else { 8 }, "{extension}");
        assert_eq!(found.bytes, (lines(0..60_000).len() + lines(0..10).len()) as u64, "{extension}");
        assert!(found.largest_window <= 8 << 20, "{extension}");
        assert_eq!(found.sums["0"], Sum { count: 60_010, sum: 1_799_970_045.0 }, "{extension}");
        assert_eq!(found.sums["3"], Sum { count: 0, sum: 0.0 }, "{extension}");
        let column = found.column.expect("it was asked for");
        assert_eq!((column.present, column.absent, column.distinct), (60_010, 0, 60_000), "{extension}");
        let mut wanted: Vec<String> = (0..60_000).chain(0..10).map(|number| format!("id-{number:06}")).collect();
        wanted.sort_unstable();
        assert_eq!(column.values, wanted, "{extension}");
    }
}

#[test]
fn json_lines_keep_their_types() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = folder.path().join("one.jsonl.gz");
    let lines = concat!(
        r#"{"c_ip":"192.0.2.1","sc_bytes":10,"time_taken":0.25,"query":{"utm.source":"b"}}"#,
        "\n",
        r#"{"c_ip":"192.0.2.2","sc_bytes":32,"query":{"utm.source":"a"}}"#,
        "\n",
        r#"{"c_ip":"192.0.2.3"}"#,
        "\n",
    );
    fs::write(&object, gzip(lines.as_bytes())).expect("written");
    let sums = &["sc_bytes", "time_taken", "c_ip"];
    let reading = Reading { column: Some("/query/utm.source"), values: true, sums, ..Reading::default() };
    let found = read_objects(&[&object], &reading);
    assert_eq!((found.objects, found.rows, found.members), (1, 3, 1));
    assert_eq!(found.sums["sc_bytes"], Sum { count: 2, sum: 42.0 });
    assert_eq!(found.sums["time_taken"], Sum { count: 1, sum: 0.25 });
    assert_eq!(found.sums["c_ip"], Sum { count: 0, sum: 0.0 });
    assert_eq!(found.types["sc_bytes"], "BIGINT");
    assert_eq!(found.types["time_taken"], "DOUBLE");
    assert_eq!(found.types["c_ip"], "VARCHAR");
    let column = found.column.expect("it was asked for");
    assert_eq!((column.present, column.absent, column.distinct), (2, 1, 2));
    assert_eq!(column.values, ["a", "b"]);
    // printf 'a\nb\n' | sha256sum
    assert_eq!(column.sha256, "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2");
}

#[test]
fn damaged_objects_are_not_read_in_part() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tsv = Reading { columns: Some(4), ..Reading::default() };
    let whole = lines(0..5_000);
    let cut = |mut object: Vec<u8>| {
        object.truncate(object.len() - 9);
        object
    };
    let too_wide = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(24).expect("a legal window");
        encoder.write_all(whole.as_bytes()).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    };
    let objects = [
        ("cut.tsv.gz", cut(gzip(whole.as_bytes())), "ends inside a member or frame"),
        ("cut.tsv.zst", cut(zstd_frame(whole.as_bytes())), "ends inside a member or frame"),
        ("tail.tsv.gz", [gzip(whole.as_bytes()), b"tail".to_vec()].concat(), "incorrect header check"),
        ("wide.tsv.zst", too_wide, "requires too much memory"),
        ("columns.tsv", b"1\t2\t3\t4\n1\t2\t3\n".to_vec(), "Expected Number of Columns: 4 Found: 3"),
        ("bytes.tsv", b"1\t2\t3\t\xFF\n".to_vec(), "not utf-8"),
    ];
    for (name, content, complaint) in objects {
        let object = folder.path().join(name);
        fs::write(&object, content).expect("written");
        let message = try_read_objects(&[&object], &tsv).expect_err(name);
        assert!(message.contains(complaint), "{name}: {message}");
    }
    let any_bytes = Reading { any_bytes: true, column: Some("3"), values: true, ..tsv };
    let found = read_objects(&[&folder.path().join("bytes.tsv")], &any_bytes);
    assert_eq!(found.column.expect("it was asked for").values, ["\u{FF}"]);
}
