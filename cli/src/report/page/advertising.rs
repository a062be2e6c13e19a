//! Advertisements: what of their events counts, and what does not.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::document::{Advertising, AdvertisingCounts, AdvertisingRow, Firings};
use pixel_engine_html::chart::{Bar, Bars, Colour, Fill, Group, Part, legend};
use pixel_engine_html::{Align, Table};

use super::tables::named;
use super::{definition, definitions, notes};

/// One of the numbers that gross is the sum of.
type OfFirings = fn(&Firings) -> u64;

/// What events are, from what counts to what does not.
const PARTS: [(&str, Colour, OfFirings); 4] = [
    ("net", Colour::Blue, |firings| firings.net),
    ("duplicates", Colour::Orange, |firings| firings.duplicates),
    ("data centres", Colour::Violet, |firings| firings.data_centres),
    ("bots", Colour::Grey, |firings| firings.bots),
];

const NUMBERS: [&str; 6] = ["gross", "bots", "data centres", "duplicates", "net", "without id"];

/// A name in a table, and what was counted under it.
type Named<'a> = (Markup, &'a AdvertisingCounts);

pub(super) fn advertising(advertising: &Advertising, top: usize) -> Markup {
    let total = &advertising.total;
    let group = |(step, firings): (&str, &Firings)| Group {
        name: step.to_owned(),
        bars: vec![Bar { parts: parts(step, firings), end: format!("{} net", Count(firings.net)) }],
    };
    let groups = total.steps().map(group).into();
    let chart = Bars { title: "Events of advertisements".to_owned(), full: 0.0, groups };
    let (shown, more) = advertising.rows.split_at(top.min(advertising.rows.len()));
    let (mut first, mut rest): (Vec<Named>, Vec<Named>) =
        (shown.iter().map(placement).collect(), more.iter().map(placement).collect());
    // What has no row of its own comes behind all that have one.
    let last = if rest.is_empty() { &mut first } else { &mut rest };
    last.extend(sums(advertising));
    html! {
        p {
            "What is known to be invalid is taken away in this order: gross = bots + data centres + duplicates + net. "
            "Never scaled."
        }
        (legend(PARTS.map(|(name, colour, _)| (Fill::from(colour), name))))
        (chart)
        (steps(advertising))
        h3 { "By campaign and publisher" }
        p.note {
            (definition(&advertising.definitions, "placement"))
            " The most impressions first; the bar is gross, in grey what of it is not net. All other numbers are net; \
            percentages are of net impressions, and of net clicks for conversions."
        }
        (placements("By campaign and publisher", &first))
        @if !rest.is_empty() {
            details {
                summary { "The others: " (more.len()) " more" }
                (placements("The others by campaign and publisher", &rest))
            }
        }
        details {
            summary { "Gross, bots, data centres, duplicates and net of each" }
            (all_numbers(first.iter().chain(&rest)))
        }
        h3 { "What these numbers are" }
        (definitions(&advertising.definitions, &["placement"]))
        p {
            "Ids: " (Count(advertising.ids.kept)) " of at most " (Count(advertising.ids.max)) " are kept, "
            (Count(advertising.ids.forgotten)) " found no room."
        }
        (notes(&advertising.notes))
    }
}

fn parts(step: &str, firings: &Firings) -> Vec<Part> {
    let part = |(name, colour, count): (&str, Colour, fn(&Firings) -> u64)| Part {
        fill: colour.into(),
        len: count(firings) as f64,
        title: format!("{step}: {} {name}", Count(count(firings))),
    };
    PARTS.map(part).into()
}

/// All placements together.
fn steps(advertising: &Advertising) -> Table {
    let total = &advertising.total;
    let mut table = Table::new("Advertising, all together").column("event", Align::Text);
    table = table.numbers(["gross", "bots", "data centres", "duplicates"]).column("net", Align::Total);
    table = table.numbers(["without id", "rate"]);
    let rates = [None, total.viewable_percent, total.click_percent, total.conversion_percent];
    let of = ["", "of impressions", "of impressions", "of clicks"];
    for ((step, firings), (rate, of)) in total.steps().into_iter().zip(rates.into_iter().zip(of)) {
        let rate = html! { @if let Some(rate) = rate { (format!("{rate:.2} % ")) (of) } };
        table.push_row([html! { (step) }].into_iter().chain(numbers(firings)).chain([rate]));
    }
    table
}

fn numbers(firings: &Firings) -> [Markup; 6] {
    let Firings { gross, bots, data_centres, duplicates, net, without_id } = *firings;
    [gross, bots, data_centres, duplicates, net, without_id].map(|count| html! { (Count(count)) })
}

fn placement(row: &AdvertisingRow) -> Named<'_> {
    let name = |name: &Option<String>| match name {
        Some(name) => html! { (name) },
        None => html! { em { "none" } },
    };
    (html! { (name(&row.campaign)) " at " (name(&row.publisher)) }, &row.counts)
}

/// What has no row of its own.
fn sums(advertising: &Advertising) -> Vec<Named<'_>> {
    let (not_shown, other) = (&advertising.not_shown, &advertising.other);
    let mut sums = Vec::new();
    if not_shown.placements > 0 {
        let name = html! { em { (Count(not_shown.placements)) " others" } };
        sums.push((name, &not_shown.counts));
    }
    if other.steps().iter().any(|(_, firings)| firings.gross > 0) {
        sums.push((html! { em { "other" } }, other));
    }
    sums
}

fn placements(name: &str, rows: &[Named]) -> Table {
    let table = Table::new(name).column("campaign at publisher", Align::Name);
    let table = table.numbers(["gross impressions"]).column("impressions", Align::Total);
    let mut table = table.numbers(["viewable", "%", "clicks", "%", "conversions", "%"]);
    let most = rows.iter().map(|(_, counts)| counts.impressions.gross).max().unwrap_or(0);
    for (name, counts) in rows {
        let gross = counts.impressions.gross;
        let count = |count: u64| html! { (Count(count)) };
        let rate = |percent: Option<f64>| html! { @if let Some(percent) = percent { (format!("{percent:.2}")) } };
        table.push_row([
            named(name, gross, gross - counts.impressions.net, most),
            count(gross),
            count(counts.impressions.net),
            count(counts.viewable.net),
            rate(counts.viewable_percent),
            count(counts.clicks.net),
            rate(counts.click_percent),
            count(counts.conversions.net),
            rate(counts.conversion_percent),
        ]);
    }
    table
}

fn all_numbers<'a>(rows: impl Iterator<Item = &'a Named<'a>>) -> Table {
    let table = Table::new("Advertising, all numbers").column("campaign at publisher", Align::Name);
    let mut table = table.column("event", Align::Text).numbers(NUMBERS);
    for (name, counts) in rows {
        table.begin_group();
        for (step, firings) in counts.steps() {
            let names = [name.clone(), html! { (step) }];
            table.push_row(names.into_iter().chain(numbers(firings)));
        }
    }
    table
}
