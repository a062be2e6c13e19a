use crate::field::Field;
use crate::line::Line;
use crate::percent::SLACK;
use crate::query::{QueryEncoding, Span, Spans, decode};
use crate::scan::masks::{count_json_specials, json_specials};
use crate::schema::Schema;
use crate::select::{Place, Selection, Selector};
use crate::table::{ColumnType, type_of_value};

/// Writes the lines of one schema as JSON objects, one to a line.
///
/// - Keys are CloudFront's names in snake case (`cs_uri_query`), in the order of the columns;
///   absent values are left out.
/// - A number is a JSON number without leading zeros (`000` is 0) when its field is one and it is
///   plain: digits with an optional fraction and an optional `-`, at most 18 digits. Anything else
///   is a string: no digit is lost.
/// - Text stays as the log has it, percent-encoded. The query's parameters stand once more at the
///   end, decoded: `"query":{"e":"pp"}`. A repeated name stands once, with its last value, since
///   readers reject or mangle keys that repeat; a parameter without `=` has the value `""`.
/// - With a selection there are only its keys, in its order: `viewer_host`; `query.NAME` is inside
///   `query`.
/// - The output is always UTF-8: what is not is replaced by U+FFFD, sequence by sequence.
#[derive(Clone, Debug)]
pub struct JsonEncoder {
    columns: Box<[Item]>,
    query: QueryKeys,
    /// The column of `cs-uri-query`.
    query_column: Option<usize>,
    /// How many bytes the keys and what is around the values take at most.
    frame: usize,
    /// The line is written here first: it has been initialised, so that 32 bytes can be copied
    /// where 5 are meant.
    scratch: Vec<u8>,
    names: NameSet,
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

impl QueryKeys {
    /// Writes the parameters between `start` and `end`; gives the new place.
    #[inline(always)]
    fn write<const ONCE: bool>(
        &self,
        mut writer: LineWriter<'_, '_>,
        start: usize,
        end: usize,
        is_clean: bool,
        names: &mut NameSet,
        duplicates: &mut Duplicates,
    ) -> usize {
        match self {
            QueryKeys::All => {
                if is_clean && let Some(at) = distinct_parameters::<ONCE>(writer.again(), start, end, names) {
                    at
                } else {
                    any_parameters::<ONCE>(writer.again(), start, end, is_clean, duplicates)
                }
            }
            QueryKeys::Named(names) if names.is_empty() => writer.out.at,
            QueryKeys::Named(names) => named_parameters::<ONCE>(writer.again(), start, end, is_clean, names),
        }
    }
}

/// `,"name":`, and the `"` of a value that is text, with room behind it so that it is copied in one
/// go.
#[derive(Clone, Debug)]
struct Key {
    padded: [u8; Key::ROOM],
    len: usize,
    /// The whole of it, when it is longer than the room.
    long: Option<Box<[u8]>>,
}

impl Key {
    const ROOM: usize = 48;

    fn new(name: &str, is_number: bool) -> Key {
        let mut text = vec![0; 6 * name.len() + 5 + Copier::SLACK];
        let mut out = Copier { bytes: &mut text, at: 0 };
        out.byte(b',');
        out.byte(b'"');
        out.escaped(name.as_bytes());
        out.byte(b'"');
        out.byte(b':');
        if !is_number {
            out.byte(b'"');
        }
        let len = out.at;
        text.truncate(len);
        let mut padded = [0; Key::ROOM];
        let long = if len <= Key::ROOM {
            padded[..len].copy_from_slice(&text);
            None
        } else {
            Some(text.into())
        };
        Key { padded, len, long }
    }
}

/// Above this, the room for a line is given back after it.
const MAX_KEPT_SCRATCH: usize = 1 << 20;

impl JsonEncoder {
    /// An encoder for lines of `schema`, of all columns or of what is selected.
    pub fn new(schema: &Schema, selection: Option<&Selection>) -> JsonEncoder {
        let columns: Vec<Item> = json_keys(schema, selection)
            .into_iter()
            .map(|(selector, name)| {
                let is_number = type_of_value(&selector) != ColumnType::Text;
                let place = selector.place(schema).expect("what has no place has no key");
                Item { key: Key::new(&name, is_number), is_number, place }
            })
            .collect();
        let selected = selection.map(Selection::selectors).unwrap_or_default().iter();
        let named: Vec<(Box<[u8]>, Key)> = selected
            .filter_map(|selector| match selector {
                Selector::Query(name) => Some((name.as_bytes().into(), Key::new(name, false))),
                _ => None,
            })
            .collect();
        let keys = columns.iter().map(|item| &item.key).chain(named.iter().map(|(_, key)| key));
        let frame = keys.map(|key| key.len + 2).sum::<usize>() + 64;
        JsonEncoder {
            columns: columns.into(),
            query: if selection.is_some() { QueryKeys::Named(named.into()) } else { QueryKeys::All },
            query_column: schema.position(Field::CsUriQuery),
            frame,
            scratch: Vec::new(),
            names: NameSet::new(),
            duplicates: Duplicates::default(),
        }
    }

