//! Which lines of a standard log the real-time log does not have.
//!
//! AWS delivers real-time logs at best effort and says that they are no full account of all
//! requests; it delivers standard logs at best effort too, and later, by up to a day. Both have the
//! same id for a request, `x-edge-request-id`: so the ids that only one of them has are what the
//! other one misses. Sources: the pages on real-time logs and on standard logs in CloudFront's
//! developer guide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pixel_engine_core::observe::Observer;
use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use serde::{Deserialize, Serialize};

use crate::beacon::time_of;
use crate::salt::Salt;
use crate::sample::{Batch, Kept, Kepts, Sample};
use crate::state::Lines;

/// Exact to so many different ids, in 75 MB: 64 tables of 65,536 places, each of which is as full
/// as it can be before it grows.
pub(crate) const MAX_IDS: usize = 3_500_000;

/// One of two logs of the same requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Standard,
    RealTime,
}

/// The hours, since 1970, in which each log has an id; 0 if it has none, as no log is that old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) standard: u32,
    pub(crate) real_time: u32,
}

impl Kept for Seen {
    fn places(&self) -> usize {
        1
    }
}

impl Seen {
    fn note(&mut self, side: Side, hour: u32) {
        let known = match side {
            Side::Standard => &mut self.standard,
            Side::RealTime => &mut self.real_time,
        };
        // Of a line that came twice, the earlier one counts.
        *known = if *known == 0 { hour } else { (*known).min(hour) };
    }

    fn merge(&mut self, from: Seen) {
        for (side, hour) in [(Side::Standard, from.standard), (Side::RealTime, from.real_time)] {
            if hour != 0 {
                self.note(side, hour);
            }
        }
    }
}

/// Lines of one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineCounts {
    pub(crate) lines: u64,
    /// Those of them without an id.
    pub(crate) without_id: u64,
}

/// Lines of both logs, by [`Side`].
pub(crate) type Pair = [LineCounts; 2];

/// What was counted of both logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reconciled {
    pub(crate) ids: Kepts<Seen>,
    /// By hours since 1970.
    pub(crate) hours: BTreeMap<u32, Pair>,
    /// Lines that have no time, by side.
    pub(crate) without_time: [u64; 2],
    /// What became of the standard log's lines.
    pub(crate) standard_lines: Lines,
}

impl Reconciled {
    pub(crate) fn merge(&mut self, from: Reconciled) {
        self.ids.merge(from.ids, MAX_IDS, Seen::merge);
        add_hours(&mut self.hours, from.hours);
        for (count, more) in self.without_time.iter_mut().zip(from.without_time) {
            *count += more;
        }
        self.standard_lines.merge(from.standard_lines);
    }
}

fn add_hours(hours: &mut BTreeMap<u32, Pair>, from: impl IntoIterator<Item = (u32, Pair)>) {
    for (hour, pair) in from {
        for (counts, more) in hours.entry(hour).or_default().iter_mut().zip(pair) {
            counts.lines += more.lines;
            counts.without_id += more.without_id;
        }
    }
}

/// Notes the lines of both logs on several threads.
pub(crate) struct Reconcile {
    salt: Salt,
    ids: Sample<Seen>,
    /// All but the ids.
    counted: Mutex<Reconciled>,
}

/// What one thread has noted.
#[derive(Default)]
pub struct Tally {
    ids: Batch<u32>,
    hours: BTreeMap<u32, Pair>,
    without_time: [u64; 2],
}

impl Reconcile {
    pub(crate) fn new(salt: Salt) -> Reconcile {
        Reconcile { salt, ids: Sample::new(MAX_IDS), counted: Mutex::default() }
    }

