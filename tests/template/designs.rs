//! What each design is made of, and the parameters that `plan` writes.

use std::fs;
use std::num::NonZeroUsize;

use pixel_engine::compress::Codec;
use pixel_engine::kpl::{HashKeys, MIN_RECORD_SIZE};
use pixel_engine::log::schema::Schemas;
use pixel_engine::plan::Plan;
use pixel_engine::plan::designs::{Mode, Setup};
use pixel_engine::plan::measure::Sample;
use pixel_engine::plan::prices::PriceFile;
use pixel_engine::plan::rate::{Load, Rate};
use pixel_engine::plan::template::parameters;
use pixel_engine::source::expand;
use serde_json::{Value, json};

use super::stack::Stack;
use super::{DESIGNS, stacks, template};
use crate::support::{Workspace, log, run};

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
        if is_packed_by_lambda {
            loses_nothing(&stack);
        }
        let data = &stack.resources["DataBucket"];
        assert_eq!((&data["DeletionPolicy"], &data["UpdateReplacePolicy"]), (&json!("Retain"), &json!("Retain")));
    }
}

/// A batch that fails comes again from where it failed, and lies in the bucket before the stream
/// forgets it.
fn loses_nothing(stack: &Stack) {
    let mapping = stack.properties("AggregatorBatches");
    assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
    assert_eq!(
        (&mapping["BisectBatchOnFunctionError"], &mapping["StartingPosition"]),
        (&json!(true), &json!("TRIM_HORIZON"))
    );
    assert_eq!(mapping["DestinationConfig"]["OnFailure"]["Destination"], "${DataBucket.Arn}");
    let age = mapping["MaximumRecordAgeInSeconds"].as_u64().expect("an age");
    let retention = stack.properties("LineStream")["RetentionPeriodHours"].as_u64().expect("hours");
    assert!(age <= retention * 3_600 / 2, "{age} s of {retention} h");
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
    assert!(s3["BufferingHints"]["SizeInMBs"].as_u64().expect("a size") >= 64);
    assert!(s3["ErrorOutputPrefix"].as_str().expect("a prefix").contains("!{firehose:error-output-type}"));
}

/// A plan of every design, and the aggregates' size in it.
fn plan() -> (Plan, usize) {
    let (workspace, aggregate_size) = (Workspace::new(), 51_200);
    let sample = workspace.write("sample.log", &log("realtime-46", 200));
    let inputs = expand(workspace.path(sample).to_str().expect("UTF-8")).expect("a file");
    let codecs = vec![Codec::Zstd(1), Codec::Gzip(1)];
    let sample = Sample { inputs, schemas: Schemas::all_presets(), threads: NonZeroUsize::MIN, aggregate_size, codecs };
    let load = Load::new(Rate::per_second(20_000.0).expect("a rate"), 4.0).expect("a load");
    let setup = Setup::new(load, PriceFile::built_in().region("us-east-1").expect("prices"));
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
