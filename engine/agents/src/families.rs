//! Families of browsers and systems, by the rules of uap-core.
//!
//! The first rule that matches is the answer, as uap-core's specification says. Rules are lines of
//! a file: a regular expression, and the family if it is not what the first group matched; for
//! browsers then the major version, if it is not what the second group matched.
//!
//! As in every implementation with finite automata, `{0,100}` in a rule is read as `*`, and `\d` and
//! `\w` are ASCII.

use std::borrow::Cow;

use ua_parser::{os, user_agent};

const BROWSERS: &str = include_str!("../data/browsers.tsv");
const SYSTEMS: &str = include_str!("../data/systems.tsv");

/// A browser, or another program that shows pages or fetches them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Browser {
    /// Its name without a version, as uap-core spells it: `Chrome`, `Mobile Safari`, `Edge`.
    pub family: String,
    /// The first part of its version, such as `142`, where the user agent has one.
    pub major: Option<String>,
}

pub(crate) struct Browsers(user_agent::Extractor<'static>);

impl Browsers {
    pub(crate) fn new() -> Browsers {
        let rules = BROWSERS.lines().map(|line| {
            let [regex, family, major] = columns(line);
            user_agent::Parser {
                regex: Cow::Borrowed(regex),
                family_replacement: given(family),
                v1_replacement: given(major),
                ..user_agent::Parser::default()
            }
        });
        let builder = user_agent::Builder::new().push_all(rules).expect("the rules are those that tests read");
        Browsers(builder.build().expect("the rules are those that tests read"))
    }

    pub(crate) fn find(&self, user_agent: &str) -> Option<Browser> {
        let found = self.0.extract(user_agent)?;
        Some(Browser { family: found.family.into_owned(), major: found.major.map(str::to_owned) })
    }
}

pub(crate) struct Systems(os::Extractor<'static>);

impl Systems {
    pub(crate) fn new() -> Systems {
        let rules = SYSTEMS.lines().map(|line| {
            let [regex, family] = columns(line);
            os::Parser { regex: Cow::Borrowed(regex), os_replacement: given(family), ..os::Parser::default() }
        });
        let builder = os::Builder::new().push_all(rules).expect("the rules are those that tests read");
        Systems(builder.build().expect("the rules are those that tests read"))
    }

    pub(crate) fn find(&self, user_agent: &str) -> Option<String> {
        Some(self.0.extract(user_agent)?.os.into_owned())
    }
}

/// The columns of a line; those that it leaves out are empty.
fn columns<const N: usize>(line: &'static str) -> [&'static str; N] {
    let mut columns = line.split('\t');
    std::array::from_fn(|_| columns.next().unwrap_or_default())
}

fn given(column: &'static str) -> Option<Cow<'static, str>> {
    (!column.is_empty()).then_some(Cow::Borrowed(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_and_a_version_come_from_groups_or_from_the_rule() {
        let browsers = Browsers::new();
        let found = |user_agent: &str| browsers.find(user_agent).map(|it| (it.family, it.major));
        let expected = |family: &str, major: Option<&str>| Some((family.to_owned(), major.map(str::to_owned)));
        assert_eq!(found("curl/8.11.1"), expected("curl", Some("8")));
        assert_eq!(found("python-requests/2.32.3"), expected("Python Requests", Some("2")));
        assert_eq!(found("Explorer/4 CFNetwork/1.0"), expected("Explorer for ArcGIS", Some("4")));
        assert_eq!(found("Mozilla/5.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/5.0)"), expected("IE", Some("9")),);
        assert_eq!(found(""), None);
    }
}