    /// Notes a line by the hash of its request id, if it has one.
    pub(crate) fn note(&self, side: Side, id: Option<u64>, time: Option<i64>, tally: &mut Tally) {
        let Some(time) = time else {
            tally.without_time[side as usize] += 1;
            return;
        };
        // `time_of` gives times of this century only.
        let hour = (time / 3_600_000) as u32;
        let counts = &mut tally.hours.entry(hour).or_default()[side as usize];
        counts.lines += 1;
        match id {
            Some(id) => tally.ids.push(id, hour),
            None => counts.without_id += 1,
        }
    }

    /// Hands what a thread has noted of lines of one log to what all share.
    pub(crate) fn end_block(&self, side: Side, tally: &mut Tally) {
        self.ids.note(&mut tally.ids, |seen, hour| seen.note(side, hour));
        let mut counted = self.counted();
        add_hours(&mut counted.hours, std::mem::take(&mut tally.hours));
        for (count, more) in counted.without_time.iter_mut().zip(std::mem::take(&mut tally.without_time)) {
            *count += more;
        }
    }

    /// Everything that was noted; nothing is left.
    pub(crate) fn take(&self) -> Reconciled {
        Reconciled { ids: self.ids.take(), ..std::mem::take(&mut *self.counted()) }
    }

    /// Everything that was noted so far.
    pub(crate) fn copy(&self) -> Reconciled {
        Reconciled { ids: self.ids.copy(), ..self.counted().clone() }
    }

    fn counted(&self) -> MutexGuard<'_, Reconciled> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the lines of a standard log, for the report that it is to be reconciled with.
///
/// It is the observer of a run of its own; [`Beacons::standard_log`](crate::Beacons::standard_log)
/// makes one.
pub struct StandardLog(pub(crate) Arc<Reconcile>);

impl Observer for StandardLog {
    type Tally = Tally;

    fn observe(&self, line: &Line<'_>, _text: &[u8], tally: &mut Tally) {
        let id = line.get(Field::XEdgeRequestId).map(|id| self.0.salt.hash_request_id(id));
        self.0.note(Side::Standard, id, time_of(line), tally);
    }

    fn end_block(&self, tally: &mut Tally) {
        self.0.end_block(Side::Standard, tally);
    }

    fn merge(&self, _into: &mut Tally, mut from: Tally) {
        self.0.end_block(Side::Standard, &mut from);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Side, id and hour.
    type Event = (bool, u64, u32);

    fn reconciled<'a>(events: impl IntoIterator<Item = &'a Event>) -> Reconciled {
        let reconcile = Reconcile::new(Salt([7; 16]));
        for &(is_standard, id, hour) in events {
            let side = if is_standard { Side::Standard } else { Side::RealTime };
            let mut tally = Tally::default();
            let pair = tally.hours.entry(hour).or_default();
            pair[side as usize] = LineCounts { lines: 1, without_id: u64::from(id == 0) };
            if id != 0 {
                let key = u64::from_le_bytes(*blake3::hash(&id.to_le_bytes()).as_bytes().first_chunk().unwrap());
                tally.ids.push(key, hour);
            }
            reconcile.end_block(side, &mut tally);
        }
        reconcile.take()
    }

    proptest! {
        #[test]
        fn neither_order_nor_parts_change_anything(
            events in prop::collection::vec((any::<bool>(), 0u64..30, 1u32..5), 0..60), parts in 1usize..4
        ) {
            let whole = reconciled(&events);
            let lines = whole.hours.values().flatten().map(|counts| counts.lines).sum::<u64>();
            prop_assert_eq!(lines, events.len() as u64);
            for (_, seen) in &whole.ids.entries {
                prop_assert!(seen.standard != 0 || seen.real_time != 0);
            }
            let mut merged = Reconciled::default();
            for part in (0..parts).rev() {
                let part = reconciled(events.iter().skip(part).step_by(parts));
                let bytes = postcard::to_stdvec(&part).unwrap();
                merged.merge(postcard::from_bytes(&bytes).unwrap());
            }
            prop_assert_eq!(&merged.ids, &whole.ids);
            prop_assert_eq!(merged.hours, whole.hours);
        }
    }
}
