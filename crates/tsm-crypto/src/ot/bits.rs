//! Bit matrices of 128 columns and their transposition (`docs/spec/ot.md` 4.2).

use zeroize::Zeroize;

/// A square of 128 × 128 bits: by columns, word a is column a; by rows, word j is row j.
pub(super) type BitBlock = [u128; 128];

/// A matrix of 128 columns, 128 rows per block. Wiped on drop.
pub(super) struct BitMatrix(pub(super) Vec<BitBlock>);

impl BitMatrix {
    pub(super) fn zero(blocks: usize) -> Self {
        BitMatrix(vec![[0; 128]; blocks])
    }

    /// Exchanges the view by columns and the view by rows.
    pub(super) fn transpose(&mut self) {
        self.0.iter_mut().for_each(transpose);
    }
}

impl Drop for BitMatrix {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// Bit c of word r becomes bit r of word c.
///
/// Seven steps; step j exchanges the two off-diagonal quarters of each square of side 2j.
pub(super) fn transpose(block: &mut BitBlock) {
    let mut width = 64;
    // Bits whose column number has no `width` bit.
    let mut mask = u128::MAX >> 64;
    while width > 0 {
        for pair in block.chunks_exact_mut(2 * width) {
            let (upper, lower) = pair.split_at_mut(width);
            for (up, low) in upper.iter_mut().zip(lower) {
                let swap = ((*up >> width) ^ *low) & mask;
                *low ^= swap;
                *up ^= swap << width;
            }
        }
        width /= 2;
        mask ^= mask << width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;
    use rand_core::Rng;

    fn random_block(seed: u64) -> BitBlock {
        let mut rng = test_rng(seed);
        std::array::from_fn(|_| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
    }

    #[test]
    fn s48_every_single_bit_goes_to_its_mirror_place() {
        let before = random_block(1);
        let mut after = before;
        transpose(&mut after);
        for (r, row) in before.iter().enumerate() {
            for (c, column) in after.iter().enumerate() {
                assert_eq!((row >> c) & 1, (column >> r) & 1, "bit {r}, {c}");
            }
        }
    }

    #[test]
    fn s48_all_ones_stay_all_ones_and_one_full_column_becomes_one_full_row() {
        let mut ones = [u128::MAX; 128];
        transpose(&mut ones);
        assert_eq!(ones, [u128::MAX; 128]);
        let mut column = [0; 128];
        column[77] = u128::MAX;
        transpose(&mut column);
        assert_eq!(column, [1 << 77; 128]);
    }

    #[test]
    fn s48_transposing_twice_is_nothing() {
        let mut block = random_block(2);
        transpose(&mut block);
        transpose(&mut block);
        assert_eq!(block, random_block(2));
    }
}
