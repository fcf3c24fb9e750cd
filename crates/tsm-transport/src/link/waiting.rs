//! Bounded rooms for those who have not been let in: handshakes and parked links.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use crate::link::outbox::ConnectionId;

/// Who is counted as one: an IPv4 address, or the /64 network that any IPv6 host has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Source::V4(ip.octets()),
            IpAddr::V6(ip) => {
                Source::V6(*ip.octets().first_chunk().expect("an IPv6 address has sixteen octets"))
            }
        }
    }
}

/// Where newcomers wait. When it is full the oldest give way, so a flood displaces itself first.
pub(crate) struct WaitingRoom<T> {
    limit: usize,
    limit_per_source: usize,
    /// By age: identifiers grow.
    waiting: BTreeMap<ConnectionId, (Source, T)>,
}

impl<T> WaitingRoom<T> {
    pub(crate) fn new(limit: usize, limit_per_source: usize) -> Self {
        WaitingRoom { limit, limit_per_source, waiting: BTreeMap::new() }
    }

    /// Takes in a newcomer; whoever had to give way is dropped.
    pub(crate) fn enter(&mut self, id: ConnectionId, source: Source, value: T) {
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for (source, _) in self.waiting.values() {
            *counts.entry(*source).or_default() += 1;
        }
        if counts.get(&source).is_some_and(|count| *count >= self.limit_per_source) {
            self.remove_oldest_of(source);
        } else if self.waiting.len() >= self.limit {
            // The first of the busiest in the order of age, so that it does not depend on chance.
            let most = counts.values().copied().max().unwrap_or(0);
            let busiest =
                self.waiting.values().map(|(source, _)| *source).find(|source| counts[source] == most);
            busiest.into_iter().for_each(|source| self.remove_oldest_of(source));
        }
        self.waiting.insert(id, (source, value));
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

    fn remove_oldest_of(&mut self, source: Source) {
        let oldest = self.waiting.iter().find(|(_, (other, _))| *other == source).map(|(id, _)| *id);
        oldest.into_iter().for_each(|id| drop(self.waiting.remove(&id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Source = Source::V4([10, 0, 0, 1]);
    const B: Source = Source::V4([10, 0, 0, 2]);

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
        let source = |text: &str| Source::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), A);
    }
}
