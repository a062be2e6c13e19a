//! Sends what is in a spool, and removes each batch once all of its records have arrived.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Refusals;
use crate::ack::Acknowledgements;
use crate::record::Record;
use crate::sink::limits::Api;
use crate::sink::{Sink, SinkError};
use crate::spool::{Contents, SpoolError, batches, lock_for_shipping, read, remove, replace};

/// A stream that is ready for the batches of a spool.
pub struct Drain<S> {
    /// Where they go.
    pub sink: S,
    /// The API that the stream is put to.
    pub api: Api,
    /// Whether the stream goes by keys, without which aggregates are lost.
    pub takes_aggregates: bool,
    /// Where the sink notes what is refused for good: those of its
    /// [`Options`](super::Options::refusals).
    pub refusals: Refusals,
    /// How far it is.
    pub progress: Arc<DrainProgress>,
    /// Ends it before the next batch.
    pub stop: Arc<AtomicBool>,
}

/// How far the sending of a spool is.
#[derive(Debug, Default)]
pub struct DrainProgress {
    /// Batches that were removed, or that stay and are not tried again.
    pub batches: AtomicU64,
    /// Bytes of their files.
    pub bytes: AtomicU64,
}

/// What became of the batches of a spool. `found = removed + refused + damaged + left`.
#[derive(Debug, Default)]
pub struct Drained {
    /// Batches that were there.
    pub found: u64,
    /// Batches that were delivered and removed.
    pub removed: u64,
    /// Batches of which records were refused for good: those records stay, and no others. With the
    /// reason for each.
    pub refused: Vec<DrainError>,
    /// Batches that cannot be read, or are for another service or kind of stream: they stay as they
    /// are. With the reason for each.
    pub damaged: Vec<DrainError>,
    /// Batches that were not delivered: what did not arrive of them stays.
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
    /// Records that the stream will not take as long as nobody changes something.
    #[error("spool {path}: {records} of {of} records are refused and stay: {error}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// How many records.
        records: usize,
        /// How many there were.
        of: usize,
        /// The stream, and what it says.
        #[source]
        error: Arc<SinkError>,
    },
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
    /// Consumers would drop aggregates from a stream that ignores keys.
    #[error(
        "spool {path}: its records are aggregates, and the stream's record distribution is AUTO, which ignores their \
         keys: ship it to a stream with USER_PARTITION_KEY", path = path.display()
    )]
    IgnoresKeys {
        /// The file.
        path: PathBuf,
    },
}

impl<S: Sink> Drain<S> {
    /// Sends the batches of a folder in the order in which they were kept, until it is done or
    /// stopped. A batch for another stream of the same service goes to the sink's stream. A batch
    /// that is refused for good does not keep those behind it from being sent; one that could not
    /// be delivered for now does, which keeps them in their order.
    ///
    /// # Errors
    /// The folder cannot be read, or another process is sending what is in it.
    pub fn run(&mut self, folder: &Path) -> Result<Drained, SpoolError> {
        let _lock = lock_for_shipping(folder)?;
        let paths = batches(folder)?;
        let mut drained = Drained { found: paths.len() as u64, ..Drained::default() };
        let all = Acknowledgements::default();
        let mut sent: Vec<Sent> = Vec::new();
        let mut next = 0;
        for path in paths {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            match self.records(&path, &all, next) {
                Ok(records) => {
                    let first = next;
                    next += records.len();
                    sent.push(Sent::new(path, first, next));
                    // No request holds records of two batches, so none is refused for another's.
                    let shipped = records.into_iter().try_for_each(|record| self.sink.ship(record));
                    if let Err(error) = shipped.and_then(|()| self.sink.flush()) {
                        drained.error = Some(error.into());
                    }
                }
                Err(error) => {
                    self.is_done_with(&path);
                    drained.damaged.push(error);
                }
            }
            self.settle(&mut sent, &all, &mut drained);
            if drained.error.is_some() {
                break;
            }
        }
        if let Err(error) = self.sink.close() {
            drained.error.get_or_insert(error.into());
        }
        self.settle(&mut sent, &all, &mut drained);
        for batch in sent {
            self.keep(batch, &mut drained);
        }
        drained.left = drained.found - drained.removed - (drained.refused.len() + drained.damaged.len()) as u64;
        Ok(drained)
    }

    /// The records of a batch, each with an acknowledgement of its own, numbered from `first`.
    fn records(&self, path: &Path, all: &Acknowledgements, first: usize) -> Result<Vec<Record>, DrainError> {
        let batch = read(path)?;
        let path = path.to_owned();
        if batch.destination.api != self.api {
            let (kept, wanted) = (batch.destination.api.name(), self.api.name());
            return Err(DrainError::OtherService { path, kept, wanted });
        }
        if batch.contents == Contents::Aggregates && !self.takes_aggregates {
            return Err(DrainError::IgnoresKeys { path });
        }
        let records = batch.records.into_iter().enumerate();
        let records = records.map(|(index, kept)| {
            Record::from_bytes(kept.data, kept.lines, kept.key, vec![all.token(first + index, 0..1)])
        });
        Ok(records.collect())
    }

