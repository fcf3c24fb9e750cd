//! OT extension: SoftSpokenOT with k = 4 (Roy, eprint 2022/192, figures 8 and 10) and its
//! consistency check, one instance of ξ OTs with 128 more for the check (`docs/spec/ot.md` 4).
//!
//! B sends one message. A looks at nothing that comes from it before check C2 has passed: a
//! [`SenderExtension`] exists only after the check (rule S-53), and the check is only possible
//! inside [`PairState::judge`] (rule S-41).

use std::fmt;
use std::io;
use std::marker::PhantomData;

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::bits::{BitBlock, BitMatrix, transpose};
use super::columns::{self, Shape};
use super::gadget::choice_bits;
use super::gf128::{self, Gf128};
use super::pair::Judged;
use super::{CheckFailed, Leaves, PairState, TREE_DEPTH, bit128, mask128};
use crate::curve::Curve;
use crate::secret::Secret;
use crate::transcript::{Label, Transcript};

/// Which run an extension belongs to, and its direction.
#[derive(Clone, Copy, Debug)]
pub struct ExtensionContext<'a> {
    /// Session identifier of the run, agreed before round 1.
    pub ssid: &'a [u8; 32],
    /// Index of A, who checks the extension and multiplies.
    pub sender: u16,
    /// Index of B, who makes the extension.
    pub receiver: u16,
}

/// What an extension is made for: a multiplication on a curve, or the base OTs of a pair's second
/// direction.
pub trait Purpose {
    /// ξ: OTs of one extension.
    const CHOICE_BITS: usize;
    /// Part of every hash of the extension.
    const NAME: &'static str;
}

impl<C: Curve> Purpose for C {
    const CHOICE_BITS: usize = choice_bits::<C>();
    const NAME: &'static str = C::ID.name();
}

/// B's message: 4,272 bytes on 256-bit curves.
///
/// Its encoding has no lengths: all of them follow from the purpose.
pub struct ExtensionMessage<P: Purpose> {
    pub(super) nonce: [u8; 32],
    /// u: per tree, ξ bits and then 128 bits for the check.
    pub(super) corrections: Vec<u8>,
    /// x̃.
    pub(super) folded_choices: u128,
    /// t̃: word m holds coefficient m of the 128 columns' folds.
    pub(super) folded_columns: Box<BitBlock>,
    purpose: PhantomData<P>,
}

/// B's side: choice bits β, rows t_j, and b. One use; wiped on drop.
pub struct ReceiverExtension<C: Curve> {
    pub(super) binding: Binding,
    pub(super) choices: Secret<Choices>,
    pub(super) rows: BitMatrix,
    pub(super) chi: Secret<C::Scalar>,
}

/// A's side after check C2: rows q_j = t_j ⊕ β_j·Δ. One use; wiped on drop.
pub struct SenderExtension<C: Curve> {
    pub(super) binding: Binding,
    pub(super) delta: Secret<u128>,
    pub(super) rows: BitMatrix,
    curve: PhantomData<C>,
}

impl<C: Curve> ReceiverExtension<C> {
    /// Draws the choice bits, and with them b ([`chi`](Self::chi)), and makes B's message.
    pub fn new(
        pair: &PairState,
        context: &ExtensionContext<'_>,
        rng: &mut dyn CryptoRng,
    ) -> (Self, ExtensionMessage<C>) {
        pair.count_extension();
        // Step 4.3.1.
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let mut choices = Secret::new([0; MAX_BLOCKS]);
        for word in &mut choices.expose_mut()[..=check_block::<C>()] {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            *word = u128::from_le_bytes(bytes);
            bytes.zeroize();
        }
        Self::with_choices(pair, context, nonce, choices)
    }

    pub(super) fn with_choices(
        pair: &PairState,
        context: &ExtensionContext<'_>,
        nonce: [u8; 32],
        choices: Secret<Choices>,
    ) -> (Self, ExtensionMessage<C>) {
        let binding = Binding::new(pair.id(), context, nonce);
        let (choices, rows, message) = receive(&pair.receiver().leaves, &binding, choices);
        let chi = super::vole::chosen_sum::<C>(choices.expose());
        (ReceiverExtension { binding, choices, rows, chi }, message)
    }

