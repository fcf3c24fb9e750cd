//! One client per node.

use std::sync::Arc;

use tsm_types::api::{KeysReply, ReadyReply, VersionReply};
use tsm_types::{Failure, KeyId};

use crate::configuration::Configuration;
use crate::ecdsa::Ecdsa;
use crate::http::{Call, Node};

/// A client of one node. Cheap to clone; clones share their connections.
///
/// **Dropping a call ends it.** When the future of a call is dropped, for example by
/// `tokio::time::timeout`, the connection closes, and the node cancels the session for all its
/// players.
///
/// **A call whose connection breaks is made once more**, with the same session ID, unless the node
/// could not be reached at all. The node keeps the outcomes of sessions for a while, so what a lost
/// reply said is not lost; and no session is ever run twice. If the session was still running, the
/// break cancelled it, and the repeated call says so. [`KeyManagement::delete_key_share`] is never
/// repeated.
#[derive(Clone, Debug)]
pub struct Client {
    node: Arc<Node>,
}

impl Client {
    /// A client of the configured node. Connects when it is first used.
    pub fn new(configuration: Configuration) -> Result<Self, Failure> {
        Ok(Client { node: Arc::new(Node::new(configuration)?) })
    }

    /// Versions of the node and its protocols, its player index and public key.
    pub async fn version(&self) -> Result<VersionReply, Failure> {
        self.node.call(Call::get("/v1/version")).await
    }

    /// Whether the node takes sessions, and if not, why. Needs no API key.
    pub async fn ready(&self) -> Result<ReadyReply, Failure> {
        self.node.call(Call { also_accepts: Some(503), ..Call::get("/ready") }).await
    }

    /// ECDSA keys and signatures.
    pub fn ecdsa(&self) -> Ecdsa<'_> {
        Ecdsa { node: &self.node }
    }

    /// The node's keys, whatever they sign.
    pub fn key_management(&self) -> KeyManagement<'_> {
        KeyManagement { node: &self.node }
    }
}

/// The node's keys, whatever they sign. Made by [`Client::key_management`].
#[derive(Clone, Copy, Debug)]
pub struct KeyManagement<'c> {
    node: &'c Node,
}

impl KeyManagement<'_> {
    /// IDs of the keys that the node holds shares of, for this API key's application.
    pub async fn list_keys(self) -> Result<Vec<String>, Failure> {
        let call = Call { max_reply_bytes: MAX_KEYS_REPLY_BYTES, ..Call::get("/v1/keys") };
        let reply: KeysReply = self.node.call(call).await?;
        Ok(reply.key_ids)
    }

    /// Destroys this node's share of a key; the other holders keep theirs. It cannot be undone.
    ///
    /// After [`NodeUnreachable`](crate::ErrorCode::NodeUnreachable) the share may be gone or not.
    pub async fn delete_key_share(self, key_id: &str) -> Result<(), Failure> {
        let key_id = KeyId::new(key_id)?;
        self.node.call_without_reply(Call::delete(&format!("/v1/keys/{key_id}"))).await
    }
}

/// Room for the IDs of a million keys.
const MAX_KEYS_REPLY_BYTES: usize = 70_000_000;
