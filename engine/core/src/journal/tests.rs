use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::config::{Linger, Secret, Settings};
use crate::privacy::Privacy;
use crate::quarantine::Quarantine;
use crate::record::Record;
use crate::run::{Report, Run};
use crate::sink::SinkError;
use crate::sink::each::Each;
use crate::source::{Follow, Format};

const LIMIT: u64 = 1 << 20;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn open(folder: &TempDir, readers: usize) -> Journal {
    let journal = Journal::open(&folder.path().join("journal"), LIMIT, Duration::ZERO).unwrap();
    journal.set_readers((0..readers).map(|reader| reader.to_string()));
    journal
}

fn append(journal: &Journal, kind: Kind, lines: impl AsRef<[u8]>) {
    runtime().block_on(journal.append(kind, None, lines.as_ref()).unwrap().wait()).unwrap();
}

fn checkpoint(folder: &TempDir, reader: usize) -> Checkpoint {
    Checkpoint::open(folder.path().join(format!("checkpoint-{reader}"))).unwrap()
}

fn files(folder: &TempDir) -> Vec<String> {
    let segments = segments(&folder.path().join("journal")).unwrap();
    segments.iter().map(|segment| segment.path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn line(number: usize) -> String {
    format!("1700000000.001\t203.0.113.9\tcurl/8.0\tn={number}\n")
}

/// Delivers what is in the journal, or as many records as the sink takes: how often each number
/// arrived.
fn deliver(folder: &TempDir, checkpoint: &Checkpoint, max_records: usize) -> (BTreeMap<usize, usize>, Report) {
    let settings = Settings {
        to: Some("null:".to_owned()),
        threads: Some(1),
        linger: Some(Linger::After(Duration::from_millis(1))),
        ..Settings::default()
    };
    let config = settings.validate().unwrap();
    let (mut taken, mut records) = (Vec::new(), 0);
    let mut sink = Each::new(|record: Record| {
        records += 1;
        if records > max_records {
            return Err(SinkError::io("the sink", io::ErrorKind::StorageFull.into()));
        }
        record.chunks().for_each(|chunk| taken.extend_from_slice(chunk));
        Ok(Some(record))
    });
    let source = Follow::of_journal(folder.path().join("journal"), None, Arc::new(AtomicBool::new(true)));
    let mut quarantine = Quarantine::new(folder.path().join("quarantine"));
    let report = Run::new(&config).source(source).checkpoint(Some(checkpoint)).to(&mut sink, &mut quarantine);
    let mut numbers = BTreeMap::new();
    for line in String::from_utf8(taken).unwrap().lines() {
        let number = line.rsplit_once("n=").expect("a line of these tests").1;
        *numbers.entry(number.trim_matches(['"', '}']).parse().unwrap()).or_default() += 1;
    }
    (numbers, report)
}

#[test]
fn what_was_treated_before_it_was_written_is_not_treated_again() {
    let folder = tempfile::tempdir().unwrap();
    let hashing = |fields: &str| {
        let settings = Settings {
            to: Some("null:".to_owned()),
            hash: Some(fields.to_owned()),
            hash_key: Some(Secret::new("0123456789abcdef")),
            ..Settings::default()
        };
        settings.validate().unwrap()
    };
    let (config, other) = (hashing("query.n"), hashing("query.m"));
    let (this, another) = (Privacy::of(&config).unwrap(), Privacy::of(&other).unwrap());
    let journal = open(&folder, 1);
    let mut treated = Vec::new();
    this.treat(Format::Auto, line(7).as_bytes(), &mut treated);
    for (kind, treatment, lines) in [
        (Kind::RealTime, None, line(7).into_bytes()),
        (Kind::RealTime, Some(this.id()), treated.clone()),
        (Kind::RealTime, Some(another.id()), line(7).into_bytes()),
        (Kind::Alone, Some(this.id()), b"no line of a log\n".to_vec()),
    ] {
        runtime().block_on(journal.append(kind, treatment, &lines).unwrap().wait()).unwrap();
    }
    assert_eq!(files(&folder).len(), 4);
    let mut taken = Vec::new();
    let mut sink = Each::new(|record: Record| {
        record.chunks().for_each(|chunk| taken.extend_from_slice(chunk));
        Ok(Some(record))
    });
    let closed = Arc::new(AtomicBool::new(true));
    let source = Follow::of_journal(folder.path().join("journal"), Some(this.id()), closed);
    let mut quarantine = Quarantine::new(folder.path().join("quarantine"));
    let report = Run::new(&config).source(source).to(&mut sink, &mut quarantine);
    assert_eq!((report.summary.lines_shipped, report.summary.lines_quarantined), (3, 1));
    assert_eq!(taken, treated.repeat(3));
    let bad = std::fs::read_to_string(folder.path().join("quarantine")).unwrap();
    assert!(bad.contains("no line of a log"), "{bad}");
}

#[test]
fn segments_go_once_every_reader_has_delivered_them() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder, 2);
    append(&journal, Kind::RealTime, line(0));
    append(&journal, Kind::RealTime, line(1));
    append(&journal, Kind::Json, "{\"c-ip\":\"203.0.113.9\",\"cs-uri-query\":\"n=2\"}\n");
    append(&journal, Kind::Alone, "a line\n");
    assert_eq!(files(&folder).len(), 3);
    let (first, second) = (checkpoint(&folder, 0), checkpoint(&folder, 1));
    let (numbers, report) = deliver(&folder, &first, usize::MAX);
    assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!((report.summary.lines_quarantined, report.unfinished.len()), (1, 0));
    journal.release("0", &first).unwrap();
    assert_eq!(files(&folder).len(), 3);
    journal.release("1", &second).unwrap();
    assert_eq!(files(&folder).len(), 3, "the second has delivered nothing");
    deliver(&folder, &second, usize::MAX);
    journal.release("1", &second).unwrap();
    assert_eq!(files(&folder).len(), 2, "the others are still written to");
    drop(journal);
    let journal = open(&folder, 2);
    [("0", &first), ("1", &second)].into_iter().for_each(|(reader, it)| journal.release(reader, it).unwrap());
    assert_eq!((files(&folder).len(), journal.bytes()), (0, 0));
    append(&journal, Kind::RealTime, line(3));
    assert_eq!(journal.bytes(), line(3).len() as u64);
}

