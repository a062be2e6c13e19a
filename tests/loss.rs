use std::sync::OnceLock;

use crate::support::*;

const LINES: u64 = 300_000;

/// The log that every way is held against; made once.
fn text() -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| log("timestamp,c-ip,sc-status,x-edge-request-id,cs-uri-query", LINES))
}

const FIELDS: &str = "timestamp,c-ip,sc-status,x-edge-request-id,cs-uri-query";

#[track_caller]
fn all_arrive(arguments: &[&str]) {
    let workspace = Workspace::new();
    let kpl = arguments.contains(&"kpl");
    let run = workspace.ingest_from(&[&["--fields", FIELDS], arguments].concat(), text()).ok();
    let summary = run.summary();
    assert_eq!((summary.lines_in, summary.lines_shipped), (LINES, LINES));
    let mut seen = Seen::new(LINES);
    for object in workspace.objects(OUT) {
        if kpl {
            seen.ids_in(&workspace.decode(&object.bytes).ok().stdout);
        } else {
            seen.ids_in(&object.bytes);
        }
    }
    seen.all();
}

#[test]
fn every_line_arrives_once_in_lines() {
    all_arrive(&[]);
    all_arrive(&["--record-size", "5120", "--reorder"]);
}

#[test]
fn every_line_arrives_once_in_compressed_records() {
    all_arrive(&["--compress", "zstd:1"]);
    all_arrive(&["--compress", "gzip:1", "--record-size", "64KiB"]);
    all_arrive(&["--compress", "zstd:-5", "--encode", "jsonl", "--record-size", "20000", "--reorder"]);
}

#[test]
fn every_line_arrives_once_in_aggregates() {
    all_arrive(&["--container", "kpl"]);
    all_arrive(&["--container", "kpl", "--record-size", "1MiB", "--encode", "jsonl"]);
    all_arrive(&["--container", "kpl", "--record-size", "3000"]);
}

#[test]
fn every_line_arrives_once_in_json_and_projections() {
    all_arrive(&["--encode", "jsonl"]);
    all_arrive(&["--select", "x-edge-request-id,sc-status"]);
}

#[test]
fn every_line_is_in_exactly_one_place() {
    const COUNT: u64 = 60_000;
    let mut text = Vec::new();
    let (mut broken, mut headless) = (0, 0);
    for (number, line) in lines(&log("realtime-46", COUNT)).enumerate() {
        match number % 97 {
            // A column too many, but the id is still in the line.
            13 => {
                broken += 1;
                text.extend_from_slice(b"too many\t");
            }
            // A time that is none.
            57 => {
                headless += 1;
                text.push(b'x');
            }
            _ => {}
        }
        text.extend_from_slice(line);
        if number % 31 == 0 {
            text.extend_from_slice(b"\r\n");
        }
    }
    // 47 columns are no preset's, so that these are bad for their count.
    for arguments in [&[][..], &["--container", "kpl"], &["--encode", "jsonl", "--compress", "zstd"]] {
        let workspace = Workspace::new();
        let kept = workspace.ingest_from(&[arguments, &["--match", "sc-status=2*"]].concat(), &text).ok().summary();
        let rest = Workspace::new();
        let others = ["--match", "sc-status=[!2]*", "--on-bad-line", "skip"];
        let left = rest.ingest_from(&[arguments, &others].concat(), &text).ok().summary();
        assert_eq!((kept.lines_in, left.lines_in), (COUNT, COUNT));
        assert_eq!(kept.lines_quarantined, broken + headless);
        assert_eq!(left.lines_skipped, broken + headless);
        assert_eq!(kept.lines_filtered, left.lines_shipped);
        assert!(kept.lines_filtered > 0 && kept.lines_shipped > 0);

        // Shipped, quarantined and (shipped by the opposite filter) filtered: together every id
        // once.
        let mut seen = Seen::new(COUNT);
        for workspace in [&workspace, &rest] {
            for object in workspace.objects(OUT) {
                let kpl = arguments.contains(&"kpl");
                seen.ids_in(&if kpl { workspace.decode(&object.bytes).ok().stdout } else { object.bytes });
            }
        }
        assert_eq!(seen.count() as u64, kept.lines_shipped + left.lines_shipped);
        workspace.quarantine().iter().for_each(|bad| seen.ids_in(&bad.bytes()));
        seen.all();
    }
}
