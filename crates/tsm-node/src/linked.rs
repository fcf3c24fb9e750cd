//! A node with links of its own: what a server and an app both run.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tsm_crypto::IdentityKey;
use tsm_storage::SealedStore;
use tsm_transport::Roots;
use tsm_transport::broker::Broker;
use tsm_transport::{LinksConfig, Listen, SecureLinks, StartError};
use tsm_types::PlayerIndex;

use crate::compute::Compute;
use crate::node::{Node, NodeParts};
use crate::settings::{Settings, StaticPlayer};

/// How long links may take to send what is queued when the node stops.
const LINK_DRAIN: Duration = Duration::from_secs(2);

/// What a [`LinkedNode`] is made of.
pub struct LinkedParts {
    /// Index of the node's player.
    pub player: PlayerIndex,
    /// Its identity.
    pub identity: IdentityKey,
    /// What the configuration says of other players.
    pub players: BTreeMap<PlayerIndex, StaticPlayer>,
    /// Where other players reach the node; none if it only dials.
    pub listeners: Vec<Listen>,
    /// Through which players are reached at `broker://`, and reach this node.
    pub broker: Option<Arc<dyn Broker>>,
    /// Whose certificates are taken at `wss://`, besides those that the operating system trusts.
    pub web_roots: Roots,
    /// Where key shares are kept.
    pub store: SealedStore,
    /// Times and limits.
    pub settings: Settings,
}

/// A running node and its links.
///
/// Dropping it closes the links, but lets sessions run into their deadlines: [`stop`](Self::stop) it.
pub struct LinkedNode {
    node: Node,
    links: Arc<SecureLinks>,
}

impl LinkedNode {
    /// Starts links, then the engine, on the current tokio runtime.
    pub fn start(parts: LinkedParts) -> Result<LinkedNode, StartError> {
        let LinkedParts { player, identity, players, listeners, broker, web_roots, store, settings } = parts;
        let identity = Arc::new(identity);
        let config = LinksConfig {
            identity: identity.clone(),
            player: player.0,
            listeners,
            broker,
            static_peers: players.values().filter_map(|player| player.public_key.clone()).collect(),
            web_roots,
            limits: settings.links.clone(),
        };
        let (links, events) = SecureLinks::start(config)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let node = Node::start(NodeParts {
            player,
            compute: Compute::pool(threads, &identity),
            identity,
            players,
            links: links.clone(),
            events,
            store,
            settings,
        });
        Ok(LinkedNode { node, links })
    }

    /// The engine.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where other players reach the node, if it listens: the first of its listeners.
    pub fn mpc_address(&self) -> Option<SocketAddr> {
        self.mpc_addresses().first().copied()
    }

    /// Where other players reach the node, in the order of its listeners.
    pub fn mpc_addresses(&self) -> &[SocketAddr] {
        self.links.local_addrs()
    }

    /// Refuses new sessions and waits for those that run: [`Node::drain`].
    pub async fn drain(&self) {
        self.node.drain().await;
    }

    /// Ends all sessions, telling callers and players why, and frees port and database.
    pub async fn stop(self) {
        self.node.stop().await;
        self.links.stop(LINK_DRAIN).await;
    }
}

impl fmt::Debug for LinkedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkedNode").field("player", &self.node.player()).finish_non_exhaustive()
    }
}
