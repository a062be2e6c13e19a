//! Counts that others may look at while a run goes on.
//!
//! Whoever does something counts it with one atomic addition; whoever looks on reads the numbers at
//! any time. Locks are taken only for what is rare: failures, bad lines, and files that are opened.

mod histogram;
mod lag;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use histogram::Histogram;
pub(crate) use lag::FollowedFile;

use crate::billing::Billed;
use crate::quarantine::BadLine;

/// The bad lines that are remembered.
const RECENT_BAD_LINES: usize = 20;
/// Bytes that are remembered of each.
const BAD_LINE_BYTES: usize = 256;

/// What became of the lines of a pipeline so far. It only grows, over any number of runs: a line
/// that a run read and did not deliver counts as read again by the next one.
/// `lines_in = lines_shipped + lines_spooled + lines_quarantined + lines_filtered +
/// lines_undelivered`, but for lines that are on their way.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes read, before decompression.
    pub bytes_read: Arc<AtomicU64>,
    /// Bytes of lines, after decompression, that were encoded.
    pub bytes_in: Count,
    /// Lines that were encoded, filtered or found bad.
    pub lines_in: Count,
    /// Lines in delivered records.
    pub lines_shipped: Count,
    /// Lines in records that are in the spool, or were.
    pub lines_spooled: Count,
    /// Lines in the quarantine.
    pub lines_quarantined: Count,
    /// Lines that were left out: by a matcher, or as bad lines when these are skipped.
    pub lines_filtered: Count,
    /// Those of the filtered lines that were duplicates.
    pub lines_duplicate: Count,
    /// Lines that runs which failed left undelivered.
    pub lines_undelivered: Count,
    /// Records delivered.
    pub records: Count,
    /// Bytes of data in them.
    pub payload_bytes: Count,
    /// What they are billed.
    pub billed: BilledCount,
    /// What the lines that were packed would be billed, one record a line.
    pub billed_unpacked: BilledCount,
    /// The lines that this is about.
    pub lines_packed: Count,
    /// How requests went.
    pub requests: RequestCounts,
    /// From reading a line until its record was delivered, for the oldest line of each record.
    pub line_age: Histogram,
    followed: lag::FollowedFiles,
    bad_lines: Mutex<VecDeque<BadLine>>,
}

/// How the requests of a delivery went. A *code* is what AWS calls the error, or one of the names
/// that `docs/errors.md` lists for failures without one.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RequestCounts {
    /// Requests sent, those that failed included.
    pub sent: Count,
    /// Those of them that sent records again.
    pub retried: Count,
    /// Bytes of their bodies.
    pub bytes: Count,
    /// Requests and records that were turned away for their rate.
    pub throttles: Count,
    /// Requests that failed as a whole.
    pub failed: CountByCode,
    /// Records that failed within a request; a record counts each time.
    pub records_failed: CountByCode,
    /// From a request's first byte to the end of the reply.
    pub duration: Histogram,
    is_failing: AtomicBool,
    failure: Mutex<String>,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// Numbers that grow, by the code of an error.
#[derive(Debug, Default)]
pub struct CountByCode(Mutex<BTreeMap<String, u64>>);

/// [`Billed`] as it grows.
#[derive(Debug, Default)]
pub struct BilledCount {
    firehose: Count,
    put_payload_units: Count,
    on_demand: Count,
}

impl Progress {
    /// The last bad lines, the newest last; of each line, its first bytes.
    pub fn recent_bad_lines(&self) -> Vec<BadLine> {
        lock(&self.bad_lines).iter().cloned().collect()
    }

    /// Bytes that were written to followed files and are not acknowledged yet.
    pub fn lag_bytes(&self) -> u64 {
        self.followed.lag_bytes()
    }

    /// Lines that are on their way.
    pub fn lines_open(&self) -> u64 {
        // The ends first: what is counted there in between was counted as read before.
        let ends = [
            &self.lines_shipped,
            &self.lines_spooled,
            &self.lines_quarantined,
            &self.lines_filtered,
            &self.lines_undelivered,
        ];
        let done: u64 = ends.iter().map(|count| count.get()).sum();
        self.lines_in.get().saturating_sub(done)
    }

    pub(crate) fn follow(&self, file: FollowedFile) {
        self.followed.add(file);
    }

    /// A run has ended, and with it what it knew of its files. It left that many lines.
    pub(crate) fn run_ended(&self, lines_undelivered: u64) {
        self.lines_undelivered.add(lines_undelivered);
        self.followed.clear();
    }

