use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, PUT_RECORD_BATCH, batch, lenient};

#[test]
fn chunked_bodies_are_read_like_others() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    let body = batch("beacons", &[&[b'x'; 100_000]]).to_string();
    for pieces in [1, 7, 65_536] {
        client.write(client.head(PUT_RECORD_BATCH));
        client.write("Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.as_bytes().chunks(body.len().div_ceil(pieces)) {
            client.write([format!("{:x};extension\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        client.write("0\r\nTrailer: of no interest\r\n\r\n");
        assert_eq!(client.receive().unwrap().status, 200);
    }
    assert_eq!(beacons.counts().bytes, 300_000);
    assert_eq!(aws.counters().violations, Vec::<String>::new());
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_the_body() {
    let aws = lenient().start();
    aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    let body = batch("beacons", &[b"x"]).to_string();
    client.write(client.head(PUT_RECORD_BATCH));
    client.write(format!("Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len()));
    assert_eq!(client.receive().unwrap().status, 100);
    client.write(body);
    assert_eq!(client.receive().unwrap().status, 200);
}

#[test]
fn requests_follow_each_other_on_a_connection_until_it_is_to_close() {
    let aws = lenient().start();
    aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    for _ in 0..3 {
        client.send(PUT_RECORD_BATCH, &batch("beacons", &[b"x"]));
    }
    let ids: Vec<String> = (0..3).map(|_| client.receive().unwrap().headers).collect();
    assert!(ids[0].contains("x-amzn-requestid: 00000000-0000-4000-8000-000000000001\r\n"), "{}", ids[0]);
    assert!(ids[2].contains("date: "));
    client.write(client.head(PUT_RECORD_BATCH));
    client.write("Connection: close\r\nContent-Length: 2\r\n\r\n{}");
    let last = client.receive().unwrap();
    assert!(last.headers.contains("connection: close"));
    assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(aws.counters().connections, 1);
}

#[test]
fn what_is_not_http_is_a_violation() {
    let aws = lenient().start();
    let mut violations = 0;
    for bytes in [
        "\x16\x03\x01\x02\x00\x01\x00\x01 hello, this is TLS\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut client = Client::new(&aws);
        client.write(bytes);
        assert_eq!(client.receive().unwrap().status, 400, "{bytes}");
        violations += 1;
        assert_eq!(aws.counters().violations.len(), violations);
    }
}

#[test]
fn operations_that_nobody_knows_are_refused() {
    let aws = lenient().start();
    let mut client = Client::new(&aws);
    let answer = client.call("Firehose_20150804.PutRecordBatches", &json!({}));
    assert_eq!((answer.error().0, answer.error().1.as_str()), (404, "UnknownOperationException"));
    let answer = client.call_form("Action=GetFederationToken&Version=2011-06-15");
    assert!(answer.text().contains("<Code>InvalidAction</Code>"), "{}", answer.text());
    assert_eq!(aws.counters().violations.len(), 2);
}

#[test]
fn a_server_that_is_dropped_ends_its_connections_at_once() {
    let aws = lenient().start();
    aws.latency(Duration::from_secs(600));
    aws.delivery_stream("beacons");
    let (mut idle, mut waiting) = (Client::new(&aws), Client::new(&aws));
    waiting.send(PUT_RECORD_BATCH, &batch("beacons", &[b"x"]));
    while aws.counters().requests.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(aws);
    assert!(idle.receive().is_err());
    assert!(waiting.receive().is_err());
}
