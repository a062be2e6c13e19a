//! A table of visitors, or of ids, that stays small however many there are.
//!
//! Keys are hashes, as good as random. While they fit, all are kept and every number is exact. When
//! they no longer do, only keys whose first bit is 0 are kept, then those whose first two bits are,
//! and so on: at level `n` a key of 2^n, whatever it is and whenever it comes. So what is kept is a
//! fair sample, each of its numbers times 2^n is an estimate for all, and which keys are kept
//! depends neither on the order in which they came nor on how the lines were split among threads or
//! machines: tables can be merged. (This is the adaptive sampling of Wegman, analysed by Flajolet in
//! Computing 43, 1990. HyperLogLog would count in less room, but keep nothing of a visitor, and
//! sessions and funnels are made of what visitors did.)
//!
//! The standard error of an estimate from `n` kept keys is about `1 / sqrt(n)`; a table of 200,000
//! holds at least half of that once it is full: 0.2 to 0.3 %.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};

/// How many parts a table has, each with a lock of its own.
const SHARDS: usize = 64;

/// The part that a key is in: from its last bits, as levels are from the first.
#[inline]
fn shard_of(key: u64) -> usize {
    key as usize % SHARDS
}

/// What is kept of a key.
pub(crate) trait Kept: Default {
    /// How many places it takes. Must not depend on the order in which it was noted, and never
    /// shrink by much.
    fn places(&self) -> usize;
}

/// A table that several threads fill.
pub(crate) struct Sample<V> {
    shards: Vec<Mutex<Shard<V>>>,
    /// Places taken in all shards.
    places: AtomicI64,
    max_places: i64,
    /// Held while the level is raised.
    raising: Mutex<()>,
}

/// A part of the table.
struct Shard<V> {
    level: u32,
    entries: HashTable<(u64, V)>,
    places: i64,
}

impl<V: Kept> Shard<V> {
    /// What is noted of the key, and whether it is new; `None` if the level leaves it out.
    #[inline]
    fn get(&mut self, key: u64) -> Option<(&mut V, bool)> {
        if key.leading_zeros() < self.level {
            return None;
        }
        match self.entries.entry(key, |(other, _)| *other == key, |(key, _)| *key) {
            Entry::Occupied(entry) => Some((&mut entry.into_mut().1, false)),
            Entry::Vacant(entry) => Some((&mut entry.insert((key, V::default())).into_mut().1, true)),
        }
    }

    fn raise_to(&mut self, level: u32) {
        self.level = level;
        self.entries.retain(|(key, _)| key.leading_zeros() >= level);
        let room = self.entries.len();
        self.entries.shrink_to(room + room / 2, |(key, _)| *key);
        self.count();
    }

    fn count(&mut self) {
        self.places = self.entries.iter().map(|(_, value)| value.places() as i64).sum();
    }
}

impl<V: Kept> Sample<V> {
    /// An empty table with room for so many places.
    pub(crate) fn new(max_places: usize) -> Sample<V> {
        let shard = || Mutex::new(Shard { level: 0, entries: HashTable::new(), places: 0 });
        Sample {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            places: AtomicI64::new(0),
            max_places: max_places as i64,
            raising: Mutex::new(()),
        }
    }

    /// Notes what is in the batch, and empties it.
    pub(crate) fn note<T>(&self, batch: &mut Batch<T>, note: impl Fn(&mut V, T)) {
        for (shard, entries) in batch.0.iter_mut().enumerate().filter(|(_, entries)| !entries.is_empty()) {
            self.note_in(shard, entries.drain(..), &note);
        }
    }

    /// Notes something of keys that are all in the shard of that number.
    fn note_in<T>(&self, shard: usize, entries: impl Iterator<Item = (u64, T)>, note: impl Fn(&mut V, T)) {
        let mut shard = lock(&self.shards[shard]);
        let mut more = 0;
        for (key, what) in entries {
            let Some((kept, is_new)) = shard.get(key) else { continue };
            let before = if is_new { 0 } else { kept.places() };
            note(kept, what);
            more += kept.places() as i64 - before as i64;
        }
        shard.places += more;
        drop(shard);
        if self.places.fetch_add(more, Ordering::Relaxed) + more > self.max_places {
            self.raise();
        }
    }

