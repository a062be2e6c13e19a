//! Writes objects as Firehose delivers them to S3: `YYYY/MM/dd/HH/<name>` in UTC, records joined
//! without a delimiter, rolled at 128 MiB.
//!
//! An object is written under a hidden name that ends in `.partial`, synced, and renamed: a name
//! that can be seen is a complete object. Its records are acknowledged then and not before.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::entry::append_entry;
use super::limits::{Api, RequestLimits};
use super::{Sink, SinkError};
use crate::record::{Delivered, Receipt, Record};

/// Firehose's largest buffer, and so its largest object. Source: Firehose buffering hints.
pub const OBJECT_SIZE: u64 = 128 << 20;

/// What an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFormat {
    /// The records' data, joined.
    Data,
    /// One PutRecords entry a line, since an aggregate has no end of its own.
    PutRecordsEntries,
}

impl ObjectFormat {
    /// Bytes that the record takes in an object at most.
    fn len_of(self, record: &Record) -> u64 {
        /// The member names of an entry, an explicit hash key of 39 digits, and the newline.
        const AROUND_ENTRY: usize = 96;
        let len = match self {
            ObjectFormat::Data => record.data_len(),
            ObjectFormat::PutRecordsEntries => record.data_len().div_ceil(3) * 4 + record.key_len() + AROUND_ENTRY,
        };
        len as u64
    }
}

/// Writes objects below a folder.
pub struct Dir {
    folder: PathBuf,
    extension: String,
    format: ObjectFormat,
    limits: RequestLimits,
    open: Option<Object>,
    objects: u64,
    delivered: Delivered,
}

struct Object {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
    len: u64,
    receipts: Vec<Receipt>,
    published: bool,
    /// One entry at a time.
    entry: Vec<u8>,
}

impl Dir {
    /// Objects below `folder`, which is made, with that extension (`.tsv.gz`).
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn new(folder: impl Into<PathBuf>, extension: String, format: ObjectFormat) -> Result<Dir, SinkError> {
        let folder = folder.into();
        let api = match format {
            ObjectFormat::Data => Api::PutRecordBatch,
            ObjectFormat::PutRecordsEntries => Api::PutRecords,
        };
        // Said now rather than after the first gigabyte.
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        Ok(Dir {
            folder,
            extension,
            format,
            limits: RequestLimits::new(api),
            open: None,
            objects: 0,
            delivered: Delivered::default(),
        })
    }

    fn end_object(&mut self) -> Result<(), SinkError> {
        let Some(mut object) = self.open.take() else { return Ok(()) };
        object.publish().map_err(at(&object.path))?;
        object.receipts.drain(..).for_each(|receipt| self.delivered.settle(receipt));
        Ok(())
    }
}

