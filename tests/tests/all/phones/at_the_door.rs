//! Phones that nobody named, and phones that say far too much.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_tests::frames::{self, CERTIFICATE_WANTED, ROUND, as_it_is};
use tsm_transport::memory::Delivery;
use tsm_types::request::GenerateKey;
use tsm_types::{ErrorCode, Operation, PlayerIndex, SessionId};

use super::{BOTH, PHONE, SERVER, Scene};

#[tokio::test(start_paused = true)]
async fn a_phone_with_a_key_that_nobody_names_waits_at_the_door_and_is_shown_to_who_asks() {
    let scene = Scene::start(231).await;
    let unknown = scene.phone.with_another_player_0(5, scene.phone.application.as_str()).await;
    // Its app asks; the server's caller has the key of another phone for this user.
    let curve = CurveId::Secp256k1;
    let at_phone = GenerateKey { session: unknown.session("run", &BOTH), curve, threshold: 1, key_id: None };
    let mut at_server = GenerateKey { session: scene.phone.session("run", &BOTH), ..at_phone.clone() };
    // The server looks around while the unknown one is still there.
    at_server.session.connect_timeout = Some(Duration::from_secs(5));
    let application = &scene.phone.application;
    let (node, server) = (unknown.node(PHONE), scene.phone.node(SERVER));
    let asked = async {
        tokio::join!(node.generate_key(application, at_phone), server.generate_key(application, at_server))
    };
    let ((at_phone, at_server), took) = scene.beside_others(asked).await;
    assert_eq!(at_phone.unwrap_err().code, ErrorCode::SessionPlayersMissing);
    let failure = at_server.unwrap_err();
    let concern = &failure.players[0];
    assert_eq!((failure.code, concern.player), (ErrorCode::SessionPlayersMissing, PlayerIndex(PHONE)));
    for key in [unknown.key(PHONE), scene.phone.key(PHONE)] {
        assert!(concern.note.contains(&key.fingerprint().to_string()), "{}", concern.note);
    }
    assert!(took <= Duration::from_secs(11), "{took:?}");
    scene.nothing_stays("unknown key").await;
}

#[tokio::test(start_paused = true)]
async fn s104_a_flood_of_questions_for_certificates_costs_few_reads_of_the_database() {
    /// Before each frame of the phone; no more than the link takes.
    const QUESTIONS: usize = 1000;
    let scene = Scene::start(234).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    let quiet = scene.phone.store(SERVER).reads();
    scene.signs("quiet", &key.key_id).await;
    let usual = scene.phone.store(SERVER).reads() - quiet;

    let (phone, asked) = (scene.phone.key(PHONE).clone(), Arc::new(AtomicU64::new(0)));
    let count = asked.clone();
    scene.phone.links.set_tamper(Box::new(move |frame| {
        if frame.from != phone {
            return as_it_is(frame);
        }
        let question = || {
            let number = count.fetch_add(1, Ordering::SeqCst).to_le_bytes();
            Delivery::at_once([&[CERTIFICATE_WANTED][..], &number, &[2; 24]].concat())
        };
        iter::repeat_with(question).take(QUESTIONS).chain(as_it_is(frame)).collect()
    }));
    let before = scene.phone.store(SERVER).reads();
    // The phone's own signature is behind its questions, and is made all the same.
    scene.signs("flood", &key.key_id).await;
    scene.make_honest();
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked >= 2 * QUESTIONS as u64, "{asked} questions");
    let reads = scene.phone.store(SERVER).reads() - before;
    // The other tenant signed twice beside it.
    assert!(reads <= 3 * usual + 70, "{reads} reads, {usual} without the flood");
    let dropped = scene.phone.node(SERVER).metrics().certificate_frames_dropped;
    assert!(dropped >= asked - 70, "{dropped} of {asked} dropped");
    scene.nothing_stays("questions").await;
}

/// What a phone says before each of its frames: sessions that nobody runs, messages of them, pair
/// requests, questions for certificates, and no frames at all.
fn flood(honest: &[u8], number: &mut u64, count: usize) -> Vec<Delivery> {
    (0..count)
        .map(|_| {
            *number += 1;
            let id = number.to_le_bytes();
            let bytes = match *number % 6 {
                0 => frames::opened(honest).map_or_else(Vec::new, |mut session| {
                    session.id = SessionId::new(format!("flood-{number}")).unwrap();
                    frames::open(&session)
                }),
                // Of a session that does not exist, with a large body.
                1 => [&[ROUND][..], &id, &[9; 24], &[1, 1], &1000u32.to_le_bytes(), &[5; 1000]].concat(),
                2 => [&[3][..], &id].concat(),
                3 => [&[4][..], &id, &[1; 24]].concat(),
                4 => [&[5][..], &id, &[2; 24]].concat(),
                _ => vec![0xff; 300],
            };
            Delivery::at_once(bytes)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_floods_the_server_with_frames_slows_nobody_and_leaves_nothing() {
    const FRAMES: usize = 600;
    let scene = Scene::start(232).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    let (phone, mut number) = (scene.phone.key(PHONE).clone(), 0);
    scene.phone.links.set_tamper(Box::new(move |frame| {
        if frame.from != phone {
            return as_it_is(frame);
        }
        [flood(&frame.bytes, &mut number, FRAMES), as_it_is(frame)].concat()
    }));
    for run in 0..3 {
        // Its own session may suffer; nobody else's does.
        let (answers, took) = scene.sign(&format!("run-{run}"), &key.key_id).await;
        assert!(took <= super::DEADLINE, "{took:?}");
        if let Err(failure) = &answers[&SERVER] {
            assert_eq!(failure.players[0].player, PlayerIndex(PHONE), "{failure:?}");
        }
        let waiting = scene.phone.node(SERVER).metrics().waiting_frames;
        assert!((1..=512).contains(&waiting), "{waiting} frames wait");
    }
    scene.make_honest();
    sleep(super::QUIET).await;
    scene.other_signs_after_a_pause().await;
    scene.signs("honest", &key.key_id).await;
    scene.nothing_stays("flood").await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_invites_to_hundreds_of_set_ups_gets_one_at_a_time() {
    let scene = Scene::start(233).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    let (phone, mut number) = (scene.phone.key(PHONE).clone(), 0);
    scene.phone.links.set_tamper(Box::new(move |frame| {
        let set_up = frames::opened(&frame.bytes).filter(|session| session.operation == Operation::SetUpPair);
        let (Some(session), true) = (set_up, frame.from == phone) else { return as_it_is(frame) };
        let invitations = (0..300).map(|_| {
            number += 1;
            let id = SessionId::new(format!("pair-{number}")).unwrap();
            Delivery::at_once(frames::open(&tsm_types::Session { id, ..session.clone() }))
        });
        invitations.chain(as_it_is(frame)).collect()
    }));
    let watch = async {
        loop {
            let now = scene.phone.node(SERVER).metrics();
            assert!(now.live_pair_set_ups <= 1 && now.live_sessions <= 6, "{now:?}");
            sleep(Duration::from_millis(100)).await;
        }
    };
    let signing = scene.sign("run", &key.key_id);
    let (answers, took) = tokio::select! { biased; () = watch => unreachable!(), done = signing => done };
    assert!(took <= super::DEADLINE, "{took:?}");
    if let Err(failure) = &answers[&SERVER] {
        assert_eq!(failure.players[0].player, PlayerIndex(PHONE), "{failure:?}");
    }
    scene.make_honest();
    scene.signs("honest", &key.key_id).await;
    scene.nothing_stays("invitations").await;
}
