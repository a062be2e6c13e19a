//! A report that goes on with its pipeline, for those who look on.
//!
//! Lines are counted as they are read, over any number of runs, by days of which so many are kept.
//! Documents are made only when somebody asks, and one at a time: while one is made, others wait for
//! it and get the same.

mod days;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pixel_engine_core::observe::{Observe, ObserveBlock, Observed};
use pixel_engine_core::progress::Progress;
use pixel_engine_report::Document;

use crate::config::ReportConfig;
use days::Days;

/// How long a document is new. If it took longer to make it, that long: making documents never takes
/// more than half of a core.
const NEW: Duration = Duration::from_secs(1);

/// Counts what a pipeline reads.
pub(crate) struct LiveReport {
    days: Observed<Days>,
    made: Mutex<Option<Made>>,
}

struct Made {
    document: Arc<Document>,
    at: Instant,
    took: Duration,
}

impl LiveReport {
    /// Nothing counted yet; `progress` is that of the pipeline.
    pub(crate) fn new(config: ReportConfig, progress: Arc<Progress>) -> LiveReport {
        LiveReport { days: Observed::new(Days::new(config, progress, Timestamp::now())), made: Mutex::default() }
    }

    /// What it was asked to count.
    pub(crate) fn config(&self) -> &ReportConfig {
        self.days.observer().config()
    }

    /// What is counted so far. It may be a second old, and takes a while to make: not for a thread
    /// that others wait for.
    pub(crate) fn document(&self) -> Arc<Document> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.at.elapsed() < NEW.max(made.took)) {
            return Arc::clone(&made.document);
        }
        let (begun, now) = (Instant::now(), Timestamp::now());
        self.turn(now);
        // What threads hold that have no line at the moment.
        drop(self.days.take());
        let document = Arc::new(self.days.observer().document(now));
        *made = Some(Made { document: Arc::clone(&document), at: Instant::now(), took: begun.elapsed() });
        document
    }

    fn turn(&self, now: Timestamp) {
        if self.days.observer().turn(now) {
            // A thread without lines would keep a day that is over.
            drop(self.days.take());
        }
    }
}

impl Observe for LiveReport {
    fn begin_block(&self) -> Box<dyn ObserveBlock + '_> {
        self.turn(Timestamp::now());
        self.days.begin_block()
    }
}

impl std::fmt::Debug for LiveReport {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LiveReport").field("config", self.config()).finish_non_exhaustive()
    }
}
