use std::collections::BTreeMap;

use serde_json::Value;

use crate::peers::{Reading, Sum, read_objects};
use crate::support::*;

#[test]
fn duckdb_reads_every_line_with_its_types() {
    let text = log("realtime-46", 20_000);
    let workspace = Workspace::new();
    let run = workspace.ingest_from(&["--encode", "jsonl", "--compress", "zstd", "--record-size", "300KB"], &text).ok();
    let summary = run.summary();
    let sums = ["sc_bytes", "sc_status", "time_taken", "cs_bytes", "timestamp"];
    let reading = Reading { column: Some("x_edge_request_id"), sums: &sums, ..Reading::default() };
    let found = read_objects(&[&workspace.path(OUT)], &reading);
    assert_eq!((found.rows, found.rows), (summary.lines_in, summary.lines_shipped));
    assert_eq!((found.members, found.members_not_at_line_end), (summary.records, 0));
    let ids = found.column.expect("it was asked for");
    assert_eq!((ids.present, ids.absent, ids.distinct), (20_000, 0, 20_000));

    // The same numbers from the log, by DuckDB's reading of its columns.
    let raw = Workspace::new();
    raw.ingest_from(&[], &text).ok();
    let columns = ["5", "4", "14", "10", "0"];
    let reading = Reading { columns: Some(46), column: Some("12"), sums: &columns, ..Reading::default() };
    let wanted = read_objects(&[&raw.path(OUT)], &reading);
    assert_eq!(wanted.column.map(|column| column.sha256), Some(ids.sha256));
    for (key, column) in sums.iter().zip(columns) {
        let (Sum { count, sum }, wanted) = (found.sums[*key], wanted.sums[column]);
        assert_eq!(count, wanted.count, "{key}");
        assert!((sum - wanted.sum).abs() < 1e-3, "{key}: {sum} and {}", wanted.sum);
    }

    let types: BTreeMap<&str, &str> = found.types.iter().map(|(key, kind)| (key.as_str(), kind.as_str())).collect();
    for (key, kind) in [
        ("timestamp", "DOUBLE"),
        ("sc_status", "BIGINT"),
        ("sc_bytes", "BIGINT"),
        ("time_taken", "DOUBLE"),
        ("c_port", "BIGINT"),
        ("asn", "BIGINT"),
        ("c_ip", "VARCHAR"),
        ("cs_uri_query", "VARCHAR"),
        ("cs_user_agent", "VARCHAR"),
    ] {
        assert_eq!(types.get(key), Some(&kind), "{key} in {types:?}");
    }
    assert!(types["query"].starts_with("STRUCT") || types["query"].starts_with("MAP") || types["query"] == "JSON");
}

#[test]
fn duckdb_reads_query_parameters_by_name() {
    let lines = [
        "1.000\t192.0.2.1\t-\te=pp&page=%252Fa%2520b&n=1",
        "2.000\t192.0.2.1\t-\te=pv&page=%25C3%25A9&page=last",
        "3.000\t192.0.2.1\t-\te=pp&flag&broken=%25zz",
        "4.000\t-\t-\t-",
    ];
    let workspace = Workspace::new();
    workspace.ingest_from(&["--encode", "jsonl"], lines.join("\n").as_bytes()).ok();
    let values = |column| {
        let reading = Reading { column: Some(column), values: true, ..Reading::default() };
        let found = read_objects(&[&workspace.path(OUT)], &reading).column.expect("it was asked for");
        assert_eq!(found.present + found.absent, 4);
        found.values
    };
    assert_eq!(values("/query/e"), ["pp", "pp", "pv"]);
    assert_eq!(values("/query/page"), ["/a b", "last"]);
    assert_eq!(values("/query/flag"), [""]);
    assert_eq!(values("/query/broken"), ["%zz"]);
    assert_eq!(values("c_ip"), ["192.0.2.1"; 3]);
}

#[test]
fn the_parameters_in_the_log_are_the_parameters_in_json() {
    let text = log("realtime-46", 5_000);
    let workspace = Workspace::new();
    workspace.ingest_from(&["--encode", "jsonl"], &text).ok();
    let delivered = workspace.delivered(OUT);
    let mut parameters = 0;
    for (line, json) in lines(&text).zip(lines(&delivered)) {
        let json: Value = serde_json::from_slice(json).expect("JSON");
        let line = std::str::from_utf8(line).expect("ASCII");
        let query = line.split('\t').nth(20).expect("cs-uri-query");
        let mut wanted = BTreeMap::new();
        for parameter in query.split('&').filter(|parameter| query != "-" && !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            wanted.insert(twice_decoded(name), Value::from(twice_decoded(value)));
        }
        let found: BTreeMap<String, Value> = match &json["query"] {
            Value::Null => BTreeMap::new(),
            query => query.as_object().expect("an object").clone().into_iter().collect(),
        };
        assert_eq!(found, wanted, "{query}");
        parameters += found.len();
    }
    assert!(parameters > 5_000);
}

/// Naively: first what CloudFront encoded, then what the page did, with `+` for a space.
fn twice_decoded(text: &str) -> String {
    let once = decoded(text.as_bytes());
    let plus: Vec<u8> = once.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    String::from_utf8_lossy(&decoded(&plus)).into_owned()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, more @ ..] = rest {
        let escape = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &more[2..];
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    out
}

#[test]
fn standard_logs_have_the_same_keys_in_every_format() {
    let keys = |shape: &str| {
        let workspace = Workspace::new();
        let run = workspace.ingest_from(&["--encode", "jsonl"], &log(shape, 3_000)).ok();
        assert_eq!(run.summary().lines_shipped, 3_000);
        let found = read_objects(&[&workspace.path(OUT)], &Reading::default());
        assert_eq!(found.rows, 3_000);
        found.types
    };
    let (legacy, v2) = (keys("standard"), keys("standard-json"));
    for (key, kind) in &legacy {
        if key != "query" {
            assert_eq!(v2.get(key), Some(kind), "{key}");
        }
    }
    assert_eq!(v2.get("timestamp_ms").map(String::as_str), Some("BIGINT"), "{v2:?}");
}
