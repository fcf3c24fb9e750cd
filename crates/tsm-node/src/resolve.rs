//! Whose public key counts: the one function in which players are resolved, and the one in which
//! it is decided who connects to whom.

use std::collections::BTreeMap;

use tsm_transport::{Pipes, Route};
use tsm_types::request::SessionRequest;
use tsm_types::{Address, ErrorCode, Failure, Place, PlayerIndex, PlayerKey, Players, Reach};

use crate::settings::StaticPlayer;

/// This node and the players that its configuration knows.
pub(crate) struct KnownPlayers {
    pub me: PlayerIndex,
    pub my_key: PlayerKey,
    pub configured: BTreeMap<PlayerIndex, StaticPlayer>,
    /// What this node can dial through.
    pub pipes: Pipes,
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

    /// How to reach each peer of a session: by the configuration's address or, where that has none, by
    /// the session's.
    fn routes(
        &self,
        players: &Players,
        dynamic: &BTreeMap<PlayerIndex, Reach>,
        notices: &mut Vec<String>,
    ) -> Result<Vec<(PlayerIndex, Route)>, Failure> {
        let mut routes = Vec::new();
        for peer in players.peers_of(self.me) {
            let configured = self.configured_reach(peer);
            let given = dynamic.get(&peer);
            if let (Some(configured), Some(given)) = (configured, given)
                && configured != given
            {
                notices.push(format!(
                    "the dynamic address {given} of player {peer} was ignored: this node's configuration has {configured}"
                ));
            }
            routes.push((peer, self.route(peer, configured.or(given))?));
        }
        Ok(routes)
    }

    /// Who connects to whom (`docs/links.md`): the lower index does, and the higher one too if it has an
    /// address and the lower one does not come. Either takes the other's connection, so nodes that were
    /// told different things still meet if one of them dials.
    ///
    /// Refuses, naming the setting, where this node would have to connect and cannot.
    pub(crate) fn route(&self, peer: PlayerIndex, reach: Option<&Reach>) -> Result<Route, Failure> {
        let lower = self.me < peer;
        match reach {
            Some(Reach::Incoming) => Ok(Route::Wait),
            Some(Reach::Dial(address)) => {
                self.check_usable(peer, address)?;
                Ok(if lower { Route::Dial(address.clone()) } else { Route::Either(address.clone()) })
            }
            None if !lower => Ok(Route::Wait),
            None if self.pipes.broker => Ok(Route::Dial(Address::broker())),
            None => Err(self.no_address(peer)),
        }
    }

    /// What the configuration says of how a peer is reached.
    pub(crate) fn configured_reach(&self, peer: PlayerIndex) -> Option<&Reach> {
        self.configured.get(&peer)?.address.as_ref()
    }

    fn check_usable(&self, peer: PlayerIndex, address: &Address) -> Result<(), Failure> {
        let missing = match address.place {
            Place::WebSocket { .. } if !self.pipes.web_socket => {
                "this node's program was built without WebSockets"
            }
            Place::Broker if !self.pipes.broker => "this node's configuration has no message broker",
            Place::Tcp(_) | Place::WebSocket { .. } | Place::Broker => return Ok(()),
        };
        let detail = format!(
            "player {peer} is to be reached at {address} ([Players.{peer}] Address, or `dynamic_addresses` of the \
             session), but {missing}"
        );
        Err(Failure::new(ErrorCode::PlayersAddressUnusable, detail).about(peer, "unusable address"))
    }

