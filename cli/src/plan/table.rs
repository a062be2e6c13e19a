//! The plan as people read it in a terminal, at most 100 columns wide.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use super::answer;
use indicatif::HumanCount as Count;
use pixel_engine::plan::designs::{Caveat, Design, LinesFrom, Mode, Service, Stream, Way};
use pixel_engine::plan::simulate::{Lanes, Simulation};
use pixel_engine::plan::workload::Origin;
use pixel_engine::plan::{Explained, Plan};

/// The columns that a table has at most.
const WIDTH: usize = 100;

pub(crate) struct Table<'a>(pub(crate) &'a Plan);

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Table(plan) = self;
        answer(out, plan)?;
        about(out, plan)?;
        money(out, plan)?;
        needs(out, plan)?;
        shards(out, plan)?;
        if let Some(simulation) = &plan.simulation {
            simulated(out, simulation)?;
        }
        notes(out, plan)
    }
}

/// What people read first, and some only.
fn answer(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    wrapped(out, "cheapest  ", &answer::headline(plan))?;
    for detail in answer::details(plan) {
        wrapped(out, "          ", &detail)?;
    }
    writeln!(out)
}

fn about(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let (workload, setup) = (&plan.workload, &plan.setup);
    match (&workload.origin, &workload.lengths) {
        (Origin::Sample { lines, cut, .. }, Some(lengths)) => writeln!(
            out,
            "sample    {} lines{} of {:.0} B on average: p50 {}, p90 {}, p99 {}, longest {}",
            Count(*lines),
            if *cut { ", its beginning," } else { "" },
            workload.line_bytes,
            Count(lengths.quantile(0.5).into()),
            Count(lengths.quantile(0.9).into()),
            Count(lengths.quantile(0.99).into()),
            Count(lengths.quantile(1.0).into()),
        )?,
        _ => writeln!(out, "sample    none; lines of {} B; compression and speed unknown", workload.line_bytes)?,
    }
    for (place, packed) in workload.packed().enumerate() {
        let Some(speed) = packed.speed else { continue };
        writeln!(
            out,
            "{:<9} {:<7} {:>5.2} times smaller, {:>7} lines/s, {:>6.0} MB/s, {} threads",
            if place == 0 { "measured" } else { "" },
            packed.kind,
            packed.ratio(),
            short(speed.lines_per_second),
            speed.megabytes_per_second,
            speed.threads,
        )?;
    }
    writeln!(
        out,
        "rate      {} lines/s on average, {} a month of 730 h, {} lines/s at the peak",
        amount(setup.load.average.get()),
        short(setup.load.average.monthly()),
        amount(setup.load.peak.get()),
    )?;
    writeln!(
        out,
        "setting   {}, lines from {}, {}, linger {}, {}+{} fan-out readers",
        setup.prices.region,
        match setup.lines_from {
            LinesFrom::CloudFront => "CloudFront",
            LinesFrom::Producers => "your producers",
        },
        counted(setup.producers, "instance"),
        time(setup.linger.as_secs_f64()),
        setup.consumers,
        setup.fan_out,
    )
}

fn money(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let title = format!("{} a month, at the average rate", plan.setup.prices.currency);
    write!(out, "\n{title:<35}")?;
    for (service, width) in MONEY {
        let name = if service == Service::CloudFront { "CloudFr" } else { service.name() };
        write!(out, "{name:>width$}")?;
    }
    writeln!(out, "{:>8}", "total")?;
    for design in &plan.designs {
        write!(out, "{}", named(design))?;
        for (service, width) in MONEY {
            let (amount, caveats) = design.cost_of(service);
            write!(out, "{:>width$}", marked(amount, &caveats))?;
        }
        let (amount, caveats) = design.total();
        let total = format!("{:>8} {}", marked(amount, &caveats), letters(plan, &caveats));
        writeln!(out, "{}", total.trim_end())?;
    }
    Ok(())
}

/// The columns of money, with their widths.
const MONEY: [(Service, usize); 6] = [
    (Service::CloudFront, 8),
    (Service::Kinesis, 8),
    (Service::Firehose, 9),
    (Service::Lambda, 8),
    (Service::S3, 7),
    (Service::Machines, 8),
];