    /// The message of a B that cheats: in tree `tree` one choice bit is another than in all others, and
    /// the check values are those that A expects if its bits of Δ in this tree are `guess`. For tests
    /// that cheat.
    #[doc(hidden)]
    pub fn guess(
        pair: &PairState,
        context: &ExtensionContext<'_>,
        tree: usize,
        guess: u128,
        rng: &mut dyn CryptoRng,
    ) -> ExtensionMessage<C> {
        let (b, mut message) = Self::new(pair, context, rng);
        message.corrections[tree * Shape::new::<C>(1).column_bytes()] ^= 1;
        let choices = &b.choices.expose()[..=check_block::<C>()];
        let mut columns = BitMatrix(b.rows.0.clone());
        columns.transpose();
        let (folded, mut folds) = b.binding.folds::<C>(&message.corrections, choices, &columns);
        // The one bit is the first of the first block, so that it weighs as much as the first challenge.
        let challenges = b.binding.challenges::<C>(&message.corrections, check_block::<C>());
        let error = challenges.first().expect("every curve has choice bits");
        for (m, word) in folds.iter_mut().enumerate() {
            *word ^= mask128(bit128(error.0, m)) & (guess << (tree * TREE_DEPTH));
        }
        (message.folded_choices, message.folded_columns) = (folded, folds);
        message
    }

    /// One part of a batch: its choice bits and rows.
    pub(super) fn part(binding: Binding, chosen: &[u128], rows: BitMatrix) -> Self {
        let mut choices = Secret::new([0; MAX_BLOCKS]);
        choices.expose_mut()[..chosen.len()].copy_from_slice(chosen);
        let chi = super::vole::chosen_sum::<C>(choices.expose());
        ReceiverExtension { binding, choices, rows, chi }
    }

    /// b = Σ g_j·β_j, the spec's χ of this pair: uniform, and the factor of the multiplication.
    pub fn chi(&self) -> &Secret<C::Scalar> {
        &self.chi
    }
}

impl<C: Curve> SenderExtension<C> {
    /// One part of a batch whose check has passed.
    pub(super) fn part(binding: Binding, delta: u128, rows: BitMatrix) -> Self {
        SenderExtension { binding, delta: Secret::new(delta), rows, curve: PhantomData }
    }

    /// Check C2 on B's message.
    ///
    /// # Errors
    ///
    /// [`CheckFailed`]: class S, it depends on Δ.
    pub fn check(
        judged: &Judged<'_>,
        context: &ExtensionContext<'_>,
        message: &ExtensionMessage<C>,
    ) -> Result<Self, CheckFailed> {
        judged.pair.count_extension();
        let binding = Binding::new(judged.pair.id(), context, message.nonce);
        let delta = *judged.sender.delta.expose();
        let rows = send(delta, &judged.sender.leaves, &binding, message)?;
        Ok(SenderExtension { binding, delta: Secret::new(delta), rows, curve: PhantomData })
    }
}

/// B's part, steps 4.3.2 to 4.3.5: choice bits with their padding cleared, rows t_j, and the message.
pub(super) fn receive<P: Purpose>(
    leaves: &Leaves,
    binding: &Binding,
    mut choices: Secret<Choices>,
) -> (Secret<Choices>, BitMatrix, ExtensionMessage<P>) {
    let shape = Shape::new::<P>(1);
    shape.clear_padding(choices.expose_mut());
    let start = binding.prg_start::<P>();
    let (corrections, mut matrix) = columns::receive(shape, leaves, start, choices.expose());
    let column = &choices.expose()[..=shape.check_block()];
    let (folded_choices, folded_columns) = binding.folds::<P>(&corrections, column, &matrix);
    matrix.transpose();
    let message = ExtensionMessage {
        nonce: binding.nonce,
        corrections,
        folded_choices,
        folded_columns,
        purpose: PhantomData,
    };
    (choices, matrix, message)
}

/// A's part, steps 4.4.1 and 4.4.2: rows q_j, if the check of the columns passes.
pub(super) fn send<P: Purpose>(
    delta: u128,
    leaves: &Leaves,
    binding: &Binding,
    message: &ExtensionMessage<P>,
) -> Result<BitMatrix, CheckFailed> {
    let start = binding.prg_start::<P>();
    let mut matrix = columns::send(Shape::new::<P>(1), delta, leaves, start, &message.corrections);
    let folds = (message.folded_choices, &*message.folded_columns);
    binding.check::<P>(delta, &message.corrections, folds, &matrix)?;
    matrix.transpose();
    Ok(matrix)
}

/// What every hash of an extension is bound to.
#[derive(Clone)]
pub(super) struct Binding {
    pub(super) pair: [u8; 32],
    ssid: [u8; 32],
    sender: u16,
    receiver: u16,
    nonce: [u8; 32],
}

impl Binding {
    pub(super) fn new(pair: [u8; 32], context: &ExtensionContext<'_>, nonce: [u8; 32]) -> Self {
        Binding { pair, ssid: *context.ssid, sender: context.sender, receiver: context.receiver, nonce }
    }

    pub(super) fn transcript<P: Purpose>(&self, label: Label) -> Transcript {
        Transcript::new(label)
            .bytes("curve", P::NAME.as_bytes())
            .bytes("pair", &self.pair)
            .bytes("ssid", &self.ssid)
            .number("sender", u64::from(self.sender))
            .number("receiver", u64::from(self.receiver))
            .bytes("nonce", &self.nonce)
    }

