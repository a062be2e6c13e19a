use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::fake_lambda::{Answer, FakeLambda, without_own_variables};
use crate::peers::lambda_emulators;
use crate::support::{Guarded, OUT, Seen, Workspace, lines, log, wait_until, without_headers};

/// The event with these records.
fn event<T: AsRef<[u8]>>(records: &[T]) -> Vec<u8> {
    let record = |(number, data): (usize, &T)| {
        json!({
            "recordId": format!("{number:056}"),
            "approximateArrivalTimestamp": 1_510_772_160_000_u64,
            "data": BASE64.encode(data),
            "kinesisRecordMetadata": { "shardId": "shardId-000000000000", "partitionKey": "4d1ad2b9" },
        })
    };
    let records: Vec<Value> = records.iter().enumerate().map(record).collect();
    let stream = "arn:aws:firehose:us-east-1:123456789012:deliverystream/beacons";
    let event = json!({ "invocationId": "i", "deliveryStreamArn": stream, "region": "us-east-1", "records": records });
    event.to_string().into_bytes()
}

/// The result and the data of each record of a reply, which must have each once and in order.
#[track_caller]
fn results(reply: &Value, count: usize) -> Vec<(String, Vec<u8>)> {
    let records = reply["records"].as_array().unwrap_or_else(|| panic!("no reply: {reply}"));
    assert_eq!(records.len(), count);
    let result = |(number, record): (usize, &Value)| {
        assert_eq!(record["recordId"], format!("{number:056}"));
        let data = BASE64.decode(record["data"].as_str().expect("there is data")).expect("base64");
        (record["result"].as_str().expect("a result").to_owned(), data)
    };
    records.iter().enumerate().map(result).collect()
}

/// What all records that are `Ok` hold, joined.
fn delivered(results: &[(String, Vec<u8>)]) -> Vec<u8> {
    results.iter().filter(|result| result.0 == "Ok").flat_map(|result| result.1.iter().copied()).collect()
}

/// The arguments of `ingest` that mean the same as these variables.
fn arguments<'a>(variables: &[(&'a str, &'a str)]) -> Vec<String> {
    let flag = |(name, value): &(&str, &str)| {
        let name = name.strip_prefix("PIXEL_ENGINE_").filter(|name| *name != "LAMBDA")?.to_lowercase();
        let name = format!("--{}", name.replace('_', "-"));
        Some(if *value == "true" { vec![name] } else { vec![name, (*value).to_owned()] })
    };
    variables.iter().filter_map(flag).flatten().collect()
}

const TRANSFORM: (&str, &str) = ("PIXEL_ENGINE_LAMBDA", "transform");

#[test]
fn lines_become_what_ingest_makes_of_them() {
    for (shape, variables) in [
        ("realtime-46", vec![]),
        ("pixel-4", vec![]),
        ("standard-json", vec![]),
        ("realtime-40", vec![("PIXEL_ENGINE_SELECT", "timestamp,c-ip,query.e,query.url")]),
        ("realtime-46", vec![("PIXEL_ENGINE_MATCH", "sc-status=200"), ("PIXEL_ENGINE_ENCODE", "raw")]),
        (
            "realtime-46",
            vec![
                ("PIXEL_ENGINE_MASK_IP", "true"),
                ("PIXEL_ENGINE_HASH", "x-edge-request-id"),
                ("PIXEL_ENGINE_HASH_KEY", "sixteen characters"),
                ("PIXEL_ENGINE_DROP", "cs-cookie"),
            ],
        ),
    ] {
        let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
        let log = log(shape, 3_000);
        workspace.write("log", &log);
        let arguments = arguments(&variables);
        let encode =
            if variables.iter().any(|it| it.0.ends_with("ENCODE")) { vec![] } else { vec!["--encode", "jsonl"] };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(encode).chain(["log"]).collect();
        workspace.ingest(&arguments).ok();

        let variables: Vec<_> = variables.into_iter().chain([TRANSFORM]).collect();
        let _function = Guarded::start(&mut lambda.function(&workspace, &variables));
        // A line a record, some without a newline, and then several.
        let all: Vec<&[u8]> = lines(&log).collect();
        let single = all[..1_500].iter().enumerate();
        let mut records: Vec<Vec<u8>> = single.map(|(number, line)| line[..line.len() - number % 2].to_vec()).collect();
        records.extend(all[1_500..].chunks(7).map(<[&[u8]]>::concat));
        let mut became = Vec::new();
        for records in records.chunks(400) {
            became.extend(delivered(&results(&lambda.reply(event(records)), records.len())));
        }
        assert!(!became.is_empty() && became == workspace.delivered(OUT), "{shape}, {variables:?}");
        assert_eq!(lambda.violations(), Vec::<String>::new());
    }
}

