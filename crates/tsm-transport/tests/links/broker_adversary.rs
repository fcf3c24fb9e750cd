//! A broker that is the adversary: it can withhold, and nothing else.
//!
//! Time passes by itself here: silence costs nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tsm_crypto::identity::Fingerprint;
use tsm_transport::broker::memory::{Delivery, Hand, MemoryBroker, Post};
use tsm_transport::broker::{Broker, Inbox, MAX_MESSAGE_BYTES};
use tsm_transport::{Address, DownReason, Limits, LinkEvent, Links, PeerStatus, Route, SecureLinks};

use crate::broker::{by_broker, with};
use crate::common::{Node, eventually, limits, public};

/// What each side has to get through to the other.
const FRAMES: u8 = 4;
/// More virtual time than any recovery here takes: a handshake that times out twice, and the pauses.
const LONG: Duration = Duration::from_secs(60);

/// Sends as the engine does, all of it after every `Up`, until both have everything.
pub(crate) async fn exchange(a: &mut Node<SecureLinks>, b: &mut Node<SecureLinks>) {
    let (mut at_a, mut at_b) = (BTreeSet::new(), BTreeSet::new());
    let exchanging = async {
        while at_a.len() < usize::from(FRAMES) || at_b.len() < usize::from(FRAMES) {
            tokio::select! {
                event = a.events.recv() => react(event.unwrap(), a, &mut at_a),
                event = b.events.recv() => react(event.unwrap(), b, &mut at_b),
            }
        }
    };
    assert!(timeout(LONG, exchanging).await.is_ok(), "{at_a:?} {at_b:?}");
}

fn react(event: LinkEvent, node: &Node<SecureLinks>, received: &mut BTreeSet<u8>) {
    match event {
        LinkEvent::Up { peer, .. } => {
            for number in 0..FRAMES {
                // If it is down again, another `Up` follows.
                let _ = node.links.send(&peer, 0, vec![number; 30_000]);
            }
        }
        LinkEvent::Frame { bytes, .. } => {
            assert!(bytes.len() == 30_000 && bytes[0] < FRAMES && bytes.iter().all(|byte| *byte == bytes[0]));
            received.insert(bytes[0]);
        }
        LinkEvent::Down { .. } | LinkEvent::Parked { .. } => {}
    }
}

/// Two nodes that expect each other, over one connection, and a bystander.
async fn run(broker: &MemoryBroker) -> [Node<SecureLinks>; 3] {
    let [mut a, mut b, other] = [1, 2, 3].map(|seed| by_broker(broker, seed));
    let address = Address { connection_pool_size: 1, ..Address::broker() };
    std::mem::forget(b.links.expect(&a.key, Route::Wait));
    std::mem::forget(a.links.expect(&b.key, Route::Dial(address)));
    exchange(&mut a, &mut b).await;
    [a, b, other]
}

/// Does something to one message: the `at`-th of all, counted from 0.
fn at(at: usize, mut what: impl FnMut(Post) -> Vec<Delivery> + Send + 'static) -> Hand {
    let mut seen = 0;
    Box::new(move |post| {
        seen += 1;
        if seen - 1 == at { what(post) } else { vec![Delivery::at_once(post)] }
    })
}

type Trick = fn(Post) -> Vec<Delivery>;

fn lose(_: Post) -> Vec<Delivery> {
    Vec::new()
}

fn delay_a_little(post: Post) -> Vec<Delivery> {
    vec![Delivery { after: Duration::from_millis(500), post }]
}

fn delay_for_too_long(post: Post) -> Vec<Delivery> {
    vec![Delivery { after: Duration::from_secs(9), post }]
}

fn repeat(post: Post) -> Vec<Delivery> {
    let late = Delivery { after: Duration::from_millis(300), post: post.clone() };
    vec![Delivery::at_once(post.clone()), Delivery::at_once(post), late]
}

fn cut_short(mut post: Post) -> Vec<Delivery> {
    post.message.truncate(post.message.len() / 2);
    vec![Delivery::at_once(post)]
}

fn cut_the_last_byte(mut post: Post) -> Vec<Delivery> {
    post.message.pop();
    vec![Delivery::at_once(post)]
}

