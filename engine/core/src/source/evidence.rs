//! Finds out how many times the queries of an input are encoded.
//!
//! The first block with a query that shows it decides for the whole input, by the majority of its
//! first [`MAX_LINES`] such queries. Whatever comes before decodes to the same text either way, so
//! nothing has to wait for the decision and nothing has to be taken back.

use std::sync::atomic::{AtomicU64, Ordering};

use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use pixel_engine_log::query::QueryEncoding;
use pixel_engine_log::schema::Schemas;
use pixel_engine_log::select::Matcher;
use serde::Serialize;

use crate::block::Block;
use crate::check::{Checks, Scratch, Take, Taken, Unfit};

/// Queries that are looked at, at most.
const MAX_LINES: u32 = 1_000;

/// In how many inputs queries are encoded once, twice, or in a way that no query shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueryEncodings {
    /// Inputs whose queries are encoded once.
    pub inputs_once: u64,
    /// Inputs whose queries are encoded twice.
    pub inputs_twice: u64,
    /// Inputs without a query that shows it: both ways of decoding give the same.
    pub inputs_undecided: u64,
}

/// Decides for every input of a run, and counts what it decided.
pub(crate) struct QueryEncodingDetector {
    /// All lines of the accepted schemas.
    checks: Checks,
    once: AtomicU64,
    twice: AtomicU64,
    undecided: AtomicU64,
}

impl QueryEncodingDetector {
    /// For real-time logs of these schemas, and any other log.
    pub(crate) fn new(schemas: Schemas) -> QueryEncodingDetector {
        QueryEncodingDetector {
            checks: Checks { schemas, matcher: Matcher::default(), stop_at_bad_line: false, withhold: false },
            once: AtomicU64::new(0),
            twice: AtomicU64::new(0),
            undecided: AtomicU64::new(0),
        }
    }

    /// What the queries of this block show.
    pub(super) fn decide(&self, block: &Block) -> Option<QueryEncoding> {
        let evidence = Evidence::of(&self.checks, block);
        let Evidence { once, twice } = evidence;
        let (name, lines) = (&block.origin.name, once + twice);
        let decided = evidence.majority()?;
        let (counter, times, votes) = match decided {
            QueryEncoding::Once => (&self.once, "once", once),
            QueryEncoding::Twice => (&self.twice, "twice", twice),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if votes == lines {
            tracing::info!("{name}: queries are encoded {times}, as {lines} of them show");
        } else {
            tracing::warn!("{name}: queries are taken as encoded {times}, as {votes} of {lines} that show it do");
        }
        Some(decided)
    }

    /// Counts an input in which nothing showed it.
    pub(super) fn count_undecided(&self) {
        self.undecided.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn decided(&self) -> QueryEncodings {
        QueryEncodings {
            inputs_once: self.once.load(Ordering::Relaxed),
            inputs_twice: self.twice.load(Ordering::Relaxed),
            inputs_undecided: self.undecided.load(Ordering::Relaxed),
        }
    }
}

/// How many queries show what.
#[derive(Clone, Copy, Default)]
pub(crate) struct Evidence {
    once: u32,
    twice: u32,
}

impl Evidence {
    /// What the queries of this block show.
    pub(crate) fn of(checks: &Checks, block: &Block) -> Evidence {
        let mut evidence = Evidence::default();
        checks.check(block, &mut Scratch::default(), &mut evidence);
        evidence
    }

    /// What most of them show; `None` when none shows anything.
    pub(crate) fn majority(self) -> Option<QueryEncoding> {
        match (self.once, self.twice) {
            (0, 0) => None,
            (once, twice) if once > twice => Some(QueryEncoding::Once),
            _ => Some(QueryEncoding::Twice),
        }
    }
}

impl Take for Evidence {
    fn ship(&mut self, line: &Line<'_>, _start: u32, _end: u32) -> Result<Taken, Unfit> {
        if self.once + self.twice < MAX_LINES
            && let Some(shown) = line.get(Field::CsUriQuery).and_then(QueryEncoding::shown_by)
        {
            match shown {
                QueryEncoding::Once => self.once += 1,
                QueryEncoding::Twice => self.twice += 1,
            }
        }
        Ok(Taken::Kept)
    }

    fn leave_out(&mut self, _start: u32) {}
}
