//! The values of a column chunk, whoever wrote it.
//!
//! Nearly all values are plain or in a dictionary. They are not decoded: they stay where they are in
//! their page, and of a dictionary each value is looked at once, however often it comes. Those in other
//! encodings are decoded by the library.
//!
//! A plain page also comes as it is stored, if the file has an index of its pages: with one, a page
//! begins with a row.
//!
//! Source: the Parquet format's pages on data pages, encodings and the page index; Thrift's compact
//! protocol.

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{AsBytes, DataType};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::index_reader::decode_offset_index;
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnDescPtr;

use super::input::{Section, pages};
use crate::file::{bit_width, read_hybrid, read_varint};

/// Rows that are decoded at a time.
const RECORDS: usize = 4_096;

/// Values that follow each other in a column, with their levels.
pub(super) struct Batch<'a> {
    /// The level of definition of each, if there are such.
    pub(super) definitions: &'a [u8],
    /// The level of repetition of each, if there are such.
    pub(super) repetitions: &'a [u8],
    pub(super) values: Values<'a>,
    /// The page that these are all of.
    pub(super) stored: Option<StoredPage>,
}

/// Values that are not absent, each as its bytes are in a page, without their length.
pub(super) enum Values<'a> {
    Each(&'a [&'a [u8]]),
    /// By their number among the entries of the chunk's dictionary.
    Numbered {
        numbers: &'a [u32],
        entries: &'a [&'a [u8]],
    },
}

impl<'a> Values<'a> {
    /// The value at that place.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&'a [u8]> {
        match self {
            Values::Each(values) => values.get(at).copied(),
            Values::Numbered { numbers, entries } => numbers.get(at).map(|&number| entries[number as usize]),
        }
    }
}

impl Batch<'_> {
    /// How many rows begin here.
    pub(super) fn rows(&self) -> usize {
        match self.repetitions {
            [] => self.len(),
            levels => levels.iter().filter(|&&level| level == 0).count(),
        }
    }

    /// How many levels there are.
    pub(super) fn len(&self) -> usize {
        let values = match self.values {
            Values::Each(values) => values.len(),
            Values::Numbered { numbers, .. } => numbers.len(),
        };
        values.max(self.definitions.len())
    }
}

/// Calls `each` with all values of a column chunk of so many rows, in their order.
///
/// # Errors
/// The chunk is damaged, or has another number of rows; or that of `each`.
pub(super) fn read(
    section: Section,
    chunk: &ColumnChunkMetaData,
    column: &ColumnDescPtr,
    rows: usize,
    mut each: impl FnMut(Batch<'_>) -> Result<()>,
) -> Result<()> {
    let mut found = 0;
    let mut count = |batch: Batch<'_>| {
        found += batch.rows();
        if found > rows { Err(damaged("it has more rows than its row group")) } else { each(batch) }
    };
    let mut stored = stored_pages(&section, chunk).into_iter();
    let mut reader = pages(section.clone(), chunk, rows)?;
    let mut page = reader.get_next_page()?;
    // The dictionary comes first.
    let dictionary = page.take_if(|page| page.is_dictionary_page());
    if dictionary.is_some() {
        page = reader.get_next_page()?;
    }
    if is_known(chunk, column) && page.as_ref().is_none_or(|page| has_known_levels(page, column)) {
        let entries = dictionary.as_ref().map_or(Ok(Vec::new()), |page| entries(page, column))?;
        // One row is one value, unless it repeats.
        let most = if column.max_rep_level() == 0 { rows } else { chunk.num_values() as usize };
        while let Some(data) = page {
            if data.num_values() as usize > most {
                return Err(damaged("a page has more values than all of it"));
            }
            let stored = stored.next().and_then(|bytes| StoredPage::of(bytes, &data));
            read_page(&data, stored, column, &entries, &mut count)?;
            page = reader.get_next_page()?;
        }
    } else {
        drop((dictionary, page));
        decode(get_column_reader(column.clone(), pages(section, chunk, rows)?), column, &mut count)?;
    }
    if found == rows { Ok(()) } else { Err(damaged(&format!("it has {found} of {rows} rows"))) }
}

fn damaged(why: &str) -> ParquetError {
    ParquetError::General(format!("a column is damaged: {why}"))
}

/// The data pages of a chunk with their headers, if the file has an index of them that is all of the
/// chunk, and that index is in memory.
fn stored_pages(section: &Section, chunk: &ColumnChunkMetaData) -> Vec<Bytes> {
    let pages = || {
        let index = chunk.offset_index_range()?;
        let index = section.get_bytes(index.start, (index.end - index.start) as usize).ok()?;
        let index = decode_offset_index(&index).ok()?;
        let (start, len) = chunk.byte_range();
        let mut next = chunk.data_page_offset();
        let pages = index.page_locations().iter().map(|page| {
            let follows = page.offset == next;
            next = next.checked_add(page.compressed_page_size.into())?;
            let bytes = section.get_bytes(u64::try_from(page.offset).ok()?, page.compressed_page_size.try_into().ok()?);
            bytes.ok().filter(|_| follows)
        });
        let pages = pages.collect::<Option<Vec<Bytes>>>()?;
        (u64::try_from(next).ok()? == start + len).then_some(pages)
    };
    pages().unwrap_or_default()
}

