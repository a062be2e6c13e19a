//! The tracking pixel as a CloudFormation template, with every combination of its parameters.

mod designs;
mod emulated;
mod permissions;
mod queries;
mod stack;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pixel_engine::log::field::Kind;
use pixel_engine::log::schema::{Column, Schema};
use serde_json::{Value, json};

use crate::peers::{self, ReadTemplate, is_installed, read_template};
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

#[test]
fn what_loses_lines_has_an_alarm() {
    let topic = "arn:aws:sns:us-east-1:123456789012:alarms";
    let alarms = |design| -> BTreeSet<(String, String)> {
        let stack = stack(&[("Design", design), ("AlarmTopicArn", topic)]);
        let alarms = stack.of_type("AWS::CloudWatch::Alarm").map(|(_, alarm)| &alarm["Properties"]);
        alarms
            .map(|alarm| {
                assert_eq!(alarm["AlarmActions"], json!([topic]));
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                (text(&alarm["MetricName"]), text(&alarm["Dimensions"][0]["Value"]))
            })
            .collect()
    };
    let expected =
        |of: &[(&str, &str)]| of.iter().map(|(metric, of)| ((*metric).to_owned(), (*of).to_owned())).collect();
    let stream = [
        ("WriteProvisionedThroughputExceeded", "${LineStream}"),
        ("GetRecords.IteratorAgeMilliseconds", "${LineStream}"),
    ];
    let delivery = [("DeliveryToS3.DataFreshness", "${Delivery}")];
    let packed = [
        ("WriteProvisionedThroughputExceeded", "${PackedStream}"),
        ("GetRecords.IteratorAgeMilliseconds", "${PackedStream}"),
    ];
    let function = [
        ("IteratorAge", "${Aggregator}"),
        ("Errors", "${Aggregator}"),
        ("Throttles", "${Aggregator}"),
        ("OnFailureDestinationDeliveredEventCount", "${AggregatorBatches}"),
    ];
    assert_eq!(alarms("1a"), expected(&[&stream[..], &delivery].concat()));
    assert_eq!(alarms("2a"), expected(&[&stream[..], &delivery, &packed, &function].concat()));
    assert_eq!(
        alarms("4a"),
        expected(&[&stream[..], &delivery, &function, &[("ThrottledRecords", "${Delivery}")]].concat())
    );
    assert_eq!(alarms("6"), expected(&stream));
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
