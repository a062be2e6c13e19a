use std::process::Command;

use pixel_engine::log::schema::PRESETS;

use crate::support::*;

/// Ingests with `arguments` and expects exactly `wanted` in the objects, and nothing in the
/// quarantine.
#[track_caller]
fn delivers(workspace: &Workspace, arguments: &[&str], stdin: &[u8], wanted: &[u8]) -> Summary {
    let run = workspace.ingest_from(arguments, stdin).ok();
    let summary = run.summary();
    let delivered = workspace.delivered(OUT);
    assert_eq!(count_lines(&delivered), count_lines(wanted), "{}", run.stderr);
    assert!(delivered == wanted, "{arguments:?}: other bytes came out");
    assert_eq!(summary.lines_in, count_lines(wanted));
    assert_eq!(summary.lines_shipped, summary.lines_in);
    assert!(workspace.quarantine().is_empty());
    summary
}

/// A standard log with these header lines.
fn standard(headers: &str, first: u64, count: u64) -> Vec<u8> {
    let body = without_headers(&log_from("standard", first, count));
    [headers.as_bytes(), &body].concat()
}

fn fields_header(separator: &str) -> String {
    format!("#Fields:{separator}{}\n", pixel_engine_bench_data::STANDARD_FIELDS.replace(' ', separator))
}

#[test]
fn every_preset_is_known_by_its_column_count() {
    for preset in PRESETS {
        let text = log(preset.name, 300);
        delivers(&Workspace::new(), &[], &text, &text);
        // And it is accepted alone.
        delivers(&Workspace::new(), &["--format", "realtime", "--fields", preset.name], &text, &text);
    }
}

#[test]
fn lines_of_several_schemas_may_come_in_one_stream() {
    let texts: Vec<Vec<u8>> = PRESETS.iter().map(|preset| log(preset.name, 200)).collect();
    let mut readers: Vec<_> = texts.iter().map(|text| lines(text)).collect();
    let mut mixed = Vec::new();
    for _ in 0..200 {
        readers.iter_mut().for_each(|reader| mixed.extend_from_slice(reader.next().expect("200 lines")));
    }
    delivers(&Workspace::new(), &[], &mixed, &mixed);

    // Of the two schemas that are named, lines of a third are bad.
    let workspace = Workspace::new();
    let run = workspace.ingest_from(&["--fields", "pixel-4", "--fields", "realtime-46"], &mixed).ok();
    let summary = run.summary();
    assert_eq!(summary.lines_shipped, 400);
    assert_eq!(summary.lines_quarantined, 200 * (PRESETS.len() as u64 - 2));
    assert!(workspace.quarantine().iter().all(|bad| bad.reason.contains("accepted: 4, 46")));
}

#[test]
fn fields_may_come_from_a_list_or_a_file() {
    let text = b"1.5\t192.0.2.1\tnew\n2.5\t-\tnewer\n";
    for list in ["timestamp,c-ip,+x-new", "timestamp c_ip +x-new"] {
        delivers(&Workspace::new(), &["--fields", list], text, text);
    }
    let workspace = Workspace::new();
    workspace.write("fields.txt", b"timestamp\nc-ip\n+x-new\n");
    delivers(&workspace, &["--fields", "@fields.txt"], text, text);
}

#[test]
fn standard_headers_are_split_by_spaces_or_tabs() {
    let body = standard("", 0, 500);
    for separator in [" ", "\t"] {
        let text = [b"#Version: 1.0\n", fields_header(separator).as_bytes(), &body].concat();
        let summary = delivers(&Workspace::new(), &[], &text, &body);
        assert_eq!(summary.lines_header, 2);
        // Standard logs v2 in w3c format have no version line.
        let text = [fields_header(separator).as_bytes(), &body].concat();
        assert_eq!(delivers(&Workspace::new(), &["--format", "standard"], &text, &body).lines_header, 1);
    }
}

#[test]
fn a_standard_log_without_a_header_needs_its_fields_named() {
    let body = standard("", 0, 100);
    let fields = pixel_engine_bench_data::STANDARD_FIELDS;
    delivers(&Workspace::new(), &["--format", "standard", "--fields", fields], &body, &body);
    let run = Workspace::new().ingest_from(&["--format", "standard"], &body).exits(4);
    assert_eq!(run.summary().lines_quarantined, 100);
}

#[test]
fn each_header_holds_for_the_lines_after_it() {
    let workspace = Workspace::new();
    let first = b"#Version: 1.0\n#Fields: date time c-ip\n2026-01-05\t08:00:00\t192.0.2.1\n";
    let second = b"#Version: 1.0\n#Fields: c-ip x-new time date\n192.0.2.2\ta\t08:00:01\t2026-01-05\n";
    let text = [&first[..], second].concat();
    let run = workspace.ingest_from(&["--select", "c-ip,date,+x-new", "--encode", "jsonl"], &text).ok();
    assert_eq!(run.summary().lines_header, 4);
    assert_eq!(
        String::from_utf8(workspace.delivered(OUT)).expect("UTF-8"),
        "{\"c_ip\":\"192.0.2.1\",\"date\":\"2026-01-05\"}\n\
         {\"c_ip\":\"192.0.2.2\",\"date\":\"2026-01-05\",\"x_new\":\"a\"}\n"
    );
}