    /// Where the leaves' AES-CTR streams start in this extension.
    pub(super) fn prg_start<P: Purpose>(&self) -> u128 {
        let mut start = [0; 16];
        self.transcript::<P>(Label::ExtensionPrg).fill(&mut start);
        u128::from_le_bytes(start)
    }

    /// Step 4.3.4: x̃ and t̃, from the matrix by columns. The last block of `choices` is the check's.
    pub(super) fn folds<P: Purpose>(
        &self,
        corrections: &[u8],
        choices: &[u128],
        columns: &BitMatrix,
    ) -> (u128, Box<BitBlock>) {
        let (check, chosen) = choices.split_last().expect("the check has a block");
        let challenges = self.challenges::<P>(corrections, chosen.len());
        let folded_choices = challenges
            .iter()
            .zip(chosen)
            .fold(Gf128(*check), |sum, (challenge, block)| sum.add(challenge.mul(Gf128(*block))));
        (folded_choices.0, Box::new(fold(&challenges, columns)))
    }

    /// Checks C2 and N4: R(w_a) = t̃_a + Δ_a·x̃ for all columns a at once.
    pub(super) fn check<P: Purpose>(
        &self,
        delta: u128,
        corrections: &[u8],
        (folded_choices, folded_columns): (u128, &BitBlock),
        columns: &BitMatrix,
    ) -> Result<(), CheckFailed> {
        let challenges = self.challenges::<P>(corrections, columns.0.len() - 1);
        let folded = fold(&challenges, columns);
        let mut wrong = 0u128;
        for (m, (mine, theirs)) in folded.iter().zip(folded_columns).enumerate() {
            wrong |= mine ^ theirs ^ (mask128(bit128(folded_choices, m)) & delta);
        }
        if bool::from(wrong.ct_eq(&0)) { Ok(()) } else { Err(CheckFailed) }
    }

    /// χ_b, one for each block of choice bits.
    pub(super) fn challenges<P: Purpose>(&self, corrections: &[u8], blocks: usize) -> Vec<Gf128> {
        let mut stream =
            self.transcript::<P>(Label::ExtensionCheck).bytes("corrections", corrections).stream();
        (0..blocks)
            .map(|_| {
                let mut bytes = [0; 16];
                stream.fill(&mut bytes);
                Gf128(u128::from_le_bytes(bytes))
            })
            .collect()
    }
}

/// A column of the extension in blocks of 128 bits: ξ choice bits, zeros, and from block
/// [`check_block`] on 128 bits for the check.
pub(super) type Choices = [u128; MAX_BLOCKS];

/// P-521: 688 choice bits in 6 blocks, and one for the check.
pub(super) const MAX_BLOCKS: usize = 7;

/// Number of the block that belongs to the check, which is the number of blocks before it.
pub(super) const fn check_block<P: Purpose>() -> usize {
    P::CHOICE_BITS.div_ceil(128)
}

/// Step 4.3.4: R of all columns, from the matrix by columns; word m of the result holds coefficient m of
/// each.
fn fold(challenges: &[Gf128], columns: &BitMatrix) -> BitBlock {
    let (masks, blocks) = columns.0.split_last().expect("a matrix has the check's block");
    let mut folded = gf128::fold(challenges, blocks);
    for (sum, mask) in folded.iter_mut().zip(masks) {
        *sum ^= *mask;
    }
    transpose(&mut folded);
    folded
}

impl<P: Purpose> BorshSerialize for ExtensionMessage<P> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(&self.nonce)?;
        writer.write_all(&self.corrections)?;
        self.folded_choices.serialize(writer)?;
        self.folded_columns.serialize(writer)
    }
}

impl<P: Purpose> BorshDeserialize for ExtensionMessage<P> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let nonce = <[u8; 32]>::deserialize_reader(reader)?;
        let mut corrections = vec![0; Shape::new::<P>(1).corrections_bytes()];
        reader.read_exact(&mut corrections)?;
        let folded_choices = u128::deserialize_reader(reader)?;
        let folded_columns = Box::new(BitBlock::deserialize_reader(reader)?);
        Ok(ExtensionMessage { nonce, corrections, folded_choices, folded_columns, purpose: PhantomData })
    }
}

impl<P: Purpose> fmt::Debug for ExtensionMessage<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtensionMessage").finish_non_exhaustive()
    }
}

impl<C: Curve> fmt::Debug for ReceiverExtension<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverExtension").finish_non_exhaustive()
    }
}

impl<C: Curve> fmt::Debug for SenderExtension<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderExtension").finish_non_exhaustive()
    }
}
