//! A pipe between two nodes that sees, counts, stalls and cuts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tsm_transport::{Address, Route};
use tsm_types::address::Place;

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) total: AtomicUsize,
    pub(crate) open: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) stalled: AtomicBool,
    pub(crate) bytes: Mutex<Vec<u8>>,
}

impl Seen {
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(crate) fn stall(&self) {
        self.stalled.store(true, Ordering::SeqCst);
    }
}

pub(crate) struct Proxy {
    pub(crate) route: Route,
    pub(crate) seen: Arc<Seen>,
    /// Dropping it cuts every connection.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// In front of the node at this route.
    pub(crate) async fn before(route: &Route) -> Proxy {
        let target = match route {
            Route::Dial(Address { place: Place::Tcp(at), .. }) => SocketAddr::from(([127, 0, 0, 1], at.port)),
            other => panic!("no TCP port to put a proxy before: {other:?}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = Route::Dial(Address::new("127.0.0.1", listener.local_addr().unwrap().port()));
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, seen.clone()));
        Proxy { route, seen, _tasks: tasks }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, seen: Arc<Seen>) {
    let mut pipes = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let Ok(far) = TcpStream::connect(target).await else { continue };
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        let seen = seen.clone();
        pipes.spawn(async move {
            seen.total.fetch_add(1, Ordering::SeqCst);
            let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
            seen.most.fetch_max(open, Ordering::SeqCst);
            tokio::join!(pump(near_in, far_out, &seen), pump(far_in, near_out, &seen));
            seen.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: &Seen) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        while seen.stalled.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        seen.bytes.lock().unwrap().extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
