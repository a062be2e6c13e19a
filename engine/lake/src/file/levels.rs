//! Small numbers, as Parquet packs them: levels, and indexes into a dictionary.
//!
//! Source: the Parquet format's page on encodings, "Run Length Encoding / Bit-Packing Hybrid".

/// A run that is shorter takes no less room than its values packed.
const SHORTEST_RUN: usize = 16;

/// How many bits the numbers up to `max` take, at least one.
pub(crate) fn bit_width(max: u32) -> u32 {
    (u32::BITS - max.leading_zeros()).max(1)
}

/// Appends the numbers as runs of one value and groups of 8 packed values.
pub(super) fn append_hybrid<T: Copy + PartialEq + Into<u32>>(values: &[T], bit_width: u32, out: &mut Vec<u8>) {
    // Values from here on are to be packed. Until the end, they come in eights.
    let mut packed_from = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|&&other| other == value).count();
        if run < SHORTEST_RUN {
            at += 8;
            continue;
        }
        append_packed(&values[packed_from..at], bit_width, out);
        append_run(value, run, bit_width, out);
        at += run;
        packed_from = at;
    }
    append_packed(&values[packed_from..], bit_width, out);
}

/// As [`append_hybrid`], with the length before it, which data pages of version 1 have.
pub(super) fn append_levels(levels: &[u8], max: u8, out: &mut Vec<u8>) {
    with_length(out, |out| append_hybrid(levels, bit_width(max.into()), out));
}

/// The same for `count` levels that are all the same.
pub(super) fn append_uniform_levels(level: u8, count: usize, max: u8, out: &mut Vec<u8>) {
    with_length(out, |out| append_run(level, count, bit_width(max.into()), out));
}

fn with_length(out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) {
    let from = out.len();
    out.extend_from_slice(&[0; 4]);
    append(out);
    let len = (out.len() - from - 4) as u32;
    out[from..from + 4].copy_from_slice(&len.to_le_bytes());
}

fn append_run<T: Into<u32>>(value: T, count: usize, bit_width: u32, out: &mut Vec<u8>) {
    append_varint((count as u64) << 1, out);
    let bytes = value.into().to_le_bytes();
    out.extend_from_slice(&bytes[..bit_width.div_ceil(8) as usize]);
}

/// Groups of 8, the last one filled with zeros.
fn append_packed<T: Copy + Into<u32>>(values: &[T], bit_width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    append_varint((values.len().div_ceil(8) as u64) << 1 | 1, out);
    let end = out.len() + values.len().div_ceil(8) * bit_width as usize;
    out.reserve(end - out.len() + 8);
    let (mut bits, mut count) = (0_u64, 0);
    for &value in values {
        bits |= u64::from(value.into()) << count;
        count += bit_width;
        if count >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            count -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes());
    out.resize(end, 0);
}

fn append_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads `count` numbers that were written so, by whomever; `None` if these are not so many.
pub(crate) fn read_hybrid(mut bytes: &[u8], bit_width: u32, count: usize) -> Option<Vec<u32>> {
    let mut values = Vec::new();
    while values.len() < count {
        let header = read_varint(&mut bytes)?;
        let left = count - values.len();
        let len = usize::try_from(header >> 1).ok().filter(|&len| len > 0)?;
        if header & 1 == 0 {
            let value;
            (value, bytes) = bytes.split_at_checked(bit_width.div_ceil(8) as usize)?;
            let value = value.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
            values.resize(values.len() + len.min(left), value);
        } else {
            // No more of them are read than there are wanted, however many it says that there are.
            let groups = len.min(left.div_ceil(8));
            // The last group may be cut off behind its last value.
            let (packed, rest) = bytes.split_at(bytes.len().min(groups * bit_width as usize));
            read_packed(packed, bit_width, left.min(8 * groups), &mut values)?;
            bytes = rest;
        }
    }
    Some(values)
}

fn read_packed(packed: &[u8], bit_width: u32, count: usize, values: &mut Vec<u32>) -> Option<()> {
    if packed.len() * 8 < count * bit_width as usize {
        return None;
    }
    let mask = (1_u64 << bit_width) - 1;
    let value = |at: usize| {
        let bit = at * bit_width as usize;
        let bytes = &packed[bit / 8..];
        let word = match bytes.first_chunk::<8>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        (word >> (bit % 8) & mask) as u32
    };
    values.extend((0..count).map(value));
    Some(())
}

/// Reads a number of any size, as they are written with 7 bits in a byte.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte;
        (byte, *bytes) = bytes.split_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Read as the format's page says, one number after the other.
    fn read(mut bytes: &[u8], bit_width: u32, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            if header & 1 == 0 {
                let len = bit_width.div_ceil(8) as usize;
                let value = bytes[..len].iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
                bytes = &bytes[len..];
                values.extend(std::iter::repeat_n(value, (header >> 1) as usize));
            } else {
                let groups = (header >> 1) as usize;
                let (packed, rest) = bytes.split_at(groups * bit_width as usize);
                bytes = rest;
                let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
                let value =
                    |at: usize| (0..bit_width as usize).rev().fold(0, |v, i| v << 1 | bit(at * bit_width as usize + i));
                values.extend((0..groups * 8).map(value));
            }
        }
        assert!(bytes.is_empty());
        assert!(values[count..].iter().all(|&filling| filling == 0));
        values.truncate(count);
        values
    }

    proptest! {
        #[test]
        fn numbers_survive(
            runs in prop::collection::vec((any::<u32>(), prop_oneof![1..3_usize, 1..40_usize, 100..400_usize]), 0..40),
            bits in 0..26_u32,
        ) {
            let mask = (1 << bits) - 1;
            let values: Vec<u32> = runs.iter().flat_map(|&(value, len)| std::iter::repeat_n(value & mask, len)).collect();
            let width = bit_width(mask);
            let mut bytes = Vec::new();
            append_hybrid(&values, width, &mut bytes);
            prop_assert_eq!(read(&bytes, width, values.len()), &*values);
            prop_assert_eq!(read_hybrid(&bytes, width, values.len()), Some(values));
        }
    }

    proptest! {
        #[test]
        fn damaged_numbers_are_refused_or_others(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            bits in 0..33_u32,
            count in 0..200_usize,
        ) {
            let found = read_hybrid(&bytes, bits, count);
            prop_assert!(found.is_none_or(|found| found.len() == count));
        }
    }

    #[test]
    fn more_groups_than_there_can_be_are_read_as_far_as_they_are_wanted() {
        // A group of values of one bit, and a header that speaks of 2^62 of them.
        let mut bytes = Vec::new();
        append_varint(1 << 63 | 1, &mut bytes);
        bytes.push(0b0000_0101);
        assert_eq!(read_hybrid(&bytes, 1, 3), Some(vec![1, 0, 1]));
        assert_eq!(read_hybrid(&bytes, 1, 9), None);
    }

    #[test]
    fn levels_that_are_all_the_same_take_a_few_bytes() {
        let mut out = Vec::new();
        append_levels(&[1; 20_000], 1, &mut out);
        assert_eq!(out.len(), 8);
        assert_eq!(out[..4], [4, 0, 0, 0]);
        let mut same = Vec::new();
        append_uniform_levels(1, 20_000, 1, &mut same);
        assert_eq!(same, out);
    }
}
