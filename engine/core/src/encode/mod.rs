//! Encodes the lines of a block that are to be shipped.
//!
//! As long as lines stay as they came, nothing is copied: the block's own buffer becomes the
//! output.

mod output;
mod partition;
mod reorder;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use pixel_engine_log::encode::{Encoder, Encoding};
use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use pixel_engine_log::select::Selector;

use self::output::{Output, ranges};
use self::partition::PartitionValues;
use self::reorder::reorder;
use crate::ack::AckToken;
use crate::billing::Billed;
use crate::block::{Block, BufferPool, Cut, Layout, Origin};
use crate::check::{self, Checked, Checks, LineCounts, Take, Taken, Unfit};
use crate::config::{Config, OnBadLine};
use crate::duplicates::DuplicateWindow;
use crate::observe::{Observe, ObserveBlock};
use crate::privacy::{Treater, Treatment};
use crate::quarantine::{BadLine, Reason};

/// What becomes of lines: the same for every block of a run.
pub struct Rules {
    /// Which lines are shipped.
    pub checks: Checks,
    /// Lines whose request id it holds are not shipped again.
    pub duplicates: Option<DuplicateWindow>,
    /// What becomes of personal data in a line.
    pub treatment: Option<Arc<Treatment>>,
    /// What a line becomes.
    pub encoding: Encoding,
    /// The longest encoded line, with its newline, that a record can hold.
    pub max_line_len: usize,
    /// For records of this many bytes, lines are put in the order that fills them best.
    pub reorder_for: Option<usize>,
    /// Lines get the hash key of this value. They must keep their order then.
    pub partition_by: Option<Selector>,
    /// Who looks at the lines that are shipped.
    pub observers: Vec<Arc<dyn Observe>>,
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
    pub fn line_len(&self, index: usize) -> usize {
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

    /// Where line `index` begins in the source block.
    pub fn source_start(&self, index: usize) -> usize {
        self.sources.as_ref().map_or_else(|| self.line_start(index), |sources| sources[index].start as usize)
    }

    /// Calls `each` with the bytes of the source block that the lines are, each line once and
    /// neighbours together.
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
    pub origin: Arc<Origin>,
    /// Whether encoding ended at a bad line, the last of `bad_lines`.
    pub stopped: bool,
    /// The block's ack token.
    pub token: AckToken,
}

/// Buffers that one thread uses for block after block.
#[derive(Default)]
pub struct Scratch {
    check: check::Scratch,
    /// That of the last rules.
    encoder: Option<Encoder>,
}

impl Scratch {
    /// An encoder of that format: the one before, when it is.
    fn encoder(&mut self, encoding: &Encoding) -> Encoder {
        let kept = self.encoder.take().filter(|encoder| encoder.encoding() == encoding);
        kept.unwrap_or_else(|| Encoder::new(encoding.clone()))
    }
}

impl Rules {
    /// What a configuration says of lines.
    pub fn new(config: &Config, observers: Vec<Arc<dyn Observe>>, pool: BufferPool) -> Rules {
        let container = config.container();
        Rules {
            checks: Checks {
                schemas: config.schemas().clone(),
                matcher: config.matcher().clone(),
                stop_at_bad_line: config.on_bad_line() == OnBadLine::Fail,
                withhold: config.treatment().is_some(),
            },
            duplicates: config.dedup_window().map(DuplicateWindow::new),
            treatment: config.treatment().cloned(),
            encoding: config.encoding().clone(),
            max_line_len: container.max_line_len(),
            observers,
            reorder_for: container.reorder_for(),
            partition_by: container.partition_by().cloned(),
            pool,
        }
    }

