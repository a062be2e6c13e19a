//! Numbers by name, exact for each of the first names that come; those of all others are one row,
//! so that no sum over the rows loses anything.

use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::beacon::Value;
use crate::sighting::{AfterSlash, without_addresses};
use crate::top::Escapes;

/// So many names have a row of their own.
pub(crate) const MAX_ROWS: usize = 100_000;

/// The most bytes of a name that has a row.
pub(crate) const MAX_NAME_LEN: usize = 256;

/// Rows of numbers by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de> + Eq + Hash, V: Deserialize<'de>"))]
pub(crate) struct Rows<K, V> {
    named: IndexMap<K, V, RandomState>,
    other: V,
}

/// Where a row is; it stays there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place(u32);

impl Place {
    /// The row of all names that have none of their own.
    pub(crate) const OTHER: Place = Place(u32::MAX);
}

impl<K: Eq + Hash, V: Default> Default for Rows<K, V> {
    fn default() -> Rows<K, V> {
        Rows { named: IndexMap::default(), other: V::default() }
    }
}

impl<K: Eq + Hash + Ord, V: Default> Rows<K, V> {
    /// The row of that name, a new one if there is room.
    pub(crate) fn place(&mut self, name: K) -> Place {
        if let Some(index) = self.named.get_index_of(&name) {
            return Place(index as u32);
        }
        if self.named.len() >= MAX_ROWS {
            return Place::OTHER;
        }
        Place(self.named.insert_full(name, V::default()).0 as u32)
    }

    #[inline]
    pub(crate) fn at(&mut self, place: Place) -> &mut V {
        match self.named.get_index_mut(place.0 as usize) {
            Some((_, numbers)) => numbers,
            None => &mut self.other,
        }
    }

    /// The name of a row; `None` for that of all others.
    pub(crate) fn name(&self, place: Place) -> Option<&K> {
        self.named.get_index(place.0 as usize).map(|(name, _)| name)
    }

    /// The rows that have a name, in no order that means anything.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&K, &V)> {
        self.named.iter()
    }

    /// The row of all others.
    pub(crate) fn other(&self) -> &V {
        &self.other
    }

    /// Adds rows that were counted elsewhere, and says where each of them is now. The last place is
    /// that of [`Place::OTHER`].
    pub(crate) fn merge(&mut self, from: Rows<K, V>, add: impl Fn(&mut V, V)) -> Moved {
        let mut places = Vec::with_capacity(from.named.len());
        for (name, numbers) in from.named {
            let place = self.place(name);
            add(self.at(place), numbers);
            places.push(place);
        }
        add(&mut self.other, from.other);
        Moved(places)
    }
}

/// Where rows are that were merged into others.
pub(crate) struct Moved(Vec<Place>);

impl Moved {
    pub(crate) fn place(&self, before: Place) -> Place {
        self.0.get(before.0 as usize).copied().unwrap_or(Place::OTHER)
    }
}

/// The rows of one thread, by what the lines have: a name that comes again is not decoded again.
#[derive(Default)]
pub(crate) struct PlaceCache {
    places: HashMap<Box<[u8]>, Place, RandomState>,
    raw: Vec<u8>,
}

/// A part of a row's name as a line has it.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    Nothing,
    Value(&'a Value<'a>),
    Name(&'a str),
}

impl PlaceCache {
    /// So many are kept.
    const MAX_PLACES: usize = 1 << 14;
    /// Longer parts are read each time.
    const MAX_RAW_LEN: usize = 1_024;

    /// The row of these parts; `new` finds it when they come for the first time.
    #[inline]
    pub(crate) fn get<const N: usize>(&mut self, parts: [Raw<'_>; N], new: impl FnOnce() -> Place) -> Place {
        self.raw.clear();
        for part in parts {
            let (kind, text) = match part {
                Raw::Nothing => (0, &b""[..]),
                Raw::Name(name) => (1, name.as_bytes()),
                Raw::Value(value) => match value.escapes() {
                    Escapes::Once => (2, value.raw()),
                    Escapes::OnceInQuery => (3, value.raw()),
                    Escapes::Twice => (4, value.raw()),
                },
            };
            self.raw.push(kind);
            self.raw.extend_from_slice(&(text.len() as u64).to_le_bytes());
            self.raw.extend_from_slice(text);
        }
        if self.raw.len() > PlaceCache::MAX_RAW_LEN {
            return new();
        }
        if let Some(place) = self.places.get(&*self.raw) {
            return *place;
        }
        let place = new();
        if self.places.len() >= PlaceCache::MAX_PLACES {
            self.places.clear();
        }
        self.places.insert(self.raw.as_slice().into(), place);
        place
    }
}

/// The value as a name that people read, without any address; an error if it is too long to have a
/// row.
pub(crate) fn name(value: Option<&Value<'_>>) -> Result<Option<Box<str>>, TooLong> {
    let Some(value) = value else { return Ok(None) };
    let text = value.decoded();
    if text.len() > MAX_NAME_LEN {
        return Err(TooLong);
    }
    Ok(Some(without_addresses(&String::from_utf8_lossy(&text), AfterSlash::Address).into()))
}

/// A name is too long to have a row.
pub(crate) struct TooLong;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_row_is_in_that_of_all_others() {
        let mut rows: Rows<u64, u64> = Rows::default();
        for name in (0..MAX_ROWS as u64 + 5).chain([0, 1]) {
            let place = rows.place(name);
            *rows.at(place) += 1;
        }
        assert_eq!((rows.named().count(), *rows.other()), (MAX_ROWS, 5));
        assert_eq!(rows.named().map(|(_, count)| count).sum::<u64>() + rows.other(), MAX_ROWS as u64 + 7);
        let bytes = postcard::to_stdvec(&rows).unwrap();
        let mut read: Rows<u64, u64> = postcard::from_bytes(&bytes).unwrap();
        let mut few: Rows<u64, u64> = Rows::default();
        for name in [7, 1 << 40] {
            let place = few.place(name);
            *few.at(place) += 1;
        }
        let moved = read.merge(few, |count, more| *count += more);
        assert_eq!(
            (moved.place(Place(0)), moved.place(Place(1)), moved.place(Place::OTHER)),
            (Place(7), Place::OTHER, Place::OTHER)
        );
        assert_eq!((*read.at(Place(7)), *read.other()), (2, 6));
    }
}
