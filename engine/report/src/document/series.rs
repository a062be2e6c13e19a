//! Beacons and visitors by hour and by day.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Scale, View, rfc3339};
use crate::state::State;

/// Numbers by time.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// What is counted.
    pub definition: String,
    /// The standard error of `visitors`, in percent; small numbers are exact.
    pub visitors_error_percent: f64,
    /// In order, without gaps.
    pub rows: Vec<Moment>,
}

/// An hour or a day.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// Its beginning, RFC 3339 in the report's time zone.
    pub begin: String,
    /// The same in seconds since 1970.
    pub begin_seconds: i64,
    /// Beacons.
    pub beacons: u64,
    /// Those of them that known bots sent.
    pub bots: u64,
    /// Different visitors, without bots.
    pub visitors: u64,
}

/// The standard error of the sketches, 1.04 / sqrt(4096).
const VISITORS_ERROR_PERCENT: f64 = 1.6;

/// The most hours that are listed.
const MAX_HOURS: i64 = 400 * 24;

pub(super) fn by_hour(state: &State, view: &View, scale: Scale) -> Series {
    let definition = format!(
        "beacons with a time in the hour, and different visitors without bots; hours of {}",
        super::zone_name(&view.zone)
    );
    let span = state.totals.last.zip(state.totals.first).map_or(0, |(last, first)| (last - first) / 3_600_000);
    let rows = if state.hours.step_seconds() > 3_600 || span > MAX_HOURS {
        Vec::new()
    } else {
        rows(state, view, scale, |second| hour_of(second, &view.zone), 3_600)
    };
    Series { definition, visitors_error_percent: VISITORS_ERROR_PERCENT, rows }
}

pub(super) fn by_day(state: &State, view: &View, scale: Scale) -> Series {
    let definition = format!(
        "beacons with a time in the day, and different visitors without bots; days of {}",
        super::zone_name(&view.zone)
    );
    // 26 hours after the beginning of a day it is the next one, with and without a change of clocks.
    let rows = rows(state, view, scale, |second| day_of(second, &view.zone), 26 * 3_600);
    Series { definition, visitors_error_percent: VISITORS_ERROR_PERCENT, rows }
}

/// `of` gives the beginning of the piece that a time lies in; `past` seconds after it, the next one
/// has begun.
fn rows(state: &State, view: &View, scale: Scale, of: impl Fn(i64) -> i64, past: i64) -> Vec<Moment> {
    let pieces = state.hours.by(&of);
    let (Some(first), Some(last)) = (pieces.keys().next(), pieces.keys().next_back()) else { return Vec::new() };
    let mut rows = Vec::new();
    let mut begin = *first;
    while begin <= *last {
        let (beacons, visitors) = match pieces.get(&begin) {
            Some(piece) => (scale.counts(piece.beacons), piece.visitors.estimate()),
            None => Default::default(),
        };
        rows.push(Moment {
            begin: rfc3339(begin * 1_000, &view.zone),
            begin_seconds: begin,
            beacons: beacons.all,
            bots: beacons.bots,
            visitors,
        });
        begin = of(begin + past).max(begin + 1);
    }
    rows
}

/// When the hour began that a time lies in, in seconds since 1970.
pub(super) fn hour_of(second: i64, zone: &TimeZone) -> i64 {
    let offset = Timestamp::from_second(second).map_or(0, |time| i64::from(zone.to_offset(time).seconds()));
    second - (second + offset).rem_euclid(3_600)
}

/// When the day began that a time lies in.
fn day_of(second: i64, zone: &TimeZone) -> i64 {
    let begin = Timestamp::from_second(second).and_then(|time| time.to_zoned_datetime(zone.clone()).start_of_day());
    begin.map_or(second, |begin| begin.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    #[test]
    fn hours_and_days_follow_the_clock_of_the_zone() {
        let zone = |name| TimeZone::get(name).unwrap();
        // 2026-01-05 08:10:00 UTC.
        let second = 1_767_600_600;
        assert_eq!(hour_of(second, &TimeZone::UTC), second - 600);
        assert_eq!(hour_of(second, &zone("Asia/Kathmandu")), second - 10 * 60 + 15 * 60 - HOUR, "5:45 ahead");
        assert_eq!(day_of(second, &zone("Europe/Zurich")), second - 600 - 9 * HOUR);
    }

    #[test]
    fn a_day_of_23_or_25_hours_is_one_day() {
        let zone = TimeZone::get("Europe/Zurich").unwrap();
        for (date, hours) in [("2026-03-29T00:00:00+01:00", 23), ("2026-10-25T00:00:00+02:00", 25)] {
            let begin = date.parse::<Timestamp>().unwrap().as_second();
            assert_eq!(day_of(begin + 26 * HOUR, &zone), begin + hours * HOUR, "{date}");
            assert_eq!(day_of(begin + hours * HOUR - 1, &zone), begin, "{date}");
        }
    }
}
