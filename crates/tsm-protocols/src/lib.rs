//! The protocols of OpenTSM as values: key generation, signing, and the set-up of a pair.
//!
//! A protocol is started by a function and then advanced, round by round, by whoever carries its
//! messages. It knows no socket, clock, thread, database or global randomness. One round is one
//! struct in one file, consumed by the step that leaves it, so that a nonce cannot be used twice:
//! it is no longer there.
//!
//! The three types to know:
//!
//! * [`Step`]: what a player does next: send and wait, or send and be done.
//! * [`Round`]: what a protocol author writes; [`PerPeer`] is what it receives, complete.
//! * [`Abort`]: why a run ended, and who is to be named for it.
//!
//! Protocols begin at [`keygen::start`] and then [`keygen::confirm::start`], [`ecdsa::sign::start`],
//! and [`pair::start`]. What a message carries is public but not part of the API: tests that cheat
//! decode it, change one field and encode it again.
//!
//! The equations are in `docs/spec/`; code cites their steps. Drive a protocol with
//! [`testing::run_cluster`] or, in a node, with `tsm-node`.

pub mod abort;
pub mod context;
pub mod derived;
pub mod ecdsa;
pub mod echo;
pub mod key;
pub mod keygen;
pub mod pair;
pub mod per_peer;
pub mod round;
pub mod testing;

mod polynomial;

pub use abort::{Abort, Class};
pub use context::Context;
pub use derived::DerivedKey;
pub use key::{Certificate, KeyShare, SignedCertificate};
pub use per_peer::PerPeer;
pub use round::{Outgoing, Pending, Round, Step};
