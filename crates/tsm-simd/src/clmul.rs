//! Sums of products in GF(2^128), in safe code that is compiled for the carry-less multiplication.
//! Entered through `x86.rs`.

use std::arch::x86_64::{_mm_clmulepi64_si128, _mm_setzero_si128, _mm_xor_si128};

use crate::register::{register, word};

/// Sums that are made at once, in registers.
const LANES: usize = 4;

#[target_feature(enable = "pclmulqdq")]
pub(crate) fn sums_of_products(factors: &[u128], blocks: &[[u128; 128]]) -> [u128; 128] {
    let mut sums = [0; 128];
    for (place, sums) in sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // The product of two polynomials in three parts: from x^0, from x^64 and from x^128 on.
        let mut parts = [[_mm_setzero_si128(); 3]; LANES];
        for (factor, block) in factors.iter().zip(blocks) {
            let factor = register(*factor);
            for (parts, word) in parts.iter_mut().zip(&block[LANES * place..]) {
                let word = register(*word);
                let middle = _mm_xor_si128(
                    _mm_clmulepi64_si128::<0x01>(factor, word),
                    _mm_clmulepi64_si128::<0x10>(factor, word),
                );
                parts[0] = _mm_xor_si128(parts[0], _mm_clmulepi64_si128::<0x00>(factor, word));
                parts[1] = _mm_xor_si128(parts[1], middle);
                parts[2] = _mm_xor_si128(parts[2], _mm_clmulepi64_si128::<0x11>(factor, word));
            }
        }
        for (sum, parts) in sums.iter_mut().zip(parts) {
            let [low, middle, high] = parts;
            let middle = word(middle);
            *sum = reduce(word(low) ^ middle << 64, word(high) ^ middle >> 64);
        }
    }
    sums
}

/// high · x^128 + low modulo x^128 + x^7 + x^2 + x + 1.
fn reduce(low: u128, high: u128) -> u128 {
    // What the multiple of x^7 + x^2 + x + 1 has beyond x^128 is below x^7.
    let beyond = high >> 127 ^ high >> 126 ^ high >> 121;
    [high, beyond].into_iter().fold(low, |sum, word| sum ^ word ^ word << 1 ^ word << 2 ^ word << 7)
}
