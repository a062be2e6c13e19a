//! The sink that writes Parquet files.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parquet::errors::ParquetError;
use pixel_engine_core::compress::Codec;
use pixel_engine_core::record::{Delivered, Receipt, Record};
use pixel_engine_core::sink::publish::Publisher;
use pixel_engine_core::sink::statistics::{Files, Shipping};
use pixel_engine_core::sink::store::object_name;
use pixel_engine_core::sink::{Sink, SinkError};
use pixel_engine_log::encode::row::Row;
use pixel_engine_log::table::Table;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::file::{ChunkWriter, Finished, Leaf, ParquetFile, TableLayout};
use crate::folders::Folders;

/// Bytes of rows at which a row group ends that is sorted: until then they are in memory as they are.
const SORTED_LEN: usize = 64 << 20;
/// Folders whose names are kept: a month of hours, or values that should have been no folders.
const MAX_FOLDERS: usize = 10_000;
/// Between two looks at how much memory files take.
const ROWS_BETWEEN_LOOKS: usize = 16_384;
/// Bytes of rows that are written at a time; after them, the threads that write columns wait for each
/// other.
const GATHERED_LEN: usize = 2 << 20;

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
    pub open_files: NonZeroUsize,
    /// Bytes of memory that all open row groups may take together.
    pub memory: usize,
    /// Threads that write columns.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            codec: Codec::Zstd(1),
            file_size: 128 << 20,
            file_age: None,
            open_files: NonZeroUsize::new(64).expect("64 is not zero"),
            memory: 96 << 20,
            threads: 1,
        }
    }
}

/// Writes rows to Parquet files in a store.
pub struct Parquet {
    publisher: Publisher,
    layout: TableLayout,
    columns: usize,
    options: Options,
    pool: ThreadPool,
    folders: Folders,
    /// Records that are written together with those to come, and their bytes.
    gathered: Vec<Record>,
    gathered_len: usize,
    /// When the first of them has waited for as long as a file stays open.
    gathered_due: Option<Instant>,
    /// By the number of their folder.
    files: BTreeMap<usize, OpenFile>,
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
    name: String,
    /// What messages call it.
    target: String,
    /// When it has been open for long enough.
    due: Option<Instant>,
    /// Which batch wrote to it last.
    last_batch: u64,
    /// Of the lines in it.
    receipts: Vec<Receipt>,
    /// What is to be sorted before it is written, and how many bytes that takes.
    unsorted: Vec<Record>,
    unsorted_len: usize,
}

impl Parquet {
    /// Files of that table.
    ///
    /// # Errors
    /// There are no threads to be had, or the table has columns that Parquet cannot have.
    pub fn new(publisher: Publisher, table: &Table, options: Options) -> Result<Parquet, SinkError> {
        let refused =
            |error: &dyn std::error::Error| SinkError::io("Parquet", std::io::Error::other(error.to_string()));
        let threads = ThreadPoolBuilder::new().num_threads(options.threads).thread_name(|n| format!("columns-{n}"));
        Ok(Parquet {
            publisher,
            layout: TableLayout::new(table, options.codec).map_err(|error| refused(&error))?,
            columns: table.columns().len(),
            pool: threads.build().map_err(|error| refused(&error))?,
            options,
            folders: Folders::new(table),
            gathered: Vec::new(),
            gathered_len: 0,
            gathered_due: None,
            files: BTreeMap::new(),
            rows_since_look: 0,
            batches: 0,
            begun: 0,
            delivered: Delivered::default(),
            published: Files::default(),
            has_failed: false,
        })
    }

    /// Takes a record, and writes it with those before when there is enough to do for all threads.
    fn take(&mut self, record: Record) -> Result<(), SinkError> {
        if self.gathered.is_empty() {
            self.gathered_due = self.options.file_age.map(|age| Instant::now() + age);
        }
        self.gathered_len += record.data_len();
        self.gathered.push(record);
        if self.gathered_len >= GATHERED_LEN { self.write_gathered() } else { Ok(()) }
    }

    /// Writes the rows of the records to the files of their folders.
    fn write_gathered(&mut self) -> Result<(), SinkError> {
        self.batches += 1;
        self.gathered_len = 0;
        let due = self.gathered_due.take();
        let mut shares = BTreeMap::<usize, Vec<Record>>::new();
        for record in std::mem::take(&mut self.gathered) {
            self.share(record, &mut shares);
        }
        let mut shares: Vec<_> = shares.into_iter().collect();
        while !shares.is_empty() {
            let rest = shares.split_off(shares.len().min(self.options.open_files.get()));
            self.open(&shares, due)?;
            let is_sorted = self.layout.is_sorted();
            if !is_sorted {
                self.write_columns(&shares)?;
            }
            for (folder, records) in shares {
                let open = self.files.get_mut(&folder).expect("it was opened above");
                self.rows_since_look += records.iter().map(Record::lines).sum::<usize>();
                if is_sorted {
                    open.unsorted_len += records.iter().map(Record::data_len).sum::<usize>();
                    open.unsorted.extend(records);
                } else {
                    open.receipts.extend(records.into_iter().map(Record::into_receipt));
                }
            }
            shares = rest;
        }
        if self.rows_since_look >= ROWS_BETWEEN_LOOKS {
            self.rows_since_look = 0;
            self.keep_within_bounds()?;
        }
        Ok(())
    }

