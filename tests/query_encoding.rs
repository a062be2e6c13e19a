use serde_json::{Value, json};

use crate::support::*;

/// As a writer logs it that adds no escapes of its own: the URL inside has some, too.
const ONCE: &str = "e=pv&uid=u%2541&url=http%3A%2F%2Fa.example%2F%3Fq%3D%2520";
/// The same, logged by CloudFront.
const TWICE: &str = "e=pv&uid=u%252541&url=http%253A%252F%252Fa.example%252F%253Fq%253D%252520";

/// Lines of `pixel-4` with that query.
fn lines_of(query: &str, count: usize) -> String {
    (0..count).map(|number| format!("1767600000.{:03}\t203.0.113.9\tcurl/8.0\t{query}\n", number % 1_000)).collect()
}

fn decided(once: u64, twice: u64, undecided: u64) -> Value {
    json!({ "inputs_once": once, "inputs_twice": twice, "inputs_undecided": undecided })
}

/// The decoded parameters of every line.
fn queries(workspace: &Workspace) -> Vec<Value> {
    let delivered = workspace.delivered(OUT);
    lines(&delivered).map(|line| serde_json::from_slice::<Value>(line).expect("an object")["query"].clone()).collect()
}

fn viewer_sent() -> Value {
    json!({ "e": "pv", "uid": "u%41", "url": "http://a.example/?q=%20" })
}

#[test]
fn each_encoding_is_decoded_as_it_is_told() {
    for (query, encoding) in [(ONCE, "once"), (ONCE, "auto"), (TWICE, "twice"), (TWICE, "auto")] {
        let workspace = Workspace::new();
        let arguments = ["--encode", "jsonl", "--query-encoding", encoding];
        workspace.ingest_from(&arguments, lines_of(query, 50).as_bytes()).ok();
        assert_eq!(queries(&workspace), vec![viewer_sent(); 50], "{query} {encoding}");
        let selected = Workspace::new();
        let arguments = [&arguments[..], &["--select", "query.url,query.uid"]].concat();
        selected.ingest_from(&arguments, lines_of(query, 1).as_bytes()).ok();
        assert_eq!(queries(&selected), [json!({ "uid": "u%41", "url": "http://a.example/?q=%20" })]);
    }
    // Without the setting, CloudFront's own.
    let workspace = Workspace::new();
    let run = workspace.ingest_from(&["--encode", "jsonl"], lines_of(TWICE, 1).as_bytes()).ok();
    assert_eq!(queries(&workspace), [viewer_sent()]);
    assert_eq!(run.summary().query_encoding, None);
    let workspace = Workspace::new();
    workspace.ingest_from(&["--encode", "jsonl"], lines_of(ONCE, 1).as_bytes()).ok();
    assert_eq!(queries(&workspace)[0]["uid"], "uA");
}

#[test]
fn matching_follows_it() {
    for (query, encoding) in [(ONCE, "once"), (ONCE, "auto"), (TWICE, "auto")] {
        let text = lines_of(query, 20) + &lines_of("uid=uA", 5);
        let workspace = Workspace::new();
        let arguments = ["--match", "query.uid=u%41", "--query-encoding", encoding];
        let summary = workspace.ingest_from(&arguments, text.as_bytes()).ok().summary();
        assert_eq!((summary.lines_shipped, summary.lines_filtered), (20, 5), "{query} {encoding}");
    }
}

#[test]
fn each_input_shows_its_own() {
    let workspace = Workspace::new();
    workspace.write("1.log", lines_of(ONCE, 10).as_bytes());
    workspace.write("2.log", lines_of(TWICE, 10).as_bytes());
    workspace.write("3.log", lines_of("e=pv&pct=100%25&list=%5B1%5D", 10).as_bytes());
    // What shows nothing comes before what does, over many blocks.
    let late = lines_of("e=pv", 60_000) + &lines_of(ONCE, 10);
    workspace.write("4.log", late.as_bytes());
    let inputs = ["1.log", "2.log", "3.log", "4.log"];
    let run = workspace.ingest(&[&inputs[..], &["--encode", "jsonl", "--query-encoding", "auto"]].concat()).ok();
    assert_eq!(run.summary().query_encoding, Some(decided(2, 1, 1)));
    run.says(&["queries", "encoded once in 2 inputs, twice in 1, undecided in 1"]);
    let queries = queries(&workspace);
    assert!(queries[..20].iter().all(|query| *query == viewer_sent()));
    assert_eq!(queries[20], json!({ "e": "pv", "pct": "100%", "list": "[1]" }));
    assert_eq!(queries.last(), Some(&viewer_sent()));
}

#[test]
fn the_majority_decides_and_a_doubt_is_told() {
    let mixed = lines_of(TWICE, 30) + &lines_of(ONCE, 10);
    let workspace = Workspace::new();
    let run = workspace.ingest_from(&["--encode", "jsonl", "--query-encoding", "auto"], mixed.as_bytes()).ok();
    assert_eq!(run.summary().query_encoding, Some(decided(0, 1, 0)));
    run.says(&["stdin", "taken as encoded twice, as 30 of 40"]);
}

#[test]
fn logs_of_every_kind_show_it() {
    let standard = format!(
        "#Version: 1.0\n#Fields: date time cs-uri-query\n{}",
        format!("2026-01-05\t08:00:00\t{ONCE}\n").repeat(3)
    );
    let json = format!("{{\"date\":\"2026-01-05\",\"cs-uri-query\":\"{ONCE}\"}}\n").repeat(3);
    for text in [standard, json] {
        let workspace = Workspace::new();
        let run = workspace.ingest_from(&["--encode", "jsonl", "--query-encoding", "auto"], text.as_bytes()).ok();
        assert_eq!(run.summary().query_encoding, Some(decided(1, 0, 0)));
        assert_eq!(queries(&workspace), vec![viewer_sent(); 3]);
    }
}

#[test]
fn generated_logs_are_encoded_twice() {
    for shape in ["realtime-46", "standard", "standard-json"] {
        let text = log(shape, 2_000);
        let (told, found) = (Workspace::new(), Workspace::new());
        told.ingest_from(&["--encode", "jsonl"], &text).ok();
        let run = found.ingest_from(&["--encode", "jsonl", "--query-encoding", "auto"], &text).ok();
        assert_eq!(run.summary().query_encoding, Some(decided(0, 1, 0)), "{}", run.stderr);
        assert!(told.delivered(OUT) == found.delivered(OUT), "{shape}");
    }
}
