//! How bytes get to another node: an ordered stream through TCP, by WebSocket or through a message broker.
//!
//! A pipe promises nothing but order: who is at its other end, and that nobody reads along, is the
//! link's business ([`crate::link`]), which is the same over every pipe. A further kind of pipe is a
//! place in [`Dialler::dial`] and a variant of [`Listen`] and [`Listener`].

pub mod broker;
mod tcp;
mod trust;
pub mod websocket;

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tsm_crypto::identity::Fingerprint;
use tsm_types::address::{Address, Place};

use self::broker::Multiplexer;
pub use self::trust::{CertificateError, Roots};
use self::websocket::{Certificate, WebDialler, WebListener};
use crate::links::PeerKey;

/// An ordered stream of bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) type Pipe = Box<dyn Stream>;

/// Where a node waits for pipes, besides its inbox at a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At a TCP port; 0 for one that the operating system picks.
    Tcp(SocketAddr),
    /// At a port for WebSockets: any path, any host name.
    WebSocket {
        /// As for TCP.
        at: SocketAddr,
        /// With one the port is `wss`, without `ws`.
        certificate: Option<Certificate>,
    },
}

impl Listen {
    /// The port.
    pub fn address(&self) -> SocketAddr {
        match self {
            Listen::Tcp(at) | Listen::WebSocket { at, .. } => *at,
        }
    }
}

/// Where a pipe comes from, as far as that is known before anybody is proven. For logs, and for the
/// limits of strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Network(SocketAddr),
    /// The public key that the dialler claims; nothing proves it.
    Broker {
        claimed: Fingerprint,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Network(address) => address.fmt(f),
            Origin::Broker { claimed } => write!(f, "the broker (claims to be {claimed})"),
        }
    }
}

/// Somebody who wants to connect.
pub(crate) struct Arriving {
    pub(crate) origin: Origin,
    /// What is left to do until bytes flow. It costs the newcomer's time, not the listener's.
    pub(crate) opening: Pin<Box<dyn Future<Output = io::Result<Pipe>> + Send>>,
}

/// One of the places where a node waits for pipes.
pub(crate) enum Listener {
    Tcp(TcpListener),
    WebSocket(WebListener),
    Broker(mpsc::Receiver<Arriving>),
}

impl Listener {
    pub(crate) fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => tcp::bind(*address).map(Listener::Tcp),
            Listen::WebSocket { at, certificate } => {
                WebListener::bind(*at, certificate.as_ref()).map(Listener::WebSocket)
            }
        }
    }

    /// `None` for an inbox at a broker.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::WebSocket(listener) => listener.local_addr().ok(),
            Listener::Broker(_) => None,
        }
    }

    /// The next newcomer. Dropping this future loses nobody.
    pub(crate) async fn accept(&mut self) -> io::Result<Arriving> {
        match self {
            Listener::Tcp(listener) => tcp::accept(listener).await,
            Listener::WebSocket(listener) => listener.accept().await,
            Listener::Broker(opened) => match opened.recv().await {
                Some(arriving) => Ok(arriving),
                // Over, as are the links.
                None => pending().await,
            },
        }
    }
}

/// What a node can dial with.
pub(crate) struct Dialler {
    pub(crate) broker: Option<Arc<Multiplexer>>,
    web: WebDialler,
}

impl Dialler {
    pub(crate) fn new(broker: Option<Arc<Multiplexer>>, roots: Roots) -> Self {
        Dialler { broker, web: WebDialler::new(roots) }
    }

    /// A pipe to whoever answers at the address, or a sentence for people. `time` is what there is for
    /// it in all.
    pub(crate) async fn dial(
        &self,
        address: &Address,
        peer: &PeerKey,
        time: Duration,
    ) -> Result<Pipe, String> {
        match (&address.place, &self.broker) {
            (Place::Tcp(at), _) => tcp::dial(at, time).await,
            (Place::WebSocket { https, at, path }, _) => self.web.dial(*https, at, path, time).await,
            (Place::Broker, Some(broker)) => broker.dial(peer.fingerprint()).await,
            (Place::Broker, None) => Err("this node's configuration has no message broker".to_owned()),
        }
    }
}
