use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::ack::Acknowledgements;
use crate::encode::tests::encoded;
use crate::pack::{LineList, Packed};
use pixel_engine_kpl::PartitionKey;

const NO_LIMIT: u64 = u64::MAX;

fn firehose() -> Destination {
    Destination { api: Api::PutRecordBatch, stream: "pixel".to_owned() }
}

fn kinesis() -> Destination {
    Destination { api: Api::PutRecords, stream: "arn:aws:kinesis:eu-west-1:1:stream/\"p\u{ef}xel\"".to_owned() }
}

fn record(data: &[u8], lines: usize, key: Option<u128>) -> SpooledRecord {
    let key = key.map(|number| PartitionKey { key: format!("{:04x}", number >> 112), explicit_hash_key: number });
    SpooledRecord { data: data.to_vec(), lines, key }
}

fn keep(spool: &mut Spool, destination: &Destination, records: &[SpooledRecord]) -> Result<(), SpoolError> {
    let records: Vec<Record> = records
        .iter()
        .map(|record| Record::from_bytes(record.data.clone(), record.lines, record.key.clone(), Vec::new()))
        .collect();
    spool.keep(destination, Contents::Aggregates, &records.iter().collect::<Vec<_>>())
}

fn parts(batch: Batch) -> (Destination, Vec<SpooledRecord>) {
    (batch.destination, batch.records)
}

/// Every file in the folder but the locks.
fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = files(folder).unwrap();
    files.retain(|path| path.extension().is_none_or(|extension| extension != "lock") && !path.ends_with(".lock"));
    files
}

#[test]
fn batches_come_back_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/spool");
    let kept = [
        (firehose(), vec![record(b"one\ntwo\n", 2, None), record(b"", 0, None)]),
        (kinesis(), vec![record(b"\0\xff\n\n", 7, Some(u128::MAX)), record(b"x", 1, Some(0))]),
    ];
    for round in 0..2 {
        // Opened anew each time, as other processes would.
        for (destination, records) in &kept {
            keep(&mut Spool::open(&path, NO_LIMIT).unwrap(), destination, records).unwrap();
        }
        let found: Vec<_> = batches(&path).unwrap().iter().map(|path| parts(read(path).unwrap())).collect();
        assert_eq!(found, kept.iter().cycle().take(2 + 2 * round).cloned().collect::<Vec<_>>());
    }
    let spool = Spool::open(&path, NO_LIMIT).unwrap();
    let sizes: Vec<u64> = batches(&path).unwrap().iter().map(|path| path.metadata().unwrap().len()).collect();
    assert_eq!((spool.batches(), spool.bytes()), (4, sizes.iter().sum()));
}

#[test]
fn a_spool_is_as_old_as_its_first_batch_by_name() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(usage(folder.path()).unwrap(), Usage::default());
    let hour_ago = Timestamp::now() - Duration::from_secs(3_600);
    for (time, count) in [(hour_ago, 1), (Timestamp::now(), 2)] {
        let name = format!("{}_{count:010}.batch", time.strftime("%Y-%m-%dT%H-%M-%S.%6fZ"));
        fs::write(folder.path().join(name), [0; 100]).unwrap();
    }
    let Usage { batches, bytes, oldest } = usage(folder.path()).unwrap();
    assert_eq!((batches, bytes), (2, 200));
    assert!((3_600..3_630).contains(&oldest.unwrap().as_secs()), "{oldest:?}");
}

