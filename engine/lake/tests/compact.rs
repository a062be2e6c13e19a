//! A compaction that ends at any of its steps, and the next one.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pixel_engine_core::config::{Config, EncodingKind, Settings};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::folder::Folder;
use pixel_engine_core::sink::inventory::{Claim, Inventory, Item};
use pixel_engine_core::sink::store::{Object, Store};
use pixel_engine_core::source::Input;
use pixel_engine_lake::compact::{Compaction, Error, Options, Report};

const FILES: i64 = 5;
const ROWS: i64 = 20;

/// A folder whose process is gone after so many steps that change something: of the last one, only
/// half is done, where there are halves.
struct Mortal {
    folder: Folder,
    left: Arc<AtomicUsize>,
    /// New files read back as if they were cut.
    spoils_new: bool,
}

impl Mortal {
    fn step(left: &AtomicUsize) -> Result<(), SinkError> {
        let counted = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        counted.map(drop).map_err(|_| SinkError::io("a store", io::Error::other("gone")))
    }

    fn is_gone(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

struct MortalObject {
    object: Option<Box<dyn Object>>,
    left: Arc<AtomicUsize>,
}

impl Drop for MortalObject {
    fn drop(&mut self) {
        if self.left.load(Ordering::Relaxed) == 0 {
            // Nobody is there to tidy up.
            std::mem::forget(self.object.take());
        }
    }
}

impl MortalObject {
    fn object(&mut self) -> &mut Box<dyn Object> {
        self.object.as_mut().expect("it is there until it is published")
    }
}

impl Write for MortalObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.object().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.object().flush()
    }
}

impl Object for MortalObject {
    fn target(&self) -> String {
        self.object.as_ref().map(|object| object.target()).unwrap_or_default()
    }

    fn make_ready(&mut self) -> Result<String, SinkError> {
        Mortal::step(&self.left)?;
        self.object().make_ready()
    }

    fn publish(mut self: Box<Self>) -> Result<(), SinkError> {
        Mortal::step(&self.left)?;
        self.object.take().expect("it is published once").publish()?;
        Mortal::step(&self.left)
    }
}

impl Store for Mortal {
    fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError> {
        Mortal::step(&self.left)?;
        let object = Some(self.folder.create(name)?);
        Ok(Box::new(MortalObject { object, left: Arc::clone(&self.left) }))
    }

    fn was_published(&self, name: &str, ready: &str) -> Result<bool, SinkError> {
        Mortal::step(&self.left)?;
        self.folder.was_published(name, ready)
    }

    fn target(&self) -> String {
        self.folder.target()
    }
}

impl Inventory for Mortal {
    fn list(&self, folder: &str) -> Result<Vec<Item>, SinkError> {
        Mortal::step(&self.left)?;
        self.folder.list(folder)
    }

    fn read(&self, item: &Item, range: Range<u64>) -> Result<Bytes, SinkError> {
        let bytes = self.folder.read(item, range)?;
        let is_new = self.spoils_new && item.name.contains("pixel-engine-1-");
        Ok(if is_new { vec![0; bytes.len()].into() } else { bytes })
    }

    fn input(&self, item: &Item) -> Input {
        self.folder.input(item)
    }

    fn remove(&self, items: &[Item]) -> Result<(), SinkError> {
        for item in items {
            Mortal::step(&self.left)?;
            self.folder.remove(std::slice::from_ref(item))?;
        }
        Mortal::step(&self.left)
    }

    fn claim(&self, name: &str, content: &[u8]) -> Result<Option<Claim>, SinkError> {
        Mortal::step(&self.left)?;
        let claim = self.folder.claim(name, content)?;
        if self.is_gone() { Mortal::step(&self.left).map(|()| None) } else { Ok(claim) }
    }

    fn take_over(&self, item: &Item, content: &[u8], age: Duration) -> Result<Option<Claim>, SinkError> {
        Mortal::step(&self.left)?;
        self.folder.take_over(item, content, age)
    }

    fn holds(&self, claim: &Claim) -> Result<bool, SinkError> {
        self.folder.holds(claim)
    }

    fn release(&self, claim: Claim) -> Result<(), SinkError> {
        Mortal::step(&self.left)?;
        self.folder.release(claim)?;
        Mortal::step(&self.left)
    }
}

fn fill(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let schema = "message line { optional binary x_edge_request_id (STRING); required int64 n; }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    for file in 0..FILES {
        let out = File::create(folder.join(format!("{file}.parquet"))).expect("a file");
        let mut writer =
            SerializedFileWriter::new(out, Arc::clone(&schema), Arc::new(WriterProperties::builder().build()))
                .expect("a schema that can be written");
        let mut group = writer.next_row_group().expect("a row group");
        let numbers: Vec<i64> = (0..ROWS).map(|row| file * ROWS + row).collect();
        let ids: Vec<ByteArray> = numbers.iter().map(|number| ByteArray::from(&*format!("id-{number}"))).collect();
        let mut column = group.next_column().expect("a row group").expect("a column");
        column
            .typed::<ByteArrayType>()
            .write_batch(&ids, Some(&[1; ROWS as usize]), None)
            .expect("values of the column");
        column.close().expect("a column");
        let mut column = group.next_column().expect("a row group").expect("a column");
        column.typed::<Int64Type>().write_batch(&numbers, None, None).expect("values of the column");
        column.close().expect("a column");
        group.close().expect("a row group");
        writer.close().expect("a file");
    }
}

