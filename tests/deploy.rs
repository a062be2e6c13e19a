use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fake_aws::FakeAws;
use pixel_engine::serve::admin::metrics::METRICS;
use serde_json::Value;

use crate::fake_lambda::FakeLambda;
use crate::peers::{REQUIRE, read_yaml};
use crate::support::{Guarded, Workspace, ids, log, log_from, run, signal, skipped, wait_until};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What `run --check` says of a configuration.
#[track_caller]
fn checked(configuration: &str, variables: &[(&str, &str)]) -> String {
    let workspace = Workspace::new();
    workspace.write("pixel-engine.toml", configuration.as_bytes());
    let mut command = workspace.command(&["run", "--check"]);
    let run = run(command.envs(variables.iter().copied()), b"").ok();
    String::from_utf8(run.stdout).expect("UTF-8")
}

#[test]
fn the_example_is_accepted() {
    let said = checked(&read("deploy/example.toml"), &[]);
    assert!(said.contains("admin: http://127.0.0.1:9464/") && said.contains("to firehose://beacons"), "{said}");
}

/// As in the README, but for where its files are and which AWS it is.
#[test]
fn the_example_ships_what_is_logged() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    aws.delivery_stream("beacons");
    let folder = workspace.path(".").display().to_string();
    let example = read("deploy/example.toml").replace("/var/", &format!("{folder}/var/"));
    let example = example.replace("listen = \"127.0.0.1:9464\"", "listen = \"127.0.0.1:0\"");
    workspace.write("example.toml", example.as_bytes());
    fs::create_dir_all(workspace.path("var/log/pixel")).expect("a folder");
    let log = log("realtime-46", 500);
    workspace.write("var/log/pixel/access.log", &log);
    workspace.write("var/log/pixel/access.log.1", &log_from("realtime-46", 500, 100));
    let mut command = workspace.command(&["run", "--config", "example.toml"]);
    command.envs(aws.environment()).env_remove("AWS_PROFILE").env("PIXEL_ENGINE_REGION", aws.region());
    let child = command.env("PIXEL_ENGINE_LINGER", "100ms").spawn().expect("it starts");
    let arrived = || {
        let records = aws.delivery_stream("beacons").delivered();
        let text: Vec<u8> = records.iter().flat_map(|it| zstd::decode_all(&it.data[..]).expect("zstd")).collect();
        ids(&text).map(<[u8]>::to_vec).collect::<BTreeSet<_>>().len()
    };
    wait_until("the lines arrived", || arrived() == 600);
    signal(&child, "TERM");
    workspace.wait(child).ok();
}

#[test]
fn what_the_cluster_is_given_is_accepted() {
    let documents = read_yaml(&read("deploy/kubernetes.yaml"));
    let configuration = documents.iter().find_map(|it| it["data"]["pixel-engine.toml"].as_str()).expect("a ConfigMap");
    checked(configuration, &[("PIXEL_ENGINE_ADMIN_TOKEN", "sixteen characters")]);
    let pod = documents.iter().map(|it| &it["spec"]["template"]["spec"]).find(|it| it.is_object()).expect("a pod");
    let sidecar = &pod["initContainers"][0];
    assert!(configuration.contains(&format!(":{}\"", sidecar["ports"][0]["containerPort"])), "{sidecar}");
    for probe in ["startupProbe", "livenessProbe"] {
        let probe = &sidecar[probe]["httpGet"];
        assert_eq!((&probe["path"], &probe["port"]), (&"/healthz".into(), &"admin".into()));
    }
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    assert!(grace > 25, "the program is given less than its own grace");
}

#[test]
fn the_task_runs_what_there_is() {
    let task: Value = serde_json::from_str(&read("deploy/ecs-task.json")).expect("JSON");
    let sidecar =
        task["containerDefinitions"].as_array().expect("containers").iter().find(|it| it["name"] == "pixel-engine");
    let sidecar = sidecar.expect("the sidecar");
    let arguments = sidecar["command"].as_array().expect("arguments").iter().map(|it| it.as_str().expect("text"));
    let example = path("deploy/example.toml");
    let arguments = arguments.map(|argument| match argument {
        "/etc/pixel-engine/pixel-engine.toml" => example.to_str().expect("UTF-8"),
        other => other,
    });
    let arguments: Vec<&str> = arguments.chain(["--check"]).collect();
    let workspace = Workspace::new();
    let mut command = workspace.command(&arguments);
    for variable in ["environment", "secrets"].iter().flat_map(|kind| sidecar[kind].as_array().expect("a list")) {
        let value = variable["value"].as_str().unwrap_or("a secret of the task");
        command.env(variable["name"].as_str().expect("a name"), value);
    }
    let said = String::from_utf8(run(&mut command, b"").ok().stdout).expect("UTF-8");
    assert!(said.contains("admin: http://0.0.0.0:9464/") && said.contains("token = \"***\""), "{said}");
}

