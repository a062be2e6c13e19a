//! Lines that a run has seen before, by the id of their request.
//!
//! A producer that repeats what it is not sure of sends lines twice, with the same
//! `x-edge-request-id`. A window holds the ids of the last lines that were kept, as hashes of 128
//! bits in tables of a fixed size.
//!
//! No line is lost to it. A duplicate is acknowledged with its block, although the line that it
//! repeats may not be delivered yet, or never be. That line's own source keeps it unacknowledged
//! then, so that a later run reads it again and ships it: each run begins with an empty window, so
//! what one did not deliver is in no window of the next. Only lines that are kept enter it, none
//! that was filtered out or bad.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashTable;

/// The ids of the last lines of a run, shared by the threads that encode them.
pub struct DuplicateWindow {
    len: usize,
    ids: Mutex<Ids>,
}

/// The hashes in the order in which they came, and where each of them is.
struct Ids {
    ring: Vec<u128>,
    /// The place of the oldest, once the ring is full.
    oldest: usize,
    places: HashTable<u32>,
}

impl DuplicateWindow {
    /// The longest window: 3 GB.
    pub(crate) const MAX_LEN: usize = 100_000_000;

    /// A window of so many ids. It takes 27 to 39 bytes for each: 16 for the hash, and 11 to 23
    /// for its place, as the table of places grows in powers of two.
    pub fn new(len: NonZeroUsize) -> DuplicateWindow {
        let len = len.get();
        // With twice the room, the table never grows: what removed places have used up is won back
        // inside of it.
        let (ring, places) = (Vec::with_capacity(len), HashTable::with_capacity(2 * len));
        DuplicateWindow { len, ids: Mutex::new(Ids { ring, oldest: 0, places }) }
    }

    /// Enters the id in place of the oldest; `false` when it is there already. Another id is taken
    /// for it with a probability of the window's length in 2^128: even with the longest, once in
    /// 10^30 lines.
    pub(crate) fn enter(&self, id: &[u8]) -> bool {
        let hash = blake3::hash(id);
        let hash = u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        // The bits are as good as random.
        let short = |hash: u128| hash as u64;
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let Ids { ring, oldest, places } = &mut *ids;
        if places.find(short(hash), |&place| ring[place as usize] == hash).is_some() {
            return false;
        }
        let place = if ring.len() < self.len {
            ring.push(hash);
            ring.len() - 1
        } else {
            let place = *oldest;
            if let Ok(entry) = places.find_entry(short(ring[place]), |&other| other as usize == place) {
                entry.remove();
            }
            ring[place] = hash;
            *oldest = (place + 1) % self.len;
            place
        };
        places.insert_unique(short(hash), place as u32, |&place| short(ring[place as usize]));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::block::Layout;
    use crate::check::LineCounts;
    use crate::config::Settings;
    use crate::encode::Scratch;
    use crate::encode::tests::{block, rules, text};
    use pixel_engine_log::encode::Encoding;
    use pixel_engine_log::schema::{LogKind, Schema, Schemas};

    fn window(len: usize) -> DuplicateWindow {
        DuplicateWindow::new(NonZeroUsize::new(len).unwrap())
    }

    #[test]
    fn the_tables_never_grow() {
        for len in [1, 2, 3, 7, 100, 1_000, 1_024] {
            let window = window(len);
            let size = |window: &DuplicateWindow| {
                let ids = window.ids.lock().unwrap();
                (ids.ring.capacity(), ids.places.allocation_size(), ids.ring.len(), ids.places.len())
            };
            let (ring, places, ..) = size(&window);
            if len >= 100 {
                assert!((27 * len..39 * len).contains(&(16 * ring + places)), "{len}: {places}");
            }
            for number in 0..20 * len as u64 {
                assert!(window.enter(&number.to_be_bytes()));
            }
            assert_eq!(size(&window), (ring, places, len, len));
        }
    }

    #[test]
    fn of_several_threads_one_enters_an_id() {
        let (window, entered) = (window(10_000), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let new = (0..10_000_u64).filter(|number| window.enter(&number.to_be_bytes())).count();
                    entered.fetch_add(new as u64, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(entered.into_inner(), 10_000);
    }

    /// Its time, address and id.
    fn any_line() -> impl Strategy<Value = (&'static str, &'static str, u8)> {
        let time = prop::sample::select(vec!["1", "1", "1", "bad"]);
        let address = prop::sample::select(vec!["k", "k", "k", "filtered", "k_too_long_for_a_record"]);
        (time, address, 0..12_u8)
    }

    proptest! {
        #[test]
        fn blocks_one_after_the_other_lose_the_duplicates_of_a_plain_list(
            blocks in prop::collection::vec(prop::collection::vec(any_line(), 1..12), 1..8),
            len in 1..12_usize,
            encoding in prop::sample::select(vec![
                Encoding::Raw,
                Encoding::Json(None),
                Encoding::Projection("timestamp,c-ip,x-edge-request-id".parse().unwrap()),
            ]),
            is_treated in any::<bool>(),
        ) {
            let make = |duplicates| {
                let mut rules = rules(encoding.clone(), &["c-ip=k*"]);
                let schema = Schema::parse(LogKind::RealTime, "timestamp c-ip x-edge-request-id").unwrap();
                rules.checks.schemas = Schemas::new([schema]).unwrap();
                rules.max_line_len = if encoding == Encoding::Json(None) { 60 } else { 20 };
                let settings = Settings { drop: Some("x-edge-request-id".to_owned()), ..Settings::default() };
                rules.treatment = settings.validate().unwrap().treatment().filter(|_| is_treated).cloned();
                rules.duplicates = duplicates;
                rules
            };
            let (with_window, without) = (make(Some(window(len))), make(None));
            let mut scratch = Scratch::default();
            let mut last = VecDeque::new();
            for lines in blocks {
                let (mut input, mut kept, mut counts) = (String::new(), Vec::new(), LineCounts::default());
                for (time, address, id) in lines {
                    let id = if id == 0 { "-".to_owned() } else { id.to_string() };
                    let line = format!("{time}\t{address}\t{id}\n");
                    let alone = without.encode(block(line.as_bytes(), Layout::RealTime, None), &mut scratch);
                    input += &line;
                    counts += alone.counts;
                    if alone.block.line_count() == 0 {
                        continue;
                    }
                    if last.contains(&id) {
                        counts.filtered += 1;
                        counts.duplicates += 1;
                        continue;
                    }
                    if id != "-" {
                        last.push_back(id);
                        last.drain(..last.len().saturating_sub(len));
                    }
                    kept.extend_from_slice(text(&alone));
                }
                let encoded = with_window.encode(block(input.as_bytes(), Layout::RealTime, None), &mut scratch);
                prop_assert_eq!(text(&encoded), &kept[..]);
                prop_assert_eq!(encoded.counts, counts);
            }
        }
    }
}
