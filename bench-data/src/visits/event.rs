//! One event of a visit, and the query that reports it.

use crate::hit::Hit;
use crate::random::Draw;
use crate::tables::SCREENS;
use crate::text::{push_decimal, push_hex, push_padded};
use crate::visits::EVENT_NAMES;
use crate::visits::vocabulary::{MEDIA, Vocabulary};

/// An event that is planned.
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) millis: u64,
    /// The page it is on, by where it stands in the tables.
    pub(super) page: usize,
    pub(super) action: Action,
    /// From 1 on in a burst, 0 outside of one.
    pub(super) burst_rank: u16,
}

/// What happens.
#[derive(Clone, Copy)]
pub(super) enum Action {
    View {
        previous: Previous,
        campaign: Option<Campaign>,
    },
    /// A step of a purchase on the way from `cart` to `paid`.
    Purchase {
        step: Step,
        cents: u64,
        order: u64,
    },
    Advertisement {
        step: AdStep,
        /// The impression, the same for all that follows from it.
        impression: u64,
        campaign: usize,
        firing: Firing,
    },
    /// A request without a query.
    Bare,
}

/// The page before a page.
#[derive(Clone, Copy)]
pub(super) enum Previous {
    /// One of another site's, by where it stands in the tables, or none at all.
    Elsewhere(usize),
    /// One of the same site.
    Page(usize),
}

/// The campaign whose link led to a page.
#[derive(Clone, Copy)]
pub(super) struct Campaign {
    /// By where it stands in the tables.
    pub(super) name: usize,
    pub(super) medium: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Cart,
    Checkout,
    Paid,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AdStep {
    Impression,
    Viewable,
    Click,
    Conversion,
}

/// Scripts fire some events a second time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Firing {
    Only,
    /// And there will be a second.
    First,
    Second,
}

impl Action {
    /// Where the event's name stands in [`EVENT_NAMES`]; `None` for a request without a query.
    pub(super) fn name(&self) -> Option<usize> {
        match self {
            Action::View { .. } => Some(0),
            Action::Purchase { step, .. } => Some(1 + *step as usize),
            Action::Advertisement { step, .. } => Some(4 + *step as usize),
            Action::Bare => None,
        }
    }

    /// Whether another name would leave no trace but itself: what is fired twice must be the same
    /// event both times.
    pub(super) fn may_be_renamed(&self) -> bool {
        match self {
            Action::Advertisement { firing, .. } => *firing == Firing::Only,
            Action::Bare => false,
            _ => true,
        }
    }
}

/// What is wrong with an event, at most one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anomaly {
    Failure,
    UnknownName,
    MissingId,
    Doubled,
    BrokenEscape,
    InvalidUtf8,
    LongQuery,
    /// A line that cannot be read follows.
    Unreadable,
}

impl Anomaly {
    /// Whether it is another line beside the event's own.
    pub(super) fn adds_line(&self) -> bool {
        matches!(self, Anomaly::Doubled | Anomaly::Unreadable)
    }
}

/// The name of an event that nobody expects.
pub(super) const UNKNOWN_NAME: &str = "undefined";

/// What is needed to write the query of an event.
pub(super) struct QueryParts<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) hit: &'a Hit<'a>,
    pub(super) action: &'a Action,
    pub(super) site: usize,
    pub(super) has_id: bool,
    pub(super) anomaly: Option<Anomaly>,
}

impl QueryParts<'_> {
    /// Appends the query as CloudFront logs it: the viewer's own escapes show as `%25XX`.
    pub(super) fn push(&self, out: &mut Vec<u8>, draw: &mut Draw) {
        let Some(name) = self.action.name() else { return };
        let tables = &self.vocabulary.tables;
        let name = if self.anomaly == Some(Anomaly::UnknownName) { UNKNOWN_NAME } else { EVENT_NAMES[name] };
        out.extend_from_slice(b"e=");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"&url=");
        out.extend_from_slice(&self.hit.page.value);
        match *self.action {
            Action::View { previous, campaign } => {
                out.extend_from_slice(b"&ref=");
                out.extend_from_slice(match previous {
                    Previous::Elsewhere(index) => &tables.referrers.items()[index],
                    Previous::Page(index) => &tables.pages.items()[index].value,
                });
                if let Some(campaign) = campaign {
                    let (source, medium) = MEDIA[campaign.medium];
                    out.extend_from_slice(b"&utm_source=");
                    out.extend_from_slice(source.as_bytes());
                    out.extend_from_slice(b"&utm_medium=");
                    out.extend_from_slice(medium.as_bytes());
                    out.extend_from_slice(b"&utm_campaign=");
                    out.extend_from_slice(&tables.campaigns.items()[campaign.name]);
                }
            }
            Action::Purchase { step, cents, order } => {
                if step == Step::Paid {
                    out.extend_from_slice(b"&order=");
                    push_hex::<12>(out, order);
                }
                out.extend_from_slice(b"&value=");
                push_decimal(out, cents / 100);
                out.push(b'.');
                push_padded::<2>(out, cents % 100);
                out.extend_from_slice(b"&currency=EUR");
            }
            Action::Advertisement { impression, campaign, .. } => {
                out.extend_from_slice(b"&campaign=");
                out.extend_from_slice(&tables.campaigns.items()[campaign]);
                out.extend_from_slice(b"&publisher=");
                out.extend_from_slice(self.vocabulary.sites.items()[self.site].host.as_bytes());
                out.extend_from_slice(b"&iid=");
                push_hex::<16>(out, impression);
            }
            Action::Bare => {}
        }
        if self.has_id {
            out.extend_from_slice(b"&uid=");
            push_hex::<16>(out, self.hit.visitor.id);
        }
        out.extend_from_slice(b"&l=");
        out.extend_from_slice(self.hit.network.language.as_bytes());
        out.extend_from_slice(b"&s=");
        out.extend_from_slice(SCREENS[self.hit.visitor.screen]);
        // The browser's clock when it sent the hit, before CloudFront had answered.
        out.extend_from_slice(b"&t=");
        push_decimal(out, self.hit.millis.saturating_sub(draw.between(20, 150)));
        match self.anomaly {
            Some(Anomaly::BrokenEscape) => out.extend_from_slice(b"&discount=50%25off"),
            Some(Anomaly::InvalidUtf8) => out.extend_from_slice(b"&city=Z%25FCrich"),
            Some(Anomaly::LongQuery) => {
                out.extend_from_slice(b"&note=");
                out.extend(std::iter::repeat_n(b"and+so+on+", MAX_USUAL_QUERY_LEN / 10).flatten());
            }
            _ => {}
        }
    }
}

/// A query is longer than this many bytes for [`Anomaly::LongQuery`] only: the length to which
/// CloudFront cuts other columns, though no page says so of this one.
pub(super) const MAX_USUAL_QUERY_LEN: usize = 800;
