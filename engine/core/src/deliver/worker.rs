//! Sends the records of one request after the other until each of them is delivered or kept.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::backoff::{FIRST_WAIT, MAX_HELD, gets_on, max_wait};
use super::ending::{Ending, Failed};
use super::lane::Queue;
use super::request::Refused;
use super::shared::Shared;
use super::{Class, Failure, Service};
use crate::record::Record;
use crate::sink::limits::RequestLimits;

/// For so long a worker waits for a full request before it sends what failed. Where workers are done
/// at the same time, the next request is only being handed over.
const MOMENT: Duration = Duration::from_millis(10);

/// Sends requests of a lane until there are no more.
pub(super) async fn work<S: Service>(shared: Arc<Shared<S>>, queue: Arc<Queue>) {
    let _ends_all = EndsAllByPanic(&shared.ending);
    while let Some((records, failure)) = next(&shared, &queue).await {
        if deliver(&shared, &queue, records, failure).await.is_err() {
            return;
        }
    }
}

/// The records to send next, and how they failed if they were tried before.
async fn next<S: Service>(shared: &Shared<S>, queue: &Queue) -> Option<(Vec<Record>, Option<Failure>)> {
    let mut batches = queue.batches.lock().await;
    let leftovers = &queue.leftovers;
    let moment = Instant::now() + MOMENT;
    let mut may_come = true;
    loop {
        let limits = RequestLimits::with_size(shared.request_size.load(Ordering::Relaxed), shared.counted);
        let when = leftovers.ready();
        if !may_come && when.is_none() {
            return None;
        }
        let is_ready = async {
            match when {
                Some(when) => sleep_until(when.max(moment)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.ending.failed() => return None,
            () = ready(()), if leftovers.go_first(limits.clone()) => return Some(leftovers.take(limits)),
            batch = batches.recv(), if may_come => match batch {
                Some(batch) => return Some((batch, None)),
                None => may_come = false,
            },
            () = is_ready => return Some(leftovers.take(limits)),
            () = leftovers.added() => {}
        }
    }
}

async fn deliver<S: Service>(
    shared: &Shared<S>,
    queue: &Queue,
    records: Vec<Record>,
    mut last_failure: Option<Failure>,
) -> Result<(), Failed> {
    let mut parts = vec![records];
    while let Some(records) = parts.pop() {
        let part = Part { shared, queue, failures: 0, last_failure: last_failure.take() };
        if let Some((first, second)) = part.deliver(records).await? {
            parts.extend([second, first]);
        }
    }
    Ok(())
}

/// Ends the other workers when this one panics. What it had is not acknowledged, and nothing more
/// should be sent until whoever ships is told.
struct EndsAllByPanic<'a>(&'a Ending);

impl Drop for EndsAllByPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop_everything();
        }
    }
}

/// Records that are tried together.
struct Part<'a, S> {
    shared: &'a Shared<S>,
    queue: &'a Queue,
    /// Tries in a row that did not get on.
    failures: u32,
    /// How the try before this one failed.
    last_failure: Option<Failure>,
}

/// What came of a try.
enum Tried {
    /// These are neither delivered nor kept yet.
    Left {
        /// Those that may get through the next time.
        for_now: Vec<Record>,
        /// Those that were refused for good, and find no room in the spool.
        unkept: Vec<Record>,
        /// Why.
        failure: Failure,
    },
    /// More than one record, and more than the service takes at once.
    TooLarge(Vec<Record>),
}

