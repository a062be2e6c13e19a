//! Other people's programs, as black boxes: KPL packers and unpackers, and readers of delivered
//! objects.
//!
//! Each is prepared on first use below `target/peers/`: a virtual environment, `npm ci`, a Maven
//! build. A machine without node or Maven skips those peers and says so, unless [`REQUIRE`] is set,
//! as CI does; python3 is always needed. `README.md` has the contracts.

mod agree;
mod emulator;
mod parquet;
mod sql;
mod template;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub(crate) use emulator::{Emulator, kinesis_local, moto, self_signed};
pub(crate) use parquet::{Origin, check_parquet, rows_by, same_rows, write_parquet};
pub(crate) use sql::{Row, read_ddl, run_sql};
pub(crate) use template::{ReadTemplate, query_table, read_template, run_handler, validate_calls};

/// Set to 1, a peer that cannot run on this machine fails its tests instead of being skipped.
pub(crate) const REQUIRE: &str = "PIXEL_ENGINE_REQUIRE_PEERS";

/// What goes into an aggregate.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct NewRecord<'a> {
    pub(crate) partition_key: &'a str,
    pub(crate) explicit_hash_key: Option<&'a str>,
    #[serde(serialize_with = "to_base64")]
    pub(crate) data: &'a [u8],
}

/// What a peer found in a record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct UserRecord {
    /// Which of the entries it was in, from 0.
    pub(crate) record: usize,
    pub(crate) partition_key: String,
    pub(crate) explicit_hash_key: Option<String>,
    /// False when the peer passed the record through as it was: no aggregate, or a damaged one.
    pub(crate) aggregated: bool,
    /// The place in the aggregate, from 0.
    pub(crate) sub_sequence_number: Option<u64>,
    #[serde(deserialize_with = "from_base64")]
    pub(crate) data: Vec<u8>,
}

/// What objects hold, and what to report of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading<'a> {
    /// The number of columns of a TSV line; `None` for JSON lines.
    pub(crate) columns: Option<usize>,
    /// The column whose values to report: its number from 0, or the JSON key; `/a/b` is key `b` of
    /// object `a`.
    pub(crate) column: Option<&'a str>,
    /// List the values too, and not only their count and digest.
    pub(crate) values: bool,
    /// Columns or keys to add up.
    pub(crate) sums: &'a [&'a str],
    /// Lines that are not UTF-8 are read too, each byte as the latin-1 character that it would be.
    pub(crate) any_bytes: bool,
}

/// What DuckDB read, and what Python's decompressors counted in the same objects.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Objects {
    pub(crate) objects: u64,
    /// Lines, by both.
    pub(crate) rows: u64,
    /// Gzip members and zstd frames; one for an object that is not compressed.
    pub(crate) members: u64,
    /// Members after which the next one begins in the middle of a line, or the object ends without
    /// a newline.
    pub(crate) members_not_at_line_end: u64,
    /// Decompressed bytes.
    pub(crate) bytes: u64,
    /// The most memory that a member asks its reader for; past 8 MiB the object counts as
    /// unreadable.
    pub(crate) largest_window: u64,
    pub(crate) column: Option<Column>,
    pub(crate) sums: BTreeMap<String, Sum>,
    /// The schema that DuckDB infers from JSON lines.
    #[serde(default)]
    pub(crate) types: BTreeMap<String, String>,
}

/// The values of one column.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Column {
    pub(crate) present: u64,
    pub(crate) absent: u64,
    pub(crate) distinct: u64,
    /// Over the values in the order of their bytes, each with a newline: `sort | sha256sum` gives
    /// the same.
    pub(crate) sha256: String,
    /// In the order of their bytes; empty unless [`Reading::values`] asks for them.
    #[serde(default)]
    pub(crate) values: Vec<String>,
}

/// The numbers of one column; what is no number is left out.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

/// The user records that PyPI `aws_kinesis_agg` finds in PutRecords entries, given as JSON lines.
pub(crate) fn python_deaggregate(entries: &str) -> Vec<UserRecord> {
    from_lines(&run(&mut python("kpl_deaggregate.py"), entries.as_bytes()))
}

/// PutRecords entries as JSON lines, packed by PyPI `aws_kinesis_agg` into aggregates of at most
/// `max_size` bytes.
pub(crate) fn python_aggregate(records: &[NewRecord], max_size: usize) -> String {
    let mut command = python("kpl_aggregate.py");
    text(run(command.args(["--max-size", &max_size.to_string()]), to_lines(records).as_bytes()))
}

