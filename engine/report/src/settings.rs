//! What a report counts: what a user chose, and what follows from it.
//!
//! [`Settings`] are texts and numbers, as flags give them; [`Definitions`] are checked, and travel
//! with what was counted under them: two [`State`](crate::State)s can be merged only when these are
//! the same.

use std::time::Duration;

use pixel_engine_log::select::{SelectError, Selector};
use serde::{Deserialize, Serialize};

use crate::advertising::{self, AdvertisingSettings, DefinedAdvertising};
use crate::funnel::{Funnel, FunnelError};
use crate::salt::Salt;
use crate::shop::{self, DefinedShop, ShopSettings};

/// What to count; what is `None` has the default that its field names.
#[derive(Clone, Default, PartialEq)]
pub struct Settings {
    /// Where the name of an event is: fields and parameters, the first that a line has counts.
    /// Default: `query.e,query.event,query.ev`.
    pub event: Option<String>,
    /// Where the page is that the beacon was sent from. Default: `query.url,query.u,cs-referer`, as
    /// a browser names the page as the pixel's referrer.
    pub page: Option<String>,
    /// Where the page's own referrer is. Default: `query.ref,query.r`.
    pub referrer: Option<String>,
    /// Where an id of the visitor is. Default: `query.uid,query.user_id`. A visitor without one is
    /// its address and user agent.
    pub visitor: Option<String>,
    /// The events that are known, separated by commas; others are reported as abnormal. Default:
    /// all are known.
    pub known_events: Option<String>,
    /// The longest pause inside of a session. Default: 30 minutes.
    pub session_gap: Option<Duration>,
    /// The steps of a funnel, such as `view > cart > paid`.
    pub funnel: Option<String>,
    /// The longest time from a step to the next. Default: the session gap.
    pub funnel_gap: Option<Duration>,
    /// More beacons than this of one visitor in a minute are a burst. Default: 60.
    pub burst: Option<u32>,
    /// The percentage of requests that the log holds. Default: 100.
    pub sampling: Option<f64>,
    /// What visitors are hashed with, so that reports of several machines can be merged. Default:
    /// random bytes.
    pub salt: Option<Vec<u8>>,
    /// The list of bots of your own that [`Agents`](pixel_engine_agents::Agents) have, if any:
    /// reports by other lists are not merged.
    pub own_bots: Option<String>,
    /// How advertisements are counted. Default: not at all.
    pub advertising: Option<AdvertisingSettings>,
    /// How a shop is counted. Default: not at all. Its steps are the funnel if none is given.
    pub shop: Option<ShopSettings>,
    /// Whether the ids of all lines are kept, so that the log can be reconciled with another one.
    pub reconcile: bool,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A name that is no field or parameter.
    #[error("{of}: {error}")]
    Field {
        /// Which setting.
        of: &'static str,
        /// What is wrong with it.
        error: SelectError,
    },
    /// A list of fields without one.
    #[error("{0}: the list names no field")]
    NoField(&'static str),
    /// A funnel that is none.
    #[error("funnel: {0}")]
    Funnel(#[from] FunnelError),
    /// A gap of no time, or of more than a year.
    #[error("{0}: must be between 1 ms and 366 days")]
    Gap(&'static str),
    /// A percentage that is none.
    #[error("sampling must be above 0 and at most 100 percent")]
    Sampling,
    /// A salt that can be guessed.
    #[error("the salt has {0} bytes; it needs at least {MIN_SALT_LEN}, so that nobody finds addresses by trying")]
    ShortSalt(usize),
    /// The system has no random numbers.
    #[error("no random salt: {0}")]
    Random(String),
    /// A list of names for events in which something is no name.
    #[error("{of}: `{pair}` is no pair of a step and a name; the steps are {steps}")]
    EventName {
        /// Which setting.
        of: &'static str,
        /// What is wrong.
        pair: String,
        /// What there can be names for.
        steps: String,
    },
    /// Two steps would be one.
    #[error("{of}: two steps have events named `{name}`")]
    SameEventName {
        /// Which setting.
        of: &'static str,
        /// The name.
        name: String,
    },
    /// A window of no ids, or of more than fit into memory.
    #[error("id_window: an advertisement's ids are told from the last 1 to {0}")]
    IdWindow(u64),
}

impl SettingsError {
    /// The setting that is wrong; none if the system is at fault.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            SettingsError::Field { of, .. }
            | SettingsError::NoField(of)
            | SettingsError::Gap(of)
            | SettingsError::EventName { of, .. }
            | SettingsError::SameEventName { of, .. } => Some(of),
            SettingsError::Funnel(_) => Some("funnel"),
            SettingsError::Sampling => Some("sampling"),
            SettingsError::ShortSalt(_) => Some("salt"),
            SettingsError::IdWindow(_) => Some("id_window"),
            SettingsError::Random(_) => None,
        }
    }
}

/// The shortest salt in bytes.
const MIN_SALT_LEN: usize = 16;

/// What a report counts, checked.
#[derive(Clone, Debug)]
pub struct Definitions {
    pub(crate) event: Vec<Selector>,
    pub(crate) page: Vec<Selector>,
    pub(crate) referrer: Vec<Selector>,
    pub(crate) visitor: Vec<Selector>,
    pub(crate) known_events: Vec<Box<str>>,
    pub(crate) session_gap_millis: i64,
    pub(crate) funnel: Option<Funnel>,
    pub(crate) funnel_gap_millis: i64,
    pub(crate) burst: u32,
    pub(crate) sampling: f64,
    pub(crate) salt: Salt,
    pub(crate) own_bots: Option<String>,
    pub(crate) advertising: Option<advertising::Definition>,
    pub(crate) shop: Option<shop::Definition>,
    pub(crate) reconcile: bool,
}

impl Settings {
    /// The definitions that these are.
    ///
    /// # Errors
    /// A field that is not known, a funnel that cannot be read, a number out of its range, or a
    /// salt of less than 16 bytes.
    pub fn validate(&self) -> Result<Definitions, SettingsError> {
        let session_gap = self.session_gap.unwrap_or(Duration::from_secs(30 * 60));
        let session_gap_millis = millis("session_gap", session_gap)?;
        let funnel_gap_millis = millis("funnel_gap", self.funnel_gap.unwrap_or(session_gap))?;
        let sampling = self.sampling.unwrap_or(100.0);
        if !(sampling > 0.0 && sampling <= 100.0) {
            return Err(SettingsError::Sampling);
        }
        let shop = self.shop.as_ref().map(ShopSettings::validate).transpose()?;
        let shop_steps = shop.as_ref().map(|shop| shop.events.join(" > "));
        let known_events = self.known_events.as_deref().unwrap_or_default().split(',').map(str::trim);
        Ok(Definitions {
            event: selectors("event", self.event.as_deref().unwrap_or("query.e,query.event,query.ev"))?,
            page: selectors("page", self.page.as_deref().unwrap_or("query.url,query.u,cs-referer"))?,
            referrer: selectors("referrer", self.referrer.as_deref().unwrap_or("query.ref,query.r"))?,
            visitor: selectors("visitor", self.visitor.as_deref().unwrap_or("query.uid,query.user_id"))?,
            known_events: known_events.filter(|name| !name.is_empty()).map(Box::from).collect(),
            session_gap_millis,
            funnel: self.funnel.as_ref().or(shop_steps.as_ref()).map(|steps| steps.parse()).transpose()?,
            funnel_gap_millis,
            burst: self.burst.unwrap_or(60),
            sampling,
            salt: self.salt()?,
            own_bots: self.own_bots.clone(),
            advertising: self.advertising.as_ref().map(AdvertisingSettings::validate).transpose()?,
            shop,
            reconcile: self.reconcile,
        })
    }

