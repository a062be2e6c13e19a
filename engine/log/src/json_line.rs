//! Reads the JSON lines of standard logs v2 into the same [`Line`] that tab-separated logs give.
//!
//! AWS writes one object a line, every value a string. The keys of the line are its schema; it is
//! kept as long as the keys stay the same, which they do for a whole file. Such lines are
//! simd-json's. It turns numbers into its own, so a line that has some is read again by serde_json,
//! which knows their text: digits stay as they are. serde_json also says what is wrong with a line
//! and where.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use simd_json::{Buffers, Node, StaticNode, Tape};

use crate::field::Field;
use crate::line::Line;
use crate::schema::{Column, LogKind, Schema, SchemaError};

/// Why a line is not a JSON object of a log's fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonLineError {
    /// The text is no JSON, usually for a broken write.
    #[error("not valid JSON at column {column}")]
    Invalid {
        /// The byte in the line, from 1.
        column: usize,
    },
    /// The text ends inside of the object.
    #[error("cut off at column {column}, inside of the JSON")]
    Cut {
        /// The byte behind the last one, from 1.
        column: usize,
    },
    /// JSON of another kind.
    #[error("it is {0}, not an object")]
    NotAnObject(&'static str),
    /// A value has parts, which no value of a log has.
    #[error("the value of `{key}` is {kind}")]
    Nested {
        /// The value's key.
        key: String,
        /// `an object` or `an array`.
        kind: &'static str,
    },
    /// An escape in the value stands for no character.
    #[error("the value of `{0}` has an escape that is no character")]
    Text(String),
    /// A key stands twice.
    #[error("the key `{0}` is there twice")]
    Duplicate(String),
    /// An object without a key.
    #[error("the object is empty")]
    Empty,
    /// More keys than a log has fields.
    #[error("{0} keys; a line has at most {max}", max = Schema::MAX_COLUMNS)]
    TooMany(usize),
    /// An object of something else, such as an event of CloudWatch Logs without its envelope.
    #[error("none of its keys is a field of CloudFront logs")]
    NoField,
}

/// Reads one line after the other, with buffers that are used again.
#[derive(Default)]
pub struct JsonLineReader {
    text: Vec<u8>,
    buffers: Buffers,
    values: Vec<u8>,
    ends: Vec<u32>,
    keys: Vec<Box<str>>,
    schema: Option<Arc<Schema>>,
}

impl JsonLineReader {
    /// The schema of the last line read.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// A view of the line: columns in the order of its keys. `null` is an absent value, and a
    /// number has its own digits.
    ///
    /// # Errors
    /// Not a JSON object of text, numbers, `true`, `false` and `null` under the names of a log's
    /// fields.
    pub fn read(&mut self, line: &[u8]) -> Result<Line<'_>, JsonLineError> {
        self.text.clear();
        self.text.extend_from_slice(line);
        self.values.clear();
        self.ends.clear();
        let tape = simd_json::to_tape_with_buffers(&mut self.text, &mut self.buffers);
        match tape.as_ref().ok().and_then(texts_of) {
            Some(pairs) => {
                find_schema(&mut self.keys, &mut self.schema, pairs.iter().map(|(key, _)| *key))?;
                for (_, value) in pairs {
                    self.values.extend_from_slice(value.as_bytes());
                    self.ends.push(self.values.len() as u32);
                    self.values.push(b'\t');
                }
            }
            None => {
                let pairs = pairs_of(line)?;
                find_schema(&mut self.keys, &mut self.schema, pairs.iter().map(|(key, _)| &**key))?;
                for (key, value) in &pairs {
                    append_value(&mut self.values, key, value)?;
                    self.ends.push(self.values.len() as u32);
                    self.values.push(b'\t');
                }
            }
        }
        let schema = self.schema.as_deref().expect("it was found above");
        Ok(Line::new(&self.values, 0, &self.ends, schema))
    }
}

