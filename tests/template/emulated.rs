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
    let moto = moto();
    let put = json!({ "Bucket": "code", "Key": "pixel-engine-lambda.zip", "Body": "a zip" });
    moto.call("s3", &[("create_bucket", json!({ "Bucket": "code" })), ("put_object", put)]);
    for (design, shards, is_lambda) in
        [("1b", &[1][..], false), ("2a", &[3, 2], true), ("4a", &[3], true), ("5b", &[3, 1], true), ("6", &[1], false)]
    {
        let given = [("Design", design), ("CodeBucket", "code"), ("LineShards", "3"), ("PackedShards", "2")];
        let name = format!("design-{design}");
        let part = part_of(template(), &given, &MADE);
        let wanted = part["Resources"].as_object().unwrap().len();
        let stack = json!({ "StackName": name, "TemplateBody": part.to_string(), "Capabilities": ["CAPABILITY_IAM"] });
        let of_stack = json!({ "StackName": name });
        let replies = moto.call(
            "cloudformation",
            &[
                ("create_stack", stack),
                ("describe_stacks", of_stack.clone()),
                ("describe_stack_resources", of_stack.clone()),
            ],
        );
        assert_eq!(replies[1]["Stacks"][0]["StackStatus"], "CREATE_COMPLETE", "{design}");
        let resources = replies[2]["StackResources"].as_array().unwrap();
        assert_eq!(resources.len(), wanted, "{design}");
        let id = |name: &str| {
            let resource = resources.iter().find(|it| it["LogicalResourceId"] == name);
            resource.map(|it| it["PhysicalResourceId"].as_str().expect("an id").to_owned())
        };
        let streams: Vec<_> = ["LineStream", "PackedStream"].into_iter().filter_map(id).collect();
        let describe = |name: &String| ("describe_stream_summary", json!({ "StreamName": name }));
        let replies = moto.call("kinesis", &streams.iter().map(describe).collect::<Vec<_>>());
        // moto 5.2.5 leaves the mode out, and makes a stream without a number of shards of one.
        let open =
            replies.iter().map(|it| it["StreamDescriptionSummary"]["OpenShardCount"].as_u64().expect("a number"));
        assert_eq!(open.collect::<Vec<_>>(), shards, "{design}");
        let mapping = id("AggregatorBatches");
        assert_eq!(mapping.is_some(), is_lambda);
        if let Some(mapping) = mapping {
            let function = id("Aggregator").expect("a function");
            let replies = moto.call(
                "lambda",
                &[
                    ("get_event_source_mapping", json!({ "UUID": mapping })),
                    ("get_function_configuration", json!({ "FunctionName": function })),
                ],
            );
            assert!(replies[0]["EventSourceArn"].as_str().unwrap().ends_with(&streams[0]), "{}", replies[0]);
            let to = replies[1]["Environment"]["Variables"]["PIXEL_ENGINE_TO"].as_str().unwrap();
            assert_eq!(to.starts_with("kinesis://arn:aws:kinesis:"), streams.len() == 2, "{to}");
        }
        moto.call("cloudformation", &[("delete_stack", of_stack)]);
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
