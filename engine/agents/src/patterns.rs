//! Many patterns, and the first of them that a user agent matches.

use aho_corasick::AhoCorasick;
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::HirKind;

/// The most bytes that a pattern, and all of them that are not plain text, may take when compiled.
pub(crate) const MAX_COMPILED_LEN: usize = 16 << 20;

/// Patterns in their order.
///
/// Most patterns of lists of bots are plain text. One automaton finds any number of these, while a
/// set of regular expressions becomes slow at some hundred.
pub(crate) struct Patterns {
    texts: AhoCorasick,
    /// Which pattern each text is.
    of_texts: Vec<usize>,
    regexes: RegexSet,
    /// Which pattern each regular expression is.
    of_regexes: Vec<usize>,
}

/// The pattern that is refused, by its place, and why.
pub(crate) type Refused = (usize, regex::Error);

impl Patterns {
    /// Regular expressions that are matched with bytes, and whose classes are ASCII.
    pub(crate) fn new(patterns: &[&str]) -> Result<Patterns, Refused> {
        let (mut texts, mut of_texts) = (Vec::new(), Vec::new());
        let (mut regexes, mut of_regexes) = (Vec::new(), Vec::new());
        for (index, &pattern) in patterns.iter().enumerate() {
            if let Some(text) = plain_text(pattern) {
                texts.push(text);
                of_texts.push(index);
            } else {
                // One by one, since a set does not say which of its patterns it refuses.
                let compiled = RegexBuilder::new(pattern).unicode(false).size_limit(MAX_COMPILED_LEN).build();
                compiled.map_err(|error| (index, error))?;
                regexes.push(pattern);
                of_regexes.push(index);
            }
        }
        let set = RegexSetBuilder::new(regexes).unicode(false).size_limit(MAX_COMPILED_LEN).build();
        Ok(Patterns {
            texts: AhoCorasick::new(texts).expect("its limit is 2^31 bytes of text, which no list comes near"),
            of_texts,
            regexes: set.map_err(|error| (of_regexes.last().copied().unwrap_or_default(), error))?,
            of_regexes,
        })
    }

    /// The place of the first pattern that matches.
    pub(crate) fn first(&self, user_agent: &[u8]) -> Option<usize> {
        let texts = self.texts.find_overlapping_iter(user_agent).map(|found| self.of_texts[found.pattern()]);
        let regexes = self.regexes.matches(user_agent).into_iter().map(|found| self.of_regexes[found]);
        texts.chain(regexes).min()
    }
}

/// The text that is all a pattern can match; `None` if it is more than text, or no pattern at all.
fn plain_text(pattern: &str) -> Option<Box<[u8]>> {
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    match parsed.into_kind() {
        HirKind::Literal(text) => Some(text.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_told_from_what_is_more() {
        for (pattern, text) in [("a b", "a b"), (r"Googlebot\/2\.1", "Googlebot/2.1"), ("Prüfer", "Prüfer")] {
            assert_eq!(plain_text(pattern).as_deref(), Some(text.as_bytes()), "{pattern}");
        }
        for pattern in ["", "^a", "a$", "[ab]", "a|b", "a.c", "(?i)a", r"\d", "(open"] {
            assert_eq!(plain_text(pattern), None, "{pattern}");
        }
    }

    proptest! {
        /// Against the patterns one by one.
        #[test]
        fn the_first_match_is_found(
            patterns in proptest::collection::vec("[ab]{1,3}|\\^[ab]{1,2}|[ab]\\.[ab]|[ab]\\$|", 0..8),
            user_agent in "[abc]{0,6}",
        ) {
            let list: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let first = patterns.iter().position(|it| regex::Regex::new(it).expect("a pattern").is_match(&user_agent));
            prop_assert_eq!(Patterns::new(&list).expect("patterns").first(user_agent.as_bytes()), first);
        }
    }
}
