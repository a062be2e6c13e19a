use std::collections::BTreeMap;
use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use pixel_engine::config::{ContainerKind, OnBadLine, Settings};
use pixel_engine::kpl::{Decoded, Shard, ShardMap, SharedShardMap, decode, hash_of_partition_key};
use pixel_engine::quarantine::Quarantine;
use pixel_engine::record::{Delivered, Record};
use pixel_engine::run::Run;
use pixel_engine::sink::limits::Api;
use pixel_engine::sink::requests::Requests;
use pixel_engine::sink::{Sink, SinkError};
use pixel_engine::source::{Files, Input};
use serde_json::{Value, json};

use crate::peers::*;
use crate::support::{
    Entry, OUT, Workspace, count_lines, entry, fixture, lines, log, records, requests, run as run_binary,
};

const MAGIC: &[u8] = b"\xF3\x89\x9A\xC2";

/// Ingests into aggregates on stdout; checks the limits of PutRecords.
#[track_caller]
fn aggregates(text: &[u8], record_size: usize, arguments: &[&str]) -> Vec<Entry> {
    let size = record_size.to_string();
    let arguments = [&["--to", "stdout:", "--container", "kpl", "--record-size", &size], arguments].concat();
    let run = Workspace::new().ingest_from(&arguments, text).ok();
    let requests = requests(&run.stdout);
    crate::lines::billed_as_summarised(&requests, &run.summary());
    let len = |entry: &Entry| entry.data.len() + entry.partition_key.as_ref().expect("a partition key").len();
    for request in &requests {
        assert!((1..=500).contains(&request.entries.len()));
        assert!(request.entries.iter().map(len).sum::<usize>() <= 5 << 20);
    }
    let entries: Vec<Entry> = requests.into_iter().flat_map(|request| request.entries).collect();
    for entry in &entries {
        assert!(len(entry) <= record_size, "{} bytes in a record of {record_size}", len(entry));
        assert!((1..=256).contains(&entry.partition_key.as_ref().expect("a partition key").chars().count()));
        assert!(entry.explicit_hash_key.is_some());
    }
    entries
}

fn entry_lines(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.json.clone() + "\n").collect()
}

/// What every peer unpacks is the lines, in order, all with the key of their record.
#[track_caller]
fn assert_unpacks(entries: &[Entry], text: &[u8]) {
    let sent = entry_lines(entries);
    let peers = [
        ("python", Some(python_deaggregate(&sent))),
        ("node", node_deaggregate(&sent)),
        ("kcl", kcl_deaggregate(&sent, None)),
    ];
    for (peer, found) in peers {
        let Some(found) = found else { continue };
        assert_eq!(found.len() as u64, count_lines(text), "{peer}");
        for (found, wanted) in found.iter().zip(lines(text)) {
            assert!(found.data == wanted, "{peer}: another line");
            let entry = &entries[found.record];
            assert_eq!(Some(&found.partition_key), entry.partition_key.as_ref(), "{peer}");
            if found.aggregated {
                let hash_key = entry.explicit_hash_key.map(|key| key.to_string());
                assert_eq!(found.explicit_hash_key, hash_key, "{peer}");
            }
            assert_eq!(found.aggregated, entry.data.starts_with(MAGIC), "{peer}");
        }
    }
    assert!(Workspace::new().decode(sent.as_bytes()).ok().stdout == text, "our own decoder");
}

#[test]
fn everyone_unpacks_our_aggregates() {
    let text = log("realtime-46", 3_000);
    for size in [5_120, 51_200, 1 << 20] {
        assert_unpacks(&aggregates(&text, size, &[]), &text);
    }
}

#[test]
fn everyone_unpacks_our_aggregates_of_json() {
    let text = log("realtime-45", 1_000);
    let workspace = Workspace::new();
    workspace.ingest_from(&["--encode", "jsonl"], &text).ok();
    assert_unpacks(&aggregates(&text, 51_200, &["--encode", "jsonl"]), &workspace.delivered(OUT));
}

#[test]
fn a_single_user_record_travels_unwrapped() {
    // Two of these lines never fit into one record.
    let usual = |line: &&[u8]| (600..=1_000).contains(&line.len());
    let text: Vec<u8> = lines(&log("realtime-46", 500)).filter(usual).flatten().copied().collect();
    let size = 1_004;
    let entries = aggregates(&text, size, &[]);
    let single: Vec<&Entry> = entries.iter().filter(|entry| !entry.data.starts_with(MAGIC)).collect();
    assert!(single.len() > 100);
    assert!(single.iter().all(|entry| count_lines(&entry.data) == 1));
    assert_unpacks(&entries, &text);
    let [only] = &aggregates(&log("pixel-4", 1), 51_200, &[])[..] else { panic!("one record") };
    assert!(only.data == log("pixel-4", 1));
}

