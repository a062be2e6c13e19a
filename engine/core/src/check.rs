//! Decides the fate of each line of a block: it is shipped, filtered out, or bad. Every one is
//! counted.

use std::ops::Range;
use std::sync::Arc;

use pixel_engine_log::field::Field;
use pixel_engine_log::json_line::JsonLineReader;
use pixel_engine_log::line::Line;
use pixel_engine_log::scan::{Positions, scan};
use pixel_engine_log::schema::{Schema, Schemas};
use pixel_engine_log::select::Matcher;

use crate::block::{Block, Cut, Layout};
use crate::quarantine::{BadLine, Reason};
use crate::source::{byte_order_marks_len, fields_header, without_margin};

/// Which lines are shipped: the same for every block of a run.
#[derive(Debug)]
pub struct Checks {
    /// The real-time schemas that are accepted.
    pub schemas: Schemas,
    /// Lines that do not match are filtered out.
    pub matcher: Matcher,
    /// Whether checking ends at the first bad line.
    pub stop_at_bad_line: bool,
    /// Whether lines are treated, so that nothing is kept of one that cannot be.
    pub withhold: bool,
}

/// Takes what is in a block, from its start to its end.
pub(crate) trait Take {
    /// A good line, whose newline is at `end`. It may still not fit: then it is bad.
    fn ship(&mut self, line: &Line<'_>, start: u32, end: u32) -> Result<Taken, Unfit>;

    /// What begins at `start` is not shipped.
    fn leave_out(&mut self, start: u32);
}

/// What became of a good line.
pub(crate) enum Taken {
    /// It is shipped.
    Kept,
    /// One with its request id was kept before.
    Duplicate,
}

/// A good line that cannot be shipped all the same.
pub(crate) struct Unfit {
    pub(crate) reason: Reason,
    /// What became of the line, where lines are treated.
    pub(crate) treated: Option<Vec<u8>>,
}

/// What was found in a block.
#[derive(Debug, Default)]
pub struct Checked {
    /// Where each line went.
    pub counts: LineCounts,
    /// The lines that cannot be shipped, their numbers counted from 0 at the block's start.
    pub bad_lines: Vec<BadLine>,
    /// Whether checking ended at a bad line, the last of `bad_lines`.
    pub stopped: bool,
}

/// How many lines of a block went where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Log lines, without headers and empty lines.
    pub lines_in: u64,
    /// Lines that were left out: by a matcher, or as duplicates.
    pub filtered: u64,
    /// Those of the filtered lines that were duplicates.
    pub duplicates: u64,
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
        self.duplicates += other.duplicates;
        self.bad += other.bad;
        self.headers += other.headers;
        self.empty += other.empty;
        self.newlines += other.newlines;
    }
}

/// Buffers that one thread uses for block after block.
#[derive(Default)]
pub(crate) struct Scratch {
    positions: Positions,
    json: JsonLineReader,
}

impl Checks {
    /// Shows each line of the block to `take`.
    pub(crate) fn check(&self, block: &Block, scratch: &mut Scratch, take: &mut impl Take) -> Checked {
        let mut run = Checking { checks: self, block, take, checked: Checked::default() };
        match block.cut {
            Some(Cut::TooLong { part, last }) => run.without_lines(Reason::TooLong, Some((part, last))),
            Some(Cut::Unreadable { ref why, part }) => run.without_lines(Reason::Unreadable(why.clone()), part),
            _ => run.lines(scratch),
        }
        let mut checked = run.checked;
        if !checked.stopped && block.source_bytes < block.bytes.len() as u64 {
            // The last newline was added: the source goes on in the same line, or ends. A piece
            // from the middle of a long line counts none anyway.
            checked.counts.newlines = checked.counts.newlines.saturating_sub(1);
        }
        checked
    }
}

struct Checking<'a, T> {
    checks: &'a Checks,
    block: &'a Block,
    take: &'a mut T,
    checked: Checked,
}