    fn salt(&self) -> Result<Salt, SettingsError> {
        let mut key = [0; 16];
        match &self.salt {
            None => getrandom::fill(&mut key).map_err(|error| SettingsError::Random(error.to_string()))?,
            Some(text) if text.len() < MIN_SALT_LEN => return Err(SettingsError::ShortSalt(text.len())),
            Some(text) => key.copy_from_slice(&blake3::hash(text).as_bytes()[..16]),
        }
        Ok(Salt(key))
    }
}

fn millis(of: &'static str, time: Duration) -> Result<i64, SettingsError> {
    const MAX: u128 = 366 * 24 * 60 * 60 * 1000;
    match time.as_millis() {
        millis @ 1..=MAX => Ok(millis as i64),
        _ => Err(SettingsError::Gap(of)),
    }
}

pub(crate) fn selectors(of: &'static str, list: &str) -> Result<Vec<Selector>, SettingsError> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let selectors = names.map(|name| name.parse().map_err(|error| SettingsError::Field { of, error }));
    let selectors: Vec<Selector> = selectors.collect::<Result<_, _>>()?;
    if selectors.is_empty() { Err(SettingsError::NoField(of)) } else { Ok(selectors) }
}

/// The names of the steps' events, by a list such as `impression=imp,click=clk`; a step that it
/// does not name is the name of its event.
pub(crate) fn event_names<const N: usize>(
    of: &'static str,
    steps: [&str; N],
    list: &str,
) -> Result<[Box<str>; N], SettingsError> {
    let mut names = steps.map(Box::<str>::from);
    for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let wrong = || SettingsError::EventName { of, pair: pair.to_owned(), steps: steps.join(", ") };
        let (step, name) = pair.split_once('=').ok_or_else(wrong)?;
        let step = steps.iter().position(|known| *known == step.trim()).ok_or_else(wrong)?;
        if name.trim().is_empty() {
            return Err(wrong());
        }
        names[step] = name.trim().into();
    }
    match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        Some((_, name)) => Err(SettingsError::SameEventName { of, name: name.to_string() }),
        None => Ok(names),
    }
}

