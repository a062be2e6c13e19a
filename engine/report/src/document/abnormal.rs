//! What is abnormal: rules with a named cause. A count of 0 is reported too: the rule was applied.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::series::Moment;
use super::{Scale, Series, View, percent, rfc3339};
use crate::rules;
use crate::sighting::Sighting;
use crate::state::State;
use crate::visitor::Minute;

/// Every rule.
#[derive(Clone, Debug, Serialize)]
pub struct Abnormal {
    /// In a fixed order.
    pub rules: Vec<Rule>,
}

/// A rule, and what broke it.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    /// Its key.
    pub name: &'static str,
    /// What it counts.
    pub definition: String,
    /// How many.
    pub count: u64,
    /// In percent of all beacons; `None` for rules that count something else.
    pub percent: Option<f64>,
    /// The standard error of the count in percent, where it is an estimate.
    pub error_percent: f64,
    /// The first events that broke it, at most three.
    pub examples: Vec<Event>,
    /// What there is to say of each that is no event: the hours, the bursts.
    pub notes: Vec<String>,
}

/// An event as a report shows it, without any address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// RFC 3339 in the report's time zone; `None` without a time.
    pub time: Option<String>,
    /// The event that it names.
    pub event: String,
    /// The page.
    pub page: String,
    /// The country's code.
    pub country: String,
    /// The status.
    pub status: String,
    /// The user agent.
    pub agent: String,
    /// The query, decoded.
    pub query: String,
}

impl Event {
    pub(super) fn of(sighting: &Sighting, zone: &TimeZone) -> Event {
        let Sighting { time, event, page, country, status, agent, query } = sighting.clone();
        let time = (time != 0).then(|| rfc3339(time, zone));
        Event { time, event, page, country, status, agent, query }
    }
}

/// The most notes of a rule.
const MAX_NOTES: usize = 5;

pub(super) fn abnormal(state: &State, by_hour: &Series, view: &View, scale: Scale) -> Abnormal {
    let totals = &state.totals;
    let rule = |rule: &rules::Rule| {
        let count = totals.broken[*rule as usize];
        let examples = totals.examples[*rule as usize].earliest_first();
        Rule {
            name: rule.name(),
            definition: rule.about().to_owned(),
            count: scale.count(count),
            percent: Some(percent(count, totals.beacons.all)),
            error_percent: 0.0,
            examples: examples.map(|event| Event::of(event, &view.zone)).collect(),
            notes: Vec::new(),
        }
    };
    let mut rules: Vec<Rule> = rules::Rule::ALL.iter().map(rule).collect();
    rules.push(doubled_ids(state));
    rules.push(bursts(state, view));
    rules.push(far_hours(&by_hour.rows));
    Abnormal { rules }
}

/// Lines beyond the first of each request id. What the window of `--dedup-window` left out before
/// the report counts as well.
fn doubled_ids(state: &State) -> Rule {
    let ids = &state.ids;
    let doubled: u64 = ids.entries.iter().map(|(_, count)| u64::from(*count) - 1).sum();
    let count = ids.estimate(doubled) + state.lines.duplicates;
    Rule {
        name: "doubled_id",
        definition: "lines whose x-edge-request-id an earlier line has: the log delivered them twice".to_owned(),
        count,
        percent: Some(percent(count, state.totals.beacons.all + state.lines.duplicates)),
        error_percent: 100.0 * ids.error(doubled),
        examples: Vec::new(),
        notes: Vec::new(),
    }
}

fn bursts(state: &State, view: &View) -> Rule {
    let people = || state.visitors.entries.iter().map(|(_, visitor)| visitor).filter(|visitor| !visitor.is_bot);
    let mut busiest: Vec<Minute> =
        people().filter(|visitor| visitor.minutes.bursts > 0).map(|visitor| visitor.minutes.busiest).collect();
    busiest.sort_by_key(|minute| Reverse(*minute));
    let note = |minute: &Minute| {
        let begin = rfc3339(i64::from(minute.number) * 60_000, &view.zone);
        format!("{} beacons of one visitor in the minute from {begin}", minute.events)
    };
    let count = people().map(|visitor| u64::from(visitor.minutes.bursts)).sum();
    Rule {
        name: "burst",
        definition: format!(
            "minutes of the clock in which one visitor has more than {} beacons; without bots",
            state.defined.burst
        ),
        count: state.visitors.estimate(count),
        percent: None,
        error_percent: 100.0 * state.visitors.error(count),
        examples: Vec::new(),
        notes: busiest.iter().take(MAX_NOTES).map(note).collect(),
    }
}

