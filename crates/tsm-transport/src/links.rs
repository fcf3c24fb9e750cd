//! The port: what the engine may ask of the ways to other players, and what it is told.

use std::fmt;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::identity::Fingerprint;

use tsm_types::Address;

use crate::counts::LinkCounts;

/// A player's proven identity. It is given by the link; no message says who sent it.
pub type PeerKey = tsm_crypto::IdentityPublicKey;

/// Largest frame. The largest message, the pairwise set-up of key generation, is well below half of
/// it; a peer that may announce more could make a node hold more.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// 16 random bytes drawn at process start; tells two runs of one node apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct ProcessId(pub [u8; 16]);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessId({self})")
    }
}

/// How a peer is reached. Whichever side connects, and through which pipe, the other takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This node connects out.
    Dial(Address),
    /// This node connects out for as long as the peer does not.
    Either(Address),
    /// The peer connects to this node; its key is learnt from the handshake.
    Wait,
}

/// What a node can dial through, beside TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pipes {
    /// `ws://` and `wss://`: the program was built with them.
    pub web_socket: bool,
    /// `broker://`: the node's configuration has a message broker.
    pub broker: bool,
}

/// All ways from this node to its peers.
///
/// Frames flow between two nodes while both expect each other. Nothing here blocks or awaits:
/// what happens later is told by [`LinkEvent`]s.
pub trait Links: Send + Sync + 'static {
    /// This run of this node, as its peers see it.
    fn process(&self) -> ProcessId;

    /// What this node can dial through. A route to any other place is of no use.
    fn pipes(&self) -> Pipes;

    /// Says that frames from `peer` are wanted: unparks a waiting link, dials if the route says so.
    ///
    /// Where several leases of one peer name an address, the newest that still lives counts. A peer
    /// that is always expected is one whose lease is never dropped.
    fn expect(&self, peer: &PeerKey, route: Route) -> Lease;

    /// Queues a frame. Frames with equal `order` arrive in order while the connection lives.
    ///
    /// `Ok` means queued, not delivered: what was under way when a [`LinkEvent::Down`] is told may be
    /// lost, and is the caller's to send again after the next [`LinkEvent::Up`].
    fn send(&self, peer: &PeerKey, order: u64, frame: Vec<u8>) -> Result<(), SendError>;

    /// What is known of the way to this peer, for error messages.
    fn status(&self, peer: &PeerKey) -> PeerStatus;

    /// Parked links: their keys are proven, but nobody here expects them.
    fn strangers(&self) -> Vec<Stranger>;

    /// The newest `most` of them that claim to be this player, and how many claim it.
    fn strangers_as(&self, player: u16, most: usize) -> (Vec<Stranger>, usize);

    /// What is wrong with what all ways of one kind need, if something is: the message broker.
    fn trouble(&self) -> Option<LinkTrouble> {
        None
    }

    /// What was seen so far, as numbers.
    fn counts(&self) -> LinkCounts;
}

/// What keeps players from each other that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTrouble {
    /// A sentence for people.
    pub what: String,
    /// Whether no player can come to this node without it.
    pub cuts_off: bool,
}

/// While it lives, its peer is expected.
///
/// Some time after the last lease of a peer is dropped (60 s by default, so that the next session
/// finds the links still up), the links to it are emptied and closed.
#[must_use = "the peer is expected only while its lease lives"]
pub struct Lease {
    release: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Lease {
    /// For implementations of [`Links`]: `release` is called once, on drop.
    pub fn new(release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Lease { release: Some(Box::new(release)) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// What the engine is told, in the order in which it happened.
///
/// Of one peer and process: `Up` comes before its first frame, and no frame comes between `Down`
/// and the next `Up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Frames flow in both directions. Told again after every `Down` and after frames were refused as
    /// [`SendError::NotConnected`], so that what did not get through can be sent again. `player` is the index the peer claims; nothing proves it.
    Up { peer: PeerKey, process: ProcessId, player: u16 },
    /// A frame arrived.
    Frame { peer: PeerKey, process: ProcessId, bytes: Vec<u8> },
    /// A connection was lost with frames perhaps still under way, or the last one was closed. If
    /// another connection to the same process still stands, `Up` follows at once.
    Down { peer: PeerKey, process: ProcessId, reason: DownReason },
    /// The peer is reached and proven, but it does not expect this node (yet): its session may not
    /// have been started, or it knows another key for this player.
    Parked { by: PeerKey },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Either side had no more use for it, and both emptied their queues first.
    Closed,
    /// The connection broke, or the peer's process ended.
    Lost(String),
    /// Not one byte arrived for the time in which at least a sign of life was due.
    Silent,
    /// The same key appeared with another process: the peer was started again.
    Restarted,
    /// The peer broke the rules of `docs/links.md`.
    Misbehaved(&'static str),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Closed => f.write_str("closed"),
            DownReason::Lost(error) => write!(f, "connection lost: {error}"),
            DownReason::Silent => {
                f.write_str("silent for too long: check that the peer and the network between are alive")
            }
            DownReason::Restarted => f.write_str("the peer was started again"),
            DownReason::Misbehaved(rule) => {
                write!(
                    f,
                    "the peer broke the link protocol ({rule}): check that both nodes run compatible versions"
                )
            }
        }
    }
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No connection is usable at both ends; wait for [`LinkEvent::Up`].
    NotConnected,
    /// The peer takes frames more slowly than they are made.
    QueueFull,
    /// Longer than [`MAX_FRAME_BYTES`].
    TooLong,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::NotConnected => f.write_str("not connected to the peer"),
            SendError::QueueFull => f.write_str("the peer takes frames too slowly: its queue is full"),
            SendError::TooLong => write!(f, "the frame is longer than {MAX_FRAME_BYTES} bytes"),
        }
    }
}

impl std::error::Error for SendError {}

/// What is known of the way to a peer. Its `Display` is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerStatus {
    /// Frames flow. `player_index` is what the peer claims.
    Up { process: ProcessId, player_index: u16 },
    /// Reached and proven, but the peer does not expect this node.
    Parked { player_index: u16 },
    /// Someone answered at the peer's address, with another key.
    WrongKey { expected: Fingerprint, presented: Fingerprint },
    /// Not reached yet.
    Dialling { last_error: Option<String> },
    /// It is the peer who connects, and it has not.
    Waiting,
    /// Nobody here expects this peer.
    Unexpected,
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerStatus::Up { player_index, .. } => write!(f, "connected, as player {player_index}"),
            PeerStatus::Parked { player_index } => write!(
                f,
                "reached (as player {player_index}), but it does not expect this node: start the same session there, \
                 and compare this node's public key with the one it knows"
            ),
            PeerStatus::WrongKey { expected, presented } => write!(
                f,
                "the node at this address has the public key {presented}, expected was {expected}: correct the \
                 address or the public key"
            ),
            PeerStatus::Dialling { last_error: None } => f.write_str("being dialled"),
            PeerStatus::Dialling { last_error: Some(error) } => write!(f, "not reached yet: {error}"),
            PeerStatus::Waiting => {
                f.write_str("it has not connected: check that it runs and has this node's address")
            }
            PeerStatus::Unexpected => f.write_str("not expected by this node"),
        }
    }
}

/// A parked link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// What people compare.
    pub fingerprint: Fingerprint,
    /// The whole proven key, to copy into a configuration.
    pub key: PeerKey,
    /// The index the stranger claims; nothing proves it.
    pub player_index: u16,
    /// Where it connected from.
    pub source: String,
    /// How long it has been waiting.
    pub parked_for: Duration,
}
