//! Takes finished records in order and gives them to the sink, and bad lines to the quarantine.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Error;
use crate::ack::AckToken;
use crate::pack::Packed;
use crate::progress::Progress;
use crate::quarantine::{BadLine, Quarantine};
use crate::record::{Delivered, Record};
use crate::sink::Sink;
use crate::sink::statistics::{Files, Shipping};

/// What the writer gets.
pub(super) enum ToWriter {
    /// Records of lines as they are.
    Ready(Vec<Packed>),
    /// Records that the pool is making.
    Pending(Receiver<io::Result<Vec<Record>>>),
    /// Bad lines of a block, how many lines they count as, and their share in its acknowledgement.
    BadLines(Vec<BadLine>, u64, AckToken),
    /// What came before this should not wait for more.
    Flush,
}

pub(super) struct Writer<'a> {
    sink: &'a mut dyn Sink,
    quarantine: &'a mut Quarantine,
    /// How long a line may wait for its request to fill up.
    linger: Option<Duration>,
    /// When the oldest line was read that the sink may still hold back.
    oldest: Option<Instant>,
    progress: &'a Arc<Progress>,
}

/// What the writer did.
pub(super) struct Written {
    pub(super) delivered: Delivered,
    pub(super) requests: u64,
    pub(super) shipping: Option<Shipping>,
    pub(super) files: Option<Files>,
    pub(super) quarantined: u64,
    pub(super) error: Option<Error>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        sink: &'a mut dyn Sink,
        quarantine: &'a mut Quarantine,
        linger: Option<Duration>,
        progress: &'a Arc<Progress>,
    ) -> Writer<'a> {
        Writer { sink, quarantine, linger, oldest: None, progress }
    }

    /// Writes until the packer ends, or something cannot be written.
    pub(super) fn write(mut self, input: Receiver<ToWriter>) -> Written {
        let error = self.write_all(input).err();
        let Writer { sink, quarantine, .. } = self;
        Written {
            delivered: sink.delivered(),
            requests: sink.requests(),
            shipping: sink.shipping(),
            files: sink.files(),
            quarantined: quarantine.lines(),
            error,
        }
    }

    fn write_all(&mut self, input: Receiver<ToWriter>) -> Result<(), Error> {
        let mut flushed_at = Instant::now();
        loop {
            let due = self.linger.and_then(|linger| Some(self.oldest? + linger));
            let due = due.into_iter().chain(self.sink.flush_due()).min();
            let item = match due {
                None => input.recv().map_err(RecvTimeoutError::from),
                Some(due) => input.recv_deadline(due),
            };
            let is_idle = match item {
                Ok(item) => {
                    self.write_one(item)?;
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // While more comes all the time, requests fill up by themselves, but for those of a
            // shard that few lines go to.
            if due.is_some_and(|due| due <= Instant::now())
                && (is_idle || self.linger.is_none_or(|linger| flushed_at.elapsed() >= linger))
            {
                self.flush()?;
                flushed_at = Instant::now();
            }
        }
        // Both, whatever becomes of the other.
        let (closed, kept) = (self.sink.close(), self.quarantine.close());
        closed?;
        Ok(kept?)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.oldest = None;
        self.sink.flush()?;
        Ok(self.quarantine.flush()?)
    }

    fn write_one(&mut self, item: ToWriter) -> Result<(), Error> {
        match item {
            ToWriter::Ready(records) => {
                for packed in records {
                    self.ship(Record::from_lines(packed))?;
                }
            }
            ToWriter::Pending(records) => {
                let records = records.recv().expect("the pool finishes every job");
                for record in records.map_err(Error::Compress)? {
                    self.ship(record)?;
                }
            }
            ToWriter::BadLines(lines, count, token) => {
                self.quarantine.write(&lines, count, token)?;
                self.progress.lines_quarantined.add(count);
                // It may hold them back as the sink does records.
                self.oldest.get_or_insert_with(Instant::now);
            }
            ToWriter::Flush => self.flush()?,
        }
        Ok(())
    }

    fn ship(&mut self, record: Record) -> Result<(), Error> {
        self.oldest = self.oldest.into_iter().chain(record.oldest()).min();
        Ok(self.sink.ship(record.counted_in(self.progress))?)
    }
}