/// The user records that npm `aws-kinesis-agg` finds; `None` without node.
pub(crate) fn node_deaggregate(entries: &str) -> Option<Vec<UserRecord>> {
    Some(from_lines(&run(&mut node("deaggregate.js")?, entries.as_bytes())))
}

/// PutRecords entries as JSON lines, packed by npm `aws-kinesis-agg` into aggregates of at most 1
/// MiB; `None` without node.
pub(crate) fn node_aggregate(records: &[NewRecord]) -> Option<String> {
    Some(text(run(&mut node("aggregate.js")?, to_lines(records).as_bytes())))
}

/// The user records that a consumer on the Kinesis Client Library is handed; `None` without a JDK
/// or Maven.
///
/// `range` is the first and the last hash key of its shard: of an aggregate that reaches outside,
/// nothing comes.
pub(crate) fn kcl_deaggregate(entries: &str, range: Option<(u128, u128)>) -> Option<Vec<UserRecord>> {
    let mut command = kcl()?;
    if let Some((first, last)) = range {
        command.args([first.to_string(), last.to_string()]);
    }
    Some(from_lines(&run(&mut command, entries.as_bytes())))
}

/// Java with the MultiLangDaemon of the Kinesis Client Library, which `deploy/kcl` fetches, up to its
/// arguments; `None` without a JDK or Maven.
pub(crate) fn multi_lang_daemon() -> Option<Command> {
    static PREPARED: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        if !installed("the MultiLangDaemon", &["java", "mvn"], "default-jdk-headless maven")? {
            return Ok(None);
        }
        let files = [("pom.xml", include_str!("../../deploy/kcl/pom.xml"))];
        prepare("multilang", &files, "", |folder| {
            try_run(Command::new("sh").args(["-c", "mvn -q -B process-resources >&2"]).current_dir(folder), b"")
        })
        .map(Some)
    });
    let folder = prepared.as_ref().unwrap_or_else(|message| panic!("{message}")).as_ref()?;
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(format!("{}/lib/*", folder.display())).arg("software.amazon.kinesis.multilang.MultiLangDaemon");
    Some(command)
}

/// What AWS's SDK for Python makes of the replies to these calls, with these environment variables;
/// see `README.md`.
pub(crate) fn aws_calls(environment: &[(&'static str, String)], calls: &[Value]) -> Vec<Value> {
    let calls: String = calls.iter().map(|call| format!("{call}\n")).collect();
    let mut command = python("aws_calls.py");
    let answers = text(run(command.envs(environment.iter().cloned()), calls.as_bytes()));
    answers.lines().map(|answer| serde_json::from_str(answer).expect("an answer is JSON")).collect()
}

/// A family of metrics as `prometheus_client` for Python reads it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MetricFamily {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) help: String,
    /// Name, labels and value.
    pub(crate) samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// What Prometheus's text format says.
pub(crate) fn read_metrics(metrics: &str) -> Vec<MetricFamily> {
    let families = text(run(&mut python("read_metrics.py"), metrics.as_bytes()));
    families.lines().map(|line| serde_json::from_str(line).expect("a family is JSON")).collect()
}

/// The documents of a YAML file.
pub(crate) fn read_yaml(yaml: &str) -> Vec<Value> {
    let documents = text(run(&mut python("read_yaml.py"), yaml.as_bytes()));
    documents.lines().map(|line| serde_json::from_str(line).expect("a document is JSON")).collect()
}

/// What crawler-user-agents and ua-parser say of a user agent.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PeerAgent {
    pub(crate) is_crawler: bool,
    /// Of the first entry that matches.
    pub(crate) tags: Vec<String>,
    /// Family and major version.
    pub(crate) browser: Option<(String, Option<String>)>,
    pub(crate) system: Option<String>,
}

/// User agents as the code of the lists reads them.
pub(crate) fn read_agents(user_agents: &[String]) -> Vec<PeerAgent> {
    let input: String = user_agents.iter().map(|it| serde_json::json!({"user_agent": it}).to_string() + "\n").collect();
    let agents = text(run(&mut python("read_agents.py"), input.as_bytes()));
    agents.lines().map(|line| serde_json::from_str(line).expect("an agent is JSON")).collect()
}

/// What DuckDB counts in the lines of a log with those fields.
pub(crate) fn count_beacons(log: &Path, fields: &str) -> Value {
    let counted = text(run(python("count_beacons.py").arg(log).args(["--fields", fields]), b""));
    serde_json::from_str(&counted).expect("counts are JSON")
}

/// What DuckDB counts of advertisements and revenue in the lines of a log with those fields.
pub(crate) fn count_advertisements(log: &Path, fields: &str, networks: &Path) -> Value {
    let mut script = python("count_advertisements.py");
    script.arg(log).args(["--fields", fields]).arg("--networks").arg(networks);
    serde_json::from_str(&text(run(&mut script, b""))).expect("counts are JSON")
}

/// The user agents that crawler-user-agents has as examples of its bots.
pub(crate) fn examples_of_bots() -> Vec<String> {
    let examples = text(run(python("read_agents.py").arg("--examples"), b""));
    examples.lines().map(|line| serde_json::from_str(line).expect("an example is JSON")).collect()
}

/// What axe-core and a browser say of a page, in one colour scheme and at one width.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CheckedPage {
    pub(crate) width: u32,
    pub(crate) scheme: String,
    /// The colour behind the text.
    pub(crate) ground: String,
    /// axe-core's rules, each with the first element that breaks it.
    pub(crate) violations: Vec<String>,
    /// Boxes that scroll sideways.
    pub(crate) scrolling: usize,
    /// Those of them that no keyboard reaches, or that have no name.
    pub(crate) unreachable: Vec<String>,
    /// How much wider than the window the page is, in pixels; without a scroll bar, 0 or less.
    pub(crate) overflow: i32,
    /// What was loaded beside the page.
    pub(crate) requests: Vec<String>,
    /// What the console shows.
    pub(crate) errors: Vec<String>,
    pub(crate) paper: Paper,
}

