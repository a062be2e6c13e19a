//! The capacity as a page.

use maud::{Markup, html};
use pixel_engine_html::chart::{Bar, Bars, Colour, Fill, Group, Part, legend};
use pixel_engine_html::{Align, Page, Table};

use super::text::{ABOUT_FILLING, INCORRECT, about_speed, filled, grouped};
use super::{Capacity, Filled, Rate, VariantCapacity};

impl Capacity {
    /// The page.
    pub(super) fn to_html(&self) -> String {
        let machine = &self.machine;
        let title = format!("Capacity: {}", machine.cpu);
        let load = self.load_average.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        let body = html! {
            h1 { (title) }
            p {
                (machine.cores) " cores, " (machine.kernel) ", " (machine.rustc) ". pixel-engine " (machine.commit) ", "
                (self.time) "; load average before it " (load) "."
            }
            p { (self.data) }
            @if self.quick { p.warning { "A quick run: the figures mean little." } }
            @for chart in self.charts() {
                h2 { (chart.title) }
                p { (chart.about) }
                (chart.drawn())
            }
            h2 { "Speeds" }
            (self.speeds())
            (notes(&about_speed(machine.cores)))
            h2 { "What one core fills" }
            (self.filling())
            (notes(&ABOUT_FILLING))
        };
        Page { title, body, footer: html! {} }.into_string()
    }

    fn charts(&self) -> [Chart<'_>; 5] {
        let cores = self.machine.cores;
        let more_threads: Vec<usize> = self
            .variants
            .first()
            .map_or(Vec::new(), |variant| variant.by_threads[1..].iter().map(|of| of.threads).collect());
        [
            self.chart(
                "Lines a second",
                "One core counts the CPU time of all threads; all cores are measured by the clock.",
                ["one core".to_owned(), format!("{cores} threads")],
                |variant| {
                    let rates = [variant.one_core, variant.all_cores().rate];
                    let text = |lines, megabytes| format!("{} ({} MB/s)", grouped(lines), grouped(megabytes));
                    rates.map(|rate| {
                        (Some(rate.lines_per_second), text(rate.lines_per_second, rate.megabytes_per_second))
                    })
                },
            ),
            Chart {
                full: cores as f64,
                ..self.chart(
                    "Scaling",
                    "The speed with more worker threads by that with one. Full width is perfect scaling.",
                    more_threads.iter().map(|threads| format!("{threads} threads")),
                    |variant| {
                        let scaling = variant.by_threads[1..].iter().map(|threads| threads.scaling);
                        scaling.map(|times| (Some(times), format!("{times:.2}x"))).collect::<Vec<_>>()
                    },
                )
            },
            self.chart(
                "Kinesis shards that one core fills",
                "Provisioned Kinesis shards, of 1 MiB and 1,000 records a second, that the lines of one core fill.",
                by_packing(),
                |variant| [variant.shards_unpacked, variant.shards_packed].map(bar),
            ),
            self.chart(
                "Lines a second in one shard",
                "How many lines a second one shard takes: the more, the fewer shards for the same load.",
                by_packing(),
                |variant| {
                    let lines = [variant.lines_per_shard_unpacked, variant.lines_per_shard_packed];
                    lines.map(|lines| (Some(lines), grouped(lines)))
                },
            ),
            self.chart(
                "Firehose quotas that one core fills",
                "Direct PUT of one delivery stream: 5 MiB, 2,000 requests and 500,000 records a second.",
                ["packed".to_owned()],
                |variant| [variant.firehose_quotas.map_or_else(|| (None, "none: see below".to_owned()), bar)],
            ),
        ]
    }