#[test]
fn lines_are_lines_whatever_they_look_like() {
    let folder = tempfile::tempdir().unwrap();
    // As a zip archive, as UTF-16, and twice the same, longer than what tells a copy.
    let lines: String = (0..100).map(line).collect();
    for first in ["PK\x03\x04\n".as_bytes(), b"\xff\xfea\n", b"", b""] {
        append(&open(&folder, 1), Kind::RealTime, [first, lines.as_bytes()].concat());
    }
    let (numbers, report) = deliver(&folder, &checkpoint(&folder, 0), usize::MAX);
    assert!(numbers.into_iter().eq((0..100).map(|number| (number, 4))));
    assert_eq!(report.summary.lines_quarantined, 2);
}

#[test]
fn a_part_of_a_line_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder, 1);
    append(&journal, Kind::RealTime, line(0));
    drop(journal);
    let path = folder.path().join("journal").join(&files(&folder)[0]);
    OpenOptions::new().append(true).open(path).unwrap().write_all(&line(17).as_bytes()[..40]).unwrap();
    let journal = open(&folder, 1);
    let checkpoint = checkpoint(&folder, 0);
    let (numbers, report) = deliver(&folder, &checkpoint, usize::MAX);
    assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [(0, 1)]);
    assert_eq!((report.summary.lines_in, report.summary.lines_quarantined), (1, 0));
    journal.release("0", &checkpoint).unwrap();
    assert_eq!((files(&folder).len(), journal.bytes()), (0, 0));
}

