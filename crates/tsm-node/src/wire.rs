//! What engines say to each other over a link (docs/formats.md, section "Frames").
//!
//! The sender of a frame is the peer that the link proved; no frame says who sent it. Decoding is
//! exact: unknown variants and trailing bytes are refused.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::identity::Fingerprint;
use tsm_protocols::SignedCertificate;
use tsm_types::{ErrorCode, PlayerIndex, Session, SessionId, SessionTag};

/// Version of the frames. Peers with another version are refused when the link is set up.
pub const WIRE_VERSION: u32 = 1;

/// One message between two engines.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(crate) enum Frame {
    /// "I take part in this session." The first frame of every session.
    Open(Session),
    /// A protocol message.
    Round(RoundFrame),
    /// "For me this session is over", with the reason.
    End(EndFrame),
    /// "I hold no state for the two of us: set it up." From the player of higher index.
    PairWanted {
        /// How many states of the pair the sender has lost so far.
        losses: u64,
    },
    /// "I dropped this state: drop it too."
    PairDropped {
        /// Which one.
        id: [u8; 32],
    },
    /// "I stored a share but missed signatures: has this certificate become complete?"
    CertificateWanted {
        /// Digest of the certificate.
        digest: [u8; 32],
    },
    /// A complete certificate.
    Certificate(SignedCertificate),
    /// "I hold this state for the two of us."
    PairHeld {
        /// Which one.
        id: [u8; 32],
        /// Whether the sender asks if the receiver does.
        asks: bool,
    },
    /// A piece of a protocol message that is too long for one frame.
    Part(PartFrame),
    /// "I am stopping: open no more sessions with me." Good for as long as the link stands.
    Stopping,
}

/// A protocol message. Its tag says for which session, so an equal tag is also agreement.
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct RoundFrame {
    /// The session.
    pub tag: SessionTag,
    /// Which protocol of the session, from 1.
    pub phase: u8,
    /// Which round of the protocol, from 1.
    pub round: u8,
    /// The message. May hold secrets meant for the receiver.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for RoundFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoundFrame({}, {}.{}, {} bytes)", self.tag, self.phase, self.round, self.body.len())
    }
}

/// A piece of a protocol message (`parts.rs`).
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct PartFrame {
    /// The session.
    pub tag: SessionTag,
    /// Which protocol of the session, from 1.
    pub phase: u8,
    /// Which round of the protocol, from 1.
    pub round: u8,
    /// Which piece, from 0.
    pub place: u8,
    /// Of how many.
    pub of: u8,
    /// The piece. May hold secrets meant for the receiver.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for PartFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PartFrame { tag, phase, round, place, of, body } = self;
        write!(f, "PartFrame({tag}, {phase}.{round}, {place} of {of}, {} bytes)", body.len())
    }
}

/// The end of a session at one player.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct EndFrame {
    /// The caller's session ID.
    pub id: SessionId,
    /// The session, if it got so far as to be agreed at the sender.
    pub tag: Option<SessionTag>,
    /// The reason, a code of the catalogue.
    pub code: String,
    /// The players that the sender names, without notes: text of a peer is not shown to people.
    pub players: Vec<PlayerIndex>,
    /// The fields that the sender saw two callers disagree about.
    pub fields: Vec<String>,
    /// The public keys among them.
    pub disputed: Vec<DisputedKey>,
}

/// A player's public key, as two players see it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct DisputedKey {
    /// Whose it is.
    pub player: PlayerIndex,
    /// What the two see.
    pub seen: [SeenKey; 2],
}

/// A public key as one player sees it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct SeenKey {
    /// Who sees it so.
    pub by: PlayerIndex,
    /// `None` where its session does not have the player.
    pub key: Option<Fingerprint>,
}

impl DisputedKey {
    /// The public keys in which the sessions of two players differ.
    pub(crate) fn between(one: (PlayerIndex, &Session), other: (PlayerIndex, &Session)) -> Vec<Self> {
        let everybody: BTreeSet<PlayerIndex> =
            one.1.players.indices().chain(other.1.players.indices()).collect();
        let seen = |player, (by, session): (PlayerIndex, &Session)| SeenKey {
            by,
            key: session.players.key(player).map(|key| key.fingerprint()),
        };
        let pairs = everybody.into_iter().map(|player| (player, [seen(player, one), seen(player, other)]));
        let differ = pairs.filter(|(_, [one, other])| one.key != other.key);
        differ.map(|(player, seen)| DisputedKey { player, seen }).collect()
    }
}

