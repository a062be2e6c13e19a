//! The live pages of the admin listener: documents without data, and scripts that fill them in.

use maud::{DOCTYPE, Markup, html};
use pixel_engine::serve::admin::{DrawnReport, Page, Pages};

use crate::report::page::body;

/// All of them.
pub(crate) fn pages() -> Pages {
    Pages {
        pipelines: Page {
            html: document(&Shell {
                title: "pixel-engine",
                name: "page",
                elsewhere: "/metrics",
                heading: html! { h1 { "pixel-engine" } },
                template: html! { template #pipeline { (pipeline()) } },
            }),
            style: style(include_str!("page.css")),
            script: concat!(include_str!("live.js"), include_str!("page.js")),
        },
        report: Page {
            html: document(&Shell {
                title: "Report – pixel-engine",
                name: "report",
                elsewhere: "/report.json",
                // The report brings a heading of its own.
                heading: html! { p { a href="." { "pixel-engine" } } },
                template: html! {},
            }),
            style: style(include_str!("report.css")),
            script: concat!(include_str!("live.js"), include_str!("report.js")),
        },
        draw_report,
    }
}

fn style(own: &str) -> String {
    [pixel_engine_html::STYLE, include_str!("live.css"), own].concat()
}

/// A page that a script fills in.
struct Shell {
    title: &'static str,
    /// That of its style sheet and its script.
    name: &'static str,
    /// Where the numbers are without a script.
    elsewhere: &'static str,
    heading: Markup,
    /// What the script makes copies of.
    template: Markup,
}

fn document(shell: &Shell) -> String {
    let Shell { title, name, elsewhere, heading, template } = shell;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Otherwise browsers ask for an icon that is not there.
                link rel="icon" href="data:,";
                link rel="stylesheet" href={ (name) ".css" };
                script src={ (name) ".js" } defer {}
                title { (title) }
            }
            body {
                header {
                    (heading)
                    // Said aloud when it changes, which is rare; the numbers below are not.
                    p #connection role="status" { "Connecting…" }
                }
                main {
                    noscript { p.warning { "This page needs JavaScript; the numbers are also at " (elsewhere) "." } }
                    form #login hidden {
                        label for="token" { "Token of the admin listener" }
                        input #token type="password" autocomplete="off" required;
                        button { "Show the numbers" }
                    }
                    div #live {}
                }
                (template)
            }
        }
    };
    page.into_string() + "\n"
}

/// A report as `report --html` draws it, below the names of all that there are.
fn draw_report(drawn: &DrawnReport<'_>) -> String {
    let heading = html! {
        h1 { "Beacon report" }
        @if drawn.pipelines.len() > 1 {
            nav aria-label="Pipelines" {
                @for (name, address) in drawn.pipelines {
                    a href=(address) aria-current=[(name == drawn.pipeline).then_some("page")] { (name) }
                }
            }
        } @else {
            p { "Pipeline " (drawn.pipeline) }
        }
    };
    heading.into_string() + &body(drawn.document, drawn.rows).into_string()
}

/// A pipeline; the script fills in what has a `data-is`.
fn pipeline() -> Markup {
    let number = |name: &str, is: &str| {
        html! { div { dt { (name) } dd data-is=(is) { "–" } } }
    };
    html! {
        section.pipeline {
            h2 { span data-is="name" {} " " span.state data-is="state" {} }
            p data-is="target" {}
            p { a data-is="report" hidden { "What its beacons say" } }
            ul.troubles data-is="troubles" {}
            h3 { "Throughput" }
            dl.tiles {
                (number("lines a second", "line_rate"))
                (number("of log a second", "byte_rate"))
                (number("records", "records"))
                (number("requests", "requests"))
            }
            svg.spark viewBox="0 0 240 40" preserveAspectRatio="none" role="img" {
                title { "Lines a second in the last two minutes" }
                polyline points="" {}
            }
            h3 { "Lines" }
            dl.tiles {
                (number("in", "lines_in"))
                (number("shipped", "lines_shipped"))
                (number("filtered", "lines_filtered"))
                (number("quarantined", "lines_quarantined"))
                (number("put into the spool", "lines_spooled"))
                (number("left by failed runs", "lines_undelivered"))
            }
            h3 { "Backlog" }
            dl.tiles {
                (number("lines on their way", "lines_open"))
                (number("written, not acknowledged", "lag"))
                (number("in the spool", "spool"))
                (number("oldest batch there", "spool_age"))
                (number("in the journal", "journal"))
                (number("messages of the queue", "queue"))
            }
            h3 { "Errors" }
            dl.tiles data-is="failures" {}
            h3 { "Saved so far by packing" }
            div data-is="savings" {}
            details {
                summary { "Recent bad lines (" span data-is="bad_line_count" { "0" } ")" }
                ol.bad data-is="bad_lines" {}
            }
        }
    }
}
