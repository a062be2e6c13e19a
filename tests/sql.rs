//! The queries in `docs/sql` have the numbers of a report of the same lines, in both dialects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::peers::{Row, run_sql};
use crate::support::*;

const DAYS: [&str; 2] = ["2026-01-05", "2026-01-06"];
const VIEWS: [&str; 2] = ["beacons.athena.sql", "beacons.duckdb.sql"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("sql")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("it is there")
}

/// The names of the queries.
fn names() -> BTreeSet<String> {
    let files = fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let names = files.map(|name| name.into_string().expect("UTF-8")).filter(|name| name.ends_with(".sql"));
    names.filter(|name| !VIEWS.contains(&name.as_str())).collect()
}

/// What the queries and the report of the same visits say.
struct Found {
    report: Value,
    /// By the name of the query.
    rows: BTreeMap<String, Vec<Row>>,
    /// The same, of the text for Athena.
    rows_of_athena: BTreeMap<String, Vec<Row>>,
}

fn found() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| {
        let workspace = Workspace::new();
        let mut tables = Vec::new();
        for (schema, table) in [("realtime-46", "lines"), ("standard", "standard_lines")] {
            let made = ["generate", "--visitors", "1500", "--days", "2", "--kind", "mix", "--schema", schema];
            let mut log = run(&mut workspace.command(&made), b"").ok().stdout;
            if schema != "standard" {
                // Real-time logs are delivered at best effort.
                log = lines(&log)
                    .enumerate()
                    .filter(|(at, _)| at % 97 != 0)
                    .flat_map(|(_, line)| line)
                    .copied()
                    .collect();
            }
            workspace.write(table, &log);
            let to = format!("dir:{table}.lake");
            run(&mut workspace.command(&["ingest", table, "--encode", "parquet", "--to", &to, "--quiet"]), b"").ok();
            let location = workspace.path(&format!("{table}.lake"));
            let location = location.to_str().expect("UTF-8");
            let view = ["schema", "--duckdb", "--encode", "parquet", "--table", table, "--location", location];
            tables.push(String::from_utf8(run(&mut workspace.command(&view), b"").ok().stdout).expect("UTF-8"));
        }
        let counted = ["report", "lines", "--json", "--top", "1000000", "--reconcile", "standard_lines"];
        let uses = ["--use", "ad-tech", "--use", "blog", "--use", "shop"];
        let report = run(&mut workspace.command(&[&counted[..], &uses].concat()), b"").ok().stdout;
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let names: Vec<String> = names().into_iter().collect();
        let queries: Vec<String> = names.iter().map(|name| read(name)).collect();
        let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
        let in_dialect = |dialect: &str| -> BTreeMap<String, Vec<Row>> {
            let view = read(&format!("beacons.{dialect}.sql"));
            let rows = run_sql(dialect, &tables, &[&view], &queries, &DAYS);
            names.iter().map(|name| name.trim_end_matches(".sql").to_owned()).zip(rows).collect()
        };
        Found {
            report: serde_json::from_slice(&report).expect("a report is JSON"),
            rows: in_dialect("duckdb"),
            rows_of_athena: in_dialect("athena"),
        }
    })
}

fn rows(name: &str) -> &'static [Row] {
    &found().rows[name]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A row's cell as a number.
fn cell(row: &Row, at: usize) -> u64 {
    let cell = row[at].as_deref().expect("a value");
    cell.parse().unwrap_or_else(|_| panic!("{cell} is no number"))
}

/// The rows of a table of the report.
fn table(name: &str) -> BTreeMap<Option<String>, (u64, u64)> {
    let table = list(&found().report["tables"]).iter().find(|table| table["name"] == name).expect("a table");
    let row = |row: &Value| (text(&row["name"]), (number(&row["beacons"]), number(&row["bots"])));
    list(&table["rows"]).iter().map(row).collect()
}

/// Names with beacons and those of bots, as a query has them.
fn pairs(name: &str) -> BTreeMap<Option<String>, (u64, u64)> {
    rows(name).iter().filter(|row| row[0].is_some()).map(|row| (row[0].clone(), (cell(row, 1), cell(row, 2)))).collect()
}

/// Names with beacons, as a query has them.
fn counts(name: &str) -> BTreeMap<Option<String>, u64> {
    rows(name).iter().map(|row| (row[0].clone(), cell(row, 1))).collect()
}

/// Names with beacons in a part of the report.
fn shares(part: &Value) -> BTreeMap<Option<String>, u64> {
    list(&part["rows"]).iter().map(|row| (text(&row["name"]), number(&row["beacons"]))).collect()
}

#[test]
fn both_dialects_find_the_same() {
    let found = found();
    assert!(found.rows.len() > 15);
    for (name, rows) in &found.rows {
        assert!(!rows.is_empty(), "{name}");
        // Doubles and booleans aside, which no query returns, both are DuckDB's texts.
        assert_eq!(*rows, found.rows_of_athena[name], "{name}");
    }
}

