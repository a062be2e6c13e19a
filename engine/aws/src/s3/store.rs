//! A bucket as a place for objects.

use std::sync::Arc;

use pixel_engine_core::config::{Connection, ObjectsConfig, S3Uri};
use pixel_engine_core::deliver::{Options, Tries};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::statistics::Shipping;
use pixel_engine_core::sink::store::{self, Object};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::bucket::{Bucket, NewObject};
use super::upload::Upload;
use crate::Error;
use crate::connection::configuration;

/// Objects below a prefix of a bucket.
///
/// An object of up to 5 MiB is one request. A larger one goes in parts of that size, each as soon as
/// it is full, so that the memory that is taken is 5 MiB for each object that is open, at most, and
/// 5 MiB for each request on the way: [`DeliveryConfig::concurrency`] for all objects together.
///
/// For threads that may block, and so not inside tokio, where `spawn_blocking` has such.
///
/// [`DeliveryConfig::concurrency`]: pixel_engine_core::config::DeliveryConfig::concurrency
pub struct Store {
    pub(super) uri: S3Uri,
    pub(super) config: ObjectsConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: Arc<Runtime>,
}

/// What the requests of all objects have in common.
pub(super) struct Shared {
    pub(super) bucket: Bucket,
    pub(super) tries: Tries,
    /// How many parts may be on the way.
    pub(super) places: Arc<Semaphore>,
}

impl Store {
    /// Connects, and looks whether the bucket is there.
    ///
    /// # Errors
    /// No region or credentials, no such bucket, or one of another region.
    pub fn open(
        uri: &S3Uri,
        connection: &Connection,
        objects: &ObjectsConfig,
        options: Options,
    ) -> Result<Store, Error> {
        let concurrency = options.config.concurrency.get();
        let runtime = Builder::new_multi_thread()
            .worker_threads(options.config.threads.get())
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|error| SinkError::io("threads for S3", error))?;
        let shared = runtime.block_on(async {
            let configuration = configuration(connection, uri).await?;
            let bucket = Bucket::new(&configuration, connection, uri.bucket());
            let tries = Tries::new(options);
            let looked = tries.ask(|| bucket.look()).await;
            looked.map_err(|error| SinkError::stream(uri.to_string(), error))?;
            Ok::<_, Error>(Shared { bucket, tries, places: Arc::new(Semaphore::new(concurrency)) })
        })?;
        let (shared, runtime) = (Arc::new(shared), Arc::new(runtime));
        Ok(Store { uri: uri.clone(), config: objects.clone(), shared, runtime })
    }
}

impl store::Store for Store {
    fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError> {
        let key = format!("{}{name}", self.uri.key());
        let uri = S3Uri::new(self.uri.bucket(), key.as_str());
        let object = NewObject::new(key, &self.config);
        Ok(Box::new(Upload::new(Arc::clone(&self.shared), Arc::clone(&self.runtime), uri, object)))
    }

    fn was_published(&self, name: &str, ready: &str) -> Result<bool, SinkError> {
        let key = format!("{}{name}", self.uri.key());
        let call = || self.shared.bucket.was_completed(&key, ready);
        let found = self.runtime.block_on(self.shared.tries.ask(call));
        found.map_err(|error| SinkError::stream(S3Uri::new(self.uri.bucket(), key.as_str()).to_string(), error))
    }

    fn target(&self) -> String {
        self.uri.to_string()
    }

    fn shipping(&self) -> Option<Shipping> {
        Some(self.shared.tries.shipping())
    }
}
