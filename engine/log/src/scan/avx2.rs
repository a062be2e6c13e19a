//! Two 256-bit registers a chunk.

use std::arch::x86_64::*;

use super::Positions;
use super::kernel::{self, Vector};
use pixel_engine_simd::Isa;

/// # Panics
/// On a machine without AVX2.
pub(super) fn scan(bytes: &[u8], positions: &mut Positions) {
    assert!(Isa::Avx2.is_available());
    // SAFETY: the machine has AVX2, BMI1 and POPCNT, as was just asserted.
    unsafe { scan_avx2(bytes, positions) }
}

#[target_feature(enable = "avx2,bmi1,popcnt")]
fn scan_avx2(bytes: &[u8], positions: &mut Positions) {
    // SAFETY: this function is compiled for AVX2, so its caller has it.
    unsafe { kernel::scan::<Avx2>(bytes, positions) }
}

#[derive(Clone, Copy)]
struct Avx2(__m256i, __m256i);

impl Vector for Avx2 {
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Avx2 {
        let from = from.cast::<__m256i>();
        // SAFETY: the caller gives 64 readable bytes; the load needs no alignment.
        unsafe { Avx2(_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))) }
    }

    #[inline(always)]
    unsafe fn equal(self, byte: u8) -> u64 {
        // SAFETY: the caller vouches for AVX2.
        unsafe {
            let wanted = _mm256_set1_epi8(byte as i8);
            let low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(self.0, wanted));
            let high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(self.1, wanted));
            u64::from(low as u32) | u64::from(high as u32) << 32
        }
    }

    #[inline(always)]
    unsafe fn minimum(self, other: Avx2) -> Avx2 {
        // SAFETY: the caller vouches for AVX2.
        unsafe { Avx2(_mm256_min_epu8(self.0, other.0), _mm256_min_epu8(self.1, other.1)) }
    }
}
