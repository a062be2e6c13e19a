//! How large records should be for now.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes of the records that follow, set by a sink whose service takes less than it is
/// sent, and followed by whoever packs. Clones share it.
///
/// It is a wish, for records that are still to be packed: a sink takes larger ones all the same.
#[derive(Clone, Debug)]
pub struct RecordLimit(Arc<AtomicUsize>);

impl Default for RecordLimit {
    /// No limit.
    fn default() -> RecordLimit {
        RecordLimit(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

impl RecordLimit {
    /// The bytes.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}
