//! From base OT to "all but one": GGM trees with the malicious check of SoftSpokenOT (Roy, eprint
//! 2022/192, figures 13 and 14; `docs/spec/ot.md` 3).
//!
//! B makes a tree of depth k per chunk and knows all leaves; A learns all leaves but number Δ_c.
//! A's evaluation expands every node, the unknown one too (from zeros), and selects by masks, so
//! that its memory accesses and time do not depend on Δ (rule S-51).

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::base::Direction;
use super::{CHUNKS, CheckFailed, DELTA_BITS, LEAVES, Leaves, Seed, TREE_DEPTH};
use crate::transcript::{Label, Transcript};

/// Bytes of a leaf's check string: twice the security parameter.
const CHECK_BYTES: usize = 32;

type CheckString = [u8; CHECK_BYTES];

/// For one tree, per level from the root: the sums of the left and of the right children, each
/// encrypted under its base-OT key.
pub(super) type Corrections = [[Seed; 2]; TREE_DEPTH];

/// What B sends for all trees.
#[derive(Clone, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub(super) struct TreeMessage {
    pub(super) corrections: [Corrections; CHUNKS],
    /// t̃: per tree, the XOR of its leaves' check strings.
    pub(super) sums: [CheckString; CHUNKS],
    /// Hash over all check strings of all trees.
    pub(super) digest: [u8; 32],
}

/// The hashes of this module with the fields that all of them begin with.
pub(super) struct Trees {
    level: Transcript,
    check: Transcript,
}

impl Trees {
    /// For a direction of a pair; `pair` is the identifier of its state.
    pub(super) fn new(direction: &Direction<'_>, pair: &[u8; 32]) -> Self {
        let hash = |label| direction.transcript(label).bytes("pair", pair);
        Trees { level: hash(Label::GgmLevel), check: hash(Label::GgmCheck) }
    }

    /// Steps 3.1 to 3.4, B's part.
    pub(super) fn build(
        &self,
        keys: &[[Seed; 2]; DELTA_BITS],
        rng: &mut dyn CryptoRng,
    ) -> (Box<Leaves>, Box<TreeMessage>) {
        let mut leaves: Box<Leaves> = Box::new([[[0; 16]; LEAVES]; CHUNKS]);
        let mut message = Box::new(TreeMessage {
            corrections: [[[[0; 16]; 2]; TREE_DEPTH]; CHUNKS],
            sums: [[0; CHECK_BYTES]; CHUNKS],
            digest: [0; 32],
        });
        let mut checks = Zeroizing::new([[[0; CHECK_BYTES]; LEAVES]; CHUNKS]);
        for chunk in 0..CHUNKS {
            let nodes = &mut leaves[chunk];
            rng.fill_bytes(&mut nodes[0]);
            for level in 0..TREE_DEPTH {
                self.expand(chunk, level, nodes);
                // Step 3.2: the two sums of this level, encrypted.
                let sums = side_sums(nodes, level);
                for (side, sum) in sums.iter().enumerate() {
                    let key = &keys[base_index(chunk, level)][side];
                    message.corrections[chunk][level][side] = xor(sum, key);
                }
            }
            // Step 3.3.
            for (leaf, (node, check)) in nodes.iter().zip(checks[chunk].iter_mut()).enumerate() {
                *check = self.check_string(chunk, leaf, node);
                message.sums[chunk] = xor(&message.sums[chunk], check);
            }
        }
        message.digest = self.digest(&checks);
        (leaves, message)
    }

