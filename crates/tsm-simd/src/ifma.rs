//! The arithmetic itself, in safe code that is compiled for AVX-512. Entered through `x86.rs`.

use std::arch::x86_64::{
    __m512i, __mmask8, _mm512_add_epi64, _mm512_and_si512, _mm512_andnot_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_maskz_mov_epi64, _mm512_or_si512, _mm512_permutex2var_epi64,
    _mm512_set1_epi64, _mm512_setr_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi64,
    _mm512_srai_epi64, _mm512_srli_epi64, _mm512_sub_epi64,
};

use crate::modulus::{CLEARED, FOLDED};
use crate::{
    COLUMNS, LIMB, Lanes, Modulus, PAD_LIMBS, Pad, PadBlocks, Pads, ROWS, RowScalars, SCALAR_LIMBS,
    SUM_LIMBS, Scalar, Sum,
};

/// Words of 64 bits of a scalar.
const WORDS: usize = 4;

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(crate) fn unpack(blocks: &PadBlocks, pads: &mut Pads) {
    for (pad, blocks) in pads.iter_mut().zip(blocks.chunks_exact(3)) {
        // From the lowest word: the last half of the last block.
        let mut words = [zero(); 6];
        for (words, block) in words.chunks_exact_mut(2).zip(blocks.iter().rev()) {
            let (first, second) = halves(block);
            words[1] = reverse_bytes(first);
            words[0] = reverse_bytes(second);
        }
        let [w0, w1, w2, w3, w4, w5] = words;
        *pad = [
            limb(w0),
            limb(join::<52, 12>(w0, w1)),
            limb(join::<40, 24>(w1, w2)),
            limb(join::<28, 36>(w2, w3)),
            limb(join::<16, 48>(w3, w4)),
            limb(_mm512_srli_epi64::<4>(w4)),
            limb(join::<56, 8>(w4, w5)),
            limb(_mm512_srli_epi64::<44>(w5)),
        ]
        .map(Lanes::from);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(crate) fn differences(
    modulus: &Modulus,
    offsets: &[Pad; 3],
    zeros: &Pads,
    ones: &Pads,
    out: &mut [u8; 96 * ROWS],
) {
    for column in 0..COLUMNS {
        let mut number = [zero(); PAD_LIMBS];
        for (i, limb) in number.iter_mut().enumerate() {
            let difference = _mm512_sub_epi64(zeros[column][i].into(), ones[column][i].into());
            *limb = _mm512_add_epi64(broadcast(offsets[column][i]), difference);
        }
        carry(&mut number);
        write(&reduce_pad(modulus, &number), out, 96, 32 * column);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(crate) fn add_chosen(pads: &mut Pads, lines: &[u8; 96 * ROWS], chosen: u8) {
    for (column, pad) in pads.iter_mut().enumerate() {
        let addend = read(lines, 96, 32 * column);
        let mut number = pad.map(__m512i::from);
        for (limb, addend) in number.iter_mut().zip(addend) {
            *limb = _mm512_add_epi64(*limb, masked(chosen, addend));
        }
        carry(&mut number);
        *pad = number.map(Lanes::from);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(crate) fn check_values(
    modulus: &Modulus,
    coefficients: &[Scalar; 2],
    addend: &Scalar,
    chosen: u8,
    pads: &Pads,
    out: &mut [u8; 32 * ROWS],
) {
    let mut sum = [zero(); SUM_LIMBS];
    for (limb, addend) in sum.iter_mut().zip(addend) {
        *limb = masked(chosen, broadcast(*addend));
    }
    let [one, two] = coefficients;
    for (coefficient, pad) in [one, two, &modulus.s].into_iter().zip(pads) {
        multiply_add(&mut sum, &coefficient.map(|limb| broadcast(limb)), &pad.map(__m512i::from));
    }
    clear_low_limbs(modulus, &mut sum, PAD_LIMBS);
    let mut value = [zero(); SCALAR_LIMBS];
    value.copy_from_slice(&sum[PAD_LIMBS..]);
    write(&subtract_once(modulus, value), out, 32, 0);
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(crate) fn accumulate(sums: &mut [Sum; 2], factors: &RowScalars, pads: &Pads) {
    let factors = factors.map(__m512i::from);
    for (sum, pad) in sums.iter_mut().zip(pads) {
        let mut limbs = sum.map(__m512i::from);
        multiply_add(&mut limbs, &factors, &pad.map(__m512i::from));
        *sum = limbs.map(Lanes::from);
    }
}

/// sum += a · b.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn multiply_add(sum: &mut [__m512i; SUM_LIMBS], a: &[__m512i; SCALAR_LIMBS], b: &[__m512i; PAD_LIMBS]) {
    for i in 0..SCALAR_LIMBS {
        for j in 0..PAD_LIMBS {
            sum[i + j] = _mm512_madd52lo_epu64(sum[i + j], a[i], b[j]);
        }
        for j in 0..PAD_LIMBS {
            sum[i + j + 1] = _mm512_madd52hi_epu64(sum[i + j + 1], a[i], b[j]);
        }
    }
}

/// number modulo q, below q: as in `tsm-crypto`, with other limbs. The four lower limbs are multiplied
/// by 2^104, the four higher ones replaced by their remainders times 2^104, and 2^104 divided away:
/// below 2^208 + 2^206 + q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn reduce_pad(modulus: &Modulus, number: &[__m512i; PAD_LIMBS]) -> [__m512i; SCALAR_LIMBS] {
    let (low, high) = number.split_at(PAD_LIMBS - FOLDED);
    let mut sum = [zero(); CLEARED + SCALAR_LIMBS];
    sum[CLEARED..CLEARED + low.len()].copy_from_slice(low);
    for (limb, fold) in high.iter().zip(&modulus.folds) {
        for (j, fold) in fold.iter().enumerate() {
            sum[j] = _mm512_madd52lo_epu64(sum[j], *limb, broadcast(*fold));
            sum[j + 1] = _mm512_madd52hi_epu64(sum[j + 1], *limb, broadcast(*fold));
        }
    }
    clear_low_limbs(modulus, &mut sum, CLEARED);
    let mut value = [zero(); SCALAR_LIMBS];
    value.copy_from_slice(&sum[CLEARED..]);
    subtract_once(modulus, value)
}

/// Adds the multiple of q that makes the `count` lowest limbs zero, Montgomery's way. What is left
/// has its carries where they arose.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn clear_low_limbs(modulus: &Modulus, sum: &mut [__m512i], count: usize) {
    for i in 0..count {
        let factor = _mm512_madd52lo_epu64(zero(), sum[i], broadcast(modulus.negated_inverse));
        for (j, q) in modulus.q.iter().enumerate() {
            sum[i + j] = _mm512_madd52lo_epu64(sum[i + j], factor, broadcast(*q));
            sum[i + j + 1] = _mm512_madd52hi_epu64(sum[i + j + 1], factor, broadcast(*q));
        }
        sum[i + 1] = _mm512_add_epi64(sum[i + 1], _mm512_srli_epi64::<52>(sum[i]));
    }
}

/// Carries, and subtracts q unless that is negative. `value` is below 2q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn subtract_once(modulus: &Modulus, mut value: [__m512i; SCALAR_LIMBS]) -> [__m512i; SCALAR_LIMBS] {
    carry(&mut value);
    let mut difference = value;
    for (limb, q) in difference.iter_mut().zip(&modulus.q) {
        *limb = _mm512_sub_epi64(*limb, broadcast(*q));
    }
    // All ones where it is negative, else zero.
    let negative = carry(&mut difference);
    for (limb, difference) in value.iter_mut().zip(difference) {
        let kept = _mm512_and_si512(negative, *limb);
        *limb = _mm512_or_si512(kept, _mm512_andnot_si512(negative, difference));
    }
    value
}

/// Brings all limbs below 2^52, negative ones as well; returns what goes beyond the highest.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn carry(number: &mut [__m512i]) -> __m512i {
    let mut carry = zero();
    for place in number {
        let sum = _mm512_add_epi64(*place, carry);
        *place = limb(sum);
        carry = _mm512_srai_epi64::<52>(sum);
    }
    carry
}

/// Reads a big-endian scalar of each row: it begins `start` bytes after the row, rows are `stride` apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn read(bytes: &[u8], stride: usize, start: usize) -> [__m512i; SCALAR_LIMBS] {
    let mut words = [Lanes::default(); WORDS];
    for (row, bytes) in bytes.chunks_exact(stride).enumerate() {
        for (word, bytes) in words.iter_mut().rev().zip(bytes[start..start + 32].chunks_exact(8)) {
            word.0[row] = u64::from_be_bytes(bytes.try_into().expect("eight bytes of a word"));
        }
    }
    let [w0, w1, w2, w3] = words.map(__m512i::from);
    [
        limb(w0),
        limb(join::<52, 12>(w0, w1)),
        limb(join::<40, 24>(w1, w2)),
        limb(join::<28, 36>(w2, w3)),
        _mm512_srli_epi64::<16>(w3),
    ]
}

/// The opposite of [`read`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn write(scalar: &[__m512i; SCALAR_LIMBS], bytes: &mut [u8], stride: usize, start: usize) {
    let [l0, l1, l2, l3, l4] = *scalar;
    let words =
        [join::<0, 52>(l0, l1), join::<12, 40>(l1, l2), join::<24, 28>(l2, l3), join::<36, 16>(l3, l4)]
            .map(Lanes::from);
    for (row, bytes) in bytes.chunks_exact_mut(stride).enumerate() {
        for (word, bytes) in words.iter().rev().zip(bytes[start..start + 32].chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.0[row].to_be_bytes());
        }
    }
}

