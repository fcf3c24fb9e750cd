//! Whole runs of the OT stack, against the model and against cheating peers.

use std::sync::atomic::{AtomicUsize, Ordering};

use num_bigint::BigUint;

use super::extension::{Choices, MAX_BLOCKS, check_block};
use super::gadget::choice_bits;
use super::model::{self, Deviation};
use super::*;
use crate::curve::{CanonicalScalar, Curve, Field, P256, P384, P521, Secp256k1};
use crate::hedged::test_rng;
use crate::secret::Secret;

pub(super) const PAIR_1: SetupContext<'static> =
    SetupContext { ssid: &[1; 32], me: 2, peer: 3, my_identity: b"identity 2", peer_identity: b"identity 3" };
pub(super) const PAIR_2: SetupContext<'static> =
    SetupContext { ssid: &[1; 32], me: 3, peer: 2, my_identity: b"identity 3", peer_identity: b"identity 2" };

const SSID_FULL: [u8; 32] = [5; 32];
const CONTEXT: ExtensionContext<'static> = ExtensionContext { ssid: &[4; 32], sender: 2, receiver: 3 };

/// Both sides of an honest set-up: player 2, player 3.
pub(super) fn honest_pair(seed: u64) -> (PairState, PairState) {
    let mut rng = test_rng(seed);
    let (lower, flight_1) = LowerStarted::new(PAIR_1, &mut rng);
    let (higher, flight_2) = HigherStarted::new(PAIR_2, &mut rng);
    let lower = lower.answer(&flight_2).unwrap();
    let (higher, answer) = higher.answer(&flight_1, &mut rng).unwrap();
    let (lower, last) = lower.finish(&answer, &mut rng).unwrap();
    (lower, higher.finish(&last).unwrap())
}

