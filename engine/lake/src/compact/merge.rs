//! Writes the rows of many files to few: column by column, as they are encoded by other people and
//! by us, and never as rows.
//!
//! Levels of definition and repetition are carried over as they are, so a value, a null and an empty
//! map come out as they went in, whatever the type.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, ZstdLevel};
use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl, get_column_writer};
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor};
use pixel_engine_core::compress::Codec;
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::store::Object;
use rayon::ThreadPool;
use rayon::prelude::*;

use super::columns::fields_of;
use super::ids;
use super::input::{Place, Section, Trouble, pages};
use crate::file::{
    BOUND_LEN, DICTIONARY_LEN, FALSE_POSITIVES, FILTER_VALUES, MAX_HEADER, PAGE_LEN, PAGE_ROWS, Pages, created_by,
};
use crate::sink::{GROUP_LEN, GROUP_ROWS, at};

/// Bytes of a row group, as they were read, at which it ends.
const GROUP_UNCOMPRESSED: u64 = 256 << 20;
/// Rows that are decoded at a time.
const RECORDS: usize = 4_096;

/// How files are written.
pub(super) struct Layout {
    pub(super) schema: SchemaDescPtr,
    properties: WriterPropertiesPtr,
}

impl Layout {
    /// `filtered` are the leaves that have a Bloom filter.
    pub(super) fn new(
        schema: SchemaDescPtr,
        codec: Codec,
        filtered: &[bool],
        key_values: Option<Vec<KeyValue>>,
    ) -> Result<Layout> {
        let mut properties = WriterProperties::builder()
            .set_created_by(created_by())
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(compression(codec)?)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_data_page_size_limit(PAGE_LEN)
            .set_dictionary_page_size_limit(DICTIONARY_LEN)
            .set_statistics_truncate_length(Some(BOUND_LEN))
            .set_column_index_truncate_length(Some(BOUND_LEN))
            .set_bloom_filter_for_dictionary_encoded_chunks(true)
            .set_key_value_metadata(key_values);
        let id = ids::leaf(&schema);
        for (place, column) in schema.columns().iter().enumerate() {
            // No two requests have the same id, and few the same time.
            if id == Some(place) || matches!(column.logical_type_ref(), Some(LogicalType::Timestamp(_))) {
                properties = properties.set_column_dictionary_enabled(column.path().clone(), false);
            }
            if filtered[place] {
                properties = properties
                    .set_column_bloom_filter_enabled(column.path().clone(), true)
                    .set_column_bloom_filter_fpp(column.path().clone(), FALSE_POSITIVES)
                    .set_column_bloom_filter_max_ndv(column.path().clone(), FILTER_VALUES);
            }
        }
        Ok(Layout { schema, properties: Arc::new(properties.build()) })
    }
}

/// With its level: these pages are compressed by the library.
fn compression(codec: Codec) -> Result<Compression> {
    Ok(match codec {
        Codec::None => Compression::UNCOMPRESSED,
        Codec::Gzip(level) => Compression::GZIP(GzipLevel::try_new(level)?),
        Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
    })
}

/// Rows of one row group of one file.
pub(super) struct Rows {
    /// Which file it is of.
    pub(super) file: usize,
    pub(super) metadata: Arc<ParquetMetaData>,
    pub(super) group: usize,
    pub(super) bytes: Source,
    /// Which of the rows count; all of them without it.
    pub(super) kept: Option<Vec<bool>>,
}

/// Where the bytes of columns are.
pub(super) enum Source {
    /// In memory.
    Memory(Section),
    /// To be read column by column.
    Place(Place),
}

impl Source {
    fn chunk(&self, chunk: &parquet::file::metadata::ColumnChunkMetaData) -> std::result::Result<Section, Trouble> {
        match self {
            Source::Memory(section) => Ok(section.clone()),
            Source::Place(place) => Section::of_chunk(place, chunk),
        }
    }
}

