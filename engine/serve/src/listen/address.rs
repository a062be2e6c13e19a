//! Whose address stands in `c-ip`: that of the connection, or the one that a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::HeaderName;
use ipnet::IpNet;

/// Which proxies are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// Their networks.
    pub trusted: Vec<IpNet>,
    /// The header in which they name the viewer.
    pub header: HeaderName,
}

impl Proxies {
    /// The viewer's address, and its port where that is known. Of a list, it is the last address
    /// that is no trusted proxy: what stands before it may be made up by the viewer.
    pub(super) fn viewer(&self, peer: SocketAddr, headers: &HeaderMap) -> (IpAddr, Option<u16>) {
        let peer_address = peer.ip().to_canonical();
        let mut viewer = (peer_address, Some(peer.port()));
        if !self.trusts(peer_address) {
            return viewer;
        }
        let values: Vec<&str> = headers.get_all(&self.header).iter().filter_map(|value| value.to_str().ok()).collect();
        for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            // What is no address was not written by a proxy that is trusted.
            let Some(named) = parse(entry.trim()) else { break };
            viewer = named;
            if !self.trusts(named.0) {
                break;
            }
        }
        viewer
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// An address, with or without a port: `::1`, `[::1]:80`, `192.0.2.1:80`, and CloudFront's
/// `2001:db8::1:443`, in which the port of a full address stands behind the last colon.
fn parse(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.to_canonical(), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip().to_canonical(), Some(address.port())));
    }
    let (address, port) = text.rsplit_once(':')?;
    let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some((address.to_canonical(), Some(port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(peer: &str, values: &[&str]) -> (String, Option<u16>) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).to_vec();
        let header = HeaderName::from_static("x-forwarded-for");
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&header, value.parse().unwrap());
        }
        let (address, port) = Proxies { trusted, header }.viewer(peer.parse().unwrap(), &headers);
        (address.to_string(), port)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (peer, values, wanted, port) in [
            ("203.0.113.9:40", &["198.51.100.1"][..], "203.0.113.9", Some(40)),
            ("10.0.0.1:40", &[], "10.0.0.1", Some(40)),
            ("10.0.0.1:40", &["198.51.100.1"], "198.51.100.1", None),
            ("[::ffff:10.0.0.1]:40", &["192.0.2.9, 198.51.100.1, 10.0.0.7"], "198.51.100.1", None),
            ("10.0.0.1:40", &["192.0.2.9", "198.51.100.1:99, 10.0.0.7"], "198.51.100.1", Some(99)),
            ("10.0.0.1:40", &["192.0.2.9, what, 10.0.0.7"], "10.0.0.7", None),
            ("10.0.0.1:40", &["10.0.0.2, 10.0.0.3"], "10.0.0.2", None),
            ("[2001:db8::5]:40", &["[2001:dead::7]:443"], "2001:dead::7", Some(443)),
            ("10.0.0.1:40", &[""], "10.0.0.1", Some(40)),
        ] {
            assert_eq!(viewer(peer, values), (wanted.to_owned(), port), "{peer} {values:?}");
        }
    }
}
