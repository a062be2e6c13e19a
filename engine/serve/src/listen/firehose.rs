//! The delivery of a Firehose stream to an HTTP endpoint, version 1.0.
//!
//! A reply of 200 with the request's id says that every record is safe; anything else makes
//! Firehose send the same records again, and at last write them to its S3 bucket. But for one: on
//! 413, Firehose gives up on the records and does not write them to the bucket either, so that is
//! never answered. Source:
//! <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64_simd::STANDARD;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use pixel_engine_core::journal::{Body, Kind, decompressed};
use pixel_engine_core::source::{Format, is_plain};
use pixel_engine_kpl::{Decoded, decode};
use serde::Deserialize;

use super::Door;
use super::body::{Bounds, Refusal, store};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
pub(super) const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");

/// Requests that are remembered. Firehose tries for two hours at most, with 1 MiB or more a request.
const MAX_REMEMBERED: usize = 65_536;
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

/// The requests whose records are safe, the last ones of them.
#[derive(Default)]
pub(super) struct Requests(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    ids: HashSet<String>,
    in_order: VecDeque<String>,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // An id that is missing from one of the two is forgotten later or earlier; no more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, id: &str) -> bool {
        self.lock().ids.contains(id)
    }

    fn add(&self, id: String) {
        let mut remembered = self.lock();
        if id.len() > MAX_ID_LEN || !remembered.ids.insert(id.clone()) {
            return;
        }
        remembered.in_order.push_back(id);
        if remembered.in_order.len() > MAX_REMEMBERED
            && let Some(oldest) = remembered.in_order.pop_front()
        {
            remembered.ids.remove(&oldest);
        }
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
    requests.add(id);
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