#[test]
fn a_full_journal_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder, 1);
    let half = vec![b'\n'; LIMIT as usize / 2];
    append(&journal, Kind::RealTime, &half);
    append(&journal, Kind::Json, &half);
    let refused = journal.append(Kind::RealTime, None, b"\n").map(drop).unwrap_err();
    assert!(matches!(refused, JournalError::Full { limit: LIMIT, .. }), "{refused}");
    journal.set_limits(LIMIT + 1, Duration::ZERO);
    append(&journal, Kind::RealTime, vec![b'\n'; LIMIT as usize]);
    assert!(matches!(journal.append(Kind::RealTime, None, b"\n").map(drop), Err(JournalError::Full { .. })));
    journal.close();
    assert!(matches!(journal.append(Kind::RealTime, None, b"\n").map(drop), Err(JournalError::Closed)));
    let in_use = Journal::open(journal.folder(), LIMIT, Duration::ZERO).err().unwrap();
    assert!(matches!(in_use, JournalError::Locked(_)), "{in_use}");
}

/// Whatever number the file system gives to a file, and however alike they are.
#[test]
fn what_comes_again_after_a_restart_is_delivered_again() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(&folder, 0);
    for round in 0..5 {
        let journal = open(&folder, 1);
        append(&journal, Kind::RealTime, line(1).repeat(200));
        drop(journal);
        let (numbers, _) = deliver(&folder, &checkpoint, usize::MAX);
        assert_eq!(numbers[&1], 200, "{round}");
        let journal = open(&folder, 1);
        journal.release("0", &checkpoint).unwrap();
        assert_eq!(journal.bytes(), 0);
    }
    // A header, the last segment, and the one before it, which the next look takes out.
    let known = std::fs::read_to_string(folder.path().join("checkpoint-0")).unwrap();
    assert!(known.lines().count() <= 3, "{known}");
}

/// However small it is, and whatever kinds of lines it holds.
#[test]
fn a_full_journal_has_room_again_once_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder, 1);
    let checkpoint = checkpoint(&folder, 0);
    let object = "{\"c-ip\":\"203.0.113.9\",\"cs-uri-query\":\"n=2\"}\n";
    let runtime = runtime();
    for _ in 0..3 {
        let mut pending = Vec::new();
        while let Ok(taken) = journal.append(Kind::RealTime, None, line(1).repeat(100).as_bytes()) {
            pending.push(taken);
            pending.extend(journal.append(Kind::Json, None, object.repeat(100).as_bytes()));
            runtime.block_on(pending.pop().unwrap().wait()).unwrap();
        }
        assert!(!pending.is_empty());
        deliver(&folder, &checkpoint, usize::MAX);
        journal.release("0", &checkpoint).unwrap();
        assert!(journal.bytes() < LIMIT / 2, "{}", journal.bytes());
    }
}

#[test]
fn what_cannot_be_written_is_not_safe() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder, 1);
    append(&journal, Kind::RealTime, line(0));
    // The next segment is in the way.
    let number = segments(journal.folder()).unwrap()[0].number;
    std::fs::create_dir(Segment::path(journal.folder(), number + 1, Kind::Json, None)).unwrap();
    let error = runtime().block_on(journal.append(Kind::Json, None, b"{}\n").unwrap().wait()).unwrap_err();
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    append(&journal, Kind::Json, "{}\n");
}

