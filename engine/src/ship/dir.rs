//! Writes objects as Firehose delivers them to S3: `YYYY/MM/dd/HH/<name>` in UTC, records joined without a
//! delimiter, rolled at 128 MiB.
//!
//! An object is written under a hidden name that ends in `.partial`, synced, and renamed: a name that can be
//! seen is a complete object. Its records are acknowledged then and not before.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::limits::{Api, RequestLimits};
use super::requests::write_entry;
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
    /// The most bytes that the record takes in an object.
    fn length_of(self, record: &Record) -> u64 {
        /// The member names of an entry, an explicit hash key of 39 digits, and the newline.
        const AROUND_ENTRY: usize = 96;
        let length = match self {
            ObjectFormat::Data => record.length(),
            ObjectFormat::PutRecordsEntries => record.length().div_ceil(3) * 4 + record.key_length() + AROUND_ENTRY,
        };
        length as u64
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
    length: u64,
    receipts: Vec<Receipt>,
    published: bool,
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

    fn close(&mut self) -> Result<(), SinkError> {
        let Some(mut object) = self.open.take() else { return Ok(()) };
        object.publish().map_err(at(&object.path))?;
        object.receipts.drain(..).for_each(|receipt| self.delivered.settle(receipt));
        Ok(())
    }
}

impl Sink for Dir {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.limits.begins_request(&record);
        let length = self.format.length_of(&record);
        if self.open.as_ref().is_some_and(|object| object.length + length > OBJECT_SIZE) {
            self.close()?;
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
        object.length += length;
        object.receipts.push(record.into_receipt());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.close()
    }

    fn delivered(&self) -> &Delivered {
        &self.delivered
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
        Ok(Object { file, partial, path: folder.join(name), length: 0, receipts: Vec::new(), published: false })
    }

    fn write(&mut self, record: &Record, format: ObjectFormat) -> io::Result<()> {
        match format {
            ObjectFormat::Data => {
                for chunk in record.chunks() {
                    self.file.write_all(chunk)?;
                }
            }
            ObjectFormat::PutRecordsEntries => {
                write_entry(&mut self.file, record)?;
                self.file.write_all(b"\n")?;
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
    /// An object that could not be published leaves nothing behind; its records were never acknowledged.
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SinkError + use<> {
    let target = path.display().to_string();
    |error| SinkError { target, error }
}
