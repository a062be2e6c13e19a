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
    pub(crate) visitor: u64,
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
}

/// A run of events without a pause longer than the gap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// When it began and ended, in milliseconds since 1970.
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) events: u64,
    /// The pages of the first and the last event that have one.
    pub(crate) entry: Option<PageAt>,
    pub(crate) exit: Option<PageAt>,
}

/// A page, and when it was seen; of two at the same time the one with the lower hash is before the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PageAt {
    pub(crate) time: i64,
    pub(crate) page: u64,
}

/// The most steps that are kept of one visitor: what one address sends for thousands of people may
/// be many.
const MAX_TAKEN: usize = 100_000;

impl Visitor {
    /// Notes an event.
    #[inline]
    pub(crate) fn note(&mut self, visit: &Visit, gap: i64) {
        if visit.is_bot {
            self.is_bot = true;
            return;
        }
        let page = (visit.page != 0).then_some(PageAt { time: visit.time, page: visit.page });
        let event = Session { begin: visit.time, end: visit.time, events: 1, entry: page, exit: page };
        match self.sessions.last_mut() {
            None => self.sessions.push(event),
            // It is no nearer to the session before this one.
            Some(last) if event.begin >= last.begin && last.is_near(&event, gap) => last.join(&event),
            Some(_) => self.add(event, gap),
        }
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
    pub(crate) fn merge(&mut self, from: Visitor, gap: i64) {
        self.is_bot |= from.is_bot;
        for session in from.sessions {
            self.add(session, gap);
        }
        for taken in from.taken {
            self.take(taken);
        }
        self.taken_dropped += from.taken_dropped;
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
        self.events += other.events;
        self.entry = self.entry.into_iter().chain(other.entry).min();
        self.exit = self.exit.into_iter().chain(other.exit).max();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GAP: i64 = 10;

    fn visitor(events: &[(i64, u64)]) -> Visitor {
        let mut visitor = Visitor::default();
        for &(time, page) in events {
            visitor.note(&Visit { visitor: 1, time, page, steps: 1, is_bot: false }, GAP);
        }
        visitor
    }

    fn spans(visitor: &Visitor) -> Vec<(i64, i64, u64)> {
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
        assert_eq!(spans(&visitor(&[(40, 0), (0, 0), (20, 0), (60, 0), (10, 0)])), [
            (0, 20, 3),
            (40, 40, 1),
            (60, 60, 1)
        ]);
    }

    #[test]
    fn entry_and_exit_are_the_first_and_the_last_event_with_a_page() {
        let visitor = visitor(&[(5, 7), (0, 0), (3, 8), (9, 0), (5, 6)]);
        let session = visitor.sessions[0];
        assert_eq!(session.entry, Some(PageAt { time: 3, page: 8 }));
        assert_eq!(session.exit, Some(PageAt { time: 5, page: 7 }));
    }

    #[test]
    fn nothing_but_that_is_kept_of_a_bot() {
        let mut visitor = Visitor::default();
        visitor.note(&Visit { visitor: 1, time: 1, page: 1, steps: 1, is_bot: true }, GAP);
        assert_eq!(visitor, Visitor { is_bot: true, ..Visitor::default() });
    }

    proptest! {
        #[test]
        fn sessions_are_those_of_sorted_events_in_any_order_and_split(
            events in prop::collection::vec((0i64..120, 0u64..4), 1..30), split in 0usize..30
        ) {
            let mut sorted: Vec<i64> = events.iter().map(|event| event.0).collect();
            sorted.sort_unstable();
            let mut naive: Vec<(i64, i64, u64)> = Vec::new();
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
            merged.merge(visitor(one), GAP);
            prop_assert_eq!(merged, whole);
        }
    }
}
