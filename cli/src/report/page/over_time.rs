//! Beacons and visitors over time.

use indicatif::HumanCount as Count;
use jiff::civil::Date;
use maud::{Markup, Render, html};
use pixel_engine::report::Document;
use pixel_engine::report::document::Moment;
use pixel_engine_html::chart::{Colour, Column, Columns, Fill, legend, with_numbers};

use super::tables::by_day;
use super::{scale, sentence};

/// So many hours are drawn, which are 14 days and the hour by which clocks change; more, by day.
pub(super) const MAX_HOURS: usize = 14 * 24 + 1;

pub(super) fn over_time(report: &Document) -> Markup {
    let is_hourly = (1..=MAX_HOURS).contains(&report.by_hour.rows.len());
    let (series, step) = if is_hourly { (&report.by_hour, "hour") } else { (&report.by_day, "day") };
    if series.rows.is_empty() {
        return html! {};
    }
    let text: fn(u64) -> String = |count| Count(count).to_string();
    let chart = |title: &str, height: f64, parts: Vec<(Fill, &'static str)>, counts: fn(&Moment) -> Vec<u64>| {
        let column = |(moment, tick): (&Moment, Option<String>)| Column {
            name: if is_hourly { hour(&moment.begin) } else { day(&moment.begin).to_owned() },
            tick,
            counts: counts(moment),
        };
        let begins: Vec<&str> = series.rows.iter().map(|moment| &*moment.begin).collect();
        let columns = series.rows.iter().zip(ticks(&begins, is_hourly)).map(column).collect();
        let chart = Columns { title: format!("{title} by {step}"), x_name: step, parts, text, height, columns };
        with_numbers(&chart, &chart.numbers())
    };
    let of_beacons = vec![(Colour::Blue.into(), "not from bots"), (Colour::Grey.into(), "from bots")];
    let key = legend(of_beacons.iter().copied());
    html! {
        p { (sentence(&series.definition)) }
        h3 { "Beacons by " (step) }
        @if report.scale != 1.0 { p.note { "Scaled by " (scale(report)) "." } }
        (key)
        (chart("Beacons", 240.0, of_beacons, |moment| vec![moment.beacons.saturating_sub(moment.bots), moment.bots]))
        h3 { "Visitors by " (step) }
        p.note {
            "± " (series.visitors_error_percent) " % (standard error); small numbers are exact. Who comes in two "
            (step) "s counts in both."
        }
        (chart("Visitors", 180.0, vec![(Colour::Green.into(), "visitors")], |moment| vec![moment.visitors]))
        @if is_hourly && report.by_day.rows.len() > 1 {
            h3 { "By day" }
            p.note { (sentence(&report.by_day.definition)) " Visitors ± " (report.by_day.visitors_error_percent) "\u{a0}%." }
            (by_day(report).render())
        }
    }
}

/// What stands below each moment, by when it begins: days, and hours of day where there is room.
pub(super) fn ticks(begins: &[&str], is_hourly: bool) -> Vec<Option<String>> {
    const MOST: usize = 13;
    let hour_of_day = |begin: &str| begin.get(11..13).and_then(|hour| hour.parse::<usize>().ok());
    let every = if is_hourly {
        [1, 3, 6, 12, 24].into_iter().find(|every| begins.len() / every < MOST).unwrap_or(24)
    } else {
        begins.len().div_ceil(MOST)
    };
    let tick = |(place, begin): (usize, &&str)| match hour_of_day(begin) {
        Some(hour) if is_hourly => (hour % every == 0).then(|| match hour {
            0 => date(begin, "%-d %b"),
            _ => format!("{hour:02}:00"),
        }),
        _ => (place % every == 0).then(|| date(begin, "%-d %b")),
    };
    begins.iter().enumerate().map(tick).collect()
}

pub(super) fn day(begin: &str) -> &str {
    begin.get(..10).unwrap_or(begin)
}

/// With its offset, as an hour comes twice when clocks are set back.
pub(super) fn hour(begin: &str) -> String {
    let time = begin.get(11..16).unwrap_or_default();
    let offset = begin.get(19..).unwrap_or_default();
    format!("{} {time} {offset}", date(begin, "%a %Y-%m-%d"))
}

fn date(begin: &str, format: &str) -> String {
    match day(begin).parse::<Date>() {
        Ok(date) => date.strftime(format).to_string(),
        Err(_) => day(begin).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks_of(begins: impl Iterator<Item = String>, is_hourly: bool) -> Vec<Option<String>> {
        let begins: Vec<String> = begins.collect();
        ticks(&begins.iter().map(String::as_str).collect::<Vec<&str>>(), is_hourly)
    }

    #[test]
    fn ticks_are_as_close_as_there_is_room() {
        let hours = |days: usize| {
            let begin = |hour| format!("2026-01-{:02}T{:02}:00:00+00:00", 5 + hour / 24, hour % 24);
            ticks_of((0..days * 24).map(begin), true).into_iter().flatten().collect::<Vec<String>>()
        };
        assert_eq!(hours(1), ["5 Jan", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]);
        assert_eq!(hours(3)[..5], ["5 Jan", "06:00", "12:00", "18:00", "6 Jan"]);
        assert_eq!(hours(14).len(), 14);
        let ticks = ticks_of((1..=31).map(|day| format!("2026-03-{day:02}T00:00:00+01:00")), false);
        assert_eq!(ticks.iter().flatten().count(), 11);
        assert_eq!(ticks[3].as_deref(), Some("4 Mar"));
    }

    #[test]
    fn an_hour_that_comes_twice_has_two_names() {
        let names = ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"].map(hour);
        assert_eq!(names, ["Sun 2026-10-25 02:00 +02:00", "Sun 2026-10-25 02:00 +01:00"]);
    }
}
