//! What visitors did: sessions, and the steps of the funnel.
//!
//! A session is a run of a visitor's events in which no pause is longer than the gap. Events come in
//! any order: one may lengthen a session, begin one, or join two. The sessions that are there at the
//! end are the same in any case.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::funnel::Taken;
use crate::sample::Kept;

/// An event, as far as its visitor is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    /// The hash of the page's name; 0 without one.
    pub(crate) page: u64,
    /// The steps of the funnel that it may be, a bit each.
    pub(crate) steps: u8,
    pub(crate) is_bot: bool,
}

/// What is kept of a visitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Visitor {
    /// Whether any event came from a bot. Nothing else is noted of such an event.
    pub(crate) is_bot: bool,
    /// Apart by more than the gap, and in order. Most visitors have one.
    pub(crate) sessions: SmallVec<[Session; 1]>,
    /// In order.
    pub(crate) taken: Vec<Taken>,
    /// Events that were steps and found no room.
    pub(crate) taken_dropped: u64,
    pub(crate) minutes: Minutes,
}

/// How many events came in a minute of the clock. Only the latest two minutes are counted: an event
/// may be later in the log than one of the next minute, but hardly than one of the minute after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Minutes {
    latest: Minute,
    before: Minute,
    /// The one with the most events.
    pub(crate) busiest: Minute,
    /// Minutes with more events than the limit.
    pub(crate) bursts: u32,
}

/// A minute of the clock; ordered by its events, and among equals by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Minute {
    pub(crate) events: u32,
    /// Minutes since 1970.
    pub(crate) number: u32,
}

impl Minutes {
    /// Notes events of one minute; more than `limit` are a burst. `false` if it is too long ago.
    #[inline]
    fn add(&mut self, minute: Minute, limit: u32) -> bool {
        if minute.number > self.latest.number {
            self.before = std::mem::replace(&mut self.latest, Minute { events: 0, number: minute.number });
        } else if minute.number < self.latest.number && minute.number > self.before.number {
            self.before = Minute { events: 0, number: minute.number };
        }
        let counted = match minute.number {
            number if number == self.latest.number => &mut self.latest,
            number if number == self.before.number => &mut self.before,
            _ => return false,
        };
        let was_burst = counted.events > limit;
        counted.events = counted.events.saturating_add(minute.events);
        self.bursts += u32::from(!was_burst && counted.events > limit);
        self.busiest = self.busiest.max(*counted);
        true
    }

    /// Adds what was noted elsewhere. A minute that both know is one.
    fn merge(&mut self, from: Minutes, limit: u32) {
        self.bursts += from.bursts;
        self.busiest = self.busiest.max(from.busiest);
        for minute in [from.before, from.latest] {
            // It was counted there, and is counted here again.
            if self.add(minute, limit) {
                self.bursts -= u32::from(minute.events > limit);
            }
        }
    }
}

/// A run of events without a pause longer than the gap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// When it began and ended, in milliseconds since 1970.
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) events: u32,
    /// The pages of the first and the last event that have one.
    pub(crate) entry: PageAt,
    pub(crate) exit: PageAt,
}

/// A page, and when it was seen; of two at the same time the one with the lower hash is before the
/// other. Without a page, its hash is 0: there are many of these, and an `Option` is half as large
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PageAt {
    pub(crate) time: i64,
    page: u64,
}

impl PageAt {
    const NONE: PageAt = PageAt { time: 0, page: 0 };

    /// The hash of the page's name.
    pub(crate) fn page(self) -> Option<u64> {
        (self.page != 0).then_some(self.page)
    }

    fn earlier(self, other: PageAt) -> PageAt {
        if self.page == 0 || other.page != 0 && other < self { other } else { self }
    }

    fn later(self, other: PageAt) -> PageAt {
        if self.page == 0 || other.page != 0 && other > self { other } else { self }
    }
}

/// The most steps that are kept of one visitor: what one address sends for thousands of people may
/// be many.
const MAX_TAKEN: usize = 100_000;

impl Visitor {
    /// Notes an event.
    #[inline]
    pub(crate) fn note(&mut self, visit: &Visit, gap: i64, burst: u32) {
        if visit.is_bot {
            self.is_bot = true;
            return;
        }
        let page = if visit.page == 0 { PageAt::NONE } else { PageAt { time: visit.time, page: visit.page } };
        let event = Session { begin: visit.time, end: visit.time, events: 1, entry: page, exit: page };
        match self.sessions.last_mut() {
            None => self.sessions.push(event),
            // It is no nearer to the session before this one.
            Some(last) if event.begin >= last.begin && last.is_near(&event, gap) => last.join(&event),
            Some(_) => self.add(event, gap),
        }
        self.minutes.add(Minute { events: 1, number: (visit.time / 60_000) as u32 }, burst);
        if visit.steps != 0 {
            self.take(Taken { time: visit.time, steps: visit.steps });
        }
    }

    /// Adds a session, which may lie anywhere and join others.
    fn add(&mut self, mut session: Session, gap: i64) {
        let from = self.sessions.partition_point(|other| other.end < session.begin && !other.is_near(&session, gap));
        while self.sessions.get(from).is_some_and(|other| other.is_near(&session, gap)) {
            session.join(&self.sessions.remove(from));
        }
        self.sessions.insert(from, session);
    }

