//! The named queries of Athena, by DuckDB, over what was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use super::stack;
use crate::peers::{self, query_table};
use crate::support::{Workspace, lines, log, run};

/// Beacons that nobody would send but to do harm.
const HOSTILE: [&str; 3] = ["e=100%25", "e=%zz", "e=&uid=%25E4"];

#[test]
fn queries_count_what_was_delivered() {
    let (stack, workspace) = (stack(&[("Design", "1a")]), Workspace::new());
    let log = log("realtime-46", 2_000);
    let all: Vec<&[u8]> = lines(&log).collect();
    let twice: Vec<u8> = all[..7].concat();
    let hostile = HOSTILE.iter().enumerate().map(|(at, query)| {
        let line = String::from_utf8(all[at].to_vec()).expect("ASCII");
        let mut columns: Vec<&str> = line.split('\t').collect();
        let id = format!("hostile-{at}");
        (columns[12], columns[20]) = (&id, query);
        columns.join("\t")
    });
    let hostile: String = hostile.collect();
    // What Firehose delivers in an hour.
    let today = peers::run(Command::new("date").args(["-u", "+%F"]), b"");
    let day = std::str::from_utf8(&today).unwrap().trim();
    let folder = format!("tsv/dt={day}/hour=07");
    workspace.write(&format!("{folder}/one.tsv"), &[&log[..], hostile.as_bytes()].concat());
    workspace.write(&format!("{folder}/two.tsv"), &twice);

    let columns = &stack.properties("Lines")["TableInput"]["StorageDescriptor"]["Columns"];
    let columns = columns.as_array().unwrap().iter().map(|it| json!([it["Name"], it["Type"]])).collect();
    let query = |name: &str| stack.properties(name)["QueryString"].as_str().unwrap().to_owned();
    let queries = ["EventsByHour", "VisitorsByDay", "Repeats"].map(query);
    let queries: Vec<&str> = queries.iter().map(String::as_str).chain(["SELECT sum(time_taken) FROM lines"]).collect();
    let rows = query_table(&workspace.path("tsv/**/*.tsv"), &columns, &queries);

    let decoded = Workspace::as_json(&log);
    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    let mut visitors = BTreeSet::new();
    for line in &decoded {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *events.entry(text(&line["query"]["e"])).or_default() += 1;
        let id = text(&line["query"]["uid"]);
        let id = if id.is_empty() { text(&line["c_ip"]) + " " + &text(&line["cs_user_agent"]) } else { id };
        visitors.insert(id);
    }
    let found: BTreeMap<String, u64> = rows[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert_eq!((&row[0], &row[1]), (&json!(day), &json!("07")));
            (row[2].as_str().unwrap_or_default().to_owned(), row[3].as_u64().unwrap())
        })
        .filter(|(event, _)| events.contains_key(event) && !event.is_empty())
        .collect();
    events.remove("");
    assert_eq!(found, events);
    let count = rows[1][0][1].as_u64().unwrap() as usize;
    assert!((visitors.len()..=visitors.len() + HOSTILE.len()).contains(&count), "{count}, {}", visitors.len());
    let lines = 2_000 + 7 + HOSTILE.len();
    assert_eq!(rows[2], json!([[day, lines, 7]]));
    assert!(rows[3][0][0].as_f64().unwrap() > 1.0, "seconds are no integers");
}

#[test]
fn the_table_is_what_the_command_prints() {
    let (stack, workspace) = (stack(&[("Design", "1a")]), Workspace::new());
    // It has a name once the stack is made.
    let theirs = stack.properties("Lines")["TableInput"].to_string().replace("${DataBucket}", "bucket");
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    let location = theirs["StorageDescriptor"]["Location"].as_str().unwrap();
    let arguments = ["schema", "--glue", "--layout", "hive", "--since", "2026-01-01", "--location", location];
    let ours: Value = serde_json::from_slice(&run(&mut workspace.command(&arguments), b"").ok().stdout).unwrap();
    assert_eq!(ours, theirs);
}