    /// Appends the line's object and a newline to `out`.
    #[inline]
    pub fn encode(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        let raw = line.raw();
        // Tabs between the columns are the only bytes of a usual line that a JSON string could not
        // hold.
        let is_clean = count_json_specials(raw) + 1 == line.ends().len();
        // A value is written up to twice (`cs-host`, `viewer-host`). A byte can become six
        // (`\u0000`), in a clean line an escape of three can. A parameter has six bytes around it,
        // and there is at most one for each byte of the query.
        let room = self.frame + Copier::SLACK + raw.len() * if is_clean { 10 } else { 30 };
        grow(&mut self.scratch, room);
        let mut writer = LineWriter {
            out: Copier { bytes: &mut self.scratch, at: 0 },
            source: line.block(),
            start: line.start(),
            last_end: line.start() + raw.len(),
            ends: line.ends(),
        };
        match (is_clean, &self.query) {
            (true, QueryKeys::All) => writer.all_columns::<true>(&self.columns),
            (false, QueryKeys::All) => writer.all_columns::<false>(&self.columns),
            (true, QueryKeys::Named(_)) => writer.some_columns::<true>(&self.columns),
            (false, QueryKeys::Named(_)) => writer.some_columns::<false>(&self.columns),
        }
        if let Some(column) = self.query_column {
            let (start, end) = writer.bounds(column);
            if &writer.source[start..end] != b"-" {
                let (names, duplicates) = (&mut self.names, &mut self.duplicates);
                writer.out.at = match line.query_encoding() {
                    QueryEncoding::Twice => {
                        self.query.write::<false>(writer.again(), start, end, is_clean, names, duplicates)
                    }
                    QueryEncoding::Once => {
                        self.query.write::<true>(writer.again(), start, end, is_clean, names, duplicates)
                    }
                };
            }
        }
        // Every key comes with the comma before it.
        if writer.out.at == 0 {
            writer.out.byte(b'{');
        }
        writer.out.bytes[0] = b'{';
        writer.out.block(b"}\n", 2);
        let len = writer.out.at;
        out.extend_from_slice(&self.scratch[..len]);
        if self.scratch.len() > MAX_KEPT_SCRATCH {
            self.scratch = Vec::new();
            self.duplicates = Duplicates::default();
        }
    }
}

/// The keys that the objects of lines of the schema have outside of `query`, in their order, each
/// with its value: all columns, or what is selected.
pub fn json_keys(schema: &Schema, selection: Option<&Selection>) -> Vec<(Selector, String)> {
    let selectors: Vec<Selector> = match selection {
        Some(selection) => selection.selectors().to_vec(),
        None => schema.columns().iter().map(Selector::from).collect(),
    };
    // Unknown columns may be called anything, `query` too.
    let mut taken = vec!["query".to_owned()];
    let present = selectors.into_iter().filter(|selector| selector.place(schema).is_some());
    present
        .map(|selector| {
            let name = unique(selector.json_name(), &mut taken);
            (selector, name)
        })
        .collect()
}

/// Makes a buffer at least so long; what is in it does not matter, so it never gets shorter.
#[inline(always)]
fn grow(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0);
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

/// Writes to the front of a buffer that is large enough for everything, with [`Copier::SLACK`]
/// bytes to spare: short copies write 32, 48 or 64 bytes, of which the next write takes back what
/// was too much.
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

