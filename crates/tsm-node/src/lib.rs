//! The engine of a node: opens sessions with other players, drives their rounds, keeps key shares.
//!
//! A [`Node`] is given its links, its store and its settings, and is then asked to generate keys
//! and sign. It knows no HTTP and no configuration file, so that a server, an app and a simulation
//! embed the very same engine.
//!
//! | question | place |
//! |---|---|
//! | How is a session opened, driven, ended? | `run.rs` |
//! | Whose public key counts, static or dynamic? | `resolve.rs` |
//! | How do frames find their session? | `sessions.rs` |
//! | What is sent between engines? | `wire.rs`, `docs/formats.md` |
//! | What happens on a sign request? | `operations/sign.rs` |
//! | Where does the state of two processes live? | `pairs.rs` |
//! | Where are unused presignatures? | `presignatures.rs` |
//! | What is stored of a key? | `vault.rs` |
//! | Which key does a path lead to? | `derived.rs`, `docs/spec/derivation.md` |
//! | What may one tenant take? | `tenants.rs` |
//! | What is counted? | `metrics.rs` |
//! | What do a server and an app start? | `linked.rs` |
//!
//! Errors are [`tsm_types::Failure`]s: a code, the players concerned, and what to do.

mod certificates;
mod compute;
mod derived;
#[doc(hidden)]
pub mod fuzzing;
mod last_words;
mod linked;
mod metrics;
mod node;
mod operations;
mod outcomes;
mod pairs;
mod parts;
mod presignatures;
mod provisional;
mod resolve;
mod run;
mod sessions;
mod settings;
mod strikes;
mod tenants;
mod vault;
#[cfg(test)]
mod vectors;
mod waiting;
mod wire;

pub use compute::Compute;
pub use linked::{LinkedNode, LinkedParts};
pub use metrics::Metrics;
pub use node::{Node, NodeParts, PlayerWay, Ways};
pub use settings::{Features, Settings, StaticPlayer, TenantLimits};
pub use tsm_transport::Limits as LinkLimits;
pub use tsm_transport::LinkCounts;
pub use wire::WIRE_VERSION;