#[test]
fn bodies_are_sorted_by_what_they_hold() {
    let body = |bytes: &'static [u8]| Body::read(bytes.to_vec(), Format::Auto, 1_000).unwrap();
    let text = |body: &Body| String::from_utf8(body.lines.clone()).unwrap();
    for (bytes, kind, lines) in [
        (&b"1\t2\n3\t4"[..], Kind::RealTime, "1\t2\n3\t4\n"),
        (b"\xef\xbb\xbf\n[{\"a\":1},\n {\"b\":\n2}]", Kind::Json, "{\"a\":1}\n{\"b\":2}\n"),
        (b"#Version: 1.0\r\n#Fields: date time\n1\t2", Kind::Standard, "#Version: 1.0\r\n#Fields: date time\n1\t2\n"),
        (b"#Version: 1.0\n1\t2\n#Fields: date time\n", Kind::Alone, "#Version: 1.0\n1\t2\n#Fields: date time\n"),
        (b"", Kind::RealTime, ""),
    ] {
        let found = body(bytes);
        assert_eq!((found.kind, text(&found).trim_start_matches(['\u{feff}', '\n'])), (kind, lines));
    }
    let zstd = zstd::encode_all(&b"1\t2\n"[..], 1).unwrap();
    assert_eq!(Body::read(zstd.clone(), Format::Auto, 4).unwrap().lines, b"1\t2\n");
    for text in ["[", "[{\"a\":1}", "{\"logEvents\":["] {
        let error = Body::read(text.into(), Format::Auto, 1_000).unwrap_err();
        assert!(error.to_string().contains("is not closed"), "{text}: {error}");
    }
    let cut = Body::of(b"[\n{\"a\":1}\n".to_vec(), Format::Auto);
    assert_eq!((cut.kind, cut.lines), (Kind::Json, b"[\n{\"a\":1}\n".to_vec()), "nothing of it is lost");
    let refused = |bytes: Vec<u8>| Body::read(bytes, Format::Auto, 1_000).unwrap_err();
    assert!(matches!(refused(vec![b'\n'; 1_001]), BodyError::TooLong(1_000)));
    assert!(matches!(refused(zstd[..zstd.len() - 2].to_vec()), BodyError::Unreadable(_)));
    assert!(refused(b"PK\x03\x04".to_vec()).to_string().contains("zip"));
}

/// What happens to a journal.
#[derive(Clone, Debug)]
enum Step {
    /// So many lines come, in bodies of one line or in one.
    Append { count: usize, are_apart: bool },
    /// So many records are delivered, and then the pipeline ends, or its sink fails.
    Deliver { max_records: usize },
    /// The process is killed in the middle of a write, and begins anew.
    Restart { torn: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..200_usize, any::<bool>()).prop_map(|(count, are_apart)| Step::Append { count, are_apart }),
        prop_oneof![Just(usize::MAX), 0..3_usize].prop_map(|max_records| Step::Deliver { max_records }),
        (0..40_usize).prop_map(|torn| Step::Restart { torn }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every line that was safe arrives, and no other; what stays behind is nothing.
    #[test]
    fn what_is_safe_arrives(steps in prop::collection::vec(any_step(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = runtime();
        let mut journal = Some(open(&folder, 1));
        let (mut next, mut arrived) = (0, BTreeMap::<usize, usize>::new());
        for step in steps.into_iter().chain([Step::Restart { torn: 3 }, Step::Deliver { max_records: usize::MAX }]) {
            let here = journal.as_ref().expect("it is opened again at once");
            match step {
                Step::Append { count, are_apart } => {
                    let numbers = next..next + count;
                    next += count;
                    let bodies: Vec<String> = if are_apart {
                        numbers.map(line).collect()
                    } else {
                        vec![numbers.map(line).collect()]
                    };
                    let pending: Vec<Pending> =
                        bodies.iter().map(|body| here.append(Kind::RealTime, None, body.as_bytes()).unwrap()).collect();
                    pending.into_iter().for_each(|pending| runtime.block_on(pending.wait()).unwrap());
                }
                Step::Deliver { max_records } => {
                    let checkpoint = checkpoint(&folder, 0);
                    for (number, times) in deliver(&folder, &checkpoint, max_records).0 {
                        *arrived.entry(number).or_default() += times;
                    }
                    here.release("0", &checkpoint).unwrap();
                }
                Step::Restart { torn } => {
                    drop(journal.take());
                    if let Some(last) = segments(&folder.path().join("journal")).unwrap().last() {
                        let mut file = OpenOptions::new().append(true).open(&last.path).unwrap();
                        file.write_all(&line(1_000_000).as_bytes()[..torn]).unwrap();
                    }
                    journal = Some(open(&folder, 1));
                }
            }
        }
        prop_assert!(arrived.keys().copied().eq(0..next), "{} of {next}", arrived.len());
        prop_assert_eq!(files(&folder), Vec::<String>::new());
        prop_assert_eq!(journal.expect("it was opened again").bytes(), 0);
    }
}
