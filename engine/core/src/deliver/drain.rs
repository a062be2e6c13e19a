//! Sends what is in a spool, and removes each batch once all of its records have arrived.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::ack::{AckToken, Acknowledgements};
use crate::record::Record;
use crate::sink::limits::Api;
use crate::sink::{Sink, SinkError};
use crate::spool::{SpoolError, batches, lock_for_shipping, read, remove};

/// What became of the batches of a spool. `found = removed + damaged + left`.
#[derive(Debug, Default)]
pub struct Drained {
    /// Batches that were there.
    pub found: u64,
    /// Batches that were delivered and removed.
    pub removed: u64,
    /// Batches that cannot be read, or are for another service: they stay as they are. With the
    /// reason for each.
    pub damaged: Vec<DrainError>,
    /// Batches that were not delivered, or not wholly, and stay.
    pub left: u64,
    /// What ended it before the last batch.
    pub error: Option<DrainError>,
}

/// What can go wrong while a spool is sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The folder or a file of it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The stream.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Records of one service are packed as the other cannot read them.
    #[error("spool {path}: kept for {kept}, which {wanted} does not take", path = path.display())]
    OtherService {
        /// The file.
        path: PathBuf,
        /// The API it was kept for.
        kept: &'static str,
        /// The API that it would go to.
        wanted: &'static str,
    },
}

/// Sends the batches of the folder in the order in which they were kept, until it is done or `stop`
/// is set. A batch for another stream of the same service goes to the sink's stream. `progress`
/// counts batches.
///
/// # Errors
/// The folder cannot be read, or another process is sending what is in it.
pub fn drain(
    folder: &Path,
    api: Api,
    sink: &mut dyn Sink,
    progress: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Drained, SpoolError> {
    let _lock = lock_for_shipping(folder)?;
    let paths = batches(folder)?;
    let mut drained = Drained { found: paths.len() as u64, ..Drained::default() };
    let all = Acknowledgements::default();
    let mut sent: Vec<(usize, PathBuf)> = Vec::new();
    for (number, path) in paths.into_iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match records(&path, api, || all.token(number, 0..1)) {
            Ok(records) => {
                sent.push((number, path));
                if let Err(error) = records.into_iter().try_for_each(|record| sink.ship(record)) {
                    drained.error = Some(error.into());
                    break;
                }
            }
            Err(error) => drained.damaged.push(error),
        }
        drained.remove_acknowledged(&mut sent, &all, progress);
        if drained.error.is_some() {
            break;
        }
    }
    if let Err(error) = sink.close() {
        drained.error.get_or_insert(error.into());
    }
    drained.remove_acknowledged(&mut sent, &all, progress);
    drained.left = drained.found - drained.removed - drained.damaged.len() as u64;
    Ok(drained)
}

impl Drained {
    fn remove_acknowledged(&mut self, sent: &mut Vec<(usize, PathBuf)>, all: &Acknowledgements, progress: &AtomicU64) {
        sent.retain(|(number, path)| {
            if all.position(*number).offset == 0 {
                return true;
            }
            match remove(path) {
                Ok(()) => {
                    self.removed += 1;
                    progress.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.error.get_or_insert(error.into());
                }
            }
            false
        });
    }
}

