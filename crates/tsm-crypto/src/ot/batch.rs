//! One OT extension for many multiplications, with one check (`docs/spec/ot.md` 4.6).
//!
//! The columns of a batch are those of its parts one behind the other, and the check's at the end.
//! What comes out are extensions like any other, one for each part.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::bits::{BitBlock, BitMatrix};
use super::extension::{
    Binding, Choices, ExtensionContext, MAX_BLOCKS, ReceiverExtension, SenderExtension, append_block,
    check_block, clear_padding, fold, read_block,
};
use super::gadget::choice_bits;
use super::gf128::Gf128;
use super::pair::Judged;
use super::{CHUNKS, CheckFailed, LEAVES, PairState, Seed, TREE_DEPTH, bit128, mask128};
use crate::curve::Curve;
use crate::secret::Secret;

/// Most multiplications of one batch: its answer on P-521 takes 14 MB.
pub const MAX_BATCH: u16 = 100;

/// B's message for a whole batch: 3,328 bytes for each multiplication on 256-bit curves, and 3,122.
///
/// Its encoding has one length, the number of multiplications.
pub struct BatchMessage<C: Curve> {
    count: u16,
    nonce: [u8; 32],
    /// u: per tree, ξ bits for each part and then 128 bits for the check.
    corrections: Vec<u8>,
    /// x̃.
    folded_choices: u128,
    /// t̃: word m holds coefficient m of the 128 columns' folds.
    folded_columns: Box<BitBlock>,
    curve: PhantomData<C>,
}

impl<C: Curve> BatchMessage<C> {
    /// Number of multiplications.
    pub fn count(&self) -> u16 {
        self.count
    }
}

/// B's side: draws the choice bits of `count` multiplications, 1 to [`MAX_BATCH`], and makes B's
/// message.
///
/// # Panics
///
/// If `count` is out of range, which is a mistake of the protocol's author.
pub fn receive<C: Curve>(
    pair: &PairState,
    context: &ExtensionContext<'_>,
    count: u16,
    rng: &mut dyn CryptoRng,
) -> (Vec<ReceiverExtension<C>>, BatchMessage<C>) {
    assert!((1..=MAX_BATCH).contains(&count), "a batch has 1 to {MAX_BATCH} multiplications");
    (0..count).for_each(|_| pair.count_extension());
    // Step 4.3.1, for all parts.
    let mut nonce = [0; 32];
    rng.fill_bytes(&mut nonce);
    let mut choices = Secret::new(vec![0u128; blocks::<C>(count) + 1]);
    for word in choices.expose_mut() {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        *word = u128::from_le_bytes(bytes);
        bytes.zeroize();
    }
    receive_with(pair, context, count, nonce, choices)
}

pub(super) fn receive_with<C: Curve>(
    pair: &PairState,
    context: &ExtensionContext<'_>,
    count: u16,
    nonce: [u8; 32],
    mut choices: Secret<Vec<u128>>,
) -> (Vec<ReceiverExtension<C>>, BatchMessage<C>) {
    clear_paddings::<C>(choices.expose_mut());
    let binding = Binding::new(pair.id(), context, nonce);
    let start = binding.prg_start::<C>();
    let blocks = blocks::<C>(count);
    // Steps 4.3.2 and 4.3.3.
    let mut rows = BitMatrix::zero(blocks + 1);
    let mut corrections = Vec::with_capacity(corrections_len::<C>(count));
    for (chunk, leaves) in pair.receiver().leaves.iter().enumerate() {
        let strings = expand_all::<C>(leaves, start, blocks + 1);
        for (block, matrix) in rows.0.iter_mut().enumerate() {
            let here = strings.each_ref().map(|string| string[block]);
            let sum = here.iter().fold(choices.expose()[block], |sum, string| sum ^ string);
            append_block::<C>(&mut corrections, place_in_part::<C>(block, blocks), sum);
            for i in 0..TREE_DEPTH {
                matrix[chunk * TREE_DEPTH + i] = here
                    .iter()
                    .enumerate()
                    .filter(|(x, _)| (x >> i) & 1 == 1)
                    .fold(0, |sum, (_, string)| sum ^ string);
            }
        }
    }
    // Step 4.3.4, once.
    rows.transpose();
    let challenges = binding.challenges_of::<C>(&corrections, blocks);
    let (check, chosen) = choices.expose().split_last().expect("the check has a block");
    let folded_choices = challenges
        .iter()
        .zip(chosen)
        .fold(Gf128(*check), |sum, (challenge, block)| sum.add(challenge.mul(Gf128(*block))));
    let folded_columns = Box::new(fold(&challenges, &rows));
    let message = BatchMessage {
        count,
        nonce,
        corrections,
        folded_choices: folded_choices.0,
        folded_columns,
        curve: PhantomData,
    };
    let parts = chosen
        .chunks_exact(check_block::<C>())
        .zip(parts_of::<C>(&rows))
        .map(|(chosen, rows)| ReceiverExtension::part(binding.clone(), chosen, rows))
        .collect();
    (parts, message)
}

