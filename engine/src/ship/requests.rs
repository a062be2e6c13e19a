//! Writes one API request a line, in the JSON form that `aws firehose put-record-batch --cli-input-json` and
//! `aws kinesis put-records --cli-input-json` take.

use std::io::{self, BufWriter, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;

use super::limits::{Api, RequestLimits};
use super::{Sink, SinkError};
use crate::record::{Delivered, Receipt, Record};

/// Writes requests to a stream of bytes.
pub struct Requests<W: Write> {
    output: BufWriter<W>,
    api: Api,
    stream: Option<String>,
    limits: RequestLimits,
    open: Vec<Receipt>,
    delivered: Delivered,
}

impl<W: Write + Send> Requests<W> {
    /// Requests of that API; `stream` names the stream inside the request, else the caller of the AWS CLI must.
    pub fn new(output: W, api: Api, stream: Option<String>) -> Requests<W> {
        let output = BufWriter::with_capacity(256 << 10, output);
        Requests {
            output,
            api,
            stream,
            limits: RequestLimits::new(api),
            open: Vec::new(),
            delivered: Delivered::default(),
        }
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        if self.limits.begins_request(record) {
            self.end_request()?;
            self.begin_request()?;
        } else {
            self.output.write_all(b",")?;
        }
        write_entry(&mut self.output, record)
    }

    fn begin_request(&mut self) -> io::Result<()> {
        self.output.write_all(b"{")?;
        if let Some(stream) = &self.stream {
            let name = match self.api {
                Api::PutRecordBatch => "DeliveryStreamName",
                Api::PutRecords => "StreamName",
            };
            write!(self.output, "\"{name}\":{},", serde_json::Value::from(stream.as_str()))?;
        }
        self.output.write_all(b"\"Records\":[")
    }

    fn end_request(&mut self) -> io::Result<()> {
        if !self.open.is_empty() {
            self.output.write_all(b"]}\n")?;
            self.output.flush()?;
            self.open.drain(..).for_each(|receipt| self.delivered.settle(receipt));
        }
        Ok(())
    }
}

/// Writes one entry of PutRecordBatch or PutRecords as JSON.
///
/// # Errors
/// What `output` reports.
pub fn write_entry(output: &mut impl Write, record: &Record) -> io::Result<()> {
    output.write_all(b"{\"Data\":\"")?;
    let mut base64 = EncoderWriter::new(&mut *output, &STANDARD);
    for chunk in record.chunks() {
        base64.write_all(chunk)?;
    }
    base64.finish()?;
    drop(base64);
    match record.key() {
        None => output.write_all(b"\"}"),
        Some(key) => {
            write!(
                output,
                "\",\"PartitionKey\":\"{}\",\"ExplicitHashKey\":\"{}\"}}",
                key.key,
                key.explicit_hash_key_text()
            )
        }
    }
}

impl<W: Write + Send> Sink for Requests<W> {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.write(&record).map_err(stdout_error)?;
        self.open.push(record.into_receipt());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.end_request().map_err(stdout_error)
    }

    fn delivered(&self) -> &Delivered {
        &self.delivered
    }

    fn requests(&self) -> u64 {
        self.limits.requests()
    }
}

fn stdout_error(error: io::Error) -> SinkError {
    SinkError { target: "stdout".to_owned(), error }
}
