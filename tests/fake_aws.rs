//! The tests' server against a client that others wrote: AWS's SDK for Python signs, asks and
//! understands.

use fake_aws::{Action, FakeAws, Fault};
use serde_json::{Value, json};

use crate::peers::aws_calls;

const ROLE: &str = "arn:aws:iam::123456789012:role/producer";

fn call(service: &str, operation: &str, parameters: Value) -> Value {
    json!({ "service": service, "operation": operation, "parameters": parameters })
}

fn error(answer: &Value) -> (u64, &str, &str) {
    let text = |name| answer["error"][name].as_str().unwrap_or_else(|| panic!("no error: {answer}"));
    (answer["status"].as_u64().expect("a status"), text("Code"), text("Message"))
}

#[test]
fn the_sdk_signs_what_the_server_verifies_and_reads_what_it_answers() {
    let aws = FakeAws::builder().region("eu-west-1").start();
    let beacons = aws.delivery_stream("beacons");
    let stream = aws.stream("hits", 3);
    stream.shards_per_page(2);
    beacons.fault(Fault::throttling());
    let batch = json!({ "DeliveryStreamName": "beacons", "Records": [{ "Data": "b25l" }, { "Data": "dHdv" }] });
    let too_large = json!({ "DeliveryStreamName": "beacons", "Records": [{ "Data": "AAAA".repeat(341_334) }] });
    let entries = json!({ "StreamName": "hits", "Records": [{ "Data": "b25l", "PartitionKey": "a" }] });
    let answers = aws_calls(
        &aws.environment(),
        &[
            call("firehose", "put_record_batch", batch.clone()),
            call("firehose", "put_record_batch", batch),
            call("firehose", "put_record_batch", too_large),
            call("firehose", "describe_delivery_stream", json!({ "DeliveryStreamName": "beacons" })),
            call("kinesis", "put_records", entries),
            call("kinesis", "list_shards", json!({ "StreamName": "hits" })),
            call("kinesis", "describe_stream_summary", json!({ "StreamName": "hits" })),
            call("kinesis", "describe_limits", json!({})),
            call("kinesis", "list_shards", json!({ "StreamName": "hots" })),
            call("sts", "get_caller_identity", json!({})),
        ],
    );
    assert_eq!(error(&answers[0]), (400, "ThrottlingException", "Rate exceeded"));
    assert_eq!(answers[1]["reply"]["FailedPutCount"], 0);
    assert_eq!(answers[1]["reply"]["RequestResponses"].as_array().map(Vec::len), Some(2));
    assert_eq!(error(&answers[2]).1, "ValidationException");
    assert_eq!(answers[3]["reply"]["DeliveryStreamDescription"]["DeliveryStreamStatus"], "ACTIVE");
    // MD5 of "a" begins with 0c: the first third of the hash keys.
    assert_eq!(answers[4]["reply"]["Records"][0]["ShardId"], "shardId-000000000000");
    assert_eq!(answers[5]["reply"]["Shards"].as_array().map(Vec::len), Some(2));
    assert!(answers[5]["reply"]["NextToken"].is_string());
    let summary = &answers[6]["reply"]["StreamDescriptionSummary"];
    assert_eq!((&summary["OpenShardCount"], &summary["MaxRecordSizeInKiB"]), (&json!(3), &json!(1024)));
    assert_eq!(summary["RecordDistributionStrategy"], "USER_PARTITION_KEY");
    assert_eq!(answers[7]["reply"]["OpenShardCount"], 3);
    let message = "Stream hots under account 123456789012 not found.";
    assert_eq!(error(&answers[8]), (400, "ResourceNotFoundException", message));
    assert_eq!(answers[9]["reply"]["Arn"], "arn:aws:iam::123456789012:user/pixel-engine");

    let delivered: Vec<_> = beacons.delivered().into_iter().map(|record| (record.data, record.acknowledged)).collect();
    assert_eq!(delivered, [(b"one"[..].into(), true), (b"two"[..].into(), true)]);
    assert_eq!(stream.counts().acknowledged, 1);
    assert_eq!(aws.counters().violations.len(), 1, "the record that is too large");
}

