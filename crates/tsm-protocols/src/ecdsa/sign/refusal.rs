//! What is checked before a signing run begins (docs/spec/signing.md 2).

use std::fmt;

use elliptic_curve::Field;
use tsm_crypto::{Curve, Secret};
use tsm_types::{Digest, ErrorCode, PlayerIndex, Threshold};

use super::{PairStates, Run};
use crate::context::Context;
use crate::derived::DerivedKey;
use crate::key::KeyShare;
use crate::per_peer::PerPeer;
use crate::polynomial::lagrange_at_zero;

/// Why a signing run did not begin. Nothing was sent and nothing needs repair but the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignRefusal {
    /// The digest has another length than the curve signs, or is zero modulo the group order
    /// (rules S-61, S-62).
    Digest,
    /// This player does not hold the key under its index and public key.
    NotAHolder(PlayerIndex),
    /// Fewer signers than the key asks for (rule S-30).
    TooFewSigners {
        /// Signers of the session.
        named: usize,
        /// The key's threshold.
        threshold: Threshold,
    },
    /// The share is not this player's, or does not fit its certificate (rule S-80).
    Share,
    /// The derived key is one of another key (step 2.6). A mistake of this node.
    DerivedKey,
    /// There is no usable state of the pair with this player: none was given, or it is burned.
    Pair(PlayerIndex),
}

impl SignRefusal {
    /// The code under which the caller learns of it.
    pub fn code(&self) -> ErrorCode {
        match self {
            SignRefusal::Digest => ErrorCode::DigestInvalid,
            SignRefusal::NotAHolder(_) => ErrorCode::KeyOtherHolder,
            SignRefusal::TooFewSigners { .. } => ErrorCode::SignersTooFew,
            SignRefusal::Share => ErrorCode::StoreCorrupt,
            SignRefusal::DerivedKey => ErrorCode::NodeFault,
            SignRefusal::Pair(_) => ErrorCode::PairRenewed,
        }
    }
}

impl fmt::Display for SignRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignRefusal::Digest => f.write_str("the digest cannot be signed on the key's curve"),
            SignRefusal::NotAHolder(player) => {
                write!(f, "player {player} does not hold the key under its index and public key")
            }
            SignRefusal::TooFewSigners { named, threshold } => {
                write!(f, "{} holders must sign; the session names {named}", threshold.signers_required())
            }
            SignRefusal::Share => f.write_str("the share does not fit its certificate"),
            SignRefusal::DerivedKey => f.write_str("the derived key is one of another key"),
            SignRefusal::Pair(player) => write!(f, "there is no usable pair state with player {player}"),
        }
    }
}

impl std::error::Error for SignRefusal {}

impl<C: Curve> Run<C> {
    /// Steps 2.1 to 2.6.
    pub(super) fn new(
        context: &Context,
        share: &KeyShare,
        key: &DerivedKey,
        digest: &Digest,
        pairs: &PerPeer<PairStates>,
    ) -> Result<Self, SignRefusal> {
        let certificate = &share.certificate;
        // Step 2.1: every signer is a holder, with the key it had then.
        for (player, key) in context.players().iter() {
            if certificate.holders.key(player) != Some(key) {
                return Err(SignRefusal::NotAHolder(player));
            }
        }
        // Step 2.2: t + 1 signers or more (rule S-30).
        let named = context.players().len();
        if named < certificate.threshold.signers_required() {
            return Err(SignRefusal::TooFewSigners { named, threshold: certificate.threshold });
        }
        // Step 2.3: the digest is one of this curve and not zero (rules S-61, S-62).
        if digest.as_bytes().len() != C::ID.digest_bytes() {
            return Err(SignRefusal::Digest);
        }
        let h = C::digest_to_scalar(digest.as_bytes());
        if bool::from(h.is_zero()) {
            return Err(SignRefusal::Digest);
        }
        // Step 2.4: the share is this player's. That it fits its certificate is known since it was loaded.
        if share.holder != context.me() {
            return Err(SignRefusal::Share);
        }
        let secret = C::decode_scalar(share.secret.expose()).map(Secret::new).ok_or(SignRefusal::Share)?;
        let lambda = lagrange_at_zero::<C>(context.me(), context.players().indices(), &certificate.holders)
            .ok_or(SignRefusal::Share)?;
        // Step 2.5: a live state with every peer, and with nobody else.
        for peer in context.peers() {
            if pairs.get(peer).is_none_or(|pair| pair.mine.is_burned()) {
                return Err(SignRefusal::Pair(peer));
            }
        }
        if let Some(stranger) = pairs.peers().difference(&context.peers()).next() {
            return Err(SignRefusal::Pair(*stranger));
        }
        // Step 2.6.
        let parts = Some(key).filter(|key| *key.certificate() == certificate.digest());
        let (public_key, tweak) = parts.and_then(DerivedKey::parts::<C>).ok_or(SignRefusal::DerivedKey)?;
        // The sum of step 4.3 without ζ_i: ε enters at one signer, whom all know (derivation.md 4.2).
        let mut key_part = Secret::new(lambda * secret.expose());
        if context.players().indices().next() == Some(context.me()) {
            *key_part.expose_mut() += tweak.expose();
        }
        Ok(Run { context: context.clone(), digest: digest.clone(), h, public_key, key_part })
    }
}
