//! Bits behind bits, the lowest first, as DEFLATE has them.

/// Appends bits to bytes.
pub(crate) struct BitWriter<'a> {
    output: &'a mut Vec<u8>,
    /// Those that are not in the output yet, fewer than 8 between two calls.
    bits: u64,
    count: u32,
}

impl BitWriter<'_> {
    pub(crate) fn new(output: &mut Vec<u8>) -> BitWriter<'_> {
        BitWriter { output, bits: 0, count: 0 }
    }

    /// Appends the lowest `count` bits, at most 56. The others are 0.
    pub(crate) fn push(&mut self, bits: u64, count: u32) {
        self.push_all([(bits, count)].into_iter(), count as usize);
    }

    /// Appends the bits of each item, at most 56, and no more than `total` in all.
    ///
    /// Eight bytes are written for each item, of which the next one may write over most: there is
    /// no branch for how many are full.
    #[inline]
    pub(crate) fn push_all(&mut self, items: impl Iterator<Item = (u64, u32)>, total: usize) {
        let mut at = self.output.len();
        self.output.resize(at + total / 8 + 16, 0);
        let output = self.output.as_mut_slice();
        let (mut bits, mut count) = (self.bits, self.count);
        for (more, len) in items {
            bits |= more << count;
            count += len;
            *output[at..].first_chunk_mut().expect("there is room for 8 bytes behind the last bit") =
                bits.to_le_bytes();
            at += (count / 8) as usize;
            bits >>= count & !7;
            count %= 8;
        }
        (self.bits, self.count) = (bits, count);
        self.output.truncate(at);
    }

    /// Fills up the last byte with zeros.
    pub(crate) fn align(&mut self) {
        self.push(0, self.count.next_multiple_of(8) - self.count);
    }

    /// Appends whole bytes behind [`BitWriter::align`].
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        assert_eq!(self.count, 0, "bytes begin where a byte does");
        self.output.extend_from_slice(bytes);
    }

    /// How many bits of the last byte are taken.
    pub(crate) fn position(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn finish(mut self) {
        self.align();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bits_come_first() {
        let mut output = vec![9];
        let mut bits = BitWriter::new(&mut output);
        bits.push(1, 1);
        bits.push(0b10, 2);
        bits.push(0x00ab_cdef_0123_4567, 56);
        assert_eq!(bits.position(), 3);
        bits.align();
        bits.extend_from_slice(b"x");
        bits.finish();
        let number = 0b101 | 0x00ab_cdef_0123_4567_u64 << 3;
        assert_eq!(output, [&[9], &number.to_le_bytes()[..], b"x"].concat());
    }
}
