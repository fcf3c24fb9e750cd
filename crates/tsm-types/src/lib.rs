//! The words that every part of OpenTSM shares.
//!
//! What players must agree on ([`Session`]), who they are ([`Players`]), how many must take part
//! ([`Threshold`]), which errors a caller can see ([`Failure`], [`ErrorCode`]), and the bodies of
//! the HTTP API ([`api`]). Values are checked when they are made; inside there are only valid ones.
//!
//! Nothing here does I/O, and nothing here is secret.

pub mod address;
pub mod api;
pub mod duration;
pub mod error_code;
pub mod failure;
pub mod ids;
pub mod path;
pub mod players;
pub mod request;
pub mod session;
pub mod threshold;

pub use address::{Address, AddressError, HostPort, Place, Reach};
pub use error_code::ErrorCode;
pub use failure::{Difference, Failure, PlayerConcern};
pub use ids::{ApplicationId, Epoch, KeyId, SessionId};
pub use path::DerivationPath;
pub use players::{MAX_PLAYERS, PlayerIndex, PlayerKey, Players};
pub use session::{Digest, Operation, Session, SessionTag};
pub use threshold::Threshold;
pub use tsm_crypto::CurveId;
