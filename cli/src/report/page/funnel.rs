//! How far visitors came, and where they left.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::Document;
use pixel_engine::report::document::{FunnelReport, FunnelStep};
use pixel_engine_html::chart::{Bar, Bars, Colour, Fill, Group, Part, legend};
use pixel_engine_html::{Align, Table, measured};

use super::{counted, cut, lasting, of_a_sample, sentence};

/// The most letters of a step beside its bar; the table has all of it.
const NAME: usize = 32;

pub(super) fn funnel(report: &Document, funnel: &FunnelReport) -> Markup {
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
            name: cut(&step.step, NAME),
            bars: vec![Bar {
                parts: vec![part(went_on, stayed, "reached it and went on"), part(left, step.left, "left after it")],
                end: format!("{}{rates}", Count(step.visitors)),
            }],
        }
    };
    let chart =
        Bars { title: "Funnel".to_owned(), full: 0.0, groups: funnel.steps.iter().enumerate().map(group).collect() };
    html! {
        p {
            (sentence(&funnel.definition)) " " (counted(funnel.visitors, "visitor", "visitors"))
            " took any of the steps. Percentages are of the step before." (of_a_sample(report))
        }
        @if funnel.dropped_events > 0 {
            p.warning {
                (counted(funnel.dropped_events, "step", "steps"))
                " of visitors with more than 100,000 of them could not be kept, and are left out."
            }
        }
        (legend([(went_on, "reached the step and went on"), (left, "reached it and left")]))
        (chart)
        (numbers(funnel))
        @if funnel.steps.iter().any(|step| !step.left_on.is_empty()) {
            h3 { "Where they left" }
            p.note { "The last pages of visitors that reached a step and not the next, at most three of each step." }
            (left_on(funnel))
        }
    }
}

fn numbers(funnel: &FunnelReport) -> Table {
    let mut table = Table::new("Funnel, the numbers").column("step", Align::Name).numbers([
        "visitors",
        "of the first",
        "of the one before",
        "median time to it",
        "90 % within",
        "left after it",
    ]);
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
        ]);
    }
    table
}

fn left_on(funnel: &FunnelReport) -> Table {
    let columns = Table::new("Where they left").column("last page", Align::Name).column("after the step", Align::Name);
    let mut table = columns.numbers(["visitors"]);
    for step in &funnel.steps {
        let most = step.left_on.iter().map(|page| page.count).max().unwrap_or(0);
        table.begin_group();
        for page in &step.left_on {
            let bar = (Colour::Blue.into(), page.count as f64 / most.max(1) as f64);
            table.push_row([measured(&page.page, [bar]), html! { (step.step) }, html! { (Count(page.count)) }]);
        }
    }
    table
}
