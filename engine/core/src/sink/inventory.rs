//! What a store holds: listed, read, removed, and claimed by one process at a time.

use std::fs::File;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::SinkError;
use super::store::Store;
use crate::source::Input;

/// An object of a store, as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// A relative path with `/` between its parts.
    pub name: String,
    /// Bytes as it is stored.
    pub size: u64,
    /// When it got its content.
    pub modified: SystemTime,
    /// What tells this content from another of that name: an ETag, or what stands for one.
    pub version: String,
}

/// A store whose objects can be read and removed too.
pub trait Inventory: Store {
    /// The objects below that folder, a path that ends in `/` or is empty, in the order of their
    /// names. Hidden ones are among them.
    ///
    /// # Errors
    /// They cannot be listed.
    fn list(&self, folder: &str) -> Result<Vec<Item>, SinkError>;

    /// These bytes of the object.
    ///
    /// # Errors
    /// They cannot be read, or the object has another content than when it was listed.
    fn read(&self, item: &Item, range: Range<u64>) -> Result<Bytes, SinkError>;

    /// The object as something to read lines from.
    fn input(&self, item: &Item) -> Input;

    /// Removes these objects, for good also after a crash of the machine. One that is gone already
    /// is no error; one with another content than when it was listed stays.
    ///
    /// # Errors
    /// Some cannot be removed. Others may be.
    fn remove(&self, items: &[Item]) -> Result<(), SinkError>;

    /// Stores a small object by which this process keeps others out; `None` when there is one of
    /// that name.
    ///
    /// # Errors
    /// It cannot be stored.
    fn claim(&self, name: &str, content: &[u8]) -> Result<Option<Claim>, SinkError>;

    /// Takes over the claim of a process that is gone; `None` when it may still be at work, or
    /// another one was quicker. A place that cannot tell takes what is older than `age` for left
    /// behind. `content` tells the new claim from the old one.
    ///
    /// # Errors
    /// It cannot be taken over.
    fn take_over(&self, item: &Item, content: &[u8], age: Duration) -> Result<Option<Claim>, SinkError>;

    /// Whether the claim still is this process's.
    ///
    /// # Errors
    /// That cannot be found out.
    fn holds(&self, claim: &Claim) -> Result<bool, SinkError>;

    /// Gives the claim up, and removes its object.
    ///
    /// # Errors
    /// It cannot be removed.
    fn release(&self, claim: Claim) -> Result<(), SinkError>;
}

/// What keeps other processes out.
#[derive(Debug)]
pub struct Claim {
    /// The object.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Locked as long as it is open, where the place has locks.
    pub lock: Option<File>,
}
