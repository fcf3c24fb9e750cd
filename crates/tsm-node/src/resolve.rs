//! Whose public key counts: the one function in which players are resolved, and the one in which
//! it is decided who connects to whom.

use std::collections::BTreeMap;

use tsm_transport::Route;
use tsm_types::request::SessionRequest;
use tsm_types::{ErrorCode, Failure, PlayerIndex, PlayerKey, Players};

use crate::settings::StaticPlayer;

/// This node and the players that its configuration knows.
pub(crate) struct KnownPlayers {
    pub me: PlayerIndex,
    pub my_key: PlayerKey,
    pub configured: BTreeMap<PlayerIndex, StaticPlayer>,
}

/// The players of a session as this node sees them.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub players: Players,
    /// What the caller should know although nothing failed.
    pub notices: Vec<String>,
}

impl KnownPlayers {
    /// Finds every player's public key: the configuration's if it has one (a dynamic key that
    /// differs is ignored, with a notice), else the caller's, else a refusal that names the player.
    pub(crate) fn resolve(&self, request: &SessionRequest) -> Result<Resolved, Failure> {
        if !request.players.contains(&self.me) {
            return Err(Failure::new(
                ErrorCode::PlayersInvalid,
                format!("this node is player {}, which the session does not name", self.me),
            )
            .about(self.me, "not in the session"));
        }
        if let Some(stranger) =
            request.dynamic_public_keys.keys().find(|index| !request.players.contains(index))
        {
            return Err(Failure::invalid_field(
                &format!("dynamic_public_keys.{stranger}"),
                "a public key is given for a player that the session does not name",
            ));
        }
        let mut notices = Vec::new();
        let mut players = BTreeMap::new();
        for index in &request.players {
            let dynamic = request.dynamic_public_keys.get(index);
            players.insert(*index, self.key_of(*index, dynamic, &mut notices)?);
        }
        Ok(Resolved { players: Players::new(players)?, notices })
    }

    fn key_of(
        &self,
        index: PlayerIndex,
        dynamic: Option<&PlayerKey>,
        notices: &mut Vec<String>,
    ) -> Result<PlayerKey, Failure> {
        if index == self.me {
            return match dynamic {
                Some(key) if *key != self.my_key => Err(Failure::new(
                    ErrorCode::PlayersOwnKey,
                    format!(
                        "the session gives player {index}, this node, the public key {}; its own is {}",
                        key.fingerprint(),
                        self.my_key.fingerprint()
                    ),
                )
                .about(index, self.my_key.fingerprint().to_string())),
                Some(_) | None => Ok(self.my_key.clone()),
            };
        }
        let configured = self.configured.get(&index).and_then(|player| player.public_key.as_ref());
        match (configured, dynamic) {
            (Some(configured), Some(dynamic)) if configured != dynamic => {
                let notice = format!(
                    "the dynamic public key {} of player {index} was ignored: this node's configuration has {}",
                    dynamic.fingerprint(),
                    configured.fingerprint()
                );
                tracing::warn!(player = %index, "{notice}");
                notices.push(notice);
                Ok(configured.clone())
            }
            (Some(key), _) | (None, Some(key)) => Ok(key.clone()),
            (None, None) => Err(Failure::new(
                ErrorCode::PlayersUnknownKey,
                format!("player {index} has no public key in this node's configuration and none was given"),
            )
            .about(index, "unknown public key")),
        }
    }

    /// How to reach each peer of a session. With direct links the lower index connects, so the
    /// lowest can always be dynamic.
    pub(crate) fn routes(&self, players: &Players) -> Result<Vec<(PlayerIndex, Route)>, Failure> {
        players.peers_of(self.me).into_iter().map(|peer| Ok((peer, self.route(peer)?))).collect()
    }

