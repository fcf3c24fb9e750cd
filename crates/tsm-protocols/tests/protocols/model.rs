//! A slow second implementation in plain big integers and affine points, independent of the product
//! down to the curve arithmetic. It redraws what honest players drew, reads the recorded messages,
//! and computes what must have come out.

use std::collections::BTreeMap;

use num_bigint::BigUint;
use rand_core::Rng;
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{Curve, Label, P256, P384, P521, Secp256k1, Transcript};
use tsm_protocols::ecdsa::sign::MultiplyMessage;
use tsm_protocols::keygen::OpenMessage;
use tsm_types::CurveId;

use crate::support::*;

type Int = BigUint;
/// `None` is the point at infinity.
type Point = Option<(Int, Int)>;

/// y² = x³ + ax + b over the integers modulo p; G has order q.
struct Model {
    p: Int,
    a: Int,
    b: Int,
    q: Int,
    g: Point,
    /// Bytes of an encoded scalar and coordinate.
    bytes: usize,
    /// Bytes that are reduced to a random scalar.
    wide: usize,
}

fn hex(digits: &str) -> Int {
    Int::parse_bytes(digits.as_bytes(), 16).unwrap()
}

impl Model {
    /// Parameters from SEC 2 and FIPS 186-4.
    fn new(curve: CurveId) -> Self {
        let [p, minus_a, b, q, x, y] = match curve {
            CurveId::Secp256k1 => [
                "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
                "0",
                "7",
                "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
                "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
                "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
            ],
            CurveId::P256 => [
                "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
                "3",
                "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
                "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
                "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
            ],
            CurveId::P384 => [
                "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
                "3",
                "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
                "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
                "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
                "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
            ],
            CurveId::P521 => [
                "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "3",
                "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
                "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
                "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
                "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
            ],
        }
        .map(hex);
        let (bytes, wide) = match curve {
            CurveId::Secp256k1 | CurveId::P256 => (32, 48),
            CurveId::P384 => (48, 64),
            CurveId::P521 => (66, 82),
        };
        Model { a: (&p - minus_a) % &p, p, b, q, g: Some((x, y)), bytes, wide }
    }

    fn add(&self, one: &Point, other: &Point) -> Point {
        let (Some((x1, y1)), Some((x2, y2))) = (one, other) else {
            return one.clone().or_else(|| other.clone());
        };
        let p = &self.p;
        let (rise, run) = if x1 != x2 {
            ((p + y2 - y1) % p, (p + x2 - x1) % p)
        } else if y1 == y2 && y1 != &Int::ZERO {
            ((Int::from(3u8) * x1 * x1 + &self.a) % p, (y1 + y1) % p)
        } else {
            return None;
        };
        let slope = rise * run.modinv(p).unwrap() % p;
        let x = (&slope * &slope + p + p - x1 - x2) % p;
        let y = (slope * (p + x1 - &x) + p - y1) % p;
        Some((x, y))
    }

    fn mul(&self, factor: &Int, point: &Point) -> Point {
        (0..factor.bits()).rev().fold(None, |value, bit| {
            let doubled = self.add(&value, &value);
            if factor.bit(bit) { self.add(&doubled, point) } else { doubled }
        })
    }

    fn neg(&self, point: &Point) -> Point {
        point.as_ref().map(|(x, y)| (x.clone(), (&self.p - y) % &self.p))
    }

    /// SEC1 compressed. p = 3 mod 4 on all our curves.
    fn decode(&self, bytes: &[u8]) -> Point {
        assert_eq!(bytes.len(), self.bytes + 1);
        let x = Int::from_bytes_be(&bytes[1..]);
        let square = (&x * &x * &x + &self.a * &x + &self.b) % &self.p;
        let root = square.modpow(&((&self.p + 1u8) / 4u8), &self.p);
        assert_eq!(&root * &root % &self.p, square);
        let y = if root.bit(0) == (bytes[0] == 3) { root } else { &self.p - root };
        Some((x, y))
    }

    fn sum<'a>(&self, points: impl IntoIterator<Item = &'a Point>) -> Point {
        points.into_iter().fold(None, |sum, point| self.add(&sum, point))
    }

    /// A random scalar as the product draws it.
    fn draw(&self, rng: &mut impl Rng) -> Int {
        let mut wide = vec![0; self.wide];
        rng.fill_bytes(&mut wide);
        Int::from_bytes_be(&wide) % &self.q
    }

    fn inverse(&self, scalar: &Int) -> Int {
        scalar.modinv(&self.q).unwrap()
    }

    fn minus(&self, one: &Int, other: &Int) -> Int {
        (one + &self.q - other) % &self.q
    }

    /// The value at 0 of the polynomial through these points.
    fn interpolate(&self, points: &[(u64, Int)]) -> Int {
        let q = &self.q;
        points.iter().fold(Int::ZERO, |sum, (at, value)| {
            let lambda =
                points.iter().filter(|(other, _)| other != at).fold(Int::from(1u8), |lambda, (other, _)| {
                    let distance = self.minus(&Int::from(*other), &Int::from(*at));
                    lambda * other % q * self.inverse(&distance) % q
                });
            (sum + lambda * value) % q
        })
    }
}

