//! The sink that writes Parquet files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parquet::errors::ParquetError;
use pixel_engine_core::compress::Codec;
use pixel_engine_core::record::{Delivered, Receipt, Record};
use pixel_engine_core::sink::statistics::Files;
use pixel_engine_core::sink::store::{Store, object_name};
use pixel_engine_core::sink::{Sink, SinkError};
use pixel_engine_log::encode::row::Row;
use pixel_engine_log::table::Table;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::file::{ChunkWriter, Finished, Layout, ParquetFile};
use crate::folders::Folders;

/// Bytes of rows that are written at a time: enough to share among threads, few enough to stay near
/// a core while column after column reads them.
const BATCH_LEN: usize = 2 << 20;
/// Bytes of a row group, compressed, at which it ends: a few hundred thousand rows.
const GROUP_LEN: usize = 32 << 20;
/// Rows of a row group at most, where they compress very well.
const GROUP_ROWS: usize = 1 << 20;
/// Between two looks at how much memory files take.
const ROWS_BETWEEN_LOOKS: usize = 16_384;

/// Names of folders that are kept at most: whoever writes queries can think of ever new ones.
const MAX_FOLDERS: usize = 1 << 16;

/// How files are written.
#[derive(Clone, Debug)]
pub struct Options {
    /// How pages are compressed.
    pub codec: Codec,
    /// Bytes at which a file is large enough.
    pub file_size: u64,
    /// How long a file stays open at most; `None` for as long as it takes.
    pub file_age: Option<Duration>,
    /// Files that are open at a time.
    pub open_files: usize,
    /// Bytes of memory that all open row groups may take together.
    pub memory: usize,
    /// Threads that write columns.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            codec: Codec::Zstd(3),
            file_size: 128 << 20,
            file_age: None,
            open_files: 64,
            memory: 128 << 20,
            threads: 1,
        }
    }
}

/// Writes rows to Parquet files in a store.
pub struct Parquet {
    store: Arc<dyn Store>,
    layout: Arc<Layout>,
    columns: usize,
    options: Options,
    pool: ThreadPool,
    folders: Folders,
    /// By the number of their folder.
    files: BTreeMap<usize, OpenFile>,
    waiting: Vec<Record>,
    waiting_len: usize,
    rows_since_look: usize,
    /// Batches that were written.
    batches: u64,
    /// Files that were begun.
    begun: u64,
    delivered: Delivered,
    published: Files,
    /// Whether something could not be written: nothing is acknowledged any more.
    has_failed: bool,
}

struct OpenFile {
    file: ParquetFile,
    /// What messages call it.
    target: String,
    opened_at: Instant,
    /// Which batch wrote to it last.
    last_batch: u64,
    /// Of each record with a line in it. A record is safe with the last file that has one.
    receipts: Vec<Arc<Receipt>>,
}

impl Parquet {
    /// Files of that table in that store.
    ///
    /// # Errors
    /// There are no threads to be had, or the table has columns that Parquet cannot have.
    pub fn new(store: Arc<dyn Store>, table: &Table, options: Options) -> Result<Parquet, SinkError> {
        let refused =
            |error: &dyn std::error::Error| SinkError::io("Parquet", std::io::Error::other(error.to_string()));
        let threads = ThreadPoolBuilder::new().num_threads(options.threads).thread_name(|n| format!("columns-{n}"));
        Ok(Parquet {
            store,
            layout: Arc::new(Layout::new(table, options.codec).map_err(|error| refused(&error))?),
            columns: table.columns().len(),
            pool: threads.build().map_err(|error| refused(&error))?,
            options,
            folders: Folders::new(table),
            files: BTreeMap::new(),
            waiting: Vec::new(),
            waiting_len: 0,
            rows_since_look: 0,
            batches: 0,
            begun: 0,
            delivered: Delivered::default(),
            published: Files::default(),
            has_failed: false,
        })
    }

