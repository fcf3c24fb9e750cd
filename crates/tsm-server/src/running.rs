//! A whole node, from its configuration: store, links, engine, API; started in that order and
//! stopped in the opposite one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tsm_node::{LinkedNode, LinkedParts, Node};
use tsm_storage::{SealedStore, Sqlite, StoreError, Stretch};
use tsm_transport::broker::BrokerConfig;
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::request::{ChainCode, GenerateKey, KeyInfo, SignEcdsa, Signed};
use tsm_types::{ApplicationId, DerivationPath, Failure, KeyId, PlayerIndex};

use crate::api::{About, NodeApi};
use crate::config::NodeConfig;
use crate::{management, server};

/// A running node. Stops when [`stop`](Self::stop) or [`end`](Self::end) is called.
pub struct RunningNode {
    inside: LinkedNode,
    sdk_address: SocketAddr,
    management_address: Option<SocketAddr>,
    servers: Vec<JoinHandle<()>>,
    stopping: CancellationToken,
}

/// Why a node did not start. Nothing was changed.
#[derive(Debug)]
pub enum StartError {
    /// The database.
    Store(StoreError),
    /// The message broker: this build has none of its kind.
    Broker(String),
    /// The links to other players.
    Links(tsm_transport::StartError),
    /// The port for SDKs.
    Listen(SocketAddr, io::Error),
    /// The port for those who watch the node.
    ListenManagement(SocketAddr, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Store(error) => error.fmt(f),
            StartError::Broker(why) => f.write_str(why),
            StartError::Links(tsm_transport::StartError::Listen(address, error)) => write!(
                f,
                "cannot listen for players on {address}: {error}; choose another port in [MPCTCPServer] or [MPCDirectServer], or stop what uses it"
            ),
            StartError::Links(error) => error.fmt(f),
            StartError::Listen(address, error) => write!(
                f,
                "cannot listen for SDKs on {address}: {error}; choose another [SDKServer] Port or stop what uses it"
            ),
            StartError::ListenManagement(address, error) => write!(
                f,
                "cannot listen for management on {address}: {error}; choose another [ManagementServer] Port or stop what \
                 uses it"
            ),
        }
    }
}

impl std::error::Error for StartError {}