#[test]
fn the_models_curves_have_their_generators_and_orders() {
    for curve in CurveId::ALL {
        let model = Model::new(curve);
        let (x, y) = model.g.clone().unwrap();
        assert_eq!(&y * &y % &model.p, (&x * &x * &x + &model.a * &x + &model.b) % &model.p, "{curve}");
        assert_eq!(model.mul(&model.q, &model.g), None, "{curve}");
    }
}

/// Key generation of three players with threshold t, message by message.
fn key_generation_agrees<C: Curve>(t: u64) {
    let model = Model::new(C::ID);
    let indices = [0, 5, 9];
    let seed = 77;
    let session = keygen_session("model", C::ID, t, &indices);
    let mut opened: BTreeMap<(u16, u16), OpenMessage<C>> = BTreeMap::new();
    let keys = all(run_keygen(&session, seed, |message| {
        if message.round == 2 {
            opened.insert((message.from.0, message.to.0), borsh::from_slice(message.body).unwrap());
        }
    }));

    // Every player's polynomial, drawn again.
    let polynomials: BTreeMap<u16, Vec<Int>> = indices
        .iter()
        .map(|i| {
            let mut rng = test_rng(seed + u64::from(*i));
            (*i, (0..=t).map(|_| model.draw(&mut rng)).collect())
        })
        .collect();
    let evaluate = |coefficients: &[Int], at: u64| {
        coefficients.iter().rev().fold(Int::ZERO, |value, c| (value * at + c) % &model.q)
    };
    let number = |player: u16| session.players.share_number(p(player)).unwrap();
    for ((from, to), message) in &opened {
        let points = &message.broadcast.opening.coefficients;
        assert_eq!(points.len(), polynomials[from].len());
        for (point, coefficient) in points.iter().zip(&polynomials[from]) {
            let expected = model.mul(coefficient, &model.g);
            assert_eq!(model.decode(&C::encode_point(point.point())), expected);
        }
        let share = Int::from_bytes_be(&C::encode_scalar(message.share.scalar()));
        assert_eq!(share, evaluate(&polynomials[from], number(*to)));
    }

    let x = polynomials.values().fold(Int::ZERO, |sum, f| (sum + &f[0]) % &model.q);
    let mut shares = Vec::new();
    for (player, key) in &keys {
        let certificate = &key.share.certificate;
        let share = Int::from_bytes_be(key.share.secret.expose());
        let expected =
            polynomials.values().fold(Int::ZERO, |sum, f| (sum + evaluate(f, number(player.0))) % &model.q);
        assert_eq!(share, expected);
        let point = &certificate.share_points[number(player.0) as usize - 1];
        assert_eq!(model.decode(point), model.mul(&share, &model.g));
        assert_eq!(model.decode(&certificate.public_key), model.mul(&x, &model.g));
        assert_eq!(*certificate, keys[&p(0)].share.certificate);
        shares.push((number(player.0), share));
    }
    for subset in subsets(&[0, 1, 2], t as usize + 1) {
        let some: Vec<(u64, Int)> = subset.iter().map(|place| shares[usize::from(*place)].clone()).collect();
        assert_eq!(model.interpolate(&some), x);
    }
}

#[test]
fn the_model_of_key_generation_computes_the_same_messages_shares_and_key() {
    key_generation_agrees::<Secp256k1>(1);
    key_generation_agrees::<Secp256k1>(2);
    key_generation_agrees::<P256>(1);
    key_generation_agrees::<P384>(1);
    key_generation_agrees::<P521>(2);
}

