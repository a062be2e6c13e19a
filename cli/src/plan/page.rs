//! The plan as a page.

use std::collections::BTreeSet;

use maud::{Markup, html};
use pixel_engine::plan::Plan;
use pixel_engine::plan::designs::{BySize, Caveat, Design, LinesFrom, Service};
use pixel_engine::plan::prices::Item;
use pixel_engine::plan::simulate::{Outcome, Point, Simulated, Simulation};
use pixel_engine::plan::workload::Origin;
use pixel_engine_html::chart::{
    Axis, Bar, Bars, Colour, Curve, Curves, Fill, Group, Histogram, Part, Scale, legend, with_numbers,
};
use pixel_engine_html::{Align, Page, Table, facts};

use super::answer;
use super::table::{
    amount, bytes, counted, joined, lanes, lettered, letters, marked, missing, needs_of, short, time, with_mode,
};

/// The text of the page.
pub(crate) fn page(plan: &Plan) -> String {
    let page = Page {
        title: format!("Capacity plan: {} lines/s", amount(plan.setup.load.average.get())),
        body: html! {
            h1 { "What carrying these lines needs and costs" }
            (answer(plan))
            (about(plan))
            (money(plan))
            (needs(plan))
            @if let Some(simulation) = &plan.simulation { (simulated(simulation)) }
            (sizes(plan))
            (lengths(plan))
            (unsettled(plan))
            (prices(plan))
        },
        footer: html! { "pixel-engine " (env!("CARGO_PKG_VERSION")) },
    };
    page.into_string()
}

fn answer(plan: &Plan) -> Markup {
    html! {
        p { strong { "The cheapest way into S3: " (answer::headline(plan)) "." } }
        @for detail in answer::details(plan) {
            p { (detail) }
        }
    }
}

fn about(plan: &Plan) -> Markup {
    let (workload, setup) = (&plan.workload, &plan.setup);
    let rate = format!(
        "{} lines/s on average, {} a month of 730 hours, {} lines/s at the peak",
        amount(setup.load.average.get()),
        short(setup.load.average.monthly()),
        amount(setup.load.peak.get())
    );
    let lines = match workload.origin {
        Origin::Sample { lines, .. } => {
            format!("{:.0} B on average, in a sample of {}", workload.line_bytes, amount(lines as f64))
        }
        Origin::Stated => format!("{} B each, as stated; compression and speed unknown", workload.line_bytes),
    };
    let from = match setup.lines_from {
        LinesFrom::CloudFront => "CloudFront real-time logs, in a Kinesis stream with a line a record",
        LinesFrom::Producers => "programs of your own, beside which the engine runs",
    };
    let linger = time(setup.linger.as_secs_f64());
    let engine = format!("{}, records wait {linger} at most", counted(setup.producers, "instance"));
    let named = [("rate", rate), ("lines", lines), ("from", from.to_owned()), ("engine", engine)];
    let measured = workload.packed().filter_map(|packed| {
        let speed = packed.speed?;
        let (ratio, lines) = (packed.ratio(), short(speed.lines_per_second));
        let fact = format!("{ratio:.2} times smaller, {lines} lines/s here on {} threads", speed.threads);
        Some((packed.kind.to_string(), fact))
    });
    let region = ("region".to_owned(), setup.prices.region.clone());
    facts(named.map(|(name, fact)| (name.to_owned(), fact)).into_iter().chain(measured).chain([region]))
}

const COLOURS: [(Service, Colour); 6] = [
    (Service::CloudFront, Colour::Grey),
    (Service::Kinesis, Colour::Blue),
    (Service::Firehose, Colour::Orange),
    (Service::Lambda, Colour::Magenta),
    (Service::S3, Colour::Green),
    (Service::Machines, Colour::Violet),
];

fn money(plan: &Plan) -> Markup {
    let part = |design: &Design, service: Service, colour: Colour| {
        let len = design.cost_of(service).0;
        Part { fill: colour.into(), len, title: format!("{}: {}", service.name(), amount(len)) }
    };
    let group = |design: &Design| {
        let (total, caveats) = design.total();
        let parts = COLOURS.map(|(service, colour)| part(design, service, colour)).into();
        let shown = marked(total, &caveats);
        let bar = Bar { parts, end: format!("{} {}", shown.trim_end_matches('*'), letters(plan, &caveats)) };
        Group { name: named(design), bars: vec![bar] }
    };
    let groups = plan.designs.iter().map(group).collect();
    let chart = Bars { title: "Cost by design".to_owned(), full: 0.0, groups };
    let mut table = Table::new("Cost by design")
        .column("design", Align::Text)
        .numbers(Service::ALL.map(Service::name))
        .column("total", Align::Total);
    for design in &plan.designs {
        let services = Service::ALL.map(|service| with_letters(plan, design.cost_of(service)));
        table.push_row(
            [html! { (named(design)) }].into_iter().chain(services).chain([with_letters(plan, design.total())]),
        );
    }
    html! {
        h2 { "Cost by design" }
        p {
            (plan.setup.prices.currency)
            " a month at the average rate; provisioned shards are paid for the peak. Letters mark what no source \
            settles, see the end: + is the least that it can be, ? is unknown."
        }
        (legend(COLOURS.map(|(service, colour)| (Fill::from(colour), service.name()))))
        (chart)
        (table)
    }
}

