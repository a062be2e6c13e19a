//! By what Firehose puts records into folders: values of their lines.
//!
//! Firehose puts a value into the key of an S3 object where its prefix says
//! `!{partitionKeyFromLambda:NAME}`. Values come from whoever asks for the pixel, so what would mean
//! something in a path or to a reader of partitions (`/`, `=`, `%`…) is written as Hive does it:
//! `%2F`. A value that is absent or empty is `-`, as in the log: Firehose takes no empty key.

use std::fmt::Write;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pixel_engine_core::observe::Observer;
use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use pixel_engine_log::select::Selector;

/// The values that a line's folder is named by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionKeys(Vec<PartitionKey>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct PartitionKey {
    name: String,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// The day of the line's time in UTC: `2026-01-05`.
    Date,
    /// Its hour in UTC: `07`.
    Hour,
    Of(Selector),
}

/// The most keys that a record can have.
///
/// Source: dynamic partitioning in the Firehose quotas.
const MAX_KEYS: usize = 50;
/// The longest value, in bytes: the evaluated prefix of an object has no more characters.
///
/// Source: "custom prefixes" in the Firehose developer guide.
const MAX_VALUE_LEN: usize = 512;

/// `date, hour, sc-status, query.campaign`.
impl FromStr for PartitionKeys {
    type Err = String;

    fn from_str(list: &str) -> Result<PartitionKeys, String> {
        let mut keys: Vec<PartitionKey> = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let value = match name {
                "date" => Value::Date,
                "hour" => Value::Hour,
                _ => Value::Of(name.parse().map_err(|error| format!("{error}; or `date` or `hour`"))?),
            };
            let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
            if keys.iter().any(|key| key.name == name) {
                return Err(format!("two keys would have the name `{name}`"));
            }
            keys.push(PartitionKey { name, value });
        }
        match keys.len() {
            0 => Err("no key: date, hour, or the name of a field".to_owned()),
            1..=MAX_KEYS => Ok(PartitionKeys(keys)),
            count => Err(format!("{count} keys, and Firehose takes no more than {MAX_KEYS}")),
        }
    }
}

/// The keys of the lines of a block.
#[derive(Debug, Default)]
pub(super) struct KeysOfLines {
    /// Each as the object `partitionKeys` of a reply.
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
    /// Lines with a value that is too long for Firehose.
    too_long: Vec<usize>,
    time: Option<TimeText>,
}

/// The time of a line as text: nearly always that of the line before.
#[derive(Clone, Debug)]
struct TimeText {
    /// Hours since the epoch, where they are known.
    hour_number: Option<i64>,
    date: String,
    hour: String,
}

impl KeysOfLines {
    /// Those of line `index`.
    pub(super) fn of(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    /// Whether line `index` has a value that is too long.
    pub(super) fn is_too_long(&self, index: usize) -> bool {
        self.too_long.binary_search(&index).is_ok()
    }
}

impl Observer for PartitionKeys {
    type Tally = KeysOfLines;

    fn observe(&self, line: &Line<'_>, _text: &[u8], tally: &mut KeysOfLines) {
        let KeysOfLines { text, ends, too_long, time } = tally;
        set_time(time, line);
        for (index, key) in self.0.iter().enumerate() {
            let comma = if index == 0 { '{' } else { ',' };
            write!(text, "{comma}\"{}\":\"", key.name).expect("memory takes all text");
            let before = text.len();
            match (&key.value, &time) {
                (Value::Date, Some(time)) => text.push_str(&time.date),
                (Value::Hour, Some(time)) => text.push_str(&time.hour),
                (Value::Date | Value::Hour, None) => {}
                (Value::Of(selector), _) => {
                    let value = selector.value(line).unwrap_or_default();
                    escape(&String::from_utf8_lossy(&value), text);
                }
            }
            if text.len() == before {
                text.push('-');
            }
            if text.len() - before > MAX_VALUE_LEN && too_long.last() != Some(&ends.len()) {
                too_long.push(ends.len());
            }
            text.push('"');
        }
        text.push('}');
        ends.push(text.len());
    }

    fn merge(&self, into: &mut KeysOfLines, from: KeysOfLines) {
        // A block is noted on one thread, and taken before the next one.
        *into = from;
    }
}

/// The time of the line, unless it is that of the line before.
fn set_time(time: &mut Option<TimeText>, line: &Line<'_>) {
    if let (Some(date), Some(time_of_day)) = (line.get(Field::Date), line.get(Field::Time)) {
        // Standard logs have both as they are wanted; the check has seen to it that they are digits.
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        *time = Some(TimeText { hour_number: None, date: text(date), hour: text(&time_of_day[..2]) });
        return;
    }
    let Some(seconds) = seconds_since_epoch(line) else {
        *time = None;
        return;
    };
    let hour_number = Some(seconds / SECONDS_PER_HOUR);
    if time.as_ref().is_none_or(|time| time.hour_number != hour_number) {
        *time = Timestamp::from_second(seconds).ok().map(|timestamp| {
            let civil = TimeZone::UTC.to_datetime(timestamp);
            TimeText { hour_number, date: civil.date().to_string(), hour: format!("{:02}", civil.hour()) }
        });
    }
}

const SECONDS_PER_HOUR: i64 = 3_600;

/// The time of a line of real-time logs.
fn seconds_since_epoch(line: &Line<'_>) -> Option<i64> {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    match line.get(Field::Timestamp) {
        Some(timestamp) => number(timestamp.split(|&byte| byte == b'.').next()?),
        None => Some(number(line.get(Field::TimestampMs)?)? / 1_000),
    }
}

