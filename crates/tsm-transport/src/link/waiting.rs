//! Bounded rooms for those who have not been let in: handshakes and parked links.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use tsm_crypto::identity::Fingerprint;

use crate::link::outbox::ConnectionId;
use crate::pipe::Origin;

/// Who is counted as one: an IPv4 address, the /64 network that any IPv6 host has to itself, or all who
/// come through the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
    Broker,
}

impl From<Origin> for Source {
    fn from(origin: Origin) -> Self {
        let Origin::Network(address) = origin else { return Source::Broker };
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Source::V4(ip.octets()),
            IpAddr::V6(ip) => {
                Source::V6(*ip.octets().first_chunk().expect("an IPv6 address has sixteen octets"))
            }
        }
    }
}

/// Whose place it is within a source: who comes through the broker claims a key. A claim is free, so it
/// cannot set limits, but of several in one source the busiest gives way first.
fn claim(origin: Origin) -> Option<Fingerprint> {
    match origin {
        Origin::Network(_) => None,
        Origin::Broker { claimed } => Some(claimed),
    }
}

/// Where newcomers wait. When it is full the oldest give way, so a flood displaces itself first.
pub(crate) struct WaitingRoom<T> {
    limit: usize,
    limit_per_source: usize,
    /// By age: identifiers grow.
    waiting: BTreeMap<ConnectionId, (Origin, T)>,
}

impl<T> WaitingRoom<T> {
    pub(crate) fn new(limit: usize, limit_per_source: usize) -> Self {
        WaitingRoom { limit, limit_per_source, waiting: BTreeMap::new() }
    }

    /// Takes in a newcomer; whoever had to give way is dropped.
    pub(crate) fn enter(&mut self, id: ConnectionId, origin: Origin, value: T) {
        let source = Source::from(origin);
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for (origin, _) in self.waiting.values() {
            *counts.entry((*origin).into()).or_default() += 1;
        }
        if counts.get(&source).is_some_and(|count| *count >= self.limit_per_source) {
            self.remove_oldest_of(source);
        } else if self.waiting.len() >= self.limit {
            // The first of the busiest in the order of age, so that it does not depend on chance.
            let most = counts.values().copied().max().unwrap_or(0);
            let busiest = self
                .waiting
                .values()
                .map(|(origin, _)| (*origin).into())
                .find(|source| counts[source] == most);
            busiest.into_iter().for_each(|source| self.remove_oldest_of(source));
        }
        self.waiting.insert(id, (origin, value));
    }

    /// `None` if it has given way or was removed before.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        self.waiting.remove(&id).map(|(_, value)| value)
    }

    /// Takes out all that fit.
    pub(crate) fn remove_where(&mut self, fits: impl Fn(&T) -> bool) -> Vec<(ConnectionId, T)> {
        let waiting = self.waiting.extract_if(.., |_, (_, value)| fits(value));
        waiting.map(|(id, (_, value))| (id, value)).collect()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().map(|(_, value)| value)
    }

    /// The oldest of the busiest claim.
    fn remove_oldest_of(&mut self, source: Source) {
        let of_source = || self.waiting.iter().filter(|(_, (origin, _))| Source::from(*origin) == source);
        let mut counts: HashMap<Option<Fingerprint>, usize> = HashMap::new();
        for (_, (origin, _)) in of_source() {
            *counts.entry(claim(*origin)).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        let oldest = of_source().find(|(_, (origin, _))| counts[&claim(*origin)] == most).map(|(id, _)| *id);
        oldest.into_iter().for_each(|id| drop(self.waiting.remove(&id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

    const A: Origin = network([10, 0, 0, 1]);
    const B: Origin = network([10, 0, 0, 2]);

    const fn network([a, b, c, d]: [u8; 4]) -> Origin {
        Origin::Network(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), 1)))
    }

    fn broker(claimed: u8) -> Origin {
        Origin::Broker { claimed: Fingerprint([claimed; 32]) }
    }

    fn left(room: &WaitingRoom<u64>) -> Vec<u64> {
        room.values().copied().collect()
    }

    #[test]
    fn s105_a_source_over_its_limit_displaces_its_own_oldest() {
        let mut room = WaitingRoom::new(100, 2);
        for (id, source) in [(1, B), (2, A), (3, A), (4, A)] {
            room.enter(id, source, id);
        }
        assert_eq!(left(&room), [1, 3, 4]);
    }

    #[test]
    fn s105_in_a_full_room_the_busiest_source_gives_way() {
        let mut room = WaitingRoom::new(3, 3);
        for (id, source) in [(1, B), (2, A), (3, A), (4, B), (5, A)] {
            room.enter(id, source, id);
        }
        assert_eq!(left(&room), [3, 4, 5]);
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_ipv4_address_are_one_source_each() {
        let source = |text: &str| Source::from(Origin::Network(text.parse::<SocketAddr>().unwrap()));
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), A.into());
    }

    #[test]
    fn s105_a_flood_through_the_broker_displaces_itself_whatever_it_claims() {
        let mut room = WaitingRoom::new(4, 4);
        for (id, origin) in [(1, A), (2, broker(1)), (3, broker(2)), (4, broker(2))] {
            room.enter(id, origin, id);
        }
        room.enter(5, broker(2), 5);
        assert_eq!(left(&room), [1, 2, 4, 5]);
        room.enter(6, broker(3), 6);
        room.enter(7, broker(4), 7);
        // All claims are used once now: the oldest goes, and never who came by network.
        assert_eq!(left(&room).first(), Some(&1));
        for id in 8..100 {
            room.enter(id, broker(id as u8), id);
        }
        assert_eq!(left(&room), [1, 97, 98, 99]);
    }
}
