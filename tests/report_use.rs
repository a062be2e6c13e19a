//! Reports for a use against the truth about generated visits.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::support::*;

const STEPS: [&str; 4] = ["impressions", "viewable", "clicks", "conversions"];
const PARTS: [&str; 5] = ["gross", "bots", "data_centres", "duplicates", "net"];
const AD_TECH: [&str; 4] = ["--use", "ad-tech", "--networks", "networks"];

/// A report as JSON, with every row of its tables.
fn report(workspace: &Workspace, arguments: &[&str]) -> Value {
    let all = [&["report", "--json", "--top", "1000000"], arguments].concat();
    let run = run(&mut workspace.command(&all), b"").ok();
    serde_json::from_slice(&run.stdout).expect("a report is JSON")
}

fn text(workspace: &Workspace, arguments: &[&str]) -> String {
    let all = [&["report"], arguments].concat();
    String::from_utf8(run(&mut workspace.command(&all), b"").ok().stdout).expect("UTF-8")
}

/// The log of generated visits in `visits.log`, the networks of its data centres in `networks`, and
/// the truth about it.
fn visits(workspace: &Workspace, arguments: &[&str]) -> Value {
    let all = [&["generate", "--truth", "truth.json"], arguments].concat();
    let log = run(&mut workspace.command(&all), b"").ok().stdout;
    workspace.write("visits.log", &log);
    let truth = fs::read(workspace.path("truth.json")).expect("--truth writes it");
    let truth: Value = serde_json::from_slice(&truth).expect("the truth is JSON");
    let networks = truth["data_centre_networks"].as_array().expect("a list").iter();
    let networks: Vec<&str> = networks.map(|network| network.as_str().expect("text")).collect();
    workspace.write("networks", ("# Data centres\n".to_owned() + &networks.join(" # one\n")).as_bytes());
    truth
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// The numbers of each step of an advertisement.
fn steps(counts: &Value) -> Value {
    let part = |step: &str| PARTS.map(|part| number(&counts[step][part]));
    json!(STEPS.map(part))
}

/// The same by campaign and publisher.
fn placements(rows: &Value) -> BTreeMap<(String, String), Value> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let rows = list(rows).iter();
    rows.map(|row| ((text(&row["campaign"]), text(&row["publisher"])), steps(row))).collect()
}

fn sum(rows: &BTreeMap<(String, String), Value>) -> Value {
    let sum = |step: usize, part: usize| rows.values().map(|row| number(&row[step][part])).sum::<u64>();
    json!([0, 1, 2, 3].map(|step| [0, 1, 2, 3, 4].map(|part| sum(step, part))))
}

#[test]
fn advertisements_are_the_truth_about_visits() {
    for (shape, kind) in [("realtime-46", "ad"), ("realtime-46", "mix"), ("standard", "ad"), ("standard-json", "mix")] {
        let workspace = Workspace::new();
        let truth = visits(&workspace, &["--visitors", "3000", "--days", "2", "--kind", kind, "--schema", shape]);
        let found = report(&workspace, &[&["visits.log", "--dedup-window", "1000000"], &AD_TECH[..]].concat());
        let ads = &found["advertising"];
        let (rows, wanted) = (placements(&ads["rows"]), placements(&truth["advertisements"]));
        assert!(wanted.len() > 20, "{} placements", wanted.len());
        assert_eq!(rows, wanted, "{shape} {kind}");
        assert_eq!(steps(&ads["total"]), sum(&wanted));
        // There is some of everything.
        assert!((0..5).all(|part| number(&steps(&ads["total"])[0][part]) > 0), "{}", ads["total"]);
        assert_eq!((number(&ads["ids"]["forgotten"]), &ads["not_shown"]["placements"]), (0, &json!(0)));
        for row in list(&ads["rows"]).iter().chain([&ads["total"]]) {
            let net = |step: &str| number(&row[step]["net"]) as f64;
            for (rate, part, all) in [
                ("viewable_percent", "viewable", "impressions"),
                ("click_percent", "clicks", "impressions"),
                ("conversion_percent", "conversions", "clicks"),
            ] {
                let wanted = (net(all) > 0.0).then(|| net(part) * 100.0 / net(all));
                assert_eq!(row[rate].as_f64(), wanted);
            }
        }
    }
}

