//! The scan loop, written once over [`Vector`].
//!
//! Per 64 bytes, in plain words:
//! 1. two compares give the masks of tabs and of newlines;
//! 2. the number of hits before the first newline is written to `line_hits` whether there is a
//!    newline or not, and the length moves on only if there is one: a branch here is mispredicted
//!    once a line. Further newlines in the same 64 bytes are rare and take a loop;
//! 3. the hit positions are written in a fixed number of stores, past the end if need be, and the
//!    length moves on by the count: again no branch that depends on the data in the usual case.
//!
//! Writing past the count is why both vectors always have [`SLACK`] spare entries, reserved once
//! per [`BATCH`] bytes so that the inner loop has no capacity check.

use super::Positions;

/// Sixty-four bytes of input in registers of one instruction set.
pub(super) trait Vector: Copy {
    /// Loads 64 bytes.
    ///
    /// # Safety
    /// - `from` is readable for 64 bytes.
    /// - The machine has the instruction set.
    unsafe fn load(from: *const u8) -> Self;

    /// Bit `i` is set where byte `i` is `byte`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn equal(self, byte: u8) -> u64;

    /// Byte-wise unsigned minimum.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn minimum(self, other: Self) -> Self;

    /// Writes `base + i` for every set bit `i` of `mask`, rising.
    ///
    /// # Safety
    /// - `to` is writable for [`SLACK`] entries.
    /// - The machine has the instruction set.
    #[inline(always)]
    unsafe fn write_positions(mask: u64, base: u32, to: *mut u32) {
        let mut rest = mask;
        let mut written = 0;
        let count = mask.count_ones() as usize;
        while written < count {
            // Four at a time without a look at the count: 64 bytes of usual log data have none
            // (three of ten times), one to four (four of ten), or a run of short columns with up to
            // thirteen. Eight at a time was slower: 8.1 GB/s against 9.9 on AVX2, over 64 blocks in
            // turn.
            for offset in 0..4 {
                // SAFETY: `written` is a multiple of 4 below `count` <= 64, so `written + offset` <
                // 64 = SLACK.
                unsafe { to.add(written + offset).write(base + rest.trailing_zeros()) };
                rest &= rest.wrapping_sub(1);
            }
            written += 4;
        }
    }
}

const WIDTH: usize = 64;
/// Entries that may be written past the count.
pub(super) const SLACK: usize = WIDTH;
/// Bytes between two checks of the capacity.
const BATCH: usize = 64 * WIDTH;

/// Finds the hits of `bytes`, into cleared `positions`.
///
/// # Safety
/// The machine has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn scan<V: Vector>(bytes: &[u8], positions: &mut Positions) {
    // SAFETY: the caller vouches for the instruction set.
    let mut least = unsafe { V::load([b' '; WIDTH].as_ptr()) };
    let mut base = 0;
    for batch in bytes.chunks(BATCH) {
        positions.hits.reserve(BATCH + SLACK);
        positions.line_hits.reserve(BATCH + SLACK);
        let mut hits = positions.hits.len();
        let mut lines = positions.line_hits.len();
        let hits_at = positions.hits.as_mut_ptr();
        let lines_at = positions.line_hits.as_mut_ptr();

        let (chunks, rest) = batch.as_chunks::<WIDTH>();
        let mut padded = [b' '; WIDTH];
        padded[..rest.len()].copy_from_slice(rest);
        let last = if rest.is_empty() { None } else { Some(&padded) };
        for chunk in chunks.iter().chain(last) {
            // SAFETY: a chunk has 64 bytes; the caller vouches for the instruction set.
            let (vector, newlines, mask) = unsafe {
                let vector = V::load(chunk.as_ptr());
                let newlines = vector.equal(b'\n');
                (vector, newlines, vector.equal(b'\t') | newlines)
            };
            // SAFETY: the caller vouches for the instruction set.
            least = unsafe { least.minimum(vector) };

            let mut left = newlines;
            loop {
                let up_to_newline = left ^ left.wrapping_sub(1);
                let rank = hits as u32 + (mask & up_to_newline).count_ones();
                // SAFETY: a batch adds at most BATCH lines, and BATCH + SLACK were reserved.
                unsafe { lines_at.add(lines).write(rank) };
                lines += usize::from(left != 0);
                left &= left.wrapping_sub(1);
                if left == 0 {
                    break;
                }
            }
            // SAFETY: a batch adds at most BATCH hits, so SLACK of the reserved entries are left;
            // the caller vouches for the instruction set.
            unsafe { V::write_positions(mask, base, hits_at.add(hits)) };
            hits += mask.count_ones() as usize;
            base = base.wrapping_add(WIDTH as u32);
        }
        // SAFETY: both lengths are within what was reserved, and every entry below them was
        // written.
        unsafe {
            positions.hits.set_len(hits);
            positions.line_hits.set_len(lines);
        }
    }
    // SAFETY: the caller vouches for the instruction set.
    positions.has_nul = unsafe { least.equal(0) } != 0;
}