    /// Raises the level until what is kept fits.
    fn raise(&self) {
        let _one_at_a_time = lock(&self.raising);
        while self.places.load(Ordering::Relaxed) > self.max_places {
            let level = lock(&self.shards[0]).level + 1;
            for shard in &self.shards {
                let mut shard = lock(shard);
                let before = shard.places;
                shard.raise_to(level);
                self.places.fetch_add(shard.places - before, Ordering::Relaxed);
            }
        }
    }

    /// Everything that was noted, in the order of the keys.
    pub(crate) fn take(&self) -> Kepts<V> {
        let _one_at_a_time = lock(&self.raising);
        let level = self.shards.iter().map(|shard| lock(shard).level).max().unwrap_or_default();
        let len = self.shards.iter().map(|shard| lock(shard).entries.len()).sum();
        let mut entries = Vec::with_capacity(len);
        for shard in &self.shards {
            let mut shard = lock(shard);
            entries.extend(std::mem::take(&mut shard.entries));
            self.places.fetch_sub(shard.places, Ordering::Relaxed);
            *shard = Shard { level, entries: HashTable::new(), places: 0 };
        }
        entries.retain(|(key, _)| key.leading_zeros() >= level);
        entries.sort_unstable_by_key(|(key, _)| *key);
        Kepts { level, entries }
    }

    /// Everything that was noted so far, in the order of the keys.
    pub(crate) fn copy(&self) -> Kepts<V>
    where
        V: Clone,
    {
        let _one_at_a_time = lock(&self.raising);
        let level = self.shards.iter().map(|shard| lock(shard).level).max().unwrap_or_default();
        let mut entries = Vec::new();
        for shard in &self.shards {
            entries.extend(lock(shard).entries.iter().filter(|(key, _)| key.leading_zeros() >= level).cloned());
        }
        entries.sort_unstable_by_key(|(key, _)| *key);
        Kepts { level, entries }
    }

    /// Adds what another table kept; `join` puts together what both have noted of a key.
    fn merge(&self, from: Kepts<V>, join: impl Fn(&mut V, V)) {
        {
            let _one_at_a_time = lock(&self.raising);
            for shard in &self.shards {
                let mut shard = lock(shard);
                if shard.level < from.level {
                    let before = shard.places;
                    shard.raise_to(from.level);
                    self.places.fetch_add(shard.places - before, Ordering::Relaxed);
                }
            }
        }
        for (key, value) in from.entries {
            self.note_in(shard_of(key), std::iter::once((key, value)), &join);
        }
    }
}

/// What one thread has noted of keys, by the part of the table that they are in.
pub(crate) struct Batch<T>(Vec<Vec<(u64, T)>>);

impl<T> Default for Batch<T> {
    fn default() -> Batch<T> {
        Batch((0..SHARDS).map(|_| Vec::new()).collect())
    }
}

