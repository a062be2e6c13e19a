//! Where the tabs and newlines of a block are, found in one SIMD pass.
//!
//! CloudFront percent-encodes every control character and never quotes, so a tab always ends a
//! column and a newline always ends a line: no quote state is needed, and 64 bytes become one
//! 64-bit mask of hits. With 46 columns in 750 bytes there is a hit every 16 bytes; turning mask
//! bits into positions costs more than the compares do. The loop (`kernel.rs`) is written once over
//! a small `Vector` trait; a file per instruction set gives the loads, the compares, and the way
//! from mask to positions:
//!
//! | path | mask to positions |
//! |---|---|
//! | `avx512` | `vpcompressb` packs the hit indices, one widening store writes 16 of them |
//! | `avx2`, `neon` | a `tzcnt` loop, four at a time without a branch |
//! | `memchr` | the `memchr2` iterator: no code of ours, the oracle of the tests |
//!
//! The same pass notes whether any byte was NUL, a sign of a torn file.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[allow(unsafe_code)]
mod kernel;
pub(crate) mod masks;
mod memchr;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
mod neon;

use pixel_engine_simd::Isa;

/// The positions of every tab and newline of a block, line by line.
///
/// Reused from block to block, so that its memory is allocated once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    hits: Vec<u32>,
    /// For each newline, how many hits there are up to and including it.
    line_hits: Vec<u32>,
    has_nul: bool,
}

impl Positions {
    /// The positions of tabs and newlines, rising.
    pub fn hits(&self) -> &[u32] {
        &self.hits
    }

    /// How many newlines there are.
    pub fn line_count(&self) -> usize {
        self.line_hits.len()
    }

    /// Whether any byte is NUL: log lines have none, the holes of a torn file are made of them.
    pub fn has_nul(&self) -> bool {
        self.has_nul
    }

    /// Each line that ends in a newline: where it begins, and the ends of its columns. The number
    /// of columns is the length of the slice, so checking it costs one subtraction.
    #[inline]
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (u32, &[u32])> {
        let mut first_hit = 0;
        let mut start = 0;
        self.line_hits.iter().map(move |&last_hit| {
            let ends = &self.hits[first_hit..last_hit as usize];
            let line = (start, ends);
            first_hit = last_hit as usize;
            start = ends.last().map_or(start, |&newline| newline + 1);
            line
        })
    }

    fn clear(&mut self) {
        self.hits.clear();
        self.line_hits.clear();
        self.has_nul = false;
    }
}

/// Finds every tab and newline of `bytes` by the path that [`Isa::chosen`] names.
///
/// ```
/// let mut positions = pixel_engine_log::scan::Positions::default();
/// pixel_engine_log::scan::scan(b"a\tbc\nd\n", &mut positions);
/// assert_eq!(positions.hits(), [1, 4, 6]);
/// assert_eq!(positions.lines().collect::<Vec<_>>(), [(0, &[1, 4][..]), (5, &[6][..])]);
/// ```
///
/// # Panics
/// When `bytes` has 4 GiB or more: positions are 32 bits wide.
pub fn scan(bytes: &[u8], positions: &mut Positions) {
    scan_with(Isa::chosen(), bytes, positions);
}

/// [`scan`] by a path of the caller's choice; a path that the machine does not have falls back to
/// `memchr`.
pub fn scan_with(isa: Isa, bytes: &[u8], positions: &mut Positions) {
    assert!(u32::try_from(bytes.len()).is_ok(), "a block has less than 4 GiB");
    positions.clear();
    if !isa.is_available() {
        return memchr::scan(bytes, positions);
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::scan(bytes, positions),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::scan(bytes, positions),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::scan(bytes, positions),
        _ => memchr::scan(bytes, positions),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(bytes: &[u8]) -> Positions {
        let mut positions = Positions::default();
        for (index, &byte) in bytes.iter().enumerate() {
            if byte == b'\t' || byte == b'\n' {
                positions.hits.push(index as u32);
            }
            if byte == b'\n' {
                positions.line_hits.push(positions.hits.len() as u32);
            }
            positions.has_nul |= byte == 0;
        }
        positions
    }

    fn check_every_path(bytes: &[u8]) {
        let expected = naive(bytes);
        for isa in Isa::available() {
            let mut positions = Positions::default();
            scan_with(isa, bytes, &mut positions);
            assert_eq!(positions, expected, "{isa}");
        }
    }

    #[test]
    fn hits_at_every_place_around_the_width_of_a_vector() {
        for len in 0..200 {
            let mut bytes = vec![b'x'; len];
            check_every_path(&bytes);
            for index in 0..len {
                for byte in [b'\t', b'\n', 0, 0x80, 0x89, 0x8a, 8, 11] {
                    bytes[index] = byte;
                    check_every_path(&bytes);
                }
                bytes[index] = b'x';
            }
        }
    }

    #[test]
    fn nothing_but_hits() {
        for len in [1, 63, 64, 65, 4095, 4096, 4097, 10_000] {
            check_every_path(&vec![b'\n'; len]);
            check_every_path(&vec![b'\t'; len]);
        }
    }

    #[test]
    fn a_path_leaves_no_trace_of_the_block_before() {
        for isa in Isa::available() {
            let mut positions = Positions::default();
            scan_with(isa, &[0, 0xff, b'\n', b'\t'].repeat(1000), &mut positions);
            scan_with(isa, b"a\n", &mut positions);
            assert_eq!(positions, naive(b"a\n"));
        }
    }

    fn logs() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![8 => any::<u8>(), 2 => Just(b'\t'), 1 => Just(b'\n'), 20 => b'a'..=b'z'];
        prop::collection::vec(byte, 0..9000)
    }

    proptest! {
        #[test]
        fn every_path_agrees_with_the_naive_loop(bytes in logs(), skip in 0usize..70) {
            check_every_path(&bytes[skip.min(bytes.len())..]);
        }
    }
}
