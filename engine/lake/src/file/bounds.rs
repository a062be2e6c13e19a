//! The least and the greatest value of a page or a chunk, which let a reader leave it out.

use std::cmp::Ordering;

/// How values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Byte by byte, which for UTF-8 is by code point.
    Bytes,
    /// As whole numbers.
    Integers,
    /// As numbers.
    Doubles,
}

impl Order {
    #[inline]
    pub(super) fn compare(self, one: &[u8], other: &[u8]) -> Ordering {
        match self {
            Order::Bytes => one.cmp(other),
            Order::Integers => i64::from_le_bytes(number(one)).cmp(&i64::from_le_bytes(number(other))),
            Order::Doubles => f64::from_le_bytes(number(one)).total_cmp(&f64::from_le_bytes(number(other))),
        }
    }
}

pub(super) fn number(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().expect("numbers have 8 bytes")
}

/// The least and the greatest of some values; none at first.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    range: Option<(Vec<u8>, Vec<u8>)>,
    /// The first bytes of both. Most values are between them, which is seen without a call.
    starts: (u64, u64),
}

/// The first 8 bytes as a number that compares as they do.
#[inline]
fn start(value: &[u8]) -> u64 {
    match value.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => value.iter().enumerate().fold(0, |start, (at, &byte)| start | u64::from(byte) << (56 - 8 * at)),
    }
}

impl Bounds {
    /// Takes a value in.
    #[inline]
    pub(super) fn add(&mut self, value: &[u8], order: Order) {
        if order == Order::Bytes && self.starts.0 < start(value) && start(value) < self.starts.1 {
            return;
        }
        self.widen(value, order);
    }

    fn widen(&mut self, value: &[u8], order: Order) {
        match &mut self.range {
            Some((min, max)) => {
                if order.compare(value, min) == Ordering::Less {
                    set(min, value);
                } else if order.compare(value, max) == Ordering::Greater {
                    set(max, value);
                }
            }
            none => *none = Some((value.to_vec(), value.to_vec())),
        }
        if let Some((min, max)) = &self.range {
            self.starts = (start(min), start(max));
        }
    }

    /// The least and the greatest value.
    pub(super) fn get(&self) -> Option<(&[u8], &[u8])> {
        self.range.as_ref().map(|(min, max)| (min.as_slice(), max.as_slice()))
    }
}

fn set(bound: &mut Vec<u8>, value: &[u8]) {
    bound.clear();
    bound.extend_from_slice(value);
}

/// Bounds of text are no longer than this in what a reader has to read first.
pub(crate) const MAX_LEN: usize = 64;

/// The start of the text, which is not greater than it.
pub(super) fn cut_min(text: &[u8]) -> &[u8] {
    let text = str::from_utf8(text).expect("rows hold UTF-8");
    &text.as_bytes()[..text.floor_char_boundary(MAX_LEN)]
}

/// A short text that is not less than the text; the text itself where there is none.
pub(super) fn cut_max(text: &[u8]) -> Vec<u8> {
    if text.len() <= MAX_LEN {
        return text.to_vec();
    }
    let start = str::from_utf8(cut_min(text)).expect("it was cut between characters");
    for (at, last) in start.char_indices().rev() {
        // Past the numbers that are no characters, and no longer than the one that it stands for.
        let next = (last..=char::MAX).nth(1).filter(|next| next.len_utf8() == last.len_utf8());
        if let Some(next) = next {
            return [&text[..at], next.encode_utf8(&mut [0; 4]).as_bytes()].concat();
        }
    }
    text.to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_cut_still_bounds(text in "\\PC{0,120}") {
            let bytes = text.as_bytes();
            let max = cut_max(bytes);
            prop_assert!(cut_min(bytes) <= bytes && bytes <= &*max);
            prop_assert!(std::str::from_utf8(&max).is_ok());
            prop_assert!(cut_min(bytes).len() <= MAX_LEN);
            prop_assert!(max.len() <= MAX_LEN || max == bytes);
        }
    }

    #[test]
    fn text_without_ascii_is_cut_too() {
        assert_eq!(cut_max("é".repeat(40).as_bytes()), ("é".repeat(31) + "ê").as_bytes());
        assert_eq!(cut_max("\u{d7ff}".repeat(40).as_bytes()), ("\u{d7ff}".repeat(20) + "\u{e000}").as_bytes());
        let greatest = "\u{10ffff}".repeat(17);
        assert_eq!(cut_max(greatest.as_bytes()), greatest.as_bytes());
        assert_eq!(cut_max(format!("a{greatest}").as_bytes()), b"b");
    }

    proptest! {
        #[test]
        fn bounds_are_the_least_and_the_greatest(values in prop::collection::vec("[a-c\u{0}]{0,10}", 1..40)) {
            let mut bounds = Bounds::default();
            values.iter().for_each(|value| bounds.add(value.as_bytes(), Order::Bytes));
            let (min, max) = (values.iter().min().unwrap(), values.iter().max().unwrap());
            prop_assert_eq!(bounds.get(), Some((min.as_bytes(), max.as_bytes())));
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let mut bounds = Bounds::default();
        assert!(bounds.get().is_none());
        for number in [3_i64, -5, 300, 0] {
            bounds.add(&number.to_le_bytes(), Order::Integers);
        }
        assert_eq!(bounds.get(), Some((&(-5_i64).to_le_bytes()[..], &300_i64.to_le_bytes()[..])));
        let mut bounds = Bounds::default();
        for number in [0.5, -0.25, 0.042] {
            bounds.add(&f64::to_le_bytes(number), Order::Doubles);
        }
        assert_eq!(bounds.get(), Some((&(-0.25_f64).to_le_bytes()[..], &0.5_f64.to_le_bytes()[..])));
    }
}