/// Appends the value as it may stand in a path and in JSON.
fn escape(value: &str, out: &mut String) {
    for letter in value.chars() {
        match letter {
            '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '}'
            | '['
            | ']'
            | '^'
            | '\u{7f}'
            | '\0'..='\u{1f}' => write!(out, "%{:02X}", letter as u32).expect("memory takes all text"),
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixel_engine_log::schema::{LogKind, Schema};

    fn keys_of(keys: &str, schema: (LogKind, &str), lines: &[&str]) -> KeysOfLines {
        let keys: PartitionKeys = keys.parse().unwrap();
        let schema = Schema::parse(schema.0, schema.1).unwrap();
        let mut tally = KeysOfLines::default();
        for line in lines {
            let ends: Vec<u32> = line
                .char_indices()
                .filter(|it| it.1 == '\t')
                .map(|it| it.0 as u32)
                .chain([line.len() as u32])
                .collect();
            let text = format!("{line}\n");
            keys.observe(&Line::new(text.as_bytes(), 0, &ends, &schema), line.as_bytes(), &mut tally);
        }
        tally
    }

    #[test]
    fn dates_and_hours_are_those_of_each_line_in_utc() {
        let schema = (LogKind::RealTime, "timestamp c-ip");
        let lines = ["1767571200.068\tx", "1767571199\tx", "1767574799.9\tx", "-\tx", "0\tx", "99999999999999\tx"];
        let keys = keys_of("date,hour", schema, &lines);
        let expected = [
            r#"{"date":"2026-01-05","hour":"00"}"#,
            r#"{"date":"2026-01-04","hour":"23"}"#,
            r#"{"date":"2026-01-05","hour":"00"}"#,
            r#"{"date":"-","hour":"-"}"#,
            r#"{"date":"1970-01-01","hour":"00"}"#,
            r#"{"date":"-","hour":"-"}"#,
        ];
        assert_eq!((0..lines.len()).map(|index| keys.of(index)).collect::<Vec<_>>(), expected);
        let keys = keys_of("hour", (LogKind::RealTime, "timestamp(ms) c-ip"), &["1767571200068\tx"]);
        assert_eq!(keys.of(0), r#"{"hour":"00"}"#);
        let keys = keys_of("date, hour", (LogKind::Standard, "date time c-ip"), &["2026-01-05\t07:59:59\tx"]);
        assert_eq!(keys.of(0), r#"{"date":"2026-01-05","hour":"07"}"#);
    }

    #[test]
    fn values_are_decoded_and_harmless_in_a_path() {
        let schema = (LogKind::RealTime, "c-ip cs-uri-query");
        let lines = ["1\tc=a%252Fb%253D%2522%255C", "2\tc=", "3\te=pv", "4\tc=%25C3%25A9%250A", "5\t-"];
        let keys = keys_of("query.c, c-ip", schema, &lines);
        let expected = [
            r#"{"query_c":"a%2Fb%3D%22%5C","c_ip":"1"}"#,
            r#"{"query_c":"-","c_ip":"2"}"#,
            r#"{"query_c":"-","c_ip":"3"}"#,
            r#"{"query_c":"é%0A","c_ip":"4"}"#,
            r#"{"query_c":"-","c_ip":"5"}"#,
        ];
        assert_eq!((0..lines.len()).map(|index| keys.of(index)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_value_that_fits_into_no_prefix_is_told() {
        let schema = (LogKind::RealTime, "c-ip cs-uri-query");
        let query = |len| format!("1\tc={}", "a".repeat(len));
        let keys = keys_of("query.c,query.c2", schema, &[&query(512), &query(513), &query(1)]);
        assert_eq!([0, 1, 2].map(|index| keys.is_too_long(index)), [false, true, false]);
    }

    #[test]
    fn lists_that_make_no_keys_are_refused() {
        let error = |list: &str| list.parse::<PartitionKeys>().expect_err("no keys");
        assert!(error(" ,").starts_with("no key"));
        let unknown = error("date, sc-statu");
        assert!(unknown.contains("did you mean `sc-status`") && unknown.ends_with("or `date` or `hour`"), "{unknown}");
        assert!(error("query.a-b, query.a_b").contains("`query_a_b`"));
        let many: Vec<String> = (0..51).map(|number| format!("query.{number}")).collect();
        assert!(error(&many.join(",")).starts_with("51 keys"));
    }
}
