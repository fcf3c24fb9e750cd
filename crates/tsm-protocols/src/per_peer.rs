//! One value from every peer, complete by construction.

use std::collections::{BTreeMap, BTreeSet};

use tsm_types::PlayerIndex;

/// A value for each peer, by ascending player index. Only [`collect`](Self::collect) and
/// [`from_fn`](Self::from_fn) make one, so a round never meets a missing or a second message.
#[derive(Debug)]
pub struct PerPeer<T>(BTreeMap<PlayerIndex, T>);

impl<T> PerPeer<T> {
    /// Makes a value for every peer.
    pub fn from_fn(peers: &BTreeSet<PlayerIndex>, mut make: impl FnMut(PlayerIndex) -> T) -> Self {
        PerPeer(peers.iter().map(|peer| (*peer, make(*peer))).collect())
    }

    /// `None` unless there is exactly one value for every peer.
    pub fn collect(peers: &BTreeSet<PlayerIndex>, values: BTreeMap<PlayerIndex, T>) -> Option<Self> {
        values.keys().eq(peers.iter()).then_some(PerPeer(values))
    }

    /// Peers and their values.
    pub fn iter(&self) -> impl Iterator<Item = (PlayerIndex, &T)> {
        self.0.iter().map(|(peer, value)| (*peer, value))
    }

    /// The value of a peer.
    pub fn get(&self, peer: PlayerIndex) -> Option<&T> {
        self.0.get(&peer)
    }

    /// The values by reference.
    pub fn as_ref(&self) -> PerPeer<&T> {
        PerPeer(self.0.iter().map(|(peer, value)| (*peer, value)).collect())
    }

    /// The peers.
    pub fn peers(&self) -> BTreeSet<PlayerIndex> {
        self.0.keys().copied().collect()
    }

    /// The only peer of a session of two, and its value.
    ///
    /// # Panics
    /// If there is another number of peers, which is a mistake of the protocol's author.
    pub fn into_only(self) -> (PlayerIndex, T) {
        assert_eq!(self.0.len(), 1, "a session of two has one peer");
        self.0.into_iter().next().expect("it was counted")
    }

    /// A new value for every peer, or the first error.
    pub fn try_map<U, E>(
        self,
        mut make: impl FnMut(PlayerIndex, T) -> Result<U, E>,
    ) -> Result<PerPeer<U>, E> {
        let made: Result<BTreeMap<_, _>, E> =
            self.0.into_iter().map(|(peer, value)| Ok((peer, make(peer, value)?))).collect();
        made.map(PerPeer)
    }

    /// A new value for every peer.
    pub fn map<U>(self, mut make: impl FnMut(PlayerIndex, T) -> U) -> PerPeer<U> {
        PerPeer(self.0.into_iter().map(|(peer, value)| (peer, make(peer, value))).collect())
    }

    /// Pairs up with the values of the same peers (rule S-23: nobody falls off the end).
    ///
    /// # Panics
    /// If the peers differ, which is a mistake of the protocol's author and not of a peer.
    pub fn zip<U>(self, other: PerPeer<U>) -> PerPeer<(T, U)> {
        assert!(self.0.keys().eq(other.0.keys()), "values of different sets of peers");
        PerPeer(self.0.into_iter().zip(other.0.into_values()).map(|((peer, a), b)| (peer, (a, b))).collect())
    }
}

impl<T> IntoIterator for PerPeer<T> {
    type Item = (PlayerIndex, T);
    type IntoIter = std::collections::btree_map::IntoIter<PlayerIndex, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
