//! Distributed key generation and its confirmation (docs/spec/key-generation.md).
//!
//! Commit, then open: no player can choose its part after seeing another's (rule S-34), and a share
//! that contradicts the opened polynomial names its dealer. After two rounds every player has a
//! [`ProvisionalKey`], which is to be stored durably before [`confirm::start`] signs for it: a
//! signature says "I can use this key from now on".
//!
//! Curve and threshold are the session's. Holders are all players of the session; player indices
//! may be anything, share numbers are 1 to n (rule S-21).

mod check;
pub mod confirm;
mod deal;
mod open;

use tsm_crypto::{CryptoRng, CurveId, with_curve};
use tsm_types::{KeyId, Threshold};

use crate::context::Context;
use crate::key::KeyShare;
use crate::round::Step;

#[doc(hidden)]
pub use deal::{CommitMessage, Dealing, Opening};
#[doc(hidden)]
pub use open::{OpenBroadcast, OpenMessage};

/// What the session says about the key to be made.
#[derive(Clone, Debug)]
pub struct KeygenParameters {
    /// Curve of the key.
    pub curve: CurveId,
    /// Security threshold t of the key.
    pub threshold: Threshold,
    /// The caller's wish; without one the key ID is drawn from the run.
    pub key_id: Option<KeyId>,
}

/// A new key that its holders have not confirmed yet. Not to be used for anything (rule S-37).
#[derive(Debug)]
pub struct ProvisionalKey {
    /// This player's share, with the certificate that all holders are going to sign.
    pub share: KeyShare,
}

/// Starts a key generation among all players of the session.
///
/// # Panics
/// If the threshold is not below the number of players; `Threshold::new` refuses that when the
/// session is made (rule S-30).
pub fn start(
    context: &Context,
    parameters: KeygenParameters,
    rng: &mut dyn CryptoRng,
) -> Step<ProvisionalKey> {
    assert!(
        parameters.threshold.value() < context.players().len(),
        "Threshold::new has seen the number of players"
    );
    with_curve!(parameters.curve, C => Dealing::<C>::new(context, &parameters, rng).commit(context, parameters, rng))
}
