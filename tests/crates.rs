use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::process::Command;
use std::str::SplitWhitespace;

use serde_json::{Value, json};

/// The crates of the product in layers, lowest first. A crate depends only on crates of lower
/// layers.
const LAYERS: [&[&str]; 9] = [
    &["pixel-engine-agents", "pixel-engine-gzip", "pixel-engine-simd"],
    &["pixel-engine-log", "pixel-engine-kpl"],
    &["pixel-engine-core"],
    &["pixel-engine-aws", "pixel-engine-lake", "pixel-engine-plan", "pixel-engine-report"],
    &["pixel-engine-serve"],
    &["pixel-engine-consume"],
    &["pixel-engine"],
    &["pixel-engine-bench-data", "pixel-engine-html"],
    &["pixel-engine-cli"],
];

/// Workspace crates outside of the layers that tests of any layer may use.
const TEST_HELPERS: [&str; 1] = ["pixel-engine-fake-aws"];

/// Crates that work alone and on every target: without I/O, threads, async or a C compiler.
const PORTABLE: [&str; 5] =
    ["pixel-engine-agents", "pixel-engine-gzip", "pixel-engine-simd", "pixel-engine-log", "pixel-engine-kpl"];

/// What no portable crate may bring along, however deep in its tree.
const NOT_PORTABLE: [&str; 12] = [
    "cc",
    "crossbeam-channel",
    "crossbeam-deque",
    "crossbeam-epoch",
    "crossbeam-utils",
    "flate2",
    "glob",
    "rayon",
    "rayon-core",
    "rustix",
    "tokio",
    "zstd",
];

/// Licences whose terms allow distribution under Apache-2.0, by SPDX identifier.
const LICENCES: [&str; 8] =
    ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0", "Zlib", "bzip2-1.0.6"];

/// What cargo prints, from the checked-in lock file and without network.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(arguments)
        .args(["--offline", "--locked"])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn workspace() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).expect("JSON")
}

/// Every dependency of a product crate on a workspace crate that does not stand below it, and every
/// crate of `engine/` without a layer.
fn wrong_arrows(metadata: &Value) -> Vec<String> {
    let layers: BTreeMap<&str, usize> =
        LAYERS.iter().enumerate().flat_map(|(layer, names)| names.iter().map(move |name| (*name, layer))).collect();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let Some(layer) = layers.get(name) else {
            let manifest = package["manifest_path"].as_str().expect("a path");
            if manifest.contains("/engine/") {
                wrong.push(format!("{name} has no layer in tests/crates.rs"));
            }
            continue;
        };
        // Only crates of the workspace have a path.
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        for dependency in dependencies.iter().filter(|it| it["path"].is_string()) {
            let on = dependency["name"].as_str().expect("a name");
            let is_below = layers.get(on).is_some_and(|other| other < layer);
            let is_helper = dependency["kind"] == "dev" && TEST_HELPERS.contains(&on);
            if !is_below && !is_helper {
                wrong.push(format!("{name} -> {on}"));
            }
        }
    }
    wrong
}

#[test]
fn crates_depend_only_on_crates_below_them() {
    let metadata = workspace();
    assert_eq!(wrong_arrows(&metadata), [""; 0]);
    let present: BTreeSet<&str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| package["name"].as_str().expect("a name"))
        .collect();
    for name in LAYERS.iter().copied().flatten().chain(&TEST_HELPERS) {
        assert!(present.contains(name), "{name} is not in the workspace");
    }
}