/// The numbers in all files that readers see, in order.
fn numbers(folder: &Path) -> Vec<i64> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a name").path();
        if path.file_name().and_then(|name| name.to_str()).expect("a name").starts_with(['.', '_']) {
            continue;
        }
        for row in SerializedFileReader::new(File::open(path).expect("a file"))
            .expect("Parquet")
            .get_row_iter(None)
            .expect("rows")
        {
            let row = row.expect("a row");
            let (_, number) = row.get_column_iter().nth(1).expect("two columns");
            numbers.push(number.to_string().parse().expect("a number"));
        }
    }
    numbers.sort_unstable();
    numbers
}

fn config(folder: &Path) -> Config {
    let to = Some(format!("dir:{}", folder.display()));
    Settings { encode: Some(EncodingKind::Parquet), to, threads: Some(2), ..Settings::default() }
        .validate()
        .expect("settings that go together")
}

fn compact(root: &Path, steps: usize, spoils_new: bool) -> Report {
    let store =
        Mortal { folder: Folder::new(root).expect("a folder"), left: Arc::new(AtomicUsize::new(steps)), spoils_new };
    let options = Options { older_than: Duration::ZERO, ..Options::default() };
    Compaction::new(Arc::new(store), &config(root), options).run()
}

#[test]
fn whatever_step_is_the_last_one_every_row_is_there_once_after_the_next() {
    let all: Vec<i64> = (0..FILES * ROWS).collect();
    let (mut undone, mut finished, mut steps) = (0, 0, 0);
    loop {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("dt=2026-01-05");
        fill(&folder);
        let report = compact(root.path(), steps, false);
        // Nothing is ever missing, and what is seen twice has its journal beside it.
        let seen = numbers(&folder);
        let mut once = seen.clone();
        once.dedup();
        assert_eq!(once, all, "after {steps} steps");
        assert!(seen.len() == once.len() || folder.join("_pixel-engine-compact.json").exists(), "after {steps} steps");
        if report.error.is_none() {
            break;
        }
        // The next one may be killed too.
        compact(root.path(), steps % 5, false);
        let report = compact(root.path(), usize::MAX, false);
        assert!(report.error.is_none() && report.left.is_empty(), "{report:?}");
        assert_eq!(numbers(&folder), all, "after {steps} steps");
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let visible = names.iter().filter(|name| !name.to_str().unwrap().starts_with('.')).count();
        assert_eq!(visible, 1, "after {steps} steps: {names:?}");
        if report.summary.folders_recovered > 0 {
            *(if report.summary.files_in == 0 { &mut finished } else { &mut undone }) += 1;
        }
        steps += 1;
    }
    assert!(undone >= 2 && finished >= 5 && steps >= 15, "{undone} {finished} {steps}");
}

#[test]
fn a_new_file_that_does_not_read_back_costs_no_old_one() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dt=2026-01-05");
    fill(&folder);
    let report = compact(root.path(), usize::MAX, true);
    assert!(matches!(report.error, Some(Error::Rows { .. })), "{report:?}");
    assert_eq!(numbers(&folder), (0..FILES * ROWS).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), FILES as usize);
    let summary = report.summary;
    assert_eq!((summary.files_found, summary.files_not_reached, summary.bytes_after), (5, 5, summary.bytes_before));
}

#[test]
fn files_that_change_while_they_are_read_stay() {
    /// Adds to a file once all were read.
    struct Growing(Mortal);

    impl Store for Growing {
        fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError> {
            self.0.create(name)
        }

        fn was_published(&self, name: &str, ready: &str) -> Result<bool, SinkError> {
            self.0.was_published(name, ready)
        }

        fn target(&self) -> String {
            self.0.target()
        }
    }

    impl Inventory for Growing {
        fn list(&self, folder: &str) -> Result<Vec<Item>, SinkError> {
            self.0.list(folder)
        }

        fn read(&self, item: &Item, range: Range<u64>) -> Result<Bytes, SinkError> {
            self.0.read(item, range)
        }

        fn input(&self, item: &Item) -> Input {
            self.0.input(item)
        }

        fn remove(&self, items: &[Item]) -> Result<(), SinkError> {
            self.0.remove(items)
        }

        fn claim(&self, name: &str, content: &[u8]) -> Result<Option<Claim>, SinkError> {
            let path = Path::new(&self.0.target()).join("dt=2026-01-05/3.parquet");
            std::fs::copy(path.with_file_name("2.parquet"), path).unwrap();
            self.0.claim(name, content)
        }

        fn take_over(&self, item: &Item, content: &[u8], age: Duration) -> Result<Option<Claim>, SinkError> {
            self.0.take_over(item, content, age)
        }

        fn holds(&self, claim: &Claim) -> Result<bool, SinkError> {
            self.0.holds(claim)
        }

        fn release(&self, claim: Claim) -> Result<(), SinkError> {
            self.0.release(claim)
        }
    }

    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dt=2026-01-05");
    fill(&folder);
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let store = Growing(Mortal { folder: Folder::new(root.path()).unwrap(), left, spoils_new: false });
    let options = Options { older_than: Duration::ZERO, ..Options::default() };
    let report = Compaction::new(Arc::new(store), &config(root.path()), options).run();
    assert!(report.error.is_none() && report.left.len() == 1, "{report:?}");
    assert_eq!(report.summary.files_left, FILES as u64);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), FILES as usize);
}
