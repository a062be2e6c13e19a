//! The tracking pixel as a CloudFormation template, with every combination of its parameters.

mod emulated;
mod permissions;
mod queries;
mod stack;

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pixel_engine::kpl::{HashKeys, MIN_RECORD_SIZE};
use pixel_engine::log::field::Kind;
use pixel_engine::log::schema::{Column, Schema, Schemas};
use pixel_engine::plan::Plan;
use pixel_engine::plan::designs::{Mode, Setup};
use pixel_engine::plan::measure::Sample;
use pixel_engine::plan::prices::PriceFile;
use pixel_engine::plan::rate::{Load, Rate};
use pixel_engine::plan::template::parameters;
use pixel_engine::source::expand;
use serde_json::{Value, json};

use crate::peers::{self, ReadTemplate, is_installed, read_template};
use crate::support::{Workspace, log, run};
use stack::Stack;

const DESIGNS: [&str; 12] = ["1a", "1b", "2a", "2b", "2c", "2d", "3", "4a", "4b", "5a", "5b", "6"];

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy/cloudformation/pixel.yaml")
}

fn read() -> &'static ReadTemplate {
    static READ: OnceLock<ReadTemplate> = OnceLock::new();
    READ.get_or_init(|| read_template(&path()))
}

fn template() -> &'static Value {
    &read().template
}

/// A stack that no rule refuses.
#[track_caller]
fn stack(given: &[(&str, &str)]) -> Stack {
    Stack::new(template(), &[&[("CodeBucket", "code")], given].concat())
        .unwrap_or_else(|| panic!("a rule refuses {given:?}"))
}

/// Every combination that the rules allow. What belongs together is given together.
fn stacks() -> impl Iterator<Item = Stack> {
    const ALTERNATIVES: [&[&[(&str, &str)]]; 6] = [
        &[&[("Packer", "lambda")], &[("Packer", "kcl")]],
        &[&[("Format", "tsv")], &[("Format", "parquet")]],
        &[&[], &[("EndpointUrl", "https://pixel.example/v1/firehose"), ("EndpointSecretArn", SECRET)]],
        &[
            &[],
            &[("DomainName", "pixel.example"), ("CertificateArn", "arn:aws:acm:us-east-1:123456789012:certificate/1")],
        ],
        &[&[("KeepStandardLogs", "no")], &[("KeepStandardLogs", "yes")]],
        &[&[], &[("AlarmTopicArn", "arn:aws:sns:us-east-1:123456789012:alarms")]],
    ];
    let combinations = 1_usize << ALTERNATIVES.len();
    DESIGNS.into_iter().flat_map(move |design| {
        (0..combinations).filter_map(move |choice| {
            let chosen = ALTERNATIVES.iter().enumerate().flat_map(|(at, both)| both[choice >> at & 1]);
            let given = [("Design", design), ("CodeBucket", "code")].into_iter().chain(chosen.copied());
            Stack::new(template(), &given.collect::<Vec<_>>())
        })
    })
}

const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key";

