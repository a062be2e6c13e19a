use crate::field::{Field, Kind};
use crate::line::Line;
use crate::percent::SLACK;
use crate::query::{Span, Spans, decode_logged};
use crate::scan::masks::{count_json_specials, json_specials};
use crate::schema::{Column, Schema};
use crate::select::{Place, Selection, Selector};

/// Writes the lines of one schema as JSON objects, one to a line.
///
/// - Keys are CloudFront's names in snake case (`cs_uri_query`), in the order of the columns; absent values are left
///   out.
/// - A number is a JSON number without leading zeros (`000` is 0) when its field is one and it is plain: digits with
///   an optional fraction and an optional `-`, at most 18 digits. Anything else is a string: no digit is lost.
/// - Text stays as the log has it, percent-encoded. The query's parameters stand once more at the end, decoded:
///   `"query":{"e":"pp"}`. A repeated name stands once, with its last value, since readers reject or mangle keys
///   that repeat; a parameter without `=` has the value `""`.
/// - With a selection there are only its keys, in its order: `viewer_host`; `query.NAME` is inside `query`.
/// - The output is always UTF-8: what is not is replaced by U+FFFD, sequence by sequence.
#[derive(Clone, Debug)]
pub struct JsonEncoder {
    columns: Box<[Item]>,
    query: QueryKeys,
    /// The column of `cs-uri-query`.
    query_column: Option<usize>,
    /// How many bytes the keys and what is around the values take at most.
    frame: usize,
    /// The line is written here first: it has been initialised, so that 32 bytes can be copied where 5 are meant.
    scratch: Vec<u8>,
    duplicates: Duplicates,
}

#[derive(Clone, Debug)]
struct Item {
    key: Key,
    is_number: bool,
    place: Place,
}

/// Which parameters are written.
#[derive(Clone, Debug)]
enum QueryKeys {
    All,
    /// These names, with their keys.
    Named(Box<[(Box<[u8]>, Key)]>),
}

/// `,"name":`, with room behind it so that it is copied in one go.
#[derive(Clone, Debug)]
struct Key {
    padded: Box<[u8; Key::ROOM]>,
    length: usize,
    /// The whole of it, when it is longer than the room.
    long: Option<Box<[u8]>>,
}

impl Key {
    const ROOM: usize = 48;

    fn new(name: &str) -> Key {
        let mut text = vec![0; 6 * name.len() + 4 + Copier::SLACK];
        let mut out = Copier { bytes: &mut text, at: 0 };
        out.byte(b',');
        out.byte(b'"');
        out.escaped(name.as_bytes());
        out.byte(b'"');
        out.byte(b':');
        let length = out.at;
        text.truncate(length);
        let mut padded = Box::new([0; Key::ROOM]);
        let long = if length <= Key::ROOM {
            padded[..length].copy_from_slice(&text);
            None
        } else {
            Some(text.into())
        };
        Key { padded, length, long }
    }
}

/// Above this, the room for a line is given back after it.
const MAX_KEPT_SCRATCH: usize = 1 << 20;

impl JsonEncoder {
    /// An encoder for lines of `schema`, of all columns or of what is selected.
    pub fn new(schema: &Schema, selection: Option<&Selection>) -> JsonEncoder {
        let selectors: Vec<Selector> = match selection {
            Some(selection) => selection.selectors().to_vec(),
            None => schema
                .columns()
                .iter()
                .map(|column| match column {
                    Column::Known(field) => Selector::Field(*field),
                    Column::Unknown(name) => Selector::Unknown(name.clone()),
                })
                .collect(),
        };
        // Unknown columns may be called anything, `query` too.
        let mut taken = vec!["query".to_owned()];
        let mut columns = Vec::new();
        let mut named = Vec::new();
        for selector in &selectors {
            if let Selector::Query(name) = selector {
                named.push((name.as_bytes().into(), Key::new(name)));
            } else if let Some(place) = selector.place(schema) {
                let kind = if let Selector::Field(field) = selector { field.kind() } else { Kind::Text };
                let key = Key::new(&unique(selector.json_name(), &mut taken));
                columns.push(Item { key, is_number: kind != Kind::Text, place });
            }
        }
        let keys = columns.iter().map(|item| &item.key).chain(named.iter().map(|(_, key)| key));
        let frame = keys.map(|key| key.length + 2).sum::<usize>() + 64;
        JsonEncoder {
            columns: columns.into(),
            query: if selection.is_some() { QueryKeys::Named(named.into()) } else { QueryKeys::All },
            query_column: schema.position(Field::CsUriQuery),
            frame,
            scratch: Vec::new(),
            duplicates: Duplicates::default(),
        }
    }