/// A's side: check C2 on B's message, once for all its multiplications.
///
/// # Errors
///
/// [`CheckFailed`]: class S, it depends on Δ.
pub fn check<C: Curve>(
    judged: &Judged<'_>,
    context: &ExtensionContext<'_>,
    message: &BatchMessage<C>,
) -> Result<Vec<SenderExtension<C>>, CheckFailed> {
    (0..message.count).for_each(|_| judged.pair.count_extension());
    let binding = Binding::new(judged.pair.id(), context, message.nonce);
    let start = binding.prg_start::<C>();
    let delta = *judged.sender.delta.expose();
    let blocks = blocks::<C>(message.count);
    // Step 4.4.1, as for a single extension.
    let mut rows = BitMatrix::zero(blocks + 1);
    let corrections = message.corrections.chunks_exact(column_len::<C>(message.count));
    for (chunk, (leaves, correction)) in judged.sender.leaves.iter().zip(corrections).enumerate() {
        let strings = expand_all::<C>(leaves, start, blocks + 1);
        let delta_masks: [u128; TREE_DEPTH] =
            std::array::from_fn(|i| mask128(bit128(delta, chunk * TREE_DEPTH + i)));
        for (block, matrix) in rows.0.iter_mut().enumerate() {
            let part = block / check_block::<C>();
            let correction = &correction[part * part_len::<C>()..];
            let correction = match block == blocks {
                true => u128::from_le_bytes(correction.try_into().expect("the check has 16 bytes")),
                false => read_block::<C>(correction, block % check_block::<C>()),
            };
            for (i, delta_mask) in delta_masks.iter().enumerate() {
                let mut sum = delta_mask & correction;
                for (x, string) in strings.iter().enumerate() {
                    // Numbers of leaves are public, bits of Δ are not.
                    let x_mask = if (x >> i) & 1 == 1 { u128::MAX } else { 0 };
                    sum ^= (x_mask ^ delta_mask) & string[block];
                }
                matrix[chunk * TREE_DEPTH + i] = sum;
            }
        }
    }
    // Check C2: R(w_a) = t̃_a + Δ_a·x̃ for all columns a at once.
    rows.transpose();
    let challenges = binding.challenges_of::<C>(&message.corrections, blocks);
    let folded = fold(&challenges, &rows);
    let mut wrong = 0u128;
    for (m, (mine, theirs)) in folded.iter().zip(message.folded_columns.iter()).enumerate() {
        wrong |= mine ^ theirs ^ (mask128(bit128(message.folded_choices, m)) & delta);
    }
    if bool::from(wrong.ct_eq(&0)) {
        let part = |rows| SenderExtension::part(binding.clone(), delta, rows);
        Ok(parts_of::<C>(&rows).map(part).collect())
    } else {
        Err(CheckFailed)
    }
}

/// Blocks of all parts' choice bits, without the check's.
fn blocks<C: Curve>(count: u16) -> usize {
    usize::from(count) * check_block::<C>()
}

/// Which block of its part a block is; the check's keeps the number that it has in a single extension.
fn place_in_part<C: Curve>(block: usize, blocks: usize) -> usize {
    if block == blocks { check_block::<C>() } else { block % check_block::<C>() }
}

/// Bytes of a part's choice bits on the wire.
fn part_len<C: Curve>() -> usize {
    choice_bits::<C>() / 8
}

fn column_len<C: Curve>(count: u16) -> usize {
    usize::from(count) * part_len::<C>() + 16
}

fn corrections_len<C: Curve>(count: u16) -> usize {
    CHUNKS * column_len::<C>(count)
}

/// The rows of each part. The check's are in none of them.
fn parts_of<C: Curve>(rows: &BitMatrix) -> impl Iterator<Item = BitMatrix> {
    rows.0.chunks_exact(check_block::<C>()).map(|part| BitMatrix(part.to_vec()))
}

