//! Sessions through a real Redis: alone, mixed with direct links, and with an administrator of it who is
//! the adversary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tsm_crypto::CurveId;
use tsm_node::LinkedNode;
use tsm_storage::Memory;
use tsm_test_servers::Redis;
use tsm_tests::hostile::blames_nobody;
use tsm_tests::{application, flood, join, share};
use tsm_transport::Listen;
use tsm_transport::broker::Broker;
use tsm_transport::broker::redis::{RedisBroker, RedisConfig};
use tsm_types::request::{GenerateKey, SignEcdsa};
use tsm_types::{DerivationPath, ErrorCode, KeyId, PlayerIndex, Reach};

use crate::pipes::{Addresses, ask, identity, make_and_sign, make_and_sign_as, session, start, start_on};

fn broker(redis: &Redis) -> Arc<dyn Broker> {
    Arc::new(RedisBroker::new(RedisConfig::new(redis.url().parse().unwrap())))
}

/// Three nodes that know nobody and listen nowhere.
async fn three(redis: &Redis) -> Vec<LinkedNode> {
    let mut nodes = Vec::new();
    for player in 0..3 {
        nodes.push(start(player, Vec::new(), Some(broker(redis))).await);
    }
    nodes
}

#[tokio::test]
async fn players_that_are_all_dynamic_and_listen_nowhere_work_through_redis() {
    let redis = Redis::start();
    let nodes = three(&redis).await;
    make_and_sign(&nodes, &Addresses::new()).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn one_session_goes_through_redis_and_directly_at_the_same_time() {
    let redis = Redis::start();
    let port = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    // Player 2 has no broker and no port.
    let nodes = [
        start(0, port.clone(), Some(broker(&redis))).await,
        start(1, port, Some(broker(&redis))).await,
        start(2, Vec::new(), None).await,
    ];
    let place = |node: &LinkedNode| node.mpc_address().unwrap().to_string().parse::<Reach>().unwrap();
    let incoming: std::collections::BTreeMap<_, _> = [(PlayerIndex(2), Reach::Incoming)].into();
    let dialled = [0, 1].map(|player| (PlayerIndex(player), place(&nodes[usize::from(player)])));
    let addresses = [(0, incoming.clone()), (1, incoming), (2, dialled.into())].into();
    make_and_sign(&nodes, &addresses).await;
}

#[tokio::test]
async fn s96_an_administrator_who_reads_everything_finds_neither_shares_nor_keys_nor_what_sessions_are_about()
{
    let redis = Redis::start();
    let watch = redis.watch();
    let stores = [(); 3].map(|()| Memory::new());
    let mut nodes = Vec::new();
    for (player, store) in (0..).zip(&stores) {
        nodes.push(start_on(store, player, Vec::new(), Some(broker(&redis))).await);
    }
    make_and_sign_as("canary-session", &nodes, &Addresses::new()).await;
    let key_id = nodes[0].node().list_keys(&application()).await.unwrap()[0].clone();
    let key = nodes[0].node().public_key(&application(), &key_id, &DerivationPath::ROOT).await.unwrap();
    for node in nodes {
        node.stop().await;
    }
    let seen = watch.end();
    let finds = |what: &[u8]| seen.windows(what.len()).any(|window| window == what);
    // It looks at the right place: names of inboxes are seen, and many messages.
    let name = format!("{}", HexOf(&identity(0).public().fingerprint().0));
    assert!(finds(name.as_bytes()) && seen.len() > 300_000, "{}", seen.len());
    for (what, canary) in [
        ("the session", b"canary-session".to_vec()),
        ("the digest", vec![7; 32]),
        ("the key", key_id.as_str().as_bytes().to_vec()),
        ("its public key", key.public_key[key.public_key.len() - 64..][..32].to_vec()),
        ("the application", application().as_str().as_bytes().to_vec()),
    ] {
        assert!(!finds(&canary), "{what} is seen");
    }
    for (player, store) in (0..).zip(&stores) {
        assert!(!finds(&share(player, store, &key_id).await), "the share of player {player} is seen");
        let identity = identity(player);
        let der = identity.der().expose();
        let at = der.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap();
        assert!(!finds(&der[at + 2..at + 34]), "the private key of player {player} is seen");
        assert!(!finds(identity.device_secret().expose().as_slice()), "a device secret is seen");
        assert!(!finds(identity.public().der()), "the public key of player {player} is seen");
    }
}

struct HexOf<'a>(&'a [u8]);

