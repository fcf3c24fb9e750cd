//! Cheats against key generation and its confirmation. Player 5 cheats players 0 and 9.

use std::cell::RefCell;
use std::collections::BTreeSet;

use tsm_crypto::commitment::CommitmentContext;
use tsm_crypto::dlog::{DlogProof, Prover};
use tsm_crypto::hedged::{hedged_rng, test_rng};
use tsm_crypto::{CanonicalScalar, Curve, Label, NonIdentityPoint, P384, Secp256k1, Secret, Transcript};
use tsm_protocols::keygen::confirm::ConfirmMessage;
use tsm_protocols::keygen::{self, CommitMessage, Dealing, OpenMessage, Opening, ProvisionalKey};
use tsm_protocols::testing::{InFlight, run_cluster, tamper};
use tsm_protocols::{Certificate, Class, Context};
use tsm_types::{CurveId, KeyId, Operation, Session, Threshold};

use crate::support::*;

type Open = OpenMessage<Secp256k1>;
type Scalar = <Secp256k1 as Curve>::Scalar;

const PLAYERS: [u16; 3] = [0, 5, 9];
const CHEAT: u16 = 5;
const SEED: u64 = 100;

fn keygen_of_three() -> Session {
    keygen_session("keygen", CurveId::Secp256k1, 1, &PLAYERS)
}

/// A run in which the cheat changes its contribution before it commits to it.
fn cheating_dealer(
    session: &Session,
    edit: impl FnOnce(&Context, &mut Dealing<Secp256k1>),
    tamper: impl FnMut(InFlight<'_>),
) -> Outcome<ProvisionalKey> {
    let mut steps = keygen_starts(session, SEED);
    let context = Context::new(session, p(CHEAT)).unwrap();
    let mut rng = test_rng(SEED + u64::from(CHEAT));
    let mut dealing = Dealing::<Secp256k1>::new(&context, &parameters(session), &mut rng);
    edit(&context, &mut dealing);
    steps.insert(p(CHEAT), dealing.commit(&context, parameters(session), &mut rng));
    run_cluster(steps, &mut test_rng(SEED), tamper)
}

/// A run in which the cheat changes the message of a round, to everybody.
fn tampered<M>(round: usize, edit: impl Fn(&mut M)) -> Outcome<ProvisionalKey>
where
    M: borsh::BorshSerialize + borsh::BorshDeserialize,
{
    run_keygen(&keygen_of_three(), SEED, |message| {
        if message.from == p(CHEAT) && message.round == round {
            tamper::<M>(message.body, &edit);
        }
    })
}

/// What honest players send in the run of [`tampered`]: a cheat that waits has seen it.
fn openings_seen() -> (Vec<CommitMessage>, Vec<Open>) {
    let (commits, opens) = (RefCell::new(vec![]), RefCell::new(vec![]));
    run_keygen(&keygen_of_three(), SEED, |message| {
        if message.from == p(0) && message.to == p(CHEAT) {
            match message.round {
                1 => commits.borrow_mut().push(borsh::from_slice(message.body).unwrap()),
                _ => opens.borrow_mut().push(borsh::from_slice(message.body).unwrap()),
            }
        }
    });
    (commits.into_inner(), opens.into_inner())
}

fn point(number: u64) -> NonIdentityPoint<Secp256k1> {
    NonIdentityPoint::new(Secp256k1::mul_generator(&Scalar::from(number))).unwrap()
}

#[test]
fn k1_s22_a_polynomial_of_another_degree_is_refused() {
    for (count, check) in [(0, "K1"), (1, "K1"), (3, "K1"), (32, "K1"), (33, "message"), (1000, "message")] {
        let outcome = cheating_dealer(
            &keygen_of_three(),
            |_, dealing| {
                // The cheat is consistent: shares and proof fit its polynomial.
                let coefficients = &mut dealing.opening.coefficients;
                let polynomial = dealing.polynomial.expose_mut();
                while coefficients.len() > count {
                    coefficients.pop();
                    polynomial.pop();
                }
                while coefficients.len() < count {
                    coefficients.push(point(7));
                    polynomial.push(Scalar::from(7u64));
                }
            },
            honest,
        );
        assert_caught(&outcome, CHEAT, Class::Malformed, check);
    }
}

#[test]
fn k1_s22_a_threshold_raised_with_a_valid_proof_is_refused() {
    let outcome = cheating_dealer(
        &keygen_of_three(),
        |context, dealing| {
            dealing.polynomial.expose_mut().push(Scalar::from(7u64));
            dealing.opening.coefficients.push(point(7));
            prove_again(context, dealing);
        },
        honest,
    );
    assert_caught(&outcome, CHEAT, Class::Malformed, "K1");
}

/// The proof that an honest dealer would make for this contribution.
fn prove_again(context: &Context, dealing: &mut Dealing<Secp256k1>) {
    let identity = context.key_of(p(CHEAT)).clone();
    let prover = Prover { ssid: &context.tag().0, index: CHEAT, identity: identity.der() };
    let opening = &mut dealing.opening;
    let extra = borsh::to_vec(&(&dealing.fresh, &opening.coefficients, opening.chain_code)).unwrap();
    let secret = dealing.polynomial.expose()[0];
    opening.proof = DlogProof::prove(prover, &secret, &opening.coefficients[0], &extra, &mut test_rng(1));
}

#[test]
fn the_proof_that_the_tests_make_again_is_one_that_is_accepted() {
    all(cheating_dealer(&keygen_of_three(), prove_again, honest));
}

#[test]
fn k2_s18_s40_an_equivocated_commitment_ends_the_run_everywhere_and_no_honest_player_is_named() {
    for field in ["commitment", "fresh"] {
        let outcome = run_keygen(&keygen_of_three(), SEED, |message| {
            if (message.from, message.to, message.round) == (p(CHEAT), p(9), 1) {
                tamper::<CommitMessage>(message.body, |message| match field {
                    "commitment" => message.commitment[7] ^= 1,
                    _ => message.fresh[0] ^= 1,
                });
            }
        });
        // Player 9 sees the cheat contradict itself; player 0 only that 5 or 9 is at fault.
        assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Equivocation, "K2");
        assert_named(abort_of(&outcome, 0), None, Class::Equivocation, "K2");
        assert_eq!(abort_of(&outcome, 0).one_of, Some([p(CHEAT), p(9)]), "{field}");
    }
}

