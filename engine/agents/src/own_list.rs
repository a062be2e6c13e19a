//! A list of bots that the user brings.

use std::borrow::Cow;

use thiserror::Error;

use crate::bots::{Bot, BotKind};
use crate::patterns::{MAX_COMPILED_LEN, Patterns};

/// Why a list of your own cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, `{pattern}`: {problem}")]
pub struct OwnListError {
    /// The line, from 1.
    pub line: usize,
    /// What is on it.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: OwnListProblem,
}

/// What is wrong with a line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OwnListProblem {
    /// It is not a regular expression: a group or a class is open, or look-around is used, which the
    /// crate `regex` does not have. The text is the crate's.
    #[error("{0}")]
    Syntax(String),
    /// It repeats too much, or too many lines before it are more than plain text.
    #[error("compiled, the patterns up to here take more than {} MiB", MAX_COMPILED_LEN >> 20)]
    TooLarge,
}

pub(crate) struct OwnList {
    names: Vec<String>,
    patterns: Patterns,
}

impl OwnList {
    pub(crate) fn new(list: &str) -> Result<OwnList, OwnListError> {
        let lines = list.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let lines: Vec<(usize, &str)> =
            lines.filter(|(_, pattern)| !pattern.is_empty() && !pattern.starts_with('#')).collect();
        let patterns: Vec<&str> = lines.iter().map(|(_, pattern)| *pattern).collect();
        let compiled = Patterns::new(&patterns).map_err(|(index, error)| refused(lines[index], &error))?;
        Ok(OwnList { names: patterns.into_iter().map(str::to_owned).collect(), patterns: compiled })
    }

    pub(crate) fn find(&self, user_agent: &[u8]) -> Option<Bot> {
        let first = self.patterns.first(user_agent)?;
        Some(Bot { name: Cow::Owned(self.names[first].clone()), kind: BotKind::OwnList })
    }
}

fn refused((line, pattern): (usize, &str), error: &regex::Error) -> OwnListError {
    let problem = match error {
        regex::Error::CompiledTooBig(_) => OwnListProblem::TooLarge,
        // The crate draws the place over several lines, and says what it is on the last.
        error => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            OwnListProblem::Syntax(reason.strip_prefix("error: ").unwrap_or(reason).to_owned())
        }
    };
    OwnListError { line, pattern: pattern.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(list: &str) -> String {
        OwnList::new(list).err().expect("the list is refused").to_string()
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let list = OwnList::new("# Ours\n\n  Example[Bb]ot \r\n\t# and theirs\n(?i)^other\n").expect("a list");
        let found = |user_agent: &str| list.find(user_agent.as_bytes()).map(|bot| bot.name.into_owned());
        assert_eq!(found("an Examplebot/1").as_deref(), Some("Example[Bb]ot"));
        assert_eq!(found("OTHER Examplebot").as_deref(), Some("Example[Bb]ot"));
        assert_eq!(found("OTHER").as_deref(), Some("(?i)^other"));
        assert_eq!(found("# Ours"), None);
        assert_eq!(OwnList::new("").expect("a list").find(b"Examplebot"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_matched() {
        let list = OwnList::new("a.b\nPrüfer").expect("a list");
        assert!(list.find(b"a\xFFb").is_some());
        assert!(list.find("Prüfer/1.0".as_bytes()).is_some());
    }

    #[test]
    fn an_error_says_which_line_and_what() {
        assert_eq!(error("ok\n\n(open"), "line 3, `(open`: unclosed group");
        assert_eq!(
            error("a(?!b)"),
            "line 1, `a(?!b)`: look-around, including look-ahead and look-behind, is not supported"
        );
        assert_eq!(
            error("# big\na{1000}{1000}{100}"),
            "line 2, `a{1000}{1000}{100}`: compiled, the patterns up to here take more than 16 MiB"
        );
    }

    #[test]
    fn ten_thousand_names_are_no_trouble() {
        let names: String = (0..10_000).map(|number| format!("ExampleCrawler{number}/\n")).collect();
        let list = OwnList::new(&names).expect("a list");
        assert_eq!(list.find(b"ExampleCrawler9999/1.0").expect("a bot").name, "ExampleCrawler9999/");
    }
}
