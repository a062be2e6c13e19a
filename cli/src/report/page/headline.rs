//! What it is, what could not be read, and the figures that a report is read for.

use indicatif::{DecimalBytes, HumanCount as Count};
use maud::{Markup, html};
use pixel_engine::report::{Document, Lines};
use pixel_engine_html::{Align, Card, Table, cards};

use super::{counted, lasting, moment, of_a_sample, scale, sentence};

pub(super) fn headline(report: &Document) -> Markup {
    html! {
        @if let Some(period) = &report.period {
            p.period { "From " (moment(&period.begin)) " to " (moment(&period.end)) ": " (period.definition) "." }
        }
        p {
            @match (&report.first, &report.last) {
                (Some(first), Some(last)) => {
                    strong { (moment(first)) " to " (moment(last)) } ", time zone " (report.time_zone) ". "
                }
                _ => "No beacon has a time. "
            }
            (counted(report.lines.lines_in, "line was", "lines were")) " read: " (Count(report.lines.counted))
            " are counted here, " (Count(report.lines.filtered)) " were filtered out"
            @if report.lines.duplicates > 0 { ", " (Count(report.lines.duplicates)) " of them as duplicates" }
            ", " (Count(report.lines.bad)) " could not be read."
        }
        (unread(&report.lines))
        @if report.scale != 1.0 {
            p.warning {
                "The log holds " (report.settings.sampling) " % of the requests. Numbers of beacons, and of bytes sent and \
                received, are scaled by " (scale(report)) "; visitors, sessions and funnels cannot be scaled, and are not."
            }
        }
        (cards(figures(report)))
        (others(report))
    }
}

fn unread(lines: &Lines) -> Markup {
    if lines.bad == 0 && lines.unread_inputs.is_empty() {
        return html! {};
    }
    html! {
        div.warning {
            @if lines.bad > 0 {
                h2 { (Count(lines.bad)) " of " (counted(lines.lines_in, "line", "lines")) " could not be read" }
                @if lines.bad_by_reason.is_empty() { p { "The quarantine has them, and why they are bad." } }
                @else { (bad_lines("Lines that could not be read", lines)) }
            }
            @if !lines.unread_inputs.is_empty() {
                h2 { "Not read to the end" }
                ul { @for input in &lines.unread_inputs { li { (input) } } }
            }
        }
    }
}

fn figures(report: &Document) -> Vec<Card> {
    let (beacons, visitors, sessions) = (&report.beacons, &report.visitors, &report.sessions);
    let share = if beacons.beacons == 0 { 0.0 } else { beacons.bots as f64 * 100.0 / beacons.beacons as f64 };
    let card = |name: &str, figure: String, note: Markup| Card { name: name.to_owned(), figure, note };
    vec![
        card(
            "Beacons",
            Count(beacons.beacons).to_string(),
            html! {
                "Lines of the log that are counted"
                @if report.scale != 1.0 { ", scaled by " (scale(report)) }
                "."
            },
        ),
        card(
            "Visitors",
            Count(visitors.people).to_string(),
            html! {
                @if visitors.is_exact { "Exact, without bots: " } @else {
                    "± " (format!("{:.2}", visitors.error_percent)) " % (standard error), without bots: "
                }
                (visitors.definition) "."
            },
        ),
        card(
            "From bots",
            format!("{share:.1} %"),
            html! {
                (counted(beacons.bots, "beacon", "beacons")) " that known bots sent, by their user agents."
            },
        ),
        card(
            "Sessions",
            Count(sessions.sessions).to_string(),
            html! {
                @if !visitors.is_exact { "± " (format!("{:.2}", sessions.error_percent)) " % (standard error): " }
                (sentence(&sessions.definition)) (of_a_sample(report))
            },
        ),
        card(
            "Beacons a session",
            format!("{:.1}", sessions.mean_beacons),
            html! {
                "On average; " (counted(sessions.of_one_beacon, "session has", "sessions have")) " only one."
            },
        ),
        card(
            "Median session",
            lasting(sessions.median_seconds),
            html! {
                "From the first to the last beacon; " (lasting(sessions.mean_seconds)) " on average."
            },
        ),
    ]
}

/// What is worth a sentence.
fn others(report: &Document) -> Markup {
    let (beacons, visitors) = (&report.beacons, &report.visitors);
    html! {
        p {
            (counted(visitors.bots, "bot", "bots")) ", told apart like visitors. "
            (DecimalBytes(beacons.sc_bytes)) " were sent to viewers and " (DecimalBytes(beacons.cs_bytes))
            " received; the log has " (DecimalBytes(beacons.log_bytes)) "."
            @if visitors.beacons_without > 0 {
                " " (counted(visitors.beacons_without, "beacon says", "beacons say"))
                " nothing of a visitor, and " @if visitors.beacons_without == 1 { "is" } @else { "are" }
                " in no session and no funnel."
            }
        }
    }
}

/// Lines that could not be read, by the kind of reason.
pub(super) fn bad_lines(title: &str, lines: &Lines) -> Table {
    let mut table = Table::new(title).column("reason", Align::Text).numbers(["lines"]).column("the first", Align::Name);
    for (reason, bad) in &lines.bad_by_reason {
        table.push_row([html! { (reason) }, html! { (Count(bad.count)) }, html! { (bad.first) }]);
    }
    table
}
