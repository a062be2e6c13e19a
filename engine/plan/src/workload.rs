//! What the lines are like: how long they are, how they pack and compress, and how fast this
//! machine does it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use pixel_engine_core::billing::Billed;
use pixel_engine_core::compress::Codec;
use pixel_engine_core::limits::firehose::MAX_RECORD_SIZE;
use pixel_engine_core::limits::kinesis::PUT_PAYLOAD_UNIT;
use pixel_engine_kpl as kpl;
use pixel_engine_kpl::HashKeys;

/// The lines, and what they become in records of each kind.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Workload {
    /// The sample that was measured, or that there is none.
    pub origin: Origin,
    /// Bytes of a line on average, with its newline.
    pub line_bytes: f64,
    /// What a line is billed as a record of its own, on average.
    pub unpacked: PerRecord,
    /// How long the lines are, when there is a sample.
    pub lengths: Option<LineLengths>,
    /// Records of concatenated lines.
    pub raw: PackedLines,
    /// KPL aggregates.
    pub kpl: PackedLines,
    /// Records of lines under each codec; none without a sample.
    pub compressed: Vec<PackedLines>,
}

/// Where the figures of a workload come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The user stated the length of a line; nothing was measured.
    Stated,
    /// A sample was measured.
    Sample {
        /// Log lines that were read.
        lines: u64,
        /// Their bytes, after decompression.
        bytes: u64,
        /// Lines that are not log lines, and were left out.
        bad_lines: u64,
        /// The first of these, with the reason.
        first_bad_line: Option<String>,
        /// Whether the sample is longer than the part that was read.
        cut: bool,
    },
}

/// What a record is billed, on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PerRecord {
    /// Bytes that Firehose bills.
    pub firehose: f64,
    /// PUT payload units of provisioned Kinesis.
    pub put_payload_units: f64,
    /// Bytes that on-demand Kinesis bills.
    pub on_demand: f64,
}

/// What a record is made of. `Display` gives `lines`, `raw`, `zstd:1` or `kpl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordKind {
    /// One line.
    Line,
    /// Concatenated lines, compressed or not.
    Lines(Codec),
    /// A KPL aggregate.
    Aggregate,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordKind::Line => formatter.pad("lines"),
            RecordKind::Lines(Codec::None) => formatter.pad("raw"),
            RecordKind::Lines(codec) => formatter.pad(&codec.to_string()),
            RecordKind::Aggregate => formatter.pad("kpl"),
        }
    }
}

impl Serialize for RecordKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The records of one kind that lines become.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PackedLines {
    /// What a record is made of.
    #[serde(rename = "name")]
    pub kind: RecordKind,
    /// Bytes of lines in a record, and the bytes of data that they become, from small records to
    /// full ones.
    pub sizes: Vec<Size>,
    /// Bytes of partition key, which Kinesis counts with the data.
    pub key_bytes: f64,
    /// What a full record is billed on average, when it was measured: the packer ends records where
    /// the rounding costs least, so the mean size does not tell.
    pub full_billed: Option<PerRecord>,
    /// How fast this machine packs; `None` when it was not measured.
    pub speed: Option<Speed>,
}

/// The size of a record, before and after packing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Bytes of lines.
    pub lines: f64,
    /// Bytes of data.
    pub data: f64,
}

/// How fast a machine packs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Speed {
    /// Lines a second, on all threads.
    pub lines_per_second: f64,
    /// 10^6 bytes of lines a second, on all threads.
    pub megabytes_per_second: f64,
    /// Threads of the pool.
    pub threads: usize,
}