fn needs(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    writeln!(
        out,
        "\n{:<35}{:>12}{:>8}{:>7}{:>8}{:>7}{:>7}{:>7}{:>8}",
        "needs at the peak", "shards", "calls/s", "quota", "billed", "delay", "buffer", "cores", "memory"
    )?;
    for design in &plan.designs {
        let [shards, calls, quota, billed, delay, buffer, cores, memory] = needs_of(design);
        let name = named(design);
        writeln!(out, "{name}{shards:>12}{calls:>8}{quota:>7}{billed:>8}{delay:>7}{buffer:>7}{cores:>7}{memory:>8}")?;
    }
    Ok(())
}

/// Shards, calls a second, quota, billed bytes a line, delay, Firehose's buffer, cores, memory.
pub(super) fn needs_of(design: &Design) -> [String; 8] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let shards: Vec<String> = design.streams.iter().map(|stream| short(stream.shards.needed())).collect();
    let firehose = design.firehose.as_ref();
    let buffer_seconds =
        firehose.map(|firehose| firehose.buffer_seconds).or(design.channel.map(|channel| channel.freshness_seconds));
    let last_stream = design.streams.last();
    let star = if design.total().1.contains(&Caveat::AggregateMeteredAsOne) { "*" } else { "" };
    let calls = firehose.and_then(|firehose| firehose.calls).or(last_stream.and_then(|stream| stream.calls));
    [
        if shards.is_empty() { "-".to_owned() } else { shards.join("+") },
        or_none(calls.map(amount)),
        or_none(firehose.and_then(|firehose| firehose.share_of_quota).map(times)),
        or_none(firehose.map(|firehose| format!("{}{star}", amount(firehose.billed_bytes_per_line)))),
        time(design.delay_seconds()),
        or_none(buffer_seconds.map(time)),
        or_none(design.engine.and_then(|engine| engine.cores).map(cores)),
        or_none(design.engine.map(|engine| format!("{}B", short(engine.memory)))),
    ]
}

/// Streams that are alike in several designs share a row.
fn shards(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    let mut kinds: Vec<(&Stream, Vec<Way>)> = Vec::new();
    for design in &plan.designs {
        for stream in &design.streams {
            let alike = |other: &Stream| (other.of, other.shards) == (stream.of, stream.shards);
            match kinds.iter_mut().find(|(other, _)| alike(other)) {
                Some((_, designs)) => designs.push(design.way),
                None => kinds.push((stream, vec![design.way])),
            }
        }
    }
    writeln!(
        out,
        "\n{:<45}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "shards at the peak", "by bytes", "records", "readers", "needed", "on-dem."
    )?;
    for (stream, designs) in kinds {
        writeln!(
            out,
            "{:<11}{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}",
            stream.of,
            joined(&designs),
            part_shards(stream.shards.by_bytes),
            part_shards(stream.shards.by_records),
            part_shards(stream.shards.by_readers),
            amount(stream.shards.needed().round()).trim_end_matches(".00"),
            percent(stream.share_of_on_demand),
        )?;
    }
    Ok(())
}

fn simulated(out: &mut Formatter<'_>, simulation: &Simulation) -> fmt::Result {
    let scenario = &simulation.scenario;
    writeln!(
        out,
        "\nsimulated {}: {} h, {} lines/s at the peak, keys {}, seed {}",
        scenario.demand.name,
        amount(scenario.demand.rates.len() as f64 / 3_600.0),
        amount(scenario.demand.peak()),
        scenario.keys,
        scenario.seed,
    )?;
    let fewest = format!("delay <= {}", time(scenario.max_delay.as_secs_f64()));
    writeln!(
        out,
        "{:<21}{:>15}{:>11}{:>9}{:>9}{:>9}{:>9}{:>17}",
        "", "lanes", "throttled", "worst", "p99", "waiting", "lost", fewest
    )?;
    for stream in &simulation.streams {
        let planned = &stream.planned;
        writeln!(
            out,
            "{:<21}{:>15}{:>11}{:>9}{:>9}{:>9}{:>9}{:>17}",
            stream.what.to_string(),
            lanes(planned.lanes, stream.lanes_are),
            or_dash(planned.throttled as f64, short),
            time(planned.worst_delay),
            time(planned.p99_delay),
            bytes(planned.most_waiting_bytes),
            or_dash(planned.lost as f64, short),
            stream.smallest.as_ref().map_or("never".to_owned(), |smallest| lanes(smallest.lanes, stream.lanes_are)),
        )?;
    }
    Ok(())
}

