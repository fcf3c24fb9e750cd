//! Set-up of a pair: the honest way, and cheats of player 9 against player 0.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tsm_protocols::Class;

use crate::support::*;

#[test]
fn both_sides_get_the_same_new_state() {
    let states = all(set_up(&[0, 9], honest));
    assert_eq!(states[&p(0)].id(), states[&p(9)].id());
    let again = all(set_up(&[0, 9], honest));
    assert_ne!(states[&p(0)].id(), again[&p(0)].id());
}

#[test]
fn n1_s04_our_own_first_flight_sent_back_is_refused() {
    let kept = RefCell::new(Vec::new());
    let outcome = set_up(&[0, 9], |message| {
        if message.from == p(0) && message.round == 1 {
            *kept.borrow_mut() = message.body.clone();
        } else if message.from == p(9) && message.round == 1 {
            *message.body = kept.borrow().clone();
        }
    });
    assert_eq!(abort_of(&outcome, 0).class, Class::Malformed);
    assert_eq!(abort_of(&outcome, 0).player, Some(p(9)));
}

#[test]
fn n2_s24_a_malformed_point_in_either_half_of_flight_1_is_refused() {
    // The first point of the receiver's half, and the last of the sender's.
    for place in [32, 12_320 - 32] {
        let outcome = set_up(&[0, 9], |message| {
            if message.from == p(9) && message.round == 1 {
                message.body[place..place + 32].fill(0xff);
            }
        });
        assert_eq!(abort_of(&outcome, 0).class, Class::Malformed);
        assert_eq!(abort_of(&outcome, 0).player, Some(p(9)));
    }
}

#[test]
fn n3_s41_a_spoiled_tree_is_a_secret_dependent_failure() {
    for place in [0, 3_000, 6_175] {
        let outcome = set_up(&[0, 9], |message| {
            if message.from == p(9) && message.round == 2 {
                message.body[place] ^= 1;
            }
        });
        // A spoiled part may be one that player 0's choices do not look at, but for the digests.
        if place == 6_175 {
            assert_named(abort_of(&outcome, 0), Some(9), Class::SecretDependent, "N3");
        } else if let Some(Err(abort)) = &outcome[&p(0)] {
            assert_named(abort, Some(9), Class::SecretDependent, "N3");
        }
    }
}

#[test]
fn s29_flights_of_another_length_are_refused() {
    for round in [1, 2] {
        for longer in [true, false] {
            let outcome = set_up(&[0, 9], |message| {
                if message.from == p(9) && message.round == round {
                    let length = message.body.len();
                    message.body.resize(if longer { length + 1 } else { length - 1 }, 0);
                }
            });
            assert_named(abort_of(&outcome, 0), Some(9), Class::Malformed, "message decodes");
        }
    }
}

#[test]
fn s03_flights_of_an_earlier_set_up_are_refused() {
    let recorded = RefCell::new(BTreeMap::new());
    all(set_up(&[0, 9], |message| {
        recorded.borrow_mut().insert((message.from, message.round), message.body.clone());
    }));
    let outcome = set_up(&[0, 9], |message| {
        if message.from == p(9) {
            *message.body = recorded.borrow()[&(message.from, message.round)].clone();
        }
    });
    assert_named(abort_of(&outcome, 0), Some(9), Class::SecretDependent, "N3");
}

#[test]
fn the_flights_have_the_documented_sizes() {
    let sizes = RefCell::new(BTreeMap::new());
    all(set_up(&[0, 9], |message| {
        sizes.borrow_mut().insert(message.round, message.body.len());
    }));
    assert_eq!(sizes.into_inner(), [(1, 12_320), (2, 6_176)].into());
}