impl Workload {
    /// Lines of one length, newline included, without a sample: compression and speed are unknown.
    pub fn stated(line_bytes: u32) -> Workload {
        let mut billed = Billed::default();
        billed.add(line_bytes as usize, 0);
        let line = f64::from(line_bytes);
        Workload {
            origin: Origin::Stated,
            line_bytes: line,
            unpacked: PerRecord {
                firehose: billed.firehose as f64,
                put_payload_units: billed.put_payload_units as f64,
                on_demand: billed.on_demand as f64,
            },
            lengths: None,
            raw: PackedLines::raw(line, full_of_whole_lines(MAX_RECORD_SIZE as f64, line)),
            kpl: PackedLines::kpl(line, kpl::DEFAULT_RECORD_SIZE),
            compressed: Vec::new(),
        }
    }

    /// The same lines in aggregates of at most so many bytes, for a workload that was stated: what
    /// was measured holds for the size that it was measured with.
    #[must_use]
    pub fn with_aggregates(self, record_size: usize) -> Workload {
        Workload { kpl: PackedLines::kpl(self.line_bytes, record_size), ..self }
    }

    /// Every kind of record that packs lines, in the order of tables.
    pub fn packed(&self) -> impl Iterator<Item = &PackedLines> {
        [&self.raw, &self.kpl].into_iter().chain(&self.compressed)
    }

    /// Records of lines under a codec; `None` when that codec was not measured.
    pub fn lines_with(&self, codec: Codec) -> Option<&PackedLines> {
        self.packed().find(|packed| packed.kind == RecordKind::Lines(codec))
    }
}

/// The bytes that whole lines fill: the line that does not fit any more leaves half a line free on
/// average.
fn full_of_whole_lines(limit: f64, line: f64) -> f64 {
    (limit - line / 2.0).max(line)
}

impl PackedLines {
    /// A line a record, each with a partition key of so many bytes.
    pub fn unpacked(line: f64, key_bytes: f64) -> PackedLines {
        let sizes = vec![Size { lines: line, data: line }];
        PackedLines { key_bytes, ..PackedLines::of(RecordKind::Line, sizes) }
    }

    /// Concatenated lines; a full record has that many bytes.
    pub(crate) fn raw(line: f64, full: f64) -> PackedLines {
        let sizes = [line.min(full), full].map(|bytes| Size { lines: bytes, data: bytes });
        PackedLines::of(RecordKind::Lines(Codec::None), sizes.into())
    }

    /// Records of these sizes, without a key, and nothing measured beside the sizes.
    pub(crate) fn of(kind: RecordKind, sizes: Vec<Size>) -> PackedLines {
        PackedLines { kind, sizes, key_bytes: 0.0, full_billed: None, speed: None }
    }

    /// KPL aggregates of at most so many bytes with their key. A single line travels unwrapped.
    pub(crate) fn kpl(line: f64, record_size: usize) -> PackedLines {
        /// Magic, MD5, and the two tables with one key each: 4 + 16 + (2 + 4) + (2 + 39).
        const AROUND_AGGREGATE: f64 = 67.0;
        /// Tag and length of the user record and of its data, and two indices.
        const AROUND_LINE: f64 = 10.0;
        let key_bytes = HashKeys::KEY_LEN as f64;
        let room = record_size as f64 - key_bytes - AROUND_AGGREGATE;
        let most = (full_of_whole_lines(room, line + AROUND_LINE) / (line + AROUND_LINE)).max(1.0);
        let mut sizes = vec![Size { lines: line, data: line }];
        let mut count: f64 = 2.0;
        while count / 2.0 < most {
            let count_here = count.min(most);
            let aggregate =
                Size { lines: count_here * line, data: count_here * (line + AROUND_LINE) + AROUND_AGGREGATE };
            if count_here > 1.0 {
                sizes.push(aggregate);
            }
            count *= 2.0;
        }
        PackedLines { key_bytes, ..PackedLines::of(RecordKind::Aggregate, sizes) }
    }

    /// A full record.
    ///
    /// # Panics
    /// When it has no sizes.
    pub fn full(&self) -> Size {
        *self.sizes.last().expect("there is a size at least")
    }

