//! The file of one batch.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Destination, SpoolError, at};
use crate::record::Record;
use crate::sink::limits::Api;
use pixel_engine_kpl::PartitionKey;

/// A record as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledRecord {
    /// Its data.
    pub data: Vec<u8>,
    /// How many lines it holds.
    pub lines: usize,
    /// Where it goes in a Kinesis stream.
    pub key: Option<PartitionKey>,
}

/// What the records of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    /// Lines, one after the other.
    #[serde(rename = "lines")]
    Lines,
    /// A compressed stream of lines each.
    #[serde(rename = "compressed lines")]
    CompressedLines,
    /// KPL aggregates, which need a stream that goes by keys.
    #[serde(rename = "aggregates")]
    Aggregates,
}

impl Contents {
    /// What records for that API were before headers told.
    fn untold(api: Api) -> Contents {
        match api {
            Api::PutRecordBatch => Contents::Lines,
            Api::PutRecords => Contents::Aggregates,
        }
    }
}

/// A batch as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where its records were to go.
    pub destination: Destination,
    /// What they are.
    pub contents: Contents,
    /// When they were kept, for people.
    pub kept: String,
    /// The records.
    pub records: Vec<SpooledRecord>,
}

/// A batch from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outline {
    /// Bytes of the file.
    pub size: u64,
    /// What its records are by its header; `None` when that makes no sense, which [`read`] explains.
    pub contents: Option<Contents>,
}

/// Form 1 did not tell the contents.
const VERSION: u64 = 2;
const VERSIONS: RangeInclusive<u64> = 1..=VERSION;
/// Bytes of the CRC-32 at the end.
const CHECKSUM: usize = 4;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u64,
    /// For people.
    kept: String,
    #[serde(with = "ApiName")]
    api: Api,
    stream: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contents: Option<Contents>,
    records: usize,
    lines: usize,
    bytes: usize,
}

impl Header {
    fn contents(&self) -> Contents {
        self.contents.unwrap_or_else(|| Contents::untold(self.api))
    }
}

/// The names that AWS gives the APIs.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Api")]
enum ApiName {
    PutRecordBatch,
    PutRecords,
}

/// An element of the second line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: usize,
    lines: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition_key: Option<String>,
    /// Decimal, as Kinesis takes it: more digits than most readers of JSON keep of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<String>,
}

/// What stands before the data.
pub(super) fn front(destination: &Destination, contents: Contents, records: &[&Record], kept: String) -> Vec<u8> {
    let entries: Vec<Entry> = records
        .iter()
        .map(|record| Entry {
            bytes: record.data_len(),
            lines: record.lines(),
            partition_key: record.key().map(|key| key.key.clone()),
            explicit_hash_key: record.key().map(PartitionKey::explicit_hash_key_text),
        })
        .collect();
    let header = Header {
        version: VERSION,
        kept,
        api: destination.api,
        stream: destination.stream.clone(),
        contents: Some(contents),
        records: entries.len(),
        lines: entries.iter().map(|entry| entry.lines).sum(),
        bytes: entries.iter().map(|entry| entry.bytes).sum(),
    };
    format!("{}\n{}\n", json(&header), json(&entries)).into_bytes()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and text are JSON")
}

/// Bytes of the whole file.
pub(super) fn size(front: &[u8], records: &[&Record]) -> u64 {
    let data: usize = records.iter().map(|record| record.data_len()).sum();
    (front.len() + data + CHECKSUM) as u64
}

/// Writes the file; the data goes there piece by piece, from where it is.
pub(super) fn write(output: &mut impl Write, front: &[u8], records: &[&Record]) -> io::Result<()> {
    let mut checksum = crc32fast::Hasher::new();
    for piece in std::iter::once(front).chain(records.iter().flat_map(|record| record.chunks())) {
        checksum.update(piece);
        output.write_all(piece)?;
    }
    output.write_all(&checksum.finalize().to_le_bytes())
}

