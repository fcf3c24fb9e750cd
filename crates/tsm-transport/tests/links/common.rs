//! Nodes, and waiting for what they are told.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tsm_crypto::IdentityKey;
use tsm_crypto::hedged::test_rng;
use tsm_transport::{
    Address, DownReason, Limits, LinkEvent, Links, LinksConfig, Listen, PeerKey, ProcessId, Route,
    SecureLinks, StartError,
};

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

pub(crate) fn identity(seed: u64) -> Arc<IdentityKey> {
    Arc::new(IdentityKey::generate(&mut test_rng(seed)))
}

pub(crate) fn public(seed: u64) -> PeerKey {
    identity(seed).public().clone()
}

/// A node and what it is told. The node with seed `n` claims to be player `n`.
pub(crate) struct Node<L: Links + ?Sized = dyn Links> {
    pub(crate) key: PeerKey,
    pub(crate) route: Route,
    pub(crate) events: Receiver<LinkEvent>,
    pub(crate) links: Arc<L>,
    /// How long to wait for an event.
    pub(crate) patience: Duration,
}

impl<L: Links + ?Sized> Node<L> {
    pub(crate) async fn event(&mut self) -> LinkEvent {
        timeout(self.patience, self.events.recv())
            .await
            .expect("an event in time")
            .expect("the links still run")
    }

    /// The next event must be `Up`.
    pub(crate) async fn up(&mut self) -> (PeerKey, ProcessId, u16) {
        match self.event().await {
            LinkEvent::Up { peer, process, player } => (peer, process, player),
            other => panic!("expected Up, not {other:?}"),
        }
    }

    /// The next event must be `Down`.
    pub(crate) async fn down(&mut self) -> DownReason {
        match self.event().await {
            LinkEvent::Down { reason, .. } => reason,
            other => panic!("expected Down, not {other:?}"),
        }
    }

    /// The next event must be a frame.
    pub(crate) async fn frame(&mut self) -> Vec<u8> {
        match self.event().await {
            LinkEvent::Frame { bytes, .. } => bytes,
            other => panic!("expected a frame, not {other:?}"),
        }
    }

    /// The next event must be `Parked`.
    pub(crate) async fn parked(&mut self) -> PeerKey {
        match self.event().await {
            LinkEvent::Parked { by } => by,
            other => panic!("expected Parked, not {other:?}"),
        }
    }

    pub(crate) async fn nothing_for(&mut self, time: Duration) {
        if let Ok(event) = timeout(time, self.events.recv()).await {
            panic!("expected nothing, not {event:?}");
        }
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

/// Shorter than the defaults where a test would have to wait.
pub(crate) fn limits() -> Limits {
    let short = Duration::from_millis(100);
    Limits { unleased_for: short, dynamic_unleased_for: short, ..Limits::default() }
}

pub(crate) fn tcp(seed: u64) -> Node<SecureLinks> {
    tcp_with(identity(seed), u16::try_from(seed).unwrap(), 0, limits())
}

pub(crate) fn tcp_with(
    identity: Arc<IdentityKey>,
    player: u16,
    port: u16,
    limits: Limits,
) -> Node<SecureLinks> {
    tcp_knowing(&[], identity, player, port, limits)
}

/// A node whose configuration has these keys.
pub(crate) fn tcp_knowing(
    static_peers: &[PeerKey],
    identity: Arc<IdentityKey>,
    player: u16,
    port: u16,
    limits: Limits,
) -> Node<SecureLinks> {
    let key = identity.public().clone();
    let listeners = vec![Listen::Tcp(([127, 0, 0, 1], port).into())];
    let (links, events) = loop {
        let config = LinksConfig {
            identity: identity.clone(),
            player,
            listeners: listeners.clone(),
            broker: None,
            static_peers: static_peers.iter().cloned().collect(),
            limits: limits.clone(),
        };
        match SecureLinks::start(config) {
            // The node that was just dropped is still on its way out.
            Err(StartError::Listen(_, error)) if error.kind() == ErrorKind::AddrInUse => {
                std::thread::yield_now()
            }
            other => break other.unwrap(),
        }
    };
    let address = Address::new("127.0.0.1", links.local_addrs()[0].port());
    Node { key, route: Route::Dial(address), events, links, patience: PATIENCE }
}

/// The same route with other options.
pub(crate) fn with_options(route: &Route, pool_size: u16, lifetime: Duration) -> Route {
    let Route::Dial(address) = route else { panic!("only a dialler has options") };
    Route::Dial(Address { connection_pool_size: pool_size, connection_lifetime: lifetime, ..address.clone() })
}
