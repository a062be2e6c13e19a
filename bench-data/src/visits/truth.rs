//! What a report of the log must find, counted while events are written and not read back.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::columns::Answer;
use crate::hit::Hit;
use crate::visits::arrivals::HOUR_MILLIS;
use crate::visits::event::{Action, Anomaly, Event, Firing, Previous, Step, UNKNOWN_NAME};
use crate::visits::visitor::{Class, Profile};
use crate::visits::vocabulary::{MEDIA, Vocabulary};
use crate::visits::{DATA_CENTRES, EVENT_NAMES, FUNNEL, Options, SESSION_GAP_MILLIS};

/// What is in the lines that were written so far.
///
/// - An *event* is a request, whatever its status. A line that was delivered twice is one event, and
///   a line that cannot be read is none.
/// - A *visitor* is the `uid` of the query, and for a query without one, or a request without a
///   query, the pair of address and user agent. No two visitors share either.
/// - A *session* is a visitor's events with no pause between two of them longer than
///   [`session_gap_millis`](Truth::session_gap_millis); a pause of exactly that ends none.
/// - *Bots* are visitors with the user agent of a bot, *people* are all others. Those with an
///   address of a data centre are people, except where a field says otherwise.
/// - Times are the log's `timestamp`, or date and time, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Truth {
    /// Lines without header lines: [`events`](Truth::events), and those of
    /// [`doubled`](Abnormal::doubled) and [`unreadable`](Abnormal::unreadable).
    pub lines: u64,
    /// All events.
    pub events: Count,
    /// Events by the hour: its start in seconds since 1970. Hours without an event are left out.
    pub events_by_hour: BTreeMap<u64, Count>,
    /// Events by the day: its start in seconds since 1970. Days without an event are left out.
    pub events_by_day: BTreeMap<u64, Count>,
    /// Events by the parameter `e`. Requests without a query are in none.
    pub events_by_name: BTreeMap<String, Count>,
    /// Events by user agent, as the viewer sent it.
    pub agents: BTreeMap<String, u64>,
    /// The part of [`agents`](Truth::agents) that are bots.
    pub bots: BTreeMap<String, u64>,
    /// Events by `c-country`, whether the log has that column or not.
    pub countries: BTreeMap<String, Count>,
    /// Events by `x-edge-location`.
    pub edge_locations: BTreeMap<String, Count>,
    /// Events by `sc-status`.
    pub statuses: BTreeMap<String, Count>,
    /// Distinct visitors.
    pub visitors: Count,
    /// Sessions of all visitors.
    pub sessions: Count,
    /// The pause above which a session ends.
    pub session_gap_millis: u64,
    /// `view` events by host and path of `url`, without its query.
    pub pages: BTreeMap<String, Count>,
    /// `view` events by the host of `ref`, where that is another host than that of `url`.
    pub referrers: BTreeMap<String, Count>,
    /// `view` events whose `ref` has the host of their `url`.
    pub self_referrals: Count,
    /// `view` events with an empty `ref`.
    pub direct_views: Count,
    /// `view` events that name a campaign, by the three parameters.
    pub campaigns: Vec<CampaignViews>,
    /// The steps `view`, `cart`, `checkout`, `paid`.
    pub funnel: Vec<FunnelStep>,
    /// `paid` events of people.
    pub orders: u64,
    /// The sum of their `value`, in cents.
    pub revenue_cents: u64,
    /// Advertisements, by campaign and publisher. Those without an event are left out.
    pub advertisements: Vec<Placement>,
    /// The networks whose addresses are [`data_centres`](Firings::data_centres), and of nobody else.
    pub data_centre_networks: [&'static str; 2],
    /// What is wrong with events.
    pub abnormal: Abnormal,
    /// The sum of `sc-bytes` over all events.
    pub bytes: u64,
    /// `time-taken` over all events.
    pub time_taken: TimeTaken,
    /// The hour that has far more visitors than its like, as in
    /// [`events_by_hour`](Truth::events_by_hour); none unless it was asked for.
    pub surge_hour: Option<u64>,
}