    /// Writes the records that wait.
    fn write_waiting(&mut self) -> Result<(), SinkError> {
        let records = std::mem::take(&mut self.waiting);
        self.waiting_len = 0;
        self.batches += 1;
        let mut shares = shares(&records, self.columns, &mut self.folders);
        let mut records_of = Vec::new();
        // One group of folders after the other, where they are more than files may be open.
        while !shares.is_empty() {
            let group = (0..self.options.open_files.max(1)).map_while(|_| shares.pop_first()).collect();
            self.make_room(&group)?;
            for &folder in group.keys() {
                if !self.files.contains_key(&folder) {
                    let file = self.begin(folder)?;
                    self.files.insert(folder, file);
                }
            }
            self.write_columns(&group)?;
            for (folder, share) in group {
                self.files.get_mut(&folder).expect("it was opened above").last_batch = self.batches;
                self.rows_since_look += share.rows.len();
                records_of.push((folder, share.records));
            }
        }
        let receipts: Vec<Arc<Receipt>> = records.into_iter().map(|record| Arc::new(record.into_receipt())).collect();
        for (folder, records) in records_of {
            // One that is not open any more is published.
            if let Some(file) = self.files.get_mut(&folder) {
                file.receipts.extend(records.into_iter().map(|number| Arc::clone(&receipts[number])));
            }
        }
        self.settle(receipts);
        if self.rows_since_look >= ROWS_BETWEEN_LOOKS {
            self.rows_since_look = 0;
            self.keep_within_bounds()?;
        }
        Ok(())
    }

    /// Publishes the files that were not written to for longest, until those of the group can be open.
    fn make_room(&mut self, group: &BTreeMap<usize, Share<'_>>) -> Result<(), SinkError> {
        let new = group.keys().filter(|folder| !self.files.contains_key(folder)).count();
        while self.files.len() + new > self.options.open_files.max(1) {
            let others = self.files.iter().filter(|(folder, _)| !group.contains_key(folder));
            let oldest = others.min_by_key(|(_, open)| open.last_batch).map(|(&folder, _)| folder);
            self.publish(oldest.expect("a group is no more than may be open"))?;
        }
        Ok(())
    }

    fn begin(&mut self, folder: usize) -> Result<OpenFile, SinkError> {
        self.begun += 1;
        let name = object_name(Timestamp::now(), self.begun, ".parquet");
        let name = format!("{}{name}", self.folders.get(folder));
        let object = self.store.create(&name)?;
        let target = object.target();
        let file = ParquetFile::new(object, Arc::clone(&self.layout)).map_err(at(&target))?;
        Ok(OpenFile { file, target, opened_at: Instant::now(), last_batch: 0, receipts: Vec::new() })
    }

