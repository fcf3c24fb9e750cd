//! ECDSA: keys, signatures, and what needs no node.

#[cfg(any(feature = "remote", feature = "embedded"))]
mod calls;
mod derivation;
mod finalise;

#[cfg(any(feature = "remote", feature = "embedded"))]
pub use calls::{Ecdsa, GeneratedKey, SignResult};
pub use derivation::{ExtendedPublicKey, derive_chain_code, derive_public_key, parse_path};
pub use finalise::{finalise, finalise_for, verify};