/// A number of events, or of whatever the field says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Count {
    /// People's and bots'.
    pub all: u64,
    /// Bots' alone.
    pub bots: u64,
}

/// `view` events that a campaign led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CampaignViews {
    /// `utm_source`.
    pub source: String,
    /// `utm_medium`.
    pub medium: String,
    /// `utm_campaign`.
    pub campaign: String,
    /// The events.
    pub views: Count,
}

/// Who came as far as this step of the funnel.
///
/// A session reaches a step when its event comes after the one that reached the step before;
/// other events may lie between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FunnelStep {
    /// The parameter `e`.
    pub event: &'static str,
    /// People, with at least one session that reached the step.
    pub visitors: u64,
    /// Sessions of people.
    pub sessions: u64,
}

/// A campaign's advertisements at a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Placement {
    /// The parameter `campaign`.
    pub campaign: String,
    /// The parameter `publisher`.
    pub publisher: String,
    /// `impression` events.
    pub impressions: Firings,
    /// `viewable` events.
    pub viewable: Firings,
    /// `click` events.
    pub clicks: Firings,
    /// `conversion` events.
    pub conversions: Firings,
}

/// Events of advertisements, and why some of them do not count. Each is left out for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Firings {
    /// All events.
    pub gross: u64,
    /// Those of bots.
    pub bots: u64,
    /// Those of visitors with the address of a data centre, none of whom is a bot.
    pub data_centres: u64,
    /// Of all others, those whose `e` and `iid` came before: fired again, with a request id of its
    /// own.
    pub duplicates: u64,
    /// What is left.
    pub net: u64,
}

/// Events with something wrong. An event has at most one of these, except where two are named
/// together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Abnormal {
    /// A status from 400 on, or 000.
    pub failures: u64,
    /// A name that is none of [`EVENT_NAMES`](crate::visits::EVENT_NAMES).
    pub unknown_names: u64,
    /// No query.
    pub without_query: u64,
    /// `-` in place of the request id.
    pub missing_ids: u64,
    /// Lines that are there a second time, byte for byte. Each adds a line and no event.
    pub doubled: u64,
    /// A value of the query with a `%` that begins no escape.
    pub broken_escapes: u64,
    /// A value of the query whose escapes are no UTF-8.
    pub invalid_utf8: u64,
    /// A query of more than 800 bytes, as logged.
    pub long_queries: u64,
    /// Minutes of the clock in which one visitor has more than 60 events. Any 60 seconds with so
    /// many end in one of them. Their events count as all others do.
    pub bursts: u64,
    /// All events of those visitors in those minutes. They have nothing else wrong.
    pub burst_events: u64,
    /// Lines of two columns; in JSON, an object with a field that CloudFront does not know. Each
    /// adds a line and no event.
    pub unreadable: u64,
}

/// How long answers took, in milliseconds; 0 for a log without events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimeTaken {
    /// The shortest.
    pub min_millis: u64,
    /// The longest.
    pub max_millis: u64,
    /// All together.
    pub sum_millis: u64,
}

impl Count {
    fn add(&mut self, is_bot: bool) {
        self.all += 1;
        self.bots += u64::from(is_bot);
    }

    fn merge(&mut self, other: Count) {
        self.all += other.all;
        self.bots += other.bots;
    }
}

/// The statuses that answers have.
const STATUSES: [&[u8]; 6] = [b"200", b"304", b"403", b"404", b"502", b"000"];

/// Edge locations of a network, at most.
const MAX_EDGES: usize = 16;

/// Steps of an advertisement.
const AD_STEPS: usize = 4;

/// An event whose line was written.
pub(super) struct Written<'a> {
    pub(super) profile: &'a Profile,
    pub(super) event: &'a Event,
    pub(super) hit: &'a Hit<'a>,
    pub(super) answer: Answer,
    pub(super) anomaly: Option<Anomaly>,
}

/// What was counted of a visitor so far.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) has_come: bool,
    /// Whether an event of this session was counted.
    pub(super) is_in_session: bool,
    /// How many steps of the funnel this session reached, and the best one so far.
    session_steps: u8,
    best_steps: u8,
}