fn change_the_last_byte(mut post: Post) -> Vec<Delivery> {
    *post.message.last_mut().unwrap() ^= 1;
    vec![Delivery::at_once(post)]
}

fn change_the_number(mut post: Post) -> Vec<Delivery> {
    post.message[18] ^= 3;
    vec![Delivery::at_once(post)]
}

fn change_the_kind(mut post: Post) -> Vec<Delivery> {
    post.message[1] = post.message[1] % 6 + 1;
    vec![Delivery::at_once(post)]
}

fn deliver_to_another_as_well(post: Post) -> Vec<Delivery> {
    let to = Inbox::Player(public(3).fingerprint());
    vec![Delivery::at_once(Post { to, ..post.clone() }), Delivery::at_once(post)]
}

fn deliver_to_another(post: Post) -> Vec<Delivery> {
    vec![Delivery::at_once(Post { to: Inbox::Player(public(3).fingerprint()), ..post })]
}

fn end_the_pipe(post: Post) -> Vec<Delivery> {
    let mut reset = post.clone();
    reset.message.truncate(26);
    reset.message[1] = 6;
    reset.message[18..].fill(0);
    vec![Delivery::at_once(reset), Delivery::at_once(post)]
}

fn add_junk(post: Post) -> Vec<Delivery> {
    let junk = [b"".as_slice(), b"junk", &[1; 26], &[1; MAX_MESSAGE_BYTES], &[1; MAX_MESSAGE_BYTES + 1]];
    let junk = junk.map(|message| Delivery::at_once(Post { to: post.to, message: message.to_vec() }));
    junk.into_iter().chain([Delivery::at_once(post)]).collect()
}

