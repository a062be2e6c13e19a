//! What SQL is told of delivered files: by DuckDB, the models of AWS's SDK, cfn-lint, moto and sqlglot.

use std::fs;

use serde_json::{Value, json};

use crate::peers::{Row, moto, read_ddl, read_template, run_sql, validate_calls};
use crate::support::*;

const LINES: u64 = 3_000;
const S3: [&str; 4] = ["--location", "s3://bucket/prefix", "--since", "2026-01-01"];

fn schema(workspace: &Workspace, arguments: &[&str]) -> String {
    String::from_utf8(run(&mut workspace.command(&[&["schema"], arguments].concat()), b"").ok().stdout).expect("UTF-8")
}

fn table_of(arguments: &[&str]) -> Value {
    let text = schema(&Workspace::new(), &[&["--glue"], &S3[..], arguments].concat());
    serde_json::from_str(&text).expect("it is JSON")
}

/// Delivers a log with these settings, and asks DuckDB about it by the view for them.
fn asked(workspace: &Workspace, log: &str, arguments: &[&str], more: &[&str], queries: &[&str]) -> Vec<Vec<Row>> {
    let folder = workspace.path("lake");
    let _ = fs::remove_dir_all(&folder);
    let delivered = ["ingest", log, "--to", "dir:lake", "--quiet"];
    run(&mut workspace.command(&[&delivered, arguments, more].concat()), b"").ok();
    let location = folder.to_str().expect("UTF-8");
    let view = schema(workspace, &[&["--duckdb", "--location", location], arguments].concat());
    run_sql("duckdb", &[&view], &[], queries, &[])
}

fn one(rows: &[Row]) -> Vec<&str> {
    rows[0].iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect()
}

const NUMBERS: &str = "SELECT count(*), count(DISTINCT x_edge_request_id), sum(sc_bytes), round(sum(time_taken) * 1000), \
                       count(time_taken), count(sc_status), count(DISTINCT dt || ' ' || hour) FROM lines";

#[test]
fn every_form_of_files_has_the_same_numbers_in_duckdb() {
    let workspace = Workspace::new();
    workspace.write("a.log", &log("realtime-46", LINES));
    let text = fs::read_to_string(workspace.path("a.log")).expect("it was written");
    let column = |at: usize| text.lines().map(move |line| line.split('\t').nth(at).expect("46 of them"));
    let bytes: u64 = column(5).map(|value| value.parse::<u64>().expect("a number")).sum();
    let millis: f64 = column(14).map(|value| value.parse::<f64>().expect("a number") * 1_000.0).sum();
    let (lines, bytes, millis) = (LINES.to_string(), bytes.to_string(), format!("{:.1}", millis.round()));
    let wanted = [&lines, &lines, &bytes, &millis, &lines, &lines].map(String::as_str);
    for (arguments, more) in [
        (&["--encode", "parquet"][..], &[][..]),
        (&["--encode", "jsonl"], &["--compress", "zstd"]),
        (&["--encode", "jsonl", "--select", "x-edge-request-id,time-taken,sc-bytes,sc-status,query.e"], &[]),
        (&["--fields", "realtime-46"], &["--compress", "gzip"]),
        (&["--select", "time-taken,query.e,query.E,sc-bytes,sc-status,x-edge-request-id"], &[]),
    ] {
        let found = asked(&workspace, "a.log", arguments, more, &[NUMBERS, "DESCRIBE lines"]);
        let numbers = one(&found[0]);
        assert_eq!(numbers[..6], wanted, "{arguments:?}");
        // Text is in the hour of its delivery.
        assert!(numbers[6].parse::<u64>().expect("a number") >= 1);
        // The view has the columns of Glue's table, in its order, with its types.
        let table = table_of(arguments);
        let keys =
            ["StorageDescriptor"].map(|part| &table[part]["Columns"]).into_iter().chain([&table["PartitionKeys"]]);
        let columns = keys.flat_map(|columns| columns.as_array().expect("a list"));
        let wanted: Vec<(&str, &str)> = columns
            .map(|column| {
                let column_type = match column["Type"].as_str().expect("text") {
                    "string" => "VARCHAR",
                    "bigint" => "BIGINT",
                    "double" => "DOUBLE",
                    "timestamp" => "TIMESTAMP",
                    "int" => "INTEGER",
                    "map<string,string>" => "MAP(VARCHAR, VARCHAR)",
                    other => panic!("{other}"),
                };
                (column["Name"].as_str().expect("text"), column_type)
            })
            .collect();
        let described: Vec<Vec<&str>> =
            found[1].iter().map(|row| one(std::slice::from_ref(row))[..2].to_vec()).collect();
        let described: Vec<(&str, &str)> = described.iter().map(|column| (column[0], column[1])).collect();
        assert_eq!(described, wanted, "{arguments:?}");
    }
}

