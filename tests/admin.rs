use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fake_aws::{Action, FakeAws};
use pixel_engine::serve::admin::metrics::METRICS;
use serde_json::Value;

use crate::peers::{MetricFamily, REQUIRE, read_metrics};
use crate::support::{Guarded, Workspace, id_in, lines, log, log_from, run, signal, skipped, wait_until};

const FILE: &str = r#"
give_up_after = "500ms"
linger = "100ms"
resume = "checkpoint"
match = ["sc-status=*"]

[admin]
listen = "127.0.0.1:0"

[pipeline.beacons]
to = "firehose://beacons"
spool = "spool"

[[pipeline.beacons.source]]
type = "follow"
files = "logs/*.log"
"#;
const TOKEN: &str = "a-token-for-tests-only";

struct Sidecar {
    aws: FakeAws,
    workspace: Workspace,
}

/// A program that runs, and what it has said so far.
pub(crate) struct Running {
    pub(crate) child: Guarded,
    stderr: Arc<Mutex<String>>,
}

impl Sidecar {
    fn new(file: &str) -> Sidecar {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        aws.delivery_stream("beacons");
        workspace.write("pixel-engine.toml", file.as_bytes());
        fs::create_dir_all(workspace.path("logs")).expect("a folder");
        Sidecar { aws, workspace }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.command(arguments);
        command.envs(self.aws.environment()).env_remove("AWS_PROFILE");
        command
    }

    fn start(&self) -> Running {
        Running::start(self.command(&["run"]))
    }

    fn append(&self, bytes: &[u8]) {
        let path = self.workspace.path("logs/app.log");
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a log");
        file.write_all(bytes).expect("it is written");
    }

    fn append_lines(&self, first: u64, count: u64) {
        self.append(&log_from("realtime-46", first, count));
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = Guarded::start(&mut command);
        let stderr = Arc::new(Mutex::new(String::new()));
        let (lines, all) = (BufReader::new(child.stderr.take().expect("piped")), Arc::clone(&stderr));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                all.lock().expect("nobody panics with it").push_str(&(line + "\n"));
            }
        });
        Running { child, stderr }
    }

    pub(crate) fn said(&self) -> String {
        self.stderr.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = || {
            let said = self.said();
            // The last one, as it may have changed.
            let line = said.lines().rev().find_map(|line| line.strip_prefix("admin: http://"))?;
            line.trim_end_matches('/').parse().ok()
        };
        wait_until("it listens", || address().is_some());
        address().expect("just now")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "")
    }

    /// Status and body.
    pub(crate) fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it closes");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    /// The sum of a metric's values.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().expect("a number")).sum()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, value: f64) {
        wait_until(name, || self.metric(name) == value);
    }

    pub(crate) fn stop(self) -> String {
        signal(&self.child, "TERM");
        self.ended()
    }

    /// What it said until it ended. A second signal would end it at once.
    fn ended(mut self) -> String {
        let status = self.child.wait().expect("it ends");
        // What it said last is read by then.
        thread::sleep(Duration::from_millis(100));
        assert_eq!(status.code(), Some(0), "{}", self.said());
        self.said()
    }
}

const LINES: [&str; 6] = ["shipped", "spooled", "quarantined", "filtered", "undelivered", "open"];

#[track_caller]
fn adds_up(running: &Running) {
    let total = |name: &str| match name {
        "open" => running.metric("pixel_engine_lines_open"),
        name => running.metric(&format!("pixel_engine_lines_{name}_total")),
    };
    assert_eq!(total("in"), LINES.into_iter().map(total).sum::<f64>(), "{}", running.get("/metrics").1);
}

#[test]
fn counts_go_on_when_the_file_is_changed() {
    let test = Sidecar::new(FILE);
    let running = test.start();
    test.append_lines(0, 50);
    running.wait_for("pixel_engine_lines_shipped_total", 50.0);
    let old = running.address();
    // Another pipeline by its linger, and another address.
    let file = FILE.replace("linger = \"100ms\"", "linger = \"150ms\"").replace("127.0.0.1:0", "127.0.0.2:0");
    test.workspace.write("pixel-engine.toml", file.as_bytes());
    signal(&running.child, "HUP");
    wait_until("it listens elsewhere", || running.said().contains("admin: http://127.0.0.2:"));
    assert!(running.address() != old && TcpStream::connect(old).is_err());
    running.wait_for("pixel_engine_pipeline_starts_total", 2.0);
    test.append_lines(50, 30);
    running.wait_for("pixel_engine_lines_shipped_total", 80.0);
    // A wrong one changes neither.
    test.workspace.write("pixel-engine.toml", file.replace("127.0.0.2:0", "nowhere").as_bytes());
    signal(&running.child, "HUP");
    wait_until("it says so", || running.said().contains("the configuration stays as it was"));
    assert!(running.address().ip().to_string() == "127.0.0.2" && running.get("/readyz").0 == 200);
    running.stop();
}