/// Bits beyond the choice bits of a part become zero. The check's block has none.
fn clear_paddings<C: Curve>(column: &mut [u128]) {
    for part in column.chunks_exact_mut(check_block::<C>()) {
        let mut single: Choices = [0; MAX_BLOCKS];
        single[..part.len()].copy_from_slice(part);
        clear_padding::<C>(&mut single);
        part.copy_from_slice(&single[..part.len()]);
        single.zeroize();
    }
}

/// PRG(leaf) of all leaves of a tree: AES-128 under the leaf in counter mode.
fn expand_all<C: Curve>(leaves: &[Seed; LEAVES], start: u128, blocks: usize) -> Strings {
    leaves.map(|leaf| {
        let mut stream: Vec<Block> =
            (0..blocks).map(|counter| (start ^ counter as u128).to_le_bytes().into()).collect();
        Aes128Enc::new(&leaf.into()).encrypt_blocks(&mut stream);
        let mut string: Zeroizing<Vec<u128>> =
            Zeroizing::new(stream.iter().map(|block| u128::from_le_bytes((*block).into())).collect());
        stream.iter_mut().for_each(|block| block.zeroize());
        clear_paddings::<C>(&mut string);
        string
    })
}

type Strings = [Zeroizing<Vec<u128>>; LEAVES];

impl<C: Curve> BorshSerialize for BatchMessage<C> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.count.serialize(writer)?;
        writer.write_all(&self.nonce)?;
        writer.write_all(&self.corrections)?;
        self.folded_choices.serialize(writer)?;
        self.folded_columns.serialize(writer)
    }
}

impl<C: Curve> BorshDeserialize for BatchMessage<C> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let count = u16::deserialize_reader(reader)?;
        // Before anything is allocated for it.
        if !(1..=MAX_BATCH).contains(&count) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no batch has so many"));
        }
        let nonce = <[u8; 32]>::deserialize_reader(reader)?;
        let mut corrections = vec![0; corrections_len::<C>(count)];
        reader.read_exact(&mut corrections)?;
        let folded_choices = u128::deserialize_reader(reader)?;
        let folded_columns = Box::new(BitBlock::deserialize_reader(reader)?);
        Ok(BatchMessage { count, nonce, corrections, folded_choices, folded_columns, curve: PhantomData })
    }
}

