use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::{Linger, OnBadLine, Settings};
use crate::quarantine::Quarantine;
use crate::record::Record;
use crate::run::{Report, Run};
use crate::sink::each::Each;

const SHORT: Times = Times {
    poll: Duration::from_millis(2),
    rescan: Duration::from_millis(20),
    quiet: Duration::from_millis(50),
    keep_open: Duration::from_millis(400),
};

/// Everything that was delivered.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// How often each number came.
    fn numbers(&self) -> BTreeMap<usize, usize> {
        let mut numbers = BTreeMap::new();
        for line in String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines() {
            let number = line.rsplit_once("n=").expect("a line of these tests").1;
            *numbers.entry(number.parse().unwrap()).or_default() += 1;
        }
        numbers
    }

    #[track_caller]
    fn wait_for(&self, count: usize) {
        let begun = Instant::now();
        while self.numbers().len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count}", self.numbers().len());
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the numbers below that one.
    #[track_caller]
    fn wait_for_first(&self, count: usize) {
        let begun = Instant::now();
        while !self.numbers().keys().copied().take(count).eq(0..count) {
            assert!(begun.elapsed() < Duration::from_secs(60), "not the first {count}");
            sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn are_each_once(&self, count: usize) {
        self.wait_for(count);
        let numbers = self.numbers();
        assert!(numbers.keys().copied().eq(0..count), "{} of {count}", numbers.len());
        let twice: Vec<_> = numbers.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "twice: {twice:?}");
    }
}

fn line(number: usize) -> String {
    format!("1.500\t203.0.113.9\tcurl/8.0\te=pv&n={number}\n")
}

fn lines_of(numbers: std::ops::Range<usize>) -> String {
    numbers.map(line).collect()
}

fn append(path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

/// A run that follows files until it is stopped.
struct Session {
    stop: Arc<AtomicBool>,
    run: JoinHandle<Report>,
}

impl Session {
    fn start(patterns: &[PathBuf], start: Start, lines: &Lines, checkpoint: Option<PathBuf>) -> Session {
        let patterns: Vec<String> = patterns.iter().map(|path| path.display().to_string()).collect();
        let follow = Follow { times: SHORT, ..Follow::new(patterns, start).unwrap() };
        let (stop, lines) = (Arc::<AtomicBool>::default(), lines.clone());
        let to_stop = Arc::clone(&stop);
        let run = thread::spawn(move || {
            let config = Settings {
                to: Some("null:".to_owned()),
                threads: Some(1),
                linger: Some(Linger::After(Duration::from_millis(5))),
                on_bad_line: Some(OnBadLine::Fail),
                ..Settings::default()
            };
            let config = config.validate().unwrap();
            let checkpoint = checkpoint.map(|path| Checkpoint::open(path).unwrap());
            let mut sink = Each::new(|record: Record| {
                let mut text = lines.0.lock().unwrap();
                record.chunks().for_each(|chunk| text.extend_from_slice(chunk));
                Ok(Some(record))
            });
            Run::new(&config)
                .source(follow)
                .stop(stop)
                .checkpoint(checkpoint.as_ref())
                .to(&mut sink, &mut Quarantine::new("/dev/null"))
        });
        Session { stop: to_stop, run }
    }

    fn end(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.run.join().unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        report
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn what_is_there_and_what_comes_is_read_and_half_a_line_waits() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("later/a.log");
    append(folder.path().join("here.log"), lines_of(0..10));
    let patterns = [folder.path().join("*.log"), folder.path().join("later/*.log")];
    let session = Session::start(&patterns, Start::Beginning, &lines, None);
    lines.are_each_once(10);
    std::fs::create_dir(folder.path().join("later")).unwrap();
    append(&log, lines_of(10..20));
    lines.are_each_once(20);
    let (half, rest) = (line(20)[..9].to_owned(), line(20)[9..].to_owned());
    append(&log, half);
    sleep(Duration::from_millis(100));
    assert_eq!(lines.numbers().len(), 20);
    append(&log, rest + &line(21));
    lines.are_each_once(22);
    assert_eq!(session.end().summary.lines_in, 22);
}

#[test]
fn the_end_is_that_of_the_files_that_are_there_at_the_start() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("a.log");
    // A line that was begun is read whole.
    let (half, rest) = (line(0)[..9].to_owned(), line(0)[9..].to_owned());
    append(&log, lines_of(100..200) + &half);
    let session = Session::start(&[folder.path().join("*.log")], Start::End, &lines, None);
    sleep(Duration::from_millis(200));
    append(&log, rest + &lines_of(1..5));
    append(folder.path().join("b.log"), lines_of(5..10));
    lines.are_each_once(10);
    session.end();
}

#[test]
fn nothing_is_lost_or_repeated_while_files_are_renamed() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("app.log");
    let session = Session::start(&[log.clone(), folder.path().join("app.log.*")], Start::Beginning, &lines, None);
    let mut written = 0;
    for rotation in 0..100 {
        let mut file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        for _ in 0..20 {
            file.write_all(line(written).as_bytes()).unwrap();
            written += 1;
        }
        std::fs::rename(&log, folder.path().join(format!("app.log.{rotation}"))).unwrap();
        // Whoever writes has not noticed yet.
        file.write_all(lines_of(written..written + 3).as_bytes()).unwrap();
        written += 3;
        if rotation >= 3 {
            let old = folder.path().join(format!("app.log.{}", rotation - 3));
            lines.wait_for_first(written - 3 * 23);
            std::fs::remove_file(old).unwrap();
        }
    }
    lines.are_each_once(written);
    session.end();
}