    /// Appends the line's object and a newline to `out`.
    #[inline]
    pub fn encode(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        let raw = line.raw();
        // Tabs between the columns are the only bytes of a usual line that a JSON string could not hold.
        let is_clean = count_json_specials(raw) + 1 == line.ends().len();
        // A value is written up to twice (`cs-host`, `viewer-host`). A byte can become six (`\u0000`), in a clean
        // line an escape of three can. A parameter has six bytes around it, and there is at most one for each byte
        // of the query.
        let room = self.frame + Copier::SLACK + raw.len() * if is_clean { 10 } else { 30 };
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let mut writer = LineWriter {
            out: Copier { bytes: &mut self.scratch, at: 0 },
            source: line.block(),
            start: line.start(),
            last_end: line.start() + raw.len(),
            ends: line.ends(),
        };
        if is_clean {
            writer.columns::<true>(&self.columns);
        } else {
            writer.columns::<false>(&self.columns);
        }
        if let Some(column) = self.query_column {
            let (start, end) = writer.bounds(column);
            if &writer.source[start..end] != b"-" {
                match &self.query {
                    QueryKeys::All => writer.all_parameters(start, end, is_clean, &mut self.duplicates),
                    QueryKeys::Named(names) if names.is_empty() => {}
                    QueryKeys::Named(names) => writer.named_parameters(start, end, is_clean, names),
                }
            }
        }
        // Every key comes with the comma before it.
        if writer.out.at == 0 {
            writer.out.byte(b'{');
        }
        writer.out.bytes[0] = b'{';
        writer.out.byte(b'}');
        writer.out.byte(b'\n');
        let length = writer.out.at;
        out.extend_from_slice(&self.scratch[..length]);
        if self.scratch.len() > MAX_KEPT_SCRATCH {
            self.scratch = Vec::new();
        }
    }
}

/// The name, or the name with a number behind it when it is taken.
fn unique(name: String, taken: &mut Vec<String>) -> String {
    let mut unique = name.clone();
    let mut number = 2;
    while taken.contains(&unique) {
        unique = format!("{name}_{number}");
        number += 1;
    }
    taken.push(unique.clone());
    unique
}

