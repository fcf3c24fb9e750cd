//! Bodies of the HTTP API between an SDK and its node, version 1.
//!
//! JSON; binary values are standard base64, durations are strings such as `1m30s`. The description
//! for people and tools is `docs/openapi.json`, which a test holds against the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::failure::{Difference, Failure, PlayerConcern};
use crate::players::PlayerIndex;

/// Path prefix of this version.
pub const PREFIX: &str = "/v1";

/// The API's version, as [`VersionReply`] tells it.
pub const API_VERSION: u32 = 1;

/// The largest request body, in bytes: the largest valid one (32 players with P-521 keys) takes a
/// quarter of it.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Scheme of the `Authorization` header: `APIKey <key>`.
pub const AUTHORIZATION_SCHEME: &str = "APIKey";

/// What the caller says of a session, the same at every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The session's ID.
    pub session_id: String,
    /// Indices of the players.
    pub players: Vec<u16>,
    /// Public keys (base64 of DER SubjectPublicKeyInfo) by player index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_public_keys: BTreeMap<String, String>,
    /// How players are reached (`tcp://host:port`, `incoming`) by player index, for nodes whose
    /// configuration does not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_addresses: BTreeMap<String, String>,
    /// How long to wait for all players; shortens the node's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<String>,
    /// How long the whole session may take; shortens the node's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<String>,
}

/// `POST /v1/ecdsa/generate-key`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateKeyBody {
    /// The session.
    pub session: SessionBody,
    /// Security threshold t; t + 1 players must sign.
    pub threshold: u64,
    /// Curve name.
    pub curve: String,
    /// Wished key ID; empty or absent draws one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

/// Reply to [`GenerateKeyBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReply {
    /// The key's ID, the same at all holders.
    pub key_id: String,
    /// DER SubjectPublicKeyInfo, base64.
    pub public_key: String,
    /// Curve name.
    pub curve: String,
    /// Security threshold t.
    pub threshold: u64,
    /// t + 1.
    pub signers_required: u64,
    /// The key's holders.
    pub players: Vec<u16>,
    /// What the caller should know although nothing failed.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// `POST /v1/ecdsa/sign`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignBody {
    /// The session.
    pub session: SessionBody,
    /// The key.
    pub key_id: String,
    /// Derivation path: at most 50 steps, each below 2^31; empty is the key itself.
    #[serde(default)]
    pub derivation_path: Vec<u32>,
    /// Digest of the message, base64.
    pub digest: String,
}

/// Reply to [`SignBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignReply {
    /// This signer's part, opaque, base64. All signers' parts together make the signature.
    pub partial_signature: String,
    /// What the caller should know although nothing failed.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// `POST /v1/ecdsa/generate-presignatures`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratePresignaturesBody {
    /// The session. Its players are the signers of every signature made from one of these.
    pub session: SessionBody,
    /// The key.
    pub key_id: String,
    /// How many, 1 to 100.
    pub count: u64,
}

/// Reply to [`GeneratePresignaturesBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresignaturesReply {
    /// The presignatures, oldest first; the same at all signers.
    pub presignature_ids: Vec<String>,
    /// What the caller should know although nothing failed.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// `POST /v1/ecdsa/sign-with-presignature`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignWithPresignatureBody {
    /// The key.
    pub key_id: String,
    /// Which presignature, 64 hexadecimal digits; without it the oldest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presignature_id: Option<String>,
    /// Whose presignatures. Needed where there are several signer sets and no ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub players: Option<Vec<u16>>,
    /// Derivation path, at most 50 steps below 2^31; empty is the key itself.
    #[serde(default)]
    pub derivation_path: Vec<u32>,
    /// Digest of the message, base64.
    pub digest: String,
}

/// Reply to [`SignWithPresignatureBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignWithPresignatureReply {
    /// This signer's part, opaque, base64. All signers' parts together make the signature.
    pub partial_signature: String,
    /// The presignature that was used. All signers must use this one.
    pub presignature_id: String,
    /// The signers whose parts make the signature.
    pub players: Vec<u16>,
}

/// `GET /v1/keys/{key_id}/presignatures`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresignatureCountReply {
    /// Unused presignatures of the key that this node holds.
    pub count: u64,
    /// The same by signer set.
    pub sets: Vec<PresignatureSetReply>,
}

/// Reply to `DELETE /v1/keys/{key_id}/presignatures`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresignaturesDeletedReply {
    /// How many unused presignatures there were.
    pub deleted: u64,
}

