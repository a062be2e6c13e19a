use std::fs;

use serde_json::{Value, json};

use crate::support::*;

/// Runs `plan`.
fn plan(workspace: &Workspace, arguments: &[&str]) -> Run {
    run(&mut workspace.command(&[&["plan"], arguments].concat()), b"")
}

fn plan_json(workspace: &Workspace, arguments: &[&str]) -> Value {
    let run = plan(workspace, &[arguments, &["--json"]].concat()).ok();
    serde_json::from_slice(&run.stdout).expect("a plan is JSON")
}

fn design<'a>(plan: &'a Value, id: &str) -> &'a Value {
    let designs = plan["designs"].as_array().expect("designs");
    designs.iter().find(|design| design["id"] == id).unwrap_or_else(|| panic!("no design {id}"))
}

/// What a service charges in a design.
fn cost(plan: &Value, id: &str, service: &str) -> f64 {
    let charges = design(plan, id)["charges"].as_array().expect("charges");
    let of_service = charges.iter().filter(|charge| charge["service"] == service);
    of_service.map(|charge| charge["amount"].as_f64().expect("an amount")).sum()
}

#[track_caller]
fn close(got: f64, wanted: f64) {
    assert!((got - wanted).abs() < 1e-6 * wanted.abs(), "{got} instead of {wanted}");
}

