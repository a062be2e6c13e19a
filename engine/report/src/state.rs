//! Everything that was counted, in a form that can be written, read and merged: hours or machines
//! that were counted apart make the same report as if they had been counted together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Read, Write};

use pixel_engine_core::run::{Report, Summary};
use serde::{Deserialize, Serialize};

use crate::advertising::Ledger;
use crate::hours::Hours;
use crate::latency::Latency;
use crate::reconcile::Reconciled;
use crate::rules::{Broken, Rule};
use crate::sample::Kepts;
use crate::settings::Defined;
use crate::shop::{self, Products};
use crate::sighting::{AfterSlash, Examples, Sight, without_addresses};
use crate::top::{Counts, Top};
use crate::visitor::Visitor;

/// Exact to so many visitors with a session each. A part of the table that is filled evenly then
/// stays below the 3,584 entries at which it would double: that is 40 MB in all, and not 80.
pub(crate) const MAX_VISITOR_PLACES: usize = 200_000;

/// Doubled ids are exact to so many ids: 4 MB.
pub(crate) const MAX_IDS: usize = 200_000;

/// The most recent events that are kept.
pub(crate) const MAX_RECENT: usize = 20;

/// Examples of each rule: the earliest.
pub(crate) const MAX_EXAMPLES: usize = 3;

/// What names are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Event,
    Page,
    Referrer,
    Campaign,
    Agent,
    Country,
    EdgeLocation,
    Asn,
    Status,
    Result,
    DetailedResult,
    Method,
    Protocol,
}

impl Dimension {
    const COUNT: usize = Dimension::Protocol as usize + 1;

    /// How many names are kept: three quarters of it, exactly.
    fn max_names(index: usize) -> usize {
        if index == Dimension::Page as usize { 1 << 16 } else { 1 << 14 }
    }
}

/// Everything that was counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    pub(crate) defined: Defined,
    pub(crate) lines: Lines,
    pub(crate) totals: Totals,
    tops: Vec<Top>,
    pub(crate) hours: Hours,
    pub(crate) time_taken: Latency,
    pub(crate) time_to_first_byte: Latency,
    pub(crate) recent: Examples,
    pub(crate) visitors: Kepts<Visitor>,
    pub(crate) ids: Kepts<u32>,
    /// There if they are defined.
    pub(crate) advertising: Option<Ledger>,
    pub(crate) products: Option<Products>,
    pub(crate) reconciled: Option<Reconciled>,
}

/// What became of lines before they were counted: in = counted + filtered + bad.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Log lines, without headers and empty lines.
    pub lines_in: u64,
    /// Those that the report counts.
    pub counted: u64,
    /// Left out because they did not match, or as duplicates.
    pub filtered: u64,
    /// Those of the filtered lines that were duplicates.
    pub duplicates: u64,
    /// Lines that could not be read.
    pub bad: u64,
    /// The same by the kind of reason.
    pub bad_by_reason: BTreeMap<String, BadLines>,
    /// Inputs that could not be read, or not to their end, and why.
    pub unread_inputs: Vec<String>,
}

/// Lines that could not be read, for one kind of reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadLines {
    /// How many.
    pub count: u64,
    /// Where the first one is, and what is wrong with it; without any address.
    pub first: String,
}

impl Lines {
    /// Those of a run.
    pub fn of_run(run: &Report) -> Lines {
        let Summary { lines_in, lines_shipped, lines_filtered, lines_duplicate, lines_skipped, .. } = run.summary;
        let bad_by_reason = run.bad_lines.iter().map(|(name, lines)| {
            let first = without_addresses(&lines.first.to_string(), AfterSlash::Address).into_owned();
            ((*name).to_owned(), BadLines { count: lines.count, first })
        });
        Lines {
            lines_in,
            counted: lines_shipped,
            filtered: lines_filtered - lines_skipped,
            duplicates: lines_duplicate,
            bad: run.summary.lines_quarantined + lines_skipped,
            bad_by_reason: bad_by_reason.collect(),
            unread_inputs: run.errors.iter().map(ToString::to_string).collect(),
        }
    }

