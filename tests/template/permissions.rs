//! What roles allow, against what is called.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use fake_aws::FakeAws;
use serde_json::{Value, json};

use super::{stack, stacks, template};
use crate::fake_lambda::FakeLambda;
use crate::lambda_aggregate::event_of;
use crate::peers::{moto, run_handler};
use crate::support::{Guarded, Workspace, lines, log, run};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Actions of pixel-engine's policy that the program itself does not call, and who does.
const OF_OTHERS: [(&str, &[&str]); 3] = [
    // Lambda, and the Kinesis Client Library, in the name of the program:
    // https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-create.html and docs/kcl.md.
    (
        "${LineStream.Arn}",
        &[
            "kinesis:DescribeStream",
            "kinesis:DescribeStreamSummary",
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
        ],
    ),
    // The library's leases: docs/kcl.md.
    (
        "arn:aws:dynamodb:us-east-1:123456789012:table/pixel",
        &[
            "dynamodb:CreateTable",
            "dynamodb:DeleteItem",
            "dynamodb:DescribeTable",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
            "dynamodb:UpdateTable",
        ],
    ),
    // Its metrics: docs/kcl.md.
    ("*", &["cloudwatch:PutMetricData"]),
];

/// A text or a list of texts.
fn list(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        _ => value.as_array().expect("a list").iter().map(|it| it.as_str().expect("text")).collect(),
    }
}

fn statements(policy: &Value) -> impl Iterator<Item = (&str, BTreeSet<&str>)> {
    let statements = policy["PolicyDocument"]["Statement"].as_array().expect("statements");
    statements.iter().map(|it| (list(&it["Resource"])[0], list(&it["Action"]).into_iter().collect()))
}

/// What the program calls to get lines to its target: under Lambda with the variables of the
/// template, from files, and in `check`.
fn called(variables: &Value, target: &str) -> BTreeSet<&'static str> {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let to = if target.starts_with("kinesis://") {
        aws.stream("target", 2);
        "kinesis://target"
    } else {
        aws.delivery_stream("target");
        "firehose://target"
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let variables = variables.as_object().expect("variables").iter();
    let variables: Vec<(&str, String)> = variables.map(|(name, value)| (name.as_str(), text(value))).collect();
    let mut variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.retain(|(name, _)| *name != "PIXEL_ENGINE_TO");
    variables.push(("PIXEL_ENGINE_TO", to));
    let mut command = lambda.function(&workspace, &variables);
    command.envs(aws.environment()).env_remove("AWS_PROFILE").stdout(Stdio::null()).stderr(Stdio::null());
    let _function = Guarded::start(&mut command);
    let log = log("realtime-46", 50);
    let records: Vec<(String, String)> =
        lines(&log).enumerate().map(|(at, line)| (format!("{at:056}"), BASE64.encode(line))).collect();
    assert_eq!(lambda.reply(event_of("shardId-000000000000", &records)), json!({ "batchItemFailures": [] }));
    for arguments in [&["ingest", "--to", to][..], &["check", "--to", to]] {
        let mut command = workspace.command(arguments);
        run(command.envs(aws.environment()).env_remove("AWS_PROFILE"), &log).ok();
    }
    let actions = aws.counters().requests.into_keys().map(fake_aws::Action::permission);
    // Everybody may ask who they are.
    actions.filter(|action| *action != "sts:GetCallerIdentity").collect()
}

#[test]
fn pixel_engine_may_do_what_it_does_and_nothing_else() {
    let documented = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs/kcl.md")).unwrap();
    for (design, format) in
        [("2a", "tsv"), ("2b", "parquet"), ("3", "tsv"), ("4a", "tsv"), ("4b", "tsv"), ("5b", "tsv")]
    {
        let by_lambda = stack(&[("Design", design), ("Format", format)]);
        let variables = &by_lambda.properties("Aggregator")["Environment"]["Variables"];
        let target = variables["PIXEL_ENGINE_TO"].as_str().unwrap();
        let called = called(variables, target);
        let by_kcl = design.replace("2a", "2c").replace("2b", "2d");
        let by_kcl = stack(&[("Design", &by_kcl), ("Format", format), ("Packer", "kcl")]);
        assert_eq!(by_kcl.outputs["Target"]["Value"], target);
        for stack in [&by_lambda, &by_kcl] {
            let mut of_target = None;
            for (resource, actions) in statements(stack.properties("EnginePolicy")) {
                match OF_OTHERS.iter().find(|(of, _)| *of == resource) {
                    Some((_, others)) => {
                        assert_eq!(actions, others.iter().copied().collect(), "{resource}");
                        let is_documented = |action: &&str| documented.contains(action.split(':').next_back().unwrap());
                        assert!(actions.iter().all(is_documented), "{actions:?} in docs/kcl.md");
                    }
                    None => assert_eq!(of_target.replace((resource, actions)), None),
                }
            }
            let (resource, actions) = of_target.expect("a statement of the target");
            assert!(target.contains(resource.trim_end_matches(".Arn}")), "{resource} is not {target}");
            assert_eq!(actions, called, "design {design}");
        }
    }
}

