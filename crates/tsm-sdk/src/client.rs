//! One client per node.

use std::sync::Arc;

use tsm_types::api::{ReadyReply, VersionReply};
use tsm_types::{Failure, KeyId};

#[cfg(feature = "remote")]
use crate::configuration::Configuration;
use crate::ecdsa::Ecdsa;
#[cfg(feature = "remote")]
use crate::http::RemoteNode;
use crate::node::Node;

/// A client of one node, wherever the node runs. Cheap to clone; clones share their connections.
///
/// `Client::new` makes one of a node at a URL, `EmbeddedNode::client` one of a node in this process.
/// Calls, results and error codes are the same; only a remote node can be out of reach.
///
/// **Dropping a call ends it.** When the future of a call is dropped, for example by
/// `tokio::time::timeout`, the node cancels the session for all its players. (A remote node is told
/// by the connection, which closes.)
///
/// **A call whose connection breaks is made once more**, with the same session ID, unless the node
/// could not be reached at all. The node keeps the outcomes of sessions for a while, so what a lost
/// reply said is not lost; and no session is ever run twice. If the session was still running, the
/// break cancelled it, and the repeated call says so. [`KeyManagement::delete_key_share`] is never
/// repeated.
#[derive(Clone, Debug)]
pub struct Client {
    node: Arc<dyn Node>,
}

impl Client {
    /// A client of the configured node. Connects when it is first used.
    #[cfg(feature = "remote")]
    pub fn new(configuration: Configuration) -> Result<Self, Failure> {
        Ok(Client { node: Arc::new(RemoteNode::new(configuration)?) })
    }

    /// A client of a node in this process.
    #[cfg(feature = "embedded")]
    pub(crate) fn of(node: Arc<dyn Node>) -> Self {
        Client { node }
    }

    /// Versions of the node and its protocols, its player index and public key.
    pub async fn version(&self) -> Result<VersionReply, Failure> {
        self.node.version().await
    }

    /// Whether the node takes sessions, and if not, why. Needs no API key.
    pub async fn ready(&self) -> Result<ReadyReply, Failure> {
        self.node.ready().await
    }

    /// ECDSA keys and signatures.
    pub fn ecdsa(&self) -> Ecdsa<'_> {
        Ecdsa { node: self.node.as_ref() }
    }

    /// The node's keys, whatever they sign.
    pub fn key_management(&self) -> KeyManagement<'_> {
        KeyManagement { node: self.node.as_ref() }
    }
}

/// The node's keys, whatever they sign. Made by [`Client::key_management`].
#[derive(Clone, Copy, Debug)]
pub struct KeyManagement<'c> {
    node: &'c dyn Node,
}

impl KeyManagement<'_> {
    /// IDs of the keys that the node holds shares of, for this caller's application.
    pub async fn list_keys(self) -> Result<Vec<String>, Failure> {
        self.node.list_keys().await
    }

    /// Destroys this node's share of a key; the other holders keep theirs. It cannot be undone.
    ///
    /// After [`NodeUnreachable`](crate::ErrorCode::NodeUnreachable) the share may be gone or not.
    pub async fn delete_key_share(self, key_id: &str) -> Result<(), Failure> {
        let key_id = KeyId::new(key_id)?;
        self.node.delete_key_share(&key_id).await
    }
}
