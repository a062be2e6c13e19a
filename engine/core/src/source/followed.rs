//! One file that is followed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crc32fast::Hasher;

use super::follow::Start;
use super::input::fill;
use super::{BlockReader, Closed, Feed, Format, Inlet, InputError, OpenFile};
use crate::ack::{Acknowledged, Position};
use crate::progress::FollowedFile;

/// Bytes that are searched for a newline, or compared, at a time.
const STEP: usize = 64 << 10;
/// Fewer bytes are no proof that two files have the same content.
const MIN_PREFIX: u64 = 256;

/// What a file begins with, up to where its lines were handed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefix {
    crc32: Hasher,
    len: u64,
    newlines: u64,
}

impl Prefix {
    fn add(&mut self, bytes: &[u8]) {
        self.crc32.update(bytes);
        self.len += bytes.len() as u64;
        self.newlines += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }

    fn is_same(&self, other: &Prefix) -> bool {
        self.len == other.len && self.crc32.clone().finalize() == other.crc32.clone().finalize()
    }

    fn position(&self) -> Position {
        Position { offset: self.len, lines: self.newlines }
    }

    /// All whole lines that there are.
    fn of_lines(mut file: impl Read) -> io::Result<Prefix> {
        let (mut lines, mut rest) = (Prefix::default(), Prefix::default());
        let mut buffer = vec![0; STEP];
        loop {
            let bytes = match file.read(&mut buffer)? {
                0 => return Ok(lines),
                count => &buffer[..count],
            };
            let end = memchr::memrchr(b'\n', bytes).map_or(0, |last| last + 1);
            rest.add(&bytes[..end]);
            if end > 0 {
                lines = rest.clone();
            }
            rest.add(&bytes[end..]);
        }
    }

    /// The longest of these prefixes that `file` begins with.
    fn of_copy(mut file: impl Read, prefixes: &[Prefix]) -> io::Result<Option<Prefix>> {
        let mut prefixes: Vec<&Prefix> = prefixes.iter().filter(|prefix| prefix.len >= MIN_PREFIX).collect();
        prefixes.sort_by_key(|prefix| prefix.len);
        let (mut here, mut copy) = (Prefix::default(), None);
        let mut buffer = vec![0; STEP];
        for prefix in prefixes {
            while here.len < prefix.len {
                let wanted = usize::try_from(prefix.len - here.len).map_or(STEP, |left| left.min(STEP));
                match file.read(&mut buffer[..wanted])? {
                    0 => return Ok(copy),
                    count => here.add(&buffer[..count]),
                }
            }
            if here.is_same(prefix) {
                copy = Some(here.clone());
            }
        }
        Ok(copy)
    }
}

/// A file that is read as it grows.
pub(super) struct Followed<'run> {
    path: PathBuf,
    file: Arc<File>,
    device: u64,
    inode: u64,
    inlet: Inlet<'run>,
    blocks: BlockReader,
    /// Up to here, lines were handed over.
    offset: u64,
    /// From there up to here, there is no newline.
    searched: u64,
    /// The last size, for those who look on.
    size: Arc<AtomicU64>,
    /// The first bytes, to notice that the file was written anew.
    head: Vec<u8>,
    changed_at: Instant,
    has_name: bool,
    /// What stands before the offset, if all of it was read here.
    prefix: Option<Arc<Mutex<Prefix>>>,
}

