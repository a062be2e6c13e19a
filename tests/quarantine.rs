use std::fs;
use std::io::Write;

use crate::support::*;

/// Good lines with these bad ones between them: `(bad line, part of its reason)`.
///
/// Checks every entry against the input at the offset that it names, and that the good lines came
/// through.
#[track_caller]
fn keeps(arguments: &[&str], good: &[u8], bad: &[(&[u8], &str)]) {
    let mut text = Vec::new();
    let mut wanted = Vec::new();
    let mut at_line = 0;
    let distance = count_lines(good) as usize / (bad.len() + 1);
    let mut left = bad.iter();
    for (number, line) in lines(good).enumerate() {
        if number % distance == distance - 1
            && let Some((line, reason)) = left.next()
        {
            at_line += 1;
            wanted.push((at_line, text.len() as u64, *line, *reason));
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        at_line += 1;
        text.extend_from_slice(line);
    }
    assert_eq!(wanted.len(), bad.len());

    let workspace = Workspace::new();
    workspace.write("in.log", &text);
    let run = workspace.ingest(&[&["in.log"], arguments].concat()).ok();
    let summary = run.summary();
    assert_eq!(summary.lines_quarantined, bad.len() as u64, "{summary:?}");
    assert!(workspace.delivered(OUT) == without_headers(good), "the good lines");
    let found = workspace.quarantine();
    assert_eq!(found.len(), wanted.len());
    for (entry, (line, offset, bytes, reason)) in found.iter().zip(wanted) {
        assert!(entry.reason.contains(reason), "{entry:?}");
        assert_eq!((entry.source.as_str(), entry.line, entry.offset), ("in.log", line, offset), "{}", entry.reason);
        assert!(entry.bytes() == bytes, "{}", entry.reason);
        assert_eq!((entry.part, entry.last_part), (None, None));
        assert!(text[offset as usize..].starts_with(bytes));
        assert_eq!(entry.is_text(), std::str::from_utf8(bytes).is_ok());
    }
}

/// A good line with one of its columns replaced.
fn with_column(shape: &str, index: usize, value: &[u8]) -> Vec<u8> {
    let text = without_headers(&log(shape, 1));
    let mut columns: Vec<&[u8]> = text.trim_ascii_end().split(|&byte| byte == b'\t').collect();
    columns[index] = value;
    columns.join(&b'\t')
}

#[test]
fn bad_real_time_lines_are_kept_with_their_place() {
    let nul = with_column("realtime-46", 5, b"a\0b");
    let times = [&b""[..], b"yesterday", b"1.2.3", b"12:00", b".5"].map(|time| with_column("realtime-46", 0, time));
    let mut bad = vec![
        (&b"x"[..], "1 column, as there is no tab in the line"),
        (b"a b c d", "1 column, as there is no tab in the line but there are spaces, as in a line that was pasted"),
        (b"a\tb\tc", "3 columns; accepted: 4, 40, 43, 45, 46, 69, 71; nearest list: pixel-4 with 4"),
        (b"2026-01-05\t08:00:00\tFRA2", "3 columns that begin with a date and a time, as in a standard log"),
        (&nul, "NUL byte"),
        (b"\0\0\0\0", "NUL byte"),
        (b"\xff\xfe\t\xc3", "2 columns"),
        (b"quote \" and \\ and \xe2\x82\xac", "1 column"),
    ];
    bad.extend(times.iter().map(|line| (line.as_slice(), "unparsable timestamp `")));
    // Three blocks, so that lines and offsets are counted over their edges.
    keeps(&[], &log("realtime-46", 3_500), &bad);
}

#[test]
fn bad_standard_lines_are_kept_with_their_place() {
    let date = with_column("standard", 0, b"05/01/2026");
    let time = with_column("standard", 1, b"8:00:00");
    let bad = [
        (&b"x\ty"[..], "2 columns; accepted: 33"),
        (b"x", "1 column, as there is no tab in the line"),
        (&date, "unparsable date `05/01/2026`"),
        (&time, "unparsable time `8:00:00`"),
    ];
    keeps(&[], &log("standard", 1_000), &bad);
}

#[test]
fn bad_json_lines_are_kept_with_their_place() {
    let bad = [
        (&b"{\"date\":\"2026-01-05\""[..], "not a JSON object"),
        (b"[1,2]", "not a JSON object"),
        (b"{\"date\":{}}", "`date` is an object"),
        (b"{\"date\":\"today\"}", "unparsable date"),
        (b"{\"c-ip\":\"\xff\"}", "not a JSON object"),
        (b"garbage", "not a JSON object"),
    ];
    keeps(&[], &log("standard-json", 400), &bad);
}

/// What a file that is no CloudFront log is answered with.
#[test]
fn an_input_without_a_good_line_is_asked_whether_it_is_a_log() {
    let pasted = String::from_utf8(log("realtime-46", 3)).expect("text").replace('\t', "  ");
    let standard = without_headers(&log("standard", 3));
    let with_15 = vec![&b"1.5\t"[..]; 15].concat();
    let event = br#"{"Records":[{"kinesis":{"data":"aGVsbG8="},"eventSource":"aws:kinesis"}]}"#;
    for (input, arguments, says) in [
        (pasted.as_bytes(), &[][..], "Its columns seem to be separated by spaces: tabs are lost when a log is pasted"),
        (b"hello\n", &[], "There is no tab in its first line"),
        (&standard, &[], "a standard log without its header: name the 33 columns with --format standard --fields"),
        (&standard, &["--format", "standard"], "a standard log without its header: name the columns with --fields"),
        (
            &with_15,
            &[],
            "Its first line has 16 columns: if they are fields of a real-time log, name them with --fields",
        ),
        (&with_15, &["--on-bad-line", "skip"], "(nearest: pixel-4 with 4)"),
        (event, &[], "an event or a request with records in it, which `pixel-engine decode` unpacks"),
        (b"a\tb\0\tc\td\n", &[], "Its first line: NUL byte in the line"),
    ] {
        let run = Workspace::new().ingest_from(&[&["-"], arguments].concat(), input).exits(4);
        let last = run.stderr.trim_end().lines().last().expect("a line").to_owned();
        assert!(last.starts_with("pixel-engine: nothing could be shipped: is stdin a CloudFront log? "), "{last}");
        assert!(last.contains(says), "{says}: {last}");
    }
    // One good line, lines that were filtered, and none at all are no reason to ask.
    let good = [&log("realtime-46", 1)[..], b"hello\n"].concat();
    for (input, arguments) in [
        (&good[..], &[][..]),
        (&good, &["--match", "sc-status=999"]),
        (b"", &[]),
        (b"\n\n", &[]),
        (b"#Version: 1.0\n", &[]),
    ] {
        let run = Workspace::new().ingest_from(&[&["-"], arguments].concat(), input).ok();
        assert!(!run.stderr.contains("is stdin a CloudFront log"), "{}", run.stderr);
    }
}

#[test]
fn a_line_that_fits_no_record_is_kept() {
    let long = with_column("realtime-46", 17, &[b'x'; 3_000]);
    for arguments in [
        &["--record-size", "3000"][..],
        &["--record-size", "4000", "--compress", "zstd:1"],
        &["--record-size", "3000", "--align", "1"],
    ] {
        let good: Vec<u8> =
            lines(&log("realtime-46", 2_000)).filter(|line| line.len() < 1_500).flatten().copied().collect();
        let reason = "bytes do not fit into a record of";
        if arguments.contains(&"4000") {
            let longer = with_column("realtime-46", 17, &[b'x'; 5_000]);
            keeps(arguments, &good, &[(&longer, reason)]);
        } else {
            keeps(arguments, &good, &[(&long, reason)]);
        }
    }
}

#[test]
fn invalid_utf8_in_a_good_line_is_shipped_as_it_is() {
    let line = [&with_column("realtime-46", 17, b"agent \xff\xfe")[..], b"\n"].concat();
    let workspace = Workspace::new();
    workspace.ingest_from(&[], &line).ok();
    assert!(workspace.delivered(OUT) == line);
    let workspace = Workspace::new();
    workspace.ingest_from(&["--encode", "jsonl"], &line).ok();
    let text = String::from_utf8(workspace.delivered(OUT)).expect("JSON lines are UTF-8");
    assert!(text.contains("agent \u{fffd}\u{fffd}"));
}

#[test]
fn line_numbers_count_the_newlines_of_the_source() {
    // A header that does not begin a line ends the one before it, but is on the same line of the
    // file.
    let text = b"#Fields: date time\n2026-01-05\t08:00:00#Fields: date time\nbad\n2026-01-05\t08:00:01\nworse\n";
    let workspace = Workspace::new();
    let summary = workspace.ingest_from(&[], text).ok().summary();
    assert_eq!((summary.lines_shipped, summary.lines_header), (2, 2));
    let places: Vec<(u64, u64)> = workspace.quarantine().iter().map(|bad| (bad.line, bad.offset)).collect();
    assert_eq!(places, [(3, 57), (5, 81)]);
}

#[test]
fn each_source_counts_its_own_lines() {
    let workspace = Workspace::new();
    for (name, before) in [("a.log", 1_500), ("b.log", 3_000), ("c.log", 0)] {
        workspace.write(name, &[&log("realtime-46", before)[..], b"bad\n"].concat());
    }
    workspace.ingest(&["a.log", "b.log", "c.log"]).ok();
    let places: Vec<_> = workspace.quarantine().iter().map(|bad| (bad.source.clone(), bad.line)).collect();
    assert_eq!(places, [("a.log".to_owned(), 1_501), ("b.log".to_owned(), 3_001), ("c.log".to_owned(), 1)]);
}

#[test]
fn an_existing_quarantine_is_added_to() {
    let workspace = Workspace::new();
    for _ in 0..2 {
        workspace.ingest_from(&["--quarantine", "bad.jsonl", "--to", "null:"], b"bad\n").exits(4);
    }
    assert_eq!(fs::read_to_string(workspace.path("bad.jsonl")).expect("text").lines().count(), 2);
}

#[test]
fn skipped_lines_are_counted_as_filtered() {
    let text = [&b"bad\n"[..], &log("realtime-46", 100), b"worse\n"].concat();
    let workspace = Workspace::new();
    let summary = workspace.ingest_from(&["--on-bad-line", "skip"], &text).ok().summary();
    assert_eq!(
        (summary.lines_in, summary.lines_shipped, summary.lines_filtered, summary.lines_skipped),
        (102, 100, 2, 2)
    );
    assert!(!workspace.path("pixel-engine-quarantine.jsonl").exists());
}

#[test]
fn fail_delivers_what_stands_before_the_first_bad_line() {
    for before in [0, 50, 4_000] {
        let good = log("realtime-46", before);
        let text = [&good[..], b"bad\tline\n", &log_from("realtime-46", before, 3_000), b"worse\n"].concat();
        let workspace = Workspace::new();
        let run = workspace.ingest_from(&["--on-bad-line", "fail"], &text).exits(1);
        run.says(&[&format!("stdin: line {}, byte {}: 2 columns", before + 1, good.len())]);
        assert!(!run.stderr.contains("worse") && !run.stderr.contains("1 columns"), "{}", run.stderr);
        assert!(workspace.delivered(OUT) == good, "{before}");
        let summary = run.summary();
        assert_eq!((summary.lines_shipped, summary.lines_quarantined, summary.lines_undelivered), (before, 0, 1));
        assert!(!workspace.path("pixel-engine-quarantine.jsonl").exists());
    }
}

#[test]
fn fail_stops_at_a_line_that_never_ends() {
    let good = log("realtime-46", 100);
    let workspace = Workspace::new();
    let run = workspace.ingest_from(&["--on-bad-line", "fail"], &[&good[..], &vec![b'x'; 5 << 20]].concat()).exits(1);
    run.says(&["stdin: line 101", "longer than"]);
    let summary = run.summary();
    assert_eq!((summary.lines_in, summary.lines_shipped, summary.lines_undelivered), (101, 100, 1));
    assert!(workspace.delivered(OUT) == good);
}

#[test]
fn a_line_around_the_size_of_a_block_counts_once() {
    const BLOCK: usize = 1 << 20;
    for len in [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1] {
        for end in [&b""[..], b"\n", b"\nlast\n"] {
            let text = [&vec![b'x'; len][..], end].concat();
            let workspace = Workspace::new();
            let summary = workspace.ingest_from(&["--to", "null:"], &text).exits(4).summary();
            let expected = if end.len() > 1 { 2 } else { 1 };
            let what = format!("{len} bytes, then {end:?}");
            assert_eq!((summary.lines_in, summary.lines_quarantined), (expected, expected), "{what}");
            let entries = workspace.quarantine();
            let (long, rest): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.line == 1);
            let joined: Vec<u8> = long.iter().flat_map(|entry| entry.bytes()).collect();
            assert!(joined == vec![b'x'; len], "{what}");
            assert!(long.last().and_then(|entry| entry.last_part).unwrap_or(true), "{what}");
            assert_eq!(rest.len() as u64, expected - 1, "{what}");
            assert!(rest.iter().all(|entry| (entry.line, entry.offset) == (2, len as u64 + 1)), "{what}");
        }
    }
}

