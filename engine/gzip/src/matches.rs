//! Finds what a text has said before, and makes tokens of it.
//!
//! One table remembers, for six bytes, where they came last. At each position one place is looked
//! at, and what is found there is taken: no search for a better one. Nearly all of the time is spent
//! waiting, for what the table says, and for branches that went the other way than was foreseen, so
//! everything else is laid out to have few of both:
//!
//! - The table's entry has bits of the hash beside the position. Whether the place is worth a look is
//!   known before its text is there.
//! - How long a match is, up to 32 bytes, and how far it reaches back, up to 8, is found without a
//!   branch.
//! - Up to 8 literals are made tokens without a branch.
//!
//! Tried, without a gain: looking at two positions at a time; a table of positions alone, of half the
//! size; fewer entries behind a match, which cost more in size than they saved; hashes of 5 and 7
//! bytes.

/// Bytes of text of a block; the last one may have half as much again.
pub(crate) const BLOCK_LEN: usize = 1 << 18;
/// A token has two bytes of the text at least, on average: see [`Matches::tokens`].
const MAX_TOKENS: usize = (BLOCK_LEN + BLOCK_LEN / 2) / 2 + ROOM;
/// Tokens that may be written behind the last one.
const ROOM: usize = 8;

/// The farthest that a match may be away. Source: RFC 1951, 3.2.5, as everything about lengths and
/// distances.
const WINDOW: usize = 1 << 15;
/// The longest match.
const MAX_LEN: usize = 258;
/// The shortest match that is looked for. DEFLATE has shorter ones, which save next to nothing.
const MIN_LEN: usize = 6;

/// Bits of a place in the table: with 4 bytes each, it fills a first-level cache.
const TABLE_BITS: u32 = 13;
/// An entry without a position: at all positions that can see it, it is farther away than
/// [`WINDOW`].
const NOWHERE: u32 = 0x7fff;
/// Bytes at the end of the text that are literals, so that what is compared never ends inside of
/// a word.
const TAIL: usize = 40;
/// After that many bytes without a match, every second position is looked at, after as many again
/// every third. What is passed over is still part of a match that reaches back.
const PATIENCE: usize = 32;

/// Literals, or a match, in 31 bits. See [`Token::parts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token(u32);

impl Token {
    /// Values of the first part: a byte, or 253 and the length of a match.
    pub(crate) const FIRSTS: usize = 512;
    /// Values of the second part: the symbol of a distance, nothing, or 32 and a byte.
    pub(crate) const SECONDS: usize = 512;
    /// The second part of a single literal.
    pub(crate) const NOTHING: usize = 30;

    #[inline]
    fn literals(one: u8, other: u8) -> Token {
        Token(u32::from(one) | (u32::from(other) + 32) << 9)
    }

    #[inline]
    fn literal(byte: u8) -> Token {
        Token(u32::from(byte) | (Token::NOTHING as u32) << 9)
    }

    /// A match of 3 to [`MAX_LEN`] bytes, 1 to [`WINDOW`] bytes back.
    #[inline]
    fn of_match(len: usize, distance: usize) -> Token {
        let farther = distance as u32 - 1;
        // From 4 on, two symbols for each power of two.
        let bits = (farther | 1).ilog2();
        let (symbol, extra) = if farther < 2 {
            (farther, 0)
        } else {
            (2 * bits + (farther >> (bits - 1) & 1), farther & ((1 << (bits - 1)) - 1))
        };
        Token(first_of_length(len) as u32 | symbol << 9 | extra << 18)
    }

    /// What comes first, what comes second, and the bits behind a distance's symbol.
    #[inline]
    pub(crate) fn parts(self) -> (usize, usize, u32) {
        (self.0 as usize % Token::FIRSTS, (self.0 >> 9) as usize % Token::SECONDS, self.0 >> 18)
    }
}

/// The first part of a match of that length.
pub(crate) const fn first_of_length(len: usize) -> usize {
    253 + len
}

/// What is remembered of the text.
pub(crate) struct Matches {
    table: Vec<u32>,
    /// Of the block that was made last. A match stands for at least [`MIN_LEN`] bytes and has at most
    /// one single literal before it, all others come in pairs.
    tokens: Vec<Token>,
}

impl Default for Matches {
    fn default() -> Matches {
        Matches { table: vec![NOWHERE; 1 << TABLE_BITS], tokens: vec![Token::default(); MAX_TOKENS] }
    }
}

/// A match that was found.
struct Found<'a> {
    position: usize,
    distance: usize,
    /// What is there, and what was there before.
    here: &'a [u8; 32],
    before: &'a [u8; 32],
}

impl Matches {
    /// Forgets everything: another text begins.
    pub(crate) fn begin(&mut self) {
        self.table.fill(NOWHERE);
    }

