use std::time::{Duration, Instant};

use serde_json::json;

use crate::fake_lambda::{Answer, Call, FakeLambda, Fault, FunctionError};
use crate::support::{Guarded, Run, Workspace, signal};

const TRANSFORM: [(&str, &str); 1] = [("PIXEL_ENGINE_LAMBDA", "transform")];

/// An event without records, and the reply to it.
const EMPTY: &str = r#"{"invocationId":"1","deliveryStreamArn":"arn","region":"us-east-1","records":[]}"#;
const EMPTY_REPLY: &[u8] = br#"{"records":[]}"#;

fn empty_reply() -> Answer {
    Answer::Reply(EMPTY_REPLY.to_vec())
}

/// What the runtime says when it ends with 1.
#[track_caller]
fn ended(workspace: &Workspace, function: Guarded) -> Run {
    workspace.wait(function.take()).exits(1)
}

#[test]
fn invocations_are_answered_one_after_the_other_over_one_connection() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let _function = Guarded::start(&mut lambda.function(&workspace, &TRANSFORM));
    for _ in 0..100 {
        assert_eq!(lambda.invoke(EMPTY), empty_reply());
    }
    assert_eq!((lambda.connections(), lambda.violations()), (1, vec![]));
}

#[test]
fn the_runtime_waits_without_asking_again() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let _function = Guarded::start(&mut lambda.function(&workspace, &TRANSFORM));
    lambda.wait_until_asked();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lambda.calls(), [Call::Next]);
    assert_eq!(lambda.invoke(EMPTY), empty_reply());
}

#[test]
fn errors_of_the_function_are_reported_and_the_next_event_is_answered() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let _function = Guarded::start(&mut lambda.function(&workspace, &TRANSFORM));
    for (event, found) in [
        (json!({ "Records": [{ "eventSource": "aws:kinesis", "kinesis": {} }] }), "an event of aws:kinesis"),
        (json!({ "Records": [{ "EventSource": "aws:sns" }] }), "an event of aws:sns"),
        (json!({ "Records": [{ "what": 1 }] }), "an object of Records (missing field"),
        (json!({ "eventSource": "aws:kafka", "records": { "t-0": [] } }), "an event of aws:kafka"),
        (json!({ "source": "aws.events", "detail": {} }), "an event of aws.events"),
        (json!({ "key1": "value1", "key2": "value2" }), "an object of key1, key2 (missing field"),
        (json!({ "records": [] }), "an object of records (missing field `deliveryStreamArn`"),
        (json!([1, 2]), "JSON without a name in it"),
        (
            json!({ "deliveryStreamArn": "arn", "records": [{ "data": "" }] }),
            "an object of deliveryStreamArn, records (missing field `recordId`",
        ),
    ] {
        let Answer::Error(error) = lambda.invoke(event.to_string()) else { panic!("no error: {event}") };
        assert_eq!(error.kind, "Function.UnexpectedEvent");
        assert!(error.message.contains(found), "{event}: {}", error.message);
    }
    for event in ["", "{", "\u{0}"] {
        assert!(matches!(lambda.invoke(event), Answer::Error(_)), "{event}");
    }
    assert_eq!(lambda.invoke(EMPTY), empty_reply());
    assert_eq!((lambda.connections(), lambda.violations()), (1, vec![]));
}

#[test]
fn settings_that_are_wrong_are_an_error_of_the_start() {
    for (variables, parts) in [
        (vec![], vec!["PIXEL_ENGINE_LAMBDA is not set", "transform"]),
        (vec![("PIXEL_ENGINE_LAMBDA", "transfrom")], vec!["PIXEL_ENGINE_LAMBDA=transfrom: no such function"]),
        (
            vec![
                ("PIXEL_ENGINE_LAMBDA", "transform"),
                ("PIXEL_ENGINE_SELECTS", "c-ip"),
                ("PIXEL_ENGINE_SPOOL", "/tmp"),
            ],
            vec!["PIXEL_ENGINE_SELECTS: no such setting; did you mean `PIXEL_ENGINE_SELECT`?", "has no use for it"],
        ),
        (
            vec![("PIXEL_ENGINE_LAMBDA", "transform"), ("PIXEL_ENGINE_SELECT", "sc-statu")],
            vec!["PIXEL_ENGINE_SELECT: unknown field `sc-statu`, did you mean `sc-status`"],
        ),
        (
            vec![("PIXEL_ENGINE_LAMBDA", "transform"), ("PIXEL_ENGINE_DEDUP_WINDOW", "1000")],
            vec!["PIXEL_ENGINE_DEDUP_WINDOW: `transform` has no use for it"],
        ),
        (
            vec![("PIXEL_ENGINE_LAMBDA", "transform"), ("PIXEL_ENGINE_ON_BAD_LINE", "fail")],
            vec!["PIXEL_ENGINE_ON_BAD_LINE: not `fail`"],
        ),
        (
            vec![("PIXEL_ENGINE_LAMBDA", "transform"), ("PIXEL_ENGINE_QUERY_ENCODING", "auto")],
            vec!["PIXEL_ENGINE_QUERY_ENCODING: not `auto`"],
        ),
        (
            vec![("PIXEL_ENGINE_LAMBDA", "transform"), ("PIXEL_ENGINE_PARTITION_KEYS", "day")],
            vec!["PIXEL_ENGINE_PARTITION_KEYS: unknown field `day`", "or `date` or `hour`"],
        ),
    ] {
        let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
        let function = Guarded::start(&mut lambda.function(&workspace, &variables));
        let run = ended(&workspace, function);
        let Answer::InitError(FunctionError { kind, message }) = lambda.answer() else { panic!("{variables:?}") };
        assert_eq!(kind, "Runtime.WrongSettings");
        for part in parts {
            assert!(message.contains(part), "{variables:?}: {message}");
            run.says(&[part]);
        }
        assert_eq!((lambda.calls(), lambda.violations()), (vec![Call::InitError], vec![]));
    }
}