    /// Steps 3.5 to 3.7, A's part: all leaves but number Δ_c of each chunk c, which stays zero.
    ///
    /// # Errors
    ///
    /// Check N3 failed. It depends on Δ: nothing of this set-up may be used again.
    pub(super) fn evaluate(
        &self,
        delta: u128,
        keys: &[Seed; DELTA_BITS],
        message: &TreeMessage,
    ) -> Result<Box<Leaves>, CheckFailed> {
        let mut leaves: Box<Leaves> = Box::new([[[0; 16]; LEAVES]; CHUNKS]);
        let mut checks = Zeroizing::new([[[0; CHECK_BYTES]; LEAVES]; CHUNKS]);
        for chunk in 0..CHUNKS {
            let nodes = &mut leaves[chunk];
            // The number of the unknown node of the level above; the root is unknown.
            let mut unknown = 0usize;
            for level in 0..TREE_DEPTH {
                self.expand(chunk, level, nodes);
                // Children of the unknown node are rubbish: to zero.
                for (number, node) in nodes.iter_mut().enumerate().take(2 << level) {
                    mask_bytes(node, !equal_mask(number >> 1, unknown));
                }
                // Step 3.5: the key is that of the side next to the path, slot 1 - (bit of Δ).
                let index = base_index(chunk, level);
                let delta_bit = ((delta >> index) & 1) as usize;
                let side = delta_bit ^ 1;
                let mut correction = [0; 16];
                for (slot, candidate) in message.corrections[chunk][level].iter().enumerate() {
                    let mut candidate = *candidate;
                    mask_bytes(&mut candidate, equal_mask(slot, side));
                    correction = xor(&correction, &candidate);
                }
                let mut missing = xor(&correction, &keys[index]);
                let sums = side_sums(nodes, level);
                for (slot, sum) in sums.iter().enumerate() {
                    let mut sum = *sum;
                    mask_bytes(&mut sum, equal_mask(slot, side));
                    missing = xor(&missing, &sum);
                }
                let place = 2 * unknown + side;
                for (number, node) in nodes.iter_mut().enumerate().take(2 << level) {
                    let mut value = missing;
                    mask_bytes(&mut value, equal_mask(number, place));
                    *node = xor(node, &value);
                }
                unknown = 2 * unknown + delta_bit;
                missing.zeroize();
            }
            // Step 3.6: the missing check string is what the others lack to t̃.
            let mut missing = message.sums[chunk];
            for (leaf, (node, check)) in nodes.iter().zip(checks[chunk].iter_mut()).enumerate() {
                *check = self.check_string(chunk, leaf, node);
                mask_bytes(check, !equal_mask(leaf, unknown));
                missing = xor(&missing, check);
            }
            for (leaf, check) in checks[chunk].iter_mut().enumerate() {
                let mut value = missing;
                mask_bytes(&mut value, equal_mask(leaf, unknown));
                *check = xor(check, &value);
            }
        }
        // Check N3, one verdict over all trees.
        if bool::from(self.digest(&checks).ct_eq(&message.digest)) {
            Ok(leaves)
        } else {
            leaves.zeroize();
            Err(CheckFailed)
        }
    }

    /// Step 3.1: replaces the nodes of a level by their children, in place.
    fn expand(&self, chunk: usize, level: usize, nodes: &mut [Seed; LEAVES]) {
        for number in (0..1 << level).rev() {
            let mut children = Zeroizing::new([0u8; 32]);
            self.level
                .clone()
                .number("chunk", chunk as u64)
                .number("level", level as u64)
                .number("node", number as u64)
                .bytes("seed", &nodes[number])
                .fill(children.as_mut());
            let (left, right) = children.split_at(16);
            nodes[2 * number].copy_from_slice(left);
            nodes[2 * number + 1].copy_from_slice(right);
        }
    }

    fn check_string(&self, chunk: usize, leaf: usize, seed: &Seed) -> CheckString {
        self.check
            .clone()
            .number("chunk", chunk as u64)
            .number("leaf", leaf as u64)
            .bytes("seed", seed)
            .digest()
    }

    fn digest(&self, checks: &[[CheckString; LEAVES]; CHUNKS]) -> [u8; 32] {
        self.check
            .clone()
            .count("strings", CHUNKS * LEAVES)
            .bytes("strings", checks.as_flattened().as_flattened())
            .digest()
    }
}

/// The base OT whose choice bit is the complement of the path's bit at this level: the root's level
/// decides the highest bit of a leaf's number.
fn base_index(chunk: usize, level: usize) -> usize {
    chunk * TREE_DEPTH + (TREE_DEPTH - 1 - level)
}

