//! Links through a real RabbitMQ, started for these tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tsm_test_servers::{RabbitMq, User};
use tsm_transport::broker::Broker;
use tsm_transport::broker::amqp::{AmqpBroker, AmqpConfig, Rights};
use tsm_transport::{
    Address, DownReason, LinkEvent, Links, LinksConfig, PeerStatus, Roots, Route, SecureLinks,
};

use crate::common::{Node, identity, limits, public};
use crate::suite::{Cluster, run_suite};
use crate::websocket::Authority;

/// A real broker on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter than the default, so that tests need not wait.
const RETRY: Duration = Duration::from_secs(1);

/// Nodes of one virtual host.
struct Vhost {
    url: String,
    edit: fn(&mut AmqpConfig),
}

impl Vhost {
    fn new(edit: fn(&mut AmqpConfig)) -> Self {
        let server = RabbitMq::shared();
        Vhost { url: server.url(&server.vhost()), edit }
    }
}

impl Cluster for Vhost {
    fn node(&mut self, seed: u64) -> Node {
        let Node { key, route, events, links, patience } = node(&self.url, seed, self.edit);
        Node { key, route, events, links, patience }
    }
}

fn config(url: &str) -> AmqpConfig {
    AmqpConfig { retry_delay: RETRY, ..AmqpConfig::new(url.parse().unwrap()) }
}

fn node(url: &str, seed: u64, edit: fn(&mut AmqpConfig)) -> Node<SecureLinks> {
    let mut config = config(url);
    edit(&mut config);
    node_of(config, seed)
}

