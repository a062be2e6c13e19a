//! The objects that an argument stands for.

use std::sync::Arc;

use aws_sdk_s3::types::Object;
use glob::{MatchOptions, Pattern};
use pixel_engine_core::config::{Connection, S3Uri};
use pixel_engine_core::deliver::{DeliverError, Failure, Options, Stored, Tries};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::limits::Api;
use pixel_engine_core::source::Input;
use tokio::runtime::{Builder, Runtime};

use super::bucket::Bucket;
use super::read::S3Object;
use crate::Error;
use crate::connection::configuration;

/// How a key matches a glob, as the name of a file does: a `*` does not pass a slash.
pub const GLOB: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// A bucket that is read from.
pub struct Reader {
    pub(super) calls: Arc<Calls>,
    pub(super) runtime: Arc<Runtime>,
}

/// What requests need, some of which may outlive their reader.
pub(super) struct Calls {
    pub(super) bucket: Bucket,
    pub(super) tries: Arc<Tries>,
}

impl Reader {
    /// Finds region and credentials for that bucket.
    ///
    /// # Errors
    /// There is no region, no such profile, or an endpoint that is none.
    pub fn connect(uri: &S3Uri, connection: &Connection) -> Result<Arc<Reader>, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("s3").enable_all().build();
        let runtime = runtime.map_err(|error| SinkError::io("threads for S3", error))?;
        let calls = runtime.block_on(async {
            let bucket = Bucket::new(&configuration(connection, uri).await?, connection, uri.bucket());
            Ok::<_, Error>(Calls { bucket, tries: Arc::new(tries()) })
        })?;
        Ok(Arc::new(Reader { calls: Arc::new(calls), runtime: Arc::new(runtime) }))
    }

    /// The objects that the URI stands for, in the order of their keys: the one of that key, else
    /// all whose keys begin with it, else those that it matches as a glob. Empty ones whose keys end
    /// in a slash are what the console calls folders, and are left out.
    ///
    /// # Errors
    /// The bucket cannot be listed, or nothing is there.
    pub fn expand(self: &Arc<Reader>, uri: &S3Uri) -> Result<Vec<Input>, Error> {
        let key = uri.key();
        let refused = |error| Error::from(SinkError::stream(uri.to_string(), error));
        let is_folder =
            |object: &Object| object.key().is_some_and(|key| key.ends_with('/')) && object.size() == Some(0);
        let mut found = self.list(key).map_err(refused)?;
        found.retain(|object| !is_folder(object));
        if found.iter().any(|object| object.key() == Some(key)) {
            found.retain(|object| object.key() == Some(key));
        } else if let (true, Ok(pattern)) = (found.is_empty(), Pattern::new(key)) {
            let literal = key.find(['*', '?', '[']).unwrap_or(key.len());
            if literal < key.len() {
                found = self.list(&key[..literal]).map_err(refused)?;
                found.retain(|object| {
                    !is_folder(object) && object.key().is_some_and(|key| pattern.matches_with(key, GLOB))
                });
            }
        }
        if found.is_empty() {
            return Err(Error::NoObject { uri: uri.clone() });
        }
        let input = |object: Object| {
            let uri = S3Uri::new(uri.bucket(), object.key().unwrap_or_default());
            self.input(uri, size(&object), object.e_tag().unwrap_or_default())
        };
        Ok(found.into_iter().map(input).collect())
    }

    /// An object as it was listed, to read lines from.
    pub(super) fn input(self: &Arc<Reader>, uri: S3Uri, size: u64, etag: &str) -> Input {
        Input::Object(Arc::new(S3Object::new(Arc::clone(self), uri, size, etag.to_owned())))
    }

    /// All objects whose keys begin so, in order.
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Object>, DeliverError> {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let call = || self.calls.bucket.list(prefix, next.clone());
            let page = self.runtime.block_on(self.calls.tries.make(Stored::Nothing, 0, call))?;
            found.extend(page.objects);
            next = page.next;
            if next.is_none() {
                // They come in the order of their bytes, but for directory buckets.
                found.sort_by(|one: &Object, other| one.key().cmp(&other.key()));
                return Ok(found);
            }
        }
    }
}

/// Its bytes, as the list says.
pub(super) fn size(object: &Object) -> u64 {
    object.size().and_then(|size| size.try_into().ok()).unwrap_or_default()
}

/// How reads are tried: one is given up by whoever reads, and not repeated for ever, as the lines
/// stay where they are. Must be called on a tokio runtime.
pub(super) fn tries() -> Tries {
    let mut options = Options::new(Api::PutRecordBatch);
    options.config.give_up_after = Some(super::read::PATIENCE);
    Tries::new(options)
}

/// A page of a list.
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    pub(super) next: Option<String>,
}

impl Bucket {
    async fn list(&self, prefix: &str, next: Option<String>) -> Result<Page, Failure> {
        let page = self.list_page(prefix, next).await?;
        let next = page.next_continuation_token().map(str::to_owned).filter(|_| page.is_truncated() == Some(true));
        Ok(Page { objects: page.contents.unwrap_or_default(), next })
    }
}