/// The function that puts the pixel into its bucket, and takes it out again.
#[test]
fn the_pixel_is_put_where_cloudfront_looks_for_it() {
    let stack = stack(&[]);
    let (pixel, writer) = (stack.properties("Pixel"), stack.properties("PixelWriter"));
    let key = pixel["Key"].as_str().unwrap();
    let behavior = &stack.properties("Distribution")["DistributionConfig"]["CacheBehaviors"][0];
    assert_eq!(behavior["PathPattern"], format!("/{key}"));
    let moto = moto();
    moto.call(
        "s3",
        &[("create_bucket", json!({ "Bucket": "web" })), ("create_bucket", json!({ "Bucket": "answers" }))],
    );
    let event = |kind: &str, bucket: &str| {
        json!({
            "RequestType": kind,
            "ResponseURL": format!("{}/answers/{kind}-{bucket}", moto.url()),
            "StackId": "stack", "RequestId": "request", "LogicalResourceId": "Pixel",
            "ResourceProperties": { "Bucket": bucket, "Key": key },
        })
    };
    let code = writer["Code"]["ZipFile"].as_str().unwrap();
    let called = run_handler(&moto, code, &[event("Create", "web"), event("Update", "nowhere")]);
    assert_eq!(called, ["s3:PutObject", "s3:PutObject"]);
    let get = |bucket: &str, key: &str| ("get_object", json!({ "Bucket": bucket, "Key": key }));
    let replies = moto.call("s3", &[get("web", key), get("answers", "Create-web"), get("answers", "Update-nowhere")]);
    let body = |reply: &Value| BASE64.decode(reply["Body"].as_str().expect("a body")).expect("base64");
    let gif = body(&replies[0]);
    assert!(gif.len() == 43 && gif.starts_with(b"GIF89a\x01\x00\x01\x00") && gif.ends_with(b";"), "{gif:?}");
    assert_eq!(
        (&replies[0]["ContentType"], &replies[0]["CacheControl"]),
        (&json!("image/gif"), &json!("public, max-age=31536000"))
    );
    let answer = |reply: &Value| serde_json::from_slice::<Value>(&body(reply)).expect("JSON");
    let (created, failed) = (answer(&replies[1]), answer(&replies[2]));
    assert_eq!((&created["Status"], &created["PhysicalResourceId"]), (&json!("SUCCESS"), &json!(format!("web/{key}"))));
    assert!(failed["Status"] == "FAILED" && failed["Reason"].as_str().unwrap().contains("NoSuchBucket"), "{failed}");
    assert_eq!(run_handler(&moto, code, &[event("Delete", "web")]), ["s3:DeleteObject"]);
    let role = &stack.properties("PixelWriterRole")["Policies"][0];
    let (resource, actions) = statements(role).next().unwrap();
    assert_eq!((resource, actions), ("${WebBucket.Arn}/pixel.gif", ["s3:PutObject", "s3:DeleteObject"].into()));
}

#[test]
fn no_role_may_do_everything() {
    for stack in stacks() {
        let policies = stack.of_type("AWS::IAM::Role").flat_map(|(name, role)| {
            role["Properties"]["Policies"].as_array().expect("policies").iter().map(move |policy| (name, policy))
        });
        let managed = stack.of_type("AWS::IAM::ManagedPolicy").map(|(name, policy)| (name, &policy["Properties"]));
        for (name, policy) in policies.chain(managed) {
            for (resource, actions) in statements(policy) {
                assert!(actions.iter().all(|action| !action.contains('*')), "{name}: {actions:?}");
                assert!(resource != "*" || actions == ["cloudwatch:PutMetricData"].into(), "{name}: {actions:?}");
            }
        }
    }
    let roles = template()["Resources"].as_object().unwrap().values().filter(|it| it["Type"] == "AWS::IAM::Role");
    assert!(roles.count() > 3);
}
