//! Requests to the HTTP API, from the parsed head on.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Uri};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower_service::Service;
use tsm_server::api::router;
use tsm_server::auth::{ApiKeyEntry, ApiKeys};
use tsm_types::{ErrorCode, Failure};

use crate::decoders::runtime;
use crate::fake_node::{Behaviour, FakeNode};

const API_KEY: &str = "key";

/// Method and path of every call; what is fuzzed stands for `*`.
const CALLS: [(&str, &str); 10] = [
    ("POST", "/v1/ecdsa/generate-key"),
    ("POST", "/v1/ecdsa/sign"),
    ("POST", "/v1/ecdsa/generate-presignatures"),
    ("POST", "/v1/ecdsa/sign-with-presignature"),
    ("GET", "/v1/ecdsa/keys/*"),
    ("GET", "/v1/ecdsa/keys/key1/public-key?*"),
    ("GET", "/v1/ecdsa/keys/key1/chain-code?*"),
    ("DELETE", "/v1/keys/*"),
    ("GET", "/v1/keys/*/presignatures"),
    ("GET", "/*"),
];

static API: LazyLock<(Arc<FakeNode>, Router)> = LazyLock::new(|| {
    let node = Arc::new(FakeNode::default());
    // Whatever reaches the node is refused, so that what is answered comes from reading the request.
    node.behave(Behaviour::Refuse(Failure::new(ErrorCode::KeyNotFound, "reached the node")));
    let entry = ApiKeyEntry { sha256: Sha256::digest(API_KEY).into(), application: "app".to_owned() };
    let keys = ApiKeys::new(vec![entry]).unwrap();
    (node.clone(), router(node, Arc::new(keys)))
});

/// The first byte says which call; the rest is the body, or a part of the path.
pub(crate) fn http(bytes: &[u8]) {
    let [call, rest @ ..] = bytes else { return };
    let (method, path) = CALLS[usize::from(*call) % CALLS.len()];
    let path = path.replace('*', &String::from_utf8_lossy(rest));
    // Other targets are refused by the HTTP library.
    let Ok(uri) = path.parse::<Uri>() else { return };
    let body = if method == "POST" { rest.to_vec() } else { Vec::new() };
    let request = Request::builder().method(method).uri(uri);
    let request = request.header("Authorization", format!("APIKey {API_KEY}"));
    let request = request.header("Content-Type", "application/json").body(Body::from(body)).unwrap();
    let (node, router) = &*API;
    let (status, body) = runtime().block_on(async {
        let answer = router.clone().call(request).await.unwrap_or_else(|never| match never {});
        (answer.status(), to_bytes(answer.into_body(), 1 << 20).await.unwrap())
    });
    let calls = node.take_calls();
    assert!(calls.len() <= 1);
    assert!(!status.is_server_error() || path.starts_with("/ready"), "{method} {path}: {status}");
    if !status.is_success() {
        let problem: Value = serde_json::from_slice(&body).unwrap();
        let code = problem["code"].as_str().unwrap();
        assert!(ErrorCode::from_code(code).is_some(), "{code}");
        assert!(body.len() < 4096, "what was sent is not sent back at length");
        assert_eq!(code == "key.not_found", !calls.is_empty(), "{method} {path}: {code}");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let session = json!({ "session_id": "run1", "players": [0, 1, 2], "connect_timeout": "5s" });
    let digest = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let bodies = [
        json!({ "session": session, "threshold": 1, "curve": "secp256k1", "key_id": "key1" }),
        json!({ "session": session, "key_id": "key1", "derivation_path": [44, 0], "digest": digest }),
        json!({ "session": session, "key_id": "key1", "count": 5 }),
        json!({ "key_id": "key1", "presignature_id": "0a".repeat(32), "players": [0, 2],
                "derivation_path": [], "digest": digest }),
    ];
    let calls = bodies.iter().map(|body| body.to_string().into_bytes());
    let paths =
        ["key1/public-key", "derivation_path=m/44/0", "derivation_path=m%2F44", "key1", "key1", "ping"];
    let all = calls.chain(paths.iter().map(|path| path.as_bytes().to_vec()));
    all.enumerate().map(|(call, rest)| [vec![call as u8], rest].concat()).collect()
}
