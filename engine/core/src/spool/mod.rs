//! A folder of batches that could not be sent, to be sent later.
//!
//! One file holds one batch, the records of one API request: see [`read`] for its form. [`Spool`]
//! writes them, one process at a time; [`batches`], [`read`] and [`remove`] are for whoever sends
//! them, at the same time if need be. A file that can be seen is complete: it is written under a
//! hidden name that ends in `.partial`, synced, renamed, and the folder synced. It is removed only
//! after its records are acknowledged. So a crash at any instant leaves each batch in the folder,
//! or acknowledged, or both: then its records come twice.
//!
//! ```
//! use pixel_engine_core::record::Record;
//! use pixel_engine_core::sink::limits::Api;
//! use pixel_engine_core::spool::{self, Contents, Destination, Spool};
//!
//! let folder = tempfile::tempdir()?;
//! let destination = Destination { api: Api::PutRecordBatch, stream: "pixel".to_owned() };
//! let record = Record::from_bytes(b"a line\n".to_vec(), 1, None, Vec::new());
//! Spool::open(folder.path(), 1 << 30)?.keep(&destination, Contents::Lines, &[&record])?;
//!
//! let _lock = spool::lock_for_shipping(folder.path())?;
//! for path in spool::batches(folder.path())? {
//!     let batch = spool::read(&path)?;
//!     assert_eq!((batch.destination.stream.as_str(), &batch.records[0].data[..]), ("pixel", &b"a line\n"[..]));
//!     // Send them, and then:
//!     spool::remove(&path)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub use batch::{Batch, Contents, Outline, SpooledRecord, outline, read};

use crate::durable;
use crate::record::Record;
use crate::sink::limits::Api;

/// Where the records of a batch were to go; they are packed to its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The API that takes them.
    pub api: Api,
    /// The stream's name or ARN.
    pub stream: String,
}

/// What can go wrong with a spool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The system refuses: a full disk, no permission, no such folder.
    #[error("spool {path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Another process writes to the folder, or sends what is in it.
    #[error("spool {folder}: another process has it open to {purpose}")]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// What the other one does.
        purpose: &'static str,
    },
    /// The batch would pass the limit; it was not kept.
    #[error("spool {folder} is full: {bytes} of {limit} bytes are used, {needed} more are needed")]
    Full {
        /// The folder.
        folder: PathBuf,
        /// Bytes of the batches in it.
        bytes: u64,
        /// The most that there may be.
        limit: u64,
        /// Bytes of the batch.
        needed: u64,
    },
    /// A batch that is not as it was written: cut, extended or changed. The file is left as it is.
    #[error("spool {path}: damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where that showed.
        offset: u64,
        /// How.
        reason: String,
    },
    /// A batch, whole, in a form that this version of the program does not know.
    #[error("spool {path}: written in form {version}, this version of pixel-engine reads forms 1 and 2")]
    Version {
        /// The file.
        path: PathBuf,
        /// The form's number.
        version: u64,
    },
}

/// The folder, open to keep batches in it.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    size_limit: u64,
    bytes: u64,
    batches: u64,
    /// The name of the last batch, without its extension: the next one is greater.
    last: (String, u64),
    _lock: File,
}

/// What the names of batches end in.
const EXTENSION: &str = "batch";