#[test]
fn a_dead_endpoint_shows_and_so_does_its_return() {
    let test = Sidecar::new(FILE);
    let running = test.start();
    wait_until("it is ready", || running.get("/readyz") == (200, "ready\n".to_owned()));
    assert_eq!(running.get("/healthz").0, 200);
    test.append_lines(0, 50);
    running.wait_for("pixel_engine_lines_shipped_total", 50.0);
    test.aws.down();
    test.append_lines(50, 50);
    wait_until("it is not ready", || running.get("/readyz").0 == 503);
    let (_, reasons) = running.get("/readyz");
    assert!(reasons.starts_with("pipeline beacons: ") && reasons.lines().count() == 1, "{reasons}");
    assert_eq!(running.get("/healthz").0, 200, "the process is up all the same");
    running.wait_for("pixel_engine_lines_spooled_total", 50.0);
    assert!(running.metric("pixel_engine_spool_bytes") > 0.0);
    assert!(running.metric("pixel_engine_requests_failed_total") > 0.0);
    assert_eq!(running.metric("pixel_engine_source_lag_bytes"), 0.0, "the spool is safe");
    test.aws.up();
    running.wait_for("pixel_engine_spool_lines_shipped_total", 50.0);
    wait_until("it is ready again", || running.get("/readyz").0 == 200);
    assert_eq!(running.metric("pixel_engine_spool_batches"), 0.0);
    adds_up(&running);
    running.stop();
}

#[test]
fn the_counters_are_those_of_the_summary() {
    let test = Sidecar::new(&FILE.replace("sc-status=*", "sc-status=200"));
    let running = test.start();
    let text = log("realtime-46", 400);
    let matching = lines(&text).filter(|line| line.split(|&byte| byte == b'\t').any(|field| field == b"200")).count();
    test.append(&text);
    test.append(b"this is no log line\nnor is this\n");
    running.wait_for("pixel_engine_lines_in_total", 402.0);
    running.wait_for("pixel_engine_lines_open", 0.0);
    adds_up(&running);
    let numbers: Vec<u64> = ["in", "shipped", "quarantined", "filtered"]
        .map(|name| running.metric(&format!("pixel_engine_lines_{name}_total")) as u64)
        .into();
    assert_eq!((numbers[0], numbers[2]), (402, 2));
    assert!(numbers[1] > 0 && numbers[1] <= matching as u64);
    let [records, requests, billed, unpacked] =
        ["records_total", "requests_total", "billed_bytes_total", "unpacked_billed_bytes_total"]
            .map(|name| running.metric(&format!("pixel_engine_{name}")) as u64);
    assert_eq!(unpacked, numbers[1] * 5_120);
    let said = running.stop();
    let (shipped, quarantined, filtered) = (numbers[1], numbers[2], numbers[3]);
    let line = format!("{} in = {shipped} shipped + {quarantined} quarantined + {filtered} filtered", numbers[0]);
    assert!(said.contains(&line), "{line} in {said}");
    assert!(said.contains(&format!("records   {records} in {requests} request")), "{said}");
    let billed_line = said.lines().find(|line| line.contains("Firehose  ")).expect("the summary has it");
    let billed_text: String = billed_line.split_whitespace().nth(1).expect("a number").replace(',', "");
    assert_eq!(billed_text, billed.to_string());
}

#[test]
fn a_pipeline_that_begins_again_goes_on_counting() {
    let test = Sidecar::new(&FILE.replace("spool = \"spool\"\n", ""));
    let running = test.start();
    test.append_lines(0, 30);
    running.wait_for("pixel_engine_lines_shipped_total", 30.0);
    let key = test.aws.credentials().access_key.clone();
    test.aws.deny(&key, Action::PutRecordBatch);
    let written = Cell::new(30);
    wait_until("it failed", || {
        // The next line is when a delivery learns that it has failed.
        test.append_lines(written.get(), 1);
        written.set(written.get() + 1);
        running.get("/readyz").1.contains("it failed, and begins again: ")
    });
    test.aws.allow(&key, Action::PutRecordBatch);
    running.wait_for("pixel_engine_lines_shipped_total", written.get() as f64);
    assert!(running.metric("pixel_engine_pipeline_starts_total") >= 2.0);
    assert!(running.metric("pixel_engine_lines_undelivered_total") > 0.0);
    running.wait_for("pixel_engine_lines_open", 0.0);
    adds_up(&running);
    running.stop();
}

