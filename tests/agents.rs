use pixel_engine::log::percent;
use pixel_engine_agents::{Agents, BotKind};

use crate::peers::{PeerAgent, examples_of_bots, read_agents};
use crate::support::{lines, log, without_headers};

/// User agents of every class of device, one a line behind the class.
const DEVICES: &str = include_str!("../engine/agents/src/device_tests.tsv");

/// What the generator writes, the examples of the list of bots, and devices.
fn user_agents() -> Vec<String> {
    let log = without_headers(&log("timestamp,cs-user-agent", 5_000));
    let generated = lines(&log).map(|line| {
        let column = line.trim_ascii_end().split(|&byte| byte == b'\t').nth(1).expect("two columns");
        String::from_utf8(percent::decode(column).into_owned()).expect("the generator's user agents are text")
    });
    let devices = DEVICES.lines().filter_map(|line| Some(line.split_once('\t')?.1.to_owned()));
    let mut all: Vec<String> = generated.chain(devices).chain(examples_of_bots()).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn every_example_of_the_list_is_a_bot() {
    let agents = Agents::new();
    let examples = examples_of_bots();
    assert!(examples.len() > 2_000, "{}", examples.len());
    for example in examples {
        assert!(agents.bot(example.as_bytes()).is_some(), "{example}");
    }
}

#[test]
fn user_agents_are_read_as_by_the_lists_own_code() {
    let agents = Agents::new();
    let user_agents = user_agents();
    let found = read_agents(&user_agents);
    assert_eq!(found.len(), user_agents.len());
    let (mut bots, mut browsers, mut systems) = (0, 0, 0);
    for (user_agent, theirs) in user_agents.iter().zip(found) {
        let PeerAgent { is_crawler, tags, browser, system } = theirs;
        let ours = agents.read(user_agent.as_bytes());
        assert_eq!(ours.bot.is_some(), is_crawler, "{user_agent}");
        if let Some(bot) = ours.bot {
            // Proxies of mail services are previews to the list.
            let tag = if bot.kind == BotKind::MailProxy { "social-preview" } else { bot.kind.name() };
            assert!(tags.iter().any(|it| it == tag), "{user_agent}: {bot:?}, {tags:?}");
            bots += 1;
        }
        browsers += usize::from(browser.is_some());
        systems += usize::from(system.is_some());
        assert_eq!(ours.browser.map(|it| (it.family, it.major)), browser, "{user_agent}");
        assert_eq!(ours.system, system, "{user_agent}");
    }
    // Each part of it was asked for.
    let people = user_agents.len() - bots;
    assert!(bots > 2_000 && people > 90 && browsers > 1_000 && systems > 400, "{bots} {people} {browsers} {systems}");
}
