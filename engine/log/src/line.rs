//! A zero-copy view of one log line: columns by position, fields by name.
//!
//! Nothing is parsed or copied to make a [`Line`]: it is the block's bytes, the positions that
//! `scan` found, and the schema. A value of `-` is absent ([`Line::get`] gives `None`), whatever
//! the field's kind.

use std::net::IpAddr;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use crate::field::Field;
use crate::query::{Query, QueryEncoding};
use crate::schema::{LogKind, Schema};

/// One line with its columns.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    bytes: &'a [u8],
    start: u32,
    query_encoding: QueryEncoding,
    ends: &'a [u32],
    schema: &'a Schema,
}

impl<'a> Line<'a> {
    /// The line in `bytes` that begins at `start` and whose columns end (exclusive) at `ends`: each
    /// at a tab, the last one at the newline.
    ///
    /// # Panics
    /// In debug builds, when the column count is not the schema's.
    #[inline]
    pub fn new(bytes: &'a [u8], start: u32, ends: &'a [u32], schema: &'a Schema) -> Line<'a> {
        debug_assert_eq!(ends.len(), schema.columns().len());
        Line { bytes, start, query_encoding: QueryEncoding::default(), ends, schema }
    }

    /// The same line, whose query is encoded that many times.
    #[inline]
    pub fn with_query_encoding(self, query_encoding: QueryEncoding) -> Line<'a> {
        Line { query_encoding, ..self }
    }

    /// How many times the query is encoded.
    #[inline]
    pub fn query_encoding(&self) -> QueryEncoding {
        self.query_encoding
    }

    /// The parameters of `cs-uri-query`; `None` when it is `-`, or not in the schema.
    #[inline]
    pub fn query(&self) -> Option<Query<'a>> {
        Some(Query::with_encoding(self.get(Field::CsUriQuery)?, self.query_encoding))
    }

    /// The schema by which the columns have names.
    #[inline]
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    /// The bytes that the line was found in: they go on behind it.
    #[inline]
    pub(crate) fn block(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the columns end in these bytes, exclusive; the last may have a carriage return before
    /// its end.
    #[inline]
    pub(crate) fn ends(&self) -> &'a [u32] {
        self.ends
    }

    /// Where the line begins in the bytes it was found in.
    #[inline]
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// The line as it came, without its newline or carriage return.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        let end = self.ends.last().map_or(self.start, |&end| end);
        trim_carriage_return(&self.bytes[self.start as usize..end as usize])
    }

    /// The text of column `index`, `-` included; empty for an index that the line does not have.
    #[inline]
    pub fn column(&self, index: usize) -> &'a [u8] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = if index == 0 { self.start } else { self.ends[index - 1] + 1 };
        let text = &self.bytes[start as usize..end as usize];
        if index + 1 == self.ends.len() { trim_carriage_return(text) } else { text }
    }

    /// Every column in order, `-` included.
    #[inline]
    pub fn columns(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let line = *self;
        let mut start = line.start;
        let last = line.ends.len().wrapping_sub(1);
        line.ends.iter().enumerate().map(move |(index, &end)| {
            let text = &line.bytes[start as usize..end as usize];
            start = end + 1;
            if index == last { trim_carriage_return(text) } else { text }
        })
    }

    /// The text of a field as CloudFront wrote it; `None` when it is `-`, or not in the schema.
    #[inline]
    pub fn get(&self, field: Field) -> Option<&'a [u8]> {
        let text = self.column(self.schema.position(field)?);
        (text != b"-").then_some(text)
    }

    /// The host that the viewer asked for: `cs-host` in real-time logs, `x-host-header` in standard
    /// logs, where AWS gives the two names the opposite meaning.
    pub fn viewer_host(&self) -> Option<&'a [u8]> {
        self.get(match self.schema.kind() {
            LogKind::RealTime => Field::CsHost,
            LogKind::Standard => Field::XHostHeader,
        })
    }

    /// The distribution's domain, `dXXXX.cloudfront.net`: the other one of the pair of
    /// [`Line::viewer_host`].
    pub fn distribution_host(&self) -> Option<&'a [u8]> {
        self.get(match self.schema.kind() {
            LogKind::RealTime => Field::XHostHeader,
            LogKind::Standard => Field::CsHost,
        })
    }

    /// The path without the query: real-time logs write `?query` into `cs-uri-stem`, standard logs
    /// do not.
    pub fn uri_path(&self) -> Option<&'a [u8]> {
        let stem = self.get(Field::CsUriStem)?;
        Some(memchr::memchr(b'?', stem).map_or(stem, |at| &stem[..at]))
    }

    /// When the request was answered, in milliseconds since 1970: from `timestamp`, `timestamp(ms)`,
    /// or `date` and `time`, whichever the kind of log has; `None` without any of them.
    ///
    /// Digits past the milliseconds are cut off.
    pub fn time_millis(&self) -> Option<i64> {
        if let Some(text) = self.get(Field::Timestamp) {
            return decimal_thousandths(text);
        }
        if let Some(text) = self.get(Field::TimestampMs) {
            return digits(text);
        }
        let (date, time) = (self.get(Field::Date)?, self.get(Field::Time)?);
        let &[ref year @ .., b'-', m1, m2, b'-', d1, d2] = date else { return None };
        let &[h1, h2, b':', n1, n2, b':', s1, s2] = time else { return None };
        let two = |tens, ones| digits(&[tens, ones])?.try_into().ok();
        let date = Date::new(digits(year)?.try_into().ok()?, two(m1, m2)?, two(d1, d2)?).ok()?;
        let time = Time::new(two(h1, h2)?, two(n1, n2)?, two(s1, s2)?, 0).ok()?;
        Some(Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?.as_millisecond())
    }

    /// A field of seconds with a fraction, such as `time-taken`, in milliseconds; digits past these
    /// are cut off.
    #[inline]
    pub fn millis(&self, field: Field) -> Option<u64> {
        decimal_thousandths(self.get(field)?)?.try_into().ok()
    }

    /// A field that holds one IP address; CloudFront may pad the groups of an IPv6 address with
    /// zeros.
    pub fn ip(&self, field: Field) -> Option<IpAddr> {
        std::str::from_utf8(self.get(field)?).ok()?.parse().ok()
    }
}

