//! The SDK against the server with a fake node behind it, and against worse.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../../tsm-server/tests/fake_node/mod.rs"]
mod fake_node;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fake_node::{Behaviour, Call, FakeNode, FakeServer, KEY_OF_A, KEY_OF_B};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tsm_sdk::{
    ApiKey, Client, Configuration, CurveId, Difference, ErrorCode, Failure, PlayerIndex, SessionConfig,
    SessionId, ecdsa,
};

fn client(url: &str, key: &str) -> Client {
    Client::new(Configuration::new(url).unwrap().with_api_key(ApiKey::new(key).unwrap())).unwrap()
}

fn session() -> SessionConfig {
    SessionConfig::new_static(SessionId::generate(), 3)
}

// ---- Calls ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_generated_key_comes_back_whole() {
    let server = FakeServer::start().await;
    let keys = BTreeMap::from([(0, FakeNode::identity().der().to_vec())]);
    let session = SessionConfig::new(SessionId::generate(), [4, 0, 9], keys)
        .with_connect_timeout(Duration::from_secs(3))
        .with_session_timeout(Duration::from_millis(4500));
    for curve in CurveId::ALL {
        let key = client(&server.url(), KEY_OF_A)
            .ecdsa()
            .generate_key(&session, 2, curve, Some("mine"))
            .await
            .unwrap();
        assert_eq!(key.key_id, "mine");
        assert_eq!(key.public_key.der(), fake_node::public_key(curve));
        assert_eq!((key.threshold, key.signers_required), (2, 3));
        assert_eq!(key.players, [0, 4, 9]);
        assert_eq!(key.notices, ["a dynamic public key was used"]);
        let calls = server.node.take_calls();
        let [(application, Call::GenerateKey(request))] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!(application, "a");
        assert_eq!(request.session.id.as_str(), session.session_id().as_str());
        assert_eq!(request.session.dynamic_public_keys, [(PlayerIndex(0), FakeNode::identity())].into());
        assert_eq!(request.session.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(request.session.session_timeout, Some(Duration::from_millis(4500)));
    }
}

#[tokio::test]
async fn without_a_key_id_the_players_draw_one() {
    let server = FakeServer::start().await;
    for key_id in [None, Some("")] {
        let client = client(&server.url(), KEY_OF_A);
        let key = client.ecdsa().generate_key(&session(), 1, CurveId::P256, key_id).await.unwrap();
        assert_eq!(key.key_id, "drawnByThePlayers");
    }
}

#[tokio::test]
async fn a_signed_digest_becomes_a_verified_signature() {
    let server = FakeServer::start().await;
    let client = client(&server.url(), KEY_OF_A);
    let key = client.ecdsa().generate_key(&session(), 1, CurveId::Secp256k1, None).await.unwrap();
    let digest = [7; 32];
    let signed = client.ecdsa().sign(&session(), &key.key_id, &[], &digest).await.unwrap();
    assert_eq!(signed.notices, ["signed"]);
    let signature = ecdsa::finalise_for(&key.public_key, &digest, &[signed.partial_signature]).unwrap();
    assert_eq!(ecdsa::verify(key.public_key.der(), &digest, signature.der()), Ok(()));
}

#[tokio::test]
async fn the_other_calls_go_there_and_back() {
    let server = FakeServer::start().await;
    let client = client(&server.url(), KEY_OF_B);
    let public_key = client.ecdsa().public_key("key1", &[]).await.unwrap();
    assert_eq!(public_key.der(), fake_node::public_key(CurveId::Secp256k1));
    assert_eq!(client.ecdsa().chain_code("key1", &[44, 0]).await, Ok([2; 32]));
    client.ecdsa().key_info("key1", &[44, 0, 7]).await.unwrap();
    let calls = server.node.take_calls();
    assert!(
        matches!(&calls[..], [
        (_, Call::PublicKey(_, root)), (_, Call::ChainCode(_, account)), (_, Call::PublicKey(_, address)),
    ] if root.is_empty() && **account == [44, 0] && **address == [44, 0, 7]),
        "{calls:?}"
    );
    assert_eq!(client.ecdsa().key_info("key1", &[]).await.unwrap().players, [0, 1]);
    assert_eq!(client.key_management().list_keys().await.unwrap(), ["keyOfb"]);
    client.key_management().delete_key_share("key1").await.unwrap();
    let version = client.version().await.unwrap();
    assert_eq!((version.player, version.api), (3, 1));
    assert!(client.ready().await.unwrap().ready);
    server.node.set_not_ready(&["stopping"]);
    assert_eq!(client.ready().await.unwrap().reasons, ["stopping"]);
    let of_b = server.node.take_calls().iter().all(|(application, _)| application == "b");
    assert!(of_b);
}