/// The page as it is printed from that scheme.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Paper {
    pub(crate) color: String,
    pub(crate) ground: String,
    /// Charts that reach over the edge.
    pub(crate) cut: usize,
}

/// What a reader of a live report sees and keeps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct WatchedPage {
    /// The first figure, before and after a beacon.
    pub(crate) before: String,
    pub(crate) after: String,
    /// Whether what was opened, focused and scrolled is so after it.
    pub(crate) is_open: bool,
    pub(crate) is_focused: bool,
    pub(crate) is_scrolled: bool,
    /// How often numbers were asked for in seconds in which the page was hidden, and after these.
    pub(crate) hidden: u32,
    pub(crate) shown: u32,
}

/// A live report in a browser, while a beacon is sent to that pixel; `None` without node or chromium.
pub(crate) fn watch_page(url: &str, pixel: &str) -> Option<WatchedPage> {
    if !is_installed("a live report in a browser", &["chromium"], "chromium") {
        return None;
    }
    let watched = run(node("watch_page.js")?.args([url, pixel]), b"");
    Some(serde_json::from_slice(&watched).expect("what was watched is JSON"))
}

/// A page as a browser shows it, on a desktop and on a phone, light and dark: a file, or what a URL
/// leads to. `None` without node or chromium.
pub(crate) fn check_page(page: impl AsRef<OsStr>) -> Option<Vec<CheckedPage>> {
    if !is_installed("axe-core in a browser", &["chromium"], "chromium") {
        return None;
    }
    let checked = text(run(node("check_page.js")?.arg(page), b""));
    Some(checked.lines().map(|line| serde_json::from_str(line).expect("a checked page is JSON")).collect())
}

/// Delivered objects as DuckDB reads them. A path is a file, a folder with all that is below it, or
/// a glob.
///
/// Panics where DuckDB and Python do not find the same lines, and on an object that one of them
/// cannot read.
pub(crate) fn read_objects(paths: &[&Path], reading: &Reading) -> Objects {
    try_read_objects(paths, reading).unwrap_or_else(|message| panic!("{message}"))
}

/// [`read_objects`], with the reader's complaint as a value.
pub(crate) fn try_read_objects(paths: &[&Path], reading: &Reading) -> Result<Objects, String> {
    let mut command = python("read_objects.py");
    match reading.columns {
        Some(columns) => command.args(["--format", "tsv", "--columns", &columns.to_string()]),
        None => command.args(["--format", "jsonl"]),
    };
    if let Some(column) = reading.column {
        command.args(["--column", column]);
    }
    for column in reading.sums {
        command.args(["--sum", column]);
    }
    if reading.values {
        command.arg("--values");
    }
    if reading.any_bytes {
        command.args(["--encoding", "latin-1"]);
    }
    // The paths come last, so that none of them can be taken for an option's value.
    let report = try_run(command.arg("--").args(paths), b"")?;
    Ok(serde_json::from_slice(&report).expect("read_objects.py writes one JSON object"))
}

