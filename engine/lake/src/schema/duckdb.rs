//! The view that DuckDB has of files. Its columns are those of Athena's table.

use pixel_engine_log::table::ColumnType;

use super::{Column, Definition, Form, Layout, Place};

/// `CREATE VIEW` of those files there; DuckDB looks for them when it makes the view.
pub fn duckdb(definition: &Definition, place: &Place) -> String {
    let mut columns: Vec<String> = definition.columns.iter().map(|column| value(definition.form, column)).collect();
    match (definition.by_time, definition.layout) {
        (true, Layout::Hive) => columns.extend(["\"dt\"".to_owned(), "\"hour\"".to_owned()]),
        (true, Layout::Date) => columns.extend([
            format!("regexp_extract(filename, '{DATE_FOLDERS}', 1) AS \"dt\""),
            format!("TRY_CAST(regexp_extract(filename, '{DATE_FOLDERS}', 2) AS INTEGER) AS \"hour\""),
        ]),
        (false, _) => {}
    }
    columns.extend(definition.folders.iter().map(|name| format!("\"{name}\"")));
    let (table, columns) = (&place.table, columns.join(",\n  "));
    format!("CREATE OR REPLACE VIEW \"{table}\" AS\nSELECT\n  {columns}\nFROM {};\n", reader(definition, place))
}

/// The day and the hour above a file.
const DATE_FOLDERS: &str = r"(\d{4}/\d{2}/\d{2})/(\d{2})/[^/]*$";

/// The column's value. A text that is no number is NULL, where the reader would fail.
fn value(form: Form, Column { name, key, column_type }: &Column) -> String {
    let key = key.replace('"', "\"\"");
    // A cast of the column alone would be the reader's again, and end the query.
    let number = |number_type: &str| format!("TRY_CAST(nullif(\"{key}\", '') AS {number_type})");
    let typed = match (form, column_type) {
        // Of UTC, whatever the time zone of the session is: as Athena has it.
        (Form::Parquet, ColumnType::Timestamp) => format!("make_timestamp(epoch_us(\"{key}\"))"),
        (Form::JsonLines | Form::Tsv, ColumnType::Integer) => number("BIGINT"),
        (Form::JsonLines | Form::Tsv, ColumnType::Decimal) => number("DOUBLE"),
        _ => format!("\"{key}\""),
    };
    if key == *name && typed.starts_with('"') { typed } else { format!("{typed} AS \"{name}\"") }
}

fn reader(definition: &Definition, place: &Place) -> String {
    let location = &place.location;
    let folders = match (definition.by_time, definition.layout) {
        (true, Layout::Date) => "hive_partitioning = false,\n  filename = true".to_owned(),
        (by_time, _) => {
            let time = ["'dt': VARCHAR", "'hour': INTEGER"].into_iter().filter(|_| by_time).map(str::to_owned);
            let types: Vec<String> =
                time.chain(definition.folders.iter().map(|name| format!("'{name}': VARCHAR"))).collect();
            match types.as_slice() {
                [] => "hive_partitioning = false".to_owned(),
                types => format!("hive_partitioning = true,\n  hive_types = {{{}}}", types.join(", ")),
            }
        }
    };
    match definition.form {
        // Files from before a column was added are without it.
        Form::Parquet => {
            format!("read_parquet(\n  '{location}**/*.parquet',\n  union_by_name = true,\n  {folders}\n)")
        }
        Form::JsonLines => format!(
            "read_json(\n  '{location}**/*.jsonl*',\n  format = 'newline_delimited',\n  columns = {{{}}},\n  {folders}\n)",
            texts(&definition.columns)
        ),
        Form::Tsv => format!(
            "read_csv(\n  '{location}**/*.tsv*',\n  delim = '\\t',\n  header = false,\n  quote = '',\n  escape = '',\n  \
             nullstr = '-',\n  auto_detect = false,\n  columns = {{{}}},\n  {folders}\n)",
            texts(&definition.columns)
        ),
    }
}

/// Columns as texts: what is no number must not end a query.
fn texts(columns: &[Column]) -> String {
    let columns = columns.iter().map(|column| {
        let key = column.key.replace('\'', "''");
        match column.column_type {
            ColumnType::Map => format!("\n    '{key}': 'MAP(VARCHAR, VARCHAR)'"),
            _ => format!("\n    '{key}': 'VARCHAR'"),
        }
    });
    columns.collect::<Vec<_>>().join(",") + "\n  "
}
