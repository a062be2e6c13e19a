//! Encodes a block: each of its lines is shipped, filtered out, or bad, and every one is counted.
//!
//! As long as lines stay as they came, nothing is copied: the block's own buffer becomes the output. The first
//! line that is left out (or loses a carriage return) moves what was kept so far to a buffer of its own.

mod partition;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use self::partition::PartitionValues;
use crate::ack::AckToken;
use crate::billing::Billed;
use crate::block::{Block, BufferPool, Cut, Layout, Source};
use crate::quarantine::{BadLine, Reason};
use crate::source::fields_header;
use pixel_engine_log::encode::{Encoder, Encoding};
use pixel_engine_log::field::Field;
use pixel_engine_log::json_line::JsonLineReader;
use pixel_engine_log::line::Line;
use pixel_engine_log::scan::{Positions, scan};
use pixel_engine_log::schema::Schemas;
use pixel_engine_log::select::{Matcher, Selector};

/// What happens to lines: the same for every block of a run.
pub struct Rules {
    /// The real-time schemas that are accepted.
    pub schemas: Schemas,
    /// What a line becomes.
    pub encoding: Encoding,
    /// Lines that do not match are filtered out.
    pub matcher: Matcher,
    /// The longest encoded line, with its newline, that a record can hold.
    pub longest_line: usize,
    /// Whether encoding ends at the first bad line.
    pub stop_at_bad_line: bool,
    /// For records of this many bytes, lines are put in the order that fills them best.
    pub reorder_for: Option<usize>,
    /// Lines get the hash key of this value. They must keep their order then.
    pub partition_by: Option<Selector>,
    /// Where buffers come from and go to.
    pub pool: BufferPool,
}

/// The lines of one block as they will be shipped.
#[derive(Debug)]
pub struct EncodedBlock {
    bytes: Vec<u8>,
    line_ends: Vec<u32>,
    /// Which bytes of the source block each line is; `None` when these are the bytes here.
    sources: Option<Vec<Range<u32>>>,
    hash_keys: Option<Vec<u128>>,
    read_at: Instant,
    pool: BufferPool,
}

impl EncodedBlock {
    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.line_ends.len()
    }

    /// Where line `index` begins in the bytes; for the line count, where the last one ends.
    #[inline]
    pub fn line_start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.line_ends[index - 1] as usize }
    }

    /// Where each line ends (its newline included) in the bytes.
    pub fn line_ends(&self) -> &[u32] {
        &self.line_ends
    }

    /// The length of line `index` with its newline.
    #[inline]
    pub fn line_length(&self, index: usize) -> usize {
        self.line_start(index + 1) - self.line_start(index)
    }

    /// When the first of the lines was read, or a little before.
    pub fn read_at(&self) -> Instant {
        self.read_at
    }

    /// The hash key of each line, where lines are partitioned.
    pub fn hash_keys(&self) -> Option<&[u128]> {
        self.hash_keys.as_deref()
    }

    /// The lines of those numbers, one after the other.
    pub fn lines(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[self.line_start(range.start)..self.line_start(range.end)]
    }

    /// Calls `each` with the bytes of the source block that the lines are, each line once and neighbours together.
    #[inline]
    pub(crate) fn each_source_run(&self, lines: Range<usize>, mut each: impl FnMut(Range<u32>)) {
        match &self.sources {
            None => each(self.line_start(lines.start) as u32..self.line_start(lines.end) as u32),
            Some(sources) => sources[lines].iter().cloned().for_each(each),
        }
    }

    fn each_line(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.line_count()).map(|index| self.lines(index..index + 1))
    }
}

impl Drop for EncodedBlock {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

/// How many lines of a block went where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Log lines, without headers and empty lines.
    pub lines_in: u64,
    /// Lines that a matcher left out.
    pub filtered: u64,
    /// Lines that cannot be shipped.
    pub bad: u64,
    /// Header lines of standard logs.
    pub headers: u64,
    /// Lines with nothing in them.
    pub empty: u64,
    /// Newlines in the source, for the line numbers of the next block.
    pub newlines: u64,
}

impl std::ops::AddAssign for LineCounts {
    fn add_assign(&mut self, other: LineCounts) {
        self.lines_in += other.lines_in;
        self.filtered += other.filtered;
        self.bad += other.bad;
        self.headers += other.headers;
        self.empty += other.empty;
        self.newlines += other.newlines;
    }
}

