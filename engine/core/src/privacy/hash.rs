//! Hashes with a key: what stands in a log in place of a value.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a hash that are written, twice as many digits: two different values out of a thousand
/// million have the same one with a probability below 2^-68.
const LEN: usize = 16;

/// How BLAKE3 makes its key of 32 bytes from one of another length.
const CONTEXT: &str = "pixel-engine 2026 hash_key of another length than 32 bytes";

/// A hash function with its key.
#[derive(Clone)]
pub(crate) enum KeyedHash {
    /// BLAKE3 in its keyed mode.
    Blake3([u8; 32]),
    /// HMAC-SHA-256, to be cloned for each value.
    HmacSha256(Hmac<Sha256>),
}

impl KeyedHash {
    /// The fewest bytes of a key.
    pub(crate) const MIN_KEY_LEN: usize = 16;

    /// A key of 32 bytes is BLAKE3's as it is.
    pub(crate) fn blake3(key: &[u8]) -> KeyedHash {
        KeyedHash::Blake3(key.try_into().unwrap_or_else(|_| blake3::derive_key(CONTEXT, key)))
    }

    pub(crate) fn hmac_sha256(key: &[u8]) -> KeyedHash {
        KeyedHash::HmacSha256(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// Appends the hash of the value in lower-case hexadecimal digits.
    pub(crate) fn append(&self, value: &[u8], out: &mut Vec<u8>) {
        let mut hash = [0; LEN];
        match self {
            KeyedHash::Blake3(key) => hash.copy_from_slice(&blake3::keyed_hash(key, value).as_bytes()[..LEN]),
            KeyedHash::HmacSha256(keyed) => {
                hash.copy_from_slice(&keyed.clone().chain_update(value).finalize().into_bytes()[..LEN]);
            }
        }
        for byte in hash {
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
    }
}

/// Without the key.
impl fmt::Debug for KeyedHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            KeyedHash::Blake3(_) => "Blake3",
            KeyedHash::HmacSha256(_) => "HmacSha256",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(hash: &KeyedHash, value: &[u8]) -> String {
        let mut out = Vec::new();
        hash.append(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The keyed hashes of BLAKE3's test vectors: of the first bytes of 0, 1, ..., 250, 0, 1, ...
    #[test]
    fn blake3_gives_its_published_hashes() {
        let hash = KeyedHash::blake3(b"whats the Elvish word for friend");
        let input: Vec<u8> = (0..=250).cycle().take(2_048).collect();
        for (len, wanted) in [
            (0, "92b2b75604ed3c761f9d6f62392c8a92"),
            (1, "6d7878dfff2f485635d39013278ae14f"),
            (1_024, "75c46f6f3d9eb4f55ecaaee480db732e"),
            (1_025, "357dc55de0c7e382c900fd6e320acc04"),
            (2_048, "879cf1fa2ea0e79126cb1063617a05b6"),
        ] {
            assert_eq!(digits(&hash, &input[..len]), wanted, "{len}");
        }
    }

    /// RFC 4231, test cases 1 to 7, each cut to its first 128 bits.
    #[test]
    fn hmac_gives_the_hashes_of_its_rfc() {
        let long: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let longer: &[u8] = b"This is a test using a larger than block-size key and a larger than block-size data. \
            The key needs to be hashed before being used by the HMAC algorithm.";
        let counted: Vec<u8> = (1..=25).collect();
        let cases: [(&[u8], &[u8], &str); 7] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
            (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a7"),
            (&counted, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a"),
            (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
            (&[0xaa; 131], long, "60e431591ee0b67f0d8a26aacbf5b77f"),
            (&[0xaa; 131], longer, "9b09ffa71b942fcb27635fbcd5b0e944"),
        ];
        for (key, value, wanted) in cases {
            assert_eq!(digits(&KeyedHash::hmac_sha256(key), value), wanted);
        }
    }

    #[test]
    fn keys_of_any_length_make_hashes_of_their_own() {
        let keys = [&[7_u8; 16][..], &[7; 31], &[7; 32], &[7; 33], &[7; 100]];
        for (index, key) in keys.iter().enumerate() {
            for other in &keys[..index] {
                assert_ne!(digits(&KeyedHash::blake3(key), b"v"), digits(&KeyedHash::blake3(other), b"v"));
            }
        }
    }

    #[test]
    fn no_key_is_printed() {
        let key = "0123456789abcdef";
        for hash in [KeyedHash::blake3(key.as_bytes()), KeyedHash::hmac_sha256(key.as_bytes())] {
            assert!(["Blake3", "HmacSha256"].contains(&format!("{hash:?}").as_str()));
        }
    }
}
