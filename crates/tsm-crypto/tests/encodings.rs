//! Everything that is decoded is canonical, on its curve, in range and not the identity (S-24).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use elliptic_curve::pkcs8::{EncodePrivateKey, EncodePublicKey};
use elliptic_curve::{Field, Group};
use num_bigint::BigUint;
use rand_core::Rng;
use tsm_crypto::hedged::test_rng;
use tsm_crypto::identity::KeyFormatError;
use tsm_crypto::{
    CanonicalScalar, Curve, CurveId, IdentityKey, IdentityPublicKey, Label, NonIdentityPoint, P256,
    Transcript, with_curve,
};

/// The group order, from the encoding of -1.
fn order<C: Curve>() -> BigUint {
    BigUint::from_bytes_be(&C::encode_scalar(&-C::Scalar::ONE)) + 1u32
}

fn padded<C: Curve>(number: &BigUint) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    [vec![0; C::SCALAR_BYTES - bytes.len()], bytes].concat()
}

fn points_round_trip_and_bad_ones_are_refused<C: Curve>() {
    let mut rng = test_rng(1);
    for _ in 0..20 {
        let point = C::mul_generator(&C::random_nonzero_scalar(&mut rng));
        let bytes = C::encode_point(&point);
        assert_eq!(bytes.len(), C::POINT_BYTES);
        assert!(C::decode_point(&bytes) == Some(point));
        let of_message = NonIdentityPoint::<C>::new(point).unwrap();
        assert_eq!(of_message.encoded(), bytes);
        assert!(NonIdentityPoint::<C>::decode(&bytes) == Some(of_message));
        let message = borsh::to_vec(&of_message).unwrap();
        assert_eq!((message.len(), message[0]), (C::MESSAGE_POINT_BYTES, 4));
        assert_eq!(message[1..C::POINT_BYTES], bytes[1..]);
        let again: NonIdentityPoint<C> = borsh::from_slice(&message).unwrap();
        assert!(*again.point() == point && again == of_message && again.encoded() == bytes);
        bad_points_of_messages_are_refused::<C>(&message);
    }
    let good = C::encode_point(&C::mul_generator(&C::random_nonzero_scalar(&mut rng)));
    let identity = C::encode_point(&C::Point::identity());
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        bytes
    };
    let off_the_curve = (0..=255u8)
        .map(|byte| with(&|b| b[C::POINT_BYTES - 1] = byte))
        .find(|bytes| C::decode_point(bytes).is_none())
        .expect("half of all x are on no point");
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("identity, padded", identity),
        ("identity, SEC1", vec![0]),
        ("zero", vec![0; C::POINT_BYTES]),
        ("too short", good[..C::POINT_BYTES - 1].to_vec()),
        ("trailing byte", with(&|b| b.push(0))),
        ("tag 0", with(&|b| b[0] = 0)),
        ("tag of an uncompressed point", with(&|b| b[0] = 4)),
        ("tag of a compact point", with(&|b| b[0] = 5)),
        ("x is not below the prime", [vec![2], vec![0xff; C::POINT_BYTES - 1]].concat()),
        ("not on the curve", off_the_curve),
    ];
    for (name, bytes) in bad {
        assert!(C::decode_point(&bytes).is_none(), "{:?}: {name}", C::ID);
        assert!(borsh::from_slice::<NonIdentityPoint<C>>(&bytes).is_err(), "{:?}: {name}", C::ID);
    }
    assert!(NonIdentityPoint::<C>::new(C::Point::identity()).is_none());
}

fn bad_points_of_messages_are_refused<C: Curve>(good: &[u8]) {
    let (x, y) = good[1..].split_at(C::POINT_BYTES - 1);
    let beyond = vec![0xff; x.len()];
    let tagged = |tag: u8, x: &[u8], y: &[u8]| [&[tag], x, y].concat();
    let bad = [
        ("empty", vec![]),
        ("compressed", C::encode_point(&C::from_coordinates(x, y).unwrap())),
        ("identity, padded", vec![0; good.len()]),
        ("too short", good[..good.len() - 1].to_vec()),
        ("trailing byte", [good, &[0]].concat()),
        ("tag of a compressed point", tagged(2, x, y)),
        ("hybrid tags", tagged(6, x, y)),
        ("hybrid tags", tagged(7, x, y)),
        ("x is not below the prime", tagged(4, &beyond, y)),
        ("y is not below the prime", tagged(4, x, &beyond)),
        ("not on the curve", tagged(4, y, x)),
    ];
    for (name, bytes) in bad {
        assert!(borsh::from_slice::<NonIdentityPoint<C>>(&bytes).is_err(), "{:?}: {name}", C::ID);
    }
}

