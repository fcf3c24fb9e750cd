//! OT extension: SoftSpokenOT with k = 2 (Roy, eprint 2022/192, figures 8 and 10) and its
//! consistency check, one instance of ξ OTs with 128 more for the check (`docs/spec/ot.md` 4).
//!
//! B sends one message. A looks at nothing that comes from it before check C2 has passed: a
//! [`SenderExtension`] exists only after the check (rule S-53), and the check is only possible
//! inside [`PairState::judge`] (rule S-41).

use std::fmt;
use std::io;
use std::marker::PhantomData;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::bits::{BitBlock, BitMatrix};
use super::gadget::choice_bits;
use super::gf128::{Gf128, fold_vartime_in_challenges};
use super::pair::Judged;
use super::{CHUNKS, CheckFailed, LEAVES, Leaves, PairState, Seed, TREE_DEPTH, bit128, mask128};
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

/// B's message: 6,448 bytes on 256-bit curves.
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
    clear_padding::<P>(choices.expose_mut());
    let start = binding.prg_start::<P>();
    let check_block = check_block::<P>();
    // Step 4.3.2 and 4.3.3.
    let mut rows = BitMatrix::zero(check_block + 1);
    let mut corrections = Vec::with_capacity(corrections_len::<P>());
    for (chunk, leaves) in leaves.iter().enumerate() {
        let mut strings = leaves.map(|leaf| expand::<P>(&leaf, start));
        for block in 0..=check_block {
            let sum = strings.iter().fold(choices.expose()[block], |sum, string| sum ^ string[block]);
            append_block::<P>(&mut corrections, block, sum);
            for i in 0..TREE_DEPTH {
                rows.0[block][chunk * TREE_DEPTH + i] = strings
                    .iter()
                    .enumerate()
                    .filter(|(x, _)| (x >> i) & 1 == 1)
                    .fold(0, |sum, (_, string)| sum ^ string[block]);
            }
        }
        strings.as_flattened_mut().zeroize();
    }
    // Step 4.3.4.
    rows.transpose();
    let challenges = binding.challenges::<P>(&corrections);
    let folded_choices = challenges
        .iter()
        .zip(choices.expose())
        .fold(Gf128(choices.expose()[check_block]), |sum, (challenge, block)| {
            sum.add(challenge.mul(Gf128(*block)))
        });
    let folded_columns = Box::new(fold(&challenges, &rows));
    let message = ExtensionMessage {
        nonce: binding.nonce,
        corrections,
        folded_choices: folded_choices.0,
        folded_columns,
        purpose: PhantomData,
    };
    (choices, rows, message)
}

