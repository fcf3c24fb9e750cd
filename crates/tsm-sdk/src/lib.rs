//! The SDK of OpenTSM: one [`Client`] per node, and what is done with their results.
//!
//! A Threshold Security Module is a set of nodes, none of which ever has a whole key. Who uses it
//! calls every node that takes part, each through a client of its own, with the same
//! [`SessionConfig`]; the calls run at the same time, since each waits for the others. Clients may
//! live in different programs at different places: nothing passes between them but the session.
//!
//! Three nodes make a key. The configurations of nodes 1 and 2 do not know node 0, so its public
//! key comes with the session:
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use tsm_sdk::{ApiKey, Client, Configuration, CurveId, SessionConfig, SessionId, ecdsa};
//!
//! # async fn example(public_key_of_player_0: Vec<u8>) -> Result<(), tsm_sdk::Failure> {
//! let client = |url: &str, key: &str| Client::new(Configuration::new(url)?.with_api_key(ApiKey::new(key)?));
//! let node0 = client("http://localhost:8500", "Node0LoginPassword")?;
//! let node1 = client("http://localhost:8501", "Node1LoginPassword")?;
//! let node2 = client("http://localhost:8502", "Node2LoginPassword")?;
//!
//! let dynamic_public_keys = BTreeMap::from([(0, public_key_of_player_0)]);
//! let session = SessionConfig::new(SessionId::generate(), [0, 1, 2], dynamic_public_keys.clone());
//! let (key, _, _) = tokio::try_join!(
//!     node0.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None),
//!     node1.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None),
//!     node2.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None),
//! )?;
//! println!("Generated key with ID: {}", key.key_id);
//!
//! // Any two of them sign: a security threshold of 1 means that 2 must take part.
//! let digest = [7; 32];
//! let session = SessionConfig::new(SessionId::generate(), [0, 2], dynamic_public_keys);
//! let (part0, part2) = tokio::try_join!(
//!     node0.ecdsa().sign(&session, &key.key_id, &[], &digest),
//!     node2.ecdsa().sign(&session, &key.key_id, &[], &digest),
//! )?;
//! let parts = [part0.partial_signature, part2.partial_signature];
//! let signature = ecdsa::finalise_for(&key.public_key, &digest, &parts)?;
//! assert!(ecdsa::verify(key.public_key.der(), &digest, signature.der()).is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! # Keys below a key
//!
//! `sign`, `public_key` and `chain_code` take a path: `&[44, 0, 1]` is the key at `m/44/0/1`, derived as
//! in BIP 32 on secp256k1, and by a scheme of our own on the other curves. With a key's chain code,
//! [`ecdsa::derive_public_key`] does it without a node, and [`ecdsa::ExtendedPublicKey`] writes the
//! xpub that wallets read. Whoever has a public key and its chain code sees all keys below.
//!
//! # Presignatures
//!
//! `generate_presignatures` makes everything of up to a hundred signatures that does not depend on what is
//! signed; `sign_with_presignature` then takes no message between nodes. A [`PresignaturePool`] keeps a
//! supply of them for a program that calls all signers' nodes.
//!
//! # A node inside an app
//!
//! With the feature `embedded`, an app runs a node of its own: an `EmbeddedNode` has its own key and
//! database, opens no port, and gives a [`Client`] with the very same calls. `docs/phones.md` is the
//! guide, `examples/phones.rs` a whole program.
//!
//! # Features
//!
//! | feature | brings | default |
//! |---|---|---|
//! | `remote` | clients of nodes at `http://` addresses | yes |
//! | `https` | the same at `https://` addresses, and `remote` | yes |
//! | `embedded` | `EmbeddedNode` | no |
//! | `websocket` | `embedded`, and players at `ws://` and `wss://` addresses for the embedded node | no |
//!
//! Without any of them the crate joins and verifies signatures ([`ecdsa`]), without any network.
//!
//! # Errors
//!
//! Whatever goes wrong is a [`Failure`]: a stable [`ErrorCode`], what happened, the players
//! concerned, and what to do about it. [`Client`] says what happens when a call is dropped or its
//! connection breaks.

pub mod ecdsa;

#[cfg(any(feature = "remote", feature = "embedded"))]
mod client;
#[cfg(feature = "remote")]
mod configuration;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "remote")]
mod http;
#[cfg(any(feature = "remote", feature = "embedded"))]
mod node;
#[cfg(any(feature = "remote", feature = "embedded"))]
mod presignature_pool;
mod public_key;
#[cfg(any(feature = "remote", feature = "embedded"))]
mod session;

#[cfg(any(feature = "remote", feature = "embedded"))]
pub use client::{Client, KeyManagement};
#[cfg(feature = "remote")]
pub use configuration::{ApiKey, Configuration};
#[cfg(any(feature = "remote", feature = "embedded"))]
pub use ecdsa::{GeneratedKey, PresignatureSet, PresignatureSignResult, Presignatures, SignResult};
#[cfg(feature = "embedded")]
pub use embedded::{
    ConfigProblem, Database, EmbeddedConfig, EmbeddedNode, IdentityKey, StartError, StoreError,
    generate_identity,
};
#[cfg(any(feature = "remote", feature = "embedded"))]
pub use presignature_pool::{PoolStatus, PresignaturePool, WaterMarks};
pub use public_key::PublicKey;
#[cfg(any(feature = "remote", feature = "embedded"))]
pub use session::{SessionConfig, SessionId};
pub use tsm_crypto::CurveId;
pub use tsm_crypto::ecdsa::Signature;
pub use tsm_types::api::{ReadyReply, VersionReply};
pub use tsm_types::{Difference, ErrorCode, Failure, PlayerConcern, PlayerIndex};

/// The README's Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