impl<'run> Followed<'run> {
    /// Follows a file that is not compressed. `prefixes` are those of files that were read: what a
    /// copy of one begins with is left out.
    pub(super) fn open(
        feed: Feed<'run>,
        path: &Path,
        open: OpenFile,
        start: Start,
        format: Format,
        prefixes: &[Prefix],
    ) -> Result<Followed<'run>, InputError> {
        let io_error = |error| InputError::Io { path: path.to_owned(), error };
        let inlet = feed.open(path.display().to_string());
        let checkpoint = inlet.feeds().checkpoint;
        let known = checkpoint.map_or_else(Acknowledged::default, |it| it.follow(inlet.origin(), &open));
        let (acknowledged, prefix) = if known.end() > 0 {
            (known, None)
        } else {
            let all = open.read_from(0, Arc::default())?;
            let before = match start {
                Start::End => Prefix::of_lines(all),
                Start::Beginning => Prefix::of_copy(all, prefixes).map(Option::unwrap_or_default),
            };
            let before = before.map_err(io_error)?;
            (before.position().into(), Some(Arc::new(Mutex::new(before))))
        };
        let offset = acknowledged.position.offset;
        inlet.begin_at(acknowledged);
        let has_header = offset > 0
            && (format == Format::Standard
                || format == Format::Auto && Format::of(&open.head) == Some(Format::Standard));
        let blocks = if has_header {
            // Which holds at the offset stands before it.
            let mut blocks = inlet.reader_of_lines(open.read_from(0, Arc::default())?, true, format);
            blocks.skip_to(offset).map_err(|error| io_error(error.error))?;
            blocks
        } else {
            let mut blocks = inlet.reader_of_lines(Box::new(io::empty()), true, format);
            blocks.begin_at(offset);
            blocks
        };
        let (device, inode, head) = (open.device, open.inode, open.head.clone());
        let file = Arc::new(open.into_file().expect("what is opened by its path is a file"));
        let feeds = inlet.feeds();
        let size = Arc::new(AtomicU64::new(offset));
        feeds.progress.follow(FollowedFile::new(&file, &size, inlet.origin().number, &feeds.acknowledgements));
        Ok(Followed {
            path: path.to_owned(),
            device,
            inode,
            head,
            file,
            inlet,
            blocks,
            offset,
            searched: offset,
            size,
            changed_at: Instant::now(),
            has_name: true,
            prefix,
        })
    }

    pub(super) fn is(&self, device: u64, inode: u64) -> bool {
        (self.device, self.inode) == (device, inode)
    }

    /// Whether it was found under a name the last time.
    pub(super) fn set_has_name(&mut self, has_name: bool) {
        self.has_name = has_name;
    }

    pub(super) fn has_name(&self) -> bool {
        self.has_name
    }

    pub(super) fn is_quiet_for(&self, time: Duration) -> bool {
        self.changed_at.elapsed() >= time
    }

    /// What of it was read, if that was all from its start.
    pub(super) fn prefix(&self) -> Option<Prefix> {
        self.prefix.as_ref().map(|prefix| lock(prefix).clone())
    }

    /// Hands over the lines that were added; returns how many bytes. `None` when the file was cut,
    /// or written anew from its start: it has to be opened again.
    pub(super) fn read(&mut self) -> Result<Option<u64>, Closed> {
        let looked = self.file.metadata().and_then(|metadata| {
            let size = metadata.len();
            let is_same = size >= self.searched && (size == self.searched || self.has_same_head()?);
            let end = if is_same { self.last_newline(size)? } else { None };
            Ok((size, is_same, end))
        });
        let (size, is_same, end) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                tracing::warn!("{}: {error}; trying again", self.path.display());
                self.changed_at = Instant::now();
                return Ok(Some(0));
            }
        };
        if !is_same {
            // The line that was begun is gone: what stands in its place is another.
            self.searched = self.offset;
            return Ok(None);
        }
        if size > self.searched {
            self.changed_at = Instant::now();
            self.searched = size;
            self.size.store(size, Ordering::Relaxed);
        }
        match end {
            None => Ok(Some(0)),
            Some(newline) => self.hand_over(newline + 1).map(Some),
        }
    }

    /// Hands over what stands behind the last newline.
    pub(super) fn take_unended_line(&mut self) -> Result<(), Closed> {
        if self.searched > self.offset { self.hand_over(self.searched).map(drop) } else { Ok(()) }
    }

    /// Says that there is no more, as the file is gone.
    pub(super) fn end(self) -> Result<(), Closed> {
        if let Some(checkpoint) = self.inlet.feeds().checkpoint {
            checkpoint.let_go(self.inlet.origin(), self.offset);
        }
        self.inlet.end().map(drop)
    }

    /// Says that there is no more, though the file stays.
    pub(super) fn finish(self) -> Result<(), Closed> {
        if let Some(checkpoint) = self.inlet.feeds().checkpoint
            && let Err(error) = checkpoint.ended(self.inlet.origin(), self.offset)
        {
            tracing::warn!("{error}");
        }
        self.inlet.end().map(drop)
    }

    fn hand_over(&mut self, end: u64) -> Result<u64, Closed> {
        let piece = Piece { prefix: self.prefix.clone(), ..self.piece(self.offset, end) };
        self.blocks.go_on_with(Box::new(piece));
        self.inlet.read_blocks(&mut self.blocks)?;
        let bytes = self.blocks.offset() - self.offset;
        self.offset = self.blocks.offset();
        self.inlet.count_read(bytes);
        if let Some(checkpoint) = self.inlet.feeds().checkpoint {
            checkpoint.grown(self.inlet.origin(), &self.head, self.searched);
        }
        Ok(bytes)
    }

    /// The bytes from an offset up to another, to be read for another purpose than their lines.
    fn piece(&self, at: u64, end: u64) -> Piece {
        Piece { file: Arc::clone(&self.file), at, end, prefix: None }
    }

    /// Whether it begins as it did; what was added to a short beginning belongs to it from now on.
    fn has_same_head(&mut self) -> io::Result<bool> {
        let mut head = vec![0; OpenFile::HEAD];
        let len = fill(&mut self.piece(0, OpenFile::HEAD as u64), &mut head)?;
        head.truncate(len);
        let is_same = head.starts_with(&self.head);
        if is_same {
            self.head = head;
        }
        Ok(is_same)
    }

    /// The last newline between what was searched and the size.
    fn last_newline(&self, size: u64) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; STEP];
        let mut end = size;
        while end > self.searched {
            let begin = end.saturating_sub(STEP as u64).max(self.searched);
            let bytes = &mut buffer[..(end - begin) as usize];
            let len = fill(&mut self.piece(begin, end), bytes)?;
            if let Some(at) = memchr::memrchr(b'\n', &bytes[..len]) {
                return Ok(Some(begin + at as u64));
            }
            end = begin;
        }
        Ok(None)
    }
}