#[test]
fn bytes_that_were_written_lag_while_the_endpoint_is_dead() {
    let file = FILE.replace("spool = \"spool\"\n", "").replace("give_up_after = \"500ms\"\n", "");
    let test = Sidecar::new(&file);
    let running = test.start();
    test.append_lines(0, 10);
    running.wait_for("pixel_engine_lines_shipped_total", 10.0);
    running.wait_for("pixel_engine_source_lag_bytes", 0.0);
    test.aws.down();
    let more = log_from("realtime-46", 10, 100);
    test.append(&more);
    running.wait_for("pixel_engine_source_lag_bytes", more.len() as f64);
    test.aws.up();
    running.wait_for("pixel_engine_source_lag_bytes", 0.0);
    running.stop();
}

#[test]
fn prometheus_reads_every_metric() {
    let test = Sidecar::new(FILE);
    let running = test.start();
    test.append_lines(0, 50);
    running.wait_for("pixel_engine_lines_shipped_total", 50.0);
    let families: BTreeMap<String, MetricFamily> =
        read_metrics(&running.get("/metrics").1).into_iter().map(|family| (family.name.clone(), family)).collect();
    assert_eq!(families.len(), METRICS.len());
    for metric in &METRICS {
        let names = metric.names();
        let is_it = |family: &&MetricFamily| {
            names.iter().any(|name| {
                let suffix = name.strip_prefix(&family.name);
                suffix.is_some_and(|suffix| ["", "_total", "_bucket"].contains(&suffix))
            })
        };
        let family = families.values().find(is_it);
        let family = family.unwrap_or_else(|| panic!("{names:?}"));
        assert_eq!(family.help, metric.help);
        for (name, labels, _) in &family.samples {
            assert!(names.contains(name), "{name} in {names:?}");
            assert_eq!(labels["pipeline"], "beacons");
        }
    }
    let duration = &families["pixel_engine_request_duration_seconds"];
    assert_eq!(duration.kind, "histogram");
    let count = |suffix: &str| {
        let found = duration
            .samples
            .iter()
            .find(|(name, labels, _)| name.ends_with(suffix) && labels.get("le").is_none_or(|bound| bound == "+Inf"));
        found.expect("it is there").2
    };
    assert!(count("_count") >= 1.0 && count("_bucket") == count("_count"));
    running.stop();
}

#[test]
fn a_token_guards_the_numbers_and_is_never_shown() {
    let file = FILE.replace("127.0.0.1:0\"", &format!("0.0.0.0:0\"\ntoken = \"{TOKEN}\""));
    let test = Sidecar::new(&file);
    let checked = run(&mut test.command(&["run", "--check"]), b"").ok();
    let shown = String::from_utf8(checked.stdout).expect("text");
    assert!(shown.contains("admin: http://0.0.0.0:0/\n") && shown.contains("  token = \"***\"  # line 9"), "{shown}");
    let running = test.start();
    for path in ["/metrics", "/events"] {
        assert_eq!(running.get(path).0, 401, "{path}");
        assert_eq!(running.get_with(path, "Authorization: Bearer a-token-for-tests-onlx\r\n").0, 401);
    }
    assert_eq!(running.get_with("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).0, 200);
    assert_eq!((running.get("/").0, running.get("/page.js").0, running.get("/healthz").0), (200, 200, 200));
    let said = running.stop();
    assert!(!shown.contains(TOKEN) && !said.contains(TOKEN));

    test.workspace.write("open.toml", file.replace(&format!("token = \"{TOKEN}\""), "").as_bytes());
    let refused = run(&mut test.command(&["run", "--config", "open.toml"]), b"").exits(2);
    refused.says(&["open.toml:8:10: listen: 0.0.0.0:0 can be reached from elsewhere: add token_file"]);
}

/// The first event.
fn event(running: &Running) -> Value {
    let mut stream = TcpStream::connect(running.address()).expect("it listens");
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("UTF-8"));
    let data = lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)).next().expect("an event");
    serde_json::from_str(&data).expect("JSON")
}

