//! Presignatures (docs/spec/presigning.md): all of a signature that does not depend on what is
//! signed, for many signatures at once.
//!
//! 1. `commit.rs`: commit to every R_i; to each peer one batch extension.
//! 2. `multiply.rs`: check the peers' extensions, open, multiply for every presignature.
//! 3. `acknowledge.rs`: check everything that was received, and only then tell the others so; in
//!    `inputs.rs` that the peers multiplied what they show.
//! 4. `count.rs`: with everybody's word, the presignatures exist.
//!
//! `online.rs` is what happens later, at one node by itself: [`PublicPart::prepare`] computes all that
//! is public of a signature, [`Presignature::sign`] consumes the presignature.
//!
//! What the caller guarantees is that of [`sign`](super::sign), and that a presignature is taken out
//! of its place for good before its partial signature leaves (section 6).

mod acknowledge;
mod commit;
mod count;
mod inputs;
mod multiply;
mod online;

use tsm_crypto::{CryptoRng, Curve, with_curve};
use tsm_types::BatchSize;

use super::sign::refusal::Signer;
use super::sign::{PairStates, SignRefusal};
use crate::context::Context;
use crate::key::KeyShare;
use crate::per_peer::PerPeer;
use crate::round::Step;

#[doc(hidden)]
pub use commit::PresignCommit;
#[doc(hidden)]
pub use count::Acknowledgement;
#[doc(hidden)]
pub use multiply::{PresignMultiply, SignaturePoints};
pub use online::{Prepared, Presignature, PublicPart, UseRefusal};

/// Starts the making of `count` presignatures by all players of the session. They are this player's,
/// in the same order at all players.
///
/// # Errors
/// [`SignRefusal`], before anything was sent or drawn, if the players are not enough holders of the
/// key, or if a pair's state cannot be used.
pub fn start(
    context: &Context,
    share: &KeyShare,
    count: BatchSize,
    pairs: PerPeer<impl Into<PairStates>>,
    rng: &mut dyn CryptoRng,
) -> Result<Step<Vec<Presignature>>, SignRefusal> {
    let pairs = pairs.map(|_, states| states.into());
    with_curve!(share.certificate.curve, C => {
        let signer = Signer::<C>::new(context, share, &pairs)?;
        let certificate = share.certificate.clone();
        let public_key = C::decode_point(&certificate.public_key).ok_or(SignRefusal::Share)?;
        let run = commit::Run { signer, certificate, public_key, count };
        Ok(commit::commit(run, pairs, rng))
    })
}
