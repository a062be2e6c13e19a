//! Fills containers with encoded lines: `lines` for Firehose, `kpl` for Kinesis.
//!
//! Packing decides where records are cut, in the order of the lines, and copies nothing: a record is a list of
//! slices of encoded blocks. What needs the bytes (compression, framing, hashing) comes after, in parallel.

use std::ops::Range;
use std::sync::Arc;

use crate::ack::AckToken;
use crate::encode::block::EncodedBlock;
use kpl::PartitionKey;

pub mod aggregates;
pub mod kpl;
pub mod lines;
pub mod md5;

/// Some lines of a block that go into one record.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The block.
    pub block: Arc<EncodedBlock>,
    /// Which of its lines.
    pub lines: Range<usize>,
}

impl Slice {
    /// The bytes of the lines.
    pub fn bytes(&self) -> &[u8] {
        self.block.lines(self.lines.clone())
    }

    /// Each line, its newline included.
    pub fn each_line(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.lines.clone().map(|index| self.block.lines(index..index + 1))
    }
}

/// The lines of one record, or of one run that will be compressed into records.
#[derive(Debug, Default)]
pub struct Packed {
    /// The lines.
    pub slices: Vec<Slice>,
    /// A share in the acknowledgement of each block.
    pub tokens: Vec<AckToken>,
    /// Where the record goes in a Kinesis stream.
    pub key: Option<PartitionKey>,
}

impl Packed {
    /// Adds lines of a block.
    fn push(&mut self, block: &Arc<EncodedBlock>, lines: Range<usize>, token: &AckToken) {
        self.slices.push(Slice { block: Arc::clone(block), lines });
        self.tokens.push(token.clone());
    }

    /// Bytes of all lines.
    pub fn length(&self) -> usize {
        self.slices.iter().map(|slice| slice.bytes().len()).sum()
    }

    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.slices.iter().map(|slice| slice.lines.len()).sum()
    }
}
