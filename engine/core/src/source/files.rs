//! The inputs of `ingest`: files and standard input, one after the other.

use std::sync::Arc;

use super::{BlockReader, Closed, Feed, Format, Inlet, Input, InputError, OpenFile, Source};
use crate::ack::Acknowledged;
use crate::checkpoint::Checkpoint;

/// Reads inputs one after the other, each to its end. With a checkpoint, files go on where it says.
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
        let mut read = Ok(());
        for input in &self.inputs {
            let inlet = feed.open(input.name());
            if read.is_ok() && !feed.is_stopping() {
                read = read_one(input, &inlet);
                if read.is_ok() && !feed.is_stopping() {
                    read = inlet.end().map(drop);
                }
            }
        }
        read
    }

    fn may_pause(&self) -> bool {
        !self.inputs.iter().all(Input::can_be_read_again)
    }
}

fn read_one(input: &Input, inlet: &Inlet<'_>) -> Result<(), Closed> {
    let mut blocks = match open(input, inlet) {
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
fn open(input: &Input, inlet: &Inlet<'_>) -> Result<Option<BlockReader>, super::feed::InputFailure> {
    let feeds = inlet.feeds();
    match (feeds.checkpoint, input) {
        (Some(checkpoint), Input::File(path)) => return resume(checkpoint, OpenFile::open(path)?, inlet),
        // Said without a request for its head.
        (Some(checkpoint), Input::Object(object)) if checkpoint.has_all_of(&**object) => return Ok(None),
        (Some(checkpoint), Input::Object(object)) => {
            return resume(checkpoint, OpenFile::of_object(object, &feeds.stop)?, inlet);
        }
        _ => {}
    }
    let raw = input.open_waiting(Arc::clone(&feeds.progress.bytes_read), Arc::clone(&feeds.stop), feeds.hold)?;
    Ok(Some(inlet.reader(raw, input.can_be_read_again(), feeds.format)))
}

/// Goes on where the checkpoint says.
fn resume(
    checkpoint: &Checkpoint,
    file: OpenFile,
    inlet: &Inlet<'_>,
) -> Result<Option<BlockReader>, super::feed::InputFailure> {
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
    let from_start =
        || -> Result<BlockReader, InputError> { Ok(inlet.reader(file.read(bytes_read())?, true, feeds.format)) };
    let mut blocks = from_start()?;
    if blocks.skip_to(offset)? {
        return Ok(Some(blocks));
    }
    tracing::warn!(
        "{}: not the file of the checkpoint, it ends before byte {offset}; it is read from its start",
        inlet.name()
    );
    checkpoint.begin_anew(inlet.origin().number);
    inlet.begin_at(Acknowledged::default());
    Ok(Some(from_start()?))
}
