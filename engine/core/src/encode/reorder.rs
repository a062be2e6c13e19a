//! An order of lines that fills records well.

use std::collections::BTreeSet;

use super::output::ranges;

/// The order of lines in which records of `record_size` bytes, filled one after the other, waste
/// least: best fit, longest first. Lines keep their order within a record only by chance.
pub(super) fn reorder(line_ends: &[u32], record_size: usize) -> Vec<usize> {
    let mut lines: Vec<(usize, usize)> = ranges(line_ends).map(|line| line.len()).enumerate().collect();
    lines.sort_by_key(|&(_, len)| std::cmp::Reverse(len));
    let mut records: Vec<Vec<usize>> = Vec::new();
    let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (index, len) in lines {
        let best = free.range((len, 0)..).next().copied();
        let (space, record) = match best {
            Some(found) => {
                free.remove(&found);
                found
            }
            None => {
                records.push(Vec::new());
                (record_size, records.len() - 1)
            }
        };
        records[record].push(index);
        free.insert((space.saturating_sub(len), record));
    }
    records.into_iter().flatten().collect()
}
