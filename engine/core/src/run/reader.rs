//! Reads the inputs one after the other and hands their blocks to the pool.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use rayon::ThreadPool;

use super::{Error, Gone, Progress, on_pool};
use crate::ack::{Acknowledgements, Position};
use crate::block::{BufferPool, Source};
use crate::checkpoint::Checkpoint;
use crate::encode::{Encoded, Rules, Scratch};
use crate::source::{BlockReader, Format, Input, InputError, OpenFile};
use pixel_engine_log::schema::Schema;

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
    pub(super) checkpoint: Option<&'a Checkpoint>,
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
        let mut blocks = match self.open(input, source) {
            Ok(Some(blocks)) => blocks,
            Ok(None) => return Ok(()),
            Err(error) => return Ok(self.output.send(FromReader::Error(error))?),
        };
        loop {
            *offset = blocks.offset();
            match blocks.next_block() {
                Ok(Some(block)) => {
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
                    if blocks.is_at_end() && blocks.offset() == 0 {
                        tracing::warn!("{}: the input is empty", source.name);
                    }
                    if let (true, Some(checkpoint)) = (blocks.is_at_end(), self.checkpoint) {
                        checkpoint.ended(source.number, blocks.offset());
                    }
                    return Ok(());
                }
                Err(error) => return Ok(self.output.send(FromReader::Error(error.into()))?),
            }
        }
    }

    /// The blocks of an input; `None` when the checkpoint says that there are no new ones.
    fn open(&self, input: &Input, source: &Arc<Source>) -> Result<Option<BlockReader>, Error> {
        match (self.checkpoint, input) {
            (Some(checkpoint), Input::File(path)) => self.resume(checkpoint, path, source),
            _ => {
                let raw = input.open(Arc::clone(&self.progress.bytes_read), Arc::clone(self.stop))?;
                Ok(Some(self.blocks(raw, source, input.is_regular_file(), self.format)))
            }
        }
    }

    /// Goes on where the checkpoint says.
    fn resume(&self, checkpoint: &Checkpoint, path: &Path, source: &Arc<Source>) -> Result<Option<BlockReader>, Error> {
        let file = OpenFile::open(path)?;
        let Some(Position { offset, lines }) = checkpoint.begin(source, &file) else { return Ok(None) };
        self.acknowledgements.begin(source.number, Position { offset, lines });
        let io_error = |error| InputError::Io { path: PathBuf::from(path), error };
        let bytes_read = || Arc::clone(&self.progress.bytes_read);
        let format = if self.format == Format::Auto { Format::of(&file.head) } else { Some(self.format) };
        if let (false, Some(format @ (Format::RealTime | Format::Json))) = (file.is_compressed(), format) {
            let mut blocks = self.blocks(file.read_from(offset, bytes_read()).map_err(io_error)?, source, true, format);
            blocks.begin_at(offset);
            return Ok(Some(blocks));
        }
        // Bytes on disk do not tell where the offset is, or which header holds there.
        let from_start = || Ok(self.blocks(file.read(bytes_read()).map_err(io_error)?, source, true, self.format));
        let mut blocks = from_start()?;
        if blocks.skip_to(offset)? {
            return Ok(Some(blocks));
        }
        tracing::warn!(
            "{}: not the file of the checkpoint, it ends before byte {offset}; it is read from its start",
            source.name
        );
        self.acknowledgements.begin(source.number, Position::default());
        from_start().map(Some)
    }

    fn blocks(&self, raw: Box<dyn Read + Send>, source: &Arc<Source>, resumable: bool, format: Format) -> BlockReader {
        BlockReader::new(
            raw,
            Arc::clone(source),
            resumable,
            format,
            self.standard_schema.clone(),
            self.buffers.clone(),
            self.acknowledgements.clone(),
            Arc::clone(self.stop),
        )
    }
}
