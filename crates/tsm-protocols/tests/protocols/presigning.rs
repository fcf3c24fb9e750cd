//! Cheats against presigning, and what may be made of a presignature. Player 5 cheats players 0 and 9.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use num_bigint::BigUint;
use tsm_crypto::ecdsa::{JoinError, PartialSignature, join, verify};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{CanonicalScalar, Curve, NonIdentityPoint, Secp256k1, with_curve};
use tsm_protocols::ecdsa::presign::{
    self, Acknowledgement, PresignCommit, PresignMultiply, Presignature, UseRefusal,
};
use tsm_protocols::ecdsa::sign::SignRefusal;
use tsm_protocols::testing::{InFlight, run_cluster, tamper};
use tsm_protocols::{Class, Context};
use tsm_types::{BatchSize, CurveId, Digest, PlayerIndex, Session};

use crate::support::*;

type Commit = PresignCommit<Secp256k1>;
type Multiply = PresignMultiply<Secp256k1>;
type Scalar = <Secp256k1 as Curve>::Scalar;

const PLAYERS: [u16; 3] = [0, 5, 9];
const CHEAT: u16 = 5;
const SEED: u64 = 7_000;
const COUNT: usize = 3;

static SHARES: LazyLock<Shares> = LazyLock::new(|| generate(CurveId::Secp256k1, 1, &PLAYERS));

fn presign_by(signers: &[u16]) -> Session {
    presign_session("presign", &SHARES, COUNT as u64, signers)
}

fn tampered(pairs: &Pairs, tamper: impl FnMut(InFlight<'_>)) -> Outcome<Presigned> {
    run_presign(&presign_by(&PLAYERS), &SHARES, pairs, SEED, tamper)
}

/// Applies `edit` to the cheat's message of a round, to one player or to all.
fn edited<M: borsh::BorshSerialize + borsh::BorshDeserialize>(
    round: usize,
    to: Option<u16>,
    edit: impl Fn(&mut M),
) -> impl FnMut(InFlight<'_>) {
    move |message| {
        let meant = to.is_none_or(|to| message.to == p(to));
        if message.from == p(CHEAT) && message.round == round && meant {
            tamper::<M>(message.body, &edit);
        }
    }
}

fn moved(point: &NonIdentityPoint<Secp256k1>) -> NonIdentityPoint<Secp256k1> {
    NonIdentityPoint::new(*point.point() + Secp256k1::mul_generator(&Scalar::from(1u64))).unwrap()
}

fn assert_burned(pairs: &Pairs, outcome: &Outcome<Presigned>, at: u16, check: &str) {
    assert_named(abort_of(outcome, at), Some(CHEAT), Class::SecretDependent, check);
    assert!(pairs.between(at, CHEAT).is_burned());
    assert!(!pairs.between(0, 9).is_burned() && !pairs.between(9, 0).is_burned());
}

/// One presignature of each of two players.
fn one_each() -> BTreeMap<PlayerIndex, Presignature> {
    let made = all(run_presign(&presign_by(&[0, 9]), &SHARES, &PAIRS, SEED, honest));
    each(made).next().unwrap()
}

#[test]
fn c2_s41_a_spoiled_batch_burns_the_pair_and_nothing_leaves_the_victim() {
    // Broadcast and pair; then count, nonce, first and last corrections, folds.
    for place in [96 + 2, 96 + 34, 96 + 34 + 3 * 52 - 1, 96 + 34 + 32 * (3 * 52 + 16), 96 + 3 * 1_664 + 2_609]
    {
        let pairs = Pairs::fresh(&PLAYERS);
        let sent = Cell::new(0);
        let outcome = tampered(&pairs, |message| {
            if (message.from, message.to, message.round) == (p(CHEAT), p(9), 1) {
                message.body[place] ^= 0x10;
            }
            if message.from == p(9) && message.round == 2 {
                sent.set(sent.get() + 1);
            }
        });
        assert_burned(&pairs, &outcome, 9, "C2");
        assert_eq!(sent.get(), 0, "nothing may leave before every C2 has passed");
        assert!(outcome[&p(0)].is_none());
    }
}

#[test]
fn c3_s18_an_equivocated_commitment_names_no_honest_player_and_burns_no_pair() {
    let outcome = tampered(&PAIRS, edited::<Commit>(1, Some(9), |m| m.broadcast.commitment[7] ^= 1));
    assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Equivocation, "C3");
    assert_eq!(abort_of(&outcome, 0).one_of, Some([p(CHEAT), p(9)]));
    for (one, other) in [(0, 9), (9, 0), (0, CHEAT), (9, CHEAT)] {
        assert!(!PAIRS.between(one, other).is_burned());
    }
}

