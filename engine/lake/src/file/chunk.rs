//! One column of one row group: values in, compressed pages out.
//!
//! A chunk begins with a dictionary of its values, and its pages hold their numbers in it. When the
//! first page shows that this does not pay, or the dictionary gets too large, values stand in the
//! pages themselves. Pages are those of version 1 and values are either plain or in a dictionary:
//! that is what every reader knows.
//!
//! Source: the Parquet format's pages on data pages, encodings, nested encoding and the page index.

use std::cell::RefCell;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, GzipLevel, PageType, Type, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use pixel_engine_core::compress::Codec;

use super::bounds::{Bounds, Order, cut_max, cut_min, number};
use super::dictionary::{Dictionary, Plain};
use super::levels::{append_hybrid, append_levels, append_uniform_levels, bit_width};
use super::pages::Pages;

/// Rows of a page at most, for a page index that leaves out enough.
const PAGE_ROWS: usize = 20_000;
/// Bytes of a page at which it ends, before compression. Pages of text end at their rows before;
/// with 1 MiB, files were 3 % larger.
const PAGE_LEN: usize = 4 << 20;
/// Bytes of a page that is not worth being put together with others: what repeats is mostly closer.
const STORED_LEN: usize = 128 << 10;
/// Bytes of a dictionary at which no more values get a number.
const DICTIONARY_LEN: usize = 1 << 20;
/// A Bloom filter says that a value may be there when it is not, so often.
const FALSE_POSITIVES: f64 = 0.01;
/// Different values that a Bloom filter has room for; it is folded to what it needs in the end.
const FILTER_VALUES: u64 = 1 << 18;

/// Bytes of a page's header at most, about.
const MAX_HEADER: usize = 64;

thread_local! {
    /// The page that is put together, before it is compressed.
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is up to us in how a column is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether its values come again often enough to try.
    pub(crate) has_dictionary: bool,
    /// Whether single values are looked for.
    pub(crate) has_filter: bool,
}

/// Number of a value that is not known yet.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// Writes one column of one row group to memory.
pub(crate) struct ChunkWriter {
    plain: Plain,
    order: Order,
    descriptor: ColumnDescPtr,
    /// The definition level of a value, and whether there are levels of repetition.
    max_definition: u8,
    has_repetitions: bool,
    values: Values,
    filter: Option<Sbbf>,
    page: OpenPage,
    written: Written,
}

/// How values are written.
enum Values {
    /// As numbers of a dictionary.
    Numbered(Dictionary),
    /// As they are, after pages with numbers.
    After(Dictionary),
    /// As they are.
    Plain,
}

/// Definition levels, which are usually all the same.
#[derive(Default)]
struct Definitions {
    /// That of all of them so far, and how many there are.
    uniform: Option<(u8, usize)>,
    /// Each by itself, once they differ.
    mixed: Vec<u8>,
}

impl Definitions {
    #[inline]
    fn push(&mut self, level: u8) {
        match &mut self.uniform {
            Some((same, count)) if *same == level => *count += 1,
            _ => self.push_other(level),
        }
    }

    fn push_other(&mut self, level: u8) {
        match self.uniform.take() {
            None if self.mixed.is_empty() => self.uniform = Some((level, 1)),
            None => self.mixed.push(level),
            Some((same, count)) => {
                self.mixed.resize(count, same);
                self.mixed.push(level);
            }
        }
    }

    fn len(&self) -> usize {
        self.uniform.map_or(self.mixed.len(), |(_, count)| count)
    }

    fn append(&self, max: u8, out: &mut Vec<u8>) {
        match self.uniform {
            Some((level, count)) => append_uniform_levels(level, count, max, out),
            None => append_levels(&self.mixed, max, out),
        }
    }

    fn clear(&mut self) {
        self.uniform = None;
        self.mixed.clear();
    }
}

/// The page that is being filled.
#[derive(Default)]
struct OpenPage {
    rows: usize,
    definitions: Definitions,
    repetitions: Vec<u8>,
    nulls: usize,
    nans: usize,
    /// The values' numbers in the dictionary.
    numbers: Vec<u32>,
    /// The values as they are.
    plain: Vec<u8>,
    /// Bytes that its values take as they are.
    plain_len: usize,
    bounds: Bounds,
}

