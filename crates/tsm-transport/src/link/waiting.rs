//! Bounded rooms for those who have not been let in: handshakes and parked links.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use tsm_crypto::identity::Fingerprint;

use crate::link::outbox::ConnectionId;
use crate::pipe::Origin;

/// Who is counted as one: an IPv4 address, the /64 network that any IPv6 host has to itself, or all who
/// come through the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Where newcomers wait. When it is full the oldest give way, so a flood displaces itself first.
/// Nothing here costs more the more there are.
pub(crate) struct WaitingRoom<T> {
    limit: usize,
    limit_per_source: usize,
    waiting: HashMap<ConnectionId, (Origin, T)>,
    sources: Crowds<Source>,
    /// Who comes through the broker, by the key that it claims. A claim is free, so it cannot set limits,
    /// but of all that come through the broker the busiest claim gives way first.
    claims: Crowds<Fingerprint>,
}

impl<T> WaitingRoom<T> {
    pub(crate) fn new(limit: usize, limit_per_source: usize) -> Self {
        WaitingRoom {
            limit,
            limit_per_source,
            waiting: HashMap::new(),
            sources: Crowds::new(),
            claims: Crowds::new(),
        }
    }

    /// Takes in a newcomer; returns who had to give way.
    pub(crate) fn enter(&mut self, id: ConnectionId, origin: Origin, value: T) -> Option<(ConnectionId, T)> {
        let source = Source::from(origin);
        let gives_way = if self.sources.number(&source) >= self.limit_per_source {
            Some(source)
        } else if self.waiting.len() >= self.limit {
            self.sources.busiest()
        } else {
            None
        };
        let displaced = gives_way.and_then(|source| {
            let oldest = self.oldest_of(source)?;
            Some((oldest, self.remove(oldest)?))
        });
        self.waiting.insert(id, (origin, value));
        self.sources.add(source, id);
        if let Origin::Broker { claimed } = origin {
            self.claims.add(claimed, id);
        }
        displaced
    }

    /// `None` if it has given way or was removed before.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let (origin, value) = self.waiting.remove(&id)?;
        self.sources.remove(origin.into(), id);
        if let Origin::Broker { claimed } = origin {
            self.claims.remove(claimed, id);
        }
        Some(value)
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&T> {
        self.waiting.get(&id).map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// All that wait, by age.
    pub(crate) fn ids(&self) -> BTreeSet<ConnectionId> {
        self.waiting.keys().copied().collect()
    }

    /// Of the broker, the oldest of the busiest claim.
    fn oldest_of(&self, source: Source) -> Option<ConnectionId> {
        match source {
            Source::Broker => self.claims.oldest(&self.claims.busiest()?),
            Source::V4(_) | Source::V6(_) => self.sources.oldest(&source),
        }
    }
}

/// Who belongs together, and which crowd is the largest.
struct Crowds<K> {
    /// By age: identifiers grow.
    of: HashMap<K, BTreeSet<ConnectionId>>,
    /// The last is the largest, of several the one with the oldest.
    by_number: BTreeSet<(usize, Reverse<ConnectionId>, K)>,
}

impl<K: Copy + Hash + Ord> Crowds<K> {
    fn new() -> Self {
        Crowds { of: HashMap::new(), by_number: BTreeSet::new() }
    }

    fn add(&mut self, key: K, id: ConnectionId) {
        self.change(key, |ids| ids.insert(id));
    }

    fn remove(&mut self, key: K, id: ConnectionId) {
        self.change(key, |ids| ids.remove(&id));
    }

    fn number(&self, key: &K) -> usize {
        self.of.get(key).map_or(0, BTreeSet::len)
    }

    fn busiest(&self) -> Option<K> {
        self.by_number.last().map(|(_, _, key)| *key)
    }

    fn oldest(&self, key: &K) -> Option<ConnectionId> {
        self.of.get(key)?.first().copied()
    }

    fn change(&mut self, key: K, change: impl FnOnce(&mut BTreeSet<ConnectionId>) -> bool) {
        let place =
            |ids: &BTreeSet<ConnectionId>| ids.first().map(|oldest| (ids.len(), Reverse(*oldest), key));
        let ids = self.of.entry(key).or_default();
        let before = place(ids);
        change(ids);
        let after = place(ids);
        if ids.is_empty() {
            self.of.remove(&key);
        }
        if let Some(before) = before {
            self.by_number.remove(&before);
        }
        self.by_number.extend(after);
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
        room.ids().into_iter().filter_map(|id| room.get(id).copied()).collect()
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
    fn s105_those_who_left_leave_no_trace_in_the_books() {
        let mut room = WaitingRoom::new(4, 2);
        for id in 1..=20 {
            let displaced = room.enter(id, [A, B, broker(1), broker(id as u8)][id as usize % 4], id);
            assert!(displaced.is_none_or(|(gone, value)| gone == value && gone < id));
        }
        for id in room.ids() {
            assert_eq!(room.remove(id), Some(id));
            assert_eq!(room.remove(id), None);
        }
        assert!(room.len() == 0 && room.sources.of.is_empty() && room.sources.by_number.is_empty());
        assert!(room.claims.of.is_empty() && room.claims.by_number.is_empty());
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
