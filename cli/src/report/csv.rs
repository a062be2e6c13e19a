//! The report as CSV: a file for each table, for spreadsheets and databases.
//!
//! Which files there are does not depend on what the log holds: a table without rows is a file with
//! its header. The format is that of RFC 4180 in UTF-8. Columns are called as in the JSON; text is as
//! the log has it.

use std::fs;
use std::io::Write;
use std::path::Path;

use pixel_engine::report::{Document, Lines};
use serde::Serialize;
use serde_json::Value;

const NAMES: &[&str] = &["name", "beacons", "bots", "percent"];
const MOMENTS: &[&str] = &["begin", "begin_seconds", "beacons", "bots", "visitors"];
const PAGES: &[&str] = &["page", "count"];
const SHARES: &[&str] = &["name", "beacons", "percent"];
const BAD_LINES: &[&str] = &["reason", "count", "first"];
const EVENT: [&str; 7] = ["time", "event", "page", "country", "status", "agent", "query"];

/// Writes all files, into a folder that is made; how many. Errors name the path.
pub(super) fn write(report: &Document, folder: &Path) -> Result<usize, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files = Files { folder, written: 0 };
    files.write("summary", &["name", "value", "unit"], summary(report))?;
    files.write("bad_lines", BAD_LINES, bad_lines(&report.lines))?;
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
    advertising(report, &mut files)?;
    reconciled(report, &mut files)?;
    blog(report, &mut files)?;
    shop(report, &mut files)?;
    explained(report, &mut files)?;
    Ok(files.written)
}

fn bad_lines(lines: &Lines) -> impl Iterator<Item = (&String, u64, &String)> {
    lines.bad_by_reason.iter().map(|(reason, bad)| (reason, bad.count, &bad.first))
}

fn funnel(report: &Document, files: &mut Files) -> Result<(), String> {
    let steps = || report.funnel.iter().flat_map(|funnel| &funnel.steps);
    let rows = steps().map(|step| {
        let percents = (step.percent_of_first, step.percent_of_previous);
        (&step.step, step.visitors, step.error_percent, percents, step.median_seconds, step.p90_seconds, step.left)
    });
    let columns = [
        "step",
        "visitors",
        "error_percent",
        "percent_of_first",
        "percent_of_previous",
        "median_seconds",
        "p90_seconds",
        "left",
    ];
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

fn advertising(report: &Document, files: &mut Files) -> Result<(), String> {
    const STEPS: [&str; 4] = ["impressions", "viewable", "clicks", "conversions"];
    const PARTS: [&str; 6] = ["gross", "bots", "data_centres", "duplicates", "net", "without_id"];
    // Numbers of a step have their path in the JSON: `impressions.net`.
    let steps: Vec<String> =
        STEPS.iter().flat_map(|step| PARTS.iter().map(move |part| format!("{step}.{part}"))).collect();
    let columns: Vec<&str> = ["campaign", "publisher"]
        .into_iter()
        .chain(steps.iter().map(String::as_str))
        .chain(["viewable_percent", "click_percent", "conversion_percent"])
        .collect();
    let rows = report.advertising.iter().flat_map(|advertising| &advertising.rows);
    files.write("advertising", &columns, rows.map(|row| (&row.campaign, &row.publisher, &row.counts)))
}

fn reconciled(report: &Document, files: &mut Files) -> Result<(), String> {
    let columns = [
        "begin",
        "begin_seconds",
        "standard_lines",
        "standard_without_id",
        "real_time_lines",
        "real_time_without_id",
        "both",
        "only_standard",
        "only_real_time",
        "missing_percent",
    ];
    let hours = report.reconciled.iter().flat_map(|reconciled| &reconciled.by_hour);
    files.write("reconciled", &columns, hours.map(|hour| (&hour.begin, hour.begin_seconds, hour.compared)))?;
    let standard_log = || report.reconciled.iter().map(|reconciled| &reconciled.standard_log);
    files.write("reconciled_bad_lines", BAD_LINES, standard_log().flat_map(bad_lines))?;
    let unread = standard_log().flat_map(|lines| &lines.unread_inputs);
    files.write("reconciled_unread_inputs", &["input"], unread.map(|input| [input]))
}

fn blog(report: &Document, files: &mut Files) -> Result<(), String> {
    let blog = || report.blog.iter();
    files.write("blog_topics", SHARES, blog().flat_map(|blog| &blog.topics.rows))?;
    files.write("blog_countries", SHARES, blog().flat_map(|blog| &blog.countries.rows))?;
    files.write("blog_devices", SHARES, blog().flat_map(|blog| &blog.devices.rows))
}

fn shop(report: &Document, files: &mut Files) -> Result<(), String> {
    let products = || report.shop.iter().flat_map(|shop| &shop.products);
    let rows = products().map(|product| {
        let counts = &product.counts;
        let events = (counts.views, counts.carts, counts.checkouts, counts.paid);
        (&product.product, events, counts.without_value, counts.unread_values, counts.bots)
    });
    let columns = ["product", "views", "carts", "checkouts", "paid", "without_value", "unread_values", "bots"];
    files.write("shop_products", &columns, rows)?;
    let of_products =
        products().flat_map(|product| product.counts.revenue.iter().map(move |revenue| (&product.product, revenue)));
    files.write("shop_products_revenue", &["product", "currency", "amount"], of_products)?;
    let revenue = report.shop.iter().flat_map(|shop| &shop.total.revenue);
    files.write("shop_revenue", &["currency", "amount"], revenue)
}

/// What the numbers of uses mean, and what to know about them, by their part of the JSON.
fn explained(report: &Document, files: &mut Files) -> Result<(), String> {
    let advertising = report.advertising.as_ref();
    let (reconciled, blog, shop) = (report.reconciled.as_ref(), report.blog.as_ref(), report.shop.as_ref());
    let definitions = [
        ("advertising", advertising.map(|part| &part.definitions)),
        ("blog", blog.map(|part| &part.definitions)),
        ("shop", shop.map(|part| &part.definitions)),
    ];
    let rows = definitions.into_iter().flat_map(|(part, of)| of.into_iter().flatten().map(move |of| (part, of)));
    files.write("definitions", &["part", "name", "definition"], rows)?;
    let notes = [
        ("advertising", advertising.map(|part| &part.notes)),
        ("reconciled", reconciled.map(|part| &part.notes)),
        ("shop", shop.map(|part| &part.notes)),
    ];
    let rows = notes.into_iter().flat_map(|(part, of)| of.into_iter().flatten().map(move |note| (part, note)));
    files.write("notes", &["part", "note"], rows)
}

/// What is one number or text, by its path in the JSON: `sessions.mean_seconds`.
fn summary(report: &Document) -> Vec<(String, Value, &'static str)> {
    let mut rows = Vec::new();
    singles(String::new(), serde_json::to_value(report).expect("every key is text"), &mut rows);
    rows.into_iter().map(|(name, value)| (name.clone(), value, unit(&name))).collect()
}

fn singles(path: String, value: Value, rows: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            // Reasons of bad lines have files of their own.
            for (field, value) in fields.into_iter().filter(|(field, _)| field != "bad_by_reason") {
                let path = if path.is_empty() { field } else { format!("{path}.{field}") };
                singles(path, value, rows);
            }
        }
        Value::Array(_) => {}
        value => rows.push((path, value)),
    }
}

/// As the end of its name has it.
fn unit(name: &str) -> &'static str {
    const UNITS: [(&str, &str); 5] =
        [("_seconds", "s"), ("_millis", "ms"), ("_bytes", "bytes"), ("_percent", "%"), (".percent", "%")];
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
