//! Writes objects as Firehose delivers them to S3: `YYYY/MM/dd/HH/<name>` in UTC, records joined
//! without a delimiter, rolled at 128 MiB.
//!
//! An object is also complete when it has been open for the buffering interval, so that no record
//! waits longer than that for its acknowledgement. The records of an object are acknowledged when it
//! is published and not before.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::entry::append_entry;
use super::limits::{Api, RequestLimits};
use super::publish::Publisher;
use super::statistics::Shipping;
use super::store::{Object, object_name};
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

/// Rolls records into objects of a store.
pub struct Objects {
    publisher: Publisher,
    extension: String,
    format: ObjectFormat,
    /// How long an object may be open.
    interval: Duration,
    limits: RequestLimits,
    open: Option<Open>,
    /// Objects that were begun.
    begun: u64,
    delivered: Delivered,
}

/// The object that is being written.
struct Open {
    name: String,
    object: Box<dyn Object>,
    /// When it is to be complete.
    due: Instant,
    len: u64,
    receipts: Vec<Receipt>,
    /// One entry at a time.
    entry: Vec<u8>,
}

impl Objects {
    /// Objects of that publisher, with that extension (`.tsv.gz`), each open for no longer than the
    /// interval.
    pub fn new(publisher: Publisher, extension: String, format: ObjectFormat, interval: Duration) -> Objects {
        let api = match format {
            ObjectFormat::Data => Api::PutRecordBatch,
            ObjectFormat::PutRecordsEntries => Api::PutRecords,
        };
        Objects {
            publisher,
            extension,
            format,
            interval,
            limits: RequestLimits::new(api),
            open: None,
            begun: 0,
            delivered: Delivered::default(),
        }
    }

    fn begin_object(&mut self) -> Result<Open, SinkError> {
        self.begun += 1;
        let now = Timestamp::now();
        let name = object_name(now, self.begun, &self.extension);
        let name = format!("{}/{name}", now.strftime("%Y/%m/%d/%H"));
        let object = self.publisher.create(&name)?;
        Ok(Open { name, object, due: Instant::now() + self.interval, len: 0, receipts: Vec::new(), entry: Vec::new() })
    }

    fn end_object(&mut self) -> Result<(), SinkError> {
        let Some(Open { name, object, receipts, .. }) = self.open.take() else { return Ok(()) };
        self.publisher.publish(&name, object, receipts, |receipt| self.delivered.settle(receipt))
    }
}

impl Sink for Objects {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.limits.begins_request(&record);
        let len = self.format.len_of(&record);
        if self.open.as_ref().is_some_and(|open| open.len + len > OBJECT_SIZE || open.is_due()) {
            self.end_object()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin_object()?,
        };
        open.write(&record, self.format).map_err(|error| SinkError::io(open.object.target(), error))?;
        open.len += len;
        open.receipts.push(record.into_receipt());
        self.open = Some(open);
        Ok(())
    }

    /// Hands buffered bytes to the store. An object that is not due stays open and its records
    /// unacknowledged: an object for every flush would be a file a second.
    fn flush(&mut self) -> Result<(), SinkError> {
        match &mut self.open {
            Some(open) if open.is_due() => self.end_object(),
            Some(open) => open.object.flush().map_err(|error| SinkError::io(open.object.target(), error)),
            None => Ok(()),
        }
    }

    fn flush_due(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.due)
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.end_object()
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    /// Those of the store, or where it makes none, as many as a stream would have taken.
    fn requests(&self) -> u64 {
        self.shipping().map_or(self.limits.requests(), |shipping| shipping.requests)
    }

    fn shipping(&self) -> Option<Shipping> {
        self.publisher.shipping()
    }
}

