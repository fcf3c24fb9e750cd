//! The HTTP API against a fake node: the description, the refusals, login, hanging up.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod fake_node;
mod http;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_node::{Behaviour, Call, FakeNode, FakeServer, KEY_OF_A, KEY_OF_B};
use http::{Answer, read_answer, send};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tsm_types::api::{GenerateKeyBody, MAX_BODY_BYTES, SignBody};
use tsm_types::request::{GenerateKey, SignEcdsa};
use tsm_types::{Difference, ErrorCode, Failure, PlayerIndex};

/// The first step that only a whole private key could take.
const HARDENED: u32 = 1 << 31;

const JSON: &str = "Content-Type: application/json";
const LOGIN_A: &str = "Authorization: APIKey api-key-of-a";
const LOGIN_B: &str = "Authorization: APIKey api-key-of-b";

fn generate_key_body() -> Value {
    json!({
        "session": {
            "session_id": "run1",
            "players": [0, 1, 2],
            "dynamic_public_keys": { "0": BASE64.encode(FakeNode::identity().der()) },
            "connect_timeout": "5s",
            "session_timeout": "1m30s"
        },
        "threshold": 1,
        "curve": "secp256k1",
        "key_id": "key1"
    })
}

fn sign_body() -> Value {
    json!({
        "session": { "session_id": "run2", "players": [0, 2] },
        "key_id": "key1",
        "derivation_path": [],
        "digest": BASE64.encode([7; 32])
    })
}

async fn post(server: &FakeServer, path: &str, body: &Value) -> Answer {
    send(server.address, "POST", path, &[LOGIN_A, JSON], body.to_string().as_bytes()).await
}

async fn get(server: &FakeServer, path: &str) -> Answer {
    send(server.address, "GET", path, &[LOGIN_A], b"").await
}

// ---- The description ----------------------------------------------------------------------

fn description() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

/// Every operation of the description: method, path, operation.
fn operations(description: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

/// Follows a `$ref` inside the description.
fn resolve<'d>(description: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => description.pointer(reference.trim_start_matches('#')).expect(reference),
        None => value,
    }
}

#[track_caller]
fn assert_valid(description: &Value, schema: &Value, instance: &Value) {
    // References in the schema lead into the description's components.
    let schema = json!({ "allOf": [schema], "components": description["components"] });
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{instance:#}");
}

/// Holds an answer against the description of its operation.
#[track_caller]
fn assert_described(description: &Value, method: &str, path: &str, answer: &Answer) {
    let operation = &description["paths"][path][method.to_lowercase()];
    assert!(operation.is_object(), "{method} {path}");
    let responses = &operation["responses"];
    let status = answer.status.to_string();
    let response = if responses[&status].is_object() { &responses[&status] } else { &responses["default"] };
    let response = resolve(description, response);
    for name in response["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
        answer.header(&name.to_lowercase());
    }
    let Some(content) = response["content"].as_object() else {
        assert_eq!(answer.body, "");
        return;
    };
    let media_type = answer.header("content-type").split(';').next().unwrap();
    let schema = &content.get(media_type).unwrap_or_else(|| panic!("{media_type} of {path}"))["schema"];
    if media_type == "text/plain" {
        return assert_valid(description, schema, &json!(answer.body));
    }
    assert_valid(description, schema, &answer.json());
    for name in answer.json().as_object().unwrap().keys() {
        let known = &resolve(description, schema)["properties"];
        assert!(known[name].is_object(), "{name} is not described: {answer:?}");
    }
}

/// A request that succeeds, for each operation.
async fn good_answer(server: &FakeServer, method: &str, path: &str) -> Answer {
    match path {
        "/v1/ecdsa/generate-key" => post(server, path, &generate_key_body()).await,
        "/v1/ecdsa/sign" => post(server, path, &sign_body()).await,
        _ => send(server.address, method, &path.replace("{key_id}", "key1"), &[LOGIN_A], b"").await,
    }
}

#[tokio::test]
async fn every_described_operation_answers_as_described() {
    let (server, description) = (FakeServer::start().await, description());
    let operations = operations(&description);
    assert_eq!(operations.len(), 9);
    for (method, path, _) in operations {
        let answer = good_answer(&server, &method, &path).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        assert_described(&description, &method, &path, &answer);
    }
}

#[tokio::test]
async fn no_other_method_of_a_described_path_answers() {
    let (server, description) = (FakeServer::start().await, description());
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            if item[method.to_lowercase()].is_object() {
                continue;
            }
            let answer =
                send(server.address, method, &path.replace("{key_id}", "key1"), &[LOGIN_A, JSON], b"{}")
                    .await;
            assert_eq!((answer.status, answer.code()), (405, "request.method_not_allowed".into()), "{path}");
            assert!(!answer.header("allow").is_empty());
            assert_valid(&description, &description["components"]["schemas"]["Problem"], &answer.json());
        }
    }
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn no_other_path_answers() {
    let server = FakeServer::start().await;
    let long = format!("/{}", "x".repeat(5000));
    for path in
        ["/", "/v1", "/v1/", "/v2/keys", "/v1/keys/", "/ping/", "/v1/keys/a/b", "/v1/ecdsa/keys/a", &long]
    {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, answer.code()), (404, "request.unknown_route".into()), "{path}");
        assert!(answer.body.len() < 1000);
    }
    assert_eq!(server.node.take_calls(), []);
}

