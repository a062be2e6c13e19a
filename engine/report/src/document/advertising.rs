//! Advertisements: what of their events counts, what does not, and why.

use pixel_engine_agents::BOT_LIST;
use serde::Serialize;

use super::{View, percent};
use crate::advertising::{self, DefinedAdvertising, MAX_BYTES_OF_ID, Placement, Step, Steps, add_steps};
use crate::rows::{MAX_NAME_LEN, MAX_ROWS};
use crate::state::State;

/// Advertisements by campaign and publisher. No number is scaled: what is billed is in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Advertising {
    /// What each number means; what is known to be invalid is left out in this order.
    pub definitions: Vec<Definition>,
    /// The placements with the most impressions first; equal ones by their names.
    pub rows: Vec<AdvertisingRow>,
    /// The sum of the placements that have no row here, as only so many are shown.
    pub not_shown: AdvertisingSum,
    /// The sum of the placements that came when there were 100,000 already, and of those with a name
    /// of more than 256 bytes.
    pub other: AdvertisingCounts,
    /// The sum of all placements.
    pub total: AdvertisingCounts,
    /// How far duplicates can be told.
    pub ids: IdWindow,
    /// What to know before a bill is made of these numbers.
    pub notes: Vec<String>,
}

/// A name of the document, and what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// The name.
    pub name: &'static str,
    /// What it means.
    pub definition: String,
}

/// A campaign's advertisements at a publisher.
#[derive(Clone, Debug, Serialize)]
pub struct AdvertisingRow {
    /// The campaign; none if the events have none.
    pub campaign: Option<String>,
    /// The publisher; none if the events have none.
    pub publisher: Option<String>,
    /// What was counted.
    #[serde(flatten)]
    pub counts: AdvertisingCounts,
}

/// Some placements together.
#[derive(Clone, Debug, Serialize)]
pub struct AdvertisingSum {
    /// How many.
    pub placements: u64,
    /// What was counted.
    #[serde(flatten)]
    pub counts: AdvertisingCounts,
}

/// Events of advertisements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdvertisingCounts {
    /// Events of impressions.
    pub impressions: Firings,
    /// Events of viewable impressions.
    pub viewable: Firings,
    /// Events of clicks.
    pub clicks: Firings,
    /// Events of conversions.
    pub conversions: Firings,
    /// Net viewable impressions in percent of net impressions; none without any of these.
    pub viewable_percent: Option<f64>,
    /// Net clicks in percent of net impressions.
    pub click_percent: Option<f64>,
    /// Net conversions in percent of net clicks.
    pub conversion_percent: Option<f64>,
}

/// Events of one step: gross = bots + `data_centres` + duplicates + net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Firings {
    /// All of them.
    pub gross: u64,
    /// Those of bots.
    pub bots: u64,
    /// Of all others, those from data centres.
    pub data_centres: u64,
    /// Of all others, those whose id counts already.
    pub duplicates: u64,
    /// What is left.
    pub net: u64,
    /// The part of `net` without an id, of which nobody can say whether it is a duplicate.
    pub without_id: u64,
}

/// The ids by which duplicates are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdWindow {
    /// The most that are kept.
    pub max: u64,
    /// The most memory that these take, in bytes.
    pub max_bytes: u64,
    /// How many are kept.
    pub kept: u64,
    /// How many found no room: if there are any, duplicates that came more than `max` ids apart
    /// count.
    pub forgotten: u64,
}

impl Firings {
    fn of(firings: &advertising::Firings) -> Firings {
        let advertising::Firings { bots, data_centres, duplicates, net, without_id } = *firings;
        Firings { gross: bots + data_centres + duplicates + net, bots, data_centres, duplicates, net, without_id }
    }
}

impl AdvertisingCounts {
    fn of(steps: &Steps) -> AdvertisingCounts {
        let [impressions, viewable, clicks, conversions] = steps.each_ref().map(Firings::of);
        let rate = |part: Firings, all: Firings| (all.net > 0).then(|| percent(part.net, all.net));
        AdvertisingCounts {
            viewable_percent: rate(viewable, impressions),
            click_percent: rate(clicks, impressions),
            conversion_percent: rate(conversions, clicks),
            impressions,
            viewable,
            clicks,
            conversions,
        }
    }