/// A signature of two of three holders, message by message.
///
/// What the multiplications give is secret even from a reader of all messages; Γ and C6, C7 fix it
/// in the exponent, and its sum over all signers in the clear.
fn signing_agrees<C: Curve>(signers: &[u16]) {
    let model = Model::new(C::ID);
    let (q, seed) = (&model.q, 4000);
    let shares = generate(C::ID, 1, &[0, 5, 9]);
    let digest = digest(C::ID, 0x5a);
    let session = sign_session("model", &shares, &digest, signers);
    let mut sent: BTreeMap<(u16, u16), MultiplyMessage<C>> = BTreeMap::new();
    let partials = all(run_sign(&session, &shares, &PAIRS, seed, |message| {
        if message.round == 2 {
            sent.insert((message.from.0, message.to.0), borsh::from_slice(message.body).unwrap());
        }
    }));
    let scalar = |scalar: &C::Scalar| Int::from_bytes_be(&C::encode_scalar(scalar));
    let point = |point: &C::Point| model.decode(&C::encode_point(point));
    let broadcast = |i: u16| {
        let message = sent.iter().find(|((from, _), _)| *from == i).unwrap().1;
        (point(message.broadcast.nonce_point.point()), point(message.broadcast.key_point.point()))
    };
    let others = |i: u16| signers.iter().copied().filter(move |j| *j != i);

    // r_i and φ_i, drawn again; R and x from the shares.
    let drawn: BTreeMap<u16, (Int, Int)> = signers
        .iter()
        .map(|i| {
            let mut rng = test_rng(seed + u64::from(*i));
            let nonce = model.draw(&mut rng);
            (*i, (nonce, model.draw(&mut rng)))
        })
        .collect();
    let nonce = drawn.values().fold(Int::ZERO, |sum, (r, _)| (sum + r) % q);
    let mask = drawn.values().fold(Int::ZERO, |sum, (_, phi)| (sum + phi) % q);
    let numbered: Vec<(u64, Int)> = shares
        .iter()
        .map(|(player, share)| {
            let number = share.certificate.holders.share_number(*player).unwrap();
            (number, Int::from_bytes_be(share.secret.expose()))
        })
        .collect();
    let x = model.interpolate(&numbered);
    let r_point = model.mul(&nonce, &model.g);
    let r = r_point.clone().unwrap().0 % q;
    let h = Int::from_bytes_be(digest.as_bytes()) % q;

    let (mut w_sum, mut u_sum) = (Int::ZERO, Int::ZERO);
    for (player, partial) in &partials {
        let i = player.0;
        let (r_i, phi_i) = &drawn[&i];
        let (nonce_point, key_point) = broadcast(i);
        assert_eq!(nonce_point, model.mul(r_i, &model.g));
        assert_eq!(model.decode(&partial.common.r_point), r_point);
        // F_i = φ_i + Σ ψ_ji.
        let factor =
            others(i).fold(phi_i.clone(), |sum, j| (sum + scalar(sent[&(j, i)].private.psi.scalar())) % q);
        // u_i·G = F_i·R_i + Σ (Γᵘ_ij + χ_ij·R_j - Γᵘ_ji), and v_i with pk.
        let mut u_point = model.mul(&factor, &nonce_point);
        let mut v_point = model.mul(&factor, &key_point);
        for j in others(i) {
            let (to, from) = (&sent[&(i, j)].private, &sent[&(j, i)].private);
            let chi = model.minus(phi_i, &scalar(to.psi.scalar()));
            let (nonce_j, key_j) = broadcast(j);
            u_point = model.sum(&[
                u_point,
                point(to.gamma_u.point()),
                model.mul(&chi, &nonce_j),
                model.neg(&point(from.gamma_u.point())),
            ]);
            v_point = model.sum(&[
                v_point,
                point(to.gamma_v.point()),
                model.mul(&chi, &key_j),
                model.neg(&point(from.gamma_v.point())),
            ]);
        }
        let (w_i, u_i) = (Int::from_bytes_be(&partial.w), Int::from_bytes_be(&partial.u));
        assert_eq!(model.mul(&u_i, &model.g), u_point);
        let v_i = model.minus(&w_i, &(&h * phi_i % q)) * model.inverse(&r) % q;
        assert_eq!(model.mul(&v_i, &model.g), v_point);
        w_sum = (w_sum + w_i) % q;
        u_sum = (u_sum + u_i) % q;
    }
    // Σ u = (Σ r)(Σ φ) and Σ w = (Σ φ)(h + r·x).
    assert_eq!(u_sum, &nonce * &mask % q);
    assert_eq!(w_sum, &mask * ((&h + &r * &x) % q) % q);
    let key_points: Vec<Point> = signers.iter().map(|i| broadcast(*i).1).collect();
    assert_eq!(model.sum(&key_points), model.mul(&x, &model.g));

    // The signature, from its definition.
    let mut s = (&h + &r * &x) % q * model.inverse(&nonce) % q;
    if C::LOW_S && s > q / 2u8 {
        s = q - s;
    }
    let fixed = joined(&partials).fixed();
    assert_eq!(Int::from_bytes_be(&fixed[..model.bytes]), r);
    assert_eq!(Int::from_bytes_be(&fixed[model.bytes..]), s);
}

#[test]
fn the_model_of_signing_computes_the_same_nonces_partial_signatures_and_signature() {
    signing_agrees::<Secp256k1>(&[0, 9]);
    signing_agrees::<Secp256k1>(&[0, 5, 9]);
    signing_agrees::<P256>(&[5, 9]);
}

