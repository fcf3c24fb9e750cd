//! Counts what passes, on the way of TCP and at a broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tsm_transport::broker::{Arrival, Broker, Inbox, Publishing};

#[derive(Clone, Default)]
pub(crate) struct Traffic(Arc<[AtomicU64; 2]>);

impl Traffic {
    fn add(&self, messages: u64, bytes: u64) {
        self.0[0].fetch_add(messages, Ordering::Relaxed);
        self.0[1].fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> (u64, u64) {
        (self.0[0].load(Ordering::Relaxed), self.0[1].load(Ordering::Relaxed))
    }
}

/// A broker whose messages are counted when they are published.
pub(crate) struct Counted<B> {
    pub(crate) broker: B,
    pub(crate) traffic: Traffic,
}

impl<B: Broker> Broker for Counted<B> {
    fn publish(&self, to: Inbox, message: Vec<u8>) -> Publishing {
        self.traffic.add(1, message.len() as u64);
        self.broker.publish(to, message)
    }

    fn subscribe(&self, inboxes: Vec<Inbox>) -> mpsc::Receiver<Arrival> {
        self.broker.subscribe(inboxes)
    }
}

/// A port before another one; what passes is counted.
pub(crate) async fn port_before(to: SocketAddr, traffic: Traffic) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(to).await else { return };
            drop((near.set_nodelay(true), far.set_nodelay(true)));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(copy(near_in, far_out, traffic.clone()));
            tokio::spawn(copy(far_in, near_out, traffic.clone()));
        }
    });
    Ok(at)
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, traffic: Traffic) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        traffic.add(0, length as u64);
        if to.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
