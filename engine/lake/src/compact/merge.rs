//! Writes the rows of many files to few: column by column, and never as rows.
//!
//! Levels of definition and repetition are carried over as they are, so a value, a null and an empty
//! map come out as they went in, whatever the type.

use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::{LogicalType, Repetition};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor};
use pixel_engine_core::compress::Codec;
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::store::Object;
use rayon::ThreadPool;

use super::columns::fields_of;
use super::ids;
use super::input::{Place, Section, Trouble};
use super::values::{self, Batch, Values};
use crate::file::{ChunkWriter, Finished, Layout, ParquetFile, Settings, UNKNOWN};
use crate::sink::at;

/// Bytes of memory that a row group takes at most, about.
const GROUP_MEMORY: usize = 96 << 20;

/// How new files are laid out. `filtered` are the leaves that have a Bloom filter.
pub(super) fn layout(schema: SchemaDescPtr, codec: Codec, filtered: &[bool], notes: Option<Vec<KeyValue>>) -> Layout {
    let id = ids::leaf(&schema);
    let leaves = schema.columns().iter().enumerate();
    let settings = leaves.map(|(leaf, column)| Settings {
        // No two requests have the same id, and few the same time.
        has_dictionary: id != Some(leaf) && !matches!(column.logical_type_ref(), Some(LogicalType::Timestamp(_))),
        has_filter: filtered[leaf],
    });
    let settings = settings.collect();
    Layout::new(schema, settings, codec, None, notes)
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
    fn chunk(&self, chunk: &ColumnChunkMetaData) -> std::result::Result<Section, Trouble> {
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
    pool: &'a ThreadPool,
    schema: SchemaDescPtr,
    /// What messages call it.
    target: String,
    file: ParquetFile,
    rows: u64,
}

impl<'a> NewFile<'a> {
    pub(super) fn new(
        object: Box<dyn Object>,
        layout: &Arc<Layout>,
        pool: &'a ThreadPool,
    ) -> std::result::Result<NewFile<'a>, SinkError> {
        let target = object.target();
        let file = ParquetFile::new(object, Arc::clone(layout)).map_err(at(&target))?;
        Ok(NewFile { pool, schema: Arc::clone(&layout.schema), target, file, rows: 0 })
    }

    /// Adds rows of files, in their order.
    pub(super) fn add(&mut self, all: &[Rows]) -> std::result::Result<(), Failure> {
        let of_output: Vec<&str> = fields_of(&self.schema).map(|field| field.name()).collect();
        let maps: Vec<Vec<Option<usize>>> =
            all.iter().map(|rows| first_leaves(&of_output, rows.metadata.file_metadata().schema_descr())).collect();
        let kept = all.iter().map(Rows::kept).sum();
        let mut columns: Vec<_> = self.file.columns(kept).iter_mut().zip(leaves(&self.schema)).collect();
        let leaf_of = |(root, leaf): (usize, usize), map: &[Option<usize>]| map[root].map(|first| first + leaf);
        let cost = |place| {
            let chunk = |(rows, map): (&Rows, &Vec<_>)| {
                leaf_of(place, map).map(|leaf| rows.metadata.row_group(rows.group).column(leaf).compressed_size())
            };
            all.iter().zip(&maps).filter_map(chunk).sum::<i64>()
        };
        // Those that take longest are begun first: then no thread has much to do when the others are done.
        columns.sort_by_cached_key(|(_, place)| cost(*place));
        let columns = Mutex::new(columns);
        let work = || -> std::result::Result<(), Failure> {
            while let Some((chunk, place)) = pop(&columns) {
                for (rows, map) in all.iter().zip(&maps) {
                    let copied = copy(rows, leaf_of(place, map), chunk);
                    copied.map_err(|trouble| Failure::Trouble(rows.file, trouble))?;
                }
            }
            Ok(())
        };
        self.pool.broadcast(|_| work()).into_iter().collect::<std::result::Result<(), Failure>>()?;
        self.rows += kept as u64;
        if self.file.is_group_full() || self.file.memory() >= GROUP_MEMORY {
            self.file.end_row_group(self.pool).map_err(at(&self.target)).map_err(Failure::Sink)?;
        }
        Ok(())
    }

    /// Bytes of the file so far, about.
    pub(super) fn len(&self) -> u64 {
        self.file.written() + self.file.group_len() as u64
    }

    /// Ends the file; how many rows it has.
    pub(super) fn finish(self) -> std::result::Result<(Finished, u64), SinkError> {
        let finished = self.file.finish(self.pool).map_err(at(&self.target))?;
        Ok((finished, self.rows))
    }
}

