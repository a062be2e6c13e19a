//! Advertisements: impressions, viewable impressions, clicks and conversions by campaign and
//! publisher, of which bills are made.
//!
//! IAB and MRC ask for the number of all events and for what is left without invalid traffic, never
//! for one of them alone, and for the method beside them. What is known to be invalid from lists,
//! bots by their user agents and data centres by their networks, is the routine part of it ("general
//! invalid traffic"); the other part needs analysis that a log cannot give. Sources: IAB/MRC Desktop
//! Display Impression Guidelines 7.1; MRC Invalid Traffic Detection and Filtration Guidelines.
//!
//! Each event is in one of four numbers, by the first that holds: sent by a bot, from a data centre,
//! a duplicate, or else it counts.

mod ledger;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use pixel_engine_log::select::Selector;
use serde::{Deserialize, Serialize};

use crate::beacon::Value;
use crate::networks::Networks;
use crate::rows::{self, Place, PlaceCache, Raw};
use crate::salt::Salt;
use crate::settings::{SettingsError, event_names, listed, selectors};
use crate::values::Values;
use ledger::{Firing, Verdict};
pub(crate) use ledger::{Firings, Ledger, Placement, Step, Steps, add_steps};
pub(crate) use window::MAX_BYTES_OF_ID;

/// How advertisements are counted; what is `None` has the default that its field names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdvertisingSettings {
    /// Where the campaign is. Default: `query.campaign,query.utm_campaign`.
    pub campaign: Option<String>,
    /// Where the publisher is. Default: `query.publisher,query.pub`.
    pub publisher: Option<String>,
    /// Where the id is that an impression has, and all that follows from it. Default:
    /// `query.iid,query.imp`.
    pub impression_id: Option<String>,
    /// The names that events have: `impression=imp,click=clk`. Those that are not named have the
    /// default: `impression`, `viewable`, `click`, `conversion`.
    pub events: Option<String>,
    /// The networks of data centres. Default: none are known.
    pub networks: Option<Networks>,
    /// How many ids are kept to tell duplicates. Default: 1,000,000.
    pub id_window: Option<u64>,
}

/// The most ids of a window.
const MAX_ID_WINDOW: u64 = 100_000_000;

/// How advertisements are counted, checked.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    campaign: Vec<Selector>,
    publisher: Vec<Selector>,
    impression_id: Vec<Selector>,
    /// By step.
    events: [Box<str>; Step::ALL.len()],
    networks: Option<Networks>,
    pub(crate) id_window: usize,
}

/// How advertisements are counted, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinedAdvertising {
    /// Where the campaign is.
    pub campaign: String,
    /// Where the publisher is.
    pub publisher: String,
    /// Where the id of the impression is.
    pub impression_id: String,
    /// The names of the events of impressions, viewable impressions, clicks and conversions.
    pub events: [String; 4],
    /// How many networks of data centres there are, and what tells lists apart that hold other
    /// addresses.
    pub networks: Option<String>,
    /// How many ids are kept to tell duplicates.
    pub id_window: u64,
}

impl AdvertisingSettings {
    pub(crate) fn validate(&self) -> Result<Definition, SettingsError> {
        let or = |given: &Option<String>, default: &'static str| given.clone().unwrap_or_else(|| default.to_owned());
        let id_window = self.id_window.unwrap_or(1_000_000);
        if !(1..=MAX_ID_WINDOW).contains(&id_window) {
            return Err(SettingsError::IdWindow(MAX_ID_WINDOW));
        }
        Ok(Definition {
            campaign: selectors("campaign", &or(&self.campaign, "query.campaign,query.utm_campaign"))?,
            publisher: selectors("publisher", &or(&self.publisher, "query.publisher,query.pub"))?,
            impression_id: selectors("impression_id", &or(&self.impression_id, "query.iid,query.imp"))?,
            events: event_names("ad_events", Step::ALL.map(Step::name), self.events.as_deref().unwrap_or_default())?,
            networks: self.networks.clone(),
            id_window: id_window as usize,
        })
    }
}

