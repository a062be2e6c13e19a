//! One object on its way into a bucket.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pixel_engine_core::config::S3Uri;
use pixel_engine_core::deliver::{DeliverError, Stored};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::store::Object;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bucket::{Crc64, NewObject, Part};
use super::store::Shared;

/// Bytes of a part, but for the last one, and so of an object that needs none: the least that S3
/// takes, for the sake of memory. 10,000 of them, which is the most, are 48 GiB. Source: "Amazon S3
/// multipart upload limits" in the user guide.
pub(super) const PART_SIZE: usize = 5 << 20;
/// How long the end of a run may be held up by removing parts.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);

/// An object of which nothing can be seen yet.
pub(super) struct Upload {
    shared: Arc<Shared>,
    runtime: Arc<Runtime>,
    uri: S3Uri,
    object: Arc<NewObject>,
    /// The id, once there is a first part.
    id: Option<Arc<str>>,
    /// What is still to be sent, up to a part of it.
    rest: Vec<u8>,
    begun_parts: i32,
    on_the_way: JoinSet<Result<Part, DeliverError>>,
    parts: Vec<Part>,
}

impl Upload {
    pub(super) fn new(shared: Arc<Shared>, runtime: Arc<Runtime>, uri: S3Uri, object: NewObject) -> Upload {
        Upload {
            shared,
            runtime,
            uri,
            object: Arc::new(object),
            id: None,
            rest: Vec::new(),
            begun_parts: 0,
            on_the_way: JoinSet::new(),
            parts: Vec::new(),
        }
    }

    /// Sends what there is as a part, when there is a place for it.
    fn send_part(&mut self) -> Result<(), SinkError> {
        while let Some(part) = self.on_the_way.try_join_next() {
            self.take_part(part)?;
        }
        let id = self.id()?;
        let place = self.runtime.block_on(Arc::clone(&self.shared.places).acquire_owned());
        let place = place.expect("places are never closed");
        self.begun_parts += 1;
        let (shared, object, number) = (Arc::clone(&self.shared), Arc::clone(&self.object), self.begun_parts);
        let body = Bytes::from(std::mem::take(&mut self.rest));
        let send = async move {
            let crc = Crc64::of(&body);
            let call = || shared.bucket.put_part(&object, &id, number, body.clone(), crc);
            let part = shared.tries.make(Stored::Part, body.len(), call).await;
            drop(place);
            part
        };
        self.on_the_way.spawn_on(send, self.runtime.handle());
        Ok(())
    }

    fn take_part(&mut self, part: Result<Result<Part, DeliverError>, tokio::task::JoinError>) -> Result<(), SinkError> {
        let part = part.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        self.parts.push(part.map_err(|error| self.failed(error))?);
        Ok(())
    }

    /// The id of the upload, which is begun with it.
    fn id(&mut self) -> Result<Arc<str>, SinkError> {
        if let Some(id) = &self.id {
            return Ok(Arc::clone(id));
        }
        let call = || self.shared.bucket.begin(&self.object);
        let id = self.runtime.block_on(self.shared.tries.make(Stored::Nothing, 0, call));
        let id = Arc::<str>::from(id.map_err(|error| self.failed(error))?);
        self.id = Some(Arc::clone(&id));
        Ok(id)
    }

    fn put_whole(&mut self) -> Result<(), SinkError> {
        let body = Bytes::from(std::mem::take(&mut self.rest));
        let crc = Crc64::of(&body);
        let call = || self.shared.bucket.put(&self.object, body.clone(), crc);
        self.runtime
            .block_on(self.shared.tries.make(Stored::Object, body.len(), call))
            .map_err(|error| self.failed(error))
    }

    /// Sends what is left, and waits until all parts have arrived.
    fn finish_parts(&mut self) -> Result<(), SinkError> {
        if !self.rest.is_empty() {
            self.send_part()?;
        }
        while let Some(part) = self.runtime.block_on(self.on_the_way.join_next()) {
            self.take_part(part)?;
        }
        self.parts.sort_by_key(|part| part.number);
        Ok(())
    }

    fn complete(&mut self, id: &str) -> Result<(), SinkError> {
        self.finish_parts()?;
        let call = || self.shared.bucket.complete(&self.object, id, &self.parts);
        let completed = self.runtime.block_on(self.shared.tries.make(Stored::Object, 0, call));
        completed.map_err(|error| self.failed(error))?;
        // There is nothing left to remove.
        self.id = None;
        Ok(())
    }

    fn failed(&self, error: DeliverError) -> SinkError {
        SinkError::stream(self.uri.to_string(), error)
    }
}

impl Write for Upload {
    /// Waits while as many parts are on the way as may be.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.rest.len() == PART_SIZE {
            self.send_part().map_err(io::Error::other)?;
        }
        let taken = bytes.len().min(PART_SIZE - self.rest.len());
        let wanted = self.rest.len() + taken;
        if wanted > self.rest.capacity() {
            // Twice as much, as any vector would, but never more than a part.
            let len = (2 * self.rest.capacity()).clamp(wanted, PART_SIZE);
            self.rest.reserve_exact(len - self.rest.len());
        }
        self.rest.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// A part has to be full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Object for Upload {
    fn target(&self) -> String {
        self.uri.to_string()
    }

    /// The id of the upload, of one part at least: a single request that stores the object could still
    /// arrive when its process is gone, but an upload can be aborted.
    fn make_ready(&mut self) -> Result<String, SinkError> {
        let id = self.id()?;
        self.finish_parts()?;
        Ok(id.to_string())
    }

    fn publish(mut self: Box<Self>) -> Result<(), SinkError> {
        match self.id.clone() {
            None => self.put_whole(),
            Some(id) => self.complete(&id),
        }
    }
}

impl Drop for Upload {
    /// Removes the parts of an object that was not published.
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let aborted = self.runtime.block_on(async {
            // A part that arrives later would stay.
            self.on_the_way.shutdown().await;
            timeout(ABORT_PATIENCE, self.shared.bucket.abort(&self.object.key, &id)).await
        });
        let why = match aborted {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("no reply within {} s", ABORT_PATIENCE.as_secs()),
        };
        let uri = &self.uri;
        tracing::warn!("{uri}: parts of it stay in the bucket, until a lifecycle rule removes them: {why}");
    }
}