#[test]
fn k2_s18_a_player_that_lies_about_what_it_received_frames_nobody() {
    let outcome = tampered::<Open>(2, |message| message.broadcast.echo.digests_mut()[2][0] ^= 1);
    // The lie is about player 9, who knows better.
    assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Equivocation, "K2");
    assert_named(abort_of(&outcome, 0), None, Class::Equivocation, "K2");
    assert_eq!(abort_of(&outcome, 0).one_of, Some([p(9), p(CHEAT)]));
}

#[test]
fn k2_s23_an_echo_of_another_length_is_refused() {
    for length in [0, 2, 4, 500] {
        let outcome =
            tampered::<Open>(2, |message| message.broadcast.echo.digests_mut().resize(length, [0; 32]));
        assert_caught(&outcome, CHEAT, Class::Malformed, "K2");
    }
}

#[test]
fn k3_an_opening_that_was_not_committed_to_is_refused() {
    let edits: [fn(&mut Open); 5] = [
        |message| message.broadcast.blinding[0] ^= 1,
        |message| message.broadcast.opening.chain_code[31] ^= 1,
        |message| message.broadcast.opening.coefficients[1] = point(7),
        |message| message.broadcast.opening.coefficients.swap(0, 1),
        |message| message.broadcast.opening.proof.commitment = point(7),
    ];
    for edit in edits {
        assert_caught(&tampered::<Open>(2, edit), CHEAT, Class::Cheated, "K3");
    }
}

