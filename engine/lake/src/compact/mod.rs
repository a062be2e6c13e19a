//! Few large Parquet files in place of many small ones, folder by folder.
//!
//! ```text
//! list ──► folders ──► text ──► temporary Parquet ─┐
//!                      Parquet ────────────────────┴─► ids that repeat ──► columns ──► new files
//!                                                                                         │
//!                        old files removed ◄── footers read back ◄── published ◄── journal ┘
//! ```
//! Rows never leave their folder, and no folder is half done: see `journal`.

mod columns;
mod files;
mod ids;
mod input;
mod journal;
mod merge;
mod report;
mod survey;
mod text;
mod values;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use parquet::schema::types::SchemaDescPtr;
use pixel_engine_core::config::{Config, Container, QuarantinePlace};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::inventory::{Inventory, Item};
use pixel_engine_core::sink::store::object_name;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use columns::Columns;
use files::{Chosen, Excluded, folders};
use ids::{Look, Seen};
use input::{Place, Section, Trouble};
use journal::{Outcome, Ready, Recovered};
use merge::{Failure, NewFile, Rows, Source};
use survey::{Survey, hashes, surveys};
use text::Converted;

use crate::file::{Finished, Layout};

pub use report::{Error, Left, Plan, Report, Summary};

/// Bytes of files that are read at a time, if there are more than one.
const BATCH_LEN: u64 = 8 << 20;
/// Files of a batch at most.
const BATCH_FILES: usize = 64;
/// A file of more bytes is read column by column.
const MAX_WHOLE: u64 = 16 << 20;
/// Requests for files at a time: most of their time is waiting.
const READERS: usize = 8;

/// What is compacted, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes at which a new file is large enough. Files of half of it and more are left alone.
    pub file_size: u64,
    /// Files that were written in this time are left alone: there may be more to come.
    pub older_than: Duration,
    /// The journal of a process that cannot be asked is taken for left behind after this time.
    pub recover_after: Duration,
    /// Nothing is changed.
    pub is_dry_run: bool,
}

impl Default for Options {
    fn default() -> Options {
        let (older_than, recover_after) = (Duration::from_mins(15), Duration::from_hours(1));
        Options { file_size: 128 << 20, older_than, recover_after, is_dry_run: false }
    }
}

/// How far it is, for others to look at.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the files that are to be compacted; 0 until that is known.
    pub bytes_total: AtomicU64,
    /// Those of them that were written to new files.
    pub bytes_done: AtomicU64,
    /// Folders that are done.
    pub folders_done: AtomicU64,
}

/// A compaction of everything below a place.
pub struct Compaction<'a> {
    store: Arc<dyn Inventory>,
    config: &'a Config,
    options: Options,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
}

impl<'a> Compaction<'a> {
    /// Of everything below that place. The configuration says what lines of text are and become,
    /// how pages are compressed, and where bad lines go.
    pub fn new(store: Arc<dyn Inventory>, config: &'a Config, options: Options) -> Compaction<'a> {
        Compaction { store, config, options, progress: Arc::default(), stop: Arc::default() }
    }

    /// Counts for others to look at while it goes on.
    pub fn progress(self, progress: Arc<Progress>) -> Compaction<'a> {
        Compaction { progress, ..self }
    }