    pub(crate) fn merge(&mut self, from: Lines) {
        self.lines_in += from.lines_in;
        self.counted += from.counted;
        self.filtered += from.filtered;
        self.duplicates += from.duplicates;
        self.bad += from.bad;
        for (name, lines) in from.bad_by_reason {
            match self.bad_by_reason.entry(name) {
                Entry::Occupied(mut known) => known.get_mut().count += lines.count,
                Entry::Vacant(new) => drop(new.insert(lines)),
            }
        }
        self.unread_inputs.extend(from.unread_inputs);
    }
}

/// Sums over all lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) beacons: Counts,
    pub(crate) line_bytes: u64,
    pub(crate) sc_bytes: u64,
    pub(crate) cs_bytes: u64,
    /// Without a referrer.
    pub(crate) direct: Counts,
    /// From a page of the same host.
    pub(crate) own_site: Counts,
    pub(crate) without_visitor: u64,
    /// The earliest and the latest, in milliseconds since 1970.
    pub(crate) first: Option<i64>,
    pub(crate) last: Option<i64>,
    /// By rule.
    pub(crate) broken: [u64; Rule::COUNT],
    pub(crate) examples: [Examples; Rule::COUNT],
}

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            beacons: Counts::default(),
            line_bytes: 0,
            sc_bytes: 0,
            cs_bytes: 0,
            direct: Counts::default(),
            own_site: Counts::default(),
            without_visitor: 0,
            first: None,
            last: None,
            broken: [0; Rule::COUNT],
            examples: Default::default(),
        }
    }
}

impl Totals {
    #[inline]
    pub(crate) fn see(&mut self, time: i64) {
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
    }

    pub(crate) fn note_broken(&mut self, broken: Broken, sight: &Sight<'_>) {
        for rule in broken.rules() {
            self.broken[rule as usize] += 1;
            let time = sight.time.unwrap_or_default();
            self.examples[rule as usize].keep_earliest(MAX_EXAMPLES, time, || sight.sighting());
        }
    }

    pub(crate) fn merge(&mut self, from: Totals) {
        self.beacons += from.beacons;
        self.line_bytes += from.line_bytes;
        self.sc_bytes += from.sc_bytes;
        self.cs_bytes += from.cs_bytes;
        self.direct += from.direct;
        self.own_site += from.own_site;
        self.without_visitor += from.without_visitor;
        from.first.into_iter().chain(from.last).for_each(|time| self.see(time));
        for (count, more) in self.broken.iter_mut().zip(from.broken) {
            *count += more;
        }
        for (examples, more) in self.examples.iter_mut().zip(from.examples) {
            examples.merge_earliest(MAX_EXAMPLES, more);
        }
    }
}

/// Why a state cannot be read or merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no state of a report; `report --save FILE` writes one")]
    NoState,
    /// It was written by another version.
    #[error("it is a state of version {0}, and this program reads version {VERSION}; count the lines again")]
    Version(String),
    /// It is damaged.
    #[error("the state is damaged: {0}")]
    Damaged(String),
    /// Two states count other things.
    #[error("{}", difference(name, one, other))]
    Difference {
        /// The setting that differs.
        name: String,
        /// Its value in the one.
        one: String,
        /// Its value in the other.
        other: String,
    },
}

fn difference(name: &str, one: &str, other: &str) -> String {
    match name {
        "salt_check" => "its visitors are hashed with another salt, so that nobody could be recognised; \
                         give all reports that are to be merged the same --salt-file"
            .to_owned(),
        _ => format!("it was counted with {name} {other}, and this report with {one}"),
    }
}

/// What a state begins with, before its version and a newline.
const MAGIC: &str = "pixel-engine report state ";
const VERSION: u32 = 1;

