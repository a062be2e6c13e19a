use std::path::Path;
use std::process::{Command, Stdio};

use crate::peers::{Reading, read_objects};
use crate::support::*;

/// The program `gzip` or `zstd` over a file; `None`, said on stderr, where it is absent.
fn unpacked_by(program: &str, path: &Path) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    match command.arg("-dc").stdin(std::fs::File::open(path).expect("an object")).stderr(Stdio::piped()).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(error) => {
            skipped(&format!("a comparison with {program}: {error}"));
            None
        }
    }
}

/// `GZIPInputStream`, with which Hadoop and Trino read, over all members of a file.
fn java_reads(path: &Path, text: &[u8]) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/Gunzip.java");
    match Command::new("java").arg(source).arg(path).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout == text, "Java reads something else");
        }
        Err(error) => skipped(&format!("a comparison with Java: {error}")),
    }
}

const CODECS: [&str; 9] = ["gzip", "gzip:0", "gzip:1", "gzip:2", "gzip:9", "zstd", "zstd:-7", "zstd:9", "zstd:19"];

fn unpack(codec: &str, record: &[u8]) -> Vec<u8> {
    if codec.starts_with("gzip") { gunzip(record) } else { zstd::decode_all(record).expect("a frame") }
}

#[test]
fn every_record_is_complete_by_itself_and_within_its_size() {
    let text = log("realtime-46", 8_000);
    for codec in CODECS {
        for size in [20_000, 300_000, 1_024_000] {
            let size_text = size.to_string();
            let arguments = ["--to", "stdout:", "--compress", codec, "--record-size", &size_text];
            let run = Workspace::new().ingest_from(&arguments, &text).ok();
            let requests = requests(&run.stdout);
            crate::lines::billed_as_summarised(&requests, &run.summary());
            let mut all = Vec::new();
            for entry in requests.iter().flat_map(|request| &request.entries) {
                assert!(entry.data.len() <= size, "{codec}: {} > {size}", entry.data.len());
                let lines = unpack(codec, &entry.data);
                assert_eq!(lines.last(), Some(&b'\n'), "{codec}");
                all.extend(lines);
            }
            assert!(all == text, "{codec} {size}");
        }
    }
}

#[test]
fn records_come_close_to_their_size() {
    let text = log("realtime-46", 60_000);
    for codec in ["zstd:1", "gzip:1"] {
        let run = Workspace::new()
            .ingest_from(&["--to", "stdout:", "--compress", codec, "--record-size", "200KB"], &text)
            .ok();
        let sizes: Vec<usize> = records(&run.stdout).iter().map(|entry| entry.data.len()).collect();
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!(mean > 150_000, "{codec}: {sizes:?}");
    }
}

#[test]
fn lines_that_suddenly_compress_worse_stay_within_the_size() {
    // The estimate of the ratio is made on the first, and fails on the second.
    let same = log("pixel-4", 1).repeat(20_000);
    let mut text = same.clone();
    let mut state = 1_u64;
    for _ in 0..2_000 {
        let noise: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(state >> 58) as usize])
        })
        .take(600)
        .collect();
        text.extend_from_slice(format!("1.5\t192.0.2.1\t{noise}\t-\n").as_bytes());
    }
    text.extend(same);
    for codec in ["gzip:1", "zstd:1"] {
        let run = Workspace::new()
            .ingest_from(&["--to", "stdout:", "--compress", codec, "--record-size", "30000"], &text)
            .ok();
        let mut all = Vec::new();
        for entry in records(&run.stdout) {
            assert!(entry.data.len() <= 30_000);
            all.extend(unpack(codec, &entry.data));
        }
        assert!(all == text, "{codec}");
    }
}

#[test]
fn objects_are_read_by_the_programs_and_by_duckdb() {
    let text = log("realtime-46", 20_000);
    let plain = Workspace::new();
    plain.ingest_from(&["--to", "dir:out"], &text).ok();
    let reading = Reading { columns: Some(46), column: Some("12"), sums: &["5", "14", "4"], ..Reading::default() };
    let wanted = read_objects(&[&plain.path("out")], &reading);
    assert_eq!((wanted.rows, wanted.bytes), (20_000, text.len() as u64));
    let column = wanted.column.expect("it was asked for");
    assert_eq!((column.present, column.distinct), (20_000, 20_000));

    for (codec, program, ending) in [
        ("gzip", "gzip", "tsv.gz"),
        ("gzip:1", "gzip", "tsv.gz"),
        ("zstd:1", "zstd", "tsv.zst"),
        ("zstd:19", "zstd", "tsv.zst"),
    ] {
        let workspace = Workspace::new();
        let arguments = ["--to", "dir:out", "--compress", codec, "--record-size", "300KB"];
        let summary = workspace.ingest_from(&arguments, &text).ok().summary();
        let paths = files_below(&workspace.path("out"));
        let [path] = &paths[..] else { panic!("one object: {paths:?}") };
        assert!(path.to_string_lossy().ends_with(ending), "{path:?}");
        if let Some(unpacked) = unpacked_by(program, path) {
            assert!(unpacked == text, "{codec}");
        }
        if program == "gzip" {
            java_reads(path, &text);
        }
        let found = read_objects(&[&workspace.path("out")], &reading);
        assert_eq!((found.rows, found.bytes), (wanted.rows, wanted.bytes));
        assert_eq!((found.members, found.members_not_at_line_end), (summary.records, 0));
        assert!(found.largest_window <= 8 << 20);
        assert_eq!(found.sums, wanted.sums, "{codec}");
        assert_eq!(found.column.map(|column| column.sha256).as_ref(), Some(&column.sha256));
        assert_eq!(std::fs::metadata(path).expect("a file").len(), summary.payload_bytes);
    }
}

#[test]
fn objects_are_named_as_firehose_names_them() {
    let workspace = Workspace::new();
    workspace.ingest_from(&["--to", "dir:out", "--encode", "jsonl", "--compress", "zstd"], &log("pixel-4", 10)).ok();
    let paths = all_files_below(&workspace.path("out"));
    let [path] = &paths[..] else { panic!("one object: {paths:?}") };
    let parts: Vec<String> = path
        .strip_prefix(workspace.path("out"))
        .expect("below it")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let [year, month, day, hour, name] = &parts[..] else { panic!("YYYY/MM/dd/HH/name: {parts:?}") };
    assert!([year, month, day, hour].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())));
    assert_eq!([year.len(), month.len(), day.len(), hour.len()], [4, 2, 2, 2]);
    assert!(name.contains(&format!("{year}-{month}-{day}-{hour}-")), "{name}");
    assert!(name.ends_with(".jsonl.zst"));
}