#[test]
fn records_are_filled_to_the_last_line_that_fits() {
    let text = log("realtime-46", 6_000);
    let all: Vec<&[u8]> = lines(&text).collect();
    for size in [4_096, 51_200, 1 << 20] {
        let entries = aggregates(&text, size, &[]);
        let mut next = 0;
        for entry in &entries[..entries.len().min(40) - 1] {
            next += count_lines(&Workspace::new().decode(entry.json.as_bytes()).ok().stdout) as usize;
            // The next line would have taken its bytes with their tag and length, two indices with
            // theirs, and the tag and length of the whole.
            let data = 1 + varint_len(all[next].len()) + all[next].len();
            let record = 2 + 2 + data;
            let longer = entry.data.len() + 1 + varint_len(record) + record + 4;
            let alone = !entry.data.starts_with(MAGIC);
            assert!(alone || longer > size, "{} bytes, {longer} with one more line, of {size}", entry.data.len());
        }
    }
}

fn varint_len(value: usize) -> usize {
    1 + value.checked_ilog2().unwrap_or(0) as usize / 7
}

#[test]
fn a_consumer_of_one_shard_gets_the_aggregates_of_its_shard() {
    let text = log("realtime-46", 8_000);
    let entries = aggregates(&text, 51_200, &[]);
    let sent = entry_lines(&entries);
    let mut everywhere = 0;
    // Four shards: what Kinesis would put on each is what KCL hands out there, whole.
    for shard in 0..4_u128 {
        let first = shard << 126;
        let range = (first, first + (u128::MAX >> 2));
        let Some(found) = kcl_deaggregate(&sent, Some(range)) else { return };
        let mut lines_of_shard = 0;
        for (place, entry) in entries.iter().enumerate() {
            let inside = (range.0..=range.1).contains(&entry.explicit_hash_key.expect("it was checked"));
            let count = found.iter().filter(|record| record.record == place && record.aggregated).count() as u64;
            let all = if inside { count_lines(&Workspace::new().decode(entry.json.as_bytes()).stdout) } else { 0 };
            if entry.data.starts_with(MAGIC) {
                assert_eq!(count, all, "shard {shard}, record {place}");
            }
            lines_of_shard += count;
        }
        assert!(lines_of_shard > 0);
        everywhere += lines_of_shard;
    }
    assert_eq!(everywhere, 8_000);
}

#[test]
fn hash_keys_are_spread_evenly_over_64_shards() {
    let text = log("pixel-4", 60_000);
    let entries = aggregates(&text, 4_096, &[]);
    let mut shards = [0_u32; 64];
    for entry in &entries {
        shards[(entry.explicit_hash_key.expect("it was checked") >> 122) as usize] += 1;
    }
    let mean = entries.len() as f64 / 64.0;
    assert!(mean > 50.0, "{mean}");
    let chi_square: f64 = shards.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum();
    // Random keys would give 63 on average; a sequence that is even by construction far less.
    assert!(chi_square < 32.0, "{chi_square}: {shards:?}");
    // Any run of neighbours is spread as well, so that no moment has a hot shard.
    for window in entries.windows(64).step_by(64) {
        let mut shards = [0_u32; 16];
        window.iter().for_each(|entry| shards[(entry.explicit_hash_key.expect("checked") >> 124) as usize] += 1);
        assert!(shards.iter().all(|&count| (2..=6).contains(&count)), "{shards:?}");
    }
}