impl State {
    /// Nothing counted yet.
    pub(crate) fn new(defined: Defined) -> State {
        State {
            defined,
            lines: Lines::default(),
            totals: Totals::default(),
            tops: (0..Dimension::COUNT).map(|index| Top::new(Dimension::max_names(index))).collect(),
            hours: Hours::default(),
            time_taken: Latency::default(),
            time_to_first_byte: Latency::default(),
            recent: Examples::default(),
            visitors: Kepts::default(),
            ids: Kepts::default(),
            advertising: None,
            products: None,
            reconciled: None,
        }
    }

    /// Says what became of the lines of the run.
    pub fn with_lines(self, lines: Lines) -> State {
        State { lines, ..self }
    }

    /// Says what became of the lines of the run that read the standard log.
    pub fn with_standard_lines(mut self, lines: Lines) -> State {
        if let Some(reconciled) = &mut self.reconciled {
            reconciled.standard_lines = lines;
        }
        self
    }

    /// How many lines were counted.
    pub fn lines_counted(&self) -> u64 {
        self.totals.beacons.all
    }

    pub(crate) fn top(&self, dimension: Dimension) -> &Top {
        &self.tops[dimension as usize]
    }

    pub(crate) fn top_mut(&mut self, dimension: Dimension) -> &mut Top {
        &mut self.tops[dimension as usize]
    }

    /// Adds what was counted elsewhere.
    ///
    /// # Errors
    /// The other one was counted under other definitions, or with another salt.
    pub fn merge(&mut self, from: State) -> Result<(), StateError> {
        if let Some((name, one, other)) = self.defined.difference(&from.defined) {
            return Err(StateError::Difference { name, one, other });
        }
        let (gap, burst) = (self.defined.session_gap_millis, self.defined.burst);
        self.visitors.merge(from.visitors, MAX_VISITOR_PLACES, |visitor, other| visitor.merge(other, gap, burst));
        self.ids.merge(from.ids, MAX_IDS, |count, more| *count += more);
        self.lines.merge(from.lines);
        self.totals.merge(from.totals);
        for (top, more) in self.tops.iter_mut().zip(&from.tops) {
            top.merge(more);
        }
        self.hours.merge(&from.hours);
        self.time_taken.merge(&from.time_taken);
        self.time_to_first_byte.merge(&from.time_to_first_byte);
        self.recent.merge_latest(MAX_RECENT, from.recent);
        if let (Some(ledger), Some(more)) = (&mut self.advertising, from.advertising) {
            ledger.merge(more);
        }
        if let (Some(products), Some(more)) = (&mut self.products, from.products) {
            shop::merge(products, more);
        }
        if let (Some(reconciled), Some(more)) = (&mut self.reconciled, from.reconciled) {
            reconciled.merge(more);
        }
        Ok(())
    }

    /// Writes it.
    ///
    /// # Errors
    /// What writing to `out` gives.
    pub fn save(&self, mut out: impl Write) -> Result<(), StateError> {
        let bytes = postcard::to_stdvec(self).map_err(|error| StateError::Damaged(error.to_string()))?;
        out.write_all(format!("{MAGIC}{VERSION}\n").as_bytes())?;
        let mut encoder = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.write_all(&bytes)?;
        encoder.finish()?.flush()?;
        Ok(())
    }

    /// Reads what [`State::save`] wrote.
    ///
    /// # Errors
    /// `input` cannot be read, or holds no state of this version.
    pub fn load(mut input: impl Read) -> Result<State, StateError> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(StateError::NoState)?;
        let end = memchr::memchr(b'\n', rest).ok_or(StateError::NoState)?;
        if rest[..end] != *VERSION.to_string().as_bytes() {
            return Err(StateError::Version(String::from_utf8_lossy(&rest[..end]).into_owned()));
        }
        let bytes = zstd::decode_all(&rest[end + 1..]).map_err(|error| StateError::Damaged(error.to_string()))?;
        let state: State = postcard::from_bytes(&bytes).map_err(|error| StateError::Damaged(error.to_string()))?;
        if state.tops.len() != Dimension::COUNT {
            return Err(StateError::Damaged(format!("{} tables of names", state.tops.len())));
        }
        Ok(state)
    }
}
