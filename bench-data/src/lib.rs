//! Generates realistic CloudFront logs of any size from a seed, for benchmarks and tests.
//!
//! The same options give the same bytes on every machine, and line `n` is the same whether or not
//! the lines before it were generated: a log can be made in pieces, or on many threads. Numbers are
//! distributed as in real traffic, a few hosts, pages and user agents in most of the lines, so that
//! compressors find what they find in real logs. Every line carries an id that is unique by
//! construction and reads back as its number ([`request_id`]).
//!
//! ```
//! use pixel_engine_bench_data::{Generator, Options};
//! let mut generator = Generator::new(Options::new("realtime-46".parse()?, 7));
//! let mut log = Vec::new();
//! generator.append_lines(&mut log, 3);
//! assert_eq!(log.split(|&byte| byte == b'\n').count(), 4);
//! # Ok::<(), pixel_engine_bench_data::ShapeError>(())
//! ```
//!
//! [`visits`] has logs whose lines belong together: visitors who come, look around and come back, with
//! the numbers that a report of the log must find. [`classes`] has data that is not realistic, for benchmarks of one property; [`samples`] names
//! the small logs that are checked in.

pub mod classes;
mod columns;
mod hit;
mod line;
mod query;
mod random;
pub mod request_id;
pub mod samples;
mod shape;
mod tables;
mod text;
pub mod visits;

use crate::columns::LineParts;
use crate::hit::Hit;
use crate::line::LineWriter;
use crate::query::{QueryStyle, push_query};
use crate::random::Draw;
pub use crate::shape::{STANDARD_FIELDS, STANDARD_V2_FIELDS, Shape, ShapeError};
use crate::tables::Tables;

/// Which log to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format and the columns.
    pub shape: Shape,
    /// Everything random follows from it.
    pub seed: u64,
    /// The number of the first line. A second log of the same seed that begins where the first one
    /// ended continues it, with ids of its own.
    pub first_line: u64,
    /// The time of line 0, in milliseconds since 1970.
    pub start_millis: u64,
    /// How far apart the lines are: so many in a second of the log's own time. At least 1.
    pub lines_per_second: u64,
    /// How many of 100 lines carry `cs-headers`, `cs-header-names` and `cs-headers-count`.
    ///
    /// CloudFront fills them in every line once they are configured, which makes lines of about
    /// 1,600 bytes in 46 columns (set 100 for that). The default keeps the mean near the size that
    /// AWS states, under 1 KB with all fields.
    pub headers_percent: u8,
}

impl Options {
    /// Lines of that shape from 2026-01-05 08:00 UTC on, 2,000 a second, 6 of 100 with headers.
    pub fn new(shape: Shape, seed: u64) -> Options {
        Options {
            shape,
            seed,
            first_line: 0,
            start_millis: 1_767_600_000_000,
            lines_per_second: 2000,
            headers_percent: 6,
        }
    }
}

/// Writes log lines, one after the other.
pub struct Generator {
    options: Options,
    style: QueryStyle,
    writer: LineWriter,
    tables: Tables,
    query: Vec<u8>,
    next_line: u64,
}

impl Generator {
    /// How far a timestamp lies past its line's even share of the second, at most: edges deliver
    /// out of order.
    const JITTER_MILLIS: u64 = 120;

    /// A generator whose next line is `options.first_line`.
    pub fn new(options: Options) -> Generator {
        Generator::with_style(options, QueryStyle::Realistic)
    }

    pub(crate) fn with_style(options: Options, style: QueryStyle) -> Generator {
        let writer = LineWriter::new(&options.shape);
        let next_line = options.first_line;
        Generator { options, style, writer, tables: Tables::new(), query: Vec::new(), next_line }
    }

    /// The number of the line that comes next.
    pub fn next_line(&self) -> u64 {
        self.next_line
    }

    /// Appends the two header lines of a legacy standard log; nothing for the other shapes, which
    /// have none.
    pub fn append_header(&self, out: &mut Vec<u8>) {
        self.writer.append_header(out);
    }

    /// Appends `count` lines, each with its newline.
    pub fn append_lines(&mut self, out: &mut Vec<u8>, count: u64) {
        for _ in 0..count {
            self.append_line(out);
        }
    }

    /// Appends whole lines until at least `bytes` more stand in `out`, and returns how many lines
    /// that took.
    pub fn append_bytes(&mut self, out: &mut Vec<u8>, bytes: usize) -> u64 {
        // The longest realistic line, so that the buffer grows at most once.
        out.reserve(bytes + 4096);
        let end = out.len() + bytes;
        let first = self.next_line;
        while out.len() < end {
            self.append_line(out);
        }
        self.next_line - first
    }

    /// Appends one line with its newline.
    pub fn append_line(&mut self, out: &mut Vec<u8>) {
        let Options { seed, start_millis, lines_per_second, headers_percent, .. } = self.options;
        let line = self.next_line;
        self.next_line += 1;
        let mut draw = Draw::new(seed, line);
        let rate = lines_per_second.max(1);
        // Line numbers far apart may mark several logs of one seed, so that even the greatest must
        // not overflow.
        let since_start = (line / rate).saturating_mul(1000).saturating_add(line % rate * 1000 / rate);
        let millis = start_millis.saturating_add(since_start).saturating_add(draw.below(Self::JITTER_MILLIS));
        let hit = Hit::draw(&self.tables, seed, millis, headers_percent, &mut draw);
        self.query.clear();
        if hit.endpoint.has_query {
            push_query(&mut self.query, self.style, &hit, &self.tables, &mut draw);
        }
        let request_id = request_id::encode(seed, line);
        let parts = LineParts { hit: &hit, query: &self.query, request_id: &request_id, answer: None };
        self.writer.append(out, &parts, &mut draw);
    }
}
