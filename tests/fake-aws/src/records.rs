//! What a stream was given and kept.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock;

/// A record that is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivered {
    /// The record, base64 removed.
    pub data: Arc<[u8]>,
    /// Of Kinesis.
    pub partition_key: Option<Arc<str>>,
    /// Of Kinesis, if the record had one.
    pub explicit_hash_key: Option<u128>,
    /// Of Kinesis: the shard that took it.
    pub shard_id: Option<Arc<str>>,
    /// The request that brought it: a number that counts all requests of the server.
    pub request: u64,
    /// Whether a reply that says so was written to the client's connection as a whole. It may still
    /// have been lost on the way.
    pub acknowledged: bool,
}

/// A record at the moment at which it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The record, base64 removed.
    pub data: &'a [u8],
    /// Of Kinesis.
    pub partition_key: Option<&'a str>,
    /// Of Kinesis, if the record had one.
    pub explicit_hash_key: Option<u128>,
    /// Of Kinesis: the shard that takes it.
    pub shard_id: Option<&'a Arc<str>>,
    /// The request that brought it: a number that counts all requests of the server.
    pub request: u64,
}

/// How much a stream was given.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StreamCounts {
    /// Requests that came as far as their records: neither refused nor failed as a whole.
    pub requests: u64,
    /// Records stored.
    pub records: u64,
    /// Bytes of them, base64 removed.
    pub bytes: u64,
    /// Records stored whose [acknowledgement](Delivered::acknowledged) was written.
    pub acknowledged: u64,
    /// Records that failed within a request that succeeded.
    pub failed: u64,
}

/// A stream's records.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    keep: Keep,
    delivered: Vec<Delivered>,
    counts: StreamCounts,
}

#[derive(Default)]
enum Keep {
    #[default]
    Records,
    Counts,
    HandOver(Box<dyn FnMut(Arrival<'_>) + Send>),
}

/// The records of a request, as they are stored.
pub(crate) struct Batch<'a> {
    store: &'a Arc<Store>,
    kept: MutexGuard<'a, Kept>,
    first: usize,
    records: u64,
}

/// What to note when the reply is written.
#[derive(Debug)]
pub(crate) struct Receipt {
    store: Arc<Store>,
    delivered: Range<usize>,
    records: u64,
}

impl Store {
    /// Begins a request. The records of one follow each other, whatever else arrives.
    pub(crate) fn batch(self: &Arc<Store>) -> Batch<'_> {
        let mut kept = lock(&self.kept);
        kept.counts.requests += 1;
        let first = kept.delivered.len();
        Batch { store: self, kept, first, records: 0 }
    }

    pub(crate) fn delivered(&self) -> Vec<Delivered> {
        lock(&self.kept).delivered.clone()
    }

    pub(crate) fn counts(&self) -> StreamCounts {
        lock(&self.kept).counts
    }

    pub(crate) fn keep_counts(&self) {
        lock(&self.kept).keep = Keep::Counts;
    }

    pub(crate) fn hand_over(&self, each: impl FnMut(Arrival<'_>) + Send + 'static) {
        lock(&self.kept).keep = Keep::HandOver(Box::new(each));
    }
}

impl Batch<'_> {
    pub(crate) fn push(&mut self, arrival: Arrival<'_>) {
        let Kept { keep, delivered, counts } = &mut *self.kept;
        counts.records += 1;
        counts.bytes += arrival.data.len() as u64;
        self.records += 1;
        match keep {
            Keep::Records => delivered.push(Delivered {
                data: arrival.data.into(),
                partition_key: arrival.partition_key.map(Arc::from),
                explicit_hash_key: arrival.explicit_hash_key,
                shard_id: arrival.shard_id.map(Arc::clone),
                request: arrival.request,
                acknowledged: false,
            }),
            Keep::Counts => {}
            Keep::HandOver(each) => each(arrival),
        }
    }

    pub(crate) fn fail(&mut self) {
        self.kept.counts.failed += 1;
    }

    pub(crate) fn finish(self) -> Receipt {
        let delivered = self.first..self.kept.delivered.len();
        Receipt { store: Arc::clone(self.store), delivered, records: self.records }
    }
}

impl Receipt {
    /// The client is about to be told: noted before, so that no client knows what the server has
    /// yet to note.
    pub(crate) fn acknowledge(&self) {
        self.note(true);
    }

    /// The client could not be told.
    pub(crate) fn revoke(&self) {
        self.note(false);
    }

    fn note(&self, acknowledged: bool) {
        let mut kept = lock(&self.store.kept);
        let counts = &mut kept.counts;
        counts.acknowledged = match acknowledged {
            true => counts.acknowledged + self.records,
            false => counts.acknowledged - self.records,
        };
        for record in &mut kept.delivered[self.delivered.clone()] {
            record.acknowledged = acknowledged;
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kept").field("counts", &self.counts).finish_non_exhaustive()
    }
}