/// low >> RIGHT | high << LEFT.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn join<const RIGHT: u32, const LEFT: u32>(low: __m512i, high: __m512i) -> __m512i {
    _mm512_or_si512(_mm512_srli_epi64::<RIGHT>(low), _mm512_slli_epi64::<LEFT>(high))
}

/// First and second halves of eight blocks, as they lie in memory.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn halves(blocks: &[u128; ROWS]) -> (__m512i, __m512i) {
    let word = |i: usize| (blocks[i / 2] >> (64 * (i % 2))) as u64;
    let low: __m512i = Lanes(std::array::from_fn(word)).into();
    let high: __m512i = Lanes(std::array::from_fn(|i| word(ROWS + i))).into();
    let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    (_mm512_permutex2var_epi64(low, even, high), _mm512_permutex2var_epi64(low, odd, high))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn reverse_bytes(words: __m512i) -> __m512i {
    const PAIR: [u64; 2] = [0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f];
    let order = Lanes(std::array::from_fn(|i| PAIR[i % 2]));
    _mm512_shuffle_epi8(words, order.into())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn limb(word: __m512i) -> __m512i {
    _mm512_and_si512(word, broadcast(LIMB))
}

/// Lane j where bit j of `mask` is 1, else zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn masked(mask: __mmask8, lanes: __m512i) -> __m512i {
    _mm512_maskz_mov_epi64(mask, lanes)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn broadcast(limb: u64) -> __m512i {
    _mm512_set1_epi64(limb as i64)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn zero() -> __m512i {
    _mm512_setzero_si512()
}
