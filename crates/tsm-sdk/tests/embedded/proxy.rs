//! The network between a phone and its server, which can go away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes connections on while the network is up. Going down breaks those that there are.
pub(crate) struct Proxy {
    pub(crate) address: String,
    up: Arc<watch::Sender<bool>>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn before(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let up = Arc::new(watch::Sender::new(true));
        let mut tasks = JoinSet::new();
        let connections = Arc::new(AtomicUsize::new(0));
        tasks.spawn(accept(listener, target, up.clone(), connections.clone()));
        Proxy { address, up, connections, _tasks: tasks }
    }

    /// How many there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    up: Arc<watch::Sender<bool>>,
    connections: Arc<AtomicUsize>,
) {
    let mut pipes = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        connections.fetch_add(1, Ordering::SeqCst);
        let mut up = up.subscribe();
        if !*up.borrow() {
            continue;
        }
        pipes.spawn(async move {
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = up.wait_for(|up| !up) => {}
            }
        });
    }
}
