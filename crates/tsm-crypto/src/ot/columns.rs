//! Columns of an extension from the leaves of its trees (`docs/spec/ot.md` 4.2, 4.3.2, 4.3.3, 4.4.1,
//! 4.6), for one multiplication or a batch.
//!
//! A column has the choice bits of each part in blocks of 128, a part's last block padded with zeros,
//! and then one block for the check.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use tsm_simd::Aes;
use zeroize::Zeroize;

use super::bits::BitMatrix;
use super::extension::Purpose;
use super::{CHUNKS, LEAVES, Leaves, Seed, TREE_DEPTH, bit128, mask128};

/// How long the columns of so many parts are.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    choice_bits: usize,
    parts: usize,
}

impl Shape {
    pub(super) fn new<P: Purpose>(parts: usize) -> Self {
        Shape { choice_bits: P::CHOICE_BITS, parts }
    }

    /// Multiplications.
    pub(super) fn parts(self) -> usize {
        self.parts
    }

    /// Blocks of choice bits, which is the number of the check's block.
    pub(super) fn check_block(self) -> usize {
        self.parts * self.blocks_of_part()
    }

    /// Blocks of one part.
    pub(super) fn blocks_of_part(self) -> usize {
        self.choice_bits.div_ceil(128)
    }

    /// Bytes of a column on the wire.
    pub(super) fn column_bytes(self) -> usize {
        self.parts * self.choice_bits / 8 + 16
    }

    /// Bytes of u on the wire.
    pub(super) fn corrections_bytes(self) -> usize {
        CHUNKS * self.column_bytes()
    }

    /// Bits of a block that are not padding.
    fn bits(self, block: usize) -> usize {
        if block == self.check_block() {
            return 128;
        }
        (self.choice_bits - 128 * (block % self.blocks_of_part())).min(128)
    }

    /// All ones but for the padding of a block.
    fn mask(self, block: usize) -> u128 {
        u128::MAX >> (128 - self.bits(block))
    }

    /// Padding becomes zero.
    pub(super) fn clear_padding(self, column: &mut [u128]) {
        for (number, block) in column.iter_mut().enumerate().take(self.check_block() + 1) {
            *block &= self.mask(number);
        }
    }
}

/// B's part: corrections u as they are sent, and columns v. Padding of `choices` is zero.
pub(super) fn receive(shape: Shape, leaves: &Leaves, start: u128, choices: &[u128]) -> (Vec<u8>, BitMatrix) {
    let blocks = shape.check_block() + 1;
    let mut columns = BitMatrix::zero(blocks);
    let mut corrections = Vec::with_capacity(shape.corrections_bytes());
    let mut tree = Tree::new(shape, start);
    for (chunk, leaves) in leaves.iter().enumerate() {
        tree.expand(leaves);
        for (number, block) in columns.0.iter_mut().enumerate() {
            // Step 4.3.3.
            let (sums, all) = tree.sums(number);
            let correction = choices[number] ^ all;
            corrections.extend_from_slice(&correction.to_le_bytes()[..shape.bits(number) / 8]);
            block[chunk * TREE_DEPTH..][..TREE_DEPTH].copy_from_slice(&sums);
        }
    }
    (corrections, columns)
}

/// A's part: columns w, from u as it was received.
pub(super) fn send(
    shape: Shape,
    delta: u128,
    leaves: &Leaves,
    start: u128,
    mut corrections: &[u8],
) -> BitMatrix {
    let blocks = shape.check_block() + 1;
    let mut columns = BitMatrix::zero(blocks);
    let mut tree = Tree::new(shape, start);
    for (chunk, leaves) in leaves.iter().enumerate() {
        tree.expand(leaves);
        let delta_masks: [u128; TREE_DEPTH] =
            std::array::from_fn(|i| mask128(bit128(delta, chunk * TREE_DEPTH + i)));
        for (number, block) in columns.0.iter_mut().enumerate() {
            let (sent, rest) = corrections.split_at(shape.bits(number) / 8);
            corrections = rest;
            let mut correction = [0; 16];
            correction[..sent.len()].copy_from_slice(sent);
            // Step 4.4.1: the string of leaf x counts where bit i of x ⊕ Δ_c is 1: where bit i of x is
            // 1, and if that of Δ_c is 1, once more in all. The unknown leaf x = Δ_c counts never or
            // twice.
            let (sums, all) = tree.sums(number);
            let flipped = all ^ u128::from_le_bytes(correction);
            for (i, delta_mask) in delta_masks.iter().enumerate() {
                block[chunk * TREE_DEPTH + i] = sums[i] ^ (delta_mask & flipped);
            }
        }
    }
    columns
}

