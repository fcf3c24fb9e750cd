//! Message 3: check everything, and only then make the partial signature (docs/spec/signing.md,
//! steps 5.1 to 5.6, checks C3 to C9).

use std::sync::Arc;

use elliptic_curve::Field;
use elliptic_curve::subtle::ConstantTimeEq;
use tsm_crypto::commitment::Commitment;
use tsm_crypto::ecdsa::{Common, PARTIAL_VERSION, PartialSignature};
use tsm_crypto::ot::{Judged, PairState, ReceiverExtension};
use tsm_crypto::{CryptoRng, Curve, NonIdentityPoint, Secret};

use super::commit::{NONCE, commitment_context};
use super::multiply::{MultiplyBroadcast, MultiplyMessage, MultiplyPrivate};
use super::{Run, abort_of};
use crate::abort::Abort;
use crate::per_peer::PerPeer;
use crate::round::{Round, Step};

/// Multiplied, waiting for everybody's opening and multiplication.
pub(super) struct Multiplied<C: Curve> {
    pub(super) run: Run<C>,
    /// r_i.
    pub(super) nonce: Secret<C::Scalar>,
    /// φ_i.
    pub(super) mask: Secret<C::Scalar>,
    /// sk_i.
    pub(super) key: Secret<C::Scalar>,
    /// What this player sent to all in message 2.
    pub(super) broadcast: MultiplyBroadcast<C>,
    pub(super) products: PerPeer<Product<C>>,
}

/// What waits for one peer's message.
pub(super) struct Product<C: Curve> {
    pub(super) pair: Arc<PairState>,
    /// C_j.
    pub(super) commitment: Commitment,
    pub(super) half: Half<C>,
}

/// This player's half of the two multiplications with one peer j.
pub(in crate::ecdsa) struct Half<C: Curve> {
    /// As B: χ_ij and what C5 needs.
    pub(in crate::ecdsa) receiver: ReceiverExtension<C>,
    pub(in crate::ecdsa) ssid_full: [u8; 32],
    /// As A: cᵘ_ij and cᵛ_ij.
    pub(in crate::ecdsa) c: Secret<[C::Scalar; 2]>,
}

impl<C: Curve> Round for Multiplied<C> {
    type Message = MultiplyMessage<C>;
    type Output = PartialSignature;

    fn advance(
        self,
        received: PerPeer<MultiplyMessage<C>>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<PartialSignature>, Abort> {
        let Multiplied { run, nonce, mask, key, broadcast: mine, products } = self;
        let context = &run.context;

        // C3: everybody received the same broadcasts. First of all, for every peer: honest players
        // that disagree here would fail each other's secret-dependent checks (rule S-02).
        let echoes = received.as_ref().map(|_, message| &message.broadcast.echo);
        mine.echo.check(context, &echoes, "C3 echo of the commitments")?;
        // C4: R_j opens C_j. That R_j is not the identity was checked when it was decoded.
        for (peer, (product, message)) in products.as_ref().zip(received.as_ref()) {
            let MultiplyBroadcast { blinding, nonce_point, .. } = &message.broadcast;
            let encoded = nonce_point.encoded();
            if !commitment_context(context, peer, NONCE).opens(&product.commitment, encoded, blinding) {
                return Err(Abort::cheated(peer, "C4 opening"));
            }
        }

        // C5, C6 and C7, for each peer by itself (step 5.1).
        let terms = products.zip(received.as_ref()).try_map(|peer, (product, message)| {
            let MultiplyMessage { broadcast, private } = message;
            let check = |judged: &Judged<'_>| {
                product.half.check(judged, &broadcast.nonce_point, &broadcast.key_point, private, rng)
            };
            product.pair.judge(check).map_err(|verdict| abort_of(peer, &product.pair, verdict))
        })?;
        let public = received.as_ref().map(|_, message| &message.broadcast);
        // C8: the pk_j belong to the key, or to the derived one.
        let key_sum =
            public.iter().fold(*mine.key_point.point(), |sum, (_, peer)| sum + peer.key_point.point());
        if key_sum != *run.public_key.point() {
            return Err(Abort::unattributed("C8 sum of the key points"));
        }
        // C9: R is a point, and its r is not zero (rule S-61).
        let nonce_sum =
            public.iter().fold(*mine.nonce_point.point(), |sum, (_, peer)| sum + peer.nonce_point.point());
        let nonce_sum =
            NonIdentityPoint::<C>::new_vartime(nonce_sum).map(|sum| (C::r_coordinate(&sum).r, sum));
        let Some((r, nonce_sum)) = nonce_sum.filter(|(r, _)| !bool::from(r.is_zero())) else {
            return Err(Abort::unattributed("C9 sum of the nonce points"));
        };

        // Steps 5.2 and 5.3.
        let psis = received.iter().map(|(_, message)| message.private.psi.scalar());
        let (u, v) = shares::<C>([&nonce, &mask, &key], psis, terms.iter().map(|(_, terms)| terms));
        // Step 5.4: w_i = h * φ_i + r * v_i.
        let w = run.h * mask.expose() + r * v.expose();
        // Step 5.5.
        let common = Common {
            curve: C::ID,
            session: context.tag().0,
            signers: context.players().indices().map(|player| player.0).collect(),
            public_key: run.public_key.encoded().to_vec(),
            digest: run.digest.as_bytes().to_vec(),
            r_point: nonce_sum.encoded().to_vec(),
        };
        Ok(Step::done(PartialSignature {
            version: PARTIAL_VERSION,
            common,
            signer: context.me().0,
            w: C::encode_scalar(&w),
            u: C::encode_scalar(u.expose()),
        }))
    }
}

