//! Random choices: a generator per line, and skewed picks.

use fastrand::Rng;

/// A bijection of 64-bit words that spreads every bit over all others (the finalizer of
/// SplitMix64).
#[inline]
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// The random numbers of one line, or of one visitor.
pub(crate) struct Draw(Rng);

impl Draw {
    /// The numbers that belong to `number` under `seed`, whatever was drawn before: a line can be
    /// generated without those in front of it.
    #[inline]
    pub(crate) fn new(seed: u64, number: u64) -> Draw {
        Draw(Rng::with_seed(mix(seed ^ mix(number.wrapping_add(0x9e37_79b9_7f4a_7c15)))))
    }

    #[inline]
    pub(crate) fn word(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number from 0 to `bound - 1`. The error of not rejecting is below 2^-32, which no log
    /// shows.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((self.word() >> 32) * bound) >> 32
    }

    /// A number from `low` to `high - 1`.
    #[inline]
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// True in `share` of 1,000 calls.
    #[inline]
    pub(crate) fn per_mille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// True in `share` of 10,000 calls.
    #[inline]
    pub(crate) fn per_ten_thousand(&mut self, share: u32) -> bool {
        self.below(10_000) < u64::from(share)
    }

    /// A number below 2^`most_bits`, its number of bits drawn evenly from `least_bits` to
    /// `most_bits`: small numbers come much more often, as in Zipf's law.
    #[inline]
    pub(crate) fn skewed(&mut self, least_bits: u64, most_bits: u64) -> u64 {
        let bits = self.between(least_bits, most_bits + 1);
        self.word() & ((1 << bits) - 1)
    }

    #[inline]
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

/// Items of which the first are drawn most often.
pub(crate) struct Skewed<T> {
    items: Vec<T>,
    slots: Vec<u16>,
}

impl<T> Skewed<T> {
    const SLOTS: usize = 4096;

    /// Item `i`, from 1, has the weight `1 / (i + flatness)`: Zipf's law, milder with more
    /// flatness. Only divisions and sums, which are the same on every machine; `powf` is not.
    pub(crate) fn new(items: Vec<T>, flatness: f64) -> Skewed<T> {
        let weights: Vec<f64> = (1..=items.len()).map(|rank| 1.0 / (rank as f64 + flatness)).collect();
        Skewed::weighted(items, &weights)
    }

    /// Items with a weight each; every item is drawn sometimes, however small its weight.
    pub(crate) fn weighted(items: Vec<T>, weights: &[f64]) -> Skewed<T> {
        assert_eq!(items.len(), weights.len());
        let total: f64 = weights.iter().sum();
        let mut slots = Vec::with_capacity(Self::SLOTS + items.len());
        for (index, weight) in weights.iter().enumerate() {
            let share = (weight / total * Self::SLOTS as f64) as usize;
            slots.extend(std::iter::repeat_n(index as u16, share.max(1)));
        }
        Skewed { items, slots }
    }

    #[inline]
    pub(crate) fn pick(&self, draw: &mut Draw) -> &T {
        &self.items[self.pick_index(draw)]
    }

    /// Where the picked item stands in [`Skewed::items`].
    #[inline]
    pub(crate) fn pick_index(&self, draw: &mut Draw) -> usize {
        usize::from(draw.pick(&self.slots))
    }

    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_items_dominate_and_the_last_still_come() {
        let items = Skewed::new((0..200).collect(), 0.0);
        let mut draw = Draw::new(1, 1);
        let mut counts = [0_u32; 200];
        for _ in 0..200_000 {
            counts[*items.pick(&mut draw)] += 1;
        }
        assert!(counts[0] > 5 * counts[9] && counts[9] > counts[100]);
        assert!(counts.iter().all(|&count| count > 0));
    }

    #[test]
    fn bounds_hold() {
        let mut draw = Draw::new(3, 4);
        assert!((0..10_000).map(|_| draw.between(5, 8)).all(|number| (5..8).contains(&number)));
        assert!((0..10_000).map(|_| draw.skewed(2, 6)).all(|number| number < 64));
    }
}
