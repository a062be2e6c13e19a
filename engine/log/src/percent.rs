//! Percent-decoding.
//!
//! CloudFront percent-encodes every value once when it writes a log line ([`decode`] undoes that),
//! and the values of a query were encoded by the viewer before that, so they need decoding twice
//! ([`query`](crate::query)). An escape that is broken (`%zz`) or cut short (`%`, `%2` at the 800
//! bytes after which CloudFront cuts some fields) stays as it is: nothing is lost, and nothing is
//! an error.

use std::borrow::Cow;

use crate::scan::masks;

/// The text without its percent-escapes: for values that are encoded once, such as `cs-user-agent`.
/// Borrowed when there is no `%`. A `+` stays a plus.
///
/// ```
/// use pixel_engine_log::percent;
/// assert_eq!(&*percent::decode(b"Mozilla/5.0%20(Macintosh;%20"), b"Mozilla/5.0 (Macintosh; ");
/// assert_eq!(&*percent::decode(b"100% %zz %2"), b"100% %zz %2");
/// ```
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b'%', text) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let mut out = Vec::new();
            decode_into(text, &mut out);
            Cow::Owned(out)
        }
    }
}

/// Appends what [`decode`] gives to `out`, so that a buffer can be used again and again.
///
/// ```
/// let mut buffer = b"agent: ".to_vec();
/// pixel_engine_log::percent::decode_into(b"curl%2F8", &mut buffer);
/// assert_eq!(buffer, b"agent: curl/8");
/// ```
pub fn decode_into(text: &[u8], out: &mut Vec<u8>) {
    append::<PERCENT>(text, out);
}

/// Appends the text as CloudFront would log it: every byte escaped that it escapes, in upper case.
/// [`decode`] undoes it.
///
/// ```
/// let mut logged = Vec::new();
/// pixel_engine_log::percent::encode_into("a \"b\" 5%\t\u{e9}".as_bytes(), &mut logged);
/// assert_eq!(logged, b"a%20%22b%22%205%25%09%C3%A9");
/// ```
pub fn encode_into(text: &[u8], out: &mut Vec<u8>) {
    // Source: the table of encoded characters of CloudFront's standard logs.
    escape_into(text, |byte| byte > b' ' && byte < 0x7f && !b"\"#%'<>[\\]^`{|}~".contains(&byte), out);
}