#[test]
fn bad_lines_are_shown_without_their_text_unless_it_is_wanted() {
    for (setting, is_shown) in [("", false), ("bad_line_text = true\n", true)] {
        let file = FILE.replace("127.0.0.1:0\"\n", &format!("127.0.0.1:0\"\n{setting}"));
        let test = Sidecar::new(&file);
        let running = test.start();
        test.append(b"a secret that is no log line\n");
        running.wait_for("pixel_engine_lines_quarantined_total", 1.0);
        let event = event(&running);
        let bad_line = &event[0]["bad_lines"][0];
        assert_eq!((&bad_line["source"], &bad_line["line"]), (&"logs/app.log".into(), &1.into()), "{event}");
        assert!(bad_line["reason"].as_str().is_some_and(|reason| reason.contains("no tab")), "{event}");
        assert_eq!(event.to_string().contains("secret"), is_shown, "{event}");
        let said = running.stop();
        assert!(!said.contains("secret"), "{said}");
    }
}

/// The page as a browser shows it after some seconds; `None` without one.
fn in_browser(running: &Running) -> Option<String> {
    let mut browser = Command::new("chromium");
    browser.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=3000",
        "--enable-logging=stderr",
    ]);
    browser.arg("--dump-dom").arg(format!("http://{}/", running.address()));
    let output = match browser.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => {
            let is_required = std::env::var(REQUIRE).is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
            assert!(!is_required, "chromium does not start: {error}");
            skipped(&format!("the admin page in a browser: chromium does not start: {error}"));
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("CONSOLE"), "the page has errors: {said}");
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn the_page_shows_the_pipelines_and_asks_for_a_token_where_there_is_one() {
    let test = Sidecar::new(FILE);
    let running = test.start();
    test.append_lines(0, 1_234);
    running.wait_for("pixel_engine_lines_shipped_total", 1_234.0);
    let Some(page) = in_browser(&running) else { return };
    for part in [
        "Live: all pipelines deliver.",
        "<dd data-is=\"lines_shipped\">1,234</dd>",
        "aria-label=\"pipeline beacons\"",
        "to firehose://beacons",
        "USD per GB",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    running.stop();

    let test = Sidecar::new(&FILE.replace("127.0.0.1:0\"", &format!("127.0.0.1:0\"\ntoken = \"{TOKEN}\"")));
    let running = test.start();
    let page = in_browser(&running).expect("it was there");
    assert!(page.contains("A token is needed.") && page.contains("<form id=\"login\">"), "{page}");
    running.stop();
}

#[test]
fn systemd_is_told() {
    let test = Sidecar::new(FILE);
    let path = test.workspace.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("it takes one");
    let mut command = test.command(&["run"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "600000").env_remove("WATCHDOG_PID");
    let running = Running::start(command);
    let next = || {
        let mut message = [0; 64];
        let len = socket.recv(&mut message).expect("a message in time");
        String::from_utf8(message[..len].to_vec()).expect("UTF-8")
    };
    let wait_for = |wanted: &str| {
        let begun = Instant::now();
        let mut before = Vec::new();
        loop {
            let message = next();
            if message == wanted {
                return before;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{wanted}: {before:?}");
            before.push(message);
        }
    };
    wait_for("READY=1\n");
    assert_eq!(running.get("/readyz").0, 200, "what is ready for systemd is ready");
    wait_for("WATCHDOG=1\n");
    let begun = Instant::now();
    wait_for("WATCHDOG=1\n");
    assert!(begun.elapsed() < Duration::from_secs(10));
    signal(&running.child, "TERM");
    assert!(wait_for("STOPPING=1\n").iter().all(|message| message == "WATCHDOG=1\n"));
    running.ended();
}

#[test]
fn the_log_is_structured_thinned_out_and_without_lines() {
    let test = Sidecar::new(FILE);
    test.aws.down();
    let running = Running::start(test.command(&["--log-format", "json", "run"]));
    let text = log("realtime-46", 40);
    for line in lines(&text) {
        test.append(line);
        thread::sleep(Duration::from_millis(120));
    }
    running.wait_for("pixel_engine_lines_spooled_total", 40.0);
    let failed = running.metric("pixel_engine_requests_failed_total");
    test.aws.up();
    running.wait_for("pixel_engine_spool_batches", 0.0);
    let said = running.stop();
    let events: Vec<Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let messages: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
    let of_requests = messages.iter().filter(|message| message.contains("a request with")).count();
    assert!(of_requests > 0 && (of_requests as f64) < failed / 2.0, "{of_requests} of {failed}:\n{said}");
    let thinned: u64 = events.iter().filter_map(|event| event["more"].as_u64()).sum();
    assert!(thinned > 0, "{said}");
    for line in lines(&text) {
        let id = String::from_utf8_lossy(id_in(line).expect("every line has one")).into_owned();
        assert!(!said.contains(&id), "{id} in {said}");
    }
}
