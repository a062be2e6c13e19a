//! What is abnormal: each rule, and what broke it.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::document::{Abnormal, Rule};
use pixel_engine_html::{Align, Table};

use super::{of_events, sentence};

pub(super) fn abnormal(abnormal: &Abnormal) -> Markup {
    let (broken, kept): (Vec<&Rule>, Vec<&Rule>) = abnormal.rules.iter().partition(|rule| rule.count > 0);
    html! {
        @if broken.is_empty() {
            p { "None: nothing breaks a rule." }
        } @else {
            p { "What breaks a rule, in percent of all beacons." }
            (rules("Rules that are broken", &broken))
            @for rule in broken.iter().filter(|rule| !rule.examples.is_empty()) {
                details {
                    summary { (title(rule)) ": the first events" }
                    (of_events(&format!("{}: the first events", title(rule)), &rule.examples))
                }
            }
        }
        @if !kept.is_empty() {
            details {
                summary { "Rules that nothing breaks: " (kept.len()) }
                (rules("Rules that nothing breaks", &kept))
            }
        }
    }
}

fn rules(name: &str, rules: &[&Rule]) -> Table {
    let table = Table::new(name).column("rule", Align::Text).numbers(["count", "%"]);
    let mut table = table.column("what it counts", Align::Prose);
    for rule in rules {
        table.push_row([
            html! { (title(rule)) },
            html! {
                (Count(rule.count))
                @if rule.error_percent > 0.0 { " ± " (format!("{:.2}", rule.error_percent)) " %" }
            },
            html! { @if let Some(percent) = rule.percent { (format!("{percent:.2}")) } },
            html! {
                (sentence(&rule.definition))
                @if !rule.notes.is_empty() { ul { @for note in &rule.notes { li { (note) } } } }
            },
        ]);
    }
    table
}

/// `no_event` as words.
fn title(rule: &Rule) -> String {
    rule.name.replace('_', " ")
}
