//! Lanes in plain Rust.
//!
//! One message after the other, all 64 steps of a block in the body of a loop over the lanes: the
//! form that the compiler's loop vectoriser turns into whatever vectors the target has.

use super::steps::{Arithmetic, Block, Kernel, States, one_block};

/// `N` lanes.
pub(super) struct Portable<const N: usize>;

impl<const N: usize> Kernel for Portable<N> {
    fn lanes(&self) -> usize {
        N
    }

    fn compress(&self, states: &mut States, streams: &[&[Block]], blocks: usize) {
        for index in 0..blocks {
            let mut words = [[0; N]; 16];
            for (lane, stream) in streams[..N].iter().enumerate() {
                for (word, chunk) in words.iter_mut().zip(stream[index].as_chunks().0) {
                    word[lane] = u32::from_le_bytes(*chunk);
                }
            }
            for lane in 0..N {
                let next = one_block(Scalar, states.get(lane), &words.each_ref().map(|word| word[lane]));
                states.set(lane, next);
            }
        }
    }
}

/// One message.
#[derive(Clone, Copy)]
struct Scalar;

impl Arithmetic for Scalar {
    type Word = u32;

    #[inline(always)]
    fn splat(self, number: u32) -> u32 {
        number
    }

    #[inline(always)]
    fn add(self, left: u32, right: u32) -> u32 {
        left.wrapping_add(right)
    }

    #[inline(always)]
    fn rotate_left(self, word: u32, bits: u32) -> u32 {
        word.rotate_left(bits)
    }

    #[inline(always)]
    fn select(self, mask: u32, ones: u32, zeros: u32) -> u32 {
        zeros ^ (mask & (ones ^ zeros))
    }

    #[inline(always)]
    fn xor(self, x: u32, y: u32, z: u32) -> u32 {
        x ^ y ^ z
    }

    #[inline(always)]
    fn xor_or_not(self, x: u32, y: u32, z: u32) -> u32 {
        y ^ (x | !z)
    }
}
