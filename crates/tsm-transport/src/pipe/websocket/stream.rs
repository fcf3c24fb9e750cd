//! A WebSocket as a stream of bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// Most bytes of a message in either direction; as many as in a message through a broker.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// What each connection has from its start, strangers' among them; a record of TLS fits in.
const BUFFER_BYTES: usize = 17 * 1024;

pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        // Nothing is written before what is over the size above has gone.
        .max_write_buffer_size(BUFFER_BYTES + 2 * MAX_MESSAGE_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
}

/// The bytes in the binary messages of a WebSocket, one after the other.
pub(super) struct Messages<S> {
    socket: WebSocketStream<S>,
    /// What was received and not read yet.
    unread: Bytes,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Messages<S> {
    pub(super) fn new(socket: WebSocketStream<S>) -> Self {
        Messages { socket, unread: Bytes::new(), ended: false }
    }

    /// Tells the other side why, as far as that goes at once, and takes no more from it.
    fn refuse(&mut self, cx: &mut Context<'_>, code: CloseCode, why: &'static str) -> io::Error {
        self.ended = true;
        let close = Message::Close(Some(CloseFrame { code, reason: why.into() }));
        let mut socket = Pin::new(&mut self.socket);
        if let Poll::Ready(Ok(())) = socket.as_mut().poll_ready(cx)
            && socket.as_mut().start_send(close).is_ok()
        {
            drop(socket.poll_flush(cx));
        }
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    fn failed(&mut self, cx: &mut Context<'_>, error: Error) -> io::Error {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                self.refuse(cx, CloseCode::Size, "a message is too long")
            }
            Error::Protocol(_) | Error::Utf8(_) => {
                self.refuse(cx, CloseCode::Protocol, "not WebSocket, or not as RFC 6455 has it")
            }
            other => io_error(other),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Messages<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // An empty message is no end of the stream.
        while self.unread.is_empty() && !self.ended {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => {
                    self.ended = true;
                    // The answer to a close; whoever waits for it no longer is served by waiting here.
                    drop(Pin::new(&mut self.socket).poll_flush(cx));
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    let why = "a link's messages are binary";
                    return Poll::Ready(Err(self.refuse(cx, CloseCode::Unsupported, why)));
                }
                Some(Err(error)) => return Poll::Ready(Err(self.failed(cx, error))),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Messages<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(io_error)?;
        let mut message = Vec::new();
        for slice in slices {
            let room = MAX_MESSAGE_BYTES - message.len();
            message.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        let length = message.len();
        if length > 0 {
            socket.start_send(Message::binary(message)).map_err(io_error)?;
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    /// Says that nothing more comes. What the other side still has to say can be read.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io_error)
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

    use super::*;

    type Socket = WebSocketStream<DuplexStream>;

    /// The listening side under test, and a client that may say anything.
    async fn pair() -> (Messages<DuplexStream>, Socket) {
        // With room for the longest message here: who refuses one reads no further.
        let (near, far) = duplex(256 * 1024);
        let near = WebSocketStream::from_raw_socket(near, Role::Server, Some(config())).await;
        (Messages::new(near), WebSocketStream::from_raw_socket(far, Role::Client, None).await)
    }

    fn frame(bytes: &[u8], data: Data, last: bool) -> Message {
        let mut frame = Frame::message(bytes.to_vec(), OpCode::Data(data), last);
        // As the rule for clients is; the library makes the mask.
        *frame.header_mut() = FrameHeader { mask: Some([1, 2, 3, 4]), ..frame.header().clone() };
        Message::Frame(frame)
    }

    /// What the listening side says to this, and with which code it closes.
    async fn refusal(message: Message) -> (ErrorKind, CloseCode) {
        let (mut near, mut far) = pair().await;
        let read = async { near.read(&mut [0; 100]).await.unwrap_err().kind() };
        let (sent, kind) = tokio::join!(far.send(message), read);
        sent.unwrap();
        drop(near);
        match far.next().await {
            Some(Ok(Message::Close(Some(close)))) => (kind, close.code),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_whatever_messages_they_come_in() {
        let (near, far) = duplex(4096);
        let near = WebSocketStream::from_raw_socket(near, Role::Server, Some(config())).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Client, Some(config())).await;
        let (mut near, mut far) = (Messages::new(near), Messages::new(far));
        let bytes: Vec<u8> = (0..200_000u32).map(|number| (number % 251) as u8).collect();
        let (from_near, from_far) = (bytes.clone(), bytes.clone());
        let (mut at_near, mut at_far) = (vec![0; bytes.len()], vec![0; bytes.len()]);
        {
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                (tokio::io::split(&mut near), tokio::io::split(&mut far));
            let (a, b, c, d) = tokio::join!(
                async { near_out.write_all(&from_near).await.and(near_out.flush().await) },
                async { far_out.write_all(&from_far).await.and(far_out.flush().await) },
                near_in.read_exact(&mut at_near),
                far_in.read_exact(&mut at_far),
            );
            a.unwrap();
            b.unwrap();
            c.unwrap();
            d.unwrap();
        }
        assert!(at_near == bytes && at_far == bytes);
    }

    #[tokio::test]
    async fn a_written_message_is_no_longer_than_the_largest() {
        let (mut near, mut far) = pair().await;
        let bytes = vec![1; MAX_MESSAGE_BYTES + 1];
        let (written, heard) =
            tokio::join!(async { near.write_all(&bytes).await.and(near.flush().await) }, async {
                [far.next().await, far.next().await].map(|message| message.unwrap().unwrap().len())
            },);
        written.unwrap();
        assert_eq!(heard, [MAX_MESSAGE_BYTES, 1]);
    }

    #[tokio::test]
    async fn empty_messages_pings_and_fragments_are_no_end() {
        let (mut near, mut far) = pair().await;
        far.send(Message::binary(Vec::new())).await.unwrap();
        far.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        far.send(frame(b"in ", Data::Binary, false)).await.unwrap();
        far.send(frame(b"two", Data::Continue, true)).await.unwrap();
        let mut heard = [0; 6];
        near.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"in two");
        near.flush().await.unwrap();
        assert_eq!(far.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
    }

    #[tokio::test]
    async fn s28_text_overlong_and_malformed_messages_end_the_pipe() {
        assert_eq!(refusal(Message::text("hello")).await, (ErrorKind::InvalidData, CloseCode::Unsupported));
        let long = Message::binary(vec![0; MAX_MESSAGE_BYTES + 1]);
        assert_eq!(refusal(long).await, (ErrorKind::InvalidData, CloseCode::Size));
        // A continuation of nothing.
        let stray = frame(b"?", Data::Continue, true);
        assert_eq!(refusal(stray).await, (ErrorKind::InvalidData, CloseCode::Protocol));
    }

    #[tokio::test]
    async fn s28_fragments_that_are_too_long_together_end_the_pipe() {
        let (mut near, mut far) = pair().await;
        far.send(frame(&[0; 60_000], Data::Binary, false)).await.unwrap();
        far.send(frame(&[0; 60_000], Data::Continue, true)).await.unwrap();
        assert_eq!(near.read(&mut [0; 10]).await.unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_close_is_answered_and_is_the_end_of_the_stream() {
        let (mut near, mut far) = pair().await;
        far.send(Message::binary(vec![1])).await.unwrap();
        far.close(None).await.unwrap();
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [1]);
        assert!(matches!(far.next().await, Some(Ok(Message::Close(_)))));
    }

    #[tokio::test]
    async fn after_its_own_close_a_side_can_still_read() {
        let (mut near, mut far) = pair().await;
        far.send(Message::binary(vec![7])).await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), 7);
        assert!(matches!(far.next().await, Some(Ok(Message::Close(_)))));
    }

    #[tokio::test]
    async fn a_socket_that_is_cut_without_a_close_is_an_error() {
        let (mut near, far) = pair().await;
        drop(far);
        assert!(near.read(&mut [0; 1]).await.is_err());
    }
}
