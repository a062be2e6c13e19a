//! What the end-to-end tests share: a folder for each of them, the binary, and what it delivered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::ops::{Deref, DerefMut, Range};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_aws::{DeliveryStream, Fault};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use pixel_engine_bench_data::{Generator, Options, request_id};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// The folder that `ingest` delivers to unless told otherwise.
pub(crate) const OUT: &str = "pixel-engine-out";
/// The seed of every generated log.
pub(crate) const SEED: u64 = 7;

/// A folder of the test's own, which is the binary's working directory.
pub(crate) struct Workspace {
    folder: TempDir,
}

/// How a run of the binary ended.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    summary: Option<Vec<u8>>,
}

/// `--summary-json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) lines_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) lines_shipped: u64,
    pub(crate) lines_spooled: u64,
    pub(crate) lines_quarantined: u64,
    pub(crate) lines_filtered: u64,
    pub(crate) lines_duplicate: u64,
    pub(crate) lines_skipped: u64,
    pub(crate) lines_undelivered: u64,
    pub(crate) lines_empty: u64,
    pub(crate) lines_header: u64,
    pub(crate) records: u64,
    pub(crate) requests: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) billed_bytes_firehose: u64,
    pub(crate) billed_bytes_unpacked: u64,
    pub(crate) billed_bytes_kinesis_provisioned: u64,
    pub(crate) billed_bytes_kinesis_provisioned_unpacked: u64,
    pub(crate) billed_bytes_kinesis_on_demand: u64,
    pub(crate) billed_bytes_kinesis_on_demand_unpacked: u64,
    pub(crate) interrupted: bool,
    pub(crate) simd: String,
    pub(crate) threads: usize,
    pub(crate) query_encoding: Option<Value>,
    pub(crate) shipping: Option<Shipping>,
}

/// `shipping` in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shipping {
    pub(crate) requests: u64,
    pub(crate) requests_retried: u64,
    pub(crate) requests_failed: BTreeMap<String, u64>,
    pub(crate) records_failed: BTreeMap<String, u64>,
    pub(crate) records_possibly_duplicated: u64,
    pub(crate) throttles: u64,
    pub(crate) objects: u64,
    pub(crate) parts: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) latency_p50_ms: f64,
    pub(crate) latency_p99_ms: f64,
    pub(crate) latency_max_ms: f64,
    pub(crate) records_in_other_shard: u64,
    pub(crate) shard_map_refreshes: u64,
    pub(crate) records_spooled: u64,
    pub(crate) lines_spooled: u64,
    pub(crate) bytes_spooled: u64,
}

/// An entry of the quarantine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BadLine {
    pub(crate) reason: String,
    pub(crate) source: String,
    pub(crate) line: u64,
    pub(crate) offset: u64,
    pub(crate) part: Option<u32>,
    pub(crate) last_part: Option<bool>,
    pub(crate) length: Option<usize>,
    line_text: Option<String>,
    line_base64: Option<String>,
}

impl BadLine {
    /// The line to the byte, whichever way it is written.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match (&self.line_text, &self.line_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(base64)) => BASE64.decode(base64).expect("line_base64 is base64"),
            _ => panic!("exactly one of line_text and line_base64: {self:?}"),
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        self.line_text.is_some()
    }
}

/// An object as Firehose would deliver it.
pub(crate) struct Object {
    pub(crate) path: PathBuf,
    /// Decompressed, by the end of its name.
    pub(crate) bytes: Vec<u8>,
}

impl Workspace {
    pub(crate) fn new() -> Workspace {
        Workspace { folder: TempDir::new().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, in folders that are made; returns the name for use as an argument.
    pub(crate) fn write<'a>(&self, name: &'a str, bytes: &[u8]) -> &'a str {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the workspace")).expect("a folder");
        fs::write(path, bytes).expect("a file");
        name
    }

