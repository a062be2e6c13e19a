use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use pixel_engine_bench_data::request_id;
use serde::Deserialize;

use crate::support::*;

const CHECKPOINT: &str = "checkpoint";

/// What the checkpoint says of an input.
#[derive(Debug, Deserialize)]
struct Entry {
    path: String,
    size: u64,
    offset: u64,
    lines: u64,
    done: bool,
}

fn checkpoint(workspace: &Workspace) -> Vec<Entry> {
    let text = fs::read_to_string(workspace.path(CHECKPOINT)).unwrap_or_default();
    text.lines().skip(1).map(|line| serde_json::from_str(line).expect("an entry")).collect()
}

fn append(workspace: &Workspace, name: &str, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(workspace.path(name)).expect("a file");
    file.write_all(bytes).expect("it grows");
}

/// Where the line of each id begins in the text.
fn offsets(text: &[u8], count: u64) -> Vec<u64> {
    let mut offsets = vec![u64::MAX; count as usize];
    let mut offset = 0;
    for line in lines(text) {
        if let Some(id) = id_in(line) {
            let (_, number) = request_id::decode(id).expect("an id");
            offsets[number as usize] = offset;
        }
        offset += line.len() as u64;
    }
    assert!(offsets.iter().all(|&offset| offset != u64::MAX));
    offsets
}

/// Which ids came, over several runs, held against what the checkpoint says between them.
struct Campaign {
    offsets: Vec<u64>,
    came: Vec<u32>,
    safe: u64,
}

impl Campaign {
    fn new(text: &[u8], count: u64) -> Campaign {
        Campaign { offsets: offsets(text, count), came: vec![0; count as usize], safe: 0 }
    }

    /// Takes what a run delivered: nothing below the checkpoint that it began at, and all below the
    /// one that it left.
    #[track_caller]
    fn delivered(&mut self, text: &[u8], left_at: u64) {
        for line in lines(text) {
            let id = id_in(line).unwrap_or_else(|| panic!("no id in {}", String::from_utf8_lossy(line)));
            let (_, number) = request_id::decode(id).expect("an id");
            let offset = self.offsets[number as usize];
            assert!(offset >= self.safe, "line {number} at byte {offset} was acknowledged: {} were", self.safe);
            self.came[number as usize] += 1;
        }
        assert!(left_at >= self.safe, "from {} back to {left_at}", self.safe);
        self.safe = left_at;
        let missing = self.offsets.iter().zip(&self.came).position(|(&offset, &came)| offset < left_at && came == 0);
        assert_eq!(missing, None, "acknowledged and not delivered");
    }

    #[track_caller]
    fn every_line_came(&self, times: std::ops::RangeInclusive<u32>) {
        let wrong = self.came.iter().position(|came| !times.contains(came));
        assert_eq!(wrong, None, "{} times", wrong.map_or(0, |wrong| self.came[wrong]));
    }
}

/// Reads so many bytes of what the child writes, waits until the checkpoint has `moved`, sends the
/// signal, and reads the rest.
fn stopped_after(child: &mut Child, bytes: usize, moved: impl Fn() -> bool, with: &str) -> Vec<u8> {
    let mut stdout = child.stdout.take().expect("piped");
    let mut output = vec![0; bytes];
    let mut len = 0;
    while len < bytes {
        match stdout.read(&mut output[len..]).expect("a pipe") {
            0 => break,
            count => len += count,
        }
    }
    output.truncate(len);
    // Nobody reads now, so the run stands still, and the checkpoint catches up with it.
    let begun = Instant::now();
    while len == bytes && !moved() && begun.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(20));
    }
    signal(child, with);
    stdout.read_to_end(&mut output).expect("a pipe");
    // A request that was cut by the signal was not made.
    let end = output.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    output.truncate(end);
    output
}

/// The lines in the requests.
fn shipped(workspace: &Workspace, output: &[u8], arguments: &[&str]) -> Vec<u8> {
    if arguments.contains(&"kpl") {
        return workspace.decode(output).ok().stdout;
    }
    records(output).into_iter().flat_map(|entry| entry.data).collect()
}

