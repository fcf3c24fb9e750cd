//! Keys, whatever they sign.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tsm_types::api::KeysReply;

use super::Shared;
use super::body::KeyIdInPath;
use super::login::Caller;
use super::problem::Refusal;

pub(super) async fn list(State(shared): State<Shared>, caller: Caller) -> Result<Json<KeysReply>, Refusal> {
    let keys = shared.node.list_keys(&caller.application).await?;
    Ok(Json(KeysReply { key_ids: keys.iter().map(ToString::to_string).collect() }))
}

pub(super) async fn delete_share(
    State(shared): State<Shared>,
    caller: Caller,
    KeyIdInPath(key_id): KeyIdInPath,
) -> Result<StatusCode, Refusal> {
    shared.node.delete_key_share(&caller.application, &key_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