impl Rows {
    fn count(&self) -> usize {
        self.metadata.row_group(self.group).num_rows() as usize
    }

    fn kept(&self) -> usize {
        self.kept.as_ref().map_or(self.count(), |kept| kept.iter().filter(|&&kept| kept).count())
    }

    /// Calls `each` with the id of every row, where the file has any.
    pub(super) fn ids(&self, each: impl FnMut(Option<&[u8]>)) -> std::result::Result<(), Trouble> {
        let group = self.metadata.row_group(self.group);
        let schema = group.schema_descr();
        let Some(leaf) = ids::leaf(schema) else { return Ok(()) };
        let chunk = group.column(leaf);
        let section = self.bytes.chunk(chunk)?;
        ids::read(section, chunk, &schema.column(leaf), self.count(), each).map_err(Trouble::of_file)
    }
}

/// What went wrong, and with which file.
#[derive(Debug)]
pub(super) enum Failure {
    Trouble(usize, Trouble),
    Sink(SinkError),
}

/// A file that rows are added to.
pub(super) struct NewFile<'a> {
    layout: &'a Layout,
    pool: &'a ThreadPool,
    /// What messages call it.
    target: String,
    writer: SerializedFileWriter<Box<dyn Object>>,
    columns: Vec<Column>,
    /// Of the open row group.
    rows_in_group: usize,
    uncompressed: u64,
    rows: u64,
}

/// A whole file, which is not published yet.
pub(super) struct Finished {
    pub(super) object: Box<dyn Object>,
    pub(super) rows: u64,
}

/// A column of the open row group.
struct Column {
    writer: ColumnWriter<'static>,
    pages: Arc<Mutex<Vec<Bytes>>>,
    /// The column at the root that it is of, and its place among the leaves of that.
    root: usize,
    leaf: usize,
}

impl<'a> NewFile<'a> {
    pub(super) fn new(
        object: Box<dyn Object>,
        layout: &'a Layout,
        pool: &'a ThreadPool,
    ) -> std::result::Result<NewFile<'a>, SinkError> {
        let target = object.target();
        let (schema, properties) = (layout.schema.root_schema_ptr(), Arc::clone(&layout.properties));
        let writer = SerializedFileWriter::new(object, schema, properties).map_err(at(&target))?;
        let columns = columns(layout);
        Ok(NewFile { layout, pool, target, writer, columns, rows_in_group: 0, uncompressed: 0, rows: 0 })
    }

    /// Adds rows of files, in their order.
    pub(super) fn add(&mut self, all: &[Rows]) -> std::result::Result<(), Failure> {
        let of_output: Vec<&str> = fields_of(&self.layout.schema).map(|field| field.name()).collect();
        let maps: Vec<Vec<Option<usize>>> =
            all.iter().map(|rows| first_leaves(&of_output, rows.metadata.file_metadata().schema_descr())).collect();
        let columns = &mut self.columns;
        self.pool.install(|| {
            columns.par_iter_mut().with_max_len(1).try_for_each(|column| {
                all.iter().zip(&maps).try_for_each(|(rows, map)| {
                    let leaf = map[column.root].map(|first| first + column.leaf);
                    column.add(rows, leaf).map_err(|trouble| Failure::Trouble(rows.file, trouble))
                })
            })
        })?;
        for rows in all {
            self.rows_in_group += rows.kept();
            let columns = rows.metadata.row_group(rows.group).columns();
            self.uncompressed += columns.iter().map(|chunk| chunk.uncompressed_size().max(0) as u64).sum::<u64>();
        }
        if self.group_len() >= GROUP_LEN as u64
            || self.uncompressed >= GROUP_UNCOMPRESSED
            || self.rows_in_group >= GROUP_ROWS
        {
            self.end_row_group().map_err(Failure::Sink)?;
        }
        Ok(())
    }

    /// Bytes of the file so far, about.
    pub(super) fn len(&self) -> u64 {
        self.writer.bytes_written() as u64 + self.group_len()
    }

    fn group_len(&self) -> u64 {
        self.columns.iter().map(|column| written(&column.writer)).sum()
    }

    fn end_row_group(&mut self) -> std::result::Result<(), SinkError> {
        if self.rows_in_group == 0 {
            return Ok(());
        }
        self.rows += self.rows_in_group as u64;
        (self.rows_in_group, self.uncompressed) = (0, 0);
        let columns = std::mem::replace(&mut self.columns, columns(self.layout));
        let end = || {
            let closed: Vec<_> = self.pool.install(|| columns.into_par_iter().map(Column::close).collect());
            let mut group = self.writer.next_row_group()?;
            for column in closed {
                let (pages, result) = column?;
                group.append_column(&pages, result)?;
            }
            group.close().map(drop)
        };
        end().map_err(at(&self.target))
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> std::result::Result<Finished, SinkError> {
        self.end_row_group()?;
        let rows = self.rows;
        let object = self.writer.into_inner().map_err(at(&self.target))?;
        Ok(Finished { object, rows })
    }
}

