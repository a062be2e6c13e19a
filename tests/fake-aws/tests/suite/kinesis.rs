use std::collections::BTreeMap;
use std::time::Duration;

use fake_aws::{Distribution, FakeAws, ShardQuota, Stream};
use serde_json::{Value, json};

use crate::client::{Answer, Client, PUT_RECORDS, entry, lenient};

const LIST_SHARDS: &str = "Kinesis_20131202.ListShards";
const SUMMARY: &str = "Kinesis_20131202.DescribeStreamSummary";

fn server(shards: usize) -> (FakeAws, Stream) {
    let aws = lenient().start();
    let stream = aws.stream("hits", shards);
    (aws, stream)
}

fn put(client: &mut Client, entries: &[Value]) -> Answer {
    client.call(PUT_RECORDS, &json!({ "StreamName": "hits", "Records": entries }))
}

fn with_hash_key(hash_key: impl ToString) -> Value {
    json!({ "Data": "YQ==", "PartitionKey": "k", "ExplicitHashKey": hash_key.to_string() })
}

#[test]
fn records_go_to_the_shard_of_their_hash_key() {
    let (aws, stream) = server(4);
    let mut client = Client::new(&aws);
    let quarter = 1u128 << 126;
    let mut entries: Vec<Value> =
        [0, quarter - 1, quarter, 3 * quarter, u128::MAX].into_iter().map(with_hash_key).collect();
    // MD5 of "a" is 0cc175b9..., of "b" 92eb5ffe..., of "c" 4a8a08f0...
    entries.extend([entry(b"1", "a"), entry(b"2", "b"), entry(b"3", "c")]);
    let json = put(&mut client, &entries).json();
    assert_eq!((json["FailedRecordCount"].as_u64(), json["EncryptionType"].as_str()), (Some(0), Some("NONE")));
    let results = json["Records"].as_array().unwrap();
    let shards: Vec<&str> = results.iter().map(|record| record["ShardId"].as_str().unwrap()).collect();
    let expected = [0, 0, 1, 3, 3, 0, 2, 1].map(|shard| format!("shardId-{shard:012}"));
    assert_eq!(shards, expected);
    let numbers: Vec<&str> = results.iter().map(|record| record["SequenceNumber"].as_str().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next) && numbers[0].len() == 56);

    let delivered = stream.delivered();
    assert!(delivered.iter().zip(&expected).all(|(record, shard)| record.shard_id.as_deref() == Some(shard)));
    assert_eq!(delivered[4].explicit_hash_key, Some(u128::MAX));
    assert_eq!((delivered[6].partition_key.as_deref(), delivered[6].explicit_hash_key), (Some("b"), None));
}

#[test]
fn a_stream_is_named_by_name_or_arn() {
    let (aws, stream) = server(1);
    let mut client = Client::new(&aws);
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/hits";
    let records = json!([entry(b"x", "k")]);
    for good in [json!({ "StreamARN": arn }), json!({ "StreamARN": arn, "StreamName": "hits" })] {
        let mut body = good;
        body["Records"] = records.clone();
        assert_eq!(client.call(PUT_RECORDS, &body).status, 200);
    }
    let bad = [
        (json!({}), "InvalidArgumentException"),
        (json!({ "StreamARN": arn, "StreamName": "hots" }), "InvalidArgumentException"),
        (json!({ "StreamARN": "hits" }), "InvalidArgumentException"),
        (json!({ "StreamARN": arn.replace("us-east-1", "us-east-2") }), "ResourceNotFoundException"),
        (json!({ "StreamName": "hots" }), "ResourceNotFoundException"),
        (json!({ "StreamName": "h/ts" }), "ValidationException"),
    ];
    for (mut body, code) in bad {
        body["Records"] = records.clone();
        assert_eq!(client.call(PUT_RECORDS, &body).error().1, code, "{body}");
    }
    assert_eq!(stream.counts().records, 2);
    let answer = client.call(PUT_RECORDS, &json!({ "StreamName": "hots", "Records": records }));
    let message = "Stream hots under account 123456789012 not found.";
    answer.assert_error(400, "ResourceNotFoundException", message);
}

#[test]
fn a_request_has_1_to_500_records_and_a_limit_of_bytes() {
    let (aws, stream) = server(1);
    stream.quota(ShardQuota::UNLIMITED);
    let mut client = Client::new(&aws);
    let len = "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length";
    put(&mut client, &[]).assert_error(400, "ValidationException", &format!("{len} greater than or equal to 1"));
    let many = vec![entry(b"x", "k"); 501];
    put(&mut client, &many).assert_error(400, "ValidationException", &format!("{len} less than or equal to 500"));
    assert_eq!(put(&mut client, &many[1..]).status, 200);

    // With its key a record of 1 MiB.
    let large = entry(&vec![0; (1 << 20) - 10], "0123456789");
    let mut entries = vec![large; 10];
    assert_eq!(put(&mut client, &entries).status, 200);
    stream.request_limit_mib(5);
    assert_eq!(put(&mut client, &entries[..5]).status, 200);
    entries[5] = entry(b"", "k");
    let message = "Records size exceeds 5 MB limit";
    put(&mut client, &entries[..6]).assert_error(400, "InvalidArgumentException", message);
    assert_eq!(aws.counters().violations.len(), 3);
}

