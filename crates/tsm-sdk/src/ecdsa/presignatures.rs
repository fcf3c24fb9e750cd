//! Presignatures: signatures without a message between nodes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_types::api::{GeneratePresignaturesBody, SignWithPresignatureBody};
use tsm_types::presignatures::SignedWithPresignature;
use tsm_types::{Failure, KeyId};

use super::calls::Ecdsa;
use crate::session::SessionConfig;

/// Presignatures, as all their signers made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presignatures {
    /// Their IDs, oldest first; the same at all signers.
    pub presignature_ids: Vec<String>,
    /// What the caller should know although nothing failed.
    pub notices: Vec<String>,
}

/// One signer's part of a signature with a presignature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignatureSignResult {
    /// Opaque, and no secret. [`finalise`](super::finalise()) joins the parts of all signers.
    pub partial_signature: Vec<u8>,
    /// The presignature that was used. Every other signer's node must be asked for this one.
    pub presignature_id: String,
    /// The signers whose parts make the signature, ascending.
    pub players: Vec<u16>,
}

/// Unused presignatures of one set of signers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignatureSet {
    /// The signers, ascending.
    pub players: Vec<u16>,
    /// How many there are.
    pub count: u64,
}

impl Ecdsa<'_> {
    /// Makes `count` presignatures, 1 to 100, for signatures by exactly the session's players. Called
    /// at the node of every signer.
    ///
    /// Each node keeps its part in the memory of its process: a restart leaves none, and a restored
    /// database brings none back.
    pub async fn generate_presignatures(
        self,
        session: &SessionConfig,
        key_id: &str,
        count: u16,
    ) -> Result<Presignatures, Failure> {
        let body = GeneratePresignaturesBody {
            session: session.body(),
            key_id: key_id.to_owned(),
            count: u64::from(count),
        };
        let made = self.node.generate_presignatures(body, session.session_timeout()).await?;
        Ok(Presignatures {
            presignature_ids: made.presignature_ids.iter().map(ToString::to_string).collect(),
            notices: made.notices,
        })
    }

    /// Makes this node's part of a signature from a presignature, without a message between nodes.
    ///
    /// Without a `presignature_id` the node takes its oldest one: ask **one** node so, and all others
    /// for the [`presignature_id`](PresignatureSignResult::presignature_id) that it took. If one of
    /// them does not have it (it was restarted), begin anew without an ID at that node. `players`
    /// says which set of signers is meant, where a node holds presignatures of several.
    ///
    /// Asking again with the same ID, path and digest gives the same part; another digest is refused
    /// with [`PresignatureUsed`](crate::ErrorCode::PresignatureUsed). `path` is as in [`sign`](Self::sign).
    pub async fn sign_with_presignature(
        self,
        key_id: &str,
        presignature_id: Option<&str>,
        players: Option<&[u16]>,
        path: &[u32],
        digest: &[u8],
    ) -> Result<PresignatureSignResult, Failure> {
        let body = SignWithPresignatureBody {
            key_id: key_id.to_owned(),
            presignature_id: presignature_id.map(str::to_owned),
            players: players.map(<[u16]>::to_vec),
            derivation_path: path.to_vec(),
            digest: BASE64.encode(digest),
        };
        let SignedWithPresignature { presignature_id, players, partial_signature } =
            self.node.sign_with_presignature(body).await?;
        Ok(PresignatureSignResult {
            partial_signature,
            presignature_id: presignature_id.to_string(),
            players: players.iter().map(|player| player.0).collect(),
        })
    }

    /// Unused presignatures of a key that the node holds, by set of signers.
    pub async fn count_presignatures(self, key_id: &str) -> Result<Vec<PresignatureSet>, Failure> {
        let sets = self.node.count_presignatures(&KeyId::new(key_id)?).await?;
        let set = |set: tsm_types::presignatures::PresignatureSet| PresignatureSet {
            players: set.players.iter().map(|player| player.0).collect(),
            count: set.count,
        };
        Ok(sets.into_iter().map(set).collect())
    }

    /// Deletes the presignatures of a key that the node holds; returns how many were unused.
    pub async fn delete_presignatures(self, key_id: &str) -> Result<u64, Failure> {
        self.node.delete_presignatures(&KeyId::new(key_id)?).await
    }
}