    /// The record that `available` bytes of lines become when no more come in time: at least a
    /// line, at most a full record. Sizes between the known ones are interpolated.
    pub(crate) fn record(&self, available: f64, line_bytes: f64) -> Size {
        let full = self.full();
        let lines = available.clamp(line_bytes.min(full.lines), full.lines);
        let above = self.sizes.partition_point(|size| size.lines < lines).min(self.sizes.len() - 1);
        let Some(below) = above.checked_sub(1) else {
            return Size { lines, data: lines * self.sizes[0].data / self.sizes[0].lines };
        };
        let (below, above) = (self.sizes[below], self.sizes[above]);
        let part = (lines - below.lines) / (above.lines - below.lines);
        Size { lines, data: below.data + part.min(1.0) * (above.data - below.data) }
    }

    /// What such a record is billed.
    pub(crate) fn billed(&self, record: Size) -> PerRecord {
        match self.full_billed {
            Some(billed) if record.lines >= self.full().lines => billed,
            _ => billed(record.data, self.key_bytes),
        }
    }

    /// How many times smaller a full record is than its lines.
    pub fn ratio(&self) -> f64 {
        self.full().lines / self.full().data
    }
}

/// What a record of this many bytes of data and key is billed; a mean size is rounded as if every
/// record had it.
pub(crate) fn billed(data: f64, key: f64) -> PerRecord {
    let mut billed = Billed::default();
    billed.add(data.round() as usize, key.round() as usize);
    PerRecord {
        firehose: billed.firehose as f64,
        put_payload_units: (billed.provisioned() / PUT_PAYLOAD_UNIT) as f64,
        on_demand: billed.on_demand as f64,
    }
}

/// How many lines there are of each length, newlines included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineLengths {
    counts: BTreeMap<u32, u64>,
    lines: u64,
}

/// The lines within a range of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bar {
    /// The shortest length in bytes.
    pub from: u32,
    /// The shortest length beyond it.
    pub to: u32,
    /// Lines.
    pub lines: u64,
}

impl LineLengths {
    /// Counts a line of that many bytes.
    pub(crate) fn add(&mut self, bytes: usize) {
        *self.counts.entry(u32::try_from(bytes).unwrap_or(u32::MAX)).or_default() += 1;
        self.lines += 1;
    }

    /// Adds the lines of another.
    pub(crate) fn merge(&mut self, other: &LineLengths) {
        for (&bytes, &lines) in &other.counts {
            *self.counts.entry(bytes).or_default() += lines;
        }
        self.lines += other.lines;
    }

    /// How many lines were counted.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The shortest length that at least that share of the lines does not exceed; 0 without lines.
    pub fn quantile(&self, share: f64) -> u32 {
        let wanted = (share * self.lines as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.counts.iter().find(|&(_, &lines)| {
            seen += lines;
            seen >= wanted
        });
        found.map_or(0, |(&len, _)| len)
    }

    /// A histogram of at most 40 bars of equal, round width.
    pub fn histogram(&self) -> Vec<Bar> {
        let (least, most) = (self.quantile(0.0), self.quantile(1.0));
        let widths = (0..9).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u32.pow(power)));
        let width = widths.into_iter().find(|&width| most / width - least / width < 40).unwrap_or(1 << 30);
        if self.lines == 0 {
            return Vec::new();
        }
        (least / width..=most / width)
            .map(|bar| {
                let (from, to) = (bar * width, (bar + 1).saturating_mul(width));
                Bar { from, to, lines: self.counts.range(from..to).map(|(_, lines)| lines).sum() }
            })
            .collect()
    }
}

