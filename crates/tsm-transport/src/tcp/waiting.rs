//! Bounded rooms for those who have not been let in: handshakes and parked links.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use crate::tcp::outbox::ConnectionId;

/// Who is counted as one: an IPv4 address, or the /64 network that any IPv6 host has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
/// Nothing here costs more the more there are.
pub(crate) struct WaitingRoom<T> {
    limit: usize,
    limit_per_source: usize,
    waiting: HashMap<ConnectionId, (Source, T)>,
    /// By age: identifiers grow.
    of_source: HashMap<Source, BTreeSet<ConnectionId>>,
    /// The last is the busiest source, of several the one with the oldest.
    by_number: BTreeSet<(usize, Reverse<ConnectionId>, Source)>,
}

impl<T> WaitingRoom<T> {
    pub(crate) fn new(limit: usize, limit_per_source: usize) -> Self {
        WaitingRoom {
            limit,
            limit_per_source,
            waiting: HashMap::new(),
            of_source: HashMap::new(),
            by_number: BTreeSet::new(),
        }
    }

    /// Takes in a newcomer; returns who had to give way.
    pub(crate) fn enter(&mut self, id: ConnectionId, source: Source, value: T) -> Option<(ConnectionId, T)> {
        let full_source = self.of_source.get(&source).is_some_and(|ids| ids.len() >= self.limit_per_source);
        let gives_way = if full_source {
            Some(source)
        } else if self.waiting.len() >= self.limit {
            self.by_number.last().map(|(_, _, busiest)| *busiest)
        } else {
            None
        };
        let displaced = gives_way.and_then(|source| {
            let oldest = *self.of_source.get(&source)?.first()?;
            Some((oldest, self.remove(oldest)?))
        });
        self.waiting.insert(id, (source, value));
        self.count(source, |ids| ids.insert(id));
        displaced
    }

    /// `None` if it has given way or was removed before.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let (source, value) = self.waiting.remove(&id)?;
        self.count(source, |ids| ids.remove(&id));
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

    fn count(&mut self, source: Source, change: impl FnOnce(&mut BTreeSet<ConnectionId>) -> bool) {
        let place =
            |ids: &BTreeSet<ConnectionId>| ids.first().map(|oldest| (ids.len(), Reverse(*oldest), source));
        let ids = self.of_source.entry(source).or_default();
        let before = place(ids);
        change(ids);
        let after = place(ids);
        if ids.is_empty() {
            self.of_source.remove(&source);
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

    const A: Source = Source::V4([10, 0, 0, 1]);
    const B: Source = Source::V4([10, 0, 0, 2]);

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
            let displaced = room.enter(id, if id % 3 == 0 { A } else { B }, id);
            assert!(displaced.is_none_or(|(gone, value)| gone == value && gone < id));
        }
        for id in room.ids() {
            assert_eq!(room.remove(id), Some(id));
            assert_eq!(room.remove(id), None);
        }
        assert!(room.of_source.is_empty() && room.by_number.is_empty() && room.len() == 0);
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_ipv4_address_are_one_source_each() {
        let source = |text: &str| Source::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), A);
    }
}
