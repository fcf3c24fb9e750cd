//! Whole sessions over a real RabbitMQ that is the adversary: it can withhold, and nothing else.
//!
//! The same hands are tried at every message of every protocol in `tests/tests/all/adversary.rs`; here the
//! adversary is a program beside the nodes, with a connection of its own. `TSM_JUNK=1000000` sends so many junk messages.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that meets the unexpected fails")]

mod bridge;
mod nodes;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tsm_test_servers::RabbitMq;
use tsm_tests::flood;
use tsm_tests::hostile::{TRICKS, Trick, blames_nobody, honest, once};
use tsm_transport::broker::memory::{Delivery, Hand, Post};
use tsm_types::{Failure, KeyId};

use nodes::Net;

#[track_caller]
fn right_or_named(what: &str, outcome: Result<(), Vec<Failure>>) {
    for failure in outcome.err().into_iter().flatten() {
        blames_nobody(what, &failure);
        println!("{what}: {failure}");
    }
}

async fn shared() -> &'static RabbitMq {
    tokio::task::spawn_blocking(RabbitMq::shared).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s96_s97_a_real_broker_sees_neither_shares_nor_keys_nor_digests_nor_sessions() {
    let net = Net::start(shared().await).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = seen.clone();
    net.bridge.set_hand(Box::new(move |post| {
        see.lock().unwrap().extend_from_slice(&post.message);
        vec![Delivery::at_once(post)]
    }));
    let key = net.make_key("canary-of-key-generation").await.unwrap();
    let digest = [0xc5; 32];
    net.sign("canary-of-signing", &key, &digest).await.unwrap();

    let seen = seen.lock().unwrap().clone();
    // All of a pair's set-up and of a signature went through.
    assert!(seen.len() > 2 * 40_000, "{}", seen.len());
    let canaries = net.canaries(&key).await.into_iter().chain([
        ("a session".to_owned(), b"canary-of-key-generation".to_vec()),
        ("a session".to_owned(), b"canary-of-signing".to_vec()),
        ("the digest".to_owned(), digest.to_vec()),
    ]);
    for (what, canary) in canaries {
        assert!(!seen.windows(canary.len()).any(|window| window == canary), "{what}");
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_s97_whatever_a_real_broker_does_to_a_message_nobody_is_blamed_and_the_next_session_works() {
    // Most of the time is spent waiting for what is lost: side by side it is a third of it.
    let networks = TRICKS.chunks(3).map(|tricks| tokio::spawn(try_each(tricks)));
    for network in networks.collect::<Vec<_>>() {
        network.await.unwrap();
    }
}

async fn try_each(tricks: &[(&str, Trick)]) {
    let net = Net::start(shared().await).await;
    let key = net.make_key("first").await.unwrap();
    net.sign("warm", &key, &[1; 32]).await.unwrap();
    for (name, trick) in tricks {
        // At messages of signing: the first, and one in the middle.
        for at in [0, 3] {
            net.bridge.set_hand(once(at, *trick, nodes::inbox(2)));
            let what = format!("{name} at message {at} of a signature");
            let id = what.replace(' ', "-");
            right_or_named(&what, net.sign(&id, &key, &[2; 32]).await);
            net.bridge.set_hand(honest());
            net.sign(&format!("{id}-after"), &key, &[3; 32]).await.unwrap();
        }
        let what = format!("{name} at a message of key generation");
        let id = what.replace(' ', "-");
        net.bridge.set_hand(once(5, *trick, nodes::inbox(2)));
        right_or_named(&what, net.make_key(&id).await.map(drop));
        net.bridge.set_hand(honest());
        net.make_key(&format!("{id}-after")).await.unwrap();
    }
    net.stop().await;
}

#[test]
fn s105_a_flood_of_junk_costs_no_memory_and_the_next_session_works() {
    flood::alone("a_flood_of_junk");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above"]
async fn a_flood_of_junk() {
    let count = flood::number_of_messages();
    let net = Net::start(shared().await).await;
    let key = net.make_key("first").await.unwrap();
    net.sign("warm", &key, &[1; 32]).await.unwrap();
    let before = flood::resident();
    let nodes = net.bridge.nodes();
    for first in (0..count).step_by(64) {
        let mut under_way = tokio::task::JoinSet::new();
        for number in first..count.min(first + 64) {
            let player = nodes::inbox(u16::try_from(number % 3).unwrap());
            let to = if number % 2 == 0 { player } else { nodes[number as usize % nodes.len()] };
            let (bridge, post) = (net.bridge.clone(), Post { to, message: flood::junk(number) });
            under_way.spawn(async move { bridge.inject(post).await });
        }
        under_way.join_all().await;
    }
    let grown = flood::resident().saturating_sub(before);
    println!("{count} junk messages: this process, with three nodes, grew by {} KiB", grown / 1024);
    assert!(grown < 64 << 20, "{grown}");
    net.sign("after", &key, &[2; 32]).await.unwrap();
    net.stop().await;
}

/// Tells when it sees the fourth message, and lets those that come from then on wait a moment: what is done
/// now is done in the middle of the session.
fn telling_of_the_middle() -> (Hand, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    let (mut seen, mut tell) = (0, Some(tell));
    let hand: Hand = Box::new(move |post| {
        seen += 1;
        if seen < 4 {
            return vec![Delivery::at_once(post)];
        }
        if let Some(tell) = tell.take() {
            tell.send(()).unwrap();
        }
        vec![Delivery { after: Duration::from_millis(300), post }]
    });
    (hand, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_s97_deleted_queues_and_a_killed_broker_are_named_and_the_next_session_works() {
    let server = Arc::new(tokio::task::spawn_blocking(RabbitMq::start).await.unwrap());
    let mut net = Net::start(&server).await;
    let key = net.make_key("first").await.unwrap();
    net.sign("warm", &key, &[1; 32]).await.unwrap();
    // Without their broker sessions come to nothing: no need to wait for it.
    net.connect_timeout = Some(Duration::from_secs(5));
    for signing in [false, true] {
        let (hand, middle) = telling_of_the_middle();
        net.bridge.set_hand(hand);
        let deleted = async {
            middle.await.unwrap();
            net.bridge.delete_queues().await;
            net.bridge.set_hand(honest());
        };
        let (outcome, ()) = tokio::join!(session(&net, "deleted", &key, signing), deleted);
        right_or_named(&format!("queues deleted, signing: {signing}"), outcome);
        net.sign_until_it_works(&key).await;

        let (hand, middle) = telling_of_the_middle();
        net.bridge.set_hand(hand);
        let killed = async {
            middle.await.unwrap();
            let server = server.clone();
            tokio::task::spawn_blocking(move || server.kill()).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(session(&net, "killed", &key, signing), killed);
        right_or_named(&format!("broker killed, signing: {signing}"), outcome);
        let again = server.clone();
        tokio::task::spawn_blocking(move || again.start_again()).await.unwrap();
        net.bridge_again().await;
        net.sign_until_it_works(&key).await;
    }
    net.stop().await;
}

/// A signature or a new key.
async fn session(net: &Net, id: &str, key: &KeyId, signing: bool) -> Result<(), Vec<Failure>> {
    if signing {
        net.sign(&format!("{id}-signing"), key, &[5; 32]).await
    } else {
        net.make_key(id).await.map(drop)
    }
}