/// Ships a file in runs that are stopped by the signal; `text` is what is in it, with ids from 0 to
/// `count`.
#[track_caller]
fn survives(with: &str, text: &[u8], count: u64, file: &[u8], arguments: &[&str]) {
    const RUNS: usize = 4;
    // More than a request, which has up to 5 MiB before base64.
    const BYTES: usize = 8_000_000;
    let workspace = Workspace::new();
    workspace.write("in.log", file);
    let mut campaign = Campaign::new(text, count);
    let all = [&["in.log", "--resume", CHECKPOINT, "--to", "stdout:", "--threads", "1"], arguments].concat();
    for run in 0..RUNS {
        let mut child = workspace.ingest_command(&all).spawn().expect("it starts");
        let moved = || checkpoint(&workspace).first().is_some_and(|entry| entry.offset > campaign.safe);
        let output = stopped_after(&mut child, BYTES, moved, with);
        let ended = workspace.wait(child);
        let [entry] = &checkpoint(&workspace)[..] else { panic!("one input") };
        campaign.delivered(&shipped(&workspace, &output, arguments), entry.offset);
        if run == 0 {
            assert!(0 < entry.offset && entry.offset < text.len() as u64, "{entry:?}");
        }
        if with == "TERM" && ended.code == Some(130) && !entry.done {
            ended.says(&["stopped in in.log", &format!("byte {} ", entry.offset), "the same command goes on there"]);
        }
        assert_eq!(entry.lines, text[..entry.offset as usize].iter().filter(|&&byte| byte == b'\n').count() as u64);
    }
    let last = workspace.ingest(&all).ok();
    campaign.delivered(&shipped(&workspace, &last.stdout, arguments), text.len() as u64);
    // A run that is asked to stop finishes what is in flight.
    campaign.every_line_came(if with == "TERM" { 1..=1 } else { 1..=u32::MAX });
    assert!(checkpoint(&workspace)[0].done);
    assert!(workspace.quarantine().is_empty());
    let again = workspace.ingest(&all).ok();
    again.says(&["1 of 1 inputs were delivered before"]);
    assert_eq!((again.summary().lines_in, again.stdout.len()), (0, 0));
}

#[test]
fn a_plain_file_survives_being_killed() {
    let text = log("realtime-46", 30_000);
    survives("KILL", &text, 30_000, &text, &[]);
    survives("KILL", &text, 30_000, &text, &["--container", "kpl"]);
}

#[test]
fn a_plain_file_survives_being_stopped() {
    let text = log("realtime-46", 30_000);
    survives("TERM", &text, 30_000, &text, &[]);
    survives("TERM", &text, 30_000, &text, &["--container", "kpl", "--encode", "jsonl"]);
}

#[test]
fn json_lines_survive_both() {
    let text = log("standard-json", 20_000);
    survives("KILL", &text, 20_000, &text, &[]);
    survives("TERM", &text, 20_000, &text, &[]);
}

#[test]
fn compressed_files_survive_both() {
    let text = log("realtime-46", 30_000);
    survives("KILL", &text, 30_000, &gzip(&text), &[]);
    // More than one frame, and more than one member.
    let (first, second) = text.split_at(text.len() / 3);
    survives("TERM", &text, 30_000, &[zstd(first), zstd(second)].concat(), &[]);
    survives("KILL", &text, 30_000, &[zstd(first), zstd(second)].concat(), &["--container", "kpl"]);
    survives("TERM", &text, 30_000, &[gzip(first), gzip(second)].concat(), &[]);
}