impl std::fmt::Display for HexOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key and a signature, or a reason at every caller who has neither.
async fn right_or_reason(name: &str, nodes: &[LinkedNode]) -> bool {
    let made = ask(nodes, &session(name, &[0, 1, 2]), &Addresses::new(), |node, session| async move {
        let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
        node.generate_key(&application(), request).await
    })
    .await;
    made.values().filter_map(|made| made.as_ref().err()).for_each(|failure| blames_nobody(name, failure));
    let Ok(made) = made.into_values().collect::<Result<Vec<_>, _>>() else { return false };
    let session = session(&format!("{name}-sign"), &[0, 2]);
    let signed = ask(nodes, &session, &Addresses::new(), |node, session| {
        let key_id = made[0].key_id.clone();
        let request = SignEcdsa { session, key_id, path: DerivationPath::ROOT, digest: vec![7; 32] };
        async move { node.sign(&application(), request).await }
    })
    .await;
    signed
        .values()
        .filter_map(|signed| signed.as_ref().err())
        .for_each(|failure| blames_nobody(name, failure));
    if signed.values().any(Result::is_err) {
        return false;
    }
    join(&[7; 32], &signed);
    true
}

/// Until one works: what the adversary left is repaired, and pauses end.
async fn works_again(name: &str, nodes: &[LinkedNode]) {
    for attempt in 0..6 {
        if right_or_reason(&format!("{name}-{attempt}"), nodes).await {
            return;
        }
    }
    panic!("no session works after {name}");
}

#[tokio::test]
async fn s33_sessions_under_a_hostile_administrator_end_rightly_or_with_a_reason_and_the_next_works() {
    let redis = Redis::start();
    let nodes = three(&redis).await;
    make_and_sign(&nodes, &Addresses::new()).await;
    type Trick = fn(&Redis);
    let tricks: [(&str, Trick); 5] = [
        ("flush", |redis| drop(redis.command("FLUSHALL"))),
        ("remove", |redis| {
            redis.keys().iter().for_each(|key| drop(redis.try_command(&format!("UNLINK {key}"))))
        }),
        ("trim", |redis| {
            redis.keys().iter().for_each(|key| drop(redis.try_command(&format!("XTRIM {key} MAXLEN 0"))));
        }),
        ("junk", |redis| {
            for key in redis.keys() {
                for junk in ["m junk", "x y", "m 1 m 2"] {
                    drop(redis.try_command(&format!("XADD {key} * {junk}")));
                }
            }
        }),
        // Every message that is still there once more, and to everybody, behind those that came later.
        ("mix", |redis| redis.mix_streams()),
    ];
    for (name, trick) in tricks {
        let hostile = Arc::new(AtomicBool::new(true));
        let session = right_or_reason(name, &nodes);
        let tricking = {
            let (hostile, url) = (hostile.clone(), redis.url());
            std::thread::spawn(move || {
                let redis = Redis::at(&url);
                for _ in 0..40 {
                    if !hostile.load(Ordering::Relaxed) {
                        break;
                    }
                    trick(&redis);
                    std::thread::sleep(Duration::from_millis(50));
                }
            })
        };
        session.await;
        hostile.store(false, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| tricking.join().unwrap()).await.unwrap();
        works_again(&format!("after-{name}"), &nodes).await;
    }
}

#[tokio::test]
async fn a_session_in_which_redis_is_killed_ends_at_all_callers_and_the_next_one_works() {
    let mut redis = Redis::start();
    let nodes = three(&redis).await;
    make_and_sign(&nodes, &Addresses::new()).await;
    let killed = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        redis.kill();
        // A session does not wait for a broker for ever: this one ends by its own times.
        tokio::time::sleep(Duration::from_millis(300)).await;
        redis.restart();
    };
    tokio::join!(right_or_reason("killed", &nodes), killed);
    works_again("restarted", &nodes).await;
}

