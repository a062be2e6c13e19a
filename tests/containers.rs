use std::fs;
use std::io::Write;

use crate::support::*;

const MARK: &str = "\u{feff}";

/// Whatever reads a log: as it is, and through each codec.
const PACKS: [(&str, Pack); 5] =
    [("plain", <[u8]>::to_vec), ("gzip", gzip), ("bzip2", bzip2), ("xz", xz), ("zstd", zstd)];

/// The codecs alone.
fn codecs() -> &'static [(&'static str, Pack)] {
    &PACKS[1..]
}

/// Standard logs v2 in JSON.
fn json(first: u64, count: u64) -> Vec<u8> {
    let line = |number| format!("{{\"date\":\"2026-01-05\",\"time\":\"08:00:00\",\"c-ip\":\"192.0.2.{number}\"}}\n");
    (first..first + count).map(line).collect::<String>().into_bytes()
}

/// A format, three files of it, and the lines that they deliver.
type Logs = (&'static str, [Vec<u8>; 3], Vec<u8>);

fn logs() -> [Logs; 3] {
    let of = |format, parts: [Vec<u8>; 3]| {
        let lines = parts.iter().flat_map(|part| without_headers(part)).collect();
        (format, parts, lines)
    };
    [
        of("real-time", [0, 60, 120].map(|first| log_from("realtime-46", first, 60))),
        of("standard", [0, 60, 120].map(|first| log_from("standard", first, 60))),
        of("json", [0, 60, 120].map(|first| json(first, 60))),
    ]
}

/// Ships exactly these lines, and quarantines none.
#[track_caller]
fn delivers(what: &str, bytes: &[u8], wanted: &[u8]) {
    for from_file in [true, false] {
        let workspace = Workspace::new();
        workspace.write("in", bytes);
        let run = if from_file { workspace.ingest(&["in"]) } else { workspace.ingest_from(&[], bytes) };
        let run = run.ok();
        let summary = run.summary();
        assert_eq!(summary.lines_quarantined, 0, "{what}: {}", run.stderr);
        assert_eq!(summary.lines_shipped, count_lines(wanted), "{what}");
        assert!(workspace.delivered(OUT) == wanted, "{what}: other bytes came out");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_log() {
    for (format, parts, wanted) in logs() {
        let marked = parts.map(|part| [MARK.as_bytes(), &part].concat());
        for (pack, with) in PACKS {
            delivers(&format!("{format}, {pack}"), &with(&marked.concat()), &wanted);
            let members: Vec<u8> = marked.iter().flat_map(|part| with(part)).collect();
            delivers(&format!("{format}, {pack}, joined"), &members, &wanted);
        }
        // In front of the first newline there may be more than one, as of a file that was marked
        // twice.
        let twice = [MARK.as_bytes(), b"\r\n", MARK.as_bytes(), &marked.concat()].concat();
        delivers(&format!("{format}, marked twice"), &twice, &wanted);
    }
}

#[test]
fn a_byte_order_mark_ends_a_standard_log_without_a_final_newline() {
    let parts = [log_from("standard", 0, 5), log_from("standard", 5, 5)];
    let joined = [parts[0].trim_ascii_end(), MARK.as_bytes(), &parts[1]].concat();
    delivers("joined", &joined, &parts.map(|part| without_headers(&part)).concat());
}

#[test]
fn headers_may_be_indented_spaced_and_in_any_case() {
    let log = log("standard", 20);
    let text = String::from_utf8(log.clone()).expect("text");
    for (from, to) in [
        ("#Version: ", " \t#Version: "),
        ("#Version: ", "# Version: "),
        ("#Fields: ", "# Fields: "),
        ("#Fields: ", "#fields: "),
        ("#Fields: ", "#FIELDS:\t"),
        ("#Fields: ", "\t # \tfields : "),
    ] {
        let edited = text.replace(from, to);
        assert_ne!(edited, text);
        delivers(to, edited.as_bytes(), &without_headers(&log));
        // Without `#Version:`, the header itself tells the format.
        let fields_alone = edited.lines().filter(|line| !line.contains("ersion: 1.0"));
        let fields_alone: String = fields_alone.flat_map(|line| [line, "\n"]).collect();
        delivers(to, fields_alone.as_bytes(), &without_headers(&log));
    }
}

#[test]
fn places_behind_a_byte_order_mark_stay_right() {
    let lines = log("realtime-46", 2);
    let text = [MARK.as_bytes(), &lines, MARK.as_bytes(), b"bad\nworse\n"].concat();
    let workspace = Workspace::new();
    workspace.write("in.log", &text);
    let run = workspace.ingest(&["in.log"]).ok();
    assert_eq!((run.summary().lines_in, run.summary().lines_quarantined), (4, 2));
    let bad = workspace.quarantine();
    let places: Vec<(u64, u64)> = bad.iter().map(|bad| (bad.line, bad.offset)).collect();
    let offset = (MARK.len() + lines.len()) as u64;
    assert_eq!(places, [(3, offset), (4, offset + 7)]);
    for (bad, wanted) in bad.iter().zip(["\u{feff}bad", "worse"]) {
        assert_eq!(bad.bytes(), wanted.as_bytes(), "kept to the byte");
    }
}

#[test]
fn a_marked_file_that_grows_goes_on_behind_what_was_delivered() {
    for (format, parts, wanted) in logs() {
        for end in ["", "bad\n"] {
            let workspace = Workspace::new();
            workspace.write("in.log", b"");
            let mut lines = 0;
            for part in &parts {
                let grown = [MARK.as_bytes(), part, MARK.as_bytes(), end.as_bytes()].concat();
                let mut file = fs::OpenOptions::new().append(true).open(workspace.path("in.log")).expect("a file");
                // A mark at the end begins the line that comes next.
                file.write_all(&grown).expect("it grows");
                let run = workspace.ingest(&["in.log", "--resume", "checkpoint"]).ok();
                lines += run.summary().lines_shipped;
            }
            assert_eq!(lines, count_lines(&wanted), "{format}");
            assert!(sorted(&workspace.delivered(OUT)) == sorted(&wanted), "{format}");
            let text = fs::read(workspace.path("in.log")).expect("the file");
            for bad in workspace.quarantine() {
                assert!(text[bad.offset as usize..].starts_with(&bad.bytes()));
                assert_eq!(bad.line, 1 + count_lines(&text[..bad.offset as usize]));
            }
            assert_eq!(workspace.quarantine().len(), if end.is_empty() { 0 } else { 3 });
        }
    }
}

fn utf16(text: &[u8], unit: fn(u16) -> [u8; 2], mark: &str) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).expect("text");
    [mark, &text].concat().encode_utf16().flat_map(unit).collect()
}

#[test]
fn utf16_is_read_in_both_orders_with_a_mark_and_without() {
    for (format, [part, ..], _) in logs() {
        for mark in [MARK, ""] {
            for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
                let bytes = utf16(&part, unit, mark);
                for (pack, with) in PACKS {
                    delivers(&format!("{format}, {pack}"), &with(&bytes), &without_headers(&part));
                }
            }
        }
    }
}