/// What became of a block.
pub struct Encoded {
    /// The lines to ship.
    pub block: Arc<EncodedBlock>,
    /// The lines that cannot be shipped, their numbers counted from 0 at the block's start.
    pub bad_lines: Vec<BadLine>,
    /// Where each line went.
    pub counts: LineCounts,
    /// What the lines to ship would be billed as records of their own.
    pub unpacked: Billed,
    /// Bytes of the source that the block stands for.
    pub source_bytes: u64,
    /// The source.
    pub source: Arc<Source>,
    /// Whether encoding ended at a bad line, the last of `bad_lines`.
    pub stopped: bool,
    /// The block's ack token.
    pub token: AckToken,
}

/// Buffers that one thread uses for block after block.
#[derive(Default)]
pub struct Scratch {
    positions: Positions,
    json: JsonLineReader,
    encoder: Option<Encoder>,
}

impl Rules {
    /// Encodes every line of the block.
    pub fn encode(&self, block: Block, scratch: &mut Scratch) -> Encoded {
        let Block { bytes, source, offset, source_bytes, read_at, layout, cut, token } = block;
        let length = bytes.len() as u64;
        let mut run = Run {
            rules: self,
            source: &source,
            offset,
            output: Output::new(&self.encoding, &self.pool),
            partition_values: self.partition_by.as_ref().map(PartitionValues::new),
            counts: LineCounts::default(),
            unpacked: Billed::default(),
            bad_lines: Vec::new(),
            stopped: false,
        };
        let is_piece = matches!(cut, Some(Cut::TooLong { .. }));
        match cut {
            Some(Cut::TooLong { part, last }) => run.piece_of_long_line(&bytes, part, last),
            cut => run.lines(&bytes, layout, cut, token.acknowledged_before(), scratch),
        }
        let Run { output, partition_values, mut counts, unpacked, bad_lines, stopped, .. } = run;
        if !stopped && source_bytes < length {
            // The last newline was added: the source goes on in the same line, or ends. A piece from the middle
            // of a long line counts none anyway.
            counts.newlines = counts.newlines.saturating_sub(1);
        }
        let (mut bytes, mut line_ends, mut sources) = output.finish(bytes);
        if is_piece || stopped {
            // Only whole lines count by themselves, and only those that were looked at.
            token.count_lines(counts.newlines);
        } else {
            token.describe(counts.newlines, rest(sources.as_deref(), source_bytes as u32));
        }
        if let Some(record_size) = self.reorder_for {
            let order = reorder(&line_ends, record_size);
            let mut reordered = (self.pool.take_empty(), Vec::with_capacity(order.len()));
            let sources = sources.get_or_insert_with(|| ranges(&line_ends).collect());
            for &index in &order {
                let start = if index == 0 { 0 } else { line_ends[index - 1] };
                reordered.0.extend_from_slice(&bytes[start as usize..line_ends[index] as usize]);
                reordered.1.push(reordered.0.len() as u32);
            }
            *sources = order.into_iter().map(|index| sources[index].clone()).collect();
            self.pool.give(std::mem::replace(&mut bytes, reordered.0));
            line_ends = reordered.1;
        }
        let (hash_keys, pool) = (None, self.pool.clone());
        let mut block = EncodedBlock { bytes, line_ends, sources, hash_keys, read_at, pool };
        block.hash_keys = partition_values.map(|values| values.hash_keys(block.each_line()));
        let block = Arc::new(block);
        Encoded { block, bad_lines, counts, unpacked, source_bytes, source, stopped, token }
    }
}

struct Run<'a> {
    rules: &'a Rules,
    source: &'a Arc<Source>,
    offset: u64,
    output: Output,
    partition_values: Option<PartitionValues<'a>>,
    counts: LineCounts,
    unpacked: Billed,
    bad_lines: Vec<BadLine>,
    stopped: bool,
}

