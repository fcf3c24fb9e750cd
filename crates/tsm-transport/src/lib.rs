//! Links between players: which node is at the other end, and frames to and from it.
//!
//! A link is proven by the key of the player at its other end; no message says who sent it. What is
//! in the frames, and whether a frame is missing, is the engine's business. Every byte on the wire
//! is in `docs/links.md`.
//!
//! The three types to know:
//!
//! * [`Links`]: what the engine asks (`expect`, `send`, `status`), answered by [`LinkEvent`]s.
//! * [`SecureLinks`]: TLS 1.3 with raw public keys, over pools of TCP connections, by [`websocket`] or through a [`broker`].
//! * [`memory::MemoryNetwork`]: whole networks in one thread, with a hand on every frame.

mod counts;
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod links;
pub mod memory;
mod pipe;

pub use counts::LinkCounts;
pub use link::echo;
pub use link::{Limits, LinksConfig, SecureLinks, StartError};
pub use links::{
    DownReason, Lease, LinkEvent, LinkTrouble, Links, MAX_FRAME_BYTES, PeerKey, PeerStatus, Pipes, ProcessId,
    Route, SendError, Stranger,
};
pub use pipe::{CertificateError, Listen, Roots, broker, websocket};

pub use tsm_types::Address;