    /// The binary with these arguments, in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pixel-engine"));
        command.args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn ingest_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["ingest", "--summary-json", "summary.json"]);
        command.args(arguments);
        command
    }

    /// Runs `ingest`.
    pub(crate) fn ingest(&self, arguments: &[&str]) -> Run {
        self.ingest_from(arguments, b"")
    }

    /// Runs `ingest` with that on stdin.
    pub(crate) fn ingest_from(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        self.ingest_with(&mut self.ingest_command(arguments), stdin)
    }

    /// Runs an [`ingest_command`](Self::ingest_command) that something was changed about.
    pub(crate) fn ingest_with(&self, command: &mut Command, stdin: &[u8]) -> Run {
        let _ = fs::remove_file(self.path("summary.json"));
        let run = run(command, stdin);
        Run { summary: fs::read(self.path("summary.json")).ok(), ..run }
    }

    /// Runs `decode`.
    pub(crate) fn decode(&self, stdin: &[u8]) -> Run {
        run(&mut self.command(&["decode"]), stdin)
    }

    /// What a child that was started by hand came to.
    pub(crate) fn wait(&self, child: Child) -> Run {
        let run = finished(child);
        Run { summary: fs::read(self.path("summary.json")).ok(), ..run }
    }

    /// Lines of a log as JSON lines, by the binary.
    pub(crate) fn as_json(lines: &[u8]) -> Vec<Value> {
        let decoding = Workspace::new();
        decoding.ingest_from(&["-", "--encode", "jsonl"], lines).ok();
        let text = decoding.objects(OUT).into_iter().flat_map(|object| object.bytes).collect();
        let text = String::from_utf8(text).expect("JSON is UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Every object below the folder, in the order of delivery.
    pub(crate) fn objects(&self, folder: &str) -> Vec<Object> {
        let mut paths = files_below(&self.path(folder));
        paths.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
        paths
            .into_iter()
            .map(|path| {
                let raw = fs::read(&path).expect("an object");
                let bytes = match path.extension().and_then(|extension| extension.to_str()) {
                    Some("gz") => gunzip(&raw),
                    Some("zst") => zstd::decode_all(&raw[..]).expect("zstd frames"),
                    _ => raw,
                };
                Object { path, bytes }
            })
            .collect()
    }

    /// What all objects below the folder hold, decompressed and joined.
    pub(crate) fn delivered(&self, folder: &str) -> Vec<u8> {
        self.objects(folder).into_iter().flat_map(|object| object.bytes).collect()
    }

    /// What is in the quarantine; nothing when there is none.
    pub(crate) fn quarantine(&self) -> Vec<BadLine> {
        let text = fs::read_to_string(self.path("pixel-engine-quarantine.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("an entry of the quarantine")).collect()
    }
}

impl Run {
    /// The run, if it went well.
    #[track_caller]
    pub(crate) fn ok(self) -> Run {
        self.exits(0)
    }

    /// The run, if it ended with that code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// The numbers, which must add up.
    #[track_caller]
    pub(crate) fn summary(&self) -> Summary {
        let json = self.summary.as_ref().unwrap_or_else(|| panic!("no summary: {}", self.stderr));
        let summary: Summary = serde_json::from_slice(json).expect("the summary is JSON");
        assert_eq!(
            summary.lines_in,
            summary.lines_shipped
                + summary.lines_spooled
                + summary.lines_quarantined
                + summary.lines_filtered
                + summary.lines_undelivered,
            "{summary:?}"
        );
        summary
    }

    /// Whether one line of stderr holds all of these.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) {
        let found = self.stderr.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {parts:?} in:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Runs a command with that on stdin.
pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> Run {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut pipe = child.stdin.take().expect("stdin is piped");
    thread::scope(|scope| {
        // A command that ends early says why itself; the broken pipe does not matter.
        scope.spawn(move || pipe.write_all(stdin));
        finished(child)
    })
}

fn finished(child: Child) -> Run {
    let output = child.wait_with_output().expect("it ends");
    Run {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        summary: None,
    }
}

/// The files below a folder but for hidden ones; none when it does not exist.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let visible = paths.filter(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
    visible.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Every file below a folder, hidden ones too.
pub(crate) fn all_files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { all_files_below(&path) } else { vec![path] }).collect()
}

/// A generated log, with the headers that its shape has.
pub(crate) fn log(shape: &str, lines: u64) -> Vec<u8> {
    log_from(shape, 0, lines)
}

/// The same from line `first` on.
pub(crate) fn log_from(shape: &str, first: u64, lines: u64) -> Vec<u8> {
    let shape = shape.parse().expect("a shape");
    let mut generator = Generator::new(Options { first_line: first, ..Options::new(shape, SEED) });
    let mut text = Vec::new();
    generator.append_header(&mut text);
    generator.append_lines(&mut text, lines);
    text
}

/// What the checkpoint in the file `checkpoint` says of its first input.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) offset: u64,
    pub(crate) ahead: Vec<Range<u64>>,
    /// When it was written.
    pub(crate) at: Option<SystemTime>,
}

impl Saved {
    pub(crate) fn read(workspace: &Workspace) -> Saved {
        let path = workspace.path("checkpoint");
        let Ok(text) = fs::read_to_string(&path) else { return Saved::default() };
        let Some(entry) = text.lines().nth(1) else { return Saved::default() };
        let entry: Value = serde_json::from_str(entry).expect("an entry");
        let offset = entry["offset"].as_u64().expect("a number");
        let ahead: Vec<u64> = entry["ahead"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let mut end = offset;
        let ahead = ahead.chunks(2).map(|pair| {
            let start = end + pair[0];
            end = start + pair[1];
            start..end
        });
        let at = fs::metadata(path).and_then(|metadata| metadata.modified()).expect("a time");
        Saved { offset, ahead: ahead.collect(), at: Some(at) }
    }

    /// Whether the line that begins there is acknowledged.
    pub(crate) fn has(&self, offset: u64) -> bool {
        let next = self.ahead.partition_point(|range| range.end <= offset);
        offset < self.offset || self.ahead.get(next).is_some_and(|range| range.start <= offset)
    }
}

/// The lines, each with its newline.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// The lines in an order of their own, for what may arrive in any.
pub(crate) fn sorted(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = lines(text).collect();
    lines.sort_unstable();
    lines
}

pub(crate) fn count_lines(text: &[u8]) -> u64 {
    lines(text).count() as u64
}

/// A text without its header lines.
pub(crate) fn without_headers(text: &[u8]) -> Vec<u8> {
    lines(text).filter(|line| !line.starts_with(b"#")).flatten().copied().collect()
}

/// What compresses a file.
pub(crate) type Pack = fn(&[u8]) -> Vec<u8>;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut text).expect("gzip members");
    text
}

pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    liblzma::encode_all(bytes, 1).expect("memory")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

/// One API request of `--to stdout:`.
pub(crate) struct Request {
    /// The length of its JSON.
    pub(crate) len: usize,
    pub(crate) entries: Vec<Entry>,
}

/// One record of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) data: Vec<u8>,
    pub(crate) partition_key: Option<String>,
    pub(crate) explicit_hash_key: Option<u128>,
    /// As it stands in the request.
    pub(crate) json: String,
}

/// The requests, one a line.
pub(crate) fn requests(stdout: &[u8]) -> Vec<Request> {
    lines(stdout)
        .map(|line| {
            let request: Value = serde_json::from_slice(line).expect("a request is JSON");
            let entries = request["Records"].as_array().expect("Records").iter().map(entry).collect();
            Request { len: line.len(), entries }
        })
        .collect()
}

/// All records of `--to stdout:`.
pub(crate) fn records(stdout: &[u8]) -> Vec<Entry> {
    requests(stdout).into_iter().flat_map(|request| request.entries).collect()
}

pub(crate) fn entry(entry: &Value) -> Entry {
    let text = |key: &str| entry[key].as_str().map(ToOwned::to_owned);
    Entry {
        data: BASE64.decode(text("Data").expect("Data")).expect("base64"),
        partition_key: text("PartitionKey"),
        explicit_hash_key: text("ExplicitHashKey").map(|key| key.parse().expect("a decimal number of 128 bits")),
        json: entry.to_string(),
    }
}

