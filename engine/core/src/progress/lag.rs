//! How far the delivery is behind files that are still written to.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::lock;
use crate::ack::Acknowledgements;

/// The files that are followed.
#[derive(Debug, Default)]
pub(super) struct FollowedFiles(Mutex<Vec<FollowedFile>>);

/// A file that is followed. It may be closed before the last of its lines is acknowledged.
#[derive(Debug)]
pub(crate) struct FollowedFile {
    file: Weak<File>,
    /// The size that its reader saw last.
    size: Arc<AtomicU64>,
    origin: usize,
    acknowledgements: Acknowledgements,
}

impl FollowedFiles {
    pub(super) fn add(&self, file: FollowedFile) {
        let mut files = lock(&self.0);
        files.retain(|file| file.lag_bytes() > 0 || file.file.strong_count() > 0);
        files.push(file);
    }

    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    pub(super) fn lag_bytes(&self) -> u64 {
        lock(&self.0).iter().map(FollowedFile::lag_bytes).sum()
    }
}

impl FollowedFile {
    /// That file, whose lines are acknowledged under the number of this origin.
    pub(crate) fn new(
        file: &Arc<File>,
        size: &Arc<AtomicU64>,
        origin: usize,
        acknowledgements: &Acknowledgements,
    ) -> FollowedFile {
        let (file, size) = (Arc::downgrade(file), Arc::clone(size));
        FollowedFile { file, size, origin, acknowledgements: acknowledgements.clone() }
    }

    fn lag_bytes(&self) -> u64 {
        let metadata = self.file.upgrade().and_then(|file| file.metadata().ok());
        let size = metadata.map_or_else(|| self.size.load(Ordering::Relaxed), |metadata| metadata.len());
        size.saturating_sub(self.acknowledgements.position(self.origin).offset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::ack::Position;

    #[test]
    fn what_is_written_lags_until_it_is_acknowledged() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b'\n'; 100]).unwrap();
        let file = Arc::new(file);
        let (acknowledgements, files) = (Acknowledgements::default(), FollowedFiles::default());
        let size = Arc::new(AtomicU64::new(0));
        files.add(FollowedFile::new(&file, &size, 0, &acknowledgements));
        assert_eq!(files.lag_bytes(), 100);
        acknowledgements.begin(0, Position { offset: 40, lines: 40 });
        (&*file).write_all(b"\n").unwrap();
        assert_eq!(files.lag_bytes(), 61);
        size.store(101, Ordering::Relaxed);
        drop(file);
        assert_eq!(files.lag_bytes(), 61, "it is closed, and not wholly acknowledged");
        acknowledgements.begin(0, Position { offset: 101, lines: 101 });
        let other = Arc::new(tempfile::tempfile().unwrap());
        files.add(FollowedFile::new(&other, &Arc::default(), 1, &acknowledgements));
        assert_eq!((files.lag_bytes(), lock(&files.0).len()), (0, 1));
    }
}
