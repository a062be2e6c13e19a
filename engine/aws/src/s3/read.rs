//! Reading an object from any byte, in ranges that are asked for ahead.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Formatter};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pixel_engine_core::config::S3Uri;
use pixel_engine_core::deliver::{DeliverError, Failure, Stored};
use pixel_engine_core::source::Object;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::list::{Calls, Reader};

/// Bytes that are asked for at a time.
const RANGE_SIZE: u64 = 4 << 20;
/// The same of the first, which may be all that is wanted: to see what the object holds.
const FIRST_RANGE_SIZE: u64 = 64 << 10;
/// Ranges that are on the way or wait to be read, at most: with the one that is being read, 20 MiB.
const RANGES: usize = 4;
/// How long a body may pause.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// How long a range is tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// How soon a stop is noticed.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// An object of a bucket, as it was listed.
pub(super) struct S3Object {
    reader: Arc<Reader>,
    uri: S3Uri,
    size: u64,
    etag: String,
}

impl S3Object {
    pub(super) fn new(reader: Arc<Reader>, uri: S3Uri, size: u64, etag: String) -> S3Object {
        S3Object { reader, uri, size, etag }
    }
}

impl Debug for S3Object {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.uri, self.etag)
    }
}

impl Object for S3Object {
    fn name(&self) -> String {
        self.uri.to_string()
    }

    fn version(&self) -> &str {
        &self.etag
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_from(&self, offset: u64, stop: Arc<AtomicBool>) -> Box<dyn Read + Send> {
        Box::new(Ranges {
            reader: Arc::clone(&self.reader),
            key: self.uri.key().into(),
            etag: self.etag.as_str().into(),
            next: offset,
            size: self.size,
            has_begun: false,
            asked: VecDeque::new(),
            current: Bytes::new(),
            stop,
        })
    }
}

/// The bytes of an object from some offset on.
struct Ranges {
    reader: Arc<Reader>,
    key: Arc<str>,
    etag: Arc<str>,
    /// Where the next range begins that is asked for.
    next: u64,
    size: u64,
    /// Whether the first range was read.
    has_begun: bool,
    asked: VecDeque<JoinHandle<Result<Bytes, DeliverError>>>,
    current: Bytes,
    stop: Arc<AtomicBool>,
}

impl Ranges {
    /// Asks for ranges as far as they may be ahead.
    fn ask(&mut self) {
        let (ranges, range_size) = if self.has_begun { (RANGES, RANGE_SIZE) } else { (1, FIRST_RANGE_SIZE) };
        while self.next < self.size && self.asked.len() < ranges {
            let (calls, key, etag) = (Arc::clone(&self.reader.calls), Arc::clone(&self.key), Arc::clone(&self.etag));
            let range = self.next..self.size.min(self.next + range_size);
            self.next = range.end;
            let runtime = self.reader.runtime.handle();
            self.asked.push_back(runtime.spawn(async move { whole_range(&calls, &key, &etag, range).await }));
        }
    }
}

/// All of a range. What came of it before a body broke off is kept, and the rest is asked for.
pub(super) async fn whole_range(
    calls: &Calls,
    key: &str,
    etag: &str,
    range: std::ops::Range<u64>,
) -> Result<Bytes, DeliverError> {
    let len = (range.end - range.start) as usize;
    let got = Mutex::new(BytesMut::with_capacity(len));
    let lock = || got.lock().unwrap_or_else(PoisonError::into_inner);
    let call = || async {
        let start = range.start + lock().len() as u64;
        let mut body = calls.bucket.get(key, etag, start..range.end).await?;
        loop {
            let next = timeout(BODY_PATIENCE, body.try_next()).await;
            let broken = |message: String| Failure::malformed_reply(message).during("s3:GetObject");
            match next {
                Ok(Ok(Some(bytes))) if lock().len() + bytes.len() > len => {
                    return Err(broken("more bytes than were asked for".to_owned()));
                }
                Ok(Ok(Some(bytes))) => lock().extend_from_slice(&bytes),
                Ok(Ok(None)) if lock().len() == len => return Ok(()),
                Ok(Ok(None)) => return Err(broken(format!("the body ends after {} bytes of {len}", lock().len()))),
                Ok(Err(error)) => return Err(broken(crate::failure::causes(&error))),
                Err(_) => return Err(Failure::timeout("the body does not go on").during("s3:GetObject")),
            }
        }
    };
    calls.tries.make(Stored::Nothing, 0, call).await?;
    Ok(got.into_inner().unwrap_or_else(PoisonError::into_inner).freeze())
}

impl Read for Ranges {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.ask();
            let Some(mut range) = self.asked.pop_front() else { return Ok(0) };
            let stop = &self.stop;
            let range = self.reader.runtime.block_on(async {
                loop {
                    tokio::select! {
                        range = &mut range => break range.map_err(io::Error::other)?.map_err(io::Error::other),
                        () = sleep(STOP_INTERVAL) => {
                            if stop.load(Ordering::Relaxed) {
                                range.abort();
                                break Err(io::Error::other("stopped"));
                            }
                        }
                    }
                }
            });
            self.current = range?;
            self.has_begun = true;
            self.ask();
        }
        let len = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        self.asked.iter().for_each(JoinHandle::abort);
    }
}
