//! Derivation against official vectors, a foreign library and another implementation (rule S-89).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;

use bip32::{ChildNumber, ExtendedKeyAttrs, Prefix, XPub};
use proptest::prelude::*;
use tsm_crypto::curve::Field;
use tsm_crypto::derivation::{DerivationError, Derived, HARDENED, MAX_STEPS};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::xpub::{Place, encode, fingerprint};
use tsm_crypto::{Curve, CurveId, P256, Secp256k1, with_curve};

const BIP32: &str = include_str!("../../../vectors/bip32.txt");
const SOFT: &str = include_str!("../../../vectors/soft_derivation_v1.txt");

type Key = Derived<Secp256k1>;

fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect())
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap()).collect()
}

fn steps(path: &str) -> Vec<u32> {
    path.split('/').skip(1).map(|step| step.parse().unwrap()).collect()
}

/// A foreign library's key as ours.
fn ours(key: &XPub) -> Key {
    let point = Secp256k1::decode_point(&key.to_bytes()).unwrap();
    Key::root(point, key.attrs().chain_code)
}

fn key(seed: u64) -> Key {
    let point = Secp256k1::mul_generator(&Secp256k1::random_nonzero_scalar(&mut test_rng(seed)));
    Key::root(point, [seed as u8; 32])
}

/// Our key as a foreign library's.
fn theirs(key: &Key) -> XPub {
    let attrs = ExtendedKeyAttrs {
        depth: 0,
        parent_fingerprint: [0; 4],
        child_number: ChildNumber(0),
        chain_code: *key.chain_code(),
    };
    let compressed = Secp256k1::encode_point(key.point()).try_into().unwrap();
    XPub::new(bip32::PublicKey::from_bytes(compressed).unwrap(), attrs)
}

