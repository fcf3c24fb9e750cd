//! The equations of the extension and of the multiplication on plain big integers, one bit, block
//! and scalar at a time: an executable form of `docs/spec/ot.md` 4 and 5 to compare the real code
//! with. It shares with it the hashes (`Transcript`) and the AES block, and nothing else.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use num_bigint::BigUint;

use super::extension::Binding;
use super::gadget::{choice_bits, gadget_scalars};
use super::{CHUNKS, DELTA_BITS, LEAVES, Leaves, TREE_DEPTH};
use crate::curve::Curve;
use crate::transcript::Label;

/// A column: ξ choice bits, and above them 128 bits for the check.
pub(super) type Column = BigUint;

fn one_bits(count: usize) -> BigUint {
    (BigUint::from(1u8) << count) - 1u8
}

pub(super) fn bit(value: &BigUint, index: usize) -> bool {
    value.bit(index as u64)
}

fn bytes_le(value: &BigUint, len: usize) -> Vec<u8> {
    let mut bytes = value.to_bytes_le();
    bytes.resize(len, 0);
    bytes
}

fn block(key: &[u8; 16], input: u128) -> u128 {
    let mut block: Block = input.to_le_bytes().into();
    Aes128Enc::new(&(*key).into()).encrypt_block(&mut block);
    u128::from_le_bytes(block.into())
}

/// PRG(leaf).
pub(super) fn string<C: Curve>(leaf: &[u8; 16], start: u128) -> Column {
    let xi = choice_bits::<C>();
    let blocks = xi.div_ceil(128);
    let choice: BigUint = (0..blocks)
        .map(|b| BigUint::from(block(leaf, start ^ b as u128)) << (128 * b))
        .fold(BigUint::ZERO, |sum, block| sum + block);
    let check = BigUint::from(block(leaf, start ^ blocks as u128));
    (choice & one_bits(xi)) | (check << xi)
}

/// B's u_c and v_a.
pub(super) fn receiver_columns<C: Curve>(
    leaves: &Leaves,
    start: u128,
    choices: &Column,
) -> (Vec<Column>, Vec<Column>) {
    let mut u = Vec::new();
    let mut v = vec![BigUint::ZERO; DELTA_BITS];
    for c in 0..CHUNKS {
        let strings: Vec<Column> = leaves[c].iter().map(|leaf| string::<C>(leaf, start)).collect();
        u.push(strings.iter().fold(choices.clone(), |sum, s| sum ^ s));
        for i in 0..TREE_DEPTH {
            for (x, s) in strings.iter().enumerate() {
                if (x >> i) & 1 == 1 {
                    v[c * TREE_DEPTH + i] ^= s;
                }
            }
        }
    }
    (u, v)
}

/// A's w_a.
pub(super) fn sender_columns<C: Curve>(
    leaves: &Leaves,
    delta: u128,
    start: u128,
    u: &[Column],
) -> Vec<Column> {
    let mut w = vec![BigUint::ZERO; DELTA_BITS];
    for c in 0..CHUNKS {
        let delta_c = (delta >> (c * TREE_DEPTH)) as usize % LEAVES;
        for i in 0..TREE_DEPTH {
            let column = &mut w[c * TREE_DEPTH + i];
            for x in (0..LEAVES).filter(|x| *x != delta_c) {
                if ((x ^ delta_c) >> i) & 1 == 1 {
                    *column ^= string::<C>(&leaves[c][x], start);
                }
            }
            if (delta_c >> i) & 1 == 1 {
                *column ^= &u[c];
            }
        }
    }
    w
}

/// Product in GF(2^128), as the Python model writes it.
fn field_product(mut a: BigUint, b: &BigUint) -> BigUint {
    let polynomial = (BigUint::from(1u8) << 128u32) + 0x87u8;
    let mut product = BigUint::ZERO;
    for i in 0..128 {
        if bit(b, i) {
            product ^= &a;
        }
        a <<= 1u32;
        if bit(&a, 128) {
            a ^= &polynomial;
        }
    }
    product
}

/// R(y).
pub(super) fn fold<C: Curve>(challenges: &[u128], y: &Column) -> BigUint {
    let xi = choice_bits::<C>();
    let choice = y & one_bits(xi);
    challenges.iter().enumerate().fold(y >> xi, |sum, (b, challenge)| {
        sum ^ field_product(BigUint::from(*challenge), &((&choice >> (128 * b)) & one_bits(128)))
    })
}

/// Row j of 128 columns.
pub(super) fn row(columns: &[Column], j: usize) -> u128 {
    columns.iter().enumerate().fold(0, |row, (a, column)| row | (u128::from(bit(column, j)) << a))
}

/// The bytes of B's message.
pub(super) fn extension_message<C: Curve>(
    nonce: &[u8; 32],
    u: &[Column],
    x: &BigUint,
    t: &[BigUint],
) -> Vec<u8> {
    let xi = choice_bits::<C>();
    let mut bytes = nonce.to_vec();
    for u in u {
        bytes.extend(bytes_le(&(u & one_bits(xi)), xi / 8));
        bytes.extend(bytes_le(&(u >> xi), 16));
    }
    bytes.extend(bytes_le(x, 16));
    for m in 0..128 {
        bytes.extend(row(t, m).to_le_bytes());
    }
    bytes
}

pub(super) fn order<C: Curve>() -> BigUint {
    BigUint::from_bytes_be(&C::encode_scalar(&-C::Scalar::from(1))) + 1u8
}

pub(super) fn number<C: Curve>(scalar: &C::Scalar) -> BigUint {
    BigUint::from_bytes_be(&C::encode_scalar(scalar))
}

