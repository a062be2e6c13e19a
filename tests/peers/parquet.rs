//! Parquet files, as pyarrow, DuckDB and Java's own reader find them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;
use tempfile::TempDir;

use super::{installed, prepare, python, run, text, try_run};
use crate::support::files_below;

/// The log that files were made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin<'a> {
    /// Its columns, separated by commas; `header` or `json` where the log names them itself.
    pub(crate) fields: &'a str,
    /// The fields that the table has, where these are others.
    pub(crate) table: Option<&'a str>,
    /// Parameters that have a column, separated by commas.
    pub(crate) promoted: &'a str,
    /// Columns that only folders have, separated by commas.
    pub(crate) folders: &'a str,
}

/// What the readers found.
#[derive(Debug, Deserialize)]
pub(crate) struct Checked {
    /// Rows that there should be.
    pub(crate) rows: u64,
    /// What is not as the log has it, or not as the file itself says.
    differences: Vec<String>,
    pub(crate) files: Vec<ParquetFile>,
    /// What Java looked at; `None` without a JDK or Maven.
    #[serde(skip)]
    pub(crate) java: Option<JavaCounts>,
}

/// A file as pyarrow describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct ParquetFile {
    /// Below the folder.
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) row_groups: u64,
    /// The column by which its row groups are sorted.
    pub(crate) sorted_by: Vec<String>,
    pub(crate) created_by: String,
    pub(crate) codecs: Vec<String>,
    /// The physical and the logical type of each leaf.
    pub(crate) columns: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct JavaCounts {
    /// Pages whose bounds and nulls were held against what is in them.
    pub(crate) pages: u64,
    /// Bloom filters that have every value.
    pub(crate) filters: u64,
    /// Values that are not there, and for how many of these a filter said that they may be.
    pub(crate) filter_probes: u64,
    pub(crate) filter_false_positives: u64,
    /// Searches for a value, by everything that can leave pages out.
    pub(crate) searches: u64,
}

/// Holds every file below the folder against the log: all values, statistics, page indexes, filters.
#[track_caller]
pub(crate) fn check_parquet(folder: &Path, log: &Path, origin: Origin<'_>) -> Checked {
    let (rows, java) = read_with_java(folder).unzip();
    let mut check = python("check_parquet.py");
    check.arg("--log").arg(log).args(["--fields", origin.fields]);
    check.args(["--promoted", origin.promoted, "--folders", origin.folders]);
    if let Some(table) = origin.table {
        check.args(["--table", table]);
    }
    let to = TempDir::new().expect("a temporary folder");
    if let Some(rows) = rows {
        let path = to.path().join("Java");
        fs::write(&path, rows).expect("a file");
        check.arg("--rows").arg(path);
    }
    let report = run(check.arg(folder), b"");
    let checked: Checked = serde_json::from_slice(&report).expect("a report is JSON");
    assert!(checked.differences.is_empty(), "{}", checked.differences.join("\n"));
    Checked { java, ..checked }
}

/// The rows as JSON lines, and what was looked at.
fn read_with_java(folder: &Path) -> Option<(String, JavaCounts)> {
    let mut java = java()?;
    let files: Vec<PathBuf> = files_below(folder).into_iter().filter(|path| is_parquet(path)).collect();
    let output = text(run(java.args(files), b""));
    let output = output.trim_end();
    let (rows, counts) = output.rsplit_once('\n').unwrap_or(("", output));
    Some((rows.to_owned(), serde_json::from_str(counts).expect("counts are JSON")))
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

fn java() -> Option<Command> {
    static PREPARED: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        if !installed("Java's reader of Parquet", &["java", "javac", "mvn"], "default-jdk-headless maven")? {
            return Ok(None);
        }
        let files = [
            ("pom.xml", include_str!("parquet/pom.xml")),
            ("src/main/java/ReadParquet.java", include_str!("parquet/src/main/java/ReadParquet.java")),
        ];
        prepare("parquet", &files, "", |folder| {
            try_run(Command::new("sh").args(["-c", "mvn -q -B process-classes >&2"]).current_dir(folder), b"")
        })
        .map(Some)
    });
    let folder = prepared.as_ref().unwrap_or_else(|message| panic!("{message}")).as_ref()?.join("target");
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(format!("{0}/classes:{0}/dependency/*", folder.display())).arg("ReadParquet");
    Some(command)
}

/// How many rows have which values in these columns, as DuckDB finds them in files and in the names of
/// folders: `a=1/b=None`.
pub(crate) fn rows_by(folder: &Path, columns: &[&str]) -> BTreeMap<String, u64> {
    let counted = run(python("count_parquet.py").arg(folder).args(columns), b"");
    serde_json::from_slice(&counted).expect("counts are JSON")
}

/// Holds the Parquet files below one folder against those below another: the same rows in the same
/// folders, to the last value. Of rows of `before` with the same id in the column `unique`, one
/// counts. Returns how many rows there are.
#[track_caller]
pub(crate) fn same_rows(before: &Path, after: &Path, unique: Option<&str>) -> u64 {
    #[derive(Deserialize)]
    struct Same {
        rows: u64,
        differences: Vec<String>,
    }
    let mut compare = python("same_rows.py");
    if let Some(unique) = unique {
        compare.args(["--unique", unique]);
    }
    let same: Same = serde_json::from_slice(&run(compare.arg(before).arg(after), b"")).expect("JSON");
    assert!(same.differences.is_empty(), "{}", same.differences.join("\n"));
    same.rows
}

/// Writes a Parquet file as other programs do: see `write_parquet.py`.
pub(crate) fn write_parquet(kind: &str, to: &Path, arguments: &[&str]) {
    run(python("write_parquet.py").arg(kind).arg(to).args(arguments), b"");
}
