//! The class of a device.
//!
//! uap-core has rules for makers and models but none for classes, and no browser says its class
//! outright. So a few words decide, each of which has one meaning in practice, and otherwise the
//! system does.

const CONSOLES: [&str; 4] = ["Nintendo", "PLAYSTATION", "PlayStation", "Xbox"];

/// Systems of televisions, models, and what standards ask a television to write. Fire TV's models
/// begin with `AFT`.
const TELEVISIONS: [&str; 27] = [
    "; AFT",
    "Android TV",
    "AndroidTV",
    "Apple TV",
    "AppleTV",
    "BRAVIA",
    "Chromecast",
    "CrKey",
    "Google TV",
    "GoogleTV",
    "HbbTV",
    "InettvBrowser",
    "MIBOX",
    "MiTV",
    "NETTV",
    "NetCast",
    "PhilipsTV",
    "Roku",
    "SMART-TV",
    "Smart TV",
    "Smart-TV",
    "SmartTV",
    "VIDAA",
    "VIERA",
    "Web0S",
    "WebTV",
    "tvOS",
];

/// Headsets and watches, whose systems are those of phones.
const WORN: [&str; 5] = ["; Quest", "Apple Watch", "OculusBrowser", "Wear OS", "watchOS"];

const TABLETS: [&str; 4] = ["Kindle", "PlayBook", "hp-tablet", "iPad"];

const PHONES: [&str; 16] = [
    "(Mobile;",
    "(Phone;",
    "BB10",
    "BlackBerry",
    "IEMobile",
    "J2ME",
    "KAIOS",
    "MIDP",
    "Opera Mini",
    "Opera Mobi",
    "Series60",
    "SymbOS",
    "Symbian",
    "Windows Phone",
    "iPhone",
    "iPod",
];

/// Families of systems that are on phones, once [`TELEVISIONS`] and [`TABLETS`] are out.
const PHONE_SYSTEMS: [&str; 17] = [
    "BREW",
    "Bada",
    "BlackBerry OS",
    "Brew MP",
    "Firefox OS",
    "HarmonyOS",
    "KaiOS",
    "Maemo",
    "MeeGo",
    "Nokia Series 30 Plus",
    "Nokia Series 40",
    "Sailfish",
    "Symbian OS",
    "Tizen",
    "Windows Mobile",
    "Windows Phone",
    "webOS",
];

const DESKTOP_SYSTEMS: [&str; 29] = [
    "Arch Linux",
    "BSD",
    "BackTrack",
    "CentOS",
    "Chrome OS",
    "Debian",
    "Fedora",
    "FreeBSD",
    "Gentoo",
    "Kubuntu",
    "Linux",
    "Linux Mint",
    "Lubuntu",
    "Mac OS",
    "Mac OS X",
    "Mageia",
    "Mandriva",
    "NetBSD",
    "OpenBSD",
    "PCLinuxOS",
    "Puppy",
    "Red Hat",
    "SUSE",
    "SerenityOS",
    "Slackware",
    "Solaris",
    "Ubuntu",
    "Windows",
    "openSUSE",
];

/// The class of device that a user agent claims to be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Device {
    /// A desktop or laptop computer. iPads say by default that they are Macs, and are counted here.
    Desktop,
    /// A phone, or a music player that is one but for the calls.
    Phone,
    /// A tablet or an electronic reader.
    Tablet,
    /// A television, or a box that belongs to one.
    Television,
    /// A games console.
    Console,
    /// A bot, whatever device it says it is.
    Bot,
    /// None of these, or the user agent does not say.
    Other,
}

impl Device {
    /// Every class, in the order in which reports list them.
    pub const ALL: &[Device] = &[
        Device::Desktop,
        Device::Phone,
        Device::Tablet,
        Device::Television,
        Device::Console,
        Device::Bot,
        Device::Other,
    ];

    /// A name for reports, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Device::Desktop => "desktop",
            Device::Phone => "phone",
            Device::Tablet => "tablet",
            Device::Television => "television",
            Device::Console => "console",
            Device::Bot => "bot",
            Device::Other => "other",
        }
    }

    /// The device of a user agent that is not a bot's, with the family of its system.
    pub(crate) fn read(user_agent: &str, system: Option<&str>) -> Device {
        let says = |words: &[&str]| words.iter().any(|word| user_agent.contains(word));
        if says(&CONSOLES) {
            Device::Console
        } else if says(&TELEVISIONS) {
            Device::Television
        } else if says(&WORN) {
            Device::Other
        } else if says(&TABLETS) || (user_agent.contains("Tablet") && !user_agent.contains("Tablet PC")) {
            Device::Tablet
        } else if says(&PHONES) {
            Device::Phone
        } else {
            Device::of_system(user_agent, system.unwrap_or_default())
        }
    }

    fn of_system(user_agent: &str, system: &str) -> Device {
        match system {
            "Android" if user_agent.contains("Mobile") => Device::Phone,
            // Browsers on tablets leave the word out, which is how Google tells sites to know them.
            // Apps never write it, and most of them are on phones.
            "Android" if user_agent.starts_with("Mozilla/") => Device::Tablet,
            "Android" => Device::Phone,
            // Chrome and Edge on iPads claim a Mac, all but their own names.
            "iOS" if user_agent.contains("Macintosh") => Device::Tablet,
            "iOS" => Device::Phone,
            system if DESKTOP_SYSTEMS.contains(&system) => Device::Desktop,
            system if PHONE_SYSTEMS.contains(&system) => Device::Phone,
            _ => Device::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Agents;

    const AGENTS: &str = include_str!("device_tests.tsv");

    #[test]
    fn classes_of_devices() {
        let agents = Agents::new();
        let mut lines = 0;
        for line in AGENTS.lines() {
            let (class, user_agent) = line.split_once('\t').expect("a class and a user agent");
            assert_eq!(agents.read(user_agent.as_bytes()).device.name(), class, "{user_agent}");
            lines += 1;
        }
        assert!(lines >= 60, "{lines}");
        for device in Device::ALL {
            assert!(AGENTS.lines().any(|line| line.split('\t').next() == Some(device.name())), "{device:?}");
        }
    }

    #[test]
    fn every_system_is_a_family_in_the_rules() {
        let rules = include_str!("../data/systems.tsv");
        for system in PHONE_SYSTEMS.iter().chain(&DESKTOP_SYSTEMS) {
            // The rules write `(?:Free|Open|Net|\b)BSD`.
            assert!(rules.contains(system.trim_end_matches("BSD")), "{system}");
        }
    }
}