impl Serialize for LineLengths {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            least: u32,
            p50: u32,
            p90: u32,
            p99: u32,
            most: u32,
            histogram: Vec<Bar>,
        }
        let [least, p50, p90, p99, most] = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| self.quantile(share));
        Shown { least, p50, p90, p99, most, histogram: self.histogram() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stated_lines_are_billed_as_records_of_their_own_at_every_edge() {
        let of = |bytes| Workload::stated(bytes).unpacked;
        for (bytes, firehose, units, on_demand) in [
            (1, 5_120.0, 1.0, 1_024.0),
            (1_024, 5_120.0, 1.0, 1_024.0),
            (1_025, 5_120.0, 1.0, 2_048.0),
            (5_119, 5_120.0, 1.0, 5_120.0),
            (5_120, 5_120.0, 1.0, 5_120.0),
            (5_121, 10_240.0, 1.0, 6_144.0),
            (25_600, 25_600.0, 1.0, 25_600.0),
            (25_601, 30_720.0, 2.0, 26_624.0),
        ] {
            assert_eq!(of(bytes), PerRecord { firehose, put_payload_units: units, on_demand }, "{bytes}");
        }
        assert_eq!(billed(0.0, 0.0), PerRecord { firehose: 0.0, put_payload_units: 1.0, on_demand: 0.0 });
        assert_eq!(billed(1_024_000.0, 0.0).firehose, 1_024_000.0);
        // Kinesis counts the partition key: 51,200 B of data and 4 of key are a third unit.
        assert_eq!(billed(51_196.0, 4.0).put_payload_units, 2.0);
        assert_eq!(billed(51_200.0, 4.0).put_payload_units, 3.0);
    }

    #[test]
    fn a_record_has_what_comes_in_time() {
        let workload = Workload::stated(800);
        let raw = |available| workload.raw.record(available, 800.0);
        assert_eq!(raw(1.0), Size { lines: 800.0, data: 800.0 });
        assert_eq!(raw(50_000.0), Size { lines: 50_000.0, data: 50_000.0 });
        assert_eq!(raw(1e9), Size { lines: 1_023_600.0, data: 1_023_600.0 });
        let kpl = |available| workload.kpl.record(available, 800.0);
        assert_eq!(kpl(0.0), Size { lines: 800.0, data: 800.0 });
        assert_eq!(kpl(1_600.0), Size { lines: 1_600.0, data: 1_687.0 });
        assert!((51_200.0 - 4.0 - 810.0..=51_196.0).contains(&kpl(1e9).data), "{:?}", kpl(1e9));
    }

    #[test]
    fn quantiles_and_bars_of_lengths() {
        let mut lengths = LineLengths::default();
        (1..=100).for_each(|len| lengths.add(len));
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| lengths.quantile(share)), [1, 50, 99, 100]);
        let bars = lengths.histogram();
        assert_eq!(bars.len(), 21);
        assert_eq!(bars[0], Bar { from: 0, to: 5, lines: 4 });
        assert!(LineLengths::default().histogram().is_empty());
        assert_eq!(LineLengths::default().quantile(0.5), 0);
    }

    proptest! {
        #[test]
        fn bars_hold_every_line(all in prop::collection::vec(1_usize..2_000_000, 1..100)) {
            let mut lengths = LineLengths::default();
            all.iter().for_each(|&len| lengths.add(len));
            let bars = lengths.histogram();
            prop_assert!(bars.len() <= 40);
            prop_assert_eq!(bars.iter().map(|bar| bar.lines).sum::<u64>(), all.len() as u64);
        }

        #[test]
        fn a_record_grows_with_what_comes(line in 2_u32..40_000, first in 0.0..2e6_f64, second in 0.0..2e6_f64) {
            let workload = Workload::stated(line);
            for packed in workload.packed() {
                let [less, more] = [first.min(second), first.max(second)]
                    .map(|available| packed.record(available, f64::from(line)));
                prop_assert!(less.lines <= more.lines && less.data <= more.data + 1e-6, "{less:?} {more:?}");
                prop_assert!(more.data + packed.key_bytes <= 1_024_000.0 && less.lines >= f64::from(line) - 1e-6);
            }
        }
    }
}
