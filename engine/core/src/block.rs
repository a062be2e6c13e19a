//! An owned buffer of whole lines, with where it came from and its ack token.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::ack::AckToken;
use pixel_engine_log::query::QueryEncoding;
use pixel_engine_log::schema::Schema;

/// Bytes of input in a block, at most; also the length of the longest line that can be shipped.
pub const BLOCK_SIZE: usize = 1 << 20;

/// What has line numbers and byte offsets of its own: a file, standard input, a connection, a
/// batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its number in the run, from 0.
    pub number: usize,
    /// What people call it: the path, or `stdin`.
    pub name: String,
    /// The number of the source that reads it, from 0.
    pub source: usize,
}

impl Origin {
    /// An origin of the first source.
    pub fn new(number: usize, name: impl Into<String>) -> Origin {
        Origin { number, name: name.into(), source: 0 }
    }
}

/// How the lines of a block are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Real-time logs: columns by position, told apart by their count.
    RealTime,
    /// Standard logs under the `#Fields:` header that stood last before the block, if any.
    Standard(Option<Arc<Schema>>),
    /// JSON lines of standard logs v2.
    Json,
}

/// Why the last line of a block is not whole, or there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The input broke off, by an error such as a truncated gzip member.
    Broken(String),
    /// The run was stopped in the middle of a line.
    Stopped,
    /// The line is longer than a block: this is a piece of it.
    TooLong {
        /// The number of the piece, from 1.
        part: u32,
        /// Whether it ends the line.
        last: bool,
    },
    /// There are no lines in it that could be read: all of it, newlines included, is what one bad
    /// line is elsewhere.
    Unreadable {
        /// What is wrong with it.
        why: String,
        /// For a piece of something longer than a block: its number from 1, and whether it is the
        /// last.
        part: Option<(u32, bool)>,
    },
}

/// Whole lines of one source, each with its newline.
#[derive(Debug)]
pub struct Block {
    /// The lines. The last newline may have been added when the source ended without one.
    pub bytes: Vec<u8>,
    /// Where they came from.
    pub origin: Arc<Origin>,
    /// Where in the source they begin, in bytes after decompression.
    pub offset: u64,
    /// How many bytes of the source they are: one less than `bytes` has when a newline was added.
    pub source_bytes: u64,
    /// When the first of them was read, or a little before.
    pub read_at: Instant,
    /// How to read them.
    pub layout: Layout,
    /// How many times their queries are encoded.
    pub query_encoding: QueryEncoding,
    /// Whether its lines were treated before they were read: see [`privacy`](crate::privacy).
    pub is_treated: bool,
    /// Set when the last line is not whole, or nothing is, and must not be shipped as if it were.
    pub cut: Option<Cut>,
    /// Said once every line of the block is safe.
    pub token: AckToken,
}

/// Buffers of [`BLOCK_SIZE`] that are used again, so that the kernel does not clear fresh pages for
/// each block.
#[derive(Clone, Debug)]
pub struct BufferPool {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
}

impl BufferPool {
    /// A pool that keeps up to `kept` buffers; more are made when needed and freed afterwards.
    pub fn new(kept: usize) -> BufferPool {
        let (give, take) = bounded(kept);
        BufferPool { give, take }
    }

    /// A buffer of [`BLOCK_SIZE`] bytes and one more for an added newline; its content is what was
    /// left in it.
    pub fn take(&self) -> Vec<u8> {
        let mut buffer = self.take.try_recv().unwrap_or_default();
        buffer.resize(BLOCK_SIZE + 1, 0);
        buffer
    }

    /// An empty buffer with room for a block.
    pub fn take_empty(&self) -> Vec<u8> {
        let mut buffer = self.take.try_recv().unwrap_or_default();
        buffer.clear();
        buffer.reserve(BLOCK_SIZE + 1);
        buffer
    }

    /// Gives a buffer back. One of another size (a smaller copy, a grown output) is freed instead.
    pub fn give(&self, buffer: Vec<u8>) {
        if (BLOCK_SIZE + 1..=4 * BLOCK_SIZE).contains(&buffer.capacity()) {
            // A full pool just drops the buffer.
            let _ = self.give.try_send(buffer);
        }
    }
}