pub(crate) fn listed(selectors: &[Selector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The definitions as text: what a report prints beside its numbers, and what must be the same for
/// two to be merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Defined {
    /// Where the name of an event is.
    pub event: String,
    /// Where the page is.
    pub page: String,
    /// Where the page's referrer is.
    pub referrer: String,
    /// Where an id of the visitor is, before address and user agent.
    pub visitor: String,
    /// The events that are known; empty for all.
    pub known_events: Vec<String>,
    /// The longest pause inside of a session, in milliseconds.
    pub session_gap_millis: i64,
    /// The steps of the funnel.
    pub funnel: Option<String>,
    /// The longest time from a step to the next, in milliseconds.
    pub funnel_gap_millis: Option<i64>,
    /// The most events in a minute that are no burst.
    pub burst: u32,
    /// The percentage of requests that the log holds.
    pub sampling: f64,
    /// Tells salts apart without telling what they are.
    pub salt_check: String,
    /// Tells your own lists of bots apart; none without one.
    pub own_bots: Option<String>,
    /// How advertisements are counted, if they are.
    pub advertising: Option<DefinedAdvertising>,
    /// How a shop is counted, if it is.
    pub shop: Option<DefinedShop>,
    /// Whether the ids of all lines are kept.
    pub reconcile: bool,
}

impl Defined {
    /// The first setting that is another one there, with both values.
    pub(crate) fn difference(&self, other: &Defined) -> Option<(String, String, String)> {
        let (own, others) = (self.settings(), other.settings());
        let (own, others) = own.zip(others).find(|(own, other)| own.1 != other.1)?;
        Some((own.0, own.1, others.1))
    }

    fn settings(&self) -> impl Iterator<Item = (String, String)> {
        let serde_json::Value::Object(fields) = serde_json::to_value(self).expect("texts and numbers") else {
            unreachable!("a struct is an object")
        };
        fields.into_iter().map(|(name, value)| (name, value.to_string()))
    }
}

impl Definitions {
    /// As text.
    pub fn defined(&self) -> Defined {
        Defined {
            event: listed(&self.event),
            page: listed(&self.page),
            referrer: listed(&self.referrer),
            visitor: listed(&self.visitor),
            known_events: self.known_events.iter().map(ToString::to_string).collect(),
            session_gap_millis: self.session_gap_millis,
            funnel: self.funnel.as_ref().map(ToString::to_string),
            funnel_gap_millis: self.funnel.as_ref().map(|_| self.funnel_gap_millis),
            burst: self.burst,
            sampling: self.sampling,
            // 32 bits: enough to tell two salts apart, too few to find one of 128 by.
            salt_check: blake3::hash(&self.salt.0).to_hex()[..8].to_owned(),
            own_bots: self.own_bots.as_ref().map(|list| blake3::hash(list.as_bytes()).to_hex()[..16].to_owned()),
            advertising: self.advertising.as_ref().map(advertising::Definition::defined),
            shop: self.shop.as_ref().map(shop::Definition::defined),
            reconcile: self.reconcile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let error = |settings: Settings| settings.validate().unwrap_err().to_string();
        assert!(error(Settings { event: Some("qurey.e".into()), ..Settings::default() }).starts_with("event: unknown"));
        assert_eq!(error(Settings { page: Some(", ".into()), ..Settings::default() }), "page: the list names no field");
        assert_eq!(
            error(Settings { session_gap: Some(Duration::ZERO), ..Settings::default() }),
            "session_gap: must be between 1 ms and 366 days"
        );
        assert!(error(Settings { salt: Some(b"short".to_vec()), ..Settings::default() }).contains("5 bytes"));
        for percent in [0.0, -1.0, 100.1, f64::NAN] {
            assert_eq!(
                Settings { sampling: Some(percent), ..Settings::default() }.validate().unwrap_err(),
                SettingsError::Sampling
            );
        }
    }

    #[test]
    fn events_have_the_names_that_they_are_given() {
        let names = |list| event_names("ad_events", ["impression", "click"], list);
        assert_eq!(names("").unwrap().map(String::from), ["impression", "click"]);
        assert_eq!(names(" impression=imp, click = clk,").unwrap().map(String::from), ["imp", "clk"]);
        for (list, says) in [
            ("imp", "`imp` is no pair of a step and a name; the steps are impression, click"),
            ("view=imp", "`view=imp` "),
            ("click=", "`click=` "),
            ("impression=click", "two steps have events named `click`"),
        ] {
            let error = names(list).unwrap_err().to_string();
            assert!(error.starts_with("ad_events: ") && error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_steps_of_a_shop_are_its_funnel() {
        let funnel = |settings: Settings| settings.validate().unwrap().defined().funnel;
        let shop = || Some(ShopSettings { events: Some("paid=order".into()), ..ShopSettings::default() });
        assert_eq!(
            funnel(Settings { shop: shop(), ..Settings::default() }).as_deref(),
            Some("view > cart > checkout > order")
        );
        let own = Settings { shop: shop(), funnel: Some("a > b".into()), ..Settings::default() };
        assert_eq!(funnel(own).as_deref(), Some("a > b"));
        assert_eq!(funnel(Settings::default()), None);
    }

    #[test]
    fn salts_are_told_apart_and_not_told() {
        let defined = |salt: Option<&[u8]>| {
            Settings { salt: salt.map(<[u8]>::to_vec), ..Settings::default() }.validate().unwrap().defined()
        };
        let (one, same) = (defined(Some(b"0123456789abcdef")), defined(Some(b"0123456789abcdef")));
        assert_eq!(one.difference(&same), None);
        let (name, ..) = one.difference(&defined(Some(b"fedcba9876543210"))).unwrap();
        assert_eq!(name, "salt_check");
        assert!(defined(None).difference(&defined(None)).is_some(), "random each time");
    }
}
