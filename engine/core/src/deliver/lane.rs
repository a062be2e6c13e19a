//! Fills requests, one after the other.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::ending::Failed;
use super::leftovers::Leftovers;
use super::places::counted_for_rate;
use crate::limits::kinesis::SHARD_BYTES_PER_SECOND;
use crate::record::Record;
use crate::sink::limits::{Counted, RequestLimits};

/// A quarter of a shard's second in one request at most, as in the KPL (`collector.h`): more would
/// be throttled.
const MAX_SHARE: usize = SHARD_BYTES_PER_SECOND as usize / 4;

/// What the workers of a lane take in turn.
#[derive(Debug)]
pub(super) struct Queue {
    /// The full requests.
    pub(super) batches: Mutex<mpsc::Receiver<Vec<Record>>>,
    /// What failed of them.
    pub(super) leftovers: Leftovers,
    /// Whether a request must wait for what failed of the one before.
    pub(super) in_order: bool,
}

/// A request that is being filled, and the way to the workers that send it.
#[derive(Debug)]
pub(super) struct Lane {
    open: Vec<Record>,
    limits: RequestLimits,
    /// Bytes for each shard in the open request.
    shares: Vec<usize>,
    queue: Option<mpsc::Sender<Vec<Record>>>,
}

impl Lane {
    /// A lane, and the end of it that its workers read.
    pub(super) fn new(request_size: usize, counted: Counted, in_order: bool) -> (Lane, Arc<Queue>) {
        // One waits while the others are on their way.
        let (queue, batches) = mpsc::channel(1);
        let limits = RequestLimits::with_size(request_size, counted);
        let lane = Lane { open: Vec::new(), limits, shares: Vec::new(), queue: Some(queue) };
        (lane, Arc::new(Queue { batches: Mutex::new(batches), leftovers: Leftovers::default(), in_order }))
    }

    /// Takes a record for that bucket. The open request goes first when the record does not fit
    /// into it, or, where buckets have shares, when it would pass its bucket's.
    pub(super) async fn add(
        &mut self,
        record: Record,
        bucket: usize,
        request_size: usize,
        has_shares: bool,
    ) -> Result<(), Failed> {
        if self.queue.is_none() {
            return Err(Failed);
        }
        self.limits.set_max_bytes(request_size);
        let share = self.shares.get(bucket).copied().unwrap_or_default();
        let size = counted_for_rate(&record);
        if has_shares && share > 0 && share + size > MAX_SHARE {
            self.limits.end_request();
        }
        if self.limits.begins_request(&record) {
            self.send().await?;
        }
        if self.shares.len() <= bucket {
            self.shares.resize(bucket + 1, 0);
        }
        self.shares[bucket] += size;
        self.open.push(record);
        Ok(())
    }

    /// Hands the open request to the workers, however full; waits while they are all busy.
    pub(super) async fn flush(&mut self) -> Result<(), Failed> {
        self.limits.end_request();
        self.send().await
    }

    /// Nothing more comes.
    pub(super) fn close(&mut self) {
        self.queue = None;
    }

    async fn send(&mut self) -> Result<(), Failed> {
        if self.open.is_empty() {
            return Ok(());
        }
        let queue = self.queue.as_ref().ok_or(Failed)?;
        // The records stay here when this is cancelled while it waits.
        let place = queue.reserve().await.map_err(|_| Failed)?;
        place.send(std::mem::take(&mut self.open));
        self.shares.clear();
        Ok(())
    }
}