    fn chart<'a, B: IntoIterator<Item = (Option<f64>, String)>>(
        &'a self,
        title: &'static str,
        about: &'static str,
        series: impl IntoIterator<Item = String>,
        bars: impl Fn(&VariantCapacity) -> B,
    ) -> Chart<'a> {
        let group = |variant: &'a VariantCapacity| {
            let bars = bars(variant).into_iter();
            let bars = bars.map(|bar| if variant.correct { bar } else { (None, INCORRECT.to_owned()) });
            (variant.name.as_str(), bars.collect())
        };
        let series = series.into_iter().collect();
        Chart { title, about, full: 0.0, series, groups: self.variants.iter().map(group).collect() }
    }

    fn speeds(&self) -> Table {
        let table = Table::new("Speeds").column("variant", Align::Text).column("", Align::Text);
        let mut table = table.numbers(["lines/s", "MB/s", "x"]).column("same", Align::Text);
        self.push_rows(&mut table, 4, |variant| {
            let cells = |name: String, rate: Rate, scaling: String| {
                vec![name, grouped(rate.lines_per_second), grouped(rate.megabytes_per_second), scaling]
            };
            let mut rows = vec![cells("one core".to_owned(), variant.one_core, String::new())];
            rows.extend(variant.by_threads.iter().map(|of| {
                let name = if of.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", of.threads) };
                cells(name, of.rate, format!("{:.2}", of.scaling))
            }));
            rows
        });
        table
    }

    fn filling(&self) -> Table {
        let mut table = Table::new("What one core fills")
            .column("variant", Align::Text)
            .numbers([
                "B a record",
                "shards, one a line",
                "shards, packed",
                "lines/s a shard, one a line",
                "lines/s a shard, packed",
                "Firehose quotas, packed",
            ])
            .column("same", Align::Text);
        self.push_rows(&mut table, 6, |variant| {
            vec![vec![
                grouped(variant.record_bytes),
                filled(variant.shards_unpacked),
                filled(variant.shards_packed),
                grouped(variant.lines_per_shard_unpacked),
                grouped(variant.lines_per_shard_packed),
                variant.firehose_quotas.map_or_else(|| "-".to_owned(), filled),
            ]]
        });
        table
    }

    /// The rows of each variant, with its name before its figures and what was checked after them.
    fn push_rows(&self, table: &mut Table, figures: usize, rows: impl Fn(&VariantCapacity) -> Vec<Vec<String>>) {
        for variant in &self.variants {
            let rows = if variant.correct { rows(variant) } else { vec![vec![INCORRECT.to_owned(); figures]] };
            let same = format!("{}{}", variant.checked, if variant.correct { "" } else { ": NO" });
            table.begin_group();
            for row in rows {
                let cells = std::iter::once(&variant.name).chain(&row).chain([&same]);
                table.push_row(cells.map(|cell| html! { (cell) }));
            }
        }
    }
}

/// Bars of one unit, in groups of one bar for each of the series.
struct Chart<'a> {
    title: &'static str,
    about: &'static str,
    /// What a bar of full width stands for, if none is longer.
    full: f64,
    series: Vec<String>,
    /// The bars of each group, by its name.
    groups: Vec<(&'a str, Vec<LabelledLength>)>,
}

/// A bar's length and what stands at its end; without a length there is only the text.
type LabelledLength = (Option<f64>, String);

impl Chart<'_> {
    fn drawn(&self) -> Markup {
        let fill = |place: usize| Fill::shade(Colour::Blue, place, self.series.len());
        let bar = |(place, (len, end)): (usize, &LabelledLength)| {
            let title = format!("{}: {end}", self.series[place]);
            let parts = len.map(|len| Part { fill: fill(place), len, title }).into_iter().collect();
            Bar { parts, end: end.clone() }
        };
        let groups = self
            .groups
            .iter()
            .map(|(name, bars)| Group { name: (*name).to_owned(), bars: bars.iter().enumerate().map(bar).collect() });
        let bars = Bars { title: self.title.to_owned(), full: self.full, groups: groups.collect() };
        html! {
            @if self.series.len() > 1 {
                (legend(self.series.iter().enumerate().map(|(place, name)| (fill(place), name.as_str()))))
            }
            (bars)
        }
    }
}

fn by_packing() -> [String; 2] {
    ["a record a line".to_owned(), "packed".to_owned()]
}

fn bar(filled_by_one_core: Filled) -> (Option<f64>, String) {
    (Some(filled_by_one_core.count), filled(filled_by_one_core))
}

fn notes<T: AsRef<str>>(notes: &[T]) -> Markup {
    html! { ul { @for note in notes { li { (note.as_ref()) } } } }
}

#[cfg(test)]
mod tests {
    use super::super::tests::capacity;

    #[test]
    fn the_page_needs_nothing_else_and_escapes_what_it_shows() {
        let page = capacity().to_html();
        assert!(!page.contains("http") && !page.contains("<script") && !page.contains("<link"));
        assert!(!page.contains("<bad>") && page.contains("&lt;bad&gt;"));
        assert_eq!(page.matches("<svg").count(), 5);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn what_is_wrong_has_no_figure() {
        let page = capacity().to_html();
        // Bars of four charts with two series and of one with one, and the rest of two rows of
        // tables.
        assert!(page.matches(super::INCORRECT).count() >= 8, "{page}");
        assert!(page.contains("lines: NO"));
    }
}