    /// Each column of each file on its own, on all threads.
    fn write_columns(&mut self, shares: &BTreeMap<usize, Share<'_>>) -> Result<(), SinkError> {
        let files = self.files.iter_mut().filter_map(|(folder, open)| Some((open, &shares.get(folder)?.rows)));
        let tasks: Vec<(&mut ChunkWriter, &[Row<'_>], &str)> = files
            .flat_map(|(OpenFile { file, target, .. }, rows)| {
                file.columns(rows.len()).iter_mut().map(|column| (column, rows.as_slice(), target.as_str()))
            })
            .collect();
        self.pool.install(|| {
            tasks
                .into_par_iter()
                .with_max_len(1)
                .try_for_each(|(column, rows, target)| column.write(rows).map_err(at(target)))
        })
    }

    /// Ends row groups and files that are large enough, and more of them while they take too much.
    fn keep_within_bounds(&mut self) -> Result<(), SinkError> {
        let mut full = Vec::new();
        for (&folder, open) in &mut self.files {
            let OpenFile { file, target, opened_at, .. } = open;
            if file.group_len() >= GROUP_LEN || file.rows_in_group() >= GROUP_ROWS {
                file.end_row_group(&self.pool).map_err(at(target))?;
            }
            let is_old = self.options.file_age.is_some_and(|age| opened_at.elapsed() >= age);
            let is_large = file.written() + file.group_len() as u64 >= self.options.file_size;
            if is_large || is_old || self.folders.len() > MAX_FOLDERS {
                full.push(folder);
            }
        }
        full.into_iter().try_for_each(|folder| self.publish(folder))?;
        while self.files.values().map(|open| open.file.memory()).sum::<usize>() > self.options.memory {
            let largest = self.files.values_mut().max_by_key(|open| open.file.memory()).expect("something is large");
            largest.file.end_row_group(&self.pool).map_err(at(&largest.target))?;
        }
        if self.files.is_empty() {
            self.folders.clear();
        }
        Ok(())
    }

    fn publish(&mut self, folder: usize) -> Result<(), SinkError> {
        let Some(OpenFile { file, target, receipts, .. }) = self.files.remove(&folder) else { return Ok(()) };
        let Finished { object, bytes, row_groups } = file.finish(&self.pool).map_err(at(&target))?;
        object.publish()?;
        self.published.files += 1;
        self.published.bytes += bytes;
        self.published.row_groups += row_groups;
        self.settle(receipts);
        Ok(())
    }

    /// Acknowledges the records that no open file has a line of.
    fn settle(&mut self, receipts: Vec<Arc<Receipt>>) {
        for receipt in receipts {
            if let Some(receipt) = Arc::into_inner(receipt) {
                self.delivered.settle_lines(receipt);
            }
        }
    }

    /// After the first failure nothing is written or acknowledged: a record may be in a file that
    /// failed and in another one.
    fn or_fail<T>(&mut self, work: impl FnOnce(&mut Parquet) -> Result<T, SinkError>) -> Result<T, SinkError> {
        if self.has_failed {
            return Err(SinkError::io("Parquet", std::io::Error::other("a file before could not be written")));
        }
        let result = work(self);
        self.has_failed = result.is_err();
        result
    }
}

impl Sink for Parquet {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.or_fail(|parquet| {
            parquet.waiting_len += record.data_len();
            parquet.waiting.push(record);
            if parquet.waiting_len >= BATCH_LEN { parquet.write_waiting() } else { Ok(()) }
        })
    }

    /// Writes what waits, and publishes the files that are old enough.
    fn flush(&mut self) -> Result<(), SinkError> {
        self.or_fail(|parquet| {
            parquet.write_waiting()?;
            parquet.keep_within_bounds()
        })
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.or_fail(|parquet| {
            parquet.write_waiting()?;
            let folders: Vec<usize> = parquet.files.keys().copied().collect();
            folders.into_iter().try_for_each(|folder| parquet.publish(folder))
        })
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    /// None: files are no requests of records.
    fn requests(&self) -> u64 {
        0
    }

    fn files(&self) -> Option<Files> {
        Some(self.published)
    }
}

/// The rows that go to one folder.
#[derive(Default)]
struct Share<'a> {
    rows: Vec<Row<'a>>,
    /// The records that they are of.
    records: Vec<usize>,
}

/// The rows of some records, by the number of their folder.
fn shares<'a>(records: &'a [Record], columns: usize, folders: &mut Folders) -> BTreeMap<usize, Share<'a>> {
    let mut shares = BTreeMap::new();
    // Most lines come in the order of their time.
    let mut current = (usize::MAX, Share::default());
    for (number, record) in records.iter().enumerate() {
        for mut bytes in record.chunks() {
            while let Some((row, rest)) = Row::split_first(bytes, columns) {
                bytes = rest;
                let folder = folders.number_of(&row);
                if folder != current.0 {
                    let next = (folder, shares.remove(&folder).unwrap_or_default());
                    let (before, share) = std::mem::replace(&mut current, next);
                    shares.insert(before, share);
                }
                current.1.rows.push(row);
                if current.1.records.last() != Some(&number) {
                    current.1.records.push(number);
                }
            }
        }
    }
    shares.insert(current.0, current.1);
    shares.retain(|_, share| !share.rows.is_empty());
    shares
}

fn at(name: &str) -> impl FnOnce(ParquetError) -> SinkError + use<> {
    let name = name.to_owned();
    |error| {
        let error = match error {
            ParquetError::External(error) => match error.downcast::<std::io::Error>() {
                Ok(error) => *error,
                Err(error) => std::io::Error::other(error),
            },
            other => std::io::Error::other(other),
        };
        SinkError::io(name, error)
    }
}
