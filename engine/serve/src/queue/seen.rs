//! What was done before, so that it is not done twice: SQS and S3 promise a message and a
//! notification at least once, not just once.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// Messages and events that are remembered, at most: some 10 MB of each.
const MAX_LEN: usize = 65_536;

/// The last of what was added.
#[derive(Debug)]
pub(super) struct Seen<T> {
    found: HashSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Seen<T> {
        Seen { found: HashSet::new(), order: VecDeque::new() }
    }
}

impl<T: Hash + Eq + Clone> Seen<T> {
    /// Adds it; whether it was not there.
    pub(super) fn add(&mut self, item: T) -> bool {
        if !self.found.insert(item.clone()) {
            return false;
        }
        self.order.push_back(item);
        if self.order.len() > MAX_LEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
        true
    }

    pub(super) fn has(&self, item: &T) -> bool {
        self.found.contains(item)
    }

    pub(super) fn forget(&mut self, item: &T) {
        if self.found.remove(item) {
            self.order.retain(|other| other != item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut seen = Seen::default();
        assert!((0..=MAX_LEN).all(|item| seen.add(item)));
        assert!(!seen.has(&0) && seen.has(&1));
        assert!(!seen.add(1) && seen.add(0));
        seen.forget(&0);
        assert!(!seen.has(&0) && seen.add(0));
        assert!(seen.found.len() == seen.order.len() && seen.order.len() <= MAX_LEN);
    }
}
