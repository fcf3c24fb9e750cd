//! One message of one player, mutated at random: never a panic, never a wrong result, and no honest
//! player blamed (gate D.4.2 in small; rules S-02, S-23, S-27, S-29, S-41).

use std::collections::BTreeMap;

use rand_core::Rng;
use tsm_crypto::ecdsa::{join, verify};
use tsm_crypto::hedged::test_rng;
use tsm_protocols::Class;
use tsm_protocols::testing::InFlight;
use tsm_types::{CurveId, PlayerIndex};

use crate::support::*;

const PLAYERS: [u16; 3] = [0, 5, 9];
const CHEAT: u16 = 5;

/// What is done to one message.
struct Mutation {
    round: usize,
    /// To this player only, or to both.
    only_to: Option<u16>,
    kind: u32,
    noise: u64,
}

impl Mutation {
    fn random(rng: &mut impl Rng, rounds: u32) -> Self {
        Mutation {
            round: (1 + rng.next_u32() % rounds) as usize,
            only_to: [None, Some(0), Some(9)][(rng.next_u32() % 3) as usize],
            kind: rng.next_u32() % 10,
            noise: rng.next_u64(),
        }
    }

    /// Applies it. `earlier` are the messages of an earlier run.
    fn apply(&self, message: InFlight<'_>, earlier: &BTreeMap<(PlayerIndex, PlayerIndex, usize), Vec<u8>>) {
        let concerned = message.from == p(CHEAT) && message.round == self.round;
        if !concerned || self.only_to.is_some_and(|to| message.to != p(to)) || message.body.is_empty() {
            return;
        }
        let place = (self.noise as usize >> 8) % message.body.len();
        let end = (place + 33).min(message.body.len());
        match self.kind {
            0..=3 => message.body[place] ^= 1 << (self.noise % 8),
            4 => message.body[place..end].fill(0),
            5 => message.body[place..end].fill(0xff),
            6 => message.body.truncate(place.max(1)),
            7 => message.body.extend(vec![0; 1 + place % 100]),
            8 => {
                // Another part of the same message.
                let from = (self.noise as usize >> 24) % message.body.len();
                let length = (end - place).min(message.body.len() - from);
                message.body.copy_within(from..from + length, place);
            }
            _ => *message.body = earlier[&(message.from, message.to, message.round)].clone(),
        }
    }
}

type Recording = BTreeMap<(PlayerIndex, PlayerIndex, usize), Vec<u8>>;

fn recorder(recording: &mut Recording) -> impl FnMut(InFlight<'_>) + '_ {
    |message| {
        recording.insert((message.from, message.to, message.round), message.body.clone());
    }
}

/// No honest player names another honest one.
fn assert_nobody_framed<T>(outcome: &Outcome<T>, number: u64) {
    for (player, result) in outcome {
        if let (true, Some(Err(abort))) = (*player != p(CHEAT), result) {
            let named = abort.player;
            assert!(
                named.is_none_or(|named| named == p(CHEAT)),
                "mutation {number}: {player:?} says {abort:?}"
            );
            assert!(abort.one_of.is_none_or(|two| two.contains(&p(CHEAT))), "mutation {number}: {abort:?}");
            assert_eq!(named.is_none(), abort.class == Class::Unattributed || abort.one_of.is_some());
        }
    }
}

#[test]
fn s27_mutated_key_generation_messages_never_panic_split_the_key_or_frame_anybody() {
    let session = keygen_session("keygen", CurveId::Secp256k1, 1, &PLAYERS);
    let mut earlier = Recording::new();
    all(run_keygen(&session, 1, recorder(&mut earlier)));
    let mut rng = test_rng(11);
    for number in 0..400 {
        let mutation = Mutation::random(&mut rng, 2);
        let outcome = run_keygen(&session, 100, |message| mutation.apply(message, &earlier));
        assert_nobody_framed(&outcome, number);
        let certificates: Vec<_> = [0, 9]
            .iter()
            .filter_map(|player| match &outcome[&p(*player)] {
                Some(Ok(key)) => Some(key.share.certificate.clone()),
                _ => None,
            })
            .collect();
        assert!(certificates.windows(2).all(|two| two[0] == two[1]), "mutation {number}");
    }
}

#[test]
fn s27_mutated_confirmations_never_panic_or_frame_anybody() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let session = keygen_session("keygen", CurveId::Secp256k1, 1, &PLAYERS);
    let mut earlier = Recording::new();
    all(run_confirm(&session, &shares, recorder(&mut earlier)));
    let mut rng = test_rng(12);
    for number in 0..200 {
        let mutation = Mutation::random(&mut rng, 1);
        let outcome = run_confirm(&session, &shares, |message| mutation.apply(message, &earlier));
        assert_nobody_framed(&outcome, number);
        for result in outcome.into_values().flatten().flatten() {
            assert!(result.is_complete());
        }
    }
}

