//! Counts the lines of a run: an [`Observer`] whose threads each fill small tables, and pour them
//! into what they share once a second, or when they are full.

use std::hash::Hasher;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pixel_engine_core::observe::Observer;
use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use pixel_engine_log::percent;
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;

use crate::advertising::{self, Advertising};
use crate::agent_reader::AgentReader;
use crate::beacon::{Beacon, Fault, Page, Reader, Slot, Value, fault_of, status_of, time_of};
use crate::hours::Hours;
use crate::latency::Latency;
use crate::reconcile::{self, Reconcile, Side, StandardLog};
use crate::rules::{self, Rule};
use crate::sample::{Batch, Sample};
use crate::settings::Definitions;
use crate::shop::{self, Shop};
use crate::sighting::{AfterSlash, Latest, Sight, without_addresses};
use crate::state::{Dimension, MAX_IDS, MAX_RECENT, MAX_VISITOR_PLACES, State, Totals};
use crate::top::{Counts, Escapes, Names};
use crate::visitor::{Visit, Visitor};

/// Counts what the lines of a run say.
pub struct Beacons {
    definitions: Definitions,
    reader: Reader,
    agents: Arc<AgentReader>,
    state: Mutex<State>,
    visitors: Sample<Visitor>,
    ids: Sample<u32>,
    advertising: Option<Advertising>,
    shop: Option<Shop>,
    reconcile: Option<Arc<Reconcile>>,
}

/// How long a thread keeps what it has counted to itself.
const POUR_EVERY: Duration = Duration::from_secs(1);

/// As many pairs of visitor and quarter of an hour are remembered as counted.
const SEEN: usize = 1 << 12;

/// What one thread has counted.
pub struct Tally {
    totals: Totals,
    events: Names<Event>,
    pages: Names<PageId>,
    referrers: Names<()>,
    campaigns: Campaigns,
    agents: Names<Agent>,
    /// In the order of [`FIELDS`].
    fields: [Names<()>; FIELDS.len()],
    quarters: Quarters,
    /// Visitors to be counted in a quarter.
    present: Vec<(i64, u64)>,
    seen: Box<[(i64, u64); SEEN]>,
    visits: Batch<Visit>,
    ids: Batch<()>,
    time_taken: Latency,
    time_to_first_byte: Latency,
    latest: Latest,
    poured: Option<Instant>,
    advertising: advertising::Tally,
    shop: shop::Tally,
    reconcile: reconcile::Tally,
}

/// The fields whose values are counted as they are.
const FIELDS: [(Field, Dimension); 8] = [
    (Field::CCountry, Dimension::Country),
    (Field::XEdgeLocation, Dimension::EdgeLocation),
    (Field::Asn, Dimension::Asn),
    (Field::ScStatus, Dimension::Status),
    (Field::XEdgeResultType, Dimension::Result),
    (Field::XEdgeDetailedResultType, Dimension::DetailedResult),
    (Field::CsMethod, Dimension::Method),
    (Field::CsProtocolVersion, Dimension::Protocol),
];

/// What is known of an event's name.
struct Event {
    steps: u8,
    is_known: bool,
}

/// What is known of a page.
struct PageId {
    hash: u64,
    host_len: usize,
}

/// What is known of a user agent.
#[derive(Clone, Copy)]
struct Agent {
    hash: u64,
    is_bot: bool,
    is_tool: bool,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            totals: Totals::default(),
            events: Names::default(),
            pages: Names::default(),
            referrers: Names::default(),
            campaigns: Campaigns::default(),
            agents: Names::default(),
            fields: Default::default(),
            quarters: Quarters::default(),
            present: Vec::new(),
            seen: Box::new([(0, 0); SEEN]),
            visits: Batch::default(),
            ids: Batch::default(),
            time_taken: Latency::default(),
            time_to_first_byte: Latency::default(),
            latest: Latest::default(),
            poured: None,
            advertising: advertising::Tally::default(),
            shop: shop::Tally::default(),
            reconcile: reconcile::Tally::default(),
        }
    }
}

/// A name ends after so many bytes: who sends beacons may make names up, and a table has room for
/// thousands of them.
const MAX_NAME_LEN: usize = 1_024;

/// A name as text, without any address.
fn shown(name: &[u8], after_slash: AfterSlash) -> Box<str> {
    let text = String::from_utf8_lossy(name);
    let name = without_addresses(&text, after_slash);
    name[..name.floor_char_boundary(MAX_NAME_LEN)].into()
}

/// The hash of a page's name, which is the same on every machine; never 0.
pub(crate) fn page_hash(name: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.finish().max(1)
}