impl<T: Take> Checking<'_, T> {
    fn lines(&mut self, scratch: &mut Scratch) {
        let Scratch { positions, json } = scratch;
        let Block { bytes, cut, query_encoding, .. } = self.block;
        scan(bytes, positions);
        let line_count = positions.line_count();
        let mut layout = self.block.layout.clone();
        let mut acknowledged = self.block.token.acknowledged_before();
        for (index, (start, ends)) in positions.lines().enumerate() {
            let end = *ends.last().expect("a line has a newline");
            let text = &bytes[start as usize..end as usize];
            self.checked.counts.newlines += 1;
            // A byte order mark is no part of the line's text, and acknowledged apart from it.
            let marks_len = byte_order_marks_len(text);
            let text_start = start + marks_len as u32;
            if !acknowledged.is_empty() && is_in(&mut acknowledged, text_start) {
                self.take.leave_out(start);
                // Other lines may still be read under it.
                if let (Layout::Standard(schema), Some(header)) = (&mut layout, fields_header(text)) {
                    *schema = header.ok();
                }
                continue;
            }
            if matches!(&text[marks_len..], b"" | b"\r") {
                self.checked.counts.empty += 1;
                self.take.leave_out(start);
                continue;
            }
            if let Layout::Standard(schema) = &mut layout
                && let [b'#', ..] = without_margin(text)
            {
                self.checked.counts.headers += 1;
                self.take.leave_out(start);
                // The reader has told if it cannot be used.
                if let Some(header) = fields_header(text) {
                    *schema = header.ok();
                }
                continue;
            }
            self.checked.counts.lines_in += 1;
            let cut_here = cut.as_ref().filter(|_| index + 1 == line_count);
            let viewed = match cut_here {
                Some(Cut::Broken(error)) => Err(Reason::Broken(error.clone())),
                Some(Cut::Stopped | Cut::TooLong { .. } | Cut::Unreadable { .. }) => Err(Reason::Stopped),
                None if positions.has_nul() && memchr::memchr(0, text).is_some() => Err(Reason::Nul),
                None => view(bytes, text_start, ends, &layout, &self.checks.schemas, json),
            };
            let (reason, treated) = match viewed {
                Ok(line) if let Some(reason) = unreadable_time(&line) => (reason, None),
                Ok(line) => {
                    let line = line.with_query_encoding(*query_encoding);
                    if !self.checks.matcher.matches(&line) {
                        self.checked.counts.filtered += 1;
                        self.take.leave_out(start);
                        continue;
                    }
                    if marks_len > 0 {
                        self.take.leave_out(start);
                    }
                    match self.take.ship(&line, text_start, end) {
                        Ok(Taken::Kept) => continue,
                        Ok(Taken::Duplicate) => {
                            self.checked.counts.filtered += 1;
                            self.checked.counts.duplicates += 1;
                            self.take.leave_out(start);
                            continue;
                        }
                        Err(Unfit { reason, treated }) => (reason, treated),
                    }
                }
                Err(reason) => (reason, None),
            };
            self.take.leave_out(start);
            self.bad_line(reason, start, text, treated, None);
            if self.checks.stop_at_bad_line {
                self.checked.stopped = true;
                return;
            }
        }
    }

    /// What is no line, or a piece of one that is longer than a block, counts as one line: when its
    /// last piece comes or no more are wanted.
    fn without_lines(&mut self, reason: Reason, part: Option<(u32, bool)>) {
        let last = part.is_none_or(|(_, last)| last);
        self.take.leave_out(0);
        let bytes = self.block.bytes.as_slice();
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        self.checked.stopped = self.checks.stop_at_bad_line;
        let counts = last || self.checked.stopped;
        self.checked.counts.lines_in += u64::from(counts);
        let newlines = self.checked.counts.newlines;
        self.bad_line(reason, 0, text, None, part);
        self.checked.counts.bad -= u64::from(!counts);
        self.checked.counts.newlines = newlines + u64::from(last);
    }

    /// Counts the line and keeps it: as it was treated, or as it came where lines are not.
    fn bad_line(
        &mut self,
        reason: Reason,
        start: u32,
        text: &[u8],
        treated: Option<Vec<u8>>,
        part: Option<(u32, bool)>,
    ) {
        let withhold = self.checks.withhold && !self.block.is_treated;
        self.checked.counts.bad += 1;
        self.checked.bad_lines.push(BadLine {
            reason: if withhold { reason.without_content() } else { reason },
            origin: Arc::clone(&self.block.origin),
            line: self.checked.counts.newlines.saturating_sub(u64::from(part.is_none())),
            offset: self.block.offset + u64::from(start),
            len: text.len(),
            bytes: treated.or_else(|| (!withhold).then(|| text.to_vec())),
            part,
        });
    }
}

