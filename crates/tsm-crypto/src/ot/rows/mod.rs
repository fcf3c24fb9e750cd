//! What the multiplication does with rows, eight at a time, and two ways to do it that give the same
//! bytes: [`Portable`] on every curve and processor, [`Wide`] on curves of 256 bits where the processor
//! multiplies in wide registers (`docs/spec/ot.md` 5.5).

mod portable;
mod wide;

pub(super) use portable::Portable;
pub(super) use wide::Wide;

use zeroize::Zeroize;

use super::pads::{COLUMNS, GROUP};
use crate::curve::Curve;

/// Inputs of a multiplication, the spec's ℓ.
pub const INPUTS: usize = COLUMNS - 1;

/// Arithmetic on [`GROUP`] rows. Nothing here depends on values in its time.
pub(super) trait Rows<C: Curve> {
    /// The pads of the rows, or integers in their place.
    type Pads: Zeroize;
    /// An integer in the place of a pad, the same for all rows.
    type Offset: Zeroize;
    /// What check values are made with.
    type Coefficients;
    /// Sums of products for each input, not reduced.
    type Sums: Zeroize;

    /// Pads as integers, from the cipher's blocks ([`Pads::fill`](super::pads::Pads::fill)).
    fn unpack(&self, blocks: &[[u128; GROUP]]) -> Self::Pads;
    /// An input and a multiple of q that keeps a difference of pads positive.
    fn offset(&self, input: &C::Scalar) -> Self::Offset;
    /// Step 5.3.2: α⁰ - α¹ + offset for every column, reduced, row by row.
    fn differences(
        &self,
        offsets: &[Self::Offset; COLUMNS],
        zeros: &Self::Pads,
        ones: &Self::Pads,
        out: &mut [u8],
    );
    /// Step 5.4.1: adds to each pad its number of `lines`, in the rows whose bit of `chosen` is 1.
    fn add_chosen(&self, pads: &mut Self::Pads, lines: &[u8], chosen: u8);
    /// θ_1, θ_2 and η.
    fn coefficients(&self, theta: &[C::Scalar; INPUTS], eta: &C::Scalar) -> Self::Coefficients;
    /// Steps 5.3.5 and 5.4.2: pad_3 + θ_1·pad_1 + θ_2·pad_2, and less η in the rows whose bit of
    /// `chosen` is 1, reduced.
    fn check_values(&self, coefficients: &Self::Coefficients, chosen: u8, pads: &Self::Pads, out: &mut [u8]);
    /// Zero.
    fn sums(&self) -> Self::Sums;
    /// Steps 5.3.6 and 5.4.3: adds g_j·pad_i for the rows of a group.
    fn accumulate(&self, sums: &mut Self::Sums, group: usize, pads: &Self::Pads);
    /// The sums, reduced.
    fn reduce(&self, sums: &Self::Sums) -> [C::Scalar; INPUTS];
}

/// Calls a function of some [`Rows`] with the best ones for the curve and the processor.
macro_rules! with_rows {
    ($curve:ident, $function:ident($($argument:expr),*)) => {
        match Wide::<$curve>::detect() {
            Some(rows) => $function(&rows, $($argument),*),
            None => with_limbs!($curve, N, V, A => {
                $function(&Portable::<$curve, N, V, A>::new(), $($argument),*)
            }),
        }
    };
}
pub(super) use with_rows;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Field, P256, P384, P521, Secp256k1};
    use crate::hedged::test_rng;
    use crate::ot::gadget::choice_bits;
    use rand_core::Rng;

    /// Everything that is done with one group, from given blocks and scalars.
    fn all_of_it<C: Curve, R: Rows<C>>(
        rows: &R,
        group: usize,
        [zeros, ones]: [&[[u128; GROUP]]; 2],
        [a, b, check, theta_1, theta_2, eta]: [C::Scalar; 6],
        chosen: u8,
    ) -> Vec<u8> {
        let [zeros, ones] = [zeros, ones].map(|blocks| rows.unpack(blocks));
        let offsets = [a, b, check].map(|input| rows.offset(&input));
        let mut lines = vec![0; GROUP * COLUMNS * C::SCALAR_BYTES];
        rows.differences(&offsets, &zeros, &ones, &mut lines);
        let coefficients = rows.coefficients(&[theta_1, theta_2], &eta);
        let mut out = lines.clone();
        let mut pads = ones;
        let mut sums = rows.sums();
        for chosen in [0, chosen, u8::MAX] {
            rows.add_chosen(&mut pads, &lines, chosen);
            let mut values = vec![0; GROUP * C::SCALAR_BYTES];
            rows.check_values(&coefficients, chosen, &pads, &mut values);
            out.extend(values);
            rows.accumulate(&mut sums, group, &pads);
        }
        out.extend(rows.reduce(&sums).iter().flat_map(C::encode_scalar));
        out
    }

    fn wide_rows_agree<C: Curve>() {
        let (portable, wide) = (Portable::<C, 4, 7, 11>::new(), Wide::<C>::detect());
        let Some(wide) = wide else {
            eprintln!("this processor has no AVX-512 IFMA: nothing was compared");
            return;
        };
        let mut rng = test_rng(1);
        let edges = [C::Scalar::ZERO, C::Scalar::ONE, -C::Scalar::ONE];
        for round in 0..300 {
            let mut block = |edge: usize| match (round + edge) % 5 {
                0 => 0,
                1 => u128::MAX,
                _ => u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()),
            };
            let zeros: [[u128; GROUP]; 9] = std::array::from_fn(|_| std::array::from_fn(|_| block(0)));
            let ones: [[u128; GROUP]; 9] = std::array::from_fn(|_| std::array::from_fn(|_| block(1)));
            let scalars = std::array::from_fn(|i| match (round / 5 + i) % 7 {
                edge @ 0..3 => edges[edge],
                _ => C::random_scalar(&mut rng),
            });
            let group = round % (choice_bits::<C>() / GROUP);
            let chosen = rng.next_u32() as u8;
            assert_eq!(
                all_of_it(&portable, group, [&zeros, &ones], scalars, chosen),
                all_of_it(&wide, group, [&zeros, &ones], scalars, chosen),
                "round {round}"
            );
        }
    }

    #[test]
    fn wide_registers_give_the_bytes_of_the_portable_path() {
        wide_rows_agree::<Secp256k1>();
        wide_rows_agree::<P256>();
    }

    #[test]
    fn curves_of_other_sizes_take_the_portable_path() {
        assert!(Wide::<P384>::detect().is_none() && Wide::<P521>::detect().is_none());
    }
}
