use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::peers::*;
use crate::support::{Workspace, fixture, lines, log, run};

/// Aggregates as `ingest` writes them, one request of small records.
fn entries(count: u64) -> (Vec<u8>, Vec<Value>) {
    let text = log("realtime-46", count);
    let arguments = ["--to", "stdout:beacons", "--container", "kpl", "--record-size", "8000"];
    let requests = Workspace::new().ingest_from(&arguments, &text).ok().stdout;
    let entries: Vec<Value> = lines(&requests)
        .flat_map(|request| {
            let request: Value = serde_json::from_slice(request).expect("a request is JSON");
            request["Records"].as_array().expect("records").clone()
        })
        .collect();
    assert!(entries.len() > 3);
    (text, entries)
}

fn each(entries: &[Value], shape: impl Fn(&Value, usize) -> Value) -> Vec<Value> {
    entries.iter().enumerate().map(|(place, entry)| shape(entry, place)).collect()
}

/// Every shape in which people hold these records.
fn shapes(entries: &[Value]) -> Vec<(&'static str, Vec<u8>)> {
    let number = |place: usize| format!("{place:056}");
    let data: Vec<&str> = entries.iter().map(|entry| entry["Data"].as_str().expect("base64")).collect();
    let got = each(entries, |entry, place| {
        json!({
            "SequenceNumber": number(place), "ApproximateArrivalTimestamp": "2026-01-05T08:00:00.068000+00:00",
            "Data": entry["Data"], "PartitionKey": entry["PartitionKey"], "EncryptionType": "NONE",
        })
    });
    let get_records = json!({"Records": got, "NextShardIterator": "AAAAAAAAAAE=", "MillisBehindLatest": 0});
    let pipe = each(entries, |entry, place| {
        json!({
            "kinesisSchemaVersion": "1.0", "partitionKey": entry["PartitionKey"], "sequenceNumber": number(place),
            "data": entry["Data"], "approximateArrivalTimestamp": 1_767_600_000.068, "eventSource": "aws:kinesis",
            "eventVersion": "1.0", "eventID": format!("shardId-000000000000:{}", number(place)),
            "eventName": "aws:kinesis:record", "awsRegion": "eu-west-1",
        })
    });
    let lambda = json!({"Records": each(entries, |entry, place| json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0", "partitionKey": entry["PartitionKey"], "data": entry["Data"],
            "sequenceNumber": number(place), "approximateArrivalTimestamp": 1_767_600_000.068,
        },
        "eventSource": "aws:kinesis",
    }))});
    let transformation = json!({
        "invocationId": "5ba2aed1", "deliveryStreamArn": "arn:aws:firehose:eu-west-1:1:deliverystream/beacons",
        "region": "eu-west-1",
        "records": each(entries, |entry, place| json!({
            "recordId": place.to_string(), "approximateArrivalTimestamp": 1_767_600_000_068_u64, "data": entry["Data"],
            "kinesisRecordMetadata": {"partitionKey": entry["PartitionKey"], "sequenceNumber": number(place)},
        })),
    });
    let analytics = json!({
        "invocationId": "5ba2aed1", "applicationArn": "arn:aws:kinesisanalytics:eu-west-1:1:application/hits",
        "streamArn": "arn:aws:kinesis:eu-west-1:1:stream/hits",
        "records": each(entries, |entry, place| json!({
            "recordId": place.to_string(), "data": entry["Data"],
            "kinesisStreamRecordMetadata": {"partitionKey": entry["PartitionKey"], "sequenceNumber": number(place)},
        })),
    });
    let mut answers =
        each(entries, |entry, place| json!({"recordId": place.to_string(), "result": "Ok", "data": entry["Data"]}));
    answers.insert(1, json!({"recordId": "dropped", "result": "Dropped"}));
    let answer = json!({"records": answers});
    let endpoint = json!({"requestId": "5ba2aed1", "timestamp": 1_767_600_000_068_u64,
        "records": each(entries, |entry, _| json!({"data": entry["Data"]}))});
    let kcl = json!({"action": "processRecords", "millisBehindLatest": 0, "records": each(entries, |entry, place| json!({
        "action": "record", "data": entry["Data"], "partitionKey": "a", "sequenceNumber": number(place),
        "subSequenceNumber": 0,
    }))});
    let failed = each(
        entries,
        |entry, _| json!({"attemptsMade": 4, "errorCode": "Lambda.FunctionError", "rawData": entry["Data"]}),
    );
    let put = |name: &str| json!({name: "beacons", "Records": entries});
    let joined = |values: &[Value], between: &str| {
        values.iter().map(Value::to_string).collect::<Vec<_>>().join(between).into_bytes()
    };
    let pretty = |value: &Value| format!("{value:#}\n").into_bytes();
    let firehose_puts = each(entries, |entry, _| json!({"DeliveryStreamName": "b", "Record": {"Data": entry["Data"]}}));
    let kinesis_puts = each(
        entries,
        |entry, _| json!({"StreamName": "hits", "Data": entry["Data"], "PartitionKey": entry["PartitionKey"]}),
    );
    let row = |place: usize, columns: &[&str]| {
        let [data, key, arrived] =
            [data[place], entries[place]["PartitionKey"].as_str().expect("a key"), "2026-01-05T08:00:00"];
        let cell = |name: &&str| match *name {
            "Data" => data.to_owned(),
            "PartitionKey" => key.to_owned(),
            "SequenceNumber" => number(place),
            "EncryptionType" => "NONE".to_owned(),
            _ => arrived.to_owned(),
        };
        columns.iter().map(cell).collect::<Vec<_>>()
    };
    let rows = |columns: &[&str]| (0..data.len()).map(|place| row(place, columns)).collect::<Vec<_>>();
    let table = |rows: Vec<Vec<String>>| rows.iter().map(|row| row.join("\t") + "\n").collect::<String>();
    let unqueried = "0\tAAAAAAAAAAE=\n".to_owned()
        + &table(rows(&["ApproximateArrivalTimestamp", "Data", "EncryptionType", "PartitionKey", "SequenceNumber"]))
            .lines()
            .map(|row| format!("RECORDS\t{row}\n"))
            .collect::<String>();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut gzip, &pretty(&get_records)).expect("memory");
    vec![
        ("get-records", pretty(&get_records)),
        ("get-records, gzip", gzip.finish().expect("memory")),
        ("get-records, zstd", zstd::encode_all(&pretty(&get_records)[..], 3).expect("memory")),
        ("get-records, several", [pretty(&json!({"Records": []})), pretty(&get_records)].concat()),
        ("--query Records", pretty(&json!(got))),
        ("--query Records[]", joined(&got, "\n")),
        ("--query Records[].Data", pretty(&json!(data))),
        ("--query [Records[].Data]", pretty(&json!([data]))),
        ("--query {Records: Records[].Data}", pretty(&json!({"Records": data}))),
        ("--query Records[].[Data]", pretty(&json!(rows(&["Data"])))),
        ("--query Records[].[PartitionKey, Data]", pretty(&json!(rows(&["PartitionKey", "Data"])))),
        (
            "--query Records[].{d: Data}",
            pretty(&json!(each(entries, |entry, _| json!({"d": entry["Data"], "k": "8000"})))),
        ),
        ("jq .Records[].Data", joined(&each(entries, |entry, _| entry["Data"].clone()), "\n")),
        ("--output text Records[].Data", (data.join("\t") + "\n").into_bytes()),
        ("--output text Records[].[Data]", (data.join("\r\n") + "\n").into_bytes()),
        ("--output text Records[].[Data, PartitionKey]", table(rows(&["Data", "PartitionKey"])).into_bytes()),
        (
            "--output text Records[].[SequenceNumber, EncryptionType, Data]",
            table(rows(&["SequenceNumber", "EncryptionType", "Data"])).into_bytes(),
        ),
        ("--output text", unqueried.into_bytes()),
        ("EventBridge Pipes", joined(&[json!(pipe)], "")),
        ("EventBridge Pipes, one", joined(&pipe, "\n")),
        ("Lambda event", lambda.to_string().into_bytes()),
        ("Lambda records", joined(lambda["Records"].as_array().expect("records"), "")),
        ("Lambda event in a log", joined(&[json!({"level": "info", "event": lambda})], "")),
        ("Firehose transformation", pretty(&transformation)),
        ("Analytics preprocessing", pretty(&analytics)),
        ("transformation's answer", pretty(&answer)),
        ("Firehose to an HTTP endpoint", pretty(&endpoint)),
        ("failed records that Firehose writes to S3", joined(&failed, "")),
        ("KCL", pretty(&kcl)),
        ("put-records", put("StreamName").to_string().into_bytes()),
        ("put-record-batch", pretty(&put("DeliveryStreamName"))),
        ("put-record-batch --records", pretty(&json!(entries))),
        ("put-record of Firehose", joined(&firehose_puts, "\n")),
        ("put-record of Kinesis", joined(&kinesis_puts, "")),
        ("entries", joined(entries, "\n")),
        ("entries, joined", joined(entries, "")),
    ]
}

