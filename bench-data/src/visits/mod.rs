//! Logs of visits: visitors who come, look around, buy, see advertisements, leave and come back,
//! with bots among them and with what goes wrong, and beside the log the numbers that a report of
//! it must find.
//!
//! [`Visits`] writes lines in the order of time, as far as edges keep it, and counts what it
//! writes: [`Visits::truth`] is true of the lines so far, at any moment. The same options give the
//! same bytes, and the same events in every shape; only the pauses of punctual visitors follow how
//! exact a shape's times are ([`Abnormalities::punctual`]).
//!
//! ```
//! use pixel_engine_bench_data::visits::{Options, Visits};
//! let options = Options { visitors: 100, ..Options::new("realtime-46".parse()?, 7) };
//! let mut visits = Visits::new(options);
//! let mut log = Vec::new();
//! while visits.append_line(&mut log) {}
//! let truth = visits.truth();
//! assert_eq!(truth.visitors.all, 100);
//! assert_eq!(truth.lines, log.iter().filter(|&&byte| byte == b'\n').count() as u64);
//! # Ok::<(), pixel_engine_bench_data::ShapeError>(())
//! ```
//!
//! A visitor follows from the seed and its number, and numbers are in the order of arrival
//! (`arrivals`, `visitor`). Who is here has the events of the session planned (`session`); who will
//! come back is a few words. Memory follows the visitors of some days, not those of the log.

mod arrivals;
mod event;
mod session;
mod truth;
mod visitor;
mod vocabulary;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;

use pixel_engine::log::field::Field;

use crate::columns::{Answer, LineParts};
use crate::hit::{Hit, Outcome};
use crate::line::LineWriter;
use crate::random::{Draw, mix};
use crate::request_id;
use crate::shape::Shape;
use crate::visits::arrivals::{Arrivals, HOUR_MILLIS};
use crate::visits::event::{Action, Anomaly, Event, QueryParts};
use crate::visits::session::Planner;
pub use crate::visits::truth::{Abnormal, CampaignViews, Count, Firings, FunnelStep, Placement, TimeTaken, Truth};
use crate::visits::truth::{Counted, Tally, Written};
use crate::visits::visitor::Profile;
use crate::visits::vocabulary::Vocabulary;

/// The names of events, the parameter `e`: of sites and shops, then of advertisements.
pub const EVENT_NAMES: [&str; 8] =
    ["view", "cart", "checkout", "paid", "impression", "viewable", "click", "conversion"];

/// The steps of a purchase.
pub const FUNNEL: [&str; 4] = ["view", "cart", "checkout", "paid"];

/// A pause longer than this ends a session: 30 minutes, as Matomo's `visit_standard_length` has it.
pub const SESSION_GAP_MILLIS: u64 = 30 * 60 * 1000;

/// The networks of data centres. All of their visitors have an address in one of these, and nobody
/// else has.
pub const DATA_CENTRES: [&str; 2] = ["248.0.0.0/5", "2001:db8:dc::/48"];

/// What visitors do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They read pages: `view` events.
    Site,
    /// Some buy, too: `cart`, `checkout` and `paid`.
    Shop,
    /// They see advertisements: `impression`, `viewable`, `click` and `conversion`.
    Ad,
    /// Of ten visitors, five are of a site, three of a shop, and two see advertisements.
    Mix,
}

/// How much goes wrong, each in shares of ten thousand. What comes of it is counted in
/// [`Truth::abnormal`].
///
/// An event has one thing wrong at most, and a visitor is one thing at most: the shares of events
/// make ten thousand together at most, and so do those of visitors with [`Options::bots`] and
/// [`Options::data_centres`]. What goes beyond that does not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abnormalities {
    /// Events answered with a status from 400 on, or 000.
    pub failures: u32,
    /// Events with another name, except those of advertisements that are fired twice.
    pub unknown_names: u32,
    /// Events with `-` for a request id.
    pub missing_ids: u32,
    /// Events whose line comes a second time, some lines later.
    pub doubled: u32,
    /// Events whose query has a `%` that begins no escape.
    pub broken_escapes: u32,
    /// Events whose query has escapes that are no UTF-8.
    pub invalid_utf8: u32,
    /// Events with a query of more than 800 bytes.
    pub long_queries: u32,
    /// Events followed, some lines later, by a line that cannot be read: one of two columns, so
    /// that it takes a shape of more.
    pub unreadable: u32,
    /// Visitors whose only event has no query.
    pub without_query: u32,
    /// Visitors whose second event comes exactly [`SESSION_GAP_MILLIS`] after the first, in the
    /// same session, and whose third comes a millisecond later than that after the second, in
    /// another session. In logs of whole seconds it is a second later. Nothing wrong, but a test.
    pub punctual: u32,
    /// Sessions of people that end with over 60 events in a minute.
    pub bursts: u32,
}