impl Beacons {
    /// Nothing counted yet.
    pub fn new(definitions: Definitions, agents: Arc<AgentReader>) -> Beacons {
        Beacons {
            reader: Reader::new(&definitions),
            state: Mutex::new(State::new(definitions.defined())),
            advertising: definitions.advertising.as_ref().map(|of| Advertising::new(of, definitions.salt)),
            shop: definitions.shop.as_ref().map(Shop::new),
            reconcile: definitions.reconcile.then(|| Arc::new(Reconcile::new(definitions.salt))),
            definitions,
            agents,
            visitors: Sample::new(MAX_VISITOR_PLACES),
            ids: Sample::new(MAX_IDS),
        }
    }

    /// Reads user agents.
    pub fn agents(&self) -> &AgentReader {
        &self.agents
    }

    /// Everything that was counted; `tally` is what was not poured out yet. Nothing is left.
    pub fn take(&self, mut tally: Tally) -> State {
        self.pour(&mut tally);
        let mut state = self.state();
        let empty = State::new(state.defined.clone());
        let mut state = std::mem::replace(&mut *state, empty);
        state.visitors = self.visitors.take();
        state.ids = self.ids.take();
        state.advertising = self.advertising.as_ref().map(Advertising::take);
        state.products = self.shop.as_ref().map(Shop::take);
        state.reconciled = self.reconcile.as_deref().map(Reconcile::take);
        state
    }

    /// What was counted so far, while the run goes on; `tally` is what threads that have no block at
    /// the moment had not poured out. What they are counting now is in the next one.
    pub fn snapshot(&self, mut tally: Tally) -> State {
        self.pour(&mut tally);
        let mut state = self.state().clone();
        state.visitors = self.visitors.copy();
        state.ids = self.ids.copy();
        state.advertising = self.advertising.as_ref().map(Advertising::copy);
        state.products = self.shop.as_ref().map(Shop::copy);
        state.reconciled = self.reconcile.as_deref().map(Reconcile::copy);
        state
    }

    /// An observer for a run that reads the standard log of the same hours; none unless the log is
    /// to be reconciled.
    pub fn standard_log(&self) -> Option<StandardLog> {
        self.reconcile.clone().map(StandardLog)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The visitor by its id, or else by its address and user agent; `None` without any of them.
    #[inline]
    fn visitor(&self, line: &Line<'_>, beacon: &Beacon<'_>, agent: Option<Agent>) -> Option<u64> {
        if let Some(id) = beacon.get(Slot::Visitor) {
            return Some(self.definitions.salt.hash(b"i", &id.decoded()));
        }
        let address = line.get(Field::CIp);
        if address.is_none() && agent.is_none() {
            return None;
        }
        let mut hasher = self.definitions.salt.hasher(b"a");
        hasher.write_u64(agent.map_or(0, |agent| agent.hash));
        let address = address.unwrap_or_default();
        // CloudFront may pad the groups of an IPv6 address with zeros, or not.
        match memchr::memchr(b':', address).and_then(|_| str::from_utf8(address).ok()?.parse::<Ipv6Addr>().ok()) {
            Some(address) => hasher.write(&address.octets()),
            None => hasher.write(address),
        }
        Some(hasher.finish())
    }

    fn read_event(&self, name: &[u8]) -> (Box<str>, Event) {
        let name = shown(name, AfterSlash::Address);
        let steps = self.definitions.funnel.as_ref().map_or(0, |funnel| funnel.of_event(Some(&name)));
        let known = &self.definitions.known_events;
        let is_known = known.is_empty() || known.contains(&name);
        (name, Event { steps, is_known })
    }

    fn read_agent(&self, agent: &[u8]) -> (Box<str>, Agent) {
        let name = shown(agent, AfterSlash::Version);
        let agent = Agent {
            hash: self.definitions.salt.hash(b"u", agent),
            is_bot: self.agents.agents().bot(agent).is_some(),
            is_tool: self.agents.agents().is_tool(agent),
        };
        (name, agent)
    }

    /// Moves what a thread has counted to what all share.
    fn pour(&self, tally: &mut Tally) {
        let mut state = self.state();
        let state = &mut *state;
        state.totals.merge(std::mem::take(&mut tally.totals));
        tally.events.pour(state.top_mut(Dimension::Event));
        tally.pages.pour(state.top_mut(Dimension::Page));
        tally.referrers.pour(state.top_mut(Dimension::Referrer));
        tally.campaigns.names.pour(state.top_mut(Dimension::Campaign));
        tally.agents.pour(state.top_mut(Dimension::Agent));
        for (names, (_, dimension)) in tally.fields.iter_mut().zip(FIELDS) {
            names.pour(state.top_mut(dimension));
        }
        for (quarter, counts) in tally.quarters.drain() {
            state.hours.add(quarter, counts);
        }
        for (quarter, visitor) in tally.present.drain(..) {
            state.hours.add_visitor(quarter, visitor);
        }
        tally.time_taken.take_into(&mut state.time_taken);
        tally.time_to_first_byte.take_into(&mut state.time_to_first_byte);
        tally.latest.pour(MAX_RECENT, &mut state.recent);
    }

    /// Hands the visits of a block to the table of visitors, and its ids to that of ids.
    fn visit(&self, tally: &mut Tally) {
        let (gap, burst) = (self.definitions.session_gap_millis, self.definitions.burst);
        self.visitors.note(&mut tally.visits, |visitor, visit| visitor.note(&visit, gap, burst));
        self.ids.note(&mut tally.ids, |count, ()| *count += 1);
    }
}

impl Observer for Beacons {
    type Tally = Tally;

