//! The numbers of a report against the truth about generated visits, and against DuckDB's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::Arc;

use pixel_engine::agents::Agents;
use pixel_engine::config::Settings;
use pixel_engine::log::schema::Schema;
use pixel_engine::observe::Observed;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::report::{self, AgentReader, Beacons, Document, Lines, State, View};
use pixel_engine::run::Run as LibraryRun;
use pixel_engine::sink::null::Null;
use pixel_engine::source::{Closed, Feed, Source};
use pixel_engine_bench_data::visits::{self, Visits};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::peers::{count_beacons, is_installed};
use crate::support::*;

const FUNNEL: &str = "view > cart > checkout > paid";

/// A report as JSON, with every row of its tables.
fn report_of(workspace: &Workspace, arguments: &[&str]) -> Value {
    let all = [&["report", "--json", "--top", "1000000"], arguments].concat();
    parsed(&run(&mut workspace.command(&all), b"").ok())
}

fn parsed(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout).expect("a report is JSON")
}

/// The log of generated visits in `visits.log`, and the truth about it.
fn make_visits(workspace: &Workspace, arguments: &[&str]) -> Value {
    let all = [&["generate", "--truth", "truth.json"], arguments].concat();
    let log = run(&mut workspace.command(&all), b"").ok().stdout;
    workspace.write("visits.log", &log);
    let truth = fs::read(workspace.path("truth.json")).expect("--truth writes it");
    serde_json::from_slice(&truth).expect("the truth is JSON")
}

/// Beacons and those of bots by the names of a table.
fn table(report: &Value, name: &str) -> BTreeMap<String, (u64, u64)> {
    let tables = report["tables"].as_array().expect("tables");
    let table = tables.iter().find(|table| table["name"] == name).expect("a table of that name");
    let rows = table["rows"].as_array().expect("rows").iter();
    rows.map(|row| (text(&row["name"]), (number(&row["beacons"]), number(&row["bots"])))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers<'a>(values: &'a Value, field: &str) -> Vec<&'a Value> {
    values.as_array().expect("a list").iter().map(|value| &value[field]).collect()
}

/// How often a rule was broken.
fn broken(report: &Value, name: &str) -> u64 {
    let rules = report["abnormal"]["rules"].as_array().expect("rules");
    number(&rules.iter().find(|rule| rule["name"] == name).expect("a rule of that name")["count"])
}

/// The counts of the truth, by name.
fn counts(truth: &Value) -> BTreeMap<String, (u64, u64)> {
    let counts = truth.as_object().expect("an object").iter();
    counts.map(|(name, count)| (name.clone(), (number(&count["all"]), number(&count["bots"])))).collect()
}

fn by_hour(report: &Value) -> BTreeMap<String, (u64, u64)> {
    let hours = report["by_hour"]["rows"].as_array().expect("rows").iter();
    let hours =
        hours.map(|hour| (hour["begin_seconds"].to_string(), (number(&hour["beacons"]), number(&hour["bots"]))));
    hours.filter(|(_, (beacons, _))| *beacons > 0).collect()
}

