//! How often each name came.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Scale, View, percent};
use crate::agent_reader::AgentReader;
use crate::state::{Dimension, State};
use crate::top::{self, Counts};

/// Names by how often they came.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The key of the table, such as `pages`.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What is counted.
    pub definition: String,
    /// Beacons that have a name.
    pub beacons: u64,
    /// Beacons that have none; for what is read from user agents, those without one.
    pub without: u64,
    /// Different names, while all are kept.
    pub names: Option<u64>,
    /// By how much a count may be off; 0 when every count is exact.
    pub error: u64,
    /// The most frequent names.
    pub rows: Vec<Row>,
    /// Beacons of names that have no row.
    pub others: u64,
}

/// A name.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The name.
    pub name: String,
    /// Beacons.
    pub beacons: u64,
    /// Those of them that known bots sent.
    pub bots: u64,
    /// Beacons in percent of those that have a name.
    pub percent: f64,
}

struct About {
    dimension: Dimension,
    name: &'static str,
    title: &'static str,
    definition: &'static str,
}

const fn about(dimension: Dimension, name: &'static str, title: &'static str, definition: &'static str) -> About {
    About { dimension, name, title, definition }
}

/// In the order of a report; what is read from user agents comes behind campaigns.
const BEFORE_AGENTS: [About; 4] = [
    about(Dimension::Event, "events", "Events", "beacons by the event that they name"),
    about(Dimension::Page, "pages", "Pages", "beacons by host and path of the page that they were sent from"),
    about(
        Dimension::Referrer,
        "referrers",
        "Referrers",
        "beacons by the host that led to their page; from the page's own host and without a referrer: apart",
    ),
    about(
        Dimension::Campaign,
        "campaigns",
        "Campaigns",
        "beacons by utm_source / utm_medium / utm_campaign, if they have any of the three",
    ),
];

const BEHIND_AGENTS: [About; 8] = [
    about(Dimension::Country, "countries", "Countries", "c-country, which CloudFront finds by the viewer's address"),
    about(
        Dimension::EdgeLocation,
        "edge_locations",
        "Edge locations",
        "x-edge-location: the airport's code, then which one there",
    ),
    about(Dimension::Asn, "asns", "Networks", "asn: the autonomous system of the viewer's address"),
    about(Dimension::Status, "statuses", "Status", "sc-status: the answer; 000 if the viewer went away before it"),
    about(Dimension::Result, "results", "Cache results", "x-edge-result-type: how the answer was made"),
    about(
        Dimension::DetailedResult,
        "detailed_results",
        "Detailed results",
        "x-edge-detailed-result-type: as the cache result, with the kind of error",
    ),
    about(Dimension::Method, "methods", "Methods", "cs-method"),
    about(Dimension::Protocol, "protocols", "Protocols", "cs-protocol-version"),
];

pub(super) fn tables(state: &State, agents: &AgentReader, view: &View, scale: Scale) -> Vec<Table> {
    let table = |about: &About| {
        let top = state.top(about.dimension);
        let definition = match about.dimension {
            Dimension::Event => format!("{}: {}", about.definition, state.defined.event),
            Dimension::Page => format!("{}: {}", about.definition, state.defined.page),
            Dimension::Referrer => format!("{}: {}", about.definition, state.defined.referrer),
            _ => about.definition.to_owned(),
        };
        let (mut beacons, mut rows) = (top.total().all, top.rows());
        let mut without = state.totals.beacons.all - beacons;
        if about.dimension == Dimension::Referrer {
            // Who came from the site itself, or from nowhere, has a row too.
            without = 0;
            for (name, counts) in [("(own site)", state.totals.own_site), ("(direct)", state.totals.direct)] {
                beacons += counts.all;
                if counts.all > 0 {
                    rows.push(top::Row { name: name.to_owned(), counts });
                }
            }
            sort(&mut rows);
        }
        finish(
            Parts { name: about.name, title: about.title, definition, rows, beacons, without, error: top.error() },
            view,
            scale,
        )
    };
    let before = BEFORE_AGENTS.iter().map(table);
    let behind = BEHIND_AGENTS.iter().map(table);
    before.chain(of_agents(state, agents, view, scale)).chain(behind).collect()
}