fn scalars_round_trip_and_bad_ones_are_refused<C: Curve>() {
    let q = order::<C>();
    let mut rng = test_rng(2);
    for _ in 0..20 {
        let scalar = C::random_scalar(&mut rng);
        let bytes = C::encode_scalar(&scalar);
        assert!(C::decode_scalar(&bytes) == Some(scalar));
        let message = borsh::to_vec(&CanonicalScalar::<C>::new(scalar)).unwrap();
        assert!(*borsh::from_slice::<CanonicalScalar<C>>(&message).unwrap().scalar() == scalar);
    }
    for bad in [
        padded::<C>(&q),
        padded::<C>(&(&q + 1u32)),
        vec![0xff; C::SCALAR_BYTES],
        vec![],
        vec![0; C::SCALAR_BYTES + 1],
    ] {
        assert!(C::decode_scalar(&bad).is_none());
        assert!(borsh::from_slice::<CanonicalScalar<C>>(&bad).is_err());
    }
    assert!(C::decode_scalar(&padded::<C>(&(&q - 1u32))).is_some());
}

fn wide_reduction_is_reduction<C: Curve>() {
    let q = order::<C>();
    let mut rng = test_rng(3);
    let mut wide = C::Wide::default();
    assert_eq!(wide.as_ref().len(), C::SCALAR_BITS.div_ceil(8).max((C::SCALAR_BITS + 128).div_ceil(8)));
    for round in 0..50 {
        match round {
            0 => wide.as_mut().fill(0xff),
            1 => wide.as_mut().fill(0),
            _ => rng.fill_bytes(wide.as_mut()),
        }
        let expected = BigUint::from_bytes_be(wide.as_ref()) % &q;
        assert_eq!(C::encode_scalar(&C::reduce_wide(&wide)), padded::<C>(&expected));
    }
}

fn digests_are_reduced<C: Curve>() {
    let q = order::<C>();
    for byte in [0u8, 1, 0x80, 0xff] {
        let digest = vec![byte; C::ID.digest_bytes()];
        let expected = BigUint::from_bytes_be(&digest) % &q;
        assert_eq!(C::encode_scalar(&C::digest_to_scalar(&digest)), padded::<C>(&expected));
    }
}

#[test]
fn s24_points_on_every_curve() {
    for curve in CurveId::ALL {
        with_curve!(curve, C => points_round_trip_and_bad_ones_are_refused::<C>());
    }
}

#[test]
fn s24_scalars_on_every_curve() {
    for curve in CurveId::ALL {
        with_curve!(curve, C => scalars_round_trip_and_bad_ones_are_refused::<C>());
    }
}

#[test]
fn wide_reduction_and_digests_agree_with_big_integers_on_every_curve() {
    for curve in CurveId::ALL {
        with_curve!(curve, C => wide_reduction_is_reduction::<C>());
        with_curve!(curve, C => digests_are_reduced::<C>());
    }
}

#[test]
fn public_keys_are_read_as_they_are_written_and_nothing_may_follow() {
    for curve in CurveId::ALL {
        with_curve!(curve, C => {
            let point = C::mul_generator(&C::random_nonzero_scalar(&mut test_rng(4)));
            let mut der = C::public_key_der(&point);
            assert!(C::public_key_from_der(&der) == Some(point));
            assert_eq!(tsm_crypto::ecdsa::curve_of(&der), Some(curve));
            der.push(0);
            assert!(C::public_key_from_der(&der).is_none());
        });
    }
}

#[test]
fn curve_names_are_exact() {
    for curve in CurveId::ALL {
        assert_eq!(CurveId::from_name(curve.name()), Some(curve));
    }
    assert_eq!(CurveId::from_name("P256"), None);
    assert_eq!(CurveId::from_name("Secp256k1"), None);
}

