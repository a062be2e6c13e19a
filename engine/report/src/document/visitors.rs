//! Different visitors, their sessions, and how far they came along the funnel.

use std::collections::HashMap;

use serde::Serialize;

use super::{View, percent};
use crate::beacons::page_hash;
use crate::funnel::{Funnel, walk};
use crate::sample::Kepts;
use crate::state::{Dimension, State};
use crate::visitor::{PageAt, Session, Visitor};

/// How many different visitors.
#[derive(Clone, Debug, Serialize)]
pub struct Visitors {
    /// Who counts as one visitor.
    pub definition: String,
    /// Visitors, without bots.
    pub people: u64,
    /// Visitors of which any beacon came from a known bot.
    pub bots: u64,
    /// Whether every visitor was kept. If not, these numbers and those of sessions and funnels come
    /// from a fair sample of the visitors.
    pub is_exact: bool,
    /// Of how many visitors in the log one was kept.
    pub one_in: u64,
    /// The standard error of `people`, in percent.
    pub error_percent: f64,
    /// Beacons that say nothing of their visitor.
    pub beacons_without: u64,
}

/// What visitors did without a longer pause; bots have none.
#[derive(Clone, Debug, Serialize)]
pub struct Sessions {
    /// What a session is.
    pub definition: String,
    /// How many.
    pub sessions: u64,
    /// The standard error of `sessions`, in percent; 0 when every visitor was kept.
    pub error_percent: f64,
    /// Those of one beacon only.
    pub of_one_beacon: u64,
    /// Beacons in a session, on average.
    pub mean_beacons: f64,
    /// From the first to the last beacon, on average, in seconds.
    pub mean_seconds: f64,
    /// Half took no longer, in seconds.
    pub median_seconds: f64,
    /// The pages that sessions began on.
    pub entries: Vec<PageCount>,
    /// The pages that they ended on.
    pub exits: Vec<PageCount>,
}

/// A page, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageCount {
    /// The page, or `(other pages)` for those that have no name in the report.
    pub page: String,
    /// How many sessions or visitors.
    pub count: u64,
}

/// How far visitors came.
#[derive(Clone, Debug, Serialize)]
pub struct FunnelReport {
    /// What counts as a step.
    pub definition: String,
    /// Visitors, without bots, that took any of the steps.
    pub visitors: u64,
    /// The standard error of `visitors`, in percent; 0 when every visitor was kept.
    pub error_percent: f64,
    /// Each step.
    pub steps: Vec<FunnelStep>,
    /// Events that were steps and could not be kept: of visitors with more than 100,000 of them.
    pub dropped_events: u64,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct FunnelStep {
    /// As it was asked for.
    pub step: String,
    /// Visitors that reached it.
    pub visitors: u64,
    /// The standard error of `visitors`, in percent; 0 when every visitor was kept.
    pub error_percent: f64,
    /// In percent of those that reached the first step.
    pub percent_of_first: f64,
    /// In percent of those that reached the step before.
    pub percent_of_previous: f64,
    /// Half of them took no longer to it from the step before, in seconds; 0 for the first.
    pub median_seconds: f64,
    /// Nine of ten took no longer.
    pub p90_seconds: f64,
    /// Visitors that reached it and not the next.
    pub left: u64,
    /// The last page of the last session of these.
    pub left_on: Vec<PageCount>,
}

/// The most pages that are named as entries and exits.
const MAX_PAGES: usize = 10;

/// Pages by their hashes.
pub(super) struct PageNames(HashMap<u64, String>);

impl PageNames {
    pub(super) fn of(state: &State) -> PageNames {
        let rows = state.top(Dimension::Page).rows();
        PageNames(rows.into_iter().map(|row| (page_hash(&row.name), row.name)).collect())
    }

    fn most(&self, pages: impl Iterator<Item = PageAt>, sample: &Kepts<Visitor>, max: usize) -> Vec<PageCount> {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for page in pages.filter(|page| page.page().is_some()) {
            let name = page.page().and_then(|hash| self.0.get(&hash)).map_or("(other pages)", String::as_str);
            *counts.entry(name).or_default() += 1;
        }
        let mut pages: Vec<PageCount> = counts
            .into_iter()
            .map(|(page, count)| PageCount { page: page.to_owned(), count: sample.estimate(count) })
            .collect();
        pages.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.page.cmp(&other.page)));
        pages.truncate(max);
        pages
    }
}

/// Who is no bot.
pub(super) fn people(sample: &Kepts<Visitor>) -> impl Iterator<Item = &Visitor> + Clone {
    sample.entries.iter().map(|(_, visitor)| visitor).filter(|visitor| !visitor.is_bot)
}