#[test]
fn the_first_line_tells_people_what_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), NO_LIMIT).unwrap();
    keep(&mut spool, &kinesis(), &[record(b"abc", 2, Some(5)), record(b"defghi", 3, Some(6))]).unwrap();
    let bytes = fs::read(&batches(folder.path()).unwrap()[0]).unwrap();
    let header: serde_json::Value = serde_json::from_slice(bytes.split(|&byte| byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(header["stream"], kinesis().stream);
    for (name, wanted) in [("version", 2), ("records", 2), ("lines", 5), ("bytes", 9)] {
        assert_eq!(header[name], wanted, "{name}");
    }
    assert_eq!((&header["api"], &header["contents"]), (&"PutRecords".into(), &"aggregates".into()));
    assert!(header["kept"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_header_tells_what_the_records_are_and_those_without_mean_what_they_meant() {
    let folder = tempfile::tempdir().unwrap();
    for contents in [Contents::Lines, Contents::CompressedLines, Contents::Aggregates] {
        let record = Record::from_bytes(b"x\n".to_vec(), 1, None, Vec::new());
        Spool::open(folder.path(), NO_LIMIT).unwrap().keep(&kinesis(), contents, &[&record]).unwrap();
        let path = batches(folder.path()).unwrap().pop().unwrap();
        let wanted = Outline { size: path.metadata().unwrap().len(), contents: Some(contents) };
        assert_eq!(outline(&path).unwrap(), wanted);
        assert_eq!(read(&path).unwrap().contents, contents);
    }
    for (api, contents) in [("PutRecords", Contents::Aggregates), ("PutRecordBatch", Contents::Lines)] {
        let path = folder.path().join("2026-01-05T08-00-00.000000Z_0000000001.batch");
        let header = format!(
            "{{\"version\":1,\"kept\":\"2026-01-05T08:00:00Z\",\"api\":\"{api}\",\"stream\":\"pixel\",\"records\":1,\
             \"lines\":1,\"bytes\":2}}\n[{{\"bytes\":2,\"lines\":1}}]\nx\n"
        );
        let mut bytes = header.into_bytes();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        assert_eq!(outline(&path).unwrap().contents, Some(contents));
        let batch = read(&path).unwrap();
        assert_eq!((batch.contents, batch.records), (contents, vec![record(b"x\n", 1, None)]));
    }
    let path = folder.path().join("damaged.batch");
    fs::write(&path, b"not a batch").unwrap();
    assert_eq!(outline(&path).unwrap(), Outline { size: 11, contents: None });
}

#[test]
fn lines_of_blocks_are_kept_without_being_joined() {
    let folder = tempfile::tempdir().unwrap();
    let block = encoded(&[b"one\n".to_vec(), b"two\n".to_vec(), b"three\n".to_vec()]);
    let mut lines = LineList::default();
    lines.push(&block, 0..1);
    lines.push(&block, 2..3);
    let all = Acknowledgements::default();
    let tokens = vec![all.token(0, 0..1)];
    let record = Record::from_lines(Packed { lines, tokens, key: None, oldest: None });
    Spool::open(folder.path(), NO_LIMIT).unwrap().keep(&firehose(), Contents::Lines, &[&record]).unwrap();
    let found = read(&batches(folder.path()).unwrap()[0]).unwrap().records;
    assert_eq!(found, [super::tests::record(b"one\nthree\n", 2, None)]);
    assert_eq!(all.position(0).offset, 0, "only the caller acknowledges");
}

#[test]
fn no_records_are_no_batch() {
    let folder = tempfile::tempdir().unwrap();
    Spool::open(folder.path(), NO_LIMIT).unwrap().keep(&firehose(), Contents::Lines, &[]).unwrap();
    assert!(all_files(folder.path()).is_empty());
}

/// A small batch with keys, and its bytes.
fn small_batch(folder: &Path) -> (PathBuf, Vec<u8>) {
    let mut spool = Spool::open(folder, NO_LIMIT).unwrap();
    keep(&mut spool, &kinesis(), &[record(b"one\n", 1, Some(1 << 120)), record(b"two\n", 1, Some(7))]).unwrap();
    let path = batches(folder).unwrap().remove(0);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

#[track_caller]
fn is_damaged(path: &Path, bytes: &[u8]) -> String {
    fs::write(path, bytes).unwrap();
    let error = read(path).unwrap_err();
    assert!(matches!(&error, SpoolError::Damaged { offset, .. } if *offset <= bytes.len() as u64), "{error}");
    assert_eq!(fs::read(path).unwrap(), bytes, "it is left as it is");
    error.to_string()
}

#[test]
fn every_change_of_a_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = small_batch(folder.path());
    for at in 0..bytes.len() {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            is_damaged(&path, &changed);
        }
    }
    fs::write(&path, &bytes).unwrap();
    read(&path).unwrap();
}

#[test]
fn every_cut_and_every_addition_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = small_batch(folder.path());
    for len in 0..bytes.len() {
        is_damaged(&path, &bytes[..len]);
    }
    let cut = is_damaged(&path, &bytes[..bytes.len() - 6]);
    assert!(cut.ends_with(&format!("damaged at byte {}: the file ends here, 6 bytes early", bytes.len() - 6)), "{cut}");
    // The CRC-32 of anything and its own CRC-32 is this number, so the checksum alone does not see
    // the addition.
    let fitting = 0x2144_DF1C_u32.to_le_bytes();
    for addition in [&b"\n"[..], &[0], &[0; 8], &fitting, &bytes] {
        let found = is_damaged(&path, &[&bytes[..], addition].concat());
        let wanted = format!("damaged at byte {}: {} bytes more than were written", bytes.len(), addition.len());
        assert!(found.ends_with(&wanted), "{found}");
    }
}

#[test]
fn another_version_is_told_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = small_batch(folder.path());
    let mut bytes = b"{\"version\":3,\"of\":\"another form\"}\nwhatever".to_vec();
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = read(&path).unwrap_err();
    assert!(matches!(error, SpoolError::Version { version: 3, .. }), "{error}");
}

#[test]
fn a_full_spool_refuses_and_takes_again_once_it_was_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 1_000).unwrap();
    let batch = [record(&[b'x'; 300], 3, None)];
    keep(&mut spool, &firehose(), &batch).unwrap();
    keep(&mut spool, &firehose(), &batch).unwrap();
    let error = keep(&mut spool, &firehose(), &batch).unwrap_err();
    let SpoolError::Full { bytes, limit: 1_000, needed, .. } = error else { panic!("{error}") };
    assert!(bytes == spool.bytes() && bytes + needed > 1_000 && needed > 300, "{bytes} + {needed}");
    assert_eq!(all_files(folder.path()).len(), 2);
    // Sent by another process, which the spool is not told of.
    remove(&batches(folder.path()).unwrap()[0]).unwrap();
    keep(&mut spool, &firehose(), &batch).unwrap();
    assert_eq!((spool.batches(), batches(folder.path()).unwrap().len()), (2, 2));
    // The limit is a limit from the first batch on, and over all runs.
    keep(&mut spool, &firehose(), &[record(&[b'x'; 1_000], 1, None)]).unwrap_err();
    drop(spool);
    keep(&mut Spool::open(folder.path(), 1_000).unwrap(), &firehose(), &batch).unwrap_err();
}

