//! Codes that are the shorter the more often their symbol comes, and none longer than a limit.

/// A code, ready to be written: its bits in the order of DEFLATE, which has the first one lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) bits: u16,
    /// 0 for a symbol that never comes.
    pub(crate) len: u8,
}

/// The lengths of the codes of all symbols, by how often each comes: none is longer than `max`, and
/// there are always two, as some decoders refuse a code of one symbol.
pub(crate) fn code_lengths<const N: usize>(counts: &[u32; N], max: usize) -> [u8; N] {
    let mut symbols: Vec<(u32, usize)> =
        counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(symbol, &count)| (count, symbol)).collect();
    let unused = (0..N).filter(|&symbol| counts[symbol] == 0);
    symbols.extend(unused.take(2_usize.saturating_sub(symbols.len())).map(|symbol| (1, symbol)));
    symbols.sort_unstable();
    let mut of_length = lengths_wanted(&symbols.iter().map(|(count, _)| *count).collect::<Vec<_>>(), max);
    shorten(&mut of_length, max);
    let mut lengths = [0; N];
    // The rarest have the longest.
    let mut rarest = symbols.into_iter();
    for len in (1..=max).rev() {
        for (_, symbol) in rarest.by_ref().take(of_length[len]) {
            lengths[symbol] = len as u8;
        }
    }
    lengths
}

/// How many codes of each length the best code has, those that would be longer than `max` counted
/// as `max`. The counts are in ascending order.
///
/// The tree is built in the place of the counts: "In-Place Calculation of Minimum-Redundancy
/// Codes", Moffat and Katajainen, 1995.
fn lengths_wanted(counts: &[u32], max: usize) -> [usize; 16] {
    let mut nodes = counts.to_vec();
    let leaves = nodes.len();
    // First, a node becomes the count of its subtree, and then the number of its parent.
    let (mut root, mut leaf) = (0, 0);
    for next in 0..leaves - 1 {
        let mut lesser = |nodes: &mut [u32]| {
            if leaf >= leaves || root < next && nodes[root] < nodes[leaf] {
                let count = nodes[root];
                nodes[root] = next as u32;
                root += 1;
                count
            } else {
                leaf += 1;
                nodes[leaf - 1]
            }
        };
        nodes[next] = lesser(&mut nodes) + lesser(&mut nodes);
    }
    // Second, the depth of each inner node.
    nodes[leaves - 2] = 0;
    for node in (0..leaves - 2).rev() {
        nodes[node] = nodes[nodes[node] as usize] + 1;
    }
    // Third, what is no inner node at a depth is a leaf.
    let mut of_length = [0; 16];
    let (mut places, mut depth) = (1, 0);
    let mut inner_nodes = nodes[..leaves - 1].iter().rev().peekable();
    while places > 0 {
        let mut inner = 0;
        while inner_nodes.next_if(|node| **node as usize == depth).is_some() {
            inner += 1;
        }
        of_length[depth.min(max)] += places - inner;
        places = 2 * inner;
        depth += 1;
    }
    of_length
}

/// Makes room for codes that were longer than `max`: a code may be as many times as its length
/// leaves room for, and all of them together take no more than there is.
fn shorten(of_length: &mut [usize; 16], max: usize) {
    let mut taken: usize = (1..=max).map(|len| of_length[len] << (max - len)).sum();
    while taken > 1 << max {
        // A code of the limit's length goes below one that is shorter, which becomes longer by one.
        let len = (1..max).rev().find(|&len| of_length[len] > 0).expect("not all symbols need the longest code");
        of_length[max] -= 1;
        of_length[len] -= 1;
        of_length[len + 1] += 2;
        taken -= 1;
    }
}

/// The codes of these lengths. Source: RFC 1951, 3.2.2.
pub(crate) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut of_length = [0_u16; 16];
    for &len in lengths {
        of_length[usize::from(len)] += 1;
    }
    of_length[0] = 0;
    let mut next = [0_u16; 16];
    for len in 1..16 {
        next[len] = (next[len - 1] + of_length[len - 1]) << 1;
    }
    lengths.map(|len| {
        if len == 0 {
            return Code::default();
        }
        let code = &mut next[usize::from(len)];
        let bits = code.reverse_bits() >> (16 - len);
        *code = code.wrapping_add(1);
        Code { bits, len }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bits of all symbols in the best code, by joining the two rarest again and again.
    fn least_bits(counts: &[u32]) -> u64 {
        let mut heap: Vec<u64> = counts.iter().filter(|count| **count > 0).map(|&count| count.into()).collect();
        let mut bits = 0;
        while heap.len() > 1 {
            heap.sort_unstable_by(|one, other| other.cmp(one));
            let joined = heap.pop().unwrap() + heap.pop().unwrap();
            bits += joined;
            heap.push(joined);
        }
        bits
    }

    fn bits<const N: usize>(counts: &[u32; N], lengths: &[u8; N]) -> u64 {
        counts.iter().zip(lengths).map(|(&count, &len)| u64::from(count) * u64::from(len)).sum()
    }

    /// Of all the room that codes of at most 15 bits have, what these take.
    fn taken<const N: usize>(lengths: &[u8; N]) -> u32 {
        lengths.iter().filter(|len| **len > 0).map(|len| 1 << (15 - len)).sum()
    }

    proptest! {
        #[test]
        fn codes_are_the_best_and_complete(counts in prop::collection::vec(prop_oneof![0..3_u32, 0..1000_u32], 30)) {
            let counts: [u32; 30] = counts.try_into().unwrap();
            let lengths = code_lengths(&counts, 15);
            prop_assert_eq!(taken(&lengths), 1 << 15);
            if counts.iter().filter(|count| **count > 0).count() > 1 {
                // With 30 symbols that come less than 1,000 times, none needs more than 15 bits.
                prop_assert_eq!(bits(&counts, &lengths), least_bits(&counts));
            }
            for limit in [5, 7, 9] {
                let lengths = code_lengths(&counts, limit);
                prop_assert_eq!(taken(&lengths), 1 << 15);
                prop_assert!(lengths.iter().all(|len| usize::from(*len) <= limit));
                prop_assert!(counts.iter().zip(&lengths).all(|(count, len)| *count == 0 || *len > 0));
            }
        }
    }

    #[test]
    fn counts_that_grow_like_fibonacci_numbers_keep_to_the_limit() {
        let mut counts = [1_u32; 40];
        for at in 2..40 {
            counts[at] = counts[at - 1] + counts[at - 2];
        }
        for limit in [6, 7, 14, 15] {
            let lengths = code_lengths(&counts, limit);
            assert_eq!(usize::from(*lengths.iter().max().unwrap()), limit);
            assert_eq!(taken(&lengths), 1 << 15);
            assert!(lengths.is_sorted_by(|one, other| one >= other), "the rarer, the longer");
        }
    }

    #[test]
    fn there_are_always_two_codes() {
        assert_eq!(code_lengths(&[0; 5], 15), [1, 1, 0, 0, 0]);
        assert_eq!(code_lengths(&[0, 0, 7, 0, 0], 15), [1, 0, 1, 0, 0]);
    }

    #[test]
    fn codes_are_those_of_the_example_in_the_rfc() {
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let texts: Vec<String> = codes
            .iter()
            .map(|code| (0..code.len).map(|bit| if code.bits >> bit & 1 == 1 { '1' } else { '0' }).collect())
            .collect();
        assert_eq!(texts, ["010", "011", "100", "101", "110", "00", "1110", "1111"]);
    }
}
