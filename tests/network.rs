//! `run` with sources on the network: HTTP, TCP, unix sockets, and the journal behind them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_aws::FakeAws;
use serde_json::{Value, json};

use crate::support::{
    Arrivals, Guarded, Run, Workspace, files_below, gzip, id_in, ids, lines, log_from, number_of, signal, skipped,
    soak, wait_until, zstd,
};

/// A sidecar with a pipeline to Firehose, and what its sources need.
pub(crate) struct Sidecar {
    pub(crate) aws: FakeAws,
    pub(crate) workspace: Workspace,
    pub(crate) port: u16,
}

/// A port that nobody listens to.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

impl Sidecar {
    /// `keys` are those of the HTTP source, `more` what stands behind it.
    pub(crate) fn with(keys: &str, more: &str) -> Sidecar {
        Sidecar::with_settings("", keys, more)
    }

    /// `settings` are more of the pipeline's.
    fn with_settings(settings: &str, keys: &str, more: &str) -> Sidecar {
        let (aws, workspace, port) = (FakeAws::start(), Workspace::new(), free_port());
        aws.delivery_stream("beacons");
        let file = format!(
            "[pipeline.beacons]\nto = \"firehose://beacons\"\nspool = \"spool\"\ngive_up_after = \"1s\"\n\
             linger = \"100ms\"\nresume = \"checkpoint\"\njournal = \"journal\"\nquarantine = \"bad.jsonl\"\n\
             {settings}[[pipeline.beacons.source]]\ntype = \"http\"\nlisten = \"127.0.0.1:{port}\"\n{keys}\n{more}"
        );
        workspace.write("pixel-engine.toml", file.as_bytes());
        Sidecar { aws, workspace, port }
    }

    pub(crate) fn new() -> Sidecar {
        Sidecar::with("", "")
    }

    pub(crate) fn start(&self) -> Guarded {
        self.start_with(|_| ())
    }

