//! Rows of a table: the values of a line in the order of the table's columns, read and typed.
//!
//! A row is what the columns of a file are made of, on the way from the lines to there. It is not a
//! format for others to read: numbers are little-endian, as Parquet has them.
//!
//! ```text
//! length of what follows, 4 bytes
//! where each value ends among the values, 4 bytes each; with the highest bit, it is absent
//! the values
//! ```
//! So any column can be read without those before it, by several threads at once.
//!
//! A number takes 8 bytes. A map is a list of names and texts, each pair with its two lengths before
//! it.

use std::collections::HashMap;

use crate::line::Line;
use crate::query::Query;
use crate::schema::Schema;
use crate::select::{Place, Selector};
use crate::table::{ColumnType, Origin, TIMES, Table, unused};

/// The bit of an end whose value is absent.
const ABSENT: u32 = 1 << 31;

/// Writes the lines of one schema as rows of one table.
#[derive(Clone, Debug)]
pub struct RowEncoder {
    items: Box<[Item]>,
    /// Whether any of the items is of the query.
    reads_query: bool,
    /// Columns of the log that have none in the table, with their names.
    left_out: Box<[(usize, Box<str>)]>,
    /// The columns that together are the time, with their names.
    times: Box<[(usize, Box<str>)]>,
    /// Columns of text that folders are named after, with the longest text that a name holds.
    folders: Box<[(usize, usize, Box<str>)]>,
    parameters: Parameters,
    /// What goes to `other`.
    other: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Item {
    Time,
    Integer(Place, Box<str>),
    Decimal(Place, Box<str>),
    Text(Place),
    Parameter(Box<[u8]>),
    Query,
    /// The last column, since it holds what the others could not.
    Other,
    Absent,
}

impl RowEncoder {
    /// An encoder for lines of `schema`; a column that the schema has nothing for is absent.
    pub fn new(schema: &Schema, table: &Table) -> RowEncoder {
        let items = table.columns().iter().map(|column| match column.origin() {
            Origin::Time => Item::Time,
            Origin::Query => Item::Query,
            Origin::Other => Item::Other,
            Origin::Value(Selector::Query(name)) => Item::Parameter(name.as_bytes().into()),
            Origin::Value(selector) => match (selector.place(schema), column.column_type()) {
                (None, _) => Item::Absent,
                (Some(place), ColumnType::Integer) => Item::Integer(place, column.name().into()),
                (Some(place), ColumnType::Decimal) => Item::Decimal(place, column.name().into()),
                (Some(place), _) => Item::Text(place),
            },
        });
        let items: Box<[Item]> = items.collect();
        let times = TIMES.into_iter().filter_map(|field| Some((schema.position(field)?, field.json_name().into())));
        let times: Box<[(usize, Box<str>)]> = times.collect();
        let folders = table.columns().iter().enumerate();
        let folders = folders.filter(|(_, column)| column.is_folder() && column.column_type() == ColumnType::Text);
        let folders = folders.map(|(index, column)| (index, column.max_folder_len(), column.name().into()));
        // No name may come twice in `other`: readers refuse such a map, and the file with it.
        let columns = table.columns().iter().map(|column| column.name().to_owned());
        let mut names: Vec<String> = columns.chain(times.iter().map(|(_, name)| name.to_string())).collect();
        let left_out = table.left_out(schema).map(|(index, column)| {
            let name = unused(column.json_name(), &names);
            names.push(name.clone());
            (index, name.into())
        });
        RowEncoder {
            reads_query: items.iter().any(|item| matches!(item, Item::Parameter(_) | Item::Query)),
            left_out: left_out.collect(),
            items,
            times,
            folders: folders.collect(),
            parameters: Parameters::default(),
            other: Vec::new(),
        }
    }

