//! Lists of networks, such as those of data centres: whether an address is in any of them.
//!
//! A list becomes ranges that are sorted and do not touch, so that an answer is one binary search,
//! however many networks overlap.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Networks, IPv4 and IPv6.
///
/// ```
/// use pixel_engine_report::Networks;
///
/// let networks: Networks = "# Ours\n203.0.113.0/24\n2001:db8::/32 # and v6\n198.51.100.7\n".parse()?;
/// assert!(networks.contains("203.0.113.9".parse()?));
/// assert!(!networks.contains("198.51.100.8".parse()?));
///
/// let error = "203.0.113.0/24\n203.0.113.9/8\n".parse::<Networks>().unwrap_err();
/// assert!(error.to_string().starts_with("line 2, `203.0.113.9/8`: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    /// First and last address, in order; no two overlap or touch.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    len: usize,
}

/// A line of a list that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, `{text}`: {problem}")]
pub struct NetworksError {
    /// The number of the line, from 1 on.
    pub line: usize,
    /// The text, without spaces around it and without a comment.
    pub text: String,
    /// What is wrong with it.
    pub problem: NetworksProblem,
}

/// What is wrong with a line of a list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworksProblem {
    /// Something else stands there.
    #[error("no network; write one as 203.0.113.0/24 or 2001:db8::/32, or an address alone")]
    NoNetwork,
    /// Usually a slip: the prefix would take in far more than the address that was written.
    #[error("the address has bits behind its prefix; did you mean {0}?")]
    BitsBehindPrefix(IpNet),
}

impl FromStr for Networks {
    type Err = NetworksError;

    /// A network or an address a line; what follows a `#` is a comment.
    fn from_str(list: &str) -> Result<Networks, NetworksError> {
        let (mut v4, mut v6, mut len) = (Vec::new(), Vec::new(), 0);
        for (index, line) in list.trim_start_matches('\u{feff}').lines().enumerate() {
            let text = line.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let network =
                network(text).map_err(|problem| NetworksError { line: index + 1, text: text.to_owned(), problem })?;
            len += 1;
            match network {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.broadcast().to_bits())),
                IpNet::V6(network) => v6.push((network.network().to_bits(), network.broadcast().to_bits())),
            }
        }
        Ok(Networks { v4: joined(v4, u32::checked_add), v6: joined(v6, u128::checked_add), len })
    }
}

fn network(text: &str) -> Result<IpNet, NetworksProblem> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| NetworksProblem::NoNetwork)?;
    if network != network.trunc() {
        return Err(NetworksProblem::BitsBehindPrefix(network.trunc()));
    }
    Ok(network)
}

/// The same addresses as ranges that are in order and do not touch.
fn joined<T: Copy + Ord + From<u8>>(mut ranges: Vec<(T, T)>, add: fn(T, T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            // Behind the last address there is none: everything that follows is in it.
            Some(before) if add(before.1, T::from(1)).is_none_or(|next| first <= next) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

impl Networks {
    /// Whether the address is in any of them. An IPv4 address inside of an IPv6 one is that IPv4
    /// address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_in(&self.v4, address.to_bits()),
            IpAddr::V6(address) => is_in(&self.v6, address.to_bits()),
        }
    }

    /// How many lines of the list name a network.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list names none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What tells lists apart that hold other addresses.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (first, last) in &self.v4 {
            hasher.update(&first.to_be_bytes()).update(&last.to_be_bytes());
        }
        hasher.update(b"v6");
        for (first, last) in &self.v6 {
            hasher.update(&first.to_be_bytes()).update(&last.to_be_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

fn is_in<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).is_some_and(|before| address <= ranges[before].1)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(list: &str) -> Networks {
        list.parse().unwrap()
    }

    #[test]
    fn lists_have_comments_and_empty_lines() {
        let list = networks("\u{feff}# Data centres\r\n\r\n 10.0.0.0/8 # ours\r\n10.0.0.0/9\n2001:db8::1\n");
        assert_eq!((list.len(), list.v4.len(), list.v6.len()), (3, 1, 1));
        assert!(list.contains("10.255.255.255".parse().unwrap()) && !list.contains("11.0.0.0".parse().unwrap()));
        assert!(list.contains("::ffff:10.1.2.3".parse().unwrap()), "an IPv4 address inside of an IPv6 one");
        assert!(list.contains("2001:db8::1".parse().unwrap()) && !list.contains("2001:db8::2".parse().unwrap()));
        assert!(networks("# nothing\n").is_empty());
    }

    #[test]
    fn what_is_no_network_is_named_with_its_line() {
        let error = |list: &str| list.parse::<Networks>().unwrap_err().to_string();
        assert!(error("\n10.0.0.0/33\n").starts_with("line 2, `10.0.0.0/33`: no network"));
        assert!(error("10.0.0.0/8, 11.0.0.0/8").starts_with("line 1, `10.0.0.0/8, 11.0.0.0/8`: no network"));
        assert!(error("aws # 1").starts_with("line 1, `aws`: no network"));
        let slip = error("# a\n10.1.2.3/8");
        assert_eq!(slip, "line 2, `10.1.2.3/8`: the address has bits behind its prefix; did you mean 10.0.0.0/8?");
    }

    #[test]
    fn the_whole_of_the_internet_is_a_network() {
        let all = networks("0.0.0.0/0\n255.255.255.255\n::/0\n10.0.0.0/8\n");
        assert_eq!((all.v4.len(), all.v6.len()), (1, 1));
        assert!(all.contains(Ipv4Addr::BROADCAST.into()) && all.contains(Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn lists_of_the_same_addresses_have_the_same_digest() {
        let digest = |list: &str| networks(list).digest();
        assert_eq!(digest("10.0.0.0/9\n10.128.0.0/9"), digest("10.0.0.0/8 # all\n10.1.0.0/16"));
        assert_ne!(digest("10.0.0.0/8"), digest("10.0.0.0/9"));
    }

    /// Networks that are close to each other, so that they overlap and touch.
    fn v4() -> impl Strategy<Value = IpNet> {
        (0u32..1 << 12, 16u8..=32)
            .prop_map(|(bits, prefix)| IpNet::new(Ipv4Addr::from_bits(bits << 4).into(), prefix).unwrap().trunc())
    }

    fn v6() -> impl Strategy<Value = IpNet> {
        (0u128..1 << 12, 112u8..=128)
            .prop_map(|(bits, prefix)| IpNet::new(Ipv6Addr::from_bits(bits << 4).into(), prefix).unwrap().trunc())
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_asking_each_network(
            list in prop::collection::vec(prop_oneof![v4(), v6()], 0..20),
            addresses in prop::collection::vec(0u32..1 << 17, 50),
        ) {
            let text: String = list.iter().map(|network| format!("{network}\n")).collect();
            let networks = networks(&text);
            for bits in addresses {
                // Beside `::ffff:0:0/96`, where IPv4 addresses are.
                for address in [IpAddr::from(Ipv4Addr::from_bits(bits)), Ipv6Addr::from_bits(bits.into()).into()] {
                    let naive = list.iter().any(|network| network.contains(&address));
                    prop_assert_eq!(networks.contains(address), naive, "{}", address);
                }
            }
            for network in &list {
                prop_assert!(networks.contains(network.network()) && networks.contains(network.broadcast()));
            }
        }
    }
}
