//! Who a visitor is: all of it follows from the seed and the visitor's number.

use crate::hit::{Address, Referer, Visitor};
use crate::random::{Draw, mix};
use crate::visits::vocabulary::Vocabulary;
use crate::visits::{Kind, Options};

/// What a visitor is to whoever counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Person,
    /// Has the agent of a person and an address of [`DATA_CENTRES`](crate::visits::DATA_CENTRES).
    DataCentre,
    /// Has the agent of a bot.
    Bot,
    /// Asks once for the pixel, without a query: somebody who opened its URL.
    Stray,
    /// A person with pauses of exactly the idle time that ends a session, and of a little more.
    Punctual,
}

/// A visitor, the same in all of its sessions.
pub(super) struct Profile {
    pub(super) class: Class,
    /// Never [`Kind::Mix`].
    pub(super) kind: Kind,
    pub(super) visitor: Visitor,
    /// Indices into the vocabulary.
    pub(super) agent: usize,
    pub(super) network: usize,
    pub(super) site: usize,
    pub(super) tracker: usize,
    pub(super) endpoint: usize,
    pub(super) sessions: u64,
    pub(super) is_https: bool,
    pub(super) protocol_version: &'static [u8],
    pub(super) referer: Referer,
}

impl Profile {
    pub(super) fn new(options: &Options, vocabulary: &Vocabulary, number: u64) -> Profile {
        let mut draw = Draw::new(!options.seed, number);
        let share = draw.below(10_000) as u32;
        let mut bound = 0;
        let mut is_below = |part: u32| {
            bound += part;
            share < bound
        };
        let class = if is_below(options.bots) {
            Class::Bot
        } else if is_below(options.data_centres) {
            Class::DataCentre
        } else if is_below(options.abnormal.without_query) {
            Class::Stray
        } else if is_below(options.abnormal.punctual) {
            Class::Punctual
        } else {
            Class::Person
        };
        let drawn_kind = match draw.below(10) {
            0..=4 => Kind::Site,
            5..=7 => Kind::Shop,
            _ => Kind::Ad,
        };
        let kind = if options.kind == Kind::Mix { drawn_kind } else { options.kind };
        let tables = &vocabulary.tables;
        let agents = if class == Class::Bot { &vocabulary.bots } else { &vocabulary.people };
        let agent = *agents.pick(&mut draw);
        let network = tables.networks.pick_index(&mut draw);
        let bits = draw.word();
        let sessions = match draw.below(100) {
            _ if class == Class::Stray => 1,
            _ if class == Class::Punctual => 2,
            0..=64 => 1,
            65..=84 => 2,
            85..=94 => 3,
            _ => draw.between(4, 8),
        };
        let is_https = !draw.per_mille(15);
        let protocol_version: &[u8] = match draw.below(100) {
            _ if class == Class::Bot || !is_https => b"HTTP/1.1",
            0..=54 => b"HTTP/2.0",
            55..=93 => b"HTTP/3.0",
            _ => b"HTTP/1.1",
        };
        let referer = match draw.below(100) {
            _ if class == Class::Stray => Referer::None,
            0..=14 => Referer::None,
            15..=89 => Referer::Origin,
            _ => Referer::Full,
        };
        Profile {
            class,
            kind,
            visitor: Visitor {
                id: mix(number ^ mix(options.seed)),
                address: address(number, class == Class::DataCentre, tables.networks.items()[network].asn, bits),
                screen: draw.below(crate::tables::SCREENS.len() as u64) as usize,
                edge: bits >> 40,
            },
            agent,
            network,
            site: vocabulary.sites.pick_index(&mut draw),
            tracker: tables.trackers.pick_index(&mut draw),
            // The two that are asked for with GET and a query.
            endpoint: usize::from(draw.per_mille(60)),
            sessions,
            is_https,
            protocol_version,
            referer,
        }
    }
}

/// An address that no other visitor of the log has. Seven of ten are of IPv4.
///
/// Of what is reserved, only 240.0.0.0/4 has room for so many: half of it for people, and half for
/// data centres. Visitors past those 2^27 have addresses of IPv6.
fn address(number: u64, is_data_centre: bool, asn: u64, bits: u64) -> Address {
    const HALF: u64 = 1 << 27;
    if number < HALF && bits % 10 < 7 {
        // An odd factor changes places only, so that neighbours in time are none in the log.
        let place = (number + 1).wrapping_mul(0x9e37_79b1) % HALF;
        let half = if is_data_centre { HALF } else { 0 };
        return Address::V4((0xf000_0000 + (half + place) as u32).to_be_bytes());
    }
    let network = if is_data_centre { DATA_CENTRE_GROUP } else { asn as u16 };
    let groups = [
        network,
        bits as u16 & 0xff0f,
        (bits >> 16) as u16,
        (number >> 32) as u16,
        (number >> 16) as u16,
        number as u16,
    ];
    Address::V6 { groups, is_padded: bits % 64 < 8 }
}

/// The third group of a data centre's IPv6 addresses.
const DATA_CENTRE_GROUP: u16 = 0xdc;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn addresses_and_ids_are_of_one_visitor() {
        let vocabulary = Vocabulary::new();
        let options = Options { data_centres: 2_000, ..Options::new("pixel-4".parse().unwrap(), 5) };
        let mut addresses = HashSet::new();
        let mut ids = HashSet::new();
        for number in (0..100_000).chain((1 << 27) - 1_000..(1 << 27) + 1_000) {
            let profile = Profile::new(&options, &vocabulary, number);
            let is_data_centre = profile.class == Class::DataCentre;
            match profile.visitor.address {
                Address::V4(bytes) => {
                    assert_eq!(bytes[0] >= 248, is_data_centre);
                    assert!(addresses.insert(bytes.to_vec()));
                }
                Address::V6 { groups, .. } => {
                    assert_eq!(groups[0] == DATA_CENTRE_GROUP, is_data_centre);
                    assert!(addresses.insert(groups.map(u16::to_be_bytes).concat()));
                }
            }
            assert!(ids.insert(profile.visitor.id));
        }
    }

    #[test]
    fn classes_come_in_their_shares() {
        let vocabulary = Vocabulary::new();
        let options = Options { bots: 3_000, data_centres: 1_000, ..Options::new("pixel-4".parse().unwrap(), 5) };
        let count =
            |class| (0..20_000).filter(|&number| Profile::new(&options, &vocabulary, number).class == class).count();
        assert!(count(Class::Bot).abs_diff(6_000) < 250);
        assert!(count(Class::DataCentre).abs_diff(2_000) < 200);
        assert!(count(Class::Stray) > 50 && count(Class::Punctual) > 10);
    }
}