#[test]
fn what_a_log_delivers_twice_is_gross_and_not_net() {
    let workspace = Workspace::new();
    let truth = visits(&workspace, &["--visitors", "3000", "--kind", "ad"]);
    assert!(number(&truth["abnormal"]["doubled"]) > 0);
    let found = report(&workspace, &[&["visits.log"], &AD_TECH[..]].concat());
    let (rows, wanted) = (placements(&found["advertising"]["rows"]), placements(&truth["advertisements"]));
    let net = |rows: &BTreeMap<(String, String), Value>| -> Vec<u64> {
        rows.values().flat_map(|row| (0..4).map(|step| number(&row[step][4]))).collect()
    };
    assert_eq!(net(&rows), net(&wanted));
    let gross = |rows: &BTreeMap<_, _>| (0..4).map(|step| number(&sum(rows)[step][0])).sum::<u64>();
    assert!(gross(&rows) > gross(&wanted) && gross(&rows) <= gross(&wanted) + number(&truth["abnormal"]["doubled"]));
}

/// A report without what differs between two that count the same.
fn comparable(mut report: Value) -> Value {
    report["settings"]["salt_check"] = json!(null);
    report
}

#[test]
fn neither_threads_nor_parts_change_a_number() {
    let workspace = Workspace::new();
    visits(&workspace, &["--visitors", "4000", "--days", "2", "--kind", "mix"]);
    workspace.write("salt", b"0123456789abcdef");
    let counted = [&AD_TECH[..], &["--salt-file", "salt"]].concat();
    let of = |more: &[&str]| comparable(report(&workspace, &[more, &counted].concat()));
    let whole = of(&["visits.log", "--threads", "1"]);
    for _ in 0..3 {
        assert!(of(&["visits.log", "--threads", "2"]) == whole);
    }
    let log = fs::read(workspace.path("visits.log")).expect("it was written");
    // Every third line to a machine of its own.
    for part in 0..3 {
        let lines: Vec<&[u8]> = lines(&log).skip(part).step_by(3).collect();
        let (name, state) = (format!("{part}.log"), format!("{part}.state"));
        workspace.write(&name, &lines.concat());
        of(&[&name, "--save", &state]);
    }
    for order in [["0", "1", "2"], ["2", "0", "1"], ["1", "2", "0"]] {
        let states = order.map(|part| format!("{part}.state"));
        let merges: Vec<&str> = states.iter().flat_map(|state| ["--merge", state]).collect();
        assert!(of(&merges) == whole, "{order:?}");
    }
}

/// A line of the real-time log of four fields.
fn line(second: u32, address: &str, agent: &str, query: &str) -> String {
    format!("17676000{second:02}.5\t{address}\t{agent}\t{query}\n")
}

const PERSON: &str = "Mozilla/5.0%20(X11;%20Linux)%20Firefox/140.0";