/// What the program writes to stdout; panics with its stderr when it fails.
pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
    try_run(command, stdin).unwrap_or_else(|message| panic!("{message}"))
}

/// [`run`], with the failure as a value: the program and its stderr.
pub(crate) fn try_run(command: &mut Command, stdin: &[u8]) -> Result<Vec<u8>, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    let mut pipe = child.stdin.take().expect("stdin is piped");
    let output = thread::scope(|scope| {
        // From a thread of its own: a program that answers while it reads would fill stdout's pipe
        // and stop. One that ends before it has read everything says why on stderr, so a broken
        // pipe here says nothing.
        scope.spawn(move || pipe.write_all(stdin));
        child.wait_with_output()
    })
    .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed, {}:\n{}", output.status, stderr.trim_end()))
}

fn python(script: &str) -> Command {
    let mut command = Command::new(virtual_environment().join("bin/python"));
    // -B: nothing is written next to the sources.
    command.arg("-B").arg(source(script));
    command
}

/// Where the Python packages are.
fn virtual_environment() -> &'static Path {
    static PREPARED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        let files = [("requirements.txt", include_str!("requirements.txt"))];
        prepare("venv", &files, &python_version()?, |folder| {
            try_run(Command::new("python3").args(["-m", "venv", "."]).current_dir(folder), b"")?;
            let mut install = Command::new(folder.join("bin/python"));
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
            try_run(install.arg("requirements.txt").current_dir(folder), b"")
        })
    });
    prepared.as_ref().unwrap_or_else(|message| panic!("{message}"))
}

/// Which python3 there is. An environment does not outlive the interpreter that made it.
fn python_version() -> Result<String, String> {
    let probe = "import sys, venv, ensurepip; print(sys.base_prefix, sys.version)";
    let version = try_run(Command::new("python3").args(["-c", probe]), b"").map_err(|message| {
        if on_path("python3") {
            format!("python3 cannot make a virtual environment (Debian: `apt-get install python3-venv`)\n{message}")
        } else {
            "python3 is not installed, and the tests need it (Debian: `apt-get install python3-venv`)".to_owned()
        }
    })?;
    Ok(text(version))
}

fn node(script: &str) -> Option<Command> {
    let mut command = Command::new("node");
    command.env("NODE_PATH", node_modules()?).arg(source("node").join(script));
    Some(command)
}

/// Where the npm packages are; `None` without node.
fn node_modules() -> Option<PathBuf> {
    static PREPARED: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        if !installed("npm aws-kinesis-agg, kinesis-local and axe-core", &["node", "npm"], "nodejs npm")? {
            return Ok(None);
        }
        let files = [
            (".npmrc", include_str!("node/.npmrc")),
            ("package.json", include_str!("node/package.json")),
            ("package-lock.json", include_str!("node/package-lock.json")),
        ];
        prepare("node", &files, "", |folder| try_run(Command::new("npm").arg("ci").current_dir(folder), b"")).map(Some)
    });
    let folder = prepared.as_ref().unwrap_or_else(|message| panic!("{message}")).as_ref()?;
    Some(folder.join("node_modules"))
}

fn kcl() -> Option<Command> {
    static PREPARED: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        if !installed("the Kinesis Client Library", &["java", "javac", "mvn"], "default-jdk-headless maven")? {
            return Ok(None);
        }
        let files = [
            ("pom.xml", include_str!("kcl/pom.xml")),
            ("src/main/java/Deaggregate.java", include_str!("kcl/src/main/java/Deaggregate.java")),
        ];
        prepare("kcl", &files, "", |folder| {
            // Maven writes its errors to stdout.
            try_run(Command::new("sh").args(["-c", "mvn -q -B process-classes >&2"]).current_dir(folder), b"")
        })
        .map(Some)
    });
    let folder = prepared.as_ref().unwrap_or_else(|message| panic!("{message}")).as_ref()?.join("target");
    let mut command = Command::new("java");
    // It lives for a moment: the optimizing compiler and a parallel collector would only cost.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(format!("{0}/classes:{0}/dependency/*", folder.display())).arg("Deaggregate");
    Some(command)
}

