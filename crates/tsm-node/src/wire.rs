//! What engines say to each other over a link (docs/formats.md, section "Frames").
//!
//! The sender of a frame is the peer that the link proved; no frame says who sent it. Decoding is
//! exact: unknown variants and trailing bytes are refused.

use borsh::{BorshDeserialize, BorshSerialize};
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
}

/// More players or fields than this in an [`EndFrame`] are not honest.
const MAX_END_ITEMS: usize = 64;

/// Longest code or field name in an [`EndFrame`].
const MAX_END_TEXT_BYTES: usize = 64;

impl EndFrame {
    /// The code, if the catalogue knows it and the frame is within its bounds.
    pub(crate) fn checked_code(&self) -> Option<ErrorCode> {
        let short =
            |text: &String| text.len() <= MAX_END_TEXT_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        let bounded = self.players.len() <= MAX_END_ITEMS && self.fields.len() <= MAX_END_ITEMS;
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