#[test]
fn c4_any_nonce_point_that_was_not_committed_to_is_refused() {
    for number in 0..COUNT {
        let outcome = tampered(
            &PAIRS,
            edited::<Multiply>(2, None, |m| {
                let points = &mut m.broadcast.points[number];
                points.nonce_point = moved(&points.nonce_point);
            }),
        );
        assert_caught(&outcome, CHEAT, Class::Cheated, "C4");
    }
    let outcome = tampered(&PAIRS, edited::<Multiply>(2, None, |m| m.broadcast.points.swap(0, 2)));
    assert_caught(&outcome, CHEAT, Class::Cheated, "C4");
    let outcome = tampered(&PAIRS, edited::<Multiply>(2, None, |m| m.broadcast.blinding[0] ^= 1));
    assert_caught(&outcome, CHEAT, Class::Cheated, "C4");
}

#[test]
fn c5_c6_c7_a_cheat_in_any_presignature_of_the_batch_burns_the_pair() {
    for number in 0..COUNT {
        type Edit<'a> = &'a dyn Fn(&mut Multiply);
        let edits: [(&str, Edit<'_>); 4] = [
            // Two multiplications exchanged: each is right for another ssid_full.
            ("C5", &|m| {
                let [one, two] = [number, (number + 1) % COUNT];
                m.private.swap(one, two);
            }),
            ("C6, C7", &|m| m.private[number].gamma_u = moved(&m.private[number].gamma_u)),
            ("C6, C7", &|m| m.private[number].gamma_v = moved(&m.private[number].gamma_v)),
            ("C6, C7", &|m| {
                let points = &mut m.broadcast.points[number];
                points.key_point = moved(&points.key_point);
            }),
        ];
        for (check, edit) in edits {
            let pairs = Pairs::fresh(&PLAYERS);
            let outcome = tampered(&pairs, edited::<Multiply>(2, Some(9), edit));
            assert_burned(&pairs, &outcome, 9, check);
        }
    }
}

#[test]
fn c6_c7_errors_that_would_cancel_in_a_plain_sum_over_the_batch_burn_the_pair() {
    let back = |point: &NonIdentityPoint<Secp256k1>| {
        NonIdentityPoint::new(*point.point() - Secp256k1::mul_generator(&Scalar::from(1u64))).unwrap()
    };
    let edits: [&dyn Fn(&mut Multiply); 3] = [
        &|m| {
            m.private[0].gamma_u = moved(&m.private[0].gamma_u);
            m.private[2].gamma_u = back(&m.private[2].gamma_u);
        },
        &|m| {
            m.private[1].gamma_u = moved(&m.private[1].gamma_u);
            m.private[1].gamma_v = back(&m.private[1].gamma_v);
        },
        &|m| {
            let [first, second, ..] = &mut m.private[..] else { panic!("a batch of {COUNT}") };
            std::mem::swap(&mut first.gamma_v, &mut second.gamma_v);
        },
    ];
    for edit in edits {
        let pairs = Pairs::fresh(&PLAYERS);
        let outcome = tampered(&pairs, edited::<Multiply>(2, Some(9), edit));
        assert_burned(&pairs, &outcome, 9, "C6, C7");
    }
}

#[test]
fn a_batch_of_more_than_go_through_the_check_together_is_made() {
    // 19 presignatures are two groups of eight and three by themselves.
    let session = presign_session("presign", &SHARES, 19, &[0, 9]);
    let made = all(run_presign(&session, &SHARES, &PAIRS, SEED, honest));
    assert_eq!(each(made).count(), 19);
}

#[test]
fn c8_a_wrong_share_used_consistently_makes_no_presignature_and_names_nobody() {
    let mut shares: Shares = SHARES.iter().map(|(player, share)| (*player, copy(share))).collect();
    let cheat = shares.get_mut(&p(CHEAT)).unwrap();
    let wrong = Secp256k1::decode_scalar(cheat.secret.expose()).unwrap() + Scalar::from(1u64);
    cheat.certificate.share_points[1] = Secp256k1::encode_point(&Secp256k1::mul_generator(&wrong));
    cheat.secret = tsm_crypto::Secret::new(Secp256k1::encode_scalar(&wrong));
    let outcome = run_presign(&presign_by(&PLAYERS), &shares, &PAIRS, SEED, honest);
    for player in PLAYERS {
        assert_named(abort_of(&outcome, player), None, Class::Unattributed, "C8");
    }
}

#[test]
fn c9_s61_nonces_that_cancel_make_no_presignature() {
    // The cheat knows the others' randomness here, so that it can aim at their first nonces.
    let nonce = |player: u16| Secp256k1::random_nonzero_scalar(&mut test_rng(SEED + u64::from(player)));
    let aimed = drawn_as(&-(nonce(0) + nonce(9)));
    let session = presign_by(&PLAYERS);
    let context = Context::new(&session, p(CHEAT)).unwrap();
    let mut steps = presign_starts(&session, &SHARES, &PAIRS, SEED);
    let count = BatchSize::new(COUNT as u64).unwrap();
    let mut rng = Scripted::new(aimed, 1);
    let step = presign::start(&context, &SHARES[&p(CHEAT)], count, PAIRS.of(&context), &mut rng).unwrap();
    steps.insert(p(CHEAT), step);
    let outcome = run_cluster(steps, &mut test_rng(SEED), honest);
    for player in PLAYERS {
        assert_named(abort_of(&outcome, player), None, Class::Unattributed, "C9");
    }
}

#[test]
fn c12_s23_a_list_of_another_length_is_refused() {
    let edits: [fn(&mut Multiply); 4] = [
        |m| m.broadcast.points.truncate(COUNT - 1),
        |m| m.broadcast.points.clear(),
        |m| m.private.truncate(COUNT - 1),
        |m| {
            let again = borsh::to_vec(&m.private[0]).unwrap();
            m.private.push(borsh::from_slice(&again).unwrap());
        },
    ];
    for edit in edits {
        let outcome = tampered(&PAIRS, edited::<Multiply>(2, None, edit));
        assert_caught(&outcome, CHEAT, Class::Malformed, "C12");
    }
    // A batch of another size, well formed in itself.
    let other = RefCell::new(BTreeMap::new());
    let smaller = presign_session("presign", &SHARES, 2, &PLAYERS);
    run_presign(&smaller, &SHARES, &PAIRS, SEED, |message| {
        if message.from == p(CHEAT) && message.round == 1 {
            other.borrow_mut().insert(message.to, message.body.clone());
        }
    });
    let pairs = Pairs::fresh(&PLAYERS);
    let outcome = tampered(&pairs, |message| {
        if message.from == p(CHEAT) && message.round == 1 {
            *message.body = other.borrow()[&message.to].clone();
        }
    });
    assert_caught(&outcome, CHEAT, Class::Malformed, "C12");
    assert!(!pairs.between(0, CHEAT).is_burned() && !pairs.between(9, CHEAT).is_burned());
}

#[test]
fn c13_a_player_that_acknowledges_something_else_is_named_and_nobody_gets_a_presignature() {
    let outcome = tampered(&PAIRS, edited::<Acknowledgement>(3, None, |m| m.0[31] ^= 1));
    assert_caught(&outcome, CHEAT, Class::Malformed, "C13");
}

#[test]
fn s59_no_presignature_exists_before_everybody_has_acknowledged() {
    let outcome = tampered(&PAIRS, |message| {
        if message.from == p(CHEAT) && message.to == p(9) && message.round == 3 {
            message.body.clear();
        }
    });
    assert!(outcome[&p(9)].is_none(), "player 9 waits for the acknowledgement");
    assert!(matches!(&outcome[&p(0)], Some(Ok(made)) if made.len() == COUNT));
}

#[test]
fn c10_c11_s63_a_wrong_psi_gives_no_signature() {
    let edit = |m: &mut Multiply| {
        let psi = &mut m.private[0].psi;
        *psi = CanonicalScalar::new(*psi.scalar() + Scalar::from(1u64));
    };
    let made = all(tampered(&PAIRS, edited::<Multiply>(2, Some(9), edit)));
    let digest = digest(CurveId::Secp256k1, 1);
    let mut presignatures = each(made);
    let parts: Vec<_> = use_all(presignatures.next().unwrap(), &digest, None).into_values().collect();
    assert_eq!(join(digest.as_bytes(), &parts).err(), Some(JoinError::Unverifiable));
    joined(&use_all(presignatures.next().unwrap(), &digest, None));
}

#[test]
fn s03_s54_all_messages_of_an_earlier_run_with_the_same_session_id_are_refused() {
    let recorded = RefCell::new(BTreeMap::new());
    tampered(&PAIRS, |message| {
        recorded.borrow_mut().insert((message.from, message.to, message.round), message.body.clone());
    });
    let session = presign_by(&PLAYERS);
    let outcome = run_presign(&session, &SHARES, &PAIRS, SEED + 1, |message| {
        if message.from != p(0) {
            *message.body = recorded.borrow()[&(message.from, message.to, message.round)].clone();
        }
    });
    assert_eq!(abort_of(&outcome, 0).class, Class::Equivocation);
}

#[test]
fn s24_s29_malformed_messages_name_their_sender() {
    let edits: [fn(&mut Vec<u8>); 4] = [
        |body| body.push(0),
        |body| body.truncate(body.len() - 1),
        |body| body.truncate(1),
        |body| body.extend([0; 40_000]),
    ];
    for round in 1..=3 {
        for edit in edits {
            let outcome = tampered(&PAIRS, |message| {
                if message.from == p(CHEAT) && message.round == round {
                    edit(message.body);
                }
            });
            assert_caught(&outcome, CHEAT, Class::Malformed, "message decodes");
        }
    }
    // A list that claims 4,294,967,295 points.
    let outcome = tampered(&PAIRS, |message| {
        if message.from == p(CHEAT) && message.round == 2 {
            message.body[4 + 3 * 32 + 32..4 + 3 * 32 + 36].fill(0xff);
        }
    });
    assert_caught(&outcome, CHEAT, Class::Malformed, "message decodes");
}

#[test]
fn the_messages_have_the_documented_sizes() {
    for (curve, first, second) in [
        (CurveId::Secp256k1, 1_664, 40_292),
        (CurveId::P256, 1_664, 40_292),
        (CurveId::P384, 2_176, 78_852),
        (CurveId::P521, 2_752, 136_920),
    ] {
        let shares = generate(curve, 1, &PLAYERS);
        for count in [1, 3] {
            let mut sizes = BTreeMap::new();
            let session = presign_session("presign", &shares, count as u64, &[0, 9]);
            all(run_presign(&session, &shares, &PAIRS, SEED, |message| {
                sizes.insert(message.round, message.body.len());
            }));
            let expected = [(1, first * count + 2_706), (2, second * count + 44 + 32 * 2), (3, 32)];
            assert_eq!(sizes, expected.into(), "{curve}");
        }
    }
}

#[test]
fn s21_s30_s80_only_enough_holders_with_their_own_shares_presign() {
    let shares = generate(CurveId::Secp256k1, 2, &[0, 5, 9, 11]);
    let refusal = |signers: &[u16], share: u16| {
        let context = Context::new(&presign_session("presign", &shares, 1, signers), p(0)).unwrap();
        let one = BatchSize::new(1).unwrap();
        presign::start(&context, &shares[&p(share)], one, PAIRS.of(&context), &mut test_rng(1)).err()
    };
    let threshold = shares[&p(0)].certificate.threshold;
    assert_eq!(refusal(&[0, 5], 0), Some(SignRefusal::TooFewSigners { named: 2, threshold }));
    assert_eq!(refusal(&[0, 5, 300], 0), Some(SignRefusal::NotAHolder(p(300))));
    assert_eq!(refusal(&[0, 5, 9], 5), Some(SignRefusal::Share));
    assert_eq!(refusal(&[0, 5, 9], 0), None);
}

#[test]
fn s69_a_zero_nonce_is_drawn_again() {
    let session = presign_by(&[0, 9]);
    let context = Context::new(&session, p(9)).unwrap();
    let count = BatchSize::new(COUNT as u64).unwrap();
    let mut steps = presign_starts(&session, &SHARES, &PAIRS, SEED);
    let mut rng = Scripted::new(vec![0; 48], 5);
    let step = presign::start(&context, &SHARES[&p(9)], count, PAIRS.of(&context), &mut rng).unwrap();
    steps.insert(p(9), step);
    for presignatures in each(all(run_cluster(steps, &mut test_rng(1), honest))) {
        joined(&use_all(presignatures, &digest(CurveId::Secp256k1, 3), None));
    }
}

#[test]
fn s56_every_presignature_of_every_run_has_an_identifier_and_a_nonce_of_its_own() {
    let mut seen = BTreeSet::new();
    for seed in [1, 1000] {
        let made = all(run_presign(&presign_by(&[0, 9]), &SHARES, &PAIRS, seed, honest));
        let ids = |player: u16| made[&p(player)].iter().map(|one| one.public().id()).collect::<Vec<_>>();
        assert_eq!(ids(0), ids(9), "the same at all signers, in the same order");
        for presignatures in each(made) {
            let part = use_all(presignatures, &digest(CurveId::Secp256k1, 1), None);
            let common = &part[&p(0)].common;
            assert!(seen.insert(common.session.to_vec()));
            assert!(seen.insert(common.r_point.clone()));
        }
    }
    assert_eq!(seen.len(), 4 * COUNT);
}

#[test]
fn s58_s59_the_rerandomisation_changes_with_everything_agreed_and_with_nothing_else() {
    let presignatures = one_each();
    let public = presignatures[&p(0)].public();
    let tuple = |digest: u8, tweak: Option<[u8; 32]>| {
        let digest = self::digest(CurveId::Secp256k1, digest);
        *public.prepare(&digest, tweak.as_ref().map(|tweak| &tweak[..])).unwrap().tuple()
    };
    let mut one = [0; 32];
    one[31] = 1;
    let all: BTreeSet<_> =
        [tuple(1, None), tuple(2, None), tuple(1, Some(one)), tuple(2, Some(one))].into_iter().collect();
    assert_eq!(all.len(), 4);
    assert_eq!(tuple(1, None), tuple(1, None), "a repeated request is the same");
    assert_eq!(tuple(1, None), tuple(1, Some([0; 32])), "no tweak is the tweak 0");
    // Another player sees the same; another presignature is another.
    let digest = digest(CurveId::Secp256k1, 1);
    let theirs = presignatures[&p(9)].public().prepare(&digest, None).unwrap();
    assert_eq!(*theirs.tuple(), tuple(1, None));
    let other = run_presign(&presign_by(&[0, 9]), &SHARES, &PAIRS, SEED + 5, honest);
    let other = each(self::all(other)).next().unwrap();
    assert_ne!(other[&p(0)].public().prepare(&digest, None).unwrap().tuple(), theirs.tuple());
    // Another key with the same everything is another, and so is another set of signers.
    let wider = run_presign(&presign_by(&PLAYERS), &SHARES, &PAIRS, SEED, honest);
    let wider = each(self::all(wider)).next().unwrap();
    assert_ne!(wider[&p(0)].public().prepare(&digest, None).unwrap().tuple(), theirs.tuple());
}

#[test]
fn s60_signers_that_are_given_different_digests_make_nothing_that_joins() {
    let presignatures = one_each();
    let parts: Vec<PartialSignature> = presignatures
        .into_iter()
        .map(|(player, presignature)| {
            let digest = digest(CurveId::Secp256k1, 1 + player.0 as u8);
            let prepared = presignature.public().prepare(&digest, None).unwrap();
            presignature.sign(&prepared)
        })
        .collect();
    assert_ne!(parts[0].common.r_point, parts[1].common.r_point);
    for digest in [1, 10] {
        let digest = digest_bytes(digest);
        assert_eq!(join(&digest, &parts).err(), Some(JoinError::Foreign(0, 9)));
        // Nor when somebody makes them look alike.
        for common in [0, 1] {
            let mut forced = parts.clone();
            forced[1 - common].common = parts[common].common.clone();
            assert!(join(&digest, &forced).is_err());
        }
    }
}

fn digest_bytes(byte: u8) -> Vec<u8> {
    digest(CurveId::Secp256k1, byte).as_bytes().to_vec()
}

#[test]
fn s60_parts_of_different_presignatures_or_of_an_ordinary_signature_do_not_join() {
    let digest = digest(CurveId::Secp256k1, 0x42);
    let made = all(run_presign(&presign_by(&[0, 9]), &SHARES, &PAIRS, SEED, honest));
    let mut parts = each(made).map(|presignatures| use_all(presignatures, &digest, None));
    let (one, two) = (parts.next().unwrap(), parts.next().unwrap());
    let mixed = [one[&p(0)].clone(), two[&p(9)].clone()];
    assert_eq!(join(digest.as_bytes(), &mixed).err(), Some(JoinError::Foreign(0, 9)));
    let session = sign_session("sign", &SHARES, &digest, &[0, 9]);
    let ordinary = all(run_sign(&session, &SHARES, &PAIRS, SEED, honest));
    let mixed = [one[&p(0)].clone(), ordinary[&p(9)].clone()];
    assert_eq!(join(digest.as_bytes(), &mixed).err(), Some(JoinError::Foreign(0, 9)));
}

#[test]
fn c14_s61_s62_a_digest_or_tweak_that_cannot_be_signed_takes_nothing() {
    let presignatures = one_each();
    let public = presignatures[&p(0)].public();
    let q = BigUint::from_bytes_be(&Secp256k1::encode_scalar(&-Scalar::ONE)) + 1u8;
    for (curve, bytes) in [
        (CurveId::Secp256k1, vec![0; 32]),
        (CurveId::Secp256k1, q.to_bytes_be()),
        (CurveId::P384, vec![1; 48]),
    ] {
        let digest = Digest::new(bytes, curve).unwrap();
        let refusal = public.prepare(&digest, None).err().unwrap();
        assert_eq!(refusal, UseRefusal::Digest);
        assert!(refusal.to_string().contains("digest cannot be signed"), "{refusal}");
    }
    // X' = X + ε·G is the point at infinity for ε = -x, which only this test can know.
    let x: Scalar = {
        let at = |player: u16| Secp256k1::decode_scalar(SHARES[&p(player)].secret.expose()).unwrap();
        // Share numbers 1 and 2 of a polynomial of degree 1.
        at(0) + at(0) - at(5)
    };
    let digest = digest(CurveId::Secp256k1, 1);
    let infinity = Secp256k1::encode_scalar(&-x);
    for tweak in [&infinity[..], &q.to_bytes_be(), &[0; 31], &[0; 33], &[]] {
        let refusal = public.prepare(&digest, Some(tweak)).err().unwrap();
        assert_eq!(refusal, UseRefusal::Tweak);
        assert!(refusal.to_string().contains("path gives no key"), "{refusal}");
    }
    joined(&use_all(presignatures, &digest, None));
}

fn signs_under_the_derived_key<C: Curve>() {
    let shares = generate(C::ID, 1, &PLAYERS);
    let made =
        all(run_presign(&presign_session("presign", &shares, 1, &[0, 9]), &shares, &PAIRS, SEED, honest));
    let epsilon = C::random_scalar(&mut test_rng(99));
    let digest = digest(C::ID, 0x42);
    let parts = use_all(each(made).next().unwrap(), &digest, Some(&C::encode_scalar(&epsilon)));
    let signature = joined(&parts);
    let key = C::decode_point(&shares[&p(0)].certificate.public_key).unwrap();
    let derived = C::public_key_der(&(key + C::mul_generator(&epsilon)));
    assert!(verify(C::ID, &derived, digest.as_bytes(), signature.der()));
    assert!(!verify(C::ID, &C::public_key_der(&key), digest.as_bytes(), signature.der()));
}

#[test]
fn a_tweak_signs_under_the_derived_key_on_every_curve() {
    for curve in CurveId::ALL {
        with_curve!(curve, C => signs_under_the_derived_key::<C>());
    }
}

#[test]
fn s107_debug_of_a_presignature_shows_no_secret() {
    let text = format!("{:?}", one_each()[&p(0)]);
    assert!(text.starts_with("Presignature { id: ") && text.ends_with("secret: <secret> }"), "{text}");
}