/// Ships a folder of small files in runs that are stopped by the signal.
#[track_caller]
fn folder_survives(with: &str) {
    const FILES: u64 = 16;
    const LINES: u64 = 4_000;
    let workspace = Workspace::new();
    for number in 0..FILES {
        // A file that is stored is 3 MB long, and others a fifth of that.
        let text = log_from("realtime-46", number * LINES, LINES);
        let pack = [gzip as fn(&[u8]) -> Vec<u8>, <[u8]>::to_vec, zstd][number as usize % 5 % 3];
        workspace.write(&format!("in/{number:02}"), &pack(&text));
    }
    let all = ["in", "--resume", CHECKPOINT, "--to", "stdout:", "--threads", "2"];
    let mut came = vec![0; (FILES * LINES) as usize];
    let mut note = |output: &[u8]| {
        let text = shipped(&workspace, output, &[]);
        let ids: Vec<usize> =
            lines(&text).map(|line| number_of(id_in(line).expect("an id")).expect("one of ours") as usize).collect();
        // In a run, lines come in the order of the files.
        assert!(ids.is_sorted(), "{with}");
        ids.into_iter().for_each(|id| came[id] += 1);
    };
    let mut stopped = 0;
    for _ in 0..4 {
        let before: u64 = checkpoint(&workspace).iter().map(|entry| entry.offset).sum();
        let moved = || checkpoint(&workspace).iter().map(|entry| entry.offset).sum::<u64>() > before;
        let mut child = workspace.ingest_command(&all).spawn().expect("it starts");
        let output = stopped_after(&mut child, 8_000_000, moved, with);
        stopped += usize::from(workspace.wait(child).code != Some(0));
        note(&output);
    }
    assert!(stopped > 1, "most runs ended before their signal");
    note(&workspace.ingest(&all).ok().stdout);
    let times = if with == "TERM" { 1..=1 } else { 1..=5 };
    let wrong = came.iter().position(|came| !times.contains(came));
    assert_eq!(wrong, None, "{with}: {} times", wrong.map_or(0, |wrong| came[wrong]));
    let again = workspace.ingest(&all).ok();
    again.says(&["16 of 16 inputs were delivered before"]);
    assert_eq!(again.summary().lines_in, 0);
}

#[test]
fn folders_of_compressed_files_survive_both() {
    folder_survives("KILL");
    folder_survives("TERM");
}

/// Standard logs whose columns change their order again and again, each part with its own header.
fn changing_headers(count: u64, final_newlines: bool) -> Vec<u8> {
    const PART: u64 = 700;
    let mut text = Vec::new();
    for first in (0..count).step_by(PART as usize) {
        let log = log_from("standard", first, PART.min(count - first));
        let mut columns: Vec<usize> = (0..33).collect();
        columns.rotate_left((first / PART % 5) as usize);
        for line in lines(&log) {
            let line = line.strip_suffix(b"\n").expect("a line");
            if line.starts_with(b"#Fields:") {
                let names: Vec<&[u8]> = line.split(|byte| b" \t".contains(byte)).skip(1).collect();
                text.extend_from_slice(b"#Fields:");
                columns.iter().for_each(|&column| text.extend([b" ", names[column]].concat()));
            } else if line.starts_with(b"#") {
                text.extend_from_slice(line);
            } else {
                let values: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
                let values: Vec<&[u8]> = columns.iter().map(|&column| values[column]).collect();
                text.extend(values.join(&b'\t'));
            }
            text.push(b'\n');
        }
        if !final_newlines {
            // As `cat` joins files that end without one.
            text.pop();
        }
    }
    text
}

#[test]
fn standard_logs_go_on_under_the_header_that_holds() {
    // Under another header the date and the time would be in other columns, and the lines bad.
    let text = changing_headers(40_000, true);
    survives("KILL", &text, 40_000, &text, &[]);
    let text = changing_headers(40_000, false);
    survives("TERM", &text, 40_000, &text, &[]);
    survives("KILL", &text, 40_000, &gzip(&text), &[]);
}

#[test]
fn objects_survive_both() {
    const COUNT: u64 = 36_000;
    let text = log("realtime-46", COUNT);
    let workspace = Workspace::new();
    workspace.write("in.log", &text);
    // Compressed hard and by one thread, so that it is not done before the signal.
    let all = ["in.log", "--resume", CHECKPOINT, "--compress", "zstd:19", "--record-size", "50000", "--threads", "1"];
    let mut stopped = 0;
    for with in ["KILL", "TERM", "KILL", "TERM"] {
        let before = checkpoint(&workspace).first().map_or(0, |entry| entry.offset);
        let child = workspace.ingest_command(&all).spawn().expect("it starts");
        let begun = Instant::now();
        // Once the input is known, signals are listened to.
        while checkpoint(&workspace).is_empty() && begun.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(400));
        signal(&child, with);
        let code = workspace.wait(child).code;
        stopped += usize::from(code == Some(130));
        // An object that was not complete when the run was killed is not there, and its lines are
        // not acknowledged.
        if with == "KILL" {
            assert_eq!(checkpoint(&workspace)[0].offset, before);
        }
        let mut seen = Seen::new(COUNT);
        workspace.objects(OUT).iter().for_each(|object| seen.ids_in(&object.bytes));
        assert_eq!(seen.count() as u64, checkpoint(&workspace)[0].lines);
    }
    assert!(stopped > 0, "every run ended before its signal");
    workspace.ingest(&all).ok();
    let mut seen = Seen::new(COUNT);
    workspace.objects(OUT).iter().for_each(|object| seen.ids_in(&object.bytes));
    seen.all();
}

