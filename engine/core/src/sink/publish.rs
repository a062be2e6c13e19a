//! Publishes objects so that no line is in two of them, whenever the run is killed.
//!
//! With a checkpoint, what is about to be published is written down first. The next run finds out
//! whether it was, and counts its lines as delivered or reads them again.

use std::sync::Arc;

use super::SinkError;
use super::statistics::Shipping;
use super::store::{Object, Store};
use crate::checkpoint::Checkpoint;
use crate::record::Receipt;

/// A store, and the checkpoint of the run that writes to it.
pub struct Publisher {
    store: Arc<dyn Store>,
    checkpoint: Option<Arc<Checkpoint>>,
}

impl Publisher {
    /// Finds out first what became of the object that an earlier run was publishing. Without a
    /// checkpoint there is none, and after a crash lines may come twice.
    ///
    /// # Errors
    /// That cannot be found out.
    pub fn new(store: Arc<dyn Store>, checkpoint: Option<Arc<Checkpoint>>) -> Result<Publisher, SinkError> {
        if let Some(checkpoint) = &checkpoint {
            checkpoint.recover(&*store)?;
        }
        Ok(Publisher { store, checkpoint })
    }

    /// Begins an object: see [`Store::create`].
    ///
    /// # Errors
    /// The place cannot be written to.
    pub fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError> {
        self.store.create(name)
    }

    /// Publishes the object of that name, which holds the lines of these receipts, and hands them to
    /// `settle`.
    ///
    /// # Errors
    /// Nothing of it can be seen, and nothing is settled.
    pub fn publish(
        &self,
        name: &str,
        mut object: Box<dyn Object>,
        receipts: Vec<Receipt>,
        settle: impl FnMut(Receipt),
    ) -> Result<(), SinkError> {
        if let Some(checkpoint) = &self.checkpoint {
            let ready = object.make_ready()?;
            checkpoint.publishing(&*self.store, name, ready, receipts.iter().flat_map(Receipt::tokens))?;
        }
        object.publish()?;
        receipts.into_iter().for_each(settle);
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.published();
        }
        Ok(())
    }

    /// How the store's requests went.
    pub fn shipping(&self) -> Option<Shipping> {
        self.store.shipping()
    }
}
