//! Finding and opening inputs.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Format;
use super::content::{Compression, Content, Unsupported, is_plain};
use super::decompress::Decompressed;
use super::json::{JsonLines, begins_json};
use super::object::{Object, numbers};
use super::peek::{PeekReader, is_passing};
use super::text::{Utf16Reader, first_byte};

/// Something to read lines from.
#[derive(Clone, Debug)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// An object in a bucket.
    Object(Arc<dyn Object>),
}

impl PartialEq for Input {
    fn eq(&self, other: &Input) -> bool {
        match (self, other) {
            (Input::Stdin, Input::Stdin) => true,
            (Input::File(one), Input::File(other)) => one == other,
            (Input::Object(one), Input::Object(other)) => {
                (one.name(), one.version()) == (other.name(), other.version())
            }
            _ => false,
        }
    }
}

impl Eq for Input {}

/// Why an input that the user named cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// There is no such file, and the name is no glob that matches one.
    #[error("{0}: no such file, folder, or match of a glob")]
    Missing(String),
    /// A folder without a file in it.
    #[error("{0}: the folder holds no log files (hidden files are passed over)")]
    EmptyFolder(PathBuf),
    /// The pattern itself is wrong.
    #[error("{pattern}: not a glob: {reason}")]
    Glob {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refuses, for want of permission for example.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// It holds no text that could be a log: an archive, a table, or what another compressor made.
    #[error("{path}: this is {content}{}, which is not read: {}", within(.outer), .content.advice())]
    Unsupported {
        /// The file, or `stdin`.
        path: PathBuf,
        /// What it holds.
        content: Unsupported,
        /// How that is compressed.
        outer: Option<Compression>,
    },
}

impl InputError {
    pub(super) fn unsupported(path: PathBuf, (content, outer): NoText) -> InputError {
        InputError::Unsupported { path, content, outer }
    }
}

fn within(outer: &Option<Compression>) -> String {
    outer.map(|outer| format!(" within {outer} data")).unwrap_or_default()
}

/// The files that an argument stands for, in the order of their paths: `-` is standard input, a
/// folder stands for every file below it, and a name that is no file may be a glob.
///
/// # Errors
/// Nothing there, or not readable.
pub fn expand(argument: &str) -> Result<Vec<Input>, InputError> {
    if argument == "-" {
        return Ok(vec![Input::Stdin]);
    }
    let path = Path::new(argument);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => files_below(path),
        Ok(_) => Ok(vec![Input::File(path.to_owned())]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => matches_of(argument),
        Err(error) => Err(InputError::Io { path: path.to_owned(), error }),
    }
}

fn matches_of(pattern: &str) -> Result<Vec<Input>, InputError> {
    let reason =
        |error: glob::PatternError| InputError::Glob { pattern: pattern.to_owned(), reason: error.to_string() };
    let mut inputs = Vec::new();
    for entry in glob::glob(pattern).map_err(reason)? {
        let path = entry.map_err(|error| InputError::Io { path: error.path().to_owned(), error: error.into() })?;
        if path.is_dir() { inputs.extend(files_below(&path)?) } else { inputs.push(Input::File(path)) }
    }
    if inputs.is_empty() { Err(InputError::Missing(pattern.to_owned())) } else { Ok(inputs) }
}

/// Whether the pattern is a glob.
pub(super) fn check_glob(pattern: &str) -> Result<(), InputError> {
    let refused =
        |error: glob::PatternError| InputError::Glob { pattern: pattern.to_owned(), reason: error.to_string() };
    glob::Pattern::new(pattern).map(drop).map_err(refused)
}

fn files_below(folder: &Path) -> Result<Vec<Input>, InputError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let io_error = |error| InputError::Io { path: folder.clone(), error };
        for entry in fs::read_dir(&folder).map_err(io_error)? {
            let entry = entry.map_err(io_error)?;
            let (path, file_type) = (entry.path(), entry.file_type().map_err(io_error)?);
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if hidden {
                continue;
            }
            // A link to a folder is not followed: a loop of them would give the same lines many
            // times. What is no file (a socket, a pipe) is no log; what cannot be looked at is
            // kept, so that opening it says why.
            if file_type.is_dir() {
                folders.push(path);
            } else if fs::metadata(&path).map_or(!file_type.is_symlink(), |metadata| metadata.is_file()) {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(InputError::EmptyFolder(folder.to_owned()));
    }
    files.sort();
    Ok(files.into_iter().map(Input::File).collect())
}

