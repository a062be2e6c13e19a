//! A blog: topics, countries, and whether it is read on a phone.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::Document;
use pixel_engine::report::document::{Blog, Shares};
use pixel_engine_html::{Align, Table, side_by_side};

use super::tables::named;
use super::{beacons, definition, scale};

pub(super) fn blog(report: &Document, blog: &Blog, top: usize) -> Markup {
    // Countries and devices have tables of these names for all beacons, bots included.
    let parts = [
        ("Topics", "topics", &blog.topics),
        ("Countries of readers", "countries", &blog.countries),
        ("Devices of readers", "devices", &blog.devices),
    ];
    let filled = parts.into_iter().filter(|(_, _, shares)| !shares.rows.is_empty());
    let section = |(title, name, of): (&str, &str, &Shares)| {
        html! {
            h3 { (title) }
            p.note {
                (definition(&blog.definitions, name))
                @if of.error > 0 {
                    " Not all names could be kept: each of them is right to ± " (Count(of.error)) "."
                }
            }
            (shares(report, title, of, top))
        }
    };
    html! {
        p {
            strong { (format!("{:.1}", blog.mobile_percent)) " % mobile" } ", which are " (Count(blog.mobile)) " "
            (beacons(report)) ". " (definition(&blog.definitions, "mobile"))
        }
        p {
            "All of this is without bots. Percentages are of the beacons that have a name."
            @if report.scale != 1.0 { " Scaled by " (scale(report)) "." }
        }
        (side_by_side(filled.map(section)))
    }
}

fn shares(report: &Document, title: &str, shares: &Shares, top: usize) -> Table {
    let most = shares.rows.iter().map(|share| share.beacons).max().unwrap_or(0);
    let mut table = Table::new(title).column("name", Align::Name).numbers([beacons(report), "%"]);
    let (shown, cut) = shares.rows.split_at(top.min(shares.rows.len()));
    for share in shown {
        table.push_row([
            named(&share.name, share.beacons, 0, most),
            html! { (Count(share.beacons)) },
            html! { (format!("{:.1}", share.percent)) },
        ]);
    }
    let others = shares.others + cut.iter().map(|share| share.beacons).sum::<u64>();
    if others > 0 {
        table.push_row([html! { em { "others" } }, html! { (Count(others)) }, html! {}]);
    }
    table
}
