//! Row by row, with limbs of 64 bits.

use super::{INPUTS, Rows};
use crate::curve::Curve;
use crate::ot::gadget::{Constants, constants};
use crate::ot::limbs::{
    accumulate, add_masked, difference, limbs_from_bytes, limbs_to_bytes, scalar_from_limbs, scalar_to_limbs,
};
use crate::ot::pads::{COLUMNS, GROUP, MAX_BLOCKS};
use crate::ot::{bit128, mask128};

/// Limbs: N of a scalar, V of a pad with headroom, A = N + V of a product.
pub(in crate::ot) struct Portable<C: Curve, const N: usize, const V: usize, const A: usize>(
    &'static Constants<C, N, V>,
);

impl<C: Curve, const N: usize, const V: usize, const A: usize> Portable<C, N, V, A> {
    pub(in crate::ot) fn new() -> Self {
        Portable(constants::<C, N, V>())
    }
}

/// θ_1·S, θ_2·S and -η·S, with the factor S that the reduction takes away.
pub(in crate::ot) struct Coefficients<const N: usize> {
    theta: [[u64; N]; INPUTS],
    minus_eta: [u64; N],
}

impl<C: Curve, const N: usize, const V: usize, const A: usize> Rows<C> for Portable<C, N, V, A> {
    type Pads = [[[u64; V]; COLUMNS]; GROUP];
    type Offset = [u64; V];
    type Coefficients = Coefficients<N>;
    type Sums = [[u64; A]; INPUTS];

    fn unpack(&self, blocks: &[[u128; GROUP]]) -> Self::Pads {
        let wide = C::Wide::default().as_ref().len();
        let mut pads = [[[0; V]; COLUMNS]; GROUP];
        let mut bytes = [0u8; 16 * MAX_BLOCKS];
        for (i, blocks) in blocks.chunks_exact(blocks.len() / COLUMNS).enumerate() {
            for (j, pads) in pads.iter_mut().enumerate() {
                for (part, block) in bytes.chunks_exact_mut(16).zip(blocks) {
                    part.copy_from_slice(&block[j].to_le_bytes());
                }
                pads[i] = limbs_from_bytes(&bytes[..wide]);
            }
        }
        pads
    }

    fn offset(&self, input: &C::Scalar) -> Self::Offset {
        self.0.offset(input)
    }

    fn differences(
        &self,
        offsets: &[Self::Offset; COLUMNS],
        zeros: &Self::Pads,
        ones: &Self::Pads,
        out: &mut [u8],
    ) {
        let pads = zeros.as_flattened().iter().zip(ones.as_flattened());
        let entries = pads.zip(offsets.iter().cycle()).zip(out.chunks_exact_mut(C::SCALAR_BYTES));
        for (((zero, one), offset), entry) in entries {
            let mut sum = difference(offset, one);
            add_masked(&mut sum, zero, u64::MAX);
            limbs_to_bytes(&self.0.modulus.reduce_pad(&sum), entry);
        }
    }

    fn add_chosen(&self, pads: &mut Self::Pads, lines: &[u8], chosen: u8) {
        let lines = lines.chunks_exact(COLUMNS * C::SCALAR_BYTES);
        for (j, (pads, line)) in pads.iter_mut().zip(lines).enumerate() {
            for (pad, bytes) in pads.iter_mut().zip(line.chunks_exact(C::SCALAR_BYTES)) {
                add_masked(pad, &limbs_from_bytes::<N>(bytes), mask(chosen, j));
            }
        }
    }

    fn coefficients(&self, theta: &[C::Scalar; INPUTS], eta: &C::Scalar) -> Self::Coefficients {
        let s = self.0.s;
        Coefficients {
            theta: theta.map(|theta| scalar_to_limbs::<C, N>(&(theta * s))),
            minus_eta: scalar_to_limbs::<C, N>(&(-*eta * s)),
        }
    }

    fn check_values(&self, coefficients: &Self::Coefficients, chosen: u8, pads: &Self::Pads, out: &mut [u8]) {
        let modulus = &self.0.modulus;
        for (j, (pads, entry)) in pads.iter().zip(out.chunks_exact_mut(C::SCALAR_BYTES)).enumerate() {
            let mut sum = [0; A];
            for (pad, theta) in pads.iter().zip(&coefficients.theta) {
                accumulate(&mut sum, theta, pad);
            }
            add_masked(&mut sum, &coefficients.minus_eta, mask(chosen, j));
            let value = modulus.add(modulus.reduce::<A>(sum), &modulus.reduce_pad(&pads[INPUTS]));
            limbs_to_bytes(&value, entry);
        }
    }

    fn sums(&self) -> Self::Sums {
        [[0; A]; INPUTS]
    }

    fn accumulate(&self, sums: &mut Self::Sums, group: usize, pads: &Self::Pads) {
        let gadget = &self.0.gadget[group * GROUP..];
        for (g, pads) in gadget.iter().zip(pads) {
            for (sum, pad) in sums.iter_mut().zip(pads) {
                accumulate(sum, g, pad);
            }
        }
    }

    fn reduce(&self, sums: &Self::Sums) -> [C::Scalar; INPUTS] {
        sums.map(|sum| scalar_from_limbs::<C, N>(&self.0.modulus.reduce::<A>(sum)))
    }
}

/// All ones if bit j is 1, else zero.
fn mask(chosen: u8, j: usize) -> u64 {
    mask128(bit128(chosen.into(), j)) as u64
}
