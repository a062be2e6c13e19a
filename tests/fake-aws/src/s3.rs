//! Simple Storage Service: whole objects and such of several parts, conditional writes, checksums,
//! ranges and lists.
//!
//! Every write must have `If-None-Match: *`, or `If-Match` with an ETag, and a CRC-64/NVME: without
//! them a repeat replaces what is there, and what arrives is not what was sent. Every object that is
//! removed must be named with its ETag, so that nothing else goes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use base64_simd::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::action::Action;
use crate::authorization::hex;
use crate::faults::{Fault, Faults, spoil};
use crate::http::Head;
use crate::lock;
use crate::refusal::{Refusal, escaped};
use crate::reply::{Protocol, Reply};
use crate::server::{Call, Shared};

/// The least bytes of a part that is not the last.
const MIN_PART_SIZE: usize = 5 << 20;
const MAX_PARTS: usize = 10_000;
/// Keys of one DeleteObjects.
const MAX_DELETED: usize = 1_000;
/// When objects were stored that the test put there itself.
const LONG_AGO: &str = "2026-01-01T00:00:00.000Z";

/// A bucket, as the test sees it.
#[derive(Clone, Debug)]
pub struct Bucket {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
}

/// An object that is stored.
#[derive(Clone, Debug, Default)]
pub struct StoredObject {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its headers, among them `content-type` and those of metadata and encryption.
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    name: String,
    faults: Faults,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    objects: BTreeMap<String, StoredObject>,
    /// When objects were stored through the server.
    stored: HashMap<String, Timestamp>,
    uploads: HashMap<String, Upload>,
    next_upload: u64,
    page_size: usize,
}

impl Default for Content {
    fn default() -> Content {
        Content {
            objects: BTreeMap::new(),
            stored: HashMap::new(),
            uploads: HashMap::new(),
            next_upload: 0,
            page_size: 1_000,
        }
    }
}

#[derive(Debug)]
struct Upload {
    key: String,
    headers: BTreeMap<String, String>,
    parts: BTreeMap<usize, Vec<u8>>,
}

impl Inner {
    pub(crate) fn new(name: &str) -> Inner {
        Inner { name: name.to_owned(), ..Inner::default() }
    }
}

impl Bucket {
    pub(crate) fn new(inner: Arc<Inner>, shared: Arc<Shared>) -> Bucket {
        Bucket { inner, shared }
    }

    /// All objects, by key.
    pub fn objects(&self) -> BTreeMap<String, StoredObject> {
        lock(&self.inner.content).objects.clone()
    }

    /// How many uploads have parts and are neither complete nor aborted. One without parts is left
    /// where the reply that had its id was lost, and costs nothing.
    pub fn uploads(&self) -> usize {
        lock(&self.inner.content).uploads.values().filter(|upload| !upload.parts.is_empty()).count()
    }

    /// Stores an object, in place of one of that key.
    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> &Bucket {
        let object = StoredObject { bytes: bytes.into(), ..StoredObject::default() };
        let mut content = lock(&self.inner.content);
        content.stored.remove(key);
        content.objects.insert(key.to_owned(), object);
        self
    }

    /// Removes an object.
    pub fn delete(&self, key: &str) -> &Bucket {
        lock(&self.inner.content).objects.remove(key);
        self
    }

    /// The record in which S3 notifies of the object, which is there.
    ///
    /// # Panics
    /// There is no such object.
    pub fn created(&self, key: &str) -> serde_json::Value {
        let content = lock(&self.inner.content);
        let object = content.objects.get(key).unwrap_or_else(|| panic!("no object {key}"));
        let key: String = form_urlencoded::byte_serialize(key.as_bytes()).collect();
        serde_json::json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": self.shared.region,
            "eventTime": "2026-01-01T00:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "logs",
                "bucket": { "name": self.inner.name, "arn": format!("arn:aws:s3:::{}", self.inner.name) },
                "object": {
                    "key": key,
                    "size": object.bytes.len(),
                    "eTag": etag(&object.bytes).trim_matches('"'),
                    "sequencer": format!("{:016X}", self.shared.next_sequencer()),
                },
            },
        })
    }

    /// Lists come in pages of so many keys, 1,000 unless set.
    pub fn page_size(&self, keys: usize) -> &Bucket {
        lock(&self.inner.content).page_size = keys;
        self
    }

    /// The next request of that action meets this.
    pub fn fault_on(&self, action: Action, fault: Fault) -> &Bucket {
        self.shared.queue_fault(&self.inner.faults, action, fault);
        self
    }

    /// That fraction of all requests that write or read objects meets one of these.
    pub fn fail_requests(&self, fraction: f64, seed: u64, faults: &[Fault]) -> &Bucket {
        self.inner.faults.fail_requests(fraction, seed, faults);
        self
    }
}