#[test]
fn a_plan_from_a_sample_has_every_design_and_fits_a_terminal() {
    let workspace = Workspace::new();
    workspace.write("sample.log", &log("realtime-46", 2_000));
    let run = plan(&workspace, &["sample.log", "--rate", "20000/s", "--peak", "4x", "--simulate", "flash-crowd"]).ok();
    assert_eq!(run.stderr, "");
    let text = String::from_utf8(run.stdout).expect("UTF-8");
    for part in
        ["1a Kinesis > Firehose", "zstd:1", "80,000 lines/s at the peak", "simulated flash-crowd", "* a  a GB is"]
    {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn the_numbers_of_a_sample_are_those_of_ingest() {
    let workspace = Workspace::new();
    let text = log("realtime-46", 3_000);
    workspace.write("sample.log", &text);
    let summary = workspace.ingest(&["sample.log", "--to", "null:"]).ok().summary();
    let plan = plan_json(&workspace, &["sample.log", "--rate", "1000/s"]);
    let workload = &plan["workload"];
    close(workload["line_bytes"].as_f64().unwrap(), text.len() as f64 / 3_000.0);
    close(workload["unpacked"]["firehose"].as_f64().unwrap(), summary.billed_bytes_unpacked as f64 / 3_000.0);
    close(
        workload["unpacked"]["on_demand"].as_f64().unwrap(),
        summary.billed_bytes_kinesis_on_demand_unpacked as f64 / 3_000.0,
    );
    let bars = workload["lengths"]["histogram"].as_array().unwrap();
    assert_eq!(bars.iter().map(|bar| bar["lines"].as_u64().unwrap()).sum::<u64>(), 3_000);
    // Design 1 bills Firehose for the lines as they are, a line a record.
    let billed = summary.billed_bytes_unpacked as f64 / 3.0 * 2_628_000.0;
    close(cost(&plan, "1a", "firehose"), billed / 1e9 * 0.029);
    // Packed and compressed costs less, each less than the one before.
    let [lines, raw, zstd] = ["1a", "3", "4a"].map(|id| cost(&plan, id, "firehose"));
    assert!(lines > 4.0 * raw && raw > 3.0 * zstd, "{lines} {raw} {zstd}");
}

#[test]
fn compressed_and_standard_logs_are_samples_too() {
    let workspace = Workspace::new();
    workspace.write("standard.gz", &gzip(&log("standard", 500)));
    workspace.write("logs/v2.jsonl", &log("standard-json", 500));
    let plan = plan_json(&workspace, &["standard.gz", "logs", "--monthly", "1e9"]);
    assert_eq!(plan["workload"]["origin"]["sample"]["lines"], 1_000);
    assert_eq!(plan["workload"]["origin"]["sample"]["bad_lines"], 0);
}

#[test]
fn without_a_sample_the_length_of_a_line_is_enough() {
    let workspace = Workspace::new();
    let plan = plan_json(&workspace, &["--line-bytes", "800", "--monthly", "26_280_000_000", "--peak", "2"]);
    // 10,000 lines/s, 20 shards at the peak.
    let lines = 26.28e9;
    close(cost(&plan, "1a", "kinesis"), 20.0 * 730.0 * 0.015 + lines / 1e6 * 0.014);
    close(cost(&plan, "1a", "cloud-front"), lines / 1e6 * 0.01);
    assert!(plan["workload"]["compressed"].as_array().unwrap().is_empty());
    assert_eq!(design(&plan, "3")["engine"]["cores"], Value::Null);
    assert_eq!(design(&plan, "3")["caveats"], json!(["speed-unknown"]));
    assert!(plan["designs"].as_array().unwrap().iter().all(|design| design["id"] != "4a"));
}

#[test]
fn the_same_seed_gives_the_same_simulation() {
    let workspace = Workspace::new();
    let day = |more: &[&str]| {
        let arguments = ["--line-bytes", "800", "--rate", "5000/s", "--simulate", "diurnal"];
        plan_json(&workspace, &[&arguments, more].concat())["simulation"].take()
    };
    assert_eq!(day(&[]), day(&["--seed", "1"]));
    assert_ne!(day(&[]), day(&["--seed", "2"]));
    let few = day(&["--shards", "8", "--spool-size", "1MB"]);
    assert_eq!(few, day(&["--shards", "8", "--spool", "1MB"]), "its old spelling");
    let lines = &few["streams"][0];
    assert_eq!(lines["what"], "Kinesis, lines");
    let planned = |key: &str| lines["planned"][key].as_u64().unwrap();
    assert_eq!(planned("lanes"), 8);
    assert!(planned("throttled") > 0 && planned("lost") > 0);
    assert_eq!(planned("arrived"), planned("delivered") + planned("waiting") + planned("lost"));
    assert!(lines["smallest"]["lanes"].as_u64().unwrap() >= 10);
    assert!(lines["smallest"]["worst_delay"].as_f64().unwrap() <= 1.0);
    // No number of shards helps a key that is too hot alone.
    assert_eq!(day(&["--keys", "zipf:2"])["streams"][0]["smallest"], Value::Null);
}

#[test]
fn absurd_numbers_neither_panic_nor_hang() {
    let workspace = Workspace::new();
    for rate in ["1e12/s", "1e-9/s", "1/month"] {
        for line in ["2", "800", "50000"] {
            for more in
                [&[][..], &["--producers", "1000000", "--linger", "1ms"], &["--linger", "24h", "--from", "producers"]]
            {
                let text =
                    plan(&workspace, &[&["--line-bytes", line, "--rate", rate, "--peak", "1"], more].concat()).ok();
                let text = String::from_utf8(text.stdout).expect("UTF-8");
                assert!(!text.contains("NaN") && !text.contains(" inf "), "{text}");
                assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            }
        }
    }
    let day = ["--line-bytes", "800", "--simulate", "diurnal", "--rate"];
    plan(&workspace, &[&day[..], &["1e11/s"]].concat()).exits(1).says(&["more than a simulation takes"]);
    plan(&workspace, &[&day[..], &["0.001/s"]].concat()).ok();
}

#[test]
fn a_trace_gives_the_rate_or_takes_its_average_from_it() {
    let workspace = Workspace::new();
    workspace.write("trace.csv", b"second,events\n0,100\n1,300\n3,0\n");
    workspace.write("trace.log", &log("realtime-46", 1_000));
    let load = |arguments: &[&str]| {
        let plan = plan_json(&workspace, &[&["--line-bytes", "500"], arguments].concat());
        let of = |key: &str| plan["setup"]["load"][key].as_f64().unwrap();
        (of("average"), of("peak"))
    };
    assert_eq!(load(&["--simulate", "trace.csv"]), (100.0, 300.0));
    assert_eq!(load(&["--simulate", "trace.csv", "--rate", "1000/s"]), (1_000.0, 3_000.0));
    let (average, peak) = load(&["--simulate", "trace.log"]);
    assert!(average > 0.0 && peak >= average);
    plan(&workspace, &["--line-bytes", "500", "--simulate", "trace.csv", "--peak", "3x"])
        .exits(2)
        .says(&["a trace has its own peak"]);
    workspace.write("bad.csv", b"0,100\n1;2\n");
    plan(&workspace, &["--line-bytes", "500", "--simulate", "bad.csv"]).exits(1).says(&["bad.csv: line 2"]);
    plan(&workspace, &["--line-bytes", "500", "--simulate", "missing"]).exits(1).says(&["missing: No such file"]);
}

#[test]
fn the_page_needs_nothing_else() {
    let workspace = Workspace::new();
    workspace.write("a<b>&.log", &log("realtime-46", 300));
    let arguments = ["a<b>&.log", "--rate", "3000/s", "--simulate", "diurnal", "--shards", "5", "--html", "plan.html"];
    plan(&workspace, &arguments).ok();
    let page = fs::read_to_string(workspace.path("plan.html")).expect("a page");
    for absent in ["<script", "http:", "https:", "<link", "@import", "url(", "<img", "NaN", ",inf", "\"inf", ">inf<"] {
        assert!(!page.contains(absent), "{absent}");
    }
    for part in ["prefers-color-scheme: dark", "Cost by design", "Cost by record size", "the longest delay", "</html>"]
    {
        assert!(page.contains(part), "{part}");
    }
    for element in ["svg", "table", "tr", "td", "div", "p", "h2", "h3", "span", "text"] {
        let opened = page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
    plan(&workspace, &["--line-bytes", "9", "--rate", "1/s", "--html", "no/such/folder.html"])
        .exits(1)
        .says(&["no/such/folder.html", "o such file"]);
}

#[test]
fn prices_of_ones_own_take_the_place_of_the_built_in_ones() {
    let workspace = Workspace::new();
    let built_in = plan(&workspace, &["--print-prices"]).ok().stdout;
    let mut prices: Value = serde_json::from_slice(&built_in).expect("JSON");
    let region = prices["regions"]["us-east-1"].take();
    prices["regions"] = json!({ "eu-west-1": region });
    prices["regions"]["eu-west-1"]["kinesis-shard-hour"]["value"] = json!(1.5);
    prices["currency"] = json!("EUR");
    workspace.write("mine.json", prices.to_string().as_bytes());
    let asked = ["--line-bytes", "800", "--rate", "10000/s"];
    let mine = ["--prices", "mine.json", "--region", "eu-west-1"];
    let plan_of = |more: &[&str]| plan_json(&workspace, &[&asked, more].concat());
    let shards = 20.0 * 730.0;
    close(cost(&plan_of(&mine), "1a", "kinesis") - cost(&plan_of(&[]), "1a", "kinesis"), shards * (1.5 - 0.015));
    assert_eq!(plan_of(&mine)["setup"]["prices"]["currency"], "EUR");
    // As a whole: the region that only the built-in file has is gone.
    plan(&workspace, &[&asked[..], &["--prices", "mine.json"]].concat())
        .exits(2)
        .says(&["mine.json: no prices for the region `us-east-1`; it has eu-west-1", "--print-prices"]);
    plan(&workspace, &[&asked[..], &["--region", "mars-1"]].concat()).exits(2).says(&[
        "`mars-1`",
        "us-east-1",
        "--prices",
    ]);

    prices["regions"]["eu-west-1"].as_object_mut().unwrap().remove("lambda-gb-second");
    workspace.write("mine.json", prices.to_string().as_bytes());
    plan(&workspace, &[&asked[..], &mine].concat())
        .exits(1)
        .says(&["mine.json: the region `eu-west-1` has no `lambda-gb-second`"]);
    for (text, what) in [("", "line 1"), ("{}", "missing field"), ("[1]", "invalid type")] {
        workspace.write("mine.json", text.as_bytes());
        plan(&workspace, &[&asked[..], &mine].concat()).exits(1).says(&["mine.json: ", what]);
    }
    plan(&workspace, &[&asked[..], &["--prices", "missing.json"]].concat())
        .exits(1)
        .says(&["missing.json: No such file"]);
}

#[test]
fn what_is_unsettled_is_marked_where_it_takes_part() {
    let workspace = Workspace::new();
    let text = plan(&workspace, &["--line-bytes", "800", "--rate", "10000/s"]).ok().stdout;
    let text = String::from_utf8(text).expect("UTF-8");
    let row =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}:\n{text}"));
    // CloudFront's and provisioned Kinesis' prices are confirmed, Firehose's GB and S3's are not.
    let cells: Vec<&str> = row("1a").split_whitespace().collect();
    assert_eq!(cells.iter().filter(|cell| cell.ends_with('*')).count(), 3, "{cells:?}");
    assert!(text.contains("s3-put-thousand: 0.005 USD"));
}

#[test]
fn bad_samples_are_told_of() {
    let workspace = Workspace::new();
    let rate = ["--rate", "100/s"];
    let of = |name: &str| plan(&workspace, &[&[name], &rate[..]].concat());
    workspace.write("empty.log", b"");
    of("empty.log").exits(1).says(&["the sample is empty"]);
    workspace.write("prose.log", b"not a log\nat all\n");
    of("prose.log").exits(1).says(&["none of the sample's 2 lines is a log line", "prose.log"]);
    of("missing.log").exits(1).says(&["missing.log: no such file"]);
    workspace.write("cut.gz", &gzip(&log("realtime-46", 500))[..2_000]);
    of("cut.gz").exits(1).says(&["cut.gz", "reading stopped at byte"]);
    of("-").exits(1).says(&["stdin", "must be a file"]);
    workspace.write("tiny.log", &log("realtime-46", 12));
    of("tiny.log").ok().says(&["the sample has 12 lines", "rough"]);
    workspace.write("mixed.log", &[&log("realtime-46", 200)[..], b"a bad line\n"].concat());
    of("mixed.log").ok().says(&["1 of the sample's lines left out", "mixed.log", "line 201"]);
    assert!(!workspace.path("pixel-engine-quarantine.jsonl").exists(), "a plan leaves nothing behind");
}

#[test]
fn command_lines_that_cannot_be_planned_exit_with_2() {
    let workspace = Workspace::new();
    let sized = |more: &[&'static str]| [&["--line-bytes", "800"], more].concat();
    for arguments in [
        sized(&["--rate", "0/s"]),
        sized(&["--rate", "-5/s"]),
        sized(&["--rate", "2e12/s"]),
        sized(&["--rate", "20000"]),
        sized(&["--rate", "nan/s"]),
        sized(&["--monthly", "0"]),
        sized(&["--monthly", "many"]),
        sized(&["--rate", "1/s", "--monthly", "1e6"]),
        sized(&["--rate", "1/s", "--peak", "0.5x"]),
        sized(&["--rate", "1/s", "--peak", "1e9x"]),
        sized(&["--rate", "1/s", "--linger", "0s"]),
        sized(&["--rate", "1/s", "--consumers", "0"]),
        sized(&["--rate", "1/s", "--producers", "0"]),
        sized(&["--rate", "1/s", "--simulate", "diurnal", "--keys", "hot"]),
        sized(&["--rate", "1/s", "--keys", "even"]),
        sized(&["--rate", "1/s", "--shards", "5"]),
        vec!["--line-bytes", "0", "--rate", "1/s"],
        vec!["--line-bytes", "60000", "--rate", "1/s"],
        vec!["--rate", "1/s"],
        vec!["sample.log", "--line-bytes", "800", "--rate", "1/s"],
    ] {
        let run = plan(&workspace, &arguments).exits(2);
        assert!(!run.stderr.is_empty() && !run.stderr.contains("panicked"), "{arguments:?}: {}", run.stderr);
    }
    plan(&workspace, &["--line-bytes", "800"]).exits(2).says(&["Give --rate", "--monthly"]);
}