    /// How to reach one peer.
    pub(crate) fn route(&self, peer: PlayerIndex) -> Result<Route, Failure> {
        if peer < self.me {
            return Ok(Route::Wait);
        }
        match self.configured.get(&peer).and_then(|player| player.address.clone()) {
            Some(address) => Ok(Route::Dial(address)),
            None => Err(Failure::new(
                ErrorCode::PlayersNoAddress,
                format!(
                    "player {peer} has a higher index than this node (player {}), so this node connects to it, \
                     but its configuration has no [Players.{peer}] Address",
                    self.me
                ),
            )
            .about(peer, "unknown address")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tsm_crypto::IdentityKey;
    use tsm_crypto::hedged::test_rng;
    use tsm_types::SessionId;

    fn key(seed: u64) -> PlayerKey {
        IdentityKey::generate(&mut test_rng(seed)).public().clone()
    }

    /// Player 1 of the seed document: knows player 2, not player 0.
    fn player_one() -> KnownPlayers {
        let two = StaticPlayer { public_key: Some(key(2)), address: Some("tsm-node2:9002".parse().unwrap()) };
        KnownPlayers { me: PlayerIndex(1), my_key: key(1), configured: [(PlayerIndex(2), two)].into() }
    }

    fn request(players: &[u16], dynamic: &[(u16, u64)]) -> SessionRequest {
        SessionRequest {
            id: SessionId::new("run").unwrap(),
            players: players.iter().copied().map(PlayerIndex).collect::<BTreeSet<_>>(),
            dynamic_public_keys: dynamic.iter().map(|(i, seed)| (PlayerIndex(*i), key(*seed))).collect(),
            connect_timeout: None,
            session_timeout: None,
        }
    }

    #[test]
    fn a_dynamic_key_fills_what_the_configuration_lacks() {
        let resolved = player_one().resolve(&request(&[0, 1, 2], &[(0, 50)])).unwrap();
        assert_eq!(resolved.players.key(PlayerIndex(0)), Some(&key(50)));
        assert!(resolved.notices.is_empty());
    }

    #[test]
    fn s100_the_static_key_wins_visibly() {
        let resolved = player_one().resolve(&request(&[0, 1, 2], &[(0, 50), (2, 51)])).unwrap();
        assert_eq!(resolved.players.key(PlayerIndex(2)), Some(&key(2)));
        assert!(resolved.notices[0].contains(&key(51).fingerprint().to_string()));
    }

    #[test]
    fn a_player_without_any_key_is_named() {
        let failure = player_one().resolve(&request(&[0, 1], &[])).unwrap_err();
        assert_eq!(failure.code, ErrorCode::PlayersUnknownKey);
        assert_eq!(failure.players[0].player, PlayerIndex(0));
    }

    #[test]
    fn another_key_for_this_node_is_refused() {
        let failure = player_one().resolve(&request(&[1, 2], &[(1, 9)])).unwrap_err();
        assert_eq!(failure.code, ErrorCode::PlayersOwnKey);
        assert!(player_one().resolve(&request(&[1, 2], &[(1, 1)])).is_ok());
    }

    #[test]
    fn a_session_without_this_node_or_with_a_key_for_a_stranger_is_refused() {
        assert_eq!(
            player_one().resolve(&request(&[0, 2], &[(0, 5)])).unwrap_err().code,
            ErrorCode::PlayersInvalid
        );
        let failure = player_one().resolve(&request(&[1, 2], &[(0, 5)])).unwrap_err();
        assert_eq!(failure.code, ErrorCode::RequestInvalidField);
    }

    #[test]
    fn the_lower_index_dials_and_needs_an_address() {
        let known = player_one();
        let players = known.resolve(&request(&[0, 1, 2], &[(0, 50)])).unwrap().players;
        let routes = known.routes(&players).unwrap();
        assert_eq!(routes[0], (PlayerIndex(0), Route::Wait));
        assert!(matches!(routes[1], (PlayerIndex(2), Route::Dial(_))));
        let players = known.resolve(&request(&[1, 3], &[(3, 53)])).unwrap().players;
        assert_eq!(known.routes(&players).unwrap_err().code, ErrorCode::PlayersNoAddress);
    }
}
