//! Strings of a tree's leaves, in safe code that is compiled for the AES instructions. Entered through
//! `x86.rs`.
//!
//! A leaf is a key that encrypts a few blocks, so that scheduling keys is most of the work. Four leaves
//! go through together: one by one each round would wait for the one before.

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_shuffle_epi32,
    _mm_slli_si128, _mm_xor_si128,
};

use zeroize::Zeroize;

use crate::LEAVES;
use crate::register::{register, word};

/// Leaves that go through together. The two lowest bits of their numbers take all values.
const TOGETHER: usize = 4;

/// A round's key of each.
type Keys = [__m128i; TOGETHER];

#[target_feature(enable = "aes")]
pub(crate) fn sums_of_streams(leaves: &[[u8; 16]; LEAVES], start: u128, sums: &mut [[u128; 5]]) {
    for (group, leaves) in leaves.as_chunks::<TOGETHER>().0.iter().enumerate() {
        let mut rounds = schedule(leaves);
        let [first, middle @ .., last] = &rounds;
        for (number, sums) in sums.iter_mut().enumerate() {
            let block = register(start ^ number as u128);
            let mut states = [block; TOGETHER];
            for (state, key) in states.iter_mut().zip(first) {
                *state = _mm_xor_si128(*state, *key);
            }
            for keys in middle {
                for (state, key) in states.iter_mut().zip(keys) {
                    *state = _mm_aesenc_si128(*state, *key);
                }
            }
            for (state, key) in states.iter_mut().zip(last) {
                *state = _mm_aesenclast_si128(*state, *key);
            }
            let [zero, one, two, three] = states;
            let (odd, even) = (_mm_xor_si128(one, three), _mm_xor_si128(zero, two));
            let all = word(_mm_xor_si128(odd, even));
            sums[0] ^= word(odd);
            sums[1] ^= word(_mm_xor_si128(two, three));
            if group & 1 == 1 {
                sums[2] ^= all;
            }
            if group & 2 == 2 {
                sums[3] ^= all;
            }
            sums[4] ^= all;
        }
        rounds.as_flattened_mut().iter_mut().for_each(Zeroize::zeroize);
    }
}

/// Round keys (FIPS 197, 5.2).
#[inline]
#[target_feature(enable = "aes")]
fn schedule(leaves: &[[u8; 16]; TOGETHER]) -> [Keys; 11] {
    let mut rounds = [leaves.map(|leaf| register(u128::from_le_bytes(leaf))); 11];
    rounds[1] = next::<0x01>(&rounds[0]);
    rounds[2] = next::<0x02>(&rounds[1]);
    rounds[3] = next::<0x04>(&rounds[2]);
    rounds[4] = next::<0x08>(&rounds[3]);
    rounds[5] = next::<0x10>(&rounds[4]);
    rounds[6] = next::<0x20>(&rounds[5]);
    rounds[7] = next::<0x40>(&rounds[6]);
    rounds[8] = next::<0x80>(&rounds[7]);
    rounds[9] = next::<0x1b>(&rounds[8]);
    rounds[10] = next::<0x36>(&rounds[9]);
    rounds
}

#[inline]
#[target_feature(enable = "aes")]
fn next<const RCON: i32>(keys: &Keys) -> Keys {
    let mut next = *keys;
    for key in &mut next {
        let substituted = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<RCON>(*key));
        // Each word becomes the sum of itself and those before it.
        let pairs = _mm_xor_si128(*key, _mm_slli_si128::<4>(*key));
        let words = _mm_xor_si128(pairs, _mm_slli_si128::<8>(pairs));
        *key = _mm_xor_si128(words, substituted);
    }
    next
}