#[test]
fn we_unpack_everyones_aggregates() {
    let text = log("realtime-40", 2_000);
    let new: Vec<NewRecord> = lines(&text)
        .enumerate()
        .map(|(place, data)| NewRecord {
            partition_key: ["alpha", "beta", "clé"][place % 3],
            explicit_hash_key: (place % 2 == 0).then_some("340282366920938463463374607431768211455"),
            data,
        })
        .collect();
    let packed = [Some(python_aggregate(&new, 51_200)), Some(python_aggregate(&new, 1 << 20)), node_aggregate(&new)];
    for entries in packed.into_iter().flatten() {
        let workspace = Workspace::new();
        assert!(workspace.decode(entries.as_bytes()).ok().stdout == text);
        // The forms in which a consumer gets them.
        let values: Vec<Value> =
            lines(entries.as_bytes()).map(|line| serde_json::from_slice(line).expect("JSON")).collect();
        let get_records = json!({"Records": values.iter().map(|value| json!({
            "SequenceNumber": "1", "ApproximateArrivalTimestamp": "2026-01-05T08:00:00Z",
            "Data": value["Data"], "PartitionKey": value["PartitionKey"],
        })).collect::<Vec<_>>(), "NextShardIterator": "AAA", "MillisBehindLatest": 0});
        let pretty = serde_json::to_vec_pretty(&get_records).expect("JSON");
        assert!(workspace.decode(&pretty).ok().stdout == text, "GetRecords");
        let lambda = json!({"Records": values.iter().map(|value| json!({
            "kinesis": {"partitionKey": value["PartitionKey"], "data": value["Data"], "kinesisSchemaVersion": "1.0"},
            "eventSource": "aws:kinesis",
        })).collect::<Vec<_>>()});
        assert!(workspace.decode(lambda.to_string().as_bytes()).ok().stdout == text, "Lambda");
        let blobs: Vec<u8> = values
            .iter()
            .enumerate()
            .flat_map(|(place, value)| {
                let name = format!("{place}.bin");
                workspace.write(&name, &BASE64.decode(value["Data"].as_str().expect("Data")).expect("base64"));
                run_binary(&mut workspace.command(&["decode", &name]), b"").ok().stdout
            })
            .collect();
        assert!(blobs == text, "raw blobs");
    }
}

#[test]
fn a_lambda_event_from_the_wild_is_unpacked() {
    let Some(path) = fixture("kpl-lambda-event.json") else { return };
    let event = fs::read(&path).expect("it was there");
    let run = Workspace::new().decode(&event).ok();
    let value: Value = serde_json::from_slice(&event).expect("JSON");
    let data = &value["Records"][0]["kinesis"]["data"];
    let wanted = python_deaggregate(&json!({"Data": data, "PartitionKey": "a"}).to_string());
    assert!(wanted.len() > 1);
    assert_eq!(lines(&run.stdout).count(), wanted.len());
    for (line, wanted) in lines(&run.stdout).zip(&wanted) {
        assert_eq!(line.strip_suffix(b"\n"), Some(wanted.data.as_slice()));
    }
}

#[test]
fn objects_hold_one_entry_a_line() {
    let text = log("realtime-46", 3_000);
    let workspace = Workspace::new();
    workspace.ingest_from(&["--container", "kpl"], &text).ok();
    let [object] = &workspace.objects(OUT)[..] else { panic!("one object") };
    assert!(object.path.to_string_lossy().ends_with(".jsonl"));
    let entries: Vec<Entry> =
        lines(&object.bytes).map(|line| entry(&serde_json::from_slice(line).expect("an entry"))).collect();
    assert_unpacks(&entries, &text);
    let path = object.path.to_str().expect("UTF-8");
    assert!(run_binary(&mut workspace.command(&["decode", path]), b"").ok().stdout == text);
    assert!(run_binary(&mut workspace.command(&["decode", OUT]), b"").ok().stdout == text, "the folder");
}

#[test]
fn a_damaged_aggregate_is_told_of_and_the_others_are_unpacked() {
    let text = log("realtime-46", 300);
    let mut entries = aggregates(&text, 51_200, &[]);
    assert!(entries.len() > 3);
    let whole: Vec<Vec<u8>> =
        entries.iter().map(|entry| Workspace::new().decode(entry.json.as_bytes()).stdout).collect();
    let middle = entries[1].data.len() / 2;
    entries[1].data[middle] ^= 1;
    let damaged = json!({"Data": BASE64.encode(&entries[1].data), "PartitionKey": "a"}).to_string();
    entries[1].json = damaged;
    let run = Workspace::new().decode(entry_lines(&entries).as_bytes()).exits(1);
    run.says(&["stdin: record 2", "the digest is not that of the content"]);
    let others: Vec<u8> =
        whole.iter().enumerate().filter(|(place, _)| *place != 1).flat_map(|(_, text)| text.clone()).collect();
    assert!(run.stdout == others);
}

