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
use super::gadget::{Constants, choice_bits, constants};
use super::limbs::{
    accumulate, add_masked, difference, limbs_from_bytes, limbs_to_bytes, scalar_from_limbs, scalar_to_limbs,
};
use super::pads::{COLUMNS, GROUP, Pads, RowPads};
use super::pair::Judged;
use super::{CheckFailed, bit128, mask128};
use crate::curve::{CanonicalScalar, Curve, CurveId};
use crate::secret::Secret;
use crate::transcript::{Label, Transcript};

/// Inputs of a multiplication, the spec's ℓ.
pub const INPUTS: usize = COLUMNS - 1;

/// A's message: ξ · 3 + 1 scalars and 32 bytes; 40,000 bytes on 256-bit curves.
///
/// Its encoding has no lengths: all of them follow from the curve.
pub struct VoleMessage<C: Curve> {
    /// ã row by row, each a canonical big-endian scalar; decoding has checked it.
    pub(super) matrix: Vec<u8>,
    pub(super) eta: CanonicalScalar<C>,
    pub(super) mu: [u8; 32],
}

/// Calls a function generic over limb counts with those of the curve: N limbs of a scalar, V of a
/// pad with headroom, A = N + V of a product.
macro_rules! with_limbs {
    ($curve:ident, $function:ident($($argument:expr),*)) => {
        match $curve::ID {
            CurveId::Secp256k1 | CurveId::P256 => $function::<$curve, 4, 7, 11>($($argument),*),
            CurveId::P384 => $function::<$curve, 6, 9, 15>($($argument),*),
            CurveId::P521 => $function::<$curve, 9, 11, 20>($($argument),*),
        }
    };
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
        with_limbs!(C, send(self, ssid_full, inputs, check_input))
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
        with_limbs!(C, receive(&self, ssid_full, message))
    }
}

