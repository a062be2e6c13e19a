//! Reports for a use against the truth about generated visits.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;

use pixel_engine::log::schema::Schema;
use serde_json::{Value, json};

use crate::peers::count_advertisements;
use crate::support::*;

const STEPS: [&str; 4] = ["impressions", "viewable", "clicks", "conversions"];
const PARTS: [&str; 5] = ["gross", "bots", "data_centres", "duplicates", "net"];
const AD_TECH: [&str; 4] = ["--use", "ad-tech", "--networks", "networks"];

/// A report as JSON, with every row of its tables.
fn report(workspace: &Workspace, arguments: &[&str]) -> Value {
    top(workspace, "1000000", arguments)
}

/// A report with so many rows.
fn top(workspace: &Workspace, rows: &str, arguments: &[&str]) -> Value {
    let all = [&["report", "--json", "--top", rows], arguments].concat();
    parsed(&run(&mut workspace.command(&all), b"").ok())
}

fn parsed(run: &Run) -> Value {
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
                let found = row[rate].as_f64();
                assert_eq!(found.is_some(), wanted.is_some());
                let difference = found.unwrap_or_default() - wanted.unwrap_or_default();
                assert!(difference.abs() < 1e-9, "{rate}: {found:?} and {wanted:?}");
            }
        }
    }
}

