//! Pads: what a row of the extension is hashed to (`docs/spec/ot.md` 5.2; rules S-49, S-54, S-55).
//!
//! Block m of row j is π(π(row) ⊕ (j, m)) ⊕ π(row), the tweakable circular-correlation-robust form,
//! with π = AES-128 under a key that is hashed from both sides' fresh randomness. Rows go through
//! in groups, so that the hardware's AES pipeline is full.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use zeroize::Zeroize;

use crate::curve::Curve;
use crate::transcript::Transcript;

/// Pads of a row: ℓ = 2 for the inputs of the multiplication, ρ = 1 for its check.
pub(super) const COLUMNS: usize = 3;

/// Rows that are hashed together.
pub(super) const GROUP: usize = 8;

/// Blocks of one pad, P-521's.
pub(super) const MAX_BLOCKS: usize = 6;

/// Space for the blocks of [`GROUP`] rows.
pub(super) type PadBlocks = [[u128; GROUP]; COLUMNS * MAX_BLOCKS];

/// The pad function of one extension in one run.
pub(super) struct Pads {
    cipher: Aes128Enc,
}

impl Pads {
    /// Step 5.2.1: the key is the first half of the transcript's hash.
    pub(super) fn new(transcript: &Transcript) -> Self {
        let mut key = [0u8; 16];
        transcript.fill(&mut key);
        let cipher = Aes128Enc::new(&key.into());
        key.zeroize();
        Pads { cipher }
    }

    /// Step 5.2.2: pads of rows `first`, `first` + 1, .. in blocks: block m of row j is number j of
    /// entry m. They are the beginning of `space`.
    pub(super) fn fill<'a, C: Curve>(
        &self,
        rows: &[u128; GROUP],
        first: usize,
        space: &'a mut PadBlocks,
    ) -> &'a [[u128; GROUP]] {
        let blocks = COLUMNS * C::Wide::default().as_ref().len().div_ceil(16);
        let mut heads = rows.map(|row| Block::from(row.to_le_bytes()));
        self.cipher.encrypt_blocks(&mut heads);
        let heads = heads.map(|head| u128::from_le_bytes(head.into()));

        let mut stream = [[Block::default(); GROUP]; COLUMNS * MAX_BLOCKS];
        let stream = &mut stream[..blocks];
        for (m, blocks) in stream.iter_mut().enumerate() {
            for (j, block) in blocks.iter_mut().enumerate() {
                *block = (heads[j] ^ tweak(first + j, m)).to_le_bytes().into();
            }
        }
        self.cipher.encrypt_blocks(stream.as_flattened_mut());
        let out = &mut space[..blocks];
        for (out, blocks) in out.iter_mut().zip(stream) {
            for (j, (out, block)) in out.iter_mut().zip(blocks).enumerate() {
                *out = u128::from_le_bytes((*block).into()) ^ heads[j];
            }
        }
        out
    }
}

/// (j, m) as one block: distinct for distinct pairs.
fn tweak(row: usize, block: usize) -> u128 {
    (row as u128) << 64 | block as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{P521, Secp256k1};
    use crate::transcript::Label;
    use std::collections::BTreeSet;

    /// The blocks of each row.
    fn pads<C: Curve>(key: u8, rows: &[u128; GROUP], first: usize) -> [Vec<u128>; GROUP] {
        let mut space = [[0; GROUP]; COLUMNS * MAX_BLOCKS];
        let pads = Pads::new(&Transcript::new(Label::PadKey).number("k", key.into()));
        let blocks = pads.fill::<C>(rows, first, &mut space);
        std::array::from_fn(|j| blocks.iter().map(|blocks| blocks[j]).collect())
    }

    #[test]
    fn s49_equal_rows_give_different_pads() {
        let rows = [0x1234_5678_9abc_def0_u128; GROUP];
        let all: BTreeSet<u128> = [pads::<Secp256k1>(1, &rows, 0), pads::<Secp256k1>(1, &rows, 8)]
            .as_flattened()
            .iter()
            .flatten()
            .copied()
            .collect();
        assert_eq!(all.len(), 2 * GROUP * 3 * COLUMNS);
    }

    #[test]
    fn s54_another_key_gives_other_pads_of_the_same_rows() {
        let rows = std::array::from_fn(|row| row as u128);
        let (one, two) = (pads::<P521>(1, &rows, 0), pads::<P521>(2, &rows, 0));
        for (a, b) in one.iter().flatten().zip(two.iter().flatten()) {
            assert_ne!(a, b);
        }
    }

    #[test]
    fn s55_pads_agree_with_the_formula_block_by_block() {
        let transcript = Transcript::new(Label::PadKey).number("k", 1);
        let mut key = [0; 16];
        transcript.fill(&mut key);
        let cipher = Aes128Enc::new(&key.into());
        let pi = |x: u128| {
            let mut block: Block = x.to_le_bytes().into();
            cipher.encrypt_block(&mut block);
            u128::from_le_bytes(block.into())
        };
        let rows = std::array::from_fn(|row| 100 + row as u128);
        let computed = pads::<P521>(1, &rows, 40);
        for (j, row) in rows.iter().enumerate() {
            assert_eq!(computed[j].len(), 18);
            for (m, block) in computed[j].iter().enumerate() {
                assert_eq!(*block, pi(pi(*row) ^ tweak(40 + j, m)) ^ pi(*row));
            }
        }
    }

    #[test]
    fn s48_the_bits_of_pads_are_balanced() {
        let ones: u32 = (0..64)
            .flat_map(|group| pads::<Secp256k1>(1, &[0; GROUP], 8 * group))
            .flatten()
            .map(u128::count_ones)
            .sum();
        // 64 · 24 pads of 384 bits; six standard deviations are 2304.
        let expected: u32 = 64 * 24 * 384 / 2;
        assert!(ones.abs_diff(expected) < 2304, "{ones}");
    }
}
