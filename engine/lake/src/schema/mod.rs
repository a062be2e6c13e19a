//! What SQL must be told of the files below a place: columns, their types, the folders.
//!
//! ```text
//! the settings of a run ──► Definition ─┬─► TableInput (Glue) ──► CREATE EXTERNAL TABLE (Athena)
//!              a place ──► Place ───────┴─► CREATE VIEW (DuckDB)
//! ```
//! Columns are those that the encoders write, under names that no dialect has to quote. Numbers with
//! a fraction are doubles: the `BIGINT` of AWS's own example makes NULL of `0.042`. Folders of days
//! and hours are worked out from the query (partition projection): nothing crawls, nothing is
//! registered.

mod athena;
mod duckdb;
mod glue;

use jiff::civil::Date;
use pixel_engine_log::encode::json_keys;
use pixel_engine_log::schema::Schema;
use pixel_engine_log::select::{Selection, Selector};
use pixel_engine_log::table::{ColumnType, Origin, Table, column_names, type_of_value};

pub use athena::athena;
pub use duckdb::duckdb;
pub use glue::{GlueColumn, SerdeInfo, StorageDescriptor, TableInput, glue};

/// What files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Parquet.
    Parquet,
    /// A JSON object a line.
    JsonLines,
    /// Values split by tabs, without a header; `-` for an absent one.
    Tsv,
}

/// The folders that files are in, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `dt=2026-01-05/hour=07/`, as Hive has partitions.
    Hive,
    /// `2026/01/05/07/`, as Firehose has them unless it is told otherwise.
    Date,
}

/// A column of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Lower case letters, digits and `_`.
    name: String,
    /// What JSON lines call it.
    key: String,
    column_type: ColumnType,
}

/// What files hold, and the folders that they are in.
///
/// ```
/// use pixel_engine_lake::schema::{Definition, Layout, Place, athena, duckdb, glue};
/// use pixel_engine_log::schema::Schema;
/// let schema = Schema::preset("pixel-4").expect("a preset");
/// let lines = Definition::tsv_of_log(&schema, Layout::Date);
/// let place = Place::new("lines", "s3://bucket/tsv", "2026-01-01".parse()?)?;
/// let table = glue(&lines, &place)?;
/// assert_eq!(table.parameters["projection.dt.range"], "2026/01/01,NOW");
/// assert!(athena(&table, Some("pixel")).starts_with("CREATE EXTERNAL TABLE IF NOT EXISTS `pixel`.`lines` ("));
/// assert!(duckdb(&lines, &place).contains("read_csv(\n  's3://bucket/tsv/**/*.tsv*',"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    form: Form,
    layout: Layout,
    columns: Vec<Column>,
    /// Whether the outer folders are those of days and hours.
    by_time: bool,
    /// The columns that the folders inside of these are named after.
    folders: Vec<String>,
}

impl Definition {
    /// The Parquet files of that table.
    pub fn parquet(table: &Table) -> Definition {
        let (folders, columns): (Vec<_>, Vec<_>) = table.columns().iter().partition(|column| column.is_folder());
        let column = |column: &&pixel_engine_log::table::Column| Column {
            name: column.name().to_owned(),
            key: column.name().to_owned(),
            column_type: column.column_type(),
        };
        Definition {
            form: Form::Parquet,
            layout: Layout::Hive,
            columns: columns.iter().map(column).collect(),
            by_time: table.columns().iter().any(|column| *column.origin() == Origin::Time),
            folders: folders.iter().map(|column| column.name().to_owned()).collect(),
        }
    }

