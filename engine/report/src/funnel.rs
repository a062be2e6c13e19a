//! Steps that visitors take one after the other, and how far each of them came.
//!
//! A visitor has reached a step when events of all steps up to it follow one another in time, each
//! at most the gap after the one before it. Other events may lie in between. Every event that a
//! step holds for is noted with its time, and the steps are walked once all lines are read: the
//! answer does not depend on the order in which lines come.

use std::fmt;
use std::str::FromStr;

use pixel_engine_log::line::Line;
use pixel_engine_log::select::{Matcher, SelectError};
use serde::{Deserialize, Serialize};

/// The steps of a funnel.
///
/// ```
/// use pixel_engine_report::Funnel;
/// let funnel: Funnel = "view > query.e=cart sc-status=200 > paid".parse()?;
/// assert_eq!(funnel.steps().collect::<Vec<_>>(), ["view", "query.e=cart sc-status=200", "paid"]);
/// assert!("view >".parse::<Funnel>().is_err());
/// # Ok::<(), pixel_engine_report::FunnelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Funnel {
    steps: Vec<Step>,
    has_conditions: bool,
}

#[derive(Clone, Debug)]
struct Step {
    text: Box<str>,
    /// The name that the event has.
    event: Option<Box<str>>,
    /// What must hold beside that.
    conditions: Matcher,
}

/// Why a funnel cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FunnelError {
    /// Fewer than two steps, or too many.
    #[error("{0} steps; a funnel has 2 to {MAX_STEPS}, such as `view > cart > paid`")]
    Steps(usize),
    /// Nothing stands between two `>`.
    #[error("step {0} is empty")]
    EmptyStep(usize),
    /// Two names in one step.
    #[error("step `{0}` names two events; write a name and conditions of the form FIELD=GLOB")]
    TwoEvents(String),
    /// A condition that is none.
    #[error("step `{step}`: {error}")]
    Condition {
        /// The step.
        step: String,
        /// What is wrong with it.
        error: SelectError,
    },
}

/// One bit each in [`Taken`].
const MAX_STEPS: usize = 8;

impl Funnel {
    /// The text of each step.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| &*step.text)
    }

    /// The steps, a bit each, that an event of that name may be.
    pub(crate) fn of_event(&self, name: Option<&str>) -> u8 {
        self.mask(|step| step.event.as_deref().is_none_or(|event| Some(event) == name))
    }

    /// Those of the steps whose conditions hold for the line.
    #[inline]
    pub(crate) fn of_line(&self, of_event: u8, line: &Line<'_>) -> u8 {
        if of_event == 0 || !self.has_conditions {
            return of_event;
        }
        of_event & self.mask(|step| step.conditions.matches(line))
    }

    fn mask(&self, holds: impl Fn(&Step) -> bool) -> u8 {
        self.steps.iter().enumerate().fold(0, |mask, (index, step)| mask | u8::from(holds(step)) << index)
    }
}

impl fmt::Display for Funnel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.steps().collect::<Vec<_>>().join(" > "))
    }
}

impl FromStr for Funnel {
    type Err = FunnelError;

    /// Steps between `>`: the name of an event, conditions of the form `FIELD=GLOB`, or both, with
    /// spaces between them.
    fn from_str(text: &str) -> Result<Funnel, FunnelError> {
        let steps: Vec<&str> = text.split('>').map(str::trim).collect();
        if !(2..=MAX_STEPS).contains(&steps.len()) {
            return Err(FunnelError::Steps(steps.len()));
        }
        let steps: Vec<Step> = steps
            .into_iter()
            .enumerate()
            .map(|(index, text)| if text.is_empty() { Err(FunnelError::EmptyStep(index + 1)) } else { step(text) })
            .collect::<Result<_, _>>()?;
        let has_conditions = steps.iter().any(|step| !step.conditions.is_empty());
        Ok(Funnel { steps, has_conditions })
    }
}

