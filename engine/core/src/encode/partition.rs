//! Which hash key a line has where lines are partitioned by a value.

use pixel_engine_kpl::md5::md5_many;
use pixel_engine_log::line::Line;
use pixel_engine_log::select::Selector;

/// The values of the lines that are kept of a block, side by side.
pub(super) struct PartitionValues<'a> {
    selector: &'a Selector,
    bytes: Vec<u8>,
    /// Where each line's value ends. One without a length is absent.
    ends: Vec<usize>,
}

impl<'a> PartitionValues<'a> {
    pub(super) fn new(selector: &'a Selector) -> PartitionValues<'a> {
        PartitionValues { selector, bytes: Vec::new(), ends: Vec::new() }
    }

    /// Notes the value of the next line that is kept.
    pub(super) fn push(&mut self, line: &Line<'_>) {
        self.bytes.extend_from_slice(&self.selector.value(line).unwrap_or_default());
        self.ends.push(self.bytes.len());
    }

    /// The hash key of each line: that of its value as a partition key, so that it comes to the
    /// shard where Kinesis puts records with that partition key. A line whose value is absent or
    /// empty has the hash of all its bytes: there is nothing to keep it together with, and one
    /// shard could not take all of them.
    pub(super) fn hash_keys<'b>(&'b self, lines: impl Iterator<Item = &'b [u8]>) -> Vec<u128> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let values = starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end]);
        let hashed: Vec<&[u8]> =
            values.zip(lines).map(|(value, line)| if value.is_empty() { line } else { value }).collect();
        md5_many(&hashed).into_iter().map(u128::from_be_bytes).collect()
    }
}
