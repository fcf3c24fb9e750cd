//! What a round accepts, whatever the protocol.

use std::collections::BTreeSet;

use tsm_crypto::hedged::test_rng;
use tsm_protocols::keygen::ProvisionalKey;
use tsm_protocols::{Class, Pending, Step};
use tsm_types::{CurveId, PlayerIndex};

use crate::support::*;

/// Player 0's first round, and what players 5 and 9 send it.
fn waiting() -> (Box<dyn Pending<Output = ProvisionalKey>>, Vec<u8>, Vec<u8>) {
    let session = keygen_session("keygen", CurveId::Secp256k1, 1, &[0, 5, 9]);
    let mut steps = keygen_starts(&session, 1);
    let mut sent = |player: u16| match steps.remove(&p(player)) {
        Some(Step::Continue { send, round }) => (send[0].body.to_vec(), round),
        _ => panic!("key generation begins with a message"),
    };
    let ((_, round), (from_5, _), (from_9, _)) = (sent(0), sent(5), sent(9));
    (round, from_5, from_9)
}

fn awaited(round: &dyn Pending<Output = ProvisionalKey>) -> Vec<PlayerIndex> {
    round.awaited().into_iter().collect()
}

#[test]
fn a_round_waits_for_one_message_of_every_peer() {
    let (mut round, from_5, from_9) = waiting();
    assert_eq!(round.awaited(), BTreeSet::from([p(5), p(9)]));
    round.accept(p(9), &from_9).unwrap();
    assert_eq!(awaited(round.as_ref()), [p(5)]);
    round.accept(p(5), &from_5).unwrap();
    assert!(awaited(round.as_ref()).is_empty());
    assert!(matches!(round.advance(&mut test_rng(1)), Ok(Step::Continue { .. })));
}

#[test]
fn s18_a_second_message_that_differs_is_equivocation_and_a_repetition_is_not() {
    let (mut round, from_5, _) = waiting();
    round.accept(p(5), &from_5).unwrap();
    round.accept(p(5), &from_5).unwrap();
    let mut other = from_5.clone();
    other[0] ^= 1;
    let abort = round.accept(p(5), &other).unwrap_err();
    assert_named(&abort, Some(5), Class::Equivocation, "one message a round");
}

#[test]
fn s20_a_message_of_a_stranger_or_of_oneself_is_refused() {
    let (mut round, from_5, _) = waiting();
    for stranger in [0, 1, 11] {
        let abort = round.accept(p(stranger), &from_5).unwrap_err();
        assert_named(&abort, Some(stranger), Class::Malformed, "sender takes part");
    }
}

#[test]
fn s29_a_message_that_is_too_short_or_too_long_is_refused() {
    let (mut round, from_5, _) = waiting();
    for body in [&from_5[..63], &[from_5.as_slice(), &[0]].concat(), &[]] {
        let abort = round.accept(p(5), body).unwrap_err();
        assert_named(&abort, Some(5), Class::Malformed, "message decodes");
    }
}