#[test]
fn each_event_is_left_out_for_one_reason() {
    let workspace = Workspace::new();
    let bot = "Mozilla/5.0%20(compatible;%20Googlebot/2.1)";
    let log = [
        // Three more that count: another id, another event, no id.
        line(10, "192.0.2.1", PERSON, "e=imp&campaign=a%2520b&pub=p&iid=1"),
        line(11, "192.0.2.1", PERSON, "e=imp&campaign=a%2520b&pub=p&iid=2"),
        line(12, "192.0.2.1", PERSON, "e=click&campaign=a%2520b&pub=p&iid=1"),
        line(13, "192.0.2.1", PERSON, "e=imp&campaign=a%2520b&pub=p"),
        // A bot from a data centre with an id that counts: a bot.
        line(14, "203.0.113.9", bot, "e=imp&campaign=a%2520b&pub=p&iid=1"),
        // A data centre with an id that counts.
        line(15, "203.0.113.9", PERSON, "e=imp&campaign=a%2520b&pub=p&iid=1"),
        line(16, "2001:0db8:00dc::0001", PERSON, "e=imp&campaign=a%2520b&pub=p&iid=7"),
        // The same id at another publisher, earlier by its time though later in the log.
        line(17, "192.0.2.2", PERSON, "e=imp&campaign=a%2520b&pub=q&iid=3"),
        line(9, "192.0.2.2", PERSON, "e=imp&utm_campaign=a%2520b&publisher=p&imp=3"),
        // Neither campaign nor publisher, and an event that is none of these.
        line(18, "192.0.2.2", PERSON, "e=imp&iid=4"),
        line(19, "192.0.2.2", PERSON, "e=impression&iid=5"),
        // What a list of one's own knows.
        line(20, "192.0.2.2", "Monitor/1.0%20of%20our%20own%20house", "e=imp&campaign=a%2520b&pub=p&iid=6"),
        // The first id again.
        line(21, "192.0.2.1", PERSON, "e=imp&campaign=a%2520b&pub=p&iid=1"),
    ];
    workspace.write("a.log", log.concat().as_bytes());
    workspace.write("networks", b"203.0.113.0/24\n2001:db8:dc::/48\n");
    workspace.write("bots", b"^Monitor/\n");
    let given = ["a.log", "--ad-events", "impression=imp", "--bots", "bots"];
    let arguments = [&given, &AD_TECH[..]].concat();
    let found = report(&workspace, &arguments);
    let rows = list(&found["advertising"]["rows"]);
    let row = |row: &Value| json!([row["campaign"], row["publisher"], steps(row)[0], row["impressions"]["without_id"]]);
    assert_eq!(
        rows.iter().map(row).collect::<Vec<_>>(),
        [
            json!(["a b", "p", [9, 2, 2, 1, 4], 1]),
            json!([null, null, [1, 0, 0, 0, 1], 0]),
            json!(["a b", "q", [1, 0, 0, 1, 0], 0]),
        ]
    );
    assert_eq!(steps(&rows[0])[2], json!([1, 0, 0, 0, 1]));
    let text = text(&workspace, &arguments);
    for says in [
        "Advertising\n  gross = bots + data centres + duplicates + net",
        "a b at p",
        "(none) at (none)",
        "A pixel of 1x1 cannot measure that",
        "real-time logs are delivered at best effort",
        "note: 1 events that count have no id",
    ] {
        assert!(text.contains(says), "{says} in {text}");
    }
    // Fewer rows: none is lost.
    let cut = report(&workspace, &[&["--top", "1"][..], &arguments].concat());
    let ads = &cut["advertising"];
    assert_eq!((list(&ads["rows"]).len(), number(&ads["not_shown"]["placements"])), (1, 2));
    assert_eq!(steps(&ads["not_shown"])[0], json!([2, 0, 0, 1, 1]));
    assert_eq!(ads["total"], found["advertising"]["total"]);
    // A window that is too small is said to be.
    let small = report(&workspace, &[&["--id-window", "1"][..], &arguments].concat());
    let notes = small["advertising"]["notes"].to_string();
    assert!(notes.contains("the window of 1 ids was full, and 5 ids found no room"), "{notes}");
    assert_eq!(steps(&small["advertising"]["total"])[0], json!([11, 2, 2, 1, 6]));
}

#[test]
fn wrong_flags_and_lists_are_named() {
    let workspace = Workspace::new();
    workspace.write("a.log", line(10, "192.0.2.1", PERSON, "e=impression").as_bytes());
    workspace.write("networks", b"203.0.113.0/24\n");
    workspace.write("bad-networks", b"# ours\n203.0.113.0/24\n203.0.113.9/8 # a slip\n");
    workspace.write("bad-bots", b"# ours\nExample(\n");
    let fails = |arguments: &[&str], code, says: &[&str]| {
        run(&mut workspace.command(&[&["report", "a.log"], arguments].concat()), b"").exits(code).says(says);
    };
    let ads = |more: &[&'static str]| [&["--use", "ad-tech"], more].concat();
    fails(
        &ads(&["--networks", "bad-networks"]),
        2,
        &["--networks bad-networks: line 3, `203.0.113.9/8`: ", "203.0.0.0/8"],
    );
    fails(&ads(&["--networks", "absent"]), 2, &["--networks absent: No such file"]);
    fails(&ads(&["--bots", "bad-bots"]), 1, &["--bots bad-bots: line 2, `Example(`: "]);
    fails(&ads(&["--ad-events", "click"]), 2, &["ad_events: `click`"]);
    fails(&ads(&["--id-window", "0"]), 2, &["id_window: "]);
    fails(&ads(&["--campaign", "qurey.c"]), 2, &["campaign: unknown field `qurey.c`"]);
    fails(&["--networks", "networks"], 2, &["--networks is for `--use ad-tech`"]);
    // What was counted by other lists is not merged.
    workspace.write("salt", b"0123456789abcdef");
    let salted = ["a.log", "--salt-file", "salt"];
    report(&workspace, &[&salted[..], &AD_TECH, &["--save", "one.state"]].concat());
    let merged = ["--salt-file", "salt", "--merge", "one.state"];
    fails(&merged, 1, &["one.state: it was counted with advertising {"]);
    fails(&[&merged[..], &["--use", "ad-tech"]].concat(), 1, &["one.state: it was counted with advertising {"]);
    workspace.write("bots", b"Example\n");
    fails(&[&merged[..], &AD_TECH, &["--bots", "bots"]].concat(), 1, &["one.state: it was counted with own_bots "]);
}
