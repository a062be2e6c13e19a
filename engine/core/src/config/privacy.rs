//! What settings say of personal data.

use std::fmt::{self, Debug, Formatter};
use std::fs;

use pixel_engine_log::field::Field;
use pixel_engine_log::select::{SelectError, Selection, Selector};

use super::settings::{path, selecting};
use super::{ConfigError, HashFunction, Key, Problem, Settings};
use crate::privacy::{Action, KeyedHash, Treatment};

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// That text, from now on a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for whoever has to know it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, to compare it with what somebody presents.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Debug for Secret {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Lines are read by these: one without its time is good, one with something else in its place is
/// not.
const TIMES: [Field; 4] = [Field::Timestamp, Field::TimestampMs, Field::Date, Field::Time];

pub(super) fn treatment(settings: &Settings) -> Result<Option<Treatment>, ConfigError> {
    let mut actions: Vec<(Selector, Action)> = Vec::new();
    let mut add = |key, selector: Selector, action| {
        if actions.iter().any(|(other, _)| *other == selector) {
            return Err(selecting(key, SelectError::Duplicate(selector.to_string())));
        }
        if let Selector::Field(field) = selector
            && key != Key::Drop
            && TIMES.contains(&field)
        {
            let why = "lines are read by their time; it can only be dropped";
            return Err(ConfigError::new(key, None, Problem::Needed { name: selector.to_string(), why }));
        }
        actions.push((selector, action));
        Ok(())
    };
    for selector in selected(Key::Drop, settings.drop.as_deref())? {
        add(Key::Drop, selector, Action::Drop)?;
    }
    for text in &settings.replace {
        let refused = |problem| ConfigError::new(Key::Replace, text.clone(), problem);
        let (name, value) = text.split_once('=').ok_or_else(|| refused(Problem::NoValue))?;
        let selector = name.parse().map_err(|error| refused(Problem::Select(error)))?;
        add(Key::Replace, selector, Action::Replace(value.as_bytes().into()))?;
    }
    let hashed = selected(Key::Hash, settings.hash.as_deref())?;
    if !hashed.is_empty() {
        let hash = keyed_hash(settings)?;
        for selector in hashed {
            add(Key::Hash, selector, Action::Hash(hash.clone()))?;
        }
    }
    let mask_ip = settings.mask_ip.unwrap_or_default();
    Ok((mask_ip || !actions.is_empty()).then_some(Treatment { mask_ip, actions }))
}

fn selected(key: Key, list: Option<&str>) -> Result<Vec<Selector>, ConfigError> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let selection: Selection = list.parse().map_err(|error| selecting(key, error))?;
    Ok(selection.selectors().to_vec())
}

fn keyed_hash(settings: &Settings) -> Result<KeyedHash, ConfigError> {
    let file = path(Key::HashKeyFile, settings.hash_key_file.as_deref())?;
    let (from, key) = match (&settings.hash_key, file) {
        (Some(_), Some(_)) => {
            let why = "only one of them can be the key";
            let problem = Problem::Excluded { by: Key::HashKeyFile, value: None, why };
            return Err(ConfigError::new(Key::HashKey, None, problem));
        }
        (Some(Secret(key)), None) => (Key::HashKey, key.clone().into_bytes()),
        (None, Some(file)) => {
            let refused = |error| ConfigError::new(Key::HashKeyFile, file.display().to_string(), Problem::File(error));
            let mut key = fs::read(&file).map_err(refused)?;
            // What an editor or `echo` has put behind it.
            if key.pop_if(|byte| *byte == b'\n').is_some() {
                key.pop_if(|byte| *byte == b'\r');
            }
            (Key::HashKeyFile, key)
        }
        (None, None) => {
            let why = "who does not know the key of a hash must not be able to guess the value";
            let problem = Problem::Alone { needs: Key::HashKeyFile, value: None, why };
            return Err(ConfigError::new(Key::Hash, None, problem));
        }
    };
    if key.len() < KeyedHash::MIN_KEY_LEN {
        let problem = Problem::ShortKey { len: key.len(), min: KeyedHash::MIN_KEY_LEN };
        return Err(ConfigError::new(from, None, problem));
    }
    Ok(match settings.hash_with.unwrap_or_default() {
        HashFunction::Blake3 => KeyedHash::blake3(&key),
        HashFunction::HmacSha256 => KeyedHash::hmac_sha256(&key),
    })
}