#[test]
fn utf16_goes_on_with_a_checkpoint_and_says_where_it_was_cut() {
    let (first, second) = (log("realtime-46", 30), log_from("realtime-46", 30, 30));
    let all = utf16(&[&first[..], &second].concat(), u16::to_le_bytes, MARK);
    let workspace = Workspace::new();
    let ingest = || workspace.ingest(&["in.log", "--resume", "checkpoint"]);
    workspace.write("in.log", &utf16(&first, u16::to_le_bytes, MARK));
    assert_eq!(ingest().ok().summary().lines_shipped, 30);
    workspace.write("in.log", &all);
    assert_eq!(ingest().ok().summary().lines_shipped, 30);
    assert!(sorted(&workspace.delivered(OUT)) == sorted(&[&first[..], &second].concat()));
    let workspace = Workspace::new();
    workspace.write("in.log", &all[..all.len() - 3]);
    let run = workspace.ingest(&["in.log"]).exits(1);
    run.says(&["in.log", "UTF-16", "cut off"]);
    assert_eq!(run.summary().lines_shipped, 59);
}

#[test]
fn bzip2_and_xz_are_read_whatever_their_name_and_number_of_streams() {
    let text = log("realtime-46", 3_000);
    for (codec, pack) in codecs() {
        // Cut anywhere, also in the middle of a line.
        let members: Vec<u8> = text.chunks(33_333).flat_map(pack).collect();
        delivers(codec, &members, &text);
        delivers(codec, &[pack(b""), members, pack(b"")].concat(), &text);
        for cut in [pack(&text).len() - 1, pack(&text).len() / 2] {
            let workspace = Workspace::new();
            workspace.write("in", &pack(&text)[..cut]);
            workspace.ingest(&["in"]).exits(1).says(&["in: reading stopped at byte", codec, "ends in the middle"]);
            assert!(text.starts_with(&workspace.delivered(OUT)));
        }
    }
}

