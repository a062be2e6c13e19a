//! The report as a page.
//!
//! Everything on it can be read without a script, and nothing comes from a network. Text from the log
//! is escaped by maud, and made plain here, for the page as a whole.

mod abnormal;
mod advertising;
mod blog;
mod funnel;
mod headline;
mod latency;
mod over_time;
mod reconcile;
mod shop;
mod tables;

use indicatif::HumanCount as Count;
use maud::{Markup, PreEscaped, html};
use pixel_engine::report::Document;
use pixel_engine::report::document::{Definition, Event};
use pixel_engine_html::{Align, Page, Table, anchor, contents, facts};

use super::text::plain;

/// The text of the page, with at most `top` rows of each table.
pub(super) fn page(report: &Document, top: usize) -> String {
    let page = Page {
        title: title(report),
        body: html! { h1 { "Beacon report" } (body(report, top)) },
        footer: html! { "pixel-engine " (env!("CARGO_PKG_VERSION")) },
    };
    page.into_string()
}

/// Everything below its first heading.
pub(crate) fn body(report: &Document, top: usize) -> Markup {
    let advertising = report.advertising.as_ref().map(|part| advertising::advertising(part, top));
    let reconciled = report.reconciled.as_ref().map(|part| reconcile::reconciled(part, top));
    let blog = report.blog.as_ref().map(|part| blog::blog(report, part, top));
    let shop = report.shop.as_ref().map(|part| shop::shop(part, top));
    let parts = [
        ("Over time", over_time::over_time(report)),
        ("Advertising", advertising.unwrap_or_default()),
        ("Reconciled", reconciled.unwrap_or_default()),
        ("Blog", blog.unwrap_or_default()),
        ("Shop", shop.unwrap_or_default()),
        ("Funnel", report.funnel.as_ref().map(|funnel| funnel::funnel(report, funnel)).unwrap_or_default()),
    ];
    let parts = parts.into_iter().chain(tables::tables(report, top)).chain([
        ("Latency", latency::latency(&report.latency)),
        ("Abnormal", abnormal::abnormal(&report.abnormal)),
        ("Recent events", recent(&report.recent)),
        ("Settings", settings(report)),
    ]);
    let parts: Vec<(&str, Markup)> = parts.filter(|(_, part)| !part.0.is_empty()).collect();
    let body = html! {
        (headline::headline(report))
        (contents(parts.iter().map(|(title, _)| *title)))
        @for (title, part) in &parts {
            h2 id=(anchor(title)) { (title) }
            (part)
        }
    };
    // Whatever the log holds: no letter on the page turns the text behind it around.
    PreEscaped(plain(&body.into_string()))
}

fn title(report: &Document) -> String {
    let day = |time: &Option<String>| time.as_deref().and_then(|time| time.get(..10)).map(str::to_owned);
    match (day(&report.first), day(&report.last)) {
        (Some(first), Some(last)) if first == last => format!("Beacons of {first}"),
        (Some(first), Some(last)) => format!("Beacons from {first} to {last}"),
        _ => "No beacons".to_owned(),
    }
}

fn recent(events: &[Event]) -> Markup {
    if events.is_empty() {
        return html! {};
    }
    html! {
        p { "The latest by their own time, without any address." }
        (of_events("Recent events", events))
    }
}

fn of_events(name: &str, events: &[Event]) -> Table {
    let table =
        Table::new(name).column("time", Align::Text).column("status", Align::Text).column("country", Align::Text);
    let mut table = table.column("event", Align::Text).column("page, query, user agent", Align::Name);
    for event in events {
        table.push_row([
            html! { @match &event.time { Some(time) => (moment(time)), None => "no time" } },
            html! { (event.status) },
            html! { (event.country) },
            html! { (cut(&event.event, 20)) },
            html! {
                (event.page)
                div.note { (event.query) }
                div.note { (event.agent) }
            },
        ]);
    }
    table
}