#[test]
fn cat_of_files_without_a_final_newline_loses_no_line() {
    // More than a block, so that the joint may be anywhere in one.
    let mut text = Vec::new();
    let mut wanted = Vec::new();
    for part in 0..40 {
        let mut file = [&b"#Version: 1.0\n"[..], &standard(&fields_header(" "), part * 97, 97)].concat();
        wanted.extend(without_headers(&file));
        file.pop();
        text.extend(file);
    }
    let summary = delivers(&Workspace::new(), &[], &text, &wanted);
    assert_eq!((summary.lines_header, summary.bytes_in), (80, text.len() as u64));
}

#[test]
fn standard_logs_in_json_are_read() {
    let text = log("standard-json", 500);
    let workspace = Workspace::new();
    delivers(&workspace, &["--format", "json"], &text, &text);
    workspace.objects(OUT).iter().for_each(|object| assert!(object.path.to_string_lossy().ends_with(".jsonl")));
    delivers(&Workspace::new(), &[], &text, &text);
    let workspace = Workspace::new();
    workspace.write("in.gz", &gzip(&text));
    delivers(&workspace, &["in.gz"], b"", &text);
    workspace.objects(OUT).iter().for_each(|object| assert!(object.path.to_string_lossy().ends_with(".jsonl")));

    let workspace = Workspace::new();
    workspace.ingest_from(&["--select", "x-edge-request-id"], &text).ok();
    let mut seen = Seen::new(500);
    seen.ids_in(&workspace.delivered(OUT));
    seen.all();
}

#[test]
fn a_missing_final_newline_is_added() {
    for shape in ["pixel-4", "realtime-46", "standard", "standard-json"] {
        let text = log(shape, 50);
        delivers(&Workspace::new(), &[], &text[..text.len() - 1], &without_headers(&text));
    }
}

#[test]
fn carriage_returns_and_empty_lines_are_no_part_of_a_line() {
    for shape in ["pixel-4", "realtime-46", "standard", "standard-json"] {
        let text = log(shape, 50);
        let dos: Vec<u8> = lines(&text).flat_map(|line| [&line[..line.len() - 1], b"\r\n\r\n\n"].concat()).collect();
        let wanted = without_headers(&text);
        let summary = delivers(&Workspace::new(), &[], &dos, &wanted);
        assert_eq!(summary.lines_empty, 2 * count_lines(&text));
        // The last column is read without it.
        let unix = Workspace::new();
        unix.ingest_from(&["--encode", "jsonl"], &text).ok();
        let other = Workspace::new();
        other.ingest_from(&["--encode", "jsonl"], &dos).ok();
        assert!(unix.delivered(OUT) == other.delivered(OUT), "{shape}");
    }
}

#[test]
fn gzip_of_many_members_is_read_to_its_end() {
    let text = log("realtime-46", 3_000);
    // Cut anywhere, also in the middle of a line.
    let members: Vec<u8> = text.chunks(33_333).flat_map(gzip).collect();
    delivers(&Workspace::new(), &[], &members, &text);
    let with_empty_members = [gzip(b""), members, gzip(b"")].concat();
    delivers(&Workspace::new(), &[], &with_empty_members, &text);
}

#[test]
fn zstd_of_many_frames_is_read_to_its_end() {
    let text = log("realtime-46", 3_000);
    let frames: Vec<u8> = text.chunks(33_333).flat_map(zstd).collect();
    delivers(&Workspace::new(), &[], &frames, &text);
    // `pzstd` begins with a skippable frame, and has one before each other frame.
    let skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00size";
    let with_skippable: Vec<u8> = text.chunks(33_333).flat_map(|part| [&skippable[..], &zstd(part)].concat()).collect();
    delivers(&Workspace::new(), &[], &with_skippable, &text);
}

#[test]
fn compression_goes_by_content_and_not_by_name() {
    let text = log("realtime-45", 400);
    for (name, bytes) in [
        ("plain.gz", text.clone()),
        ("gzip.zst", gzip(&text)),
        ("zstd.log", zstd(&text)),
        ("zstd.gz", zstd(&text)),
        ("no-ending", gzip(&text)),
        ("log.json", text.clone()),
    ] {
        let workspace = Workspace::new();
        workspace.write(name, &bytes);
        delivers(&workspace, &[name], b"", &text);
    }
}

