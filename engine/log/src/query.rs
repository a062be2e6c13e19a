//! The parameters of a query string, as CloudFront logs it.
//!
//! CloudFront percent-encodes what it logs, and a `%` of the viewer's becomes `%25`: a log holds
//! the viewer's query encoded once more, and `url=http%3A%2F%2Fa` stands there as
//! `url=http%253A%252F%252Fa`. So the text is split at its raw `&` and `=` first, and names and
//! values are decoded twice after that, in one pass:
//!
//! - first CloudFront's level: `%` and two hexadecimal digits are a byte;
//! - then the URL's: `%` and two digits are a byte again, and a `+` is a space, as in the URL
//!   standard's form decoding and in API Gateway.
//!
//! CloudFront leaves `+`, `&` and `=` as they are, so a `%2B`, `%26` or `%3D` in the log means that
//! its text was *not* encoded once more (some sources log one level only): the plus stays a plus,
//! `&` and `=` are data. Hence both forms of the `url` above decode to `http://a`. Only a value that
//! is `%41` in clear and was encoded once (`%2541`) would read as `A`: for text that has one level
//! there is [`Query::once`], and [`QueryEncoding::shown_by`] tells which text has.
//!
//! Broken escapes stay as they are, as in [`percent`].
//!
//! ```
//! use pixel_engine_log::query::Query;
//! let mut query = Query::new(b"e=pp&url=http%253A%252F%252Fa&flag");
//! assert_eq!(query.next().unwrap().value, Some(&b"pp"[..]));
//! let url = query.next().unwrap();
//! assert_eq!((url.name, url.value.unwrap()), (&b"url"[..], &b"http%253A%252F%252Fa"[..]));
//! assert_eq!(&*url.value_decoded().unwrap(), b"http://a");
//! assert_eq!(query.next().unwrap().value, None);
//! ```

use std::borrow::Cow;

use crate::percent::{self, Decoded, FORM, LOGGED_FORM};
use crate::scan::masks::{QueryMasks, query_masks};

/// How many times the names and values of a query are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryEncoding {
    /// By the viewer, and by CloudFront as it logged: what CloudFront's logs hold.
    #[default]
    Twice,
    /// By the viewer: a query as it stands in a URL.
    Once,
}

impl QueryEncoding {
    /// What the text of a query shows of how many times it is encoded, if anything.
    ///
    /// An escape that CloudFront cannot have written shows that the text is as the viewer sent it:
    /// of a character that CloudFront leaves as it is, such as `%2F`, or that no URL holds as it
    /// is, such as `%20`. Only without one does `%25` with two more digits show that CloudFront
    /// encoded the viewer's escapes; with one, it is of a URL inside of the URL. The escapes of
    /// ``" ' < > [ ] \ ^ ` { | } ~`` and of bytes above 126 show nothing.
    ///
    /// ```
    /// use pixel_engine_log::query::QueryEncoding;
    /// let shown = |text: &str| QueryEncoding::shown_by(text.as_bytes());
    /// assert_eq!(shown("url=http%3A%2F%2Fa%3Fb%3D%2520"), Some(QueryEncoding::Once));
    /// assert_eq!(shown("url=http%253A%252F%252Fa"), Some(QueryEncoding::Twice));
    /// assert_eq!(shown("q=%5B1%5D&pct=100%25"), None);
    /// ```
    pub fn shown_by(text: &[u8]) -> Option<QueryEncoding> {
        let mut shown = None;
        for at in memchr::memchr_iter(b'%', text) {
            match percent::escaped(&text[at..]) {
                Some(b'%') if text.get(at + 3..at + 5).is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit)) => {
                    shown = Some(QueryEncoding::Twice);
                }
                None | Some(b'%' | b'"' | b'\'' | b'<' | b'>' | b'[' | b']' | b'\\' | b'^' | b'`' | b'{'..) => {}
                Some(_) => return Some(QueryEncoding::Once),
            }
        }
        shown
    }
}

/// Appends a parameter's name or value as a query holds it that is encoded so many times.
///
/// ```
/// use pixel_engine_log::query::{QueryEncoding, encode_into};
/// let mut query = b"q=".to_vec();
/// encode_into(b"a b&c", QueryEncoding::Twice, &mut query);
/// assert_eq!(query, b"q=a%2520b%2526c");
/// ```
pub fn encode_into(text: &[u8], encoding: QueryEncoding, out: &mut Vec<u8>) {
    let mut by_viewer = Vec::new();
    percent::escape_into(text, |byte| byte.is_ascii_alphanumeric() || b"*-._".contains(&byte), &mut by_viewer);
    match encoding {
        QueryEncoding::Twice => percent::encode_into(&by_viewer, out),
        QueryEncoding::Once => out.extend_from_slice(&by_viewer),
    }
}