/// The counts, each at the index that its item has in the vocabulary.
pub(super) struct Tally {
    lines: u64,
    first_hour: u64,
    hours: Vec<Count>,
    /// [`EVENT_NAMES`], and [`UNKNOWN_NAME`] behind them.
    names: Vec<Count>,
    agents: Vec<u64>,
    edges: Vec<Count>,
    statuses: [Count; STATUSES.len()],
    visitors: Count,
    sessions: Count,
    pages: Vec<Count>,
    referrers: Vec<Count>,
    self_referrals: Count,
    direct_views: Count,
    campaigns: Vec<Count>,
    funnel_visitors: [u64; FUNNEL.len()],
    funnel_sessions: [u64; FUNNEL.len()],
    orders: u64,
    revenue_cents: u64,
    firings: Vec<Firings>,
    abnormal: Abnormal,
    bytes: u64,
    time_taken: TimeTaken,
    surge_hour: Option<u64>,
}

impl Tally {
    pub(super) fn new(vocabulary: &Vocabulary, options: &Options) -> Tally {
        let tables = &vocabulary.tables;
        let counts = |len| vec![Count::default(); len];
        let campaigns = tables.campaigns.items().len();
        Tally {
            lines: 0,
            first_hour: options.start_millis / HOUR_MILLIS,
            hours: Vec::new(),
            names: counts(EVENT_NAMES.len() + 1),
            agents: vec![0; vocabulary.agents.len()],
            edges: counts(tables.networks.items().len() * MAX_EDGES),
            statuses: Default::default(),
            visitors: Count::default(),
            sessions: Count::default(),
            pages: counts(tables.pages.items().len()),
            referrers: counts(vocabulary.referrer_hosts.len()),
            self_referrals: Count::default(),
            direct_views: Count::default(),
            campaigns: counts(campaigns * MEDIA.len()),
            funnel_visitors: Default::default(),
            funnel_sessions: Default::default(),
            orders: 0,
            revenue_cents: 0,
            firings: vec![Firings::default(); campaigns * vocabulary.sites.items().len() * AD_STEPS],
            abnormal: Abnormal::default(),
            bytes: 0,
            time_taken: TimeTaken { min_millis: u64::MAX, max_millis: 0, sum_millis: 0 },
            surge_hour: options.surge_hour(),
        }
    }

    /// Counts a line beside those of events: a copy, or one that cannot be read.
    pub(super) fn add_line(&mut self, anomaly: Anomaly) {
        self.lines += 1;
        match anomaly {
            Anomaly::Doubled => self.abnormal.doubled += 1,
            _ => self.abnormal.unreadable += 1,
        }
    }

