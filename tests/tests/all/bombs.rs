//! Few bytes that announce many (rule S-28): refused, in a process that has little memory.

use std::process::Command;
use std::sync::{Arc, Mutex};

use tsm_crypto::CurveId;
use tsm_crypto::ecdsa::PartialSignature;
use tsm_protocols::SignedCertificate;
use tsm_tests::frames::{self, BODY, CERTIFICATE, END, OPEN, ROUND};
use tsm_tests::{Network, join};
use tsm_transport::memory::Delivery;
use tsm_types::{Digest, Epoch, ErrorCode, KeyId, Operation, PlayerIndex, Players, Session, SessionId};

/// Address space of the process that takes the bombs. A whole network with its tests needs some
/// 150 MB of it; each bomb announces 4 GB or more.
const MEMORY_KB: u64 = 512 * 1024;

/// What a length is replaced by.
const MANY: [[u8; 4]; 3] = [[0xff; 4], [0, 0, 0, 0x80], [0xff, 0xff, 0xff, 0x0f]];

/// Runs a test of this file again, alone in a process with little memory.
fn with_little_memory(test: &str) {
    let run =
        format!("ulimit -v {MEMORY_KB} && exec \"$0\" --exact bombs::{test} --ignored --test-threads 1");
    let this = std::env::current_exe().expect("a test knows its own file");
    let output = Command::new("sh").arg("-c").arg(run).arg(this).output().expect("sh runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
}

/// Every place at which four bytes of a message could be a length, with a large one in its stead.
fn bombs(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len().saturating_sub(3)).flat_map(move |place| {
        MANY.into_iter().map(move |many| {
            let mut bomb = message.to_vec();
            bomb[place..place + 4].copy_from_slice(&many);
            bomb
        })
    })
}

fn session() -> Session {
    let key = |seed| {
        let identity = tsm_crypto::IdentityKey::generate(&mut tsm_crypto::hedged::test_rng(seed));
        identity.public().clone()
    };
    Session {
        id: SessionId::new("run").unwrap(),
        operation: Operation::SignEcdsa {
            key_id: KeyId::new("key").unwrap(),
            epoch: Epoch(0),
            certificate: [1; 32],
            path: tsm_types::DerivationPath::new([1, 2]).unwrap(),
            digest: Digest::new([7; 32], CurveId::Secp256k1).unwrap(),
        },
        players: Players::new([(PlayerIndex(0), key(1)), (PlayerIndex(1), key(2))].into()).unwrap(),
    }
}

#[test]
fn s28_encodings_that_announce_billions_of_entries_are_refused_in_little_memory() {
    with_little_memory("encodings_in_little_memory");
}

#[test]
#[ignore = "run by the test above"]
fn encodings_in_little_memory() {
    let session = borsh::to_vec(&session()).unwrap();
    let mut refused = 0;
    for bomb in bombs(&session) {
        refused += usize::from(borsh::from_slice::<Session>(&bomb).is_err());
        let _ = borsh::from_slice::<SignedCertificate>(&bomb);
        let _ = borsh::from_slice::<PartialSignature>(&bomb);
        let _ = borsh::from_slice::<Players>(&bomb);
    }
    assert!(refused > 100, "{refused}");
    // 2^32 - 1 players, and as many bytes of an ID.
    assert!(borsh::from_slice::<Players>(&[0xff; 4]).is_err());
    assert!(borsh::from_slice::<Players>(&[0xff; 4000]).is_err());
    assert!(borsh::from_slice::<SessionId>(&[0xff; 4]).is_err());
    assert!(borsh::from_slice::<Digest>(&[0xff; 4]).is_err());
}

#[test]
fn s28_frames_that_announce_billions_of_entries_disturb_nobody_in_little_memory() {
    with_little_memory("frames_in_little_memory");
}

#[tokio::test(start_paused = true)]
#[ignore = "run by the test above"]
async fn frames_in_little_memory() {
    let network = Network::start(2, 81).await;
    // Before every honest frame dishonest ones, that no node can read.
    let count = Arc::new(Mutex::new(0usize));
    let counter = count.clone();
    network.links.set_tamper(Box::new(move |frame| {
        let mut deliveries: Vec<Delivery> = bombs(&frame.bytes[..frame.bytes.len().min(300)])
            .filter(|bomb| bomb[0] == OPEN && frames::opened(bomb).is_none())
            .chain([OPEN, ROUND, END, CERTIFICATE].map(|kind| [vec![kind], vec![0xff; 200]].concat()))
            .map(Delivery::at_once)
            .collect();
        *counter.lock().unwrap() += deliveries.len();
        deliveries.truncate(900);
        deliveries.push(Delivery::at_once(frame.bytes.clone()));
        deliveries
    }));
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    join(&[7; 32], &network.sign(&network.session("sign", &[0, 1]), &key.key_id, &[7; 32]).await);
    assert!(*count.lock().unwrap() > 1000);
}

#[test]
fn s28_protocol_messages_that_announce_billions_of_entries_name_their_sender_in_little_memory() {
    with_little_memory("protocol_messages_in_little_memory");
}

#[tokio::test(start_paused = true)]
#[ignore = "run by the test above"]
async fn protocol_messages_in_little_memory() {
    // Lists in protocol messages: the coefficients of an opening, an echo, a signature.
    for (phase, round, place) in [(1, 2, 0), (1, 2, 32), (1, 2, 32 * 3), (1, 2, 4 + 32 * 3), (2, 1, 0)] {
        for many in MANY {
            let network = Network::start(3, 82).await;
            let cheat = network.key(2).clone();
            network.links.set_tamper(Box::new(move |frame| {
                let mut bytes = frame.bytes.clone();
                let hit = frames::round(&bytes).is_some_and(|(_, p, r)| (p, r) == (phase, round));
                if hit && frame.from == cheat {
                    bytes[BODY + place..BODY + place + 4].copy_from_slice(&many);
                }
                vec![Delivery::at_once(bytes)]
            }));
            let session = network.session("run", &[0, 1, 2]);
            let answers = network.generate_key(&session, CurveId::Secp256k1, 1).await;
            for player in [0, 1] {
                let failure = match &answers[&player] {
                    Err(failure) => failure,
                    // All shares are stored: the cheat itself handed out the complete certificate.
                    Ok(_) if phase == 2 => continue,
                    Ok(_) => panic!("{phase}.{round}, byte {place}: player {player} has a key"),
                };
                let codes = [ErrorCode::MessageMalformed, ErrorCode::Equivocation, ErrorCode::PlayerCheated];
                assert!(codes.contains(&failure.code), "{phase}.{round}, byte {place}: {failure}");
                let named = failure.players.iter().any(|concern| concern.player == PlayerIndex(2));
                assert!(named, "{phase}.{round}, byte {place}: {failure:?}");
            }
        }
    }
}