pub(super) fn visitors(state: &State) -> Visitors {
    let sample = &state.visitors;
    let people = people(sample).count() as u64;
    Visitors {
        definition: format!(
            "different values of {}; without one, different pairs of c-ip and cs-user-agent, hashed with a secret salt",
            state.defined.visitor
        ),
        people: sample.estimate(people),
        bots: sample.estimate(sample.entries.len() as u64 - people),
        is_exact: sample.is_exact(),
        one_in: 1 << sample.level,
        error_percent: 100.0 * sample.error(people),
        beacons_without: state.totals.without_visitor,
    }
}

pub(super) fn sessions(state: &State, names: &PageNames, view: &View) -> Sessions {
    let sample = &state.visitors;
    let sessions = || people(sample).flat_map(|visitor| &visitor.sessions);
    let mut millis: Vec<i64> = sessions().map(|session| session.end - session.begin).collect();
    millis.sort_unstable();
    let count = millis.len() as u64;
    let squares = people(sample).map(|visitor| (visitor.sessions.len() as f64).powi(2)).sum();
    let mean = |sum: f64| if count == 0 { 0.0 } else { sum / count as f64 };
    let pages = |page: fn(&Session) -> PageAt| names.most(sessions().map(page), sample, view.top.min(MAX_PAGES));
    Sessions {
        definition: format!(
            "beacons of one visitor with no pause longer than {} between them; without bots",
            duration(state.defined.session_gap_millis)
        ),
        sessions: sample.estimate(count),
        error_percent: 100.0 * sample.error_of_sum(count as f64, squares),
        of_one_beacon: sample.estimate(sessions().filter(|session| session.events == 1).count() as u64),
        mean_beacons: mean(sessions().map(|session| session.events as f64).sum()),
        mean_seconds: mean(millis.iter().sum::<i64>() as f64 / 1_000.0),
        median_seconds: quantile_seconds(&millis, 0.5),
        entries: pages(|session| session.entry),
        exits: pages(|session| session.exit),
    }
}

pub(super) fn funnel(state: &State, names: &PageNames) -> Option<FunnelReport> {
    let text = state.defined.funnel.as_ref()?;
    let funnel: Funnel = text.parse().expect("it was one when the lines were counted");
    let steps: Vec<&str> = funnel.steps().collect();
    let (sample, gap) = (&state.visitors, state.defined.funnel_gap_millis?);
    let mut took: Vec<Vec<i64>> = vec![Vec::new(); steps.len()];
    let mut left_on: Vec<Vec<PageAt>> = vec![Vec::new(); steps.len()];
    let (mut visitors, mut dropped_events) = (0, 0);
    for visitor in people(sample).filter(|visitor| !visitor.taken.is_empty()) {
        visitors += 1;
        dropped_events += visitor.taken_dropped;
        let reached = walk(&visitor.taken, steps.len(), gap);
        for (step, since) in reached.iter().enumerate() {
            took[step].push(*since);
        }
        if let Some(last) = reached.len().checked_sub(1)
            && let Some(session) = visitor.sessions.last()
        {
            left_on[last].push(session.exit);
        }
    }
    took.iter_mut().for_each(|took| took.sort_unstable());
    let reached: Vec<u64> = took.iter().map(|took| took.len() as u64).collect();
    let step = |(index, step): (usize, &&str)| {
        let previous = if index == 0 { reached[0] } else { reached[index - 1] };
        let left = reached[index] - reached.get(index + 1).copied().unwrap_or(0);
        let is_last = index + 1 == reached.len();
        FunnelStep {
            step: (*step).to_owned(),
            visitors: sample.estimate(reached[index]),
            error_percent: 100.0 * sample.error(reached[index]),
            percent_of_first: percent(reached[index], reached[0]),
            percent_of_previous: percent(reached[index], previous),
            median_seconds: quantile_seconds(&took[index], 0.5),
            p90_seconds: quantile_seconds(&took[index], 0.9),
            left: if is_last { 0 } else { sample.estimate(left) },
            left_on: if is_last { Vec::new() } else { names.most(left_on[index].iter().copied(), sample, 3) },
        }
    };
    Some(FunnelReport {
        definition: format!(
            "visitors, without bots, with events of all steps up to it in this order, each at most {} after the one \
             before; other events may lie between",
            duration(gap)
        ),
        visitors: sample.estimate(visitors),
        error_percent: 100.0 * sample.error(visitors),
        steps: steps.iter().enumerate().map(step).collect(),
        dropped_events,
    })
}

/// Of sorted milliseconds, in seconds: the smallest that this part of all did not exceed.
fn quantile_seconds(millis: &[i64], quantile: f64) -> f64 {
    let rank = (millis.len() as f64 * quantile).ceil() as usize;
    millis.get(rank.saturating_sub(1)).map_or(0.0, |millis| *millis as f64 / 1_000.0)
}

/// A length of time as people say it.
fn duration(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    match UNITS.iter().find(|(unit, _)| millis % unit == 0) {
        Some((unit, name)) if millis == *unit => format!("1 {name}"),
        Some((unit, name)) => format!("{} {name}s", millis / unit),
        None => format!("{millis} ms"),
    }
}