    /// Looks what became of the records that were sent, and deals with the batches of which nothing
    /// is on its way any more.
    fn settle(&self, sent: &mut Vec<Sent>, all: &Acknowledgements, drained: &mut Drained) {
        for mut batch in std::mem::take(sent) {
            batch.open.retain(|&number| {
                if all.forget(number, 1) {
                    return false;
                }
                let Some(error) = self.refusals.take(number) else { return true };
                batch.refused.insert(number);
                batch.error.get_or_insert(error);
                false
            });
            if !batch.open.is_empty() {
                sent.push(batch);
            } else if !batch.refused.is_empty() {
                self.keep(batch, drained);
            } else {
                self.is_done_with(&batch.path);
                match remove(&batch.path) {
                    Ok(()) => drained.removed += 1,
                    Err(error) => drop(drained.error.get_or_insert(error.into())),
                }
            }
        }
    }

    /// Leaves in a batch what has not arrived of it.
    fn keep(&self, batch: Sent, drained: &mut Drained) {
        if batch.error.is_some() {
            self.is_done_with(&batch.path);
        }
        let stays = &batch.open | &batch.refused;
        if stays.len() < batch.len
            && let Err(error) = leave(&batch.path, |index| stays.contains(&(batch.first + index)))
        {
            drained.error.get_or_insert(error.into());
        }
        if let Some(error) = batch.error {
            let records = batch.refused.len();
            drained.refused.push(DrainError::Refused { path: batch.path, records, of: batch.len, error });
        }
    }

    fn is_done_with(&self, path: &Path) {
        let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.progress.batches.fetch_add(1, Ordering::Relaxed);
        self.progress.bytes.fetch_add(size, Ordering::Relaxed);
    }
}

/// A batch whose records are on their way.
struct Sent {
    path: PathBuf,
    /// The number of its first record.
    first: usize,
    len: usize,
    /// The numbers of the records of which nothing was heard.
    open: BTreeSet<usize>,
    /// The numbers of those that were refused for good, and why the first of them was.
    refused: BTreeSet<usize>,
    error: Option<Arc<SinkError>>,
}

impl Sent {
    fn new(path: PathBuf, first: usize, end: usize) -> Sent {
        let (refused, error) = (BTreeSet::new(), None);
        Sent { path, first, len: end - first, open: (first..end).collect(), refused, error }
    }
}

