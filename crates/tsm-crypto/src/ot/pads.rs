//! Pads: what a row of the extension is hashed to (`docs/spec/ot.md` 5.2; rules S-49, S-54, S-55).
//!
//! Block m of row j is π(π(row) ⊕ (j, m)) ⊕ π(row), the tweakable circular-correlation-robust form,
//! with π = AES-128 under a key that is hashed from both sides' fresh randomness. Rows go through
//! in groups, so that the hardware's AES pipeline is full.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use zeroize::Zeroize;

use super::limbs::limbs_from_bytes;
use crate::curve::Curve;
use crate::transcript::Transcript;

/// Pads of a row: ℓ = 2 for the inputs of the multiplication, ρ = 1 for its check.
pub(super) const COLUMNS: usize = 3;

/// A row's pads as integers of as many bytes as are reduced to one scalar, not yet reduced.
pub(super) type RowPads<const V: usize> = [[u64; V]; COLUMNS];

/// Rows that are hashed together.
pub(super) const GROUP: usize = 8;

/// Blocks of one pad, P-521's.
const MAX_BLOCKS: usize = 6;

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

    /// Step 5.2.2: pads of rows `first`, `first` + 1, .. into `out`, one for each of `rows`, at most
    /// [`GROUP`] of them.
    pub(super) fn fill<C: Curve, const V: usize>(
        &self,
        rows: &[u128],
        first: usize,
        out: &mut [RowPads<V>; GROUP],
    ) {
        let wide = C::Wide::default().as_ref().len();
        let blocks = wide.div_ceil(16);
        let mut heads = [Block::default(); GROUP];
        for (head, row) in heads.iter_mut().zip(rows) {
            *head = row.to_le_bytes().into();
        }
        self.cipher.encrypt_blocks(&mut heads);
        let heads = heads.map(|head| u128::from_le_bytes(head.into()));

        let mut stream = [Block::default(); GROUP * COLUMNS * MAX_BLOCKS];
        let stream = &mut stream[..GROUP * COLUMNS * blocks];
        for (j, row) in stream.chunks_exact_mut(COLUMNS * blocks).enumerate() {
            for (m, block) in row.iter_mut().enumerate() {
                *block = (heads[j] ^ tweak(first + j, m)).to_le_bytes().into();
            }
        }
        self.cipher.encrypt_blocks(stream);
        let mut bytes = [0u8; 16 * MAX_BLOCKS];
        for (j, row) in stream.chunks_exact(COLUMNS * blocks).enumerate() {
            for (i, column) in row.chunks_exact(blocks).enumerate() {
                for (part, block) in bytes.chunks_exact_mut(16).zip(column) {
                    part.copy_from_slice(&(u128::from_le_bytes((*block).into()) ^ heads[j]).to_le_bytes());
                }
                out[j][i] = limbs_from_bytes(&bytes[..wide]);
            }
        }
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

    fn pads<C: Curve, const V: usize>(key: u8, rows: &[u128], first: usize) -> [RowPads<V>; GROUP] {
        let mut out = [[[0; V]; COLUMNS]; GROUP];
        Pads::new(&Transcript::new(Label::PadKey).number("k", key.into()))
            .fill::<C, V>(rows, first, &mut out);
        out
    }

    #[test]
    fn s49_equal_rows_give_different_pads() {
        let rows = [0x1234_5678_9abc_def0_u128; GROUP];
        let all: BTreeSet<[u64; 7]> = [pads::<Secp256k1, 7>(1, &rows, 0), pads::<Secp256k1, 7>(1, &rows, 8)]
            .as_flattened()
            .as_flattened()
            .iter()
            .copied()
            .collect();
        assert_eq!(all.len(), 2 * GROUP * COLUMNS);
    }

    #[test]
    fn s54_another_key_gives_other_pads_of_the_same_rows() {
        let rows: Vec<u128> = (0..8).collect();
        let (one, two) = (pads::<P521, 11>(1, &rows, 0), pads::<P521, 11>(2, &rows, 0));
        for (a, b) in one.as_flattened().iter().zip(two.as_flattened()) {
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
        let rows: Vec<u128> = (100..108).collect();
        let computed = pads::<P521, 11>(1, &rows, 40);
        for (j, row) in rows.iter().enumerate() {
            for (i, pad) in computed[j].iter().enumerate() {
                let bytes: Vec<u8> = (6 * i..6 * (i + 1))
                    .flat_map(|m| (pi(pi(*row) ^ tweak(40 + j, m)) ^ pi(*row)).to_le_bytes())
                    .collect();
                assert_eq!(*pad, limbs_from_bytes(&bytes[..82]));
            }
        }
    }

    #[test]
    fn s48_the_bits_of_pads_are_balanced() {
        let ones: u32 = (0..64)
            .flat_map(|group| pads::<Secp256k1, 7>(1, &[0; GROUP], 8 * group))
            .flatten()
            .flatten()
            .map(u64::count_ones)
            .sum();
        // 64 · 24 pads of 384 bits; six standard deviations are 2304.
        let expected: u32 = 64 * 24 * 384 / 2;
        assert!(ones.abs_diff(expected) < 2304, "{ones}");
    }
}