    /// Encodes every line of the block.
    pub fn encode(&self, block: Block, scratch: &mut Scratch) -> Encoded {
        let treatment = self.treatment.as_deref().filter(|_| !block.is_treated);
        let is_plain = treatment.is_none() && self.duplicates.is_none();
        let mut writer = Writer {
            bytes: &block.bytes,
            is_plain,
            is_json: block.layout == Layout::Json,
            duplicates: self.duplicates.as_ref(),
            treater: treatment.map(Treater::new),
            encoding: &self.encoding,
            encoder: scratch.encoder(&self.encoding),
            max_len: self.max_line_len,
            output: Output::new(is_plain && self.encoding == Encoding::Raw, &self.pool),
            partition_values: self.partition_by.as_ref().map(PartitionValues::new),
            unpacked: Billed::default(),
            observers: self.observers.iter().map(|observer| observer.begin_block()).collect(),
        };
        let Checked { counts, bad_lines, stopped } = self.checks.check(&block, &mut scratch.check, &mut writer);
        let Writer { encoder, output, partition_values, unpacked, observers, .. } = writer;
        // Their tallies are whole then.
        drop(observers);
        scratch.encoder = Some(encoder);
        let Block { bytes, origin, source_bytes, read_at, cut, token, .. } = block;
        let (mut bytes, mut line_ends, mut sources) = output.finish(bytes);
        if stopped || matches!(cut, Some(Cut::TooLong { .. } | Cut::Unreadable { .. })) {
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
        Encoded { block, bad_lines, counts, unpacked, source_bytes, origin, stopped, token }
    }
}

/// Writes the lines of one block.
struct Writer<'block, 'rules> {
    bytes: &'block [u8],
    /// Whether lines are neither treated nor held against those before.
    is_plain: bool,
    /// Whether they are JSON objects.
    is_json: bool,
    duplicates: Option<&'rules DuplicateWindow>,
    treater: Option<Treater<'rules>>,
    encoding: &'rules Encoding,
    encoder: Encoder,
    max_len: usize,
    output: Output,
    partition_values: Option<PartitionValues<'rules>>,
    unpacked: Billed,
    observers: Vec<Box<dyn ObserveBlock + 'rules>>,
}

impl Take for Writer<'_, '_> {
    #[inline]
    fn ship(&mut self, line: &Line<'_>, start: u32, end: u32) -> Result<Taken, Unfit> {
        if !self.is_plain {
            return self.ship_unless_duplicate(line, start, end);
        }
        let limit = self.max_len;
        let len = match self.encoding {
            Encoding::Raw => {
                let len = self.output.raw_len(self.bytes, start, end);
                if len <= limit {
                    self.output.keep(self.bytes, start, end);
                }
                len
            }
            _ => self.output.append(start..end + 1, limit, |out| self.encoder.encode(line, out)),
        };
        if len > limit {
            return Err(Unfit { reason: Reason::TooLongForRecord { len, limit }, treated: None });
        }
        let bytes = self.bytes;
        self.shipped(line, || text(bytes, start, end), len);
        Ok(Taken::Kept)
    }

    fn leave_out(&mut self, start: u32) {
        self.output.leave_out(self.bytes, start);
    }
}

impl Writer<'_, '_> {
    /// As `ship`, where lines are treated or duplicates looked for. Out of line: most runs do
    /// neither.
    #[inline(never)]
    fn ship_unless_duplicate(&mut self, line: &Line<'_>, start: u32, end: u32) -> Result<Taken, Unfit> {
        let came = text(self.bytes, start, end);
        let Some(mut treater) = self.treater.take() else {
            return self.append(line, line, came, start..end + 1).map_err(|reason| Unfit { reason, treated: None });
        };
        let taken = match treater.treat(line, self.is_json.then_some(came)) {
            Ok(treated) => self
                .append(line, &treated.line, treated.text, start..end + 1)
                .map_err(|reason| Unfit { reason, treated: Some(treated.text.to_vec()) }),
            Err(reason) => Err(Unfit { reason, treated: None }),
        };
        self.treater = Some(treater);
        taken
    }

    /// Appends the line, whose text is that, unless the one that came is a duplicate.
    fn append(&mut self, came: &Line<'_>, line: &Line<'_>, text: &[u8], source: Range<u32>) -> Result<Taken, Reason> {
        let limit = self.max_len;
        let len = self.output.append(source, limit, |out| match self.encoding {
            Encoding::Raw => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            _ => self.encoder.encode(line, out),
        });
        if len > limit {
            return Err(Reason::TooLongForRecord { len, limit });
        }
        // Not before it is known to fit: a bad line is none to compare with.
        if self.is_duplicate(came) {
            self.output.take_back();
            return Ok(Taken::Duplicate);
        }
        self.shipped(line, || text, len);
        Ok(Taken::Kept)
    }

    /// Whether the window has the id of a line that is good; it has it from now on. A line without
    /// an id is none.
    fn is_duplicate(&self, line: &Line<'_>) -> bool {
        let Some(window) = self.duplicates else { return false };
        line.get(Field::XEdgeRequestId).is_some_and(|id| !id.is_empty() && !window.enter(id))
    }