#[test]
fn the_functions_are_what_lambda_and_firehose_take() {
    let template = read_yaml(&read("deploy/lambda/function.yaml")).remove(0);
    let resources = template["Resources"].as_object().expect("resources");
    let functions: Vec<(&String, &Value)> =
        resources.iter().filter(|(_, it)| it["Type"] == "AWS::Lambda::Function").collect();
    let names: Vec<&str> = functions.iter().map(|function| function.0.as_str()).collect();
    assert_eq!(names, ["Aggregate", "Transform"]);
    for (name, function) in functions {
        let properties = &function["Properties"];
        assert_eq!((&properties["Runtime"], &properties["Handler"]), (&"provided.al2023".into(), &"bootstrap".into()));
        let variables = properties["Environment"]["Variables"].as_object().expect("variables");
        assert_eq!(variables["PIXEL_ENGINE_LAMBDA"], name.to_lowercase());
    }
    // Every variable is one that the function takes: it asks for an event.
    let (lambda, workspace) = (FakeLambda::start(), Workspace::new());
    let variables = resources["Transform"]["Properties"]["Environment"]["Variables"].as_object().expect("variables");
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("text"))).collect();
    let _function = Guarded::start(&mut lambda.function(&workspace, &variables));
    lambda.wait_until_asked();
    // And every key in the prefix is one that it gives.
    let destination = &resources["Beacons"]["Properties"]["ExtendedS3DestinationConfiguration"];
    let prefix = destination["Prefix"].as_str().expect("a prefix");
    let keys = prefix.split("!{partitionKeyFromLambda:").skip(1).map(|rest| rest.split('}').next().unwrap_or_default());
    let given = variables.iter().find(|variable| variable.0 == "PIXEL_ENGINE_PARTITION_KEYS").expect("keys");
    assert_eq!(keys.collect::<Vec<_>>().join(","), given.1);
    let mapping = &resources["AggregateBatches"]["Properties"];
    assert_eq!(mapping["FunctionResponseTypes"][0], "ReportBatchItemFailures");
    assert_eq!(mapping["BisectBatchOnFunctionError"], true);
}

/// What `systemd-analyze` says of the unit; `None` without it.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let workspace = Workspace::new();
    // The paths that the unit names need not be there.
    let unit = read("deploy/pixel-engine.service").replace("/usr/bin/pixel-engine", env!("CARGO_BIN_EXE_pixel-engine"));
    workspace.write("pixel-engine.service", unit.as_bytes());
    let mut command = Command::new("systemd-analyze");
    match command.args(arguments).arg("./pixel-engine.service").current_dir(workspace.path("")).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(error) => {
            let is_required = std::env::var(REQUIRE).is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
            assert!(!is_required, "systemd-analyze does not start: {error}");
            skipped(&format!("the check of the unit: systemd-analyze does not start: {error} (Debian: systemd)"));
            None
        }
    }
}

#[test]
fn the_unit_is_right_and_gives_little_away() {
    let Some((is_right, said)) = analyze(&["verify", "--man=no"]) else { return };
    assert!(is_right && !said.contains("pixel-engine.service:"), "{said}");
    // Ten times the exposure.
    let (is_below, said) = analyze(&["security", "--offline=true", "--threshold=20"]).expect("it is there");
    assert!(is_below, "{said}");
}

#[test]
fn dashboards_alarms_and_pages_name_metrics_that_exist() {
    let names: BTreeSet<String> = METRICS.iter().flat_map(|metric| metric.names()).collect();
    // A histogram by itself, as documents call it.
    let histograms = names.iter().filter_map(|name| name.strip_suffix("_bucket").map(str::to_owned));
    let known: BTreeSet<String> = names.iter().cloned().chain(histograms).collect();
    serde_json::from_str::<Value>(&read("deploy/grafana.json")).expect("JSON");
    assert_eq!(read_yaml(&read("deploy/alerts.yaml")).len(), 1);
    for file in ["deploy/grafana.json", "deploy/alerts.yaml", "docs/metrics.md", "docs/operations.md"] {
        let text = read(file);
        let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("pixel_engine_")).collect();
        let unknown: Vec<&&str> = named.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty() && !named.is_empty(), "{file}: {unknown:?}");
    }
    let alarms = read("deploy/alerts.yaml");
    let alarms: Vec<&str> = alarms.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let page = read("docs/operations.md");
    assert!(alarms.len() > 5 && alarms.iter().all(|alarm| page.contains(&format!("| `{alarm}` |"))), "{alarms:?}");
}

/// `kcl.rs` runs the daemon that this pom fetches.
#[test]
fn the_daemon_of_the_kcl_is_the_same_everywhere() {
    let pom = read("deploy/kcl/pom.xml");
    let version = pom.split("<kcl.version>").nth(1).and_then(|rest| rest.split('<').next()).expect("a version");
    for file in ["docs/kcl.md", "tests/peers/README.md"] {
        assert!(read(file).contains(version), "{file} does not name {version}");
    }
    let class = "software.amazon.kinesis.multilang.MultiLangDaemon";
    for file in ["docs/kcl.md", "deploy/kcl/Containerfile"] {
        assert!(read(file).contains(class), "{file} starts something else");
    }
}
