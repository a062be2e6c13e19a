//! The delivery of a Firehose stream to an HTTP endpoint, version 1.0.
//!
//! A reply of 200 with the request's id says that every record is safe; anything else makes
//! Firehose send the same records again, and at last write them to its S3 bucket. But for one: on
//! 413, Firehose gives up on the records and does not write them to the bucket either, so that is
//! never answered. Source:
//! <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64_simd::STANDARD;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use pixel_engine_core::journal::{Body, Journal, Kind, decompressed};
use pixel_engine_core::source::{Format, is_plain};
use pixel_engine_kpl::{Decoded, decode};
use serde::Deserialize;

use super::Door;
use super::body::{Bounds, Refusal, store};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
pub(super) const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");

/// Requests that are remembered. Firehose tries for two hours at most, with 1 MiB or more a request.
const MAX_REMEMBERED: usize = 65_536;
/// In the folder of the journal.
const FILE: &str = "firehose-requests";
/// Longer than any GUID.
const MAX_ID_LEN: usize = 128;

/// The body of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// What became of a request.
pub(super) struct Taken {
    pub(super) is_duplicate: bool,
}

/// The requests whose records are safe, the last ones of them. They are in a file as well, one id a
/// line, for the time after a restart. It is not synced: what a crash of the machine takes from it
/// are ids, and a request that is not remembered is taken twice, not lost.
pub(super) struct Requests {
    path: PathBuf,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    ids: HashSet<String>,
    in_order: VecDeque<String>,
    /// None while it cannot be written.
    file: Option<File>,
    lines: usize,
}

impl Requests {
    /// Those of a journal.
    pub(super) fn of(journal: &Journal) -> Requests {
        let requests = Requests { path: journal.folder().join(FILE), remembered: Mutex::default() };
        let known = fs::read(&requests.path).unwrap_or_default();
        let mut remembered = requests.lock();
        // A line that was torn is an id that nobody has.
        for id in known.split(|&byte| byte == b'\n').filter_map(|id| std::str::from_utf8(id).ok()) {
            remembered.add(id);
        }
        requests.write_anew(&mut remembered);
        drop(remembered);
        requests
    }

    /// Begins the file with what is remembered now.
    fn write_anew(&self, remembered: &mut Remembered) {
        let ids: String = remembered.in_order.iter().flat_map(|id| [id, "\n"]).collect();
        let new = self.path.with_extension("new");
        let written = fs::write(&new, ids)
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| OpenOptions::new().append(true).open(&self.path));
        remembered.lines = remembered.in_order.len();
        remembered.file = written.map_err(|error| self.cannot_be_written(&error)).ok();
    }

    fn cannot_be_written(&self, error: &io::Error) {
        let path = self.path.display();
        tracing::warn!("{path}: {error}: requests of Firehose that come again after a restart are taken again");
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // An id that is missing from one of the two is forgotten later or earlier; no more.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, id: &str) -> bool {
        self.lock().ids.contains(id)
    }

    fn add(&self, id: &str) {
        let mut remembered = self.lock();
        if !remembered.add(id) {
            return;
        }
        if remembered.lines >= 2 * MAX_REMEMBERED {
            self.write_anew(&mut remembered);
        } else if let Some(file) = &mut remembered.file {
            if let Err(error) = file.write_all(format!("{id}\n").as_bytes()) {
                self.cannot_be_written(&error);
                remembered.file = None;
            }
            remembered.lines += 1;
        }
    }
}

