//! A node whose peer is the fuzzer: in a whole run of two, what player 1 says is changed on its way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tsm_crypto::{CurveId, ecdsa};
use tsm_tests::{Network, join};
use tsm_transport::memory::{Delivery, Frame};
use tsm_types::presignatures::GeneratePresignatures;
use tsm_types::{BatchSize, ErrorCode, Failure};

use crate::decoders::runtime;

const SEED: u64 = 77;
const DIGEST: [u8; 32] = [7; 32];

/// A key, a signature and a presignature of two players: every frame of the run.
pub(crate) fn recorded(curve: CurveId) -> Vec<Frame> {
    runtime().block_on(async {
        let network = Network::start(2, SEED).await;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let seen = frames.clone();
        network.links.set_tamper(Box::new(move |frame| {
            seen.lock().unwrap().push(frame.clone());
            vec![Delivery::at_once(frame.bytes.clone())]
        }));
        let session = |id: &str| network.session(id, &[0, 1]);
        let made = network.generate_key(&session("make"), curve, 1).await;
        let key = made[&0].as_ref().unwrap().key_id.clone();
        let digest = vec![7; curve.digest_bytes()];
        join(&digest, &network.sign(&session("sign"), &key, &digest).await);
        let presign = session("presign");
        let count = BatchSize::new(1).unwrap();
        let request = GeneratePresignatures { session: presign.clone(), key_id: key, count };
        let answers = network.ask(&presign, |node| {
            let (application, request) = (network.application.clone(), request.clone());
            async move { node.generate_presignatures(&application, request).await }
        });
        assert!(answers.await.values().all(Result::is_ok));
        frames.lock().unwrap().clone()
    })
}

/// A change of one frame of player 1: which frame, what, where, how much.
const EDIT_BYTES: usize = 6;
/// More than in a whole run would only repeat it.
const MOST_EDITS: usize = 16;

type Edits = BTreeMap<u8, Vec<[u8; EDIT_BYTES]>>;

/// Edits, one after the other.
pub(crate) fn engine(bytes: &[u8]) {
    let mut edits = Edits::new();
    for edit in bytes.as_chunks::<EDIT_BYTES>().0.iter().take(MOST_EDITS) {
        edits.entry(edit[0]).or_default().push(*edit);
    }
    runtime().block_on(run(edits));
}

async fn run(edits: Edits) {
    let network = Network::start(2, SEED).await;
    let (adversary, mut number, mut earlier) = (network.key(1).clone(), 0_u8, Vec::new());
    network.links.set_tamper(Box::new(move |frame| {
        if frame.from != adversary {
            return vec![Delivery::at_once(frame.bytes.clone())];
        }
        earlier.push(frame.bytes.clone());
        let mut deliveries = vec![Delivery::at_once(frame.bytes.clone())];
        for edit in edits.get(&number).into_iter().flatten() {
            apply(*edit, &mut deliveries, &earlier);
        }
        number = number.saturating_add(1);
        deliveries
    }));
    let (make, sign, next) = (
        network.session("make", &[0, 1]),
        network.session("sign", &[0, 1]),
        network.session("next", &[0, 1]),
    );
    let made = within_a_minute(network.generate_key(&make, CurveId::Secp256k1, 1)).await;
    reasonable(made.values().filter_map(|answer| answer.as_ref().err()));
    let (Ok(key), Ok(_)) = (&made[&0], &made[&1]) else { return };
    let signed = within_a_minute(network.sign(&sign, &key.key_id, &DIGEST)).await;
    reasonable(signed.values().filter_map(|answer| answer.as_ref().err()));
    let parts = signed.values().flatten();
    let parts: Vec<ecdsa::PartialSignature> =
        parts.map(|signed| borsh::from_slice(&signed.partial_signature).unwrap()).collect();
    if let Ok(signature) = ecdsa::join(&DIGEST, &parts) {
        assert!(ecdsa::verify(CurveId::Secp256k1, &key.public_key, &DIGEST, signature.der()));
    }
    // The peer mends its ways.
    network.links.set_tamper(Box::new(|frame| vec![Delivery::at_once(frame.bytes.clone())]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    join(&[8; 32], &within_a_minute(network.sign(&next, &key.key_id, &[8; 32])).await);
}

async fn within_a_minute<T: std::fmt::Debug>(call: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = call.await;
    assert!(begun.elapsed() <= Duration::from_secs(60), "{:?}: {answer:?}", begun.elapsed());
    answer
}

fn reasonable<'f>(failures: impl Iterator<Item = &'f Failure>) {
    for failure in failures {
        assert_ne!(failure.code, ErrorCode::NodeFault, "{failure}");
        assert!(!failure.players.is_empty() || failure.code == ErrorCode::ResultInconsistent, "{failure:?}");
    }
}

fn apply(edit: [u8; EDIT_BYTES], deliveries: &mut Vec<Delivery>, earlier: &[Vec<u8>]) {
    let [_, kind, low, high, value, more] = edit;
    let Some(last) = deliveries.last_mut() else { return };
    let place = usize::from(u16::from_le_bytes([low, high])) % last.bytes.len().max(1);
    match kind % 8 {
        0 if !last.bytes.is_empty() => last.bytes[place] ^= 1 << (value % 8),
        1 if !last.bytes.is_empty() => last.bytes[place] = value,
        2 => last.bytes.truncate(place),
        3 => last.bytes.extend(std::iter::repeat_n(value, usize::from(more) + 1)),
        4 => drop(deliveries.pop()),
        5 => {
            let again = last.clone();
            deliveries.push(again);
        }
        6 => last.after = Duration::from_millis(100 * u64::from(value)),
        7 => deliveries.push(Delivery::at_once(earlier[usize::from(value) % earlier.len()].clone())),
        _ => {}
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    for kind in 0..8 {
        for frame in [0, 2, 5, 9] {
            seeds.push(vec![frame, kind, 40, 0, 3, 1]);
        }
    }
    seeds
}