/// Runs to the end and returns what was delivered, and the run.
fn run_on(workspace: &Workspace, inputs: &[&str]) -> (Vec<u8>, Run) {
    let run = workspace.ingest(&[inputs, &["--resume", CHECKPOINT, "--to", "stdout:"]].concat()).ok();
    (shipped(workspace, &run.stdout, &[]), run)
}

#[test]
fn a_file_that_has_grown_ships_what_is_new() {
    let text = log("realtime-46", 300);
    let (first, second) = text.split_at(text.len() / 2);
    let end = first.iter().rposition(|&byte| byte == b'\n').expect("a line") + 1;
    for packed in [None, Some(gzip as fn(&[u8]) -> Vec<u8>), Some(zstd)] {
        let pack = |bytes: &[u8]| packed.map_or(bytes.to_vec(), |pack| pack(bytes));
        let workspace = Workspace::new();
        workspace.write("in.log", &pack(&text[..end]));
        assert!(run_on(&workspace, &["in.log"]).0 == text[..end]);
        append(&workspace, "in.log", &pack(&[&first[end..], second].concat()));
        let (delivered, run) = run_on(&workspace, &["in.log"]);
        assert!(delivered == text[end..]);
        run.says(&["resuming in.log at byte", &end.to_string()]);
        assert_eq!(run.summary().bytes_in, (text.len() - end) as u64, "only what this run read is counted");
        assert!(run_on(&workspace, &["in.log"]).0.is_empty());
    }
}

#[test]
fn a_small_file_that_grows_line_by_line_ships_each_once() {
    for shape in ["pixel-4", "standard", "standard-json"] {
        let text = log(shape, 40);
        let workspace = Workspace::new();
        workspace.write("in.log", b"");
        let mut delivered = Vec::new();
        for line in lines(&text) {
            append(&workspace, "in.log", line);
            delivered.extend(run_on(&workspace, &["in.log"]).0);
        }
        assert!(delivered == without_headers(&text), "{shape}");
    }
}

#[test]
fn a_last_line_without_a_newline_is_shipped_and_again_once_it_has_grown() {
    let text = log("realtime-46", 20);
    let start = text[..text.len() - 1].iter().rposition(|&byte| byte == b'\n').expect("a line") + 1;
    for cut in [1, 400] {
        let workspace = Workspace::new();
        workspace.write("in.log", &text[..text.len() - cut]);
        let (delivered, _) = run_on(&workspace, &["in.log"]);
        // A line that lacks its newline alone is as good as whole; a piece of one is bad, and kept.
        assert!(delivered == text[..if cut == 1 { text.len() } else { start }]);
        assert_eq!(workspace.quarantine().len(), usize::from(cut > 1));
        let (delivered, run) = run_on(&workspace, &["in.log"]);
        assert!(delivered.is_empty() && run.summary().lines_in == 0, "unchanged is done");
        append(&workspace, "in.log", &[&text[text.len() - cut..], &log_from("realtime-46", 20, 5)].concat());
        let (delivered, _) = run_on(&workspace, &["in.log"]);
        assert!(delivered == [&text[start..], &log_from("realtime-46", 20, 5)].concat());
    }
}

#[test]
fn a_file_written_anew_in_its_place_is_read_from_its_start() {
    for (old, new) in
        [(log_from("standard", 0, 50), log_from("standard", 50, 500)), (log("pixel-4", 9), log("pixel-4", 3))]
    {
        let workspace = Workspace::new();
        workspace.write("in.log", &old);
        assert!(run_on(&workspace, &["in.log"]).0 == without_headers(&old));
        let size = checkpoint(&workspace)[0].size;
        // In place: the inode stays, and the headers are the same.
        workspace.write("in.log", &new);
        let (delivered, run) = run_on(&workspace, &["in.log"]);
        assert!(delivered == without_headers(&new));
        run.says(&["in.log: not the file of the checkpoint", "from its start"]);
        assert!(checkpoint(&workspace).len() == 1 && checkpoint(&workspace)[0].size != size);
        assert!(run_on(&workspace, &["in.log"]).0.is_empty());
    }
}