impl Abnormalities {
    /// Nothing goes wrong, and nobody is punctual.
    pub const NONE: Abnormalities = Abnormalities {
        failures: 0,
        unknown_names: 0,
        missing_ids: 0,
        doubled: 0,
        broken_escapes: 0,
        invalid_utf8: 0,
        long_queries: 0,
        unreadable: 0,
        without_query: 0,
        punctual: 0,
        bursts: 0,
    };
}

impl Default for Abnormalities {
    /// A little of everything, but no line that cannot be read.
    fn default() -> Abnormalities {
        Abnormalities {
            failures: 60,
            unknown_names: 10,
            missing_ids: 5,
            doubled: 20,
            broken_escapes: 15,
            invalid_utf8: 10,
            long_queries: 5,
            unreadable: 0,
            without_query: 50,
            punctual: 20,
            bursts: 10,
        }
    }
}

/// Which visits to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format and the columns.
    pub shape: Shape,
    /// Everything random follows from it.
    pub seed: u64,
    /// The time at which the log begins, in milliseconds since 1970.
    pub start_millis: u64,
    /// How many days it covers, at least 1. It ends as logs do, in the middle of visits.
    pub days: u32,
    /// How many visitors come, each for the first time on one of these days.
    pub visitors: u64,
    /// What they do.
    pub kind: Kind,
    /// Whether queries have the visitor's `uid`. Without it, address and user agent tell visitors
    /// apart: no two of them have the same address.
    pub has_ids: bool,
    /// Visitors of ten thousand with the user agent of a bot.
    pub bots: u32,
    /// Visitors of ten thousand with the address of a data centre and a person's user agent.
    pub data_centres: u32,
    /// Whether the hour in the middle of the log has ten times its visitors.
    pub surge: bool,
    /// What goes wrong.
    pub abnormal: Abnormalities,
    /// How many of 100 lines carry `cs-headers`, `cs-header-names` and `cs-headers-count`; see
    /// [`Options::headers_percent`](crate::Options::headers_percent).
    pub headers_percent: u8,
}

impl Options {
    /// 10,000 visitors of all kinds with ids, on 2026-01-05 UTC, a tenth of them bots.
    pub fn new(shape: Shape, seed: u64) -> Options {
        Options {
            shape,
            seed,
            start_millis: 1_767_571_200_000,
            days: 1,
            visitors: 10_000,
            kind: Kind::Mix,
            has_ids: true,
            bots: 1_000,
            data_centres: 200,
            surge: false,
            abnormal: Abnormalities::default(),
            headers_percent: 6,
        }
    }

    fn hours(&self) -> u64 {
        24 * u64::from(self.days.max(1))
    }

    /// Which hour of the log has the surge.
    fn surge_hour(&self) -> Option<u64> {
        self.surge.then_some(self.hours() / 2)
    }
}

/// A visitor who is here, or will be.
struct Visit {
    number: u64,
    draw: Draw,
    /// The rest of the session, last event first; empty for who is to come.
    events: Vec<Event>,
    sessions_left: u8,
    counted: Counted,
}

/// A line that will come some lines later.
struct HeldLine {
    text: Vec<u8>,
    anomaly: Anomaly,
    lines_before: u64,
}

/// Writes the lines of visits, one after the other.
pub struct Visits {
    options: Options,
    writer: LineWriter,
    vocabulary: Vocabulary,
    end_millis: u64,
    tick: u64,
    arrivals: Peekable<Arrivals>,
    /// When something is to happen, and the index of the visit.
    agenda: BinaryHeap<Reverse<(u64, usize)>>,
    visits: Vec<Visit>,
    /// Indices of visits that are over.
    vacant: Vec<usize>,
    impressions: u64,
    events: u64,
    held: Option<HeldLine>,
    query: Vec<u8>,
    tally: Tally,
}

impl Visits {
    /// How much later than its time a line comes, at most.
    const JITTER_MILLIS: u64 = 120;

    /// At the first line.
    pub fn new(options: Options) -> Visits {
        let schema = options.shape.schema();
        let has_millis = [Field::Timestamp, Field::TimestampMs].iter().any(|&field| schema.position(field).is_some());
        let vocabulary = Vocabulary::new();
        Visits {
            writer: LineWriter::new(&options.shape),
            end_millis: options.start_millis + options.hours() * HOUR_MILLIS,
            tick: if has_millis { 1 } else { 1000 },
            arrivals: Arrivals::new(&options).peekable(),
            agenda: BinaryHeap::new(),
            visits: Vec::new(),
            vacant: Vec::new(),
            impressions: mix(options.seed),
            events: 0,
            held: None,
            query: Vec::new(),
            tally: Tally::new(&vocabulary, &options),
            vocabulary,
            options,
        }
    }