#[test]
fn every_shape_gives_the_same_lines() {
    let (text, entries) = entries(100);
    let peers = python_deaggregate(&entries.iter().map(|entry| format!("{entry}\n")).collect::<String>());
    let peers: Vec<u8> = peers.into_iter().flat_map(|record| record.data).collect();
    assert!(peers == text);
    for (shape, input) in shapes(&entries) {
        let run = Workspace::new().decode(&input);
        assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{shape}");
        assert!(run.stdout == text, "{shape}: {}", String::from_utf8_lossy(&run.stdout));
    }
    let workspace = Workspace::new();
    for (place, entry) in entries.iter().enumerate() {
        let blob = BASE64.decode(entry["Data"].as_str().expect("base64")).expect("base64");
        workspace.write(&format!("blobs/{place:03}"), &blob);
    }
    assert!(run(&mut workspace.command(&["decode", "blobs"]), b"").ok().stdout == text, "raw data");
}

/// A record of others, whose lines are text: in every shape as well.
#[test]
fn plain_records_come_in_every_shape_too() {
    let text = log("realtime-46", 30);
    let entries: Vec<Value> = lines(&text)
        .enumerate()
        .map(|(place, line)| json!({"Data": BASE64.encode(line), "PartitionKey": format!("{:04x}", place * 1_999)}))
        .collect();
    for (shape, input) in shapes(&entries) {
        // Only an aggregate is known by its beginning, whatever it is called and wherever it is.
        if ["--query Records[].{d: Data}", "Lambda event in a log"].contains(&shape) {
            continue;
        }
        let run = Workspace::new().decode(&input);
        assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{shape}");
        assert!(run.stdout == text, "{shape}: {}", String::from_utf8_lossy(&run.stdout));
    }
}

