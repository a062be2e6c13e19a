//! The columns of a table of log lines: their names and types, and where their values come from.
//!
//! A file of a data lake has one set of columns, whatever kinds of line go into it. Names are those
//! of JSON lines, `cs_uri_query`, which Athena takes without quotes; two that are the same once in
//! lower case get a number, since Athena and Glue know lower case only.

use crate::field::{Field, Kind};
use crate::schema::{Column as SchemaColumn, Schema};
use crate::select::{Selection, Selector};

/// What the values of a column are. Any of them may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Milliseconds since 1970, UTC.
    Timestamp,
    /// A whole number of up to 18 digits.
    Integer,
    /// A number with a fraction, as a double: up to 15 digits, which a double holds unchanged.
    Decimal,
    /// Text in UTF-8. What is not UTF-8 is replaced by U+FFFD, sequence by sequence.
    Text,
    /// Names, each once, with a text each.
    Map,
}

/// Where the values of a column come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// When the request was answered, whichever fields say it: see
    /// [`Line::time_millis`](crate::line::Line::time_millis).
    Time,
    /// A value of the line; that of a parameter of the query is decoded.
    Value(Selector),
    /// Every parameter of the query, decoded; of a name that is repeated, the last value.
    Query,
    /// What no other column holds: columns of the log that the table does not have, values that are
    /// not of their column's type, as the log has them, and those that are longer than the name of
    /// the folder that has the column.
    Other,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    name: String,
    column_type: ColumnType,
    origin: Origin,
    is_folder: bool,
}

impl Column {
    /// Its name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its values are.
    pub fn column_type(&self) -> ColumnType {
        self.column_type
    }

    /// Where they come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether files are put in folders that are named after its values, and do not hold it.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// Bytes of a value that the name of its folder has room for: `name=value` is no longer than the
    /// 255 bytes that a file system takes, and escaped, a value is three times as long. Values that
    /// are longer, or empty, are whole in `other`.
    pub fn max_folder_len(&self) -> usize {
        (254_usize.saturating_sub(self.name.len()) / 3).min(70)
    }
}

/// The columns of a table, in order.
///
/// ```
/// use pixel_engine_log::schema::Schema;
/// use pixel_engine_log::table::Table;
/// let schema = Schema::preset("pixel-4").expect("a preset");
/// let table = Table::of_log([&schema], &["query.uid".parse()?]);
/// let names: Vec<&str> = table.columns().iter().map(|column| column.name()).collect();
/// assert_eq!(names, ["timestamp", "c_ip", "cs_user_agent", "cs_uri_query", "query_uid", "query", "other"]);
/// # Ok::<(), pixel_engine_log::select::SelectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Box<[Column]>,
    /// The column by which rows are sorted.
    sorted_by: Option<usize>,
    /// Whether columns of the log that are not in the table go to `other`.
    is_whole: bool,
}

/// The fields that together say when a request was answered.
pub(crate) const TIMES: [Field; 4] = [Field::Timestamp, Field::TimestampMs, Field::Date, Field::Time];

impl Table {
    /// A table that holds lines whole: the time, the other columns of these schemas, the values that
    /// are promoted to columns of their own, the query's parameters, and what is left.
    pub fn of_log<'a>(schemas: impl IntoIterator<Item = &'a Schema>, promoted: &[Selector]) -> Table {
        let mut origins = vec![Origin::Time];
        let columns = schemas.into_iter().flat_map(Schema::columns).filter_map(selector_of);
        for selector in columns.chain(promoted.iter().cloned()) {
            let origin = Origin::Value(selector);
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins.extend([Origin::Query, Origin::Other]);
        Table { columns: named(origins), sorted_by: None, is_whole: true }
    }

    /// A table of the selected values, and of what is not of their types.
    pub fn of_selection(selection: &Selection) -> Table {
        let mut origins: Vec<Origin> = selection.selectors().iter().map(origin_of).collect();
        origins.push(Origin::Other);
        Table { columns: named(origins), sorted_by: None, is_whole: false }
    }

    /// The same table, whose files are in folders named after these values; those that are no
    /// columns become columns.
    pub fn with_folders(self, selectors: &[Selector]) -> Table {
        let wanted: Vec<Origin> = selectors.iter().map(origin_of).collect();
        let mut origins: Vec<Origin> = self.columns.into_iter().map(|column| column.origin).collect();
        let other = origins.pop().expect("every table ends with what does not fit");
        let new: Vec<Origin> = wanted.iter().filter(|origin| !origins.contains(origin)).cloned().collect();
        origins.extend(new);
        origins.push(other);
        let mut columns = named(origins);
        for column in &mut columns {
            column.is_folder = wanted.contains(&column.origin);
        }
        Table { columns, ..self }
    }

    /// The same table, whose rows are sorted by that value; `None` when no column of the files has it.
    pub fn sorted_by(self, selector: &Selector) -> Option<Table> {
        let wanted = origin_of(selector);
        let is_wanted = |column: &Column| column.origin == wanted && !column.is_folder;
        let sorted_by = Some(self.columns.iter().position(is_wanted)?);
        Some(Table { sorted_by, ..self })
    }

    /// The number of the column by which rows are sorted, counted from 0.
    pub fn sort_column(&self) -> Option<usize> {
        self.sorted_by
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns of the schema that the table has none for; they go to `other`. None, when the
    /// table holds a selection.
    pub(crate) fn left_out<'a>(&'a self, schema: &'a Schema) -> impl Iterator<Item = (usize, &'a SchemaColumn)> {
        let columns = schema.columns().iter().enumerate().filter(|_| self.is_whole);
        columns.filter(|(_, column)| {
            let selector = selector_of(column).map(Origin::Value);
            selector.is_some_and(|wanted| !self.columns.iter().any(|column| column.origin == wanted))
        })
    }
}