#[test]
fn the_sdk_assumes_roles_and_understands_why_it_may_not() {
    let aws = FakeAws::start();
    let beacons = aws.delivery_stream("beacons");
    let batch = json!({ "DeliveryStreamName": "beacons", "Records": [{ "Data": "b25l" }] });
    let put = call("firehose", "put_record_batch", batch);
    let assume = call("sts", "assume_role", json!({ "RoleArn": ROLE, "RoleSessionName": "test" }));
    aws.deny(&aws.credentials().access_key, Action::PutRecordBatch);
    let answers = aws_calls(&aws.environment(), &[put.clone(), assume.clone()]);
    let (status, code, message) = error(&answers[0]);
    assert_eq!((status, code), (400, "AccessDeniedException"));
    assert!(message.contains("is not authorized to perform: firehose:PutRecordBatch on resource: arn:"), "{message}");

    let credentials = &answers[1]["reply"]["Credentials"];
    let mut session = aws.environment();
    for (name, member) in [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
    ] {
        let value = credentials[member].as_str().expect("credentials").to_owned();
        session.retain(|variable| variable.0 != name);
        session.push((name, value));
    }
    assert_eq!(aws_calls(&session, std::slice::from_ref(&put))[0]["status"], 200);
    assert_eq!(beacons.counts().acknowledged, 1);
    aws.expire_sessions();
    assert_eq!(error(&aws_calls(&session, std::slice::from_ref(&put))[0]).1, "ExpiredTokenException");

    let mut wrong_secret = aws.environment();
    wrong_secret.retain(|variable| variable.0 != "AWS_SECRET_ACCESS_KEY");
    wrong_secret.push(("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()));
    aws.forbid_role(ROLE);
    let answers = aws_calls(&wrong_secret, &[put, assume.clone()]);
    assert_eq!(error(&answers[0]).1, "InvalidSignatureException");
    assert_eq!(error(&answers[1]).1, "SignatureDoesNotMatch");
    let answers = aws_calls(&aws.environment(), &[assume]);
    assert_eq!((error(&answers[0]).0, error(&answers[0]).1), (403, "AccessDenied"));
    assert_eq!(aws.counters().violations, Vec::<String>::new());
}

#[test]
fn the_sdk_receives_and_deletes_messages_by_the_rules() {
    let aws = FakeAws::start();
    let (queue, dead) = (aws.queue("notifications"), aws.queue("dead"));
    queue.redrive(&dead, 2).send("one").send("two");
    let url = queue.url();
    let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"] });
    let with = |operation: &str, receipt: &str, seconds: Option<u32>| {
        let mut parameters = json!({ "QueueUrl": url, "ReceiptHandle": receipt });
        if let Some(seconds) = seconds {
            parameters["VisibilityTimeout"] = seconds.into();
        }
        call("sqs", operation, parameters)
    };
    let answers = aws_calls(
        &aws.environment(),
        &[
            call("sqs", "receive_message", receive.clone()),
            call("sqs", "receive_message", receive.clone()),
            with("change_message_visibility", "receipt-1-1", Some(0)),
            with("change_message_visibility", "receipt-1-1", Some(10)),
            call("sqs", "receive_message", receive.clone()),
            with("delete_message", "receipt-1-1", None),
            with("delete_message", "receipt-2-1", None),
            with("change_message_visibility", "receipt-1-2", Some(43_201)),
            with("delete_message", "hello", None),
            call("sqs", "get_queue_attributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] })),
            call("sqs", "get_queue_attributes", json!({ "QueueUrl": format!("{url}s"), "AttributeNames": ["All"] })),
        ],
    );
    let bodies = |answer: &Value| {
        let messages = answer["reply"]["Messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|it| it["Body"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(bodies(&answers[0]), ["one", "two"]);
    assert_eq!(bodies(&answers[1]), [""; 0], "both are in flight");
    assert_eq!(error(&answers[3]).1, "AWS.SimpleQueueService.MessageNotInflight");
    assert_eq!(bodies(&answers[4]), ["one"]);
    assert_eq!((queue.stale_deletes(), queue.deleted()), (1, 1));
    assert_eq!(error(&answers[7]).1, "InvalidParameterValue");
    assert_eq!(error(&answers[8]).1, "ReceiptHandleIsInvalid");
    let attributes = &answers[9]["reply"]["Attributes"];
    assert_eq!(
        (&attributes["VisibilityTimeout"], &attributes["ApproximateNumberOfMessages"]),
        (&json!("30"), &json!("0"))
    );
    assert_eq!(error(&answers[10]).1, "AWS.SimpleQueueService.NonExistentQueue");
    // Received twice, it goes to the queue of dead letters.
    queue.make_visible();
    assert_eq!(bodies(&aws_calls(&aws.environment(), &[call("sqs", "receive_message", receive)])[0]), [""; 0]);
    assert_eq!((queue.messages().len(), dead.messages().len()), (0, 1));
}
