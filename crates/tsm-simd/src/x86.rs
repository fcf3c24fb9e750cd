//! The one place with unsafe code: it asks the processor, and enters functions that are compiled for
//! what it has. Those are safe code themselves (`aes.rs`, `clmul.rs`, `ifma.rs`).
#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::__m512i;

use crate::{LEAVES, Lanes, Modulus, Pad, PadBlocks, Pads, ROWS, RowScalars, Scalar, Sum, aes, clmul, ifma};

/// The processor has AVX-512 with the multiplications of 52 bits.
#[derive(Clone, Copy)]
pub struct Ifma(());

/// Each call below is sound for the same reason.
macro_rules! enter {
    ($function:ident($($argument:expr),*)) => {
        // SAFETY: an `Ifma` exists only where the processor has every feature that the functions of
        // `ifma.rs` are compiled for.
        unsafe { ifma::$function($($argument),*) }
    };
}

impl Ifma {
    /// `None` where it has not. It is asked once per process.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512ifma");
        has.then_some(Ifma(()))
    }

    /// Pads as numbers.
    pub fn unpack(self, blocks: &PadBlocks, pads: &mut Pads) {
        enter!(unpack(blocks, pads));
    }

    /// offset + zero - one modulo q for each column and row, none of which is negative or has more
    /// than 387 bits; big endian, row by row.
    pub fn differences(
        self,
        modulus: &Modulus,
        offsets: &[Pad; 3],
        zeros: &Pads,
        ones: &Pads,
        out: &mut [u8; 96 * ROWS],
    ) {
        enter!(differences(modulus, offsets, zeros, ones, out));
    }

    /// Adds to each pad the number of `line` (as [`differences`](Self::differences) writes them)
    /// where bit j of `chosen` is 1 for its row j.
    pub fn add_chosen(self, pads: &mut Pads, lines: &[u8; 96 * ROWS], chosen: u8) {
        enter!(add_chosen(pads, lines, chosen));
    }

    /// (c_1·pad_1 + c_2·pad_2 + chosen·addend) / 2^416 + pad_3 modulo q for each row, big endian.
    pub fn check_values(
        self,
        modulus: &Modulus,
        coefficients: &[Scalar; 2],
        addend: &Scalar,
        chosen: u8,
        pads: &Pads,
        out: &mut [u8; 32 * ROWS],
    ) {
        enter!(check_values(modulus, coefficients, addend, chosen, pads, out));
    }

    /// sums_i += factor · pad_i for the first two columns.
    pub fn accumulate(self, sums: &mut [Sum; 2], factors: &RowScalars, pads: &Pads) {
        enter!(accumulate(sums, factors, pads));
    }
}

/// The processor multiplies polynomials over GF(2).
#[derive(Clone, Copy)]
pub struct Clmul(());

impl Clmul {
    /// `None` where it does not. It is asked once per process.
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("pclmulqdq").then_some(Clmul(()))
    }

    /// For each of 128 places the sum over all blocks of factor · word, in GF(2^128): bit i of a word is
    /// the coefficient of x^i, and x^128 is x^7 + x^2 + x + 1.
    pub fn sums_of_products(self, factors: &[u128], blocks: &[[u128; 128]]) -> [u128; 128] {
        // SAFETY: a `Clmul` exists only where the processor has the feature that the function is compiled
        // for.
        unsafe { clmul::sums_of_products(factors, blocks) }
    }
}

/// The processor has the AES instructions.
#[derive(Clone, Copy)]
pub struct Aes(());

impl Aes {
    /// `None` where it has not. It is asked once per process.
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("aes").then_some(Aes(()))
    }

    /// Adds strings of a tree's leaves, in GF(2), to the sums of each block: for each i the strings of the
    /// leaves whose number has bit i, and those of all. Block n of a leaf's string is start ⊕ n encrypted
    /// with AES-128 under the leaf.
    pub fn sums_of_streams(self, leaves: &[[u8; 16]; LEAVES], start: u128, sums: &mut [[u128; 5]]) {
        // SAFETY: an `Aes` exists only where the processor has the feature that the function is compiled
        // for.
        unsafe { aes::sums_of_streams(leaves, start, sums) }
    }
}

impl From<Lanes> for __m512i {
    fn from(lanes: Lanes) -> Self {
        // SAFETY: both are 64 bytes, and any bytes are a value of either.
        unsafe { std::mem::transmute(lanes.0) }
    }
}

impl From<__m512i> for Lanes {
    fn from(register: __m512i) -> Self {
        // SAFETY: as above.
        Lanes(unsafe { std::mem::transmute::<__m512i, [u64; ROWS]>(register) })
    }
}
