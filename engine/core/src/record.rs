//! A finished record: what Firehose or Kinesis stores.

use std::sync::Arc;
use std::time::Instant;

use crate::ack::AckToken;
use crate::billing::Billed;
use crate::pack::{LineList, Packed};
use crate::progress::Progress;
use pixel_engine_kpl::PartitionKey;

/// A record on its way to a sink.
#[derive(Debug)]
pub struct Record {
    payload: Payload,
    lines: usize,
    key: Option<PartitionKey>,
    tokens: Vec<AckToken>,
    oldest: Option<Instant>,
    progress: Option<Arc<Progress>>,
    first_tried: Option<Instant>,
}

#[derive(Debug)]
enum Payload {
    /// Still in the blocks that the lines came in: never copied.
    Lines(LineList),
    Bytes(Vec<u8>),
}

impl Record {
    /// A record of the lines as they are.
    pub fn from_lines(packed: Packed) -> Record {
        let lines = packed.lines.line_count();
        let Packed { lines: list, tokens, key, oldest } = packed;
        Record { payload: Payload::Lines(list), lines, key, tokens, oldest, progress: None, first_tried: None }
    }

    /// A record of `bytes` that stand for that many lines.
    pub fn from_bytes(bytes: Vec<u8>, lines: usize, key: Option<PartitionKey>, tokens: Vec<AckToken>) -> Record {
        let payload = Payload::Bytes(bytes);
        Record { payload, lines, key, tokens, oldest: None, progress: None, first_tried: None }
    }

    /// The same record, whose oldest line was read then.
    pub fn with_oldest(self, oldest: Option<Instant>) -> Record {
        Record { oldest, ..self }
    }

    /// The same record, which counts there once it is safe.
    pub(crate) fn counted_in(self, progress: &Arc<Progress>) -> Record {
        Record { progress: Some(Arc::clone(progress)), ..self }
    }

    /// When the oldest of its lines was read, where that is known.
    pub fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// It is sent now, perhaps again.
    pub(crate) fn tried(&mut self, now: Instant) {
        self.first_tried.get_or_insert(now);
    }

    /// When it was first sent.
    pub(crate) fn first_tried(&self) -> Option<Instant> {
        self.first_tried
    }

    /// Bytes of data.
    pub fn data_len(&self) -> usize {
        self.chunks().map(<[u8]>::len).sum()
    }

    /// The data in pieces.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let (lines, bytes) = match &self.payload {
            Payload::Lines(lines) => (Some(lines), None),
            Payload::Bytes(bytes) => (None, Some(bytes.as_slice())),
        };
        lines.into_iter().flat_map(LineList::chunks).chain(bytes)
    }

    /// How many lines it holds.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Where it goes in a Kinesis stream.
    pub fn key(&self) -> Option<&PartitionKey> {
        self.key.as_ref()
    }

    /// The same record with that key.
    pub fn with_key(self, key: PartitionKey) -> Record {
        Record { key: Some(key), ..self }
    }

    /// Bytes of the partition key, which Kinesis counts with the data.
    pub fn key_len(&self) -> usize {
        self.key.as_ref().map_or(0, |key| key.key.len())
    }

    /// The sources of its lines.
    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> {
        self.tokens.iter().map(AckToken::source)
    }

    /// The lines in `count` records, each line in the one that `part_of_line` says, from 0 on.
    ///
    /// # Panics
    /// The lines are framed or compressed, and so cannot be told apart.
    pub fn share(self, part_of_line: &[usize], count: usize) -> Vec<Record> {
        let Record { payload, key, tokens, oldest, progress, lines, .. } = self;
        let Payload::Lines(list) = payload else { panic!("the record is not of lines as they are") };
        assert_eq!(part_of_line.len(), lines, "each line has a part");
        let parts = Packed { lines: list, tokens, key, oldest }.share(part_of_line, count).into_iter();
        parts.map(|part| Record { progress: progress.clone(), ..Record::from_lines(part) }).collect()
    }

    /// Lets go of the data and keeps what is to be said and counted once it is safe.
    pub fn into_receipt(self) -> Receipt {
        let (len, key_len) = (self.data_len(), self.key_len());
        let Record { lines, tokens, oldest, progress, .. } = self;
        Receipt { len, key_len, lines, tokens, oldest, progress }
    }
}

/// What is left of a record that a sink has taken over.
#[derive(Debug)]
#[must_use = "a receipt dropped without being settled means that the record is lost"]
pub struct Receipt {
    len: usize,
    key_len: usize,
    lines: usize,
    tokens: Vec<AckToken>,
    oldest: Option<Instant>,
    progress: Option<Arc<Progress>>,
}

impl Receipt {
    /// What stands for its lines.
    pub(crate) fn tokens(&self) -> &[AckToken] {
        &self.tokens
    }

    /// The record has not arrived, but it is safe elsewhere: acknowledges its lines.
    pub fn kept(self) {
        if let Some(progress) = self.progress {
            progress.lines_spooled.add(self.lines as u64);
        }
        self.tokens.into_iter().for_each(AckToken::kept);
    }
}

/// The records that have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Records.
    pub records: u64,
    /// Lines in them.
    pub lines: u64,
    /// Bytes of data in them.
    pub payload_bytes: u64,
    /// What they are billed.
    pub billed: Billed,
}

impl Delivered {
    /// The record has arrived: counts it and acknowledges its lines.
    pub fn settle(&mut self, receipt: Receipt) {
        self.records += 1;
        self.lines += receipt.lines as u64;
        self.payload_bytes += receipt.len as u64;
        self.billed.add(receipt.len, receipt.key_len);
        if let Some(progress) = receipt.progress {
            progress.delivered(receipt.len, receipt.key_len, receipt.lines, receipt.oldest);
        }
        receipt.tokens.into_iter().for_each(AckToken::delivered);
    }

    /// The lines of the record have arrived in a file, which is counted by itself: no service takes
    /// them as a record, and none bills them as one.
    pub fn settle_lines(&mut self, receipt: Receipt) {
        self.lines += receipt.lines as u64;
        if let Some(progress) = receipt.progress {
            progress.lines_delivered(receipt.lines, receipt.oldest);
        }
        receipt.tokens.into_iter().for_each(AckToken::delivered);
    }
}