    /// Writes a whole block, of which `len` bytes count.
    #[inline(always)]
    fn block<const N: usize>(&mut self, block: &[u8; N], len: usize) {
        *self.bytes[self.at..].first_chunk_mut().expect("there is room for the longest line") = *block;
        self.at += len;
    }

    /// Writes `source[start..end]`; reads on behind `end` when that is quicker.
    #[inline(always)]
    fn copy(&mut self, source: &[u8], start: usize, end: usize) {
        let len = end - start;
        match source[start..].first_chunk::<32>() {
            Some(block) if len <= 32 => self.block(block, len),
            // Identifiers of 36 bytes are common.
            _ => match source[start..].first_chunk::<64>() {
                Some(block) if len <= 64 => self.block(block, len),
                _ => self.copy_long(source, start, end),
            },
        }
    }

    #[inline(always)]
    fn copy_long(&mut self, source: &[u8], start: usize, end: usize) {
        let len = end - start;
        let whole = len.next_multiple_of(32);
        match source.get(start..start + whole) {
            // For up to some hundred bytes quicker than to call the system's copy.
            Some(blocks) if len <= 256 => {
                let (from, _) = blocks.as_chunks::<32>();
                let (to, _) = self.bytes[self.at..self.at + whole].as_chunks_mut::<32>();
                for (to, from) in to.iter_mut().zip(from) {
                    *to = *from;
                }
                self.at += len;
            }
            _ => self.slice(&source[start..end]),
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
            None => self.block::<{ Key::ROOM }>(&key.padded, key.len),
            Some(text) => self.slice(text),
        }
    }

    /// Writes text as the inside of a JSON string.
    #[inline(always)]
    fn escaped(&mut self, text: &[u8]) {
        self.at = escape(self.bytes, self.at, text);
    }

    /// A parameter's decoded value, as the inside of a JSON string.
    #[inline]
    fn value<const ONCE: bool>(&mut self, source: &[u8], span: &Span, is_clean: bool) {
        if is_clean {
            self.parameter::<true, ONCE>(source, span.value_start(), span.end, span.value_is_escaped);
        } else {
            self.parameter::<false, ONCE>(source, span.value_start(), span.end, span.value_is_escaped);
        }
    }

    #[inline(always)]
    fn parameter<const CLEAN: bool, const ONCE: bool>(
        &mut self,
        source: &[u8],
        start: usize,
        end: usize,
        is_escaped: bool,
    ) {
        if is_escaped {
            self.at = decode_inside::<CLEAN, ONCE>(self.bytes, self.at, source, start, end);
        } else if CLEAN {
            self.copy(source, start, end);
        } else {
            self.escaped(&source[start..end]);
        }
    }

