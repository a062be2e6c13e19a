//! The different values of a column chunk, each with a number.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use parquet::basic::Type;

/// How values lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// Each with its length before it, in 4 bytes.
    Text,
    /// As many bytes each as their type has.
    Fixed,
    /// One bit each; until there is a page of them, one byte.
    Bits,
}

impl Plain {
    pub(super) fn of(physical_type: Type) -> Plain {
        match physical_type {
            Type::BYTE_ARRAY => Plain::Text,
            Type::BOOLEAN => Plain::Bits,
            _ => Plain::Fixed,
        }
    }

    /// Appends a value as pages hold it that have no dictionary.
    #[inline]
    pub(super) fn append(self, value: &[u8], out: &mut Vec<u8>) {
        if self == Plain::Text {
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        out.extend_from_slice(value);
    }

    /// Appends values that were appended one by one, as a page holds them.
    pub(super) fn append_page(self, values: &[u8], out: &mut Vec<u8>) {
        match self {
            Plain::Text | Plain::Fixed => out.extend_from_slice(values),
            Plain::Bits => {
                let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | bit);
                out.extend(values.chunks(8).map(byte));
            }
        }
    }

    /// How many bytes that takes.
    #[inline]
    pub(super) fn len_of(self, value: &[u8]) -> usize {
        value.len() + if self == Plain::Text { 4 } else { 0 }
    }
}

/// Values in the order in which they came first.
#[derive(Debug)]
pub(super) struct Dictionary {
    plain: Plain,
    /// The page of the dictionary.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    numbers: HashTable<u32>,
    hasher: FixedState,
    /// The last value of each digest's place: most columns have few values that come again and again.
    recent: Box<[Recent; RECENT]>,
    /// Which data page is being filled.
    page: u32,
}

/// Values that are found without their hash.
const RECENT: usize = 128;

/// A value that came lately.
#[derive(Clone, Copy, Debug)]
struct Recent {
    digest: Digest,
    number: u32,
    /// A page that it came in.
    page: u32,
}

/// The length of a value, with its first and its last bytes. Of up to 16 bytes, that is all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest {
    len: usize,
    start: u64,
    end: u64,
}

impl Digest {
    /// No value's.
    const NONE: Digest = Digest { len: usize::MAX, start: 0, end: 0 };

    #[inline]
    fn of(value: &[u8]) -> Digest {
        let len = value.len();
        let (start, end) = match (value.first_chunk(), value.last_chunk()) {
            (Some(start), Some(end)) => (u64::from_le_bytes(*start), u64::from_le_bytes(*end)),
            _ => match (value.first_chunk(), value.last_chunk()) {
                (Some(start), Some(end)) => (u32::from_le_bytes(*start).into(), u32::from_le_bytes(*end).into()),
                _ => (value.iter().fold(0, |bytes, &byte| bytes << 8 | u64::from(byte)), 0),
            },
        };
        Digest { len, start, end }
    }

    /// Whether two values with this digest can be different.
    #[inline]
    fn is_part(self) -> bool {
        self.len > 16
    }

    #[inline]
    fn place(self) -> usize {
        let mixed = (self.start ^ self.end.rotate_left(32) ^ self.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - RECENT.ilog2())) as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    end: u32,
    /// The last page that it came in.
    page: u32,
}

#[inline]
fn hash_of(hasher: &FixedState, value: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(value);
    state.finish()
}

/// A value's number, and what is to be known of it.
pub(super) struct Found {
    pub(super) number: u32,
    /// It is the first of its kind in this page.
    pub(super) is_first_of_page: bool,
}

impl Dictionary {
    pub(super) fn new(plain: Plain) -> Dictionary {
        Dictionary {
            plain,
            bytes: Vec::new(),
            entries: Vec::new(),
            numbers: HashTable::new(),
            hasher: FixedState::default(),
            recent: Box::new([Recent { digest: Digest::NONE, number: 0, page: 0 }; RECENT]),
            page: 0,
        }
    }

    /// The number of the value, which is a new one if it has none.
    #[inline]
    pub(super) fn number_of(&mut self, value: &[u8]) -> Found {
        let digest = Digest::of(value);
        let place = digest.place();
        let recent = self.recent[place];
        let is_it = recent.digest == digest && (!digest.is_part() || self.value(recent.number) == value);
        if is_it && recent.page == self.page {
            return Found { number: recent.number, is_first_of_page: false };
        }
        let number = if is_it { recent.number } else { self.look_up(value) };
        self.recent[place] = Recent { digest, number, page: self.page };
        Found { number, is_first_of_page: self.is_first_of_page(number) }
    }

    fn look_up(&mut self, value: &[u8]) -> u32 {
        let Dictionary { plain, bytes, entries, numbers, hasher, .. } = self;
        let text = |number: u32| {
            let Entry { start, end, .. } = entries[number as usize];
            &bytes[start as usize..end as usize]
        };
        let hash = hash_of(hasher, value);
        match numbers.find(hash, |&number| text(number) == value) {
            Some(&number) => number,
            None => {
                let number = entries.len() as u32;
                numbers.insert_unique(hash, number, |&number| hash_of(hasher, text(number)));
                plain.append(value, bytes);
                let end = bytes.len() as u32;
                entries.push(Entry { start: end - value.len() as u32, end, page: u32::MAX });
                number
            }
        }
    }

    /// The value of that number.
    pub(super) fn value(&self, number: u32) -> &[u8] {
        let Entry { start, end, .. } = self.entries[number as usize];
        &self.bytes[start as usize..end as usize]
    }

    /// Whether the value of that number was not in this page yet; it is now.
    #[inline]
    pub(super) fn is_first_of_page(&mut self, number: u32) -> bool {
        std::mem::replace(&mut self.entries[number as usize].page, self.page) != self.page
    }

    /// Another page begins.
    pub(super) fn next_page(&mut self) {
        self.page += 1;
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All values, one after the other.
    pub(super) fn page(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of::<[Recent; RECENT]>()
            + self.bytes.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.numbers.capacity() * 5
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_has_one_number_and_comes_first_once_a_page(
            pages in prop::collection::vec(prop::collection::vec("[ab]{0,3}|[a-c]{7,9}|[ab]{15,18}|a{8}[a-c]{3}a{8}", 0..300), 1..4),
        ) {
            let mut dictionary = Dictionary::new(Plain::Text);
            let mut numbers = HashMap::new();
            for page in &pages {
                let mut in_page = HashSet::new();
                for value in page {
                    let next = numbers.len() as u32;
                    let number = *numbers.entry(value.as_str()).or_insert(next);
                    let found = dictionary.number_of(value.as_bytes());
                    prop_assert_eq!((found.number, found.is_first_of_page), (number, in_page.insert(value.as_str())));
                    prop_assert_eq!(dictionary.value(number), value.as_bytes());
                }
                dictionary.next_page();
            }
            prop_assert_eq!(dictionary.len(), numbers.len());
        }
    }
}
