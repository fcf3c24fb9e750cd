//! The calls of a client, to a node in this process.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use tsm_node::WIRE_VERSION;
use tsm_types::api::{
    API_VERSION, GenerateKeyBody, GeneratePresignaturesBody, MAX_BODY_BYTES, ReadyReply, SignBody,
    SignWithPresignatureBody, VersionReply,
};
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::request::{ChainCode, GenerateKey, KeyInfo, SignEcdsa, Signed};
use tsm_types::{ApplicationId, DerivationPath, ErrorCode, Failure, KeyId, PlayerIndex};

use crate::node::Node;

/// The engine, as one application sees it, for as long as it runs.
pub(super) struct InProcess {
    player: PlayerIndex,
    application: ApplicationId,
    /// None once the node ends: a client that is kept longer holds no database open.
    engine: Mutex<Option<tsm_node::Node>>,
}

impl InProcess {
    pub(super) fn new(engine: tsm_node::Node, application: ApplicationId) -> Self {
        InProcess { player: engine.player(), application, engine: Mutex::new(Some(engine)) }
    }

    /// From now on every call is refused; those that run go on.
    pub(super) fn end(&self) {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn engine(&self) -> Result<tsm_node::Node, Failure> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        engine.ok_or_else(|| self.at(Failure::new(ErrorCode::NodeStopping, STOPPED)))
    }
}

const STOPPED: &str = "the embedded node was stopped";

#[async_trait]
impl Node for InProcess {
    async fn version(&self) -> Result<VersionReply, Failure> {
        let engine = self.engine()?;
        Ok(VersionReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: API_VERSION,
            wire: WIRE_VERSION,
            player: self.player.0,
            public_key: BASE64.encode(engine.public_identity().der()),
        })
    }

    async fn ready(&self) -> Result<ReadyReply, Failure> {
        let reasons = match self.engine() {
            Ok(engine) => engine.not_ready().await,
            Err(_) => vec![STOPPED.to_owned()],
        };
        Ok(ReadyReply { ready: reasons.is_empty(), reasons })
    }

    async fn generate_key(&self, body: GenerateKeyBody, _: Option<Duration>) -> Result<KeyInfo, Failure> {
        let engine = self.engine()?;
        let request = bounded(&body).and_then(|()| GenerateKey::try_from(body)).map_err(|f| self.at(f))?;
        engine.generate_key(&self.application, request).await.map_err(|failure| self.at(failure))
    }

    async fn sign(&self, body: SignBody, _: Option<Duration>) -> Result<Signed, Failure> {
        let engine = self.engine()?;
        let request = bounded(&body).and_then(|()| SignEcdsa::try_from(body)).map_err(|f| self.at(f))?;
        engine.sign(&self.application, request).await.map_err(|failure| self.at(failure))
    }

    async fn generate_presignatures(
        &self,
        body: GeneratePresignaturesBody,
        _: Option<Duration>,
    ) -> Result<Presigned, Failure> {
        let engine = self.engine()?;
        let request = bounded(&body).and_then(|()| GeneratePresignatures::try_from(body));
        let request = request.map_err(|failure| self.at(failure))?;
        let made = engine.generate_presignatures(&self.application, request).await;
        made.map_err(|failure| self.at(failure))
    }

    async fn sign_with_presignature(
        &self,
        body: SignWithPresignatureBody,
    ) -> Result<SignedWithPresignature, Failure> {
        let engine = self.engine()?;
        let request = bounded(&body).and_then(|()| SignWithPresignature::try_from(body));
        let request = request.map_err(|failure| self.at(failure))?;
        let signed = engine.sign_with_presignature(&self.application, request).await;
        signed.map_err(|failure| self.at(failure))
    }

    async fn count_presignatures(&self, key_id: &KeyId) -> Result<Vec<PresignatureSet>, Failure> {
        let sets = self.engine()?.count_presignatures(&self.application, key_id).await;
        sets.map_err(|failure| self.at(failure))
    }

    async fn delete_presignatures(&self, key_id: &KeyId) -> Result<u64, Failure> {
        let deleted = self.engine()?.delete_presignatures(&self.application, key_id).await;
        deleted.map_err(|failure| self.at(failure))
    }

    async fn key_info(&self, key_id: &KeyId, path: &DerivationPath) -> Result<KeyInfo, Failure> {
        let info = self.engine()?.public_key(&self.application, key_id, path).await;
        info.map_err(|failure| self.at(failure))
    }

    async fn chain_code(&self, key_id: &KeyId, path: &DerivationPath) -> Result<ChainCode, Failure> {
        let chain_code = self.engine()?.chain_code(&self.application, key_id, path).await;
        chain_code.map_err(|failure| self.at(failure))
    }

    async fn list_keys(&self) -> Result<Vec<String>, Failure> {
        let keys = self.engine()?.list_keys(&self.application).await.map_err(|failure| self.at(failure))?;
        Ok(keys.iter().map(ToString::to_string).collect())
    }

    async fn delete_key_share(&self, key_id: &KeyId) -> Result<(), Failure> {
        let deleted = self.engine()?.delete_key_share(&self.application, key_id).await;
        deleted.map_err(|failure| self.at(failure))
    }

    fn at(&self, failure: Failure) -> Failure {
        Failure { detail: format!("embedded node (player {}): {}", self.player, failure.detail), ..failure }
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InProcess {{ player: {}, application: {} }}", self.player, self.application)
    }
}

/// What a remote node refuses for its length is refused here too, with the same code.
fn bounded(body: &impl Serialize) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(body).expect("our bodies are strings and numbers").len();
    if bytes > MAX_BODY_BYTES {
        let detail = format!("a body has at most {MAX_BODY_BYTES} bytes; this one has more");
        return Err(Failure::new(ErrorCode::RequestTooLarge, detail));
    }
    Ok(())
}