fn lock(prefix: &Mutex<Prefix>) -> std::sync::MutexGuard<'_, Prefix> {
    // Numbers only: there is no state between two of them to see after a panic.
    prefix.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A part of a file.
struct Piece {
    file: Arc<File>,
    at: u64,
    end: u64,
    prefix: Option<Arc<Mutex<Prefix>>>,
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.end - self.at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        if let Some(prefix) = &self.prefix {
            lock(prefix).add(&buffer[..count]);
        }
        Ok(count)
    }
}

/// Reads a compressed file, to which nothing is added, but for what it is a copy of.
pub(super) fn read_compressed(
    feed: Feed<'_>,
    path: &Path,
    open: &OpenFile,
    prefixes: &[Prefix],
) -> Result<Result<(), Closed>, InputError> {
    let io_error = |error| InputError::Io { path: path.to_owned(), error };
    let inlet = feed.open(path.display().to_string());
    let feeds = inlet.feeds();
    let known = match feeds.checkpoint.map(|checkpoint| checkpoint.begin(inlet.origin(), open)) {
        Some(None) => return Ok(inlet.end().map(drop)),
        Some(Some(known)) => known,
        None => Acknowledged::default(),
    };
    let all = || open.read(Arc::clone(&feeds.progress.bytes_read));
    let acknowledged = if known.end() > 0 {
        known
    } else {
        Prefix::of_copy(all()?, prefixes).map_err(io_error)?.unwrap_or_default().position().into()
    };
    let offset = acknowledged.position.offset;
    inlet.begin_at(acknowledged);
    let mut blocks = inlet.reader(all()?, true, feeds.format);
    blocks.skip_to(offset).map_err(|error| io_error(error.error))?;
    if let Err(closed) = inlet.read_blocks(&mut blocks) {
        return Ok(Err(closed));
    }
    if let Some(checkpoint) = feeds.checkpoint.filter(|_| blocks.is_at_end()) {
        // The file is not that of the checkpoint; the next run reads it from its start.
        if let Err(error) = checkpoint.ended(inlet.origin(), blocks.offset()) {
            tracing::warn!("{error}");
        }
    }
    Ok(inlet.end().map(drop))
}