    /// What is in the lines so far.
    pub fn truth(&self) -> Truth {
        self.tally.truth(&self.vocabulary)
    }

    /// Appends the two header lines of a legacy standard log; nothing for the other shapes, which
    /// have none.
    pub fn append_header(&self, out: &mut Vec<u8>) {
        self.writer.append_header(out);
    }

    /// Appends one line with its newline. False, and nothing appended, when the log is over.
    pub fn append_line(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(held) = &mut self.held {
            if held.lines_before == 0 {
                return self.append_held(out);
            }
            held.lines_before -= 1;
        }
        match self.next_event() {
            Some((index, event)) => {
                self.append_event(out, index, &event);
                self.go_on(index, event.millis);
                true
            }
            None => self.append_held(out),
        }
    }

    fn append_held(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(held) = self.held.take() else { return false };
        out.extend_from_slice(&held.text);
        self.tally.add_line(held.anomaly);
        true
    }

    /// Lets visitors come until one of them has the event that is next.
    fn next_event(&mut self) -> Option<(usize, Event)> {
        loop {
            let due = self.agenda.peek().map_or(u64::MAX, |Reverse((due, _))| *due);
            if let Some((number, millis)) = self.arrivals.next_if(|(_, millis)| *millis <= due) {
                self.welcome(number, millis);
                continue;
            }
            let Reverse((millis, index)) = self.agenda.pop()?;
            match self.visits[index].events.pop() {
                Some(event) => return Some((index, event)),
                None => self.begin_session(index, millis),
            }
        }
    }

    fn welcome(&mut self, number: u64, millis: u64) {
        let profile = Profile::new(&self.options, &self.vocabulary, number);
        let visit = Visit {
            number,
            draw: Draw::new(self.options.seed.rotate_left(31), number),
            events: Vec::new(),
            sessions_left: profile.sessions as u8,
            counted: Counted::default(),
        };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.visits[index] = visit;
                index
            }
            None => {
                self.visits.push(visit);
                self.visits.len() - 1
            }
        };
        self.agenda.push(Reverse((millis, index)));
    }

    fn begin_session(&mut self, index: usize, millis: u64) {
        let visit = &mut self.visits[index];
        let profile = Profile::new(&self.options, &self.vocabulary, visit.number);
        visit.sessions_left -= 1;
        visit.counted.is_in_session = false;
        let mut planner = planner(&self.vocabulary, &self.options, self.tick, &mut self.impressions, &profile, visit);
        let mut events = planner.plan(millis);
        events.reverse();
        visit.events = events;
        self.schedule(index);
    }

    /// Puts the visit's next event on the agenda, late by the jitter.
    fn schedule(&mut self, index: usize) {
        let visit = &mut self.visits[index];
        match visit.events.last() {
            Some(event) if event.millis < self.end_millis => {
                let due = event.millis + visit.draw.below(Self::JITTER_MILLIS);
                self.agenda.push(Reverse((due, index)));
            }
            _ => self.vacate(index),
        }
    }

    /// What becomes of the visit after its event at `millis`.
    fn go_on(&mut self, index: usize, millis: u64) {
        let visit = &mut self.visits[index];
        if !visit.events.is_empty() {
            return self.schedule(index);
        }
        visit.events = Vec::new();
        if visit.sessions_left == 0 {
            return self.vacate(index);
        }
        let profile = Profile::new(&self.options, &self.vocabulary, visit.number);
        let mut planner = planner(&self.vocabulary, &self.options, self.tick, &mut self.impressions, &profile, visit);
        let start = planner.next_start(millis);
        if start < self.end_millis {
            self.agenda.push(Reverse((start, index)));
        } else {
            self.vacate(index);
        }
    }

    fn vacate(&mut self, index: usize) {
        self.visits[index].events = Vec::new();
        self.vacant.push(index);
    }

    fn append_event(&mut self, out: &mut Vec<u8>, index: usize, event: &Event) {
        let Visits { options, vocabulary, visits, .. } = self;
        let visit = &mut visits[index];
        let profile = Profile::new(options, vocabulary, visit.number);
        let is_holding = self.held.is_some();
        let anomaly =
            options.abnormal.draw(event, &mut visit.draw).filter(|anomaly| !(is_holding && anomaly.adds_line()));
        let tables = &vocabulary.tables;
        let outcome = if anomaly == Some(Anomaly::Failure) {
            Outcome::draw_failure(&mut visit.draw)
        } else {
            Outcome::draw_success(&mut visit.draw)
        };
        let hit = Hit {
            millis: event.millis,
            visitor: profile.visitor,
            agent: &vocabulary.agents[profile.agent],
            network: &tables.networks.items()[profile.network],
            page: &tables.pages.items()[event.page],
            tracker: &tables.trackers.items()[profile.tracker],
            endpoint: &tables.endpoints.items()[profile.endpoint],
            outcome,
            protocol_version: profile.protocol_version,
            is_https: profile.is_https,
            has_headers: visit.draw.below(100) < u64::from(options.headers_percent),
            has_cookie: visit.draw.per_mille(30),
            referer: profile.referer,
        };
        let answer = Answer::draw(&hit, &mut visit.draw);
        // What the columns draw must not change the visit, which is the same in every shape.
        let mut draw = Draw::new(options.seed.rotate_left(47), self.events);
        self.query.clear();
        let action = &event.action;
        let query = QueryParts { vocabulary, hit: &hit, action, site: profile.site, has_id: options.has_ids, anomaly };
        query.push(&mut self.query, &mut draw);
        let id = request_id::encode(options.seed, self.events);
        self.events += 1;
        let request_id: &[u8] = if anomaly == Some(Anomaly::MissingId) { b"-" } else { &id };
        let start = out.len();
        let parts = LineParts { hit: &hit, query: &self.query, request_id, answer: Some(answer) };
        self.writer.append(out, &parts, &mut draw);
        let written = Written { profile: &profile, event, hit: &hit, answer, anomaly };
        self.tally.add(vocabulary, &written, &mut visit.counted);
        if let Some(anomaly) = anomaly.filter(Anomaly::adds_line) {
            let line = &out[start..];
            let text = if anomaly == Anomaly::Doubled { line.to_vec() } else { unreadable(line, &self.writer) };
            self.held = Some(HeldLine { text, anomaly, lines_before: visit.draw.skewed(0, 6) });
        }
    }
}

