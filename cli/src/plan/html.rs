//! The plan as a page: one file, no script, nothing from a network; light or dark as the reader's system is.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use pixel_engine::plan::Plan;
use pixel_engine::plan::designs::{BySize, Caveat, Design, LinesFrom, Mode, Service};
use pixel_engine::plan::prices::Item;
use pixel_engine::plan::simulate::{Outcome, Point, Simulated, Simulation};
use pixel_engine::plan::workload::Origin;

use super::chart::{self, Axis, Bar, Curve, Part, Scale};
use super::table::{amount, bytes, counted, keys, lanes, letters, short, time};

pub(crate) struct Page<'a>(pub(crate) &'a Plan);

/// Text as it may stand in an element or an attribute.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Display for Page<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Page(plan) = self;
        writeln!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
            <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
            <title>Capacity plan: {} lines/s</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>",
            amount(plan.setup.load.average.get()),
            include_str!("page.css"),
        )?;
        about(out, plan)?;
        money(out, plan)?;
        needs(out, plan)?;
        if let Some(simulation) = &plan.simulation {
            simulated(out, simulation)?;
        }
        sizes(out, plan)?;
        lengths(out, plan)?;
        prices(out, plan)?;
        writeln!(out, "<footer>pixel-engine {}</footer>\n</main>\n</body>\n</html>", env!("CARGO_PKG_VERSION"))
    }
}

fn about(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let (workload, setup) = (&plan.workload, &plan.setup);
    writeln!(out, "<h1>What carrying these lines needs and costs</h1>\n<dl>")?;
    let mut fact = |name: &str, text: String| writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&text));
    fact(
        "rate",
        format!(
            "{} lines/s on average, {} a month of 730 hours, {} lines/s at the peak",
            amount(setup.load.average.get()),
            short(setup.load.average.monthly()),
            amount(setup.load.peak.get())
        ),
    )?;
    fact(
        "lines",
        match workload.origin {
            Origin::Sample { lines, .. } => {
                format!("{:.0} B on average, in a sample of {}", workload.line_bytes, amount(lines as f64))
            }
            Origin::Stated => format!("{} B each, as stated; compression and speed unknown", workload.line_bytes),
        },
    )?;
    fact(
        "from",
        match setup.lines_from {
            LinesFrom::CloudFront => "CloudFront real-time logs, in a Kinesis stream with a line a record".to_owned(),
            LinesFrom::Producers => "programs of your own, beside which the engine runs".to_owned(),
        },
    )?;
    fact(
        "engine",
        format!("{}, records wait {} at most", counted(setup.producers, "instance"), time(setup.linger.as_secs_f64())),
    )?;
    for packed in workload.packed() {
        if let Some(speed) = packed.speed {
            let (lines, ratio) = (short(speed.lines_per_second), packed.ratio());
            let threads = speed.threads;
            fact(
                &packed.kind.to_string(),
                format!("{ratio:.2} times smaller, {lines} lines/s here on {threads} threads"),
            )?;
        }
    }
    fact("region", setup.prices.region.clone())?;
    writeln!(out, "</dl>")
}

const COLOURS: [(Service, &str); 6] = [
    (Service::CloudFront, "c5"),
    (Service::Kinesis, "c1"),
    (Service::Firehose, "c2"),
    (Service::Lambda, "c4"),
    (Service::S3, "c3"),
    (Service::Machines, "c6"),
];

fn money(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let currency = escaped(&plan.setup.prices.currency);
    writeln!(
        out,
        "<h2>Cost by design</h2>\n<p>{currency} a month at the average rate; provisioned shards are paid for the peak. \
        Letters mark what no source settles: see the end.</p>"
    )?;
    legend(out, COLOURS.iter().map(|&(service, class)| (class, service.name())))?;
    let bars: Vec<Bar> = plan
        .designs
        .iter()
        .map(|design| Bar {
            label: named(design),
            parts: COLOURS
                .map(|(service, class)| {
                    let length = design.cost_of(service).0;
                    Part { class, length, title: format!("{}: {}", service.name(), amount(length)) }
                })
                .into(),
            end: format!("{} {}", amount(design.total().0), letters(plan, &design.total().1)),
        })
        .collect();
    writeln!(out, "{}\n<div class=\"scroll\"><table>\n<tr><th>design</th>", chart::bars("Cost by design", &bars))?;
    for service in Service::ALL {
        write!(out, "<th>{}</th>", service.name())?;
    }
    writeln!(out, "<th>total</th></tr>")?;
    for design in &plan.designs {
        write!(out, "<tr><td>{}</td>", escaped(&named(design)))?;
        for service in Service::ALL {
            let (money, caveats) = design.cost_of(service);
            write!(out, "<td>{}</td>", marked(plan, money, &caveats))?;
        }
        let (money, caveats) = design.total();
        writeln!(out, "<td class=\"total\">{}</td></tr>", marked(plan, money, &caveats))?;
    }
    writeln!(out, "</table></div>")
}

