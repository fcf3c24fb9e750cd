//! Those who have no business at the server.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tsm_transport::{LinkEvent, Links, Route};

use super::server::public_key;
use super::{Server, identity, links};

/// Connections that begin a handshake and never end it, or say junk.
const JUNK: u8 = 200;
/// Nodes with unknown keys that knock without pause, at the same time.
const KNOCKING: u64 = 2;

/// A flood. It ends when this is dropped.
pub struct Crowd {
    /// Handshakes of unknown keys that were completed so far.
    pub handshakes: Arc<AtomicU64>,
    _running: JoinSet<()>,
}

impl Crowd {
    /// Begins the flood.
    pub fn begin(server: &Server) -> Crowd {
        let (handshakes, mut running) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        for number in 1..=JUNK {
            running.spawn(junk(server.address.clone(), Ipv4Addr::new(127, 0, 1, number)));
        }
        for lane in 0..KNOCKING {
            running.spawn(knock(server.address.clone(), lane, handshakes.clone()));
        }
        Crowd { handshakes, _running: running }
    }
}

/// Each from an address of its own, as a botnet does: so none fails often enough to be shut out.
async fn junk(to: String, from: Ipv4Addr) {
    loop {
        if let Ok(mut socket) = connect(&to, from).await {
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00" {
                if socket.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(250)).await;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn connect(to: &str, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to.parse::<SocketAddr>().expect("the server's address")).await
}

/// One new key after the other connects, is parked, and leaves.
async fn knock(address: String, lane: u64, handshakes: Arc<AtomicU64>) {
    let route = Route::Dial(format!("{address}?connectionPoolSize=1").parse().expect("an address"));
    for number in 0.. {
        let (links, mut events) =
            links(Arc::new(identity(1_000_000_000 * (lane + 1) + number)), HashSet::new());
        let _lease = links.expect(&public_key(), route.clone());
        let parked = async { while !matches!(events.recv().await, Some(LinkEvent::Parked { .. }) | None) {} };
        if timeout(Duration::from_secs(5), parked).await.is_ok() {
            handshakes.fetch_add(1, Ordering::Relaxed);
        }
        links.stop(Duration::ZERO).await;
    }
}
