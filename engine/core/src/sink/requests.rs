//! Writes one API request a line, in the JSON form that
//! `aws firehose put-record-batch --cli-input-json` and `aws kinesis put-records --cli-input-json`
//! take.

use std::io::Write;

use super::entry::{append_entry, begin_request, end_request};
use super::limits::{Api, RequestLimits};
use super::{Sink, SinkError};
use crate::record::{Delivered, Receipt, Record};

/// Writes requests to a stream of bytes.
pub struct Requests<W: Write> {
    output: W,
    api: Api,
    stream: Option<String>,
    limits: RequestLimits,
    /// The request that is being written, and what is in it.
    open: (Vec<u8>, Vec<Receipt>),
    delivered: Delivered,
}

impl<W: Write + Send> Requests<W> {
    /// Requests of that API; `stream` names the stream inside the request, else the caller of the
    /// AWS CLI must.
    pub fn new(output: W, api: Api, stream: Option<String>) -> Requests<W> {
        let limits = RequestLimits::new(api);
        Requests { output, api, stream, limits, open: Default::default(), delivered: Delivered::default() }
    }

    fn end_request(&mut self) -> Result<(), SinkError> {
        let (body, receipts) = &mut self.open;
        if receipts.is_empty() {
            return Ok(());
        }
        end_request(body);
        body.push(b'\n');
        let written = self.output.write_all(body).and_then(|()| self.output.flush());
        written.map_err(|error| SinkError::io("stdout", error))?;
        body.clear();
        receipts.drain(..).for_each(|receipt| self.delivered.settle(receipt));
        Ok(())
    }
}

impl<W: Write + Send> Sink for Requests<W> {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        if self.limits.begins_request(&record) {
            self.end_request()?;
            begin_request(&mut self.open.0, self.api, self.stream.as_deref());
        } else {
            self.open.0.push(b',');
        }
        append_entry(&mut self.open.0, &record);
        self.open.1.push(record.into_receipt());
        Ok(())
    }

    /// Ends the open request and writes its line.
    fn flush(&mut self) -> Result<(), SinkError> {
        self.limits.end_request();
        self.end_request()
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.flush()
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    fn requests(&self) -> u64 {
        self.limits.requests()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &str) -> Record {
        Record::from_bytes(data.as_bytes().to_vec(), 1, None, Vec::new())
    }

    #[test]
    fn a_flush_writes_the_open_request_and_the_next_record_begins_another() {
        let mut output = Vec::new();
        let mut requests = Requests::new(&mut output, Api::PutRecordBatch, None);
        requests.flush().unwrap();
        for data in ["a", "b"] {
            requests.ship(record(data)).unwrap();
        }
        assert_eq!((requests.delivered().records, requests.requests()), (0, 1));
        requests.flush().unwrap();
        requests.flush().unwrap();
        assert_eq!((requests.delivered().records, requests.requests()), (2, 1));
        requests.ship(record("c")).unwrap();
        requests.close().unwrap();
        assert_eq!((requests.delivered().records, requests.requests()), (3, 2));
        let wanted = "{\"Records\":[{\"Data\":\"YQ==\"},{\"Data\":\"Yg==\"}]}\n{\"Records\":[{\"Data\":\"Yw==\"}]}\n";
        assert_eq!(String::from_utf8(output).unwrap(), wanted);
    }
}
