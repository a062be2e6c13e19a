//! A service that answers by a script, and records that are told apart by numbers.

use std::collections::VecDeque;
use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ack::Acknowledgements;
use crate::deliver::{Answer, Class, Delivery, Description, Failure, Options, Service, WhenFull};
use crate::record::Record;
use crate::sink::SinkError;
use crate::sink::limits::Api;
use crate::spool::{self, Destination, Spool};
use pixel_engine_kpl::{PartitionKey, Shard, ShardMap, SharedShardMap};

/// What the service does with a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Accepts,
    Fails(Failure),
    /// Some records may fail; the others are accepted.
    Answers(Vec<Option<Failure>>),
    /// The same for however many records there are, over and over.
    Cycle(Vec<Option<Failure>>),
    /// The reply has results for another number of records.
    Results(usize),
    /// After that time.
    After(Duration, Box<Reply>),
    Never,
    Panics,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Since the service began.
    pub(super) at: Duration,
    pub(super) numbers: Vec<u64>,
    pub(super) sizes: Vec<usize>,
}

/// The service; clones share it.
#[derive(Clone)]
pub(super) struct Script {
    api: Api,
    began: Instant,
    /// The map as the sender knows it.
    shards: Option<SharedShardMap>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) replies: VecDeque<Reply>,
    /// What comes after them; everything is accepted otherwise.
    pub(super) then: Option<Reply>,
    pub(super) descriptions: VecDeque<Result<Option<Description>, Failure>>,
    /// The map as it is; the sender gets it when it asks.
    pub(super) map: ShardMap,
    pub(super) refreshes: VecDeque<Result<bool, Failure>>,
    /// Records go to the shard after the one of their key.
    pub(super) ignores_keys: bool,
    pub(super) requests: Vec<Request>,
    pub(super) accepted: Vec<u64>,
    pub(super) described: usize,
}

impl Script {
    pub(super) fn firehose(replies: impl IntoIterator<Item = Reply>) -> Script {
        Script::new(Api::PutRecordBatch, None, replies)
    }

    /// A stream of so many shards.
    pub(super) fn kinesis(shards: u128, replies: impl IntoIterator<Item = Reply>) -> Script {
        let script = Script::new(Api::PutRecords, Some(SharedShardMap::default()), replies);
        script.state().map = map(shards);
        script
    }

