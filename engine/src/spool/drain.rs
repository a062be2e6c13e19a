//! Sends what is in a spool, and removes each batch once all of its records have arrived.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{SpoolError, batches, lock_for_shipping, read, remove};
use crate::ack::{AckToken, Acknowledgements};
use crate::record::Record;
use crate::ship::limits::Api;
use crate::ship::{Sink, SinkError};

/// What became of the batches of a spool. `found = removed + damaged + left`.
#[derive(Debug, Default)]
pub struct Drained {
    /// Batches that were there.
    pub found: u64,
    /// Batches that were delivered and removed.
    pub removed: u64,
    /// Batches that cannot be read, or are for another service: they stay as they are. With the reason for each.
    pub damaged: Vec<DrainError>,
    /// Batches that were not delivered, or not wholly, and stay.
    pub left: u64,
    /// What ended it before the last batch.
    pub error: Option<DrainError>,
}

/// What can go wrong while a spool is sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The folder or a file of it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The stream.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Records of one service are packed as the other cannot read them.
    #[error("spool {path}: kept for {kept}, which {wanted} does not take", path = path.display())]
    OtherService {
        /// The file.
        path: PathBuf,
        /// The API it was kept for.
        kept: &'static str,
        /// The API that it would go to.
        wanted: &'static str,
    },
}

/// Sends the batches of the folder in the order in which they were kept, until it is done or `stop` is set. A batch
/// for another stream of the same service goes to the sink's stream. `progress` counts batches.
///
/// # Errors
/// The folder cannot be read, or another process is sending what is in it.
pub fn drain(
    folder: &Path,
    api: Api,
    sink: &mut dyn Sink,
    progress: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Drained, SpoolError> {
    let _lock = lock_for_shipping(folder)?;
    let paths = batches(folder)?;
    let mut drained = Drained { found: paths.len() as u64, ..Drained::default() };
    let all = Acknowledgements::default();
    let mut sent: Vec<(usize, PathBuf)> = Vec::new();
    for (number, path) in paths.into_iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match records(&path, api, || all.token(number, 0..1)) {
            Ok(records) => {
                sent.push((number, path));
                if let Err(error) = records.into_iter().try_for_each(|record| sink.ship(record)) {
                    drained.error = Some(error.into());
                    break;
                }
            }
            Err(error) => drained.damaged.push(error),
        }
        drained.remove_acknowledged(&mut sent, &all, progress);
        if drained.error.is_some() {
            break;
        }
    }
    if let Err(error) = sink.finish() {
        drained.error.get_or_insert(error.into());
    }
    drained.remove_acknowledged(&mut sent, &all, progress);
    drained.left = drained.found - drained.removed - drained.damaged.len() as u64;
    Ok(drained)
}

impl Drained {
    fn remove_acknowledged(&mut self, sent: &mut Vec<(usize, PathBuf)>, all: &Acknowledgements, progress: &AtomicU64) {
        sent.retain(|(number, path)| {
            if all.position(*number).offset == 0 {
                return true;
            }
            match remove(path) {
                Ok(()) => {
                    self.removed += 1;
                    progress.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.error.get_or_insert(error.into());
                }
            }
            false
        });
    }
}

/// The records of a batch, each with a share in its acknowledgement.
fn records(path: &Path, api: Api, token: impl FnOnce() -> AckToken) -> Result<Vec<Record>, DrainError> {
    let (destination, records) = read(path)?;
    if destination.api != api {
        let (kept, wanted) = (destination.api.name(), api.name());
        return Err(DrainError::OtherService { path: path.to_owned(), kept, wanted });
    }
    let token = token();
    let records = records
        .into_iter()
        .map(|kept| Record::from_bytes(kept.data, kept.lines, kept.key, vec![token.clone()]))
        .collect();
    token.delivered();
    Ok(records)
}
