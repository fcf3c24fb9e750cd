//! The way to the broker: TCP, TLS for `amqps`, and a watch on what the broker may make a node hold.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::url::ServerUrl;
use crate::pipe::broker::MAX_MESSAGE_BYTES;
use crate::pipe::trust::{Roots, TlsClient};
use crate::pipe::{Pipe, tcp};

/// For TCP and TLS; the broker's part of the handshake has as much again.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Messages that the broker delivers before the first of them is acknowledged.
pub(super) const PREFETCH: u16 = 256;

/// Of ours none is longer than [`MAX_MESSAGE_BYTES`]. A stranger's that is somewhat longer is dropped by
/// who reads it; one beyond this ends the connection before it is in memory.
const MOST_MESSAGE_BYTES: u64 = 4 * MAX_MESSAGE_BYTES as u64;
/// Deliveries that were not taken. A broker that keeps to the prefetch, for two inboxes, is well below.
const MOST_BYTES: u64 = 4 * PREFETCH as u64 * MAX_MESSAGE_BYTES as u64;

/// What a message of this length costs until it is taken.
pub(super) fn cost(length: u64) -> u64 {
    length + 256
}

/// Connects to the broker; the error is a sentence for people. The connection breaks when it is
/// `abandoned`: the client's thread, which would wait for a silent broker for ever, ends with it.
pub(super) async fn connect(
    url: &ServerUrl,
    roots: &Roots,
    taken: Arc<AtomicU64>,
    abandoned: CancellationToken,
) -> io::Result<Socket> {
    let connecting = async {
        let pipe = tcp::dial(&url.at, CONNECT_TIME).await.map_err(|error| {
            io::Error::other(format!("{error}: check [MPCAMQPServer] ServerURL, and that the broker runs"))
        })?;
        if url.tls { encrypted(pipe, url, roots).await } else { Ok(pipe) }
    };
    let pipe = tokio::time::timeout(CONNECT_TIME, connecting);
    let pipe = pipe.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let watch = Watch { taken, ..Watch::default() };
    Ok(Socket { inner: pipe.compat(), watch, abandoned: Box::pin(abandoned.cancelled_owned()) })
}

async fn encrypted(pipe: Pipe, url: &ServerUrl, roots: &Roots) -> io::Result<Pipe> {
    let stream = TlsClient::new(roots.clone(), None).connect(&url.at.host, pipe).await;
    let stream = stream.map_err(|error| {
        io::Error::other(format!(
            "{url} answered, but no TLS came about: {error}; its certificate must be valid for the host in ServerURL and \
             from an authority that this machine trusts, or that [MPCAMQPServer] RootCAFile names"
        ))
    })?;
    Ok(Box::new(stream))
}

/// A connection to the broker that is watched.
pub(super) struct Socket {
    inner: Compat<Pipe>,
    watch: Watch,
    abandoned: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.abandoned.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
        }
        let length = ready!(Pin::new(&mut this.inner).poll_read(context, out))?;
        this.watch.see(out.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(context)
    }
}

/// Reads along in the frames of AMQP: 7 bytes of head, in which are kind and length, the payload, and
/// one more byte.
#[derive(Default)]
struct Watch {
    head: Vec<u8>,
    /// Of the frame's payload and last byte.
    left: u64,
    /// The cost of what was announced.
    announced: u64,
    /// Of it that of what somebody has taken.
    taken: Arc<AtomicU64>,
}

/// Announces a message: class, weight, and how many bytes it has.
const CONTENT_HEADER: u8 = 2;
const HEAD_BYTES: usize = 7;
/// With the beginning of a content header's payload.
const LONG_HEAD_BYTES: usize = HEAD_BYTES + 2 + 2 + 8;

impl Watch {
    fn see(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skip = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.left -= skip as u64;
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            let wanted =
                if self.head.first() == Some(&CONTENT_HEADER) { LONG_HEAD_BYTES } else { HEAD_BYTES };
            let take = (wanted - self.head.len()).min(bytes.len());
            // So that the first byte decides how many are wanted.
            let take = if self.head.is_empty() { take.min(1) } else { take };
            let (these, rest) = bytes.split_at(take);
            self.head.extend_from_slice(these);
            bytes = rest;
            if self.head.len() == wanted && wanted > 1 {
                self.head_is_complete()?;
            }
        }
        Ok(())
    }

    fn head_is_complete(&mut self) -> Result<(), String> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let payload = number(self.head.get(3..HEAD_BYTES).unwrap_or_default());
        let seen = (self.head.len() - HEAD_BYTES) as u64;
        self.left = (payload + 1).checked_sub(seen).ok_or("it sent a frame that is too short")?;
        if let Some(size) = self.head.get(HEAD_BYTES + 4..LONG_HEAD_BYTES) {
            let size = number(size);
            if size > MOST_MESSAGE_BYTES {
                return Err(format!(
                    "it brought a message of {size} bytes, which is none of ours: set its max_message_size to {}",
                    2 * MAX_MESSAGE_BYTES
                ));
            }
            self.announced += cost(size);
            if self.announced > self.taken.load(Ordering::Acquire) + MOST_BYTES {
                return Err("it brings more messages than it was asked for".to_owned());
            }
        }
        self.head.clear();
        Ok(())
    }
}

/// Tokio, but for the connection, which is ours.
#[derive(Clone, Debug)]
pub(super) struct Kit(pub(super) Tokio);

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(future)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for Kit {
    type TcpStream = Socket;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Nobody asks for it.
    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Socket, _>(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    /// Nobody asks for it: [`connect`] does it.
    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::Error::from(io::ErrorKind::Unsupported)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [[kind, 0, 1].as_slice(), &length, payload, &[0xce]].concat()
    }

    fn announcement(size: u64) -> Vec<u8> {
        frame(CONTENT_HEADER, &[[0, 60, 0, 0].as_slice(), &size.to_be_bytes(), &[0, 0]].concat())
    }

    #[test]
    fn s105_a_broker_cannot_make_a_node_hold_a_message_that_is_too_long() {
        // However the bytes are cut.
        for cut in [1, 2, 7, 8, 19, 1000] {
            let mut watch = Watch::default();
            let good =
                [frame(1, &[9; 40]), announcement(MOST_MESSAGE_BYTES), frame(3, &[2; 500]), frame(8, &[])];
            for bytes in good.concat().chunks(cut) {
                watch.see(bytes).unwrap();
            }
            let bad = announcement(MOST_MESSAGE_BYTES + 1);
            let refused = bad.chunks(cut).find_map(|bytes| watch.see(bytes).err()).unwrap();
            assert!(refused.contains("max_message_size"), "{refused}");
        }
    }

    #[test]
    fn s105_a_broker_cannot_bring_more_messages_than_it_was_asked_for() {
        for length in [0, MAX_MESSAGE_BYTES as u64] {
            let mut watch = Watch::default();
            let most = MOST_BYTES / cost(length);
            for number in 0..3 * most {
                watch.see(&announcement(length)).unwrap();
                watch.taken.store(number * cost(length), Ordering::Release);
            }
            let refused = (0..most + 1).find_map(|_| watch.see(&announcement(length)).err());
            assert!(refused.unwrap().contains("more messages"));
        }
    }

    #[test]
    fn a_frame_that_is_too_short_is_refused() {
        assert!(Watch::default().see(&frame(CONTENT_HEADER, &[0; 4]).repeat(4)).is_err());
    }
}