fn pop<T>(items: &Mutex<Vec<T>>) -> Option<T> {
    items.lock().unwrap_or_else(PoisonError::into_inner).pop()
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

/// Adds the values of these rows, which are in that leaf of the file, or nowhere.
fn copy(rows: &Rows, leaf: Option<usize>, chunk: &mut ChunkWriter) -> std::result::Result<(), Trouble> {
    let Some(leaf) = leaf else {
        return (0..rows.kept()).try_for_each(|_| {
            chunk.push_absent(0, 0);
            chunk.end_row().map_err(Trouble::of_file)
        });
    };
    let group = rows.metadata.row_group(rows.group);
    let (source, column) = (group.column(leaf), group.schema_descr().column(leaf));
    let is_required = group.schema_descr().get_column_root(leaf).get_basic_info().repetition() == Repetition::REQUIRED;
    let from = column.max_def_level() as u8;
    // Of what may be absent in the new file and is always there in the old one, all levels are one more.
    let shift = match chunk.max_definition().checked_sub(from) {
        Some(0) => 0,
        Some(1) if is_required => 1,
        _ => return Err(Trouble::File("its levels are others than those of the other files".to_owned())),
    };
    let section = rows.bytes.chunk(source)?;
    let mut copy = Copy {
        takes_pages: chunk.is_compressed_by(source.compression()) && shift == 0 && rows.kept.is_none(),
        is_between_pages: false,
        chunk,
        max_definition: from,
        shift,
        kept: rows.kept.as_deref(),
        rows: 0,
        is_kept: false,
        numbers: Vec::new(),
    };
    let copied = values::read(section, source, &column, rows.count(), |batch| copy.add(batch));
    copied.and_then(|()| copy.end_row()).map_err(Trouble::of_file)
}

/// Values on their way from one chunk to another.
struct Copy<'a> {
    chunk: &'a mut ChunkWriter,
    /// Whether pages can be taken as they are.
    takes_pages: bool,
    /// Whether the last thing that was taken is a page, so that a row has to follow.
    is_between_pages: bool,
    /// The level of definition of a value where it comes from, and how much more it is where it goes.
    max_definition: u8,
    shift: u8,
    /// Which of the rows count; all of them without it.
    kept: Option<&'a [bool]>,
    /// The rows that were begun, and whether the last one counts.
    rows: usize,
    is_kept: bool,
    /// What the entries of the old dictionary are in the new one.
    numbers: Vec<u32>,
}