/// Hours whose beacons are far from those of their like: the same hour of other days, or all other
/// hours if there are too few days. The first and the last hour are not complete and count for
/// nothing. Robust statistics: half of the hours may be far off, and still be told.
fn far_hours(rows: &[Moment]) -> Rule {
    /// So many days have an hour of their own to compare with.
    const MIN_DAYS: usize = 5;
    const MIN_HOURS: usize = 12;
    /// How many deviations are far; as normal as counts are, once in 500 million hours.
    const FAR: f64 = 6.0;
    let whole = rows.get(1..rows.len().saturating_sub(1)).unwrap_or_default();
    let mut like: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for moment in whole {
        like.entry(hour_of_day(moment)).or_default().push(moment.beacons as f64);
    }
    let all: Vec<f64> = whole.iter().map(|moment| moment.beacons as f64).collect();
    let far = whole.iter().filter_map(|moment| {
        let same = &like[hour_of_day(moment)];
        let (like, what) =
            if same.len() >= MIN_DAYS { (same, "this hour of other days") } else { (&all, "other hours") };
        if like.len() < MIN_DAYS.max(if what == "other hours" { MIN_HOURS } else { 0 }) {
            return None;
        }
        let middle = median(like.clone());
        let deviations = like.iter().map(|beacons| (beacons - middle).abs()).collect();
        // 1.4826 makes it the standard deviation of what is normal; counts vary by their root at least.
        let deviation = (1.4826 * median(deviations)).max(middle.sqrt()).max(1.0);
        let distance = (moment.beacons as f64 - middle) / deviation;
        let note = || format!("{}: {} beacons, and {middle} in {what}", moment.begin, moment.beacons);
        (distance.abs() > FAR).then(|| (distance.abs(), note()))
    });
    let mut far: Vec<(f64, String)> = far.collect();
    let count = far.len() as u64;
    far.sort_by(|one, other| other.0.total_cmp(&one.0));
    Rule {
        name: "far_hour",
        definition: format!(
            "hours with a number of beacons more than {FAR} deviations (1.4826 times the median absolute deviation, or \
             the root of the median) from the median of the same hour of other days, or of all hours with fewer than \
             {MIN_DAYS} days"
        ),
        count,
        percent: None,
        error_percent: 0.0,
        examples: Vec::new(),
        notes: far.into_iter().take(MAX_NOTES).map(|(_, note)| note).collect(),
    }
}

/// `08` of `2026-01-05T08:00:00+00:00`.
fn hour_of_day(moment: &Moment) -> &str {
    moment.begin.get(11..13).unwrap_or_default()
}

/// The middle one, or the mean of the two in the middle; 0 of none.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => 0.0,
        len if len % 2 == 1 => numbers[len / 2],
        len => (numbers[len / 2 - 1] + numbers[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(days: i64, beacons: impl Fn(i64) -> u64) -> Vec<Moment> {
        let moment = |hour: i64| Moment {
            begin: rfc3339(hour * 3_600_000, &TimeZone::UTC),
            begin_seconds: hour * 3_600,
            beacons: beacons(hour),
            bots: 0,
            visitors: 0,
        };
        (0..days * 24).map(moment).collect()
    }

    #[test]
    fn an_hour_is_far_from_the_same_hour_of_other_days() {
        // Busy at noon, every day; at 03:00 of the fourth day as busy as that.
        let usual = |hour: i64| if hour % 24 == 12 { 10_000 } else { 1_000 + (hour as u64 * 37) % 50 };
        let rule = far_hours(&hours(7, |hour| if hour == 75 { 10_000 } else { usual(hour) }));
        assert_eq!(rule.count, 1);
        assert!(rule.notes[0].starts_with("1970-01-04T03:00:00+00:00: 10000 beacons"), "{:?}", rule.notes);
        assert_eq!(far_hours(&hours(7, usual)).count, 0);
    }

    #[test]
    fn with_few_days_an_hour_is_far_from_all_others() {
        let rule = far_hours(&hours(1, |hour| if hour == 5 { 0 } else { 1_000 }));
        assert_eq!((rule.count, rule.notes.len()), (1, 1));
        assert_eq!(far_hours(&hours(0, |_| 1)).count, 0);
        assert_eq!(far_hours(&hours(1, |hour| hour as u64 % 3)).count, 0, "small numbers vary");
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