struct Parts {
    name: &'static str,
    title: &'static str,
    definition: String,
    /// Sorted; some may be missing where not all names could be kept.
    rows: Vec<top::Row>,
    beacons: u64,
    without: u64,
    error: u64,
}

fn finish(parts: Parts, view: &View, scale: Scale) -> Table {
    let Parts { name, title, definition, rows, beacons, without, error } = parts;
    let shown: u64 = rows.iter().take(view.top).map(|row| row.counts.all).sum();
    Table {
        name,
        title,
        definition,
        beacons: scale.count(beacons),
        without: scale.count(without),
        names: (error == 0).then_some(rows.len() as u64),
        error: scale.count(error),
        others: scale.count(beacons.saturating_sub(shown)),
        rows: rows
            .into_iter()
            .take(view.top)
            .map(|row| {
                let counts = scale.counts(row.counts);
                let percent = percent(row.counts.all, beacons);
                Row { name: row.name, beacons: counts.all, bots: counts.bots, percent }
            })
            .collect(),
    }
}

fn sort(rows: &mut [top::Row]) {
    rows.sort_by(|one, other| other.counts.all.cmp(&one.counts.all).then_with(|| one.name.cmp(&other.name)));
}

/// What user agents say: each distinct one is read once, here.
fn of_agents(state: &State, agents: &AgentReader, view: &View, scale: Scale) -> Vec<Table> {
    let top = state.top(Dimension::Agent);
    let [mut browsers, mut systems, mut devices, mut bots] = [const { BTreeMap::<String, Counts>::new() }; 4];
    let mut kinds: BTreeMap<&str, Counts> = BTreeMap::new();
    for row in top.rows() {
        let agent = agents.read(&row.name);
        if let Some(bot) = &agent.bot {
            // Whatever browser it says it is.
            *bots.entry(bot.name.clone().into_owned()).or_default() += row.counts;
            *kinds.entry(bot.kind.name()).or_default() += row.counts;
            continue;
        }
        let browser = agent.browser.as_ref().map_or("(unknown)", |browser| &browser.family);
        *browsers.entry(browser.to_owned()).or_default() += row.counts;
        *systems.entry(agent.system.as_deref().unwrap_or("(unknown)").to_owned()).or_default() += row.counts;
        *devices.entry(agent.device.name().to_owned()).or_default() += row.counts;
    }
    let kinds = kinds.into_iter().map(|(name, counts)| (name.to_owned(), counts)).collect();
    let Counts { all, bots: of_bots } = top.total();
    let without = state.totals.beacons.all - all;
    let tables: [(&str, &str, &str, BTreeMap<String, Counts>); 5] = [
        ("browsers", "Browsers", "the browser that cs-user-agent names, by uap-core's rules; without bots", browsers),
        ("systems", "Systems", "the operating system that cs-user-agent names; without bots", systems),
        ("devices", "Devices", "the class of device that cs-user-agent names; without bots", devices),
        ("bots", "Bots", "known bots by the crawler-user-agents list, and your own", bots),
        ("bot_kinds", "Kinds of bots", "what these bots are for, by the same list", kinds),
    ];
    let table = |(name, title, definition, counts): (&'static str, &'static str, &str, BTreeMap<String, Counts>)| {
        let rows = counts.into_iter().map(|(name, counts)| top::Row { name, counts });
        let mut rows: Vec<top::Row> = rows.collect();
        sort(&mut rows);
        let beacons = if name.starts_with("bot") { of_bots } else { all - of_bots };
        let definition = definition.to_owned();
        finish(Parts { name, title, definition, rows, beacons, without, error: top.error() }, view, scale)
    };
    tables.into_iter().map(table).collect()
}
