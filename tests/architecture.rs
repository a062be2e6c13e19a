//! Both pictures of AWS's post on tracking pixels, from the page to the metrics: a page in Chromium,
//! the pixel of `run`, a stream of single lines, `lambda` that packs them into a second stream, the
//! MultiLangDaemon with `kcl` as its child, Parquet files in S3, and the queries of `docs/sql`.
//!
//! What others wrote between the parts: Chromium, kinesis-local, the daemon, moto, DuckDB. At each hop
//! something fails: connections break, and processes are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::browser::Browser;
use crate::emulators::{make_stream, read_back};
use crate::kcl::{HASTE, eventually};
use crate::mapping::Mapping;
use crate::network::free_port;
use crate::peers::{Emulator, Row, is_installed, kinesis_local, moto, multi_lang_daemon, run_sql};
use crate::shaky_way::ShakyWay;
use crate::support::{Guarded, Workspace, run, signal, soak, wait_until};
use crate::web::{FIRST, page, serve, snippet};

/// Visitors on connections of their own.
const SENDERS: u64 = 3;
/// What visitors do: all of them view, every second one goes on to the cart, and so on.
const STEPS: [(&str, u64); 4] = [("view", 1), ("cart", 2), ("checkout", 4), ("paid", 8)];
/// Every day.
const DAYS: [&str; 2] = ["2000-01-01", "2100-01-01"];

/// The events of a visitor.
fn events(visitor: u64) -> impl Iterator<Item = &'static str> {
    STEPS.iter().filter(move |(_, every)| visitor.is_multiple_of(*every)).map(|(event, _)| *event)
}

/// Sends a beacon, again and again until it is answered; how often it was not.
fn send(port: u16, visitor: u64, event: &str) -> u64 {
    let query = format!("e={event}&uid=visitor-{visitor}&beacon={visitor}-{event}&url=https%3A%2F%2Fshop.example%2F");
    let head =
        format!("GET /pixel.gif?{query} HTTP/1.1\r\nHost: pixel\r\nUser-Agent: Mozilla/5.0 (X11) Firefox/140.0\r\n");
    let answered = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        reply.starts_with(b"HTTP/1.1 200 ").then_some(())
    };
    let mut failures = 0;
    while answered().is_none() {
        failures += 1;
        assert!(failures < 1_000, "the pixel does not come back");
        thread::sleep(Duration::from_millis(20));
    }
    failures
}

/// The pixel, whose lines go to the stream `hits`, one a record.
struct Pixel<'a> {
    workspace: Workspace,
    kinesis: &'a Emulator,
    port: u16,
}

impl Pixel<'_> {
    fn start(&self) -> Guarded {
        let mut command = self.workspace.command(&["run", "--config", "pixel.toml"]);
        let log = File::options().append(true).create(true).open(self.workspace.path("stderr")).expect("a file");
        command.envs(self.kinesis.environment()).env_remove("AWS_PROFILE").stderr(log);
        let child = Guarded::start(&mut command);
        wait_until("the pixel listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        child
    }

    /// Kills that one, and starts another in its place.
    fn kill(&self, running: &mut Guarded) {
        signal(running, "KILL");
        let _ = running.wait();
        *running = self.start();
    }
}

/// What is in the bucket, as files.
struct Lake<'a> {
    workspace: &'a Workspace,
    moto: &'a Emulator,
}

impl Lake<'_> {
    /// Fetches the objects that are not here yet.
    fn fetch(&self) {
        let list = self.moto.call("s3", &[("list_objects_v2", json!({ "Bucket": "lake" }))]);
        let keys = list[0]["Contents"].as_array().map_or(&[][..], |keys| keys);
        let keys = keys.iter().map(|object| object["Key"].as_str().expect("a key"));
        let new: Vec<&str> = keys.filter(|key| !self.workspace.path(key).exists()).collect();
        let get = |key: &&str| ("get_object", json!({ "Bucket": "lake", "Key": key }));
        let bodies = self.moto.call("s3", &new.iter().map(get).collect::<Vec<_>>());
        for (key, body) in new.iter().zip(bodies) {
            self.workspace.write(key, &BASE64.decode(body["Body"].as_str().expect("a body")).expect("base64"));
        }
    }

    /// Rows of queries over the lines, each once, as `docs/sql` has them.
    fn ask(&self, queries: &[&str], days: &[&str]) -> Vec<Vec<Row>> {
        let location = self.workspace.path("beacons");
        let location = location.to_str().expect("UTF-8");
        let schema = ["schema", "--duckdb", "--encode", "parquet", "--table", "all_lines", "--location", location];
        let table = run(&mut self.workspace.command(&schema), b"").ok().stdout;
        let table = String::from_utf8(table).expect("UTF-8");
        // Delivery is at least once.
        let once = "CREATE VIEW lines AS SELECT DISTINCT ON (x_edge_request_id) * FROM all_lines";
        run_sql("duckdb", &[&table, once], &[&sql("beacons.duckdb.sql")], queries, days)
    }

    /// The beacons that are there, by the number that their sender gave them.
    fn beacons(&self) -> BTreeSet<String> {
        self.fetch();
        if !self.workspace.path("beacons").exists() {
            return BTreeSet::new();
        }
        let found = self.ask(&["SELECT DISTINCT query['beacon'] FROM lines WHERE query['beacon'] IS NOT NULL"], &[]);
        found[0].iter().map(|row| row[0].clone().expect("a beacon")).collect()
    }
}

