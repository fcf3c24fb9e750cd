//! What a node is asked: keys, and parts of signatures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_crypto::CurveId;
use tsm_types::api::{GenerateKeyBody, SignBody};
use tsm_types::request::KeyInfo;
use tsm_types::{DerivationPath, ErrorCode, Failure, KeyId};

use crate::node::Node;
use crate::public_key::PublicKey;
use crate::session::SessionConfig;

/// ECDSA at one node. Made by [`Client::ecdsa`](crate::Client::ecdsa).
#[derive(Clone, Copy, Debug)]
pub struct Ecdsa<'c> {
    pub(crate) node: &'c dyn Node,
}

/// A key, as its holders made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The key's ID, the same at all holders.
    pub key_id: String,
    /// The public key.
    pub public_key: PublicKey,
    /// Security threshold t: t players learn nothing of the key.
    pub threshold: usize,
    /// t + 1: how many players must sign.
    pub signers_required: usize,
    /// The holders, ascending.
    pub players: Vec<u16>,
    /// What the caller should know although nothing failed, for example that a node's configuration
    /// has another public key for a player than the session.
    pub notices: Vec<String>,
}

/// One signer's part of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignResult {
    /// Opaque, and no secret. [`finalise`](super::finalise()) joins the parts of all signers.
    pub partial_signature: Vec<u8>,
    /// What the caller should know although nothing failed.
    pub notices: Vec<String>,
}

impl Ecdsa<'_> {
    /// Makes a key, shared among the players of the session. Called at every player's node.
    ///
    /// `threshold` players learn nothing of the key; `threshold` + 1 of them sign. Without a
    /// `key_id`, or with an empty one, the players draw one.
    pub async fn generate_key(
        self,
        session: &SessionConfig,
        threshold: u16,
        curve: CurveId,
        key_id: Option<&str>,
    ) -> Result<GeneratedKey, Failure> {
        let body = GenerateKeyBody {
            session: session.body(),
            threshold: u64::from(threshold),
            curve: curve.name().to_owned(),
            key_id: key_id.filter(|id| !id.is_empty()).map(str::to_owned),
        };
        self.key(self.node.generate_key(body, session.session_timeout()).await?)
    }

    /// Makes this node's part of a signature. Called at the node of every signer.
    ///
    /// `path` says which key below this one signs: at most 50 steps, each below 2^31; empty is the
    /// key itself. Join with the public key at the same path ([`public_key`](Self::public_key)).
    /// `digest` is the hash of the message: 32 bytes on secp256k1 and P-256, 48 on P-384, 64 on P-521.
    pub async fn sign(
        self,
        session: &SessionConfig,
        key_id: &str,
        path: &[u32],
        digest: &[u8],
    ) -> Result<SignResult, Failure> {
        let body = SignBody {
            session: session.body(),
            key_id: key_id.to_owned(),
            derivation_path: path.to_vec(),
            digest: BASE64.encode(digest),
        };
        let signed = self.node.sign(body, session.session_timeout()).await?;
        Ok(SignResult { partial_signature: signed.partial_signature, notices: signed.notices })
    }

    /// The public key at a path below a key; the key's own, if the path is empty.
    ///
    /// Fails with [`ErrorCode::PathHardened`] for a step of 2^31 or more, and with
    /// [`ErrorCode::PathTooShort`] if the node's configuration asks for a longer path.
    pub async fn public_key(self, key_id: &str, path: &[u32]) -> Result<PublicKey, Failure> {
        Ok(self.key_info(key_id, path).await?.public_key)
    }

    /// Everything that is public of a key: its threshold, its holders, and the public key at a path.
    pub async fn key_info(self, key_id: &str, path: &[u32]) -> Result<GeneratedKey, Failure> {
        let (key_id, path) = (KeyId::new(key_id)?, DerivationPath::new(path)?);
        self.key(self.node.key_info(&key_id, &path).await?)
    }

    /// The chain code at a path below a key. Fails as [`public_key`](Self::public_key).
    ///
    /// Whoever has it and the public key sees all keys below; see
    /// [`ExtendedPublicKey`](super::ExtendedPublicKey).
    pub async fn chain_code(self, key_id: &str, path: &[u32]) -> Result<[u8; 32], Failure> {
        let (key_id, path) = (KeyId::new(key_id)?, DerivationPath::new(path)?);
        Ok(self.node.chain_code(&key_id, &path).await?.0)
    }

    fn key(self, info: KeyInfo) -> Result<GeneratedKey, Failure> {
        let public_key = PublicKey::from_der(&info.public_key).ok().filter(|key| key.curve() == info.curve);
        let public_key = public_key.ok_or_else(|| {
            let detail = format!("`public_key` of the reply is not a key on {}", info.curve);
            self.node.at(Failure::new(ErrorCode::NodeReply, detail))
        })?;
        Ok(GeneratedKey {
            key_id: info.key_id.to_string(),
            public_key,
            threshold: info.threshold.value(),
            signers_required: info.threshold.signers_required(),
            players: info.holders.iter().map(|player| player.0).collect(),
            notices: info.notices,
        })
    }
}