    /// Appends the line's row to `out`.
    pub fn encode(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let ends = start + 4;
        let values = ends + 4 * self.items.len();
        out.resize(values, 0);
        let query = if self.reads_query { line.query() } else { None };
        let has_query = query.is_some();
        if let Some(query) = query {
            self.parameters.read(query);
        }
        self.other.clear();
        append_columns(line, &self.left_out, &mut self.other);
        for (index, item) in self.items.iter().enumerate() {
            let is_present = match item {
                Item::Text(place) => place.text(line).map(|text| append_text(text, out)).is_some(),
                Item::Integer(place, name) => {
                    append_number(place.text(line), integer, i64::to_le_bytes, name, &mut self.other, out)
                }
                Item::Decimal(place, name) => {
                    append_number(place.text(line), decimal, f64::to_le_bytes, name, &mut self.other, out)
                }
                Item::Time => {
                    let millis = line.time_millis();
                    match millis {
                        Some(millis) => out.extend_from_slice(&millis.to_le_bytes()),
                        None => append_columns(line, &self.times, &mut self.other),
                    }
                    millis.is_some()
                }
                Item::Parameter(name) => has_query && self.parameters.append_value_of(name, out),
                Item::Query => {
                    if has_query {
                        self.parameters.append_all(out);
                    }
                    has_query
                }
                Item::Other => {
                    let row = Row { ends: out[ends..values].as_chunks().0, values: &out[values..] };
                    for (column, max_len, name) in &self.folders {
                        if let Some(text) = row.value(*column).filter(|text| text.is_empty() || text.len() > *max_len) {
                            append_pair(name.as_bytes(), text, &mut self.other);
                        }
                    }
                    out.extend_from_slice(&self.other);
                    !self.other.is_empty()
                }
                Item::Absent => false,
            };
            let end = (out.len() - values) as u32 | if is_present { 0 } else { ABSENT };
            let at = ends + 4 * index;
            out[at..at + 4].copy_from_slice(&end.to_le_bytes());
        }
        let len = (out.len() - ends) as u32;
        out[start..ends].copy_from_slice(&len.to_le_bytes());
    }
}

/// Appends the number that the text is; one that is none goes to `other`. Whether there was one.
#[inline]
fn append_number<T>(
    text: Option<&[u8]>,
    read: impl Fn(&[u8]) -> Option<T>,
    bytes: impl Fn(T) -> [u8; 8],
    name: &str,
    other: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> bool {
    let Some(text) = text else { return false };
    let number = read(text);
    let is_number = number.is_some();
    match number {
        Some(number) => out.extend_from_slice(&bytes(number)),
        None => append_pair(name.as_bytes(), text, other),
    }
    is_number
}

/// The parameters of one query, decoded.
#[derive(Clone, Debug, Default)]
struct Parameters {
    /// Their names and values.
    text: Vec<u8>,
    pairs: Vec<Pair>,
    /// One name or value.
    decoded: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Pair {
    start: usize,
    end_of_name: usize,
    end: usize,
    /// Whether the name comes again.
    is_repeated: bool,
}

impl Parameters {
    fn read(&mut self, query: Query<'_>) {
        let Parameters { text, pairs, decoded } = self;
        text.clear();
        pairs.clear();
        for parameter in query {
            let start = text.len();
            decoded.clear();
            parameter.decode_name_into(decoded);
            append_text(decoded, text);
            let end_of_name = text.len();
            decoded.clear();
            parameter.decode_value_into(decoded);
            append_text(decoded, text);
            pairs.push(Pair { start, end_of_name, end: text.len(), is_repeated: false });
        }
        mark_repeated(text, pairs);
    }

    /// Whether there is one of that name.
    fn append_value_of(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let found = self.pairs.iter().rfind(|pair| self.text[pair.start..pair.end_of_name] == *name);
        found.map(|pair| out.extend_from_slice(&self.text[pair.end_of_name..pair.end])).is_some()
    }

    fn append_all(&self, out: &mut Vec<u8>) {
        for pair in self.pairs.iter().filter(|pair| !pair.is_repeated) {
            append_lengths(pair.end_of_name - pair.start, pair.end - pair.end_of_name, out);
            out.extend_from_slice(&self.text[pair.start..pair.end]);
        }
    }
}

/// Marks every pair whose name comes again behind it.
fn mark_repeated(text: &[u8], pairs: &mut [Pair]) {
    /// Up to so many a search for each is quicker.
    const FEW: usize = 24;
    if pairs.len() <= FEW {
        for index in 1..pairs.len() {
            let (before, rest) = pairs.split_at_mut(index);
            let name = &text[rest[0].start..rest[0].end_of_name];
            let same = before.iter_mut().rfind(|pair| text[pair.start..pair.end_of_name] == *name);
            if let Some(same) = same {
                same.is_repeated = true;
            }
        }
        return;
    }
    let mut last = HashMap::with_capacity(pairs.len());
    for index in 0..pairs.len() {
        if let Some(before) = last.insert(&text[pairs[index].start..pairs[index].end_of_name], index) {
            pairs[before].is_repeated = true;
        }
    }
}

/// As the log has them, those that are present.
fn append_columns(line: &Line<'_>, columns: &[(usize, Box<str>)], out: &mut Vec<u8>) {
    for (index, name) in columns {
        let text = line.column(*index);
        if text != b"-" {
            append_pair(name.as_bytes(), text, out);
        }
    }
}

fn append_pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    append_lengths(name.len(), 0, out);
    out.extend_from_slice(name);
    let start = out.len();
    append_text(value, out);
    let len = (out.len() - start) as u32;
    out[from + 4..from + 8].copy_from_slice(&len.to_le_bytes());
}

fn append_lengths(name: usize, value: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(name as u32).to_le_bytes());
    out.extend_from_slice(&(value as u32).to_le_bytes());
}

/// Appends text as UTF-8.
#[inline]
fn append_text(text: &[u8], out: &mut Vec<u8>) {
    if text.is_ascii() { out.extend_from_slice(text) } else { append_lossy(text, out) }
}

#[cold]
fn append_lossy(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// The number, of up to 18 digits; `000` is 0.
fn integer(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(sign * digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// The number, of up to 15 digits before and behind its point: so many survive in a double.
fn decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1.0, digits),
        digits => (1.0, digits),
    };
    let point = memchr::memchr(b'.', digits).unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..));
    if whole.is_empty() || fraction.is_some_and(<[u8]>::is_empty) {
        return None;
    }
    let fraction = fraction.unwrap_or_default();
    let places = POWERS.get(fraction.len())?;
    if whole.len() + fraction.len() > 15 || ![whole, fraction].concat().iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = whole.iter().chain(fraction).fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    // Both are exact, so the quotient is the double next to the decimal number.
    Some(sign * (number as f64 / places))
}

