//! Four 128-bit registers a chunk. NEON has no movemask: each byte keeps one bit, and three rounds
//! of pairwise adds bring the 64 bits together.

use std::arch::aarch64::*;

use super::Positions;
use super::kernel::{self, Vector};

pub(super) fn scan(bytes: &[u8], positions: &mut Positions) {
    // SAFETY: every aarch64 machine has NEON.
    unsafe { kernel::scan::<Neon>(bytes, positions) }
}

#[derive(Clone, Copy)]
struct Neon([uint8x16_t; 4]);

impl Neon {
    #[inline(always)]
    fn zip(self, other: Neon, combine: impl Fn(uint8x16_t, uint8x16_t) -> uint8x16_t) -> Neon {
        Neon(std::array::from_fn(|index| combine(self.0[index], other.0[index])))
    }

    /// One bit a byte, from bytes that are all ones or all zeros.
    #[inline(always)]
    fn to_mask(self) -> u64 {
        const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        // SAFETY: every aarch64 machine has NEON, and `BITS` has 16 bytes.
        unsafe {
            let bits = vld1q_u8(BITS.as_ptr());
            let [a, b, c, d] = self.0.map(|quarter| vandq_u8(quarter, bits));
            let sum = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
            vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(sum, sum)))
        }
    }
}

impl Vector for Neon {
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Neon {
        // SAFETY: the caller gives 64 readable bytes; the load needs no alignment.
        unsafe { Neon([vld1q_u8(from), vld1q_u8(from.add(16)), vld1q_u8(from.add(32)), vld1q_u8(from.add(48))]) }
    }

    #[inline(always)]
    unsafe fn equal(self, byte: u8) -> u64 {
        // SAFETY: every aarch64 machine has NEON.
        unsafe {
            let wanted = vdupq_n_u8(byte);
            Neon(self.0.map(|quarter| vceqq_u8(quarter, wanted))).to_mask()
        }
    }

    #[inline(always)]
    unsafe fn minimum(self, other: Neon) -> Neon {
        // SAFETY: every aarch64 machine has NEON.
        self.zip(other, |one, two| unsafe { vminq_u8(one, two) })
    }
}
