//! Small writers: digits, hexadecimal, and the two percent-encodings that a query passes through.
//!
//! `format!` would cost more than all the rest of a line together, so numbers are written by hand.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `value` in decimal, without leading zeros.
#[inline]
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends the last `WIDTH` decimal digits of `value`, with leading zeros.
#[inline]
pub(crate) fn push_padded<const WIDTH: usize>(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; WIDTH];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Appends milliseconds as seconds with 3 decimals: 42 is `0.042`.
#[inline]
pub(crate) fn push_seconds(out: &mut Vec<u8>, millis: u64) {
    push_decimal(out, millis / 1000);
    out.push(b'.');
    push_padded::<3>(out, millis % 1000);
}

/// Appends the low `WIDTH` hexadecimal digits of `value`, lower case, with leading zeros.
#[inline]
pub(crate) fn push_hex<const WIDTH: usize>(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; WIDTH];
    for (index, digit) in digits.iter_mut().enumerate() {
        *digit = HEX[(value >> (4 * (WIDTH - 1 - index)) & 15) as usize];
    }
    out.extend_from_slice(&digits);
}

/// Appends `value` in lower-case hexadecimal without leading zeros.
#[inline]
pub(crate) fn push_short_hex(out: &mut Vec<u8>, value: u16) {
    match value {
        0..=0xf => push_hex::<1>(out, value.into()),
        0x10..=0xff => push_hex::<2>(out, value.into()),
        0x100..=0xfff => push_hex::<3>(out, value.into()),
        _ => push_hex::<4>(out, value.into()),
    }
}

/// Appends a version-4 UUID made of these 128 bits.
#[inline]
pub(crate) fn push_uuid(out: &mut Vec<u8>, high: u64, low: u64) {
    push_hex::<8>(out, high >> 32);
    out.push(b'-');
    push_hex::<4>(out, high >> 16);
    out.extend_from_slice(b"-4");
    push_hex::<3>(out, high);
    out.push(b'-');
    push_hex::<4>(out, low >> 48 & 0x3fff | 0x8000);
    out.push(b'-');
    push_hex::<12>(out, low);
}

/// What CloudFront writes for these bytes: codes up to 32, 127 and above, and the characters that
/// RFC 1738 calls unsafe become `%XX`. `%` is one of them, so text that was encoded before comes
/// out encoded twice.
pub(crate) fn logged(raw: &[u8]) -> Vec<u8> {
    encode(raw, |byte| byte > 32 && byte < 127 && !b"<>\"#%{}|\\^~[]`'".contains(&byte))
}

/// What a browser's `encodeURIComponent` makes of a value before it stands in a query.
pub(crate) fn component(raw: &[u8]) -> Vec<u8> {
    encode(raw, |byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte))
}

fn encode(raw: &[u8], is_literal: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() * 2);
    for &byte in raw {
        if is_literal(byte) {
            out.push(byte);
        } else {
            let high = HEX[usize::from(byte >> 4)].to_ascii_uppercase();
            let low = HEX[usize::from(byte & 15)].to_ascii_uppercase();
            out.extend_from_slice(&[b'%', high, low]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        assert_eq!(written(|out| push_decimal(out, 0)), "0");
        assert_eq!(written(|out| push_decimal(out, u64::MAX)), u64::MAX.to_string());
        assert_eq!(written(|out| push_padded::<3>(out, 7)), "007");
        assert_eq!(written(|out| push_seconds(out, 42)), "0.042");
        assert_eq!(written(|out| push_seconds(out, 1_767_600_000_120)), "1767600000.120");
        assert_eq!(written(|out| push_hex::<4>(out, 0xabc)), "0abc");
        assert_eq!(written(|out| push_short_hex(out, 0xabc)), "abc");
        assert_eq!(written(|out| push_uuid(out, 0, u64::MAX)), "00000000-0000-4000-bfff-ffffffffffff");
    }

    #[test]
    fn a_url_in_a_query_is_encoded_twice() {
        assert_eq!(logged(&component(b"https://a.example/x y")), b"https%253A%252F%252Fa.example%252Fx%2520y");
        assert_eq!(logged("ü\t~\"".as_bytes()), b"%C3%BC%09%7E%22");
    }
}
