//! Files that are on disk whole or not at all, whatever crashes when.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a file under its [`partial`] name, syncs it, and renames it: whoever opens `path` sees
/// what was there before or all that `write` wrote. After `Ok` a crash of the machine cannot undo
/// it; an error leaves no partial file.
///
/// Two processes must not publish the same path at a time: see [`lock`].
pub(crate) fn publish(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let partial = partial(path);
    let renamed = write_synced(&partial, write).and_then(|()| fs::rename(&partial, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&partial);
    }
    renamed?;
    // The rename itself is safe only once the folder is.
    sync_folder_of(path)
}

fn write_synced(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(256 << 10, File::create(path)?);
    write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// The hidden name of a file that is being written.
pub(crate) fn partial(path: &Path) -> PathBuf {
    hidden(path, "partial")
}

/// `.NAME.extension` beside the file.
pub(crate) fn hidden(path: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(extension);
    path.with_file_name(name)
}

/// Makes a folder, and those above it, so that a crash of the machine cannot undo it.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(folder)?;
    missing.into_iter().try_for_each(sync_folder_of)
}

/// Makes what was done to the name (a rename, a removal) safe.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Takes the lock on the file at `path`, which is made and stays; `None` when someone else holds
/// it. It is held as long as the file is open, and goes with a process that is killed.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    try_lock(OpenOptions::new().create(true).truncate(false).write(true).open(path)?)
}

/// The same on a file that is there; `None` also when it is not.
pub(crate) fn lock_existing(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => try_lock(file?),
    }
}

fn try_lock(file: File) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for text in ["a longer text", "short"] {
            publish(&path, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        publish(&path, |file| file.write_all(b"old")).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = publish(&path, |file| file.write_all(&[b'x'; 1 << 20]).and(Err(full()))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["file"]);
        // A folder stands where the file would go.
        let path = folder.path().join("folder");
        make_folder(&path.join("below/it")).unwrap();
        publish(&path, |file| file.write_all(b"x")).unwrap_err();
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let held = lock(&path).unwrap();
        assert!(held.is_some() && lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
    }
}