impl Remembered {
    /// Remembers it, in place of the oldest; `false` for what is not remembered anew.
    fn add(&mut self, id: &str) -> bool {
        if !(1..=MAX_ID_LEN).contains(&id.len()) || id.contains('\n') || !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.in_order.push_back(id.to_owned());
        if self.in_order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// The id in the headers, which is there before the body is.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned)
}

pub(super) async fn take(
    door: &Door,
    bounds: &Bounds,
    requests: &Requests,
    request: &Parts,
    body: Incoming,
) -> Result<Taken, Refusal> {
    let id = request_id(&request.headers).ok_or_else(|| Refusal::Malformed(format!("no header {REQUEST_ID}")))?;
    let posted = bounds.read(&request.headers, body).await?;
    if requests.has(&id) {
        return Ok(Taken { is_duplicate: true });
    }
    let (format, wanted) = (door.format, id.clone());
    let bodies = bounds.unpack(posted, move |bytes, max_len| bodies(bytes, format, max_len, &wanted)).await?;
    store(door, &bodies).await?;
    requests.add(&id);
    Ok(Taken { is_duplicate: false })
}

/// The lines of all records, those of a kind together.
fn bodies(bytes: Vec<u8>, format: Format, max_len: usize, id: &str) -> Result<Vec<Body>, Refusal> {
    // Firehose counts 64 MiB before it compresses.
    let text = decompressed(bytes, max_len)?;
    let delivery: Delivery<'_> = serde_json::from_slice(&text)
        .map_err(|error| Refusal::Malformed(format!("the body is no request of Firehose: {error}")))?;
    if delivery.request_id != id {
        return Err(Refusal::Malformed(format!(
            "the body is that of request {}, the header says {id}",
            delivery.request_id
        )));
    }
    let mut bodies: Vec<Body> = Vec::new();
    for (place, record) in delivery.records.iter().enumerate() {
        let data = STANDARD
            .decode_to_vec(record.data.as_bytes())
            .map_err(|_| Refusal::Malformed(format!("the data of record {} is not base64", place + 1)))?;
        for body in bodies_of(data, format, max_len) {
            match bodies.iter_mut().find(|other| other.kind == body.kind && body.kind != Kind::Alone) {
                Some(other) => other.lines.extend_from_slice(&body.lines),
                None => bodies.push(body),
            }
        }
    }
    Ok(bodies)
}

/// The lines of a record, or of the user records in an aggregate.
fn bodies_of(data: Vec<u8>, format: Format, max_len: usize) -> Vec<Body> {
    // What cannot be read now could not be when it is sent again: it is taken as it is, for the
    // quarantine.
    let body = |data: Vec<u8>| {
        if is_plain(&data) {
            return Body::of(data, format);
        }
        Body::read(data.clone(), format, max_len).unwrap_or_else(|_| Body::of(data, Format::RealTime))
    };
    match decode(&data) {
        Decoded::Aggregate(aggregate) => aggregate.records().map(|record| body(record.data.to_vec())).collect(),
        _ if data.is_empty() => Vec::new(),
        _ => vec![body(data)],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_taken_is_remembered_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), 1 << 20, Duration::ZERO).unwrap();
        let requests = Requests::of(&journal);
        for number in 0..2 * MAX_REMEMBERED + 10 {
            requests.add(&format!("request-{number}"));
        }
        requests.add("two\nlines");
        requests.add("");
        let path = folder.path().join(FILE);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"request-to").unwrap();
        let requests = Requests::of(&journal);
        let last = 2 * MAX_REMEMBERED + 9;
        for (id, is_known) in [
            (format!("request-{last}"), true),
            (format!("request-{}", last - MAX_REMEMBERED + 2), true),
            ("request-0".to_owned(), false),
            ("two".to_owned(), false),
        ] {
            assert_eq!(requests.has(&id), is_known, "{id}");
        }
        // The torn line stands alone.
        requests.add("request-again");
        assert!(Requests::of(&journal).has("request-again"));
        assert!(fs::read_to_string(path).unwrap().lines().count() <= MAX_REMEMBERED);
    }

    #[test]
    fn without_the_file_requests_are_taken_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), 1 << 20, Duration::ZERO).unwrap();
        fs::create_dir(folder.path().join(FILE)).unwrap();
        let requests = Requests::of(&journal);
        requests.add("request-1");
        assert!(requests.has("request-1"));
    }
}
