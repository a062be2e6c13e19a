//! What visits are told in, beside the vocabulary of hits: sites, and agents by whether they are
//! people's.

use crate::random::Skewed;
use crate::tables::{self, Agent, Family, REFERRERS, Tables};

/// Bots as they name themselves, one or more of each family.
const BOTS: [&str; 16] = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.2; +https://openai.com/gptbot",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36",
    "python-requests/2.32.3",
    "curl/8.11.1",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    "Go-http-client/2.0",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    "Wget/1.21.4",
    "Twitterbot/1.0",
    "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
];

/// How links of campaigns name where they stand: `utm_source` and `utm_medium`.
pub(super) const MEDIA: [(&str, &str); 5] =
    [("newsletter", "email"), ("search", "cpc"), ("social", "paid"), ("partner", "referral"), ("app", "push")];

/// A site that carries the pixel, and shows advertisements as a publisher.
pub(super) struct Site {
    pub(super) host: String,
    /// Its pages, by where they stand in the tables.
    pub(super) pages: Skewed<usize>,
}

pub(super) struct Vocabulary {
    pub(super) tables: Tables,
    /// People's, then bots'.
    pub(super) agents: Vec<Agent>,
    pub(super) people: Skewed<usize>,
    pub(super) bots: Skewed<usize>,
    pub(super) sites: Skewed<Site>,
    /// Of each page of the tables, its host and path.
    pub(super) page_names: Vec<String>,
    /// Of each referrer of the tables, its host; empty for the empty one.
    pub(super) referrer_hosts: Vec<&'static str>,
}

impl Vocabulary {
    pub(super) fn new() -> Vocabulary {
        let tables = Tables::new();
        let mut agents: Vec<Agent> =
            tables::agents().into_iter().filter(|agent| agent.family != Family::Machine).collect();
        let people = agents.len();
        agents.extend(BOTS.iter().map(|text| tables::agent(text, Family::Machine)));

        let mut page_names = Vec::new();
        let mut pages_by_host: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, page) in tables.pages.items().iter().enumerate() {
            let url = String::from_utf8_lossy(&page.url);
            let name = after_scheme(url.split('?').next().unwrap_or_default());
            page_names.push(name.to_owned());
            // Campaigns are told by the parameters of the hit, not by those of the page's own URL.
            if url.contains("utm_") {
                continue;
            }
            let host = host(&url);
            match pages_by_host.iter_mut().find(|(known, _)| known == host) {
                Some((_, pages)) => pages.push(index),
                None => pages_by_host.push((host.to_owned(), vec![index])),
            }
        }
        let sites =
            pages_by_host.into_iter().map(|(host, pages)| Site { host, pages: Skewed::new(pages, 0.0) }).collect();
        Vocabulary {
            people: Skewed::new((0..people).collect(), 0.5),
            bots: Skewed::new((people..agents.len()).collect(), 0.5),
            agents,
            sites: Skewed::new(sites, 1.0),
            page_names,
            referrer_hosts: REFERRERS.iter().map(|url| host(url)).collect(),
            tables,
        }
    }

    pub(super) fn is_bot(&self, agent: usize) -> bool {
        agent >= self.people.items().len()
    }
}

fn after_scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(_, rest)| rest)
}

fn host(url: &str) -> &str {
    after_scheme(url).split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_referrers_are_known_by_name() {
        let vocabulary = Vocabulary::new();
        assert_eq!(vocabulary.sites.items().len(), 12);
        for site in vocabulary.sites.items() {
            for &page in site.pages.items() {
                assert!(vocabulary.page_names[page].starts_with(&format!("{}/", site.host)));
                assert!(!vocabulary.page_names[page].contains(['?', '%']));
            }
        }
        assert_eq!(vocabulary.referrer_hosts[..2], ["", "search.example"]);
        assert_eq!(vocabulary.referrer_hosts[3], "com.example.mail");
        assert!(vocabulary.is_bot(vocabulary.bots.items()[0]) && !vocabulary.is_bot(vocabulary.people.items()[0]));
    }
}
