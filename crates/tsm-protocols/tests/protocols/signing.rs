//! Cheats against signing. Player 5 cheats players 0 and 9.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::LazyLock;

use tsm_crypto::commitment::CommitmentContext;
use tsm_crypto::ecdsa::{JoinError, PartialSignature, join};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{CanonicalScalar, Curve, NonIdentityPoint, P384, Secp256k1};
use tsm_protocols::ecdsa::sign::{self, CommitBroadcast, CommitMessage, MultiplyMessage, SignRefusal};
use tsm_protocols::testing::{InFlight, run_cluster, tamper};
use tsm_protocols::{Class, Context, PerPeer};
use tsm_types::{CurveId, Digest, Operation, PlayerIndex, Session};

use crate::support::*;

type Commit = CommitMessage<Secp256k1>;
type Multiply = MultiplyMessage<Secp256k1>;
type Scalar = <Secp256k1 as Curve>::Scalar;

const PLAYERS: [u16; 3] = [0, 5, 9];
const CHEAT: u16 = 5;
const SEED: u64 = 4_000;

static SHARES: LazyLock<Shares> = LazyLock::new(|| generate(CurveId::Secp256k1, 1, &PLAYERS));

fn sign_by(signers: &[u16]) -> Session {
    sign_session("sign", &SHARES, &digest(CurveId::Secp256k1, 0x42), signers)
}

fn tampered(pairs: &Pairs, tamper: impl FnMut(InFlight<'_>)) -> Outcome<PartialSignature> {
    run_sign(&sign_by(&PLAYERS), &SHARES, pairs, SEED, tamper)
}

/// Applies `edit` to the cheat's second message to one player.
fn second_to(to: u16, edit: impl Fn(&mut Multiply)) -> impl FnMut(InFlight<'_>) {
    move |message| {
        if (message.from, message.to, message.round) == (p(CHEAT), p(to), 2) {
            tamper::<Multiply>(message.body, &edit);
        }
    }
}

/// Applies `edit` to the cheat's second message to everybody.
fn second(edit: impl Fn(&mut Multiply)) -> impl FnMut(InFlight<'_>) {
    move |message| {
        if message.from == p(CHEAT) && message.round == 2 {
            tamper::<Multiply>(message.body, &edit);
        }
    }
}

fn point(number: u64) -> NonIdentityPoint<Secp256k1> {
    NonIdentityPoint::new(Secp256k1::mul_generator(&Scalar::from(number))).unwrap()
}

fn moved(point: &NonIdentityPoint<Secp256k1>) -> NonIdentityPoint<Secp256k1> {
    NonIdentityPoint::new(*point.point() + Secp256k1::mul_generator(&Scalar::from(1u64))).unwrap()
}

/// The secret-dependent check of player `at` failed: the state with the cheat is burned there, and
/// no other.
fn assert_burned(pairs: &Pairs, outcome: &Outcome<PartialSignature>, at: u16, check: &str) {
    assert_named(abort_of(outcome, at), Some(CHEAT), Class::SecretDependent, check);
    assert!(pairs.between(at, CHEAT).is_burned());
    assert!(!pairs.between(0, 9).is_burned() && !pairs.between(9, 0).is_burned());
}

#[test]
fn c2_s41_a_spoiled_extension_burns_the_pair_and_nothing_leaves_the_victim() {
    // Header, nonce of the extension, its corrections, folded choices, and folded columns.
    for place in [64 + 32, 64 + 32 + 32, 64 + 32 + 32 + 2176, 64 + 32 + 32 + 2176 + 16 + 2047] {
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
        // Player 0 was not lied to; it waits for player 9.
        assert!(outcome[&p(0)].is_none());
        assert!(!pairs.between(0, CHEAT).is_burned());
    }
}

#[test]
fn c3_s18_s40_an_equivocated_commitment_names_no_honest_player_and_burns_no_pair() {
    for field in ["commitment", "fresh"] {
        let pairs = &PAIRS;
        let outcome = tampered(pairs, |message| {
            if (message.from, message.to, message.round) == (p(CHEAT), p(9), 1) {
                tamper::<Commit>(message.body, |message| match field {
                    "commitment" => message.broadcast.commitment[7] ^= 1,
                    _ => message.broadcast.fresh[0] ^= 1,
                });
            }
        });
        assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Equivocation, "C3");
        assert_named(abort_of(&outcome, 0), None, Class::Equivocation, "C3");
        assert_eq!(abort_of(&outcome, 0).one_of, Some([p(CHEAT), p(9)]));
        // Rule S-02: players 0 and 9 see different runs here, and must not hold it against each other.
        for (one, other) in [(0, 9), (9, 0), (0, CHEAT), (9, CHEAT)] {
            assert!(!pairs.between(one, other).is_burned());
        }
    }
}

