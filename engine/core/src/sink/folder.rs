//! A folder as a place for objects: each is written under a hidden name that ends in `.partial`,
//! synced, and renamed, so that a name that can be seen is a complete object.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::SinkError;
use super::store::{Object, Store};
use crate::durable;

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