    #[inline]
    fn escaped_utf8(&mut self, text: &[u8]) {
        let (blocks, rest) = text.as_chunks::<16>();
        for block in blocks {
            if json_specials(block) == 0 {
                self.block(block, 16);
            } else {
                block.iter().for_each(|&byte| self.escaped_byte(byte));
            }
        }
        let mut last = [b' '; 16];
        last[..rest.len()].copy_from_slice(rest);
        if json_specials(&last) == 0 {
            self.block(&last, rest.len());
        } else {
            rest.iter().for_each(|&byte| self.escaped_byte(byte));
        }
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

/// Writes text as the inside of a JSON string at `at` and gives the new place. Not a method: a
/// copier whose address goes to a call lives in memory instead of in registers, and each byte
/// written would wait for the one before.
#[inline(never)]
fn escape(bytes: &mut [u8], at: usize, text: &[u8]) -> usize {
    let mut out = Copier { bytes, at };
    if text.is_ascii() {
        out.escaped_utf8(text);
        return out.at;
    }
    for chunk in text.utf8_chunks() {
        out.escaped_utf8(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.slice("\u{fffd}".as_bytes());
        }
    }
    out.at
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

    /// The same writer, for a call that gives back the new place: this one stays in registers.
    #[inline(always)]
    fn again(&mut self) -> LineWriter<'_, '_> {
        LineWriter { out: Copier { bytes: self.out.bytes, at: self.out.at }, ..*self }
    }

    /// All columns in their order.
    #[inline(always)]
    fn all_columns<const CLEAN: bool>(&mut self, items: &[Item]) {
        let mut start = self.start;
        for (item, &end) in items.iter().zip(self.ends) {
            self.column::<CLEAN>(item, start, (end as usize).min(self.last_end));
            start = end as usize + 1;
        }
    }

    #[inline(always)]
    fn some_columns<const CLEAN: bool>(&mut self, items: &[Item]) {
        for item in items {
            let (start, end) = match item.place {
                Place::Column(column) => self.bounds(column),
                Place::Path(column) => {
                    let (start, end) = self.bounds(column);
                    (start, memchr::memchr(b'?', &self.source[start..end]).map_or(end, |at| start + at))
                }
            };
            self.column::<CLEAN>(item, start, end);
        }
    }

    #[inline(always)]
    fn column<const CLEAN: bool>(&mut self, item: &Item, start: usize, end: usize) {
        if end - start == 1 && self.source[start] == b'-' {
            return;
        }
        self.out.key(&item.key);
        if item.is_number {
            if self.number(start, end) {
                return;
            }
            self.out.byte(b'"');
        }
        if CLEAN {
            self.out.copy(self.source, start, end);
        } else {
            self.out.escaped(&self.source[start..end]);
        }
        self.out.byte(b'"');
    }

    /// Writes a plain number; `false` and nothing written when it is none.
    #[inline(always)]
    fn number(&mut self, start: usize, end: usize) -> bool {
        let len = end - start;
        if let Some(block) = self.source[start..].first_chunk()
            && (1..=16).contains(&len)
            && is_usual_number(block, len)
        {
            self.out.block(block, len);
            return true;
        }
        match plain_number(&self.source[start..end]) {
            Some((sign, digits)) => {
                self.out.slice(sign);
                self.out.slice(digits);
                true
            }
            None => false,
        }
    }
}

/// `,"query":{...}` of a clean line, while names are plain once decoded and none repeats; gives the
/// new place.
#[inline(never)]
fn distinct_parameters<const ONCE: bool>(
    writer: LineWriter<'_, '_>,
    start: usize,
    end: usize,
    names: &mut NameSet,
) -> Option<usize> {
    // Moved, so that it lives in registers.
    let LineWriter { mut out, source, .. } = writer;
    names.clear();
    out.block(QUERY, QUERY.len());
    let first = out.at;
    let mut spans = Spans::new(start, end);
    while let Some(span) = spans.next(source) {
        out.byte(b'"');
        let hash = if span.name_is_escaped {
            let name = out.at;
            let decoded = decode::<ONCE>(source, span.start, span.name_end, &mut out.bytes[name..]);
            if decoded.needs_json_escape || decoded.is_high {
                return None;
            }
            out.at += decoded.len;
            name_hash(out.bytes, name, out.at)
        } else {
            out.copy(source, span.start, span.name_end);
            name_hash(source, span.start, span.name_end)
        };
        if !names.insert(hash) {
            return None;
        }
        out.block(b"\":\"\0", 3);
        out.parameter::<true, ONCE>(source, span.value_start(), span.end, span.value_is_escaped);
        out.block(b"\",", 2);
    }
    Some(close(out, first))
}

/// Closes the object that began at `first`, over the comma behind the last entry if there is one.
#[inline(always)]
fn close(mut out: Copier<'_>, first: usize) -> usize {
    if out.at > first {
        out.at -= 1;
    }
    out.byte(b'}');
    out.at
}

/// `,"query":{...}` of any line; gives the new place.
#[inline(never)]
fn any_parameters<const ONCE: bool>(
    mut writer: LineWriter<'_, '_>,
    start: usize,
    end: usize,
    is_clean: bool,
    duplicates: &mut Duplicates,
) -> usize {
    duplicates.collect::<ONCE>(writer.source, start, end);
    writer.out.block(QUERY, QUERY.len());
    let first = writer.out.at;
    for entry in &duplicates.entries {
        if entry.is_repeated {
            continue;
        }
        writer.out.byte(b'"');
        writer.out.slice(&duplicates.names[entry.name_start..entry.name_end]);
        writer.out.block(b"\":\"\0", 3);
        writer.out.value::<ONCE>(writer.source, &entry.span, is_clean);
        writer.out.block(b"\",", 2);
    }
    close(writer.out, first)
}

/// `,"query":{...}` with the last parameters of these names, in this order; nothing when there are
/// none. Gives the new place.
#[inline(never)]
fn named_parameters<const ONCE: bool>(
    mut writer: LineWriter<'_, '_>,
    start: usize,
    end: usize,
    is_clean: bool,
    names: &[(Box<[u8]>, Key)],
) -> usize {
    let before = writer.out.at;
    writer.out.block(QUERY, QUERY.len());
    let first = writer.out.at;
    for (name, key) in names {
        let mut spans = Spans::new(start, end);
        let mut last = None;
        while let Some(span) = spans.next(writer.source) {
            let text = &writer.source[span.start..span.name_end];
            let is_it = if span.name_is_escaped { decodes_to::<ONCE>(text, name) } else { text == &**name };
            last = if is_it { Some(span) } else { last };
        }
        if let Some(span) = last {
            // No comma before the first.
            let at = writer.out.at;
            writer.out.key(key);
            if at == first {
                writer.out.bytes.copy_within(first + 1..writer.out.at, first);
                writer.out.at -= 1;
            }
            writer.out.value::<ONCE>(writer.source, &span, is_clean);
            writer.out.byte(b'"');
        }
    }
    if writer.out.at == first {
        return before;
    }
    writer.out.byte(b'}');
    writer.out.at
}

/// Writes a decoded value as the inside of a JSON string at `at`; gives the new place.
#[inline(never)]
fn decode_inside<const CLEAN: bool, const ONCE: bool>(
    bytes: &mut [u8],
    at: usize,
    source: &[u8],
    start: usize,
    end: usize,
) -> usize {
    let decoded = decode::<ONCE>(source, start, end, &mut bytes[at..]);
    // What needs care can only have come out of an escape when the line is clean.
    let is_fine = CLEAN
        && !decoded.needs_json_escape
        && (!decoded.is_high || std::str::from_utf8(&bytes[at..at + decoded.len]).is_ok());
    if is_fine { at + decoded.len } else { escape_written(bytes, at, decoded.len) }
}

/// Escapes what stands at `at` already; gives the new place.
#[cold]
fn escape_written(bytes: &mut [u8], at: usize, len: usize) -> usize {
    let text = bytes[at..at + len].to_vec();
    escape(bytes, at, &text)
}

const QUERY: &[u8; 10] = b",\"query\":{";

/// Whether a name that has escapes decodes to `name`.
fn decodes_to<const ONCE: bool>(text: &[u8], name: &[u8]) -> bool {
    let mut decoded = vec![0; text.len() + SLACK];
    let len = decode::<ONCE>(text, 0, text.len(), &mut decoded).len;
    decoded[..len] == *name
}

/// Whether the first `len` (1 to 16) bytes are digits with at most one dot between them, without a
/// leading zero that JSON forbids: what nearly all numbers are. All bytes at once.
#[inline(always)]
fn is_usual_number(block: &[u8; 16], len: usize) -> bool {
    const BYTES: u128 = u128::MAX / 255;
    const HIGH: u128 = BYTES * 0x80;
    // A digit becomes 0 to 9; of what is above, the sum or the byte itself has the highest bit.
    let digits = u128::from_le_bytes(*block) ^ (BYTES * 0x30);
    let others = (((digits & !HIGH) + BYTES * 0x76) | digits) & HIGH & FIRST_BYTES[len];
    if block[0] == b'0' && len > 1 && block[1] != b'.' {
        return false;
    }
    if others == 0 {
        return true;
    }
    let at = (others.trailing_zeros() / 8) as usize;
    others & (others - 1) == 0 && block[at] == b'.' && at > 0 && at + 1 < len
}

/// The first so many bytes of a block.
static FIRST_BYTES: [u128; 17] = {
    let mut masks = [0; 17];
    let mut len = 1;
    while len <= 16 {
        masks[len] = u128::MAX >> (128 - 8 * len);
        len += 1;
    }
    masks
};

/// The sign, and the digits with their fraction and without leading zeros, of `-?digits(.digits)?`
/// with at most 18 digits.
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

/// Tells whether a name was there before: by a bit of its hash, then by the hash.
#[derive(Clone, Debug)]
struct NameSet {
    bits: [u64; 16],
    hashes: [u64; NameSet::ROOM],
    count: usize,
}

impl NameSet {
    /// More names than this are not looked for one by one.
    const ROOM: usize = 64;

    fn new() -> NameSet {
        NameSet { bits: [0; 16], hashes: [0; NameSet::ROOM], count: 0 }
    }

    #[inline(always)]
    fn clear(&mut self) {
        self.bits = [0; 16];
        self.count = 0;
    }

    /// `false` when the name may have been there, or when there are too many.
    #[inline(always)]
    fn insert(&mut self, hash: u64) -> bool {
        let count = self.count;
        if count >= NameSet::ROOM {
            return false;
        }
        let (word, bit) = ((hash >> 60) as usize, 1 << (hash >> 54 & 63));
        let is_new = self.bits[word] & bit == 0 || !self.hashes[..count].contains(&hash);
        self.bits[word] |= bit;
        self.hashes[count] = hash;
        self.count = count + 1;
        is_new
    }
}

/// A hash of the length and of the last 8 bytes: names are more alike in front.
#[inline(always)]
fn name_hash(source: &[u8], start: usize, end: usize) -> u64 {
    let len = end - start;
    let last = match source[..end].last_chunk::<8>() {
        Some(block) => u64::from_le_bytes(*block),
        None => {
            let mut block = [0; 8];
            block[8 - end..].copy_from_slice(&source[..end]);
            u64::from_le_bytes(block)
        }
    };
    // Without what is before a shorter name.
    let name = if len == 0 { 0 } else { last >> (64 - 8 * len.min(8)) };
    (name ^ (len as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The parameters of one query with their names as JSON has them, and which of them are repeated
/// later. Two names that differ in the log can be one key: escaped differently, or not UTF-8.
#[derive(Clone, Debug, Default)]
struct Duplicates {
    names: Vec<u8>,
    entries: Vec<Entry>,
    hashes: Vec<u64>,
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
    fn collect<const ONCE: bool>(&mut self, source: &[u8], start: usize, end: usize) {
        self.entries.clear();
        self.hashes.clear();
        grow(&mut self.decoded, end - start + SLACK);
        grow(&mut self.names, 6 * (end - start) + Copier::SLACK);
        let mut names = Copier { bytes: &mut self.names, at: 0 };
        let mut spans = Spans::new(start, end);
        while let Some(span) = spans.next(source) {
            let name_start = names.at;
            if span.name_is_escaped {
                let len = decode::<ONCE>(source, span.start, span.name_end, &mut self.decoded).len;
                names.escaped(&self.decoded[..len]);
            } else {
                names.escaped(&source[span.start..span.name_end]);
            }
            self.hashes.push(name_hash(names.bytes, name_start, names.at));
            self.entries.push(Entry { span, name_start, name_end: names.at, is_repeated: false });
        }
        if self.entries.len() <= NameSet::ROOM {
            self.mark_by_search();
        } else {
            self.mark_by_order();
        }
    }

    fn mark_by_search(&mut self) {
        for index in 1..self.entries.len() {
            let hash = self.hashes[index];
            let is_it = |other: &usize| self.hashes[*other] == hash && self.name(*other) == self.name(index);
            if let Some(before) = (0..index).rev().find(is_it) {
                self.entries[before].is_repeated = true;
            }
        }
    }

    /// For so many names that a search for each would take a time that grows with their square.
    fn mark_by_order(&mut self) {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_unstable_by(|&left, &right| self.name(left).cmp(self.name(right)).then(left.cmp(&right)));
        for pair in order.windows(2) {
            if self.name(pair[0]) == self.name(pair[1]) {
                self.entries[pair[0]].is_repeated = true;
            }
        }
    }

    fn name(&self, index: usize) -> &[u8] {
        &self.names[self.entries[index].name_start..self.entries[index].name_end]
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
        assert_eq!(
            query("cd%255Bvalue%255D=1&cd%255Bvalue%255C=2&cd%5Bvalue%5D=3"),
            r#"{"cd[value\\":"2","cd[value]":"3"}"#
        );
        assert_eq!(query("a1234567=1&b1234567=2&a1234567=3"), r#"{"b1234567":"2","a1234567":"3"}"#);
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
        for len in 2..200 {
            let (text, digits) = ("v".repeat(len), "1".repeat(len.min(18)));
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
