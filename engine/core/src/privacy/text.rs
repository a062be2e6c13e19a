//! Text that is stored before a run reads it.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use pixel_engine_log::line::Line;
use pixel_engine_log::query::QueryEncoding;
use pixel_engine_log::schema::{Column, Schema};
use pixel_engine_log::select::Matcher;

use super::{Treater, Treatment, TreatmentId};
use crate::ack::Acknowledgements;
use crate::block::{BLOCK_SIZE, Block, BufferPool, Cut, Layout, Origin};
use crate::check::{Checked, Checks, Scratch, Take, Taken, Unfit};
use crate::config::Config;
use crate::source::{BlockReader, Evidence, Format, JsonLines, fields_header, without_margin};

/// Treats text as the runs of a configuration treat lines, for a front door that stores what it
/// accepts: no personal data is on its disk. A source gives the stored text to the run through a
/// feed of lines that [are treated](crate::source::Feed::treated).
///
/// ```
/// use pixel_engine_core::config::Settings;
/// use pixel_engine_core::privacy::Privacy;
/// use pixel_engine_core::source::Format;
///
/// let settings = Settings { mask_ip: Some(true), drop: Some("query.u".to_owned()), ..Settings::default() };
/// let privacy = Privacy::of(&settings.validate()?).expect("something is treated");
/// let mut stored = Vec::new();
/// privacy.treat(Format::Auto, b"1.5\t203.0.113.9\tcurl/8.0\tu=ann&e=pv\nwho is 203.0.113.9?\n", &mut stored);
/// assert_eq!(stored, b"1.5\t203.0.113.0\tcurl/8.0\te=pv\nunreadable line\0\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Privacy {
    treatment: Arc<Treatment>,
    id: TreatmentId,
    checks: Checks,
    standard_schema: Option<Arc<Schema>>,
    query_encoding: Option<QueryEncoding>,
    buffers: BufferPool,
}

/// In place of a line that cannot be read. The run finds it bad whatever its schemas are, for the
/// NUL byte, or for an object without keys; and the first line still shows the format.
const UNREADABLE: &[u8] = b"unreadable line\0\n";
const UNREADABLE_JSON: &[u8] = b"{}\n";

impl Privacy {
    /// What the configuration says of personal data; `None` when it says nothing.
    pub fn of(config: &Config) -> Option<Privacy> {
        Some(Privacy {
            treatment: Arc::clone(config.treatment()?),
            id: config.treatment_id()?,
            checks: Checks {
                schemas: config.schemas().clone(),
                matcher: Matcher::default(),
                stop_at_bad_line: false,
                withhold: true,
            },
            standard_schema: config.standard_schema().cloned(),
            query_encoding: config.query_encoding().known(),
            buffers: BufferPool::new(config.threads().get()),
        })
    }

    /// Which treatment it is.
    pub fn id(&self) -> TreatmentId {
        self.id
    }

    /// Appends the lines of `text` to `out` as they are after their treatment, each with a newline.
    /// `text` is whole lines of a format that a run reads, decompressed, with the headers that they
    /// stand under; JSON in any shape becomes one object a line. There are as many lines as a run
    /// would count: one that cannot be read becomes a line without its content, which the run finds
    /// bad.
    pub fn treat(&self, format: Format, text: &[u8], out: &mut Vec<u8>) {
        // Once for all: what is taken out of damaged JSON may look like another format.
        let format = match format {
            Format::Auto => Format::of(text).unwrap_or_default(),
            given => given,
        };
        let (origin, schema) = (Arc::new(Origin::new(0, "")), self.standard_schema.clone());
        let (all, stop) = (Acknowledgements::default(), Arc::default());
        let (mut scratch, mut query_encoding) = (Scratch::default(), self.query_encoding);
        // A single hit, or a few: a reader would take a hundred times as long.
        if format == Format::RealTime && text.len() < BLOCK_SIZE && text.ends_with(b"\n") {
            let mut block = Block {
                bytes: text.to_vec(),
                origin,
                offset: 0,
                source_bytes: text.len() as u64,
                read_at: Instant::now(),
                layout: Layout::RealTime,
                query_encoding: QueryEncoding::default(),
                is_treated: false,
                cut: None,
                token: all.token(0, 0..text.len() as u64),
            };
            return self.treat_block(&mut block, &mut query_encoding, &mut scratch, out);
        }
        let input = Box::new(JsonLines::new(Cursor::new(text.to_vec()), format));
        let mut reader = BlockReader::new(input, origin, false, format, schema, self.buffers.clone(), all, stop);
        // An error is of JSON that is not closed; every line before was given out.
        while let Ok(Some(mut block)) = reader.next_block() {
            self.treat_block(&mut block, &mut query_encoding, &mut scratch, out);
            self.buffers.give(block.bytes);
        }
    }

