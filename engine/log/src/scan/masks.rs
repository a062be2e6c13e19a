//! Bit masks of the bytes that queries, percent-decoding and JSON care about.
//!
//! One small vector trait, the algorithms once over it, and two vectors: SSE2, which every x86-64
//! has, so that nothing has to be chosen at run time and everything inlines, and plain 64-bit
//! arithmetic for the rest. Bit `i` of a mask stands for byte `i` of the block.

/// Where a block of 64 bytes has the bytes that give a query its shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryMasks {
    /// `&`
    pub(crate) ampersands: u64,
    /// `=`
    pub(crate) equals: u64,
    /// `%` or `+`
    pub(crate) escapes: u64,
}

/// The masks of 64 bytes of a query.
#[inline(always)]
pub(crate) fn query_masks(block: &[u8; 64]) -> QueryMasks {
    query_masks_with::<Native>(block)
}

/// Where `%` stands.
#[inline(always)]
pub(crate) fn percents(block: &[u8; 64]) -> u64 {
    mask_with(block, |vector: Native| vector.equal(b'%'))
}

/// Where `%` or `+` stands.
#[inline(always)]
pub(crate) fn escapes(block: &[u8; 64]) -> u64 {
    mask_with(block, |vector: Native| escapes_of(vector))
}

/// Where a byte stands that a JSON string cannot hold as it is, or that may not be UTF-8: `"`, `\`,
/// below 0x20, 0x80 and above.
#[inline(always)]
pub(crate) fn json_specials(block: &[u8; 16]) -> u32 {
    json_specials_of(Native::load(block)).bits()
}

/// How many bytes [`json_specials`] would mark in all of `bytes`.
#[inline]
pub(crate) fn count_json_specials(bytes: &[u8]) -> usize {
    count_json_specials_with::<Native>(bytes)
}

#[cfg(target_arch = "x86_64")]
type Native = sse2::Vector;
#[cfg(not(target_arch = "x86_64"))]
type Native = swar::Vector;

/// 16 bytes; the result of a comparison has all bits set, or at least the highest, in the bytes
/// that match.
trait Bytes16: Copy {
    fn load(block: &[u8; 16]) -> Self;
    fn equal(self, byte: u8) -> Self;
    /// Bytes below 0x20, and those of 0x80 and above: one signed comparison.
    fn control_or_high(self) -> Self;
    fn or(self, other: Self) -> Self;
    /// One bit per byte of a comparison's result.
    fn bits(self) -> u32;
    /// No matches counted.
    fn none() -> Self;
    /// The counts of each byte's place, one more where a comparison matched; they wrap at 256.
    fn count(self, matches: Self) -> Self;
    /// The sum of the counts.
    fn total(self) -> usize;
}

#[inline(always)]
fn mask_with<V: Bytes16>(block: &[u8; 64], compare: impl Fn(V) -> V) -> u64 {
    let parts = block.as_chunks::<16>().0.iter().enumerate();
    parts.fold(0, |mask, (index, part)| mask | u64::from(compare(V::load(part)).bits()) << (16 * index))
}

#[inline(always)]
fn escapes_of<V: Bytes16>(block: V) -> V {
    block.equal(b'%').or(block.equal(b'+'))
}

#[inline(always)]
fn json_specials_of<V: Bytes16>(block: V) -> V {
    block.control_or_high().or(block.equal(b'"')).or(block.equal(b'\\'))
}

#[inline(always)]
fn query_masks_with<V: Bytes16>(block: &[u8; 64]) -> QueryMasks {
    let mut masks = QueryMasks::default();
    for (index, part) in block.as_chunks::<16>().0.iter().enumerate() {
        let vector = V::load(part);
        let shift = 16 * index as u32;
        masks.ampersands |= u64::from(vector.equal(b'&').bits()) << shift;
        masks.equals |= u64::from(vector.equal(b'=').bits()) << shift;
        masks.escapes |= u64::from(escapes_of(vector).bits()) << shift;
    }
    masks
}