/// b = Σ g_j·β_j.
pub(super) fn chosen_sum<C: Curve>(choices: &Choices) -> Secret<C::Scalar> {
    with_limbs!(C, chosen_sum_limbs(choices))
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
fn send<C: Curve, const N: usize, const V: usize, const A: usize>(
    extension: &SenderExtension<C>,
    ssid_full: &[u8; 32],
    inputs: [&C::Scalar; INPUTS],
    check_input: &Secret<C::Scalar>,
) -> (Secret<[C::Scalar; INPUTS]>, VoleMessage<C>) {
    let constants = constants::<C, N, V>();
    let modulus = &constants.modulus;
    let pads = extension.binding.pads::<C>(ssid_full);
    let offsets = Zeroizing::new([
        constants.offset(inputs[0]),
        constants.offset(inputs[1]),
        constants.offset(check_input.expose()),
    ]);
    let delta = *extension.delta.expose();
    let rows = &extension.rows.0.as_flattened()[..choice_bits::<C>()];

    let mut zeros = WipedRows(vec![[[0; V]; COLUMNS]; choice_bits::<C>()]);
    let mut group_0 = Zeroizing::new([[[0; V]; COLUMNS]; GROUP]);
    let mut group_1 = Zeroizing::new([[[0; V]; COLUMNS]; GROUP]);
    let mut sums = Zeroizing::new([[0u64; A]; INPUTS]);
    let mut matrix = vec![0; matrix_len::<C>()];
    let mut entries = matrix.chunks_exact_mut(C::SCALAR_BYTES);
    for (group, gadget) in constants.gadget.chunks(GROUP).enumerate() {
        let first = group * GROUP;
        let here = &rows[first..first + gadget.len()];
        let mut flipped = [0; GROUP];
        for (flipped, row) in flipped.iter_mut().zip(here) {
            *flipped = row ^ delta;
        }
        pads.fill::<C, V>(here, first, &mut group_0);
        pads.fill::<C, V>(&flipped, first, &mut group_1);
        flipped.zeroize();
        for (j, g) in gadget.iter().enumerate() {
            for i in 0..COLUMNS {
                // Step 5.3.2: ã_{j,i} = α⁰ - α¹ + a_i, with a multiple of q that keeps it positive.
                let mut entry = difference(&offsets[i], &group_1[j][i]);
                add_masked(&mut entry, &group_0[j][i], u64::MAX);
                let entry = modulus.reduce_pad(&entry);
                limbs_to_bytes(&entry, entries.next().expect("the matrix has ξ rows of three"));
            }
            // Step 5.3.6: c_i = -Σ g_j·α⁰_{j,i}.
            for (sum, pad) in sums.iter_mut().zip(&group_0[j]) {
                accumulate(sum, g, pad);
            }
            zeros.0[first + j] = group_0[j];
        }
    }
    let mut c = [C::Scalar::default(); INPUTS];
    for (c, sum) in c.iter_mut().zip(sums.iter()) {
        *c = -scalar_from_limbs::<C, N>(&modulus.reduce::<A>(*sum));
    }

    // Steps 5.3.3 and 5.3.4.
    let theta = extension.binding.theta::<C>(ssid_full, &matrix);
    let eta = *check_input.expose() + theta[0] * inputs[0] + theta[1] * inputs[1];
    // Step 5.3.5.
    let coefficients = theta.map(|theta| scalar_to_limbs::<C, N>(&(theta * constants.s)));
    let mut list = Zeroizing::new(vec![0; choice_bits::<C>() * C::SCALAR_BYTES]);
    for (pads, entry) in zeros.0.iter().zip(list.chunks_exact_mut(C::SCALAR_BYTES)) {
        let mut sum = [0; A];
        for (pad, coefficient) in pads.iter().zip(&coefficients) {
            accumulate(&mut sum, coefficient, pad);
        }
        let value = modulus.add(modulus.reduce::<A>(sum), &modulus.reduce_pad(&pads[INPUTS]));
        limbs_to_bytes(&value, entry);
    }
    let mu = extension.binding.check_hash::<C>(ssid_full, &list);
    let secret = Secret::new(c);
    c.zeroize();
    (secret, VoleMessage { matrix, eta: CanonicalScalar::new(eta), mu })
}

/// B's part, steps 5.4.1 to 5.4.3 with check C5.
fn receive<C: Curve, const N: usize, const V: usize, const A: usize>(
    extension: &ReceiverExtension<C>,
    ssid_full: &[u8; 32],
    message: &VoleMessage<C>,
) -> Result<Secret<[C::Scalar; INPUTS]>, CheckFailed> {
    let constants = constants::<C, N, V>();
    let modulus = &constants.modulus;
    let pads = extension.binding.pads::<C>(ssid_full);
    let theta = extension.binding.theta::<C>(ssid_full, &message.matrix);
    let coefficients = theta.map(|theta| scalar_to_limbs::<C, N>(&(theta * constants.s)));
    let minus_eta = scalar_to_limbs::<C, N>(&(-*message.eta.scalar() * constants.s));
    let choices = extension.choices.expose();
    let rows = &extension.rows.0.as_flattened()[..choice_bits::<C>()];

    let mut group_pads = Zeroizing::new([[[0; V]; COLUMNS]; GROUP]);
    let mut sums = Zeroizing::new([[0u64; A]; INPUTS]);
    let mut list = Zeroizing::new(vec![0; choice_bits::<C>() * C::SCALAR_BYTES]);
    let mut matrix = message.matrix.chunks_exact(COLUMNS * C::SCALAR_BYTES);
    let mut entries = list.chunks_exact_mut(C::SCALAR_BYTES);
    for (group, gadget) in constants.gadget.chunks(GROUP).enumerate() {
        let first = group * GROUP;
        pads.fill::<C, V>(&rows[first..first + gadget.len()], first, &mut group_pads);
        let lines = matrix.by_ref().zip(entries.by_ref());
        for ((j, g), (line, entry)) in gadget.iter().enumerate().zip(lines) {
            let mask = choice_mask(choices, first + j);
            let row = &mut group_pads[j];
            // Step 5.4.1: ḋ_{j,i} = γ_{j,i} + β_j·ã_{j,i}.
            for (pad, bytes) in row.iter_mut().zip(line.chunks_exact(C::SCALAR_BYTES)) {
                add_masked(pad, &limbs_from_bytes::<N>(bytes), mask);
            }
            // Step 5.4.2: ḋ_{j,3} + Σ θ_i·ḋ_{j,i} - β_j·η.
            let mut check = [0; A];
            for (pad, coefficient) in row.iter().zip(&coefficients) {
                accumulate(&mut check, coefficient, pad);
            }
            add_masked(&mut check, &minus_eta, mask);
            let check = modulus.add(modulus.reduce::<A>(check), &modulus.reduce_pad(&row[INPUTS]));
            limbs_to_bytes(&check, entry);
            // Step 5.4.3: d_i = Σ g_j·ḋ_{j,i}.
            for (sum, pad) in sums.iter_mut().zip(row.iter()) {
                accumulate(sum, g, pad);
            }
        }
    }
    // Check C5.
    if !bool::from(extension.binding.check_hash::<C>(ssid_full, &list).ct_eq(&message.mu)) {
        return Err(CheckFailed);
    }
    let mut d = [C::Scalar::default(); INPUTS];
    for (d, sum) in d.iter_mut().zip(sums.iter()) {
        *d = scalar_from_limbs::<C, N>(&modulus.reduce::<A>(*sum));
    }
    let secret = Secret::new(d);
    d.zeroize();
    Ok(secret)
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

impl<C: Curve, const N: usize, const V: usize> Constants<C, N, V> {
    /// input + K·q: what keeps a difference of pads positive.
    fn offset(&self, input: &C::Scalar) -> [u64; V] {
        let mut offset = self.above_pads;
        add_masked(&mut offset, &scalar_to_limbs::<C, N>(input), u64::MAX);
        offset
    }
}

/// All ones if β_j is 1, else zero.
fn choice_mask(choices: &Choices, j: usize) -> u64 {
    mask128(bit128(choices[j / 128], j % 128)) as u64
}

fn matrix_len<C: Curve>() -> usize {
    choice_bits::<C>() * COLUMNS * C::SCALAR_BYTES
}

/// Pads of all rows, wiped on drop word by word.
struct WipedRows<const V: usize>(Vec<RowPads<V>>);

impl<const V: usize> Drop for WipedRows<V> {
    fn drop(&mut self) {
        self.0.as_flattened_mut().as_flattened_mut().zeroize();
    }
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
        if !with_limbs!(C, all_canonical(&matrix)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "scalar is not below the group order"));
        }
        let eta = CanonicalScalar::deserialize_reader(reader)?;
        let mu = <[u8; 32]>::deserialize_reader(reader)?;
        Ok(VoleMessage { matrix, eta, mu })
    }
}

fn all_canonical<C: Curve, const N: usize, const V: usize, const A: usize>(matrix: &[u8]) -> bool {
    let constants = constants::<C, N, V>();
    matrix.chunks_exact(C::SCALAR_BYTES).all(|bytes| constants.is_canonical_vartime(bytes))
}

impl<C: Curve> fmt::Debug for VoleMessage<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoleMessage").finish_non_exhaustive()
    }
}