    /// The steps in their order, each with its name.
    pub fn steps(&self) -> [(&'static str, &Firings); 4] {
        let steps = [&self.impressions, &self.viewable, &self.clicks, &self.conversions];
        std::array::from_fn(|index| (Step::ALL[index].name(), steps[index]))
    }
}

pub(super) fn advertising(state: &State, view: &View) -> Option<Advertising> {
    let (ledger, defined) = (state.advertising.as_ref()?, state.defined.advertising.as_ref()?);
    let mut rows: Vec<(&Placement, &Steps)> = ledger.rows.named().collect();
    let impressions = |steps: &Steps| Firings::of(&steps[Step::Impression as usize]).gross;
    rows.sort_unstable_by(|one, other| impressions(other.1).cmp(&impressions(one.1)).then_with(|| one.0.cmp(other.0)));
    let sum = |rows: &[(&Placement, &Steps)]| {
        let mut sum = Steps::default();
        rows.iter().for_each(|(_, steps)| add_steps(&mut sum, **steps));
        sum
    };
    let mut total = sum(&rows);
    add_steps(&mut total, *ledger.rows.other());
    let (shown, not_shown) = rows.split_at(view.top.min(rows.len()));
    let ids = IdWindow {
        max: defined.id_window,
        max_bytes: defined.id_window * MAX_BYTES_OF_ID,
        kept: ledger.ids.len() as u64,
        forgotten: ledger.ids.forgotten(),
    };
    let total = AdvertisingCounts::of(&total);
    let other = AdvertisingCounts::of(ledger.rows.other());
    Some(Advertising {
        definitions: definitions(defined, state),
        rows: shown.iter().map(|(placement, steps)| row(placement, steps)).collect(),
        not_shown: AdvertisingSum {
            placements: not_shown.len() as u64,
            counts: AdvertisingCounts::of(&sum(not_shown)),
        },
        notes: notes(state, defined, &total, &other, ids),
        other,
        total,
        ids,
    })
}

fn row(placement: &Placement, steps: &Steps) -> AdvertisingRow {
    let name = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
    AdvertisingRow {
        campaign: name(&placement.campaign),
        publisher: name(&placement.publisher),
        counts: AdvertisingCounts::of(steps),
    }
}

/// MRC's definition of what is viewable, as a report quotes it. Source: MRC Viewable Ad Impression
/// Measurement Guidelines.
const VIEWABLE: &str = "MRC's guideline asks for at least half of the pixels in view for one second without a break. \
                        A pixel of 1x1 cannot measure that by itself: a script must, and send this event";

fn definitions(defined: &DefinedAdvertising, state: &State) -> Vec<Definition> {
    let [impression, viewable, click, conversion] = &defined.events;
    let own_bots = match &state.defined.own_bots {
        Some(list) => format!(" or your own ({list})"),
        None => String::new(),
    };
    let data_centres = match &defined.networks {
        Some(networks) => format!("of all others, lines whose c-ip is in one of the networks given ({networks})"),
        None => "0, as no networks were given".to_owned(),
    };
    let definition = |name, definition: String| Definition { name, definition };
    vec![
        definition("placement", format!("campaign is {}, publisher is {}", defined.campaign, defined.publisher)),
        definition(
            "impressions",
            format!(
                "events named {impression}. IAB and MRC count an impression that the viewer's browser reports when it \
                 begins to render; whether it does is up to who sends the event"
            ),
        ),
        definition("viewable", format!("events named {viewable}. {VIEWABLE}")),
        definition("clicks", format!("events named {click}")),
        definition("conversions", format!("events named {conversion}")),
        definition("gross", "all lines with that event, whatever the answer to the request was".to_owned()),
        definition("bots", format!("lines whose cs-user-agent is of a bot, by the list {BOT_LIST}{own_bots}")),
        definition("data_centres", data_centres),
        definition(
            "duplicates",
            format!(
                "of all others, lines with the same event and id ({}) as one that counts, among the last {} ids; the \
                 earliest counts, whatever placement the others name",
                defined.impression_id, defined.id_window
            ),
        ),
        definition("net", "what is left: gross = bots + data_centres + duplicates + net".to_owned()),
        definition("without_id", "the part of net that has no id, and may be duplicates".to_owned()),
        definition("viewable_percent", "net viewable impressions in percent of net impressions".to_owned()),
        definition("click_percent", "net clicks in percent of net impressions".to_owned()),
        definition("conversion_percent", "net conversions in percent of net clicks".to_owned()),
    ]
}

fn notes(
    state: &State,
    defined: &DefinedAdvertising,
    total: &AdvertisingCounts,
    other: &AdvertisingCounts,
    ids: IdWindow,
) -> Vec<String> {
    let mut notes = Vec::new();
    let lines = &state.lines;
    if lines.bad > 0 {
        notes.push(format!("{} lines could not be read: whatever they are is in no number", lines.bad));
    }
    if !lines.unread_inputs.is_empty() {
        notes.push(format!("{} inputs were not read, or not to their end", lines.unread_inputs.len()));
    }
    if lines.filtered > 0 {
        notes.push(format!(
            "{} lines were filtered out before they were counted, {} of them as lines that came twice",
            lines.filtered, lines.duplicates
        ));
    }
    if state.defined.sampling < 100.0 {
        notes.push(format!(
            "the log holds {} % of the requests: these numbers are of its lines, they are not scaled, and two of the \
             same id are seldom both there",
            state.defined.sampling
        ));
    }
    let without_id: u64 = total.steps().iter().map(|(_, firings)| firings.without_id).sum();
    if without_id > 0 {
        notes.push(format!("{without_id} events that count have no id and may be duplicates"));
    }
    if ids.forgotten > 0 {
        notes.push(format!(
            "the window of {} ids was full, and {} ids found no room: duplicates farther apart than that count",
            ids.max, ids.forgotten
        ));
    }
    if other.steps().iter().any(|(_, firings)| firings.gross > 0) {
        notes.push(format!(
            "more than {MAX_ROWS} placements, or names of more than {MAX_NAME_LEN} bytes: these are in `other`"
        ));
    }
    if defined.networks.is_none() {
        notes.push("no networks of data centres were given: what comes from there counts".to_owned());
    }
    notes.push(
        "known bots and data centres are the routine part of invalid traffic; the other part needs analysis that a log \
         cannot give"
            .to_owned(),
    );
    notes.push(
        "real-time logs are delivered at best effort, AWS says, and are no full account of all requests: reconcile \
         them with the standard logs of the same hours before a bill is made"
            .to_owned(),
    );
    notes
}