impl std::fmt::Display for DisputedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |seen: &SeenKey| {
            let key = seen.key.map_or_else(|| "not in the session".to_owned(), |key| key.to_string());
            format!("{key} at player {}", seen.by)
        };
        let [one, other] = &self.seen;
        write!(f, "public key of player {}: {}, {}", self.player, show(one), show(other))
    }
}

/// More players, fields or keys than this in an [`EndFrame`] are not honest.
const MAX_END_ITEMS: usize = 64;

/// Longest code or field name in an [`EndFrame`].
const MAX_END_TEXT_BYTES: usize = 64;

impl EndFrame {
    /// The code, if the catalogue knows it and the frame is within its bounds.
    pub(crate) fn checked_code(&self) -> Option<ErrorCode> {
        let short =
            |text: &String| text.len() <= MAX_END_TEXT_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        let lengths = [self.players.len(), self.fields.len(), self.disputed.len()];
        let bounded = lengths.iter().all(|length| *length <= MAX_END_ITEMS);
        (bounded && self.fields.iter().all(short)).then(|| ErrorCode::from_code(&self.code)).flatten()
    }
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("encoding to memory cannot fail")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        borsh::from_slice(bytes).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tsm_crypto::hedged::test_rng;
    use tsm_crypto::{CurveId, IdentityKey};
    use tsm_types::{BatchSize, Digest, Epoch, KeyId, Operation, Players, Threshold};

    fn players() -> Players {
        let key = |seed| IdentityKey::generate(&mut test_rng(seed)).public().clone();
        Players::new([(PlayerIndex(0), key(1)), (PlayerIndex(2), key(2))].into()).unwrap()
    }

    fn session(operation: Operation) -> Session {
        Session { id: SessionId::new("session-1").unwrap(), operation, players: players() }
    }

    pub(crate) fn certificate() -> SignedCertificate {
        let generator = [&[2][..], &hex(GENERATOR)].concat();
        let certificate = tsm_protocols::Certificate {
            key_id: KeyId::new("key1").unwrap(),
            curve: CurveId::Secp256k1,
            epoch: Epoch(0),
            threshold: Threshold::new(1, 2).unwrap(),
            holders: players(),
            public_key: generator.clone(),
            share_points: vec![generator.clone(), generator],
            chain_code: [3; 32],
            ssid: [4; 32],
        };
        SignedCertificate { certificate, signatures: BTreeMap::from([(PlayerIndex(0), vec![5; 64])]) }
    }

    /// x coordinate of secp256k1's generator.
    const GENERATOR: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// One of every kind, under the name of its frozen file.
    fn frames() -> Vec<(&'static str, Frame)> {
        let sign = Operation::SignEcdsa {
            key_id: KeyId::new("key1").unwrap(),
            epoch: Epoch(0),
            certificate: [1; 32],
            path: tsm_types::DerivationPath::ROOT,
            digest: Digest::new([7; 32], CurveId::Secp256k1).unwrap(),
        };
        let presign = Operation::GeneratePresignatures {
            key_id: KeyId::new("key1").unwrap(),
            epoch: Epoch(0),
            certificate: [1; 32],
            count: BatchSize::new(64).unwrap(),
        };
        let generate = Operation::GenerateKey {
            curve: CurveId::P256,
            threshold: Threshold::new(1, 2).unwrap(),
            key_id: Some(KeyId::new("key1").unwrap()),
        };
        let end = EndFrame {
            id: SessionId::new("session-1").unwrap(),
            tag: Some(SessionTag([9; 32])),
            code: ErrorCode::SessionDisagreement.to_string(),
            players: vec![PlayerIndex(2)],
            fields: vec!["players.0".to_owned()],
            disputed: vec![DisputedKey {
                player: PlayerIndex(0),
                seen: [
                    SeenKey { by: PlayerIndex(1), key: Some(Fingerprint([3; 32])) },
                    SeenKey { by: PlayerIndex(2), key: None },
                ],
            }],
        };
        vec![
            ("open_sign", Frame::Open(session(sign))),
            ("open_generate_key", Frame::Open(session(generate))),
            ("open_set_up_pair", Frame::Open(session(Operation::SetUpPair))),
            (
                "round",
                Frame::Round(RoundFrame {
                    tag: SessionTag([9; 32]),
                    phase: 1,
                    round: 2,
                    body: vec![1, 2, 3],
                }),
            ),
            ("end", Frame::End(end)),
            ("pair_wanted", Frame::PairWanted { losses: 5 }),
            ("pair_dropped", Frame::PairDropped { id: [6; 32] }),
            ("certificate_wanted", Frame::CertificateWanted { digest: [7; 32] }),
            ("certificate", Frame::Certificate(certificate())),
            ("pair_held", Frame::PairHeld { id: [6; 32], asks: true }),
            ("open_generate_presignatures", Frame::Open(session(presign))),
            (
                "part",
                Frame::Part(PartFrame {
                    tag: SessionTag([9; 32]),
                    phase: 1,
                    round: 2,
                    place: 0,
                    of: 3,
                    body: vec![1, 2, 3],
                }),
            ),
            ("stopping", Frame::Stopping),
        ]
    }