#[test]
fn c3_s23_an_echo_of_another_length_is_refused() {
    for length in [0, 2, 4, 500] {
        let outcome = tampered(&PAIRS, second(|m| m.broadcast.echo.digests_mut().resize(length, [0; 32])));
        assert_caught(&outcome, CHEAT, Class::Malformed, "C3");
    }
}

#[test]
fn c3_s18_a_player_that_lies_about_what_it_received_frames_nobody() {
    let outcome = tampered(&PAIRS, second(|m| m.broadcast.echo.digests_mut()[2][0] ^= 1));
    assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Equivocation, "C3");
    assert_named(abort_of(&outcome, 0), None, Class::Equivocation, "C3");
}

#[test]
fn c4_a_nonce_point_that_was_not_committed_to_is_refused() {
    let outcome = tampered(&PAIRS, second(|m| m.broadcast.blinding[0] ^= 1));
    assert_caught(&outcome, CHEAT, Class::Cheated, "C4");
    let outcome = tampered(&PAIRS, second(|m| m.broadcast.nonce_point = moved(&m.broadcast.nonce_point)));
    assert_caught(&outcome, CHEAT, Class::Cheated, "C4");
    // An equivocated opening is caught by whoever received it.
    let outcome = tampered(&PAIRS, second_to(9, |m| m.broadcast.nonce_point = point(7)));
    assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Cheated, "C4");
}

#[test]
fn c4_s11_a_copied_commitment_does_not_open_for_the_copier() {
    let (commits, opens) = (RefCell::new(Vec::<Commit>::new()), RefCell::new(Vec::<Multiply>::new()));
    let session = sign_by(&PLAYERS);
    let context = Context::new(&session, p(CHEAT)).unwrap();
    let recorded = |message: InFlight<'_>| {
        if message.from == p(0) && message.to == p(CHEAT) {
            match message.round {
                1 => commits.borrow_mut().push(borsh::from_slice(message.body).unwrap()),
                _ => opens.borrow_mut().push(borsh::from_slice(message.body).unwrap()),
            }
        }
    };
    tampered(&PAIRS, recorded);
    let (commits, opens) = (commits.into_inner(), opens.into_inner());
    let outcome = tampered(&PAIRS, |message| {
        if message.from == p(CHEAT) && message.round == 1 {
            tamper::<Commit>(message.body, |message| message.broadcast = commits[0].broadcast.clone());
        }
        if message.from == p(CHEAT) && message.round == 2 {
            tamper::<Multiply>(message.body, |message| {
                message.broadcast.echo.replace(&context, p(CHEAT), &commits[0].broadcast);
                message.broadcast.blinding = opens[0].broadcast.blinding;
                message.broadcast.nonce_point = opens[0].broadcast.nonce_point;
            });
        }
    });
    assert_caught(&outcome, CHEAT, Class::Cheated, "C4");
}

#[test]
fn c5_a_multiplication_with_a_wrong_check_value_burns_the_pair() {
    let pairs = Pairs::fresh(&PLAYERS);
    // μ is what only C5 looks at: it is followed by two points and a scalar.
    let outcome = tampered(&pairs, |message| {
        if (message.from, message.to, message.round) == (p(CHEAT), p(9), 2) {
            let place = message.body.len() - 65 - 65 - 32 - 1;
            message.body[place] ^= 1;
        }
    });
    assert_burned(&pairs, &outcome, 9, "C5");
}

#[test]
fn c5_a_changed_matrix_entry_or_eta_burns_the_pair() {
    // Low bytes of two entries of ã and of η.
    for from_end in [65 + 65 + 32 + 32 + 1, 65 + 65 + 32 + 32 + 32 + 1, 65 + 65 + 32 + 32 + 39_936 - 31] {
        let pairs = Pairs::fresh(&PLAYERS);
        let outcome = tampered(&pairs, |message| {
            if (message.from, message.to, message.round) == (p(CHEAT), p(9), 2) {
                let place = message.body.len() - from_end;
                message.body[place] ^= 1;
            }
        });
        assert_burned(&pairs, &outcome, 9, "C5");
    }
}