impl<S: Service> Part<'_, S> {
    /// Sends the records until each is delivered, kept or left to another request. When they are too
    /// large for a request together, their halves are given back.
    async fn deliver(mut self, mut records: Vec<Record>) -> Result<Option<(Vec<Record>, Vec<Record>)>, Failed> {
        while !records.is_empty() {
            // No more at once than there are tokens for: the rest would be sent only to be turned
            // away.
            let fitting = self.shared.pace.portion(self.shared.costs(&records));
            let mut rest = records.split_off(fitting);
            let count = records.len();
            let (left, mut unkept, failure) = match self.try_once(records).await? {
                Tried::Left { for_now, unkept, failure } => (for_now, unkept, failure),
                Tried::TooLarge(records) => {
                    let (first, mut second) = self.shared.halve(records);
                    second.append(&mut rest);
                    return Ok(Some((first, second)));
                }
            };
            let gets_on = gets_on(count, count - left.len() - unkept.len());
            self.failures = if gets_on { 0 } else { self.failures + 1 };
            let is_hopeless = matches!(failure.class(), Class::Permanent | Class::TooLarge);
            let is_last = |record: &Record| is_hopeless || self.time_left(record).is_some_and(|time| time < FIRST_WAIT);
            let (last, mut left) = left.into_iter().partition::<Vec<_>, _>(is_last);
            unkept.extend(self.shared.keep(last, &failure).await?);
            if left.is_empty() && unkept.is_empty() {
                (records, self.failures, self.last_failure) = (rest, 0, None);
                continue;
            }
            // Not past the end of any, and with time for another try after the next one.
            let time =
                left.iter().filter_map(|record| self.time_left(record)).min().map_or(Duration::MAX, |time| time / 2);
            let wait = max_wait(self.failures).mul_f64(fastrand::f64()).min(time);
            if self.failures == 0 && unkept.is_empty() && !self.queue.in_order {
                self.queue.leftovers.add(left, failure, wait, MAX_HELD.min(time));
                (records, self.last_failure) = (rest, None);
                continue;
            }
            unkept.append(&mut left);
            unkept.append(&mut rest);
            (records, self.last_failure) = (unkept, Some(failure));
            self.pause(wait).await?;
        }
        Ok(None)
    }

    /// One request, when its turn comes in time.
    async fn try_once(&mut self, mut records: Vec<Record>) -> Result<Tried, Failed> {
        let is_retry = self.last_failure.is_some();
        if !self.wait_for_turn(&records).await? {
            let failure = self.last_failure.take().unwrap_or_else(|| Failure::timeout("stopped before it was sent"));
            return Ok(Tried::Left { for_now: records, unkept: Vec::new(), failure });
        }
        // The time for trying begins with the first try.
        let now = Instant::now().into_std();
        records.iter_mut().for_each(|record| record.tried(now));
        match self.shared.send(records, is_retry).await {
            Ok(Refused { for_now, failure, for_good }) => {
                let unkept = match for_good {
                    Some((records, failure)) => self.shared.keep(records, &failure).await?,
                    None => Vec::new(),
                };
                Ok(Tried::Left { for_now, unkept, failure: failure.unwrap_or_else(Failure::spool_full) })
            }
            Err((records, failure)) if failure.class() == Class::TooLarge && records.len() > 1 => {
                Ok(Tried::TooLarge(records))
            }
            Err((records, failure)) => Ok(Tried::Left { for_now: records, unkept: Vec::new(), failure }),
        }
    }

    /// Waits for the tokens of the buckets; whether they come in time. Records that were tried
    /// before wait no longer than they are tried; the others have only the end of the run to be in
    /// time for.
    async fn wait_for_turn(&self, records: &[Record]) -> Result<bool, Failed> {
        let ending = &self.shared.ending;
        if !ending.may_wait() {
            return Ok(false);
        }
        let wait = self.shared.pace.take(self.shared.costs(records));
        if wait.is_zero() {
            return Ok(true);
        }
        let now = Instant::now();
        let turn = now + wait;
        // That is past for a record that finds no room in the spool, and is tried until it does.
        let given_up = records.iter().filter_map(|record| self.given_up(record)).filter(|&given_up| given_up > now);
        ending.wait(given_up.fold(turn, Instant::min)).await?;
        Ok(Instant::now() >= turn)
    }

    /// Waits before the next try. A stop sets an end to the waiting, so what time there is begins
    /// with a try.
    async fn pause(&self, wait: Duration) -> Result<(), Failed> {
        let ending = &self.shared.ending;
        let is_running = ending.is_running();
        tokio::select! {
            waited = ending.wait(Instant::now() + wait) => waited,
            _ = ending.stopped(), if is_running => Ok(()),
        }
    }

    /// When a record is given up that was tried before.
    fn given_up(&self, record: &Record) -> Option<Instant> {
        Some(Instant::from_std(record.first_tried()?) + self.shared.give_up_after?)
    }

    /// How long the record may still be tried; for ever without one.
    fn time_left(&self, record: &Record) -> Option<Duration> {
        let last = self.shared.ending.last_try(self.given_up(record))?;
        Some(last.saturating_duration_since(Instant::now()))
    }
}