impl Input {
    /// What people call it: the path, or `stdin`.
    pub fn name(&self) -> String {
        match self {
            Input::Stdin => "stdin".to_owned(),
            Input::File(path) => path.display().to_string(),
            Input::Object(object) => object.name(),
        }
    }

    /// Its size on disk in bytes; `None` for standard input.
    pub fn size(&self) -> Option<u64> {
        match self {
            Input::Stdin => None,
            Input::File(path) => fs::metadata(path).ok().map(|metadata| metadata.len()),
            Input::Object(object) => Some(object.size()),
        }
    }

    /// Whether it can be read again from any place: standard input and named pipes cannot.
    pub fn can_be_read_again(&self) -> bool {
        match self {
            Input::Stdin => false,
            Input::File(path) => fs::metadata(path).is_ok_and(|metadata| metadata.is_file()),
            Input::Object(_) => true,
        }
    }

    /// Whether its lines begin with that byte, behind blanks and newlines. `false` for what can be
    /// read only once, and for an error, as opening it again will tell.
    pub fn begins_with(&self, byte: u8) -> bool {
        if !self.can_be_read_again() {
            return false;
        }
        let mut start = [0; 64];
        // Without its length, no more is decompressed than is looked at.
        let Ok((raw, _)) = self.raw(Arc::default(), Arc::default(), None) else { return false };
        let Ok(text) = Bytes::of(raw, None).text() else { return false };
        let mut lines = JsonLines::new(text, Format::Auto);
        fill(&mut lines, &mut start).is_ok_and(|len| first_byte(&start[..len]) == Some(byte))
    }

    /// Opens it; what is compressed with gzip, bzip2, xz or zstd (any number of members, streams or
    /// frames) is decompressed, and UTF-16 becomes UTF-8. `bytes_read` counts what is read before
    /// that. Reading ends early, as if the input did, once `stop` is set.
    ///
    /// # Errors
    /// The file cannot be opened, or holds something that is no text.
    pub fn open(&self, bytes_read: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Result<Box<dyn Read + Send>, InputError> {
        self.open_waiting(bytes_read, stop, None)
    }

    /// As [`Input::open`]; with a `hold`, reading from a silent pipe returns `WouldBlock` about
    /// that often.
    pub(super) fn open_waiting(
        &self,
        bytes_read: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
        hold: Option<Duration>,
    ) -> Result<Box<dyn Read + Send>, InputError> {
        let bytes = self.bytes(bytes_read, stop, hold)?;
        bytes.text().map_err(|content| InputError::unsupported(PathBuf::from(self.name()), content))
    }

    /// Opens it and looks at its first bytes.
    pub(super) fn bytes(
        &self,
        bytes_read: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
        hold: Option<Duration>,
    ) -> Result<Bytes, InputError> {
        let (raw, len) = self.raw(bytes_read, stop, hold)?;
        Ok(Bytes::of(raw, len))
    }

    /// Its bytes as they are stored, and how many can be read without waiting.
    fn raw(
        &self,
        bytes_read: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
        hold: Option<Duration>,
    ) -> Result<(Raw, Option<u64>), InputError> {
        let open = |path| -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
        };
        let (raw, len) = match self {
            Input::Stdin => (Box::new(Stdin { stop, hold }) as Box<dyn Read + Send>, None),
            Input::File(path) => open(path).map_err(|error| InputError::Io { path: path.clone(), error })?,
            Input::Object(object) => (object.read_from(0, stop), Some(object.size())),
        };
        Ok((Counted { raw, bytes_read }, len))
    }
}