impl<T> Batch<T> {
    #[inline]
    pub(crate) fn push(&mut self, key: u64, what: T) {
        self.0[shard_of(key)].push((key, what));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a table has kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kepts<V> {
    /// One key of 2^level is kept.
    pub(crate) level: u32,
    /// In the order of the keys.
    pub(crate) entries: Vec<(u64, V)>,
}

impl<V> Default for Kepts<V> {
    fn default() -> Kepts<V> {
        Kepts { level: 0, entries: Vec::new() }
    }
}

impl<V: Kept> Kepts<V> {
    /// Adds what another table kept, where a table has room for so many places; `join` puts together
    /// what both have noted of a key.
    pub(crate) fn merge(&mut self, from: Kepts<V>, max_places: usize, join: impl Fn(&mut V, V)) {
        if self.entries.is_empty() && self.level <= from.level {
            // What a table kept fits into one of the same size.
            *self = from;
            return;
        }
        let sample = Sample::new(max_places);
        for kept in [std::mem::take(self), from] {
            sample.merge(kept, &join);
        }
        *self = sample.take();
    }
}

impl<V> Kepts<V> {
    /// Whether every key is there.
    pub(crate) fn is_exact(&self) -> bool {
        self.level == 0
    }

    /// How many there are in all, when so many of the kept ones are.
    pub(crate) fn estimate(&self, kept: u64) -> u64 {
        kept << self.level
    }

    /// The standard error of that, as a part of it. Of the keys, each is kept with a probability of
    /// 2^-level.
    pub(crate) fn error(&self, kept: u64) -> f64 {
        self.error_of_sum(kept as f64, kept as f64)
    }

    /// The standard error of an estimate that is a sum over the kept keys, by the sum of the squares
    /// of what each of them adds to it: keys that add much make it less sure.
    pub(crate) fn error_of_sum(&self, sum: f64, squares: f64) -> f64 {
        if self.is_exact() || sum == 0.0 {
            return 0.0;
        }
        ((1.0 - (-f64::from(self.level)).exp2()) * squares).sqrt() / sum
    }
}

/// How often a key came.
impl Kept for u32 {
    fn places(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(sample: &Sample<u32>, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            let mut batch = Batch::default();
            batch.push(key, 1);
            sample.note(&mut batch, |count, more| *count += more);
        }
    }

    /// Keys as good as random.
    fn key(number: u64) -> u64 {
        u64::from_le_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap())
    }

    #[test]
    fn few_are_all_kept() {
        let sample = Sample::new(1_000);
        count(&sample, (0..1_000).chain(500..1_000).map(key));
        let kept = sample.take();
        assert!(kept.is_exact());
        assert_eq!((kept.entries.len(), kept.error(1_000)), (1_000, 0.0));
        assert_eq!(kept.entries.iter().filter(|(_, count)| *count == 2).count(), 500);
    }

    #[test]
    fn many_are_estimated_within_the_error_and_take_no_more_room() {
        let sample = Sample::new(4_096);
        count(&sample, (0..300_000).map(key));
        let kept = sample.take();
        assert!((2_000..=4_096).contains(&kept.entries.len()), "{}", kept.entries.len());
        let (kept_len, estimate) = (kept.entries.len() as u64, kept.estimate(kept.entries.len() as u64));
        let error = (estimate as f64 / 300_000.0 - 1.0).abs();
        assert!(error < 4.0 * kept.error(kept_len), "{estimate}: {error} beside {}", kept.error(kept_len));
        assert!(kept.entries.iter().all(|(_, count)| *count == 1));
    }

    #[test]
    fn the_error_of_a_sum_is_how_far_it_is_off() {
        // Every tenth key adds 30, the others 1.
        let adds = |number: u64| if number.is_multiple_of(10) { 30 } else { 1 };
        let (keys, samples) = (20_000, 60);
        let wanted: u64 = (0..keys).map(adds).sum();
        let (mut off, mut said) = (0.0, 0.0);
        for of_sample in 0..samples {
            let sample = Sample::<u32>::new(1_500);
            for number in 0..keys {
                let mut batch = Batch::default();
                batch.push(key(of_sample * keys + number), adds(number) as u32);
                sample.note(&mut batch, |count, more| *count += more);
            }
            let kept = sample.take();
            let added = || kept.entries.iter().map(|(_, count)| f64::from(*count));
            let (sum, squares) = (added().sum::<f64>(), added().map(|add| add * add).sum());
            off += ((kept.estimate(sum as u64) as f64 - wanted as f64) / wanted as f64).powi(2);
            said += kept.error_of_sum(sum, squares).powi(2);
        }
        let ratio = (off / said).sqrt();
        assert!((0.7..1.4).contains(&ratio), "{ratio}");
    }

    proptest! {
        /// The level may not depend on who saw what first.
        #[test]
        fn any_split_and_order_keeps_the_same(
            numbers in prop::collection::vec(0u64..3_000, 0..3_000), parts in 1usize..5, max in 16usize..600
        ) {
            let whole = Sample::new(max);
            count(&whole, numbers.iter().copied().map(key));
            let merged = Sample::new(max);
            for part in (0..parts).rev() {
                let sample = Sample::new(max);
                count(&sample, numbers.iter().copied().skip(part).step_by(parts).map(key));
                merged.merge(sample.take(), |count, more| *count += more);
            }
            prop_assert_eq!(whole.take(), merged.take());
        }
    }
}
