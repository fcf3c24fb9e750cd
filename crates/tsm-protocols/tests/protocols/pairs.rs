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
fn n1_s04_the_peers_fresh_bytes_sent_back_to_it_are_refused() {
    let kept = RefCell::new(Vec::new());
    let outcome = set_up(&[0, 9], |message| {
        if message.from == p(0) && message.round == 1 {
            *kept.borrow_mut() = message.body[..32].to_vec();
        } else if message.from == p(9) && message.round == 1 {
            message.body[..32].copy_from_slice(&kept.borrow());
        }
    });
    assert_named(abort_of(&outcome, 0), Some(9), Class::Malformed, "N1");
}

#[test]
fn n2_s24_a_malformed_point_in_either_half_of_flight_1_is_refused() {
    // First and last point of each side's flight, and the other side.
    for (cheat, victim, place) in [(9, 0, 32), (9, 0, 4_128 - 32), (0, 9, 32), (0, 9, 8_224 - 32)] {
        let outcome = set_up(&[0, 9], |message| {
            if message.from == p(cheat) && message.round == 1 {
                message.body[place..place + 32].fill(0xff);
            }
        });
        assert_named(abort_of(&outcome, victim), Some(cheat), Class::Malformed, "N2");
    }
}

#[test]
fn n3_s41_a_spoiled_tree_is_a_secret_dependent_failure() {
    for (cheat, victim, round) in [(9, 0, 2), (0, 9, 3)] {
        for place in [0, 3_000, 5_151] {
            let outcome = set_up(&[0, 9], |message| {
                if message.from == p(cheat) && message.round == round {
                    message.body[place] ^= 1;
                }
            });
            // A spoiled part may be one that the victim's choices do not look at, but for the digests.
            if place == 5_151 {
                assert_named(abort_of(&outcome, victim), Some(cheat), Class::SecretDependent, "N3");
            } else if let Some(Err(abort)) = &outcome[&p(victim)] {
                assert_named(abort, Some(cheat), Class::SecretDependent, "N3");
            }
        }
    }
}

#[test]
fn n3_s41_a_guess_of_one_bit_in_a_set_up_is_right_half_of_the_time() {
    // Of the two encrypted sums of a level, the peer opens the one that its bit of Δ leaves it: who
    // spoils one of them guesses the bit.
    let (seeds, mut right) = (40, 0);
    for seed in 0..seeds {
        let (tree, level) = (seed as usize % 32, seed as usize % 4);
        let [left, right_side] = [0, 1].map(|side| {
            let outcome = set_up_from(seed, &[0, 9], |message| {
                if message.from == p(9) && message.round == 2 {
                    message.body[((tree * 4 + level) * 2 + side) * 16] ^= 1;
                }
            });
            let passes = matches!(outcome[&p(0)], Some(Ok(_)));
            if !passes {
                assert_named(abort_of(&outcome, 0), Some(9), Class::SecretDependent, "N3");
                assert!(outcome[&p(9)].is_none(), "there is no state to guess further of");
            }
            passes
        });
        assert_ne!(left, right_side, "the bit has one value");
        right += usize::from(left);
    }
    // Half, with a standard deviation of three.
    assert!((8..=32).contains(&right), "{right} of {seeds}");
}

#[test]
fn n4_s41_a_spoiled_extension_of_the_set_up_is_a_secret_dependent_failure() {
    for place in [5_152, 7_000, 8_271] {
        let outcome = set_up(&[0, 9], |message| {
            if message.from == p(9) && message.round == 2 {
                message.body[place] ^= 1;
            }
        });
        assert_named(abort_of(&outcome, 0), Some(9), Class::SecretDependent, "N4");
        assert!(outcome[&p(9)].is_none(), "without the peer's last flight there is no state");
    }
}

#[test]
fn s29_flights_of_another_length_are_refused() {
    for (cheat, victim, round) in [(9, 0, 1), (9, 0, 2), (0, 9, 1), (0, 9, 3)] {
        for longer in [true, false] {
            let outcome = set_up(&[0, 9], |message| {
                if message.from == p(cheat) && message.round == round {
                    let length = message.body.len();
                    message.body.resize(if longer { length + 1 } else { length - 1 }, 0);
                }
            });
            assert_named(abort_of(&outcome, victim), Some(cheat), Class::Malformed, "message decodes");
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
        sizes.borrow_mut().insert((message.from.0, message.round), message.body.len());
    }));
    let expected = [((0, 1), 8_224), ((9, 1), 4_128), ((9, 2), 8_272), ((0, 3), 5_152)];
    assert_eq!(sizes.into_inner(), expected.into());
}
