//! Sends the records of one request after the other until each of them is delivered or kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{FIRST_WAIT, max_wait};
use super::ending::{Ending, Failed};
use super::lane::Batches;
use super::request::Refused;
use super::shared::Shared;
use super::{Class, Failure, Service};
use crate::record::Record;

/// Sends requests of a lane until there are no more.
pub(super) async fn work<S: Service>(shared: Arc<Shared<S>>, batches: Batches) {
    let _ends_all = EndsAllByPanic(&shared.ending);
    while let Some(batch) = next(&shared, &batches).await {
        if deliver(&shared, batch).await.is_err() {
            return;
        }
    }
}

async fn next<S: Service>(shared: &Shared<S>, batches: &Batches) -> Option<Vec<Record>> {
    let mut batches = batches.lock().await;
    tokio::select! {
        biased;
        () = shared.ending.failed() => None,
        batch = batches.recv() => batch,
    }
}

async fn deliver<S: Service>(shared: &Shared<S>, batch: Vec<Record>) -> Result<(), Failed> {
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        if let Some((first, second)) = Part::new(shared).deliver(part).await? {
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
    /// When they were first tried.
    begun: Instant,
    /// Tries in a row of which most failed.
    failures: u32,
    /// How the try before this one failed.
    last_failure: Option<Failure>,
}

/// What came of a try.
enum Tried {
    /// These are neither delivered nor kept yet, for that reason.
    Left(Vec<Record>, Failure),
    /// More than one record, and more than the service takes at once.
    TooLarge(Vec<Record>),
}

impl<'a, S: Service> Part<'a, S> {
    fn new(shared: &'a Shared<S>) -> Part<'a, S> {
        Part { shared, begun: Instant::now(), failures: 0, last_failure: None }
    }

    /// Sends the records until each is delivered or kept. When they are too large for a request
    /// together, their halves are given back.
    async fn deliver(mut self, mut records: Vec<Record>) -> Result<Option<(Vec<Record>, Vec<Record>)>, Failed> {
        while !records.is_empty() {
            // No more at once than there are tokens for: the rest would be sent only to be turned
            // away.
            let fitting = self.shared.pace.portion(self.shared.costs(&records));
            let mut rest = records.split_off(fitting);
            let count = records.len();
            let (mut left, failure) = match self.try_once(records).await? {
                Tried::Left(left, failure) => (left, failure),
                Tried::TooLarge(records) => {
                    let (first, mut second) = self.shared.halve(records);
                    second.append(&mut rest);
                    return Ok(Some((first, second)));
                }
            };
            // Where most got through, the service is there.
            self.failures = if left.len() < count.div_ceil(2) { 0 } else { self.failures + 1 };
            let time = self.time_left();
            let is_hopeless = matches!(failure.class(), Class::Permanent | Class::TooLarge);
            let is_last = is_hopeless || time.is_some_and(|time| time < FIRST_WAIT);
            if is_last && !left.is_empty() {
                left = self.shared.keep(left, &failure, self.begun).await?;
            }
            if left.is_empty() {
                (records, self.failures, self.last_failure) = (rest, 0, None);
                continue;
            }
            let mut wait = max_wait(self.failures).mul_f64(fastrand::f64());
            if let (false, Some(time)) = (is_last, time) {
                // Not past the end, and with time for another try after the next one.
                wait = wait.min(time / 2);
            }
            left.append(&mut rest);
            (records, self.last_failure) = (left, Some(failure));
            self.pause(wait).await?;
        }
        Ok(None)
    }

    /// One request, when its turn comes in time.
    async fn try_once(&mut self, records: Vec<Record>) -> Result<Tried, Failed> {
        let is_retry = self.last_failure.is_some();
        if !self.wait_for_turn(&records).await? {
            let failure = self.last_failure.take().unwrap_or_else(|| Failure::timeout("stopped before it was sent"));
            return Ok(Tried::Left(records, failure));
        }
        if !is_retry {
            // The time for trying begins with the first try.
            self.begun = Instant::now();
        }
        match self.shared.send(records, is_retry).await {
            Ok(Refused { for_now: mut left, failure, for_good }) => {
                if let Some((records, failure)) = for_good {
                    left.extend(self.shared.keep(records, &failure, self.begun).await?);
                }
                // Where no record is to be sent again, those that are left found no room in the
                // spool.
                Ok(Tried::Left(left, failure.unwrap_or_else(Failure::spool_full)))
            }
            Err((records, failure)) if failure.class() == Class::TooLarge && records.len() > 1 => {
                Ok(Tried::TooLarge(records))
            }
            Err((records, failure)) => Ok(Tried::Left(records, failure)),
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
        let given_up = self.given_up().filter(|_| self.last_failure.is_some());
        // That is past for a record that finds no room in the spool, and is tried until it does.
        let until = given_up.filter(|&given_up| given_up > now).map_or(turn, |given_up| turn.min(given_up));
        ending.wait(until).await?;
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

    fn given_up(&self) -> Option<Instant> {
        self.shared.give_up_after.map(|time| self.begun + time)
    }

    /// How long the records may still be tried; for ever without one.
    fn time_left(&self) -> Option<Duration> {
        let last = self.shared.ending.last_try(self.given_up())?;
        Some(last.saturating_duration_since(Instant::now()))
    }
}
