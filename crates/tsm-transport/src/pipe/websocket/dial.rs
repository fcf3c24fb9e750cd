//! The dialling side.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tsm_types::address::HostPort;

use super::stream::{Messages, config};
use super::{HTTP, SUBPROTOCOL};
use crate::pipe::trust::{Roots, TlsClient};
use crate::pipe::{Pipe, tcp};

/// Opens WebSockets.
pub(crate) struct WebDialler {
    /// For `wss`.
    tls: TlsClient,
}

impl WebDialler {
    pub(in crate::pipe) fn new(roots: Roots) -> Self {
        // Without a protocol a proxy may choose HTTP/2, where a WebSocket begins otherwise.
        WebDialler { tls: TlsClient::new(roots, Some(HTTP)) }
    }

    pub(in crate::pipe) async fn dial(
        &self,
        https: bool,
        at: &HostPort,
        path: &str,
        time: Duration,
    ) -> Result<Pipe, String> {
        let request = request(https, at, path)?;
        let socket = tcp::connect(at, time).await?;
        if !https {
            return open(socket, request, at).await;
        }
        let stream = self.tls.connect(&at.host, socket).await.map_err(|error| {
            format!(
                "{at} answered, but not with HTTPS that this node trusts: {error}; a private certificate authority \
                 is named in [MPCWebSocketClient]"
            )
        })?;
        open(stream, request, at).await
    }
}

fn request(https: bool, at: &HostPort, path: &str) -> Result<Request, String> {
    let usual = if https { 443 } else { 80 };
    let host = at.to_string();
    // As browsers do it; some proxies compare.
    let host = host.strip_suffix(&format!(":{usual}")).unwrap_or(&host);
    Request::builder()
        .uri(format!("ws://{at}{path}"))
        .header("Host", host)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header("Sec-WebSocket-Protocol", SUBPROTOCOL)
        .body(())
        .map_err(|error| format!("{at}{path} cannot be asked for in HTTP: {error}"))
}

async fn open<S>(stream: S, request: Request, at: &HostPort) -> Result<Pipe, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match client_async_with_config(request, stream, Some(config())).await {
        Ok((socket, _)) => Ok(Box::new(Messages::new(socket))),
        Err(Error::Http(answer)) => Err(format!(
            "{at} answered \"{}\" instead of opening a WebSocket: check the path, and that the proxies on the way \
             pass upgrades on",
            answer.status()
        )),
        Err(error) => Err(format!("{at} answered, but opened no WebSocket: {error}")),
    }
}