/// Which lines of a generated log were seen: each may be seen once.
pub(crate) struct Seen {
    lines: Vec<bool>,
}

impl Seen {
    pub(crate) fn new(lines: u64) -> Seen {
        Seen { lines: vec![false; usize::try_from(lines).expect("it fits")] }
    }

    /// Notes the line with that id, and returns its number.
    #[track_caller]
    pub(crate) fn id(&mut self, id: &[u8]) -> u64 {
        let (seed, line) =
            request_id::decode(id).unwrap_or_else(|| panic!("not an id: {}", String::from_utf8_lossy(id)));
        assert_eq!(seed, SEED);
        let seen = &mut self.lines[line as usize];
        assert!(!*seen, "line {line} came twice");
        *seen = true;
        line
    }

    /// Notes the id in every line of a text, in whatever format.
    #[track_caller]
    pub(crate) fn ids_in(&mut self, text: &[u8]) {
        for line in lines(text) {
            self.id(id_in(line).unwrap_or_else(|| panic!("no id in {}", String::from_utf8_lossy(line))));
        }
    }

    /// How many lines were seen.
    pub(crate) fn count(&self) -> usize {
        self.lines.iter().filter(|&&seen| seen).count()
    }

    /// Every line was.
    #[track_caller]
    pub(crate) fn all(&self) {
        let missing = self.lines.iter().position(|&seen| !seen);
        assert_eq!(missing, None, "that line is missing; {} of {} came", self.count(), self.lines.len());
    }
}

/// The request id in a line of any format: 56 characters that end in `==`.
pub(crate) fn id_in(line: &[u8]) -> Option<&[u8]> {
    ids(line).next()
}

/// All request ids in a text or an aggregate.
pub(crate) fn ids(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let found = bytes[at..].windows(2).position(|pair| pair == b"==")?;
            at += found + 2;
            if let Some(id) = at.checked_sub(request_id::LENGTH).map(|start| &bytes[start..at])
                && request_id::decode(id).is_some()
            {
                return Some(id);
            }
        }
    })
}

/// How often to do something: normally, or with `PIXEL_ENGINE_SOAK=1`.
pub(crate) fn soak(normal: u64, long: u64) -> u64 {
    if std::env::var("PIXEL_ENGINE_SOAK").is_ok_and(|value| value == "1") { long } else { normal }
}

/// Which of the first lines of a `realtime-46` log arrive at a stream. The lines themselves are not
/// kept, so that a million of them need little memory.
pub(crate) struct Arrivals(Arc<Mutex<Noted>>);

struct Noted {
    /// Of each line as it was written.
    hashes: Vec<u64>,
    /// How often each came.
    times: Vec<u64>,
    /// The first one that nobody wrote.
    strange: Option<String>,
}

impl Arrivals {
    /// From now on, the stream keeps nothing itself.
    pub(crate) fn at(stream: &DeliveryStream, count: u64) -> Arrivals {
        let chunk = |first: u64| log_from("realtime-46", first, (count - first).min(10_000));
        let chunks = (0..count).step_by(10_000).map(chunk);
        let hashes: Vec<u64> = chunks.flat_map(|text| lines(&text).map(hash_of).collect::<Vec<_>>()).collect();
        let noted = Arc::new(Mutex::new(Noted { times: vec![0; hashes.len()], hashes, strange: None }));
        let to = Arc::clone(&noted);
        stream.hand_over(move |arrival| to.lock().expect("no panic").note(arrival.data));
        Arrivals(noted)
    }

