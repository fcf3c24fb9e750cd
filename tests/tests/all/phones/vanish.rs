//! A phone that vanishes at every step of every protocol, and comes back in every way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tsm_tests::frames::as_it_is;
use tsm_tests::join;
use tsm_types::ErrorCode;

use super::{BOTH, DIGEST, PHONE, SERVER, Scene, told};

/// Steps that are tried at most; the longest protocol has fewer frames.
const MOST_STEPS: usize = 40;

/// A broken link is waited for this long (2 s), a certificate as long, a player that never came 10 s.
const PROMPT: Duration = Duration::from_secs(11);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comeback {
    /// Its network was away.
    SameProcess,
    /// The app was killed.
    Restarted,
}

impl Scene {
    /// The phone leaves the network with the `step`th frame that it and the server send each other, in
    /// either direction; that frame and what is under way is lost. Gives the number of frames so far.
    fn vanish_at(&self, step: usize) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let (frames, phone, links) = (count.clone(), self.phone.key(PHONE).clone(), self.phone.links.clone());
        self.phone.links.set_tamper(Box::new(move |frame| {
            if (frame.from == phone || frame.to == phone) && frames.fetch_add(1, Ordering::SeqCst) == step {
                links.disconnect(&phone);
                return vec![];
            }
            as_it_is(frame)
        }));
        count
    }

    async fn comes_back(&mut self, how: Comeback) {
        self.make_honest();
        if how == Comeback::Restarted {
            self.phone.restart(PHONE).await;
        }
    }
}

/// What a server may say of a phone that is gone.
fn assert_gone(code: ErrorCode, case: &str) {
    assert!([ErrorCode::LinkLost, ErrorCode::SessionPlayersMissing].contains(&code), "{case}: {code}");
}

async fn vanishing_from_key_generations(how: Comeback) {
    for step in 0..MOST_STEPS {
        let case = format!("{how:?}-{step}");
        let mut scene = Scene::start(201).await;
        let count = scene.vanish_at(step);
        let (answers, took) = scene.generate_key(&case).await;
        if count.load(Ordering::SeqCst) <= step {
            assert!(answers.values().all(Result::is_ok), "{case}: {answers:?}");
            assert!(step >= 8, "a key generation has four frames in each direction, not {step} in all");
            return;
        }
        // All that the server needs may have come: then the phone gets the certificate later.
        if answers[&SERVER].is_err() {
            assert_gone(told(&answers, took, &case), &case);
        }
        assert!(took <= PROMPT, "{case}: {took:?}");

        scene.comes_back(how).await;
        // Its app repeats the request; the server's caller does not.
        let repeated = scene.phone.session(&case, &[PHONE, SERVER]);
        let request = tsm_types::request::GenerateKey {
            session: repeated,
            curve: tsm_crypto::CurveId::Secp256k1,
            threshold: 1,
            key_id: None,
        };
        let application = &scene.phone.application;
        let asked = scene.phone.node(PHONE).generate_key(application, request);
        let (again, took) = scene.beside_others(asked).await;
        assert!(took <= PROMPT, "{case}: repeated, {took:?}");
        // What one caller was told is there, the other may use: the server asks for what it missed.
        for told in [&answers[&SERVER], &answers[&PHONE], &again].into_iter().flatten() {
            assert!(scene.keys_at(SERVER).await.contains(&told.key_id), "{case}: a reported key is gone");
        }
        scene.no_key_is_lost(&case).await;
        let (next, _) = scene.generate_key(&format!("{case}-next")).await;
        assert!(next.values().all(Result::is_ok), "{case}: {next:?}");
        scene.nothing_stays(&case).await;
    }
    panic!("more than {MOST_STEPS} frames");
}

async fn vanishing_from_signatures(how: Comeback) {
    let mut scene = Scene::start(202).await;
    let key = scene.phone.make_key(tsm_crypto::CurveId::Secp256k1, 1).await;
    let mut complete = 0;
    for step in 0..MOST_STEPS {
        let case = format!("{how:?}-{step}");
        // A new process has no state in common with the server: the set-up comes first.
        scene.phone.restart(PHONE).await;
        let count = scene.vanish_at(step);
        let (answers, took) = scene.sign(&case, &key.key_id).await;
        if count.load(Ordering::SeqCst) <= step {
            join(&DIGEST, &answers);
            assert!(
                step >= 14,
                "a set-up and a signature have seven frames in each direction, not {step} in all"
            );
            return assert!(complete > 0, "the last frame cost the server nothing");
        }
        match &answers[&SERVER] {
            Ok(_) => complete += 1,
            Err(_) => assert_gone(told(&answers, took, &case), &case),
        }
        assert!(took <= PROMPT, "{case}: {took:?}");

        scene.comes_back(how).await;
        let repeated = scene.phone.session(&case, &BOTH);
        let (again, took) = scene.beside_others(scene.phone.sign(&repeated, &key.key_id, &DIGEST)).await;
        assert!(took <= PROMPT, "{case}: repeated, {took:?}");
        // The server's answer stays what it was, and a signature that failed is not made after all.
        assert_eq!(again[&SERVER], answers[&SERVER], "{case}");
        scene.signs(&format!("{case}-next"), &key.key_id).await;
        scene.nothing_stays(&case).await;
    }
    panic!("more than {MOST_STEPS} frames");
}

#[tokio::test(start_paused = true)]
async fn a_phone_may_vanish_at_any_frame_of_a_key_generation_and_its_network_come_back() {
    vanishing_from_key_generations(Comeback::SameProcess).await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_may_vanish_at_any_frame_of_a_key_generation_and_start_again() {
    vanishing_from_key_generations(Comeback::Restarted).await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_may_vanish_at_any_frame_of_set_up_and_signature_and_its_network_come_back() {
    vanishing_from_signatures(Comeback::SameProcess).await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_may_vanish_at_any_frame_of_set_up_and_signature_and_start_again() {
    vanishing_from_signatures(Comeback::Restarted).await;
}
