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
    /// The value before, which is often the next one too.
    last: Option<u32>,
    /// Which data page is being filled.
    page: u32,
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
            last: None,
            page: 0,
        }
    }

    /// The number of the value, which is a new one if it has none.
    #[inline]
    pub(super) fn number_of(&mut self, value: &[u8]) -> Found {
        if let Some(number) = self.last
            && self.value(number) == value
        {
            return Found { number, is_first_of_page: false };
        }
        self.look_up(value)
    }

    fn look_up(&mut self, value: &[u8]) -> Found {
        let Dictionary { plain, bytes, entries, numbers, hasher, last, .. } = self;
        let text = |number: u32| {
            let Entry { start, end, .. } = entries[number as usize];
            &bytes[start as usize..end as usize]
        };
        let hash = hash_of(hasher, value);
        let number = match numbers.find(hash, |&number| text(number) == value) {
            Some(&number) => number,
            None => {
                let number = entries.len() as u32;
                numbers.insert_unique(hash, number, |&number| hash_of(hasher, text(number)));
                plain.append(value, bytes);
                let end = bytes.len() as u32;
                entries.push(Entry { start: end - value.len() as u32, end, page: u32::MAX });
                number
            }
        };
        *last = Some(number);
        Found { number, is_first_of_page: self.is_first_of_page(number) }
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
        self.last = None;
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
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>() + self.numbers.capacity() * 5
    }
}
