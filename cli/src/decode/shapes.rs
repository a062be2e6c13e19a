//! The shapes in which people hold records, and where the data is in each.

use std::borrow::Cow;

use base64_simd::STANDARD;
use pixel_engine::kpl::{MAGIC, PartitionKey};
use serde_json::{Map, Value};

/// The base64 of a record's data, or why there is none.
pub(super) type Entry<'a> = Result<&'a str, Cow<'static, str>>;

/// What every base64 of an aggregate begins with; the letter behind it depends on the next byte.
const AGGREGATE: &str = "84maw";

/// What the AWS CLI writes in text for a query without a result.
const NOTHING: &str = "None";

/// An object in the place of a record that none is known by.
pub(super) const NO_DATA: &str = "no data in it: expected Data (Kinesis and Firehose APIs), data (events and EventBridge Pipes) or kinesis.data \
     (Lambda events)";

/// Rows of values in which any may be the data.
const NO_COLUMN: &str = "which of the row's values is its data is not clear: query Records[].Data alone";

/// The records of a JSON document; `None` when it is none of the known shapes, so a record itself.
pub(super) fn of_json(document: &Value) -> Option<Vec<Entry<'_>>> {
    match document {
        // What the AWS CLI writes for a query without a result.
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![Ok(text)]),
        Value::Array(elements) => of_array(elements),
        Value::Object(object) => match records(object) {
            Some(elements) => Some(elements.iter().flat_map(of_element).collect()),
            None => of_object(object),
        },
        Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The records of a request, a reply or an event.
fn records(object: &Map<String, Value>) -> Option<&Vec<Value>> {
    if let Some(Value::Array(elements)) = object.get("Records") {
        return Some(elements);
    }
    let Some(Value::Array(elements)) = object.get("records") else { return None };
    // In small letters it is a name that people give to anything.
    let is_record = |element: &Value| element.get("recordId").is_some() || element.get("data").is_some();
    elements.iter().all(is_record).then_some(elements)
}

/// A list of records, of their data, or of rows with the data in one of the columns.
fn of_array(elements: &[Value]) -> Option<Vec<Entry<'_>>> {
    if let Some(rows) = elements.iter().map(row).collect::<Option<Vec<_>>>() {
        return Some(of_rows(&rows, 1));
    }
    let is_known = elements.iter().any(|element| of_json(element).is_some());
    is_known.then(|| elements.iter().flat_map(of_element).collect())
}

/// The values of a row of text, in which numbers and the like can be no data.
fn row(element: &Value) -> Option<Vec<&str>> {
    let Value::Array(cells) = element else { return None };
    let has_text = cells.iter().any(Value::is_string);
    let is_flat = !cells.iter().any(|cell| cell.is_array() || cell.is_object());
    (has_text && is_flat).then(|| cells.iter().map(|cell| cell.as_str().unwrap_or_default()).collect())
}

/// What stands where a record should.
fn of_element(element: &Value) -> Vec<Entry<'_>> {
    match element {
        Value::String(text) => vec![listed(text)],
        _ => of_json(element).unwrap_or_else(|| vec![Err(NO_DATA.into())]),
    }
}

/// The record in an object; `None` when that is none of the known shapes.
fn of_object(object: &Map<String, Value>) -> Option<Vec<Entry<'_>>> {
    if let Some(Value::Object(record)) = object.get("Record") {
        return Some(of_object(record).unwrap_or_else(|| vec![Err(NO_DATA.into())]));
    }
    let kinesis = object.get("kinesis").and_then(|kinesis| kinesis.get("data"));
    if let Some(data) = kinesis.or_else(|| object.get("Data")) {
        return Some(vec![text(data)]);
    }
    let has = |name: &str| object.contains_key(name);
    // As `records`, a name that people give to anything.
    let is_record =
        object.len() == 1 || ["recordId", "partitionKey", "sequenceNumber", "eventSource"].into_iter().any(has);
    if let Some(data) = object.get("data").filter(|_| is_record) {
        return Some(vec![text(data)]);
    }
    // What Firehose could not process, as it writes it to S3.
    if let Some(data) = object.get("rawData").filter(|_| has("attemptsMade")) {
        return Some(vec![text(data)]);
    }
    // The answer of a transformation that leaves the record out.
    if has("recordId") && object.get("result").is_some_and(|result| result == "Dropped") {
        return Some(Vec::new());
    }
    let mut entries = Vec::new();
    object.values().for_each(|value| add_deeper(value, &mut entries));
    (!entries.is_empty()).then_some(entries)
}