/// The pages that are done.
struct Written {
    codec: Codec,
    order: Order,
    /// Whether bounds may be cut.
    is_cut: bool,
    /// Each with the number of its rows.
    pages: Vec<(Bytes, usize)>,
    /// Their bytes.
    len: usize,
    column_index: ColumnIndexBuilder,
    rows: usize,
    values: usize,
    nulls: usize,
    nans: usize,
    uncompressed_len: usize,
    bounds: Bounds,
    encodings: Vec<PageEncodingStats>,
}

impl ChunkWriter {
    pub(crate) fn new(settings: Settings, codec: Codec, descriptor: ColumnDescPtr) -> ChunkWriter {
        let plain = Plain::of(descriptor.physical_type());
        let filter = settings.has_filter.then(|| Sbbf::new_with_ndv_fpp(FILTER_VALUES, FALSE_POSITIVES));
        // One bit each takes less than a number.
        let has_dictionary = settings.has_dictionary && plain != Plain::Bits;
        let order = Order::of(&descriptor);
        ChunkWriter {
            plain,
            order,
            max_definition: descriptor.max_def_level() as u8,
            has_repetitions: descriptor.max_rep_level() > 0,
            values: if has_dictionary { Values::Numbered(Dictionary::new(plain)) } else { Values::Plain },
            filter: filter.map(|filter| filter.expect("the two numbers are in range")),
            page: OpenPage::default(),
            written: Written {
                codec,
                order,
                is_cut: plain == Plain::Text && order == Order::Bytes,
                pages: Vec::new(),
                len: 0,
                column_index: ColumnIndexBuilder::new(descriptor.physical_type()),
                rows: 0,
                values: 0,
                nulls: 0,
                nans: 0,
                uncompressed_len: 0,
                bounds: Bounds::default(),
                encodings: Vec::new(),
            },
            descriptor,
        }
    }

    /// The level of definition of a value.
    pub(crate) fn max_definition(&self) -> u8 {
        self.max_definition
    }

    /// Bytes of memory, about.
    pub(crate) fn memory(&self) -> usize {
        let dictionary = match &self.values {
            Values::Numbered(dictionary) | Values::After(dictionary) => dictionary.memory(),
            Values::Plain => 0,
        };
        let OpenPage { definitions, repetitions, numbers, plain, .. } = &self.page;
        let levels = definitions.mixed.capacity() + repetitions.capacity();
        let page = plain.capacity() + 4 * numbers.capacity() + levels;
        let filter = self.filter.as_ref().map_or(0, |filter| 32 * filter.num_blocks());
        self.written.len + dictionary + page + filter
    }

    /// Bytes that are compressed already.
    pub(crate) fn compressed_len(&self) -> usize {
        self.written.len
    }

    /// Adds a value, as pages hold it that have no dictionary, but without its length.
    #[inline]
    pub(crate) fn push(&mut self, repetition: u8, value: &[u8]) {
        self.push_levels(self.max_definition, repetition);
        let page = &mut self.page;
        if let Values::Numbered(dictionary) = &mut self.values {
            let found = dictionary.number_of(value);
            page.numbers.push(found.number);
            page.plain_len += self.plain.len_of(value);
            self.count(value, found.is_first_of_page);
        } else {
            self.plain.append(value, &mut page.plain);
            self.count(value, true);
        }
    }

    /// As [`push`](Self::push), of a value that comes from a dictionary itself. Its number in the one of
    /// this chunk is kept in `number`, [`UNKNOWN`] at first.
    #[inline]
    pub(crate) fn push_entry(&mut self, repetition: u8, value: &[u8], number: &mut u32) {
        let Values::Numbered(dictionary) = &mut self.values else { return self.push(repetition, value) };
        let is_first_of_page = match *number {
            UNKNOWN => {
                let found = dictionary.number_of(value);
                *number = found.number;
                found.is_first_of_page
            }
            number => dictionary.is_first_of_page(number),
        };
        self.page.numbers.push(*number);
        self.page.plain_len += self.plain.len_of(value);
        self.push_levels(self.max_definition, repetition);
        self.count(value, is_first_of_page);
    }

    /// Adds a level of definition at which there is no value.
    #[inline]
    pub(crate) fn push_absent(&mut self, definition: u8, repetition: u8) {
        self.push_levels(definition, repetition);
        self.page.nulls += 1;
    }

