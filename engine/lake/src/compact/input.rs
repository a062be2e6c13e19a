//! A Parquet file that is to be merged with others: its footer, and the bytes of its columns.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, buf};
use parquet::column::page::PageReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, FooterTail, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use pixel_engine_core::deliver::DeliverError;
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::inventory::{Inventory, Item};

/// Bytes at the end of a file that are read first: most footers are no longer.
const TAIL: u64 = 64 << 10;
/// The least bytes of a file: the two magic numbers, and the length of a footer.
const MIN_FILE: u64 = 12;

/// Why a file cannot be merged.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is about this file: it stays as it is.
    File(String),
    /// It is about the place, and so about everything.
    Place(SinkError),
}

impl Trouble {
    /// What a store says when one object cannot be read.
    pub(super) fn of_reading(error: SinkError) -> Trouble {
        match &error {
            SinkError::Stream { error: reason, .. } if matches!(**reason, DeliverError::Refused(_)) => {
                Trouble::File(reason.to_string())
            }
            SinkError::Io { error: reason, .. } => Trouble::File(reason.to_string()),
            _ => Trouble::Place(error),
        }
    }

    pub(super) fn of_file(error: impl std::fmt::Display) -> Trouble {
        Trouble::File(error.to_string())
    }
}

/// Where a file is.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) store: Arc<dyn Inventory>,
    pub(super) item: Item,
}

impl Place {
    pub(super) fn read(&self, range: Range<u64>) -> std::result::Result<Bytes, Trouble> {
        if range.start > range.end || range.end > self.item.size {
            return Err(Trouble::File(format!("it ends at byte {}, before {}", self.item.size, range.end)));
        }
        self.store.read(&self.item, range).map_err(Trouble::of_reading)
    }

    /// The footer, which takes one request, or two when it is long.
    pub(super) fn footer(&self) -> std::result::Result<ParquetMetaData, Trouble> {
        let size = self.item.size;
        if size < MIN_FILE {
            return Err(Trouble::File(format!("{size} bytes are no Parquet file")));
        }
        let tail = self.read(size.saturating_sub(TAIL)..size)?;
        footer_in(&tail, |len| self.read(size.saturating_sub(len)..size))
    }
}

/// The footer of a file whose last bytes these are; `more` reads so many of them.
fn footer_in(
    tail: &Bytes,
    more: impl FnOnce(u64) -> std::result::Result<Bytes, Trouble>,
) -> std::result::Result<ParquetMetaData, Trouble> {
    let end = tail.last_chunk::<8>().ok_or_else(|| Trouble::File("it is too short".to_owned()))?;
    let end = FooterTail::try_new(end).map_err(Trouble::of_file)?;
    if end.is_encrypted_footer() {
        return Err(Trouble::File("it is encrypted".to_owned()));
    }
    let len = end.metadata_length() as u64 + 8;
    let bytes = if len <= tail.len() as u64 { tail.clone() } else { more(len)? };
    let from = (bytes.len() as u64).checked_sub(len);
    let from = from.ok_or_else(|| Trouble::File("its footer is longer than the file".to_owned()))?;
    let metadata = ParquetMetaDataReader::decode_metadata(&bytes[from as usize..bytes.len() - 8]);
    let metadata = metadata.map_err(Trouble::of_file)?;
    let is_sane = |chunk: &ColumnChunkMetaData| {
        chunk.compressed_size() >= 0
            && chunk.num_values() >= 0
            && chunk.data_page_offset() >= 0
            && chunk.dictionary_page_offset().is_none_or(|offset| offset >= 0)
            && chunk.file_path().is_none()
    };
    let mut groups = metadata.row_groups().iter();
    if !groups.all(|group| group.num_rows() >= 0 && group.columns().iter().all(is_sane)) {
        return Err(Trouble::File("its footer is damaged".to_owned()));
    }
    Ok(metadata)
}

/// Some bytes of a file, as if they were all of it.
#[derive(Clone)]
pub(super) struct Section {
    start: u64,
    bytes: Bytes,
}

impl Section {
    /// A file that is in memory.
    pub(super) fn whole(bytes: Bytes) -> Section {
        Section { start: 0, bytes }
    }

    /// The bytes of that column chunk.
    pub(super) fn of_chunk(place: &Place, chunk: &ColumnChunkMetaData) -> std::result::Result<Section, Trouble> {
        let (start, len) = chunk.byte_range();
        Ok(Section { start, bytes: place.read(start..start.saturating_add(len))? })
    }

    /// The footer of a whole file.
    pub(super) fn footer(&self) -> std::result::Result<ParquetMetaData, Trouble> {
        footer_in(&self.bytes, |_| Err(Trouble::File("its footer is longer than the file".to_owned())))
    }

    fn from(&self, start: u64) -> Result<Bytes> {
        let at = start.checked_sub(self.start).filter(|&at| at <= self.bytes.len() as u64);
        let at = at.ok_or_else(|| ParquetError::EOF(format!("byte {start} is not in the file")))?;
        Ok(self.bytes.slice(at as usize..))
    }
}

impl Length for Section {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Section {
    type T = buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            let end = start + length as u64;
            return Err(ParquetError::EOF(format!("the file ends before byte {end}")));
        }
        Ok(bytes.slice(..length))
    }
}

/// The pages of a column chunk of so many rows.
pub(super) fn pages(section: Section, chunk: &ColumnChunkMetaData, rows: usize) -> Result<Box<dyn PageReader>> {
    Ok(Box::new(SerializedPageReader::new(Arc::new(section), chunk, rows, None)?))
}

/// Whether bytes that a file begins with are those of a Parquet file.
pub(super) fn is_parquet(place: &Place) -> std::result::Result<bool, Trouble> {
    let mut start = [0; 4];
    let read = place.read(0..place.item.size.min(4))?.reader().read(&mut start);
    Ok(read.is_ok_and(|len| start[..len] == *b"PAR1"))
}