/// Records that are deeper in an envelope, or under a name that a query gave them: a record that
/// happens to be JSON holds neither aggregates nor base64 under `Data`.
fn add_deeper<'a>(value: &'a Value, entries: &mut Vec<Entry<'a>>) {
    match value {
        Value::String(text) if text.starts_with(AGGREGATE) => entries.push(Ok(text)),
        Value::Array(elements) => elements.iter().for_each(|element| add_deeper(element, entries)),
        Value::Object(object) => match object.get("Data").and_then(Value::as_str).filter(|text| is_base64(text)) {
            Some(text) => entries.push(Ok(text)),
            None => object.values().for_each(|value| add_deeper(value, entries)),
        },
        _ => {}
    }
}

fn text(data: &Value) -> Entry<'_> {
    let other = match data {
        Value::String(text) => return Ok(text),
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Err(format!("its data is {other}, not base64 text").into())
}

/// The records in the text output of the AWS CLI, base64 with tabs and newlines between; `None` for
/// any other text, which is a record itself.
pub(super) fn of_text(text: &str) -> Option<Vec<Entry<'_>>> {
    if text.lines().any(|line| line.starts_with(RECORD_ROW)) {
        let rows = text.lines().filter_map(|line| line.strip_prefix(RECORD_ROW));
        return Some(rows.map(|row| row.split('\t').nth(DATA_COLUMN).ok_or(NO_DATA.into())).collect());
    }
    if text.trim() == NOTHING {
        return Some(Vec::new());
    }
    if !is_list(text) {
        return None;
    }
    let rows: Vec<Vec<&str>> = text.lines().map(|line| cells(line).collect()).collect();
    Some(of_rows(&rows.into_iter().filter(|row: &Vec<&str>| !row.is_empty()).collect::<Vec<_>>(), 2))
}

/// Whether most of the text is base64. One cell that is damaged makes no record of the others, and
/// a few short words make no base64 of a record.
fn is_list(text: &str) -> bool {
    let (mut all, mut base64) = (0, 0);
    for cell in text.lines().flat_map(cells) {
        all += cell.len();
        base64 += if may_be_data(cell) || cell.len() >= MIN_LIST_ELEMENT && is_base64(cell) { cell.len() } else { 0 };
    }
    base64 * 2 > all
}

fn cells(line: &str) -> impl Iterator<Item = &str> + Clone {
    line.split('\t').map(str::trim).filter(|cell| !cell.is_empty() && *cell != NOTHING)
}

/// Base64 that is at least as long is no word that happens to look like it.
const MIN_LIST_ELEMENT: usize = 24;

/// How a record begins in text output that was not queried, and where the data is behind that: the
/// AWS CLI sorts members by name.
const RECORD_ROW: &str = "RECORDS\t";
const DATA_COLUMN: usize = 1;

/// Lists of data, or, of at least so many rows, a record in each: then the data is in the only
/// column that can be data. A single line of text is a list, in which what is no data is damaged.
fn of_rows<'a>(rows: &[Vec<&'a str>], min_records: usize) -> Vec<Entry<'a>> {
    let width = rows.first().map_or(0, Vec::len);
    let is_table = rows.len() >= min_records && width > 1 && rows.iter().all(|row| row.len() == width);
    let list = || rows.iter().flatten().map(|cell| listed(cell)).collect();
    if !is_table {
        return list();
    }
    let is_data = |column: &usize| rows.iter().filter(|row| may_be_data(row[*column])).count() * 2 > rows.len();
    let columns: Vec<usize> = (0..width).filter(is_data).collect();
    match columns[..] {
        [column] => rows.iter().map(|row| Ok(row[column])).collect(),
        _ if columns.len() == width => list(),
        _ => rows.iter().map(|_| Err(NO_COLUMN.into())).collect(),
    }
}