#[test]
fn advertisements_and_revenue_are_those_of_duckdb() {
    let workspace = Workspace::new();
    visits(&workspace, &["--visitors", "3000", "--days", "2"]);
    let schema = Schema::preset("realtime-46").expect("a preset");
    let fields: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
    let theirs = count_advertisements(&workspace.path("visits.log"), &fields.join(","), &workspace.path("networks"));
    // With what the log delivers twice.
    let ours = report(&workspace, &[&["visits.log", "--use", "shop"], &AD_TECH[..]].concat());
    let mut firings = Vec::new();
    for row in list(&ours["advertising"]["rows"]) {
        for (step, event) in STEPS.iter().zip(["impression", "viewable", "click", "conversion"]) {
            let [gross, bots, data_centres, duplicates, net] = PARTS.map(|part| &row[step][part]);
            if *gross != 0 {
                firings.push(json!([
                    row["campaign"],
                    row["publisher"],
                    event,
                    gross,
                    bots,
                    data_centres,
                    duplicates,
                    net
                ]));
            }
        }
    }
    firings.sort_by_key(|firing| [0, 1, 2].map(|at| firing[at].to_string()));
    assert!(firings.len() > 100, "{}", firings.len());
    assert_eq!(json!(firings), theirs["firings"]);
    let revenue = list(&ours["shop"]["total"]["revenue"]).iter().map(|sum| json!([sum["currency"], sum["amount"]]));
    assert_eq!(json!(revenue.collect::<Vec<_>>()), theirs["revenue"]);
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

/// What reports for a use add, and what they rest on.
fn parts(report: &Value) -> Value {
    let parts = ["lines", "beacons", "funnel", "advertising", "reconciled", "blog", "shop"];
    json!(parts.map(|part| report[part].clone()))
}

#[test]
fn neither_threads_nor_parts_change_a_number() {
    let workspace = Workspace::new();
    visits(&workspace, &["--visitors", "4000", "--days", "2", "--kind", "mix"]);
    let standard = ["generate", "--visitors", "4000", "--days", "2", "--kind", "mix", "--schema", "standard"];
    let standard = run(&mut workspace.command(&standard), b"").ok().stdout;
    workspace.write("standard.log", &standard);
    workspace.write("salt", b"0123456789abcdef");
    let counted = [&AD_TECH[..], &["--use", "blog", "--use", "shop", "--salt-file", "salt"]].concat();
    let of = |more: &[&str]| parts(&report(&workspace, &[more, &counted].concat()));
    let all = ["visits.log", "--reconcile", "standard.log"];
    let whole = of(&[&all[..], &["--threads", "1"]].concat());
    for _ in 0..3 {
        assert!(of(&[&all[..], &["--threads", "2"]].concat()) == whole);
    }
    let log = fs::read(workspace.path("visits.log")).expect("it was written");
    let header: Vec<&[u8]> = lines(&standard).filter(|line| line.starts_with(b"#")).collect();
    // Every third line to a machine of its own.
    for part in 0..3 {
        let (name, beside, state) = (format!("{part}.log"), format!("{part}.standard"), format!("{part}.state"));
        workspace.write(&name, &lines(&log).skip(part).step_by(3).collect::<Vec<_>>().concat());
        let lines = lines(&standard).filter(|line| !line.starts_with(b"#")).skip(2 - part).step_by(3);
        workspace.write(&beside, &header.iter().copied().chain(lines).collect::<Vec<_>>().concat());
        of(&[&name, "--reconcile", &beside, "--save", &state]);
    }
    for order in [["0", "1", "2"], ["2", "0", "1"], ["1", "2", "0"]] {
        let states = order.map(|part| format!("{part}.state"));
        let merges = states.iter().flat_map(|state| ["--merge", state]);
        let merged = of(&["--reconcile"].into_iter().chain(merges).collect::<Vec<_>>());
        for (merged, whole) in list(&merged).iter().zip(list(&whole)) {
            assert_eq!(merged, whole, "{order:?}");
        }
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
    let cut = top(&workspace, "1", &arguments);
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

/// Request ids and hours, as a test reads them: hours since 1970 by id, and lines without an id.
struct Ids {
    hours: BTreeMap<String, u64>,
    without: u64,
    lines: u64,
}

impl Ids {
    /// Those of lines whose columns have these places: the time in seconds, or a date and a time
    /// after it, and the id.
    fn of<'a>(lines: impl Iterator<Item = &'a [u8]>, time: usize, id: usize, hours: &RangeInclusive<u64>) -> Ids {
        let mut ids = Ids { hours: BTreeMap::new(), without: 0, lines: 0 };
        for line in lines {
            let line = std::str::from_utf8(line).expect("UTF-8").trim_end();
            let columns: Vec<&str> = line.split('\t').collect();
            let hour = match columns[time].split_once('-') {
                None => columns[time].split('.').next().expect("a number").parse::<u64>().expect("seconds") / 3_600,
                Some(_) => {
                    // Visits begin on 2026-01-05, and stay in January.
                    let day: u64 = columns[time].strip_prefix("2026-01-").expect("January").parse().expect("a day");
                    let hour: u64 = columns[time + 1][..2].parse().expect("an hour");
                    (DAYS_TO_2026 + day - 1) * 24 + hour
                }
            };
            if !hours.contains(&hour) {
                continue;
            }
            ids.lines += 1;
            match columns[id] {
                "-" => ids.without += 1,
                id => drop(ids.hours.entry(id.to_owned()).or_insert(hour)),
            }
        }
        ids
    }
}

const DAYS_TO_2026: u64 = 20_454;

#[test]
fn lines_that_one_of_two_logs_misses_are_counted_by_hour() {
    let workspace = Workspace::new();
    let made = ["generate", "--visitors", "3000", "--days", "2"];
    let real_time = run(&mut workspace.command(&made), b"").ok().stdout;
    let standard = run(&mut workspace.command(&[&made[..], &["--schema", "standard"]].concat()), b"").ok().stdout;
    // Each misses some lines, and its first or last hours: 10 and 8 of 48.
    let first = DAYS_TO_2026 * 24 + 4 * 24;
    let hours = first + 10..=first + 39;
    let all = 0..=u64::MAX;
    let hour =
        |line: &[u8], time, id, hours: &RangeInclusive<u64>| Ids::of([line].into_iter(), time, id, hours).lines == 1;
    let real_time: Vec<&[u8]> = lines(&real_time)
        .enumerate()
        .filter(|(index, line)| index % 7 != 3 && hour(line, 0, 12, &(first + 10..=u64::MAX)))
        .map(|(_, line)| line)
        .collect();
    let (header, lines): (Vec<&[u8]>, Vec<&[u8]>) = lines(&standard).partition(|line| line.starts_with(b"#"));
    let standard: Vec<&[u8]> = lines
        .into_iter()
        .enumerate()
        .filter(|(index, line)| index % 11 != 5 && hour(line, 0, 14, &(0..=first + 39)))
        .map(|(_, line)| line)
        .collect();
    workspace.write("real-time.log", &real_time.concat());
    // In two files, one of them compressed.
    let (one, other) = standard.split_at(standard.len() / 3);
    fs::create_dir(workspace.path("standard")).expect("a new folder");
    workspace.write("standard/E1.2026-01-05.gz", &gzip(&[&header[..], one].concat().concat()));
    workspace.write("standard/E1.2026-01-06", &[&header[..], other, &[b"broken\tline\n"]].concat().concat());
    let found = report(&workspace, &["real-time.log", "--reconcile", "standard"]);
    let both = &found["reconciled"];

    let here = Ids::of(real_time.iter().copied(), 0, 12, &hours);
    let there = Ids::of(standard.iter().copied(), 0, 14, &hours);
    let missing = |of: &Ids, from: &Ids, hour: &RangeInclusive<u64>| {
        of.hours.iter().filter(|(id, at)| hour.contains(at) && !from.hours.contains_key(*id)).count() as u64
    };
    let is = |compared: &Value, hours: &RangeInclusive<u64>| {
        let of_hours = |ids: &Ids| ids.hours.values().filter(|hour| hours.contains(hour)).count() as u64;
        let only_standard = missing(&there, &here, hours);
        assert_eq!(number(&compared["only_standard"]), only_standard, "{compared}");
        assert_eq!(number(&compared["only_real_time"]), missing(&here, &there, hours));
        assert_eq!(number(&compared["both"]), of_hours(&there) - only_standard);
        let lines = |of: &[&[u8]], id| Ids::of(of.iter().copied(), 0, id, hours);
        let (here, there) = (lines(&real_time, 12), lines(&standard, 14));
        assert_eq!(compared["standard_lines"], there.lines);
        assert_eq!(compared["real_time_lines"], here.lines);
        assert_eq!(
            (&compared["standard_without_id"], &compared["real_time_without_id"]),
            (&json!(there.without), &json!(here.without))
        );
    };
    is(&both["total"], &hours);
    let doubled = |ids: &Ids| json!(ids.lines - ids.without - ids.hours.len() as u64);
    assert_eq!((&both["standard_doubled"], &both["real_time_doubled"]), (&doubled(&there), &doubled(&here)));
    assert_ne!(doubled(&here), 0);
    let rows = list(&both["by_hour"]);
    assert_eq!(rows.len(), 30);
    for row in rows {
        let hour = number(&row["begin_seconds"]) / 3_600;
        is(row, &(hour..=hour));
    }
    assert_eq!(
        (&both["first_hour"], &both["last_hour"]),
        (&json!("2026-01-05T10:00:00+00:00"), &json!("2026-01-06T15:00:00+00:00"))
    );
    let outside = |of: &[&[u8]], id| {
        Ids::of(of.iter().copied(), 0, id, &all).lines - Ids::of(of.iter().copied(), 0, id, &hours).lines
    };
    assert_eq!(both["real_time_lines_outside"], outside(&real_time, 12));
    assert_eq!(both["standard_lines_outside"], outside(&standard, 14));
    let (only, of) = (number(&both["total"]["only_standard"]), there.hours.len());
    assert!(only > 100, "{only}");
    let summary = both["summary"].as_str().expect("text");
    assert!(
        summary.starts_with(&format!("{only} of {of} lines of the standard log are missing from the real-time log ("))
    );
    assert_eq!(
        (&both["is_exact"], &both["standard_log"]["bad"], &found["lines"]["bad"]),
        (&json!(true), &json!(1), &json!(0))
    );
    let text = text(&workspace, &["real-time.log", "--reconcile", "standard"]);
    assert!(text.contains(summary) && text.contains("standard log: "), "{text}");

    // The same condition for both.
    let matched = report(&workspace, &["real-time.log", "--reconcile", "standard", "--match", "query.e=paid"]);
    let total = &matched["reconciled"]["total"];
    assert!(
        number(&total["both"]) > 0 && number(&total["standard_lines"]) < number(&both["total"]["standard_lines"]) / 5
    );
    // Nothing to compare, and nothing to read.
    let apart = report(&workspace, &["real-time.log", "--match", "c-ip=0.0.0.0", "--reconcile", "standard"]);
    assert_eq!(apart["reconciled"]["summary"], "no hour is in both logs: nothing can be compared");
    workspace.write("none.log", b"nothing\n");
    let none =
        run(&mut workspace.command(&["report", "--json", "real-time.log", "--reconcile", "none.log"]), b"").exits(4);
    assert_eq!(parsed(&none)["reconciled"]["standard_log"]["bad"], 1);
    run(&mut workspace.command(&["report", "real-time.log", "--reconcile", "absent"]), b"")
        .exits(1)
        .says(&["--reconcile: ", "absent"]);
}

#[test]
fn a_shop_is_the_truth_about_visits() {
    for (kind, shape) in [("shop", "realtime-46"), ("mix", "standard")] {
        let workspace = Workspace::new();
        let truth = visits(&workspace, &["--visitors", "3000", "--days", "2", "--kind", kind, "--schema", shape]);
        let found = report(&workspace, &["visits.log", "--dedup-window", "1000000", "--use", "shop"]);
        let (shop, funnel) = (&found["shop"], list(&truth["funnel"]));
        let total = &shop["total"];
        assert_eq!(total["paid"], truth["orders"]);
        let cents = number(&truth["revenue_cents"]);
        let revenue = json!([{"currency": "EUR", "amount": format!("{}.{:02}", cents / 100, cents % 100)}]);
        assert!(cents > 0);
        assert_eq!((&total["revenue"], &total["unread_values"]), (&revenue, &json!(0)));
        let people = |name: &str| {
            let count = &truth["events_by_name"][name];
            number(&count["all"]) - number(&count["bots"])
        };
        for (step, name) in [("views", "view"), ("carts", "cart"), ("checkouts", "checkout"), ("paid", "paid")] {
            assert_eq!(number(&total[step]), people(name), "{name}");
        }
        // Without a parameter for it, the page is the product.
        let views =
            list(&shop["products"]).iter().map(|row| (row["product"].as_str().expect("a page"), number(&row["views"])));
        let views: BTreeMap<&str, u64> = views.filter(|(_, views)| *views > 0).collect();
        let pages = truth["pages"].as_object().expect("an object").iter();
        let pages = pages.map(|(page, count)| (&**page, number(&count["all"]) - number(&count["bots"])));
        assert_eq!(views, pages.filter(|(_, views)| *views > 0).collect());
        let carts = &shop["abandoned_carts"];
        let (cart, paid) = (number(&funnel[1]["visitors"]), number(&funnel[3]["visitors"]));
        assert_eq!((number(&carts["visitors"]), number(&carts["paid"])), (cart, paid));
        assert_eq!((number(&carts["abandoned"]), &carts["error_percent"]), (cart - paid, &json!(0.0)));
        assert_eq!(found["settings"]["funnel"], "view > cart > checkout > paid");
    }
}

#[test]
fn products_are_named_by_the_line_and_money_is_exact() {
    let workspace = Workspace::new();
    let bot = "Mozilla/5.0%20(compatible;%20Googlebot/2.1)";
    let log = [
        line(10, "192.0.2.1", PERSON, "e=see&sku=a&url=https%253A%252F%252Fshop.example%252F"),
        line(11, "192.0.2.1", PERSON, "e=cart&item=a&url=https%253A%252F%252Fshop.example%252Fcart"),
        line(12, "192.0.2.1", PERSON, "e=paid&item=a&value=0.10&currency=eur"),
        line(13, "192.0.2.1", PERSON, "e=paid&item=a&value=0.20&currency=EUR"),
        line(14, "192.0.2.1", PERSON, "e=paid&item=a&value=5&currency=CHF"),
        line(15, "192.0.2.1", PERSON, "e=paid&item=a&value=1,50&currency=EUR"),
        line(16, "192.0.2.1", PERSON, "e=paid&item=a"),
        line(17, "192.0.2.2", PERSON, "e=see&url=https%253A%252F%252Fshop.example%252F"),
        line(18, "192.0.2.3", PERSON, "e=see&url=https%253A%252F%252Fshop.example%252Fabout"),
        line(19, "192.0.2.4", PERSON, "e=cart"),
        line(20, "203.0.113.9", bot, "e=paid&item=a&value=7&currency=EUR"),
    ];
    workspace.write("a.log", log.concat().as_bytes());
    let arguments = ["a.log", "--use", "shop", "--shop-events", "view=see"];
    let found = report(&workspace, &arguments);
    let shop = &found["shop"];
    let row = |row: &Value| {
        json!([
            row["product"],
            row["views"],
            row["carts"],
            row["paid"],
            row["bots"],
            row["without_value"],
            row["unread_values"]
        ])
    };
    let rows = list(&shop["products"]);
    assert_eq!(
        rows.iter().map(row).collect::<Vec<_>>(),
        [
            json!(["a", 1, 1, 5, 1, 1, 1]),
            json!([null, 0, 1, 0, 0, 0, 0]),
            json!(["shop.example/", 1, 0, 0, 0, 0, 0]),
            json!(["shop.example/about", 1, 0, 0, 0, 0, 0]),
        ]
    );
    let revenue = json!([{"currency": "CHF", "amount": "5.00"}, {"currency": "EUR", "amount": "0.30"}]);
    assert_eq!((&rows[0]["revenue"], &shop["total"]["revenue"]), (&revenue, &revenue));
    // The first visitor went on to the cart, the second one left on the front page.
    let exits = &shop["front_page_exits"];
    assert_eq!((&exits["exits"], &exits["sessions"]), (&json!(1), &json!(3)));
    // The cart of 192.0.2.4 was not seen before, so it is no step.
    assert_eq!(shop["abandoned_carts"]["visitors"], 1);
    let shown = text(&workspace, &arguments);
    for says in [
        "Shop\n",
        "abandoned carts   1 of 1 (100.0 %)",
        "front-page exits  1 of 3",
        "5.00 CHF, 0.30 EUR",
        "note: 1 orders say no value",
    ] {
        assert!(shown.contains(says), "{says} in {shown}");
    }
    let cut = &top(&workspace, "1", &arguments)["shop"];
    assert_eq!(
        (&cut["products_not_shown"], &cut["not_shown"]["views"], &cut["total"]),
        (&json!(3), &json!(2), &shop["total"])
    );
    // A funnel that knows no carts.
    let other = report(&workspace, &[&arguments[..], &["--funnel", "see > paid"]].concat());
    assert_eq!(other["shop"]["abandoned_carts"], json!(null));
    let fails = |flag: &str, value: &str, says: &str| {
        run(&mut workspace.command(&["report", "a.log", flag, value]), b"").exits(2).says(&[says]);
    };
    fails("--product", "query.p", "--product is for `--use shop`");
    fails("--use", "mail", "[possible values: ad-tech, blog, shop]");
}

#[test]
fn a_blog_has_topics_countries_and_phones() {
    let workspace = Workspace::new();
    visits(&workspace, &["--visitors", "2000"]);
    let found = report(&workspace, &["visits.log", "--use", "blog"]);
    let blog = &found["blog"];
    // Beacons of people by the name of a table's row.
    let people = |name: &str| -> BTreeMap<String, u64> {
        let table = list(&found["tables"]).iter().find(|table| table["name"] == name).expect("a table of that name");
        let rows = list(&table["rows"]).iter();
        let rows = rows.map(|row| {
            (row["name"].as_str().expect("text").to_owned(), number(&row["beacons"]) - number(&row["bots"]))
        });
        rows.filter(|(_, people)| *people > 0).collect()
    };
    let shares = |name: &str| -> BTreeMap<String, u64> {
        let rows = list(&blog[name]["rows"]).iter();
        rows.map(|row| (row["name"].as_str().expect("text").to_owned(), number(&row["beacons"]))).collect()
    };
    assert_eq!(shares("countries"), people("countries"));
    assert_eq!(shares("devices"), people("devices"));
    let devices = people("devices");
    let mobile = devices.get("phone").unwrap_or(&0) + devices.get("tablet").unwrap_or(&0);
    assert_eq!(number(&blog["mobile"]), mobile);
    assert!(mobile > 0);
    let percent = mobile as f64 * 100.0 / devices.values().sum::<u64>() as f64;
    assert!((blog["mobile_percent"].as_f64().expect("a number") - percent).abs() < 1e-9);
    let mut topics: BTreeMap<String, u64> = BTreeMap::new();
    for (page, beacons) in people("pages") {
        // Dates are `/2026/01/` here.
        let mut parts = page.split('/').skip(1).skip_while(|part| ["2025", "2026"].contains(part) || part.len() == 2);
        let topic = parts.next().filter(|part| !part.is_empty()).unwrap_or("(front page)");
        *topics.entry(topic.to_owned()).or_default() += beacons;
    }
    assert_eq!(shares("topics"), topics);
    assert!(topics.len() > 3, "{topics:?}");
    let shown = text(&workspace, &["visits.log", "--use", "blog"]);
    assert!(shown.contains("Blog: topics") && shown.contains("  mobile: "), "{shown}");
    assert_eq!(report(&workspace, &["visits.log"])["blog"], json!(null));
}