/// Runs a check without burning the state if it fails.
fn look<T>(pair: &PairState, check: impl FnOnce(&Judged<'_>) -> T) -> T {
    pair.judge(|judged| Ok::<T, ()>(check(judged))).unwrap()
}

fn accepts<C: Curve>(
    pair: &PairState,
    context: &ExtensionContext<'_>,
    message: &ExtensionMessage<C>,
) -> bool {
    look(pair, |judged| SenderExtension::check(judged, context, message).is_ok())
}

fn copy<T: borsh::BorshSerialize + borsh::BorshDeserialize>(message: &T) -> T {
    borsh::from_slice(&borsh::to_vec(message).unwrap()).unwrap()
}

/// A checked extension, with everything that both sides know.
struct Run<C: Curve> {
    a_side: PairState,
    b_side: PairState,
    a: SenderExtension<C>,
    b: ReceiverExtension<C>,
    message: ExtensionMessage<C>,
}

fn run<C: Curve>(seed: u64) -> Run<C> {
    let (a_side, b_side) = honest_pair(seed);
    let (b, message) = ReceiverExtension::<C>::new(&b_side, &CONTEXT, &mut test_rng(seed + 100));
    let a = a_side.judge(|judged| SenderExtension::check(judged, &CONTEXT, &message)).unwrap();
    Run { a_side, b_side, a, b, message }
}

fn honest_multiplication<C: Curve>() {
    let Run { a_side, b_side, a, b, .. } = run::<C>(1);
    let mut rng = test_rng(2);
    let inputs = [C::random_scalar(&mut rng), C::random_scalar(&mut rng)];
    let (c, answer) = a.multiply(&SSID_FULL, [&inputs[0], &inputs[1]], &mut rng);
    let factor = *b.chi().expose();
    let d = b_side.judge(|judged| b.finish(judged, &SSID_FULL, &copy(&answer))).unwrap();
    for (i, input) in inputs.iter().enumerate() {
        assert_eq!(c.expose()[i] + d.expose()[i], factor * input);
    }
    assert!(!a_side.is_burned() && !b_side.is_burned());
    assert_eq!((a_side.extensions(), b_side.extensions()), (1, 1));
}

#[test]
fn c_and_d_are_shares_of_the_product_on_every_curve() {
    honest_multiplication::<Secp256k1>();
    honest_multiplication::<P256>();
    honest_multiplication::<P384>();
    honest_multiplication::<P521>();
}

#[test]
fn zero_inputs_are_multiplied_like_all_others() {
    let Run { b_side, a, b, .. } = run::<P256>(1);
    let zero = p256::Scalar::ZERO;
    let (c, answer) = a.multiply(&SSID_FULL, [&zero, &zero], &mut test_rng(2));
    let d = b_side.judge(|judged| b.finish(judged, &SSID_FULL, &answer)).unwrap();
    assert_eq!(c.expose()[0] + d.expose()[0], zero);
    assert_eq!(c.expose()[1] + d.expose()[1], zero);
}

#[test]
fn both_directions_of_a_pair_have_independent_extensions() {
    let (one, two) = honest_pair(1);
    let mut rng = test_rng(2);
    let back = ExtensionContext { sender: 3, receiver: 2, ..CONTEXT };
    let (_, forth_message) = ReceiverExtension::<Secp256k1>::new(&two, &CONTEXT, &mut rng);
    let (_, back_message) = ReceiverExtension::<Secp256k1>::new(&one, &back, &mut rng);
    assert!(accepts(&one, &CONTEXT, &forth_message));
    assert!(accepts(&two, &back, &back_message));
    assert!(!accepts(&one, &CONTEXT, &back_message));
    let (one, two) = (look(&one, |j| *j.sender.delta.expose()), look(&two, |j| *j.sender.delta.expose()));
    assert!((one ^ two).count_ones() > 30);
}

// The model.

/// Choice bits and check bits in the model's form.
fn model_column<C: Curve>(choices: &Choices) -> BigUint {
    let choice = choices[..check_block::<C>()]
        .iter()
        .enumerate()
        .fold(BigUint::ZERO, |sum, (b, word)| sum | (BigUint::from(*word) << (128 * b)));
    choice | (BigUint::from(choices[check_block::<C>()]) << choice_bits::<C>())
}

fn extension_agrees_with_the_model<C: Curve>() {
    let Run { a_side, b_side, a, b, message } = run::<C>(3);
    let start = b.binding.prg_start::<C>();
    let choices = model_column::<C>(b.choices.expose());
    let (u, v) = model::receiver_columns::<C>(&b_side.receiver().leaves, start, &choices);
    let w = look(&a_side, |judged| {
        model::sender_columns::<C>(&judged.sender.leaves, *judged.sender.delta.expose(), start, &u)
    });
    let challenges = b.binding.challenges::<C>(&message.corrections, check_block::<C>());
    let challenges: Vec<u128> = challenges.iter().map(|challenge| challenge.0).collect();
    let delta = *a.delta.expose();
    let x = model::fold::<C>(&challenges, &choices);
    let t: Vec<BigUint> = v.iter().map(|column| model::fold::<C>(&challenges, column)).collect();
    // The relation of the columns, and the check.
    for column in 0..128 {
        let mut expected = v[column].clone();
        let mut folded = t[column].clone();
        if (delta >> column) & 1 == 1 {
            expected ^= &choices;
            folded ^= &x;
        }
        assert_eq!(w[column], expected);
        assert_eq!(model::fold::<C>(&challenges, &w[column]), folded);
    }
    // The message and the rows.
    let expected = model::extension_message::<C>(&message.nonce, &u, &x, &t);
    assert!(borsh::to_vec(&message).unwrap() == expected);
    for j in 0..choice_bits::<C>() {
        let (q_j, t_j) = (a.rows.0.as_flattened()[j], b.rows.0.as_flattened()[j]);
        assert_eq!(q_j, model::row(&w, j));
        assert_eq!(t_j, model::row(&v, j));
        assert_eq!(q_j, if model::bit(&choices, j) { t_j ^ delta } else { t_j });
    }
}

#[test]
fn the_extension_agrees_with_the_model_byte_by_byte() {
    extension_agrees_with_the_model::<Secp256k1>();
    extension_agrees_with_the_model::<P384>();
    extension_agrees_with_the_model::<P521>();
}

fn multiplication_agrees_with_the_model<C: Curve>() {
    let Run { b_side, a, b, .. } = run::<C>(4);
    let mut rng = test_rng(5);
    let inputs: [C::Scalar; 3] = std::array::from_fn(|_| C::random_scalar(&mut rng));
    let numbers = inputs.map(|input| model::number::<C>(&input));
    let (c, message) = a.multiply_with(&SSID_FULL, [&inputs[0], &inputs[1]], &Secret::new(inputs[2]));
    let (a_rows, b_rows) = (a.rows.0.as_flattened(), b.rows.0.as_flattened());
    let choices = model_column::<C>(b.choices.expose());
    let sent = model::send::<C>(&a.binding, &SSID_FULL, a_rows, *a.delta.expose(), &numbers, Deviation::None);
    assert!(message.matrix == sent.matrix);
    assert_eq!(model::number::<C>(message.eta.scalar()), sent.eta);
    assert_eq!(message.mu, sent.mu);
    let (factor, d, passes) = model::receive::<C>(&b.binding, &SSID_FULL, b_rows, &choices, &sent);
    assert!(passes);
    assert_eq!(model::number::<C>(b.chi().expose()), factor);
    let ours = b_side.judge(|judged| b.finish(judged, &SSID_FULL, &message)).unwrap();
    for i in 0..2 {
        assert_eq!(model::number::<C>(&c.expose()[i]), sent.c[i]);
        assert_eq!(model::number::<C>(&ours.expose()[i]), d[i]);
        assert_eq!((&sent.c[i] + &d[i]) % model::order::<C>(), &numbers[i] * &factor % model::order::<C>());
    }
}

#[test]
fn the_multiplication_agrees_with_the_model_byte_by_byte() {
    multiplication_agrees_with_the_model::<Secp256k1>();
    multiplication_agrees_with_the_model::<P256>();
    multiplication_agrees_with_the_model::<P384>();
    multiplication_agrees_with_the_model::<P521>();
}

// Check C2: the extension.

#[test]
fn c2_any_changed_bit_of_the_message_is_noticed() {
    let Run { a_side, message, .. } = run::<Secp256k1>(6);
    assert!(accepts(&a_side, &CONTEXT, &message));
    for position in [0, 51, 52, 67, 68, 2000, 2175] {
        for bit in [0, 7] {
            let mut changed = copy(&message);
            changed.corrections[position] ^= 1 << bit;
            assert!(!accepts(&a_side, &CONTEXT, &changed), "u, byte {position}, bit {bit}");
        }
    }
    for bit in [0, 1, 64, 127] {
        let mut changed = copy(&message);
        changed.folded_choices ^= 1 << bit;
        assert!(!accepts(&a_side, &CONTEXT, &changed), "x, bit {bit}");
        for word in [0, 63, 127] {
            let mut changed = copy(&message);
            changed.folded_columns[word] ^= 1 << bit;
            assert!(!accepts(&a_side, &CONTEXT, &changed), "t, word {word}, bit {bit}");
        }
    }
    let mut changed = copy(&message);
    changed.nonce[31] ^= 1;
    assert!(!accepts(&a_side, &CONTEXT, &changed), "nonce");
}

#[test]
fn s19_the_streams_of_an_extension_depend_on_nonce_and_session_each_for_itself() {
    let (_, b_side) = honest_pair(9);
    // With the same choices, the corrections differ as the streams do.
    let corrections = |nonce: [u8; 32], ssid: &[u8; 32]| {
        let context = ExtensionContext { ssid, ..CONTEXT };
        let choices = Secret::new([0; MAX_BLOCKS]);
        let (_, message) = ReceiverExtension::<Secp256k1>::with_choices(&b_side, &context, nonce, choices);
        message.corrections
    };
    // Exclusive-or of nonce and session is the same in the last: it must not be what the streams hang on.
    let runs = [
        corrections([0; 32], &[0; 32]),
        corrections([1; 32], &[0; 32]),
        corrections([0; 32], &[1; 32]),
        corrections([1; 32], &[1; 32]),
    ];
    let bits = runs[0].len() as u32 * 8;
    for (place, one) in runs.iter().enumerate() {
        for two in &runs[place + 1..] {
            let differing: u32 = one.iter().zip(two).map(|(one, two)| (one ^ two).count_ones()).sum();
            assert!(differing.abs_diff(bits / 2) < bits / 20, "{differing} of {bits} bits differ");
        }
    }
}

#[test]
fn c2_a_message_of_another_session_direction_player_pair_or_curve_is_refused() {
    let Run { a_side, b_side, message, .. } = run::<Secp256k1>(7);
    let (other_a, _) = honest_pair(8);
    assert!(accepts(&a_side, &CONTEXT, &message));
    assert!(!accepts(&a_side, &ExtensionContext { ssid: &[3; 32], ..CONTEXT }, &message));
    assert!(!accepts(&a_side, &ExtensionContext { sender: 3, receiver: 2, ..CONTEXT }, &message));
    assert!(!accepts(&a_side, &ExtensionContext { sender: 1, ..CONTEXT }, &message));
    assert!(!accepts(&a_side, &ExtensionContext { receiver: 1, ..CONTEXT }, &message));
    assert!(!accepts(&other_a, &CONTEXT, &message));
    assert!(!accepts(&b_side, &CONTEXT, &message));
    let bytes = borsh::to_vec(&message).unwrap();
    assert!(!accepts::<P256>(&a_side, &CONTEXT, &borsh::from_slice(&bytes).unwrap()));
}

/// A cheating B's message, as the guess of a tree's bits of Δ.
fn forge(pair: &PairState, chunk: usize, guess: u128) -> ExtensionMessage<Secp256k1> {
    let mut rng = test_rng(chunk as u64 * LEAVES as u64 + guess as u64);
    ReceiverExtension::guess(pair, &CONTEXT, chunk, guess, &mut rng)
}

#[test]
fn c2_and_s43_a_forged_tree_passes_only_if_its_bits_of_delta_were_guessed() {
    let (a_side, b_side) = honest_pair(9);
    for chunk in 0..CHUNKS {
        let passed: Vec<u128> = (0..LEAVES as u128)
            .filter(|guess| accepts(&a_side, &CONTEXT, &forge(&b_side, chunk, *guess)))
            .collect();
        let truth = look(&a_side, |j| (j.sender.delta.expose() >> (chunk * TREE_DEPTH)) % LEAVES as u128);
        assert_eq!(passed, [truth], "tree {chunk}");
    }
}

// Check C5: the multiplication.

fn answer(run: &Run<Secp256k1>, ssid_full: &[u8; 32]) -> VoleMessage<Secp256k1> {
    let mut rng = test_rng(10);
    let inputs: [_; 3] = std::array::from_fn(|_| Secp256k1::random_scalar(&mut rng));
    run.a.multiply_with(ssid_full, [&inputs[0], &inputs[1]], &Secret::new(inputs[2])).1
}

/// Whether B accepts, asked of a copy of B so that a test can ask more than once.
fn b_accepts(run: &Run<Secp256k1>, ssid_full: &[u8; 32], message: &VoleMessage<Secp256k1>) -> bool {
    let choices = Secret::new(*run.b.choices.expose());
    let (b, _) = ReceiverExtension::with_choices(&run.b_side, &CONTEXT, run.message.nonce, choices);
    look(&run.b_side, |judged| b.finish(judged, ssid_full, message).is_ok())
}

#[test]
fn c5_any_changed_field_of_the_answer_is_noticed() {
    let run = run(11);
    let honest = answer(&run, &SSID_FULL);
    assert!(b_accepts(&run, &SSID_FULL, &honest));
    for row in [0, 1, 200, 415] {
        for column in 0..3 {
            let mut changed = copy(&honest);
            changed.matrix[(3 * row + column) * 32 + 31] ^= 1;
            assert!(!b_accepts(&run, &SSID_FULL, &changed), "row {row}, column {column}");
        }
    }
    let mut changed = copy(&honest);
    changed.eta = CanonicalScalar::new(*honest.eta.scalar() + k256::Scalar::ONE);
    assert!(!b_accepts(&run, &SSID_FULL, &changed), "eta");
    for byte in [0, 31] {
        let mut changed = copy(&honest);
        changed.mu[byte] ^= 0x10;
        assert!(!b_accepts(&run, &SSID_FULL, &changed), "mu");
    }
}

#[test]
fn c5_an_answer_of_another_run_or_another_extension_is_refused() {
    let run_1 = run(11);
    assert!(!b_accepts(&run_1, &[6; 32], &answer(&run_1, &SSID_FULL)));
    let run_2 = run(12);
    assert!(!b_accepts(&run_1, &SSID_FULL, &answer(&run_2, &SSID_FULL)));
}

/// For each way in which A deviates, whether B accepts.
fn b_accepts_deviations(run: &Run<Secp256k1>, deviations: &[Deviation]) -> Vec<bool> {
    let mut rng = test_rng(14);
    let inputs: [BigUint; 3] =
        std::array::from_fn(|_| model::number::<Secp256k1>(&Secp256k1::random_scalar(&mut rng)));
    let accepts = |deviation: &Deviation| {
        let (rows, delta) = (run.a.rows.0.as_flattened(), *run.a.delta.expose());
        let sent = model::send::<Secp256k1>(&run.a.binding, &SSID_FULL, rows, delta, &inputs, *deviation);
        let mut eta = sent.eta.to_bytes_be();
        eta.splice(0..0, vec![0; 32 - eta.len()]);
        let eta = CanonicalScalar::new(Secp256k1::decode_scalar(&eta).unwrap());
        b_accepts(run, &SSID_FULL, &VoleMessage { matrix: sent.matrix, eta, mu: sent.mu })
    };
    deviations.iter().map(accepts).collect()
}

#[test]
fn c5_and_s52_the_misprinted_forms_of_the_check_are_refused() {
    use Deviation::{ChallengesInEta, ChallengesInMu, ColumnOfCheckInput, None};
    let forms = [None, ChallengesInMu, ChallengesInEta, ColumnOfCheckInput];
    assert_eq!(b_accepts_deviations(&run(13), &forms), [true, false, false, false]);
}

#[test]
fn c5_another_input_in_one_row_passes_only_if_the_choice_bit_was_guessed() {
    let run = run(15);
    let rows = [0, 1, 2, 3, 127, 128, 129, 414, 415];
    let accepted = b_accepts_deviations(&run, &rows.map(Deviation::InputOfRow));
    let zeros = rows.map(|j| bit128(run.b.choices.expose()[j / 128], j % 128) == 0);
    assert_eq!(accepted, zeros);
    assert!(zeros.contains(&true) && zeros.contains(&false));
}

// Rules.

fn choices_of(word: u128) -> Secret<Choices> {
    Secret::new([word; MAX_BLOCKS])
}

#[test]
fn s48_all_choice_bits_one_give_rows_that_differ_by_delta_and_all_zero_give_equal_rows() {
    let (a_side, b_side) = honest_pair(20);
    for (word, nonce) in [(u128::MAX, [1; 32]), (0, [2; 32])] {
        let (b, message) =
            ReceiverExtension::<Secp256k1>::with_choices(&b_side, &CONTEXT, nonce, choices_of(word));
        let a = look(&a_side, |judged| SenderExtension::check(judged, &CONTEXT, &message)).unwrap();
        let delta = *a.delta.expose();
        for j in 0..416 {
            let (q_j, t_j) = (a.rows.0.as_flattened()[j], b.rows.0.as_flattened()[j]);
            assert_eq!(q_j ^ t_j, word & delta, "row {j}");
        }
        let ones: u32 = a.rows.0.as_flattened()[..416].iter().map(|row| row.count_ones()).sum();
        // 53,248 bits; six standard deviations are 692.
        assert!(ones.abs_diff(26_624) < 692, "{ones}");
    }
}

#[test]
fn s54_a_repeated_nonce_and_choice_do_not_repeat_the_pads() {
    let (a_side, b_side) = honest_pair(21);
    let answers = |ssid_full: [u8; 32], seed| {
        // B repeats everything it controls.
        let (_, message) =
            ReceiverExtension::<Secp256k1>::with_choices(&b_side, &CONTEXT, [7; 32], choices_of(0));
        let a = look(&a_side, |judged| SenderExtension::check(judged, &CONTEXT, &message)).unwrap();
        let input = Secp256k1::random_scalar(&mut test_rng(seed));
        let (_, answer) = a.multiply(&ssid_full, [&input, &input], &mut test_rng(seed));
        let entries: Vec<_> =
            answer.matrix.chunks(32).map(|bytes| Secp256k1::decode_scalar(bytes).unwrap()).collect();
        (input, entries)
    };
    let (input_1, entries_1) = answers([1; 32], 1);
    let (input_2, entries_2) = answers([2; 32], 2);
    let leaks = |one: &[_], two: &[_]| {
        one.iter().zip(two).step_by(3).filter(|(one, two)| **one - **two == input_1 - input_2).count()
    };
    assert_eq!(leaks(&entries_1, &entries_2), 0);
    // The danger is real: under one ssid_full, each row shows the difference of the inputs.
    let (_, entries_3) = answers([1; 32], 2);
    assert_eq!(leaks(&entries_1, &entries_3), 416);
}

#[test]
fn s41_one_failure_burns_and_every_later_verdict_is_the_same() {
    let (a_side, b_side) = honest_pair(22);
    let truth = look(&a_side, |judged| judged.sender.delta.expose() % LEAVES as u128);
    let verdict = |message: &ExtensionMessage<Secp256k1>| {
        a_side.judge(|judged| SenderExtension::check(judged, &CONTEXT, message)).map(|_| ())
    };
    assert_eq!(verdict(&forge(&b_side, 0, truth)), Ok(()));
    assert!(!a_side.is_burned());
    assert_eq!(verdict(&forge(&b_side, 0, truth ^ 1)), Err(Verdict::Failed(CheckFailed)));
    assert!(a_side.is_burned());
    for guess in [truth, truth ^ 1] {
        assert_eq!(verdict(&forge(&b_side, 0, guess)), Err(Verdict::Burned));
    }
    let (_, honest) = ReceiverExtension::new(&b_side, &CONTEXT, &mut test_rng(1));
    assert_eq!(verdict(&honest), Err(Verdict::Burned));
}

#[test]
fn s41_a_thousand_parallel_guesses_learn_nothing_after_the_first_failure() {
    let (a_side, b_side) = honest_pair(23);
    // Eight wrong guesses and eight right ones, each tried by many sessions at once.
    let truth = look(&a_side, |judged| *judged.sender.delta.expose());
    let messages: Vec<_> = (0..16)
        .map(|chunk| {
            let bits = (truth >> (chunk * TREE_DEPTH)) % LEAVES as u128;
            forge(&b_side, chunk, bits ^ (chunk as u128 % 2))
        })
        .collect();
    let (passed, failed, burned) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..20 {
            let (a_side, messages) = (&a_side, &messages);
            let (passed, failed, burned) = (&passed, &failed, &burned);
            scope.spawn(move || {
                for session in 0..50 {
                    let message = &messages[(2 * thread + session) % 16];
                    let seen_burned = a_side.is_burned();
                    match a_side.judge(|judged| SenderExtension::check(judged, &CONTEXT, message)) {
                        Ok(_) => {
                            assert!(!seen_burned);
                            passed.fetch_add(1, Ordering::SeqCst)
                        }
                        Err(Verdict::Failed(CheckFailed)) => failed.fetch_add(1, Ordering::SeqCst),
                        Err(Verdict::Burned) => burned.fetch_add(1, Ordering::SeqCst),
                    };
                }
            });
        }
    });
    let (passed, failed, burned) = (passed.into_inner(), failed.into_inner(), burned.into_inner());
    assert_eq!(failed, 1);
    assert_eq!(passed + failed + burned, 1000);
    assert!(passed <= 20, "no thread can pass twice before its next, wrong guess: {passed}");
}

