//! All eight rows at once, for curves of 256 bits (`tsm-simd`).

use std::sync::OnceLock;

use tsm_simd::{Ifma, Lanes, Modulus, Pad, RowScalars, Scalar, Sum, row_scalars, split, total};

use super::{INPUTS, Rows};
use crate::curve::{Curve, CurveId};
use crate::ot::gadget::{Constants, constants};
use crate::ot::limbs::{power_of_two, scalar_from_limbs, scalar_to_limbs};
use crate::ot::pads::{COLUMNS, GROUP};

const _: () = assert!(GROUP == tsm_simd::ROWS && COLUMNS == tsm_simd::COLUMNS);

/// Limbs of 64 bits, of a scalar, a pad, and a product of both.
const N: usize = 4;
const V: usize = 7;
const A: usize = N + V;

pub(in crate::ot) struct Wide<C: Curve> {
    ifma: Ifma,
    constants: &'static Constants<C, N, V>,
    wide: &'static WideConstants,
}

/// Constants of a curve in limbs of 52 bits. All are public.
struct WideConstants {
    modulus: Modulus,
    /// g_1·S .. g_ξ·S in groups.
    gadget: Vec<RowScalars>,
}

/// θ_1·F, θ_2·F and -η·F, with the factor F = 2^416 that [`Ifma::check_values`] takes away.
pub(in crate::ot) struct Coefficients {
    theta: [Scalar; INPUTS],
    minus_eta: Scalar,
}

impl<C: Curve> Wide<C> {
    /// `None` where the processor does not have what it takes.
    pub(in crate::ot) fn detect() -> Option<Self> {
        static CURVES: [OnceLock<WideConstants>; 2] = [const { OnceLock::new() }; 2];
        let [secp256k1, p256] = &CURVES;
        let of_curve = match C::ID {
            CurveId::Secp256k1 => secp256k1,
            CurveId::P256 => p256,
            CurveId::P384 | CurveId::P521 => return None,
        };
        let ifma = Ifma::detect()?;
        let constants = constants::<C, N, V>();
        let wide = of_curve.get_or_init(|| WideConstants {
            modulus: Modulus::new(&constants.modulus.q, |exponent| {
                scalar_to_limbs::<C, N>(&power_of_two::<C>(exponent))
            }),
            gadget: constants.gadget.as_chunks().0.iter().map(row_scalars).collect(),
        });
        Some(Wide { ifma, constants, wide })
    }
}

impl<C: Curve> Rows<C> for Wide<C> {
    type Pads = tsm_simd::Pads;
    type Offset = Pad;
    type Coefficients = Coefficients;
    type Sums = [Sum; INPUTS];

    fn unpack(&self, blocks: &[[u128; GROUP]]) -> Self::Pads {
        let mut pads = Self::Pads::default();
        let blocks = blocks.try_into().expect("three blocks for each pad of 256-bit curves");
        self.ifma.unpack(blocks, &mut pads);
        pads
    }

    fn offset(&self, input: &C::Scalar) -> Self::Offset {
        split(&self.constants.offset(input))
    }

    fn differences(
        &self,
        offsets: &[Self::Offset; COLUMNS],
        zeros: &Self::Pads,
        ones: &Self::Pads,
        out: &mut [u8],
    ) {
        let out = out.try_into().expect("eight rows of three scalars");
        self.ifma.differences(&self.wide.modulus, offsets, zeros, ones, out);
    }

    fn add_chosen(&self, pads: &mut Self::Pads, lines: &[u8], chosen: u8) {
        let lines = lines.try_into().expect("eight rows of three scalars");
        self.ifma.add_chosen(pads, lines, chosen);
    }

    fn coefficients(&self, theta: &[C::Scalar; INPUTS], eta: &C::Scalar) -> Self::Coefficients {
        let factor = power_of_two::<C>(Modulus::FACTOR_BITS);
        let limbs = |scalar: C::Scalar| split(&scalar_to_limbs::<C, N>(&(scalar * factor)));
        Coefficients { theta: theta.map(limbs), minus_eta: limbs(-*eta) }
    }

    fn check_values(&self, coefficients: &Self::Coefficients, chosen: u8, pads: &Self::Pads, out: &mut [u8]) {
        let Coefficients { theta, minus_eta } = coefficients;
        let out = out.try_into().expect("eight scalars");
        self.ifma.check_values(&self.wide.modulus, theta, minus_eta, chosen, pads, out);
    }

    fn sums(&self) -> Self::Sums {
        [[Lanes::default(); tsm_simd::SUM_LIMBS]; INPUTS]
    }

    fn accumulate(&self, sums: &mut Self::Sums, group: usize, pads: &Self::Pads) {
        self.ifma.accumulate(sums, &self.wide.gadget[group], pads);
    }

    fn reduce(&self, sums: &Self::Sums) -> [C::Scalar; INPUTS] {
        let modulus = &self.constants.modulus;
        sums.each_ref().map(|sum| scalar_from_limbs::<C, N>(&modulus.reduce::<A>(total(sum))))
    }
}
