//! Why settings make no configuration.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;

use super::units::format_duration;
use super::{Key, TargetError};
use crate::compress::UnknownCodec;
use pixel_engine_log::schema::{PRESETS, SchemaError};
use pixel_engine_log::select::SelectError;

/// A setting that cannot be used: its key, and what is wrong with it.
///
/// ```
/// use pixel_engine_core::config::{Key, Settings};
///
/// let settings = Settings { record_size: Some(10), ..Settings::default() };
/// let error = settings.validate().expect_err("it is too small");
/// assert_eq!(error.key(), Key::RecordSize);
/// assert_eq!(error.to_string(), "record_size = 10: must be from 1024 to 1024000 bytes for a record of lines");
/// ```
#[derive(Debug)]
pub struct ConfigError {
    key: Key,
    value: Option<String>,
    problem: Problem,
}

/// What is wrong with a setting.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// A size that is too small or too large for what it is the size of.
    Size {
        /// The least bytes.
        min: usize,
        /// The most bytes.
        max: usize,
        /// What has that size.
        of: &'static str,
    },
    /// A number that is too small or too large.
    Count {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A time that is too short or too long.
    Time {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Zero or empty text where something must be.
    Nothing {
        /// What would come of it, or what must be there.
        why: &'static str,
    },
    /// Another setting excludes this one, whatever its value.
    Excluded {
        /// The other one.
        by: Key,
        /// The value of the other one that does not go with this one; `None` for any.
        value: Option<&'static str>,
        /// Why.
        why: &'static str,
    },
    /// This setting means something only together with another one.
    Alone {
        /// The other one.
        needs: Key,
        /// The value that the other one must have; `None` for any.
        value: Option<&'static str>,
        /// Why.
        why: &'static str,
    },
    /// Two settings name the same file, which is written in two ways then.
    SameFile {
        /// The other one.
        other: Key,
    },
    /// The stream is also used for something else.
    SameStream {
        /// The other one.
        other: Key,
    },
    /// Not the name of a place to deliver to.
    Target(TargetError),
    /// Not a codec, or a level that it does not have.
    Codec(UnknownCodec),
    /// Not a list of fields, or two that cannot be told apart.
    Fields(SchemaError),
    /// More than one list for standard logs without a header: nothing tells which of them a line
    /// has.
    OneList,
    /// The file with the list of fields cannot be read.
    File(io::Error),
    /// Not a selection, a condition or the name of a value.
    Select(SelectError),
    /// Not of the form `SELECTOR=VALUE`.
    NoValue,
    /// A value that must stay as it is.
    Needed {
        /// Its name.
        name: String,
        /// What it is needed for.
        why: &'static str,
    },
    /// A key that can be guessed.
    ShortKey {
        /// Its bytes.
        len: usize,
        /// The least bytes.
        min: usize,
    },
}

impl ConfigError {
    pub(super) fn new(key: Key, value: impl Into<Option<String>>, problem: Problem) -> ConfigError {
        ConfigError { key, value: value.into(), problem }
    }

    /// The setting.
    pub fn key(&self) -> Key {
        self.key
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The message, with each key and its value as `spell` writes them: a program with flags spells
    /// `record_size` and `10` as `--record-size 10`.
    pub fn spelled(&self, spell: impl Fn(Key, Option<&str>) -> String) -> String {
        let key = spell(self.key, self.value.as_deref());
        match &self.problem {
            Problem::Size { min, max, of } => format!("{key}: must be from {min} to {max} bytes for {of}"),
            Problem::Count { min, max } => format!("{key}: must be from {min} to {max}"),
            Problem::Time { min, max } => {
                format!("{key}: must be from {} to {}", format_duration(*min), format_duration(*max))
            }
            Problem::Nothing { why } => format!("{key}: {why}"),
            Problem::Excluded { by, value, why } => {
                format!("{key} does not go with {}: {why}", spell(*by, *value))
            }
            Problem::Alone { needs, value, why } => format!("{key} needs {}: {why}", spell(*needs, *value)),
            Problem::SameFile { other } => format!("{key} is also the file of {}: name another", spell(*other, None)),
            Problem::SameStream { other } => {
                format!("{key} is also the stream of {}: name another", spell(*other, None))
            }
            Problem::Target(error) => format!("{key}: {error}"),
            Problem::Codec(error) => format!("{key}: {error}"),
            Problem::Fields(error @ SchemaError::UnknownField { suggestion: None, .. }) => {
                let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
                format!("{key}: {error}; presets are {}", presets.join(", "))
            }
            Problem::Fields(error) => format!("{key}: {error}"),
            Problem::OneList => format!("{key}: standard logs without a header take one list"),
            Problem::File(error) => format!("{key}: {error}"),
            Problem::Select(error) => format!("{key}: {error}"),
            Problem::NoValue => format!("{key}: not of the form SELECTOR=VALUE"),
            Problem::Needed { name, why } => format!("{key}: not `{name}`: {why}"),
            Problem::ShortKey { len, min } => format!("{key}: a key of {len} bytes; it needs {min} or more"),
        }
    }
}

/// The message with keys as they stand in a file: `record_size = 10`.
impl Display for ConfigError {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.spelled(|key, value| match value {
            Some(value) => format!("{key} = {value}"),
            None => key.to_string(),
        }))
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Target(error) => Some(error),
            Problem::Codec(error) => Some(error),
            Problem::Fields(error) => Some(error),
            Problem::File(error) => Some(error),
            Problem::Select(error) => Some(error),
            _ => None,
        }
    }
}
