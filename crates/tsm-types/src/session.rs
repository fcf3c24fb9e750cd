//! The one place where a session is agreed (docs/spec/session.md).

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::{CurveId, Label, Transcript};

use crate::failure::{Difference, Failure};
use crate::ids::{Epoch, KeyId, SessionId};
use crate::path::DerivationPath;
use crate::players::{PlayerIndex, Players};
use crate::presignatures::BatchSize;
use crate::threshold::Threshold;

/// Everything that the players of one run must agree on.
///
/// Two nodes whose sessions differ in any field have different [tags](Self::tag) and exchange
/// nothing but the news of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Session {
    /// The caller's name for the run.
    pub id: SessionId,
    /// What is to be done, with all its public parameters.
    pub operation: Operation,
    /// Who takes part, each with the public key as this node resolved it.
    pub players: Players,
}

/// What a session does.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Operation {
    /// All players make a key and become its holders.
    GenerateKey {
        /// Curve of the key.
        curve: CurveId,
        /// Security threshold of the key.
        threshold: Threshold,
        /// The caller's wish; without one the key ID is drawn from the run.
        key_id: Option<KeyId>,
    },
    /// The players, all holders of the key, sign a digest with ECDSA.
    SignEcdsa {
        /// The key.
        key_id: KeyId,
        /// Epoch of the shares.
        epoch: Epoch,
        /// Digest of the key's certificate: public key, holders, threshold, chain code (S-05).
        certificate: [u8; 32],
        /// Which key below it; empty is the key itself.
        path: DerivationPath,
        /// What is signed.
        digest: Digest,
    },
    /// Two nodes' processes set up the state that their signatures build on. Started by the nodes
    /// themselves, never by a caller.
    SetUpPair,
    /// The players, all holders of the key, make ECDSA presignatures.
    GeneratePresignatures {
        /// The key.
        key_id: KeyId,
        /// Epoch of the shares.
        epoch: Epoch,
        /// Digest of the key's certificate.
        certificate: [u8; 32],
        /// How many.
        count: BatchSize,
    },
}

impl Operation {
    /// The operation's name, as people and metrics see it.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::GenerateKey { .. } => "ecdsa.generate_key",
            Operation::SignEcdsa { .. } => "ecdsa.sign",
            Operation::SetUpPair => "pair.set_up",
            Operation::GeneratePresignatures { .. } => "ecdsa.generate_presignatures",
        }
    }
}

/// A message digest of exactly the length that the curve signs (rule S-62).
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Digest(Vec<u8>);

