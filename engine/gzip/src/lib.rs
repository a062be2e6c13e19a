//! Writes gzip members, fast: one level, for text that repeats itself as logs do.
//!
//! A member is cut into blocks. For each, `matches` finds what the text has said
//! before and makes tokens of it, `huffman` gives every symbol a code by how often it comes, and
//! `block` writes the tokens in these codes, or the text as it is where that is shorter.
//!
//! On log lines it is some 1.5 times as fast as level 1 of zlib-rs and libdeflate, and its members
//! are as large as those of zlib's level 2; docs/codecs.md of the project has the figures.
//!
//! Sources: RFC 1951 (DEFLATE) and RFC 1952 (gzip).
//!
//! ```
//! let mut encoder = pixel_engine_gzip::Encoder::default();
//! let text = "1767600000.123\t203.0.113.9\t200\tGET\n".repeat(100);
//! let mut member = Vec::new();
//! encoder.encode(text.as_bytes(), &mut member);
//! assert!(member.len() < text.len() / 10);
//! ```

mod bits;
mod block;
mod huffman;
mod matches;

use bits::BitWriter;
use block::BlockWriter;
use matches::Matches;

/// Magic number, DEFLATE, no flags, no time, the fastest algorithm, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// The CRC-32 and the length, of 4 bytes each.
const TRAILER_LEN: usize = 8;

/// Makes gzip members. It keeps its tables from one to the next: 550 kB.
#[derive(Default)]
pub struct Encoder {
    matches: Matches,
    blocks: BlockWriter,
}

impl Encoder {
    /// Appends a member of that text. It is a whole gzip file by itself, and members may follow
    /// each other in one.
    pub fn encode(&mut self, text: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(&HEADER);
        let mut bits = BitWriter::new(output);
        let mut checksum = crc32fast::Hasher::new();
        self.matches.begin();
        let mut start = 0;
        loop {
            let (end, tokens) = self.matches.next_block(text, start);
            // Now, while the block is in the cache.
            checksum.update(&text[start..end]);
            self.blocks.write(&text[start..end], tokens, end == text.len(), &mut bits);
            start = end;
            if start == text.len() {
                break;
            }
        }
        bits.finish();
        output.extend_from_slice(&checksum.finalize().to_le_bytes());
        // Of what is longer than 4 GiB, the rest: RFC 1952, ISIZE.
        output.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
}

/// The most bytes that a member of `len` bytes takes: what cannot be compressed is stored, with 5
/// bytes before each 65,535 and at most one more before each block.
pub fn bound(len: usize) -> usize {
    let blocks = len / matches::BLOCK_LEN + 1;
    HEADER.len() + len + 5 * (len / block::MAX_STORED_LEN + 2 * blocks) + blocks + TRAILER_LEN
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// By zlib-rs.
    fn decode(member: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(member).read_to_end(&mut text).unwrap();
        text
    }

    fn check(encoder: &mut Encoder, text: &[u8]) -> usize {
        let mut member = b"before".to_vec();
        encoder.encode(text, &mut member);
        let member = member.strip_prefix(b"before").unwrap();
        assert!(decode(member) == text, "{} bytes do not come back", text.len());
        assert!(member.len() <= bound(text.len()), "{} bytes of {}", member.len(), text.len());
        member.len()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn every_short_length_comes_back() {
        let mut encoder = Encoder::default();
        let noise = noise(600);
        for len in 0..600 {
            check(&mut encoder, &noise[..len]);
            check(&mut encoder, &vec![b'a'; len]);
            check(&mut encoder, &b"abcdefgh\t".repeat(len.div_ceil(9))[..len]);
        }
    }

    #[test]
    fn lengths_about_those_of_blocks_come_back() {
        let mut encoder = Encoder::default();
        for text in [noise(800_000), b"line 17 of a log\tGET\t/pixel.gif\n".repeat(25_000), vec![0; 800_000]] {
            for len in [1, 3, 5, 6].map(|halves| halves * matches::BLOCK_LEN / 2) {
                for len in len - 2..=(len + 2).min(text.len()) {
                    check(&mut encoder, &text[..len]);
                }
            }
            for len in [block::MAX_STORED_LEN - 1, block::MAX_STORED_LEN, block::MAX_STORED_LEN + 1] {
                check(&mut encoder, &text[..len]);
            }
        }
    }

    #[test]
    fn noise_takes_hardly_more_than_it_is() {
        let len = check(&mut Encoder::default(), &noise(1_000_000));
        assert!(len < 1_000_200, "{len}");
    }

    #[test]
    fn what_is_all_the_same_takes_next_to_nothing() {
        let len = check(&mut Encoder::default(), &vec![b'x'; 1_000_000]);
        assert!(len < 1_200, "{len}");
    }

    #[test]
    fn what_was_before_the_window_is_not_referred_to() {
        let mut encoder = Encoder::default();
        let part = noise(200);
        for gap in 32_500..33_100 {
            let filling = gap - part.len();
            check(&mut encoder, &[&part[..], &noise(gap)[200..200 + filling], &part, &part].concat());
        }
        // As far away as positions of 16 bits can tell apart, and farther.
        for gap in [65_535, 65_536, 65_537, 98_304, 131_072] {
            check(&mut encoder, &[&part[..], &vec![b'-'; gap - part.len()], &part].concat());
        }
    }

    #[test]
    fn members_of_any_size_come_back() {
        let mut encoder = Encoder::default();
        let mut text = Vec::new();
        let mut number = 0_u32;
        for shift in [10, 14, 18, 20, 23, 27] {
            while text.len() < 1 << shift {
                let hash = number.wrapping_mul(2_654_435_761);
                text.extend_from_slice(format!("{number}\t203.0.113.{}\t{hash:08x}\tGET\t/p\n", hash >> 24).as_bytes());
                number += 1;
            }
            assert!(check(&mut encoder, &text) < text.len() / 2);
        }
    }

    #[test]
    fn a_member_does_not_depend_on_those_before() {
        let text = b"GET\t/pixel.gif\t200\tHit\n".repeat(3_000);
        let (mut fresh, mut used) = (Vec::new(), Vec::new());
        Encoder::default().encode(&text, &mut fresh);
        let mut encoder = Encoder::default();
        encoder.encode(&noise(300_000), &mut Vec::new());
        encoder.encode(&text, &mut used);
        assert!(fresh == used);
    }

    /// Pieces of a few words and of noise, some of them long.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let word = prop::sample::select(vec!["GET", "/pixel.gif?e=view&uid=", "\t", "\n", "Hit", "Mozilla/5.0 (X11)"]);
        let piece = prop_oneof![
            4 => word.prop_map(|word| word.as_bytes().to_vec()),
            2 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (any::<u8>(), 0..2_000_usize).prop_map(|(byte, len)| vec![byte; len]),
            1 => prop::collection::vec(b'0'..=b'3', 0..2_000),
        ];
        prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in texts(), times in 1..30_usize) {
            check(&mut Encoder::default(), &text.repeat(times));
        }
    }
}