    fn observe(&self, line: &Line<'_>, text: &[u8], tally: &mut Tally) {
        let time = time_of(line);
        let beacon = self.reader.read(line);
        let status = status_of(line);
        let mut broken = rules::of_line(line, status);
        broken.add_if(Rule::WithoutTime, time.is_none());

        let agent_text = line.get(Field::CsUserAgent);
        let agent =
            agent_text.map(|agent| tally.agents.get(agent, Escapes::Once, || self.read_agent(&percent::decode(agent))));
        let is_bot = agent.as_ref().is_some_and(|agent| agent.known.is_bot);
        let agent = agent.map(|agent| {
            agent.counts.add(is_bot);
            broken.add_if(Rule::Tool, agent.known.is_tool);
            broken.add_if(Rule::NoAgent, agent.name.len() < 20);
            agent.known
        });
        broken.add_if(Rule::NoAgent, rules::lacks(line, Field::CsUserAgent));

        tally.totals.beacons.add(is_bot);
        tally.totals.line_bytes += text.len() as u64 + 1;
        tally.totals.sc_bytes += number(line, Field::ScBytes);
        tally.totals.cs_bytes += number(line, Field::CsBytes);

        let event = beacon
            .get(Slot::Event)
            .map(|value| tally.events.get(value.raw(), value.escapes(), || self.read_event(&value.decoded())));
        let mut steps = match (&event, &self.definitions.funnel) {
            (Some(event), _) => event.known.steps,
            (None, Some(funnel)) => funnel.of_event(None),
            (None, None) => 0,
        };
        let event = event.map_or("", |event| {
            event.counts.add(is_bot);
            broken.add_if(Rule::UnknownEvent, !event.known.is_known);
            &event.name
        });
        if let Some(funnel) = &self.definitions.funnel {
            steps = funnel.of_line(steps, line);
        }
        if let Some(advertising) = &self.advertising {
            advertising.note(line, event, time, is_bot, &mut tally.advertising);
        }
        let id = line.get(Field::XEdgeRequestId).map(|id| self.definitions.salt.hash_request_id(id));
        if let Some(id) = id {
            tally.ids.push(id, ());
        }
        if let Some(reconcile) = &self.reconcile {
            reconcile.note(Side::RealTime, id, time, &mut tally.reconcile);
        }

        let page = beacon.get(Slot::Page).map(|value| {
            tally.pages.get(value.raw(), value.escapes(), || {
                let page = Page::read(&shown(&value.decoded(), AfterSlash::Address));
                let known = PageId { hash: page_hash(&page.name), host_len: page.host_len };
                (page.name.into(), known)
            })
        });
        let (page, page_hash, host) = page.map_or(("", 0, ""), |page| {
            page.counts.add(is_bot);
            (&page.name, page.known.hash, &page.name[..page.known.host_len])
        });
        if let Some(shop) = &self.shop {
            shop.note(line, event, page, is_bot, &mut tally.shop);
        }

        match beacon.get(Slot::Referrer) {
            None => tally.totals.direct.add(is_bot),
            Some(value) => {
                let referrer = tally.referrers.get(value.raw(), value.escapes(), || {
                    let page = Page::read(&shown(&value.decoded(), AfterSlash::Address));
                    let host = if page.host_len == 0 { &page.name } else { page.host() };
                    (host.into(), ())
                });
                if !host.is_empty() && *referrer.name == *host {
                    tally.totals.own_site.add(is_bot);
                } else {
                    referrer.counts.add(is_bot);
                }
            }
        }
        tally.campaigns.add(&beacon, is_bot);

        for (names, (field, _)) in tally.fields.iter_mut().zip(FIELDS) {
            if let Some(value) = line.get(field) {
                let name = || (shown(&percent::decode(value), AfterSlash::Address), ());
                names.get(value, Escapes::Once, name).counts.add(is_bot);
            }
        }
        if let Some(millis) = line.millis(Field::TimeTaken) {
            tally.time_taken.add(millis);
        }
        if let Some(millis) = line.millis(Field::TimeToFirstByte) {
            tally.time_to_first_byte.add(millis);
        }

        let (query, encoding) = (line.get(Field::CsUriQuery).unwrap_or_default(), line.query_encoding());
        match fault_of(query, encoding) {
            Some(Fault::Broken) => broken.add_if(Rule::BrokenEscapes, true),
            Some(Fault::Cut) => broken.add_if(Rule::CutQuery, true),
            None => {}
        }
        broken.add_if(Rule::LongQuery, query.len() > 800);

        let visitor = self.visitor(line, &beacon, agent);
        if let Some(time) = time {
            let second = time.div_euclid(1_000);
            let quarter = Hours::quarter_of(second);
            tally.quarters.add(quarter, is_bot);
            tally.totals.see(time);
            if let Some(visitor) = visitor {
                let seen = &mut tally.seen[visitor as usize % SEEN];
                if !is_bot && *seen != (quarter, visitor) {
                    *seen = (quarter, visitor);
                    tally.present.push((quarter, visitor));
                }
                tally.visits.push(visitor, Visit { time, page: page_hash, steps, is_bot });
            }
        }
        if visitor.is_none() {
            tally.totals.without_visitor += 1;
        }

        let text = |field| line.get(field).unwrap_or_default();
        let sight = Sight {
            time,
            event,
            page,
            country: text(Field::CCountry),
            status: text(Field::ScStatus),
            agent: agent_text.unwrap_or_default(),
            query,
            encoding,
        };
        if !broken.is_empty() {
            tally.totals.note_broken(broken, &sight);
        }
        tally.latest.keep(MAX_RECENT, &sight);
    }

