//! What stands in for Kinesis Data Streams: streams in memory, behind the part of its API that
//! producers and consumers use.
//!
//! Records go to shards by hash key and get sequence numbers, a shard takes 1 MiB and 1,000 records
//! a second, and what a request or a record may be is what Kinesis takes. Nothing is signed,
//! resharded or kept: what its reader is done with is forgotten, but for the latest.
//!
//! Sources: PutRecords, ListShards, DescribeStreamSummary, GetShardIterator and GetRecords in the
//! Kinesis Data Streams API reference; its quotas.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64_simd::STANDARD;
use pixel_engine::billing::Billed;
use pixel_engine::kpl::{Shard, ShardMap, hash_of_partition_key};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the names of its operations begin with.
pub(super) const TARGET: &str = "Kinesis_20131202.";
pub(super) const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";

const MAX_RECORDS: usize = 500;
const MAX_REQUEST_SIZE: usize = 10 << 20;
const MAX_RECORD_SIZE: usize = 1 << 20;
const MAX_KEY_CHARS: usize = 256;
/// Of a shard, each second; as much may come at once.
const BYTES_PER_SECOND: f64 = (1 << 20) as f64;
const RECORDS_PER_SECOND: f64 = 1_000.0;
/// What GetRecords returns at most.
const MAX_GET_RECORDS: usize = 10_000;
const MAX_GET_BYTES: usize = 10 << 20;
/// What is kept of a shard, of that which its reader is done with, for whoever wants to look.
const KEPT: usize = 1_000;

/// A stream.
pub(super) struct Stream {
    pub(super) name: &'static str,
    map: ShardMap,
    state: Mutex<State>,
}

struct State {
    shards: Vec<ShardState>,
    counts: Counts,
}

/// What a stream has taken.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) records: u64,
    /// Of data.
    pub(super) bytes: u64,
    /// What AWS would bill for them.
    pub(super) billed: Billed,
    /// Records that were refused, as a shard had enough of them; the sender tries again.
    pub(super) throttled: u64,
}

struct ShardState {
    records: VecDeque<Record>,
    /// How many were forgotten.
    first: u64,
    /// Up to where its reader is done.
    done: u64,
    allowance: Allowance,
}

/// What a shard takes at once.
struct Allowance {
    bytes: f64,
    records: f64,
    at: Instant,
}

#[derive(Clone)]
pub(super) struct Record {
    /// Its place in the shard, from 0.
    pub(super) place: u64,
    pub(super) sequence_number: String,
    pub(super) partition_key: String,
    pub(super) data: Arc<[u8]>,
    pub(super) arrived: SystemTime,
}