    /// The tokens of the text from `start` on, and where the block ends that they make up. Blocks
    /// are asked for in order; what comes before `start` may be referred to.
    // By itself it has all registers.
    #[inline(never)]
    pub(crate) fn next_block(&mut self, text: &[u8], start: usize) -> (usize, &[Token]) {
        let is_last = text.len() - start <= BLOCK_LEN + BLOCK_LEN / 2;
        let wanted_end = if is_last { text.len() } else { start + BLOCK_LEN };
        // No match reaches beyond the block, so that there are not too many tokens.
        let text = &text[..wanted_end];
        let limit = wanted_end.saturating_sub(TAIL);
        let mut position = start;
        let mut count = 0;
        while let Some(found) = self.search(text, position, limit) {
            let Found { distance, .. } = found;
            let mut begin = found.position;
            let mut len = common_len(text, &found);
            self.remember(text, begin + 1);
            self.remember(text, begin + len - 2);
            let end = begin + len;
            if let Some(earlier) = (begin - distance).checked_sub(8) {
                let differences = word(text, begin - 8) ^ word(text, earlier);
                let back = (differences.leading_zeros() / 8) as usize;
                let back = back.min(begin - position).min(MAX_LEN - len);
                begin -= back;
                len += back;
            }
            count = push_literals(&mut self.tokens, count, text, position..begin);
            self.tokens[count] = Token::of_match(len, distance);
            count += 1;
            position = end;
        }
        let pairs = text[position..].chunks(2);
        let rest = pairs.map(|pair| match *pair {
            [one, other] => Token::literals(one, other),
            _ => Token::literal(pair[0]),
        });
        for (token, of_rest) in self.tokens[count..].iter_mut().zip(rest) {
            *token = of_rest;
            count += 1;
        }
        (wanted_end, &self.tokens[..count])
    }

    /// The first match from that position on and before the limit.
    #[inline]
    fn search<'a>(&mut self, text: &'a [u8], mut position: usize, limit: usize) -> Option<Found<'a>> {
        let table: &mut [u32; 1 << TABLE_BITS] =
            self.table.first_chunk_mut().expect("the table was made with that length");
        let mut step = 1;
        let mut next_step = limit.min(position + PATIENCE);
        loop {
            if position >= next_step {
                if position >= limit {
                    return None;
                }
                step += 1;
                next_step = limit.min(position + PATIENCE);
            }
            let here = text[position..].first_chunk::<32>().expect("the limit leaves a tail");
            let (place, entry) = entry(word(here, 0), position);
            let known = std::mem::replace(&mut table[place], entry);
            let distance = usize::from((position as u16).wrapping_sub(known as u16));
            // The upper half is as it was, and the distance is from 1 to WINDOW.
            if (known ^ entry) >> 16 | (distance as u32).wrapping_sub(1) >> WINDOW.ilog2() == 0 {
                let before = text[position - distance..].first_chunk().expect("it is before the position");
                if (word(before, 0) ^ word(here, 0)) << (64 - 8 * MIN_LEN) == 0 {
                    return Some(Found { position, distance, here, before });
                }
            }
            position += step;
        }
    }

    #[inline]
    fn remember(&mut self, text: &[u8], position: usize) {
        let (place, entry) = entry(word(text, position), position);
        self.table[place] = entry;
    }
}

/// Where the table has the next [`MIN_LEN`] bytes, and what it says of them: 16 bits of their hash,
/// and the last 16 bits of where they are.
#[inline]
fn entry(word: u64, position: usize) -> (usize, u32) {
    let hash = (word << (64 - 8 * MIN_LEN)).wrapping_mul(0x9e37_79b1_85eb_ca87);
    let place = (hash >> (64 - TABLE_BITS)) as usize;
    let tag = (hash >> (48 - TABLE_BITS)) as u32 & 0xffff;
    (place, tag << 16 | position as u32 & 0xffff)
}

/// The 8 bytes from there on, the first one lowest.
#[inline]
fn word(text: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*text[at..].first_chunk().expect("the tail is longer than a word"))
}

/// How long the match is.
#[inline]
fn common_len(text: &[u8], found: &Found<'_>) -> usize {
    let Found { position, distance, here, before } = *found;
    // Bits that are the same, in each of four words.
    let same = |at: usize| word(here, at) ^ word(before, at);
    let (first, second, third) = (same(0), same(8), same(16));
    let bits = 24 * 8 + same(24).trailing_zeros();
    let bits = if third != 0 { 16 * 8 + third.trailing_zeros() } else { bits };
    let bits = if second != 0 { 8 * 8 + second.trailing_zeros() } else { bits };
    let bits = if first != 0 { first.trailing_zeros() } else { bits };
    let mut len = (bits / 8) as usize;
    if len == 32 {
        // A word is left behind it, for what is remembered of its end.
        while len < MAX_LEN && position + len + 16 <= text.len() {
            let differences = word(text, position + len) ^ word(text, position - distance + len);
            len += (differences.trailing_zeros() / 8) as usize;
            if differences != 0 {
                break;
            }
        }
    }
    len.min(MAX_LEN)
}