    /// Ends early once the flag is set. A folder whose files are being replaced is ended first.
    pub fn stop(self, stop: Arc<AtomicBool>) -> Compaction<'a> {
        Compaction { stop, ..self }
    }

    /// Compacts folder after folder.
    pub fn run(&self) -> Report {
        let begun = Instant::now();
        let mut report = Report::default();
        report.summary.dry_run = self.options.is_dry_run;
        if let Err(error) = self.run_into(&mut report) {
            match error {
                Error::Stopped => report.summary.interrupted = true,
                error => report.error = Some(error),
            }
        }
        let summary = &mut report.summary;
        summary.files_not_reached =
            summary.files_found - (summary.files_in + summary.files_kept + summary.files_recent + summary.files_left);
        summary.bytes_after = summary.bytes_before - summary.bytes_in + summary.bytes_out;
        summary.elapsed_seconds = begun.elapsed().as_secs_f64();
        report
    }

    fn run_into(&self, report: &mut Report) -> Result<(), Error> {
        let mut folders = folders(self.store.list("")?);
        let mut held: BTreeMap<String, String> = BTreeMap::new();
        for (name, folder) in &mut folders {
            let Some(item) = folder.journal.take().filter(|_| !self.options.is_dry_run) else { continue };
            match journal::recover(&self.store, name, &item, self.options.recover_after) {
                Ok(Recovered::Finished | Recovered::Undone) => {
                    report.summary.folders_recovered += 1;
                    folder.items = self.items_of(name)?;
                }
                Ok(Recovered::Held) => {
                    let reason = "another compaction is replacing files of this folder, or was killed less than \
                                  --recover-after ago";
                    held.insert(name.clone(), reason.to_owned());
                }
                // The other folders have nothing to do with it.
                Err(error @ Error::Journal { .. }) => drop(held.insert(name.clone(), error.to_string())),
                Err(error) => return Err(error),
            }
        }
        folders.retain(|_, folder| !folder.items.is_empty());
        let all = || folders.values().flat_map(|folder| &folder.items);
        report.summary.folders_found = folders.len() as u64;
        report.summary.files_found = all().count() as u64;
        report.summary.bytes_before = all().map(|item| item.size).sum();
        self.progress.bytes_total.store(report.summary.bytes_before, Ordering::Relaxed);
        let pools = Pools::new(self.config.threads().get())?;
        for (name, folder) in folders {
            self.check_stop()?;
            let bytes: u64 = folder.items.iter().map(|item| item.size).sum();
            let before = self.progress.bytes_done.load(Ordering::Relaxed);
            if let Some(reason) = held.remove(&name) {
                report.summary.files_left += folder.items.len() as u64;
                report.left.push(Left { name, reason });
            } else {
                self.folder(&name, folder.items, &pools, report)?;
            }
            self.progress.bytes_done.store(before + bytes, Ordering::Relaxed);
            self.progress.folders_done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn items_of(&self, folder: &str) -> Result<Vec<Item>, Error> {
        Ok(folders(self.store.list(folder)?).remove(folder).unwrap_or_default().items)
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    fn folder(&self, name: &str, items: Vec<Item>, pools: &Pools, report: &mut Report) -> Result<(), Error> {
        let found = items.len() as u64;
        let mut chosen = self.choose(items)?;
        if self.options.is_dry_run && chosen.is_worth_it() {
            let all = || chosen.parquet.iter().chain(&chosen.text);
            let (files, bytes) = (all().count() as u64, all().map(|item| item.size).sum());
            report.plans.push(Plan { folder: name.to_owned(), files, bytes });
            report.summary.files_in += files;
            report.summary.folders_compacted += 1;
        } else {
            // A file that turns out to be unfit is left out, and the rest is begun anew.
            while chosen.is_worth_it() {
                match self.compact(name, &chosen, pools, report)? {
                    Done::Replaced => break,
                    Done::Without(excluded) => chosen.exclude(excluded),
                    Done::Left(reason) => {
                        report.left.push(Left { name: name.to_owned(), reason: reason.to_owned() });
                        report.summary.files_left += chosen.count();
                        chosen.clear();
                    }
                }
            }
            if !chosen.is_worth_it() {
                chosen.kept += chosen.count();
            }
        }
        report.summary.files_kept += chosen.kept;
        report.summary.files_recent += chosen.recent;
        report.summary.files_left += chosen.left.len() as u64;
        report.left.append(&mut chosen.left);
        debug_assert!(found > 0);
        Ok(())
    }

    fn choose(&self, items: Vec<Item>) -> Result<Chosen, Error> {
        let mut chosen = Chosen::default();
        let now = SystemTime::now();
        let is_recent = |item: &Item| {
            now.duration_since(item.modified).is_ok_and(|age| age < self.options.older_than) || item.modified > now
        };
        let is_active = items.iter().any(is_recent);
        for item in items {
            if is_recent(&item) {
                chosen.recent += 1;
            } else if item.size == 0 {
                chosen.kept += 1;
            } else if self.is_parquet(&item, &mut chosen.left)? {
                match item.size >= self.options.file_size / 2 {
                    true => chosen.kept += 1,
                    false => chosen.parquet.push(item),
                }
            } else if chosen.left.last().is_some_and(|left| left.name == item.name) {
                // It cannot be read.
            } else if is_active {
                // What reads text in this folder is not to find Parquet there while more text comes.
                chosen.recent += 1;
            } else {
                chosen.text.push(item);
            }
        }
        Ok(chosen)
    }

    /// By its name, else by how it begins.
    fn is_parquet(&self, item: &Item, left: &mut Vec<Left>) -> Result<bool, Error> {
        if item.name.to_ascii_lowercase().ends_with(".parquet") {
            return Ok(true);
        }
        match input::is_parquet(&self.place(item)) {
            Ok(is_parquet) => Ok(is_parquet),
            Err(Trouble::Place(error)) => Err(error.into()),
            Err(Trouble::File(reason)) => {
                left.push(Left { name: item.name.clone(), reason });
                Ok(false)
            }
        }
    }

    fn place(&self, item: &Item) -> Place {
        Place { store: Arc::clone(&self.store), item: item.clone() }
    }

    fn compact(&self, folder: &str, chosen: &Chosen, pools: &Pools, report: &mut Report) -> Result<Done, Error> {
        let inputs: Vec<_> = chosen.text.iter().map(|item| self.store.input(item)).collect();
        let converted = match text::convert(self.config, &inputs, &self.stop)? {
            Ok(converted) => converted,
            Err(refused) => {
                let place = |(place, reason)| (chosen.parquet.len() + place, reason);
                return Ok(Done::Without(refused.into_iter().map(place).collect()));
            }
        };
        let places = chosen.parquet.iter().map(|item| self.place(item)).chain(converted.places.iter().cloned());
        let places: Vec<Place> = places.collect();
        let known = chosen.parquet.len();
        // About a temporary file, it is not for the user to mend.
        let excluded = |troubles: Vec<(usize, Trouble)>| -> Result<Done, Error> {
            let mut excluded = Excluded::new();
            for (place, trouble) in troubles {
                match trouble {
                    Trouble::File(reason) if place < known => drop(excluded.insert(place, reason)),
                    trouble if place >= known => return Err(text::of_temporary(trouble)),
                    Trouble::Place(error) => return Err(error.into()),
                    Trouble::File(reason) => return Err(Error::Run(reason)),
                }
            }
            Ok(Done::Without(excluded))
        };
        let surveys = match surveys(places, &pools.readers) {
            Ok(surveys) => surveys,
            Err(troubles) => return excluded(troubles),
        };
        let files: Vec<Columns<'_>> =
            surveys.iter().map(|survey| Columns { schema: &survey.schema, rows: survey.rows }).collect();
        let merged = columns::merge(&files).map_err(|error| Error::Run(format!("{folder}: {error}")))?;
        if !merged.conflicts.is_empty() {
            return Ok(Done::Without(chosen.conflicts(merged.conflicts)));
        }
        let layout = Arc::new(self.layout(merged.schema, &surveys));
        let written = match self.write(folder, &surveys, &layout, pools) {
            Ok(written) => written,
            Err(Interrupted::Trouble(place, trouble)) => return excluded(vec![(place, trouble)]),
            Err(Interrupted::Error(error)) => return Err(error),
        };
        let found: u64 = surveys.iter().map(|survey| survey.rows).sum();
        let rows_out: u64 = written.files.iter().map(|file| file.rows).sum();
        let of_text: u64 = surveys[known..].iter().map(|survey| survey.rows).sum();
        if found != rows_out + written.duplicates || of_text != converted.rows {
            let folder = format!("{}{folder}", self.store.target());
            return Err(Error::Count { folder, found, written: rows_out, duplicates: written.duplicates });
        }
        self.check_stop()?;
        let old: Vec<Item> = chosen.parquet.iter().chain(&chosen.text).cloned().collect();
        let files_out = written.files.len() as u64;
        let keep = || self.keep_bad_lines(&converted);
        let bytes_out = match journal::replace(&self.store, folder, written.files, &old, keep)? {
            Outcome::Replaced { bytes } => bytes,
            Outcome::Left(reason) => return Ok(Done::Left(reason)),
        };
        let summary = &mut report.summary;
        summary.folders_compacted += 1;
        summary.files_in += old.len() as u64;
        summary.files_out += files_out;
        summary.rows_in += found;
        summary.rows_out += rows_out;
        summary.duplicates += written.duplicates;
        summary.lines_quarantined += converted.bad;
        summary.text_bytes_in += converted.bytes_in;
        summary.bytes_in += old.iter().map(|item| item.size).sum::<u64>();
        summary.bytes_out += bytes_out;
        Ok(Done::Replaced)
    }

    /// Adds bad lines to the quarantine: before their files go, and as late as that.
    fn keep_bad_lines(&self, converted: &Converted) -> Result<(), Error> {
        if converted.bad == 0 {
            return Ok(());
        }
        let at = |path: PathBuf| move |error| Error::Quarantine { path, error };
        let lines = fs::read(converted.bad_lines()).map_err(at(converted.bad_lines()))?;
        match self.config.quarantine() {
            QuarantinePlace::File(path) => {
                let add = || {
                    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                    file.write_all(&lines)?;
                    file.sync_all()
                };
                add().map_err(at(path.clone()))
            }
            _ => io::stderr().write_all(&lines).map_err(at(PathBuf::from("log:"))),
        }
    }

    fn layout(&self, schema: SchemaDescPtr, surveys: &[Survey]) -> Layout {
        let mut filtered = vec![false; schema.num_columns()];
        for survey in surveys {
            let of_file = merge::leaves_with(&schema, &survey.schema, |leaf| survey.filtered[leaf]);
            filtered.iter_mut().zip(of_file).for_each(|(all, of_file)| *all |= of_file);
        }
        // What programs note about a file holds for all of them, or for none.
        let mut notes = surveys.iter().map(|survey| (&survey.key_values, &survey.schema));
        let key_values = match notes.next() {
            Some(first) if notes.all(|other| other == first) => first.0.clone(),
            _ => None,
        };
        let Container::Parquet { codec, .. } = self.config.container() else { unreachable!("only Parquet is written") };
        merge::layout(schema, *codec, &filtered, key_values)
    }

    /// Writes the rows of all files to new ones, none of which is published.
    fn write(
        &self,
        folder: &str,
        surveys: &[Survey],
        layout: &Arc<Layout>,
        pools: &Pools,
    ) -> Result<Written, Interrupted> {
        let mut seen = self.repeated(surveys, pools)?;
        let mut written = Written::default();
        let mut open: Option<NewFile<'_>> = None;
        // A file ends only after a batch.
        let batch_len = BATCH_LEN.min(self.options.file_size);
        std::thread::scope(|scope| {
            // The next rows are read while these are written.
            let (to_writer, batches) = sync_channel(1);
            scope.spawn(move || {
                for batch in batches_of(surveys, batch_len, |survey| survey.place.item.size) {
                    let read = read_batch(surveys, batch, pools, &mut |rows| to_writer.send(Ok(rows)).is_ok());
                    if let Err(interrupted) = read {
                        let _ = to_writer.send(Err(interrupted));
                        return;
                    }
                }
            });
            for batch in &batches {
                let mut batch: Vec<Rows> = batch?;
                self.check_stop().map_err(Interrupted::Error)?;
                for rows in &mut batch {
                    written.duplicates += leave_out_repeated(rows, &mut seen)?;
                }
                let mut file = match open.take() {
                    Some(file) => file,
                    None => self.begin(folder, layout, pools, &mut written)?,
                };
                file.add(&batch)?;
                let bytes: u64 = batch.iter().map(|rows| bytes_of(&surveys[rows.file], rows)).sum();
                self.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
                match file.len() >= self.options.file_size {
                    true => written.end(file)?,
                    false => open = Some(file),
                }
            }
            match (open.take(), written.files.is_empty()) {
                (Some(file), _) => written.end(file)?,
                // Files without rows leave one without rows.
                (None, true) => {
                    let file = self.begin(folder, layout, pools, &mut written)?;
                    written.end(file)?;
                }
                (None, false) => {}
            }
            Ok(written)
        })
    }

    fn begin<'b>(
        &self,
        folder: &str,
        layout: &Arc<Layout>,
        pools: &'b Pools,
        written: &mut Written,
    ) -> Result<NewFile<'b>, Interrupted> {
        written
            .names
            .push(format!("{folder}{}", object_name(Timestamp::now(), written.names.len() as u64 + 1, ".parquet")));
        let name = written.names.last().expect("it was pushed");
        Ok(self.store.create(name).and_then(|object| NewFile::new(object, layout, &pools.columns))?)
    }

    /// The ids that come more than once.
    fn repeated(&self, surveys: &[Survey], pools: &Pools) -> Result<Seen, Interrupted> {
        let mut repeated = Vec::new();
        let with_ids: u64 = surveys.iter().filter(|survey| !survey.ids.is_empty()).map(|survey| survey.rows).sum();
        for mut look in Look::all(with_ids) {
            for batch in batches_of(surveys, BATCH_LEN, Survey::ids_len) {
                self.check_stop().map_err(Interrupted::Error)?;
                let hashes = pools.readers.install(|| {
                    let of_file = |file: usize| hashes(&surveys[file]).map_err(|it| Interrupted::Trouble(file, it));
                    batch.into_par_iter().map(of_file).collect::<Result<Vec<_>, Interrupted>>()
                })?;
                hashes.iter().for_each(|hashes| look.add(hashes));
            }
            repeated.extend(look.repeated());
        }
        Ok(Seen::new(repeated))
    }
}