fn needs(plan: &Plan) -> Markup {
    let mut table = Table::new("Needs at the peak")
        .column("design", Align::Text)
        .numbers(["shards", "calls/s", "quota", "billed", "delay", "buffer", "cores", "memory"]);
    for design in &plan.designs {
        let cells = needs_of(design).map(|cell| html! { (cell) });
        table.push_row([html! { (named(design)) }].into_iter().chain(cells));
    }
    html! {
        h2 { "Needs at the peak" }
        p {
            "Shards of a first and of a second stream; times the Direct PUT quota; bytes that Firehose bills a line; \
            the delay before Firehose, and what Firehose buffers by its default hints; cores and memory for packing, \
            without sending."
        }
        (table)
    }
}

fn simulated(simulation: &Simulation) -> Markup {
    let scenario = &simulation.scenario;
    let mut table = Table::new("Simulation").column("stream", Align::Text).numbers([
        "planned",
        "throttled tries",
        "worst delay",
        "99 %",
        "most waiting",
        "lost lines",
        "fewest",
    ]);
    for Simulated { what, designs, lanes_are, planned, smallest, .. } in &simulation.streams {
        let lost = short(planned.lost as f64);
        let fewest = smallest.as_ref().map_or("no number".to_owned(), |smallest| lanes(smallest.lanes, *lanes_are));
        table.push_row([
            html! { (what.to_string()) " " sup { (joined(designs)) } },
            html! { (lanes(planned.lanes, *lanes_are)) },
            html! { (short(planned.throttled as f64)) },
            html! { (time(planned.worst_delay)) },
            html! { (time(planned.p99_delay)) },
            html! { (bytes(planned.most_waiting_bytes)) },
            html! { @if planned.lost > 0 { span.unsettled { (lost) } } @else { (lost) } },
            html! { (fewest) },
        ]);
    }
    let (idle, busy): (Vec<&Simulated>, Vec<&Simulated>) =
        simulation.streams.iter().partition(|stream| stream.planned.worst_delay == 0.0);
    let idle: Vec<String> = idle.iter().map(|stream| stream.what.to_string()).collect();
    html! {
        h2 { "Simulation: " (scenario.demand.name) }
        p {
            (amount(scenario.demand.rates.len() as f64 / 3_600.0)) " hours, " (amount(scenario.demand.peak()))
            " lines/s at the peak; keys " (scenario.keys.to_string()) ", buckets of "
            (time(scenario.burst.as_secs_f64())) ", seed " (scenario.seed)
            ". On the right, the fewest shards or quotas with which no line waits longer than "
            (time(scenario.max_delay.as_secs_f64())) "."
        }
        (table)
        @if let Some(stream) = simulation.streams.first() {
            @let rate = curve(Colour::Blue, "lines/s", &stream.planned, |point| point.rate);
            h3 { "Lines a second" }
            (over_time("Lines a second over time", tick, rate))
        }
        @for stream in busy {
            @let what = format!("{}, {}", stream.what, lanes(stream.planned.lanes, stream.lanes_are));
            @let delay = curve(Colour::Bad, "delay", &stream.planned, |point| point.delay);
            @let waiting = curve(Colour::Orange, "waiting", &stream.planned, |point| point.waiting as f64);
            h3 { (what) ": the longest delay" }
            (over_time(&format!("{what}: delay over time"), seconds, delay))
            h3 { (what) ": lines that wait" }
            (over_time(&format!("{what}: backlog over time"), tick, waiting))
        }
        @if !idle.is_empty() {
            h3 { "No line waits" }
            p { (idle.join("; ")) }
        }
    }
}

fn over_time(title: &str, text: fn(f64) -> String, curve: Curve) -> Markup {
    let hours = |hours: f64| format!("{}", (hours * 100.0).round() / 100.0);
    let chart = Curves {
        title: title.to_owned(),
        x: Axis { name: "hours", scale: Scale::Linear, text: hours },
        y: Axis { name: "", scale: Scale::Linear, text },
        height: 200.0,
        curves: vec![curve],
    };
    with_numbers(&chart, &chart.numbers())
}

