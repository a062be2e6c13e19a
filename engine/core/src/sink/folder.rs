//! A folder as a place for objects: each is written under a hidden name that ends in `.partial`,
//! synced, and renamed, so that a name that can be seen is a complete object.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::SinkError;
use super::inventory::{Claim, Inventory, Item};
use super::store::{Object, Store};
use crate::durable;
use crate::source::Input;

/// What an object holds back of what is written, at most.
const BUFFER_SIZE: usize = 256 << 10;

/// A folder of objects.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at that path, which is made.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(path: impl Into<PathBuf>) -> Result<Folder, SinkError> {
        let path = path.into();
        // Said now rather than after the first gigabyte.
        fs::create_dir_all(&path).map_err(at(&path))?;
        // The same from wherever it is named.
        let path = fs::canonicalize(&path).map_err(at(&path))?;
        Ok(Folder { path })
    }
}

impl Store for Folder {
    fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError> {
        let object = Partial::create(self.path.join(name)).map_err(at(&self.path))?;
        Ok(Box::new(object))
    }

    fn was_published(&self, name: &str, _: &str) -> Result<bool, SinkError> {
        let path = self.path.join(name);
        if path.try_exists().map_err(at(&path))? {
            return Ok(true);
        }
        match fs::remove_file(durable::partial(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(false),
        }
    }

    fn target(&self) -> String {
        format!("{}/", self.path.display())
    }
}

impl Inventory for Folder {
    fn list(&self, folder: &str) -> Result<Vec<Item>, SinkError> {
        let mut items = Vec::new();
        let mut folders = vec![self.path.join(folder)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(at(&folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(at(&folder))?;
                let path = entry.path();
                let metadata = match entry.metadata() {
                    // Removed since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    metadata => metadata.map_err(at(&path))?,
                };
                // What is behind a link is not in this folder. A name that is not UTF-8 is none of ours.
                let name = path.strip_prefix(&self.path).ok().and_then(Path::to_str);
                if metadata.is_dir() {
                    folders.push(path);
                } else if let (true, Some(name)) = (metadata.is_file(), name) {
                    let modified = metadata.modified().map_err(at(&path))?;
                    let (name, size, version) = (name.to_owned(), metadata.len(), version(&metadata));
                    items.push(Item { name, size, modified, version });
                }
            }
        }
        items.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(items)
    }

    fn read(&self, item: &Item, range: Range<u64>) -> Result<Bytes, SinkError> {
        let path = self.path.join(&item.name);
        let read = || {
            let file = File::open(&path)?;
            if version(&file.metadata()?) != item.version {
                return Err(io::Error::other("it was changed since it was listed"));
            }
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        };
        read().map_err(at(&path))
    }

    fn input(&self, item: &Item) -> Input {
        Input::File(self.path.join(&item.name))
    }

    fn remove(&self, items: &[Item]) -> Result<(), SinkError> {
        let mut folders = Vec::new();
        for item in items {
            let path = self.path.join(&item.name);
            let is_same = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                metadata => version(&metadata.map_err(at(&path))?) == item.version,
            };
            if is_same {
                fs::remove_file(&path).map_err(at(&path))?;
            }
            // Also what an earlier process removed may not be safe yet.
            if !folders.iter().any(|other: &PathBuf| other.parent() == path.parent()) {
                folders.push(path);
            }
        }
        folders.iter().try_for_each(|path| durable::sync_folder_of(path).map_err(at(path)))
    }

    /// With a lock, which goes with its process.
    fn claim(&self, name: &str, content: &[u8]) -> Result<Option<Claim>, SinkError> {
        let path = self.path.join(name);
        let partial = durable::hidden(&path, &format!("{:016x}.partial", fastrand::u64(..)));
        let write = || {
            let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&partial)?;
            // Locked before anyone can see it.
            file.lock()?;
            file.write_all(content)?;
            file.sync_all()?;
            match fs::hard_link(&partial, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
                linked => linked.map(|()| Some(file)),
            }
        };
        let claimed = write();
        let _ = fs::remove_file(&partial);
        let Some(file) = claimed.map_err(at(&path))? else { return Ok(None) };
        durable::sync_folder_of(&path).map_err(at(&path))?;
        let version = version(&file.metadata().map_err(at(&path))?);
        Ok(Some(Claim { name: name.to_owned(), version, lock: Some(file) }))
    }