#[test]
fn a_compressed_file_that_ends_early_is_read_from_its_start() {
    // The same first 4 KiB and no shorter on disk, but less in it: only reading shows that.
    let text = log("realtime-46", 2_000);
    let workspace = Workspace::new();
    workspace.write("in.gz", &[gzip(&text), gzip(&text)].concat());
    run_on(&workspace, &["in.gz"]);
    let size = checkpoint(&workspace)[0].size;
    let empty = gzip(b"").repeat(size as usize / gzip(b"").len());
    workspace.write("in.gz", &[gzip(&text), empty].concat());
    let (delivered, run) = run_on(&workspace, &["in.gz"]);
    assert!(delivered == text);
    run.says(&["in.gz: not the file of the checkpoint", "ends before byte"]);
    assert!(run_on(&workspace, &["in.gz"]).0.is_empty());
}

#[test]
fn a_renamed_file_goes_on_and_a_new_one_of_its_name_is_read() {
    let workspace = Workspace::new();
    workspace.write("in.log", &log("realtime-46", 10));
    run_on(&workspace, &["in.log"]);
    fs::rename(workspace.path("in.log"), workspace.path("in.log.1")).expect("renamed");
    append(&workspace, "in.log.1", &log_from("realtime-46", 10, 2));
    workspace.write("in.log", &log_from("realtime-46", 12, 3));
    let (delivered, _) = run_on(&workspace, &["in.log", "in.log.1"]);
    assert!(delivered == [log_from("realtime-46", 12, 3), log_from("realtime-46", 10, 2)].concat());
    let paths: Vec<String> = checkpoint(&workspace).into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, ["in.log.1", "in.log"]);
}

#[test]
fn inputs_of_other_runs_stay_and_one_that_is_named_twice_is_read_once() {
    let workspace = Workspace::new();
    for (name, first) in [("a.log", 0), ("b.log", 10)] {
        workspace.write(name, &log_from("realtime-46", first, 10));
        let (delivered, run) = run_on(&workspace, &[name, name]);
        assert!(delivered == log_from("realtime-46", first, 10));
        run.says(&[name, "read once"]);
    }
    let (delivered, run) = run_on(&workspace, &["a.log", "b.log"]);
    assert!(delivered.is_empty());
    run.says(&["2 of 2 inputs were delivered before"]);
}

#[test]
fn a_checkpoint_among_the_logs_is_no_log() {
    let workspace = Workspace::new();
    let text = log("standard-json", 10);
    workspace.write("logs/in.log", &text);
    let all = ["logs", "--resume", "logs/checkpoint", "--to", "stdout:"];
    assert!(shipped(&workspace, &workspace.ingest(&all).ok().stdout, &[]) == text);
    assert_eq!(workspace.ingest(&all).ok().summary().lines_in, 0);
    workspace.ingest(&["logs/checkpoint", "--resume", "logs/checkpoint"]).exits(1).says(&["no input beside it"]);
}

#[test]
fn bad_lines_of_a_resumed_file_have_their_true_places() {
    for packed in [false, true] {
        let pack = |bytes: &[u8]| if packed { gzip(bytes) } else { bytes.to_vec() };
        let (first, second) = (log("realtime-46", 30), [&log_from("realtime-46", 30, 5)[..], b"bad\n"].concat());
        let workspace = Workspace::new();
        workspace.write("in.log", &pack(&first));
        run_on(&workspace, &["in.log"]);
        append(&workspace, "in.log", &pack(&second));
        run_on(&workspace, &["in.log"]);
        let [bad] = &workspace.quarantine()[..] else { panic!("one bad line") };
        assert_eq!((bad.line, bad.offset as usize), (36, first.len() + second.len() - 4));
    }
}

#[test]
fn a_bad_line_that_ends_the_run_is_met_again() {
    let workspace = Workspace::new();
    workspace.write("in.log", &[&log("realtime-46", 10)[..], b"bad\n"].concat());
    for _ in 0..2 {
        let run = workspace.ingest(&["in.log", "--resume", CHECKPOINT, "--to", "null:", "--on-bad-line", "fail"]);
        run.exits(1).says(&["in.log: line 11"]);
        assert!(!checkpoint(&workspace)[0].done);
    }
}