#[test]
fn k3_s07_another_chain_code_for_one_player_ends_its_run() {
    let outcome = run_keygen(&keygen_of_three(), SEED, |message| {
        if (message.from, message.to, message.round) == (p(CHEAT), p(9), 2) {
            tamper::<Open>(message.body, |message| message.broadcast.opening.chain_code[0] ^= 1);
        }
    });
    assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Cheated, "K3");
}

#[test]
fn k3_s11_a_copied_commitment_does_not_open_for_the_copier() {
    let (commits, opens) = openings_seen();
    let session = keygen_of_three();
    let outcome = run_keygen(&session, SEED, |message| {
        if message.from != p(CHEAT) {
            return;
        }
        let context = Context::new(&session, p(CHEAT)).unwrap();
        match message.round {
            1 => *message.body = borsh::to_vec(&commits[0]).unwrap(),
            _ => tamper::<Open>(message.body, |message| {
                message.broadcast.echo.replace(&context, p(CHEAT), &commits[0]);
                message.broadcast.opening = copy_opening(&opens[0].broadcast.opening);
                message.broadcast.blinding = opens[0].broadcast.blinding;
            }),
        }
    });
    assert_caught(&outcome, CHEAT, Class::Cheated, "K3");
}

fn copy_opening(opening: &Opening<Secp256k1>) -> Opening<Secp256k1> {
    borsh::from_slice(&borsh::to_vec(opening).unwrap()).unwrap()
}

#[test]
fn k3_s34_a_last_mover_cannot_replace_its_part_after_seeing_the_others() {
    // Player 5 wants the key 7 * G and sends A' = 7 * G - A_0, where it does not know the logarithm.
    let (_, opens) = openings_seen();
    let theirs = *opens[0].broadcast.opening.coefficients[0].point();
    let rogue = NonIdentityPoint::<Secp256k1>::new(*point(7).point() - theirs).unwrap();
    let outcome = tampered::<Open>(2, |message| message.broadcast.opening.coefficients[0] = rogue);
    assert_caught(&outcome, CHEAT, Class::Cheated, "K3");
    // Had it seen them before it committed, the proof would still be missing.
    let outcome =
        cheating_dealer(&keygen_of_three(), |_, dealing| dealing.opening.coefficients[0] = rogue, honest);
    assert_caught(&outcome, CHEAT, Class::Cheated, "K4");
}

#[test]
fn k4_s10_a_copied_contribution_is_refused_for_its_proof() {
    let (_, opens) = openings_seen();
    let outcome = cheating_dealer(
        &keygen_of_three(),
        |_, dealing| dealing.opening = copy_opening(&opens[0].broadcast.opening),
        honest,
    );
    assert_caught(&outcome, CHEAT, Class::Cheated, "K4");
}

#[test]
fn k4_s10_s15_a_proof_for_anything_else_is_refused() {
    let session = keygen_of_three();
    let other_session = keygen_session("another", CurveId::Secp256k1, 1, &PLAYERS);
    let edits: [fn(&Context, &Context, &mut Dealing<Secp256k1>); 5] = [
        // Of one's own in an earlier session.
        |_, other, dealing| prove_again(other, dealing),
        // Over another chain code, over other fresh bytes, over other higher coefficients.
        |context, _, dealing| {
            prove_again(context, dealing);
            dealing.opening.chain_code[0] ^= 1;
        },
        |context, _, dealing| {
            prove_again(context, dealing);
            dealing.fresh[0] ^= 1;
        },
        |context, _, dealing| {
            prove_again(context, dealing);
            dealing.opening.coefficients[1] = point(7);
        },
        // Of knowledge of something else.
        |_, _, dealing| {
            let response = *dealing.opening.proof.response.scalar() + Scalar::from(1u64);
            dealing.opening.proof.response = CanonicalScalar::new(response);
        },
    ];
    for edit in edits {
        let other = Context::new(&other_session, p(CHEAT)).unwrap();
        let outcome = cheating_dealer(&session, |context, dealing| edit(context, &other, dealing), honest);
        assert_caught(&outcome, CHEAT, Class::Cheated, "K4");
    }
}

