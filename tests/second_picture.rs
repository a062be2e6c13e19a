//! The second picture of AWS's post on tracking pixels, on one machine: CloudFront's lines come one
//! a record into a stream, a Lambda function aggregates them into a second stream, and a consumer
//! takes that apart.
//!
//! The streams are kinesis-local's, the consumer is the code of the Kinesis Client Library. Between
//! them stands the function as Lambda starts it, and an event source mapping that does what AWS
//! documents: a batch of a shard at a time, retries from the record that is named, halves after an
//! error, and batches that come again though they were done.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::emulators::{ShardContent, make_stream, read_back};
use crate::fake_lambda::{Answer, FakeLambda};
use crate::lambda_aggregate::{different, duplicates, event_of, named_sequence_number};
use crate::peers::{Emulator, kcl_deaggregate, kinesis_local};
use crate::support::{Guarded, Workspace, lines, log, soak};

/// A way to a service on which connections break: some before a request has come through, some when
/// it has and nobody says so.
struct ShakyWay {
    address: SocketAddr,
    is_broken: Arc<AtomicBool>,
    broken: Arc<AtomicU64>,
}

impl ShakyWay {
    fn to(port: u16, seed: u64) -> ShakyWay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (is_broken, broken) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (flag, count) = (Arc::clone(&is_broken), Arc::clone(&broken));
        thread::spawn(move || {
            let mut rng = Rng::with_seed(seed);
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
                // One connection carries many requests.
                let limit = flag.load(Ordering::Relaxed).then(|| rng.usize(1_000..1_500_000));
                if limit.is_some() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                let (back, forth) = (server.try_clone(), client.try_clone());
                if let (Ok(back), Ok(forth)) = (back, forth) {
                    let replies = limit.filter(|limit| limit % 2 == 0).map(|limit| limit % 500);
                    let requests = limit.filter(|limit| limit % 2 == 1);
                    thread::spawn(move || copy(client, server, requests));
                    thread::spawn(move || copy(back, forth, replies));
                }
            }
        });
        ShakyWay { address, is_broken, broken }
    }
}

/// Copies until the end, or until so many bytes have come, and closes both.
fn copy(mut from: TcpStream, mut to: TcpStream, limit: Option<usize>) {
    let (mut left, mut buffer) = (limit.unwrap_or(usize::MAX), vec![0; 1 << 16]);
    while left > 0 {
        let most = buffer.len().min(left);
        match from.read(&mut buffer[..most]) {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).is_ok() => left -= count,
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// An event source mapping for one shard, with `ReportBatchItemFailures` and
/// `BisectBatchOnFunctionError`.
struct Mapping<'a> {
    shard: &'a ShardContent,
    kinesis: &'a Emulator,
    way: &'a ShakyWay,
    batch_size: usize,
    rng: Rng,
    /// What happened.
    killed: u64,
    retried: u64,
    repeated: u64,
    halved: u64,
}

impl Mapping<'_> {
    /// Hands all of the shard to the function.
    fn run(&mut self) {
        let data = |record: &Value, name: &str| record[name].as_str().expect("text").to_owned();
        let records = self.shard.records.iter();
        let records: Vec<(String, String)> =
            records.map(|record| (data(record, "SequenceNumber"), data(record, "Data"))).collect();
        let workspace = Workspace::new();
        let mut function = self.start(&workspace);
        let (mut at, mut size) = (0, self.batch_size);
        for invocation in 1.. {
            if at == records.len() {
                break;
            }
            let batch = &records[at..records.len().min(at + size)];
            function.0.offer(event_of(&self.shard.id, batch));
            if invocation % 9 == 5 {
                // The environment is lost in the middle of the invocation.
                thread::sleep(Duration::from_millis(self.rng.u64(0..60)));
                self.killed += 1;
                function = self.start(&workspace);
                continue;
            }
            match function.0.answer() {
                Answer::Reply(reply) => {
                    let reply: Value = serde_json::from_slice(&reply).expect("JSON");
                    match named_sequence_number(&reply) {
                        None if invocation % 7 == 3 => self.repeated += 1,
                        None => (at, size) = (at + batch.len(), self.batch_size),
                        Some(name) => {
                            let first = batch.iter().position(|record| record.0 == name);
                            at += first.expect("a record of the batch");
                            self.retried += 1;
                        }
                    }
                }
                Answer::Error(_) => {
                    self.halved += 1;
                    size = (batch.len() / 2).max(1);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn start(&self, workspace: &Workspace) -> (FakeLambda, Guarded) {
        let lambda = FakeLambda::start();
        // A deadline that a connection which stalls can miss.
        lambda.timeout(Duration::from_secs(5));
        let mut command = lambda.function(
            workspace,
            &[
                ("PIXEL_ENGINE_LAMBDA", "aggregate"),
                ("PIXEL_ENGINE_TO", "kinesis://packed"),
                ("PIXEL_ENGINE_RECORD_SIZE", "5120"),
                ("PIXEL_ENGINE_REQUEST_TIMEOUT", "2s"),
            ],
        );
        command.envs(self.kinesis.environment()).env_remove("AWS_PROFILE");
        command.env("PIXEL_ENGINE_ENDPOINT_URL", format!("http://{}", self.way.address));
        let child = Guarded::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        (lambda, child)
    }
}

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
    let mappings: Vec<Mapping> = thread::scope(|scope| {
        let mappings = hits.iter().zip(1..).map(|(shard, seed)| {
            let (kinesis, way, rng) = (&kinesis, &way, Rng::with_seed(seed));
            let (killed, retried, repeated, halved) = (0, 0, 0, 0);
            let mut mapping = Mapping { shard, kinesis, way, batch_size: 150, rng, killed, retried, repeated, halved };
            scope.spawn(move || {
                mapping.run();
                mapping
            })
        });
        let mappings: Vec<_> = mappings.collect();
        mappings.into_iter().map(|mapping| mapping.join().expect("no panic")).collect()
    });
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
