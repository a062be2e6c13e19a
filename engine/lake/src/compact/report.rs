//! How a compaction ended.

use std::io;
use std::path::PathBuf;

use pixel_engine_core::sink::SinkError;
use serde::Serialize;

/// What was done, in numbers. `files_found = files_in + files_kept + files_recent + files_left +
/// files_not_reached` and `rows_in = rows_out + duplicates`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Whether nothing was changed: the numbers of what would be done, as far as listing tells.
    pub dry_run: bool,
    /// Folders with files.
    pub folders_found: u64,
    /// Folders with new files.
    pub folders_compacted: u64,
    /// Folders in which an earlier compaction had been killed.
    pub folders_recovered: u64,
    /// Data files, after recovery.
    pub files_found: u64,
    /// Files that were replaced.
    pub files_in: u64,
    /// Files that replaced them.
    pub files_out: u64,
    /// Files that are large enough, or alone.
    pub files_kept: u64,
    /// Files that may still be written to, or beside such.
    pub files_recent: u64,
    /// Files that cannot be compacted: see [`Report::left`].
    pub files_left: u64,
    /// Files of folders that were not reached, for an error or a stop.
    pub files_not_reached: u64,
    /// Rows of Parquet files and good lines of text that were read.
    pub rows_in: u64,
    /// Rows that were written.
    pub rows_out: u64,
    /// Rows that repeat the request of another.
    pub duplicates: u64,
    /// Lines of text that are in the quarantine.
    pub lines_quarantined: u64,
    /// Bytes of the data files before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Bytes of the files that were replaced.
    pub bytes_in: u64,
    /// Bytes of the files that replaced them.
    pub bytes_out: u64,
    /// Bytes of text, decompressed.
    pub text_bytes_in: u64,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
    /// Wall time in seconds.
    pub elapsed_seconds: f64,
}

/// A file, or a folder, that was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Its name below the place.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What would become of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The folder, below the place.
    pub folder: String,
    /// Files that would be replaced.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How a compaction ended.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The numbers.
    pub summary: Summary,
    /// What could not be compacted.
    pub left: Vec<Left>,
    /// Of a dry run: what would be done.
    pub plans: Vec<Plan>,
    /// What ended it early.
    pub error: Option<Error>,
}

/// A compaction cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder or the bucket cannot be read or written.
    #[error(transparent)]
    Sink(Box<SinkError>),
    /// Lines cannot be read as rows: no threads, no memory.
    #[error("{0}")]
    Run(String),
    /// Bad lines cannot be kept.
    #[error("quarantine {path}: {error}")]
    Quarantine {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// There are not as many rows as there should be: a fault of this program, or of the disk.
    #[error(
        "{folder}: {found} rows were read, and {written} written and {duplicates} left out as duplicates; nothing was changed"
    )]
    Count {
        /// The folder.
        folder: String,
        /// Rows of the old files.
        found: u64,
        /// Rows of the new files.
        written: u64,
        /// Rows that repeat another.
        duplicates: u64,
    },
    /// A new file, read back, does not have its rows. It was removed; all old ones are there.
    #[error(
        "{folder}: a new file does not have its rows when it is read back: the new files were removed, and no old one was"
    )]
    Rows {
        /// The folder.
        folder: String,
    },
    /// Another process took this one for gone.
    #[error("{folder}: another compaction has taken over while this one was held up: run it again")]
    Lost {
        /// The folder.
        folder: String,
    },
    /// A journal cannot be read.
    #[error("{name}: the journal of a compaction cannot be read: {reason}: nothing was changed in its folder")]
    Journal {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
    /// It was stopped.
    #[error("stopped")]
    Stopped,
}
