//! Where lines go that cannot be shipped: JSON lines, in a file, a log or a stream, that hold each of
//! them to the byte.
//!
//! ```json
//! {"reason":"3 columns; accepted: 40, 46; nearest list: pixel-4 with 4","source":"a.log","line":7,"offset":5120,"line_text":"x\ty\tz"}
//! ```
//! A line that is not UTF-8 stands in `line_base64` instead of `line_text`. A line longer than a
//! block comes in several entries with `part` 1, 2, ... and `last_part`: the pieces joined are the
//! line. In a stream, an entry that is larger than a record is cut: `cut` and `last_cut` number the
//! pieces of its bytes. Where lines are treated ([`privacy`](crate::privacy)), one that cannot be read has its
//! `length` in place of its text.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64_simd::STANDARD;
use pixel_engine_log::json_line::JsonLineError;
use serde::Serialize;

use crate::ack::AckToken;
use crate::block::{BLOCK_SIZE, Origin};
use crate::pack::lines;
use crate::record::Record;
use crate::sink::{Sink, SinkError};

/// Why a line cannot be shipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No accepted schema has that many columns: usually a field list that the setting `fields`
    /// does not name.
    #[error("{found} columns; accepted: {accepted}{}", in_words(*nearest))]
    ColumnCount {
        /// How many the line has.
        found: usize,
        /// The accepted counts.
        accepted: String,
        /// Of the field lists of real-time logs, the one with the nearest count, and the count.
        nearest: Option<(&'static str, usize)>,
    },
    /// Nothing that could separate columns.
    #[error("1 column, as there is no tab in the line{}", if *has_spaces { " but there are spaces, as in a line that was pasted" } else { "" })]
    NoTab {
        /// Whether there are several spaces: CloudFront writes none.
        has_spaces: bool,
    },
    /// A standard log's line in an input that did not begin with a header, with so many columns.
    #[error("{0} columns that begin with a date and a time, as in a standard log, but no #Fields header names them")]
    Headerless(usize),
    /// A standard log's line before any usable `#Fields:` header.
    #[error("no #Fields header before this line")]
    NoHeader,
    /// The time is not in the form that CloudFront writes.
    #[error("unparsable {field} `{text}`")]
    Timestamp {
        /// The field's name.
        field: &'static str,
        /// What stands there, cut at 40 characters.
        text: String,
    },
    /// The hole of a torn file.
    #[error("NUL byte in the line")]
    Nul,
    /// Not a JSON object of strings and numbers.
    #[error("not a JSON object of CloudFront fields: {0}")]
    Json(JsonLineError),
    /// Too long for one record.
    #[error("{len} bytes do not fit into a record of {limit}")]
    TooLongForRecord {
        /// The bytes as encoded, with the newline.
        len: usize,
        /// The most that fits.
        limit: usize,
    },
    /// Longer than a block.
    #[error("longer than {BLOCK_SIZE} bytes")]
    TooLong,
    /// The input broke off in the middle of the line.
    #[error("the input broke off in this line: {0}")]
    Broken(String),
    /// A record of a stream in which no lines can be found, such as a damaged aggregate.
    #[error("no lines can be read: {0}")]
    Unreadable(String),
    /// The run was stopped in the middle of the line.
    #[error("stopped in the middle of this line")]
    Stopped,
}

impl Reason {
    /// What kind of reason it is, in a word or some with `_` between them.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::ColumnCount { .. } => "column_count",
            Reason::NoTab { .. } => "no_tab",
            Reason::Headerless(_) => "headerless",
            Reason::NoHeader => "no_header",
            Reason::Timestamp { .. } => "timestamp",
            Reason::Nul => "nul",
            Reason::Json(_) => "json",
            Reason::TooLongForRecord { .. } => "too_long_for_record",
            Reason::TooLong => "too_long",
            Reason::Broken(_) => "broken",
            Reason::Unreadable(_) => "unreadable",
            Reason::Stopped => "stopped",
        }
    }

    /// The same without what stands in the line, for those who may not see that.
    #[must_use]
    pub fn without_content(self) -> Reason {
        let withheld = || "...".to_owned();
        match self {
            Reason::Timestamp { field, .. } => Reason::Timestamp { field, text: withheld() },
            Reason::Json(JsonLineError::Nested { kind, .. }) => {
                Reason::Json(JsonLineError::Nested { key: withheld(), kind })
            }
            Reason::Json(JsonLineError::Text(_)) => Reason::Json(JsonLineError::Text(withheld())),
            Reason::Json(JsonLineError::Duplicate(_)) => Reason::Json(JsonLineError::Duplicate(withheld())),
            other => other,
        }
    }
}