#[test]
fn a_record_has_at_most_what_the_stream_takes_with_its_key() {
    let (aws, stream) = server(1);
    stream.quota(ShardQuota::UNLIMITED);
    let mut client = Client::new(&aws);
    let too_large = entry(&vec![0; 1 << 20], "k");
    put(&mut client, &[entry(b"x", "k"), too_large.clone()]).assert_error(
        400,
        "ValidationException",
        "1 validation error detected: Value at 'records.2.member.data' failed to satisfy constraint: Member must have \
         length less than or equal to 1048576",
    );
    stream.record_limit_kib(2048);
    assert_eq!(put(&mut client, &[too_large]).status, 200);
    let summary = client.call(SUMMARY, &json!({ "StreamName": "hits" })).json();
    assert_eq!(summary["StreamDescriptionSummary"]["MaxRecordSizeInKiB"], 2048);
}

#[test]
fn keys_that_are_none_are_refused() {
    let (aws, stream) = server(2);
    let mut client = Client::new(&aws);
    for good in [entry(b"x", "k"), entry(b"x", &"é".repeat(256)), with_hash_key(0), with_hash_key(u128::MAX)] {
        assert_eq!(put(&mut client, &[good]).status, 200);
    }
    let bad = [
        (entry(b"x", ""), "records.1.member.partitionKey"),
        (entry(b"x", &"é".repeat(257)), "records.1.member.partitionKey"),
        (json!({ "Data": "YQ==" }), "records.1.member.partitionKey"),
        (json!({ "PartitionKey": "k" }), "records.1.member.data"),
        (with_hash_key(""), "records.1.member.explicitHashKey"),
        (with_hash_key("01"), "records.1.member.explicitHashKey"),
        (with_hash_key("-1"), "records.1.member.explicitHashKey"),
        (with_hash_key("+1"), "records.1.member.explicitHashKey"),
        (with_hash_key("1".repeat(40)), "records.1.member.explicitHashKey"),
    ];
    let count = bad.len();
    for (entry, member) in bad {
        let (_, code, message) = put(&mut client, &[entry]).error();
        assert_eq!(code, "ValidationException");
        assert!(message.contains(&format!("at '{member}' failed to satisfy constraint")), "{message}");
    }
    put(&mut client, &[with_hash_key("340282366920938463463374607431768211456")]).assert_error(
        400,
        "InvalidArgumentException",
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was \
         340282366920938463463374607431768211456",
    );
    assert_eq!((stream.counts().records, aws.counters().violations.len()), (4, count + 1));
}

#[test]
fn a_shard_takes_1000_records_and_1_mib_a_second() {
    let (aws, stream) = server(2);
    let mut client = Client::new(&aws);
    let entries: Vec<Value> = vec![with_hash_key(0); 500];
    assert_eq!(put(&mut client, &entries).json()["FailedRecordCount"], 0);
    let begun = std::time::Instant::now();
    while put(&mut client, &entries).json()["FailedRecordCount"] == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "no limit");
    }
    let json = put(&mut client, &[with_hash_key(u128::MAX)]).json();
    assert_eq!(json["FailedRecordCount"], 0, "the other shard has its own bucket");
    // Megabytes too: the second shard has one.
    let megabyte = |data: usize| {
        let mut entry = entry(&vec![0; data], "k");
        entry["ExplicitHashKey"] = json!(u128::MAX.to_string());
        entry
    };
    let json = put(&mut client, &[megabyte(600 << 10), megabyte(600 << 10)]).json();
    assert_eq!(json["FailedRecordCount"], 1);
    let failed = &json["Records"][1];
    assert_eq!(failed["ErrorCode"], "ProvisionedThroughputExceededException");
    let message = "Rate exceeded for shard shardId-000000000001 in stream hits under account 123456789012.";
    assert_eq!(failed["ErrorMessage"], message);
    assert!(failed["ShardId"].is_null());
    assert_eq!(stream.counts().records, stream.delivered().len() as u64);
    assert!(aws.counters().throttles() > 0 && aws.counters().violations.is_empty());
}

