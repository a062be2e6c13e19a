//! Lambda's event source mapping, as far as AWS documents it, with functions that are killed.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::emulators::ShardContent;
use crate::fake_lambda::{Answer, FakeLambda};
use crate::lambda_aggregate::{event_of, named_sequence_number};
use crate::peers::Emulator;
use crate::shaky_way::ShakyWay;
use crate::support::{Guarded, Workspace};

/// An event source mapping for one shard, with `ReportBatchItemFailures` and
/// `BisectBatchOnFunctionError`.
pub(crate) struct Mapping<'a> {
    shard: &'a ShardContent,
    kinesis: &'a Emulator,
    way: &'a ShakyWay,
    batch_size: usize,
    rng: Rng,
    /// What happened.
    pub(crate) killed: u64,
    pub(crate) retried: u64,
    pub(crate) repeated: u64,
    pub(crate) halved: u64,
}

impl Mapping<'_> {
    /// Hands all of these shards to functions that pack their records into the stream `packed`, each
    /// to one of its own, at the same time; every ninth invocation, from the fifth on, is killed.
    pub(crate) fn run_all<'a>(
        shards: &'a [ShardContent],
        batch_size: usize,
        kinesis: &'a Emulator,
        way: &'a ShakyWay,
    ) -> Vec<Mapping<'a>> {
        thread::scope(|scope| {
            let mappings = shards.iter().zip(1..).map(|(shard, seed)| {
                let rng = Rng::with_seed(seed);
                let (killed, retried, repeated, halved) = (0, 0, 0, 0);
                let mut mapping = Mapping { shard, kinesis, way, batch_size, rng, killed, retried, repeated, halved };
                scope.spawn(move || {
                    mapping.run();
                    mapping
                })
            });
            let mappings: Vec<_> = mappings.collect();
            mappings.into_iter().map(|mapping| mapping.join().expect("no panic")).collect()
        })
    }

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
        command.env("PIXEL_ENGINE_ENDPOINT_URL", self.way.url());
        let child = Guarded::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        (lambda, child)
    }
}