fn node_of(config: AmqpConfig, seed: u64) -> Node<SecureLinks> {
    let config = LinksConfig {
        identity: identity(seed),
        player: u16::try_from(seed).unwrap(),
        listeners: Vec::new(),
        broker: Some(Arc::new(AmqpBroker::new(config))),
        static_peers: Default::default(),
        web_roots: Default::default(),
        limits: limits(),
    };
    let (links, events) = SecureLinks::start(config).unwrap();
    Node { key: public(seed), route: Route::Dial(Address::broker()), events, links, patience: PATIENCE }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

mod conformance {
    use super::*;

    run_suite!(Vhost::new(|_| {}), #[tokio::test(flavor = "multi_thread")]);
}

mod with_confirms_and_persistence {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn frames_of_one_order_arrive_in_order() {
        let mut cluster = Vhost::new(|config| {
            (config.publisher_confirms, config.persist_messages) = (true, true);
            config.channel_pool_size = 1;
        });
        crate::suite::frames_of_one_order_arrive_in_order(&mut cluster).await;
    }
}

/// Waits for `Up` again, whatever else is told until then.
async fn up_again(node: &mut Node<SecureLinks>) {
    loop {
        match node.event().await {
            LinkEvent::Up { .. } => return,
            LinkEvent::Down { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_killed_is_told_and_used_again_when_it_is_back() {
    let server = tokio::task::spawn_blocking(RabbitMq::start).await.unwrap();
    let url = server.url(&server.vhost());
    // Long beside what a busy machine takes to connect.
    let retry_delay = Duration::from_secs(3);
    let [mut a, mut b] = [1, 2].map(|seed| node_of(AmqpConfig { retry_delay, ..config(&url) }, seed));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, a.route.clone()));
    a.up().await;
    b.up().await;
    server.kill();
    for node in [&mut a, &mut b] {
        assert!(matches!(node.down().await, DownReason::Lost(_)));
    }
    // Both sides say that it is the broker, also the one that only waits.
    for (links, peer) in [(&a.links, &b.key), (&b.links, &a.key)] {
        until("the broker is named", || {
            let told = links.status(peer).to_string();
            told.contains("message broker") && told.contains("again every 3s")
        })
        .await;
    }
    server.start_again();
    let ready = Instant::now();
    up_again(&mut a).await;
    up_again(&mut b).await;
    let took = ready.elapsed();
    println!("a link again {took:?} after the broker was ready, with RetryDelay = {retry_delay:?}");
    assert!(took < 2 * retry_delay, "{took:?}");
    while a.links.send(&b.key, 0, b"again".to_vec()).is_err() {
        up_again(&mut a).await;
    }
    loop {
        match b.event().await {
            LinkEvent::Frame { bytes, .. } => break assert_eq!(bytes, b"again"),
            LinkEvent::Up { .. } | LinkEvent::Down { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_or_refuses_the_login_is_told_without_the_password() {
    let server = RabbitMq::shared();
    let wrong = server.url_of("guest", "hunter2", &server.vhost());
    for (url, told) in [
        (wrong.as_str(), "refused the login: correct user name and password in [MPCAMQPServer] ServerURL"),
        ("amqp://guest:hunter2@127.0.0.1:1/", "127.0.0.1:1 could not be reached"),
        (&server.url("no-such-vhost"), "no-such-vhost"),
    ] {
        let a = node(url, 1, |_| {});
        let _expects = (a.links.expect(&public(2), Route::Wait), a.links.expect(&public(3), a.route.clone()));
        for peer in [public(2), public(3)] {
            until(told, || a.links.status(&peer).to_string().contains(told)).await;
            let status = a.links.status(&peer).to_string();
            assert!(status.contains("the message broker") && !status.contains("hunter2"), "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn amqps_trusts_a_named_authority_and_neither_another_one_nor_another_name() {
    let authority = Authority::of("localhost");
    let [certificate, key] = authority.pem.clone();
    let start = move || RabbitMq::start_with_tls(&certificate, &key);
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let vhost = server.vhost();
    let url = server.tls_url("localhost", &vhost);
    let by_tls = |seed, url: &str, roots: Roots| node_of(AmqpConfig { roots, ..config(url) }, seed);
    let (mut a, mut b) = (by_tls(1, &url, authority.roots.clone()), by_tls(2, &url, authority.roots.clone()));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, a.route.clone()));
    a.up().await;
    b.up().await;
    let by_address = server.tls_url("127.0.0.1", &vhost);
    for (url, roots, wrong) in [
        (&url, Authority::of("localhost").roots, "BadSignature"),
        (&url, Roots::default(), "UnknownIssuer"),
        (&by_address, authority.roots.clone(), "not valid for name"),
    ] {
        let stranger = by_tls(3, url, roots);
        let _lease = stranger.links.expect(&public(1), stranger.route.clone());
        let told = || stranger.links.status(&public(1)).to_string();
        until(wrong, || told().contains(wrong)).await;
        assert!(told().contains("no TLS came about") && told().contains("RootCAFile"), "{}", told());
        assert!(!told().contains("guest"), "{}", told());
    }
}

/// A user for each of three players, with exactly the rights that are documented.
fn with_least_rights(rights: fn(u64) -> Rights) -> RabbitMq {
    let user = |seed: u64| {
        let Rights { configure, write, read, .. } = rights(seed);
        User { name: format!("player{seed}"), password: "p".into(), configure, write, read }
    };
    RabbitMq::start_with([1, 2, 3].map(user).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn s97_the_least_rights_are_enough_for_links_and_for_nothing_else() {
    let rights = |seed| Rights::of(&public(seed).fingerprint());
    let server = tokio::task::spawn_blocking(move || with_least_rights(rights)).await.unwrap();
    let vhost = server.vhost();
    let url = |seed| server.url_of(&format!("player{seed}"), "p", &vhost);
    let (mut a, mut b) = (node(&url(1), 1, |_| {}), node(&url(2), 2, |_| {}));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, a.route.clone()));
    a.up().await;
    b.up().await;
    a.links.send(&b.key, 0, b"there".to_vec()).unwrap();
    assert_eq!(b.frame().await, b"there");

    let others = rights(2).queue;
    refused(&url(3), async |channel| consume(channel, &others).await).await;
    refused(&url(3), async |channel| {
        let queue = others.as_str().into();
        channel.basic_get(queue, Default::default()).await.map(drop)
    })
    .await;
    refused(&url(3), async |channel| {
        channel.queue_purge(others.as_str().into(), Default::default()).await.map(drop)
    })
    .await;
    refused(&url(3), async |channel| {
        channel.queue_delete(others.as_str().into(), Default::default()).await.map(drop)
    })
    .await;
    refused(&url(3), async |channel| declare(channel, "tsm.something").await).await;
    refused(&url(3), async |channel| {
        declare(channel, &rights(3).queue).await?;
        let (queue, key) = (rights(3).queue, others.as_str().into());
        channel
            .queue_bind(
                queue.as_str().into(),
                "amq.direct".into(),
                key,
                Default::default(),
                Default::default(),
            )
            .await
    })
    .await;
    // A node in another's place is told what it lacks.
    let thief = node(&url(3), 2, |_| {});
    let _expects = thief.links.expect(&public(1), Route::Wait);
    until("told", || thief.links.status(&public(1)).to_string().contains("tsm player id")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_skip_setup_links_use_the_queues_and_exchanges_that_the_operator_made() {
    let rights = |seed| Rights::without_setup(&public(seed).fingerprint());
    let server = tokio::task::spawn_blocking(move || with_least_rights(rights)).await.unwrap();
    let vhost = server.vhost();
    let url = |seed| server.url_of(&format!("player{seed}"), "p", &vhost);
    let skip: fn(&mut AmqpConfig) = |config| config.skip_setup = true;
    let mut b = node(&url(2), 2, skip);
    let _b_expects = b.links.expect(&public(1), Route::Wait);
    until("told", || b.links.status(&public(1)).to_string().contains("SkipSetup")).await;

    // 1 and 2 may send to each other, 3 to 2 only.
    let operator = lapin::Connection::connect(&server.url(&vhost), Default::default()).await.unwrap();
    let channel = operator.create_channel().await.unwrap();
    for seed in [1, 2, 3] {
        declare(&channel, &rights(seed).queue).await.unwrap();
        let exchange = rights(seed).exchange;
        let direct = lapin::ExchangeKind::Direct;
        let declared = channel.exchange_declare(
            exchange.as_str().into(),
            direct,
            Default::default(),
            Default::default(),
        );
        declared.await.unwrap();
    }
    for (from, to) in [(1, 2), (2, 1), (3, 2)] {
        let (queue, exchange) = (rights(to).queue, rights(from).exchange);
        let (queue, exchange) = (queue.as_str(), exchange.as_str());
        let bound = channel.queue_bind(
            queue.into(),
            exchange.into(),
            queue.into(),
            Default::default(),
            Default::default(),
        );
        bound.await.unwrap();
    }
    let (mut a, c) = (node(&url(1), 1, skip), node(&url(3), 3, skip));
    let _leases = (
        a.links.expect(&b.key, a.route.clone()),
        c.links.expect(&a.key, c.route.clone()),
        a.links.expect(&c.key, Route::Wait),
    );
    a.up().await;
    b.up().await;
    a.links.send(&b.key, 0, b"there".to_vec()).unwrap();
    assert_eq!(b.frame().await, b"there");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(a.links.status(&c.key), PeerStatus::Waiting);
    assert!(matches!(c.links.status(&a.key), PeerStatus::Dialling { .. }));
}

async fn declare(channel: &lapin::Channel, queue: &str) -> lapin::Result<()> {
    let options = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, Default::default()).await.map(drop)
}

async fn consume(channel: &lapin::Channel, queue: &str) -> lapin::Result<()> {
    channel.basic_consume(queue.into(), "".into(), Default::default(), Default::default()).await.map(drop)
}

/// The broker must refuse this for want of rights.
async fn refused(url: &str, what: impl AsyncFn(&lapin::Channel) -> lapin::Result<()>) {
    let connection = lapin::Connection::connect(url, Default::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let error = what(&channel).await.unwrap_err().to_string();
    assert!(error.contains("ACCESS_REFUSED") || error.contains("ACCESS-REFUSED"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_go_with_their_nodes_and_a_deleted_one_is_made_again() {
    let server = RabbitMq::shared();
    let url = server.url(&server.vhost());
    let (mut a, mut b) = (node(&url, 1, |_| {}), node(&url, 2, |_| {}));
    let _leases = (b.links.expect(&a.key, Route::Wait), a.links.expect(&b.key, a.route.clone()));
    a.up().await;
    b.up().await;
    let operator = lapin::Connection::connect(&url, Default::default()).await.unwrap();
    let exists = async || {
        let channel = operator.create_channel().await.unwrap();
        let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = Rights::of(&public(2).fingerprint()).queue;
        channel.queue_declare(queue.as_str().into(), passive, Default::default()).await.is_ok()
    };
    let channel = operator.create_channel().await.unwrap();
    let queue = Rights::of(&public(2).fingerprint()).queue;
    channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
    // It is a loss, as every end of a connection is.
    assert!(matches!(b.down().await, DownReason::Lost(_)));
    let begun = Instant::now();
    while !exists().await {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    up_again(&mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_of_one_inbox_holds_over_several_channels() {
    use tsm_transport::broker::{Arrival, Inbox};
    let server = RabbitMq::shared();
    let url = server.url(&server.vhost());
    let broker = |pool| AmqpBroker::new(AmqpConfig { channel_pool_size: pool, ..config(&url) });
    let (reader, writer) = (broker(1), broker(8));
    let inboxes: Vec<Inbox> =
        (0..4).map(|number| Inbox::Node(public(1).fingerprint(), [number; 16])).collect();
    let mut arrivals = reader.subscribe(inboxes.clone());
    let _ends = writer.subscribe(vec![Inbox::Player(public(2).fingerprint())]);
    for broker in [&reader, &writer] {
        while broker.publish(Inbox::Player(public(9).fingerprint()), vec![1]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let sending = async {
        for number in 0..1000u32 {
            for (place, inbox) in inboxes.iter().enumerate() {
                let message = [[place as u8].as_slice(), &number.to_le_bytes()].concat();
                writer.publish(*inbox, message).await.unwrap();
            }
        }
    };
    let receiving = async {
        let mut next = [0u32; 4];
        for _ in 0..4000 {
            let Some(Arrival::Message(message)) = arrivals.recv().await else { panic!() };
            let next = &mut next[usize::from(message[0])];
            assert_eq!(message[1..], next.to_le_bytes());
            *next += 1;
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(sending, receiving) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s105_a_silent_broker_is_left_when_the_node_ends() {
    use tokio::io::AsyncReadExt;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", silent.local_addr().unwrap());
    let a = node(&url, 1, |_| {});
    let (mut socket, _) = silent.accept().await.unwrap();
    let mut greeting = [0; 8];
    socket.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"AMQP\0\0\x09\x01");
    drop(a);
    // The client's own thread would wait for an answer for ever.
    let ended =
        tokio::time::timeout(PATIENCE, socket.read(&mut greeting)).await.expect("the connection ends");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
