//! SQL as other people's code reads and runs it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{python, run, text};

/// A row, in texts.
pub(crate) type Row = Vec<Option<String>>;

/// The rows of each query with these parameters, by DuckDB. `tables` are in its own dialect; views
/// and queries are in `dialect`, which sqlglot translates if it is another one.
pub(crate) fn run_sql(
    dialect: &str,
    tables: &[&str],
    views: &[&str],
    queries: &[&str],
    parameters: &[&str],
) -> Vec<Vec<Row>> {
    let input =
        json!({ "dialect": dialect, "tables": tables, "views": views, "queries": queries, "parameters": parameters });
    let rows = text(run(&mut python("run_sql.py"), input.to_string().as_bytes()));
    rows.lines().map(|rows| serde_json::from_str(rows).expect("rows are JSON")).collect()
}

/// What a `CREATE EXTERNAL TABLE` makes.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReadDdl {
    pub(crate) table: String,
    /// Names and types.
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) partitions: Vec<(String, String)>,
    /// Those of the table.
    pub(crate) properties: Value,
}

/// A statement of Athena, as sqlglot reads it.
pub(crate) fn read_ddl(statement: &str) -> ReadDdl {
    let read = text(run(&mut python("read_ddl.py"), statement.as_bytes()));
    serde_json::from_str(&read).expect("what it found is JSON")
}