#[test]
fn the_same_log_gives_the_same_records() {
    let text = log("realtime-46", 2_000);
    let first = aggregates(&text, 51_200, &[]);
    assert!(first == aggregates(&text, 51_200, &["--threads", "3"]));
}

/// Shards that begin at these 256ths of the space.
fn shards(starts: &[u128]) -> ShardMap {
    let ends = starts[1..].iter().map(|start| (start << 120) - 1).chain([u128::MAX]);
    let shards = starts.iter().zip(ends).enumerate();
    let shards =
        shards.map(|(number, (start, end))| Shard { id: format!("shardId-{number:012}"), start: start << 120, end });
    ShardMap::new(shards.collect()).expect("the whole space")
}

/// Requests of a stream that has other shards when so many records have come.
struct Resharded<'a> {
    requests: Requests<&'a mut Vec<u8>>,
    records: usize,
    after: usize,
    to: ShardMap,
    shards: SharedShardMap,
}

impl Sink for Resharded<'_> {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.records += 1;
        if self.records == self.after {
            self.shards.replace(self.to.clone());
        }
        self.requests.ship(record)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.requests.flush()
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.requests.close()
    }

    fn delivered(&self) -> Delivered {
        self.requests.delivered()
    }

    fn requests(&self) -> u64 {
        self.requests.requests()
    }

    fn shards(&self) -> SharedShardMap {
        self.shards.clone()
    }
}

/// Aggregates of a log by `shards`, which become others when so many records have come.
fn aggregates_for(
    text: &[u8],
    partition_by: Option<&str>,
    shards: &ShardMap,
    resharded: Option<(usize, ShardMap)>,
) -> Vec<Entry> {
    let workspace = Workspace::new();
    let input = Input::File(workspace.path(workspace.write("in.log", text)));
    let shared = SharedShardMap::new(shards.clone());
    let settings = Settings {
        on_bad_line: Some(OnBadLine::Fail),
        container: Some(ContainerKind::Kpl),
        partition_by: partition_by.map(str::to_owned),
        threads: Some(2),
        ..Settings::default()
    };
    let config = settings.validate().expect("these settings go together");
    let mut sent = Vec::new();
    let (after, to) = resharded.unwrap_or_default();
    let requests = Requests::new(&mut sent, Api::PutRecords, None);
    let mut sink = Resharded { requests, records: 0, after, to, shards: shared };
    let mut quarantine = Quarantine::new(workspace.path("quarantine"));
    let report = Run::new(&config).source(Files::new([input])).to(&mut sink, &mut quarantine);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    drop(sink);
    records(&sent)
}

fn entry_text(entry: &Entry) -> Vec<u8> {
    match decode(&entry.data) {
        Decoded::Aggregate(aggregate) => aggregate.records().flat_map(|record| record.data.to_vec()).collect(),
        Decoded::Plain(_) => entry.data.clone(),
        Decoded::Partial { error, .. } => panic!("{error}"),
    }
}

/// The viewer's address: the second column of real-time logs.
fn viewer(line: &[u8]) -> &str {
    let column = line.split(|&byte| byte == b'\t').nth(1).expect("a second column");
    std::str::from_utf8(column).expect("ASCII")
}

/// The lines of each viewer, in order.
fn by_viewer(text: &[u8]) -> BTreeMap<&str, Vec<&[u8]>> {
    let mut viewers: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for line in lines(text) {
        viewers.entry(viewer(line)).or_default().push(line);
    }
    viewers
}

/// Every line once, those of a viewer in order, and all of an aggregate in one shard of one of the
/// maps.
#[track_caller]
fn assert_partitioned(entries: &[Entry], text: &[u8], maps: &[&ShardMap]) {
    let mut unpacked = Vec::new();
    for entry in entries {
        let text = entry_text(entry);
        let hash_key = entry.explicit_hash_key.expect("a hash key");
        assert!(maps.iter().any(|map| {
            let shard = map.shard_of(hash_key);
            lines(&text).all(|line| map.shard_of(hash_of_partition_key(viewer(line))) == shard)
        }));
        unpacked.extend(text);
    }
    assert_eq!(by_viewer(&unpacked), by_viewer(text));
}

/// A log in which each viewer comes several times.
fn log_of_few_viewers() -> Vec<u8> {
    let text = log("realtime-46", 20_000);
    let lines = lines(&text).enumerate().flat_map(|(place, line)| {
        let columns: Vec<&[u8]> = line.splitn(3, |&byte| byte == b'\t').collect();
        let viewer = format!("192.0.2.{}", place * place % 211);
        [columns[0], viewer.as_bytes(), columns[2]].join(&b'\t')
    });
    lines.collect()
}