impl Digest {
    /// Checks the length: 32 bytes for secp256k1 and P-256, 48 for P-384, 64 for P-521.
    pub fn new(bytes: impl Into<Vec<u8>>, curve: CurveId) -> Result<Self, Failure> {
        let bytes = bytes.into();
        if bytes.len() != curve.digest_bytes() {
            return Err(Failure::digest_length(curve, bytes.len()));
        }
        Ok(Digest(bytes))
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// A hash over all fields of a [`Session`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SessionTag(pub [u8; 32]);

impl fmt::Display for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

impl fmt::Debug for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Session {
    /// The hash over all fields, in their one canonical encoding.
    pub fn tag(&self) -> SessionTag {
        let encoded = borsh::to_vec(self).expect("encoding to memory cannot fail");
        SessionTag(Transcript::new(Label::SessionTag).bytes("session", &encoded).digest())
    }

    /// Every field in which another player's session differs, ours first.
    pub fn differences(&self, theirs: &Session) -> Vec<Difference> {
        let mut found = Differences::default();
        found.compare("session_id", self.id.as_str(), theirs.id.as_str());
        self.operation.differences(&theirs.operation, &mut found);
        let everybody: std::collections::BTreeSet<PlayerIndex> =
            self.players.indices().chain(theirs.players.indices()).collect();
        for player in everybody {
            let (ours, theirs) = (self.players.key(player), theirs.players.key(player));
            if ours != theirs {
                let show = |key: Option<&crate::PlayerKey>| {
                    key.map_or("not in the session".to_owned(), |key| key.fingerprint().to_string())
                };
                found.0.push(Difference {
                    field: "players".to_owned(),
                    player: Some(player),
                    ours: show(ours),
                    theirs: show(theirs),
                });
            }
        }
        found.0
    }
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare(&mut self, field: &str, ours: impl fmt::Display, theirs: impl fmt::Display) {
        let (ours, theirs) = (ours.to_string(), theirs.to_string());
        if ours != theirs {
            self.0.push(Difference { field: field.to_owned(), player: None, ours, theirs });
        }
    }
}

impl Operation {
    fn differences(&self, theirs: &Operation, found: &mut Differences) {
        let optional = |id: &Option<KeyId>| id.as_ref().map_or("none".to_owned(), |id| id.to_string());
        match (self, theirs) {
            (
                Operation::GenerateKey { curve, threshold, key_id },
                Operation::GenerateKey { curve: their_curve, threshold: their_threshold, key_id: their_key },
            ) => {
                found.compare("curve", curve, their_curve);
                found.compare("threshold", threshold.value(), their_threshold.value());
                found.compare("key_id", optional(key_id), optional(their_key));
            }
            (
                Operation::SignEcdsa { key_id, epoch, certificate, path, digest },
                Operation::SignEcdsa {
                    key_id: their_key,
                    epoch: their_epoch,
                    certificate: their_certificate,
                    path: their_path,
                    digest: their_digest,
                },
            ) => {
                found.compare("key_id", key_id, their_key);
                found.compare("epoch", epoch, their_epoch);
                found.compare("certificate", hex::encode(certificate), hex::encode(their_certificate));
                found.compare("derivation_path", path, their_path);
                found.compare("digest", hex::encode(&digest.0), hex::encode(&their_digest.0));
            }
            (Operation::SetUpPair, Operation::SetUpPair) => {}
            (
                Operation::GeneratePresignatures { key_id, epoch, certificate, count },
                Operation::GeneratePresignatures {
                    key_id: their_key,
                    epoch: their_epoch,
                    certificate: their_certificate,
                    count: their_count,
                },
            ) => {
                found.compare("key_id", key_id, their_key);
                found.compare("epoch", epoch, their_epoch);
                found.compare("certificate", hex::encode(certificate), hex::encode(their_certificate));
                found.compare("count", count.get(), their_count.get());
            }
            (
                Operation::GenerateKey { .. }
                | Operation::SignEcdsa { .. }
                | Operation::SetUpPair
                | Operation::GeneratePresignatures { .. },
                _,
            ) => {
                found.compare("operation", self.name(), theirs.name());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::players::tests::{key, players};

    fn sign() -> Session {
        Session {
            id: SessionId::new("run1").unwrap(),
            operation: Operation::SignEcdsa {
                key_id: KeyId::new("key1").unwrap(),
                epoch: Epoch(0),
                certificate: [1; 32],
                path: DerivationPath::ROOT,
                digest: Digest::new([7; 32], CurveId::Secp256k1).unwrap(),
            },
            players: players(&[0, 1, 2]),
        }
    }

    fn generate(curve: CurveId, threshold: u64, key_id: Option<&str>) -> Operation {
        Operation::GenerateKey {
            curve,
            threshold: Threshold::new(threshold, 3).unwrap(),
            key_id: key_id.map(|id| KeyId::new(id).unwrap()),
        }
    }

    /// Each way in which one field can differ, and the field's name.
    fn variations() -> Vec<(&'static str, Session, Session)> {
        let base = sign();
        let change = |edit: &dyn Fn(&mut Operation)| {
            let mut other = base.clone();
            edit(&mut other.operation);
            other
        };
        let made = |operation| Session { operation, ..base.clone() };
        let mut other_players = base.clone();
        other_players.players = Players::new(
            [(PlayerIndex(0), key(77)), (PlayerIndex(1), key(1)), (PlayerIndex(2), key(2))].into(),
        )
        .unwrap();
        let sign_field = |field: &'static str| {
            change(&move |operation| {
                if let Operation::SignEcdsa { key_id, epoch, certificate, path, digest } = operation {
                    match field {
                        "key_id" => *key_id = KeyId::new("key2").unwrap(),
                        "epoch" => *epoch = Epoch(1),
                        "certificate" => certificate[31] = 0,
                        "derivation_path" => *path = DerivationPath::new([3]).unwrap(),
                        "digest" => *digest = Digest::new([8; 32], CurveId::Secp256k1).unwrap(),
                        other => panic!("{other} is not a field"),
                    }
                }
            })
        };
        let generated = made(generate(CurveId::Secp256k1, 1, None));
        let presigned = |key: &str, epoch, certificate, count| {
            made(Operation::GeneratePresignatures {
                key_id: KeyId::new(key).unwrap(),
                epoch: Epoch(epoch),
                certificate: [certificate; 32],
                count: BatchSize::new(count).unwrap(),
            })
        };
        let four = presigned("key1", 0, 1, 4);
        vec![
            ("session_id", base.clone(), Session { id: SessionId::new("run2").unwrap(), ..base.clone() }),
            ("players", base.clone(), other_players),
            ("players", base.clone(), Session { players: players(&[0, 1]), ..base.clone() }),
            ("key_id", base.clone(), sign_field("key_id")),
            ("epoch", base.clone(), sign_field("epoch")),
            ("certificate", base.clone(), sign_field("certificate")),
            ("derivation_path", base.clone(), sign_field("derivation_path")),
            ("digest", base.clone(), sign_field("digest")),
            ("operation", base.clone(), generated.clone()),
            ("operation", base.clone(), four.clone()),
            ("key_id", four.clone(), presigned("key2", 0, 1, 4)),
            ("epoch", four.clone(), presigned("key1", 1, 1, 4)),
            ("certificate", four.clone(), presigned("key1", 0, 2, 4)),
            ("count", four, presigned("key1", 0, 1, 5)),
            ("curve", generated.clone(), made(generate(CurveId::P256, 1, None))),
            ("threshold", generated.clone(), made(generate(CurveId::Secp256k1, 2, None))),
            ("key_id", generated, made(generate(CurveId::Secp256k1, 1, Some("mine")))),
        ]
    }

    #[test]
    fn s01_every_field_changes_the_tag_and_is_named_when_it_differs() {
        for (field, ours, theirs) in variations() {
            assert_ne!(ours.tag(), theirs.tag(), "{field}");
            let differences = ours.differences(&theirs);
            assert_eq!(differences.len(), 1, "{field}: {differences:?}");
            assert_eq!(differences[0].field, field);
        }
    }

    #[test]
    fn a_tag_is_shown_by_its_first_eight_bytes() {
        assert_eq!(SessionTag([0xa7; 32]).to_string(), "a7a7a7a7a7a7a7a7");
    }

    #[test]
    fn s99_a_differing_player_key_names_the_player_and_both_fingerprints() {
        let (_, ours, theirs) = variations().remove(1);
        let difference = &ours.differences(&theirs)[0];
        assert_eq!(difference.player, Some(PlayerIndex(0)));
        assert_eq!(difference.ours, key(0).fingerprint().to_string());
        assert_eq!(difference.theirs, key(77).fingerprint().to_string());
    }

    #[test]
    fn s29_a_session_decodes_to_itself_and_nothing_may_follow() {
        let session = sign();
        let mut bytes = borsh::to_vec(&session).unwrap();
        assert_eq!(borsh::from_slice::<Session>(&bytes).unwrap(), session);
        bytes.push(0);
        assert!(borsh::from_slice::<Session>(&bytes).is_err());
    }

    #[test]
    fn s62_a_digest_has_exactly_the_curves_length() {
        for (curve, length) in
            [(CurveId::Secp256k1, 32), (CurveId::P256, 32), (CurveId::P384, 48), (CurveId::P521, 64)]
        {
            let digest = Digest::new(vec![1; length], curve).unwrap();
            assert_eq!(digest.as_bytes(), vec![1; length]);
            assert!(Digest::new(vec![1; length - 1], curve).is_err());
            assert!(Digest::new(vec![1; length + 1], curve).is_err());
        }
    }
}