impl Record {
    /// Seconds since 1970.
    pub(super) fn arrived_at(&self) -> f64 {
        self.arrived.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

/// Why a request is not answered: the name of the error, and a message.
pub(super) type Refusal = (&'static str, String);

impl Stream {
    pub(super) fn new(name: &'static str, shards: usize) -> Stream {
        let width = u128::MAX / shards as u128;
        let shard = |index: usize| Shard {
            id: format!("shardId-{index:012}"),
            start: index as u128 * width + u128::from(index > 0),
            end: if index + 1 == shards { u128::MAX } else { (index as u128 + 1) * width },
        };
        let map = ShardMap::new((0..shards).map(shard).collect()).expect("no gap and no overlap");
        let allowance = || Allowance { bytes: BYTES_PER_SECOND, records: RECORDS_PER_SECOND, at: Instant::now() };
        let state = |_| ShardState { records: VecDeque::new(), first: 0, done: 0, allowance: allowance() };
        let state = State { shards: (0..shards).map(state).collect(), counts: Counts::default() };
        Stream { name, map, state: Mutex::new(state) }
    }

    pub(super) fn shards(&self) -> &[Shard] {
        self.map.shards()
    }

    pub(super) fn arn(&self) -> String {
        format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{}", self.name)
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The records of a shard from that place on, at most so many, and bytes.
    pub(super) fn read(&self, shard: usize, from: u64, most: usize, most_bytes: usize) -> Vec<Record> {
        let state = self.lock();
        let ShardState { records, first, .. } = &state.shards[shard];
        let skipped = usize::try_from(from.saturating_sub(*first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.data.len();
            bytes <= most_bytes || bytes == record.data.len()
        };
        records.iter().skip(skipped).take(most).take_while(fits).cloned().collect()
    }

    /// The reader of a shard needs nothing before that place any more.
    pub(super) fn done(&self, shard: usize, until: u64) {
        let mut state = self.lock();
        let shard = &mut state.shards[shard];
        shard.done = until;
        while shard.records.len() > KEPT && shard.first < shard.done {
            shard.records.pop_front();
            shard.first += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summary(&self) -> Value {
        json!({ "StreamDescriptionSummary": {
            "StreamName": self.name,
            "StreamARN": self.arn(),
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": { "StreamMode": "PROVISIONED" },
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 0,
            "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
            "EncryptionType": "NONE",
            "OpenShardCount": self.shards().len(),
            "ConsumerCount": 0,
            "MaxRecordSizeInKiB": MAX_RECORD_SIZE >> 10,
        }})
    }

    fn list_shards(&self) -> Value {
        let shard = |shard: &Shard| {
            json!({
                "ShardId": shard.id,
                "HashKeyRange": {
                    "StartingHashKey": shard.start.to_string(),
                    "EndingHashKey": shard.end.to_string(),
                },
                "SequenceNumberRange": { "StartingSequenceNumber": sequence_number(0) },
            })
        };
        json!({ "Shards": self.shards().iter().map(shard).collect::<Vec<_>>() })
    }

    fn put(&self, entries: &[PutEntry]) -> Result<Value, Refusal> {
        let checked = check(entries)?;
        let (now, arrived) = (Instant::now(), SystemTime::now());
        let mut state = self.lock();
        let mut failed = 0;
        let mut taken = |(entry, (data, hash_key)): (&PutEntry, (Vec<u8>, u128))| {
            let (index, key) = (self.map.shard_of(hash_key), &entry.partition_key);
            let State { shards, counts } = &mut *state;
            let shard = &mut shards[index];
            let id = &self.shards()[index].id;
            if !shard.allowance.admits(data.len() + key.len(), now) {
                failed += 1;
                counts.throttled += 1;
                let message = format!("Rate exceeded for shard {id} in stream {} under account {ACCOUNT}.", self.name);
                return json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": message });
            }
            counts.records += 1;
            counts.bytes += data.len() as u64;
            counts.billed.add(data.len(), key.len());
            let record = Record {
                place: shard.first + shard.records.len() as u64,
                sequence_number: sequence_number(counts.records),
                partition_key: key.clone(),
                data: data.into(),
                arrived,
            };
            let answer = json!({ "SequenceNumber": record.sequence_number, "ShardId": id });
            shard.records.push_back(record);
            answer
        };
        let records: Vec<Value> = entries.iter().zip(checked).map(&mut taken).collect();
        Ok(json!({ "EncryptionType": "NONE", "FailedRecordCount": failed, "Records": records }))
    }

    fn shard_iterator(&self, input: &Input) -> Result<Value, Refusal> {
        let id = input.shard_id.as_deref().unwrap_or_default();
        let Some(shard) = self.shards().iter().position(|shard| shard.id == id) else {
            return Err(("ResourceNotFoundException", format!("Shard {id} in stream {} does not exist", self.name)));
        };
        let state = self.lock();
        let ShardState { records, first, .. } = &state.shards[shard];
        let end = first + records.len() as u64;
        let number = input.starting_sequence_number.as_deref().unwrap_or_default();
        let at = records.iter().find(|record| record.sequence_number == number).map(|record| record.place);
        let from = match (input.shard_iterator_type.as_deref(), at) {
            (Some("TRIM_HORIZON"), _) => *first,
            (Some("LATEST"), _) => end,
            (Some("AT_SEQUENCE_NUMBER"), Some(at)) => at,
            (Some("AFTER_SEQUENCE_NUMBER"), Some(at)) => at + 1,
            _ => return Err(("InvalidArgumentException", "the stand-in has no record to begin with there".to_owned())),
        };
        Ok(json!({ "ShardIterator": iterator(self.name, shard, from) }))
    }

    fn get_records(&self, shard: usize, from: u64, limit: Option<usize>) -> Result<Value, Refusal> {
        if shard >= self.shards().len() {
            return Err(("InvalidArgumentException", "Invalid ShardIterator.".to_owned()));
        }
        let records = self.read(shard, from, limit.unwrap_or(MAX_GET_RECORDS).min(MAX_GET_RECORDS), MAX_GET_BYTES);
        let next = records.last().map_or(from, |last| last.place + 1);
        let record = |record: &Record| {
            json!({
                "SequenceNumber": record.sequence_number,
                "ApproximateArrivalTimestamp": record.arrived_at(),
                "Data": STANDARD.encode_to_string(&record.data),
                "PartitionKey": record.partition_key,
                "EncryptionType": "NONE",
            })
        };
        Ok(json!({
            "Records": records.iter().map(record).collect::<Vec<_>>(),
            "NextShardIterator": iterator(self.name, shard, next),
            "MillisBehindLatest": 0,
        }))
    }
}

impl Allowance {
    fn admits(&mut self, bytes: usize, now: Instant) -> bool {
        let seconds = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.bytes = (self.bytes + seconds * BYTES_PER_SECOND).min(BYTES_PER_SECOND);
        self.records = (self.records + seconds * RECORDS_PER_SECOND).min(RECORDS_PER_SECOND);
        let is_admitted = self.bytes >= bytes as f64 && self.records >= 1.0;
        if is_admitted {
            self.bytes -= bytes as f64;
            self.records -= 1.0;
        }
        is_admitted
    }
}

/// As long as those of Kinesis.
fn sequence_number(number: u64) -> String {
    format!("495903382714902566085596925383615710959215759{number:011}")
}

fn iterator(stream: &str, shard: usize, from: u64) -> String {
    format!("{stream}/{shard}/{from}")
}

/// What requests say; each operation knows some of it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    records: Option<Vec<PutEntry>>,
    shard_id: Option<String>,
    shard_iterator_type: Option<String>,
    starting_sequence_number: Option<String>,
    shard_iterator: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEntry {
    /// Base64.
    data: String,
    partition_key: String,
    explicit_hash_key: Option<String>,
}

/// The data and the hash key of each record; one that Kinesis would not take refuses all.
fn check(entries: &[PutEntry]) -> Result<Vec<(Vec<u8>, u128)>, Refusal> {
    if !(1..=MAX_RECORDS).contains(&entries.len()) {
        return Err(("ValidationException", format!("{} records: a request has 1 to {MAX_RECORDS}", entries.len())));
    }
    let mut total = 0;
    let one = |entry: &PutEntry| {
        let invalid = |message: String| ("InvalidArgumentException", message);
        let data = STANDARD.decode_to_vec(&entry.data);
        let data = data.map_err(|_| ("SerializationException", "Data is not base64".to_owned()))?;
        let size = data.len() + entry.partition_key.len();
        total += size;
        if !(1..=MAX_KEY_CHARS).contains(&entry.partition_key.chars().count()) {
            return Err(invalid(format!("a partition key has 1 to {MAX_KEY_CHARS} characters")));
        }
        if size > MAX_RECORD_SIZE {
            return Err(invalid(format!("a record has {size} bytes with its key, {MAX_RECORD_SIZE} at most")));
        }
        let hash_key = match &entry.explicit_hash_key {
            Some(text) => text.parse().map_err(|_| invalid(format!("{text} is no hash key")))?,
            None => hash_of_partition_key(&entry.partition_key),
        };
        Ok((data, hash_key))
    };
    let checked = entries.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    match total {
        0..=MAX_REQUEST_SIZE => Ok(checked),
        _ => Err(("InvalidArgumentException", format!("{total} bytes: a request has {MAX_REQUEST_SIZE} at most"))),
    }
}

/// Answers a request for one of these streams.
pub(super) fn answer(streams: &[&Stream], operation: &str, body: &[u8]) -> Result<Value, Refusal> {
    let input: Input = serde_json::from_slice(body).map_err(|error| ("SerializationException", error.to_string()))?;
    let of_arn = input.stream_arn.as_deref().and_then(|arn| arn.rsplit('/').next());
    let of_iterator = input.shard_iterator.as_deref().and_then(|text| text.split('/').next());
    let name = input.stream_name.as_deref().or(of_arn).or(of_iterator).unwrap_or_default();
    let Some(stream) = streams.iter().find(|stream| stream.name == name) else {
        return Err(("ResourceNotFoundException", format!("Stream {name} under account {ACCOUNT} not found.")));
    };
    match operation {
        "DescribeStreamSummary" => Ok(stream.summary()),
        "ListShards" => Ok(stream.list_shards()),
        "PutRecords" => stream.put(input.records.as_deref().unwrap_or_default()),
        "GetShardIterator" => stream.shard_iterator(&input),
        "GetRecords" => {
            let parts = input.shard_iterator.as_deref().unwrap_or_default();
            let mut parts = parts.split('/').skip(1).map(str::parse::<u64>);
            let (Some(Ok(shard)), Some(Ok(from))) = (parts.next(), parts.next()) else {
                return Err(("InvalidArgumentException", "Invalid ShardIterator.".to_owned()));
            };
            stream.get_records(usize::try_from(shard).unwrap_or(usize::MAX), from, input.limit)
        }
        _ => Err(("UnknownOperationException", format!("the stand-in for Kinesis does not know {operation}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(stream: &Stream, records: &Value) -> Result<Value, Refusal> {
        let request = json!({ "StreamName": stream.name, "Records": records });
        answer(&[stream], "PutRecords", request.to_string().as_bytes())
    }

    #[test]
    fn records_go_by_their_keys_and_come_back_in_order() {
        let stream = Stream::new("hits", 3);
        for (index, shard) in stream.shards().iter().enumerate() {
            let record = |data: &str| json!({ "Data": STANDARD.encode_to_string(data), "PartitionKey": "k", "ExplicitHashKey": shard.start.to_string() });
            let answer = put(&stream, &json!([record("one"), record("two")])).unwrap();
            assert_eq!((&answer["FailedRecordCount"], &answer["Records"][1]["ShardId"]), (&json!(0), &json!(shard.id)));
            let request = json!({ "StreamName": "hits", "ShardId": shard.id, "ShardIteratorType": "TRIM_HORIZON" });
            let found = super::answer(&[&stream], "GetShardIterator", request.to_string().as_bytes()).unwrap();
            let read = super::answer(&[&stream], "GetRecords", found.to_string().as_bytes()).unwrap();
            let data: Vec<&str> =
                read["Records"].as_array().unwrap().iter().map(|it| it["Data"].as_str().unwrap()).collect();
            assert_eq!(data, ["one", "two"].map(|data| STANDARD.encode_to_string(data)));
            let next = json!({ "ShardIterator": read["NextShardIterator"] });
            let read = super::answer(&[&stream], "GetRecords", next.to_string().as_bytes()).unwrap();
            assert_eq!(read["Records"], json!([]));
            assert_eq!(stream.read(index, 1, 10, 1)[0].data, b"two"[..].into());
        }
        let counts = stream.counts();
        assert_eq!((counts.records, counts.bytes, counts.billed.on_demand), (6, 18, 6 * 1_024));
    }

    #[test]
    fn what_kinesis_refuses_is_refused() {
        let stream = Stream::new("hits", 1);
        let record = |data: &[u8], key: &str| json!({ "Data": STANDARD.encode_to_string(data), "PartitionKey": key });
        for (records, error) in [
            (json!([]), "ValidationException"),
            (json!(vec![record(b"a", "k"); 501]), "ValidationException"),
            (json!([record(b"a", "")]), "InvalidArgumentException"),
            (json!([record(&vec![0; 1 << 20], "k")]), "InvalidArgumentException"),
            (json!([{ "Data": "?", "PartitionKey": "k" }]), "SerializationException"),
            (json!([{ "Data": "", "PartitionKey": "k", "ExplicitHashKey": "-1" }]), "InvalidArgumentException"),
        ] {
            assert_eq!(put(&stream, &records).unwrap_err().0, error);
        }
        assert_eq!(stream.counts().records, 0);
        let unknown = answer(&[&stream], "ListShards", br#"{"StreamName":"other"}"#).unwrap_err();
        assert_eq!(unknown.0, "ResourceNotFoundException");
    }

    #[test]
    fn a_shard_takes_a_thousand_records_a_second() {
        let stream = Stream::new("hits", 1);
        let records = json!(vec![json!({ "Data": "YQ==", "PartitionKey": "k" }); 500]);
        let failed: u64 = (0..4).map(|_| put(&stream, &records).unwrap()["FailedRecordCount"].as_u64().unwrap()).sum();
        let counts = stream.counts();
        assert_eq!((counts.records + counts.throttled, counts.throttled), (2_000, failed));
        assert!((800..=1_000).contains(&failed), "{failed}");
    }

    #[test]
    fn what_the_reader_is_done_with_is_forgotten_but_for_the_latest() {
        let stream = Stream::new("hits", 1);
        let records = json!(vec![json!({ "Data": "YQ==", "PartitionKey": "k" }); 500]);
        (0..2).for_each(|_| drop(put(&stream, &records).unwrap()));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(put(&stream, &json!([{ "Data": "Yg==", "PartitionKey": "k" }])).unwrap()["FailedRecordCount"] == 0);
        assert_eq!(stream.read(0, 0, 2_000, 1 << 20).len(), 1_001);
        stream.done(0, 500);
        assert_eq!(stream.read(0, 0, 2_000, 1 << 20)[0].place, 1);
        assert_eq!(&*stream.read(0, 1_000, 2_000, 1 << 20)[0].data, b"b");
    }
}