#[test]
fn a_folder_has_one_writer_and_one_sender() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Spool::open(folder.path(), NO_LIMIT).unwrap();
    let sender = lock_for_shipping(folder.path()).unwrap();
    for error in [Spool::open(folder.path(), NO_LIMIT).unwrap_err(), lock_for_shipping(folder.path()).unwrap_err()] {
        assert!(matches!(error, SpoolError::Locked { .. }), "{error}");
    }
    drop((writer, sender));
    Spool::open(folder.path(), NO_LIMIT).unwrap();
    lock_for_shipping(folder.path()).unwrap();
}

#[test]
fn a_clock_that_is_set_back_does_not_change_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let future = folder.path().join("2999-12-31T23-59-59.999999Z_0000000041.batch");
    let mut spool = Spool::open(folder.path(), NO_LIMIT).unwrap();
    keep(&mut spool, &firehose(), &[record(b"0", 1, None)]).unwrap();
    fs::rename(&batches(folder.path()).unwrap()[0], future).unwrap();
    drop(spool);
    for data in [b"1", b"2"] {
        keep(&mut Spool::open(folder.path(), NO_LIMIT).unwrap(), &firehose(), &[record(data, 1, None)]).unwrap();
    }
    let order: Vec<_> =
        batches(folder.path()).unwrap().iter().map(|path| read(path).unwrap().records[0].data[0]).collect();
    assert_eq!(order, b"012");
}

#[test]
fn what_cannot_be_opened_is_named() {
    for error in [
        Spool::open("/dev/null/spool", NO_LIMIT).unwrap_err(),
        batches(Path::new("/no/such/spool")).unwrap_err(),
        lock_for_shipping(Path::new("/no/such/spool")).unwrap_err(),
        read(Path::new("/no/such/spool/a.batch")).unwrap_err(),
        remove(Path::new("/no/such/spool/a.batch")).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, SpoolError::Io { .. }) && text.contains("/spool"), "{text}");
    }
}

/// A file system of 256 KiB; unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, said on stderr, where nothing may be mounted.
    fn new() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder.path());
        if !mount.output().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped, a full disk: a tmpfs cannot be mounted here");
            return None;
        }
        Some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else { return };
    let folder = disk.0.path();
    let mut spool = Spool::open(folder, NO_LIMIT).unwrap();
    let batch = [record(&[b'x'; 60_000], 1, None), record(&[b'y'; 40_000], 1, None)];
    let mut kept = 0;
    let error = loop {
        match keep(&mut spool, &firehose(), &batch) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, SpoolError::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull), "{error}");
    let there = |count: usize| {
        let paths = all_files(folder);
        assert_eq!(paths.len(), count, "{paths:?}");
        paths.iter().for_each(|path| assert_eq!(parts(read(path).unwrap()), (firehose(), batch.to_vec())));
    };
    assert!(kept >= 1);
    there(kept);
    assert_eq!(spool.batches(), kept as u64);
    remove(&batches(folder).unwrap()[0]).unwrap();
    keep(&mut spool, &firehose(), &batch).unwrap();
    there(kept);
}