    fn new(api: Api, shards: Option<SharedShardMap>, replies: impl IntoIterator<Item = Reply>) -> Script {
        let state = State { replies: replies.into_iter().collect(), ..State::default() };
        Script { api, began: Instant::now(), shards, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The numbers of each request.
    pub(super) fn sent(&self) -> Vec<Vec<u64>> {
        self.state().requests.iter().map(|request| request.numbers.clone()).collect()
    }

    /// When each request came.
    pub(super) fn times(&self) -> Vec<Duration> {
        self.state().requests.iter().map(|request| request.at).collect()
    }

    pub(super) fn options(&self) -> Options {
        Options::new(self.api)
    }

    /// The reply, and what becomes of the records by it.
    fn reply(&self, reply: &Reply, records: &[(u64, u128)]) -> Result<Vec<Answer>, Failure> {
        let state = &mut *self.state();
        let failures = match reply {
            Reply::Fails(failure) => return Err(failure.clone()),
            Reply::Answers(failures) => failures.clone(),
            Reply::Cycle(failures) => failures.iter().cycle().take(records.len()).cloned().collect(),
            _ => vec![None; records.len()],
        };
        assert_eq!(failures.len(), records.len(), "the script is for another request");
        let mut answers = Vec::new();
        for (failure, &(number, hash_key)) in failures.into_iter().zip(records) {
            answers.push(match failure {
                Some(failure) => Err(failure),
                None => {
                    state.accepted.push(number);
                    let shard = state.map.shard_of(hash_key) + usize::from(state.ignores_keys);
                    Ok(self.shards.as_ref().map(|_| state.map.shards()[shard % state.map.len()].id.clone()))
                }
            });
        }
        if let Reply::Results(count) = reply {
            answers.resize(*count, Ok(None));
        }
        Ok(answers)
    }
}

impl Service for Script {
    fn uri(&self) -> String {
        "test://stream".to_owned()
    }

    fn destination(&self) -> Destination {
        Destination { api: self.api, stream: "stream".to_owned() }
    }

    fn shards(&self) -> Option<&SharedShardMap> {
        self.shards.as_ref()
    }

    async fn refresh_shards(&self) -> Result<bool, Failure> {
        let Some(shards) = &self.shards else { return Ok(false) };
        let mut state = self.state();
        let refreshed = state.refreshes.pop_front().unwrap_or(Ok(true))?;
        if refreshed {
            shards.replace(state.map.clone());
        }
        Ok(refreshed)
    }

    async fn describe(&self) -> Result<Option<Description>, Failure> {
        let mut state = self.state();
        state.described += 1;
        state.descriptions.pop_front().unwrap_or_else(|| Ok(Some(Description::default())))
    }

    /// Number, size and hash key of each record.
    fn body(&self, records: &[Record]) -> Vec<u8> {
        let mut body = Vec::new();
        for record in records {
            let data = record.chunks().collect::<Vec<_>>().concat();
            let hash_key = record.key().map_or(0, |key| key.explicit_hash_key);
            body.extend(number_in(&data).to_be_bytes());
            body.extend((data.len() as u64).to_be_bytes());
            body.extend(hash_key.to_be_bytes());
        }
        body
    }

    async fn put(&self, body: Vec<u8>) -> Result<Vec<Answer>, Failure> {
        let (entries, _) = body.as_chunks::<32>();
        let u64_at = |entry: &[u8; 32], at: usize| u64::from_be_bytes(entry[at..at + 8].try_into().unwrap());
        let records: Vec<(u64, u128)> = entries
            .iter()
            .map(|entry| (u64_at(entry, 0), u128::from_be_bytes(entry[16..].try_into().unwrap())))
            .collect();
        let mut reply = {
            let state = &mut *self.state();
            state.requests.push(Request {
                at: self.began.elapsed(),
                numbers: records.iter().map(|(number, _)| *number).collect(),
                sizes: entries.iter().map(|entry| u64_at(entry, 8) as usize).collect(),
            });
            state.replies.pop_front().or_else(|| state.then.clone()).unwrap_or(Reply::Accepts)
        };
        while let Reply::After(time, then) = reply {
            sleep(time).await;
            reply = *then;
        }
        match reply {
            Reply::Never => pending().await,
            Reply::Panics => panic!("the script says so"),
            reply => self.reply(&reply, &records),
        }
    }
}

pub(super) fn map(shards: u128) -> ShardMap {
    let start = |number: u128| if number == shards { u128::MAX } else { u128::MAX / shards * number };
    let shard = |number| Shard {
        id: format!("shard-{number}-of-{shards}"),
        start: start(number),
        end: if number + 1 == shards { u128::MAX } else { start(number + 1) - 1 },
    };
    ShardMap::new((0..shards).map(shard).collect()).unwrap()
}

pub(super) fn throttled() -> Failure {
    Failure::new(Class::Throttled, "Throttled", "too fast")
}

pub(super) fn transient() -> Failure {
    Failure::new(Class::Transient, "Transient", "in a moment")
}

pub(super) fn too_large() -> Failure {
    Failure::new(Class::TooLarge, "TooLarge", "")
}

pub(super) fn permanent() -> Failure {
    Failure::new(Class::Permanent, "Permanent", "never")
}

/// A delivery, and what became of its records.
pub(super) struct Test {
    pub(super) script: Script,
    pub(super) delivery: Delivery<Script>,
    all: Acknowledgements,
    pub(super) taken: u64,
}

impl Test {
    pub(super) async fn open(script: Script, options: Options) -> Test {
        let delivery = Delivery::open(script.clone(), options).await.unwrap();
        Test { script, delivery, all: Acknowledgements::default(), taken: 0 }
    }

    /// With the usual options.
    pub(super) async fn of(script: Script) -> Test {
        let options = script.options();
        Test::open(script, options).await
    }

    /// The next record, of so many bytes.
    pub(super) fn record(&mut self, size: usize, hash_key: Option<u128>) -> Record {
        let key = hash_key.map(|key| PartitionKey { key: "k".to_owned(), explicit_hash_key: key });
        let mut data = self.taken.to_be_bytes().to_vec();
        data.resize(size.max(8), b'.');
        let token = self.all.token(self.taken as usize, 0..1);
        self.taken += 1;
        Record::from_bytes(data, 1, key, vec![token])
    }

    /// Ships so many records of a thousand bytes.
    pub(super) async fn ship(&mut self, count: usize) -> Result<(), SinkError> {
        for _ in 0..count {
            let record = self.record(1_000, None);
            self.delivery.ship(record).await?;
        }
        Ok(())
    }

    /// The numbers of the records whose lines count as safe.
    pub(super) fn acknowledged(&self) -> Vec<u64> {
        (0..self.taken).filter(|&number| self.all.position(number as usize).offset == 1).collect()
    }

    /// Tests that every record is counted once: delivered, in the spool, or not acknowledged.
    #[track_caller]
    pub(super) fn adds_up(&self) {
        let (delivered, shipping) = (self.delivery.delivered(), self.delivery.shipping());
        let acknowledged = self.acknowledged().len() as u64;
        assert_eq!(delivered.records + shipping.records_spooled, acknowledged);
        assert_eq!((delivered.lines, shipping.lines_spooled), (delivered.records, shipping.records_spooled));
        assert_eq!(shipping.requests, self.script.state().requests.len() as u64);
    }

    /// Closes it; everything is acknowledged, so many by the service and the rest by the spool.
    #[track_caller]
    pub(super) fn all_is_safe(&self, delivered: u64) {
        self.adds_up();
        assert_eq!(self.acknowledged(), (0..self.taken).collect::<Vec<u64>>());
        assert_eq!(self.delivery.delivered().records, delivered);
    }
}

/// A folder with a spool for that many bytes.
pub(super) fn spool(size_limit: u64) -> (tempfile::TempDir, Option<(Spool, WhenFull)>) {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), size_limit).unwrap();
    (folder, Some((spool, WhenFull::Block)))
}

/// The numbers of the records in the spool, batch by batch.
pub(super) fn spooled(folder: &Path) -> Vec<u64> {
    let batches = spool::batches(folder).unwrap();
    let records = batches.iter().flat_map(|path| spool::read(path).unwrap().records);
    records.map(|record| number_in(&record.data)).collect()
}

fn number_in(data: &[u8]) -> u64 {
    u64::from_be_bytes(data[..8].try_into().unwrap())
}