#[test]
fn no_line_of_large_events_is_lost_or_comes_twice() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let mut function = lambda.function(&workspace, &[TRANSFORM]);
    let function = Guarded::start(&mut function);
    let log = without_headers(&log("realtime-46", 6_000));
    let records: Vec<&[u8]> = lines(&log).collect();
    // As much as Lambda takes, of which the JSON does not fit into a reply.
    let mut count = records.len();
    while event(&records[..count]).len() > 6 * 1_024 * 1_024 {
        count -= 50;
    }
    assert!(count > 3_000, "{count}");
    let results = results(&lambda.reply(event(&records[..count])), count);
    let mut seen = Seen::new(count as u64);
    for (result, data) in &results {
        assert!(result == "Ok" && data.starts_with(b"{") || result == "ProcessingFailed" && !data.starts_with(b"{"));
        seen.ids_in(data);
    }
    seen.all();
    let failed = results.iter().filter(|result| result.0 == "ProcessingFailed").count();
    assert!(failed > 0 && failed < count, "{failed} of {count}");
    // A megabyte, as Firehose sends unless told otherwise, fits.
    let some = 1_024 * 1_024 / (log.len() / records.len());
    let results = self::results(&lambda.reply(event(&records[..some])), some);
    assert!(results.iter().all(|result| result.0 == "Ok"));
    assert_eq!(lambda.violations(), Vec::<String>::new());
    drop(lambda);
    let run = workspace.wait(function.take());
    run.says(&[&format!("{failed} of {count} records go to Firehose's error prefix"), "BufferSizeInMBs"]);
}

#[test]
fn bad_lines_are_told_and_kept() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let function = Guarded::start(&mut lambda.function(&workspace, &[TRANSFORM]));
    let good = b"1767571200.068\t203.0.113.9\tcurl/8.0\te=pv\n".to_vec();
    let mixed = [good.clone(), b"bad\n".to_vec(), good.clone()].concat();
    let records = [good.clone(), mixed.clone(), good];
    let results = results(&lambda.reply(event(&records)), 3);
    assert_eq!(results[1], ("ProcessingFailed".to_owned(), mixed));
    assert!(results[0].0 == "Ok" && results[0] == results[2]);
    drop(lambda);
    let id = format!("record {:056}: at byte 41: 1 column", 1);
    workspace.wait(function.take()).says(&["1 of 3 records go to Firehose's error prefix", &id]);

    let lambda = FakeLambda::start();
    let variables = [TRANSFORM, ("PIXEL_ENGINE_ON_BAD_LINE", "skip")];
    let function = Guarded::start(&mut lambda.function(&workspace, &variables));
    let results = self::results(&lambda.reply(event(&records)), 3);
    assert!(results[1].0 == "Ok" && results[1].1 == results[0].1.repeat(2));
    drop(lambda);
    workspace.wait(function.take()).says(&["1 bad lines are left out"]);
}

#[test]
fn records_have_the_partition_keys_that_are_asked_for() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let variables = [TRANSFORM, ("PIXEL_ENGINE_PARTITION_KEYS", "date,hour,query.c")];
    let _function = Guarded::start(&mut lambda.function(&workspace, &variables));
    let line = |query: &str| format!("1767571200.068\t203.0.113.9\tcurl/8.0\t{query}\n");
    let records = [line("c=a%252Fb"), line("e=pv"), line("c=a") + &line("c=a"), line("c=a") + &line("c=b")];
    let reply = lambda.reply(event(&records));
    assert_eq!(
        results(&reply, 4).iter().map(|it| it.0.as_str()).collect::<Vec<_>>(),
        ["Ok", "Ok", "Ok", "ProcessingFailed"]
    );
    for (record, campaign) in [(0, "a%2Fb"), (1, "-"), (2, "a")] {
        let keys = json!({ "partitionKeys": { "date": "2026-01-05", "hour": "00", "query_c": campaign } });
        assert_eq!(reply["records"][record]["metadata"], keys);
    }
    assert_eq!(reply["records"][3].get("metadata"), None);
}

