//! Rows of every kind, written to files and read back with the `parquet` crate's own reader.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{AsBytes, ByteArray, DataType};
use parquet::file::metadata::page_index::PageIndexProvider;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use pixel_engine_core::compress::Codec;
use pixel_engine_core::record::Record;
use pixel_engine_core::sink::publish::Publisher;
use pixel_engine_core::sink::store::{Object, Store};
use pixel_engine_core::sink::{Sink, SinkError};
use pixel_engine_lake::{Options, Parquet};
use pixel_engine_log::schema::{LogKind, Schema};
use pixel_engine_log::table::{ColumnType, Table};
use proptest::prelude::*;

/// Objects in memory, in the order in which they were published.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<(String, Bytes)>>>);

struct InMemory {
    store: Memory,
    name: String,
    bytes: Vec<u8>,
}

impl Store for Memory {
    fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError> {
        Ok(Box::new(InMemory { store: self.clone(), name: name.to_owned(), bytes: Vec::new() }))
    }

    fn was_published(&self, name: &str, _: &str) -> Result<bool, SinkError> {
        Ok(self.0.lock().expect("no test panics with it").iter().any(|(published, _)| published == name))
    }

    fn target(&self) -> String {
        "memory".to_owned()
    }
}

impl Write for InMemory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Object for InMemory {
    fn target(&self) -> String {
        self.name.clone()
    }

    fn make_ready(&mut self) -> Result<String, SinkError> {
        Ok(String::new())
    }

    fn publish(self: Box<Self>) -> Result<(), SinkError> {
        self.store.0.lock().expect("no test panics with it").push((self.name, self.bytes.into()));
        Ok(())
    }
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Integer(i64),
    Decimal(f64),
    Text(String),
    Map(Vec<(String, String)>),
}

type Line = Vec<Option<Value>>;

/// How the values of a column are drawn.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// So many in 8 are absent.
    absent: u64,
    /// How many different ones there are.
    different: u64,
    /// Characters of a text, and pairs of a map.
    len: usize,
    /// Each comes so often before the next.
    run: u64,
}

fn style() -> impl Strategy<Value = Style> {
    let absent = prop_oneof![Just(0_u64), 0..=8_u64];
    let different = prop_oneof![Just(1_u64), 2..40_u64, Just(u64::MAX)];
    let len = prop_oneof![Just(0_usize), 1..12_usize, 58..70_usize, 200..400_usize];
    (absent, different, len, prop_oneof![Just(1_u64), 1..40_u64]).prop_map(|(absent, different, len, run)| Style {
        absent,
        different,
        len,
        run,
    })
}

/// Something like chance, the same for the same number.
fn mixed(number: u64) -> u64 {
    let mixed = (number.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) ^ mixed >> 32
}

/// Of one to four bytes, the first and the last of each among them.
const CHARACTERS: [char; 12] =
    ['a', 'b', '\0', '\x7f', '\u{80}', 'é', '\u{7ff}', '\u{d7ff}', '\u{e000}', '\u{ffff}', '\u{10000}', '\u{10ffff}'];

impl Style {
    fn value(self, column_type: ColumnType, row: u64, seed: u64) -> Option<Value> {
        let chance = mixed(seed ^ mixed(row / self.run));
        if chance % 8 < self.absent {
            return None;
        }
        let which = mixed(seed) ^ ((chance >> 3) % self.different);
        Some(match column_type {
            ColumnType::Timestamp => Value::Integer((which % 86_400_000) as i64),
            ColumnType::Integer => Value::Integer(which as i64),
            ColumnType::Decimal => Value::Decimal((which as i32) as f64 / 1_000.0),
            ColumnType::Text => Value::Text(self.text(which)),
            ColumnType::Map => {
                let count = if self.len == 0 { 0 } else { which as usize % (self.len % 13 + 1) };
                let pair = |at: usize| (format!("{at}{}", which % 7), self.text(mixed(which ^ at as u64)));
                Value::Map((0..count).map(pair).collect())
            }
        })
    }

    /// Texts that differ late as often as early.
    fn text(self, which: u64) -> String {
        let same = CHARACTERS[which as usize % 3 * 5];
        let tail = (0..4).map(|at| CHARACTERS[(mixed(which) >> (8 * at)) as usize % CHARACTERS.len()]);
        std::iter::repeat_n(same, self.len).chain(tail).collect()
    }
}

