//! Presignatures: making them with others, using them alone.

use axum::Json;
use axum::extract::State;
use tsm_types::api::{
    GeneratePresignaturesBody, PresignatureCountReply, PresignaturesDeletedReply, PresignaturesReply,
    SignWithPresignatureBody, SignWithPresignatureReply,
};
use tsm_types::presignatures::{GeneratePresignatures, SignWithPresignature};

use super::Shared;
use super::body::{Body, KeyIdInPath};
use super::login::Caller;
use super::problem::Refusal;

pub(super) async fn generate(
    State(shared): State<Shared>,
    caller: Caller,
    Body(body): Body<GeneratePresignaturesBody>,
) -> Result<Json<PresignaturesReply>, Refusal> {
    let request = GeneratePresignatures::try_from(body)?;
    let made = shared.node.generate_presignatures(&caller.application, request).await?;
    Ok(Json(made.into()))
}

pub(super) async fn sign(
    State(shared): State<Shared>,
    caller: Caller,
    Body(body): Body<SignWithPresignatureBody>,
) -> Result<Json<SignWithPresignatureReply>, Refusal> {
    let request = SignWithPresignature::try_from(body)?;
    let signed = shared.node.sign_with_presignature(&caller.application, request).await?;
    Ok(Json(signed.into()))
}

pub(super) async fn count(
    State(shared): State<Shared>,
    caller: Caller,
    KeyIdInPath(key_id): KeyIdInPath,
) -> Result<Json<PresignatureCountReply>, Refusal> {
    let sets = shared.node.count_presignatures(&caller.application, &key_id).await?;
    Ok(Json(sets.into()))
}

pub(super) async fn delete(
    State(shared): State<Shared>,
    caller: Caller,
    KeyIdInPath(key_id): KeyIdInPath,
) -> Result<Json<PresignaturesDeletedReply>, Refusal> {
    let deleted = shared.node.delete_presignatures(&caller.application, &key_id).await?;
    Ok(Json(PresignaturesDeletedReply { deleted }))
}