/// XOR of the left and of the right children of a level.
fn side_sums(nodes: &[Seed; LEAVES], level: usize) -> Zeroizing<[Seed; 2]> {
    let mut sums = Zeroizing::new([[0; 16]; 2]);
    for (number, node) in nodes.iter().enumerate().take(2 << level) {
        sums[number & 1] = xor(&sums[number & 1], node);
    }
    sums
}

fn xor<const N: usize>(a: &[u8; N], b: &[u8; N]) -> [u8; N] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

fn mask_bytes(bytes: &mut [u8], mask: u8) {
    bytes.iter_mut().for_each(|byte| *byte &= mask);
}

/// 0xff if equal, else 0, without a branch.
fn equal_mask(a: usize, b: usize) -> u8 {
    a.ct_eq(&b).unwrap_u8().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;
    use rand_core::Rng;

    const DELTA: u128 = 0xfedc_ba98_7654_3210_0f1e_2d3c_4b5a_6978;
    const DIRECTION: Direction<'static> =
        Direction { ssid: &[1; 32], a: 3, b: 5, a_identity: b"alice", b_identity: b"bob" };

    fn trees() -> Trees {
        Trees::new(&DIRECTION, &[7; 32])
    }

    fn keys() -> ([[Seed; 2]; DELTA_BITS], [Seed; DELTA_BITS]) {
        let mut rng = test_rng(1);
        let mut both = [[[0; 16]; 2]; DELTA_BITS];
        both.as_flattened_mut().iter_mut().for_each(|key| rng.fill_bytes(key));
        let chosen = std::array::from_fn(|i| both[i][1 - ((DELTA >> i) & 1) as usize]);
        (both, chosen)
    }

    #[test]
    fn s51_the_receiver_of_trees_gets_all_leaves_but_those_of_delta() {
        let (both, chosen) = keys();
        let (all, message) = trees().build(&both, &mut test_rng(2));
        let some = trees().evaluate(DELTA, &chosen, &message).unwrap();
        for chunk in 0..CHUNKS {
            let missing = ((DELTA >> (chunk * TREE_DEPTH)) as usize) % LEAVES;
            for leaf in 0..LEAVES {
                if leaf == missing {
                    assert_eq!(some[chunk][leaf], [0; 16]);
                } else {
                    assert_eq!(some[chunk][leaf], all[chunk][leaf], "chunk {chunk}, leaf {leaf}");
                }
            }
        }
    }

    #[test]
    fn n3_a_wrong_correction_that_the_path_meets_is_noticed() {
        let (both, chosen) = keys();
        for (chunk, level) in [(0, 0), (0, TREE_DEPTH - 1), (17, 1), (CHUNKS - 1, 2)] {
            let (_, mut message) = trees().build(&both, &mut test_rng(2));
            let side = 1 - ((DELTA >> base_index(chunk, level)) & 1) as usize;
            message.corrections[chunk][level][side][3] ^= 1;
            assert_eq!(trees().evaluate(DELTA, &chosen, &message).err(), Some(CheckFailed));
        }
    }

    #[test]
    fn n3_wrong_sums_and_digests_are_noticed() {
        let (both, chosen) = keys();
        let (_, mut message) = trees().build(&both, &mut test_rng(2));
        message.sums[5][0] ^= 1;
        assert!(trees().evaluate(DELTA, &chosen, &message).is_err());
        message.sums[5][0] ^= 1;
        message.digest[31] ^= 0x80;
        assert!(trees().evaluate(DELTA, &chosen, &message).is_err());
        message.digest[31] ^= 0x80;
        assert!(trees().evaluate(DELTA, &chosen, &message).is_ok());
    }

    #[test]
    fn n3_trees_of_another_direction_or_pair_are_refused() {
        let (both, chosen) = keys();
        let (_, message) = trees().build(&both, &mut test_rng(2));
        for direction in [Direction { a: 5, b: 3, ..DIRECTION }, Direction { ssid: &[2; 32], ..DIRECTION }] {
            assert!(Trees::new(&direction, &[7; 32]).evaluate(DELTA, &chosen, &message).is_err());
        }
        assert!(Trees::new(&DIRECTION, &[8; 32]).evaluate(DELTA, &chosen, &message).is_err());
    }
}