/// Strings of one tree's leaves, summed up. Wiped on drop.
struct Tree {
    shape: Shape,
    start: u128,
    /// For each block and each i the sum over leaves whose bit i is 1, and at the end that over all.
    sums: Vec<[u128; TREE_DEPTH + 1]>,
}

impl Tree {
    fn new(shape: Shape, start: u128) -> Self {
        Tree { shape, start, sums: vec![[0; TREE_DEPTH + 1]; shape.check_block() + 1] }
    }

    /// Step 4.3.2 for the leaves of a tree: AES-128 under the leaf in counter mode.
    fn expand(&mut self, leaves: &[Seed; LEAVES]) {
        self.sums.fill([0; TREE_DEPTH + 1]);
        match Aes::detect() {
            Some(aes) => aes.sums_of_streams(leaves, self.start, &mut self.sums),
            None => add_streams(leaves, self.start, &mut self.sums),
        }
        for (number, sums) in self.sums.iter_mut().enumerate() {
            let mask = self.shape.mask(number);
            sums.iter_mut().for_each(|sum| *sum &= mask);
        }
    }

    /// For a block: for each i the sum over leaves whose bit i is 1, and the sum over all.
    fn sums(&self, block: usize) -> ([u128; TREE_DEPTH], u128) {
        let [of_bits @ .., all] = self.sums[block];
        (of_bits, all)
    }
}

/// Leaf by leaf, without wide registers of our own: as `tsm-simd` does it.
fn add_streams(leaves: &[Seed; LEAVES], start: u128, sums: &mut [[u128; TREE_DEPTH + 1]]) {
    // What the leaves' ciphers encrypt: block n is start ⊕ n.
    let counters: Vec<Block> =
        (0..sums.len()).map(|number| (start ^ number as u128).to_le_bytes().into()).collect();
    let mut string = vec![Block::default(); sums.len()];
    for (x, leaf) in leaves.iter().enumerate() {
        Aes128Enc::new(&(*leaf).into())
            .encrypt_blocks_b2b(&counters, &mut string)
            .expect("a string has as many blocks as there are counters");
        for (sums, block) in sums.iter_mut().zip(&string) {
            let block = u128::from_le_bytes((*block).into());
            for (i, sum) in sums.iter_mut().enumerate() {
                // Numbers of leaves are public.
                if i == TREE_DEPTH || (x >> i) & 1 == 1 {
                    *sum ^= block;
                }
            }
        }
    }
    string.iter_mut().for_each(|block| block.zeroize());
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.sums.as_flattened_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;
    use rand_core::Rng;

    #[test]
    fn both_ways_to_add_the_strings_of_leaves_give_the_same_sums() {
        let Some(aes) = Aes::detect() else {
            eprintln!("this processor has no AES instructions: nothing was compared");
            return;
        };
        let mut rng = test_rng(1);
        for blocks in [1, 5, 70] {
            let mut leaves = [[0; 16]; LEAVES];
            leaves.as_flattened_mut().chunks_mut(16).for_each(|leaf| rng.fill_bytes(leaf));
            let start = u128::from(rng.next_u64()) << 64;
            let mut one = vec![[1; TREE_DEPTH + 1]; blocks];
            let mut other = one.clone();
            aes.sums_of_streams(&leaves, start, &mut one);
            add_streams(&leaves, start, &mut other);
            assert_eq!(one, other);
        }
    }
}
