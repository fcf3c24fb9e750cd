//! A small soak; `benches/src/bin/soak.rs` is the large one, over TCP, with the memory measured.

use std::time::Duration;

use tokio::time::timeout;
use tsm_crypto::CurveId;
use tsm_types::request::SignEcdsa;
use tsm_types::{DerivationPath, ErrorCode};

use super::{BOTH, DIGEST, PHONE, SERVER, Scene, told};

const SESSIONS: usize = 60;

#[tokio::test(start_paused = true)]
async fn sixty_sessions_of_which_each_tenth_fails_leave_nothing_at_the_server() {
    let scene = Scene::start(241).await;
    let key = scene.phone.make_key(CurveId::Secp256k1, 1).await;
    let stranger = scene.phone.with_another_player_0(7, scene.phone.application.as_str()).await;
    let application = &scene.phone.application;
    for run in 0..SESSIONS {
        let case = format!("run-{run}");
        let mut session = scene.phone.session(&case, &BOTH);
        let request = |session| SignEcdsa {
            session,
            key_id: key.key_id.clone(),
            path: DerivationPath::ROOT,
            digest: DIGEST.to_vec(),
        };
        match run % 30 {
            // The phone is away.
            9 => {
                scene.phone.links.disconnect(scene.phone.key(PHONE));
                let (answers, took) = scene.sign(&case, &key.key_id).await;
                let code = told(&answers, took, &case);
                assert!(
                    [ErrorCode::LinkLost, ErrorCode::SessionPlayersMissing].contains(&code),
                    "{case}: {code}"
                );
                scene.make_honest();
            }
            // The server's caller leaves.
            19 => {
                let call = scene.phone.node(SERVER).sign(application, request(session));
                timeout(Duration::from_secs(1), call).await.expect_err("the phone was not asked");
            }
            // The server's caller names another phone.
            29 => {
                session.dynamic_public_keys = stranger.session(&case, &BOTH).dynamic_public_keys;
                let refused = scene.phone.node(SERVER).sign(application, request(session)).await.unwrap_err();
                assert_eq!(refused.code, ErrorCode::KeyOtherHolder, "{case}");
            }
            _ => scene.signs(&case, &key.key_id).await,
        }
    }
    scene.nothing_stays("soak").await;
}
