//! Which shard of a stream takes which hash keys.

use std::sync::{Arc, PoisonError, RwLock};

/// An open shard and the hash keys that it takes: `ListShards` in the Kinesis Data Streams API
/// reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// `ShardId`, such as `shardId-000000000000`.
    pub id: String,
    /// `StartingHashKey`.
    pub start: u128,
    /// `EndingHashKey`, which still belongs to the shard.
    pub end: u128,
}

impl Shard {
    /// The hash key that stands `position` 2^128ths of the way through the shard's range.
    pub fn hash_key_at(&self, position: u128) -> u128 {
        let span = self.end - self.start;
        // The upper half of position * (span + 1), whose 256 bits cannot overflow.
        let (_, offset) = position.carrying_mul(span, position);
        self.start + offset
    }
}

/// The open shards of a stream: every hash key belongs to exactly one of them.
///
/// The default is one shard without a name that takes everything, for records that go to no stream.
///
/// ```
/// use pixel_engine_kpl::{Shard, ShardMap};
/// let half = 1 << 127;
/// let map = ShardMap::new(vec![
///     Shard { id: "shardId-000000000002".to_owned(), start: half, end: u128::MAX },
///     Shard { id: "shardId-000000000001".to_owned(), start: 0, end: half - 1 },
/// ])?;
/// assert_eq!(map.shards()[map.shard_of(half)].id, "shardId-000000000002");
/// # Ok::<(), pixel_engine_kpl::ShardMapError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    /// By hash key.
    shards: Vec<Shard>,
}

#[expect(clippy::len_without_is_empty, reason = "there is always a shard")]
impl ShardMap {
    /// A map of the open shards of a stream, in any order.
    ///
    /// # Errors
    /// A hash key that no shard takes, or more than one. The usual cause is a closed shard in the
    /// list (one that was split or merged has an `EndingSequenceNumber`), or a page of the list
    /// that is missing.
    pub fn new(mut shards: Vec<Shard>) -> Result<ShardMap, ShardMapError> {
        shards.sort_by_key(|shard| (shard.start, shard.end));
        if let Some(shard) = shards.iter().find(|shard| shard.start > shard.end) {
            return Err(ShardMapError::Reversed(shard.clone()));
        }
        let (Some(first), Some(last)) = (shards.first(), shards.last()) else { return Err(ShardMapError::Empty) };
        if first.start > 0 {
            return Err(ShardMapError::NotFromZero(first.clone()));
        }
        for pair in shards.array_windows::<2>() {
            match pair[1].start.checked_sub(pair[0].end) {
                Some(1) => {}
                Some(2..) => return Err(ShardMapError::Gap(Box::new(pair.clone()))),
                Some(0) | None => return Err(ShardMapError::Overlap(Box::new(pair.clone()))),
            }
        }
        if last.end < u128::MAX {
            return Err(ShardMapError::NotToTheEnd(last.clone()));
        }
        Ok(ShardMap { shards })
    }

    /// The index of the shard that takes the hash key.
    #[inline]
    pub fn shard_of(&self, hash_key: u128) -> usize {
        self.shards.partition_point(|shard| shard.end < hash_key)
    }

    /// The shards by hash key.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// How many shards there are, at least one.
    pub fn len(&self) -> usize {
        self.shards.len()
    }
}

impl Default for ShardMap {
    fn default() -> ShardMap {
        ShardMap { shards: vec![Shard { end: u128::MAX, ..Shard::default() }] }
    }
}

/// Why a list of shards is not the map of a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardMapError {
    /// No shard at all, as while a stream is being created.
    #[error("the stream has no open shard")]
    Empty,
    /// A shard whose range ends before it starts.
    #[error("shard {} ends at hash key {}, before its start {}", .0.id, .0.end, .0.start)]
    Reversed(Shard),
    /// Nothing takes the first hash keys.
    #[error("no open shard takes the hash keys below {}, where shard {} starts", .0.start, .0.id)]
    NotFromZero(Shard),
    /// Nothing takes the hash keys between two shards.
    #[error("no open shard takes the hash keys between {} (shard {}) and {} (shard {})", .0[0].end, .0[0].id, .0[1].start, .0[1].id)]
    Gap(Box<[Shard; 2]>),
    /// Two shards take the same hash keys.
    #[error("shards {} (to {}) and {} (from {}) take the same hash keys", .0[0].id, .0[0].end, .0[1].id, .0[1].start)]
    Overlap(Box<[Shard; 2]>),
    /// Nothing takes the last hash keys.
    #[error("no open shard takes the hash keys above {}, where shard {} ends", .0.end, .0.id)]
    NotToTheEnd(Shard),
}

/// The map by which records are packed, and which the Kinesis sink replaces when the stream has
/// other shards. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SharedShardMap {
    map: Arc<RwLock<Arc<ShardMap>>>,
}

impl SharedShardMap {
    /// Shares that map.
    pub fn new(map: ShardMap) -> SharedShardMap {
        SharedShardMap { map: Arc::new(RwLock::new(Arc::new(map))) }
    }

