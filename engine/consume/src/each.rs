//! A sink for tests, which does one thing with each record as it comes.

use pixel_engine_core::record::{Delivered, Record};
use pixel_engine_core::sink::{Sink, SinkError};

/// Hands each record to a function; what that gives back is delivered.
pub(crate) struct Each<F> {
    take: F,
    delivered: Delivered,
}

impl<F: FnMut(Record) -> Result<Option<Record>, SinkError>> Each<F> {
    pub(crate) fn new(take: F) -> Each<F> {
        Each { take, delivered: Delivered::default() }
    }
}

impl<F: FnMut(Record) -> Result<Option<Record>, SinkError> + Send> Sink for Each<F> {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        if let Some(record) = (self.take)(record)? {
            self.delivered.settle(record.into_receipt());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    fn requests(&self) -> u64 {
        0
    }
}