impl Copy<'_> {
    fn add(&mut self, batch: Batch<'_>) -> Result<()> {
        if let Values::Numbered { entries, .. } = batch.values {
            self.numbers.resize(entries.len(), UNKNOWN);
        }
        let rows = batch.rows();
        if let Some(page) = &batch.stored
            && let Values::Each(values) = batch.values
            && self.takes_pages
            && batch.repetitions.first().is_none_or(|&level| level == 0)
            && self.chunk.takes_page(rows, page.uncompressed_len)
        {
            self.end_row()?;
            self.rows += rows;
            self.is_between_pages = true;
            return self.chunk.push_page(page.bytes.clone(), page.uncompressed_len, rows, batch.len(), values);
        }
        let mut place = 0;
        for level in 0..batch.len() {
            let repetition = batch.repetitions.get(level).copied().unwrap_or_default();
            if repetition == 0 {
                self.end_row()?;
                self.is_kept = self.kept.is_none_or(|kept| kept[self.rows]);
                self.rows += 1;
                self.is_between_pages = false;
            } else if self.is_between_pages {
                return Err(ParquetError::General(
                    "a row goes on in another page, though pages are indexed".to_owned(),
                ));
            }
            let definition = batch.definitions.get(level).copied().unwrap_or(self.max_definition);
            let is_present = definition == self.max_definition;
            if self.is_kept {
                match batch.values {
                    _ if !is_present => self.chunk.push_absent(definition + self.shift, repetition),
                    Values::Each(values) => self.chunk.push(repetition, values[place]),
                    Values::Numbered { numbers, entries } => {
                        let number = numbers[place] as usize;
                        self.chunk.push_entry(repetition, entries[number], &mut self.numbers[number]);
                    }
                }
            }
            place += usize::from(is_present);
        }
        Ok(())
    }

    /// Ends the row that was begun last, if it counts.
    fn end_row(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_kept) { self.chunk.end_row() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use bytes::Bytes;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::column::writer::ColumnWriter;
    use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
    use parquet::file::page_index::index_reader::decode_offset_index;
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::statistics::Statistics;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::TypePtr;
    use proptest::prelude::*;
    use rayon::ThreadPoolBuilder;

    use super::*;
    use crate::compact::values::StoredPage;

    const ALL_TYPES: &str = "message any {
        optional boolean a; required boolean b; optional int32 c; required int32 d (UINT_32); optional int64 e;
        optional int64 f (UINT_64); optional int96 g; optional float h; required double i;
        optional binary j (STRING); required binary k; optional binary l (DECIMAL(9,2));
        optional fixed_len_byte_array(2) m (FLOAT16); optional fixed_len_byte_array(3) n;
        optional fixed_len_byte_array(5) o (DECIMAL(9,2)); optional int32 p (DATE);
        optional group q (MAP) { repeated group key_value { required binary r (STRING); optional binary s (STRING); } }
        optional group t (LIST) { repeated group list { optional int32 u; } }
    }";

    /// Rows of any types as the library writes them.
    fn file_of_library(schema: TypePtr, rows: usize, properties: WriterProperties, seed: u64) -> Bytes {
        let descriptor = SchemaDescriptor::new(Arc::clone(&schema));
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut leaf = 0;
        while let Some(mut column) = group.next_column().unwrap() {
            // The two leaves of a map have as many values as each other.
            let mut lens = fastrand::Rng::with_seed(seed ^ descriptor.get_column_root_idx(leaf) as u64);
            let mut random = fastrand::Rng::with_seed(seed ^ (100 + leaf as u64));
            let different = random.u32(1..100);
            write_leaf(column.untyped(), rows, &mut lens, &mut random, different);
            column.close().unwrap();
            leaf += 1;
        }
        group.close().unwrap();
        writer.into_inner().unwrap().into()
    }

    fn write_leaf(
        column: &mut ColumnWriter<'_>,
        rows: usize,
        lens: &mut fastrand::Rng,
        random: &mut fastrand::Rng,
        different: u32,
    ) {
        macro_rules! write {
            ($writer:expr, $value:expr) => {{
                let (max, repeats) =
                    ($writer.get_descriptor().max_def_level(), $writer.get_descriptor().max_rep_level() > 0);
                let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
                for _ in 0..rows {
                    let len = if repeats { lens.i16(-1..4) } else { 1 };
                    for place in 0..len.max(1) {
                        let is_absent = random.u8(..4) == 0;
                        definitions.push(match (len, repeats) {
                            (-1 | 0, _) => len + 1,
                            // A key is always there.
                            (_, true) if max == 3 && is_absent => 2,
                            (_, false) if max == 1 && is_absent => 0,
                            _ => max,
                        });
                        repetitions.push(i16::from(place > 0));
                    }
                }
                let present = definitions.iter().filter(|&&level| level == max).count();
                let values: Vec<_> = (0..present).map(|_| $value(random.u32(..different))).collect();
                let definitions = (max > 0).then_some(definitions.as_slice());
                $writer.write_batch(&values, definitions, repeats.then_some(repetitions.as_slice())).unwrap();
            }};
        }
        let float = |number: u32| match number {
            0 => f64::NAN,
            1 => -0.0,
            2 => 0.0,
            number => 40.25 - f64::from(number),
        };
        let text = |number: u32| match number % 3 {
            0 => String::new(),
            1 => format!("é{number}"),
            _ => format!("{number:0>80}"),
        };
        match column {
            ColumnWriter::BoolColumnWriter(writer) => write!(writer, |number| number % 2 == 1),
            ColumnWriter::Int32ColumnWriter(writer) => write!(writer, |number| number as i32 - 40),
            ColumnWriter::Int64ColumnWriter(writer) => write!(writer, |number| i64::from(number) - 40),
            ColumnWriter::Int96ColumnWriter(writer) => write!(writer, |number: u32| {
                let mut time = Int96::new();
                time.set_data(number.wrapping_mul(7), 0, 2_440_588 + number % 3);
                time
            }),
            ColumnWriter::FloatColumnWriter(writer) => write!(writer, |number| float(number) as f32),
            ColumnWriter::DoubleColumnWriter(writer) => write!(writer, float),
            ColumnWriter::ByteArrayColumnWriter(writer) => match writer.get_descriptor().logical_type_ref() {
                Some(LogicalType::Decimal(_)) => write!(writer, |number| {
                    let bytes = (i64::from(number) - 40).to_be_bytes();
                    ByteArray::from(bytes[number as usize % 7..].to_vec())
                }),
                Some(_) => write!(writer, |number| ByteArray::from(text(number).into_bytes())),
                None => write!(writer, |number: u32| ByteArray::from(vec![number as u8 ^ 0xff; number as usize])),
            },
            ColumnWriter::FixedLenByteArrayColumnWriter(writer) => {
                let len = writer.get_descriptor().type_length() as usize;
                let is_half = writer.get_descriptor().logical_type_ref() == Some(&LogicalType::Float16);
                write!(writer, |number: u32| {
                    let half = [0x7e00_u16, 0x8000, 0, 0x3c00, 0xbc00][number as usize % 5].to_le_bytes();
                    let bytes = (i64::from(number) - 40).to_be_bytes();
                    let bytes = [&bytes[..], &bytes[..]].concat();
                    FixedLenByteArray::from(if is_half { half.to_vec() } else { bytes[16 - len..].to_vec() })
                });
            }
        }
    }

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Object for Memory {
        fn target(&self) -> String {
            "memory".to_owned()
        }

        fn make_ready(&mut self) -> std::result::Result<String, SinkError> {
            unreachable!("it is not published")
        }

        fn publish(self: Box<Self>) -> std::result::Result<(), SinkError> {
            unreachable!("it is not published")
        }
    }

    /// The rows that count of a file, in a new one.
    fn copied(old: &Bytes, kept: Option<Vec<bool>>, codec: Codec) -> Bytes {
        let section = Section::whole(old.clone());
        let metadata = Arc::new(section.footer().unwrap());
        let schema = metadata.file_metadata().schema_descr_ptr();
        let layout = Arc::new(layout(Arc::clone(&schema), codec, &vec![false; schema.num_columns()], None));
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let memory = Memory::default();
        let mut file = NewFile::new(Box::new(memory.clone()), &layout, &pool).unwrap();
        file.add(&[Rows { file: 0, metadata, group: 0, bytes: Source::Memory(section), kept }]).unwrap();
        file.finish().unwrap();
        Bytes::from(std::mem::take(&mut *memory.0.lock().unwrap()))
    }

    fn texts(file: &Bytes) -> Vec<String> {
        let reader = SerializedFileReader::new(file.clone()).unwrap();
        reader.get_row_iter(None).unwrap().map(|row| format!("{:?}", row.unwrap())).collect()
    }

    /// What is to be known of a column, without what was cut off where.
    fn known(statistics: &Statistics) -> [Option<Vec<u8>>; 4] {
        let start = |value: &[u8]| value[..value.len().min(60)].to_vec();
        let count = |count: u64| count.to_le_bytes().to_vec();
        [
            statistics.min_bytes_opt().map(start),
            statistics.max_bytes_opt().map(start),
            statistics.null_count_opt().map(count),
            statistics.nan_count_opt().map(count),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn values_of_any_type_and_encoding_are_carried_over(
            seed in any::<u64>(),
            rows in 0..300_usize,
            is_second_version in any::<bool>(),
            has_dictionary in any::<bool>(),
            dictionary_len in prop_oneof![Just(40_usize), Just(1 << 20)],
            rows_of_page in prop_oneof![Just(7_usize), Just(1 << 20)],
            is_compressed in any::<bool>(),
            leaves_out in any::<bool>(),
        ) {
            let schema: TypePtr = Arc::new(parse_message_type(ALL_TYPES).unwrap());
            let properties = WriterProperties::builder()
                .set_writer_version(if is_second_version { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 })
                .set_dictionary_enabled(has_dictionary)
                .set_dictionary_page_size_limit(dictionary_len)
                .set_data_page_row_count_limit(rows_of_page)
                .set_write_batch_size(5)
                .set_compression(if is_compressed { Compression::SNAPPY } else { Compression::UNCOMPRESSED })
                .build();
            let old = file_of_library(Arc::clone(&schema), rows, properties, seed);
            let metadata = Section::whole(old.clone()).footer().unwrap();
            let mut random = fastrand::Rng::with_seed(seed);
            let kept: Option<Vec<bool>> = leaves_out.then(|| (0..rows).map(|_| random.bool()).collect());
            let new = copied(&old, kept.clone(), Codec::Zstd(1));
            let is_kept = |row: usize| kept.as_ref().is_none_or(|kept| kept[row]);
            let expected: Vec<String> =
                texts(&old).into_iter().enumerate().filter(|(row, _)| is_kept(*row)).map(|(_, text)| text).collect();
            prop_assert_eq!(texts(&new), expected);
            // The library has its own idea of what is least and greatest.
            let found = Section::whole(new).footer().unwrap();
            if kept.is_none() && rows > 0 {
                for (old, new) in metadata.row_group(0).columns().iter().zip(found.row_group(0).columns()) {
                    let (old, new) = (old.statistics().unwrap(), new.statistics().unwrap());
                    prop_assert_eq!(known(old), known(new));
                }
            }
        }
    }

    /// The first data page of the first column.
    fn first_page(file: &Bytes) -> Bytes {
        let footer = Section::whole(file.clone()).footer().unwrap();
        let chunk = footer.row_group(0).column(0);
        let index = chunk.offset_index_range().unwrap();
        let index = decode_offset_index(&file[index.start as usize..index.end as usize]).unwrap();
        let page = &index.page_locations()[0];
        file.slice(page.offset as usize..(page.offset + i64::from(page.compressed_page_size)) as usize)
    }

    #[test]
    fn large_pages_are_taken_as_they_are() {
        let schema = "message any {
            required binary k;
            optional group q (MAP) { repeated group key_value { required binary r; optional binary s (STRING); } }
        }";
        let schema: TypePtr = Arc::new(parse_message_type(schema).unwrap());
        let file = |compression: Compression| {
            let properties = WriterProperties::builder().set_dictionary_enabled(false).set_compression(compression);
            file_of_library(Arc::clone(&schema), 20_000, properties.build(), 5)
        };
        let zstd = file(Compression::ZSTD(ZstdLevel::try_new(3).unwrap()));
        // The column has a dictionary at first, which does not pay.
        let twice = copied(&copied(&zstd, None, Codec::Zstd(1)), None, Codec::Zstd(1));
        assert_eq!(texts(&twice), texts(&zstd));
        let id = "message any { required binary x_edge_request_id; }";
        let id: TypePtr = Arc::new(parse_message_type(id).unwrap());
        let of_ids = |compression: Compression| {
            let properties = WriterProperties::builder().set_dictionary_enabled(false).set_compression(compression);
            file_of_library(Arc::clone(&id), 20_000, properties.build(), 5)
        };
        let zstd = of_ids(Compression::ZSTD(ZstdLevel::try_new(3).unwrap()));
        let is_taken = |old: &Bytes, codec| {
            let new = copied(old, None, codec);
            assert_eq!(texts(&new), texts(old));
            first_page(&new) == first_page(old)
        };
        assert!(is_taken(&zstd, Codec::Zstd(1)));
        // Where more is wanted, it may have to be compressed anew.
        assert!(!is_taken(&zstd, Codec::Zstd(9)));
        assert!(!is_taken(&zstd, Codec::None));
        assert!(!is_taken(&of_ids(Compression::SNAPPY), Codec::Zstd(1)));
        // Some of its rows do not count.
        let kept: Vec<bool> = (0..20_000).map(|row| row % 3 > 0).collect();
        let new = copied(&zstd, Some(kept.clone()), Codec::Zstd(1));
        let expected = texts(&zstd).into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(text, _)| text);
        assert!(texts(&new).into_iter().eq(expected));
    }

    #[test]
    fn a_row_that_goes_on_behind_a_page_is_noticed() {
        let schema = "message any { optional group t (LIST) { repeated group list { optional binary u; } } }";
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(schema).unwrap()));
        let settings = Settings { has_dictionary: false, has_filter: false };
        let mut chunk = ChunkWriter::new(settings, Codec::Zstd(1), schema.column(0));
        let mut copy = Copy {
            takes_pages: true,
            is_between_pages: false,
            chunk: &mut chunk,
            max_definition: 3,
            shift: 0,
            kept: None,
            rows: 0,
            is_kept: false,
            numbers: Vec::new(),
        };
        let batch = |stored, repetition| Batch {
            definitions: &[3],
            repetitions: if repetition == 0 { &[0] } else { &[1] },
            values: Values::Each(&[b"a"]),
            stored,
        };
        let page = StoredPage { bytes: Bytes::from_static(b"page"), uncompressed_len: 200_000 };
        copy.add(batch(Some(page), 0)).unwrap();
        assert!(copy.add(batch(None, 1)).is_err());
        copy.add(batch(None, 0)).unwrap();
        copy.add(batch(None, 1)).unwrap();
    }
}