#[test]
fn k5_a_share_that_does_not_lie_on_the_polynomial_names_its_dealer() {
    let spoil = |to: u16| {
        run_keygen(&keygen_of_three(), SEED, |message| {
            if (message.from, message.to, message.round) == (p(CHEAT), p(to), 2) {
                tamper::<Open>(message.body, |message| {
                    message.share = CanonicalScalar::new(*message.share.scalar() + Scalar::from(1u64));
                });
            }
        })
    };
    for to in [0, 9] {
        assert_named(abort_of(&spoil(to), to), Some(CHEAT), Class::Cheated, "K5");
    }
}

#[test]
fn k5_s04_the_share_of_another_player_is_refused() {
    let kept = RefCell::new(None);
    run_keygen(&keygen_of_three(), SEED, |message| {
        if (message.from, message.to, message.round) == (p(CHEAT), p(0), 2) {
            *kept.borrow_mut() = Some(message.body.clone());
        }
    });
    let outcome = run_keygen(&keygen_of_three(), SEED, |message| {
        if (message.from, message.to, message.round) == (p(CHEAT), p(9), 2) {
            *message.body = kept.borrow().clone().unwrap();
        }
    });
    assert_named(abort_of(&outcome, 9), Some(CHEAT), Class::Cheated, "K5");
}

/// The cheat knows everybody's randomness here, so that it can aim.
fn dealt_against_all(aim: impl Fn(&[Vec<Scalar>]) -> Vec<Scalar>) -> Outcome<ProvisionalKey> {
    let session = keygen_of_three();
    let honest_polynomials: Vec<Vec<Scalar>> = [0u16, 9]
        .iter()
        .map(|player| {
            let mut rng = test_rng(SEED + u64::from(*player));
            (0..2).map(|_| Secp256k1::random_nonzero_scalar(&mut rng)).collect()
        })
        .collect();
    let script: Vec<u8> = aim(&honest_polynomials).iter().flat_map(drawn_as).collect();
    let mut steps = keygen_starts(&session, SEED);
    let context = Context::new(&session, p(CHEAT)).unwrap();
    steps.insert(p(CHEAT), keygen::start(&context, parameters(&session), &mut Scripted::new(script, 1)));
    run_cluster(steps, &mut test_rng(SEED), honest)
}

#[test]
fn k6_s39_a_key_that_is_zero_is_refused_and_nobody_is_named() {
    let outcome = dealt_against_all(|f| vec![-(f[0][0] + f[1][0]), Scalar::from(3u64)]);
    for player in PLAYERS {
        assert_named(abort_of(&outcome, player), None, Class::Unattributed, "K6");
    }
}

#[test]
fn k6_s39_a_share_that_is_zero_is_refused_and_nobody_is_named() {
    // Player 9 has share number 3: the sum of all polynomials is zero there.
    let outcome = dealt_against_all(|f| {
        let three = Scalar::from(3u64);
        let others = f[0][0] + f[1][0] + three * (f[0][1] + f[1][1]);
        let slope = Scalar::from(8u64);
        vec![-(others + three * slope), slope]
    });
    for player in PLAYERS {
        assert_named(abort_of(&outcome, player), None, Class::Unattributed, "K6");
    }
}

