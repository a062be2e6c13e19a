//! One 512-bit register a chunk; compares write masks without a detour.

use std::arch::x86_64::*;

use super::Positions;
use super::kernel::{self, Vector};
use pixel_engine_simd::Isa;

/// # Panics
/// On a machine without AVX-512 F, BW and VBMI2.
pub(super) fn scan(bytes: &[u8], positions: &mut Positions) {
    assert!(Isa::Avx512.is_available());
    // SAFETY: the machine has every feature that the function is compiled for, as was just
    // asserted.
    unsafe { scan_avx512(bytes, positions) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,popcnt")]
fn scan_avx512(bytes: &[u8], positions: &mut Positions) {
    // SAFETY: this function is compiled for these features, so its caller has them.
    unsafe { kernel::scan::<Avx512>(bytes, positions) }
}

#[derive(Clone, Copy)]
struct Avx512(__m512i);

/// The bytes 0 to 63: what `vpcompressb` picks the hit indices from.
const INDICES: [u8; 64] = {
    let mut indices = [0; 64];
    let mut index = 0;
    while index < 64 {
        indices[index] = index as u8;
        index += 1;
    }
    indices
};

impl Vector for Avx512 {
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Avx512 {
        // SAFETY: the caller gives 64 readable bytes; the load needs no alignment.
        unsafe { Avx512(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn equal(self, byte: u8) -> u64 {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_cmpeq_epi8_mask(self.0, _mm512_set1_epi8(byte as i8)) }
    }

    #[inline(always)]
    unsafe fn minimum(self, other: Avx512) -> Avx512 {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { Avx512(_mm512_min_epu8(self.0, other.0)) }
    }

    /// Compressing to a register and storing it whole: `vpcompressb` straight to memory is
    /// microcoded on Zen 4, more than a hundred cycles each.
    #[inline(always)]
    unsafe fn write_positions(mask: u64, base: u32, to: *mut u32) {
        // SAFETY: the caller vouches for AVX-512 and for 64 writable entries: a store of 16 begins
        // at 0, 16, 32 and 48 only.
        unsafe {
            let packed = _mm512_maskz_compress_epi8(mask, _mm512_loadu_si512(INDICES.as_ptr().cast()));
            let base = _mm512_set1_epi32(base as i32);
            let widen = |sixteen| _mm512_add_epi32(_mm512_cvtepu8_epi32(sixteen), base);
            _mm512_storeu_si512(to.cast(), widen(_mm512_castsi512_si128(packed)));
            let count = mask.count_ones();
            if count > 16 {
                _mm512_storeu_si512(to.add(16).cast(), widen(_mm512_extracti32x4_epi32::<1>(packed)));
                if count > 32 {
                    _mm512_storeu_si512(to.add(32).cast(), widen(_mm512_extracti32x4_epi32::<2>(packed)));
                    _mm512_storeu_si512(to.add(48).cast(), widen(_mm512_extracti32x4_epi32::<3>(packed)));
                }
            }
        }
    }
}
