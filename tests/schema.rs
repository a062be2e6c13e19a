//! What SQL is told of delivered files: by DuckDB, the models of AWS's SDK, cfn-lint, moto and sqlglot.

use std::fs;

use serde_json::{Value, json};

use crate::peers::{Emulator, Row, moto, read_ddl, read_template, run_sql, validate_calls};
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
        (&["--apply", "--location", "s3://bucket/", "--since", "2026-01-01"], "--database"),
        (&["--apply", "--database", "pixel", "--location", "s3://bucket/"], "--since"),
        (&["--glue", "--replace", "--location", "s3://bucket/", "--since", "2026-01-01"], "--apply"),
    ] {
        run(&mut workspace.command(&[&["schema"], arguments].concat()), b"").exits(2).says(&[says]);
    }
}

/// A catalogue of moto's, and the program that applies tables to it.
struct Catalogue {
    moto: Emulator,
    workspace: Workspace,
}

impl Catalogue {
    fn apply(&self, arguments: &[&str]) -> Run {
        let fixed = ["schema", "--apply", "--database", "pixel", "--table", "hits", "--since", "2026-01-01"];
        let mut command = self.workspace.command(&[&fixed[..], arguments].concat());
        run(command.envs(self.moto.environment()).env_remove("AWS_PROFILE"), b"")
    }

    #[track_caller]
    fn says(&self, arguments: &[&str], expected: &str) {
        let said = self.apply(arguments).ok().stdout;
        assert_eq!(String::from_utf8_lossy(&said), expected, "{arguments:?}");
    }

    fn call(&self, operation: &str, parameters: Value) -> Value {
        self.moto.call("glue", &[(operation, parameters)]).remove(0)
    }

    /// As boto3 reads it.
    fn table(&self) -> Value {
        self.call("get_table", json!({ "DatabaseName": "pixel", "Name": "hits" }))["Table"].take()
    }
}

const LAKE: [&str; 4] = ["--location", "s3://bucket/prefix", "--encode", "parquet"];

#[test]
fn a_table_is_made_in_glue_and_changed_only_where_it_must_be() {
    let test = Catalogue { moto: moto(), workspace: Workspace::new() };
    let with = |more: &[&'static str]| [&LAKE[..], more].concat();
    test.apply(&LAKE).exits(1).says(&["pixel: no such database", "--create-database"]);
    test.says(&with(&["--create-database"]), "pixel: created\npixel.hits: created\n");
    // What `--glue` prints is what boto3 reads.
    let mut printed = table_of(&["--encode", "parquet", "--table", "hits"]);
    let table = test.table();
    for (name, value) in printed.as_object_mut().expect("an object").iter_mut() {
        match name.as_str() {
            "StorageDescriptor" => {
                for (name, value) in value.as_object_mut().expect("an object").iter_mut() {
                    assert_eq!(table["StorageDescriptor"][name], *value, "{name}");
                }
            }
            name => assert_eq!(table[name], *value, "{name}"),
        }
    }
    test.says(&LAKE, "pixel.hits: nothing to do\n");
    test.says(&with(&["--create-database"]), "pixel.hits: nothing to do\n");

    // What others put on it.
    let mut input = table.clone();
    let members = ["Name", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor"];
    input.as_object_mut().expect("an object").retain(|name, _| members.contains(&name.as_str()));
    input["Description"] = "beacons".into();
    input["Parameters"]["team"] = "ads".into();
    input["StorageDescriptor"]["Columns"][0]["Comment"] = "when".into();
    test.call("update_table", json!({ "DatabaseName": "pixel", "TableInput": input }));
    test.says(&LAKE, "pixel.hits: nothing to do\n");
    let wider = with(&["--column", "query.uid"]);
    test.says(&wider, "pixel.hits: updated\n  + column query_uid string\n");
    let table = test.table();
    assert_eq!((&table["Description"], &table["Parameters"]["team"]), (&json!("beacons"), &json!("ads")));
    assert_eq!(table["StorageDescriptor"]["Columns"][0]["Comment"], "when");

    // What breaks queries.
    let before = test.table();
    let gone = test.apply(&LAKE).exits(1);
    gone.says(&["pixel.hits: left as it was: - column query_uid string would break queries", "--replace"]);
    let elsewhere = ["--location", "s3://other/", "--encode", "parquet", "--column", "query.uid"];
    test.apply(&elsewhere).exits(1).says(&["~ location s3://bucket/prefix/ -> s3://other/ would break queries"]);
    assert_eq!(test.table(), before);
    test.says(&with(&["--replace"]), "pixel.hits: updated\n  - column query_uid string\n");
    test.says(&LAKE, "pixel.hits: nothing to do\n");

    // A column of another type.
    let columns = input["StorageDescriptor"]["Columns"].as_array_mut().expect("columns");
    let bytes = columns.iter_mut().find(|column| column["Name"] == "sc_bytes").expect("it is there");
    bytes["Type"] = "string".into();
    test.call("update_table", json!({ "DatabaseName": "pixel", "TableInput": input }));
    test.apply(&LAKE).exits(1).says(&["~ column sc_bytes string -> bigint would break queries"]);
    test.says(&with(&["--replace"]), "pixel.hits: updated\n  ~ column sc_bytes string -> bigint\n");

    // Something else of that name.
    let mut iceberg = input;
    iceberg["Parameters"]["table_type"] = "ICEBERG".into();
    test.call("update_table", json!({ "DatabaseName": "pixel", "TableInput": iceberg }));
    test.apply(&with(&["--replace"])).exits(1).says(&["pixel.hits: there is a table of Iceberg of that name"]);
    let partitions = test.call("get_partitions", json!({ "DatabaseName": "pixel", "TableName": "hits" }));
    assert_eq!(partitions["Partitions"], json!([]));
}

#[test]
fn every_form_is_applied_once() {
    let test = Catalogue { moto: moto(), workspace: Workspace::new() };
    test.call("create_database", json!({ "DatabaseInput": { "Name": "pixel" } }));
    for (at, form) in FORMS.iter().enumerate() {
        let name = format!("form_{at}");
        let fixed = ["schema", "--apply", "--database", "pixel", "--table", &name];
        let apply = || {
            let mut command = test.workspace.command(&[&fixed[..], &S3, form].concat());
            run(command.envs(test.moto.environment()).env_remove("AWS_PROFILE"), b"").ok().stdout
        };
        assert_eq!(String::from_utf8_lossy(&apply()), format!("pixel.{name}: created\n"));
        assert_eq!(String::from_utf8_lossy(&apply()), format!("pixel.{name}: nothing to do\n"));
    }
}