#[test]
fn the_described_errors_are_the_catalogue() {
    let description = description();
    let described = &description["components"]["schemas"]["ErrorCode"];
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(described["enum"], json!(codes));
    let catalogue: Vec<Value> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let actor = format!("{:?}", code.actor()).to_lowercase();
            json!({ "code": code.as_str(), "actor": actor, "status": code.http_status(), "title": code.title(), "hint": code.hint() })
        })
        .collect();
    assert_eq!(described["x-errors"], json!(catalogue));
}

#[test]
fn every_status_names_its_codes() {
    let description = description();
    // By SDKs, by the management port, and in logs alone.
    let not_of_this_api = [
        ErrorCode::AuthenticationForbidden,
        ErrorCode::TenantLinkLimit,
        ErrorCode::HandshakeLimit,
        ErrorCode::PartialsInvalid,
        ErrorCode::SignatureInvalid,
        ErrorCode::NodeUnreachable,
        ErrorCode::NodeReply,
    ];
    let texts: Vec<&str> = description["components"]["responses"]
        .as_object()
        .unwrap()
        .values()
        .map(|response| response["description"].as_str().unwrap())
        .collect();
    for code in ErrorCode::ALL {
        let named = texts.iter().filter(|text| text.contains(&format!("`{code}`"))).count();
        assert_eq!(named, usize::from(!not_of_this_api.contains(code)), "{code}");
    }
}

#[test]
fn every_example_is_valid() {
    let description = description();
    let mut seen = 0;
    let mut check = |content: &Value| {
        for media in content.as_object().into_iter().flat_map(|content| content.values()) {
            assert_valid(&description, &media["schema"], &media["example"]);
            seen += 1;
        }
    };
    for (_, _, operation) in operations(&description) {
        check(&operation["requestBody"]["content"]);
        for response in operation["responses"].as_object().unwrap().values() {
            check(&resolve(&description, response)["content"]);
        }
    }
    assert!(seen > 20);
    let example = |path: &str| {
        description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"].clone()
    };
    let generate: GenerateKeyBody = serde_json::from_value(example("/v1/ecdsa/generate-key")).unwrap();
    GenerateKey::try_from(generate).unwrap();
    let sign: SignBody = serde_json::from_value(example("/v1/ecdsa/sign")).unwrap();
    SignEcdsa::try_from(sign).unwrap();
}

