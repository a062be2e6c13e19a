//! One line as a report sees it: the values of the query that matter, found in one pass.

use std::borrow::Cow;

use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use pixel_engine_log::percent;
use pixel_engine_log::query::{Parameter, QueryEncoding};
use pixel_engine_log::select::Selector;

use crate::settings::Definitions;
use crate::top::Escapes;
use crate::values::Values;

/// A value that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Event,
    Page,
    Referrer,
    Visitor,
    Source,
    Medium,
    Campaign,
}

impl Slot {
    const COUNT: usize = 7;
}

/// Finds them.
pub(crate) struct Reader(Values<{ Slot::COUNT }>);

/// A value of a line.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Parameter(Parameter<'a>, QueryEncoding),
    Field(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As the log has it.
    #[inline]
    pub(crate) fn raw(&self) -> &'a [u8] {
        match self {
            Value::Parameter(parameter, _) => parameter.value.unwrap_or_default(),
            Value::Field(text) => text,
        }
    }

    #[inline]
    pub(crate) fn escapes(&self) -> Escapes {
        match self {
            Value::Parameter(_, QueryEncoding::Twice) => Escapes::Twice,
            Value::Parameter(_, QueryEncoding::Once) => Escapes::OnceInQuery,
            Value::Field(_) => Escapes::Once,
        }
    }

    pub(crate) fn decoded(&self) -> Cow<'a, [u8]> {
        match self {
            Value::Parameter(parameter, _) => parameter.value_decoded().unwrap_or_default(),
            Value::Field(text) => percent::decode(text),
        }
    }
}

/// The values of a line.
pub(crate) struct Beacon<'a> {
    values: [Option<Value<'a>>; Slot::COUNT],
}

impl<'a> Beacon<'a> {
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&Value<'a>> {
        self.values[slot as usize].as_ref()
    }
}

impl Reader {
    pub(crate) fn new(definitions: &Definitions) -> Reader {
        let [source, medium, campaign] =
            ["utm_source", "utm_medium", "utm_campaign"].map(|name| [Selector::Query(name.into())]);
        let Definitions { event, page, referrer, visitor, .. } = definitions;
        // In the order of the slots.
        Reader(Values::new([event, page, referrer, visitor, &source, &medium, &campaign]))
    }

    #[inline]
    pub(crate) fn read<'a>(&self, line: &Line<'a>) -> Beacon<'a> {
        Beacon { values: self.0.read(line) }
    }
}

/// The name of a page: host and path of its URL, or the text as it is when it is none. `host_len`
/// bytes of it are the host.
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) host_len: usize,
}

impl Page {
    /// Reads `http://host/path?query#fragment`, with the scheme or without it, and paths alone.
    pub(crate) fn read(url: &str) -> Page {
        let text = url.split(['?', '#']).next().unwrap_or_default();
        let (rest, has_scheme) = match text.split_once("://") {
            Some((_, rest)) => (rest, true),
            None => (text.strip_prefix("//").unwrap_or(text), text.starts_with("//")),
        };
        if rest.starts_with('/') && !has_scheme {
            return Page { name: rest.to_owned(), host_len: 0 };
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // `user@host`; what stands before the host is not for a report.
        let host = host.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
        let path = if path.is_empty() { "/" } else { path };
        Page { host_len: host.len(), name: host + path }
    }

    pub(crate) fn host(&self) -> &str {
        &self.name[..self.host_len]
    }
}

/// What is wrong with the escapes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A `%` without two hexadecimal digits, or what is no UTF-8 once it is decoded.
    Broken,
    /// It ends inside of an escape.
    Cut,
}

/// What is wrong with the escapes of a query that is encoded so many times.
#[inline]
pub(crate) fn fault_of(query: &[u8], encoding: QueryEncoding) -> Option<Fault> {
    let mut escapes = memchr::memchr_iter(b'%', query).peekable();
    escapes.peek()?;
    let digits_len = |from: usize| query[from..].iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let mut is_high = false;
    for at in escapes {
        // CloudFront writes the viewer's `%XX` as `%25XX`.
        let is_viewers = encoding == QueryEncoding::Twice && query[at..].starts_with(b"%25");
        let digits = if is_viewers { at + 3 } else { at + 1 };
        let len = digits_len(digits);
        if len < 2 {
            return Some(if digits + len == query.len() { Fault::Cut } else { Fault::Broken });
        }
        is_high |= query[digits] >= b'8';
    }
    // Only escapes of high bytes can make what is no UTF-8.
    if is_high && !is_text(query, encoding) {
        return Some(Fault::Broken);
    }
    None
}

#[inline(never)]
fn is_text(query: &[u8], encoding: QueryEncoding) -> bool {
    let logged = percent::decode(query);
    let text = if encoding == QueryEncoding::Twice { percent::decode(&logged) } else { Cow::Borrowed(&*logged) };
    std::str::from_utf8(&text).is_ok()
}

/// When the beacon was sent, in milliseconds since 1970: `None` if the line has no time, or one that
/// no log can have. CloudFront exists since November 2008.
#[inline]
pub(crate) fn time_of(line: &Line<'_>) -> Option<i64> {
    const FIRST: i64 = 1_225_497_600_000;
    /// 2100-01-01.
    const LAST: i64 = 4_102_444_800_000;
    line.time_millis().filter(|time| (FIRST..LAST).contains(time))
}

/// The status as a number: `000` is 0.
pub(crate) fn status_of(line: &Line<'_>) -> Option<u16> {
    std::str::from_utf8(line.get(Field::ScStatus)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_host_and_path() {
        for (url, name, host) in [
            ("https://Shop.example/a/b?c=d#e", "shop.example/a/b", "shop.example"),
            ("https://shop.example", "shop.example/", "shop.example"),
            ("https://shop.example?x", "shop.example/", "shop.example"),
            ("//shop.example/a", "shop.example/a", "shop.example"),
            ("http://user:secret@shop.example:8080/a", "shop.example:8080/a", "shop.example:8080"),
            ("/a/b?x", "/a/b", ""),
            ("shop.example/A", "shop.example/A", "shop.example"),
            ("", "/", ""),
            ("http:///a", "/a", ""),
        ] {
            let page = Page::read(url);
            assert_eq!((&*page.name, page.host()), (name, host), "{url}");
        }
    }

    #[test]
    fn broken_and_cut_escapes_are_told_apart() {
        let twice = |text: &str| fault_of(text.as_bytes(), QueryEncoding::Twice);
        for good in ["e=a", "u=http%253A%252F%252Fa", "q=Z%25C3%25BCrich", "q=%C3%BC", "q=a%20b"] {
            assert_eq!(twice(good), None, "{good}");
        }
        for broken in ["x=%25zz&b=1", "x=%zz", "x=100%25&b=1", "q=%25E4", "q=%E4"] {
            assert_eq!(twice(broken), Some(Fault::Broken), "{broken}");
        }
        for cut in ["u=http%253", "u=http%25", "u=http%2", "u=http%", "u=a%253A%252"] {
            assert_eq!(twice(cut), Some(Fault::Cut), "{cut}");
        }
        assert_eq!(fault_of(b"q=100%25&b", QueryEncoding::Once), None);
        assert_eq!(fault_of(b"q=%3", QueryEncoding::Once), Some(Fault::Cut));
    }
}
