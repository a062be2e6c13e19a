use std::fs;

use crate::support::*;

/// What a run over these files alone delivers, and what it says of them.
fn alone(workspace: &Workspace, name: &str) -> (Vec<u8>, Vec<String>) {
    let run = workspace.ingest(&[name, "--to", "dir:alone"]);
    let delivered = workspace.delivered("alone");
    let _ = fs::remove_dir_all(workspace.path("alone"));
    (delivered, complaints(&run))
}

fn complaints(run: &Run) -> Vec<String> {
    run.stderr.lines().filter(|line| line.starts_with("pixel-engine: ")).map(str::to_owned).collect()
}

#[test]
fn damaged_files_cost_no_other_a_line() {
    const FILES: u64 = 40;
    let workspace = Workspace::new();
    let (mut expected, mut expected_complaints) = (Vec::new(), Vec::new());
    for number in 0..FILES {
        let text = log_from("realtime-46", 500 * number, 500);
        let mut bytes = gzip(&text);
        match number {
            20 => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x55;
            }
            21 => bytes.truncate(bytes.len() / 3),
            22 => bytes.extend(b"garbage"),
            23 => bytes = gzip(&bytes),
            24 => bytes.clear(),
            _ => {}
        }
        let name = format!("in/{number:02}.gz");
        workspace.write(&name, &bytes);
        let (delivered, complaints) = alone(&workspace, &name);
        assert!((20..24).contains(&number) != complaints.is_empty(), "{name}: {complaints:?}");
        assert!(delivered == text || (20..25).contains(&number), "{name}");
        expected.extend(delivered);
        expected_complaints.extend(complaints);
    }
    let quarantined = workspace.quarantine().len();
    for threads in ["1", "2", "5"] {
        let _ = fs::remove_file(workspace.path("pixel-engine-quarantine.jsonl"));
        let run = workspace.ingest(&["in", "--to", "dir:all", "--threads", threads]).exits(1);
        assert!(workspace.delivered("all") == expected, "{threads} threads");
        assert_eq!(complaints(&run), expected_complaints, "{threads} threads");
        assert_eq!(workspace.quarantine().len(), quarantined);
        fs::remove_dir_all(workspace.path("all")).expect("a folder");
    }
}

#[test]
fn files_of_every_kind_come_in_their_order() {
    let packs = [gzip as Pack, <[u8]>::to_vec, bzip2, xz, zstd];
    let workspace = Workspace::new();
    let mut expected = Vec::new();
    for number in 0..60 {
        // Now and then one that is much longer than those behind it.
        let text = log_from("pixel-4", 20_000 * number, if number % 7 == 0 { 20_000 } else { number });
        workspace.write(&format!("in/{number:02}"), &packs[number as usize % packs.len()](&text));
        expected.extend(text);
    }
    for threads in ["1", "2", "8"] {
        workspace.ingest(&["in", "--to", "dir:all", "--threads", threads]).ok();
        assert!(workspace.delivered("all") == expected, "{threads} threads");
        fs::remove_dir_all(workspace.path("all")).expect("a folder");
    }
    // Standard input in the middle is read at its turn.
    workspace.ingest_from(&["in/00", "-", "in/07", "--to", "dir:all"], &gzip(b"not a line\n")).ok();
    let bad = workspace.quarantine();
    assert_eq!((bad.len(), bad[0].source.as_str()), (1, "stdin"));
    assert!(
        workspace.delivered("all") == [log_from("pixel-4", 0, 20_000), log_from("pixel-4", 140_000, 20_000)].concat()
    );
}

#[test]
fn more_text_than_may_wait_is_read_all_the_same() {
    // Members that are decompressed as a whole, and one that is too long for that: 340 MB of text.
    let text = log("realtime-46", 1_000);
    let (member, long) = (text.repeat(40_000_000 / text.len()), text.repeat(100_000_000 / text.len()));
    let workspace = Workspace::new();
    for (number, text) in [&member, &member, &long, &member, &member, &member, &member].into_iter().enumerate() {
        workspace.write(&format!("in/{number}.gz"), &gzip(text));
    }
    let run = workspace.ingest(&["in", "--to", "null:", "--threads", "3"]).ok();
    let summary = run.summary();
    assert_eq!(summary.bytes_in, (6 * member.len() + long.len()) as u64);
    assert_eq!(summary.lines_shipped, 6 * count_lines(&member) + count_lines(&long));
}
