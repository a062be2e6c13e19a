//! The inputs of `ingest`: files and standard input, one after the other.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use super::ahead::{Ahead, Opened, Text};
use super::input::text_in;
use super::peek::PeekReader;
use super::{BlockReader, Closed, Feed, Format, Inlet, Input, InputError, InputFailure, OpenFile, Source};
use crate::ack::Acknowledged;
use crate::checkpoint::Checkpoint;

/// Reads inputs one after the other, each to its end; what is compressed is decompressed before its
/// turn. With a checkpoint, files go on where it says.
#[derive(Clone, Debug)]
pub struct Files {
    inputs: Vec<Input>,
}

impl Files {
    /// A source of these inputs: see [`expand`](super::expand) for what a user may name.
    pub fn new(inputs: impl Into<Vec<Input>>) -> Files {
        Files { inputs: inputs.into() }
    }
}

impl Source for Files {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        thread::scope(|scope| {
            let mut ahead = (self.inputs.len() > 1).then(|| Ahead::of(&self.inputs, feed.feeds(), scope));
            let mut read = Ok(());
            for input in &self.inputs {
                let inlet = feed.open(input.name());
                if read.is_ok() && !feed.is_stopping() {
                    let opened = ahead.as_mut().map(Ahead::next).unwrap_or_default();
                    read = read_one(input, opened, &inlet);
                    if read.is_ok() && !feed.is_stopping() {
                        read = inlet.end().map(drop);
                    }
                }
            }
            read
        })
    }

    fn may_pause(&self) -> bool {
        !self.inputs.iter().all(Input::can_be_read_again)
    }
}

fn read_one(input: &Input, mut opened: Opened, inlet: &Inlet<'_>) -> Result<(), Closed> {
    let mut blocks = match open(input, &mut opened, inlet) {
        Ok(Some(blocks)) => blocks,
        Ok(None) => return Ok(()),
        Err(failure) => return inlet.fail(failure),
    };
    inlet.read_blocks(&mut blocks)?;
    if blocks.is_at_end() {
        if blocks.offset() == 0 {
            tracing::warn!("{}: the input is empty", inlet.name());
        }
        if let Some(checkpoint) = inlet.feeds().checkpoint
            && let Err(error) = checkpoint.ended(inlet.origin(), blocks.offset())
        {
            return inlet.fail(error);
        }
    }
    Ok(())
}

/// The blocks of an input; `None` when the checkpoint says that there are no new ones.
fn open(input: &Input, opened: &mut Opened, inlet: &Inlet<'_>) -> Result<Option<BlockReader>, InputFailure> {
    let feeds = inlet.feeds();
    let text = std::mem::take(&mut opened.text);
    if let Text::Failed(error) = text {
        return Err(error.into());
    }
    let text = move || text_of(input, text);
    if let Some(checkpoint) = feeds.checkpoint {
        let file = match opened.file.take() {
            Some(file) => Some(file),
            // Said without a request for its head.
            None if matches!(input, Input::Object(object) if checkpoint.has_all_of(&**object)) => return Ok(None),
            None => OpenFile::of(input, &feeds.stop)?,
        };
        if let Some(file) = file {
            return resume(checkpoint, file, text, inlet);
        }
    }
    let open = || input.open_waiting(Arc::clone(&feeds.progress.bytes_read), Arc::clone(&feeds.stop), feeds.hold);
    let text = text()?.map_or_else(open, Ok)?;
    Ok(Some(inlet.reader(text, input.can_be_read_again(), feeds.format)))
}

/// The text of an input that was opened before its turn, if that is so.
fn text_of(input: &Input, text: Text) -> Result<Option<Box<dyn Read + Send>>, InputError> {
    let text = match text {
        Text::Unread => return Ok(None),
        Text::Failed(error) => return Err(error),
        Text::Plain(bytes) => bytes.text(),
        Text::Decompressed(compression, pieces) => text_in(PeekReader::new(pieces), Some(compression)),
    };
    text.map(Some).map_err(|content| InputError::unsupported(PathBuf::from(input.name()), content))
}

/// Goes on where the checkpoint says, with the text of the file if it was opened before.
fn resume(
    checkpoint: &Checkpoint,
    file: OpenFile,
    text: impl FnOnce() -> Result<Option<Box<dyn Read + Send>>, InputError>,
    inlet: &Inlet<'_>,
) -> Result<Option<BlockReader>, InputFailure> {
    let feeds = inlet.feeds();
    let Some(acknowledged) = checkpoint.begin(inlet.origin(), &file) else { return Ok(None) };
    let offset = acknowledged.position.offset;
    inlet.begin_at(acknowledged);
    let bytes_read = || Arc::clone(&feeds.progress.bytes_read);
    let format = if feeds.format == Format::Auto { Format::of(&file.head) } else { Some(feeds.format) };
    if file.keeps_offsets() && format == Some(Format::RealTime) {
        let mut blocks = inlet.reader_of_lines(file.read_from(offset, bytes_read())?, true, Format::RealTime);
        blocks.begin_at(offset);
        return Ok(Some(blocks));
    }
    // Bytes on disk do not tell where the offset is, which header holds there, or how JSON is cut
    // into lines.
    let from_start = |text: Option<Box<dyn Read + Send>>| -> Result<BlockReader, InputError> {
        let text = text.map_or_else(|| file.read(bytes_read()), Ok)?;
        Ok(inlet.reader(text, true, feeds.format))
    };
    let mut blocks = from_start(text()?)?;
    if blocks.skip_to(offset)? {
        return Ok(Some(blocks));
    }
    tracing::warn!(
        "{}: not the file of the checkpoint, it ends before byte {offset}; it is read from its start",
        inlet.name()
    );
    checkpoint.begin_anew(inlet.origin().number);
    inlet.begin_at(Acknowledged::default());
    Ok(Some(from_start(None)?))
}
