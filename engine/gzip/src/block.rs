//! Writes blocks: tokens in codes of their own, in the fixed codes, or the text as it is, whichever
//! is shortest.
//!
//! Source: RFC 1951, 3.2.3 to 3.2.7.

use crate::bits::BitWriter;
use crate::huffman::{Code, code_lengths, codes};
use crate::matches::{Token, first_of_length};

/// Bytes that are stored in one piece at most.
pub(crate) const MAX_STORED_LEN: usize = 65_535;

/// Literals, the end of a block, and lengths; the last two never come, but the fixed codes count them.
const SYMBOLS: usize = 288;
/// Distances.
const DISTANCES: usize = 30;
/// Lengths of codes, and runs of them.
const LENGTHS: usize = 19;
const END_OF_BLOCK: usize = 256;

/// The longest code of a literal or length here; DEFLATE has up to 15. With 14, and as many as it
/// likes for the rest, a token takes no more than 47 bits.
const MAX_SYMBOL_LEN: usize = 14;
const MAX_DISTANCE_LEN: usize = 15;
const MAX_LENGTH_LEN: usize = 7;

/// How blocks of the three kinds begin, behind the bit of the last one.
const STORED: u64 = 0;
const FIXED: u64 = 1;
const DYNAMIC: u64 = 2;

/// For each length of a match: its symbol, how many bits follow that, and which.
const LENGTH_SYMBOLS: [(usize, u32, u32); 259] = {
    let mut table = [(0, 0, 0); 259];
    let mut symbol = 257;
    let mut len = 3;
    while symbol < 285 {
        let extra_bits = length_extra_bits(symbol);
        let mut extra = 0;
        while extra < 1 << extra_bits {
            // The last one of symbol 284 would be the longest match, which has a symbol of its own.
            table[len] = (symbol, extra_bits, extra);
            len += 1;
            extra += 1;
        }
        symbol += 1;
    }
    table[258] = (285, 0, 0);
    table
};

/// How many bits follow the symbol of a literal or length.
const fn length_extra_bits(symbol: usize) -> u32 {
    if symbol < 265 || symbol > 284 { 0 } else { (symbol as u32 - 261) / 4 }
}

/// How many bits follow the symbol of a distance.
const fn distance_extra_bits(symbol: usize) -> u32 {
    if symbol < 4 { 0 } else { symbol as u32 / 2 - 1 }
}

/// Writes blocks. It keeps the tables that it writes them by.
pub(crate) struct BlockWriter {
    firsts: [Part; Token::FIRSTS],
    seconds: [Part; Token::SECONDS],
}

/// How a part of a token is written.
#[derive(Clone, Copy, Default)]
struct Part {
    bits: u32,
    /// How many bits that are.
    len: u8,
    /// How many bits of the token follow.
    extra_bits: u8,
}

/// How often each symbol comes in a block.
struct Counts {
    symbols: [u32; SYMBOLS],
    distances: [u32; DISTANCES],
}

/// The lengths of all codes of a block.
struct CodeLengths {
    symbols: [u8; SYMBOLS],
    distances: [u8; DISTANCES],
}

impl Default for BlockWriter {
    fn default() -> BlockWriter {
        BlockWriter { firsts: [Part::default(); Token::FIRSTS], seconds: [Part::default(); Token::SECONDS] }
    }
}

impl BlockWriter {
    /// Writes the text, of which these are the tokens.
    pub(crate) fn write(&mut self, text: &[u8], tokens: &[Token], is_last: bool, bits: &mut BitWriter<'_>) {
        let counts = Counts::of(tokens);
        let own = CodeLengths::best_for(&counts);
        let header = Header::new(&own);
        let fixed = CodeLengths::fixed();
        let own_len = header.len() + own.len(&counts);
        let fixed_len = fixed.len(&counts);
        if stored_len(text.len(), bits.position()) < 3 + own_len.min(fixed_len) {
            return store(text, is_last, bits);
        }
        if fixed_len <= own_len {
            begin(FIXED, is_last, bits);
            self.write_tokens(tokens, &fixed, fixed_len, bits);
        } else {
            begin(DYNAMIC, is_last, bits);
            bits.push_all(header.items.iter().copied(), header.len());
            self.write_tokens(tokens, &own, own_len - header.len(), bits);
        }
    }