/// For each column of the output, the first leaf of the column of that name.
fn first_leaves(wanted: &[&str], schema: &SchemaDescriptor) -> Vec<Option<usize>> {
    let roots: Vec<&str> = fields_of(schema).map(|field| field.name()).collect();
    let first = |name: &&str| {
        let root = roots.iter().position(|root| root == name)?;
        (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == root)
    };
    wanted.iter().map(first).collect()
}

/// For each leaf of the output, whether the leaf of a file that becomes part of it fulfils something.
pub(super) fn leaves_with(
    output: &SchemaDescriptor,
    file: &SchemaDescriptor,
    holds: impl Fn(usize) -> bool,
) -> Vec<bool> {
    let wanted: Vec<&str> = fields_of(output).map(|field| field.name()).collect();
    let map = first_leaves(&wanted, file);
    leaves(output).map(|(root, leaf)| map[root].is_some_and(|first| holds(first + leaf))).collect()
}

/// The column at the root that each leaf is of, and its place among the leaves of that.
fn leaves(schema: &SchemaDescriptor) -> impl Iterator<Item = (usize, usize)> {
    let roots = (0..schema.num_columns()).map(|leaf| schema.get_column_root_idx(leaf));
    roots.scan((usize::MAX, 0), |(last, count), root| {
        *count = if root == *last { *count + 1 } else { 0 };
        *last = root;
        Some((root, *count))
    })
}

fn columns(layout: &Layout) -> Vec<Column> {
    let column = |((root, leaf), descriptor): ((usize, usize), _)| {
        let pages: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let to = Box::new(PagesOf { pages: Arc::clone(&pages), len: 0 });
        Column { writer: get_column_writer(descriptor, Arc::clone(&layout.properties), to), pages, root, leaf }
    };
    leaves(&layout.schema).zip(layout.schema.columns().iter().cloned()).map(column).collect()
}

/// Keeps the pages of a column until its row group ends.
struct PagesOf {
    pages: Arc<Mutex<Vec<Bytes>>>,
    len: u64,
}

