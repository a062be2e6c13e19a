//! What makes a folder hold every row once, whenever a compaction is killed.
//!
//! Before the first new file is published, a journal is put into the folder that names the new files
//! and the old ones. Its name begins with `_`, so that readers pass it over, and it is there once:
//! whoever made it has the folder for itself. It goes when the old files have. So whoever finds one
//! that was left behind knows what to do: if every new file is there and has its rows, the old ones
//! are removed; if not, the new ones are.

use std::time::Duration;

use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::inventory::{Claim, Inventory, Item};
use pixel_engine_core::sink::store::Object;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::Error;
use super::input::{Place, Trouble};

/// The name of a journal in its folder.
pub(super) const NAME: &str = "_pixel-engine-compact.json";
/// What it says that it is.
const ABOUT: &str =
    "pixel-engine compact is replacing files of this folder, or was; run it again, and never remove this";
/// The form of journals.
const VERSION: u32 = 1;

/// What is being done to a folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    about: String,
    version: u32,
    /// Tells it from every other, by content too.
    holder: String,
    new: Vec<New>,
    old: Vec<Old>,
}

/// A file that is published, or will be.
#[derive(Debug, Serialize, Deserialize)]
struct New {
    name: String,
    /// What tells whether it was: see [`Object::make_ready`].
    ready: String,
    rows: u64,
}

/// A file whose rows are in the new ones.
#[derive(Debug, Serialize, Deserialize)]
struct Old {
    name: String,
    version: String,
}

/// A new file, all of which is safe, but which nobody can see yet.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) object: Box<dyn Object>,
    pub(super) ready: String,
    pub(super) rows: u64,
}

/// What became of a folder.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The new files are in place of the old ones. They have so many bytes.
    Replaced { bytes: u64 },
    /// Nothing was changed, for someone else was quicker.
    Left(&'static str),
}

/// What a journal that was left behind came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recovered {
    /// The old files are gone, or were.
    Finished,
    /// The new files are gone, or never were.
    Undone,
    /// It may be the journal of a process that is at work.
    Held,
}

/// Puts the new files in place of the old ones. `before` is done when nothing can come between any
/// more, and before anything can be seen.
///
/// # Errors
/// Something failed, or a new file does not have its rows. Then the old ones are all there, or else
/// the journal is, and the next compaction goes on from it.
pub(super) fn replace(
    store: &Arc<dyn Inventory>,
    folder: &str,
    new: Vec<Ready>,
    old: &[Item],
    before: impl FnOnce() -> Result<(), Error>,
) -> Result<Outcome, Error> {
    let journal = Journal::new(&new, old);
    let Some(claim) = store.claim(&name_in(folder), &journal.bytes())? else {
        return Ok(Outcome::Left("another compaction is replacing files of this folder, or was killed while it did"));
    };
    // Another one may have been here after the files were read.
    let found = store.list(folder)?;
    if !old.iter().all(|item| found.contains(item)) {
        store.release(claim)?;
        return Ok(Outcome::Left("files of this folder were changed or removed while they were read"));
    }
    if let Err(error) = before() {
        store.release(claim)?;
        return Err(error);
    }
    let mut failed = None;
    for Ready { object, .. } in new {
        if failed.is_none() {
            failed = object.publish().err();
        }
    }
    match (journal.settle(store, folder, claim, failed.is_none())?, failed) {
        (Some(bytes), None) => Ok(Outcome::Replaced { bytes }),
        (_, Some(error)) => Err(error.into()),
        (None, None) => Err(Error::Rows { folder: place_of(store, folder) }),
    }
}

/// Ends what a process that is gone has begun in a folder.
///
/// # Errors
/// Something failed; the journal is still there.
pub(super) fn recover(
    store: &Arc<dyn Inventory>,
    folder: &str,
    item: &Item,
    age: Duration,
) -> Result<Recovered, Error> {
    let unreadable = |reason: String| Error::Journal { name: place_of(store, &item.name), reason };
    let bytes = store.read(item, 0..item.size)?;
    let journal: Journal = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if journal.version != VERSION {
        return Err(unreadable(format!("it is of version {}, and this program knows {VERSION}", journal.version)));
    }
    let journal = Journal { holder: holder(), ..journal };
    let Some(claim) = store.take_over(item, &journal.bytes(), age)? else { return Ok(Recovered::Held) };
    let is_finished = journal.settle(store, folder, claim, false)?.is_some();
    Ok(if is_finished { Recovered::Finished } else { Recovered::Undone })
}

/// The journal of a folder.
pub(super) fn name_in(folder: &str) -> String {
    format!("{folder}{NAME}")
}

fn place_of(store: &Arc<dyn Inventory>, name: &str) -> String {
    format!("{}{name}", store.target())
}

fn holder() -> String {
    format!("{:032x}", fastrand::u128(..))
}

impl Journal {
    fn new(new: &[Ready], old: &[Item]) -> Journal {
        let of_new = |new: &Ready| New { name: new.name.clone(), ready: new.ready.clone(), rows: new.rows };
        let of_old = |old: &Item| Old { name: old.name.clone(), version: old.version.clone() };
        Journal {
            about: ABOUT.to_owned(),
            version: VERSION,
            holder: holder(),
            new: new.iter().map(of_new).collect(),
            old: old.iter().map(of_old).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// Removes the old files when every new one is there with its rows, else the new ones; then the
    /// journal. The bytes of the new files, if they stay. `are_published` says that they are known
    /// to be.
    fn settle(
        &self,
        store: &Arc<dyn Inventory>,
        folder: &str,
        claim: Claim,
        are_published: bool,
    ) -> Result<Option<u64>, Error> {
        let mut is_whole = true;
        if !are_published {
            for New { name, ready, .. } in &self.new {
                // Asked of each: what is not there must never come.
                is_whole &= store.was_published(name, ready)?;
            }
        }
        let found = store.list(folder)?;
        let find = |name: &str| found.binary_search_by(|item| item.name.as_str().cmp(name)).ok().map(|at| &found[at]);
        let mut new = Vec::new();
        for New { name, rows, .. } in &self.new {
            let Some(item) = find(name) else {
                is_whole = false;
                continue;
            };
            is_whole &= has_rows(store, item, *rows)?;
            new.push(item.clone());
        }
        if !store.holds(&claim)? {
            return Err(Error::Lost { folder: place_of(store, folder) });
        }
        let bytes = new.iter().map(|item| item.size).sum();
        if is_whole {
            // One with another content is another file.
            let old = self
                .old
                .iter()
                .filter_map(|Old { name, version }| find(name).filter(|item| item.version == *version).cloned());
            store.remove(&old.collect::<Vec<_>>())?;
        } else {
            store.remove(&new)?;
        }
        store.release(claim)?;
        Ok(is_whole.then_some(bytes))
    }
}

/// Whether the file that was published can be read, and has so many rows.
fn has_rows(store: &Arc<dyn Inventory>, item: &Item, rows: u64) -> Result<bool, Error> {
    match (Place { store: Arc::clone(store), item: item.clone() }).footer() {
        Ok(footer) => Ok(footer.file_metadata().num_rows() == rows as i64),
        Err(Trouble::File(_)) => Ok(false),
        Err(Trouble::Place(error)) => Err(error.into()),
    }
}

impl From<SinkError> for Error {
    fn from(error: SinkError) -> Error {
        Error::Sink(Box::new(error))
    }
}