/// Appends the object of the line with other values in place of some: `other` has the text that is
/// to stand under the key of that number, from 0. Keys and the values that stay are as they were.
///
/// ```
/// use pixel_engine_log::json_line::rewrite;
/// let mut out = Vec::new();
/// rewrite(br#"{"date":"2026-01-02", "c-ip":"203.0.113.9"}"#, |key| (key == 1).then_some(b"-"), &mut out)?;
/// assert_eq!(out, br#"{"date":"2026-01-02","c-ip":"-"}"#);
/// # Ok::<(), pixel_engine_log::json_line::JsonLineError>(())
/// ```
///
/// # Errors
/// It is no JSON object.
pub fn rewrite<'a>(
    line: &[u8],
    other: impl Fn(usize) -> Option<&'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), JsonLineError> {
    let append = |text: &str, out: &mut Vec<u8>| {
        serde_json::to_writer(out, text).expect("text can be JSON, and a Vec takes everything");
    };
    for (index, (key, value)) in pairs_of(line)?.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        append(key, out);
        out.push(b':');
        match other(index) {
            Some(text) => append(&String::from_utf8_lossy(text), out),
            None => out.extend_from_slice(value.get().as_bytes()),
        }
    }
    out.push(b'}');
    Ok(())
}

/// Keeps the schema while the keys are the same.
fn find_schema<'a>(
    own: &mut Vec<Box<str>>,
    schema: &mut Option<Arc<Schema>>,
    keys: impl ExactSizeIterator<Item = &'a str> + Clone,
) -> Result<(), JsonLineError> {
    if schema.is_some() && keys.len() == own.len() && keys.clone().zip(own.iter()).all(|(key, own)| *key == **own) {
        return Ok(());
    }
    *schema = None;
    *own = keys.map(Box::from).collect();
    let columns: Vec<Column> = own.iter().map(|key| Column::from_name(key)).collect();
    // A time alone is in logs of any kind.
    let has_field =
        columns.iter().any(|column| !matches!(column, Column::Unknown(_) | Column::Known(Field::Timestamp)));
    let found = Schema::new(LogKind::Standard, columns).map_err(|error| match error {
        SchemaError::Duplicate(name) => JsonLineError::Duplicate(name),
        SchemaError::TooMany(count) => JsonLineError::TooMany(count),
        _ => JsonLineError::Empty,
    })?;
    if !has_field {
        return Err(JsonLineError::NoField);
    }
    *schema = Some(Arc::new(found));
    Ok(())
}

/// The keys of the object and their values, where all of these are text or absent.
fn texts_of<'input>(tape: &Tape<'input>) -> Option<Vec<(&'input str, &'input str)>> {
    let (Node::Object { len, .. }, mut nodes) = tape.0.split_first()? else { return None };
    let mut pairs = Vec::with_capacity(*len);
    while let [Node::String(key), value, rest @ ..] = nodes {
        let value = match value {
            Node::String(text) => *text,
            Node::Static(StaticNode::Null) => "-",
            _ => return None,
        };
        pairs.push((*key, value));
        nodes = rest;
    }
    Some(pairs)
}

/// The keys of the object and the texts of their values.
fn pairs_of(line: &[u8]) -> Result<Vec<(Cow<'_, str>, &RawValue)>, JsonLineError> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
            while let Some((Key(key), value)) = map.next_entry()? {
                pairs.push((key, value));
            }
            // JSON lines as this program writes them have the query a second time, decoded.
            if pairs.iter().any(|(key, _)| matches!(&**key, "cs_uri_query" | "cs-uri-query")) {
                pairs.retain(|(key, value)| key != "query" || !value.get().starts_with('{'));
            }
            Ok(pairs)
        }
    }

    #[derive(serde::Deserialize)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let pairs = deserializer.deserialize_map(Pairs).and_then(|pairs| deserializer.end().map(|()| pairs));
    pairs.map_err(|error| match error.classify() {
        Category::Data => JsonLineError::NotAnObject(kind_of(line)),
        Category::Eof => JsonLineError::Cut { column: error.column() + 1 },
        Category::Syntax | Category::Io => JsonLineError::Invalid { column: error.column().max(1) },
    })
}