#[tokio::test(start_paused = true)]
async fn s33_whatever_a_broker_does_to_any_one_message_everything_gets_through() {
    let counted = Arc::new(Mutex::new(0));
    let broker = MemoryBroker::new();
    let count = counted.clone();
    broker.set_hand(Box::new(move |post| {
        *count.lock().unwrap() += 1;
        vec![Delivery::at_once(post)]
    }));
    drop(run(&broker).await);
    let messages = *counted.lock().unwrap();
    // Open, accept, three flights of TLS, hellos, and what is said after them.
    assert!((12..80).contains(&messages), "{messages}");

    let tricks: &[Trick] = &[
        lose,
        delay_a_little,
        delay_for_too_long,
        repeat,
        cut_short,
        cut_the_last_byte,
        change_the_last_byte,
        change_the_number,
        change_the_kind,
        deliver_to_another_as_well,
        deliver_to_another,
        end_the_pipe,
        add_junk,
    ];
    for trick in tricks {
        for message in 0..messages {
            let broker = MemoryBroker::new();
            broker.set_hand(at(message, *trick));
            let [_, _, other] = run(&broker).await;
            assert_eq!(other.links.status(&public(1)), PeerStatus::Unexpected);
            assert_eq!(other.links.strangers(), []);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_messages_in_the_wrong_order_do_not_even_end_a_connection() {
    // Beyond the opening, in which the order is a matter of who has spoken.
    for first in 6..12 {
        let broker = MemoryBroker::new();
        broker.set_hand(at(first, |post| vec![Delivery { after: Duration::from_millis(1), post }]));
        let [mut a, mut b, _] = run(&broker).await;
        a.nothing_for(Duration::from_secs(1)).await;
        b.nothing_for(Duration::ZERO).await;
    }
}

/// Sends frames 1 to 4, one message each, which come late by so many milliseconds; `None` never.
async fn late(broker: &MemoryBroker, a: &Node<SecureLinks>, b: &Node<SecureLinks>, late: [Option<u64>; 4]) {
    // Until all that was said before has arrived.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut late = late.into_iter();
    let player = b.key.fingerprint();
    broker.set_hand(Box::new(move |post| {
        let is_data = matches!(post.to, Inbox::Node(to, _) if to == player) && post.message[1] == 3;
        let after = if is_data { late.next().unwrap_or(Some(0)) } else { Some(0) };
        after.map(|after| Delivery { after: Duration::from_millis(after), post }).into_iter().collect()
    }));
    for number in 1..=4 {
        a.links.send(&b.key, 0, vec![number]).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s97_a_lost_message_ends_the_link_after_two_seconds_and_it_is_made_anew() {
    let broker = MemoryBroker::new();
    let [mut a, mut b, _] = run(&broker).await;
    late(&broker, &a, &b, [Some(0), None, Some(0), Some(0)]).await;
    assert_eq!(b.frame().await, [1]);
    let began = Instant::now();
    assert_eq!(b.down().await, DownReason::Lost("the broker lost a message".to_owned()));
    assert!((1900..2100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(matches!(a.down().await, DownReason::Lost(_)));
    a.up().await;
    b.up().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_each_missed_for_less_than_two_seconds_arrive_in_order_and_end_nothing() {
    let broker = MemoryBroker::new();
    let [mut a, mut b, _] = run(&broker).await;
    // The third is missed from when the first has come.
    late(&broker, &a, &b, [Some(1900), Some(0), Some(3700), Some(0)]).await;
    for number in 1..=4 {
        assert_eq!(b.frame().await, [number]);
    }
    a.nothing_for(Duration::from_secs(20)).await;
    b.nothing_for(Duration::ZERO).await;
}

/// All that passes the broker from now on.
fn record(broker: &MemoryBroker) -> Arc<Mutex<Vec<Post>>> {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let record = recorded.clone();
    broker.set_hand(Box::new(move |post| {
        record.lock().unwrap().push(post.clone());
        vec![Delivery::at_once(post)]
    }));
    recorded
}

#[tokio::test(start_paused = true)]
async fn s33_s97_what_an_ended_pipe_carried_changes_nothing_when_it_comes_again() {
    let broker = MemoryBroker::new();
    let recorded = record(&broker);
    let [mut a, mut b, _] = run(&broker).await;
    let recorded = std::mem::take(&mut *recorded.lock().unwrap());
    broker.go_away();
    for node in [&mut a, &mut b] {
        assert!(matches!(node.down().await, DownReason::Lost(_)));
    }
    broker.come_back();
    for node in [&mut a, &mut b] {
        node.up().await;
    }
    let failed = b.links.counts().failed_handshakes;
    let unknown = a.links.broker_counts().unwrap().unknown;
    let of_a =
        recorded.iter().filter(|post| matches!(post.to, Inbox::Node(to, _) if to == a.key.fingerprint()));
    let of_a = of_a.count() as u64;
    for post in recorded {
        broker.inject(post).await;
    }
    a.nothing_for(Duration::from_secs(20)).await;
    b.nothing_for(Duration::ZERO).await;
    // The dialler knows the pipe no longer; the listener takes it for a new one, on which nobody is proven.
    assert!(a.links.broker_counts().unwrap().unknown >= unknown + of_a && of_a > 5, "{of_a}");
    assert_eq!(b.links.counts().failed_handshakes, failed + 1);
    assert_eq!(b.links.strangers(), []);
}

#[tokio::test(start_paused = true)]
async fn s33_a_whole_conversation_replayed_changes_nothing() {
    let broker = MemoryBroker::new();
    let recorded = record(&broker);
    let [mut a, mut b, _] = run(&broker).await;
    let recorded = recorded.lock().unwrap().clone();
    for post in recorded {
        broker.inject(post).await;
    }
    a.nothing_for(Duration::from_secs(20)).await;
    b.nothing_for(Duration::ZERO).await;
    let (at_a, at_b) = (a.links.broker_counts().unwrap(), b.links.broker_counts().unwrap());
    assert!(at_a.repeated > 5 && at_b.repeated > 5, "{at_a:?} {at_b:?}");
    assert_eq!((at_a.malformed, at_a.beyond, at_b.malformed, at_b.beyond), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn s96_what_passes_a_broker_shows_neither_frames_nor_keys_nor_processes() {
    let broker = MemoryBroker::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = seen.clone();
    broker.set_hand(Box::new(move |post| {
        see.lock().unwrap().extend_from_slice(&post.message);
        vec![Delivery::at_once(post)]
    }));
    let [a, b, _] = run(&broker).await;
    let bytes = seen.lock().unwrap().clone();
    // All frames in both directions.
    assert!(bytes.len() > 2 * 4 * 30_000);
    for secret in [[3u8; 64].as_slice(), a.key.der(), b.key.der(), &a.links.process().0, &b.links.process().0]
    {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test(start_paused = true)]
async fn s98_a_broker_that_leads_to_another_player_is_found_out_and_the_player_is_still_dialled() {
    let broker = MemoryBroker::new();
    let [a, b, other] = [1, 2, 3].map(|seed| by_broker(&broker, seed));
    let inboxes = [&b, &other].map(|node| Inbox::Player(node.key.fingerprint()));
    broker.set_hand(Box::new(move |mut post| {
        if post.to == inboxes[0] {
            post.to = inboxes[1];
        }
        vec![Delivery::at_once(post)]
    }));
    let _expects = a.links.expect(&b.key, Route::Dial(Address::broker()));
    let led_astray = |status| {
        let PeerStatus::Dialling { last_error: Some(error) } = status else { return false };
        error.contains("the message broker led to") && error.contains(&other.key.fingerprint().to_string())
    };
    eventually("who led astray is told", || led_astray(a.links.status(&b.key))).await;
    assert_eq!(other.links.strangers(), []);
    broker.set_hand(Box::new(|post| vec![Delivery::at_once(post)]));
    let _expected = b.links.expect(&a.key, Route::Wait);
    eventually("the player itself", || matches!(a.links.status(&b.key), PeerStatus::Up { .. })).await;
}

/// An `open` of `docs/links.md`.
fn open(number: u32, claimed: Fingerprint) -> Vec<u8> {
    let mut pipe = [9; 16];
    pipe[..4].copy_from_slice(&number.to_le_bytes());
    [[1, 1].as_slice(), &pipe, &[0; 8], &claimed.0, &pipe].concat()
}

#[tokio::test(start_paused = true)]
async fn s33_s105_floods_of_junk_and_of_strangers_do_not_keep_a_peer_out() {
    let broker = MemoryBroker::new();
    let few = || Limits { handshakes: 16, ..limits() };
    let mut node = with(&broker, 2, Vec::new(), few());
    let to = Inbox::Player(node.key.fingerprint());
    for number in 0..20_000u32 {
        let mut claimed = Fingerprint([0; 32]);
        claimed.0[..4].copy_from_slice(&number.to_le_bytes());
        let junk = [vec![1; 25], vec![1, 3, 0, 0], open(number, claimed), vec![7; MAX_MESSAGE_BYTES + 1]];
        let message = junk[number as usize % 4].clone();
        broker.inject(Post { to, message }).await;
    }
    let counts = node.links.broker_counts().unwrap();
    assert!(counts.malformed > 10_000, "{counts:?}");
    let mut known = by_broker(&broker, 1);
    std::mem::forget(node.links.expect(&known.key, Route::Wait));
    std::mem::forget(known.links.expect(&node.key, node.route.clone()));
    exchange(&mut known, &mut node).await;
    assert_eq!(node.links.strangers(), []);
}

#[tokio::test(start_paused = true)]
async fn a_player_that_starts_later_is_reached_without_a_new_attempt() {
    let broker = MemoryBroker::new();
    let mut a = by_broker(&broker, 1);
    let began = Instant::now();
    std::mem::forget(a.links.expect(&public(2), Route::Dial(Address::broker())));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut b = by_broker(&broker, 2);
    std::mem::forget(b.links.expect(&a.key, Route::Wait));
    exchange(&mut a, &mut b).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn several_nodes_of_one_player_share_its_inbox() {
    let broker = MemoryBroker::new();
    let inbox = Inbox::Player(public(2).fingerprint());
    let (mut first, mut second) = (broker.subscribe(vec![inbox]), broker.subscribe(vec![inbox]));
    for number in 0..4 {
        broker.publish(inbox, vec![number]).await.unwrap();
    }
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_ne!(first.recv().await, second.recv().await);
}
