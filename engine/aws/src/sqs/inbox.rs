//! A queue with the way to the objects that its messages are about.

use std::sync::Arc;

use pixel_engine_core::config::Connection;
use pixel_engine_core::deliver::{Options, Tries};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::limits::Api;
use tokio::runtime::{Builder, Runtime};

use super::{Attributes, Queue, QueueUrl};
use crate::Error;
use crate::connection::configuration;
use crate::s3::Buckets;

/// A queue that was found.
pub struct Inbox {
    /// The queue.
    pub queue: Queue,
    /// What it is set to.
    pub attributes: Attributes,
    /// Where the objects are.
    pub buckets: Buckets,
    /// Where its requests are made.
    pub runtime: Arc<Runtime>,
}

impl Inbox {
    /// Finds region and credentials, and looks at the queue. Blocks; not for callers inside tokio.
    ///
    /// # Errors
    /// No region or credentials, no such queue, or nobody who may ask.
    pub fn open(url: &QueueUrl, connection: &Connection) -> Result<Inbox, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("queue").enable_all().build();
        let runtime = Arc::new(runtime.map_err(|error| SinkError::io("threads for SQS", error))?);
        let (configuration, queue, attributes) = runtime.block_on(async {
            let configuration = configuration(connection, url).await?;
            let queue = Queue::new(&configuration, connection, url);
            let looked = Tries::new(Options::new(Api::PutRecordBatch)).ask(|| queue.attributes()).await;
            let attributes = looked.map_err(|error| SinkError::stream(url.to_string(), error))?;
            Ok::<_, Error>((configuration, queue, attributes))
        })?;
        let buckets = Buckets::new(configuration, connection, Arc::clone(&runtime));
        Ok(Inbox { queue, attributes, buckets, runtime })
    }
}
