//! What is below a prefix of a bucket: listed, read and removed.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pixel_engine_core::config::{Connection, ObjectsConfig, S3Uri};
use pixel_engine_core::deliver::{DeliverError, Options, Stored};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::inventory::{self, Claim, Item};
use pixel_engine_core::sink::statistics::Shipping;
use pixel_engine_core::sink::store::{self, Object};
use pixel_engine_core::source::Input;
use std::sync::Arc;

use super::bucket::{Crc64, MAX_DELETED, NewObject};
use super::list::{Reader, size};
use super::read::whole_range;
use super::store::Store;
use crate::Error;

/// Objects below a prefix of a bucket, which are written, read and removed.
pub struct Inventory {
    store: Store,
    reader: Arc<Reader>,
}

impl Inventory {
    /// Connects, and looks whether the bucket is there.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open(
        uri: &S3Uri,
        connection: &Connection,
        objects: &ObjectsConfig,
        options: Options,
    ) -> Result<Inventory, Error> {
        let store = Store::open(uri, connection, objects, options)?;
        Ok(Inventory { store, reader: Reader::connect(uri, connection)? })
    }

    fn uri(&self, name: &str) -> S3Uri {
        S3Uri::new(self.store.uri.bucket(), self.key(name).as_str())
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.store.uri.key())
    }

    fn failed(&self, name: &str) -> impl FnOnce(DeliverError) -> SinkError + use<> {
        let uri = self.uri(name).to_string();
        |error| SinkError::stream(uri, error)
    }

    /// Stores a small object; `None` when the condition does not hold.
    fn put(&self, name: &str, content: &[u8], replaced: Option<&str>) -> Result<Option<Claim>, SinkError> {
        let object = NewObject::new(self.key(name), &self.store.config);
        let body = Bytes::copy_from_slice(content);
        let crc = Crc64::of(&body);
        let Store { shared, runtime, .. } = &self.store;
        let put = || async {
            match replaced {
                Some(etag) => shared.bucket.replace(&object, body.clone(), crc, etag).await,
                None => shared.bucket.put(&object, body.clone(), crc).await,
            }
        };
        match runtime.block_on(shared.tries.make(Stored::Object, body.len(), put)) {
            // What was to be replaced is gone, or another: someone else was quicker.
            Err(DeliverError::Refused(failure)) if matches!(failure.code(), "PreconditionFailed" | "NoSuchKey") => {
                Ok(None)
            }
            Err(error) => Err(self.failed(name)(error)),
            Ok(()) => {
                let version = self.etag_of(name)?;
                Ok(version.map(|version| Claim { name: name.to_owned(), version, lock: None }))
            }
        }
    }

    fn etag_of(&self, name: &str) -> Result<Option<String>, SinkError> {
        let Store { shared, runtime, .. } = &self.store;
        let key = self.key(name);
        let call = || shared.bucket.etag_of(&key);
        runtime.block_on(shared.tries.make(Stored::Nothing, 0, call)).map_err(self.failed(name))
    }

    /// Removes what still has these ETags. What is there with another one stays, and what is gone is
    /// gone.
    async fn delete(&self, objects: Vec<(String, String)>) -> Result<(), DeliverError> {
        let bucket = &self.store.shared.bucket;
        let left = Mutex::new(objects);
        let call = || async {
            let wanted = left.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut refused = bucket.delete(&wanted).await?;
            // After a lost reply, what the first request has removed.
            refused.retain(|(_, failure)| !matches!(failure.code(), "NoSuchKey" | "PreconditionFailed"));
            left.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|(key, _)| refused.iter().any(|(other, _)| other == key));
            refused.pop().map_or(Ok(()), |(_, failure)| Err(failure))
        };
        self.store.shared.tries.make(Stored::Nothing, 0, call).await
    }
}

impl store::Store for Inventory {
    fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError> {
        self.store.create(name)
    }

    fn was_published(&self, name: &str, ready: &str) -> Result<bool, SinkError> {
        self.store.was_published(name, ready)
    }

    fn target(&self) -> String {
        self.store.target()
    }

    fn shipping(&self) -> Option<Shipping> {
        self.store.shipping()
    }
}

impl inventory::Inventory for Inventory {
    fn list(&self, folder: &str) -> Result<Vec<Item>, SinkError> {
        let (prefix, root) = (self.key(folder), self.store.uri.key());
        let found = self.reader.list(&prefix).map_err(self.failed(folder))?;
        let item = |object: &aws_sdk_s3::types::Object| {
            let name = object.key()?.strip_prefix(root)?.to_owned();
            let modified = object.last_modified().and_then(|time| SystemTime::try_from(*time).ok())?;
            let version = object.e_tag().unwrap_or_default().to_owned();
            Some(Item { name, size: size(object), modified, version })
        };
        Ok(found.iter().filter_map(item).collect())
    }

    fn read(&self, item: &Item, range: Range<u64>) -> Result<Bytes, SinkError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let key = self.key(&item.name);
        let read = whole_range(&self.reader.calls, &key, &item.version, range);
        self.reader.runtime.block_on(read).map_err(self.failed(&item.name))
    }

    fn input(&self, item: &Item) -> Input {
        self.reader.input(self.uri(&item.name), item.size, &item.version)
    }

    fn remove(&self, items: &[Item]) -> Result<(), SinkError> {
        for some in items.chunks(MAX_DELETED) {
            let objects = some.iter().map(|item| (self.key(&item.name), item.version.clone())).collect();
            let deleted = self.store.runtime.block_on(self.delete(objects));
            deleted.map_err(|error| SinkError::stream(self.store.uri.to_string(), error))?;
        }
        Ok(())
    }

    fn claim(&self, name: &str, content: &[u8]) -> Result<Option<Claim>, SinkError> {
        self.put(name, content, None)
    }

    /// There are no locks: the age has to tell.
    fn take_over(&self, item: &Item, content: &[u8], age: Duration) -> Result<Option<Claim>, SinkError> {
        match SystemTime::now().duration_since(item.modified) {
            Ok(old) if old >= age => self.put(&item.name, content, Some(&item.version)),
            _ => Ok(None),
        }
    }

    fn holds(&self, claim: &Claim) -> Result<bool, SinkError> {
        Ok(self.etag_of(&claim.name)?.is_some_and(|version| version == claim.version))
    }

    fn release(&self, claim: Claim) -> Result<(), SinkError> {
        let deleted = self.store.runtime.block_on(self.delete(vec![(self.key(&claim.name), claim.version)]));
        deleted.map_err(self.failed(&claim.name))
    }
}
