//! Proof of knowledge of a discrete logarithm (spec 3): Schnorr with Fiat-Shamir, bound to the
//! session, the prover's index and identity (rule S-10), the group and the statement (rule S-15).

use borsh::{BorshDeserialize, BorshSerialize};
use elliptic_curve::Group;
use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::curve::{CanonicalScalar, Curve, NonIdentityPoint};
use crate::transcript::{Label, Transcript};

/// Who proves, and in which run.
#[derive(Clone, Copy)]
pub struct Prover<'a> {
    /// Session tag or ssid of the run.
    pub ssid: &'a [u8; 32],
    /// Player index of the prover.
    pub index: u16,
    /// The prover's identity public key, DER.
    pub identity: &'a [u8],
}

/// Knowledge of y with Y = y·G.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct DlogProof<C: Curve> {
    /// A = k·G.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub commitment: NonIdentityPoint<C>,
    /// z = k + e·y.
    #[borsh(bound(serialize = "", deserialize = ""))]
    pub response: CanonicalScalar<C>,
}

impl<C: Curve> DlogProof<C> {
    /// Proves knowledge of `secret`, whose public point is `statement` = secret·G. `extra` is
    /// whatever else the proof must be bound to.
    pub fn prove(
        prover: Prover<'_>,
        secret: &C::Scalar,
        statement: &NonIdentityPoint<C>,
        extra: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let mut nonce = C::random_nonzero_scalar(rng);
        let commitment = NonIdentityPoint::new(C::mul_generator(&nonce)).expect("the nonce is not zero");
        let challenge = challenge(prover, statement, &commitment, extra);
        let response = CanonicalScalar::new(nonce + challenge * secret);
        nonce.zeroize();
        DlogProof { commitment, response }
    }

    /// Whether z·G = A + e·Y.
    pub fn verify(&self, prover: Prover<'_>, statement: &NonIdentityPoint<C>, extra: &[u8]) -> bool {
        let challenge = challenge(prover, statement, &self.commitment, extra);
        // All values are public here.
        C::lincomb_vartime(self.response.scalar(), &-challenge, statement.point()) == *self.commitment.point()
    }
}

fn challenge<C: Curve>(
    prover: Prover<'_>,
    statement: &NonIdentityPoint<C>,
    commitment: &NonIdentityPoint<C>,
    extra: &[u8],
) -> C::Scalar {
    let generator =
        NonIdentityPoint::<C>::new(C::Point::generator()).expect("the generator is not the identity");
    Transcript::new(Label::DlogProof)
        .bytes("curve", C::ID.name().as_bytes())
        .bytes("ssid", prover.ssid)
        .number("prover", u64::from(prover.index))
        .bytes("identity", prover.identity)
        .point("generator", &generator)
        .point("statement", statement)
        .point("commitment", commitment)
        .bytes("extra", extra)
        .challenge::<C>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Secp256k1;
    use crate::hedged::test_rng;

    const PROVER: Prover<'static> = Prover { ssid: &[1; 32], index: 2, identity: b"identity" };

    fn proof() -> (NonIdentityPoint<Secp256k1>, DlogProof<Secp256k1>) {
        let mut rng = test_rng(9);
        let secret = Secp256k1::random_nonzero_scalar(&mut rng);
        let statement = NonIdentityPoint::new(Secp256k1::mul_generator(&secret)).unwrap();
        (statement, DlogProof::prove(PROVER, &secret, &statement, b"extra", &mut rng))
    }

    #[test]
    fn an_honest_proof_verifies() {
        let (statement, proof) = proof();
        assert!(proof.verify(PROVER, &statement, b"extra"));
    }

    #[test]
    fn s10_a_copied_proof_is_refused_for_another_prover_or_session() {
        let (statement, proof) = proof();
        assert!(!proof.verify(Prover { index: 3, ..PROVER }, &statement, b"extra"));
        assert!(!proof.verify(Prover { identity: b"other", ..PROVER }, &statement, b"extra"));
        assert!(!proof.verify(Prover { ssid: &[2; 32], ..PROVER }, &statement, b"extra"));
    }

    #[test]
    fn s15_every_part_of_the_statement_is_bound() {
        let (statement, proof) = proof();
        let other = NonIdentityPoint::new(*statement.point() + *statement.point()).unwrap();
        assert!(!proof.verify(PROVER, &other, b"extra"));
        assert!(!proof.verify(PROVER, &statement, b"other"));
        let moved = DlogProof { commitment: other, response: CanonicalScalar::new(*proof.response.scalar()) };
        assert!(!moved.verify(PROVER, &statement, b"extra"));
    }
}
