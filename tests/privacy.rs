use std::fs;
use std::time::Duration;

use fake_aws::{Action, FakeAws, Fault};

use crate::support::*;

const KEY: &str = "0123456789abcdef";
const FIELDS: &str =
    "timestamp,c-ip,sc-status,cs-uri-stem,cs-user-agent,cs-cookie,cs-uri-query,x-forwarded-for,x-edge-request-id";
const HEADER: &str = "#Version: 1.0\n#Fields: date time c-ip sc-status cs-uri-stem cs(User-Agent) cs(Cookie) \
    cs-uri-query x-forwarded-for x-edge-request-id\n";
/// What may be nowhere but in the inputs: ids, and the ends of addresses.
const RAW: [&str; 4] = ["secret", "%73ecret", "113.77", "ab12"];
/// Everything that holds any of them.
const TREAT: [&str; 8] = [
    "--mask-ip",
    "--hash",
    "query.u,cs-user-agent",
    "--drop",
    "cs-cookie,query.d",
    "--replace",
    "query.r=x",
    "--fields",
];

/// The columns from c-ip on: every value that is treated holds something raw.
fn columns(number: u64, status: u64, separator: &str) -> String {
    let query = format!("e=pv&u=secret-{number}&%2575=%73ecret-{number}&d=secret&r=secret&n={number}");
    let address = if number.is_multiple_of(2) { "203.0.113.77" } else { "2001:0db8:0001:ab12::0001" };
    let proxies = format!("{address},%20203.0.113.77");
    let values = [
        address,
        &status.to_string(),
        &format!("/p.gif?{query}"),
        "secret%20agent",
        "id=secret",
        &query,
        &proxies,
        "r==",
    ];
    values.join(separator)
}

/// Good lines, filtered ones, and bad ones of every kind.
fn lines_of(begin: &str, until: u64) -> String {
    let line = |number: u64| match number % 10 {
        3 => format!("{begin}\t{}\n", columns(number, 404, "\t")),
        4 => format!("secret-{number} of 203.0.113.77\n"),
        5 => format!("203.0.113.77\t{begin}\t{}\n", columns(number, 200, "\t")),
        6 => format!("secret\t{}\n", columns(number, 200, "\t")),
        7 => format!("{begin}\t\0{}\n", columns(number, 200, "\t")),
        8 => format!("{begin}\t{}{}\n", columns(number, 200, "\t"), "x".repeat(30_000)),
        _ => format!("{begin}\t{}\n", columns(number, 200, "\t")),
    };
    (0..until).map(line).collect()
}

/// The same in JSON.
fn objects(until: u64) -> String {
    let line = |number: u64| match number % 10 {
        4 => format!("{{\"c-ip\":\"203.0.113.77\",\"c-ip\":\"secret-{number}\"}}\n"),
        5 => "{\"secret\":\"203.0.113.77\"}\n".to_owned(),
        6 => format!("{{\"c-ip\":{{\"secret-{number}\":1}}}}\n"),
        _ => {
            let values = columns(number, if number % 10 == 3 { 404 } else { 200 }, "\t");
            let names = FIELDS.split(',').skip(1);
            let pairs = names.zip(values.split('\t')).map(|(name, value)| format!("\"{name}\":\"{value}\""));
            format!("{{\"date\":\"2026-01-02\",{}}}\n", pairs.collect::<Vec<_>>().join(","))
        }
    };
    (0..until).map(line).collect()
}

fn log_of(format: &str, until: u64) -> Vec<u8> {
    let long = format!("secret 203.0.113.77 {}\n", "secret ".repeat(200_000));
    match format {
        "realtime" => lines_of("1767600000.5", until) + &long + "1767600000.5\tsecret",
        "standard" => HEADER.to_owned() + &lines_of("2026-01-02\t03:04:05", until) + &long,
        _ => objects(until),
    }
    .into_bytes()
}

#[track_caller]
fn holds_nothing_raw(what: &str, bytes: &[u8]) {
    for raw in RAW {
        let found = bytes.windows(raw.len()).position(|window| window == raw.as_bytes());
        let around = found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(80)..(at + 40).min(bytes.len())]));
        assert_eq!(around, None, "{raw} in {what}");
    }
}