/// What became of the files of a folder.
enum Done {
    Replaced,
    /// Not yet: these have to be left out.
    Without(Excluded),
    Left(&'static str),
}

/// Why rows cannot be written.
enum Interrupted {
    /// For this file.
    Trouble(usize, Trouble),
    Error(Error),
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Interrupted {
        match failure {
            Failure::Trouble(file, trouble) => Interrupted::Trouble(file, trouble),
            Failure::Sink(error) => error.into(),
        }
    }
}

impl From<SinkError> for Interrupted {
    fn from(error: SinkError) -> Interrupted {
        Interrupted::Error(error.into())
    }
}

/// The new files of a folder.
#[derive(Default)]
struct Written {
    names: Vec<String>,
    files: Vec<Ready>,
    duplicates: u64,
}

impl Written {
    fn end(&mut self, file: NewFile<'_>) -> Result<(), SinkError> {
        let (Finished { mut object, .. }, rows) = file.finish()?;
        let ready = object.make_ready()?;
        let name = self.names.last().expect("it was begun").clone();
        self.files.push(Ready { name, object, ready, rows });
        Ok(())
    }
}

/// Threads that read, and such that write columns.
struct Pools {
    readers: ThreadPool,
    columns: ThreadPool,
}

impl Pools {
    fn new(threads: usize) -> Result<Pools, Error> {
        let pool = |name: &'static str, threads| {
            let pool =
                ThreadPoolBuilder::new().num_threads(threads).thread_name(move |n| format!("{name}-{n}")).build();
            pool.map_err(|error| Error::Run(format!("starting {threads} threads: {error}")))
        };
        Ok(Pools { readers: pool("readers", READERS)?, columns: pool("columns", threads)? })
    }
}

