//! The request headers in `cs-headers`, and the names in `cs-header-names`.
//!
//! CloudFront writes each header as `Name:value` with an escaped newline behind it:
//! `Host:a.example%0AUser-Agent:Mozilla/5.0%20(X11)%0A`. The text is split at `%0A` *before*
//! anything is decoded: a `%0A` that came from the viewer stands as `%250A`, and must not forge a
//! header. `cs-header-names` is the same without values. Both are cut at 800 bytes, so the last
//! entry may be a part of one ([`Header::is_complete`]).

use std::borrow::Cow;

use memchr::{memchr, memmem};

use crate::percent;

/// One header: slices of the log's text, encoded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header<'a> {
    /// What stands before the first `:`, in the viewer's spelling: `User-Agent` in HTTP/1.1, lower
    /// case in HTTP/2.
    pub name: &'a [u8],
    /// What stands behind it; `None` without a `:`, as in `cs-header-names` and in a name that was
    /// cut.
    pub value: Option<&'a [u8]>,
    /// Whether `%0A` follows: if not, CloudFront cut the text here.
    pub is_complete: bool,
}

impl<'a> Header<'a> {
    /// The decoded name; borrowed when it has no escape.
    pub fn name_decoded(&self) -> Cow<'a, [u8]> {
        percent::decode(self.name)
    }

    /// The decoded value; borrowed when it has no escape.
    pub fn value_decoded(&self) -> Option<Cow<'a, [u8]>> {
        self.value.map(percent::decode)
    }
}

/// The headers in their order; empty entries are skipped.
///
/// ```
/// use pixel_engine_log::headers::Headers;
/// let mut headers = Headers::new(b"Host:a.example:80%0AUser-Agent:curl%20(x%250Ay)%0AAcc");
/// assert_eq!(headers.next().unwrap().value, Some(&b"a.example:80"[..]));
/// assert_eq!(&*headers.next().unwrap().value_decoded().unwrap(), b"curl (x%0Ay)");
/// assert!(!headers.next().unwrap().is_complete);
/// ```
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The headers in the text of `cs-headers` or `cs-header-names`.
    pub fn new(text: &'a [u8]) -> Headers<'a> {
        Headers { rest: text }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        while !self.rest.is_empty() {
            let found = memmem::find(self.rest, b"%0A");
            let entry = &self.rest[..found.unwrap_or(self.rest.len())];
            self.rest = found.map_or(&[], |at| &self.rest[at + 3..]);
            if !entry.is_empty() {
                let (name, value) = match memchr(b':', entry) {
                    Some(at) => (&entry[..at], Some(&entry[at + 1..])),
                    None => (entry, None),
                };
                return Some(Header { name, value, is_complete: found.is_some() });
            }
        }
        None
    }
}

impl std::iter::FusedIterator for Headers<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(name: &'a str, value: Option<&'a str>, is_complete: bool) -> Header<'a> {
        Header { name: name.as_bytes(), value: value.map(str::as_bytes), is_complete }
    }

    #[test]
    fn the_first_colon_splits_and_escapes_stay_raw() {
        let headers: Vec<_> = Headers::new(b"Host:a:80%0AReferer:http://b/%20%0ADNT:%0A").collect();
        let expected = [
            header("Host", Some("a:80"), true),
            header("Referer", Some("http://b/%20"), true),
            header("DNT", Some(""), true),
        ];
        assert_eq!(headers, expected);
        assert_eq!(&*headers[1].value_decoded().unwrap(), b"http://b/ ");
    }

    #[test]
    fn an_escaped_newline_of_the_viewer_forges_no_header() {
        let headers: Vec<_> = Headers::new(b"X:a%250AHost:evil%0AY:b%0A").collect();
        assert_eq!(headers, [header("X", Some("a%250AHost:evil"), true), header("Y", Some("b"), true)]);
    }

    #[test]
    fn the_last_entry_may_be_cut_anywhere() {
        for (cut, last) in [
            ("A:b%0AAccept:x%2", header("Accept", Some("x%2"), false)),
            ("A:b%0AAccept:x%0", header("Accept", Some("x%0"), false)),
            ("A:b%0AAcc", header("Acc", None, false)),
        ] {
            assert_eq!(Headers::new(cut.as_bytes()).last(), Some(last));
        }
        assert_eq!(Headers::new(b"A:b%0A").count(), 1);
        assert_eq!(Headers::new(b"").count(), 0);
    }

    #[test]
    fn names_alone_have_no_value() {
        let names: Vec<_> = Headers::new(b"Host%0Acookie%0A").map(|header| (header.name, header.value)).collect();
        assert_eq!(names, [(&b"Host"[..], None), (&b"cookie"[..], None)]);
    }
}
