//! What a client asks of its node, wherever that runs: the one trait behind [`Client`](crate::Client).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tsm_types::api::{GenerateKeyBody, ReadyReply, SignBody, VersionReply};
use tsm_types::request::{ChainCode, KeyInfo, Signed};
use tsm_types::{DerivationPath, Failure, KeyId};

/// A node: at a URL (`http`), or in this process (`embedded`).
///
/// Dropping a returned future ends the call, and with it the caller's part in a session. A session's
/// `timeout` is what its caller gave; the node's own may be shorter.
#[async_trait]
pub(crate) trait Node: fmt::Debug + Send + Sync {
    async fn version(&self) -> Result<VersionReply, Failure>;

    async fn ready(&self) -> Result<ReadyReply, Failure>;

    async fn generate_key(
        &self,
        body: GenerateKeyBody,
        timeout: Option<Duration>,
    ) -> Result<KeyInfo, Failure>;

    async fn sign(&self, body: SignBody, timeout: Option<Duration>) -> Result<Signed, Failure>;

    async fn key_info(&self, key_id: &KeyId, path: &DerivationPath) -> Result<KeyInfo, Failure>;

    async fn chain_code(&self, key_id: &KeyId, path: &DerivationPath) -> Result<ChainCode, Failure>;

    async fn list_keys(&self) -> Result<Vec<String>, Failure>;

    async fn delete_key_share(&self, key_id: &KeyId) -> Result<(), Failure>;

    /// Says at which node it happened.
    fn at(&self, failure: Failure) -> Failure;
}
