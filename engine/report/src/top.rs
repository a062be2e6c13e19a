//! How often each name came: exactly while there is room for all, then the most frequent ones with
//! a bound on the error.
//!
//! Threads count into [`Names`], small tables by the text as the log has it: a name that comes again
//! costs a hash and a comparison, and is decoded once. Now and then these are poured into a [`Top`],
//! where a name is what people read.

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::hash::BuildHasher;

/// How many beacons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) all: u64,
    /// Those of them that known bots sent.
    pub(crate) bots: u64,
}

impl Counts {
    #[inline]
    pub(crate) fn add(&mut self, is_bot: bool) {
        self.all += 1;
        self.bots += u64::from(is_bot);
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.all += other.all;
        self.bots += other.bots;
    }
}

/// Which escapes a text has: texts that look the same may say different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// A field: CloudFront's.
    Once,
    /// A parameter of a query that is encoded once: the viewer's.
    OnceInQuery,
    /// A parameter: the viewer's inside of CloudFront's.
    Twice,
}

/// Names as the log has them, each with what is known of it.
pub(crate) struct Names<T> {
    entries: HashTable<Name<T>>,
    /// Bytes of text as the log has it.
    raw_bytes: usize,
    hasher: RandomState,
}

/// A name, and how often it came.
pub(crate) struct Name<T> {
    raw: Box<[u8]>,
    escapes: Escapes,
    /// The name that people read.
    pub(crate) name: Box<str>,
    pub(crate) counts: Counts,
    /// What was found out about it when it came first.
    pub(crate) known: T,
}

impl<T> Default for Names<T> {
    fn default() -> Names<T> {
        Names { entries: HashTable::new(), raw_bytes: 0, hasher: RandomState::default() }
    }
}

impl<T> Names<T> {
    /// So many names are poured out, or names of so many bytes.
    const FULL: usize = 4_096;
    const FULL_BYTES: usize = 1 << 20;

    /// The entry of that text; `new` makes one when it comes for the first time.
    #[inline]
    pub(crate) fn get(&mut self, raw: &[u8], escapes: Escapes, new: impl FnOnce() -> (Box<str>, T)) -> &mut Name<T> {
        let hash = self.hasher.hash_one(raw);
        let entry = self.entries.entry(
            hash,
            |other| *other.raw == *raw && other.escapes == escapes,
            |other| self.hasher.hash_one(&*other.raw),
        );
        let entry = entry.or_insert_with(|| {
            let (name, known) = new();
            self.raw_bytes += raw.len();
            Name { raw: raw.into(), escapes, name, counts: Counts::default(), known }
        });
        entry.into_mut()
    }

    /// Whether it is time to pour out.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= Names::<T>::FULL || self.raw_bytes >= Names::<T>::FULL_BYTES
    }

    /// Moves the counts out. What is known stays, unless there is too much of it.
    pub(crate) fn pour(&mut self, top: &mut Top) {
        for name in self.entries.iter_mut().filter(|name| name.counts != Counts::default()) {
            top.add(&name.name, std::mem::take(&mut name.counts));
        }
        if self.is_full() {
            self.entries.clear();
            self.raw_bytes = 0;
        }
    }
}

/// The most frequent names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Top {
    all: Frequent,
    bots: Frequent,
}

/// One name of a [`Top`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) counts: Counts,
}

impl Top {
    /// An empty table that keeps three quarters of so many names, a power of two, exactly.
    pub(crate) fn new(max_names: usize) -> Top {
        let sketch = || Frequent(FrequentItemsSketch::new(max_names).expect("a power of two"));
        Top { all: sketch(), bots: sketch() }
    }

    pub(crate) fn add(&mut self, name: &str, counts: Counts) {
        self.all.0.update_with_count_ref(name, counts.all);
        if counts.bots > 0 {
            self.bots.0.update_with_count_ref(name, counts.bots);
        }
    }

    pub(crate) fn merge(&mut self, from: &Top) {
        self.all.0.merge(&from.all.0);
        self.bots.0.merge(&from.bots.0);
    }