    /// How many different lines came.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().expect("no panic").times.iter().filter(|times| **times > 0).count() as u64
    }

    /// How many lines came beyond those.
    pub(crate) fn duplicates(&self) -> u64 {
        self.0.lock().expect("no panic").times.iter().map(|times| times.saturating_sub(1)).sum()
    }

    /// Waits for the lines with these numbers, as long as more of them come, and holds that nothing
    /// came that nobody wrote.
    #[track_caller]
    pub(crate) fn wait_for(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut missing: Vec<u64> = numbers.into_iter().collect();
        let mut last = Instant::now();
        while !missing.is_empty() {
            let before = missing.len();
            {
                let noted = self.0.lock().expect("no panic");
                missing.retain(|number| noted.times[*number as usize] == 0);
            }
            if missing.len() < before {
                last = Instant::now();
            }
            let is_quiet = last.elapsed() > Duration::from_secs(30);
            assert!(!is_quiet, "{} lines are missing, and none came for 30 s; line {}", missing.len(), missing[0]);
            thread::sleep(Duration::from_millis(20));
        }
        let strange = self.0.lock().expect("no panic").strange.clone();
        assert_eq!(strange, None, "nobody wrote that line");
    }
}

impl Noted {
    fn note(&mut self, record: &[u8]) {
        for line in lines(record) {
            let number = id_in(line).and_then(number_of).map(|number| number as usize);
            match number {
                Some(number) if self.hashes.get(number) == Some(&hash_of(line)) => self.times[number] += 1,
                _ => self.strange = Some(String::from_utf8_lossy(line).into_owned()),
            }
        }
    }
}

/// The number of the line with that id.
pub(crate) fn number_of(id: &[u8]) -> Option<u64> {
    request_id::decode(id).filter(|(seed, _)| *seed == SEED).map(|(_, number)| number)
}

fn hash_of(line: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(line);
    hasher.finish()
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(status.expect("there is `kill`").success());
}

/// A child that does not outlive the test, whichever way that ends.
pub(crate) struct Guarded(Option<Child>);

impl Guarded {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Guarded {
        Guarded(Some(command.spawn().expect("it starts")))
    }

    /// The child, for whoever waits for its end.
    pub(crate) fn take(mut self) -> Child {
        self.0.take().expect("it is taken once")
    }
}

impl Deref for Guarded {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("it is taken by value")
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is taken by value")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until that is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "after 30 s, not yet: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// To the real stderr: the test runner keeps what `eprintln!` says of a test that passes to itself.
pub(crate) fn skipped(what: &str) {
    let _ = writeln!(io::stderr(), "skipped, {what}");
}

/// A file that others wrote, beside the project; `None`, said on stderr, where it is absent.
pub(crate) fn fixture(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures").join(name);
    if File::open(&path).is_err() {
        skipped(&format!("a real input: {} is absent", path.display()));
        return None;
    }
    Some(path)
}

/// What a network, a proxy or an overloaded service does to one request.
pub(crate) struct RequestFault {
    pub(crate) fault: Fault,
    /// A part of the name under which a run counts it.
    pub(crate) counted_as: &'static str,
    /// Whether the records are stored nevertheless.
    pub(crate) stored: bool,
}

/// Every fault of a request; after each, a run sends the request again.
pub(crate) fn request_faults() -> Vec<RequestFault> {
    let fault = |fault, counted_as, stored| RequestFault { fault, counted_as, stored };
    vec![
        fault(Fault::ResetBeforeBody, "ConnectionFailed", false),
        fault(Fault::ResetAfterBody { stored: false }, "ConnectionFailed", false),
        fault(Fault::ResetAfterBody { stored: true }, "ConnectionFailed", true),
        fault(Fault::NeverReply { stored: true }, "Timeout", true),
        fault(Fault::NeverReply { stored: false }, "Timeout", false),
        fault(Fault::Truncated, "", true),
        fault(Fault::Malformed, "MalformedReply", true),
        fault(Fault::WrongCount, "MalformedReply", true),
        fault(Fault::ProxyUnavailable, "HTTP 503", false),
        fault(Fault::internal_failure(), "InternalFailure", false),
        fault(Fault::service_unavailable(), "ServiceUnavailableException", false),
        fault(Fault::throttling(), "ThrottlingException", false),
        fault(Fault::limit_exceeded(), "LimitExceededException", false),
        fault(Fault::provisioned_throughput_exceeded(), "ProvisionedThroughputExceededException", false),
    ]
}
