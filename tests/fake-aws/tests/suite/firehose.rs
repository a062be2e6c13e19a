use std::time::Duration;

use base64_simd::STANDARD as BASE64;
use fake_aws::{Count, Quota, Source, Throttle};
use serde_json::json;

use crate::client::{Client, PUT_RECORD_BATCH, batch, lenient};

const DESCRIBE: &str = "Firehose_20150804.DescribeDeliveryStream";

#[test]
fn records_are_stored_as_they_were_sent_and_in_order() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    let everything: Vec<u8> = (0..=255).collect();
    let answer = client.put(&[b"one", b"", &everything]);
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!((json["FailedPutCount"].as_u64(), json["Encrypted"].as_bool()), (Some(0), Some(false)));
    let ids: Vec<_> = json["RequestResponses"].as_array().unwrap().iter().map(|r| r["RecordId"].to_string()).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    client.put(&[b"two"]);

    let delivered = beacons.delivered();
    let data: Vec<&[u8]> = delivered.iter().map(|record| &*record.data).collect();
    assert_eq!(data, [&b"one"[..], b"", &everything, b"two"]);
    assert!(delivered.iter().all(|record| record.acknowledged && record.shard_id.is_none()));
    assert_ne!(delivered[0].request, delivered[3].request);
    let counts = beacons.counts();
    assert_eq!((counts.requests, counts.records, counts.bytes, counts.acknowledged), (2, 4, 262, 4));
    let counters = aws.counters();
    assert_eq!((counters.connections, counters.records_accepted, counters.records_failed), (1, 4, 0));
    assert!(counters.bytes_received > 600);
    assert_eq!(counters.violations, Vec::<String>::new());
}

#[test]
fn a_request_has_1_to_500_records() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    let len = "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length";
    client.put(&[]).assert_error(400, "ValidationException", &format!("{len} greater than or equal to 1"));
    client.put(&[&b"x"[..]; 501]).assert_error(400, "ValidationException", &format!("{len} less than or equal to 500"));
    client.call(PUT_RECORD_BATCH, &json!({})).assert_error(
        400,
        "ValidationException",
        "2 validation errors detected: Value null at 'records' failed to satisfy constraint: Member must not be null; \
         Value null at 'deliveryStreamName' failed to satisfy constraint: Member must not be null",
    );
    assert_eq!(client.put(&[&b"x"[..]; 500]).status, 200);
    assert_eq!(beacons.delivered().len(), 500);
    let counters = aws.counters();
    assert_eq!(counters.violations.len(), 3);
    assert_eq!(counters.request_errors["ValidationException"], 3);
}

#[test]
fn a_record_has_at_most_1000_kib_before_base64() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    assert_eq!(client.put(&[b"x", &[7; 1_024_000]]).status, 200);
    client.put(&[b"x", &[7; 1_024_001]]).assert_error(
        400,
        "ValidationException",
        "1 validation error detected: Value at 'records.2.member.data' failed to satisfy constraint: Member must have \
         length less than or equal to 1024000",
    );
    assert_eq!(beacons.delivered().len(), 2);
}

#[test]
fn a_request_has_4_mib_counted_as_set() {
    let around = batch("beacons", &[&b""[..]; 4]).to_string().len();
    let cases = [(Count::Raw, 4 << 20), (Count::Base64, 3 << 20), (Count::Body, ((4 << 20) - around) / 4 * 3)];
    let data = vec![0; 5 << 20];
    for (count, most) in cases {
        let aws = lenient().start();
        aws.delivery_stream("beacons").count(count);
        let mut client = Client::new(&aws);
        let records = |total: usize| data[..total].chunks(999_999).collect::<Vec<_>>();
        assert_eq!(client.put(&records(most)).status, 200, "{count:?}");
        let answer = client.put(&records(most + 1));
        answer.assert_error(400, "InvalidArgumentException", "Records size exceeds 4 MB limit");
    }
}

#[test]
fn what_is_not_json_of_the_right_types_or_not_base64_is_refused() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    let bodies = [
        json!([]),
        json!({ "DeliveryStreamName": 3, "Records": [] }),
        json!({ "DeliveryStreamName": "beacons", "Records": [{ "Data": "not base64" }] }),
        json!({ "DeliveryStreamName": "beacons", "Records": [{ "Data": "YQ==" }, { "Data": "YQ" }] }),
        json!({ "DeliveryStreamName": "beacons", "Records": [{ "Data": 3 }] }),
    ];
    for body in &bodies {
        let (status, code, _) = client.call(PUT_RECORD_BATCH, body).error();
        assert_eq!((status, code.as_str()), (400, "SerializationException"), "{body}");
    }
    assert_eq!(aws.counters().violations.len(), bodies.len());
    assert!(beacons.delivered().is_empty());
    // Escapes of JSON are none of base64's business.
    client.write(client.head(PUT_RECORD_BATCH));
    let body = r#"{"DeliveryStreamName":"b\u0065acons","Records":[{"Data":"YWJj\/w=="}]}"#;
    client.write(format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.receive().unwrap().status, 200);
    assert_eq!(*beacons.delivered()[0].data, *b"abc\xff");
}

