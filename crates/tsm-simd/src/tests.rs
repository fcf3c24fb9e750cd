//! Against big integers, on the moduli that are used. Where the processor has no such instructions
//! there is nothing to test, and the tests say so.

use num_bigint::BigUint;

use crate::{
    Aes, COLUMNS, Clmul, Ifma, LEAVES, LIMB_BITS, Lanes, Modulus, Pad, PadBlocks, Pads, ROWS, Scalar,
    row_scalars, split, total,
};

/// Group orders of secp256k1 and P-256.
const ORDERS: [[u64; 4]; 2] = [
    [0xbfd2_5e8c_d036_4141, 0xbaae_dce6_af48_a03b, 0xffff_ffff_ffff_fffe, 0xffff_ffff_ffff_ffff],
    [0xf3b9_cac2_fc63_2551, 0xbce6_faad_a717_9e84, 0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000],
];

/// Bits of the largest integer in place of a pad.
const PAD_BITS: u32 = 386;

fn ifma() -> Option<Ifma> {
    let found = Ifma::detect();
    if found.is_none() {
        eprintln!("this processor has no AVX-512 IFMA: nothing was tested");
    }
    found
}

fn big(limbs: &[u64], bits: usize) -> BigUint {
    limbs.iter().rev().fold(BigUint::ZERO, |sum, limb| (sum << bits) + limb)
}

fn words<const N: usize>(number: &BigUint) -> [u64; N] {
    let mut words = [0; N];
    words.iter_mut().zip(number.to_u64_digits()).for_each(|(word, digit)| *word = digit);
    assert_eq!(&big(&words, 64), number, "it fits");
    words
}

fn modulus(q: &[u64; 4]) -> Modulus {
    Modulus::new(q, |exponent| words(&((BigUint::from(1u8) << exponent) % big(q, 64))))
}

/// Numbers below 2^bits, the edges first.
struct Numbers {
    state: u64,
    drawn: usize,
}

impl Numbers {
    fn new(seed: u64) -> Self {
        Numbers { state: seed, drawn: 0 }
    }

    /// Below `bound`: 0, 1, the greatest, 2^k and 2^k - 1 at the edges of limbs, then of any size.
    fn next(&mut self, bound: &BigUint) -> BigUint {
        self.drawn += 1;
        let power = |exponent: usize| BigUint::from(1u8) << exponent;
        match self.drawn % 24 {
            0 => BigUint::ZERO,
            1 => BigUint::from(1u8),
            2 => bound - 1u8,
            3 => power(LIMB_BITS) % bound,
            4 => (power(5 * LIMB_BITS) - 1u8) % bound,
            5 => (power(256) - 1u8) % bound,
            _ => {
                let digits = (0..14).map(|_| self.word() as u32).collect();
                BigUint::new(digits) % bound
            }
        }
    }