fn is_true(report: &Value, truth: &Value, shape: &str) {
    let count = |truth: &Value| (number(&truth["all"]), number(&truth["bots"]));
    let beacons = &report["beacons"];
    assert_eq!((number(&beacons["beacons"]), number(&beacons["bots"])), count(&truth["events"]), "{shape}");
    assert_eq!(beacons["sc_bytes"], truth["bytes"], "{shape}");
    assert_eq!(by_hour(report), counts(&truth["events_by_hour"]), "{shape}");
    assert_eq!(table(report, "events"), counts(&truth["events_by_name"]), "{shape}");
    assert_eq!(table(report, "edge_locations"), counts(&truth["edge_locations"]), "{shape}");
    assert_eq!(table(report, "statuses"), counts(&truth["statuses"]), "{shape}");
    let (all, bots) = count(&truth["visitors"]);
    let visitors = &report["visitors"];
    assert_eq!((number(&visitors["people"]), number(&visitors["bots"])), (all - bots, bots), "{shape}");
    let (all, bots) = count(&truth["sessions"]);
    assert_eq!(number(&report["sessions"]["sessions"]), all - bots, "{shape}");
    let steps = &report["funnel"]["steps"];
    assert_eq!(numbers(steps, "visitors"), numbers(&truth["funnel"], "visitors"), "{shape}");
    let by_bot: u64 = truth["bots"].as_object().expect("an object").values().map(number).sum();
    assert_eq!(table(report, "bots").values().map(|(beacons, _)| beacons).sum::<u64>(), by_bot, "{shape}");
    let (abnormal, lines) = (&truth["abnormal"], &report["lines"]);
    for (rules, field) in [
        (&["error", "aborted"][..], "failures"),
        (&["without_query"], "without_query"),
        (&["unknown_event"], "unknown_names"),
        (&["without_id"], "missing_ids"),
        (&["long_query"], "long_queries"),
        (&["burst"], "bursts"),
    ] {
        let found: u64 = rules.iter().map(|rule| broken(report, rule)).sum();
        assert_eq!(found, number(&abnormal[field]), "{shape}: {field}");
    }
    let wrong = number(&abnormal["broken_escapes"]) + number(&abnormal["invalid_utf8"]);
    assert_eq!(broken(report, "broken_escapes"), wrong, "{shape}");
    assert_eq!(lines["bad"], abnormal["unreadable"], "{shape}");
    assert_eq!(lines["duplicates"], abnormal["doubled"], "{shape}");
    assert_eq!(lines["lines_in"], truth["lines"], "{shape}");
}

const KNOWN: &str = "view,cart,checkout,paid,impression,viewable,click,conversion";

#[test]
fn a_report_is_the_truth_about_visits() {
    for (shape, more) in [
        ("realtime-46", &[][..]),
        ("realtime-46", &["--without-ids"]),
        ("standard", &[]),
        ("standard-json", &["--kind", "shop"]),
    ] {
        let workspace = Workspace::new();
        let made = ["--visitors", "1500", "--days", "2", "--unreadable", "20", "--schema", shape];
        let truth = make_visits(&workspace, &[&made, more].concat());
        let counted = ["--funnel", FUNNEL, "--dedup-window", "1000000", "--known-events", KNOWN];
        let found = report_of(&workspace, &[&["visits.log"][..], &counted].concat());
        is_true(&found, &truth, shape);
        if shape.starts_with("realtime") {
            assert_eq!(table(&found, "countries"), counts(&truth["countries"]));
        }
    }
}

#[test]
fn a_report_has_the_numbers_of_duckdb() {
    let workspace = Workspace::new();
    make_visits(&workspace, &["--visitors", "1500", "--days", "2"]);
    let schema = Schema::preset("realtime-46").expect("a preset");
    let fields: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
    let theirs = count_beacons(&workspace.path("visits.log"), &fields.join(","));
    let ours = report_of(&workspace, &["visits.log"]);
    let pair = |value: &Value| (number(&value[0]), number(&value[1]));
    let pairs = |values: &Value| -> BTreeMap<String, (u64, u64)> {
        values.as_object().expect("an object").iter().map(|(name, value)| (name.clone(), pair(value))).collect()
    };
    assert_eq!(ours["beacons"]["beacons"], theirs["beacons"]);
    assert_eq!(ours["beacons"]["sc_bytes"], theirs["sc_bytes"]);
    assert_eq!(ours["visitors"]["people"], theirs["people"]);
    assert_eq!(ours["visitors"]["bots"], theirs["bots"]);
    assert_eq!(ours["sessions"]["sessions"], theirs["sessions"]);
    assert_eq!(by_hour(&ours), pairs(&theirs["by_hour"]));
    assert_eq!(broken(&ours, "doubled_id"), number(&theirs["doubled_ids"]));
    for (name, wanted) in theirs["tables"].as_object().expect("an object") {
        assert_eq!(table(&ours, name), pairs(wanted), "{name}");
    }
    for latency in ours["latency"].as_array().expect("a list") {
        let wanted = &theirs["latency"][latency["name"].as_str().expect("text")];
        assert_eq!(latency["max"], wanted["max"]);
        for percentile in ["p50", "p90", "p99"] {
            let (ours, theirs) = (number(&latency[percentile]), number(&wanted[percentile]));
            assert!(ours.abs_diff(theirs) * 1_000 <= theirs, "{percentile}: {ours} and {theirs}");
        }
    }
    for day in ours["by_day"]["rows"].as_array().expect("rows") {
        let wanted = number(&theirs["people_by_day"][day["begin_seconds"].to_string()]);
        let (visitors, error) = (number(&day["visitors"]), ours["by_day"]["visitors_error_percent"].as_f64());
        let error = 4.0 * error.expect("a number") / 100.0 * wanted as f64;
        assert!(visitors.abs_diff(wanted) as f64 <= error, "{visitors} for {wanted}");
    }
}