fn needs(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    writeln!(
        out,
        "<h2>Needs at the peak</h2>\n<p>Shards of a first and of a second stream; times the Direct PUT quota; bytes that \
        Firehose bills a line; the delay before Firehose, and what Firehose buffers by its default hints; cores and \
        memory for packing, without sending.</p>\n<div class=\"scroll\"><table>\n<tr><th>design</th><th>shards</th>\
        <th>calls/s</th><th>quota</th><th>billed</th><th>delay</th><th>buffer</th><th>cores</th><th>memory</th></tr>"
    )?;
    for design in &plan.designs {
        write!(out, "<tr><td>{}</td>", escaped(&named(design)))?;
        for cell in super::table::needs_of(design) {
            write!(out, "<td>{}</td>", escaped(&cell))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table></div>")
}

fn simulated(out: &mut Formatter<'_>, simulation: &Simulation) -> fmt::Result {
    let scenario = &simulation.scenario;
    let hours = scenario.demand.rates.len() as f64 / 3_600.0;
    writeln!(
        out,
        "<h2>Simulation: {}</h2>\n<p>{} hours, {} lines/s at the peak; keys {}, buckets of {}, seed {}. On the right, the \
        fewest shards or quotas with which no line waits longer than {}.</p>\n<div class=\"scroll\"><table>\n<tr>\
        <th>stream</th><th>planned</th><th>throttled tries</th><th>worst delay</th><th>99 %</th><th>most waiting</th>\
        <th>lost lines</th><th>fewest</th></tr>",
        escaped(&scenario.demand.name),
        amount(hours),
        amount(scenario.demand.peak()),
        keys(scenario.keys),
        time(scenario.burst.as_secs_f64()),
        scenario.seed,
        time(scenario.max_delay.as_secs_f64()),
    )?;
    for Simulated { what, designs, lanes_are, planned, smallest, .. } in &simulation.streams {
        writeln!(
            out,
            "<tr><td>{} <sup>{}</sup></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td{}>{}</td><td>{}</td></tr>",
            escaped(&what.to_string()),
            super::table::joined(designs),
            lanes(planned.lanes, *lanes_are),
            short(planned.throttled as f64),
            time(planned.worst_delay),
            time(planned.p99_delay),
            bytes(planned.most_waiting_bytes),
            if planned.lost > 0 { " class=\"unsettled\"" } else { "" },
            short(planned.lost as f64),
            smallest.as_ref().map_or("no number".to_owned(), |smallest| lanes(smallest.lanes, *lanes_are)),
        )?;
    }
    writeln!(out, "</table></div>\n<h3>Lines a second</h3>")?;
    let x = hours_axis();
    if let Some(stream) = simulation.streams.first() {
        let rate = curve("c1", "lines/s", &stream.planned, |point| point.rate);
        let y = Axis { name: "", scale: Scale::Linear, text: tick };
        writeln!(out, "{}", chart::curves("Lines a second over time", &x, &y, 200.0, &[rate]))?;
    }
    let (idle, busy): (Vec<&Simulated>, Vec<&Simulated>) =
        simulation.streams.iter().partition(|stream| stream.planned.worst_delay == 0.0);
    for stream in busy {
        let what = format!("{}, {}", stream.what, lanes(stream.planned.lanes, stream.lanes_are));
        let delay = curve("bad", "delay", &stream.planned, |point| point.delay);
        let waiting = curve("c2", "waiting", &stream.planned, |point| point.waiting as f64);
        let seconds = Axis { name: "", scale: Scale::Linear, text: seconds };
        let lines = Axis { name: "", scale: Scale::Linear, text: tick };
        writeln!(
            out,
            "<h3>{what}: the longest delay</h3>\n{}\n<h3>{what}: lines that wait</h3>\n{}",
            chart::curves("Delay over time", &x, &seconds, 200.0, &[delay]),
            chart::curves("Backlog over time", &x, &lines, 200.0, &[waiting]),
            what = escaped(&what),
        )?;
    }
    if !idle.is_empty() {
        let names: Vec<String> = idle.iter().map(|stream| escaped(&stream.what.to_string())).collect();
        writeln!(out, "<h3>No line waits</h3>\n<p>{}</p>", names.join("; "))?;
    }
    Ok(())
}

fn hours_axis() -> Axis {
    Axis { name: "hours", scale: Scale::Linear, text: |hours| format!("{}", (hours * 100.0).round() / 100.0) }
}

fn curve(class: &'static str, name: &str, outcome: &Outcome, value: impl Fn(&Point) -> f64) -> Curve {
    let points = outcome.curve.iter().map(|point| (point.second as f64 / 3_600.0, value(point))).collect();
    Curve { class, name: name.to_owned(), points, filled: true }
}

fn sizes(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    writeln!(
        out,
        "<h2>Cost by record size</h2>\n<p>{} a month for the billed bytes alone, by how many bytes of whole lines a record \
        has: Firehose rounds each record up to 5 KiB, on-demand Kinesis to 1 KiB, provisioned Kinesis counts units of 25 \
        KiB. Both axes are logarithmic.</p>",
        escaped(&plan.setup.prices.currency)
    )?;
    let of_gb = letters(plan, &BTreeSet::from([Caveat::BytesPerGb]));
    let series = [
        ("c2", format!("Firehose {of_gb}")),
        ("c1", format!("Kinesis on-demand, in {of_gb}")),
        ("c3", "Kinesis provisioned, PUT units without shards".to_owned()),
    ];
    legend(out, series.iter().map(|(class, name)| (*class, name.as_str())))?;
    let of = |place: usize, value: fn(&BySize) -> f64| {
        let (class, ref name) = series[place];
        let points = plan.by_record_size.iter().map(|size| (size.bytes, value(size))).collect();
        Curve { class, name: name.clone(), points, filled: false }
    };
    let curves = [of(0, |size| size.firehose), of(1, |size| size.on_demand), of(2, |size| size.put_payload_units)];
    let x = Axis { name: "bytes of a record", scale: Scale::Logarithmic, text: tick };
    let y = Axis { name: "", scale: Scale::Logarithmic, text: tick };
    writeln!(out, "{}", chart::curves("Cost by record size", &x, &y, 320.0, &curves))
}

fn lengths(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let Some(lengths) = &plan.workload.lengths else { return Ok(()) };
    writeln!(
        out,
        "<h2>Length of lines</h2>\n<p>Half have at most {} B, 99 of 100 at most {} B, the longest has {} B.</p>",
        lengths.quantile(0.5),
        lengths.quantile(0.99),
        lengths.quantile(1.0),
    )?;
    let bars: Vec<_> =
        lengths.histogram().iter().map(|bar| (f64::from(bar.from), f64::from(bar.to), bar.lines as f64)).collect();
    let chart = chart::histogram("Lines by length", "bytes of a line, with its newline", tick, &bars);
    writeln!(out, "{chart}")
}

/// A number without zeros that say nothing: `80k`, `1.5M`, `0.1`.
fn tick(number: f64) -> String {
    let text = if number == 0.0 || number >= 10.0 { short(number) } else { format!("{number:.3}") };
    let end = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).len();
    let (digits, unit) = text.split_at(end);
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{unit}")
}

fn seconds(seconds: f64) -> String {
    format!("{} s", tick(seconds))
}

fn prices(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let prices = &plan.setup.prices;
    writeln!(out, "<h2>What no source settles</h2>\n<div class=\"scroll\"><table>")?;
    for (explained, letter) in plan.caveats.iter().zip('a'..) {
        writeln!(out, "<tr><td>{letter}</td><td class=\"words\">{}</td></tr>", escaped(&explained.explanation))?;
    }
    writeln!(
        out,
        "</table></div>\n<h2>Prices</h2>\n<p>{}, {}, {}.</p>\n<div class=\"scroll\"><table>\n<tr><th>price</th>\
        <th>{}</th><th class=\"words\">a</th><th class=\"words\">source</th><th>of</th></tr>",
        escaped(&prices.file),
        escaped(&prices.region),
        escaped(&prices.currency),
        escaped(&prices.currency),
    )?;
    for item in Item::ALL {
        let price = prices.of(item);
        writeln!(
            out,
            "<tr><td>{item}{}</td><td>{}</td><td class=\"words\">{}</td><td class=\"words\">{}</td><td>{}</td></tr>",
            if price.confirmed { "" } else { " <span class=\"unsettled\">unconfirmed</span>" },
            price.value,
            escaped(&price.unit),
            escaped(&price.source),
            escaped(&price.date),
        )?;
    }
    writeln!(out, "</table></div>")
}

fn legend<'a>(out: &mut Formatter<'_>, entries: impl Iterator<Item = (&'a str, &'a str)>) -> fmt::Result {
    write!(out, "<div class=\"legend\">")?;
    for (class, name) in entries {
        write!(
            out,
            "<span><svg viewBox=\"0 0 12 12\" aria-hidden=\"true\"><rect width=\"12\" height=\"12\" rx=\"2\" \
            class=\"{class}\"/></svg>{name}</span>"
        )?;
    }
    writeln!(out, "</div>")
}

fn named(design: &Design) -> String {
    let mode = match design.way.mode() {
        Some(Mode::Provisioned) => ", provisioned",
        Some(Mode::OnDemand) => ", on-demand",
        None => "",
    };
    format!("{} {}{mode}", design.way, design.way.name().trim_start())
}

fn marked(plan: &Plan, money: f64, caveats: &BTreeSet<Caveat>) -> String {
    match money {
        0.0 => "-".to_owned(),
        _ => format!("{}<sup>{}</sup>", amount(money), letters(plan, caveats)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_have_no_idle_zeros() {
        assert_eq!([0.0, 0.1, 1.5, 20.0, 80_000.0, 1.5e6].map(tick), ["0", "0.1", "1.5", "20", "80k", "1.5M"]);
        assert_eq!([0.0, 160.0].map(seconds), ["0 s", "160 s"]);
    }
}