#[test]
fn s42_a_verdict_that_panics_burns_the_state() {
    let (a_side, _) = honest_pair(24);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        a_side.judge(|_| -> Result<(), CheckFailed> { panic!("a bug") })
    }));
    assert!(panicked.is_err());
    assert!(a_side.is_burned());
    assert_eq!(a_side.judge(|_| Ok::<(), CheckFailed>(())), Err(Verdict::Burned));
}

#[test]
fn s42_a_failed_c5_burns_the_state_of_b() {
    let Run { b_side, a, b, .. } = run::<Secp256k1>(25);
    let input = k256::Scalar::ONE;
    let (_, mut answer) = a.multiply(&SSID_FULL, [&input, &input], &mut test_rng(1));
    answer.mu[0] ^= 1;
    let verdict = b_side.judge(|judged| b.finish(judged, &SSID_FULL, &answer)).map(|_| ());
    assert_eq!(verdict, Err(Verdict::Failed(CheckFailed)));
    assert!(b_side.is_burned());
}

#[test]
fn states_and_extensions_can_go_to_other_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<PairState>();
    shared::<(LowerStarted, LowerAnswered)>();
    shared::<(HigherStarted, HigherAnswered)>();
    shared::<SenderExtension<P521>>();
    shared::<ReceiverExtension<P521>>();
}