/// A regular file, or an object, that can be told from others and read from any byte. It is read as
/// far as it reached when it was opened: what is added to it later is for the next run.
#[derive(Debug)]
pub struct OpenFile {
    path: PathBuf,
    content: Stored,
    /// The number of the file system's device, or of the journal that it is a segment of; of an
    /// object, a hash of its name and version, as the next one is.
    pub device: u64,
    /// The file's number on it. A file system uses it again once a file is deleted.
    pub inode: u64,
    /// Bytes on disk when it was opened.
    pub size: u64,
    /// The first bytes on disk, at most [`OpenFile::HEAD`].
    pub head: Vec<u8>,
}

/// Where its bytes are.
#[derive(Debug)]
enum Stored {
    File(File),
    /// With the flag that ends reading.
    Object(Arc<dyn Object>, Arc<AtomicBool>),
}

impl OpenFile {
    /// Bytes of the head.
    pub const HEAD: usize = 4_096;

    /// Opens the file and reads its head.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(path: &Path) -> Result<OpenFile, InputError> {
        OpenFile::try_open(path).map_err(|error| InputError::Io { path: path.to_owned(), error })
    }

    /// Opens an input that can be told from others; `None` for standard input. Reading of an object
    /// ends soon after `stop` is set.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub(super) fn of(input: &Input, stop: &Arc<AtomicBool>) -> Result<Option<OpenFile>, InputError> {
        match input {
            Input::Stdin => Ok(None),
            Input::File(path) => OpenFile::open(path).map(Some),
            Input::Object(object) => OpenFile::of_object(object, stop).map(Some),
        }
    }

    /// Opens an object, and reads its head. Reading ends soon after `stop` is set.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_object(object: &Arc<dyn Object>, stop: &Arc<AtomicBool>) -> Result<OpenFile, InputError> {
        let (path, size) = (PathBuf::from(object.name()), object.size());
        let (device, inode) = numbers(&**object);
        let mut head = Vec::new();
        let read = object.read_from(0, Arc::clone(stop)).take(OpenFile::HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| InputError::Io { path: path.clone(), error })?;
        let content = Stored::Object(Arc::clone(object), Arc::clone(stop));
        Ok(OpenFile { path, content, device, inode, size, head })
    }

    fn try_open(path: &Path) -> io::Result<OpenFile> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let size = metadata.len();
        let mut head = vec![0; usize::try_from(size).map_or(OpenFile::HEAD, |size| size.min(OpenFile::HEAD))];
        let len = fill(&mut file, &mut head)?;
        head.truncate(len);
        let content = Stored::File(file);
        Ok(OpenFile { path: path.to_owned(), content, device: metadata.dev(), inode: metadata.ino(), size, head })
    }

    /// Whether offsets in its lines are those on disk: it is not compressed, not in UTF-16, and not
    /// JSON, which is brought into lines.
    pub fn keeps_offsets(&self) -> bool {
        is_plain(&self.head) && begins_json(&self.head) == Some(false)
    }

    /// Reads a file that is not transformed from that byte on. `bytes_read` counts as for
    /// [`Input::open`].
    ///
    /// # Errors
    /// The system refuses.
    pub fn read_from(&self, offset: u64, bytes_read: Arc<AtomicU64>) -> Result<Box<dyn Read + Send>, InputError> {
        Ok(Box::new(self.raw_from(offset, bytes_read)?))
    }

    /// Reads all of its text, as [`Input::open`] does.
    ///
    /// # Errors
    /// The system refuses, or it holds something that is no text.
    pub fn read(&self, bytes_read: Arc<AtomicU64>) -> Result<Box<dyn Read + Send>, InputError> {
        let bytes = self.bytes(bytes_read)?;
        bytes.text().map_err(|content| InputError::unsupported(self.path.clone(), content))
    }

    /// All of its bytes, once the first of them were looked at.
    pub(super) fn bytes(&self, bytes_read: Arc<AtomicU64>) -> Result<Bytes, InputError> {
        Ok(Bytes::of(self.raw_from(0, bytes_read)?, Some(self.size)))
    }

    /// Whether its bytes are text as they are: not compressed, and not in UTF-16.
    pub(super) fn is_plain(&self) -> bool {
        is_plain(&self.head)
    }

    /// The file itself, without its head; `None` for an object.
    pub(crate) fn into_file(self) -> Option<File> {
        match self.content {
            Stored::File(file) => Some(file),
            Stored::Object(..) => None,
        }
    }

    fn raw_from(
        &self,
        offset: u64,
        bytes_read: Arc<AtomicU64>,
    ) -> Result<Counted<io::Take<Box<dyn Read + Send>>>, InputError> {
        let opened = |mut file: File| -> io::Result<Box<dyn Read + Send>> {
            file.seek(SeekFrom::Start(offset))?;
            Ok(Box::new(file))
        };
        let raw = match &self.content {
            Stored::File(file) => file.try_clone().and_then(opened),
            Stored::Object(object, stop) => Ok(object.read_from(offset, Arc::clone(stop))),
        };
        let raw = raw.map_err(|error| InputError::Io { path: self.path.clone(), error })?;
        Ok(Counted { raw: raw.take(self.size.saturating_sub(offset)), bytes_read })
    }
}