#[test]
fn streams_that_take_no_records_say_why() {
    let aws = lenient().account("000011112222").start();
    let beacons = aws.delivery_stream("beacons");
    let mut client = Client::new(&aws);
    let not_found = |name| format!("Firehose {name} under account 000011112222 not found.");
    let answer = client.call(PUT_RECORD_BATCH, &batch("beacon", &[b"x"]));
    answer.assert_error(400, "ResourceNotFoundException", &not_found("beacon"));
    beacons.status("CREATING");
    client.put(&[b"x"]).assert_error(400, "ResourceNotFoundException", &not_found("beacons"));
    beacons.status("ACTIVE").source(Source::KinesisStream);
    let message = "This operation is not permitted on KinesisStreamAsSource delivery stream type.";
    client.put(&[b"x"]).assert_error(400, "InvalidArgumentException", message);
    assert!(beacons.delivered().is_empty());
    assert!(aws.counters().violations.is_empty());
}

#[test]
fn a_stream_describes_itself() {
    let aws = lenient().region("eu-west-1").start();
    let beacons = aws.delivery_stream("beacons");
    beacons.encrypted(true);
    let mut client = Client::new(&aws);
    let mut describe = || {
        let json = client.call(DESCRIBE, &json!({ "DeliveryStreamName": "beacons" })).json();
        json["DeliveryStreamDescription"].clone()
    };
    let description = describe();
    assert_eq!(description["DeliveryStreamARN"], "arn:aws:firehose:eu-west-1:123456789012:deliverystream/beacons");
    assert_eq!(description["DeliveryStreamStatus"], "ACTIVE");
    assert_eq!(description["DeliveryStreamType"], "DirectPut");
    assert_eq!(description["DeliveryStreamEncryptionConfiguration"]["Status"], "ENABLED");
    beacons.status("DELETING").source(Source::KinesisStream);
    let description = describe();
    assert_eq!(description["DeliveryStreamStatus"], "DELETING");
    assert_eq!(description["DeliveryStreamType"], "KinesisStreamAsSource");
}

#[test]
fn past_the_quota_records_fail_one_by_one() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    beacons.quota(Quota { records: Some(10), ..Quota::default() }, Throttle::Records);
    let json = Client::new(&aws).put(&[&b"x"[..]; 25]).json();
    assert_eq!(json["FailedPutCount"], 15);
    assert_eq!(json["RequestResponses"][10]["ErrorCode"], "ServiceUnavailableException");
    assert_eq!(json["RequestResponses"][10]["ErrorMessage"], "Slow down.");
    assert!(json["RequestResponses"][9]["RecordId"].is_string());
    assert_eq!((beacons.counts().records, beacons.counts().failed), (10, 15));
    let counters = aws.counters();
    assert_eq!((counters.throttles(), counters.record_errors["ServiceUnavailableException"]), (15, 15));
}

#[test]
fn past_the_quota_a_whole_request_fails_until_the_bucket_is_filled_again() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    beacons.quota(Quota { bytes: Some(100), ..Quota::default() }, Throttle::Request);
    let mut client = Client::new(&aws);
    assert_eq!(client.put(&[&[0; 90]]).status, 200);
    client.put(&[&[0; 90]]).assert_error(503, "ServiceUnavailableException", "Slow down.");
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(client.put(&[&[0; 90]]).status, 200);
    assert_eq!((beacons.counts().records, aws.counters().throttles()), (2, 1));
}

#[test]
fn a_bench_keeps_counts_or_is_handed_every_record() {
    let aws = lenient().start();
    let beacons = aws.delivery_stream("beacons");
    let (sender, receiver) = std::sync::mpsc::channel();
    beacons.keep_counts();
    let mut client = Client::new(&aws);
    client.put(&[b"one"]);
    beacons.hand_over(move |record| sender.send(BASE64.encode_to_string(record.data)).unwrap());
    client.put(&[b"two", b"three"]);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["dHdv", "dGhyZWU="]);
    assert!(beacons.delivered().is_empty());
    assert_eq!((beacons.counts().records, beacons.counts().acknowledged), (3, 3));
}
