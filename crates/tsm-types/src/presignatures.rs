//! Presignatures as callers speak of them: identifiers, numbers, requests and results.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::ot::MAX_BATCH;

use crate::api::{
    GeneratePresignaturesBody, PresignatureCountReply, PresignatureSetReply, PresignaturesReply,
    SignWithPresignatureBody, SignWithPresignatureReply,
};
use crate::error_code::ErrorCode;
use crate::failure::Failure;
use crate::ids::KeyId;
use crate::path::DerivationPath;
use crate::players::PlayerIndex;
use crate::request::{self, SessionRequest};

/// Name of a presignature, the same at all its signers: 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PresignatureId(pub [u8; 32]);

impl fmt::Display for PresignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PresignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PresignatureId {
    type Err = Failure;

    /// Lower case only: one identifier, one spelling.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut bytes = [0; 32];
        let lower = text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower => Ok(PresignatureId(bytes)),
            Ok(()) | Err(_) => Err(Failure::invalid_field(
                "presignature_id",
                "a presignature ID has 64 hexadecimal digits in lower case",
            )),
        }
    }
}

/// How many presignatures one session makes: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
pub struct BatchSize(u16);

impl BatchSize {
    /// The most that one session makes.
    pub const MAX: u16 = MAX_BATCH;

    /// Checks the range. A node's configuration may allow less.
    pub fn new(count: u64) -> Result<Self, Failure> {
        match u16::try_from(count) {
            Ok(count) if (1..=Self::MAX).contains(&count) => Ok(BatchSize(count)),
            Ok(_) | Err(_) => Err(Failure::invalid_field(
                "count",
                &format!("a session makes 1 to {} presignatures, not {count}", Self::MAX),
            )),
        }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl BorshDeserialize for BatchSize {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let count = u16::deserialize_reader(reader)?;
        BatchSize::new(count.into())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no session makes so many"))
    }
}

/// Make presignatures, together with the session's other players.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratePresignatures {
    /// The session. Its players are the signers of every signature made from one of these.
    pub session: SessionRequest,
    /// The key.
    pub key_id: KeyId,
    /// How many.
    pub count: BatchSize,
}

/// What [`GeneratePresignatures`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// The presignatures, oldest first; the same at all signers.
    pub presignature_ids: Vec<PresignatureId>,
    /// What the caller should know although nothing failed.
    pub notices: Vec<String>,
}

/// Make this node's part of a signature from a presignature, without a word to other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignWithPresignature {
    /// The key.
    pub key_id: KeyId,
    /// Which presignature; without it the oldest one.
    pub presignature_id: Option<PresignatureId>,
    /// Whose presignatures: exactly these signers. Needed where there are several sets and no ID.
    pub players: Option<BTreeSet<PlayerIndex>>,
    /// Derivation path; empty is the key itself.
    pub path: DerivationPath,
    /// The digest: 32, 48 or 64 bytes. Which of them, the key's curve decides.
    pub digest: Vec<u8>,
}

/// What [`SignWithPresignature`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedWithPresignature {
    /// The presignature that was used. All signers must use this one.
    pub presignature_id: PresignatureId,
    /// The signers whose parts make the signature.
    pub players: Vec<PlayerIndex>,
    /// The [`PartialSignature`](tsm_crypto::ecdsa::PartialSignature), encoded.
    pub partial_signature: Vec<u8>,
}

/// Presignatures of one signer set that a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignatureSet {
    /// The signers, ascending.
    pub players: Vec<PlayerIndex>,
    /// How many there are.
    pub count: u64,
}

impl TryFrom<GeneratePresignaturesBody> for GeneratePresignatures {
    type Error = Failure;

    fn try_from(body: GeneratePresignaturesBody) -> Result<Self, Failure> {
        Ok(GeneratePresignatures {
            session: SessionRequest::try_from(body.session)?,
            key_id: KeyId::new(body.key_id)?,
            count: BatchSize::new(body.count)?,
        })
    }
}

impl TryFrom<SignWithPresignatureBody> for SignWithPresignature {
    type Error = Failure;

    fn try_from(body: SignWithPresignatureBody) -> Result<Self, Failure> {
        Ok(SignWithPresignature {
            key_id: KeyId::new(body.key_id)?,
            presignature_id: body.presignature_id.map(|id| id.parse()).transpose()?,
            players: body.players.map(|players| request::players(&players)).transpose()?,
            path: DerivationPath::new(body.derivation_path)?,
            digest: request::digest(&body.digest)?,
        })
    }
}

