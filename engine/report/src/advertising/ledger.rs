//! The rows of a bill: what counts, and what is left out for which reason.

use serde::{Deserialize, Serialize};

use super::window::{Id, Window};
use crate::rows::{Place, Rows};

/// A step of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Impression,
    Viewable,
    Click,
    Conversion,
}

impl Step {
    pub(crate) const ALL: [Step; 4] = [Step::Impression, Step::Viewable, Step::Click, Step::Conversion];

    /// As people call it, and the default name of its event.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Step::Impression => "impression",
            Step::Viewable => "viewable",
            Step::Click => "click",
            Step::Conversion => "conversion",
        }
    }
}

/// What an advertisement belongs to. In this order, `None` before all names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) campaign: Option<Box<str>>,
    pub(crate) publisher: Option<Box<str>>,
}

/// Events of one step. Each is in one of the first four numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Firings {
    pub(crate) bots: u64,
    pub(crate) data_centres: u64,
    pub(crate) duplicates: u64,
    pub(crate) net: u64,
    /// The part of `net` that cannot be told to be duplicates.
    pub(crate) without_id: u64,
}

impl std::ops::AddAssign for Firings {
    fn add_assign(&mut self, other: Firings) {
        self.bots += other.bots;
        self.data_centres += other.data_centres;
        self.duplicates += other.duplicates;
        self.net += other.net;
        self.without_id += other.without_id;
    }
}

/// The numbers of a placement, by step.
pub(crate) type Steps = [Firings; Step::ALL.len()];

pub(crate) fn add_steps(steps: &mut Steps, more: Steps) {
    for (firings, more) in steps.iter_mut().zip(more) {
        *firings += more;
    }
}

/// An event, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firing {
    pub(crate) row: Place,
    pub(crate) step: Step,
    pub(crate) verdict: Verdict,
}

/// Whether an event counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Bot,
    DataCentre,
    WithoutId,
    /// It counts unless the same id counts already.
    Id {
        /// The hash of step and id.
        key: u64,
        /// Milliseconds since 1970.
        time: i64,
    },
}

/// What was counted.
///
/// Of events with the same id the earliest counts, and of several at the same time the one whose
/// row has the lowest name: it does not matter in which order they come. So while the window holds
/// all ids, neither threads nor the order of lines or of states change any number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) rows: Rows<Placement, Steps>,
    pub(crate) ids: Window,
}

impl Ledger {
    pub(crate) fn new(max_ids: usize) -> Ledger {
        Ledger { rows: Rows::default(), ids: Window::new(max_ids) }
    }

    pub(crate) fn add(&mut self, firing: &Firing) {
        let Firing { row, step, verdict } = *firing;
        let firings = &mut self.rows.at(row)[step as usize];
        match verdict {
            Verdict::Bot => firings.bots += 1,
            Verdict::DataCentre => firings.data_centres += 1,
            Verdict::WithoutId => {
                firings.net += 1;
                firings.without_id += 1;
            }
            Verdict::Id { key, time } => {
                firings.net += 1;
                let id = Id { key, time, row, step };
                if let Some(known) = self.ids.note(id) {
                    leave_one(&mut self.rows, known, id);
                }
            }
        }
    }

    /// Adds what was counted elsewhere: an id that both have is one duplicate more.
    pub(crate) fn merge(&mut self, from: Ledger) {
        let moved = self.rows.merge(from.rows, add_steps);
        let (ids, forgotten) = from.ids.into_parts();
        self.ids.add_forgotten(forgotten);
        let mut new = Vec::new();
        // First all that both have: a new id may take the room of one that comes later.
        for id in ids {
            let id = Id { row: moved.place(id.row), ..id };
            match self.ids.get_mut(id.key) {
                Some(known) => leave_one(&mut self.rows, known, id),
                None => new.push(id),
            }
        }
        for id in new {
            self.ids.note(id);
        }
    }
}