    pub(crate) fn start_with(&self, change: impl FnOnce(&mut Command)) -> Guarded {
        let mut command = self.workspace.command(&["run"]);
        command.envs(self.aws.environment()).env_remove("AWS_PROFILE");
        change(&mut command);
        let child = Guarded::start(&mut command);
        wait_until("it listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        child
    }

    pub(crate) fn stop(&self, child: Guarded) -> Run {
        signal(&child, "TERM");
        self.workspace.wait(child.take())
    }

    pub(crate) fn arrived(&self) -> Vec<Vec<u8>> {
        let records = self.aws.delivery_stream("beacons").delivered();
        records.iter().flat_map(|record| lines(&record.data).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
    }

    /// The request ids of the lines that arrived.
    pub(crate) fn arrived_ids(&self) -> BTreeSet<Vec<u8>> {
        self.arrived().iter().filter_map(|line| id_in(line).map(<[u8]>::to_vec)).collect()
    }

    #[track_caller]
    fn wait_for(&self, count: usize) -> Vec<Vec<u8>> {
        wait_until("the lines arrived", || self.arrived().len() >= count);
        self.arrived()
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn send(&self, head: &str, body: &[u8]) -> Reply {
        Client::connect(self.port).expect("it listens").send(head, body).expect("a reply")
    }

    fn post(&self, path: &str, headers: &str, body: &[u8]) -> Reply {
        self.send(&format!("POST {path} HTTP/1.1\r\n{headers}"), body)
    }

    fn segments(&self) -> usize {
        let name = |path: &std::path::PathBuf| path.file_name().expect("a file").to_string_lossy().into_owned();
        let is_segment = |path: &std::path::PathBuf| name(path).starts_with(|first: char| first.is_ascii_digit());
        files_below(&self.workspace.path("journal")).iter().filter(|path| is_segment(path)).count()
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection of HTTP/1.1.
struct Client(TcpStream);

impl Client {
    fn connect(port: u16) -> std::io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Client(stream))
    }

    /// `head` has the request line and headers, each with its end of line.
    fn send(&mut self, head: &str, body: &[u8]) -> std::io::Result<Reply> {
        let len = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        self.0.write_all(format!("{head}host: pixel.example\r\n{len}\r\n").as_bytes())?;
        self.0.write_all(body)?;
        self.reply(head.starts_with("HEAD"))
    }

    fn reply(&mut self, is_head: bool) -> std::io::Result<Reply> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let mut body = vec![0; if is_head { 0 } else { len.unwrap_or(0) }];
        self.0.read_exact(&mut body)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Ok(Reply { status, head, body })
    }
}

/// A request of Firehose.
fn delivery(id: &str, records: &[&[u8]]) -> Vec<u8> {
    let records: Vec<Value> = records.iter().map(|data| json!({ "data": BASE64.encode(data) })).collect();
    json!({ "requestId": id, "timestamp": 1_700_000_000_000_u64, "records": records }).to_string().into_bytes()
}

#[test]
fn posted_lines_arrive_whatever_they_are_packed_in() {
    let test = Sidecar::new();
    let child = test.start();
    let log = |first, count| log_from("realtime-46", first, count);
    for (headers, body) in [
        ("", log(0, 100)),
        ("content-encoding: gzip\r\n", gzip(&log(100, 100))),
        ("content-encoding: zstd\r\n", zstd(&log(200, 100))),
        ("", gzip(&log(300, 100))),
        ("", log_from("standard", 400, 100)),
    ] {
        let reply = test.post("/v1/logs", headers, &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.json()["lines"].as_u64() >= Some(100));
    }
    // An array over several lines.
    let objects: Vec<Value> = log_from("standard-json", 500, 100)
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    let reply = test.post("/v1/logs", "", serde_json::to_string_pretty(&objects).expect("JSON").as_bytes());
    assert_eq!((reply.status, reply.json()["lines"].as_u64()), (200, Some(100)));
    // Without a length, in chunks.
    let mut client = Client::connect(test.port).expect("it listens");
    let chunks: Vec<u8> = log(600, 100)
        .chunks(1_000)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .collect();
    client.0.write_all(b"POST /v1/logs HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").expect("it is sent");
    client.0.write_all(&[&chunks[..], b"0\r\n\r\n"].concat()).expect("it is sent");
    assert_eq!(client.reply(false).expect("a reply").status, 200);
    test.wait_for(700);
    assert_eq!(test.arrived_ids().len(), 700);
    let run = test.stop(child).ok();
    run.says(&["pipeline beacons: http on 127.0.0.1:"]);
    assert_eq!(test.arrived().len(), 700, "none came twice");
    assert!(test.workspace.quarantine().is_empty() || !test.workspace.path("bad.jsonl").exists());
}

#[test]
fn what_cannot_be_taken_is_said() {
    let test = Sidecar::with("max_body = 100000\naccess_key = \"secret-key\"\nbody_timeout = \"1s\"", "");
    let child = test.start();
    let key = "authorization: Bearer secret-key\r\n";
    for (headers, body, status, says) in [
        ("", &b"1\t2\n"[..], 401, "access key"),
        ("authorization: Bearer secret-kez\r\n", b"1\t2\n", 401, "access key"),
        ("authorization: Bearer secret-key-and-more\r\n", b"1\t2\n", 401, "access key"),
        (key, &[b'\n'; 100_001], 413, "100000 bytes"),
        (&format!("{key}content-encoding: br\r\n"), b"x", 415, "br"),
        (key, &gzip(&[b'\n'; 100_001]), 413, "100000 bytes"),
        (key, &gzip(b"1\t2\n")[..15], 400, "cut off"),
        (key, b"PK\x03\x04", 400, "zip"),
    ] {
        let reply = test.post("/v1/logs", headers, body);
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.text().contains(says), "{}", reply.text());
    }
    assert_eq!(test.send("GET /v1/logs HTTP/1.1\r\n", b"").status, 405);
    assert_eq!(test.send("GET /nothing HTTP/1.1\r\n", b"").status, 404);
    assert_eq!(test.send("DELETE /pixel.gif HTTP/1.1\r\n", b"").status, 405);
    // One that never comes to its end, and one that is no HTTP.
    let mut slow = Client::connect(test.port).expect("it listens");
    slow.0
        .write_all(format!("POST /v1/logs HTTP/1.1\r\nhost: a\r\n{key}content-length: 9\r\n\r\n1\t").as_bytes())
        .expect("it is sent");
    assert_eq!(slow.reply(false).expect("a reply").status, 408);
    let mut strange = Client::connect(test.port).expect("it listens");
    strange.0.write_all(b"\x16\x03\x01 what is this\r\n\r\n").expect("it is sent");
    assert!(strange.reply(false).map_or(true, |reply| reply.status == 400));
    assert_eq!(test.post("/v1/logs", key, b"").status, 200);
    assert_eq!(test.post("/v1/logs", key, &log_from("realtime-46", 0, 3)).status, 200);
    test.wait_for(3);
    test.stop(child).ok();
    assert_eq!(test.arrived().len(), 3);
}

#[test]
fn a_firehose_stream_can_deliver_here() {
    let test = Sidecar::with("access_key = \"secret-key\"", "");
    let child = test.start();
    let headers = |id: &str, key: &str| {
        format!(
            "x-amz-firehose-protocol-version: 1.0\r\nx-amz-firehose-request-id: {id}\r\n\
             x-amz-firehose-source-arn: arn:aws:firehose:eu-west-1:123456789012:deliverystream/a\r\n\
             x-amz-firehose-access-key: {key}\r\ncontent-type: application/json\r\n"
        )
    };
    let log = |first, count| log_from("realtime-46", first, count);
    // Two lines a record, with a newline at the end and without, an empty one, and JSON.
    let (first, second) = (log(0, 2), log(2, 2));
    let body =
        delivery("id-1", &[&first, second.trim_ascii_end(), b"", log_from("standard-json", 4, 1).trim_ascii_end()]);
    let reply = test.post("/v1/firehose", &headers("id-1", "secret-key"), &body);
    assert_eq!((reply.status, &reply.json()["requestId"]), (200, &json!("id-1")), "{}", reply.text());
    assert!(reply.json()["timestamp"].is_u64() && reply.json().as_object().expect("an object").len() == 2);
    assert!(reply.head.contains("content-type: application/json") && reply.head.contains("content-length: "));
    // Again, as after a reply that was lost; and another one, compressed.
    assert_eq!(test.post("/v1/firehose", &headers("id-1", "secret-key"), &body).status, 200);
    let gzipped = gzip(&delivery("id-2", &[&log(5, 5)]));
    let compressed = headers("id-2", "secret-key") + "content-encoding: gzip\r\n";
    assert_eq!(test.post("/v1/firehose", &compressed, &gzipped).status, 200);
    test.wait_for(10);
    for (id, key, body, status, says) in [
        ("id-3", "wrong", delivery("id-3", &[&first]), 401, "access key"),
        ("id-3", "secret-key", delivery("id-4", &[&first]), 400, "id-4"),
        ("id-3", "secret-key", b"{}".to_vec(), 400, "no request of Firehose"),
        ("id-3", "secret-key", br#"{"requestId":"id-3","records":[{"data":"?"}]}"#.to_vec(), 400, "record 1"),
        ("id-3", "secret-key", gzip(&vec![b' '; 70 << 20]), 400, "bytes"),
    ] {
        let reply = test.post("/v1/firehose", &headers(id, key), &body);
        assert_eq!((reply.status, &reply.json()["requestId"]), (status, &json!(id)));
        let error = reply.json()["errorMessage"].as_str().expect("a message").to_owned();
        assert!(error.contains(says), "{error}");
    }
    // Too large by what it says of itself: not 413 either.
    let mut client = Client::connect(test.port).expect("it listens");
    let head = format!(
        "POST /v1/firehose HTTP/1.1\r\n{}host: a\r\ncontent-length: 99999999\r\n\r\n",
        headers("id-5", "secret-key")
    );
    client.0.write_all(head.as_bytes()).expect("it is sent");
    assert_eq!(client.reply(false).expect("a reply").status, 400);
    let run = test.stop(child).ok();
    assert!(run.stderr.contains("id-1 again"), "{}", run.stderr);
    assert!(!run.stderr.contains("secret-key"));
    assert_eq!((test.arrived().len(), test.arrived_ids().len()), (10, 10));
}

/// Whatever way lines come, and whether they can be read or not.
#[test]
fn no_raw_value_reaches_the_disk() {
    let lines = free_port();
    let privacy = "mask_ip = true\nhash = \"query.u\"\nhash_with = \"hmac-sha256\"\n\
                   hash_key = \"0123456789abcdef0123456789abcdef\"\n\
                   replace = [\"cs-user-agent=agent\"]\ndrop = \"cs-headers\"\n";
    let source = format!("[[pipeline.beacons.source]]\ntype = \"tcp\"\nlisten = \"127.0.0.1:{lines}\"\n");
    let sidecar = Sidecar::with_settings(privacy, "", &source);
    sidecar.aws.down();
    let child = sidecar.start();
    let line = |n: u32| format!("1.5\t203.0.113.77\tsecret-agent\tu=secret-{n}&n={n}\n");
    let bad = "secret of 203.0.113.77\n";
    assert_eq!(sidecar.post("/v1/logs", "", (line(1) + bad + &line(2)).as_bytes()).status, 200);
    let object = r#"{"timestamp":"1.5","c-ip":"203.0.113.77","cs-uri-query":"u=secret-3&n=3"}"#;
    assert_eq!(sidecar.post("/v1/logs", "", object.as_bytes()).status, 200);
    let pixel = "GET /pixel.gif?u=secret-4&n=4 HTTP/1.1\r\nuser-agent: secret-agent\r\n";
    assert_eq!(sidecar.send(pixel, b"").status, 200);
    let mut socket = TcpStream::connect(("127.0.0.1", lines)).expect("it listens");
    socket.write_all((line(5) + bad).as_bytes()).expect("it reads");
    drop(socket);
    let kept = || {
        let files = files_below(&sidecar.workspace.path("."));
        let written = files.iter().filter(|path| !path.ends_with("pixel-engine.toml"));
        written.map(|path| fs::read(path).unwrap_or_default()).collect::<Vec<_>>().concat()
    };
    let holds = |bytes: &[u8], text: &str| String::from_utf8_lossy(bytes).contains(text);
    wait_until("all is on disk", || (1..=5).all(|n| holds(&kept(), &format!("n={n}"))));
    let raw = ["secret", "113.77"];
    assert!(raw.iter().all(|text| !holds(&kept(), text)));
    sidecar.aws.up();
    let arrived = sidecar.wait_for(5).join(&b'\n');
    assert!(raw.iter().all(|text| !holds(&arrived, text)), "{}", String::from_utf8_lossy(&arrived));
    // HMAC-SHA-256 of `secret-1`, as Python's hmac makes it: once.
    assert!(holds(&arrived, "u=68e44fa96c1501bc126b575ef96b90ae&n=1"), "{}", String::from_utf8_lossy(&arrived));
    sidecar.stop(child);
    assert!(raw.iter().all(|text| !holds(&kept(), text)));
}

#[test]
fn a_pixel_is_a_line() {
    let test = Sidecar::with("trusted_proxies = [\"127.0.0.1\"]\npixel_fields = \"realtime-46\"", "");
    let child = test.start();
    let get = |head: &str| test.send(head, b"");
    let reply =
        get("GET /pixel.gif?e=pv&u=a%20b HTTP/1.1\r\nuser-agent: One/1.0 (x)\r\nx-forwarded-for: 198.51.100.7\r\n");
    assert_eq!((reply.status, reply.body.len(), &reply.body[..6]), (200, 43, &b"GIF89a"[..]));
    for header in ["content-type: image/gif", "cache-control: no-store", "access-control-allow-origin: *"] {
        assert!(reply.head.contains(header), "{}", reply.head);
    }
    let reply = get("HEAD /pixel.gif?e=head HTTP/1.1\r\n");
    assert!(reply.status == 200 && reply.head.contains("content-length: 43"), "{}", reply.head);
    let reply = test.post("/pixel.gif?e=beacon", "content-type: text/plain\r\n", b"what sendBeacon sends");
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    let reply = get("OPTIONS /pixel.gif HTTP/1.1\r\n");
    assert!(reply.status == 204 && reply.head.contains("access-control-allow-methods"), "{}", reply.head);
    // Before a beacon with a body of JSON, which a browser sends with credentials.
    let asked = "OPTIONS /pixel.gif HTTP/1.1\r\norigin: https://a.example\r\n\
                 access-control-request-headers: content-type\r\naccess-control-request-method: POST\r\n";
    let reply = get(asked);
    for (name, value) in [("origin", "https://a.example"), ("credentials", "true"), ("headers", "content-type")] {
        assert!(reply.head.contains(&format!("access-control-allow-{name}: {value}\r\n")), "{}", reply.head);
    }
    let arrived = test.wait_for(3);
    let text: Vec<String> = arrived.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let columns: Vec<&str> = text[0].trim_end().split('\t').collect();
    assert_eq!(columns.len(), 46, "{}", text[0]);
    assert!(columns.contains(&"198.51.100.7") && columns.contains(&"e=pv&u=a%2520b"), "{}", text[0]);
    assert!(columns.contains(&"One/1.0%20(x)") && columns.contains(&"/pixel.gif?e=pv&u=a%2520b"), "{}", text[0]);
    let all = text.concat();
    assert!(all.contains("\tHEAD\t") && all.contains("\tPOST\t") && all.contains("e=beacon"), "{all}");
    let request_ids: BTreeSet<&str> = text.iter().filter_map(|line| line.split('\t').nth(12)).collect();
    assert!(request_ids.len() == 3 && request_ids.iter().all(|id| id.len() == 56), "{request_ids:?}");
    test.stop(child).ok();
    assert_eq!(test.arrived().len(), 3);
}

#[test]
fn lines_come_over_tcp_and_unix_sockets() {
    let port = free_port();
    let more = format!(
        "[[pipeline.beacons.source]]\ntype = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\n\
         [[pipeline.beacons.source]]\ntype = \"unix\"\npath = \"lines.sock\"\n"
    );
    let test = Sidecar::with("", &more);
    let child = test.start();
    // In pieces, with a pause in the middle of a line, and without a newline at the end.
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let log = log_from("realtime-46", 0, 500);
    tcp.write_all(&log[..1_000]).expect("it is sent");
    test.wait_for(1);
    tcp.write_all(log[1_000..].trim_ascii_end()).expect("it is sent");
    tcp.shutdown(Shutdown::Both).expect("it ends");
    // At the same time a standard log, whose header is said once.
    let mut unix = UnixStream::connect(test.workspace.path("lines.sock")).expect("it listens");
    for part in log_from("standard", 500, 500).chunks(7_000) {
        unix.write_all(part).expect("it is sent");
        thread::sleep(Duration::from_millis(5));
    }
    drop(unix);
    test.wait_for(1_000);
    test.stop(child).ok();
    assert_eq!((test.arrived().len(), test.arrived_ids().len()), (1_000, 1_000));
    // A socket that is left over is no obstacle.
    assert!(test.workspace.path("lines.sock").exists());
    let child = test.start();
    test.stop(child).ok();
}

/// Producers that note what was answered with 200, until they are to end.
fn post_until(port: u16, first: u64, step: u64, end: &AtomicBool, taken: &Mutex<BTreeSet<Vec<u8>>>) {
    let mut number = first;
    let mut client = None;
    while !end.load(Ordering::Relaxed) {
        let Ok(connected) = client.take().map_or_else(|| Client::connect(port), Ok) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let mut connected = connected;
        let log = log_from("realtime-46", number, 20);
        number += step;
        if let Ok(reply) = connected.send("POST /v1/logs HTTP/1.1\r\n", &log)
            && reply.status == 200
        {
            taken.lock().expect("no panic").extend(ids(&log).map(<[u8]>::to_vec));
            client = Some(connected);
        }
    }
}

/// Connects to a sidecar that is being killed and started again.
fn connect_again<T>(connect: impl Fn() -> std::io::Result<T>) -> T {
    let connected = RefCell::new(None);
    wait_until("it listens again", || {
        *connected.borrow_mut() = connect().ok();
        connected.borrow().is_some()
    });
    connected.into_inner().expect("just now")
}

/// The moment for a kill: some time in one of eleven parts, so that lines come after the last one.
fn wait_for_moment(kill: u64, total: u64, sent: &AtomicU64) {
    let moment = (kill * total + fastrand::u64(..total)) / 11;
    wait_until("it is time", || sent.load(Ordering::Relaxed) >= moment);
}

#[test]
fn what_was_answered_survives_kill_9() {
    let total = soak(20_000, 1_000_000);
    let test = Sidecar::new();
    let arrivals = Arrivals::at(&test.aws.delivery_stream("beacons"), total);
    let (sent, taken) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    // Each line is sent once: another attempt could make good the loss of one that was answered.
    let post_all = || {
        let mut client = None;
        loop {
            let first = sent.fetch_add(20, Ordering::Relaxed);
            if first >= total {
                return;
            }
            let mut connected = client.take().unwrap_or_else(|| connect_again(|| Client::connect(test.port)));
            let reply = connected.send("POST /v1/logs HTTP/1.1\r\n", &log_from("realtime-46", first, 20));
            if reply.is_ok_and(|reply| reply.status == 200) {
                taken.lock().expect("no panic").extend(first..first + 20);
                client = Some(connected);
            }
        }
    };
    thread::scope(|scope| {
        let mut child = test.start();
        for _ in 0..4 {
            scope.spawn(post_all);
        }
        for kill in 0..10 {
            wait_for_moment(kill, total, &sent);
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            child = test.start();
        }
        while sent.load(Ordering::Relaxed) < total {
            thread::sleep(Duration::from_millis(5));
        }
        let taken = || taken.lock().expect("no panic").clone();
        arrivals.wait_for(taken());
        test.stop(child).ok();
    });
    let taken = taken.into_inner().expect("no panic");
    arrivals.wait_for(taken.iter().copied());
    // Four senders lose one body each, ten times.
    assert!(taken.len() as u64 > total * 9 / 10, "{} of {total}", taken.len());
}

/// Nothing is answered over TCP, so a sender cannot know what was taken when the process dies. What
/// stands in the journal by then is safe all the same, and no line is ever torn.
#[test]
fn over_tcp_what_is_in_the_journal_survives_kill_9() {
    let (total, last) = (soak(20_000, 1_000_000), 1_000);
    let port = free_port();
    let source = format!("[[pipeline.beacons.source]]\ntype = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\n");
    let test = Sidecar::with("", &source);
    let arrivals = Arrivals::at(&test.aws.delivery_stream("beacons"), total + last);
    let connect = || TcpStream::connect(("127.0.0.1", port));
    let sent = AtomicU64::new(0);
    let send_all = || {
        let mut stream = connect_again(connect);
        let piece = total / 1_000;
        for number in 0..1_000 {
            // Slowly enough that lines are in the journal, and not all in the kernel.
            thread::sleep(Duration::from_millis(1));
            if stream.write_all(&log_from("realtime-46", number * piece, piece)).is_err() {
                stream = connect_again(connect);
            }
            sent.fetch_add(piece, Ordering::Relaxed);
        }
    };
    let mut held = BTreeSet::new();
    thread::scope(|scope| {
        let mut child = test.start();
        let sender = scope.spawn(send_all);
        for kill in 0..10 {
            wait_for_moment(kill, total, &sent);
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            for segment in files_below(&test.workspace.path("journal")) {
                let text = fs::read(segment).expect("nobody removes it now");
                let whole = lines(&text).filter(|line| line.ends_with(b"\n"));
                held.extend(whole.filter_map(|line| number_of(id_in(line)?)));
            }
            child = test.start();
        }
        sender.join().expect("it sends all");
        // Of a connection that is closed in order, while nothing dies, every line counts.
        let mut stream = connect_again(connect);
        stream.write_all(&log_from("realtime-46", total, last)).expect("it is sent");
        drop(stream);
        arrivals.wait_for(held.iter().copied().chain(total..total + last));
        test.stop(child).ok();
    });
    assert!(!held.is_empty() && arrivals.count() > total / 2, "{} held, {} came", held.len(), arrivals.count());
}

#[test]
fn a_dead_endpoint_fills_spool_and_journal_and_then_senders_wait() {
    let test = Sidecar::with("", "");
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it is there");
    let file = file.replace(
        "journal = \"journal\"",
        "journal = \"journal\"\njournal_size = \"1MiB\"\nspool_size = \"1MiB\"\nspool_full = \"block\"",
    );
    test.workspace.write("pixel-engine.toml", file.as_bytes());
    test.aws.down();
    let child = test.start();
    let (mut sent, mut refused) = (0, None);
    let begun = Instant::now();
    while refused.is_none() && begun.elapsed() < Duration::from_secs(60) {
        let reply = test.post("/v1/logs", "", &log_from("realtime-46", sent, 100));
        match reply.status {
            200 => sent += 100,
            _ => refused = Some(reply),
        }
    }
    let refused = refused.expect("at last there is no room");
    assert!(refused.status == 429 && refused.head.contains("retry-after: 1"), "{}", refused.head);
    test.aws.up();
    wait_until("there is room again", || test.post("/v1/logs", "", &log_from("realtime-46", sent, 1)).status == 200);
    wait_until("everything arrived", || test.arrived_ids().len() as u64 == sent + 1);
    test.stop(child).ok();
}

/// A file system of its own, which is gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount(folder: PathBuf) -> Option<SmallDisk> {
        fs::create_dir(&folder).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(&folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that fails may still have a process there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_recovers() {
    let test = Sidecar::with("pixel_fields = \"realtime-46\"", "");
    let Some(_disk) = SmallDisk::mount(test.workspace.path("disk")) else {
        return skipped("a journal on a full disk: no tmpfs can be mounted here");
    };
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it is there");
    // Nothing leaves the journal while Firehose is down.
    let file = file.replace("\"journal\"", "\"disk/journal\"").replace("\"1s\"", "\"1h\"");
    test.workspace.write("pixel-engine.toml", file.as_bytes());
    test.aws.down();
    let mut child = test.start();
    let (mut sent, mut hits) = (0, 0);
    let (mut taken, mut refused) = (BTreeSet::new(), 0);
    let post = |number: u64| {
        let log = log_from("realtime-46", number * 100, 100);
        (test.post("/v1/logs", "", &log), ids(&log).map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    let is_refusal = |reply: &Reply| {
        assert!([200, 429, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
        assert!(reply.status == 200 || reply.head.contains("retry-after: 1"), "{}", reply.head);
        reply.status != 200
    };
    // Until it is full, and then on: 4 MB are some 7,000 lines.
    while refused < 20 {
        assert!(sent < 1_000, "the disk never fills");
        let (reply, ids) = post(sent);
        sent += 1;
        if is_refusal(&reply) {
            refused += 1;
        } else {
            taken.extend(ids);
        }
    }
    // What was refused leaves no room that a single line could not fill.
    while !is_refusal(&test.send(&format!("GET /pixel.gif?n={hits} HTTP/1.1\r\n"), b"")) {
        hits += 1;
        assert!(hits < 10_000, "the disk never fills");
    }
    assert!(child.try_wait().expect("it can be asked").is_none(), "it ended");
    assert!(taken.len() > 1_000, "{}", taken.len());
    test.aws.up();
    wait_until("there is room again", || {
        let (reply, _) = post(1_000);
        !is_refusal(&reply)
    });
    taken.extend(ids(&log_from("realtime-46", 100_000, 100)).map(<[u8]>::to_vec));
    wait_until("all that was answered arrived", || taken.is_subset(&test.arrived_ids()));
    test.stop(child).ok();
    // Lines of a body that was refused may come, but no half of one.
    let (all, arrived) = (log_from("realtime-46", 0, 100_100), test.arrived());
    let all: BTreeSet<&[u8]> = lines(&all).collect();
    let (posted, pixels): (Vec<_>, Vec<_>) = arrived.iter().partition(|line| all.contains(&line[..]));
    let numbers: BTreeSet<String> = pixels
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .map(|line| line.split_once("?n=").expect("a pixel's").1.split('\t').next().expect("a column").to_owned())
        .collect();
    assert!((0..hits).all(|number| numbers.contains(&number.to_string())), "{hits} hits, {} came", numbers.len());
    assert!(numbers.len() <= hits + 1 && posted.len() >= taken.len(), "{} hits of {hits}", numbers.len());
    assert!(fs::read(test.workspace.path("bad.jsonl")).unwrap_or_default().is_empty());
}

#[test]
fn a_stop_under_load_delivers_all_that_was_answered() {
    let test = Sidecar::new();
    let (end, taken) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        let child = test.start();
        for producer in 0..4 {
            let (end, taken) = (&end, &taken);
            scope.spawn(move || post_until(test.port, producer * 20, 80, end, taken));
        }
        thread::sleep(Duration::from_millis(700));
        let run = test.stop(child).ok();
        end.store(true, Ordering::Relaxed);
        run.says(&["pipeline beacons:"]);
    });
    let taken = taken.into_inner().expect("no panic");
    assert!(taken.len() > 100 && taken.is_subset(&test.arrived_ids()), "{}", taken.len());
    // And the journal holds nothing that would come twice.
    let child = test.start();
    wait_until("the journal is empty", || test.segments() == 0);
    test.stop(child).ok();
    assert_eq!(test.arrived().len(), test.arrived_ids().len());
}

#[test]
fn two_pipelines_read_one_journal() {
    let more = "[pipeline.copy]\nto = \"dir:out\"\nresume = \"copy.checkpoint\"\nlinger = \"100ms\"\n\
                match = [\"sc-status=200\"]\nsource = { type = \"journal\", folder = \"journal\" }\n";
    let test = Sidecar::with("", more);
    let child = test.start();
    let log = log_from("realtime-46", 0, 300);
    assert_eq!(test.post("/v1/logs", "", &log).status, 200);
    test.wait_for(300);
    test.stop(child).ok();
    let copied = test.workspace.delivered("out");
    let wanted: BTreeSet<&[u8]> = lines(&copied).filter_map(id_in).collect();
    assert!(wanted.len() > 100 && wanted.len() < 300, "{}", wanted.len());
    let child = test.start();
    wait_until("the journal is empty", || test.segments() == 0);
    test.stop(child).ok();
}

#[test]
fn a_thousand_clients_at_a_time_are_served() {
    let test = Sidecar::new();
    let child = test.start();
    let mut clients: Vec<Client> = (0..1_000).map(|_| Client::connect(test.port).expect("it listens")).collect();
    let request = |number: usize| format!("GET /pixel.gif?n={number} HTTP/1.1\r\nhost: a\r\n\r\n");
    for (number, client) in clients.iter_mut().enumerate() {
        client.0.write_all(request(number).as_bytes()).expect("it is sent");
    }
    for client in &mut clients {
        assert_eq!(client.reply(false).expect("a reply").status, 200);
    }
    let arrived = test.wait_for(1_000).concat();
    drop(clients);
    test.stop(child).ok();
    let text = String::from_utf8_lossy(&arrived);
    let numbers: BTreeSet<&str> =
        text.lines().filter_map(|line| line.rsplit_once("?n=")?.1.split('\t').next()).collect();
    assert_eq!((test.arrived().len(), numbers.len()), (1_000, 1_000));
}

#[test]
fn a_changed_file_is_read_again_and_a_wrong_one_is_not() {
    let test = Sidecar::new();
    let child = test.start();
    let (end, taken) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it is there");
    thread::scope(|scope| {
        let (end, taken) = (&end, &taken);
        for producer in 0..2 {
            scope.spawn(move || post_until(test.port, producer * 20, 40, end, taken));
        }
        let has_gzip = || {
            test.aws.delivery_stream("beacons").delivered().iter().any(|record| record.data.starts_with(&[0x1f, 0x8b]))
        };
        thread::sleep(Duration::from_millis(300));
        test.workspace.write("pixel-engine.toml", (file.clone() + "what = 1\n").as_bytes());
        signal(&child, "HUP");
        thread::sleep(Duration::from_millis(300));
        assert!(!has_gzip());
        let changed = file.replace("linger = \"100ms\"", "linger = \"50ms\"\ncompress = \"gzip\"");
        test.workspace.write("pixel-engine.toml", changed.as_bytes());
        wait_until("records are compressed", has_gzip);
        thread::sleep(Duration::from_millis(300));
        end.store(true, Ordering::Relaxed);
    });
    let run = test.stop(child).ok();
    run.says(&["the configuration stays as it was", "unknown key `what`"]);
    run.says(&["the configuration was read again"]);
    let taken = taken.into_inner().expect("no panic");
    let arrived: BTreeSet<Vec<u8>> = test
        .aws
        .delivery_stream("beacons")
        .delivered()
        .iter()
        .flat_map(|record| {
            let is_gzip = record.data.starts_with(&[0x1f, 0x8b]);
            let text = if is_gzip { crate::support::gunzip(&record.data) } else { record.data.to_vec() };
            ids(&text).map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    assert!(taken.len() > 100 && taken.is_subset(&arrived), "{} of {}", arrived.len(), taken.len());
}

#[test]
fn tls_and_http_2_are_spoken() {
    let (curl, openssl) =
        (Command::new("curl").arg("--version").output(), Command::new("openssl").arg("version").output());
    if curl.is_err() || openssl.is_err() {
        return skipped("curl and openssl, for TLS and HTTP/2");
    }
    let keys = "tls_certificate = \"cert.pem\"\ntls_key = \"key.pem\"\npixel_fields = \"realtime-46\"";
    let test = Sidecar::with(keys, "");
    let folder = test.workspace.path("");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .current_dir(&folder)
        .stderr(Stdio::null())
        .status()
        .expect("it starts");
    assert!(made.success());
    let child = test.start();
    let url = format!("https://localhost:{}/pixel.gif?e=tls", test.port);
    for version in ["--http2", "--http1.1"] {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--cacert",
                "cert.pem",
                version,
                "--write-out",
                "%{http_version} %{http_code}",
            ])
            .args(["--output", "/dev/null", &url])
            .current_dir(&folder)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.ends_with(" 200"), "{said} {}", String::from_utf8_lossy(&output.stderr));
    }
    let arrived = test.wait_for(2);
    let text = String::from_utf8_lossy(&arrived.concat()).into_owned();
    for part in
        ["\thttps\t", "\tHTTP/2.0\t", "\tHTTP/1.1\t", "\tTLSv1.3\tTLS_", &format!("\tlocalhost:{}\t", test.port)]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    test.stop(child).ok();
}

#[test]
fn an_address_in_use_and_a_wrong_certificate_are_said() {
    let test = Sidecar::new();
    let taken = TcpListener::bind(("127.0.0.1", test.port)).expect("it is free");
    let start = || {
        let mut command = test.workspace.command(&["run"]);
        command.envs(test.aws.environment()).env_remove("AWS_PROFILE");
        test.workspace.wait(command.spawn().expect("it starts"))
    };
    start().exits(1).says(&["listening to 127.0.0.1:", "in use"]);
    drop(taken);
    let file = fs::read_to_string(test.workspace.path("pixel-engine.toml")).expect("it is there");
    let with_tls = file + "tls_certificate = \"cert.pem\"\ntls_key = \"cert.pem\"\n";
    test.workspace.write("pixel-engine.toml", with_tls.as_bytes());
    test.workspace.write("cert.pem", b"no certificate");
    start().exits(1).says(&["cert.pem"]);
}