/// Identity keys on all three curves, in SEC1 and PKCS#8.
fn identity_keys() -> Vec<IdentityKey> {
    let p256 = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let p384 = p384::SecretKey::from_slice(&[7; 48]).unwrap();
    let p521 = p521::SecretKey::from_slice(&[[0; 2].as_slice(), &[7; 64]].concat()).unwrap();
    let ders = [
        p256.to_sec1_der().unwrap().to_vec(),
        p384.to_sec1_der().unwrap().to_vec(),
        p521.to_sec1_der().unwrap().to_vec(),
        p256.to_pkcs8_der().unwrap().as_bytes().to_vec(),
        p384.to_pkcs8_der().unwrap().as_bytes().to_vec(),
        p521.to_pkcs8_der().unwrap().as_bytes().to_vec(),
    ];
    ders.iter().map(|der| IdentityKey::from_der(der).unwrap()).collect()
}

fn transcript(text: &str) -> Transcript {
    Transcript::new(Label::Certificate).bytes("text", text.as_bytes())
}

#[test]
fn an_identity_signs_on_every_curve_and_nobody_else_verifies() {
    let keys = identity_keys();
    for key in &keys {
        let signature = key.sign(&transcript("mine"));
        assert!(key.public().verifies(&transcript("mine"), &signature));
        assert!(!key.public().verifies(&transcript("other"), &signature));
        for other in keys.iter().filter(|other| other.public() != key.public()) {
            assert!(!other.public().verifies(&transcript("mine"), &signature));
        }
        for bad in [vec![], vec![0; signature.len()], [signature.clone(), vec![0]].concat()] {
            assert!(!key.public().verifies(&transcript("mine"), &bad));
        }
    }
}

#[test]
fn sec1_and_pkcs8_give_the_same_identity() {
    let keys = identity_keys();
    for place in 0..3 {
        assert_eq!(keys[place].public(), keys[place + 3].public());
    }
}

#[test]
fn a_key_on_a_curve_that_tls_does_not_take_is_refused() {
    let secp256k1 = k256::SecretKey::from_slice(&[7; 32]).unwrap();
    let der = secp256k1.to_sec1_der().unwrap();
    assert_eq!(IdentityKey::from_der(&der).unwrap_err(), KeyFormatError::Malformed);
    let public = secp256k1.public_key().to_public_key_der().unwrap();
    assert_eq!(IdentityPublicKey::from_der(public.as_bytes()), Err(KeyFormatError::Malformed));
}

#[test]
fn s29_junk_and_trailing_bytes_are_no_keys() {
    let key = &identity_keys()[0];
    let public = [key.public().der(), &[0]].concat();
    assert!(IdentityPublicKey::from_der(&public).is_err());
    let private = [key.der().expose().as_slice(), &[0]].concat();
    assert!(IdentityKey::from_der(&private).is_err());
    for junk in [&[][..], &[0x30], b"-----BEGIN PUBLIC KEY-----", &[0xff; 91]] {
        assert!(IdentityPublicKey::from_der(junk).is_err());
        assert!(IdentityKey::from_der(junk).is_err());
    }
}

#[test]
fn a_private_key_with_anothers_public_key_is_refused() {
    let mine = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let other = p256::SecretKey::from_slice(&[8; 32]).unwrap();
    let mut der = mine.to_sec1_der().unwrap().to_vec();
    let point = P256::public_key_der(&other.public_key().to_projective());
    let at = der.len() - 65;
    der[at..].copy_from_slice(&point[point.len() - 65..]);
    assert!(IdentityKey::from_der(&der).is_err());
}

#[test]
fn s29_a_public_key_in_a_message_has_one_encoding() {
    let key = identity_keys()[0].public().clone();
    let mut message = borsh::to_vec(&key).unwrap();
    assert_eq!(borsh::from_slice::<IdentityPublicKey>(&message).unwrap(), key);
    message.push(0);
    assert!(borsh::from_slice::<IdentityPublicKey>(&message).is_err());
    // The same point, compressed, is the same key in a file and no key in a message.
    let point = p256::PublicKey::from_sec1_bytes(&key.der()[key.der().len() - 65..]).unwrap();
    let prefix = [
        0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00,
    ];
    let compressed = [&prefix[..], &P256::encode_point(&point.to_projective())].concat();
    assert_eq!(IdentityPublicKey::from_der(&compressed).as_ref(), Ok(&key));
    assert!(borsh::from_slice::<IdentityPublicKey>(&borsh::to_vec(&compressed).unwrap()).is_err());
}

#[test]
fn s107_a_private_key_is_not_printed() {
    let text = format!("{:?}", identity_keys()[0]);
    assert!(text.contains("<secret>") && !text.contains("0707"), "{text}");
}