/// The value that a column of the log is; `None` for what the time is made of.
fn selector_of(column: &SchemaColumn) -> Option<Selector> {
    match column {
        SchemaColumn::Known(field) if TIMES.contains(field) => None,
        other => Some(other.into()),
    }
}

fn origin_of(selector: &Selector) -> Origin {
    match selector {
        Selector::Field(Field::Timestamp | Field::TimestampMs) => Origin::Time,
        other => Origin::Value(other.clone()),
    }
}

/// Names for columns: lower case letters, digits and `_`, as Athena and Glue take them without
/// quotes. Those that would be the same get numbers, in their order.
///
/// ```
/// use pixel_engine_log::table::column_names;
/// assert_eq!(column_names(["c_ip", "query_E", "query_e"]), ["c_ip", "query_e", "query_e_2"]);
/// ```
pub fn column_names<'a>(wanted: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // Folders of the day and the hour are columns too.
    const TAKEN: [&str; 2] = ["dt", "hour"];
    let mut names: Vec<String> = TAKEN.map(str::to_owned).into();
    for name in wanted {
        let plain = name.to_lowercase().chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        names.push(unused(plain, &names));
    }
    names.split_off(TAKEN.len())
}

fn named(origins: Vec<Origin>) -> Box<[Column]> {
    let wanted: Vec<String> = origins.iter().map(name_of).collect();
    let names = column_names(wanted.iter().map(String::as_str));
    let columns = origins.into_iter().zip(names).map(|(origin, name)| {
        let column_type = type_of(&origin);
        Column { name, column_type, origin, is_folder: false }
    });
    columns.collect()
}

/// The name, with a number if there is one like it.
pub(crate) fn unused(wanted: String, names: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{wanted}_{number}"));
    let mut all = std::iter::once(wanted.clone()).chain(numbered);
    all.find(|name| !names.contains(name)).expect("there is no end of numbers")
}

fn name_of(origin: &Origin) -> String {
    match origin {
        Origin::Time => Field::Timestamp.json_name(),
        Origin::Query => "query".to_owned(),
        Origin::Other => "other".to_owned(),
        Origin::Value(selector) => selector.column_name(),
    }
}

fn type_of(origin: &Origin) -> ColumnType {
    match origin {
        Origin::Time => ColumnType::Timestamp,
        Origin::Query | Origin::Other => ColumnType::Map,
        Origin::Value(selector) => type_of_value(selector),
    }
}

/// What values of the log are, by the kind of their field.
pub fn type_of_value(selector: &Selector) -> ColumnType {
    match selector {
        Selector::Field(field) => match field.kind() {
            Kind::Text => ColumnType::Text,
            Kind::Integer => ColumnType::Integer,
            Kind::Decimal => ColumnType::Decimal,
        },
        _ => ColumnType::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::LogKind;

    fn names(table: &Table) -> Vec<&str> {
        table.columns().iter().map(Column::name).collect()
    }

    fn promoted(list: &str) -> Vec<Selector> {
        list.split(' ').map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn every_schema_adds_the_columns_that_are_new() {
        let of = |list| Schema::parse(LogKind::RealTime, list).unwrap();
        let standard = Schema::parse(LogKind::Standard, "date time c-ip cs(Cookie)").unwrap();
        let table = Table::of_log([&of("timestamp c-ip"), &of("timestamp c-ip asn +x-New.one"), &standard], &[]);
        assert_eq!(names(&table), ["timestamp", "c_ip", "asn", "x_new_one", "cs_cookie", "query", "other"]);
    }

    #[test]
    fn names_that_collide_in_lower_case_get_numbers() {
        let schema = Schema::parse(LogKind::RealTime, "timestamp +Query +query_u +Hour").unwrap();
        let table = Table::of_log([&schema], &promoted("query.u query.U query.ü"));
        let expected =
            ["timestamp", "query", "query_u", "hour_2", "query_u_2", "query_u_3", "query__", "query_2", "other"];
        assert_eq!(names(&table), expected);
    }

    #[test]
    fn a_selection_is_the_table_with_what_does_not_fit() {
        let table = Table::of_selection(&"date timestamp time-taken query.e sc-status".parse().unwrap());
        assert_eq!(names(&table), ["date", "timestamp", "time_taken", "query_e", "sc_status", "other"]);
        let types: Vec<ColumnType> = table.columns().iter().map(Column::column_type).collect();
        use ColumnType::{Decimal, Integer, Map, Text, Timestamp};
        assert_eq!(types, [Text, Timestamp, Decimal, Text, Integer, Map]);
    }

    #[test]
    fn rows_are_sorted_by_a_column_of_the_files() {
        let selectors = promoted("c-ip query.u");
        let table = Table::of_log([&Schema::preset("pixel-4").unwrap()], &selectors).with_folders(&selectors[..1]);
        let by = |name: &str| table.clone().sorted_by(&name.parse().unwrap()).and_then(|table| table.sort_column());
        let found = ["timestamp", "query.u", "c-ip", "query.v"].map(by);
        assert_eq!(found, [Some(0), Some(4), None, None]);
    }

    #[test]
    fn what_is_left_out_is_known() {
        let schema = Schema::parse(LogKind::Standard, "date time c-ip cs-method +new").unwrap();
        let left_out = |table: &Table| table.left_out(&schema).map(|(index, _)| index).collect::<Vec<_>>();
        assert_eq!(left_out(&Table::of_log([&Schema::preset("pixel-4").unwrap()], &[])), [3, 4]);
        assert_eq!(left_out(&Table::of_selection(&"c-ip".parse().unwrap())), [] as [usize; 0]);
    }
}
