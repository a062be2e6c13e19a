//! 16 lanes with AVX-512.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{self, Lanes, Pair};
use super::steps::{Arithmetic, Block, Kernel, States};

/// 16 lanes. A value exists only where [`Avx512::detect`] found AVX-512F.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The lanes, when this machine has AVX-512F.
    pub(super) fn detect() -> Option<Avx512> {
        is_x86_feature_detected!("avx512f").then_some(Avx512(()))
    }
}

impl Kernel for Avx512 {
    fn lanes(&self) -> usize {
        Avx512::COUNT
    }

    fn compress(&self, states: &mut States, streams: &[&[Block]], blocks: usize) {
        // SAFETY: `self` exists only where `Avx512::detect` found AVX-512F.
        unsafe { compress(*self, states, streams, blocks) }
    }
}

impl Kernel for Pair<Avx512> {
    fn lanes(&self) -> usize {
        Pair::<Avx512>::COUNT
    }

    fn compress(&self, states: &mut States, streams: &[&[Block]], blocks: usize) {
        // SAFETY: the `Avx512` inside exists only where `Avx512::detect` found AVX-512F.
        unsafe { compress(*self, states, streams, blocks) }
    }
}

/// [`lanes::compress`] with AVX-512F enabled.
///
/// # Safety
/// - The machine has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn compress<L: Lanes>(lanes: L, states: &mut States, streams: &[&[Block]], blocks: usize) {
    lanes::compress(lanes, states, streams, blocks);
}

/// In every block below: the operation needs nothing but AVX-512F, which `self` proves, see
/// [`Avx512::detect`].
impl Arithmetic for Avx512 {
    type Word = __m512i;

    #[inline(always)]
    fn splat(self, number: u32) -> __m512i {
        // SAFETY: AVX-512F as above.
        unsafe { _mm512_set1_epi32(number as i32) }
    }

    #[inline(always)]
    fn add(self, left: __m512i, right: __m512i) -> __m512i {
        // SAFETY: AVX-512F as above.
        unsafe { _mm512_add_epi32(left, right) }
    }

    #[inline(always)]
    fn rotate_left(self, word: __m512i, bits: u32) -> __m512i {
        // The count is a constant after inlining, which makes this the rotation by an immediate,
        // `vprold`. SAFETY: AVX-512F as above.
        unsafe { _mm512_rolv_epi32(word, _mm512_set1_epi32(bits as i32)) }
    }

    // The immediates are the truth tables of the three functions: bit `4x + 2y + z` is the result
    // for those bits.

    #[inline(always)]
    fn select(self, mask: __m512i, ones: __m512i, zeros: __m512i) -> __m512i {
        // SAFETY: AVX-512F as above.
        unsafe { _mm512_ternarylogic_epi32::<0b1100_1010>(mask, ones, zeros) }
    }

    #[inline(always)]
    fn xor(self, x: __m512i, y: __m512i, z: __m512i) -> __m512i {
        // SAFETY: AVX-512F as above.
        unsafe { _mm512_ternarylogic_epi32::<0b1001_0110>(x, y, z) }
    }

    #[inline(always)]
    fn xor_or_not(self, x: __m512i, y: __m512i, z: __m512i) -> __m512i {
        // SAFETY: AVX-512F as above.
        unsafe { _mm512_ternarylogic_epi32::<0b0011_1001>(x, y, z) }
    }
}

impl Lanes for Avx512 {
    const COUNT: usize = 16;

    #[inline(always)]
    fn load(self, numbers: &[u32]) -> __m512i {
        let numbers: &[u32; 16] = numbers.first_chunk().expect("a number for every lane");
        // SAFETY: AVX-512F as above; the array is 64 readable bytes, and the load needs no
        // alignment.
        unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, word: __m512i, numbers: &mut [u32]) {
        let numbers: &mut [u32; 16] = numbers.first_chunk_mut().expect("room for every lane");
        // SAFETY: AVX-512F as above; the array is 64 writable bytes, and the store needs no
        // alignment.
        unsafe { _mm512_storeu_si512(numbers.as_mut_ptr().cast(), word) }
    }

    #[inline(always)]
    fn transpose(self, streams: &[&[Block]], index: usize) -> [__m512i; 16] {
        let streams = &streams[..16];
        // SAFETY: AVX-512F as above; each load reads a `Block`, 64 bytes, and needs no alignment.
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 16];
            for lane in 0..16 {
                rows[lane] = _mm512_loadu_si512(streams[lane][index].as_ptr().cast());
            }
            // Four rounds, each of which halves what is still apart: words, pairs of words, then
            // quarters of the vector twice. `quads[4 * g + w]` holds words `w`, `w + 4`, `w + 8`,
            // `w + 12` of lanes `4g..4g + 4`.
            let mut quads = rows;
            for group in 0..4 {
                let [r0, r1, r2, r3] = [rows[4 * group], rows[4 * group + 1], rows[4 * group + 2], rows[4 * group + 3]];
                let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
                let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
                quads[4 * group] = _mm512_unpacklo_epi64(low01, low23);
                quads[4 * group + 1] = _mm512_unpackhi_epi64(low01, low23);
                quads[4 * group + 2] = _mm512_unpacklo_epi64(high01, high23);
                quads[4 * group + 3] = _mm512_unpackhi_epi64(high01, high23);
            }
            let mut words = rows;
            for word in 0..4 {
                let [q0, q1, q2, q3] = [quads[word], quads[4 + word], quads[8 + word], quads[12 + word]];
                // Quarters 0 and 2 (`even`), 1 and 3 (`odd`) of the lower and the upper eight
                // lanes.
                let (even01, odd01) =
                    (_mm512_shuffle_i32x4::<0b10_00_10_00>(q0, q1), _mm512_shuffle_i32x4::<0b11_01_11_01>(q0, q1));
                let (even23, odd23) =
                    (_mm512_shuffle_i32x4::<0b10_00_10_00>(q2, q3), _mm512_shuffle_i32x4::<0b11_01_11_01>(q2, q3));
                words[word] = _mm512_shuffle_i32x4::<0b10_00_10_00>(even01, even23);
                words[word + 4] = _mm512_shuffle_i32x4::<0b10_00_10_00>(odd01, odd23);
                words[word + 8] = _mm512_shuffle_i32x4::<0b11_01_11_01>(even01, even23);
                words[word + 12] = _mm512_shuffle_i32x4::<0b11_01_11_01>(odd01, odd23);
            }
            words
        }
    }
}
