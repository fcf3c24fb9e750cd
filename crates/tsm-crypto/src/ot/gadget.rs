//! The public gadget vector g, the number of choice bits, and what else is fixed by the curve
//! (`docs/spec/ot.md` 5.1, 5.5).

use std::any::Any;
use std::sync::OnceLock;

use super::limbs::{Modulus, add_masked, power_of_two, scalar_to_limbs};
use crate::curve::{Curve, CurveId, Field};
use crate::transcript::{Label, Transcript};

/// Statistical security of the multiplication, the spec's λ_s: B has 2·λ_s more choice bits than a
/// scalar has bits.
const STATISTICAL_BITS: usize = 80;

/// ξ: choice bits of one multiplication, κ + 2·λ_s rounded up to whole bytes.
pub(super) const fn choice_bits<C: Curve>() -> usize {
    (C::SCALAR_BITS + 2 * STATISTICAL_BITS).next_multiple_of(8)
}

/// g_1 .. g_ξ, from a transcript without input. Public.
pub(super) fn gadget_scalars<C: Curve>() -> impl Iterator<Item = C::Scalar> {
    let mut stream = Transcript::new(Label::Gadget)
        .bytes("curve", C::ID.name().as_bytes())
        .count("scalars", choice_bits::<C>())
        .stream();
    (0..choice_bits::<C>()).map(move |_| {
        let mut wide = C::Wide::default();
        stream.fill(wide.as_mut());
        C::reduce_wide(&wide)
    })
}

/// Evaluates an expression with the numbers of 64-bit limbs of a curve: N of a scalar, V of a pad with
/// headroom, A = N + V of a product.
macro_rules! with_limbs {
    ($curve:ident, $N:ident, $V:ident, $A:ident => $body:expr) => {
        match $curve::ID {
            CurveId::Secp256k1 | CurveId::P256 => with_limbs!($N = 4, $V = 7, $A = 11 => $body),
            CurveId::P384 => with_limbs!($N = 6, $V = 9, $A = 15 => $body),
            CurveId::P521 => with_limbs!($N = 9, $V = 11, $A = 20 => $body),
        }
    };
    ($N:ident = $n:literal, $V:ident = $v:literal, $A:ident = $a:literal => $body:expr) => {{
        const $N: usize = $n;
        const $V: usize = $v;
        #[allow(dead_code, reason = "not every expression has sums")]
        const $A: usize = $a;
        $body
    }};
}
pub(super) use with_limbs;

/// Constants of the multiplication on one curve, computed at first use. All are public.
pub(super) struct Constants<C: Curve, const N: usize, const V: usize> {
    pub(super) modulus: Modulus<N, V>,
    /// q, big endian.
    order: Vec<u8>,
    /// S = 2^(64·V) modulo q, the factor that [`Modulus::reduce`] takes away.
    pub(super) s: C::Scalar,
    /// g_1·S .. g_ξ·S.
    pub(super) gadget: Vec<[u64; N]>,
    /// K·q, the least multiple of q above all pads.
    above_pads: [u64; V],
}

impl<C: Curve, const N: usize, const V: usize> Constants<C, N, V> {
    /// Whether the encoding of a scalar is a number below q. For public values.
    pub(super) fn is_canonical_vartime(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.order.len() && bytes < self.order.as_slice()
    }

    /// input + K·q: what keeps a difference of pads positive.
    pub(super) fn offset(&self, input: &C::Scalar) -> [u64; V] {
        let mut offset = self.above_pads;
        add_masked(&mut offset, &scalar_to_limbs::<C, N>(input), u64::MAX);
        offset
    }
}

/// The constants of `C`, whose limb counts are always the same `N` and `V`.
pub(super) fn constants<C: Curve, const N: usize, const V: usize>() -> &'static Constants<C, N, V> {
    static CURVES: [OnceLock<Box<dyn Any + Send + Sync>>; 4] = [const { OnceLock::new() }; 4];
    let [secp256k1, p256, p384, p521] = &CURVES;
    let of_curve = match C::ID {
        CurveId::Secp256k1 => secp256k1,
        CurveId::P256 => p256,
        CurveId::P384 => p384,
        CurveId::P521 => p521,
    };
    of_curve
        .get_or_init(|| {
            let s = power_of_two::<C>(64 * V);
            let pad_bits = 8 * C::Wide::default().as_ref().len();
            let mut above_pads = [0; V];
            above_pads[pad_bits / 64] = 1 << (pad_bits % 64);
            add_masked(&mut above_pads, &scalar_to_limbs::<C, N>(&-power_of_two::<C>(pad_bits)), u64::MAX);
            let mut order = C::encode_scalar(&-C::Scalar::ONE);
            // q - 1 is even.
            *order.last_mut().expect("a scalar has bytes") += 1;
            Box::new(Constants::<C, N, V> {
                modulus: Modulus::new::<C>(),
                order,
                s,
                gadget: gadget_scalars::<C>().map(|g| scalar_to_limbs::<C, N>(&(g * s))).collect(),
                above_pads,
            })
        })
        .downcast_ref()
        .expect("a curve has one pair of limb counts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{P256, P384, P521, Secp256k1};

    fn digest<C: Curve>() -> String {
        gadget_scalars::<C>()
            .fold(Transcript::new(Label::Gadget), |t, g| t.scalar::<C>("g", &g))
            .digest()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    #[test]
    fn the_gadget_never_changes() {
        let all = [digest::<Secp256k1>(), digest::<P256>(), digest::<P384>(), digest::<P521>()];
        assert_eq!(all, ["1cd5734ce2aae7bd", "9108cd7bf113ff0c", "295eba84ddb2ac3c", "e76dc0a3599dbbed"]);
    }

    #[test]
    fn s24_numbers_of_q_and_above_are_not_canonical() {
        let constants = constants::<P521, 9, 11>();
        let mut bytes = constants.order.clone();
        assert!(!constants.is_canonical_vartime(&bytes));
        assert!(!constants.is_canonical_vartime(&[0xff; 66]));
        assert!(!constants.is_canonical_vartime(&[0; 65]));
        bytes[65] -= 1;
        assert!(constants.is_canonical_vartime(&bytes));
        assert!(constants.is_canonical_vartime(&[0; 66]));
    }

    #[test]
    fn the_choice_bits_are_those_of_the_table() {
        assert_eq!(choice_bits::<Secp256k1>(), 416);
        assert_eq!(choice_bits::<P256>(), 416);
        assert_eq!(choice_bits::<P384>(), 544);
        assert_eq!(choice_bits::<P521>(), 688);
    }
}