#[test]
fn a_reply_that_lambda_does_not_take_is_said_and_the_next_event_is_answered() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let function = Guarded::start(&mut lambda.function(&workspace, &TRANSFORM));
    // An event larger than any of Lambda's: there is no other way to such a reply.
    let bad = "A".repeat(7_000_001);
    let event = json!({ "deliveryStreamArn": "arn", "records": [{ "recordId": "1", "data": bad }] });
    assert_eq!(lambda.invoke(event.to_string()), Answer::TooLarge);
    assert_eq!(lambda.invoke(EMPTY), empty_reply());
    assert_eq!((lambda.connections(), lambda.violations()), (1, vec![]));
    drop(lambda);
    ended(&workspace, function).says(&["/response: the reply is too large for Lambda", "413"]);
}

#[test]
fn a_connection_that_ends_is_made_again() {
    for (call, fault) in [
        (Call::Next, Fault::CloseBefore),
        (Call::Next, Fault::CloseAfter),
        (Call::Next, Fault::CutOff),
        (Call::Response, Fault::CloseBefore),
        (Call::Response, Fault::CloseAfter),
        (Call::Error, Fault::CloseBefore),
        (Call::Error, Fault::CloseAfter),
    ] {
        let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
        let _function = Guarded::start(&mut lambda.function(&workspace, &TRANSFORM));
        // With a connection that was used before.
        assert_eq!(lambda.invoke(EMPTY), empty_reply());
        lambda.wait_until_asked();
        lambda.fault(call, fault);
        for round in 0..3 {
            assert_eq!(lambda.invoke(EMPTY), empty_reply(), "{call:?}, {fault:?}, {round}");
            assert!(matches!(lambda.invoke("{}"), Answer::Error(_)), "{call:?}, {fault:?}, {round}");
        }
        assert_eq!(lambda.connections(), 2, "{call:?}, {fault:?}");
        assert_eq!(lambda.violations(), Vec::<String>::new());
    }
}

#[test]
fn a_runtime_api_that_fails_ends_the_runtime() {
    for (call, fault, parts) in [
        (Call::Next, Fault::Status(500), vec!["/runtime/invocation/next", "error of the execution environment", "500"]),
        (Call::Next, Fault::Status(403), vec!["/runtime/invocation/next", "refuses the call", "403"]),
        (Call::Response, Fault::Status(500), vec!["/response", "error of the execution environment"]),
        (Call::Response, Fault::Status(400), vec!["/response", "refuses the call", "400", "as the test wants it"]),
        (Call::Error, Fault::Status(500), vec!["/error", "error of the execution environment"]),
        (Call::Next, Fault::WithoutHeader("lambda-runtime-aws-request-id"), vec!["no usable header", "request-id"]),
        (Call::Next, Fault::WithoutHeader("lambda-runtime-deadline-ms"), vec!["no usable header", "deadline-ms"]),
        (Call::Next, Fault::CloseBefore, vec!["AWS_LAMBDA_RUNTIME_API"]),
    ] {
        let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
        lambda.fault(call, fault);
        let function = Guarded::start(&mut lambda.function(&workspace, &TRANSFORM));
        let begun = Instant::now();
        lambda.offer(if call == Call::Error { "{}" } else { EMPTY });
        ended(&workspace, function).says(&parts);
        assert!(begun.elapsed() < Duration::from_secs(10), "promptly");
    }
}

#[test]
fn outside_of_lambda_the_command_says_what_is_missing() {
    let workspace = Workspace::new();
    let mut command = workspace.command(&["lambda"]);
    let run = crate::support::run(command.env_remove("AWS_LAMBDA_RUNTIME_API"), b"");
    run.exits(1).says(&["AWS_LAMBDA_RUNTIME_API is not set"]);
    let lambda = FakeLambda::start();
    let mut nowhere = lambda.function(&workspace, &TRANSFORM);
    nowhere.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1");
    crate::support::run(&mut nowhere, b"").exits(1).says(&["127.0.0.1:1", "AWS_LAMBDA_RUNTIME_API"]);
}

#[test]
fn the_runtime_ends_when_it_is_told_to() {
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let function = Guarded::start(&mut lambda.function(&workspace, &TRANSFORM));
    lambda.wait_until_asked();
    signal(&function, "TERM");
    workspace.wait(function.take()).ok();
}
