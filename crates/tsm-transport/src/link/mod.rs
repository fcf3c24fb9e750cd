//! Secure links: TLS 1.3 with raw public keys over any pipe, a pool of connections to each peer.
//!
//! A *connection* here is TLS and what it carries (hello, units) over one pipe, whichever kind of pipe
//! that is ([`crate::pipe`]). Some peers may be reached one way and some another, and one peer by both.

mod accept;
mod connection;
mod dial;
pub mod echo;
mod failures;
mod limits;
mod outbox;
mod parked;
mod peer;
mod shared;
mod tls;
mod waiting;
mod wire;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tsm_crypto::IdentityKey;

pub use self::limits::Limits;
use self::shared::{MOST_EVENTS_OF_A_CHANGE, Own, Shared};
pub use self::wire::read_all;
use crate::counts::LinkCounts;
use crate::link::tls::Tls;
use crate::link::wire::Hello;
use crate::links::{
    Lease, LinkEvent, LinkTrouble, Links, PeerKey, PeerStatus, Pipes, ProcessId, Route, SendError, Stranger,
};
use crate::pipe::broker::{Broker, BrokerCounts, Multiplexer, Reads};
use crate::pipe::{Dialler, Listen, Listener, Roots};

/// What a node's links start with.
pub struct LinksConfig {
    /// Proves this node to its peers.
    pub identity: Arc<IdentityKey>,
    /// This node's player index, told to peers for their error messages.
    pub player: u16,
    /// Where to wait for peers; none for a node that only dials.
    pub listeners: Vec<Listen>,
    /// Through which peers are reached at `broker://`, and reach this node.
    pub broker: Option<Arc<dyn Broker>>,
    /// Peers that the configuration knows: the limits of dynamic ones do not apply to them.
    pub static_peers: HashSet<PeerKey>,
    /// Whose certificates are taken at `wss://`, besides those that the operating system trusts.
    pub web_roots: Roots,
    /// What strangers, peers and waiting frames may cost.
    pub limits: Limits,
}

/// Why the links could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The address to listen at.
    Listen(SocketAddr, io::Error),
    /// The TLS library cannot use the private key.
    Identity,
    /// The operating system gives no randomness.
    Randomness,
    /// Not called within a tokio runtime.
    NoRuntime,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(address, error) => {
                write!(
                    f,
                    "cannot listen at {address}: {error}; choose a free port, or stop what uses this one"
                )
            }
            StartError::Identity => f.write_str(
                "the private key cannot be used for TLS: make a new one, for example with \
                 `openssl ecparam -name prime256v1 -genkey -noout -outform DER`",
            ),
            StartError::Randomness => f.write_str("the operating system gives no random bytes"),
            StartError::NoRuntime => f.write_str("links must be started within a tokio runtime"),
        }
    }
}

impl std::error::Error for StartError {}

/// All links of one node. Dropping it ends them at once; [`SecureLinks::stop`] does it gently.
pub struct SecureLinks {
    shared: Arc<Shared>,
    local_addrs: Vec<SocketAddr>,
}

impl SecureLinks {
    /// Starts to listen, if so configured, and to read the node's inboxes. Must be called within a tokio runtime.
    pub fn start(config: LinksConfig) -> Result<(Arc<SecureLinks>, mpsc::Receiver<LinkEvent>), StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let tls = Tls::new(&config.identity).ok_or(StartError::Identity)?;
        let process = ProcessId(random()?);
        let mut listeners = Vec::new();
        for listen in &config.listeners {
            let bound = Listener::bind(listen);
            listeners.push(bound.map_err(|error| StartError::Listen(listen.address(), error))?);
        }
        let local_addrs = listeners.iter().filter_map(Listener::local_addr).collect();

