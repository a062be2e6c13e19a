use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fake_aws::{Action, Bucket, FakeAws, Fault};
use serde_json::{Value, json};

use crate::peers::{moto, rows_by, same_rows, write_parquet};
use crate::support::*;

const ID: &str = "x_edge_request_id";
const HOUR: &str = "lake/dt=2026-01-05/hour=08";
const JOURNAL: &str = "_pixel-engine-compact.json";

/// `compact` on that place, whatever the age of its files.
fn command(workspace: &Workspace, place: &str, arguments: &[&str]) -> Command {
    let mut command = workspace.command(&["compact", place, "--summary-json", "summary.json"]);
    command.args(if arguments.contains(&"--older-than") { &[][..] } else { &["--older-than", "0s"] });
    command.args(arguments);
    command
}

/// Runs it, and holds its counts against each other.
#[track_caller]
fn compact(workspace: &Workspace, arguments: &[&str]) -> (Run, Value) {
    compact_with(workspace, &mut command(workspace, "lake", arguments))
}

#[track_caller]
fn compact_with(workspace: &Workspace, command: &mut Command) -> (Run, Value) {
    let _ = fs::remove_file(workspace.path("summary.json"));
    let run = run(command, b"");
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    let summary = fs::read(workspace.path("summary.json")).unwrap_or_else(|_| panic!("no summary: {}", run.stderr));
    let summary: Value = serde_json::from_slice(&summary).expect("JSON");
    let of = |name: &str| summary[name].as_u64().expect("a number");
    assert_eq!(
        of("files_found"),
        ["files_in", "files_kept", "files_recent", "files_left", "files_not_reached"].map(of).iter().sum::<u64>(),
        "{summary}"
    );
    assert_eq!(of("rows_in"), of("rows_out") + of("duplicates"), "{summary}");
    assert_eq!(of("bytes_after") + of("bytes_in"), of("bytes_before") + of("bytes_out"), "{summary}");
    (run, summary)
}

#[track_caller]
fn has(summary: &Value, expected: &[(&str, u64)]) {
    for (name, number) in expected {
        assert_eq!(summary[name], json!(number), "{name}: {summary}");
    }
}

/// A Parquet file of these lines of a log, in the folder of its hour.
fn add_parquet(workspace: &Workspace, first: u64, lines: u64, arguments: &[&str]) {
    let to = ["-", "--encode", "parquet", "--to", "dir:lake", "--quiet"];
    workspace.ingest_from(&[&to[..], arguments].concat(), &log_from("realtime-46", first, lines)).ok();
}

