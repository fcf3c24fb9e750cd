//! DKLs23 signing in three messages (docs/spec/signing.md; eprint 2023/765).
//!
//! 1. `commit.rs`: commit to R_i; to each peer an OT extension.
//! 2. `multiply.rs`: check the peers' extensions, open R_i and pk_i, multiply with each peer.
//! 3. `check.rs`: check everything that was received, and only then make the partial signature.
//!    It is the third message; whoever asked for the signature joins the parts of all signers
//!    (`tsm_crypto::ecdsa::join`, checks C10 and C11).
//!
//! Letters as in the spec: x_i the share, λ_i its Lagrange coefficient, ζ_i a share of zero, ε the
//! tweak of a derived key, sk_i = λ_i·x_i + ζ_i (and + ε at the lowest signer), r_i and φ_i fresh,
//! χ_ij the random factor that i has as B against j.
//!
//! # What the caller guarantees
//!
//! * C1: no message body is handed in from a peer whose session tag differs from ours. The tag is
//!   over everything that the players agree on, and is the `ssid` of round 1.
//! * The session's operation names this key's certificate, the path of the derived key, and this
//!   digest (rule S-05).
//! * Bodies reach their receiver over an authenticated and confidential link.
//!
//! Every state is consumed by the step that leaves it: r_i and φ_i are used once.

pub(super) mod check;
pub(super) mod commit;
pub(super) mod multiply;
pub(super) mod refusal;
mod states;

use tsm_crypto::ecdsa::PartialSignature;
use tsm_crypto::ot::{PairState, Verdict};
use tsm_crypto::{CryptoRng, Curve, NonIdentityPoint, Secret, with_curve};
use tsm_types::{Digest, PlayerIndex};

use crate::abort::Abort;
use crate::context::Context;
use crate::derived::DerivedKey;
use crate::key::KeyShare;
use crate::per_peer::PerPeer;
use crate::round::Step;

#[doc(hidden)]
pub use commit::{CommitBroadcast, CommitMessage, CommitPrivate};
#[doc(hidden)]
pub use multiply::{MultiplyBroadcast, MultiplyMessage, MultiplyPrivate};
pub use refusal::SignRefusal;
pub use states::PairStates;

/// Starts a signature by all players of the session, under the key itself.
///
/// `pairs` has the states that this process shares with each peer's. The result is this
/// player's partial signature, which is no secret.
///
/// # Errors
/// [`SignRefusal`], before anything was sent or drawn, if the players are not enough holders of the
/// key, if the digest cannot be signed on its curve, or if a pair's state cannot be used.
pub fn start(
    context: &Context,
    share: &KeyShare,
    digest: &Digest,
    pairs: PerPeer<impl Into<PairStates>>,
    rng: &mut dyn CryptoRng,
) -> Result<Step<PartialSignature>, SignRefusal> {
    start_derived(context, share, &DerivedKey::root(&share.certificate), digest, pairs, rng)
}

/// As [`start`], under a key below the share's.
pub fn start_derived(
    context: &Context,
    share: &KeyShare,
    key: &DerivedKey,
    digest: &Digest,
    pairs: PerPeer<impl Into<PairStates>>,
    rng: &mut dyn CryptoRng,
) -> Result<Step<PartialSignature>, SignRefusal> {
    let pairs = pairs.map(|_, states| states.into());
    with_curve!(share.certificate.curve, C => {
        let run = Run::<C>::new(context, share, key, digest, &pairs)?;
        Ok(commit::commit(run, pairs, rng))
    })
}

/// What a player knows before round 1 and keeps until the end.
struct Run<C: Curve> {
    context: Context,
    digest: Digest,
    /// The digest as a scalar h, not zero.
    h: C::Scalar,
    /// X, or X' of a derived key.
    public_key: NonIdentityPoint<C>,
    /// λ_i·x_i, and + ε at the lowest signer.
    key_part: Secret<C::Scalar>,
}

/// Class S, or the quiet end if another session's failure was first (rules S-41, S-106).
pub(super) fn abort_of(peer: PlayerIndex, pair: &PairState, verdict: Verdict<&'static str>) -> Abort {
    match verdict {
        Verdict::Failed(check) => Abort::secret_dependent(peer, check),
        Verdict::Burned => Abort::pair_gone(peer, pair.id()),
    }
}
