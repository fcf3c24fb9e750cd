//! What a node says of itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_node::WIRE_VERSION;
use tsm_types::api::{API_VERSION, ReadyReply, VersionReply};

use super::login::Caller;
use super::{About, Shared};

/// The process runs.
pub(super) async fn ping() -> &'static str {
    "pong"
}

/// Whether the node takes sessions.
pub(super) async fn ready(State(shared): State<Shared>) -> (StatusCode, Json<ReadyReply>) {
    let reasons = shared.node.not_ready().await;
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyReply { ready, reasons }))
}

pub(super) async fn version(State(shared): State<Shared>, _: Caller) -> Json<VersionReply> {
    Json(version_reply(&shared.node.about()))
}

/// Who a node is and what it speaks.
pub(crate) fn version_reply(about: &About) -> VersionReply {
    VersionReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: API_VERSION,
        wire: WIRE_VERSION,
        player: about.player.0,
        public_key: BASE64.encode(about.public_key.der()),
    }
}