/// Neither in what the run said nor in any file but the inputs.
#[track_caller]
fn leaves_nothing_raw(workspace: &Workspace, run: &Run) {
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    holds_nothing_raw("stderr", run.stderr.as_bytes());
    holds_nothing_raw("stdout", &run.stdout);
    let files = all_files_below(&workspace.path("."));
    for path in files.iter().filter(|path| path.file_name().is_none_or(|name| name != "in.log")) {
        holds_nothing_raw(&path.display().to_string(), &fs::read(path).expect("a file"));
    }
    // It would hide what it holds in base64.
    for bad in workspace.quarantine() {
        assert!(bad.length.is_some() || bad.is_text(), "{bad:?}");
        assert_eq!(bad.length.is_none(), bad.reason.contains("do not fit"), "{bad:?}");
    }
}

#[test]
fn no_raw_value_is_in_anything_that_a_run_writes() {
    for format in ["realtime", "standard", "json"] {
        for form in [&[][..], &["--encode", "jsonl"], &["--select", "timestamp,c-ip,cs-uri-stem,query.u,cs-cookie"]] {
            for container in ["lines", "kpl"] {
                let workspace = Workspace::new();
                workspace.write("in.log", &log_of(format, 100));
                let common = ["in.log", "--match", "sc-status=200", "--record-size", "20000", "--container", container];
                let arguments =
                    [&common[..], &TREAT, &[FIELDS, "--resume", "checkpoint", "--hash-key", KEY], form].concat();
                let mut command = workspace.ingest_command(&arguments);
                let run = workspace.ingest_with(command.env("PIXEL_ENGINE_LOG", "trace"), b"").ok();
                let summary = run.summary();
                assert!(summary.lines_shipped >= 40 && summary.lines_filtered == 10, "{summary:?}");
                assert!(summary.lines_quarantined >= 20, "{summary:?}");
                leaves_nothing_raw(&workspace, &run);
                if container == "kpl" {
                    // Requests, in base64.
                    let decoded = workspace.decode(&workspace.delivered(OUT)).ok().stdout;
                    assert_eq!(count_lines(&decoded), summary.lines_shipped);
                    holds_nothing_raw("the records", &decoded);
                }
            }
        }
    }
}

#[test]
fn no_raw_value_is_said_of_bad_lines() {
    for (bad, what) in [("fail", 1), ("skip", 4)] {
        for line in
            ["secret 203.0.113.77\n", "secret\t203.0.113.77\n", "secret\t-\t-\t-\t-\t-\t-\t-\t-\n", "{\"secret\":1}\n"]
        {
            let workspace = Workspace::new();
            workspace.write("in.log", line.as_bytes());
            let arguments = [&["in.log", "--on-bad-line", bad], &TREAT[..], &[FIELDS, "--hash-key", KEY]].concat();
            let run = workspace.ingest(&arguments).exits(what);
            leaves_nothing_raw(&workspace, &run);
        }
    }
}

#[test]
fn no_raw_value_is_in_the_spool_and_in_what_is_left_for_the_next_run() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    aws.delivery_stream("beacons");
    workspace.write("in.log", &log_of("realtime", 1_000));
    let ingest = |arguments: &[&str]| {
        let common = ["in.log", "--to", "firehose://beacons", "--resume", "checkpoint", "--endpoint-url"];
        let endpoint = format!("http://{}", aws.address());
        let all = [&common[..], &[&endpoint], &TREAT, &[FIELDS], arguments].concat();
        let mut command = workspace.ingest_command(&all);
        command.envs(aws.environment()).env("PIXEL_ENGINE_HASH_KEY", KEY);
        workspace.ingest_with(&mut command, b"")
    };
    // Without a spool, nothing is delivered; the next run keeps all of it, and the one after sends it.
    aws.deny(&aws.credentials().access_key, Action::PutRecordBatch);
    let failed = ingest(&[]).exits(1);
    leaves_nothing_raw(&workspace, &failed);
    let kept = ingest(&["--spool", "spool", "--give-up-after", "100ms"]).exits(3);
    assert!(kept.summary().lines_spooled > 0);
    leaves_nothing_raw(&workspace, &kept);
    aws.allow(&aws.credentials().access_key, Action::PutRecordBatch);
    aws.delivery_stream("beacons").fault(Fault::Delay(Duration::ZERO));
    let endpoint = format!("http://{}", aws.address());
    let mut ship = workspace.command(&["ship", "spool", "--to", "firehose://beacons", "--endpoint-url", &endpoint]);
    let shipped = run(ship.envs(aws.environment()), b"").ok();
    leaves_nothing_raw(&workspace, &shipped);
    let delivered = aws.delivery_stream("beacons").delivered();
    let text: Vec<u8> = delivered.iter().flat_map(|record| record.data.to_vec()).collect();
    assert_eq!(count_lines(&text), kept.summary().lines_spooled);
    holds_nothing_raw("the stream", &text);
}