#[test]
fn an_arrow_that_points_back_is_found() {
    let wrong_with = |name: &str, on: &str, kind: Value| {
        let mut metadata = workspace();
        let packages = metadata["packages"].as_array_mut().expect("packages");
        let package = packages.iter_mut().find(|it| it["name"] == name).expect("a crate of that name");
        let dependencies = package["dependencies"].as_array_mut().expect("dependencies");
        dependencies.push(json!({"name": on, "kind": kind, "path": "/somewhere"}));
        wrong_arrows(&metadata)
    };
    assert_eq!(
        wrong_with("pixel-engine-log", "pixel-engine-core", Value::Null),
        ["pixel-engine-log -> pixel-engine-core"]
    );
    assert_eq!(wrong_with("pixel-engine-core", "pixel-engine", json!("dev")), ["pixel-engine-core -> pixel-engine"]);
    assert_eq!(
        wrong_with("pixel-engine-kpl", "pixel-engine-log", json!("build")),
        ["pixel-engine-kpl -> pixel-engine-log"]
    );
    assert_eq!(
        wrong_with("pixel-engine-plan", "pixel-engine-aws", Value::Null),
        ["pixel-engine-plan -> pixel-engine-aws"]
    );
    assert_eq!(wrong_with("pixel-engine-aws", "pixel-engine-fake-aws", json!("dev")), [""; 0]);
    assert_eq!(
        wrong_with("pixel-engine-aws", "pixel-engine-fake-aws", Value::Null),
        ["pixel-engine-aws -> pixel-engine-fake-aws"]
    );
}

#[test]
fn the_small_crates_need_no_system_threads_or_c_compiler() {
    for name in PORTABLE {
        let tree =
            cargo(&["tree", "-p", name, "--all-features", "-e", "no-dev", "--prefix", "none", "--format", "{p}"]);
        let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(crates.contains(name), "{tree}");
        let found: Vec<&&str> =
            crates.iter().filter(|it| NOT_PORTABLE.contains(it) || it.starts_with("aws-")).collect();
        assert!(found.is_empty(), "{name} depends on {found:?}: see `cargo tree -p {name} -e no-dev -i {}`", found[0]);
    }
}

#[test]
fn every_dependency_may_be_distributed_under_our_licence() {
    let tree = cargo(&["tree", "--workspace", "--all-features", "--prefix", "none", "--format", "{l}\t{p}"]);
    // An empty line stands between the trees of two crates.
    let lines = tree.lines().filter(|line| !line.is_empty());
    let lines: BTreeSet<&str> = lines.map(|line| line.trim_end_matches(" (*)")).collect();
    assert!(lines.len() > 100, "{tree}");
    let refused: Vec<&str> = lines
        .into_iter()
        .filter(|line| {
            let licence = line.split('\t').next().expect("one part at least");
            !is_permitted(licence)
        })
        .collect();
    assert_eq!(refused, [""; 0]);
}

#[test]
fn licence_expressions_are_read() {
    for permitted in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "Apache-2.0 AND ISC",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "GPL-2.0 AND MIT OR Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_permitted(permitted), "{permitted}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND MPL-2.0", "GPL-3.0 OR (MIT AND MPL-2.0)"]
    {
        assert!(!is_permitted(refused), "{refused}");
    }
}

/// Whether an SPDX expression can be satisfied with permitted licences alone.
fn is_permitted(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    any_of(&mut spaced.split_whitespace().peekable())
}

type Tokens<'a, 'b> = &'a mut Peekable<SplitWhitespace<'b>>;

fn any_of(tokens: Tokens) -> bool {
    let mut permitted = all_of(tokens);
    while tokens.next_if_eq(&"OR").is_some() {
        permitted |= all_of(tokens);
    }
    permitted
}

fn all_of(tokens: Tokens) -> bool {
    let mut permitted = one(tokens);
    while tokens.next_if_eq(&"AND").is_some() {
        permitted &= one(tokens);
    }
    permitted
}

fn one(tokens: Tokens) -> bool {
    match tokens.next() {
        Some("(") => {
            let permitted = any_of(tokens);
            tokens.next_if_eq(&")").is_some() && permitted
        }
        Some(licence) => {
            // An exception only adds permissions.
            if tokens.next_if_eq(&"WITH").is_some() {
                tokens.next();
            }
            LICENCES.contains(&licence)
        }
        None => false,
    }
}