#[test]
fn k7_s36_a_signature_that_is_not_of_this_certificate_and_player_is_refused() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let certificate = &shares[&p(0)].certificate;
    let signed_otherwise = |edit: &dyn Fn(&mut Certificate)| {
        let mut other = certificate.clone();
        edit(&mut other);
        identity(CHEAT).sign(&other.transcript())
    };
    let forged: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 64],
        vec![1; 100_000],
        identity(0).sign(&certificate.transcript()),
        identity(CHEAT).sign(
            &Transcript::new(Label::SessionTag).bytes("certificate", &borsh::to_vec(certificate).unwrap()),
        ),
        signed_otherwise(&|c| c.key_id = KeyId::new("other").unwrap()),
        signed_otherwise(&|c| c.curve = CurveId::P256),
        signed_otherwise(&|c| c.epoch.0 = 1),
        signed_otherwise(&|c| c.threshold = Threshold::new(2, 3).unwrap()),
        signed_otherwise(&|c| c.holders = players(&[0, 5, 11])),
        signed_otherwise(&|c| c.public_key = c.share_points[0].clone()),
        signed_otherwise(&|c| c.share_points.swap(0, 1)),
        signed_otherwise(&|c| c.chain_code[0] ^= 1),
        signed_otherwise(&|c| c.ssid[0] ^= 1),
    ];
    for signature in forged {
        let outcome = run_confirm(&keygen_of_three(), &shares, |message| {
            if message.from == p(CHEAT) {
                tamper::<ConfirmMessage>(message.body, |message| message.signature = signature.clone());
            }
        });
        assert_caught(&outcome, CHEAT, Class::Cheated, "K7");
    }
}

#[test]
fn k7_s36_a_confirmed_certificate_is_complete_and_the_same_everywhere() {
    let shares = generate(CurveId::P384, 2, &PLAYERS);
    let session = keygen_session("keygen", CurveId::P384, 2, &PLAYERS);
    let signed = all(run_confirm(&session, &shares, honest));
    assert!(signed.values().all(|certificate| certificate.is_complete() && *certificate == signed[&p(0)]));
    let certificate = &signed[&p(0)].certificate;
    let point = P384::decode_point(&certificate.public_key).unwrap();
    assert_eq!(certificate.public_key_der(), P384::public_key_der(&point));
    let mut without_one = signed[&p(0)].clone();
    without_one.signatures.remove(&p(9));
    assert!(!without_one.is_complete());
    let mut anothers = signed[&p(0)].clone();
    anothers.signatures.insert(p(9), anothers.signatures[&p(0)].clone());
    assert!(!anothers.is_complete());
    let mut with_a_strangers = signed[&p(0)].clone();
    with_a_strangers.signatures.insert(p(7), with_a_strangers.signatures[&p(0)].clone());
    assert!(!with_a_strangers.is_complete());
}

#[test]
fn k7_the_digest_of_a_certificate_is_of_all_its_fields() {
    let good = all(run_keygen(&keygen_of_three(), SEED, honest))[&p(0)].share.certificate.clone();
    let edits: [fn(&mut Certificate); 9] = [
        |certificate| certificate.key_id = KeyId::new("another").unwrap(),
        |certificate| certificate.curve = CurveId::P256,
        |certificate| certificate.epoch.0 += 1,
        |certificate| certificate.threshold = Threshold::new(2, 3).unwrap(),
        |certificate| certificate.holders = players(&[0, 5, 7]),
        |certificate| certificate.public_key[1] ^= 1,
        |certificate| certificate.share_points[2][1] ^= 1,
        |certificate| certificate.chain_code[0] ^= 1,
        |certificate| certificate.ssid[0] ^= 1,
    ];
    let edited = edits.map(|edit| {
        let mut certificate = good.clone();
        edit(&mut certificate);
        certificate.digest()
    });
    let different: BTreeSet<[u8; 32]> = edited.into_iter().chain([good.digest()]).collect();
    assert_eq!(different.len(), edits.len() + 1);
}

#[test]
fn s29_a_certificate_that_contradicts_itself_is_unreadable() {
    let good = all(run_keygen(&keygen_of_three(), SEED, honest))[&p(0)].share.certificate.clone();
    let readable = |edit: &dyn Fn(&mut Certificate)| {
        let mut certificate = good.clone();
        edit(&mut certificate);
        borsh::from_slice::<Certificate>(&borsh::to_vec(&certificate).unwrap()).is_ok()
    };
    assert!(readable(&|_| {}));
    // As many must sign as there are, and one more.
    assert!(!readable(&|certificate| certificate.threshold = Threshold::new(3, 4).unwrap()));
    assert!(!readable(&|certificate| {
        certificate.share_points.pop();
    }));
    assert!(!readable(&|certificate| certificate.public_key[0] = 5));
    assert!(!readable(&|certificate| certificate.share_points[2][0] = 5));
}

