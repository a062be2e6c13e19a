//! Delivers nowhere: to measure the engine, and what the records would cost.

use super::limits::{Api, RequestLimits};
use super::{Sink, SinkError};
use crate::record::{Delivered, Record};

/// Counts requests and acknowledges.
#[derive(Debug)]
pub struct Null {
    limits: RequestLimits,
    delivered: Delivered,
}

impl Null {
    /// Counts requests of that API.
    pub fn new(api: Api) -> Null {
        Null { limits: RequestLimits::new(api), delivered: Delivered::default() }
    }
}

impl Sink for Null {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.limits.begins_request(&record);
        self.delivered.settle(record.into_receipt());
        Ok(())
    }

    /// Nothing is held back.
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
        self.limits.requests()
    }
}