impl RunningNode {
    /// Starts a node. A wrong master password stops the start before anything else is touched.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with(config, Stretch::default()).await
    }

    /// Starts a node whose database, if it is new, gets its own cost of stretching the password.
    #[doc(hidden)]
    pub async fn start_with(config: NodeConfig, stretch: Stretch) -> Result<Self, StartError> {
        let settings = config.engine.settings();
        let NodeConfig {
            player,
            identity,
            players,
            mpc_listen,
            broker,
            direct,
            sdk_listen,
            management,
            database,
            api_keys,
            ..
        } = config;
        let broker = broker.map(BrokerConfig::broker).transpose().map_err(StartError::Broker)?;
        let sqlite = Sqlite::new(database.data_source.expose()).map_err(StartError::Store)?;
        let store =
            SealedStore::open(&sqlite, database.master_password, stretch).await.map_err(StartError::Store)?;
        let listener =
            TcpListener::bind(sdk_listen).await.map_err(|error| StartError::Listen(sdk_listen, error))?;
        let sdk_address = listener.local_addr().map_err(|error| StartError::Listen(sdk_listen, error))?;
        let management = match management {
            None => None,
            Some(management) => {
                let failed = |error| StartError::ListenManagement(management.listen, error);
                let listener = TcpListener::bind(management.listen).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                Some((management, listener, address))
            }
        };
        let inside = LinkedNode::start(LinkedParts {
            player: PlayerIndex(player),
            identity,
            players: players.into_iter().map(|(index, player)| (PlayerIndex(index), player)).collect(),
            listeners: direct.listeners(mpc_listen),
            broker,
            web_roots: direct.web_roots,
            store,
            settings,
        })
        .map_err(StartError::Links)?;
        let stopping = CancellationToken::new();
        let shutdown = stopping.clone().cancelled_owned();
        let node = Arc::new(inside.node().clone());
        let mut servers = vec![tokio::spawn(server::serve(listener, node, Arc::new(api_keys), shutdown))];
        let management_address = management.as_ref().map(|(_, _, address)| *address);
        if let Some((management, listener, _)) = management {
            let router = management::router(inside.node().clone(), management.access, management.prometheus);
            let shutdown = stopping.clone().cancelled_owned();
            servers.push(tokio::spawn(server::serve_management(listener, router, shutdown)));
        }
        Ok(RunningNode { inside, sdk_address, management_address, servers, stopping })
    }

    /// Where SDKs reach the node.
    pub fn sdk_address(&self) -> SocketAddr {
        self.sdk_address
    }

    /// Where the node is watched, if it is.
    pub fn management_address(&self) -> Option<SocketAddr> {
        self.management_address
    }

    /// Where players of lower index reach the node, if it listens: the TCP port, if it has one.
    pub fn mpc_address(&self) -> Option<SocketAddr> {
        self.inside.mpc_address()
    }

    /// All ports where players reach the node: for TCP, then for WebSockets.
    pub fn mpc_addresses(&self) -> &[SocketAddr] {
        self.inside.mpc_addresses()
    }

    /// The engine.
    pub fn node(&self) -> &Node {
        self.inside.node()
    }

    /// Refuses new sessions, of callers and players, with the reason, and returns when those that run have
    /// ended or `[Session] DrainTimeout` is over. All ports stay open meanwhile.
    ///
    /// Dropped, it waits no longer; sessions stay refused.
    pub async fn drain(&self) {
        self.inside.node().drain().await;
    }

    /// Lets running sessions end as [`drain`](Self::drain) does, then stops as [`end`](Self::end) does.
    pub async fn stop(self) {
        self.drain().await;
        self.end().await;
    }

    /// Ends all sessions, telling callers and players why, and frees ports and database.
    pub async fn end(self) {
        // First the sessions: their callers are told through the API.
        self.inside.node().stop().await;
        self.stopping.cancel();
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::error!(%error, "a server ended in a panic");
            }
        }
        self.inside.stop().await;
    }
}

#[async_trait]
impl NodeApi for Node {
    async fn generate_key(
        &self,
        application: &ApplicationId,
        request: GenerateKey,
    ) -> Result<KeyInfo, Failure> {
        Node::generate_key(self, application, request).await
    }

    async fn sign(&self, application: &ApplicationId, request: SignEcdsa) -> Result<Signed, Failure> {
        Node::sign(self, application, request).await
    }

    async fn generate_presignatures(
        &self,
        application: &ApplicationId,
        request: GeneratePresignatures,
    ) -> Result<Presigned, Failure> {
        Node::generate_presignatures(self, application, request).await
    }

    async fn sign_with_presignature(
        &self,
        application: &ApplicationId,
        request: SignWithPresignature,
    ) -> Result<SignedWithPresignature, Failure> {
        Node::sign_with_presignature(self, application, request).await
    }

    async fn count_presignatures(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<Vec<PresignatureSet>, Failure> {
        Node::count_presignatures(self, application, key_id).await
    }

    async fn delete_presignatures(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<u64, Failure> {
        Node::delete_presignatures(self, application, key_id).await
    }

    async fn public_key(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<KeyInfo, Failure> {
        Node::public_key(self, application, key_id, path).await
    }

    async fn chain_code(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<ChainCode, Failure> {
        Node::chain_code(self, application, key_id, path).await
    }

    async fn list_keys(&self, application: &ApplicationId) -> Result<Vec<KeyId>, Failure> {
        Node::list_keys(self, application).await
    }

    async fn delete_key_share(&self, application: &ApplicationId, key_id: &KeyId) -> Result<(), Failure> {
        Node::delete_key_share(self, application, key_id).await
    }

    fn about(&self) -> About {
        About { player: self.player(), public_key: self.public_identity().clone() }
    }

    async fn not_ready(&self) -> Vec<String> {
        Node::not_ready(self).await
    }
}