/// A's part, steps 4.4.1 and 4.4.2: rows q_j, if the check of the columns passes.
pub(super) fn send<P: Purpose>(
    delta: u128,
    leaves: &Leaves,
    binding: &Binding,
    message: &ExtensionMessage<P>,
) -> Result<BitMatrix, CheckFailed> {
    let start = binding.prg_start::<P>();
    let check_block = check_block::<P>();
    // Step 4.4.1: column a = chunk·k + i; the string of leaf x counts where bit i of x ⊕ Δ_c is
    // 1, which excludes the unknown leaf x = Δ_c by itself.
    let mut rows = BitMatrix::zero(check_block + 1);
    let corrections = message.corrections.chunks_exact(P::CHOICE_BITS / 8 + 16);
    for (chunk, (leaves, correction)) in leaves.iter().zip(corrections).enumerate() {
        let mut strings = leaves.map(|leaf| expand::<P>(&leaf, start));
        let delta_masks: [u128; TREE_DEPTH] =
            std::array::from_fn(|i| mask128(bit128(delta, chunk * TREE_DEPTH + i)));
        for block in 0..=check_block {
            let correction = read_block::<P>(correction, block);
            for (i, delta_mask) in delta_masks.iter().enumerate() {
                let mut sum = delta_mask & correction;
                for (x, string) in strings.iter().enumerate() {
                    // Numbers of leaves are public, bits of Δ are not.
                    let x_mask = if (x >> i) & 1 == 1 { u128::MAX } else { 0 };
                    sum ^= (x_mask ^ delta_mask) & string[block];
                }
                rows.0[block][chunk * TREE_DEPTH + i] = sum;
            }
        }
        strings.as_flattened_mut().zeroize();
    }
    // Step 4.4.2, checks C2 and N4: R(w_a) = t̃_a + Δ_a·x̃ for all columns a at once.
    rows.transpose();
    let challenges = binding.challenges::<P>(&message.corrections);
    let folded = fold(&challenges, &rows);
    let mut wrong = 0u128;
    for (m, (mine, theirs)) in folded.iter().zip(message.folded_columns.iter()).enumerate() {
        wrong |= mine ^ theirs ^ (mask128(bit128(message.folded_choices, m)) & delta);
    }
    if bool::from(wrong.ct_eq(&0)) { Ok(rows) } else { Err(CheckFailed) }
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

    /// χ_b, one for each block of choice bits.
    pub(super) fn challenges<P: Purpose>(&self, corrections: &[u8]) -> Vec<Gf128> {
        self.challenges_of::<P>(corrections, check_block::<P>())
    }

    /// χ_b of a batch with so many blocks of choice bits.
    pub(super) fn challenges_of<P: Purpose>(&self, corrections: &[u8], blocks: usize) -> Vec<Gf128> {
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

const fn corrections_len<P: Purpose>() -> usize {
    CHUNKS * (P::CHOICE_BITS / 8 + 16)
}

/// Bits of the last block of choice bits that are not choice bits become zero.
pub(super) fn clear_padding<P: Purpose>(blocks: &mut Choices) {
    let padding = 128 * check_block::<P>() - P::CHOICE_BITS;
    blocks[check_block::<P>() - 1] &= u128::MAX >> padding;
}

/// PRG(leaf): AES-128 under the leaf in counter mode.
fn expand<P: Purpose>(leaf: &Seed, start: u128) -> Choices {
    let mut stream = [Block::default(); MAX_BLOCKS];
    let blocks = check_block::<P>() + 1;
    for (counter, block) in stream.iter_mut().enumerate() {
        *block = (start ^ counter as u128).to_le_bytes().into();
    }
    Aes128Enc::new(&(*leaf).into()).encrypt_blocks(&mut stream[..blocks]);
    let mut string = stream.map(|block| u128::from_le_bytes(block.into()));
    clear_padding::<P>(&mut string);
    string
}

/// Step 4.3.4: R of all columns, from the matrix by rows.
pub(super) fn fold(challenges: &[Gf128], rows: &BitMatrix) -> BitBlock {
    let (masks, blocks) = rows.0.split_last().expect("a matrix has the check's block");
    let mut folded = fold_vartime_in_challenges(challenges, blocks);
    for (sum, mask) in folded.iter_mut().zip(masks) {
        *sum ^= *mask;
    }
    folded
}

pub(super) fn append_block<P: Purpose>(bytes: &mut Vec<u8>, block: usize, value: u128) {
    bytes.extend_from_slice(&value.to_le_bytes()[..block_len::<P>(block)]);
}

pub(super) fn read_block<P: Purpose>(bytes: &[u8], block: usize) -> u128 {
    let start = if block == check_block::<P>() { P::CHOICE_BITS / 8 } else { 16 * block };
    let mut value = [0; 16];
    let part = &mut value[..block_len::<P>(block)];
    part.copy_from_slice(&bytes[start..start + part.len()]);
    u128::from_le_bytes(value)
}

/// Bytes of a block that are sent.
fn block_len<P: Purpose>(block: usize) -> usize {
    if block == check_block::<P>() { 16 } else { (P::CHOICE_BITS / 8 - 16 * block).min(16) }
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
        let mut corrections = vec![0; corrections_len::<P>()];
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

const _: () = assert!(LEAVES == 1 << TREE_DEPTH);