    #[inline(never)]
    fn write_tokens(&mut self, tokens: &[Token], lengths: &CodeLengths, len: usize, bits: &mut BitWriter<'_>) {
        let end = self.prepare(lengths);
        let BlockWriter { firsts, seconds } = self;
        let items = tokens.iter().map(|token| {
            let (first, second, extra) = token.parts();
            let (first, second) = (firsts[first], seconds[second]);
            let second_at = u32::from(first.len);
            let extra_at = second_at + u32::from(second.len);
            let bits = u64::from(first.bits) | u64::from(second.bits) << second_at | u64::from(extra) << extra_at;
            (bits, extra_at + u32::from(second.extra_bits))
        });
        bits.push_all(items, len);
        bits.push(end.bits.into(), end.len.into());
    }

    /// Fills in the tables, and returns the code that ends the block.
    fn prepare(&mut self, lengths: &CodeLengths) -> Code {
        let (symbols, distances) = (codes(&lengths.symbols), codes(&lengths.distances));
        let part = |code: Code| Part { bits: code.bits.into(), len: code.len, extra_bits: 0 };
        for (byte, code) in symbols[..256].iter().enumerate() {
            self.firsts[byte] = part(*code);
            self.seconds[32 + byte] = part(*code);
        }
        for (len, &(symbol, extra_bits, extra)) in LENGTH_SYMBOLS.iter().enumerate().skip(3) {
            let Code { bits, len: code_len } = symbols[symbol];
            self.firsts[first_of_length(len)] =
                Part { bits: u32::from(bits) | extra << code_len, len: code_len + extra_bits as u8, extra_bits: 0 };
        }
        for (symbol, code) in distances.into_iter().enumerate() {
            self.seconds[symbol] = Part { extra_bits: distance_extra_bits(symbol) as u8, ..part(code) };
        }
        symbols[END_OF_BLOCK]
    }
}

impl Counts {
    fn of(tokens: &[Token]) -> Counts {
        let mut firsts = [0; Token::FIRSTS];
        let mut seconds = [0; Token::SECONDS];
        for token in tokens {
            let (first, second, _) = token.parts();
            firsts[first] += 1;
            seconds[second] += 1;
        }
        let mut symbols = [0; SYMBOLS];
        for (byte, count) in symbols[..256].iter_mut().enumerate() {
            *count = firsts[byte] + seconds[32 + byte];
        }
        symbols[END_OF_BLOCK] = 1;
        for (len, (symbol, ..)) in LENGTH_SYMBOLS.iter().enumerate().skip(3) {
            symbols[*symbol] += firsts[first_of_length(len)];
        }
        Counts { symbols, distances: std::array::from_fn(|symbol| seconds[symbol]) }
    }
}

impl CodeLengths {
    fn best_for(counts: &Counts) -> CodeLengths {
        CodeLengths {
            symbols: code_lengths(&counts.symbols, MAX_SYMBOL_LEN),
            distances: code_lengths(&counts.distances, MAX_DISTANCE_LEN),
        }
    }

    fn fixed() -> CodeLengths {
        let symbols = std::array::from_fn(|symbol| match symbol {
            144..256 => 9,
            256..280 => 7,
            _ => 8,
        });
        CodeLengths { symbols, distances: [5; DISTANCES] }
    }

    /// Bits that a block with these counts takes, behind its header.
    fn len(&self, counts: &Counts) -> usize {
        let sum = |counts: &[u32], lengths: &[u8], extra: fn(usize) -> u32| {
            let each = counts.iter().zip(lengths).enumerate();
            each.map(|(symbol, (&count, &len))| count as usize * (usize::from(len) + extra(symbol) as usize))
                .sum::<usize>()
        };
        sum(&counts.symbols, &self.symbols, length_extra_bits)
            + sum(&counts.distances, &self.distances, distance_extra_bits)
    }
}

/// What tells a reader the lengths of a block's codes.
struct Header {
    /// Bits, and how many.
    items: Vec<(u64, u32)>,
}

impl Header {
    /// The order in which the lengths of the codes of lengths are written.
    const ORDER: [usize; LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

    fn new(lengths: &CodeLengths) -> Header {
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|len| *len > 0).map_or(least, |last| least.max(last + 1))
        };
        let symbols = used(&lengths.symbols, 257);
        let distances = used(&lengths.distances, 1);
        let all = [&lengths.symbols[..symbols], &lengths.distances[..distances]].concat();
        let runs = runs(&all);
        let mut counts = [0; LENGTHS];
        runs.iter().for_each(|(symbol, ..)| counts[*symbol] += 1);
        let lengths = code_lengths(&counts, MAX_LENGTH_LEN);
        let codes = codes(&lengths);
        let in_order = Header::ORDER.map(|symbol| lengths[symbol]);
        let written = used(&in_order, 4);
        let mut items = vec![(symbols as u64 - 257, 5), (distances as u64 - 1, 5), (written as u64 - 4, 4)];
        items.extend(in_order[..written].iter().map(|&len| (len.into(), 3)));
        items.extend(runs.into_iter().map(|(symbol, extra, extra_bits)| {
            let Code { bits, len } = codes[symbol];
            (u64::from(bits) | u64::from(extra) << len, u32::from(len) + extra_bits)
        }));
        Header { items }
    }

    /// Its bits.
    fn len(&self) -> usize {
        self.items.iter().map(|(_, count)| *count as usize).sum()
    }
}