impl Run<'_> {
    fn lines(
        &mut self,
        bytes: &[u8],
        layout: Layout,
        cut: Option<Cut>,
        acknowledged_before: &[Range<u32>],
        scratch: &mut Scratch,
    ) {
        let Scratch { positions, json, encoder } = scratch;
        let encoder = encoder.get_or_insert_with(|| Encoder::new(self.rules.encoding.clone()));
        scan(bytes, positions);
        let line_count = positions.line_count();
        let mut layout = layout;
        let mut acknowledged = acknowledged_before;
        for (index, (start, ends)) in positions.lines().enumerate() {
            let end = *ends.last().expect("a line has a newline");
            let text = &bytes[start as usize..end as usize];
            self.counts.newlines += 1;
            if !acknowledged.is_empty() && is_in(&mut acknowledged, start) {
                self.output.leave_out(bytes, start);
                // Other lines may still be read under it.
                if let (Layout::Standard(schema), Some(header)) = (&mut layout, fields_header(text)) {
                    *schema = header;
                }
                continue;
            }
            if matches!(text, b"" | b"\r") {
                self.counts.empty += 1;
                self.output.leave_out(bytes, start);
                continue;
            }
            if let (Layout::Standard(schema), b'#') = (&mut layout, text[0]) {
                self.counts.headers += 1;
                self.output.leave_out(bytes, start);
                if let Some(header) = fields_header(text) {
                    *schema = header;
                }
                continue;
            }
            self.counts.lines_in += 1;
            let cut_here = cut.as_ref().filter(|_| index + 1 == line_count);
            let checked = match cut_here {
                Some(Cut::Broken(error)) => Err(Reason::Broken(error.clone())),
                Some(Cut::Stopped | Cut::TooLong { .. }) => Err(Reason::Stopped),
                None if positions.has_nul() && memchr::memchr(0, text).is_some() => Err(Reason::Nul),
                None => view(bytes, start, ends, &layout, &self.rules.schemas, json).and_then(with_readable_time),
            };
            let reason = match checked {
                Ok(line) if !self.rules.matcher.matches(&line) => {
                    self.counts.filtered += 1;
                    self.output.leave_out(bytes, start);
                    continue;
                }
                Ok(line) => match self.ship(bytes, start, end, &line, encoder) {
                    Ok(()) => continue,
                    Err(reason) => reason,
                },
                Err(reason) => reason,
            };
            self.output.leave_out(bytes, start);
            self.bad_line(reason, start, text, None);
            if self.rules.stop_at_bad_line {
                self.stopped = true;
                return;
            }
        }
    }

    #[inline]
    fn ship(
        &mut self,
        bytes: &[u8],
        start: u32,
        end: u32,
        line: &Line<'_>,
        encoder: &mut Encoder,
    ) -> Result<(), Reason> {
        let limit = self.rules.longest_line;
        let length = match &self.rules.encoding {
            Encoding::Raw => {
                let length = self.output.raw_length(bytes, start, end);
                if length <= limit {
                    self.output.keep(bytes, start, end);
                }
                length
            }
            _ => self.output.append(start..end + 1, limit, |out| encoder.encode(line, out)),
        };
        if length > limit {
            return Err(Reason::TooLongForRecord { length, limit });
        }
        if let Some(values) = &mut self.partition_values {
            values.push(line);
        }
        self.unpacked.add(length, 0);
        Ok(())
    }

    /// A line longer than a block counts as one line, when its last piece comes or no more are wanted.
    fn piece_of_long_line(&mut self, bytes: &[u8], part: u32, last: bool) {
        self.output.leave_out(bytes, 0);
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        self.stopped = self.rules.stop_at_bad_line;
        let counts = last || self.stopped;
        self.counts.lines_in += u64::from(counts);
        self.bad_line(Reason::TooLong, 0, text, Some((part, last)));
        self.counts.bad -= u64::from(!counts);
        self.counts.newlines += u64::from(last);
    }

    fn bad_line(&mut self, reason: Reason, start: u32, text: &[u8], part: Option<(u32, bool)>) {
        self.counts.bad += 1;
        self.bad_lines.push(BadLine {
            reason,
            source: Arc::clone(self.source),
            line: self.counts.newlines.saturating_sub(u64::from(part.is_none())),
            offset: self.offset + u64::from(start),
            bytes: text.to_vec(),
            part,
        });
    }
}

/// Whether one of the ranges has the byte at `start`. They are in order, and so are the bytes that are asked for: ranges
/// that end before are dropped.
fn is_in(ranges: &mut &[Range<u32>], start: u32) -> bool {
    while let [first, rest @ ..] = ranges
        && first.end <= start
    {
        *ranges = rest;
    }
    ranges.first().is_some_and(|first| first.start <= start)
}

