//! A template of CloudFormation as other people's code reads it.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::emulator::Emulator;
use super::{python, run, text};

/// A template as cfn-lint reads it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReadTemplate {
    /// With the long form of every function.
    pub(crate) template: Value,
    /// What cfn-lint finds.
    pub(crate) findings: Vec<String>,
}

/// The template in that file.
pub(crate) fn read_template(path: &Path) -> ReadTemplate {
    let read = text(run(python("read_template.py").arg(path), b""));
    serde_json::from_str(&read).expect("a template is JSON")
}

/// What the models of AWS's SDK for Python say of calls; nothing for one that is right.
pub(crate) fn validate_calls(calls: &[Value]) -> Vec<String> {
    let calls: String = calls.iter().map(|call| format!("{call}\n")).collect();
    let answers = text(run(&mut python("validate_calls.py"), calls.as_bytes()));
    let problems = |answer: &str| serde_json::from_str::<Value>(answer).expect("JSON")["problems"].take();
    answers.lines().map(|answer| problems(answer).as_str().expect("text").to_owned()).collect()
}

/// The rows of queries over tab-separated files in Hive's folders, by DuckDB. Columns are names and
/// types of Glue.
pub(crate) fn query_table(files: &Path, columns: &Value, queries: &[&str]) -> Vec<Value> {
    let input = json!({ "files": files, "columns": columns, "queries": queries }).to_string();
    let rows = text(run(&mut python("query_table.py"), input.as_bytes()));
    rows.lines().map(|rows| serde_json::from_str(rows).expect("rows are JSON")).collect()
}

/// Runs the function `handler` of some Python with each of these events, and the SDK against the
/// emulator; returns the calls that it made, such as `s3:PutObject`.
pub(crate) fn run_handler(emulator: &Emulator, code: &str, events: &[Value]) -> Vec<String> {
    let mut script = python("run_handler.py");
    let input = json!({ "code": code, "events": events }).to_string();
    let calls = text(run(script.envs(emulator.environment()), input.as_bytes()));
    calls.lines().map(str::to_owned).collect()
}
