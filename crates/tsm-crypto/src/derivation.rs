//! Keys below a key, computed from public values alone (docs/spec/derivation.md 1 to 3).
//!
//! BIP 32 without hardened steps on secp256k1, and a scheme of the same form and another name on the
//! other curves. Whoever has a public key and its chain code derives all keys below it, without any
//! node.
//!
//! **Whoever has one derived private key and the chain code has them all** (rule S-90).

use std::fmt;

use elliptic_curve::{Field, Group};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;

use crate::curve::{Curve, CurveId};
use crate::secret::Secret;

/// The longest path, in steps.
pub const MAX_STEPS: usize = 50;

/// The first step that is none of ours: from here on steps are hardened, and need the private key.
pub const HARDENED: u32 = 1 << 31;

/// Why there is no key at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DerivationError {
    /// D1: this step is hardened.
    Hardened(u32),
    /// D1: more steps than [`MAX_STEPS`].
    TooLong(usize),
    /// D3 or D4: this step has no key. The next number has one.
    NoKey(u32),
}

impl fmt::Display for DerivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DerivationError::Hardened(step) => write!(
                f,
                "step {step} is hardened (that is {}'): it needs the whole private key, which nobody has; \
                 derive with the number below 2147483648 instead, which gives another key",
                step.wrapping_sub(HARDENED)
            ),
            DerivationError::TooLong(steps) => {
                write!(f, "a path has at most {MAX_STEPS} steps; this one has {steps}")
            }
            DerivationError::NoKey(step) => {
                write!(f, "there is no key at step {step} (probability below 2^-127); take the next number")
            }
        }
    }
}

impl std::error::Error for DerivationError {}

/// A public key with its chain code, and the tweak that leads to it from the root of its tree.
///
/// Only [`root`](Self::root) and [`child`](Self::child) make one, so that no tweak comes from
/// anywhere but a hash of the path (rule S-91).
pub struct Derived<C: Curve> {
    point: C::Point,
    chain_code: [u8; 32],
    tweak: Secret<C::Scalar>,
}

impl<C: Curve> Derived<C> {
    /// The key itself.
    pub fn root(point: C::Point, chain_code: [u8; 32]) -> Self {
        Derived { point, chain_code, tweak: Secret::new(C::Scalar::ZERO) }
    }

    /// Section 2: one step.
    pub fn child(&self, step: u32) -> Result<Self, DerivationError> {
        // D1.
        if step >= HARDENED {
            return Err(DerivationError::Hardened(step));
        }
        let (tau, chain_code) = match C::ID {
            CurveId::Secp256k1 => {
                let encoded = C::encode_point(&self.point);
                let i = self.keyed(&[&encoded, &step.to_be_bytes()]);
                bip32_parts::<C>(&i).ok_or(DerivationError::NoKey(step))?
            }
            CurveId::P256 | CurveId::P384 | CurveId::P521 => self.soft(step),
        };
        self.moved(&tau, chain_code).ok_or(DerivationError::NoKey(step))
    }

    /// All steps of a path.
    pub fn derive(&self, path: &[u32]) -> Result<Self, DerivationError> {
        check_path(path)?;
        let start = Derived {
            point: self.point,
            chain_code: self.chain_code,
            tweak: Secret::new(*self.tweak.expose()),
        };
        path.iter().try_fold(start, |key, step| key.child(*step))
    }

    /// X'.
    pub fn point(&self) -> &C::Point {
        &self.point
    }

    /// c'.
    pub fn chain_code(&self) -> &[u8; 32] {
        &self.chain_code
    }

    /// ε: X' is the root's X + ε·G.
    pub fn tweak(&self) -> &Secret<C::Scalar> {
        &self.tweak
    }