    /// Treats a block; `query_encoding` is what the text is known to have, from then on.
    fn treat_block(
        &self,
        block: &mut Block,
        query_encoding: &mut Option<QueryEncoding>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) {
        *query_encoding = query_encoding.or_else(|| Evidence::of(&self.checks, block).majority());
        block.query_encoding = query_encoding.unwrap_or_default();
        let is_json = block.layout == Layout::Json;
        let unreadable = if is_json { UNREADABLE_JSON } else { UNREADABLE };
        if let Some(Cut::TooLong { last, .. }) = block.cut {
            out.extend_from_slice(if last { unreadable } else { b"" });
            return;
        }
        let treater = Treater::new(&self.treatment);
        let mut good = Good { bytes: &block.bytes, is_json, treater, text: Vec::new(), lines: Vec::new() };
        let Checked { bad_lines, .. } = self.checks.check(block, scratch, &mut good);
        let Good { text, lines, .. } = good;
        let (mut good, mut bad) = (lines.into_iter().peekable(), bad_lines.into_iter().peekable());
        let mut end = 0;
        for line in block.bytes.split_inclusive(|&byte| byte == b'\n') {
            end += line.len();
            if let Some((_, treated)) = good.next_if(|&(start, _)| (start as usize) < end) {
                out.extend_from_slice(&text[treated]);
            } else if bad.next_if(|bad| bad.offset < block.offset + end as u64).is_some() {
                out.extend_from_slice(unreadable);
            } else if is_sound_header(line) {
                out.extend_from_slice(line);
            } else {
                // What stands in another header is not known; an empty line has nothing in it.
                out.extend_from_slice(if let [b'#', ..] = without_margin(line) { b"#\n" } else { b"\n" });
            }
        }
    }
}

/// Whether the line is a `#Fields:` header that names fields and nothing else: one that was torn may
/// go on with values.
fn is_sound_header(line: &[u8]) -> bool {
    let is_name = |column: &Column| match column {
        Column::Known(_) => true,
        Column::Unknown(name) => {
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_()".contains(&byte))
        }
    };
    matches!(fields_header(line), Some(Ok(schema)) if schema.columns().iter().all(is_name))
}

/// The good lines of a block.
struct Good<'a> {
    bytes: &'a [u8],
    is_json: bool,
    treater: Treater<'a>,
    /// The lines as they were treated, each with a newline.
    text: Vec<u8>,
    /// Where each begins in the block, and where it is in `text`.
    lines: Vec<(u32, Range<usize>)>,
}

impl Take for Good<'_> {
    fn ship(&mut self, line: &Line<'_>, start: u32, end: u32) -> Result<Taken, Unfit> {
        let json = self.is_json.then(|| &self.bytes[start as usize..end as usize]);
        let treated = self.treater.treat(line, json).map_err(|reason| Unfit { reason, treated: None })?;
        let begin = self.text.len();
        self.text.extend_from_slice(treated.text);
        self.text.push(b'\n');
        self.lines.push((start, begin..self.text.len()));
        Ok(Taken::Kept)
    }

    fn leave_out(&mut self, _start: u32) {}
}
