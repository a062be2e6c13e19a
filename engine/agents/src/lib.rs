//! Who sent a request, by its `User-Agent`: the browser, the operating system, the class of device,
//! and whether it was a bot.
//!
//! Two lists by others answer, which `data/README.md` describes: crawler-user-agents names bots,
//! and uap-core names browsers and systems. Both are part of the program. A user agent is a claim,
//! and nobody has to tell the truth: what calls itself Chrome is counted as Chrome.
//!
//! ```
//! use pixel_engine_agents::{Agents, BotKind, Device};
//!
//! let agents = Agents::new();
//! let agent = agents.read(
//!     b"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) \
//!       Chrome/142.0.0.0 Mobile Safari/537.36",
//! );
//! let browser = agent.browser.expect("a browser is named");
//! assert_eq!((browser.family.as_str(), browser.major.as_deref()), ("Chrome Mobile", Some("142")));
//! assert_eq!(agent.system.as_deref(), Some("Android"));
//! assert_eq!(agent.device, Device::Phone);
//! assert_eq!(agent.bot, None);
//!
//! let bot = agents.bot(b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)");
//! assert_eq!(bot.expect("it is listed").kind, BotKind::SearchEngine);
//! ```

mod bots;
mod device;
mod families;
mod own_list;
mod patterns;
mod tools;

use std::sync::OnceLock;

use bots::BuiltInList;
use families::{Browsers, Systems};
use own_list::OwnList;

pub use bots::{Bot, BotKind};
pub use device::Device;
pub use families::Browser;
pub use own_list::{OwnListError, OwnListProblem};

/// The list that names bots, and its version: what a report must say of how it filtered.
pub const BOT_LIST: &str = "crawler-user-agents 1.67.0, of 2026-10-25";

/// Reads user agents. It is built once, and asked by any number of threads.
///
/// Ask once for each distinct user agent, and keep the answer. What that costs, on one core of a
/// shared x86-64 server and for user agents of 75 bytes in the mean:
///
/// | | time | memory |
/// |---|---|---|
/// | [`Agents::new`] | 12 ms | 3 MB |
/// | [`Agents::bot`] | 1 µs | |
/// | the first [`Agents::read`] | 50 to 70 ms | 11 MB |
/// | each other | 40 to 70 µs, of 8,000 bytes 0.6 ms | |
///
/// Each thread that reads takes memory for the rules that its user agents come to: 1.5 MB for 75
/// usual ones, 18 MB for every rule there is. So it is best to read on one thread, or on a few.
pub struct Agents {
    own: Option<OwnList>,
    built_in: BuiltInList,
    // Only a report needs these, and they are most of the memory.
    browsers: OnceLock<Browsers>,
    systems: OnceLock<Systems>,
}

/// What a user agent says about its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The browser or app; `None` when no rule of uap-core names it.
    pub browser: Option<Browser>,
    /// The family of the operating system without its version, as uap-core spells it: `Windows`,
    /// `Mac OS X`, `iOS`, `Android`; `None` when no rule names it.
    pub system: Option<String>,
    /// The class of device.
    pub device: Device,
    /// The bot; `None` when neither list has it.
    pub bot: Option<Bot>,
}

impl Agents {
    /// The built-in lists.
    pub fn new() -> Agents {
        Agents { own: None, built_in: BuiltInList::new(), browsers: OnceLock::new(), systems: OnceLock::new() }
    }

    /// The built-in lists and one of your own: one regular expression a line, in the syntax of the
    /// crate `regex`. Empty lines, and lines that begin with `#`, say nothing.
    ///
    /// A pattern is searched for anywhere in the user agent, and case matters: `^` and `(?i)` change
    /// that. It is matched with bytes, so that `.` is any byte but a newline, and `\d`, `\w` and
    /// `(?i)` know ASCII only. Your own list is asked first, and its bots are of
    /// [`BotKind::OwnList`].
    ///
    /// ```
    /// use pixel_engine_agents::{Agents, BotKind};
    ///
    /// let agents = Agents::with_own_list("# Ours\n^ExampleMonitor/\n")?;
    /// let bot = agents.bot(b"ExampleMonitor/2.0").expect("it is listed");
    /// assert_eq!((&*bot.name, bot.kind), ("^ExampleMonitor/", BotKind::OwnList));
    ///
    /// let error = Agents::with_own_list("# Ours\nExample(Monitor").err().expect("a group is open");
    /// assert_eq!(error.to_string(), "line 2, `Example(Monitor`: unclosed group");
    /// # Ok::<(), pixel_engine_agents::OwnListError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A line is not a regular expression, or the list is too large to be compiled.
    pub fn with_own_list(list: &str) -> Result<Agents, OwnListError> {
        Ok(Agents { own: Some(OwnList::new(list)?), ..Agents::new() })
    }

    /// The bot that sent this user agent, and nothing else about it; `None` when no list has it.
    ///
    /// Where several patterns match, the first in the list is the answer.
    pub fn bot(&self, user_agent: &[u8]) -> Option<Bot> {
        self.own.as_ref().and_then(|own| own.find(user_agent)).or_else(|| self.built_in.find(user_agent))
    }