impl Spool {
    /// Opens the folder, which is made, for batches of at most `size_limit` bytes together. Partial
    /// files, which only a crash leaves and which no one was told are safe, are removed.
    ///
    /// # Errors
    /// The folder cannot be made, read or written to, or another process keeps batches in it.
    pub fn open(folder: impl Into<PathBuf>, size_limit: u64) -> Result<Spool, SpoolError> {
        let folder = folder.into();
        durable::make_folder(&folder).map_err(at(&folder))?;
        let lock = lock(&folder, ".lock", "keep batches in it")?;
        for path in files(&folder)? {
            if path.as_os_str().as_encoded_bytes().ends_with(b".batch.partial") {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        let last = batches(&folder)?.last().and_then(|path| parse_name(path)).unwrap_or_default();
        let mut spool = Spool { folder, size_limit, bytes: 0, batches: 0, last, _lock: lock };
        spool.count()?;
        Ok(spool)
    }

    /// Keeps the records as one batch. They are safe when this returns `Ok`, and not kept at all on
    /// an error.
    ///
    /// # Errors
    /// The batch would pass the size limit ([`SpoolError::Full`]), or cannot be written.
    pub fn keep(
        &mut self,
        destination: &Destination,
        contents: Contents,
        records: &[&Record],
    ) -> Result<(), SpoolError> {
        if records.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        let front = batch::front(destination, contents, records, now.to_string());
        let needed = batch::size(&front, records);
        if self.bytes + needed > self.size_limit {
            // Someone may have sent some of it.
            self.count()?;
        }
        if self.bytes + needed > self.size_limit {
            return Err(SpoolError::Full {
                folder: self.folder.clone(),
                bytes: self.bytes,
                limit: self.size_limit,
                needed,
            });
        }
        let path = self.next_path(now);
        durable::publish(&path, |file| batch::write(file, &front, records)).map_err(|error| {
            // When all but the last sync went well, the batch would be sent from here and by the
            // caller.
            let _ = fs::remove_file(&path);
            SpoolError::Io { path, error }
        })?;
        self.bytes += needed;
        self.batches += 1;
        Ok(())
    }

    /// Bytes of the batches in the folder, when they were last counted and with those kept since.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many batches that is.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    fn count(&mut self) -> Result<(), SpoolError> {
        let Usage { batches, bytes, .. } = usage(&self.folder)?;
        (self.bytes, self.batches) = (bytes, batches);
        Ok(())
    }

    /// A name that sorts after that of every batch in the folder, even when the clock was set back.
    fn next_path(&mut self, now: Timestamp) -> PathBuf {
        let time = now.strftime("%Y-%m-%dT%H-%M-%S.%6fZ").to_string();
        let (last_time, count) = &self.last;
        self.last = (time.max(last_time.clone()), count + 1);
        let (time, count) = &self.last;
        self.folder.join(format!("{time}_{count:010}.{EXTENSION}"))
    }
}

/// The time and the counter in the name of a batch.
fn parse_name(path: &Path) -> Option<(String, u64)> {
    let (time, count) = path.file_stem()?.to_str()?.split_once('_')?;
    Some((time.to_owned(), count.parse().ok()?))
}

/// The batches in the folder, in the order in which they were kept.
///
/// # Errors
/// The folder cannot be read.
pub fn batches(folder: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let mut paths = files(folder)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    paths.sort();
    Ok(paths)
}

/// What is in a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Batches in the folder.
    pub batches: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// How long ago the oldest of them was kept; `None` without a batch.
    pub oldest: Option<Duration>,
}

/// What is in the folder now.
///
/// # Errors
/// The folder cannot be read.
pub fn usage(folder: &Path) -> Result<Usage, SpoolError> {
    let mut usage = Usage::default();
    for path in batches(folder)? {
        match fs::metadata(&path) {
            Ok(metadata) => {
                if usage.batches == 0 {
                    usage.oldest = kept_at(&path).map(|kept| kept.duration_until(Timestamp::now()).unsigned_abs());
                }
                usage.bytes += metadata.len();
                usage.batches += 1;
            }
            // Sent and removed just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SpoolError::Io { path, error }),
        }
    }
    Ok(usage)
}

/// When a batch was kept, by its name: its file is written anew when a part of it was sent.
fn kept_at(path: &Path) -> Option<Timestamp> {
    let (time, _) = parse_name(path)?;
    let time = DateTime::strptime("%Y-%m-%dT%H-%M-%S%.fZ", time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    entries.map(|entry| Ok(entry.map_err(at(folder))?.path())).collect()
}

/// Removes a batch whose records are acknowledged.
///
/// # Errors
/// The file cannot be removed, or the folder not be synced: then it may be there again after a
/// crash of the machine.
pub fn remove(path: &Path) -> Result<(), SpoolError> {
    fs::remove_file(path).and_then(|()| durable::sync_folder_of(path)).map_err(at(path))
}

/// Leaves only these records in a batch, once the others are acknowledged. After a crash, the file
/// is as it was or as it should be.
///
/// # Errors
/// The file cannot be written; it is as it was.
pub(crate) fn replace(path: &Path, batch: Batch) -> Result<(), SpoolError> {
    let Batch { destination, contents, kept, records } = batch;
    let records: Vec<Record> = records
        .into_iter()
        .map(|record| Record::from_bytes(record.data, record.lines, record.key, Vec::new()))
        .collect();
    let records: Vec<&Record> = records.iter().collect();
    let front = batch::front(&destination, contents, &records, kept);
    durable::publish(path, |file| batch::write(file, &front, &records)).map_err(at(path))
}

/// Held by the one process that sends the batches of a folder, so that two do not send the same
/// ones.
#[derive(Debug)]
pub struct ShipLock {
    _file: File,
}

/// Takes that lock. It does not keep a [`Spool`] from adding batches.
///
/// # Errors
/// Another process holds it, or the folder is not there or cannot be written to.
pub fn lock_for_shipping(folder: &Path) -> Result<ShipLock, SpoolError> {
    Ok(ShipLock { _file: lock(folder, ".ship.lock", "send what is in it")? })
}

fn lock(folder: &Path, name: &str, purpose: &'static str) -> Result<File, SpoolError> {
    let path = folder.join(name);
    durable::lock(&path).map_err(at(&path))?.ok_or_else(|| SpoolError::Locked { folder: folder.to_owned(), purpose })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SpoolError + use<> {
    let path = path.to_owned();
    |error| SpoolError::Io { path, error }
}

#[cfg(test)]
mod tests;
