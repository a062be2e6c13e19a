//! Two logs of the same requests: what one has and the other has not.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::Lines;
use pixel_engine::report::document::{Compared, ComparedHour, Reconciled};
use pixel_engine_html::chart::{Colour, Column, Columns, legend, with_numbers};
use pixel_engine_html::{Align, Table};

use super::headline::bad_lines;
use super::over_time::{self, hour, ticks};
use super::{counted, notes, sentence};

/// At most `top` hours are listed: those that miss most lines.
pub(super) fn reconciled(reconciled: &Reconciled, top: usize) -> Markup {
    let hours = &reconciled.by_hour;
    let mut listed: Vec<&ComparedHour> = hours.iter().collect();
    if listed.len() > top {
        listed.sort_by_key(|hour| std::cmp::Reverse(hour.compared.only_standard));
        listed.truncate(top);
        listed.sort_by_key(|hour| hour.begin_seconds);
    }
    html! {
        p { strong { (sentence(&reconciled.summary)) } }
        @if !reconciled.is_exact {
            p.warning {
                "Not all ids could be kept: numbers of ids are estimates from one of " (Count(reconciled.one_in)) "."
            }
        }
        (standard_log(&reconciled.standard_log))
        p { "Compared are " (reconciled.definition) "." }
        @if (2..=over_time::MAX_HOURS).contains(&hours.len()) {
            h3 { "Lines that only one log has, by hour" }
            (chart(hours))
        }
        h3 { "Lines of both logs by hour" }
        p.note {
            "Of each log, its lines; of the ids in these, how many both logs have and only one has. Missing is what only \
            the standard log has, in percent of all of its ids."
            @if listed.len() < hours.len() {
                " Of " (Count(hours.len() as u64)) " hours, these miss most; all are in the JSON and the CSV."
            }
        }
        (by_hour(&reconciled.total, &listed))
        p {
            "Without an id: " (Count(reconciled.total.standard_without_id)) " standard, "
            (Count(reconciled.total.real_time_without_id)) " real-time. Outside of these hours: "
            (Count(reconciled.standard_lines_outside)) " standard, "
            (Count(reconciled.real_time_lines_outside)) " real-time. Without a time: "
            (Count(reconciled.standard_lines_without_time)) " standard, "
            (Count(reconciled.real_time_lines_without_time)) " real-time."
        }
        (notes(&reconciled.notes))
    }
}

/// What became of the lines of the standard log.
fn standard_log(lines: &Lines) -> Markup {
    let table = bad_lines("Lines of the standard log that could not be read", lines);
    html! {
        p {
            (counted(lines.lines_in, "line of the standard log was", "lines of the standard log were")) " read: "
            (Count(lines.counted)) " are counted, " (Count(lines.filtered)) " were filtered out, " (Count(lines.bad))
            " could not be read."
        }
        @if lines.bad > 0 { div.warning { (table) } }
        @if !lines.unread_inputs.is_empty() {
            div.warning {
                p { "Not read to the end:" }
                ul { @for input in &lines.unread_inputs { li { (input) } } }
            }
        }
    }
}

fn chart(hours: &[ComparedHour]) -> Markup {
    let begins: Vec<&str> = hours.iter().map(|hour| &*hour.begin).collect();
    let column = |(of, tick): (&ComparedHour, Option<String>)| Column {
        name: hour(&of.begin),
        tick,
        counts: vec![of.compared.only_standard, of.compared.only_real_time],
    };
    let parts = vec![
        (Colour::Bad.into(), "missing from the real-time log"),
        (Colour::Grey.into(), "missing from the standard log"),
    ];
    let key = legend(parts.iter().copied());
    let chart = Columns {
        title: "Lines that only one log has by hour".to_owned(),
        x_name: "hour",
        parts,
        text: |count| Count(count).to_string(),
        height: 200.0,
        columns: hours.iter().zip(ticks(&begins, true)).map(column).collect(),
    };
    html! { (key) (with_numbers(&chart, &chart.numbers())) }
}

fn by_hour(total: &Compared, hours: &[&ComparedHour]) -> Table {
    let table = Table::new("Lines of both logs by hour").column("hour", Align::Text);
    let mut table = table.numbers(["standard", "real-time", "in both", "only standard", "only real-time", "missing"]);
    table.push_row(row("all hours".to_owned(), total));
    table.begin_group();
    for of in hours {
        table.push_row(row(hour(&of.begin), &of.compared));
    }
    table
}

fn row(name: String, compared: &Compared) -> [Markup; 7] {
    let count = |count: u64| html! { (Count(count)) };
    [
        html! { (name) },
        count(compared.standard_lines),
        count(compared.real_time_lines),
        count(compared.both),
        count(compared.only_standard),
        count(compared.only_real_time),
        html! { (format!("{:.3} %", compared.missing_percent)) },
    ]
}
