//! Objects of any bucket, as notifications name them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::SdkConfig;
use pixel_engine_core::config::{Connection, S3Uri};
use pixel_engine_core::deliver::{DeliverError, Stored, Tries};
use pixel_engine_core::source::Object;
use tokio::runtime::Runtime;

use super::bucket::Bucket;
use super::list::{Calls, Reader, tries};
use super::read::S3Object;

/// Buckets whose clients are kept. Who sends to a queue decides how many there are.
const MAX_READERS: usize = 16;

/// The buckets that one connection leads to.
///
/// For threads that may block, and so not inside tokio.
pub struct Buckets {
    configuration: SdkConfig,
    connection: Connection,
    tries: Arc<Tries>,
    runtime: Arc<Runtime>,
    readers: Mutex<BTreeMap<String, Arc<Reader>>>,
}

impl Buckets {
    pub(crate) fn new(configuration: SdkConfig, connection: &Connection, runtime: Arc<Runtime>) -> Buckets {
        let _runtime = runtime.enter();
        let (tries, readers) = (Arc::new(tries()), Mutex::default());
        Buckets { configuration, connection: connection.clone(), tries, runtime: Arc::clone(&runtime), readers }
    }

    /// The object of that name, with that size and ETag, or with those that it has now.
    ///
    /// # Errors
    /// There is no such object, or it cannot be asked for.
    pub fn object(
        &self,
        uri: &S3Uri,
        size: Option<u64>,
        etag: Option<String>,
    ) -> Result<Arc<dyn Object>, DeliverError> {
        let reader = self.reader(uri.bucket());
        let (size, etag) = match (size, etag) {
            (Some(size), Some(etag)) => (size, etag),
            _ => {
                let call = || reader.calls.bucket.head(uri.key());
                self.runtime.block_on(self.tries.make(Stored::Nothing, 0, call))?
            }
        };
        Ok(Arc::new(S3Object::new(reader, uri.clone(), size, etag)))
    }

    fn reader(&self, bucket: &str) -> Arc<Reader> {
        // Every change under the lock is complete before anything can panic.
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(bucket) {
            return Arc::clone(reader);
        }
        if readers.len() >= MAX_READERS {
            readers.clear();
        }
        let client = Bucket::new(&self.configuration, &self.connection, bucket);
        let calls = Arc::new(Calls { bucket: client, tries: Arc::clone(&self.tries) });
        let reader = Arc::new(Reader { calls, runtime: Arc::clone(&self.runtime) });
        readers.insert(bucket.to_owned(), Arc::clone(&reader));
        reader
    }
}