fn encode<C: Curve>(value: &BigUint) -> Vec<u8> {
    let mut bytes = bytes_le(value, C::SCALAR_BYTES);
    bytes.reverse();
    bytes
}

fn gadget<C: Curve>() -> Vec<BigUint> {
    gadget_scalars::<C>().map(|g| number::<C>(&g)).collect()
}

/// The three pads of row j, reduced.
fn pads<C: Curve>(binding: &Binding, ssid_full: &[u8; 32], row: u128, j: usize) -> [BigUint; 3] {
    let mut key = [0; 16];
    binding.run::<C>(Label::PadKey, ssid_full).fill(&mut key);
    let wide = (C::SCALAR_BITS + 128).div_ceil(8);
    let blocks = wide.div_ceil(16);
    let head = block(&key, row);
    std::array::from_fn(|i| {
        let bytes: Vec<u8> = (i * blocks..(i + 1) * blocks)
            .flat_map(|m| (block(&key, head ^ ((j as u128) << 64 | m as u128)) ^ head).to_le_bytes())
            .collect();
        BigUint::from_bytes_be(&bytes[..wide]) % order::<C>()
    })
}

/// What A computes.
pub(super) struct Sent {
    pub(super) matrix: Vec<u8>,
    pub(super) eta: BigUint,
    pub(super) mu: [u8; 32],
    pub(super) c: [BigUint; 2],
}

/// What A does wrong.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Deviation {
    None,
    /// In this row a_u + 1 takes the place of a_u; everything else fits to a_u.
    InputOfRow(usize),
    /// The challenges' indices are exchanged in μ (rule S-52, like the next two).
    ChallengesInMu,
    /// The challenges' indices are exchanged in η.
    ChallengesInEta,
    /// The challenge multiplies the column of â instead of the column of a_i.
    ColumnOfCheckInput,
}

pub(super) fn send<C: Curve>(
    binding: &Binding,
    ssid_full: &[u8; 32],
    rows: &[u128],
    delta: u128,
    inputs: &[BigUint; 3],
    deviation: Deviation,
) -> Sent {
    let q = &order::<C>();
    let zeros: Vec<_> = (0..choice_bits::<C>()).map(|j| pads::<C>(binding, ssid_full, rows[j], j)).collect();
    let mut matrix = Vec::new();
    for (j, zero) in zeros.iter().enumerate() {
        let one = pads::<C>(binding, ssid_full, rows[j] ^ delta, j);
        for i in 0..3 {
            let more = u8::from(i == 0 && deviation == Deviation::InputOfRow(j));
            matrix.extend(encode::<C>(&((&zero[i] + q - &one[i] + &inputs[i] + more) % q)));
        }
    }
    let theta = binding.theta::<C>(ssid_full, &matrix).map(|theta| number::<C>(&theta));
    let swapped = [theta[1].clone(), theta[0].clone()];
    let in_eta = if deviation == Deviation::ChallengesInEta { &swapped } else { &theta };
    let in_mu = if deviation == Deviation::ChallengesInMu { &swapped } else { &theta };
    let eta = (&inputs[2] + &in_eta[0] * &inputs[0] + &in_eta[1] * &inputs[1]) % q;
    let list: Vec<u8> = zeros
        .iter()
        .flat_map(|a| {
            encode::<C>(&match deviation {
                Deviation::ColumnOfCheckInput => (&a[0] + &a[1] + &in_mu[0] * &a[2] + &in_mu[1] * &a[2]) % q,
                Deviation::None
                | Deviation::InputOfRow(_)
                | Deviation::ChallengesInMu
                | Deviation::ChallengesInEta => (&a[2] + &in_mu[0] * &a[0] + &in_mu[1] * &a[1]) % q,
            })
        })
        .collect();
    let mu = binding.check_hash::<C>(ssid_full, &list);
    let g = gadget::<C>();
    let c = [0, 1].map(|i| {
        let sum: BigUint = g.iter().zip(&zeros).map(|(g, a)| g * &a[i]).sum();
        (q - sum % q) % q
    });
    Sent { matrix, eta, mu, c }
}

/// What B computes: b, d, and whether check C5 passes.
pub(super) fn receive<C: Curve>(
    binding: &Binding,
    ssid_full: &[u8; 32],
    rows: &[u128],
    choices: &Column,
    sent: &Sent,
) -> (BigUint, [BigUint; 2], bool) {
    let q = &order::<C>();
    let xi = choice_bits::<C>();
    let theta = binding.theta::<C>(ssid_full, &sent.matrix).map(|theta| number::<C>(&theta));
    let dots: Vec<[BigUint; 3]> = (0..xi)
        .map(|j| {
            let gamma = pads::<C>(binding, ssid_full, rows[j], j);
            std::array::from_fn(|i| {
                let start = (3 * j + i) * C::SCALAR_BYTES;
                let entry = BigUint::from_bytes_be(&sent.matrix[start..start + C::SCALAR_BYTES]);
                if bit(choices, j) { (&gamma[i] + entry) % q } else { gamma[i].clone() }
            })
        })
        .collect();
    let list: Vec<u8> = dots
        .iter()
        .enumerate()
        .flat_map(|(j, dot)| {
            let minus = if bit(choices, j) { q - &sent.eta } else { BigUint::ZERO };
            encode::<C>(&((&dot[2] + &theta[0] * &dot[0] + &theta[1] * &dot[1] + minus) % q))
        })
        .collect();
    let g = gadget::<C>();
    let b: BigUint = (0..xi).filter(|j| bit(choices, *j)).map(|j| &g[j]).sum();
    let d = [0, 1].map(|i| g.iter().zip(&dots).map(|(g, dot)| g * &dot[i]).sum::<BigUint>() % q);
    (b % q, d, binding.check_hash::<C>(ssid_full, &list) == sent.mu)
}