#[test]
fn folders_globs_files_and_stdin_are_read_in_order() {
    let workspace = Workspace::new();
    let parts: Vec<Vec<u8>> = (0..6).map(|part| log_from("realtime-46", part * 100, 100)).collect();
    workspace.write("logs/a/1.log", &parts[0]);
    workspace.write("logs/a/2.gz", &gzip(&parts[1]));
    workspace.write("logs/b/c/3.zst", &zstd(&parts[2]));
    workspace.write("logs/.hidden", b"not a log\n");
    workspace.write("more/x-1.log", &parts[3]);
    workspace.write("more/x-2.log", &parts[4]);
    workspace.write("more/y.log", b"not taken\n");
    let wanted = parts.concat();
    let arguments = ["logs", "more/x-*.log", "-"];
    let summary = delivers(&workspace, &arguments, &parts[5], &wanted);
    assert_eq!(summary.bytes_in, wanted.len() as u64);
}

#[test]
fn a_glob_may_match_folders_and_a_name_may_look_like_a_glob() {
    let workspace = Workspace::new();
    let (first, second) = (log_from("pixel-4", 0, 10), log_from("pixel-4", 10, 10));
    workspace.write("2026-01/a.log", &first);
    workspace.write("2026-02/a[1].log", &second);
    delivers(&workspace, &["2026-*"], b"", &[first, second.clone()].concat());
    let workspace = Workspace::new();
    workspace.write("a[1].log", &second);
    delivers(&workspace, &["a[1].log"], b"", &second);
}

#[test]
fn files_of_different_formats_may_be_read_together() {
    let workspace = Workspace::new();
    workspace.write("1.log", &log_from("realtime-46", 0, 100));
    workspace.write("2.log", &log_from("standard", 100, 100));
    workspace.write("3.log", &log_from("standard-json", 200, 100));
    let run = workspace.ingest(&["1.log", "2.log", "3.log", "--encode", "jsonl"]).ok();
    assert_eq!(run.summary().lines_header, 2);
    let mut seen = Seen::new(300);
    seen.ids_in(&workspace.delivered(OUT));
    seen.all();
}

#[test]
fn a_pipe_that_has_a_name_is_read_from_its_first_byte() {
    let workspace = Workspace::new();
    let text = log("realtime-46", 1_000);
    // As `<(zcat a.gz)` and `/dev/stdin` do: what is read of it once cannot be read again.
    for bytes in [text.clone(), gzip(&text), zstd(&text)] {
        let workspace = Workspace::new();
        delivers(&workspace, &["/dev/stdin"], &bytes, &text);
    }
    let fifo = workspace.path("fifo");
    if !Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()) {
        return skipped("a named pipe: there is no mkfifo");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&fifo, &text).expect("the reader stays"));
        delivers(&workspace, &["fifo"], b"", &text);
    });
}

#[test]
fn real_lines_are_read_in_every_way() {
    // The last line of standard-33.log was edited by hand, and has a tab after its last column.
    for (name, columns, headers, bad) in
        [("realtime-40.tsv", 40, 0, 0), ("standard-33.log", 33, 2, 1), ("standard-24.log", 24, 2, 0)]
    {
        let Some(path) = fixture(name) else { continue };
        let path = path.to_str().expect("UTF-8");
        let text = std::fs::read(path).expect("it was there");
        let (mut wanted, mut kept) = (Vec::new(), Vec::new());
        for line in lines(&text).filter(|line| !line.starts_with(b"#")) {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            match line.split(|&byte| byte == b'\t').count() {
                count if count == columns => wanted.extend([line, b"\n"].concat()),
                _ => kept.push(line.to_vec()),
            }
        }
        assert_eq!(kept.len(), bad, "{name}");
        for arguments in [&[][..], &["--encode", "jsonl"], &["--container", "kpl"], &["--compress", "zstd"]] {
            let workspace = Workspace::new();
            let summary = workspace.ingest(&[&[path], arguments].concat()).ok().summary();
            assert_eq!(summary.lines_shipped, count_lines(&wanted), "{name} {arguments:?}");
            assert_eq!((summary.lines_header, summary.lines_quarantined), (headers, bad as u64), "{name}");
            assert!(workspace.quarantine().iter().map(BadLine::bytes).eq(kept.iter().cloned()), "{name}");
            if arguments.is_empty() {
                assert!(workspace.delivered(OUT) == wanted, "{name}");
            }
        }
    }
}

#[test]
fn a_real_hit_has_its_parameters_decoded_twice() {
    let Some(path) = fixture("realtime-40.tsv") else { return };
    let workspace = Workspace::new();
    workspace.ingest(&[path.to_str().expect("UTF-8"), "--encode", "jsonl"]).ok();
    let line: serde_json::Value = serde_json::from_slice(&workspace.delivered(OUT)).expect("one object");
    assert_eq!(line["timestamp"].to_string(), "1607374321.541");
    let url = line["query"]["url"].as_str().expect("a parameter of the hit");
    assert!(url.starts_with("http://localhost"), "{url}");
}