#[inline(always)]
fn count_json_specials_with<V: Bytes16>(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let bits_of = |block: &[u8; 16]| json_specials_of(V::load(block)).bits();
    // The rest is the end of the last 16 bytes, where there are so many: no short copy then.
    let last = match bytes.last_chunk() {
        Some(last) => bits_of(last) >> (16 - rest.len()),
        None => {
            let mut last = [b' '; 16];
            last[..rest.len()].copy_from_slice(rest);
            bits_of(&last)
        }
    };
    let mut total = last.count_ones() as usize;
    // Counted within the vectors: counting bits needs an instruction that not every x86-64 has.
    for blocks in blocks.chunks(255) {
        let counts = blocks.iter().fold(V::none(), |counts, block| counts.count(json_specials_of(V::load(block))));
        total += counts.total();
    }
    total
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_extract_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_sad_epu8, _mm_set1_epi8, _mm_setzero_si128, _mm_sub_epi8,
    };

    use super::Bytes16;

    #[derive(Clone, Copy)]
    pub(super) struct Vector(__m128i);

    impl Bytes16 for Vector {
        #[inline(always)]
        fn load(block: &[u8; 16]) -> Vector {
            // SAFETY: the reference is valid for 16 bytes, and the load needs no alignment; SSE2 is
            // part of x86-64.
            Vector(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
        }

        #[inline(always)]
        fn equal(self, byte: u8) -> Vector {
            // SAFETY: SSE2 is part of x86-64.
            Vector(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8)) })
        }

        #[inline(always)]
        fn control_or_high(self) -> Vector {
            // SAFETY: SSE2 is part of x86-64.
            Vector(unsafe { _mm_cmplt_epi8(self.0, _mm_set1_epi8(0x20)) })
        }

        #[inline(always)]
        fn or(self, other: Vector) -> Vector {
            // SAFETY: SSE2 is part of x86-64.
            Vector(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline(always)]
        fn bits(self) -> u32 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_movemask_epi8(self.0) as u32 }
        }

        #[inline(always)]
        fn none() -> Vector {
            // SAFETY: SSE2 is part of x86-64.
            Vector(unsafe { _mm_setzero_si128() })
        }

        #[inline(always)]
        fn count(self, matches: Vector) -> Vector {
            // SAFETY: SSE2 is part of x86-64. A match is all ones, which is -1.
            Vector(unsafe { _mm_sub_epi8(self.0, matches.0) })
        }

        #[inline(always)]
        fn total(self) -> usize {
            // SAFETY: SSE2 is part of x86-64. Two sums of eight bytes each, far below 16 bits.
            unsafe {
                let sums = _mm_sad_epu8(self.0, _mm_setzero_si128());
                (_mm_extract_epi16::<0>(sums) + _mm_extract_epi16::<4>(sums)) as usize
            }
        }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod swar {
    use super::Bytes16;

    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const ONES: u64 = 0x0101_0101_0101_0101;

    /// Two words of 8 bytes; a comparison leaves its answer in each byte's highest bit, the others
    /// clear.
    #[derive(Clone, Copy)]
    pub(super) struct Vector([u64; 2]);

    impl Vector {
        #[inline(always)]
        fn map(self, function: impl Fn(u64) -> u64) -> Vector {
            Vector(self.0.map(function))
        }
    }

    impl Bytes16 for Vector {
        #[inline(always)]
        fn load(block: &[u8; 16]) -> Vector {
            let both = u128::from_le_bytes(*block);
            Vector([both as u64, (both >> 64) as u64])
        }

        #[inline(always)]
        fn equal(self, byte: u8) -> Vector {
            self.map(|word| {
                let difference = word ^ (ONES * u64::from(byte));
                // The sum carries into a byte's highest bit unless its low seven bits are zero, and
                // never beyond.
                !(((difference & LOW) + LOW) | difference) & HIGH
            })
        }

        #[inline(always)]
        fn control_or_high(self) -> Vector {
            self.map(|word| (!((word & LOW) + ONES * 0x60) | word) & HIGH)
        }

        #[inline(always)]
        fn or(self, other: Vector) -> Vector {
            Vector([self.0[0] | other.0[0], self.0[1] | other.0[1]])
        }

        #[inline(always)]
        fn bits(self) -> u32 {
            // Each answer bit is moved to its place in the topmost byte by one of the multiplier's
            // bits.
            let [low, high] = self.0.map(|word| ((word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32);
            low | high << 8
        }

        #[inline(always)]
        fn none() -> Vector {
            Vector([0; 2])
        }

        #[inline(always)]
        fn count(self, matches: Vector) -> Vector {
            Vector([self.0[0] + (matches.0[0] >> 7), self.0[1] + (matches.0[1] >> 7)])
        }

        #[inline(always)]
        fn total(self) -> usize {
            const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
            // Pairs of bytes in 16 bits each, then all four of them in the topmost.
            let sum = |word: u64| ((word & EVEN) + (word >> 8 & EVEN)).wrapping_mul(0x0001_0001_0001_0001) >> 48;
            (sum(self.0[0]) + sum(self.0[1])) as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(block: &[u8], wanted: impl Fn(u8) -> bool) -> u64 {
        block.iter().enumerate().map(|(index, &byte)| u64::from(wanted(byte)) << index).sum()
    }

    fn json_special(byte: u8) -> bool {
        !(0x20..0x80).contains(&byte) || byte == b'"' || byte == b'\\'
    }

    fn check<V: Bytes16>(block: &[u8; 64]) {
        let masks = query_masks_with::<V>(block);
        assert_eq!(masks.ampersands, naive(block, |byte| byte == b'&'));
        assert_eq!(masks.equals, naive(block, |byte| byte == b'='));
        assert_eq!(masks.escapes, naive(block, |byte| byte == b'%' || byte == b'+'));
        assert_eq!(mask_with(block, |vector: V| vector.equal(b'%')), naive(block, |byte| byte == b'%'));
        assert_eq!(mask_with(block, escapes_of::<V>), masks.escapes);
        for part in block.as_chunks::<16>().0 {
            let vector = V::load(part);
            assert_eq!(u64::from(json_specials_of(vector).bits()), naive(part, json_special));
        }
        for len in 0..=block.len() {
            let bytes = &block[..len];
            let expected = bytes.iter().filter(|&&byte| json_special(byte)).count();
            assert_eq!(count_json_specials_with::<V>(bytes), expected);
        }
    }

    #[test]
    fn every_byte_value_in_every_position_of_a_word() {
        for byte in 0..=u8::MAX {
            for neighbour in [0, b'%', b'&', 0x7f, 0x80, 0xff] {
                for position in 0..8 {
                    let mut block = [neighbour; 64];
                    block.iter_mut().skip(position).step_by(8).for_each(|place| *place = byte);
                    check::<Native>(&block);
                    check::<swar::Vector>(&block);
                }
            }
        }
    }

    #[test]
    fn counts_of_many_blocks_do_not_wrap() {
        for len in [254 * 16, 255 * 16, 256 * 16, 256 * 16 + 3, 600 * 16] {
            let bytes = vec![b'"'; len];
            assert_eq!(count_json_specials_with::<Native>(&bytes), len);
            assert_eq!(count_json_specials_with::<swar::Vector>(&bytes), len);
        }
    }

    proptest! {
        #[test]
        fn both_vectors_agree_with_the_naive_masks(block in proptest::collection::vec(any::<u8>(), 64)) {
            let block: &[u8; 64] = block.as_slice().try_into().unwrap();
            check::<Native>(block);
            check::<swar::Vector>(block);
        }
    }
}