#[test]
fn promoted_columns_and_folders_are_columns() {
    let workspace = Workspace::new();
    let line = |second: u32, country: &str, uid: &str, seconds: &str| {
        format!("17675712{second:02}.5\t192.0.2.1\t{seconds}\t000\te=a%2520b&uid={uid}\t{country}\n")
    };
    // A value that is no number is kept, and is NULL where a number is wanted.
    let log =
        [line(10, "DE", "1", "0.042"), line(11, "FR", "2", "x"), line(12, "-", "3", "-"), line(13, "D/E x", "4", "7")];
    workspace.write("a.log", log.concat().as_bytes());
    let fields = "timestamp c-ip time-taken sc-status cs-uri-query c-country";
    let arguments = ["--encode", "parquet", "--fields", fields, "--column", "query.uid", "--partition-by", "c-country"];
    let query = "SELECT c_country, query_uid, query['e'], time_taken, sc_status, \"timestamp\", dt, hour FROM lines ORDER BY query_uid";
    let found = asked(&workspace, "a.log", &arguments, &[], &[query]);
    let rest = |second: u32| format!("0|2026-01-05 00:00:{second}.500000|2026-01-05|0");
    let rows: Vec<String> = found[0].iter().map(|row| one(std::slice::from_ref(row)).join("|")).collect();
    assert_eq!(
        rows,
        [
            format!("DE|1|a b|0.042|{}", rest(10)),
            format!("FR|2|a b|NULL|{}", rest(11)),
            format!("NULL|3|a b|NULL|{}", rest(12)),
            format!("D/E x|4|a b|7.0|{}", rest(13)),
        ]
    );
    for text in [&["--encode", "jsonl", "--fields", fields][..], &["--fields", fields]] {
        let query = "SELECT time_taken, sc_status, c_country FROM lines ORDER BY \"timestamp\"";
        let found = asked(&workspace, "a.log", text, &[], &[query]);
        let rows: Vec<String> = found[0].iter().map(|row| one(std::slice::from_ref(row)).join("|")).collect();
        assert_eq!(rows, ["0.042|0|DE", "NULL|0|FR", "NULL|0|NULL", "7.0|0|D/E x"], "{text:?}");
    }
    let table = table_of(&arguments);
    assert_eq!(table["Parameters"]["projection.c_country.type"], "injected");
    assert_eq!(
        table["Parameters"]["storage.location.template"],
        "s3://bucket/prefix/dt=${dt}/hour=${hour}/c_country=${c_country}/"
    );
}

/// Every form, as flags.
const FORMS: [&[&str]; 5] = [
    &["--encode", "parquet", "--column", "query.uid", "--partition-by", "c-country,query.e"],
    &["--encode", "parquet", "--select", "c-ip,query.e"],
    &["--encode", "jsonl", "--fields", "timestamp c-ip cs-uri-query +X-New.One"],
    &["--encode", "raw", "--layout", "hive"],
    &["--select", "timestamp,query.E,query.e,uri-path"],
];

#[test]
fn glue_and_cloudformation_take_the_table() {
    let tables: Vec<Value> = FORMS.map(table_of).to_vec();
    let call = |table: &Value| json!({ "service": "glue", "operation": "CreateTable", "parameters": { "DatabaseName": "pixel", "TableInput": table } });
    let problems = validate_calls(&tables.iter().map(call).collect::<Vec<_>>());
    assert_eq!(problems, vec![String::new(); FORMS.len()]);
    let resource = |(at, table): (usize, &Value)| {
        let properties =
            json!({ "CatalogId": { "Ref": "AWS::AccountId" }, "DatabaseName": "pixel", "TableInput": table });
        (format!("Table{at}"), json!({ "Type": "AWS::Glue::Table", "Properties": properties }))
    };
    let resources: serde_json::Map<String, Value> = tables.iter().enumerate().map(resource).collect();
    let workspace = Workspace::new();
    workspace.write("template.json", json!({ "Resources": resources }).to_string().as_bytes());
    assert_eq!(read_template(&workspace.path("template.json")).findings, Vec::<String>::new());

    let moto = moto();
    moto.call("glue", &[("create_database", json!({ "DatabaseInput": { "Name": "printed" } }))]);
    for (at, mut table) in tables.into_iter().enumerate() {
        table["Name"] = json!(format!("lines_{at}"));
        let named = json!({ "DatabaseName": "printed", "Name": table["Name"] });
        let create = json!({ "DatabaseName": "printed", "TableInput": table });
        let found = &moto.call("glue", &[("create_table", create), ("get_table", named)])[1]["Table"];
        for part in ["Parameters", "PartitionKeys", "StorageDescriptor", "TableType"] {
            assert_eq!(found[part], table[part], "{part}");
        }
    }
}

