//! Phones that repeat, replay, and come back from an old backup.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_tests::frames::{self, as_it_is};
use tsm_tests::join;
use tsm_transport::memory::Delivery;
use tsm_types::request::{SignEcdsa, Signed};
use tsm_types::{DerivationPath, ErrorCode, Failure, KeyId, PlayerIndex};

use super::{BOTH, DIGEST, PHONE, SERVER, Scene, told};

fn sign_request(scene: &Scene, id: &str, key_id: &KeyId, digest: [u8; 32]) -> SignEcdsa {
    let session = scene.phone.session(id, &BOTH);
    SignEcdsa { session, key_id: key_id.clone(), path: DerivationPath::ROOT, digest: digest.to_vec() }
}

#[tokio::test(start_paused = true)]
async fn an_old_session_id_with_another_message_signs_nothing() {
    let mut scene = Scene::start(221).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("run", &key.key_id).await;
    let other = sign_request(&scene, "run", &key.key_id, [8; 32]);
    let application = scene.phone.application.clone();

    // The phone's own node remembers.
    let refused = scene.phone.node(PHONE).sign(&application, other.clone()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::SessionConflict);
    // Another process of it does not, and meets nobody.
    scene.phone.restart(PHONE).await;
    let (refused, took) =
        scene.beside_others(scene.phone.node(PHONE).sign(&application, other.clone())).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::SessionPlayersMissing);
    assert!(took <= Duration::from_secs(11), "{took:?}");
    // Nor does it if the server's caller is talked into it.
    let both = scene.phone.ask(&other.session, |node| {
        let (request, application) = (other.clone(), application.clone());
        async move { node.sign(&application, request).await }
    });
    let (answers, _) = scene.beside_others(both).await;
    assert_eq!(answers[&SERVER].as_ref().unwrap_err().code, ErrorCode::SessionConflict);
    assert!(answers[&PHONE].is_err());
    scene.signs("another-run", &key.key_id).await;
    scene.nothing_stays("old session ID").await;
}

impl Scene {
    /// Signs, and from then on the phone says all of it again before and after each of its frames.
    async fn sign_and_repeat(&self, key_id: &KeyId) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (record, phone) = (said.clone(), self.phone.key(PHONE).clone());
        self.phone.links.set_tamper(Box::new(move |frame| {
            if frame.from == phone {
                record.lock().unwrap().push(frame.bytes.clone());
            }
            as_it_is(frame)
        }));
        self.signs("run", key_id).await;
        let said = said.lock().unwrap().clone();
        assert!(said.len() >= 3, "only {} frames", said.len());

        let phone = self.phone.key(PHONE).clone();
        self.phone.links.set_tamper(Box::new(move |frame| {
            if frame.from != phone {
                return as_it_is(frame);
            }
            let old = || said.iter().cloned().map(Delivery::at_once);
            old().chain(as_it_is(frame)).chain(old()).collect()
        }));
    }
}

#[tokio::test(start_paused = true)]
async fn the_frames_of_an_old_set_up_said_again_do_not_keep_the_phone_from_signing() {
    let scene = Scene::start(226).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    // The first signature sets the pair up.
    scene.sign_and_repeat(&key.key_id).await;
    for run in 0..3 {
        scene.signs(&format!("run-{run}"), &key.key_id).await;
    }
    scene.make_honest();
    scene.signs("honest", &key.key_id).await;
    scene.nothing_stays("replay").await;
}