    /// The lock tells, whatever the age.
    fn take_over(&self, item: &Item, _: &[u8], _: Duration) -> Result<Option<Claim>, SinkError> {
        let path = self.path.join(&item.name);
        let take = || {
            let Some(file) = durable::lock_existing(&path)? else { return Ok(None) };
            // It may have been given up and claimed anew since it was listed.
            let is_same = version(&file.metadata()?) == item.version
                && fs::metadata(&path).is_ok_and(|found| version(&found) == item.version);
            Ok(is_same.then_some(file))
        };
        let file: Option<File> = take().map_err(at(&path))?;
        Ok(file.map(|file| Claim { name: item.name.clone(), version: item.version.clone(), lock: Some(file) }))
    }

    fn holds(&self, claim: &Claim) -> Result<bool, SinkError> {
        let path = self.path.join(&claim.name);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            metadata => Ok(version(&metadata.map_err(at(&path))?) == claim.version),
        }
    }

    fn release(&self, claim: Claim) -> Result<(), SinkError> {
        let path = self.path.join(&claim.name);
        fs::remove_file(&path).and_then(|()| durable::sync_folder_of(&path)).map_err(at(&path))
    }
}

/// Changes with every write, and is another for another file.
fn version(metadata: &Metadata) -> String {
    format!("{}-{}-{}.{:09}", metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// A file that is being written under its hidden name.
struct Partial {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Partial {
    fn create(path: PathBuf) -> io::Result<Partial> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let partial = durable::partial(&path);
        let file = BufWriter::with_capacity(BUFFER_SIZE, File::create_new(&partial)?);
        Ok(Partial { file, partial, path, published: false })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }

    fn rename(&mut self) -> io::Result<()> {
        self.sync()?;
        fs::rename(&self.partial, &self.path)?;
        self.published = true;
        // The rename itself is safe only once the folder is.
        durable::sync_folder_of(&self.path)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Object for Partial {
    fn target(&self) -> String {
        self.partial.display().to_string()
    }

    /// Its name alone tells.
    fn make_ready(&mut self) -> Result<String, SinkError> {
        self.sync().map_err(at(&self.partial)).map(|()| String::new())
    }

    fn publish(mut self: Box<Self>) -> Result<(), SinkError> {
        self.rename().map_err(at(&self.path))
    }
}

impl Drop for Partial {
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

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn several_objects_are_written_at_a_time_and_are_seen_when_they_are_complete() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().join("new/out")).unwrap();
        let [mut one, mut two] = ["a/one", "a/two"].map(|name| folder.create(name).unwrap());
        one.write_all(b"1").unwrap();
        two.write_all(b"2").unwrap();
        one.flush().unwrap();
        let below = root.path().join("new/out/a");
        assert_eq!(names(&below), [".one.partial", ".two.partial"]);
        assert_eq!(fs::read(below.join(".one.partial")).unwrap(), b"1");
        two.publish().unwrap();
        assert_eq!(names(&below), [".one.partial", "two"]);
        drop(one);
        assert_eq!(names(&below), ["two"]);
        assert_eq!(fs::read(below.join("two")).unwrap(), b"2");
    }

    #[test]
    fn what_was_ready_when_its_process_was_killed_is_published_or_never_will_be() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path()).unwrap();
        for is_published in [true, false] {
            let mut object = folder.create("one").unwrap();
            object.write_all(b"1").unwrap();
            let ready = object.make_ready().unwrap();
            if is_published {
                object.publish().unwrap();
            } else {
                std::mem::forget(object);
            }
            assert_eq!(folder.was_published("one", &ready).unwrap(), is_published);
            let _ = fs::remove_file(root.path().join("one"));
            assert!(names(root.path()).is_empty());
        }
    }

    #[test]
    fn an_object_that_cannot_be_written_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut object = Box::new(Partial::create(root.path().join("one")).unwrap());
        object.write_all(b"one").unwrap();
        // As on a full disk: a file that takes nothing.
        object.file = BufWriter::new(File::open(&object.partial).unwrap());
        object.write_all(b"one").unwrap();
        assert!(object.target().ends_with("/.one.partial"));
        object.publish().unwrap_err();
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn an_object_that_cannot_be_renamed_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let object = Folder::new(root.path()).unwrap().create("one").unwrap();
        // A folder stands where the object would go.
        fs::create_dir(root.path().join("one")).unwrap();
        object.publish().unwrap_err();
        assert_eq!(names(root.path()), ["one"]);
        assert!(names(&root.path().join("one")).is_empty());
    }
}
