//! What a visitor does from coming to leaving: the events of one session.

use crate::random::{Draw, mix};
use crate::visits::event::{Action, AdStep, Campaign, Event, Firing, Previous, Step};
use crate::visits::visitor::{Class, Profile};
use crate::visits::vocabulary::{MEDIA, Vocabulary};
use crate::visits::{Kind, SESSION_GAP_MILLIS};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The shortest time between two events of a visitor, outside of bursts: longer than lines are out
/// of order, more than one in a second of a standard log, and under 60 a minute.
const MIN_PAUSE: u64 = 1_200;

/// Plans the sessions of one visitor.
pub(super) struct Planner<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) profile: &'a Profile,
    pub(super) draw: &'a mut Draw,
    /// Whether the visitor was never here before.
    pub(super) is_first: bool,
    /// The share of people's sessions, of ten thousand, that end in a burst.
    pub(super) bursts: u32,
    /// How exact the log's times are, in milliseconds.
    pub(super) tick: u64,
    /// The number of the last impression.
    pub(super) impressions: &'a mut u64,
}

impl Planner<'_> {
    /// The time of the next session's first event, when `last` was that of the last event.
    pub(super) fn next_start(&mut self, last: u64) -> u64 {
        if self.profile.class == Class::Punctual {
            return last + SESSION_GAP_MILLIS + self.tick;
        }
        let is_later_today = self.draw.per_mille(400);
        if is_later_today {
            last + self.draw.between(40 * MINUTE, 6 * HOUR)
        } else {
            last + self.draw.between(1, 4) * DAY - HOUR + self.draw.below(2 * HOUR)
        }
    }

    /// The events of a session that begins at `start`, in their order; at least one.
    pub(super) fn plan(&mut self, start: u64) -> Vec<Event> {
        let mut session = Session { millis: start, events: Vec::new(), page: self.pick_page() };
        match (self.profile.class, self.profile.kind) {
            (Class::Stray, _) => session.push(Action::Bare),
            (Class::Punctual, _) => self.plan_punctual(&mut session),
            (_, Kind::Ad) => self.plan_advertisements(&mut session),
            (Class::Bot, _) | (_, Kind::Site | Kind::Mix) => self.plan_views(&mut session),
            (_, Kind::Shop) => self.plan_shop(&mut session),
        }
        if self.profile.class == Class::Person && self.draw.per_ten_thousand(self.bursts) {
            self.plan_burst(&mut session);
        }
        session.events
    }

    fn pick_page(&mut self) -> usize {
        *self.vocabulary.sites.items()[self.profile.site].pages.pick(self.draw)
    }

    /// Time passes in which a page is read; now and then somebody is called away.
    fn read(&mut self, session: &mut Session) {
        session.millis += MIN_PAUSE;
        session.millis +=
            if self.draw.per_mille(30) { self.draw.between(5 * MINUTE, 25 * MINUTE) } else { self.draw.skewed(10, 17) };
    }

    fn land(&mut self, session: &mut Session) {
        let tables = &self.vocabulary.tables;
        let campaign = self.draw.per_mille(150).then(|| Campaign {
            name: tables.campaigns.pick_index(self.draw),
            medium: self.draw.below(MEDIA.len() as u64) as usize,
        });
        let previous = Previous::Elsewhere(tables.referrers.pick_index(self.draw));
        session.push(Action::View { previous, campaign });
    }

    fn turn(&mut self, session: &mut Session) {
        self.read(session);
        let previous = Previous::Page(session.page);
        session.page = self.pick_page();
        session.push(Action::View { previous, campaign: None });
    }

    fn plan_views(&mut self, session: &mut Session) {
        self.land(session);
        for _ in 0..self.draw.skewed(0, 3) {
            self.turn(session);
        }
    }

    fn plan_punctual(&mut self, session: &mut Session) {
        if self.is_first {
            // Whole seconds, so that the times of standard logs are exact too.
            session.millis = session.millis.next_multiple_of(SECOND);
            self.land(session);
            session.millis += SESSION_GAP_MILLIS;
        }
        session.push(Action::View { previous: Previous::Page(session.page), campaign: None });
    }

    /// Most leave without a purchase, and most who begin one do not finish it. A few do it out of
    /// order, which is no purchase to who counts steps in theirs.
    fn plan_shop(&mut self, session: &mut Session) {
        use Step::{Cart, Checkout, Paid};
        let cents = self.draw.between(500, 30_000);
        let order = self.draw.word();
        let steps: &[Step] = match self.draw.below(1000) {
            0..=549 => &[],
            550..=749 => &[Cart],
            750..=849 => &[Cart, Checkout],
            850..=949 => &[Cart, Checkout, Paid],
            // From a link in a mail: the cart was filled some other time.
            950..=969 => &[Checkout, Paid],
            970..=984 => &[Checkout, Cart],
            _ => &[Cart, Paid],
        };
        let begins_with_cart = self.draw.per_mille(20);
        if begins_with_cart {
            session.push(Action::Purchase { step: Cart, cents, order });
            self.turn(session);
        } else {
            self.plan_views(session);
        }
        for &step in steps {
            self.read(session);
            session.push(Action::Purchase { step, cents, order });
        }
    }

    fn plan_advertisements(&mut self, session: &mut Session) {
        for turn in 0..=self.draw.skewed(0, 3) {
            if turn > 0 {
                self.read(session);
                session.page = self.pick_page();
            }
            let campaign = self.vocabulary.tables.campaigns.pick_index(self.draw);
            let impression = self.next_impression();
            let mut fire = |session: &mut Session, step| {
                let is_fired_twice = self.draw.per_mille(15);
                let firing = if is_fired_twice { Firing::First } else { Firing::Only };
                session.push(Action::Advertisement { step, impression, campaign, firing });
                session.millis += MIN_PAUSE + self.draw.below(2 * SECOND);
                if is_fired_twice {
                    session.push(Action::Advertisement { step, impression, campaign, firing: Firing::Second });
                    session.millis += MIN_PAUSE;
                }
                // Whether the next step follows is drawn here, where the random numbers are.
                self.draw.below(1000)
            };
            if fire(session, AdStep::Impression) >= 620 || fire(session, AdStep::Viewable) >= 60 {
                continue;
            }
            if fire(session, AdStep::Click) < 200 {
                fire(session, AdStep::Conversion);
            }
        }
    }

    fn next_impression(&mut self) -> u64 {
        *self.impressions = self.impressions.wrapping_add(1);
        mix(*self.impressions)
    }

    /// One page asked for again and again within a minute of the clock, over 60 times.
    fn plan_burst(&mut self, session: &mut Session) {
        let count = self.draw.between(70, 120);
        let begin = (session.last_millis() + MIN_PAUSE).next_multiple_of(MINUTE);
        for rank in 1..=count {
            session.millis = begin + rank * (50 * SECOND / count);
            let action = if self.profile.kind == Kind::Ad {
                let campaign = 0;
                let impression = self.next_impression();
                Action::Advertisement { step: AdStep::Impression, impression, campaign, firing: Firing::Only }
            } else {
                Action::View { previous: Previous::Page(session.page), campaign: None }
            };
            session.events.push(Event { millis: session.millis, page: session.page, action, burst_rank: rank as u16 });
        }
    }
}

/// The session so far.
struct Session {
    /// The time of the next event.
    millis: u64,
    events: Vec<Event>,
    page: usize,
}

impl Session {
    fn push(&mut self, action: Action) {
        self.events.push(Event { millis: self.millis, page: self.page, action, burst_rank: 0 });
    }

    fn last_millis(&self) -> u64 {
        self.events.last().map_or(self.millis, |event| event.millis)
    }
}
