//! The template in moto as far as that has CloudFormation, and what it has not against AWS's models.

use serde_json::{Value, json};

use super::stack::{Stack, part_of};
use super::{stacks, template};
use crate::peers::{moto, validate_calls};

/// What moto's CloudFormation makes.
const MADE: [&str; 9] = [
    "AWS::CloudWatch::Alarm",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::Kinesis::Stream",
    "AWS::KMS::Key",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
];

#[test]
fn moto_makes_its_part_of_a_design() {
    let designs: [(&str, &[u64], bool); 5] =
        [("1b", &[1], false), ("2a", &[3, 2], true), ("4a", &[3], true), ("5b", &[3, 1], true), ("6", &[1], false)];
    let part = |design| {
        let given = [("Design", design), ("CodeBucket", "code"), ("LineShards", "3"), ("PackedShards", "2")];
        part_of(template(), &given, &MADE)
    };
    let moto = moto();
    let put = json!({ "Bucket": "code", "Key": "pixel-engine-lambda.zip", "Body": "a zip" });
    moto.call("s3", &[("create_bucket", json!({ "Bucket": "code" })), ("put_object", put)]);
    let calls: Vec<_> = designs
        .iter()
        .flat_map(|(design, ..)| {
            let (stack, part) = (json!({ "StackName": format!("design-{design}") }), part(design).to_string());
            let mut create = stack.clone();
            (create["TemplateBody"], create["Capabilities"]) = (part.into(), json!(["CAPABILITY_IAM"]));
            [("create_stack", create), ("describe_stacks", stack.clone()), ("describe_stack_resources", stack)]
        })
        .collect();
    let replies = moto.call("cloudformation", &calls);
    let mut asked = (Vec::new(), Vec::new());
    let stacks: Vec<_> = designs
        .iter()
        .zip(replies.chunks(3))
        .map(|((design, ..), replies)| {
            assert_eq!(replies[1]["Stacks"][0]["StackStatus"], "CREATE_COMPLETE", "{design}");
            let resources = replies[2]["StackResources"].as_array().expect("resources");
            assert_eq!(resources.len(), part(design)["Resources"].as_object().unwrap().len(), "{design}");
            let id = |name: &str| {
                let resource = resources.iter().find(|it| it["LogicalResourceId"] == name);
                resource.map(|it| it["PhysicalResourceId"].as_str().expect("an id").to_owned())
            };
            let streams: Vec<_> = ["LineStream", "PackedStream"].into_iter().filter_map(id).collect();
            let describe = |name: &String| ("describe_stream_summary", json!({ "StreamName": name }));
            asked.0.extend(streams.iter().map(describe));
            let function = id("Aggregator").zip(id("AggregatorBatches"));
            if let Some((function, mapping)) = &function {
                asked.1.push(("get_event_source_mapping", json!({ "UUID": mapping })));
                asked.1.push(("get_function_configuration", json!({ "FunctionName": function })));
            }
            (streams, function.is_some())
        })
        .collect();
    let mut of_streams = moto.call("kinesis", &asked.0).into_iter();
    let mut of_functions = moto.call("lambda", &asked.1).into_iter();
    for ((design, shards, is_lambda), (streams, has_function)) in designs.iter().zip(stacks) {
        assert_eq!(*is_lambda, has_function, "{design}");
        // moto 5.2.5 leaves the mode out, and makes a stream without a number of shards of one.
        let open = of_streams.by_ref().take(streams.len());
        let open = open.map(|it| it["StreamDescriptionSummary"]["OpenShardCount"].as_u64().expect("a number"));
        assert_eq!(open.collect::<Vec<_>>(), *shards, "{design}");
        if has_function {
            let (mapping, function) = (of_functions.next().expect("a reply"), of_functions.next().expect("a reply"));
            assert!(mapping["EventSourceArn"].as_str().unwrap().ends_with(&streams[0]), "{mapping}");
            let to = function["Environment"]["Variables"]["PIXEL_ENGINE_TO"].as_str().unwrap();
            assert_eq!(to.starts_with("kinesis://arn:aws:kinesis:"), streams.len() == 2, "{to}");
        }
    }
}

/// The calls that CloudFormation makes for what moto does not know.
fn calls(stack: &Stack) -> Vec<Value> {
    const CALLS: [(&str, &str, &str); 7] = [
        ("AWS::KinesisFirehose::DeliveryStream", "firehose", "CreateDeliveryStream"),
        ("AWS::Glue::Database", "glue", "CreateDatabase"),
        ("AWS::Glue::Table", "glue", "CreateTable"),
        ("AWS::Athena::WorkGroup", "athena", "CreateWorkGroup"),
        ("AWS::Athena::NamedQuery", "athena", "CreateNamedQuery"),
        ("AWS::Kinesis::Channel", "kinesis", "CreateChannel"),
        ("AWS::Lambda::EventSourceMapping", "lambda", "CreateEventSourceMapping"),
    ];
    let call = |resource: &Value| {
        let (kind, service, operation) = CALLS.into_iter().find(|(kind, ..)| resource["Type"] == *kind)?;
        let mut parameters = resource["Properties"].as_object()?.clone();
        match kind {
            "AWS::KinesisFirehose::DeliveryStream" => {
                parameters.insert("DeliveryStreamName".into(), "beacons".into());
            }
            "AWS::Athena::WorkGroup" => {
                parameters.remove("RecursiveDeleteOption");
                let configuration = parameters.remove("WorkGroupConfiguration")?;
                parameters.insert("Configuration".into(), configuration);
            }
            _ => {}
        }
        Some(json!({ "service": service, "operation": operation, "parameters": parameters }))
    };
    stack.resources.values().filter_map(call).collect()
}

#[test]
fn what_moto_has_not_is_what_the_models_of_aws_take() {
    let mut calls: Vec<Value> = stacks().flat_map(|stack| calls(&stack)).collect();
    calls.sort_by_key(Value::to_string);
    calls.dedup();
    let operations = ["CreateDeliveryStream", "CreateTable", "CreateChannel", "CreateWorkGroup"];
    assert!(operations.iter().all(|operation| calls.iter().any(|call| call["operation"] == *operation)));
    for (call, problems) in calls.iter().zip(validate_calls(&calls)) {
        assert_eq!(problems, "", "{call}");
    }
}