impl Open {
    fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }

    fn write(&mut self, record: &Record, format: ObjectFormat) -> io::Result<()> {
        match format {
            ObjectFormat::Data => record.chunks().try_for_each(|chunk| self.object.write_all(chunk)),
            ObjectFormat::PutRecordsEntries => {
                self.entry.clear();
                append_entry(&mut self.entry, record);
                self.entry.push(b'\n');
                self.object.write_all(&self.entry)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::*;
    use crate::ack::Acknowledgements;
    use crate::sink::folder::Folder;
    use crate::sink::store::Store;

    fn of_store(store: impl Store + 'static, extension: &str, format: ObjectFormat) -> Objects {
        let publisher = Publisher::new(Arc::new(store), None).unwrap();
        Objects::new(publisher, extension.to_owned(), format, Duration::from_secs(300))
    }

    /// Objects below that folder.
    fn objects(folder: impl Into<PathBuf>, extension: &str, format: ObjectFormat) -> Objects {
        of_store(Folder::new(folder).unwrap(), extension, format)
    }

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
        let mut sink = objects(folder.path().join("new/out"), ".tsv", ObjectFormat::Data);
        sink.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        sink.ship(record(b"two\n".to_vec(), &all, 1)).unwrap();
        assert!(files(folder.path()).iter().all(|path| is_partial(path)));
        assert_eq!((sink.delivered().records, all.position(0).offset), (0, 0));
        sink.close().unwrap();
        let [object] = &files(folder.path())[..] else { panic!("one object") };
        assert!(object.to_string_lossy().ends_with(".tsv"));
        assert_eq!(fs::read(object).unwrap(), b"one\ntwo\n");
        assert_eq!((sink.delivered().records, sink.delivered().payload_bytes, all.position(0).offset), (2, 8, 2));
        sink.close().unwrap();
        assert_eq!(files(folder.path()).len(), 1, "no empty object");
    }

    #[test]
    fn a_flush_writes_what_is_buffered_and_ends_no_object() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut sink = objects(folder.path(), ".tsv", ObjectFormat::Data);
        sink.flush().unwrap();
        sink.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        sink.flush().unwrap();
        let [partial] = &files(folder.path())[..] else { panic!("one object") };
        assert!(is_partial(partial));
        assert_eq!((fs::read(partial).unwrap(), sink.delivered().records), (b"one\n".to_vec(), 0));
        sink.ship(record(b"two\n".to_vec(), &all, 1)).unwrap();
        sink.close().unwrap();
        let [object] = &files(folder.path())[..] else { panic!("one object") };
        assert_eq!((fs::read(object).unwrap(), sink.delivered().records), (b"one\ntwo\n".to_vec(), 2));
    }

    #[test]
    fn an_object_is_complete_when_it_has_been_open_for_the_interval() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut sink = objects(folder.path(), ".tsv", ObjectFormat::Data);
        sink.interval = Duration::from_millis(20);
        assert_eq!(sink.flush_due(), None);
        for number in 0..2 {
            sink.ship(record(b"one\n".to_vec(), &all, number)).unwrap();
            let due = sink.flush_due().expect("an open object has its time");
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // Nothing comes, and then something.
            if number == 0 {
                sink.flush().unwrap();
                assert_eq!((sink.flush_due(), sink.delivered().records), (None, 1));
            }
        }
        sink.ship(record(b"two\n".to_vec(), &all, 2)).unwrap();
        assert_eq!((sink.delivered().records, all.position(0).offset), (2, 2));
        sink.close().unwrap();
        assert_eq!((files(folder.path()).len(), sink.delivered().records), (3, 3));
    }

    #[test]
    fn an_object_that_was_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut sink = objects(folder.path(), ".tsv", ObjectFormat::Data);
        sink.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        drop(sink);
        assert!(files(folder.path()).is_empty());
        assert_eq!(all.position(0).offset, 0);
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_nothing() {
        /// Takes this many bytes more.
        struct Full(usize);

        impl Store for Full {
            fn create(&self, _: &str) -> Result<Box<dyn Object>, SinkError> {
                Ok(Box::new(Full(self.0)))
            }

            fn was_published(&self, _: &str, _: &str) -> Result<bool, SinkError> {
                Ok(false)
            }

            fn target(&self) -> String {
                "a full one".to_owned()
            }
        }

        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl Object for Full {
            fn target(&self) -> String {
                "a full one".to_owned()
            }

            fn make_ready(&mut self) -> Result<String, SinkError> {
                Ok(String::new())
            }

            fn publish(self: Box<Self>) -> Result<(), SinkError> {
                panic!("not all of it was written")
            }
        }

        let all = Acknowledgements::default();
        let mut sink = of_store(Full(4), ".tsv", ObjectFormat::Data);
        sink.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        let error = sink.ship(record(b"two\n".to_vec(), &all, 1)).unwrap_err();
        assert!(error.to_string().starts_with("a full one: "), "{error}");
        sink.close().unwrap();
        assert_eq!((sink.delivered().records, all.position(0).offset), (0, 0));
    }

    #[test]
    fn an_object_that_cannot_be_published_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        let mut sink = objects(folder.path(), ".tsv", ObjectFormat::Data);
        sink.ship(record(b"one\n".to_vec(), &all, 0)).unwrap();
        let [partial] = &files(folder.path())[..] else { panic!("one object") };
        let name = partial.file_name().unwrap().to_str().unwrap();
        let name = name.strip_prefix('.').unwrap().strip_suffix(".partial").unwrap();
        // A folder stands where the object would go.
        fs::create_dir(partial.with_file_name(name)).unwrap();
        sink.close().unwrap_err();
        assert!(files(folder.path()).is_empty());
        assert_eq!((sink.delivered().records, all.position(0).offset), (0, 0));
    }

    #[test]
    fn objects_roll_before_they_exceed_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let all = Acknowledgements::default();
        for format in [ObjectFormat::Data, ObjectFormat::PutRecordsEntries] {
            let out = folder.path().join(format!("{format:?}"));
            let mut sink = objects(&out, ".x", format);
            for number in 0..20 {
                sink.ship(record(vec![b'x'; 10_200_000], &all, number)).unwrap();
            }
            sink.close().unwrap();
            let sizes: Vec<u64> = files(&out).iter().map(|path| path.metadata().unwrap().len()).collect();
            assert!(sizes.len() >= 2, "{sizes:?}");
            assert!(sizes.iter().all(|&size| size <= OBJECT_SIZE), "{format:?}: {sizes:?}");
            assert_eq!(sink.delivered().records, 20);
            fs::remove_dir_all(out).unwrap();
        }
    }
}