    /// Notes a line that is in the output, in that many bytes.
    #[inline]
    fn shipped<'a>(&mut self, line: &Line<'_>, text: impl Fn() -> &'a [u8], len: usize) {
        if let Some(values) = &mut self.partition_values {
            values.push(line);
        }
        self.unpacked.add(len, 0);
        for observer in &mut self.observers {
            observer.observe(line, text());
        }
    }
}

/// A line of a block as it came, without its newline or carriage return.
fn text(bytes: &[u8], start: u32, end: u32) -> &[u8] {
    let text = &bytes[start as usize..end as usize];
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// What there is of a block beside the lines that are kept.
fn rest(kept: Option<&[Range<u32>]>, len: u32) -> Box<[Range<u32>]> {
    // Without a list, every line is kept.
    let Some(kept) = kept else { return Box::default() };
    let starts = kept.iter().map(|line| line.start).chain([len]);
    let ends = std::iter::once(0).chain(kept.iter().map(|line| line.end));
    ends.zip(starts).map(|(end, next)| end..next).filter(|gap| !gap.is_empty()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ack::{Acknowledged, Acknowledgements, Position};
    use crate::block::Layout;
    use crate::config::Settings;
    use crate::observe::{Observed, Observer};
    use pixel_engine_log::query::QueryEncoding;
    use pixel_engine_log::schema::{LogKind, Schema, Schemas};
    use pixel_engine_log::select::Matcher;

    /// A block of these lines as they are, each with its newline.
    pub(crate) fn encoded(lines: &[Vec<u8>]) -> Arc<EncodedBlock> {
        encoded_at(lines, Instant::now())
    }

    /// The same, read at that time.
    pub(crate) fn encoded_at(lines: &[Vec<u8>], read_at: Instant) -> Arc<EncodedBlock> {
        let mut bytes = Vec::new();
        let mut line_ends = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line);
            line_ends.push(bytes.len() as u32);
        }
        let (sources, hash_keys, pool) = (None, None, BufferPool::new(0));
        Arc::new(EncodedBlock { bytes, line_ends, sources, hash_keys, read_at, pool })
    }

    /// The same, each with its hash key.
    pub(crate) fn encoded_with_keys(lines: &[(Vec<u8>, u128)]) -> Arc<EncodedBlock> {
        let (lines, hash_keys): (Vec<Vec<u8>>, Vec<u128>) = lines.iter().cloned().unzip();
        let mut block = Arc::into_inner(encoded(&lines)).expect("nobody else has it");
        block.hash_keys = Some(hash_keys);
        Arc::new(block)
    }

    pub(crate) fn rules(encoding: Encoding, conditions: &[&str]) -> Rules {
        let schemas = ["timestamp c-ip", "timestamp c-ip sc-status"];
        let schemas = schemas.map(|list| Schema::parse(LogKind::RealTime, list).expect("known fields"));
        Rules {
            checks: Checks {
                schemas: Schemas::new(schemas).expect("two counts"),
                matcher: Matcher::new(conditions.iter().copied()).expect("conditions"),
                stop_at_bad_line: false,
                withhold: false,
            },
            duplicates: None,
            treatment: None,
            encoding,
            max_line_len: 1 << 20,
            reorder_for: None,
            partition_by: None,
            observers: Vec::new(),
            pool: BufferPool::new(4),
        }
    }

    pub(crate) fn block(text: &[u8], layout: Layout, cut: Option<Cut>) -> Block {
        let added = text.last() != Some(&b'\n');
        let source_bytes = text.len() as u64;
        let bytes = [text, if added { b"\n" } else { b"" }].concat();
        let origin = Arc::new(Origin::new(0, "a.log".to_owned()));
        let token = Acknowledgements::default().token(0, 100..100 + source_bytes);
        let (read_at, query_encoding) = (Instant::now(), QueryEncoding::default());
        let is_treated = false;
        Block { bytes, origin, offset: 100, source_bytes, read_at, layout, query_encoding, is_treated, cut, token }
    }

    fn encode(rules: &Rules, text: &[u8]) -> Encoded {
        rules.encode(block(text, Layout::RealTime, None), &mut Scratch::default())
    }

    pub(crate) fn text(encoded: &Encoded) -> &[u8] {
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

    /// The same block when an earlier run had delivered these bytes of it.
    fn block_after(text: &[u8], layout: Layout, delivered: &[Range<u64>]) -> Block {
        let (all, block) = (Acknowledgements::default(), block(text, layout, None));
        let mut acknowledged = Acknowledged::from(Position { offset: 100, lines: 0 });
        acknowledged.ahead = delivered.iter().map(|bytes| 100 + bytes.start..100 + bytes.end).collect();
        all.begin(0, acknowledged);
        Block { token: all.token(0, 100..100 + block.source_bytes), ..block }
    }

    #[test]
    fn lines_that_an_earlier_run_delivered_are_left_out_and_counted_as_newlines_alone() {
        let input = b"1\ta\n2\tb\nbad\n\n3\tc\nbad\n4\td";
        let after = |delivered: &[Range<u64>]| {
            let block = block_after(input, Layout::RealTime, delivered);
            rules(Encoding::Raw, &[]).encode(block, &mut Scratch::default())
        };
        let encoded = after(&[4..8, 13..17]);
        assert_eq!(text(&encoded), b"1\ta\n4\td\n");
        let counts = LineCounts { lines_in: 4, bad: 2, empty: 1, newlines: 6, ..LineCounts::default() };
        assert_eq!(encoded.counts, counts);
        let places: Vec<_> = encoded.bad_lines.iter().map(|bad| (bad.line, bad.offset)).collect();
        assert_eq!(places, [(2, 108), (5, 117)]);
        let encoded = after(&[0..17]);
        assert_eq!((text(&encoded), encoded.bad_lines[0].line), (&b"4\td\n"[..], 5));
        assert_eq!(after(&[0..25]).block.line_count(), 0);
        // A line counts by its start, so one that only ends there is not left out.
        assert_eq!(text(&after(&[1..8])), b"1\ta\n3\tc\n4\td\n");
    }

    #[test]
    fn headers_that_an_earlier_run_delivered_are_still_followed() {
        let input = b"#Version: 1.0\n#Fields: date c-ip\n2026-01-02\ta\n#Fields: c-ip date\nb\t2026-01-02\n";
        for delivered in [&[0..14][..], &[0..33], &[0..46], &[34..65], &[0..65]] {
            let block = block_after(input, Layout::Standard(None), delivered);
            let encoded = rules(Encoding::Raw, &[]).encode(block, &mut Scratch::default());
            assert_eq!(encoded.bad_lines, [], "{delivered:?}");
            assert!(text(&encoded).ends_with(b"b\t2026-01-02\n"));
        }
    }

    #[test]
    fn byte_order_marks_are_no_part_of_a_line() {
        let rules = rules(Encoding::Raw, &[]);
        let input = "1\ta\n\u{feff}2\tb\r\n\u{feff}\u{feff}3\tc\n\u{feff}\n\u{feff}bad\n4\td\n".as_bytes();
        let encoded = encode(&rules, input);
        assert_eq!(text(&encoded), b"1\ta\n2\tb\n3\tc\n4\td\n");
        let counts = LineCounts { lines_in: 5, bad: 1, empty: 1, newlines: 6, ..LineCounts::default() };
        assert_eq!(encoded.counts, counts);
        // The quarantine keeps the line to the byte.
        let [bad] = &encoded.bad_lines[..] else { panic!("one") };
        assert_eq!((bad.line, bad.offset, bad.bytes.as_deref()), (4, 126, Some("\u{feff}bad".as_bytes())));
        // However little of a line and the mark before it is safe, a line comes once: 2 is at bytes
        // 7..11 with its mark from 4 on, 3 at 18..22.
        for (delivered, wanted) in [
            (&[4..7][..], "1\ta\n2\tb\n3\tc\n4\td\n"),
            (&[0..7], "2\tb\n3\tc\n4\td\n"),
            (&[7..11], "1\ta\n3\tc\n4\td\n"),
            (&[4..11, 12..18], "1\ta\n3\tc\n4\td\n"),
            (&[0..11, 18..22], "4\td\n"),
        ] {
            let block = block_after(input, Layout::RealTime, delivered);
            let encoded = rules.encode(block, &mut Scratch::default());
            assert_eq!(text(&encoded), wanted.as_bytes(), "{delivered:?}");
        }
        let input = "\u{feff}#Fields: date c-ip\n\u{feff}2026-01-02\ta\n \t\u{feff}# fields : c-ip\nb\n".as_bytes();
        let encoded = rules.encode(block(input, Layout::Standard(None), None), &mut Scratch::default());
        assert_eq!((text(&encoded), encoded.counts.headers), (&b"2026-01-02\ta\nb\n"[..], 2));
        let input = "\u{feff}{\"c-ip\":\"a\"}\n".as_bytes();
        let encoded = rules.encode(block(input, Layout::Json, None), &mut Scratch::default());
        assert_eq!(text(&encoded), b"{\"c-ip\":\"a\"}\n");
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
            assert_eq!(
                (&bad.reason, bad.line, bad.offset, bad.bytes.as_deref()),
                (&reason, 1, 104, Some(&b"2\t-"[..]))
            );
        }
    }

    #[test]
    fn a_line_as_long_as_a_record_fits_and_no_longer_one() {
        for encoding in [Encoding::Raw, Encoding::Projection("timestamp,c-ip".parse().expect("fields"))] {
            let rules = Rules { max_line_len: 8, ..rules(encoding, &[]) };
            let encoded = encode(&rules, b"1\tabcde\n1\tabcdef\n1\tabcde\n");
            assert_eq!(text(&encoded), b"1\tabcde\n1\tabcde\n");
            assert_eq!(encoded.bad_lines[0].reason, Reason::TooLongForRecord { len: 9, limit: 8 });
        }
    }

    #[test]
    fn lines_have_the_hash_key_of_their_value_as_a_partition_key() {
        let schema = Schema::parse(LogKind::RealTime, "timestamp c-ip cs-uri-query").expect("known fields");
        for encoding in [Encoding::Raw, Encoding::Json(None)] {
            let mut rules = Rules {
                partition_by: Some("query.u".parse().expect("a parameter")),
                max_line_len: 500,
                ..rules(encoding, &["c-ip=1*"])
            };
            rules.checks.schemas = Schemas::new([schema.clone()]).expect("one");
            // Filtered out, bad and too long ones between those that are kept; twice the same
            // value, once encoded.
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
    fn hash_keys_follow_the_encoding_of_the_query() {
        let schema = Schema::parse(LogKind::RealTime, "timestamp c-ip cs-uri-query").expect("known fields");
        let mut rules =
            Rules { partition_by: Some("query.u".parse().expect("a parameter")), ..rules(Encoding::Raw, &[]) };
        rules.checks.schemas = Schemas::new([schema]).expect("one");
        for (query_encoding, value) in [(QueryEncoding::Twice, "A"), (QueryEncoding::Once, "%41")] {
            let block = Block { query_encoding, ..block(b"1\t1\tu=%2541\n", Layout::RealTime, None) };
            let encoded = rules.encode(block, &mut Scratch::default());
            assert_eq!(encoded.block.hash_keys(), Some(&[pixel_engine_kpl::hash_of_partition_key(value)][..]));
        }
    }

    #[test]
    fn everything_behind_the_matcher_has_the_treated_line() {
        /// Notes each line and its address.
        struct Lines;

        impl Observer for Lines {
            type Tally = Vec<Vec<u8>>;

            fn observe(&self, line: &Line<'_>, text: &[u8], lines: &mut Self::Tally) {
                lines.push([text, b"|", line.get(Field::CIp).expect("it is there")].concat());
            }

            fn merge(&self, into: &mut Self::Tally, from: Self::Tally) {
                into.extend(from);
            }
        }

        let input = b"1\t203.0.113.9\r\n2\t203.0.114.9\nbad 203.0.113.9\n3\t203.0.113.99\t200\nx\t203.0.113.9\n";
        for (encoding, wanted) in [
            (Encoding::Raw, &b"1\t203.0.113.0\n"[..]),
            (Encoding::Projection("c-ip,sc-status".parse().expect("fields")), b"203.0.113.0\t-\n"),
            (Encoding::Json(None), b"{\"timestamp\":1,\"c_ip\":\"203.0.113.0\"}\n"),
        ] {
            let observed = Arc::new(Observed::new(Lines));
            let settings = Settings { mask_ip: Some(true), ..Settings::default() };
            let mut rules = Rules {
                treatment: settings.validate().expect("it goes").treatment().cloned(),
                partition_by: Some(Selector::Field(Field::CIp)),
                observers: vec![observed.clone()],
                max_line_len: wanted.len(),
                ..rules(encoding.clone(), &["c-ip=203.0.113.*"])
            };
            rules.checks.withhold = true;
            let encoded = encode(&rules, input);
            assert_eq!((text(&encoded), encoded.counts.filtered), (wanted, 1));
            let key = u128::from_be_bytes(pixel_engine_kpl::md5::md5_many(&[b"203.0.113.0"])[0]);
            assert_eq!(encoded.block.hash_keys().expect("by address")[0], key);
            assert_eq!(observed.take()[0], b"1\t203.0.113.0|203.0.113.0");
            let bad: Vec<_> = encoded.bad_lines.iter().map(|bad| (bad.len, bad.bytes.as_deref())).collect();
            let long = (18, Some(&b"3\t203.0.113.0\t200"[..]));
            assert_eq!(bad, [(15, None), long, (13, None)]);

            let block = Block { is_treated: true, ..block(input, Layout::RealTime, None) };
            let as_it_came = rules.encode(block, &mut Scratch::default());
            assert_eq!(as_it_came.bad_lines[0].bytes.as_deref(), Some(&b"bad 203.0.113.9"[..]));
        }
    }

    #[test]
    fn encoding_may_end_at_the_first_bad_line() {
        let mut rules = rules(Encoding::Raw, &[]);
        rules.checks.stop_at_bad_line = true;
        let encoded = encode(&rules, b"1\t-\nbad\n2\t-\nworse\n");
        assert!(encoded.stopped);
        assert_eq!((text(&encoded), encoded.bad_lines.len(), encoded.counts.lines_in), (&b"1\t-\n"[..], 1, 2));
    }

    #[test]
    fn a_thread_that_had_other_rules_before_writes_by_those_at_hand() {
        let mut scratch = Scratch::default();
        let encodings = ["timestamp", "c-ip"].map(|field| Encoding::Projection(field.parse().expect("a field")));
        for (encoding, wanted) in encodings.into_iter().zip([&b"1\n"[..], b"x\n"]).cycle().take(5) {
            let encoded = rules(encoding, &[]).encode(block(b"1\tx\n", Layout::RealTime, None), &mut scratch);
            assert_eq!(text(&encoded), wanted);
        }
    }

    #[test]
    fn observers_see_the_lines_that_are_shipped_and_no_others() {
        /// Notes each address, and how often a block ended.
        struct Addresses;

        impl Observer for Addresses {
            type Tally = (Vec<Vec<u8>>, u64);

            fn observe(&self, line: &Line<'_>, text: &[u8], (addresses, _): &mut Self::Tally) {
                assert_eq!(line.raw(), text);
                addresses.push(line.get(Field::CIp).expect("they are there").to_vec());
            }

            fn end_block(&self, (_, blocks): &mut Self::Tally) {
                *blocks += 1;
            }

            fn merge(&self, into: &mut Self::Tally, from: Self::Tally) {
                into.0.extend(from.0);
                into.1 += from.1;
            }
        }

        let observed = Arc::new(Observed::new(Addresses));
        let rules = Rules {
            max_line_len: 9,
            observers: vec![observed.clone(), observed.clone()],
            ..rules(Encoding::Raw, &["c-ip=k*"])
        };
        // Kept, filtered out, bad, too long, kept.
        for _ in 0..2 {
            encode(&rules, b"1\tk1\n2\tf\nx\tk2\n3\tkkkkkkkk\n4\tk3\n");
        }
        let (mut addresses, blocks) = observed.take();
        addresses.sort();
        assert_eq!(addresses, [&b"k1"[..]; 4].into_iter().chain([&b"k3"[..]; 4]).collect::<Vec<_>>());
        assert_eq!(blocks, 4, "two blocks, seen twice");
        assert_eq!(observed.take().0.len(), 0, "nothing is left");
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
            let bad: Vec<&Vec<u8>> = encoded.bad_lines.iter().filter_map(|bad| bad.bytes.as_ref()).collect();
            prop_assert_eq!(bad, of("bad").collect::<Vec<_>>());
            for bad in &encoded.bad_lines {
                let at = bad.offset as usize - 100;
                prop_assert!(input[at..].starts_with(bad.bytes.as_ref().expect("nothing is withheld")));
                prop_assert_eq!(bad.line, input[..at].iter().filter(|&&byte| byte == b'\n').count() as u64);
            }
            prop_assert_eq!(encoded.counts, LineCounts {
                lines_in: (lines.len() - of("empty").count()) as u64,
                filtered: of("filtered").count() as u64,
                bad: of("bad").count() as u64,
                duplicates: 0,
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
            let lines: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(place, &len)| {
                let mut line = format!("{place:0len$}").into_bytes();
                line.truncate(len - 1);
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
