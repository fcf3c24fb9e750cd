//! Messages of the protocols, on every curve.

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::ot::{HigherFlight1, HigherFlight2, LowerFlight1, LowerFlight2};
use tsm_crypto::{CurveId, with_curve};
use tsm_protocols::ecdsa::{presign, sign};
use tsm_protocols::{SignedCertificate, keygen};
use tsm_tests::frames::{self, BODY};
use tsm_types::Session;

use crate::engine;

/// How many kinds of messages there are.
const KINDS: u8 = 13;

/// The first byte says which kind, the second on which curve.
pub(crate) fn message(bytes: &[u8]) {
    let [kind, curve, bytes @ ..] = bytes else { return };
    read(kind % KINDS, CurveId::ALL[usize::from(*curve) % CurveId::ALL.len()], bytes);
}

/// Reads a message; one that is read has no other encoding.
fn read(kind: u8, curve: CurveId, bytes: &[u8]) -> bool {
    with_curve!(curve, C => match kind {
        0 => exact::<keygen::CommitMessage>(bytes),
        1 => exact::<keygen::OpenMessage<C>>(bytes),
        2 => exact::<keygen::confirm::ConfirmMessage>(bytes),
        3 => exact::<LowerFlight1>(bytes),
        4 => exact::<HigherFlight1>(bytes),
        5 => exact::<HigherFlight2>(bytes),
        6 => exact::<LowerFlight2>(bytes),
        7 => exact::<sign::CommitMessage<C>>(bytes),
        8 => exact::<sign::MultiplyMessage<C>>(bytes),
        9 => exact::<presign::PresignCommit<C>>(bytes),
        10 => exact::<presign::PresignMultiply<C>>(bytes),
        11 => exact::<presign::Acknowledgement>(bytes),
        _ => exact::<SignedCertificate>(bytes) || exact::<Session>(bytes),
    })
}

fn exact<M: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> bool {
    let Ok(message) = borsh::from_slice::<M>(bytes) else { return false };
    assert!(borsh::to_vec(&message).unwrap() == bytes, "two encodings of one message");
    true
}

/// All that two nodes say to each other in a run on each curve; a kind that was never seen is missing.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut seen = [false; KINDS as usize];
    for (number, curve) in CurveId::ALL.into_iter().enumerate() {
        for frame in engine::recorded(curve) {
            let body = match frames::round(&frame.bytes) {
                Some(_) => &frame.bytes[BODY..],
                None => &frame.bytes[1..],
            };
            for kind in 0..KINDS {
                let is_new = |seed: &Vec<u8>| seed[0] != kind || seed[1] != number as u8;
                if read(kind, curve, body) && seeds.iter().all(is_new) {
                    seen[usize::from(kind)] = true;
                    seeds.push([&[kind, number as u8], body].concat());
                }
            }
        }
    }
    assert_eq!(seen, [true; KINDS as usize], "a kind of message that no run has");
    seeds
}