/// The bytes of an input whose first ones were looked at.
pub(super) enum Bytes {
    Compressed(Box<Decompressed>),
    /// Those of anything else.
    Plain(PeekReader),
}

/// What an input holds that is no text, and how that is compressed.
pub(super) type NoText = (Unsupported, Option<Compression>);

impl Bytes {
    /// With how many there are, if they can be read without waiting.
    fn of(raw: impl Read + Send + 'static, len: Option<u64>) -> Bytes {
        let mut bytes = PeekReader::new(raw);
        match Content::recognize(&mut bytes) {
            Content::Compressed(compression) => Bytes::Compressed(Box::new(Decompressed::new(compression, bytes, len))),
            _ => Bytes::Plain(bytes),
        }
    }

    /// Reads the text in them.
    pub(super) fn text(self) -> Result<Box<dyn Read + Send>, NoText> {
        match self {
            Bytes::Compressed(decompressed) => {
                let compression = decompressed.compression();
                text_in(PeekReader::new(*decompressed), Some(compression))
            }
            Bytes::Plain(bytes) => text_in(bytes, None),
        }
    }
}

/// Reads the text in bytes that are not compressed, or not any more: this is where the readers
/// between bytes and lines are put together.
pub(super) fn text_in(mut bytes: PeekReader, outer: Option<Compression>) -> Result<Box<dyn Read + Send>, NoText> {
    match Content::recognize(&mut bytes) {
        Content::Plain => Ok(Box::new(bytes)),
        Content::Utf16(order) => Ok(Box::new(Utf16Reader::new(bytes, order))),
        Content::Compressed(inner) => Err((Unsupported::CompressedTwice(inner), outer)),
        Content::Unsupported(content) => Err((content, outer)),
    }
}

/// The text of what is no file, as [`Input::open`] reads it; or what it is and why it is not read.
pub(crate) fn text_of(bytes: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>, String> {
    Bytes::of(bytes, None)
        .text()
        .map_err(|(content, outer)| format!("{content}{}, which is not read: {}", within(&outer), content.advice()))
}

/// Reads until the buffer is full or the input ends; returns how many bytes there are.
pub(super) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The bytes of an input as they are stored.
type Raw = Counted<Box<dyn Read + Send>>;

struct Counted<R> {
    raw: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Standard input that notices a stop while it waits: a read that blocks on a silent pipe would
/// not.
struct Stdin {
    stop: Arc<AtomicBool>,
    /// How long a read waits for data before it gives up for the moment.
    hold: Option<Duration>,
}

/// How soon a stop is noticed.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        let wait = self.hold.map_or(STOP_INTERVAL, |hold| hold.min(STOP_INTERVAL));
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(0);
            }
            match poll(&mut [PollFd::new(&stdin.as_fd(), PollFlags::IN)], Some(&wait)) {
                Ok(0) if self.hold.is_some() => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(stdin.as_fd(), &mut *buffer)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
