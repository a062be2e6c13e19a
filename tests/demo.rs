//! `demo`: a page, the pixel, two streams, the data lake and a report in one process, looked at by a
//! browser, AWS's SDK for Python, other people's unpacking of aggregates, and DuckDB.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use pixel_engine_bench_data::visits::{Abnormalities, Options, Visits};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::peers::{aws_calls, check_page, is_installed, python_deaggregate, run_sql};
use crate::support::{Guarded, Run, Workspace, run, signal, wait_until};

const VISITORS: u64 = 150;

/// A demonstration, and what it has said.
struct Demo {
    child: Guarded,
    said: Receiver<String>,
    text: String,
}

impl Demo {
    fn start(workspace: &Workspace, arguments: &[&str]) -> Demo {
        let mut command = workspace.command(&["demo"]);
        // Whoever tries it has none of these, or others for something else.
        command.args(arguments).env("AWS_PROFILE", "nobody").env("PIXEL_ENGINE_LINGER", "1h");
        let mut child = Guarded::start(&mut command);
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (to_test, said) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| to_test.send(line)));
        let mut demo = Demo { child, said, text: String::new() };
        demo.hear("Ctrl-C");
        demo
    }

    /// Waits for a line with that in it.
    #[track_caller]
    fn hear(&mut self, part: &str) {
        loop {
            let Ok(line) = self.said.recv_timeout(Duration::from_secs(60)) else {
                panic!("no line with {part} in:\n{}", self.text);
            };
            let is_it = line.contains(part);
            self.text += &(line + "\n");
            if is_it {
                return;
            }
        }
    }

    /// The first URL behind that name.
    fn url(&self, name: &str) -> String {
        let line = self.text.lines().find(|line| line.starts_with(name)).expect("a line");
        let url = line.split(' ').find(|word| word.starts_with("http://")).expect("a URL");
        url.trim_end_matches([',', '/']).to_owned()
    }

    fn ends(mut self, workspace: &Workspace) -> (Run, String) {
        while let Ok(line) = self.said.recv_timeout(Duration::from_secs(60)) {
            self.text += &(line + "\n");
        }
        (workspace.wait(self.child.take()), self.text)
    }
}

/// Its body.
fn get(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").expect("a URL").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("it listens");
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it is sent");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("a reply");
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.starts_with("HTTP/1.1 20"), "{url}: {reply}");
    reply.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

fn counts(page: &str) -> [u64; 4] {
    let counts: Value = serde_json::from_str(&get(&format!("{page}/counts.json"))).expect("JSON");
    ["beacons", "lines", "packed", "rows"].map(|name| counts[name].as_u64().expect("a number"))
}

/// The numbers of the account behind these names.
fn account(text: &str) -> [u64; 4] {
    ["beacons answered", "records in stream A", "user records in stream B", "rows in the data lake"].map(|name| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{text}"));
        let number = line[name.len()..].split_whitespace().next().expect("a number");
        number.replace(',', "").parse().expect("a number")
    })
}

