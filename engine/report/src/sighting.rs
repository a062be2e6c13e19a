//! Single events as a report shows them: the most recent ones, and examples of what is abnormal.
//!
//! No address is among them, in any field: see [`Sighting`].

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use pixel_engine_log::percent;
use pixel_engine_log::query::{Query, QueryEncoding};
use serde::{Deserialize, Serialize};

/// An event, in text that people read. Fields that may hold the viewer's address are left out
/// (c-ip, x-forwarded-for, cs-headers, cs-cookie), and values of the query that are one are
/// replaced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// Milliseconds since 1970; 0 without a time.
    pub(crate) time: i64,
    pub(crate) event: String,
    pub(crate) page: String,
    pub(crate) country: String,
    pub(crate) status: String,
    pub(crate) agent: String,
    /// The query, decoded.
    pub(crate) query: String,
}

/// The most characters of a text that are shown.
const MAX_CHARS: usize = 200;

/// An event as a line has it. Event and page are the names that were found for them.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) time: Option<i64>,
    pub(crate) event: &'a str,
    pub(crate) page: &'a str,
    pub(crate) country: &'a [u8],
    pub(crate) status: &'a [u8],
    pub(crate) agent: &'a [u8],
    pub(crate) query: &'a [u8],
    pub(crate) encoding: QueryEncoding,
}

impl Sight<'_> {
    /// In text that people read.
    pub(crate) fn sighting(&self) -> Sighting {
        let decoded = |text: &[u8]| String::from_utf8_lossy(&percent::decode(text)).into_owned();
        Sighting {
            time: self.time.unwrap_or_default(),
            event: cut(&without_addresses(self.event, AfterSlash::Address)),
            page: cut(&without_addresses(self.page, AfterSlash::Address)),
            country: cut(&decoded(self.country)),
            status: cut(&decoded(self.status)),
            agent: cut(&without_addresses(&decoded(self.agent), AfterSlash::Version)),
            query: query(Query::with_encoding(self.query, self.encoding)),
        }
    }
}

fn query(query: Query<'_>) -> String {
    let mut text = String::new();
    for parameter in query {
        if text.len() > 4 * MAX_CHARS {
            break;
        }
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&String::from_utf8_lossy(&parameter.name_decoded()));
        if let Some(value) = parameter.value_decoded() {
            text.push('=');
            text.push_str(&String::from_utf8_lossy(&value));
        }
    }
    cut(&without_addresses(&text, AfterSlash::Address))
}

fn cut(text: &str) -> String {
    let mut chars = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut shown: String = chars.by_ref().take(MAX_CHARS).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// What four numbers with points behind a `/` are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterSlash {
    Address,
    /// As in `Chrome/120.0.0.0`.
    Version,
}

/// The text with `(address)` in place of each IP address in it.
pub(crate) fn without_addresses(text: &str, after_slash: AfterSlash) -> Cow<'_, str> {
    let is_part = |letter: char| letter.is_ascii_hexdigit() || letter == '.' || letter == ':';
    let (mut shown, mut shown_to) = (String::new(), 0);
    let mut at = 0;
    while let Some(begin) = text[at..].find(is_part).map(|begin| at + begin) {
        let len = text[begin..].find(|letter| !is_part(letter)).unwrap_or(text.len() - begin);
        at = begin + len;
        let is_version = after_slash == AfterSlash::Version && text[..begin].ends_with('/');
        if !is_version && let Some(address) = address_in(&text[begin..at]) {
            shown.push_str(&text[shown_to..begin + address.start]);
            shown.push_str("(address)");
            shown_to = begin + address.end;
        }
    }
    if shown_to == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[shown_to..]);
    Cow::Owned(shown)
}

/// Where in a word of digits, points and colons an address is: all of it, or what stands before a
/// port or the point at the end of a sentence.
fn address_in(word: &str) -> Option<Range<usize>> {
    let start = word.len() - word.trim_start_matches('.').len();
    let mut end = word.trim_end_matches('.').len();
    while start < end {
        let text = &word[start..end];
        if text.parse::<IpAddr>().is_ok_and(|address| !address.is_unspecified()) {
            return Some(start..end);
        }
        end = start + text.rfind(':')?;
    }
    None
}

/// Keeps the latest events, or the earliest ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Examples {
    /// In order.
    kept: Vec<Sighting>,
}

impl Examples {
    /// Keeps the earliest `max`.
    #[inline]
    pub(crate) fn keep_earliest(&mut self, max: usize, time: i64, sighting: impl FnOnce() -> Sighting) {
        if self.kept.len() < max || self.kept.last().is_none_or(|last| time <= last.time) {
            self.insert(sighting());
            self.kept.truncate(max);
        }
    }

    fn insert(&mut self, sighting: Sighting) {
        let at = self.kept.partition_point(|other| *other < sighting);
        self.kept.insert(at, sighting);
    }

    pub(crate) fn merge_earliest(&mut self, max: usize, from: Examples) {
        for sighting in from.kept {
            self.keep_earliest(max, sighting.time, || sighting);
        }
    }

    /// Keeps the latest `max`.
    pub(crate) fn keep_latest(&mut self, max: usize, sighting: Sighting) {
        self.insert(sighting);
        if self.kept.len() > max {
            self.kept.remove(0);
        }
    }

