//! A phone that lies in each of its messages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_crypto::ecdsa::{self, PartialSignature};
use tsm_tests::frames::{self, BODY, as_it_is};
use tsm_tests::{Answers, join};
use tsm_transport::memory::{Delivery, Frame};
use tsm_types::request::Signed;
use tsm_types::{Digest, ErrorCode, Operation, PlayerKey, SessionTag};

use super::{BOTH, DIGEST, PHONE, SERVER, Scene, told};

/// Codes that may stand for a message that is not what the protocol asks for.
const ACCUSATIONS: [ErrorCode; 4] = [
    ErrorCode::MessageMalformed,
    ErrorCode::Equivocation,
    ErrorCode::PlayerCheated,
    ErrorCode::PairCompromised,
];

/// After some failed checks a peer's set-ups are slowed down for this long.
const SLOWED_DOWN: Duration = Duration::from_secs(61);

/// What a caller may say that it does not want to wait longer than.
const IMPATIENT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    FirstByte,
    Middle,
    LastByte,
    Shorter,
    Longer,
    Nothing,
}

const LIES: [Lie; 6] = [Lie::FirstByte, Lie::Middle, Lie::LastByte, Lie::Shorter, Lie::Longer, Lie::Nothing];

impl Lie {
    /// The frame with a changed body, and the length that goes with it.
    fn told(self, frame: &[u8]) -> Vec<u8> {
        let (head, mut body) = (&frame[..BODY - 4], frame[BODY..].to_vec());
        let (middle, last) = (body.len() / 2, body.len() - 1);
        match self {
            Lie::FirstByte => body[0] ^= 1,
            Lie::Middle => body[middle] ^= 1,
            Lie::LastByte => body[last] ^= 1,
            Lie::Shorter => body.truncate(last),
            Lie::Longer => body.push(0),
            Lie::Nothing => body.clear(),
        }
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        [head, &length, &body].concat()
    }
}

/// Which of a phone's messages: of the session itself, or of the set-up that it needs.
#[derive(Clone, Copy, Debug)]
struct Place {
    of_set_up: bool,
    phase: u8,
    round: u8,
}

/// Tags of set-ups, as they are opened.
fn note_set_ups(frame: &Frame, tags: &mut Vec<SessionTag>) {
    if let Some(session) = frames::opened(&frame.bytes)
        && session.operation == Operation::SetUpPair
    {
        tags.push(session.tag());
    }
}