pub(super) fn lanes(count: usize, lanes: Lanes) -> String {
    let lanes = lanes.to_string();
    let lanes = if count == 1 { lanes.trim_end_matches('s') } else { &lanes };
    format!("{} {lanes}", Count(count as u64))
}

/// The names of designs.
pub(super) fn joined(ways: &[Way]) -> String {
    ways.iter().map(|way| way.id()).collect::<Vec<_>>().join(" ")
}

/// Bytes, or a dash for none.
pub(super) fn bytes(bytes: f64) -> String {
    or_dash(bytes, |bytes| format!("{}B", short(bytes)))
}

fn or_dash(number: f64, text: impl Fn(f64) -> String) -> String {
    if number == 0.0 { "-".to_owned() } else { text(number) }
}

fn notes(out: &mut Formatter<'_>, plan: &Plan) -> fmt::Result {
    writeln!(out)?;
    for (letter, explained) in lettered(plan) {
        wrapped(out, &format!("* {letter}  "), &explained.explanation)?;
    }
    let missing = missing(plan);
    if !missing.is_empty() {
        let region = &plan.setup.prices.region;
        let note =
            format!("the least that it can be, and unknown: there is no price in {region} for {}", missing.join(", "));
        wrapped(out, "+ ?  ", &note)?;
    }
    let simulated = "lanes      simulated are shards, or times the Direct PUT quota; throttled are tries that one refused, \
        waiting the most bytes that did at once, which is the spool that is needed, lost the lines that were more than \
        --max-backlog";
    let notes = [
        "cheapest   of the designs that end in S3; 5 ends in the stream and leaves the reader to you",
        "shards     for the peak, all month, with nothing to spare; 20+17 are those of a first and of a second stream; \
        on-dem. is the share of what on-demand streams take in the region",
        "quota      times the Direct PUT quota of a Firehose stream, which AWS raises on request",
        "billed     bytes that Firehose bills a line",
        "delay      before Firehose, at the average rate; buffer is what Firehose adds by its default hints, or a \
        channel by its freshness",
        "cores      for packing alone, from the speed measured here; sending with TLS comes on top",
    ];
    for note in notes.into_iter().chain(plan.simulation.is_some().then_some(simulated)) {
        let (what, text) = note.split_at(11);
        wrapped(out, what, text)?;
    }
    write!(out, "prices     {}; for others see --print-prices and --prices", plan.setup.prices.file)
}

