//! Puts the API on a listener, within limits.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::api::{self, NodeApi};
use crate::auth::ApiKeys;

/// Connections at a time. The next one waits in the system's queue: more would only compete for
/// the node's sessions, of which there are far fewer.
pub const MAX_CONNECTIONS: usize = 1024;

/// The same at the management port, where a few probes and scrapers call.
const MAX_MANAGEMENT_CONNECTIONS: usize = 32;

/// How long a connection may stay without a complete request head, whether it is slow or idle.
pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest request head, in bytes; ours take a few hundred.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How long running calls may take to end once shutdown has begun.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// Pause after the system refused a connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers callers until `shutdown` completes, then lets running calls end for [`SHUTDOWN_GRACE`].
///
/// Dropping the future ends all of it at once.
pub async fn serve(
    listener: TcpListener,
    node: Arc<dyn NodeApi>,
    api_keys: Arc<ApiKeys>,
    shutdown: impl Future<Output = ()>,
) {
    serve_within(limits(MAX_CONNECTIONS), listener, api::router(node, api_keys), shutdown).await;
}

/// The same for those who watch the node.
pub(crate) async fn serve_management(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    serve_within(limits(MAX_MANAGEMENT_CONNECTIONS), listener, router, shutdown).await;
}

fn limits(connections: usize) -> Limits {
    Limits { connections, head_read_timeout: HEAD_READ_TIMEOUT, shutdown_grace: SHUTDOWN_GRACE }
}

#[derive(Clone, Copy)]
struct Limits {
    connections: usize,
    head_read_timeout: Duration,
    shutdown_grace: Duration,
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let stopping = CancellationToken::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(limits, stream, router.clone(), stopping.clone()));
                }
                Err(error) => pause_after(&error).await,
            },
        }
    }
    drop(listener);
    stopping.cancel();
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(limits.shutdown_grace, all_ended).await.is_err() {
        warn!(connections = connections.len(), "calls still run at the end of the shutdown's grace; cut off");
    }
}

/// One connection, from its first request to its last.
async fn converse(limits: Limits, stream: TcpStream, router: Router, stopping: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "small packets will wait for each other");
    }
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_read_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a caller's connection broke");
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a call ended in a panic");
    }
}

async fn pause_after(error: &io::Error) {
    warn!(%error, "a caller could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMITS: Limits = Limits {
        connections: 2,
        head_read_timeout: Duration::from_millis(200),
        shutdown_grace: Duration::from_millis(200),
    };

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: n\r\n\r\n";

    /// A server within [`LIMITS`], its address, and the task that it is.
    async fn start(stop: CancellationToken) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let router = Router::new()
            .route("/", get(|| async { "answer" }))
            .route("/panic", get(on_purpose))
            .route("/wait", get(std::future::pending::<()>));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve_within(LIMITS, listener, router, stop.cancelled_owned())))
    }

    async fn on_purpose() -> &'static str {
        panic!("on purpose")
    }

    async fn connect(address: SocketAddr, send: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(send).await.unwrap();
        stream
    }

    /// Whether anything comes within a while; the end of the connection is nothing.
    async fn is_answered(stream: &mut TcpStream) -> bool {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await;
        matches!(read, Ok(Ok(length)) if length > 0)
    }

    #[tokio::test]
    async fn s105_a_slow_or_idle_connection_is_closed() {
        let (address, _task) = start(CancellationToken::new()).await;
        for sent in [&b""[..], b"GET / HTTP/1.1\r\nHost: n\r\n", REQUEST] {
            let mut stream = connect(address, sent).await;
            let mut bytes = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
            assert!(end.is_ok(), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn s105_a_connection_beyond_the_limit_waits_for_another_to_end() {
        let (address, _task) = start(CancellationToken::new()).await;
        let waiting = b"GET /wait HTTP/1.1\r\nHost: n\r\n\r\n";
        let first = connect(address, waiting).await;
        let _second = connect(address, waiting).await;
        let mut third = connect(address, REQUEST).await;
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(300), third.read(&mut byte)).await;
        assert!(early.is_err());
        drop(first);
        assert!(is_answered(&mut third).await);
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_only() {
        let (address, _task) = start(CancellationToken::new()).await;
        let mut unlucky = connect(address, b"GET /panic HTTP/1.1\r\nHost: n\r\n\r\n").await;
        assert!(!is_answered(&mut unlucky).await);
        assert!(is_answered(&mut connect(address, REQUEST).await).await);
    }

    #[tokio::test]
    async fn shutdown_cuts_off_what_does_not_end() {
        let stop = CancellationToken::new();
        let (address, task) = start(stop.clone()).await;
        let mut stream = connect(address, b"GET /wait HTTP/1.1\r\nHost: n\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        assert!(!is_answered(&mut stream).await);
    }
}
