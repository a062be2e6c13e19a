//! The least and the greatest value of a page or a chunk, which let a reader leave it out.

use std::cmp::Ordering;

use parquet::basic::{ConvertedType, LogicalType, SortOrder, Type};
use parquet::schema::types::ColumnDescriptor;

/// How the values of a column compare. Source: the Parquet format, on `ColumnOrder` and logical types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Byte by byte, which for UTF-8 is by code point.
    Bytes,
    /// As whole numbers, little-endian.
    Signed,
    /// As whole numbers without a sign, little-endian.
    Unsigned,
    /// As floating-point numbers, little-endian, in the total order of IEEE 754.
    Floats,
    /// As whole numbers, big-endian: decimal numbers in bytes.
    BigEndian,
    /// As times of 96 bits: nanoseconds of the day, and the day after them.
    Days,
    /// In no way.
    Undefined,
}

impl Order {
    pub(crate) fn of(column: &ColumnDescriptor) -> Order {
        let is_decimal = matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_)))
            || column.converted_type() == ConvertedType::DECIMAL;
        match (column.physical_type(), column.sort_order()) {
            (Type::FLOAT | Type::DOUBLE, _) => Order::Floats,
            (Type::INT96, _) => Order::Days,
            (_, SortOrder::UNDEFINED) => Order::Undefined,
            (Type::INT32 | Type::INT64, SortOrder::UNSIGNED) => Order::Unsigned,
            (Type::INT32 | Type::INT64, _) => Order::Signed,
            (_, SortOrder::TOTAL_ORDER) => Order::Floats,
            _ if is_decimal => Order::BigEndian,
            _ => Order::Bytes,
        }
    }

    #[inline]
    pub(super) fn compare(self, one: &[u8], other: &[u8]) -> Ordering {
        match self {
            Order::Bytes => one.cmp(other),
            Order::Signed => signed(one).cmp(&signed(other)),
            Order::Unsigned => unsigned(one).cmp(&unsigned(other)),
            Order::Floats => total(one).cmp(&total(other)),
            Order::BigEndian => compare_big_endian(one, other),
            Order::Days => day(one).cmp(&day(other)),
            Order::Undefined => Ordering::Equal,
        }
    }

    /// Whether the value is not a number.
    #[inline]
    pub(super) fn is_nan(self, value: &[u8]) -> bool {
        self == Order::Floats
            && match value.len() {
                8 => f64::from_le_bytes(number(value)).is_nan(),
                4 => f32::from_le_bytes(number(value)).is_nan(),
                _ => u16::from_le_bytes(number(value)) & 0x7fff > 0x7c00,
            }
    }
}

/// The bytes of a number of that width.
pub(super) fn number<const WIDTH: usize>(bytes: &[u8]) -> [u8; WIDTH] {
    bytes.try_into().expect("numbers are as wide as their type")
}

#[inline]
fn signed(value: &[u8]) -> i64 {
    match value.len() {
        8 => i64::from_le_bytes(number(value)),
        _ => i32::from_le_bytes(number(value)).into(),
    }
}

#[inline]
fn unsigned(value: &[u8]) -> u64 {
    match value.len() {
        8 => u64::from_le_bytes(number(value)),
        _ => u32::from_le_bytes(number(value)).into(),
    }
}

/// A whole number that compares as the floating-point number does in the total order.
#[inline]
fn total(value: &[u8]) -> i64 {
    match value.len() {
        8 => {
            let bits = i64::from_le_bytes(number(value));
            bits ^ ((bits >> 63) as u64 >> 1) as i64
        }
        4 => {
            let bits = i32::from_le_bytes(number(value));
            (bits ^ ((bits >> 31) as u32 >> 1) as i32).into()
        }
        _ => {
            let bits = i16::from_le_bytes(number(value));
            (bits ^ ((bits >> 15) as u16 >> 1) as i16).into()
        }
    }
}

/// The day, and the nanoseconds of it.
fn day(value: &[u8]) -> (i32, i64) {
    let (nanoseconds, day) = value.split_at(8);
    (i32::from_le_bytes(number(day)), i64::from_le_bytes(number(nanoseconds)))
}

/// Numbers in two's complement, of any width.
fn compare_big_endian(one: &[u8], other: &[u8]) -> Ordering {
    let is_negative = |value: &[u8]| value.first().is_some_and(|&first| first >= 0x80);
    let width = one.len().max(other.len());
    let widened = |value: &[u8]| {
        let filling = if is_negative(value) { 0xff } else { 0 };
        // The sign's bit the other way round: negative numbers come first then.
        let mut bytes = vec![filling; width - value.len()];
        bytes.extend_from_slice(value);
        if let Some(first) = bytes.first_mut() {
            *first ^= 0x80;
        }
        bytes
    };
    widened(one).cmp(&widened(other))
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
        if order == Order::Undefined {
            return;
        }
        // What is not a number counts only where nothing is one.
        let are_nan = self.range.as_ref().map(|(min, _)| order.is_nan(min));
        match (are_nan, order.is_nan(value)) {
            (Some(false), true) => return,
            (Some(true), false) => self.range = None,
            _ => {}
        }
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

/// The start of the value, which is not greater than it; of text, whole characters.
pub(super) fn cut_min(value: &[u8]) -> &[u8] {
    match str::from_utf8(value) {
        Ok(text) => &value[..text.floor_char_boundary(MAX_LEN)],
        Err(_) => &value[..value.len().min(MAX_LEN)],
    }
}

/// A short value that is not less than the value, and text if that is text; the value itself where
/// there is none.
pub(super) fn cut_max(value: &[u8]) -> Vec<u8> {
    if value.len() <= MAX_LEN {
        return value.to_vec();
    }
    let start = cut_min(value);
    if str::from_utf8(value).is_err() {
        let last = start.iter().rposition(|&byte| byte < u8::MAX);
        return last.map_or(value.to_vec(), |last| [&start[..last], &[start[last] + 1]].concat());
    }
    let start = str::from_utf8(start).expect("it was cut between characters");
    for (at, last) in start.char_indices().rev() {
        // Past the numbers that are no characters, and no longer than the one that it stands for.
        let next = (last..=char::MAX).nth(1).filter(|next| next.len_utf8() == last.len_utf8());
        if let Some(next) = next {
            return [&value[..at], next.encode_utf8(&mut [0; 4]).as_bytes()].concat();
        }
    }
    value.to_vec()
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
            bounds.add(&number.to_le_bytes(), Order::Signed);
        }
        assert_eq!(bounds.get(), Some((&(-5_i64).to_le_bytes()[..], &300_i64.to_le_bytes()[..])));
        let mut bounds = Bounds::default();
        for number in [0.5, -0.25, 0.042] {
            bounds.add(&f64::to_le_bytes(number), Order::Floats);
        }
        assert_eq!(bounds.get(), Some((&(-0.25_f64).to_le_bytes()[..], &0.5_f64.to_le_bytes()[..])));
    }
}
