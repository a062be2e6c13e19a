use std::fs;

use fake_aws::{Action, Credentials, FakeAws, Fault};

use crate::support::*;

const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLETOKENEXAMPLE";
const PASSWORD: &str = "correct-horse-battery";

/// What may be nowhere, by name.
fn secrets(aws: &FakeAws) -> [(&'static str, String); 3] {
    let Credentials { secret_key, .. } = aws.credentials().clone();
    [("secret key", secret_key), ("session token", TOKEN.to_owned()), ("password", PASSWORD.to_owned())]
}

#[track_caller]
fn holds_none(aws: &FakeAws, what: &str, bytes: &[u8]) {
    assert!(!bytes.windows(8).any(|bytes| bytes == b"panicked"), "{what}");
    for (name, secret) in secrets(aws) {
        let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
        assert_eq!(found, None, "the {name} is in {what}: {}", String::from_utf8_lossy(bytes));
    }
}

/// Its name, arguments of `ingest`, and what is done to the server.
type Case<'a> = (&'a str, &'a [&'a str], &'a dyn Fn(&FakeAws));

#[test]
fn no_secret_is_in_any_output() {
    // The fault's message is AWS's for a signature that does not match: what it would have signed
    // stands behind it.
    let mismatch = format!(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method.\n\nThe Canonical String for this request should have been\n'POST\n/\n\n\
         x-amz-security-token:{TOKEN}\n'"
    );
    let cases: [Case<'_>; 5] = [
        ("good", &[], &|_| {}),
        ("denied", &["--spool", "spool"], &|aws| {
            aws.deny(&aws.credentials().access_key, Action::PutRecordBatch);
        }),
        ("signature", &[], &|aws| {
            let fault = Fault::error(403, "InvalidSignatureException", mismatch.clone());
            aws.delivery_stream("beacons").fault_on(Action::DescribeDeliveryStream, fault.clone()).fault(fault);
        }),
        ("dead", &["--spool", "spool", "--give-up-after", "300ms"], &|aws| aws.down()),
        ("malformed", &[], &|aws| {
            aws.delivery_stream("beacons").fault(Fault::Malformed);
        }),
    ];
    for (case, arguments, prepare) in cases {
        for (format, token, with_user) in
            [("text", "", false), ("json", "", true), ("text", TOKEN, true), ("json", TOKEN, false)]
        {
            let (aws, workspace) = (FakeAws::start(), Workspace::new());
            aws.delivery_stream("beacons");
            prepare(&aws);
            workspace.write("a.log", &log("realtime-46", 200));
            let user = if with_user { format!("me:{PASSWORD}@") } else { String::new() };
            let endpoint = format!("http://{user}{}", aws.address());
            let common = ["--to", "firehose://beacons", "--log-format", format];
            let ingest = [&["ingest", "a.log", "--summary-json", "summary.json", "--resume", "checkpoint"], arguments];
            for command in [ingest.concat(), vec!["check"], vec!["ship", "spool"]] {
                for in_environment in [true, false] {
                    let mut program = workspace.command(&[&command[..], &common].concat());
                    program.envs(aws.environment()).env("AWS_SESSION_TOKEN", token).env("PIXEL_ENGINE_LOG", "trace");
                    program.env("RUST_BACKTRACE", "1");
                    if in_environment {
                        program.env("AWS_ENDPOINT_URL", &endpoint);
                    } else {
                        program.args(["--endpoint-url", &endpoint]);
                    }
                    let run = run(&mut program, b"");
                    let what = format!("{case}, {command:?}, token `{token}`, user `{user}`");
                    assert!(run.code.is_some_and(|code| code != 101), "{what}: {}", run.stderr);
                    holds_none(&aws, &format!("stdout of {what}"), &run.stdout);
                    holds_none(&aws, &format!("stderr of {what}"), run.stderr.as_bytes());
                }
            }
            for file in all_files_below(&workspace.path(".")) {
                holds_none(&aws, &file.display().to_string(), &fs::read(&file).expect("a file"));
            }
        }
    }
}

#[test]
fn an_endpoint_with_a_password_is_refused_without_naming_it() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let endpoint = format!("http://me:{PASSWORD}@{}", aws.address());
    workspace.write("a.log", &log("realtime-46", 200));
    let mut command = workspace.ingest_command(&["a.log", "--to", "firehose://beacons"]);
    command.envs(aws.environment()).env("AWS_ENDPOINT_URL", endpoint);
    workspace.ingest_with(&mut command, b"").exits(1).says(&["firehose://beacons", "a user or password", "leave"]);
    assert!(aws.counters().requests.is_empty());
}

#[test]
fn help_and_manual_know_no_environment() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    for command in ["ingest", "ship", "check"] {
        for arguments in [vec![command, "--help"], vec![command, "-h"], vec!["man", command], vec![command]] {
            let mut program = workspace.command(&arguments);
            program.envs(aws.environment()).env("AWS_SESSION_TOKEN", TOKEN);
            program.env("AWS_ENDPOINT_URL", format!("http://me:{PASSWORD}@{}", aws.address()));
            let run = run(&mut program, b"");
            holds_none(&aws, &format!("{arguments:?}"), &[&run.stdout[..], run.stderr.as_bytes()].concat());
        }
    }
}

#[test]
fn a_level_that_is_none_is_said_and_warnings_are_still_logged() {
    for (level, is_wrong, logs) in [
        ("verbose", true, true),
        ("", false, true),
        ("warn", false, true),
        ("OFF", false, false),
        ("off", false, false),
    ] {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        aws.delivery_stream("beacons").fault(Fault::internal_failure());
        workspace.write("a.log", &log("realtime-46", 200));
        let mut command = workspace.ingest_command(&["a.log", "--to", "firehose://beacons"]);
        command.envs(aws.environment()).env("PIXEL_ENGINE_LOG", level);
        let run = workspace.ingest_with(&mut command, b"").ok();
        let says = |part: &str| run.stderr.contains(part);
        assert_eq!(says("not one of off, error, warn, info, debug, trace"), is_wrong, "{level}: {}", run.stderr);
        assert_eq!(says("InternalFailure: The request"), logs, "{level}: {}", run.stderr);
    }
}
