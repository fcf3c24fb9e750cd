//! Whose public key counts: the one function in which players are resolved, and the one in which
//! it is decided who connects to whom.

use std::collections::BTreeMap;

use tsm_transport::Route;
use tsm_types::request::SessionRequest;
use tsm_types::{Address, ErrorCode, Failure, PlayerIndex, PlayerKey, Players};

use crate::settings::StaticPlayer;

/// This node and the players that its configuration knows.
pub(crate) struct KnownPlayers {
    pub me: PlayerIndex,
    pub my_key: PlayerKey,
    pub configured: BTreeMap<PlayerIndex, StaticPlayer>,
    /// See [`crate::Settings::reject_conflicting_dynamic_keys`].
    pub reject_conflicts: bool,
}

/// The players of a session as this node sees them.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub players: Players,
    /// How each peer is reached.
    pub routes: Vec<(PlayerIndex, Route)>,
    /// What the caller should know although nothing failed.
    pub notices: Vec<String>,
    /// Dynamic keys that were ignored.
    pub ignored_keys: u64,
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
        let ignored_keys = notices.len() as u64;
        let players = Players::new(players)?;
        let routes = self.routes(&players, &request.dynamic_addresses, &mut notices)?;
        Ok(Resolved { players, routes, notices, ignored_keys })
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
            (Some(configured), Some(dynamic)) if configured != dynamic && self.reject_conflicts => {
                let detail = format!(
                    "the session gives player {index} the public key {}; this node's configuration has {}",
                    dynamic.fingerprint(),
                    configured.fingerprint()
                );
                Err(Failure::new(ErrorCode::PlayersConflictingKey, detail)
                    .about(index, "conflicting public keys"))
            }
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
    /// lowest can always be dynamic; another needs an address, from the configuration or, where
    /// that has none, from the session.
    fn routes(
        &self,
        players: &Players,
        dynamic: &BTreeMap<PlayerIndex, Address>,
        notices: &mut Vec<String>,
    ) -> Result<Vec<(PlayerIndex, Route)>, Failure> {
        let mut routes = Vec::new();
        for peer in players.peers_of(self.me) {
            let given = dynamic.get(&peer);
            let route = match (self.route(peer), given) {
                (Some(Route::Dial(configured)), Some(given)) if configured != *given => {
                    notices.push(format!(
                        "the dynamic address {given} of player {peer} was ignored: this node's configuration has {configured}"
                    ));
                    Route::Dial(configured)
                }
                (Some(route), _) => route,
                (None, Some(given)) => Route::Dial(given.clone()),
                (None, None) => return Err(self.no_address(peer)),
            };
            routes.push((peer, route));
        }
        Ok(routes)
    }

    /// How to reach a peer by the configuration alone; `None` where this node would have to connect
    /// and does not know where.
    pub(crate) fn route(&self, peer: PlayerIndex) -> Option<Route> {
        if peer < self.me {
            return Some(Route::Wait);
        }
        self.configured.get(&peer).and_then(|player| player.address.clone()).map(Route::Dial)
    }

    fn no_address(&self, peer: PlayerIndex) -> Failure {
        let detail = format!(
            "player {peer} has a higher index than this node (player {}), so this node connects to it, but neither \
             its configuration ([Players.{peer}] Address) nor the session (`dynamic_addresses`) says where",
            self.me
        );
        Failure::new(ErrorCode::PlayersNoAddress, detail).about(peer, "unknown address")
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
        KnownPlayers {
            me: PlayerIndex(1),
            my_key: key(1),
            configured: [(PlayerIndex(2), two)].into(),
            reject_conflicts: false,
        }
    }

    fn request(players: &[u16], dynamic: &[(u16, u64)]) -> SessionRequest {
        SessionRequest {
            id: SessionId::new("run").unwrap(),
            players: players.iter().copied().map(PlayerIndex).collect::<BTreeSet<_>>(),
            dynamic_public_keys: dynamic.iter().map(|(i, seed)| (PlayerIndex(*i), key(*seed))).collect(),
            dynamic_addresses: BTreeMap::new(),
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
        let routes = known.resolve(&request(&[0, 1, 2], &[(0, 50)])).unwrap().routes;
        assert_eq!(routes[0], (PlayerIndex(0), Route::Wait));
        assert!(matches!(routes[1], (PlayerIndex(2), Route::Dial(_))));
        let failure = known.resolve(&request(&[1, 3], &[(3, 53)])).unwrap_err();
        assert_eq!(failure.code, ErrorCode::PlayersNoAddress);
        assert!(failure.hint().contains("dynamic_addresses"));
    }

    #[test]
    fn a_dynamic_player_of_higher_index_is_reached_at_the_address_that_the_session_gives() {
        let mut session = request(&[1, 3], &[(3, 53)]);
        session.dynamic_addresses.insert(PlayerIndex(3), Address::new("phone", 9003));
        let routes = player_one().resolve(&session).unwrap().routes;
        assert_eq!(routes, [(PlayerIndex(3), Route::Dial(Address::new("phone", 9003)))]);
    }

    #[test]
    fn a_section_with_an_address_and_no_key_leaves_the_key_to_the_session() {
        let mut known = player_one();
        let three = StaticPlayer { public_key: None, address: Some(Address::new("node3", 9003)) };
        known.configured.insert(PlayerIndex(3), three);
        let resolved = known.resolve(&request(&[1, 3], &[(3, 53)])).unwrap();
        assert_eq!(resolved.players.key(PlayerIndex(3)), Some(&key(53)));
        assert_eq!(resolved.routes, [(PlayerIndex(3), Route::Dial(Address::new("node3", 9003)))]);
    }

    #[test]
    fn the_configured_address_wins_visibly() {
        let mut session = request(&[1, 2], &[]);
        session.dynamic_addresses.insert(PlayerIndex(2), Address::new("elsewhere", 1));
        let resolved = player_one().resolve(&session).unwrap();
        assert!(matches!(&resolved.routes[0].1, Route::Dial(address) if address.host == "tsm-node2"));
        assert!(resolved.notices[0].contains("elsewhere"));
    }

    #[test]
    fn s100_a_conflicting_key_is_an_error_where_the_configuration_says_so() {
        let strict = KnownPlayers { reject_conflicts: true, ..player_one() };
        let failure = strict.resolve(&request(&[1, 2], &[(2, 51)])).unwrap_err();
        assert_eq!(failure.code, ErrorCode::PlayersConflictingKey);
        assert!(strict.resolve(&request(&[1, 2], &[(2, 2)])).unwrap().notices.is_empty());
    }
}