#[tokio::test]
async fn every_failure_of_a_node_is_answered_with_its_status_and_particulars() {
    let (server, description) = (FakeServer::start().await, description());
    for code in ErrorCode::ALL {
        let mut failure = Failure::new(*code, "particulars").about(PlayerIndex(2), "a note");
        failure.differences.push(Difference {
            field: "players".into(),
            player: Some(PlayerIndex(2)),
            ours: "02a1".into(),
            theirs: "03b2".into(),
        });
        server.node.behave(Behaviour::Refuse(failure));
        for (method, path, _) in operations(&description) {
            if !path.starts_with("/v1") || path == "/v1/version" {
                continue;
            }
            let answer = good_answer(&server, &method, &path).await;
            assert_eq!((answer.status, answer.code()), (code.http_status(), code.to_string()));
            let problem = answer.json();
            assert_eq!(problem["hint"], code.hint());
            assert_eq!(problem["players"], json!([{ "player": 2, "note": "a note" }]));
            assert_eq!(problem["differences"][0]["theirs"], "03b2");
            assert_valid(&description, &description["components"]["schemas"]["Problem"], &problem);
        }
    }
}

// ---- What the node is asked ---------------------------------------------------------------

#[tokio::test]
async fn the_node_gets_what_the_caller_wrote() {
    let server = FakeServer::start().await;
    post(&server, "/v1/ecdsa/generate-key", &generate_key_body()).await;
    post(&server, "/v1/ecdsa/sign", &sign_body()).await;
    let calls = server.node.take_calls();
    let [(app_1, Call::GenerateKey(generate)), (app_2, Call::Sign(sign))] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!((app_1.as_str(), app_2.as_str()), ("a", "a"));
    let expected: GenerateKeyBody = serde_json::from_value(generate_key_body()).unwrap();
    assert_eq!(*generate, GenerateKey::try_from(expected).unwrap());
    assert_eq!(generate.session.session_timeout, Some(Duration::from_secs(90)));
    let expected: SignBody = serde_json::from_value(sign_body()).unwrap();
    assert_eq!(*sign, SignEcdsa::try_from(expected).unwrap());
}

#[tokio::test]
async fn s103_applications_see_their_own_keys_only() {
    let server = FakeServer::start().await;
    for (login, application) in [(LOGIN_A, "a"), (LOGIN_B, "b")] {
        let answer = send(server.address, "GET", "/v1/keys", &[login], b"").await;
        assert_eq!(answer.json(), json!({ "key_ids": [format!("keyOf{application}")] }));
        assert_eq!(server.node.take_calls(), [(application.to_owned(), Call::ListKeys)]);
    }
}

#[tokio::test]
async fn s91_a_request_has_no_place_for_a_tweak_or_a_derived_key() {
    let server = FakeServer::start().await;
    for field in ["tweak", "derived_public_key", "chain_code", "public_key"] {
        let mut body = sign_body();
        body[field] = json!(BASE64.encode([1; 32]));
        let answer = post(&server, "/v1/ecdsa/sign", &body).await;
        assert_eq!(answer.code(), "request.invalid_field", "{field}");
        let query = format!("/v1/ecdsa/keys/key1/public-key?{field}=AQ");
        assert_eq!(get(&server, &query).await.code(), "request.invalid_field", "{field}");
    }
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn readiness_says_why_not() {
    let (server, description) = (FakeServer::start().await, description());
    server.node.set_not_ready(&["the database is locked"]);
    let answer = send(server.address, "GET", "/ready", &[], b"").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), json!({ "ready": false, "reasons": ["the database is locked"] }));
    assert_described(&description, "GET", "/ready", &answer);
    assert_eq!(send(server.address, "GET", "/ping", &[], b"").await.body, "pong");
}

#[tokio::test]
async fn the_version_names_the_node() {
    let server = FakeServer::start().await;
    let version = get(&server, "/v1/version").await.json();
    assert_eq!(version["player"], 3);
    assert_eq!(version["public_key"], BASE64.encode(FakeNode::identity().der()));
}

