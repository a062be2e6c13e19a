//! The built-in list of bots, and what a bot is called.

use std::borrow::Cow;

use crate::patterns::Patterns;

const BOTS: &str = include_str!("../data/bots.tsv");

/// A bot that a list knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bot {
    /// What it calls itself, as far as the list goes by it: `Googlebot`; of a list of your own, the
    /// pattern.
    pub name: Cow<'static, str>,
    /// What it is for.
    pub kind: BotKind,
}

/// What a bot is for: the tags of crawler-user-agents, mail proxies, and your own list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BotKind {
    /// Universities and surveys.
    Academic,
    /// Checks of advertisements, and of the pages that carry them.
    Advertising,
    /// Collects for language models, or fetches for somebody who asks one.
    AiCrawler,
    /// Keeps copies of pages.
    Archiver,
    /// A browser that a program drives, without a window as a rule.
    BrowserAutomation,
    /// Looks for new entries of a feed.
    FeedReader,
    /// A library or a command line tool that fetches for a program.
    HttpLibrary,
    /// Fetches the images of a message for those who read it, or before they do. An open that it
    /// reports says nothing about the reader's place, device or time, and may not be one.
    ///
    /// Gmail's, Yahoo Mail's, Fastmail's and Shortwave's say who they are. Apple Mail's Privacy
    /// Protection does not: its requests carry no more than `Mozilla/5.0`, which other programs
    /// send too.
    MailProxy,
    /// Checks that a page is up, or as fast as it was.
    Monitoring,
    /// On a list of your own.
    OwnList,
    /// Looks for weaknesses, or for what software is in use.
    Scanner,
    /// Fills the index of a search engine.
    SearchEngine,
    /// Analyses pages for marketing.
    Seo,
    /// Shows a card for a link that somebody posted.
    SocialPreview,
}

impl BotKind {
    /// Every kind, in the order of their names.
    pub const ALL: &[BotKind] = &[
        BotKind::Academic,
        BotKind::Advertising,
        BotKind::AiCrawler,
        BotKind::Archiver,
        BotKind::BrowserAutomation,
        BotKind::FeedReader,
        BotKind::HttpLibrary,
        BotKind::MailProxy,
        BotKind::Monitoring,
        BotKind::OwnList,
        BotKind::Scanner,
        BotKind::SearchEngine,
        BotKind::Seo,
        BotKind::SocialPreview,
    ];

    /// A name for reports: lower case, with hyphens. Where the list has a tag, it is the tag.
    pub fn name(self) -> &'static str {
        match self {
            BotKind::Academic => "academic",
            BotKind::Advertising => "advertising",
            BotKind::AiCrawler => "ai-crawler",
            BotKind::Archiver => "archiver",
            BotKind::BrowserAutomation => "browser-automation",
            BotKind::FeedReader => "feed-reader",
            BotKind::HttpLibrary => "http-library",
            BotKind::MailProxy => "mail-proxy",
            BotKind::Monitoring => "monitoring",
            BotKind::OwnList => "own-list",
            BotKind::Scanner => "scanner",
            BotKind::SearchEngine => "search-engine",
            BotKind::Seo => "seo",
            BotKind::SocialPreview => "social-preview",
        }
    }
}

/// crawler-user-agents, in the order of its entries.
pub(crate) struct BuiltInList {
    entries: Vec<Entry>,
    patterns: Patterns,
}

/// A line of [`BOTS`].
struct Entry {
    kind: BotKind,
    name: &'static str,
    pattern: &'static str,
}

impl BuiltInList {
    pub(crate) fn new() -> BuiltInList {
        let entries: Vec<Entry> = BOTS.lines().map(|line| parse(line).expect("a test reads every line")).collect();
        let patterns: Vec<&str> = entries.iter().map(|entry| entry.pattern).collect();
        let patterns = Patterns::new(&patterns).expect("every test compiles them");
        BuiltInList { entries, patterns }
    }

    pub(crate) fn find(&self, user_agent: &[u8]) -> Option<Bot> {
        let Entry { kind, name, .. } = self.entries[self.patterns.first(user_agent)?];
        Some(Bot { name: Cow::Borrowed(name), kind })
    }
}

fn parse(line: &'static str) -> Option<Entry> {
    let mut columns = line.split('\t');
    let kind = columns.next()?;
    let kind = BotKind::ALL.iter().copied().find(|it| it.name() == kind)?;
    Some(Entry { kind, name: columns.next()?, pattern: columns.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(user_agent: &str) -> Option<(String, &'static str)> {
        BuiltInList::new().find(user_agent.as_bytes()).map(|bot| (bot.name.into_owned(), bot.kind.name()))
    }

    #[test]
    fn every_line_of_the_list_is_read() {
        assert!(BOTS.lines().count() > 1500);
        for line in BOTS.lines() {
            assert!(parse(line).is_some(), "{line}");
        }
    }

    #[test]
    fn bots_are_named_with_their_kind() {
        for (user_agent, name, kind) in [
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot", "search-engine"),
            ("Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)", "GPTBot", "ai-crawler"),
            (
                "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
                "facebookexternalhit",
                "social-preview",
            ),
            ("curl/8.11.1", "curl", "http-library"),
            ("Wget/1.21.4", "wget", "http-library"),
            ("python-requests/2.32.3", "python-requests", "http-library"),
            ("Go-http-client/2.0", "Go-http-client", "http-library"),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0",
                "HeadlessChrome",
                "browser-automation",
            ),
            (
                "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
                "GoogleImageProxy",
                "mail-proxy",
            ),
            (
                "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
                "YahooMailProxy",
                "mail-proxy",
            ),
        ] {
            assert_eq!(find(user_agent), Some((name.to_owned(), kind)), "{user_agent}");
        }
    }

    #[test]
    fn an_anchor_is_an_anchor_and_case_is_case() {
        assert_eq!(find("a curl/8.11.1"), None);
        assert_eq!(find("GOOGLEBOT/2.1"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn the_first_entry_is_the_answer() {
        // Both are in the list, in this order, whatever their order in the text.
        let both = find("bingbot/2.0 Googlebot/2.1").expect("a bot");
        assert_eq!(both.0, "Googlebot");
        assert_eq!(find("Googlebot/2.1 bingbot/2.0").expect("a bot"), both);
    }

    #[test]
    fn kinds_are_in_the_order_of_their_names() {
        assert!(BotKind::ALL.is_sorted_by(|a, b| a < b && a.name() < b.name()));
    }
}