impl<C: Curve> Half<C> {
    /// C5, C6 and C7 on what peer j sent; returns cᵘ_ij + dᵘ_ij and cᵛ_ij + dᵛ_ij, or the failed
    /// check's name.
    fn check(
        self,
        judged: &Judged<'_>,
        nonce_point: &NonIdentityPoint<C>,
        key_point: &NonIdentityPoint<C>,
        private: &MultiplyPrivate<C>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Secret<[C::Scalar; 2]>, &'static str> {
        let finished = self.finish(judged, private)?;
        let (chi, [d_u, d_v]) = (finished.chi.expose(), finished.d.expose());
        // C6: its first input was the r_j of R_j: χ_ij * R_j - Γᵘ_ji = dᵘ_ij * G; and
        // C7: its second input was the sk_j of pk_j: χ_ij * pk_j - Γᵛ_ji = dᵛ_ij * G.
        // Together, C7 times a coefficient e that was drawn after j had sent all of it.
        let e = C::random_scalar(rng);
        let left = C::lincomb(&[
            (*nonce_point.point(), *chi),
            (*key_point.point(), e * chi),
            (*private.gamma_v.point(), -e),
        ]) - private.gamma_u.point();
        if !bool::from(left.ct_eq(&C::mul_generator(&(e * d_v + d_u)))) {
            return Err(INPUTS);
        }
        Ok(finished.terms())
    }

    /// C5 on what peer j sent: the multiplication is consistent in itself.
    pub(in crate::ecdsa) fn finish(
        self,
        judged: &Judged<'_>,
        private: &MultiplyPrivate<C>,
    ) -> Result<Finished<C>, &'static str> {
        let chi = Secret::new(*self.receiver.chi().expose());
        let d =
            self.receiver.finish(judged, &self.ssid_full, &private.vole).map_err(|_| "C5 multiplication")?;
        Ok(Finished { chi, c: self.c, d })
    }
}

/// Name of C6 and C7, which are one test.
pub(in crate::ecdsa) const INPUTS: &str = "C6, C7 nonce and key of the multiplication";

/// Both multiplications with one peer j, consistent each in itself.
pub(in crate::ecdsa) struct Finished<C: Curve> {
    /// χ_ij.
    pub(in crate::ecdsa) chi: Secret<C::Scalar>,
    /// cᵘ_ij and cᵛ_ij.
    c: Secret<[C::Scalar; 2]>,
    /// dᵘ_ij and dᵛ_ij.
    pub(in crate::ecdsa) d: Secret<[C::Scalar; 2]>,
}

impl<C: Curve> Finished<C> {
    /// cᵘ_ij + dᵘ_ij and cᵛ_ij + dᵛ_ij.
    pub(in crate::ecdsa) fn terms(&self) -> Secret<[C::Scalar; 2]> {
        let ([c_u, c_v], [d_u, d_v]) = (self.c.expose(), self.d.expose());
        Secret::new([*c_u + d_u, *c_v + d_v])
    }
}

/// Steps 5.2 and 5.3: u_i and v_i, from r_i, φ_i and sk_i, every ψ_ji, and every pair's terms of
/// step 5.1.
pub(in crate::ecdsa) fn shares<'a, C: Curve>(
    [nonce, mask, key]: [&Secret<C::Scalar>; 3],
    psis: impl Iterator<Item = &'a C::Scalar>,
    terms: impl Iterator<Item = &'a Secret<[C::Scalar; 2]>>,
) -> (Secret<C::Scalar>, Secret<C::Scalar>) {
    // F_i = φ_i + Σ_j ψ_ji.
    let mut factor = Secret::new(*mask.expose());
    for psi in psis {
        *factor.expose_mut() += psi;
    }
    let mut sums = Secret::new([C::Scalar::ZERO; 2]);
    for terms in terms {
        for (sum, term) in sums.expose_mut().iter_mut().zip(terms.expose()) {
            *sum += term;
        }
    }
    let [u_terms, v_terms] = sums.expose();
    // u_i = r_i * F_i + Σ_j (cᵘ_ij + dᵘ_ij), and v_i likewise with sk_i.
    let u = Secret::new(*nonce.expose() * factor.expose() + u_terms);
    let v = Secret::new(*key.expose() * factor.expose() + v_terms);
    (u, v)
}