/// One parameter: slices of the query's text, not decoded.
///
/// `a=1` has a name and a value, `a=` an empty value, `a` no value, and `=1` an empty name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter<'a> {
    /// What stands before the first `=`.
    pub name: &'a [u8],
    /// What stands behind it; `None` when there is no `=`.
    pub value: Option<&'a [u8]>,
    encoding: QueryEncoding,
    name_is_escaped: bool,
    value_is_escaped: bool,
}

impl<'a> Parameter<'a> {
    /// The decoded name; borrowed when it has nothing to decode.
    #[inline(always)]
    pub fn name_decoded(&self) -> Cow<'a, [u8]> {
        decoded(self.name, self.name_is_escaped, self.encoding)
    }

    /// The decoded value; borrowed when it has nothing to decode, `None` when there is no `=`.
    #[inline(always)]
    pub fn value_decoded(&self) -> Option<Cow<'a, [u8]>> {
        Some(decoded(self.value?, self.value_is_escaped, self.encoding))
    }

    /// Appends the decoded name to `out`, which can be used again and again.
    #[inline]
    pub fn decode_name_into(&self, out: &mut Vec<u8>) {
        append(self.name, self.name_is_escaped, self.encoding, out);
    }

    /// Appends the decoded value to `out`; nothing when there is no `=`.
    ///
    /// ```
    /// use pixel_engine_log::query::Query;
    /// let mut buffer = Vec::new();
    /// for parameter in Query::new(b"a=x%2520y&b=x+y") {
    ///     buffer.clear();
    ///     parameter.decode_value_into(&mut buffer);
    ///     assert_eq!(buffer, b"x y");
    /// }
    /// ```
    #[inline]
    pub fn decode_value_into(&self, out: &mut Vec<u8>) {
        append(self.value.unwrap_or_default(), self.value_is_escaped, self.encoding, out);
    }

    /// Whether the decoded name is `name`.
    pub fn is_named(&self, name: &[u8]) -> bool {
        if self.name_is_escaped { *self.name_decoded() == *name } else { self.name == name }
    }
}

/// The parameters of a query in their order, repeated names included. Empty pairs (`a=1&&b=2`, a
/// `&` at either end) are skipped. A leading `?` is not expected: it would belong to the first
/// name.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    text: &'a [u8],
    spans: Spans,
    encoding: QueryEncoding,
}

impl<'a> Query<'a> {
    /// The parameters of a `cs-uri-query` as CloudFront logs it.
    #[inline]
    pub fn new(text: &'a [u8]) -> Query<'a> {
        Query::with_encoding(text, QueryEncoding::Twice)
    }

    /// The parameters of a query that is encoded once, as it stands in a URL: what the URL standard
    /// calls form-urlencoded parsing.
    ///
    /// ```
    /// let mut query = pixel_engine_log::query::Query::once(b"a=%2541");
    /// assert_eq!(&*query.next().unwrap().value_decoded().unwrap(), b"%41");
    /// ```
    #[inline]
    pub fn once(text: &'a [u8]) -> Query<'a> {
        Query::with_encoding(text, QueryEncoding::Once)
    }

    /// The parameters of a query that is encoded that many times.
    #[inline]
    pub fn with_encoding(text: &'a [u8], encoding: QueryEncoding) -> Query<'a> {
        Query { text, spans: Spans::new(0, text.len()), encoding }
    }

    /// The last of the remaining parameters whose decoded name is `name`.
    ///
    /// ```
    /// use pixel_engine_log::query::Query;
    /// let parameter = Query::new(b"a=1&b=2&a=3").last_named(b"a").unwrap();
    /// assert_eq!(parameter.value, Some(&b"3"[..]));
    /// ```
    pub fn last_named(self, name: &[u8]) -> Option<Parameter<'a>> {
        self.filter(|parameter| parameter.is_named(name)).last()
    }
}

impl<'a> Iterator for Query<'a> {
    type Item = Parameter<'a>;

    // Always: as a call, its result goes through memory in pieces of another size than it is read
    // in, and the stall of that is longer than the work.
    #[inline(always)]
    fn next(&mut self) -> Option<Parameter<'a>> {
        let span = self.spans.next(self.text)?;
        Some(Parameter {
            name: &self.text[span.start..span.name_end],
            value: span.has_value().then(|| &self.text[span.value_start()..span.end]),
            encoding: self.encoding,
            name_is_escaped: span.name_is_escaped,
            value_is_escaped: span.value_is_escaped,
        })
    }
}

impl std::iter::FusedIterator for Query<'_> {}

#[inline(always)]
fn decoded(text: &[u8], is_escaped: bool, encoding: QueryEncoding) -> Cow<'_, [u8]> {
    if is_escaped { Cow::Owned(owned(text, encoding)) } else { Cow::Borrowed(text) }
}