#[test]
fn it_is_soon_ready_and_stays_small() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let begun = Instant::now();
    let function = Guarded::start(&mut lambda.function(&workspace, &[TRANSFORM]));
    lambda.wait_until_asked();
    let ready = begun.elapsed();
    let log = without_headers(&log("realtime-46", 3_500));
    let records: Vec<&[u8]> = lines(&log).collect();
    for _ in 0..5 {
        assert!(matches!(lambda.invoke(event(&records)), Answer::Reply(_)));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", function.id())).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    // Of a build for tests, on a machine that does much else.
    assert!(ready < Duration::from_secs(2) && peak < 90_000, "{ready:?}, {peak} kB");
}

/// Asks the function of an emulator on that port, and holds it to its answers.
#[track_caller]
fn is_a_function(port: u16, function: &str) {
    let log = without_headers(&log("realtime-46", 1_000));
    let records: Vec<&[u8]> = lines(&log).collect();
    for _ in 0..3 {
        let reply: Value = serde_json::from_slice(&invoke(port, function, &event(&records))).expect("JSON");
        let mut seen = Seen::new(1_000);
        seen.ids_in(&delivered(&results(&reply, 1_000)));
        seen.all();
    }
    let error: Value = serde_json::from_slice(&invoke(port, function, b"{\"key1\":\"value1\"}")).expect("JSON");
    assert_eq!(error["errorType"], "Function.UnexpectedEvent", "{error}");
    let reply: Value = serde_json::from_slice(&invoke(port, function, &event(&[""]))).expect("JSON");
    assert_eq!(results(&reply, 1)[0].0, "Dropped");
}

/// From `bootstrap` on, as it is in the zip.
#[test]
fn it_is_a_function_to_the_runtime_interface_emulator() {
    let workspace = Workspace::new();
    workspace.write("bootstrap", include_bytes!("../deploy/lambda/bootstrap"));
    fs::set_permissions(workspace.path("bootstrap"), fs::Permissions::from_mode(0o755)).expect("executable");
    fs::copy(env!("CARGO_BIN_EXE_pixel-engine"), workspace.path("pixel-engine")).expect("a copy");
    let (port, api_port) = (free_port(), free_port());
    let mut command = Command::new(&lambda_emulators().runtime_interface);
    command.args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")]);
    command.args(["--runtime-api-address", &format!("127.0.0.1:{api_port}"), "--log-level", "error"]);
    command.arg(workspace.path("bootstrap")).current_dir(workspace.path("."));
    without_own_variables(&mut command).env("LAMBDA_TASK_ROOT", workspace.path("")).envs([TRANSFORM]);
    let _emulator = Guarded::start(&mut command);
    is_a_function(port, "function");
}

#[test]
fn it_is_a_function_to_cargo_lambda() {
    let workspace = Workspace::new();
    let manifest = "[package]\nname = \"it\"\nversion = \"0.1.0\"\n[[bin]]\nname = \"it\"\npath = \"it.rs\"\n";
    workspace.write("Cargo.toml", manifest.as_bytes());
    workspace.write("it.rs", b"fn main() {}");
    let port = free_port();
    let mut command = Command::new(&lambda_emulators().cargo_lambda);
    command.args(["lambda", "watch", "--only-lambda-apis", "--quiet", "--invoke-address", "127.0.0.1"]);
    command.args(["--invoke-port", &port.to_string()]).current_dir(workspace.path("."));
    let _emulator = Guarded::start(&mut command);
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut function = workspace.command(&["lambda"]);
    without_own_variables(&mut function).envs([TRANSFORM]);
    // As it asks for.
    function.env("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{port}/.rt"));
    let _function = Guarded::start(&mut function);
    is_a_function(port, "_");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port()
}

/// Invokes the function of an emulator on that port.
fn invoke(port: u16, function: &str, event: &[u8]) -> Vec<u8> {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) if begun.elapsed() < Duration::from_secs(30) => thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("the emulator does not answer: {error}"),
        }
    };
    let head = format!(
        "POST /2015-03-31/functions/{function}/invocations HTTP/1.0\r\nHost: 127.0.0.1\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        event.len()
    );
    stream.write_all(&[head.as_bytes(), event].concat()).expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head");
    answer[end + 4..].to_vec()
}