#[test]
fn after_a_split_and_a_merge_records_go_to_the_children() {
    let (aws, stream) = server(2);
    let mut client = Client::new(&aws);
    let keys = [0, 1 << 126, 1 << 127, u128::MAX].map(with_hash_key);
    let mut shards = || {
        let json = put(&mut client, &keys).json();
        let ids = json["Records"].as_array().unwrap().iter().map(|r| r["ShardId"].as_str().unwrap().to_owned());
        ids.map(|id| id.trim_start_matches("shardId-").parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(shards(), [0, 0, 1, 1]);
    let children = stream.split_shard("shardId-000000000000");
    assert_eq!(children.map(|id| id.to_string()), ["shardId-000000000002", "shardId-000000000003"]);
    assert_eq!(shards(), [2, 3, 1, 1]);
    assert_eq!(&*stream.merge_shards("shardId-000000000001", "shardId-000000000003"), "shardId-000000000004");
    assert_eq!(shards(), [2, 4, 4, 4]);
    let open: Vec<bool> = stream.shards().iter().map(|shard| shard.open).collect();
    assert_eq!(open, [false, false, true, false, true]);
    // Each record lies in the range of the shard that took it.
    let ranges: BTreeMap<_, _> = stream.shards().into_iter().map(|shard| (shard.id, shard.hash_keys)).collect();
    for record in stream.delivered() {
        assert!(ranges[&record.shard_id.unwrap()].contains(&record.explicit_hash_key.unwrap()));
    }
}

#[test]
fn shards_are_listed_by_page_and_filter() {
    let (aws, stream) = server(5);
    stream.split_shard("shardId-000000000001");
    stream.shards_per_page(2);
    let mut client = Client::new(&aws);
    let mut list = |first: Value| {
        let (mut ids, mut pages, mut request) = (Vec::new(), 0, first);
        loop {
            let json = client.call(LIST_SHARDS, &request).json();
            pages += 1;
            ids.extend(
                json["Shards"].as_array().unwrap().iter().map(|s| s["ShardId"].as_str().unwrap()[18..].to_owned()),
            );
            match json["NextToken"].as_str() {
                Some(token) => request = json!({ "NextToken": token }),
                None => return (ids.concat(), pages),
            }
        }
    };
    assert_eq!(list(json!({ "StreamName": "hits" })), ("000102030405 06".replace(' ', ""), 4));
    let latest = json!({ "StreamName": "hits", "ShardFilter": { "Type": "AT_LATEST" } });
    assert_eq!(list(latest), ("000203040506".to_owned(), 3));
    let after = json!({ "StreamName": "hits", "ExclusiveStartShardId": "shardId-000000000004" });
    assert_eq!(list(after), ("0506".to_owned(), 1));

    let json = client.call(LIST_SHARDS, &json!({ "StreamName": "hits", "MaxResults": 1 })).json();
    assert_eq!(json["Shards"].as_array().map(Vec::len), Some(1));
    let json = client.call(LIST_SHARDS, &json!({ "StreamName": "hits", "MaxResults": 2 })).json();
    let (open, closed) = (&json["Shards"][0], &json["Shards"][1]);
    assert_eq!(open["HashKeyRange"]["StartingHashKey"], "0");
    assert_eq!(open["HashKeyRange"]["EndingHashKey"], "68056473384187692692674921486353642290");
    assert!(open["SequenceNumberRange"]["EndingSequenceNumber"].is_null());
    assert!(closed["SequenceNumberRange"]["EndingSequenceNumber"].is_string());
    let both = json!({ "StreamName": "hits", "NextToken": json["NextToken"] });
    let message = "NextToken and StreamName cannot be provided together.";
    client.call(LIST_SHARDS, &both).assert_error(400, "InvalidArgumentException", message);
    stream.status("CREATING");
    let answer = client.call(LIST_SHARDS, &json!({ "StreamName": "hits" }));
    assert_eq!(answer.error().1, "ResourceInUseException");
}

#[test]
fn a_stream_describes_itself_and_the_account_its_limits() {
    let (aws, stream) = server(3);
    stream.on_demand(true).encrypted(true).distribution(Distribution::Auto).status("UPDATING");
    let mut client = Client::new(&aws);
    let json = client.call(SUMMARY, &json!({ "StreamName": "hits" })).json();
    let summary = &json["StreamDescriptionSummary"];
    assert_eq!(summary["StreamARN"], "arn:aws:kinesis:us-east-1:123456789012:stream/hits");
    assert_eq!(summary["StreamStatus"], "UPDATING");
    assert_eq!(summary["OpenShardCount"], 3);
    assert_eq!(summary["MaxRecordSizeInKiB"], 1024);
    assert_eq!(summary["EncryptionType"], "KMS");
    assert_eq!(summary["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    assert_eq!(summary["RecordDistributionStrategy"], "AUTO");
    let limits = client.call("Kinesis_20131202.DescribeLimits", &json!({})).json();
    assert_eq!((limits["OpenShardCount"].as_u64(), limits["OnDemandStreamCount"].as_u64()), (Some(3), Some(1)));
}

#[test]
fn a_stream_with_auto_distribution_ignores_keys() {
    let (aws, stream) = server(4);
    stream.distribution(Distribution::Auto);
    let mut client = Client::new(&aws);
    let mut entries = vec![with_hash_key(0); 7];
    entries.push(json!({ "Data": "YQ==" }));
    assert_eq!(put(&mut client, &entries).json()["FailedRecordCount"], 0);
    let mut taken = BTreeMap::new();
    for record in stream.delivered() {
        *taken.entry(record.shard_id).or_insert(0) += 1;
    }
    assert_eq!(taken.into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
}