fn sql(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("sql");
    fs::read_to_string(folder.join(name)).expect("it is there")
}

#[test]
fn every_beacon_comes_from_the_page_to_the_metrics() {
    let Some(java) = multi_lang_daemon() else { return };
    let Some(kinesis) = kinesis_local(None) else { return };
    let (moto, visitors) = (moto(), soak(400, 10_000));
    make_stream(&kinesis, "hits", 2);
    make_stream(&kinesis, "packed", 2);
    moto.call("s3", &[("create_bucket", json!({ "Bucket": "lake" }))]);
    let (to_kinesis, to_s3) = (ShakyWay::to(kinesis.port(), 5), ShakyWay::to(moto.port(), 6));

    // The consumer, from the start: the library takes half a minute for its first leases.
    let consumer = Workspace::new();
    let mut print = consumer.command(&["kcl", "--to", "s3://lake/beacons", "--encode", "parquet"]);
    print.args(["--buffering-interval", "2s", "--linger", "100ms", "--checkpoint-interval", "500ms"]);
    print.args(["--request-timeout", "5s", "--endpoint-url", &to_s3.url()]);
    print.args(["--print-properties", "--stream", "packed", "--application", "lake", "--stream-region", "us-east-1"]);
    let printed = run(&mut print, b"").ok().stdout;
    let here = format!("kinesisEndpoint = {}\ndynamoDBEndpoint = {}\n{HASTE}", kinesis.url(), moto.url());
    consumer.write("kcl.properties", &[&printed[..], here.as_bytes()].concat());
    let mut java = java;
    let log = File::create(consumer.path("daemon.log")).expect("a file");
    java.args(["--properties-file", "kcl.properties"]).current_dir(consumer.path(""));
    java.stdin(Stdio::null()).stderr(log.try_clone().expect("it is open")).stdout(log);
    java.envs(moto.environment()).env_remove("AWS_ENDPOINT_URL").env_remove("AWS_PROFILE");
    let daemon = Guarded::start(&mut java);

    // The pixel, and a browser on pages with the snippet.
    let pixel = Pixel { workspace: Workspace::new(), kinesis: &kinesis, port: free_port() };
    let settings = format!(
        "[pipeline.pixel]\nto = \"kinesis://hits\"\ncontainer = \"line\"\nendpoint_url = \"{}\"\nrequest_timeout = \"2s\"\n\
         linger = \"50ms\"\nresume = \"checkpoint\"\njournal = \"journal\"\n\
         [[pipeline.pixel.source]]\ntype = \"http\"\nlisten = \"127.0.0.1:{}\"\npixel_fields = \"realtime-46\"\n",
        to_kinesis.url(),
        pixel.port
    );
    pixel.workspace.write("pixel.toml", settings.as_bytes());
    to_kinesis.is_broken.store(true, Ordering::Relaxed);
    to_s3.is_broken.store(true, Ordering::Relaxed);
    let mut running = pixel.start();
    let mut of_browser = BTreeMap::new();
    if is_installed("a browser on a page with the snippet", &["chromium"], "chromium") {
        let code = snippet(&format!("http://127.0.0.1:{}/pixel.gif", pixel.port), "/pixel.js");
        let site = serve(move |target| {
            let page = |act: &str, next: &str| Some(("text/html", page(&code, act, next)));
            match target {
                "/pixel.js" => Some(("text/javascript", crate::web::read("pixel.js"))),
                "/first" => page(FIRST, "/second"),
                "/second" => page("await answered(1);", "/third"),
                _ => None,
            }
        });
        let _browser = Browser::open(&format!("http://127.0.0.1:{site}/first"), &pixel.workspace.path("profile"));
        of_browser = BTreeMap::from([("view", 2), ("cart", 2), ("hide", 2)]);
        let lines = || read_back(&kinesis, "hits").iter().map(|shard| shard.records.len()).sum::<usize>();
        wait_until("what the browser sends is in the stream", || lines() >= 6);
    }

    // Visitors, while the pixel is killed and comes back.
    let (answered, again) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (answered, again, port) = (&answered, &again, pixel.port);
            scope.spawn(move || {
                for visitor in (0..visitors).filter(|visitor| visitor % SENDERS == sender) {
                    for event in events(visitor) {
                        again.fetch_add(send(port, visitor, event), Ordering::Relaxed);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for part in 1..3 {
            wait_until("some are answered", || answered.load(Ordering::Relaxed) > part * visitors / 2);
            pixel.kill(&mut running);
        }
    });
    let sent: BTreeSet<String> =
        (0..visitors).flat_map(|visitor| events(visitor).map(move |event| format!("{visitor}-{event}"))).collect();
    assert_eq!(answered.load(Ordering::Relaxed), sent.len() as u64);
    // Until the next hop, connections hold: a pipeline that waits to begin again would end with 1, and
    // leave lines to the next start.
    to_kinesis.is_broken.store(false, Ordering::Relaxed);
    let in_a = || read_back(&kinesis, "hits").iter().map(|shard| shard.records.len()).sum::<usize>();
    wait_until("every beacon is in stream A", || in_a() >= sent.len() + of_browser.values().sum::<u64>() as usize);
    signal(&running, "TERM");
    let stopped = pixel.workspace.wait(running.take());
    let said = fs::read_to_string(pixel.workspace.path("stderr")).unwrap_or_default();
    assert_eq!(stopped.code, Some(0), "{said}");
    to_kinesis.is_broken.store(true, Ordering::Relaxed);

    // Stream A: a line a record.
    let hits = read_back(&kinesis, "hits");
    let records: usize = hits.iter().map(|shard| shard.records.len()).sum();
    assert!(records >= sent.len() && hits.iter().all(|shard| !shard.records.is_empty()), "{records}");
    for record in hits.iter().flat_map(|shard| &shard.records) {
        let line = BASE64.decode(record["Data"].as_str().expect("Data")).expect("base64");
        assert!(line.iter().filter(|&&byte| byte == b'\n').count() == 1 && line.ends_with(b"\n"));
    }

    // The function, which is killed too, and stream B.
    let mappings = Mapping::run_all(&hits, 30, &kinesis, &to_kinesis);
    let killed: u64 = mappings.iter().map(|mapping| mapping.killed).sum();
    assert!(killed > 0);
    let packed: usize = read_back(&kinesis, "packed").iter().map(|shard| shard.records.len()).sum();
    assert!(packed < records / 2, "{packed} records of {records}");

    // The data lake.
    let lake = Lake { workspace: &consumer, moto: &moto };
    eventually("every beacon is in the data lake", || lake.beacons() == sent);
    signal(&daemon, "TERM");
    let ended = daemon.take().wait().expect("its end");
    lake.fetch();
    let said = fs::read_to_string(consumer.path("daemon.log")).unwrap_or_default();
    assert_eq!(lake.beacons(), sent, "the daemon ended with {ended}: {said}");

    let queries = ["event_counts.sql", "visitors.sql", "sessions.sql", "funnel.sql"].map(sql);
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let found = lake.ask(&queries, &DAYS);
    let number = |row: &Row, at: usize| row[at].as_deref().and_then(|text| text.parse::<u64>().ok()).expect("a number");
    let counted: BTreeMap<&str, u64> =
        found[0].iter().map(|row| (row[0].as_deref().expect("an event"), number(row, 1))).collect();
    let (mut wanted, again) = (BTreeMap::new(), again.load(Ordering::Relaxed));
    (0..visitors).flat_map(events).for_each(|event| *wanted.entry(event).or_insert(0) += 1);
    of_browser.iter().for_each(|(event, count)| *wanted.entry(event).or_insert(0) += count);
    assert_eq!(counted.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    // A sender that was not answered does not know whether the pixel has the beacon: then there are two.
    let more: u64 =
        counted.iter().map(|(event, count)| count.checked_sub(wanted[event]).expect("none is missing")).sum();
    assert!(more <= again, "{more} more, {again} were sent again");
    // Headless browsers count as bots.
    let bots = u64::from(!of_browser.is_empty());
    assert_eq!((number(&found[1][0], 0), number(&found[1][0], 1)), (visitors, bots));
    assert_eq!(number(&found[2][0], 0), visitors, "a session each");
    let funnel = STEPS.map(|(_, every)| visitors.div_ceil(every));
    assert_eq!([0, 1, 2, 3].map(|at| number(&found[3][0], at)), funnel);
    eprintln!(
        "{} beacons of visitors and {} of a browser: {again} sent again, {killed} functions killed, {records} records of \
         lines, {packed} of aggregates, {} and {} connections broken",
        sent.len(),
        of_browser.values().sum::<u64>(),
        to_kinesis.broken.load(Ordering::Relaxed),
        to_s3.broken.load(Ordering::Relaxed),
    );
}
