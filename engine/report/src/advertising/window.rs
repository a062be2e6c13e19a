//! The last ids that were counted, so that one that comes again is told.

use std::collections::VecDeque;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ledger::Step;
use crate::rows::Place;

/// An id that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Id {
    /// The hash of step and id, as good as random. That any two of a million are the same by chance
    /// has a probability of 3 in 100 million.
    pub(crate) key: u64,
    /// When the event that counts was, in milliseconds since 1970.
    pub(crate) time: i64,
    /// The row that it counts in.
    pub(crate) row: Place,
    pub(crate) step: Step,
}

/// The most bytes that an id takes: 24 in the queue and 5 in the table, each of which may be half
/// full.
pub(crate) const MAX_BYTES_OF_ID: u64 = 58;

/// The last ids, in the order in which they came.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    max_len: usize,
    ids: VecDeque<Id>,
    /// The place of the first one. Places go on and on, and begin again at 2^32.
    first: u32,
    /// The places of the ids in the queue.
    places: HashTable<u32>,
    /// The number of ids that are no longer in the queue.
    forgotten: u64,
}

impl Window {
    pub(crate) fn new(max_len: usize) -> Window {
        Window { max_len, ids: VecDeque::new(), first: 0, places: HashTable::new(), forgotten: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many ids found no room.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What is noted of the id if it is in the window; if not, it is now.
    pub(crate) fn note(&mut self, id: Id) -> Option<&mut Id> {
        let Window { ids, first, places, .. } = self;
        let index = |place: u32| place.wrapping_sub(*first) as usize;
        let new = first.wrapping_add(ids.len() as u32);
        let known = match places.entry(id.key, |at| ids[index(*at)].key == id.key, |at| ids[index(*at)].key) {
            Entry::Occupied(known) => Some(index(*known.get())),
            Entry::Vacant(place) => {
                place.insert(new);
                None
            }
        };
        if known.is_none() {
            ids.push_back(id);
            if ids.len() > self.max_len {
                self.forget();
            }
        }
        self.ids.get_mut(known?)
    }

    fn forget(&mut self) {
        let Some(id) = self.ids.front() else { return };
        let first = self.first;
        if let Ok(known) = self.places.find_entry(id.key, |known| *known == first) {
            known.remove();
        }
        self.ids.pop_front();
        self.first = first.wrapping_add(1);
        self.forgotten += 1;
    }

    /// What is noted of the id if it is in the window.
    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut Id> {
        let Window { ids, first, .. } = self;
        let index = |place: u32| place.wrapping_sub(*first) as usize;
        let at = index(*self.places.find(key, |known| ids[index(*known)].key == key)?);
        ids.get_mut(at)
    }

    /// The ids in the order in which they came, and how many are no longer among them.
    pub(crate) fn into_parts(self) -> (VecDeque<Id>, u64) {
        (self.ids, self.forgotten)
    }

    /// Adds ids that were forgotten elsewhere.
    pub(crate) fn add_forgotten(&mut self, more: u64) {
        self.forgotten += more;
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.max_len as u64, &self.ids, self.forgotten).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Window, D::Error> {
        let (max_len, ids, forgotten) = <(u64, VecDeque<Id>, u64)>::deserialize(deserializer)?;
        if ids.len() as u64 > max_len {
            return Err(D::Error::custom("more ids than their window holds"));
        }
        let mut window = Window { forgotten, ..Window::new(max_len as usize) };
        for id in ids {
            if window.note(id).is_some() {
                return Err(D::Error::custom("an id is there twice"));
            }
        }
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(key: u64, time: i64) -> Id {
        Id { key, time, row: Place::OTHER, step: Step::Click }
    }

    proptest! {
        #[test]
        fn the_last_ids_are_known_and_no_others(
            keys in prop::collection::vec(0u64..40, 0..200), max_len in 1usize..30
        ) {
            // Close to where places begin again.
            let mut window = Window { first: u32::MAX - 60, ..Window::new(max_len) };
            let mut naive: Vec<u64> = Vec::new();
            for (time, key) in keys.into_iter().enumerate() {
                // Hashes are as good as random; these are not.
                let key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                prop_assert_eq!(window.get_mut(key).is_some(), naive.contains(&key));
                let known = window.note(id(key, time as i64)).is_some();
                prop_assert_eq!(known, naive.contains(&key));
                if !known {
                    naive.push(key);
                    if naive.len() > max_len {
                        naive.remove(0);
                    }
                }
                prop_assert_eq!(window.len(), naive.len());
            }
            let bytes = postcard::to_stdvec(&window).unwrap();
            let mut read: Window = postcard::from_bytes(&bytes).unwrap();
            prop_assert!(naive.iter().all(|key| read.get_mut(*key).is_some_and(|id| id.key == *key)));
            prop_assert_eq!(read.forgotten(), window.forgotten());
        }
    }
}