/// The ranges between these ends.
fn ranges(ends: &[u32]) -> impl Iterator<Item = Range<u32>> {
    std::iter::once(0).chain(ends.iter().copied()).zip(ends).map(|(start, &end)| start..end)
}

/// What there is of a block beside the lines that are kept.
fn rest(kept: Option<&[Range<u32>]>, len: u32) -> Box<[Range<u32>]> {
    // Without a list, every line is kept.
    let Some(kept) = kept else { return Box::default() };
    let starts = kept.iter().map(|line| line.start).chain([len]);
    let ends = std::iter::once(0).chain(kept.iter().map(|line| line.end));
    ends.zip(starts).map(|(end, next)| end..next).filter(|gap| !gap.is_empty()).collect()
}

/// The line's columns under the schema that fits.
#[inline]
fn view<'a>(
    bytes: &'a [u8],
    start: u32,
    ends: &'a [u32],
    layout: &'a Layout,
    schemas: &'a Schemas,
    json: &'a mut JsonLineReader,
) -> Result<Line<'a>, Reason> {
    match layout {
        Layout::RealTime => match schemas.with_columns(ends.len()) {
            Some(schema) => Ok(Line::new(bytes, start, ends, schema)),
            None => {
                let counts: Vec<String> = schemas.iter().map(|schema| schema.columns().len().to_string()).collect();
                Err(Reason::ColumnCount { found: ends.len(), accepted: counts.join(", ") })
            }
        },
        Layout::Standard(Some(schema)) if schema.columns().len() == ends.len() => {
            Ok(Line::new(bytes, start, ends, schema))
        }
        Layout::Standard(Some(schema)) => {
            Err(Reason::ColumnCount { found: ends.len(), accepted: schema.columns().len().to_string() })
        }
        Layout::Standard(None) => Err(Reason::NoHeader),
        Layout::Json => {
            let end = *ends.last().expect("a line has a newline");
            json.read(&bytes[start as usize..end as usize]).map_err(Reason::Json)
        }
    }
}