/// A page of plain values, as it is in the file.
pub(super) struct StoredPage {
    /// With its header.
    pub(super) bytes: Bytes,
    /// Bytes that it takes before it is compressed, with its header.
    pub(super) uncompressed_len: usize,
}

impl StoredPage {
    /// The bytes, if they are those of that page, which is plain and of version 1.
    fn of(bytes: Bytes, page: &Page) -> Option<StoredPage> {
        let Page::DataPage { buf, encoding: Encoding::PLAIN, .. } = page else { return None };
        // The header begins with the kind of the page and its two lengths.
        let mut rest = &*bytes;
        let (kind, uncompressed, compressed) = (field(&mut rest)?, field(&mut rest)?, field(&mut rest)?);
        let header_len = (bytes.len() as u64).checked_sub(compressed)?;
        let is_it = kind == 0 && uncompressed == buf.len() as u64;
        is_it.then_some(StoredPage { bytes, uncompressed_len: header_len as usize + buf.len() })
    }
}

/// The next field of a structure, a whole number.
fn field(bytes: &mut &[u8]) -> Option<u64> {
    /// The number is the one after that of the field before, and the type is `i32`.
    const NEXT_NUMBER: u8 = 0x15;
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    // Numbers of either sign take turns; none of these is negative.
    let number = read_varint(bytes)?;
    (first == NEXT_NUMBER && number & 1 == 0).then_some(number >> 1)
}

/// Whether values can stay where they are.
// Old writers name the deprecated encoding for levels that are not there.
#[expect(deprecated)]
fn is_known(chunk: &ColumnChunkMetaData, column: &ColumnDescPtr) -> bool {
    width(column).is_some()
        && chunk.encodings().all(|encoding| {
            matches!(
                encoding,
                Encoding::PLAIN
                    | Encoding::PLAIN_DICTIONARY
                    | Encoding::RLE_DICTIONARY
                    | Encoding::RLE
                    | Encoding::BIT_PACKED
            )
        })
}

/// Whether levels are as they have been since the first year of the format.
fn has_known_levels(page: &Page, column: &ColumnDescPtr) -> bool {
    match page {
        Page::DataPage { def_level_encoding, rep_level_encoding, .. } => {
            (column.max_def_level() == 0 || *def_level_encoding == Encoding::RLE)
                && (column.max_rep_level() == 0 || *rep_level_encoding == Encoding::RLE)
        }
        _ => true,
    }
}

/// Bytes of a value, 0 where each has a length of its own; `None` for those that the library decodes.
fn width(column: &ColumnDescPtr) -> Option<usize> {
    match column.physical_type() {
        Type::BYTE_ARRAY => Some(0),
        Type::INT32 | Type::FLOAT => Some(4),
        Type::INT64 | Type::DOUBLE => Some(8),
        Type::BOOLEAN | Type::INT96 | Type::FIXED_LEN_BYTE_ARRAY => None,
    }
}

/// The entries of a dictionary.
fn entries<'a>(page: &'a Page, column: &ColumnDescPtr) -> Result<Vec<&'a [u8]>> {
    plain(page.buffer(), page.num_values() as usize, column)
}

/// So many values that are plain.
fn plain<'a>(mut bytes: &'a [u8], count: usize, column: &ColumnDescPtr) -> Result<Vec<&'a [u8]>> {
    let width = width(column).unwrap_or_default();
    let mut next = || {
        let mut width = width;
        if width == 0 {
            let len;
            (len, bytes) = bytes.split_first_chunk::<4>()?;
            width = u32::from_le_bytes(*len) as usize;
        }
        let value;
        (value, bytes) = bytes.split_at_checked(width)?;
        Some(value)
    };
    let values: Option<Vec<&[u8]>> = (0..count).map(|_| next()).collect();
    values.ok_or_else(|| damaged("it has fewer values than it says"))
}