/// Appends the text with an escape for every byte that is not to stay.
pub(crate) fn escape_into(text: &[u8], stays: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if stays(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// Only escapes: what [`decode`] does.
pub(crate) const PERCENT: u8 = 0;
/// Escapes, and `+` is a space: one level of a URL's query, as in the URL standard's form decoding.
pub(crate) const FORM: u8 = 1;
/// Escapes as CloudFront writes them, over a query's own escapes and `+`.
pub(crate) const LOGGED_FORM: u8 = 2;

/// What came out of [`decode_range`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoded {
    /// How many bytes were written.
    pub(crate) len: usize,
    /// An escape stood for `"`, `\` or a byte below 0x20: JSON must escape it.
    pub(crate) needs_json_escape: bool,
    /// An escape stood for a byte of 0x80 or above: perhaps not UTF-8.
    pub(crate) is_high: bool,
}

/// The room past the end that [`decode_range`] writes over.
pub(crate) const SLACK: usize = 32;

/// Decodes `bytes[start..end]` to the front of `out`, which must have room for as many bytes and
/// [`SLACK`] more. `bytes` may go on past `end`: it is quicker to read there than to look where it
/// stops.
#[inline]
pub(crate) fn decode_range<const MODE: u8>(bytes: &[u8], start: usize, end: usize, out: &mut [u8]) -> Decoded {
    let text = &bytes[..end];
    let mut class = 0;
    let mut at = start;
    let mut written = 0;
    while at < end {
        // The escapes of 64 bytes are found at once, so that where the next one is does not wait
        // for what the one before it was; a `%` that is part of one already decoded is masked off.
        let base = at;
        let left = (end - base).min(64);
        let mut found = match bytes[base..].first_chunk() {
            Some(block) => found_in::<MODE>(block),
            None => {
                let mut block = [0; 64];
                block[..left].copy_from_slice(&bytes[base..base + left]);
                found_in::<MODE>(&block)
            }
        };
        found &= u64::MAX >> (64 - left);
        while found != 0 {
            let escape = base + found.trailing_zeros() as usize;
            copy_run(bytes, at, escape, out, written);
            written += escape - at;
            if MODE != PERCENT && text[escape] == b'+' {
                out[written] = b' ';
                at = escape + 1;
            } else {
                let (byte, next) = unescape::<MODE>(text, escape);
                out[written] = byte;
                class |= CLASS[usize::from(byte)];
                at = next;
            }
            written += 1;
            // An escape may reach beyond the block.
            found &= u64::MAX.checked_shl((at - base) as u32).unwrap_or(0);
        }
        let block_end = base + left;
        if at < block_end {
            copy_run(bytes, at, block_end, out, written);
            written += block_end - at;
            at = block_end;
        }
    }
    Decoded { len: written, needs_json_escape: class & ESCAPE != 0, is_high: class & HIGH != 0 }
}

#[inline(always)]
fn found_in<const MODE: u8>(block: &[u8; 64]) -> u64 {
    if MODE == PERCENT { masks::percents(block) } else { masks::escapes(block) }
}

/// Copies up to 64 bytes, 32 at a time whatever they are.
#[inline(always)]
fn copy_run(bytes: &[u8], start: usize, end: usize, out: &mut [u8], to: usize) {
    let len = end - start;
    match bytes[start..].first_chunk::<32>() {
        Some(block) if len <= 32 => {
            *out[to..].first_chunk_mut().expect("the caller gives room enough") = *block;
        }
        _ => out[to..to + len].copy_from_slice(&bytes[start..end]),
    }
}

/// Appends the decoded text to `out`.
pub(crate) fn append<const MODE: u8>(text: &[u8], out: &mut Vec<u8>) {
    let before = out.len();
    out.resize(before + text.len() + SLACK, 0);
    let to = &mut out[before..];
    let decoded = if text.len() <= 64 {
        // With something behind it.
        let mut block = [0; 64 + 64];
        block[..text.len()].copy_from_slice(text);
        decode_range::<MODE>(&block, 0, text.len(), to)
    } else {
        decode_range::<MODE>(text, 0, text.len(), to)
    };
    out.truncate(before + decoded.len);
}

/// The byte that the `%` at `at` begins, and where the text goes on; a `%` that begins no escape is
/// itself.
#[inline(always)]
fn unescape<const MODE: u8>(text: &[u8], at: usize) -> (u8, usize) {
    let (byte, next) = token(text, at);
    if MODE != LOGGED_FORM || byte != b'%' {
        return (byte, next);
    }
    // A `%` of the viewer's own, mostly written `%25`: its two digits follow, as they are or
    // escaped in turn.
    if next >= text.len() {
        return (byte, next);
    }
    let (high, after_high) = token(text, next);
    if after_high >= text.len() {
        return (byte, next);
    }
    let (low, after_low) = token(text, after_high);
    match pair(high, low) {
        Some(decoded) => (decoded, after_low),
        None => (byte, next),
    }
}

/// One byte of the text below the first level, and where the next one begins; `at` lies inside the
/// text.
#[inline(always)]
fn token(text: &[u8], at: usize) -> (u8, usize) {
    if text[at] == b'%'
        && let Some(&[high, low]) = text.get(at + 1..at + 3).and_then(|digits| digits.first_chunk::<2>())
        && let Some(byte) = pair(high, low)
    {
        return (byte, at + 3);
    }
    (text[at], at + 1)
}

/// The byte that the escape at the beginning of the text stands for, if there is one.
pub(crate) fn escaped(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => pair(*high, *low),
        _ => None,
    }
}

#[inline(always)]
fn pair(high: u8, low: u8) -> Option<u8> {
    let (high, low) = (DIGIT[usize::from(high)], DIGIT[usize::from(low)]);
    (high | low < 16).then_some(high << 4 | low)
}

/// The value of a hexadecimal digit; 16 for any other byte.
static DIGIT: [u8; 256] = {
    let mut table = [16; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

const ESCAPE: u8 = 1;
const HIGH: u8 = 2;

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0..0x20 | b'"' | b'\\' => ESCAPE,
            0x80.. => HIGH,
            _ => 0,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(text: &[u8]) -> Vec<u8> {
        let digit = |byte: Option<&u8>| byte.and_then(|&byte| (byte as char).to_digit(16));
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
                (b'%', Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    at += 3;
                }
                _ => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        out
    }

    #[test]
    fn broken_and_cut_escapes_stay() {
        for (text, decoded) in [
            ("", ""),
            ("plain", "plain"),
            ("%41%7e%7E", "A~~"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%4g%g4", "%zz%4g%g4"),
            ("%%41", "%A"),
            ("%2541", "%41"),
            ("a+b", "a+b"),
            ("0123456789abcdef%20", "0123456789abcdef "),
            ("0123456789abcde%20f", "0123456789abcde f"),
        ] {
            assert_eq!(decode(text.as_bytes()), decoded.as_bytes(), "{text}");
        }
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        assert!(matches!(decode(b"no+escape"), Cow::Borrowed(b"no+escape")));
    }

    proptest! {
        #[test]
        fn decoding_equals_the_naive_one(text in r"([%a-fA-F0-9+x]|%25|%[0-9a-f]{2}){0,40}") {
            prop_assert_eq!(decode(text.as_bytes()).into_owned(), naive(text.as_bytes()));
        }

        #[test]
        fn what_is_encoded_decodes_to_the_same_and_separates_nothing(
            text in prop::collection::vec(any::<u8>(), 0..40)
        ) {
            let mut logged = Vec::new();
            encode_into(&text, &mut logged);
            prop_assert!(logged.iter().all(u8::is_ascii_graphic));
            prop_assert_eq!(&*decode(&logged), text);
        }
    }
}