/// The row's bytes, as `encode::row` documents them.
fn encoded(line: &Line) -> Vec<u8> {
    let (mut ends, mut values) = (Vec::new(), Vec::new());
    for value in line {
        match value {
            None => {}
            Some(Value::Integer(number)) => values.extend(number.to_le_bytes()),
            Some(Value::Decimal(number)) => values.extend(number.to_le_bytes()),
            Some(Value::Text(text)) => values.extend(text.as_bytes()),
            Some(Value::Map(pairs)) => {
                for (name, text) in pairs {
                    values.extend((name.len() as u32).to_le_bytes());
                    values.extend((text.len() as u32).to_le_bytes());
                    values.extend(name.as_bytes());
                    values.extend(text.as_bytes());
                }
            }
        }
        let absent = if value.is_none() { 1 << 31 } else { 0 };
        ends.extend((values.len() as u32 | absent).to_le_bytes());
    }
    let len = (ends.len() + values.len()) as u32;
    [&len.to_le_bytes()[..], &ends, &values].concat()
}

fn table() -> Table {
    let fields = "timestamp sc-status time-taken cs-uri-stem x-edge-request-id c-ip";
    let schema = Schema::parse(LogKind::RealTime, fields).expect("known fields");
    Table::of_log([&schema], &["query.uid".parse().expect("known fields")])
}

/// The name of the folder of a row's hour, on the first day of 1970.
fn folder(line: &Line) -> String {
    match line[0] {
        Some(Value::Integer(millis)) => format!("dt=1970-01-01/hour={:02}", millis / 3_600_000),
        _ => "dt=__HIVE_DEFAULT_PARTITION__/hour=__HIVE_DEFAULT_PARTITION__".to_owned(),
    }
}

/// Values of a leaf in a row group, with their levels.
struct Leaf<T> {
    values: Vec<T>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

fn read<D: DataType>(mut reader: ColumnReaderImpl<D>, rows: usize) -> Leaf<D::T> {
    let mut leaf = Leaf { values: Vec::new(), definitions: Vec::new(), repetitions: Vec::new() };
    let Leaf { values, definitions, repetitions } = &mut leaf;
    let mut done = 0;
    while done < rows {
        let (records, ..) =
            reader.read_records(rows - done, Some(definitions), Some(repetitions), values).expect("pages");
        assert!(records > 0, "{done} of {rows} rows");
        done += records;
    }
    let rest = reader
        .read_records(1, Some(&mut Vec::new()), Some(&mut Vec::new()), &mut Vec::new())
        .expect("pages can be read");
    assert_eq!(rest.0, 0, "more than {rows} rows");
    leaf
}

/// What is at each place of a leaf, by row.
fn by_row<T: Clone>(leaf: &Leaf<T>, max_definition: i16) -> Vec<Vec<(i16, Option<T>)>> {
    let mut values = leaf.values.iter().cloned();
    let mut rows: Vec<Vec<(i16, Option<T>)>> = Vec::new();
    for (at, &definition) in leaf.definitions.iter().enumerate() {
        if leaf.repetitions.get(at).is_none_or(|&level| level == 0) {
            rows.push(Vec::new());
        }
        let value = (definition == max_definition).then(|| values.next().expect("a value for each level"));
        rows.last_mut().expect("a row begins with level 0").push((definition, value));
    }
    assert!(values.next().is_none());
    rows
}

/// Holds each page's bounds and nulls against what is in it.
fn check_pages<T: Clone + PartialOrd + std::fmt::Debug>(
    rows: &[Vec<(i16, Option<T>)>],
    starts: &[i64],
    nulls: impl Fn(usize) -> (bool, Option<i64>),
    holds: impl Fn(usize, &T, &T) -> bool,
) {
    for page in 0..starts.len() {
        let end = starts.get(page + 1).map_or(rows.len(), |&start| start as usize);
        let places = rows[starts[page] as usize..end].iter().flatten();
        let (present, absent): (Vec<_>, Vec<_>) = places.partition(|(_, value)| value.is_some());
        let mut present: Vec<&T> = present.into_iter().filter_map(|(_, value)| value.as_ref()).collect();
        assert_eq!(nulls(page), (present.is_empty(), Some(absent.len() as i64)));
        present.sort_by(|one, other| one.partial_cmp(other).expect("no NaN"));
        if let (Some(min), Some(max)) = (present.first(), present.last()) {
            assert!(holds(page, min, max), "page {page}: {min:?} to {max:?}");
        }
    }
}

fn check_filter<'a>(filter: Option<&Sbbf>, values: impl IntoIterator<Item = &'a ByteArray>) {
    for value in values {
        assert!(filter.is_none_or(|filter| filter.check(value.as_bytes())), "{value:?} is not in the filter");
    }
}

/// Whether bounds are those of the values, cut where they are long.
fn are_bounds(min: &[u8], max: &[u8], least: &[u8], most: &[u8]) -> bool {
    let min_is_right = if least.len() <= 64 { min == least } else { least.starts_with(min) && min.len() > 60 };
    let max_is_right = if most.len() <= 64 { max == most } else { max >= most && max.len() <= most.len() };
    min_is_right && max_is_right && std::str::from_utf8(min).is_ok() && std::str::from_utf8(max).is_ok()
}