/// What happens to a spool.
#[derive(Clone, Debug)]
enum Step {
    /// Records are kept and the caller is told.
    Keep(Vec<SpooledRecord>),
    /// A crash while a batch is written: that much of it is there, under its partial name.
    CrashInWrite(Vec<SpooledRecord>, prop::sample::Index),
    /// A crash after the batch was renamed and before the caller was told.
    CrashAfterRename(Vec<SpooledRecord>),
    /// A batch is sent and acknowledged.
    Acknowledge(prop::sample::Index),
    /// A crash after a batch was sent and before it was removed.
    CrashBeforeRemoval(prop::sample::Index),
    Reopen,
}

fn any_batch() -> impl Strategy<Value = Vec<SpooledRecord>> {
    let any_record = (prop::collection::vec(any::<u8>(), 0..60), 0..5_usize, any::<Option<u128>>())
        .prop_map(|(data, lines, key)| record(&data, lines, key));
    prop::collection::vec(any_record, 1..4)
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_batch().prop_map(Step::Keep),
        1 => (any_batch(), any::<prop::sample::Index>()).prop_map(|(batch, at)| Step::CrashInWrite(batch, at)),
        1 => any_batch().prop_map(Step::CrashAfterRename),
        3 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        1 => any::<prop::sample::Index>().prop_map(Step::CrashBeforeRemoval),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What was kept and not acknowledged is there exactly once, in order and to the byte; what was
    /// acknowledged is gone; there is nothing else.
    #[test]
    fn a_spool_holds_what_was_kept_and_not_acknowledged(
        steps in prop::collection::vec(any_step(), 1..30),
        limit in prop_oneof![Just(NO_LIMIT), 300..2_000_u64],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut model: Vec<Vec<SpooledRecord>> = Vec::new();
        let mut spool = Spool::open(folder.path(), limit).unwrap();
        for step in steps {
            match step {
                Step::Keep(batch) => match keep(&mut spool, &kinesis(), &batch) {
                    Ok(()) => model.push(batch),
                    Err(SpoolError::Full { bytes, needed, .. }) => prop_assert!(bytes + needed > limit),
                    Err(error) => panic!("{error}"),
                },
                Step::CrashInWrite(batch, at) => {
                    // What the file would hold, from a spool beside it.
                    let beside = tempfile::tempdir().unwrap();
                    keep(&mut Spool::open(beside.path(), NO_LIMIT).unwrap(), &kinesis(), &batch).unwrap();
                    let bytes = fs::read(&batches(beside.path()).unwrap()[0]).unwrap();
                    let path = spool.next_path(Timestamp::now());
                    fs::write(durable::partial(&path), &bytes[..at.index(bytes.len() + 1)]).unwrap();
                    drop(spool);
                    spool = Spool::open(folder.path(), limit).unwrap();
                }
                Step::CrashAfterRename(batch) => {
                    if keep(&mut spool, &kinesis(), &batch).is_ok() {
                        model.push(batch);
                    }
                    drop(spool);
                    spool = Spool::open(folder.path(), limit).unwrap();
                }
                Step::Acknowledge(index) if !model.is_empty() => {
                    let index = index.index(model.len());
                    remove(&batches(folder.path()).unwrap()[index]).unwrap();
                    model.remove(index);
                }
                Step::CrashBeforeRemoval(index) if !model.is_empty() => {
                    let index = index.index(model.len());
                    let records = read(&batches(folder.path()).unwrap()[index]).unwrap().records;
                    prop_assert_eq!(&records, &model[index]);
                    // Both processes are gone.
                    drop(spool);
                    spool = Spool::open(folder.path(), limit).unwrap();
                }
                Step::Acknowledge(_) | Step::CrashBeforeRemoval(_) => {}
                Step::Reopen => {
                    drop(spool);
                    spool = Spool::open(folder.path(), limit).unwrap();
                    prop_assert_eq!(spool.batches(), model.len() as u64);
                }
            }
            let paths = batches(folder.path()).unwrap();
            let found: Vec<_> = paths.iter().map(|path| parts(read(path).unwrap())).collect();
            let wanted: Vec<_> = model.iter().map(|batch| (kinesis(), batch.clone())).collect();
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(all_files(folder.path()).len(), paths.len(), "nothing else");
            let bytes: u64 = paths.iter().map(|path| path.metadata().unwrap().len()).sum();
            prop_assert!(bytes <= limit);
        }
    }
}