#[test]
fn the_metrics_are_those_of_a_report() {
    let report = &found().report;
    let hours: Vec<(u64, u64)> = rows("events_per_hour").iter().map(|row| (cell(row, 1), cell(row, 2))).collect();
    let wanted = list(&report["by_hour"]["rows"]).iter().map(|hour| (number(&hour["beacons"]), number(&hour["bots"])));
    assert_eq!(hours, wanted.filter(|(beacons, _)| *beacons > 0).collect::<Vec<_>>());
    assert_eq!(rows("events_per_hour")[0][0].as_deref(), Some("2026-01-05 00:00:00"));
    let people = &report["visitors"];
    let visitors = &rows("visitors")[0];
    assert_eq!((cell(visitors, 0), cell(visitors, 1)), (number(&people["people"]), number(&people["bots"])));
    assert_eq!(cell(&rows("sessions")[0], 0), number(&report["sessions"]["sessions"]));
    assert_eq!(pairs("event_counts"), table("events"));
    let all: u64 = rows("event_counts").iter().map(|row| cell(row, 1)).sum();
    assert_eq!(all, number(&report["beacons"]["beacons"]));
    assert_eq!(pairs("referrers"), table("referrers"));
    let agents = rows("user_agents");
    assert_eq!(agents.iter().map(|row| cell(row, 3)).sum::<u64>(), all);
    let bots = agents.iter().filter(|row| row[1].as_deref() == Some("True")).map(|row| cell(row, 3));
    assert_eq!(bots.sum::<u64>(), number(&report["beacons"]["bots"]));
    let latest: Vec<_> = rows("recent_events").iter().take(10).map(|row| (row[1].clone(), row[2].clone())).collect();
    let wanted: Vec<_> = list(&report["recent"]).iter().map(|it| (text(&it["event"]), text(&it["page"]))).collect();
    assert_eq!(latest, wanted);
    let rules = list(&report["abnormal"]["rules"]);
    assert!(rows("abnormal_events").len() >= 10);
    for row in rows("abnormal_events") {
        let rule = rules.iter().find(|rule| rule["name"].as_str() == row[0].as_deref()).expect("a rule of that name");
        assert_eq!(cell(row, 1), number(&rule["count"]), "{:?}", row[0]);
    }
}

#[test]
fn advertisements_and_what_is_missing_are_those_of_a_report() {
    let report = &found().report;
    let mut wanted = BTreeMap::new();
    for row in list(&report["advertising"]["rows"]) {
        for (step, event) in [
            ("impressions", "impression"),
            ("viewable", "viewable"),
            ("clicks", "click"),
            ("conversions", "conversion"),
        ] {
            let counts = ["gross", "bots", "duplicates", "net"].map(|part| number(&row[step][part]));
            if counts[0] > 0 {
                wanted.insert((text(&row["campaign"]), text(&row["publisher"]), event.to_owned()), counts);
            }
        }
    }
    let found = rows("billable_by_campaign").iter().map(|row| {
        let event = row[2].clone().expect("an event");
        ((row[0].clone(), row[1].clone(), event), [3, 4, 5, 6].map(|at| cell(row, at)))
    });
    assert!(wanted.len() > 100, "{}", wanted.len());
    assert_eq!(found.collect::<BTreeMap<_, _>>(), wanted);
    let ids = &report["reconciled"]["total"];
    let sums = [2, 3, 4].map(|at| rows("reconciliation").iter().map(|row| cell(row, at)).sum::<u64>());
    assert_eq!(sums, ["both", "only_standard", "only_real_time"].map(|part| number(&ids[part])), "{ids}");
    assert!(sums[0] > 0 && sums[1] > 0, "{sums:?}");
}

#[test]
fn a_blog_and_a_shop_are_those_of_a_report() {
    let (blog, shop) = (&found().report["blog"], &found().report["shop"]);
    assert_eq!(counts("topics"), shares(&blog["topics"]));
    assert_eq!(counts("countries"), shares(&blog["countries"]));
    assert_eq!(counts("mobile")[&Some("True".to_owned())], number(&blog["mobile"]));
    let steps: Vec<u64> =
        list(&found().report["funnel"]["steps"]).iter().map(|step| number(&step["visitors"])).collect();
    assert_eq!([0, 1, 2, 3].map(|at| cell(&rows("funnel")[0], at)).to_vec(), steps);
    let carts = ["visitors", "paid", "abandoned"].map(|part| number(&shop["abandoned_carts"][part]));
    assert_eq!([0, 1, 2].map(|at| cell(&rows("abandoned_carts")[0], at)), carts);
    let exits = ["sessions", "exits"].map(|part| number(&shop["front_page_exits"][part]));
    assert_eq!([0, 1].map(|at| cell(&rows("front_page_exits")[0], at)), exits);
    let mut products = BTreeMap::new();
    let mut revenue = BTreeMap::new();
    for product in list(&shop["products"]) {
        let counts = ["views", "carts", "checkouts", "paid"].map(|part| number(&product[part]));
        if counts != [0; 4] {
            products.insert(text(&product["product"]), counts);
        }
        for sum in list(&product["revenue"]) {
            revenue.insert((text(&product["product"]), text(&sum["currency"])), text(&sum["amount"]));
        }
    }
    let found = rows("products").iter().map(|row| (row[0].clone(), [1, 2, 3, 4].map(|at| cell(row, at))));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), products);
    let found = rows("revenue").iter().map(|row| ((row[0].clone(), row[1].clone()), row[2].clone()));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), revenue);
}

#[test]
fn every_query_is_in_the_table_of_the_page() {
    let page = read("README.md");
    for name in names().iter().map(String::as_str).chain(VIEWS) {
        assert!(page.contains(&format!("]({name})")), "{name}");
        // Two days, given as parameters, so that no query reads more than it must.
        let expected = if VIEWS.contains(&name) { 0 } else { 2 };
        let sql: String = read(name).lines().filter(|line| !line.starts_with("--")).collect();
        assert_eq!(sql.matches(" ?").count(), expected, "{name}");
    }
}