/// The rows of a row group, with everything that is said of them.
fn rows_of(group: &dyn RowGroupReader, index: usize, pages: &dyn PageIndexProvider, table: &Table) -> Vec<Line> {
    let count = group.metadata().num_rows() as usize;
    let mut lines = vec![Line::new(); count];
    let mut leaf = 0;
    let text = |leaf: usize, max: i16| {
        let ColumnReader::ByteArrayColumnReader(reader) = group.get_column_reader(leaf).expect("the column is there")
        else {
            panic!()
        };
        let found = read(reader, count);
        check_filter(group.get_column_bloom_filter(leaf), &found.values);
        let rows = by_row(&found, max);
        let Some(ColumnIndexMetaData::BYTE_ARRAY(bounds)) = pages.column_index(index, leaf) else { panic!() };
        let starts = starts(pages, index, leaf);
        check_pages(
            &rows,
            &starts,
            |page| (bounds.is_null_page(page), bounds.null_count(page)),
            |page, least, most| {
                let (min, max) = (
                    bounds.min_value(page).expect("a page with values has bounds"),
                    bounds.max_value(page).expect("a page with values has bounds"),
                );
                are_bounds(min, max, least.as_bytes(), most.as_bytes())
            },
        );
        let statistics = group.metadata().column(leaf).statistics().expect("statistics");
        let least = found.values.iter().map(|value| value.as_bytes()).min();
        let most = found.values.iter().map(|value| value.as_bytes()).max();
        match (least, most) {
            (Some(least), Some(most)) => {
                let (min, max) = (
                    statistics.min_bytes_opt().expect("a page with values has bounds"),
                    statistics.max_bytes_opt().expect("a page with values has bounds"),
                );
                assert!(are_bounds(min, max, least, most));
            }
            _ => assert_eq!(statistics.min_bytes_opt(), None),
        }
        assert_eq!(statistics.null_count_opt(), Some((found.definitions.len() - found.values.len()) as u64));
        rows
    };
    let string = |value: ByteArray| String::from_utf8(value.data().to_vec()).expect("text is UTF-8");
    for column in table.columns() {
        match column.column_type() {
            ColumnType::Text => {
                for (line, mut places) in lines.iter_mut().zip(text(leaf, 1)) {
                    line.push(places.remove(0).1.map(|value| Value::Text(string(value))));
                }
            }
            ColumnType::Map => {
                let (names, texts) = (text(leaf, 2), text(leaf + 1, 3));
                leaf += 1;
                for ((line, names), texts) in lines.iter_mut().zip(names).zip(texts) {
                    let value = match (names[0].0, texts[0].0) {
                        (0, 0) => None,
                        (1, 1) => Some(Vec::new()),
                        (2, 3) => {
                            let pairs = names.into_iter().zip(texts);
                            Some(
                                pairs
                                    .map(|(name, text)| {
                                        (
                                            string(name.1.expect("a pair has both")),
                                            string(text.1.expect("a pair has both")),
                                        )
                                    })
                                    .collect(),
                            )
                        }
                        levels => panic!("{levels:?}"),
                    };
                    line.push(value.map(Value::Map));
                }
            }
            ColumnType::Timestamp | ColumnType::Integer => {
                let ColumnReader::Int64ColumnReader(reader) =
                    group.get_column_reader(leaf).expect("the column is there")
                else {
                    panic!()
                };
                let rows = by_row(&read(reader, count), 1);
                let Some(ColumnIndexMetaData::INT64(bounds)) = pages.column_index(index, leaf) else { panic!() };
                check_pages(
                    &rows,
                    &starts(pages, index, leaf),
                    |page| (bounds.is_null_page(page), bounds.null_count(page)),
                    |page, least, most| bounds.min_value(page) == Some(least) && bounds.max_value(page) == Some(most),
                );
                for (line, mut places) in lines.iter_mut().zip(rows) {
                    line.push(places.remove(0).1.map(Value::Integer));
                }
            }
            ColumnType::Decimal => {
                let ColumnReader::DoubleColumnReader(reader) =
                    group.get_column_reader(leaf).expect("the column is there")
                else {
                    panic!()
                };
                let rows = by_row(&read(reader, count), 1);
                let Some(ColumnIndexMetaData::DOUBLE(bounds)) = pages.column_index(index, leaf) else { panic!() };
                check_pages(
                    &rows,
                    &starts(pages, index, leaf),
                    |page| (bounds.is_null_page(page), bounds.null_count(page)),
                    |page, least, most| bounds.min_value(page) == Some(least) && bounds.max_value(page) == Some(most),
                );
                for (line, mut places) in lines.iter_mut().zip(rows) {
                    line.push(places.remove(0).1.map(Value::Decimal));
                }
            }
        }
        leaf += 1;
    }
    lines
}

