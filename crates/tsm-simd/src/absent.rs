//! Other processors: the types are there and have no values.

use std::convert::Infallible;

use crate::{LEAVES, Modulus, Pad, PadBlocks, Pads, ROWS, RowScalars, Scalar, Sum};

/// The processor has AVX-512 with the multiplications of 52 bits; this one never has.
#[derive(Clone, Copy)]
pub struct Ifma(Infallible);

#[expect(missing_docs, reason = "as in x86.rs")]
impl Ifma {
    pub fn detect() -> Option<Self> {
        None
    }

    pub fn unpack(self, _: &PadBlocks, _: &mut Pads) {
        match self.0 {}
    }

    pub fn differences(self, _: &Modulus, _: &[Pad; 3], _: &Pads, _: &Pads, _: &mut [u8; 96 * ROWS]) {
        match self.0 {}
    }

    pub fn add_chosen(self, _: &mut Pads, _: &[u8; 96 * ROWS], _: u8) {
        match self.0 {}
    }

    pub fn check_values(
        self,
        _: &Modulus,
        _: &[Scalar; 2],
        _: &Scalar,
        _: u8,
        _: &Pads,
        _: &mut [u8; 32 * ROWS],
    ) {
        match self.0 {}
    }

    pub fn accumulate(self, _: &mut [Sum; 2], _: &RowScalars, _: &Pads) {
        match self.0 {}
    }
}

/// The processor multiplies polynomials over GF(2); this one is not asked.
#[derive(Clone, Copy)]
pub struct Clmul(Infallible);

#[expect(missing_docs, reason = "as in x86.rs")]
impl Clmul {
    pub fn detect() -> Option<Self> {
        None
    }

    pub fn sums_of_products(self, _: &[u128], _: &[[u128; 128]]) -> [u128; 128] {
        match self.0 {}
    }
}

/// The processor has the AES instructions; this one is not asked.
#[derive(Clone, Copy)]
pub struct Aes(Infallible);

#[expect(missing_docs, reason = "as in x86.rs")]
impl Aes {
    pub fn detect() -> Option<Self> {
        None
    }

    pub fn sums_of_streams(self, _: &[[u8; 16]; LEAVES], _: u128, _: &mut [[u128; 5]]) {
        match self.0 {}
    }
}
