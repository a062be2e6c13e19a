//! Reads what is posted, within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use pixel_engine_core::journal::{Body, BodyError, JournalError};
use pixel_engine_core::source::is_plain;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Door;

/// Bodies with more text than that are read on a thread that may take its time.
const MAX_INLINE: usize = 64 << 10;
/// The unit in which memory is shared out.
const MEMORY_UNIT: usize = 1 << 10;

/// Why a body is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the body is larger than {0} bytes: send it in parts")]
    TooLarge(usize),
    #[error("Content-Encoding {0} is not read: send gzip, zstd, or none")]
    Encoding(String),
    #[error(transparent)]
    Unreadable(#[from] BodyError),
    #[error("{0}")]
    Malformed(String),
    #[error("the body did not arrive within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("the body broke off: {0}")]
    BrokenOff(hyper::Error),
    /// Too many at a time.
    #[error("too many bodies at a time: send again later")]
    Busy,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What bodies may take.
#[derive(Clone)]
pub(super) struct Bounds {
    /// Bytes of one, before and after decompression.
    pub(super) max_len: usize,
    pub(super) timeout: Duration,
    /// For all that are being read, in units.
    memory: Arc<Semaphore>,
    /// Those that are being decompressed and parsed.
    unpacking: Arc<Semaphore>,
}

/// A body as it was sent, and the memory for it.
pub(super) struct Posted {
    pub(super) bytes: Vec<u8>,
    memory: Vec<OwnedSemaphorePermit>,
}

impl Bounds {
    pub(super) fn new(max_len: usize, timeout: Duration) -> Bounds {
        // At least two of the largest at a time, one of which may be slow.
        let memory = 2 * max_len.div_ceil(MEMORY_UNIT);
        Bounds { max_len, timeout, memory: Arc::new(Semaphore::new(memory)), unpacking: Arc::new(Semaphore::new(1)) }
    }

    /// Reads the body to its end.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Incoming) -> Result<Posted, Refusal> {
        let declared = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|len| len > self.max_len) {
            return Err(Refusal::TooLarge(self.max_len));
        }
        if let Some(encoding) = headers.get(CONTENT_ENCODING) {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            // Which one it is, the content tells.
            if !["gzip", "x-gzip", "zstd", "identity"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
                return Err(Refusal::Encoding(encoding.into_owned()));
            }
        }
        timeout(self.timeout, self.read_frames(body)).await.unwrap_or(Err(Refusal::Slow(self.timeout)))
    }

    async fn read_frames(&self, mut body: Incoming) -> Result<Posted, Refusal> {
        let mut posted = Posted { bytes: Vec::new(), memory: Vec::new() };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Refusal::BrokenOff)?.into_data() else { continue };
            if posted.bytes.len() + data.len() > self.max_len {
                return Err(Refusal::TooLarge(self.max_len));
            }
            let units = u32::try_from(data.len().div_ceil(MEMORY_UNIT)).map_err(|_| Refusal::Busy)?;
            let memory = Arc::clone(&self.memory).try_acquire_many_owned(units).map_err(|_| Refusal::Busy)?;
            posted.memory.push(memory);
            posted.bytes.extend_from_slice(&data);
        }
        Ok(posted)
    }

    /// Does the work of getting at the lines where it holds up nobody.
    pub(super) async fn unpack<T: Send + 'static>(
        &self,
        posted: Posted,
        unpack: impl FnOnce(Vec<u8>, usize) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Posted { bytes, memory: _memory } = posted;
        let max_len = self.max_len;
        let is_small = bytes.len() <= MAX_INLINE && is_plain(&bytes);
        if is_small {
            return unpack(bytes, max_len);
        }
        let turn = self.unpacking.acquire().await.expect("it is never closed");
        let unpacked = tokio::task::spawn_blocking(move || unpack(bytes, max_len)).await;
        drop(turn);
        unpacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Waits until all of these are safe.
pub(super) async fn store(door: &Door, bodies: &[Body]) -> Result<(), Refusal> {
    let mut pending = Vec::with_capacity(bodies.len());
    for body in bodies.iter().filter(|body| !body.lines.is_empty()) {
        pending.push(door.append(body.kind, &body.lines)?);
    }
    for pending in pending {
        pending.wait().await?;
    }
    Ok(())
}