/// What is below a folder: path, bytes, and when it was written.
fn state(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let state = |path: PathBuf| {
        let metadata = fs::metadata(&path).expect("a file");
        (path, (metadata.len(), metadata.modified().expect("a time")))
    };
    all_files_below(folder).into_iter().map(state).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for path in all_files_below(from) {
        let target = to.join(path.strip_prefix(from).expect("it is below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&path, target).expect("a copy");
    }
}

/// Every line of the log is there once.
#[track_caller]
fn has_all_once(folder: &Path, lines: u64) {
    let ids = rows_by(folder, &[ID]);
    let mut seen = Seen::new(lines);
    for (id, count) in ids {
        assert_eq!(count, 1, "{id}");
        seen.id(id.strip_prefix("x_edge_request_id=").expect("an id").as_bytes());
    }
    seen.all();
}

#[test]
fn many_files_become_one_with_every_value_and_the_second_time_nothing_happens() {
    let workspace = Workspace::new();
    // With another column from some file on, and two that repeat what the ones before have.
    for (place, first) in [0, 500, 800, 1_500, 2_000].into_iter().enumerate() {
        let columns: &[&str] = if place < 3 { &[] } else { &["--column", "query.uid", "--compress", "gzip"] };
        add_parquet(&workspace, first, 500, columns);
    }
    // As DuckDB writes them, and others with page checksums and without nulls' columns.
    let like = files_below(&workspace.path("lake"))[0].display().to_string();
    write_parquet("firehose", &workspace.path(&format!("{HOUR}/00-firehose")), &["--like", &like]);
    workspace.write(&format!("{HOUR}/_SUCCESS"), b"");
    workspace.write(&format!("{HOUR}/.x.parquet.partial"), b"half of one");
    copy(&workspace.path("lake"), &workspace.path("before"));
    let before = workspace.path("before");
    // The name tells what a file is to others only with its ending.
    let named = format!("before/{}/00-firehose", HOUR.strip_prefix("lake/").expect("it is"));
    fs::rename(workspace.path(&named), workspace.path(&format!("{named}.parquet"))).expect("a file");

    let untouched = state(&workspace.path("lake"));
    let (dry, summary) = compact(&workspace, &["--dry-run"]);
    assert!(String::from_utf8_lossy(&dry.ok().stdout).contains("dt=2026-01-05/hour=08/  6 files"));
    has(&summary, &[("files_found", 6), ("files_in", 6)]);
    let (recent, summary) = compact(&workspace, &["--older-than", "1h"]);
    recent.ok();
    has(&summary, &[("files_recent", 6), ("files_in", 0)]);
    assert_eq!(state(&workspace.path("lake")), untouched);

    let (run, summary) = compact(&workspace, &[]);
    run.says(&["rows", "3,000 in = 2,300 out + 700 duplicates"]);
    run.ok();
    has(&summary, &[("files_in", 6), ("files_out", 1), ("rows_in", 3_000), ("duplicates", 700)]);
    let left = files_below(&workspace.path("lake"));
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(same_rows(&before, &workspace.path("lake"), Some(ID)), 2_300);
    let uids = rows_by(&workspace.path("lake"), &["query_uid"]);
    assert!(uids["query_uid=None"] >= 1_300 && uids.len() > 100, "{uids:?}");

    let compacted = state(&workspace.path("lake"));
    let (run, summary) = compact(&workspace, &[]);
    run.ok();
    has(&summary, &[("files_found", 1), ("files_kept", 1), ("files_in", 0)]);
    assert_eq!(state(&workspace.path("lake")), compacted);
}

#[test]
fn types_that_are_none_of_ours_are_carried_over_and_lines_without_an_id_are_all_kept() {
    let workspace = Workspace::new();
    for folder in ["lake/a=1/", "lake/a=2/b=x%2Fy/", "lake/"] {
        fs::create_dir_all(workspace.path(folder)).expect("a folder");
        for (place, (kind, first)) in [("odd", 0), ("odd", 700), ("table", 1_400), ("odd", 1_900)].iter().enumerate() {
            let to = workspace.path(&format!("{folder}{place}.parquet"));
            write_parquet(kind, &to, &["--first", &first.to_string()]);
        }
        let duckdb = workspace.path(&format!("{folder}duckdb.parquet"));
        let like = workspace.path(&format!("{folder}2.parquet")).display().to_string();
        write_parquet("duckdb", &duckdb, &["--like", &like]);
    }
    let (run, summary) = compact(&workspace, &["--threads", "3"]);
    run.ok();
    has(&summary, &[("folders_compacted", 3), ("files_in", 15), ("files_out", 3), ("files_left", 0)]);
    // Unique as the ids are: what is no id comes as often as before.
    let ids = rows_by(&workspace.path("lake/a=1"), &[ID]);
    for (name, files) in [("None", 5), ("-", 5), ("", 5)] {
        assert!((files * 100..=files * 112).contains(&ids[&format!("{ID}={name}")]), "{name:?} {ids:?}");
    }
    assert!(ids.iter().all(|(id, &count)| count == 1 || !id.contains("id-")), "{ids:?}");
    assert_eq!(summary["duplicates"].as_u64().expect("a number") % 3, 0);
}

#[test]
fn rows_of_every_type_come_out_as_they_went_in() {
    let workspace = Workspace::new();
    fs::create_dir_all(workspace.path("lake")).expect("a folder");
    for (place, (kind, first)) in [("odd", 0), ("odd", 1_000), ("table", 2_000)].iter().enumerate() {
        let to = workspace.path(&format!("lake/{place}.parquet"));
        write_parquet(kind, &to, &["--first", &first.to_string()]);
    }
    copy(&workspace.path("lake"), &workspace.path("before"));
    let (run, summary) = compact(&workspace, &[]);
    run.ok();
    has(&summary, &[("files_in", 3), ("files_out", 1), ("rows_out", 3_000), ("duplicates", 0)]);
    assert_eq!(same_rows(&workspace.path("before"), &workspace.path("lake"), None), 3_000);
}

#[test]
fn lines_of_text_become_columns_as_ingest_makes_them() {
    let workspace = Workspace::new();
    let text = |place: u64| log_from("realtime-46", 400 * place, 400);
    let json = |place: u64| {
        let made = Workspace::new();
        made.ingest_from(&["-", "--encode", "jsonl"], &text(place)).ok();
        made.delivered(OUT)
    };
    let folder = "lake/2026/01/05/08";
    let bad = [&text(0)[..], b"one column\n"].concat();
    for (name, bytes) in [
        ("a.tsv", bad),
        ("b.gz", gzip(&text(1))),
        ("c.zst", zstd(&text(2))),
        // As Firehose names them.
        ("pixels-1-2026-01-05-08-00-00-0a1b", gzip(&json(3))),
        ("d.jsonl", json(4)),
        // All of it once more.
        ("e", text(4)),
    ] {
        workspace.write(&format!("{folder}/{name}"), &bytes);
    }
    let notes = b"remember\nthe\nmilk\n";
    workspace.write(&format!("{folder}/notes.txt"), notes);
    let cut = gzip(&text(0));
    workspace.write(&format!("{folder}/cut.gz"), &cut[..cut.len() - 100]);

    // One of the files may still grow: nobody is to find Parquet among the text.
    let (run, summary) = compact(&workspace, &["--older-than", "1h"]);
    run.ok();
    has(&summary, &[("files_recent", 8)]);

    let (run, summary) = compact(&workspace, &["--column", "query.uid"]);
    run.says(&["left alone", "notes.txt", "3 of its 3 lines"]);
    run.says(&["left alone", "cut.gz"]);
    run.exits(3);
    has(&summary, &[("files_in", 6), ("files_out", 1), ("files_left", 2), ("rows_in", 2_400), ("duplicates", 400)]);
    has(&summary, &[("lines_quarantined", 1)]);
    assert_eq!(workspace.quarantine().len(), 1);
    assert_eq!(workspace.quarantine()[0].bytes(), b"one column");
    assert_eq!(fs::read(workspace.path(&format!("{folder}/notes.txt"))).expect("it stays"), notes);
    has_all_once(&workspace.path("lake"), 2_000);
    // The same values as from `ingest`, wherever its folders are.
    let ingested = Workspace::new();
    ingested.ingest_from(&["-", "--encode", "parquet", "--column", "query.uid", "--to", "dir:lake"], &{
        log_from("realtime-46", 0, 2_000)
    });
    let made = files_below(&ingested.path("lake")).pop().expect("one hour");
    ingested.write("flat/2026/01/05/08/a.parquet", &fs::read(made).expect("a file"));
    let parquet = files_below(&workspace.path("lake")).into_iter();
    let parquet = parquet.filter(|path| path.extension().is_some_and(|it| it == "parquet")).collect::<Vec<_>>();
    workspace.write("flat/2026/01/05/08/a.parquet", &fs::read(&parquet[0]).expect("a file"));
    assert_eq!(same_rows(&ingested.path("flat"), &workspace.path("flat"), None), 2_000);
    // Nothing is left to do but to say again what cannot be done.
    let compacted = state(&workspace.path("lake"));
    let (run, summary) = compact(&workspace, &["--column", "query.uid"]);
    run.exits(3);
    has(&summary, &[("files_in", 0), ("files_kept", 1), ("files_left", 2)]);
    assert_eq!((state(&workspace.path("lake")), workspace.quarantine().len()), (compacted, 1));
}

#[test]
fn what_cannot_be_carried_over_stays_and_is_named() {
    let workspace = Workspace::new();
    for place in 0..4 {
        add_parquet(&workspace, 300 * place, 300, &[]);
    }
    let good = files_below(&workspace.path("lake"));
    let bytes = fs::read(&good[0]).expect("a file");
    let like = good[1].display().to_string();
    write_parquet("text", &workspace.path(&format!("{HOUR}/text.parquet")), &["--like", &like]);
    workspace.write(&format!("{HOUR}/cut.parquet"), &bytes[..bytes.len() - 1]);
    workspace.write(&format!("{HOUR}/short.parquet"), b"PAR1");
    workspace.write(&format!("{HOUR}/no.parquet"), b"PAR1 but nothing else PAR1");
    // Damaged in the middle of its pages, which its footer does not show.
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle - 2_000..middle].fill(0xa5);
    workspace.write(&format!("{HOUR}/damaged.parquet"), &damaged);
    let odd = ["text", "cut", "short", "no", "damaged"].map(|name| format!("{HOUR}/{name}.parquet"));
    let before = odd.clone().map(|name| fs::read(workspace.path(&name)).expect("a file"));
    let (run, summary) = compact(&workspace, &[]);
    run.says(&["text.parquet", "its column sc_status is BYTE_ARRAY STRING, and in most rows of the folder INT64"]);
    for name in ["cut", "short", "no", "damaged"] {
        run.says(&["left alone", &format!("{name}.parquet")]);
    }
    run.exits(3);
    has(&summary, &[("files_in", 4), ("files_out", 1), ("files_left", 5), ("rows_out", 1_200)]);
    assert_eq!(odd.clone().map(|name| fs::read(workspace.path(&name)).expect("it stays")), before);
    odd.iter().for_each(|name| fs::remove_file(workspace.path(name)).expect("it goes"));
    has_all_once(&workspace.path("lake"), 1_200);
}

#[test]
fn files_are_as_large_as_is_wanted() {
    let workspace = Workspace::new();
    for place in 0..12 {
        add_parquet(&workspace, 800 * place, 800, &["--compress", "none"]);
    }
    let (run, summary) = compact(&workspace, &["--file-size", "1MiB", "--compress", "none"]);
    run.ok();
    let sizes: Vec<u64> = state(&workspace.path("lake")).values().map(|(size, _)| *size).collect();
    assert!(sizes.len() >= 2 && summary["files_out"] == sizes.len(), "{sizes:?}");
    has_all_once(&workspace.path("lake"), 9_600);
    let compacted = state(&workspace.path("lake"));
    compact(&workspace, &["--file-size", "1MiB"]).0.ok();
    assert_eq!(state(&workspace.path("lake")), compacted);
}

/// Ten files of Parquet and text, and how many lines they have.
fn some_files() -> (Workspace, u64) {
    let workspace = Workspace::new();
    for place in 0..8 {
        add_parquet(&workspace, 400 * place, 400, &[]);
    }
    workspace.write(&format!("{HOUR}/a.gz"), &gzip(&log_from("realtime-46", 3_200, 400)));
    workspace.write(&format!("{HOUR}/b.tsv"), &log_from("realtime-46", 3_400, 600));
    fs::rename(workspace.path("lake"), workspace.path("template")).expect("a folder");
    (workspace, 4_000)
}

#[test]
fn killed_at_any_moment_in_a_folder_and_run_again_it_has_every_line_once() {
    let (workspace, lines) = some_files();
    let renew = || copy(&workspace.path("template"), &workspace.path("lake"));
    // The first run is slower than those after it.
    let times = (0..3).map(|_| {
        renew();
        let begun = Instant::now();
        compact(&workspace, &[]).0.ok();
        begun.elapsed()
    });
    let whole = times.min().expect("three runs");
    let rounds = soak(24, 400);
    let mut interrupted = 0;
    for round in 0..rounds {
        renew();
        let mut child = command(&workspace, "lake", &["--quiet"]).spawn().expect("it starts");
        // All over the run, and most of all at its end, where names change.
        let share =
            if round % 2 == 0 { round as f64 / rounds as f64 } else { 0.8 + 0.3 * round as f64 / rounds as f64 };
        thread::sleep(whole.mul_f64(share));
        child.kill().expect("it is ours");
        child.wait().expect("it ended");
        interrupted += u64::from(files_below(&workspace.path("lake")).len() > 1);
        compact(&workspace, &[]).0.ok();
        has_all_once(&workspace.path("lake"), lines);
        assert!(!workspace.path(&format!("{HOUR}/{JOURNAL}")).exists());
    }
    assert!(interrupted > rounds / 4, "{interrupted} of {rounds}");
}

struct InBucket {
    aws: FakeAws,
    bucket: Bucket,
    workspace: Workspace,
    lines: u64,
    objects: Vec<(String, Vec<u8>)>,
}

impl InBucket {
    fn new() -> InBucket {
        let (workspace, lines) = some_files();
        let template = workspace.path("template");
        let object = |path: PathBuf| {
            let key = format!("lake/{}", path.strip_prefix(&template).expect("below").display());
            (key, fs::read(path).expect("a file"))
        };
        let objects = files_below(&template).into_iter().map(object).collect();
        let aws = FakeAws::start();
        let bucket = aws.bucket("logs");
        InBucket { bucket, aws, workspace, lines, objects }
    }

    fn renew(&self) {
        for key in self.bucket.objects().keys() {
            self.bucket.delete(key);
        }
        for (key, bytes) in &self.objects {
            self.bucket.put(key, bytes.clone());
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.workspace, "s3://logs/lake/", arguments);
        command.envs(self.aws.environment()).env_remove("AWS_PROFILE");
        command
    }

    #[track_caller]
    fn compact(&self, arguments: &[&str]) -> (Run, Value) {
        compact_with(&self.workspace, &mut self.command(arguments))
    }

    /// What is in the bucket, as one file, and every line of it once.
    #[track_caller]
    fn has_all_once(&self) {
        let objects = self.bucket.objects();
        let found = self.workspace.path("found");
        let _ = fs::remove_dir_all(&found);
        for (key, object) in &objects {
            self.workspace.write(&format!("found/{key}"), &object.bytes);
        }
        assert_eq!(objects.len(), 1, "{:?}", objects.keys());
        has_all_once(&found, self.lines);
        assert_eq!(self.aws.counters().violations, Vec::<String>::new());
    }
}

#[test]
fn a_bucket_is_compacted_as_a_folder_is_whatever_its_requests_meet() {
    let test = InBucket::new();
    test.renew();
    let (run, summary) = test.compact(&[]);
    run.ok();
    has(&summary, &[("files_in", 10), ("files_out", 1), ("rows_in", 4_200), ("duplicates", 200)]);
    test.has_all_once();
    assert_eq!(test.bucket.uploads(), 0);
    let before = test.bucket.objects().into_keys().collect::<Vec<_>>();
    has(&test.compact(&[]).1, &[("files_in", 0), ("files_kept", 1)]);
    assert_eq!(test.bucket.objects().into_keys().collect::<Vec<_>>(), before);
    // Half of all requests fail in some way, and replies are lost.
    test.renew();
    let faults = [
        Fault::error(503, "SlowDown", "Please reduce your request rate."),
        Fault::error(500, "InternalError", "We encountered an internal error. Please try again."),
        Fault::ResetAfterBody { stored: true },
        Fault::ResetAfterBody { stored: false },
    ];
    test.bucket.fail_requests(0.3, SEED, &faults);
    test.compact(&[]).0.ok();
    test.bucket.fail_requests(0.0, SEED, &faults);
    test.has_all_once();
}

/// The process is killed while a request hangs, and nobody knows whether it was carried out.
#[test]
fn killed_during_any_request_to_a_bucket_and_run_again_it_has_every_line_once() {
    let test = InBucket::new();
    for action in [Action::PutObject, Action::UploadPart, Action::CompleteMultipartUpload, Action::DeleteObjects] {
        // The second removes the journal.
        for stored in [true, false] {
            for skipped in 0..if action == Action::DeleteObjects { 2 } else { 1 } {
                test.renew();
                let before = test.aws.counters().requests_of(action);
                for _ in 0..skipped {
                    test.bucket.fault_on(action, Fault::Delay(Duration::from_millis(1)));
                }
                test.bucket.fault_on(action, Fault::NeverReply { stored });
                let mut child = test.command(&["--quiet"]).spawn().expect("it starts");
                wait_until("the request is made", || test.aws.counters().requests_of(action) == before + skipped + 1);
                // It is carried out, if it is.
                thread::sleep(Duration::from_millis(100));
                child.kill().expect("it is ours");
                child.wait().expect("it ended");
                let has_journal = test.bucket.objects().keys().any(|key| key.ends_with(JOURNAL));
                if has_journal {
                    // Who cannot ask leaves it alone for an hour.
                    let objects = test.bucket.objects().into_keys().collect::<Vec<_>>();
                    let (run, _) = test.compact(&[]);
                    run.says(&["left alone", "another compaction"]);
                    run.exits(3);
                    assert_eq!(test.bucket.objects().into_keys().collect::<Vec<_>>(), objects);
                }
                test.compact(&["--recover-after", "0s"]).0.ok();
                test.has_all_once();
            }
        }
    }
}

#[test]
fn killed_at_any_moment_on_a_bucket_and_run_again_it_has_every_line_once() {
    let test = InBucket::new();
    test.renew();
    let begun = Instant::now();
    test.compact(&[]).0.ok();
    let whole = begun.elapsed();
    let rounds = soak(16, 200);
    for round in 0..rounds {
        test.renew();
        let mut child = test.command(&["--quiet"]).spawn().expect("it starts");
        thread::sleep(whole.mul_f64(0.3 + 0.8 * round as f64 / rounds as f64));
        child.kill().expect("it is ours");
        child.wait().expect("it ended");
        // What was on the way arrives.
        thread::sleep(Duration::from_millis(20));
        test.compact(&["--recover-after", "0s"]).0.ok();
        test.has_all_once();
    }
}

#[test]
fn several_at_a_time_lose_nothing_and_double_nothing() {
    let (workspace, lines) = some_files();
    let test = InBucket::new();
    for round in 0..soak(4, 60) {
        copy(&workspace.path("template"), &workspace.path("lake"));
        test.renew();
        let spawn = |number: u64| {
            thread::sleep(Duration::from_millis(round * 7 * number));
            [
                workspace.command(&["compact", "lake", "--older-than", "0s"]).spawn().expect("it starts"),
                test.command(&[]).spawn().expect("it starts"),
            ]
        };
        for child in (0..3).flat_map(spawn).collect::<Vec<_>>() {
            let run = workspace.wait(child);
            // Whoever was later found it busy or changed, or done.
            assert!(matches!(run.code, Some(0 | 3)), "{}", run.stderr);
        }
        compact(&workspace, &[]).0.ok();
        has_all_once(&workspace.path("lake"), lines);
        test.compact(&[]).0.ok();
        test.has_all_once();
    }
}

#[test]
fn s3_as_others_know_it_removes_what_was_read() {
    let (workspace, lines) = some_files();
    let moto = moto();
    moto.call("s3", &[("create_bucket", json!({ "Bucket": "compacted" }))]);
    for arguments in [[0, 2_000], [2_000, 2_000]] {
        let [first, count] = arguments;
        let to = ["-", "--encode", "parquet", "--to", "s3://compacted/lake/", "--quiet"];
        let mut command = workspace.ingest_command(&to);
        command.envs(moto.environment()).env_remove("AWS_PROFILE");
        workspace.ingest_with(&mut command, &log_from("realtime-46", first, count)).ok();
    }
    let mut command = command(&workspace, "s3://compacted/lake/", &[]);
    command.envs(moto.environment()).env_remove("AWS_PROFILE");
    let (run, summary) = compact_with(&workspace, &mut command);
    run.ok();
    has(&summary, &[("files_in", 2), ("files_out", 1), ("rows_out", lines)]);
    let listed = &moto.call("s3", &[("list_objects_v2", json!({ "Bucket": "compacted" }))])[0];
    assert_eq!(listed["KeyCount"], 1, "{listed}");
}

#[test]
fn wrong_arguments_and_places_are_told_of() {
    let workspace = Workspace::new();
    let of = |arguments: &[&str]| run(&mut workspace.command(&[&["compact"], arguments].concat()), b"");
    workspace.write("file", b"x");
    of(&[]).exits(2).says(&["<DIR|s3://BUCKET/PREFIX/>"]);
    of(&["nowhere"]).exits(1).says(&["nowhere: No such file"]);
    of(&["file"]).exits(1).says(&["file: not a folder"]);
    of(&["s3://"]).exits(2);
    of(&[".", "--file-size", "1KiB"]).exits(2).says(&["--file-size 1024: must be 1 MiB or more"]);
    of(&[".", "--compress", "zstd:-3"]).exits(2).says(&["levels of zstd are 1 to 22"]);
    of(&[".", "--compress", "lzo"]).exits(2).says(&["--compress"]);
    of(&[".", "--older-than", "soon"]).exits(2).says(&["--older-than"]);
    of(&[".", "--quarantine", "firehose://bad"]).exits(2).says(&["--quarantine: a file, or log:"]);
    of(&[".", "--fields", "no-such-field,"]).exits(2).says(&["--fields"]);
    // A journal that is none is nobody's to guess.
    workspace.write(&format!("lake/a/{JOURNAL}"), b"{}");
    workspace.write("lake/a/x.parquet", b"x");
    let (run, summary) = compact(&workspace, &[]);
    run.says(&["a/", "the journal of a compaction cannot be read"]);
    run.exits(3);
    has(&summary, &[("files_left", 1)]);
    // An empty folder is no error, and no table either.
    fs::create_dir(workspace.path("empty")).expect("a folder");
    of(&["empty"]).ok().says(&["files", "0 of 0"]);
}

/// A thousand files of a megabyte.
#[test]
fn memory_does_not_grow_with_the_files() {
    const LIMIT: u64 = 400_000_000;
    let workspace = Workspace::new();
    add_parquet(&workspace, 0, 2_000, &["--compress", "none"]);
    let [file] = &files_below(&workspace.path("lake"))[..] else { panic!("one hour") };
    let size = fs::metadata(file).expect("a file").len();
    assert!(size > 900_000, "{size}");
    let files = soak(1_000, 4_000);
    for number in 1..files {
        fs::hard_link(file, file.with_file_name(format!("{number}.parquet"))).expect("a link");
    }
    let mut measured = Command::new("python3");
    let program = "import resource,subprocess,sys; code = subprocess.call(sys.argv[1:]); \
                   print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)";
    measured.args(["-c", program, env!("CARGO_BIN_EXE_pixel-engine"), "compact", "lake", "--older-than", "0s"]);
    measured.args(["--summary-json", "summary.json"]).current_dir(workspace.path("."));
    measured
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let (run, summary) = compact_with(&workspace, &mut measured);
    let run = run.ok();
    has(&summary, &[("files_in", files), ("rows_in", 2_000 * files), ("rows_out", 2_000)]);
    let kibibytes: u64 = String::from_utf8_lossy(&run.stdout).trim().parse().expect("a number");
    assert!(kibibytes * 1_024 <= LIMIT, "{kibibytes} KiB");
}
