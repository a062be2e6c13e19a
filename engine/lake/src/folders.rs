//! Which folder a row belongs to: `dt=2026-11-29/hour=21/`, and a part for each column that
//! folders are named after.
//!
//! The hour is that of the event in UTC, not of its arrival, so a late line goes to its own hour.
//! Source: Hive's layout of partitions, which Athena, DuckDB, Spark and Polars read.

use std::fmt::Write;

use indexmap::IndexMap;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use pixel_engine_log::encode::row::Row;
use pixel_engine_log::table::{Column, ColumnType, Origin, Table};

/// What stands for an absent value.
const ABSENT: &str = "__HIVE_DEFAULT_PARTITION__";
/// What Hive escapes in a folder's name, and what S3 and file systems do not like.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'\'')
    .add(b'*')
    .add(b'/')
    .add(b':')
    .add(b'=')
    .add(b'?')
    .add(b'\\')
    .add(b'{')
    .add(b'}')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b' ')
    .add(b'<')
    .add(b'>')
    .add(b'|')
    .add(b'~');
const HOUR: i64 = 3_600_000;

/// The folders of a table.
pub(crate) struct Folders {
    /// The column of the time, where there is one.
    time: Option<usize>,
    /// The columns that folders are named after.
    columns: Vec<(usize, Column)>,
    /// Their paths. The place of one is its number.
    paths: IndexMap<Key, String>,
    /// The number of the row before.
    last: Option<usize>,
}

/// What tells folders apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Hours since 1970.
    hour: Option<i64>,
    values: Vec<Option<Box<[u8]>>>,
}

impl Key {
    fn is_of(&self, hour: Option<i64>, row: &Row<'_>, columns: &[(usize, Column)]) -> bool {
        let values = columns.iter().map(|(column, ..)| row.value(*column));
        self.hour == hour && self.values.iter().map(Option::as_deref).eq(values)
    }
}

impl Folders {
    pub(crate) fn new(table: &Table) -> Folders {
        let columns = table.columns().iter().enumerate();
        let folders = columns.clone().filter(|(_, column)| column.is_folder());
        Folders {
            time: columns.clone().find(|(_, column)| *column.origin() == Origin::Time).map(|(index, _)| index),
            columns: folders.map(|(index, column)| (index, column.clone())).collect(),
            paths: IndexMap::new(),
            last: None,
        }
    }

    /// The number of the folder that the row belongs to.
    pub(crate) fn number_of(&mut self, row: &Row<'_>) -> usize {
        let hour = self.time.and_then(|column| row.integer(column)).map(|millis| millis.div_euclid(HOUR));
        if let Some(number) = self.last
            && self.paths.get_index(number).is_some_and(|(key, _)| key.is_of(hour, row, &self.columns))
        {
            return number;
        }
        let values = self.columns.iter().map(|(column, ..)| row.value(*column).map(Into::into)).collect();
        let key = Key { hour, values };
        let number = match self.paths.get_index_of(&key) {
            Some(number) => number,
            None => {
                let path = self.path(&key);
                self.paths.insert_full(key, path).0
            }
        };
        self.last = Some(number);
        number
    }

    /// The folder of that number, with a `/` behind each part.
    pub(crate) fn get(&self, number: usize) -> &str {
        &self.paths[number]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Forgets the folders; numbers begin again.
    pub(crate) fn clear(&mut self) {
        self.paths.clear();
        self.last = None;
    }

    fn path(&self, key: &Key) -> String {
        let mut path = String::new();
        if self.time.is_some() {
            let time = key.hour.and_then(|hour| Timestamp::from_millisecond(hour * HOUR).ok());
            path = match time {
                Some(time) => time.strftime("dt=%Y-%m-%d/hour=%H/").to_string(),
                None => format!("dt={ABSENT}/hour={ABSENT}/"),
            };
        }
        for ((_, column), value) in self.columns.iter().zip(&key.values) {
            let value = match value.as_deref() {
                None => ABSENT.to_owned(),
                Some(value) => escaped(&text(value, column.column_type()), column.max_folder_len()),
            };
            write!(path, "{}={value}/", column.name()).expect("a string takes everything");
        }
        path
    }
}

fn text(value: &[u8], column_type: ColumnType) -> String {
    let number = || value.try_into().expect("numbers have 8 bytes");
    match column_type {
        ColumnType::Timestamp | ColumnType::Integer => i64::from_le_bytes(number()).to_string(),
        ColumnType::Decimal => f64::from_le_bytes(number()).to_string(),
        ColumnType::Text | ColumnType::Map => String::from_utf8_lossy(value).into_owned(),
    }
}

fn escaped(text: &str, max_len: usize) -> String {
    match text {
        // A folder needs a name.
        "" => ABSENT.to_owned(),
        text => percent_encode(&text.as_bytes()[..text.floor_char_boundary(max_len)], ESCAPED).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, hour: Option<i64>, value: Option<&str>) -> String {
        let table = Table::of_selection(&"timestamp".parse().unwrap()).with_folders(&[name.parse().unwrap()]);
        let values = vec![value.map(|value| value.as_bytes().into())];
        Folders::new(&table).path(&Key { hour, values })
    }

    #[test]
    fn hours_are_those_of_the_calendar() {
        let of_hour = |hour| folder("c-ip", Some(hour), Some("a"));
        assert_eq!(of_hour(0), "dt=1970-01-01/hour=00/c_ip=a/");
        assert_eq!(of_hour(-1), "dt=1969-12-31/hour=23/c_ip=a/");
        assert_eq!(of_hour(474_791), "dt=2024-02-29/hour=23/c_ip=a/");
        // These days are in the first and the last week of another year.
        assert_eq!(of_hour(482_110), "dt=2024-12-30/hour=22/c_ip=a/");
        assert_eq!(of_hour(455_832), "dt=2022-01-01/hour=00/c_ip=a/");
        // A year that no calendar has.
        assert!(of_hour(i64::MAX / HOUR).starts_with("dt=__HIVE_DEFAULT_PARTITION__/hour=__HIVE"));
    }

    #[test]
    fn any_value_is_a_name_that_file_systems_take() {
        let of = |value| folder("query.c", None, value).rsplit('/').nth(1).unwrap().to_owned();
        assert_eq!(of(None), "query_c=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(of(Some("")), "query_c=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(of(Some("../a=b c%\0é")), "query_c=..%2Fa%3Db%20c%25%00%C3%A9");
        assert_eq!(of(Some(&"é".repeat(99))).len(), "query_c=".len() + 35 * 6);
        let long = format!("query.{}", "n".repeat(120));
        assert!(folder(&long, None, Some(&"/".repeat(99))).split('/').all(|part| part.len() <= 255));
    }
}