/// Writes to the front of a buffer that is large enough for everything, with [`Copier::SLACK`] bytes to spare:
/// short copies write 32 or 48 bytes, of which the next write takes back what was too much.
struct Copier<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Copier<'_> {
    const SLACK: usize = 64;

    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    /// Writes a whole block, of which `length` bytes count.
    #[inline(always)]
    fn block<const N: usize>(&mut self, block: &[u8; N], length: usize) {
        self.bytes[self.at..self.at + N].copy_from_slice(block);
        self.at += length;
    }

    /// Writes `source[start..end]`; reads on behind `end` when that is quicker.
    #[inline(always)]
    fn copy(&mut self, source: &[u8], start: usize, end: usize) {
        let length = end - start;
        if length <= 32
            && let Some(block) = source.get(start..start + 32)
        {
            self.block::<32>(block.try_into().expect("the range is 32 long"), length);
        } else {
            self.slice(&source[start..end]);
        }
    }

    #[inline(always)]
    fn slice(&mut self, text: &[u8]) {
        self.bytes[self.at..self.at + text.len()].copy_from_slice(text);
        self.at += text.len();
    }

    #[inline(always)]
    fn key(&mut self, key: &Key) {
        match &key.long {
            None => self.block::<{ Key::ROOM }>(&key.padded, key.length),
            Some(text) => self.slice(text),
        }
    }

    /// Writes text as the inside of a JSON string.
    fn escaped(&mut self, text: &[u8]) {
        if text.is_ascii() {
            return self.escaped_utf8(text);
        }
        for chunk in text.utf8_chunks() {
            self.escaped_utf8(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.slice("\u{fffd}".as_bytes());
            }
        }
    }

    fn escaped_utf8(&mut self, text: &[u8]) {
        let (blocks, rest) = text.as_chunks::<16>();
        for block in blocks {
            if json_specials(block) == 0 {
                self.block(block, 16);
            } else {
                block.iter().for_each(|&byte| self.escaped_byte(byte));
            }
        }
        rest.iter().for_each(|&byte| self.escaped_byte(byte));
    }

    #[inline]
    fn escaped_byte(&mut self, byte: u8) {
        match byte {
            b'"' => self.slice(b"\\\""),
            b'\\' => self.slice(b"\\\\"),
            b'\n' => self.slice(b"\\n"),
            b'\r' => self.slice(b"\\r"),
            b'\t' => self.slice(b"\\t"),
            0..0x20 => {
                self.slice(b"\\u00");
                self.byte(HEX[usize::from(byte >> 4)]);
                self.byte(HEX[usize::from(byte & 15)]);
            }
            _ => self.byte(byte),
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// One line on its way.
struct LineWriter<'a, 'b> {
    out: Copier<'b>,
    /// The line and what is behind it.
    source: &'a [u8],
    start: usize,
    /// Where the last column ends, without a carriage return.
    last_end: usize,
    ends: &'a [u32],
}

impl LineWriter<'_, '_> {
    /// Where a column begins and ends.
    #[inline(always)]
    fn bounds(&self, column: usize) -> (usize, usize) {
        let start = if column == 0 { self.start } else { self.ends[column - 1] as usize + 1 };
        (start, (self.ends[column] as usize).min(self.last_end))
    }

    #[inline(always)]
    fn columns<const CLEAN: bool>(&mut self, items: &[Item]) {
        for item in items {
            let (start, end) = match item.place {
                Place::Column(column) => self.bounds(column),
                Place::Path(column) => {
                    let (start, end) = self.bounds(column);
                    (start, memchr::memchr(b'?', &self.source[start..end]).map_or(end, |at| start + at))
                }
            };
            if end - start == 1 && self.source[start] == b'-' {
                continue;
            }
            self.out.key(&item.key);
            if item.is_number && self.number(start, end) {
                continue;
            }
            self.out.byte(b'"');
            if CLEAN {
                self.out.copy(self.source, start, end);
            } else {
                self.out.escaped(&self.source[start..end]);
            }
            self.out.byte(b'"');
        }
    }

    /// Writes a plain number; `false` and nothing written when it is none.
    #[inline(always)]
    fn number(&mut self, start: usize, end: usize) -> bool {
        let length = end - start;
        if (1..=16).contains(&length)
            && let Some(block) = self.source.get(start..start + 16)
        {
            let block: &[u8; 16] = block.try_into().expect("the range is 16 long");
            if is_usual_number(block, length) {
                self.out.block(block, length);
                return true;
            }
        }
        self.unusual_number(start, end)
    }

    #[inline(never)]
    fn unusual_number(&mut self, start: usize, end: usize) -> bool {
        let Some((sign, digits)) = plain_number(&self.source[start..end]) else { return false };
        self.out.slice(sign);
        self.out.slice(digits);
        true
    }

    /// `,"query":{...}` with every parameter.
    #[inline(always)]
    fn all_parameters(&mut self, start: usize, end: usize, is_clean: bool, duplicates: &mut Duplicates) {
        self.out.slice(QUERY);
        let first = self.out.at;
        if !(is_clean && self.distinct_parameters(start, end)) {
            self.out.at = first;
            self.any_parameters(start, end, is_clean, duplicates);
        }
        if self.out.at > first {
            self.out.at -= 1;
        }
        self.out.byte(b'}');
    }

    /// The parameters of a clean line while their names need no decoding and none repeats; else `false`.
    #[inline(always)]
    fn distinct_parameters(&mut self, start: usize, end: usize) -> bool {
        let mut names = NameSet::default();
        let mut spans = Spans::new(self.source, start, end);
        while let Some(span) = spans.next(self.source) {
            if span.name_is_escaped || !names.insert(self.source, start, end, &span) {
                return false;
            }
            self.out.byte(b'"');
            self.out.copy(self.source, span.start, span.name_end);
            self.out.block(b"\":\"\0", 3);
            self.parameter_text::<true>(span.value_start(), span.end, span.value_is_escaped);
            self.out.block(b"\",", 2);
        }
        true
    }

    /// The parameters of any line.
    #[inline(never)]
    fn any_parameters(&mut self, start: usize, end: usize, is_clean: bool, duplicates: &mut Duplicates) {
        duplicates.collect(self.source, start, end);
        for entry in &duplicates.entries {
            if entry.is_repeated {
                continue;
            }
            self.out.byte(b'"');
            self.out.slice(&duplicates.names[entry.name_start..entry.name_end]);
            self.out.block(b"\":\"\0", 3);
            self.value(&entry.span, is_clean);
            self.out.block(b"\",", 2);
        }
    }

    /// `,"query":{...}` with the last parameters of these names, in this order; nothing when there are none.
    #[inline(never)]
    fn named_parameters(&mut self, start: usize, end: usize, is_clean: bool, names: &[(Box<[u8]>, Key)]) {
        let before = self.out.at;
        self.out.slice(QUERY);
        let first = self.out.at;
        for (name, key) in names {
            let mut spans = Spans::new(self.source, start, end);
            let mut last = None;
            while let Some(span) = spans.next(self.source) {
                let text = &self.source[span.start..span.name_end];
                let is_it = if span.name_is_escaped { decodes_to(text, name) } else { text == &**name };
                last = if is_it { Some(span) } else { last };
            }
            if let Some(span) = last {
                self.out.key(key);
                self.out.byte(b'"');
                self.value(&span, is_clean);
                self.out.byte(b'"');
            }
        }
        if self.out.at == first {
            self.out.at = before;
            return;
        }
        // The first key's comma.
        self.out.bytes.copy_within(first + 1..self.out.at, first);
        self.out.at -= 1;
        self.out.byte(b'}');
    }

    #[inline]
    fn value(&mut self, span: &Span, is_clean: bool) {
        if is_clean {
            self.parameter_text::<true>(span.value_start(), span.end, span.value_is_escaped);
        } else {
            self.parameter_text::<false>(span.value_start(), span.end, span.value_is_escaped);
        }
    }

    /// A decoded value, as the inside of a JSON string.
    #[inline(always)]
    fn parameter_text<const CLEAN: bool>(&mut self, start: usize, end: usize, is_escaped: bool) {
        if !is_escaped {
            if CLEAN {
                self.out.copy(self.source, start, end);
            } else {
                self.out.escaped(&self.source[start..end]);
            }
            return;
        }
        let at = self.out.at;
        let decoded = decode_logged(self.source, start, end, &mut self.out.bytes[at..]);
        // What needs care can only have come out of an escape when the line is clean.
        let is_fine = CLEAN
            && !decoded.needs_json_escape
            && (!decoded.is_high || std::str::from_utf8(&self.out.bytes[at..at + decoded.length]).is_ok());
        if is_fine {
            self.out.at += decoded.length;
        } else {
            self.escape_written(decoded.length);
        }
    }

    #[cold]
    fn escape_written(&mut self, length: usize) {
        let text = self.out.bytes[self.out.at..self.out.at + length].to_vec();
        self.out.escaped(&text);
    }
}

const QUERY: &[u8; 10] = b",\"query\":{";

/// Whether a name that has escapes decodes to `name`.
fn decodes_to(text: &[u8], name: &[u8]) -> bool {
    let mut decoded = vec![0; text.len() + SLACK];
    let length = decode_logged(text, 0, text.len(), &mut decoded).length;
    decoded[..length] == *name
}

/// Whether the first `length` (1 to 16) bytes are digits with at most one dot between them, without a leading
/// zero that JSON forbids: what nearly all numbers are. All bytes at once.
#[inline(always)]
fn is_usual_number(block: &[u8; 16], length: usize) -> bool {
    const BYTES: u128 = u128::MAX / 255;
    const HIGH: u128 = BYTES * 0x80;
    // A digit becomes 0 to 9; of what is above, the sum or the byte itself has the highest bit.
    let digits = u128::from_le_bytes(*block) ^ (BYTES * 0x30);
    let others = (((digits & !HIGH) + BYTES * 0x76) | digits) & HIGH & (u128::MAX >> (128 - 8 * length));
    if block[0] == b'0' && length > 1 && block[1] != b'.' {
        return false;
    }
    if others == 0 {
        return true;
    }
    let at = (others.trailing_zeros() / 8) as usize;
    others & (others - 1) == 0 && block[at] == b'.' && at > 0 && at + 1 < length
}

/// The sign, and the digits with their fraction and without leading zeros, of `-?digits(.digits)?` with at most 18
/// digits.
fn plain_number(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sign, digits) = text.split_at(usize::from(text.first() == Some(&b'-')));
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let count = whole.len() + fraction.map_or(0, <[u8]>::len);
    if count > 18 || !is_number(whole) || !fraction.is_none_or(is_number) {
        return None;
    }
    let zeros = whole.iter().take_while(|&&byte| byte == b'0').count().min(whole.len() - 1);
    Some((sign, &digits[zeros..]))
}

/// Tells whether a name was there before, without keeping any: bits of a hash first, and the query itself when
/// the bit is set already.
#[derive(Default)]
struct NameSet {
    bits: [u64; 16],
    doubts: u32,
}

impl NameSet {
    /// More doubts than this are too many to look each of them up.
    const MAX_DOUBTS: u32 = 8;

    /// `false` when the query, which is at `start..end`, has the name before the span, or when that would take
    /// too long to find out.
    #[inline(always)]
    fn insert(&mut self, source: &[u8], start: usize, end: usize, span: &Span) -> bool {
        let hash = name_hash(source, span.start, span.name_end);
        let (word, bit) = ((hash >> 60) as usize, 1 << (hash >> 54 & 63));
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new || self.is_absent_before(source, start, end, span)
    }

    #[cold]
    #[inline(never)]
    fn is_absent_before(&mut self, source: &[u8], start: usize, end: usize, span: &Span) -> bool {
        self.doubts += 1;
        if self.doubts > NameSet::MAX_DOUBTS {
            return false;
        }
        let name = &source[span.start..span.name_end];
        let mut spans = Spans::new(source, start, end);
        while let Some(other) = spans.next(source) {
            if other.start == span.start {
                return true;
            }
            if source[other.start..other.name_end] == *name {
                return false;
            }
        }
        true
    }
}

/// A hash of the length and of the first and last 8 bytes.
#[inline(always)]
fn name_hash(source: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    let word = |at: usize| {
        let block = source.get(at..at + 8).and_then(<[u8]>::first_chunk::<8>);
        block.map(|block| u64::from_le_bytes(*block))
    };
    let (first, last) = match (length, word(start)) {
        (0, _) => (0, 0),
        (1..8, Some(first)) => (first & (u64::MAX >> (64 - 8 * length)), 0),
        (_, Some(first)) => (first, word(end - 8).unwrap_or_default()),
        (_, None) => {
            let mut block = [0; 8];
            block[..length].copy_from_slice(&source[start..end]);
            (u64::from_le_bytes(block), 0)
        }
    };
    let mixed = (first ^ (length as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ last;
    mixed.wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// The parameters of one query with their names as JSON has them, and which of them are repeated later. Two names
/// that differ in the log can be one key: escaped differently, or not UTF-8.
#[derive(Clone, Debug, Default)]
struct Duplicates {
    names: Vec<u8>,
    entries: Vec<Entry>,
    order: Vec<usize>,
    decoded: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Entry {
    span: Span,
    name_start: usize,
    name_end: usize,
    is_repeated: bool,
}

impl Duplicates {
    fn collect(&mut self, source: &[u8], start: usize, end: usize) {
        self.entries.clear();
        self.order.clear();
        self.decoded.resize(end - start + SLACK, 0);
        self.names.resize(6 * (end - start) + Copier::SLACK, 0);
        let mut names = Copier { bytes: &mut self.names, at: 0 };
        let mut spans = Spans::new(source, start, end);
        while let Some(span) = spans.next(source) {
            let name_start = names.at;
            if span.name_is_escaped {
                let length = decode_logged(source, span.start, span.name_end, &mut self.decoded).length;
                names.escaped(&self.decoded[..length]);
            } else {
                names.escaped(&source[span.start..span.name_end]);
            }
            self.order.push(self.entries.len());
            self.entries.push(Entry { span, name_start, name_end: names.at, is_repeated: false });
        }
        let name = |index: usize| &self.names[self.entries[index].name_start..self.entries[index].name_end];
        self.order.sort_unstable_by(|&left, &right| name(left).cmp(name(right)).then(left.cmp(&right)));
        for pair in 1..self.order.len() {
            let (before, after) = (self.order[pair - 1], self.order[pair]);
            let name = |index: usize| &self.names[self.entries[index].name_start..self.entries[index].name_end];
            if name(before) == name(after) {
                self.entries[before].is_repeated = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::encode::tests::with_values;
    use crate::query::Query;
    use crate::schema::LogKind;

    fn schema(names: &str) -> Schema {
        Schema::parse(LogKind::RealTime, names).unwrap()
    }

    fn json(names: &str, selection: Option<&str>, values: &[&[u8]]) -> String {
        let schema = schema(names);
        let selection = selection.map(|list| list.parse().unwrap());
        let mut encoder = JsonEncoder::new(&schema, selection.as_ref());
        let mut out = b"kept".to_vec();
        with_values(&schema, values, |line| encoder.encode(&line, &mut out));
        let text = String::from_utf8(out).unwrap();
        text.strip_prefix("kept").unwrap().strip_suffix('\n').unwrap().to_owned()
    }

    fn query(text: &str) -> String {
        let json = json("cs-uri-query", None, &[text.as_bytes()]);
        let at = json.find(",\"query\":").unwrap();
        json[at + 9..json.len() - 1].to_owned()
    }

    fn number(text: &str) -> String {
        let json = json("asn", None, &[text.as_bytes()]);
        json.strip_prefix("{\"asn\":").unwrap().strip_suffix('}').unwrap().to_owned()
    }

    #[test]
    fn absent_values_are_left_out_and_empty_ones_are_not() {
        assert_eq!(json("c-ip asn cs-host cs-uri-query", None, &[b"-", b"-", b"", b"-"]), "{\"cs_host\":\"\"}");
        assert_eq!(json("c-ip asn", None, &[b"-", b"-"]), "{}");
        assert_eq!(json("asn", None, &[b""]), "{\"asn\":\"\"}");
    }

    #[test]
    fn a_carriage_return_before_the_newline_is_no_part_of_the_value() {
        assert_eq!(json("c-ip asn", None, &[b"a", b"7\r"]), "{\"c_ip\":\"a\",\"asn\":7}");
        assert_eq!(json("c-ip cs-uri-query", None, &[b"-", b"-\r"]), "{}");
    }

    #[test]
    fn plain_numbers_are_json_numbers() {
        for (text, expected) in [
            ("0", "0"),
            ("7", "7"),
            ("200", "200"),
            ("000", "0"),
            ("007", "7"),
            ("0.042", "0.042"),
            ("00.50", "0.50"),
            ("1607374321.541", "1607374321.541"),
            ("-5", "-5"),
            ("-00.5", "-0.5"),
            ("123456789012345678", "123456789012345678"),
            ("12345678.1234567890", "12345678.1234567890"),
        ] {
            assert_eq!(number(text), expected);
        }
    }

    #[test]
    fn other_numbers_are_strings() {
        for text in [
            "1234567890123456789",
            "1.",
            ".5",
            "1.2.3",
            "1e5",
            "+1",
            "--1",
            " 1",
            "1,5",
            "0x1",
            "1234567890a",
            "/",
            ":",
        ] {
            assert_eq!(number(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn text_stays_encoded_and_the_query_is_decoded_behind_it() {
        let values: [&[u8]; 3] = [b"e=pp&url=http%253A%252F%252Fa&flag&empty=&=x&t=a+b", b"Mozilla/5.0%20(X)", b"1"];
        assert_eq!(
            json("cs-uri-query cs-user-agent asn", None, &values),
            "{\"cs_uri_query\":\"e=pp&url=http%253A%252F%252Fa&flag&empty=&=x&t=a+b\",\
             \"cs_user_agent\":\"Mozilla/5.0%20(X)\",\"asn\":1,\
             \"query\":{\"e\":\"pp\",\"url\":\"http://a\",\"flag\":\"\",\"empty\":\"\",\"\":\"x\",\"t\":\"a b\"}}"
        );
        assert_eq!(query("&&"), "{}");
        assert_eq!(query(""), "{}");
    }

    #[test]
    fn the_last_of_a_repeated_name_stands_once() {
        assert_eq!(query("a=1&b=2&a=3"), "{\"b\":\"2\",\"a\":\"3\"}");
        assert_eq!(query("a=1&%61=2&%2561=3"), "{\"a\":\"3\"}");
        assert_eq!(query("%25FF=1&%25FE=2"), "{\"\u{fffd}\":\"2\"}");
        let many: Vec<String> = (0..300).map(|index| format!("name{}={index}", index % 100)).collect();
        let expected: Vec<String> = (200..300).map(|index| format!("\"name{}\":\"{index}\"", index % 100)).collect();
        assert_eq!(query(&many.join("&")), format!("{{{}}}", expected.join(",")));
    }

    #[test]
    fn decoded_values_are_escaped() {
        assert_eq!(query("a=%2522%255C%250A%2500"), r#"{"a":"\"\\\n\u0000"}"#);
        assert_eq!(
            query("a=caf%25C3%25A9&b=%25FF.&c=%25C3"),
            "{\"a\":\"café\",\"b\":\"\u{fffd}.\",\"c\":\"\u{fffd}\"}"
        );
        assert_eq!(query("a%2522=1"), r#"{"a\"":"1"}"#);
    }

    #[test]
    fn raw_bytes_that_json_cannot_hold_are_escaped() {
        let values: [&[u8]; 3] = [b"a\"b\\c\td\ne", b"x\x00\x1f\x7f\xc3\xa9\xff", b"k\t=\xff&\"="];
        assert_eq!(
            json("c-ip cs-host cs-uri-query", None, &values),
            "{\"c_ip\":\"a\\\"b\\\\c\\td\\ne\",\"cs_host\":\"x\\u0000\\u001f\u{7f}é\u{fffd}\",\
             \"cs_uri_query\":\"k\\t=\u{fffd}&\\\"=\",\"query\":{\"k\\t\":\"\u{fffd}\",\"\\\"\":\"\"}}"
        );
    }

    #[test]
    fn a_selection_has_its_keys_alone() {
        let names = "cs-host cs-uri-stem sc-status cs-uri-query";
        let values: [&[u8]; 4] = [b"h", b"/i?a=1", b"200", b"a=1&b=%2541&a=%2522&flag"];
        let selected = |list| json(names, Some(list), &values);
        assert_eq!(
            selected("sc-status viewer-host uri-path"),
            r#"{"sc_status":200,"viewer_host":"h","uri_path":"/i"}"#
        );
        assert_eq!(selected("query.b sc-status asn query.a"), r#"{"sc_status":200,"query":{"b":"A","a":"\""}}"#);
        assert_eq!(selected("query.flag query.none"), r#"{"query":{"flag":""}}"#);
        assert_eq!(selected("query.none"), "{}");
        assert_eq!(selected("cs-uri-query"), r#"{"cs_uri_query":"a=1&b=%2541&a=%2522&flag"}"#);
        assert_eq!(json(names, Some("query.a"), &[b"-", b"-", b"-", b"-"]), "{}");
    }

    #[test]
    fn keys_of_unknown_columns_are_valid_and_distinct() {
        let long = "x".repeat(60);
        let names = format!("+query +a-b +a_b +q\"x +{long}");
        assert_eq!(
            json(&names, None, &[b"1", b"2", b"3", b"4", b"5"]),
            format!(r#"{{"query_2":"1","a_b":"2","a_b_2":"3","q\"x":"4","{long}":"5"}}"#)
        );
    }

    #[test]
    fn values_of_every_length_are_whole_at_the_end_of_the_block() {
        for length in 2..200 {
            let (text, digits) = ("v".repeat(length), "1".repeat(length.min(18)));
            let line = json("c-ip asn", None, &[text.as_bytes(), digits.as_bytes()]);
            assert_eq!(line, format!("{{\"c_ip\":\"{text}\",\"asn\":{digits}}}"));
            assert_eq!(json("asn c-ip", None, &[digits.as_bytes(), text.as_bytes()]).len(), line.len());
            assert_eq!(query(&format!("{text}={text}")), format!("{{\"{text}\":\"{text}\"}}"));
        }
    }

    fn lossy(text: &[u8]) -> Value {
        Value::String(String::from_utf8_lossy(text).into_owned())
    }

    fn expected_query(text: &[u8]) -> Value {
        let pairs = Query::new(text).map(|parameter| {
            let value = parameter.value_decoded().unwrap_or_default();
            (String::from_utf8_lossy(&parameter.name_decoded()).into_owned(), lossy(&value))
        });
        Value::Object(pairs.collect())
    }

    /// How often each key of an object stands in it: `serde_json` alone would hide repeated ones.
    fn check(values: [&[u8]; 4]) {
        let text = json("c-ip cs-host asn cs-uri-query", None, &values);
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let trimmed = values[3].strip_suffix(b"\r").unwrap_or(values[3]);
        let keys = ["c_ip", "cs_host", "asn", "cs_uri_query"];
        for (key, value) in keys.into_iter().zip([values[0], values[1], values[2], trimmed]) {
            match parsed.get(key) {
                None => assert_eq!(value, b"-"),
                Some(Value::Number(_)) => assert_eq!(key, "asn"),
                Some(given) => assert_eq!(*given, lossy(value)),
            }
        }
        if trimmed == b"-" {
            assert_eq!(parsed.get("query"), None);
            return;
        }
        let expected = expected_query(trimmed);
        assert_eq!(parsed["query"], expected);
        // Parsing hides repeated keys; the length does not, as both are written without spaces.
        let at = text.rfind(",\"query\":").unwrap();
        if !trimmed.contains(&b'"') && !text.contains("\\") {
            assert_eq!(text[at + 9..text.len() - 1].len(), serde_json::to_string(&expected).unwrap().len());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_become_valid_json_with_the_same_values(
            values in proptest::array::uniform4(proptest::collection::vec(any::<u8>(), 0..80)),
        ) {
            check([&values[0], &values[1], &values[2], &values[3]]);
        }

        #[test]
        fn usual_values_too(
            text in "[ -~]{0,70}",
            number in "-?[0-9]{0,20}(\\.[0-9]{0,5})?",
            query in r#"([a-c]{1,2}=([a-z0-9+]{0,40}|%2522|%25C3%25A9|%25[0-9A-F]{2})&|%25[46][1-3]=x&|["\\]){0,30}"#
        ) {
            check([text.as_bytes(), b"-", number.as_bytes(), query.as_bytes()]);
        }

        #[test]
        fn numbers_all_at_once_are_the_numbers_byte_by_byte(text in "[0-9.]{1,16}|[0-9./:-]{1,16}") {
            let mut block = [b'9'; 16];
            block[..text.len()].copy_from_slice(text.as_bytes());
            let is_same = plain_number(text.as_bytes()).is_some_and(|(sign, digits)| [sign, digits].concat() == text.as_bytes());
            prop_assert_eq!(is_usual_number(&block, text.len()), is_same && !text.starts_with('-'));
        }
    }
}