    #[test]
    fn s29_frames_of_wire_version_1_have_these_bytes_for_ever() {
        for (name, frame) in frames() {
            crate::vectors::assert_frozen(&format!("frame_v1_{name}.bin"), &frame.encode());
            let again = Frame::decode(&frame.encode()).expect(name);
            assert_eq!(again.encode(), frame.encode(), "{name}");
        }
    }

    #[test]
    fn s29_cut_and_extended_frames_are_unreadable() {
        for (name, frame) in frames() {
            let bytes = frame.encode();
            for length in 0..bytes.len() {
                assert!(Frame::decode(&bytes[..length]).is_none(), "{name}, {length} bytes");
            }
            assert!(Frame::decode(&[&bytes[..], &[0]].concat()).is_none(), "{name}");
        }
        assert!(Frame::decode(&[10]).is_none(), "no such variant");
    }

    #[test]
    fn an_end_that_is_not_honest_has_no_code() {
        let good = || EndFrame {
            id: SessionId::new("s").unwrap(),
            tag: None,
            code: "session.cancelled".to_owned(),
            players: vec![],
            fields: vec![],
            disputed: vec![],
        };
        let key = DisputedKey {
            player: PlayerIndex(0),
            seen: [1, 2].map(|by| SeenKey { by: PlayerIndex(by), key: None }),
        };
        assert_eq!(EndFrame { disputed: vec![key; 65], ..good() }.checked_code(), None);
        assert_eq!(good().checked_code(), Some(ErrorCode::SessionCancelled));
        assert_eq!(EndFrame { code: "no.such".to_owned(), ..good() }.checked_code(), None);
        assert_eq!(EndFrame { fields: vec!["a\nb".to_owned()], ..good() }.checked_code(), None);
        assert_eq!(EndFrame { fields: vec!["x".repeat(65)], ..good() }.checked_code(), None);
        assert_eq!(EndFrame { players: vec![PlayerIndex(1); 65], ..good() }.checked_code(), None);
    }

    #[test]
    fn two_sessions_dispute_the_keys_in_which_they_differ() {
        let key = |seed| IdentityKey::generate(&mut test_rng(seed)).public().clone();
        let sees = |keys: &[(u16, u64)]| {
            let players = keys.iter().map(|(player, seed)| (PlayerIndex(*player), key(*seed))).collect();
            Session { players: Players::new(players).unwrap(), ..session(Operation::SetUpPair) }
        };
        let (one, other) = (sees(&[(0, 1), (1, 2), (2, 3)]), sees(&[(0, 1), (1, 9), (5, 6)]));
        let disputed = DisputedKey::between((PlayerIndex(1), &one), (PlayerIndex(2), &other));
        let print = |seed| Some(key(seed).fingerprint());
        let expected = [(1, print(2), print(9)), (2, print(3), None), (5, None, print(6))];
        let expected = expected.map(|(player, one, other)| DisputedKey {
            player: PlayerIndex(player),
            seen: [SeenKey { by: PlayerIndex(1), key: one }, SeenKey { by: PlayerIndex(2), key: other }],
        });
        assert_eq!(disputed, expected);
        let said = format!(
            "public key of player 2: {} at player 1, not in the session at player 2",
            key(3).fingerprint()
        );
        assert_eq!(disputed[1].to_string(), said);
    }
}