    /// By how much a count may be too high or too low; 0 while everything is exact.
    pub(crate) fn error(&self) -> u64 {
        self.all.0.maximum_error().max(self.bots.0.maximum_error())
    }

    /// How many beacons have any name.
    pub(crate) fn total(&self) -> Counts {
        Counts { all: self.all.0.total_weight(), bots: self.bots.0.total_weight() }
    }

    /// The names that came most often first, then in the order of the alphabet; when not all could
    /// be kept, only those that came more often than the error.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let frequent = self.all.0.frequent_items(ErrorType::NoFalsePositives);
        let rows = frequent.iter().map(|row| {
            let all = row.estimate();
            let bots = self.bots.0.estimate(row.item().as_str()).min(all);
            Row { name: row.item().clone(), counts: Counts { all, bots } }
        });
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_unstable_by(|one, other| {
            other.counts.all.cmp(&one.counts.all).then_with(|| one.name.cmp(&other.name))
        });
        rows
    }
}

/// A sketch as bytes, in the form that all implementations of DataSketches read.
#[derive(Clone, Debug)]
struct Frequent(FrequentItemsSketch<String>);

impl Serialize for Frequent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Frequent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Frequent, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        FrequentItemsSketch::deserialize(&bytes).map(Frequent).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: u64, bots: u64) -> Counts {
        Counts { all, bots }
    }

    #[test]
    fn names_are_counted_by_their_text_and_poured_out_by_what_it_says() {
        let mut names = Names::default();
        for (raw, is_bot) in [(&b"a%20b"[..], false), (b"a+b", true), (b"a%20b", false), (b"c", false)] {
            names.get(raw, Escapes::Twice, || (if raw == b"c" { "c" } else { "a b" }.into(), ())).counts.add(is_bot);
        }
        let mut top = Top::new(16);
        names.pour(&mut top);
        names.pour(&mut top);
        assert_eq!(
            top.rows(),
            [Row { name: "a b".into(), counts: counts(3, 1) }, Row { name: "c".into(), counts: counts(1, 0) }]
        );
        assert_eq!((top.error(), top.total()), (0, counts(4, 1)));
    }

    #[test]
    fn long_names_are_poured_out_before_there_are_many() {
        let (mut names, mut top) = (Names::default(), Top::new(1 << 14));
        let mut poured = 0;
        for number in 0..400_u64 {
            let raw = format!("{number:010000}");
            names.get(raw.as_bytes(), Escapes::Once, || (number.to_string().into(), ())).counts.add(false);
            if names.is_full() {
                names.pour(&mut top);
                poured += 1;
                assert!(names.entries.is_empty() && !names.is_full());
            }
        }
        names.pour(&mut top);
        assert_eq!((poured, top.rows().len(), top.total().all), (3, 400, 400));
    }

    #[test]
    fn what_is_too_much_has_an_error_that_holds() {
        let mut top = Top::new(64);
        for number in 0..10_000_u64 {
            // 0 comes 2,000 times, 1 1,000 times, all others once.
            let name = match number {
                0..2_000 => 0,
                2_000..3_000 => 1,
                _ => number,
            };
            top.add(&name.to_string(), counts(1, u64::from(name == 0)));
        }
        let (rows, error) = (top.rows(), top.error());
        assert!(error > 0);
        assert_eq!(rows[0].name, "0");
        for (row, wanted) in rows.iter().zip([2_000, 1_000]) {
            assert!(row.counts.all.abs_diff(wanted) <= error, "{row:?} beside {error}");
        }
        assert_eq!(top.total().all, 10_000);
    }

    #[test]
    fn tables_that_were_written_are_read_and_merged() {
        let mut top = Top::new(16);
        top.add("é", counts(2, 1));
        let bytes = postcard::to_stdvec(&top).unwrap();
        let mut read: Top = postcard::from_bytes(&bytes).unwrap();
        read.merge(&top);
        assert_eq!(read.rows(), [Row { name: "é".into(), counts: counts(4, 2) }]);
    }
}
