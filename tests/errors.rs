use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::*;

/// `ingest` as a user without privileges; `None`, said on stderr, where the test cannot become one.
fn as_nobody(workspace: &Workspace, arguments: &[&str]) -> Option<Command> {
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    if !Command::new("setpriv").args(nobody).arg("true").status().is_ok_and(|status| status.success()) {
        skipped("permissions: setpriv cannot take privileges away here");
        return None;
    }
    // A copy of the program, as the folder of the build may be closed to others.
    let program = workspace.path("program");
    fs::copy(env!("CARGO_BIN_EXE_pixel-engine"), &program).expect("a copy");
    mode(&workspace.path(""), "755");
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(program).arg("ingest").args(arguments).current_dir(workspace.path(""));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

fn mode(path: &Path, mode: &str) {
    assert!(Command::new("chmod").arg(mode).arg(path).status().expect("there is chmod").success());
}

/// Tests that one bad input among good ones is told of and costs nothing else.
#[track_caller]
fn others_are_shipped(workspace: &Workspace, bad: &str, says: &[&str]) {
    workspace.write("first.log", &log_from("realtime-46", 0, 50));
    workspace.write("last.log", &log_from("realtime-46", 50, 50));
    let run = workspace.ingest(&["first.log", bad, "last.log"]).exits(1);
    run.says(says);
    assert!(workspace.delivered(OUT) == log("realtime-46", 100));
    assert_eq!(run.summary().lines_shipped, 100);
}

#[test]
fn a_missing_file_costs_nothing_else() {
    others_are_shipped(&Workspace::new(), "nothing.log", &["nothing.log", "no such file"]);
    others_are_shipped(&Workspace::new(), "no*.log", &["no*.log", "no such file, folder, or match"]);
    others_are_shipped(&Workspace::new(), "a[.log", &["a[.log", "not a glob"]);
    let workspace = Workspace::new();
    let run = workspace.ingest(&["nothing.log"]).exits(1);
    run.says(&["nothing.log", "no such file"]);
    assert!(!workspace.path(OUT).exists());
}

#[test]
fn a_folder_without_logs_costs_nothing_else() {
    let workspace = Workspace::new();
    fs::create_dir_all(workspace.path("empty/below")).expect("a folder");
    workspace.write("empty/.hidden", b"x\n");
    others_are_shipped(&workspace, "empty", &["empty", "holds no log files"]);
}

#[test]
fn an_input_without_permission_costs_nothing_else() {
    let workspace = Workspace::new();
    workspace.write("open.log", &log("realtime-46", 10));
    workspace.write("closed.log", b"secret\n");
    workspace.write("closed/a.log", b"secret\n");
    fs::create_dir(workspace.path(OUT)).expect("a folder");
    let Some(mut command) = as_nobody(&workspace, &["closed.log", "closed", "open.log"]) else { return };
    for (path, bits) in [("closed.log", "000"), ("closed", "000"), ("open.log", "644"), (OUT, "777"), ("", "777")] {
        mode(&workspace.path(path), bits);
    }
    let run = run(&mut command, b"").exits(1);
    run.says(&["closed.log", "ermission denied"]);
    run.says(&["closed:", "ermission denied"]);
    assert!(workspace.delivered(OUT) == log("realtime-46", 10));
}

#[test]
fn an_output_without_permission_is_told_of() {
    let workspace = Workspace::new();
    workspace.write("in.log", &log("realtime-46", 10));
    fs::create_dir(workspace.path(OUT)).expect("a folder");
    let Some(mut command) = as_nobody(&workspace, &["in.log"]) else { return };
    mode(&workspace.path("in.log"), "644");
    run(&mut command, b"").exits(1).says(&[OUT, "ermission denied"]);
    assert!(all_files_below(&workspace.path(OUT)).is_empty());
}

#[test]
fn an_output_that_is_no_folder_is_told_of() {
    let workspace = Workspace::new();
    workspace.write("file", b"x");
    workspace.ingest_from(&["--to", "dir:file"], b"").exits(1).says(&["file", "xists"]);
    workspace.ingest_from(&["--to", "dir:file/below"], b"").exits(1).says(&["file/below", "ot a directory"]);
    assert_eq!(fs::read(workspace.path("file")).expect("it is still there"), b"x");
}

#[test]
fn a_quarantine_or_summary_that_cannot_be_written_is_told_of() {
    let workspace = Workspace::new();
    let text = [&log("realtime-46", 10)[..], b"bad\n"].concat();
    let run = workspace.ingest_from(&["--quarantine", "no/such/folder.jsonl"], &text).exits(1);
    run.says(&["no/such/folder.jsonl", "o such file"]);
    // Neither in the quarantine nor counted there.
    let summary = run.summary();
    assert_eq!((summary.lines_in, summary.lines_quarantined), (11, 0));
    assert!(summary.lines_undelivered >= 1);
    workspace.ingest_from(&["--summary-json", "no/such/folder.json"], b"").exits(2);
    let mut command = workspace.command(&["ingest", "--to", "null:", "--summary-json", "no/such/folder.json"]);
    crate::support::run(&mut command, &text).exits(1).says(&["no/such/folder.json", "o such file"]);
}

#[test]
fn an_empty_input_is_told_of() {
    let workspace = Workspace::new();
    workspace.write("empty.log", b"");
    workspace.write("empty.gz", &gzip(b""));
    workspace.write("full.log", &log("realtime-46", 10));
    let run = workspace.ingest(&["empty.log", "full.log", "empty.gz", "-"]).ok();
    for name in ["empty.log", "empty.gz", "stdin"] {
        run.says(&[name, "empty"]);
    }
    assert!(!run.stderr.contains("full.log"), "{}", run.stderr);
    assert_eq!(run.summary().lines_shipped, 10);
}

#[test]
fn a_truncated_archive_ships_what_it_still_holds() {
    let text = log("realtime-46", 2_000);
    for (name, pack) in [("in.gz", gzip as fn(&[u8]) -> Vec<u8>), ("in.zst", zstd)] {
        let member = pack(&text);
        let two = [pack(&text), pack(&log_from("realtime-46", 2_000, 2_000))].concat();
        let cuts = [10, 100, member.len() / 3, member.len() - 9, member.len() - 1]
            .into_iter()
            .chain([1, 2, 3, 5, 12, 30_000].map(|more| member.len() + more))
            .chain([two.len() - 1]);
        for cut in cuts {
            let workspace = Workspace::new();
            workspace.write(name, &two[..cut]);
            workspace.write("whole.log", &log_from("realtime-46", 4_000, 100));
            let run = workspace.ingest(&[name, "whole.log"]).exits(1);
            run.says(&[name, "reading stopped at byte"]);
            let delivered = workspace.delivered(OUT);
            let mut seen = Seen::new(4_100);
            seen.ids_in(&delivered);
            // What follows the broken input is whole, what comes before the break is too.
            let broken = &delivered[..delivered.len() - log_from("realtime-46", 4_000, 100).len()];
            let both = [&text[..], &log_from("realtime-46", 2_000, 2_000)].concat();
            assert!(both.starts_with(broken), "{name} cut at {cut}");
            let piece: Vec<u8> = workspace.quarantine().iter().flat_map(|bad| bad.bytes()).collect();
            assert!(both[broken.len()..].starts_with(&piece), "{name} cut at {cut}");
            assert!(workspace.quarantine().iter().all(|bad| bad.reason.contains("broke off")));
            let summary = run.summary();
            assert_eq!(summary.lines_undelivered, 0);
            assert_eq!(summary.lines_quarantined, workspace.quarantine().len() as u64);
            assert_eq!(summary.bytes_in as usize, delivered.len() + piece.len());
            if cut >= member.len() {
                assert!(broken.len() >= text.len(), "{name} cut at {cut}: the first member is whole");
            }
        }
    }
}

#[test]
fn damage_inside_an_archive_ships_what_is_before_it() {
    let text = log("realtime-46", 3_000);
    for (name, mut bytes) in [("in.gz", gzip(&text)), ("in.zst", zstd(&text))] {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        let workspace = Workspace::new();
        workspace.write(name, &bytes);
        let run = workspace.ingest(&[name]).exits(1);
        run.says(&[name, "reading stopped at byte"]);
        // What a damaged stream decodes to need not be what was in it, so only the count of bytes
        // is sure.
        let summary = run.summary();
        assert_eq!(summary.lines_undelivered, 0);
        assert_eq!(summary.lines_in, summary.lines_shipped + summary.lines_quarantined);
    }
}

#[test]
fn bytes_after_the_last_member_are_told_of() {
    let text = log("realtime-46", 100);
    let workspace = Workspace::new();
    workspace.write("in.gz", &[&gzip(&text)[..], b"trailing garbage"].concat());
    let run = workspace.ingest(&["in.gz"]).exits(1);
    run.says(&["in.gz", "reading stopped at byte"]);
    assert!(workspace.delivered(OUT) == text);
}

#[test]
fn binary_garbage_is_kept_to_the_byte() {
    let mut state = 1_u64;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(3 << 20)
    .collect();
    // Lines of noise, and one long line of it; and beginnings that look like a format.
    let no_newlines: Vec<u8> = garbage.iter().map(|&byte| if byte == b'\n' { 0 } else { byte }).collect();
    for (start, garbage) in [(&b"x"[..], &garbage), (b"x", &no_newlines), (b"{", &garbage), (b"#", &garbage)] {
        let text = [start, garbage].concat();
        let workspace = Workspace::new();
        let run = workspace.ingest_from(&[], &text).exits(4);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        let summary = run.summary();
        assert_eq!(summary.lines_in, summary.lines_quarantined);
        // Each byte is in the quarantine at its offset, but for newlines, empty lines and headers.
        let mut rebuilt = vec![None; text.len()];
        for bad in workspace.quarantine() {
            for (place, byte) in rebuilt[bad.offset as usize..].iter_mut().zip(bad.bytes()) {
                assert!(place.is_none());
                *place = Some(byte);
            }
        }
        let mut missing: Vec<u8> = Vec::new();
        for (&byte, rebuilt) in text.iter().zip(rebuilt) {
            match rebuilt {
                Some(rebuilt) => assert_eq!(byte, rebuilt),
                None => missing.push(byte),
            }
        }
        if start == b"x" {
            assert!(missing.iter().all(|byte| matches!(byte, b'\n' | b'\r')));
        }
    }
}

#[test]
fn a_full_disk_is_told_of_and_nothing_counts_as_delivered() {
    let workspace = Workspace::new();
    let disk = workspace.path("disk");
    fs::create_dir(&disk).expect("a folder");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&disk).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        return skipped("a full disk: no tmpfs can be mounted here");
    }
    let text = log("realtime-46", 30_000);
    for arguments in [&["--to", "dir:disk/out"][..], &["--to", "dir:disk/out", "--container", "kpl"]] {
        let run = workspace.ingest_from(arguments, &text);
        let left = all_files_below(&disk);
        run.says(&["disk/out", "No space left"]);
        let run = run.exits(1);
        let summary = run.summary();
        assert_eq!((summary.lines_shipped, summary.records), (0, 0));
        assert!(summary.lines_undelivered > 0);
        assert!(left.is_empty(), "{left:?}");
        run.says(&["everything before byte 0 (line 1)"]);
    }
    // The quarantine's disk may be full too.
    let bad = b"bad line that is kept\n".repeat(200_000);
    let run = workspace.ingest_from(&["--to", "null:", "--quarantine", "disk/bad.jsonl"], &bad);
    let unmounted = Command::new("umount").arg(&disk).status().is_ok_and(|status| status.success());
    assert!(unmounted);
    run.says(&["disk/bad.jsonl", "No space left"]);
    assert!(run.exits(1).summary().lines_undelivered > 0);
}