    fn end_block(&self, tally: &mut Tally) {
        self.visit(tally);
        if let Some(advertising) = &self.advertising {
            advertising.end_block(&mut tally.advertising);
        }
        if let Some(shop) = &self.shop {
            shop.end_block(&mut tally.shop);
        }
        if let Some(reconcile) = &self.reconcile {
            reconcile.end_block(Side::RealTime, &mut tally.reconcile);
        }
        let is_due = tally.poured.get_or_insert_with(Instant::now).elapsed() >= POUR_EVERY;
        if is_due || tally.is_full() {
            self.pour(tally);
            tally.poured = Some(Instant::now());
        }
    }

    fn merge(&self, _into: &mut Tally, mut from: Tally) {
        self.pour(&mut from);
    }
}

#[inline]
fn number(line: &Line<'_>, field: Field) -> u64 {
    line.get(field).map_or(0, |text| {
        text.iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0_u64, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    })
}

impl Tally {
    /// Whether it holds more than is good for memory.
    fn is_full(&self) -> bool {
        self.events.is_full()
            || self.pages.is_full()
            || self.referrers.is_full()
            || self.campaigns.names.is_full()
            || self.agents.is_full()
            || self.fields.iter().any(Names::is_full)
            || self.present.len() >= 1 << 16
            || self.quarters.earlier.len() >= 1 << 12
    }
}

/// Beacons by quarter of an hour.
#[derive(Default)]
struct Quarters {
    earlier: BTreeMap<i64, Counts>,
    /// The one of the last line.
    last: (i64, Counts),
}

impl Quarters {
    #[inline]
    fn add(&mut self, quarter: i64, is_bot: bool) {
        if quarter != self.last.0 {
            self.end();
            self.last.0 = quarter;
        }
        self.last.1.add(is_bot);
    }

    fn end(&mut self) {
        let (quarter, counts) = &mut self.last;
        if *counts != Counts::default() {
            *self.earlier.entry(*quarter).or_default() += std::mem::take(counts);
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = (i64, Counts)> {
        self.end();
        std::mem::take(&mut self.earlier).into_iter()
    }
}

/// Source, medium and campaign as one name.
#[derive(Default)]
struct Campaigns {
    names: Names<()>,
    raw: Vec<u8>,
}

impl Campaigns {
    /// Counts what the line has of the three, if there is any of them.
    #[inline]
    fn add(&mut self, beacon: &Beacon<'_>, is_bot: bool) {
        let values = [Slot::Source, Slot::Medium, Slot::Campaign].map(|slot| beacon.get(slot));
        let Some(escapes) = values.iter().flatten().next().map(|value| value.escapes()) else { return };
        self.raw.clear();
        for value in values {
            self.raw.extend_from_slice(value.map_or(b"", Value::raw));
            // No value holds it: it separates parameters.
            self.raw.push(b'&');
        }
        let name = || {
            let parts = values.map(|value| match value {
                Some(value) => shown(&value.decoded(), AfterSlash::Address),
                None => "-".into(),
            });
            (parts.join(" / ").into(), ())
        };
        self.names.get(&self.raw, escapes, name).counts.add(is_bot);
    }
}