    fn take(&mut self, taken: Taken) {
        if self.taken.len() >= MAX_TAKEN {
            self.taken_dropped += 1;
            return;
        }
        match self.taken.last() {
            Some(last) if taken < *last => {
                let at = self.taken.partition_point(|other| *other < taken);
                self.taken.insert(at, taken);
            }
            _ => self.taken.push(taken),
        }
    }

    /// Adds what was noted of the same visitor elsewhere.
    pub(crate) fn merge(&mut self, from: Visitor, gap: i64, burst: u32) {
        self.is_bot |= from.is_bot;
        for session in from.sessions {
            self.add(session, gap);
        }
        for taken in from.taken {
            self.take(taken);
        }
        self.taken_dropped += from.taken_dropped;
        self.minutes.merge(from.minutes, burst);
    }
}

/// A visitor with one session takes one place, of some 150 bytes.
impl Kept for Visitor {
    fn places(&self) -> usize {
        1 + self.sessions.len() / 2 + self.taken.len() / 8
    }
}

impl Session {
    fn is_near(&self, other: &Session, gap: i64) -> bool {
        other.begin - self.end <= gap && self.begin - other.end <= gap
    }

    fn join(&mut self, other: &Session) {
        self.begin = self.begin.min(other.begin);
        self.end = self.end.max(other.end);
        self.events = self.events.saturating_add(other.events);
        self.entry = self.entry.earlier(other.entry);
        self.exit = self.exit.later(other.exit);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GAP: i64 = 10;
    const BURST: u32 = 3;

    fn visitor(events: &[(i64, u64)]) -> Visitor {
        let mut visitor = Visitor::default();
        for &(time, page) in events {
            visitor.note(&Visit { time, page, steps: 1, is_bot: false }, GAP, BURST);
        }
        visitor
    }

    fn spans(visitor: &Visitor) -> Vec<(i64, i64, u32)> {
        visitor.sessions.iter().map(|session| (session.begin, session.end, session.events)).collect()
    }

    #[test]
    fn a_pause_longer_than_the_gap_ends_a_session() {
        assert_eq!(spans(&visitor(&[(0, 0), (10, 0), (21, 0)])), [(0, 10, 2), (21, 21, 1)]);
    }

    #[test]
    fn an_event_in_between_joins_two_sessions() {
        assert_eq!(spans(&visitor(&[(0, 0), (20, 0)])), [(0, 0, 1), (20, 20, 1)]);
        assert_eq!(spans(&visitor(&[(0, 0), (20, 0), (10, 0)])), [(0, 20, 3)]);
        assert_eq!(
            spans(&visitor(&[(40, 0), (0, 0), (20, 0), (60, 0), (10, 0)])),
            [(0, 20, 3), (40, 40, 1), (60, 60, 1)]
        );
    }

    #[test]
    fn entry_and_exit_are_the_first_and_the_last_event_with_a_page() {
        let visitor = visitor(&[(5, 7), (0, 0), (3, 8), (9, 0), (5, 6)]);
        let session = visitor.sessions[0];
        assert_eq!(session.entry, PageAt { time: 3, page: 8 });
        assert_eq!(session.exit, PageAt { time: 5, page: 7 });
    }

    #[test]
    fn nothing_but_that_is_kept_of_a_bot() {
        let mut visitor = Visitor::default();
        visitor.note(&Visit { time: 1, page: 1, steps: 1, is_bot: true }, GAP, BURST);
        assert_eq!(visitor, Visitor { is_bot: true, ..Visitor::default() });
    }

    #[test]
    fn minutes_with_more_events_than_the_limit_are_bursts() {
        let minutes = |minutes: &[u32]| {
            let mut counted = Minutes::default();
            for &number in minutes {
                counted.add(Minute { events: 1, number }, BURST);
            }
            counted
        };
        assert_eq!(minutes(&[1, 1, 1, 2, 2, 2]).bursts, 0);
        let two = minutes(&[1, 1, 1, 2, 2, 1, 1, 2, 2, 2, 3]);
        assert_eq!((two.bursts, two.busiest), (2, Minute { events: 5, number: 2 }), "late, but not by much");
        let mut merged = minutes(&[5, 5, 6]);
        merged.merge(minutes(&[4, 5, 5]), BURST);
        assert_eq!((merged.bursts, merged.busiest), (1, Minute { events: 4, number: 5 }));
        merged.merge(two, BURST);
        assert_eq!(merged.bursts, 3);
    }

    proptest! {
        #[test]
        fn sessions_are_those_of_sorted_events_in_any_order_and_split(
            events in prop::collection::vec((0i64..120, 0u64..4), 1..30), split in 0usize..30
        ) {
            let mut sorted: Vec<i64> = events.iter().map(|event| event.0).collect();
            sorted.sort_unstable();
            let mut naive: Vec<(i64, i64, u32)> = Vec::new();
            for time in sorted {
                match naive.last_mut() {
                    Some(last) if time - last.1 <= GAP => *last = (last.0, time, last.2 + 1),
                    _ => naive.push((time, time, 1)),
                }
            }
            let whole = visitor(&events);
            prop_assert_eq!(spans(&whole), naive);
            let (one, other) = events.split_at(split.min(events.len()));
            let mut merged = visitor(other);
            merged.merge(visitor(one), GAP, BURST);
            prop_assert_eq!(merged, whole);
        }
    }
}
