//! Follows files that grow, as `tail -F` does.
//!
//! Files are looked at from time to time rather than waited for: inotify is blind on network file
//! systems, and asking for the size of a few files ten times a second costs nothing that could be
//! measured. A file is known by its device and inode for as long as it is open, so one that is
//! renamed is followed under its new name, and one that is deleted is read to its end.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::followed::{Followed, Prefix, read_compressed};
use super::input::check_glob;
use super::{Closed, Feed, InputError, OpenFile, Source};
use crate::block::BLOCK_SIZE;
use crate::journal::{Segment, segments};
use crate::privacy::TreatmentId;

/// Contents of files that have ended, to know copies of them by.
const MAX_PREFIXES: usize = 64;

/// Where to begin in files that are there when following starts, and that no checkpoint knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At their first line.
    #[default]
    Beginning,
    /// At the line that is written next.
    End,
}

/// Reads what is written to files, now and later, until the run is stopped.
///
/// - A file that appears later is read from its start. Its folder may appear later too.
/// - **Rotation by rename**: the old file is read on under its new name, or without any, until it
///   has been quiet for a minute.
/// - **Rotation by copy and truncation**: the file is read from its start again. What was written
///   between the last look at it and the truncation is gone, unless the patterns match the copy.
/// - **A copy of a file that was read**, compressed or not, is known by its content, and only what
///   is new in it is read.
/// - A last line without a newline waits for it, until the file is gone.
#[derive(Clone, Debug)]
pub struct Follow {
    which: Which,
    start: Start,
    times: Times,
}

/// Which files are followed.
#[derive(Clone, Debug)]
enum Which {
    /// Those that globs match.
    Matching(Vec<String>),
    /// The segments of a journal. They hold lines and nothing else, whatever their first bytes look
    /// like; two of them may begin alike without one being a copy of the other.
    Journal {
        folder: PathBuf,
        /// The treatment of the run: what has been through it is not treated again.
        treatment: Option<TreatmentId>,
        /// Set when nothing more is written, so that following ends where they do.
        is_closed: Arc<AtomicBool>,
    },
}

/// A file that is there.
struct Found {
    path: PathBuf,
    /// Of a journal, and whether its lines have been through the treatment of the run.
    segment: Option<(Segment, bool)>,
}

impl Found {
    /// What tells the file from others, whatever its name.
    fn identity(&self) -> Option<(u64, u64)> {
        match &self.segment {
            Some((segment, _)) => Some(segment.identity()),
            None => fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino())),
        }
    }
}

/// How often files are looked at.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Between two looks at the files that are being written to.
    poll: Duration,
    /// Between two looks at which files there are, and at those that have been quiet for a while.
    rescan: Duration,
    /// A file that has not changed for that long is quiet.
    quiet: Duration,
    /// How long a file without a name in the patterns stays open after its last change: whoever
    /// wrote to it may not have noticed yet that it was renamed.
    keep_open: Duration,
}

impl Times {
    const USUAL: Times = Times {
        poll: Duration::from_millis(100),
        rescan: Duration::from_secs(1),
        quiet: Duration::from_secs(10),
        keep_open: Duration::from_secs(60),
    };
}

impl Follow {
    /// Follows the files that these globs match; a path is a glob that matches itself.
    ///
    /// # Errors
    /// A pattern that is no glob.
    pub fn new(patterns: impl Into<Vec<String>>, start: Start) -> Result<Follow, InputError> {
        let patterns = patterns.into();
        patterns.iter().try_for_each(|pattern| check_glob(pattern))?;
        Ok(Follow { which: Which::Matching(patterns), start, times: Times::USUAL })
    }

    /// Follows the segments of the [journal](crate::journal) in `folder`; once it `is_closed`, only
    /// to their end. What stands behind the last newline of a segment is never taken for a line.
    /// Lines that have been through this [treatment](crate::privacy), which is that of the run, are
    /// not treated again.
    pub fn of_journal(
        folder: impl Into<PathBuf>,
        treatment: Option<TreatmentId>,
        is_closed: Arc<AtomicBool>,
    ) -> Follow {
        // Nobody writes to a segment that was removed.
        let times = Times { keep_open: Duration::ZERO, ..Times::USUAL };
        let which = Which::Journal { folder: folder.into(), treatment, is_closed };
        Follow { which, start: Start::Beginning, times }
    }
}