    /// xorshift64.
    fn word(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

type Numbered = [[BigUint; COLUMNS]; ROWS];

fn pads(numbers: &Numbered) -> Pads {
    let split: Vec<[Pad; COLUMNS]> =
        numbers.iter().map(|row| row.each_ref().map(|number| split(&words::<7>(number)))).collect();
    std::array::from_fn(|i| std::array::from_fn(|limb| Lanes(std::array::from_fn(|j| split[j][i][limb]))))
}

fn unsplit(pads: &Pads) -> Numbered {
    std::array::from_fn(|j| pads.each_ref().map(|pad| big(&pad.map(|limb| limb.0[j]), LIMB_BITS)))
}

fn draw(numbers: &mut Numbers, bound: &BigUint) -> Numbered {
    std::array::from_fn(|_| std::array::from_fn(|_| numbers.next(bound)))
}

fn scalar(number: &BigUint) -> Scalar {
    split(&words::<4>(number))
}

fn bytes(number: &BigUint) -> Vec<u8> {
    words::<4>(number).iter().rev().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn pads_are_the_big_endian_numbers_of_their_blocks() {
    let Some(ifma) = ifma() else { return };
    let mut numbers = Numbers::new(1);
    for round in 0..50 {
        let blocks: PadBlocks = std::array::from_fn(|_| {
            std::array::from_fn(|_| match round {
                0 => 0,
                1 => u128::MAX,
                _ => u128::from(numbers.word()) << 64 | u128::from(numbers.word()),
            })
        });
        let mut unpacked = Pads::default();
        ifma.unpack(&blocks, &mut unpacked);
        for (j, row) in unsplit(&unpacked).iter().enumerate() {
            for (i, pad) in row.iter().enumerate() {
                let bytes: Vec<u8> = (0..3).flat_map(|m| blocks[3 * i + m][j].to_le_bytes()).collect();
                assert_eq!(*pad, BigUint::from_bytes_be(&bytes));
            }
        }
    }
}

#[test]
fn differences_are_reduced_row_by_row() {
    let Some(ifma) = ifma() else { return };
    for order in &ORDERS {
        let (q, modulus, mut numbers) = (big(order, 64), modulus(order), Numbers::new(2));
        let bound = BigUint::from(1u8) << 384;
        let above = (&bound / &q + 1u8) * &q;
        for _ in 0..200 {
            let offsets = [(); 3].map(|()| &above + numbers.next(&q));
            let (zeros, ones) = (draw(&mut numbers, &bound), draw(&mut numbers, &bound));
            let mut out = [0; 96 * ROWS];
            let split = offsets.each_ref().map(|offset| split(&words::<7>(offset)));
            ifma.differences(&modulus, &split, &pads(&zeros), &pads(&ones), &mut out);
            let expected: Vec<u8> = (0..ROWS * COLUMNS)
                .map(|place| (place / COLUMNS, place % COLUMNS))
                .flat_map(|(j, i)| bytes(&((&offsets[i] + &zeros[j][i] - &ones[j][i]) % &q)))
                .collect();
            assert_eq!(out[..], expected);
        }
    }
}

#[test]
fn multiples_of_q_and_their_neighbours_are_reduced() {
    let Some(ifma) = ifma() else { return };
    for order in &ORDERS {
        let (q, modulus) = (big(order, 64), modulus(order));
        let most = (BigUint::from(1u8) << PAD_BITS) / &q - 1u8;
        for factor in [BigUint::from(1u8), BigUint::from(2u8), BigUint::from(3u8), most] {
            for number in [&q * &factor - 1u8, &q * &factor, &q * &factor + 1u8] {
                let offsets = [split(&words::<7>(&number)); 3];
                let mut out = [0; 96 * ROWS];
                ifma.differences(&modulus, &offsets, &Pads::default(), &Pads::default(), &mut out);
                assert_eq!(out[..], bytes(&(number % &q)).repeat(ROWS * COLUMNS));
            }
        }
    }
}

#[test]
fn only_chosen_rows_are_added_to() {
    let Some(ifma) = ifma() else { return };
    for order in &ORDERS {
        let (q, mut numbers) = (big(order, 64), Numbers::new(3));
        let bound = BigUint::from(1u8) << 384;
        for chosen in 0..=u8::MAX {
            let (before, addends) = (draw(&mut numbers, &bound), draw(&mut numbers, &q));
            let lines: Vec<u8> = addends.iter().flatten().flat_map(bytes).collect();
            let mut after = pads(&before);
            ifma.add_chosen(&mut after, lines.as_slice().try_into().unwrap(), chosen);
            for (j, row) in unsplit(&after).iter().enumerate() {
                for (i, number) in row.iter().enumerate() {
                    let addend = if (chosen >> j) & 1 == 1 { &addends[j][i] } else { &BigUint::ZERO };
                    assert_eq!(*number, &before[j][i] + addend);
                }
            }
            let limbs = after.as_flattened().iter().flat_map(|limb| limb.0);
            assert!(limbs.into_iter().all(|limb| limb >> LIMB_BITS == 0));
        }
    }
}

#[test]
fn check_values_are_reduced_row_by_row() {
    let Some(ifma) = ifma() else { return };
    for order in &ORDERS {
        let (q, modulus, mut numbers) = (big(order, 64), modulus(order), Numbers::new(4));
        let factor = (BigUint::from(1u8) << Modulus::FACTOR_BITS) % &q;
        let bound = BigUint::from(1u8) << PAD_BITS;
        for round in 0..200u64 {
            let rows = draw(&mut numbers, &bound);
            let [one, two, addend] = [(); 3].map(|()| numbers.next(&q));
            let chosen = if round == 0 { u8::MAX } else { numbers.word() as u8 };
            let with_factor = |number: &BigUint| scalar(&(number * &factor % &q));
            let mut out = [0; 32 * ROWS];
            ifma.check_values(
                &modulus,
                &[with_factor(&one), with_factor(&two)],
                &with_factor(&addend),
                chosen,
                &pads(&rows),
                &mut out,
            );
            let expected: Vec<u8> = rows
                .iter()
                .enumerate()
                .flat_map(|(j, row)| {
                    let addend = if (chosen >> j) & 1 == 1 { &addend } else { &BigUint::ZERO };
                    bytes(&((&one * &row[0] + &two * &row[1] + &row[2] + addend) % &q))
                })
                .collect();
            assert_eq!(out[..], expected);
        }
    }
}

#[test]
fn sums_of_products_have_room_for_the_largest_numbers() {
    let Some(ifma) = ifma() else { return };
    for order in &ORDERS {
        let (q, mut numbers) = (big(order, 64), Numbers::new(5));
        let bound = BigUint::from(1u8) << PAD_BITS;
        let mut sums = [[Lanes::default(); crate::SUM_LIMBS]; 2];
        let mut expected = [BigUint::ZERO, BigUint::ZERO];
        // As many groups as a multiplication has: first the largest numbers, then any.
        for group in 0..104 {
            let largest = group < 52;
            let rows = if largest {
                [(); ROWS].map(|()| [(); COLUMNS].map(|()| &bound - 1u8))
            } else {
                draw(&mut numbers, &bound)
            };
            let factors: [BigUint; 8] =
                std::array::from_fn(|_| if largest { &q - 1u8 } else { numbers.next(&q) });
            ifma.accumulate(&mut sums, &row_scalars(&factors.each_ref().map(words)), &pads(&rows));
            for (factor, row) in factors.iter().zip(&rows) {
                expected[0] += factor * &row[0];
                expected[1] += factor * &row[1];
            }
            let totals = sums.each_ref().map(|sum| big(&total::<11>(sum), 64));
            assert_eq!(totals, expected);
        }
    }
}

#[test]
fn sums_of_products_are_those_of_polynomials_modulo_that_of_the_field() {
    let Some(clmul) = Clmul::detect() else {
        eprintln!("this processor has no carry-less multiplication: nothing was tested");
        return;
    };
    let mut numbers = Numbers::new(6);
    let mut word = || match u128::from(numbers.word()) << 64 | u128::from(numbers.word()) {
        word if word % 5 == 0 => [0, 1, 1 << 127, 1 << 64, u128::MAX][(word >> 64) as usize % 5],
        word => word,
    };
    for count in 0..6 {
        let factors: Vec<u128> = (0..count).map(|_| word()).collect();
        let blocks: Vec<[u128; 128]> = (0..count).map(|_| std::array::from_fn(|_| word())).collect();
        let sums = clmul.sums_of_products(&factors, &blocks);
        for (place, sum) in sums.into_iter().enumerate() {
            let products = factors.iter().zip(&blocks).map(|(factor, block)| product(*factor, block[place]));
            assert_eq!(sum, products.fold(0, |sum, product| sum ^ product));
        }
    }
}

/// By long division, on big integers.
fn product(factor: u128, word: u128) -> u128 {
    let polynomial = (BigUint::from(1u8) << 128u32) + BigUint::from(0x87u8);
    let bits = (0..128u64).filter(|bit| (factor >> bit) & 1 == 1);
    let product = bits.fold(BigUint::ZERO, |sum, bit| sum ^ (BigUint::from(word) << bit));
    let remainder = (128..256u64)
        .rev()
        .fold(product, |rest, bit| if rest.bit(bit) { rest ^ (&polynomial << (bit - 128)) } else { rest });
    u128::try_from(remainder).expect("below x^128")
}

#[test]
fn sums_of_streams_are_those_of_a_cipher_that_nobody_here_wrote() {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    let Some(simd) = Aes::detect() else {
        eprintln!("this processor has no AES instructions: nothing was tested");
        return;
    };
    let mut numbers = Numbers::new(7);
    let mut word = || u128::from(numbers.word()) << 64 | u128::from(numbers.word());
    for blocks in [0, 1, 5, 9] {
        let leaves: [[u8; 16]; LEAVES] = std::array::from_fn(|_| word().to_le_bytes());
        let start = word();
        let before: Vec<[u128; 5]> = (0..blocks).map(|_| std::array::from_fn(|_| word())).collect();
        let mut sums = before.clone();
        simd.sums_of_streams(&leaves, start, &mut sums);
        let mut expected = before;
        for (number, sums) in expected.iter_mut().enumerate() {
            for (leaf, key) in leaves.iter().enumerate() {
                let mut block = (start ^ number as u128).to_le_bytes().into();
                aes::Aes128Enc::new(&(*key).into()).encrypt_block(&mut block);
                let string = u128::from_le_bytes(block.into());
                (0..4).filter(|bit| (leaf >> bit) & 1 == 1).for_each(|bit| sums[bit] ^= string);
                sums[4] ^= string;
            }
        }
        assert_eq!(sums, expected);
    }
}
