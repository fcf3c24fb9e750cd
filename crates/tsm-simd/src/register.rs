//! Words of 128 bits in registers. Every processor of this kind has these instructions.

use std::arch::x86_64::{__m128i, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_unpackhi_epi64};

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn register(word: u128) -> __m128i {
    _mm_set_epi64x((word >> 64) as i64, word as i64)
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn word(register: __m128i) -> u128 {
    let low = _mm_cvtsi128_si64(register) as u64;
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(register, register)) as u64;
    u128::from(high) << 64 | u128::from(low)
}
