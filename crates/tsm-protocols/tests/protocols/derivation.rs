//! Signatures under keys below a key (docs/spec/derivation.md 4).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
    UnparsedPublicKey,
};
use sha2::Digest as _;
use tsm_crypto::derivation::Derived;
use tsm_crypto::ecdsa::PartialSignature;
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{Curve, Secp256k1};
use tsm_protocols::ecdsa::sign::{self, SignRefusal};
use tsm_protocols::testing::run_cluster;
use tsm_protocols::{Class, Context, DerivedKey};
use tsm_types::{CurveId, DerivationPath, Digest, Session};

use crate::support::*;

const PLAYERS: [u16; 3] = [0, 5, 9];
const SEED: u64 = 8_000;

fn path(steps: &[u32]) -> DerivationPath {
    DerivationPath::new(steps).unwrap()
}

fn derived(shares: &Shares, steps: &[u32]) -> DerivedKey {
    DerivedKey::new(&shares.values().next().unwrap().certificate, &path(steps)).unwrap()
}

/// A signature by all players of the session, each under the key that `key` gives it.
fn run(
    session: &Session,
    shares: &Shares,
    digest: &Digest,
    key: impl Fn(u16) -> DerivedKey,
) -> Outcome<PartialSignature> {
    let start = |(player, context): (tsm_types::PlayerIndex, Context)| {
        let mut rng = test_rng(SEED + u64::from(player.0));
        let (share, pairs) = (&shares[&player], PAIRS.of(&context));
        let step = sign::start_derived(&context, share, &key(player.0), digest, pairs, &mut rng);
        (player, step.unwrap())
    };
    run_cluster(contexts(session).into_iter().map(start).collect(), &mut test_rng(SEED), honest)
}

#[test]
fn s91_every_set_of_signers_signs_under_derived_keys_of_every_curve_and_aws_lc_verifies() {
    let message = b"signed below the key";
    for curve in CurveId::ALL {
        let (algorithm, hash) = match curve {
            CurveId::Secp256k1 => (&ECDSA_P256K1_SHA256_ASN1, sha2::Sha256::digest(message).to_vec()),
            CurveId::P256 => (&ECDSA_P256_SHA256_ASN1, sha2::Sha256::digest(message).to_vec()),
            CurveId::P384 => (&ECDSA_P384_SHA384_ASN1, sha2::Sha384::digest(message).to_vec()),
            CurveId::P521 => (&ECDSA_P521_SHA512_ASN1, sha2::Sha512::digest(message).to_vec()),
        };
        let digest = Digest::new(hash, curve).unwrap();
        let shares = generate(curve, 1, &PLAYERS);
        for (number, signers) in subsets(&PLAYERS, 2).into_iter().enumerate() {
            let steps = [44, number as u32, 2_147_483_647];
            let session = sign_session(&format!("derived{number}"), &shares, &digest, &signers);
            let signature = joined(&all(run(&session, &shares, &digest, |_| derived(&shares, &steps))));
            let verifies = |key: &DerivedKey| {
                let key = UnparsedPublicKey::new(algorithm, key.public_key_der());
                key.verify(message, signature.der()).is_ok()
            };
            assert!(verifies(&derived(&shares, &steps)), "{curve} {signers:?}");
            for other in [&[][..], &steps[..2], &[44, number as u32, 0]] {
                assert!(!verifies(&derived(&shares, other)), "{curve} {signers:?} {other:?}");
            }
        }
    }
}

#[test]
fn the_root_of_the_tree_is_the_key_itself() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let digest = digest(CurveId::Secp256k1, 1);
    let session = sign_session("root", &shares, &digest, &PLAYERS);
    let plain = joined(&all(run_sign(&session, &shares, &PAIRS, SEED, honest)));
    assert_eq!(joined(&all(run(&session, &shares, &digest, |_| derived(&shares, &[])))), plain);
    let certificate = &shares[&p(0)].certificate;
    let root = derived(&shares, &[]);
    assert_eq!(root.public_key(), certificate.public_key);
    assert_eq!(*root.chain_code(), certificate.chain_code);
    assert_eq!(root.public_key_der(), certificate.public_key_der());
}

