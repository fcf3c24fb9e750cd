//! A way to a node that loses one reply.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Cuts the first connection when the node has answered on it, before the caller has any of the
/// answer. Later connections go through.
pub(crate) struct CuttingProxy {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl CuttingProxy {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = connections.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut caller, _) = listener.accept().await.unwrap();
                let mut node = TcpStream::connect(node).await.unwrap();
                if seen.fetch_add(1, Ordering::SeqCst) == 0 {
                    pass_on_and_cut(caller, node).await;
                } else {
                    tokio::spawn(async move { copy_bidirectional(&mut caller, &mut node).await });
                }
            }
        });
        CuttingProxy { url, connections, task }
    }

    /// How often the caller came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on_and_cut(mut caller: TcpStream, mut node: TcpStream) {
    let (mut request, mut answer) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            read = caller.read(&mut request) => match read.unwrap() {
                0 => return,
                length => node.write_all(&request[..length]).await.unwrap(),
            },
            read = node.read(&mut answer) => return assert_ne!(read.unwrap(), 0, "the node answers"),
        }
    }
}