impl PageWriter for PagesOf {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec> {
        let mut bytes = TrackedWrite::new(Vec::with_capacity(page.compressed_size() + MAX_HEADER));
        let spec = SerializedPageWriter::new(&mut bytes).write_page(page)?;
        let bytes = Bytes::from(bytes.into_inner()?);
        let spec = PageWriteSpec { offset: self.len + spec.offset, ..spec };
        self.len += bytes.len() as u64;
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        Ok(spec)
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Does something with a reader and a writer of the same type, or with any writer.
macro_rules! of_type {
    ($reader:expr, $writer:expr, |$r:ident, $w:ident| $both:expr) => {
        match ($reader, $writer) {
            (ColumnReader::BoolColumnReader($r), ColumnWriter::BoolColumnWriter($w)) => $both,
            (ColumnReader::Int32ColumnReader($r), ColumnWriter::Int32ColumnWriter($w)) => $both,
            (ColumnReader::Int64ColumnReader($r), ColumnWriter::Int64ColumnWriter($w)) => $both,
            (ColumnReader::Int96ColumnReader($r), ColumnWriter::Int96ColumnWriter($w)) => $both,
            (ColumnReader::FloatColumnReader($r), ColumnWriter::FloatColumnWriter($w)) => $both,
            (ColumnReader::DoubleColumnReader($r), ColumnWriter::DoubleColumnWriter($w)) => $both,
            (ColumnReader::ByteArrayColumnReader($r), ColumnWriter::ByteArrayColumnWriter($w)) => $both,
            (ColumnReader::FixedLenByteArrayColumnReader($r), ColumnWriter::FixedLenByteArrayColumnWriter($w)) => $both,
            _ => Err(Trouble::File("its columns have other types than its footer says".to_owned())),
        }
    };
    ($writer:expr, |$w:ident| $one:expr) => {
        match $writer {
            ColumnWriter::BoolColumnWriter($w) => $one,
            ColumnWriter::Int32ColumnWriter($w) => $one,
            ColumnWriter::Int64ColumnWriter($w) => $one,
            ColumnWriter::Int96ColumnWriter($w) => $one,
            ColumnWriter::FloatColumnWriter($w) => $one,
            ColumnWriter::DoubleColumnWriter($w) => $one,
            ColumnWriter::ByteArrayColumnWriter($w) => $one,
            ColumnWriter::FixedLenByteArrayColumnWriter($w) => $one,
        }
    };
}

/// Bytes of the pages that a column has written.
fn written(writer: &ColumnWriter<'_>) -> u64 {
    of_type!(writer, |writer| writer.get_total_bytes_written())
}

impl Column {
    /// Adds the values of these rows, which are in that leaf of the file, or nowhere.
    fn add(&mut self, rows: &Rows, leaf: Option<usize>) -> std::result::Result<(), Trouble> {
        let Some(leaf) = leaf else {
            let kept = rows.kept();
            return of_type!(&mut self.writer, |writer| absent(writer, kept)).map_err(Trouble::of_file);
        };
        let group = rows.metadata.row_group(rows.group);
        let (chunk, descriptor) = (group.column(leaf), group.schema_descr().column(leaf));
        let section = rows.bytes.chunk(chunk)?;
        let pages = pages(section, chunk, rows.count()).map_err(Trouble::of_file)?;
        let is_required =
            group.schema_descr().get_column_root(leaf).get_basic_info().repetition() == Repetition::REQUIRED;
        let levels = Levels { max_definition: descriptor.max_def_level(), is_required };
        let reader = get_column_reader(descriptor, pages);
        let kept = rows.kept.as_deref();
        let copied: std::result::Result<usize, Trouble> =
            of_type!(reader, &mut self.writer, |reader, writer| copy(reader, writer, levels, kept)
                .map_err(Trouble::of_file));
        match copied? {
            copied if copied == rows.count() => Ok(()),
            copied => Err(Trouble::File(format!("a column has {copied} of {} rows", rows.count()))),
        }
    }