fn kind_of(json: &[u8]) -> &'static str {
    match json.trim_ascii_start().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "text",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn append_value(values: &mut Vec<u8>, key: &str, value: &RawValue) -> Result<(), JsonLineError> {
    let text = value.get();
    match text.as_bytes() {
        [b'{' | b'[', ..] => return Err(JsonLineError::Nested { key: key.to_owned(), kind: kind_of(text.as_bytes()) }),
        [b'"', ..] => {
            #[derive(serde::Deserialize)]
            struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
            // An escape that stands for no character.
            let Text(text) = serde_json::from_str(text).map_err(|_| JsonLineError::Text(key.to_owned()))?;
            values.extend_from_slice(text.as_bytes());
        }
        b"null" => values.push(b'-'),
        number_or_bool => values.extend_from_slice(number_or_bool),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    #[test]
    fn keys_are_columns_in_their_order() {
        let mut reader = JsonLineReader::default();
        let text = br#"{"date":"2024-11-15","cs(Host)":"d1.cloudfront.net","timestamp(ms)":"1731699951183","x-new":"a\tb","asn":null,"sc-bytes":7}"#;
        let line = reader.read(text).unwrap();
        assert_eq!(line.get(Field::Date), Some(&b"2024-11-15"[..]));
        assert_eq!(line.distribution_host(), Some(&b"d1.cloudfront.net"[..]));
        assert_eq!(line.get(Field::TimestampMs), Some(&b"1731699951183"[..]));
        assert_eq!(line.column(3), b"a\tb");
        assert_eq!(line.get(Field::Asn), None);
        assert_eq!(line.get(Field::ScBytes), Some(&b"7"[..]));
    }

    #[test]
    fn the_decoded_query_of_our_own_lines_is_left_out_beside_the_raw_one() {
        let mut reader = JsonLineReader::default();
        let line = reader.read(br#"{"c_ip":"192.0.2.1","cs_uri_query":"a=1","query":{"a":"1"}}"#).unwrap();
        assert_eq!(line.get(Field::CsUriQuery), Some(&b"a=1"[..]));
        assert_eq!(line.columns().count(), 2);
        let nested = reader.read(br#"{"c_ip":"192.0.2.1","query":{"a":"1"}}"#).map(drop);
        assert_eq!(nested, Err(JsonLineError::Nested { key: "query".to_owned(), kind: "an object" }));
    }

    #[test]
    fn numbers_keep_their_digits() {
        let mut reader = JsonLineReader::default();
        for number in ["1761759015.10", "12345678901234567890123", "-0", "0.000", "1e400", "1E-2", "7", "true"] {
            let text = format!(r#"{{"timestamp(ms)":{number}, "date":"\u00e9" ,"sc-bytes" : {number}}}"#);
            let line = reader.read(text.as_bytes()).unwrap();
            let wanted = [number.as_bytes(), "é".as_bytes(), number.as_bytes()];
            assert_eq!(line.columns().collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn the_schema_is_kept_while_the_keys_are_the_same() {
        let mut reader = JsonLineReader::default();
        reader.read(br#"{"date":"1","time":"2"}"#).unwrap();
        let first = Arc::clone(reader.schema().unwrap());
        reader.read(br#"{"date":"3","time":"4"}"#).unwrap();
        assert!(Arc::ptr_eq(&first, reader.schema().unwrap()));
        reader.read(br#"{"time":"4","date":"3"}"#).unwrap();
        assert!(!Arc::ptr_eq(&first, reader.schema().unwrap()));
    }

    #[test]
    fn what_is_no_object_of_texts_is_refused() {
        let mut reader = JsonLineReader::default();
        for (text, wanted) in [
            (&b"[1]"[..], "it is an array, not an object"),
            (b"7", "it is a number, not an object"),
            (b" null", "it is null, not an object"),
            (b"garbage", "not valid JSON at column 1"),
            (br#"{"date":"1"x}"#, "not valid JSON at column 12"),
            (br#"{"date":tru}"#, "not valid JSON at column 12"),
            (br#"{"date":01}"#, "not valid JSON at column 10"),
            (br#"{"date":"1"}{"#, "not valid JSON at column 13"),
            (b"{\"date\":\"\xff\"}", "not valid JSON at column"),
            (br#"{"date":"1","#, "cut off at column 13"),
            (br#"{"date":"\ud800"}"#, "`date` has an escape"),
            (br#"{"id":"1","timestamp":1,"message":"x"}"#, "none of its keys"),
            (br#"{"date":{"a":1}}"#, "`date` is an object"),
            (br#"{"date":[1],"time":"x"}"#, "`date` is an array"),
            (br#"{"date":"1","date":"2"}"#, "twice"),
            (b"{}", "empty"),
        ] {
            let error = reader.read(text).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
        assert!(reader.read(br#"{"date":"1""#).is_err());
        assert!(reader.read(br#"{"date":"1"}"#).is_ok());
    }
}