#[test]
fn c6_an_output_point_that_does_not_fit_the_nonce_burns_the_pair() {
    let pairs = Pairs::fresh(&PLAYERS);
    let outcome = tampered(&pairs, second_to(9, |m| m.private.gamma_u = moved(&m.private.gamma_u)));
    assert_burned(&pairs, &outcome, 9, "C6, C7");
}

#[test]
fn c5_c6_a_committed_nonce_point_other_than_the_one_multiplied_burns_the_pair() {
    // The cheat commits to 7 * G from the start, and multiplies with its own r. Its pads follow the
    // first message that it meant to send, so that C5 fails before C6 would.
    let pairs = Pairs::fresh(&PLAYERS);
    let session = sign_by(&PLAYERS);
    let context = Context::new(&session, p(CHEAT)).unwrap();
    let tag = session.tag();
    let commitment = CommitmentContext { ssid: &tag.0, committer: CHEAT, purpose: "signing nonce" };
    let (commitment, blinding) =
        commitment.commit(&Secp256k1::encode_point(point(7).point()), &mut test_rng(1));
    let broadcast = CommitBroadcast { commitment, fresh: [3; 32] };
    let outcome = tampered(&pairs, |message| {
        if message.from == p(CHEAT) && message.round == 1 {
            tamper::<Commit>(message.body, |message| message.broadcast = broadcast.clone());
        }
        if message.from == p(CHEAT) && message.round == 2 {
            tamper::<Multiply>(message.body, |message| {
                message.broadcast.echo.replace(&context, p(CHEAT), &broadcast);
                message.broadcast.blinding = blinding;
                message.broadcast.nonce_point = point(7);
            });
        }
    });
    for victim in [0, 9] {
        assert_eq!(abort_of(&outcome, victim).class, Class::SecretDependent);
        assert_eq!(abort_of(&outcome, victim).player, Some(p(CHEAT)));
    }
}

#[test]
fn c7_an_output_point_or_key_point_that_does_not_fit_the_key_part_burns_the_pair() {
    let edits: [fn(&mut Multiply); 2] = [
        |m| m.private.gamma_v = moved(&m.private.gamma_v),
        // Equivocating the key point is caught by whoever received the wrong one (rule S-18).
        |m| m.broadcast.key_point = moved(&m.broadcast.key_point),
    ];
    for edit in edits {
        let pairs = Pairs::fresh(&PLAYERS);
        let outcome = tampered(&pairs, second_to(9, edit));
        assert_burned(&pairs, &outcome, 9, "C6, C7");
    }
}

#[test]
fn c6_c7_errors_that_would_cancel_in_a_plain_sum_of_both_checks_burn_the_pair() {
    let edits: [fn(&mut Multiply); 2] = [
        |m| {
            let one = Secp256k1::mul_generator(&Scalar::from(1u64));
            let private = &mut m.private;
            private.gamma_u = NonIdentityPoint::new(*private.gamma_u.point() + one).unwrap();
            private.gamma_v = NonIdentityPoint::new(*private.gamma_v.point() - one).unwrap();
        },
        |m| std::mem::swap(&mut m.private.gamma_u, &mut m.private.gamma_v),
    ];
    for edit in edits {
        let pairs = Pairs::fresh(&PLAYERS);
        assert_burned(&pairs, &tampered(&pairs, second_to(9, edit)), 9, "C6, C7");
    }
}

#[test]
fn s106_all_secret_dependent_failures_have_one_code() {
    let abort = |check| tsm_protocols::Abort::secret_dependent(p(CHEAT), check);
    assert_eq!(abort("C2").code(), abort("C7").code());
}

#[test]
fn c8_a_wrong_share_used_consistently_gives_no_partial_signature_and_names_nobody() {
    let mut shares: Shares = SHARES.iter().map(|(player, share)| (*player, copy(share))).collect();
    let cheat = shares.get_mut(&p(CHEAT)).unwrap();
    // The cheat's own record is consistent with the wrong share, so that its run starts.
    let wrong = Secp256k1::decode_scalar(cheat.secret.expose()).unwrap() + Scalar::from(1u64);
    cheat.certificate.share_points[1] = Secp256k1::encode_point(&Secp256k1::mul_generator(&wrong));
    cheat.secret = tsm_crypto::Secret::new(Secp256k1::encode_scalar(&wrong));
    let outcome = run_sign(&sign_by(&PLAYERS), &shares, &PAIRS, SEED, honest);
    for player in PLAYERS {
        assert_named(abort_of(&outcome, player), None, Class::Unattributed, "C8");
    }
}