/// Presignatures of one signer set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresignatureSetReply {
    /// The signers, ascending.
    pub players: Vec<u16>,
    /// How many there are.
    pub count: u64,
}

/// `GET /v1/ecdsa/keys/{key_id}/chain-code`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainCodeReply {
    /// The chain code, 32 bytes, base64.
    pub chain_code: String,
}

/// `GET /v1/keys`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysReply {
    /// IDs of the keys that this node holds shares of for this application.
    pub key_ids: Vec<String>,
}

/// `GET /v1/version`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReply {
    /// Version of the node.
    pub version: String,
    /// Version of this API.
    pub api: u32,
    /// Version of the protocol between nodes.
    pub wire: u32,
    /// Index of the node's player.
    pub player: u16,
    /// The node's public key, DER SubjectPublicKeyInfo, base64.
    pub public_key: String,
}

/// `GET /ready`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyReply {
    /// Whether the node takes sessions.
    pub ready: bool,
    /// Why not.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// `GET /health` at the management port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReply {
    /// Whether the node takes sessions.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// The players of the configuration. That one is away does not keep sessions of others from working.
    pub players: Vec<PlayerHealth>,
    /// What is wrong with the message broker, if there is one.
    pub broker: Option<String>,
}

/// The way to a player.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayerHealth {
    /// Its index.
    pub player: u16,
    /// Whether the two nodes are connected.
    pub connected: bool,
    /// Whether it said that it takes no new sessions.
    pub stopping: bool,
    /// The same and more, in words.
    pub status: String,
}

/// An error reply: a problem document of RFC 9457 with the members `code`, `hint`, `players`,
/// `differences`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:opentsm:error:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, with particulars.
    pub detail: String,
    /// The stable, machine-readable reason.
    pub code: String,
    /// What to do about it.
    pub hint: String,
    /// The players concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub players: Vec<ProblemPlayer>,
    /// What the players disagree about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<ProblemDifference>,
}

/// A player that a [`Problem`] is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemPlayer {
    /// Its index.
    pub player: u16,
    /// What is to be said of it.
    pub note: String,
}

/// A field that two players see differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDifference {
    /// Name of the field.
    pub field: String,
    /// For a public key: whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player: Option<u16>,
    /// As the answering node sees it.
    pub ours: String,
    /// As the other player sees it.
    pub theirs: String,
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        Problem {
            kind: format!("urn:opentsm:error:{}", failure.code),
            title: failure.code.title().to_owned(),
            status: failure.code.http_status(),
            detail: failure.detail.clone(),
            code: failure.code.as_str().to_owned(),
            hint: failure.hint().to_owned(),
            players: failure
                .players
                .iter()
                .map(|concern| ProblemPlayer { player: concern.player.0, note: concern.note.clone() })
                .collect(),
            differences: failure
                .differences
                .iter()
                .map(|difference| ProblemDifference {
                    field: difference.field.clone(),
                    player: difference.player.map(|player| player.0),
                    ours: difference.ours.clone(),
                    theirs: difference.theirs.clone(),
                })
                .collect(),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure {
            // A newer node may know codes that this SDK does not.
            code: ErrorCode::from_code(&problem.code).unwrap_or(ErrorCode::NodeReply),
            detail: problem.detail,
            players: problem
                .players
                .into_iter()
                .map(|concern| PlayerConcern { player: PlayerIndex(concern.player), note: concern.note })
                .collect(),
            differences: problem
                .differences
                .into_iter()
                .map(|difference| Difference {
                    field: difference.field,
                    player: difference.player.map(PlayerIndex),
                    ours: difference.ours,
                    theirs: difference.theirs,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_way_through_the_api() {
        let mut failure =
            Failure::new(ErrorCode::LinkWrongKey, "player 2 shows another key").about(PlayerIndex(2), "02a1");
        failure.differences.push(Difference {
            field: "players".into(),
            player: Some(PlayerIndex(2)),
            ours: "02a1".into(),
            theirs: "03b2".into(),
        });
        let json = serde_json::to_string(&Problem::from(&failure)).unwrap();
        let back: Problem = serde_json::from_str(&json).unwrap();
        assert_eq!(Failure::from(back), failure);
    }

    #[test]
    fn unknown_fields_of_a_request_are_refused() {
        let body = r#"{"session_id":"a","players":[0,1],"dynamicPublicKeys":{}}"#;
        assert!(serde_json::from_str::<SessionBody>(body).is_err());
    }
}
