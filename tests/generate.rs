use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::*;

fn generate(arguments: &[&str]) -> Vec<u8> {
    run(&mut Workspace::new().command(&[&["generate"], arguments].concat()), b"").ok().stdout
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let first = generate(&["--lines", "5000", "--seed", "7"]);
    assert!(first == log("realtime-46", 5_000));
    assert!(first == generate(&["--lines", "5000", "--seed", "7", "--schema", "realtime-46"]));
    assert!(first != generate(&["--lines", "5000", "--seed", "8"]));
    // A shorter log is the beginning of a longer one.
    let shorter = generate(&["--lines", "100", "--seed", "7"]);
    assert!(first.starts_with(&shorter));
}

#[test]
fn every_shape_has_as_many_lines_as_were_asked_for() {
    for (shape, headers) in [
        ("pixel-4", 0),
        ("realtime-40", 0),
        ("realtime-71", 0),
        ("standard", 2),
        ("standard-json", 0),
        ("timestamp,c-ip,+x", 0),
    ] {
        let text = generate(&["--lines", "1234", "--schema", shape]);
        assert_eq!(count_lines(&text), 1_234 + headers, "{shape}");
        assert_eq!(text.last(), Some(&b'\n'));
    }
    let standard = generate(&["--lines", "1", "--schema", "standard"]);
    assert!(standard.starts_with(b"#Version: 1.0\n#Fields: date time "));
    assert_eq!(generate(&["--lines", "0"]), b"");
}

#[test]
fn a_size_is_met_to_the_end_of_a_line() {
    for size in ["1", "5000", "300KB", "2MiB"] {
        let bytes = match size {
            "300KB" => 300_000,
            "2MiB" => 2 << 20,
            size => size.parse().expect("a number"),
        };
        let text = generate(&["--bytes", size]);
        assert!((bytes..bytes + 8_192).contains(&text.len()), "{size}: {}", text.len());
        assert_eq!(text.last(), Some(&b'\n'));
    }
}

#[test]
fn a_rate_paces_the_output() {
    let begun = Instant::now();
    let text = generate(&["--lines", "600", "--rate", "1000/s"]);
    let elapsed = begun.elapsed();
    assert_eq!(count_lines(&text), 600);
    // Much later is the machine's business, earlier is ours.
    assert!(elapsed >= Duration::from_millis(500), "{elapsed:?}");
}

#[test]
fn a_rate_may_be_by_any_time_or_in_the_old_form() {
    for rate in ["60000/min", "1000"] {
        let begun = Instant::now();
        assert_eq!(count_lines(&generate(&["--lines", "300", "--rate", rate])), 300);
        assert!(begun.elapsed() >= Duration::from_millis(250), "{rate}");
    }
    // Slower than a line a second.
    let begun = Instant::now();
    assert_eq!(count_lines(&generate(&["--lines", "1", "--rate", "30/min"])), 1);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let help = String::from_utf8(generate(&["--help"])).expect("UTF-8");
    assert!(help.contains("1000/s"), "{help}");
}

fn truth(workspace: &Workspace) -> Value {
    serde_json::from_slice(&fs::read(workspace.path("truth.json")).expect("the truth was written")).expect("JSON")
}

#[test]
fn visits_come_with_their_truth() {
    let workspace = Workspace::new();
    let arguments = ["generate", "--visitors", "400", "--days", "2", "--kind", "shop", "--truth", "truth.json"];
    let log = run(&mut workspace.command(&arguments), b"").ok().stdout;
    let known = truth(&workspace);
    assert_eq!(known["lines"], count_lines(&log));
    assert_eq!(known["events_by_day"].as_object().expect("a map").len(), 2);
    assert!(known["revenue_cents"].as_u64() > Some(0));
    assert_eq!(known["advertisements"].as_array().expect("a list").len(), 0);
    // The same seed, the same log; the truth is of the events, whatever the shape.
    assert!(log == run(&mut workspace.command(&arguments), b"").ok().stdout);
    run(&mut workspace.command(&[&arguments[..], &["--schema", "standard-json"]].concat()), b"").ok();
    assert_eq!(truth(&workspace)["funnel"], known["funnel"]);
}

#[test]
fn visits_can_be_read_to_the_last_line_unless_told_otherwise() {
    let workspace = Workspace::new();
    for (flags, is_readable) in
        [(&["--clean"][..], true), (&["--without-ids"], true), (&["--unreadable", "200"], false)]
    {
        let arguments = [&["generate", "--visitors", "500", "--truth", "truth.json"], flags].concat();
        let log = run(&mut workspace.command(&arguments), b"").ok().stdout;
        let known = truth(&workspace);
        let summary = workspace.ingest_from(&["--to", "null:"], &log).ok().summary();
        assert_eq!(known["abnormal"]["unreadable"], summary.lines_quarantined, "{flags:?}");
        assert_eq!(known["lines"], summary.lines_in, "{flags:?}");
        assert_eq!(known["abnormal"]["unreadable"] == 0, is_readable);
    }
}

#[test]
fn the_flags_of_visits_go_with_visits() {
    let workspace = Workspace::new();
    let flags: [&[&str]; 7] = [
        &["--days", "2"],
        &["--kind", "ad"],
        &["--truth", "truth.json"],
        &["--without-ids"],
        &["--clean"],
        &["--unreadable", "1"],
        &["--surge"],
    ];
    for flags in flags {
        for amount in ["--lines", "--bytes"] {
            run(&mut workspace.command(&[&["generate", amount, "1"], flags].concat()), b"").exits(2).says(&[
                flags[0],
                "cannot be used with",
                amount,
            ]);
        }
    }
    run(&mut workspace.command(&["generate", "--visitors", "1", "--lines", "1"]), b"").exits(2);
    run(&mut workspace.command(&["generate", "--visitors", "1", "--truth", "no/such/folder"]), b"")
        .exits(1)
        .says(&["no/such/folder"]);
}

#[test]
fn an_amount_and_a_known_shape_are_needed() {
    let workspace = Workspace::new();
    run(&mut workspace.command(&["generate"]), b"").exits(2);
    run(&mut workspace.command(&["generate", "--lines", "1", "--bytes", "1"]), b"").exits(2);
    for rate in ["0", "0/s", "fast", "1/week"] {
        run(&mut workspace.command(&["generate", "--lines", "1", "--rate", rate]), b"").exits(2).says(&["--rate"]);
    }
    run(&mut workspace.command(&["generate", "--lines", "1", "--schema", "realtime-47"]), b"")
        .exits(2)
        .says(&["unknown shape `realtime-47`"]);
}