#[test]
fn c9_s61_nonces_that_cancel_give_no_partial_signature() {
    // The cheat knows the others' randomness here, so that it can aim.
    let nonce = |player: u16| Secp256k1::random_nonzero_scalar(&mut test_rng(SEED + u64::from(player)));
    let aimed = drawn_as(&-(nonce(0) + nonce(9)));
    let session = sign_by(&PLAYERS);
    let context = Context::new(&session, p(CHEAT)).unwrap();
    let mut steps = sign_starts(&session, &SHARES, &PAIRS, SEED);
    let mut rng = Scripted::new(aimed, 1);
    let digest = digest(CurveId::Secp256k1, 0x42);
    let step = sign::start(&context, &SHARES[&p(CHEAT)], &digest, PAIRS.of(&context), &mut rng).unwrap();
    steps.insert(p(CHEAT), step);
    let outcome = run_cluster(steps, &mut test_rng(SEED), honest);
    for player in PLAYERS {
        assert_named(abort_of(&outcome, player), None, Class::Unattributed, "C9");
    }
}

#[test]
fn c10_c11_s63_a_wrong_psi_or_partial_signature_gives_no_signature() {
    // ψ is masked by a fresh secret, so no check can hold it against anybody: the signature fails.
    let outcome = tampered(
        &PAIRS,
        second_to(9, |m| m.private.psi = CanonicalScalar::new(*m.private.psi.scalar() + Scalar::from(1u64))),
    );
    let partials: Vec<PartialSignature> = all(outcome).into_values().collect();
    assert_eq!(join(&partials[0].common.digest, &partials).err(), Some(JoinError::Unverifiable));

    let partials: Vec<PartialSignature> =
        all(run_sign(&sign_by(&PLAYERS), &SHARES, &PAIRS, SEED, honest)).into_values().collect();
    for position in 0..partials.len() {
        for w in [true, false] {
            let mut spoiled = partials.clone();
            let field = if w { &mut spoiled[position].w } else { &mut spoiled[position].u };
            field[31] ^= 1;
            assert!(join(&partials[0].common.digest, &spoiled).is_err());
        }
    }
}

#[test]
fn s03_s54_all_messages_of_an_earlier_run_with_the_same_session_id_are_refused() {
    let session = sign_by(&PLAYERS);
    let recorded = record(&session, &SHARES, &PAIRS);
    let answers = RefCell::new(BTreeMap::new());
    let outcome = run_sign(&session, &SHARES, &PAIRS, SEED + 1, |message| {
        if message.from != p(0) {
            *message.body = recorded[&(message.from, message.to, message.round)].clone();
        } else if message.round == 2 {
            answers.borrow_mut().insert(message.to, message.body.clone());
        }
    });
    let abort = abort_of(&outcome, 0);
    assert_eq!((abort.class, abort.check), (Class::Equivocation, "C3 echo of the commitments"));
    // The replayed extension had the same nonce and choice bits. Were the pads the same too, then the
    // difference of two rows of ã, from which the inputs drop out, would be the same in both runs.
    let difference = |body: &[u8]| {
        let message: Multiply = borsh::from_slice(body).unwrap();
        let matrix = borsh::to_vec(&message.private.vole).unwrap();
        let entry = |row: usize| Secp256k1::decode_scalar(&matrix[row * 96..row * 96 + 32]).unwrap();
        entry(0) - entry(1)
    };
    for peer in [CHEAT, 9] {
        let answer = answers.borrow()[&p(peer)].clone();
        assert_ne!(difference(&answer), difference(&recorded[&(p(0), p(peer), 2)]));
    }
}

#[test]
fn s01_messages_of_another_session_of_the_same_players_give_no_result() {
    let other = sign_session("other", &SHARES, &digest(CurveId::Secp256k1, 0x42), &PLAYERS);
    for round in [1, 2] {
        let pairs = Pairs::fresh(&PLAYERS);
        let recorded = record(&other, &SHARES, &pairs);
        let outcome = tampered(&pairs, |message| {
            if message.from == p(CHEAT) && message.round == round {
                *message.body = recorded[&(message.from, message.to, message.round)].clone();
            }
        });
        let expected = if round == 1 { Class::SecretDependent } else { Class::Equivocation };
        for victim in [0, 9] {
            let abort = abort_of(&outcome, victim);
            assert_eq!((abort.class, abort.player), (expected, Some(p(CHEAT))));
        }
    }
}

