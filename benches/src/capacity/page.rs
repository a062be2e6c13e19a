//! The capacity as a page: one file, no scripts, nothing from the network, light and dark as the reader's system is.

use std::fmt::Write;

use super::chart::{Chart, Group};
use super::text::{ABOUT_FILLING, INCORRECT, about_speed, filled, grouped};
use super::{Capacity, Filled, Rate, VariantCapacity};

const STYLE: &str = "\
:root { color-scheme: light dark; --text: #1c2126; --faint: #5b6570; --line: #d8dde2; --ground: #fff; --bar: #1a6fb5; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e8ec; --faint: #9aa5b0; --line: #363d45; --ground: #14181c; --bar: #5aa9e6; }
}
body { max-width: 800px; margin: 2rem auto; padding: 0 1rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin-bottom: .25rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .25rem; }
p, li { color: var(--faint); margin: .25rem 0; } ul { padding-left: 1.2rem; }
.warning { color: var(--text); border: 1px solid; padding: .25rem .75rem; border-radius: 4px; }
svg { display: block; width: 100%; height: auto; margin: .75rem 0; }
svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
svg .name { font-weight: 600; } .bar { fill: var(--bar); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; } td { white-space: nowrap; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
tr.first td { border-top: 2px solid var(--line); }
";

impl Capacity {
    /// The page.
    pub(super) fn to_html(&self) -> String {
        let title = format!("Capacity: {}", escaped(&self.machine.cpu));
        let machine = &self.machine;
        let load = self.load_average.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n\
             <h1>{title}</h1>\n<p>{} cores, {}, {}. pixel-engine {}, {}; load average before it {load}.</p>\n\
             <p>{}</p>\n",
            machine.cores,
            escaped(&machine.kernel),
            escaped(&machine.rustc),
            escaped(&machine.commit),
            escaped(&self.time),
            escaped(&self.data),
        );
        if self.quick {
            page += "<p class=\"warning\">A quick run: the figures mean little.</p>\n";
        }
        for (about, chart) in self.charts() {
            let _ = write!(page, "<h2>{}</h2>\n<p>{about}</p>\n{}", escaped(chart.title), chart.to_svg());
        }
        page + &self.tables() + "</html>\n"
    }

    /// Each with a sentence about it.
    fn charts(&self) -> [(&'static str, Chart<'_>); 5] {
        let cores = self.machine.cores;
        let more_threads: Vec<usize> = self
            .variants
            .first()
            .map_or(Vec::new(), |variant| variant.by_threads[1..].iter().map(|of| of.threads).collect());
        [
            (
                "One core counts the CPU time of all threads; all cores are measured by the clock.",
                self.chart("Lines a second", ["one core".to_owned(), format!("{cores} threads")], |variant| {
                    let rates = [variant.one_core, variant.all_cores().rate];
                    let text = |lines, megabytes| format!("{} ({} MB/s)", grouped(lines), grouped(megabytes));
                    rates.map(|rate| {
                        (Some(rate.lines_per_second), text(rate.lines_per_second, rate.megabytes_per_second))
                    })
                }),
            ),
            (
                "The speed with more worker threads by that with one. Full width is perfect scaling.",
                Chart {
                    full: cores as f64,
                    ..self.chart(
                        "Scaling",
                        more_threads.iter().map(|threads| format!("{threads} threads")),
                        |variant| {
                            let scaling = variant.by_threads[1..].iter().map(|threads| threads.scaling);
                            scaling.map(|times| (Some(times), format!("{times:.2}x"))).collect::<Vec<_>>()
                        },
                    )
                },
            ),
            (
                "Provisioned Kinesis shards, of 1 MiB and 1,000 records a second, that the lines of one core fill.",
                self.chart("Kinesis shards that one core fills", by_packing(), |variant| {
                    [variant.shards_unpacked, variant.shards_packed].map(bar)
                }),
            ),
            (
                "How many lines a second one shard takes: the more, the fewer shards for the same load.",
                self.chart("Lines a second in one shard", by_packing(), |variant| {
                    let lines = [variant.lines_per_shard_unpacked, variant.lines_per_shard_packed];
                    lines.map(|lines| (Some(lines), grouped(lines)))
                }),
            ),
            (
                "Direct PUT of one delivery stream: 5 MiB, 2,000 requests and 500,000 records a second.",
                self.chart("Firehose quotas that one core fills", ["packed".to_owned()], |variant| {
                    [variant.firehose_quotas.map_or_else(|| (None, "none: see below".to_owned()), bar)]
                }),
            ),
        ]
    }

    fn chart<'a, B: IntoIterator<Item = (Option<f64>, String)>>(
        &'a self,
        title: &'a str,
        series: impl IntoIterator<Item = String>,
        bars: impl Fn(&VariantCapacity) -> B,
    ) -> Chart<'a> {
        let group = |variant: &'a VariantCapacity| {
            let bars = bars(variant).into_iter();
            let bars = bars.map(|bar| if variant.correct { bar } else { (None, INCORRECT.to_owned()) });
            Group { name: &variant.name, bars: bars.collect() }
        };
        Chart {
            title,
            full: 0.0,
            series: series.into_iter().collect(),
            groups: self.variants.iter().map(group).collect(),
        }
    }

    fn tables(&self) -> String {
        let speeds = self.rows(4, |variant| {
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
        let filling = self.rows(6, |variant| {
            vec![vec![
                grouped(variant.record_bytes),
                filled(variant.shards_unpacked),
                filled(variant.shards_packed),
                grouped(variant.lines_per_shard_unpacked),
                grouped(variant.lines_per_shard_packed),
                variant.firehose_quotas.map_or_else(|| "-".to_owned(), filled),
            ]]
        });
        let columns = [
            "variant",
            "B a record",
            "shards, one a line",
            "shards, packed",
            "lines/s a shard, one a line",
            "lines/s a shard, packed",
            "Firehose quotas, packed",
            "same",
        ];
        let about_speed = about_speed(self.machine.cores);
        table(
            "Speeds",
            &["variant", "", "lines/s", "MB/s", "x", "same"],
            &speeds,
            about_speed.iter().map(String::as_str),
        ) + &table("What one core fills", &columns, &filling, ABOUT_FILLING)
    }

    /// The rows of each variant, with its name before and what was checked after its figures.
    fn rows(&self, figures: usize, rows: impl Fn(&VariantCapacity) -> Vec<Vec<String>>) -> String {
        let mut text = String::new();
        for variant in &self.variants {
            let rows = if variant.correct { rows(variant) } else { vec![vec![INCORRECT.to_owned(); figures]] };
            let same = format!("{}{}", variant.checked, if variant.correct { "" } else { ": NO" });
            for (index, row) in rows.iter().enumerate() {
                let class = if index == 0 { " class=\"first\"" } else { "" };
                let cells = std::iter::once(&variant.name).chain(row).chain([&same]);
                let cells: String = cells.map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
                let _ = writeln!(text, "<tr{class}>{cells}</tr>");
            }
        }
        text
    }
}

fn by_packing() -> [String; 2] {
    ["a record a line".to_owned(), "packed".to_owned()]
}

fn bar(filled_by_one_core: Filled) -> (Option<f64>, String) {
    (Some(filled_by_one_core.count), filled(filled_by_one_core))
}

fn table<'a>(title: &str, header: &[&str], rows: &str, about: impl IntoIterator<Item = &'a str>) -> String {
    let header: String = header.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
    let about: String = about.into_iter().map(|about| format!("<li>{}</li>\n", escaped(about))).collect();
    format!(
        "<h2>{title}</h2>\n<div class=\"wide\"><table>\n<tr>{header}</tr>\n{rows}</table></div>\n<ul>\n{about}</ul>\n"
    )
}

/// For text and attributes in double quotes.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
        // Bars of four charts with two series and of one with one, and the rest of two rows of tables.
        assert!(page.matches(super::INCORRECT).count() >= 8, "{page}");
        assert!(page.contains("lines: NO"));
    }
}
