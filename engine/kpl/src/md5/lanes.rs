//! MD5 in the lanes of vectors, written once for all instruction sets.
//!
//! What it adds to the steps:
//!
//! 1. The 16 words of a block lie side by side in memory, but the vector for word `i` needs word
//!    `i` of every message: [`Lanes::transpose`] turns rows into columns with loads and shuffles.
//!    Gathers would cost a load for every word, and more than that on Zen 4.
//! 2. A step is a chain of four dependent instructions or more. [`Pair`] runs two sets of lanes in
//!    turns, so that one computes while the other waits: half as fast again on Zen 4.

use super::steps::{Arithmetic, Block, States, one_block};

/// Vectors: the arithmetic, and how messages get into lanes.
pub(super) trait Lanes: Arithmetic {
    /// How many lanes there are.
    const COUNT: usize;

    /// The first [`Lanes::COUNT`] numbers, one a lane. Panics when there are fewer.
    fn load(self, numbers: &[u32]) -> Self::Word;

    /// The inverse of [`Lanes::load`].
    fn store(self, word: Self::Word, numbers: &mut [u32]);

    /// The little-endian words of block `index` of the first [`Lanes::COUNT`] streams: lane `l` of
    /// vector `w` is word `w` of stream `l`. Panics when a stream is shorter.
    fn transpose(self, streams: &[&[Block]], index: usize) -> [Self::Word; 16];
}

/// [`Kernel::compress`](super::steps::Kernel::compress), to be inlined where the instruction set is
/// enabled.
#[inline(always)]
pub(super) fn compress<L: Lanes>(lanes: L, states: &mut States, streams: &[&[Block]], blocks: usize) {
    let [a, b, c, d] = &mut states.0;
    let mut state = [lanes.load(a), lanes.load(b), lanes.load(c), lanes.load(d)];
    for index in 0..blocks {
        let words = lanes.transpose(streams, index);
        state = one_block(lanes, state, &words);
    }
    for (word, numbers) in state.into_iter().zip([a, b, c, d]) {
        lanes.store(word, numbers);
    }
}

/// Two sets of lanes, step by step in turns.
#[derive(Clone, Copy)]
pub(super) struct Pair<L>(pub(super) L);

impl<A: Arithmetic> Arithmetic for Pair<A> {
    type Word = [A::Word; 2];

    #[inline(always)]
    fn splat(self, number: u32) -> Self::Word {
        [self.0.splat(number); 2]
    }

    #[inline(always)]
    fn add(self, left: Self::Word, right: Self::Word) -> Self::Word {
        [self.0.add(left[0], right[0]), self.0.add(left[1], right[1])]
    }

    #[inline(always)]
    fn rotate_left(self, word: Self::Word, bits: u32) -> Self::Word {
        [self.0.rotate_left(word[0], bits), self.0.rotate_left(word[1], bits)]
    }

    #[inline(always)]
    fn select(self, mask: Self::Word, ones: Self::Word, zeros: Self::Word) -> Self::Word {
        [self.0.select(mask[0], ones[0], zeros[0]), self.0.select(mask[1], ones[1], zeros[1])]
    }

    #[inline(always)]
    fn xor(self, x: Self::Word, y: Self::Word, z: Self::Word) -> Self::Word {
        [self.0.xor(x[0], y[0], z[0]), self.0.xor(x[1], y[1], z[1])]
    }

    #[inline(always)]
    fn xor_or_not(self, x: Self::Word, y: Self::Word, z: Self::Word) -> Self::Word {
        [self.0.xor_or_not(x[0], y[0], z[0]), self.0.xor_or_not(x[1], y[1], z[1])]
    }
}

impl<L: Lanes> Lanes for Pair<L> {
    const COUNT: usize = 2 * L::COUNT;

    #[inline(always)]
    fn load(self, numbers: &[u32]) -> Self::Word {
        let (first, second) = numbers.split_at(L::COUNT);
        [self.0.load(first), self.0.load(second)]
    }

    #[inline(always)]
    fn store(self, word: Self::Word, numbers: &mut [u32]) {
        let (first, second) = numbers.split_at_mut(L::COUNT);
        self.0.store(word[0], first);
        self.0.store(word[1], second);
    }

    #[inline(always)]
    fn transpose(self, streams: &[&[Block]], index: usize) -> [Self::Word; 16] {
        let (first, second) = streams.split_at(L::COUNT);
        let (first, second) = (self.0.transpose(first, index), self.0.transpose(second, index));
        let mut words = [[first[0]; 2]; 16];
        for word in 0..16 {
            words[word] = [first[word], second[word]];
        }
        words
    }
}