#[test]
fn a_file_that_is_deleted_while_it_is_written_to_is_read_to_its_end() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("a.log");
    append(&log, lines_of(0..5));
    let session = Session::start(std::slice::from_ref(&log), Start::Beginning, &lines, None);
    lines.wait_for(5);
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    for number in 5..15 {
        file.write_all(line(number).as_bytes()).unwrap();
        sleep(Duration::from_millis(20));
    }
    // The last one without a newline comes when the file has been quiet for long enough.
    file.write_all(line(15).trim_end().as_bytes()).unwrap();
    drop(file);
    lines.are_each_once(16);
    assert!(session.end().unfinished.is_empty());
}

#[test]
fn a_copy_and_truncation_loses_nothing_when_the_copy_is_matched() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("app.log");
    let session = Session::start(&[log.clone(), folder.path().join("app.log.*")], Start::Beginning, &lines, None);
    let mut written = 0;
    for rotation in 0..30 {
        append(&log, lines_of(written..written + 50));
        lines.wait_for(written + 50);
        // Just before the copy is made.
        append(&log, lines_of(written + 50..written + 60));
        std::fs::copy(&log, folder.path().join(format!("app.log.{rotation}"))).unwrap();
        File::create(&log).unwrap();
        written += 60;
        lines.are_each_once(written);
    }
    session.end();
}

#[test]
fn a_rotated_file_that_is_compressed_is_not_read_again() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("app.log");
    let session = Session::start(&[folder.path().join("app.log*")], Start::Beginning, &lines, None);
    append(&log, lines_of(0..100));
    lines.wait_for(100);
    // What came last is in the compressed file alone.
    let packed = zstd::encode_all(lines_of(0..110).as_bytes(), 1).unwrap();
    let other = zstd::encode_all(lines_of(110..200).as_bytes(), 1).unwrap();
    std::fs::remove_file(&log).unwrap();
    append(folder.path().join("app.log.1.zst"), packed);
    append(folder.path().join("app.log.2.zst"), other);
    lines.are_each_once(200);
    sleep(Duration::from_millis(100));
    lines.are_each_once(200);
    session.end();
}

#[test]
fn a_file_that_is_cut_is_read_from_its_start() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("a.log");
    append(&log, lines_of(0..100));
    let checkpoint = folder.path().join("checkpoint");
    let session = Session::start(std::slice::from_ref(&log), Start::Beginning, &lines, Some(checkpoint.clone()));
    lines.wait_for(100);
    std::fs::write(&log, lines_of(100..110)).unwrap();
    lines.are_each_once(110);
    session.end();
    let session = Session::start(std::slice::from_ref(&log), Start::Beginning, &lines, Some(checkpoint));
    append(&log, lines_of(110..120));
    lines.are_each_once(120);
    session.end();
}

#[test]
fn a_line_that_was_begun_is_not_ended_by_what_replaces_the_file() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("a.log");
    append(&log, lines_of(0..10) + &line(10)[..9]);
    let session = Session::start(std::slice::from_ref(&log), Start::Beginning, &lines, None);
    lines.wait_for(10);
    sleep(Duration::from_millis(100));
    // Longer than what was there, so that something stands where the line was begun.
    std::fs::write(&log, lines_of(10..60)).unwrap();
    lines.are_each_once(60);
    session.end();
}

#[test]
fn a_stop_and_a_start_lose_and_repeat_nothing() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("a.log");
    let checkpoint = folder.path().join("checkpoint");
    let patterns = [log.clone(), folder.path().join("a.log.*")];
    let mut written = 0;
    for round in 0..12 {
        let session = Session::start(&patterns, Start::Beginning, &lines, Some(checkpoint.clone()));
        for _ in 0..10 {
            append(&log, lines_of(written..written + 7));
            written += 7;
            sleep(Duration::from_millis(3));
        }
        if round % 4 == 3 {
            std::fs::rename(&log, folder.path().join(format!("a.log.{round}"))).unwrap();
        }
        session.end();
        // While nobody follows.
        append(&log, lines_of(written..written + 5));
        written += 5;
    }
    let session = Session::start(&patterns, Start::Beginning, &lines, Some(checkpoint));
    lines.are_each_once(written);
    session.end();
}

#[test]
fn the_checkpoint_forgets_files_that_are_gone() {
    let (folder, lines) = (folder(), Lines::default());
    let checkpoint = folder.path().join("checkpoint");
    let session = Session::start(&[folder.path().join("*.log")], Start::Beginning, &lines, Some(checkpoint.clone()));
    for number in 0..40 {
        let log = folder.path().join(format!("{number}.log"));
        append(&log, line(number));
        lines.wait_for(number + 1);
        std::fs::remove_file(log).unwrap();
    }
    let entries = || std::fs::read_to_string(&checkpoint).unwrap().lines().count() - 1;
    let begun = Instant::now();
    while entries() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} entries", entries());
        sleep(Duration::from_millis(20));
    }
    session.end();
}

#[test]
fn a_standard_log_keeps_its_header_over_a_start() {
    let (folder, lines) = (folder(), Lines::default());
    let log = folder.path().join("a.log");
    let checkpoint = folder.path().join("checkpoint");
    append(&log, "#Version: 1.0\n#Fields: date time cs-uri-query\n");
    let standard = |number: usize| format!("2026-01-05\t08:00:00\tn={number}\n");
    for number in 0..6 {
        let session = Session::start(std::slice::from_ref(&log), Start::Beginning, &lines, Some(checkpoint.clone()));
        append(&log, standard(2 * number));
        lines.wait_for(2 * number + 1);
        append(&log, standard(2 * number + 1));
        lines.are_each_once(2 * number + 2);
        session.end();
    }
}

#[test]
fn a_pattern_that_is_no_glob_is_refused() {
    let error = Follow::new(vec!["a***b".to_owned()], Start::End).unwrap_err();
    assert!(error.to_string().starts_with("a***b: not a glob"), "{error}");
}
