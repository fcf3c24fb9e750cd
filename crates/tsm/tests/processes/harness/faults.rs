//! A way between two nodes with faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They arrive.
    Open,
    /// Each read of them is late by up to this, as after packets were lost and sent again.
    Slow(Duration),
    /// None arrive, and connections stay: the network is cut in two.
    Silent,
    /// Those of the dialler do not arrive, those of the other do.
    DiallerMute,
    /// Connections break, and no new one comes about.
    Broken,
}

/// A TCP proxy to one node.
pub(crate) struct FaultyWay {
    pub(crate) port: u16,
    way: watch::Sender<Way>,
    /// Bytes that had to wait, and connections that were broken: a fault that met nobody is none.
    met: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FaultyWay {
    pub(crate) async fn to(node: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, ways) = watch::channel(Way::Open);
        let met = Arc::new(AtomicU64::new(0));
        let counted = met.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((dialler, _)) = accepted else { continue };
                        connections.spawn(connection(dialler, node, ways.clone(), counted.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        FaultyWay { port, way, met, task }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// How often faults met anything so far.
    pub(crate) fn met(&self) -> u64 {
        self.met.load(Ordering::SeqCst)
    }
}

impl Drop for FaultyWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(dialler: TcpStream, node: u16, ways: watch::Receiver<Way>, met: Arc<AtomicU64>) {
    if *ways.borrow() == Way::Broken {
        met.fetch_add(1, Ordering::SeqCst);
        return;
    }
    let Ok(node) = TcpStream::connect(("127.0.0.1", node)).await else { return };
    let ((from_dialler, to_dialler), (from_node, to_node)) = (dialler.into_split(), node.into_split());
    let mut broken = ways.clone();
    tokio::select! {
        () = pass(from_dialler, to_node, ways.clone(), true, met.clone()) => {}
        () = pass(from_node, to_dialler, ways, false, met.clone()) => {}
        _ = broken.wait_for(|way| *way == Way::Broken) => drop(met.fetch_add(1, Ordering::SeqCst)),
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut ways: watch::Receiver<Way>,
    of_dialler: bool,
    met: Arc<AtomicU64>,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let way = *ways.borrow();
        match way {
            Way::Open | Way::Broken => {}
            Way::Slow(most) => {
                met.fetch_add(1, Ordering::SeqCst);
                // From the bytes themselves, which are as good as random.
                sleep(most.mul_f64(f64::from(bytes[length - 1]) / 255.0)).await;
            }
            Way::DiallerMute if !of_dialler => {}
            Way::Silent | Way::DiallerMute => {
                met.fetch_add(1, Ordering::SeqCst);
                if ways.wait_for(|now| *now != way).await.is_err() {
                    return;
                }
            }
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