#[test]
fn a_line_of_100_mb_comes_in_parts() {
    let (before, after) = (log_from("realtime-46", 0, 700), log_from("realtime-46", 700, 700));
    let workspace = Workspace::new();
    let mut child = workspace.ingest_command(&[]).stdin(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&before).expect("it reads");
    let piece = b"0123456789 not a log line ".repeat(40_000);
    for _ in 0..100 {
        stdin.write_all(&piece).expect("it reads");
    }
    stdin.write_all(b"\n").expect("it reads");
    stdin.write_all(&after).expect("it reads");
    let peak = crate::memory::peak_when_idle(&child);
    drop(stdin);
    let run = workspace.wait(child).ok();
    assert!(peak <= crate::memory::LIMIT, "{peak} bytes");
    let summary = run.summary();
    assert_eq!((summary.lines_in, summary.lines_shipped, summary.lines_quarantined), (1_401, 1_400, 1));
    assert!(workspace.delivered(OUT) == [before.clone(), after].concat());

    let entries = workspace.quarantine();
    assert!(entries.len() >= 99, "{}", entries.len());
    let mut offset = before.len() as u64;
    let last = entries.len() as u32;
    let long = piece.repeat(100);
    for (entry, part) in entries.iter().zip(1..) {
        let bytes = entry.bytes();
        let at = offset as usize - before.len();
        assert_eq!((entry.line, entry.offset), (701, offset));
        assert_eq!((entry.part, entry.last_part), (Some(part), Some(part == last)));
        assert!(entry.reason.starts_with("longer than"));
        assert!(long[at..].starts_with(&bytes));
        offset += bytes.len() as u64;
    }
    assert_eq!(offset as usize, before.len() + long.len());
}

#[test]
fn a_header_that_cannot_be_used_is_warned_of_once() {
    let workspace = Workspace::new();
    workspace.write("twice.log", b"#Version: 1.0\n#Fields: date time date\n2026-11-23\t00:00:00\t2026-11-23\n");
    let run = workspace.ingest(&["twice.log"]).exits(4);
    assert_eq!(run.stderr.matches("header cannot be used: field `date` is listed twice").count(), 1, "{}", run.stderr);
    assert_eq!(run.summary().lines_quarantined, 1);
}