/// The lengths as symbols, each with the bits that follow it: 0 to 15 are lengths, 16 repeats the
/// one before, 17 and 18 are zeros.
fn runs(lengths: &[u8]) -> Vec<(usize, u32, u32)> {
    let mut symbols = Vec::new();
    for same in lengths.chunk_by(|one, other| one == other) {
        let symbol = usize::from(same[0]);
        let mut left = same.len();
        if symbol == 0 {
            while left >= 11 {
                let run = left.min(138);
                symbols.push((18, run as u32 - 11, 7));
                left -= run;
            }
            if left >= 3 {
                symbols.push((17, left as u32 - 3, 3));
                left = 0;
            }
        } else {
            symbols.push((symbol, 0, 0));
            left -= 1;
            while left >= 3 {
                let run = left.min(6);
                symbols.push((16, run as u32 - 3, 2));
                left -= run;
            }
        }
        symbols.extend(std::iter::repeat_n((symbol, 0, 0), left));
    }
    symbols
}

/// Bits that stored text takes, where so many of the last byte are taken.
fn stored_len(len: usize, position: usize) -> usize {
    let pieces = len.div_ceil(MAX_STORED_LEN).max(1);
    // Behind its 3 bits, a piece goes on with the next byte, and there with two lengths.
    let first = (position + 3).next_multiple_of(8) - position;
    first + (pieces - 1) * 8 + pieces * 32 + 8 * len
}

/// Begins a block of that kind.
fn begin(kind: u64, is_last: bool, bits: &mut BitWriter<'_>) {
    bits.push(u64::from(is_last) | kind << 1, 3);
}

fn store(text: &[u8], is_last: bool, bits: &mut BitWriter<'_>) {
    let mut rest = text;
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(MAX_STORED_LEN));
        rest = behind;
        begin(STORED, is_last && rest.is_empty(), bits);
        bits.align();
        let len = piece.len() as u16;
        bits.extend_from_slice(&len.to_le_bytes());
        bits.extend_from_slice(&(!len).to_le_bytes());
        bits.extend_from_slice(piece);
        if rest.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_as_long_as_they_may_be() {
        let lengths = [&[0; 150][..], &[7; 8], &[0; 2], &[5], &[0; 5]].concat();
        let wanted =
            [(18, 127, 7), (18, 1, 7), (7, 0, 0), (16, 3, 2), (7, 0, 0), (0, 0, 0), (0, 0, 0), (5, 0, 0), (17, 2, 3)];
        assert_eq!(runs(&lengths), wanted);
    }

    #[test]
    fn lengths_of_matches_have_the_symbols_of_the_rfc() {
        for (len, wanted) in [
            (3, (257, 0, 0)),
            (10, (264, 0, 0)),
            (11, (265, 1, 0)),
            (12, (265, 1, 1)),
            (257, (284, 5, 30)),
            (258, (285, 0, 0)),
        ] {
            assert_eq!(LENGTH_SYMBOLS[len], wanted, "{len}");
        }
    }

    #[test]
    fn what_is_written_has_the_length_that_was_foreseen() {
        let text = b"1767600000.123\t203.0.113.9\tcurl/8.0\n1767600001.456\t198.51.100.7\tcurl/8.0\n".repeat(50);
        let mut matches = crate::matches::Matches::default();
        let (_, tokens) = matches.next_block(&text, 0);
        let counts = Counts::of(tokens);
        let own = CodeLengths::best_for(&counts);
        let mut output = Vec::new();
        let mut bits = BitWriter::new(&mut output);
        BlockWriter::default().write(&text, tokens, true, &mut bits);
        let used = bits.position();
        bits.finish();
        let wanted = 3 + Header::new(&own).len() + own.len(&counts);
        assert_eq!(8 * output.len() - (8 - used) % 8, wanted);
    }
}