/// Text in lines of at most [`WIDTH`], the later ones below the beginning of the first.
fn wrapped(out: &mut Formatter<'_>, before: &str, text: &str) -> fmt::Result {
    write!(out, "{before}")?;
    let mut column = before.len();
    for (place, word) in text.split_whitespace().enumerate() {
        if column + 1 + word.len() > WIDTH {
            write!(out, "\n{:1$}", "", before.len())?;
            column = before.len();
        } else if place > 0 {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += word.len();
    }
    writeln!(out)
}

fn named(design: &Design) -> String {
    format!("{:<3}{:<32}", design.way, with_mode(design.way))
}

/// The name of a way, and how its streams are paid for.
pub(super) fn with_mode(way: Way) -> String {
    let mode = match way.mode() {
        Some(Mode::Provisioned) => ", provisioned",
        Some(Mode::OnDemand) => ", on-demand",
        None => "",
    };
    format!("{}{mode}", way.name())
}

/// Money with `*` if something about it is unsettled, with `+` if a price is missing and it is the
/// least that it can be, or `?` if all of it is missing.
pub(super) fn marked(money: f64, caveats: &BTreeSet<Caveat>) -> String {
    let lacks_price = caveats.iter().any(|caveat| matches!(caveat, Caveat::NoPrice(_)));
    match (money, lacks_price) {
        (0.0, true) => "?".to_owned(),
        (0.0, false) => "-".to_owned(),
        (_, true) => format!("{}+", amount(money)),
        (_, false) => format!("{}{}", amount(money), if caveats.is_empty() { "" } else { "*" }),
    }
}

/// What is unsettled, each with its letter. A price that is missing has none: `+` and `?` mark it.
pub(super) fn lettered(plan: &Plan) -> impl Iterator<Item = (char, &Explained)> {
    let unsettled = plan.caveats.iter().filter(|explained| !matches!(explained.caveat, Caveat::NoPrice(_)));
    ('a'..).zip(unsettled)
}

pub(super) fn letters(plan: &Plan, caveats: &BTreeSet<Caveat>) -> String {
    lettered(plan).filter(|(_, explained)| caveats.contains(&explained.caveat)).map(|(letter, _)| letter).collect()
}

/// The prices that some design lacks.
pub(super) fn missing(plan: &Plan) -> Vec<String> {
    let items = plan.caveats.iter().filter_map(|explained| match explained.caveat {
        Caveat::NoPrice(item) => Some(item.to_string()),
        _ => None,
    });
    items.collect()
}

/// A number in at most six characters: `0.25`, `7.50`, `99,999`, `1.23M`.
pub(super) fn amount(number: f64) -> String {
    match number {
        ..0.005 => format!("{number:.4}"),
        ..9.995 => format!("{number:.2}"),
        ..99_999.5 => Count(number.round() as u64).to_string(),
        _ => short(number),
    }
}

/// A number in at most six characters: `85`, `1.23k`, `52.6G`.
pub(super) fn short(number: f64) -> String {
    let mut number = number;
    for unit in ["", "k", "M", "G", "T"] {
        // What would be rounded up to 1000 is one of the next unit.
        if number < 999.5 {
            let decimals = if unit.is_empty() || number >= 99.95 {
                0
            } else if number >= 9.995 {
                1
            } else {
                2
            };
            return format!("{number:.decimals$}{unit}");
        }
        number /= 1_000.0;
    }
    format!("{number:.0}P")
}

pub(super) fn time(seconds: f64) -> String {
    match seconds {
        ..0.9995 => format!("{:.0} ms", seconds * 1e3),
        ..99.95 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent @ ..9.95 => format!("{percent:.1}%"),
        percent => format!("{}%", short(percent)),
    }
}

/// `0.17x`, `13.4x`.
pub(super) fn times(factor: f64) -> String {
    match factor {
        ..9.995 => format!("{factor:.2}x"),
        ..99.95 => format!("{factor:.1}x"),
        _ => format!("{}x", short(factor)),
    }
}

/// Shards before they are rounded up.
fn part_shards(shards: f64) -> String {
    if shards < 99_999.5 { format!("{shards:.1}") } else { short(shards) }
}

pub(super) fn cores(cores: f64) -> String {
    if cores < 9.95 { format!("{cores:.2}") } else { short(cores) }
}

pub(super) fn counted(count: u32, what: &str) -> String {
    format!("{} {what}{}", Count(count.into()), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use pixel_engine::plan::prices::Item;

    use super::*;

    #[test]
    fn money_says_what_it_rests_on() {
        let [settled, unsettled, lacking] =
            [&[][..], &[Caveat::LambdaSpeed], &[Caveat::LambdaSpeed, Caveat::NoPrice(Item::VcpuHour)]]
                .map(|caveats| caveats.iter().copied().collect::<BTreeSet<_>>());
        let shown = |money| [&settled, &unsettled, &lacking].map(|caveats| marked(money, caveats));
        assert_eq!(shown(2_500.0), ["2,500", "2,500*", "2,500+"]);
        assert_eq!(shown(0.0), ["-", "-", "?"]);
    }

    #[test]
    fn numbers_stay_short() {
        assert_eq!([0.0, 0.25, 12.4, 99_999.0].map(amount), ["0.0000", "0.25", "12", "99,999"]);
        assert_eq!([123_456.0, 1e6, 1.2345e9].map(amount), ["123k", "1.00M", "1.23G"]);
        assert_eq!([85.0, 1_234.0, 99_960.0, 999_600.0, 5.26e10].map(short), ["85", "1.23k", "100k", "1.00M", "52.6G"]);
        assert_eq!([0.0002, 0.25, 1.0, 13.1, 300.0].map(time), ["0 ms", "250 ms", "1.0 s", "13.1 s", "300 s"]);
        assert_eq!([0.001, 0.0995, 3.8].map(percent), ["0.1%", "10%", "380%"]);
        assert_eq!([0.17, 13.4, 1_234.0].map(times), ["0.17x", "13.4x", "1.23kx"]);
    }
}