/// All messages of an honest run.
fn record(
    session: &Session,
    shares: &Shares,
    pairs: &Pairs,
) -> BTreeMap<(PlayerIndex, PlayerIndex, usize), Vec<u8>> {
    let mut recorded = BTreeMap::new();
    all(run_sign(session, shares, pairs, SEED, |message| {
        recorded.insert((message.from, message.to, message.round), message.body.clone());
    }));
    recorded
}

#[test]
fn s05_messages_of_a_run_with_another_key_give_no_result() {
    let other_key = generate_with(CurveId::Secp256k1, 1, &PLAYERS, 900);
    let session = sign_session("sign", &other_key, &digest(CurveId::Secp256k1, 0x42), &PLAYERS);
    assert_ne!(session.tag(), sign_by(&PLAYERS).tag());
    let pairs = Pairs::fresh(&PLAYERS);
    let recorded = record(&session, &other_key, &pairs);
    let outcome = tampered(&pairs, |message| {
        if message.from == p(CHEAT) {
            *message.body = recorded[&(message.from, message.to, message.round)].clone();
        }
    });
    assert_caught(&outcome, CHEAT, Class::SecretDependent, "C2");
}

#[test]
fn s04_a_message_delivered_to_another_peer_is_refused() {
    for round in [1, 2] {
        let pairs = Pairs::fresh(&PLAYERS);
        let recorded = record(&sign_by(&PLAYERS), &SHARES, &pairs);
        let outcome = tampered(&pairs, |message| {
            if message.from == p(CHEAT) && message.round == round {
                let other = if message.to == p(0) { p(9) } else { p(0) };
                *message.body = recorded[&(p(CHEAT), other, round)].clone();
            }
        });
        for victim in [0, 9] {
            let abort = abort_of(&outcome, victim);
            assert_eq!(abort.player, Some(p(CHEAT)));
            let expected = if round == 1 { Class::PairGone } else { Class::SecretDependent };
            assert_eq!(abort.class, expected);
        }
    }
}

#[test]
fn s04_a_message_reflected_to_its_sender_is_refused() {
    for round in [1, 2] {
        let pairs = Pairs::fresh(&[0, 9]);
        let recorded = record(&sign_by(&[0, 9]), &SHARES, &pairs);
        let outcome = run_sign(&sign_by(&[0, 9]), &SHARES, &pairs, SEED, |message| {
            if message.from == p(9) && message.round == round {
                *message.body = recorded[&(p(0), p(9), round)].clone();
            }
        });
        let abort = abort_of(&outcome, 0);
        assert_eq!(abort.player, Some(p(9)));
        let expected = if round == 1 { Class::SecretDependent } else { Class::Cheated };
        assert_eq!(abort.class, expected, "{abort:?}");
    }
}

#[test]
fn s41_after_the_first_failure_every_parallel_and_later_session_learns_nothing_more() {
    let pairs = Pairs::fresh(&[0, 9]);
    let session =
        |number| sign_session(&format!("sign{number}"), &SHARES, &digest(CurveId::Secp256k1, 1), &[0, 9]);
    // Fifty sessions have begun on the state before the first verdict.
    let started: Vec<_> = (0..50)
        .map(|number| (number, sign_starts(&session(number), &SHARES, &pairs, SEED + 1000 * number)))
        .collect();
    let mut passed = 0;
    for (number, steps) in started {
        let outcome = run_cluster(steps, &mut test_rng(number), |message| {
            // In the third session, player 9 guesses wrong; the later ones are honest.
            if number == 2 && message.from == p(9) && message.round == 1 {
                message.body[64 + 32 + 40] ^= 1;
            }
        });
        match number {
            0 | 1 => passed += all(outcome).len(),
            2 => assert_named(abort_of(&outcome, 0), Some(9), Class::SecretDependent, "C2"),
            _ => assert_named(abort_of(&outcome, 0), Some(9), Class::PairGone, "pair state"),
        }
    }
    assert_eq!(passed, 4);
    // And none begins on it any more.
    let context = Context::new(&session(99), p(0)).unwrap();
    let digest = digest(CurveId::Secp256k1, 1);
    let refusal = sign::start(&context, &SHARES[&p(0)], &digest, pairs.of(&context), &mut test_rng(1)).err();
    assert_eq!(refusal, Some(SignRefusal::Pair(p(9))));
}

