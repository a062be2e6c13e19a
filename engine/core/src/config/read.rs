//! How settings are deserialized. Variables of the environment are all text and a file has numbers,
//! so each setting that is not text takes both.

use std::fmt::{self, Formatter};
use std::time::Duration;

use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};

use serde::Deserialize;

use super::{Choice, Linger, RateLimit, Secret, parse_duration, parse_size};

pub(super) fn choice<'de, D: Deserializer<'de>, T: Choice>(deserializer: D) -> Result<Option<T>, D::Error> {
    let names: Vec<&str> = T::CHOICES.iter().map(|(_, name, _)| *name).collect();
    Value::new(format!("one of {}", names.join(", "))).or_text(T::from_name).read(deserializer)
}

pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Value::new("a number").or_text(|text| text.parse().ok()).or_number(Some).read(deserializer)
}

/// Bytes.
///
/// # Errors
/// It is neither a number nor a size with its unit.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::new("bytes, as a number or with a unit: 5120, 300MB, 4GiB");
    value.or_text(|text| parse_size(text).ok()).or_number(Some).read(deserializer)
}

pub(super) fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Value::new("true or false").or_text(|text| text.parse().ok()).or_switch(Some).read(deserializer)
}

/// A time.
///
/// # Errors
/// It is no duration with its unit.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let value = Value::new("a duration with its unit: 250ms, 30s, 5m, 1h 30m");
    value.or_text(|text| parse_duration(text).ok()).read(deserializer)
}

pub(super) fn linger<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Linger>, D::Error> {
    let value = Value::new("`none`, or a duration with its unit: 250ms, 1s");
    value
        .or_text(|text| text.parse().ok())
        .or_number(|number| (number == 0).then_some(Linger::Never))
        .read(deserializer)
}

pub(super) fn rate_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RateLimit>, D::Error> {
    let value = Value::new("`none`, or bytes a second: 5MiB");
    let of_number = |number| Some(RateLimit::BytesPerSecond(number));
    value.or_text(|text| text.parse().ok()).or_number(of_number).read(deserializer)
}

/// Text that no error may show.
///
/// # Errors
/// It is no text.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom("not text"))?;
    Ok(Some(Secret::new(text)))
}

/// A list; text alone is a list of one.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, out: &mut Formatter<'_>) -> fmt::Result {
            out.write_str("text, or a list of it")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = list.next_element()? {
                all.push(text);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(List)
}

/// A value, in each form that it may come in.
struct Value<T> {
    expected: String,
    of_text: fn(&str) -> Option<T>,
    of_number: fn(u64) -> Option<T>,
    of_switch: fn(bool) -> Option<T>,
}

impl<T> Value<T> {
    fn new(expected: impl Into<String>) -> Value<T> {
        Value { expected: expected.into(), of_text: |_| None, of_number: |_| None, of_switch: |_| None }
    }

    fn or_text(self, of_text: fn(&str) -> Option<T>) -> Value<T> {
        Value { of_text, ..self }
    }

    fn or_number(self, of_number: fn(u64) -> Option<T>) -> Value<T> {
        Value { of_number, ..self }
    }

    fn or_switch(self, of_switch: fn(bool) -> Option<T>) -> Value<T> {
        Value { of_switch, ..self }
    }

    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self).map(Some)
    }
}

impl<T> Visitor<'_> for Value<T> {
    type Value = T;

    fn expecting(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.of_text)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.of_number)(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let of_number = u64::try_from(number).ok().and_then(self.of_number);
        of_number.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_bool<E: Error>(self, switch: bool) -> Result<T, E> {
        (self.of_switch)(switch).ok_or_else(|| E::invalid_value(Unexpected::Bool(switch), &self))
    }
}
