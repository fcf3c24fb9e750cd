//! Pipes over TCP.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;
use tsm_types::address::HostPort;

use super::{Arriving, Origin, Pipe};

pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

pub(super) async fn accept(listener: &TcpListener) -> io::Result<Arriving> {
    let (socket, from) = listener.accept().await?;
    Ok(Arriving { origin: Origin::Network(from), opening: Box::pin(ready(Ok(without_delay(socket)))) })
}

/// Tries every address of the name, each for its part of the time.
pub(super) async fn dial(at: &HostPort, time: Duration) -> Result<Pipe, String> {
    let places = lookup_host((at.host.as_str(), at.port)).await;
    let places: Vec<_> =
        places.map_err(|error| format!("the name {} could not be resolved: {error}", at.host))?.collect();
    let share = time / u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
    let mut last = "it has no address".to_owned();
    for place in places {
        match timeout(share, TcpStream::connect(place)).await {
            Ok(Ok(socket)) => return Ok(without_delay(socket)),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "no answer".to_owned(),
        }
    }
    Err(format!("{at} could not be reached: {last}"))
}

/// A round is a small frame that somebody waits for.
fn without_delay(socket: TcpStream) -> Pipe {
    drop(socket.set_nodelay(true));
    Box::new(socket)
}