    /// Adds the record, or its parts, to those of the folders that they belong to.
    fn share(&mut self, record: Record, shares: &mut BTreeMap<usize, Vec<Record>>) {
        let folder_of_row: Vec<usize> = rows(&record, self.columns).map(|row| self.folders.number_of(&row)).collect();
        let mut folders = folder_of_row.clone();
        folders.sort_unstable();
        folders.dedup();
        if let [folder] = folders[..] {
            return shares.entry(folder).or_default().push(record);
        }
        let part = |folder: &usize| folders.binary_search(folder).expect("all of them are there");
        let part_of_row: Vec<usize> = folder_of_row.iter().map(part).collect();
        let records = record.share(&part_of_row, folders.len());
        for (folder, record) in folders.into_iter().zip(records) {
            shares.entry(folder).or_default().push(record);
        }
    }

    /// Opens a file for each of these folders, no more than may be open. Those that were written to
    /// longest ago make room.
    fn open(&mut self, shares: &[(usize, Vec<Record>)], due: Option<Instant>) -> Result<(), SinkError> {
        for (folder, _) in shares {
            if let Some(open) = self.files.get_mut(folder) {
                open.last_batch = self.batches;
            }
        }
        for &(folder, _) in shares {
            if self.files.contains_key(&folder) {
                continue;
            }
            if self.files.len() >= self.options.open_files.get() {
                let of_others = self.files.iter().filter(|(folder, _)| shares.iter().all(|share| share.0 != **folder));
                let oldest = of_others.min_by_key(|(_, open)| open.last_batch).map(|(&folder, _)| folder);
                self.publish(oldest.expect("there is room for all of these"))?;
            }
            let file = self.begin(folder, due)?;
            self.files.insert(folder, file);
        }
        Ok(())
    }

    fn begin(&mut self, folder: usize, due: Option<Instant>) -> Result<OpenFile, SinkError> {
        self.begun += 1;
        let name = object_name(Timestamp::now(), self.begun, ".parquet");
        let name = format!("{}{name}", self.folders.get(folder));
        let object = self.publisher.create(&name)?;
        let target = object.target();
        let file = ParquetFile::new(object, Arc::clone(&self.layout.file)).map_err(at(&target))?;
        let last_batch = self.batches;
        let (receipts, unsorted) = (Vec::new(), Vec::new());
        Ok(OpenFile { file, name, target, due, last_batch, receipts, unsorted, unsorted_len: 0 })
    }

    /// Each column of each file on its own, on all threads.
    fn write_columns(&mut self, shares: &[(usize, Vec<Record>)]) -> Result<(), SinkError> {
        let rows: Vec<Vec<Row<'_>>> = shares.iter().map(|(_, records)| rows_of(records, self.columns)).collect();
        // Both are in the order of their folders.
        let mut shares = shares.iter().zip(&rows).peekable();
        let files = self.files.iter_mut().filter_map(|(folder, open)| {
            let (_, rows) = shares.next_if(|((other, _), _)| other == folder)?;
            Some((open, rows))
        });
        let leaves = &self.layout.leaves;
        let tasks = files.flat_map(|(open, rows)| open.columns(leaves, rows)).collect();
        write_columns(tasks, &self.pool)
    }

    /// Ends row groups and files that are large enough, and more of them while they take too much.
    fn keep_within_bounds(&mut self) -> Result<(), SinkError> {
        let mut full = Vec::new();
        for (&folder, open) in &mut self.files {
            let file = &open.file;
            if file.is_group_full() || open.unsorted_len >= SORTED_LEN {
                open.end_row_group(&self.layout, self.columns, &self.pool)?;
            }
            let OpenFile { file, due, .. } = open;
            let is_old = due.is_some_and(|due| due <= Instant::now());
            if file.written() + file.group_len() as u64 >= self.options.file_size || is_old {
                full.push(folder);
            }
        }
        full.into_iter().try_for_each(|folder| self.publish(folder))?;
        while self.files.values().map(OpenFile::memory).sum::<usize>() > self.options.memory {
            let largest = self.files.values_mut().max_by_key(|open| open.memory()).expect("something is large");
            largest.end_row_group(&self.layout, self.columns, &self.pool)?;
        }
        if self.folders.len() > MAX_FOLDERS {
            self.publish_all()?;
        }
        if self.files.is_empty() {
            self.folders.clear();
        }
        Ok(())
    }

