//! Real-time lines beside those of the standard log of the same hours.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::{View, percent, rfc3339};
use crate::reconcile::{self, LineCounts, Pair, Seen, Side};
use crate::state::{Lines, State};

/// What a standard log has and the real-time log has not, and the other way round.
#[derive(Clone, Debug, Serialize)]
pub struct Reconciled {
    /// What is compared.
    pub definition: String,
    /// What came of it, in a sentence.
    pub summary: String,
    /// When the first hour that both logs cover begins; none without such an hour.
    pub first_hour: Option<String>,
    /// When the last one begins.
    pub last_hour: Option<String>,
    /// Whether every id was kept. If not, the numbers of ids come from a fair sample of them; those
    /// of lines are exact in any case.
    pub is_exact: bool,
    /// Of how many ids one was kept.
    pub one_in: u64,
    /// The standard error of `only_standard`, in percent.
    pub error_percent: f64,
    /// All hours that both cover.
    pub total: Compared,
    /// Lines of the standard log that came twice: standard_lines = standard_without_id + both +
    /// only_standard + this. None if not every id was kept.
    pub standard_doubled: Option<u64>,
    /// Lines of the real-time log that came twice.
    pub real_time_doubled: Option<u64>,
    /// Each of these hours.
    pub by_hour: Vec<ComparedHour>,
    /// Lines of the standard log in hours that are before or behind all of the real-time log's.
    pub standard_lines_outside: u64,
    /// Lines of the real-time log in hours that are before or behind all of the standard log's.
    pub real_time_lines_outside: u64,
    /// Lines of the standard log that have no time, and are in no hour.
    pub standard_lines_without_time: u64,
    /// Lines of the real-time log that have none.
    pub real_time_lines_without_time: u64,
    /// What became of the standard log's lines.
    pub standard_log: Lines,
    /// What to know about these numbers.
    pub notes: Vec<String>,
}

/// Lines and ids of both logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Compared {
    /// Lines of the standard log.
    pub standard_lines: u64,
    /// Those of them without an id.
    pub standard_without_id: u64,
    /// Lines of the real-time log.
    pub real_time_lines: u64,
    /// Those of them without an id.
    pub real_time_without_id: u64,
    /// Ids that both have.
    pub both: u64,
    /// Ids that only the standard log has: the real-time log misses them.
    pub only_standard: u64,
    /// Ids that only the real-time log has.
    pub only_real_time: u64,
    /// `only_standard` in percent of all ids of the standard log.
    pub missing_percent: f64,
}

/// The same for one hour.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedHour {
    /// When it begins, RFC 3339 in the time zone.
    pub begin: String,
    /// The same in seconds since 1970.
    pub begin_seconds: i64,
    /// What it has.
    #[serde(flatten)]
    pub compared: Compared,
}

pub(super) fn reconciled(state: &State, view: &View) -> Option<Reconciled> {
    let counted = state.reconciled.as_ref()?;
    let hours = covered(counted);
    let kept = ids_by_hour(&counted.ids.entries, hours.as_ref());
    let estimate = |ids: u64| counted.ids.estimate(ids);
    let compared = |pair: Pair, ids: &Ids| Compared {
        standard_lines: pair[Side::Standard as usize].lines,
        standard_without_id: pair[Side::Standard as usize].without_id,
        real_time_lines: pair[Side::RealTime as usize].lines,
        real_time_without_id: pair[Side::RealTime as usize].without_id,
        both: estimate(ids.both),
        only_standard: estimate(ids.only_standard),
        only_real_time: estimate(ids.only_real_time),
        missing_percent: percent(ids.only_standard, ids.both + ids.only_standard),
    };
    let begin = |hour: u32| rfc3339(i64::from(hour) * 3_600_000, &view.zone);
    let (mut all, mut all_ids, mut outside) = (Pair::default(), Ids::default(), [0, 0]);
    let mut by_hour = Vec::new();
    for (hour, pair) in &counted.hours {
        if !hours.as_ref().is_some_and(|hours| hours.contains(hour)) {
            outside.iter_mut().zip(pair).for_each(|(lines, counts)| *lines += counts.lines);
            continue;
        }
        for (sum, counts) in all.iter_mut().zip(pair) {
            sum.lines += counts.lines;
            sum.without_id += counts.without_id;
        }
        let ids = kept.get(hour).copied().unwrap_or_default();
        all_ids.add(ids);
        let begin_seconds = i64::from(*hour) * 3_600;
        by_hour.push(ComparedHour { begin: begin(*hour), begin_seconds, compared: compared(*pair, &ids) });
    }
    let total = compared(all, &all_ids);
    let doubled = |side: Side, only: u64| {
        let LineCounts { lines, without_id } = all[side as usize];
        counted.ids.is_exact().then(|| (lines - without_id).saturating_sub(all_ids.both + only))
    };
    let error_percent = 100.0 * counted.ids.error(all_ids.only_standard);
    Some(Reconciled {
        definition: "different values of x-edge-request-id in the hours (of UTC) from the later first to the earlier \
                     last hour of the two logs; an id that both have counts in its hour in the standard log"
            .to_owned(),
        summary: summary(hours.is_some(), &total, error_percent),
        first_hour: hours.as_ref().map(|hours| begin(*hours.start())),
        last_hour: hours.as_ref().map(|hours| begin(*hours.end())),
        is_exact: counted.ids.is_exact(),
        one_in: 1 << counted.ids.level,
        error_percent,
        total,
        standard_doubled: doubled(Side::Standard, all_ids.only_standard),
        real_time_doubled: doubled(Side::RealTime, all_ids.only_real_time),
        by_hour,
        standard_lines_outside: outside[Side::Standard as usize],
        real_time_lines_outside: outside[Side::RealTime as usize],
        standard_lines_without_time: counted.without_time[Side::Standard as usize],
        real_time_lines_without_time: counted.without_time[Side::RealTime as usize],
        standard_log: counted.standard_lines.clone(),
        notes: notes(state, counted),
    })
}