fn in_words(nearest: Option<(&str, usize)>) -> String {
    nearest.map_or_else(String::new, |(name, count)| format!("; nearest list: {name} with {count}"))
}

/// A line that cannot be shipped, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Why.
    pub reason: Reason,
    /// The source.
    pub origin: Arc<Origin>,
    /// Its number in the source, from 1.
    pub line: u64,
    /// Where it begins in the source, in bytes after decompression.
    pub offset: u64,
    /// How many bytes it is as it came, without its newline.
    pub len: usize,
    /// These bytes; where lines are treated, what became of them, or `None` when the line cannot be
    /// read.
    pub bytes: Option<Vec<u8>>,
    /// For a piece of a line longer than a block: its number from 1, and whether it is the last.
    pub part: Option<(u32, bool)>,
}

impl fmt::Display for BadLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: line {}, byte {}: {}", self.origin.name, self.line, self.offset, self.reason)
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    reason: String,
    source: &'a str,
    line: u64,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_part: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_cut: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_base64: Option<String>,
}

impl<'a> Entry<'a> {
    fn new(line: &'a BadLine) -> Entry<'a> {
        let bytes = line.bytes.as_deref();
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        Entry {
            reason: line.reason.to_string(),
            source: &line.origin.name,
            line: line.line,
            offset: line.offset,
            part: line.part.map(|(part, _)| part),
            last_part: line.part.map(|(_, last)| last),
            cut: None,
            last_cut: None,
            length: bytes.is_none().then_some(line.len),
            line_text: text,
            line_base64: bytes.filter(|_| text.is_none()).map(|bytes| STANDARD.encode_to_string(bytes)),
        }
    }

    /// As JSON with a newline.
    fn append_to(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("memory takes it, and it has only strings and numbers");
        out.push(b'\n');
    }
}

/// The quarantine cannot keep lines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuarantineError {
    /// The file cannot be opened or written.
    #[error("quarantine {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The log cannot be written.
    #[error("quarantine log: {0}")]
    Log(#[source] io::Error),
    /// The stream does not take them.
    #[error("quarantine {0}")]
    Sink(#[source] SinkError),
}

/// Keeps lines that cannot be shipped: in a file, in a log, or in a stream.
pub struct Quarantine {
    place: Place,
    /// Lines that are safe, where the place does not count them.
    lines: u64,
    /// Entries that are being written.
    buffer: Vec<u8>,
}

enum Place {
    /// Made when the first line goes there, and added to when it exists.
    File {
        path: PathBuf,
        file: Option<File>,
    },
    Log(Box<dyn Write + Send>),
    Sink(Box<dyn Sink>),
}

/// The most bytes of a record of entries: what every stream takes.
const MAX_RECORD_SIZE: usize = lines::MAX_RECORD_SIZE;

impl Quarantine {
    /// A file at that path; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Quarantine {
        Quarantine::at(Place::File { path: path.into(), file: None })
    }

    /// A log, such as standard error: an entry that was written there is safe.
    pub fn log(output: impl Write + Send + 'static) -> Quarantine {
        Quarantine::at(Place::Log(Box::new(output)))
    }

    /// A sink that takes entries, many in a record. A line is safe when its record has arrived.
    pub fn sink(sink: Box<dyn Sink>) -> Quarantine {
        Quarantine::at(Place::Sink(sink))
    }

    fn at(place: Place) -> Quarantine {
        Quarantine { place, lines: 0, buffer: Vec::new() }
    }

    /// Lines that are safe.
    pub fn lines(&self) -> u64 {
        match &self.place {
            Place::Sink(sink) => sink.delivered().lines,
            Place::File { .. } | Place::Log(_) => self.lines,
        }
    }

    /// Takes bad lines of a block, which count as `count` lines; `token` is their share in its
    /// acknowledgement. A file or a log has them when this returns, a sink may hold them back.
    ///
    /// # Errors
    /// They cannot be kept there.
    pub fn write(&mut self, lines: &[BadLine], count: u64, token: AckToken) -> Result<(), QuarantineError> {
        let Quarantine { place, buffer, .. } = self;
        buffer.clear();
        match place {
            Place::Sink(sink) => return ship(&mut **sink, buffer, lines, count, token).map_err(QuarantineError::Sink),
            Place::File { path, file } => {
                lines.iter().for_each(|line| Entry::new(line).append_to(buffer));
                let written = append(path, file, buffer);
                written.map_err(|error| QuarantineError::File { path: path.clone(), error })?;
            }
            Place::Log(output) => {
                lines.iter().for_each(|line| Entry::new(line).append_to(buffer));
                output.write_all(buffer).and_then(|()| output.flush()).map_err(QuarantineError::Log)?;
            }
        }
        self.lines += count;
        token.delivered();
        Ok(())
    }

    /// Sends what is held back.
    ///
    /// # Errors
    /// It cannot be kept there.
    pub fn flush(&mut self) -> Result<(), QuarantineError> {
        match &mut self.place {
            Place::Sink(sink) => sink.flush().map_err(QuarantineError::Sink),
            Place::File { .. } | Place::Log(_) => Ok(()),
        }
    }

    /// Waits until everything has arrived. No line comes after this.
    ///
    /// # Errors
    /// As for [`Quarantine::flush`].
    pub fn close(&mut self) -> Result<(), QuarantineError> {
        match &mut self.place {
            Place::Sink(sink) => sink.close().map_err(QuarantineError::Sink),
            Place::File { .. } | Place::Log(_) => Ok(()),
        }
    }
}

/// Adds entries to the file and waits until the disk has them. All are written at once, so that
/// other programs may add to the same file.
fn append(path: &Path, file: &mut Option<File>, entries: &[u8]) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        none => none.insert(OpenOptions::new().create(true).append(true).open(path)?),
    };
    file.write_all(entries)?;
    match file.sync_data() {
        // A pipe or a device such as /dev/null has nothing to sync.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// Ships entries in records, the last of which carries the count of the lines.
fn ship(
    sink: &mut dyn Sink,
    record: &mut Vec<u8>,
    lines: &[BadLine],
    count: u64,
    token: AckToken,
) -> Result<(), SinkError> {
    let mut ship = |data: Vec<u8>, lines: u64, token: AckToken| {
        sink.ship(Record::from_bytes(data, lines as usize, None, vec![token]))
    };
    let mut entry = Vec::new();
    for line in lines {
        let mut add = |entry: &mut Vec<u8>| {
            if record.len() + entry.len() > MAX_RECORD_SIZE {
                ship(mem::take(record), 0, token.of_rest())?;
            }
            record.append(entry);
            Ok::<(), SinkError>(())
        };
        let whole = Entry::new(line);
        whole.append_to(&mut entry);
        if entry.len() <= MAX_RECORD_SIZE {
            add(&mut entry)?;
            continue;
        }
        // Its base64 and what stands beside it fit well.
        let bytes = line.bytes.as_deref().unwrap_or_default();
        let cuts = bytes.chunks(MAX_RECORD_SIZE / 2);
        let last = cuts.len();
        for (number, bytes) in (1..).zip(cuts) {
            entry.clear();
            let line_base64 = Some(STANDARD.encode_to_string(bytes));
            let (cut, last_cut) = (Some(number), Some(number == last));
            Entry { cut, last_cut, line_text: None, line_base64, ..Entry::new(line) }.append_to(&mut entry);
            add(&mut entry)?;
        }
    }
    ship(mem::take(record), count, token)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::ack::Acknowledgements;
    use crate::sink::each::Each;

    fn bad_line(bytes: &[u8]) -> BadLine {
        let origin = Arc::new(Origin::new(0, "a \"b\".log".to_owned()));
        let (len, bytes) = (bytes.len(), Some(bytes.to_vec()));
        BadLine { reason: Reason::Nul, origin, line: 7, offset: 5_120, len, bytes, part: None }
    }

    /// The quarantine has these lines, and what they are of is acknowledged.
    fn keep(quarantine: &mut Quarantine, lines: &[BadLine]) {
        let all = Acknowledgements::default();
        let token = all.token(0, 0..100);
        quarantine.write(lines, lines.len() as u64, token.of_rest()).unwrap();
        token.delivered();
        assert_eq!(all.position(0).offset, 100);
    }

    fn entries(path: &Path) -> Vec<Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_that_is_text_stands_as_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.jsonl");
        let mut quarantine = Quarantine::new(&path);
        assert!(!path.exists(), "nothing is made for nothing");
        let part = BadLine { part: Some((2, true)), ..bad_line(b"x") };
        keep(&mut quarantine, &[bad_line("a\tb\0\"\u{e9}".as_bytes()), bad_line(b"\xff\x00")]);
        keep(&mut quarantine, &[part]);
        assert_eq!(quarantine.lines(), 3);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"reason\":\"NUL byte in the line\",\"source\":\"a \\\"b\\\".log\",\"line\":7,\"offset\":5120,\
             \"line_text\":\"a\\tb\\u0000\\\"\u{e9}\"}\n\
             {\"reason\":\"NUL byte in the line\",\"source\":\"a \\\"b\\\".log\",\"line\":7,\"offset\":5120,\
             \"line_base64\":\"/wA=\"}\n\
             {\"reason\":\"NUL byte in the line\",\"source\":\"a \\\"b\\\".log\",\"line\":7,\"offset\":5120,\
             \"part\":2,\"last_part\":true,\"line_text\":\"x\"}\n"
        );
    }

    #[test]
    fn a_line_that_is_withheld_has_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.jsonl");
        let reason = Reason::Timestamp { field: "timestamp", text: "secret".to_owned() }.without_content();
        keep(&mut Quarantine::new(&path), &[BadLine { reason, bytes: None, ..bad_line(b"secret\t1") }]);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"reason\":\"unparsable timestamp `...`\",\"source\":\"a \\\"b\\\".log\",\"line\":7,\"offset\":5120,\
             \"length\":8}\n"
        );
    }

    #[test]
    fn a_stream_gets_entries_in_records_and_one_that_is_too_large_in_pieces() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sink = Each::new(move |record: Record| {
            sender.send((record.chunks().collect::<Vec<_>>().concat(), record.lines())).unwrap();
            Ok(Some(record))
        });
        let mut quarantine = Quarantine::sink(Box::new(sink));
        let long: Vec<u8> = (0..BLOCK_SIZE).map(|at| (at % 251) as u8).collect();
        keep(&mut quarantine, &[bad_line(b"a"), bad_line(&long), bad_line(b"b")]);
        quarantine.close().unwrap();
        assert_eq!(quarantine.lines(), 3);
        drop(quarantine);
        let records: Vec<(Vec<u8>, usize)> = receiver.iter().collect();
        assert!(records.len() > 1 && records.iter().all(|(data, _)| data.len() <= MAX_RECORD_SIZE));
        assert_eq!(records.iter().map(|(_, lines)| lines).sum::<usize>(), 3, "the count stands with the last record");
        let entries: Vec<Value> = records
            .iter()
            .flat_map(|(data, _)| data.split_inclusive(|&byte| byte == b'\n'))
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!((&entries[0]["line_text"], &entries[entries.len() - 1]["line_text"]), (&json!("a"), &json!("b")));
        let pieces = &entries[1..entries.len() - 1];
        for (number, piece) in (1..).zip(pieces) {
            assert_eq!((&piece["cut"], &piece["last_cut"]), (&json!(number), &json!(number == pieces.len())));
        }
        let joined: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| STANDARD.decode_to_vec(piece["line_base64"].as_str().unwrap()).unwrap())
            .collect();
        assert!(joined == long);
    }

    #[test]
    fn what_a_stream_does_not_take_is_not_acknowledged() {
        let mut quarantine = Quarantine::sink(Box::new(Each::new(|_| Ok(None))));
        let all = Acknowledgements::default();
        quarantine.write(&[bad_line(b"a")], 1, all.token(0, 0..100)).unwrap();
        assert_eq!((quarantine.lines(), all.position(0).offset), (0, 0));
    }

    #[test]
    fn a_log_gets_an_entry_a_line() {
        #[derive(Clone, Default)]
        struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = Shared::default();
        keep(&mut Quarantine::log(log.clone()), &[bad_line(b"x")]);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let entry: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(entry["line_text"], "x");
    }

    #[test]
    fn what_is_there_already_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.jsonl");
        for line in [b"1", b"2"] {
            keep(&mut Quarantine::new(&path), &[bad_line(line)]);
        }
        assert_eq!(entries(&path).len(), 2);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let all = Acknowledgements::default();
        let mut quarantine = Quarantine::new("/no/such/folder/bad.jsonl");
        let error = quarantine.write(&[bad_line(b"x")], 1, all.token(0, 0..100)).unwrap_err();
        assert_eq!((quarantine.lines(), all.position(0).offset), (0, 0));
        assert!(error.to_string().starts_with("quarantine /no/such/folder/bad.jsonl: "), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_byte_comes_back(lines in prop::collection::vec(
            prop_oneof![any::<String>().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..80)], 1..6,
        )) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bad.jsonl");
            let bad: Vec<BadLine> = lines.iter().map(|line| bad_line(line)).collect();
            keep(&mut Quarantine::new(&path), &bad);
            let found: Vec<Vec<u8>> = entries(&path).iter().map(|entry| match entry.get("line_text") {
                Some(text) => text.as_str().unwrap().as_bytes().to_vec(),
                None => STANDARD.decode_to_vec(entry["line_base64"].as_str().unwrap()).unwrap(),
            }).collect();
            prop_assert_eq!(found, lines);
        }
    }
}
