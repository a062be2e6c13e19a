//! The records of a batch as lines.

use base64_simd::STANDARD;
use pixel_engine_core::block::BLOCK_SIZE;
use pixel_engine_core::journal::{Body, Kind};
use pixel_engine_core::source::Format;
use pixel_engine_kpl::{Decoded, PlainReason, decode};

/// Bytes of lines at which a part is full. Memory of that size is used again by the next batch, where
/// one piece for a whole batch would be asked of the system each time, page by page.
const PART_SIZE: usize = BLOCK_SIZE - (64 << 10);
/// The most bytes that a compressed record may have as text.
const MAX_TEXT: usize = 64 << 20;

/// The lines of records in their order. A record has any number of lines, the last of which may lack
/// its newline; it may be an aggregate of the KPL, compressed, or JSON of any shape.
///
/// ```
/// use pixel_engine_consume::batch::{Batch, Part};
/// use pixel_engine_core::source::Format;
///
/// let mut batch = Batch::new(Format::Auto);
/// batch.add(b"1.5\t203.0.113.9\tcurl/8.0\te=a");
/// let first = batch.end();
/// batch.add(b"2.5\t203.0.113.9\tcurl/8.0\te=b\n");
/// assert!(first < batch.end());
/// let [Part::Lines(text)] = batch.parts() else { panic!("lines of one kind are one text") };
/// assert_eq!(text.lines, b"1.5\t203.0.113.9\tcurl/8.0\te=a\n2.5\t203.0.113.9\tcurl/8.0\te=b\n");
/// ```
#[derive(Debug)]
pub struct Batch {
    format: Format,
    parts: Vec<Part>,
}

/// Successive records of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The lines of any number of records that are all of one kind.
    Lines(Body),
    /// A record in which no lines can be found.
    Unreadable {
        /// As it came.
        data: Vec<u8>,
        /// What is wrong with it.
        why: String,
    },
}

impl Part {
    /// Bytes of it.
    #[expect(clippy::len_without_is_empty, reason = "an empty one is like any other")]
    pub fn len(&self) -> u64 {
        match self {
            Part::Lines(text) => text.lines.len() as u64,
            Part::Unreadable { data, .. } => data.len() as u64,
        }
    }
}

/// A place in a batch: the number of a part, from 0, and bytes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The part.
    pub part: usize,
    /// Bytes of it.
    pub offset: u64,
}

impl Batch {
    /// A batch without records, whose lines are of that format.
    pub fn new(format: Format) -> Batch {
        Batch { format, parts: Vec::new() }
    }

    /// Adds the lines of a record.
    pub fn add(&mut self, data: &[u8]) {
        match decode(data) {
            Decoded::Plain(PlainReason::NoMagic) => self.add_body(data),
            Decoded::Aggregate(aggregate) => {
                aggregate.records().for_each(|user_record| self.add_body(user_record.data));
            }
            // The KCL delivers the first as binary rubbish and the beginning of the second.
            Decoded::Plain(reason) => self.add_unreadable_aggregate(data, reason.to_string()),
            Decoded::Partial { error, .. } => self.add_unreadable_aggregate(data, error.to_string()),
        }
    }

    /// Adds the lines of a record whose data stand there as base64: they are decoded into their
    /// place.
    pub fn add_base64(&mut self, text: &str) {
        let format = self.format;
        let lines = self.lines(Kind::RealTime);
        let start = lines.len();
        if STANDARD.decode_append(text, lines).is_err() {
            lines.truncate(start);
            self.add_unreadable(text.as_bytes(), "not base64".to_owned());
            return;
        }
        if is_plain(format, &lines[start..]) {
            end_line(lines, start);
        } else {
            let data = lines.split_off(start);
            self.add(&data);
        }
    }

    /// Where the lines end that were added so far.
    pub fn end(&self) -> Place {
        let offset = self.parts.last().map_or(0, Part::len);
        Place { part: self.parts.len().saturating_sub(1), offset }
    }

    /// What there is so far.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    fn add_unreadable_aggregate(&mut self, data: &[u8], why: String) {
        self.add_unreadable(data, format!("a damaged aggregate: {why}"));
    }

    fn add_body(&mut self, data: &[u8]) {
        if is_plain(self.format, data) {
            let lines = self.lines(Kind::RealTime);
            let start = lines.len();
            lines.extend_from_slice(data);
            return end_line(lines, start);
        }
        let body = match Body::read(data.to_vec(), self.format, MAX_TEXT) {
            Ok(body) => body,
            Err(error) => return self.add_unreadable(data, error.to_string()),
        };
        match body.kind {
            Kind::RealTime | Kind::Json => self.lines(body.kind).extend_from_slice(&body.lines),
            // The header of a standard log is not one for other records.
            _ => self.parts.push(Part::Lines(body)),
        }
    }

    fn add_unreadable(&mut self, data: &[u8], why: String) {
        self.parts.push(Part::Unreadable { data: data.to_vec(), why });
    }

    /// The lines of the last part, if they are of that kind, or of a new one.
    fn lines(&mut self, kind: Kind) -> &mut Vec<u8> {
        let is_open = match self.parts.last_mut() {
            Some(Part::Lines(text)) if text.lines.is_empty() => {
                text.kind = kind;
                true
            }
            Some(Part::Lines(text)) => text.kind == kind && text.lines.len() < PART_SIZE,
            _ => false,
        };
        if !is_open {
            let is_first = self.parts.is_empty();
            let lines = if is_first { Vec::new() } else { Vec::with_capacity(BLOCK_SIZE) };
            self.parts.push(Part::Lines(Body { kind, lines }));
        }
        match self.parts.last_mut() {
            Some(Part::Lines(text)) => &mut text.lines,
            _ => unreachable!("it was looked at above"),
        }
    }
}