/// Presignatures of two or three holders and a signature of each, under a derived key.
fn presigning_agrees<C: Curve>(signers: &[u16]) {
    let model = Model::new(C::ID);
    let (q, seed, count) = (&model.q, 6000, 2);
    let shares = generate(C::ID, 1, &[0, 5, 9]);
    let certificate = shares[&p(0)].certificate.clone();
    let session = presign_session("model", &shares, count, signers);
    let made = all(run_presign(&session, &shares, &PAIRS, seed, honest));
    let numbered: Vec<(u64, Int)> = shares
        .iter()
        .map(|(player, share)| {
            let number = share.certificate.holders.share_number(*player).unwrap();
            (number, Int::from_bytes_be(share.secret.expose()))
        })
        .collect();
    let x = model.interpolate(&numbered);
    // r_i and φ_i of each presignature in turn, drawn again.
    let mut rngs: Vec<_> = signers.iter().map(|i| test_rng(seed + u64::from(*i))).collect();
    for (number, presignatures) in each(made).enumerate() {
        let (mut nonce, mut mask) = (Int::ZERO, Int::ZERO);
        for rng in &mut rngs {
            nonce = (nonce + model.draw(rng)) % q;
            mask = (mask + model.draw(rng)) % q;
        }
        let digest = digest(C::ID, 0x5a + number as u8);
        let epsilon = model.draw(&mut test_rng(77));
        let tweak = padded(&epsilon, model.bytes);
        let (first_id, key_id) = (presignatures[&p(signers[0])].public().id(), &certificate.key_id);
        let partials = use_all(presignatures, &digest, Some(&tweak));

        // δ, from the fields of step 5.2; R is the sum of what was drawn.
        let point = |point: &Point| encoded(point, model.bytes);
        let derived = (&x + &epsilon) % q;
        let derived_point = model.mul(&derived, &model.g);
        let mut wide = vec![0; model.wide];
        Transcript::new(Label::Presignature)
            .bytes("purpose", b"ecdsa")
            .bytes("curve", C::ID.name().as_bytes())
            .bytes("presignature", &first_id.0)
            .bytes("certificate", &certificate.digest())
            .bytes("key_id", key_id.as_str().as_bytes())
            .number("epoch", 0)
            .bytes("derived key", &point(&derived_point))
            .scalar::<C>("tweak", &C::decode_scalar(&tweak).unwrap())
            .bytes("R", &point(&model.mul(&nonce, &model.g)))
            .bytes("digest", digest.as_bytes())
            .bytes("signers", &borsh::to_vec(&session.players).unwrap())
            .fill(&mut wide);
        let delta = Int::from_bytes_be(&wide) % q;
        let shifted = (&nonce + &delta) % q;
        let r_point = model.mul(&shifted, &model.g);
        let r = r_point.clone().unwrap().0 % q;
        let h = Int::from_bytes_be(digest.as_bytes()) % q;

        let (mut w_sum, mut u_sum) = (Int::ZERO, Int::ZERO);
        for partial in partials.values() {
            assert_eq!(model.decode(&partial.common.r_point), r_point);
            assert_eq!(model.decode(&partial.common.public_key), derived_point);
            w_sum = (w_sum + Int::from_bytes_be(&partial.w)) % q;
            u_sum = (u_sum + Int::from_bytes_be(&partial.u)) % q;
        }
        // Σ u' = (Σ r + δ)(Σ φ) and Σ w = (Σ φ)(h + r'·(x + ε)).
        assert_eq!(u_sum, &shifted * &mask % q);
        assert_eq!(w_sum, &mask * ((&h + &r * &derived) % q) % q);
        let mut s = (&h + &r * &derived) % q * model.inverse(&shifted) % q;
        if C::LOW_S && s > q / 2u8 {
            s = q - s;
        }
        let fixed = joined(&partials).fixed();
        assert_eq!(Int::from_bytes_be(&fixed[..model.bytes]), r);
        assert_eq!(Int::from_bytes_be(&fixed[model.bytes..]), s);
    }
}

/// Big endian, as long as a scalar.
fn padded(number: &Int, bytes: usize) -> Vec<u8> {
    let short = number.to_bytes_be();
    [vec![0; bytes - short.len()], short].concat()
}

/// SEC1 compressed.
fn encoded(point: &Point, bytes: usize) -> Vec<u8> {
    let (x, y) = point.as_ref().unwrap();
    [vec![2 + u8::from(y.bit(0))], padded(x, bytes)].concat()
}

#[test]
fn the_model_of_presigning_computes_the_same_sums_and_signatures() {
    presigning_agrees::<Secp256k1>(&[0, 9]);
    presigning_agrees::<Secp256k1>(&[0, 5, 9]);
    presigning_agrees::<P256>(&[5, 9]);
}
