use std::io::{Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;

/// `(byte, line)` of "stopped in SOURCE: everything before byte B (line L) is delivered".
fn position(run: &Run, source: &str) -> (usize, u64) {
    let said = format!("stopped in {source}: everything before byte ");
    let line = run.stderr.lines().find_map(|line| line.split_once(&said)).unwrap_or_else(|| panic!("{}", run.stderr)).1;
    let (byte, rest) = line.split_once(" (line ").expect("a line number");
    let (line, _) = rest.split_once(')').expect("its end");
    (byte.parse().expect("a number"), line.parse().expect("a number"))
}

/// Feeds stdin in small pieces until it is told to stop, and expects the exit code of a stopped
/// run.
fn stop_while_feeding(workspace: &Workspace, arguments: &[&str], text: &[u8], with: &str) -> Run {
    let mut command = workspace.ingest_command(arguments);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    thread::scope(|scope| {
        scope.spawn(move || {
            for piece in text.chunks(20_011) {
                if stdin.write_all(piece).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
            // And then silence: the pipe stays open longer than the test waits for.
            thread::sleep(Duration::from_millis(1_500));
        });
        thread::sleep(Duration::from_millis(500));
        signal(&child, with);
        let begun = Instant::now();
        let run = workspace.wait(child).exits(130);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(run.summary().interrupted);
        run
    })
}

#[test]
fn what_is_said_of_a_stopped_pipe_is_true() {
    let text = log("realtime-46", 8_000);
    for (arguments, with) in [(&[][..], "INT"), (&["--compress", "zstd"], "TERM"), (&["--threads", "1"], "INT")] {
        let workspace = Workspace::new();
        let run = stop_while_feeding(&workspace, arguments, &text, with);
        let (byte, line) = position(&run, "stdin");
        // A pipe cannot be read again, so the piece of a line that was read is kept.
        let mut safe = workspace.delivered(OUT);
        for bad in workspace.quarantine() {
            assert_eq!(bad.reason, "stopped in the middle of this line");
            assert_eq!(bad.offset as usize, safe.len());
            safe.extend(bad.bytes());
        }
        assert!(byte > 0, "{}", run.stderr);
        assert!(safe == text[..byte], "{} bytes are safe, {byte} were said", safe.len());
        let newlines = count_lines(&text[..byte]);
        assert!((newlines..=newlines + 1).contains(&line), "line {line} of {newlines}");
    }
}

#[test]
fn a_compressed_pipe_may_be_stopped_too() {
    let text = log("realtime-46", 30_000);
    for packed in [gzip(&text), zstd(&text)] {
        let workspace = Workspace::new();
        let run = stop_while_feeding(&workspace, &[], &packed, "INT");
        let (byte, _) = position(&run, "stdin");
        let mut safe = workspace.delivered(OUT);
        workspace.quarantine().iter().for_each(|bad| safe.extend(bad.bytes()));
        assert!(byte > 0 && safe == text[..byte], "{}", run.stderr);
    }
}

#[test]
fn a_file_is_stopped_at_the_end_of_a_line() {
    let workspace = Workspace::new();
    // Long enough that it cannot be done before the signal, as every line is compressed hard.
    let text = log("realtime-46", 60_000);
    workspace.write("in.log", &text);
    workspace.write("next.log", b"");
    let child = workspace
        .ingest_command(&["in.log", "next.log", "--compress", "zstd:19", "--record-size", "50000"])
        .spawn()
        .expect("it starts");
    thread::sleep(Duration::from_millis(700));
    signal(&child, "INT");
    let run = workspace.wait(child).exits(130);
    let (byte, line) = position(&run, "in.log");
    run.says(&["; one more input is not done"]);
    let delivered = workspace.delivered(OUT);
    assert!(delivered == text[..byte], "{} bytes were delivered, {byte} were said", delivered.len());
    assert_eq!(line, count_lines(&delivered) + 1);
    assert!(byte < text.len() && text[..byte].last().is_none_or(|&byte| byte == b'\n'));
    assert!(workspace.quarantine().is_empty());
    assert_eq!(run.summary().lines_undelivered, 0);
    // What was left is the rest, to the byte.
    let rest = Workspace::new();
    rest.ingest_from(&[], &text[byte..]).ok();
    assert!([delivered, rest.delivered(OUT)].concat() == text);
}

#[test]
fn a_silent_pipe_is_stopped_at_once() {
    let workspace = Workspace::new();
    let mut child = workspace.ingest_command(&[]).stdin(Stdio::piped()).spawn().expect("it starts");
    let stdin = child.stdin.take();
    thread::sleep(Duration::from_millis(300));
    signal(&child, "INT");
    let run = workspace.wait(child).exits(130);
    assert_eq!(position(&run, "stdin"), (0, 1));
    drop(stdin);
}

#[test]
fn a_second_signal_does_not_wait() {
    let workspace = Workspace::new();
    let mut command = workspace.ingest_command(&["--to", "stdout:"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let text = log("realtime-46", 20_000);
    let mut stdin = child.stdin.take().expect("piped");
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&text));
        // Nobody reads its output, so the first signal cannot finish what is in flight.
        thread::sleep(Duration::from_millis(500));
        signal(&child, "INT");
        thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().expect("a child").is_none(), "it waits for the reader");
        signal(&child, "INT");
        assert_eq!(child.wait().expect("a child").code(), Some(130));
    });
}

#[test]
fn a_stopped_run_ships_what_its_requests_hold() {
    let text = log("realtime-46", 8_000);
    let workspace = Workspace::new();
    let mut command = workspace.ingest_command(&["--to", "stdout:", "--container", "kpl"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    thread::scope(|scope| {
        scope.spawn(move || {
            for piece in text.chunks(100_000) {
                if stdin.write_all(piece).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(15));
            }
        });
        let output = scope.spawn(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).expect("it ends");
            output
        });
        thread::sleep(Duration::from_millis(500));
        signal(&child, "INT");
        let run = workspace.wait(child).exits(130);
        let output = output.join().expect("a reader");
        let decoded = workspace.decode(&output).ok().stdout;
        assert_eq!(count_lines(&decoded), run.summary().lines_shipped);
        let mut seen = Seen::new(8_000);
        seen.ids_in(&decoded);
        assert_eq!(run.summary().lines_shipped as usize, seen.count());
    });
}