#[tokio::test]
async fn a_derivation_path_in_a_query_reaches_the_node_as_it_was_written() {
    let server = FakeServer::start().await;
    for (query, steps) in [
        ("", &[][..]),
        ("?", &[]),
        ("?derivation_path", &[]),
        ("?derivation_path=", &[]),
        ("?derivation_path=m", &[]),
        ("?derivation_path=0", &[0]),
        ("?derivation_path=m/44/0/1", &[44, 0, 1]),
        ("?derivation_path=m%2F44%2f0", &[44, 0]),
        ("?derivation_path=2147483647", &[2_147_483_647]),
    ] {
        let answer = get(&server, &format!("/v1/ecdsa/keys/key1/public-key{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        let answer = get(&server, &format!("/v1/ecdsa/keys/key1/chain-code{query}")).await;
        assert_eq!(answer.json(), json!({ "chain_code": BASE64.encode([steps.len() as u8; 32]) }), "{query}");
        let calls = server.node.take_calls();
        let [(_, Call::PublicKey(_, public_key)), (_, Call::ChainCode(_, chain_code))] = calls.as_slice()
        else {
            panic!("{calls:?}");
        };
        assert_eq!((&**public_key, &**chain_code), (steps, steps), "{query}");
    }
}

#[tokio::test]
async fn d1_s89_an_impossible_derivation_path_in_a_query_never_reaches_the_node() {
    let server = FakeServer::start().await;
    let long = format!("?derivation_path=m{}", "/1".repeat(51));
    for (query, code) in [
        ("?derivation_path=44'", "path.hardened"),
        ("?derivation_path=m/44%27/0", "path.hardened"),
        ("?derivation_path=m/44h", "path.hardened"),
        ("?derivation_path=2147483648", "path.hardened"),
        ("?derivation_path=x", "path.invalid"),
        ("?derivation_path=m+1", "path.invalid"),
        ("?derivation_path=%FF", "path.invalid"),
        ("?derivation_path=m//1", "path.invalid"),
        (long.as_str(), "path.invalid"),
        ("?derivation_path=&derivation_path=1", "request.invalid_field"),
        ("?path=", "request.invalid_field"),
        ("?derivation_path=&x=1", "request.invalid_field"),
    ] {
        for resource in ["public-key", "chain-code"] {
            let answer = get(&server, &format!("/v1/ecdsa/keys/key1/{resource}{query}")).await;
            assert_eq!((answer.status, answer.code()), (422, code.into()), "{query}");
            assert!(answer.body.len() < 1000, "{answer:?}");
        }
    }
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn an_impossible_key_id_in_a_path_is_refused() {
    let server = FakeServer::start().await;
    let long = "k".repeat(65);
    for (id, code) in [
        ("not-a-key", "request.invalid_field"),
        ("a%2Fb", "request.invalid_field"),
        ("%C3%A4", "request.invalid_field"),
        (long.as_str(), "request.invalid_field"),
        ("%FF", "request.malformed"),
    ] {
        assert_eq!(get(&server, &format!("/v1/ecdsa/keys/{id}/public-key")).await.code(), code, "{id}");
        let deleted = send(server.address, "DELETE", &format!("/v1/keys/{id}"), &[LOGIN_A], b"").await;
        assert_eq!(deleted.code(), code, "{id}");
    }
    assert_eq!(server.node.take_calls(), []);
}

// ---- Bad input ----------------------------------------------------------------------------

/// Everything that is wrong with each field: the field, what is written there, the code.
fn bad_fields() -> Vec<(&'static str, &'static str, Value, ErrorCode)> {
    use ErrorCode::{
        CurveUnsupported, DigestInvalid, PathHardened, PathInvalid, PlayersInvalid,
        RequestInvalidField as Field, ThresholdInvalid,
    };
    let (generate, sign) = ("/v1/ecdsa/generate-key", "/v1/ecdsa/sign");
    let long = "x".repeat(1000);
    let mut key_and_more = FakeNode::identity().der().to_vec();
    key_and_more.push(0);
    let off_the_curve = {
        let mut der = FakeNode::identity().der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        BASE64.encode(der)
    };
    let secp256k1 = BASE64.encode(fake_node::public_key(tsm_types::CurveId::Secp256k1));
    let good_key = BASE64.encode(FakeNode::identity().der());
    let mut cases = Vec::new();
    for path in [generate, sign] {
        for wrong in [json!(null), json!(1), json!("x"), json!(["run1", [0, 1]])] {
            cases.push((path, "session", wrong, Field));
        }
        for wrong in [
            json!(null),
            json!(1),
            json!(["run1"]),
            json!({}),
            json!(""),
            json!("a b"),
            json!("ä"),
            json!(long),
        ] {
            cases.push((path, "session.session_id", wrong, Field));
        }
        for wrong in [
            json!(null),
            json!("0,1"),
            json!({}),
            json!([0, "1"]),
            json!([0, -1]),
            json!([0, 65536]),
            json!([0, 1.5]),
            json!([0, null]),
        ] {
            cases.push((path, "session.players", wrong, Field));
        }
        for wrong in [json!([]), json!([0]), json!([0, 1, 0]), json!((0..33).collect::<Vec<_>>())] {
            cases.push((path, "session.players", wrong, PlayersInvalid));
        }
        for wrong in [
            json!(null),
            json!(1),
            json!("x"),
            json!([good_key]),
            json!({ "0": null }),
            json!({ "0": 1 }),
            json!({ "0": "" }),
            json!({ "0": "?" }),
            json!({ "0": format!("{good_key}=") }),
            json!({ "0": format!("{good_key}\n") }),
            json!({ "0": good_key.trim_end_matches('=') }),
            json!({ "0": BASE64.encode(&key_and_more) }),
            json!({ "0": off_the_curve }),
            json!({ "0": secp256k1 }),
            json!({ "0": long }),
            json!({ "00": good_key }),
            json!({ "x": good_key }),
            json!({ "70000": good_key }),
            json!({ "9": good_key }),
            json!({ long.clone(): good_key }),
        ] {
            cases.push((path, "session.dynamic_public_keys", wrong, Field));
        }
        for wrong in [
            json!({ "0": "phone" }),
            json!({ "0": "tcps://phone:9000" }),
            json!({ "0": "tcp://phone:0" }),
            json!({ "0": "tcp://phone:9000?color=red" }),
            json!({ "00": "tcp://phone:9000" }),
            json!({ "9": "tcp://phone:9000" }),
        ] {
            cases.push((path, "session.dynamic_addresses", wrong, Field));
        }
        for field in ["session.connect_timeout", "session.session_timeout"] {
            for wrong in [
                json!(5),
                json!([]),
                json!({}),
                json!(""),
                json!("5"),
                json!("0s"),
                json!("-5s"),
                json!("5 s"),
                json!("soon"),
                json!(long),
                json!("99999999999h"),
            ] {
                cases.push((path, field, wrong, Field));
            }
        }
    }
    for wrong in [json!(null), json!("1"), json!([1]), json!(-1), json!(1.0), json!(1e30)] {
        cases.push((generate, "threshold", wrong, Field));
    }
    for wrong in [json!(0), json!(3), json!(u64::MAX)] {
        cases.push((generate, "threshold", wrong, ThresholdInvalid));
    }
    for wrong in [json!(null), json!(1), json!(["P-256"])] {
        cases.push((generate, "curve", wrong, Field));
    }
    for wrong in [json!(""), json!("p-256"), json!("ed25519"), json!(long)] {
        cases.push((generate, "curve", wrong, CurveUnsupported));
    }
    for wrong in [json!(1), json!([]), json!("not-a-key"), json!(long)] {
        cases.push((generate, "key_id", wrong, Field));
    }
    for wrong in [json!(null), json!(1), json!([]), json!(""), json!("not-a-key"), json!(long)] {
        cases.push((sign, "key_id", wrong, Field));
    }
    for wrong in [json!(null), json!("m/1"), json!({}), json!(["1"]), json!([-1]), json!([4_294_967_296u64])]
    {
        cases.push((sign, "derivation_path", wrong, Field));
    }
    for wrong in [json!([HARDENED]), json!([0, u32::MAX, 1])] {
        cases.push((sign, "derivation_path", wrong, PathHardened));
    }
    cases.push((sign, "derivation_path", json!(vec![0; 51]), PathInvalid));
    for wrong in [
        json!(null),
        json!(1),
        json!(vec![7; 32]),
        json!("?"),
        json!(BASE64.encode([7; 32]).trim_end_matches('=')),
        json!(format!("{} ", BASE64.encode([7; 32]))),
    ] {
        cases.push((sign, "digest", wrong, Field));
    }
    for length in [0, 31, 33, 65, 1000] {
        cases.push((sign, "digest", json!(BASE64.encode(vec![7; length])), DigestInvalid));
    }
    cases
}

fn good_body(path: &str) -> Value {
    if path.ends_with("sign") { sign_body() } else { generate_key_body() }
}

/// The object that a field such as `session.players` is in, and the field's name there.
fn place<'b>(
    body: &'b mut Value,
    field: &'static str,
) -> (&'b mut serde_json::Map<String, Value>, &'static str) {
    let (object, name) = match field.split_once('.') {
        Some((object, name)) => (&mut body[object], name),
        None => (body, field),
    };
    (object.as_object_mut().unwrap(), name)
}

#[tokio::test]
async fn every_wrong_field_is_named_and_never_reaches_the_node() {
    let server = FakeServer::start().await;
    for (path, field, wrong, code) in bad_fields() {
        let mut body = good_body(path);
        let (object, name) = place(&mut body, field);
        object.insert(name.to_owned(), wrong.clone());
        let answer = post(&server, path, &body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (code.http_status(), code.to_string()),
            "{field}: {wrong}"
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        // The refusals of counts and thresholds speak of what they count.
        let spoken = if matches!(code, ErrorCode::PlayersInvalid) { "player" } else { name };
        assert!(detail.contains(spoken), "{field}: {detail}");
        assert!(detail.chars().count() < 400, "{detail}");
        assert_eq!(server.node.take_calls(), [], "{field}: {wrong}");
    }
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let server = FakeServer::start().await;
    for (path, fields) in [
        (
            "/v1/ecdsa/generate-key",
            &["session", "session.session_id", "session.players", "threshold", "curve"][..],
        ),
        ("/v1/ecdsa/sign", &["session", "session.session_id", "session.players", "key_id", "digest"]),
    ] {
        for field in fields {
            let mut body = good_body(path);
            let (object, name) = place(&mut body, field);
            object.remove(name).unwrap();
            let answer = post(&server, path, &body).await;
            assert_eq!((answer.status, answer.code()), (422, "request.invalid_field".into()), "{field}");
            assert!(answer.body.contains(&format!("missing field `{name}`")), "{answer:?}");
        }
    }
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn an_unknown_field_and_a_field_given_twice_are_refused() {
    let server = FakeServer::start().await;
    for path in ["/v1/ecdsa/generate-key", "/v1/ecdsa/sign"] {
        for field in ["surplus", "session.surplus"] {
            let mut body = good_body(path);
            let (object, name) = place(&mut body, field);
            object.insert(name.to_owned(), json!(1));
            let answer = post(&server, path, &body).await;
            assert_eq!(answer.code(), "request.invalid_field");
            assert!(answer.body.contains("surplus"), "{answer:?}");
        }
        let body = good_body(path).to_string();
        for (once, twice) in [
            ("\"session_id\":", "\"session_id\":\"other\",\"session_id\":"),
            ("\"key_id\":", "\"key_id\":\"other\",\"key_id\":"),
            ("\"players\":", "\"players\":[3,4],\"players\":"),
        ] {
            let body = body.replace(once, twice);
            let answer = send(server.address, "POST", path, &[LOGIN_A, JSON], body.as_bytes()).await;
            assert_eq!(answer.code(), "request.malformed");
            assert!(answer.body.contains("twice"), "{answer:?}");
        }
    }
    let one_player_two_keys = generate_key_body().to_string().replace("{\"0\":", "{\"0\":\"\",\"0\":");
    let answer = send(
        server.address,
        "POST",
        "/v1/ecdsa/generate-key",
        &[LOGIN_A, JSON],
        one_player_two_keys.as_bytes(),
    )
    .await;
    assert_eq!(answer.code(), "request.malformed");
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn optional_fields_may_be_absent_or_null() {
    let server = FakeServer::start().await;
    let body = json!({
        "session": { "session_id": "r", "players": [0, 1], "connect_timeout": null, "session_timeout": null },
        "threshold": 1, "curve": "P-521", "key_id": null
    });
    assert_eq!(post(&server, "/v1/ecdsa/generate-key", &body).await.status, 200);
    let body =
        json!({ "session": { "session_id": "r", "players": [0, 1] }, "threshold": 1, "curve": "P-384" });
    assert_eq!(post(&server, "/v1/ecdsa/generate-key", &body).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let server = FakeServer::start().await;
    let good = sign_body().to_string();
    let deep = "[".repeat(10_000);
    let not_utf8: &[u8] = b"{\"key_id\":\"\xff\"}";
    let cases: Vec<(&[u8], &str)> = vec![
        (b"", "request.malformed"),
        (b" ", "request.malformed"),
        (b"{", "request.malformed"),
        (&good.as_bytes()[..good.len() - 1], "request.malformed"),
        (b"{}{}", "request.malformed"),
        (b"\xef\xbb\xbf{}", "request.malformed"),
        (b"{'key_id':1}", "request.malformed"),
        (not_utf8, "request.malformed"),
        (deep.as_bytes(), "request.malformed"),
        (b"null", "request.invalid_field"),
        (b"1", "request.invalid_field"),
        (b"\"x\"", "request.invalid_field"),
        (b"[]", "request.invalid_field"),
        (br#"[["run",[0,1]],"key1",[],"AAAA"]"#, "request.invalid_field"),
        (b"{}", "request.invalid_field"),
    ];
    for (body, code) in cases {
        let answer = send(server.address, "POST", "/v1/ecdsa/sign", &[LOGIN_A, JSON], body).await;
        assert_eq!(answer.code(), code, "{}", String::from_utf8_lossy(body));
    }
    for trailing in ["x", "{}", "\0"] {
        let body = format!("{good}{trailing}");
        let answer = send(server.address, "POST", "/v1/ecdsa/sign", &[LOGIN_A, JSON], body.as_bytes()).await;
        assert_eq!(answer.code(), "request.malformed", "{trailing:?}");
    }
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let server = FakeServer::start().await;
    let body = sign_body().to_string();
    let send_as = async |headers: &[&str]| {
        send(server.address, "POST", "/v1/ecdsa/sign", headers, body.as_bytes()).await
    };
    for wrong in [
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: application/jsonp",
        "X-Nothing: 1",
    ] {
        let answer = send_as(&[LOGIN_A, wrong]).await;
        assert_eq!(answer.code(), "request.malformed");
        assert!(answer.body.contains("Content-Type"));
    }
    assert_eq!(server.node.take_calls(), []);
    assert_eq!(send_as(&[LOGIN_A, "Content-Type: Application/JSON; charset=utf-8"]).await.status, 200);
}

#[tokio::test]
async fn s105_a_body_beyond_the_limit_is_refused() {
    let server = FakeServer::start().await;
    let padded = |length: usize| {
        let body = sign_body().to_string();
        let spaces = " ".repeat(length - body.len());
        format!("{body}{spaces}")
    };
    let at_the_limit = padded(MAX_BODY_BYTES);
    let answer =
        send(server.address, "POST", "/v1/ecdsa/sign", &[LOGIN_A, JSON], at_the_limit.as_bytes()).await;
    assert_eq!(answer.status, 200);
    server.node.take_calls();

    let beyond = padded(MAX_BODY_BYTES + 1);
    let answer = send(server.address, "POST", "/v1/ecdsa/sign", &[LOGIN_A, JSON], beyond.as_bytes()).await;
    assert_eq!((answer.status, answer.code()), (413, "request.too_large".into()));

    // The same without a length announced beforehand.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/ecdsa/sign HTTP/1.1\r\nHost: n\r\nConnection: close\r\n{LOGIN_A}\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(format!("{:x}\r\n{beyond}\r\n0\r\n\r\n", beyond.len()).as_bytes()).await;
    assert_eq!(read_answer(&mut stream).await.code(), "request.too_large");
    assert_eq!(server.node.take_calls(), []);
}

// ---- Login --------------------------------------------------------------------------------

#[tokio::test]
async fn s101_whatever_is_wrong_with_the_login_the_answer_is_the_same() {
    let (server, description) = (FakeServer::start().await, description());
    let logins: Vec<Vec<String>> = vec![
        vec![],
        vec!["Authorization:".into()],
        vec!["Authorization: APIKey".into()],
        vec!["Authorization: APIKey ".into()],
        vec!["Authorization: APIKey unknown".into()],
        vec![format!("Authorization: APIKey {KEY_OF_A}x")],
        vec![format!("Authorization: APIKey {}", KEY_OF_A.to_uppercase())],
        vec![format!("Authorization: Bearer {KEY_OF_A}")],
        vec![format!("Authorization: Basic {}", BASE64.encode(KEY_OF_A))],
        vec![format!("Authorization: {KEY_OF_A}")],
        vec!["Authorization: APIKey \u{e9}".into()],
        vec![LOGIN_A.into(), LOGIN_B.into()],
        vec![format!("X-Api-Key: {KEY_OF_B}")],
    ];
    for (method, path, operation) in operations(&description) {
        if operation["security"] == json!([]) {
            continue;
        }
        let mut bodies = Vec::new();
        for login in &logins {
            let mut headers: Vec<&str> = login.iter().map(String::as_str).collect();
            headers.push("X-Request-Id: same");
            // Not even a broken body or key ID tells a stranger anything.
            let answer =
                send(server.address, &method, &path.replace("{key_id}", "not-a-key"), &headers, b"{").await;
            assert_eq!((answer.status, answer.code()), (401, "authentication.failed".into()), "{login:?}");
            assert_eq!(answer.header("www-authenticate"), "APIKey");
            assert_described(&description, &method, &path, &answer);
            bodies.push(answer.body);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1);
    }
    assert_eq!(server.node.take_calls(), []);
}

#[tokio::test]
async fn the_scheme_of_the_login_may_be_written_in_any_case() {
    let server = FakeServer::start().await;
    let login = format!("Authorization: apikey {KEY_OF_B}");
    assert_eq!(send(server.address, "GET", "/v1/keys", &[&login], b"").await.status, 200);
}

// ---- Connections --------------------------------------------------------------------------

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_sensible_and_drawn_otherwise() {
    let server = FakeServer::start().await;
    let long = format!("X-Request-Id: {}", "x".repeat(129));
    let id_of = async |header: &str| {
        send(server.address, "GET", "/ping", &[header], b"").await.header("x-request-id").to_owned()
    };
    assert_eq!(id_of("X-Request-Id: mine-1").await, "mine-1");
    let drawn = id_of("X-Nothing: 1").await;
    assert_eq!(drawn.len(), 22);
    assert_ne!(id_of("X-Nothing: 1").await, drawn);
    for wrong in ["X-Request-Id: a b", "X-Request-Id:", &long] {
        assert_eq!(id_of(wrong).await.len(), 22, "{wrong}");
    }
    // Refusals have one, too.
    assert_eq!(get(&server, "/nowhere").await.header("x-request-id").len(), 22);
}

#[tokio::test]
async fn a_caller_that_hangs_up_cancels_the_call() {
    let server = FakeServer::start().await;
    server.node.behave(Behaviour::Wait);
    let body = sign_body().to_string();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/ecdsa/sign HTTP/1.1\r\nHost: n\r\n{LOGIN_A}\r\n{JSON}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    server.node.begun.acquire().await.unwrap().forget();
    assert_eq!(server.node.cancelled.available_permits(), 0);
    drop(stream);
    within_seconds(server.node.cancelled.acquire()).await.unwrap().forget();
}

#[tokio::test]
async fn shutdown_lets_running_calls_end_and_takes_no_more() {
    let mut server = FakeServer::start().await;
    server.node.behave(Behaviour::Wait);
    let body = sign_body().to_string();
    let address = server.address;
    let waiting = tokio::spawn(async move {
        send(address, "POST", "/v1/ecdsa/sign", &[LOGIN_A, JSON], body.as_bytes()).await
    });
    server.node.begun.acquire().await.unwrap().forget();
    // An idle connection does not hold the shutdown up.
    let _idle = TcpStream::connect(address).await.unwrap();
    server.stop.cancel();
    within_seconds(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(!server.task.is_finished() && !waiting.is_finished());
    waiting.abort();
    within_seconds(&mut server.task).await.unwrap();
}

async fn within_seconds<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future).await.expect("within seconds")
}
