//! Callers that leave, ask again, lose their reply, or have no right to ask.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tsm_sdk::{CurveId, ErrorCode};

use crate::harness::{CuttingProxy, Network, PROMPTLY, client_of, join, names, sha256};

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_session_of_the_others_at_once() {
    let network = Network::shared().await;
    let session = network.session(&[0, 1, 2]);
    let staying = network.node(0).client();
    let leaving = async {
        let client = network.node(1).client();
        let call = client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None);
        // Player 2's caller is not there yet.
        timeout(Duration::from_millis(500), call).await.unwrap_err();
        Instant::now()
    };
    let staying = async {
        let answer = staying.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await;
        (answer.unwrap_err(), Instant::now())
    };
    let ((failure, told), left) = tokio::join!(staying, leaving);
    assert_eq!(failure.code, ErrorCode::SessionCancelled, "{failure}");
    assert!(names(&failure, 1), "{failure:?}");
    assert!(told - left < PROMPTLY, "{:?}", told - left);
    // Who comes late is told at once, too.
    let answer = network.node(2).client().ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await;
    let failure = answer.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionCancelled, "{failure}");
    assert!(left.elapsed() < PROMPTLY * 2, "{:?}", left.elapsed());
}

#[tokio::test]
async fn a_caller_may_come_late() {
    let network = Network::shared().await;
    let session = network.session(&[0, 1, 2]);
    let answers = network
        .ask(&[0, 1, 2], |player, client| {
            let session = session.clone();
            async move {
                sleep(Duration::from_millis(400) * u32::from(player)).await;
                client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await
            }
        })
        .await;
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
}

#[tokio::test]
async fn s117_the_same_request_again_has_the_same_answer() {
    let network = Network::shared().await;
    let session = network.session(&[0, 1, 2]);
    let first = network.generate_key(&session).await;
    assert!(first.values().all(Result::is_ok), "{first:?}");
    assert_eq!(network.generate_key(&session).await, first);
    let key = first[&0].clone().unwrap();

    let (session, digest) = (network.session(&[1, 2]), sha256(b"once"));
    let first = network.sign(&session, &[1, 2], &key.key_id, &digest).await;
    let again = network.sign(&session, &[1, 2], &key.key_id, &digest).await;
    assert_eq!(again, first);
    join(&key.public_key, b"once", again);
}

#[tokio::test]
async fn s117_a_session_id_with_other_parameters_is_a_conflict() {
    let network = Network::shared().await;
    let session = network.session(&[0, 1, 2]);
    assert!(network.generate_key(&session).await.values().all(Result::is_ok));
    let answers = network.generate_key_on(CurveId::P256, &session).await;
    for (player, answer) in answers {
        let failure = answer.unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionConflict, "player {player}: {failure}");
    }
}

#[tokio::test]
async fn s117_when_the_reply_is_lost_the_sdk_asks_again_and_has_the_answer() {
    let network = Network::shared().await;
    let proxy = CuttingProxy::to(network.node(0).sdk_address()).await;
    let behind_proxy = client_of(&proxy.url, "Node0LoginPassword");
    let session = network.session(&[0, 1, 2]);
    let others = network.ask(&[1, 2], |_, client| {
        let session = session.clone();
        async move { client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await }
    });
    let (key, others) =
        tokio::join!(behind_proxy.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None), others);
    let key = key.unwrap();
    assert_eq!(proxy.connections(), 2);
    assert!(others.values().all(|answer| answer.as_ref() == Ok(&key)), "{others:?}");
    network.make_signature(&[0, 2], &key, b"the key is there once").await;
}

#[tokio::test]
async fn s101_a_wrong_api_key_is_refused_and_is_in_no_log() {
    let mut network = Network::prepare(&[("RUST_LOG", "trace")], |_, config| config);
    network.node_mut(0).start().await;
    for wrong in ["CanaryOfAWrongLogin", "Node1LoginPassword", "jbs3wZ2DAL44CQ9f4LvmEza/rS4k0xeCxB7tUXuiL5Y="]
    {
        let client = network.node(0).client_with(wrong);
        let failure = client.key_management().list_keys().await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::AuthenticationFailed, "{failure}");
        assert_eq!(failure.code.http_status(), 401);
        assert!(!format!("{failure:?}").contains(wrong), "{failure:?}");
        let session = network.session(&[0, 1, 2]);
        let failure = client.ecdsa().generate_key(&session, 1, CurveId::Secp256k1, None).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::AuthenticationFailed, "{failure}");
        assert!(!network.node(0).log().contains(wrong));
    }
    assert_eq!(network.node(0).client().key_management().list_keys().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn s103_another_application_sees_uses_and_deletes_no_keys() {
    // The key of the other application at every node is "TheOtherLogin".
    let hash =
        "[[Authentication.APIKeys]]\n  APIKey = \"{HASH}\"\n  ApplicationID = \"otherapp\"\n\n[DKLS19]"
            .replace("{HASH}", &crate::secrets::api_key_hash("TheOtherLogin"));
    let network = Network::start_with(|_, config| config.replace("[DKLS19]", &hash)).await;
    let key = network.make_key(CurveId::Secp256k1).await;
    for player in 0..3 {
        let client = network.node(player).client_with("TheOtherLogin");
        assert_eq!(client.key_management().list_keys().await.unwrap(), [""; 0]);
        let code = |failure: tsm_sdk::Failure| failure.code;
        let shown = client.ecdsa().public_key(&key.key_id, &[]).await.map_err(code);
        assert_eq!(shown, Err(ErrorCode::KeyNotFound));
        let session = network.session(&[0, 1]);
        if player != 2 {
            let signed = client.ecdsa().sign(&session, &key.key_id, &[], &sha256(b"")).await.map_err(code);
            assert_eq!(signed, Err(ErrorCode::KeyNotFound));
        }
        let deleted = client.key_management().delete_key_share(&key.key_id).await.map_err(code);
        assert_eq!(deleted, Err(ErrorCode::KeyNotFound));
        let own = network.node(player).client().key_management().list_keys().await.unwrap();
        assert_eq!(own, [key.key_id.as_str()]);
    }
    network.make_signature(&[0, 1], &key, b"its owner signs").await;
}