/// The hours from the later first to the earlier last one of the two logs. An hour between these
/// that only one has anything in is among them: a log that misses a whole hour misses its lines.
fn covered(counted: &reconcile::Reconciled) -> Option<RangeInclusive<u32>> {
    let of =
        |side: Side| counted.hours.iter().filter(move |(_, pair)| pair[side as usize].lines > 0).map(|(hour, _)| *hour);
    let first = of(Side::Standard).next()?.max(of(Side::RealTime).next()?);
    let last = of(Side::Standard).next_back()?.min(of(Side::RealTime).next_back()?);
    (first <= last).then_some(first..=last)
}

/// Ids that were kept.
#[derive(Clone, Copy, Default)]
struct Ids {
    both: u64,
    only_standard: u64,
    only_real_time: u64,
}

impl Ids {
    fn add(&mut self, more: Ids) {
        self.both += more.both;
        self.only_standard += more.only_standard;
        self.only_real_time += more.only_real_time;
    }
}

fn ids_by_hour(entries: &[(u64, Seen)], hours: Option<&RangeInclusive<u32>>) -> BTreeMap<u32, Ids> {
    let mut by_hour: BTreeMap<u32, Ids> = BTreeMap::new();
    let Some(hours) = hours else { return by_hour };
    for (_, seen) in entries {
        let hour = if seen.standard != 0 { seen.standard } else { seen.real_time };
        if !hours.contains(&hour) {
            continue;
        }
        let ids = by_hour.entry(hour).or_default();
        match seen {
            Seen { standard: 0, .. } => ids.only_real_time += 1,
            Seen { real_time: 0, .. } => ids.only_standard += 1,
            _ => ids.both += 1,
        }
    }
    by_hour
}

fn summary(has_hours: bool, total: &Compared, error_percent: f64) -> String {
    if !has_hours {
        return "no hour is in both logs: nothing can be compared".to_owned();
    }
    let Compared { both, only_standard, only_real_time, missing_percent, .. } = total;
    let error = if error_percent > 0.0 { format!(" ± {error_percent:.2} %") } else { String::new() };
    format!(
        "{only_standard}{error} of {} lines of the standard log are missing from the real-time log \
         ({missing_percent:.4} %); {only_real_time} lines of the real-time log are missing from the standard log",
        both + only_standard
    )
}

fn notes(state: &State, counted: &reconcile::Reconciled) -> Vec<String> {
    let mut notes = vec![
        "standard logs may come a day late, AWS says: compare hours that are over for longer".to_owned(),
        "in the first and in the last hour one of the logs may begin later, or end earlier, than the other".to_owned(),
        "lines without an id cannot be compared: they are counted, and in none of these sums".to_owned(),
    ];
    if state.defined.sampling < 100.0 {
        notes.push(format!(
            "the real-time log holds {} % of the requests: most of what it misses was never meant to be in it",
            state.defined.sampling
        ));
    }
    for (log, lines) in [("standard", &counted.standard_lines), ("real-time", &state.lines)] {
        if lines.bad > 0 {
            notes.push(format!("{} lines of the {log} log could not be read", lines.bad));
        }
        if !lines.unread_inputs.is_empty() {
            notes.push(format!(
                "{} inputs of the {log} log were not read, or not to their end",
                lines.unread_inputs.len()
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(of: &[(u32, u64, u64)]) -> reconcile::Reconciled {
        let lines = |lines| LineCounts { lines, without_id: 0 };
        let hours = of.iter().map(|(hour, standard, real_time)| (*hour, [lines(*standard), lines(*real_time)]));
        reconcile::Reconciled { hours: hours.collect(), ..reconcile::Reconciled::default() }
    }

    #[test]
    fn an_hour_that_one_log_misses_between_others_is_compared() {
        assert_eq!(covered(&hours(&[(1, 0, 5), (2, 4, 5), (3, 4, 0), (5, 0, 5), (6, 4, 5), (7, 4, 0)])), Some(2..=6));
        assert_eq!(covered(&hours(&[(1, 4, 0), (2, 0, 5)])), None);
        assert_eq!(covered(&hours(&[(1, 0, 5)])), None);
        let seen = |standard, real_time| (0, Seen { standard, real_time });
        let entries = [seen(2, 2), seen(3, 0), seen(0, 5), seen(0, 7), seen(1, 2), seen(2, 1)];
        let found = ids_by_hour(&entries, Some(&(2..=6)));
        let found: Vec<_> =
            found.into_iter().map(|(hour, ids)| (hour, ids.both, ids.only_standard, ids.only_real_time)).collect();
        assert_eq!(found, [(2, 2, 0, 0), (3, 0, 1, 0), (5, 0, 0, 1)]);
    }
}