    #[inline]
    fn push_levels(&mut self, definition: u8, repetition: u8) {
        self.page.definitions.push(definition);
        if self.has_repetitions {
            self.page.repetitions.push(repetition);
        }
    }

    /// Takes note of a value.
    #[inline]
    fn count(&mut self, value: &[u8], is_first_of_page: bool) {
        if self.order.is_nan(value) {
            self.page.nans += 1;
        }
        if is_first_of_page {
            self.page.bounds.add(value, self.order);
            if let Some(filter) = &mut self.filter {
                filter.insert(value);
            }
        }
    }

    /// Whether a page of these rows is better taken as it is than put together with others.
    pub(crate) fn takes_page(&self, rows: usize, uncompressed_len: usize) -> bool {
        matches!(self.values, Values::After(_) | Values::Plain)
            && rows <= PAGE_ROWS
            && (STORED_LEN..=PAGE_LEN).contains(&uncompressed_len)
            && (self.page.rows == 0 || self.page.plain.len() >= STORED_LEN)
    }

    /// Whether pages that are compressed so may be taken as they are.
    pub(crate) fn is_compressed_by(&self, compression: Compression) -> bool {
        match self.written.codec {
            Codec::None => compression == Compression::UNCOMPRESSED,
            // The level is not known, but none compresses less.
            Codec::Zstd(1) => matches!(compression, Compression::ZSTD(_)),
            Codec::Gzip(_) | Codec::Zstd(_) => false,
        }
    }

    /// Adds a plain page as it is, with its header. It has these values, at so many levels.
    pub(crate) fn push_page(
        &mut self,
        bytes: Bytes,
        uncompressed_len: usize,
        rows: usize,
        levels: usize,
        values: &[&[u8]],
    ) -> Result<()> {
        if self.page.rows > 0 {
            self.end_page()?;
        }
        values.iter().for_each(|value| self.count(value, true));
        self.page.rows = rows;
        self.page.nulls = levels - values.len();
        self.written.encoded(PageType::DATA_PAGE, Encoding::PLAIN, uncompressed_len);
        self.written.add(bytes, &self.page, levels);
        self.page.clear();
        Ok(())
    }

    /// What was added since the last one is a row.
    #[inline]
    pub(crate) fn end_row(&mut self) -> Result<()> {
        self.page.rows += 1;
        if self.page.rows == PAGE_ROWS || self.page_len() >= PAGE_LEN { self.end_page() } else { Ok(()) }
    }

    #[inline]
    fn page_len(&self) -> usize {
        match &self.values {
            Values::Numbered(dictionary) if dictionary.page().len() >= DICTIONARY_LEN => PAGE_LEN,
            Values::Numbered(_) => 4 * self.page.numbers.len(),
            Values::After(_) | Values::Plain => self.page.plain.len(),
        }
    }

    fn end_page(&mut self) -> Result<()> {
        if let Values::Numbered(dictionary) = &self.values
            && self.written.pages.is_empty()
            && !pays(dictionary, &self.page)
        {
            for &number in &self.page.numbers {
                self.plain.append(dictionary.value(number), &mut self.page.plain);
            }
            self.page.numbers.clear();
            self.values = Values::Plain;
        }
        BODY.with_borrow_mut(|body| self.write_page(body))?;
        self.page.clear();
        self.values = match std::mem::replace(&mut self.values, Values::Plain) {
            Values::Numbered(dictionary) if dictionary.page().len() >= DICTIONARY_LEN => Values::After(dictionary),
            as_before => as_before,
        };
        Ok(())
    }

    fn write_page(&mut self, body: &mut Vec<u8>) -> Result<()> {
        let page = &self.page;
        body.clear();
        if self.has_repetitions {
            append_levels(&page.repetitions, self.descriptor.max_rep_level() as u8, body);
        }
        if self.max_definition > 0 {
            page.definitions.append(self.max_definition, body);
        }
        let encoding = match &mut self.values {
            // There may never be a dictionary.
            Values::Numbered(_) if page.numbers.is_empty() => Encoding::PLAIN,
            Values::Numbered(dictionary) => {
                let width = bit_width(dictionary.len().saturating_sub(1) as u32);
                body.push(width as u8);
                append_hybrid(&page.numbers, width, body);
                dictionary.next_page();
                Encoding::RLE_DICTIONARY
            }
            Values::After(_) | Values::Plain => {
                self.plain.append_page(&page.plain, body);
                Encoding::PLAIN
            }
        };
        self.written.data_page(page, body, encoding)
    }

