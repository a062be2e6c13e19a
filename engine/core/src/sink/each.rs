//! A sink for tests, which does one thing with each record as it comes.

use super::{RecordLimit, Sink, SinkError};
use crate::record::{Delivered, Record};

/// Hands each record to a function; what that gives back is delivered.
pub(crate) struct Each<F> {
    take: F,
    /// What was given back.
    pub(crate) delivered: Delivered,
    /// What the packer is asked for.
    pub(crate) limit: RecordLimit,
}

impl<F: FnMut(Record) -> Result<Option<Record>, SinkError>> Each<F> {
    pub(crate) fn new(take: F) -> Each<F> {
        Each { take, delivered: Delivered::default(), limit: RecordLimit::default() }
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

    fn record_limit(&self) -> RecordLimit {
        self.limit.clone()
    }
}