// ---- Errors -----------------------------------------------------------------------------------

#[tokio::test]
async fn every_failure_of_a_node_arrives_with_its_particulars() {
    let server = FakeServer::start().await;
    let client = client(&server.url(), KEY_OF_A);
    for code in ErrorCode::ALL {
        let mut failure = Failure::new(*code, "particulars").about(PlayerIndex(2), "a note");
        failure.differences.push(Difference {
            field: "threshold".into(),
            player: None,
            ours: "1".into(),
            theirs: "2".into(),
        });
        server.node.behave(Behaviour::Refuse(failure.clone()));
        let got = client.key_management().list_keys().await.unwrap_err();
        assert_eq!(got.detail, format!("{}: particulars", server.url()));
        assert_eq!(Failure { detail: failure.detail.clone(), ..got }, failure);
    }
}

#[tokio::test]
async fn a_wrong_key_or_none_is_refused() {
    let server = FakeServer::start().await;
    let wrong = client(&server.url(), "wrong").version().await.unwrap_err();
    let none = Client::new(Configuration::new(&server.url()).unwrap()).unwrap();
    assert_eq!(wrong.code, ErrorCode::AuthenticationFailed);
    assert_eq!(none.version().await.unwrap_err(), wrong);
    assert!(none.ready().await.unwrap().ready);
}

#[tokio::test]
async fn impossible_arguments_are_refused() {
    let server = FakeServer::start().await;
    let client = client(&server.url(), KEY_OF_A);
    let code = |result: Result<(), Failure>| result.unwrap_err().code;
    let generate = async |session: SessionConfig, threshold| {
        code(client.ecdsa().generate_key(&session, threshold, CurveId::P256, None).await.map(|_| ()))
    };
    assert_eq!(generate(session(), 0).await, ErrorCode::ThresholdInvalid);
    assert_eq!(generate(session(), 3).await, ErrorCode::ThresholdInvalid);
    let twice = SessionConfig::new(SessionId::generate(), [1, 1], BTreeMap::new());
    assert_eq!(generate(twice, 1).await, ErrorCode::PlayersInvalid);
    let not_a_key = SessionConfig::new(SessionId::generate(), [0, 1], [(0, vec![1, 2])].into());
    assert_eq!(generate(not_a_key, 1).await, ErrorCode::RequestInvalidField);
    let zero = session().with_session_timeout(Duration::ZERO);
    assert_eq!(generate(zero, 1).await, ErrorCode::RequestInvalidField);
    let short = client.ecdsa().sign(&session(), "key1", &[], &[7; 31]).await.map(|_| ());
    assert_eq!(code(short), ErrorCode::DigestInvalid);
    for (path, expected) in [(vec![1 << 31], ErrorCode::PathHardened), (vec![0; 51], ErrorCode::PathInvalid)]
    {
        let ecdsa = client.ecdsa();
        assert_eq!(code(ecdsa.public_key("key1", &path).await.map(|_| ())), expected);
        assert_eq!(code(ecdsa.chain_code("key1", &path).await.map(|_| ())), expected);
        assert_eq!(code(ecdsa.sign(&session(), "key1", &path, &[7; 32]).await.map(|_| ())), expected);
    }
    for id in ["../keys", "a/b", "", "a?b"] {
        assert_eq!(code(client.key_management().delete_key_share(id).await), ErrorCode::RequestInvalidField);
        let info = client.ecdsa().key_info(id, &[]).await.map(|_| ());
        assert_eq!(code(info), ErrorCode::RequestInvalidField);
    }
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn an_unreachable_node_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = client(&url, "canary").version().await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NodeUnreachable);
    assert!(failure.detail.starts_with(&url), "{failure}");
    assert!(failure.detail.contains("refused"), "{failure}");
}

/// Answers every connection with these bytes, and then waits.
async fn answers_with(reply: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(&reply).await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    url
}

