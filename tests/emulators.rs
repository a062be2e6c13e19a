//! Delivery to emulators that others wrote: moto and kinesis-local. What they enforce is little,
//! but nobody here told them what a request looks like.

use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_aws::{FakeAws, Fault, ShardQuota};
use pixel_engine::kpl::hash_of_partition_key;
use serde_json::{Value, json};

use crate::peers::{Emulator, kinesis_local, moto, python_deaggregate, self_signed};
use crate::support::{OUT, Run, Seen, Workspace, gunzip, log, run, sorted};

const LINES: u64 = 2_000;

fn ingest(emulator: &Emulator, workspace: &Workspace, to: &str, arguments: &[&str]) -> Run {
    workspace.write("a.log", &log("realtime-46", LINES));
    let mut command = workspace.ingest_command(&["a.log", "--to", to]);
    command.args(arguments).envs(emulator.environment()).env_remove("AWS_PROFILE");
    workspace.ingest_with(&mut command, b"")
}

/// Makes a data stream and waits until it takes records.
pub(crate) fn make_stream(emulator: &Emulator, name: &str, shards: u32) {
    emulator.call("kinesis", &[("create_stream", json!({ "StreamName": name, "ShardCount": shards }))]);
    wait_until_active(emulator, name);
}

fn wait_until_active(emulator: &Emulator, name: &str) {
    let begun = Instant::now();
    let status = || {
        let reply = emulator.call("kinesis", &[("describe_stream_summary", json!({ "StreamName": name }))]);
        reply[0]["StreamDescriptionSummary"]["StreamStatus"].as_str().unwrap_or_default().to_owned()
    };
    while status() != "ACTIVE" {
        assert!(begun.elapsed() < Duration::from_secs(30), "{name} is not active");
        thread::sleep(Duration::from_millis(100));
    }
}

/// A shard with all that is in it.
pub(crate) struct ShardContent {
    pub(crate) id: String,
    pub(crate) range: (u128, u128),
    is_open: bool,
    /// As GetRecords gives them.
    pub(crate) records: Vec<Value>,
}

/// Reads a stream as a consumer would.
pub(crate) fn read_back(emulator: &Emulator, stream: &str) -> Vec<ShardContent> {
    let list = emulator.call("kinesis", &[("list_shards", json!({ "StreamName": stream }))]);
    let shards = list[0]["Shards"].as_array().expect("shards");
    let id = |shard: &Value| shard["ShardId"].as_str().expect("an id").to_owned();
    let iterator = |shard: &Value| {
        let start = json!({ "StreamName": stream, "ShardId": id(shard), "ShardIteratorType": "TRIM_HORIZON" });
        ("get_shard_iterator", start)
    };
    let iterators = emulator.call("kinesis", &shards.iter().map(iterator).collect::<Vec<_>>());
    shards
        .iter()
        .zip(iterators)
        .map(|(shard, iterator)| {
            let mut records = Vec::new();
            let mut next = Some(iterator["ShardIterator"].clone());
            while let Some(iterator) = next.take() {
                let reply = &mut emulator.call("kinesis", &[("get_records", json!({ "ShardIterator": iterator }))])[0];
                let Value::Array(found) = reply["Records"].take() else { panic!("no list: {reply}") };
                if !found.is_empty() {
                    next = reply.get("NextShardIterator").filter(|iterator| iterator.is_string()).cloned();
                }
                records.extend(found);
            }
            let key = |name: &str| shard["HashKeyRange"][name].as_str().and_then(|key| key.parse().ok());
            ShardContent {
                id: id(shard),
                range: key("StartingHashKey").zip(key("EndingHashKey")).expect("a range"),
                is_open: shard["SequenceNumberRange"].get("EndingSequenceNumber").is_none(),
                records,
            }
        })
        .collect()
}

/// Every line once, as PyPI `aws_kinesis_agg` unpacks them; all of an aggregate belong to the shard
/// that has it.
#[track_caller]
fn everything_once(shards: &[ShardContent]) {
    let mut seen = Seen::new(LINES);
    let mut aggregates = 0;
    for shard in shards {
        let entries: String = shard.records.iter().map(|record| format!("{record}\n")).collect();
        for record in python_deaggregate(&entries) {
            seen.ids_in(&record.data);
            if record.aggregated {
                aggregates += 1;
                let explicit = record.explicit_hash_key.map(|key| key.parse().expect("a number"));
                let hash_key = explicit.unwrap_or_else(|| hash_of_partition_key(&record.partition_key));
                assert!((shard.range.0..=shard.range.1).contains(&hash_key), "{hash_key} in {}", shard.id);
            }
        }
    }
    seen.all();
    assert!(aggregates > LINES * 9 / 10, "{aggregates} lines in aggregates");
}