fn owned(text: &[u8], encoding: QueryEncoding) -> Vec<u8> {
    let mut out = Vec::new();
    append_escaped(text, encoding, &mut out);
    out
}

#[inline(always)]
fn append(text: &[u8], is_escaped: bool, encoding: QueryEncoding, out: &mut Vec<u8>) {
    if is_escaped { append_escaped(text, encoding, out) } else { out.extend_from_slice(text) }
}

fn append_escaped(text: &[u8], encoding: QueryEncoding, out: &mut Vec<u8>) {
    match encoding {
        QueryEncoding::Twice => percent::append::<LOGGED_FORM>(text, out),
        QueryEncoding::Once => percent::append::<FORM>(text, out),
    }
}

/// Where one parameter lies in the bytes that hold the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    /// The place of the first `=`, or `end`.
    pub(crate) name_end: usize,
    pub(crate) end: usize,
    pub(crate) name_is_escaped: bool,
    pub(crate) value_is_escaped: bool,
}

impl Span {
    #[inline(always)]
    pub(crate) fn has_value(&self) -> bool {
        self.name_end < self.end
    }

    /// Where the value begins; `end` when there is none.
    #[inline(always)]
    pub(crate) fn value_start(&self) -> usize {
        (self.name_end + 1).min(self.end)
    }
}

/// Finds parameters, 64 bytes at a time: the one place that knows how a query is split.
///
/// The bytes are given to each call, so that it can live beside them; they may go on past the
/// query's end, which spares a copy of the last block.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    /// Where the next parameter begins; past `end` after the last.
    start: usize,
    end: usize,
    /// What is not yet used up of a block of 64 bytes: bit 0 stands for `start`. An `&` is
    /// pretended at `end`.
    masks: QueryMasks,
}