impl Source for Follow {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        let times = self.times;
        let mut following = Following {
            feed,
            which: self.which,
            times,
            files: Vec::new(),
            compressed: Vec::new(),
            prefixes: Vec::new(),
            refused: BTreeSet::new(),
        };
        let mut start = self.start;
        let mut looked_at: Option<Instant> = None;
        while !feed.is_stopping() {
            let is_closed = following.which.is_closed();
            let looks = is_closed || looked_at.is_none_or(|when| when.elapsed() >= times.rescan);
            if looks {
                following.look(start)?;
                (looked_at, start) = (Some(Instant::now()), Start::Beginning);
            }
            match following.read(looks)? {
                0 if is_closed => return following.finish(),
                bytes if bytes < BLOCK_SIZE as u64 => sleep(times.poll),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Which {
    /// The files that are there now. What cannot be looked at may be later.
    fn found(&self) -> Vec<Found> {
        match self {
            Which::Matching(patterns) => {
                let paths = patterns.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten();
                let files = paths.filter_map(Result::ok).filter(|path| path.is_file());
                files.map(|path| Found { path, segment: None }).collect()
            }
            Which::Journal { folder, treatment: wanted, .. } => {
                let found = |segment: Segment| {
                    let is_treated = segment.treatment.is_some() && segment.treatment == *wanted;
                    Found { path: segment.path.clone(), segment: Some((segment, is_treated)) }
                };
                segments(folder).unwrap_or_default().into_iter().map(found).collect()
            }
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self, Which::Journal { is_closed, .. } if is_closed.load(Ordering::Acquire))
    }

    fn is_journal(&self) -> bool {
        matches!(self, Which::Journal { .. })
    }
}

struct Following<'run> {
    feed: Feed<'run>,
    which: Which,
    times: Times,
    files: Vec<Followed<'run>>,
    /// Compressed files that were read. They stay open for as long as they are there, so that their
    /// inodes are not those of others.
    compressed: Vec<OpenFile>,
    /// Of files that have ended.
    prefixes: Vec<Prefix>,
    /// What could not be opened, which is said once.
    refused: BTreeSet<PathBuf>,
}

impl Following<'_> {
    /// Opens what is new, and notes what has no name any more.
    fn look(&mut self, start: Start) -> Result<(), Closed> {
        let mut found = BTreeSet::new();
        for file in self.which.found() {
            let Some((device, inode)) = file.identity() else { continue };
            let is_known = self.files.iter().any(|file| file.is(device, inode))
                || self.compressed.iter().any(|file| (file.device, file.inode) == (device, inode));
            // Two names of one file are one.
            if found.insert((device, inode)) && !is_known {
                self.open(&file, start)?;
            }
        }
        for file in &mut self.files {
            file.set_has_name(found.iter().any(|&(device, inode)| file.is(device, inode)));
        }
        self.compressed.retain(|file| found.contains(&(file.device, file.inode)));
        Ok(())
    }

    fn open(&mut self, file: &Found, start: Start) -> Result<(), Closed> {
        match self.try_open(file, start) {
            Ok(read) => {
                self.refused.remove(&file.path);
                read
            }
            Err(error) => {
                if self.refused.insert(file.path.clone()) {
                    tracing::warn!("{error}; trying again");
                }
                Ok(())
            }
        }
    }

    fn try_open(&mut self, found: &Found, start: Start) -> Result<Result<(), Closed>, InputError> {
        let path = &found.path;
        if let Some((segment, is_treated)) = &found.segment {
            let feed = if *is_treated { self.feed.treated() } else { self.feed };
            self.files.push(Followed::open(feed, path, segment.open()?, start, segment.format, &[])?);
            return Ok(Ok(()));
        }
        let open = OpenFile::open(path)?;
        let prefixes = self.files.iter().filter_map(Followed::prefix).chain(self.prefixes.iter().cloned());
        let prefixes: Vec<Prefix> = prefixes.collect();
        if !open.is_plain() {
            // What was there before the start is not for whoever begins at the end.
            let read = match start {
                Start::Beginning => read_compressed(self.feed, path, &open, &prefixes)?,
                Start::End => Ok(()),
            };
            self.compressed.push(open);
            return Ok(read);
        }
        self.files.push(Followed::open(self.feed, path, open, start, self.feed.format(), &prefixes)?);
        Ok(Ok(()))
    }

    /// Reads what was added to the files, to all of them or only to those that are not quiet;
    /// returns how many bytes.
    fn read(&mut self, all: bool) -> Result<u64, Closed> {
        let (mut bytes, mut left) = (0, Vec::new());
        for mut file in mem::take(&mut self.files) {
            if all || !file.is_quiet_for(self.times.quiet) {
                match file.read()? {
                    Some(count) => bytes += count,
                    None => {
                        // It is opened again at the next look.
                        self.end(file)?;
                        continue;
                    }
                }
            }
            if !file.has_name() && file.is_quiet_for(self.times.keep_open) {
                self.end(file)?;
            } else {
                left.push(file);
            }
        }
        self.files = left;
        let old = self.prefixes.len().saturating_sub(MAX_PREFIXES);
        self.prefixes.drain(..old);
        Ok(bytes)
    }

    /// A file is gone, or begins anew.
    fn end(&mut self, mut file: Followed<'_>) -> Result<(), Closed> {
        if self.which.is_journal() {
            return file.end();
        }
        self.prefixes.extend(file.prefix());
        file.take_unended_line()?;
        file.end()
    }

    /// Nothing more is written to any of the files.
    fn finish(self) -> Result<(), Closed> {
        self.files.into_iter().try_for_each(Followed::finish)
    }
}

#[cfg(test)]
mod tests;