#[test]
fn s24_s29_every_malformed_field_of_an_opening_names_its_sender() {
    let run = |edit: &dyn Fn(&mut Vec<u8>)| {
        run_keygen(&keygen_of_three(), SEED, |message| {
            if message.from == p(CHEAT) && message.round == 2 {
                edit(message.body);
            }
        })
    };
    let field = |message: &Open, which: usize| match which {
        0 | 1 => borsh::to_vec(&message.broadcast.opening.coefficients[which]).unwrap(),
        _ => borsh::to_vec(&message.broadcast.opening.proof.commitment).unwrap(),
    };
    for (_, bad) in bad_points() {
        for which in 0..3 {
            let outcome = run(&|body| {
                let old = field(&borsh::from_slice(body).unwrap(), which);
                replace_bytes(body, &old, &bad);
            });
            assert_caught(&outcome, CHEAT, Class::Malformed, "message decodes");
        }
    }
    for (_, bad) in bad_scalars() {
        let proof =
            |message: &Open| Secp256k1::encode_scalar(message.broadcast.opening.proof.response.scalar());
        let share = |message: &Open| Secp256k1::encode_scalar(message.share.scalar());
        for field in [proof, share] {
            let outcome = run(&|body| {
                let old = field(&borsh::from_slice(body).unwrap());
                replace_bytes(body, &old, &bad);
            });
            assert_caught(&outcome, CHEAT, Class::Malformed, "message decodes");
        }
    }
    // The last two claim 4,294,967,295 digests and coefficients.
    let edits: [fn(&mut Vec<u8>); 5] = [
        |body| body.push(0),
        |body| body.truncate(body.len() - 1),
        |body| body.truncate(1),
        |body| body[..4].fill(0xff),
        |body| body[4 + 96..4 + 96 + 4].fill(0xff),
    ];
    for edit in edits {
        assert_caught(&run(&edit), CHEAT, Class::Malformed, "message decodes");
    }
}

#[test]
fn s03_all_messages_of_an_earlier_run_with_the_same_session_id_are_refused() {
    let session = keygen_of_three();
    let recorded = RefCell::new(std::collections::BTreeMap::new());
    all(run_keygen(&session, SEED, |message| {
        recorded.borrow_mut().insert((message.from, message.to, message.round), message.body.clone());
    }));
    // Player 0 runs again with fresh randomness against the recording.
    let outcome = run_keygen(&session, SEED + 1, |message| {
        if message.from != p(0) {
            *message.body = recorded.borrow()[&(message.from, message.to, message.round)].clone();
        }
    });
    assert_eq!(abort_of(&outcome, 0).class, Class::Equivocation);
}

#[test]
fn s05_a_run_with_other_parameters_or_players_has_another_tag_and_other_proofs() {
    // The engine compares tags before it hands in a body. If it did not, nothing would fit.
    let (ours, theirs) = (keygen_of_three(), keygen_session("keygen2", CurveId::Secp256k1, 1, &PLAYERS));
    let mut steps = keygen_starts(&ours, SEED);
    let context = Context::new(&theirs, p(CHEAT)).unwrap();
    let mut rng = test_rng(SEED);
    steps.insert(p(CHEAT), keygen::start(&context, parameters(&theirs), &mut rng));
    let outcome = run_cluster(steps, &mut test_rng(SEED), honest);
    assert!(outcome.values().all(|result| !matches!(result, Some(Ok(_)))));
}

#[test]
#[should_panic(expected = "Threshold::new has seen the number of players")]
fn s30_a_threshold_for_more_players_than_there_are_is_not_run() {
    let operation = Operation::GenerateKey {
        curve: CurveId::Secp256k1,
        threshold: Threshold::new(3, 4).unwrap(),
        key_id: None,
    };
    keygen_starts(&session("keygen", operation, &PLAYERS), SEED);
}

