//! The HTTP API between an SDK and its node (`docs/openapi.json`).
//!
//! Thin on purpose: authenticate the caller, parse the body into valid types, call the node,
//! answer. Whatever goes wrong, axum's own refusals included, is answered with a problem document.
//!
//! A caller that hangs up drops its handler's future and thereby the node's call: that is how a
//! caller leaves a session.

mod body;
mod ecdsa;
mod keys;
mod login;
mod presignatures;
mod problem;
mod status;
mod trace;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::routing::{delete, get, post};
use tsm_types::api::MAX_BODY_BYTES;
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::request::{ChainCode, GenerateKey, KeyInfo, SignEcdsa, Signed};
use tsm_types::{ApplicationId, DerivationPath, ErrorCode, Failure, KeyId, PlayerIndex, PlayerKey};

use crate::auth::ApiKeys;
pub(crate) use login::presented_key;
pub(crate) use problem::Refusal;
pub(crate) use status::version_reply;

pub use trace::REQUEST_ID_HEADER;

/// What the API needs of a node. Implemented by the node, and by a fake one in tests.
///
/// Every call belongs to an application and sees that application's keys only. Dropping a returned
/// future cancels what it does.
#[async_trait]
pub trait NodeApi: Send + Sync + 'static {
    /// Makes a key together with the session's other players.
    async fn generate_key(
        &self,
        application: &ApplicationId,
        request: GenerateKey,
    ) -> Result<KeyInfo, Failure>;

    /// Makes this node's part of a signature together with the session's other players.
    async fn sign(&self, application: &ApplicationId, request: SignEcdsa) -> Result<Signed, Failure>;

    /// Makes presignatures together with the session's other players.
    async fn generate_presignatures(
        &self,
        application: &ApplicationId,
        request: GeneratePresignatures,
    ) -> Result<Presigned, Failure>;

    /// Makes this node's part of a signature from a presignature.
    async fn sign_with_presignature(
        &self,
        application: &ApplicationId,
        request: SignWithPresignature,
    ) -> Result<SignedWithPresignature, Failure>;

    /// Unused presignatures of a key by signer set.
    async fn count_presignatures(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<Vec<PresignatureSet>, Failure>;

    /// Deletes the presignatures of a key; returns how many there were.
    async fn delete_presignatures(&self, application: &ApplicationId, key_id: &KeyId)
    -> Result<u64, Failure>;

    /// What is public of a key, with the public key at this path.
    async fn public_key(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<KeyInfo, Failure>;

    /// The chain code at this path.
    async fn chain_code(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<ChainCode, Failure>;

    /// The keys that this node holds shares of.
    async fn list_keys(&self, application: &ApplicationId) -> Result<Vec<KeyId>, Failure>;

    /// Destroys this node's share of a key.
    async fn delete_key_share(&self, application: &ApplicationId, key_id: &KeyId) -> Result<(), Failure>;

    /// Who this node is.
    fn about(&self) -> About;

    /// Why the node takes no sessions now, one sentence each; empty if it does.
    async fn not_ready(&self) -> Vec<String>;
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Index of the node's player.
    pub player: PlayerIndex,
    /// The node's public key, by which other nodes know it.
    pub public_key: PlayerKey,
}

/// The API as a service: [`serve`](crate::server::serve) puts it on a listener.
pub fn router(node: Arc<dyn NodeApi>, api_keys: Arc<ApiKeys>) -> Router {
    Router::new()
        .route("/ping", get(status::ping))
        .route("/ready", get(status::ready))
        .route("/v1/version", get(status::version))
        .route("/v1/ecdsa/generate-key", post(ecdsa::generate_key))
        .route("/v1/ecdsa/sign", post(ecdsa::sign))
        .route("/v1/ecdsa/generate-presignatures", post(presignatures::generate))
        .route("/v1/ecdsa/sign-with-presignature", post(presignatures::sign))
        .route("/v1/ecdsa/keys/{key_id}/public-key", get(ecdsa::public_key))
        .route("/v1/ecdsa/keys/{key_id}/chain-code", get(ecdsa::chain_code))
        .route("/v1/keys", get(keys::list))
        .route("/v1/keys/{key_id}", delete(keys::delete_share))
        .route("/v1/keys/{key_id}/presignatures", get(presignatures::count).delete(presignatures::delete))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(trace::trace))
        .with_state(Shared { node, api_keys })
}

/// What all handlers share.
#[derive(Clone)]
struct Shared {
    node: Arc<dyn NodeApi>,
    api_keys: Arc<ApiKeys>,
}

async fn unknown_route(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(MAX_ECHO_CHARACTERS).collect();
    Failure::new(ErrorCode::RequestUnknownRoute, format!("there is no {path}")).into()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(MAX_ECHO_CHARACTERS).collect();
    Failure::new(ErrorCode::RequestMethodNotAllowed, format!("{path} does not take {method}")).into()
}

/// How much of what a caller wrote is repeated to it.
pub(crate) const MAX_ECHO_CHARACTERS: usize = 200;