/// A report without what may differ between two that count the same: the salt, and where the first
/// bad line was.
fn comparable(mut report: Value) -> Value {
    report["settings"]["salt_check"] = json!(null);
    report
}

#[test]
fn reports_of_parts_make_the_report_of_the_whole() {
    let workspace = Workspace::new();
    make_visits(&workspace, &["--visitors", "1200", "--days", "2"]);
    workspace.write("salt", b"0123456789abcdef");
    let counted = ["--funnel", FUNNEL, "--salt-file", "salt"];
    let log = fs::read(workspace.path("visits.log")).expect("it was written");
    let whole = report_of(&workspace, &[&["visits.log"][..], &counted].concat());
    // Every third line to a machine of its own.
    for part in 0..3 {
        let lines: Vec<&[u8]> = lines(&log).skip(part).step_by(3).collect();
        let (name, state) = (format!("{part}.log"), format!("{part}.state"));
        workspace.write(&name, &lines.concat());
        report_of(&workspace, &[&[&name[..], "--save", &state], &counted[..]].concat());
    }
    for order in [["0.state", "1.state", "2.state"], ["2.state", "0.state", "1.state"]] {
        let merges = order.map(|state| ["--merge", state]).concat();
        assert!(comparable(report_of(&workspace, &[&merges[..], &counted].concat())) == comparable(whole.clone()));
    }
    // Lines and states together.
    let merged =
        report_of(&workspace, &[&["1.log", "--merge", "0.state", "--merge", "2.state"], &counted[..]].concat());
    assert!(comparable(merged) == comparable(whole));
}

#[test]
fn what_was_counted_otherwise_is_not_merged() {
    let workspace = Workspace::new();
    make_visits(&workspace, &["--visitors", "20"]);
    workspace.write("salt", b"0123456789abcdef");
    workspace.write("short", b"0123456789");
    workspace.write("none.state", b"timestamp\n");
    workspace.write("other.state", b"pixel-engine report state 99\n...");
    report_of(&workspace, &["visits.log", "--save", "random.state"]);
    report_of(&workspace, &["visits.log", "--salt-file", "salt", "--save", "salted.state"]);
    let fails = |arguments: &[&str], code, says: &[&str]| {
        run(&mut workspace.command(&[&["report"], arguments].concat()), b"").exits(code).says(says);
    };
    fails(&["visits.log", "--merge", "random.state"], 1, &["random.state: ", "another salt", "--salt-file"]);
    let gap = ["--merge", "salted.state", "--salt-file", "salt", "--session-gap", "10m"];
    fails(&gap, 1, &["salted.state: it was counted with session_gap_millis 1800000, and this report with 600000"]);
    fails(&["--merge", "none.state"], 1, &["none.state: it is no state of a report"]);
    fails(&["--merge", "other.state"], 1, &["other.state: it is a state of version 99"]);
    fails(&["--merge", "absent.state"], 1, &["absent.state: No such file"]);
    let mut damaged = fs::read(workspace.path("salted.state")).expect("it was saved");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    workspace.write("damaged.state", &damaged);
    fails(&["--merge", "damaged.state", "--salt-file", "salt"], 1, &["damaged.state: the state is damaged"]);
    fails(&["visits.log", "--salt-file", "short"], 2, &["10 bytes", "at least 16"]);
    fails(&["visits.log", "--save", "absent/a.state"], 1, &["absent/a.state: No such file"]);
    fails(&["visits.log", "--event", "qurey.e"], 2, &["event: unknown field `qurey.e`"]);
    fails(&["visits.log", "--funnel", "view"], 2, &["funnel: 1 steps"]);
    fails(&["visits.log", "--time-zone", "Mars/Base"], 2, &["--time-zone Mars/Base"]);
    fails(&["visits.log", "--sampling", "0"], 2, &["sampling must be above 0"]);
}