/// The values of one line.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    ends: &'a [[u8; 4]],
    values: &'a [u8],
}

impl<'a> Row<'a> {
    /// The row at the start of `bytes`, of a table of so many columns, and what comes after it;
    /// `None` at the end.
    ///
    /// # Panics
    /// When the bytes are no rows of such a table.
    #[inline]
    pub fn split_first(bytes: &'a [u8], columns: usize) -> Option<(Row<'a>, &'a [u8])> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (row, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        let (ends, values) = row.split_at(4 * columns);
        Some((Row { ends: ends.as_chunks().0, values }, rest))
    }

    /// The bytes of that column, counted from 0; `None` when it is absent.
    #[inline]
    pub fn value(&self, column: usize) -> Option<&'a [u8]> {
        let end = u32::from_le_bytes(self.ends[column]);
        if end & ABSENT != 0 {
            return None;
        }
        let start = if column == 0 { 0 } else { u32::from_le_bytes(self.ends[column - 1]) & !ABSENT };
        Some(&self.values[start as usize..end as usize])
    }

    /// The number in that column, which is one of whole numbers or the time.
    #[inline]
    pub fn integer(&self, column: usize) -> Option<i64> {
        self.value(column).map(|bytes| i64::from_le_bytes(bytes.try_into().expect("numbers have 8 bytes")))
    }
}