    fn publish_all(&mut self) -> Result<(), SinkError> {
        let folders: Vec<usize> = self.files.keys().copied().collect();
        folders.into_iter().try_for_each(|folder| self.publish(folder))
    }

    fn publish(&mut self, folder: usize) -> Result<(), SinkError> {
        let Some(mut open) = self.files.remove(&folder) else { return Ok(()) };
        open.end_row_group(&self.layout, self.columns, &self.pool)?;
        let OpenFile { file, name, target, receipts, .. } = open;
        let Finished { object, bytes, row_groups } = file.finish(&self.pool).map_err(at(&target))?;
        self.publisher.publish(&name, object, receipts, |receipt| self.delivered.settle_lines(receipt))?;
        self.published.files += 1;
        self.published.bytes += bytes;
        self.published.row_groups += row_groups;
        Ok(())
    }

    /// After the first failure nothing is written: what of the record went to which file is not known.
    fn or_fail<T>(&mut self, work: impl FnOnce(&mut Parquet) -> Result<T, SinkError>) -> Result<T, SinkError> {
        if self.has_failed {
            return Err(SinkError::io("Parquet", std::io::Error::other("a file before could not be written")));
        }
        let result = work(self);
        self.has_failed = result.is_err();
        result
    }
}

impl OpenFile {
    /// Each column of its open row group, with what it takes of rows that are added.
    fn columns<'a>(&'a mut self, leaves: &'a [Leaf], rows: &'a [Row<'a>]) -> impl Iterator<Item = Task<'a>> {
        let OpenFile { file, target, .. } = self;
        let chunks = file.columns(rows.len()).iter_mut();
        chunks.zip(leaves).map(|(chunk, &leaf)| Task { chunk, leaf, rows, target })
    }

    /// Bytes of memory that its open row group takes.
    fn memory(&self) -> usize {
        self.file.memory() + self.unsorted_len
    }

    /// Writes what was to be sorted, and hands the row group to the store.
    fn end_row_group(&mut self, layout: &TableLayout, columns: usize, pool: &ThreadPool) -> Result<(), SinkError> {
        let unsorted = std::mem::take(&mut self.unsorted);
        if !unsorted.is_empty() {
            let mut sorted = rows_of(&unsorted, columns);
            pool.install(|| layout.sort(&mut sorted));
            write_columns(self.columns(&layout.leaves, &sorted).collect(), pool)?;
            drop(sorted);
            self.receipts.extend(unsorted.into_iter().map(Record::into_receipt));
            self.unsorted_len = 0;
        }
        self.file.end_row_group(pool).map_err(at(&self.target))
    }
}

/// Rows that are to be written to a column of a file; messages name it.
struct Task<'a> {
    chunk: &'a mut ChunkWriter,
    leaf: Leaf,
    rows: &'a [Row<'a>],
    target: &'a str,
}

/// Writes to each column what it takes of its rows, on all threads.
fn write_columns(tasks: Vec<Task<'_>>, pool: &ThreadPool) -> Result<(), SinkError> {
    let tasks = tasks.into_par_iter().with_max_len(1);
    pool.install(|| {
        tasks.try_for_each(|Task { chunk, leaf, rows, target }| leaf.write(rows, chunk).map_err(at(target)))
    })
}

impl Sink for Parquet {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.or_fail(|parquet| parquet.take(record))
    }

    /// Publishes the files that are old enough.
    fn flush(&mut self) -> Result<(), SinkError> {
        self.or_fail(|parquet| {
            parquet.write_gathered()?;
            parquet.keep_within_bounds()
        })
    }

    fn flush_due(&self) -> Option<Instant> {
        self.files.values().filter_map(|open| open.due).chain(self.gathered_due).min()
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.or_fail(|parquet| {
            parquet.write_gathered()?;
            parquet.publish_all()
        })
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    /// Those of the store: files are no requests of records.
    fn requests(&self) -> u64 {
        self.shipping().map_or(0, |shipping| shipping.requests)
    }

    fn shipping(&self) -> Option<Shipping> {
        self.publisher.shipping()
    }

    fn files(&self) -> Option<Files> {
        Some(self.published)
    }
}

/// The rows of all these records.
fn rows_of(records: &[Record], columns: usize) -> Vec<Row<'_>> {
    records.iter().flat_map(|record| rows(record, columns)).collect()
}

/// The rows of a record.
fn rows(record: &Record, columns: usize) -> impl Iterator<Item = Row<'_>> {
    record.chunks().flat_map(move |mut bytes| {
        std::iter::from_fn(move || {
            let (row, rest) = Row::split_first(bytes, columns)?;
            bytes = rest;
            Some(row)
        })
    })
}

pub(crate) fn at(name: &str) -> impl FnOnce(ParquetError) -> SinkError + use<> {
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