    /// JSON lines of logs with any of these schemas: of all columns, or of what is selected.
    pub fn json_lines<'a>(
        schemas: impl IntoIterator<Item = &'a Schema>,
        selection: Option<&Selection>,
        layout: Layout,
    ) -> Definition {
        // What is selected has its column, whether any of the schemas has it or not.
        let selected = selection.map(Selection::selectors).unwrap_or_default().iter();
        let selected = selected.filter(|selector| !is_parameter(selector));
        let selected = selected.map(|selector| (selector.clone(), selector.json_name()));
        // An unknown field that is called so gets a number from the schema that has it.
        let selected = selected.filter(|(_, key)| key != "query");
        let of_schemas = schemas.into_iter().flat_map(|schema| json_keys(schema, selection));
        let mut keys: Vec<(String, ColumnType)> = Vec::new();
        for (selector, key) in selected.chain(of_schemas) {
            if !keys.iter().any(|(known, _)| *known == key) {
                keys.push((key, type_of_value(&selector)));
            }
        }
        if selection.is_none_or(|selection| selection.selectors().iter().any(is_parameter)) {
            keys.push(("query".to_owned(), ColumnType::Map));
        }
        Definition::of_text(Form::JsonLines, keys, layout)
    }

    /// Lines of that schema as they came.
    pub fn tsv_of_log(schema: &Schema, layout: Layout) -> Definition {
        Definition::tsv(schema.columns().iter().map(Selector::from), layout)
    }

    /// The selected values, split by tabs.
    pub fn tsv_of_selection(selection: &Selection, layout: Layout) -> Definition {
        Definition::tsv(selection.selectors().iter().cloned(), layout)
    }

    fn tsv(selectors: impl Iterator<Item = Selector>, layout: Layout) -> Definition {
        let (wanted, types): (Vec<String>, Vec<ColumnType>) =
            selectors.map(|selector| (selector.column_name(), type_of_value(&selector))).unzip();
        let names = column_names(wanted.iter().map(String::as_str));
        Definition::of_text(Form::Tsv, names.into_iter().zip(types).collect(), layout)
    }

    fn of_text(form: Form, columns: Vec<(String, ColumnType)>, layout: Layout) -> Definition {
        let names = column_names(columns.iter().map(|(key, _)| key.as_str()));
        let columns =
            names.into_iter().zip(columns).map(|(name, (key, column_type))| Column { name, key, column_type });
        Definition { form, layout, columns: columns.collect(), by_time: true, folders: Vec::new() }
    }

    /// The columns that folders inside of the hours are named after: of each, a query of Athena must
    /// give one value.
    pub fn folders(&self) -> &[String] {
        &self.folders
    }
}

/// Whether it is inside of `query` in JSON lines.
fn is_parameter(selector: &Selector) -> bool {
    matches!(selector, Selector::Query(_))
}

/// Where the files are, and what the table of them is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    table: String,
    /// With a `/` behind it.
    location: String,
    since: Date,
}

/// A table cannot be there, or be called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Glue takes more; Athena takes these without quotes.
    #[error("`{0}` is not 1 to 255 lower case letters, digits and `_`")]
    Name(String),
    /// A character in it would mean something to SQL or to projection.
    #[error("location `{0}`: without quotes, backslashes, `$` and control characters")]
    Location(String),
    /// Athena reads S3 alone.
    #[error("location `{0}`: not s3://BUCKET/PREFIX/")]
    NotS3(String),
}

impl Place {
    /// The table of the files below that location: `s3://BUCKET/PREFIX/`, or a folder. Athena sees
    /// days from `since` on.
    ///
    /// # Errors
    /// The table or the location has characters that it may not have.
    pub fn new(table: &str, location: &str, since: Date) -> Result<Place, PlaceError> {
        check_name(table)?;
        let is_odd = |c: char| c.is_control() || matches!(c, '\'' | '"' | '\\' | '$' | '`');
        if location.is_empty() || location.contains(is_odd) {
            return Err(PlaceError::Location(location.to_owned()));
        }
        let slash = if location.ends_with('/') { "" } else { "/" };
        Ok(Place { table: table.to_owned(), location: format!("{location}{slash}"), since })
    }
}

/// Whether a database or a table can be called so.
///
/// # Errors
/// It cannot.
pub fn check_name(name: &str) -> Result<(), PlaceError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match (1..=255).contains(&name.len()) && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(PlaceError::Name(name.to_owned())),
    }
}
