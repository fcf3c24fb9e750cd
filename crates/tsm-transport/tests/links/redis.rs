//! Links through a real Redis: the suite, its comings and goings, the least rights, and an administrator
//! who is the adversary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ::redis::{Cmd, RedisResult, Value, cmd};
use tokio::time::{Instant, sleep, timeout};
use tsm_test_servers::{Redis, RedisCluster};
use tsm_transport::broker::redis::{RedisBroker, RedisConfig, names};
use tsm_transport::broker::{Arrival, Broker, Inbox, MAX_MESSAGE_BYTES};
use tsm_transport::{Address, DownReason, Links, LinksConfig, PeerStatus, Roots, Route, SecureLinks};

use crate::broker::frames_arrive_in_order;
use crate::broker_adversary::exchange;
use crate::common::{Node, eventually, identity, limits, public};
use crate::suite::{Cluster, run_suite};
use crate::websocket::Authority;

/// A Redis may have to be found again, with all pauses.
const PATIENCE: Duration = Duration::from_secs(40);

impl Cluster for Redis {
    fn node(&mut self, seed: u64) -> Node {
        let Node { key, route, events, links, patience } = node(&config(&self.url()), seed);
        Node { key, route, events, links, patience }
    }
}

mod conformance {
    use super::*;

    run_suite!(Redis::start(), #[tokio::test]);
}

fn config(url: &str) -> RedisConfig {
    RedisConfig::new(url.parse().unwrap())
}

/// A node without a port.
fn node(config: &RedisConfig, seed: u64) -> Node<SecureLinks> {
    let start = LinksConfig {
        identity: identity(seed),
        player: u16::try_from(seed).unwrap(),
        listeners: Vec::new(),
        broker: Some(Arc::new(RedisBroker::new(config.clone()))),
        static_peers: Default::default(),
        web_roots: Default::default(),
        limits: limits(),
    };
    let (links, events) = SecureLinks::start(start).unwrap();
    Node { key: public(seed), route: Route::Dial(Address::broker()), events, links, patience: PATIENCE }
}

/// The first dials the second, for as long as the test lasts.
fn meet(a: &Node<SecureLinks>, b: &Node<SecureLinks>) {
    std::mem::forget(b.links.expect(&a.key, Route::Wait));
    std::mem::forget(a.links.expect(&b.key, Route::Dial(Address::broker())));
}

async fn eventually_says(node: &Node<SecureLinks>, seed: u64, texts: &[&str]) -> String {
    let told = || node.links.status(&public(seed)).to_string();
    eventually(&format!("{texts:?}"), || texts.iter().all(|text| told().contains(text))).await;
    told()
}

#[tokio::test]
async fn a_redis_that_was_killed_is_in_use_again_when_it_is_back() {
    let mut redis = Redis::start();
    let config = config(&redis.url());
    let (mut a, mut b) = (node(&config, 1), node(&config, 2));
    meet(&a, &b);
    a.up().await;
    b.up().await;
    redis.kill();
    for node in [&mut a, &mut b] {
        let DownReason::Lost(why) = node.down().await else { panic!() };
        assert!(why.contains(&format!("Redis at 127.0.0.1:{}", redis.port())), "{why}");
    }
    redis.restart();
    exchange(&mut a, &mut b).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named_and_used_when_it_comes() {
    let mut redis = Redis::start();
    redis.kill();
    let config = config(&redis.url());
    let (mut a, mut b) = (node(&config, 1), node(&config, 2));
    meet(&a, &b);
    let place = format!("Redis at 127.0.0.1:{}", redis.port());
    eventually_says(&a, 2, &[&place, "could not be reached", "check ServerURL"]).await;
    // Who only waits is told, too.
    eventually_says(&b, 1, &[&place, "could not be reached"]).await;
    redis.restart();
    exchange(&mut a, &mut b).await;
}

#[tokio::test]
async fn rediss_trusts_a_named_authority_and_neither_another_one_nor_another_name() {
    let authority = Authority::of("localhost");
    let (_redis, port) = Redis::start_with_tls(&authority.pem[0], &authority.pem[1]);
    let url = format!("rediss://localhost:{port}");
    let by_tls =
        |seed, url: &str, roots: &Roots| node(&RedisConfig { roots: roots.clone(), ..config(url) }, seed);
    let (mut a, mut b) = (by_tls(1, &url, &authority.roots), by_tls(2, &url, &authority.roots));
    meet(&a, &b);
    exchange(&mut a, &mut b).await;
    let by_address = format!("rediss://127.0.0.1:{port}");
    for (url, roots, wrong) in [
        (&url, &Authority::of("localhost").roots, "BadSignature"),
        (&url, &Roots::default(), "UnknownIssuer"),
        (&by_address, &authority.roots, "not valid for name"),
    ] {
        let stranger = by_tls(3, url, roots);
        let _lease = stranger.links.expect(&public(1), stranger.route.clone());
        eventually_says(&stranger, 1, &["no TLS came about", wrong, "RootCAFile"]).await;
    }
}

#[tokio::test]
async fn s107_a_wrong_password_is_told_and_not_shown() {
    let redis = Redis::start();
    redis.make_user("known", "right", "~* +@all");
    for url in [redis.url_of("known", "canary"), redis.url_of("canary", "canary")] {
        let a = node(&config(&url), 1);
        std::mem::forget(a.links.expect(&public(2), a.route.clone()));
        let told =
            eventually_says(&a, 2, &["Redis at 127.0.0.1", "WRONGPASS", "the password in ServerURL"]).await;
        assert!(!told.contains("canary"), "{told}");
    }
    redis.command("ACL SETUSER default off");
    let a = node(&config(&redis.url()), 1);
    std::mem::forget(a.links.expect(&public(2), a.route.clone()));
    eventually_says(&a, 2, &["NOAUTH"]).await;
}

/// A user with the least rights of the player with this seed.
fn user_of(redis: &Redis, seed: u64) -> String {
    let user = format!("player{seed}");
    redis.make_user(&user, "password", &names::acl_rules(public(seed).fingerprint()));
    redis.url_of(&user, "password")
}

fn refused<T: std::fmt::Debug>(what: &str, answer: RedisResult<T>) {
    let error = answer.expect_err(what);
    assert_eq!(error.code(), Some("NOPERM"), "{what}: {error}");
}

fn words(text: &str) -> Cmd {
    let mut command = Cmd::new();
    command.arg(text.split_whitespace().collect::<Vec<_>>());
    command
}

#[tokio::test]
async fn the_least_rights_are_enough_and_reach_no_others_inbox() {
    let redis = Redis::start();
    let urls = [1, 2].map(|seed| user_of(&redis, seed));
    let (mut a, mut b) = (node(&config(&urls[0]), 1), node(&config(&urls[1]), 2));
    meet(&a, &b);
    exchange(&mut a, &mut b).await;

    let mut as_a = ::redis::Client::open(urls[0].as_str()).unwrap().get_connection().unwrap();
    let own = names::own_keys(a.key.fingerprint()).replace('*', "player");
    let others: Vec<String> = redis.keys().into_iter().filter(|key| !key.contains(&own[4..70])).collect();
    assert_eq!(others.len(), 2, "{others:?}");
    for key in &others {
        for command in [
            "XREADGROUP GROUP nodes spy COUNT 1 STREAMS {} >",
            "XGROUP CREATE {} spies 0",
            "XTRIM {} MAXLEN 0",
            "PEXPIRE {} 0",
            "UNLINK {}",
        ] {
            refused(command, words(&command.replace("{}", key)).query::<Value>(&mut as_a));
        }
        let added = words(&format!("XADD {key} NOMKSTREAM * m junk")).query::<Option<String>>(&mut as_a);
        assert!(added.unwrap().is_some());
    }
    // Nor by any command that it does not need, on its own inbox or at all.
    for command in [
        "XRANGE {} - +",
        "XREAD STREAMS {} 0",
        "XINFO STREAM {}",
        "XDEL {} 1-1",
        "XGROUP DESTROY {} nodes",
        "DEL {}",
        "RENAME {} x",
        "COPY {} x",
        "DUMP {}",
        "KEYS *",
        "SCAN 0",
        "MONITOR",
        "FLUSHALL",
        "ACL LIST",
        "CONFIG GET *",
        "SUBSCRIBE x",
        "EVAL return(1) 0",
        "CLIENT LIST",
    ] {
        refused(command, words(&command.replace("{}", &own)).query::<Value>(&mut as_a));
    }
    // Both are as they were.
    a.nothing_for(Duration::from_millis(100)).await;
    exchange_anew(&mut a, &mut b, "what was refused").await;
}

#[tokio::test]
async fn a_missing_right_is_told_by_name() {
    let redis = Redis::start();
    redis.make_user(
        "reader",
        "x",
        "resetkeys -@all ~tsm:* +xreadgroup +xgroup|create +xtrim +pexpire +unlink",
    );
    redis.make_user("writer", "x", "resetkeys -@all %W~tsm:* +xadd");
    for user in ["reader", "writer"] {
        let a = node(&config(&redis.url_of(user, "x")), 1);
        std::mem::forget(a.links.expect(&public(2), a.route.clone()));
        eventually_says(&a, 2, &["NOPERM", "docs/brokers.md"]).await;
    }
}

#[tokio::test]
async fn nothing_stays_for_ever_of_nodes_that_are_gone_or_never_were() {
    for (expire_keys, longest) in [(true, 60_000), (false, 3_600_000)] {
        let redis = Redis::start();
        let config = RedisConfig { expire_keys, ..config(&redis.url()) };
        let (mut a, mut b) = (node(&config, 1), node(&config, 2));
        meet(&a, &b);
        // Nobody stands for this player.
        std::mem::forget(a.links.expect(&public(3), Route::Dial(Address::broker())));
        exchange(&mut a, &mut b).await;
        let keys = redis.keys();
        assert_eq!(keys.len(), 4, "{keys:?}");
        for key in &keys {
            let life: i64 = cmd("PTTL").arg(key).query(&mut redis.connect()).unwrap();
            assert!((1..=longest).contains(&life), "{key}: {life}");
        }
        // One ends, one crashes: what is its own goes at once, or with its expiry.
        b.links.stop(Duration::from_secs(5)).await;
        let key = names::own_keys(b.key.fingerprint()).replace('*', "node:");
        eventually("the inbox is removed", || !redis.keys().iter().any(|found| found.starts_with(&key)))
            .await;
    }
}

/// Takes the place of a node's links.
struct Raw {
    broker: RedisBroker,
    arrivals: tokio::sync::mpsc::Receiver<Arrival>,
    inbox: Inbox,
}

impl Raw {
    async fn new(config: &RedisConfig, seed: u64) -> Self {
        let broker = RedisBroker::new(config.clone());
        let player = public(seed).fingerprint();
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let inbox = Inbox::Node(player, [NUMBER.fetch_add(1, Ordering::Relaxed); 16]);
        let arrivals = broker.subscribe(vec![Inbox::Player(player), inbox]);
        // Taken when it is connected.
        broker.publish(inbox, b"first".to_vec()).await.unwrap();
        let mut raw = Raw { broker, arrivals, inbox };
        assert_eq!(raw.next().await, Arrival::Message(b"first".to_vec()));
        raw
    }

    async fn next(&mut self) -> Arrival {
        timeout(PATIENCE, self.arrivals.recv()).await.expect("an arrival in time").expect("it reads on")
    }

    async fn interrupted(&mut self) -> String {
        match self.next().await {
            Arrival::Interrupted(why) => why,
            Arrival::Message(message) => panic!("expected an interruption, not {} bytes", message.len()),
        }
    }
}

#[tokio::test]
async fn messages_of_one_publisher_keep_their_order_whatever_the_batches() {
    let redis = Redis::start();
    for (send_batch, receive_batch) in [(1, 1), (20, 20), (3, 100), (1000, 7)] {
        let config = RedisConfig { send_batch, receive_batch, ..config(&redis.url()) };
        let (from, mut to) = (Raw::new(&config, 1).await, Raw::new(&config, 2).await);
        let inbox = to.inbox;
        let sending = async {
            for number in 0..3000u32 {
                let mut message = number.to_le_bytes().to_vec();
                message.resize(4 + (number as usize * 7919) % 3000, 0);
                from.broker.publish(inbox, message).await.unwrap();
            }
        };
        let receiving = async {
            for number in 0..3000u32 {
                let Arrival::Message(message) = to.next().await else { panic!() };
                assert_eq!(message[..4], number.to_le_bytes());
            }
        };
        tokio::join!(sending, receiving);
        // What was read is gone.
        let key = names::key(&inbox);
        let empty = || cmd("XLEN").arg(&key).query::<u64>(&mut redis.connect()).unwrap() == 0;
        sleep(Duration::from_millis(50)).await;
        from.broker.publish(inbox, b"last".to_vec()).await.unwrap();
        to.next().await;
        eventually("an empty stream", empty).await;
        drop((from, to));
        eventually("removed", || !redis.keys().contains(&key)).await;
    }
}

#[tokio::test]
async fn s105_an_inbox_that_nobody_reads_stays_bounded() {
    let redis = Redis::start();
    let from = Raw::new(&config(&redis.url()), 1).await;
    let gone = Inbox::Node(public(2).fingerprint(), [1; 16]);
    let key = names::key(&gone);
    for number in 0..3u32 {
        from.broker.publish(gone, number.to_le_bytes().to_vec()).await.unwrap();
    }
    redis.command(&format!("XGROUP CREATE {key} nodes 0 MKSTREAM"));
    for number in 0..30_000u32 {
        from.broker.publish(gone, number.to_le_bytes().to_vec()).await.unwrap();
    }
    let length = || cmd("XLEN").arg(&key).query::<u64>(&mut redis.connect()).unwrap();
    /// Number and fields.
    type Entry = (String, Vec<(String, Vec<u8>)>);
    let newest = || -> Vec<Entry> {
        cmd("XREVRANGE").arg(&key).arg("+").arg("-").arg("COUNT").arg(1).query(&mut redis.connect()).unwrap()
    };
    let last = 29_999u32.to_le_bytes().to_vec();
    eventually("all are sent", || newest().first().is_some_and(|(_, fields)| fields[0].1 == last)).await;
    assert!((9_000..=10_200).contains(&length()), "{}", length());
}

#[tokio::test]
async fn each_message_goes_to_one_of_the_nodes_that_share_an_inbox() {
    let redis = Redis::start();
    let config = config(&redis.url());
    let (mut one, mut other) = (Raw::new(&config, 1).await, Raw::new(&config, 1).await);
    let inbox = Inbox::Player(public(1).fingerprint());
    let from = Raw::new(&config, 2).await;
    let mut seen = Vec::new();
    for number in 0..100u8 {
        from.broker.publish(inbox, vec![number]).await.unwrap();
        let arrival = tokio::select! { arrival = one.next() => arrival, arrival = other.next() => arrival };
        let Arrival::Message(message) = arrival else { panic!() };
        seen.push(message[0]);
    }
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    assert!(one.arrivals.try_recv().is_err() && other.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn s105_what_is_no_message_of_ours_is_dropped_and_what_is_too_long_is_not_read() {
    let redis = Redis::start();
    let mut node = Raw::new(&config(&redis.url()), 1).await;
    let key = names::key(&node.inbox);
    let mut admin = redis.connect();
    for fields in ["other message", "m 1 m 2", "x 1 y 2 z 3"] {
        redis.command(&format!("XADD {key} * {fields}"));
        assert_eq!(node.next().await, Arrival::Message(Vec::new()), "{fields}");
    }
    let longest = vec![5u8; MAX_MESSAGE_BYTES];
    cmd("XADD").arg(&key).arg("*").arg("m").arg(&longest).query::<()>(&mut admin).unwrap();
    assert_eq!(node.next().await, Arrival::Message(longest));

    // Made by the server, so that this process has no memory for it.
    let much = |length: usize| format!("redis.call('XADD', KEYS[1], '*', 'm', string.rep('x', {length}))");
    let many = "for n = 1, 3000 do many[n * 2 - 1], many[n * 2] = n, n end redis.call('XADD', KEYS[1], '*', unpack(many))";
    for too_long in [much(MAX_MESSAGE_BYTES + 1), much(200 << 20), format!("local many = {{}} {many}")] {
        let before = memory();
        cmd("EVAL").arg(too_long).arg(1).arg(&key).query::<()>(&mut admin).unwrap();
        node.interrupted().await;
        assert!(memory() < before + (64 << 20), "{} MiB more", (memory() - before) >> 20);
        // Not read again, and what comes after it is.
        let inbox = node.inbox;
        eventually("usable again", || node.broker.trouble().is_none()).await;
        node.broker.publish(inbox, b"next".to_vec()).await.unwrap();
        assert_eq!(node.next().await, Arrival::Message(b"next".to_vec()));
    }
}

/// Of this process, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn whatever_an_administrator_does_to_inboxes_they_are_made_anew_and_used() {
    let redis = Redis::start();
    let config = config(&redis.url());
    let (mut a, mut b) = (node(&config, 1), node(&config, 2));
    meet(&a, &b);
    exchange(&mut a, &mut b).await;
    type Trick = fn(&Redis, &[String]);
    let each = |redis: &Redis, keys: &[String], command: &str| {
        for key in keys {
            // What is in the way of one trick is what another one leaves.
            drop(words(&command.replace("{}", key)).query::<Value>(&mut redis.connect()));
        }
    };
    let commands = [
        "UNLINK {}",
        "PEXPIRE {} 0",
        "XGROUP DESTROY {} nodes",
        "XADD {} 18446744073709551615-18446744073709551615 m x",
        "XADD {} 9223372036854775807-0 m x",
        "XTRIM {} MAXLEN 0",
        "SET {} string",
        "RENAME {} elsewhere",
        "XGROUP SETID {} nodes 0",
    ];
    for command in commands {
        each(&redis, &redis.keys(), command);
        exchange_anew(&mut a, &mut b, command).await;
    }
    let whole: [Trick; 3] = [
        |redis, _| drop(redis.command("FLUSHALL")),
        |redis, _| drop(redis.command("CLIENT KILL TYPE normal SKIPME yes")),
        |redis, _| drop(redis.command("SCRIPT FLUSH")),
    ];
    for (number, trick) in whole.into_iter().enumerate() {
        trick(&redis, &redis.keys());
        exchange_anew(&mut a, &mut b, &number.to_string()).await;
    }
}

/// New frames get through, now or after the links were made anew.
async fn exchange_anew(a: &mut Node<SecureLinks>, b: &mut Node<SecureLinks>, after: &str) {
    let began = Instant::now();
    loop {
        a.links.send(&b.key, 0, vec![1; 30_000]).ok();
        match timeout(Duration::from_millis(200), b.events.recv()).await {
            Ok(Some(tsm_transport::LinkEvent::Frame { .. })) => break,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => panic!(),
        }
        while a.events.try_recv().is_ok() {}
        assert!(began.elapsed() < PATIENCE, "{after}: {}", a.links.status(&b.key));
    }
    while b.events.try_recv().is_ok() {}
}

#[tokio::test]
async fn a_cluster_is_used_member_by_member_and_found_again() {
    let cluster = RedisCluster::start();
    let config = RedisConfig { cluster: true, ..config(&cluster.nodes()[0].url()) };
    let mut nodes: Vec<_> = (1..=6).map(|seed| node(&config, seed)).collect();
    let (mut hub, mut others) = (nodes.remove(0), nodes);
    for other in &mut others {
        meet(other, &hub);
        other.up().await;
        hub.up().await;
        frames_arrive_in_order(other, &mut hub).await;
    }
    let used = cluster.nodes().iter().filter(|node| !node.keys().is_empty()).count();
    assert!(used > 1, "all inboxes are at one member");
    let clustered = cluster.nodes()[0].url();
    let alone = node(&RedisConfig { cluster: false, ..config.clone() }, 9);
    std::mem::forget(alone.links.expect(&public(2), alone.route.clone()));
    let other = node(&RedisConfig { cluster: false, ..super::redis::config(&cluster.nodes()[1].url()) }, 9);
    std::mem::forget(other.links.expect(&public(2), other.route.clone()));
    let told =
        |node: &Node<SecureLinks>| node.links.status(&public(2)).to_string().contains("set ClusterMode");
    eventually(&format!("{clustered} says that it is a cluster"), || told(&alone) || told(&other)).await;
    assert_ne!(alone.links.status(&public(2)), PeerStatus::Unexpected);
    for member in cluster.nodes() {
        member.command("CLIENT KILL TYPE normal SKIPME yes");
    }
    exchange_anew(&mut others[0], &mut hub, "all connections were killed").await;
}
