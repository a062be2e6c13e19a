//! `x-edge-request-id`: 56 characters that are unique by construction, and can be read back.
//!
//! CloudFront's own ids are 40 bytes in base64url: 54 characters and `==`. Here the first 16 bytes
//! carry the seed and the line number: both go through four rounds of a Feistel network, which is
//! invertible, so two ids are the same only when seed and line number are both the same. The other
//! 24 bytes follow from those and look as random. [`decode`] undoes it, so a test that counts loss
//! and duplicates needs a bit per line and no set of ids.

use crate::random::mix;

/// Characters in an id.
pub const LENGTH: usize = 56;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ROUND_KEYS: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// The id of line `line` in the log of seed `seed`.
///
/// ```
/// use pixel_engine_bench_data::request_id;
/// let id = request_id::encode(1, 41);
/// assert!(id.ends_with(b"=="));
/// assert_eq!(request_id::decode(&id), Some((1, 41)));
/// ```
pub fn encode(seed: u64, line: u64) -> [u8; LENGTH] {
    let mut left = seed;
    let mut right = line;
    for pair in ROUND_KEYS.chunks_exact(2) {
        left ^= mix(right.wrapping_add(pair[0]));
        right ^= mix(left.wrapping_add(pair[1]));
    }
    spell(words(left, right))
}

/// The seed and the line number of an id that [`encode`] made; `None` for any other text.
pub fn decode(id: &[u8]) -> Option<(u64, u64)> {
    let id: &[u8; LENGTH] = id.try_into().ok()?;
    // The first two words are 128 bits: 21 characters and the upper 2 bits of the next.
    let mut bits = 0_u128;
    for &character in &id[..21] {
        bits = bits << 6 | u128::from(value_of(character)?);
    }
    bits = bits << 2 | u128::from(value_of(id[21])? >> 4);
    let [mut left, mut right] = [(bits >> 64) as u64, bits as u64];
    if spell(words(left, right)) != *id {
        return None;
    }
    for pair in ROUND_KEYS.chunks_exact(2).rev() {
        right ^= mix(left.wrapping_add(pair[1]));
        left ^= mix(right.wrapping_add(pair[0]));
    }
    Some((left, right))
}

fn words(left: u64, right: u64) -> [u64; 5] {
    let third = mix(left.wrapping_add(right.rotate_left(32)));
    let fourth = mix(third.wrapping_add(right));
    [left, right, third, fourth, mix(fourth ^ left)]
}

/// The 40 bytes of the five words, big-endian, as base64url with its padding.
#[inline]
fn spell(words: [u64; 5]) -> [u8; LENGTH] {
    // Two bytes of padding make whole groups of three: their characters give way to the `==`.
    let mut bytes = [0; 42];
    for (target, word) in bytes.chunks_exact_mut(8).zip(words) {
        target.copy_from_slice(&word.to_be_bytes());
    }
    let mut id = [0; LENGTH];
    for (characters, group) in id.chunks_exact_mut(4).zip(bytes.chunks_exact(3)) {
        let bits = usize::from(group[0]) << 16 | usize::from(group[1]) << 8 | usize::from(group[2]);
        for (index, character) in characters.iter_mut().enumerate() {
            *character = ALPHABET[bits >> (18 - 6 * index) & 63];
        }
    }
    id[54..].copy_from_slice(b"==");
    id
}

fn value_of(character: u8) -> Option<u64> {
    ALPHABET.iter().position(|&other| other == character).map(|index| index as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back_as_its_seed_and_line() {
        for seed in [0, 1, 2, u64::MAX, 0x1234_5678_9abc_def0] {
            for line in [0, 1, 2, 3, 1 << 32, u64::MAX] {
                let id = encode(seed, line);
                assert!(id.is_ascii());
                assert!(id[..54].iter().all(|character| ALPHABET.contains(character)) && id.ends_with(b"=="));
                assert_eq!(decode(&id), Some((seed, line)));
            }
        }
    }

    #[test]
    fn other_text_is_not_an_id() {
        let mut id = encode(7, 7);
        id[33] = if id[33] == b'A' { b'B' } else { b'A' };
        assert_eq!(decode(&id), None);
        assert_eq!(decode(&[b'A'; LENGTH]), None);
        assert_eq!(decode(b"-"), None);
    }
}
