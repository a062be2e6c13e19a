//! One request to the pixel: everything that its columns agree on.

use crate::random::{Draw, mix};
use crate::tables::{Agent, Endpoint, Family, Network, Page, SCREENS, Tables, Tracker};

/// An address of a viewer.
#[derive(Clone, Copy)]
pub(crate) enum Address {
    V4([u8; 4]),
    /// Groups of an address in `2001:db8::/32`; CloudFront pads some with zeros.
    V6 {
        groups: [u16; 6],
        is_padded: bool,
    },
}

/// What stays the same when a visitor comes back.
#[derive(Clone, Copy)]
pub(crate) struct Visitor {
    pub(crate) id: u64,
    pub(crate) address: Address,
    pub(crate) screen: usize,
    pub(crate) edge: u64,
}

impl Visitor {
    /// Which of the network's edge locations answers this visitor.
    pub(crate) fn edge_index(&self, network: &Network) -> usize {
        (self.edge % network.edges.len() as u64) as usize
    }
}

/// How CloudFront answered.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) status: &'static [u8],
    pub(crate) result: &'static [u8],
    pub(crate) detail: &'static [u8],
    pub(crate) asked_origin: bool,
    pub(crate) has_body: bool,
    pub(crate) took_millis: u64,
}

/// A request with its answer.
pub(crate) struct Hit<'a> {
    pub(crate) millis: u64,
    pub(crate) visitor: Visitor,
    pub(crate) agent: &'a Agent,
    pub(crate) network: &'a Network,
    pub(crate) page: &'a Page,
    pub(crate) tracker: &'a Tracker,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) outcome: Outcome,
    pub(crate) protocol_version: &'static [u8],
    pub(crate) is_https: bool,
    pub(crate) has_headers: bool,
    pub(crate) has_cookie: bool,
    pub(crate) referer: Referer,
}

/// How much of the page's URL the browser tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Referer {
    None,
    Origin,
    Full,
}

impl<'a> Hit<'a> {
    pub(crate) fn draw(tables: &'a Tables, seed: u64, millis: u64, headers_percent: u8, draw: &mut Draw) -> Hit<'a> {
        // The visitor's own random numbers: the same visitor has the same address, agent and screen
        // in every line.
        let visitor_number = draw.skewed(6, 24);
        let mut own = Draw::new(!seed, visitor_number);
        let network = tables.networks.pick(&mut own);
        let agent = tables.agents.pick(&mut own);
        let bits = own.word();
        let visitor = Visitor {
            id: mix(bits),
            address: if bits % 10 < 7 {
                let [first, second] = network.prefix;
                Address::V4([first, second, (bits >> 8) as u8, (bits >> 16) as u8])
            } else {
                let low = own.word();
                let groups = [
                    network.asn as u16,
                    bits as u16,
                    low as u16 & 0xff0f,
                    (low >> 16) as u16,
                    (low >> 32) as u16,
                    (low >> 48) as u16,
                ];
                Address::V6 { groups, is_padded: bits % 64 < 8 }
            },
            screen: (own.skewed(0, 4) as usize).min(SCREENS.len() - 1),
            edge: bits >> 40,
        };
        let is_https = !draw.per_mille(15);
        let is_machine = agent.family == Family::Machine;
        let protocol_version: &[u8] = match draw.below(100) {
            _ if is_machine || !is_https => b"HTTP/1.1",
            0..=54 => b"HTTP/2.0",
            55..=93 => b"HTTP/3.0",
            _ => b"HTTP/1.1",
        };
        let referer = match draw.below(100) {
            _ if is_machine => Referer::None,
            0..=14 => Referer::None,
            15..=89 => Referer::Origin,
            _ => Referer::Full,
        };
        Hit {
            millis,
            visitor,
            agent,
            network,
            page: tables.pages.pick(draw),
            tracker: tables.trackers.pick(draw),
            endpoint: tables.endpoints.pick(draw),
            outcome: Outcome::draw(draw),
            protocol_version,
            is_https,
            has_headers: draw.below(100) < u64::from(headers_percent),
            has_cookie: draw.per_mille(30),
            referer,
        }
    }

    pub(crate) fn push_referer(&self, out: &mut Vec<u8>) {
        match self.referer {
            Referer::None => out.push(b'-'),
            Referer::Origin => out.extend_from_slice(&self.page.origin),
            Referer::Full => out.extend_from_slice(&self.page.url),
        }
    }
}

impl Outcome {
    /// Of 1,000 answers, drawn by number, those from this one on are failures.
    const FIRST_FAILURE: u64 = 982;

    fn draw(draw: &mut Draw) -> Outcome {
        Outcome::among(0, 1000, draw)
    }

    /// An answer with the status 200 or 304.
    pub(crate) fn draw_success(draw: &mut Draw) -> Outcome {
        Outcome::among(0, Self::FIRST_FAILURE, draw)
    }

    /// An answer with a status from 400 on, or 000.
    pub(crate) fn draw_failure(draw: &mut Draw) -> Outcome {
        Outcome::among(Self::FIRST_FAILURE, 1000, draw)
    }

    fn among(low: u64, high: u64, draw: &mut Draw) -> Outcome {
        let hit_millis = draw.skewed(0, 3);
        let hit = Outcome {
            status: b"200",
            result: b"Hit",
            detail: b"Hit",
            asked_origin: false,
            has_body: true,
            took_millis: hit_millis,
        };
        match draw.between(low, high) {
            0..=859 => hit,
            860..=929 => Outcome {
                result: b"Miss",
                detail: b"Miss",
                asked_origin: true,
                took_millis: 20 + draw.skewed(3, 9),
                ..hit
            },
            930..=949 => Outcome {
                result: b"RefreshHit",
                detail: b"RefreshHit",
                asked_origin: true,
                took_millis: 12 + draw.skewed(3, 7),
                ..hit
            },
            950..=954 => Outcome { result: b"Hit", detail: b"OriginShieldHit", took_millis: 30 + hit_millis, ..hit },
            955..=981 => Outcome { status: b"304", has_body: false, ..hit },
            982..=989 => {
                Outcome { status: b"403", result: b"Error", detail: b"ClientGeoBlocked", has_body: false, ..hit }
            }
            990..=992 => Outcome {
                status: b"404",
                result: b"Error",
                detail: b"Error",
                asked_origin: true,
                took_millis: 30 + draw.skewed(3, 8),
                ..hit
            },
            993..=997 => Outcome {
                status: b"000",
                result: b"Error",
                detail: b"ClientCommError",
                has_body: false,
                took_millis: draw.skewed(4, 14),
                ..hit
            },
            _ => Outcome {
                status: b"502",
                result: b"Error",
                detail: b"OriginConnectError",
                asked_origin: true,
                has_body: false,
                took_millis: 1000 + draw.skewed(6, 14),
            },
        }
    }
}