#[test]
fn c8_s91_a_lowest_signer_that_adds_another_tweak_or_none_ends_every_other_run() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let digest = digest(CurveId::Secp256k1, 2);
    let session = sign_session("tweak", &shares, &digest, &PLAYERS);
    for lowest in [&[][..], &[1], &[1, 3]] {
        let outcome = run(&session, &shares, &digest, |player| match player {
            0 => derived(&shares, lowest),
            _ => derived(&shares, &[1, 2]),
        });
        for player in [5, 9] {
            assert_named(abort_of(&outcome, player), None, Class::Unattributed, "C8");
        }
    }
}

#[test]
fn c8_s92_a_signer_that_derives_another_key_than_the_others_gives_no_partial_signature() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let digest = digest(CurveId::Secp256k1, 3);
    let session = sign_session("path", &shares, &digest, &PLAYERS);
    for last in [&[][..], &[1], &[1, 3]] {
        let outcome = run(&session, &shares, &digest, |player| match player {
            9 => derived(&shares, last),
            _ => derived(&shares, &[1, 2]),
        });
        assert_named(abort_of(&outcome, 9), None, Class::Unattributed, "C8");
    }
}

#[test]
fn s91_a_derived_key_of_another_key_is_refused_before_anything_is_drawn() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let digest = digest(CurveId::Secp256k1, 4);
    let session = sign_session("other", &shares, &digest, &PLAYERS);
    let context = Context::new(&session, p(0)).unwrap();
    for other in
        [generate_with(CurveId::Secp256k1, 1, &PLAYERS, 777), generate_with(CurveId::P256, 1, &PLAYERS, 778)]
    {
        for steps in [&[][..], &[1]] {
            let key = derived(&other, steps);
            let (share, pairs) = (&shares[&p(0)], PAIRS.of(&context));
            let started = sign::start_derived(&context, share, &key, &digest, pairs, &mut test_rng(1));
            assert_eq!(started.err(), Some(SignRefusal::DerivedKey));
        }
    }
}

#[test]
fn s92_the_derived_key_depends_on_certificate_and_path_alone() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let keys: Vec<DerivedKey> =
        shares.values().map(|share| DerivedKey::new(&share.certificate, &path(&[7, 8])).unwrap()).collect();
    assert!(keys.iter().all(|key| key.public_key() == keys[0].public_key()));
    let certificate = &shares[&p(0)].certificate;
    assert_eq!((keys[0].certificate(), keys[0].path()), (&certificate.digest(), &[7, 8][..]));
    let point = Secp256k1::decode_point(&certificate.public_key).unwrap();
    let expected = Derived::<Secp256k1>::root(point, certificate.chain_code).derive(&[7, 8]).unwrap();
    assert_eq!(keys[0].public_key(), Secp256k1::encode_point(expected.point()));
    assert_eq!(keys[0].public_key_der(), Secp256k1::public_key_der(expected.point()));
    assert_eq!(keys[0].chain_code(), expected.chain_code());
    assert_eq!(keys[0].tweak().unwrap(), Secp256k1::encode_scalar(expected.tweak().expose()));
    // One step at a time or all at once.
    let stepwise = derived(&shares, &[7]).child(8).unwrap();
    assert_eq!(stepwise.public_key(), keys[0].public_key());
    assert_eq!((stepwise.path(), stepwise.chain_code()), (&[7, 8][..], keys[0].chain_code()));
}

#[test]
fn s107_debug_of_a_derived_key_shows_no_chain_code() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    assert_eq!(format!("{:?}", derived(&shares, &[3])), "DerivedKey { curve: secp256k1, path: [3], .. }");
}