    pub(crate) fn note_bad_lines(&self, lines: &[BadLine]) {
        let first = lines.len().saturating_sub(RECENT_BAD_LINES);
        let mut recent = lock(&self.bad_lines);
        for line in &lines[first..] {
            let bytes = line.bytes.as_ref().map(|bytes| bytes[..bytes.len().min(BAD_LINE_BYTES)].to_vec());
            let BadLine { reason, origin, .. } = line;
            recent.push_back(BadLine { reason: reason.clone(), origin: Arc::clone(origin), bytes, ..*line });
        }
        let old = recent.len().saturating_sub(RECENT_BAD_LINES);
        drop(recent.drain(..old));
    }

    /// A record arrived whose oldest line was read then.
    pub(crate) fn delivered(&self, len: usize, key_len: usize, lines: usize, oldest: Option<Instant>) {
        self.records.add(1);
        self.payload_bytes.add(len as u64);
        let mut billed = Billed::default();
        billed.add(len, key_len);
        self.billed.add(billed);
        self.lines_delivered(lines, oldest);
    }

    /// Lines arrived, the oldest of which was read then.
    pub(crate) fn lines_delivered(&self, lines: usize, oldest: Option<Instant>) {
        self.lines_shipped.add(lines as u64);
        if let Some(oldest) = oldest {
            self.line_age.record(oldest.elapsed());
        }
    }
}

impl RequestCounts {
    /// Why nothing gets through for now: how the last request failed, or that records went to the
    /// spool. `None` when a record has arrived since; being throttled is no failure.
    pub fn failure(&self) -> Option<String> {
        self.is_failing.load(Ordering::Acquire).then(|| lock(&self.failure).clone())
    }

    pub(crate) fn failing(&self, reason: String) {
        *lock(&self.failure) = reason;
        self.is_failing.store(true, Ordering::Release);
    }

    pub(crate) fn record_arrived(&self) {
        if self.is_failing.load(Ordering::Relaxed) {
            self.is_failing.store(false, Ordering::Release);
        }
    }
}

impl From<u64> for Count {
    fn from(count: u64) -> Count {
        Count(count.into())
    }
}

impl Count {
    /// How far it has grown.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets it grow.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

impl CountByCode {
    /// The number of each code that was seen.
    pub fn get(&self) -> BTreeMap<String, u64> {
        lock(&self.0).clone()
    }

    /// Counts one more of that code.
    pub fn add(&self, code: &str) {
        *lock(&self.0).entry(code.to_owned()).or_default() += 1;
    }
}

impl BilledCount {
    /// The bytes and units so far.
    pub fn get(&self) -> Billed {
        Billed {
            firehose: self.firehose.get(),
            put_payload_units: self.put_payload_units.get(),
            on_demand: self.on_demand.get(),
        }
    }

    /// Adds those of some records.
    pub fn add(&self, billed: Billed) {
        self.firehose.add(billed.firehose);
        self.put_payload_units.add(billed.put_payload_units);
        self.on_demand.add(billed.on_demand);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under the locks is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Origin;
    use crate::quarantine::Reason;

    #[test]
    fn the_last_bad_lines_are_remembered_by_their_first_bytes() {
        let origin = Arc::new(Origin::new(0, "a.log".to_owned()));
        let bad = |line| BadLine {
            reason: Reason::Nul,
            origin: Arc::clone(&origin),
            line,
            offset: 0,
            len: 1_000,
            bytes: Some(vec![b'x'; 1_000]),
            part: None,
        };
        let progress = Progress::default();
        progress.note_bad_lines(&[bad(1), bad(2)]);
        progress.note_bad_lines(&(3..=40).map(bad).collect::<Vec<_>>());
        progress.note_bad_lines(&[bad(41)]);
        let recent = progress.recent_bad_lines();
        assert_eq!(recent.iter().map(|line| line.line).collect::<Vec<_>>(), (22..=41).collect::<Vec<_>>());
        assert!(recent.iter().all(|line| line.bytes.as_ref().unwrap().len() == BAD_LINE_BYTES));
    }

    #[test]
    fn a_failure_holds_until_a_record_arrives() {
        let requests = RequestCounts::default();
        requests.record_arrived();
        assert_eq!(requests.failure(), None);
        requests.failing("ConnectionFailed".to_owned());
        requests.failing("Timeout".to_owned());
        assert_eq!(requests.failure().as_deref(), Some("Timeout"));
        requests.record_arrived();
        assert_eq!(requests.failure(), None);
    }

    #[test]
    fn a_record_counts_with_what_it_is_billed() {
        let progress = Progress::default();
        progress.lines_in.add(5);
        progress.delivered(5_121, 4, 3, Some(Instant::now()));
        let billed = Billed { firehose: 10_240, put_payload_units: 1, on_demand: 6_144 };
        assert_eq!((progress.billed.get(), progress.lines_open(), progress.line_age.count()), (billed, 2, 1));
    }
}