/// A request, as its line has it.
pub(crate) struct Request {
    pub(crate) action: Action,
    bucket: String,
    key: String,
    query: HashMap<String, String>,
}

impl Request {
    /// The request of that head, if it is one for S3.
    pub(crate) fn of(head: &Head) -> Option<Request> {
        let is_s3 = head.header("authorization").is_some_and(|header| header.contains("/s3/aws4_request"));
        let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
        let query: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let path = percent_decoded(path.strip_prefix('/')?);
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let has = |name: &str| query.contains_key(name);
        let action = match (head.method.as_str(), key.is_empty()) {
            ("HEAD", true) => Action::HeadBucket,
            ("GET", true) if query.get("list-type").is_some_and(|kind| kind == "2") => Action::ListObjectsV2,
            ("HEAD", false) => Action::HeadObject,
            ("GET", false) => Action::GetObject,
            ("POST", true) if has("delete") => Action::DeleteObjects,
            ("PUT", false) if has("uploadId") => Action::UploadPart,
            ("PUT", false) => Action::PutObject,
            ("POST", false) if has("uploads") => Action::CreateMultipartUpload,
            ("POST", false) if has("uploadId") => Action::CompleteMultipartUpload,
            ("DELETE", false) if has("uploadId") => Action::AbortMultipartUpload,
            _ => return None,
        };
        is_s3.then(|| Request { action, bucket: bucket.to_owned(), key: key.to_owned(), query })
    }