#[test]
fn athena_is_told_the_same_as_glue() {
    for form in FORMS {
        let table = table_of(form);
        let arguments = [&["--athena", "--database", "pixel"], &S3[..], form].concat();
        let statement = schema(&Workspace::new(), &arguments);
        let ddl = read_ddl(&statement);
        assert_eq!(ddl.table, "\"pixel\".\"lines\"");
        let columns = |columns: &Value| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let columns = columns.as_array().expect("a list").iter();
            columns.map(|column| (text(&column["Name"]), text(&column["Type"]))).collect()
        };
        assert_eq!(ddl.columns, columns(&table["StorageDescriptor"]["Columns"]));
        assert_eq!(ddl.partitions, columns(&table["PartitionKeys"]));
        let mut parameters = table["Parameters"].clone();
        parameters.as_object_mut().expect("an object").remove("EXTERNAL");
        for (name, value) in parameters.as_object().expect("an object") {
            assert_eq!(ddl.properties[name], *value, "{name}");
        }
        let serde = &table["StorageDescriptor"]["SerdeInfo"];
        assert!(statement.contains(&format!("ROW FORMAT SERDE {}", serde["SerializationLibrary"]).replace('"', "'")));
        assert!(statement.contains("LOCATION 's3://bucket/prefix/'\n"), "{statement}");
    }
    let json = table_of(FORMS[2]);
    assert_eq!(json["StorageDescriptor"]["SerdeInfo"]["Parameters"], json!({ "mapping.x_new_one": "x_new.one" }));
    assert_eq!(json["Parameters"]["storage.location.template"], "s3://bucket/prefix/${dt}/${hour}/");
    let selected = table_of(&["--encode", "jsonl", "--select", "date,query.e,c-ip,query.f,asn"]);
    let columns = selected["StorageDescriptor"]["Columns"].as_array().expect("a list").iter();
    let names: Vec<&Value> = columns.map(|column| &column["Name"]).collect();
    assert_eq!(names, ["date", "c_ip", "asn", "query"]);
    assert_eq!(json["Parameters"]["projection.dt.range"], "2026/01/01,NOW");
}

#[test]
fn what_makes_no_table_is_refused() {
    let workspace = Workspace::new();
    for (arguments, says) in [
        (&["--athena", "--location", "s3://bucket/"][..], "--since"),
        (&["--glue", "--since", "2026-01-01", "--location", "lake"], "location `lake/`: not s3://BUCKET/PREFIX/"),
        (&["--duckdb", "--location", "it's"], "location `it's`: without quotes"),
        (&["--duckdb", "--location", "lake", "--table", "Lines"], "`Lines` is not 1 to 255 lower case letters"),
        (&["--duckdb", "--location", "lake", "--encode", "parquet", "--layout", "date"], "folders of hive"),
        (&["--duckdb", "--location", "lake", "--fields", "pixel-4", "--fields", "realtime-46"], "one list of fields"),
        (&["--duckdb", "--location", "lake", "--format", "standard"], "give them as --fields"),
        (&["--duckdb", "--location", "lake", "--format", "json", "--fields", "pixel-4"], "--encode jsonl"),
        (&["--duckdb", "--location", "lake", "--column", "query.e"], "--column needs --encode parquet"),
        (&["--duckdb", "--glue", "--location", "lake"], "cannot be used with"),
        (&["--location", "lake"], "--glue"),
    ] {
        run(&mut workspace.command(&[&["schema"], arguments].concat()), b"").exits(2).says(&[says]);
    }
}