fn data_of(record: &Value) -> Vec<u8> {
    BASE64.decode(record["Data"].as_str().expect("Data")).expect("base64")
}

#[test]
fn objects_that_moto_delivers_are_the_lines() {
    let moto = moto();
    moto.call("s3", &[("create_bucket", json!({ "Bucket": "delivered" }))]);
    let cases: [(&str, &[&str]); 5] = [
        ("raw", &[]),
        ("small", &["--record-size", "20KiB"]),
        ("jsonl", &["--encode", "jsonl"]),
        ("zstd", &["--compress", "zstd", "--record-size", "100KiB"]),
        ("gzip", &["--compress", "gzip", "--record-size", "100KiB"]),
    ];
    for (name, arguments) in cases {
        let mut destination = json!({
            "RoleARN": "arn:aws:iam::123456789012:role/firehose",
            "BucketARN": "arn:aws:s3:::delivered",
            "Prefix": format!("{name}/"),
        });
        // Without it, moto's description of the stream has no CompressionFormat, which every one of
        // AWS's has.
        if name != "raw" {
            destination["CompressionFormat"] = json!("UNCOMPRESSED");
        }
        let stream = json!({ "DeliveryStreamName": name, "ExtendedS3DestinationConfiguration": destination });
        moto.call("firehose", &[("create_delivery_stream", stream)]);

        let workspace = Workspace::new();
        let run = ingest(&moto, &workspace, &format!("firehose://{name}"), arguments).ok();
        let wanted = if name == "jsonl" {
            workspace.ingest(&["a.log", "--encode", "jsonl"]).ok();
            workspace.delivered(OUT)
        } else {
            log("realtime-46", LINES)
        };
        let list =
            moto.call("s3", &[("list_objects_v2", json!({ "Bucket": "delivered", "Prefix": format!("{name}/") }))]);
        let objects = list[0]["Contents"].as_array().expect("objects");
        let get = |object: &Value| ("get_object", json!({ "Bucket": "delivered", "Key": object["Key"] }));
        let bodies = moto.call("s3", &objects.iter().map(get).collect::<Vec<_>>());
        let delivered: Vec<u8> = bodies
            .iter()
            .flat_map(|reply| {
                let object = BASE64.decode(reply["Body"].as_str().expect("a body")).expect("base64");
                match name {
                    "zstd" => zstd::decode_all(&object[..]).expect("zstd frames"),
                    "gzip" => gunzip(&object),
                    _ => object,
                }
            })
            .collect();
        assert!(sorted(&delivered) == sorted(&wanted), "{name}: {} bytes of {}", delivered.len(), wanted.len());
        // moto makes an object of each request.
        let summary = run.summary();
        assert_eq!((summary.lines_shipped, summary.requests), (LINES, objects.len() as u64), "{name}");
    }
}

#[test]
fn moto_s_kinesis_takes_what_we_send() {
    let moto = moto();
    make_stream(&moto, "hits", 3);
    let run = ingest(&moto, &Workspace::new(), "kinesis://hits", &[]).ok();
    let shards = read_back(&moto, "hits");
    everything_once(&shards);
    assert!(shards.iter().all(|shard| !shard.records.is_empty()));
    let shipping = run.summary().shipping.expect("it was shipped");
    assert_eq!((shipping.records_in_other_shard, shipping.requests_retried), (0, 0));
}

#[test]
fn kinesis_local_takes_what_we_send() {
    let Some(kinesis) = kinesis_local(None) else { return };
    for (stream, arguments) in [("spread", &[][..]), ("partitioned", &["--partition-by", "c-ip"])] {
        make_stream(&kinesis, stream, 4);
        let run = ingest(&kinesis, &Workspace::new(), &format!("kinesis://{stream}"), arguments).ok();
        let shards = read_back(&kinesis, stream);
        everything_once(&shards);
        assert!(shards.iter().all(|shard| !shard.records.is_empty()), "{stream}");
        let shipping = run.summary().shipping.expect("it was shipped");
        assert_eq!((shipping.records_in_other_shard, shipping.requests_retried), (0, 0), "{stream}");
    }
    make_stream(&kinesis, "lines", 2);
    let arguments = ["--container", "lines", "--compress", "zstd", "--record-size", "50KiB"];
    ingest(&kinesis, &Workspace::new(), "kinesis://lines", &arguments).ok();
    let mut seen = Seen::new(LINES);
    for record in read_back(&kinesis, "lines").iter().flat_map(|shard| &shard.records) {
        seen.ids_in(&zstd::decode_all(&data_of(record)[..]).expect("a zstd frame"));
    }
    seen.all();
}

