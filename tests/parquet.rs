use pixel_engine::log::schema::Schema;

use crate::peers::{Origin, check_parquet, rows_by};
use crate::support::*;

/// The fields of a preset, separated by commas.
fn fields(preset: &str) -> String {
    let schema = Schema::preset(preset).expect("a preset");
    schema.columns().iter().map(|column| column.name()).collect::<Vec<_>>().join(",")
}

/// Runs `ingest`, which must ship every line.
fn written(workspace: &Workspace, text: &[u8], arguments: &[&str]) {
    workspace.write("in.log", text);
    let all = [&["in.log", "--encode", "parquet", "--to", "dir:out"], arguments].concat();
    let run = workspace.ingest(&all).ok();
    let summary = run.summary();
    assert_eq!((summary.lines_shipped, summary.lines_quarantined), (summary.lines_in, 0), "{}", run.stderr);
}

#[test]
fn logs_of_every_kind_are_read_by_everyone_as_they_are() {
    let usual = fields("realtime-46");
    for (shape, origin) in
        [("pixel-4", None), ("realtime-71", None), ("standard", Some("header")), ("standard-json", Some("json"))]
    {
        let workspace = Workspace::new();
        let text = log(shape, 1_500);
        let named = if origin.is_none() { fields(shape) } else { String::new() };
        let arguments: &[&str] = if origin.is_none() { &["--fields", shape] } else { &[] };
        written(&workspace, &text, &[arguments, &["--column", "query.uid"]].concat());
        let table = origin.is_some().then_some(&*usual);
        let of = Origin { fields: origin.unwrap_or(&named), table, promoted: "uid", ..Origin::default() };
        let checked = check_parquet(&workspace.path("out"), &workspace.path("in.log"), of);
        assert_eq!(checked.rows, 1_500);
        let [file] = &checked.files[..] else { panic!("{checked:?}") };
        assert_eq!((file.rows, file.row_groups), (1_500, 1));
        assert!(file.path.starts_with("dt=2026-01-05/hour=08/"), "{}", file.path);
        assert_eq!(file.created_by, format!("pixel-engine version {} (build release)", env!("CARGO_PKG_VERSION")));
        assert_eq!(file.codecs, ["ZSTD"]);
        let types = |name: &str| file.columns[name].as_str();
        assert_eq!(
            types("timestamp"),
            "INT64 Timestamp(isAdjustedToUTC=true, timeUnit=milliseconds, is_from_converted_type=false, force_set_converted_type=false)"
        );
        assert_eq!((types("c_ip"), types("query_uid")), ("BYTE_ARRAY String", "BYTE_ARRAY String"));
        assert_eq!(
            (types("query.key_value.key"), types("other.key_value.value")),
            ("BYTE_ARRAY String", "BYTE_ARRAY String")
        );
        if let Some(java) = checked.java {
            assert!(java.pages >= 9 && java.searches > 10 && java.filters > 0, "{java:?}");
        }
    }
}

/// Fields for values of every kind.
const HARD: &str =
    "timestamp,sc-status,time-taken,cs-uri-stem,cs-user-agent,cs-uri-query,x-edge-request-id,sc-range-start,+new";

/// Lines of values that are hard to get right, each with each of its neighbours.
fn hard_lines() -> Vec<u8> {
    let times: [&[u8]; 8] = [
        b"1767600000.123",
        b"1767600000",
        b"0",
        b"0.001",
        b"253402300799.999",
        b"1767600000.9999",
        b"-",
        b"12345678901234567890",
    ];
    let integers: [&[u8]; 11] = [
        b"200",
        b"000",
        b"-1",
        b"-",
        b"",
        b"1234567890123456789",
        b"123456789012345678",
        b"-999999999999999999",
        b"2e2",
        b" 7",
        b"0x10",
    ];
    let decimals: [&[u8]; 13] = [
        b"0.042",
        b"-0.0",
        b"0",
        b"123456789012345",
        b"1234567890123456",
        b"NaN",
        b"inf",
        b"1e5",
        b".5",
        b"5.",
        b"-",
        b"0.00000000000001",
        b"-1.5",
    ];
    let long = |text: &str, times: usize| text.repeat(times).into_bytes();
    let texts = [
        b"-".to_vec(),
        b"".to_vec(),
        b"\xff\xfe".to_vec(),
        b"\xc3(".to_vec(),
        b"\xf0\x9f\x98".to_vec(),
        "café".into(),
        long("x", 64),
        [long("x", 63), long("é", 1)].concat(),
        long("é", 40),
        long("x", 65),
        long("\u{10ffff}", 20),
        long("\x7f", 70),
        long("\u{d7ff}\u{e000}", 20),
        b"%2541%C3%A9".to_vec(),
        "\u{fffd}".into(),
        b"\"quoted\", \x01\x1f".to_vec(),
    ];
    let names: Vec<String> = (0..2_000).map(|number| format!("k{number}={number}")).collect();
    let mut queries: Vec<Vec<u8>> = [
        "-",
        "",
        "a=1",
        "a=1&a=2&b",
        "&&",
        "=x",
        "=",
        "a",
        "a=",
        "%2541=1&A=2&%41=3",
        "x=%25ZZ%",
        "x=%ff&y=%25ff",
        "a+b=c+d%252B",
        "uid=",
        "uid",
        "uid=1&UID=2",
        "u=%2500",
        "u=%E2%80%A8&é=é",
        "a=b=c",
        "a&a=5&a",
        "%",
    ]
    .map(|query| query.as_bytes().to_vec())
    .to_vec();
    queries.extend([names.join("&").into_bytes(), [b"long=".to_vec(), long("é", 520_000)].concat()]);
    let ids: [&[u8]; 3] = [b"-", b"id1", b"id2=="];
    let mut lines = Vec::new();
    for number in 0..1_600_usize {
        // The large ones come a few times.
        let query = &queries[if number % 100 < 2 { 21 + number % 100 } else { number % 21 }];
        let columns: [&[u8]; 9] = [
            times[number % times.len()],
            integers[number % integers.len()],
            decimals[number % decimals.len()],
            &texts[number % texts.len()],
            &texts[(number / 3) % texts.len()],
            query,
            ids[number % 3],
            integers[(number / 7) % integers.len()],
            &texts[(number / 5) % texts.len()],
        ];
        lines.extend(columns.join(&b'\t'));
        lines.push(b'\n');
    }
    lines
}