fn curve(colour: Colour, name: &str, outcome: &Outcome, value: impl Fn(&Point) -> f64) -> Curve {
    let points = outcome.curve.iter().map(|point| (point.second as f64 / 3_600.0, value(point))).collect();
    Curve { colour, name: name.to_owned(), points, filled: true }
}

fn sizes(plan: &Plan) -> Markup {
    let of_gb = |service| letters(plan, &BTreeSet::from([Caveat::BytesPerGb(service)]));
    let curve = |colour, name: String, value: fn(&BySize) -> Option<f64>| {
        let points: Option<Vec<_>> = plan.by_record_size.iter().map(|size| Some((size.bytes, value(size)?))).collect();
        points.map(|points| Curve { colour, name, points, filled: false })
    };
    let units = "Kinesis provisioned, PUT units without shards".to_owned();
    let on_demand = format!("Kinesis on-demand, in {}", of_gb(Service::Kinesis));
    let curves = [
        curve(Colour::Orange, format!("Firehose {}", of_gb(Service::Firehose)), |size| size.firehose),
        curve(Colour::Blue, on_demand, |size| size.on_demand),
        curve(Colour::Green, units, |size| size.put_payload_units),
    ];
    let chart = Curves {
        title: "Cost by record size".to_owned(),
        x: Axis { name: "bytes of a record", scale: Scale::Logarithmic, text: tick },
        y: Axis { name: "", scale: Scale::Logarithmic, text: tick },
        height: 320.0,
        curves: curves.into_iter().flatten().collect(),
    };
    if chart.curves.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Cost by record size" }
        p {
            (plan.setup.prices.currency)
            " a month for the billed bytes alone, by how many bytes of whole lines a record has: Firehose rounds each \
            record up to 5 KiB, on-demand Kinesis to 1 KiB, provisioned Kinesis counts units of 25 KiB. Both axes are \
            logarithmic."
        }
        (legend(chart.curves.iter().map(|curve| (Fill::from(curve.colour), curve.name.as_str()))))
        (with_numbers(&chart, &chart.numbers()))
    }
}

fn lengths(plan: &Plan) -> Markup {
    let Some(lengths) = &plan.workload.lengths else { return html! {} };
    let bars = lengths.histogram();
    let chart = Histogram {
        title: "Lines by length".to_owned(),
        x_name: "bytes of a line, with its newline",
        counted: "lines",
        text: tick,
        bars: bars.iter().map(|bar| (f64::from(bar.from), f64::from(bar.to), bar.lines as f64)).collect(),
    };
    html! {
        h2 { "Length of lines" }
        p {
            "Half have at most " (lengths.quantile(0.5)) " B, 99 of 100 at most " (lengths.quantile(0.99))
            " B, the longest has " (lengths.quantile(1.0)) " B."
        }
        (with_numbers(&chart, &chart.numbers()))
    }
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

fn unsettled(plan: &Plan) -> Markup {
    let mut table = Table::new("What no source settles").column("", Align::Text).column("", Align::Prose);
    for (letter, explained) in lettered(plan) {
        table.push_row([html! { (letter) }, html! { (explained.explanation) }]);
    }
    html! {
        h2 { "What no source settles" }
        (table)
        @let missing = missing(plan);
        @if !missing.is_empty() {
            p {
                "There is no price in " (plan.setup.prices.region) " for " (missing.join(", ")) ": what these are the \
                prices of is left out."
            }
        }
    }
}

fn prices(plan: &Plan) -> Markup {
    let prices = &plan.setup.prices;
    let mut table = Table::new("Prices")
        .column("price", Align::Text)
        .column(prices.currency.as_str(), Align::Number)
        .column("a", Align::Prose)
        .column("source", Align::Prose)
        .column("of", Align::Number);
    for (item, price) in Item::ALL.into_iter().filter_map(|item| Some((item, prices.of(item)?))) {
        table.push_row([
            html! { (item.to_string()) @if !price.confirmed { " " span.unsettled { "unconfirmed" } } },
            html! { (price.value) },
            html! { (price.unit) },
            html! { (price.source) },
            html! { (price.date) },
        ]);
    }
    html! {
        h2 { "Prices" }
        p { (prices.file) ", " (prices.region) ", " (prices.currency) "." }
        (table)
    }
}

fn named(design: &Design) -> String {
    format!("{} {}", design.way, with_mode(design.way).trim_start())
}

fn with_letters(plan: &Plan, (money, caveats): (f64, BTreeSet<Caveat>)) -> Markup {
    // The letters say more than an asterisk.
    let shown = marked(money, &caveats);
    html! { (shown.trim_end_matches('*')) sup { (letters(plan, &caveats)) } }
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