    /// The map as it is now.
    pub fn current(&self) -> Arc<ShardMap> {
        // A map is replaced in one step: there is no half of it to see after a panic.
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is packed from now on goes by this map.
    pub fn replace(&self, map: ShardMap) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shard(id: &str, start: u128, end: u128) -> Shard {
        Shard { id: id.to_owned(), start, end }
    }

    /// A map whose shards but the first start at these hash keys; zero and those that come again
    /// are left out.
    pub(crate) fn map_cut_at(cuts: &[u128]) -> ShardMap {
        let mut starts: Vec<u128> = cuts.iter().copied().chain([0]).collect();
        starts.sort_unstable();
        starts.dedup();
        let ends = starts[1..].iter().map(|start| start - 1).chain([u128::MAX]);
        let shards = starts.iter().zip(ends).enumerate();
        ShardMap::new(
            shards.map(|(number, (&start, end))| shard(&format!("shardId-{number:012}"), start, end)).collect(),
        )
        .expect("no gap")
    }

    /// Hash keys at which a map may be cut: anywhere, at the borders, and side by side.
    fn any_cuts() -> impl Strategy<Value = Vec<u128>> {
        let cut = prop_oneof![4 => any::<u128>(), 1 => 0..5_u128, 1 => u128::MAX - 4..=u128::MAX];
        prop::collection::vec(cut, 0..60)
    }

    #[test]
    fn a_list_that_is_not_the_whole_space_is_refused_with_the_shard() {
        const END: u128 = u128::MAX;
        let error = |shards: &[Shard]| ShardMap::new(shards.to_vec()).unwrap_err().to_string();
        assert_eq!(error(&[]), "the stream has no open shard");
        assert_eq!(
            error(&[shard("a", 0, 4), shard("b", 9, 5), shard("c", 6, END)]),
            "shard b ends at hash key 5, before its start 9"
        );
        assert_eq!(
            error(&[shard("b", 8, END), shard("a", 1, 7)]),
            "no open shard takes the hash keys below 1, where shard a starts"
        );
        assert_eq!(
            error(&[shard("a", 0, 7), shard("b", 9, END)]),
            "no open shard takes the hash keys between 7 (shard a) and 9 (shard b)"
        );
        for start in [0, 3, 7] {
            assert_eq!(
                error(&[shard("a", 0, 7), shard("b", start, END)]),
                format!("shards a (to 7) and b (from {start}) take the same hash keys")
            );
        }
        // A parent beside its children.
        assert!(matches!(
            ShardMap::new(vec![shard("parent", 0, END), shard("one", 0, 7), shard("two", 8, END)]),
            Err(ShardMapError::Overlap(..))
        ));
        assert_eq!(
            error(&[shard("a", 0, END - 1)]),
            format!("no open shard takes the hash keys above {}, where shard a ends", END - 1)
        );
    }

    #[test]
    fn the_default_map_is_one_shard_with_everything() {
        let map = ShardMap::default();
        assert_eq!(ShardMap::new(map.shards().to_vec()), Ok(map.clone()));
        assert_eq!((map.len(), map.shard_of(0), map.shard_of(u128::MAX)), (1, 0, 0));
    }

    #[test]
    fn clones_see_a_map_that_was_replaced() {
        let shared = SharedShardMap::default();
        let clone = shared.clone();
        shared.replace(map_cut_at(&[1 << 127]));
        assert_eq!(clone.current().len(), 2);
    }

    proptest! {
        #[test]
        fn every_hash_key_has_the_shard_whose_range_holds_it(
            cuts in any_cuts(),
            hash_keys in prop::collection::vec(any::<u128>(), 0..40),
        ) {
            let map = map_cut_at(&cuts);
            let borders = cuts.iter().flat_map(|&cut| [cut.wrapping_sub(1), cut, cut.wrapping_add(1)]);
            for hash_key in hash_keys.iter().copied().chain(borders) {
                let found = map.shard_of(hash_key);
                let holds = |shard: &Shard| (shard.start..=shard.end).contains(&hash_key);
                prop_assert_eq!(map.shards().iter().position(holds), Some(found));
            }
        }

        #[test]
        fn a_position_is_the_same_part_of_every_shard(cuts in any_cuts(), position in any::<u128>()) {
            for shard in map_cut_at(&cuts).shards() {
                prop_assert_eq!(shard.hash_key_at(0), shard.start);
                prop_assert_eq!(shard.hash_key_at(u128::MAX), shard.end);
                let hash_key = shard.hash_key_at(position);
                prop_assert!((shard.start..=shard.end).contains(&hash_key));
                let parts = |of: u128, whole: u128| of as f64 / (whole as f64 + 1.0);
                let there = parts(hash_key - shard.start, shard.end - shard.start);
                let step = 1.0 / ((shard.end - shard.start) as f64 + 1.0);
                prop_assert!((there - parts(position, u128::MAX)).abs() <= step + 1e-9);
            }
            prop_assert_eq!(ShardMap::default().shards()[0].hash_key_at(position), position);
        }
    }
}