impl Sink for Dir {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.limits.begins_request(&record);
        let len = self.format.len_of(&record);
        if self.open.as_ref().is_some_and(|object| object.len + len > OBJECT_SIZE) {
            self.end_object()?;
        }
        let object = match &mut self.open {
            Some(object) => object,
            none => {
                self.objects += 1;
                let object = Object::create(&self.folder, self.objects, &self.extension);
                none.insert(object.map_err(at(&self.folder))?)
            }
        };
        object.write(&record, self.format).map_err(at(&object.partial))?;
        object.len += len;
        object.receipts.push(record.into_receipt());
        Ok(())
    }

    /// Hands buffered bytes to the file. The object stays open and its records unacknowledged: an
    /// object for every flush would be a file a second.
    fn flush(&mut self) -> Result<(), SinkError> {
        match &mut self.open {
            Some(object) => object.file.flush().map_err(at(&object.partial)),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.end_object()
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    fn requests(&self) -> u64 {
        self.limits.requests()
    }
}

impl Object {
    /// The name has the form of Firehose's own: stream, version, time, and something random.
    fn create(folder: &Path, number: u64, extension: &str) -> io::Result<Object> {
        let now = Timestamp::now();
        let folder = folder.join(now.strftime("%Y/%m/%d/%H").to_string());
        fs::create_dir_all(&folder)?;
        let time = now.strftime("%Y-%m-%d-%H-%M-%S");
        let name = format!("pixel-engine-1-{time}-{number:06}-{:016x}{extension}", fastrand::u64(..));
        let partial = folder.join(format!(".{name}.partial"));
        let file = BufWriter::with_capacity(256 << 10, File::create_new(&partial)?);
        Ok(Object {
            file,
            partial,
            path: folder.join(name),
            len: 0,
            receipts: Vec::new(),
            published: false,
            entry: Vec::new(),
        })
    }

    fn write(&mut self, record: &Record, format: ObjectFormat) -> io::Result<()> {
        match format {
            ObjectFormat::Data => {
                for chunk in record.chunks() {
                    self.file.write_all(chunk)?;
                }
            }
            ObjectFormat::PutRecordsEntries => {
                self.entry.clear();
                append_entry(&mut self.entry, record);
                self.entry.push(b'\n');
                self.file.write_all(&self.entry)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        self.published = true;
        // The rename itself is safe only once the folder is.
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Object {
    /// An object that could not be published leaves nothing behind; its records were never
    /// acknowledged.
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SinkError + use<> {
    let target = path.display().to_string();
    |error| SinkError::io(target, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::Acknowledgements;

    fn record(bytes: Vec<u8>, all: &Acknowledgements, number: u64) -> Record {
        Record::from_bytes(bytes, 1, None, vec![all.token(0, number..number + 1)])
    }

    /// Every file below the folder, by name, hidden ones too.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
            .collect();
        files.sort();
        files
    }

    fn is_partial(path: &Path) -> bool {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with('.') && name.ends_with(".partial")
    }

    #[test]
    fn an_object_has_its_name_and_counts_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut dir = Dir::new(folder.path().join("new/out"), ".tsv".to_owned(), ObjectFormat::Data).unwrap();
        dir.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        dir.ship(record(b"two\n".to_vec(), &all, 1)).unwrap();
        assert!(files(folder.path()).iter().all(|path| is_partial(path)));
        assert_eq!((dir.delivered().records, all.position(0).offset), (0, 0));
        dir.close().unwrap();
        let [object] = &files(folder.path())[..] else { panic!("one object") };
        assert!(object.to_string_lossy().ends_with(".tsv"));
        assert_eq!(fs::read(object).unwrap(), b"one\ntwo\n");
        assert_eq!((dir.delivered().records, dir.delivered().payload_bytes, all.position(0).offset), (2, 8, 2));
        dir.close().unwrap();
        assert_eq!(files(folder.path()).len(), 1, "no empty object");
    }

    #[test]
    fn a_flush_writes_what_is_buffered_and_ends_no_object() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut dir = Dir::new(folder.path(), ".tsv".to_owned(), ObjectFormat::Data).unwrap();
        dir.flush().unwrap();
        dir.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        dir.flush().unwrap();
        let [partial] = &files(folder.path())[..] else { panic!("one object") };
        assert!(is_partial(partial));
        assert_eq!((fs::read(partial).unwrap(), dir.delivered().records), (b"one\n".to_vec(), 0));
        dir.ship(record(b"two\n".to_vec(), &all, 1)).unwrap();
        dir.close().unwrap();
        let [object] = &files(folder.path())[..] else { panic!("one object") };
        assert_eq!((fs::read(object).unwrap(), dir.delivered().records), (b"one\ntwo\n".to_vec(), 2));
    }

    #[test]
    fn an_object_that_was_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut dir = Dir::new(folder.path(), ".tsv".to_owned(), ObjectFormat::Data).unwrap();
        dir.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        drop(dir);
        assert!(files(folder.path()).is_empty());
        assert_eq!(all.position(0).offset, 0);
    }

    #[test]
    fn a_first_record_that_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut dir = Dir::new(folder.path(), ".tsv".to_owned(), ObjectFormat::Data).unwrap();
        dir.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        let object = dir.open.as_mut().unwrap();
        // As on a full disk: a file that takes nothing, and a record larger than the buffer before
        // it.
        object.file = BufWriter::with_capacity(1, File::open(&object.partial).unwrap());
        object.receipts.drain(..).for_each(drop);
        let error = dir.ship(record(b"two\n".to_vec(), &all, 1)).unwrap_err();
        assert!(error.to_string().contains(".partial"), "{error}");
        drop(dir);
        assert!(files(folder.path()).is_empty());
        assert_eq!(all.position(0).offset, 0);
    }

    #[test]
    fn an_object_that_cannot_be_renamed_leaves_nothing_and_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut dir = Dir::new(folder.path(), ".tsv".to_owned(), ObjectFormat::Data).unwrap();
        dir.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        // A folder stands where the object would go.
        let object = dir.open.as_ref().unwrap();
        fs::create_dir(&object.path).unwrap();
        dir.close().unwrap_err();
        assert!(files(folder.path()).is_empty());
        assert_eq!((dir.delivered().records, all.position(0).offset), (0, 0));
    }

    #[test]
    fn objects_roll_before_they_exceed_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        for format in [ObjectFormat::Data, ObjectFormat::PutRecordsEntries] {
            let out = folder.path().join(format!("{format:?}"));
            let mut dir = Dir::new(&out, ".x".to_owned(), format).unwrap();
            for number in 0..20 {
                dir.ship(record(vec![b'x'; 10_200_000], &all, number)).unwrap();
            }
            dir.close().unwrap();
            let sizes: Vec<u64> = files(&out).iter().map(|path| path.metadata().unwrap().len()).collect();
            assert!(sizes.len() >= 2, "{sizes:?}");
            assert!(sizes.iter().all(|&size| size <= OBJECT_SIZE), "{format:?}: {sizes:?}");
            assert_eq!(dir.delivered().records, 20);
            fs::remove_dir_all(out).unwrap();
        }
    }
}
