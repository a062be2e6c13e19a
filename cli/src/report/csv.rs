//! The report as CSV: a file for each table, for spreadsheets and databases.
//!
//! Which files there are does not depend on what the log holds: a table without rows is a file with
//! its header. The format is that of RFC 4180 in UTF-8. Columns are called as in the JSON; text is as
//! the log has it.

use std::fs;
use std::io::Write;
use std::path::Path;

use pixel_engine::report::Document;
use serde::Serialize;
use serde_json::Value;

const NAMES: &[&str] = &["name", "beacons", "bots", "percent"];
const MOMENTS: &[&str] = &["begin", "begin_seconds", "beacons", "bots", "visitors"];
const PAGES: &[&str] = &["page", "count"];
const EVENT: [&str; 7] = ["time", "event", "page", "country", "status", "agent", "query"];

/// Writes all files, into a folder that is made; how many. Errors name the path.
pub(super) fn write(report: &Document, folder: &Path) -> Result<usize, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files = Files { folder, written: 0 };
    files.write("summary", &["name", "value", "unit"], summary(report))?;
    let bad = report.lines.bad_by_reason.iter().map(|(reason, bad)| (reason, bad.count, &bad.first));
    files.write("bad_lines", &["reason", "count", "first"], bad)?;
    files.write("unread_inputs", &["input"], report.lines.unread_inputs.iter().map(|input| [input]))?;
    files.write("by_hour", MOMENTS, &report.by_hour.rows)?;
    files.write("by_day", MOMENTS, &report.by_day.rows)?;
    let about = report.tables.iter().map(|table| {
        (
            table.name,
            table.title,
            &table.definition,
            table.beacons,
            table.without,
            table.names,
            table.error,
            table.others,
        )
    });
    let columns = ["name", "title", "definition", "beacons", "without", "names", "error", "others"];
    files.write("tables", &columns, about)?;
    for table in &report.tables {
        files.write(table.name, NAMES, &table.rows)?;
    }
    files.write("sessions_entries", PAGES, &report.sessions.entries)?;
    files.write("sessions_exits", PAGES, &report.sessions.exits)?;
    funnel(report, &mut files)?;
    let columns = ["name", "definition", "count", "mean", "p50", "p90", "p95", "p99", "p999", "max"];
    files.write("latency", &columns, &report.latency)?;
    abnormal(report, &mut files)?;
    files.write("recent", &EVENT, &report.recent)?;
    Ok(files.written)
}

fn funnel(report: &Document, files: &mut Files) -> Result<(), String> {
    let steps = || report.funnel.iter().flat_map(|funnel| &funnel.steps);
    let rows = steps().map(|step| {
        let percents = (step.percent_of_first, step.percent_of_previous);
        (&step.step, step.visitors, percents, step.median_seconds, step.p90_seconds, step.left)
    });
    let columns =
        ["step", "visitors", "percent_of_first", "percent_of_previous", "median_seconds", "p90_seconds", "left"];
    files.write("funnel", &columns, rows)?;
    let left_on = steps().flat_map(|step| step.left_on.iter().map(move |page| (&step.step, page)));
    files.write("funnel_left_on", &["step", "page", "count"], left_on)
}

fn abnormal(report: &Document, files: &mut Files) -> Result<(), String> {
    let rules = &report.abnormal.rules;
    let rows = rules.iter().map(|rule| (rule.name, &rule.definition, rule.count, rule.percent, rule.error_percent));
    files.write("abnormal", &["name", "definition", "count", "percent", "error_percent"], rows)?;
    let notes = rules.iter().flat_map(|rule| rule.notes.iter().map(move |note| (rule.name, note)));
    files.write("abnormal_notes", &["name", "note"], notes)?;
    let examples = rules.iter().flat_map(|rule| rule.examples.iter().map(move |event| (rule.name, event)));
    let columns: Vec<&str> = ["name"].into_iter().chain(EVENT).collect();
    files.write("abnormal_examples", &columns, examples)
}

/// What is one number or text, by its path in the JSON: `sessions.mean_seconds`.
fn summary(report: &Document) -> Vec<(String, Value, &'static str)> {
    let Value::Object(parts) = serde_json::to_value(report).expect("every key is text") else {
        unreachable!("a struct is an object")
    };
    let mut rows = Vec::new();
    for (part, value) in parts {
        match value {
            Value::Object(fields) => {
                let singles = fields.into_iter().filter(|(_, value)| is_single(value));
                rows.extend(singles.map(|(field, value)| (format!("{part}.{field}"), value)));
            }
            value if is_single(&value) => rows.push((part, value)),
            _ => {}
        }
    }
    rows.into_iter().map(|(name, value)| (name.clone(), value, unit(&name))).collect()
}

fn is_single(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

/// As the end of its name has it.
fn unit(name: &str) -> &'static str {
    const UNITS: [(&str, &str); 4] = [("_seconds", "s"), ("_millis", "ms"), ("_bytes", "bytes"), ("_percent", "%")];
    UNITS.iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit)
}

struct Files<'a> {
    folder: &'a Path,
    written: usize,
}

impl Files<'_> {
    fn write<T: Serialize>(
        &mut self,
        name: &str,
        columns: &[&str],
        rows: impl IntoIterator<Item = T>,
    ) -> Result<(), String> {
        let path = self.folder.join(format!("{name}.csv"));
        let mut format = csv::WriterBuilder::new();
        let mut writer = format.has_headers(false).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        let written =
            writer.write_record(columns).and_then(|()| rows.into_iter().try_for_each(|row| writer.serialize(row)));
        written.expect("rows are as flat as their columns, and memory takes them");
        let text = writer.into_inner().expect("memory takes it");
        super::whole(&path, |mut file| file.write_all(&text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        self.written += 1;
        Ok(())
    }
}
