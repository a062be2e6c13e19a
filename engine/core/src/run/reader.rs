//! Hands the blocks of all sources to the pool, and their results, in order, to the packer.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use rayon::ThreadPool;

use super::{Error, on_pool};
use crate::block::Block;
use crate::encode::{Encoded, Rules, Scratch};
use crate::source::{Closed, InputFailure, Output};

/// What the packer gets.
pub(super) enum ToPacker {
    /// A block that the pool is encoding.
    Block(Receiver<Encoded>),
    /// There are no more blocks of that origin.
    Ended(usize),
    /// An input cannot be read, or not to its end.
    Error(Error),
    /// What came before this should not wait for more.
    Flush,
}

/// The way from the sources to the packer.
pub(super) struct ToPool<'run> {
    pub(super) rules: Arc<Rules>,
    pub(super) pool: &'run ThreadPool,
    pub(super) output: Sender<ToPacker>,
    /// Set once the packer has ended, or failed.
    pub(super) closed: &'run AtomicBool,
}

impl ToPool<'_> {
    fn send(&self, item: ToPacker) -> Result<(), Closed> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Closed);
        }
        Ok(self.output.send(item)?)
    }
}

impl Output for ToPool<'_> {
    fn block(&self, block: Block) -> Result<(), Closed> {
        let rules = Arc::clone(&self.rules);
        let encoded = on_pool(self.pool, move || {
            thread_local! {
                static SCRATCH: RefCell<Scratch> = RefCell::default();
            }
            SCRATCH.with_borrow_mut(|scratch| rules.encode(block, scratch))
        });
        self.send(ToPacker::Block(encoded))
    }

    fn failed(&self, failure: InputFailure) -> Result<(), Closed> {
        let error = match failure {
            InputFailure::Open(error) => Error::Input(error),
            InputFailure::Read(error) => Error::Read(error),
            InputFailure::Checkpoint(error) => Error::Checkpoint(error),
        };
        self.send(ToPacker::Error(error))
    }

    fn ended(&self, origin: usize) -> Result<(), Closed> {
        self.send(ToPacker::Ended(origin))
    }

    fn flush(&self) -> Result<(), Closed> {
        self.send(ToPacker::Flush)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