fn starts(pages: &dyn PageIndexProvider, group: usize, leaf: usize) -> Vec<i64> {
    let index = pages.offset_index(group, leaf).expect("an offset index");
    index.page_locations().iter().map(|page| page.first_row_index).collect()
}

/// Writes the lines and holds what is read back against them: in each folder, in order.
fn survive(lines: &[Line], options: Options, flush_every: usize, per_record: usize) {
    let (store, table) = (Memory::default(), table());
    let mut sink =
        Parquet::new(Publisher::new(Arc::new(store.clone()), None).expect("a sink in memory"), &table, options)
            .expect("a sink in memory");
    for (number, chunk) in lines.chunks(per_record).enumerate() {
        // A record of several folders is shared out by its lines, which these bytes are not.
        for rows in chunk.chunk_by(|one, next| folder(one) == folder(next)) {
            let bytes = rows.iter().flat_map(encoded).collect();
            sink.ship(Record::from_bytes(bytes, rows.len(), None, Vec::new())).expect("memory takes everything");
        }
        if number % flush_every == flush_every - 1 {
            sink.flush().expect("memory takes everything");
        }
    }
    sink.close().expect("memory takes everything");
    assert_eq!(sink.delivered().lines, lines.len() as u64);
    let mut expected: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in lines {
        expected.entry(folder(line)).or_default().push(line.clone());
    }
    let mut found: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    let objects = store.0.lock().expect("no test panics with it");
    assert_eq!(sink.files().expect("it writes files").files, objects.len() as u64);
    assert_eq!(
        sink.files().expect("it writes files").bytes,
        objects.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>()
    );
    for (name, bytes) in objects.iter() {
        let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
        let options = ReadOptionsBuilder::new().with_page_index().with_reader_properties(properties).build();
        let reader = SerializedFileReader::new_with_options(bytes.clone(), options).expect("a whole file");
        let pages = reader.metadata().page_index().expect("a page index");
        let rows = found.entry(name.rsplit_once('/').expect("files are in folders").0.to_owned()).or_default();
        for index in 0..reader.num_row_groups() {
            rows.extend(rows_of(&*reader.get_row_group(index).expect("a whole file"), index, &**pages, &table));
        }
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (folder, lines) in expected {
        let first = lines.iter().zip(&found[&folder]).position(|(one, other)| one != other);
        assert!(first.is_none() && lines.len() == found[&folder].len(), "{folder}: row {first:?} differs");
    }
}

fn lines_of(styles: &[Style], count: u64, seed: u64) -> Vec<Line> {
    let table = table();
    let columns = || table.columns().iter().zip(styles).enumerate();
    let line = |row| {
        columns().map(|(at, (column, style))| style.value(column.column_type(), row, mixed(seed ^ at as u64))).collect()
    };
    (0..count).map(line).collect()
}

fn options() -> impl Strategy<Value = Options> {
    let sizes = prop_oneof![Just(u64::MAX), 1..100_000_u64];
    (sizes, 1..4_usize, prop_oneof![Just(usize::MAX), Just(1 << 22)]).prop_map(|(file_size, open_files, memory)| {
        let open_files = NonZeroUsize::new(open_files).expect("one at least");
        Options { codec: Codec::None, file_size, open_files, memory, threads: 2, ..Options::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn rows_survive(
        styles in prop::collection::vec(style(), 9),
        count in prop_oneof![8 => 0..300_u64, 1 => 3_000..6_000_u64],
        seed in any::<u64>(),
        options in options(),
        flush_every in 1..20_usize,
        per_record in 1..60_usize,
    ) {
        survive(&lines_of(&styles, count, seed), options, flush_every, per_record);
    }
}

/// A style that every column has but one.
fn styles(column: usize, style: Style) -> Vec<Style> {
    let mut styles = vec![Style { absent: 0, different: 3, len: 1, run: 1 }; 9];
    styles[0] = Style { absent: 0, different: 1, len: 0, run: 1 };
    styles[column] = style;
    styles
}

#[test]
fn pages_of_many_rows_are_cut_and_a_full_dictionary_gives_way() {
    let options = || Options { codec: Codec::None, ..Options::default() };
    // Values come twice each, so that a dictionary pays until it is full.
    let often = Style { absent: 1, different: u64::MAX, len: 60, run: 8 };
    for column in [3, 6] {
        survive(&lines_of(&styles(column, often), 90_000, 5), options(), usize::MAX, 1_000);
    }
    // No value for pages, and then some.
    let mut lines = lines_of(&styles(3, often), 50_000, 5);
    lines[..45_000].iter_mut().for_each(|line| line[3] = None);
    survive(&lines, options(), usize::MAX, 1_000);
}