/// All records of a stream, as AWS's SDK reads them: their entries as JSON lines.
fn read_stream(endpoint: &str, stream: &str) -> String {
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "any".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "any".to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ];
    let call = |operation: &str, parameters: Value| {
        let call = json!({ "service": "kinesis", "operation": operation, "parameters": parameters });
        let mut answer = aws_calls(&environment, &[call]).remove(0);
        assert_eq!(answer["status"], 200, "{operation}: {answer}");
        answer["reply"].take()
    };
    let mut entries = String::new();
    let shards = call("list_shards", json!({ "StreamName": stream }));
    for shard in shards["Shards"].as_array().expect("shards") {
        let start = json!({ "StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
        let mut iterator = call("get_shard_iterator", start)["ShardIterator"].take();
        loop {
            let mut reply = call("get_records", json!({ "ShardIterator": iterator }));
            let records = reply["Records"].as_array().expect("records");
            if records.is_empty() {
                break;
            }
            records.iter().for_each(|record| entries += &format!("{record}\n"));
            iterator = reply["NextShardIterator"].take();
        }
    }
    entries
}

/// The request id of a line of 46 columns.
fn id(line: &[u8]) -> String {
    let columns: Vec<&[u8]> = line.trim_ascii_end().split(|&byte| byte == b'\t').collect();
    assert_eq!(columns.len(), 46, "{}", String::from_utf8_lossy(line));
    let mut ids = columns.iter().filter(|column| column.len() == 56 && column.ends_with(b"=="));
    String::from_utf8_lossy(ids.next_back().expect("an id")).into_owned()
}

#[test]
fn every_beacon_of_browsers_and_visits_is_in_every_place_once() {
    let workspace = Workspace::new();
    let (visitors, rate) = (VISITORS.to_string(), "150/s");
    let mut demo = Demo::start(&workspace, &["--visits", &visitors, "--beacons", rate]);
    let (page, pixel, kinesis) = (demo.url("page"), demo.url("pixel"), demo.url("stream A"));
    let mut by_hand = 0;
    if is_installed("a browser on the page of the demonstration", &["chromium"], "chromium") {
        for path in ["/", "/products/t-shirt?utm_source=newsletter&utm_campaign=autumn"] {
            let before = from_here(&kinesis);
            let _browser = Browser::open(&format!("{page}{path}"), &workspace.path("profile"));
            wait_until("the view of the page", || from_here(&kinesis) > before);
            by_hand += 1;
        }
    }
    // As pages do it, by hand: an event twice, as a POST too.
    for query in ["?e=view&url=https%3A%2F%2Fshop.example%2F&n=0", "?e=cart&n=1", "?e=cart&n=2"] {
        get(&format!("{pixel}{query}"));
        by_hand += 1;
    }
    let html = get(&format!("{page}/"));
    assert!(html.contains(&format!("data-pixel=\"{pixel}\"")) && !html.contains("cloudfront.net"), "{html}");
    assert!(get(&format!("{page}/pixel.js")).contains("sendBeacon"));
    let admin = demo.url("report").replace("/report", "");
    demo.hear("all visits sent");

    let mut expected = Visits::new(Options {
        visitors: VISITORS,
        abnormal: Abnormalities::NONE,
        ..Options::new("realtime-46".parse().expect("a shape"), 1)
    });
    let mut log = Vec::new();
    while expected.append_line(&mut log) {}
    let of_visits = log.iter().filter(|&&byte| byte == b'\n').count() as u64;
    wait_until("all of it is in the data lake", || counts(&page)[3] == of_visits + by_hand);
    assert_eq!(counts(&page), [of_visits + by_hand; 4]);

    // The streams, read by AWS's SDK: single lines, and aggregates of the same.
    let lines_of = |entries: &str| -> Vec<Value> {
        entries.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
    };
    let in_a: Vec<String> = lines_of(&read_stream(&kinesis, "lines"))
        .iter()
        .map(|entry| id(&BASE64.decode(entry["Data"].as_str().expect("Data")).expect("base64")))
        .collect();
    let in_b = python_deaggregate(&read_stream(&kinesis, "packed"));
    // A batch of a single line is a plain record, as the KPL makes it.
    assert!(in_b.iter().filter(|record| record.aggregated).count() as u64 > of_visits * 9 / 10);
    let in_b: Vec<String> = in_b.iter().map(|record| id(&record.data)).collect();
    let report: Value = serde_json::from_str(&get(&format!("{admin}/report.json"))).expect("JSON");
    assert_eq!(report["beacons"]["beacons"], of_visits + by_hand);

    signal(&demo.child, "INT");
    let (run, text) = demo.ends(&workspace);
    run.ok();
    assert_eq!(account(&text), [of_visits + by_hand; 4], "{text}");
    assert!(text.contains("Every beacon is in each place, once."), "{text}");
    assert!(text.contains(&format!("{of_visits} of visits, {by_hand} of your browser")), "{text}");

    let table = "CREATE VIEW lines AS SELECT * FROM read_parquet(?, hive_partitioning = true)";
    let lake = workspace.path("pixel-engine-demo/lake/**/*.parquet");
    let table = table.replace('?', &format!("'{}'", lake.display()));
    let rows = run_sql(
        "duckdb",
        &[&table],
        &[],
        &[
            "SELECT x_edge_request_id FROM lines",
            "SELECT query['e'], count(*) FROM lines WHERE c_ip <> '127.0.0.1' GROUP BY 1 ORDER BY 1",
            "SELECT count(*) FROM lines WHERE c_ip = '127.0.0.1' AND query['e'] = 'cart'",
        ],
        &[],
    );
    let in_lake: Vec<String> = rows[0].iter().map(|row| row[0].clone().expect("an id")).collect();
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    for ids in [&in_a, &in_b, &in_lake] {
        assert_eq!(ids.len() as u64, of_visits + by_hand);
        assert_eq!(set(ids), set(&in_lake));
    }
    assert_eq!(set(&in_lake).len() as u64, of_visits + by_hand, "each id is another one");
    // What the visits were.
    let events = Workspace::as_json(&log);
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for event in &events {
        *wanted.entry(event["query"]["e"].as_str().expect("an event").to_owned()).or_default() += 1;
    }
    let found = rows[1].iter().map(|row| (row[0].clone().expect("an event"), row[1].clone().expect("a number")));
    assert_eq!(
        found.collect::<Vec<_>>(),
        wanted.into_iter().map(|(name, count)| (name, count.to_string())).collect::<Vec<_>>()
    );
    assert_eq!(rows[2][0][0].as_deref(), Some("2"));

    // Once more, into the same folder: it counts what is new, and the rest is still there.
    let mut again = Demo::start(&workspace, &["--for", "1s"]);
    again.hear("Delivering");
    let (run, text) = again.ends(&workspace);
    run.ok();
    assert_eq!(account(&text), [0; 4], "{text}");
}

/// How many beacons have come that were not made up: those of browsers, from this machine.
fn from_here(kinesis: &str) -> usize {
    let entries = read_stream(kinesis, "lines");
    let is_local = |line: &&str| {
        let entry: Value = serde_json::from_str(line).expect("an entry");
        let line = BASE64.decode(entry["Data"].as_str().expect("Data")).expect("base64");
        line.split(|&byte| byte == b'\t').nth(1) == Some(b"127.0.0.1")
    };
    entries.lines().filter(is_local).count()
}

#[test]
fn the_page_is_for_everyone() {
    let workspace = Workspace::new();
    let demo = Demo::start(&workspace, &["--visits", "20", "--folder", "elsewhere"]);
    let page = demo.url("page");
    for path in ["/", "/products/t-shirt"] {
        let Some(checked) = check_page(format!("{page}{path}")) else { return };
        assert_eq!(checked.len(), 4);
        for seen in checked {
            let what = format!("{path}: {} pixels wide, {}", seen.width, seen.scheme);
            assert_eq!(seen.violations, [""; 0], "{what}");
            assert_eq!(seen.unreachable, [""; 0], "{what}");
            assert_eq!(seen.errors, [""; 0], "{what}");
            assert!(seen.overflow <= 0, "{what}: {}", seen.overflow);
            assert_eq!(seen.ground == "rgb(255, 255, 255)", seen.scheme == "light", "{what}");
        }
    }
    signal(&demo.child, "TERM");
    demo.ends(&workspace).0.ok();
    assert!(workspace.path("elsewhere/lake").exists() && !workspace.path("pixel-engine-demo").exists());
}

#[test]
fn a_port_that_is_taken_and_a_configuration_of_its_own() {
    let workspace = Workspace::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let mut command = workspace.command(&["demo", "--port", &(port - 1).to_string(), "--for", "1s"]);
    run(&mut command, b"").exits(1).says(&[&format!("127.0.0.1:{port}")]);

    // What the pixel is told is a file of `run`.
    let demo = Demo::start(&workspace, &["--for", "2s"]);
    let (pixel, _) = (demo.url("pixel"), demo.ends(&workspace).0.ok());
    let mut check = workspace.command(&["run", "--config", "pixel-engine-demo/pixel.toml", "--check"]);
    let printed = String::from_utf8(run(&mut check, b"").ok().stdout).expect("UTF-8");
    let address = pixel.trim_start_matches("http://").trim_end_matches("/pixel.gif");
    assert!(printed.contains(address) && printed.contains("container = \"line\""), "{printed}");
}
