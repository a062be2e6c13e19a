//! A delivery for a thread that may block.

use std::num::NonZeroUsize;

use tokio::runtime::{Builder, Handle, Runtime};

use super::{Delivery, Service};
use crate::record::{Delivered, Record};
use crate::sink::statistics::Shipping;
use crate::sink::{RecordLimit, Sink, SinkError};
use pixel_engine_kpl::SharedShardMap;

/// The front of a [`Delivery`] for the pipeline's writer, which is a thread of its own and may
/// block.
///
/// Inside tokio, run the pipeline with `spawn_blocking`: blocking a runtime's own threads is a
/// panic.
pub struct DeliverySink<S: Service> {
    delivery: Delivery<S>,
    handle: Handle,
    /// The runtime, where it is this sink's own.
    runtime: Option<Runtime>,
}

impl<S: Service> DeliverySink<S> {
    /// A delivery that was opened on that runtime, which must outlive it.
    pub fn new(delivery: Delivery<S>, handle: Handle) -> DeliverySink<S> {
        DeliverySink { delivery, handle, runtime: None }
    }

    /// A delivery on a runtime of its own, with so many threads that encode, sign and send
    /// requests; `open` is run there and opens it.
    ///
    /// # Errors
    /// Those of `open`, and [`SinkError::Io`] when the system has no threads to give.
    pub fn with_threads<E: From<SinkError>>(
        threads: NonZeroUsize,
        open: impl Future<Output = Result<Delivery<S>, E>>,
    ) -> Result<DeliverySink<S>, E> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.get())
            .thread_name("ship")
            .enable_all()
            .build()
            .map_err(|error| SinkError::io("threads for shipping", error))?;
        let delivery = runtime.block_on(open)?;
        Ok(DeliverySink { delivery, handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl<S: Service> Sink for DeliverySink<S> {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.handle.block_on(self.delivery.ship(record))
    }

    /// Hands the open request of every lane to the workers; waits while they are all busy.
    fn flush(&mut self) -> Result<(), SinkError> {
        self.handle.block_on(self.delivery.flush())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.handle.block_on(self.delivery.close())
    }

    fn delivered(&self) -> Delivered {
        self.delivery.delivered()
    }

    fn requests(&self) -> u64 {
        self.delivery.requests()
    }

    fn shards(&self) -> SharedShardMap {
        self.delivery.shards().unwrap_or_default()
    }

    fn record_limit(&self) -> RecordLimit {
        self.delivery.record_limit()
    }

    fn shipping(&self) -> Option<Shipping> {
        Some(self.delivery.shipping())
    }
}

impl<S: Service> Drop for DeliverySink<S> {
    fn drop(&mut self) {
        // Not waited for: a name that is still being looked up, say, should not hold the end of the
        // run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
