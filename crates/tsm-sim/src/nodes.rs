//! How a simulated network is put together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tsm_crypto::IdentityKey;
use tsm_crypto::ecdsa::{self, JoinError, PartialSignature};
use tsm_crypto::hedged::test_rng;
use tsm_node::{Compute, Node, NodeParts, Settings, StaticPlayer};
use tsm_storage::SealedStore;
use tsm_transport::memory::MemoryNetwork;
use tsm_types::request::SessionRequest;
use tsm_types::{ApplicationId, PlayerIndex, PlayerKey, SessionId};

/// Identities of a network's players.
pub type Identities = BTreeMap<u16, Arc<IdentityKey>>;

/// The application that simulated callers log in to.
pub fn application() -> ApplicationId {
    ApplicationId::new("demoapp").expect("a valid application ID")
}

/// A player's identity in the network of this seed.
pub fn identity(seed: u64, player: u16) -> IdentityKey {
    IdentityKey::generate(&mut test_rng(seed.wrapping_mul(1000) + u64::from(player)))
}

/// The password under which a player's store is sealed.
pub fn master_password(player: u16) -> String {
    format!("master password {player}")
}

/// What `player` is in the configuration of others, with its public key if `knows`.
pub fn static_player(player: u16, identity: &IdentityKey, knows: bool) -> StaticPlayer {
    let address = format!("node{player}:9000").parse().expect("a valid address");
    StaticPlayer { public_key: knows.then(|| identity.public().clone()), address: Some(address) }
}

/// A session of these players. The keys of those that are dynamic come from its callers.
pub fn session<'a>(
    id: &str,
    players: impl IntoIterator<Item = (u16, &'a PlayerKey)>,
    is_dynamic: impl Fn(u16) -> bool,
) -> SessionRequest {
    let mut session = SessionRequest {
        id: SessionId::new(id).expect("a valid session ID"),
        players: BTreeSet::new(),
        dynamic_public_keys: BTreeMap::new(),
        dynamic_addresses: BTreeMap::new(),
        connect_timeout: None,
        session_timeout: None,
    };
    for (player, key) in players {
        session.players.insert(PlayerIndex(player));
        if is_dynamic(player) {
            session.dynamic_public_keys.insert(PlayerIndex(player), key.clone());
        }
    }
    session
}

/// Starts a player's node on memory links, as a new process.
///
/// All its randomness comes from `seed`: no two processes may have the same.
pub fn start(
    links: &MemoryNetwork,
    player: u16,
    identity: &Arc<IdentityKey>,
    players: BTreeMap<PlayerIndex, StaticPlayer>,
    store: SealedStore,
    settings: Settings,
    seed: u64,
) -> Node {
    let (links, events) = links.node(identity.public().clone(), player);
    let compute = Compute::inline(seed, identity);
    let identity = identity.clone();
    Node::start(NodeParts {
        player: PlayerIndex(player),
        identity,
        players,
        links,
        events,
        store,
        compute,
        settings,
    })
}

/// Joins encoded partial signatures.
pub fn join<'a>(
    digest: &[u8],
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<ecdsa::Signature, JoinError> {
    let parts = parts.into_iter().map(|part| borsh::from_slice(part).expect("a readable partial signature"));
    ecdsa::join(digest, &parts.collect::<Vec<PartialSignature>>())
}