impl Spans {
    /// The parameters of `bytes[start..end]`.
    #[inline(always)]
    pub(crate) fn new(start: usize, end: usize) -> Spans {
        Spans { start, end, masks: QueryMasks::default() }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Option<Span> {
        while self.start < self.end {
            // A parameter of which the block has a part only is looked at again from its beginning:
            // that is quicker than to put the parts together.
            if self.masks.ampersands == 0 {
                self.masks = block_masks(bytes, self.start, self.end);
                if self.masks.ampersands == 0 {
                    let span = long_span(bytes, self.start, self.end);
                    self.start = span.end + 1;
                    return Some(span);
                }
            }
            let QueryMasks { ampersands, equals, escapes } = self.masks;
            let start = self.start;
            let len = ampersands.trailing_zeros();
            let name_len = (ampersands | equals).trailing_zeros();
            let below = |bit: u32| (1_u64 << bit) - 1;
            let span = Span {
                start,
                name_end: start + name_len as usize,
                end: start + len as usize,
                name_is_escaped: escapes & below(name_len) != 0,
                value_is_escaped: escapes & (below(len) & !below(name_len)) != 0,
            };
            // Twice, since all 64 bits may go.
            self.masks = QueryMasks {
                ampersands: ampersands >> len >> 1,
                equals: equals >> len >> 1,
                escapes: escapes >> len >> 1,
            };
            self.start = span.end + 1;
            if len > 0 {
                return Some(span);
            }
        }
        None
    }
}

/// The parameter at `start` that is longer than a block.
#[inline(never)]
fn long_span(bytes: &[u8], start: usize, end: usize) -> Span {
    let text = &bytes[start..end];
    let text = memchr::memchr(b'&', text).map_or(text, |at| &text[..at]);
    let name_len = memchr::memchr(b'=', text).unwrap_or(text.len());
    let is_escaped = |part: &[u8]| memchr::memchr2(b'%', b'+', part).is_some();
    Span {
        start,
        name_end: start + name_len,
        end: start + text.len(),
        name_is_escaped: is_escaped(&text[..name_len]),
        value_is_escaped: is_escaped(&text[name_len..]),
    }
}

/// The masks of the block that begins at `base`, at most `end`, without what lies behind `end`.
#[inline]
fn block_masks(bytes: &[u8], base: usize, end: usize) -> QueryMasks {
    let left = end - base;
    let masks = match bytes[base..].first_chunk() {
        Some(block) => query_masks(block),
        None => {
            let mut block = [0; 64];
            block[..left].copy_from_slice(&bytes[base..end]);
            query_masks(&block)
        }
    };
    if left >= 64 {
        return masks;
    }
    let bit = 1 << left;
    let inside = bit - 1;
    QueryMasks {
        ampersands: masks.ampersands & inside | bit,
        equals: masks.equals & inside,
        escapes: masks.escapes & inside,
    }
}

/// Decodes a name or value of a query that is encoded twice, or `ONCE`, to the front of `out`; see
/// [`percent::decode_range`].
#[inline]
pub(crate) fn decode<const ONCE: bool>(bytes: &[u8], start: usize, end: usize, out: &mut [u8]) -> Decoded {
    if ONCE {
        percent::decode_range::<FORM>(bytes, start, end, out)
    } else {
        percent::decode_range::<LOGGED_FORM>(bytes, start, end, out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn parsed(query: Query<'_>) -> Pairs {
        query.map(|parameter| (parameter.name_decoded().into(), parameter.value_decoded().map(Into::into))).collect()
    }

    /// Splits, then decodes level by level: slow and plain.
    fn naive(text: &[u8], encoding: QueryEncoding) -> Pairs {
        let decoded = |text: &[u8]| {
            let raw: Vec<(u8, bool)> = text.iter().map(|&byte| (byte, false)).collect();
            let url = if encoding == QueryEncoding::Twice { naive_level(&raw) } else { raw };
            let spaces: Vec<(u8, bool)> = url
                .into_iter()
                .map(|(byte, escaped)| if byte == b'+' && !escaped { (b' ', true) } else { (byte, escaped) })
                .collect();
            naive_level(&spaces).into_iter().map(|(byte, _)| byte).collect::<Vec<u8>>()
        };
        text.split(|&byte| byte == b'&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.iter().position(|&byte| byte == b'=') {
                Some(at) => (decoded(&pair[..at]), Some(decoded(&pair[at + 1..]))),
                None => (decoded(pair), None),
            })
            .collect()
    }

    fn naive_level(text: &[(u8, bool)]) -> Vec<(u8, bool)> {
        let digit = |at: usize| text.get(at).and_then(|&(byte, _)| (byte as char).to_digit(16));
        let mut out = Vec::new();
        let mut at = 0;
        while at < text.len() {
            match (text[at].0, digit(at + 1), digit(at + 2)) {
                (b'%', Some(high), Some(low)) => {
                    out.push(((high * 16 + low) as u8, true));
                    at += 3;
                }
                _ => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    fn value(text: &str) -> String {
        let query = format!("v={text}");
        let decoded = Query::new(query.as_bytes()).next().unwrap().value_decoded().unwrap().into_owned();
        String::from_utf8(decoded).unwrap()
    }

    #[test]
    fn pairs_flags_and_empty_parts() {
        let text = b"&a=1&&flag&empty=&=noname&a=b=c&=&";
        let raw: Vec<_> = Query::new(text).map(|parameter| (parameter.name, parameter.value)).collect();
        let expected: [(&[u8], Option<&[u8]>); 6] = [
            (b"a", Some(b"1")),
            (b"flag", None),
            (b"empty", Some(b"")),
            (b"", Some(b"noname")),
            (b"a", Some(b"b=c")),
            (b"", Some(b"")),
        ];
        assert_eq!(raw, expected);
        assert_eq!(Query::new(b"").next(), None);
        assert_eq!(Query::new(b"&&&").next(), None);
    }

    #[test]
    fn two_levels_and_one_level_read_alike() {
        assert_eq!(value("http%253A%252F%252Fa"), "http://a");
        assert_eq!(value("http%3A%2F%2Fa"), "http://a");
        assert_eq!(value("%252520"), "%20");
        assert_eq!(value("caf%25C3%25A9"), "café");
    }

    #[test]
    fn a_raw_plus_is_a_space_and_an_escaped_one_a_plus() {
        assert_eq!(value("a+b%2520c%252Bd%2Be"), "a b c+d+e");
    }

    #[test]
    fn escaped_separators_are_data() {
        let pairs = parsed(Query::new(b"a%3D%26=b%26c%253Dd&e=f"));
        assert_eq!(pairs, [(b"a=&".to_vec(), Some(b"b&c=d".to_vec())), (b"e".to_vec(), Some(b"f".to_vec()))]);
    }

    #[test]
    fn broken_escapes_stay() {
        for (text, decoded) in [
            ("%", "%"),
            ("%2", "%2"),
            ("%25", "%"),
            ("%252", "%2"),
            ("%25zz", "%zz"),
            ("%zz", "%zz"),
            ("%25+1", "% 1"),
            ("%25%34%31", "A"),
            ("%%34%31", "A"),
            ("%25%2541", "%A"),
            ("%2525%32", "%2"),
        ] {
            assert_eq!(value(text), decoded, "{text}");
        }
    }

    #[test]
    fn parameters_may_lie_across_blocks_of_64_bytes() {
        for len in 50..140 {
            for text in [
                format!("{}=v%2541&b=2", "n".repeat(len)),
                format!("a={}%2541&b=2", "v".repeat(len)),
                format!("a=1&{}", "f".repeat(len)),
                format!("{}&a=1", "&".repeat(len)),
            ] {
                assert_eq!(parsed(Query::new(text.as_bytes())), naive(text.as_bytes(), QueryEncoding::Twice), "{text}");
            }
        }
    }

    #[test]
    fn the_url_parameter_of_a_real_line() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/realtime-40.tsv");
        let Ok(line) = std::fs::read(path) else {
            println!("skipped: {path} is absent");
            return;
        };
        let text = line.split(|&byte| byte == b'\t').nth(19).unwrap();
        let url = Query::new(text).last_named(b"url").unwrap();
        assert_eq!(&*url.value_decoded().unwrap(), b"http://localhost:5000/page-2");
    }

    proptest! {
        #[test]
        fn parsing_equals_the_naive_one(
            text in r"([a-c&=]|[&=%+]|%25|%2525|%[0-9A-Fa-f]{2}|%25[0-9A-Fa-f]{2}|[a-z0-9%]{1,20}){0,40}"
        ) {
            let text = text.as_bytes();
            prop_assert_eq!(parsed(Query::new(text)), naive(text, QueryEncoding::Twice));
            prop_assert_eq!(parsed(Query::once(text)), naive(text, QueryEncoding::Once));
        }

        #[test]
        fn what_is_encoded_decodes_to_the_same(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            for encoding in [QueryEncoding::Twice, QueryEncoding::Once] {
                let mut query = b"v=".to_vec();
                encode_into(&text, encoding, &mut query);
                let mut read = Query::with_encoding(&query, encoding);
                prop_assert_eq!(&*read.next().unwrap().value_decoded().unwrap(), &text[..]);
                prop_assert_eq!(read.next(), None);
            }
        }

        #[test]
        fn arbitrary_bytes_are_parsed_like_the_naive_one(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parsed(Query::new(&text)), naive(&text, QueryEncoding::Twice));
        }

        #[test]
        fn what_lies_behind_the_query_does_not_matter(
            text in r"([a-c&=%+]|%25){0,80}", behind in r"[a-c&=%+]{0,80}"
        ) {
            let all = [text.as_bytes(), behind.as_bytes()].concat();
            let mut spans = Spans::new(0, text.len());
            for parameter in Query::new(text.as_bytes()) {
                let span = spans.next(&all).unwrap();
                prop_assert_eq!(&all[span.start..span.name_end], parameter.name);
                prop_assert_eq!(&all[span.value_start()..span.end], parameter.value.unwrap_or_default());
                let mut out = vec![0; text.len() + percent::SLACK];
                let decoded = decode::<false>(&all, span.value_start(), span.end, &mut out);
                prop_assert_eq!(&out[..decoded.len], &*parameter.value_decoded().unwrap_or_default());
            }
            prop_assert!(spans.next(&all).is_none());
        }
    }
}