        let stopped = CancellationToken::new();
        let broker = match config.broker {
            // A number of its own: a broker need not know which links are of one process.
            Some(broker) => {
                let player = config.identity.public().fingerprint();
                Some(Multiplexer::new(broker, player, random()?, Reads::All, stopped.clone()))
            }
            None => None,
        };
        let multiplexer = broker.as_ref().map(|(multiplexer, ..)| multiplexer.clone());
        let dialler = Dialler::new(multiplexer, config.web_roots);
        let (events, receiver) = mpsc::channel(config.limits.events.max(MOST_EVENTS_OF_A_CHANGE));
        let hello = Hello { process, player: config.player };
        let shared = Arc::new(Shared::new(
            Own { tls, hello, limits: config.limits, static_peers: config.static_peers, dialler },
            stopped,
            runtime,
            events,
        ));
        if let Some((multiplexer, opened, work)) = broker {
            let dials_again = shared.clone();
            shared.spawn(async move {
                loop {
                    multiplexer.returned.notified().await;
                    dials_again.broker_is_back();
                }
            });
            shared.spawn(work.receive);
            shared.spawn_farewell(work.send);
            listeners.push(Listener::Broker(opened));
        }
        for listener in listeners {
            shared.spawn(accept::listen(shared.clone(), listener));
        }
        Ok((Arc::new(SecureLinks { shared, local_addrs }), receiver))
    }

    /// Where this node listens, in the order of the configuration; with port 0 there, the one that it was
    /// given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// What a broker brought in vain; `None` without a broker.
    pub fn broker_counts(&self) -> Option<BrokerCounts> {
        self.shared.dialler.broker.as_ref().map(|broker| broker.counts())
    }

    /// Sends what is queued, closes all connections, and returns when that is done or `limit` is over.
    /// Events must be taken meanwhile, or the links wait for the room that they need.
    pub async fn stop(&self, limit: Duration) {
        self.shared.leaving.cancel();
        self.shared.retire_all();
        self.shared.tasks.close();
        if timeout(limit, self.shared.tasks.wait()).await.is_err() {
            tracing::info!("links were closed before all that was queued was sent");
        }
        self.shared.stop();
        self.shared.tasks.wait().await;
    }
}

impl Links for SecureLinks {
    fn process(&self) -> ProcessId {
        self.shared.hello.process
    }

    fn pipes(&self) -> Pipes {
        Pipes { web_socket: cfg!(feature = "websocket"), broker: self.shared.dialler.broker.is_some() }
    }

    fn expect(&self, peer: &PeerKey, route: Route) -> Lease {
        let lease = self.shared.lease(peer, route);
        let (shared, peer) = (Arc::downgrade(&self.shared), peer.clone());
        Lease::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.release(&peer, lease);
            }
        })
    }

    fn send(&self, peer: &PeerKey, order: u64, frame: Vec<u8>) -> Result<(), SendError> {
        self.shared.send(peer, order, frame)
    }

    fn status(&self, peer: &PeerKey) -> PeerStatus {
        let status = self.shared.status(peer);
        let only_broker = self.local_addrs.is_empty();
        let broker = self.shared.dialler.broker.as_ref().filter(|_| only_broker);
        match (status, broker.and_then(|broker| broker.trouble())) {
            // It cannot come as long as there is no broker.
            (PeerStatus::Waiting, Some(trouble)) => PeerStatus::Dialling { last_error: Some(trouble) },
            (status, _) => status,
        }
    }

    fn strangers(&self) -> Vec<Stranger> {
        self.shared.strangers()
    }

    fn strangers_as(&self, player: u16, most: usize) -> (Vec<Stranger>, usize) {
        self.shared.strangers_as(player, most)
    }

    fn trouble(&self) -> Option<LinkTrouble> {
        let what = self.shared.dialler.broker.as_ref()?.trouble()?;
        Some(LinkTrouble { what, cuts_off: self.local_addrs.is_empty() })
    }

    fn counts(&self) -> LinkCounts {
        let of_broker = self.broker_counts().unwrap_or_default();
        LinkCounts { dropped_broker_messages: of_broker.dropped(), ..self.shared.counters.now() }
    }
}

impl Drop for SecureLinks {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl fmt::Debug for SecureLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SecureLinks {{ process: {}, listening: {:?} }}",
            self.shared.hello.process, self.local_addrs
        )
    }
}

fn random() -> Result<[u8; 16], StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| StartError::Randomness)?;
    Ok(bytes)
}