    /// Counts an event, and what it means for its visitor.
    pub(super) fn add(&mut self, vocabulary: &Vocabulary, written: &Written<'_>, counted: &mut Counted) {
        let Written { profile, event, hit, answer, anomaly } = *written;
        let is_bot = profile.class == Class::Bot;
        self.lines += 1;
        let hour = (event.millis / HOUR_MILLIS - self.first_hour) as usize;
        if self.hours.len() <= hour {
            self.hours.resize(hour + 1, Count::default());
        }
        self.hours[hour].add(is_bot);
        self.agents[profile.agent] += 1;
        let edge = hit.visitor.edge_index(hit.network);
        self.edges[profile.network * MAX_EDGES + edge].add(is_bot);
        let status = STATUSES.iter().position(|&status| status == hit.outcome.status);
        self.statuses[status.expect("STATUSES has all that answers have")].add(is_bot);
        self.bytes += answer.bytes;
        let taken = answer.taken_millis;
        self.time_taken.min_millis = self.time_taken.min_millis.min(taken);
        self.time_taken.max_millis = self.time_taken.max_millis.max(taken);
        self.time_taken.sum_millis += taken;
        self.add_anomaly(event, anomaly);

        if !counted.has_come {
            counted.has_come = true;
            self.visitors.add(is_bot);
        }
        if !counted.is_in_session {
            counted.is_in_session = true;
            counted.session_steps = 0;
            self.sessions.add(is_bot);
        }
        let Some(name) = event.action.name() else { return };
        if anomaly == Some(Anomaly::UnknownName) {
            self.names[EVENT_NAMES.len()].add(is_bot);
            return;
        }
        self.names[name].add(is_bot);
        if !is_bot {
            self.add_to_funnel(counted, EVENT_NAMES[name]);
        }
        match event.action {
            Action::View { previous, campaign } => {
                self.pages[event.page].add(is_bot);
                match previous {
                    Previous::Page(_) => self.self_referrals.add(is_bot),
                    Previous::Elsewhere(index) => match vocabulary.referrer_hosts[index] {
                        "" => self.direct_views.add(is_bot),
                        host if host == vocabulary.sites.items()[profile.site].host => self.self_referrals.add(is_bot),
                        _ => self.referrers[index].add(is_bot),
                    },
                }
                if let Some(campaign) = campaign {
                    self.campaigns[campaign.name * MEDIA.len() + campaign.medium].add(is_bot);
                }
            }
            Action::Purchase { step: Step::Paid, cents, .. } if !is_bot => {
                self.orders += 1;
                self.revenue_cents += cents;
            }
            Action::Advertisement { step, campaign, firing, .. } => {
                let placement = campaign * vocabulary.sites.items().len() + profile.site;
                let firings = &mut self.firings[placement * AD_STEPS + step as usize];
                firings.gross += 1;
                match profile.class {
                    Class::Bot => firings.bots += 1,
                    Class::DataCentre => firings.data_centres += 1,
                    _ if firing == Firing::Second => firings.duplicates += 1,
                    _ => firings.net += 1,
                }
            }
            Action::Purchase { .. } | Action::Bare => {}
        }
    }

    fn add_to_funnel(&mut self, counted: &mut Counted, name: &str) {
        let step = usize::from(counted.session_steps);
        if FUNNEL.get(step) != Some(&name) {
            return;
        }
        counted.session_steps += 1;
        self.funnel_sessions[step] += 1;
        if counted.best_steps < counted.session_steps {
            counted.best_steps = counted.session_steps;
            self.funnel_visitors[step] += 1;
        }
    }

    fn add_anomaly(&mut self, event: &Event, anomaly: Option<Anomaly>) {
        /// A minute with more events than this is a burst.
        const MAX_USUAL_EVENTS: u16 = 60;
        let abnormal = &mut self.abnormal;
        match anomaly {
            Some(Anomaly::Failure) => abnormal.failures += 1,
            Some(Anomaly::UnknownName) => abnormal.unknown_names += 1,
            Some(Anomaly::MissingId) => abnormal.missing_ids += 1,
            Some(Anomaly::BrokenEscape) => abnormal.broken_escapes += 1,
            Some(Anomaly::InvalidUtf8) => abnormal.invalid_utf8 += 1,
            Some(Anomaly::LongQuery) => abnormal.long_queries += 1,
            // Counted when their line is written.
            Some(Anomaly::Doubled | Anomaly::Unreadable) | None => {}
        }
        abnormal.without_query += u64::from(matches!(event.action, Action::Bare));
        // The log may end before a burst is one.
        match event.burst_rank {
            0..=MAX_USUAL_EVENTS => {}
            rank => {
                let is_now_one = rank == MAX_USUAL_EVENTS + 1;
                abnormal.bursts += u64::from(is_now_one);
                abnormal.burst_events += if is_now_one { u64::from(rank) } else { 1 };
            }
        }
    }