/// Makes tokens of the range, in pairs, from `count` on; returns how many tokens there are then.
#[inline]
fn push_literals(tokens: &mut [Token], mut count: usize, text: &[u8], range: std::ops::Range<usize>) -> usize {
    let mut from = range.start;
    loop {
        // What is too much is written over by what comes next.
        let eight = text[from..].first_chunk::<8>().expect("a match is longer than a word, or the tail is behind it");
        let pairs: &mut [Token; 4] = tokens[count..].first_chunk_mut().expect("there is room behind the last token");
        *pairs = std::array::from_fn(|at| Token::literals(eight[2 * at], eight[2 * at + 1]));
        if range.end - from <= 8 {
            break;
        }
        count += 4;
        from += 8;
    }
    let rest = range.end - from;
    count += rest / 2;
    // Without a branch: where no single one is left, it is not counted.
    tokens[count] = Token::literal(text[range.end - rest % 2]);
    count + rest % 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What tokens mean, by the tables of the RFC and not by the functions here.
    pub(crate) fn text_of(tokens: &[Token], before: &[u8]) -> Vec<u8> {
        let distance_base = |symbol: usize| match symbol {
            0..4 => symbol + 1,
            _ => (2 + symbol % 2) * (1 << (symbol / 2 - 1)) + 1,
        };
        let mut text = before.to_vec();
        for token in tokens {
            let (first, second, extra) = token.parts();
            match (first, second) {
                (..256, Token::NOTHING) => text.push(first as u8),
                (..256, _) => text.extend([first as u8, (second - 32) as u8]),
                _ => {
                    let distance = distance_base(second) + extra as usize;
                    assert!((1..=WINDOW).contains(&distance));
                    for _ in 0..first - 253 {
                        text.push(text[text.len() - distance]);
                    }
                }
            }
        }
        text.split_off(before.len())
    }

    #[test]
    fn every_distance_and_length_has_a_token() {
        let before: Vec<u8> = (0..WINDOW as u32).map(|at| (at ^ at >> 8) as u8).collect();
        for distance in 1..=WINDOW {
            let from = before.len() - distance;
            let len = 3 + distance % 256;
            let wanted: Vec<u8> = before[from..].iter().copied().cycle().take(len).collect();
            assert_eq!(text_of(&[Token::of_match(len, distance)], &before), wanted, "{len} bytes from {distance}");
        }
    }

    proptest! {
        #[test]
        fn tokens_are_the_text(text in "[a-d]{0,300}", times in 1..40_usize) {
            let text = text.repeat(times).into_bytes();
            let mut matches = Matches::default();
            let (end, tokens) = matches.next_block(&text, 0);
            prop_assert_eq!(end, text.len());
            prop_assert!(text_of(tokens, b"") == text);
        }
    }

    #[test]
    fn a_block_refers_to_the_one_before() {
        let line = b"1767600000.123\t203.0.113.9\tcurl/8.0\n";
        let text = line.repeat(2 * BLOCK_LEN / line.len());
        let mut matches = Matches::default();
        let (end, _) = matches.next_block(&text, 0);
        assert_eq!(end, BLOCK_LEN);
        let (end, tokens) = matches.next_block(&text, end);
        assert_eq!(end, text.len());
        assert!(text_of(tokens, &text[..BLOCK_LEN]) == text[BLOCK_LEN..]);
        assert!(tokens.len() < BLOCK_LEN / 200, "{} tokens", tokens.len());
    }

    #[test]
    fn the_most_tokens_have_room() {
        // A literal that was not there before, and six bytes that were, again and again.
        let mut text = b"abcdef".to_vec();
        let mut state = 1_u32;
        while text.len() < BLOCK_LEN + BLOCK_LEN / 2 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend([(state >> 24) as u8 | 0x80]);
            text.extend(b"abcdef");
        }
        text.truncate(BLOCK_LEN + BLOCK_LEN / 2);
        let mut matches = Matches::default();
        let (_, tokens) = matches.next_block(&text, 0);
        assert!(text_of(tokens, b"") == text);
        let noise: Vec<u8> = (0..text.len() as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        matches.begin();
        let (_, tokens) = matches.next_block(&noise, 0);
        assert!(text_of(tokens, b"") == noise);
    }
}