/// The line, if every time in it reads as CloudFront writes it, or is absent.
#[inline]
fn with_readable_time(line: Line<'_>) -> Result<Line<'_>, Reason> {
    type IsReadable = fn(&[u8]) -> bool;
    const TIMES: [(Field, IsReadable); 4] = [
        (Field::Timestamp, is_decimal),
        (Field::TimestampMs, is_digits),
        (Field::Date, |text| has_shape(text, b"0000-00-00")),
        (Field::Time, |text| has_shape(text, b"00:00:00")),
    ];
    for (field, is_readable) in TIMES {
        if let Some(text) = line.get(field)
            && !is_readable(text)
        {
            let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
            return Err(Reason::Timestamp { field: field.name(), text });
        }
    }
    Ok(line)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Seconds since the epoch, with or without a fraction.
fn is_decimal(text: &[u8]) -> bool {
    let mut points = 0;
    let digits_and_points = text.iter().all(|&byte| {
        points += u32::from(byte == b'.');
        byte.is_ascii_digit() || byte == b'.'
    });
    digits_and_points && points <= 1 && !matches!(text, [] | [b'.', ..] | [.., b'.'])
}

/// A digit where the shape has `0`, the same byte elsewhere.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    let fits = |(&byte, &wanted): (&u8, &u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == shape.len() && text.iter().zip(shape).all(fits)
}

/// The encoded lines: the block itself as long as everything is kept as it came.
struct Output {
    copy: Option<Vec<u8>>,
    line_ends: Vec<u32>,
    /// With a copy, which bytes of the block each line is.
    sources: Vec<Range<u32>>,
    pool: BufferPool,
}

impl Output {
    fn new(encoding: &Encoding, pool: &BufferPool) -> Output {
        let copy = match encoding {
            Encoding::Raw => None,
            _ => Some(pool.take_empty()),
        };
        Output { copy, line_ends: Vec::new(), sources: Vec::new(), pool: pool.clone() }
    }

    /// The line that begins at `start` will not be kept as it came.
    fn leave_out(&mut self, bytes: &[u8], start: u32) {
        if self.copy.is_none() {
            let mut copy = self.pool.take_empty();
            copy.extend_from_slice(&bytes[..start as usize]);
            self.copy = Some(copy);
            self.sources = ranges(&self.line_ends).collect();
        }
    }

    #[inline]
    fn raw_length(&self, bytes: &[u8], start: u32, end: u32) -> usize {
        (end - start) as usize + 1 - usize::from(bytes[end as usize - 1] == b'\r')
    }

    /// Keeps the line as it came, but for a carriage return before its newline.
    #[inline]
    fn keep(&mut self, bytes: &[u8], start: u32, end: u32) {
        let has_carriage_return = bytes[end as usize - 1] == b'\r';
        if has_carriage_return {
            self.leave_out(bytes, start);
        }
        let line_end = match &mut self.copy {
            None => end + 1,
            Some(copy) => {
                copy.extend_from_slice(&bytes[start as usize..end as usize - usize::from(has_carriage_return)]);
                copy.push(b'\n');
                self.sources.push(start..end + 1);
                copy.len() as u32
            }
        };
        self.line_ends.push(line_end);
    }

    /// Appends what `encode` writes of the line at these bytes of the block, and takes it back if it is longer than
    /// `limit`; returns its length.
    #[inline]
    fn append(&mut self, source: Range<u32>, limit: usize, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let copy = self.copy.get_or_insert_default();
        let before = copy.len();
        encode(copy);
        let length = copy.len() - before;
        if length > limit {
            copy.truncate(before);
        } else {
            self.line_ends.push(copy.len() as u32);
            self.sources.push(source);
        }
        length
    }

    fn finish(self, block: Vec<u8>) -> (Vec<u8>, Vec<u32>, Option<Vec<Range<u32>>>) {
        match self.copy {
            None => (block, self.line_ends, None),
            Some(copy) => {
                self.pool.give(block);
                (copy, self.line_ends, Some(self.sources))
            }
        }
    }
}

/// The order of lines in which records of `record_size` bytes, filled one after the other, waste least: best fit, longest
/// first. Lines keep their order within a record only by chance.
fn reorder(line_ends: &[u32], record_size: usize) -> Vec<usize> {
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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ack::Acknowledgements;
    use pixel_engine_log::schema::{LogKind, Schema};

    /// A block of these lines as they are, each with its newline.
    pub(crate) fn encoded(lines: &[Vec<u8>]) -> Arc<EncodedBlock> {
        let mut bytes = Vec::new();
        let mut line_ends = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line);
            line_ends.push(bytes.len() as u32);
        }
        let (sources, hash_keys, read_at, pool) = (None, None, Instant::now(), BufferPool::new(0));
        Arc::new(EncodedBlock { bytes, line_ends, sources, hash_keys, read_at, pool })
    }

    /// The same, each with its hash key.
    pub(crate) fn encoded_with_keys(lines: &[(Vec<u8>, u128)]) -> Arc<EncodedBlock> {
        let (lines, hash_keys): (Vec<Vec<u8>>, Vec<u128>) = lines.iter().cloned().unzip();
        let mut block = Arc::into_inner(encoded(&lines)).expect("nobody else has it");
        block.hash_keys = Some(hash_keys);
        Arc::new(block)
    }

    fn rules(encoding: Encoding, conditions: &[&str]) -> Rules {
        let schemas = ["timestamp c-ip", "timestamp c-ip sc-status"];
        let schemas = schemas.map(|list| Schema::parse(LogKind::RealTime, list).expect("known fields"));
        Rules {
            schemas: Schemas::new(schemas).expect("two counts"),
            encoding,
            matcher: Matcher::new(conditions.iter().copied()).expect("conditions"),
            longest_line: 1 << 20,
            stop_at_bad_line: false,
            reorder_for: None,
            partition_by: None,
            pool: BufferPool::new(4),
        }
    }

    fn block(text: &[u8], layout: Layout, cut: Option<Cut>) -> Block {
        let added = text.last() != Some(&b'\n');
        let source_bytes = text.len() as u64;
        let bytes = [text, if added { b"\n" } else { b"" }].concat();
        let source = Arc::new(Source { number: 0, name: "a.log".to_owned() });
        let token = Acknowledgements::default().token(0, 100..100 + source_bytes);
        Block { bytes, source, offset: 100, source_bytes, read_at: Instant::now(), layout, cut, token }
    }

    fn encode(rules: &Rules, text: &[u8]) -> Encoded {
        rules.encode(block(text, Layout::RealTime, None), &mut Scratch::default())
    }

    fn text(encoded: &Encoded) -> &[u8] {
        encoded.block.lines(0..encoded.block.line_count())
    }

    #[test]
    fn nothing_is_copied_as_long_as_every_line_is_kept() {
        let rules = rules(Encoding::Raw, &[]);
        let block = block(b"1\t-\n2\t-\t200\n3\t-\n", Layout::RealTime, None);
        let address = block.bytes.as_ptr();
        let encoded = rules.encode(block, &mut Scratch::default());
        assert_eq!(encoded.block.bytes.as_ptr(), address);
        assert_eq!(encoded.block.line_ends(), [4, 12, 16]);
        assert_eq!(encoded.counts, LineCounts { lines_in: 3, newlines: 3, ..LineCounts::default() });
    }

    #[test]
    fn carriage_returns_go_and_the_lines_around_them_stay() {
        let encoded = encode(&rules(Encoding::Raw, &[]), b"1\t-\n2\ta\r\n\r\n3\tb\rc\n4\td\r");
        assert_eq!(text(&encoded), b"1\t-\n2\ta\n3\tb\rc\n4\td\n");
        assert_eq!((encoded.counts.lines_in, encoded.counts.empty), (4, 1));
    }

    #[test]
    fn an_added_newline_is_none_of_the_source() {
        let rules = rules(Encoding::Raw, &[]);
        assert_eq!(encode(&rules, b"1\t-\n2\t-").counts.newlines, 1);
        for (part, last, text, newlines) in
            [(1, false, &b"xx"[..], 0), (2, true, b"xx", 0), (2, true, b"xx\n", 1), (3, true, b"", 0)]
        {
            let block = block(text, Layout::RealTime, Some(Cut::TooLong { part, last }));
            let encoded = rules.encode(block, &mut Scratch::default());
            assert_eq!(encoded.counts.newlines, newlines, "{part} {last} {text:?}");
            assert_eq!((encoded.counts.lines_in, encoded.counts.bad), (u64::from(last), u64::from(last)));
            assert_eq!(encoded.bad_lines[0].part, Some((part, last)));
        }
    }

    #[test]
    fn a_line_that_is_cut_is_bad_whatever_it_holds() {
        let rules = rules(Encoding::Raw, &[]);
        for (cut, reason) in
            [(Cut::Broken("why".to_owned()), Reason::Broken("why".to_owned())), (Cut::Stopped, Reason::Stopped)]
        {
            let encoded = rules.encode(block(b"1\t-\n2\t-", Layout::RealTime, Some(cut)), &mut Scratch::default());
            assert_eq!(text(&encoded), b"1\t-\n");
            let [bad] = &encoded.bad_lines[..] else { panic!("one") };
            assert_eq!((&bad.reason, bad.line, bad.offset, &bad.bytes[..]), (&reason, 1, 104, &b"2\t-"[..]));
        }
    }

    #[test]
    fn a_line_as_long_as_a_record_fits_and_no_longer_one() {
        for encoding in [Encoding::Raw, Encoding::Projection("timestamp,c-ip".parse().expect("fields"))] {
            let rules = Rules { longest_line: 8, ..rules(encoding, &[]) };
            let encoded = encode(&rules, b"1\tabcde\n1\tabcdef\n1\tabcde\n");
            assert_eq!(text(&encoded), b"1\tabcde\n1\tabcde\n");
            assert_eq!(encoded.bad_lines[0].reason, Reason::TooLongForRecord { length: 9, limit: 8 });
        }
    }

    #[test]
    fn lines_have_the_hash_key_of_their_value_as_a_partition_key() {
        let schema = Schema::parse(LogKind::RealTime, "timestamp c-ip cs-uri-query").expect("known fields");
        for encoding in [Encoding::Raw, Encoding::Json(None)] {
            let rules = Rules {
                schemas: Schemas::new([schema.clone()]).expect("one"),
                partition_by: Some("query.u".parse().expect("a parameter")),
                longest_line: 500,
                ..rules(encoding, &["c-ip=1*"])
            };
            // Filtered out, bad and too long ones between those that are kept; twice the same value, once encoded.
            let long = format!("4\t1\t{}\n", "x".repeat(500));
            let input =
                ["1\t1\tu=a%2520b&v=c\n", "2\t2\tu=c\n", "bad\n", "3\t1\tv=c\n", &long, "5\t1\tu=\n", "6\t1\tu=a+b\n"];
            let encoded = encode(&rules, input.concat().as_bytes());
            assert_eq!((encoded.counts.filtered, encoded.counts.bad), (1, 2));
            let key_of = |text: &[u8]| u128::from_be_bytes(pixel_engine_kpl::md5::md5_many(&[text])[0]);
            let line = |index| encoded.block.lines(index..index + 1);
            let wanted = [key_of(b"a b"), key_of(line(1)), key_of(line(2)), key_of(b"a b")];
            assert_eq!(encoded.block.hash_keys(), Some(&wanted[..]));
            assert_eq!(wanted[0], pixel_engine_kpl::hash_of_partition_key("a b"));
        }
    }

    #[test]
    fn encoding_may_end_at_the_first_bad_line() {
        let rules = Rules { stop_at_bad_line: true, ..rules(Encoding::Raw, &[]) };
        let encoded = encode(&rules, b"1\t-\nbad\n2\t-\nworse\n");
        assert!(encoded.stopped);
        assert_eq!((text(&encoded), encoded.bad_lines.len(), encoded.counts.lines_in), (&b"1\t-\n"[..], 1, 2));
    }

    /// What a line of `any_line` must become.
    fn expected(line: &[u8]) -> &'static str {
        match line.strip_suffix(b"\r").unwrap_or(line) {
            b"" => "empty",
            line if line.contains(&0) => "bad",
            line => match line.split(|&byte| byte == b'\t').collect::<Vec<_>>()[..] {
                [b"1" | b"-" | b"200", _] => "filtered",
                [b"1" | b"-" | b"200", _, b"200"] => "kept",
                [b"1" | b"-" | b"200", _, _] => "filtered",
                _ => "bad",
            },
        }
    }

    fn any_line() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec!["", "1", "x", "-", "200", "a\0b", "\u{e9}"]);
        (prop::collection::vec(piece, 1..5), any::<bool>()).prop_map(|(pieces, carriage_return)| {
            let end = if carriage_return { "\r" } else { "" };
            (pieces.join("\t") + end).into_bytes()
        })
    }

    proptest! {
        #[test]
        fn every_line_is_in_exactly_one_place(lines in prop::collection::vec(any_line(), 0..60)) {
            let input = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>();
            prop_assume!(!input.is_empty());
            let encoded = encode(&rules(Encoding::Raw, &["sc-status=200"]), &input);
            let of = |what| lines.iter().filter(move |line| expected(line) == what);
            let kept: Vec<u8> = of("kept").flat_map(|line| [line.strip_suffix(b"\r").unwrap_or(line), b"\n"].concat()).collect();
            prop_assert_eq!(text(&encoded), &kept[..]);
            let bad: Vec<&Vec<u8>> = encoded.bad_lines.iter().map(|bad| &bad.bytes).collect();
            prop_assert_eq!(bad, of("bad").collect::<Vec<_>>());
            for bad in &encoded.bad_lines {
                let at = bad.offset as usize - 100;
                prop_assert!(input[at..].starts_with(&bad.bytes));
                prop_assert_eq!(bad.line, input[..at].iter().filter(|&&byte| byte == b'\n').count() as u64);
            }
            prop_assert_eq!(encoded.counts, LineCounts {
                lines_in: (lines.len() - of("empty").count()) as u64,
                filtered: of("filtered").count() as u64,
                bad: of("bad").count() as u64,
                empty: of("empty").count() as u64,
                headers: 0,
                newlines: lines.len() as u64,
            });
        }

        #[test]
        fn reordering_is_a_permutation_that_needs_no_more_records(
            lengths in prop::collection::vec(1..400_usize, 1..200),
            record_size in 400..2_000_usize,
        ) {
            let lines: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(place, &length)| {
                let mut line = format!("{place:0length$}").into_bytes();
                line.truncate(length - 1);
                line.push(b'\n');
                line
            }).collect();
            let block = encoded(&lines);
            let order = reorder(block.line_ends(), record_size);
            let mut before = lines.clone();
            let mut after: Vec<Vec<u8>> = order.into_iter().map(|index| lines[index].clone()).collect();
            let records = |lines: &[Vec<u8>]| {
                let (mut records, mut room) = (0, 0);
                for line in lines {
                    if line.len() > room {
                        (records, room) = (records + 1, record_size);
                    }
                    room -= line.len();
                }
                records
            };
            prop_assert!(records(&after) <= records(&before));
            before.sort();
            after.sort();
            prop_assert_eq!(before, after);
        }
    }
}
