//! Hash commitments (spec 1.3).

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use crate::transcript::{Label, Transcript};

/// A commitment: 32 bytes that bind their maker to a value without showing it.
pub type Commitment = [u8; 32];

/// The random bytes that open a commitment together with its value.
pub type Blinding = [u8; 32];

/// What a commitment is bound to, besides its value (rule S-11).
#[derive(Clone, Copy)]
pub struct CommitmentContext<'a> {
    /// Session tag or ssid of the run.
    pub ssid: &'a [u8; 32],
    /// Player index of the committer.
    pub committer: u16,
    /// What is committed to, a literal of the protocol.
    pub purpose: &'static str,
}

impl CommitmentContext<'_> {
    /// Commits to `value` with fresh blinding.
    pub fn commit(&self, value: &[u8], rng: &mut dyn CryptoRng) -> (Commitment, Blinding) {
        let mut blinding = [0u8; 32];
        rng.fill_bytes(&mut blinding);
        (self.compute(value, &blinding), blinding)
    }

    /// Whether `value` and `blinding` open `commitment` in this context. Constant time.
    pub fn opens(&self, commitment: &Commitment, value: &[u8], blinding: &Blinding) -> bool {
        self.compute(value, blinding).ct_eq(commitment).into()
    }

    fn compute(&self, value: &[u8], blinding: &Blinding) -> Commitment {
        Transcript::new(Label::Commitment)
            .bytes("ssid", self.ssid)
            .number("committer", u64::from(self.committer))
            .bytes("purpose", self.purpose.as_bytes())
            .bytes("blinding", blinding)
            .bytes("value", value)
            .digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;

    const CONTEXT: CommitmentContext<'static> =
        CommitmentContext { ssid: &[7; 32], committer: 3, purpose: "test" };

    #[test]
    fn an_honest_opening_is_accepted() {
        let (commitment, blinding) = CONTEXT.commit(b"value", &mut test_rng(1));
        assert!(CONTEXT.opens(&commitment, b"value", &blinding));
    }

    #[test]
    fn s11_a_copied_commitment_does_not_open_for_the_copier() {
        let (commitment, blinding) = CONTEXT.commit(b"value", &mut test_rng(1));
        let copier = CommitmentContext { committer: 4, ..CONTEXT };
        assert!(!copier.opens(&commitment, b"value", &blinding));
    }

    #[test]
    fn s11_session_purpose_value_and_blinding_are_bound() {
        let (commitment, blinding) = CONTEXT.commit(b"value", &mut test_rng(1));
        assert!(!CommitmentContext { ssid: &[8; 32], ..CONTEXT }.opens(&commitment, b"value", &blinding));
        assert!(!CommitmentContext { purpose: "other", ..CONTEXT }.opens(&commitment, b"value", &blinding));
        assert!(!CONTEXT.opens(&commitment, b"walue", &blinding));
        assert!(!CONTEXT.opens(&commitment, b"value", &[0; 32]));
    }

    #[test]
    fn s14_equal_values_have_different_commitments() {
        let mut rng = test_rng(1);
        assert_ne!(CONTEXT.commit(b"0", &mut rng).0, CONTEXT.commit(b"0", &mut rng).0);
    }
}