#[test]
fn a_device_that_takes_nothing_is_told_of() {
    if !Path::new("/dev/full").exists() {
        return skipped("a device that is always full: no /dev/full");
    }
    let text = log("realtime-46", 3_000);
    let workspace = Workspace::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("it opens");
    workspace.write("in.log", &text);
    let output = workspace.ingest_command(&["in.log", "--to", "stdout:"]).stdout(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("stdout: No space left"), "{stderr}");
    workspace
        .ingest(&["in.log", "--fields", "pixel-4", "--to", "null:", "--quarantine", "/dev/full"])
        .exits(1)
        .says(&["quarantine /dev/full", "No space left"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let workspace = Workspace::new();
    workspace.write("in.log", &log("realtime-46", 60_000));
    workspace
        .write("entries.jsonl", &workspace.ingest(&["in.log", "--to", "stdout:", "--container", "kpl"]).ok().stdout);
    for arguments in [
        &["ingest", "in.log", "--to", "stdout:"][..],
        &["ingest", "in.log", "--to", "stdout:", "--container", "kpl"],
        &["ingest", "in.log", "--to", "stdout:", "--compress", "zstd", "--record-size", "5120"],
        &["decode", "entries.jsonl"],
        &["generate", "--lines", "1000000"],
    ] {
        let mut child = workspace.command(arguments).spawn().expect("it starts");
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut [0; 1_000]).expect("it writes");
        drop(stdout);
        let run = workspace.wait(child).ok();
        assert!(!run.stderr.contains("roken pipe") && !run.stderr.contains("panicked"), "{}", run.stderr);
    }
}

#[test]
fn wrong_command_lines_exit_with_2() {
    let workspace = Workspace::new();
    for arguments in [
        &[][..],
        &["swallow"],
        &["ingest", "--format", "csv"],
        &["ingest", "--to", "s3:bucket"],
        &["ingest", "--to", "dir:"],
        &["ingest", "--to", "null:x"],
        &["ingest", "--compress", "lz4"],
        &["ingest", "--compress", "zstd:99"],
        &["ingest", "--record-size", "much"],
        &["ingest", "--record-size", "1024001"],
        &["ingest", "--record-size", "10"],
        &["ingest", "--align", "0"],
        &["ingest", "--container", "kpl", "--compress", "zstd"],
        &["ingest", "--container", "kpl", "--align", "5120"],
        &["ingest", "--container", "kpl", "--reorder"],
        &["ingest", "--container", "kpl", "--record-size", "11MiB"],
        &["ingest", "--partition-by", "c-ip"],
        &["ingest", "--container", "kpl", "--partition-by", "c-ipp"],
        &["ingest", "--container", "kpl", "--partition-by", "query."],
        &["ingest", "--threads", "0"],
        &["ingest", "--threads", "1025"],
        &["ingest", "--linger", "2h"],
        &["ingest", "--linger", "1"],
        &["ingest", "--concurrency", "0"],
        &["ingest", "--grace", "31d"],
        &["ingest", "--rate-limit", "0"],
        &["ingest", "--spool", "kept"],
        &["ingest", "--spool-size", "1GB"],
        &["ingest", "--to", "firehose://hits", "--container", "kpl"],
        &["ingest", "--resume", "state", "--quarantine", "state"],
        &["ship", "kept", "--to", "firehose://hits", "--request-size", "5MiB"],
        &["ingest", "--fields", ""],
        &["ingest", "--fields", "@no-such-file"],
        &["ingest", "--fields", "timestamp,timestamp"],
        &["ingest", "--fields", "timestamp", "--fields", "c-ip"],
        &["ingest", "--on-bad-line", "ignore"],
        &["completions", "tcsh"],
    ] {
        let run = run(&mut workspace.command(arguments), b"").exits(2);
        assert!(!run.stderr.is_empty() && !run.stderr.contains("panicked"), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn a_wrong_setting_is_named_by_its_flag_with_what_is_right() {
    let workspace = Workspace::new();
    for (arguments, says) in [
        (&["--record-size", "10"][..], "--record-size 10: must be from 1024 to 1024000 bytes for a record of lines"),
        (&["--container", "kpl", "--align", "1"], "--align does not go with --container kpl: "),
        (&["--container", "kpl", "--to", "firehose://hits"], "--container kpl does not go with --to firehose://: "),
        (&["--partition-by", "c-ip"], "--partition-by needs --container kpl: "),
        (&["--spool", "kept"], "--spool needs --to firehose:// or kinesis://: "),
        (&["--linger", "2h"], "--linger 2h: must be from 1ms to 1h"),
        (&["--to", "s3:bucket"], "--to s3:bucket: not one of firehose://STREAM, kinesis://STREAM, dir:PATH"),
    ] {
        let run = workspace.ingest(arguments).exits(2);
        run.says(&[says]);
        run.says(&["Usage: pixel-engine ingest"]);
    }
}

#[test]
fn an_unknown_field_is_told_of_with_what_was_meant() {
    let workspace = Workspace::new();
    workspace.ingest(&["--fields", "timestamp,cs-uri-qeury"]).exits(2).says(&[
        "--fields",
        "unknown field `cs-uri-qeury`",
        "did you mean `cs-uri-query`?",
    ]);
    workspace.ingest(&["--fields", "realtime-47"]).exits(2).says(&["--fields realtime-47", "realtime-47"]);
    workspace.write("fields", b"timestamp\nnonsense-name\n");
    workspace.ingest(&["--fields", "@fields"]).exits(2).says(&["--fields @fields", "nonsense-name"]);
}

#[test]
fn quiet_says_errors_only() {
    let workspace = Workspace::new();
    let run = workspace.ingest_from(&["--quiet"], &log("realtime-46", 10)).ok();
    assert_eq!(run.stderr, "");
    let run = workspace.ingest_from(&["--quiet", "missing", "-"], &log("realtime-46", 10)).exits(1);
    assert_eq!(run.stderr.lines().count(), 1);
    let run = workspace.ingest_from(&[], &log("realtime-46", 10)).ok();
    run.says(&["lines", "10 in = 10 shipped + 0 quarantined + 0 filtered"]);
    run.says(&["Firehose"]);
}

#[test]
fn what_is_decoded_must_be_records() {
    let workspace = Workspace::new();
    workspace.decode(b"").ok();
    workspace.decode(b"{\"Records\":[{}]}").exits(1).says(&["stdin", "expected Data"]);
    workspace.decode(b"{\"Data\":\"%%\"}").exits(1).says(&["stdin", "base64"]);
    workspace.decode(b"{\"Data\":").exits(1).says(&["stdin"]);
    run(&mut workspace.command(&["decode", "missing.json"]), b"").exits(1).says(&["missing.json", "no such file"]);
}