impl Scene {
    /// The phone lies in every message of this place. Gives how often.
    fn lie(&self, place: Place, lie: Lie) -> Arc<Mutex<usize>> {
        let told = Arc::new(Mutex::new(0));
        let (count, phone, mut set_ups) = (told.clone(), self.phone.key(PHONE).clone(), Vec::new());
        self.phone.links.set_tamper(Box::new(move |frame| {
            note_set_ups(frame, &mut set_ups);
            let Some((tag, phase, round)) = frames::round(&frame.bytes) else { return as_it_is(frame) };
            let here =
                set_ups.contains(&tag) == place.of_set_up && (phase, round) == (place.phase, place.round);
            if frame.from != phone || !here {
                return as_it_is(frame);
            }
            *count.lock().unwrap() += 1;
            vec![Delivery::at_once(lie.told(&frame.bytes))]
        }));
        told
    }
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_lies_in_any_message_of_a_key_generation_is_named_and_no_key_is_lost() {
    let scene = Scene::start(211).await;
    let before = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    for (phase, round) in [(1, 1), (1, 2), (2, 1)] {
        for lie in LIES {
            let case = format!("{phase}.{round}-{lie:?}");
            let lies = scene.lie(Place { of_set_up: false, phase, round }, lie);
            let (answers, took) = scene.generate_key(&case).await;
            assert_eq!(*lies.lock().unwrap(), 1, "{case}");
            // A phone that took the server's signature may hand out the complete certificate itself.
            if phase == 1 || answers[&SERVER].is_err() {
                let code = told(&answers, took, &case);
                assert!(ACCUSATIONS.contains(&code), "{case}: {code}");
            }
            scene.make_honest();
            scene.no_key_is_lost(&case).await;
            assert!(scene.keys_at(SERVER).await.contains(&before.key_id), "{case}");
        }
    }
    scene.nothing_stays("lies").await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_lies_in_any_message_of_a_signature_is_named_and_signs_when_it_is_honest() {
    let scene = Scene::start(212).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    for round in [1, 2] {
        for lie in LIES {
            let case = format!("{round}-{lie:?}");
            let lies = scene.lie(Place { of_set_up: false, phase: 1, round }, lie);
            let (answers, took) = scene.sign(&case, &key.key_id).await;
            assert_eq!(*lies.lock().unwrap(), 1, "{case}");
            if (round, lie) == (2, Lie::LastByte) {
                assert_join_fails(&answers);
            } else {
                let code = told(&answers, took, &case);
                assert!(ACCUSATIONS.contains(&code), "{case}: {code}");
            }
            scene.make_honest();
            sleep(SLOWED_DOWN).await;
            scene.other_signs_after_a_pause().await;
            scene.signs(&format!("{case}-honest"), &key.key_id).await;
        }
    }
    scene.nothing_stays("lies").await;
}

/// The last field of the last message is a summand of the signature: what is wrong with it shows when
/// the parts are joined, and nobody gets a signature.
fn assert_join_fails(answers: &Answers<Signed>) {
    let parts: Vec<PartialSignature> = answers
        .values()
        .map(|answer| borsh::from_slice(&answer.as_ref().unwrap().partial_signature).unwrap())
        .collect();
    assert!(ecdsa::join(&DIGEST, &parts).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_lies_in_any_message_of_a_set_up_is_named_and_signs_when_it_is_honest() {
    let mut scene = Scene::start(213).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    for (phase, round) in [(1, 1), (1, 2), (2, 1)] {
        for lie in LIES {
            let case = format!("{phase}.{round}-{lie:?}");
            // The set-up before this one was honest, but it counts.
            sleep(SLOWED_DOWN).await;
            scene.other_signs_after_a_pause().await;
            scene.phone.restart(PHONE).await;
            let lies = scene.lie(Place { of_set_up: true, phase, round }, lie);
            // The phone tries again and again; a session of a minute would see a hundred set-ups.
            let mut session = scene.phone.session(&case, &BOTH);
            session.session_timeout = Some(IMPATIENT);
            let signing = scene.phone.sign(&session, &key.key_id, &DIGEST);
            let (answers, took) = scene.beside_others(signing).await;
            assert!(took <= IMPATIENT + Duration::from_secs(1), "{case}: {took:?}");
            if *lies.lock().unwrap() == 0 {
                assert_eq!((phase, round), (1, 2), "{case}: no such message");
                continue;
            }
            match &answers[&SERVER] {
                // A count of losses that is wrong misleads nobody but the phone, and of a tree the server
                // uses half, by bits that are its secret: what is spoiled in the other half spoils nothing.
                Ok(_) => {
                    assert_ne!((phase, round), (1, 1), "{case}");
                    join(&DIGEST, &answers);
                }
                Err(_) => {
                    let code = told(&answers, took, &case);
                    let timeout = code == ErrorCode::SessionTimeout;
                    assert!(timeout || ACCUSATIONS.contains(&code), "{case}: {code}");
                }
            }
            scene.make_honest();
            sleep(SLOWED_DOWN).await;
            scene.other_signs_after_a_pause().await;
            scene.signs(&format!("{case}-honest"), &key.key_id).await;
        }
    }
    scene.nothing_stays("lies").await;
}

/// What a phone says of the session in its first frame.
fn misstate(scene: &Scene, misstatement: impl Fn(&mut tsm_types::Session) + Send + 'static) {
    let phone: PlayerKey = scene.phone.key(PHONE).clone();
    scene.phone.links.set_tamper(Box::new(move |frame| match frames::opened(&frame.bytes) {
        Some(mut session) if frame.from == phone => {
            misstatement(&mut session);
            vec![Delivery::at_once(frames::open(&session))]
        }
        Some(_) | None => as_it_is(frame),
    }));
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_opens_another_session_than_it_runs_is_told_apart_at_once() {
    let scene = Scene::start(214).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    misstate(&scene, |session| {
        if let Operation::SignEcdsa { digest, .. } = &mut session.operation {
            *digest = Digest::new([9; 32], CurveId::Secp256k1).unwrap();
        }
    });
    let (answers, took) = scene.sign("another-digest", &key.key_id).await;
    assert_eq!(told(&answers, took, "another digest"), ErrorCode::SessionDisagreement);
    assert!(took < Duration::from_secs(2), "{took:?}");
    scene.make_honest();
    scene.signs("honest", &key.key_id).await;
    scene.nothing_stays("misstatement").await;
}
