//! 8 lanes with AVX2.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{self, Lanes, Pair};
use super::steps::{Arithmetic, Block, Kernel, States};

/// 8 lanes. A value exists only where [`Avx2::detect`] found AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The lanes, when this machine has AVX2.
    pub(super) fn detect() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

impl Kernel for Avx2 {
    fn lanes(&self) -> usize {
        Avx2::COUNT
    }

    fn compress(&self, states: &mut States, streams: &[&[Block]], blocks: usize) {
        // SAFETY: `self` exists only where `Avx2::detect` found AVX2.
        unsafe { compress(*self, states, streams, blocks) }
    }
}

impl Kernel for Pair<Avx2> {
    fn lanes(&self) -> usize {
        Pair::<Avx2>::COUNT
    }

    fn compress(&self, states: &mut States, streams: &[&[Block]], blocks: usize) {
        // SAFETY: the `Avx2` inside exists only where `Avx2::detect` found AVX2.
        unsafe { compress(*self, states, streams, blocks) }
    }
}

/// [`lanes::compress`] with AVX2 enabled.
///
/// # Safety
/// - The machine has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn compress<L: Lanes>(lanes: L, states: &mut States, streams: &[&[Block]], blocks: usize) {
    lanes::compress(lanes, states, streams, blocks);
}

/// In every block below: the operation needs nothing but AVX2, which `self` proves, see
/// [`Avx2::detect`].
impl Arithmetic for Avx2 {
    type Word = __m256i;

    #[inline(always)]
    fn splat(self, number: u32) -> __m256i {
        // SAFETY: AVX2 as above.
        unsafe { _mm256_set1_epi32(number as i32) }
    }

    #[inline(always)]
    fn add(self, left: __m256i, right: __m256i) -> __m256i {
        // SAFETY: AVX2 as above.
        unsafe { _mm256_add_epi32(left, right) }
    }

    #[inline(always)]
    fn rotate_left(self, word: __m256i, bits: u32) -> __m256i {
        // The counts are constants after inlining, which makes these the shifts by an immediate.
        // SAFETY: AVX2 as above.
        unsafe {
            let left = _mm256_sll_epi32(word, _mm_cvtsi32_si128(bits as i32));
            let right = _mm256_srl_epi32(word, _mm_cvtsi32_si128(32 - bits as i32));
            _mm256_or_si256(left, right)
        }
    }

    #[inline(always)]
    fn select(self, mask: __m256i, ones: __m256i, zeros: __m256i) -> __m256i {
        // SAFETY: AVX2 as above.
        unsafe { _mm256_xor_si256(zeros, _mm256_and_si256(mask, _mm256_xor_si256(ones, zeros))) }
    }

    #[inline(always)]
    fn xor(self, x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        // SAFETY: AVX2 as above.
        unsafe { _mm256_xor_si256(x, _mm256_xor_si256(y, z)) }
    }

    #[inline(always)]
    fn xor_or_not(self, x: __m256i, y: __m256i, z: __m256i) -> __m256i {
        // SAFETY: AVX2 as above.
        unsafe { _mm256_xor_si256(y, _mm256_or_si256(x, _mm256_xor_si256(z, _mm256_set1_epi32(-1)))) }
    }
}

impl Lanes for Avx2 {
    const COUNT: usize = 8;

    #[inline(always)]
    fn load(self, numbers: &[u32]) -> __m256i {
        let numbers: &[u32; 8] = numbers.first_chunk().expect("a number for every lane");
        // SAFETY: AVX2 as above; the array is 32 readable bytes, and the load needs no alignment.
        unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, word: __m256i, numbers: &mut [u32]) {
        let numbers: &mut [u32; 8] = numbers.first_chunk_mut().expect("room for every lane");
        // SAFETY: AVX2 as above; the array is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), word) }
    }

    #[inline(always)]
    fn transpose(self, streams: &[&[Block]], index: usize) -> [__m256i; 16] {
        let streams = &streams[..8];
        // SAFETY: AVX2 as above; each load reads one half of a `Block`, 32 bytes, and needs no
        // alignment.
        unsafe {
            let mut words = [_mm256_setzero_si256(); 16];
            for half in 0..2 {
                let mut rows = [_mm256_setzero_si256(); 8];
                for lane in 0..8 {
                    rows[lane] = _mm256_loadu_si256(streams[lane][index][32 * half..].as_ptr().cast());
                }
                // Words, then pairs of words, then halves of the vector: `quads[4 * g + w]` holds
                // words `w` and `w + 4` of lanes `4g..4g + 4`.
                let mut quads = rows;
                for group in 0..2 {
                    let [r0, r1, r2, r3] =
                        [rows[4 * group], rows[4 * group + 1], rows[4 * group + 2], rows[4 * group + 3]];
                    let (low01, high01) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
                    let (low23, high23) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
                    quads[4 * group] = _mm256_unpacklo_epi64(low01, low23);
                    quads[4 * group + 1] = _mm256_unpackhi_epi64(low01, low23);
                    quads[4 * group + 2] = _mm256_unpacklo_epi64(high01, high23);
                    quads[4 * group + 3] = _mm256_unpackhi_epi64(high01, high23);
                }
                for word in 0..4 {
                    let (lower, upper) = (quads[word], quads[4 + word]);
                    words[8 * half + word] = _mm256_permute2x128_si256::<0x20>(lower, upper);
                    words[8 * half + word + 4] = _mm256_permute2x128_si256::<0x31>(lower, upper);
                }
            }
            words
        }
    }
}