/// Eight signatures, two at a time, each of which is there or has a reason at every signer without it.
async fn sign_right_or_reason(name: &str, nodes: &[LinkedNode], key: &KeyId) {
    let sign = async |number: u8| {
        let session = session(&format!("{name}-{number}"), &[0, 2]);
        let signed = ask(nodes, &session, &Addresses::new(), |node, session| {
            let (key_id, path) = (key.clone(), DerivationPath::ROOT);
            let request = SignEcdsa { session, key_id, path, digest: vec![7; 32] };
            async move { node.sign(&application(), request).await }
        })
        .await;
        signed
            .values()
            .filter_map(|signed| signed.as_ref().err())
            .for_each(|failure| blames_nobody(name, failure));
        if signed.values().all(Result::is_ok) {
            join(&[7; 32], &signed);
        }
    };
    for number in (0..8).step_by(2) {
        tokio::join!(sign(number), sign(number + 1));
    }
}

#[tokio::test]
async fn s33_streams_that_vanish_and_a_redis_that_is_killed_while_signatures_are_made_are_named() {
    let mut redis = Redis::start();
    let nodes = three(&redis).await;
    make_and_sign(&nodes, &Addresses::new()).await;
    let key = nodes[0].node().list_keys(&application()).await.unwrap()[0].clone();
    let url = redis.url();
    let vanishing = tokio::task::spawn_blocking(move || {
        let redis = Redis::at(&url);
        for _ in 0..20 {
            redis.keys().iter().for_each(|key| drop(redis.try_command(&format!("UNLINK {key}"))));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    sign_right_or_reason("vanishing", &nodes, &key).await;
    vanishing.await.unwrap();
    works_again("after-vanishing", &nodes).await;

    // What is asked of it from now on is not answered before it is dead.
    redis.command("CLIENT PAUSE 10000 ALL");
    let killed = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        redis.kill();
        redis.restart();
    };
    tokio::join!(sign_right_or_reason("killed", &nodes, &key), killed);
    works_again("after-killed", &nodes).await;
}

#[test]
fn s105_a_flood_of_junk_in_streams_costs_no_memory_and_the_next_session_works() {
    flood::alone("redis::a_flood_of_junk_in_streams");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above"]
async fn a_flood_of_junk_in_streams() {
    let count = flood::number_of_messages();
    let redis = Redis::start();
    let nodes = three(&redis).await;
    make_and_sign(&nodes, &Addresses::new()).await;
    let (before, keys, url) = (flood::resident(), redis.keys(), redis.url());
    let flooding = move || {
        let redis = Redis::at(&url);
        redis.append_to_all(&keys, (0..count).map(flood::junk));
        // Who reads it all comes to what is not junk later.
        while keys.iter().any(|key| redis.length_of(key) > 0) {
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let begun = std::time::Instant::now();
    tokio::task::spawn_blocking(flooding).await.unwrap();
    println!("read within {:?}", begun.elapsed());
    let grown = flood::resident().saturating_sub(before);
    println!("{count} junk messages: this process, with three nodes, grew by {} KiB", grown / 1024);
    assert!(grown < 64 << 20, "{grown}");
    make_and_sign_as("after", &nodes, &Addresses::new()).await;
}

#[tokio::test]
async fn without_redis_a_session_names_it_the_players_and_what_to_do() {
    let mut redis = Redis::start();
    let nodes = three(&redis).await;
    redis.kill();
    let mut session = session("nobody", &[0, 1, 2]);
    session.connect_timeout = Some(Duration::from_secs(3));
    let answers = ask(&nodes, &session, &Addresses::new(), |node, session| async move {
        let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
        node.generate_key(&application(), request).await
    })
    .await;
    for (player, answer) in answers {
        let failure = answer.unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionPlayersMissing, "{failure}");
        assert_eq!(failure.players.len(), 2, "{failure}");
        for concern in &failure.players {
            let text = format!("player {player}: {failure} {concern:?}");
            assert!(concern.note.contains(&format!("Redis at 127.0.0.1:{}", redis.port())), "{text}");
            assert!(concern.note.contains("check ServerURL"), "{text}");
        }
    }
}
