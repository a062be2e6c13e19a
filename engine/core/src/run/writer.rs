//! Takes finished records in order and gives them to the sink, and bad lines to the quarantine.

use std::io;

use crossbeam_channel::Receiver;

use super::Error;
use crate::ack::AckToken;
use crate::pack::Packed;
use crate::quarantine::{BadLine, Quarantine};
use crate::record::{Delivered, Record};
use crate::sink::Sink;
use crate::sink::statistics::Shipping;

/// What the writer gets.
pub(super) enum ToWriter {
    /// Records of lines as they are.
    Ready(Vec<Packed>),
    /// Records that the pool is making.
    Pending(Receiver<io::Result<Vec<Record>>>),
    /// Bad lines of a block, how many lines they count as, and their share in its acknowledgement.
    BadLines(Vec<BadLine>, u64, AckToken),
}

pub(super) struct Writer<'a> {
    sink: &'a mut dyn Sink,
    quarantine: &'a mut Quarantine,
    quarantined: u64,
}

/// What the writer did.
pub(super) struct Written {
    pub(super) delivered: Delivered,
    pub(super) requests: u64,
    pub(super) shipping: Option<Shipping>,
    pub(super) quarantined: u64,
    pub(super) error: Option<Error>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink, quarantine: &'a mut Quarantine) -> Writer<'a> {
        Writer { sink, quarantine, quarantined: 0 }
    }

    /// Writes until the packer ends, or something cannot be written.
    pub(super) fn write(mut self, input: Receiver<ToWriter>) -> Written {
        let error = self.write_all(input).err();
        let Writer { sink, quarantined, .. } = self;
        Written {
            delivered: sink.delivered(),
            requests: sink.requests(),
            shipping: sink.shipping(),
            quarantined,
            error,
        }
    }

    fn write_all(&mut self, input: Receiver<ToWriter>) -> Result<(), Error> {
        for item in input {
            match item {
                ToWriter::Ready(records) => {
                    for packed in records {
                        self.sink.ship(Record::from_lines(packed))?;
                    }
                }
                ToWriter::Pending(records) => {
                    let records = records.recv().expect("the pool finishes every job");
                    for record in records.map_err(Error::Compress)? {
                        self.sink.ship(record)?;
                    }
                }
                ToWriter::BadLines(lines, count, token) => {
                    self.quarantine.write(&lines)?;
                    self.quarantined += count;
                    token.delivered();
                }
            }
        }
        Ok(self.sink.close()?)
    }
}
