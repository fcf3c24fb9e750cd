//! ECDSA keys and signatures.

use axum::Json;
use axum::extract::{RawQuery, State};
use tsm_types::api::{GenerateKeyBody, KeyReply, SignBody, SignReply};
use tsm_types::request::{GenerateKey, SignEcdsa};
use tsm_types::{ErrorCode, Failure};

use super::Shared;
use super::body::{Body, KeyIdInPath};
use super::login::Caller;
use super::problem::Refusal;

pub(super) async fn generate_key(
    State(shared): State<Shared>,
    caller: Caller,
    Body(body): Body<GenerateKeyBody>,
) -> Result<Json<KeyReply>, Refusal> {
    let request = GenerateKey::try_from(body)?;
    let key = shared.node.generate_key(&caller.application, request).await?;
    Ok(Json(key.into()))
}

pub(super) async fn sign(
    State(shared): State<Shared>,
    caller: Caller,
    Body(body): Body<SignBody>,
) -> Result<Json<SignReply>, Refusal> {
    let request = SignEcdsa::try_from(body)?;
    let signed = shared.node.sign(&caller.application, request).await?;
    Ok(Json(signed.into()))
}

pub(super) async fn public_key(
    State(shared): State<Shared>,
    caller: Caller,
    KeyIdInPath(key_id): KeyIdInPath,
    RawQuery(query): RawQuery,
) -> Result<Json<KeyReply>, Refusal> {
    only_the_empty_path(query.as_deref().unwrap_or_default())?;
    let key = shared.node.public_key(&caller.application, &key_id).await?;
    Ok(Json(key.into()))
}

/// The query may say `derivation_path=` and nothing after it: this version derives no keys.
fn only_the_empty_path(query: &str) -> Result<(), Failure> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("derivation_path", "") => {}
            ("derivation_path", _) => {
                let detail = "`derivation_path`: only the empty path, the key itself";
                return Err(Failure::new(ErrorCode::PathUnsupported, detail));
            }
            (_, _) => return Err(Failure::invalid_field("query", "takes `derivation_path` only")),
        }
    }
    Ok(())
}