fn settings(report: &Document) -> Markup {
    let settings = &report.settings;
    let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    let named = [
        ("event", settings.event.clone()),
        ("page", settings.page.clone()),
        ("referrer", settings.referrer.clone()),
        ("visitor", settings.visitor.clone()),
        ("known events", or(&settings.known_events.join(", "), "any")),
        ("session gap", lasting(settings.session_gap_millis as f64 / 1_000.0)),
        ("funnel", settings.funnel.clone().unwrap_or_else(|| "none".to_owned())),
        (
            "funnel gap",
            settings.funnel_gap_millis.map_or_else(|| "none".to_owned(), |millis| lasting(millis as f64 / 1_000.0)),
        ),
        ("burst", format!("more than {} beacons of one visitor in a minute", Count(settings.burst.into()))),
        ("sampling", format!("the log holds {} % of the requests", settings.sampling)),
        ("time zone", report.time_zone.clone()),
        ("salt", format!("{}, by which equal salts are told", settings.salt_check)),
        ("shape", format!("{} {}", report.schema, report.version)),
    ];
    html! {
        p { "What was counted. Event, page, referrer and visitor say where each is: the first that a line has counts." }
        (facts(named.map(|(name, fact)| (name.to_owned(), fact))))
    }
}

/// What stands above numbers of beacons.
fn beacons(report: &Document) -> &'static str {
    if report.scale == 1.0 { "beacons" } else { "scaled beacons" }
}

/// What stands beside numbers that come from visitors, where not all of them were kept.
fn of_a_sample(report: &Document) -> Markup {
    let visitors = &report.visitors;
    html! { @if !visitors.is_exact { " Estimated from one in " (Count(visitors.one_in)) " visitors." } }
}

/// With four decimals at most.
fn scale(report: &Document) -> f64 {
    (report.scale * 1e4).round() / 1e4
}

/// What each number of a part means, but for those that are explained already.
fn definitions(definitions: &[Definition], explained: &[&str]) -> Markup {
    let rest = definitions.iter().filter(|of| !explained.contains(&of.name));
    facts(rest.map(|of| (of.name.replace('_', " "), sentence(&of.definition))))
}

/// What a number means.
fn definition(definitions: &[Definition], name: &str) -> String {
    definitions.iter().find(|of| of.name == name).map(|of| sentence(&of.definition)).unwrap_or_default()
}

/// What to know about the numbers of a part.
fn notes(notes: &[String]) -> Markup {
    html! { @if !notes.is_empty() { ul { @for note in notes { li { (sentence(note)) } } } } }
}

/// A definition as a sentence; names of fields stay as they are.
fn sentence(definition: &str) -> String {
    let word = definition.split_inclusive(|letter: char| !letter.is_ascii_lowercase()).next().unwrap_or_default();
    if word.ends_with([' ', ',']) {
        format!("{}{}.", definition[..1].to_uppercase(), &definition[1..])
    } else {
        format!("{definition}.")
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", Count(count), if count == 1 { one } else { many })
}

/// `2026-01-05T08:10:00.123+00:00` without what is finer than a second and the offset.
fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).unwrap_or(rfc3339).replace('T', " ")
}

fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters - 1).chain(['…']).collect()
}

/// A length of time in at most two units.
fn lasting(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let two = |large: u64, large_name: &str, small: u64, small_name: &str| {
        let (many, rest) = (whole / large, whole % large / small);
        if rest == 0 { format!("{many} {large_name}") } else { format!("{many} {large_name} {rest} {small_name}") }
    };
    match whole {
        0..60 if seconds.fract() == 0.0 => format!("{seconds} s"),
        0..60 => format!("{seconds:.1} s"),
        60..3_600 => two(60, "min", 1, "s"),
        3_600..86_400 => two(3_600, "h", 60, "min"),
        _ => two(86_400, "d", 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_two_units_at_most() {
        let lasting = [0.0, 0.25, 59.0, 60.0, 61.2, 1_800.0, 3_660.0, 90_000.0].map(lasting);
        assert_eq!(lasting, ["0 s", "0.2 s", "59 s", "1 min", "1 min 1 s", "30 min", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn sentences_begin_with_a_capital_unless_it_is_a_field() {
        let sentences =
            ["beacons by day", "visitors, without bots", "cs-method", "asn: the network", "é", ""].map(sentence);
        assert_eq!(
            sentences,
            ["Beacons by day.", "Visitors, without bots.", "cs-method.", "asn: the network.", "é.", "."]
        );
    }

    #[test]
    fn moments_are_dates_and_times() {
        assert_eq!(moment("2026-01-05T08:10:00.123+00:00"), "2026-01-05 08:10:00");
        assert_eq!(moment("?"), "?");
    }
}