#[test]
fn a_record_that_happens_to_be_json_is_printed_as_it_is() {
    let one = "{\"timestamp\":1761759015.10,\"x\":12345678901234567890123,  \"cs-uri-query\":{\"e\":\"view\"}}";
    for (input, wanted) in [
        (one.to_owned(), format!("{one}\n")),
        (format!("{one}\n{one}\r\n\n{one}"), format!("{one}\n").repeat(3)),
        (format!("{one}{one}"), format!("{one}\n").repeat(2)),
        ("{\"data\":\"hello\",\"type\":\"view\"}".to_owned(), "{\"data\":\"hello\",\"type\":\"view\"}\n".to_owned()),
        ("{\"records\":[1,2]}".to_owned(), "{\"records\":[1,2]}\n".to_owned()),
        ("[{\"a\":1},{\"a\":2}]".to_owned(), "[{\"a\":1},{\"a\":2}]\n".to_owned()),
        ("a\tline\nanother\tline".to_owned(), "a\tline\nanother\tline\n".to_owned()),
        ("[]\nnull\n{\"Records\":[]}".to_owned(), String::new()),
        ("null\n".to_owned(), String::new()),
        ("17\na line\n".to_owned(), "17\na line\n".to_owned()),
        // A loop over shards, the first of which has nothing.
        (format!("null\n\nnull\n{{\"Records\":[{{\"Data\":\"{}\"}}]}}\n", BASE64.encode("one")), "one\n".to_owned()),
    ] {
        let run = Workspace::new().decode(input.as_bytes()).ok();
        assert_eq!((String::from_utf8_lossy(&run.stdout), &*run.stderr), (wanted.into(), ""), "{input}");
    }
    // Inside of an aggregate too.
    let packed =
        python_aggregate(&[NewRecord { partition_key: "a", explicit_hash_key: None, data: one.as_bytes() }; 2], 51_200);
    assert_eq!(Workspace::new().decode(packed.as_bytes()).ok().stdout, format!("{one}\n").repeat(2).into_bytes());
}