#[test]
fn a_truncated_file_is_not_done_and_goes_on_when_it_is_whole() {
    let text = log("realtime-46", 3_000);
    let whole = gzip(&text);
    let workspace = Workspace::new();
    workspace.write("in.gz", &whole[..whole.len() / 2]);
    let all = ["in.gz", "--resume", CHECKPOINT, "--to", "stdout:"];
    let run = workspace.ingest(&all).exits(1);
    let mut delivered = shipped(&workspace, &run.stdout, &[]);
    assert!(!checkpoint(&workspace)[0].done && !delivered.is_empty());
    append(&workspace, "in.gz", &whole[whole.len() / 2..]);
    delivered.extend(run_on(&workspace, &["in.gz"]).0);
    assert!(delivered == text);
}

#[test]
fn a_line_longer_than_a_block_is_whole_after_a_crash() {
    // The checkpoint of a run that was killed inside of it, in the only way that gives one for
    // sure: the file was shorter.
    let long = [&vec![b'l'; 2_500_000][..], b"\n"].concat();
    let workspace = Workspace::new();
    workspace.write("in.log", &[&log("realtime-46", 10), &long[..2_200_000]].concat());
    run_on(&workspace, &["in.log"]);
    assert_eq!(checkpoint(&workspace)[0].lines, 10);
    fs::remove_file(workspace.path("pixel-engine-quarantine.jsonl")).expect("pieces");
    append(&workspace, "in.log", &[&long[2_200_000..], &log_from("realtime-46", 10, 1)].concat());
    assert!(run_on(&workspace, &["in.log"]).0 == log_from("realtime-46", 10, 1));
    let pieces: Vec<u8> = workspace.quarantine().iter().flat_map(|bad| bad.bytes()).collect();
    assert!(pieces == long[..long.len() - 1]);
}

#[test]
fn a_pipe_cannot_be_resumed() {
    let workspace = Workspace::new();
    workspace.write("in.log", &log("realtime-46", 10));
    for inputs in [&[][..], &["-"], &["in.log", "-"], &["in.log", "/dev/null"]] {
        let run = workspace.ingest(&[inputs, &["--resume", CHECKPOINT]].concat()).exits(2);
        run.says(&["--resume needs files", "cannot be read again"]);
    }
    assert!(!workspace.path(CHECKPOINT).exists() && !workspace.path(OUT).exists());
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_never_a_start_from_zero() {
    let workspace = Workspace::new();
    workspace.write("in.log", &log("realtime-46", 10));
    run_on(&workspace, &["in.log"]);
    let good = fs::read_to_string(workspace.path(CHECKPOINT)).expect("a checkpoint");
    let changed = good.replace("\"lines\":10", "\"lines\":11");
    let newer = good.replace("\"version\":2", "\"version\":4");
    for (text, says) in [
        ("", "damaged at line 1"),
        ("nonsense\n", "damaged at line 1"),
        (&good[..good.len() - 20], "damaged at line 1"),
        (&changed, "checksum"),
        (&newer, "form 4"),
    ] {
        workspace.write(CHECKPOINT, text.as_bytes());
        let run = workspace.ingest(&["in.log", "--resume", CHECKPOINT]).exits(1);
        run.says(&["checkpoint", CHECKPOINT, says]);
        assert_eq!(fs::read_to_string(workspace.path(CHECKPOINT)).expect("still there"), text);
    }
    workspace.ingest(&["in.log", "--resume", "no/such/folder"]).exits(1).says(&["no/such/folder", "o such file"]);
    assert!(!workspace.path(OUT).exists());
}

#[test]
fn a_checkpoint_is_for_one_run_at_a_time() {
    let workspace = Workspace::new();
    let text = log("realtime-46", 3_000);
    workspace.write("in.log", &text);
    let all = ["in.log", "--resume", CHECKPOINT, "--to", "stdout:"];
    // Nobody reads its output, so it waits.
    let mut child = workspace.ingest_command(&all).spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0; 10]).expect("it has begun");
    workspace.ingest(&all).exits(1).says(&[CHECKPOINT, "another run is using it"]);
    signal(&child, "KILL");
    workspace.wait(child);
    assert!(run_on(&workspace, &["in.log"]).0 == text);
}