    /// Whether an HTTP library, a headless browser or a command line tool sent this user agent: what
    /// nobody looks at a page with.
    ///
    /// These are the bots of [`BotKind::HttpLibrary`] and [`BotKind::BrowserAutomation`], and
    /// libraries that the list does not have, such as `Java/17.0.1`.
    pub fn is_tool(&self, user_agent: &[u8]) -> bool {
        let kind = self.built_in.find(user_agent).map(|bot| bot.kind);
        matches!(kind, Some(BotKind::HttpLibrary | BotKind::BrowserAutomation)) || tools::is_tool(user_agent)
    }

    /// All that a user agent says. The first call prepares the rules for browsers and systems.
    ///
    /// Bytes that are not UTF-8 are read as U+FFFD.
    pub fn read(&self, user_agent: &[u8]) -> Agent {
        let text = String::from_utf8_lossy(user_agent);
        let bot = self.bot(user_agent);
        let system = self.systems.get_or_init(Systems::new).find(&text);
        let device = if bot.is_some() { Device::Bot } else { Device::read(&text, system.as_deref()) };
        Agent { browser: self.browsers.get_or_init(Browsers::new).find(&text), system, device, bot }
    }
}

impl Default for Agents {
    fn default() -> Agents {
        Agents::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static AGENTS: LazyLock<Agents> = LazyLock::new(Agents::new);

    #[test]
    fn the_version_of_the_list_is_that_of_the_data() {
        let (name, version) = BOT_LIST.split_once(' ').unwrap();
        let readme = include_str!("../data/README.md");
        let line = readme.lines().find(|line| line.starts_with("| `bots.tsv`")).unwrap();
        assert!(line.contains(name) && line.contains(version), "{line}");
    }

    #[test]
    fn a_verdict_about_bots_prepares_no_rules() {
        let agents = Agents::new();
        assert!(agents.bot(b"curl/8.11.1").is_some() && agents.is_tool(b"curl/8.11.1"));
        assert!(agents.browsers.get().is_none() && agents.systems.get().is_none());
        agents.read(b"curl/8.11.1");
        assert!(agents.browsers.get().is_some() && agents.systems.get().is_some());
    }

    #[test]
    fn an_own_list_adds_to_the_built_in_one() {
        let agents = Agents::with_own_list("ExampleShop/\n^Googlebot").expect("a list");
        let kind = |user_agent: &[u8]| agents.bot(user_agent).map(|bot| bot.kind);
        assert_eq!(kind(b"ExampleShop/12.4"), Some(BotKind::OwnList));
        assert_eq!(kind(b"Googlebot/2.1"), Some(BotKind::OwnList));
        assert_eq!(kind(b"bingbot/2.0"), Some(BotKind::SearchEngine));
        assert_eq!(kind(b"Mozilla/5.0"), None);
        assert_eq!(agents.read(b"ExampleShop/12.4").device, Device::Bot);
    }

    #[test]
    fn tools_are_told_from_browsers_and_other_bots() {
        let is_tool = |user_agent: &str| AGENTS.is_tool(user_agent.as_bytes());
        for tool in [
            "curl/8.11.1",
            "Wget/1.21.4",
            "python-requests/2.32.3",
            "Go-http-client/2.0",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0.0.0 Safari/537.36",
            // No bots to the list.
            "Java/17.0.1",
            "PostmanRuntime/7.43.0",
            "GuzzleHttp/7",
        ] {
            assert!(is_tool(tool), "{tool}");
        }
        for other in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "-",
            "",
        ] {
            assert!(!is_tool(other), "{other}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing() {
        let agent = AGENTS.read(b"Mozilla/5.0 (Windows NT 10.0; \xFF\xC3) Gecko/20100101 Firefox/145.0");
        assert_eq!(agent.browser, Some(Browser { family: "Firefox".to_owned(), major: Some("145".to_owned()) }));
        assert_eq!(agent.device, Device::Desktop);
        assert!(AGENTS.bot(b"\xFF Googlebot/2.1 \xC3").is_some());
    }

    /// Bytes, with pieces of user agents between them.
    fn user_agents() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..24),
            prop::sample::select(vec![
                "Mozilla/5.0 (",
                "Linux; Android 14; ",
                "iPhone; CPU iPhone OS 18_6 like Mac OS X",
                "Windows NT 10.0; ",
                ") AppleWebKit/537.36 (KHTML, like Gecko) ",
                "Chrome/142.0.0.0 ",
                "Mobile Safari/604.1",
                "CFNetwork/1568 Darwin/24.2.0",
                "Googlebot/",
                "HbbTV/1.4.1 (; Sony;",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(user_agent in user_agents()) {
            let agent = AGENTS.read(&user_agent);
            prop_assert_eq!(&agent.bot, &AGENTS.bot(&user_agent));
            prop_assert_eq!(agent.bot.is_some(), agent.device == Device::Bot);
        }

        #[test]
        fn any_own_list_is_read_or_refused_with_its_line(list in "(?s).{0,64}") {
            match Agents::with_own_list(&list) {
                Ok(agents) => { agents.bot(list.as_bytes()); }
                Err(error) => {
                    let line = list.lines().nth(error.line - 1).expect("the line is in the list");
                    prop_assert_eq!(line.trim(), error.pattern);
                }
            }
        }
    }
}
