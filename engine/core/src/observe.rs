//! Looking at the lines of a run while they pass: for reports, measurements, files of another form.
//!
//! An [`Observer`] sees each line that is shipped, on whichever thread of the pool has its block,
//! and notes what it wants in a tally. There are as many tallies as there are threads at work, so
//! none is locked; they are merged at the end.
//!
//! ```
//! use std::sync::Arc;
//!
//! use pixel_engine_core::config::Settings;
//! use pixel_engine_core::observe::{Observed, Observer};
//! use pixel_engine_core::quarantine::Quarantine;
//! use pixel_engine_core::run::Run;
//! use pixel_engine_core::sink::null::Null;
//! use pixel_engine_core::source::{Closed, Feed, Source};
//! use pixel_engine_log::field::Field;
//! use pixel_engine_log::line::Line;
//!
//! /// Counts the lines of curl.
//! struct Curl;
//!
//! impl Observer for Curl {
//!     type Tally = u64;
//!
//!     fn observe(&self, line: &Line<'_>, _text: &[u8], tally: &mut u64) {
//!         *tally += u64::from(line.get(Field::CsUserAgent).is_some_and(|agent| agent.starts_with(b"curl/")));
//!     }
//!
//!     fn merge(&self, into: &mut u64, from: u64) {
//!         *into += from;
//!     }
//! }
//!
//! struct Lines;
//!
//! impl Source for Lines {
//!     fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
//!         let mut inlet = feed.open("lines");
//!         inlet.push("1.5\t203.0.113.9\tcurl/8.0\te=a\n2.5\t203.0.113.9\tMozilla/5.0\te=b\n")?;
//!         inlet.end()?;
//!         Ok(())
//!     }
//! }
//!
//! let config = Settings::default().validate()?;
//! let curl = Arc::new(Observed::new(Curl));
//! let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
//! let report = Run::new(&config).source(Lines).observer(curl.clone()).to(&mut sink, &mut quarantine);
//! assert_eq!((report.summary.lines_shipped, curl.take()), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::{Mutex, PoisonError};

use pixel_engine_log::line::Line;

/// Someone who looks at lines.
pub trait Observer: Send + Sync {
    /// What is noted of some of the lines.
    type Tally: Default + Send;

    /// Notes a line that is shipped; `text` is the line as it came, without its newline. Lines that
    /// are filtered out or bad are not shown, and lines come in no particular order.
    fn observe(&self, line: &Line<'_>, text: &[u8], tally: &mut Self::Tally);

    /// Follows the last line of a block, of some 1,000 lines: for what need not be done with each
    /// line, such as adding to a number that other threads see.
    fn end_block(&self, _tally: &mut Self::Tally) {}

    /// Adds what was noted of other lines. The result must not depend on the order in which tallies
    /// are merged.
    fn merge(&self, into: &mut Self::Tally, from: Self::Tally);
}

/// An observer with its tallies, as a run takes it.
#[derive(Debug)]
pub struct Observed<O: Observer> {
    observer: O,
    /// Those that no block is being noted in.
    tallies: Mutex<Vec<O::Tally>>,
}

impl<O: Observer> Observed<O> {
    /// With nothing noted.
    pub fn new(observer: O) -> Observed<O> {
        Observed { observer, tallies: Mutex::default() }
    }

    /// The observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// Everything that was noted, merged; nothing is left. After a run, that is all of its lines.
    pub fn take(&self) -> O::Tally {
        let mut all = O::Tally::default();
        for tally in std::mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.observer.merge(&mut all, tally);
        }
        all
    }
}

/// What a run sees of an observer, whatever its tally is.
pub trait Observe: Send + Sync {
    /// Begins with the lines of a block.
    fn begin_block(&self) -> Box<dyn ObserveBlock + '_>;
}

/// Notes the lines of one block, on one thread.
pub trait ObserveBlock {
    /// A line that is shipped, and its text as it came.
    fn observe(&mut self, line: &Line<'_>, text: &[u8]);
}

impl<O: Observer> Observe for Observed<O> {
    fn begin_block(&self) -> Box<dyn ObserveBlock + '_> {
        let tally = self.tallies.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Box::new(Noting { observed: self, tally: tally.unwrap_or_default() })
    }
}

struct Noting<'a, O: Observer> {
    observed: &'a Observed<O>,
    tally: O::Tally,
}

impl<O: Observer> ObserveBlock for Noting<'_, O> {
    fn observe(&mut self, line: &Line<'_>, text: &[u8]) {
        self.observed.observer.observe(line, text, &mut self.tally);
    }
}

impl<O: Observer> Drop for Noting<'_, O> {
    fn drop(&mut self) {
        self.observed.observer.end_block(&mut self.tally);
        let tally = std::mem::take(&mut self.tally);
        self.observed.tallies.lock().unwrap_or_else(PoisonError::into_inner).push(tally);
    }
}