    fn query(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// Answers a request of a known sender.
pub(crate) fn answer(call: &Call<'_>, head: &Head, request: &Request) -> Result<Reply, Refusal> {
    let action = request.action;
    call.shared.authority.check(call.principal, action, &format!("arn:aws:s3:::{}", request.bucket))?;
    let inner = lock(&call.shared.buckets).get(&request.bucket).cloned();
    let inner = inner.ok_or_else(|| refusal(404, "NoSuchBucket", "The specified bucket does not exist"))?;
    let fault = inner.faults.next(action);
    let reply = if fault.as_ref().is_some_and(Fault::prevents) {
        Reply::xml(String::new())
    } else {
        let mut content = lock(&inner.content);
        content.answer(call, head, request, &inner.name)?
    };
    Ok(Reply { head_only: head.method == "HEAD", ..spoil(fault, reply, Protocol::S3) })
}

fn refusal(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(code, message).status(status)
}

fn xml(content: impl AsRef<str>) -> Reply {
    let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    Reply { content_type: "application/xml", ..Reply::xml(format!("{declaration}{}", content.as_ref())) }
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &hex(&Sha256::digest(bytes))[..32])
}

impl Content {
    fn answer(&mut self, call: &Call<'_>, head: &Head, request: &Request, bucket: &str) -> Result<Reply, Refusal> {
        let key = request.key.as_str();
        match request.action {
            Action::HeadBucket => {
                let region = ("x-amz-bucket-region".to_owned(), call.shared.region.clone());
                Ok(Reply { headers: vec![region], ..xml("") })
            }
            Action::ListObjectsV2 => Ok(self.list(request)),
            Action::HeadObject | Action::GetObject => self.get(head, key),
            Action::PutObject => {
                checksum(head, call.body)?;
                self.not_there(head, key)?;
                self.store(key, call.body.to_vec(), kept_headers(head));
                Ok(Reply { headers: vec![("ETag".to_owned(), etag(call.body))], ..xml("") })
            }
            Action::CreateMultipartUpload => {
                let wanted = [("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "FULL_OBJECT")];
                if let Some((name, value)) = wanted.into_iter().find(|(name, value)| head.header(name) != Some(value)) {
                    return Err(Refusal::violation("InvalidRequest", format!("{name} is not {value}")));
                }
                self.next_upload += 1;
                let id = format!("upload-{:08}", self.next_upload);
                let upload = Upload { key: key.to_owned(), headers: kept_headers(head), parts: BTreeMap::new() };
                self.uploads.insert(id.clone(), upload);
                Ok(xml(format!(
                    "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
                     </InitiateMultipartUploadResult>",
                    escaped(key)
                )))
            }
            Action::UploadPart => {
                checksum(head, call.body)?;
                let number = request.query("partNumber").parse().unwrap_or(0);
                if !(1..=MAX_PARTS).contains(&number) {
                    let message = "Part number must be an integer between 1 and 10000, inclusive";
                    return Err(Refusal::violation("InvalidArgument", message));
                }
                self.upload(request)?.parts.insert(number, call.body.to_vec());
                Ok(Reply { headers: vec![("ETag".to_owned(), etag(call.body))], ..xml("") })
            }
            Action::CompleteMultipartUpload => self.complete(call, head, request),
            Action::DeleteObjects => self.remove(call),
            _ => {
                self.upload(request)?;
                self.uploads.remove(request.query("uploadId"));
                Ok(Reply { status: 204, ..Reply::xml(String::new()) })
            }
        }
    }

    fn upload(&mut self, request: &Request) -> Result<&mut Upload, Refusal> {
        let upload = self.uploads.get_mut(request.query("uploadId")).filter(|upload| upload.key == request.key);
        upload.ok_or_else(|| {
            let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have \
                           been aborted or completed.";
            refusal(404, "NoSuchUpload", message)
        })
    }

    fn complete(&mut self, call: &Call<'_>, head: &Head, request: &Request) -> Result<Reply, Refusal> {
        let key = request.key.as_str();
        let upload = self.upload(request)?;
        let text = String::from_utf8_lossy(call.body);
        let numbers = between(&text, "PartNumber").map(|number| number.parse().unwrap_or(0));
        let listed: Vec<(usize, &str)> = numbers.zip(between(&text, "ETag")).collect();
        if !listed.is_sorted_by(|one, other| one.0 < other.0) {
            let message = "The list of parts was not in ascending order. Parts must be ordered by part number.";
            return Err(Refusal::violation("InvalidPartOrder", message));
        }
        let mut bytes = Vec::new();
        for (place, (number, tag)) in listed.iter().enumerate() {
            let part = upload.parts.get(number);
            let part = part.filter(|part| etag(part) == tag.replace("&quot;", "\"")).ok_or_else(|| {
                let message = "One or more of the specified parts could not be found.";
                Refusal::violation("InvalidPart", message)
            })?;
            if part.len() < MIN_PART_SIZE && place + 1 < listed.len() {
                let message = "Your proposed upload is smaller than the minimum allowed size";
                return Err(Refusal::violation("EntityTooSmall", message));
            }
            bytes.extend_from_slice(part);
        }
        checksum(head, &bytes)?;
        self.not_there(head, key)?;
        let upload = self.uploads.remove(request.query("uploadId")).expect("it was there");
        let tag = etag(&bytes);
        self.store(key, bytes, upload.headers);
        Ok(xml(format!(
            "<CompleteMultipartUploadResult><Key>{}</Key><ETag>{}</ETag></CompleteMultipartUploadResult>",
            escaped(key),
            escaped(&tag)
        )))
    }

    fn store(&mut self, key: &str, bytes: Vec<u8>, headers: BTreeMap<String, String>) {
        self.stored.insert(key.to_owned(), Timestamp::now());
        self.objects.insert(key.to_owned(), StoredObject { bytes, headers });
    }

    /// Removes the objects that still have their ETags.
    fn remove(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let text = String::from_utf8_lossy(call.body);
        let keys: Vec<String> = between(&text, "Key").map(unescaped).collect();
        let tags: Vec<String> = between(&text, "ETag").map(unescaped).collect();
        if keys.is_empty() || keys.len() > MAX_DELETED || keys.len() != tags.len() {
            let message = format!("{} keys and {} ETags: up to {MAX_DELETED} of both", keys.len(), tags.len());
            return Err(Refusal::violation("MalformedXML", message));
        }
        let mut result = String::from("<DeleteResult>");
        for (key, tag) in keys.into_iter().zip(tags) {
            let code = match self.objects.get(&key) {
                None => "NoSuchKey",
                Some(object) if etag(&object.bytes) != tag => "PreconditionFailed",
                Some(_) => {
                    self.objects.remove(&key);
                    continue;
                }
            };
            let key = escaped(&key);
            let _ = write!(result, "<Error><Key>{key}</Key><Code>{code}</Code><Message>not removed</Message></Error>");
        }
        Ok(xml(result + "</DeleteResult>"))
    }

    /// That there is no such object, or that it has that ETag, which every write has to ask for.
    fn not_there(&self, head: &Head, key: &str) -> Result<(), Refusal> {
        if let Some(tag) = head.header("if-match") {
            return match self.objects.get(key) {
                None => Err(refusal(404, "NoSuchKey", "The specified key does not exist.")),
                Some(object) if etag(&object.bytes) == tag => Ok(()),
                Some(_) => {
                    let message = "At least one of the pre-conditions you specified did not hold";
                    Err(refusal(412, "PreconditionFailed", message))
                }
            };
        }
        if head.header("if-none-match") != Some("*") {
            return Err(Refusal::violation("InvalidRequest", "a write without If-None-Match: * may replace an object"));
        }
        if self.objects.contains_key(key) {
            let message = "At least one of the pre-conditions you specified did not hold";
            return Err(refusal(412, "PreconditionFailed", message));
        }
        Ok(())
    }

    fn get(&self, head: &Head, key: &str) -> Result<Reply, Refusal> {
        let object = self.objects.get(key);
        let object = object.ok_or_else(|| refusal(404, "NoSuchKey", "The specified key does not exist."))?;
        let tag = etag(&object.bytes);
        if head.header("if-match").is_some_and(|wanted| wanted != tag) {
            let message = "At least one of the pre-conditions you specified did not hold";
            return Err(refusal(412, "PreconditionFailed", message));
        }
        let len = object.bytes.len();
        let mut headers = vec![("ETag".to_owned(), tag)];
        headers.extend(object.headers.clone().into_iter().filter(|(name, _)| name != "content-type"));
        let range = match head.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
            Some((first, last)) => {
                let first: usize = first.parse().unwrap_or(usize::MAX);
                let last: usize = last.parse().unwrap_or(usize::MAX);
                if first >= len {
                    return Err(refusal(416, "InvalidRange", "The requested range is not satisfiable"));
                }
                let last = last.min(len - 1);
                headers.push(("Content-Range".to_owned(), format!("bytes {first}-{last}/{len}")));
                first..last + 1
            }
            None => 0..len,
        };
        let status = if range.len() < len { 206 } else { 200 };
        Ok(Reply { status, headers, body: object.bytes[range].to_vec(), ..Reply::xml(String::new()) })
    }

    fn list(&self, request: &Request) -> Reply {
        let prefix = request.query("prefix");
        let after = request.query("continuation-token");
        let found = self.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let found: Vec<_> = found.take(self.page_size + 1).collect();
        let is_truncated = found.len() > self.page_size;
        let page = &found[..found.len().min(self.page_size)];
        let mut text = format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
        for (key, object) in page {
            let _ = write!(
                text,
                "<Contents><Key>{}</Key><Size>{}</Size><ETag>{}</ETag>\
                 <LastModified>{}</LastModified></Contents>",
                escaped(key),
                object.bytes.len(),
                escaped(&etag(&object.bytes)),
                self.stored.get(*key).map_or(LONG_AGO.to_owned(), |time| format!("{time:.3}"))
            );
        }
        if let Some((last, _)) = page.last().filter(|_| is_truncated) {
            let _ = write!(text, "<NextContinuationToken>{}</NextContinuationToken>", escaped(last));
        }
        xml(text + "</ListBucketResult>")
    }
}

/// Refuses a body whose checksum is another than the one that came with it.
fn checksum(head: &Head, bytes: &[u8]) -> Result<(), Refusal> {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes);
    match head.header("x-amz-checksum-crc64nvme") {
        Some(given) if given == STANDARD.encode_to_string(crc.to_be_bytes()) => Ok(()),
        Some(_) => {
            let message = "The CRC64NVME you specified did not match the calculated checksum.";
            Err(Refusal::violation("BadDigest", message))
        }
        None => Err(Refusal::violation("InvalidRequest", "no x-amz-checksum-crc64nvme")),
    }
}

fn kept_headers(head: &Head) -> BTreeMap<String, String> {
    let is_kept = |name: &str| {
        name.starts_with("x-amz-meta-") || name.starts_with("x-amz-server-side") || name.starts_with("content-")
    };
    let headers = head.all_headers().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    headers.filter(|(name, _)| is_kept(name) && name != "content-length").collect()
}

/// What stands in each element of that name.
fn between<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(name).skip(1).step_by(2).map(|part| part.trim_start_matches('>').trim_end_matches("</"))
}

fn unescaped(text: &str) -> String {
    let named = [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&#xD;", "\r"), ("&#xA;", "\n")];
    let text = named.into_iter().fold(text.to_owned(), |text, (name, plain)| text.replace(name, plain));
    text.replace("&amp;", "&")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let code = match (first, others) {
            (b'%', [high, low, ..]) => u8::from_str_radix(&format!("{}{}", *high as char, *low as char), 16).ok(),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &others[2..] } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
