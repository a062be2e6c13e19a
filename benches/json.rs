//! JSON lines of all columns and the decoded query, against serde_json.

use std::borrow::Cow;
use std::error::Error;
use std::str;

use pixel_engine::log::encode::JsonEncoder;
use pixel_engine::log::field::{Field, Kind};
use pixel_engine::log::line::Line;
use pixel_engine::log::query::Query;
use pixel_engine::log::schema::{Column, Schema};
use pixel_engine_bench_data::classes;
use pixel_engine_benches::data::{self, Lines};
use pixel_engine_benches::{Contest, EVERY_PATH, Stage};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

const SERDE: &str = "serde_json";

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "json",
        "blocks of 1 MiB of lines of 46 columns, scanned before: each line as a JSON object with absent values left \
         out, numbers as numbers, and the query's parameters decoded in an object of their own. serde_json serialises \
         the same keys and values from the same line views; the parameters come from our iterator for it too. Speeds \
         are of input.",
    );
    for (name, lines) in
        [("realtime-46", data::log("realtime-46", 1 << 20)), ("query-heavy", classes::query_heavy(1 << 20))]
    {
        let lines = Lines::new("realtime-46", data::block(lines));
        let schema = Schema::preset("realtime-46").ok_or("the engine has this preset")?;
        let keys = keys(&schema);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        encode(&mut JsonEncoder::new(&schema, None), &lines, &mut ours);
        encode_by_serde(&keys, &lines, &mut theirs);
        let same = equal_values(&ours, &theirs)?;
        let mut encoder = JsonEncoder::new(&schema, None);
        let mut contest = Contest::new(name, lines.bytes().len())
            .ours(EVERY_PATH, || encode(&mut encoder, &lines, &mut ours))
            .rival(SERDE, || encode_by_serde(&keys, &lines, &mut theirs))
            .checked("values, after parsing both", same);
        if name == "realtime-46" {
            contest = contest.target(EVERY_PATH, SERDE, 4.0);
        }
        stage.contest(contest);
    }
    stage.finish()
}

fn encode(encoder: &mut JsonEncoder, lines: &Lines, out: &mut Vec<u8>) -> usize {
    out.clear();
    for line in lines.iter() {
        encoder.encode(&line, out);
    }
    out.len()
}

fn encode_by_serde(keys: &[Key], lines: &Lines, out: &mut Vec<u8>) -> usize {
    out.clear();
    for line in lines.iter() {
        serde_json::to_writer(&mut *out, &Object { keys, line }).expect("lines of the generator are UTF-8");
        out.push(b'\n');
    }
    out.len()
}

struct Key {
    name: String,
    kind: Kind,
}

fn keys(schema: &Schema) -> Vec<Key> {
    let key = |column: &Column| match column {
        Column::Known(field) => Key { name: field.json_name(), kind: field.kind() },
        Column::Unknown(name) => Key { name: name.to_string(), kind: Kind::Text },
    };
    schema.columns().iter().map(key).collect()
}

struct Object<'a> {
    keys: &'a [Key],
    line: Line<'a>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, text) in self.keys.iter().zip(self.line.columns()) {
            if text == b"-" {
                continue;
            }
            let text = str::from_utf8(text).map_err(S::Error::custom)?;
            match key.kind {
                Kind::Integer if let Ok(number) = text.parse::<u64>() => map.serialize_entry(&key.name, &number)?,
                Kind::Decimal if let Ok(number) = text.parse::<f64>() => map.serialize_entry(&key.name, &number)?,
                _ => map.serialize_entry(&key.name, text)?,
            }
        }
        if let Some(query) = self.line.get(Field::CsUriQuery) {
            map.serialize_entry("query", &Parameters(query))?;
        }
        map.end()
    }
}

struct Parameters<'a>(&'a [u8]);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        type Pair<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);
        let pairs: Vec<Pair<'_>> =
            Query::new(self.0).map(|parameter| (parameter.name_decoded(), parameter.value_decoded())).collect();
        let mut map = serializer.serialize_map(None)?;
        for (index, (name, value)) in pairs.iter().enumerate() {
            // The last of a repeated name wins.
            if pairs[index + 1..].iter().any(|(other, _)| other == name) {
                continue;
            }
            let value = value.as_deref().unwrap_or_default();
            map.serialize_entry(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value))?;
        }
        map.end()
    }
}

fn equal_values(ours: &[u8], theirs: &[u8]) -> serde_json::Result<bool> {
    let parsed = |bytes| -> serde_json::Result<Vec<serde_json::Value>> {
        serde_json::Deserializer::from_slice(bytes).into_iter().collect()
    };
    let (ours, theirs) = (parsed(ours)?, parsed(theirs)?);
    Ok(!ours.is_empty() && ours == theirs)
}
