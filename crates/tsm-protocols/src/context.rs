//! What every round of a run knows.

use std::collections::BTreeSet;

use tsm_types::{PlayerIndex, PlayerKey, Players, Session, SessionTag};

/// The agreed session as one player's protocol run sees it.
#[derive(Clone, Debug)]
pub struct Context {
    tag: SessionTag,
    players: Players,
    me: PlayerIndex,
}

impl Context {
    /// The view of player `me`; `None` if it does not take part.
    pub fn new(session: &Session, me: PlayerIndex) -> Option<Self> {
        session.players.key(me)?;
        Some(Context { tag: session.tag(), players: session.players.clone(), me })
    }

    /// Tag of the session: the `ssid` of round 1, before anybody's fresh bytes are known.
    pub fn tag(&self) -> &SessionTag {
        &self.tag
    }

    /// All players.
    pub fn players(&self) -> &Players {
        &self.players
    }

    /// This player.
    pub fn me(&self) -> PlayerIndex {
        self.me
    }

    /// Everybody else.
    pub fn peers(&self) -> BTreeSet<PlayerIndex> {
        self.players.peers_of(self.me)
    }

    /// The identity key of a player of this session.
    pub fn key_of(&self, player: PlayerIndex) -> &PlayerKey {
        self.players.key(player).expect("rounds only meet players of their own session")
    }
}
