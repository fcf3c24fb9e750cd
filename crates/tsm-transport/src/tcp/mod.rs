//! Links over TCP: TLS 1.3 with raw public keys, a pool of connections to each peer.

mod accept;
mod connection;
mod dial;
mod failures;
mod limits;
mod outbox;
mod parked;
mod peer;
mod shared;
mod waiting;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tsm_crypto::IdentityKey;

pub use self::limits::Limits;
use self::shared::{MOST_EVENTS_OF_A_CHANGE, Shared};
use crate::counts::LinkCounts;
use crate::links::{Lease, LinkEvent, Links, PeerKey, PeerStatus, ProcessId, Route, SendError, Stranger};
use crate::tls::Tls;
use crate::wire::Hello;

/// What a node's links start with.
pub struct TcpConfig {
    /// Proves this node to its peers.
    pub identity: Arc<IdentityKey>,
    /// This node's player index, told to peers for their error messages.
    pub player: u16,
    /// Where to wait for peers; `None` for a node that only dials.
    pub listen: Option<SocketAddr>,
    /// Peers that the configuration knows: the limits of dynamic ones do not apply to them.
    pub static_peers: HashSet<PeerKey>,
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

/// All links of one node over TCP. Dropping it ends them at once; [`TcpLinks::stop`] does it gently.
pub struct TcpLinks {
    shared: Arc<Shared>,
    local_addr: Option<SocketAddr>,
}

impl TcpLinks {
    /// Starts to listen, if so configured. Must be called within a tokio runtime.
    pub fn start(config: TcpConfig) -> Result<(Arc<TcpLinks>, mpsc::Receiver<LinkEvent>), StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let tls = Tls::new(&config.identity).ok_or(StartError::Identity)?;
        let mut process = ProcessId([0; 16]);
        getrandom::fill(&mut process.0).map_err(|_| StartError::Randomness)?;
        let listener = config
            .listen
            .map(|address| bind(address).map_err(|error| StartError::Listen(address, error)))
            .transpose()?;
        let local_addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());

        let (events, receiver) = mpsc::channel(config.limits.events.max(MOST_EVENTS_OF_A_CHANGE));
        let hello = Hello { process, player: config.player };
        let shared = Arc::new(Shared::new(tls, hello, config.limits, config.static_peers, runtime, events));
        if let Some(listener) = listener {
            shared.spawn(accept::listen(shared.clone(), listener));
        }
        Ok((Arc::new(TcpLinks { shared, local_addr }), receiver))
    }

    /// Where this node listens; with port 0 in the configuration, the one that it was given.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
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
        self.shared.stopped.cancel();
        self.shared.tasks.wait().await;
    }
}

impl Links for TcpLinks {
    fn process(&self) -> ProcessId {
        self.shared.hello.process
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
        self.shared.status(peer)
    }

    fn strangers(&self) -> Vec<Stranger> {
        self.shared.strangers()
    }

    fn strangers_as(&self, player: u16, most: usize) -> (Vec<Stranger>, usize) {
        self.shared.strangers_as(player, most)
    }

    fn counts(&self) -> LinkCounts {
        self.shared.counters.now()
    }
}

impl Drop for TcpLinks {
    fn drop(&mut self) {
        self.shared.stopped.cancel();
    }
}

impl fmt::Debug for TcpLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpLinks {{ process: {}, listening: {:?} }}", self.shared.hello.process, self.local_addr)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