#[test]
fn a_peer_with_a_renewed_pair_state_is_not_accused() {
    let (old, new) = (Pairs::fresh(&[0, 9]), Pairs::fresh(&[9, 0]));
    assert_ne!(old.between(0, 9).id(), new.between(0, 9).id());
    let session = sign_by(&[0, 9]);
    let mut steps = sign_starts(&session, &SHARES, &old, SEED);
    steps.insert(p(9), sign_starts(&session, &SHARES, &new, SEED).remove(&p(9)).unwrap());
    let outcome = run_cluster(steps, &mut test_rng(1), honest);
    assert_named(abort_of(&outcome, 0), Some(9), Class::PairGone, "pair state");
    assert_named(abort_of(&outcome, 9), Some(0), Class::PairGone, "pair state");
    assert!(!old.between(0, 9).is_burned() && !new.between(9, 0).is_burned());
}

#[test]
fn s24_s29_every_malformed_field_names_its_sender() {
    let run = |round: usize, edit: &dyn Fn(&mut Vec<u8>)| {
        tampered(&PAIRS, |message| {
            if message.from == p(CHEAT) && message.round == round {
                edit(message.body);
            }
        })
    };
    let points: [fn(&Multiply) -> &NonIdentityPoint<Secp256k1>; 4] = [
        |m| &m.broadcast.nonce_point,
        |m| &m.broadcast.key_point,
        |m| &m.private.gamma_u,
        |m| &m.private.gamma_v,
    ];
    for field in points {
        for (_, bad) in bad_points() {
            let outcome = run(2, &|body| {
                let old = borsh::to_vec(field(&borsh::from_slice(body).unwrap())).unwrap();
                replace_bytes(body, &old, &bad);
            });
            assert_caught(&outcome, CHEAT, Class::Malformed, "message decodes");
        }
    }
    for (_, bad) in bad_scalars() {
        // ψ, η, and the last and first entries of ã.
        for from_end in [32, 32 + 130 + 32 + 32, 32 + 130 + 32 + 32 + 32, 32 + 130 + 32 + 32 + 39_936] {
            let outcome = run(2, &|body| {
                let place = body.len() - from_end;
                body[place..place + 32].copy_from_slice(&bad);
            });
            assert_caught(&outcome, CHEAT, Class::Malformed, "message decodes");
        }
    }
    let edits: [fn(&mut Vec<u8>); 4] = [
        |body| body.push(0),
        |body| body.truncate(body.len() - 1),
        |body| body.truncate(1),
        |body| body.extend([0; 40_000]),
    ];
    // An echo that claims 4,294,967,295 digests.
    assert_caught(&run(2, &|body| body[..4].fill(0xff)), CHEAT, Class::Malformed, "message decodes");
    for round in [1, 2] {
        for edit in edits {
            assert_caught(&run(round, &edit), CHEAT, Class::Malformed, "message decodes");
        }
    }
}

#[test]
fn the_messages_have_the_documented_sizes() {
    let cases = [
        (CurveId::P256, 4_368, 40_328),
        (CurveId::P384, 4_880, 78_888),
        (CurveId::P521, 5_456, 136_956),
        (CurveId::Secp256k1, 4_368, 40_328),
    ];
    for (curve, first, second) in cases {
        let shares = generate(curve, 1, &PLAYERS);
        let mut sizes = BTreeMap::new();
        let session = sign_session("sign", &shares, &digest(curve, 1), &[0, 9]);
        all(run_sign(&session, &shares, &PAIRS, SEED, |message| {
            sizes.insert(message.round, message.body.len());
        }));
        assert_eq!(sizes, [(1, first), (2, second + 32 * 2)].into(), "{curve}");
    }
}

#[test]
fn s21_s30_only_enough_holders_of_the_key_sign() {
    let shares = generate(CurveId::Secp256k1, 2, &[0, 5, 9, 11]);
    let digest = digest(CurveId::Secp256k1, 1);
    let refusal = |signers: &[u16], me: u16, share: u16| {
        let session = sign_session("sign", &shares, &digest, signers);
        let context = Context::new(&session, p(me)).unwrap();
        sign::start(&context, &shares[&p(share)], &digest, PAIRS.of(&context), &mut test_rng(1)).err()
    };
    let threshold = shares[&p(0)].certificate.threshold;
    let too_few = SignRefusal::TooFewSigners { named: 2, threshold };
    assert_eq!(refusal(&[0, 5], 0, 0), Some(too_few));
    assert_eq!(too_few.to_string(), "3 holders must sign; the session names 2");
    assert_eq!(refusal(&[0, 5, 300], 0, 0), Some(SignRefusal::NotAHolder(p(300))));
    assert_eq!(refusal(&[0, 5, 9, 11, 300], 0, 0), Some(SignRefusal::NotAHolder(p(300))));
    assert_eq!(refusal(&[0, 5, 9], 0, 5), Some(SignRefusal::Share));
    assert_eq!(refusal(&[0, 5, 9], 0, 0), None);
    assert_eq!(refusal(&[0, 5, 9, 11], 0, 0), None);
}