/// Removes the other records from a batch.
fn leave(path: &Path, stays: impl Fn(usize) -> bool) -> Result<(), SpoolError> {
    let mut batch = read(path)?;
    let mut index = 0;
    batch.records.retain(|_| {
        index += 1;
        stays(index - 1)
    });
    replace(path, batch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Delivered, Receipt};
    use crate::spool::{Batch, Destination, Spool};
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
        /// Refused for good.
        Refused,
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
        refusals: Refusals,
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
            if fate == Fate::Refused {
                self.refusals.add(vec![record], &Arc::new(error()));
                return Ok(());
            }
            if fate != Fate::Lost {
                self.arrived.push((record.chunks().collect::<Vec<_>>().concat(), record.key().cloned()));
            }
            match fate {
                Fate::Acknowledged => self.delivered.settle(record.into_receipt()),
                Fate::Late(records) => self.late.push((self.taken + records, record.into_receipt())),
                Fate::Untold | Fate::Lost | Fate::Refused | Fate::Fails => {}
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
                spool.keep(&destination, Contents::Aggregates, &records.iter().collect::<Vec<_>>()).unwrap();
                records.iter().map(|record| record.chunks().collect::<Vec<_>>().concat()).collect()
            })
            .collect()
    }

    fn into(sink: Memory) -> Drain<Memory> {
        let refusals = sink.refusals.clone();
        Drain { sink, api: API, takes_aggregates: true, refusals, progress: Arc::default(), stop: Arc::default() }
    }

    fn drain(folder: &Path, sink: &mut Memory, stop: bool) -> Result<Drained, SpoolError> {
        let mut drain = into(std::mem::take(sink));
        drain.stop.store(stop, Ordering::Relaxed);
        let bytes = |paths: &[PathBuf]| paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
        let before = bytes(&batches(folder).unwrap());
        let drained = drain.run(folder);
        *sink = drain.sink;
        let drained = drained?;
        let done = drained.removed + (drained.refused.len() + drained.damaged.len()) as u64;
        assert_eq!((drained.found, drain.progress.batches.load(Ordering::Relaxed)), (done + drained.left, done));
        assert!(drain.progress.bytes.load(Ordering::Relaxed) <= before);
        Ok(drained)
    }

    fn drain_with(folder: &Path, sink: &mut Memory) -> Drained {
        // Another test that starts a program has copies of all locks for the instant before that
        // program runs.
        loop {
            match drain(folder, sink, false) {
                Err(SpoolError::Locked { .. }) => std::thread::yield_now(),
                drained => break drained.unwrap(),
            }
        }
    }

    /// The records of the batches in the folder.
    fn left(folder: &Path) -> Vec<Vec<Vec<u8>>> {
        let records = |path: &PathBuf| read(path).unwrap().records.into_iter().map(|record| record.data).collect();
        batches(folder).unwrap().iter().map(records).collect()
    }

    #[test]
    fn a_stop_ends_it_before_the_next_batch() {
        let folder = tempfile::tempdir().unwrap();
        let kept = keep(folder.path(), &[1, 1]);
        let mut sink = Memory::default();
        let drained = drain(folder.path(), &mut sink, true).unwrap();
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
        Spool::open(folder.path(), u64::MAX).unwrap().keep(&destination, Contents::Lines, &[&other]).unwrap();
        let drained = drain_with(folder.path(), &mut Memory::default());
        let damaged: Vec<String> = drained.damaged.iter().map(ToString::to_string).collect();
        assert!(damaged[0].contains("damaged at byte"), "{damaged:?}");
        assert!(damaged[1].contains("kept for PutRecordBatch, which PutRecords does not take"), "{damaged:?}");
        assert_eq!((drained.removed, drained.left, damaged.len()), (3, 0, 2));
        assert_eq!(batches(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_batch_that_is_refused_holds_nobody_up_and_what_it_leaves_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let kept = keep(folder.path(), &[2, 3, 1]);
        let before = read(&batches(folder.path()).unwrap()[1]).unwrap();
        let fates = vec![Fate::Late(3), Fate::Acknowledged, Fate::Refused, Fate::Acknowledged, Fate::Refused];
        let drained = drain_with(folder.path(), &mut Memory { fates, ..Memory::default() });
        assert_eq!((drained.removed, drained.left, drained.error.is_some()), (2, 0, false));
        let [refused] = &drained.refused[..] else { panic!("{drained:?}") };
        assert!(refused.to_string().contains(".batch: 2 of 3 records are refused and stay: memory: "), "{refused}");
        let [path] = &batches(folder.path()).unwrap()[..] else { panic!("one batch") };
        let after = read(path).unwrap();
        assert_eq!(left(folder.path()), [[kept[1][0].clone(), kept[1][2].clone()]]);
        let records = vec![before.records[0].clone(), before.records[2].clone()];
        assert_eq!(after, Batch { records, ..before });
    }

    #[test]
    fn aggregates_stay_where_the_stream_ignores_keys_and_lines_go() {
        let folder = tempfile::tempdir().unwrap();
        let kept = keep(folder.path(), &[1]);
        let destination = Destination { api: API, stream: "pixel".to_owned() };
        let mut spool = Spool::open(folder.path(), u64::MAX).unwrap();
        for contents in [Contents::Lines, Contents::CompressedLines] {
            let record = Record::from_bytes(b"9\n".to_vec(), 1, None, Vec::new());
            spool.keep(&destination, contents, &[&record]).unwrap();
        }
        let mut drain = into(Memory::default());
        drain.takes_aggregates = false;
        let drained = drain.run(folder.path()).unwrap();
        assert_eq!((drained.removed, drained.damaged.len(), left(folder.path())), (2, 1, kept));
        assert!(drained.damaged[0].to_string().contains("its records are aggregates"));
    }

    #[test]
    fn a_batch_that_is_on_its_way_is_not_sent_twice() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), &[1]);
        let _other = lock_for_shipping(folder.path()).unwrap();
        let drained = drain(folder.path(), &mut Memory::default(), false);
        assert!(matches!(drained, Err(SpoolError::Locked { .. })));
    }

    fn any_fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            8 => Just(Fate::Acknowledged),
            4 => (1..6_usize).prop_map(Fate::Late),
            1 => Just(Fate::Untold),
            1 => Just(Fate::Lost),
            1 => Just(Fate::Refused),
            1 => Just(Fate::Fails),
        ]
    }

    proptest! {
        /// A batch is gone exactly when all of its records were acknowledged, whatever happens to
        /// them and when; otherwise those that were not stay, as they were, and go the next time.
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
                Fate::Untold | Fate::Lost | Fate::Refused | Fate::Fails => false,
            };
            let mut first = 0;
            let (mut wanted, mut refused) = (Vec::new(), 0);
            for batch in &kept {
                let numbers = first..first + batch.len();
                first = numbers.end;
                let is_refused = |number: usize| number < fails_at && fates.get(number) == Some(&Fate::Refused);
                refused += usize::from(numbers.clone().any(is_refused));
                let stays = |number: &usize| !is_acknowledged(*number);
                let stays: Vec<_> = numbers.clone().filter(stays).map(|number| batch[number - numbers.start].clone()).collect();
                wanted.extend((!stays.is_empty()).then_some(stays));
            }
            prop_assert_eq!(&left(folder.path()), &wanted);
            prop_assert_eq!(drained.refused.len(), refused);
            prop_assert_eq!(drained.left, (wanted.len() - refused) as u64);
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
