//! The dialling side.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, Error as TlsError};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tsm_types::address::HostPort;

use super::stream::{Messages, config};
use super::{HTTP, Roots, SUBPROTOCOL};
use crate::pipe::{Pipe, tcp};

/// Opens WebSockets.
pub(crate) struct WebDialler {
    roots: Roots,
    /// For `wss`. Made when first needed: reading the system's authorities takes a while.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl WebDialler {
    pub(in crate::pipe) fn new(roots: Roots) -> Self {
        WebDialler { roots, tls: OnceCell::new() }
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
        let name = ServerName::try_from(at.host.clone())
            .map_err(|_| format!("`{}` can be no name in a certificate", at.host))?;
        let tls = TlsConnector::from(self.tls().await?);
        let stream = tls.connect(name, socket).await.map_err(|error| {
            format!(
                "{at} answered, but not with HTTPS that this node trusts: {error}; a private certificate authority \
                 is named in [MPCWebSocketClient]"
            )
        })?;
        open(stream, request, at).await
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let make = || async {
            let roots = self.roots.0.clone();
            let made = spawn_blocking(move || client_config(roots)).await;
            made.map_err(|error| error.to_string())?.map_err(|error| {
                format!("the certificate authorities of this system cannot be used: {error}")
            })
        };
        self.tls.get_or_try_init(make).await.cloned()
    }
}

fn client_config(roots: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier(roots, provider)?)
        .with_no_client_auth();
    // Else a proxy may choose HTTP/2, where a WebSocket begins otherwise.
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(not(target_os = "android"))]
fn verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    Ok(Arc::new(Verifier::new_with_extra_roots(roots, provider)?))
}

/// Android's own verifier knows no further authorities.
#[cfg(target_os = "android")]
fn verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if roots.is_empty() {
        return Ok(Arc::new(Verifier::new(provider)?));
    }
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
    Ok(verifier.map_err(|error| TlsError::General(error.to_string()))?)
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