#[test]
fn what_cannot_be_read_is_said_first() {
    let workspace = Workspace::new();
    let good = log("realtime-46", 5);
    workspace.write("mixed.log", &[&good[..], b"one column of 203.0.113.77\n", b"a\tb\n", b"c\td\n"].concat());
    let found = report_of(&workspace, &["mixed.log"]);
    let lines = &found["lines"];
    assert_eq!((number(&lines["lines_in"]), number(&lines["counted"]), number(&lines["bad"])), (8, 5, 3));
    assert_eq!(lines["bad_by_reason"]["no_tab"]["count"], 1);
    assert_eq!(lines["bad_by_reason"]["column_count"]["count"], 2);
    let shown = run(&mut workspace.command(&["report", "mixed.log"]), b"").ok();
    let text = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(text.starts_with("3 of 8 lines could not be read:\n"), "{text}");
    assert!(text.contains("column_count; the first: mixed.log: line 7"), "{text}");
    // Nothing that could be read.
    run(&mut workspace.command(&["report"]), b"no log\n").exits(4).says(&["is stdin a CloudFront log?"]);
    // An input that is not there does not keep the others from being counted.
    let absent = run(&mut workspace.command(&["report", "--json", "mixed.log", "absent.log"]), b"").exits(1);
    assert_eq!(parsed(&absent)["lines"]["counted"], 5);
    // Nor one that is cut off, which the report says.
    let cut = gzip(&log("realtime-46", 2_000));
    workspace.write("cut.log.gz", &cut[..cut.len() / 2]);
    let cut = run(&mut workspace.command(&["report", "--json", "cut.log.gz"]), b"").exits(1);
    let cut = parsed(&cut);
    assert!(number(&cut["lines"]["counted"]) > 0);
    assert!(text_of(&cut["lines"]["unread_inputs"][0]).contains("cut.log.gz"), "{}", cut["lines"]);
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn no_report_has_an_address() {
    let workspace = Workspace::new();
    let line = |number: u64, address: &str, query: &str| {
        format!(
            "17676000{number:02}.5\t{address}\tcurl/8.0\te=view&ip={address}&url=http%253A%252F%252F{address}%252F{query}\n"
        )
    };
    // Abnormal, so that they are examples; and the most recent.
    let log: String = (10..60)
        .map(|number| line(number, if number % 2 == 0 { "203.0.113.77" } else { "2001:db8:77::1" }, "&broken=%25zz&b"))
        .collect();
    workspace.write("a.log", (log + "203.0.113.77\t203.0.113.77\t203.0.113.77\t-\n").as_bytes());
    for arguments in [&["report", "a.log"][..], &["report", "a.log", "--json"]] {
        let run = run(&mut workspace.command(arguments), b"").ok();
        let text = String::from_utf8(run.stdout).expect("UTF-8");
        assert!(text.contains("(address)"), "{text}");
        for part in ["203.0.113", "2001:db8:77"] {
            assert!(!text.contains(part) && !run.stderr.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn what_was_delivered_gives_the_same_report() {
    let workspace = Workspace::new();
    make_visits(&workspace, &["--visitors", "300"]);
    let same = |report: Value| {
        let numbers = ["beacons", "sessions", "by_hour", "abnormal"].map(|name| report[name].clone());
        let beacons = number(&numbers[0]["beacons"]);
        (beacons, numbers[1].clone(), numbers[2].clone(), table(&report, "pages"), table(&report, "browsers"))
    };
    let whole = same(report_of(&workspace, &["visits.log"]));
    for (out, more) in [("raw", &["--compress", "gzip"][..]), ("zstd", &["--compress", "zstd"])] {
        workspace.ingest(&[&["visits.log", "--to", &format!("dir:{out}")], more].concat()).ok();
        assert!(same(report_of(&workspace, &[out])) == whole, "{out}");
    }
}

#[test]
fn counts_of_a_sample_are_scaled() {
    let workspace = Workspace::new();
    make_visits(&workspace, &["--visitors", "100", "--clean"]);
    let (all, sampled) =
        (report_of(&workspace, &["visits.log"]), report_of(&workspace, &["visits.log", "--sampling", "10"]));
    assert_eq!(number(&sampled["beacons"]["beacons"]), 10 * number(&all["beacons"]["beacons"]));
    assert_eq!((&sampled["scale"], &sampled["visitors"]), (&json!(10.0), &all["visitors"]));
    let text = run(&mut workspace.command(&["report", "visits.log", "--sampling", "10"]), b"").ok().stdout;
    assert!(String::from_utf8_lossy(&text).contains("scaled by 10: the log holds 10 % of the requests"));
}

#[test]
fn hours_are_those_of_the_time_zone() {
    let workspace = Workspace::new();
    // 08:00 and 09:30 UTC.
    let log = "1767600000.5\t203.0.113.9\tMozilla/5.0%20(X11)%20Firefox/1\te=a\n1767605400.5\t-\t-\te=a\n";
    workspace.write("a.log", log.as_bytes());
    let hours = |zone: &str| {
        let found = report_of(&workspace, &["a.log", "--time-zone", zone]);
        let hours = found["by_hour"]["rows"].as_array().expect("rows").clone();
        hours.iter().map(|hour| (text(&hour["begin"]), number(&hour["beacons"]))).collect::<Vec<_>>()
    };
    let of = |rows: &[(&str, u64)]| rows.iter().map(|(begin, beacons)| ((*begin).to_owned(), *beacons)).collect();
    let utc: Vec<_> = of(&[("2026-01-05T08:00:00+00:00", 1), ("2026-01-05T09:00:00+00:00", 1)]);
    assert_eq!(hours("UTC"), utc);
    let kathmandu: Vec<_> =
        of(&[("2026-01-05T13:00:00+05:45", 1), ("2026-01-05T14:00:00+05:45", 0), ("2026-01-05T15:00:00+05:45", 1)]);
    assert_eq!(hours("Asia/Kathmandu"), kathmandu, "with the hour in which nothing happened");
}

/// GoAccess takes the pair of address, user agent and date for a visitor, counts bots as such, adds up
/// the days, and leaves out lines without a status: `--clean` logs have none.
#[test]
fn goaccess_counts_the_same_requests() {
    if !is_installed("GoAccess", &["goaccess"], "goaccess") {
        return;
    }
    let workspace = Workspace::new();
    make_visits(&workspace, &["--visitors", "800", "--days", "2", "--schema", "standard", "--clean", "--without-ids"]);
    let mut goaccess = Command::new("goaccess");
    // To a file: where its standard output is depends on what its standard input is.
    let found = workspace.path("goaccess.json");
    goaccess.args(["--log-format=CLOUDFRONT", "--no-global-config", "--no-progress", "-o"]).arg(&found).arg("-");
    let log = fs::read(workspace.path("visits.log")).expect("it was written");
    run(&mut goaccess, &log).ok();
    let found = fs::read(found).expect("it writes what it found");
    let theirs: Value = serde_json::from_slice(&found).expect("JSON");
    let ours = report_of(&workspace, &["visits.log"]);
    assert_eq!(theirs["general"]["valid_requests"], ours["beacons"]["beacons"]);
    assert_eq!(theirs["general"]["failed_requests"], 0);
    let rows = |panel: &str| -> Vec<(String, u64, u64)> {
        let rows = theirs[panel]["data"].as_array().expect("rows").iter();
        rows.map(|row| (text(&row["data"]), number(&row["hits"]["count"]), number(&row["visitors"]["count"]))).collect()
    };
    let mut hours = BTreeMap::<String, u64>::new();
    for hour in ours["by_hour"]["rows"].as_array().expect("rows") {
        *hours.entry(text(&hour["begin"])[11..13].to_owned()).or_default() += number(&hour["beacons"]);
    }
    hours.retain(|_, beacons| *beacons > 0);
    assert_eq!(rows("visit_time").into_iter().map(|(hour, hits, _)| (hour, hits)).collect::<BTreeMap<_, _>>(), hours);
    // Their days, by date: hits, and visitors with the bots among them.
    let mut days: Vec<(String, u64, u64)> = rows("visitors");
    days.sort();
    let of_day = |day: &Value| {
        let log = str::from_utf8(&log).expect("text");
        let date = &text(&day["begin"])[..10];
        let visitors: BTreeSet<(&str, &str)> = log
            .lines()
            .filter(|line| line.starts_with(date))
            .map(|line| (line.split('\t').nth(4).expect("c-ip"), line.split('\t').nth(10).expect("cs(User-Agent)")))
            .collect();
        (date.replace('-', ""), number(&day["beacons"]), visitors.len() as u64)
    };
    let ours: Vec<_> = ours["by_day"]["rows"].as_array().expect("rows").iter().map(of_day).collect();
    assert_eq!(days, ours);
}

/// Some lines as a source.
struct Part(Vec<u8>);

impl Source for Part {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        let mut inlet = feed.open("part");
        inlet.push(self.0)?;
        inlet.end()?;
        Ok(())
    }
}

/// What is counted of these lines.
fn state_of(lines: Vec<u8>) -> (State, AgentReader) {
    let settings = report::Settings {
        funnel: Some(FUNNEL.to_owned()),
        salt: Some(b"0123456789abcdef".to_vec()),
        ..report::Settings::default()
    };
    let agents = || AgentReader::new(Agents::new());
    let beacons = Arc::new(Observed::new(Beacons::new(settings.validate().expect("settings"), Arc::new(agents()))));
    let config = Settings::default().validate().expect("settings");
    let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
    let run = LibraryRun::new(&config).source(Part(lines)).observer(beacons.clone()).to(&mut sink, &mut quarantine);
    let state = beacons.observer().take(beacons.take()).with_lines(Lines::of_run(&run));
    (state, agents())
}

fn document(state: &State, agents: &AgentReader) -> Value {
    let view = View { top: 1_000, ..View::default() };
    serde_json::to_value(Document::new(state, agents, &view)).expect("a document is JSON")
}

/// Who sends beacons may make names up: they do not fill memory.
#[test]
fn a_name_without_end_ends() {
    let name = "é".repeat(3_000);
    let line = |rest: &str| format!("1767600000.5\t203.0.113.1\tMozilla/5.0\te={name}{rest}\n");
    let (state, agents) = state_of((line("1") + &line("2")).into_bytes());
    let rows = &document(&state, &agents)["tables"][0]["rows"];
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["beacons"]), (1, &2.into()), "{rows}");
    assert_eq!(rows[0]["name"].as_str().unwrap(), "é".repeat(512));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Each line goes to any of some machines, and these are merged in any order.
    #[test]
    fn any_split_of_the_lines_makes_the_same_report(seed in any::<u64>(), parts in 1usize..6) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut visits = Visits::new(visits::Options {
            visitors: 150,
            days: 2,
            ..visits::Options::new("realtime-46".parse().expect("a shape"), seed)
        });
        let mut whole = Vec::new();
        while visits.append_line(&mut whole) {}
        let mut split = vec![Vec::new(); parts];
        for line in lines(&whole) {
            split[random.usize(..parts)].extend_from_slice(line);
        }
        random.shuffle(&mut split);
        let (state, agents) = state_of(whole);
        let mut merged: Option<State> = None;
        for part in split {
            let (part, _) = state_of(part);
            // As it is read from a file.
            let mut file = Vec::new();
            part.save(&mut file).expect("it is written");
            let part = State::load(&file[..]).expect("it is read");
            match &mut merged {
                None => merged = Some(part),
                Some(merged) => merged.merge(part).expect("the same settings"),
            }
        }
        let merged = document(&merged.expect("at least one part"), &agents);
        prop_assert_eq!(merged, document(&state, &agents));
    }
}