    /// Step 2.3; `None` if D4 fails.
    fn moved(&self, tau: &Secret<C::Scalar>, chain_code: [u8; 32]) -> Option<Self> {
        let point = self.point + C::mul_generator(tau.expose());
        // D4.
        if bool::from(point.is_identity()) {
            return None;
        }
        let tweak = Secret::new(*self.tweak.expose() + tau.expose());
        Some(Derived { point, chain_code, tweak })
    }

    /// Step 2.2.
    fn soft(&self, step: u32) -> (Secret<C::Scalar>, [u8; 32]) {
        let label = format!("OpenTSM soft derivation 1 {}", C::ID.name());
        let encoded = C::encode_point(&self.point);
        let block = |n: u8| self.keyed(&[label.as_bytes(), &[0, n], &encoded, &step.to_be_bytes()]);
        let bytes = [block(1), block(2)].concat();
        let mut wide = C::Wide::default();
        let length = wide.as_ref().len();
        wide.as_mut().copy_from_slice(&bytes[..length]);
        let chain_code = bytes[96..].try_into().expect("the end of 128 bytes");
        (Secret::new(C::reduce_wide(&wide)), chain_code)
    }

    /// HMAC-SHA512 under the chain code.
    fn keyed(&self, parts: &[&[u8]]) -> [u8; 64] {
        let mut mac =
            Hmac::<Sha512>::new_from_slice(&self.chain_code).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl<C: Curve> fmt::Debug for Derived<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived { public_key: ")?;
        C::encode_point(&self.point).iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(", .. }")
    }
}

/// Step 2.1: τ and the next chain code; `None` if D3 fails.
fn bip32_parts<C: Curve>(i: &[u8; 64]) -> Option<(Secret<C::Scalar>, [u8; 32])> {
    let (left, right) = i.split_at(32);
    // D3: decoding refuses q and above.
    let tau = C::decode_scalar(left)?;
    Some((Secret::new(tau), right.try_into().expect("half of 64 bytes")))
}

/// D1.
pub fn check_path(path: &[u32]) -> Result<(), DerivationError> {
    if path.len() > MAX_STEPS {
        return Err(DerivationError::TooLong(path.len()));
    }
    match path.iter().find(|step| **step >= HARDENED) {
        Some(step) => Err(DerivationError::Hardened(*step)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secp256k1;
    use crate::hedged::test_rng;

    type Key = Derived<Secp256k1>;

    #[test]
    fn d3_s89_a_left_half_of_q_or_above_is_no_key_and_one_below_is() {
        let minus_one = Secp256k1::encode_scalar(&-<Secp256k1 as Curve>::Scalar::ONE);
        let mut q = minus_one.clone();
        q[31] += 1;
        let parts = |left: &[u8]| {
            let mut i = [7; 64];
            i[..32].copy_from_slice(left);
            bip32_parts::<Secp256k1>(&i)
        };
        assert!(parts(&q).is_none());
        assert!(parts(&[0xff; 32]).is_none());
        let (tau, chain_code) = parts(&minus_one).unwrap();
        assert_eq!((Secp256k1::encode_scalar(tau.expose()), chain_code), (minus_one, [7; 32]));
    }

    #[test]
    fn d4_s89_a_tweak_that_leads_to_the_identity_is_no_key() {
        let secret = Secp256k1::random_nonzero_scalar(&mut test_rng(1));
        let key = Key::root(Secp256k1::mul_generator(&secret), [1; 32]);
        assert!(key.moved(&Secret::new(-secret), [2; 32]).is_none());
        assert!(key.moved(&Secret::new(secret), [2; 32]).is_some());
    }

    #[test]
    fn s107_debug_shows_neither_tweak_nor_chain_code() {
        let key = Key::root(Secp256k1::mul_generator(&Field::ONE), [0xab; 32]).child(1).unwrap();
        let shown = format!("{key:?}");
        let tweak = Secp256k1::encode_scalar(key.tweak().expose());
        for hidden in [tweak.as_slice(), key.chain_code()] {
            let hex: String = hidden.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!shown.contains(&hex), "{shown}");
        }
    }
}