/// Whether one of the ranges has the byte at `start`. They are in order, and so are the bytes that
/// are asked for: ranges that end before are dropped.
fn is_in(ranges: &mut &[Range<u32>], start: u32) -> bool {
    while let [first, rest @ ..] = ranges
        && first.end <= start
    {
        *ranges = rest;
    }
    ranges.first().is_some_and(|first| first.start <= start)
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
            None => Err(other_columns(bytes, start, ends, schemas)),
        },
        Layout::Standard(Some(schema)) if schema.columns().len() == ends.len() => {
            Ok(Line::new(bytes, start, ends, schema))
        }
        Layout::Standard(Some(schema)) => Err(other_columns_than(schema, bytes, start, ends)),
        Layout::Standard(None) => Err(Reason::NoHeader),
        Layout::Json => view_json(bytes, start, ends, json),
    }
}

/// Out of line, so that the other layouts stay short.
#[inline(never)]
fn view_json<'a>(bytes: &[u8], start: u32, ends: &[u32], json: &'a mut JsonLineReader) -> Result<Line<'a>, Reason> {
    let end = *ends.last().expect("a line has a newline");
    json.read(&bytes[start as usize..end as usize]).map_err(Reason::Json)
}

/// Why a real-time line with those columns is not accepted.
#[cold]
fn other_columns(bytes: &[u8], start: u32, ends: &[u32], schemas: &Schemas) -> Reason {
    if let Some(reason) = without_tab(bytes, start, ends) {
        return reason;
    }
    let column = |from: u32, to: u32| &bytes[from as usize..to as usize];
    if has_shape(column(start, ends[0]), DATE) && has_shape(column(ends[0] + 1, ends[1]), TIME) {
        return Reason::Headerless(ends.len());
    }
    let counts: Vec<String> = schemas.iter().map(|schema| schema.columns().len().to_string()).collect();
    let nearest = Some(Schema::nearest_preset(ends.len()));
    Reason::ColumnCount { found: ends.len(), accepted: counts.join(", "), nearest }
}

/// Why a standard log's line has other columns than its header names.
#[cold]
fn other_columns_than(schema: &Schema, bytes: &[u8], start: u32, ends: &[u32]) -> Reason {
    let accepted = schema.columns().len().to_string();
    let wrong = Reason::ColumnCount { found: ends.len(), accepted, nearest: None };
    without_tab(bytes, start, ends).unwrap_or(wrong)
}

fn without_tab(bytes: &[u8], start: u32, ends: &[u32]) -> Option<Reason> {
    let &[end] = ends else { return None };
    let spaces = memchr::memchr_iter(b' ', &bytes[start as usize..end as usize]);
    Some(Reason::NoTab { has_spaces: spaces.take(3).count() == 3 })
}

const DATE: &[u8] = b"0000-00-00";
const TIME: &[u8] = b"00:00:00";

/// Why a time in the line cannot be read; `None` if each is absent or as CloudFront writes it.
#[inline]
fn unreadable_time(line: &Line<'_>) -> Option<Reason> {
    type IsReadable = fn(&[u8]) -> bool;
    const TIMES: [(Field, IsReadable); 4] = [
        (Field::Timestamp, is_decimal),
        (Field::TimestampMs, is_digits),
        (Field::Date, |text| has_shape(text, DATE)),
        (Field::Time, |text| has_shape(text, TIME)),
    ];
    for (field, is_readable) in TIMES {
        if let Some(text) = line.get(field)
            && !is_readable(text)
        {
            let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
            return Some(Reason::Timestamp { field: field.name(), text });
        }
    }
    None
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
