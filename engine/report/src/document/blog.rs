//! A blog: what its pages are about, where its readers are, and whether they read on a phone.

use std::collections::BTreeMap;

use pixel_engine_agents::Device;
use serde::Serialize;

use super::{Definition, Scale, View, percent};
use crate::agent_reader::AgentReader;
use crate::state::{Dimension, State};
use crate::top::{Row, Top};

/// What a blog wants to know; beacons without bots.
#[derive(Clone, Debug, Serialize)]
pub struct Blog {
    /// What each number means.
    pub definitions: Vec<Definition>,
    /// What pages are about.
    pub topics: Shares,
    /// Where readers are.
    pub countries: Shares,
    /// What they read on.
    pub devices: Shares,
    /// Beacons from phones and tablets.
    pub mobile: u64,
    /// These in percent of the beacons of all devices.
    pub mobile_percent: f64,
}

/// Parts of a number of beacons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shares {
    /// Beacons that have a name.
    pub beacons: u64,
    /// The most frequent names.
    pub rows: Vec<Share>,
    /// Beacons of names that have no row.
    pub others: u64,
    /// By how much a name's count may be off at least, as the table that it comes from had no room
    /// for all; a topic has that for each of its pages. 0 when every count is exact.
    pub error: u64,
}

/// A part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Beacons.
    pub beacons: u64,
    /// These in percent of all that have a name.
    pub percent: f64,
}

pub(super) fn blog(state: &State, agents: &AgentReader, view: &View, scale: Scale) -> Blog {
    let of = |dimension, name: &dyn Fn(&Row) -> Option<String>| Parts::of(state.top(dimension), name);
    let topics = of(Dimension::Page, &|row| Some(topic(&row.name).to_owned()));
    let countries = of(Dimension::Country, &|row| Some(row.name.clone()));
    let device = |row: &Row| agents.read(&row.name).device;
    let devices = of(Dimension::Agent, &|row| match device(row) {
        Device::Bot => None,
        device => Some(device.name().to_owned()),
    });
    let is_mobile = |name: &str| [Device::Phone, Device::Tablet].iter().any(|device| device.name() == name);
    let mobile: u64 = devices.counts.iter().filter(|(name, _)| is_mobile(name)).map(|(_, beacons)| *beacons).sum();
    let definition = |name, definition: &str| Definition { name, definition: definition.to_owned() };
    Blog {
        definitions: vec![
            definition(
                "topics",
                "the first part of the page's path, behind a date such as /2026/01/05/ if there is one; beacons \
                 without bots",
            ),
            definition("countries", "c-country, which CloudFront finds by the viewer's address"),
            definition("devices", "the class of device that cs-user-agent names"),
            definition("mobile", "beacons of phones and tablets, in percent of those of all devices"),
        ],
        mobile: scale.count(mobile),
        mobile_percent: percent(mobile, devices.counts.values().sum()),
        topics: topics.shares(view, scale),
        countries: countries.shares(view, scale),
        devices: devices.shares(view, scale),
    }
}

struct Parts {
    counts: BTreeMap<String, u64>,
    error: u64,
}

impl Parts {
    fn of(top: &Top, name: impl Fn(&Row) -> Option<String>) -> Parts {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for row in top.rows() {
            let beacons = row.counts.all - row.counts.bots;
            if beacons > 0
                && let Some(name) = name(&row)
            {
                *counts.entry(name).or_default() += beacons;
            }
        }
        Parts { counts, error: top.error() }
    }

    fn shares(self, view: &View, scale: Scale) -> Shares {
        let all: u64 = self.counts.values().sum();
        let mut rows: Vec<(String, u64)> = self.counts.into_iter().collect();
        // Equal ones stay in the order of the alphabet.
        rows.sort_by_key(|(_, beacons)| std::cmp::Reverse(*beacons));
        rows.truncate(view.top);
        let shown: u64 = rows.iter().map(|(_, beacons)| beacons).sum();
        Shares {
            beacons: scale.count(all),
            rows: rows
                .into_iter()
                .map(|(name, beacons)| Share { name, beacons: scale.count(beacons), percent: percent(beacons, all) })
                .collect(),
            others: scale.count(all - shown),
            error: scale.count(self.error),
        }
    }
}

/// What a page, host and path, is about.
fn topic(page: &str) -> &str {
    let path = page.find('/').map_or("", |slash| &page[slash..]);
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return "(front page)";
    }
    if parts.next_if(|part| is_date(part)).is_some() {
        // Day and month behind a year.
        for _ in 0..2 {
            parts.next_if(|part| part.len() <= 2 && is_number(part));
        }
    }
    parts.next().unwrap_or("(archive)")
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `2026`, `2026-01` or `2026-01-05`.
fn is_date(part: &str) -> bool {
    let mut numbers = part.split('-');
    let is_year = numbers
        .next()
        .is_some_and(|year| year.len() == 4 && is_number(year) && (year.starts_with("19") || year.starts_with("20")));
    let rest: Vec<&str> = numbers.collect();
    is_year && rest.len() <= 2 && rest.iter().all(|number| number.len() == 2 && is_number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_is_the_first_part_of_the_path_that_is_no_date() {
        for (page, wanted) in [
            ("a.example/blog/x", "blog"),
            ("a.example/blog", "blog"),
            ("a.example/2026/01/05/rust/x", "rust"),
            ("a.example/2026/1/rust", "rust"),
            ("a.example/2026-01-05/rust", "rust"),
            ("a.example/2026-01-05-rust", "2026-01-05-rust"),
            ("a.example/2026/01/", "(archive)"),
            ("a.example/2026/01/05/06", "06"),
            ("a.example/1234/x", "1234"),
            ("a.example/2026x/x", "2026x"),
            ("a.example/", "(front page)"),
            ("/blog//x", "blog"),
            ("text", "(front page)"),
        ] {
            assert_eq!(topic(page), wanted, "{page}");
        }
    }
}
