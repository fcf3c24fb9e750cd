//! What the multiplication from OT does with eight rows at once, in AVX-512 registers
//! (`docs/spec/ot.md` 5.5); the strings of trees (4.2), and the sums that the extension's check is made
//! of (4.3.4).
//!
//! [`Ifma`], [`Aes`] and [`Clmul`] are the proofs that the processor has the instructions; without them nothing
//! here can be called. `tsm-crypto` holds the portable path, which gives the same bytes, and decides
//! between them.
//!
//! Eight numbers of one size are held limb by limb: lane j of each [`Lanes`] belongs to number j.
//! Limbs have 52 bits, which is what the instructions multiply. No step depends on values: there is no
//! branch, and no index but loop counters.
//!
//! | number | limbs | bits |
//! | --- | --- | --- |
//! | scalar, below q | 5 | 256 |
//! | pad, or an integer in its place | 8 | up to 387 |
//! | sum of products of both | 13 | up to 652 |

mod modulus;

#[cfg(target_arch = "x86_64")]
mod aes;
#[cfg(target_arch = "x86_64")]
mod clmul;
#[cfg(target_arch = "x86_64")]
mod ifma;
#[cfg(target_arch = "x86_64")]
mod register;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub use x86::{Aes, Clmul, Ifma};

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(not(target_arch = "x86_64"))]
pub use absent::{Aes, Clmul, Ifma};

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests;

pub use modulus::Modulus;

use zeroize::Zeroize;

/// Leaves of a tree.
pub const LEAVES: usize = 16;

/// Rows that go through together.
pub const ROWS: usize = 8;

/// Numbers of a row: two inputs of the multiplication, and its check.
pub const COLUMNS: usize = 3;

/// Bits of a limb.
const LIMB_BITS: usize = 52;

/// Limbs of a scalar.
const SCALAR_LIMBS: usize = 5;

/// Limbs of a pad.
const PAD_LIMBS: usize = 8;

/// Limbs of a product.
pub const SUM_LIMBS: usize = SCALAR_LIMBS + PAD_LIMBS;

/// One limb of eight numbers.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Lanes([u64; ROWS]);

impl Zeroize for Lanes {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// What a pad function gives for eight rows, in blocks of its cipher: block m of pad i of row j is
/// number j of entry 3·i + m. A pad is the big-endian number of its three blocks.
pub type PadBlocks = [[u128; ROWS]; 3 * COLUMNS];

/// The pads of eight rows, or integers in their place.
pub type Pads = [[Lanes; PAD_LIMBS]; COLUMNS];

/// A number in the place of a pad, the same for all rows.
pub type Pad = [u64; PAD_LIMBS];

/// A scalar for each of eight rows.
pub type RowScalars = [Lanes; SCALAR_LIMBS];

/// A scalar, the same for all rows.
pub type Scalar = [u64; SCALAR_LIMBS];

/// A sum of products, in eight parts.
///
/// A limb takes at most ten products of 52 bits for each pair that is added: 400 pairs have room.
pub type Sum = [Lanes; SUM_LIMBS];

/// One number in limbs of 52 bits, from limbs of 64. It must fit.
pub fn split<const N: usize, const LIMBS: usize>(number: &[u64; N]) -> [u64; LIMBS] {
    std::array::from_fn(|i| {
        let (word, bit) = (i * LIMB_BITS / 64, i * LIMB_BITS % 64);
        let low = number.get(word).copied().unwrap_or(0) >> bit;
        // What the limb takes from the next word; in two shifts, since there may be none.
        let high = (number.get(word + 1).copied().unwrap_or(0) << 1) << (63 - bit);
        (low | high) & LIMB
    })
}

/// All ones in a limb.
const LIMB: u64 = (1 << LIMB_BITS) - 1;

/// Scalars of eight rows, from limbs of 64 bits.
pub fn row_scalars(scalars: &[[u64; 4]; ROWS]) -> RowScalars {
    let split: [Scalar; ROWS] = scalars.each_ref().map(split);
    std::array::from_fn(|limb| Lanes(split.map(|scalar| scalar[limb])))
}

/// The sum of a sum's eight parts, in limbs of 64 bits.
pub fn total<const A: usize>(sum: &Sum) -> [u64; A] {
    let mut total = [0; A];
    let mut carry = 0u128;
    for (i, lanes) in sum.iter().enumerate() {
        carry += lanes.0.iter().map(|limb| u128::from(*limb)).sum::<u128>();
        let limb = carry as u64 & LIMB;
        carry >>= LIMB_BITS;
        let (word, bit) = (i * LIMB_BITS / 64, i * LIMB_BITS % 64);
        total[word] |= limb << bit;
        if let Some(next) = total.get_mut(word + 1) {
            *next |= (limb >> 1) >> (63 - bit);
        }
    }
    total
}
