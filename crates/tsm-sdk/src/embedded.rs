//! A node inside an app: its own key and database, no HTTP server, and no listening port unless it
//! is asked for.

mod config;
mod in_process;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tsm_node::{LinkedNode, LinkedParts, Settings};
use tsm_transport::broker::BrokerConfig;
use tsm_types::{PlayerIndex, PlayerKey};

use crate::client::Client;
use in_process::InProcess;

pub use config::{Database, EmbeddedConfig, generate_identity};
pub use tsm_config::ConfigProblem;
pub use tsm_crypto::IdentityKey;
pub use tsm_storage::StoreError;

/// A node that runs in this process, on the tokio runtime in which it was started.
///
/// Dropping it ends its sessions at once, without waiting for the end; [`stop`](Self::stop) lets them end.
pub struct EmbeddedNode {
    in_process: Arc<InProcess>,
    player: PlayerIndex,
    public_key: PlayerKey,
    mpc_address: Option<SocketAddr>,
    draining: CancellationToken,
    stopping: CancellationToken,
    /// Owns the node.
    keeper: JoinHandle<()>,
}

/// Why an embedded node did not start. Nothing was changed.
#[derive(Debug)]
pub enum StartError {
    /// The database: another password, another file, or one that is in use.
    Store(StoreError),
    /// The message broker: this build has none of its kind.
    Broker(String),
    /// The links to other players.
    Links(tsm_transport::StartError),
}

impl EmbeddedNode {
    /// Starts a node. A wrong master password stops the start before anything else is touched.
    ///
    /// Players are dialled when a session needs them, and the link stays for a minute after it: an
    /// app that does nothing costs neither battery nor its peers' sockets.
    pub async fn start(config: EmbeddedConfig) -> Result<EmbeddedNode, StartError> {
        // Before the database, whose own threads need it too.
        Handle::try_current().map_err(|_| StartError::Links(tsm_transport::StartError::NoRuntime))?;
        let EmbeddedConfig {
            player,
            identity,
            players,
            listen,
            direct,
            broker,
            database,
            settings,
            application,
            ..
        } = config;
        let broker = broker.map(BrokerConfig::broker).transpose().map_err(StartError::Broker)?;
        let public_key = identity.public().clone();
        let store = database.open().await.map_err(StartError::Store)?;
        let settings = Settings { keep_links: false, ..settings };
        let parts = LinkedParts {
            player,
            identity,
            players,
            listeners: direct.listeners(listen),
            broker,
            web_roots: direct.web_roots,
            store,
            settings,
        };
        let node = LinkedNode::start(parts).map_err(StartError::Links)?;
        let mpc_address = node.mpc_address();
        let in_process = Arc::new(InProcess::new(node.node().clone(), application));
        let stopping = CancellationToken::new();
        let draining = stopping.child_token();
        let keeper = tokio::spawn(keep(node, draining.clone(), stopping.clone()));
        Ok(EmbeddedNode { in_process, player, public_key, mpc_address, draining, stopping, keeper })
    }

    /// A client of this node. It does not keep the node running: after the node's end every call
    /// fails with [`NodeStopping`](crate::ErrorCode::NodeStopping).
    pub fn client(&self) -> Client {
        Client::of(self.in_process.clone())
    }

    /// Index of the node's player.
    pub fn player(&self) -> u16 {
        self.player.0
    }

    /// DER SubjectPublicKeyInfo of the node's own key: what other players' callers give as this
    /// player's dynamic public key.
    pub fn public_key(&self) -> &[u8] {
        self.public_key.der()
    }

    /// Where players of lower index reach the node, if its configuration says that it listens.
    pub fn mpc_address(&self) -> Option<SocketAddr> {
        self.mpc_address
    }

    /// Refuses new calls, lets the sessions that run end for `[Session] DrainTimeout` at most, ends all
    /// others, telling callers and players why, closes links and database, and returns when nothing of the
    /// node is left. To end at once, drop the node, or this future.
    pub async fn stop(mut self) {
        self.in_process.end();
        self.draining.cancel();
        if let Err(error) = (&mut self.keeper).await {
            // The runtime itself is ending, and all tasks with it.
            drop(error);
        }
    }
}

impl Drop for EmbeddedNode {
    fn drop(&mut self) {
        self.in_process.end();
        self.stopping.cancel();
    }
}

impl fmt::Debug for EmbeddedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddedNode {{ player: {}, public_key: {} }}", self.player, self.public_key.fingerprint())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Store(error) => error.fmt(f),
            StartError::Broker(why) => f.write_str(why),
            StartError::Links(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// Holds the node until it is to end, and sees to the end: so a drop, which cannot wait, is enough.
async fn keep(node: LinkedNode, draining: CancellationToken, stopping: CancellationToken) {
    draining.cancelled().await;
    stopping.run_until_cancelled(node.drain()).await;
    node.stop().await;
}
