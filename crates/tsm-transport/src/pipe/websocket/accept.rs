//! The listening side: an HTTP request in, a WebSocket or a refusal out.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response, create_response, write_response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::stream::{Messages, config};
use super::{Certificate, SUBPROTOCOL};
use crate::pipe::{Arriving, Origin, Pipe, tcp};

/// Most bytes of a request's head: what a proxy and its cookies add is far less.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Most bytes read after a refusal, so that closing does not destroy the answer on its way.
const MAX_BYTES_AFTER_REFUSAL: u64 = 64 * 1024;
const PROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// A port that speaks WebSocket, over HTTPS if it has a certificate.
pub(crate) struct WebListener {
    port: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl WebListener {
    pub(in crate::pipe) fn bind(at: SocketAddr, certificate: Option<&Certificate>) -> io::Result<Self> {
        let tls = certificate.map(|certificate| TlsAcceptor::from(certificate.0.clone()));
        Ok(WebListener { port: tcp::bind(at)?, tls })
    }

    pub(in crate::pipe) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.port.local_addr()
    }

    pub(in crate::pipe) async fn accept(&self) -> io::Result<Arriving> {
        let (socket, from) = self.port.accept().await?;
        let opening = open(tcp::without_delay(socket), self.tls.clone());
        Ok(Arriving { origin: Origin::Network(from), opening: Box::pin(opening) })
    }
}

async fn open(socket: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Pipe> {
    match tls {
        None => upgrade(socket).await,
        Some(tls) => upgrade(tls.accept(socket).await?).await,
    }
}

async fn upgrade<S>(mut stream: S) -> io::Result<Pipe>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answer = read_head(&mut stream).await?.and_then(|head| answer(&head));
    match answer {
        Ok(response) => {
            let mut bytes = Vec::new();
            write_response(&mut bytes, &response).map_err(io::Error::other)?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
            Ok(Box::new(Messages::new(socket)))
        }
        Err(refusal) => {
            stream.write_all(refusal.response().as_bytes()).await?;
            stream.shutdown().await?;
            copy(&mut stream.take(MAX_BYTES_AFTER_REFUSAL), &mut sink()).await?;
            Err(io::Error::new(io::ErrorKind::InvalidData, refusal.why))
        }
    }
}

/// The bytes up to the empty line, which end what a client says before it is answered.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Result<Vec<u8>, Refusal>> {
    const END: &[u8] = b"\r\n\r\n";
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end may have begun in what came before.
        let unseen = head.len().saturating_sub(END.len() - 1);
        head.extend_from_slice(&chunk[..length]);
        // Who speaks TLS to a port without it would say nothing more, and wait.
        if !head[0].is_ascii_uppercase() {
            return Ok(Err(Refusal::bad(
                "not a request in HTTP/1.1; a port without a certificate is ws, not wss",
            )));
        }
        let end = head[unseen..].windows(END.len()).position(|window| window == END);
        return Ok(match end {
            Some(end) if unseen + end + END.len() == head.len() => Ok(head),
            Some(_) => Err(Refusal::bad("the client spoke on before it was answered")),
            None if head.len() > MAX_HEAD_BYTES => Err(Refusal::TOO_LONG),
            None => continue,
        });
    }
}

/// What is said to a request: the path and the host are the proxies' business.
fn answer(head: &[u8]) -> Result<Response, Refusal> {
    let request = match Request::try_parse(head) {
        Ok(Some((_, request))) => request,
        Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => return Err(Refusal::NOT_GET),
        Ok(None) | Err(_) => return Err(Refusal::bad("not a request in HTTP/1.1")),
    };
    let mut response = create_response(&request).map_err(|error| match error {
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => Refusal::NO_UPGRADE,
        _ => Refusal::bad("the request for a WebSocket is malformed"),
    })?;
    let asked = request.headers().get_all(PROTOCOL_HEADER);
    let asked = asked.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if !asked.map(str::trim).any(|protocol| protocol == SUBPROTOCOL) {
        return Err(Refusal::bad("the request does not name the subprotocol opentsm.1"));
    }
    response.headers_mut().insert(PROTOCOL_HEADER, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

/// Why a request gets no WebSocket.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    /// Lines of the answer's head.
    headers: &'static str,
    why: &'static str,
}

impl Refusal {
    const TOO_LONG: Refusal = Refusal {
        status: "431 Request Header Fields Too Large",
        headers: "",
        why: "the head of the request has more than 8 KiB",
    };
    const NOT_GET: Refusal = Refusal {
        status: "405 Method Not Allowed",
        headers: "Allow: GET\r\n",
        why: "a WebSocket is asked for with GET",
    };
    const NO_UPGRADE: Refusal = Refusal {
        status: "426 Upgrade Required",
        headers: "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        why: "the request asks for no WebSocket (version 13), and there is nothing else here; a proxy on the way \
              must pass Upgrade and Connection on",
    };

    fn bad(why: &'static str) -> Refusal {
        Refusal { status: "400 Bad Request", headers: "", why }
    }

    fn response(&self) -> String {
        let body = format!("This is where OpenTSM nodes reach each other: {}.\n", self.why);
        format!(
            "HTTP/1.1 {}\r\n{}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
            self.status,
            self.headers,
            body.len()
        )
    }
}