#[test]
fn s27_mutated_signing_messages_never_panic_give_a_wrong_signature_or_frame_anybody() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let key = shares[&p(0)].certificate.public_key_der();
    let digest = digest(CurveId::Secp256k1, 0x42);
    let session = sign_session("sign", &shares, &digest, &PLAYERS);
    let mut rng = test_rng(13);
    let mut pairs = Pairs::fresh(&PLAYERS);
    let mut earlier = Recording::new();
    all(run_sign(&session, &shares, &pairs, 1, recorder(&mut earlier)));
    for number in 0..60 {
        let mutation = Mutation::random(&mut rng, 2);
        let outcome = run_sign(&session, &shares, &pairs, 100, |message| mutation.apply(message, &earlier));
        assert_nobody_framed(&outcome, number);
        assert!(!pairs.between(0, 9).is_burned() && !pairs.between(9, 0).is_burned(), "mutation {number}");
        let partials: Vec<_> = outcome.into_values().flatten().flatten().collect();
        if partials.len() == PLAYERS.len()
            && let Ok(signature) = join(digest.as_bytes(), &partials)
        {
            assert!(verify(CurveId::Secp256k1, &key, digest.as_bytes(), signature.der()));
        }
        if pairs.between(0, CHEAT).is_burned() || pairs.between(9, CHEAT).is_burned() {
            pairs = Pairs::fresh(&PLAYERS);
            earlier.clear();
            all(run_sign(&session, &shares, &pairs, 1, recorder(&mut earlier)));
        }
    }
}

#[test]
fn s27_mutated_set_up_flights_never_panic_or_frame_anybody() {
    let mut earlier = Recording::new();
    all(set_up(&[0, CHEAT], recorder(&mut earlier)));
    let mut rng = test_rng(14);
    for number in 0..40 {
        let mutation = Mutation { only_to: None, ..Mutation::random(&mut rng, 2) };
        let outcome = set_up(&[0, CHEAT], |message| mutation.apply(message, &earlier));
        assert_nobody_framed(&outcome, number);
    }
}

#[test]
fn s27_mutated_presigning_messages_never_panic_give_a_wrong_signature_or_frame_anybody() {
    let shares = generate(CurveId::Secp256k1, 1, &PLAYERS);
    let key = shares[&p(0)].certificate.public_key_der();
    let digest = digest(CurveId::Secp256k1, 0x42);
    let session = presign_session("presign", &shares, 2, &PLAYERS);
    let mut rng = test_rng(15);
    let mut pairs = Pairs::fresh(&PLAYERS);
    let mut earlier = Recording::new();
    all(run_presign(&session, &shares, &pairs, 1, recorder(&mut earlier)));
    for number in 0..45 {
        let mutation = Mutation::random(&mut rng, 3);
        let outcome =
            run_presign(&session, &shares, &pairs, 100, |message| mutation.apply(message, &earlier));
        assert_nobody_framed(&outcome, number);
        assert!(!pairs.between(0, 9).is_burned() && !pairs.between(9, 0).is_burned(), "mutation {number}");
        let made: BTreeMap<_, _> =
            outcome.into_iter().filter_map(|(player, result)| Some((player, result?.ok()?))).collect();
        if made.len() == PLAYERS.len() {
            for presignatures in each(made) {
                let parts: Vec<_> = use_all(presignatures, &digest, None).into_values().collect();
                if let Ok(signature) = join(digest.as_bytes(), &parts) {
                    assert!(verify(CurveId::Secp256k1, &key, digest.as_bytes(), signature.der()));
                }
            }
        }
        if pairs.between(0, CHEAT).is_burned() || pairs.between(9, CHEAT).is_burned() {
            pairs = Pairs::fresh(&PLAYERS);
            earlier.clear();
            all(run_presign(&session, &shares, &pairs, 1, recorder(&mut earlier)));
        }
    }
}