    fn no_address(&self, peer: PlayerIndex) -> Failure {
        let detail = format!(
            "player {peer} has a higher index than this node (player {}), so this node connects to it, but neither \
             its configuration ([Players.{peer}] Address) nor the session (`dynamic_addresses`) says where; if the \
             player connects to this node instead, its address is `incoming`",
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

    fn at(host: &str, port: u16) -> Reach {
        Reach::Dial(Address::new(host, port))
    }

    /// Player 1 of the seed document: knows player 2, not player 0.
    fn player_one() -> KnownPlayers {
        let two = StaticPlayer { public_key: Some(key(2)), address: Some("tsm-node2:9002".parse().unwrap()) };
        KnownPlayers {
            me: PlayerIndex(1),
            my_key: key(1),
            configured: [(PlayerIndex(2), two)].into(),
            pipes: Pipes::default(),
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
        session.dynamic_addresses.insert(PlayerIndex(3), at("phone", 9003));
        let routes = player_one().resolve(&session).unwrap().routes;
        assert_eq!(routes, [(PlayerIndex(3), Route::Dial(Address::new("phone", 9003)))]);
    }

    #[test]
    fn a_section_with_an_address_and_no_key_leaves_the_key_to_the_session() {
        let mut known = player_one();
        let three = StaticPlayer { public_key: None, address: Some(at("node3", 9003)) };
        known.configured.insert(PlayerIndex(3), three);
        let resolved = known.resolve(&request(&[1, 3], &[(3, 53)])).unwrap();
        assert_eq!(resolved.players.key(PlayerIndex(3)), Some(&key(53)));
        assert_eq!(resolved.routes, [(PlayerIndex(3), Route::Dial(Address::new("node3", 9003)))]);
    }

    #[test]
    fn the_configured_address_wins_visibly() {
        let mut session = request(&[1, 2], &[]);
        session.dynamic_addresses.insert(PlayerIndex(2), at("elsewhere", 1));
        let resolved = player_one().resolve(&session).unwrap();
        assert!(
            matches!(&resolved.routes[0].1, Route::Dial(address) if *address == Address::new("tsm-node2", 9002))
        );
        assert!(resolved.notices[0].contains("elsewhere"));
    }

    #[test]
    fn s100_a_conflicting_key_is_an_error_where_the_configuration_says_so() {
        let strict = KnownPlayers { reject_conflicts: true, ..player_one() };
        let failure = strict.resolve(&request(&[1, 2], &[(2, 51)])).unwrap_err();
        assert_eq!(failure.code, ErrorCode::PlayersConflictingKey);
        assert!(strict.resolve(&request(&[1, 2], &[(2, 2)])).unwrap().notices.is_empty());
    }

    /// What player 1 does about player 0 or 2.
    fn route(peer: u16, reach: Option<Reach>, broker: bool) -> Result<Route, Failure> {
        let pipes = Pipes { web_socket: false, broker };
        KnownPlayers { pipes, ..player_one() }.route(PlayerIndex(peer), reach.as_ref())
    }

    #[test]
    fn either_side_of_a_pair_dials_unless_neither_has_an_address() {
        let there = Address::new("there", 1);
        let reach = || Some(Reach::Dial(there.clone()));
        assert_eq!(route(2, reach(), false).unwrap(), Route::Dial(there.clone()));
        assert_eq!(route(2, Some(Reach::Incoming), false).unwrap(), Route::Wait);
        // The other side of a pair whose lower index cannot dial.
        assert_eq!(route(0, reach(), false).unwrap(), Route::Either(there.clone()));
        assert_eq!(route(0, Some(Reach::Incoming), false).unwrap(), Route::Wait);
        assert_eq!(route(0, None, false).unwrap(), Route::Wait);
        assert_eq!(route(2, None, false).unwrap_err().code, ErrorCode::PlayersNoAddress);
    }

    #[test]
    fn a_player_without_an_address_is_reached_by_the_broker_if_there_is_one() {
        assert_eq!(route(2, None, true).unwrap(), Route::Dial(Address::broker()));
        assert_eq!(route(0, None, true).unwrap(), Route::Wait);
        let asked = Some(Reach::Dial(Address::broker()));
        assert_eq!(route(0, asked, true).unwrap(), Route::Either(Address::broker()));
        // What is said of a player counts more than the default.
        assert_eq!(route(2, Some(at("there", 1)), true).unwrap(), Route::Dial(Address::new("there", 1)));
        assert_eq!(route(2, Some(Reach::Incoming), true).unwrap(), Route::Wait);
    }

    #[test]
    fn an_address_that_this_node_cannot_use_is_refused_by_name() {
        for (address, missing) in [("broker://", "no message broker"), ("wss://there/", "WebSocket")] {
            for peer in [0, 2] {
                let failure = route(peer, Some(address.parse().unwrap()), false).unwrap_err();
                assert_eq!(failure.code, ErrorCode::PlayersAddressUnusable);
                assert_eq!(failure.players[0].player, PlayerIndex(peer));
                let setting = format!("[Players.{peer}] Address");
                assert!(failure.detail.contains(missing) && failure.detail.contains(&setting), "{failure}");
            }
        }
    }

    #[test]
    fn an_address_of_a_pipe_that_this_node_has_is_used() {
        let pipes = Pipes { web_socket: true, broker: false };
        let known = KnownPlayers { pipes, ..player_one() };
        let reach: Reach = "wss://there/".parse().unwrap();
        let Reach::Dial(address) = &reach else { panic!("{reach}") };
        assert_eq!(known.route(PlayerIndex(2), Some(&reach)).unwrap(), Route::Dial(address.clone()));
    }

    #[test]
    fn a_session_can_say_that_a_player_comes_by_itself() {
        let mut session = request(&[1, 3], &[(3, 53)]);
        session.dynamic_addresses.insert(PlayerIndex(3), Reach::Incoming);
        assert_eq!(player_one().resolve(&session).unwrap().routes, [(PlayerIndex(3), Route::Wait)]);
        let mut session = request(&[0, 1], &[(0, 50)]);
        session.dynamic_addresses.insert(PlayerIndex(0), at("phone", 1));
        let routes = player_one().resolve(&session).unwrap().routes;
        assert_eq!(routes, [(PlayerIndex(0), Route::Either(Address::new("phone", 1)))]);
    }
}
