//! Random vector OLE: the two-message multiplication of DKLs23 (eprint 2023/765, protocol 5.2) with
//! ℓ = 2 inputs and ρ = 1 check column (`docs/spec/ot.md` 5).
//!
//! A puts in a_u, a_v; B has the random b of its extension. They get c and d with
//! c_u + d_u = a_u·b and c_v + d_v = a_v·b. The printed check has two indices swapped (rule S-52);
//! the spec restates it.

use std::fmt;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::extension::{Binding, Choices, ReceiverExtension, SenderExtension};
use super::gadget::{choice_bits, constants, with_limbs};
use super::limbs::{add_masked, scalar_from_limbs};
use super::pads::{COLUMNS, GROUP, MAX_BLOCKS, Pads};
use super::pair::Judged;
use super::rows::{Portable, Rows, Wide, with_rows};
use super::{CheckFailed, bit128, mask128};
use crate::curve::{CanonicalScalar, Curve, CurveId, Field};
use crate::secret::Secret;
use crate::transcript::{Label, Transcript};

pub use super::rows::INPUTS;

/// A's message: ξ · 3 + 1 scalars and 32 bytes; 40,000 bytes on 256-bit curves.
///
/// Its encoding has no lengths: all of them follow from the curve.
pub struct VoleMessage<C: Curve> {
    /// ã row by row, each a canonical big-endian scalar; decoding has checked it.
    pub(super) matrix: Vec<u8>,
    pub(super) eta: CanonicalScalar<C>,
    pub(super) mu: [u8; 32],
}

impl<C: Curve> SenderExtension<C> {
    /// Multiplies `inputs` = (a_u, a_v) by B's b: returns (c_u, c_v) and A's message.
    ///
    /// `ssid_full` must hold fresh randomness of both sides that was fixed before B could see any of
    /// A's (rule S-54); the extension is consumed, since two answers to it would reveal the inputs.
    pub fn multiply(
        self,
        ssid_full: &[u8; 32],
        inputs: [&C::Scalar; INPUTS],
        rng: &mut dyn CryptoRng,
    ) -> (Secret<[C::Scalar; INPUTS]>, VoleMessage<C>) {
        // Step 5.3.1.
        let check_input = Secret::new(C::random_scalar(rng));
        self.multiply_with(ssid_full, inputs, &check_input)
    }

    pub(super) fn multiply_with(
        &self,
        ssid_full: &[u8; 32],
        inputs: [&C::Scalar; INPUTS],
        check_input: &Secret<C::Scalar>,
    ) -> (Secret<[C::Scalar; INPUTS]>, VoleMessage<C>) {
        with_rows!(C, send(self, ssid_full, inputs, check_input))
    }
}

impl<C: Curve> ReceiverExtension<C> {
    /// Check C5 on A's message; returns (d_u, d_v).
    ///
    /// # Errors
    ///
    /// [`CheckFailed`]: class S, it depends on the choice bits.
    ///
    /// # Panics
    ///
    /// If `judged` belongs to another pair than the extension.
    pub fn finish(
        self,
        judged: &Judged<'_>,
        ssid_full: &[u8; 32],
        message: &VoleMessage<C>,
    ) -> Result<Secret<[C::Scalar; INPUTS]>, CheckFailed> {
        assert_eq!(judged.pair.id(), self.binding.pair, "the verdict is asked of the extension's own pair");
        with_rows!(C, receive(&self, ssid_full, message))
    }
}

/// b = Σ g_j·β_j.
pub(super) fn chosen_sum<C: Curve>(choices: &Choices) -> Secret<C::Scalar> {
    with_limbs!(C, N, V, A => chosen_sum_limbs::<C, N, V, A>(choices))
}

fn chosen_sum_limbs<C: Curve, const N: usize, const V: usize, const A: usize>(
    choices: &Choices,
) -> Secret<C::Scalar> {
    let constants = constants::<C, N, V>();
    let mut sum = [0u64; A];
    for (j, g) in constants.gadget.iter().enumerate() {
        add_masked(&mut sum, g, choice_mask(choices, j));
    }
    let b = Secret::new(scalar_from_limbs::<C, N>(&constants.modulus.reduce::<A>(sum)));
    sum.zeroize();
    b
}