/// The records of a batch, each with a share in its acknowledgement.
fn records(path: &Path, api: Api, token: impl FnOnce() -> AckToken) -> Result<Vec<Record>, DrainError> {
    let (destination, records) = read(path)?;
    if destination.api != api {
        let (kept, wanted) = (destination.api.name(), api.name());
        return Err(DrainError::OtherService { path: path.to_owned(), kept, wanted });
    }
    let token = token();
    let records = records
        .into_iter()
        .map(|kept| Record::from_bytes(kept.data, kept.lines, kept.key, vec![token.of_rest()]))
        .collect();
    token.delivered();
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Delivered, Receipt};
    use crate::spool::{Destination, Spool};
    use pixel_engine_kpl::PartitionKey;

    const API: Api = Api::PutRecords;

    /// What a sink in memory does with a record.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Acknowledged,
        /// Acknowledged after so many more records, or at the end.
        Late(usize),
        /// Arrived, and nobody was told.
        Untold,
        Lost,
        /// The sink ends with an error, and this record with it.
        Fails,
    }

    /// Takes the fates of its records in turn; then all is well.
    #[derive(Default)]
    struct Memory {
        fates: Vec<Fate>,
        taken: usize,
        late: Vec<(usize, Receipt)>,
        arrived: Vec<(Vec<u8>, Option<PartitionKey>)>,
        delivered: Delivered,
        close_fails: bool,
    }

    impl Memory {
        fn settle_late(&mut self, up_to: usize) {
            let (due, later) = std::mem::take(&mut self.late).into_iter().partition(|(when, _)| *when <= up_to);
            self.late = later;
            let due: Vec<(usize, Receipt)> = due;
            due.into_iter().for_each(|(_, receipt)| self.delivered.settle(receipt));
        }
    }

    fn error() -> SinkError {
        SinkError::io("memory", std::io::ErrorKind::Other.into())
    }

    impl Sink for Memory {
        fn ship(&mut self, record: Record) -> Result<(), SinkError> {
            let fate = self.fates.get(self.taken).copied().unwrap_or(Fate::Acknowledged);
            self.taken += 1;
            self.settle_late(self.taken);
            if fate == Fate::Fails {
                return Err(error());
            }
            if fate != Fate::Lost {
                self.arrived.push((record.chunks().collect::<Vec<_>>().concat(), record.key().cloned()));
            }
            match fate {
                Fate::Acknowledged => self.delivered.settle(record.into_receipt()),
                Fate::Late(records) => self.late.push((self.taken + records, record.into_receipt())),
                Fate::Untold | Fate::Lost | Fate::Fails => {}
            }
            Ok(())
        }

        fn flush(&mut self) -> Result<(), SinkError> {
            Ok(())
        }

        fn close(&mut self) -> Result<(), SinkError> {
            if self.close_fails {
                return Err(error());
            }
            self.settle_late(usize::MAX);
            Ok(())
        }

        fn delivered(&self) -> Delivered {
            self.delivered
        }

        fn requests(&self) -> u64 {
            0
        }
    }

    /// Keeps batches of so many records, each a number and a newline.
    fn keep(folder: &Path, sizes: &[usize]) -> Vec<Vec<Vec<u8>>> {
        let mut spool = Spool::open(folder, u64::MAX).unwrap();
        let mut number = 0_u128;
        sizes
            .iter()
            .map(|&size| {
                let records: Vec<Record> = (0..size)
                    .map(|_| {
                        number += 1;
                        let key = PartitionKey { key: format!("{number:04x}"), explicit_hash_key: number };
                        Record::from_bytes(format!("{number}\n").into_bytes(), 1, Some(key), Vec::new())
                    })
                    .collect();
                let destination = Destination { api: API, stream: "pixel".to_owned() };
                spool.keep(&destination, &records.iter().collect::<Vec<_>>()).unwrap();
                records.iter().map(|record| record.chunks().collect::<Vec<_>>().concat()).collect()
            })
            .collect()
    }

    fn drain_with(folder: &Path, sink: &mut Memory) -> Drained {
        let progress = AtomicU64::new(0);
        // Another test that starts a program has copies of all locks for the instant before that
        // program runs.
        let drained = loop {
            match drain(folder, API, sink, &progress, &AtomicBool::new(false)) {
                Err(SpoolError::Locked { .. }) => std::thread::yield_now(),
                drained => break drained.unwrap(),
            }
        };
        assert_eq!(drained.found, drained.removed + drained.damaged.len() as u64 + drained.left);
        assert_eq!(progress.into_inner(), drained.removed);
        drained
    }

    /// The records of the batches in the folder.
    fn left(folder: &Path) -> Vec<Vec<Vec<u8>>> {
        let records = |path: &PathBuf| read(path).unwrap().1.into_iter().map(|record| record.data).collect();
        batches(folder).unwrap().iter().map(records).collect()
    }

    #[test]
    fn a_stop_ends_it_before_the_next_batch() {
        let folder = tempfile::tempdir().unwrap();
        let kept = keep(folder.path(), &[1, 1]);
        let mut sink = Memory::default();
        let drained = drain(folder.path(), API, &mut sink, &AtomicU64::new(0), &AtomicBool::new(true)).unwrap();
        assert_eq!((drained.found, drained.left, drained.error.is_some()), (2, 2, false));
        assert_eq!((left(folder.path()), sink.taken), (kept, 0));
    }

    #[test]
    fn what_cannot_be_sent_stays_and_the_rest_goes() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), &[1, 2, 1, 1]);
        let paths = batches(folder.path()).unwrap();
        std::fs::write(&paths[1], b"not a batch").unwrap();
        let destination = Destination { api: Api::PutRecordBatch, stream: "pixel".to_owned() };
        let other = Record::from_bytes(b"x".to_vec(), 1, None, Vec::new());
        Spool::open(folder.path(), u64::MAX).unwrap().keep(&destination, &[&other]).unwrap();
        let drained = drain_with(folder.path(), &mut Memory::default());
        let damaged: Vec<String> = drained.damaged.iter().map(ToString::to_string).collect();
        assert!(damaged[0].contains("damaged at byte"), "{damaged:?}");
        assert!(damaged[1].contains("kept for PutRecordBatch, which PutRecords does not take"), "{damaged:?}");
        assert_eq!((drained.removed, drained.left, damaged.len()), (3, 0, 2));
        assert_eq!(batches(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_batch_that_is_on_its_way_is_not_sent_twice() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), &[1]);
        let _other = lock_for_shipping(folder.path()).unwrap();
        let drained = drain(folder.path(), API, &mut Memory::default(), &AtomicU64::new(0), &AtomicBool::new(false));
        assert!(matches!(drained, Err(SpoolError::Locked { .. })));
    }

    fn any_fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            8 => Just(Fate::Acknowledged),
            4 => (1..6_usize).prop_map(Fate::Late),
            1 => Just(Fate::Untold),
            1 => Just(Fate::Lost),
            1 => Just(Fate::Fails),
        ]
    }

    proptest! {
        /// A batch is gone exactly when all of its records were acknowledged, whatever happens to
        /// them and when; what stays is as it was, and goes the next time.
        #[test]
        fn a_batch_is_removed_once_all_of_it_is_acknowledged(
            sizes in prop::collection::vec(1..5_usize, 0..8),
            fates in prop::collection::vec(any_fate(), 0..24),
            close_fails in prop::bool::weighted(0.2),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let kept = keep(folder.path(), &sizes);
            let fails_at = fates.iter().position(|&fate| fate == Fate::Fails).unwrap_or(usize::MAX);
            let mut sink = Memory { fates: fates.clone(), close_fails, ..Memory::default() };
            let drained = drain_with(folder.path(), &mut sink);

            let is_acknowledged = |number: usize| number < fails_at && match fates.get(number).unwrap_or(&Fate::Acknowledged) {
                Fate::Acknowledged => true,
                // Unless the end is the first to be told of it, and fails.
                Fate::Late(records) => !close_fails || number + 1 + records <= sink.taken,
                Fate::Untold | Fate::Lost | Fate::Fails => false,
            };
            let mut first = 0;
            let mut wanted = Vec::new();
            for batch in &kept {
                if !(first..first + batch.len()).all(is_acknowledged) {
                    wanted.push(batch.clone());
                }
                first += batch.len();
            }
            prop_assert_eq!(&left(folder.path()), &wanted);
            prop_assert_eq!(drained.left, wanted.len() as u64);
            prop_assert_eq!(drained.error.is_some(), close_fails || fails_at < first);

            let mut again = Memory::default();
            drain_with(folder.path(), &mut again);
            prop_assert!(left(folder.path()).is_empty());
            let sent: Vec<Vec<u8>> = again.arrived.iter().map(|(data, _)| data.clone()).collect();
            prop_assert_eq!(sent, wanted.concat());
            for (data, key) in again.arrived.iter().chain(&sink.arrived) {
                let number: u128 = std::str::from_utf8(data).unwrap().trim_end().parse().unwrap();
                prop_assert_eq!(key, &Some(PartitionKey { key: format!("{number:04x}"), explicit_hash_key: number }));
            }
        }
    }
}