#[test]
fn a_bad_record_is_named_and_the_others_are_printed() {
    let base64 = |text: &str| BASE64.encode(text);
    let (one, two, three) = (base64("one"), base64("two"), base64("three"));
    let entry = |data: &str| json!({"Data": data}).to_string();
    let (first, last) = (entry(&one), entry(&three));
    for (input, what) in [
        (format!("{{\"Records\":[{first},{},{last}]}}", entry("b$d=")), "its data is not base64: character 2"),
        (format!("{{\"Records\":[{first},{{\"Data\":7}},{last}]}}"), "its data is a number, not base64 text"),
        (format!("{{\"Records\":[{first},{{\"Dat\":\"\"}},{last}]}}"), "no data in it: expected Data"),
        (format!("[{first},\"twò\",{last}]"), "its data is not base64: character 3"),
        (format!("[\"{one}\",null,17,\"{three}\"]"), "no data in it"),
        (format!("{one}\tb$d=\t{three}\n"), "its data is not base64: character 2"),
        (format!("{first}\n{{\"Data\":\"{two}\n{last}\n"), "the JSON ends before it is complete: line 2, column 13"),
        (format!("{first}\n{{\"Data\":\n{last}\n"), "the JSON ends before it is complete: line 2"),
        (format!("{first}\n{{\"Data\" \"{two}\"}}\n{last}\n"), "the text is not valid JSON: line 2, column 9"),
        (format!("[\n{first},\n{{\"Data\":\"{two}\n\"}},\n{last}\n]"), "the JSON ends before it is complete: line 3"),
    ] {
        let run = Workspace::new().decode(input.as_bytes()).exits(1);
        run.says(&["stdin: record 2: ", what]);
        assert_eq!(String::from_utf8_lossy(&run.stdout), "one\nthree\n", "{input}");
    }
    // Cut: what came before is there.
    let cut = format!("{{\"Records\":[{first},{last},{{\"Data\":\"AAA");
    let run = Workspace::new().decode(cut.as_bytes()).exits(1);
    run.says(&["stdin: record 3: the JSON ends before it is complete: line 1, column"]);
    assert_eq!(run.stdout, b"one\nthree\n");
}

#[test]
fn an_aggregate_inside_an_aggregate_is_told_and_unpacked() {
    let (text, entries) = entries(40);
    let blobs: Vec<Vec<u8>> =
        entries.iter().map(|entry| BASE64.decode(entry["Data"].as_str().expect("base64")).expect("base64")).collect();
    let mut inner: Vec<NewRecord> =
        blobs.iter().map(|data| NewRecord { partition_key: "a", explicit_hash_key: None, data }).collect();
    let run = Workspace::new().decode(python_aggregate(&inner, 1 << 20).as_bytes()).ok();
    run.says(&["stdin: record 1: an aggregate inside an aggregate"]);
    assert_eq!(run.stderr.lines().count(), 1);
    assert!(run.stdout == text);
    // A damaged one inside.
    let damaged = [&blobs[0][..], b"x"].concat();
    inner[0].data = &damaged;
    let run = Workspace::new().decode(python_aggregate(&inner, 1 << 20).as_bytes()).exits(1);
    run.says(&["stdin: record 1: the digest is not that of the content"]);
    assert!(!run.stdout.is_empty() && text.ends_with(&run.stdout));
}

#[test]
fn a_fixture_of_others_comes_in_every_shape() {
    let Some(path) = fixture("kpl-lambda-event.json") else { return };
    let event: Value = serde_json::from_slice(&fs::read(path).expect("it was there")).expect("JSON");
    let entries: Vec<Value> = event["Records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|record| json!({"Data": record["kinesis"]["data"], "PartitionKey": record["kinesis"]["partitionKey"]}))
        .collect();
    let wanted = python_deaggregate(&entries.iter().map(|entry| format!("{entry}\n")).collect::<String>());
    let wanted: Vec<u8> = wanted.into_iter().flat_map(|record| [&record.data[..], b"\n"].concat()).collect();
    for (shape, input) in shapes(&entries) {
        // Of a single line of text it is not known whether it is a row or a list.
        if !shape.starts_with("--output text Records[].[") {
            assert!(Workspace::new().decode(&input).ok().stdout == wanted, "{shape}");
        }
    }
}