#[test]
fn values_that_are_hard_survive_every_codec() {
    let text = hard_lines();
    for (codec, name) in [("none", "UNCOMPRESSED"), ("gzip", "GZIP"), ("zstd:19", "ZSTD")] {
        let workspace = Workspace::new();
        let columns = ["--column", "query.uid", "--column", "query.a"];
        written(&workspace, &text, &[&["--fields", HARD, "--compress", codec], &columns[..]].concat());
        let fields = HARD.replace('+', "");
        let of = Origin { fields: &fields, promoted: "uid,a", ..Origin::default() };
        let checked = check_parquet(&workspace.path("out"), &workspace.path("in.log"), of);
        assert_eq!(checked.rows, 1_600);
        assert!(checked.files.iter().all(|file| file.codecs == [name]));
    }
}

#[test]
fn columns_that_leave_their_dictionary_and_pages_of_many_rows_are_read() {
    let count = soak(45_000, 1_300_000);
    // Addresses come twice, so that a dictionary pays until it is full; agents are absent for pages.
    let line = |number: u64| {
        let agent = if number < 42_000 { "-".to_owned() } else { format!("agent%20{}", number % 7) };
        let address = format!("2001:db8:{:x}:{:x}::{}", number / 2 % 50_000, number / 2, "1".repeat(30));
        format!("1767600000.{:03}\t{address}\t{agent}\tp{number}=1&uid=u{number}\n", number % 1_000)
    };
    let text: String = (0..count).map(line).collect();
    let workspace = Workspace::new();
    written(&workspace, text.as_bytes(), &["--fields", "pixel-4", "--column", "query.uid", "--threads", "1"]);
    let fields = fields("pixel-4");
    let of = Origin { fields: &fields, promoted: "uid", ..Origin::default() };
    let checked = check_parquet(&workspace.path("out"), &workspace.path("in.log"), of);
    assert_eq!(checked.rows, count);
    assert_eq!(checked.files.iter().any(|file| file.row_groups > 1), count > 1 << 20);
    if let Some(java) = checked.java {
        assert!(java.pages > 20, "{java:?}");
        // They are made for 1 in 100.
        assert!(java.filter_false_positives * 50 < java.filter_probes, "{java:?}");
    }
}

#[test]
fn row_groups_are_sorted_by_a_column_of_any_type() {
    let text = log("realtime-46", 30_000);
    let fields = fields("realtime-46");
    for column in ["query.uid", "timestamp", "time-taken", "cs-cookie", "asn"] {
        let workspace = Workspace::new();
        // Not in the order of their time.
        let mut lines: Vec<&[u8]> = lines(&text).collect();
        let quarter = lines.len() / 4;
        lines.rotate_left(quarter);
        let arguments = ["--column", "query.uid", "--sort-by", column];
        written(&workspace, &lines.concat(), &arguments);
        let of = Origin { fields: &fields, promoted: "uid", ..Origin::default() };
        let checked = check_parquet(&workspace.path("out"), &workspace.path("in.log"), of);
        assert_eq!(checked.rows, 30_000);
        let expected = column.replace(['.', '-'], "_");
        for file in &checked.files {
            assert_eq!(file.sorted_by, [expected.as_str()], "{}", file.path);
        }
    }
}

#[test]
fn names_that_collide_stay_apart() {
    let workspace = Workspace::new();
    let fields = "timestamp,+Other,+query_u,+Dt,+HOUR,cs-uri-query";
    written(&workspace, b"1767600000\tone\ttwo\tthree\tfour\tu=five\n", &["--fields", fields, "--column", "query.u"]);
    let columns = ["other", "query_u", "dt_2", "hour_2", "query_u_2", "dt", "hour"];
    let found = rows_by(&workspace.path("out"), &columns);
    let expected = "other=one/query_u=two/dt_2=three/hour_2=four/query_u_2=five/dt=2026-01-05/hour=08";
    assert_eq!(found, [(expected.to_owned(), 1)].into());
    // Neither does a name come twice in what the table has no column for.
    let workspace = Workspace::new();
    let header = "#Version: 1.0\n#Fields: date time c-ip x-b x_b\n";
    written(&workspace, format!("{header}2026-01-05\t08:00:00\t192.0.2.1\t1\t2\n").as_bytes(), &[]);
    let found = rows_by(&workspace.path("out"), &["c_ip", "other"]);
    assert_eq!(found, [("c_ip=192.0.2.1/other={'x_b': '1', 'x_b_2': '2'}".to_owned(), 1)].into());
}
