//! Which records were refused for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::record::Record;
use crate::sink::SinkError;

/// The sources of records that were refused for good, for a delivery that goes on without them. A
/// source is the number that the record's token of acknowledgement was made with. Clones share
/// their state.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    sources: Arc<Mutex<BTreeMap<usize, Arc<SinkError>>>>,
}

impl Refusals {
    /// Lets go of the records, unacknowledged.
    pub(super) fn add(&self, records: Vec<Record>, error: &Arc<SinkError>) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        for source in records.iter().flat_map(Record::sources) {
            sources.insert(source, Arc::clone(error));
        }
    }

    /// Why the records of that source were refused, if they were.
    pub(super) fn take(&self, source: usize) -> Option<Arc<SinkError>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(&source)
    }
}
