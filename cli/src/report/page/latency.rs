//! How long answers took.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::document::Latency;
use pixel_engine_html::chart::{Axis, Colour, Curve, Curves, Fill, Scale, legend};
use pixel_engine_html::{Align, Table};

use super::sentence;

pub(super) fn latency(latencies: &[Latency]) -> Markup {
    let measured: Vec<&Latency> = latencies.iter().filter(|latency| latency.count > 0).collect();
    if measured.is_empty() {
        return html! {};
    }
    let chart = Curves {
        title: "Latency by percentile".to_owned(),
        x: Axis { name: "of the answers took no longer", scale: Scale::Logarithmic, text: of_answers },
        y: Axis { name: "", scale: Scale::Logarithmic, text: |millis| format!("{} ms", Count(millis as u64)) },
        height: 240.0,
        curves: measured.iter().zip([Colour::Blue, Colour::Orange].into_iter().cycle()).map(curve).collect(),
    };
    html! {
        p {
            "How long answers took, in milliseconds. Percentiles are right to 0.1 %. Both axes are logarithmic: each \
            step to the right leaves a tenth of the answers."
        }
        (legend(chart.curves.iter().map(|curve| (Fill::from(curve.colour), curve.name.as_str()))))
        (chart)
        (numbers(&measured))
    }
}

fn curve((latency, colour): (&&Latency, Colour)) -> Curve {
    // Of 2, 10, 20, 100 and 1,000 answers, one takes longer; less than a millisecond has no logarithm.
    let points = [2.0, 10.0, 20.0, 100.0, 1_000.0].into_iter().zip(percentiles(latency));
    let points = points.map(|(of, millis)| (of, millis.max(1) as f64)).collect();
    Curve { colour, name: latency.name.to_owned(), points, filled: false }
}

/// Where one of so many answers takes longer, in percent of those that do not.
fn of_answers(one_of: f64) -> String {
    format!("{} %", ((1.0 - 1.0 / one_of) * 1e5).round() / 1e3)
}

fn percentiles(latency: &Latency) -> [u64; 5] {
    let Latency { p50, p90, p95, p99, p999, .. } = *latency;
    [p50, p90, p95, p99, p999]
}

fn numbers(latencies: &[&Latency]) -> Table {
    let mut table = Table::new("Latency, the numbers in milliseconds")
        .column("what took so long", Align::Name)
        .numbers(["beacons", "mean", "50 %", "90 %", "95 %", "99 %", "99.9 %", "longest"]);
    for latency in latencies {
        let times = percentiles(latency).into_iter().chain([latency.max]);
        let cells = [
            html! { (latency.name) div.note { (sentence(latency.definition)) } },
            html! { (Count(latency.count)) },
            html! { (format!("{:.1}", latency.mean)) },
        ];
        let times = times.map(|time| html! { (Count(time)) });
        table.push_row(cells.into_iter().chain(times));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_so_many_is_a_percentile() {
        assert_eq!([2.0, 10.0, 20.0, 100.0, 1_000.0].map(of_answers), ["50 %", "90 %", "95 %", "99 %", "99.9 %"]);
    }
}
