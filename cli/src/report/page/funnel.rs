//! How far visitors came, and where they left.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::document::{FunnelReport, FunnelStep};
use pixel_engine_html::chart::{Bar, Bars, Colour, Fill, Group, Part, legend};
use pixel_engine_html::{Align, Table};

use super::{is_or_are, lasting};

/// The most letters of a step beside its bar; the table has all of it.
const NAME: usize = 32;

pub(super) fn funnel(funnel: &FunnelReport) -> Markup {
    let (went_on, left) = (Fill::from(Colour::Blue), Fill::shade(Colour::Blue, 0, 2));
    let group = |(index, step): (usize, &FunnelStep)| {
        let part = |fill, visitors: u64, what: &str| Part {
            fill,
            len: visitors as f64,
            title: format!("{}: {} {what}", step.step, Count(visitors)),
        };
        let stayed = step.visitors.saturating_sub(step.left);
        let rates = match index {
            0 => String::new(),
            1 => format!(", {:.1} %", step.percent_of_first),
            _ => format!(", {:.1} % ({:.1} % of the first)", step.percent_of_previous, step.percent_of_first),
        };
        Group {
            name: cut(&step.step),
            bars: vec![Bar {
                parts: vec![part(went_on, stayed, "reached it and went on"), part(left, step.left, "left after it")],
                end: format!("{}{rates}", Count(step.visitors)),
            }],
        }
    };
    let chart =
        Bars { title: "Funnel".to_owned(), full: 0.0, groups: funnel.steps.iter().enumerate().map(group).collect() };
    html! {
        h2 { "Funnel" }
        p {
            (funnel.definition) ". " (is_or_are(funnel.visitors, "visitor", "visitors"))
            " took any of the steps. Percentages are of the step before."
        }
        @if funnel.dropped_events > 0 {
            p.warning {
                (is_or_are(funnel.dropped_events, "step", "steps"))
                " of visitors with more than 100,000 of them could not be kept, and are left out."
            }
        }
        (legend([(went_on, "reached the step and went on"), (left, "reached it and left")]))
        (chart)
        (numbers(funnel))
    }
}

fn numbers(funnel: &FunnelReport) -> Table {
    let mut table = Table::new("Funnel, the numbers")
        .column("step", Align::Name)
        .numbers(["visitors", "of the first", "of the one before", "median time to it", "90 % within", "left after it"])
        .column("last page of those that left", Align::Name);
    for (index, step) in funnel.steps.iter().enumerate() {
        let time = |seconds: f64| html! { @if index > 0 { (lasting(seconds)) } };
        table.push_row([
            html! { (step.step) },
            html! { (Count(step.visitors)) },
            html! { (format!("{:.1} %", step.percent_of_first)) },
            html! { (format!("{:.1} %", step.percent_of_previous)) },
            time(step.median_seconds),
            time(step.p90_seconds),
            html! { @if index + 1 < funnel.steps.len() { (Count(step.left)) } },
            html! { @for page in &step.left_on { div { (page.page) " (" (Count(page.count)) ")" } } },
        ]);
    }
    table
}

fn cut(step: &str) -> String {
    if step.chars().count() <= NAME {
        return step.to_owned();
    }
    step.chars().take(NAME - 1).chain(['…']).collect()
}