    fn close(self) -> Result<(Pages, parquet::column::writer::ColumnCloseResult)> {
        let result = self.writer.close()?;
        let pages = std::mem::take(&mut *self.pages.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((Pages::new(pages), result))
    }
}

/// The levels of a column that is read.
#[derive(Clone, Copy)]
struct Levels {
    max_definition: i16,
    /// Whether its root is there in every row.
    is_required: bool,
}

/// Copies a column; returns how many rows it has.
fn copy<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    writer: &mut ColumnWriterImpl<'_, T>,
    levels: Levels,
    kept: Option<&[bool]>,
) -> Result<usize> {
    let (max_definition, max_repetition) = {
        let descriptor = writer.get_descriptor();
        (descriptor.max_def_level(), descriptor.max_rep_level())
    };
    // Of what may be absent in the new file and is always there in the old one, all levels are one more.
    let shift = max_definition - levels.max_definition;
    if shift != 0 && !(shift == 1 && levels.is_required) {
        return Err(ParquetError::General("its levels are others than those of the other files".to_owned()));
    }
    let (mut definitions, mut repetitions) = (Vec::<i16>::new(), Vec::<i16>::new());
    let mut values = Vec::<T::T>::new();
    let mut done = 0;
    loop {
        definitions.clear();
        repetitions.clear();
        values.clear();
        let (records, _, _) =
            reader.read_records(RECORDS, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
        if records == 0 {
            return Ok(done);
        }
        if shift > 0 {
            if levels.max_definition == 0 {
                definitions.resize(values.len(), 0);
            }
            definitions.iter_mut().for_each(|level| *level += shift);
        }
        if let Some(kept) = kept {
            let kept = kept.get(done..done + records);
            let kept = kept.ok_or_else(|| ParquetError::General("a column has too many rows".to_owned()))?;
            if kept.contains(&false) {
                leave_out(kept, max_definition, &mut definitions, &mut repetitions, &mut values);
            }
        }
        writer.write_batch(
            &values,
            (max_definition > 0).then_some(&definitions),
            (max_repetition > 0).then_some(&repetitions),
        )?;
        done += records;
    }
}

/// Leaves out the rows that do not count.
fn leave_out<T>(
    kept: &[bool],
    max_definition: i16,
    definitions: &mut Vec<i16>,
    repetitions: &mut Vec<i16>,
    values: &mut Vec<T>,
) {
    // For each level, whether its row counts.
    let levels: Vec<bool> = if repetitions.is_empty() {
        kept.to_vec()
    } else {
        let mut rows = kept.iter();
        let mut is_kept = false;
        let of_level = |&level: &i16| {
            if level == 0 {
                is_kept = *rows.next().expect("as many rows begin as were read");
            }
            is_kept
        };
        repetitions.iter().map(of_level).collect()
    };
    let is_value = |level: usize| definitions.get(level).is_none_or(|&level| level == max_definition);
    let of_values: Vec<bool> =
        levels.iter().enumerate().filter(|(level, _)| is_value(*level)).map(|(_, &kept)| kept).collect();
    retain(values, &of_values);
    retain(definitions, &levels);
    retain(repetitions, &levels);
}

fn retain<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    items.retain(|_| *kept.next().expect("there is one for each"));
}

/// Adds rows in which the column is absent.
fn absent<T: DataType>(writer: &mut ColumnWriterImpl<'_, T>, rows: usize) -> Result<()> {
    let has_repetitions = writer.get_descriptor().max_rep_level() > 0;
    let levels = [0; RECORDS];
    let mut left = rows;
    while left > 0 {
        let levels = &levels[..left.min(RECORDS)];
        writer.write_batch(&[], Some(levels), has_repetitions.then_some(levels))?;
        left -= levels.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_count_go_with_their_levels() {
        // Three rows: a map of two, one that is absent, a map of one.
        let (mut definitions, mut repetitions) = (vec![3, 2, 0, 3], vec![0, 1, 0, 0]);
        let mut values = vec!["a", "b"];
        leave_out(&[false, true, true], 3, &mut definitions, &mut repetitions, &mut values);
        assert_eq!((definitions, repetitions, values), (vec![0, 3], vec![0, 0], vec!["b"]));
        // Without levels: every row has a value.
        let mut values = vec![1, 2, 3];
        leave_out(&[true, false, true], 0, &mut Vec::new(), &mut Vec::new(), &mut values);
        assert_eq!(values, [1, 3]);
    }
}