/// Ranges of files that are read at a time.
fn batches_of(surveys: &[Survey], batch_len: u64, len: impl Fn(&Survey) -> u64) -> Vec<std::ops::Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, survey) in surveys.iter().enumerate() {
        let more = len(survey);
        if place > start && (bytes + more > batch_len || place - start >= BATCH_FILES) {
            batches.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += more;
    }
    if start < surveys.len() {
        batches.push(start..surveys.len());
    }
    batches
}

/// Reads files, and hands their rows on: those of small ones together, those of a large one row group
/// by row group. Ends early when nobody wants more.
fn read_batch(
    surveys: &[Survey],
    batch: std::ops::Range<usize>,
    pools: &Pools,
    send: &mut impl FnMut(Vec<Rows>) -> bool,
) -> Result<(), Interrupted> {
    if let [survey] = &surveys[batch.clone()]
        && survey.place.item.size > MAX_WHOLE
    {
        let file = batch.start;
        let metadata = Arc::new(survey.place.footer().map_err(|trouble| Interrupted::Trouble(file, trouble))?);
        for group in 0..metadata.num_row_groups() {
            let bytes = Source::Place(survey.place.clone());
            if !send(vec![Rows { file, metadata: Arc::clone(&metadata), group, bytes, kept: None }]) {
                break;
            }
        }
        return Ok(());
    }
    let read = |file: usize| {
        let place = &surveys[file].place;
        let bytes = place.read(0..place.item.size).map(Section::whole);
        let of_file = bytes.and_then(|section| Ok((Arc::new(section.footer()?), section)));
        of_file.map_err(|trouble| Interrupted::Trouble(file, trouble))
    };
    let files = pools.readers.install(|| batch.clone().into_par_iter().map(read).collect::<Result<Vec<_>, _>>())?;
    let rows = batch.zip(files).flat_map(|(file, (metadata, section))| {
        (0..metadata.num_row_groups()).map(move |group| {
            let bytes = Source::Memory(section.clone());
            Rows { file, metadata: Arc::clone(&metadata), group, bytes, kept: None }
        })
    });
    send(rows.collect());
    Ok(())
}

/// Marks the rows whose id was there before; returns how many.
fn leave_out_repeated(rows: &mut Rows, seen: &mut Seen) -> Result<u64, Interrupted> {
    if seen.has_none() {
        return Ok(0);
    }
    let mut kept = Vec::new();
    let ids = rows.ids(|id| kept.push(id.is_none_or(|id| seen.is_first(id))));
    ids.map_err(|trouble| Interrupted::Trouble(rows.file, trouble))?;
    let left_out = kept.iter().filter(|&&kept| !kept).count() as u64;
    if left_out > 0 {
        rows.kept = Some(kept);
    }
    Ok(left_out)
}

/// The share of a file's bytes that is these rows'.
fn bytes_of(survey: &Survey, rows: &Rows) -> u64 {
    survey.place.item.size / rows.metadata.num_row_groups().max(1) as u64
}