// Encodings.

fn messages_have_exactly_one_encoding<C: Curve>(extension_bytes: usize, answer_bytes: usize) {
    let Run { a, message, .. } = run::<C>(30);
    let input = C::Scalar::ONE;
    let (_, answer) = a.multiply(&SSID_FULL, [&input, &input], &mut test_rng(1));
    let message = borsh::to_vec(&message).unwrap();
    let answer = borsh::to_vec(&answer).unwrap();
    assert_eq!((message.len(), answer.len()), (extension_bytes, answer_bytes));
    for bytes in [&message[1..], &[message.as_slice(), &[0]].concat(), &[]] {
        assert!(borsh::from_slice::<ExtensionMessage<C>>(bytes).is_err());
    }
    for bytes in [&answer[1..], &[answer.as_slice(), &[0]].concat(), &[]] {
        assert!(borsh::from_slice::<VoleMessage<C>>(bytes).is_err());
    }
    let decoded: ExtensionMessage<C> = borsh::from_slice(&message).unwrap();
    assert!(borsh::to_vec(&decoded).unwrap() == message);
    let decoded: VoleMessage<C> = borsh::from_slice(&answer).unwrap();
    assert!(borsh::to_vec(&decoded).unwrap() == answer);
    // A scalar of q or more, in the first, a middle and the last place, and η.
    let mut order = model::order::<C>().to_bytes_be();
    order.splice(0..0, vec![0; C::SCALAR_BYTES - order.len()]);
    for place in [0, choice_bits::<C>(), 3 * choice_bits::<C>() - 1, 3 * choice_bits::<C>()] {
        for wrong in [order.clone(), vec![0xff; C::SCALAR_BYTES]] {
            let mut bytes = answer.clone();
            bytes[place * C::SCALAR_BYTES..(place + 1) * C::SCALAR_BYTES].copy_from_slice(&wrong);
            assert!(borsh::from_slice::<VoleMessage<C>>(&bytes).is_err(), "scalar {place}");
        }
    }
}

#[test]
fn s22_s24_s29_messages_have_exactly_one_encoding_and_the_documented_size() {
    messages_have_exactly_one_encoding::<Secp256k1>(4_272, 40_000);
    messages_have_exactly_one_encoding::<P256>(4_272, 40_000);
    messages_have_exactly_one_encoding::<P384>(4_784, 78_416);
    messages_have_exactly_one_encoding::<P521>(5_360, 136_322);
}

#[test]
fn s107_debug_of_extensions_and_messages_shows_nothing() {
    let Run { a, b, message, .. } = run::<Secp256k1>(31);
    assert_eq!(
        format!("{a:?} {b:?} {message:?}"),
        "SenderExtension { .. } ReceiverExtension { .. } ExtensionMessage { .. }"
    );
}
