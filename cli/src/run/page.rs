//! The live page of the admin listener: a document without data, and a script that fills it in.

use maud::{DOCTYPE, Markup, html};
use pixel_engine::serve::admin::Page;

/// The page.
pub(super) fn page() -> Page {
    let style = pixel_engine_html::STYLE.to_owned() + include_str!("page.css");
    Page { html: document().into_string() + "\n", style, script: include_str!("page.js") }
}

fn document() -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Otherwise browsers ask for an icon that is not there.
                link rel="icon" href="data:,";
                link rel="stylesheet" href="page.css";
                script src="page.js" defer {}
                title { "pixel-engine" }
            }
            body {
                header {
                    h1 { "pixel-engine" }
                    // Said aloud when it changes, which is rare; the numbers below are not.
                    p #connection role="status" { "Connecting…" }
                }
                main {
                    noscript { p.warning { "This page needs JavaScript; the numbers are also at /metrics." } }
                    form #login hidden {
                        label for="token" { "Token of the admin listener" }
                        input #token type="password" autocomplete="off" required;
                        button { "Show the pipelines" }
                    }
                    div #pipelines {}
                }
                template #pipeline { (pipeline()) }
            }
        }
    }
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