#[test]
fn s38_a_broken_system_generator_does_not_repeat_a_polynomial_in_another_session() {
    let deal = |id: &str| {
        let session = keygen_session(id, CurveId::Secp256k1, 1, &PLAYERS);
        let context = Context::new(&session, p(0)).unwrap();
        let constant = Secret::new([0; 32]);
        let mut rng = hedged_rng(&constant, &identity(0).device_secret(), &context.tag().0);
        Dealing::<Secp256k1>::new(&context, &parameters(&session), &mut rng).opening.coefficients
    };
    let (one, other) = (deal("one"), deal("other"));
    assert!(one.iter().all(|point| !other.contains(point)));
}

#[test]
fn s69_a_zero_coefficient_is_drawn_again() {
    let session = keygen_of_three();
    let mut steps = keygen_starts(&session, SEED);
    let context = Context::new(&session, p(CHEAT)).unwrap();
    let mut rng = Scripted::new(vec![0; 48 * 2], 5);
    steps.insert(p(CHEAT), keygen::start(&context, parameters(&session), &mut rng));
    all(run_cluster(steps, &mut test_rng(SEED), honest));
}

#[test]
fn a_wished_key_id_is_kept_and_a_drawn_one_is_the_same_everywhere_and_never_twice() {
    let mut session = keygen_of_three();
    let drawn = |seed| {
        let keys = all(run_keygen(&keygen_of_three(), seed, honest));
        let ids: BTreeSet<KeyId> = keys.values().map(|key| key.share.certificate.key_id.clone()).collect();
        assert_eq!(ids.len(), 1);
        ids.into_iter().next().unwrap()
    };
    assert_ne!(drawn(1), drawn(2));
    let wish = KeyId::new("mine").unwrap();
    if let Operation::GenerateKey { key_id, .. } = &mut session.operation {
        *key_id = Some(wish.clone());
    }
    let keys = all(run_keygen(&session, SEED, honest));
    assert!(keys.values().all(|key| key.share.certificate.key_id == wish));
}

#[test]
fn the_messages_have_the_documented_sizes() {
    let session = keygen_of_three();
    let mut sizes = std::collections::BTreeMap::new();
    let keys = all(run_keygen(&session, SEED, |message| {
        sizes.insert(message.round, message.body.len());
    }));
    assert_eq!(sizes, [(1, 64), (2, 32 * 3 + 65 * 2 + 201)].into());
    let shares: Shares = keys.into_iter().map(|(player, key)| (player, key.share)).collect();
    all(run_confirm(&session, &shares, |message| assert_eq!(message.body.len(), 4 + 64)));
}

#[test]
fn s35_s111_a_provisional_key_shows_no_secret() {
    let keys = all(run_keygen(&keygen_of_three(), SEED, honest));
    let shown = format!("{:?}", keys[&p(0)]);
    assert!(shown.contains("<secret>"));
    let bytes = format!("{:?}", keys[&p(0)].share.secret.expose());
    assert!(!shown.contains(&bytes));
}

#[test]
fn s11_the_commitment_is_bound_to_session_player_and_purpose() {
    // The contexts of the two protocols differ, so that a commitment of one never opens in the other.
    let session = keygen_of_three();
    let (commits, opens) = openings_seen();
    let encoded = borsh::to_vec(&opens[0].broadcast.opening).unwrap();
    let tag = session.tag();
    let context = CommitmentContext { ssid: &tag.0, committer: 0, purpose: "key generation" };
    let opens_in = |context: CommitmentContext<'_>| {
        context.opens(&commits[0].commitment, &encoded, &opens[0].broadcast.blinding)
    };
    assert!(opens_in(context));
    assert!(!opens_in(CommitmentContext { committer: CHEAT, ..context }));
    assert!(!opens_in(CommitmentContext { purpose: "signing nonce", ..context }));
    assert!(!opens_in(CommitmentContext { ssid: &[0; 32], ..context }));
}