/// Programs that stand for Lambda.
pub(crate) struct LambdaEmulators {
    /// AWS's runtime interface emulator, built from the service's own code.
    pub(crate) runtime_interface: PathBuf,
    /// `cargo lambda`, whose `watch` is a Runtime API.
    pub(crate) cargo_lambda: PathBuf,
}

/// Emulators of Lambda. The first is built with the Go that PyPI has, as Debian's is too old for it.
pub(crate) fn lambda_emulators() -> &'static LambdaEmulators {
    static PREPARED: OnceLock<Result<LambdaEmulators, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        let files = [
            ("requirements.txt", include_str!("lambda/requirements.txt")),
            ("go.mod", include_str!("lambda/go.mod")),
            ("go.sum", include_str!("lambda/go.sum")),
        ];
        let folder = prepare("lambda", &files, &python_version()?, |folder| {
            try_run(Command::new("python3").args(["-m", "venv", "."]).current_dir(folder), b"")?;
            // Without what cargo lambda compiles functions with.
            let mut install = Command::new(folder.join("bin/python"));
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
            try_run(install.args(["-r", "requirements.txt"]).current_dir(folder), b"")?;
            let module = "github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie";
            let mut build = Command::new(folder.join("bin/go"));
            build.args(["build", "-mod=readonly", "-o", "bin/", module]);
            try_run(build.current_dir(folder), b"")
        })?;
        Ok(LambdaEmulators {
            runtime_interface: folder.join("bin/aws-lambda-rie"),
            cargo_lambda: folder.join("bin/cargo-lambda"),
        })
    });
    prepared.as_ref().unwrap_or_else(|message| panic!("{message}"))
}

/// A folder below `target/peers` that holds `files` and what `set_up` makes of them.
///
/// It is made anew when the files or the `version` of the tool change. The lock is the file
/// system's, since several test programs may start at once, and it goes with the process that holds
/// it; the marker is written last, so that what a killed run left behind is never taken for
/// complete.
fn prepare(
    name: &str,
    files: &[(&str, &str)],
    version: &str,
    set_up: impl FnOnce(&Path) -> Result<Vec<u8>, String>,
) -> Result<PathBuf, String> {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers");
    let folder = peers.join(name);
    let marker = folder.join("prepared");
    let wanted = files.iter().fold(version.to_owned(), |all, (name, content)| format!("{all}\n{name}\n{content}"));
    let failed = |error: io::Error| format!("cannot prepare {}: {error}", folder.display());

    fs::create_dir_all(&peers).map_err(failed)?;
    let lock = File::create(peers.join(format!("{name}.lock"))).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    note(&format!("preparing {}: this downloads packages, once", folder.display()));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    for (name, content) in files {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().expect("a file is in a folder")).map_err(failed)?;
        fs::write(file, content).map_err(failed)?;
    }
    set_up(&folder)?;
    fs::write(&marker, wanted).map_err(failed)?;
    Ok(folder)
}

/// Whether a peer's programs are there; says what is skipped when they are not, or fails where none
/// may be.
fn installed(peer: &str, programs: &[&str], packages: &str) -> Result<bool, String> {
    let Some(missing) = programs.iter().find(|program| !on_path(program)) else { return Ok(true) };
    let reason = format!("{missing} is not installed (Debian: `apt-get install {packages}`)");
    if std::env::var(REQUIRE).is_ok_and(|value| !matches!(value.as_str(), "" | "0")) {
        return Err(format!("{peer} cannot run, and {REQUIRE} is set: {reason}"));
    }
    note(&format!("skipped, {peer}: {reason}"));
    Ok(false)
}

/// Whether programs that need no preparation are there, which says the same of them.
#[track_caller]
pub(crate) fn is_installed(peer: &str, programs: &[&str], packages: &str) -> bool {
    installed(peer, programs, packages).unwrap_or_else(|message| panic!("{message}"))
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// To the real stderr: the test runner keeps what `eprintln!` says of a test that passes to itself.
fn note(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

fn source(name: &str) -> PathBuf {
    // The package of this test is `cli`, next to `tests`.
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tests").join("peers").join(name)
}

fn to_lines(records: &[NewRecord]) -> String {
    records.iter().map(|record| serde_json::to_string(record).expect("a record is JSON") + "\n").collect()
}

fn from_lines(lines: &[u8]) -> Vec<UserRecord> {
    let records = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    records.map(|line| serde_json::from_slice(line).expect("a peer writes user records as JSON lines")).collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("a peer writes UTF-8")
}

fn to_base64<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(data))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
