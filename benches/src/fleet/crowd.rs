//! Those who have no business at the server, from one address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tsm_transport::{LinkEvent, Links, Route, TcpConfig, TcpLinks};

use super::server::public_key;
use super::{PHONE, Server, identity, limits};

/// Connections that begin a handshake and never end it, or say junk.
const JUNK: usize = 200;
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
        for _ in 0..JUNK {
            running.spawn(junk(server.address.clone()));
        }
        for lane in 0..KNOCKING {
            running.spawn(knock(server.address.clone(), lane, handshakes.clone()));
        }
        Crowd { handshakes, _running: running }
    }
}

async fn junk(address: String) {
    loop {
        if let Ok(mut socket) = TcpStream::connect(&address).await {
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

/// One new key after the other connects, is parked, and leaves.
async fn knock(address: String, lane: u64, handshakes: Arc<AtomicU64>) {
    let route = Route::Dial(format!("{address}?connectionPoolSize=1").parse().expect("an address"));
    for number in 0.. {
        let identity = identity(1_000_000_000 * (lane + 1) + number);
        let config = TcpConfig { identity, player: PHONE.0, listen: None, limits: limits() };
        let (links, mut events) = TcpLinks::start(config).expect("a node that only dials starts");
        let _lease = links.expect(&public_key(), route.clone());
        let parked = async { while !matches!(events.recv().await, Some(LinkEvent::Parked { .. }) | None) {} };
        if timeout(Duration::from_secs(5), parked).await.is_ok() {
            handshakes.fetch_add(1, Ordering::Relaxed);
        }
        links.stop(Duration::ZERO).await;
    }
}