#[test]
fn a_refusal_says_which_step_it_is() {
    for (error, said) in [
        (DerivationError::Hardened(HARDENED + 44), "step 2147483692 is hardened (that is 44')"),
        (DerivationError::TooLong(51), "at most 50 steps; this one has 51"),
        (DerivationError::NoKey(7), "no key at step 7"),
    ] {
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn s89_every_soft_step_of_the_official_vectors_gives_the_official_key() {
    let mut earlier = BTreeMap::new();
    let mut soft = 0;
    for line in lines(BIP32) {
        let [number, path, xpub] = line[..] else { panic!("{line:?}") };
        let expected: XPub = xpub.parse().unwrap();
        if let Some((parent, step)) = path.rsplit_once('/')
            && let Ok(step) = step.parse::<u32>()
        {
            let parent: &XPub = &earlier[&(number, parent)];
            let child = ours(parent).child(step).unwrap();
            assert_eq!(Secp256k1::encode_point(child.point()), expected.to_bytes(), "{number} {path}");
            assert_eq!(*child.chain_code(), expected.attrs().chain_code, "{number} {path}");
            soft += 1;
        }
        earlier.insert((number, path), expected);
    }
    assert_eq!((soft, earlier.len()), (6, 17));
}

#[test]
fn s89_every_official_extended_public_key_is_written_as_the_vectors_write_it() {
    for line in lines(BIP32) {
        let key: XPub = line[2].parse().unwrap();
        let attrs = key.attrs();
        let place =
            Place { depth: attrs.depth, parent: attrs.parent_fingerprint, step: attrs.child_number.0 };
        assert_eq!(encode(&place, &attrs.chain_code, ours(&key).point()), line[2]);
    }
}

#[test]
fn s89_the_soft_derivation_of_the_other_curves_is_the_one_of_another_implementation() {
    for line in lines(SOFT) {
        let [curve, root_code, path, public_key, chain_code] = line[..] else { panic!("{line:?}") };
        let root_code = bytes(root_code).try_into().unwrap();
        with_curve!(CurveId::from_name(curve).unwrap(), C => {
            let seven = <C as Curve>::Scalar::from(7u64);
            let root = Derived::<C>::root(C::mul_generator(&seven), root_code);
            let derived = root.derive(&steps(path)).unwrap();
            assert_eq!(C::encode_point(derived.point()), bytes(public_key), "{curve} {path}");
            assert_eq!(derived.chain_code().to_vec(), bytes(chain_code), "{curve} {path}");
        });
    }
    assert_eq!(lines(SOFT).count(), 24);
}

#[test]
fn s89_the_scheme_of_the_other_curves_is_not_bip32() {
    // BIP 32's formula on P-256 (SLIP-10's for public keys) would give the first 32 bytes of this.
    let seven = <P256 as Curve>::Scalar::from(7u64);
    let root = Derived::<P256>::root(P256::mul_generator(&seven), [1; 32]);
    let slip10 = {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<sha2::Sha512>::new_from_slice(&[1; 32]).unwrap();
        mac.update(&P256::encode_point(root.point()));
        mac.update(&3u32.to_be_bytes());
        mac.finalize().into_bytes()
    };
    let child = root.child(3).unwrap();
    assert_ne!(P256::encode_scalar(child.tweak().expose()), slip10[..32]);
    assert_ne!(child.chain_code()[..], slip10[32..]);
}

#[test]
fn d1_s89_a_hardened_step_is_refused_on_every_curve_wherever_it_stands() {
    for curve in CurveId::ALL {
        with_curve!(curve, C => {
            let root = Derived::<C>::root(C::mul_generator(&Field::ONE), [1; 32]);
            for step in [HARDENED, HARDENED + 44, u32::MAX] {
                assert_eq!(root.child(step).err(), Some(DerivationError::Hardened(step)));
                assert_eq!(root.derive(&[0, 1, step]).err(), Some(DerivationError::Hardened(step)));
                assert_eq!(root.derive(&[step, 1]).err(), Some(DerivationError::Hardened(step)));
            }
            assert!(root.child(HARDENED - 1).is_ok());
        });
    }
}

#[test]
fn d1_s89_a_path_of_more_than_50_steps_is_refused() {
    assert!(key(1).derive(&[1; MAX_STEPS]).is_ok());
    assert_eq!(MAX_STEPS, 50);
    assert_eq!(key(1).derive(&[1; 51]).err(), Some(DerivationError::TooLong(51)));
}

#[test]
fn s91_the_tweak_is_the_way_from_the_root_to_the_derived_key() {
    for curve in CurveId::ALL {
        with_curve!(curve, C => {
            let secret = C::random_nonzero_scalar(&mut test_rng(5));
            let root = Derived::<C>::root(C::mul_generator(&secret), [9; 32]);
            for path in [&[][..], &[0], &[44, 0, 1, 2147483647]] {
                let derived = root.derive(path).unwrap();
                let derived_secret = secret + derived.tweak().expose();
                assert!(C::mul_generator(&derived_secret) == *derived.point());
                assert_eq!(path.is_empty(), bool::from(derived.tweak().expose().is_zero()));
            }
        });
    }
}

#[test]
fn s90_one_derived_private_key_and_public_values_give_the_private_key_of_the_whole_tree() {
    // What `docs/spec/derivation.md` 3 warns of is so: a key that is given away gives all away.
    let secret = Secp256k1::random_nonzero_scalar(&mut test_rng(6));
    let root = Key::root(Secp256k1::mul_generator(&secret), [9; 32]);
    let given_away = secret + root.derive(&[44, 0, 5]).unwrap().tweak().expose();
    let public = Key::root(*root.point(), *root.chain_code());
    let found = given_away - public.derive(&[44, 0, 5]).unwrap().tweak().expose();
    assert!(Secp256k1::mul_generator(&found) == *root.point());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn s89_random_paths_give_the_keys_and_strings_of_a_foreign_library(
        seed in 1u64..200,
        path in proptest::collection::vec(0u32..HARDENED, 0..6),
    ) {
        let root = key(seed);
        let (mut foreign, mut own, mut place) = (theirs(&root), root.derive(&[]).unwrap(), Place::default());
        for step in &path {
            place = Place {
                depth: place.depth + 1,
                parent: fingerprint(&Secp256k1::encode_point(own.point())),
                step: *step,
            };
            own = own.child(*step).unwrap();
            foreign = foreign.derive_child(ChildNumber(*step)).unwrap();
        }
        prop_assert_eq!(Secp256k1::encode_point(own.point()), foreign.to_bytes().to_vec());
        prop_assert_eq!(encode(&place, own.chain_code(), own.point()), foreign.to_string(Prefix::XPUB));
        prop_assert!(*root.derive(&path).unwrap().point() == *own.point());
    }

    #[test]
    fn s89_different_paths_lead_to_different_keys(
        one in proptest::collection::vec(0u32..3, 0..4),
        other in proptest::collection::vec(0u32..3, 0..4),
    ) {
        let at = |path: &[u32]| Secp256k1::encode_point(key(3).derive(path).unwrap().point());
        prop_assert_eq!(one == other, at(&one) == at(&other));
    }
}
