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

/// A GB on AWS's bill.
const GB: f64 = 1_073_741_824.0;

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
    for part in [
        "1a Kinesis > Firehose",
        "zstd:1",
        "80,000 lines/s at the peak",
        "simulated flash-crowd",
        "* a  a GB of Kinesis is",
    ] {
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
    close(cost(&plan, "1a", "firehose"), billed / GB * 0.029);
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
    let few = day(&["--shards", "8", "--max-backlog", "1MB"]);
    assert_eq!(few, day(&["--shards", "8", "--spool", "1MB"]), "the name that the flag had before");
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
        "ap-northeast-1, ap-southeast-1, eu-central-1, eu-west-1, us-east-1, us-west-2",
        "--prices",
    ]);

    // A price may be missing: then the plan says which, and leaves out what it is the price of.
    prices["regions"]["eu-west-1"].as_object_mut().unwrap().remove("lambda-gb-second");
    workspace.write("mine.json", prices.to_string().as_bytes());
    let text = text_of(&workspace, &[&asked[..], &mine].concat());
    assert_eq!(cells(&text, "2a")[9], "11+", "the price of a request is there:\n{text}");
    let missing = "+ ?  the least that it can be, and unknown: there is no price in eu-west-1 for \
        kinesis-channel-gb,\n     lambda-gb-second\n";
    assert!(text.contains(missing), "{text}");
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
    let starred = |text: &str, name: &str| cells(text, name).iter().filter(|cell| cell.ends_with('*')).count();
    let asked = |rate: &'static str| ["--line-bytes", "800", "--rate", rate, "--peak", "1x"];
    // What design 1a has at this rate is settled; how many bytes a GB of on-demand Kinesis has is
    // not.
    let text = text_of(&workspace, &asked("10000/s"));
    assert_eq!((starred(&text, "1a"), starred(&text, "1b")), (0, 2), "{text}");
    // With more than 512,000 GB a month, the second tier of Firehose takes part: it and the total.
    let text = text_of(&workspace, &asked("100000/s"));
    assert_eq!(starred(&text, "1a"), 2, "{text}");
    assert!(text.contains("firehose-gb-tier-2: 0.025 USD"), "{text}");
}

/// What `plan` prints.
fn text_of(workspace: &Workspace, arguments: &[&str]) -> String {
    String::from_utf8(plan(workspace, arguments).ok().stdout).expect("UTF-8")
}

/// The words of a design's row in the table of costs.
fn cells<'a>(text: &'a str, id: &str) -> Vec<&'a str> {
    let row = text.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id}:\n{text}"));
    row.split_whitespace().collect()
}

/// The examples on AWS's pricing pages: Firehose with 1,000 records/s of 3 KB in 30 days, and
/// Kinesis with 100 records/s of 35 KB.
#[test]
fn the_examples_of_aws_cost_what_aws_says() {
    let workspace = Workspace::new();
    let plan = plan_json(&workspace, &["--line-bytes", "3072", "--rate", "1000/s", "--peak", "1x"]);
    let thirty_days = 720.0 / 730.0;
    let charges = design(&plan, "1a")["charges"].as_array().expect("charges");
    let firehose = charges.iter().find(|charge| charge["item"] == "firehose-gb-tier-1").expect("a charge");
    assert_eq!(format!("{:.2}", firehose["quantity"].as_f64().unwrap() * thirty_days), "12359.62");
    assert_eq!(format!("{:.0}", firehose["amount"].as_f64().unwrap() * thirty_days), "358");
    assert_eq!(firehose["caveats"], json!([]), "nothing about it is unsettled");

    let plan = plan_json(&workspace, &["--line-bytes", "35840", "--rate", "100/s", "--peak", "1x"]);
    let shards = design(&plan, "1a")["streams"][0]["shards"]["by_bytes"].as_f64().unwrap();
    assert_eq!((shards.ceil(), format!("{:.0}", cost(&plan, "1a", "kinesis"))), (4.0, "51".to_owned()));
}

