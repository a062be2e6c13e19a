//! The files of a journal.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, Standing};
use crate::privacy::TreatmentId;
use crate::source::{Format, InputError, OpenFile};

/// What the lines of a segment have in common, so that they can be read one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Real-time logs.
    RealTime,
    /// JSON objects, one a line.
    Json,
    /// Standard logs that begin with a `#Fields:` header.
    Standard,
    /// Lines that nothing may stand before or behind: standard logs without a header.
    Alone,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::RealTime, Kind::Json, Kind::Standard, Kind::Alone];

    fn extension(self) -> &'static str {
        match self {
            Kind::RealTime => "tsv",
            Kind::Json => "jsonl",
            Kind::Standard => "log",
            Kind::Alone => "alone.log",
        }
    }

    /// What its lines are read as.
    pub fn format(self) -> Format {
        match self {
            Kind::RealTime => Format::RealTime,
            Kind::Json => Format::Json,
            Kind::Standard | Kind::Alone => Format::Standard,
        }
    }
}

/// One file: `NUMBER.EXTENSION`, with twenty digits, or `NUMBER.TREATMENT.EXTENSION` where its lines
/// were [treated](crate::privacy) before they were written. No number is used twice.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) treatment: Option<TreatmentId>,
}

/// What stands for a journal in place of a device. No device of a file system has that bit.
pub(super) fn device(folder: &Path) -> u64 {
    1 << 63 | u64::from(crc32fast::hash(folder.as_os_str().as_encoded_bytes()))
}

impl Segment {
    /// What tells it from other files: the journal in place of a device, and its number. An inode
    /// would not do: that of a segment that was removed is given to the next one, which may begin
    /// with the same lines.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (device(self.path.parent().unwrap_or(Path::new(""))), self.number)
    }

    /// Opens it for whoever reads it.
    pub(crate) fn open(&self) -> Result<OpenFile, InputError> {
        let mut file = OpenFile::open(&self.path)?;
        (file.device, file.inode) = self.identity();
        Ok(file)
    }

    pub(super) fn path(folder: &Path, number: u64, kind: Kind, treatment: Option<TreatmentId>) -> PathBuf {
        let treatment = treatment.map(|id| format!(".{id}")).unwrap_or_default();
        folder.join(format!("{number:020}{treatment}.{}", kind.extension()))
    }

    fn of(path: PathBuf) -> Option<Segment> {
        let (number, rest) = path.file_name()?.to_str()?.split_once('.')?;
        let treated = rest.split_once('.').and_then(|(id, extension)| Some((id.parse().ok()?, extension)));
        let (treatment, extension) = treated.map_or((None, rest), |(id, extension)| (Some(id), extension));
        let kind = Kind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        Some(Segment { number: number.parse().ok()?, format: kind.format(), treatment, path })
    }

    /// Whether all of its lines are delivered by what that checkpoint says. Part of a line at the
    /// end, of a write that failed, is not one.
    pub(super) fn is_delivered(&self, checkpoint: &Checkpoint) -> io::Result<bool> {
        let file = self.open().map_err(io::Error::other)?;
        let delivered = match checkpoint.standing(&file) {
            Standing::Done => return Ok(true),
            Standing::Left(position) => position.offset,
            Standing::New | Standing::Replaced { .. } => 0,
        };
        let size = file.size;
        let file = file.into_file().expect("what is opened by its path is a file");
        let mut at = delivered;
        let mut bytes = vec![0; 64 << 10];
        while at < size {
            let len = file.read_at(&mut bytes, at)?;
            if len == 0 || memchr::memchr(b'\n', &bytes[..len]).is_some() {
                return Ok(len == 0);
            }
            at += len as u64;
        }
        Ok(true)
    }
}

/// All of them, the oldest first.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        segments.extend(Segment::of(entry?.path()));
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}
