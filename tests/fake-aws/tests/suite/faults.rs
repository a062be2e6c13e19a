use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fake_aws::{Action, DeliveryStream, FakeAws, Fault, RecordFailure};
use serde_json::{Value, json};

use crate::client::{Answer, Client, PUT_RECORD_BATCH, PUT_RECORDS, batch, entry, lenient};

fn server() -> (FakeAws, DeliveryStream) {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    (aws, beacons)
}

/// Sends one record, and says what came of it.
fn put(aws: &FakeAws, record: &[u8]) -> io::Result<Answer> {
    let mut client = Client::new(aws);
    client.send(PUT_RECORD_BATCH, &batch("beacons", &[record]));
    client.receive()
}

/// How many records are stored, and how many of them acknowledged.
fn stored(stream: &DeliveryStream) -> (usize, usize) {
    let delivered = stream.delivered();
    let acknowledged = delivered.iter().filter(|record| record.acknowledged).count();
    assert_eq!(stream.counts().acknowledged, acknowledged as u64);
    (delivered.len(), acknowledged)
}

#[test]
fn errors_are_answered_as_ordered_and_nothing_is_stored() {
    let (aws, beacons) = server();
    let faults = [
        (Fault::throttling(), 400, "ThrottlingException"),
        (Fault::limit_exceeded(), 400, "LimitExceededException"),
        (Fault::provisioned_throughput_exceeded(), 400, "ProvisionedThroughputExceededException"),
        (Fault::service_unavailable(), 503, "ServiceUnavailableException"),
        (Fault::internal_failure(), 500, "InternalFailure"),
        (Fault::error(418, "Teapot", "short and stout"), 418, "Teapot"),
    ];
    for (fault, ..) in &faults {
        beacons.fault(fault.clone());
    }
    let mut client = Client::new(&aws);
    for (_, status, code) in &faults {
        let error = client.put(&[b"x"]).error();
        assert_eq!((error.0, error.1.as_str()), (*status, *code));
    }
    assert_eq!(stored(&beacons), (0, 0));
    assert_eq!(client.put(&[b"x"]).status, 200);
    assert_eq!(stored(&beacons), (1, 1));
    let counters = aws.counters();
    assert_eq!(counters.throttles(), 4);
    assert_eq!(counters.requests_of(Action::PutRecordBatch), 7);
    assert!(counters.violations.is_empty());
}

#[test]
fn a_reset_before_the_body_leaves_nothing() {
    let (aws, beacons) = server();
    beacons.fault(Fault::ResetBeforeBody);
    let mut client = Client::new(&aws);
    client.write(client.head(PUT_RECORD_BATCH));
    client.write("Content-Length: 4000000\r\n\r\n{");
    assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(put(&aws, b"x").unwrap().status, 200);
    assert_eq!(stored(&beacons), (1, 1));
}