/// A's part, steps 5.3.2 to 5.3.6.
fn send<C: Curve, R: Rows<C>>(
    arithmetic: &R,
    extension: &SenderExtension<C>,
    ssid_full: &[u8; 32],
    inputs: [&C::Scalar; INPUTS],
    check_input: &Secret<C::Scalar>,
) -> (Secret<[C::Scalar; INPUTS]>, VoleMessage<C>) {
    let pads = extension.binding.pads::<C>(ssid_full);
    let offsets =
        Zeroizing::new([inputs[0], inputs[1], check_input.expose()].map(|input| arithmetic.offset(input)));
    let delta = *extension.delta.expose();

    let mut space = Zeroizing::new([[0; GROUP]; COLUMNS * MAX_BLOCKS]);
    let mut zeros = Zeroizing::new(Vec::with_capacity(choice_bits::<C>() / GROUP));
    let mut sums = Zeroizing::new(arithmetic.sums());
    let mut matrix = vec![0; matrix_len::<C>()];
    for (group, (rows, out)) in groups(extension.rows.0.as_flattened())
        .zip(matrix.chunks_exact_mut(GROUP * COLUMNS * C::SCALAR_BYTES))
        .enumerate()
    {
        let first = group * GROUP;
        let here = arithmetic.unpack(pads.fill::<C>(rows, first, &mut space));
        let flipped = Zeroizing::new(rows.map(|row| row ^ delta));
        let ones = Zeroizing::new(arithmetic.unpack(pads.fill::<C>(&flipped, first, &mut space)));
        // Step 5.3.2: ã_{j,i} = α⁰ - α¹ + a_i.
        arithmetic.differences(&offsets, &here, &ones, out);
        // Step 5.3.6: c_i = -Σ g_j·α⁰_{j,i}.
        arithmetic.accumulate(&mut sums, group, &here);
        zeros.push(here);
    }
    let mut c = arithmetic.reduce(&sums).map(|sum| -sum);

    // Steps 5.3.3 and 5.3.4.
    let theta = extension.binding.theta::<C>(ssid_full, &matrix);
    let eta = *check_input.expose() + theta[0] * inputs[0] + theta[1] * inputs[1];
    // Step 5.3.5, where no row is less η.
    let coefficients = arithmetic.coefficients(&theta, &C::Scalar::ZERO);
    let mut list = Zeroizing::new(vec![0; choice_bits::<C>() * C::SCALAR_BYTES]);
    for (pads, out) in zeros.iter().zip(list.chunks_exact_mut(GROUP * C::SCALAR_BYTES)) {
        arithmetic.check_values(&coefficients, 0, pads, out);
    }
    let mu = extension.binding.check_hash::<C>(ssid_full, &list);
    let secret = Secret::new(c);
    c.zeroize();
    (secret, VoleMessage { matrix, eta: CanonicalScalar::new(eta), mu })
}

