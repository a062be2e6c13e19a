use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use crate::memory::peak_when_idle;
use crate::peers::{Origin, check_parquet, rows_by};
use crate::support::*;

const FIELDS: &str = "timestamp,c-ip,cs-protocol,cs-uri-query";

fn folders_of(lines: &[(u64, &str)]) -> BTreeMap<String, u64> {
    let workspace = Workspace::new();
    let text: String = lines.iter().map(|(time, _)| format!("{time}.5\t192.0.2.1\thttps\ta=1\n")).collect();
    workspace.write("in.log", text.as_bytes());
    workspace.ingest(&["in.log", "--fields", FIELDS, "--encode", "parquet", "--to", "dir:out"]).ok();
    let of = Origin { fields: FIELDS, ..Origin::default() };
    assert_eq!(check_parquet(&workspace.path("out"), &workspace.path("in.log"), of).rows, lines.len() as u64);
    rows_by(&workspace.path("out"), &["dt", "hour"])
}

#[test]
fn hours_are_those_of_the_calendar_in_utc() {
    let lines = [
        (1_709_164_799, "dt=2024-02-28/hour=23"),
        (1_709_164_800, "dt=2024-02-29/hour=00"),
        (1_709_251_199, "dt=2024-02-29/hour=23"),
        (1_709_251_200, "dt=2024-03-01/hour=00"),
        // Of the first week of 2025, by ISO 8601.
        (1_735_516_800, "dt=2024-12-30/hour=00"),
        (1_735_689_599, "dt=2024-12-31/hour=23"),
        (1_735_689_600, "dt=2025-01-01/hour=00"),
        // Of the last week of 2020.
        (1_609_459_200, "dt=2021-01-01/hour=00"),
        (0, "dt=1970-01-01/hour=00"),
        // Late.
        (1_709_164_801, "dt=2024-02-29/hour=00"),
    ];
    let mut expected = BTreeMap::new();
    for (_, folder) in lines {
        *expected.entry(folder.to_owned()).or_default() += 1;
    }
    assert_eq!(folders_of(&lines), expected);
}

#[test]
fn folders_of_odd_and_long_values_are_read_with_their_counts() {
    let workspace = Workspace::new();
    let long = "é".repeat(90);
    let campaigns = ["a", "a b", "x/y", "=", "50%25", "..", "é", "'q'", "{z}", "", &long];
    let mut text = String::new();
    for number in 0..110 {
        let campaign = campaigns[number % campaigns.len()];
        let protocol = ["https", "http", "-"][number % 3];
        text += &format!("1767600000\t192.0.2.1\t{protocol}\tn={number}&campaign={campaign}\n");
    }
    text += "1767600000\t192.0.2.1\thttps\t-\n";
    workspace.write("in.log", text.as_bytes());
    let by = ["--partition-by", "cs-protocol,query.campaign"];
    let arguments = ["in.log", "--fields", FIELDS, "--encode", "parquet", "--to", "dir:out"];
    workspace.ingest(&[&arguments[..], &by].concat()).ok();
    let found = rows_by(&workspace.path("out"), &["cs_protocol", "query_campaign"]);
    assert_eq!(found.values().sum::<u64>(), 111);
    let mut expected = BTreeMap::new();
    for number in 0..110 {
        let campaign = match campaigns[number % campaigns.len()] {
            "50%25" => "50%".to_owned(),
            "" => "None".to_owned(),
            // What fits into a name; all of it is in `other` and in the query.
            long if long.len() > 70 => "é".repeat(35),
            other => other.to_owned(),
        };
        let protocol = ["https", "http", "None"][number % 3];
        *expected.entry(format!("cs_protocol={protocol}/query_campaign={campaign}")).or_default() += 1;
    }
    *expected.entry("cs_protocol=https/query_campaign=None".to_owned()).or_default() += 1;
    assert_eq!(found, expected);
}

#[test]
fn more_folders_than_open_files_are_no_more_open_files() {
    let workspace = Workspace::new();
    let line = |number: u64| format!("1767600000.5\t192.0.2.1\thttps\tc=c{}&n={number}\n", number * 7 % 900);
    workspace.write("in.log", (0..1_800).map(line).collect::<String>().as_bytes());
    // With fewer files than there are folders, even for each of them at a time.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 200; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pixel-engine")]);
    command.args(["ingest", "in.log", "--summary-json", "summary.json", "--fields", FIELDS, "--to", "dir:out"]);
    command.args(["--encode", "parquet", "--partition-by", "query.c"]).current_dir(workspace.path("."));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let summary = workspace.ingest_with(&mut command, b"").ok().summary();
    assert_eq!(summary.lines_shipped, 1_800);
    let found = rows_by(&workspace.path("out"), &["query_c"]);
    assert_eq!((found.len(), found.values().all(|&rows| rows == 2)), (900, true));
}

/// The peak of `ingest` over lines of 24 hours in turn.
#[test]
fn a_day_of_hours_at_once_stays_within_memory() {
    const LIMIT: u64 = 400_000_000;
    let workspace = Workspace::new();
    let arguments = ["-", "--encode", "parquet", "--to", "dir:out", "--column", "query.uid"];
    let mut child = workspace.ingest_command(&arguments).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let pieces = soak(8, 60);
    for piece in 0..pieces {
        let mut hours = Vec::new();
        for (number, line) in lines(&log_from("realtime-46", 24_000 * piece, 24_000)).enumerate() {
            let rest = &line[line.iter().position(|&byte| byte == b'\t').expect("a tab")..];
            hours.extend(format!("{}.000", 1_767_571_200 + 3_600 * (number as u64 % 24)).into_bytes());
            hours.extend(rest);
        }
        stdin.write_all(&hours).expect("it reads");
    }
    let peak = peak_when_idle(&child);
    drop(stdin);
    let summary = workspace.wait(child).ok().summary();
    assert_eq!(summary.lines_shipped, pieces * 24_000);
    assert!(peak <= LIMIT, "{peak} bytes");
    let found = rows_by(&workspace.path("out"), &["dt", "hour"]);
    assert_eq!((found.len(), found.values().all(|&rows| rows == pieces * 1_000)), (24, true), "{found:?}");
}
