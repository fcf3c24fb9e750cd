//! The arithmetic of OpenTSM: everything that is mathematics and nothing that is a protocol run.
//!
//! No socket, clock, thread or global randomness is reached from here: randomness comes in as an
//! argument (`&mut dyn CryptoRng`), messages as values. The rounds that use these pieces are in
//! `tsm-protocols`; the equations, step by step, in `docs/spec/`.
//!
//! The three types to know:
//!
//! * [`Transcript`]: where everything is hashed that no other format fixes; every use has a [`Label`].
//! * [`Curve`]: what a signing curve must offer; [`Secp256k1`], [`P256`], [`P384`], [`P521`].
//! * [`Secret`]: a value that is wiped on drop and never printed.
//!
//! Constant time is the rule: a function whose time depends on its arguments has `vartime` in its
//! name and takes public values only.

pub mod commitment;
pub mod curve;
pub mod derivation;
pub mod dlog;
pub mod ecdsa;
pub mod hedged;
pub mod identity;
pub mod ot;
pub mod secret;
pub mod transcript;
pub mod xpub;

mod fixed_base;
#[cfg(feature = "libsecp256k1")]
mod libsecp256k1;

pub use curve::{CanonicalScalar, Curve, CurveId, NonIdentityPoint, P256, P384, P521, Secp256k1};
pub use identity::{IdentityKey, IdentityPublicKey};
pub use rand_core::CryptoRng;
pub use secret::Secret;
pub use transcript::{Label, Transcript};
