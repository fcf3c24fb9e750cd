//! Links whose keys are proven, but that nobody here expects (yet).

use std::collections::{BTreeSet, HashMap};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::link::outbox::ConnectionId;
use crate::link::peer::Registered;
use crate::link::waiting::WaitingRoom;
use crate::link::wire::Hello;
use crate::links::{PeerKey, Stranger};
use crate::pipe::Origin;

pub(crate) struct ParkedLink {
    pub(crate) key: PeerKey,
    pub(crate) hello: Hello,
    pub(crate) from: Origin,
    pub(crate) since: Instant,
    pub(crate) unpark: oneshot::Sender<Registered>,
}

/// All parked links. Found by key, since every session looks for those of its players, and by the
/// player that they claim to be, since that is what a session misses.
pub(crate) struct ParkedLinks {
    room: WaitingRoom<ParkedLink>,
    of_key: HashMap<PeerKey, BTreeSet<ConnectionId>>,
    of_player: HashMap<u16, BTreeSet<ConnectionId>>,
}

impl ParkedLinks {
    pub(crate) fn new(limit: usize, limit_per_source: usize) -> Self {
        let room = WaitingRoom::new(limit, limit_per_source);
        ParkedLinks { room, of_key: HashMap::new(), of_player: HashMap::new() }
    }

    /// Returns whether another link had to give way.
    pub(crate) fn enter(&mut self, id: ConnectionId, link: ParkedLink) -> bool {
        self.of_key.entry(link.key.clone()).or_default().insert(id);
        self.of_player.entry(link.hello.player).or_default().insert(id);
        let displaced = self.room.enter(id, link.from, link);
        displaced.as_ref().is_some_and(|(gone, link)| {
            self.forget(*gone, link);
            true
        })
    }

    /// `None` if it has given way or was removed before.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<ParkedLink> {
        let link = self.room.remove(id)?;
        self.forget(id, &link);
        Some(link)
    }

    /// Takes out all links of a peer.
    pub(crate) fn take_of(&mut self, key: &PeerKey) -> Vec<(ConnectionId, ParkedLink)> {
        let ids: Vec<ConnectionId> = self.of_key.get(key).into_iter().flatten().copied().collect();
        ids.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.room.len()
    }

    pub(crate) fn strangers(&self) -> Vec<Stranger> {
        self.room.ids().into_iter().filter_map(|id| self.stranger(id)).collect()
    }

    /// The newest `most` of those who claim to be this player, and how many there are.
    pub(crate) fn strangers_as(&self, player: u16, most: usize) -> (Vec<Stranger>, usize) {
        let Some(ids) = self.of_player.get(&player) else { return (Vec::new(), 0) };
        (ids.iter().rev().take(most).filter_map(|id| self.stranger(*id)).collect(), ids.len())
    }

    fn stranger(&self, id: ConnectionId) -> Option<Stranger> {
        let link = self.room.get(id)?;
        Some(Stranger {
            fingerprint: link.key.fingerprint(),
            key: link.key.clone(),
            player_index: link.hello.player,
            source: link.from.to_string(),
            parked_for: link.since.elapsed(),
        })
    }

    fn forget(&mut self, id: ConnectionId, link: &ParkedLink) {
        remove(&mut self.of_key, &link.key, id);
        remove(&mut self.of_player, &link.hello.player, id);
    }
}

fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<ConnectionId>>, key: &K, id: ConnectionId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