    pub(crate) fn merge_latest(&mut self, max: usize, from: Examples) {
        for sighting in from.kept {
            self.keep_latest(max, sighting);
        }
    }

    pub(crate) fn earliest_first(&self) -> impl Iterator<Item = &Sighting> {
        self.kept.iter()
    }

    pub(crate) fn latest_first(&self) -> impl Iterator<Item = &Sighting> {
        self.kept.iter().rev()
    }
}

/// The latest events of a thread as their lines have them, in buffers that are used again and
/// again: in a log in order of time, each line is later than all before it.
#[derive(Default)]
pub(crate) struct Latest {
    seen: Vec<Seen>,
    /// Where the earliest of them is, once there are enough.
    earliest: usize,
}

struct Seen {
    time: i64,
    /// The parts of a [`Sight`] one after the other.
    text: Vec<u8>,
    ends: [usize; 6],
    encoding: QueryEncoding,
}

impl Latest {
    /// Keeps the event if it is among the latest `max`.
    #[inline]
    pub(crate) fn keep(&mut self, max: usize, sight: &Sight<'_>) {
        let Some(time) = sight.time else { return };
        if self.seen.len() < max {
            self.seen.push(Seen { time, text: Vec::new(), ends: [0; 6], encoding: sight.encoding });
            self.earliest = self.seen.len() - 1;
        } else if self.seen.get(self.earliest).is_none_or(|earliest| earliest.time > time) {
            return;
        }
        self.seen[self.earliest].set(time, sight);
        let earliest = self.seen.iter().enumerate().min_by_key(|(_, seen)| seen.time);
        self.earliest = earliest.map_or(0, |(index, _)| index);
    }

    /// Moves them out.
    pub(crate) fn pour(&mut self, max: usize, into: &mut Examples) {
        for seen in self.seen.drain(..) {
            into.keep_latest(max, seen.sight().sighting());
        }
    }
}

impl Seen {
    fn set(&mut self, time: i64, sight: &Sight<'_>) {
        let Seen { text, ends, .. } = self;
        text.clear();
        let parts =
            [sight.event.as_bytes(), sight.page.as_bytes(), sight.country, sight.status, sight.agent, sight.query];
        for (part, end) in parts.into_iter().zip(ends) {
            text.extend_from_slice(part);
            *end = text.len();
        }
        (self.time, self.encoding) = (time, sight.encoding);
    }

    fn sight(&self) -> Sight<'_> {
        let part = |index: usize| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            &self.text[start..self.ends[index]]
        };
        let name = |index| str::from_utf8(part(index)).expect("it was put in as text");
        Sight {
            time: Some(self.time),
            event: name(0),
            page: name(1),
            country: part(2),
            status: part(3),
            agent: part(4),
            query: part(5),
            encoding: self.encoding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(time: i64, query: &str) -> Sight<'_> {
        Sight {
            time: Some(time),
            event: "view",
            page: "a.example/",
            country: b"CH",
            status: b"200",
            agent: b"Mozilla/5.0%20Chrome/120.0.0.0",
            query: query.as_bytes(),
            encoding: QueryEncoding::Twice,
        }
    }

    #[test]
    fn no_address_is_shown() {
        for (text, shown) in [
            ("ip=203.0.113.9&a=1", "ip=(address)&a=1"),
            ("from 203.0.113.9:8080.", "from (address):8080."),
            ("2001:db8::7334 and ::1", "(address) and (address)"),
            ("at 12:30:45, v1.2, 1.2.3", "at 12:30:45, v1.2, 1.2.3"),
            ("http://[2001:db8::1]:80/", "http://[(address)]:80/"),
            ("é 203.0.113.9 é", "é (address) é"),
            ("...:::", "...:::"),
        ] {
            assert_eq!(without_addresses(text, AfterSlash::Address), shown, "{text}");
        }
        let sighting = sight(1, "ip=203.0.113.9&u=http%253A%252F%252F203.0.113.9%252F&x=%250a").sighting();
        assert_eq!(sighting.query, "ip=(address)&u=http://(address)/&x= ");
        assert_eq!(sighting.agent, "Mozilla/5.0 Chrome/120.0.0.0", "a version is no address");
    }

    #[test]
    fn the_latest_and_the_earliest_are_kept_whatever_the_order() {
        let times = [5, 1, 9, 3, 7, 2, 8];
        let (mut latest, mut poured, mut earliest) = (Latest::default(), Examples::default(), Examples::default());
        for time in times {
            let query = format!("n={time}");
            latest.keep(3, &sight(time, &query));
            earliest.keep_earliest(2, time, || sight(time, &query).sighting());
        }
        latest.keep(3, &Sight { time: None, ..sight(0, "") });
        latest.pour(3, &mut poured);
        let queries = |examples: Vec<&Sighting>| examples.iter().map(|one| one.query.clone()).collect::<Vec<_>>();
        assert_eq!(queries(poured.latest_first().collect()), ["n=9", "n=8", "n=7"]);
        assert_eq!(queries(earliest.earliest_first().collect()), ["n=1", "n=2"]);
    }

    #[test]
    fn long_texts_are_cut() {
        let query = format!("a={}", "é".repeat(300));
        let shown = sight(1, &query).sighting().query;
        assert!(shown.ends_with('…') && shown.chars().count() == MAX_CHARS + 1);
    }
}