fn reply(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_reply_that_no_node_gives_is_refused() {
    let long = "x".repeat(300_000);
    let signed = r#"{"partial_signature":"?","notices":[]}"#;
    for (bytes, words) in [
        (reply("200 OK", "not JSON"), "API description"),
        (reply("200 OK", "{}"), "API description"),
        (reply("200 OK", signed), "base64"),
        (reply("200 OK", &long), "longer than"),
        (reply("500 Oops", &long), "longer than"),
        (reply("502 Bad Gateway", "<html>canary</html>"), "status 502"),
        (reply("302 Found", ""), "status 302"),
        (reply("404 Not Found", "{}"), "status 404"),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "not HTTP"),
    ] {
        let url = answers_with(bytes).await;
        let failure =
            client(&url, "canary").ecdsa().sign(&session(), "key1", &[], &[7; 32]).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::NodeReply, "{failure}");
        assert!(failure.detail.starts_with(&url) && failure.detail.contains(words), "{failure}");
        assert!(!format!("{failure:?}").contains("canary"), "{failure}");
    }
}

#[tokio::test]
async fn a_code_of_a_newer_node_is_shown() {
    let problem = r#"{"type":"urn:opentsm:error:new.code","title":"T.","status":418,"detail":"particulars","code":"new.code","hint":"H."}"#;
    let url = answers_with(reply("418 New", problem)).await;
    let failure = client(&url, KEY_OF_A).version().await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NodeReply);
    assert!(failure.detail.contains("new.code") && failure.detail.contains("particulars"), "{failure}");
}

#[tokio::test]
async fn the_api_key_does_not_follow_a_redirection() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!(
        "HTTP/1.1 307 Go\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        other.local_addr().unwrap()
    );
    let url = answers_with(location.into_bytes()).await;
    let failure = client(&url, KEY_OF_A).version().await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NodeReply);
    assert!(tokio::time::timeout(Duration::from_millis(100), other.accept()).await.is_err());
}

#[tokio::test]
async fn s107_neither_clients_nor_failures_show_the_api_key() {
    let server = FakeServer::start().await;
    let client = client(&server.url(), "canary");
    let failure = client.version().await.unwrap_err();
    let shown =
        format!("{client:?} {:?} {:?} {failure:?} {failure}", client.ecdsa(), client.key_management());
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains(&server.url()), "{shown}");
}

// ---- Hanging up, and broken connections ---------------------------------------------------------

#[tokio::test]
async fn dropping_a_call_cancels_it_at_the_node() {
    let server = FakeServer::start().await;
    server.node.behave(Behaviour::Wait);
    let client = client(&server.url(), KEY_OF_A);
    let session = session();
    let call = client.ecdsa().sign(&session, "key1", &[], &[7; 32]);
    let begun = async { server.node.begun.acquire().await.unwrap().forget() };
    tokio::select! {
        result = call => panic!("{result:?}"),
        () = begun => {}
    }
    let cancelled = tokio::time::timeout(Duration::from_secs(5), server.node.cancelled.acquire()).await;
    cancelled.expect("the node hears of it").unwrap().forget();
}

/// Passes connections on to `server`, but closes the first `lost` of them when the reply begins.
async fn loses_replies(server: SocketAddr, lost: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut onward = TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move {
                if number >= lost {
                    let _ = copy_bidirectional(&mut stream, &mut onward).await;
                    return;
                }
                let mut request = [0; 8192];
                let mut reply = [0; 1];
                loop {
                    tokio::select! {
                        read = stream.read(&mut request) => {
                            let length = read.unwrap();
                            onward.write_all(&request[..length]).await.unwrap();
                        }
                        _ = onward.read(&mut reply) => return,
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn s117_a_call_whose_reply_was_lost_is_made_once_more_and_the_same() {
    let server = FakeServer::start().await;
    let url = loses_replies(server.address, 1).await;
    client(&url, KEY_OF_A).ecdsa().sign(&session(), "key1", &[], &[7; 32]).await.unwrap();
    let calls = server.node.take_calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0], calls[1]);
}

#[tokio::test]
async fn a_call_whose_reply_was_lost_twice_fails() {
    let server = FakeServer::start().await;
    let url = loses_replies(server.address, 2).await;
    let failure = client(&url, KEY_OF_A).ecdsa().sign(&session(), "key1", &[], &[7; 32]).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NodeUnreachable);
    assert!(failure.detail.contains("broke"), "{failure}");
    assert_eq!(server.node.take_calls().len(), 2);
}

#[tokio::test]
async fn a_deletion_is_not_repeated() {
    let server = FakeServer::start().await;
    let url = loses_replies(server.address, 1).await;
    let failure = client(&url, KEY_OF_A).key_management().delete_key_share("key1").await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NodeUnreachable);
    assert_eq!(server.node.take_calls().len(), 1);
}
