//! The live report of the admin listener: `run` beside `report` on the same lines.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::process::Command;

use fake_aws::Action;
use serde_json::{Value, json};

use crate::admin::Running;
use crate::clock::libfaketime;
use crate::network::Sidecar;
use crate::peers::{self, WatchedPage, is_installed};
use crate::support::{Workspace, ids, lines, log_from, run, signal, wait_until};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";
const TOKEN: &str = "a-token-for-tests-only";
const FUNNEL: &str = "view > cart > checkout > paid";
const SALT: &[u8] = b"a salt that is long enough";

/// A sidecar with a pixel, and these keys in the table of its report.
fn sidecar(report: &str, more: &str) -> Sidecar {
    let test = Sidecar::with("", &format!("[pipeline.beacons.report]\n{report}\n{more}{ADMIN}"));
    test.workspace.write("salt", SALT);
    test
}

fn command(test: &Sidecar) -> Command {
    let mut command = test.workspace.command(&["run"]);
    command.envs(test.aws.environment()).env_remove("AWS_PROFILE");
    command
}

fn start(test: &Sidecar) -> Running {
    let running = Running::start(command(test));
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", test.port)).is_ok());
    running
}

/// Lines over HTTP.
fn send(test: &Sidecar, log: &[u8]) {
    let reply = test.send("POST /v1/logs HTTP/1.1\r\n", log);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn hit(test: &Sidecar, query: &str) {
    let head = format!("GET /pixel.gif?{query} HTTP/1.1\r\nUser-Agent: Mozilla/5.0 (X11) Firefox/140.0\r\n");
    assert_eq!(test.send(&head, b"").status, 200);
}

#[track_caller]
fn report(running: &Running, path: &str) -> Value {
    let (status, body) = running.get(path);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// The report once it has so many lines.
#[track_caller]
fn report_of(running: &Running, path: &str, lines: u64) -> Value {
    wait_until("all lines are counted", || report(running, path)["lines"]["lines_in"].as_u64() >= Some(lines));
    report(running, path)
}

/// What visitors do in three days, and some lines that nobody can read.
fn visits(workspace: &Workspace) -> Vec<u8> {
    let arguments = ["generate", "--visitors", "1500", "--days", "3", "--unreadable", "20"];
    run(&mut workspace.command(&arguments), b"").ok().stdout
}

#[test]
fn the_live_report_is_the_report_of_the_same_lines() {
    let keys = format!("funnel = \"{FUNNEL}\"\nsalt_file = \"salt\"\nuse = [\"ad-tech\", \"blog\", \"shop\"]\n");
    let test = sidecar(&keys, "");
    let log = visits(&test.workspace);
    let running = start(&test);
    send(&test, &log);
    let mut live = report_of(&running, "/report.json", lines(&log).count() as u64);
    test.workspace.write("visits.log", &log);
    let arguments = ["report", "visits.log", "--json", "--funnel", FUNNEL, "--salt-file", "salt"];
    let uses = ["--use", "ad-tech", "--use", "blog", "--use", "shop"];
    let whole = run(&mut test.workspace.command(&[&arguments[..], &uses].concat()), b"").ok();
    let mut whole: Value = serde_json::from_slice(&whole.stdout).expect("JSON");
    assert!(whole["beacons"]["beacons"].as_u64() > Some(5_000) && whole["lines"]["bad"].as_u64() > Some(10));

    let period = live["period"].take();
    assert_eq!(period["days"], 2, "{period}");
    assert_eq!(period["definition"], "lines that were read today and the day before, by days of UTC");
    // Which lines are bad, and why, is in the quarantine.
    let reasons = whole["lines"]["bad_by_reason"].take();
    assert!(!reasons.as_object().expect("reasons").is_empty());
    assert_eq!(live["lines"]["bad_by_reason"].take(), json!({}));
    for (part, value) in whole.as_object().expect("a document") {
        assert_eq!(live[part], *value, "{part}");
    }
    assert_eq!(live, whole);

    // Nobody's address is in what others may see.
    let (_, json) = running.get("/report.json");
    let (_, html) = running.get("/report.html");
    let address = |line: &[u8]| String::from_utf8_lossy(line).split('\t').nth(1).map(str::to_owned);
    let addresses: BTreeSet<String> = lines(&log).filter_map(address).filter(|text| text.len() > 6).collect();
    assert!(addresses.len() > 100);
    for address in addresses {
        assert!(!json.contains(&address) && !html.contains(&address), "{address}");
    }
    running.stop();
}

#[test]
fn a_report_is_for_those_with_the_token() {
    let test = sidecar("", "");
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it was written");
    test.workspace.write("pixel-engine.toml", format!("{file}token = \"{TOKEN}\"\n").as_bytes());
    let running = start(&test);
    hit(&test, "e=view&uid=a-visitor");
    let with = format!("Authorization: Bearer {TOKEN}\r\n");
    wait_until("it is counted", || running.get_with("/report.json", &with).1.contains("uid=a-visitor"));
    for path in ["/report.json", "/report.html", "/report.json?pipeline=beacons", "/report.html?pipeline=x"] {
        let (status, body) = running.get(path);
        assert!(status == 401 && !body.contains("visitor") && !body.contains("beacons"), "{path}: {status} {body}");
    }
    assert_eq!(running.get_with("/report.html", &with).0, 200);
    for path in ["/report", "/report.js", "/report.css"] {
        let (status, body) = running.get(path);
        assert!(status == 200 && !body.contains("visitor="), "{path}");
    }
    running.stop();
}

#[test]
fn what_is_dropped_from_lines_is_in_no_report() {
    let test = sidecar("", "");
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it was written");
    let file = file.replacen("linger", "drop = \"query.email\"\nmask_ip = true\nlinger", 1);
    test.workspace.write("pixel-engine.toml", file.as_bytes());
    let running = start(&test);
    hit(&test, "e=view&email=somebody&kept=thing");
    let report = report_of(&running, "/report.json", 1).to_string();
    assert!(report.contains("kept=thing") && !report.contains("somebody"), "{report}");
    running.stop();
}

#[test]
fn each_pipeline_has_a_report_of_its_own() {
    let copy = "[pipeline.\"a copy\"]\nto = \"null:\"\nresume = \"copy.checkpoint\"\nquarantine = \"copy.jsonl\"\n\
                source = { type = \"journal\", folder = \"journal\" }\nreport = { event = \"query.other\" }\n";
    let test = sidecar("", copy);
    let running = start(&test);
    hit(&test, "e=view&other=look");
    let of = |pipeline: &str| report_of(&running, &format!("/report.json?pipeline={pipeline}"), 1);
    let event = |report: &Value| report["tables"][0]["rows"][0]["name"].clone();
    assert_eq!((event(&of("beacons")), event(&of("a%20copy"))), ("view".into(), "look".into()));

    let (status, body) = running.get("/report.json");
    assert_eq!((status, body.contains("?pipeline=a%20copy, ?pipeline=beacons")), (404, true), "{body}");
    assert_eq!(running.get("/report.json?pipeline=none").0, 404);
    // A page has the first, and leads to the others.
    let (_, page) = running.get("/report.html");
    assert!(page.contains("<a href=\"?pipeline=a%20copy\" aria-current=\"page\">a copy</a>"), "{page}");
    assert!(page.contains("<a href=\"?pipeline=beacons\">beacons</a>"), "{page}");
    let (_, page) = running.get("/report.html?pipeline=beacons");
    assert!(page.contains("<a href=\"?pipeline=beacons\" aria-current=\"page\">beacons</a>"), "{page}");
    running.stop();
}

#[test]
fn without_a_report_it_is_said_where_one_comes_from() {
    let test = Sidecar::with("", ADMIN);
    let running = start(&test);
    for path in ["/report.json", "/report.html"] {
        let (status, body) = running.get(path);
        assert_eq!((status, body.as_str()), (404, "no pipeline has a report: add report = true to it\n"));
    }
    running.stop();
}

#[test]
fn counts_go_on_when_the_file_is_read_again_unless_others_are_asked_for() {
    let test = sidecar("", "");
    let running = start(&test);
    hit(&test, "e=view");
    report_of(&running, "/report.json", 1);
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it was written");
    let change = |file: &str| {
        let read = running.said().matches("the configuration was read again").count();
        test.workspace.write("pixel-engine.toml", file.as_bytes());
        signal(&running.child, "HUP");
        wait_until("it was read", || running.said().matches("the configuration was read again").count() > read);
    };
    // Nothing has changed.
    change(&file);
    hit(&test, "e=view");
    report_of(&running, "/report.json", 2);
    assert_eq!(running.metric("pixel_engine_pipeline_starts_total"), 1.0);
    // The pipeline has, and not its report.
    let file = file.replace("linger = \"100ms\"", "linger = \"150ms\"");
    change(&file);
    running.wait_for("pixel_engine_pipeline_starts_total", 2.0);
    hit(&test, "e=view");
    report_of(&running, "/report.json", 3);
    // Its report has.
    change(&file.replace("[pipeline.beacons.report]\n", "[pipeline.beacons.report]\nburst = 5\n"));
    running.wait_for("pixel_engine_pipeline_starts_total", 3.0);
    hit(&test, "e=view");
    let report = report_of(&running, "/report.json", 1);
    assert_eq!((&report["lines"]["lines_in"], &report["settings"]["burst"]), (&1.into(), &5.into()));
    running.stop();
}

#[test]
fn counts_go_on_when_a_pipeline_begins_again_after_a_failure() {
    let test = sidecar("salt_file = \"salt\"\nvisitor = \"x-edge-request-id\"", "");
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it was written");
    test.workspace.write("pixel-engine.toml", file.replace("spool = \"spool\"\n", "").as_bytes());
    let running = start(&test);
    let mut sent = log_from("realtime-46", 0, 30);
    send(&test, &sent);
    running.wait_for("pixel_engine_lines_shipped_total", 30.0);
    let key = test.aws.credentials().access_key.clone();
    test.aws.deny(&key, Action::PutRecordBatch);
    let number = Cell::new(30);
    let more = Cell::new(Vec::new());
    wait_until("it failed", || {
        let line = log_from("realtime-46", number.get(), 1);
        send(&test, &line);
        number.set(number.get() + 1);
        more.set([more.take(), line].concat());
        running.get("/readyz").1.contains("it failed, and begins again: ")
    });
    test.aws.allow(&key, Action::PutRecordBatch);
    sent.extend(more.take());
    let count = number.get();
    running.wait_for("pixel_engine_lines_shipped_total", count as f64);
    running.wait_for("pixel_engine_lines_open", 0.0);
    let read = running.metric("pixel_engine_lines_in_total") as u64;
    assert!(read > count, "what was not delivered was read again: {read} of {count}");
    let report = report_of(&running, "/report.json", read);
    // A line may be seen and its block be given up, before it is counted as read.
    let seen = report["beacons"]["beacons"].as_u64().expect("a count");
    assert!(seen >= read, "{seen} of {read}");
    // What was seen again is not one visitor more, and the report says how much it is.
    let visitors = &report["visitors"];
    let different = ids(&sent).collect::<BTreeSet<_>>().len() as u64;
    assert_eq!(visitors["people"].as_u64().unwrap() + visitors["bots"].as_u64().unwrap(), different);
    let rules = report["abnormal"]["rules"].as_array().expect("rules");
    let doubled = rules.iter().find(|rule| rule["name"] == "doubled_id").expect("it is a rule");
    assert_eq!(doubled["count"], seen - different);
    running.stop();
}

#[test]
fn what_was_read_two_days_ago_is_forgotten() {
    let library = libfaketime();
    let library = library.as_deref().unwrap_or("/usr/lib/faketime/libfaketimeMT.so.1".as_ref());
    if !is_installed("a clock that is set", &[library.to_str().expect("UTF-8")], "libfaketime") {
        return;
    }
    let test = sidecar("", "");
    let set_clock = |days: u32| {
        test.workspace.write("clock.new", format!("+{days}d\n").as_bytes());
        fs::rename(test.workspace.path("clock.new"), test.workspace.path("clock")).expect("it is there");
    };
    set_clock(0);
    let mut command = command(&test);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", test.workspace.path("clock"));
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let running = Running::start(command);
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", test.port)).is_ok());
    let events = |report: &Value| -> Vec<String> {
        let rows = report["tables"][0]["rows"].as_array().expect("rows");
        rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    hit(&test, "e=first");
    report_of(&running, "/report.json", 1);
    set_clock(1);
    hit(&test, "e=second");
    let both = report_of(&running, "/report.json", 2);
    assert_eq!(events(&both), ["first", "second"], "{both}");
    set_clock(2);
    wait_until("the first is forgotten", || events(&report(&running, "/report.json")) == ["second"]);
    hit(&test, "e=third");
    let both = report_of(&running, "/report.json", 2);
    assert_eq!((events(&both), &both["lines"]["lines_in"]), (vec!["second".to_owned(), "third".to_owned()], &2.into()));
    set_clock(40);
    wait_until("all are", || events(&report(&running, "/report.json")).is_empty());
    running.stop();
}

#[test]
fn a_check_prints_what_a_report_counts() {
    let test = sidecar("burst = 7\nsalt_file = \"salt\"", "");
    let checked = run(command(&test).arg("--check"), b"").ok();
    let shown = String::from_utf8(checked.stdout).expect("text");
    for line in ["  report\n", "    burst = 7  # line ", "    salt_file = \"salt\"  # line ", "    # days = 2\n"] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!shown.contains("long enough"), "{shown}");
    test.workspace.write("salt", b"short");
    run(command(&test).arg("--check"), b"").exits(2).says(&["the salt has 5 bytes"]);
}

#[test]
fn everyone_can_read_the_live_report() {
    let keys = format!("funnel = \"{FUNNEL}\"\nuse = [\"ad-tech\", \"blog\", \"shop\"]\n");
    let test = sidecar(&keys, "");
    let running = start(&test);
    let log = visits(&test.workspace);
    send(&test, &log);
    report_of(&running, "/report.json", lines(&log).count() as u64);
    let url = format!("http://{}/report", running.address());
    let Some(checked) = peers::check_page(&url) else { return };
    assert_eq!(checked.len(), 4);
    for seen in checked {
        let what = format!("{} pixels wide, {}", seen.width, seen.scheme);
        assert_eq!(seen.violations, [""; 0], "{what}");
        assert_eq!(seen.unreachable, [""; 0], "{what}");
        assert_eq!(seen.requests, [""; 0], "{what}: everything is here");
        assert_eq!(seen.errors, [""; 0], "{what}");
        assert!(seen.overflow <= 0, "{what}: {}", seen.overflow);
        assert_eq!(seen.ground == "rgb(255, 255, 255)", seen.scheme == "light", "{what}");
    }
    running.stop();
}

#[test]
fn the_page_is_live_and_leaves_its_reader_alone() {
    let test = sidecar("", "");
    let running = start(&test);
    let log = visits(&test.workspace);
    send(&test, &log);
    report_of(&running, "/report.json", lines(&log).count() as u64);
    let pixel = format!("http://127.0.0.1:{}/pixel.gif?e=view", test.port);
    let url = format!("http://{}/report?pipeline=beacons", running.address());
    let Some(watched) = peers::watch_page(&url, &pixel) else { return };
    let number = |text: &str| text.replace(',', "").parse::<u64>().expect("a count");
    assert_eq!(number(&watched.after), number(&watched.before) + 1);
    let WatchedPage { is_open, is_focused, is_scrolled, hidden, shown, .. } = watched;
    assert!(is_open && is_focused && is_scrolled, "{watched:?}");
    assert!(hidden == 0 && shown > 0, "{watched:?}");
    running.stop();
}
