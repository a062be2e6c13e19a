//! Several ways to do the same work on the same bytes, timed in turns.
//!
//! A machine that is shared, or changes its clock, is fast in one second and slow in the next. So
//! nobody runs his rounds in one piece: in each round every contestant has a few milliseconds, one
//! after the other, and the order is turned around from round to round. What disturbs a run only
//! ever makes it slower, so the best round of each says most about the code; the median over the
//! rounds of the ratio within a round is given beside the ratio of the best ones, and where the two
//! are far apart, the machine was not quiet.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::results::{Row, Target};

/// One contestant's work, once over the bytes.
pub(crate) type Work<'a> = Box<dyn FnMut() + 'a>;

/// Ways to do the same work on the same bytes.
pub struct Contest<'a> {
    pub(crate) what: String,
    bytes: usize,
    pub(crate) ours: Vec<Contestant<'a>>,
    pub(crate) rivals: Vec<Contestant<'a>>,
    /// Path, rival, target.
    targets: Vec<(String, Option<String>, Target)>,
    checked: String,
    is_correct: bool,
}

pub(crate) struct Contestant<'a> {
    pub(crate) name: String,
    pub(crate) work: Work<'a>,
}

/// How much time a contest takes.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// A round of one contestant is repeated until it is at least so long.
    pub(crate) round: Duration,
    /// All rounds of all contestants together, roughly.
    pub(crate) total: Duration,
    pub(crate) rounds: (usize, usize),
}

impl<'a> Contest<'a> {
    /// A contest over work on `bytes` bytes.
    pub fn new(what: impl Into<String>, bytes: usize) -> Contest<'a> {
        Contest {
            what: what.into(),
            bytes,
            ours: Vec::new(),
            rivals: Vec::new(),
            targets: Vec::new(),
            checked: String::new(),
            is_correct: false,
        }
    }

    /// Our code, by one path.
    pub fn ours<T>(mut self, path: impl ToString, work: impl FnMut() -> T + 'a) -> Contest<'a> {
        self.ours.push(Contestant::new(path, work));
        self
    }

    /// Somebody else's code.
    pub fn rival<T>(mut self, name: impl ToString, work: impl FnMut() -> T + 'a) -> Contest<'a> {
        self.rivals.push(Contestant::new(name, work));
        self
    }

    /// How many times faster than `rival` the path has to be.
    pub fn target(mut self, path: impl ToString, rival: impl ToString, times: f64) -> Contest<'a> {
        self.targets.push((path.to_string(), Some(rival.to_string()), Target::Times(times)));
        self
    }

    /// How many GB/s the path has to reach.
    pub fn speed_target(mut self, path: impl ToString, gigabytes: f64) -> Contest<'a> {
        self.targets.push((path.to_string(), None, Target::AtLeast(gigabytes)));
        self
    }

    /// Says what was compared between the outputs of all contestants, and whether it was the same.
    /// Without this word a contest counts as incorrect.
    pub fn checked(mut self, what: impl Into<String>, holds: bool) -> Contest<'a> {
        self.checked = what.into();
        self.is_correct = holds;
        self
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every contestant once.
    pub(crate) fn run_once(&mut self) {
        self.ours.iter_mut().chain(&mut self.rivals).for_each(|contestant| (contestant.work)());
    }

    /// Times everyone in turns: a row for each pair of ours and rival.
    pub(crate) fn run(&mut self, effort: Effort) -> Vec<Row> {
        let mut contestants: Vec<&mut Contestant<'a>> = self.ours.iter_mut().chain(&mut self.rivals).collect();
        let seconds = rounds(&mut contestants, effort);
        let (ours, rivals) = seconds.split_at(self.ours.len());
        let bytes = self.bytes as f64;
        let mut rows = Vec::new();
        for (contestant, times) in self.ours.iter().zip(ours) {
            let target = |rival: Option<&str>| {
                let wanted = (contestant.name.as_str(), rival);
                let found = self.targets.iter().find(|(path, other, _)| (path.as_str(), other.as_deref()) == wanted);
                found.map(|(.., target)| *target)
            };
            let row = Row {
                what: self.what.clone(),
                path: contestant.name.clone(),
                unit: "GB/s".to_owned(),
                ours: bytes / best(times) / 1e9,
                rival: None,
                rival_value: None,
                ratio: None,
                median_ratio: None,
                target: None,
                correct: self.is_correct,
                checked: self.checked.clone(),
            };
            if self.rivals.is_empty() || target(None).is_some() {
                rows.push(Row { target: target(None), ..row.clone() });
            }
            for (rival, rival_times) in self.rivals.iter().zip(rivals) {
                let ratios: Vec<f64> = rival_times.iter().zip(times).map(|(rival, ours)| rival / ours).collect();
                rows.push(Row {
                    rival: Some(rival.name.clone()),
                    rival_value: Some(bytes / best(rival_times) / 1e9),
                    ratio: Some(best(rival_times) / best(times)),
                    median_ratio: Some(median(ratios)),
                    target: target(Some(&rival.name)),
                    ..row.clone()
                });
            }
        }
        rows
    }
}

impl<'a> Contestant<'a> {
    fn new<T>(name: impl ToString, mut work: impl FnMut() -> T + 'a) -> Contestant<'a> {
        let work = move || {
            black_box(work());
        };
        Contestant { name: name.to_string(), work: Box::new(work) }
    }

    /// Seconds for one pass over the bytes.
    fn time(&mut self, passes: u32) -> f64 {
        let begun = Instant::now();
        for _ in 0..passes {
            (self.work)();
        }
        begun.elapsed().as_secs_f64() / f64::from(passes)
    }
}

/// For each contestant, the seconds of a pass in each round.
fn rounds(contestants: &mut [&mut Contestant<'_>], effort: Effort) -> Vec<Vec<f64>> {
    let passes: Vec<u32> = contestants
        .iter_mut()
        .map(|contestant| {
            contestant.time(1);
            (effort.round.as_secs_f64() / contestant.time(1)).ceil().clamp(1.0, 1e6) as u32
        })
        .collect();
    let mut seconds = vec![Vec::new(); contestants.len()];
    let begun = Instant::now();
    let (least, most) = effort.rounds;
    for round in 0..most {
        if round >= least && begun.elapsed() > effort.total {
            break;
        }
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            seconds[index].push(contestants[index].time(passes[index]));
        }
    }
    seconds
}

fn best(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn everyone_has_his_turn_and_rows_are_pairs() {
        let (fast, slow) = (Cell::new(0), Cell::new(0));
        let mut contest = Contest::new("sleep", 1000)
            .ours("a", || fast.set(fast.get() + 1))
            .rival("b", || {
                slow.set(slow.get() + 1);
                std::thread::sleep(Duration::from_millis(2));
            })
            .rival("c", || std::thread::sleep(Duration::from_millis(2)))
            .target("a", "b", 2.0)
            .checked("nothing", true);
        let rows = contest.run(Effort { round: Duration::ZERO, total: Duration::ZERO, rounds: (3, 9) });
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].reached(), Some(true));
        assert_eq!((rows[1].rival.as_deref(), rows[1].reached()), (Some("c"), None));
        assert_eq!((fast.get(), slow.get()), (5, 5));
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0, 10.0]), 2.5);
    }
}
