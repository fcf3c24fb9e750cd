//! One OT extension for many multiplications, with one check (`docs/spec/ot.md` 4.6).
//!
//! The columns of a batch are those of its parts one behind the other, and the check's at the end.
//! What comes out are extensions like any other, one for each part.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::bits::{BitBlock, BitMatrix};
use super::columns::{self, Shape};
use super::extension::{Binding, ExtensionContext, ReceiverExtension, SenderExtension};
use super::pair::Judged;
use super::{CheckFailed, PairState};
use crate::curve::Curve;
use crate::secret::Secret;

/// Most multiplications of one batch: its answer on P-521 takes 14 MB.
pub const MAX_BATCH: u16 = 100;

/// B's message for a whole batch: 1,664 bytes for each multiplication on 256-bit curves, and 2,610.
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
    let mut choices = Secret::new(vec![0u128; Shape::new::<C>(count.into()).check_block() + 1]);
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
    let shape = Shape::new::<C>(count.into());
    shape.clear_padding(choices.expose_mut());
    let binding = Binding::new(pair.id(), context, nonce);
    let start = binding.prg_start::<C>();
    let (corrections, mut matrix) = columns::receive(shape, &pair.receiver().leaves, start, choices.expose());
    // Step 4.3.4, once.
    let (folded_choices, folded_columns) = binding.folds::<C>(&corrections, choices.expose(), &matrix);
    matrix.transpose();
    let message =
        BatchMessage { count, nonce, corrections, folded_choices, folded_columns, curve: PhantomData };
    let parts = choices.expose()[..shape.check_block()]
        .chunks_exact(shape.blocks_of_part())
        .zip(parts_of(shape, &matrix))
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
    let delta = *judged.sender.delta.expose();
    let shape = Shape::new::<C>(message.count.into());
    let start = binding.prg_start::<C>();
    let mut matrix = columns::send(shape, delta, &judged.sender.leaves, start, &message.corrections);
    let folds = (message.folded_choices, &*message.folded_columns);
    binding.check::<C>(delta, &message.corrections, folds, &matrix)?;
    matrix.transpose();
    let part = |rows| SenderExtension::part(binding.clone(), delta, rows);
    Ok(parts_of(shape, &matrix).map(part).collect())
}

/// The rows of each part. The check's are in none of them.
fn parts_of(shape: Shape, rows: &BitMatrix) -> impl Iterator<Item = BitMatrix> {
    rows.0.chunks_exact(shape.blocks_of_part()).map(|part| BitMatrix(part.to_vec())).take(shape.parts())
}

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
        let mut corrections = vec![0; Shape::new::<C>(count.into()).corrections_bytes()];
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
    use crate::ot::extension::{Choices, MAX_BLOCKS, check_block};
    use crate::ot::tests::honest_pair;

    const CONTEXT: ExtensionContext<'static> = ExtensionContext { ssid: &[4; 32], sender: 2, receiver: 3 };

    fn random_column<C: Curve>(count: u16, seed: u64) -> Vec<u128> {
        use rand_core::Rng;
        let mut rng = test_rng(seed);
        let mut word = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        (0..=Shape::new::<C>(count.into()).check_block()).map(|_| word()).collect()
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
        assert_eq!((receivers.len(), senders.len(), message.count()), (5, 5, 5));
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
        let column = Shape::new::<Secp256k1>(3).column_bytes();
        // The nonce; first, last and check bits of each part in the first and last column; x̃; t̃.
        let places = [0, 51, 52, 103, 104, 155, 156, 171].map(|at| 34 + at);
        let last = places.map(|at| at + 31 * column);
        let folds = [34 + 32 * column, 34 + 32 * column + 16, honest.len() - 1];
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
        assert_eq!(honest.len(), 2 * 1_664 + 2_610);
        for count in [0u16, 1, 3, MAX_BATCH + 1, u16::MAX] {
            let bytes = [&count.to_le_bytes()[..], &honest[2..]].concat();
            assert!(borsh::from_slice::<BatchMessage<Secp256k1>>(&bytes).is_err(), "{count}");
        }
    }
}
