//! Which rows repeat the request of another.
//!
//! A first look at nothing but the ids finds those whose hash comes twice, which takes 8 bytes a
//! row; only these are then told apart for certain, by 128 bits. Where there are many rows, the
//! first look is made in parts, so that it never takes more than 128 MiB.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashSet, HashTable};
use parquet::basic::Type as PhysicalType;
use parquet::errors::Result;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::input::Section;
use super::values;

/// The column of the ids.
const COLUMN: &str = "x_edge_request_id";
/// Hashes of a look at most.
const MAX_HASHES: u64 = 1 << 24;

/// The place of the ids among the leaves, where the file has such.
pub(super) fn leaf(schema: &SchemaDescriptor) -> Option<usize> {
    schema.columns().iter().position(|column| {
        column.path().parts() == [COLUMN]
            && column.physical_type() == PhysicalType::BYTE_ARRAY
            && column.max_rep_level() == 0
    })
}

/// Calls `each` with every id of a column chunk, in the order of the rows; `None` where there is none.
pub(super) fn read(
    section: Section,
    chunk: &ColumnChunkMetaData,
    column: &ColumnDescPtr,
    rows: usize,
    mut each: impl FnMut(Option<&[u8]>),
) -> Result<()> {
    values::read(section, chunk, column, rows, |batch| {
        let mut values = 0;
        for level in 0..batch.len() {
            let is_present =
                batch.definitions.get(level).is_none_or(|&level| i16::from(level) == column.max_def_level());
            let value = if is_present { batch.values.get(values) } else { None };
            values += usize::from(is_present);
            each(value.and_then(id));
        }
        Ok(())
    })
}

/// Text that says that there is none is no id.
fn id(text: &[u8]) -> Option<&[u8]> {
    (!matches!(text, b"" | b"-")).then_some(text)
}

/// A first look at ids.
pub(super) struct Look {
    /// How many bits of a hash tell the parts apart.
    bits: u32,
    /// The part that this look is about.
    part: u64,
    hashes: Vec<u64>,
}

impl Look {
    /// The looks that so many rows take.
    pub(super) fn all(rows: u64) -> impl Iterator<Item = Look> {
        let bits = rows.div_ceil(MAX_HASHES).max(1).next_power_of_two().trailing_zeros();
        (0..1_u64 << bits).map(move |part| Look { bits, part, hashes: Vec::new() })
    }

    pub(super) fn add(&mut self, hashes: &[u64]) {
        let (bits, part) = (self.bits, self.part);
        let is_of_part = |hash: &u64| bits == 0 || hash >> (64 - bits) == part;
        self.hashes.extend(hashes.iter().copied().filter(is_of_part));
    }

    /// The hashes that come more than once.
    pub(super) fn repeated(mut self) -> impl Iterator<Item = u64> {
        self.hashes.sort_unstable();
        let mut repeated: Vec<u64> =
            self.hashes.array_windows().filter(|[one, other]| one == other).map(|[hash, _]| *hash).collect();
        repeated.dedup();
        repeated.into_iter()
    }
}

/// The hash of a first look.
pub(super) fn hash(id: &[u8]) -> u64 {
    FixedState::default().hash_one(id)
}

/// The requests of the rows so far, as far as any of them may come twice.
#[derive(Default)]
pub(super) struct Seen {
    repeated: HashSet<u64, FixedState>,
    ids: HashTable<u128>,
}

impl Seen {
    /// Of ids with these hashes.
    pub(super) fn new(repeated: impl IntoIterator<Item = u64>) -> Seen {
        Seen { repeated: repeated.into_iter().collect(), ids: HashTable::new() }
    }

    /// Whether no id can come twice.
    pub(super) fn has_none(&self) -> bool {
        self.repeated.is_empty()
    }

    /// Whether the id is the first of its kind. Another one is taken for it with a probability of
    /// their number in 2^128.
    pub(super) fn is_first(&mut self, id: &[u8]) -> bool {
        if !self.repeated.contains(&hash(id)) {
            return true;
        }
        let full = blake3::hash(id);
        let full = u128::from_le_bytes(*full.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        // The bits are as good as random.
        let short = |hash: &u128| *hash as u64;
        match self.ids.find(short(&full), |&other| other == full) {
            Some(_) => false,
            None => {
                self.ids.insert_unique(short(&full), full, short);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_id_is_the_first_once(ids in prop::collection::vec("[a-c]{0,3}", 0..60), rows in 0..3_u64) {
            // As many looks as if there were many rows more.
            let mut repeated = Vec::new();
            for mut look in Look::all(rows * 3 * MAX_HASHES) {
                look.add(&ids.iter().map(|id| hash(id.as_bytes())).collect::<Vec<_>>());
                repeated.extend(look.repeated());
            }
            let mut seen = Seen::new(repeated);
            let first: Vec<bool> = ids.iter().map(|id| seen.is_first(id.as_bytes())).collect();
            let expected: Vec<bool> = ids.iter().enumerate().map(|(place, id)| !ids[..place].contains(id)).collect();
            prop_assert_eq!(first, expected);
        }
    }

    #[test]
    fn looks_are_as_many_as_memory_wants() {
        let count = |rows| Look::all(rows).count();
        assert_eq!([0, 1, MAX_HASHES, MAX_HASHES + 1, 5 * MAX_HASHES].map(count), [1, 1, 1, 2, 8]);
    }
}
