//! Where lines go that cannot be shipped: a file of JSON lines that holds each of them to the byte.
//!
//! ```json
//! {"reason":"3 columns; accepted: 40, 46; nearest list: pixel-4 with 4","source":"a.log","line":7,"offset":5120,"line_text":"x\ty\tz"}
//! ```
//! A line that is not UTF-8 stands in `line_base64` instead of `line_text`. A line longer than a
//! block comes in several entries with `part` 1, 2, ... and `last_part`: the pieces joined are the
//! line. Where lines are treated ([`privacy`](crate::privacy)), one that cannot be read has its
//! `length` in place of its text.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64_simd::STANDARD;
use pixel_engine_log::json_line::JsonLineError;
use serde::Serialize;

use crate::block::{BLOCK_SIZE, Origin};

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
    /// The run was stopped in the middle of the line.
    #[error("stopped in the middle of this line")]
    Stopped,
}

impl Reason {
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
    length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_base64: Option<String>,
}

/// The quarantine cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("quarantine {path}: {error}")]
pub struct QuarantineError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

/// The quarantine file; made when the first line goes there, and added to when it exists.
#[derive(Debug)]
pub struct Quarantine {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Quarantine {
    /// A quarantine at that path; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Quarantine {
        Quarantine { path: path.into(), file: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the lines and waits until the disk has them.
    ///
    /// # Errors
    /// The file cannot be opened or written.
    pub fn write(&mut self, lines: &[BadLine]) -> Result<(), QuarantineError> {
        self.try_write(lines).map_err(|error| QuarantineError { path: self.path.clone(), error })
    }

    fn try_write(&mut self, lines: &[BadLine]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                none.insert(BufWriter::with_capacity(64 << 10, file))
            }
        };
        for line in lines {
            let bytes = line.bytes.as_deref();
            let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
            let entry = Entry {
                reason: line.reason.to_string(),
                source: &line.origin.name,
                line: line.line,
                offset: line.offset,
                part: line.part.map(|(part, _)| part),
                last_part: line.part.map(|(_, last)| last),
                length: bytes.is_none().then_some(line.len),
                line_text: text,
                line_base64: bytes.filter(|_| text.is_none()).map(|bytes| STANDARD.encode_to_string(bytes)),
            };
            serde_json::to_writer(&mut *file, &entry)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        match file.get_ref().sync_data() {
            // A pipe or a device such as /dev/null has nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn bad_line(bytes: &[u8]) -> BadLine {
        let origin = Arc::new(Origin::new(0, "a \"b\".log".to_owned()));
        let (len, bytes) = (bytes.len(), Some(bytes.to_vec()));
        BadLine { reason: Reason::Nul, origin, line: 7, offset: 5_120, len, bytes, part: None }
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
        quarantine.write(&[bad_line("a\tb\0\"\u{e9}".as_bytes()), bad_line(b"\xff\x00")]).unwrap();
        quarantine.write(&[part]).unwrap();
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
        Quarantine::new(&path).write(&[BadLine { reason, bytes: None, ..bad_line(b"secret\t1") }]).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"reason\":\"unparsable timestamp `...`\",\"source\":\"a \\\"b\\\".log\",\"line\":7,\"offset\":5120,\
             \"length\":8}\n"
        );
    }

    #[test]
    fn what_is_there_already_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.jsonl");
        for line in [b"1", b"2"] {
            Quarantine::new(&path).write(&[bad_line(line)]).unwrap();
        }
        assert_eq!(entries(&path).len(), 2);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let error = Quarantine::new("/no/such/folder/bad.jsonl").write(&[bad_line(b"x")]).unwrap_err();
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
            Quarantine::new(&path).write(&bad).unwrap();
            let found: Vec<Vec<u8>> = entries(&path).iter().map(|entry| match entry.get("line_text") {
                Some(text) => text.as_str().unwrap().as_bytes().to_vec(),
                None => STANDARD.decode_to_vec(entry["line_base64"].as_str().unwrap()).unwrap(),
            }).collect();
            prop_assert_eq!(found, lines);
        }
    }
}
