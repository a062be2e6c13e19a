use crate::support::*;

/// The text of column `index`, counted from 0.
fn column(line: &[u8], index: usize) -> &[u8] {
    line.trim_ascii_end().split(|&byte| byte == b'\t').nth(index).expect("enough columns")
}

const REQUEST_ID: usize = 12;
const STATUS: usize = 4;
const STEM: usize = 9;
const METHOD: usize = 6;

#[test]
fn selected_fields_come_in_the_order_they_were_named() {
    let text = log("realtime-46", 5_000);
    let workspace = Workspace::new();
    let run = workspace.ingest_from(&["--select", "x-edge-request-id,sc-status,uri-path,connection-id"], &text).ok();
    assert_eq!(run.summary().lines_shipped, 5_000);
    let wanted: Vec<u8> = lines(&text)
        .flat_map(|line| {
            let path = column(line, STEM).split(|&byte| byte == b'?').next().expect("the first part");
            [column(line, REQUEST_ID), b"\t", column(line, STATUS), b"\t", path, b"\t-\n"].concat()
        })
        .collect();
    assert!(workspace.delivered(OUT) == wanted);
}

#[test]
fn selected_json_has_those_keys_only() {
    let text = log("realtime-46", 500);
    let workspace = Workspace::new();
    workspace.ingest_from(&["--encode", "jsonl", "--select", "sc-status,viewer-host,query.e"], &text).ok();
    let mut parameters = 0;
    for line in lines(&workspace.delivered(OUT)) {
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).expect("an object");
        assert!(line.keys().all(|key| ["sc_status", "viewer_host", "query"].contains(&key.as_str())), "{line:?}");
        assert!(line["sc_status"].is_u64());
        if let Some(query) = line.get("query").and_then(|query| query.as_object()) {
            assert!(query.keys().eq(["e"]));
            parameters += 1;
        }
    }
    assert!(parameters > 0);
}

#[test]
fn lines_that_match_are_shipped_and_the_others_counted() {
    let text = log("realtime-46", 8_000);
    for conditions in
        [&["sc-status=2*"][..], &["cs-method=GET", "sc-status=[23]*"], &["cs-method=none"], &["fle-status=-"]]
    {
        let matches = |line: &[u8]| {
            conditions.iter().all(|condition| match *condition {
                "sc-status=2*" => column(line, STATUS).starts_with(b"2"),
                "sc-status=[23]*" => matches!(column(line, STATUS), [b'2' | b'3', ..]),
                "cs-method=GET" => column(line, METHOD) == b"GET",
                "fle-status=-" => true,
                _ => false,
            })
        };
        let wanted: Vec<u8> = lines(&text).filter(|line| matches(line)).flatten().copied().collect();
        let workspace = Workspace::new();
        let arguments: Vec<&str> = conditions.iter().flat_map(|condition| ["--match", condition]).collect();
        let summary = workspace.ingest_from(&arguments, &text).ok().summary();
        assert_eq!(summary.lines_shipped, count_lines(&wanted), "{conditions:?}");
        assert_eq!(summary.lines_filtered, 8_000 - count_lines(&wanted), "{conditions:?}");
        assert_eq!((summary.lines_quarantined, summary.lines_skipped), (0, 0));
        assert!(workspace.delivered(OUT) == wanted, "{conditions:?}");
    }
}

#[test]
fn a_field_that_only_some_schemas_have_is_absent_in_the_others() {
    let text = [log("pixel-4", 300), log("realtime-46", 300)].concat();
    let summary = Workspace::new().ingest_from(&["--match", "sc-status=-"], &text).ok().summary();
    assert_eq!((summary.lines_shipped, summary.lines_filtered), (300, 300));
}

#[test]
fn hosts_have_one_meaning_in_all_formats() {
    for shape in ["realtime-46", "standard", "standard-json"] {
        let workspace = Workspace::new();
        workspace.ingest_from(&["--select", "distribution-host,viewer-host"], &log(shape, 200)).ok();
        for line in lines(&workspace.delivered(OUT)) {
            let line = String::from_utf8_lossy(line);
            let (distribution, viewer) = line.trim_end().split_once('\t').expect("two columns");
            assert!(distribution.ends_with(".cloudfront.net"), "{shape}: {line}");
            assert!(!viewer.ends_with(".cloudfront.net"), "{shape}: {line}");
        }
    }
}

#[test]
fn wrong_selections_and_conditions_are_usage_errors() {
    let workspace = Workspace::new();
    workspace
        .ingest(&["--select", "cs-uri-qurey"])
        .exits(2)
        .says(&["unknown field `cs-uri-qurey`", "did you mean `cs-uri-query`?"]);
    workspace.ingest(&["--select", ""]).exits(2);
    workspace.ingest(&["--match", "c-ip"]).exits(2).says(&["--match"]);
    workspace.ingest(&["--match", "nothing=1"]).exits(2).says(&["--match", "nothing"]);
    workspace.ingest(&["--match", "c-ip=[a"]).exits(2).says(&["--match", "[a"]);
}