/// Whether these are lines of a real-time log, as they are: they begin with the time, and nothing
/// else that a record may be begins with a digit.
fn is_plain(format: Format, data: &[u8]) -> bool {
    matches!(format, Format::Auto | Format::RealTime) && matches!(data.first(), None | Some(b'0'..=b'9'))
}

/// Gives what was added from `start` on its last newline.
fn end_line(lines: &mut Vec<u8>, start: usize) {
    if lines.len() > start && lines.last() != Some(&b'\n') {
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use pixel_engine_core::compress::Codec;
    use pixel_engine_kpl::{PartitionKey, seal, write_aggregate};

    use super::*;

    fn aggregate(lines: &[&[u8]]) -> Vec<u8> {
        let mut record = Vec::new();
        write_aggregate(&mut record, &PartitionKey::of_hash_key(5), lines.iter().copied());
        seal(&mut [&mut record]);
        record
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        "gzip".parse::<Codec>().unwrap().compress([text].into_iter(), text.len()).unwrap()
    }

    fn texts(batch: &Batch) -> Vec<(Kind, &str)> {
        let texts = batch.parts().iter().filter_map(|part| match part {
            Part::Lines(text) => Some((text.kind, std::str::from_utf8(&text.lines).unwrap())),
            Part::Unreadable { .. } => None,
        });
        texts.collect()
    }

    #[test]
    fn records_become_lines_whatever_they_are_and_however_they_come() {
        for base64 in [false, true] {
            let mut batch = Batch::new(Format::Auto);
            let mut add = |data: &[u8]| {
                if base64 {
                    batch.add_base64(&STANDARD.encode_to_string(data))
                } else {
                    batch.add(data)
                }
                batch.end()
            };
            let ends = [
                add(b"1\ta"),
                add(b""),
                add(b"2\tb\n3\tc"),
                add(&aggregate(&[b"4\td", b"5\te\n"])),
                add(&gzip(b"6\tf")),
                add(b"{\"a\":\n1}[{\"b\":2}]"),
                add(b"7\tg"),
            ];
            assert!(ends.is_sorted());
            assert_eq!(ends[0], Place { part: 0, offset: 4 });
            assert_eq!(ends[0], ends[1], "an empty record has no lines");
            assert_eq!(
                texts(&batch),
                [
                    (Kind::RealTime, "1\ta\n2\tb\n3\tc\n4\td\n5\te\n6\tf\n"),
                    (Kind::Json, "{\"a\":1}\n{\"b\":2}\n"),
                    (Kind::RealTime, "7\tg\n"),
                ]
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_as_it_came() {
        let mut damaged = aggregate(&[b"1\ta\n", b"2\tb\n"]);
        damaged[10] ^= 1;
        let cut = &gzip(b"1\ta")[..15];
        let mut batch = Batch::new(Format::Auto);
        batch.add(b"0\t-");
        batch.add(&damaged);
        batch.add(cut);
        batch.add_base64("?");
        batch.add(b"[{\"a\":1}");
        batch.add(b"3\tc");
        let unreadable: Vec<(&[u8], &str)> = batch
            .parts()
            .iter()
            .filter_map(|part| match part {
                Part::Unreadable { data, why } => Some((data.as_slice(), why.as_str())),
                Part::Lines(_) => None,
            })
            .collect();
        let [(first, why_first), (second, why_second), (third, "not base64"), (fourth, why_fourth)] = unreadable[..]
        else {
            panic!("{unreadable:?}")
        };
        assert!(first == damaged && second == cut && third == b"?" && fourth == b"[{\"a\":1}");
        assert!(why_fourth.contains("is not closed"), "{why_fourth}");
        assert!(why_first.starts_with("a damaged aggregate: ") && why_second.contains("cannot be read"));
        assert_eq!(texts(&batch).last(), Some(&(Kind::RealTime, "3\tc\n")));
    }

    #[test]
    fn a_header_is_one_for_its_own_record() {
        let mut batch = Batch::new(Format::Auto);
        let log = "#Version: 1.0\n#Fields: date time\n2026-01-01\t00:00:00\n";
        batch.add(log.as_bytes());
        batch.add(b"1\ta");
        batch.add(log.as_bytes());
        assert_eq!(texts(&batch), [(Kind::Standard, log), (Kind::RealTime, "1\ta\n"), (Kind::Standard, log)]);
    }
}
