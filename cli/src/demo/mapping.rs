//! What stands in for Lambda's event source mapping: reads a shard, and hands its records to the
//! function, a batch at a time. It goes on behind a batch when all of it is delivered, or from the
//! record that the function names.
//!
//! Source: "Process Amazon Kinesis Data Streams records with Lambda" in the Lambda developer guide.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use base64_simd::STANDARD;
use pixel_engine::consume::lambda::aggregate::Aggregate;
use pixel_engine::consume::lambda::runtime::{Handler, Invocation};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::kinesis::{REGION, Record, Stream};
use super::tally::Tally;

/// `BatchSize` and `MaximumBatchingWindowInSeconds`.
const BATCH_SIZE: usize = 10_000;
const BATCHING_WINDOW: Duration = Duration::from_secs(1);
/// An event has 6 MB as JSON at most, with data in base64.
const MAX_BATCH_BYTES: usize = 3 << 20;
/// How long an invocation may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at the shard, and before a batch is tried again.
const INTERVAL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);

/// Hands the shard to the function, until the stream `has_ended` and all of it is delivered. Counts
/// what it reads.
pub(super) async fn run(stream: &Stream, shard: usize, mut function: Aggregate, has_ended: &AtomicBool, read: &Tally) {
    let (mut from, mut invocation) = (0, 0_u64);
    loop {
        // Before the shard is looked at: what comes until then is read.
        let is_last = has_ended.load(Ordering::Acquire);
        let batch = stream.read(shard, from, BATCH_SIZE, MAX_BATCH_BYTES);
        let Some(oldest) = batch.first() else {
            if is_last {
                return;
            }
            sleep(INTERVAL).await;
            continue;
        };
        let age = oldest.arrived.elapsed().unwrap_or_default();
        if !is_last && age < BATCHING_WINDOW && batch.len() < BATCH_SIZE {
            sleep(INTERVAL).await;
            continue;
        }
        invocation += 1;
        let mut event = Invocation {
            request_id: format!("{}-{shard}-{invocation}", stream.name),
            deadline: SystemTime::now() + TIMEOUT,
            event: event(stream, shard, &batch),
        };
        let done = match function.handle(&mut event).await {
            Ok(reply) => delivered(&batch, &reply),
            Err(error) => {
                tracing::error!("{error}");
                0
            }
        };
        batch[..done].iter().for_each(|record| read.add(&record.data));
        from += done as u64;
        stream.done(shard, from);
        if done < batch.len() {
            sleep(RETRY).await;
        }
    }
}

/// How many records of the batch the function has delivered, by its reply.
fn delivered(batch: &[Record], reply: &[u8]) -> usize {
    let reply: Value = serde_json::from_slice(reply).unwrap_or_default();
    let first = &reply["batchItemFailures"][0]["itemIdentifier"];
    batch.iter().position(|record| *first == record.sequence_number).unwrap_or(batch.len())
}

fn event(stream: &Stream, shard: usize, batch: &[Record]) -> Vec<u8> {
    let id = &stream.shards()[shard].id;
    let arn: Arc<str> = stream.arn().into();
    let record = |record: &Record| {
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.partition_key,
                "sequenceNumber": record.sequence_number,
                "data": STANDARD.encode_to_string(&record.data),
                "approximateArrivalTimestamp": record.arrived_at(),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("{id}:{}", record.sequence_number),
            "eventName": "aws:kinesis:record",
            "awsRegion": REGION,
            "eventSourceARN": &*arn,
        })
    };
    json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() }).to_string().into_bytes()
}
