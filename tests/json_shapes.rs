use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::*;

/// Objects of a generated log.
fn objects(first: u64, count: u64) -> Vec<String> {
    let text = log_from("standard-json", first, count);
    lines(&text).map(|line| String::from_utf8(line.to_vec()).expect("UTF-8").trim_end().to_owned()).collect()
}

fn pretty(object: &str) -> String {
    serde_json::to_string_pretty(&value(object)).expect("JSON")
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn envelope(kind: &str, messages: &[String]) -> String {
    let event =
        |message: &String| json!({ "id": "3".repeat(56), "timestamp": 1_761_759_015_951_u64, "message": message });
    let events: Vec<Value> = messages.iter().map(event).collect();
    // As CloudWatch Logs orders them; a map of serde_json would sort them.
    format!(
        r#"{{"messageType":"{kind}","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":{}}}"#,
        Value::from(events)
    )
}

/// The ways in which people hold objects.
const SHAPES: [&str; 14] = [
    "one a line",
    "one a line, the last without a newline",
    "joined",
    "two a line",
    "pretty",
    "pretty and joined",
    "array",
    "array of lines",
    "array with a comma too many",
    "pretty array",
    "two arrays",
    "envelope",
    "envelopes",
    "pretty envelope",
];

/// The objects, each printed as the shape wants it, in that shape.
fn written(shape: &str, objects: &[String]) -> String {
    let halves = objects.split_at(objects.len() / 2);
    match shape {
        "one a line" | "pretty" => objects.join("\n") + "\n",
        "one a line, the last without a newline" => objects.join("\r\n\r\n"),
        "joined" | "pretty and joined" => objects.concat(),
        "two a line" => objects.chunks(2).map(|pair| pair.join(" ") + "\n").collect(),
        "array" => format!("[{}]", objects.join(",")),
        "array of lines" => format!("[\n  {}\n]\n", objects.join(",\n  ")),
        "array with a comma too many" => format!("[\n{},\n]\n", objects.join(",\n")),
        "pretty array" => format!("[\n{}\n]\n", objects.join(",\n")),
        "two arrays" => format!("[{}]\n[{}]\n", halves.0.join(","), halves.1.join(",")),
        "envelope" => envelope("DATA_MESSAGE", objects),
        "envelopes" => envelope("DATA_MESSAGE", halves.0) + &envelope("DATA_MESSAGE", halves.1),
        "pretty envelope" => pretty(&envelope("DATA_MESSAGE", objects)),
        _ => panic!("no shape: {shape}"),
    }
}

/// The objects as the shape wants them printed.
fn printed(shape: &str, objects: &[String]) -> Vec<String> {
    let is_pretty = shape.starts_with("pretty") && shape != "pretty envelope";
    objects.iter().map(|object| if is_pretty { pretty(object) } else { object.clone() }).collect()
}

/// The same objects in every shape.
fn shapes(objects: &[String]) -> impl Iterator<Item = (&'static str, String)> {
    SHAPES.into_iter().map(|shape| (shape, written(shape, &printed(shape, objects))))
}

fn values(text: &[u8]) -> Vec<Value> {
    lines(text).map(|line| serde_json::from_slice(line).expect("an object a line")).collect()
}

#[test]
fn every_shape_gives_the_same_objects() {
    let objects = objects(0, 300);
    let wanted: Vec<Value> = objects.iter().map(|object| value(object)).collect();
    for (shape, text) in shapes(&objects) {
        for packed in [text.clone().into_bytes(), gzip(text.as_bytes())] {
            let workspace = Workspace::new();
            let run = workspace.ingest(&[workspace.write("in", &packed)]).ok();
            let summary = run.summary();
            assert_eq!((summary.lines_in, summary.lines_shipped), (300, 300), "{shape}: {}", run.stderr);
            assert!(values(&workspace.delivered(OUT)) == wanted, "{shape}: other objects came out");
            let objects = workspace.objects(OUT);
            assert!(objects.iter().all(|object| object.path.to_string_lossy().ends_with(".jsonl")), "{shape}");
        }
        let piped = Workspace::new();
        piped.ingest_from(&["--encode", "jsonl", "--select", "date,query.e,sc-status"], text.as_bytes()).ok();
        let plain = Workspace::new();
        let lines = objects.join("\n");
        plain.ingest_from(&["--encode", "jsonl", "--select", "date,query.e,sc-status"], lines.as_bytes()).ok();
        assert!(piped.delivered(OUT) == plain.delivered(OUT), "{shape}: other values");
    }
}

#[test]
fn jq_finds_the_same_objects() {
    let found = Command::new("jq").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("skipped: there is no jq");
        return;
    }
    let filter = r#"if type == "array" then .[] elif .logEvents then .logEvents[].message | fromjson else . end"#;
    for (shape, text) in shapes(&objects(1_000, 60)) {
        let mut jq = Command::new("jq");
        let mut child =
            jq.args(["-c", filter]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut pipe = child.stdin.take().expect("stdin is piped");
        // jq refuses the comma too many.
        let input = text.replace(",\n]", "\n]").into_bytes();
        let writer = std::thread::spawn(move || pipe.write_all(&input));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("no panic").expect("jq reads everything");
        assert!(output.status.success(), "{shape}");
        let workspace = Workspace::new();
        workspace.ingest_from(&[], text.as_bytes()).ok();
        assert!(values(&workspace.delivered(OUT)) == values(&output.stdout), "{shape}: jq finds others");
    }
}

#[test]
fn messages_of_an_envelope_may_be_separated_by_tabs() {
    let text = log("realtime-46", 200);
    let messages: Vec<String> = lines(&text).map(|line| String::from_utf8(line.to_vec()).expect("UTF-8")).collect();
    let control = envelope("CONTROL_MESSAGE", &["CWL CONTROL MESSAGE: Checking health of destination.".to_owned()]);
    let input =
        format!("{control}{}{}", envelope("DATA_MESSAGE", &messages[..99]), envelope("DATA_MESSAGE", &messages[99..]));
    let workspace = Workspace::new();
    let summary = workspace.ingest(&[workspace.write("in", input.as_bytes())]).ok().summary();
    assert_eq!((summary.lines_in, summary.lines_shipped, summary.lines_empty), (200, 200, 1));
    assert!(workspace.delivered(OUT) == text);
    assert!(workspace.objects(OUT)[0].path.to_string_lossy().ends_with(".tsv"));
    // A standard log needs to be told its columns, as without an envelope.
    let standard = without_headers(&log("standard", 50));
    let messages: Vec<String> = lines(&standard).map(|line| String::from_utf8(line.to_vec()).expect("UTF-8")).collect();
    let input = envelope("DATA_MESSAGE", &messages);
    let arguments = ["--format", "standard", "--fields", pixel_engine_bench_data::STANDARD_FIELDS];
    let workspace = Workspace::new();
    assert_eq!(workspace.ingest_from(&arguments, input.as_bytes()).ok().summary().lines_shipped, 50);
    assert!(workspace.delivered(OUT) == standard);
}

#[test]
fn numbers_keep_their_digits() {
    let line = r#"{"date":"2026-01-05","time":"08:00:00","timestamp":1761759015.10,"sc-bytes":12345678901234567890123,"time-taken":0.000,"asn":null,"x-new":1e400,"fle-status":true}"#;
    let workspace = Workspace::new();
    workspace.ingest_from(&["--encode", "jsonl"], line.as_bytes()).ok();
    let wanted = r#"{"date":"2026-01-05","time":"08:00:00","timestamp":1761759015.10,"sc_bytes":"12345678901234567890123","time_taken":0.000,"x_new":"1e400","fle_status":"true"}"#;
    assert_eq!(String::from_utf8(workspace.delivered(OUT)).expect("UTF-8").trim_end(), wanted);
    let selected = Workspace::new();
    selected.ingest_from(&["--select", "timestamp,sc-bytes,asn,+x-new"], line.as_bytes()).ok();
    assert_eq!(selected.delivered(OUT), b"1761759015.10\t12345678901234567890123\t-\t1e400\n");
}

#[test]
fn damage_costs_the_damaged_object_alone() {
    let objects = objects(0, 20);
    for shape in SHAPES {
        if shape == "one a line, the last without a newline" {
            // Its empty lines count, as in any log.
            continue;
        }
        for keep in [1, 9, 30, 31, 32, 33, 400] {
            let mut texts = printed(shape, &objects);
            texts[7].truncate(keep);
            let text = written(shape, &texts);
            let workspace = Workspace::new();
            let run = workspace.ingest(&[workspace.write("in", text.as_bytes())]).ok();
            let wanted: Vec<Value> =
                objects.iter().enumerate().filter(|(index, _)| *index != 7).map(|(_, object)| value(object)).collect();
            assert!(values(&workspace.delivered(OUT)) == wanted, "{shape}, {keep} bytes: {}", run.stderr);
            let summary = run.summary();
            assert_eq!((summary.lines_in, summary.lines_quarantined), (20, 1), "{shape}, {keep} bytes: {text}");
            let bad = &workspace.quarantine()[0];
            assert_eq!(bad.line, 8, "{shape}: the eighth line, object or message");
            assert!(bad.reason.contains("column"), "{}", bad.reason);
        }
    }
}

#[test]
fn reasons_are_in_our_own_words() {
    let good = objects(0, 1).remove(0);
    for (bad, reason) in [
        ("{\"date\":\"2026-01-05\",}", "not valid JSON at column 22"),
        ("{\"date\":tru}", "not valid JSON at column 12"),
        ("{\"date\":\"2026-01-05\"", "cut off at column 21"),
        ("[1,2]", "it is an array, not an object"),
        ("{\"date\":{\"a\":1}}", "the value of `date` is an object"),
        ("{\"date\":\"1\",\"date\":\"2\"}", "`date`"),
        ("{\"e\":\"pv\"}", "none of its keys is a field of CloudFront logs"),
        ("{\"id\":\"1\",\"timestamp\":1,\"message\":\"x\"}", "none of its keys"),
    ] {
        let workspace = Workspace::new();
        workspace.ingest_from(&[], format!("{good}\n{bad}\n{good}\n").as_bytes()).ok();
        let [entry] = &workspace.quarantine()[..] else { panic!("one bad line: {bad}") };
        assert_eq!((entry.line, entry.offset as usize, entry.bytes()), (2, good.len() + 1, bad.as_bytes().to_vec()));
        assert!(entry.reason.contains(reason), "{bad}: {}", entry.reason);
        for not_ours in ["InternalError", "Expected", "Syntax", "character", "line 1"] {
            assert!(!entry.reason.contains(not_ours), "{}", entry.reason);
        }
    }
}

#[test]
fn an_array_whose_end_is_missing_is_an_error() {
    let objects = objects(0, 10);
    let whole = envelope("DATA_MESSAGE", &objects);
    for text in [format!("[{},", objects.join(",")), whole[..whole.len() - 2].to_owned()] {
        let workspace = Workspace::new();
        let run = workspace.ingest(&[workspace.write("in", text.as_bytes())]).exits(1);
        run.says(&["in: reading stopped at byte", "is not closed: the end of the input is missing"]);
        assert_eq!(run.summary().lines_shipped, 10);
    }
}

#[test]
fn a_resumed_input_goes_on_behind_what_was_shipped() {
    let objects = objects(0, 400);
    for shape in ["one a line", "two a line", "pretty", "joined", "pretty and joined"] {
        let text = written(shape, &printed(shape, &objects));
        let first = written(shape, &printed(shape, &objects[..200]));
        let workspace = Workspace::new();
        workspace.write("in", first.as_bytes());
        let arguments = ["in", "--resume", "checkpoint", "--to", "stdout:"];
        let mut shipped = Vec::new();
        for (input, count) in [(&first, 200), (&first, 0), (&text, 200)] {
            std::fs::write(workspace.path("in"), input).expect("a file");
            let run = workspace.ingest(&arguments).ok();
            assert_eq!(run.summary().lines_in, count, "{shape}");
            shipped.extend(records(&run.stdout).into_iter().flat_map(|record| record.data));
        }
        let wanted: Vec<Value> = objects.iter().map(|object| value(object)).collect();
        assert!(values(&shipped) == wanted, "{shape}");
        assert!(workspace.quarantine().is_empty());
    }
}

#[test]
fn an_object_longer_than_a_block_is_a_long_line() {
    let objects = objects(0, 3);
    let long = format!(r#"{{"date":"2026-01-05","cs(Cookie)":"{}"}}"#, "c".repeat(3 << 20));
    for text in [
        format!("{}\n{long}\n{}\n", objects[0], objects[1]),
        format!("{}{long}{}", objects[0], objects[1]),
        format!("[{},{long},{}]", objects[0], objects[1]),
    ] {
        let workspace = Workspace::new();
        let summary = workspace.ingest_from(&[], text.as_bytes()).ok().summary();
        assert_eq!((summary.lines_in, summary.lines_shipped, summary.lines_quarantined), (3, 2, 1));
        let pieces: Vec<u8> = workspace.quarantine().iter().flat_map(BadLine::bytes).collect();
        assert!(pieces == long.as_bytes());
        assert!(workspace.quarantine().iter().all(|bad| bad.line == 2));
    }
}