/// An element of a list in which only data should be.
fn listed(cell: &str) -> Entry<'_> {
    let is_number = !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
    // A key as `ingest` writes them. As base64 it would be three bytes.
    let is_key =
        cell.len() == PartitionKey::of_hash_key(0).key.len() && cell.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number || is_key {
        return Err(format!("`{cell}` is not the data of a record: query Records[].Data alone").into());
    }
    Ok(cell)
}

fn is_base64(text: &str) -> bool {
    STANDARD.check(text.as_bytes()).is_ok()
}

/// Whether it is the base64 of an aggregate or of text.
fn may_be_data(text: &str) -> bool {
    let Ok(data) = STANDARD.decode_to_vec(text) else { return false };
    let is_text = |text: &str| !text.contains(|char: char| char.is_control() && !matches!(char, '\t' | '\n' | '\r'));
    data.starts_with(&MAGIC) || (!data.is_empty() && std::str::from_utf8(&data).is_ok_and(is_text))
}

/// The data behind the base64.
///
/// # Errors
/// It is not base64, and why.
pub(super) fn data(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode_to_vec(text).map_err(|_| {
        let is_known = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '=');
        let why = match text.chars().position(|char| !is_known(char)) {
            Some(place) => format!("character {} is none of its alphabet", place + 1),
            None if !text.len().is_multiple_of(4) => format!("{} characters are no whole groups of 4", text.len()),
            None => "it does not end as base64 does".to_owned(),
        };
        format!("its data is not base64: {why}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base64(data: &str) -> String {
        STANDARD.encode_to_string(data)
    }

    /// The data of the entries, or what is said in its place.
    fn decoded(entries: Option<Vec<Entry<'_>>>) -> Option<Vec<String>> {
        let data = |entry: Entry<'_>| {
            let data = entry.map_err(Cow::into_owned).and_then(data);
            data.map_or_else(|error| error, |data| String::from_utf8_lossy(&data).into_owned())
        };
        entries.map(|entries| entries.into_iter().map(data).collect())
    }

    #[test]
    fn data_is_found_in_every_column() {
        let (one, two) = (&*base64("a line"), &*base64("another line"));
        let key = "49590338271490256608559692538361571095921575989136588898";
        for rows in [
            vec![vec![one, "8000"], vec![two, "9e37"]],
            vec![vec![key, "KMS", one], vec![key, "NONE", two]],
            vec![vec![one, two]],
            vec![vec![one], vec![two]],
        ] {
            let wanted = Some(vec!["a line".to_owned(), "another line".to_owned()]);
            assert_eq!(decoded(of_json(&json!(rows))), wanted, "{rows:?}");
            let text: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
            assert_eq!(decoded(of_text(&text)), wanted, "{text}");
        }
        // Not guessed.
        let both = json!([[one, two, "KMS"], [one, two, "KMS"]]);
        assert_eq!(decoded(of_json(&both)), Some(vec![NO_COLUMN.to_owned(); 2]));
        // A single row is a list; a key in it is not printed as if it were a record.
        let found = decoded(of_json(&json!([one, "9e37", key]))).expect("a list");
        assert!(found[0] == "a line" && found[1].starts_with("`9e37` is not") && found[2].contains("is not the data"));
    }

    #[test]
    fn text_is_a_record_unless_it_is_base64() {
        for text in
            ["", "\n", "a line\n", "1731699951.123\t203.0.113.9\tGET\t/1x1.png\n", "2026-01-05\t08:00:00\tabcd\n"]
        {
            assert_eq!(of_text(text), None, "{text}");
        }
        assert_eq!(of_text("None\n"), Some(Vec::new()));
    }

    #[test]
    fn what_is_not_base64_is_said_with_its_place() {
        for (text, wanted) in [
            ("YWJ$", "character 4 is none of its alphabet"),
            ("ab", "2 characters are no whole groups of 4"),
            ("a===", "it does not end as base64 does"),
        ] {
            assert_eq!(data(text), Err(format!("its data is not base64: {wanted}")));
        }
        assert_eq!(data(""), Ok(Vec::new()));
    }
}