#[test]
fn the_answer_comes_first() {
    let workspace = Workspace::new();
    workspace.write("sample.log", &log("realtime-46", 2_000));
    let asked = ["sample.log", "--rate", "20000/s", "--peak", "4x"];
    let text = text_of(&workspace, &asked);
    let first = text.lines().next().expect("a line");
    let (what, needs) =
        first.strip_prefix("cheapest  engine > Firehose, ").expect(first).split_once(": 8").expect(first);
    assert!(what.ends_with(" % below AWS's sample"), "{first}");
    // 80,000 lines/s at the peak come through 80 shards.
    assert!(needs.starts_with("0 shards, 1 producer, ") && needs.ends_with(" cores"), "{first}");

    // It is the row with the smallest total among those that end in S3, in the same currency.
    let total = |id: &str| cells(&text, id).iter().rev().find_map(|cell| number(cell)).expect("a total");
    let compared = ["1a", "1b", "2a", "2b", "2c", "2d", "3 ", "4a", "4b"].map(|id| (id, total(id)));
    let (id, least) = compared.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).expect("designs");
    assert!(first.contains(&format!("({}), ", id.trim())), "{id} in {first}");
    let sample = total("1b");
    let saved = format!("{:.0} % below", 100.0 * (1.0 - least / sample));
    assert!(first.contains(&saved), "{saved} in {first}");

    // JSON and the page say the same.
    let json = plan_json(&workspace, &[&asked[..], &["--html", "plan.html"]].concat());
    assert_eq!(json.as_object().unwrap().keys().next().map(String::as_str), Some("answer"), "first, too");
    let answer = &json["answer"];
    assert_eq!(answer["cheapest"]["saving"]["against"]["id"], "1b");
    assert_eq!(answer["cheapest"]["needs"]["shards"], json!([80.0]));
    let id = answer["cheapest"]["design"]["id"].as_str().expect("an id");
    let amounts = design(&json, id)["charges"].as_array().expect("charges").iter();
    close(
        answer["cheapest"]["total"].as_f64().unwrap(),
        amounts.map(|charge| charge["amount"].as_f64().expect("an amount")).sum(),
    );
    let page = fs::read_to_string(workspace.path("plan.html")).expect("a page");
    let (before, rest) = page.split_once("The cheapest way into S3: engine &gt; Firehose, ").expect("an answer");
    assert!(!before.contains("<table") && rest.contains("below AWS's sample: 80 shards, 1 producer, "), "{before}");
}

/// A cell such as `9,450`, `14,046*` or `1.23M`.
fn number(cell: &str) -> Option<f64> {
    cell.trim_end_matches(['*', '+']).replace(',', "").parse().ok()
}

#[test]
fn a_channel_is_compared_without_a_price() {
    let workspace = Workspace::new();
    let text = text_of(&workspace, &["--line-bytes", "800", "--rate", "10000/s"]);
    let row = cells(&text, "6 ");
    assert!(row[6].ends_with('+') && row.iter().filter(|cell| cell.ends_with('+')).count() == 2, "{row:?}");
    assert!(text.contains("there is no price in us-east-1 for kinesis-channel-gb"), "{text}");
    // Where the rest of it costs less than the cheapest, the answer says what the price decides.
    let text = text_of(&workspace, &["--line-bytes", "800", "--rate", "1000/s", "--peak", "200x"]);
    let answer = text.split("\n\n").next().expect("the answer").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(answer.contains("Kinesis > channel, on-demand (6) would be cheaper if kinesis-channel-gb"), "{answer}");
    assert!(!answer.starts_with("cheapest Kinesis > channel"), "{answer}");
}

#[test]
fn a_region_has_the_prices_that_were_found() {
    let workspace = Workspace::new();
    let plan_in = |region: &str| text_of(&workspace, &["--line-bytes", "800", "--rate", "1000/s", "--region", region]);
    let tokyo = plan_in("ap-northeast-1");
    assert!(tokyo.contains("firehose-gb-tier-1: 0.036 USD") && tokyo.contains(" below AWS's sample"), "{tokyo}");
    for region in ["us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1"] {
        let text = plan_in(region);
        let first = text.lines().next().expect("a line");
        assert!(first.starts_with(&format!("cheapest  not known in {region}, ")), "{first}");
        let answer = text.split("\n\n").next().expect("the answer");
        assert!(answer.contains("firehose-gb-tier-1") && answer.contains("--prices"), "{answer}");
        assert_eq!(cells(&text, "3 ")[7], "?", "Firehose's cost is not invented:\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
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
fn levels_of_codecs_are_compared_when_asked_for() {
    let workspace = Workspace::new();
    workspace.write("sample.log", &log("realtime-46", 2_000));
    let firehose = |levels: &str, id: &str| {
        let plan = plan_json(&workspace, &["sample.log", "--rate", "1000/s", "--threads", "1", "--compress", levels]);
        assert!(plan.to_string().contains(levels.split(',').next().unwrap()));
        cost(&plan, id, "firehose")
    };
    assert!(firehose("zstd:9,gzip:9", "4a") < firehose("zstd:-5", "4a"));
    assert!(firehose("gzip:9", "4b") < firehose("gzip:1", "4b"));
    // Only what was asked for.
    let text = text_of(&workspace, &["sample.log", "--rate", "1000/s", "--compress", "gzip:6"]);
    assert!(text.contains("4b engine > Firehose, gzip:6") && !text.contains("4a"), "{text}");
    let refused = |levels: &str| plan(&workspace, &["sample.log", "--rate", "1/s", "--compress", levels]).exits(2);
    refused("none").says(&["--compress none", "3"]);
    refused("zstd:1,zstd:3").says(&["one level of zstd (design 4a)"]);
    refused("zip").says(&["zip", "gzip:0 to gzip:9"]);
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
        sized(&["--rate", "1/s", "--compress", "zstd:3"]),
    ] {
        let run = plan(&workspace, &arguments).exits(2);
        assert!(!run.stderr.is_empty() && !run.stderr.contains("panicked"), "{arguments:?}: {}", run.stderr);
    }
    plan(&workspace, &["--line-bytes", "800"]).exits(2).says(&["Give --rate", "--monthly"]);
}
