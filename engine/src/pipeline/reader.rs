//! Reads the inputs one after the other and hands their blocks to the pool.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use rayon::ThreadPool;

use super::{Error, Gone, Progress, on_pool};
use crate::ack::Acknowledgements;
use crate::block::{BufferPool, Source};
use crate::encode::block::{Encoded, Rules, Scratch};
use crate::schema::Schema;
use crate::source::{BlockReader, Format, Input};

/// What the packer gets.
pub(super) enum FromReader {
    /// A block that the pool is encoding.
    Block(Receiver<Encoded>),
    /// An input cannot be read, or not to its end.
    Error(Error),
}

pub(super) struct Reader<'a> {
    pub(super) format: Format,
    pub(super) standard_schema: Option<Arc<Schema>>,
    pub(super) rules: Arc<Rules>,
    pub(super) buffers: BufferPool,
    pub(super) acknowledgements: Acknowledgements,
    pub(super) progress: &'a Progress,
    pub(super) stop: &'a Arc<AtomicBool>,
    pub(super) pool: &'a ThreadPool,
    pub(super) output: Sender<FromReader>,
}

/// How far a source was read.
pub(super) struct ReadSource {
    pub(super) source: Arc<Source>,
    /// Bytes that were handed on.
    pub(super) offset: u64,
    /// Whether that is all there was.
    pub(super) to_end: bool,
}

impl Reader<'_> {
    /// Reads everything, until it is stopped or the packer has gone; returns how far each source was read.
    pub(super) fn read(self, inputs: &[Input]) -> Vec<ReadSource> {
        let mut ended = false;
        let mut sources = Vec::with_capacity(inputs.len());
        for (number, input) in inputs.iter().enumerate() {
            let source = Arc::new(Source { number, name: input.name() });
            let mut offset = 0;
            let stopped = || self.stop.load(Ordering::Relaxed);
            ended = ended || stopped() || self.read_one(input, &source, &mut offset).is_err() || stopped();
            sources.push(ReadSource { source, offset, to_end: !ended });
        }
        sources
    }

    /// Reads one input; `offset` is where reading is.
    fn read_one(&self, input: &Input, source: &Arc<Source>, offset: &mut u64) -> Result<(), Gone> {
        let raw = match input.open(Arc::clone(&self.progress.bytes_read), Arc::clone(self.stop)) {
            Ok(raw) => raw,
            Err(error) => return Ok(self.output.send(FromReader::Error(error.into()))?),
        };
        let mut blocks = BlockReader::new(
            raw,
            Arc::clone(source),
            input.is_regular_file(),
            self.format,
            self.standard_schema.clone(),
            self.buffers.clone(),
            self.acknowledgements.clone(),
            Arc::clone(self.stop),
        );
        let mut is_empty = true;
        loop {
            match blocks.next_block() {
                Ok(Some(block)) => {
                    *offset = blocks.offset();
                    is_empty = false;
                    let rules = Arc::clone(&self.rules);
                    let encoded = on_pool(self.pool, move || {
                        thread_local! {
                            static SCRATCH: RefCell<Scratch> = RefCell::default();
                        }
                        SCRATCH.with_borrow_mut(|scratch| rules.encode(block, scratch))
                    });
                    self.output.send(FromReader::Block(encoded))?;
                }
                Ok(None) => {
                    if is_empty && !self.stop.load(Ordering::Relaxed) {
                        tracing::warn!("{}: the input is empty", source.name);
                    }
                    return Ok(());
                }
                Err(error) => return Ok(self.output.send(FromReader::Error(error.into()))?),
            }
        }
    }
}