#[test]
fn a_stream_of_kinesis_local_may_be_split_and_merged_in_the_middle() {
    let Some(kinesis) = kinesis_local(None) else { return };
    make_stream(&kinesis, "hits", 2);
    let workspace = Workspace::new();
    workspace.write("a.log", &log("realtime-46", LINES));
    let mut command = workspace.ingest_command(&["a.log", "--to", "kinesis://hits", "--rate-limit", "64KiB"]);
    let child = command.envs(kinesis.environment()).env_remove("AWS_PROFILE").spawn().expect("it starts");
    let split = |shard: &str, key: u128| json!({ "StreamName": "hits", "ShardToSplit": shard, "NewStartingHashKey": key.to_string() });
    kinesis.call("kinesis", &[("split_shard", split("shardId-000000000000", 1 << 125))]);
    wait_until_active(&kinesis, "hits");
    let merge = json!({
        "StreamName": "hits", "ShardToMerge": "shardId-000000000003", "AdjacentShardToMerge": "shardId-000000000001",
    });
    kinesis.call("kinesis", &[("merge_shards", merge)]);
    wait_until_active(&kinesis, "hits");
    let run = workspace.wait(child).ok();
    let shards = read_back(&kinesis, "hits");
    everything_once(&shards);
    assert_eq!(shards.len(), 5);
    assert!(shards.iter().filter(|shard| shard.is_open).all(|shard| !shard.records.is_empty()));
    let shipping = run.summary().shipping.expect("it was shipped");
    assert!(shipping.records_in_other_shard > 0 && shipping.shard_map_refreshes > 0, "{shipping:?}");
}

#[test]
fn records_that_are_too_large_for_kinesis_local_stay_in_the_spool() {
    let Some(kinesis) = kinesis_local(None) else { return };
    make_stream(&kinesis, "hits", 2);
    let workspace = Workspace::new();
    let refused = ingest(&kinesis, &workspace, "kinesis://hits", &["--record-size", "2MiB"]).exits(1);
    refused.says(&["1048576 B", "--record-size is 2097152"]);

    // Kept for a stream that takes them, sent to one that does not.
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 2);
    hits.quota(ShardQuota::UNLIMITED).record_limit_kib(2_048).fail_requests(1.0, 7, &[Fault::internal_failure()]);
    let arguments = ["--record-size", "2MiB", "--spool", "spool", "--give-up-after", "1ms"];
    let mut command = workspace.ingest_command(&["a.log", "--to", "kinesis://hits"]);
    let failed = workspace.ingest_with(command.args(arguments).envs(aws.environment()), b"");
    let kept = failed.summary();
    assert_eq!(kept.lines_spooled, LINES, "{}", failed.stderr);
    let ship = |environment: Vec<(&'static str, String)>| {
        run(workspace.command(&["ship", "spool", "--to", "kinesis://hits"]).envs(environment), b"")
    };
    ship(kinesis.environment()).exits(1).says(&["InvalidArgumentException", "max record size of 1048576 bytes"]);
    // All of it is still there for the one that does.
    hits.fail_requests(0.0, 7, &[Fault::internal_failure()]);
    ship(aws.environment()).ok();
    let entries: String = hits
        .delivered()
        .iter()
        .map(|record| {
            let key = record.partition_key.as_ref().expect("a key");
            format!("{}\n", json!({ "Data": BASE64.encode(&record.data), "PartitionKey": **key }))
        })
        .collect();
    let mut seen = Seen::new(LINES);
    python_deaggregate(&entries).iter().for_each(|record| seen.ids_in(&record.data));
    seen.all();
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_and_one_that_is_trusted_taken() {
    let workspace = Workspace::new();
    let (server, certificate) = self_signed();
    workspace.write("server.json", server.as_bytes());
    workspace.write("trusted.pem", certificate.as_bytes());
    let Some(kinesis) = kinesis_local(Some(&workspace.path("server.json"))) else { return };
    make_stream(&kinesis, "hits", 2);
    let url = kinesis.tls_url.clone().expect("it speaks TLS");
    let arguments = ["--endpoint-url", &url];
    let parts = ["kinesis://hits", "UntrustedCertificate", "SSL_CERT_FILE"];
    ingest(&kinesis, &workspace, "kinesis://hits", &arguments).exits(1).says(&parts);
    assert!(read_back(&kinesis, "hits").iter().all(|shard| shard.records.is_empty()));

    let mut command = workspace.ingest_command(&["a.log", "--to", "kinesis://hits"]);
    command.args(arguments).envs(kinesis.environment()).env_remove("AWS_PROFILE");
    workspace.ingest_with(command.env("SSL_CERT_FILE", "trusted.pem"), b"").ok();
    everything_once(&read_back(&kinesis, "hits"));

    // That of kinesis-local is for no address at all.
    let own = kinesis_local(None).expect("it was there a moment ago");
    let arguments = ["--endpoint-url", own.tls_url.as_deref().expect("it speaks TLS")];
    ingest(&own, &workspace, "kinesis://hits", &arguments).exits(1).says(&parts);
}