#[test]
fn a_holder_with_another_identity_key_than_the_certificate_names_is_refused() {
    let digest = digest(CurveId::Secp256k1, 0x42);
    let mut session = sign_by(&[0, 9]);
    let mut keys: BTreeMap<PlayerIndex, _> =
        session.players.iter().map(|(player, key)| (player, key.clone())).collect();
    keys.insert(p(9), identity(77).public().clone());
    session.players = tsm_types::Players::new(keys).unwrap();
    let context = Context::new(&session, p(0)).unwrap();
    let refusal = sign::start(&context, &SHARES[&p(0)], &digest, PAIRS.of(&context), &mut test_rng(1)).err();
    assert_eq!(refusal, Some(SignRefusal::NotAHolder(p(9))));
}

#[test]
fn s80_a_share_that_does_not_fit_its_certificate_is_refused() {
    let share = &SHARES[&p(0)];
    let load = |certificate: &tsm_protocols::Certificate, holder, secret: &[u8]| {
        let secret = tsm_crypto::Secret::new(secret.to_vec());
        tsm_protocols::KeyShare::new(certificate.clone(), holder, secret)
    };
    let secret = share.secret.expose().as_slice();
    assert!(load(&share.certificate, p(0), secret).is_some());
    let mut other = secret.to_vec();
    other[31] ^= 1;
    assert!(load(&share.certificate, p(0), &other).is_none(), "another secret");
    assert!(load(&share.certificate, p(9), secret).is_none(), "another holder's place");
    assert!(load(&share.certificate, p(7), secret).is_none(), "no holder");
    assert!(load(&share.certificate, p(0), &secret[1..]).is_none(), "no scalar");
    let mut certificate = share.certificate.clone();
    certificate.share_points.swap(0, 1);
    assert!(load(&certificate, p(0), secret).is_none(), "another certificate");
}

#[test]
fn s80_a_share_of_another_holder_does_not_sign() {
    let digest = digest(CurveId::Secp256k1, 0x42);
    let context = Context::new(&sign_by(&[0, 9]), p(0)).unwrap();
    let refusal = sign::start(&context, &SHARES[&p(9)], &digest, PAIRS.of(&context), &mut test_rng(1)).err();
    assert_eq!(refusal, Some(SignRefusal::Share));
}

#[test]
fn a_run_without_the_state_of_exactly_its_pairs_does_not_begin() {
    let digest = digest(CurveId::Secp256k1, 0x42);
    let context = Context::new(&sign_by(&PLAYERS), p(0)).unwrap();
    let with = |peers: &[u16]| {
        let pairs = PerPeer::from_fn(&peers.iter().map(|peer| p(*peer)).collect(), |peer| {
            PAIRS.between(0, peer.0).clone()
        });
        sign::start(&context, &SHARES[&p(0)], &digest, pairs, &mut test_rng(1)).err()
    };
    assert_eq!(with(&[5]), Some(SignRefusal::Pair(p(9))));
    assert_eq!(with(&[5, 9, 11]), Some(SignRefusal::Pair(p(11))));
    assert_eq!(with(&[5, 9]), None);
}

#[test]
fn s61_s62_a_digest_that_is_zero_modulo_the_order_or_of_another_length_is_refused() {
    let q256 = Secp256k1::encode_scalar(&-Scalar::from(1u64));
    let q256 = (num_bigint::BigUint::from_bytes_be(&q256) + 1u8).to_bytes_be();
    let q384 = P384::encode_scalar(&-<P384 as Curve>::Scalar::from(1u64));
    let q384 = (num_bigint::BigUint::from_bytes_be(&q384) + 1u8).to_bytes_be();
    let cases = [
        (CurveId::Secp256k1, CurveId::Secp256k1, vec![0; 32]),
        (CurveId::Secp256k1, CurveId::Secp256k1, q256),
        (CurveId::P384, CurveId::P384, vec![0; 48]),
        (CurveId::P384, CurveId::P384, q384),
        (CurveId::P521, CurveId::P521, vec![0; 64]),
        // The type knows the length for one curve; the key has another.
        (CurveId::Secp256k1, CurveId::P384, vec![1; 48]),
        (CurveId::P521, CurveId::Secp256k1, vec![1; 32]),
    ];
    for (key_curve, digest_curve, bytes) in cases {
        let shares = generate(key_curve, 1, &PLAYERS);
        let digest = Digest::new(bytes, digest_curve).unwrap();
        let context = Context::new(&sign_session("sign", &shares, &digest, &[0, 9]), p(0)).unwrap();
        let refusal =
            sign::start(&context, &shares[&p(0)], &digest, PAIRS.of(&context), &mut test_rng(1)).err();
        assert_eq!(refusal, Some(SignRefusal::Digest), "{key_curve}");
    }
}