#[test]
fn data_that_wants_too_much_memory_says_so() {
    // A dictionary of 4 GiB in the header of the first block, whose checksum is made to fit.
    let mut large = xz(b"1\t2\t3\t4\n");
    let header = large.get_mut(12..24).expect("a block");
    assert_eq!(header[..4], [2, 0, 0x21, 1], "one filter, LZMA2");
    header[4] = 40;
    let mut crc = flate2::Crc::new();
    crc.update(&header[..8]);
    header[8..].copy_from_slice(&crc.sum().to_le_bytes());
    // A window of 256 MiB, and an empty last block.
    let wide = b"\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00";
    for (codec, bytes) in [("xz", &large[..]), ("zstd", wide)] {
        let workspace = Workspace::new();
        workspace.write("in", bytes);
        workspace.ingest(&["in"]).exits(1).says(&[
            "in: reading stopped",
            codec,
            "more memory than the limit of 128 MiB",
        ]);
    }
}

/// A tar archive with one file.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(124, &format!("{:011o}", content.len()));
    put(257, "ustar\x0000");
    let padding = content.len().next_multiple_of(512) - content.len();
    [&header[..], content, &vec![0; padding + 1_024]].concat()
}

#[test]
fn what_is_not_read_is_named_and_nothing_of_it_is_quarantined() {
    let text = log("realtime-46", 50);
    let cases: [(&str, Vec<u8>); 16] = [
        ("a zip archive", [&b"PK\x03\x04\x14\0\0\0\x08\0"[..], &text].concat()),
        ("a zip archive", [&b"PK\x03\x04\x0a\0\0\0\0\0"[..], &text].concat()),
        ("a zip archive", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        ("a Parquet file", [&b"PAR1\x15\x04"[..], &text, b"PAR1"].concat()),
        ("a tar archive", tar("logs/a.log", &text)),
        ("a tar archive", tar(&"long/".repeat(20), &text)),
        ("LZ4 data", [&b"\x04\x22\x4d\x18\x64\x40"[..], &text].concat()),
        ("LZ4 data", [&b"\x02\x21\x4c\x18"[..], &text].concat()),
        ("Snappy data", [&b"\xff\x06\0\0sNaPpY"[..], &text].concat()),
        ("a 7-Zip archive", b"7z\xbc\xaf\x27\x1c\0\x04".to_vec()),
        ("lzip data", b"LZIP\x01\x0c".to_vec()),
        ("lzma data", b"\x5d\0\0\x80\0\xff\xff\xff".to_vec()),
        ("compress (.Z) data", b"\x1f\x9d\x90\n\n\n".to_vec()),
        ("an Avro file", b"Obj\x01\x04\x14avro.codec".to_vec()),
        ("UTF-32", text.iter().flat_map(|byte| [*byte, 0, 0, 0]).collect()),
        ("UTF-32", b"\xff\xfe\0\0#\0\0\0".to_vec()),
    ];
    let inside = cases.iter().flat_map(|(name, bytes)| {
        codecs().iter().map(move |(codec, pack)| (format!("{name} within {codec} data"), pack(bytes)))
    });
    let twice = codecs().iter().flat_map(|(outer, pack)| {
        let inner = codecs().iter().map(|(inner, inner_pack)| (inner, pack(&inner_pack(b"1\t2\t3\t4\n"))));
        inner.map(move |(inner, bytes)| (format!("{inner} data within {outer} data"), bytes))
    });
    let plain = cases.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
    for (name, bytes) in plain.chain(inside).chain(twice) {
        let workspace = Workspace::new();
        workspace.write("in.log", &bytes);
        workspace.write("other.log", &text);
        let run = workspace.ingest(&["in.log", "other.log"]).exits(1);
        run.says(&["in.log: this is", &name, "not read"]);
        assert_eq!(run.stderr.matches("in.log").count(), 1, "one message: {}", run.stderr);
        assert!(workspace.quarantine().is_empty(), "{name}");
        assert!(workspace.delivered(OUT) == text, "{name}");
        workspace.ingest_from(&[], &bytes).exits(1).says(&["stdin: this is", &name]);
        assert!(workspace.quarantine().is_empty(), "{name}");
    }
    let workspace = Workspace::new();
    workspace.write("in.tgz", &gzip(&tar("a.log", &text)));
    for command in [&["plan", "in.tgz", "--rate", "1/s"][..], &["decode", "in.tgz"]] {
        let run = run(&mut workspace.command(command), b"").exits(1);
        run.says(&["in.tgz: this is a tar archive within gzip data, which is not read: unpack it"]);
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn plan_and_decode_read_what_ingest_reads() {
    let text = [MARK.as_bytes(), &log("standard", 200)].concat();
    let workspace = Workspace::new();
    let records = [MARK.as_bytes(), b"{\"Data\":\"MQkyCg==\"}\n"].concat();
    for (pack, with) in PACKS {
        for (marked, records) in [
            (text.clone(), records.clone()),
            (utf16(&text, u16::to_le_bytes, ""), utf16(&records, u16::to_be_bytes, "")),
        ] {
            workspace.write("sample", &with(&marked));
            let plan = run(&mut workspace.command(&["plan", "sample", "--rate", "1/s", "--json"]), b"").ok();
            let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).expect("a plan is JSON");
            let sample = &plan["workload"]["origin"]["sample"];
            assert_eq!((&sample["lines"], &sample["bad_lines"]), (&200.into(), &0.into()), "{pack}");
            assert_eq!(workspace.decode(&with(&records)).ok().stdout, b"1\t2\n", "{pack}");
        }
    }
}

/// What may stand behind the last member, whether it counts as padding for each of [`codecs`], and
/// what it is called.
const BEHIND: [(&[u8], [bool; 4], &str); 6] = [
    (&[0; 512], [true, true, true, false], "\\x00"),
    (&[0; 3], [true, true, false, false], "\\x00"),
    (b"\n", [false; 4], "\"\\n\""),
    (b"garbage", [false; 4], "\"garbage\""),
    (b"\0\0\0\0\n", [false; 4], "\\n"),
    (b"PK\x03\x04\x14\0", [false; 4], "a zip archive"),
];

#[test]
fn what_stands_behind_the_last_member_is_named_once_and_costs_nothing() {
    // A last line without a newline is whole, as the member is.
    for end in ["", "\n"] {
        let text = log("realtime-46", 100);
        let mut cut = text.trim_ascii_end().to_vec();
        cut.extend_from_slice(end.as_bytes());
        for (number, (codec, pack)) in codecs().iter().enumerate() {
            for (behind, is_padding, called) in BEHIND {
                let packed = pack(&cut);
                let workspace = Workspace::new();
                workspace.write("in", &[&packed, behind].concat());
                let ingest = || workspace.ingest(&["in", "--resume", "checkpoint"]);
                let run = ingest();
                assert!(workspace.delivered(OUT) == text, "{codec} {called}");
                assert!(workspace.quarantine().is_empty(), "{codec} {called}");
                if is_padding[number] {
                    run.ok();
                } else {
                    let run = run.exits(1);
                    let stopped =
                        format!("in: reading stopped at byte {}: all of the {codec} data was read", cut.len());
                    let is_zero = behind.iter().all(|byte| *byte == 0);
                    let called = if is_zero && *codec == "xz" { "no multiple of four" } else { called };
                    let called = if behind[0] == 0 && *codec == "zstd" { "\\x00" } else { called };
                    run.says(&[&stopped, called]);
                    let (_, rest) = run.stderr.split_once("what follows it, at byte ").expect("a byte");
                    let at: usize = rest.split(' ').next().and_then(|digits| digits.parse().ok()).expect("a number");
                    assert!((packed.len()..=packed.len() + 4).contains(&at), "{codec} {called}: {at}");
                }
                // It was said once, and nothing is left to do.
                let again = ingest().ok();
                again.says(&["1 of 1 inputs were delivered before"]);
                assert_eq!(again.summary().lines_in, 0);
                // What is repaired later goes on.
                if end == "\n" {
                    workspace.write("in", &[&packed[..], &pack(&log_from("realtime-46", 100, 40))].concat());
                    let repaired = ingest().ok();
                    assert_eq!(repaired.summary().lines_shipped, 40, "{codec} {called}: {}", repaired.stderr);
                }
            }
        }
    }
}
