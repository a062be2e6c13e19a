//! Addresses without the part that tells one subscriber from another.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address that the text is, in its one form: an IPv6 address that stands for one of IPv4 is
/// that one. In lists of proxies it may have a port or brackets.
pub(super) fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Appends the network of the address, `-` for what is none.
pub(super) fn append_masked(text: &[u8], out: &mut Vec<u8>) {
    match parse(text).map(masked) {
        Some(network) => write!(out, "{network}").expect("a Vec takes everything"),
        None => out.push(b'-'),
    }
}

/// Appends the networks of the addresses between commas.
pub(super) fn append_all_masked(list: &[u8], out: &mut Vec<u8>) {
    for (index, text) in list.split(|&byte| byte == b',').enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_masked(text, out);
    }
}

/// The first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
fn masked(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !0 << 8).into(),
        // 6to4: bits 16 to 48 are an IPv4 address (RFC 3056).
        IpAddr::V6(address) if address.segments()[0] == 0x2002 => first_bits(address, 40),
        IpAddr::V6(address) => first_bits(address, 48),
    }
}

fn first_bits(address: Ipv6Addr, count: u32) -> IpAddr {
    Ipv6Addr::from_bits(address.to_bits() & !0 << (128 - count)).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> String {
        let mut out = Vec::new();
        append_masked(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn list(text: &str) -> String {
        let mut out = Vec::new();
        append_all_masked(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn networks_stay() {
        for (address, network) in [
            ("203.0.113.9", "203.0.113.0"),
            ("255.255.255.255", "255.255.255.0"),
            ("2001:0db8:85a3::8a2e:0370:7334", "2001:db8:85a3::"),
            ("2001:db8:85a3:ffff::1", "2001:db8:85a3::"),
            ("::ffff:203.0.113.9", "203.0.113.0"),
            ("::FFFF:CB00:7109", "203.0.113.0"),
            ("2002:cb00:7109::1", "2002:cb00:7100::"),
            ("203.0.113.9:4711", "203.0.113.0"),
            ("[2001:db8:1:2::3]:80", "2001:db8:1::"),
            ("[2001:db8:1:2::3]", "2001:db8:1::"),
            ("::1", "::"),
        ] {
            assert_eq!(one(address), network, "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_absent() {
        for text in ["", "-", "unknown", "203.0.113", "203.0.113.999", "fe80::1%eth0", "a@b", "_hidden", "203.0.113.9x"]
        {
            assert_eq!(one(text), "-", "{text}");
        }
    }

    #[test]
    fn lists_stay_lists() {
        assert_eq!(list("203.0.113.9, 2001:db8:1:2::3,unknown,"), "203.0.113.0,2001:db8:1::,-,-");
    }

    proptest! {
        #[test]
        fn only_the_first_octets_count(octets in any::<[u8; 4]>(), groups in any::<[u16; 8]>()) {
            let [a, b, c, d] = octets;
            prop_assert_eq!(one(&format!("{a}.{b}.{c}.{d}")), format!("{a}.{b}.{c}.0"));
            prop_assume!(groups[0] != 0x2002 && groups[..5] != [0; 5]);
            let written = groups.map(|group| format!("{group:04x}")).join(":");
            let network: Ipv6Addr = one(&written).parse().unwrap();
            prop_assert_eq!(&network.segments()[..3], &groups[..3]);
            prop_assert_eq!(&network.segments()[3..], &[0; 5]);
        }
    }
}