/// The number of up to 18 digits.
#[inline]
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// A number with or without a fraction, times 1,000.
#[inline]
fn decimal_thousandths(text: &[u8]) -> Option<i64> {
    let point = memchr::memchr(b'.', text).unwrap_or(text.len());
    let whole = digits(&text[..point])?;
    let fraction = text.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut thousandths = 0;
    for place in 0..3 {
        thousandths = thousandths * 10 + i64::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
    }
    whole.checked_mul(1_000)?.checked_add(thousandths)
}

#[inline]
fn trim_carriage_return(text: &[u8]) -> &[u8] {
    match text {
        [rest @ .., b'\r'] => rest,
        _ => text,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Calls `check` with the line of that text, whose columns have these names.
    pub(crate) fn with_line<T>(kind: LogKind, names: &str, text: &str, check: impl Fn(Line<'_>) -> T) -> T {
        let schema = Schema::parse(kind, names).unwrap();
        let ends: Vec<u32> = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| matches!(byte, b'\t' | b'\n'))
            .map(|(index, _)| index as u32)
            .collect();
        check(Line::new(text.as_bytes(), 0, &ends, &schema))
    }

    #[test]
    fn a_hyphen_is_absent_in_text_and_numbers() {
        with_line(LogKind::RealTime, "timestamp c-ip sc-content-len asn", "1.5\t-\t-\t7\r\n", |line| {
            assert_eq!(line.get(Field::CIp), None);
            assert_eq!(line.get(Field::ScContentLen), None);
            assert_eq!(line.get(Field::CsCookie), None);
            assert_eq!(line.get(Field::Asn), Some(&b"7"[..]));
            assert_eq!(line.raw(), b"1.5\t-\t-\t7");
            assert_eq!(line.columns().collect::<Vec<_>>(), [&b"1.5"[..], b"-", b"-", b"7"]);
        });
    }

    #[test]
    fn hosts_have_one_meaning_in_both_kinds_of_log() {
        let text = "a.example\td1.cloudfront.net\n";
        with_line(LogKind::RealTime, "cs-host x-host-header", text, |line| {
            assert_eq!(line.viewer_host(), Some(&b"a.example"[..]));
            assert_eq!(line.distribution_host(), Some(&b"d1.cloudfront.net"[..]));
        });
        with_line(LogKind::Standard, "x-host-header cs(Host)", text, |line| {
            assert_eq!(line.viewer_host(), Some(&b"a.example"[..]));
            assert_eq!(line.distribution_host(), Some(&b"d1.cloudfront.net"[..]));
        });
    }

    #[test]
    fn the_path_is_the_stem_with_or_without_query() {
        for (stem, path) in [("/1x1.png?a=1?b", "/1x1.png"), ("/1x1.png", "/1x1.png"), ("?", "")] {
            with_line(LogKind::RealTime, "cs-uri-stem", &format!("{stem}\n"), |line| {
                assert_eq!(line.uri_path(), Some(path.as_bytes()));
            });
        }
    }

    #[test]
    fn the_time_is_read_from_whichever_field_has_it() {
        let time = |kind, names, text: &str| with_line(kind, names, &format!("{text}\n"), |line| line.time_millis());
        for (text, millis) in [
            ("1767600000.068", Some(1_767_600_000_068)),
            ("1767600000", Some(1_767_600_000_000)),
            ("1767600000.0689999", Some(1_767_600_000_068)),
            ("1767600000.5", Some(1_767_600_000_500)),
            ("0.042", Some(42)),
            ("-", None),
            ("1e9", None),
            ("1.x", None),
            ("999999999999999999", None),
        ] {
            assert_eq!(time(LogKind::RealTime, "timestamp", text), millis, "{text}");
        }
        assert_eq!(time(LogKind::Standard, "timestamp(ms)", "1767600000068"), Some(1_767_600_000_068));
        for (text, millis) in [
            ("2026-01-05\t08:00:00", Some(1_767_600_000_000)),
            ("1970-01-01\t00:00:01", Some(1_000)),
            ("2024-02-29\t23:59:59", Some(1_709_251_199_000)),
            ("2025-02-29\t00:00:00", None),
            ("2026-01-05\t24:00:00", None),
            ("2026-01-05\t-", None),
        ] {
            assert_eq!(time(LogKind::Standard, "date time", text), millis, "{text}");
        }
    }

    #[test]
    fn padded_ipv6_reads_as_the_same_address() {
        with_line(LogKind::RealTime, "c-ip s-ip", "2001:0db8:85a3::8a2e:0370:7334\tx\n", |line| {
            assert_eq!(line.ip(Field::CIp), Some("2001:db8:85a3::8a2e:370:7334".parse().unwrap()));
            assert_eq!(line.ip(Field::SIp), None);
        });
    }
}