#[test]
fn s69_a_zero_nonce_is_drawn_again() {
    let session = sign_by(&[0, 9]);
    let Operation::SignEcdsa { digest, .. } = &session.operation else { panic!() };
    let context = Context::new(&session, p(9)).unwrap();
    let mut steps = sign_starts(&session, &SHARES, &PAIRS, SEED);
    let mut rng = Scripted::new(vec![0; 48], 5);
    let step = sign::start(&context, &SHARES[&p(9)], digest, PAIRS.of(&context), &mut rng).unwrap();
    steps.insert(p(9), step);
    joined(&all(run_cluster(steps, &mut test_rng(1), honest)));
}

#[test]
fn s38_a_broken_system_generator_does_not_repeat_a_nonce_in_another_session() {
    let commitments = RefCell::new(std::collections::BTreeSet::new());
    for id in ["one", "other"] {
        let session = sign_session(id, &SHARES, &digest(CurveId::Secp256k1, 0x42), &[0, 9]);
        let start = |(player, context): (PlayerIndex, Context)| {
            let fresh = tsm_crypto::Secret::new([0; 32]);
            let device = identity(player.0).device_secret();
            let mut rng = tsm_crypto::hedged::hedged_rng(&fresh, &device, &context.tag().0);
            let digest = digest(CurveId::Secp256k1, 0x42);
            (player, sign::start(&context, &SHARES[&player], &digest, PAIRS.of(&context), &mut rng).unwrap())
        };
        let steps = contexts(&session).into_iter().map(start).collect();
        run_cluster(steps, &mut test_rng(1), |message| {
            if message.round == 2 {
                let message: Multiply = borsh::from_slice(message.body).unwrap();
                commitments
                    .borrow_mut()
                    .insert(Secp256k1::encode_point(message.broadcast.nonce_point.point()));
            }
        });
    }
    assert_eq!(commitments.into_inner().len(), 4);
}

/// First steps of all players of [`PLAYERS`]; `choose` gives each the states that it holds.
fn start_with(choose: impl Fn(&Context) -> PerPeer<sign::PairStates>) -> Outcome<PartialSignature> {
    let session = sign_by(&PLAYERS);
    let Operation::SignEcdsa { digest, .. } = &session.operation else { panic!("not a signing session") };
    let starts = contexts(&session)
        .into_iter()
        .map(|(player, context)| {
            let mut rng = test_rng(SEED + u64::from(player.0));
            (player, sign::start(&context, &SHARES[&player], digest, choose(&context), &mut rng).unwrap())
        })
        .collect();
    run_cluster(starts, &mut test_rng(SEED), honest)
}

#[test]
fn sides_that_chose_different_states_of_a_renewal_still_sign() {
    let (old, new) = (Pairs::fresh(&PLAYERS), Pairs::fresh(&PLAYERS));
    for first in [true, false] {
        let outcome = start_with(|context| {
            let chose_old = (context.me() == p(PLAYERS[0])) == first;
            if chose_old { old.or(&new, context) } else { new.or(&old, context) }
        });
        let partials: Vec<PartialSignature> = all(outcome).into_values().collect();
        join(&partials[0].common.digest.clone(), &partials).unwrap();
    }
}

#[test]
fn a_state_that_the_peer_does_not_hold_ends_the_run_without_blame() {
    let (old, new) = (Pairs::fresh(&PLAYERS), Pairs::fresh(&PLAYERS));
    let outcome = start_with(|context| {
        let pairs = if context.me() == p(PLAYERS[0]) { &old } else { &new };
        pairs.or(pairs, context)
    });
    let abort = outcome[&p(PLAYERS[0])].as_ref().unwrap().as_ref().unwrap_err();
    assert_eq!(abort.class, Class::PairGone);
    let gone = PLAYERS[1..].iter().any(|peer| abort.pair == Some(new.between(PLAYERS[0], *peer).id()));
    assert!(gone, "the state that a peer chose");
    assert!(!old.between(PLAYERS[0], PLAYERS[1]).is_burned());
}