/// Every text in it.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(members) => members.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[test]
fn cfn_lint_finds_nothing_and_cloudformation_takes_it_as_a_text() {
    assert_eq!(read().findings, Vec::<String>::new());
    assert!(fs::metadata(path()).expect("it is there").len() <= 51_200, "more has to go by way of a bucket");
    let declared: Vec<&Value> =
        template()["Parameters"]["Design"]["AllowedValues"].as_array().unwrap().iter().collect();
    assert_eq!(declared, DESIGNS.iter().map(|design| json!(design)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
}

#[test]
fn every_combination_refers_to_what_is_there() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for stack in stacks() {
        assert_eq!(stack.dangling, BTreeSet::new(), "{:?}", stack.parameters);
        let mut all = Vec::new();
        stack.resources.values().for_each(|resource| texts(resource, &mut all));
        // The year of a week is another one around New Year.
        assert!(all.iter().all(|text| !text.contains("YYYY")), "{:?}", stack.parameters);
        seen.extend(stack.resources.keys().cloned());
        count += 1;
    }
    let all: BTreeSet<String> = template()["Resources"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(seen, all, "a resource that no combination has");
    assert!(count == 384, "{count} combinations");
}

#[test]
fn rules_refuse_what_cannot_work() {
    let refused = [
        vec![("Design", "2a"), ("CodeBucket", "")],
        vec![("Design", "4a"), ("CodeBucket", ""), ("Packer", "lambda")],
        vec![("Design", "4a"), ("Format", "parquet")],
        vec![("Design", "1b"), ("Format", "parquet")],
        vec![("Design", "5a"), ("EndpointUrl", "https://a.example/"), ("EndpointSecretArn", SECRET)],
        vec![("Design", "1a"), ("EndpointUrl", "https://a.example/")],
        vec![("DomainName", "a.example")],
        vec![("CertificateArn", "arn:aws:acm:us-east-1:123456789012:certificate/1")],
    ];
    for given in refused {
        let given = [vec![("CodeBucket", "code")], given].concat();
        assert!(Stack::new(template(), &given).is_none(), "{given:?}");
    }
    for given in [[("Design", "2c"), ("CodeBucket", "")], [("Design", "1a"), ("CodeBucket", "")]] {
        assert!(Stack::new(template(), &given).is_some(), "{given:?} needs no code");
    }
}

#[test]
fn each_design_is_made_of_what_plan_says() {
    let (plan, _) = plan();
    for stack in stacks() {
        let design = plan.designs.iter().find(|it| it.way.id() == stack.parameters["Design"]).expect("a design");
        let streams = ["LineStream", "PackedStream"].iter().filter_map(|name| stack.resources.get(*name));
        let streams: Vec<&Value> = streams.map(|stream| &stream["Properties"]).collect();
        assert_eq!(streams.len(), design.streams.len(), "{}", design.way);
        for (made, planned) in streams.into_iter().zip(&design.streams) {
            let is_on_demand = planned.mode == Mode::OnDemand;
            assert_eq!(made["StreamModeDetails"]["StreamMode"], if is_on_demand { "ON_DEMAND" } else { "PROVISIONED" });
            // Each mode takes one of these and refuses the other.
            assert_eq!(made["ShardCount"].is_null(), is_on_demand, "{}", design.way);
            let strategy = if is_on_demand { json!("USER_PARTITION_KEY") } else { Value::Null };
            assert_eq!(made["RecordDistributionStrategy"], strategy, "{}", design.way);
            assert_eq!(made["StreamEncryption"]["EncryptionType"], "KMS");
        }
        let has = |name: &str| stack.resources.contains_key(name);
        assert_eq!((has("Delivery"), has("Channel")), (design.firehose.is_some(), design.channel.is_some()));
        let is_packed_by_lambda = has("Aggregator");
        assert_eq!(has("EnginePolicy"), design.engine.is_some() || is_packed_by_lambda, "{}", design.way);
        match stack.parameters["Design"].as_str() {
            "2a" | "2b" => assert!(is_packed_by_lambda),
            "1a" | "1b" | "2c" | "2d" | "6" => assert!(!is_packed_by_lambda),
            _ => assert_eq!(is_packed_by_lambda, stack.parameters["Packer"] == "lambda"),
        }
        if let Some(firehose) = stack.resources.get("Delivery") {
            delivers(&stack, &firehose["Properties"], design.firehose.as_ref().unwrap().calls.is_some());
        }
        let data = &stack.resources["DataBucket"];
        assert_eq!((&data["DeletionPolicy"], &data["UpdateReplacePolicy"]), (&json!("Retain"), &json!("Retain")));
    }
}

/// The rules of Firehose that no schema has.
fn delivers(stack: &Stack, firehose: &Value, is_direct: bool) {
    assert_eq!(firehose["DeliveryStreamType"], if is_direct { "DirectPut" } else { "KinesisStreamAsSource" });
    assert_eq!(firehose["KinesisStreamSourceConfiguration"].is_null(), is_direct);
    let last = if stack.resources.contains_key("PackedStream") { "${PackedStream.Arn}" } else { "${LineStream.Arn}" };
    assert!(is_direct || firehose["KinesisStreamSourceConfiguration"]["KinesisStreamARN"] == last);
    let (s3, endpoint) =
        (&firehose["ExtendedS3DestinationConfiguration"], &firehose["HttpEndpointDestinationConfiguration"]);
    assert_eq!(s3.is_null(), endpoint.is_object(), "one destination");
    if s3.is_null() {
        assert_eq!(endpoint["S3BackupMode"], "FailedDataOnly");
        return;
    }
    let (is_parquet, design) = (stack.parameters["Format"] == "parquet", stack.parameters["Design"].as_str());
    let (format, extension) = match design {
        "4a" => ("UNCOMPRESSED", json!(".tsv.zst")),
        "4b" => ("UNCOMPRESSED", json!(".tsv.gz")),
        _ if is_parquet => ("UNCOMPRESSED", Value::Null),
        _ => ("GZIP", Value::Null),
    };
    assert_eq!((&s3["CompressionFormat"], &s3["FileExtension"]), (&json!(format), &extension), "{design}");
    assert_eq!(s3["DataFormatConversionConfiguration"].is_object(), is_parquet);
    assert!(s3["BufferingHints"]["SizeInMBs"].as_u64().unwrap() >= 64);
    assert!(s3["ErrorOutputPrefix"].as_str().unwrap().contains("!{firehose:error-output-type}"));
}

#[test]
fn the_table_has_the_fields_that_cloudfront_writes_and_finds_what_is_delivered() {
    let schema = Schema::preset("realtime-46").expect("a preset");
    let expected: Vec<(String, &str)> = schema
        .columns()
        .iter()
        .map(|column| {
            let Column::Known(field) = column else { panic!("{column:?}") };
            let kind = match field.kind() {
                Kind::Text => "string",
                Kind::Integer => "bigint",
                Kind::Decimal => "double",
            };
            (column.json_name(), kind)
        })
        .collect();
    let mut tables = 0;
    for stack in stacks() {
        let logs = stack.properties("RealtimeLogs");
        let fields: Vec<&str> = logs["Fields"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert_eq!(fields, schema.columns().iter().map(Column::name).collect::<Vec<_>>());
        assert_eq!(logs["SamplingRate"], 100);
        let Some(table) = stack.resources.get("Lines") else { continue };
        tables += 1;
        let table = &table["Properties"]["TableInput"];
        let (storage, settings) = (&table["StorageDescriptor"], &table["Parameters"]);
        let name_and_type =
            |it: &Value| (it["Name"].as_str().unwrap().to_owned(), it["Type"].as_str().unwrap().to_owned());
        let mut columns: Vec<_> = storage["Columns"].as_array().unwrap().iter().map(name_and_type).collect();
        if stack.parameters["Format"] == "parquet" {
            assert_eq!(columns.pop(), Some(("query".to_owned(), "map<string,string>".to_owned())));
        }
        assert!(columns.iter().map(|(name, kind)| (name.clone(), &**kind)).eq(expected.iter().cloned()));
        // The folders that are written are those that queries look into.
        let (mut folders, mut written) = (String::new(), String::new());
        for key in table["PartitionKeys"].as_array().unwrap() {
            let key = key["Name"].as_str().unwrap();
            assert!(settings[format!("projection.{key}.type")].is_string(), "no projection of {key}");
            folders += &format!("{key}=${{{key}}}/");
            written += key;
        }
        let location = storage["Location"].as_str().unwrap();
        assert_eq!(settings["storage.location.template"], format!("{location}{folders}"));
        assert_eq!(written, "dthour");
        let below = location.strip_prefix("s3://${DataBucket}/").expect("in the bucket");
        match stack.resources.get("Channel") {
            Some(channel) => {
                let storage = &channel["Properties"]["S3DestinationConfiguration"]["StorageConfiguration"];
                let key = storage["OutputKeyTemplate"].as_str().unwrap();
                assert!(key.starts_with(&format!("{below}dt=!{{yyyy}}-!{{MM}}-!{{dd}}/hour=!{{HH}}/")), "{key}");
            }
            None => {
                let s3 = &stack.properties("Delivery")["ExtendedS3DestinationConfiguration"];
                let prefix = format!("{below}dt=!{{timestamp:yyyy-MM-dd}}/hour=!{{timestamp:HH}}/");
                assert_eq!(s3["Prefix"], prefix);
            }
        }
        assert_eq!(
            (&settings["projection.dt.format"], &settings["projection.hour.digits"]),
            (&json!("yyyy-MM-dd"), &json!("2"))
        );
    }
    assert!(tables > 0);
}

#[test]
fn beacons_and_pixel_are_logged_and_never_kept_by_a_browser() {
    let stack = stack(&[]);
    let distribution = &stack.properties("Distribution")["DistributionConfig"];
    let behaviors = distribution["CacheBehaviors"].as_array().unwrap();
    assert_eq!(
        behaviors.iter().map(|it| it["PathPattern"].as_str().unwrap()).collect::<Vec<_>>(),
        ["/pixel.gif", "/beacon"]
    );
    for behavior in behaviors {
        assert_eq!(behavior["RealtimeLogConfigArn"], "${RealtimeLogs}");
        assert_eq!(behavior["ResponseHeadersPolicyId"], "${PixelHeaders}");
        // A redirect is a line of its own.
        assert_eq!(behavior["ViewerProtocolPolicy"], "https-only");
    }
    assert!(distribution["DefaultCacheBehavior"]["RealtimeLogConfigArn"].is_null(), "pages are no beacons");
    let headers = &stack.properties("PixelHeaders")["ResponseHeadersPolicyConfig"]["CustomHeadersConfig"]["Items"];
    assert_eq!(headers[0], json!({ "Header": "Cache-Control", "Value": "no-store", "Override": true }));
}

/// As CloudFront calls it: <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-event-structure.html>.
#[test]
fn the_function_answers_beacons() {
    if !is_installed("CloudFront's function", &["node"], "nodejs") {
        return;
    }
    let stack = stack(&[]);
    let function = stack.properties("BeaconFunction");
    assert_eq!(function["FunctionConfig"]["Runtime"], "cloudfront-js-2.0");
    let event = json!({
        "version": "1.0",
        "context": { "eventType": "viewer-request" },
        "viewer": { "ip": "198.51.100.11" },
        "request": { "method": "POST", "uri": "/beacon", "querystring": { "e": { "value": "hide" } }, "headers": {}, "cookies": {} },
    });
    let code = function["FunctionCode"].as_str().expect("code");
    let script = format!("{code}console.log(JSON.stringify(handler({event})))");
    let said = peers::run(Command::new("node").arg("-e").arg(script), b"");
    let answer: Value = serde_json::from_slice(&said).expect("JSON");
    assert_eq!(answer, json!({ "statusCode": 204, "statusDescription": "No Content" }));
}

/// A plan of every design, and the aggregates' size in it.
fn plan() -> (Plan, usize) {
    let (workspace, aggregate_size) = (Workspace::new(), 51_200);
    let sample = workspace.write("sample.log", &log("realtime-46", 200));
    let inputs = expand(workspace.path(sample).to_str().expect("UTF-8")).expect("a file");
    let sample = Sample { inputs, schemas: Schemas::all_presets(), threads: NonZeroUsize::MIN, aggregate_size };
    let load = Load::new(Rate::per_second(20_000.0).unwrap(), 4.0).unwrap();
    let setup = Setup::new(load, PriceFile::built_in().region("us-east-1").unwrap());
    (Plan::new(sample.measure().expect("a workload"), setup), aggregate_size)
}

#[test]
fn plan_writes_parameters_that_the_template_takes() {
    let (plan, aggregate_size) = plan();
    assert_eq!(plan.designs.iter().map(|design| design.way.id()).collect::<Vec<_>>(), DESIGNS);
    for design in &plan.designs {
        let mut given = vec![("CodeBucket", "code")];
        let parameters = parameters(&plan.setup, design, aggregate_size).expect("the template makes it");
        for parameter in &parameters {
            let (name, value) = (parameter.parameter_key, parameter.parameter_value.as_str());
            let declared = &template()["Parameters"][name];
            assert!(declared.is_object(), "{name}");
            if let Some(allowed) = declared["AllowedValues"].as_array() {
                assert!(allowed.contains(&json!(value)), "{name}: {value}");
            } else {
                let number: f64 = value.parse().expect("a number");
                let bound = |key: &str| declared[key].as_f64().expect("a bound");
                assert!((bound("MinValue")..=bound("MaxValue")).contains(&number), "{name}: {value}");
            }
            given.push((name, value));
        }
        let stack = Stack::new(template(), &given).expect("no rule refuses it");
        let shards = ["LineStream", "PackedStream"].iter().filter_map(|name| stack.resources.get(*name));
        let shards: Vec<f64> = shards.filter_map(|it| it["Properties"]["ShardCount"].as_f64()).collect();
        let provisioned = design.streams.iter().filter(|stream| stream.mode == Mode::Provisioned);
        assert_eq!(shards, provisioned.map(|stream| stream.shards.needed()).collect::<Vec<_>>());
    }
    let size = &template()["Parameters"]["AggregateSize"];
    let bounds = (size["MinValue"].as_u64().unwrap() as usize, size["MaxValue"].as_u64().unwrap() as usize);
    assert_eq!(bounds, (MIN_RECORD_SIZE, (1 << 20) - HashKeys::KEY_LEN));
}

#[test]
fn plan_writes_the_cheapest_design_or_the_one_that_is_named() {
    let workspace = Workspace::new();
    workspace.write("sample.log", &log("realtime-46", 200));
    let plan = |more: &[&str]| {
        let _ = fs::remove_file(workspace.path("parameters.json"));
        let arguments = ["plan", "sample.log", "--rate", "2000/s", "--json", "--template", "parameters.json"];
        let run = run(&mut workspace.command(&[&arguments, more].concat()), b"");
        let written = fs::read(workspace.path("parameters.json")).ok();
        (run, written.map(|it| serde_json::from_slice::<Value>(&it).expect("JSON")))
    };
    let (run, parameters) = plan(&[]);
    let document: Value = serde_json::from_slice(&run.ok().stdout).expect("JSON");
    let cheapest = &document["answer"]["cheapest"]["design"]["id"];
    assert_eq!(parameters.expect("parameters")[0], json!({ "ParameterKey": "Design", "ParameterValue": cheapest }));
    let (_, parameters) = plan(&["--design", "2a", "--linger", "5s"]);
    let expected = [
        ("Design", "2a"),
        ("LineShards", "4"),
        ("PackedShards", "4"),
        ("AggregateSize", "51200"),
        ("BatchingWindow", "5"),
    ];
    let expected: Vec<Value> =
        expected.iter().map(|(key, value)| json!({ "ParameterKey": key, "ParameterValue": value })).collect();
    assert_eq!(parameters, Some(expected.into()));
    for (arguments, said) in [
        (&["--design", "7"][..], "--design 7: there are 1a, 1b"),
        (&["--from", "producers"], "the template is for lines from CloudFront"),
        (&["--region", "ap-southeast-1"], "name one with --design"),
    ] {
        let (run, parameters) = plan(arguments);
        assert!(run.code == Some(1) && run.stderr.contains(said), "{}", run.stderr);
        assert_eq!(parameters, None);
    }
}