fn step(text: &str) -> Result<Step, FunnelError> {
    let (conditions, names): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(|word| word.contains('='));
    if names.len() > 1 {
        return Err(FunnelError::TwoEvents(text.to_owned()));
    }
    let conditions =
        Matcher::new(conditions).map_err(|error| FunnelError::Condition { step: text.to_owned(), error })?;
    Ok(Step { text: text.into(), event: names.first().map(|name| Box::from(*name)), conditions })
}

/// An event of a visitor that is a step, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    /// The steps that it may be, a bit each.
    pub(crate) steps: u8,
}

/// How far a visitor came, and how long each step took after the one before.
///
/// `taken` is in order of time. Of the times at which a step was reached the latest counts for what
/// follows, as it leaves most time for the next step. An event is one step at a time: it does not
/// reach two steps by itself.
pub(crate) fn walk(taken: &[Taken], steps: usize, gap_millis: i64) -> Vec<i64> {
    let mut latest: [Option<i64>; MAX_STEPS] = [None; MAX_STEPS];
    let mut took = Vec::with_capacity(steps);
    for event in taken {
        // From the last step on, so that a step that is reached now is not gone on from.
        for step in (0..steps).rev().filter(|step| event.steps & 1 << step != 0) {
            let since = match step.checked_sub(1) {
                None => Some(0),
                Some(before) => latest[before].map(|time| event.time - time).filter(|since| *since <= gap_millis),
            };
            let Some(since) = since else { continue };
            latest[step] = Some(event.time);
            if took.len() == step {
                took.push(since);
            }
        }
    }
    took
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn funnels_are_checked() {
        let error = |text: &str| text.parse::<Funnel>().unwrap_err().to_string();
        assert!(error("view").starts_with("1 steps"));
        assert!(error("a>b>c>d>e>f>g>h>i").starts_with("9 steps"));
        assert_eq!(error("view > > paid"), "step 2 is empty");
        assert!(error("view > a b").contains("two events"));
        assert!(error("view > qurey.e=a").contains("unknown field"));
    }

    fn taken(events: &[(i64, u8)]) -> Vec<Taken> {
        events.iter().map(|&(time, steps)| Taken { time, steps }).collect()
    }

    #[test]
    fn steps_count_in_order_and_within_the_gap() {
        let walk = |events: &[(i64, u8)]| walk(&taken(events), 3, 10);
        assert_eq!(walk(&[(0, 1), (4, 2), (9, 4)]), [0, 4, 5]);
        assert_eq!(walk(&[(0, 2), (4, 1), (9, 4)]), [0], "the second came before the first");
        assert_eq!(walk(&[(0, 1), (11, 2)]), [0], "too late");
        assert_eq!(walk(&[(0, 1), (10, 2)]), [0, 10], "just in time");
        assert_eq!(walk(&[(0, 1), (9, 1), (19, 2)]), [0, 10], "in time after the second view");
        assert_eq!(walk(&[(0, 7)]), [0], "one event is one step");
        assert_eq!(walk(&[(0, 3), (1, 3)]), [0, 1]);
        assert!(walk(&[]).is_empty());
    }

    /// Whether some events take the visitor to the last of these steps: every choice is tried.
    fn reached(taken: &[Taken], steps: usize, gap: i64) -> bool {
        fn from(taken: &[Taken], step: usize, steps: usize, last: Option<i64>, gap: i64) -> bool {
            step == steps
                || taken.iter().enumerate().any(|(index, event)| {
                    event.steps & 1 << step != 0
                        && last.is_none_or(|last| event.time - last <= gap)
                        && from(&taken[index + 1..], step + 1, steps, Some(event.time), gap)
                })
        }
        from(taken, 0, steps, None, gap)
    }

    proptest! {
        #[test]
        fn the_walk_reaches_what_any_choice_of_events_does(
            mut events in prop::collection::vec((0i64..40, 1u8..8), 0..12), gap in 1i64..15
        ) {
            events.sort();
            let events = taken(&events);
            let took = walk(&events, 3, gap);
            for steps in 1..=3 {
                prop_assert_eq!(took.len() >= steps, reached(&events, steps, gap), "{} steps", steps);
            }
            prop_assert!(took.iter().all(|since| (0..=gap).contains(since)));
        }
    }
}