    /// The chunk's bytes and what is to be known of them.
    pub(crate) fn close(mut self) -> Result<(Pages, ColumnCloseResult)> {
        if self.page.rows > 0 {
            self.end_page()?;
        }
        let mut dictionary_page = Bytes::new();
        if let Values::Numbered(dictionary) | Values::After(dictionary) = &self.values
            && dictionary.len() > 0
        {
            let page = Page::DictionaryPage {
                buf: compress(self.written.codec, dictionary.page())?,
                num_values: dictionary.len() as u32,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            dictionary_page = self.written.page(page, dictionary.page().len())?;
        }
        self.written.close(dictionary_page, self.descriptor, self.filter)
    }
}

/// Whether the numbers and the dictionary of a first page take less than half of the room that its
/// values do. Below that, what is compressed is smaller without.
fn pays(dictionary: &Dictionary, page: &OpenPage) -> bool {
    let numbers = page.numbers.len() * bit_width(dictionary.len() as u32) as usize / 8;
    2 * (dictionary.page().len() + numbers) <= page.plain_len
}

impl OpenPage {
    fn clear(&mut self) {
        (self.rows, self.nulls, self.nans, self.plain_len) = (0, 0, 0, 0);
        self.definitions.clear();
        self.repetitions.clear();
        self.numbers.clear();
        self.plain.clear();
        self.bounds = Bounds::default();
    }
}

impl Written {
    fn data_page(&mut self, page: &OpenPage, body: &[u8], encoding: Encoding) -> Result<()> {
        let compressed = Page::DataPage {
            buf: compress(self.codec, body)?,
            num_values: page.definitions.len() as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let bytes = self.page(compressed, body.len())?;
        self.add(bytes, page, page.definitions.len());
        Ok(())
    }

    /// Takes note of a data page of so many levels.
    fn add(&mut self, bytes: Bytes, page: &OpenPage, levels: usize) {
        self.len += bytes.len();
        self.pages.push((bytes, page.rows));
        self.rows += page.rows;
        self.values += levels;
        self.nulls += page.nulls;
        self.nans += page.nans;
        let nans = (self.order == Order::Floats).then_some(page.nans as i64);
        match page.bounds.get() {
            None if page.nulls == levels => {
                self.column_index.append(true, Vec::new(), Vec::new(), page.nulls as i64, nans);
            }
            // It has values of which none is the least.
            None => self.column_index.to_invalid(),
            Some((min, max)) => {
                self.bounds.add(min, self.order);
                self.bounds.add(max, self.order);
                let (min, max) = match self.is_cut {
                    true => (cut_min(min).to_vec(), cut_max(max)),
                    false => (min.to_vec(), max.to_vec()),
                };
                self.column_index.append(false, min, max, page.nulls as i64, nans);
            }
        }
    }

    /// The page with its header.
    fn page(&mut self, page: Page, uncompressed_len: usize) -> Result<Bytes> {
        let (page_type, encoding) = (page.page_type(), page.encoding());
        let mut bytes = TrackedWrite::new(Vec::with_capacity(page.buffer().len() + MAX_HEADER));
        let page = CompressedPage::new(page, uncompressed_len);
        let spec = SerializedPageWriter::new(&mut bytes).write_page(page)?;
        self.encoded(page_type, encoding, spec.uncompressed_size);
        Ok(bytes.into_inner()?.into())
    }

    /// Counts a page by how it is encoded.
    fn encoded(&mut self, page_type: PageType, encoding: Encoding, uncompressed_len: usize) {
        self.uncompressed_len += uncompressed_len;
        let same = self.encodings.iter_mut().find(|other| other.page_type == page_type && other.encoding == encoding);
        match same {
            Some(same) => same.count += 1,
            None => self.encodings.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
    }

    /// The whole chunk. Without a dictionary, its page is empty.
    fn close(
        self,
        dictionary_page: Bytes,
        descriptor: ColumnDescPtr,
        mut filter: Option<Sbbf>,
    ) -> Result<(Pages, ColumnCloseResult)> {
        let statistics = self.statistics(descriptor.physical_type());
        let dictionary_len = dictionary_page.len();
        let len = dictionary_len + self.len;
        let mut offset_index = OffsetIndexBuilder::new();
        let mut offset = dictionary_len;
        for (page, rows) in &self.pages {
            offset_index.append_row_count(*rows as i64);
            offset_index.append_offset_and_size(offset as i64, page.len() as i32);
            offset += page.len();
        }
        let mut encodings: Vec<Encoding> = vec![Encoding::RLE];
        encodings.extend(self.encodings.iter().map(|of_pages| of_pages.encoding));
        let metadata = ColumnChunkMetaData::builder(descriptor)
            .set_compression(compression(self.codec))
            .set_encodings(encodings)
            .set_page_encoding_stats(self.encodings)
            .set_num_values(self.values as i64)
            .set_total_compressed_size(len as i64)
            .set_total_uncompressed_size(self.uncompressed_len as i64)
            .set_dictionary_page_offset((dictionary_len > 0).then_some(0))
            .set_data_page_offset(dictionary_len as i64)
            .set_statistics(statistics)
            .build()?;
        if let Some(filter) = &mut filter {
            filter.fold_to_target_fpp(FALSE_POSITIVES);
        }
        let result = ColumnCloseResult {
            bytes_written: len as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: filter,
            column_index: self.column_index.valid().then(|| self.column_index.build()).transpose()?,
            offset_index: Some(offset_index.build()),
        };
        let pages = std::iter::once(dictionary_page).chain(self.pages.into_iter().map(|(page, _)| page));
        Ok((Pages::new(pages.collect()), result))
    }

    fn statistics(&self, physical_type: Type) -> Statistics {
        match physical_type {
            Type::BOOLEAN => self.typed(|value| value[0] != 0).into(),
            Type::INT32 => self.typed(|value| i32::from_le_bytes(number(value))).into(),
            Type::INT64 => self.typed(|value| i64::from_le_bytes(number(value))).into(),
            Type::INT96 => self.typed(int96).into(),
            Type::FLOAT => self.typed(|value| f32::from_le_bytes(number(value))).into(),
            Type::DOUBLE => self.typed(|value| f64::from_le_bytes(number(value))).into(),
            Type::FIXED_LEN_BYTE_ARRAY => self.typed(|value| FixedLenByteArray::from(value.to_vec())).into(),
            Type::BYTE_ARRAY if !self.is_cut => self.typed(|value| ByteArray::from(value.to_vec())).into(),
            Type::BYTE_ARRAY => {
                let (min, max) = self.bounds.get().unzip();
                let cut = (min.map(cut_min), max.map(cut_max));
                let (min_is_exact, max_is_exact) = (cut.0 == min, cut.1.as_deref() == max);
                let (min, max) = (cut.0.map(|min| ByteArray::from(min.to_vec())), cut.1.map(ByteArray::from));
                let statistics = ValueStatistics::new(min, max, None, Some(self.nulls as u64), false);
                statistics.with_min_is_exact(min_is_exact).with_max_is_exact(max_is_exact).into()
            }
        }
    }

    /// The bounds as values of a type.
    fn typed<T>(&self, value: impl Fn(&[u8]) -> T) -> ValueStatistics<T> {
        let (min, max) = self.bounds.get().map(|(min, max)| (value(min), value(max))).unzip();
        let nans = (self.order == Order::Floats).then_some(self.nans as u64);
        ValueStatistics::new(min, max, None, Some(self.nulls as u64), false).with_nan_count(nans)
    }
}

fn int96(value: &[u8]) -> Int96 {
    let (words, _) = value.as_chunks::<4>();
    let word = |at: usize| u32::from_le_bytes(words[at]);
    let mut int96 = Int96::new();
    int96.set_data(word(0), word(1), word(2));
    int96
}

fn compress(codec: Codec, bytes: &[u8]) -> Result<Bytes> {
    Ok(match codec {
        Codec::None => Bytes::copy_from_slice(bytes),
        codec => codec.compress_page(bytes)?.into(),
    })
}

/// What the file says of its codec; a reader does not care about the level.
fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::UNCOMPRESSED,
        Codec::Gzip(_) => Compression::GZIP(GzipLevel::default()),
        Codec::Zstd(_) => Compression::ZSTD(ZstdLevel::default()),
    }
}