impl Definition {
    pub(crate) fn defined(&self) -> DefinedAdvertising {
        DefinedAdvertising {
            campaign: listed(&self.campaign),
            publisher: listed(&self.publisher),
            impression_id: listed(&self.impression_id),
            events: self.events.clone().map(String::from),
            networks: self
                .networks
                .as_ref()
                .map(|networks| format!("{} networks, {}", networks.len(), networks.digest())),
            id_window: self.id_window as u64,
        }
    }
}

/// Counts advertisements on several threads.
pub(crate) struct Advertising {
    definition: Definition,
    values: Values<3>,
    salt: Salt,
    ledger: Mutex<Ledger>,
}

/// What one thread has noted.
#[derive(Default)]
pub(crate) struct Tally {
    places: PlaceCache,
    firings: Vec<Firing>,
}

impl Advertising {
    pub(crate) fn new(definition: &Definition, salt: Salt) -> Advertising {
        let Definition { campaign, publisher, impression_id, id_window, .. } = definition;
        Advertising {
            values: Values::new([campaign, publisher, impression_id]),
            ledger: Mutex::new(Ledger::new(*id_window)),
            definition: definition.clone(),
            salt,
        }
    }

    /// Notes the line if its event is a step of an advertisement.
    pub(crate) fn note(&self, line: &Line<'_>, event: &str, time: Option<i64>, is_bot: bool, tally: &mut Tally) {
        let Some(step) = Step::ALL.into_iter().find(|step| *self.definition.events[*step as usize] == *event) else {
            return;
        };
        let [campaign, publisher, id] = self.values.read(line);
        let row = self.place(campaign.as_ref(), publisher.as_ref(), tally);
        let verdict = if is_bot {
            Verdict::Bot
        } else if self.is_data_centre(line) {
            Verdict::DataCentre
        } else if let Some(id) = id {
            // Without a time it comes after all others.
            Verdict::Id { key: self.salt.hash(&[b'n', step as u8], &id.decoded()), time: time.unwrap_or(i64::MAX) }
        } else {
            Verdict::WithoutId
        };
        tally.firings.push(Firing { row, step, verdict });
    }

    /// Hands what a thread has noted to what all share.
    pub(crate) fn end_block(&self, tally: &mut Tally) {
        if !tally.firings.is_empty() {
            let mut ledger = self.ledger();
            tally.firings.drain(..).for_each(|firing| ledger.add(&firing));
        }
    }

    /// Everything that was counted; nothing is left.
    pub(crate) fn take(&self) -> Ledger {
        std::mem::replace(&mut self.ledger(), Ledger::new(self.definition.id_window))
    }

    /// Everything that was counted so far.
    pub(crate) fn copy(&self) -> Ledger {
        self.ledger().clone()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, campaign: Option<&Value<'_>>, publisher: Option<&Value<'_>>, tally: &mut Tally) -> Place {
        let parts = [campaign, publisher].map(|value| value.map_or(Raw::Nothing, Raw::Value));
        tally.places.get(parts, || match (rows::name(campaign), rows::name(publisher)) {
            (Ok(campaign), Ok(publisher)) => self.ledger().rows.place(Placement { campaign, publisher }),
            _ => Place::OTHER,
        })
    }

    fn is_data_centre(&self, line: &Line<'_>) -> bool {
        let Some(networks) = &self.definition.networks else { return false };
        line.ip(Field::CIp).is_some_and(|address| networks.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_bounds() {
        for id_window in [0, MAX_ID_WINDOW + 1] {
            let settings = AdvertisingSettings { id_window: Some(id_window), ..AdvertisingSettings::default() };
            assert_eq!(settings.validate().unwrap_err(), SettingsError::IdWindow(MAX_ID_WINDOW));
        }
    }
}