fn planner<'a>(
    vocabulary: &'a Vocabulary,
    options: &Options,
    tick: u64,
    impressions: &'a mut u64,
    profile: &'a Profile,
    visit: &'a mut Visit,
) -> Planner<'a> {
    let is_first = !visit.counted.has_come;
    let draw = &mut visit.draw;
    Planner { vocabulary, profile, draw, is_first, bursts: options.abnormal.bursts, tick, impressions }
}

/// A line that cannot be read, made of one that can.
fn unreadable(line: &[u8], writer: &LineWriter) -> Vec<u8> {
    if writer.is_json() {
        return b"{\"no-field\":\"of CloudFront\"}\n".to_vec();
    }
    let mut columns = line.split(|&byte| byte == b'\t');
    let mut text = columns.next().unwrap_or_default().to_vec();
    text.push(b'\t');
    text.extend_from_slice(columns.next().unwrap_or_default());
    text.push(b'\n');
    text
}

impl Abnormalities {
    fn draw(&self, event: &Event, draw: &mut Draw) -> Option<Anomaly> {
        let share = draw.below(10_000) as u32;
        if event.burst_rank > 0 || matches!(event.action, Action::Bare) {
            return None;
        }
        let parts = [
            (self.failures, Anomaly::Failure),
            (self.unknown_names, Anomaly::UnknownName),
            (self.missing_ids, Anomaly::MissingId),
            (self.doubled, Anomaly::Doubled),
            (self.broken_escapes, Anomaly::BrokenEscape),
            (self.invalid_utf8, Anomaly::InvalidUtf8),
            (self.long_queries, Anomaly::LongQuery),
            (self.unreadable, Anomaly::Unreadable),
        ];
        let mut bound = 0;
        let anomaly = parts.into_iter().find_map(|(part, anomaly)| {
            bound += part;
            (share < bound).then_some(anomaly)
        });
        anomaly.filter(|&anomaly| anomaly != Anomaly::UnknownName || event.action.may_be_renamed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_who_is_here_and_not_who_was() {
        let peak = |visitors, days| {
            let options = Options { visitors, days, ..Options::new("pixel-4".parse().unwrap(), 1) };
            let mut visits = Visits::new(options);
            let mut line = Vec::new();
            while visits.append_line(&mut line) {
                line.clear();
            }
            // Who waits has no events, which take most of the memory.
            assert!(visits.visits.iter().all(|visit| visit.events.capacity() == 0));
            visits.visits.len()
        };
        let short = peak(20_000, 10);
        let long = peak(80_000, 40);
        assert!(long < short * 5 / 4 && short < 5_000, "{short} {long}");
    }
}
