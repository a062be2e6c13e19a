//! The second picture of AWS's post on tracking pixels, on one machine: CloudFront's lines come one
//! a record into a stream, a Lambda function aggregates them into a second stream, and a consumer
//! takes that apart.
//!
//! The streams are kinesis-local's, the consumer is the code of the Kinesis Client Library. Between
//! them stands the function as Lambda starts it, and an event source mapping that does what AWS
//! documents: a batch of a shard at a time, retries from the record that is named, halves after an
//! error, and batches that come again though they were done.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::emulators::{make_stream, read_back};
use crate::lambda_aggregate::{different, duplicates};
use crate::mapping::Mapping;
use crate::peers::{kcl_deaggregate, kinesis_local};
use crate::shaky_way::ShakyWay;
use crate::support::{lines, log, soak};

#[test]
fn every_line_comes_through_two_streams_and_a_function() {
    let Some(kinesis) = kinesis_local(None) else { return };
    let count = soak(6_000, 200_000);
    make_stream(&kinesis, "hits", 3);
    make_stream(&kinesis, "packed", 2);
    let log = log("realtime-46", count);
    let put = |(number, lines): (usize, &[&[u8]])| {
        let record = |(index, line): (usize, &&[u8])| json!({ "Data": BASE64.encode(line), "PartitionKey": format!("{number}-{index}") });
        let records: Vec<Value> = lines.iter().enumerate().map(record).collect();
        ("put_records", json!({ "StreamName": "hits", "Records": records }))
    };
    let all: Vec<&[u8]> = lines(&log).collect();
    let calls: Vec<(&str, Value)> = all.chunks(500).enumerate().map(put).collect();
    let replies = kinesis.call("kinesis", &calls);
    assert!(replies.iter().all(|reply| reply["FailedRecordCount"] == 0));
    let hits = read_back(&kinesis, "hits");
    assert_eq!(hits.iter().map(|shard| shard.records.len() as u64).sum::<u64>(), count);

    let way = ShakyWay::to(kinesis.port(), 11);
    way.is_broken.store(true, Ordering::Relaxed);
    let mappings = Mapping::run_all(&hits, 150, &kinesis, &way);
    let sum = |of: fn(&Mapping) -> u64| mappings.iter().map(of).sum::<u64>();
    let (killed, repeated) = (sum(|it| it.killed), sum(|it| it.repeated));
    assert!(killed > 0 && repeated > 0 && way.broken.load(Ordering::Relaxed) > 0);

    // What a consumer of each shard gets, by the code that drops an aggregate outside of its shard.
    let mut text = Vec::new();
    for shard in read_back(&kinesis, "packed") {
        assert!(!shard.records.is_empty(), "{}", shard.id);
        let entries: String = shard.records.iter().map(|record| format!("{record}\n")).collect();
        let Some(user_records) = kcl_deaggregate(&entries, Some(shard.range)) else { return };
        let aggregates: BTreeSet<_> = user_records.iter().map(|record| record.record).collect();
        assert_eq!(aggregates.len(), shard.records.len(), "{}: none is dropped", shard.id);
        text.extend(user_records.into_iter().flat_map(|record| record.data));
    }
    assert_eq!(different(&text), count as usize, "killed {killed}, repeated {repeated}");
    let twice = duplicates(&text);
    eprintln!(
        "{count} lines, {twice} of them again: {killed} functions killed, {} batches tried again from a record, {} \
         halved, {repeated} repeated, {} connections broken",
        sum(|it| it.retried),
        sum(|it| it.halved),
        way.broken.load(Ordering::Relaxed)
    );
}
