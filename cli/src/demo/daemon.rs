//! What stands in for the MultiLangDaemon of the Kinesis Client Library: reads a shard, takes
//! aggregates apart, and speaks to a child over its protocol.
//!
//! Source: the package `software.amazon.kinesis.multilang` of awslabs/amazon-kinesis-client.

use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use pixel_engine::consume::kcl::{Ended, Patience, run_child};
use pixel_engine::consume::open_run::OpenRun;
use pixel_engine::kpl::{Decoded, decode};
use pixel_engine::source::Format;
use serde_json::{Value, json};

use super::kinesis::{Record, Stream};
use super::tally::Tally;

/// Between two looks at the shard, and the most between two messages: a child says what has been
/// delivered when it gets one.
const INTERVAL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_secs(1);
/// Of a message.
const MAX_RECORDS: usize = 1_000;
const MAX_BYTES: usize = 4 << 20;
/// How long a child may take to deliver what it has at the end.
const HAND_OFF: Duration = Duration::from_secs(60);

/// Hands the shard to a child, until the stream `has_ended` and all of it is delivered. Counts the
/// user records that the child is given.
pub(super) fn run(
    stream: &Stream,
    shard: usize,
    delivery: OpenRun,
    has_ended: &AtomicBool,
    given: &Tally,
) -> io::Result<Ended> {
    let ((input, to), (from, output)) = (pipe()?, pipe()?);
    let patience = Patience { checkpoint_interval: TICK, hand_off: HAND_OFF };
    let child = thread::spawn(move || run_child(BufReader::new(input), output, delivery, Format::Auto, patience));
    let mut daemon = Daemon { stream, shard, to, from: BufReader::new(from), unacknowledged: Vec::new() };
    let said = daemon.converse(has_ended, given);
    drop(daemon);
    let ended = child.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // A child that has ended before says why itself.
    said.or_else(|error| if ended.error.is_some() { Ok(()) } else { Err(error) })?;
    Ok(ended)
}

struct Daemon<'a> {
    stream: &'a Stream,
    shard: usize,
    to: PipeWriter,
    from: BufReader<PipeReader>,
    /// Where the records are that no checkpoint covers, and their sequence numbers.
    unacknowledged: Vec<(String, u64)>,
}

impl Daemon<'_> {
    fn converse(&mut self, has_ended: &AtomicBool, given: &Tally) -> io::Result<()> {
        let id = &self.stream.shards()[self.shard].id;
        self.say(
            &json!({ "action": "initialize", "shardId": id, "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0 }),
        )?;
        let (mut from, mut told) = (0, Instant::now());
        loop {
            // Before the shard is looked at: what comes until then is read.
            let is_last = has_ended.load(Ordering::Acquire);
            let records = self.stream.read(self.shard, from, MAX_RECORDS, MAX_BYTES);
            match records.last() {
                Some(last) => from = last.place + 1,
                None if is_last => break,
                None if told.elapsed() < TICK => {
                    thread::sleep(INTERVAL);
                    continue;
                }
                None => {}
            }
            told = Instant::now();
            let user_records: Vec<Value> = records.iter().flat_map(|record| self.user_records(record, given)).collect();
            self.unacknowledged.extend(records.into_iter().map(|record| (record.sequence_number, record.place)));
            self.say(&json!({ "action": "processRecords", "records": user_records, "millisBehindLatest": 0 }))?;
        }
        self.say(&json!({ "action": "shutdownRequested" }))
    }

    /// What is in a record. As the library does it, an aggregate of another shard is dropped, which
    /// then lacks in the account.
    fn user_records(&self, record: &Record, given: &Tally) -> Vec<Value> {
        let shard = &self.stream.shards()[self.shard];
        let user_record = |(sub, data): (usize, &[u8])| {
            given.add(data);
            json!({
                "action": "record",
                "data": STANDARD.encode_to_string(data),
                "partitionKey": record.partition_key,
                "sequenceNumber": record.sequence_number,
                "subSequenceNumber": sub,
                "approximateArrivalTimestamp": (record.arrived_at() * 1_000.0) as u64,
            })
        };
        match decode(&record.data) {
            Decoded::Aggregate(aggregate) if aggregate.delivered_within(&(shard.start..=shard.end)) => {
                aggregate.records().map(|it| it.data).enumerate().map(user_record).collect()
            }
            Decoded::Aggregate(_) => Vec::new(),
            _ => vec![user_record((0, &record.data))],
        }
    }

    /// Says a message and hears what the child has to say, up to its status.
    fn say(&mut self, message: &Value) -> io::Result<()> {
        writeln!(self.to, "{message}")?;
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Ok(said) = serde_json::from_str::<Value>(&line) else { continue };
            if said["action"] != "checkpoint" {
                return Ok(());
            }
            let is_it = |(number, _): &(String, u64)| said["sequenceNumber"] == **number;
            if let Some(index) = self.unacknowledged.iter().position(is_it) {
                self.stream.done(self.shard, self.unacknowledged[index].1 + 1);
                self.unacknowledged.drain(..=index);
            }
            let (number, sub) = (&said["sequenceNumber"], &said["subSequenceNumber"]);
            let kept =
                json!({ "action": "checkpoint", "sequenceNumber": number, "subSequenceNumber": sub, "error": null });
            writeln!(self.to, "{kept}")?;
        }
    }
}
