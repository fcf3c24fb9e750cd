//! ECDSA keys and signatures.

use axum::Json;
use axum::extract::{RawQuery, State};
use tsm_types::api::{ChainCodeReply, GenerateKeyBody, KeyReply, SignBody, SignReply};
use tsm_types::request::{GenerateKey, SignEcdsa};
use tsm_types::{DerivationPath, Failure};

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
    let path = path_of(query.as_deref().unwrap_or_default())?;
    let key = shared.node.public_key(&caller.application, &key_id, &path).await?;
    Ok(Json(key.into()))
}

pub(super) async fn chain_code(
    State(shared): State<Shared>,
    caller: Caller,
    KeyIdInPath(key_id): KeyIdInPath,
    RawQuery(query): RawQuery,
) -> Result<Json<ChainCodeReply>, Refusal> {
    let path = path_of(query.as_deref().unwrap_or_default())?;
    let chain_code = shared.node.chain_code(&caller.application, &key_id, &path).await?;
    Ok(Json(chain_code.into()))
}

/// The query's `derivation_path`, such as `m/44/0`; without it, or without a value, the key itself.
fn path_of(query: &str) -> Result<DerivationPath, Failure> {
    let mut path = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "derivation_path" if path.is_none() => path = Some(value.parse()?),
            "derivation_path" => {
                return Err(Failure::invalid_field("query", "gives `derivation_path` twice"));
            }
            _ => return Err(Failure::invalid_field("query", "takes `derivation_path` only")),
        }
    }
    Ok(path.unwrap_or_default())
}
