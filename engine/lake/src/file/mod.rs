//! A Parquet file, written column by column.

mod bounds;
mod chunk;
mod dictionary;
mod leaf;
mod levels;
mod pages;
mod schema;

use std::io::{self, Write};
use std::sync::Arc;

use parquet::errors::Result;
use parquet::file::writer::SerializedFileWriter;
use pixel_engine_core::sink::store::Object;
use rayon::ThreadPool;
use rayon::prelude::*;

pub(crate) use chunk::{ChunkWriter, Settings, UNKNOWN};
pub(crate) use leaf::Leaf;
pub(crate) use levels::{bit_width, read_hybrid, read_varint};
pub(crate) use schema::{Layout, TableLayout};

/// Bytes of a row group, compressed, at which it ends: a few hundred thousand rows.
const GROUP_LEN: usize = 32 << 20;
/// Rows of a row group at most, where they compress very well.
const GROUP_ROWS: usize = 1 << 20;

/// A file that rows are added to. Its row group is in memory; those before it are with the store.
pub(crate) struct ParquetFile {
    layout: Arc<Layout>,
    writer: SerializedFileWriter<Counted>,
    chunks: Vec<ChunkWriter>,
    rows_in_group: usize,
}

impl ParquetFile {
    pub(crate) fn new(object: Box<dyn Object>, layout: Arc<Layout>) -> Result<ParquetFile> {
        let writer = SerializedFileWriter::new(
            Counted { object, bytes: 0 },
            layout.schema.root_schema_ptr(),
            Arc::clone(&layout.properties),
        )?;
        let chunks = chunks(&layout);
        Ok(ParquetFile { layout, writer, chunks, rows_in_group: 0 })
    }

    /// The columns, each of which `rows` are to be written to.
    pub(crate) fn columns(&mut self, rows: usize) -> &mut [ChunkWriter] {
        self.rows_in_group += rows;
        &mut self.chunks
    }

    /// Whether the open row group is large enough.
    pub(crate) fn is_group_full(&self) -> bool {
        self.group_len() >= GROUP_LEN || self.rows_in_group >= GROUP_ROWS
    }

    /// Bytes of memory that the open row group takes.
    pub(crate) fn memory(&self) -> usize {
        self.chunks.iter().map(ChunkWriter::memory).sum()
    }

    /// Bytes of the open row group that are compressed already.
    pub(crate) fn group_len(&self) -> usize {
        self.chunks.iter().map(ChunkWriter::compressed_len).sum()
    }

    /// Bytes of the file before the open row group.
    pub(crate) fn written(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Hands the open row group to the store; the pool compresses what is left of each column.
    pub(crate) fn end_row_group(&mut self, pool: &ThreadPool) -> Result<()> {
        if self.rows_in_group == 0 {
            return Ok(());
        }
        self.rows_in_group = 0;
        let chunks = std::mem::replace(&mut self.chunks, chunks(&self.layout));
        let closed: Vec<_> = pool.install(|| chunks.into_par_iter().map(ChunkWriter::close).collect());
        let mut group = self.writer.next_row_group()?;
        for chunk in closed {
            let (pages, result) = chunk?;
            group.append_column(&pages, result)?;
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self, pool: &ThreadPool) -> Result<Finished> {
        self.end_row_group(pool)?;
        let row_groups = self.writer.flushed_row_groups().len() as u64;
        let Counted { object, bytes } = self.writer.into_inner()?;
        Ok(Finished { object, bytes, row_groups })
    }
}

/// An object, and how many bytes were written to it.
struct Counted {
    object: Box<dyn Object>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.object.write(bytes)?;
        self.bytes += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.object.flush()
    }
}

/// A whole file, which is not published yet.
pub(crate) struct Finished {
    pub(crate) object: Box<dyn Object>,
    pub(crate) bytes: u64,
    pub(crate) row_groups: u64,
}

fn chunks(layout: &Layout) -> Vec<ChunkWriter> {
    let columns = layout.settings.iter().zip(layout.schema.columns());
    columns.map(|(&settings, column)| ChunkWriter::new(settings, layout.codec, Arc::clone(column))).collect()
}
