//! How long answers took.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::document::Latency;
use pixel_engine_html::chart::{Bar, Bars, Colour, Fill, Group, Part, legend};
use pixel_engine_html::{Align, Table};

pub(super) fn latency(latencies: &[Latency]) -> Markup {
    let measured: Vec<&Latency> = latencies.iter().filter(|latency| latency.count > 0).collect();
    if measured.is_empty() {
        return html! {};
    }
    let chart =
        Bars { title: "Latency".to_owned(), full: 0.0, groups: measured.iter().map(|latency| group(latency)).collect() };
    let names = ["half", "90 of 100", "95 of 100", "99 of 100", "999 of 1,000"];
    let fills = names.iter().enumerate().map(|(place, name)| (fill(place), *name));
    html! {
        h2 { "Latency" }
        p {
            "How long answers took, in milliseconds. Percentiles are right to 0.1 %. Each bar ends where so many of \
            the answers had been given:"
        }
        (legend(fills))
        (chart)
        (numbers(&measured))
    }
}

fn percentiles(latency: &Latency) -> [u64; 5] {
    let Latency { p50, p90, p95, p99, p999, .. } = *latency;
    [p50, p90, p95, p99, p999]
}

/// The fewer answers, the lighter.
fn fill(place: usize) -> Fill {
    Fill::shade(Colour::Blue, 4 - place, 5)
}

fn group(latency: &Latency) -> Group {
    let percentiles = percentiles(latency);
    let before = [0].into_iter().chain(percentiles);
    let names = ["half", "90 %", "95 %", "99 %", "99.9 %"];
    let part = |(place, (before, until)): (usize, (u64, u64))| Part {
        fill: fill(place),
        len: until.saturating_sub(before) as f64,
        title: format!("{}: {} took no longer than {} ms", latency.name, names[place], Count(until)),
    };
    let parts = before.zip(percentiles).enumerate().map(part).collect();
    Group {
        name: latency.name.to_owned(),
        bars: vec![Bar { parts, end: format!("99.9 %: {} ms", Count(latency.p999)) }],
    }
}

fn numbers(latencies: &[&Latency]) -> Table {
    let mut table = Table::new("Latency, the numbers in milliseconds")
        .column("time", Align::Text)
        .numbers(["beacons", "mean", "50 %", "90 %", "95 %", "99 %", "99.9 %", "longest"])
        .column("what it is", Align::Prose);
    for latency in latencies {
        let times = percentiles(latency).into_iter().chain([latency.max]);
        let cells = [
            html! { (latency.name) },
            html! { (Count(latency.count)) },
            html! { (format!("{:.1}", latency.mean)) },
        ];
        let times = times.map(|time| html! { (Count(time)) });
        table.push_row(cells.into_iter().chain(times).chain([html! { (latency.definition) }]));
    }
    table
}