impl<C: Curve> fmt::Debug for BatchMessage<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchMessage of {}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{P256, P384, P521, Secp256k1};
    use crate::hedged::test_rng;
    use crate::ot::tests::honest_pair;

    const CONTEXT: ExtensionContext<'static> = ExtensionContext { ssid: &[4; 32], sender: 2, receiver: 3 };

    fn random_column<C: Curve>(count: u16, seed: u64) -> Vec<u128> {
        use rand_core::Rng;
        let mut rng = test_rng(seed);
        let mut word = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        (0..=blocks::<C>(count)).map(|_| word()).collect()
    }

    fn accepts<C: Curve>(pair: &PairState, context: &ExtensionContext<'_>, bytes: &[u8]) -> bool {
        let message: BatchMessage<C> = borsh::from_slice(bytes).unwrap();
        pair.judge(|judged| Ok::<_, ()>(check(judged, context, &message).is_ok())).unwrap()
    }

    /// The code of single extensions, which the model checks, is the measure for a batch of one.
    fn a_batch_of_one_agrees<C: Curve>() {
        let (a_side, b_side) = honest_pair(1);
        let column = random_column::<C>(1, 7);
        let mut choices: Choices = [0; MAX_BLOCKS];
        choices[..column.len()].copy_from_slice(&column);
        let (single, expected) =
            ReceiverExtension::<C>::with_choices(&b_side, &CONTEXT, [9; 32], Secret::new(choices));
        let (parts, message) = receive_with::<C>(&b_side, &CONTEXT, 1, [9; 32], Secret::new(column));
        let bytes = borsh::to_vec(&message).unwrap();
        assert_eq!(bytes[..2], [1, 0]);
        assert_eq!(bytes[2..], borsh::to_vec(&expected).unwrap());
        assert_eq!(parts[0].chi().expose(), single.chi().expose());
        let rows = check_block::<C>();
        assert_eq!(parts[0].rows.0, single.rows.0[..rows]);
        let checked = a_side.judge(|judged| check(judged, &CONTEXT, &message)).unwrap();
        let single = a_side.judge(|judged| SenderExtension::check(judged, &CONTEXT, &expected)).unwrap();
        assert_eq!(checked[0].rows.0, single.rows.0[..rows]);
    }

    #[test]
    fn a_batch_of_one_is_a_single_extension_on_every_curve() {
        a_batch_of_one_agrees::<Secp256k1>();
        a_batch_of_one_agrees::<P256>();
        a_batch_of_one_agrees::<P384>();
        a_batch_of_one_agrees::<P521>();
    }

    fn every_part_multiplies<C: Curve>() {
        let (a_side, b_side) = honest_pair(2);
        let mut rng = test_rng(3);
        let (receivers, message) = receive::<C>(&b_side, &CONTEXT, 5, &mut rng);
        let senders = a_side.judge(|judged| check(judged, &CONTEXT, &message)).unwrap();
        assert_eq!((receivers.len(), senders.len()), (5, 5));
        let mut factors = Vec::new();
        for (number, (receiver, sender)) in receivers.into_iter().zip(senders).enumerate() {
            let ssid_full = [number as u8; 32];
            let inputs = [C::random_scalar(&mut rng), C::random_scalar(&mut rng)];
            let factor = *receiver.chi().expose();
            let (c, answer) = sender.multiply(&ssid_full, [&inputs[0], &inputs[1]], &mut rng);
            let d = b_side.judge(|judged| receiver.finish(judged, &ssid_full, &answer)).unwrap();
            for (i, input) in inputs.iter().enumerate() {
                assert_eq!(c.expose()[i] + d.expose()[i], factor * input);
            }
            factors.push(C::encode_scalar(&factor));
        }
        factors.sort();
        factors.dedup();
        assert_eq!(factors.len(), 5, "every part has a factor of its own");
        assert_eq!((a_side.extensions(), b_side.extensions()), (5, 5), "a batch counts for its parts");
    }

    #[test]
    fn every_part_of_a_batch_multiplies_by_a_factor_of_its_own_on_every_curve() {
        every_part_multiplies::<Secp256k1>();
        every_part_multiplies::<P256>();
        every_part_multiplies::<P384>();
        every_part_multiplies::<P521>();
    }

    #[test]
    fn c2_s43_a_wrong_bit_in_any_part_of_a_batch_is_noticed() {
        let (a_side, b_side) = honest_pair(4);
        let (_, message) = receive::<Secp256k1>(&b_side, &CONTEXT, 3, &mut test_rng(5));
        let honest = borsh::to_vec(&message).unwrap();
        assert!(accepts::<Secp256k1>(&a_side, &CONTEXT, &honest));
        let column = column_len::<Secp256k1>(3);
        // The nonce; first, last and check bits of each part in the first and last column; x̃; t̃.
        let places = [0, 51, 52, 103, 104, 155, 156, 171].map(|at| 34 + at);
        let last = places.map(|at| at + 63 * column);
        let folds = [34 + 64 * column, 34 + 64 * column + 16, honest.len() - 1];
        for place in [2].into_iter().chain(places).chain(last).chain(folds) {
            let mut spoiled = honest.clone();
            spoiled[place] ^= 1;
            assert!(!accepts::<Secp256k1>(&a_side, &CONTEXT, &spoiled), "byte {place}");
        }
        for context in [
            ExtensionContext { ssid: &[5; 32], ..CONTEXT },
            ExtensionContext { sender: 4, ..CONTEXT },
            ExtensionContext { receiver: 4, ..CONTEXT },
        ] {
            assert!(!accepts::<Secp256k1>(&a_side, &context, &honest));
        }
    }

    #[test]
    fn s28_s29_a_batch_of_an_impossible_size_is_not_decoded() {
        let (_, b_side) = honest_pair(4);
        let (_, message) = receive::<Secp256k1>(&b_side, &CONTEXT, 2, &mut test_rng(5));
        let honest = borsh::to_vec(&message).unwrap();
        assert_eq!(honest.len(), 2 * 3_328 + 3_122);
        for count in [0u16, 1, 3, MAX_BATCH + 1, u16::MAX] {
            let bytes = [&count.to_le_bytes()[..], &honest[2..]].concat();
            assert!(borsh::from_slice::<BatchMessage<Secp256k1>>(&bytes).is_err(), "{count}");
        }
    }
}
