//! How often each name came: tables with a bar behind each name.

use indicatif::HumanCount as Count;
use maud::{Markup, Render, html};
use pixel_engine::report::Document;
use pixel_engine::report::document::Table as Counted;
use pixel_engine_html::chart::{Colour, Fill, legend};
use pixel_engine_html::{Align, Table, measured, side_by_side};

use super::{beacons, of_a_sample, over_time, sentence};

/// The group that has the ends of sessions too.
const WITH_SESSIONS: &str = "Events and pages";

/// What belongs together, by the keys of the tables. What is named nowhere comes last.
const GROUPS: [(&str, &[&str]); 5] = [
    (WITH_SESSIONS, &["events", "pages"]),
    ("Where visitors come from", &["referrers", "campaigns", "countries", "asns"]),
    ("What they use", &["browsers", "systems", "devices"]),
    ("Bots", &["bots", "bot_kinds"]),
    ("How the edge answers", &["edge_locations", "statuses", "results", "detailed_results", "methods", "protocols"]),
];

/// The groups by their titles.
pub(super) fn tables(report: &Document, top: usize) -> Vec<(&'static str, Markup)> {
    let is_grouped = |table: &Counted| GROUPS.iter().any(|(_, names)| names.contains(&table.name));
    let of_group = |names: &[&str]| -> Vec<&Counted> { names.iter().filter_map(|name| report.table(name)).collect() };
    let rest = report.tables.iter().filter(|table| !is_grouped(table)).collect();
    let groups = GROUPS.iter().map(|(title, names)| (*title, of_group(names))).chain([("More", rest)]);
    let filled = groups.map(|(title, mut tables)| {
        tables.retain(|table| !table.rows.is_empty());
        let mut sections: Vec<Markup> = tables.iter().map(|table| section(report, table, top)).collect();
        let needs_key = tables.iter().any(|table| has_bots(table));
        if title == WITH_SESSIONS {
            sections.extend(ends_of_sessions(report, top));
        }
        (title, needs_key, sections)
    });
    let filled = filled.filter(|(_, _, sections)| !sections.is_empty());
    let group = |needs_key, sections| {
        html! {
            p { "Percentages are of the beacons that have a name." }
            @if needs_key { (key()) }
            (side_by_side(sections))
        }
    };
    filled.map(|(title, needs_key, sections)| (title, group(needs_key, sections))).collect()
}

fn key() -> Markup {
    let [people, bots] = fills();
    legend([(people, "beacons that are not from bots"), (bots, "from bots")])
}

/// Of what is not from bots, and of what is.
fn fills() -> [Fill; 2] {
    [Colour::Blue, Colour::Grey].map(Fill::from)
}

/// A bar behind a name: what is not from bots, and what is.
pub(super) fn named(name: impl Render, beacons: u64, bots: u64, most: u64) -> Markup {
    let part = |count: u64| count as f64 / most.max(1) as f64;
    measured(name, fills().into_iter().zip([part(beacons.saturating_sub(bots)), part(bots)]))
}

/// Whether some beacons of a name are from bots and some are not. Where it is all or nothing, the
/// definition of the table says so.
fn has_bots(table: &Counted) -> bool {
    table.rows.iter().any(|row| row.bots > 0 && row.bots < row.beacons)
}

fn section(report: &Document, counted: &Counted, top: usize) -> Markup {
    let most = counted.rows.iter().map(|row| row.beacons).max().unwrap_or(0);
    let has_bots = has_bots(counted);
    let mut table = Table::new(counted.title).column("name", Align::Name).numbers([beacons(report), "%"]);
    if has_bots {
        table = table.numbers(["bots"]);
    }
    let mut push = |name: Markup, beacons: u64, percent: Option<f64>, bots: Option<u64>| {
        let bots = html! { @if let Some(bots) = bots { (Count(bots)) } };
        let percent = html! { @if let Some(percent) = percent { (format!("{percent:.1}")) } };
        table.push_row([name, html! { (Count(beacons)) }, percent].into_iter().chain(has_bots.then_some(bots)));
    };
    let (shown, cut) = counted.rows.split_at(top.min(counted.rows.len()));
    for row in shown {
        let name = named(&row.name, row.beacons, row.bots, most);
        push(name, row.beacons, Some(row.percent), Some(row.bots));
    }
    let others = counted.others + cut.iter().map(|row| row.beacons).sum::<u64>();
    if others > 0 {
        let name = match counted.names.map(|names| names.saturating_sub(shown.len() as u64)) {
            Some(1) => "1 other".to_owned(),
            Some(names) => format!("{} others", Count(names)),
            None => "others".to_owned(),
        };
        push(html! { em { (name) } }, others, None, None);
    }
    if counted.without > 0 {
        push(html! { em { "none" } }, counted.without, None, None);
    }
    html! {
        h3 { (counted.title) }
        p.note {
            (sentence(&counted.definition))
            @if counted.error > 0 {
                " Not all names could be kept: each count is right to ± " (Count(counted.error)) "."
            }
        }
        (table)
    }
}

/// The first and the last pages of sessions.
fn ends_of_sessions(report: &Document, top: usize) -> Vec<Markup> {
    let ends = [("Entries", "begin", &report.sessions.entries), ("Exits", "end", &report.sessions.exits)];
    let filled = ends.into_iter().filter(|(_, _, pages)| !pages.is_empty());
    let sections = filled.map(|(title, verb, pages)| {
        let most = pages.iter().map(|page| page.count).max().unwrap_or(0);
        let mut table = Table::new(title).column("page", Align::Name).numbers(["sessions"]);
        for page in pages.iter().take(top) {
            table.push_row([named(&page.page, page.count, 0, most), html! { (Count(page.count)) }]);
        }
        html! {
            h3 { (title) }
            p.note { "The pages that sessions " (verb) " on, at most ten; without bots." (of_a_sample(report)) }
            (table)
        }
    });
    sections.collect()
}

pub(super) fn by_day(report: &Document) -> Table {
    let days = &report.by_day.rows;
    let most = days.iter().map(|day| day.beacons).max().unwrap_or(0);
    let mut table = Table::new("By day").column("day", Align::Name).numbers([beacons(report), "bots", "visitors"]);
    for day in days {
        table.push_row([
            named(over_time::day(&day.begin), day.beacons, day.bots, most),
            html! { (Count(day.beacons)) },
            html! { (Count(day.bots)) },
            html! { (Count(day.visitors)) },
        ]);
    }
    table
}
