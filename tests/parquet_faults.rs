use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::peers::rows_by;
use crate::support::*;

const PARQUET: [&str; 4] = ["--encode", "parquet", "--to", "dir:out"];
const ID: [&str; 1] = ["x_edge_request_id"];

#[test]
fn a_run_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    let workspace = Workspace::new();
    let count = soak(12_000, 100_000);
    workspace.write("in.log", &log("realtime-46", count));
    // More folders than open files: some are published all the time.
    let by = ["--partition-by", "x-edge-location,c-country"];
    let arguments = [&["in.log", "--resume", "checkpoint", "--threads", "1"], &PARQUET[..], &by].concat();
    let found = || match files_below(&workspace.path("out")).is_empty() {
        true => BTreeMap::new(),
        // One that is not whole cannot be read.
        false => rows_by(&workspace.path("out"), &ID),
    };
    for kill in 0..soak(4, 40) {
        let child = workspace.ingest_command(&arguments).spawn().expect("it starts");
        thread::sleep(Duration::from_millis(100 + kill * 173 % 700));
        signal(&child, "KILL");
        workspace.wait(child);
        let offset = Saved::read(&workspace).offset;
        let ids = found();
        let text = fs::read(workspace.path("in.log")).expect("the log");
        let missing = lines(&text[..offset as usize]).filter_map(id_in).find(|id| {
            let id = std::str::from_utf8(id).expect("an id is text");
            !ids.contains_key(&format!("x_edge_request_id={id}"))
        });
        assert_eq!(missing.map(String::from_utf8_lossy), None, "acknowledged up to byte {offset}, and lost");
    }
    let before = found().len() as u64;
    let shipped = workspace.ingest(&arguments).ok().summary().lines_shipped;
    let ids = found();
    assert_eq!((ids.len() as u64, ids.values().sum::<u64>()), (count, count));
    assert_eq!(shipped, count - before);
    workspace.ingest(&arguments).ok().says(&["1 of 1 inputs were delivered before"]);
}

#[test]
fn a_full_disk_is_told_of_and_leaves_no_file() {
    let workspace = Workspace::new();
    let disk = workspace.path("disk");
    fs::create_dir(&disk).expect("a folder");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&disk).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        return skipped("a full disk: no tmpfs can be mounted here");
    }
    let arguments = ["--encode", "parquet", "--compress", "none", "--to", "dir:disk/out"];
    let run = workspace.ingest_from(&arguments, &log("realtime-46", 8_000));
    let left: Vec<_> = all_files_below(&disk);
    let unmounted = Command::new("umount").arg(&disk).status().is_ok_and(|status| status.success());
    assert!(unmounted);
    run.says(&["disk/out", "No space left"]);
    let summary = run.exits(1).summary();
    assert_eq!((summary.lines_shipped, summary.lines_undelivered), (0, 8_000));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_told_of() {
    let workspace = Workspace::new();
    workspace.write("in.log", &log("realtime-46", 100));
    workspace.ingest(&["in.log", "--encode", "parquet", "--to", "dir:in.log/out"]).exits(1).says(&["in.log/out"]);
    // It is in the way of one hour only, and of no other line.
    workspace.write("out/dt=2026-01-05", b"a file");
    let run = workspace.ingest(&[&["in.log", "--resume", "checkpoint"], &PARQUET[..]].concat());
    run.says(&["out"]);
    assert_eq!(run.exits(1).summary().lines_shipped, 0);
    assert_eq!(Saved::read(&workspace).offset, 0);
    fs::remove_file(workspace.path("out/dt=2026-01-05")).expect("it goes");
    let run = workspace.ingest(&[&["in.log", "--resume", "checkpoint"], &PARQUET[..]].concat()).ok();
    assert_eq!(run.summary().lines_shipped, 100);
    assert_eq!(rows_by(&workspace.path("out"), &ID).len(), 100);
}

/// How many JSON lines have which values.
fn json_by(workspace: &Workspace, columns: &[&str]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in lines(&workspace.delivered(OUT)) {
        let line: Value = serde_json::from_slice(line).expect("JSON");
        let value = |name: &&str| format!("{name}={}", line[*name].as_str().unwrap_or("None"));
        *found.entry(columns.iter().map(value).collect::<Vec<_>>().join("/")).or_default() += 1;
    }
    found
}

#[test]
fn treated_filtered_doubled_and_bad_lines_count_as_with_other_encodings() {
    let (first, second) = (log("realtime-46", 1_500), log_from("realtime-46", 1_500, 1_500));
    let mut text = [&first[..], &second, &first].concat();
    for bad in ["one column\n", "1767600000\0\t\n", "no time\t2\t3\n"] {
        text.extend_from_slice(bad.as_bytes());
    }
    let treated =
        ["--mask-ip", "--hash", "query.uid,cs-user-agent", "--hash-key", "0123456789abcdef", "--drop", "cs-cookie"];
    let narrowed = ["--match", "cs-protocol=https", "--dedup-window", "10000", "--threads", "1"];
    let run_with = |encode: &[&str]| {
        let workspace = Workspace::new();
        workspace.write("in.log", &text);
        let run = workspace.ingest(&[&["in.log"], encode, &treated[..], &narrowed[..]].concat()).ok();
        let summary = run.summary();
        assert!(summary.lines_duplicate > 1_000 && summary.lines_quarantined == 3, "{summary:?}");
        assert_eq!(workspace.quarantine().len(), 3);
        (workspace, summary)
    };
    let (json, expected) = run_with(&["--encode", "jsonl"]);
    let (parquet, summary) = run_with(&PARQUET);
    assert_eq!(
        (summary.lines_in, summary.lines_shipped, summary.lines_filtered, summary.lines_duplicate),
        (expected.lines_in, expected.lines_shipped, expected.lines_filtered, expected.lines_duplicate)
    );
    for columns in [["c_ip", "cs_uri_query"], ["cs_user_agent", "cs_cookie"], ["x_edge_request_id", "x_forwarded_for"]]
    {
        assert_eq!(rows_by(&parquet.path("out"), &columns), json_by(&json, &columns), "{columns:?}");
    }
    let said: Value =
        serde_json::from_slice(&fs::read(parquet.path("summary.json")).expect("a summary")).expect("JSON");
    let files = files_below(&parquet.path("out"));
    let bytes: u64 = files.iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
    assert_eq!(said["files"], serde_json::json!({ "files": files.len(), "bytes": bytes, "row_groups": files.len() }));
}