/// Of two events with the same step and id, which both are in `net`, makes the later one a duplicate.
fn leave_one(rows: &mut Rows<Placement, Steps>, known: &mut Id, other: Id) {
    // The row of all others comes last.
    let order = |id: &Id| (id.time, rows.name(id.row).is_none(), rows.name(id.row).cloned());
    let is_other_earlier = if known.row == other.row { other.time < known.time } else { order(&other) < order(known) };
    let later = if is_other_earlier { std::mem::replace(known, other) } else { other };
    let firings = &mut rows.at(later.row)[later.step as usize];
    firings.net -= 1;
    firings.duplicates += 1;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    /// Row, step, time and id; bots have the id 0, and the id 1 is none.
    type Event = (usize, usize, i64, u64);

    fn placement(row: usize) -> Placement {
        Placement { campaign: Some(NAMES[row].into()), publisher: None }
    }

    fn count<'a>(events: impl IntoIterator<Item = &'a Event>, max_ids: usize) -> Ledger {
        let mut ledger = Ledger::new(max_ids);
        for &(row, step, time, id) in events {
            let (row, step) = (ledger.rows.place(placement(row)), Step::ALL[step]);
            let verdict = match id {
                0 => Verdict::Bot,
                1 => Verdict::WithoutId,
                id => Verdict::Id { key: (4 * id + step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), time },
            };
            ledger.add(&Firing { row, step, verdict });
        }
        ledger
    }

    fn rows(ledger: &Ledger) -> BTreeMap<&Placement, &Steps> {
        ledger.rows.named().collect()
    }

    /// By sorting all events.
    fn naive(events: &[Event]) -> BTreeMap<Placement, Steps> {
        let mut sorted = events.to_vec();
        sorted.sort_by_key(|&(row, _, time, _)| (time, row));
        let mut seen = std::collections::HashSet::new();
        let mut rows: BTreeMap<Placement, Steps> = BTreeMap::new();
        for (row, step, _, id) in sorted {
            let firings = &mut rows.entry(placement(row)).or_default()[step];
            match id {
                0 => firings.bots += 1,
                1 => {
                    firings.net += 1;
                    firings.without_id += 1;
                }
                id if seen.insert((step, id)) => firings.net += 1,
                _ => firings.duplicates += 1,
            }
        }
        rows
    }

    #[test]
    fn beyond_the_window_an_id_counts_again() {
        let events = [(0, 0, 0, 2), (0, 0, 1, 3), (0, 0, 2, 4), (0, 0, 3, 2)];
        let net = |max_ids| rows(&count(&events, max_ids))[&placement(0)][0].net;
        assert_eq!((net(3), net(2)), (3, 4));
        let ledger = count(&events, 2);
        assert_eq!((ledger.ids.len(), ledger.ids.forgotten()), (2, 2));
    }

    #[test]
    fn a_merge_looks_at_all_ids_before_it_forgets_any() {
        let mut ledger = count(&[(0, 0, 0, 2), (0, 0, 1, 3)], 2);
        ledger.merge(count(&[(0, 0, 2, 4), (0, 0, 3, 2)], 2));
        let firings = rows(&ledger)[&placement(0)][0];
        assert_eq!((firings.net, firings.duplicates), (3, 1));
        assert_eq!((ledger.ids.len(), ledger.ids.forgotten()), (2, 1));
    }

    proptest! {
        #[test]
        fn neither_order_nor_parts_change_a_number(
            events in prop::collection::vec((0usize..3, 0usize..4, 0i64..4, 0u64..12), 0..80),
            parts in 1usize..4,
            backwards in any::<bool>(),
        ) {
            let whole = count(&events, 1_000);
            let wanted = naive(&events);
            let wanted: BTreeMap<&Placement, &Steps> = wanted.iter().collect();
            prop_assert_eq!(rows(&whole), wanted.clone());
            let other_way = count(events.iter().rev(), 1_000);
            prop_assert_eq!(rows(&other_way), wanted.clone());
            let mut ledgers: Vec<Ledger> =
                (0..parts).map(|part| count(events.iter().skip(part).step_by(parts), 1_000)).collect();
            if backwards {
                ledgers.reverse();
            }
            let mut merged = Ledger::new(1_000);
            for ledger in ledgers {
                let bytes = postcard::to_stdvec(&ledger).unwrap();
                merged.merge(postcard::from_bytes(&bytes).unwrap());
            }
            prop_assert_eq!(rows(&merged), wanted);
        }

        /// However small the window is, no event is lost and none is invented.
        #[test]
        fn every_event_is_in_one_number(
            events in prop::collection::vec((0usize..3, 0usize..4, 0i64..4, 0u64..12), 0..80), max_ids in 1usize..8
        ) {
            let (one, other) = events.split_at(events.len() / 3);
            let mut merged = count(one, max_ids);
            merged.merge(count(other, max_ids));
            for ledger in [count(&events, max_ids), merged] {
                for (row, name) in NAMES.iter().enumerate() {
                    for step in 0..4 {
                        let gross = events.iter().filter(|event| event.0 == row && event.1 == step).count() as u64;
                        let firings = rows(&ledger).get(&placement(row)).map_or(Firings::default(), |steps| steps[step]);
                        let Firings { bots, data_centres, duplicates, net, .. } = firings;
                        prop_assert_eq!(bots + data_centres + duplicates + net, gross, "{} {}", name, step);
                    }
                }
            }
        }
    }
}