/// The pairs of a map's value.
pub fn pairs(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at(u32::from_le_bytes(*name) as usize);
        let (value, rest) = rest.split_at(u32::from_le_bytes(*value) as usize);
        bytes = rest;
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::with_values;
    use crate::schema::LogKind;

    /// The row as text: each column's name and value, a number by its type, a map in braces.
    fn row(schema: &Schema, table: &Table, values: &[&[u8]]) -> Vec<String> {
        let mut bytes = Vec::new();
        let mut encoder = RowEncoder::new(schema, table);
        // Twice, so that nothing of a line stays for the next.
        for _ in 0..2 {
            with_values(schema, values, |line| encoder.encode(&line, &mut bytes));
        }
        let columns = table.columns();
        let (first, rest) = Row::split_first(&bytes, columns.len()).unwrap();
        let (second, rest) = Row::split_first(rest, columns.len()).unwrap();
        assert!(Row::split_first(rest, columns.len()).is_none());
        assert!((0..columns.len()).all(|index| first.value(index) == second.value(index)));
        let present = columns.iter().enumerate().filter_map(|(index, column)| Some((column, first.value(index)?)));
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
        present
            .map(|(column, value)| {
                let value = match column.column_type() {
                    ColumnType::Timestamp | ColumnType::Integer => {
                        i64::from_le_bytes(value.try_into().unwrap()).to_string()
                    }
                    ColumnType::Decimal => f64::from_le_bytes(value.try_into().unwrap()).to_string(),
                    ColumnType::Text => text(value),
                    ColumnType::Map => {
                        format!("{:?}", pairs(value).map(|(name, value)| (text(name), text(value))).collect::<Vec<_>>())
                    }
                };
                format!("{}={value}", column.name())
            })
            .collect()
    }

    fn schema(kind: LogKind, list: &str) -> Schema {
        Schema::parse(kind, list).unwrap()
    }

    #[test]
    fn values_are_typed_and_decoded() {
        let schema = schema(LogKind::RealTime, "timestamp time-taken sc-status cs-uri-query asn cs-user-agent");
        let table = Table::of_log([&schema], &["query.e".parse().unwrap(), "query.none".parse().unwrap()]);
        let values: [&[u8]; 6] = [b"1764452523.042", b"0.042", b"000", b"e=a&x=%2541&e=%C3%A9+b&f", b"-", b"a%20b"];
        let expected = [
            "timestamp=1764452523042",
            "time_taken=0.042",
            "sc_status=0",
            "cs_uri_query=e=a&x=%2541&e=%C3%A9+b&f",
            "cs_user_agent=a%20b",
            "query_e=é b",
            r#"query=[("x", "A"), ("e", "é b"), ("f", "")]"#,
        ];
        assert_eq!(row(&schema, &table, &values), expected);
    }

    #[test]
    fn what_does_not_fit_is_kept() {
        let table = Table::of_log([&schema(LogKind::RealTime, "timestamp sc-status time-taken")], &[]);
        let standard = schema(LogKind::Standard, "date time sc-status time-taken cs-method +x-new");
        let values: [&[u8]; 6] = [b"2026-13-40", b"00:00:00", b"2e2", b"1.", b"GET", b"v\xff"];
        let expected = concat!(
            r#"other=[("cs_method", "GET"), ("x_new", "v�"), ("date", "2026-13-40"), "#,
            r#"("time", "00:00:00"), ("sc_status", "2e2"), ("time_taken", "1.")]"#
        );
        assert_eq!(row(&standard, &table, &values), [expected]);
        let values: [&[u8]; 6] = [b"2026-11-29", b"23:59:59", b"-1", b"-", b"-", b"-"];
        assert_eq!(row(&standard, &table, &values), ["timestamp=1795996799000", "sc_status=-1"]);
    }

    #[test]
    fn the_columns_of_a_selection_may_come_in_any_order() {
        let schema = schema(LogKind::RealTime, "timestamp cs-uri-query sc-status");
        let table = Table::of_selection(&"query.b sc-status query.a timestamp".parse().unwrap());
        let values: [&[u8]; 3] = [b"1.5", b"a=1&b=", b"200"];
        assert_eq!(row(&schema, &table, &values), ["query_b=", "sc_status=200", "query_a=1", "timestamp=1500"]);
        let values: [&[u8]; 3] = [b"1.5", b"-", b"200"];
        assert_eq!(row(&schema, &table, &values), ["sc_status=200", "timestamp=1500"]);
    }

    #[test]
    fn no_name_comes_twice_in_what_is_kept() {
        let table = Table::of_log([&schema(LogKind::RealTime, "timestamp sc-status")], &[]);
        let standard = schema(LogKind::Standard, "date time sc-status +x-b +x_b +x(b) +sc_status(");
        let values: [&[u8]; 7] = [b"-", b"x", b"none", b"1", b"2", b"3", b"4"];
        let expected = concat!(
            r#"other=[("x_b", "1"), ("x_b_2", "2"), ("x_b_3", "3"), ("sc_status_", "4"), "#,
            r#"("time", "x"), ("sc_status", "none")]"#
        );
        assert_eq!(row(&standard, &table, &values), [expected]);
    }

    #[test]
    fn what_no_folder_can_be_named_after_is_kept() {
        let schema = schema(LogKind::RealTime, "timestamp cs-uri-stem cs-uri-query");
        let folders = ["cs-uri-stem".parse().unwrap(), "query.c".parse().unwrap()];
        let table = Table::of_selection(&"timestamp".parse().unwrap()).with_folders(&folders);
        let kept = |stem: &str, query: &str| {
            let found = row(&schema, &table, &[b"1.5", stem.as_bytes(), query.as_bytes()]);
            found.into_iter().find(|value| value.starts_with("other=")).unwrap_or_default()
        };
        let (most, long) = ("é".repeat(35), "é".repeat(36));
        assert_eq!(kept(&most, "c=a"), "");
        assert_eq!(kept(&long, "d="), format!(r#"other=[("cs_uri_stem", "{long}")]"#));
        assert_eq!(kept("-", &format!("c={most}a")), format!(r#"other=[("query_c", "{most}a")]"#));
        assert_eq!(kept("", "c="), r#"other=[("cs_uri_stem", ""), ("query_c", "")]"#);
    }

    #[test]
    fn names_are_unique_however_many_there_are() {
        let schema = schema(LogKind::RealTime, "cs-uri-query");
        let table = Table::of_log([&schema], &[]);
        for count in [3, 24, 25, 5_000] {
            // Each name twice; names that are not UTF-8 become the same one.
            let names = (0..count).chain(0..count).map(|n| format!("n{n}={n}"));
            let mut query = names.collect::<Vec<_>>().join("&").into_bytes();
            query.extend_from_slice(b"&%FF=1&%FE=2");
            let found = row(&schema, &table, &[&query]);
            let map = found.iter().find(|value| value.starts_with("query=")).unwrap();
            assert_eq!(map.matches("(\"n").count(), count);
            assert!(map.ends_with("(\"\u{fffd}\", \"2\")]"), "{map}");
            assert_eq!(map.matches('\u{fffd}').count(), 1);
        }
    }

    #[test]
    fn numbers_are_exact_or_no_numbers() {
        for text in ["0.042", "1764452523.042", "-0.5", "00.10", "12", "999999999999999", "0.00000000000001"] {
            assert_eq!(decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", "-", ".", "1.", ".5", "1e3", "1.2.3", "1234567890123456", "0.0000000000000001", "+1", "NaN"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
        assert_eq!(integer(b"-999999999999999999"), Some(-999_999_999_999_999_999));
        for text in ["", "-", "1000000000000000000", "1.0", "0x1", "+1"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }
}