    /// The counts by name.
    pub(super) fn truth(&self, vocabulary: &Vocabulary) -> Truth {
        let tables = &vocabulary.tables;
        let mut events = Count::default();
        let mut events_by_hour = BTreeMap::new();
        let mut events_by_day: BTreeMap<u64, Count> = BTreeMap::new();
        for (index, &count) in self.hours.iter().enumerate().filter(|(_, count)| count.all > 0) {
            let hour = self.first_hour + index as u64;
            events.merge(count);
            events_by_hour.insert(hour * 3600, count);
            events_by_day.entry(hour / 24 * 86_400).or_default().merge(count);
        }
        let names = EVENT_NAMES.iter().copied().chain([UNKNOWN_NAME]).zip(self.names.iter().copied());
        let agents = |is_wanted: fn(&Vocabulary, usize) -> bool| {
            let mut agents = BTreeMap::new();
            for (index, &events) in self.agents.iter().enumerate() {
                if events > 0 && is_wanted(vocabulary, index) {
                    agents.insert(vocabulary.agents[index].text.clone(), events);
                }
            }
            agents
        };
        let networks = tables.networks.items();
        let edges = || self.edges.iter().enumerate().filter(|(_, count)| count.all > 0);
        let statuses = STATUSES.iter().map(|status| String::from_utf8_lossy(status).into_owned());
        let pages = self.pages.iter().enumerate().map(|(index, &count)| (vocabulary.page_names[index].as_str(), count));
        let referrers = vocabulary.referrer_hosts.iter().copied().zip(self.referrers.iter().copied());
        let campaign = |index: usize| String::from_utf8_lossy(&tables.campaigns.items()[index]).into_owned();
        let campaigns = self.campaigns.iter().enumerate().filter(|(_, views)| views.all > 0);
        let funnel = FUNNEL.into_iter().enumerate().map(|(step, event)| FunnelStep {
            event,
            visitors: self.funnel_visitors[step],
            sessions: self.funnel_sessions[step],
        });
        let sites = vocabulary.sites.items();
        let placements = self.firings.chunks_exact(AD_STEPS).enumerate();
        let placements = placements.filter(|(_, steps)| steps.iter().any(|firings| firings.gross > 0));
        Truth {
            lines: self.lines,
            events,
            events_by_hour,
            events_by_day,
            events_by_name: by_name(names),
            agents: agents(|_, _| true),
            bots: agents(Vocabulary::is_bot),
            countries: by_name(edges().map(|(index, &count)| (networks[index / MAX_EDGES].country, count))),
            edge_locations: by_name(edges().map(|(index, &count)| {
                (String::from_utf8_lossy(&networks[index / MAX_EDGES].edges[index % MAX_EDGES]).into_owned(), count)
            })),
            statuses: by_name(statuses.zip(self.statuses)),
            visitors: self.visitors,
            sessions: self.sessions,
            session_gap_millis: SESSION_GAP_MILLIS,
            pages: by_name(pages),
            referrers: by_name(referrers),
            self_referrals: self.self_referrals,
            direct_views: self.direct_views,
            campaigns: campaigns
                .map(|(index, &views)| {
                    let (source, medium) = MEDIA[index % MEDIA.len()];
                    let campaign = campaign(index / MEDIA.len());
                    CampaignViews { source: source.to_owned(), medium: medium.to_owned(), campaign, views }
                })
                .collect(),
            funnel: funnel.collect(),
            orders: self.orders,
            revenue_cents: self.revenue_cents,
            advertisements: placements
                .map(|(index, steps)| Placement {
                    campaign: campaign(index / sites.len()),
                    publisher: sites[index % sites.len()].host.clone(),
                    impressions: steps[0],
                    viewable: steps[1],
                    clicks: steps[2],
                    conversions: steps[3],
                })
                .collect(),
            data_centre_networks: DATA_CENTRES,
            abnormal: self.abnormal,
            bytes: self.bytes,
            time_taken: if events.all > 0 { self.time_taken } else { TimeTaken::default() },
            surge_hour: self.surge_hour.map(|hour| (self.first_hour + hour) * 3600),
        }
    }
}

/// Adds up what has the same name, and leaves out what never came.
fn by_name<N: Into<String>>(counts: impl Iterator<Item = (N, Count)>) -> BTreeMap<String, Count> {
    let mut sums: BTreeMap<String, Count> = BTreeMap::new();
    for (name, count) in counts.filter(|(_, count)| count.all > 0) {
        sums.entry(name.into()).or_default().merge(count);
    }
    sums
}