/// Reads a batch. The file is
///
/// ```text
/// {"version":2,"kept":"2026-11-24T00:10:13Z","api":"PutRecords","stream":"pixel","contents":"aggregates",\
///   "records":2,"lines":5,"bytes":9}
/// [{"bytes":3,"lines":2,"partition_key":"9e37","explicit_hash_key":"210306068529402873165736369884012333109"},...]
/// the data of the records, one after the other
/// CRC-32 of everything before it, 4 bytes, little-endian
/// ```
///
/// so `head -n 1` shows what a file is. `records`, `lines` and `bytes` of the first line are the
/// sums of the second; keys are there for Kinesis alone. Version 1 had no `contents`: aggregates
/// for Kinesis, lines for Firehose. The CRC-32 is that of gzip and zlib, and stays at the end in
/// every version.
///
/// # Errors
/// The file cannot be read, any byte of it is not as it was written, or its version is another.
pub fn read(path: &Path) -> Result<Batch, SpoolError> {
    let bytes = fs::read(path).map_err(at(path))?;
    let damaged = |(offset, reason): (usize, String)| SpoolError::Damaged {
        path: path.to_owned(),
        offset: offset as u64,
        reason,
    };
    // Before anything is read from it: a header that was changed by a byte may still be one.
    if !has_its_checksum(&bytes) {
        let offset = bytes.len().saturating_sub(CHECKSUM);
        return Err(damaged(parse(&bytes).err().unwrap_or((offset, "the checksum is another".to_owned()))));
    }
    match version(&bytes) {
        Some(version) if !VERSIONS.contains(&version) => Err(SpoolError::Version { path: path.to_owned(), version }),
        _ => parse(&bytes).map_err(damaged),
    }
}

/// Looks at a batch without reading its records.
///
/// # Errors
/// The file cannot be read.
pub fn outline(path: &Path) -> Result<Outline, SpoolError> {
    /// More than a header needs.
    const MAX_HEADER: u64 = 64 << 10;
    let file = File::open(path).map_err(at(path))?;
    let size = file.metadata().map_err(at(path))?.len();
    let mut line = Vec::new();
    BufReader::new(file).take(MAX_HEADER).read_until(b'\n', &mut line).map_err(at(path))?;
    let header = serde_json::from_slice::<Header>(&line);
    Ok(Outline { size, contents: header.ok().map(|header| header.contents()) })
}

fn has_its_checksum(bytes: &[u8]) -> bool {
    bytes.split_last_chunk().is_some_and(|(rest, end)| u32::from_le_bytes(*end) == crc32fast::hash(rest))
}

fn version(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct AnyHeader {
        version: u64,
    }
    let end = memchr::memchr(b'\n', bytes)?;
    serde_json::from_slice::<AnyHeader>(&bytes[..end]).ok().map(|header| header.version)
}

/// What the bytes say, or where they do not make sense and why.
fn parse(bytes: &[u8]) -> Result<Batch, (usize, String)> {
    let mut at = 0;
    let mut next_line = || {
        let rest = &bytes[at..];
        let len = memchr::memchr(b'\n', rest).ok_or((bytes.len(), "the file ends in its header".to_owned()))?;
        at += len + 1;
        Ok((at - len - 1, &rest[..len]))
    };
    let (start, line) = next_line()?;
    let header: Header = serde_json::from_slice(line).map_err(|error| (start, format!("the header: {error}")))?;
    let (start, line) = next_line()?;
    let entries: Vec<Entry> = serde_json::from_slice(line).map_err(|error| (start, format!("the records: {error}")))?;
    let sum = |of: fn(&Entry) -> usize| entries.iter().map(of).fold(0, usize::saturating_add);
    if (header.records, header.lines, header.bytes)
        != (entries.len(), sum(|entry| entry.lines), sum(|entry| entry.bytes))
    {
        return Err((start, "the header and the records have other sums".to_owned()));
    }
    let end = at.saturating_add(header.bytes).saturating_add(CHECKSUM);
    if bytes.len() < end {
        return Err((bytes.len(), format!("the file ends here, {} bytes early", end - bytes.len())));
    }
    if bytes.len() > end {
        return Err((end, format!("{} bytes more than were written", bytes.len() - end)));
    }
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        let data = bytes[at..at + entry.bytes].to_vec();
        at += entry.bytes;
        let key = match (entry.partition_key, entry.explicit_hash_key.map(|number| number.parse())) {
            (None, None) => None,
            (Some(key), Some(Ok(explicit_hash_key))) => Some(PartitionKey { key, explicit_hash_key }),
            _ => return Err((start, "the records: a key that is none".to_owned())),
        };
        records.push(SpooledRecord { data, lines: entry.lines, key });
    }
    let contents = header.contents();
    let destination = Destination { api: header.api, stream: header.stream };
    Ok(Batch { destination, contents, kept: header.kept, records })
}