#[test]
fn after_a_reset_the_records_are_stored_or_not() {
    let (aws, beacons) = server();
    beacons.fault(Fault::ResetAfterBody { stored: false }).fault(Fault::ResetAfterBody { stored: true });
    assert_eq!(put(&aws, b"lost").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(stored(&beacons), (0, 0));
    assert_eq!(put(&aws, b"kept").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(stored(&beacons), (1, 0));
    assert_eq!(*beacons.delivered()[0].data, *b"kept");
}

#[test]
fn a_reply_that_never_comes_leaves_the_connection_open() {
    let (aws, beacons) = server();
    for (fault, count) in [(Fault::NeverReply { stored: false }, 0), (Fault::NeverReply { stored: true }, 1)] {
        beacons.fault(fault);
        let mut client = Client::new(&aws);
        client.timeout(Duration::from_millis(200));
        client.send(PUT_RECORD_BATCH, &batch("beacons", &[b"x"]));
        assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(stored(&beacons), (count, 0));
    }
}

#[test]
fn a_slow_reply_is_a_good_one() {
    let (aws, beacons) = server();
    beacons.fault(Fault::Delay(Duration::from_millis(300)));
    let begin = Instant::now();
    assert_eq!(put(&aws, b"x").unwrap().status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    aws.latency(Duration::from_millis(100));
    let begin = Instant::now();
    assert_eq!(put(&aws, b"x").unwrap().status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(stored(&beacons), (2, 2));
}

#[test]
fn damaged_replies_stand_for_records_that_are_stored() {
    let (aws, beacons) = server();
    beacons.fault(Fault::Truncated).fault(Fault::Malformed).fault(Fault::WrongCount);
    assert_eq!(put(&aws, b"truncated").unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let malformed = put(&aws, b"malformed").unwrap();
    assert_eq!(malformed.status, 200);
    assert!(serde_json::from_slice::<Value>(&malformed.body).is_err());
    let wrong = put(&aws, b"wrong count").unwrap().json();
    assert_eq!(wrong["RequestResponses"], json!([]));
    assert_eq!(stored(&beacons), (3, 0));
}

#[test]
fn a_proxy_answers_in_html() {
    let (aws, beacons) = server();
    beacons.fault(Fault::ProxyUnavailable);
    let page = put(&aws, b"x").unwrap();
    assert_eq!(page.status, 503);
    assert!(page.headers.contains("content-type: text/html") && page.text().starts_with("<html>"));
    assert_eq!(stored(&beacons), (0, 0));
}

#[test]
fn records_fail_by_index_and_are_not_stored() {
    let (aws, beacons) = server();
    let stream = aws.stream("hits", 1);
    for failure in [RecordFailure::Throttled, RecordFailure::Internal] {
        beacons.fault(Fault::FailRecords { indices: vec![0, 2, 9], failure });
        stream.fault(Fault::FailRecords { indices: vec![1], failure });
    }
    let mut client = Client::new(&aws);
    for code in ["ServiceUnavailableException", "InternalFailure"] {
        let json = client.put(&[b"a", b"b", b"c"]).json();
        assert_eq!(json["FailedPutCount"], 2);
        assert_eq!(json["RequestResponses"][0]["ErrorCode"], code);
        assert!(json["RequestResponses"][1]["ErrorCode"].is_null());
        assert_eq!(json["RequestResponses"][2]["ErrorCode"], code);
    }
    let entries = json!({ "StreamName": "hits", "Records": [entry(b"a", "k"), entry(b"b", "k")] });
    for code in ["ProvisionedThroughputExceededException", "InternalFailure"] {
        let json = client.call(PUT_RECORDS, &entries).json();
        assert_eq!(json["FailedRecordCount"], 1);
        assert!(json["Records"][0]["SequenceNumber"].is_string());
        assert_eq!(json["Records"][1]["ErrorCode"], code);
        assert!(json["Records"][1]["SequenceNumber"].is_null());
    }
    assert_eq!(stored(&beacons), (2, 2));
    assert!(beacons.delivered().iter().all(|record| *record.data == *b"b"));
    assert_eq!(stream.counts().records, 2);
}

#[test]
fn a_fraction_of_records_and_of_requests_fails_the_same_way_for_a_seed() {
    let run = || {
        let (aws, beacons) = server();
        beacons.fail_records(0.2, 1).fail_requests(0.1, 2, &[Fault::throttling(), Fault::internal_failure()]);
        let mut client = Client::new(&aws);
        let answers: Vec<Vec<u8>> = (0..200).map(|_| client.put(&[&b"x"[..]; 10]).body).collect();
        (answers, beacons.counts(), aws.counters().request_errors)
    };
    let (answers, counts, errors) = run();
    assert_eq!(run(), (answers, counts, errors.clone()));
    let failed: u64 = errors.values().sum();
    assert!((8..35).contains(&failed), "{failed} of 200 requests");
    assert_eq!(counts.requests, 200 - failed);
    let fraction = counts.failed as f64 / (counts.failed + counts.records) as f64;
    assert!((0.15..0.25).contains(&fraction), "{fraction} of records");
}

#[test]
fn faults_strike_other_calls_too() {
    let aws = lenient().start();
    let stream = aws.stream("hits", 1);
    stream.fault_on(Action::ListShards, Fault::limit_exceeded());
    aws.fault_on(Action::AssumeRole, Fault::service_unavailable());
    let mut client = Client::new(&aws);
    let list = json!({ "StreamName": "hits" });
    client.call("Kinesis_20131202.ListShards", &list).assert_error(400, "LimitExceededException", "Rate exceeded.");
    assert_eq!(client.call("Kinesis_20131202.ListShards", &list).status, 200);
    let form = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::123456789012:role/r&RoleSessionName=test";
    let answer = client.call_form(form);
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("<Type>Receiver</Type>"));
}

#[test]
fn a_request_that_breaks_a_rule_leaves_the_fault_to_the_next() {
    let (aws, beacons) = server();
    beacons.fault(Fault::throttling());
    let mut client = Client::new(&aws);
    assert_eq!(client.put(&[]).error().1, "ValidationException");
    assert_eq!(client.put(&[b"x"]).error().1, "ThrottlingException");
}

#[test]
fn a_server_that_is_down_resets_and_refuses_and_comes_back_with_what_it_had() {
    let (aws, beacons) = server();
    let mut client = Client::new(&aws);
    assert_eq!(client.put(&[b"x"]).status, 200);
    aws.down();
    aws.down();
    assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(TcpStream::connect(aws.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    aws.up();
    aws.up();
    assert_eq!(put(&aws, b"y").unwrap().status, 200);
    assert_eq!(stored(&beacons), (2, 2));
}