fn read_page(
    page: &Page,
    stored: Option<StoredPage>,
    column: &ColumnDescPtr,
    entries: &[&[u8]],
    each: &mut impl FnMut(Batch<'_>) -> Result<()>,
) -> Result<()> {
    let count = page.num_values() as usize;
    let (max_definition, max_repetition) = (column.max_def_level(), column.max_rep_level());
    let bytes = page.buffer().as_ref();
    let (repetitions, definitions, values) = match page {
        Page::DataPage { .. } => {
            if !has_known_levels(page, column) {
                return Err(damaged("its levels are of two kinds"));
            }
            let (repetitions, rest) = with_length(bytes, max_repetition)?;
            let (definitions, rest) = with_length(rest, max_definition)?;
            (repetitions, definitions, rest)
        }
        Page::DataPageV2 { rep_levels_byte_len, def_levels_byte_len, .. } => {
            let parts = bytes.split_at_checked(*rep_levels_byte_len as usize).and_then(|(repetitions, rest)| {
                let (definitions, values) = rest.split_at_checked(*def_levels_byte_len as usize)?;
                Some((repetitions, definitions, values))
            });
            parts.ok_or_else(|| damaged("its levels are longer than their page"))?
        }
        Page::DictionaryPage { .. } => return Err(damaged("it has two dictionaries")),
    };
    let repetitions = levels(repetitions, max_repetition, count)?;
    let definitions = levels(definitions, max_definition, count)?;
    let present = match max_definition {
        0 => count,
        max => definitions.iter().filter(|&&level| i16::from(level) == max).count(),
    };
    let (definitions, repetitions) = (definitions.as_slice(), repetitions.as_slice());
    match page.encoding() {
        Encoding::PLAIN => {
            let values = plain(values, present, column)?;
            each(Batch { definitions, repetitions, values: Values::Each(&values), stored })
        }
        Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => {
            let numbers = match values.split_first() {
                Some((&width, numbers)) if width <= 32 => read_hybrid(numbers, width.into(), present),
                None if present == 0 => Some(Vec::new()),
                _ => None,
            };
            let numbers = numbers.filter(|numbers| numbers.iter().all(|&number| (number as usize) < entries.len()));
            let numbers = numbers.ok_or_else(|| damaged("its values are not those of its dictionary"))?;
            let values = Values::Numbered { numbers: &numbers, entries };
            each(Batch { definitions, repetitions, values, stored: None })
        }
        other => Err(damaged(&format!("it is encoded as {other}, and says otherwise"))),
    }
}

/// Levels with their length before them, if there are any, and what comes after them.
fn with_length(bytes: &[u8], max: i16) -> Result<(&[u8], &[u8])> {
    if max == 0 {
        return Ok((&[], bytes));
    }
    let split =
        bytes.split_first_chunk::<4>().and_then(|(len, rest)| rest.split_at_checked(u32::from_le_bytes(*len) as usize));
    split.ok_or_else(|| damaged("its levels are longer than their page"))
}

/// So many levels; none where all are 0.
fn levels(bytes: &[u8], max: i16, count: usize) -> Result<Vec<u8>> {
    if max == 0 {
        return Ok(Vec::new());
    }
    let levels = read_hybrid(bytes, bit_width(max as u32), count);
    let levels = levels.filter(|levels| levels.iter().all(|&level| level <= max as u32));
    let levels = levels.ok_or_else(|| damaged("its levels are not those of its type"))?;
    Ok(levels.into_iter().map(|level| level as u8).collect())
}

/// Has the library decode the values.
fn decode(reader: ColumnReader, column: &ColumnDescPtr, each: &mut impl FnMut(Batch<'_>) -> Result<()>) -> Result<()> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => decode_as(reader, column, each),
        ColumnReader::Int32ColumnReader(reader) => decode_as(reader, column, each),
        ColumnReader::Int64ColumnReader(reader) => decode_as(reader, column, each),
        ColumnReader::Int96ColumnReader(reader) => decode_as(reader, column, each),
        ColumnReader::FloatColumnReader(reader) => decode_as(reader, column, each),
        ColumnReader::DoubleColumnReader(reader) => decode_as(reader, column, each),
        ColumnReader::ByteArrayColumnReader(reader) => decode_as(reader, column, each),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => decode_as(reader, column, each),
    }
}

fn decode_as<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    column: &ColumnDescPtr,
    each: &mut impl FnMut(Batch<'_>) -> Result<()>,
) -> Result<()> {
    let (mut definitions, mut repetitions) = (Vec::<i16>::new(), Vec::<i16>::new());
    let mut values = Vec::<T::T>::new();
    let of_level = |level: &i16| *level as u8;
    loop {
        definitions.clear();
        repetitions.clear();
        values.clear();
        let (records, ..) =
            reader.read_records(RECORDS, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
        if records == 0 {
            return Ok(());
        }
        // The library fills in levels that are not there in some cases.
        let levels = |levels: &[i16], max: i16| -> Vec<u8> {
            if max == 0 { Vec::new() } else { levels.iter().map(of_level).collect() }
        };
        let (definitions, repetitions) =
            (levels(&definitions, column.max_def_level()), levels(&repetitions, column.max_rep_level()));
        let values: Vec<&[u8]> = values.iter().map(AsBytes::as_bytes).collect();
        let values = Values::Each(&values);
        each(Batch { definitions: &definitions, repetitions: &repetitions, values, stored: None })?;
    }
}