#[test]
fn a_line_becomes_what_the_manual_says() {
    let (hash, key) = ("fb385915a0623c0be3e7b0a7134dbb62", ["--hash", "query.u", "--hash-with", "hmac-sha256"]);
    let line = "1767600000.5\t2001:0db8:1:2::3\t/p.gif?u=ann&x=1\tu=ann&x=1\t203.0.113.9,%20unknown\n";
    let wanted = format!("1767600000.5\t2001:db8:1::\t/p.gif?u={hash}&x=1\tu={hash}&x=1\t203.0.113.0,-\n");
    let fields = ["--fields", "timestamp,c-ip,cs-uri-stem,cs-uri-query,x-forwarded-for", "--mask-ip"];
    for key_from in ["flag", "file", "variable"] {
        let workspace = Workspace::new();
        workspace.write("in.log", line.as_bytes());
        workspace.write("key", format!("{KEY}\n").as_bytes());
        let given: &[&str] = match key_from {
            "flag" => &["--hash-key", KEY],
            "file" => &["--hash-key-file", "key"],
            _ => &[],
        };
        let mut command = workspace.ingest_command(&[&["in.log"], &fields[..], &key, given].concat());
        if key_from == "variable" {
            command.env("PIXEL_ENGINE_HASH_KEY", KEY);
        }
        workspace.ingest_with(&mut command, b"").ok();
        assert_eq!(String::from_utf8_lossy(&workspace.delivered(OUT)), wanted, "{key_from}");
    }
}

#[test]
fn the_key_is_shown_nowhere() {
    let workspace = Workspace::new();
    let pipeline = "[pipeline.a]\nto = \"null:\"\nhash = \"c-ip\"\nsource = { type = \"stdin\" }\n";
    let file = format!("hash_key = \"{KEY}\"\n{pipeline}");
    for (name, text, code) in [
        ("good.toml", file.clone(), 0),
        ("number.toml", file.replace(&format!("\"{KEY}\""), "1234567890123456"), 2),
        ("bare.toml", file.replace(&format!("\"{KEY}\""), KEY), 2),
        ("twice.toml", file.clone() + &format!("hash_key_file = \"{KEY}\"\nhash_key = \"{KEY}\"\n"), 2),
    ] {
        workspace.write(name, text.as_bytes());
        for check in [&["--check"][..], &[]] {
            let run = run(&mut workspace.command(&[&["run", "--config", name], check].concat()), b"");
            assert_eq!(run.code, Some(code), "{name}: {}", run.stderr);
            let said = String::from_utf8_lossy(&run.stdout).into_owned() + &run.stderr;
            assert!(!said.contains("1234567890") && !said.contains("abcdef"), "{name}: {said}");
            assert!(name != "good.toml" || check.is_empty() || said.contains("hash_key = \"***\"  # line 1"), "{said}");
        }
    }
    workspace.write("in.log", b"");
    let refused = |arguments: &[&str]| workspace.ingest(&[&["in.log", "--hash", "c-ip"], arguments].concat()).exits(2);
    refused(&[]).says(&["--hash needs --hash-key-file: "]);
    refused(&["--hash-key", "short key"]).says(&["--hash-key: a key of 9 bytes; it needs 16 or more"]);
    assert!(!refused(&["--hash-key", "short key"]).stderr.contains("short key"));
}