impl From<Presigned> for PresignaturesReply {
    fn from(made: Presigned) -> Self {
        PresignaturesReply {
            presignature_ids: made.presignature_ids.iter().map(ToString::to_string).collect(),
            notices: made.notices,
        }
    }
}

impl TryFrom<PresignaturesReply> for Presigned {
    type Error = Failure;

    /// Reads a node's reply. Refuses one that no node sends with [`ErrorCode::NodeReply`].
    fn try_from(reply: PresignaturesReply) -> Result<Self, Failure> {
        let ids = reply.presignature_ids.iter().map(|id| id.parse().map_err(|_| bad("presignature_ids")));
        Ok(Presigned { presignature_ids: ids.collect::<Result<_, _>>()?, notices: reply.notices })
    }
}

impl From<SignedWithPresignature> for SignWithPresignatureReply {
    fn from(signed: SignedWithPresignature) -> Self {
        SignWithPresignatureReply {
            partial_signature: BASE64.encode(&signed.partial_signature),
            presignature_id: signed.presignature_id.to_string(),
            players: signed.players.iter().map(|player| player.0).collect(),
        }
    }
}

impl TryFrom<SignWithPresignatureReply> for SignedWithPresignature {
    type Error = Failure;

    /// Reads a node's reply. Refuses one that no node sends with [`ErrorCode::NodeReply`].
    fn try_from(reply: SignWithPresignatureReply) -> Result<Self, Failure> {
        Ok(SignedWithPresignature {
            presignature_id: reply.presignature_id.parse().map_err(|_| bad("presignature_id"))?,
            players: reply.players.into_iter().map(PlayerIndex).collect(),
            partial_signature: BASE64
                .decode(&reply.partial_signature)
                .map_err(|_| bad("partial_signature"))?,
        })
    }
}

impl From<Vec<PresignatureSet>> for PresignatureCountReply {
    fn from(sets: Vec<PresignatureSet>) -> Self {
        let reply = |set: &PresignatureSet| PresignatureSetReply {
            players: set.players.iter().map(|player| player.0).collect(),
            count: set.count,
        };
        PresignatureCountReply {
            count: sets.iter().map(|set| set.count).sum(),
            sets: sets.iter().map(reply).collect(),
        }
    }
}

impl From<PresignatureCountReply> for Vec<PresignatureSet> {
    fn from(reply: PresignatureCountReply) -> Self {
        let set = |set: PresignatureSetReply| PresignatureSet {
            players: set.players.into_iter().map(PlayerIndex).collect(),
            count: set.count,
        };
        reply.sets.into_iter().map(set).collect()
    }
}

fn bad(field: &str) -> Failure {
    Failure::new(ErrorCode::NodeReply, format!("`{field}` of the reply is not what the API description says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s56_an_identifier_has_one_spelling() {
        let id = PresignatureId([0xab; 32]);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for bad in ["", &text[1..], &text.to_uppercase(), &format!("{text}0"), &text.replace('a', "g")] {
            assert!(bad.parse::<PresignatureId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_makes_one_to_a_hundred_presignatures() {
        assert_eq!([1, 100].map(|count| BatchSize::new(count).unwrap().get()), [1, 100]);
        for count in [0, 101, 65_537, u64::MAX] {
            assert_eq!(BatchSize::new(count).unwrap_err().code, ErrorCode::RequestInvalidField);
        }
        assert!(borsh::from_slice::<BatchSize>(&[0, 0]).is_err());
        assert!(borsh::from_slice::<BatchSize>(&[101, 0]).is_err());
    }

    #[test]
    fn replies_survive_the_way_through_the_api() {
        let made = Presigned { presignature_ids: vec![PresignatureId([1; 32])], notices: vec!["n".into()] };
        assert_eq!(Presigned::try_from(PresignaturesReply::from(made.clone())), Ok(made));
        let signed = SignedWithPresignature {
            presignature_id: PresignatureId([2; 32]),
            players: vec![PlayerIndex(0), PlayerIndex(7)],
            partial_signature: vec![3; 9],
        };
        let reply = SignWithPresignatureReply::from(signed.clone());
        assert_eq!(SignedWithPresignature::try_from(reply), Ok(signed));
        let sets = vec![PresignatureSet { players: vec![PlayerIndex(0), PlayerIndex(7)], count: 4 }];
        let reply = PresignatureCountReply::from(sets.clone());
        assert_eq!((reply.count, Vec::from(reply)), (4, sets));
    }
}