#[tokio::test(start_paused = true)]
async fn the_frames_of_an_old_signature_said_again_in_a_new_one_change_nothing() {
    let scene = Scene::start(222).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    scene.sign_and_repeat(&key.key_id).await;
    for run in 0..3 {
        scene.signs(&format!("run-{run}"), &key.key_id).await;
    }
    scene.make_honest();
    scene.signs("honest", &key.key_id).await;
    scene.nothing_stays("replay").await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_restored_from_before_its_key_is_named_and_the_newer_backup_still_signs() {
    let mut scene = Scene::start(223).await;
    let old = scene.phone.store(PHONE).snapshot();
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("run", &key.key_id).await;
    let new = scene.phone.store(PHONE).snapshot();

    scene.phone.store(PHONE).restore(&old);
    scene.phone.restart(PHONE).await;
    assert_eq!(scene.keys_at(PHONE).await, []);
    let (answers, took) = scene.sign("without", &key.key_id).await;
    assert_eq!(answers[&PHONE].as_ref().unwrap_err().code, ErrorCode::KeyNotFound);
    assert_eq!(told(&answers, took, "old backup"), ErrorCode::SessionRefused);
    assert!(took < Duration::from_secs(2), "{took:?}");
    // It can make another key; the server keeps both.
    let (made, _) = scene.generate_key("another").await;
    let another = made[&PHONE].clone().unwrap();
    scene.signs("with-another", &another.key_id).await;
    assert_eq!(scene.keys_at(SERVER).await.len(), 2);

    scene.phone.store(PHONE).restore(&new);
    scene.phone.restart(PHONE).await;
    scene.signs("with", &key.key_id).await;
    scene.nothing_stays("old backup").await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_restored_from_before_its_key_was_active_has_the_certificate_again() {
    let mut scene = Scene::start(224).await;
    let backup = Arc::new(Mutex::new(None));
    let (taken, phone) = (backup.clone(), scene.phone.key(PHONE).clone());
    let store = scene.phone.store(PHONE).clone();
    scene.phone.links.set_tamper(Box::new(move |frame| {
        // Its share is stored before it sends its signature of the certificate.
        if frame.from == phone && frames::round(&frame.bytes).is_some_and(|(_, phase, _)| phase == 2) {
            *taken.lock().unwrap() = Some(store.snapshot());
        }
        as_it_is(frame)
    }));
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    let backup = backup.lock().unwrap().take().expect("a backup was taken");

    scene.phone.links.disconnect(scene.phone.key(PHONE));
    scene.phone.store(PHONE).restore(&backup);
    scene.phone.restart(PHONE).await;
    scene.make_honest();
    let (answers, took) = scene.sign("run", &key.key_id).await;
    join(&DIGEST, &answers);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(scene.keys_at(PHONE).await, [key.key_id]);
    scene.nothing_stays("old backup").await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_another_tenants_key_from_a_stolen_database_is_refused_by_name() {
    // The database of the phone with the other tenant's identity: the store opens, its key does not fit.
    let scene = Scene::start(225).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    let thief = scene.phone.with_another_player_0(9, scene.phone.application.as_str()).await;
    thief.store(PHONE).restore(&scene.phone.store(PHONE).snapshot());
    let session = thief.session("steal", &BOTH);
    let (answers, took) = scene.beside_others(thief.sign(&session, &key.key_id, &DIGEST)).await;
    let failure = answers[&SERVER].as_ref().unwrap_err();
    assert_eq!((failure.code, failure.players[0].player), (ErrorCode::KeyOtherHolder, PlayerIndex(PHONE)));
    assert!(answers[&PHONE].is_err() && took < Duration::from_secs(2), "{took:?}");
    scene.signs("owner", &key.key_id).await;
}

impl Scene {
    /// The phone's caller has come to a session, and its node has said all that it can say alone.
    async fn phone_comes_first(&self, request: &SignEcdsa) -> JoinHandle<Result<Signed, Failure>> {
        let (node, application) = (self.phone.node(PHONE).clone(), self.phone.application.clone());
        let request = request.clone();
        let asked = tokio::spawn(async move { node.sign(&application, request).await });
        sleep(Duration::from_millis(100)).await;
        assert!(self.phone.node(SERVER).metrics().waiting_frames > 0, "nothing waits at the server");
        asked
    }

    /// The phone is gone, and the server's node knows.
    async fn phone_leaves(&self) {
        self.phone.links.disconnect(self.phone.key(PHONE));
        sleep(Duration::from_millis(100)).await;
    }

    /// The server's caller comes; gives what it is told.
    async fn server_follows(&self, request: &SignEcdsa, case: &str) -> Failure {
        let asked = self.phone.node(SERVER).sign(&self.phone.application, request.clone());
        let (answer, took) = self.beside_others(asked).await;
        // A player that does not come is waited for for 10 s; one that is silent for 60 s.
        assert!(took <= Duration::from_secs(11), "{case}: {took:?}");
        let failure = answer.expect_err("nobody signs alone");
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing, "{case}: {failure}");
        assert_eq!(failure.players[0].player, PlayerIndex(PHONE), "{case}: {failure}");
        failure
    }
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_left_before_the_servers_caller_came_has_not_come() {
    let scene = Scene::start(227).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    let request = sign_request(&scene, "run", &key.key_id, DIGEST);
    let phone = scene.phone_comes_first(&request).await;
    scene.phone_leaves().await;
    scene.server_follows(&request, "left").await;
    assert_eq!(phone.await.unwrap().unwrap_err().code, ErrorCode::SessionPlayersMissing);
    scene.make_honest();
    scene.signs("next", &key.key_id).await;
    scene.nothing_stays("left").await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_started_again_before_the_servers_caller_came_has_not_come() {
    let mut scene = Scene::start(228).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    let request = sign_request(&scene, "run", &key.key_id, DIGEST);
    drop(scene.phone_comes_first(&request).await);
    scene.phone.restart(PHONE).await;
    // Its link is up again: what the earlier process said is not said by this one.
    scene.signs("another", &key.key_id).await;
    let failure = scene.server_follows(&request, "restarted").await;
    assert!(failure.players[0].note.contains("its caller did not open this session"), "{failure:?}");
    scene.nothing_stays("restarted").await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_started_again_and_repeats_its_request_signs_with_the_server_that_comes_late() {
    let mut scene = Scene::start(229).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    let request = sign_request(&scene, "run", &key.key_id, DIGEST);
    drop(scene.phone_comes_first(&request).await);
    scene.phone.restart(PHONE).await;
    scene.signs("run", &key.key_id).await;
    scene.nothing_stays("repeated").await;
}

#[tokio::test(start_paused = true)]
async fn a_phone_whose_network_was_away_signs_with_the_server_that_came_meanwhile() {
    let scene = Scene::start(230).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    scene.signs("warm-up", &key.key_id).await;
    let request = sign_request(&scene, "run", &key.key_id, DIGEST);
    let phone = scene.phone_comes_first(&request).await;
    scene.phone_leaves().await;
    // Longer than a link that broke in the middle is waited for.
    let back = async {
        sleep(Duration::from_secs(5)).await;
        scene.make_honest();
    };
    let asked = scene.phone.node(SERVER).sign(&scene.phone.application, request);
    let ((server, ()), _) = scene.beside_others(async { tokio::join!(asked, back) }).await;
    join(&DIGEST, &[(PHONE, phone.await.unwrap()), (SERVER, server)].into());
    scene.nothing_stays("away").await;
}