/// B's part, steps 5.4.1 to 5.4.3 with check C5.
fn receive<C: Curve, R: Rows<C>>(
    arithmetic: &R,
    extension: &ReceiverExtension<C>,
    ssid_full: &[u8; 32],
    message: &VoleMessage<C>,
) -> Result<Secret<[C::Scalar; INPUTS]>, CheckFailed> {
    let pads = extension.binding.pads::<C>(ssid_full);
    let theta = extension.binding.theta::<C>(ssid_full, &message.matrix);
    let coefficients = arithmetic.coefficients(&theta, message.eta.scalar());
    let choices = extension.choices.expose();

    let mut space = Zeroizing::new([[0; GROUP]; COLUMNS * MAX_BLOCKS]);
    let mut sums = Zeroizing::new(arithmetic.sums());
    let mut list = Zeroizing::new(vec![0; choice_bits::<C>() * C::SCALAR_BYTES]);
    let lines = message.matrix.chunks_exact(GROUP * COLUMNS * C::SCALAR_BYTES);
    let entries = list.chunks_exact_mut(GROUP * C::SCALAR_BYTES);
    for (group, ((rows, lines), out)) in
        groups(extension.rows.0.as_flattened()).zip(lines).zip(entries).enumerate()
    {
        let first = group * GROUP;
        let chosen = (choices[first / 128] >> (first % 128)) as u8;
        let mut here = Zeroizing::new(arithmetic.unpack(pads.fill::<C>(rows, first, &mut space)));
        // Step 5.4.1: ḋ_{j,i} = γ_{j,i} + β_j·ã_{j,i}.
        arithmetic.add_chosen(&mut here, lines, chosen);
        // Step 5.4.2: ḋ_{j,3} + Σ θ_i·ḋ_{j,i} - β_j·η.
        arithmetic.check_values(&coefficients, chosen, &here, out);
        // Step 5.4.3: d_i = Σ g_j·ḋ_{j,i}.
        arithmetic.accumulate(&mut sums, group, &here);
    }
    // Check C5.
    if !bool::from(extension.binding.check_hash::<C>(ssid_full, &list).ct_eq(&message.mu)) {
        return Err(CheckFailed);
    }
    let mut d = arithmetic.reduce(&sums);
    let secret = Secret::new(d);
    d.zeroize();
    Ok(secret)
}

/// Rows in groups; there are a few more than ξ.
fn groups(rows: &[u128]) -> impl Iterator<Item = &[u128; GROUP]> {
    rows.as_chunks().0.iter()
}

impl Binding {
    pub(super) fn run<C: Curve>(&self, label: Label, ssid_full: &[u8; 32]) -> Transcript {
        self.transcript::<C>(label).bytes("ssid_full", ssid_full)
    }

    pub(super) fn pads<C: Curve>(&self, ssid_full: &[u8; 32]) -> Pads {
        Pads::new(&self.run::<C>(Label::PadKey, ssid_full))
    }

    /// θ_1, θ_2.
    pub(super) fn theta<C: Curve>(&self, ssid_full: &[u8; 32], matrix: &[u8]) -> [C::Scalar; INPUTS] {
        let transcript = self
            .run::<C>(Label::VoleChallenge, ssid_full)
            .count("rows", choice_bits::<C>())
            .count("columns", COLUMNS)
            .bytes("matrix", matrix);
        std::array::from_fn(|i| transcript.clone().number("index", i as u64 + 1).challenge::<C>())
    }

    /// μ, over the list of the rows' check values.
    pub(super) fn check_hash<C: Curve>(&self, ssid_full: &[u8; 32], list: &[u8]) -> [u8; 32] {
        self.run::<C>(Label::VoleCheck, ssid_full)
            .count("rows", choice_bits::<C>())
            .bytes("values", list)
            .digest()
    }
}

/// All ones if β_j is 1, else zero.
fn choice_mask(choices: &Choices, j: usize) -> u64 {
    mask128(bit128(choices[j / 128], j % 128)) as u64
}

fn matrix_len<C: Curve>() -> usize {
    choice_bits::<C>() * COLUMNS * C::SCALAR_BYTES
}

impl<C: Curve> BorshSerialize for VoleMessage<C> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(&self.matrix)?;
        self.eta.serialize(writer)?;
        self.mu.serialize(writer)
    }
}

impl<C: Curve> BorshDeserialize for VoleMessage<C> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let mut matrix = vec![0; matrix_len::<C>()];
        reader.read_exact(&mut matrix)?;
        if !with_limbs!(C, N, V, A => all_canonical::<C, N, V>(&matrix)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "scalar is not below the group order"));
        }
        let eta = CanonicalScalar::deserialize_reader(reader)?;
        let mu = <[u8; 32]>::deserialize_reader(reader)?;
        Ok(VoleMessage { matrix, eta, mu })
    }
}

fn all_canonical<C: Curve, const N: usize, const V: usize>(matrix: &[u8]) -> bool {
    let constants = constants::<C, N, V>();
    matrix.chunks_exact(C::SCALAR_BYTES).all(|bytes| constants.is_canonical_vartime(bytes))
}

impl<C: Curve> fmt::Debug for VoleMessage<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoleMessage").finish_non_exhaustive()
    }
}