#[test]
fn lines_of_a_viewer_are_in_one_shard_and_in_order() {
    let text = log_of_few_viewers();
    let map = shards(&[0, 16, 100, 128, 240]);
    let entries = aggregates_for(&text, Some("c-ip"), &map, None);
    assert_partitioned(&entries, &text, &[&map]);
    // All records of a shard have one key, by which Lambda keeps their order.
    let keys = |shard: usize| {
        let of_shard = entries.iter().filter(|entry| map.shard_of(entry.explicit_hash_key.expect("one")) == shard);
        let mut keys: Vec<_> = of_shard.map(|entry| (&entry.partition_key, entry.explicit_hash_key)).collect();
        keys.dedup();
        keys.len()
    };
    assert!((0..map.len()).all(|shard| keys(shard) == 1));
    // What KCL hands out in each shard, whole, is what was meant for it.
    let sent = entry_lines(&entries);
    for (number, shard) in map.shards().iter().enumerate() {
        let Some(found) = kcl_deaggregate(&sent, Some((shard.start, shard.end))) else { return };
        let is_here = |line: &&[u8]| map.shard_of(hash_of_partition_key(viewer(line))) == number;
        // A line alone in its record is not an aggregate: the check of ranges is not for it.
        let found: Vec<&[u8]> = found.iter().map(|record| record.data.as_slice()).filter(is_here).collect();
        assert_eq!(found.len(), lines(&text).filter(is_here).count(), "{}", shard.id);
    }
}

#[test]
fn a_stream_may_be_resharded_in_the_middle() {
    let text = log_of_few_viewers();
    let (before, after) = (shards(&[0, 64, 128, 192]), shards(&[0, 96, 128, 144, 160, 192]));
    // The packer is ahead of the sink by five groups of 32 aggregates at most, of some 340.
    let entries = aggregates_for(&text, Some("c-ip"), &before, Some((1, after.clone())));
    assert_partitioned(&entries, &text, &[&before, &after]);
    let middle = |shard: &Shard| shard.start + (shard.end - shard.start) / 2 + 1;
    let is_by =
        |map: &ShardMap, entry: &Entry| map.shards().iter().any(|shard| Some(middle(shard)) == entry.explicit_hash_key);
    assert!(entries.iter().any(|entry| is_by(&before, entry) && !is_by(&after, entry)), "the old map was used");
    assert!(entries.iter().any(|entry| is_by(&after, entry) && !is_by(&before, entry)), "the new map was used");
}

#[test]
fn without_a_stream_all_partitions_are_one_shard_and_lines_keep_their_order() {
    let text = log("realtime-46", 3_000);
    for arguments in [["--partition-by", "c-ip"], ["--partition-by", "query.nothing"]] {
        let entries = aggregates(&text, 51_200, &arguments);
        assert!(entries.iter().all(|entry| entry.partition_key.as_deref() == Some("8000")));
        assert_unpacks(&entries, &text);
    }
}

#[test]
fn lines_without_the_value_are_spread_over_all_shards() {
    let text = log("realtime-46", 6_000);
    let map = shards(&[0, 64, 128, 192]);
    let entries = aggregates_for(&text, Some("query.nothing"), &map, None);
    let mut counts = [0; 4];
    for entry in &entries {
        counts[map.shard_of(entry.explicit_hash_key.expect("one"))] += count_lines(&entry_text(entry));
    }
    assert_eq!(counts.iter().sum::<u64>(), 6_000);
    // 1,500 on average; five standard deviations are 168.
    assert!(counts.iter().all(|count| (1_332..=1_668).contains(count)), "{counts:?}");
}

#[test]
fn shards_of_any_width_get_the_same_number_of_aggregates() {
    let text = log("realtime-46", 20_000);
    let map = shards(&[0, 1, 2, 100, 128, 250, 255]);
    let entries = aggregates_for(&text, None, &map, None);
    let mut counts = vec![0; map.len()];
    entries.iter().for_each(|entry| counts[map.shard_of(entry.explicit_hash_key.expect("one"))] += 1);
    let (least, most) = (counts.iter().min().expect("shards"), counts.iter().max().expect("shards"));
    assert!(*least > 20 && most - least <= 1, "{counts:?}");
}
